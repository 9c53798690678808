//! Dials over TCP: every address of the host in turn, through the proxy if there is one for it, then TLS.

use super::{
    Dial, DialError, Stream,
    proxy::{self, Proxy},
};
use crate::client::options::Timeouts;
use async_trait::async_trait;
use openssl::{
    pkey::{PKey, Private},
    ssl::{Ssl, SslConnector, SslConnectorBuilder, SslMethod, SslVersion},
    x509::{X509, store::X509StoreBuilder},
};
use std::{fmt, io, pin::Pin, time::Duration};
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_openssl::SslStream;

/// What AWS IoT wants to be asked for on port 443.
const AWS_MQTT: &[u8] = b"\x0ex-amzn-mqtt-ca";

/// TLS with the server: the host name is sent (SNI) and verified.
#[derive(Clone)]
pub struct Tls {
    connector: SslConnector,
    alpn: Option<Vec<u8>>,
}

impl Tls {
    /// With a context of the caller's: authorities, certificate, key.
    pub fn new(connector: SslConnector) -> Self {
        Self {
            connector,
            alpn: None,
        }
    }

    /// A context from its parts. `authorities`: PEM of one or more; the key may live in a token.
    pub fn from_parts(
        authorities: &[u8],
        identity: Option<(&[X509], &PKey<Private>)>,
    ) -> Result<Self, openssl::error::ErrorStack> {
        let mut builder: SslConnectorBuilder = SslConnector::builder(SslMethod::tls_client())?;
        builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
        let mut store = X509StoreBuilder::new()?;
        for authority in X509::stack_from_pem(authorities)? {
            store.add_cert(authority)?;
        }
        builder.set_cert_store(store.build());
        if let Some((chain, key)) = identity {
            for (at, certificate) in chain.iter().enumerate() {
                if at == 0 {
                    builder.set_certificate(certificate)?;
                } else {
                    builder.add_extra_chain_cert(certificate.clone())?;
                }
            }
            builder.set_private_key(key)?;
            builder.check_private_key()?;
        }
        Ok(Self::new(builder.build()))
    }

    /// Asks for a protocol in the handshake (ALPN), up to 255 bytes of name.
    #[must_use]
    pub fn with_alpn(mut self, protocol: &str) -> Self {
        let name = &protocol.as_bytes()[..protocol.len().min(255)];
        let mut wire = vec![u8::try_from(name.len()).unwrap_or(u8::MAX)];
        wire.extend_from_slice(name);
        self.alpn = Some(wire);
        self
    }

    fn session(&self, host: &str, port: u16) -> Result<Ssl, openssl::error::ErrorStack> {
        let mut ssl = self.connector.configure()?.into_ssl(host)?;
        // Port 443 of AWS IoT tells MQTT from HTTP by this.
        let implied = (port == 443).then_some(AWS_MQTT);
        if let Some(protocols) = self.alpn.as_deref().or(implied) {
            ssl.set_alpn_protos(protocols)?;
        }
        Ok(ssl)
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("alpn", &self.alpn)
            .finish_non_exhaustive()
    }
}

/// The way to one server.
#[derive(Clone, Debug)]
pub struct Connector {
    /// Name or address; what the certificate must be for.
    pub host: String,
    /// 8883, or 443 with ALPN `x-amzn-mqtt-ca`, which is then asked for by itself.
    pub port: u16,
    /// `None`: plain TCP, for brokers on this machine.
    pub tls: Option<Tls>,
    /// A proxy, unless its exceptions name the host.
    pub proxy: Option<Proxy>,
}

#[async_trait]
impl Dial for Connector {
    async fn dial(&self, timeouts: &Timeouts) -> Result<Box<dyn Stream>, DialError> {
        let proxy = self
            .proxy
            .as_ref()
            .filter(|proxy| !proxy.exempts(&self.host, self.port));
        let stream: Box<dyn Stream> = match proxy {
            None => Box::new(connect(&self.host, self.port, timeouts.connect).await?),
            Some(proxy) => self.through(proxy, timeouts).await?,
        };
        match &self.tls {
            None => Ok(stream),
            Some(tls) => handshake(tls, &self.host, self.port, stream, timeouts.handshake).await,
        }
    }
}

impl Connector {
    async fn through(
        &self,
        proxy: &Proxy,
        timeouts: &Timeouts,
    ) -> Result<Box<dyn Stream>, DialError> {
        let tcp = connect(&proxy.host, proxy.port, timeouts.connect).await?;
        let mut stream: Box<dyn Stream> = Box::new(tcp);
        if let Some(tls) = &proxy.tls {
            stream = handshake(tls, &proxy.host, 0, stream, timeouts.handshake).await?;
        }
        let authorization = proxy.authorization.as_ref();
        let opened = proxy::open(&mut stream, &self.host, self.port, authorization);
        let host = || format!("{}:{}", proxy.host, proxy.port);
        match timeout(timeouts.handshake, opened).await {
            Ok(Ok(())) => Ok(stream),
            Ok(Err(source)) => Err(DialError::Proxy {
                host: host(),
                source,
            }),
            Err(_) => Err(DialError::Timeout {
                step: "proxy handshake",
                host: host(),
                limit: timeouts.handshake,
            }),
        }
    }
}

async fn connect(host: &str, port: u16, limit: Duration) -> Result<TcpStream, DialError> {
    let tried = async {
        let resolve = |source| DialError::Resolve {
            host: host.to_owned(),
            source,
        };
        let plain = host.trim_start_matches('[').trim_end_matches(']');
        let addresses = lookup_host((plain, port)).await.map_err(resolve)?;
        let addresses: Vec<_> = addresses.collect();
        // An address that swallows packets leaves time for the others.
        let share = limit / u32::try_from(addresses.len().max(1)).unwrap_or(1);
        let mut last = resolve(io::ErrorKind::NotFound.into());
        for address in addresses {
            let outcome = timeout(share, TcpStream::connect(address)).await;
            match outcome.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(stream) => {
                    // Small packets go out at once; a stream that cannot be told works too.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(source) => {
                    last = DialError::Connect {
                        host: host.to_owned(),
                        address,
                        source,
                    };
                }
            }
        }
        Err(last)
    };
    // The last address's own limit ends with this one; its error says more.
    let grace = limit + Duration::from_millis(100);
    timeout(grace, tried).await.unwrap_or_else(|_| {
        Err(DialError::Timeout {
            step: "connect",
            host: host.to_owned(),
            limit,
        })
    })
}

/// On a thread of its own: signing with a key in a token blocks, for a second on slow ones.
async fn handshake(
    tls: &Tls,
    host: &str,
    port: u16,
    stream: Box<dyn Stream>,
    limit: Duration,
) -> Result<Box<dyn Stream>, DialError> {
    let failed = |reason: String| DialError::Tls {
        host: host.to_owned(),
        reason,
    };
    let ssl = tls.session(host, port).map_err(|e| failed(e.to_string()))?;
    let mut stream = SslStream::new(ssl, stream).map_err(|e| failed(e.to_string()))?;
    let runtime = tokio::runtime::Handle::current();
    let task = tokio::task::spawn_blocking(move || {
        runtime.block_on(async move {
            let outcome = timeout(limit, Pin::new(&mut stream).connect()).await;
            outcome.map(|connected| (connected, stream))
        })
    });
    let outcome = task.await.map_err(|e| failed(e.to_string()))?;
    let Ok((connected, stream)) = outcome else {
        return Err(DialError::Timeout {
            step: "TLS handshake",
            host: host.to_owned(),
            limit,
        });
    };
    connected.map_err(|error| {
        // OpenSSL says "certificate verify failed"; X.509 says why.
        let verdict = stream.ssl().verify_result();
        let closed = error.io_error().is_none() && error.ssl_error().is_none();
        if verdict != openssl::x509::X509VerifyResult::OK {
            failed(verdict.error_string().to_owned())
        } else if closed {
            failed("the connection was closed during the handshake".to_owned())
        } else {
            failed(error.to_string())
        }
    })?;
    Ok(Box::new(stream))
}
