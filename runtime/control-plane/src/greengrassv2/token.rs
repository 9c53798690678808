//! Client tokens: a request that is sent again with the token of an earlier one gets the answer of that one.

use super::names::{Kind, conflict};
use crate::http::{ApiError, Timestamp, validate};
use openssl::sha::sha256;
use rusqlite::{OptionalExtension, Transaction};
use serde::{Serialize, de::DeserializeOwned};
use std::time::Duration;

/// How long an answer is remembered.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// One request with its token.
#[derive(Clone, Debug)]
pub struct Token {
    operation: &'static str,
    token: Option<String>,
    request: String,
}

impl Token {
    /// Of a request; `parts` is all that decides what it does.
    pub fn new(
        operation: &'static str,
        token: Option<String>,
        parts: &impl Serialize,
    ) -> Result<Self, ApiError> {
        if let Some(token) = &token {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            validate::name("clientToken", token, 1..=64, allowed, "[A-Za-z0-9_-]+")?;
        }
        let request = crate::http::sigv4::hex(&sha256(&serde_json::to_vec(parts)?));
        Ok(Self {
            operation,
            token,
            request,
        })
    }

    /// The answer of an earlier request with this token.
    pub fn answered<T: DeserializeOwned>(
        &self,
        t: &Transaction<'_>,
    ) -> Result<Option<T>, ApiError> {
        let Some(token) = &self.token else {
            return Ok(None);
        };
        let sql = "SELECT request, answer FROM gg_token WHERE operation = ?1 AND token = ?2 AND created > ?3";
        let since = Timestamp::now().minus(REMEMBERED);
        let found: Option<(String, String)> = t
            .prepare_cached(sql)?
            .query_row((self.operation, token, since), |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        match found {
            None => Ok(None),
            Some((request, answer)) if request == self.request => {
                Ok(Some(serde_json::from_str(&answer)?))
            }
            Some(_) => Err(conflict(
                Kind::Resource,
                token,
                format!(
                    "The client token {token} was used for another {} request",
                    self.operation
                ),
            )),
        }
    }

    /// Remembers an answer.
    pub fn keep(&self, t: &Transaction<'_>, answer: &impl Serialize) -> Result<(), ApiError> {
        let Some(token) = &self.token else {
            return Ok(());
        };
        let now = Timestamp::now();
        t.prepare_cached("DELETE FROM gg_token WHERE created <= ?1")?
            .execute([now.minus(REMEMBERED)])?;
        let sql = "INSERT OR REPLACE INTO gg_token (operation, token, request, answer, created) VALUES (?1, ?2, ?3, ?4, ?5)";
        let answer = serde_json::to_string(answer)?;
        t.prepare_cached(sql)?
            .execute((self.operation, token, &self.request, answer, now))?;
        Ok(())
    }
}
