//! Everything that outlives a request. One SQLite file, one folder of objects, one folder of keys:
//!
//! ```text
//! DIR/                 mode 0700
//!   state.db           all services' tables; among them the secret halves of access keys, which HMAC needs as they are
//!   pki/               the authority and the server's certificate
//!   objects/           contents of S3 objects, one file each, named by number
//!   admin.socket       where `greengrass-cloud user`, `backup`... reach the running program
//! ```

mod account;
mod endpoints;
pub mod keys;
mod password;
pub mod users;

pub use account::Account;
pub use endpoints::Endpoints;

use crate::{
    device::port::Link,
    iot::{Jobs, Registry, Shadows},
    pki::Pki,
    s3::Objects,
};
use anyhow::{Context as _, Result};
use arc_swap::ArcSwap;
use mqtt::engine::Engine;
use std::{
    fmt,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};
use store::{Database, Schema};

/// The tables of every service. A new one adds its line.
pub const SCHEMAS: &[Schema] = &[
    account::SCHEMA,
    crate::iam::SCHEMA,
    crate::iot::registry::SCHEMA,
    crate::iot::jobs::SCHEMA,
    crate::iot::shadow::SCHEMA,
    crate::device::provisioning::SCHEMA,
    crate::greengrassv2::SCHEMA,
    crate::s3::SCHEMA,
    crate::secretsmanager::SCHEMA,
];

/// What the first start decides for good.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// 12 digits; random when absent.
    pub account: Option<String>,
    /// `us-east-1` when absent.
    pub region: Option<String>,
    /// Names and addresses, besides those of this machine, that the server's certificate is for.
    pub names: Vec<String>,
}

/// The state of a control plane. Shared by everything that runs.
pub struct State {
    /// All tables.
    pub database: Database,
    /// Account, region, and the key that seals pagination tokens.
    pub account: Account,
    /// The authority and the server's own certificate.
    pub pki: Pki,
    /// What connections need to know of things and certificates.
    pub registry: Registry,
    /// Jobs and who is to do them.
    pub jobs: Jobs,
    /// Shadows of things.
    pub shadows: Shadows,
    /// The way to devices.
    pub link: Link,
    /// The engine, once devices are served.
    pub engine: OnceLock<Engine>,
    /// Contents of S3 objects.
    pub objects: Objects,
    /// Where to reach what is served, once it is.
    pub endpoints: ArcSwap<Endpoints>,
    /// The data folder.
    pub folder: PathBuf,
}

impl State {
    /// Opens a data folder, making what is missing. Blocks; for start-up.
    pub fn open(folder: &Path, settings: &Settings) -> Result<Self> {
        let file = folder.join("state.db");
        // A folder of somebody else's would be closed to them.
        if !file.exists() && folder.exists() && std::fs::read_dir(folder)?.next().is_some() {
            anyhow::bail!(
                "it is not empty, and not of greengrass-cloud: give a folder that is not there yet"
            );
        }
        private_folder(folder)?;
        let database = Database::open(&file, SCHEMAS)?;
        let account = Account::open(&database, settings)?;
        let link = Link::default();
        let pki = Pki::open(&folder.join("pki"), &settings.names)?;
        let objects = Objects::open(&folder.join("objects"), &database)?;
        Ok(Self {
            account,
            pki,
            registry: Registry::new(database.clone()),
            jobs: Jobs::new(database.clone(), link.clone()),
            shadows: Shadows::new(database.clone(), link.clone()),
            link,
            engine: OnceLock::new(),
            database,
            objects,
            endpoints: ArcSwap::from_pointee(Endpoints::default()),
            folder: folder.to_owned(),
        })
    }

    /// [`State::open`], for what must not make a new one.
    pub fn open_existing(folder: &Path, settings: &Settings) -> Result<Self> {
        anyhow::ensure!(
            folder.join("state.db").exists(),
            "{} is no data folder of greengrass-cloud",
            folder.display()
        );
        Self::open(folder, settings)
    }

    /// Shares it.
    pub fn shared(self) -> Arc<Self> {
        Arc::new(self)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "State({})", self.folder.display())
    }
}

/// Makes a folder that only its owner may enter, or makes an existing one so.
pub fn private_folder(folder: &Path) -> Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    let make = || {
        builder.create(folder)?;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))
    };
    make().with_context(|| format!("making {} a private folder", folder.display()))
}
