//! Why configuration could not be changed or read.

use crate::pointer_of;
use store::StoreError;

/// Why an operation does not fit the tree. The caller's fault, always.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// Nested beyond [`crate::MAX_DEPTH`].
    #[error(
        "configuration at {}: nested too deep, {} levels are allowed",
        pointer_of(path),
        crate::MAX_DEPTH
    )]
    TooDeep {
        /// Where.
        path: Vec<String>,
    },
    /// A key beyond [`crate::MAX_KEY`].
    #[error("configuration under {}: a key is longer than {} bytes", pointer_of(&path[..path.len().saturating_sub(1)]), crate::MAX_KEY)]
    KeyTooLong {
        /// Where; its last key is the long one, or one before it.
        path: Vec<String>,
    },
    /// A value, a component's configuration or the whole tree would be too large.
    #[error(
        "configuration at {}: too large or nested too deep, about {limit} bytes are allowed",
        pointer_of(path)
    )]
    TooLarge {
        /// What is too large; empty: the whole tree.
        path: Vec<String>,
        /// In bytes.
        limit: usize,
    },
    /// The root of the tree holds keys, not a value.
    #[error("the root of the configuration takes an object only")]
    RootIsNoObject,
    /// A reset names something that is no JSON pointer (RFC 6901).
    #[error(
        "cannot reset {pointer:?}: a JSON pointer is empty or starts with '/', and escapes are ~0 and ~1"
    )]
    Pointer {
        /// As given.
        pointer: String,
    },
    /// A reset names an element of a list; lists are reset whole.
    #[error(
        "cannot reset {pointer:?}: {} is a list, and a list is reset as a whole only",
        pointer_of(list)
    )]
    ListElement {
        /// As given.
        pointer: String,
        /// The list.
        list: Vec<String>,
    },
}

/// Why a commit failed; the tree is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// The operation does not fit: the caller's fault.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// It could not be stored: ours.
    #[error("configuration: {0}")]
    Store(#[from] StoreError),
    /// What is stored, or a snapshot, is not a tree.
    #[error("stored configuration is damaged at {path:?}: {reason}")]
    Damaged {
        /// The row.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}
