//! The store as plain maps, and random steps that both take.

#![allow(dead_code, clippy::unwrap_used)]

use bytes::Bytes;
use bytestring::ByteString;
use mqtt::{
    Message, Properties, QoS,
    packet::{PacketId, RetainHandling, Will},
    store::{
        Body, Delivery, DropPolicy, Entry, Loaded, Metrics, Options, Refused, Seq, SessionId,
        SessionRecord, State, Store, StoredWill, SubscriptionRecord, Ticket,
    },
};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

/// One call of the store. Sessions and messages are chosen among those there are.
#[derive(Clone, Debug)]
pub enum Step {
    Create,
    Update(u8, u16),
    End(u8),
    Subscribe(u8, u8, u8),
    Unsubscribe(u8, u8),
    /// To a session, of a size, the same message as before (if there is one).
    Enqueue(u8, u16, bool),
    /// A QoS 2 message from the first session under an identifier, to as many sessions as there are after it.
    Exactly(PacketId, u16),
    Sent(u8, u8, PacketId),
    Released(u8, u8, PacketId),
    Remove(u8, u8),
    Remember(u8, PacketId),
    Forget(u8, PacketId),
    Retain(u8, u16),
    Unretain(u8),
}

pub fn step() -> impl Strategy<Value = Step> {
    let id = || (1..9u16).prop_map(|id| PacketId::new(id).unwrap());
    let size = || prop_oneof![3 => 0..60u16, 1 => 500..3_000u16];
    let some = any::<u8>;
    prop_oneof![
        2 => Just(Step::Create),
        1 => (some(), 0..9u16).prop_map(|(s, n)| Step::Update(s, n)),
        1 => some().prop_map(Step::End),
        2 => (some(), 0..4u8, 0..24u8).prop_map(|(s, f, o)| Step::Subscribe(s, f, o)),
        1 => (some(), 0..4u8).prop_map(|(s, f)| Step::Unsubscribe(s, f)),
        14 => (some(), size(), any::<bool>()).prop_map(|(s, n, same)| Step::Enqueue(s, n, same)),
        3 => (id(), size()).prop_map(|(id, n)| Step::Exactly(id, n)),
        4 => (some(), some(), id()).prop_map(|(s, n, id)| Step::Sent(s, n, id)),
        2 => (some(), some(), id()).prop_map(|(s, n, id)| Step::Released(s, n, id)),
        9 => (some(), some()).prop_map(|(s, n)| Step::Remove(s, n)),
        2 => (some(), id()).prop_map(|(s, id)| Step::Remember(s, id)),
        2 => (some(), id()).prop_map(|(s, id)| Step::Forget(s, id)),
        2 => (0..5u8, size()).prop_map(|(t, n)| Step::Retain(t, n)),
        1 => (0..5u8).prop_map(Step::Unretain),
    ]
}

pub fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

pub fn message(topic: &str, payload: Vec<u8>) -> Message {
    Message {
        topic: topic.into(),
        payload: Bytes::from(payload),
        qos: QoS::AtLeastOnce,
        retain: false,
        expires: None,
        properties: None,
    }
}

pub fn record(client_id: &str) -> SessionRecord {
    SessionRecord {
        client_id: client_id.into(),
        expiry: u32::MAX,
        away_since: None,
        will: None,
    }
}

/// What a session looks like from outside.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    pub record: SessionRecord,
    pub subscriptions: BTreeMap<String, SubscriptionRecord>,
    pub received: BTreeSet<PacketId>,
    pub queue: BTreeMap<Seq, Entry>,
}

/// Everything that must survive.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Everything {
    pub sessions: BTreeMap<String, Session>,
    pub retained: BTreeMap<String, Message>,
}

#[derive(Clone, Debug)]
pub struct Model {
    pub state: Everything,
    created: usize,
    messages: u64,
    /// The next number, and the first that was not sent, of each session.
    counters: BTreeMap<String, (Seq, Seq)>,
    last: Option<Message>,
    /// The message that the last step was about.
    pub touched: Option<(String, Seq)>,
    /// A released message keeps its size until it is complete.
    sizes: BTreeMap<(String, Seq), u64>,
    options: Options,
}

impl Model {
    pub fn new(options: Options) -> Self {
        Self {
            state: Everything::default(),
            created: 0,
            messages: 0,
            counters: BTreeMap::new(),
            last: None,
            touched: None,
            sizes: BTreeMap::new(),
            options,
        }
    }

    fn choose(&self, n: u8) -> Option<String> {
        let count = self.state.sessions.len();
        let at = usize::from(n).checked_rem(count)?;
        self.state.sessions.keys().nth(at).cloned()
    }

    /// A message of a session, by its place.
    fn choose_message(&mut self, session: u8, n: u8) -> Option<(String, Seq)> {
        let client = self.choose(session)?;
        let queue = &self.state.sessions[&client].queue;
        let at = usize::from(n).checked_rem(queue.len())?;
        let seq = *queue.keys().nth(at)?;
        self.touched = Some((client.clone(), seq));
        Some((client, seq))
    }

    /// What the store does when it is opened again.
    pub fn reopened(&mut self) {
        for (client, session) in &self.state.sessions {
            let counter = self.counters.get_mut(client).unwrap();
            let last = session.queue.keys().next_back().copied().unwrap_or(0);
            let sent = session.queue.values().filter(|e| e.state != State::Queued);
            *counter = (last + 1, sent.map(|e| e.seq + 1).max().unwrap_or(1));
        }
    }

    fn next_message(&mut self, size: u16, same: bool) -> Message {
        if same && let Some(last) = &self.last {
            return last.clone();
        }
        self.messages += 1;
        let mut new = message(&format!("t/{}", self.messages % 7), vec![b'x'; size.into()]);
        if self.messages.is_multiple_of(3) {
            new.expires = Some(at(100_000_000 + self.messages));
        }
        if self.messages.is_multiple_of(4) {
            new.properties = Some(Arc::new(Properties {
                content_type: Some("text/plain".into()),
                user: vec![("n".into(), self.messages.to_string().into())],
                ..Properties::default()
            }));
        }
        self.last = Some(new.clone());
        new
    }

    /// Takes the step here and, if given, in the store, whose answers must be the same.
    pub fn take(&mut self, step: &Step, mut store: Option<&mut Subject>) -> Ticket {
        let done = Ticket::default();
        self.touched = None;
        match step {
            Step::Create => {
                self.created += 1;
                let client = format!("client-{:04}", self.created);
                let record = record(&client);
                let session = Session {
                    record: record.clone(),
                    subscriptions: BTreeMap::new(),
                    received: BTreeSet::new(),
                    queue: BTreeMap::new(),
                };
                self.state.sessions.insert(client.clone(), session);
                self.counters.insert(client.clone(), (1, 1));
                store.map_or(done, |subject| {
                    let (id, ticket) = subject.store.create(record);
                    subject.ids.insert(client, id);
                    ticket
                })
            }
            Step::Update(s, n) => {
                let Some(client) = self.choose(*s) else {
                    return done;
                };
                let record = changed_record(&client, *n);
                self.state.sessions.get_mut(&client).unwrap().record = record.clone();
                store.map_or(done, |subject| {
                    subject.store.update(subject.ids[&client], record)
                })
            }
            Step::End(s) => {
                let Some(client) = self.choose(*s) else {
                    return done;
                };
                self.state.sessions.remove(&client);
                self.counters.remove(&client);
                store.map_or(done, |subject| subject.store.end(subject.ids[&client]))
            }
            Step::Subscribe(s, filter, options) => {
                let Some(client) = self.choose(*s) else {
                    return done;
                };
                let filter = format!("f/{filter}");
                let record = subscription(*options);
                let session = self.state.sessions.get_mut(&client).unwrap();
                session.subscriptions.insert(filter.clone(), record);
                store.map_or(done, |subject| {
                    let id = subject.ids[&client];
                    subject.store.subscribe(id, filter.into(), record)
                })
            }
            Step::Unsubscribe(s, filter) => {
                let Some(client) = self.choose(*s) else {
                    return done;
                };
                let filter = format!("f/{filter}");
                let session = self.state.sessions.get_mut(&client).unwrap();
                session.subscriptions.remove(&filter);
                store.map_or(done, |subject| {
                    subject
                        .store
                        .unsubscribe(subject.ids[&client], filter.into())
                })
            }
            Step::Enqueue(s, size, same) => self.enqueue(*s, *size, *same, store),
            Step::Exactly(id, size) => self.exactly(*id, *size, store),
            Step::Sent(s, n, id) => {
                let Some((client, seq)) = self.choose_message(*s, *n) else {
                    return done;
                };
                self.set_state(&client, seq, State::Sent(*id));
                store.map_or(done, |subject| {
                    subject.store.sent(subject.ids[&client], seq, *id)
                })
            }
            Step::Released(s, n, id) => {
                let Some((client, seq)) = self.choose_message(*s, *n) else {
                    return done;
                };
                self.set_state(&client, seq, State::Released(*id));
                store.map_or(done, |subject| {
                    subject.store.released(subject.ids[&client], seq, *id)
                })
            }
            Step::Remove(s, n) => {
                let Some((client, seq)) = self.choose_message(*s, *n) else {
                    return done;
                };
                let session = self.state.sessions.get_mut(&client).unwrap();
                session.queue.remove(&seq);
                store.map_or(done, |subject| {
                    subject.store.remove(subject.ids[&client], seq)
                })
            }
            Step::Remember(s, id) => {
                let Some(client) = self.choose(*s) else {
                    return done;
                };
                let session = self.state.sessions.get_mut(&client).unwrap();
                session.received.insert(*id);
                store.map_or(done, |subject| {
                    subject.store.remember(subject.ids[&client], *id)
                })
            }
            Step::Forget(s, id) => {
                let Some(client) = self.choose(*s) else {
                    return done;
                };
                let session = self.state.sessions.get_mut(&client).unwrap();
                session.received.remove(id);
                store.map_or(done, |subject| {
                    subject.store.forget(subject.ids[&client], *id)
                })
            }
            Step::Retain(topic, size) => {
                let topic = format!("r/{topic}");
                let mut new = message(&topic, vec![b'r'; (*size).into()]);
                new.retain = true;
                self.state.retained.insert(topic, new.clone());
                store
                    .as_mut()
                    .map_or(done, |subject| subject.store.retain(new))
            }
            Step::Unretain(topic) => {
                let topic = format!("r/{topic}");
                self.state.retained.remove(&topic);
                store.map_or(done, |subject| subject.store.unretain(topic.into()))
            }
        }
    }

    fn enqueue(&mut self, s: u8, size: u16, same: bool, subject: Option<&mut Subject>) -> Ticket {
        let Some(client) = self.choose(s) else {
            return Ticket::default();
        };
        let before = self.last.clone();
        let new = self.next_message(size, same);
        let delivery = Delivery {
            qos: if size.is_multiple_of(2) {
                QoS::AtLeastOnce
            } else {
                QoS::ExactlyOnce
            },
            retain: size.is_multiple_of(5),
            identifiers: (0..u32::from(size % 3)).collect(),
        };
        let expected = self.push(&client, &new, delivery.clone());
        let Some(subject) = subject else {
            return Ticket::default();
        };
        if before.as_ref() != Some(&new) || !same || subject.body.is_none() {
            subject.body = Some(subject.store.body(new));
        }
        let body = subject.body.clone().unwrap();
        let outcome = subject.store.enqueue(subject.ids[&client], &body, delivery);
        let ticket = outcome
            .as_ref()
            .map_or(Ticket::default(), |enqueued| enqueued.ticket);
        assert_eq!(outcome.map(|e| (e.seq, e.dropped)), expected);
        ticket
    }

    fn exactly(&mut self, id: PacketId, size: u16, subject: Option<&mut Subject>) -> Ticket {
        let clients: Vec<String> = self.state.sessions.keys().cloned().collect();
        let Some(first) = clients.first() else {
            return Ticket::default();
        };
        let new = self.next_message(size, false);
        let session = self.state.sessions.get_mut(first).unwrap();
        session.received.insert(id);
        let expected: Vec<_> = clients[1..]
            .iter()
            .map(|client| self.push(client, &new, Delivery::default()))
            .collect();
        self.touched = None;
        let Some(subject) = subject else {
            return Ticket::default();
        };
        let store = &subject.store;
        let body = store.body(new);
        subject.body = Some(body.clone());
        let together = store.together(&body);
        for (client, expected) in clients[1..].iter().zip(expected) {
            // The writer has a chance to come in between.
            std::thread::yield_now();
            let outcome = store.enqueue(subject.ids[client], &body, Delivery::default());
            assert_eq!(outcome.map(|e| (e.seq, e.dropped)), expected);
        }
        together.remember(subject.ids[first], id)
    }

    fn push(
        &mut self,
        client: &str,
        new: &Message,
        delivery: Delivery,
    ) -> Result<(Seq, Vec<Seq>), Refused> {
        let dropped = self.make_room(client, new)?;
        let queue = &mut self.state.sessions.get_mut(client).unwrap().queue;
        let (next, _) = self.counters.get_mut(client).unwrap();
        let seq = *next;
        *next += 1;
        let message = Message {
            qos: delivery.qos,
            retain: delivery.retain,
            ..new.clone()
        };
        let entry = Entry {
            seq,
            state: State::Queued,
            delivery,
            message: Some(message),
        };
        let size = 100 + new.size() as u64;
        self.sizes.insert((client.to_owned(), seq), size);
        self.touched = Some((client.to_owned(), seq));
        queue.insert(seq, entry);
        Ok((seq, dropped))
    }

    fn make_room(&mut self, client: &str, new: &Message) -> Result<Vec<Seq>, Refused> {
        let size = 100 + new.size() as u64;
        let mut dropped = Vec::new();
        let mut state = self.state.clone();
        loop {
            let sizes = &self.sizes;
            let bytes = |client: &String| {
                let queue = state.sessions[client].queue.keys();
                queue.map(|seq| sizes[&(client.clone(), *seq)]).sum::<u64>()
            };
            let queue = &state.sessions[client].queue;
            let all = || state.sessions.values().map(|s| s.queue.len());
            let refused = if queue.len() >= self.options.session_messages
                || bytes(&client.to_owned()) + size > self.options.session_bytes
            {
                Refused::SessionFull
            } else if all().sum::<usize>() >= self.options.total_messages
                || state.sessions.keys().map(bytes).sum::<u64>() + size > self.options.total_bytes
            {
                Refused::StoreFull
            } else {
                self.state = state;
                return Ok(dropped);
            };
            let (_, unsent) = self.counters[client];
            let oldest = queue.range(unsent..).next().map(|(seq, _)| *seq);
            match oldest {
                Some(seq) if self.options.drop == DropPolicy::Oldest => {
                    state.sessions.get_mut(client).unwrap().queue.remove(&seq);
                    dropped.push(seq);
                }
                _ => return Err(refused),
            }
        }
    }

    fn set_state(&mut self, client: &str, seq: Seq, state: State) {
        let session = self.state.sessions.get_mut(client).unwrap();
        let entry = session.queue.get_mut(&seq).unwrap();
        // A released message is not sent again.
        if !matches!((entry.state, state), (State::Released(_), State::Sent(_))) {
            entry.state = state;
        }
        if matches!(state, State::Released(_)) {
            entry.message = None;
        }
        let (_, unsent) = self.counters.get_mut(client).unwrap();
        *unsent = (*unsent).max(seq + 1);
    }
}

fn changed_record(client: &str, n: u16) -> SessionRecord {
    SessionRecord {
        expiry: n.into(),
        away_since: (n > 3).then(|| at(n.into())),
        will: (n > 5).then(|| StoredWill {
            will: Will {
                message: message("will", vec![1; n.into()]),
                delay: n.into(),
                expiry: (n > 6).then_some(9),
            },
            due: (n > 7).then(|| at(n.into())),
        }),
        ..record(client)
    }
}

fn subscription(n: u8) -> SubscriptionRecord {
    SubscriptionRecord {
        qos: QoS::from_bits(n % 3).unwrap(),
        no_local: n.is_multiple_of(2),
        retain_as_published: n.is_multiple_of(4),
        retain_handling: [
            RetainHandling::Always,
            RetainHandling::New,
            RetainHandling::Never,
        ][usize::from(n / 8)],
        identifier: n.is_multiple_of(5).then_some(u32::from(n) + 1),
    }
}

/// The store under test.
pub struct Subject {
    pub store: Store,
    pub ids: BTreeMap<String, SessionId>,
    body: Option<Body>,
}

impl Subject {
    pub fn new(store: Store, loaded: &Loaded) -> Self {
        let ids = loaded.sessions.iter();
        Self {
            store,
            ids: ids
                .map(|s| (s.record.client_id.to_string(), s.id))
                .collect(),
            body: None,
        }
    }
}

pub async fn queue(store: &Store, id: SessionId, limit: usize) -> BTreeMap<Seq, Entry> {
    let mut all = BTreeMap::new();
    let mut after = 0;
    loop {
        let page = store.page(id, after, limit, 2_000).await.unwrap();
        assert!(page.len() <= limit);
        let Some(last) = page.last() else { return all };
        after = last.seq;
        for entry in page {
            assert!(all.insert(entry.seq, entry).is_none());
        }
    }
}

/// What a store that was just opened holds.
pub async fn state(store: &Store, loaded: Loaded) -> Everything {
    let mut state = Everything::default();
    for session in loaded.sessions {
        let queue = queue(store, session.id, 3).await;
        assert_eq!(queue.len(), session.messages);
        let client = session.record.client_id.to_string();
        let read = Session {
            record: session.record,
            subscriptions: session
                .subscriptions
                .into_iter()
                .map(|(f, r)| (f.to_string(), r))
                .collect(),
            received: session.received.into_iter().collect(),
            queue,
        };
        assert!(state.sessions.insert(client, read).is_none());
    }
    for message in loaded.retained {
        let topic: ByteString = message.topic.clone();
        state.retained.insert(topic.to_string(), message);
    }
    state
}

/// Looks at the metrics until they are as wanted.
pub fn until(store: &Store, wanted: impl Fn(&Metrics) -> bool) -> Metrics {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let metrics = store.metrics();
        if wanted(&metrics) {
            return metrics;
        }
        assert!(Instant::now() < deadline, "not in time: {metrics:?}");
        std::thread::yield_now();
    }
}
