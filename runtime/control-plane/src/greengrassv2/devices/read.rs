//! Looking at core devices and what is installed on them.

use super::table::{Core, Filter, Installed};
use crate::{
    greengrassv2::{
        deployments::table::Deployment,
        names::{core_arn, invalid_field},
        tags::{self, Tags},
    },
    http::{ApiError, Context, Empty, Operation, Page, Timestamp, validate},
    iot::{
        jobs::{execution::Status, table::things_at},
        registry::names::of_arn,
    },
};
use rusqlite::Transaction;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new(
            "GetCoreDevice",
            "GET /greengrass/v2/coreDevices/{coreDeviceThingName}",
            get,
        )
        .checks_access(),
        Operation::new(
            "DeleteCoreDevice",
            "DELETE /greengrass/v2/coreDevices/{coreDeviceThingName}",
            delete,
        )
        .status(204)
        .checks_access(),
        Operation::new("ListCoreDevices", "GET /greengrass/v2/coreDevices", list),
        Operation::new(
            "ListInstalledComponents",
            "GET /greengrass/v2/coreDevices/{coreDeviceThingName}/installedComponents",
            list_installed,
        )
        .checks_access(),
    ]
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    core_device_thing_name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Described {
    core_device_thing_name: String,
    core_version: Option<String>,
    platform: Option<String>,
    architecture: Option<String>,
    runtime: Option<String>,
    status: String,
    last_status_update_timestamp: Timestamp,
    tags: Tags,
}

async fn get(context: Context, input: Named) -> Result<Described, ApiError> {
    let arn = core_arn(&context.state.account, &input.core_device_thing_name);
    context.allow(&arn)?;
    context
        .database()
        .read(move |t| {
            let core = Core::get(t, &input.core_device_thing_name)?;
            Ok(Described {
                core_device_thing_name: core.thing,
                core_version: core.version,
                platform: core.platform,
                architecture: core.architecture,
                runtime: core.runtime,
                status: core.status,
                last_status_update_timestamp: Timestamp::from_millis(core.reported),
                tags: tags::of(t, &arn)?,
            })
        })
        .await
}

/// Takes a device from the list; its thing stays, and so does what others have set for it. One that is still in use
/// comes back with its next report.
async fn delete(context: Context, input: Named) -> Result<Empty, ApiError> {
    let thing = input.core_device_thing_name;
    let arn = core_arn(&context.state.account, &thing);
    context.allow(&arn)?;
    context
        .database()
        .write(move |t| {
            Core::get(t, &thing)?;
            for sql in [
                "DELETE FROM gg_installed WHERE thing = ?1",
                "DELETE FROM gg_core WHERE thing = ?1",
                "DELETE FROM gg_result WHERE thing = ?1",
                "DELETE FROM gg_telemetry WHERE thing = ?1",
                "DELETE FROM gg_association WHERE core = ?1",
            ] {
                t.execute(sql, [&thing])?;
            }
            tags::clear(t, &arn)?;
            Ok(Empty {})
        })
        .await
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListInput {
    thing_group_arn: Option<String>,
    status: Option<String>,
    runtime: Option<String>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    core_device_thing_name: String,
    status: String,
    last_status_update_timestamp: Timestamp,
    platform: Option<String>,
    architecture: Option<String>,
    runtime: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListOutput {
    core_devices: Vec<Listed>,
    next_token: Option<String>,
}

async fn list(context: Context, input: ListInput) -> Result<ListOutput, ApiError> {
    if let Some(status) = &input.status {
        validate::one_of("status", status, &["HEALTHY", "UNHEALTHY"])?;
    }
    if let Some(runtime) = &input.runtime {
        validate::length("runtime", runtime, 1..=255)?;
    }
    if let Some(arn) = &input.thing_group_arn
        && of_arn(arn, "thinggroup").is_none()
    {
        return Err(invalid_field(
            "thingGroupArn",
            format!("{arn} is not the ARN of a thing group"),
        ));
    }
    let filters = format!(
        "{:?} {:?} {:?}",
        input.thing_group_arn, input.status, input.runtime
    );
    let page = Page::of(
        &context,
        input.max_results,
        1..=100,
        50,
        input.next_token.as_deref(),
        filters,
    )?;
    context
        .database()
        .read(move |t| {
            let group = input.thing_group_arn.as_deref();
            let deployed = group.map(|arn| deployed_for(t, arn)).transpose()?;
            let found = Core::list(
                t,
                &Filter {
                    status: input.status,
                    runtime: input.runtime,
                    after: page.after().unwrap_or_default().to_owned(),
                    // A group's devices may be anywhere among the others.
                    limit: if deployed.is_some() { -1 } else { page.fetch() },
                },
            )?;
            let wanted = |core: &Core| {
                deployed
                    .as_ref()
                    .is_none_or(|things| things.contains(&core.thing))
            };
            let found = found.into_iter().filter(wanted).collect();
            let (found, next_token) = page.finish(found, |core: &Core| core.thing.clone());
            let listed = |core: Core| Listed {
                core_device_thing_name: core.thing,
                status: core.status,
                last_status_update_timestamp: Timestamp::from_millis(core.reported),
                platform: core.platform,
                architecture: core.architecture,
                runtime: core.runtime,
            };
            Ok(ListOutput {
                core_devices: found.into_iter().map(listed).collect(),
                next_token,
            })
        })
        .await
}

/// As AWS has it, a device belongs to a group here once a deployment to the group has succeeded on it.
fn deployed_for(t: &Transaction<'_>, group: &str) -> Result<BTreeSet<String>, ApiError> {
    let mut things = BTreeSet::new();
    for deployment in Deployment::of_target(t, group)? {
        if let Some(job) = &deployment.job {
            things.extend(things_at(t, job, Status::Succeeded)?);
        }
    }
    Ok(things)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InstalledInput {
    core_device_thing_name: String,
    topology_filter: Option<String>,
    max_results: Option<i64>,
    next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InstalledListed {
    component_name: String,
    component_version: String,
    lifecycle_state: String,
    lifecycle_state_details: Option<String>,
    is_root: bool,
    last_status_change_timestamp: Timestamp,
    last_reported_timestamp: Timestamp,
    last_installation_source: Option<String>,
    lifecycle_status_codes: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InstalledOutput {
    installed_components: Vec<InstalledListed>,
    next_token: Option<String>,
}

async fn list_installed(
    context: Context,
    input: InstalledInput,
) -> Result<InstalledOutput, ApiError> {
    let thing = input.core_device_thing_name;
    context.allow(&core_arn(&context.state.account, &thing))?;
    let topology = input.topology_filter.unwrap_or_else(|| "ROOT".to_owned());
    validate::one_of("topologyFilter", &topology, &["ALL", "ROOT"])?;
    let page = Page::of(
        &context,
        input.max_results,
        1..=100,
        50,
        input.next_token.as_deref(),
        format!("{thing} {topology}"),
    )?;
    context
        .database()
        .read(move |t| {
            Core::get(t, &thing)?;
            let after = page.after().unwrap_or_default();
            let found = Installed::list(t, &thing, topology == "ALL", after, page.fetch())?;
            let (found, next_token) = page.finish(found, |i: &Installed| i.name.clone());
            let listed = |i: Installed| InstalledListed {
                component_name: i.name,
                component_version: i.version,
                lifecycle_state: i.state,
                lifecycle_state_details: i.details,
                is_root: i.root,
                last_status_change_timestamp: i.changed,
                last_reported_timestamp: i.reported,
                last_installation_source: i.source,
                lifecycle_status_codes: i.codes,
            };
            Ok(InstalledOutput {
                installed_components: found.into_iter().map(listed).collect(),
                next_token,
            })
        })
        .await
}
