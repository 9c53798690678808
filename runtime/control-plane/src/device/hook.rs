//! The pre-provisioning hook: whether a device may be provisioned. Its target is one of
//!
//! ```text
//! http://127.0.0.1:9000/path   asked with POST, as a Lambda function would be with its event; only on this machine
//! file:/path/allowed.txt       a list, one serial number or endorsement key hash a line; # begins a comment
//! ```

use crate::iot::registry::templates::Hook;
use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::Path, time::Duration};
use tokio::net::TcpStream;

/// How long a hook may think, as with AWS IoT.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest answer.
const MAX_ANSWER: usize = 64 * 1024;

/// Parameters that an allow-list is compared with.
const IDENTIFIERS: &[&str] = &[
    "SerialNumber",
    "EndorsementKeyHash",
    "EkHash",
    "serialNumber",
    "ekHash",
];

/// What a hook is asked.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Question {
    /// The claim.
    pub claim_certificate_id: String,
    /// The new certificate.
    pub certificate_id: String,
    /// The template.
    pub template_arn: String,
    /// The connection's client id.
    pub client_id: String,
    /// What the device sent.
    pub parameters: BTreeMap<String, String>,
}

/// What a hook says.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes, with parameters of its own.
    Allow(BTreeMap<String, String>),
    /// No.
    Deny,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    allow_provisioning: bool,
    #[serde(default)]
    parameter_overrides: BTreeMap<String, String>,
}

/// Asks.
pub async fn ask(hook: &Hook, about: &Question) -> Result<Verdict> {
    let target = hook.target_arn.as_str();
    if let Some(path) = target.strip_prefix("file:") {
        let path = path.to_owned();
        let list = tokio::task::spawn_blocking(move || {
            std::fs::read_to_string(Path::new(&path)).with_context(|| format!("reading {path}"))
        })
        .await??;
        return Ok(listed(&list, &about.parameters));
    }
    if target.starts_with("http://") {
        let answer = tokio::time::timeout(PATIENCE, post(target, about))
            .await
            .context("it did not answer in time")??;
        return Ok(match answer.allow_provisioning {
            true => Verdict::Allow(answer.parameter_overrides),
            false => Verdict::Deny,
        });
    }
    bail!(
        "the target '{target}' is neither http: nor file:; Lambda functions are not run by this control plane"
    )
}

fn listed(list: &str, parameters: &BTreeMap<String, String>) -> Verdict {
    let lines = list
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim());
    let allowed: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let known = IDENTIFIERS.iter().filter_map(|name| parameters.get(*name));
    match known
        .into_iter()
        .any(|value| allowed.contains(&value.as_str()))
    {
        true => Verdict::Allow(BTreeMap::new()),
        false => Verdict::Deny,
    }
}

async fn post(target: &str, about: &Question) -> Result<Answer> {
    let uri: http::Uri = target.parse()?;
    let host = uri.host().context("it has no host")?;
    let address = (host, uri.port_u16().unwrap_or(80));
    let stream = TcpStream::connect(address).await?;
    if !stream.peer_addr()?.ip().is_loopback() {
        bail!("{host} is another machine: a hook by plain HTTP must be on this one");
    }
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = http::Request::post(path)
        .header("host", host)
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(serde_json::to_vec(about)?)))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER)
        .collect()
        .await;
    connection.abort();
    if !status.is_success() {
        bail!("it answered {status}");
    }
    let body = body
        .map_err(|error| anyhow::anyhow!("reading its answer: {error}"))?
        .to_bytes();
    Ok(serde_json::from_slice(&body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_allows_the_serial_numbers_on_it() {
        let list = "# batch 7\nA-1\n A-2 # spare\n\n";
        let of = |serial: &str| BTreeMap::from([("SerialNumber".to_owned(), serial.to_owned())]);
        assert_eq!(listed(list, &of("A-1")), Verdict::Allow(BTreeMap::new()));
        assert_eq!(listed(list, &of("A-2")), Verdict::Allow(BTreeMap::new()));
        for serial in ["A-3", "", "# batch 7", "spare"] {
            assert_eq!(listed(list, &of(serial)), Verdict::Deny, "{serial}");
        }
        assert_eq!(listed(list, &BTreeMap::new()), Verdict::Deny);
    }
}
