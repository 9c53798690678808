//! Temporary AWS credentials for components: what Greengrass calls the token exchange service.
//!
//! Components ask over HTTP on 127.0.0.1, with the token from their environment, as the AWS SDKs do by themselves. The
//! device asks the credentials provider with its certificate, and remembers the answer while it holds.

mod cache;
mod fetch;
mod server;

use crate::{Link, Settings, Standing};
use cache::{Answer, Cache};
use configuration::{Configuration, Operation};
use model::ComponentName;
use serde_json::{Value, json};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    net::TcpListener,
    sync::{Mutex, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

const SERVICE: [&str; 3] = [
    "services",
    "aws.greengrass.TokenExchangeService",
    "configuration",
];
const PATH: &str = "/2016-11-01/credentialprovider/";
/// The provider's answer is waited for this long.
const PATIENCE: Duration = Duration::from_secs(30);
/// A port that is taken may become free.
const BIND_EVERY: Duration = Duration::from_secs(10);

/// Port: whose token it is, and whether that component may have credentials.
pub trait Access: Send + Sync + 'static {
    /// The component with this token; takes the same time for every wrong one.
    fn component(&self, token: &str) -> Option<ComponentName>;
    /// Whether a policy lets it have credentials.
    fn may_have_credentials(&self, component: &ComponentName) -> bool;
}

/// The endpoint; clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Credentials {
    configuration: Configuration,
    standing: watch::Receiver<Arc<Standing>>,
    address: Arc<OnceLock<SocketAddr>>,
    listener: Arc<Mutex<Option<TcpListener>>>,
}

/// What serves requests.
struct Exchange {
    access: Arc<dyn Access>,
    standing: watch::Receiver<Arc<Standing>>,
    cache: Mutex<Cache>,
}

impl Credentials {
    /// Binds the port if the device is set up for credentials: before components start, so that they can be told.
    pub async fn open(configuration: Configuration, link: &Link) -> Self {
        let credentials = Self {
            configuration,
            standing: link.standing(),
            address: Arc::default(),
            listener: Arc::default(),
        };
        let wanted = provider(&credentials.standing.borrow()).is_some();
        if wanted && let Err(error) = credentials.bind().await {
            log::error!("components get no AWS credentials for now: {error}");
        }
        credentials
    }

    /// What components are to be told as `AWS_CONTAINER_CREDENTIALS_FULL_URI`; `None` while there are no credentials to be
    /// had.
    pub fn uri(&self) -> Option<String> {
        let port = self.address.get()?.port();
        provider(&self.standing.borrow())?;
        // The name, not the address: it is what `NO_PROXY` exempts.
        Some(format!("http://localhost:{port}{PATH}"))
    }

    /// Serves until `stop`.
    pub async fn run(self, access: Arc<dyn Access>, stop: CancellationToken) {
        let work = self.serve(access);
        tokio::select! {
            () = stop.cancelled() => {}
            () = work => {}
        }
    }

    async fn serve(mut self, access: Arc<dyn Access>) {
        let wanted = |standing: &Arc<Standing>| provider(standing).is_some();
        if self.standing.wait_for(wanted).await.is_err() {
            return;
        }
        let listener = loop {
            if let Some(listener) = self.listener.lock().await.take() {
                break listener;
            }
            if let Err(error) = self.bind().await {
                log::warn!("components get no AWS credentials: {error}");
                tokio::time::sleep(BIND_EVERY).await;
            }
        };
        let exchange = Exchange {
            access,
            standing: self.standing.clone(),
            cache: Mutex::default(),
        };
        server::serve(listener, Arc::new(exchange)).await;
    }

    /// The configured port, or the last one: components that outlive a restart know that one.
    async fn bind(&self) -> io::Result<()> {
        let port = |key: &str| {
            let value = self
                .configuration
                .get(&[SERVICE[0], SERVICE[1], SERVICE[2], key])?;
            let port = value.as_u64().or_else(|| value.as_str()?.parse().ok())?;
            u16::try_from(port).ok().filter(|port| *port != 0)
        };
        let on = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let listener = match (port("port"), port("activePort")) {
            (Some(fixed), _) => on(fixed).await.map_err(|e| {
                let what = format!("port {fixed} of aws.greengrass.TokenExchangeService: {e}");
                io::Error::new(e.kind(), what)
            })?,
            (None, Some(last)) => match on(last).await {
                Ok(listener) => listener,
                Err(_) => on(0).await?,
            },
            (None, None) => on(0).await?,
        };
        let address = listener.local_addr()?;
        let _ = self.address.set(address);
        *self.listener.lock().await = Some(listener);
        if port("activePort") != Some(address.port()) {
            self.remember(address.port()).await;
        }
        Ok(())
    }

    async fn remember(&self, port: u16) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let operation = Operation::Merge {
            path: SERVICE.map(str::to_owned).to_vec(),
            value: json!({ "activePort": port }),
            at: u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX),
        };
        if let Err(error) = self.configuration.commit(vec![operation]).await {
            log::warn!("the port of the credentials endpoint cannot be noted: {error}");
        }
    }
}

/// The settings, where they have a credentials provider.
fn provider(standing: &Standing) -> Option<&Settings> {
    match standing {
        Standing::Ready(settings) if settings.credentials.is_some() => Some(settings),
        _ => None,
    }
}

impl Exchange {
    /// Credentials for a component that may have them, or what the provider says instead. One question at a time: those
    /// who ask meanwhile get the same answer.
    async fn credentials(&self) -> Answer {
        let settings = provider(&self.standing.borrow()).cloned();
        let Some(settings) = settings else {
            return Answer::error(404, "this device is not set up for AWS credentials");
        };
        let exchange = async {
            let mut cache = self.cache.lock().await;
            if let Some(answer) = cache.fresh(&settings) {
                return answer;
            }
            let fetched = fetch::fetch(&settings).await;
            cache.put(&settings, fetched)
        };
        match timeout(PATIENCE, exchange).await {
            Ok(answer) => answer,
            Err(_) => Answer::error(504, "the credentials provider did not answer in time"),
        }
    }
}

/// A document as AWS SDKs expect it from a container's credentials endpoint.
fn document(credentials: &Value) -> Option<Value> {
    let member = |name: &str| credentials.get(name)?.as_str();
    Some(json!({
        "AccessKeyId": member("accessKeyId")?,
        "SecretAccessKey": member("secretAccessKey")?,
        "Token": member("sessionToken")?,
        "Expiration": member("expiration")?,
    }))
}
