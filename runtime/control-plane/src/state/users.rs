//! People and tools with long-lived keys: each user has access keys for the API and may have a password for the console.

use super::password;
use crate::http::{Secret, Timestamp};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use openssl::{error::ErrorStack, rand::rand_bytes};
use rusqlite::{OptionalExtension, Transaction};
use serde::{Deserialize, Serialize};
use store::{Database, StoreError};

/// The user that the first start makes.
pub const FIRST: &str = "admin";

/// Why a change of users is refused.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// A name that IAM would not take.
    #[error("a user name has 1 to 64 letters, digits and +=,.@_-, not '{0}'")]
    Name(String),
    /// Too short a password.
    #[error("a password has at least 12 characters")]
    Password,
    /// There is one already.
    #[error("there is a user '{0}' already")]
    Exists(String),
    /// There is none.
    #[error("there is no user '{0}'")]
    Unknown(String),
    /// Nobody could get in any more.
    #[error("'{0}' is the last user: without it nobody could use this control plane")]
    Last(String),
    /// The database refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// OpenSSL refused.
    #[error("randomness or hashing: {0}")]
    OpenSsl(#[from] ErrorStack),
}

impl From<rusqlite::Error> for UserError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// A key with its secret half.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccessKey {
    /// `AKIA…`.
    pub access_key_id: String,
    /// The half that signs.
    pub secret_access_key: Secret,
}

/// A user, for listings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct User {
    /// Its name.
    pub name: String,
    /// The public halves of its keys.
    pub access_key_ids: Vec<String>,
    /// Whether it may sign in to the console.
    pub console: bool,
    /// Seconds since 1970.
    pub created: Timestamp,
}

/// Adds a user with one key. `password` is what [`hashed`] made.
pub fn add(
    t: &Transaction<'_>,
    name: &str,
    password: Option<&str>,
) -> Result<AccessKey, UserError> {
    let usable = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(usable) {
        return Err(UserError::Name(name.to_owned()));
    }
    let now = Timestamp::now();
    let added = t.execute(
        "INSERT INTO account_user (name, user_id, password, created) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        (name, identifier("AIDA")?, password, now),
    )?;
    if added == 0 {
        return Err(UserError::Exists(name.to_owned()));
    }
    let key = AccessKey {
        access_key_id: identifier("AKIA")?,
        secret_access_key: secret()?,
    };
    t.execute(
        "INSERT INTO account_key (access_key_id, secret, user, created) VALUES (?1, ?2, ?3, ?4)",
        (
            &key.access_key_id,
            key.secret_access_key.reveal(),
            name,
            now,
        ),
    )?;
    Ok(key)
}

/// Checks and hashes a new password. Takes time: not on an async thread, nor in a transaction.
pub fn hashed(password: &Secret) -> Result<String, UserError> {
    if password.reveal().chars().count() < 12 {
        return Err(UserError::Password);
    }
    Ok(password::hash(password.reveal())?)
}

/// Gives a user another console password, or none.
pub fn set_password(
    t: &Transaction<'_>,
    name: &str,
    hashed: Option<&str>,
) -> Result<(), UserError> {
    let sql = "UPDATE account_user SET password = ?2 WHERE name = ?1";
    match t.execute(sql, (name, hashed))? {
        0 => Err(UserError::Unknown(name.to_owned())),
        _ => Ok(()),
    }
}

/// All users, by name.
pub fn list(t: &Transaction<'_>) -> Result<Vec<User>, UserError> {
    let mut users =
        t.prepare("SELECT name, password IS NOT NULL, created FROM account_user ORDER BY name")?;
    let mut keys = t.prepare(
        "SELECT access_key_id FROM account_key WHERE user = ?1 ORDER BY created, access_key_id",
    )?;
    let rows = users.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let mut found = Vec::new();
    for row in rows {
        let (name, console, created): (String, bool, Timestamp) = row?;
        let ids = keys.query_map([&name], |row| row.get(0))?;
        found.push(User {
            access_key_ids: ids.collect::<Result<_, _>>()?,
            name,
            console,
            created,
        });
    }
    Ok(found)
}

/// Removes a user and its keys, at once.
pub fn remove(t: &Transaction<'_>, name: &str) -> Result<(), UserError> {
    if t.execute("DELETE FROM account_user WHERE name = ?1", [name])? == 0 {
        return Err(UserError::Unknown(name.to_owned()));
    }
    let left: i64 = t.query_row("SELECT count(*) FROM account_user", [], |row| row.get(0))?;
    if left == 0 {
        return Err(UserError::Last(name.to_owned()));
    }
    Ok(())
}

/// The oldest key of a user, with its secret half.
pub fn key_of(t: &Transaction<'_>, name: &str) -> Result<AccessKey, UserError> {
    let sql = "SELECT access_key_id, secret FROM account_key WHERE user = ?1 ORDER BY created, access_key_id LIMIT 1";
    let key = t.query_row(sql, [name], |row| {
        Ok(AccessKey {
            access_key_id: row.get(0)?,
            secret_access_key: Secret::new(row.get::<_, String>(1)?),
        })
    });
    key.optional()?
        .ok_or_else(|| UserError::Unknown(name.to_owned()))
}

/// Whether the user exists, has a console password, and this is it. Unknown users take as long as known ones.
pub async fn signs_in(
    database: &Database,
    name: String,
    password: Secret,
) -> Result<bool, StoreError> {
    /// A hash that no password has.
    const NOBODY: &str =
        "scrypt$15$8$3$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let kept: Option<String> = database
        .read(move |t| {
            let sql = "SELECT password FROM account_user WHERE name = ?1";
            let kept: Option<Option<String>> =
                t.query_row(sql, [name], |row| row.get(0)).optional()?;
            Ok::<_, StoreError>(kept.flatten())
        })
        .await?;
    let check = move || password::verify(password.reveal(), kept.as_deref().unwrap_or(NOBODY));
    Ok(tokio::task::spawn_blocking(check).await.unwrap_or(false))
}

/// What a session of the console depends on: changes when the user's password does; `None` when the user may not sign in.
pub async fn console_standing(
    database: &Database,
    name: &str,
) -> Result<Option<String>, StoreError> {
    let name = name.to_owned();
    let kept: Option<Option<String>> = database
        .read(move |t| {
            let sql = "SELECT password FROM account_user WHERE name = ?1";
            let kept = t.prepare_cached(sql)?.query_row([name], |row| row.get(0));
            Ok::<_, StoreError>(kept.optional()?)
        })
        .await?;
    // The digest of the hash: what is kept with sessions should be of no use to guess with.
    let digest = |kept: String| crate::http::sigv4::payload_hash(kept.as_bytes());
    Ok(kept.flatten().map(digest))
}

/// `AKIA` and 16 characters of base32.
pub fn identifier(prefix: &str) -> Result<String, ErrorStack> {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut bytes = [0; 16];
    rand_bytes(&mut bytes)?;
    let letters = bytes
        .iter()
        .map(|b| char::from(ALPHABET[usize::from(b % 32)]));
    Ok(prefix.chars().chain(letters).collect())
}

/// 40 characters that sign.
pub fn secret() -> Result<Secret, ErrorStack> {
    let mut bytes = [0; 30];
    rand_bytes(&mut bytes)?;
    Ok(Secret::new(STANDARD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::account::SCHEMA;

    fn database() -> Database {
        Database::in_memory(&[SCHEMA]).unwrap()
    }

    #[test]
    fn a_user_has_a_key_until_it_is_removed() {
        let database = database();
        database
            .write_blocking(|t| {
                let key = add(t, "anna", None)?;
                assert!(key.access_key_id.starts_with("AKIA") && key.access_key_id.len() == 20);
                assert_eq!(key.secret_access_key.reveal().len(), 40);
                assert!(matches!(add(t, "anna", None), Err(UserError::Exists(_))));
                assert!(matches!(add(t, "a b", None), Err(UserError::Name(_))));
                add(t, "ben", Some("x"))?;
                let names: Vec<(String, bool)> =
                    list(t)?.into_iter().map(|u| (u.name, u.console)).collect();
                assert_eq!(
                    names,
                    [("anna".to_owned(), false), ("ben".to_owned(), true)]
                );
                assert_eq!(key_of(t, "anna")?.access_key_id, key.access_key_id);
                remove(t, "anna")?;
                assert!(matches!(key_of(t, "anna"), Err(UserError::Unknown(_))));
                Ok::<_, UserError>(())
            })
            .unwrap();
    }

    #[test]
    fn the_last_user_stays() {
        let database = database();
        let removed = database.write_blocking(|t| {
            add(t, "anna", None)?;
            remove(t, "anna")
        });
        assert!(matches!(removed, Err(UserError::Last(_))));
    }

    #[tokio::test]
    async fn signing_in_takes_the_right_user_and_password() {
        let database = database();
        let password = hashed(&Secret::new("a long password")).unwrap();
        database
            .write(move |t| {
                add(t, "anna", Some(&password))?;
                add(t, "ben", None)?;
                Ok::<_, UserError>(())
            })
            .await
            .unwrap();
        for (name, password, good) in [
            ("anna", "a long password", true),
            ("anna", "another password", false),
            ("ben", "a long password", false),
            ("carl", "a long password", false),
        ] {
            let signed_in = signs_in(&database, name.into(), Secret::new(password))
                .await
                .unwrap();
            assert_eq!(signed_in, good, "{name}");
        }
        assert!(matches!(
            hashed(&Secret::new("short")),
            Err(UserError::Password)
        ));
    }
}
