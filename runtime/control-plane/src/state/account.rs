//! The one account that this control plane is: its number, its region, its first user.

use super::{
    Settings,
    users::{self, AccessKey},
};
use crate::http::{Secret, Timestamp};
use anyhow::{Result, bail};
use openssl::rand::rand_bytes;
use rusqlite::OptionalExtension;
use std::fmt;
use store::{Database, Schema, StoreError};

/// Who may sign, and with which keys.
pub const SCHEMA: Schema = Schema {
    name: "account",
    migrations: &["
        CREATE TABLE account_self (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            id TEXT NOT NULL,
            region TEXT NOT NULL,
            page_key BLOB NOT NULL,
            link_key_id TEXT NOT NULL,
            link_secret TEXT NOT NULL,
            created INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE account_user (
            name TEXT PRIMARY KEY NOT NULL,
            user_id TEXT NOT NULL,
            password TEXT,
            created INTEGER NOT NULL
        ) WITHOUT ROWID, STRICT;
        CREATE TABLE account_key (
            access_key_id TEXT PRIMARY KEY NOT NULL,
            secret TEXT NOT NULL,
            user TEXT NOT NULL REFERENCES account_user (name) ON DELETE CASCADE,
            created INTEGER NOT NULL
        ) WITHOUT ROWID, STRICT;
        CREATE INDEX account_key_user ON account_key (user);
        CREATE TABLE account_session (
            access_key_id TEXT PRIMARY KEY NOT NULL,
            secret TEXT NOT NULL,
            token TEXT NOT NULL,
            role TEXT NOT NULL,
            role_id TEXT NOT NULL,
            session TEXT NOT NULL,
            policy TEXT,
            expires INTEGER NOT NULL
        ) WITHOUT ROWID, STRICT;
        CREATE INDEX account_session_expires ON account_session (expires);
    "],
};

/// The account. Decided by the first start, never changed.
#[derive(Clone)]
pub struct Account {
    /// 12 digits.
    pub id: String,
    /// For example `us-east-1`.
    pub region: String,
    pub(crate) page_key: [u8; 32],
    /// Signs the links that this program gives out; may read objects and nothing else.
    pub(crate) link_key: AccessKey,
    /// Whether this start made it.
    pub new: bool,
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Account({}, {})", self.id, self.region)
    }
}

impl Account {
    pub(super) fn open(database: &Database, settings: &Settings) -> Result<Self> {
        let found = database.read_blocking(|t| {
            let sql = "SELECT id, region, page_key, link_key_id, link_secret FROM account_self";
            let row = t.query_row(sql, [], |row| {
                Ok(Self {
                    id: row.get(0)?,
                    region: row.get(1)?,
                    page_key: row.get(2)?,
                    link_key: AccessKey {
                        access_key_id: row.get(3)?,
                        secret_access_key: Secret::new(row.get::<_, String>(4)?),
                    },
                    new: false,
                })
            });
            Ok::<_, StoreError>(row.optional()?)
        })?;
        let Some(account) = found else {
            return Self::create(database, settings);
        };
        // ARNs that devices and people hold have both in them.
        for (what, wanted, is) in [
            ("account", &settings.account, &account.id),
            ("region", &settings.region, &account.region),
        ] {
            if let Some(wanted) = wanted
                && wanted != is
            {
                bail!(
                    "this data folder is of {what} {is}, not {wanted}: it was decided by its first start"
                );
            }
        }
        Ok(account)
    }

    fn create(database: &Database, settings: &Settings) -> Result<Self> {
        let mut page_key = [0; 32];
        rand_bytes(&mut page_key)?;
        let id = match &settings.account {
            Some(id) if id.len() == 12 && id.bytes().all(|b| b.is_ascii_digit()) => id.clone(),
            Some(id) => bail!("an account is 12 digits, not '{id}'"),
            None => random_account()?,
        };
        let region = settings
            .region
            .clone()
            .unwrap_or_else(|| "us-east-1".into());
        let usable = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if region.is_empty() || !region.chars().all(usable) {
            bail!("a region has lower-case letters, digits and dashes, not '{region}'");
        }
        let account = Self {
            id,
            region,
            page_key,
            link_key: AccessKey {
                access_key_id: users::identifier("AKIA")?,
                secret_access_key: users::secret()?,
            },
            new: true,
        };
        let row = account.clone();
        database.write_blocking(move |t| {
            t.execute(
                "INSERT INTO account_self (one, id, region, page_key, link_key_id, link_secret, created)
                 VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)",
                (
                    row.id,
                    row.region,
                    row.page_key,
                    row.link_key.access_key_id,
                    row.link_key.secret_access_key.reveal(),
                    Timestamp::now(),
                ),
            )?;
            users::add(t, users::FIRST, None)?;
            Ok::<_, users::UserError>(())
        })?;
        Ok(account)
    }

    /// `arn:aws:<service>:<region>:<account>:<resource>`.
    pub fn arn(&self, service: &str, resource: &str) -> String {
        format!("arn:aws:{service}:{}:{}:{resource}", self.region, self.id)
    }
}

/// 12 digits of which the first is no zero, since spreadsheets eat those.
fn random_account() -> Result<String> {
    let mut bytes = [0; 12];
    rand_bytes(&mut bytes)?;
    let digits = bytes.iter().enumerate();
    Ok(digits
        .map(|(i, b)| char::from(b'0' + if i == 0 { 1 + b % 9 } else { b % 10 }))
        .collect())
}
