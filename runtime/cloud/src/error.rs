//! Why a message or a subscription was not taken: the caller's fault, the moment's, or ours.

use mqtt::client::SubscribeError;
use store::StoreError;

/// Why the link did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The device is not set up for the cloud.
    #[error("the device is not connected to a cloud")]
    NotConfigured,
    /// It is, but not in full; the text says what is missing.
    #[error("the device cannot connect to the cloud: {0}")]
    Incomplete(String),
    /// What was asked makes no sense; asking again does not help.
    #[error("{0}")]
    Invalid(String),
    /// The spool did not take the message.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The broker did not grant the subscription.
    #[error("{filter}: {source}")]
    Subscribe {
        /// The topic filter.
        filter: String,
        /// Why.
        source: SubscribeError,
    },
    /// The broker did not answer.
    #[error("the broker did not answer to the subscription of {filter} in time")]
    Timeout {
        /// The topic filter.
        filter: String,
    },
}

/// Why the spool did not take a message.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// No room for it.
    #[error(
        "the MQTT spool is full: {used} of {limit} bytes are taken and the message has {size}; spooler.maxSizeInBytes is the limit"
    )]
    Full {
        /// Bytes that wait.
        used: u64,
        /// Bytes that may wait.
        limit: u64,
        /// Bytes of the message.
        size: u64,
    },
    /// A message that is not kept for later.
    #[error(
        "the device is offline, and spooler.keepQos0WhenOffline is false: QoS 0 messages are not kept"
    )]
    Offline,
    /// The disk, most likely.
    #[error("the MQTT spool on disk cannot be written: {0}")]
    Store(#[from] StoreError),
    /// The runtime ends.
    #[error("the MQTT spool is closed")]
    Closed,
}
