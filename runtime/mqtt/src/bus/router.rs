//! rumqttd's router and its links: started with the first subscription, replaced when it dies.

use super::{Bus, State, Subscriber, runtime};
use rumqttd::{
    Notification, Router, RouterConfig,
    local::{LinkBuilder, LinkError, LinkRx, LinkTx},
    protocol::{Disconnect, DisconnectReasonCode, Packet},
};
use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Weak},
    time::Duration,
};

/// Links of one router: subscriptions of this process and the way in.
const LINKS: usize = 64;
/// One link is the way in; one is spare for a link that is about to end.
const SUBSCRIPTIONS: usize = LINKS - 2;
/// Notifications that the router gives a link before it waits for a sign of life.
const OUTGOING: u64 = 200;
/// Between attempts to replace a router.
const PAUSE: Duration = Duration::from_millis(100);

type Connect = Arc<dyn Fn(&str) -> Result<(LinkTx, LinkRx), String> + Send + Sync>;

/// A router that is alive as far as anyone knows. Its sender's type has no name outside rumqttd, hence the closures.
#[derive(Clone)]
pub(super) struct Running {
    connect: Connect,
    break_it: Arc<dyn Fn() + Send + Sync>,
}

impl Running {
    fn start(budget: usize) -> Self {
        // A log is cut by whole segments, and the one before the newest is always there: as much as can be under way.
        let config = RouterConfig {
            max_connections: LINKS,
            max_outgoing_packet_count: OUTGOING,
            max_segment_size: budget,
            max_segment_count: 2,
            ..RouterConfig::default()
        };
        let events = Router::new(0, config).spawn();
        let for_break = events.clone();
        let connect = move |name: &str| {
            let (tx, rx, _) = LinkBuilder::new(name, events.clone())
                .build()
                .map_err(told)?;
            Ok((tx, rx))
        };
        let break_it = move || {
            // No link has this number: the router's look-up panics.
            let mut nobody = LinkTx::new(usize::MAX, for_break.clone(), Arc::default());
            let _ = nobody.shadow("m/none");
        };
        Self {
            connect: Arc::new(connect),
            break_it: Arc::new(break_it),
        }
    }

    pub fn break_it(&self) {
        (self.break_it)();
    }

    /// A link with its filters. Blocks for as long as the router takes, so it runs on a thread for that.
    async fn link(&self, name: String, filters: Vec<String>) -> Result<(LinkTx, LinkRx), String> {
        let connect = Arc::clone(&self.connect);
        let build = move || {
            let (mut tx, rx) = connect(&name)?;
            for filter in filters {
                tx.subscribe(filter).map_err(told)?;
            }
            Ok((tx, rx))
        };
        let built = tokio::task::spawn_blocking(build).await;
        built.map_err(|error| error.to_string())?
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn told(error: LinkError) -> String {
    error.to_string()
}

/// Gives a subscriber its link, starting the router if there is none.
pub(super) async fn attach(bus: &Arc<Bus>, subscriber: &Arc<Subscriber>) -> Result<(), String> {
    let _one = bus.starting.lock().await;
    let running = {
        let state = bus.state();
        if state.subscribers.len() >= SUBSCRIPTIONS {
            return Err(format!(
                "{SUBSCRIPTIONS} subscriptions in this process are the most"
            ));
        }
        state.running.clone()
    };
    match running {
        None => {
            bus.state()
                .subscribers
                .insert(subscriber.number, Arc::clone(subscriber));
            let started = start(bus).await;
            if started.is_err() {
                bus.state().subscribers.remove(&subscriber.number);
            }
            started
        }
        Some(running) => {
            let epoch = bus.state().epoch;
            let linked = running.link(name(subscriber), filters(subscriber)).await;
            let mut state = bus.state();
            state
                .subscribers
                .insert(subscriber.number, Arc::clone(subscriber));
            match linked {
                // If it has died meanwhile, the next one has this subscriber among its own.
                Ok((tx, rx)) => {
                    let reader = Reader {
                        bus: Arc::downgrade(bus),
                        subscriber: Arc::clone(subscriber),
                        epoch,
                    };
                    runtime()?.spawn(reader.run(tx, rx));
                }
                Err(error) => {
                    log::warn!(error; "a link to the router could not be made: replacing the router");
                    dead(bus, &mut state, epoch);
                }
            }
            Ok(())
        }
    }
}

fn name(subscriber: &Subscriber) -> String {
    format!("subscription-{}", subscriber.number)
}

fn filters(subscriber: &Subscriber) -> Vec<String> {
    subscriber.filters.iter().cloned().collect()
}

/// Marks a router as dead; the pump replaces it.
fn dead(bus: &Bus, state: &mut State, epoch: usize) {
    if state.epoch == epoch && state.running.take().is_some() {
        state.epoch += 1;
        bus.news.notify_one();
    }
}

/// Starts a router with links for all subscribers, and the pump. What waits in the table goes into it.
async fn start(bus: &Arc<Bus>) -> Result<(), String> {
    let runtime = runtime()?;
    let running = Running::start(bus.budget);
    let (epoch, subscribers) = {
        let mut state = bus.state();
        if state.stopped {
            return Err("the engine has stopped".to_owned());
        }
        state.epoch += 1;
        (
            state.epoch,
            state.subscribers.values().cloned().collect::<Vec<_>>(),
        )
    };
    let mut links = Vec::new();
    for subscriber in subscribers {
        let (tx, rx) = running
            .link(name(&subscriber), filters(&subscriber))
            .await?;
        links.push((subscriber, tx, rx));
    }
    let (ingress, _) = running.link("ingress".to_owned(), Vec::new()).await?;
    {
        let mut state = bus.state();
        state.table.replay();
        state.running = Some(running);
    }
    for (subscriber, tx, rx) in links {
        let reader = Reader {
            bus: Arc::downgrade(bus),
            subscriber,
            epoch,
        };
        runtime.spawn(reader.run(tx, rx));
    }
    runtime.spawn(pump(Arc::downgrade(bus), ingress, epoch));
    Ok(())
}

/// What the pump does next.
enum Next {
    Wait,
    Replace,
    End,
}

/// Moves messages from the table into the router as far as the budget allows.
fn move_on(bus: &Bus, ingress: &mut LinkTx, epoch: usize) -> Next {
    loop {
        let next = {
            let mut state = bus.state();
            if state.stopped {
                return Next::End;
            }
            if state.epoch != epoch {
                return Next::Replace;
            }
            state.table.next(bus.budget)
        };
        let Some((topic, sealed)) = next else {
            return Next::Wait;
        };
        if ingress.publish(topic, sealed).is_err() {
            dead(bus, &mut bus.state(), epoch);
        }
    }
}

/// Feeds the router; replaces it once it is dead.
async fn pump(bus: Weak<Bus>, mut ingress: LinkTx, epoch: usize) {
    loop {
        let Some(here) = bus.upgrade() else { return };
        match move_on(&here, &mut ingress, epoch) {
            Next::End => return,
            Next::Replace => return replace(here).await,
            Next::Wait => {}
        }
        let news = Arc::clone(&here.news);
        // The bus must be free to end meanwhile; its end is news too.
        drop(here);
        news.notified().await;
    }
}

/// Puts another router in the place of a dead one.
///
/// Boxed, since the pump that it starts may come back here.
fn replace(bus: Arc<Bus>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(try_replace(bus))
}

async fn try_replace(bus: Arc<Bus>) {
    log::error!("the router has ended: starting another one");
    bus.state().restarts += 1;
    loop {
        let started = {
            let _one = bus.starting.lock().await;
            start(&bus).await
        };
        match started {
            Ok(()) => return,
            Err(_) if bus.state().stopped => return,
            Err(error) => log::error!(error; "the router could not be started"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Reads one subscriber's link.
struct Reader {
    bus: Weak<Bus>,
    subscriber: Arc<Subscriber>,
    epoch: usize,
}

impl Reader {
    async fn run(self, mut tx: LinkTx, mut rx: LinkRx) {
        loop {
            let notification = tokio::select! {
                notification = rx.next() => notification,
                () = self.subscriber.end.cancelled() => {
                    // After this nothing more is said on this link: its number may soon be another's.
                    let reason_code = DisconnectReasonCode::NormalDisconnection;
                    let _ = tx.send(Packet::Disconnect(Disconnect { reason_code }, None)).await;
                    return;
                }
            };
            let Some(bus) = self.bus.upgrade() else {
                return;
            };
            let alive = match notification {
                Ok(Some(Notification::Forward(forward))) => {
                    let publish = forward.publish;
                    bus.arrived(
                        self.epoch,
                        &self.subscriber,
                        &publish.topic,
                        publish.payload,
                    );
                    true
                }
                // Without an answer the router never sends anything again.
                Ok(Some(Notification::Unschedule)) => rx.wake().await.is_ok(),
                Ok(Some(Notification::Disconnect(..))) | Err(_) => false,
                Ok(_) => true,
            };
            if !alive {
                dead(&bus, &mut bus.state(), self.epoch);
                return;
            }
        }
    }
}
