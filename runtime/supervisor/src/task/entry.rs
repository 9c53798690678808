//! One component as the task holds it.

use super::mailbox::{Launch, Mailbox, Wants};
use crate::{
    RequestError,
    launcher::Exited,
    machine::{Effect, Machine, Past, Pause},
    record::Record,
    token::Token,
};
use model::ComponentName;
use std::sync::Arc;
use tokio::sync::oneshot;

type Reply = oneshot::Sender<Result<(), RequestError>>;

pub(super) struct Entry {
    pub name: ComponentName,
    pub machine: Machine,
    pub token: Token,
    pub mailbox: Arc<Mailbox>,
    /// What the worker was last told to remember.
    pub saved: Option<Past>,
    /// The end of a process whose pid the worker has not told yet.
    pub early: Option<Exited>,
    /// Events were missed while its launch was under way: its end may be among them.
    pub recheck: bool,
    /// Not among the components that should run: dropped once it is down, its record kept.
    pub dismissed: bool,
    /// Callers of pause (`true`) and resume.
    waiters: Vec<(bool, Reply)>,
}

impl Entry {
    pub fn new(name: ComponentName, machine: Machine, token: Token, mailbox: Arc<Mailbox>) -> Self {
        Self {
            name,
            machine,
            token,
            mailbox,
            saved: None,
            early: None,
            recheck: false,
            dismissed: false,
            waiters: Vec::new(),
        }
    }

    /// Hands effects to the worker, which first remembers the state they come from.
    pub fn carry_out(&mut self, effects: Vec<Effect>) {
        let past = self.machine.past();
        let save = (self.saved.as_ref() != Some(&past)).then(|| Record {
            token: self.token.clone(),
            past: past.clone(),
        });
        if save.is_none() && effects.is_empty() {
            return;
        }
        self.saved = Some(past);
        self.mailbox.put(|wants| {
            if let Some(record) = save {
                wants.save = Some(Some(record));
            }
            for effect in effects {
                add(wants, effect);
            }
        });
    }

    /// Has the worker forget the component.
    pub fn forget(&mut self) {
        self.saved = None;
        self.mailbox.put(|wants| wants.save = Some(None));
    }

    /// Answers a caller of pause or resume when it is done: at once, when there is nothing to do.
    pub fn await_frozen(&mut self, freeze: bool, reply: Reply) {
        let running = matches!(self.machine.phase, crate::machine::Phase::Running { .. });
        if !running || (freeze && self.machine.pause == Pause::Yes) {
            let _ = reply.send(Ok(()));
            return;
        }
        self.waiters.push((freeze, reply));
    }

    /// The worker has frozen or thawed it, or could not.
    pub fn frozen(&mut self, freeze: bool, result: &Result<(), String>) {
        for (wanted, reply) in self.waiters.drain(..) {
            let result = if wanted == freeze {
                result.clone()
            } else {
                Err("another request took its place".to_owned())
            };
            let doing = if wanted { "pause" } else { "resume" };
            let _ = reply.send(result.map_err(|reason| RequestError::Failed {
                name: self.name.clone(),
                doing,
                reason,
            }));
        }
    }

    /// A component on its way down answers those who wait for a pause.
    pub fn release_waiters(&mut self) {
        if !matches!(self.machine.phase, crate::machine::Phase::Running { .. })
            && !self.waiters.is_empty()
        {
            self.frozen(false, &Ok(()));
        }
    }
}

fn add(wants: &mut Wants, effect: Effect) {
    match effect {
        Effect::Launch {
            attempt,
            step,
            spec,
        } => {
            wants.launch = Some(Launch {
                attempt,
                step,
                spec,
            });
        }
        Effect::Kill => {
            wants.launch = None;
            wants.kill = true;
        }
        Effect::Freeze => wants.freeze = Some(true),
        Effect::Thaw => wants.freeze = Some(false),
        Effect::Limit(limits) => wants.limits = Some(limits),
    }
}
