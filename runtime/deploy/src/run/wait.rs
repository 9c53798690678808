//! Waiting until components are up: RUNNING for a while, or FINISHED.

use super::Run;
use crate::{Failure, table::Specs};
use model::error_code::ErrorCode;
use model::{ComponentName, ComponentStatus, State, Version, component::DependencyType};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::{sync::broadcast::error::RecvError, time::Instant};

impl Run {
    /// Waits for these components at these versions. BROKEN is a failure at once, anything else when the time is over.
    pub(super) async fn until_up(
        &self,
        targets: &BTreeMap<ComponentName, Version>,
        specs: &Specs,
        limit: Duration,
    ) -> Result<(), Failure> {
        let components = &self.shared.ports.components;
        let steady = self.shared.options.steady;
        let end = Instant::now() + limit;
        let mut events = components.watch();
        // Since when each is RUNNING, without anything having happened to it.
        let mut running: BTreeMap<ComponentName, (u64, Instant)> = BTreeMap::new();
        loop {
            let statuses: BTreeMap<_, _> = components
                .statuses()
                .into_iter()
                .map(|s| (s.name.clone(), s))
                .collect();
            let now = Instant::now();
            let mut waiting = Vec::new();
            let mut next = end;
            for (name, version) in targets {
                let status = statuses
                    .get(name)
                    .filter(|status| status.version == *version);
                match status.map(|status| status.state) {
                    Some(State::Finished) => {}
                    Some(State::Broken) => return Err(broken(status.expect("it has a state"))),
                    Some(State::Running) => {
                        let sequence = status.expect("it has a state").sequence;
                        let since = running.entry(name.clone()).or_insert((sequence, now));
                        if since.0 != sequence {
                            *since = (sequence, now);
                        }
                        if now < since.1 + steady {
                            next = next.min(since.1 + steady);
                            waiting.push((name, "RUNNING"));
                        }
                    }
                    other => {
                        // It never starts while something it needs is given up, also if this deployment did not touch that.
                        if let Some(status) = broken_below(name, specs, &statuses) {
                            return Err(broken(status));
                        }
                        running.remove(name);
                        waiting.push((name, other.map_or("not there yet", State::as_str)));
                    }
                }
            }
            if waiting.is_empty() {
                return Ok(());
            }
            let list: Vec<_> = waiting
                .iter()
                .map(|(name, state)| format!("{name} ({state})"))
                .collect();
            if now >= end {
                return Err(timed_out(&waiting, &statuses, &list, limit));
            }
            self.phase(&format!("waiting for {}", list.join(", ")));
            tokio::select! {
                event = events.recv() => if matches!(event, Err(RecvError::Closed)) {
                    // Nobody tells any more: look from time to time.
                    tokio::time::sleep(Duration::from_millis(200)).await;
                },
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }
}

/// A BROKEN component that this one needs, directly or through others.
fn broken_below<'a>(
    name: &ComponentName,
    specs: &Specs,
    statuses: &'a BTreeMap<ComponentName, ComponentStatus>,
) -> Option<&'a ComponentStatus> {
    let mut seen = BTreeSet::new();
    let mut open = vec![name];
    while let Some(spec) = open.pop().and_then(|name| specs.get(name)) {
        for (needed, kind) in &spec.dependencies {
            if *kind == DependencyType::Hard && seen.insert(needed) {
                match statuses.get(needed) {
                    Some(status) if status.state == State::Broken => return Some(status),
                    _ if specs.contains_key(needed) => open.push(needed),
                    _ => {}
                }
            }
        }
    }
    None
}

fn broken(status: &ComponentStatus) -> Failure {
    let why = if status.reason.is_empty() {
        String::new()
    } else {
        format!(": {}", status.reason)
    };
    Failure::new(
        &[ErrorCode::ComponentUpdateError, ErrorCode::ComponentBroken],
        format!("Service {} in broken state{why}", status.name),
    )
    .of_component(&status.name)
}

fn timed_out(
    waiting: &[(&ComponentName, &str)],
    statuses: &BTreeMap<ComponentName, ComponentStatus>,
    list: &[String],
    limit: Duration,
) -> Failure {
    let mut message = format!(
        "after {} s these were not up: {}",
        limit.as_secs_f64(),
        list.join(", ")
    );
    for status in waiting
        .iter()
        .filter_map(|(name, _)| statuses.get(*name))
        .filter(|s| !s.reason.is_empty())
    {
        message.push_str(&format!("\n{}: {}", status.name, status.reason));
    }
    let failure = Failure::new(&[ErrorCode::ComponentUpdateError], message);
    waiting
        .iter()
        .fold(failure, |failure, (name, _)| failure.of_component(name))
}
