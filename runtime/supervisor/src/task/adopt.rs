//! The start: what is remembered, what still runs, and what should run are brought together.

use super::{
    Notice, Task, is_main,
    worker::{ANSWER_LIMIT, tag},
};
use crate::{
    ApplyError,
    launcher::{LaunchError, StepKind, UnitStatus},
    machine::{Event, Found, Machine, Main, Past},
    record::Record,
};
use model::{ComponentName, ComponentSpec, component::Action};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tokio::{sync::oneshot, time::timeout};

/// All that adoption needs.
pub(super) struct Taken {
    specs: Vec<ComponentSpec>,
    units: Vec<UnitStatus>,
    records: BTreeMap<ComponentName, Record>,
    reply: oneshot::Sender<Result<(), ApplyError>>,
}

impl Task {
    /// Gathers what there is, beside the task.
    pub(super) fn look_around(
        &mut self,
        specs: Vec<ComponentSpec>,
        reply: oneshot::Sender<Result<(), ApplyError>>,
    ) {
        let (records, launcher, notices) = (
            self.records.clone(),
            Arc::clone(&self.launcher),
            self.notices.0.clone(),
        );
        self.helpers.spawn(async move {
            let records = match records.load().await {
                Ok(records) => records,
                Err(error) => {
                    let _ = reply.send(Err(ApplyError::Store(error.to_string())));
                    return;
                }
            };
            let units = match timeout(ANSWER_LIMIT, launcher.inspect()).await {
                Ok(Ok(units)) => units,
                failed => {
                    let why = failed
                        .unwrap_or_else(|_| Err(LaunchError::Disconnected("no answer".into())));
                    log::error!("cannot see which components run, they are started anew: {why:?}");
                    Vec::new()
                }
            };
            let _ = notices
                .send(Notice::Taken(Taken {
                    specs,
                    units,
                    records,
                    reply,
                }))
                .await;
        });
    }

    pub(super) fn take_over(&mut self, taken: Taken) {
        let Taken {
            specs,
            units,
            mut records,
            reply,
        } = taken;
        if !self.closing.is_empty() {
            let _ = reply.send(Err(ApplyError::Closed));
            return;
        }
        let now = self.clock.now();
        let mut units = by_component(units);
        for spec in specs {
            let spec = Arc::new(self.complete(spec));
            let name = spec.name.clone();
            if self.entries.contains_key(&name) {
                self.flow.push(
                    &name,
                    Event::Set {
                        spec,
                        action: Action::Keep,
                    },
                );
                continue;
            }
            let record = records.remove(&name);
            let token = record
                .as_ref()
                .map_or_else(|| self.token(&name), |record| Ok(record.token.clone()));
            let token = match token {
                Ok(token) => token,
                Err(reason) => {
                    let _ = reply.send(Err(ApplyError::Store(reason)));
                    return;
                }
            };
            let past = record.map_or_else(
                || Machine::new(Arc::clone(&spec)).past(),
                |record| record.past,
            );
            let (found, steps) = find(&past, units.remove(&name).unwrap_or_default());
            if found.main.is_some() && !found.strays {
                log::info!(component = name.as_str(); "its process was found running");
            }
            let (machine, effects) = Machine::adopt(past, found, spec, now);
            self.enter(name, machine, effects, token, steps);
        }
        for (name, units) in units {
            if self.entries.contains_key(&name) {
                continue;
            }
            log::info!(component = name.as_str(); "it still runs but should not: it is stopped");
            match records.remove(&name) {
                Some(record) => self.dismiss(name, record, units),
                None => self.end_units(units),
            }
        }
        records.retain(|name, _| !self.entries.contains_key(name));
        self.absent.append(&mut records);
        self.rewire();
        let _ = reply.send(Ok(()));
    }

    fn dismiss(&mut self, name: ComponentName, record: Record, units: Vec<UnitStatus>) {
        let (found, steps) = find(&record.past, units);
        let (machine, effects) = Machine::dismiss(record.past, &found, self.clock.now());
        if machine.is_down() {
            let past = machine.past();
            self.absent.insert(
                name,
                Record {
                    token: record.token,
                    past,
                },
            );
            return;
        }
        self.enter(name.clone(), machine, effects, record.token, steps);
        if let Some(entry) = self.entries.get_mut(&name) {
            entry.dismissed = true;
        }
    }

    /// Nothing is known of them but that they run.
    fn end_units(&mut self, units: Vec<UnitStatus>) {
        for unit in units {
            let (launcher, grace) = (Arc::clone(&self.launcher), self.options.grace);
            self.helpers.spawn(async move {
                match timeout(grace + ANSWER_LIMIT, launcher.stop(&unit.id, grace)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => log::error!("{} cannot be stopped: {error}", unit.id),
                    Err(_) => log::error!(
                        "{} cannot be stopped: the launcher does not answer",
                        unit.id
                    ),
                }
            });
        }
    }
}

fn by_component(units: Vec<UnitStatus>) -> BTreeMap<ComponentName, Vec<UnitStatus>> {
    let mut map: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for unit in units {
        map.entry(unit.id.component.clone()).or_default().push(unit);
    }
    map
}

/// Tells a component's own main process from strays, by the launch it was tagged with.
fn find(past: &Past, units: Vec<UnitStatus>) -> (Found, BTreeSet<StepKind>) {
    let mut found = Found::default();
    let mut steps = BTreeSet::new();
    for unit in units {
        steps.insert(unit.id.step);
        let own = past.launched.is_some_and(|launched| {
            launched.step == unit.id.step && tag(&past.spec, launched.attempt) == unit.tag
        });
        if own && is_main(unit.id.step) {
            found.frozen = unit.frozen;
            found.main = Some(Main {
                pid: unit.pid,
                ended: unit.ended,
            });
        } else if unit.pid.is_some() {
            found.strays = true;
        }
    }
    (found, steps)
}
