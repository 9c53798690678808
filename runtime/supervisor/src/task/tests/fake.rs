//! A launcher without processes. Scripts are a small language of their own:
//! `exit 3`, `hang`, `after 5 exit 0` (seconds), `immortal` (outlives a stop until told otherwise).

use crate::launcher::{
    Event, Events, Exited, LaunchError, Launcher, Outcome, Started, Unit, UnitId, UnitStatus,
};
use async_trait::async_trait;
use model::{ComponentName, SystemLimits};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};
use tokio::{
    sync::{Notify, broadcast},
    time::Instant,
};

/// Clones share one world; a runtime that is started anew finds it as it was.
#[derive(Clone)]
pub(super) struct Fake {
    world: Arc<Mutex<World>>,
    events: broadcast::Sender<Event>,
    logged: Arc<Notify>,
}

struct World {
    units: BTreeMap<UnitId, (Unit, UnitStatus)>,
    next_pid: u32,
    /// What happened, as `<component>/<step> started|stopped|exited`, `<component> frozen|thawed`, with the time.
    log: Vec<(Instant, String)>,
    started: Vec<Unit>,
    mortal: bool,
    can_freeze: bool,
    started_at: Instant,
}

impl Fake {
    pub fn new() -> Self {
        Self::with_backlog(1024)
    }

    pub fn with_backlog(backlog: usize) -> Self {
        let world = World {
            units: BTreeMap::new(),
            next_pid: 100,
            log: Vec::new(),
            started: Vec::new(),
            mortal: false,
            can_freeze: true,
            started_at: Instant::now(),
        };
        Self {
            world: Arc::new(Mutex::new(world)),
            events: broadcast::channel(backlog).0,
            logged: Arc::default(),
        }
    }

    /// Wakes when something is logged.
    pub fn logged(&self) -> &Notify {
        &self.logged
    }

    fn note(&self, world: &mut World, what: String) {
        world.log.push((Instant::now(), what));
        self.logged.notify_waiters();
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    /// What happened so far, without times.
    pub fn log(&self) -> Vec<String> {
        self.world()
            .log
            .iter()
            .map(|(_, what)| what.clone())
            .collect()
    }

    /// What happened, of these kinds alone.
    pub fn log_of(&self, words: &[&str]) -> Vec<String> {
        self.log()
            .into_iter()
            .filter(|what| words.iter().any(|word| what.contains(word)))
            .collect()
    }

    /// How often something happened.
    pub fn count(&self, what: &str) -> usize {
        self.log().iter().filter(|line| *line == what).count()
    }

    /// When something happened, since the beginning.
    pub fn times(&self, what: &str) -> Vec<Duration> {
        let world = self.world();
        world
            .log
            .iter()
            .filter(|(_, w)| w == what)
            .map(|(at, _)| *at - world.started_at)
            .collect()
    }

    /// Units of a component's step that were started, in order.
    pub fn units(&self, component: &str, step: &str) -> Vec<Unit> {
        let id =
            |unit: &Unit| unit.id.component.as_str() == component && unit.id.step.as_str() == step;
        self.world()
            .started
            .iter()
            .filter(|unit| id(unit))
            .cloned()
            .collect()
    }

    /// What lives.
    pub fn alive(&self) -> Vec<String> {
        self.world()
            .units
            .iter()
            .filter(|(_, (_, s))| s.pid.is_some())
            .map(|(id, _)| id.to_string())
            .collect()
    }

    /// Immortal processes end at the next stop.
    pub fn let_die(&self) {
        self.world().mortal = true;
    }

    pub fn no_freezer(&self) {
        self.world().can_freeze = false;
    }

    /// A process ends by itself.
    pub fn exit(&self, component: &str, step: crate::launcher::StepKind, outcome: Outcome) {
        let id = UnitId::new(ComponentName::new(component).unwrap(), step);
        let pid = self.world().units[&id].1.pid.expect("it lives");
        self.end(&id, pid, outcome, true);
    }

    /// A process ends, but nobody is told.
    pub fn exit_unseen(&self, component: &str, step: crate::launcher::StepKind, outcome: Outcome) {
        let id = UnitId::new(ComponentName::new(component).unwrap(), step);
        let pid = self.world().units[&id].1.pid.expect("it lives");
        self.end(&id, pid, outcome, false);
    }

    pub fn missed(&self) {
        let _ = self.events.send(Event::Missed);
    }

    fn end(&self, id: &UnitId, pid: u32, outcome: Outcome, tell: bool) {
        let tail = vec![format!("last words of {}", id.step)];
        {
            let mut world = self.world();
            let Some((_, status)) = world
                .units
                .get_mut(id)
                .filter(|(_, status)| status.pid == Some(pid))
            else {
                return;
            };
            status.pid = None;
            status.ended = Some((outcome, tail.clone()));
            self.note(&mut world, format!("{id} exited"));
        }
        if tell {
            let _ = self.events.send(Event::Exited(Exited {
                id: id.clone(),
                pid,
                outcome,
                stderr_tail: tail,
            }));
        }
    }
}

#[async_trait]
impl Launcher for Fake {
    async fn start(&self, unit: Unit) -> Result<Started, LaunchError> {
        let (id, script) = (unit.id.clone(), unit.script.clone());
        if script == "unstartable" {
            return Err(LaunchError::Start {
                id,
                reason: "no such shell".into(),
            });
        }
        if unit.user.as_deref() == Some("nobody-here") {
            return Err(LaunchError::User {
                user: "nobody-here".into(),
                reason: "no such user".into(),
            });
        }
        let pid = {
            let mut world = self.world();
            if world
                .units
                .get(&id)
                .is_some_and(|(_, status)| status.pid.is_some())
            {
                return Err(LaunchError::Exists(id));
            }
            let pid = world.next_pid;
            world.next_pid += 1;
            let status = UnitStatus {
                id: id.clone(),
                tag: unit.tag.clone(),
                pid: Some(pid),
                started: SystemTime::now(),
                frozen: false,
                ended: None,
            };
            self.note(&mut world, format!("{id} started"));
            world.started.push(unit.clone());
            world.units.insert(id.clone(), (unit, status));
            pid
        };
        let words: Vec<&str> = script.split(' ').collect();
        let (after, code) = match words[..] {
            ["exit", code] => (0, code.parse().unwrap()),
            ["after", seconds, "exit", code] => (seconds.parse().unwrap(), code.parse().unwrap()),
            ["hang" | "immortal", ..] => {
                return Ok(Started {
                    pid,
                    warnings: Vec::new(),
                });
            }
            _ => panic!("no such script: {script}"),
        };
        let fake = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(after)).await;
            fake.end(&id, pid, Outcome::Code(code), true);
        });
        Ok(Started {
            pid,
            warnings: Vec::new(),
        })
    }

    async fn stop(&self, id: &UnitId, grace: Duration) -> Result<(), LaunchError> {
        let (pid, immortal) = {
            let world = self.world();
            let Some((unit, status)) = world.units.get(id) else {
                return Ok(());
            };
            (status.pid, unit.script == "immortal" && !world.mortal)
        };
        if immortal {
            tokio::time::sleep(grace).await;
            return Err(LaunchError::System {
                doing: format!("killing {id}"),
                reason: "it does not end".into(),
            });
        }
        if let Some(pid) = pid {
            self.note(&mut self.world(), format!("{id} stopped"));
            self.end(id, pid, Outcome::Signal(15), true);
        }
        self.world().units.remove(id);
        Ok(())
    }

    async fn freeze(&self, component: &ComponentName) -> Result<(), LaunchError> {
        let mut world = self.world();
        if !world.can_freeze {
            return Err(LaunchError::Unsupported("no cgroup".into()));
        }
        self.note(&mut world, format!("{component} frozen"));
        Ok(())
    }

    async fn thaw(&self, component: &ComponentName) -> Result<(), LaunchError> {
        self.note(&mut self.world(), format!("{component} thawed"));
        Ok(())
    }

    async fn inspect(&self) -> Result<Vec<UnitStatus>, LaunchError> {
        Ok(self
            .world()
            .units
            .values()
            .map(|(_, status)| status.clone())
            .collect())
    }

    async fn owner(&self, _pid: u32) -> Result<Option<ComponentName>, LaunchError> {
        Err(LaunchError::Unsupported(
            "not asked for by the supervisor".into(),
        ))
    }

    async fn own_artifacts(
        &self,
        component: &ComponentName,
        _: &[PathBuf],
        user: &str,
    ) -> Result<(), LaunchError> {
        self.note(&mut self.world(), format!("{component} owned by {user}"));
        Ok(())
    }

    async fn prepare_work_folder(
        &self,
        component: &ComponentName,
        _: Option<&str>,
    ) -> Result<PathBuf, LaunchError> {
        Ok(PathBuf::from("/gg/work").join(component.as_str()))
    }

    async fn limits(
        &self,
        component: &ComponentName,
        limits: &SystemLimits,
    ) -> Result<(), LaunchError> {
        let limits = format!("{component} limited to {:?} KiB", limits.memory_kib);
        self.note(&mut self.world(), limits);
        Ok(())
    }

    async fn reboot(&self) -> Result<(), LaunchError> {
        Err(LaunchError::Unsupported(
            "not asked for by the supervisor".into(),
        ))
    }

    fn events(&self) -> Events {
        Events::new(self.events.subscribe())
    }
}
