//! From an access key id to who holds it, and short-lived keys for roles.

use super::{State, users};
use crate::{
    access::{Document, Policies},
    http::{ApiError, Caller, Secret, Timestamp},
    iam,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::StatusCode;
use openssl::{memcmp, rand::rand_bytes};
use rusqlite::{OptionalExtension, Transaction};
use std::time::Duration;
use store::{Database, StoreError};

/// A key as it is kept: what verifies a signature, and whom it proves.
#[derive(Debug)]
pub struct Key {
    /// The half that signs.
    pub secret: Secret,
    /// Who signs with it.
    pub caller: Caller,
    token: Option<Secret>,
    expires: Option<Timestamp>,
}

/// How a session token stands to its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// All is well.
    Good,
    /// Another token than was issued with the key, or one with a key that has none.
    WrongToken,
    /// The keys are over.
    Expired,
}

impl Key {
    /// Whether the token that came with the key is its own, and the key still good.
    pub fn standing(&self, token: Option<&str>, now: Timestamp) -> Standing {
        let same = match (&self.token, token) {
            (None, None) => true,
            (Some(own), Some(token)) => {
                let (own, token) = (own.reveal().as_bytes(), token.as_bytes());
                own.len() == token.len() && memcmp::eq(own, token)
            }
            _ => false,
        };
        match self.expires {
            _ if !same => Standing::WrongToken,
            Some(expires) if expires <= now => Standing::Expired,
            _ => Standing::Good,
        }
    }
}

/// The key of an id.
pub async fn find(database: &Database, access_key_id: &str) -> Result<Option<Key>, StoreError> {
    let id = access_key_id.to_owned();
    database
        .read(move |t| match id.get(..4) {
            Some("AKIA") => of_user(t, id),
            Some("ASIA") => of_session(t, id),
            _ => Ok(None),
        })
        .await
}

fn of_user(t: &Transaction<'_>, access_key_id: String) -> Result<Option<Key>, StoreError> {
    let sql = "SELECT k.secret, u.name, u.user_id FROM account_key k JOIN account_user u ON u.name = k.user
               WHERE k.access_key_id = ?1";
    let mut statement = t.prepare_cached(sql)?;
    let found = statement.query_row([&access_key_id], |row| {
        Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?))
    });
    let Some((secret, name, id)) = found.optional()? else {
        return of_links(t, access_key_id);
    };
    Ok(Some(Key {
        secret: Secret::new(secret),
        caller: Caller::User {
            name,
            id,
            access_key_id,
        },
        token: None,
        expires: None,
    }))
}

/// The key of the links that this program gives out.
fn of_links(t: &Transaction<'_>, access_key_id: String) -> Result<Option<Key>, StoreError> {
    let sql = "SELECT link_secret FROM account_self WHERE link_key_id = ?1";
    let found = t
        .prepare_cached(sql)?
        .query_row([&access_key_id], |row| row.get::<_, String>(0));
    Ok(found.optional()?.map(|secret| Key {
        secret: Secret::new(secret),
        caller: Caller::Link { access_key_id },
        token: None,
        expires: None,
    }))
}

fn of_session(t: &Transaction<'_>, access_key_id: String) -> Result<Option<Key>, StoreError> {
    let sql = "SELECT secret, token, role, session, policy, expires, role_id FROM account_session WHERE access_key_id = ?1";
    let mut statement = t.prepare_cached(sql)?;
    let found = statement.query_row([&access_key_id], |row| {
        Ok(Session {
            secret: Secret::new(row.get::<_, String>(0)?),
            token: Secret::new(row.get::<_, String>(1)?),
            role: row.get(2)?,
            session: row.get(3)?,
            policy: row.get(4)?,
            expires: row.get(5)?,
            role_id: row.get(6)?,
        })
    });
    let Some(session) = found.optional()? else {
        return Ok(None);
    };
    // Keys of a role that is gone are gone with it, also when there is another of its name.
    let documents = match iam::role_documents(t, &session.role)? {
        Some((id, documents)) if id == session.role_id => documents,
        _ => return Ok(None),
    };
    let policies = Policies::parse(&documents, session.policy.as_deref()).unwrap_or_else(|reason| {
        log::warn!(role = session.role.as_str(); "a policy of the role cannot be read, so it allows nothing: {reason}");
        Policies::default()
    });
    Ok(Some(Key {
        secret: session.secret,
        caller: Caller::Role {
            name: session.role,
            id: session.role_id,
            session: session.session,
            access_key_id,
            policies,
        },
        token: Some(session.token),
        expires: Some(session.expires),
    }))
}

/// A row of short-lived keys.
struct Session {
    secret: Secret,
    token: Secret,
    role: String,
    session: String,
    policy: Option<String>,
    expires: Timestamp,
    role_id: String,
}

/// Who wants to take on a role.
#[derive(Clone, Debug)]
pub enum Trusted {
    /// A caller of the account, by its ARN.
    Caller(String),
    /// An AWS service: `credentials.iot.amazonaws.com` for the credentials provider.
    Service(&'static str),
}

/// What is asked for, for [`Credentials::issue`].
#[derive(Clone, Debug)]
pub struct Request {
    /// The role's name or ARN.
    pub role: String,
    /// Names the session in ARNs and logs: 2 to 64 letters, digits and `=,.@_-`.
    pub session: String,
    /// How long the keys are good for: 15 minutes up to what the role allows.
    pub lifetime: Duration,
    /// A policy that narrows the role's.
    pub policy: Option<String>,
    /// On whose behalf: the role's trust policy must name it.
    pub trusted: Trusted,
}

/// Short-lived keys.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// `ASIA…`.
    pub access_key_id: String,
    /// The half that signs.
    pub secret_access_key: Secret,
    /// Goes with each request.
    pub session_token: Secret,
    /// When they are over.
    pub expiration: Timestamp,
    /// The role's ARN.
    pub role_arn: String,
    /// `AROA…`.
    pub role_id: String,
    /// `arn:aws:sts::…:assumed-role/<role>/<session>`.
    pub assumed_role_arn: String,
}

impl Credentials {
    /// Issues keys for a role: what signs with them may do what the role's policies allow, in S3 and everywhere else.
    pub async fn issue(state: &State, request: Request) -> Result<Self, ApiError> {
        let account = state.account.clone();
        let mut token = [0; 96];
        rand_bytes(&mut token)?;
        let (access_key_id, secret) = (users::identifier("ASIA")?, users::secret()?);
        let token = Secret::new(STANDARD.encode(token));
        let expires = Timestamp::now().plus(request.lifetime);
        state
            .database
            .write(move |t| {
                let refuse = |role: &str| {
                    ApiError::Denied(format!(
                        "User: {} is not authorized to perform: sts:AssumeRole on resource: {role}",
                        match &request.trusted {
                            Trusted::Caller(arn) => arn.as_str(),
                            Trusted::Service(name) => name,
                        }
                    ))
                };
                let Some(role) = iam::find_role(t, &request.role, &account)? else {
                    return Err(refuse(&request.role));
                };
                let root = format!("arn:aws:iam::{}:root", account.id);
                let trust = Document::parse(&role.trust).map_err(ApiError::internal)?;
                let trusted = match &request.trusted {
                    Trusted::Caller(arn) => trust.trusts("sts:AssumeRole", "AWS", &[arn, &root, &account.id]),
                    Trusted::Service(name) => trust.trusts("sts:AssumeRole", "Service", &[name]),
                };
                if !trusted {
                    return Err(refuse(&role.arn));
                }
                if request.lifetime.as_secs() > role.max_session_seconds {
                    return Err(ApiError::new(
                        StatusCode::BAD_REQUEST,
                        "ValidationError",
                        "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
                    ));
                }
                t.execute("DELETE FROM account_session WHERE expires < ?1", [Timestamp::now().millis() - FORGOTTEN])?;
                t.execute(
                    "INSERT INTO account_session (access_key_id, secret, token, role, role_id, session, policy, expires)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                    (
                        &access_key_id,
                        secret.reveal(),
                        token.reveal(),
                        &role.name,
                        &role.id,
                        &request.session,
                        &request.policy,
                        expires,
                    ),
                )?;
                Ok(Self {
                    assumed_role_arn: format!(
                        "arn:aws:sts::{}:assumed-role/{}/{}",
                        account.id, role.name, request.session
                    ),
                    access_key_id,
                    secret_access_key: secret,
                    session_token: token,
                    expiration: expires,
                    role_arn: role.arn,
                    role_id: role.id,
                })
            })
            .await
    }
}

/// Expired keys are remembered for a day, so that their holders are told that they expired.
const FORGOTTEN: i64 = 24 * 3600 * 1000;
