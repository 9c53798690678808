//! The messages that devices get when their list of pending runs changes: `notify` when a job joins or leaves it,
//! `notify-next` when another is first.

use super::table::{Job, Run, pending};
use crate::{
    device::port::Outgoing,
    http::{ApiError, Timestamp},
};
use rusqlite::Transaction;
use serde_json::{Value, json};
use std::collections::{BTreeMap, btree_map::Entry};

/// A thing and a namespace.
type Place = (String, Option<String>);

/// A run by its job and number.
type Key = (String, i64);

/// Whose lists a transaction has touched, and how they were.
#[derive(Debug, Default)]
pub struct Notices {
    before: BTreeMap<Place, Vec<Key>>,
    changed: Vec<Run>,
}

fn keys(runs: &[Run]) -> Vec<Key> {
    runs.iter()
        .map(|run| (run.job.clone(), run.number))
        .collect()
}

impl Notices {
    /// Notes a thing's list before it is changed for the first time.
    pub(super) fn before(
        &mut self,
        t: &Transaction<'_>,
        thing: &str,
        namespace: Option<&str>,
    ) -> Result<(), ApiError> {
        let key = (thing.to_owned(), namespace.map(str::to_owned));
        if let Entry::Vacant(place) = self.before.entry(key) {
            place.insert(keys(&pending(t, thing, namespace)?));
        }
        Ok(())
    }

    /// Notes a run that was changed.
    pub(super) fn changed(&mut self, run: Run) {
        self.changed.push(run);
    }

    pub(super) fn into_changed(self) -> Vec<Run> {
        self.changed
    }

    /// What to tell, at the end of the transaction.
    pub(super) fn messages(&self, t: &Transaction<'_>) -> Result<Vec<Outgoing>, ApiError> {
        let now = Timestamp::now();
        let mut messages = Vec::new();
        for ((thing, namespace), before) in &self.before {
            let after = pending(t, thing, namespace.as_deref())?;
            let suffix = namespace
                .as_ref()
                .map_or_else(String::new, |namespace| format!("-namespace-{namespace}"));
            let sorted = |mut keys: Vec<Key>| {
                keys.sort();
                keys
            };
            if sorted(keys(&after)) != sorted(before.clone()) {
                let topic = format!("$aws/things/{thing}/jobs/notify{suffix}");
                messages.push(Outgoing::json(topic, &list(&after, now)));
            }
            if keys(&after).first() != before.first() {
                let topic = format!("$aws/things/{thing}/jobs/notify-next{suffix}");
                messages.push(Outgoing::json(topic, &next(t, &after, now)?));
            }
        }
        Ok(messages)
    }
}

/// `{"timestamp", "jobs": {"IN_PROGRESS": […], "QUEUED": […]}}`.
fn list(runs: &[Run], now: Timestamp) -> Value {
    let mut jobs: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for run in runs {
        jobs.entry(run.execution.status.name())
            .or_default()
            .push(run.summary());
    }
    json!({ "timestamp": now.millis() / 1000, "jobs": jobs })
}

/// `{"timestamp", "execution": {…}}`, without an execution when there is none.
fn next(t: &Transaction<'_>, runs: &[Run], now: Timestamp) -> Result<Value, ApiError> {
    let mut message = json!({ "timestamp": now.millis() / 1000 });
    if let Some(run) = runs.first() {
        let document = Job::get(t, &run.job)?.document;
        message["execution"] = run.describe(Some(&document), now)?;
    }
    Ok(message)
}
