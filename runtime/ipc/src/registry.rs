//! Components that want to be asked: who listens, what was asked, and who has answered. Updates and validations of
//! configuration are both asked through it.

use crate::server::StreamSender;
use model::{ComponentName, deployment::DeploymentId};
use serde::Serialize;
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::mpsc;

/// See the module. Clones share it.
#[derive(Debug)]
pub(crate) struct Registry<A> {
    state: Arc<Mutex<State<A>>>,
}

impl<A> Clone for Registry<A> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
        }
    }
}

impl<A> Default for Registry<A> {
    fn default() -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                listeners: Vec::new(),
                asked: HashMap::new(),
                last: 0,
            })),
        }
    }
}

#[derive(Debug)]
struct State<A> {
    listeners: Vec<Listener>,
    asked: HashMap<(ComponentName, DeploymentId), mpsc::Sender<Answer<A>>>,
    last: u32,
}

#[derive(Debug)]
struct Listener {
    id: u32,
    component: ComponentName,
    stream: StreamSender,
}

/// What came of a question.
#[derive(Debug)]
pub(crate) struct Answer<A> {
    pub component: ComponentName,
    /// `None`: it no longer listens.
    pub given: Option<A>,
}

/// One listening stream; it stops listening when this is dropped.
#[derive(Debug)]
pub(crate) struct Entry<A> {
    registry: Registry<A>,
    id: u32,
}

/// A question to several components. Answers that come after it is dropped are too late.
#[derive(Debug)]
pub(crate) struct Question<A> {
    registry: Registry<A>,
    deployment: DeploymentId,
    /// Who has not answered.
    pub open: BTreeSet<ComponentName>,
    answers: mpsc::Receiver<Answer<A>>,
}

impl<A> Registry<A> {
    fn state(&self) -> MutexGuard<'_, State<A>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a stream. `before` runs first, with nothing asked in between.
    pub fn listen(
        &self,
        component: ComponentName,
        stream: StreamSender,
        before: impl FnOnce(),
    ) -> Entry<A> {
        let mut state = self.state();
        before();
        state.last = state.last.wrapping_add(1);
        let id = state.last;
        state.listeners.push(Listener {
            id,
            component,
            stream,
        });
        drop(state);
        Entry {
            registry: self.clone(),
            id,
        }
    }

    /// Whether some stream of the component listens.
    pub fn listens(&self, component: &ComponentName) -> bool {
        let state = self.state();
        state.listeners.iter().any(|l| l.component == *component)
    }

    /// Sends an event to every stream and wants no answer.
    pub fn tell(&self, event: &impl Serialize) {
        for listener in &self.state().listeners {
            // A stream that is gone needs no event.
            let _ = listener.stream.send(event);
        }
    }

    /// Asks each listening component for which there is an event.
    pub fn ask<E: Serialize>(
        &self,
        deployment: &DeploymentId,
        event: impl Fn(&ComponentName) -> Option<E>,
    ) -> Question<A> {
        let mut state = self.state();
        let (sender, answers) = mpsc::channel(state.listeners.len().max(1));
        let mut open = BTreeSet::new();
        let State {
            listeners, asked, ..
        } = &mut *state;
        for listener in listeners {
            if let Some(event) = event(&listener.component)
                && listener.stream.send(&event).is_ok()
            {
                let key = (listener.component.clone(), deployment.clone());
                asked.insert(key, sender.clone());
                open.insert(listener.component.clone());
            }
        }
        drop(state);
        Question {
            registry: self.clone(),
            deployment: deployment.clone(),
            open,
            answers,
        }
    }

    /// Takes an answer; `false` when nothing was asked, or it was answered, or it is too late.
    pub fn answer(&self, component: &ComponentName, deployment: &DeploymentId, given: A) -> bool {
        let key = (component.clone(), deployment.clone());
        let asked = self.state().asked.remove(&key);
        let answer = Answer {
            component: component.clone(),
            given: Some(given),
        };
        asked.is_some_and(|sender| sender.try_send(answer).is_ok())
    }
}

impl<A> Question<A> {
    /// The next answer; `None` when nobody is left to answer. Cancel-safe.
    pub async fn next(&mut self) -> Option<Answer<A>> {
        if self.open.is_empty() {
            return None;
        }
        let answer = self.answers.recv().await?;
        self.open.remove(&answer.component);
        Some(answer)
    }
}

impl<A> Drop for Question<A> {
    fn drop(&mut self) {
        let deployment = &self.deployment;
        let mut state = self.registry.state();
        for component in &self.open {
            state.asked.remove(&(component.clone(), deployment.clone()));
        }
    }
}

impl<A> Drop for Entry<A> {
    fn drop(&mut self) {
        let mut state = self.registry.state();
        let Some(at) = state.listeners.iter().position(|l| l.id == self.id) else {
            return;
        };
        let gone = state.listeners.swap_remove(at).component;
        if state.listeners.iter().any(|l| l.component == gone) {
            return;
        }
        state.asked.retain(|(component, _), sender| {
            if *component == gone {
                let answer = Answer {
                    component: gone.clone(),
                    given: None,
                };
                // There is room for one answer of each component.
                let _ = sender.try_send(answer);
            }
            *component != gone
        });
    }
}
