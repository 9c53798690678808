//! Asks the credentials provider: one HTTPS request with the device's certificate.

use super::document;
use crate::{
    Settings,
    identity::{Dialer, Protocol},
};
use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use mqtt::client::{Dial, Timeouts};
use serde_json::Value;
use std::time::{Duration, SystemTime};
use time::{
    OffsetDateTime,
    format_description::well_known::{Rfc2822, Rfc3339},
};
use zeroize::Zeroizing;

/// Answers are a kilobyte or two.
const LONGEST: usize = 64 * 1024;

/// What came of it.
pub enum Fetched {
    /// Credentials.
    Granted(Granted),
    /// The provider said no, or something that is no answer.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The provider's words.
        message: String,
    },
    /// The provider was not reached.
    NotReached {
        /// Why.
        message: String,
    },
}

/// Credentials, as components get them.
pub struct Granted {
    /// The JSON document.
    pub document: Zeroizing<String>,
    /// How long they are valid, from now on.
    pub lifetime: Duration,
}

/// One try.
pub async fn fetch(settings: &Settings) -> Fetched {
    match ask(settings).await {
        Ok(response) => read(response).await,
        Err(message) => Fetched::NotReached { message },
    }
}

async fn ask(settings: &Settings) -> Result<Response<Incoming>, String> {
    let provider = settings.credentials.as_ref();
    let provider = provider.ok_or("no credentials provider is configured")?;
    let request = Request::get(format!("/role-aliases/{}/credentials", provider.role_alias))
        .header(header::HOST, provider.endpoint.to_string())
        .header("x-amzn-iot-thingname", &settings.thing_name)
        .body(Empty::<Bytes>::new())
        .map_err(|e| format!("iotRoleAlias {:?}: {e}", provider.role_alias))?;
    let dialer = Dialer::new(settings, &provider.endpoint, Protocol::Http);
    let stream = dialer.dial(&Timeouts::default()).await;
    let stream = stream.map_err(|e| e.to_string())?;
    let failed = |e: hyper::Error| format!("{}: {e}", provider.endpoint);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(failed)?;
    // Ends with the answer's body.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            log::debug!("the connection to the credentials provider: {error}");
        }
    });
    sender.send_request(request).await.map_err(failed)
}

async fn read(response: Response<Incoming>) -> Fetched {
    let status = response.status();
    let now = told(&response).unwrap_or_else(|| SystemTime::now().into());
    let body = match Limited::new(response.into_body(), LONGEST).collect().await {
        Ok(body) => Zeroizing::new(body.to_bytes().to_vec()),
        Err(error) => {
            return Fetched::NotReached {
                message: format!("the credentials provider's answer broke off: {error}"),
            };
        }
    };
    if !status.is_success() {
        let text = String::from_utf8_lossy(&body);
        let message = serde_json::from_str::<Value>(&text)
            .ok()
            .and_then(|value| Some(value.get("message")?.as_str()?.to_owned()))
            .unwrap_or_else(|| text.trim().to_owned());
        return Fetched::Refused {
            status: status.as_u16(),
            message,
        };
    }
    granted(&body, now).map_or_else(
        || Fetched::Refused {
            status: 500,
            message: "the credentials provider's answer holds no credentials".into(),
        },
        Fetched::Granted,
    )
}

/// The provider's clock: ours may be wrong after a boot, and only the difference counts.
fn told<B>(response: &Response<B>) -> Option<OffsetDateTime> {
    let date = response.headers().get(header::DATE)?.to_str().ok()?;
    OffsetDateTime::parse(date, &Rfc2822).ok()
}

fn granted(body: &[u8], now: OffsetDateTime) -> Option<Granted> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let credentials = answer.get("credentials")?;
    let expiration = credentials.get("expiration")?.as_str()?;
    let expiration = OffsetDateTime::parse(expiration, &Rfc3339).ok()?;
    Some(Granted {
        document: Zeroizing::new(document(credentials)?.to_string()),
        lifetime: (expiration - now).try_into().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lifetime_is_counted_by_the_providers_clock() {
        let response = Response::builder()
            .header("Date", "Wed, 25 Nov 2026 09:00:00 GMT")
            .body(())
            .unwrap();
        let now = told(&response).unwrap();
        let body = br#"{"credentials":{"accessKeyId":"A","secretAccessKey":"S","sessionToken":"T","expiration":"2026-11-25T10:00:00Z"}}"#;
        let granted = granted(body, now).unwrap();
        assert_eq!(granted.lifetime, Duration::from_secs(3600));
        let document: Value = serde_json::from_str(&granted.document).unwrap();
        assert_eq!(document["Token"], "T");
        assert_eq!(document["Expiration"], "2026-11-25T10:00:00Z");
    }

    #[test]
    fn an_answer_without_credentials_is_none() {
        let now = OffsetDateTime::UNIX_EPOCH;
        for body in ["", "{}", r#"{"credentials":{"accessKeyId":"A"}}"#] {
            assert!(granted(body.as_bytes(), now).is_none());
        }
    }
}
