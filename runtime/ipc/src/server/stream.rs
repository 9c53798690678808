//! One operation on a connection: how it is answered, and how a streaming one goes on.

use super::session::Session;
use crate::{
    fault::Fault,
    frame::{Flags, Headers, Kind, Message},
    operation::Operation,
    outbox::{Gone, Offered, Outbox},
};
use bytes::Bytes;
use serde::Serialize;
use std::{
    any::Any,
    sync::{Arc, Weak},
};
use tokio::sync::OwnedSemaphorePermit;

/// What a stream holds while it is open: dropping it ends a subscription.
pub(crate) type Guard = Box<dyn Any + Send>;

/// What an open stream takes beside its request, about, in bytes.
const STREAM: usize = 512;

/// A request that is to be answered exactly once. One that is dropped unanswered, by a panic say, is answered with an
/// error: a client never waits in vain.
#[derive(Debug)]
pub(crate) struct Call {
    pub session: Arc<Session>,
    pub operation: Operation,
    stream: i32,
    answered: bool,
    weight: usize,
    /// Of a large request, until it is answered.
    _room: Option<OwnedSemaphorePermit>,
}

impl Call {
    /// `length` is that of the request.
    pub fn new(
        session: Arc<Session>,
        operation: Operation,
        stream: i32,
        length: usize,
        room: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            session,
            operation,
            stream,
            answered: false,
            weight: STREAM + length,
            _room: room,
        }
    }

    /// The stream, once accepted, takes so many bytes more.
    pub fn weigh(&mut self, bytes: usize) {
        self.weight += bytes;
    }

    /// Answers, and ends the stream.
    pub fn reply(mut self, answer: Result<impl Serialize, Fault>) {
        self.answered = true;
        match answer {
            Ok(response) => self.end(
                Kind::ApplicationMessage,
                self.operation.response(),
                json(&response),
            ),
            Err(fault) => self.end(Kind::ApplicationError, fault.class.model(), fault.payload()),
        }
    }

    /// Answers a streaming operation whose events will have this shape. `enter` adds the stream to whatever feeds it: it is
    /// handed what queues the answer, so that it can see to it that the answer comes first and no event is missed.
    pub fn accept<G: Any + Send>(
        mut self,
        event: &'static str,
        response: &impl Serialize,
        enter: impl FnOnce(StreamSender, &dyn Fn()) -> G,
    ) {
        let shared = &self.session.shared;
        let Some(held) = shared.admission.hold(&self.session.principal, self.weight) else {
            let fault = Fault::service(format!(
                "the subscriptions of {} would take more than {} bytes",
                self.session.principal, shared.limits.held_per_component
            ));
            return self.reply(Err::<(), _>(fault));
        };
        self.answered = true;
        let sender = StreamSender {
            session: Arc::downgrade(&self.session),
            outbox: self.session.outbox.clone(),
            stream: self.stream,
            event,
        };
        let answer = Message {
            kind: Kind::ApplicationMessage,
            flags: Flags::NONE,
            stream: self.stream,
            headers: Headers::Model(self.operation.response()),
            payload: json(response),
        };
        let queue = || {
            // When the connection is gone, the stream is about to be.
            let _ = self.session.outbox.push(answer.clone());
        };
        let guard = enter(sender, &queue);
        self.session.keep(self.stream, Box::new((guard, held)));
    }

    fn end(&self, kind: Kind, model: &'static str, payload: Bytes) {
        if !self.session.ends(self.stream) {
            return;
        }
        let message = Message {
            kind,
            flags: Flags::TERMINATE,
            stream: self.stream,
            headers: Headers::Model(model),
            payload,
        };
        // A client that is gone needs no answer.
        let _ = self.session.outbox.push(message);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.answered {
            let fault = Fault::service(format!(
                "{} failed inside the runtime",
                self.operation.name()
            ));
            self.end(Kind::ApplicationError, fault.class.model(), fault.payload());
        }
    }
}

/// Sends the events of one stream.
#[derive(Clone, Debug)]
pub(crate) struct StreamSender {
    session: Weak<Session>,
    pub outbox: Arc<Outbox>,
    pub stream: i32,
    event: &'static str,
}

impl StreamSender {
    /// Queues an event that must not be dropped. A client that has left far too much unread counts as gone: what asks for
    /// its answer does not wait for it.
    pub fn send(&self, event: &impl Serialize) -> Result<(), Gone> {
        if self.outbox.is_full() {
            return Err(Gone);
        }
        self.push(event)
    }

    fn push(&self, event: &impl Serialize) -> Result<(), Gone> {
        self.outbox.push(Message {
            kind: Kind::ApplicationMessage,
            flags: Flags::NONE,
            stream: self.stream,
            headers: Headers::Model(self.event),
            payload: json(event),
        })
    }

    /// Queues an event that may be dropped, with older ones, when the client does not keep up.
    pub fn offer(&self, event: &impl Serialize) -> Offered {
        self.outbox.offer(Message {
            kind: Kind::ApplicationMessage,
            flags: Flags::NONE,
            stream: self.stream,
            headers: Headers::Model(self.event),
            payload: json(event),
        })
    }

    /// Like [`StreamSender::send`], but waits while the connection is behind.
    pub async fn send_patiently(&self, event: &impl Serialize) -> Result<(), Gone> {
        self.outbox.room().await?;
        self.push(event)
    }

    /// Ends the stream: nothing more will come.
    pub fn end(&self) {
        if let Some(session) = self.session.upgrade()
            && session.ends(self.stream)
        {
            // As above: gone is ended too.
            let _ = self.outbox.push(terminate(self.stream));
        }
    }
}

/// The message that ends a stream.
pub(super) fn terminate(stream: i32) -> Message {
    Message {
        kind: Kind::ApplicationMessage,
        flags: Flags::TERMINATE,
        stream,
        headers: Headers::Bare,
        payload: Bytes::new(),
    }
}

fn json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value)
        .expect("answers are maps with text keys")
        .into()
}
