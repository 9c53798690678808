//! The connection with the claim certificate: made when something is to be asked, gone when the device has its identity.

use bytes::Bytes;
use keys::{KeyUri, LoadOptions};
use mqtt::{
    Message, QoS,
    client::{Client, Connector, Options, Proxy, ProxyAuthorization, Status, Tls},
};
use provision::{PortError, Reply, Settings};
use std::time::Duration;

/// How long the end of the connection may take.
const GRACE: Duration = Duration::from_secs(2);

/// An open connection, or one that is being opened.
pub struct Claim {
    client: Client,
    server: String,
    limit: Duration,
}

fn failed(what: &str) -> impl Fn(&dyn std::fmt::Display) -> PortError {
    move |error| PortError(format!("{what}: {error}"))
}

/// Reads the claim and the authorities, and checks that key and certificate belong together. A key in a token may take
/// seconds: not for async threads.
pub fn tls(settings: &Settings) -> Result<Tls, PortError> {
    let broken = failed("the claim cannot be used");
    let options = LoadOptions::default();
    let uri = |text: &str| text.parse::<KeyUri>().map_err(|e| broken(&e));
    let key = keys::load(&uri(&settings.claim_key)?, &options).map_err(|e| broken(&e))?;
    let name = uri(&settings.claim_certificate)?;
    let chain = keys::certificate::load(&name, &options).map_err(|e| broken(&e))?;
    keys::certificate::check(&chain[0], &key, &name).map_err(|e| broken(&e))?;
    let root = std::fs::read(&settings.root)
        .map_err(|e| PortError(format!("{}: {e}", settings.root.display())))?;
    Tls::from_parts(&root, Some((&chain, &key))).map_err(|e| broken(&e))
}

impl Claim {
    /// Begins to connect.
    pub fn open(settings: &Settings, tls: Tls) -> Result<Self, PortError> {
        let proxy = settings.proxy.as_ref().map(|url| {
            let mut proxy = Proxy::from_url(url, || tls.clone())?;
            if let Some((user, password)) = &settings.proxy_credentials {
                proxy.authorization = Some(ProxyAuthorization::basic(user, password));
            }
            Ok::<_, mqtt::client::ProxyError>(proxy)
        });
        let connector = Connector {
            host: settings.endpoint.clone(),
            port: settings.port,
            tls: Some(tls),
            proxy: proxy.transpose().map_err(|e| failed("proxyUrl")(&e))?,
        };
        // Devices of a batch share the claim, and must not share the client id.
        let id = settings.client_id.clone();
        let mut options = Options::new(id.unwrap_or_else(|| uuid::Uuid::new_v4().to_string()));
        options.clean_start = true;
        options.session_expiry = 0;
        let (client, task) = Client::start(options, connector, None);
        tokio::spawn(task);
        Ok(Self {
            client,
            server: format!("{}:{}", settings.endpoint, settings.port),
            limit: settings.timeout,
        })
    }

    /// Asks, and waits for the answer. The first trouble of the connection ends it: whoever asks tries again later.
    pub async fn ask(&self, topic: &str, payload: Vec<u8>) -> Result<Reply, PortError> {
        let mut status = self.client.status();
        let trouble = async {
            let ended = |s: &Status| matches!(s, Status::Disconnected { .. } | Status::Stopped);
            match status.wait_for(ended).await.as_deref() {
                Ok(Status::Disconnected { cause, .. }) => cause.to_string(),
                _ => "it has ended".into(),
            }
        };
        tokio::select! {
            answer = self.exchange(topic, payload) => answer,
            cause = trouble => Err(PortError(format!(
                "the connection to {} with the claim certificate: {cause}", self.server
            ))),
            () = tokio::time::sleep(self.limit) => Err(PortError(format!(
                "{} did not answer {topic} within {} s", self.server, self.limit.as_secs()
            ))),
        }
    }

    async fn exchange(&self, topic: &str, payload: Vec<u8>) -> Result<Reply, PortError> {
        let broken = failed(topic);
        let subscribe = |suffix: &str| {
            let filter = format!("{topic}/{suffix}");
            self.client.subscribe(filter, QoS::AtLeastOnce)
        };
        let mut accepted = subscribe("accepted").await.map_err(|e| broken(&e))?;
        let mut rejected = subscribe("rejected").await.map_err(|e| broken(&e))?;
        let message = Message {
            topic: topic.into(),
            payload: Bytes::from(payload),
            qos: QoS::AtLeastOnce,
            retain: false,
            expires: None,
            properties: None,
        };
        self.client.publish(message).await.map_err(|e| broken(&e))?;
        let (delivery, reply): (_, fn(Vec<u8>) -> Reply) = tokio::select! {
            delivery = accepted.recv() => (delivery, Reply::Accepted),
            delivery = rejected.recv() => (delivery, Reply::Rejected),
        };
        let delivery = delivery.map_err(|e| broken(&e))?;
        let payload = delivery.message.payload.to_vec();
        delivery.ack();
        Ok(reply(payload))
    }

    /// Ends it in an orderly way.
    pub async fn close(self) {
        self.client.disconnect(GRACE).await;
    }
}
