//! The files that pages refer to, in the binary. Their links carry their digest, so browsers may keep them for good.

use crate::http::{
    Body, reply,
    sigv4::{hex, payload_hash},
};
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, ETAG, IF_NONE_MATCH},
};
use std::sync::LazyLock;

const FILES: [(&str, &str, &str); 3] = [
    (
        "style.css",
        "text/css; charset=utf-8",
        include_str!("assets/style.css"),
    ),
    (
        "live.js",
        "text/javascript; charset=utf-8",
        include_str!("assets/live.js"),
    ),
    ("icon.svg", "image/svg+xml", include_str!("assets/icon.svg")),
];

/// Changes when a file does: pages have it in the links to them.
pub static REVISION: LazyLock<String> = LazyLock::new(|| {
    let all: String = FILES.iter().map(|(_, _, content)| *content).collect();
    payload_hash(all.as_bytes()).split_at(16).0.to_owned()
});

/// A file, or that it has not changed.
pub fn answer(name: &str, headers: &HeaderMap) -> Option<Response<Body>> {
    let (_, kind, content) = FILES.iter().find(|(file, _, _)| *file == name)?;
    let tag = format!("\"{}\"", hex(&openssl::sha::sha256(content.as_bytes())));
    let unchanged = headers
        .get(IF_NONE_MATCH)
        .is_some_and(|known| known.as_bytes() == tag.as_bytes());
    let mut response = if unchanged {
        reply::plain(StatusCode::NOT_MODIFIED, kind, "")
    } else {
        reply::plain(StatusCode::OK, kind, *content)
    };
    let headers = response.headers_mut();
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=86400"),
    );
    headers.insert(ETAG, HeaderValue::from_str(&tag).ok()?);
    Some(response)
}
