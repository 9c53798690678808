//! Where the listeners are, as callers should be told.

use std::net::SocketAddr;

/// What is served where. Empty until the listeners are bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// The name by which devices and people reach this machine.
    pub host: String,
    /// REST without TLS.
    pub http: Option<SocketAddr>,
    /// REST with TLS.
    pub https: Option<SocketAddr>,
    /// MQTT for devices.
    pub mqtt: Option<SocketAddr>,
    /// HTTPS for devices.
    pub devices: Option<SocketAddr>,
}

impl Endpoints {
    /// The URL to give to the AWS CLI: plain HTTP where it is served, since it needs no CA bundle.
    pub fn url(&self) -> Option<String> {
        match (self.http, self.https) {
            // All addresses of this machine: it is reached by its name.
            (Some(http), _) if http.ip().is_unspecified() => {
                Some(format!("http://{}:{}", self.host, http.port()))
            }
            (Some(http), _) => Some(format!("http://{http}")),
            (None, Some(https)) => Some(format!("https://{}:{}", self.host, https.port())),
            (None, None) => None,
        }
    }
}
