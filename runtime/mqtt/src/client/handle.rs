//! What callers hold: cheap handles that talk to the task.

use super::{
    Status,
    error::{PubAck, PublishError, SubscribeError},
    journal::{Journal, NoJournal},
    net::Dial,
    options::{Options, SubscribeOptions, WhenOffline},
    queue::{Bell, Item, Queue, Receipt, SubscriberId},
    task::{Control, Outbound, Task},
};
use crate::{
    Message, Properties, QoS,
    topic::{Filter, check_name},
};
use bytestring::ByteString;
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio::sync::{mpsc, oneshot, watch};

/// A handle to the client; clones share one connection, which ends in an orderly way with the last handle and subscription.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    publishes: mpsc::Sender<Outbound>,
    control: mpsc::Sender<Control>,
    status: watch::Receiver<Status>,
    bell: Arc<Bell>,
    maximum_payload: usize,
    next_subscriber: AtomicUsize,
}

/// How a message is published.
#[derive(Clone, Copy, Debug, Default)]
pub struct PublishOptions {
    /// While there is no connection.
    pub when_offline: WhenOffline,
    /// Handed to the [`Journal`] with the message.
    pub tag: Option<u64>,
}

impl Client {
    /// A client and the future that does its work: spawn it. It ends after [`Client::disconnect`], or when all handles are
    /// gone; never for a fault of network or server.
    pub fn start(
        options: Options,
        dialer: impl Dial,
        journal: Option<Box<dyn Journal>>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (publishes, from_publishers) = mpsc::channel(options.publish_queue.max(1));
        let (control, from_callers) = mpsc::channel(16);
        let (status, watched) = watch::channel(Status::Connecting {
            attempt: 1,
            after: None,
        });
        let bell = Arc::new(Bell::default());
        let shared = Shared {
            publishes,
            control,
            status: watched,
            bell: Arc::clone(&bell),
            maximum_payload: options.maximum_payload_size,
            next_subscriber: AtomicUsize::new(0),
        };
        let journal = journal.unwrap_or_else(|| Box::new(NoJournal));
        let dialer = Arc::new(dialer);
        let task = Task::new(
            options,
            dialer,
            journal,
            from_publishers,
            from_callers,
            status,
            bell,
        );
        let client = Self {
            shared: Arc::new(shared),
        };
        (client, task.run())
    }

    /// Publishes and waits for the acknowledgement: PUBACK for QoS 1, PUBCOMP for QoS 2, the hand-over to the connection for
    /// QoS 0. Dropping the future before the message was sent takes it back; afterwards it is redelivered until acknowledged.
    pub async fn publish(&self, message: Message) -> Result<PubAck, PublishError> {
        self.publish_with(message, PublishOptions::default()).await
    }

    /// As [`Client::publish`], with options.
    pub async fn publish_with(
        &self,
        message: Message,
        options: PublishOptions,
    ) -> Result<PubAck, PublishError> {
        self.send(message, options).await?.await
    }

    /// Queues a message; the acknowledgement is awaited separately, so that many can be under way. Messages queued by one
    /// caller are sent in that order. Waits while the queue is full.
    pub async fn send(
        &self,
        message: Message,
        options: PublishOptions,
    ) -> Result<Acknowledgement, PublishError> {
        check(&message, self.shared.maximum_payload)?;
        let (reply, answer) = oneshot::channel();
        let outbound = Outbound {
            message,
            options,
            reply,
        };
        let publishes = &self.shared.publishes;
        match options.when_offline {
            WhenOffline::Wait => publishes.send(outbound).await,
            WhenOffline::Fail => {
                let mut status = self.shared.status.clone();
                tokio::select! {
                    biased;
                    gone = status.wait_for(|status| !status.is_connected()) => {
                        let stopped = gone.map_or(true, |status| matches!(*status, Status::Stopped));
                        return Err(if stopped { PublishError::Stopped } else { PublishError::NotConnected });
                    }
                    sent = publishes.send(outbound) => sent,
                }
            }
        }
        .map_err(|_| PublishError::Stopped)?;
        Ok(Acknowledgement { answer })
    }

    /// Subscribes and waits until the server has granted it. Filters that are subscribed to already are shared: no packet is
    /// sent unless a higher QoS is asked for, the other options are the first one's, and retained messages, which come with
    /// SUBSCRIBE, are not sent again.
    ///
    /// Survives reconnects. A message that matches several overlapping filters may come once for each of them.
    pub async fn subscribe(
        &self,
        filter: impl Into<ByteString>,
        options: impl Into<SubscribeOptions>,
    ) -> Result<Subscription, SubscribeError> {
        let filter = filter.into();
        let options = options.into();
        if Filter::parse(&filter).is_err() {
            return Err(SubscribeError::InvalidFilter(filter));
        }
        let bell = Arc::clone(&self.shared.bell);
        let queue = Arc::new(Queue::new(&options, bell));
        let id = self.shared.next_subscriber.fetch_add(1, Ordering::Relaxed);
        // From here on a dropped future takes the subscription back.
        let mut subscription = Subscription {
            client: self.clone(),
            id,
            filter: filter.clone(),
            granted: options.qos,
            queue: Arc::clone(&queue),
        };
        let (reply, answer) = oneshot::channel();
        let request = Control::Subscribe {
            id,
            filter,
            options,
            queue,
            reply,
        };
        let sent = self.shared.control.send(request).await;
        sent.map_err(|_| SubscribeError::Stopped)?;
        subscription.granted = answer.await.unwrap_or(Err(SubscribeError::Stopped))?;
        Ok(subscription)
    }

    /// The state of the connection, to look at or to wait for.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.shared.status.clone()
    }

    /// Ends the client in an orderly way: takes nothing new, gives what is queued and under way up to `grace` to be
    /// acknowledged, sends DISCONNECT. What remains fails with `Stopped`; a journal keeps it.
    pub async fn disconnect(&self, grace: Duration) {
        let (done, ended) = oneshot::channel();
        let request = Control::Disconnect { grace, done };
        if self.shared.control.send(request).await.is_ok() {
            // An error says that the task is gone, which is what was wanted.
            let _ = ended.await;
        }
    }
}

fn check(message: &Message, maximum_payload: usize) -> Result<(), PublishError> {
    if check_name(&message.topic).is_err() {
        return Err(PublishError::Invalid("its topic is not a topic name"));
    }
    let size = message.payload.len();
    if size > maximum_payload {
        let (what, limit) = ("payload", maximum_payload);
        return Err(PublishError::TooLarge { what, size, limit });
    }
    let properties = message.properties.as_deref();
    let wrong = properties.and_then(wrong_property);
    wrong.map_or(Ok(()), |what| Err(PublishError::Invalid(what)))
}

fn wrong_property(properties: &Properties) -> Option<&'static str> {
    let long = usize::from(u16::MAX);
    let text = |text: &ByteString| text.len() > long || text.contains('\0');
    let user = &properties.user;
    let wrong = [
        (
            properties
                .response_topic
                .as_ref()
                .is_some_and(|topic| check_name(topic).is_err()),
            "its response topic is not a topic name",
        ),
        (
            properties.content_type.as_ref().is_some_and(text),
            "its content type is not an MQTT string",
        ),
        (
            properties
                .correlation_data
                .as_ref()
                .is_some_and(|data| data.len() > long),
            "its correlation data is longer than 65,535 bytes",
        ),
        (
            user.iter().any(|(key, value)| text(key) || text(value)),
            "a user property is not an MQTT string",
        ),
        (
            properties.payload_format.is_some_and(|format| format > 1),
            "its payload format is neither 0 nor 1",
        ),
    ];
    wrong
        .into_iter()
        .find_map(|(wrong, what)| wrong.then_some(what))
}

/// Resolves when a message has been acknowledged.
#[derive(Debug)]
#[must_use = "without it nobody hears whether the message arrived"]
pub struct Acknowledgement {
    answer: oneshot::Receiver<Result<PubAck, PublishError>>,
}

impl Future for Acknowledgement {
    type Output = Result<PubAck, PublishError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = Pin::new(&mut self.answer).poll(context);
        answer.map(|answer| answer.unwrap_or(Err(PublishError::Stopped)))
    }
}

/// Messages of one filter. Dropping it unsubscribes when it was the filter's last.
#[derive(Debug)]
pub struct Subscription {
    client: Client,
    id: SubscriberId,
    filter: ByteString,
    granted: QoS,
    queue: Arc<Queue>,
}

impl Subscription {
    /// The next message. An error is final: the server withdrew the subscription, or the client has ended. Cancelling loses
    /// nothing.
    pub async fn recv(&mut self) -> Result<Delivery, SubscribeError> {
        self.queue.next().await.map(Delivery::from)
    }

    /// The next message if one is there.
    pub fn try_recv(&mut self) -> Option<Result<Delivery, SubscribeError>> {
        let next = self.queue.try_next()?;
        Some(next.map(Delivery::from))
    }

    /// The filter.
    pub fn filter(&self) -> &ByteString {
        &self.filter
    }

    /// The QoS that the server granted.
    pub fn granted(&self) -> QoS {
        self.granted
    }

    /// How many QoS 0 messages were dropped because this subscription took nothing while its queue was full.
    pub fn dropped(&self) -> usize {
        self.queue.dropped()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.queue.close();
        self.client.shared.bell.dropped(self.id);
    }
}

/// A message and the duty to acknowledge it.
#[derive(Debug)]
#[must_use = "a message that is never acknowledged is sent again, and holds a place in the window until then"]
pub struct Delivery {
    /// The message.
    pub message: Message,
    receipt: Option<Arc<Receipt>>,
}

impl Delivery {
    /// Done with it: the server may forget it. Without this it is delivered again after the next reconnect.
    pub fn ack(self) {
        if let Some(receipt) = self.receipt {
            receipt.sign();
        }
    }
}

impl From<Item> for Delivery {
    fn from(item: Item) -> Self {
        let Item { message, receipt } = item;
        Self { message, receipt }
    }
}
