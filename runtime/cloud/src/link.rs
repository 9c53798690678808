//! The one MQTT connection to the cloud: set up from the configuration, set up anew when that changes, and fed from the
//! spool. It never holds up the start of the device, and no fault of files, network or server ends it.

mod drain;
mod status;

use crate::{
    LinkError, Settings, SpoolError, Standing, Subscription,
    identity::{Dialer, Protocol},
    settings::Spooler,
    spool::Spool,
    subscription::Clients,
};
use configuration::Configuration;
use mqtt::{
    Message, QoS,
    client::{BackOff, Client, Options as ClientOptions, SubscribeError, Timeouts},
};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::{
    sync::{OnceCell, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// What is queued and under way may take this long when the link ends.
const GRACE: Duration = Duration::from_secs(2);
/// The SDKs wait ten seconds for an answer.
const ANSWER: Duration = Duration::from_secs(8);

/// Set-up of the link.
#[derive(Clone, Debug)]
pub struct Options {
    /// The file of a spool on disk.
    pub spool: PathBuf,
}

/// A handle to the link; clones share it.
#[derive(Clone, Debug)]
pub struct Link {
    spool: Arc<OnceCell<Spool>>,
    standing: watch::Receiver<Arc<Standing>>,
    clients: Clients,
    connected: watch::Receiver<bool>,
    path: PathBuf,
}

/// What does its work.
#[derive(Debug)]
pub struct Task {
    configuration: Configuration,
    link: Link,
    standing: watch::Sender<Arc<Standing>>,
    clients: watch::Sender<Option<Client>>,
    connected: watch::Sender<bool>,
}

impl Link {
    /// The handle, and the work: run it.
    pub fn new(configuration: Configuration, options: Options) -> (Self, Task) {
        let standing = Arc::new(Standing::read(&configuration.tree()));
        let (standing, watched) = watch::channel(standing);
        let (clients, present) = watch::channel(None);
        let (connected, is_connected) = watch::channel(false);
        let link = Self {
            spool: Arc::default(),
            standing: watched,
            clients: present,
            connected: is_connected,
            path: options.spool,
        };
        let task = Task {
            configuration,
            link: link.clone(),
            standing,
            clients,
            connected,
        };
        (link, task)
    }

    /// How the device is set up, to look at or to wait for a change.
    pub fn standing(&self) -> watch::Receiver<Arc<Standing>> {
        self.standing.clone()
    }

    /// Whether there is a connection, to look at or to wait for a change.
    pub fn connected(&self) -> Result<watch::Receiver<bool>, LinkError> {
        ready(&self.standing.borrow())?;
        Ok(self.connected.clone())
    }

    /// Takes a message on: when this returns it is in the spool, and is sent when there is a connection.
    pub async fn publish(&self, message: Message) -> Result<(), LinkError> {
        let standing = self.standing.borrow().clone();
        let settings = ready(&standing)?;
        mqtt::topic::check_name(&message.topic)
            .map_err(|_| LinkError::Invalid(format!("{:?} is no topic", &*message.topic)))?;
        let largest = settings.mqtt.largest_message;
        if message.payload.len() > largest {
            let size = message.payload.len();
            let why = format!("the message has {size} bytes, {largest} is the limit");
            return Err(LinkError::Invalid(why));
        }
        let spooler = &settings.mqtt.spooler;
        let offline = !*self.connected.borrow();
        if message.qos == QoS::AtMostOnce && offline && !spooler.keep_qos0 {
            return Err(SpoolError::Offline.into());
        }
        Ok(self.spool(spooler).await.add(message).await?)
    }

    /// Subscribes. With a connection this returns when the broker has granted it; without one at once, and the
    /// subscription is made when there is one.
    pub async fn subscribe(&self, filter: &str, qos: QoS) -> Result<Subscription, LinkError> {
        let standing = self.standing.borrow().clone();
        let settings = ready(&standing)?;
        let mut subscription = Subscription {
            clients: self.clients.clone(),
            filter: filter.to_owned(),
            qos,
            current: None,
        };
        let client = self.clients.borrow().clone();
        let Some(client) = client.filter(|client| client.status().borrow().is_connected()) else {
            return Ok(subscription);
        };
        let mut status = client.status();
        let limit = settings.mqtt.operation_timeout.min(ANSWER);
        let answer = tokio::select! {
            answer = timeout(limit, client.subscribe(filter, qos)) => answer,
            _ = status.wait_for(|status| !status.is_connected()) => return Ok(subscription),
        };
        let filter = filter.to_owned();
        match answer {
            Ok(Ok(current)) => subscription.current = Some(current),
            Ok(Err(SubscribeError::Stopped)) => {}
            Ok(Err(source)) => return Err(LinkError::Subscribe { filter, source }),
            Err(_) => return Err(LinkError::Timeout { filter }),
        }
        Ok(subscription)
    }

    /// Opened when it is first needed: a device on its own has none.
    async fn spool(&self, settings: &Spooler) -> &Spool {
        self.spool
            .get_or_init(|| Spool::open(settings, self.path.clone()))
            .await
    }
}

fn ready(standing: &Standing) -> Result<&Settings, LinkError> {
    match standing {
        Standing::Local => Err(LinkError::NotConfigured),
        Standing::Incomplete(why) => Err(LinkError::Incomplete(why.clone())),
        Standing::Ready(settings) => Ok(settings),
    }
}

impl Task {
    /// Runs until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut changes = Changes::new(&self.configuration);
        let mut told = None;
        while !stop.is_cancelled() {
            let standing = Arc::new(Standing::read(&self.configuration.tree()));
            if told.as_ref() != Some(&standing) {
                tell(&standing);
                told = Some(standing.clone());
            }
            self.standing.send_replace(standing.clone());
            match &*standing {
                Standing::Ready(settings) => self.serve(settings, &mut changes, &stop).await,
                Standing::Local | Standing::Incomplete(_) => tokio::select! {
                    () = stop.cancelled() => {}
                    () = changes.next() => {}
                },
            }
        }
        if let Some(spool) = self.link.spool.get() {
            spool.close().await;
        }
    }

    /// One client, until it is to end or to be set up in another way.
    async fn serve(&self, settings: &Settings, changes: &mut Changes, stop: &CancellationToken) {
        let spool = self.link.spool(&settings.mqtt.spooler).await;
        spool.limit(settings.mqtt.spooler.limit);
        let dialer = Dialer::new(settings, &settings.data, Protocol::Mqtt);
        let (client, work) = Client::start(client_options(settings), dialer, None);
        let working = tokio::spawn(work);
        self.clients.send_replace(Some(client.clone()));
        tokio::select! {
            () = self.last_words(spool, stop) => {}
            () = self.changed(settings, spool, changes) => {
                log::info!("the way to the cloud has changed: connecting anew");
            }
            () = drain::run(&client, spool, &self.standing) => {}
            () = status::follow(client.status(), &self.connected, settings) => {}
        }
        client.disconnect(GRACE).await;
        self.clients.send_replace(None);
        self.connected.send_replace(false);
        // It has ended with the disconnection, or the process is about to end.
        let _ = timeout(GRACE, working).await;
    }

    /// Returns after `stop`, when what waits has been sent if that is possible within a moment.
    async fn last_words(&self, spool: &Spool, stop: &CancellationToken) {
        stop.cancelled().await;
        if *self.connected.borrow() {
            // What has not gone out by then is kept on disk, or lost with the memory it is in.
            let _ = timeout(GRACE, spool.emptied()).await;
        }
    }

    /// Returns when something changed that needs another connection; what does not is put into force.
    async fn changed(&self, settings: &Settings, spool: &Spool, changes: &mut Changes) {
        let connecting = without_spooler(settings);
        loop {
            changes.next().await;
            let standing = Standing::read(&self.configuration.tree());
            match &standing {
                Standing::Ready(new) if without_spooler(new) == connecting => {
                    let spooler = &new.mqtt.spooler;
                    spool.limit(spooler.limit);
                    if spooler.on_disk != spool.is_on_disk() {
                        log::info!("mqtt.spooler.storageType is put into force at the next start");
                    }
                }
                _ => return,
            }
            self.standing.send_replace(Arc::new(standing));
        }
    }
}

fn without_spooler(settings: &Settings) -> Settings {
    let mut settings = settings.clone();
    settings.mqtt.spooler = Spooler {
        on_disk: false,
        limit: 0,
        keep_qos0: false,
    };
    settings.warnings.clear();
    // Of HTTP alone: the next request goes there.
    settings.credentials = None;
    settings
}

fn client_options(settings: &Settings) -> ClientOptions {
    let mqtt = &settings.mqtt;
    let standard = Timeouts::default();
    ClientOptions {
        version: mqtt.version,
        session_expiry: mqtt.session_expiry,
        keep_alive: mqtt.keep_alive,
        receive_maximum: mqtt.receive_maximum,
        maximum_payload_size: mqtt.largest_message,
        maximum_packet_size: u32::try_from(mqtt.largest_message)
            .unwrap_or(u32::MAX)
            .saturating_add(128 * 1024),
        maximum_in_flight: mqtt.in_flight,
        timeouts: Timeouts {
            connect: mqtt.socket_timeout,
            handshake: mqtt.socket_timeout,
            connack: mqtt.connack_timeout,
            ping: mqtt.ping_timeout,
            ..standard
        },
        back_off: BackOff {
            initial: mqtt.reconnect.minimum,
            max: mqtt.reconnect.maximum,
            reset_after: mqtt.reconnect.reset_after,
            ..BackOff::default()
        },
        ..ClientOptions::new(settings.thing_name.as_str())
    }
}

fn tell(standing: &Standing) {
    match standing {
        Standing::Local => log::info!(
            "no iotDataEndpoint is configured: this device is on its own, deployments and messages are local"
        ),
        Standing::Incomplete(why) => log::error!("cannot connect to the cloud: {why}"),
        Standing::Ready(settings) => {
            for warning in &settings.warnings {
                log::warn!("{warning}");
            }
            log::info!(endpoint:% = settings.data, thing = settings.thing_name; "connecting to the cloud");
        }
    }
}

/// The parts of the configuration that say how the cloud is reached.
struct Changes {
    system: configuration::Subscription,
    nucleus: configuration::Subscription,
    pkcs11: configuration::Subscription,
}

impl Changes {
    fn new(configuration: &Configuration) -> Self {
        Self {
            system: configuration.subscribe(&["system"]),
            nucleus: configuration.subscribe(&crate::settings::NUCLEUS),
            pkcs11: configuration.subscribe(&crate::settings::PKCS11),
        }
    }

    /// Waits for one; those that come with it are taken along.
    async fn next(&mut self) {
        let more = tokio::select! {
            change = self.system.recv() => change.is_some(),
            change = self.nucleus.recv() => change.is_some(),
            change = self.pkcs11.recv() => change.is_some(),
        };
        if !more {
            // The configuration is gone: the process ends.
            std::future::pending::<()>().await;
        }
        for changes in [&mut self.system, &mut self.nucleus, &mut self.pkcs11] {
            while changes.try_recv().is_some() {}
        }
    }
}
