//! Changes of the set of components: who comes, who goes, and when the asker is told.

use super::{Task, entry::Entry, mailbox::Mailbox, worker::Worker};
use crate::{
    ApplyError, DefaultUser,
    launcher::StepKind,
    machine::{Effect, Event, Found, Machine, Phase},
    supervisor::Change,
    token::Token,
};
use model::{ComponentName, ComponentSpec, SystemLimits, component::Action};
use std::{collections::BTreeSet, sync::Arc};
use tokio::sync::oneshot;

/// A change under way.
pub(super) struct Pending {
    names: BTreeSet<ComponentName>,
    reply: oneshot::Sender<Result<(), ApplyError>>,
}

impl Task {
    pub(super) fn apply(&mut self, change: Change, reply: oneshot::Sender<Result<(), ApplyError>>) {
        self.refuse_pending(ApplyError::Superseded);
        let mut names: BTreeSet<ComponentName> = change.remove.iter().cloned().collect();
        for name in change.remove {
            self.remove(&name);
        }
        let mut wishes = Vec::new();
        for (spec, action) in change.set {
            let spec = Arc::new(self.complete(spec));
            names.insert(spec.name.clone());
            if let Err(reason) = self.set(spec, action, &mut wishes) {
                log::error!("{reason}");
                let _ = reply.send(Err(ApplyError::Store(reason)));
                return;
            }
        }
        // All are known before any moves, so that each waits for those it needs.
        self.rewire();
        self.flow_all(wishes);
        self.pending = Some(Pending { names, reply });
    }

    fn flow_all(&mut self, wishes: Vec<(ComponentName, Event)>) {
        for (name, event) in wishes {
            self.flow.push(&name, event);
        }
    }

    fn set(
        &mut self,
        spec: Arc<ComponentSpec>,
        action: Action,
        wishes: &mut Vec<(ComponentName, Event)>,
    ) -> Result<(), String> {
        let name = spec.name.clone();
        if let Some(entry) = self.entries.get_mut(&name) {
            entry.dismissed = false;
            wishes.push((name, Event::Set { spec, action }));
            return Ok(());
        }
        let token = self.token(&name)?;
        let (machine, effects) = match self.absent.remove(&name) {
            Some(record) if action != Action::Reinstall => {
                Machine::adopt(record.past, Found::default(), spec, self.clock.now())
            }
            _ => {
                wishes.push((
                    name.clone(),
                    Event::Set {
                        spec: Arc::clone(&spec),
                        action,
                    },
                ));
                (Machine::new(spec), Vec::new())
            }
        };
        self.enter(name, machine, effects, token, BTreeSet::new());
        Ok(())
    }

    /// Out of the set, also a component of which only the record is left.
    fn remove(&mut self, name: &ComponentName) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.dismissed = false;
        } else if let Some(record) = self.absent.remove(name) {
            let mut machine = Machine::new(Arc::clone(&record.past.spec));
            (machine.installed, machine.attempts) = (record.past.installed, record.past.attempts);
            machine.phase = Phase::Finished;
            self.enter(
                name.clone(),
                machine,
                Vec::new(),
                record.token,
                BTreeSet::new(),
            );
        }
        self.flow.push(name, Event::Remove);
    }

    /// Fills in the device's defaults, so that a change of them is a change of the spec.
    pub(super) fn complete(&self, mut spec: ComponentSpec) -> ComponentSpec {
        if let (None, DefaultUser::Named(user)) =
            (&spec.run_with.posix_user, &self.options.default_user)
        {
            spec.run_with.posix_user = Some(user.clone());
        }
        let SystemLimits { memory_kib, cpus } = self.options.default_limits.clone();
        let limits = &mut spec.run_with.limits;
        limits.memory_kib = limits.memory_kib.or(memory_kib);
        limits.cpus = limits.cpus.or(cpus);
        spec
    }

    /// Takes a component in, with a worker of its own. `units`: steps of which something may live.
    pub(super) fn enter(
        &mut self,
        name: ComponentName,
        machine: Machine,
        effects: Vec<Effect>,
        token: Token,
        units: BTreeSet<StepKind>,
    ) {
        let mailbox = Arc::new(Mailbox::default());
        let worker = Worker {
            name: name.clone(),
            token: token.clone(),
            options: Arc::clone(&self.options),
            launcher: Arc::clone(&self.launcher),
            records: self.records.clone(),
            mailbox: Arc::clone(&mailbox),
            answers: self.answers.0.clone(),
            units,
        };
        self.workers.spawn(worker.run());
        self.promised.remove(&name);
        self.board.admit(&name, &token);
        self.board.put(machine.status());
        let mut entry = Entry::new(name.clone(), machine, token, mailbox);
        entry.carry_out(effects);
        self.entries.insert(name, entry);
    }

    /// Its record is gone from the disk: so may the component be.
    pub(super) fn forgotten(&mut self, name: &ComponentName) {
        // Unless it was asked for again meanwhile.
        if self
            .entries
            .get(name)
            .is_some_and(|entry| entry.machine.phase == Phase::Gone)
        {
            self.leave(name);
        }
    }

    /// A component that should not run is down.
    pub(super) fn dismissed(&mut self, name: &ComponentName) {
        if let Some(entry) = self.entries.get(name) {
            let record = crate::record::Record {
                token: entry.token.clone(),
                past: entry.machine.past(),
            };
            self.absent.insert(name.clone(), record);
            self.leave(name);
        }
    }

    fn leave(&mut self, name: &ComponentName) {
        if let Some(entry) = self.entries.remove(name) {
            entry.mailbox.put(|wants| wants.end = true);
        }
        self.board.remove(name);
        self.rewire();
    }

    /// Tells the asker when all old processes are down and the new set is under way, or that they will not go.
    pub(super) fn answer_pending(&mut self) {
        let Some(pending) = &self.pending else { return };
        let machines = || {
            pending
                .names
                .iter()
                .filter_map(|name| self.entries.get(name).map(|e| (name, &e.machine)))
        };
        let stuck: Vec<_> = machines()
            .filter(|(_, m)| m.is_stuck() && !m.is_settled())
            .map(|(n, _)| n.clone())
            .collect();
        // A removed component stays among the entries until its record is gone.
        let done =
            machines().all(|(_, machine)| machine.phase != Phase::Gone && machine.is_settled());
        let result = match (stuck.is_empty(), done) {
            (true, true) => Ok(()),
            (true, false) => return,
            (false, _) => Err(ApplyError::Stuck(stuck)),
        };
        if let Some(pending) = self.pending.take() {
            // Nobody waits any more: the change goes on all the same.
            let _ = pending.reply.send(result);
        }
    }

    pub(super) fn refuse_pending(&mut self, error: ApplyError) {
        if let Some(pending) = self.pending.take() {
            let _ = pending.reply.send(Err(error));
        }
    }
}
