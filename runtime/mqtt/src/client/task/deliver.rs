//! Messages from the server to the consumers' queues, and back the news that they are done.

use super::Task;
use crate::{
    Message,
    client::{
        incoming::{Token, Verdict},
        link::Link,
        queue::{Pushed, Queue, Receipt},
        subscriptions,
        wire::{Publication, WireError},
    },
};
use std::{collections::VecDeque, sync::Arc};
use tokio::time::Instant;

/// A message on its way into queues, held up by one that is full: nothing more is read until it is through.
#[derive(Debug)]
pub(super) struct Pushing {
    message: Message,
    receipt: Option<Arc<Receipt>>,
    queues: VecDeque<Arc<Queue>>,
    /// When the first queue counts as slow. `None`: it is waited for, since what it holds is to be acknowledged.
    pub(super) patience: Option<Instant>,
}

impl Task {
    pub(super) fn message(
        &mut self,
        link: &mut Link,
        publication: Publication,
    ) -> Result<(), WireError> {
        match self.incoming.publish(publication)? {
            Verdict::Deliver(message, token) => self.deliver(link, message, token),
            Verdict::Repetition => {}
            Verdict::Answer(answer) => self.answer(link, answer),
        }
        Ok(())
    }

    fn deliver(&mut self, link: &mut Link, message: Message, token: Option<Token>) {
        let queues = self.subscriptions.matching(&message.topic);
        if queues.is_empty() {
            match token {
                // Subscribed to by an earlier process of ours: a subscriber may be about to come.
                Some(token) if link.granted.session_present && self.unclaimed_until_set(link) => {
                    self.unclaimed.push((message, token));
                }
                Some(token) => self.done(link, token),
                None => {}
            }
            return;
        }
        let receipt = token.map(|token| Receipt::new(token, queues.len(), Arc::clone(&self.bell)));
        self.pushing = Some(Pushing {
            message,
            receipt,
            queues: queues.into_iter().map(|(_, queue)| queue).collect(),
            patience: None,
        });
        self.push();
    }

    /// Pushes on; leaves what a full queue holds up.
    fn push(&mut self) {
        let excess = self.excess();
        let Some(pushing) = &mut self.pushing else {
            return;
        };
        while let Some(queue) = pushing.queues.front() {
            let receipt = pushing.receipt.as_ref();
            if queue.push(&pushing.message, receipt, excess) == Pushed::Full {
                if receipt.is_none() && pushing.patience.is_none() {
                    pushing.patience = Some(Instant::now() + queue.patience);
                }
                return;
            }
            pushing.queues.pop_front();
            pushing.patience = None;
        }
        self.pushing = None;
    }

    /// Stops waiting for a consumer that took nothing all the while.
    pub(super) fn give_up(&mut self, _link: &mut Link, now: Instant) {
        let Some(pushing) = &mut self.pushing else {
            return;
        };
        if pushing.patience.is_none_or(|patience| patience > now) {
            return;
        }
        if let Some(queue) = pushing.queues.front()
            && queue.give_up()
        {
            let topic = &*pushing.message.topic;
            log::warn!(topic = topic; "A subscriber takes nothing: QoS 0 messages to it are dropped");
        }
        self.push();
    }

    /// Consumers called.
    pub(super) fn answer_bell(&mut self, mut link: Option<&mut Link>) {
        let calls = self.bell.take();
        for token in calls.done {
            let answer = self.incoming.acknowledged(token);
            if let (Some(answer), Some(link)) = (answer, link.as_deref_mut()) {
                self.answer(link, answer);
            }
        }
        for subscriber in calls.dropped {
            self.subscriptions.remove(subscriber);
        }
        self.push();
    }

    fn done(&mut self, link: &mut Link, token: Token) {
        if let Some(answer) = self.incoming.acknowledged(token) {
            self.answer(link, answer);
        }
    }

    /// Gives a new subscriber what came before it.
    pub(super) fn claim(&mut self, filter: &str, queue: &Arc<Queue>) {
        let excess = self.excess();
        let bell = &self.bell;
        self.unclaimed.retain(|(message, token)| {
            if !subscriptions::matches(filter, &message.topic) {
                return true;
            }
            let receipt = Receipt::new(*token, 1, Arc::clone(bell));
            queue.push(message, Some(&receipt), excess) == Pushed::Full
        });
    }

    /// Whether messages of a kept session still wait for subscribers.
    fn unclaimed_until_set(&self, link: &Link) -> bool {
        link.since + self.options.timeouts.unclaimed > Instant::now()
    }

    pub(super) fn unclaimed_until(&self, link: &Link) -> Option<Instant> {
        let until = link.since + self.options.timeouts.unclaimed;
        (!self.unclaimed.is_empty()).then_some(until)
    }

    pub(super) fn drop_unclaimed(&mut self, link: &mut Link, now: Instant) {
        if self.unclaimed_until(link).is_none_or(|until| until > now) {
            return;
        }
        let unclaimed = std::mem::take(&mut self.unclaimed);
        let count = unclaimed.len();
        log::warn!(count; "Messages of the kept session were dropped: nobody subscribed to them");
        for (_, token) in unclaimed {
            self.done(link, token);
        }
    }
}
