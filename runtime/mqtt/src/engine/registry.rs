//! Who has a session: arrival with takeover, departure with will and expiry, the end of a session.

use super::{
    DisconnectCause, Event, Shared,
    clock::Due,
    metrics::{add, sub},
    route::Origin,
    seat::{Item, Kick, Link, Seat, State, Target, wake},
};
use crate::{
    Identity, QoS,
    packet::{Connect, Will, reason},
    session::Stage,
};
use bytestring::ByteString;
use std::{
    collections::HashMap,
    sync::{Arc, MutexGuard, PoisonError, atomic::Ordering},
    time::{Duration, SystemTime},
};
use tokio::time::Instant;

/// All seats by client id.
#[derive(Default)]
pub(crate) struct Registry {
    pub seats: HashMap<ByteString, Arc<Seat>>,
    next_number: usize,
}

impl Registry {
    pub fn seat(&mut self, client_id: &ByteString) -> Arc<Seat> {
        let seat = Arc::new(Seat::new(self.next_number, client_id.clone()));
        self.next_number += 1;
        self.seats.insert(client_id.clone(), Arc::clone(&seat));
        seat
    }
}

/// What a connection gets on arrival.
pub(crate) struct Arrival {
    pub seat: Arc<Seat>,
    pub generation: u32,
    pub session_present: bool,
}

/// In words, too: paho-mqtt takes a DISCONNECT without properties for an orderly end, whatever its code.
pub(crate) const TAKEN_OVER: &str = "another connection has this client id now";

/// How a connection ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End {
    pub cause: DisconnectCause,
    /// Told to MQTT 5 in DISCONNECT.
    pub tell: Option<u8>,
    /// For people, beside the code.
    pub text: Option<&'static str>,
    /// Whether the will is published.
    pub will: bool,
}

impl End {
    pub fn lost() -> Self {
        Self {
            cause: DisconnectCause::ConnectionLost,
            tell: None,
            text: None,
            will: true,
        }
    }

    pub fn protocol(reason: u8, text: &'static str) -> Self {
        Self {
            cause: DisconnectCause::ProtocolError(reason),
            tell: Some(reason),
            text: Some(text),
            will: true,
        }
    }

    pub fn denied() -> Self {
        Self {
            cause: DisconnectCause::NotAuthorized,
            tell: Some(reason::NOT_AUTHORIZED),
            text: None,
            will: true,
        }
    }

    pub fn kicked(kick: Kick) -> Self {
        Self {
            cause: kick.cause,
            tell: Some(kick.reason),
            text: (kick.reason == reason::SESSION_TAKEN_OVER).then_some(TAKEN_OVER),
            will: kick.reason != reason::SUCCESS,
        }
    }
}

/// What is left to do for a seat that lost its connection, once no lock is held.
struct Vacated {
    seat: Arc<Seat>,
    link: Option<Box<Link>>,
    /// To be published now.
    will: Option<Box<Will>>,
    ended: bool,
}

impl Shared {
    pub(crate) fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a client its seat, taking it from an older connection. The error is a reason code.
    pub(crate) fn arrive(
        self: &Arc<Self>,
        connect: &Connect,
        identity: &Arc<Identity>,
        expiry: u32,
        receive_maximum: u16,
        keep_alive: u16,
    ) -> Result<Arrival, u8> {
        let mut registry = self.registry();
        if self.stop.is_cancelled() {
            return Err(reason::SERVER_SHUTTING_DOWN);
        }
        let client_id = &identity.client_id;
        let known = registry.seats.get(client_id).cloned();
        if known.is_none() && registry.seats.len() >= self.options.max_sessions {
            return Err(reason::SERVER_BUSY);
        }
        let mut vacated = None;
        let mut kept = None;
        if let Some(seat) = known {
            let turn = seat.turn();
            let mut state = seat.lock();
            let keep = !connect.clean && state.expiry > 0;
            let stored = state.stored;
            let mut left = self.vacate(&seat, &mut state, !keep);
            left.will = match left.link.as_deref_mut().and_then(|link| link.will.take()) {
                Some(will) if left.ended || will.delay == 0 => Some(will),
                _ if left.ended => state.will.take(),
                _ => None,
            };
            state.will = None;
            drop(state);
            drop(turn);
            if let Some(link) = &left.link {
                let identity = Arc::clone(&link.identity);
                self.events.emit(|| Event::Disconnected {
                    identity,
                    cause: DisconnectCause::TakenOver,
                });
            }
            if keep {
                kept = Some(seat);
            } else {
                self.durable.end_session(stored);
                registry.seats.remove(client_id);
            }
            vacated = Some(left);
        }
        let session_present = kept.is_some();
        let seat = kept.unwrap_or_else(|| {
            add(&self.metrics.sessions, 1);
            registry.seat(client_id)
        });
        let generation = self.sit_down(&seat, connect, identity, expiry, receive_maximum);
        self.events.emit(|| Event::Connected {
            identity: Arc::clone(identity),
            version: connect.version,
            session_present,
            keep_alive,
        });
        drop(registry);
        add(&self.metrics.connections, 1);
        add(&self.metrics.connects, 1);
        if let Some(vacated) = vacated {
            self.settle(vacated);
        }
        Ok(Arrival {
            seat,
            generation,
            session_present,
        })
    }

    fn sit_down(
        &self,
        seat: &Seat,
        connect: &Connect,
        identity: &Arc<Identity>,
        expiry: u32,
        maximum: u16,
    ) -> u32 {
        let mut state = seat.lock();
        state.generation += 1;
        state.expiry = expiry;
        state.stored = self.durable.open_session(
            state.stored,
            &seat.client_id,
            expiry,
            connect.will.as_deref(),
        );
        state.session.attach(maximum);
        state.link = Some(Box::new(Link {
            identity: Arc::clone(identity),
            version: connect.version,
            will: connect.will.clone(),
            waker: None,
            kick: None,
            leave: false,
            progress: Instant::now(),
            congested: None,
            slow: false,
            waiting: Vec::new(),
        }));
        seat.connected.store(true, Ordering::Relaxed);
        state.generation
    }

    /// Takes the connection off a seat. A generation later it finds out by itself.
    fn vacate(&self, seat: &Arc<Seat>, state: &mut State, ends: bool) -> Vacated {
        state.generation += 1;
        state.ended |= ends;
        for key in state.timers.drain(..) {
            self.clock.cancel(key);
        }
        seat.connected.store(false, Ordering::Relaxed);
        let link = state.link.take();
        let (_, bytes) = state.session.detach();
        sub(&self.metrics.queued_bytes, bytes);
        Vacated {
            seat: Arc::clone(seat),
            link,
            will: None,
            ended: ends,
        }
    }

    /// The connection of this generation is over. Nothing happens if another one has taken its place.
    pub(crate) fn depart(
        self: &Arc<Self>,
        seat: &Arc<Seat>,
        generation: u32,
        end: &End,
        expiry: Option<u32>,
    ) {
        let mut registry = self.registry();
        let mut state = seat.lock();
        if state.generation != generation {
            return;
        }
        if let Some(expiry) = expiry {
            state.expiry = expiry;
        }
        let ends = state.expiry == 0;
        let mut vacated = self.vacate(seat, &mut state, ends);
        let generation = state.generation;
        let expiry = Duration::from_secs(state.expiry.into());
        let will = vacated
            .link
            .as_deref_mut()
            .and_then(|link| link.will.take())
            .filter(|_| end.will);
        let mut due = None;
        match will {
            Some(will) if !ends && will.delay > 0 => {
                let delay = Duration::from_secs(will.delay.into()).min(expiry);
                state.will = Some(will);
                due = Some(SystemTime::now() + delay);
                let key = self.clock.set(delay, seat, generation, Due::Will);
                state.timers.push(key);
            }
            will => vacated.will = will,
        }
        if ends {
            self.durable.end_session(state.stored);
            registry.seats.remove(&seat.client_id);
        } else {
            let key = self.clock.set(expiry, seat, generation, Due::SessionEnd);
            state.timers.push(key);
            if let Some(stored) = state.stored {
                let will = state.will.as_deref().zip(due);
                self.durable
                    .close_session(stored, &seat.client_id, state.expiry, will);
            }
        }
        drop(state);
        if let Some(link) = &vacated.link {
            let identity = Arc::clone(&link.identity);
            self.events.emit(|| Event::Disconnected {
                identity,
                cause: end.cause,
            });
        }
        drop(registry);
        self.settle(vacated);
    }

    /// A timer went off.
    pub(crate) fn due(self: &Arc<Self>, seat: &Arc<Seat>, generation: u32, due: Due) {
        let mut registry = self.registry();
        let mut state = seat.lock();
        if state.generation != generation || state.link.is_some() {
            return;
        }
        let will = state.will.take();
        let ended = due == Due::SessionEnd;
        let mut vacated = Vacated {
            seat: Arc::clone(seat),
            link: None,
            will,
            ended,
        };
        if ended {
            let will = vacated.will.take();
            vacated = self.vacate(seat, &mut state, true);
            vacated.will = will;
            self.durable.end_session(state.stored);
            registry.seats.remove(&seat.client_id);
        } else if let Some(stored) = state.stored {
            self.durable
                .close_session(stored, &seat.client_id, state.expiry, None);
        }
        drop(state);
        drop(registry);
        self.settle(vacated);
    }

    /// Ends a session without waiting for its time. False: no such session.
    pub(crate) fn end_session(self: &Arc<Self>, client_id: &str, cause: DisconnectCause) -> bool {
        let mut registry = self.registry();
        let Some(seat) = registry.seats.remove(client_id) else {
            return false;
        };
        let mut state = seat.lock();
        let mut vacated = self.vacate(&seat, &mut state, true);
        let will = vacated
            .link
            .as_deref_mut()
            .and_then(|link| link.will.take());
        vacated.will = will.or_else(|| state.will.take());
        self.durable.end_session(state.stored);
        drop(state);
        if let Some(link) = &vacated.link {
            let identity = Arc::clone(&link.identity);
            self.events.emit(|| Event::Disconnected { identity, cause });
        }
        drop(registry);
        self.settle(vacated);
        true
    }

    fn settle(self: &Arc<Self>, vacated: Vacated) {
        let Vacated {
            seat,
            link,
            will,
            ended,
        } = vacated;
        let mut identity = None;
        if let Some(mut link) = link {
            sub(&self.metrics.connections, 1);
            self.departed.notify_one();
            wake(link.waker.take());
            link.waiting.drain(..).for_each(|waker| wake(Some(waker)));
            identity = Some(link.identity);
        }
        if let Some(will) = will {
            self.publish_will(&seat, identity.as_ref(), *will);
        }
        if ended {
            self.clear_away(&seat);
        } else {
            self.hand_over(&seat);
        }
    }

    /// Takes apart what belonged to an ended session.
    fn clear_away(self: &Arc<Self>, seat: &Arc<Seat>) {
        sub(&self.metrics.sessions, 1);
        let removed = self
            .write_subscriptions()
            .remove_all(&Target::Seat(Arc::clone(seat)));
        sub(&self.metrics.subscriptions, removed);
        let mut state = seat.lock();
        let bytes = state.session.bytes();
        let shared = state.take_shared_if(|qos, first, _| first || qos == QoS::AtLeastOnce);
        state.session = crate::session::Session::default();
        drop(state);
        sub(&self.metrics.queued_bytes, bytes);
        for (qos, item, _) in shared {
            self.route_to_group(qos, item, seat, false);
        }
    }

    /// The session lives on, but messages of a shared subscription need not wait for it while another member is connected.
    /// QoS 2 messages that have been sent stay: the client may have them (MQTT 5 section 4.8.2).
    fn hand_over(self: &Arc<Self>, seat: &Arc<Seat>) {
        let moved = {
            let subscriptions = self.read_subscriptions();
            let mut state = seat.lock();
            if state.link.is_some() || state.ended {
                return;
            }
            let before = state.session.bytes();
            let moved = state.take_shared_if(|qos, first, item| {
                (first || qos == QoS::AtLeastOnce)
                    && self.another_connected(&subscriptions, item, seat)
            });
            if let Some(stored) = state.stored {
                moved
                    .iter()
                    .for_each(|(_, _, key)| self.durable.done(stored, *key));
            }
            sub(&self.metrics.queued_bytes, before - state.session.bytes());
            moved
        };
        for (qos, item, _) in moved {
            self.route_to_group(qos, item, seat, true);
        }
    }

    /// A will, if policy still allows it.
    fn publish_will(
        self: &Arc<Self>,
        seat: &Arc<Seat>,
        identity: Option<&Arc<Identity>>,
        will: Will,
    ) {
        let mut message = will.message;
        if let Some(identity) = identity
            && !self
                .policy
                .publish(identity, &message.topic, message.qos, message.retain)
        {
            add(&self.metrics.denied_publish, 1);
            return;
        }
        message.expires = will
            .expiry
            .map(|seconds| SystemTime::now() + Duration::from_secs(seconds.into()));
        // Nobody waits for its acknowledgement.
        let _ = self.publish(
            message,
            &Origin {
                seat: Some(seat),
                identity,
                chunk: 0,
            },
        );
    }
}

impl State {
    /// Takes out what came by a shared subscription and for which `take` holds (QoS, not yet sent, item), oldest first.
    fn take_shared_if(
        &mut self,
        mut take: impl FnMut(QoS, bool, &Item) -> bool,
    ) -> Vec<(QoS, Item, u64)> {
        let sent = self
            .session
            .window
            .extract(|qos, item| item.group.is_some() && take(qos, false, item));
        let sent = sent.into_iter().filter_map(|entry| match entry.stage {
            Stage::Published { qos, body } => Some((qos, body, entry.key)),
            Stage::Released => None,
        });
        let mut moved: Vec<_> = sent.collect();
        let waiting = self.session.outbox.extract(|waiting| {
            waiting.body.group.is_some() && take(waiting.qos, true, &waiting.body)
        });
        moved.extend(
            waiting
                .into_iter()
                .map(|waiting| (waiting.qos, waiting.body, waiting.key)),
        );
        moved
    }
}
