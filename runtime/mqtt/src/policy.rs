//! What a client may do: asked on CONNECT, PUBLISH (also of a will and of retained messages) and SUBSCRIBE.

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
