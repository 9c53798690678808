//! Provisioning as a pure function: (state, event) -> state, and the action of a state.
//!
//! ```text
//!   Fresh ─► MakingKey ─► Requesting ─► Registering ─► Storing ─► Done
//!      └─────(cloud makes the key)─►┘ ▲        │
//!                                     └────────┘ the ownership token is too old: another certificate, the same key
//! ```
//! Registering the same parameters twice names the same thing: the template makes its name from them.

use crate::wire::{OwnershipToken, Registered};
use thiserror::Error;

/// Where provisioning is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nothing was done.
    Fresh,
    /// The device makes its key; it may or may not be there.
    MakingKey,
    /// A certificate is asked for.
    Requesting {
        /// The device's own key. `None`: the cloud makes one.
        key: Option<String>,
    },
    /// Key and certificate are stored; the thing is asked for.
    Registering {
        /// The key's name.
        key: String,
        /// `certificateId`
        certificate_id: String,
        /// Good for an hour.
        token: OwnershipToken,
    },
    /// The thing is there; the identity goes into the configuration.
    Storing {
        /// The key's name.
        key: String,
        /// `certificateId`
        certificate_id: String,
        /// What the cloud answered.
        registered: Registered,
    },
    /// The device has its identity.
    Done {
        /// Its name.
        thing: String,
        /// `certificateId`
        certificate_id: String,
    },
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The device is not provisioned, and is to be.
    Begun {
        /// Whether the device makes its key itself.
        own_key: bool,
    },
    /// The key is there, under this name.
    KeyMade(String),
    /// The certificate, and the key if the cloud made it, are stored.
    Issued {
        /// The key's name.
        key: String,
        /// `certificateId`
        certificate_id: String,
        /// `certificateOwnershipToken`
        token: OwnershipToken,
    },
    /// The ownership token is no longer good.
    TokenExpired {
        /// Whether the device makes its key itself.
        own_key: bool,
    },
    /// The thing is there.
    Registered(Registered),
    /// The identity is in the configuration.
    Stored,
}

/// What is to be done. Each may be done twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// See whether and how to begin.
    Begin,
    /// Make the key unless it is there.
    MakeKey,
    /// Ask for a certificate, and store it.
    RequestCertificate {
        /// The key to ask for. `None`: the cloud makes one.
        key: Option<String>,
    },
    /// Ask for the thing.
    Register(OwnershipToken),
    /// Put the identity into the configuration.
    Store {
        /// The key's name.
        key: String,
        /// `certificateId`
        certificate_id: String,
        /// What the cloud answered.
        registered: Registered,
    },
}

/// An event that cannot happen in a state.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{event:?} cannot happen in {state:?}")]
pub struct Refused {
    state: Box<State>,
    event: Box<Event>,
}

impl State {
    /// Its name, for status and log.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Fresh => "not provisioned",
            Self::MakingKey => "making the key",
            Self::Requesting { .. } => "asking for a certificate",
            Self::Registering { .. } => "registering",
            Self::Storing { .. } => "storing the identity",
            Self::Done { .. } => "provisioned",
        }
    }

    /// The state after an event.
    pub fn after(self, event: Event) -> Result<Self, Refused> {
        Ok(match (self, event) {
            (Self::Fresh, Event::Begun { own_key: true }) => Self::MakingKey,
            (Self::Fresh, Event::Begun { own_key: false }) => Self::Requesting { key: None },
            (Self::MakingKey, Event::KeyMade(key)) => Self::Requesting { key: Some(key) },
            (
                Self::Requesting { .. },
                Event::Issued {
                    key,
                    certificate_id,
                    token,
                },
            ) => Self::Registering {
                key,
                certificate_id,
                token,
            },
            (Self::Registering { key, .. }, Event::TokenExpired { own_key }) => Self::Requesting {
                key: own_key.then_some(key),
            },
            (
                Self::Registering {
                    key,
                    certificate_id,
                    ..
                },
                Event::Registered(registered),
            ) => Self::Storing {
                key,
                certificate_id,
                registered,
            },
            (
                Self::Storing {
                    certificate_id,
                    registered,
                    ..
                },
                Event::Stored,
            ) => Self::Done {
                thing: registered.thing,
                certificate_id,
            },
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
            Self::Fresh => Action::Begin,
            Self::MakingKey => Action::MakeKey,
            Self::Requesting { key } => Action::RequestCertificate { key: key.clone() },
            Self::Registering { token, .. } => Action::Register(token.clone()),
            Self::Storing {
                key,
                certificate_id,
                registered,
            } => Action::Store {
                key: key.clone(),
                certificate_id: certificate_id.clone(),
                registered: registered.clone(),
            },
            Self::Done { .. } => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issued(key: &str) -> Event {
        Event::Issued {
            key: key.into(),
            certificate_id: "c".into(),
            token: OwnershipToken::new("t"),
        }
    }

    fn registered() -> Registered {
        Registered {
            thing: "thing".into(),
            configuration: [].into(),
        }
    }

    fn run(events: Vec<Event>) -> State {
        events
            .into_iter()
            .fold(State::Fresh, |state, event| state.after(event).unwrap())
    }

    #[test]
    fn both_ways_end_with_a_thing() {
        for (own_key, key) in [(true, "own"), (false, "from the cloud")] {
            let mut events = vec![Event::Begun { own_key }];
            if own_key {
                events.push(Event::KeyMade(key.into()));
            }
            events.extend([issued(key), Event::Registered(registered()), Event::Stored]);
            let state = run(events);
            let done = State::Done {
                thing: "thing".into(),
                certificate_id: "c".into(),
            };
            assert_eq!(state, done);
            assert_eq!(state.action(), None);
        }
    }

    #[test]
    fn an_expired_token_asks_for_another_certificate_with_the_same_key() {
        let begun = |own_key| {
            let mut events = vec![Event::Begun { own_key }];
            events.extend(own_key.then(|| Event::KeyMade("own".into())));
            events.extend([issued("own"), Event::TokenExpired { own_key }]);
            run(events).action()
        };
        let key = Some("own".to_owned());
        assert_eq!(begun(true), Some(Action::RequestCertificate { key }));
        assert_eq!(begun(false), Some(Action::RequestCertificate { key: None }));
    }

    #[test]
    fn what_cannot_happen_is_refused() {
        let all = [
            Event::Begun { own_key: true },
            Event::KeyMade("k".into()),
            issued("k"),
            Event::TokenExpired { own_key: true },
            Event::Registered(registered()),
            Event::Stored,
        ];
        let path = [0, 1, 2, 4, 5];
        let mut state = State::Fresh;
        for (step, right) in path.into_iter().enumerate() {
            for (number, event) in all.iter().enumerate() {
                let possible = number == right || (step == 3 && number == 3);
                assert_eq!(
                    state.clone().after(event.clone()).is_ok(),
                    possible,
                    "{state:?} {event:?}"
                );
            }
            state = state.after(all[right].clone()).unwrap();
        }
        assert!(
            all.into_iter()
                .all(|event| state.clone().after(event).is_err())
        );
    }
}
