//! Acts on the renewal's state machine, through ports.

use super::{
    machine::{Action, Event, Identity, State},
    stored,
};
use crate::{CertificateRequest, KeyError, KeyKind, KeyUri, LoadOptions, PinFrom, certificate};
use std::{
    future::Future,
    io,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// What a renewal needs of others.
pub trait Ports: Send + Sync {
    /// Has a certificate made for a request (PEM). Returns the chain (PEM, leaf first).
    fn issue(&self, request: String) -> impl Future<Output = Result<Vec<u8>, PortError>> + Send;

    /// Makes a connection with the identity, to where it will be used.
    fn connect(&self, identity: &Identity) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Makes everything use the identity, durably. It may be called again after a power loss.
    fn switch(&self, identity: &Identity) -> impl Future<Output = Result<(), PortError>> + Send;
}

/// Why a port did not do it.
#[derive(Debug, Error)]
pub enum PortError {
    /// The other side said no: again would change nothing.
    #[error("refused: {0}")]
    Refused(String),
    /// It may go better later.
    #[error("{0}")]
    Later(String),
}

/// Makes, loads and removes keys. [`Keys`] does it for real.
pub trait Driver: Send + Sync + 'static {
    /// Makes a key unless it is there. Returns its full name.
    fn make(&self, key: &KeyUri) -> Result<KeyUri, KeyError>;

    /// A request signed by the key.
    fn request(&self, key: &KeyUri) -> Result<String, KeyError>;

    /// Stores a certificate chain if it is for the key.
    fn store(&self, identity: &Identity, chain: &[u8]) -> Result<(), KeyError>;

    /// Deletes key and certificate. That they are gone is success.
    fn remove(&self, identity: &Identity) -> Result<(), KeyError>;
}

/// Keys in files and tokens.
#[derive(Debug, Clone)]
pub struct Keys {
    kind: KeyKind,
    request: CertificateRequest,
    options: LoadOptions,
}

impl Keys {
    /// New keys of this kind, certificates as in this request. The stored state has no PIN in it: one that stands in
    /// the URI of the key in use is taken from there.
    pub fn new(
        current: &KeyUri,
        kind: KeyKind,
        request: CertificateRequest,
        mut options: LoadOptions,
    ) -> Self {
        if let Some(PinFrom::Value(pin)) = current.pin() {
            options.pins.pin = Some(pin.clone());
        }
        Self {
            kind,
            request,
            options,
        }
    }
}

impl Driver for Keys {
    fn make(&self, key: &KeyUri) -> Result<KeyUri, KeyError> {
        match crate::generate(key, self.kind, &self.options) {
            // Made before the power went: the name in the state is ours alone.
            Err(KeyError::File { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                Ok(key.clone())
            }
            Err(KeyError::Exists { .. }) => {
                let token =
                    crate::Token::open(key, &self.options.pins, self.options.library.as_deref())?;
                Ok(token.find(key).wait()?.uri)
            }
            other => other,
        }
    }

    fn request(&self, key: &KeyUri) -> Result<String, KeyError> {
        self.request.pem(&*crate::load(key, &self.options)?)
    }

    fn store(&self, identity: &Identity, chain: &[u8]) -> Result<(), KeyError> {
        let key = crate::load(&identity.key, &self.options)?;
        certificate::store(&identity.certificate, chain, &key, &identity.key)
    }

    fn remove(&self, identity: &Identity) -> Result<(), KeyError> {
        crate::remove(&identity.key, &self.options)?;
        store::file::remove_durable(&identity.certificate)
            .map_err(|e| KeyError::file(&identity.certificate, e))
    }
}

/// Why a renewal did not go on. Its state is kept: [`Renewal::run`] goes on there.
#[derive(Debug, Error)]
pub enum RenewalError {
    /// A key could not be made, used or removed.
    #[error("{doing}: {source}")]
    Key {
        /// What was being done.
        doing: &'static str,
        /// What went wrong.
        source: KeyError,
    },
    /// A port did not do it now.
    #[error("{doing}: {source}")]
    Port {
        /// What was being done.
        doing: &'static str,
        /// What it said.
        source: PortError,
    },
    /// The state cannot be read or written.
    #[error("the renewal's state in {path}: {source}", path = .path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The runtime is shutting down.
    #[error("shutting down")]
    Stopped,
}

/// How a renewal ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The new identity is in use.
    Renewed(Identity),
    /// The old identity is still in use, because the issuer or the other side refused: the reason.
    Kept(String),
}

/// A renewal that may be interrupted.
pub struct Renewal<D> {
    driver: std::sync::Arc<D>,
    path: PathBuf,
    state: State,
}

impl<D: Driver> Renewal<D> {
    /// Reads the state, or begins with `current` when there is none. `current` is what the configuration says is in
    /// use; a state that is at rest follows it.
    pub fn open(path: &Path, current: Identity, driver: D) -> Result<Self, RenewalError> {
        let stored = stored::read(path).map_err(|source| RenewalError::State {
            path: path.into(),
            source,
        })?;
        let state = match stored {
            None | Some(State::Idle { .. }) => State::Idle { current },
            Some(under_way) => under_way,
        };
        Ok(Self {
            driver: std::sync::Arc::new(driver),
            path: path.into(),
            state,
        })
    }

    /// Where it is.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Whether a renewal was interrupted: [`Renewal::run`] it whether or not it is due.
    pub fn is_under_way(&self) -> bool {
        !matches!(self.state, State::Idle { .. })
    }

    /// Renews, or goes on with what was interrupted. After an error, call it again later.
    pub async fn run(&mut self, ports: &impl Ports) -> Result<Outcome, RenewalError> {
        if !self.is_under_way() {
            self.happened(Event::Due)?;
        }
        let mut refusal = "refused before the last restart".to_owned();
        let mut kept = false;
        while let Some(action) = self.state.action() {
            let event = match action {
                Action::MakeKey(key) => self.make(key).await?,
                Action::Request(next) => match self.request(ports, next).await {
                    Ok(event) => event,
                    Err(RenewalError::Port {
                        source: PortError::Refused(why),
                        ..
                    }) => {
                        refusal = why;
                        Event::CertificateRefused
                    }
                    Err(other) => return Err(other),
                },
                Action::Prove(next) => match ports.connect(&next).await {
                    Ok(()) => Event::Connected,
                    Err(PortError::Refused(why)) => {
                        refusal = why;
                        Event::ConnectionRefused
                    }
                    Err(later) => return Err(port("connecting with the new identity", later)),
                },
                Action::Switch(next) => {
                    let switched = ports.switch(&next).await;
                    switched.map_err(|e| port("switching to the new identity", e))?;
                    Event::Switched
                }
                Action::Remove(identity) => {
                    self.blocking("removing an identity", move |d| d.remove(&identity))
                        .await?;
                    Event::Removed
                }
            };
            kept = matches!(self.state, State::Discarding { .. });
            self.happened(event)?;
        }
        Ok(if kept {
            Outcome::Kept(refusal)
        } else {
            Outcome::Renewed(self.state.current().clone())
        })
    }

    async fn make(&self, key: KeyUri) -> Result<Event, RenewalError> {
        let made = self
            .blocking("making the new key", move |d| d.make(&key))
            .await?;
        Ok(Event::KeyMade(made))
    }

    async fn request(&self, ports: &impl Ports, next: Identity) -> Result<Event, RenewalError> {
        let key = next.key.clone();
        let request = self
            .blocking("signing the certificate request", move |d| d.request(&key))
            .await?;
        let chain = ports.issue(request).await;
        let chain = chain.map_err(|e| port("asking for the new certificate", e))?;
        let stored = self
            .blocking("storing the new certificate", move |d| {
                d.store(&next, &chain)
            })
            .await;
        match stored {
            Ok(()) => Ok(Event::CertificateStored),
            // A certificate for another key, or none at all: the issuer's fault, and not ours to repeat for ever.
            Err(RenewalError::Key {
                source: wrong @ (KeyError::Mismatch { .. } | KeyError::Pem { .. }),
                doing,
            }) => Err(port(doing, PortError::Refused(wrong.to_string()))),
            Err(other) => Err(other),
        }
    }

    /// Keys are worked with on a thread that may wait.
    async fn blocking<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&D) -> Result<T, KeyError> + Send + 'static,
    ) -> Result<T, RenewalError> {
        let driver = self.driver.clone();
        let done = tokio::task::spawn_blocking(move || work(&driver)).await;
        done.map_err(|_| RenewalError::Stopped)?
            .map_err(|source| RenewalError::Key { doing, source })
    }

    /// The new state is on disk before anything is done in it.
    fn happened(&mut self, event: Event) -> Result<(), RenewalError> {
        let state = self.state.clone().after(event);
        let state = state.expect("each action's events are those its state takes");
        stored::write(&self.path, &state).map_err(|source| RenewalError::State {
            path: self.path.clone(),
            source,
        })?;
        self.state = state;
        Ok(())
    }
}

fn port(doing: &'static str, source: PortError) -> RenewalError {
    RenewalError::Port { doing, source }
}
