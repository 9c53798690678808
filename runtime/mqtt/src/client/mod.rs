//! The MQTT client that the cloud link stands on: MQTT 5 and 3.1.1 over a stream of our own making, so that the key may live
//! in a token; reconnects by itself, subscribes again, redelivers what was not acknowledged.
//!
//! ```text
//! Client, Subscription (handles) -> channels, queues, bell -> task -> link -> net (TCP, proxy, TLS)
//!                                                             task asks: outgoing, incoming, subscriptions, back_off (no I/O)
//! ```
//!
//! ```no_run
//! use mqtt::{Message, QoS, client::{Client, Connector, Options, Tls}};
//!
//! # async fn example(tls: Tls, message: Message) -> Result<(), Box<dyn std::error::Error>> {
//! let connector = Connector { host: "example-ats.iot.eu-west-1.amazonaws.com".into(), port: 8883, tls: Some(tls), proxy: None };
//! let (client, task) = Client::start(Options::new("MyThing"), connector, None);
//! tokio::spawn(task);
//! let mut answers = client.subscribe("answers/#", QoS::AtLeastOnce).await?;
//! client.publish(message).await?;
//! let delivery = answers.recv().await?;
//! println!("{}", delivery.message.topic);
//! delivery.ack();
//! client.disconnect(std::time::Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```

mod back_off;
mod error;
mod handle;
mod incoming;
mod journal;
mod link;
mod net;
mod options;
mod outgoing;
mod queue;
mod reason;
mod status;
mod subscriptions;
mod task;
mod wire;

pub use error::{PubAck, PublishError, SubscribeError};
pub use handle::{Acknowledgement, Client, Delivery, PublishOptions, Subscription};
pub use journal::{Journal, NoJournal, Pending};
pub use net::{
    Connector, Dial, DialError, NoProxy, Proxy, ProxyAuthorization, ProxyError, Stream, Tls,
};
pub use options::{BackOff, Credentials, Options, SubscribeOptions, Timeouts, WhenOffline};
pub use reason::Reason;
pub use status::{Cause, Connected, Status};
pub use wire::WireError;
