//! Where client devices reach a core device. A change is told to the core in the shadow of `<core>-gci`, by its version:
//! the core then asks for the addresses and makes itself a certificate for them.

use crate::{
    http::{ApiError, Context, Operation, validate},
    iot::{
        registry::{
            names::{resource, uuid},
            things::Thing,
        },
        shadow::Failure,
    },
    state::State,
};
use model::shadow::Update;
use rusqlite::{OptionalExtension, Transaction};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

/// Addresses of one core.
const MAX_ADDRESSES: usize = 10;

/// The operations.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            "GetConnectivityInfo",
            "GET /greengrass/things/{ThingName}/connectivityInfo",
            get,
        )
        .checks_access(),
        Operation::new(
            "UpdateConnectivityInfo",
            "PUT /greengrass/things/{ThingName}/connectivityInfo",
            update,
        )
        .checks_access(),
    ]
}

/// One address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Address {
    /// Chosen by who set it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A name or an address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_address: Option<String>,
    /// Absent for the default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_number: Option<i64>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    thing_name: String,
}

/// What is known of a core's addresses.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Known {
    connectivity_info: Vec<Address>,
    #[serde(rename = "message")]
    message: String,
}

async fn get(context: Context, input: Named) -> Result<Known, ApiError> {
    let arn = context.arn("iot", &format!("thing/{}", input.thing_name));
    context.allow(&arn)?;
    known(&context.state, input.thing_name).await
}

/// The addresses of a core.
pub async fn known(state: &Arc<State>, thing: String) -> Result<Known, ApiError> {
    resource("ThingName", &thing)?;
    state
        .database
        .read(move |t| {
            exists(t, &thing)?;
            Ok(Known {
                connectivity_info: of(t, &thing)?,
                message: String::new(),
            })
        })
        .await
}

/// The model of this operation has no error for what is missing but the one for wrong input.
fn exists(t: &Transaction<'_>, thing: &str) -> Result<(), ApiError> {
    match Thing::find(t, thing)? {
        Some(_) => Ok(()),
        None => Err(ApiError::invalid(format!(
            "The thing {thing} does not exist"
        ))),
    }
}

/// The addresses of a core; none when none were set.
pub fn of(t: &Transaction<'_>, thing: &str) -> Result<Vec<Address>, ApiError> {
    let sql = "SELECT addresses FROM gg_connectivity WHERE thing = ?1";
    let text: Option<String> = t
        .prepare_cached(sql)?
        .query_row([thing], |row| row.get(0))
        .optional()?;
    Ok(match text {
        Some(text) => serde_json::from_str(&text)?,
        None => Vec::new(),
    })
}

/// New addresses.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct New {
    #[serde(default)]
    thing_name: String,
    connectivity_info: Vec<Address>,
}

/// The version that they are.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Updated {
    version: String,
    #[serde(rename = "message")]
    message: String,
}

async fn update(context: Context, input: New) -> Result<Updated, ApiError> {
    let arn = context.arn("iot", &format!("thing/{}", input.thing_name));
    context.allow(&arn)?;
    let thing = input.thing_name.clone();
    replace(&context.state, thing, input).await
}

/// Replaces the addresses of a core, and tells it.
pub async fn replace(state: &Arc<State>, thing: String, new: New) -> Result<Updated, ApiError> {
    resource("ThingName", &thing)?;
    if new.connectivity_info.len() > MAX_ADDRESSES {
        return Err(ApiError::invalid(format!(
            "A core device may have at most {MAX_ADDRESSES} addresses"
        )));
    }
    for address in &new.connectivity_info {
        let host = address.host_address.as_deref().unwrap_or_default();
        validate::length("ConnectivityInfo.HostAddress", host, 1..=255)?;
        if let Some(port) = address.port_number {
            validate::range("ConnectivityInfo.PortNumber", port, 0..=65_535)?;
        }
    }
    let version = uuid();
    let (saved, shadow) = (version.clone(), format!("{thing}-gci"));
    state
        .database
        .write(move |t| {
            exists(t, &thing)?;
            let sql = "INSERT OR REPLACE INTO gg_connectivity (thing, addresses, version) VALUES (?1, ?2, ?3)";
            let addresses = serde_json::to_string(&new.connectivity_info)?;
            t.execute(sql, (&thing, addresses, saved))?;
            Ok::<_, ApiError>(())
        })
        .await?;
    let payload = json!({ "state": { "desired": { "version": version } } }).to_string();
    let note = Update::parse(payload.as_bytes()).map_err(ApiError::internal)?;
    match state.shadows.update(&shadow, "", note).await {
        Ok(_) => {}
        Err(Failure::Refused(error)) => return Err(ApiError::internal(error)),
        Err(Failure::Api(error)) => return Err(error),
    }
    Ok(Updated {
        version,
        message: "Connectivity Info Updated".to_owned(),
    })
}
