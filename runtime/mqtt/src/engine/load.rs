//! What the store held at start becomes seats without connections.

use super::{
    Shared,
    clock::Due,
    metrics::add,
    seat::{Options, Seat, Target},
};
use crate::{
    session::Received,
    store::{Loaded, LoadedSession},
    topic::Filter,
};
use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::{Duration, SystemTime},
};

impl Shared {
    pub(crate) fn load(&self, loaded: Loaded) {
        let now = SystemTime::now();
        for session in loaded.sessions {
            self.load_session(session, now);
        }
        let mut retained = self
            .retained
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        for message in loaded.retained {
            let topic = message.topic.clone();
            if message.expires.is_some_and(|at| at <= now) || retained.set(message).is_err() {
                self.durable.unretain(&topic);
            }
        }
        self.metrics
            .retained
            .store(retained.len(), Ordering::Relaxed);
    }

    fn load_session(&self, session: LoadedSession, now: SystemTime) {
        let record = session.record;
        // A client that was connected when the process ended is away from now on.
        let since = record.away_since.unwrap_or(now).min(now);
        let ends = since + Duration::from_secs(record.expiry.into());
        let Some(left) = ends.duration_since(now).ok().filter(|left| !left.is_zero()) else {
            self.durable.end_session(Some(session.id));
            return;
        };
        let seat = self.registry().seat(&record.client_id);
        add(&self.metrics.sessions, 1);
        self.load_subscriptions(&seat, &session.subscriptions);
        let mut state = seat.lock();
        state.stored = Some(session.id);
        state.expiry = record.expiry;
        // Nothing is in memory yet: the first connection reads it. The newest number is not known, so all that comes is taken.
        state.spill = (session.messages > 0).then_some(u64::MAX);
        for id in session.received {
            if state.session.inbound.receive(id) == Received::Duplicate {
                log::warn!(client = &*record.client_id, id = id.get(); "a received message is in the store twice");
            }
        }
        let key = self
            .clock
            .set(left, &seat, state.generation, Due::SessionEnd);
        state.timers.push(key);
        let mut waits = None;
        if let Some(stored) = record.will {
            let delay = Duration::from_secs(stored.will.delay.into());
            let due = stored.due.unwrap_or(now + delay);
            let left_for_will = due.duration_since(now).unwrap_or_default().min(left);
            let key = self
                .clock
                .set(left_for_will, &seat, state.generation, Due::Will);
            state.timers.push(key);
            state.will = Some(Box::new(stored.will));
            waits = Some(due);
        }
        if record.away_since.is_none() {
            let will = state.will.as_deref().zip(waits);
            self.durable
                .close_session(session.id, &record.client_id, record.expiry, will);
        }
    }

    fn load_subscriptions(
        &self,
        seat: &Arc<Seat>,
        subscriptions: &[(bytestring::ByteString, crate::store::SubscriptionRecord)],
    ) {
        let target = Target::Seat(Arc::clone(seat));
        let mut tree = self.write_subscriptions();
        let mut count = 0;
        for (text, record) in subscriptions {
            let Ok(filter) = Filter::parse(text) else {
                log::warn!(client = &*seat.client_id, filter = &**text; "a stored subscription is not valid");
                continue;
            };
            let options = Options {
                qos: record.qos,
                no_local: record.no_local,
                retain_as_published: record.retain_as_published,
                identifier: record.identifier,
                group: filter.group.map(|_| Arc::from(&**text)),
            };
            match tree.insert(&target, filter, options) {
                Ok(_) => count += 1,
                Err(error) => {
                    log::warn!(client = &*seat.client_id, filter = &**text, error = error.to_string(); "a stored subscription was not taken");
                }
            }
        }
        seat.lock().subscriptions = count;
        add(&self.metrics.subscriptions, count);
    }
}
