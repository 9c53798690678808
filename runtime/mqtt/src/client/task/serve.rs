//! One connection, from CONNACK to its end.

use super::{Outbound, Task};
use crate::{
    Message, QoS,
    client::{
        Cause, PubAck, PublishError, Reason, Status,
        incoming::Answer,
        link::Link,
        outgoing::{Again, Received as Recorded},
        wire::{Ack, Received, WireError},
    },
    packet::{PacketId, Version},
};
use std::{sync::Arc, time::SystemTime};
use tokio::time::{Instant, sleep_until};

/// Nothing new is taken on while more than this waits to be written.
const HIGH_WATER: usize = 64 * 1024;
/// Packet ids must not run out.
const LARGEST_WINDOW: u16 = 60_000;

impl Task {
    /// Serves until the connection ends, and says why. Nothing that is under way is lost.
    pub(super) async fn serve(&mut self, mut link: Link) -> Cause {
        self.begin(&link);
        let cause = match self.work(&mut link).await {
            Ok(()) => Cause::Requested,
            Err(cause) => cause,
        };
        self.subscriptions.disconnected();
        self.incoming.disconnected();
        let reason = match &cause {
            Cause::Requested => Some(Reason::SUCCESS),
            Cause::Protocol(error) => Some(error.reason),
            _ => None,
        };
        if let Some(reason) = reason {
            link.close(reason, self.options.timeouts.close).await;
        }
        cause
    }

    fn begin(&mut self, link: &Link) {
        let granted = &link.granted;
        self.connected_before = true;
        if granted.client_id != self.options.client_id {
            // Given by the server: the session can only be resumed under it.
            self.options.client_id = granted.client_id.clone();
        }
        let present = granted.session_present;
        log::info!(client_id = &*granted.client_id, session_present = present; "Connected to the MQTT server");
        let window = self.options.maximum_in_flight.clamp(1, LARGEST_WINDOW);
        let window = window.min(granted.receive_maximum);
        for (id, flight) in self.outgoing.connected(present, window) {
            let ack = PubAck {
                reason: Some(Reason::SUCCESS),
                ..PubAck::default()
            };
            self.finish(id, flight, Ok(ack));
        }
        self.incoming.connected(present);
        self.subscriptions.connected(present);
        let status = Status::Connected(Arc::clone(granted));
        self.status.send_replace(status);
    }

    async fn work(&mut self, link: &mut Link) -> Result<(), Cause> {
        loop {
            self.read(link)?;
            self.send(link);
            if self.may_stop() {
                // What consumers were done with is acknowledged first.
                self.answer_bell(Some(link));
                return Ok(());
            }
            let reads = self.pushing.is_none() && !self.is_flooded();
            let takes = !self.publishers_gone
                && self.waiting.is_empty()
                && self.outgoing.has_room()
                && link.out.len() < HIGH_WATER;
            let due = self.due(link);
            tokio::select! {
                driven = link.drive(reads) => driven?,
                request = self.control.recv() => {
                    self.control(request);
                    // Subscriptions that were asked for together go out together.
                    while let Ok(request) = self.control.try_recv() {
                        self.control(Some(request));
                    }
                }
                outbound = self.publishes.recv(), if takes => match outbound {
                    Some(outbound) => self.take(link, outbound),
                    None => self.publishers_gone = true,
                },
                () = self.bell.rung() => self.answer_bell(Some(link)),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.tick(link)?,
            }
        }
    }

    /// Told to stop, and everything has been given its chance.
    fn may_stop(&mut self) -> bool {
        let Some(stopping) = &self.stopping else {
            return false;
        };
        let settled = self.publishers_gone && self.waiting.is_empty() && self.outgoing.is_empty();
        settled || stopping.by <= Instant::now()
    }

    fn due(&self, link: &Link) -> Option<Instant> {
        let stopping = self.stopping.as_ref().map(|stopping| stopping.by);
        let retry = self.subscriptions.next_retry();
        let patience = self.pushing.as_ref().and_then(|pushing| pushing.patience);
        let unclaimed = self.unclaimed_until(link);
        let all = [link.due(), stopping, retry, patience, unclaimed];
        all.into_iter().flatten().min()
    }

    fn tick(&mut self, link: &mut Link) -> Result<(), Cause> {
        let now = Instant::now();
        link.tick(now)?;
        self.give_up(link, now);
        self.drop_unclaimed(link, now);
        Ok(())
    }

    /// Handles every packet that has been read, up to a message that a full queue holds up.
    fn read(&mut self, link: &mut Link) -> Result<(), Cause> {
        while self.pushing.is_none() && !self.is_flooded() {
            let Some(received) = link.next()? else { break };
            self.handle(link, received)?;
        }
        Ok(())
    }

    fn handle(&mut self, link: &mut Link, received: Received) -> Result<(), Cause> {
        match received {
            Received::Publish(publication) => self.message(link, *publication)?,
            Received::PubAck(ack) => {
                let flight = self.outgoing.puback(ack.id)?;
                match flight {
                    Some(flight) => self.finish(ack.id, flight, outcome(ack)),
                    None => unknown(&ack, "PUBACK"),
                }
            }
            Received::PubRec(ack) => self.pubrec(link, ack)?,
            Received::PubRel(ack) => {
                let answer = self.incoming.pubrel(ack.id);
                self.answer(link, answer);
            }
            Received::PubComp(ack) => {
                let flight = self.outgoing.pubcomp(ack.id)?;
                match flight {
                    // 0x92: the server released it before, and said so on a connection that broke.
                    Some(flight) => {
                        let reason = Reason::SUCCESS;
                        self.finish(ack.id, flight, outcome(Ack { reason, ..ack }));
                    }
                    None => unknown(&ack, "PUBCOMP"),
                }
            }
            Received::SubAck(answers) => {
                if self.outgoing.answered(answers.id) {
                    let text = answers.reason_string.as_ref();
                    let (id, reasons) = (answers.id, &answers.reasons);
                    let now = Instant::now();
                    self.subscriptions.subscribed(id, reasons, text, now)?;
                } else {
                    log::warn!(id = answers.id.get(); "SUBACK that was not asked for");
                }
            }
            Received::UnsubAck(answers) => {
                self.outgoing.answered(answers.id);
                self.subscriptions.unsubscribed(answers.id);
            }
            Received::PingResp => {}
            Received::Disconnect {
                reason,
                reason_string: text,
                server_reference,
            } => {
                return Err(Cause::Ended {
                    reason,
                    text,
                    server_reference,
                });
            }
            Received::ConnAck(_) => return Err(WireError::protocol("a second CONNACK").into()),
        }
        Ok(())
    }

    fn pubrec(&mut self, link: &mut Link, ack: Ack) -> Result<(), WireError> {
        let id = ack.id;
        match self.outgoing.pubrec(id, ack.reason.is_failure())? {
            Recorded::Release => {
                let tag = self.outgoing.get(id).and_then(|flight| flight.tag);
                self.journal.received(id, tag);
                link.encoder.pubrel(id, Reason::SUCCESS, &mut link.out);
            }
            Recorded::Refused(flight) => self.finish(id, flight, outcome(ack)),
            Recorded::Unknown => {
                let reason = Reason::PACKET_ID_NOT_FOUND;
                link.encoder.pubrel(id, reason, &mut link.out);
            }
        }
        Ok(())
    }

    /// An answer to the server.
    pub(super) fn answer(&self, link: &mut Link, answer: Answer) {
        let Link { encoder, out, .. } = link;
        match answer {
            Answer::Ack(id) => encoder.puback(id, Reason::SUCCESS, out),
            Answer::Received(id) => encoder.pubrec(id, Reason::SUCCESS, out),
            Answer::Complete { id, known: true } => encoder.pubcomp(id, Reason::SUCCESS, out),
            Answer::Complete { id, known: false } => {
                encoder.pubcomp(id, Reason::PACKET_ID_NOT_FOUND, out);
            }
        }
    }

    /// What the server is still to be told, in this order: subscriptions, what was under way, what waited.
    fn send(&mut self, link: &mut Link) {
        let most = self.options.filters_per_packet;
        loop {
            let filters = self.subscriptions.next_to_subscribe(most, Instant::now());
            if filters.is_empty() {
                break;
            }
            let id = self.outgoing.request();
            link.encoder.subscribe(id, &filters, &mut link.out);
            self.subscriptions.subscribing(id, &filters);
        }
        loop {
            let filters = self.subscriptions.next_to_unsubscribe(most);
            if filters.is_empty() {
                break;
            }
            let id = self.outgoing.request();
            link.encoder.unsubscribe(id, &filters, &mut link.out);
            self.subscriptions.unsubscribing(id, filters);
        }
        while link.out.len() < HIGH_WATER {
            match self.outgoing.again() {
                Some(Again::Publish { id, dup }) => self.send_again(link, id, dup),
                Some(Again::Release(id)) => {
                    link.encoder.pubrel(id, Reason::SUCCESS, &mut link.out);
                }
                None => break,
            }
        }
        while link.out.len() < HIGH_WATER && self.outgoing.has_room() {
            match self.waiting.pop_front() {
                Some(outbound) => self.publish(link, outbound),
                None => break,
            }
        }
    }

    fn send_again(&mut self, link: &mut Link, id: PacketId, dup: bool) {
        let flight = self.outgoing.get(id);
        let Some(message) = flight.and_then(|flight| flight.message.clone()) else {
            return;
        };
        // A QoS 2 message that the server may have is brought to its end.
        let owed = dup && message.qos == QoS::ExactlyOnce;
        let fits = match check(link, &message) {
            Err(PublishError::Expired) if owed => Ok(()),
            checked => checked,
        };
        let sent = fits.and_then(|()| encode(link, &message, Some(id), dup));
        if let Err(error) = sent
            && let Some(flight) = self.outgoing.remove(id)
        {
            self.finish(id, flight, Err(error));
        }
    }

    /// Takes a message from the publishers' queue, and as many more as there is room for: they go out in one write.
    fn take(&mut self, link: &mut Link, outbound: Outbound) {
        self.publish(link, outbound);
        while self.outgoing.has_room() && link.out.len() < HIGH_WATER {
            match self.publishes.try_recv() {
                Ok(outbound) => self.publish(link, outbound),
                Err(_) => break,
            }
        }
    }

    fn publish(&mut self, link: &mut Link, outbound: Outbound) {
        let Outbound {
            message,
            options,
            reply,
        } = outbound;
        // The caller has given up: taken back.
        if reply.is_closed() {
            return;
        }
        if let Err(error) = check(link, &message) {
            let _ = reply.send(Err(error));
            return;
        }
        if message.qos == QoS::AtMostOnce {
            let sent = encode(link, &message, None, false);
            let _ = reply.send(sent.map(|()| PubAck::default()));
            return;
        }
        let before = link.out.len();
        let id = self
            .outgoing
            .start(message.clone(), options.tag, Some(reply));
        let sent = encode(link, &message, Some(id), false).and_then(|()| {
            let noted = self.journal.sending(id, &message, options.tag);
            noted.map_err(|error| {
                link.take_back(before, &message);
                PublishError::Journal(error)
            })
        });
        if let Err(error) = sent
            && let Some(flight) = self.outgoing.remove(id)
            && let Some(reply) = flight.waiter
        {
            let _ = reply.send(Err(error));
        }
    }

    /// The server has sent more than it should have while consumers are behind.
    fn is_flooded(&self) -> bool {
        let most = usize::from(self.options.receive_maximum.max(1)) * 4;
        self.incoming.outstanding() >= most
    }

    /// How far a queue may exceed its own limit with messages that will be acknowledged.
    pub(super) fn excess(&self) -> usize {
        let most = usize::from(self.options.receive_maximum.max(1));
        match self.options.version {
            Version::V5 => most,
            Version::V311 => most * 4,
        }
    }
}

fn unknown(ack: &Ack, packet: &str) {
    log::warn!(id = ack.id.get(), packet; "An acknowledgement for a message that is not under way");
}

fn outcome(ack: Ack) -> Result<PubAck, PublishError> {
    let Ack {
        reason,
        reason_string,
        user_properties,
        ..
    } = ack;
    if reason.is_failure() {
        let text = reason_string;
        return Err(PublishError::Refused { reason, text });
    }
    Ok(PubAck {
        reason: Some(reason),
        reason_string,
        user_properties,
    })
}

/// What this server takes.
fn check(link: &Link, message: &Message) -> Result<(), PublishError> {
    let granted = &link.granted;
    if message.qos as u8 > granted.maximum_qos {
        let maximum = granted.maximum_qos;
        return Err(PublishError::QosNotSupported { maximum });
    }
    if message.retain && !granted.retain_available {
        return Err(PublishError::RetainNotSupported);
    }
    if message.expires.is_some_and(|at| at <= SystemTime::now()) {
        return Err(PublishError::Expired);
    }
    Ok(())
}

fn encode(
    link: &mut Link,
    message: &Message,
    id: Option<PacketId>,
    dup: bool,
) -> Result<(), PublishError> {
    let limit = usize::try_from(link.granted.maximum_packet_size).unwrap_or(usize::MAX);
    let encoded = link.publish(message, id, dup);
    encoded.map_err(|size| PublishError::TooLarge {
        what: "packet",
        size,
        limit,
    })
}
