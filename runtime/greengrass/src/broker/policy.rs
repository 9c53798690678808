//! The file's users and rules as the engine's policy. A reload swaps them under live sessions.
//!
//! A client is let in by a certificate, or by user name and password, or without either where the file allows it. A user name
//! without a password beside a certificate is a label (the AWS SDKs put metrics there) and proves nothing, so it may not be the
//! name of a user.

use super::{
    config::{Anonymous, Config},
    password::Hash,
    revoked::Revoked,
    rules::{Rules, Who},
};
use async_trait::async_trait;
use mqtt::{
    Certificate, Identity, Policy, QoS,
    policy::{ConnectRefusal, ConnectRequest},
};
use openssl::{rand::rand_bytes, sha::Sha256};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};
use tokio::sync::{Semaphore, watch};
use zeroize::Zeroizing;

/// Passwords compared at a time: each takes 16 MiB and a core for a while.
const COMPARING: usize = 1;
/// Clients that may wait for that; further ones are told to come back.
const WAITING: usize = 64;
/// Passwords that were right are remembered as keyed hashes, so that reconnecting costs nothing.
const REMEMBERED: usize = 10_000;
/// Sessions of changed users are asked to prove themselves anew when they are checked within this time.
const RECENT: Duration = Duration::from_secs(60);

/// What can be swapped.
#[derive(Debug, Default)]
struct State {
    anonymous: Anonymous,
    users: HashMap<String, Hash>,
    rules: Rules,
    revoked: Arc<Revoked>,
    /// Users that were added, removed or got another password, and when.
    changed: HashMap<String, Instant>,
}

impl State {
    fn new(config: &mut Config, revoked: Arc<Revoked>) -> Self {
        Self {
            anonymous: config.anonymous,
            users: std::mem::take(&mut config.users),
            rules: std::mem::take(&mut config.rules),
            revoked,
            changed: HashMap::new(),
        }
    }

    /// Whether a client needs neither certificate nor password.
    fn lets_in_anyway(&self, who: &Identity) -> bool {
        match self.anonymous {
            Anonymous::Never => false,
            Anonymous::Loopback => who
                .address
                .is_none_or(|address| address.ip().to_canonical().is_loopback()),
            Anonymous::Always => true,
        }
    }

    fn who<'a>(&self, who: &'a Identity) -> Who<'a> {
        let user = who.username.as_deref();
        Who {
            client_id: &who.client_id,
            user: user.filter(|user| self.users.contains_key(*user)),
            common_name: (who.certificate.as_ref()).and_then(|shown| shown.common_name.as_deref()),
        }
    }

    fn is_revoked(&self, certificate: &Certificate) -> bool {
        !self.revoked.is_empty()
            && (self.revoked).contains(certificate.x509(), &certificate.fingerprint)
    }
}

/// See the head of the file.
pub struct FilePolicy {
    state: RwLock<Arc<State>>,
    revision: watch::Sender<u32>,
    comparing: Arc<Semaphore>,
    waiting: Semaphore,
    remembered: Mutex<HashSet<[u8; 32]>>,
    /// Keys the remembered hashes; never leaves this process.
    secret: Zeroizing<[u8; 32]>,
}

impl FilePolicy {
    /// A policy by this file, whose users and rules it takes.
    pub fn new(config: &mut Config, revoked: Arc<Revoked>) -> anyhow::Result<Arc<Self>> {
        let mut secret = Zeroizing::new([0; 32]);
        rand_bytes(&mut *secret)?;
        Ok(Arc::new(Self {
            state: RwLock::new(Arc::new(State::new(config, revoked))),
            revision: watch::channel(0).0,
            comparing: Arc::new(Semaphore::new(COMPARING)),
            waiting: Semaphore::new(WAITING),
            remembered: Mutex::default(),
            secret,
        }))
    }

    /// Takes the file's users and rules from now on; live sessions are checked again.
    pub fn replace(&self, config: &mut Config, revoked: Arc<Revoked>) {
        let now = Instant::now();
        let old = self.state();
        let mut new = State::new(config, revoked);
        new.changed.clone_from(&old.changed);
        (new.changed).retain(|_, at| now.saturating_duration_since(*at) < RECENT);
        for name in old.users.keys().chain(new.users.keys()) {
            if old.users.get(name) != new.users.get(name) {
                new.changed.insert(name.clone(), now);
            }
        }
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
        self.remembered().clear();
        (self.revision).send_modify(|revision| *revision = revision.wrapping_add(1));
    }

    fn state(&self) -> Arc<State> {
        (self.state.read().unwrap_or_else(PoisonError::into_inner)).clone()
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, HashSet<[u8; 32]>> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// What is remembered of a right password: worth nothing without this process's secret.
    fn mark(&self, user: &str, password: &[u8]) -> [u8; 32] {
        let mut sha = Sha256::new();
        sha.update(&*self.secret);
        sha.update(&user.len().to_be_bytes());
        sha.update(user.as_bytes());
        sha.update(password);
        sha.finish()
    }

    /// Whether the password is this user's. Unknown users take as long as known ones.
    async fn check(
        &self,
        state: &State,
        user: &str,
        password: &[u8],
    ) -> Result<(), ConnectRefusal> {
        let known = state.users.get(user);
        let mark = self.mark(user, password);
        if known.is_some() && self.remembered().contains(&mark) {
            return Ok(());
        }
        let waiting = self.waiting.try_acquire();
        let _waiting = waiting.map_err(|_| ConnectRefusal::Busy)?;
        let permit = self.comparing.clone().acquire_owned().await;
        let hash = known.cloned().unwrap_or_else(Hash::nobody);
        let password = Zeroizing::new(password.to_vec());
        let right = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            hash.matches(&password)
        });
        let right = right.await.unwrap_or(false);
        if !right {
            return Err(ConnectRefusal::BadCredentials);
        }
        // Unless the users have been replaced meanwhile.
        if self.state().users.get(user) == known {
            let mut remembered = self.remembered();
            if remembered.len() >= REMEMBERED {
                remembered.clear();
            }
            remembered.insert(mark);
        }
        Ok(())
    }
}

#[async_trait]
impl Policy for FilePolicy {
    async fn connect(&self, request: ConnectRequest<'_>) -> Result<(), ConnectRefusal> {
        let state = self.state();
        let identity = request.identity;
        match (identity.username.as_deref(), request.password) {
            (Some(user), Some(password)) => self.check(&state, user, password).await?,
            (Some(user), None) if state.users.contains_key(user) => {
                return Err(ConnectRefusal::BadCredentials);
            }
            _ if identity.certificate.is_some() || state.lets_in_anyway(identity) => {}
            _ => return Err(ConnectRefusal::NotAuthorized),
        }
        if !state.rules.may_connect(state.who(identity)) {
            return Err(ConnectRefusal::ClientIdNotAllowed);
        }
        Ok(())
    }

    fn publish(&self, who: &Identity, topic: &str, _qos: QoS, _retain: bool) -> bool {
        let state = self.state();
        state.rules.may_publish(state.who(who), topic)
    }

    fn subscribe(&self, who: &Identity, filter: &str, _qos: QoS) -> bool {
        let state = self.state();
        state.rules.may_subscribe(state.who(who), filter)
    }

    fn keep(&self, who: &Identity) -> bool {
        let state = self.state();
        let user = who.username.as_deref();
        let proven = match (user, &who.certificate) {
            (Some(user), _) if state.changed.contains_key(user) => false,
            (Some(user), _) if state.users.contains_key(user) => true,
            (_, Some(_)) => true,
            (_, None) => state.lets_in_anyway(who),
        };
        let revoked = (who.certificate.as_deref()).is_some_and(|shown| state.is_revoked(shown));
        proven && !revoked && state.rules.may_connect(state.who(who))
    }

    fn revision(&self) -> Option<watch::Receiver<u32>> {
        Some(self.revision.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use openssl::{
        ec::{EcGroup, EcKey},
        hash::MessageDigest,
        nid::Nid,
        pkey::PKey,
        x509::{X509, X509Name},
    };
    use std::path::Path;

    fn config(text: &str) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("broker.yaml");
        let listeners = "listeners: [{port: 1883}]\n";
        std::fs::write(&file, format!("{listeners}{text}")).unwrap();
        Config::read(Path::new(&file)).unwrap()
    }

    fn policy(text: &str) -> Arc<FilePolicy> {
        FilePolicy::new(&mut config(text), Arc::default()).unwrap()
    }

    fn identity(client_id: &str, user: Option<&str>) -> Identity {
        Identity {
            address: Some("192.0.2.1:4711".parse().unwrap()),
            certificate: None,
            client_id: client_id.into(),
            username: user.map(Into::into),
        }
    }

    fn with_certificate(identity: Identity, common_name: &str) -> Identity {
        let mut name = X509Name::builder().unwrap();
        (name.append_entry_by_nid(Nid::COMMONNAME, common_name)).unwrap();
        let mut x509 = X509::builder().unwrap();
        x509.set_subject_name(&name.build()).unwrap();
        let curve = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&curve).unwrap()).unwrap();
        x509.set_pubkey(&key).unwrap();
        x509.sign(&key, MessageDigest::sha256()).unwrap();
        let certificate = Certificate::from_x509(&x509.build()).unwrap();
        Identity {
            certificate: Some(Arc::new(certificate)),
            ..identity
        }
    }

    async fn connect(
        policy: &FilePolicy,
        identity: &Identity,
        password: Option<&str>,
    ) -> Result<(), ConnectRefusal> {
        let password = password.map(|p| Bytes::copy_from_slice(p.as_bytes()));
        let request = ConnectRequest {
            identity,
            password: password.as_ref(),
            will: None,
            persistent: false,
        };
        policy.connect(request).await
    }

    fn users(password: &str) -> String {
        let hash = Hash::new(password.as_bytes()).unwrap();
        format!(
            "users: [{{name: alice, password: '{hash}'}}]\n\
             rules: [{{user: alice, publish: 'a/%u/#', subscribe: 'a/#'}}, {{commonName: '*', publish: 'd/%cn'}}]\n"
        )
    }

    #[tokio::test]
    async fn a_password_is_asked_for_and_compared() {
        use ConnectRefusal::{BadCredentials, NotAuthorized};
        let policy = policy(&users("secret"));
        let alice = identity("c", Some("alice"));
        assert_eq!(connect(&policy, &alice, Some("secret")).await, Ok(()));
        // The second time from memory, and still not with another one.
        assert_eq!(connect(&policy, &alice, Some("secret")).await, Ok(()));
        assert_eq!(
            connect(&policy, &alice, Some("wrong")).await,
            Err(BadCredentials)
        );
        assert_eq!(connect(&policy, &alice, None).await, Err(BadCredentials));
        let bob = identity("c", Some("bob"));
        assert_eq!(
            connect(&policy, &bob, Some("secret")).await,
            Err(BadCredentials)
        );
        let nobody = identity("c", None);
        assert_eq!(connect(&policy, &nobody, None).await, Err(NotAuthorized));
        assert!(policy.publish(&alice, "a/alice/x", QoS::AtMostOnce, false));
        assert!(!policy.publish(&alice, "a/bob/x", QoS::AtMostOnce, false));
        assert!(policy.subscribe(&alice, "a/+/x", QoS::AtMostOnce));
    }

    #[tokio::test]
    async fn beside_a_certificate_a_name_without_password_proves_nothing() {
        let policy = policy(&users("secret"));
        let device = |user| with_certificate(identity("d", user), "device-1");
        assert_eq!(connect(&policy, &device(None), None).await, Ok(()));
        let label = device(Some("?SDK=Python&Version=1.11"));
        assert_eq!(connect(&policy, &label, None).await, Ok(()));
        assert!(policy.publish(&label, "d/device-1", QoS::AtMostOnce, false));
        let pretender = connect(&policy, &device(Some("alice")), None).await;
        assert_eq!(pretender, Err(ConnectRefusal::BadCredentials));
        let both = device(Some("alice"));
        assert_eq!(connect(&policy, &both, Some("secret")).await, Ok(()));
        assert!(policy.publish(&both, "a/alice/x", QoS::AtMostOnce, false));
    }

    #[tokio::test]
    async fn anonymous_clients_are_let_in_where_the_file_says_so() {
        let rules = "rules: [{everyone: true, publish: '#'}]\n";
        let stranger = identity("c", None);
        let local = Identity {
            address: Some("127.0.0.1:4711".parse().unwrap()),
            ..stranger.clone()
        };
        for (word, from_far, from_near) in [
            ("never", false, false),
            ("loopback", false, true),
            ("always", true, true),
        ] {
            let policy = policy(&format!("anonymous: {word}\n{rules}"));
            assert_eq!(
                connect(&policy, &stranger, None).await.is_ok(),
                from_far,
                "{word}"
            );
            assert_eq!(
                connect(&policy, &local, None).await.is_ok(),
                from_near,
                "{word}"
            );
        }
    }

    #[tokio::test]
    async fn a_reload_tells_the_engine_and_drops_those_who_lost_their_proof() {
        let policy = policy(&format!("anonymous: always\n{}", users("secret")));
        let revision = policy.revision().unwrap();
        let (alice, device) = (
            identity("c", Some("alice")),
            with_certificate(identity("d", None), "device-1"),
        );
        let stranger = identity("c", None);
        connect(&policy, &alice, Some("secret")).await.unwrap();
        for who in [&alice, &device, &stranger] {
            assert!(policy.keep(who));
        }
        policy.replace(&mut config(&users("other")), Arc::default());
        assert!(revision.has_changed().unwrap());
        assert!(!policy.keep(&alice), "another password");
        assert!(policy.keep(&device));
        assert!(!policy.keep(&stranger), "no longer anonymous");
        assert!(connect(&policy, &alice, Some("secret")).await.is_err());
        assert!(connect(&policy, &alice, Some("other")).await.is_ok());
    }
}
