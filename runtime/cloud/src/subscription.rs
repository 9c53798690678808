//! A subscription that outlives connections, and clients: a change of the configuration makes a new one.

use mqtt::{
    Message, QoS,
    client::{Client, Status, SubscribeError},
};
use tokio::sync::watch;

/// The client of the moment, while there is one.
pub type Clients = watch::Receiver<Option<Client>>;

/// Messages of one topic filter. Dropping it ends it; the last one for a filter unsubscribes.
#[derive(Debug)]
pub struct Subscription {
    pub(crate) clients: Clients,
    pub(crate) filter: String,
    pub(crate) qos: QoS,
    pub(crate) current: Option<mqtt::client::Subscription>,
}

impl Subscription {
    /// The next message. An error is final: the broker refuses the subscription, or the link has ended.
    pub async fn recv(&mut self) -> Result<Message, SubscribeError> {
        loop {
            if let Some(current) = &mut self.current {
                match current.recv().await {
                    Ok(delivery) => {
                        let message = delivery.message.clone();
                        delivery.ack();
                        return Ok(message);
                    }
                    // Its client has gone; the next one subscribes again.
                    Err(SubscribeError::Stopped) => self.current = None,
                    Err(error) => return Err(error),
                }
            }
            let client = next(&mut self.clients).await?;
            match client.subscribe(self.filter.clone(), self.qos).await {
                Ok(subscription) => self.current = Some(subscription),
                Err(SubscribeError::Stopped) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// A client that has not ended.
async fn next(clients: &mut Clients) -> Result<Client, SubscribeError> {
    loop {
        {
            let present = clients.borrow_and_update();
            if let Some(client) = &*present
                && !matches!(*client.status().borrow(), Status::Stopped)
            {
                return Ok(client.clone());
            }
        }
        clients
            .changed()
            .await
            .map_err(|_| SubscribeError::Stopped)?;
    }
}
