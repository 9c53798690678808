//! Listing tokens and making new ones.

use super::{
    GENERATE, LIMIT, Module, Pending,
    faults::{Fault, is_full},
    secret,
    worker::Worker,
};
use crate::{KeyError, KeyUri, Pin, TokenUri};
use cryptoki::{
    context::Pkcs11,
    error::{Error, RvError},
    session::UserType,
    slot::Slot,
};
use std::path::Path;

/// A token in a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenInfo {
    /// Its name as a URI.
    pub uri: KeyUri,
    /// Its slot.
    pub slot: u64,
    /// `token=`
    pub label: String,
    /// `serial=`
    pub serial: String,
    /// `manufacturer=`
    pub manufacturer: String,
    /// `model=`
    pub model: String,
    /// Whether it can be used; if not, whether [`initialise`] can make it so.
    pub initialised: bool,
    /// Whether its PIN is locked.
    pub locked: bool,
}

/// The tokens of a library.
pub fn tokens(library: &Path) -> Result<Pending<Vec<TokenInfo>>, KeyError> {
    let module = Module::open(library)?;
    let path = module.path.clone();
    Ok(module.ask("listing tokens", LIMIT, move |worker| {
        let tokens = anew(worker, "listing tokens", Worker::tokens)?;
        let info = |(slot, info): (Slot, cryptoki::slot::TokenInfo)| TokenInfo {
            uri: TokenUri {
                module_path: Some(path.clone()),
                ..super::token_uri(&info)
            }
            .into(),
            slot: slot.id(),
            label: info.label().into(),
            serial: info.serial_number().into(),
            manufacturer: info.manufacturer_id().into(),
            model: info.model().into(),
            initialised: info.token_initialized() && info.user_pin_initialized(),
            locked: info.user_pin_locked(),
        };
        Ok(tokens.into_iter().map(info).collect())
    }))
}

/// A token to be made.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Its label, at most 32 bytes.
    pub label: String,
    /// The slot; by default the first that has a token which is not initialised.
    pub slot: Option<u64>,
    /// The security officer's PIN: it can set a new user PIN, but not use the keys.
    pub officer_pin: Pin,
    /// The PIN that uses the keys.
    pub user_pin: Pin,
    /// What to do with a token that is already initialised.
    pub erase: Erase,
}

/// Whether an initialised token may be erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Erase {
    /// It is an error that it is initialised.
    #[default]
    Never,
    /// All keys in the slot's token are lost.
    EverythingInIt,
}

/// Initialises a token and sets its user PIN. Returns its name.
pub fn initialise(library: &Path, new: NewToken) -> Result<Pending<KeyUri>, KeyError> {
    let module = Module::open(library)?;
    let path = module.path.clone();
    Ok(module.ask("initialising a token", GENERATE, move |worker| {
        initialise_now(worker, &new).map(|uri| {
            TokenUri {
                module_path: Some(path),
                ..uri
            }
            .into()
        })
    }))
}

fn initialise_now(worker: &mut Worker, new: &NewToken) -> Result<TokenUri, KeyError> {
    if new.label.is_empty() || new.label.len() > 32 {
        return Err(KeyError::Request {
            what: format!("the token's label \"{}\"", new.label),
            fault: "it must have 1 to 32 bytes",
        });
    }
    let tokens = anew(worker, "looking for a token to initialise", Worker::tokens)?;
    let same = tokens.iter().find(|t| {
        t.1.token_initialized() && t.1.label() == new.label && Some(t.0.id()) != new.slot
    });
    if same.is_some() {
        return Err(KeyError::Initialised {
            token: new.label.clone(),
        });
    }
    let chosen = tokens.iter().find(|(slot, info)| match new.slot {
        Some(wanted) => slot.id() == wanted,
        None => !info.token_initialized(),
    });
    let Some((slot, info)) = chosen else {
        return Err(KeyError::NoToken {
            wanted: new
                .slot
                .map_or_else(|| "\"not initialised\"".into(), |s| format!("slot-id={s}")),
            module: worker.path.clone(),
            found: "is no such slot".into(),
        });
    };
    if info.token_initialized() && new.erase == Erase::Never {
        return Err(KeyError::Initialised {
            token: info.label().into(),
        });
    }
    let slot = *slot;
    let fault = |what: &'static str| {
        let token = new.label.clone();
        move |source: Error| match source {
            Error::Pkcs11(RvError::PinIncorrect, _) => KeyError::WrongPin {
                token,
                note: " (the security officer's)",
            },
            source if is_full(&source) => KeyError::Full { token, source },
            source => KeyError::Token {
                token,
                what,
                source,
            },
        }
    };
    let officer = secret(&new.officer_pin);
    let library = &worker.library;
    library
        .init_token(slot, &officer, &new.label)
        .map_err(fault("to be initialised"))?;
    // Libraries may give the new token another slot.
    let slot =
        find(library, &new.label, slot).map_err(fault("to be found after it was initialised"))?;
    let session = library.open_rw_session(slot).map_err(fault("a session"))?;
    session
        .login(UserType::So, Some(&officer))
        .map_err(fault("the security officer's login"))?;
    session
        .init_pin(&secret(&new.user_pin))
        .map_err(fault("the new user PIN"))?;
    session.logout().map_err(fault("to log out"))?;
    let info = library
        .get_token_info(slot)
        .map_err(fault("to tell about itself"))?;
    Ok(super::token_uri(&info))
}

fn find(library: &Pkcs11, label: &str, before: Slot) -> Result<Slot, Error> {
    for slot in library.get_slots_with_token()? {
        let info = library.get_token_info(slot);
        if info.is_ok_and(|i| i.token_initialized() && i.label() == label) {
            return Ok(slot);
        }
    }
    Ok(before)
}

/// Asks the library, and once more after starting it anew when it does not answer.
fn anew<T>(
    worker: &mut Worker,
    what: &'static str,
    ask: impl Fn(&Worker) -> Result<T, Fault>,
) -> Result<T, KeyError> {
    let error = |fault: Fault, worker: &Worker| {
        let nobody = super::worker::Login {
            uri: TokenUri::default(),
            pin: None,
            places: String::new(),
        };
        fault.into_error(&nobody, what, worker)
    };
    match ask(worker) {
        Ok(answer) => Ok(answer),
        Err(fault) if fault.is_loss() => {
            worker
                .restart()
                .map_err(|fault| error(fault.into(), worker))?;
            ask(worker).map_err(|fault| error(fault, worker))
        }
        Err(fault) => Err(error(fault, worker)),
    }
}
