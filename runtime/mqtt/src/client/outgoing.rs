//! Our messages under way: packet ids, the window, acknowledgements in any order, redelivery. No I/O.

use super::wire::WireError;
use crate::{Message, QoS, packet::PacketId};
use std::collections::{HashMap, HashSet, VecDeque};

/// A message under way; `W` is whoever waits for its end.
#[derive(Debug)]
pub struct Flight<W> {
    /// `None` once PUBREC has come: the server has it.
    pub message: Option<Message>,
    /// The publisher's tag.
    pub tag: Option<u64>,
    /// Whoever waits.
    pub waiter: W,
    qos: QoS,
    order: u64,
    /// Sent on this connection, so it counts against the window.
    on_wire: bool,
    /// Sent on some connection of this session: the next PUBLISH is a duplicate.
    sent: bool,
}

/// What is to be sent again.
#[derive(Debug, PartialEq, Eq)]
pub enum Again {
    /// PUBLISH; `dup`: the server may have it already.
    Publish { id: PacketId, dup: bool },
    /// PUBREL.
    Release(PacketId),
}

/// What PUBREC leads to.
#[derive(Debug)]
pub enum Received<W> {
    /// Answer PUBREL.
    Release,
    /// The server refused it: over.
    Refused(Flight<W>),
    /// Not ours: PUBREL with "packet identifier not found" in MQTT 5.
    Unknown,
}

/// All messages under way and the packet ids in use.
#[derive(Debug)]
pub struct Outgoing<W> {
    flights: HashMap<PacketId, Flight<W>>,
    /// Packet ids of SUBSCRIBE and UNSUBSCRIBE.
    requests: HashSet<PacketId>,
    again: VecDeque<PacketId>,
    on_wire: usize,
    window: usize,
    last_id: u16,
    last_order: u64,
}

impl<W> Outgoing<W> {
    pub fn new() -> Self {
        Self {
            flights: HashMap::new(),
            requests: HashSet::new(),
            again: VecDeque::new(),
            on_wire: 0,
            window: 0,
            last_id: 0,
            last_order: 0,
        }
    }

    /// From a journal; `message` is `None` when only PUBREL is left. Ids that come twice are taken once.
    pub fn restore(&mut self, id: PacketId, message: Option<Message>, tag: Option<u64>, waiter: W) {
        let qos = message.as_ref().map_or(QoS::ExactlyOnce, |m| m.qos);
        self.last_order += 1;
        let flight = Flight {
            message,
            tag,
            waiter,
            qos,
            order: self.last_order,
            on_wire: false,
            sent: true,
        };
        self.flights.entry(id).or_insert(flight);
    }

    pub fn is_empty(&self) -> bool {
        self.flights.is_empty()
    }

    /// A connection is there. Everything under way is to be sent again, in its order. Without the old session nothing is a
    /// duplicate, and what only waited for its release is done: returned.
    pub fn connected(&mut self, session_present: bool, window: u16) -> Vec<(PacketId, Flight<W>)> {
        self.window = window.into();
        self.on_wire = 0;
        self.requests.clear();
        let mut done = Vec::new();
        if !session_present {
            let released = self.flights.iter().filter(|(_, f)| f.message.is_none());
            let released: Vec<PacketId> = released.map(|(id, _)| *id).collect();
            done.extend(
                released
                    .into_iter()
                    .filter_map(|id| Some((id, self.flights.remove(&id)?))),
            );
        }
        let mut order: Vec<(u64, PacketId)> = Vec::new();
        for (id, flight) in &mut self.flights {
            flight.on_wire = false;
            flight.sent &= session_present;
            order.push((flight.order, *id));
        }
        order.sort_unstable();
        self.again = order.into_iter().map(|(_, id)| id).collect();
        done
    }

    /// Whether the server takes one more message.
    pub fn has_room(&self) -> bool {
        self.again.is_empty() && self.on_wire < self.window
    }

    /// The next to be sent again, as far as the window allows.
    pub fn again(&mut self) -> Option<Again> {
        while self.on_wire < self.window {
            let id = self.again.pop_front()?;
            if let Some(flight) = self.flights.get_mut(&id) {
                flight.on_wire = true;
                self.on_wire += 1;
                let dup = std::mem::replace(&mut flight.sent, true);
                return Some(match flight.message {
                    Some(_) => Again::Publish { id, dup },
                    None => Again::Release(id),
                });
            }
        }
        None
    }

    pub fn get(&self, id: PacketId) -> Option<&Flight<W>> {
        self.flights.get(&id)
    }

    /// Takes a message of QoS 1 or 2 on; it counts as sent.
    pub fn start(&mut self, message: Message, tag: Option<u64>, waiter: W) -> PacketId {
        let id = self.free_id();
        self.last_order += 1;
        self.on_wire += 1;
        let flight = Flight {
            qos: message.qos,
            message: Some(message),
            tag,
            waiter,
            order: self.last_order,
            on_wire: true,
            sent: true,
        };
        self.flights.insert(id, flight);
        id
    }

    /// Takes a message off that will not be sent after all.
    pub fn remove(&mut self, id: PacketId) -> Option<Flight<W>> {
        let flight = self.flights.remove(&id)?;
        if flight.on_wire {
            self.on_wire = self.on_wire.saturating_sub(1);
        }
        Some(flight)
    }

    /// PUBACK. `None`: not ours.
    pub fn puback(&mut self, id: PacketId) -> Result<Option<Flight<W>>, WireError> {
        match self.flights.get(&id) {
            Some(flight) if flight.qos != QoS::AtLeastOnce => {
                Err(WireError::protocol("PUBACK for a QoS 2 message"))
            }
            _ => Ok(self.remove(id)),
        }
    }

    /// PUBREC.
    pub fn pubrec(&mut self, id: PacketId, failure: bool) -> Result<Received<W>, WireError> {
        match self.flights.get_mut(&id) {
            None => Ok(Received::Unknown),
            Some(flight) if flight.qos != QoS::ExactlyOnce => {
                Err(WireError::protocol("PUBREC for a QoS 1 message"))
            }
            Some(flight) if !failure => {
                flight.message = None;
                Ok(Received::Release)
            }
            Some(_) => Ok(self.remove(id).map_or(Received::Unknown, Received::Refused)),
        }
    }

    /// PUBCOMP. `None`: not ours.
    pub fn pubcomp(&mut self, id: PacketId) -> Result<Option<Flight<W>>, WireError> {
        match self.flights.get(&id) {
            Some(flight) if flight.message.is_some() => Err(WireError::protocol(
                "PUBCOMP for a message that was not released",
            )),
            _ => Ok(self.remove(id)),
        }
    }

    /// An id for SUBSCRIBE or UNSUBSCRIBE.
    pub fn request(&mut self) -> PacketId {
        let id = self.free_id();
        self.requests.insert(id);
        id
    }

    /// SUBACK or UNSUBACK has come; `false`: not ours.
    pub fn answered(&mut self, id: PacketId) -> bool {
        self.requests.remove(&id)
    }

    /// Empties it.
    pub fn drain(&mut self) -> Vec<(PacketId, Flight<W>)> {
        self.on_wire = 0;
        self.again.clear();
        self.flights.drain().collect()
    }

    /// Windows are kept below 65,535, so that one is always free.
    fn free_id(&mut self) -> PacketId {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if let Some(id) = PacketId::new(self.last_id)
                && !self.flights.contains_key(&id)
                && !self.requests.contains(&id)
            {
                return id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What a step does; ids are chosen among those under way.
    #[derive(Clone, Debug)]
    enum Step {
        Publish(QoS),
        PubAck(usize),
        PubRec(usize),
        PubComp(usize),
        Request,
        Reconnect(bool, u16),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => prop_oneof![Just(QoS::AtLeastOnce), Just(QoS::ExactlyOnce)].prop_map(Step::Publish),
            2 => any::<usize>().prop_map(Step::PubAck),
            2 => any::<usize>().prop_map(Step::PubRec),
            2 => any::<usize>().prop_map(Step::PubComp),
            1 => Just(Step::Request),
            1 => (any::<bool>(), 1..6_u16).prop_map(|(present, window)| Step::Reconnect(present, window)),
        ]
    }

    /// A message under way, as the model sees it.
    #[derive(Debug)]
    struct Known {
        number: usize,
        id: PacketId,
        qos: QoS,
        released: bool,
        /// On this connection.
        on_wire: bool,
    }

    fn message(number: usize, qos: QoS) -> Message {
        Message {
            topic: number.to_string().into(),
            payload: bytes::Bytes::new(),
            qos,
            retain: false,
            expires: None,
            properties: None,
        }
    }

    proptest! {
        /// Whatever comes, every message ends exactly once, ids are never shared, the window holds, and what is sent again
        /// keeps its order.
        #[test]
        fn messages_end_once_within_the_window_and_in_order(steps in proptest::collection::vec(step(), 1..80)) {
            let mut outgoing = Outgoing::<usize>::new();
            outgoing.connected(false, 3);
            let mut window = 3;
            let mut known: Vec<Known> = Vec::new();
            let mut requests = HashSet::new();
            let mut count = 0;
            for step in steps {
                match step {
                    Step::Publish(qos) => {
                        let on_wire = known.iter().filter(|known| known.on_wire).count();
                        let room = known.iter().all(|known| known.on_wire) && on_wire < window;
                        prop_assert_eq!(outgoing.has_room(), room);
                        if room {
                            let id = outgoing.start(message(count, qos), None, count);
                            prop_assert!(known.iter().all(|known| known.id != id) && !requests.contains(&id));
                            known.push(Known { number: count, id, qos, released: false, on_wire: true });
                            count += 1;
                        }
                    }
                    Step::PubAck(pick) if !known.is_empty() => {
                        let at = pick % known.len();
                        let result = outgoing.puback(known[at].id);
                        if known[at].qos == QoS::ExactlyOnce {
                            prop_assert!(result.is_err());
                        } else {
                            prop_assert_eq!(result.unwrap().unwrap().waiter, known.remove(at).number);
                        }
                    }
                    Step::PubRec(pick) if !known.is_empty() => {
                        let at = pick % known.len();
                        match outgoing.pubrec(known[at].id, false) {
                            Ok(Received::Release) => known[at].released = true,
                            Err(_) => prop_assert_eq!(known[at].qos, QoS::AtLeastOnce),
                            other => prop_assert!(false, "{:?}", other),
                        }
                    }
                    Step::PubComp(pick) if !known.is_empty() => {
                        let at = pick % known.len();
                        let result = outgoing.pubcomp(known[at].id);
                        if known[at].released {
                            prop_assert_eq!(result.unwrap().unwrap().waiter, known.remove(at).number);
                        } else {
                            prop_assert!(result.is_err());
                        }
                    }
                    Step::Request => {
                        let id = outgoing.request();
                        prop_assert!(known.iter().all(|known| known.id != id) && requests.insert(id));
                    }
                    Step::Reconnect(present, new) => {
                        window = new.into();
                        requests.clear();
                        let mut done: Vec<usize> = outgoing.connected(present, new).into_iter().map(|(_, f)| f.waiter).collect();
                        done.sort_unstable();
                        let over = |known: &Known| !present && known.released;
                        let expected: Vec<usize> = known.iter().filter(|k| over(k)).map(|k| k.number).collect();
                        prop_assert_eq!(done, expected);
                        known.retain(|known| !over(known));
                        for known in &mut known {
                            known.on_wire = false;
                        }
                    }
                    _ => {}
                }
                // What there is room for is sent again, oldest first.
                while let Some(again) = outgoing.again() {
                    let next = known.iter_mut().find(|known| !known.on_wire).unwrap();
                    next.on_wire = true;
                    match again {
                        Again::Publish { id, .. } => prop_assert!(id == next.id && !next.released),
                        Again::Release(id) => prop_assert!(id == next.id && next.released),
                    }
                }
                let on_wire = known.iter().filter(|known| known.on_wire).count();
                prop_assert!(on_wire <= window.max(3));
                prop_assert_eq!(outgoing.is_empty(), known.is_empty());
            }
            let mut left: Vec<usize> = outgoing.drain().into_iter().map(|(_, flight)| flight.waiter).collect();
            left.sort_unstable();
            prop_assert_eq!(left, known.iter().map(|known| known.number).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_message_is_a_duplicate_only_within_the_session_it_was_sent_in() {
        let mut outgoing = Outgoing::new();
        outgoing.connected(false, 10);
        let id = outgoing.start(message(1, QoS::AtLeastOnce), None, ());
        for (present, dup) in [(true, true), (true, true), (false, false), (true, true)] {
            outgoing.connected(present, 10);
            assert_eq!(outgoing.again(), Some(Again::Publish { id, dup }));
            assert_eq!(outgoing.again(), None);
        }
        // Not reached in one connection, not a duplicate in the next.
        outgoing.connected(false, 0);
        assert_eq!(outgoing.again(), None);
        outgoing.connected(true, 1);
        assert_eq!(outgoing.again(), Some(Again::Publish { id, dup: false }));
    }
}
