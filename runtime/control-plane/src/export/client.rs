//! A client of the AWS APIs: signed requests over one connection for each host, tried again where that is safe.

use super::service::{Identity, Operation, identity_of};
use crate::http::{
    Timestamp,
    sigv4::{
        payload_hash,
        signer::{Keys, Scope, authorize},
    },
};
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, header::HOST};
use http_body_util::{BodyExt, Full, Limited, combinators::UnsyncBoxBody};
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use openssl::ssl::{SslConnector, SslMethod};
use serde_json::Value;
use std::{collections::HashMap, path::Path, time::Duration};
use tokio::{net::TcpStream, sync::Mutex};

/// How long one try may take; an object has as long for each piece.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tries in all.
const TRIES: u32 = 8;

/// The wait after the first failure; each further one doubles it.
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// The largest answer of an operation.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// A body to send.
pub type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// A refusal, as the service words it.
#[derive(Debug, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// The exception's name.
    pub code: String,
    /// For people.
    pub message: String,
}

impl Refusal {
    fn of(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let document: Value = serde_json::from_slice(body).unwrap_or_default();
        let header = headers.get("x-amzn-errortype");
        let code = header
            .and_then(|value| value.to_str().ok())
            .or_else(|| document["__type"].as_str())
            .map(|code| code.split(':').next().unwrap_or(code).to_owned());
        let text = String::from_utf8_lossy(body);
        let between = |name: &str| {
            let (_, rest) = text.split_once(&format!("<{name}>"))?;
            Some(rest.split_once("</")?.0.to_owned())
        };
        let message = document["message"]
            .as_str()
            .or_else(|| document["Message"].as_str());
        Self {
            status,
            code: code
                .or_else(|| between("Code"))
                .unwrap_or_else(|| status.to_string()),
            message: message
                .map(str::to_owned)
                .or_else(|| between("Message"))
                .unwrap_or_default(),
        }
    }

    /// Whether the same request may succeed later.
    fn passes(&self) -> bool {
        self.status.is_server_error()
            || self.status == StatusCode::TOO_MANY_REQUESTS
            || self.code.contains("Throttling")
            || self.code.contains("TooManyRequests")
            || self.code == "SlowDown"
    }

    /// Whether it says that what was to be made is there.
    pub fn exists(&self) -> bool {
        matches!(
            self.code.as_str(),
            "ResourceAlreadyExistsException" | "ConflictException"
        )
    }

    /// Whether it says that something is not there.
    pub fn missing(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }
}

/// The refusal in a failure, if it is one.
pub fn refusal(error: &anyhow::Error) -> Option<&Refusal> {
    error.downcast_ref()
}

/// A client of one account in one region.
pub struct Client {
    endpoint: Option<Uri>,
    region: String,
    keys: Keys,
    tls: SslConnector,
    connections: Mutex<HashMap<String, SendRequest<Body>>>,
}

impl Client {
    /// Of AWS itself, or of an endpoint that stands for all of its services.
    pub fn new(
        endpoint: Option<&str>,
        region: &str,
        keys: Keys,
        bundle: Option<&Path>,
    ) -> Result<Self> {
        let endpoint = endpoint
            .map(|url| {
                url.parse::<Uri>()
                    .with_context(|| format!("the endpoint {url}"))
            })
            .transpose()?;
        let mut tls = SslConnector::builder(SslMethod::tls_client())?;
        if let Some(bundle) = bundle {
            tls.set_ca_file(bundle)
                .with_context(|| format!("reading {}", bundle.display()))?;
        }
        Ok(Self {
            endpoint,
            region: region.to_owned(),
            keys,
            tls: tls.build(),
            connections: Mutex::default(),
        })
    }

    /// The region.
    pub fn region(&self) -> &str {
        &self.region
    }

    fn address(&self, prefix: &str) -> Result<(bool, String, u16)> {
        let Some(endpoint) = &self.endpoint else {
            let end = if self.region.starts_with("cn-") {
                "amazonaws.com.cn"
            } else {
                "amazonaws.com"
            };
            return Ok((true, format!("{prefix}.{}.{end}", self.region), 443));
        };
        let encrypted = match endpoint.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => bail!("the endpoint {endpoint} is neither http: nor https:"),
        };
        let host = endpoint.host().context("the endpoint has no host")?;
        let port = endpoint
            .port_u16()
            .unwrap_or(if encrypted { 443 } else { 80 });
        Ok((encrypted, host.to_owned(), port))
    }

    async fn connect(&self, prefix: &str) -> Result<SendRequest<Body>> {
        let (encrypted, host, port) = self.address(prefix)?;
        let stream = TcpStream::connect((host.as_str(), port))
            .await
            .with_context(|| format!("connecting to {host}:{port}"))?;
        stream.set_nodelay(true)?;
        if !encrypted {
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            return Ok(sender);
        }
        let ssl = self.tls.configure()?.into_ssl(&host)?;
        let mut stream = tokio_openssl::SslStream::new(ssl, stream)?;
        std::pin::Pin::new(&mut stream)
            .connect()
            .await
            .with_context(|| format!("TLS with {host}:{port}"))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    /// One try. `hash` is of the body.
    pub async fn send(
        &self,
        prefix: &str,
        service: &str,
        request: Request<Body>,
        hash: &str,
    ) -> Result<Response<Incoming>> {
        let (encrypted, host, port) = self.address(prefix)?;
        let usual = if encrypted { 443 } else { 80 };
        let host = if port == usual {
            host
        } else {
            format!("{host}:{port}")
        };
        let (mut parts, body) = request.into_parts();
        parts.headers.insert(HOST, host.parse()?);
        let scope = Scope {
            region: &self.region,
            service,
        };
        authorize(&mut parts, hash, &self.keys, scope, Timestamp::now())?;
        let kept = self.connections.lock().await.remove(prefix);
        let mut sender = match kept {
            Some(sender) if sender.is_ready() => sender,
            _ => self.connect(prefix).await?,
        };
        let request = Request::from_parts(parts, body);
        let answer = tokio::time::timeout(PATIENCE, sender.send_request(request))
            .await
            .context("no answer in time")??;
        self.connections
            .lock()
            .await
            .insert(prefix.to_owned(), sender);
        Ok(answer)
    }

    /// A request whose body is in memory, until it succeeds, is refused for good, or was tried often enough.
    pub async fn ask(
        &self,
        prefix: &str,
        service: &str,
        method: &Method,
        uri: &str,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<(HeaderMap, Bytes)> {
        let mut wait = FIRST_WAIT;
        for attempt in 1..=TRIES {
            let failed = match self.once(prefix, service, method, uri, headers, body).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let again = refusal(&failed).is_none_or(Refusal::passes);
            if !again || attempt == TRIES {
                return Err(failed);
            }
            log::debug!("{method} {uri}: {failed:#}; trying again");
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        bail!("{method} {uri}: tried {TRIES} times")
    }

    async fn once(
        &self,
        prefix: &str,
        service: &str,
        method: &Method,
        uri: &str,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<(HeaderMap, Bytes)> {
        let full = Full::new(body.clone())
            .map_err(|never| match never {})
            .boxed_unsync();
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .body(full)
            .with_context(|| format!("a request for {uri}"))?;
        *request.headers_mut() = headers.clone();
        let answer = self
            .send(prefix, service, request, &payload_hash(body))
            .await?;
        read(answer).await
    }

    /// An operation.
    pub async fn call(&self, operation: Operation, input: Value) -> Result<Value> {
        let (uri, body) = operation.request(input)?;
        let mut headers = HeaderMap::new();
        if !body.is_empty() {
            headers.insert("content-type", "application/json".parse()?);
        }
        for (name, value) in operation.headers() {
            headers.insert(name, value.parse()?);
        }
        let (_, body) = self
            .ask(
                operation.prefix,
                operation.prefix,
                &operation.method,
                &uri,
                &headers,
                &body,
            )
            .await?;
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).with_context(|| format!("the answer of {}", operation.name))
    }

    /// All pages of a list.
    pub async fn list(
        &self,
        operation: Operation,
        mut input: Value,
        member: &str,
    ) -> Result<Vec<Value>> {
        let mut found = Vec::new();
        loop {
            let mut page = self.call(operation.clone(), input.clone()).await?;
            if let Value::Array(items) = page[member].take() {
                found.extend(items);
            }
            // Policies and role aliases have markers, all else has tokens.
            let (name, next) = if page["nextToken"].is_string() {
                ("nextToken", page["nextToken"].take())
            } else {
                ("marker", page["nextMarker"].take())
            };
            if next.as_str().is_none_or(str::is_empty) {
                return Ok(found);
            }
            input[name] = next;
        }
    }

    /// Whose keys these are.
    pub async fn identity(&self) -> Result<Identity> {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/x-www-form-urlencoded".parse()?);
        let body = Bytes::from_static(b"Action=GetCallerIdentity&Version=2011-06-15");
        let (_, body) = self
            .ask("sts", "sts", &Method::POST, "/", &headers, &body)
            .await?;
        identity_of(&String::from_utf8_lossy(&body))
    }
}

/// The whole answer of an operation, or its refusal.
pub async fn read(answer: Response<Incoming>) -> Result<(HeaderMap, Bytes)> {
    let (parts, body) = answer.into_parts();
    let body = tokio::time::timeout(PATIENCE, Limited::new(body, MAX_ANSWER).collect())
        .await
        .context("the answer did not end in time")?
        .map_err(|error| anyhow::anyhow!("reading an answer: {error}"))?
        .to_bytes();
    if parts.status.is_success() {
        return Ok((parts.headers, body));
    }
    Err(Refusal::of(parts.status, &parts.headers, &body).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_read_in_each_services_words() {
        let mut headers = HeaderMap::new();
        let of =
            |headers: &HeaderMap, body: &[u8]| Refusal::of(StatusCode::CONFLICT, headers, body);
        let xml = of(
            &headers,
            b"<Error><Code>NoSuchKey</Code><Message>none</Message></Error>",
        );
        assert_eq!(
            (xml.code.as_str(), xml.message.as_str()),
            ("NoSuchKey", "none")
        );
        headers.insert(
            "x-amzn-errortype",
            "ResourceAlreadyExistsException:http://x".parse().unwrap(),
        );
        let json = of(&headers, b"{\"message\":\"there\"}");
        assert!(json.exists() && json.message == "there" && !json.passes());
    }

    #[test]
    fn addresses_are_those_of_aws_unless_there_is_an_endpoint() {
        let client = |endpoint: Option<&str>, region: &str| {
            let keys = Keys {
                access_key_id: String::new(),
                secret_access_key: crate::http::Secret::new(""),
                session_token: None,
            };
            Client::new(endpoint, region, keys, None)
                .unwrap()
                .address("iot")
                .unwrap()
        };
        assert_eq!(
            client(None, "eu-west-1"),
            (true, "iot.eu-west-1.amazonaws.com".into(), 443)
        );
        assert_eq!(
            client(None, "cn-north-1").1,
            "iot.cn-north-1.amazonaws.com.cn"
        );
        assert_eq!(
            client(Some("http://127.0.0.1:4580"), "eu-west-1"),
            (false, "127.0.0.1".into(), 4580)
        );
    }
}
