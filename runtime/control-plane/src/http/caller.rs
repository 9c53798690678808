//! Who asks, as far as it has been proven.

use crate::{access::Policies, state::Account};

/// A proven identity.
#[derive(Clone, Debug)]
pub enum Caller {
    /// A person or a tool with long-lived keys of the account: may do everything.
    User {
        /// Name of the user.
        name: String,
        /// `AIDA…`.
        id: String,
        /// The key that signed.
        access_key_id: String,
    },
    /// Short-lived keys of a role: may do what its policies say.
    Role {
        /// Name of the role.
        name: String,
        /// `AROA…`.
        id: String,
        /// Name of the session.
        session: String,
        /// The key that signed.
        access_key_id: String,
        /// What it may do.
        policies: Policies,
    },
    /// A link that this program has given out: may read objects.
    Link {
        /// The key that signed.
        access_key_id: String,
    },
}

impl Caller {
    /// Whether it may do the action on the resource.
    pub fn may(&self, action: &str, resource: &str) -> bool {
        match self {
            Self::User { .. } => true,
            Self::Role { policies, .. } => policies.allow(action, resource),
            Self::Link { .. } => action == "s3:GetObject",
        }
    }

    /// Its ARN.
    pub fn arn(&self, account: &Account) -> String {
        match self {
            Self::User { name, .. } => format!("arn:aws:iam::{}:user/{name}", account.id),
            Self::Role { name, session, .. } => {
                format!("arn:aws:sts::{}:assumed-role/{name}/{session}", account.id)
            }
            Self::Link { .. } => format!("arn:aws:iam::{}:root", account.id),
        }
    }

    /// The unique id that STS reports.
    pub fn user_id(&self) -> String {
        match self {
            Self::User { id, .. } => id.clone(),
            Self::Role { id, session, .. } => format!("{id}:{session}"),
            Self::Link { access_key_id } => access_key_id.clone(),
        }
    }

    /// The key that signed; for the log.
    pub fn access_key_id(&self) -> &str {
        match self {
            Self::User { access_key_id, .. }
            | Self::Role { access_key_id, .. }
            | Self::Link { access_key_id } => access_key_id,
        }
    }
}
