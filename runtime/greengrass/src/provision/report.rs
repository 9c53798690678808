//! What `greengrass provision` answers, to people and to scripts.

use super::{Named, Place, identity};
use crate::{arguments::Form, exit::Exit};
use anyhow::{Context, bail};
use keys::{KeyUri, LoadOptions};
use openssl::asn1::Asn1Time;
use provision::{PortError, machine::State};
use serde_json::{Value, json};
use std::{
    io::{self, Write},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What to do when nothing says how a device gets its identity.
pub const NOT_CONFIGURED: &str = "the configuration names neither an identity (system.thingName, privateKeyPath, \
    certificateFilePath) nor a way to get one (services.aws.greengrass.FleetProvisioningByClaim.configuration)";

type Findings = Vec<(&'static str, Result<String, PortError>)>;

/// A key's or a certificate's name without a PIN.
fn public(text: &str) -> String {
    text.parse::<KeyUri>()
        .map_or_else(|_| "(not a key's name)".into(), |uri| uri.to_string())
}

fn put(line: &str) -> anyhow::Result<()> {
    match writeln!(io::stdout(), "{line}") {
        Err(gone) if gone.kind() != io::ErrorKind::BrokenPipe => {
            Err(gone).context("cannot write the answer")
        }
        _ => Ok(()),
    }
}

fn show(answer: &Value, form: Form) -> anyhow::Result<()> {
    if form.is_json() {
        return put(&format!("{answer:#}"));
    }
    for (name, value) in answer.as_object().into_iter().flatten() {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        put(&format!("{name:<18} {text}"))?;
    }
    Ok(())
}

/// An identity that the files name is not provisioned.
pub fn has_its_own(named: &Named, form: Form) -> anyhow::Result<Exit> {
    show(&configured(named), form)?;
    Ok(Exit::Stopped)
}

fn configured(named: &Named) -> Value {
    json!({
        "state": "CONFIGURED",
        "thingName": named.thing,
        "certificate": public(&named.certificate),
        "key": public(&named.key),
    })
}

/// How far provisioning is.
pub fn status(place: &Place, documents: &[Value], form: Form) -> anyhow::Result<Exit> {
    if let Some(named) = Named::by(documents) {
        return has_its_own(&named, form);
    }
    let path = place.state();
    let record = provision::read(&path)
        .with_context(|| format!("the provisioning state in {}", path.display()))?;
    let mut answer = json!({"state": word(&record.state)});
    let certificate_id = match &record.state {
        State::Registering { certificate_id, .. }
        | State::Storing { certificate_id, .. }
        | State::Done { certificate_id, .. } => Some(certificate_id),
        _ => None,
    };
    if let Some(id) = certificate_id {
        answer["certificateId"] = json!(id);
    }
    let document = place.read()?;
    if let Some(named) = Named::by(document.as_slice()) {
        answer["thingName"] = json!(named.thing);
        answer["certificate"] = json!(public(&named.certificate));
        answer["key"] = json!(public(&named.key));
    }
    let more = "/services/aws.greengrass.Nucleus/configuration/deviceConfiguration";
    if let Some(more) = document.as_ref().and_then(|d| d.pointer(more)) {
        answer["deviceConfiguration"] = more.clone();
    }
    if let Some(failed) = &record.failed {
        answer["failure"] = json!(failed.why);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs();
        let (since, left) = (
            now.saturating_sub(failed.at),
            failed.again.saturating_sub(now),
        );
        answer["failedSecondsAgo"] = json!(since);
        answer["againInSeconds"] = json!(left);
    }
    if record.state == State::Fresh && identity::settings(documents)?.is_none() {
        answer["state"] = json!("NOT_CONFIGURED");
    }
    show(&answer, form)?;
    Ok(Exit::Stopped)
}

fn word(state: &State) -> &'static str {
    match state {
        State::Fresh => "NOT_STARTED",
        State::MakingKey => "MAKING_KEY",
        State::Requesting { .. } => "REQUESTING_CERTIFICATE",
        State::Registering { .. } => "REGISTERING_THING",
        State::Storing { .. } => "STORING_IDENTITY",
        State::Done { .. } => "PROVISIONED",
    }
}

/// Why there is no identity after so long.
pub fn why_not(place: &Place, limit: Duration) -> anyhow::Error {
    let failed = provision::read(&place.state())
        .ok()
        .and_then(|record| record.failed);
    let why = failed.map_or_else(|| "it takes longer".to_owned(), |failed| failed.why);
    anyhow::anyhow!("not provisioned within {} s: {why}", limit.as_secs())
}

/// Whether the device's own key and certificate can be used.
pub fn check_own(named: &Named) -> Findings {
    let failed = |error: &dyn std::fmt::Display| PortError(error.to_string());
    let options = LoadOptions::default();
    let uri = |text: &str| text.parse::<KeyUri>().map_err(|e| failed(&e));
    let key = uri(&named.key)
        .and_then(|uri| Ok((keys::load(&uri, &options).map_err(|e| failed(&e))?, uri)));
    let certificate = || -> Result<String, PortError> {
        let at = uri(&named.certificate)?;
        let chain = keys::certificate::load(&at, &options).map_err(|e| failed(&e))?;
        if let Ok((key, name)) = &key {
            keys::certificate::check(&chain[0], key, name).map_err(|e| failed(&e))?;
        }
        let end = chain[0].not_after();
        let now = Asn1Time::days_from_now(0).map_err(|e| failed(&e))?;
        if end < now {
            return Err(PortError(format!("{at} ended at {end}")));
        }
        Ok(format!("{at}, until {end}"))
    };
    let mut findings = vec![
        ("thing", Ok(named.thing.clone())),
        ("certificate", certificate()),
    ];
    if let Some(root) = &named.root {
        let read = keys::certificate::read(root.as_ref());
        findings.push(("root", read.map(|_| root.clone()).map_err(|e| failed(&e))));
    }
    findings.push(("key", key.map(|(_, uri)| uri.to_string())));
    findings
}

/// Shows what a check found; something wrong is a failure.
pub fn findings(findings: Findings, form: Form) -> anyhow::Result<Exit> {
    let wrong = findings.iter().filter(|(_, found)| found.is_err()).count();
    let answer: serde_json::Map<String, Value> = findings
        .into_iter()
        .map(|(name, found)| {
            let value = match (found, form.is_json()) {
                (Ok(text), false) => json!(format!("ok     {text}")),
                (Err(error), false) => json!(format!("WRONG  {error}")),
                (Ok(text), true) => json!({"ok": true, "found": text}),
                (Err(error), true) => json!({"ok": false, "error": error.to_string()}),
            };
            (name.to_owned(), value)
        })
        .collect();
    show(&Value::Object(answer), form)?;
    if wrong > 0 {
        bail!("{wrong} of these must be put right");
    }
    Ok(Exit::Stopped)
}
