//! Rows of deployments, and how they stand now.

use super::{SHADOW, document::Parts};
use crate::{
    greengrassv2::{
        devices::table::ResultRow,
        names::{Kind, not_found},
    },
    http::{ApiError, Timestamp},
    iot::{
        jobs::{
            Job,
            rollout::{Abort, Rollout},
        },
        registry::names::of_arn,
        shadow,
    },
    state::Account,
};
use rusqlite::{OptionalExtension, Row, Transaction};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `iotJobConfiguration`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct JobConfiguration {
    /// How fast.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_executions_rollout_config: Option<Rollout>,
    /// When it is called off by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort_config: Option<Abort>,
    /// How long a device has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_config: Option<Timeout>,
}

/// `timeoutConfig`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Timeout {
    /// From the start on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_progress_timeout_in_minutes: Option<i64>,
}

/// A deployment.
#[derive(Clone, Debug)]
pub struct Deployment {
    /// Its id.
    pub id: String,
    /// The ARN of the thing or group that it is for.
    pub target: String,
    /// Of a sub-deployment: the group it refines.
    pub parent: Option<String>,
    /// Counts up with every deployment for the target.
    pub revision: i64,
    /// For people.
    pub name: Option<String>,
    /// The job of a deployment to a group.
    pub job: Option<String>,
    /// Components and policies, as they were asked for.
    pub parts: Parts,
    /// As it was asked for.
    pub job_configuration: Option<JobConfiguration>,
    /// The key of the object that has the document, when that is too large to be sent.
    pub large: Option<String>,
    /// `ACTIVE`, `CANCELED`, `INACTIVE`.
    pub status: String,
    /// Whether it is the newest for its target.
    pub latest: bool,
    /// When it was created.
    pub created: Timestamp,
}

impl Deployment {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let text = |name: &str| row.get::<_, String>(name);
        let configuration: Option<String> = row.get("job_configuration")?;
        Ok(Self {
            id: row.get("id")?,
            target: row.get("target")?,
            parent: row.get("parent")?,
            revision: row.get("revision")?,
            name: row.get("name")?,
            job: row.get("job")?,
            parts: Parts {
                components: serde_json::from_str(&text("components")?).unwrap_or_default(),
                policies: serde_json::from_str(&text("policies")?).unwrap_or_default(),
            },
            job_configuration: configuration.and_then(|text| serde_json::from_str(&text).ok()),
            large: row.get("large")?,
            status: row.get("status")?,
            latest: row.get("latest")?,
            created: row.get("created")?,
        })
    }

    /// The deployment of an id.
    pub fn find(t: &Transaction<'_>, id: &str) -> Result<Option<Self>, ApiError> {
        let sql = "SELECT * FROM gg_deployment WHERE id = ?1";
        Ok(t.prepare_cached(sql)?
            .query_row([id], Self::read)
            .optional()?)
    }

    /// The same, or the error for its absence.
    pub fn get(t: &Transaction<'_>, id: &str) -> Result<Self, ApiError> {
        Self::find(t, id)?.ok_or_else(|| {
            not_found(
                Kind::Deployment,
                id,
                format!("Deployment {id} does not exist."),
            )
        })
    }

    /// The newest deployment for a target.
    pub fn latest(t: &Transaction<'_>, target: &str) -> Result<Option<Self>, ApiError> {
        let sql = "SELECT * FROM gg_deployment WHERE target = ?1 AND latest ORDER BY revision DESC LIMIT 1";
        Ok(t.prepare_cached(sql)?
            .query_row([target], Self::read)
            .optional()?)
    }

    /// All deployments for a target, the newest first.
    pub fn of_target(t: &Transaction<'_>, target: &str) -> Result<Vec<Self>, ApiError> {
        let sql = "SELECT * FROM gg_deployment WHERE target = ?1 ORDER BY revision DESC";
        let mut statement = t.prepare_cached(sql)?;
        let rows = statement.query_map([target], Self::read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The deployment that a job belongs to.
    pub fn of_job(t: &Transaction<'_>, job: &str) -> Result<Option<Self>, ApiError> {
        // A deployment's job has its id.
        Self::find(t, job)
    }

    /// The deployment whose document has this configuration ARN.
    pub fn of_configuration(t: &Transaction<'_>, arn: &str) -> Result<Option<Self>, ApiError> {
        let Some((target, revision)) = super::document::target_of(arn) else {
            return Ok(None);
        };
        let sql = "SELECT * FROM gg_deployment WHERE target = ?1 AND revision = ?2";
        Ok(t.prepare_cached(sql)?
            .query_row((target, revision), Self::read)
            .optional()?)
    }

    /// A page, the newest first.
    pub fn list(t: &Transaction<'_>, filter: &Filter) -> Result<Vec<Self>, ApiError> {
        let sql = "SELECT * FROM gg_deployment WHERE (?1 IS NULL OR target = ?1) AND (?2 IS NULL OR parent = ?2)
             AND (latest OR ?3) AND (?4 IS NULL OR (created, id) < (?4, ?5)) ORDER BY created DESC, id DESC LIMIT ?6";
        let mut statement = t.prepare_cached(sql)?;
        let (time, id) = filter.after.clone().unzip();
        let rows = statement.query_map(
            (
                &filter.target,
                &filter.parent,
                filter.all,
                time,
                id,
                filter.limit,
            ),
            Self::read,
        )?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Adds it, as the newest for its target.
    pub fn insert(&self, t: &Transaction<'_>) -> Result<(), ApiError> {
        let sql = "UPDATE gg_deployment SET latest = 0 WHERE target = ?1 AND latest";
        t.prepare_cached(sql)?.execute([&self.target])?;
        let sql = "INSERT INTO gg_deployment (id, target, parent, revision, name, job, components, policies, job_configuration, large, status, latest, created)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)";
        let configuration = self.job_configuration.as_ref();
        t.prepare_cached(sql)?.execute((
            &self.id,
            &self.target,
            &self.parent,
            self.revision,
            &self.name,
            &self.job,
            serde_json::to_string(&self.parts.components)?,
            serde_json::to_string(&self.parts.policies)?,
            configuration.map(serde_json::to_string).transpose()?,
            &self.large,
            &self.status,
            self.latest,
            self.created,
        ))?;
        Ok(())
    }

    /// Changes how it stands.
    pub fn set_status(&mut self, t: &Transaction<'_>, status: &str) -> Result<(), ApiError> {
        status.clone_into(&mut self.status);
        t.prepare_cached("UPDATE gg_deployment SET status = ?2 WHERE id = ?1")?
            .execute([&self.id, status])?;
        Ok(())
    }

    /// The thing that it is for.
    pub fn thing(&self) -> Option<&str> {
        of_arn(&self.target, "thing")
    }

    /// The ARN that devices know it by.
    pub fn configuration_arn(&self, account: &Account) -> String {
        super::document::configuration_arn(account, &self.target, self.revision)
    }

    /// How it stands now: what its job or the device's shadow says, where that says more than the row.
    pub fn standing(&self, t: &Transaction<'_>, account: &Account) -> Result<String, ApiError> {
        if self.status != "ACTIVE" {
            return Ok(self.status.clone());
        }
        if let Some(job) = &self.job {
            let job = Job::find(t, job)?;
            let called_off = job.is_none_or(|job| job.status == "CANCELED");
            return Ok(if called_off { "CANCELED" } else { "ACTIVE" }.to_owned());
        }
        let result = self.shadow_result(t, account)?;
        Ok(match result.as_ref().map(|result| result.status.as_str()) {
            Some("SUCCEEDED" | "COMPLETED") => "COMPLETED",
            Some("FAILED" | "REJECTED" | "TIMED_OUT") => "FAILED",
            Some("CANCELED") => "CANCELED",
            _ => "ACTIVE",
        }
        .to_owned())
    }

    /// What the thing's shadow reports of this deployment.
    pub fn shadow_result(
        &self,
        t: &Transaction<'_>,
        account: &Account,
    ) -> Result<Option<ResultRow>, ApiError> {
        let Some(thing) = self.thing() else {
            return Ok(None);
        };
        let Some(shadow) = shadow::current(t, thing, SHADOW)? else {
            return Ok(None);
        };
        let document = shadow.document(Timestamp::now().millis() / 1000);
        let reported = &document["state"]["reported"];
        let arn = reported["fleetConfigurationArnForStatus"].as_str();
        let status = reported["status"].as_str();
        let (Some(status), true) = (status, arn == Some(&self.configuration_arn(account))) else {
            return Ok(None);
        };
        let seconds = document["metadata"]["reported"]["status"]["timestamp"].as_i64();
        Ok(Some(ResultRow {
            status: status.to_owned(),
            details: match &reported["statusDetails"] {
                Value::Object(details) => details.clone().into(),
                _ => Value::Null,
            },
            modified: seconds.map_or_else(Timestamp::now, |s| Timestamp::from_millis(s * 1000)),
        }))
    }
}

/// Which deployments to list.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// For this target.
    pub target: Option<String>,
    /// Refining this group.
    pub parent: Option<String>,
    /// Also those that are not the newest.
    pub all: bool,
    /// Where the last page ended.
    pub after: Option<(Timestamp, String)>,
    /// How many.
    pub limit: i64,
}

/// The next revision of a target; revisions are never given out twice.
pub fn next_revision(t: &Transaction<'_>, target: &str) -> Result<i64, ApiError> {
    let sql = "INSERT INTO gg_target (target, revision) VALUES (?1, 1)
         ON CONFLICT (target) DO UPDATE SET revision = revision + 1 RETURNING revision";
    Ok(t.prepare_cached(sql)?
        .query_row([target], |row| row.get(0))?)
}
