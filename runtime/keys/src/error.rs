//! What can go wrong, said so that the person at the device knows what to do. No PIN is ever in a message.

use crate::UriError;
use std::{io, path::PathBuf, time::Duration};
use thiserror::Error;

/// Why a key could not be used.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The text does not name a key.
    #[error(transparent)]
    Uri(#[from] UriError),
    /// A key or certificate file cannot be read or written.
    #[error("{path}: {source}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is there, but what it holds is not usable.
    #[error("{path} does not hold {expected}: {source}", path = .path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for in it.
        expected: &'static str,
        /// What OpenSSL said.
        source: openssl::error::ErrorStack,
    },
    /// The operation is for keys in tokens, or for keys in files, and this is the other.
    #[error("{uri} is not {expected}")]
    Kind {
        /// The key.
        uri: String,
        /// What is needed.
        expected: &'static str,
    },
    /// The PIN's file is missing, not readable, or readable by too many.
    #[error("the PIN file {path}: {source}", path = .path.display())]
    PinFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// Nobody said which PKCS#11 library.
    #[error(
        "no PKCS#11 library is named: add ?module-path=/path/to/library.so to the key's URI ({here})"
    )]
    NoModule {
        /// What is installed here, or what to install.
        here: String,
    },
    /// The PKCS#11 library is not there, or does not load.
    #[error("the PKCS#11 library {path} does not load: {fault}; {install}", path = .path.display())]
    Module {
        /// The library.
        path: PathBuf,
        /// What the loader or the library said.
        fault: String,
        /// What to install or look at.
        install: String,
    },
    /// No token matches.
    #[error("no token matches {wanted} in {module}: there {found}", module = .module.display())]
    NoToken {
        /// The attributes asked for.
        wanted: String,
        /// The library asked.
        module: PathBuf,
        /// The tokens that are there.
        found: String,
    },
    /// More than one token matches.
    #[error("more than one token matches {wanted}: {found}; add serial= or slot-id=")]
    ManyTokens {
        /// The attributes asked for.
        wanted: String,
        /// The tokens that match.
        found: String,
    },
    /// No object matches.
    #[error("no {what} matches {wanted} in token {token}: there {found}")]
    NoObject {
        /// Key or certificate.
        what: &'static str,
        /// The attributes asked for.
        wanted: String,
        /// The token's label.
        token: String,
        /// The labels that are there.
        found: String,
    },
    /// More than one object matches.
    #[error("{count} {what}s match {wanted} in token {token}: add id= or object=")]
    ManyObjects {
        /// Key or certificate.
        what: &'static str,
        /// The attributes asked for.
        wanted: String,
        /// The token's label.
        token: String,
        /// How many.
        count: usize,
    },
    /// A new key would have the label of one that is there.
    #[error(
        "token {token} already has a key labelled {label}: choose another label, or delete it first"
    )]
    Exists {
        /// The token's label.
        token: String,
        /// The key's label.
        label: String,
    },
    /// The token wants a PIN and none was given.
    #[error("token {token} wants a PIN, and none was found: looked at {places}")]
    NoPin {
        /// The token's label.
        token: String,
        /// Where was looked.
        places: String,
    },
    /// The token said no. It is not asked again with the same PIN.
    #[error(
        "wrong PIN for token {token}{note}: it is not tried again by itself, so that the token does not lock; \
         correct the PIN, then restart or reload"
    )]
    WrongPin {
        /// The token's label.
        token: String,
        /// How near it is to locking, as far as the token says.
        note: &'static str,
    },
    /// Too many wrong PINs.
    #[error(
        "the PIN of token {token} is locked after too many wrong tries: its security officer can set a new one \
         (pkcs11-tool --module {module} --login --login-type so --init-pin); a TPM also unlocks after its lockout time",
        module = .module.display()
    )]
    PinLocked {
        /// The token's label.
        token: String,
        /// The library it is in.
        module: PathBuf,
    },
    /// One try is left, and this program has not seen the PIN work.
    #[error(
        "token {token} has one PIN try left before it locks, and it is not spent by a program: log in once by hand \
         (pkcs11-tool --module {module} --login --list-objects), then restart",
        module = .module.display()
    )]
    LastTry {
        /// The token's label.
        token: String,
        /// The library it is in.
        module: PathBuf,
    },
    /// No user PIN was ever set.
    #[error(
        "token {token} is not ready: its user PIN was never set (initialise it again, or C_InitPIN)"
    )]
    PinNotSet {
        /// The token's label.
        token: String,
    },
    /// No room for another object.
    #[error(
        "token {token} does not take another object: it is full, or its store cannot be written; delete keys or \
         certificates that are no longer used ({source})"
    )]
    Full {
        /// The token's label.
        token: String,
        /// What the library said.
        source: cryptoki::error::Error,
    },
    /// The token went away, and was not there again when asked once more.
    #[error("token {token} went away during {what}: {source}")]
    Lost {
        /// The token's label.
        token: String,
        /// What was being done.
        what: &'static str,
        /// What the library said.
        source: cryptoki::error::Error,
    },
    /// The token refused an operation.
    #[error("token {token} refused {what}: {source}")]
    Token {
        /// The token's label.
        token: String,
        /// What was being done.
        what: &'static str,
        /// What the library said.
        source: cryptoki::error::Error,
    },
    /// The token made a key that could leave it. The key was deleted again.
    #[error(
        "token {token} made a key that is {fault}: it was deleted again, because a key must not be able to leave its token"
    )]
    Leaky {
        /// The token's label.
        token: String,
        /// Which attribute is wrong.
        fault: &'static str,
    },
    /// An initialised token would be erased.
    #[error("token {token} is already initialised: to erase it with all its keys, say so")]
    Initialised {
        /// The token's label.
        token: String,
    },
    /// The queue to the token is full, or the token does not answer.
    #[error("the token did not finish {what} within {limit:?}")]
    Slow {
        /// What was being done.
        what: &'static str,
        /// How long was waited.
        limit: Duration,
    },
    /// The thread that talks to the token ended.
    #[error("the thread of the PKCS#11 library {module} ended", module = .module.display())]
    Stopped {
        /// The library.
        module: PathBuf,
    },
    /// One way to use a token's key in OpenSSL is not there.
    #[error("{why}")]
    Backend {
        /// What is missing, and what to install.
        why: String,
    },
    /// OpenSSL refused something.
    #[error("{what} failed in OpenSSL: {source}")]
    OpenSsl {
        /// What was being done.
        what: &'static str,
        /// What it said.
        source: openssl::error::ErrorStack,
    },
    /// The certificate is for another key.
    #[error("the certificate of {subject} is for another key than {key}: it is not stored")]
    Mismatch {
        /// The certificate's subject.
        subject: String,
        /// The key.
        key: String,
    },
    /// A subject, name or extension for a certificate request cannot be used.
    #[error("in the certificate request, {what}: {fault}")]
    Request {
        /// Which part.
        what: String,
        /// What is wrong.
        fault: &'static str,
    },
    /// A sealed secret cannot be opened.
    #[error("the sealed secret {0}")]
    Sealed(&'static str),
}

impl KeyError {
    pub(crate) fn file(path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::File {
            path: path.into(),
            source,
        }
    }

    pub(crate) fn openssl(what: &'static str) -> impl FnOnce(openssl::error::ErrorStack) -> Self {
        move |source| Self::OpenSsl { what, source }
    }

    /// Whether trying again later may succeed with nothing changed by a person: the token is away, busy, or slow.
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            Self::Lost { .. } | Self::NoToken { .. } | Self::Slow { .. } | Self::Token { .. }
        )
    }
}
