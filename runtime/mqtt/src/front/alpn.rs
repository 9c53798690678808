//! Application-layer protocol negotiation (RFC 7301): which names a listener answers to, and who serves them.
//!
//! A client that offers nothing gets the listener's own protocol, as it always was; one that offers only unknown names is
//! refused at the handshake (`no_application_protocol`).

use super::FrontError;
use openssl::{
    ex_data::Index,
    ssl::{AlpnError, Ssl, SslContextBuilder, SslRef, select_next_proto},
};
use std::sync::{Arc, OnceLock};

/// Names under which MQTT is spoken: AWS IoT's, and the registered one.
pub const MQTT_PROTOCOLS: &[&str] = &["x-amzn-mqtt-ca", "mqtt"];
/// Names under which HTTP is spoken on the same port: the registered one, and AWS IoT's for client certificates.
pub const HTTP_PROTOCOLS: &[&str] = &["http/1.1", "x-amzn-http-ca"];

/// A listener's names in wire form, in its order of preference. Empty: the listener does not negotiate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Offer(Arc<[u8]>);

impl Offer {
    pub(super) fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, FrontError> {
        let mut wire = Vec::new();
        for name in names {
            let length = u8::try_from(name.len()).ok().filter(|length| *length > 0);
            let length = length.ok_or_else(|| FrontError::Protocol(name.to_owned()))?;
            wire.push(length);
            wire.extend_from_slice(name.as_bytes());
        }
        Ok(Self(wire.into()))
    }

    /// Ties the offer to one connection; the context is shared by listeners that speak different protocols.
    pub(super) fn attach(&self, ssl: &mut SslRef) {
        if let Some(index) = index() {
            ssl.set_ex_data(index, self.clone());
        }
    }
}

fn index() -> Option<Index<Ssl, Offer>> {
    static INDEX: OnceLock<Option<Index<Ssl, Offer>>> = OnceLock::new();
    *INDEX.get_or_init(|| Ssl::new_ex_index().ok())
}

/// Makes connections of this context choose by the offer attached to them.
pub(super) fn negotiate(context: &mut SslContextBuilder) {
    context.set_alpn_select_callback(|ssl, client| {
        let offer = index().and_then(|index| ssl.ex_data(index));
        let Some(Offer(wire)) = offer.filter(|offer| !offer.0.is_empty()) else {
            return Err(AlpnError::NOACK);
        };
        // The chosen name must live as long as the client's list does, so it is looked up there.
        let chosen = select_next_proto(wire, client).ok_or(AlpnError::ALERT_FATAL)?;
        names(client)
            .find(|name| *name == chosen)
            .ok_or(AlpnError::ALERT_FATAL)
    });
}

fn names(mut wire: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = wire.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(*length))?;
        wire = rest;
        Some(name)
    })
}
