//! Who may connect to IPC: a component's process with the component's token, or a person who can read a token file.
//!
//! A token alone is not enough. The process must belong to the component, or at least to nobody else: one inside a
//! container that the component started cannot be attributed, and is let in when it has the component's user or is root.

use super::access;
use async_trait::async_trait;
use ipc::{Identity, Peer, Principal};
use std::{os::unix::fs::MetadataExt, path::Path, sync::Arc};
use supervisor::{Supervisor, Token, launcher::Launcher};

/// Everyone who may connect.
#[derive(Clone)]
pub struct Callers {
    supervisor: Supervisor,
    launcher: Arc<dyn Launcher>,
    /// Of the command line; new with each start.
    person: Token,
    /// Whose token file it is.
    uid: u32,
}

impl Callers {
    /// Makes the token of the command line.
    pub fn new(supervisor: Supervisor, launcher: Arc<dyn Launcher>) -> std::io::Result<Self> {
        let uid = rustix::process::geteuid().as_raw();
        Ok(Self {
            supervisor,
            launcher,
            person: Token::generate()?,
            uid,
        })
    }

    /// Writes the token where the command line looks for it.
    pub fn publish(&self, root: &Path, socket: &Path) -> anyhow::Result<()> {
        access::publish(root, socket, self.uid, self.person.reveal())
    }

    /// Removes it.
    pub fn withdraw(&self, root: &Path) {
        access::withdraw(root, self.uid);
    }
}

#[async_trait]
impl Identity for Callers {
    async fn authenticate(&self, token: &str, peer: Peer) -> Option<Principal> {
        if self.person.is(token) {
            if peer.uid == self.uid || peer.uid == 0 {
                return Some(Principal::Cli(format!("user-{}", peer.uid).into()));
            }
            log::warn!(
                "user {} showed the command line's token of user {}",
                peer.uid,
                self.uid
            );
            return None;
        }
        let component = self.supervisor.authenticate(token)?;
        let owner = match peer.pid {
            Some(pid) => self.launcher.owner(pid).await.unwrap_or_else(|error| {
                log::warn!(component = component.as_str(); "cannot tell whose process {pid} is: {error}");
                None
            }),
            None => None,
        };
        let admitted = match &owner {
            Some(owner) => *owner == component,
            None => peer.uid == 0 || self.uid_of(&component) == Some(peer.uid),
        };
        if !admitted {
            let whose = owner.map_or_else(
                || format!("of user {}", peer.uid),
                |owner| format!("of {owner}"),
            );
            log::warn!(component = component.as_str(); "refused: a process {whose} showed this component's token");
            return None;
        }
        Some(Principal::Component(component))
    }

    async fn is_valid(&self, token: &str) -> bool {
        self.supervisor.authenticate(token).is_some()
    }
}

impl Callers {
    fn uid_of(&self, component: &model::ComponentName) -> Option<u32> {
        let pid = self.supervisor.status(component)?.pid?;
        Some(std::fs::metadata(format!("/proc/{pid}")).ok()?.uid())
    }
}
