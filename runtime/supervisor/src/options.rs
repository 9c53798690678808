//! What the supervisor is told about its device. Plain values: the caller reads the configuration.

use model::SystemLimits;
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// Settings of the supervisor; [`crate::Supervisor::reconfigure`] changes them while it runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Greengrass root; work folders are `<root>/work/<component>`.
    pub root: PathBuf,
    /// The IPC socket components connect to.
    pub socket: PathBuf,
    /// `AWS_IOT_THING_NAME`, when the device has an identity.
    pub thing_name: Option<String>,
    /// `AWS_REGION` and `AWS_DEFAULT_REGION`, when known.
    pub region: Option<String>,
    /// `GGC_VERSION`.
    pub version: String,
    /// What every script gets besides: `GG_ROOT_CA_PATH`, proxies, the credentials endpoint. A component's own `Setenv` wins.
    pub base_environment: BTreeMap<String, String>,
    /// Who runs components that name no user.
    pub default_user: DefaultUser,
    /// `runWithDefault.posixShell`.
    pub shell: String,
    /// Limits of components that set none of their own.
    pub default_limits: SystemLimits,
    /// From SIGTERM to SIGKILL.
    pub grace: Duration,
}

impl Options {
    /// Greengrass's defaults for a root folder: `sh`, 5 s of grace, the socket at `<root>/ipc.socket`.
    pub fn new(root: PathBuf) -> Self {
        Self {
            socket: root.join("ipc.socket"),
            root,
            thing_name: None,
            region: None,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            base_environment: BTreeMap::new(),
            default_user: DefaultUser::Caller,
            shell: "sh".to_owned(),
            default_limits: SystemLimits::default(),
            grace: Duration::from_secs(5),
        }
    }
}

/// `runWithDefault.posixUser`, and what its absence means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DefaultUser {
    /// The runtime is not root: components run as whoever started it.
    Caller,
    /// `user` or `user:group`.
    Named(String),
    /// The runtime is root and no default is set: a component without a user fails with `*_MISSING_DEFAULT_RUNWITH`.
    Missing,
}
