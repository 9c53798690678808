//! The session against a client that does what the standard says, over connections that lose whatever is on them when they break.

use super::*;
use proptest::prelude::*;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

const LIMITS: Limits = Limits {
    messages: 10_000,
    bytes: usize::MAX,
};

#[derive(Clone, Debug)]
enum Op {
    Push(QoS),
    /// The server sends up to so many packets.
    Send(usize),
    /// The client reads a packet.
    Read,
    /// One of the client's answers arrives, not always the oldest.
    Answer(usize),
    /// The connection breaks and a new one begins with this receive maximum.
    Reconnect(u16),
}

fn op() -> impl Strategy<Value = Op> {
    let qos = prop_oneof![
        Just(QoS::AtMostOnce),
        Just(QoS::AtLeastOnce),
        Just(QoS::ExactlyOnce)
    ];
    prop_oneof![
        6 => qos.prop_map(Op::Push),
        6 => (1..5usize).prop_map(Op::Send),
        8 => Just(Op::Read),
        8 => any::<usize>().prop_map(Op::Answer),
        1 => (1..6u16).prop_map(Op::Reconnect),
    ]
}

#[derive(Clone, Copy, Debug)]
enum Answer {
    Ack(PacketId),
    Rec(PacketId),
    Comp(PacketId),
}

#[derive(Default)]
struct World {
    session: Session<usize>,
    pushed: Vec<QoS>,
    to_client: VecDeque<Step<usize>>,
    to_server: Vec<Answer>,
    receive_maximum: u16,
    /// PUBLISH QoS>0 sent on this connection whose end has not reached the server.
    open: HashMap<PacketId, usize>,
    unreleased: HashSet<PacketId>,
    delivered: Vec<usize>,
    first_sent: Vec<usize>,
}

impl World {
    fn send(&mut self) -> bool {
        let Some(step) = self.session.next(|_| false) else {
            assert!(!self.session.has_next());
            return false;
        };
        match &step {
            Step::Publish {
                id: Some(id),
                body,
                dup,
                ..
            } => {
                assert!(
                    self.open.insert(*id, *body).is_none(),
                    "identifier {id} used twice at once"
                );
                assert!(
                    self.open.len() <= usize::from(self.receive_maximum),
                    "window above the receive maximum"
                );
                if !dup {
                    self.first_sent.push(*body);
                }
            }
            Step::Publish { id: None, .. } => {}
            Step::Release { id } => {
                self.open.entry(*id).or_insert(usize::MAX);
            }
            Step::Stale { .. } => unreachable!("nothing expires here"),
        }
        self.to_client.push_back(step);
        true
    }

    fn read(&mut self) -> bool {
        let Some(step) = self.to_client.pop_front() else {
            return false;
        };
        match step {
            Step::Publish { id, qos, body, .. } => match (qos, id) {
                (QoS::AtMostOnce, _) => self.delivered.push(body),
                (QoS::AtLeastOnce, Some(id)) => {
                    self.delivered.push(body);
                    self.to_server.push(Answer::Ack(id));
                }
                (_, Some(id)) => {
                    if self.unreleased.insert(id) {
                        self.delivered.push(body);
                    }
                    self.to_server.push(Answer::Rec(id));
                }
                (_, None) => unreachable!("QoS>0 has an identifier"),
            },
            Step::Release { id } => {
                self.unreleased.remove(&id);
                self.to_server.push(Answer::Comp(id));
            }
            Step::Stale { .. } => unreachable!(),
        }
        true
    }

    fn answer(&mut self, pick: usize) -> bool {
        if self.to_server.is_empty() {
            return false;
        }
        match self.to_server.remove(pick % self.to_server.len()) {
            Answer::Ack(id) => {
                assert!(matches!(self.session.window.puback(id), Acked::Done { .. }));
                self.open.remove(&id);
            }
            Answer::Rec(id) => {
                assert!(matches!(
                    self.session.window.pubrec(id, false),
                    Recd::Release { .. }
                ));
                self.to_client.push_back(Step::Release { id });
            }
            Answer::Comp(id) => {
                assert!(matches!(
                    self.session.window.pubcomp(id),
                    Acked::Done { .. }
                ));
                self.open.remove(&id);
            }
        }
        true
    }

    fn reconnect(&mut self, receive_maximum: u16) {
        let plain_lost = self.session.detach().0;
        assert!(plain_lost <= self.pushed.len());
        self.to_client.clear();
        self.to_server.clear();
        self.open.clear();
        self.receive_maximum = receive_maximum;
        self.session.attach(receive_maximum);
    }
}

proptest! {
    #[test]
    fn nothing_assured_is_lost_and_qos_2_comes_once(ops in prop::collection::vec(op(), 1..400), start in 0..200_000u64) {
        let mut world = World::default();
        world.session.window.next = start;
        world.reconnect(3);
        for op in ops {
            match op {
                Op::Push(qos) => {
                    let body = world.pushed.len();
                    world.pushed.push(qos);
                    world.session.push(qos, 10, 0, body, &LIMITS).expect("within limits");
                }
                Op::Send(count) => (0..count).for_each(|_| { world.send(); }),
                Op::Read => { world.read(); }
                Op::Answer(pick) => { world.answer(pick); }
                Op::Reconnect(maximum) => world.reconnect(maximum),
            }
            let held: usize = world.session.len() * 10;
            prop_assert!(world.session.bytes() <= held);
        }
        while world.send() | world.read() | world.answer(0) {}
        prop_assert!(world.session.is_empty());
        prop_assert_eq!(world.session.bytes(), 0);
        let mut counts: HashMap<usize, usize> = HashMap::new();
        world.delivered.iter().for_each(|body| *counts.entry(*body).or_default() += 1);
        for (body, qos) in world.pushed.iter().enumerate() {
            let count = counts.get(&body).copied().unwrap_or(0);
            match qos {
                QoS::AtMostOnce => prop_assert!(count <= 1),
                QoS::AtLeastOnce => prop_assert!(count >= 1, "message {} lost", body),
                QoS::ExactlyOnce => prop_assert_eq!(count, 1, "message {}", body),
            }
        }
        prop_assert!(world.first_sent.is_sorted(), "QoS>0 is first sent in the order of the queue");
    }

    #[test]
    fn a_restored_window_keeps_identifiers_and_order(ids in prop::collection::hash_set(1..=u16::MAX, 1..50)) {
        let mut window = Window::default();
        let ids: Vec<_> = ids.into_iter().map(|id| PacketId::new(id).expect("not zero")).collect();
        for (order, id) in ids.iter().enumerate() {
            window.restore(*id, order as u64, 1, Stage::Published { qos: QoS::AtLeastOnce, body: order });
        }
        window.attach(100);
        for (order, id) in ids.iter().enumerate() {
            let expected = Step::Publish { id: Some(*id), dup: true, qos: QoS::AtLeastOnce, key: order as u64, body: order };
            prop_assert_eq!(window.redeliver(), Some(expected));
        }
        let fresh = window.insert(1000, QoS::AtLeastOnce, 1, 1000);
        prop_assert!(!ids.contains(&fresh));
        for (order, id) in ids.iter().enumerate() {
            prop_assert_eq!(window.puback(*id), Acked::Done { key: order as u64, cost: 1 });
        }
    }
}

#[test]
fn qos_0_passes_a_full_window_and_otherwise_keeps_its_place() {
    let mut session = Session::default();
    session.attach(1);
    for (body, qos) in [
        QoS::AtLeastOnce,
        QoS::AtMostOnce,
        QoS::AtLeastOnce,
        QoS::AtMostOnce,
    ]
    .into_iter()
    .enumerate()
    {
        session
            .push(qos, 1, 0, body, &LIMITS)
            .expect("within limits");
    }
    let mut bodies = Vec::new();
    while let Some(Step::Publish { body, .. }) = session.next(|_| false) {
        bodies.push(body);
    }
    assert_eq!(bodies, [0, 1, 3]);
}

#[test]
fn the_newest_message_is_refused_when_the_session_holds_its_limit() {
    let limits = Limits {
        messages: 2,
        bytes: 10,
    };
    let mut session = Session::default();
    session.attach(1);
    assert!(
        session.push(QoS::AtLeastOnce, 50, 0, 'a', &limits).is_ok(),
        "one message always fits"
    );
    assert!(session.push(QoS::AtLeastOnce, 1, 0, 'b', &limits).is_err());
    assert!(session.next(|_| false).is_some());
    assert!(
        session.push(QoS::AtLeastOnce, 1, 0, 'b', &limits).is_err(),
        "what is under way counts"
    );
}

#[test]
fn a_stale_message_is_reported_instead_of_sent() {
    let mut session = Session::default();
    session.attach(1);
    session
        .push(QoS::AtLeastOnce, 1, 0, 'a', &LIMITS)
        .expect("within limits");
    assert_eq!(
        session.next(|_| true),
        Some(Step::Stale {
            qos: QoS::AtLeastOnce,
            key: 0,
            body: 'a'
        })
    );
    assert!(session.is_empty());
}

#[test]
fn a_wrong_acknowledgement_is_told_from_an_unknown_one() {
    let mut window = Window::default();
    window.attach(5);
    let one = window.insert(0, QoS::AtLeastOnce, 1, ());
    let two = window.insert(1, QoS::ExactlyOnce, 1, ());
    assert_eq!(window.pubrec(one, false), Recd::Mismatch);
    assert_eq!(window.puback(two), Acked::Mismatch);
    assert_eq!(window.pubcomp(two), Acked::Mismatch);
    assert_eq!(window.puback(PacketId::MAX), Acked::Unknown);
    assert_eq!(window.pubrec(two, true), Recd::Refused { key: 1, cost: 1 });
    assert_eq!(window.pubrec(two, false), Recd::Unknown);
}

#[test]
fn identifiers_stay_unique_past_a_stuck_message() {
    let count = 140_000;
    let mut window = Window::default();
    window.attach(3);
    let stuck = window.insert(0, QoS::AtLeastOnce, 1, 0);
    let mut seen = BTreeSet::new();
    for order in 1..count {
        let id = window.insert(order, QoS::AtLeastOnce, 1, 0);
        assert_ne!(id, stuck);
        seen.insert(id);
        assert_eq!(
            window.puback(id),
            Acked::Done {
                key: order,
                cost: 1
            }
        );
    }
    assert_eq!(seen.len(), 65_534, "every other identifier is used");
    assert_eq!(window.puback(stuck), Acked::Done { key: 0, cost: 1 });
}
