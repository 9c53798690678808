//! What provisioning acts on: this device's key, certificate and configuration, and the claim's connection.

use super::{
    claim::{self, Claim},
    endorsement,
    identity::{self, Place},
};
use keys::{CertificateRequest, KeyError, KeyKind, KeyUri, LoadOptions, Token};
use openssl::{
    pkey::{PKey, Private},
    x509::X509,
};
use provision::{Identity, KeyFrom, PortError, Ports, Reply, Settings, Source, sources};
use std::{
    collections::BTreeMap,
    fmt::Display,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{runtime::Handle, sync::Mutex, task::spawn_blocking};
use zeroize::Zeroizing;

/// This device. Files that the settings do not name go to `credentials` in the root folder.
pub struct Device {
    place: Place,
    settings: Arc<Settings>,
    key: String,
    certificate: String,
    claim: Mutex<Option<Claim>>,
}

fn failed(error: impl Display) -> PortError {
    PortError(error.to_string())
}

/// Reading a key may take seconds, making one minutes.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PortError> + Send + 'static,
) -> Result<T, PortError> {
    spawn_blocking(work).await.map_err(failed)?
}

fn uri(text: &str) -> Result<KeyUri, PortError> {
    text.parse().map_err(failed)
}

fn load(key: &KeyUri) -> Result<PKey<Private>, PortError> {
    keys::load(key, &LoadOptions::default()).map_err(failed)
}

impl Device {
    /// The device whose root folder this is.
    pub fn new(place: Place, settings: Settings) -> Self {
        let default = |name: &str| {
            let path = place.root.join("credentials").join(name);
            path.to_string_lossy().into_owned()
        };
        let (key, certificate) = (settings.key_name.clone(), settings.certificate.clone());
        Self {
            key: key.unwrap_or_else(|| default("private.key")),
            certificate: certificate.unwrap_or_else(|| default("certificate.pem")),
            place,
            settings: settings.into(),
            claim: Mutex::default(),
        }
    }

    /// Whether everything is there that provisioning needs: for people who prepare an image. Changes nothing.
    pub async fn check(&self) -> Vec<(&'static str, Result<String, PortError>)> {
        let settings = self.settings.clone();
        let claim = blocking(move || claim::tls(&settings).map(drop)).await;
        let name = self.settings.claim_certificate.clone();
        let parameters = self.parameters().await.map(|all| {
            let all: Vec<String> = all.iter().map(|(n, v)| format!("{n}={v}")).collect();
            all.join(", ")
        });
        let (key, from) = (self.key.clone(), self.settings.key.clone());
        let key = blocking(move || {
            let uri = uri(&key)?;
            let there = is_there(&uri)?;
            Ok(match (from, there) {
                (_, true) => format!("{uri} is there"),
                (KeyFrom::Request { .. }, false) => {
                    return Err(PortError(format!("{uri} is not there")));
                }
                (KeyFrom::Device { .. }, false) => format!("{uri} will be made here"),
                (KeyFrom::Cloud, false) => format!("{uri} will come from the cloud"),
            })
        });
        vec![
            ("claim", claim.map(|()| name)),
            ("parameters", parameters),
            ("key", key.await),
        ]
    }
}

/// Whether a key is at its place: it is read, so that one that cannot be used is an error here.
fn is_there(key: &KeyUri) -> Result<bool, PortError> {
    match key {
        KeyUri::File(path) => match path.symlink_metadata() {
            Ok(_) => load(key).map(|_| true),
            Err(_) => Ok(false),
        },
        KeyUri::Token(_) => {
            let options = LoadOptions::default();
            let token = Token::open(key, &options.pins, None).map_err(failed)?;
            match token.find(key).wait() {
                Ok(_) => Ok(true),
                Err(KeyError::NoObject { .. }) => Ok(false),
                Err(other) => Err(failed(other)),
            }
        }
    }
}

/// Folders of secrets are their owner's alone.
fn folder_for(path: &Path) -> Result<(), PortError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder);
    made.map_err(|e| PortError(format!("cannot make {}: {e}", folder.display())))
}

fn store_certificate(key: &str, certificate: &str, pem: &str) -> Result<(), PortError> {
    let (key, at) = (uri(key)?, uri(certificate)?);
    let public = load(&key)?;
    match &at {
        KeyUri::File(path) => {
            folder_for(path)?;
            keys::certificate::store(path, pem.as_bytes(), &public, &key).map_err(failed)
        }
        KeyUri::Token(_) => {
            let parsed = X509::from_pem(pem.as_bytes()).map_err(failed)?;
            keys::certificate::check(&parsed, &public, &key).map_err(failed)?;
            let options = LoadOptions::default();
            let token = Token::open(&at, &options.pins, None).map_err(failed)?;
            let stored = token.import_certificate(&key, parsed).wait();
            stored.map_err(failed)
        }
    }
}

fn request(key: &str, from: &KeyFrom) -> Result<String, PortError> {
    let common_name = match from {
        KeyFrom::Request { request } => {
            let text = std::fs::read_to_string(request);
            return text.map_err(|e| PortError(format!("{}: {e}", request.display())));
        }
        KeyFrom::Device { common_name } => common_name.as_str(),
        KeyFrom::Cloud => "greengrass",
    };
    let request = CertificateRequest::new(common_name);
    let key = load(&uri(key)?)?;
    request.pem(&key).map_err(failed)
}

impl Ports for Device {
    async fn request(&self, topic: &str, payload: Vec<u8>) -> Result<Reply, PortError> {
        let mut claim = self.claim.lock().await;
        let open = match claim.take() {
            Some(open) => open,
            None => {
                let settings = self.settings.clone();
                let tls = blocking(move || claim::tls(&settings)).await?;
                Claim::open(&self.settings, tls)?
            }
        };
        claim.insert(open).ask(topic, payload).await
    }

    async fn disconnect(&self) {
        if let Some(claim) = self.claim.lock().await.take() {
            claim.close().await;
        }
    }

    async fn make_key(&self) -> Result<String, PortError> {
        let (name, from) = (self.key.clone(), self.settings.key.clone());
        blocking(move || {
            let uri = uri(&name)?;
            // A key whose making was cut short by a power failure is there, or it is not.
            if !is_there(&uri)? {
                if matches!(from, KeyFrom::Request { .. }) {
                    return Err(PortError(format!(
                        "{uri} is not there, and a request for it is"
                    )));
                }
                if let KeyUri::File(path) = &uri {
                    folder_for(path)?;
                }
                keys::generate(&uri, KeyKind::default(), &LoadOptions::default())
                    .map_err(failed)?;
            }
            // As it was written: the PIN's place is in it.
            Ok(name)
        })
        .await
    }

    async fn certificate_request(&self, key: &str) -> Result<String, PortError> {
        let (key, from) = (key.to_owned(), self.settings.key.clone());
        blocking(move || request(&key, &from)).await
    }

    async fn store_certificate(&self, key: &str, certificate: &str) -> Result<(), PortError> {
        let (key, pem) = (key.to_owned(), certificate.to_owned());
        let at = self.certificate.clone();
        blocking(move || store_certificate(&key, &at, &pem)).await
    }

    async fn store_key(&self, private_key: &Zeroizing<String>) -> Result<String, PortError> {
        let (name, pem) = (self.key.clone(), private_key.clone());
        blocking(move || {
            let KeyUri::File(path) = uri(&name)? else {
                return Err(PortError(format!(
                    "a key from the cloud cannot go into a token ({})",
                    uri(&name)?
                )));
            };
            let key = PKey::private_key_from_pem(pem.as_bytes()).map_err(failed)?;
            folder_for(&path)?;
            keys::certificate::store_key(&path, &key).map_err(failed)?;
            Ok(name)
        })
        .await
    }

    async fn parameters(&self) -> Result<BTreeMap<String, String>, PortError> {
        let (settings, here) = (self.settings.clone(), Handle::current());
        blocking(move || {
            let read = |source: &Source| match source {
                Source::EndorsementKey => endorsement::hash(),
                other => here.block_on(sources::read(other)),
            };
            provision::resolve(&settings.parameters, read).map_err(failed)
        })
        .await
    }

    async fn store_identity(&self, identity: &Identity) -> Result<(), PortError> {
        let document = identity::document(identity, &self.certificate, &self.settings);
        let place = self.place.clone();
        let path: PathBuf = place.identity();
        blocking(move || {
            let stored = place.write(&document);
            stored.map_err(|e| PortError(format!("{}: {e}", path.display())))
        })
        .await
    }

    fn random(&self) -> f64 {
        let (high, _) = uuid::Uuid::new_v4().as_u64_pair();
        f64::from(u32::try_from(high >> 32).unwrap_or_default()) / f64::from(u32::MAX)
    }
}
