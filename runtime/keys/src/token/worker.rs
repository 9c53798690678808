//! The thread that owns a PKCS#11 library: slots, sessions, logging in, and coming back after a token was away.
//!
//! Three attempts are made at an operation: with the session there is; with a new session and login; and after
//! `C_Finalize` and `C_Initialize`, because some libraries (tpm2-pkcs11, SoftHSM) look for tokens only there.
//! A PIN that the token refused is remembered and not tried again: tokens lock after few wrong tries.

use super::faults::{self, Fault};
use crate::{KeyError, Pin, TokenUri};
use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Function, Pkcs11},
    error::{Error, RvError},
    session::{Session, UserType},
    slot::{Slot, TokenInfo},
};
use std::{
    cell::RefCell,
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Arc, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// Work for the thread.
pub(super) type Job = Box<dyn FnOnce(&mut Worker) + Send>;

/// A library that cannot find a token is not started anew more often than this many times in that time.
const RESTARTS: usize = 8;
const RESTARTS_IN: Duration = Duration::from_secs(4);

/// What the thread shares with those who use the library beside it (OpenSSL's engine).
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Held for reading while the library signs elsewhere, for writing while it is finalised: PKCS#11 leaves it
    /// undefined what a call during `C_Finalize` does.
    pub(crate) gate: RwLock<()>,
    /// Counts the library's starts: handles from before the last one are dead.
    pub(crate) starts: AtomicUsize,
}

/// Which token, and how to log in.
#[derive(Debug, Clone)]
pub(super) struct Login {
    pub(super) uri: TokenUri,
    pub(super) pin: Option<Pin>,
    /// Where the PIN was looked for, for the message.
    pub(super) places: String,
}

impl Login {
    /// The attributes that choose the token, as a URI: also the key of its session.
    pub(super) fn wanted(&self) -> String {
        let chosen = TokenUri {
            token: self.uri.token.clone(),
            manufacturer: self.uri.manufacturer.clone(),
            serial: self.uri.serial.clone(),
            model: self.uri.model.clone(),
            slot: self.uri.slot,
            ..TokenUri::default()
        };
        chosen.to_string()
    }
}

struct Open {
    wanted: String,
    label: String,
    slot: Slot,
    session: Session,
    /// What it logged in with.
    pin: Option<Pin>,
}

impl Open {
    /// A login is the whole process's: without this check a wrong PIN would do until the next restart.
    fn is_for(&self, login: &Login) -> Result<(), KeyError> {
        let token = self.label.clone();
        match (&self.pin, &login.pin) {
            (None, _) => Ok(()),
            (Some(right), Some(given)) if right == given => Ok(()),
            (Some(_), Some(_)) => Err(KeyError::WrongPin {
                token,
                note: " (it is logged in to with another one)",
            }),
            (Some(_), None) => Err(KeyError::NoPin {
                token,
                places: login.places.clone(),
            }),
        }
    }
}

/// The thread's state.
pub(super) struct Worker {
    pub(super) library: Pkcs11,
    pub(super) path: PathBuf,
    shared: Arc<Shared>,
    sessions: Vec<Open>,
    /// (token, PIN) pairs that were refused.
    refused: Vec<(String, Pin)>,
    /// (token, PIN) pairs that were accepted once.
    accepted: Vec<(String, Pin)>,
    /// Private keys that were found once: if one is not there any more, its token may have been away.
    known: RefCell<BTreeSet<String>>,
    restarts: Vec<Instant>,
}

/// What an operation works with.
pub(super) struct Work<'a> {
    pub(super) session: &'a Session,
    pub(super) library: &'a Pkcs11,
    pub(super) slot: Slot,
    /// The token's label.
    pub(super) token: &'a str,
    /// Private keys that were found once.
    pub(super) known: &'a RefCell<BTreeSet<String>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Attempt {
    AsItIs,
    NewSession,
    Restarted,
}

impl Worker {
    /// Loads and starts the library.
    pub(super) fn start(path: PathBuf, shared: Arc<Shared>) -> Result<Self, KeyError> {
        let module = |fault: String| KeyError::Module {
            install: super::library::install(&path),
            path: path.clone(),
            fault,
        };
        if !path.exists() {
            return Err(module("no such file".into()));
        }
        let library = Pkcs11::new(&path).map_err(|e| module(e.to_string()))?;
        initialise(&library).map_err(|e| module(e.to_string()))?;
        shared.starts.fetch_add(1, Ordering::Release);
        Ok(Self {
            library,
            path,
            shared,
            sessions: Vec::new(),
            refused: Vec::new(),
            accepted: Vec::new(),
            known: RefCell::default(),
            restarts: Vec::new(),
        })
    }

    /// Does `work` with a session that is logged in, and again when the token was away. `work` must bear being begun twice.
    pub(super) fn with<T>(
        &mut self,
        login: &Login,
        what: &'static str,
        mut work: impl FnMut(&Work<'_>) -> Result<T, Fault>,
    ) -> Result<T, KeyError> {
        let mut attempt = Attempt::AsItIs;
        loop {
            let fault = match self.attempt(login, &mut work) {
                Ok(done) => return Ok(done),
                Err(fault) => fault,
            };
            if !self.is_loss(&fault) {
                return Err(fault.into_error(login, what, self));
            }
            attempt = match attempt {
                Attempt::AsItIs => {
                    // The session may be dead: never use it again.
                    self.forget(&login.wanted());
                    Attempt::NewSession
                }
                Attempt::NewSession if self.may_restart() => {
                    log::info!(token = login.wanted(), module:% = self.path.display(); "starting the token's library anew, after {what} failed");
                    if let Err(fault) = self.restart() {
                        return Err(Fault::from(fault).into_error(login, what, self));
                    }
                    Attempt::Restarted
                }
                Attempt::NewSession | Attempt::Restarted => {
                    self.forget(&login.wanted());
                    let fault = match fault {
                        // It was there before: it went with its token.
                        Fault::Clear(KeyError::NoObject { .. }) => {
                            Error::Pkcs11(RvError::ObjectHandleInvalid, Function::FindObjects)
                                .into()
                        }
                        other => other,
                    };
                    return Err(fault.into_error(login, what, self));
                }
            };
        }
    }

    fn is_loss(&self, fault: &Fault) -> bool {
        match fault {
            Fault::Clear(KeyError::NoObject {
                wanted,
                what: super::objects::PRIVATE_KEY,
                ..
            }) => self.known.borrow().contains(wanted),
            other => other.is_loss(),
        }
    }

    fn attempt<T>(
        &mut self,
        login: &Login,
        work: &mut impl FnMut(&Work<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let wanted = login.wanted();
        if !self.sessions.iter().any(|o| o.wanted == wanted) {
            let open = self.open(login, wanted.clone())?;
            self.sessions.push(open);
        }
        let open = self.sessions.iter().find(|o| o.wanted == wanted);
        let open = open.expect("opened just above");
        open.is_for(login)?;
        work(&Work {
            session: &open.session,
            library: &self.library,
            slot: open.slot,
            token: &open.label,
            known: &self.known,
        })
    }

    fn open(&mut self, login: &Login, wanted: String) -> Result<Open, Fault> {
        let (slot, info) = self.slot(&login.uri, &wanted)?;
        let label = info.label().to_owned();
        let session = self.library.open_rw_session(slot)?;
        let mut pin = None;
        if info.login_required() {
            self.log_in(login, &wanted, &info, &session)?;
            pin.clone_from(&login.pin);
        }
        Ok(Open {
            pin,
            wanted,
            label,
            slot,
            session,
        })
    }

    fn log_in(
        &mut self,
        login: &Login,
        wanted: &str,
        info: &TokenInfo,
        session: &Session,
    ) -> Result<(), Fault> {
        let token = info.label().to_owned();
        let module = self.path.clone();
        let Some(pin) = &login.pin else {
            if info.protected_authentication_path() {
                return Ok(session.login(UserType::User, None)?);
            }
            let places = login.places.clone();
            return Err(KeyError::NoPin { token, places }.into());
        };
        let pair = (wanted.to_owned(), pin.clone());
        if self.refused.contains(&pair) {
            return Err(KeyError::WrongPin {
                token,
                note: " (it was refused before)",
            }
            .into());
        }
        let known = self.accepted.contains(&pair);
        if info.user_pin_locked() {
            return Err(KeyError::PinLocked { token, module }.into());
        }
        if info.user_pin_final_try() && !known {
            return Err(KeyError::LastTry { token, module }.into());
        }
        if !info.user_pin_initialized() {
            return Err(KeyError::PinNotSet { token }.into());
        }
        let secret = pin.expose().to_owned().into();
        let fault = match session.login(UserType::User, Some(&secret)) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
                if !known {
                    self.accepted.push(pair);
                }
                return Ok(());
            }
            Err(fault) => fault,
        };
        match fault {
            Error::Pkcs11(
                RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange,
                _,
            ) => {
                self.accepted.retain(|p| p.0 != wanted);
                self.refused.push(pair);
                // Asked anew: the flags are from after the wrong try.
                let after = self.slot(&login.uri, wanted).ok().map(|s| s.1);
                let note = after.map_or("", |info| {
                    if info.user_pin_locked() {
                        " (and it is locked now)"
                    } else if info.user_pin_final_try() {
                        " (one try is left before it locks)"
                    } else if info.user_pin_count_low() {
                        " (few tries are left before it locks)"
                    } else {
                        ""
                    }
                });
                Err(KeyError::WrongPin { token, note }.into())
            }
            Error::Pkcs11(RvError::PinLocked | RvError::PinExpired, _) => {
                Err(KeyError::PinLocked { token, module }.into())
            }
            Error::Pkcs11(RvError::UserPinNotInitialized, _) => {
                Err(KeyError::PinNotSet { token }.into())
            }
            other => Err(other.into()),
        }
    }

    /// The slot of the token that is meant. Exactly one must match.
    fn slot(&self, uri: &TokenUri, wanted: &str) -> Result<(Slot, TokenInfo), Fault> {
        let mut matching = Vec::new();
        let mut others = Vec::new();
        for (slot, info) in self.tokens()? {
            if !info.token_initialized() {
                continue;
            }
            if matches(uri, slot, &info) {
                matching.push((slot, info));
            } else {
                others.push(describe(slot, &info));
            }
        }
        match matching.len() {
            1 => Ok(matching.swap_remove(0)),
            0 => Err(KeyError::NoToken {
                wanted: wanted.into(),
                module: self.path.clone(),
                found: faults::list("is no token", &others),
            }
            .into()),
            _ => {
                let found: Vec<String> = matching.iter().map(|(s, i)| describe(*s, i)).collect();
                Err(KeyError::ManyTokens {
                    wanted: wanted.into(),
                    found: found.join(", "),
                }
                .into())
            }
        }
    }

    /// Every slot that has a token, initialised or not.
    pub(super) fn tokens(&self) -> Result<Vec<(Slot, TokenInfo)>, Fault> {
        let mut tokens = Vec::new();
        for slot in self.library.get_slots_with_token()? {
            match self.library.get_token_info(slot) {
                Ok(info) => tokens.push((slot, info)),
                // Pulled in between, or one of several readers that is broken: the others still count.
                Err(fault) => log::debug!("slot {slot} does not tell about its token: {fault}"),
            }
        }
        Ok(tokens)
    }

    fn may_restart(&mut self) -> bool {
        self.restarts.retain(|at| at.elapsed() < RESTARTS_IN);
        self.restarts.len() < RESTARTS
    }

    /// `C_Finalize` and `C_Initialize`. All sessions and handles of this library in this process are dead afterwards.
    pub(super) fn restart(&mut self) -> cryptoki::error::Result<()> {
        self.restarts.push(Instant::now());
        let _gate = self
            .shared
            .gate
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        for open in self.sessions.drain(..) {
            // tpm2-pkcs11 takes its keys out of the TPM's few places only when it is told to log out.
            if let Err(fault) = open.session.logout() {
                log::debug!("C_Logout: {fault}");
            }
            abandon(open);
        }
        // It may have been finalised by someone else: then there is nothing to do.
        if let Err(fault) = self.library.clone().finalize() {
            log::debug!("C_Finalize: {fault}");
        }
        self.shared.starts.fetch_add(1, Ordering::Release);
        initialise(&self.library)
    }

    fn forget(&mut self, wanted: &str) {
        if let Some(at) = self.sessions.iter().position(|o| o.wanted == wanted) {
            abandon(self.sessions.swap_remove(at));
        }
    }

    /// Logs out of a token, so that its next use logs in anew.
    pub(super) fn log_out(&mut self, wanted: &str) {
        if let Some(at) = self.sessions.iter().position(|o| o.wanted == wanted) {
            let open = self.sessions.swap_remove(at);
            if let Err(fault) = open.session.logout() {
                log::debug!("C_Logout: {fault}");
            }
        }
    }
}

/// Gives a session up that is probably dead. Closing it through its type would log an error for each.
fn abandon(open: Open) {
    std::mem::forget(open.session);
}

fn initialise(library: &Pkcs11) -> cryptoki::error::Result<()> {
    match library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        other => other,
    }
}

fn matches(uri: &TokenUri, slot: Slot, info: &TokenInfo) -> bool {
    let is = |wanted: &Option<String>, there: &str| wanted.as_ref().is_none_or(|w| w == there);
    is(&uri.token, info.label())
        && is(&uri.manufacturer, info.manufacturer_id())
        && is(&uri.serial, info.serial_number())
        && is(&uri.model, info.model())
        && uri.slot.is_none_or(|wanted| wanted == slot.id())
}

fn describe(slot: Slot, info: &TokenInfo) -> String {
    format!(
        "\"{}\" (serial {}, slot-id {})",
        info.label(),
        info.serial_number(),
        slot.id()
    )
}
