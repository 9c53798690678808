//! Client devices: which things may look for which core device.

use super::names::core_arn;
use crate::{
    http::{ApiError, Context, Operation, Page, Timestamp},
    iot::registry::{names::resource, things::Thing},
};
use rusqlite::Transaction;
use serde::{Deserialize, Serialize};

/// Things that one request may name.
const MAX_ENTRIES: usize = 100;

/// The operations.
pub fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            "BatchAssociateClientDeviceWithCoreDevice",
            "POST /greengrass/v2/coreDevices/{coreDeviceThingName}/associateClientDevices",
            associate,
        )
        .checks_access(),
        Operation::new(
            "BatchDisassociateClientDeviceFromCoreDevice",
            "POST /greengrass/v2/coreDevices/{coreDeviceThingName}/disassociateClientDevices",
            disassociate,
        )
        .checks_access(),
        Operation::new(
            "ListClientDevicesAssociatedWithCoreDevice",
            "GET /greengrass/v2/coreDevices/{coreDeviceThingName}/associatedClientDevices",
            list,
        )
        .checks_access(),
    ]
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    thing_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BatchInput {
    core_device_thing_name: String,
    entries: Option<Vec<Entry>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorEntry {
    thing_name: String,
    code: &'static str,
    message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BatchOutput {
    error_entries: Vec<ErrorEntry>,
}

/// The things of a request: at least one, each name possible.
fn entries(input: Option<Vec<Entry>>) -> Result<Vec<String>, ApiError> {
    let entries = input.unwrap_or_default();
    if entries.is_empty() || entries.len() > MAX_ENTRIES {
        return Err(ApiError::invalid(format!(
            "entries must have between 1 and {MAX_ENTRIES} members"
        )));
    }
    let names = entries.into_iter().map(|entry| {
        resource("entries.thingName", &entry.thing_name)?;
        Ok(entry.thing_name)
    });
    names.collect()
}

/// The core device must be a thing; it need not have reported yet.
fn core(t: &Transaction<'_>, thing: &str) -> Result<(), ApiError> {
    Thing::find(t, thing)?
        .map(|_| ())
        .ok_or_else(|| super::devices::table::missing(thing))
}

async fn associate(context: Context, input: BatchInput) -> Result<BatchOutput, ApiError> {
    let thing = input.core_device_thing_name;
    context.allow(&core_arn(&context.state.account, &thing))?;
    let names = entries(input.entries)?;
    context
        .database()
        .write(move |t| {
            core(t, &thing)?;
            let mut error_entries = Vec::new();
            let now = Timestamp::now();
            for name in names {
                if Thing::find(t, &name)?.is_none() {
                    error_entries.push(ErrorEntry {
                        message: format!("The thing {name} does not exist."),
                        code: "ResourceNotFoundException",
                        thing_name: name,
                    });
                } else if name == thing {
                    error_entries.push(ErrorEntry {
                        message: "A core device cannot be its own client device.".to_owned(),
                        code: "ValidationException",
                        thing_name: name,
                    });
                } else {
                    let sql = "INSERT OR IGNORE INTO gg_association (core, client, created) VALUES (?1, ?2, ?3)";
                    t.prepare_cached(sql)?.execute((&thing, &name, now))?;
                }
            }
            Ok(BatchOutput { error_entries })
        })
        .await
}

async fn disassociate(context: Context, input: BatchInput) -> Result<BatchOutput, ApiError> {
    let thing = input.core_device_thing_name;
    context.allow(&core_arn(&context.state.account, &thing))?;
    let names = entries(input.entries)?;
    context
        .database()
        .write(move |t| {
            core(t, &thing)?;
            let mut error_entries = Vec::new();
            for name in names {
                let sql = "DELETE FROM gg_association WHERE core = ?1 AND client = ?2";
                if t.prepare_cached(sql)?.execute((&thing, &name))? == 0 {
                    error_entries.push(ErrorEntry {
                        message: format!("{name} is not associated with {thing}."),
                        code: "ResourceNotFoundException",
                        thing_name: name,
                    });
                }
            }
            Ok(BatchOutput { error_entries })
        })
        .await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListInput {
    core_device_thing_name: String,
    max_results: Option<i64>,
    next_token: Option<String>,
}

/// A client device.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Associated {
    thing_name: String,
    association_timestamp: Timestamp,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListOutput {
    associated_client_devices: Vec<Associated>,
    next_token: Option<String>,
}

async fn list(context: Context, input: ListInput) -> Result<ListOutput, ApiError> {
    let thing = input.core_device_thing_name;
    context.allow(&core_arn(&context.state.account, &thing))?;
    let page = Page::of(
        &context,
        input.max_results,
        1..=100,
        50,
        input.next_token.as_deref(),
        &*thing,
    )?;
    context
        .database()
        .read(move |t| {
            core(t, &thing)?;
            let found = of_core(t, &thing, page.after().unwrap_or_default(), page.fetch())?;
            let (found, next_token) = page.finish(found, |a: &Associated| a.thing_name.clone());
            Ok(ListOutput {
                associated_client_devices: found,
                next_token,
            })
        })
        .await
}

/// The client devices of a core after a name; a limit of -1 is none.
pub fn of_core(
    t: &Transaction<'_>,
    core: &str,
    after: &str,
    limit: i64,
) -> Result<Vec<Associated>, ApiError> {
    let sql = "SELECT client, created FROM gg_association WHERE core = ?1 AND client > ?2 ORDER BY client LIMIT ?3";
    let mut statement = t.prepare_cached(sql)?;
    let rows = statement.query_map((core, after, limit), |row| {
        Ok(Associated {
            thing_name: row.get(0)?,
            association_timestamp: row.get(1)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The cores that a client device may look for.
pub fn cores_of(t: &Transaction<'_>, client: &str) -> Result<Vec<String>, ApiError> {
    let sql = "SELECT core FROM gg_association WHERE client = ?1 ORDER BY core";
    let mut statement = t.prepare_cached(sql)?;
    let rows = statement.query_map([client], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
