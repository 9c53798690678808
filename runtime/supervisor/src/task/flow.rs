//! How events pass through the machines, and what one component's change means for its neighbours.

use super::Task;
use crate::{
    graph::Graph,
    machine::{Event, Phase, Refused, Stage, Why},
};
use model::{ComponentName, component::DependencyType};
use std::{collections::VecDeque, sync::Arc};

/// Events on their way to their machines, in order.
#[derive(Default)]
pub(super) struct Flow {
    events: VecDeque<(ComponentName, Event)>,
}

impl Flow {
    pub fn push(&mut self, name: &ComponentName, event: Event) {
        self.events.push_back((name.clone(), event));
    }

    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

impl Task {
    /// Passes on all events, with those that follow from them. Ends: an event leads on only when a machine changes its
    /// phase, and without new facts or wishes each can do so only so often.
    pub(super) fn settle(&mut self) {
        while let Some((name, event)) = self.flow.events.pop_front() {
            // A gate that has closed again since.
            if event == Event::Go && !self.may_go(&name) {
                continue;
            }
            if let Err(refused) = self.feed(&name, event) {
                log::trace!(component = name.as_str(); "an event came {refused}");
            }
        }
        self.answer_pending();
    }

    /// One event to one machine. A component that is not there takes none.
    pub(super) fn feed(&mut self, name: &ComponentName, event: Event) -> Result<(), Refused> {
        let now = self.clock.now();
        let Some(entry) = self.entries.get_mut(name) else {
            return Ok(());
        };
        let (next, effects) = entry.machine.advance(event, now)?;
        let before = std::mem::replace(&mut entry.machine, next);
        entry.carry_out(effects);
        entry.release_waiters();
        let after = &entry.machine;
        if before.state() != after.state() {
            log::info!(
                component = name.as_str(), from = before.state().as_str(), to = after.state().as_str();
                "{} is {}{}{}", name, after.state(), if after.failure.reason.is_empty() { "" } else { ": " }, after.failure.reason
            );
        }
        self.board.put(after.status());
        let lost = before.is_ready() && !after.is_ready();
        let failed = is_failing(&after.phase) && !is_failing(&before.phase);
        let held = is_held(&after.phase) && !is_held(&before.phase);
        let rewired = !Arc::ptr_eq(&before.spec, &after.spec);
        let gone = after.phase == Phase::Gone;
        let dismissed = entry.dismissed && after.is_down();
        if gone {
            entry.forget();
        }
        if rewired {
            self.rewire();
        }
        if lost || failed || held {
            let dependers = self
                .graph
                .needed_by(name)
                .filter(|(_, kind)| *kind == DependencyType::Hard);
            for (depender, _) in dependers {
                self.flow.push(depender, Event::DependencyLost);
            }
        }
        if dismissed {
            self.dismissed(name);
        }
        self.open_gates(name);
        Ok(())
    }

    /// Lets go a component and its neighbours whose wait is over.
    pub(super) fn open_gates(&mut self, name: &ComponentName) {
        for name in self.graph.around(name) {
            if self.may_go(&name) {
                self.flow.push(&name, Event::Go);
            }
        }
    }

    /// What a waiting component waits for is there.
    fn may_go(&self, name: &ComponentName) -> bool {
        match self.entries.get(name).map(|entry| &entry.machine.phase) {
            Some(Phase::Installed { soft_until }) => {
                self.graph.needs(name).all(|(needed, kind)| {
                    let machine = &self.entries[needed].machine;
                    match kind {
                        DependencyType::Hard => machine.is_ready(),
                        DependencyType::Soft => soft_until.is_none() || !machine.is_coming(),
                    }
                })
            }
            Some(Phase::Leaving {
                stage: Stage::Held, ..
            }) => !self.graph.needed_by(name).any(|(depender, kind)| {
                let machine = &self.entries[depender].machine;
                match kind {
                    DependencyType::Hard => machine.holds_dependencies(),
                    DependencyType::Soft => {
                        machine.holds_dependencies()
                            && matches!(machine.phase, Phase::Leaving { .. })
                    }
                }
            }),
            _ => false,
        }
    }

    /// After the set of components or a spec has changed.
    pub(super) fn rewire(&mut self) {
        self.graph = Graph::new(self.entries.values().map(|entry| &*entry.machine.spec));
        let names: Vec<_> = self.entries.keys().cloned().collect();
        for name in names {
            if self.may_go(&name) {
                self.flow.push(&name, Event::Go);
            }
        }
    }
}

fn is_failing(phase: &Phase) -> bool {
    matches!(
        phase,
        Phase::Leaving {
            why: Why::Failure { .. },
            ..
        }
    )
}

fn is_held(phase: &Phase) -> bool {
    matches!(
        phase,
        Phase::Leaving {
            stage: Stage::Held,
            ..
        }
    )
}
