//! Rows of component versions.

use crate::{
    greengrassv2::names::{Kind, component_arn, not_found},
    http::{ApiError, Timestamp},
    state::Account,
};
use model::Version;
use rusqlite::{OptionalExtension, Row, Transaction};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Where a version stands.
pub const REQUESTED: &str = "REQUESTED";
/// It can be deployed.
pub const DEPLOYABLE: &str = "DEPLOYABLE";
/// It never will be.
pub const FAILED: &str = "FAILED";

/// What a manifest is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the device must be.
    pub attributes: BTreeMap<String, String>,
}

/// One version of a component.
#[derive(Clone, Debug)]
pub struct Component {
    /// The component's name.
    pub name: String,
    /// The version.
    pub version: String,
    /// The recipe as canonical JSON, with the digests of its artifacts once they are known.
    pub recipe: String,
    /// How it was written: `JSON` or `YAML`.
    pub format: String,
    /// From the recipe.
    pub publisher: Option<String>,
    /// From the recipe.
    pub description: Option<String>,
    /// Of its manifests.
    pub platforms: Vec<Platform>,
    /// `REQUESTED`, `DEPLOYABLE`, `FAILED`.
    pub state: String,
    /// Why, for people.
    pub message: String,
    /// What is wrong, by artifact.
    pub errors: BTreeMap<String, String>,
    /// When it was created.
    pub created: Timestamp,
}

impl Component {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let (platforms, errors): (String, String) = (row.get("platforms")?, row.get("errors")?);
        Ok(Self {
            name: row.get("name")?,
            version: row.get("version")?,
            recipe: row.get("recipe")?,
            format: row.get("format")?,
            publisher: row.get("publisher")?,
            description: row.get("description")?,
            platforms: serde_json::from_str(&platforms).unwrap_or_default(),
            state: row.get("state")?,
            message: row.get("message")?,
            errors: serde_json::from_str(&errors).unwrap_or_default(),
            created: row.get("created")?,
        })
    }

    /// One version.
    pub fn find(t: &Transaction<'_>, name: &str, version: &str) -> Result<Option<Self>, ApiError> {
        let sql = "SELECT * FROM gg_component WHERE name = ?1 AND version = ?2";
        Ok(t.prepare_cached(sql)?
            .query_row([name, version], Self::read)
            .optional()?)
    }

    /// The same, or the error for its absence.
    pub fn get(
        t: &Transaction<'_>,
        account: &Account,
        name: &str,
        version: &str,
    ) -> Result<Self, ApiError> {
        Self::find(t, name, version)?.ok_or_else(|| {
            let arn = component_arn(account, name, Some(version));
            not_found(
                Kind::Component,
                &arn,
                format!("Component {arn} does not exist."),
            )
        })
    }

    /// All versions of a component, the highest first.
    pub fn versions(t: &Transaction<'_>, name: &str) -> Result<Vec<Self>, ApiError> {
        let mut statement = t.prepare_cached("SELECT * FROM gg_component WHERE name = ?1")?;
        let mut found = statement
            .query_map([name], Self::read)?
            .collect::<Result<Vec<_>, _>>()?;
        found.sort_by(|a, b| order(&b.version, &a.version));
        Ok(found)
    }

    /// Versions that are not finished: of an earlier run of the program.
    pub fn unfinished(t: &Transaction<'_>) -> Result<Vec<Self>, ApiError> {
        let mut statement =
            t.prepare_cached("SELECT * FROM gg_component WHERE state = 'REQUESTED'")?;
        let rows = statement.query_map([], Self::read)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Names of components after a name.
    pub fn names(
        t: &Transaction<'_>,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<String>, ApiError> {
        let sql = "SELECT DISTINCT name FROM gg_component WHERE name > ?1 ORDER BY name LIMIT ?2";
        let mut statement = t.prepare_cached(sql)?;
        let rows = statement.query_map((after.unwrap_or_default(), limit), |row| row.get(0))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Adds it.
    pub fn insert(&self, t: &Transaction<'_>) -> Result<(), ApiError> {
        let sql = "INSERT INTO gg_component (name, version, recipe, format, publisher, description, platforms, state, message, errors, created)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
        t.prepare_cached(sql)?.execute((
            &self.name,
            &self.version,
            &self.recipe,
            &self.format,
            &self.publisher,
            &self.description,
            serde_json::to_string(&self.platforms)?,
            &self.state,
            &self.message,
            serde_json::to_string(&self.errors)?,
            self.created,
        ))?;
        Ok(())
    }

    /// Writes what the look at its artifacts has come to. A version that was deleted meanwhile stays so.
    pub fn settle(&self, t: &Transaction<'_>) -> Result<(), ApiError> {
        let sql = "UPDATE gg_component SET recipe = ?3, state = ?4, message = ?5, errors = ?6
             WHERE name = ?1 AND version = ?2 AND created = ?7";
        t.prepare_cached(sql)?.execute((
            &self.name,
            &self.version,
            &self.recipe,
            &self.state,
            &self.message,
            serde_json::to_string(&self.errors)?,
            self.created,
        ))?;
        Ok(())
    }

    /// Its ARN.
    pub fn arn(&self, account: &Account) -> String {
        component_arn(account, &self.name, Some(&self.version))
    }

    /// `status`, as operations answer it.
    pub fn status(&self) -> Value {
        json!({
            "componentState": self.state,
            "message": self.message,
            "errors": self.errors,
            "vendorGuidance": "ACTIVE",
            "vendorGuidanceMessage": "",
        })
    }
}

/// The order of versions; what is no version comes first.
pub fn order(a: &str, b: &str) -> std::cmp::Ordering {
    match (a.parse::<Version>(), b.parse::<Version>()) {
        (Ok(x), Ok(y)) => x.cmp_precedence(&y).then_with(|| a.cmp(b)),
        (x, y) => x.is_ok().cmp(&y.is_ok()).then_with(|| a.cmp(b)),
    }
}
