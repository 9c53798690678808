//! Who the device is towards the cloud: certificate, key and authorities, read anew for every connection, so that files
//! that come late, are renewed or are repaired need no restart.

use crate::settings::{Endpoint, Identity, Proxy, Settings};
use async_trait::async_trait;
use keys::{KeyUri, LoadOptions};
use mqtt::client::{
    Connector, Dial, DialError, NoProxy, ProxyAuthorization, Stream, Timeouts, Tls,
};

/// What is asked for in the TLS handshake (ALPN).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// MQTT; on port 443 AWS IoT is told so.
    Mqtt,
    /// HTTP with the credentials provider.
    Http,
}

/// Opens connections to one endpoint.
#[derive(Clone, Debug)]
pub struct Dialer {
    identity: Identity,
    endpoint: Endpoint,
    proxy: Option<Proxy>,
    protocol: Protocol,
}

impl Dialer {
    /// To an endpoint, as these settings have it.
    pub fn new(settings: &Settings, endpoint: &Endpoint, protocol: Protocol) -> Self {
        Self {
            identity: settings.identity.clone(),
            endpoint: endpoint.clone(),
            proxy: settings.proxy.clone(),
            protocol,
        }
    }

    /// Reads the files. Blocks, for seconds when the key is in a token.
    fn connector(&self) -> Result<Connector, String> {
        let Identity {
            authorities,
            certificate,
            key,
        } = &self.identity;
        let pem = std::fs::read(authorities).map_err(|e| {
            format!(
                "cannot read system.rootCaPath {}: {e}",
                authorities.display()
            )
        })?;
        let options = LoadOptions::default();
        let chain = keys::certificate::load(certificate, &options)
            .map_err(|e| format!("system.certificateFilePath {}: {e}", shown(certificate)))?;
        let loaded = keys::load(key, &options)
            .map_err(|e| format!("system.privateKeyPath {}: {e}", shown(key)))?;
        if let Some(leaf) = chain.first() {
            keys::certificate::check(leaf, &loaded, key).map_err(|e| e.to_string())?;
        }
        let tls = Tls::from_parts(&pem, Some((&chain, &loaded))).map_err(|e| {
            format!(
                "{} and {} make no TLS identity: {e}",
                authorities.display(),
                shown(certificate)
            )
        })?;
        let tls = match self.protocol {
            // The connector asks for MQTT by itself, on the port where that matters.
            Protocol::Mqtt => tls,
            Protocol::Http => tls.with_alpn("http/1.1"),
        };
        Ok(Connector {
            host: self.endpoint.host.clone(),
            port: self.endpoint.port,
            proxy: self.proxy(&pem)?,
            tls: Some(tls),
        })
    }

    fn proxy(&self, authorities: &[u8]) -> Result<Option<mqtt::client::Proxy>, String> {
        let Some(proxy) = &self.proxy else {
            return Ok(None);
        };
        // A proxy with TLS has its certificate from the device's own authorities.
        let tls = Tls::from_parts(authorities, None).map_err(|e| e.to_string())?;
        let mut made = mqtt::client::Proxy::from_url(&proxy.url, || tls)
            .map_err(|e| format!("networkProxy.proxy.url: {e}"))?;
        if let Some((name, password)) = &proxy.user {
            made.authorization = Some(ProxyAuthorization::basic(name, password));
        }
        made.except = NoProxy::new(&proxy.except);
        Ok(Some(made))
    }
}

/// A key's name without a PIN that may stand in it.
fn shown(uri: &KeyUri) -> String {
    match uri {
        KeyUri::File(path) => path.display().to_string(),
        KeyUri::Token(_) => uri.to_string(),
    }
}

#[async_trait]
impl Dial for Dialer {
    async fn dial(&self, timeouts: &Timeouts) -> Result<Box<dyn Stream>, DialError> {
        let dialer = self.clone();
        let read = tokio::task::spawn_blocking(move || dialer.connector()).await;
        let connector = read
            .unwrap_or_else(|e| Err(e.to_string()))
            .map_err(|reason| DialError::Tls {
                host: self.endpoint.host.clone(),
                reason,
            })?;
        connector.dial(timeouts).await
    }
}
