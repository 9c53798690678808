//! Who is at the other end of a connection.

use async_trait::async_trait;
use model::ComponentName;
use std::{fmt, sync::Arc};

/// The process at the other end, as the kernel knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Its process, where the kernel says.
    pub pid: Option<u32>,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// Who speaks, once a token has been accepted.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Principal {
    /// A component.
    Component(ComponentName),
    /// A person at the command line; the text names the user. Its policy name is `greengrass-cli-<user>`.
    Cli(Arc<str>),
}

impl Principal {
    /// The component, when it is one.
    pub fn component(&self) -> Option<&ComponentName> {
        match self {
            Self::Component(name) => Some(name),
            Self::Cli(_) => None,
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Component(name) => name.fmt(f),
            Self::Cli(user) => write!(f, "greengrass-cli-{user}"),
        }
    }
}

/// Port: who a token belongs to.
#[async_trait]
pub trait Identity: Send + Sync {
    /// The principal that shows this token from this process; `None` refuses the connection. Whether the process must
    /// belong to the component is decided here.
    async fn authenticate(&self, token: &str, peer: Peer) -> Option<Principal>;

    /// Whether some component has this token now, whoever asks: ValidateAuthorizationToken.
    async fn is_valid(&self, token: &str) -> bool;
}
