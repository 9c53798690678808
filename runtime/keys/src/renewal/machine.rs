//! The renewal as a pure function: (state, event) -> (state, action). What is not listed is refused.

use crate::{KeyUri, TokenUri};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// A private key and the certificate for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The private key.
    pub key: KeyUri,
    /// The certificate's file (PEM, leaf first).
    pub certificate: PathBuf,
}

impl Identity {
    /// Names for the next key and certificate: the same with a number that is one higher.
    #[must_use]
    pub fn next(&self) -> Self {
        let key = match &self.key {
            KeyUri::File(path) => KeyUri::File(next_path(path)),
            KeyUri::Token(uri) => TokenUri {
                object: Some(next_name(uri.object.as_deref().unwrap_or("key"))),
                // The token gives the new key an identifier.
                id: None,
                ..TokenUri::clone(uri)
            }
            .into(),
        };
        Self {
            key,
            certificate: next_path(&self.certificate),
        }
    }
}

fn next_path(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(next_name(&name))
}

/// `device` → `device.2` → `device.3`
fn next_name(name: &str) -> String {
    let numbered = name.rsplit_once('.').and_then(|(stem, number)| {
        let number: u32 = number.parse().ok().filter(|n| *n >= 2)?;
        Some((stem, number.checked_add(1)?))
    });
    match numbered {
        Some((stem, number)) => format!("{stem}.{number}"),
        None => format!("{name}.2"),
    }
}

/// Where a renewal is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nothing to do.
    Idle {
        /// In use.
        current: Identity,
    },
    /// The new key's name is chosen; the key may or may not be there.
    MakingKey {
        /// In use.
        current: Identity,
        /// Names of what is made.
        next: Identity,
    },
    /// The new key is there; its certificate is asked for.
    Requesting {
        /// In use.
        current: Identity,
        /// The new key's full name, and the certificate's place.
        next: Identity,
    },
    /// The new certificate is stored; whether it connects is tried.
    Proving {
        /// In use.
        current: Identity,
        /// On trial.
        next: Identity,
    },
    /// The new identity connects; everything is told to use it.
    Switching {
        /// In use until now.
        current: Identity,
        /// In use from now on.
        next: Identity,
    },
    /// The new identity is in use; the old one is removed.
    Retiring {
        /// In use.
        current: Identity,
        /// No longer in use.
        old: Identity,
    },
    /// The new identity came to nothing and is removed; the old one is still in use.
    Discarding {
        /// In use.
        current: Identity,
        /// What was made for nothing.
        next: Identity,
    },
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It is time.
    Due,
    /// The key is there, under this full name.
    KeyMade(KeyUri),
    /// The certificate for the new key is stored.
    CertificateStored,
    /// The issuer refused: asking again would change nothing.
    CertificateRefused,
    /// A connection with the new identity was made.
    Connected,
    /// The new identity is refused by the other side.
    ConnectionRefused,
    /// Everything uses the new identity.
    Switched,
    /// What was to be removed is gone.
    Removed,
}

/// What is to be done. Each may be done twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Make the key unless it is there. Its full name is [`Event::KeyMade`]'s.
    MakeKey(KeyUri),
    /// Ask for a certificate for this key and store it there, if it is for the key.
    Request(Identity),
    /// Try whether it connects.
    Prove(Identity),
    /// Make everything use it, and remember that over a restart.
    Switch(Identity),
    /// Delete key and certificate.
    Remove(Identity),
}

/// An event that cannot happen in a state.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{event:?} cannot happen in {state:?}")]
pub struct Refused {
    state: Box<State>,
    event: Box<Event>,
}

impl State {
    /// The identity in use.
    pub fn current(&self) -> &Identity {
        match self {
            Self::Idle { current }
            | Self::MakingKey { current, .. }
            | Self::Requesting { current, .. }
            | Self::Proving { current, .. }
            | Self::Switching { current, .. }
            | Self::Retiring { current, .. }
            | Self::Discarding { current, .. } => current,
        }
    }

    /// The state after an event.
    pub fn after(self, event: Event) -> Result<Self, Refused> {
        Ok(match (self, event) {
            (Self::Idle { current }, Event::Due) => Self::MakingKey {
                next: current.next(),
                current,
            },
            (Self::MakingKey { current, next }, Event::KeyMade(key)) => Self::Requesting {
                next: Identity {
                    key,
                    certificate: next.certificate,
                },
                current,
            },
            (Self::Requesting { current, next }, Event::CertificateStored) => {
                Self::Proving { current, next }
            }
            (Self::Requesting { current, next }, Event::CertificateRefused)
            | (Self::Proving { current, next }, Event::ConnectionRefused) => {
                Self::Discarding { current, next }
            }
            (Self::Proving { current, next }, Event::Connected) => {
                Self::Switching { current, next }
            }
            (Self::Switching { current, next }, Event::Switched) => Self::Retiring {
                current: next,
                old: current,
            },
            (Self::Retiring { current, .. } | Self::Discarding { current, .. }, Event::Removed) => {
                Self::Idle { current }
            }
            (state, event) => {
                return Err(Refused {
                    state: Box::new(state),
                    event: Box::new(event),
                });
            }
        })
    }

    /// What is to be done in this state: after an event, and again after a restart.
    pub fn action(&self) -> Option<Action> {
        Some(match self {
            Self::Idle { .. } => return None,
            Self::MakingKey { next, .. } => Action::MakeKey(next.key.clone()),
            Self::Requesting { next, .. } => Action::Request(next.clone()),
            Self::Proving { next, .. } => Action::Prove(next.clone()),
            Self::Switching { next, .. } => Action::Switch(next.clone()),
            Self::Retiring { old, .. } => Action::Remove(old.clone()),
            Self::Discarding { next, .. } => Action::Remove(next.clone()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(name: &str) -> Identity {
        Identity {
            key: KeyUri::File(format!("/k/{name}.key").into()),
            certificate: format!("/k/{name}.pem").into(),
        }
    }

    fn run(events: &[Event]) -> State {
        let start = State::Idle {
            current: identity("a"),
        };
        events
            .iter()
            .cloned()
            .fold(start, |state, event| state.after(event).unwrap())
    }

    #[test]
    fn a_renewal_ends_with_the_new_identity_and_removes_the_old_one_last() {
        let next = identity("a").next();
        let mut state = run(&[Event::Due]);
        assert_eq!(state.action(), Some(Action::MakeKey(next.key.clone())));
        for (event, action) in [
            (
                Event::KeyMade(next.key.clone()),
                Action::Request(next.clone()),
            ),
            (Event::CertificateStored, Action::Prove(next.clone())),
            (Event::Connected, Action::Switch(next.clone())),
        ] {
            assert_eq!(
                state.current(),
                &identity("a"),
                "the old one is in use until the switch"
            );
            state = state.after(event).unwrap();
            assert_eq!(state.action(), Some(action));
        }
        state = state.after(Event::Switched).unwrap();
        assert_eq!(state.current(), &next);
        assert_eq!(state.action(), Some(Action::Remove(identity("a"))));
        state = state.after(Event::Removed).unwrap();
        assert_eq!(state, State::Idle { current: next });
    }

    #[test]
    fn a_refusal_removes_the_new_key_and_keeps_the_old_identity() {
        let next = identity("a").next();
        let made = Event::KeyMade(next.key.clone());
        for events in [
            vec![Event::Due, made.clone(), Event::CertificateRefused],
            vec![
                Event::Due,
                made,
                Event::CertificateStored,
                Event::ConnectionRefused,
            ],
        ] {
            let state = run(&events);
            assert_eq!(state.action(), Some(Action::Remove(next.clone())));
            assert_eq!(state.after(Event::Removed).unwrap(), run(&[]));
        }
    }

    #[test]
    fn what_cannot_happen_is_refused() {
        for event in [
            Event::Connected,
            Event::Switched,
            Event::Removed,
            Event::CertificateStored,
        ] {
            assert!(run(&[]).after(event).is_err());
        }
        assert!(run(&[Event::Due]).after(Event::Due).is_err());
        assert!(run(&[Event::Due]).after(Event::Switched).is_err());
    }

    #[test]
    fn names_count_up_and_keep_the_token() {
        assert_eq!(next_name("device"), "device.2");
        assert_eq!(next_name("device.2"), "device.3");
        assert_eq!(next_name("thing.key"), "thing.key.2");
        assert_eq!(next_name("a.4294967295"), "a.4294967295.2");
        let key: KeyUri = "pkcs11:token=t;object=device;id=%01?module-path=/m.so&pin-source=/p"
            .parse()
            .unwrap();
        let next = Identity {
            key,
            certificate: "/c.pem".into(),
        }
        .next();
        assert_eq!(
            next.key.to_string(),
            "pkcs11:token=t;object=device.2?module-path=/m.so&pin-source=file:/p"
        );
        assert_eq!(next.certificate, Path::new("/c.pem.2"));
    }
}
