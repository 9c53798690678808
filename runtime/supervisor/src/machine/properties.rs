//! What holds whatever happens, in whatever order.

use super::{
    Effect, Event, Fault, Goal, Machine, Moment, Origin, Phase,
    fixture::{running, step, timed},
};
use crate::launcher::{Outcome, StepKind};
use model::{
    ComponentSpec, State,
    component::{Action, RestartPolicy},
};
use proptest::prelude::*;
use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
    time::Duration,
};

/// The world a machine lives in: processes that hang unless told otherwise.
struct World {
    machine: Machine,
    now: Moment,
    /// Launches that have begun and not ended; `true`: the answer is still due.
    alive: BTreeMap<u64, (StepKind, bool)>,
    killing: bool,
    /// Errors as the rule counts them, kept apart from the machine.
    errors: Vec<(Origin, Moment)>,
}

/// One thing that may happen.
#[derive(Clone, Copy, Debug)]
enum Act {
    Set(usize, Action),
    Restart,
    DependencyLost,
    Stop(bool),
    Remove,
    Go,
    Report(bool),
    Pause,
    Resume,
    Frozen(bool),
    Spawn,
    Skip,
    FailSpawn,
    Exit(i32),
    Down(bool),
    Deadline,
    Wait(u64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let actions = prop_oneof![
        Just(Action::Keep),
        Just(Action::Restart),
        Just(Action::Reinstall)
    ];
    let act = prop_oneof![
        1 => (0usize..4, actions).prop_map(|(spec, action)| Act::Set(spec, action)),
        1 => Just(Act::Restart),
        1 => Just(Act::DependencyLost),
        1 => any::<bool>().prop_map(Act::Stop),
        1 => Just(Act::Remove),
        6 => Just(Act::Go),
        2 => any::<bool>().prop_map(Act::Report),
        1 => Just(Act::Pause),
        1 => Just(Act::Resume),
        1 => any::<bool>().prop_map(Act::Frozen),
        6 => Just(Act::Spawn),
        1 => Just(Act::Skip),
        1 => Just(Act::FailSpawn),
        6 => (0..2).prop_map(Act::Exit),
        6 => prop::bool::weighted(0.9).prop_map(Act::Down),
        4 => Just(Act::Deadline),
        2 => (0u64..2000).prop_map(Act::Wait),
    ];
    prop::collection::vec(act, 0..120)
}

static SPECS: LazyLock<Vec<Arc<ComponentSpec>>> = LazyLock::new(|| {
    let mut full = running("c");
    full.lifecycle.install = Some(timed("install", 120));
    full.lifecycle.shutdown = Some(step("shutdown"));
    full.lifecycle.recover = Some(timed("recover", 60));
    full.lifecycle.uninstall = Some(timed("uninstall", 120));
    let mut startup = full.clone();
    startup.version = "2.0.0".parse().unwrap();
    startup.lifecycle.run = None;
    startup.lifecycle.startup = Some(timed("startup", 120));
    startup.restart_policy.retry_broken = Some(Duration::from_secs(600));
    let mut bare = running("c");
    bare.restart_policy = RestartPolicy {
        max_errors: 0,
        ..RestartPolicy::default()
    };
    let mut library = running("c");
    library.lifecycle.run = None;
    [full, startup, bare, library]
        .into_iter()
        .map(Arc::new)
        .collect()
});

impl World {
    fn new(spec: Arc<ComponentSpec>) -> Self {
        let machine = Machine::new(Arc::clone(&spec));
        let mut world = Self {
            machine,
            now: Moment::default(),
            alive: BTreeMap::new(),
            killing: false,
            errors: Vec::new(),
        };
        world.feed(Event::Set {
            spec,
            action: Action::Keep,
        });
        world
    }

    fn feed(&mut self, event: Event) {
        let wish = matches!(event, Event::Set { .. } | Event::Restart);
        let Ok((next, effects)) = self.machine.advance(event, self.now) else {
            return;
        };
        let before = std::mem::replace(&mut self.machine, next);
        self.count(&before, wish);
        for effect in effects {
            match effect {
                Effect::Launch { attempt, step, .. } => {
                    let others: Vec<StepKind> =
                        self.alive.values().map(|(step, _)| *step).collect();
                    let main = |s: &StepKind| matches!(s, StepKind::Startup | StepKind::Run);
                    if step == StepKind::Shutdown {
                        assert!(others.iter().all(main), "shutdown beside {others:?}");
                    } else {
                        assert!(others.is_empty(), "{step} launched beside {others:?}");
                    }
                    assert!(step != StepKind::Install || !self.machine.installed);
                    assert!(
                        step != StepKind::Uninstall
                            || (self.machine.goal == Goal::Gone && !self.machine.installed)
                    );
                    assert!(!main(&step) || self.machine.installed);
                    self.alive.insert(attempt, (step, true));
                }
                Effect::Kill => {
                    assert!(!self.killing, "one kill at a time");
                    self.killing = true;
                    // A worker drops a launch it has not begun and waits for one it has.
                    self.alive.retain(|_, (_, due)| !*due);
                }
                Effect::Freeze => assert_eq!(self.machine.state(), State::Running),
                Effect::Thaw | Effect::Limit(_) => {}
            }
        }
        assert!(
            self.alive
                .values()
                .filter(|(s, _)| matches!(s, StepKind::Startup | StepKind::Run))
                .count()
                <= 1
        );
        assert!(
            !self.machine.is_down() || (self.alive.is_empty() && !self.killing),
            "down, yet {:?}",
            self.alive
        );
        assert!(
            self.machine.is_down()
                || self.killing
                || !self.alive.is_empty()
                || self.machine.deadline().is_some()
                || self
                    .machine
                    .process()
                    .is_none_or(|p| !self.alive.contains_key(&p.attempt)),
        );
    }

    /// BROKEN comes by the counting rule alone, and always when it says so.
    fn count(&mut self, before: &Machine, wish: bool) {
        let failing = |m: &Machine| match m.phase {
            Phase::Leaving {
                why: super::Why::Failure { origin, broken },
                ..
            } => Some((origin, broken)),
            _ => None,
        };
        let (was, is) = (failing(before), failing(&self.machine));
        if wish && self.machine.errors == super::Errors::default() {
            self.errors.clear();
        }
        if let (None, Some((origin, broken))) = (was, is) {
            self.errors.push((origin, self.now));
            let policy = &self.machine.spec.restart_policy;
            let recent = self
                .errors
                .iter()
                .filter(|(o, t)| *o == origin && self.now.since(*t).as_secs() <= 3600)
                .count();
            let most = policy.max_errors as usize;
            assert_eq!(
                broken,
                most != 0 && recent >= most,
                "{recent} recent errors of {most}"
            );
        }
        for origin in [Origin::New, Origin::Starting, Origin::Running] {
            if self.machine.errors.count(origin) == 0 {
                self.errors.retain(|(o, _)| *o != origin);
            }
        }
        if self.machine.state() == State::Broken && before.state() != State::Broken {
            assert!(is.is_some_and(|(_, broken)| broken));
        }
    }

    fn act(&mut self, act: Act) {
        let due = self
            .alive
            .iter()
            .find(|(_, (_, due))| *due)
            .map(|(attempt, _)| *attempt);
        let live = self
            .alive
            .iter()
            .filter(|(_, (_, due))| !*due)
            .map(|(attempt, _)| *attempt)
            .next_back();
        match act {
            Act::Set(spec, action) => self.feed(Event::Set {
                spec: Arc::clone(&SPECS[spec]),
                action,
            }),
            Act::Restart => self.feed(Event::Restart),
            Act::DependencyLost => self.feed(Event::DependencyLost),
            Act::Stop(orderly) => self.feed(Event::Stop { orderly }),
            Act::Remove => self.feed(Event::Remove),
            Act::Go => self.feed(Event::Go),
            Act::Report(true) => self.feed(Event::ReportRunning),
            Act::Report(false) => self.feed(Event::ReportErrored),
            Act::Pause => self.feed(Event::Pause),
            Act::Resume => self.feed(Event::Resume),
            Act::Frozen(frozen) => self.feed(Event::Frozen(frozen)),
            Act::Spawn => {
                if let Some(attempt) = due {
                    self.alive
                        .entry(attempt)
                        .and_modify(|entry| entry.1 = false);
                    self.feed(Event::Spawned { attempt, pid: 7 });
                }
            }
            Act::Skip | Act::FailSpawn => {
                if let Some(attempt) = due {
                    self.alive.remove(&attempt);
                    self.feed(if matches!(act, Act::Skip) {
                        Event::Skipped { attempt }
                    } else {
                        Event::NotSpawned {
                            attempt,
                            fault: Fault::Io("no".into()),
                        }
                    });
                }
            }
            Act::Exit(code) => {
                if let Some(attempt) = live {
                    self.alive.remove(&attempt);
                    self.feed(Event::Exited {
                        attempt,
                        outcome: Outcome::Code(code),
                        stderr: Vec::new(),
                    });
                }
            }
            Act::Down(ok) => {
                if self.killing {
                    self.killing = false;
                    if ok {
                        self.alive.clear();
                    }
                    self.feed(Event::Down(ok));
                }
            }
            Act::Deadline => {
                if let Some(deadline) = self.machine.deadline() {
                    self.now = self.now.max(deadline);
                    self.feed(Event::Deadline);
                }
            }
            Act::Wait(seconds) => self.now = self.now + Duration::from_secs(seconds),
        }
    }

    /// Lets everything take its course, while every process hangs until it is killed.
    fn run_out(&mut self) {
        for _ in 0..40 {
            if self.machine.is_down() {
                return;
            }
            self.act(Act::Spawn);
            self.act(Act::Go);
            self.act(Act::Down(true));
            self.act(Act::Deadline);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    /// The invariants are asserted at each step of the world.
    #[test]
    fn at_most_one_process_and_broken_by_count_alone(first in 0usize..4, acts in acts()) {
        let mut world = World::new(Arc::clone(&SPECS[first]));
        for act in acts {
            world.act(act);
        }
    }

    #[test]
    fn a_stop_is_always_served(first in 0usize..4, acts in acts(), orderly in any::<bool>()) {
        let mut world = World::new(Arc::clone(&SPECS[first]));
        for act in acts {
            world.act(act);
        }
        world.feed(Event::Stop { orderly });
        world.run_out();
        prop_assert!(world.machine.is_down(), "{:?}", world.machine.phase);
        prop_assert!(world.alive.is_empty());
        let state = world.machine.state();
        prop_assert!(matches!(state, State::New | State::Finished | State::Broken | State::Uninstalled), "{}", state);
        prop_assert_eq!(world.machine.deadline(), None, "nothing may bring it up again");
    }

    #[test]
    fn a_removal_is_always_served(first in 0usize..4, acts in acts()) {
        let mut world = World::new(Arc::clone(&SPECS[first]));
        for act in acts {
            world.act(act);
        }
        world.feed(Event::Remove);
        world.run_out();
        prop_assert_eq!(world.machine.phase, Phase::Gone);
    }

    #[test]
    fn the_spec_set_last_is_the_one_that_comes_up(first in 0usize..4, acts in acts(), last in 0usize..4) {
        let mut world = World::new(Arc::clone(&SPECS[first]));
        for act in acts {
            world.act(act);
        }
        let spec = Arc::clone(&SPECS[last]);
        world.feed(Event::Set { spec: Arc::clone(&spec), action: Action::Keep });
        world.run_out_up();
        prop_assert_eq!(&world.machine.spec, &spec);
        prop_assert!(world.machine.is_ready() && world.machine.is_settled(), "{:?}", world.machine.phase);
    }
}

impl World {
    /// Lets every script that should end do so with success.
    fn run_out_up(&mut self) {
        for _ in 0..40 {
            if self.machine.is_ready() && self.machine.is_settled() {
                return;
            }
            self.act(Act::Spawn);
            self.act(Act::Go);
            if self
                .machine
                .process()
                .is_some_and(|process| process.step != StepKind::Run)
            {
                self.act(Act::Exit(0));
            }
            self.act(Act::Down(true));
            if self.machine.is_down() || self.machine.is_stuck() {
                self.act(Act::Deadline);
            }
        }
    }
}
