//! What PKCS#11 return values mean: the token is away, full, or refuses.

use super::worker::{Login, Worker};
use crate::KeyError;
use cryptoki::{
    context::Function,
    error::{Error, RvError},
};

/// What goes wrong inside an operation: the library's word, or ours, already clear.
pub(super) enum Fault {
    Library(Error),
    Clear(KeyError),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Library(error)
    }
}

impl From<KeyError> for Fault {
    fn from(error: KeyError) -> Self {
        Self::Clear(error)
    }
}

impl From<openssl::error::ErrorStack> for Fault {
    fn from(source: openssl::error::ErrorStack) -> Self {
        KeyError::OpenSsl {
            what: "reading a key from the token",
            source,
        }
        .into()
    }
}

impl Fault {
    /// Whether a new session, or the library started anew, may help.
    pub(super) fn is_loss(&self) -> bool {
        match self {
            Self::Clear(error) => matches!(error, KeyError::NoToken { .. }),
            Self::Library(Error::Pkcs11(value, _)) => matches!(
                value,
                RvError::DeviceRemoved
                    | RvError::DeviceError
                    | RvError::TokenNotPresent
                    | RvError::TokenNotRecognized
                    | RvError::SlotIdInvalid
                    | RvError::SessionHandleInvalid
                    | RvError::SessionClosed
                    | RvError::UserNotLoggedIn
                    | RvError::CryptokiNotInitialized
                    | RvError::ObjectHandleInvalid
                    | RvError::KeyHandleInvalid
                    // What tpm2-pkcs11 says of a TPM that is gone or was reset, and SoftHSM of a folder that is gone.
                    | RvError::GeneralError
                    | RvError::FunctionFailed
                    // Left by an operation that was cut off.
                    | RvError::OperationActive
            ),
            Self::Library(_) => false,
        }
    }

    pub(super) fn into_error(self, login: &Login, what: &'static str, worker: &Worker) -> KeyError {
        let loss = self.is_loss();
        let source = match self {
            Self::Clear(error) => return error,
            Self::Library(source) => source,
        };
        let token = login.uri.token.clone().unwrap_or_else(|| login.wanted());
        match source {
            source if is_full(&source) => KeyError::Full { token, source },
            Error::LibraryLoading(_) | Error::MissingSymbol(_) | Error::NullFunctionPointer => {
                KeyError::Module {
                    path: worker.path.clone(),
                    fault: source.to_string(),
                    install: "is it a PKCS#11 library, and a complete one?".into(),
                }
            }
            source if loss => KeyError::Lost {
                token,
                what: match source {
                    Error::Pkcs11(RvError::GeneralError, Function::Login) => {
                        "logging in (a TPM that locked itself after wrong PINs or power cuts says no more than this)"
                    }
                    _ => what,
                },
                source,
            },
            source => KeyError::Token {
                token,
                what,
                source,
            },
        }
    }
}

/// Whether a token did not take another object. SoftHSM and tpm2-pkcs11 have only general words for it; that the token
/// is there was seen just before, when its session was opened.
pub(super) fn is_full(error: &Error) -> bool {
    let Error::Pkcs11(value, function) = error else {
        return false;
    };
    let creates = matches!(
        function,
        Function::GenerateKeyPair | Function::CreateObject | Function::InitToken
    );
    match value {
        RvError::DeviceMemory => true,
        RvError::HostMemory
        | RvError::GeneralError
        | RvError::FunctionFailed
        | RvError::DeviceError => creates,
        _ => false,
    }
}

/// "is none" or "are a, b".
pub(super) fn list(none: &str, there: &[String]) -> String {
    if there.is_empty() {
        return none.into();
    }
    let verb = if there.len() == 1 { "is" } else { "are" };
    format!("{verb} {}", there.join(", "))
}
