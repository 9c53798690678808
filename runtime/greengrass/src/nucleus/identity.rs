//! Who may connect to IPC: a component's process with the component's token, or a person who can read a token file.
//!
//! A token alone is not enough. The process must belong to the component, or at least to nobody else: one inside a
//! container that the component started cannot be attributed, and is let in when it has the component's user or is root.

use super::access;
use async_trait::async_trait;
use ipc::{Identity, Peer, Principal};
use model::ComponentName;
use std::{fmt, os::unix::fs::MetadataExt, path::Path, sync::Arc};
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

/// Whose process it is that shows a token.
enum Owner {
    Component(ComponentName),
    /// No component's: one inside a container, say.
    Nobody,
    /// It has ended. Another process may hold its connection, and nobody can say whose that is.
    Gone,
    Untold,
}

impl Owner {
    /// Whether it can be a process of the component; `users` tells whether it has its user.
    fn may_be(&self, component: &ComponentName, users: impl FnOnce() -> bool) -> bool {
        match self {
            Self::Component(owner) => owner == component,
            Self::Nobody => users(),
            Self::Gone | Self::Untold => false,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Component(owner) => write!(f, "a process of {owner}"),
            Self::Nobody => f.write_str("a process of no component"),
            Self::Gone => f.write_str("a process that has ended"),
            Self::Untold => f.write_str("a process that cannot be told"),
        }
    }
}

fn is_there(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
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
            Some(pid) => match self.launcher.owner(pid).await {
                Ok(Some(owner)) => Owner::Component(owner),
                // Looked at after the search: one that has gone meanwhile was perhaps not found because of that.
                Ok(None) if pid != 0 && !is_there(pid) => Owner::Gone,
                Ok(None) => Owner::Nobody,
                Err(error) => {
                    log::warn!(component = component.as_str(); "cannot tell whose process {pid} is: {error}");
                    Owner::Untold
                }
            },
            None => Owner::Nobody,
        };
        let users = || peer.uid == 0 || self.uid_of(&component) == Some(peer.uid);
        if !owner.may_be(&component, users) {
            log::warn!(component = component.as_str(), uid = peer.uid; "refused: {owner} showed this component's token");
            return None;
        }
        Some(Principal::Component(component))
    }

    async fn is_valid(&self, token: &str) -> bool {
        self.supervisor.authenticate(token).is_some()
    }
}

impl Callers {
    fn uid_of(&self, component: &ComponentName) -> Option<u32> {
        let pid = self.supervisor.status(component)?.pid?;
        Some(std::fs::metadata(format!("/proc/{pid}")).ok()?.uid())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_living_process_of_the_component_or_of_nobody_with_its_user_may_show_its_token() {
        let (one, other): (ComponentName, ComponentName) =
            ("a.One".parse().unwrap(), "a.Other".parse().unwrap());
        let may = |owner: &Owner, users| owner.may_be(&one, || users);
        assert!(may(&Owner::Component(one.clone()), false));
        assert!(!may(&Owner::Component(other), true));
        assert!(may(&Owner::Nobody, true));
        assert!(!may(&Owner::Nobody, false));
        assert!(!may(&Owner::Gone, true));
        assert!(!may(&Owner::Untold, true));
    }

    #[test]
    fn a_process_that_has_ended_is_not_there() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(!is_there(child.id()));
        assert!(is_there(std::process::id()));
    }
}
