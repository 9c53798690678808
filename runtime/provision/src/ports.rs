//! What provisioning needs of the rest of the runtime.

use crate::wire::Registered;
use std::{collections::BTreeMap, future::Future};
use thiserror::Error;
use zeroize::Zeroizing;

/// What the device has in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The private key's name.
    pub key: String,
    /// `certificateId`
    pub certificate_id: String,
    /// The thing, and what the template's author sends along.
    pub registered: Registered,
}

/// An answer of the cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The payload that came on `…/accepted`.
    Accepted(Vec<u8>),
    /// The payload that came on `…/rejected`.
    Rejected(Vec<u8>),
}

/// Why a port did not do it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct PortError(pub String);

/// The claim's connection, the device's key, and the place for its identity. All of them are tried again after a while.
pub trait Ports: Send + Sync {
    /// Sends a request with the claim certificate: connects if need be, subscribes to `topic/accepted` and
    /// `topic/rejected`, publishes at QoS 1 and waits for one of them.
    fn request(
        &self,
        topic: &str,
        payload: Vec<u8>,
    ) -> impl Future<Output = Result<Reply, PortError>> + Send;

    /// Ends the claim's connection.
    fn disconnect(&self) -> impl Future<Output = ()> + Send;

    /// Makes the device's key unless it is there, and returns its name.
    fn make_key(&self) -> impl Future<Output = Result<String, PortError>> + Send;

    /// A certificate request (PEM), signed by the key.
    fn certificate_request(
        &self,
        key: &str,
    ) -> impl Future<Output = Result<String, PortError>> + Send;

    /// Stores a certificate (PEM), if it is for the key.
    fn store_certificate(
        &self,
        key: &str,
        certificate: &str,
    ) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Stores a private key that the cloud made, and returns its name.
    fn store_key(
        &self,
        private_key: &Zeroizing<String>,
    ) -> impl Future<Output = Result<String, PortError>> + Send;

    /// The template's parameters, filled in.
    fn parameters(
        &self,
    ) -> impl Future<Output = Result<BTreeMap<String, String>, PortError>> + Send;

    /// Puts the identity into the configuration, durably.
    fn store_identity(
        &self,
        identity: &Identity,
    ) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Between 0 and 1.
    fn random(&self) -> f64;
}
