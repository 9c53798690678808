//! Acts on the state machine, for as long as it takes.

use crate::{
    Backoff, KeyFrom, Settings,
    machine::{Action, Event, State},
    ports::{Identity, PortError, Ports, Reply},
    stored::{self, Failed},
    wire::{self, Issued, OwnershipToken, Rejected, WireError},
};
use std::{
    io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};
use thiserror::Error;

/// Why provisioning cannot go on at all.
#[derive(Debug, Error)]
#[error("the provisioning state in {path}: {source}", path = .path.display())]
pub struct ProvisionError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// Why one attempt failed.
#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    Port(#[from] PortError),
    #[error("the cloud refused: {0}")]
    Rejected(#[from] Rejected),
    #[error(transparent)]
    Answer(#[from] WireError),
    #[error(transparent)]
    State(#[from] ProvisionError),
}

/// Provisioning by claim. Dropping [`Provisioning::run`]'s future stops it; the next one goes on where it was.
pub struct Provisioning<P> {
    ports: P,
    path: PathBuf,
    template: String,
    own_key: bool,
    state: State,
}

impl<P: Ports> Provisioning<P> {
    /// Reads the state at `path`, which begins there if there is none.
    pub fn open(path: &Path, settings: &Settings, ports: P) -> Result<Self, ProvisionError> {
        let record = stored::read(path).map_err(|source| ProvisionError {
            path: path.into(),
            source,
        })?;
        Ok(Self {
            ports,
            path: path.into(),
            template: settings.template.clone(),
            own_key: settings.key != KeyFrom::Cloud,
            state: record.state,
        })
    }

    /// Works until the device has its identity: for days, if the cloud cannot be reached or refuses.
    ///
    /// An error means that the state cannot be written, which is no matter of patience.
    pub async fn run(&mut self) -> Result<(), ProvisionError> {
        let mut backoff = Backoff::default();
        while let Some(action) = self.state.action() {
            let failure = match self.act(action).await {
                Ok(()) => {
                    backoff.reset();
                    continue;
                }
                Err(Failure::State(broken)) => return Err(broken),
                Err(failure) => failure,
            };
            let wait = backoff.next(self.ports.random());
            log::warn!(state = self.state.name(); "provisioning failed, and is tried again in {} s: {failure}", wait.as_secs());
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let at = now.unwrap_or_default().as_secs();
            let failed = Failed {
                why: failure.to_string(),
                at,
                again: at + wait.as_secs(),
            };
            self.write(&self.state, Some(&failed))?;
            // A claim's connection is not held for an hour.
            self.ports.disconnect().await;
            tokio::time::sleep(wait).await;
        }
        self.ports.disconnect().await;
        Ok(())
    }

    async fn act(&mut self, action: Action) -> Result<(), Failure> {
        let own_key = self.own_key;
        let event = match action {
            Action::Begin => Event::Begun { own_key },
            Action::MakeKey => Event::KeyMade(self.ports.make_key().await?),
            Action::RequestCertificate { key } => self.certificate(key).await?,
            Action::Register(token) => match self.register(&token).await {
                Err(Failure::Rejected(why)) if why.is_about_the_token() => {
                    log::info!(
                        "the certificate's ownership token is no longer good ({why}): asking for another certificate"
                    );
                    Event::TokenExpired { own_key }
                }
                other => other?,
            },
            Action::Store {
                key,
                certificate_id,
                registered,
            } => {
                let identity = Identity {
                    key,
                    certificate_id,
                    registered,
                };
                self.ports.store_identity(&identity).await?;
                Event::Stored
            }
        };
        self.happened(event)?;
        Ok(())
    }

    async fn certificate(&self, key: Option<String>) -> Result<Event, Failure> {
        let (topic, payload) = match &key {
            Some(key) => (
                wire::FROM_CSR,
                wire::from_csr(&self.ports.certificate_request(key).await?),
            ),
            None => (wire::CREATE, b"{}".to_vec()),
        };
        let Issued {
            certificate_id,
            certificate,
            private_key,
            token,
        } = wire::issued(&self.ask(topic, payload).await?)?;
        let key = match (key, private_key) {
            (Some(key), _) => key,
            (None, Some(private_key)) => self.ports.store_key(&private_key).await?,
            (None, None) => {
                return Err(Failure::Answer(WireError {
                    request: "CreateKeysAndCertificate",
                    fault: "has no privateKey",
                }));
            }
        };
        self.ports.store_certificate(&key, &certificate).await?;
        Ok(Event::Issued {
            key,
            certificate_id,
            token,
        })
    }

    async fn register(&self, token: &OwnershipToken) -> Result<Event, Failure> {
        let parameters = self.ports.parameters().await?;
        let topic = wire::register_topic(&self.template);
        let answer = self.ask(&topic, wire::register(token, &parameters)).await?;
        Ok(Event::Registered(wire::registered(&answer)?))
    }

    async fn ask(&self, topic: &str, payload: Vec<u8>) -> Result<Vec<u8>, Failure> {
        match self.ports.request(topic, payload).await? {
            Reply::Accepted(payload) => Ok(payload),
            Reply::Rejected(payload) => Err(wire::rejected(&payload).into()),
        }
    }

    /// The new state is on disk before anything is done in it.
    fn happened(&mut self, event: Event) -> Result<(), ProvisionError> {
        let state = self.state.clone().after(event);
        let state = state.expect("each action's events are those its state takes");
        self.write(&state, None)?;
        log::info!("provisioning: {}", state.name());
        self.state = state;
        Ok(())
    }

    fn write(&self, state: &State, failed: Option<&Failed>) -> Result<(), ProvisionError> {
        stored::write(&self.path, state, failed).map_err(|source| ProvisionError {
            path: self.path.clone(),
            source,
        })
    }
}
