//! Who is signed in. Kept in memory: a restart of the program signs everybody out.
//!
//! A session's cookie is 32 random bytes, of which only the digest is kept here. Each session has a token of its own that
//! every form carries: another site can make a browser send the cookie, but cannot know the token.

use crate::http::sigv4::hex;
use openssl::{error::ErrorStack, memcmp, rand::rand_bytes, sha::sha256};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long a session may be without a request.
const IDLE: Duration = Duration::from_secs(60 * 60);

/// How long a session lasts at most.
const LIFE: Duration = Duration::from_secs(12 * 3600);

/// Sessions at a time; the one that was used least recently makes room.
const SESSIONS: usize = 1000;

/// `__Host-` makes browsers refuse it from other hosts and without TLS.
pub fn cookie_name(encrypted: bool) -> &'static str {
    if encrypted {
        "__Host-greengrass-session"
    } else {
        "greengrass-session"
    }
}

/// The header that sets a cookie, or with an empty value takes it back.
pub fn set_cookie(name: &str, value: &str, encrypted: bool) -> String {
    let secure = if encrypted { "; Secure" } else { "" };
    let age = if value.is_empty() { "; Max-Age=0" } else { "" };
    format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict{secure}{age}")
}

/// 32 random bytes, in hexadecimal.
pub fn random() -> Result<String, ErrorStack> {
    let mut bytes = [0; 32];
    rand_bytes(&mut bytes)?;
    Ok(hex(&bytes))
}

/// Compares in a time that does not tell where the two differ.
pub fn same(a: &str, b: &str) -> bool {
    memcmp::eq(&sha256(a.as_bytes()), &sha256(b.as_bytes()))
}

/// One person's session.
#[derive(Clone)]
pub struct Session {
    /// The user.
    pub user: String,
    /// In every form.
    pub token: String,
    /// What the user's standing was when the session began; see `users::console_standing`.
    pub standing: String,
    began: Instant,
    used: Instant,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({})", self.user)
    }
}

impl Session {
    /// Whether a form carries this session's token.
    pub fn has_token(&self, token: &str) -> bool {
        same(&self.token, token)
    }

    fn over(&self, now: Instant) -> bool {
        now - self.used > IDLE || now - self.began > LIFE
    }
}

/// All sessions, by the digest of their cookie. Cheap to clone.
#[derive(Clone, Default)]
pub struct Sessions(Arc<Mutex<HashMap<[u8; 32], Session>>>);

impl Sessions {
    fn lock(&self) -> MutexGuard<'_, HashMap<[u8; 32], Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a session; its cookie.
    pub fn begin(&self, user: &str, standing: &str) -> Result<String, ErrorStack> {
        let (cookie, now) = (random()?, Instant::now());
        let session = Session {
            user: user.to_owned(),
            token: random()?,
            standing: standing.to_owned(),
            began: now,
            used: now,
        };
        let mut sessions = self.lock();
        sessions.retain(|_, session| !session.over(now));
        if sessions.len() >= SESSIONS {
            let oldest = sessions.iter().min_by_key(|(_, session)| session.used);
            if let Some(key) = oldest.map(|(key, _)| *key) {
                sessions.remove(&key);
            }
        }
        sessions.insert(sha256(cookie.as_bytes()), session);
        Ok(cookie)
    }

    /// The session of a cookie, used now.
    pub fn find(&self, cookie: &str) -> Option<Session> {
        self.find_at(cookie, Instant::now())
    }

    fn find_at(&self, cookie: &str, now: Instant) -> Option<Session> {
        let key = sha256(cookie.as_bytes());
        let mut sessions = self.lock();
        let session = sessions.get_mut(&key)?;
        if session.over(now) {
            sessions.remove(&key);
            return None;
        }
        session.used = now;
        Some(session.clone())
    }

    /// Whether a session with this token goes on; does not count as use.
    pub fn goes_on(&self, token: &str) -> bool {
        let now = Instant::now();
        self.lock()
            .values()
            .any(|session| session.has_token(token) && !session.over(now))
    }

    /// Ends a session.
    pub fn end(&self, cookie: &str) {
        self.lock().remove(&sha256(cookie.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_found_by_its_cookie_until_it_ends() {
        let sessions = Sessions::default();
        let (anna, ben) = (
            sessions.begin("anna", "").unwrap(),
            sessions.begin("ben", "").unwrap(),
        );
        assert_ne!(anna, ben);
        let found = sessions.find(&anna).unwrap();
        assert_eq!(found.user, "anna");
        assert!(found.has_token(&found.token) && !found.has_token("") && !found.has_token(&anna));
        assert!(!found.has_token(&sessions.find(&ben).unwrap().token));
        sessions.end(&anna);
        assert!(sessions.find(&anna).is_none() && sessions.find(&ben).is_some());
        assert!(!sessions.goes_on(&found.token));
    }

    #[test]
    fn a_session_ends_when_it_is_not_used_and_when_it_is_old() {
        let sessions = Sessions::default();
        let cookie = sessions.begin("anna", "").unwrap();
        let start = Instant::now();
        assert!(
            sessions
                .find_at(&cookie, start + IDLE + Duration::from_secs(1))
                .is_none()
        );
        let cookie = sessions.begin("anna", "").unwrap();
        let mut now = start;
        while now - start < LIFE {
            assert!(sessions.find_at(&cookie, now).is_some());
            now += IDLE / 2;
        }
        assert!(
            sessions
                .find_at(&cookie, start + LIFE + Duration::from_secs(60))
                .is_none()
        );
    }

    #[test]
    fn the_cookie_is_out_of_reach_of_scripts_and_other_sites() {
        let plain = set_cookie(cookie_name(false), "x", false);
        assert!(plain.contains("HttpOnly") && plain.contains("SameSite=Strict"));
        let secret = set_cookie(cookie_name(true), "x", true);
        assert!(
            secret.starts_with("__Host-")
                && secret.contains("; Secure")
                && secret.contains("Path=/;")
        );
        assert!(set_cookie("x", "", false).contains("Max-Age=0"));
    }

    #[test]
    fn there_are_only_so_many_sessions() {
        let sessions = Sessions::default();
        let first = sessions.begin("anna", "").unwrap();
        for _ in 0..SESSIONS {
            sessions.begin("ben", "").unwrap();
        }
        assert!(sessions.find(&first).is_none());
        assert_eq!(sessions.lock().len(), SESSIONS);
    }
}
