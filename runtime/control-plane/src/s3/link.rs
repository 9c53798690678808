//! Links that this program gives out: presigned URLs by which one object can be read for a while.

use crate::{
    http::{Timestamp, sigv4},
    state::State,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::time::Duration;

const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
const PATH: &AsciiSet = &ENCODED.remove(b'/');

/// A URL for reading an object. `base` is scheme, host and port as the reader must use them: the signature covers the host.
/// Whether the object exists is not looked at. Secret: it is all that is needed.
pub fn link(state: &State, base: &str, bucket: &str, key: &str, good_for: Duration) -> String {
    let account = &state.account;
    let host = base.split_once("://").map_or(base, |(_, host)| host);
    let time = Timestamp::now().compact();
    let date = &time[..8];
    let scope = format!("{date}/{}/s3/aws4_request", account.region);
    let path = format!(
        "/{}/{}",
        utf8_percent_encode(bucket, PATH),
        utf8_percent_encode(key, PATH)
    );
    let credential = format!("{}/{scope}", account.link_key.access_key_id);
    let query = format!(
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={}&X-Amz-Date={time}&X-Amz-Expires={}&X-Amz-SignedHeaders=host",
        utf8_percent_encode(&credential, ENCODED),
        good_for.as_secs().max(1)
    );
    let canonical = format!("GET\n{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD");
    let secret = account.link_key.secret_access_key.reveal();
    let signature = sigv4::sign(&canonical, secret, &time, &scope);
    format!("{base}{path}?{query}&X-Amz-Signature={signature}")
}
