//! What a client may do: asked on CONNECT, PUBLISH (also of a will and of retained messages) and SUBSCRIBE.
//!
//! What a denial does. AWS IoT answers with 0x87 wherever MQTT 5 has a place for it and closes 3.1.1 connections on a denied PUBLISH;
//! so do we. Where we differ from it the last column says how.
//!
//! | denied | 3.1.1 | 5 | AWS IoT otherwise |
//! |---|---|---|---|
//! | CONNECT: [`ConnectRefusal::BadCredentials`] | CONNACK 4, closed | CONNACK 0x86, closed | |
//! | CONNECT: [`ConnectRefusal::NotAuthorized`] | CONNACK 5, closed | CONNACK 0x87, closed | |
//! | CONNECT: [`ConnectRefusal::ClientIdNotAllowed`] | CONNACK 2, closed | CONNACK 0x85, closed | a client id that a policy does not allow is 5 and 0x87: a policy like AWS IoT's answers `NotAuthorized` |
//! | CONNECT: [`ConnectRefusal::Busy`] | CONNACK 3, closed | CONNACK 0x89, closed | 0x97 for its quotas |
//! | CONNECT: [`ConnectRefusal::Banned`] | CONNACK 5, closed | CONNACK 0x8A, closed | does not have it |
//! | the will, at CONNECT | CONNACK 5, closed | CONNACK 0x87, closed | |
//! | the will, when it is due | not published | not published | |
//! | PUBLISH, QoS 0 | closed | DISCONNECT 0x87, closed | |
//! | PUBLISH, QoS 1 | closed | PUBACK 0x87, stays open | |
//! | PUBLISH, QoS 2 | closed | PUBREC 0x87, stays open | has no QoS 2 |
//! | a filter of SUBSCRIBE | 0x80 in its place of SUBACK | 0x87 in its place of SUBACK | |
//! | a message for a granted filter ([`Policy::receive`]) | not sent, counted | not sent, counted | |
//! | a subscription, after the policy has changed | removed | removed | |
//! | the connection, after the policy has changed ([`Policy::keep`]) | closed, will published | DISCONNECT 0x87, closed, will published | |
//!
//! MQTT 3.1.1 cannot refuse a message: to acknowledge it would be a lie, and not to would make the client send it again for ever
//! (section 3.3.5.2 leaves exactly these: acknowledge or close). Every denial is counted in [`crate::engine::Metrics`] and logged with
//! client and topic.

use crate::{Identity, QoS};
use async_trait::async_trait;
use bytes::Bytes;
use bytestring::ByteString;
use tokio::sync::watch;

/// What CONNECT brought, for [`Policy::connect`].
#[derive(Debug)]
pub struct ConnectRequest<'a> {
    /// Address, certificate, client id and user name.
    pub identity: &'a Identity,
    /// Secret: never logged.
    pub password: Option<&'a Bytes>,
    /// Topic, QoS and retain flag of the will.
    pub will: Option<(&'a ByteString, QoS, bool)>,
    /// Whether state from an earlier connection may be kept.
    pub persistent: bool,
}

/// Why a connection is refused; the engine maps it to the version's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectRefusal {
    /// Unknown user or wrong password: 3.1.1 code 4, 5.0 code 0x86.
    BadCredentials,
    /// 3.1.1 code 5, 5.0 code 0x87.
    NotAuthorized,
    /// 3.1.1 code 2, 5.0 code 0x85.
    ClientIdNotAllowed,
    /// 3.1.1 code 3, 5.0 code 0x89.
    Busy,
    /// 3.1.1 code 5, 5.0 code 0x8A.
    Banned,
}

/// Decides; shared by all connections. Answers to `publish` and `subscribe` are cached by the engine for each connection
/// until [`Policy::revision`] changes; live sessions are then asked anew, and what is no longer allowed is taken away.
#[async_trait]
pub trait Policy: Send + Sync + 'static {
    /// May this client connect? Allowed to take its time (a look into a database); the front bounds it.
    async fn connect(&self, request: ConnectRequest<'_>) -> Result<(), ConnectRefusal>;

    /// May `who` publish to this topic name?
    fn publish(&self, who: &Identity, topic: &str, qos: QoS, retain: bool) -> bool;

    /// May `who` subscribe with this filter (without its `$share/<group>/` prefix)?
    fn subscribe(&self, who: &Identity, filter: &str, qos: QoS) -> bool;

    /// May `who` be sent a message on this topic? AWS IoT's `iot:Receive`; asked once a topic and connection.
    fn receive(&self, _who: &Identity, _topic: &str) -> bool {
        true
    }

    /// Whether [`Policy::receive`] is to be asked at all: a policy that never denies it saves a look-up for each delivery.
    fn asks_receive(&self) -> bool {
        true
    }

    /// May `who` still be connected after the policy changed?
    fn keep(&self, _who: &Identity) -> bool {
        true
    }

    /// Counts up whenever an answer may have changed. `None`: answers never change.
    fn revision(&self) -> Option<watch::Receiver<u32>> {
        None
    }
}

/// Allows everything: for tests, and for a listener that only trusted processes can reach.
#[derive(Clone, Copy, Debug)]
pub struct AllowAll;

#[async_trait]
impl Policy for AllowAll {
    async fn connect(&self, _request: ConnectRequest<'_>) -> Result<(), ConnectRefusal> {
        Ok(())
    }

    fn publish(&self, _who: &Identity, _topic: &str, _qos: QoS, _retain: bool) -> bool {
        true
    }

    fn subscribe(&self, _who: &Identity, _filter: &str, _qos: QoS) -> bool {
        true
    }

    fn asks_receive(&self) -> bool {
        false
    }
}
