//! Local publish/subscribe. Publishing never waits: each subscriber has its own bounded queue.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! use ipc::pubsub::{PubSub, Published};
//! let pubsub = PubSub::default();
//! let mut telemetry = pubsub.subscribe(&"$local/greengrass/#".parse_filter(), 100);
//! pubsub.publish(None, &Published::json("$local/greengrass/telemetry", "{\"cpu\":3}"));
//! assert_eq!(&telemetry.recv().await.unwrap().payload()[..], b"{\"cpu\":3}");
//! # }
//! # trait ParseFilter { fn parse_filter(&self) -> model::TopicFilter; }
//! # impl ParseFilter for str { fn parse_filter(&self) -> model::TopicFilter { model::TopicFilter::new(self).unwrap() } }
//! ```

mod message;
mod trie;

pub use message::Published;

use crate::{
    Principal,
    frame::{Flags, Headers, Kind, Message},
    outbox::{Offered, Outbox},
};
use model::TopicFilter;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::mpsc;
use trie::Trie;

const EVENT: &str = "aws.greengrass#SubscriptionResponseMessage";

/// The subscriptions of this device, and what publishes to them. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct PubSub {
    shared: Arc<RwLock<Subscriptions>>,
}

#[derive(Debug, Default)]
struct Subscriptions {
    trie: Trie<Subscriber>,
    last: u32,
}

/// Who gets a message.
#[derive(Debug)]
pub(crate) enum Subscriber {
    /// A stream of a connection.
    Stream {
        outbox: Arc<Outbox>,
        stream: i32,
        owner: Arc<Principal>,
        /// RECEIVE_MESSAGES_FROM_OTHERS.
        others_only: bool,
    },
    /// A feature of this process.
    Local(mpsc::Sender<Published>),
}

/// One subscription; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    shared: Arc<RwLock<Subscriptions>>,
    filter: TopicFilter,
    id: u32,
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut subscriptions = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        subscriptions.trie.remove(self.filter.as_str(), self.id);
    }
}

/// Messages for a feature of this process. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscription {
    _entry: Entry,
    messages: mpsc::Receiver<Published>,
}

impl Subscription {
    /// The next message.
    pub async fn recv(&mut self) -> Option<Published> {
        self.messages.recv().await
    }
}

impl PubSub {
    /// Delivers a message to all who subscribe to its topic. `from` is the component it comes from, `None` the runtime.
    pub fn publish(&self, from: Option<&Principal>, message: &Published) {
        let subscriptions = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        subscriptions.trie.find(message.topic(), &mut |subscriber| {
            subscriber.deliver(from, message);
        });
    }

    /// Subscribes a feature of this process. When more than `waiting` messages wait for it, newer ones are dropped.
    pub fn subscribe(&self, filter: &TopicFilter, waiting: usize) -> Subscription {
        let (sender, messages) = mpsc::channel(waiting.max(1));
        Subscription {
            _entry: self.enter(filter, Subscriber::Local(sender), || ()),
            messages,
        }
    }

    /// Adds a subscriber. `before` runs first, with nothing published in between: the answer to the subscription goes out
    /// before its first message, and no message is missed after the answer.
    pub(crate) fn enter(
        &self,
        filter: &TopicFilter,
        subscriber: Subscriber,
        before: impl FnOnce(),
    ) -> Entry {
        let mut subscriptions = self.shared.write().unwrap_or_else(PoisonError::into_inner);
        before();
        subscriptions.last = subscriptions.last.wrapping_add(1);
        let id = subscriptions.last;
        subscriptions.trie.insert(filter.as_str(), id, subscriber);
        Entry {
            shared: self.shared.clone(),
            filter: filter.clone(),
            id,
        }
    }
}

impl Subscriber {
    fn deliver(&self, from: Option<&Principal>, message: &Published) {
        match self {
            Self::Stream {
                outbox,
                stream,
                owner,
                others_only,
            } => {
                if *others_only && from == Some(&**owner) {
                    return;
                }
                let event = Message {
                    kind: Kind::ApplicationMessage,
                    flags: Flags::NONE,
                    stream: *stream,
                    headers: Headers::Model(EVENT),
                    payload: message.event.clone(),
                };
                if outbox.offer(event) == Offered::Dropping {
                    log::warn!(
                        component:% = owner, topic = message.topic();
                        "a subscriber does not keep up: its oldest messages are dropped until it does"
                    );
                }
            }
            Self::Local(sender) => {
                if sender.try_send(message.clone()).is_err() {
                    log::debug!(topic = message.topic(); "a subscriber inside the runtime does not keep up");
                }
            }
        }
    }
}
