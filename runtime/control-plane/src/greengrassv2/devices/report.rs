//! A fleet status message: the device's health, the components that it has, how a deployment went. A COMPLETE one tells
//! of all components, perhaps in parts; a PARTIAL one only of those that changed.

use super::table::{Core, Installed, ResultRow};
use crate::{
    greengrassv2::deployments::table::Deployment,
    http::{ApiError, Timestamp},
};
use rusqlite::Transaction;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// A component that is on no deployment of the cloud.
const LOCAL: &str = "LOCAL";

/// One message.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    ggc_version: Option<String>,
    platform: Option<String>,
    architecture: Option<String>,
    runtime: Option<String>,
    #[serde(default)]
    overall_device_status: Health,
    #[serde(default)]
    sequence_number: i64,
    timestamp: Option<i64>,
    #[serde(default)]
    message_type: MessageType,
    trigger: Option<String>,
    chunk_info: Option<Chunk>,
    components: Option<Vec<Component>>,
    deployment_information: Option<DeploymentInformation>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum Health {
    #[default]
    Healthy,
    Unhealthy,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum MessageType {
    Complete,
    #[default]
    Partial,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Chunk {
    chunk_id: i64,
    total_chunks: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Component {
    component_name: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    fleet_config_arns: Option<Vec<String>>,
    #[serde(default)]
    is_root: bool,
    status: Option<String>,
    component_status_details: Option<StatusDetails>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StatusDetails {
    status_codes: Option<Vec<String>>,
    status_reason: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeploymentInformation {
    deployment_id: Option<String>,
    fleet_configuration_arn_for_status: Option<String>,
    status: Option<String>,
    #[serde(default)]
    status_details: Value,
}

impl Report {
    /// Reads a message.
    pub fn parse(payload: &[u8]) -> Result<Self, ApiError> {
        serde_json::from_slice(payload)
            .map_err(|error| ApiError::invalid(format!("not a fleet status message: {error}")))
    }

    /// Writes what it tells.
    pub fn apply(&self, t: &Transaction<'_>, thing: &str, now: Timestamp) -> Result<(), ApiError> {
        let reported = self.timestamp.unwrap_or(now.millis());
        let before = Core::find(t, thing)?;
        if before
            .as_ref()
            .is_some_and(|core| self.is_older(core, reported))
        {
            log::debug!(thing = thing, sequence = self.sequence_number; "a fleet status message that came late is left aside");
            return Ok(());
        }
        let mut core = before.unwrap_or_default();
        let again = core.sequence == self.sequence_number && !core.thing.is_empty();
        if !again {
            core.chunks = BTreeSet::new();
        }
        thing.clone_into(&mut core.thing);
        for (known, told) in [
            (&mut core.version, &self.ggc_version),
            (&mut core.platform, &self.platform),
            (&mut core.architecture, &self.architecture),
            (&mut core.runtime, &self.runtime),
        ] {
            // What a message does not say has not changed.
            if told.is_some() {
                known.clone_from(told);
            }
        }
        core.status = match self.overall_device_status {
            Health::Healthy => "HEALTHY",
            Health::Unhealthy => "UNHEALTHY",
        }
        .to_owned();
        core.sequence = self.sequence_number;
        core.reported = reported;
        core.seen = now.millis();
        let (chunk, total) = self
            .chunk_info
            .as_ref()
            .map_or((1, 1), |c| (c.chunk_id, c.total_chunks));
        core.chunks.insert(chunk);
        core.save(t)?;
        let time = Timestamp::from_millis(reported);
        for component in self.components.iter().flatten() {
            self.installed(t, thing, component, time)?;
        }
        let whole = i64::try_from(core.chunks.len()).is_ok_and(|came| came >= total);
        if self.message_type == MessageType::Complete && whole {
            Installed::keep_only(t, thing, self.sequence_number)?;
        }
        self.result(t, thing, time)
    }

    /// Whether it was overtaken by another. A device that was set up anew begins to count anew, but its time goes on.
    fn is_older(&self, core: &Core, reported: i64) -> bool {
        self.sequence_number < core.sequence && reported < core.reported
    }

    fn installed(
        &self,
        t: &Transaction<'_>,
        thing: &str,
        component: &Component,
        time: Timestamp,
    ) -> Result<(), ApiError> {
        let name = &component.component_name;
        let state = component.status.as_deref().unwrap_or("NEW");
        if state == "UNINSTALLED" {
            return Installed::remove(t, thing, name);
        }
        let before = Installed::find(t, thing, name)?;
        let same =
            |before: &&Installed| before.state == state && before.version == component.version;
        let changed = before.as_ref().filter(same).map_or(time, |b| b.changed);
        let details = component.component_status_details.as_ref();
        let source = self.source(t, component)?;
        let installed = Installed {
            name: name.clone(),
            version: component.version.clone(),
            state: state.to_owned(),
            details: details.and_then(|d| d.status_reason.clone()),
            codes: details
                .and_then(|d| d.status_codes.clone())
                .unwrap_or_default(),
            root: component.is_root,
            source: source.or_else(|| before.and_then(|b| b.source)),
            changed,
            reported: time,
        };
        installed.save(t, thing, self.sequence_number)
    }

    /// The newest of the deployments that brought a component.
    fn source(
        &self,
        t: &Transaction<'_>,
        component: &Component,
    ) -> Result<Option<String>, ApiError> {
        let mut newest: Option<Deployment> = None;
        for arn in component.fleet_config_arns.iter().flatten() {
            if let Some(found) = Deployment::of_configuration(t, arn)?
                && newest.as_ref().is_none_or(|n| n.created < found.created)
            {
                newest = Some(found);
            }
        }
        let local = self.trigger.as_deref() == Some("LOCAL_DEPLOYMENT");
        Ok(newest
            .map(|found| found.id)
            .or_else(|| local.then(|| LOCAL.to_owned())))
    }

    /// How a deployment went.
    fn result(&self, t: &Transaction<'_>, thing: &str, time: Timestamp) -> Result<(), ApiError> {
        let Some(told) = &self.deployment_information else {
            return Ok(());
        };
        let by_arn = match &told.fleet_configuration_arn_for_status {
            Some(arn) => Deployment::of_configuration(t, arn)?,
            None => None,
        };
        let found = match (by_arn, &told.deployment_id) {
            (Some(found), _) => Some(found),
            // A deployment to a group is known to the device by its job.
            (None, Some(id)) => Deployment::of_job(t, id)?,
            (None, None) => None,
        };
        if let (Some(found), Some(status)) = (found, &told.status) {
            let row = ResultRow {
                status: status.clone(),
                details: told.status_details.clone(),
                modified: time,
            };
            row.save(t, thing, &found.id)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use store::Database;

    fn report(sequence: i64, kind: &str, names: &[usize], chunk: (i64, i64)) -> Report {
        let components = names.iter().map(|n| {
            json!({"componentName": format!("C{n}"), "version": "1.0.0", "status": "RUNNING", "isRoot": true})
        });
        let message = json!({
            "ggcVersion": "2.12.0", "sequenceNumber": sequence, "timestamp": 1_700_000_000_000 + sequence,
            "messageType": kind, "chunkInfo": {"chunkId": chunk.0, "totalChunks": chunk.1},
            "components": components.collect::<Vec<_>>(),
        });
        Report::parse(message.to_string().as_bytes()).unwrap()
    }

    fn after(reports: Vec<Report>) -> Vec<String> {
        let database = Database::in_memory(&[crate::greengrassv2::SCHEMA]).unwrap();
        let installed = database.write_blocking(move |t| {
            for report in reports {
                report.apply(t, "core", Timestamp::now())?;
            }
            Installed::list(t, "core", true, "", -1)
        });
        let names = installed.map(|all| all.into_iter().map(|i| i.name).collect());
        database.close();
        names.map_err(|error: ApiError| error.to_string()).unwrap()
    }

    #[test]
    fn a_message_that_is_none_is_refused() {
        for payload in [
            "",
            "[]",
            "{\"components\": 1}",
            "{\"overallDeviceStatus\": \"FINE\"}",
        ] {
            assert!(Report::parse(payload.as_bytes()).is_err(), "{payload}");
        }
    }

    #[test]
    fn time_of_a_change_is_kept_while_a_component_stays_as_it_is() {
        let database = Database::in_memory(&[crate::greengrassv2::SCHEMA]).unwrap();
        let changed = database.write_blocking(|t| {
            for sequence in 1..4 {
                report(sequence, "PARTIAL", &[1], (1, 1)).apply(t, "core", Timestamp::now())?;
            }
            let found = Installed::find(t, "core", "C1")?;
            Ok::<_, ApiError>(found.map(|f| (f.changed.millis(), f.reported.millis())))
        });
        database.close();
        assert_eq!(
            changed.unwrap(),
            Some((1_700_000_000_001, 1_700_000_000_003))
        );
    }

    proptest! {
        #[test]
        fn a_whole_report_replaces_all_in_whatever_order_its_parts_come(
            before in prop::collection::btree_set(0usize..9, 0..5),
            whole in prop::collection::btree_set(0usize..9, 0..9),
            backwards: bool,
        ) {
            let before: Vec<usize> = before.into_iter().collect();
            let whole: Vec<usize> = whole.into_iter().collect();
            let (a, b) = whole.split_at(whole.len() / 2);
            let mut parts = vec![report(2, "COMPLETE", a, (1, 2)), report(2, "COMPLETE", b, (2, 2))];
            if backwards {
                parts.reverse();
            }
            parts.insert(0, report(1, "PARTIAL", &before, (1, 1)));
            let names: Vec<String> = whole.iter().map(|n| format!("C{n}")).collect();
            prop_assert_eq!(after(parts), names);
        }
    }
}
