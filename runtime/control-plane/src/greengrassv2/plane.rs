//! What devices ask over HTTPS with their certificates. Each asks for its own things only, and needs a policy that allows
//! `greengrass:<operation>`. The paths of the last four are not public with AWS: these are our own.
//!
//! ```text
//! GET  /greengrass/v2/coreDevices/<thing>/thingGroups
//! POST /greengrass/v2/resolveComponentCandidates
//! GET  /greengrass/v2/components/<arn>/artifacts/<name>
//! GET  /greengrass/v2/coreDevices/<thing>/associatedClientDevices
//! GET, PUT /greengrass/things/<thing>/connectivityInfo
//! GET  /greengrass/discover/thing/<thing>
//! GET  /greengrass/v2/coreDevices/<thing>/deployments/<id>/configuration
//! PUT  /greengrass/v2/coreDevices/<thing>/certificateAuthorities
//! POST /greengrass/v2/coreDevices/<thing>/verifyClientDeviceIdentity
//! POST /greengrass/v2/coreDevices/<thing>/verifyClientDeviceIoTCertificateAssociation
//! ```

use super::{
    clients,
    components::{download, resolve},
    connectivity,
    deployments::large,
    discovery,
    names::{core_arn, deployment_arn},
};
use crate::{
    device::{
        access,
        https::{Call, Device, json_answer},
    },
    http::{ApiError, Body},
    iot::{
        policy,
        registry::groups::{self, Group},
    },
    state::{Account, State},
};
use http::{Method, Response, StatusCode};
use rusqlite::Transaction;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::sync::Arc;

/// Answers a device's request.
pub async fn answer(
    state: &Arc<State>,
    device: &Device,
    call: &Call,
) -> Result<Response<Body>, ApiError> {
    let segments = call.segments();
    let segments: Vec<&str> = segments.iter().skip(1).map(String::as_str).collect();
    let asker = Asker { state, device };
    let value = match (&call.parts.method, segments.as_slice()) {
        (&Method::POST, ["v2", "resolveComponentCandidates"]) => {
            asker.may("ResolveComponentCandidates", "*", None)?;
            let request: resolve::Request = read(call)?;
            let account = state.account.clone();
            let resolved = state
                .database
                .read(move |t| resolve::resolve(t, &account, &request))
                .await?;
            value(&resolved)?
        }
        (&Method::GET, ["v2", "components", arn, "artifacts", name @ ..]) => {
            asker.may("GetComponentVersionArtifact", arn, None)?;
            let (arn, name) = ((*arn).to_owned(), name.join("/"));
            value(&download::link(state, &asker.base(call), arn, name).await?)?
        }
        (method, ["v2", "coreDevices", thing, rest @ ..]) => {
            return of_core(&asker, method, thing, rest, call).await;
        }
        (&Method::GET, ["things", thing, "connectivityInfo"]) => {
            asker.own(thing, "GetConnectivityInfo", &asker.thing_arn(thing))?;
            value(&connectivity::known(state, (*thing).to_owned()).await?)?
        }
        (&Method::PUT, ["things", thing, "connectivityInfo"]) => {
            asker.own(thing, "UpdateConnectivityInfo", &asker.thing_arn(thing))?;
            value(&connectivity::replace(state, (*thing).to_owned(), read(call)?).await?)?
        }
        (&Method::GET, ["discover", "thing", thing]) => {
            asker.own(thing, "Discover", &asker.thing_arn(thing))?;
            discovery::discover(state, (*thing).to_owned()).await?
        }
        _ => return Err(nothing()),
    };
    Ok(json_answer(StatusCode::OK, &value))
}

async fn of_core(
    asker: &Asker<'_>,
    method: &Method,
    thing: &str,
    rest: &[&str],
    call: &Call,
) -> Result<Response<Body>, ApiError> {
    let state = asker.state;
    let account = state.account.clone();
    let core = core_arn(&account, thing);
    let name = thing.to_owned();
    let value = match (method, rest) {
        (&Method::GET, ["thingGroups"]) => {
            asker.own(thing, "ListThingGroupsForCoreDevice", &core)?;
            let groups = state
                .database
                .read(move |t| groups_of(t, &account, &name))
                .await?;
            json!({ "thingGroups": groups })
        }
        (&Method::GET, ["associatedClientDevices"]) => {
            asker.own(thing, "ListClientDevicesAssociatedWithCoreDevice", &core)?;
            let clients = state
                .database
                .read(move |t| clients::of_core(t, &name, "", -1))
                .await?;
            json!({ "associatedClientDevices": clients })
        }
        (&Method::GET, ["deployments", id, "configuration"]) => {
            let deployment = deployment_arn(&account, id);
            asker.own(thing, "GetDeploymentConfiguration", &deployment)?;
            large::configuration(state, &asker.base(call), thing, id).await?
        }
        (&Method::PUT, ["certificateAuthorities"]) => {
            asker.own(thing, "PutCertificateAuthorities", &core)?;
            discovery::put_authorities(state, name, read(call)?).await?
        }
        (&Method::POST, ["verifyClientDeviceIdentity"]) => {
            let shown: discovery::Shown = read(call)?;
            let id = shown.id()?;
            let certificate = account.arn("iot", &format!("cert/{id}"));
            asker.own(thing, "VerifyClientDeviceIdentity", &certificate)?;
            discovery::verify_identity(state, id).await?
        }
        (&Method::POST, ["verifyClientDeviceIoTCertificateAssociation"]) => {
            let pair: discovery::Pair = read(call)?;
            let client = asker.thing_arn(&pair.client_device_thing_name);
            asker.own(
                thing,
                "VerifyClientDeviceIoTCertificateAssociation",
                &client,
            )?;
            discovery::verify_association(state, pair).await?
        }
        _ => return Err(nothing()),
    };
    Ok(json_answer(StatusCode::OK, &value))
}

fn nothing() -> ApiError {
    ApiError::not_found("There is nothing here")
}

fn value(output: &impl Serialize) -> Result<Value, ApiError> {
    Ok(serde_json::to_value(output)?)
}

fn read<T: DeserializeOwned>(call: &Call) -> Result<T, ApiError> {
    serde_json::from_slice(&call.body)
        .map_err(|error| ApiError::invalid(format!("The request cannot be read: {error}")))
}

/// A device and what it may ask.
struct Asker<'a> {
    state: &'a Arc<State>,
    device: &'a Device,
}

impl Asker<'_> {
    fn thing_arn(&self, thing: &str) -> String {
        self.state.account.arn("iot", &format!("thing/{thing}"))
    }

    /// Refuses what concerns a thing that is not the device's, or what its policies do not allow.
    fn own(&self, thing: &str, operation: &str, resource: &str) -> Result<(), ApiError> {
        if !self.device.principal.things.contains_key(thing) {
            return Err(ApiError::Denied(format!(
                "The certificate is not attached to the thing {thing}"
            )));
        }
        self.may(operation, resource, Some(thing))
    }

    /// Refuses what the device's policies do not allow.
    fn may(&self, operation: &str, resource: &str, thing: Option<&str>) -> Result<(), ApiError> {
        let principal = &self.device.principal;
        let mut identity = self.device.identity.clone();
        if let Some(thing) = thing {
            identity.client_id = thing.into();
        }
        let facts = access::facts(principal, &identity);
        let attached = principal.thing(&identity.client_id);
        let of_groups = attached.iter().flat_map(|(_, thing)| &thing.policies);
        let documents = principal.policies.iter().chain(of_groups).map(Arc::as_ref);
        let action = format!("greengrass:{operation}");
        if policy::allows(documents, &action, resource, &facts) {
            return Ok(());
        }
        Err(ApiError::Denied(format!(
            "The device's policies do not allow {action} on {resource}"
        )))
    }

    /// The front where the device reads objects: by the name with which it has reached us.
    fn base(&self, call: &Call) -> String {
        let endpoints = self.state.endpoints.load();
        let host = call.header("host").and_then(|host| {
            let host = host.parse::<http::uri::Authority>().ok()?;
            Some(host.host().to_owned())
        });
        let host = host.unwrap_or_else(|| endpoints.host.clone());
        match endpoints.https {
            Some(https) => format!("https://{host}:{}", https.port()),
            None => endpoints.url().unwrap_or_default(),
        }
    }
}

/// The groups of a thing, also those that it is in by way of others.
fn groups_of(t: &Transaction<'_>, account: &Account, thing: &str) -> Result<Vec<Value>, ApiError> {
    let arn = |name: &str| account.arn("iot", &format!("thinggroup/{name}"));
    let names = groups::of_thing(t, thing, true)?;
    let listed = names.into_iter().map(|name| {
        let above = Group::get(t, &name)?.above(t)?;
        let above = above
            .iter()
            .map(|name| json!({ "groupName": name, "groupArn": arn(name) }));
        Ok(json!({
            "thingGroupArn": arn(&name),
            "rootToParentThingGroups": above.collect::<Vec<_>>(),
            "thingGroupName": name,
        }))
    });
    listed.collect()
}
