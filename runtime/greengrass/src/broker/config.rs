//! The broker's configuration file: YAML or JSON, see `sample.yaml` beside this file for every key with its meaning.

use super::{
    limits::{Persistence, limits, persistence, seconds},
    password::Hash,
    reader::{Field, Keys, Problems},
    rules::{Rule, Rules, Template},
};
use anyhow::Context;
use mqtt::{
    engine,
    front::{ClientCertificates, Limits, MinimumVersion},
    topic,
};
use std::{
    collections::HashMap,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

/// Everything the file says, checked as far as one file can be.
#[derive(Debug)]
pub struct Config {
    /// Where to listen; at least one.
    pub listeners: Vec<Listener>,
    /// Certificates; there when a listener needs them.
    pub tls: Option<Tls>,
    /// Who is let in without certificate and password.
    pub anonymous: Anonymous,
    /// Password hashes by user name.
    pub users: HashMap<String, Hash>,
    /// Who may do what.
    pub rules: Rules,
    /// Caps on connections and handshakes.
    pub front: Limits,
    /// Limits of sessions and queues.
    pub engine: engine::Options,
    /// Where sessions, queues and retained messages are kept; `None`: in memory alone.
    pub persistence: Option<Persistence>,
    /// Threads that serve connections.
    pub threads: usize,
    /// Levels and such of logging, as in the nucleus's configuration.
    pub logging: serde_json::Value,
    /// How often counters are logged; `None`: only when SIGUSR1 asks.
    pub metrics_every: Option<Duration>,
}

/// One address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where.
    pub address: SocketAddr,
    /// What is spoken there.
    pub protocol: Protocol,
}

/// By the schemes of URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Mqtt,
    /// TLS.
    Mqtts,
    /// WebSocket.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

impl Protocol {
    /// Whether it needs certificates.
    pub fn secure(self) -> bool {
        matches!(self, Self::Mqtts | Self::Wss)
    }

    /// As in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Mqtts => "mqtts",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }
}

/// Files with certificates and keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The server's chain.
    pub certificate: PathBuf,
    /// The server's key.
    pub key: Key,
    /// Whom to trust with client certificates.
    pub authorities: Vec<PathBuf>,
    /// Whether clients show one.
    pub client_certificates: ClientCertificates,
    /// Certificate revocation lists, or lists of fingerprints.
    pub revoked: Vec<PathBuf>,
    /// The oldest version spoken.
    pub minimum_version: MinimumVersion,
    /// Of TLS 1.2.
    pub ciphers: Option<String>,
}

/// Where the server's key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// In a file.
    File(PathBuf),
    /// In a token, by its RFC 7512 URI.
    Token(String),
}

/// Who is let in without certificate and password.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anonymous {
    /// Nobody.
    #[default]
    Never,
    /// Clients on this machine.
    Loopback,
    /// Everybody.
    Always,
}

impl Config {
    /// Reads and checks the file and the password file it names.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Self::parse(&text, file)
    }

    fn parse(text: &str, file: &Path) -> anyhow::Result<Self> {
        let root = model::recipe::tree(text, &file.display().to_string())?;
        let problems = Problems::default();
        let folder = file.parent().unwrap_or(Path::new(""));
        let config = Field::root(&root, &problems)
            .map()
            .map(|keys| read(keys, folder));
        problems.finish(file)?;
        config.context("the configuration is no mapping")
    }
}

fn read(mut keys: Keys<'_>, folder: &Path) -> Config {
    let listeners = keys.need("listeners", "say at least one, such as '- port: 1883'");
    let listeners: Vec<Listener> = listeners.map_or_else(Vec::new, |field| {
        if field.list().is_empty() {
            field.wrong("expected at least one listener");
        }
        field.list().iter().filter_map(listener).collect()
    });
    let tls = keys.get("tls");
    if tls.is_none() && listeners.iter().any(|l| l.protocol.secure()) {
        keys.wrong("'tls' is missing: listeners of 'mqtts' and 'wss' need certificates");
    }
    let anonymous = keys.get("anonymous").and_then(|field| {
        field.word(&[
            ("never", Anonymous::Never),
            ("loopback", Anonymous::Loopback),
            ("always", Anonymous::Always),
        ])
    });
    let mut users = HashMap::new();
    if let Some(field) = keys.get("passwordFile") {
        password_file(&field, folder, &mut users);
    }
    for field in keys.get("users").iter().flat_map(Field::list) {
        user(&field, &mut users);
    }
    let wanted = "what none of them allows is denied; \
        '[{everyone: true, publish: \"#\", subscribe: \"#\"}]' allows everything but topics that start with $";
    let rules = keys.need("rules", wanted).map_or_else(Vec::new, |field| {
        field
            .list()
            .iter()
            .filter_map(|f| rule(f, &users))
            .collect()
    });
    let (front, engine) = limits(keys.get("limits"));
    let config = Config {
        listeners,
        tls: tls.and_then(|field| read_tls(&field, folder)),
        anonymous: anonymous.unwrap_or_default(),
        users,
        rules: Rules(rules),
        front,
        engine,
        persistence: keys
            .get("persistence")
            .and_then(|f| persistence(&f, folder)),
        threads: keys
            .get("threads")
            .and_then(|f| f.number(1..=64))
            .unwrap_or(1),
        logging: logging(keys.get("log")),
        metrics_every: keys.get("metricsSeconds").and_then(|f| seconds(&f)),
    };
    keys.finish();
    config
}

fn listener(field: &Field<'_>) -> Option<Listener> {
    let mut keys = field.map()?;
    let port = keys.need("port", "1883 for mqtt and 8883 for mqtts are usual");
    let port = port.and_then(|field| field.number(0..=u16::MAX));
    let address = keys.get("address").map(|field| {
        let address = field.text()?.parse::<IpAddr>().ok();
        if address.is_none() {
            field.wrong("expected an IP address, such as 127.0.0.1, 0.0.0.0 or '::'");
        }
        address
    });
    let protocol = keys.get("protocol").map(|field| {
        field.word(&[
            ("mqtt", Protocol::Mqtt),
            ("mqtts", Protocol::Mqtts),
            ("ws", Protocol::Ws),
            ("wss", Protocol::Wss),
        ])
    });
    keys.finish();
    let address = address.unwrap_or(Some(Ipv4Addr::LOCALHOST.into()))?;
    Some(Listener {
        address: SocketAddr::new(address, port?),
        protocol: protocol.unwrap_or(Some(Protocol::Mqtt))?,
    })
}

fn read_tls(field: &Field<'_>, folder: &Path) -> Option<Tls> {
    let mut keys = field.map()?;
    let certificate = keys.need("certificate", "a PEM file with the server's chain");
    let certificate = certificate.and_then(|f| f.path(folder));
    let key = keys.need("key", "a PEM file, or the pkcs11: URI of a key in a token");
    let key = key.and_then(|field| {
        let text = field.some_text()?;
        Some(if text.starts_with("pkcs11:") {
            Key::Token(text.to_owned())
        } else {
            Key::File(folder.join(text.strip_prefix("file:").unwrap_or(text)))
        })
    });
    let mut files = |key| {
        let list = keys.get(key).map_or_else(Vec::new, |field| field.list());
        list.iter()
            .filter_map(|f| f.path(folder))
            .collect::<Vec<_>>()
    };
    let (authorities, revoked) = (files("authorities"), files("revoked"));
    let client_certificates = keys.get("clientCertificates").and_then(|field| {
        field.word(&[
            ("required", ClientCertificates::Required),
            ("optional", ClientCertificates::Optional),
            ("none", ClientCertificates::None),
        ])
    });
    // Who names authorities wants certificates to be checked.
    let client_certificates = client_certificates.unwrap_or(if authorities.is_empty() {
        ClientCertificates::None
    } else {
        ClientCertificates::Required
    });
    if client_certificates != ClientCertificates::None && authorities.is_empty() {
        keys.wrong("'authorities' is missing: client certificates are checked against them");
    }
    let minimum_version = keys.get("minimumVersion").and_then(|field| {
        field.word(&[
            ("1.2", MinimumVersion::Tls12),
            ("1.3", MinimumVersion::Tls13),
        ])
    });
    let ciphers = keys.get("ciphers").and_then(|f| f.some_text());
    keys.finish();
    Some(Tls {
        certificate: certificate?,
        key: key?,
        authorities,
        client_certificates,
        revoked,
        minimum_version: minimum_version.unwrap_or_default(),
        ciphers: ciphers.map(str::to_owned),
    })
}

fn user(field: &Field<'_>, users: &mut HashMap<String, Hash>) -> Option<()> {
    let mut keys = field.map()?;
    let name = keys.need("name", "what the client says as user name");
    let hash = keys.need(
        "password",
        "a hash, made by 'greengrass broker hash-password'",
    );
    let hash = hash.and_then(|field| match Hash::parse(field.text()?) {
        Ok(hash) => Some(hash),
        Err(expected) => {
            field.wrong(format!("expected {expected}"));
            None
        }
    });
    keys.finish();
    let name = name?;
    if users.insert(name.some_text()?.to_owned(), hash?).is_some() {
        name.wrong("this user is there twice");
    }
    Some(())
}

/// Lines of `name:hash`, as mosquitto_passwd writes them.
fn password_file(
    field: &Field<'_>,
    folder: &Path,
    users: &mut HashMap<String, Hash>,
) -> Option<()> {
    let file = field.path(folder)?;
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) => {
            field.wrong(format!("cannot read {}: {error}", file.display()));
            return None;
        }
    };
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = format!("{}:{}", file.display(), at + 1);
        let Some((name, hash)) = line.split_once(':') else {
            field.wrong(format!("{place}: expected name:hash"));
            continue;
        };
        match Hash::parse(hash) {
            Ok(hash) => {
                if users.insert(name.to_owned(), hash).is_some() {
                    field.wrong(format!("{place}: this user is there twice"));
                }
            }
            Err(expected) => field.wrong(format!("{place}: expected {expected}")),
        }
    }
    Some(())
}

fn rule(field: &Field<'_>, users: &HashMap<String, Hash>) -> Option<Rule> {
    let mut keys = field.map()?;
    let everyone = keys.get("everyone").and_then(|f| f.boolean());
    let mut pattern = |key| keys.get(key).and_then(|f| f.some_text()).map(str::to_owned);
    let (common_name, client_id) = (pattern("commonName"), pattern("clientId"));
    let user = keys.get("user").and_then(|field| {
        let name = field.some_text()?;
        if !name.contains('*') && !users.contains_key(name) {
            field.wrong(format!("there is no user '{name}'"));
        }
        Some(name.to_owned())
    });
    let for_some = user.is_some() || common_name.is_some() || client_id.is_some();
    if for_some == (everyone == Some(true)) {
        keys.wrong("expected either 'everyone: true', or whom the rule is for: user, commonName or clientId");
    }
    let connect = templates(keys.get("connect"), false);
    let publish = templates(keys.get("publish"), true);
    let subscribe = templates(keys.get("subscribe"), true);
    keys.finish();
    Some(Rule {
        user,
        common_name,
        client_id,
        connect,
        publish,
        subscribe,
    })
}

fn templates(field: Option<Field<'_>>, filters: bool) -> Vec<Template> {
    let list = field.map_or_else(Vec::new, |field| field.list());
    let template = |field: &Field<'_>| {
        let template = Template::parse(field.some_text()?)
            .map_err(|error| field.wrong(error))
            .ok()?;
        if filters && topic::check_filter(&template.example()).is_err() {
            field.wrong("expected a topic filter: '+' alone in a level, '#' alone in the last");
        }
        Some(template)
    };
    list.iter().filter_map(template).collect()
}

fn logging(field: Option<Field<'_>>) -> serde_json::Value {
    let Some(mut keys) = field.and_then(|field| field.map()) else {
        return serde_json::Value::Null;
    };
    let level = keys.get("level").and_then(|field| {
        let words = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"];
        field.word(&words.map(|word| (word, word)))
    });
    let format = keys
        .get("format")
        .and_then(|field| field.word(&[("text", "text"), ("json", "json")]));
    keys.finish();
    let mut logging = serde_json::Map::new();
    for (key, value) in [("level", level), ("format", format)] {
        logging.extend(value.map(|value| (key.to_owned(), value.into())));
    }
    logging.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mqtt::store::DropPolicy;

    fn parse(text: &str) -> anyhow::Result<Config> {
        Config::parse(text, Path::new("/etc/broker.yaml"))
    }

    /// Everything that is said about a wrong file.
    fn complaints(text: &str) -> String {
        match parse(text) {
            Ok(config) => panic!("{config:?}"),
            Err(error) => error.to_string(),
        }
    }

    const RULES: &str = "rules: [{everyone: true, publish: '#', subscribe: '#'}]\n";

    #[test]
    fn little_is_needed_and_it_listens_on_this_machine_only() {
        let config = parse(&format!("listeners: [{{port: 1883}}]\n{RULES}")).unwrap();
        let listener = Listener {
            address: "127.0.0.1:1883".parse().unwrap(),
            protocol: Protocol::Mqtt,
        };
        assert_eq!(config.listeners, [listener]);
        assert_eq!(config.anonymous, Anonymous::Never);
        assert!(config.persistence.is_none());
        assert_eq!(config.threads, 1);
        assert_eq!(config.front, Limits::default());
        assert_eq!(config.engine, engine::Options::default());
    }

    #[test]
    fn paths_start_at_the_files_folder_and_tokens_are_told_from_files() {
        let text = |key: &str| {
            format!(
                "listeners: [{{port: 8883, address: '::', protocol: mqtts}}]\n{RULES}\
                 tls: {{certificate: server.crt, key: {key}, authorities: /ca.crt}}\npersistence: {{folder: data, sessionMessages: 5, drop: oldest}}"
            )
        };
        let config = parse(&text("server.key")).unwrap();
        let tls = config.tls.unwrap();
        assert_eq!(tls.certificate, Path::new("/etc/server.crt"));
        assert_eq!(tls.key, Key::File("/etc/server.key".into()));
        assert_eq!(tls.authorities, [Path::new("/ca.crt")]);
        assert_eq!(tls.client_certificates, ClientCertificates::Required);
        let kept = config.persistence.unwrap();
        assert_eq!(kept.folder, Path::new("/etc/data"));
        assert_eq!(kept.options.session_messages, 5);
        assert_eq!(kept.options.drop, DropPolicy::Oldest);
        let token = parse(&text("'pkcs11:token=t;object=o'")).unwrap().tls;
        assert_eq!(
            token.unwrap().key,
            Key::Token("pkcs11:token=t;object=o".into())
        );
    }

    #[test]
    fn every_complaint_names_file_line_and_key_and_all_come_at_once() {
        let text = "listeners:\n  - port: 70000\n  - {port: 1, protocol: http}\n  - {port: 2, adress: localhost}\n\
                    anonymous: maybe\nusers:\n  - {name: u, password: secret-in-clear}\n\
                    rules:\n  - {publish: 'a/#/b'}\n  - {user: nobody, subscribe: 'a/%x'}\nlimits: {sessions: 0}\nthreads: many\n";
        let text = complaints(text);
        for expected in [
            "/etc/broker.yaml:2:11: listeners[0].port: expected a number from 0 to 65535, found 70000",
            ":3:25: listeners[1].protocol: expected mqtt or mqtts or ws or wss, found 'http'",
            ":4:15: listeners[2]: unknown key 'adress'; there are port, address, protocol",
            ":5:12: anonymous: expected never or loopback or always, found 'maybe'",
            "users[0].password: expected a password hash",
            "rules[0]: expected either 'everyone: true'",
            "rules[0].publish[0]: expected a topic filter",
            "rules[1].user: there is no user 'nobody'",
            "rules[1].subscribe[0]: '%x' is no placeholder",
            "limits.sessions: expected a number from 1 to 10000000, found 0",
            "threads: expected a number from 1 to 64, found 'many'",
        ] {
            assert!(text.contains(expected), "{expected}\nin\n{text}");
        }
        assert!(!text.contains("secret-in-clear"), "{text}");
    }

    #[test]
    fn what_belongs_together_is_missed() {
        let text = complaints("listeners: [{port: 1, protocol: wss}]");
        assert!(
            text.contains("'tls' is missing") && text.contains("'rules' is missing"),
            "{text}"
        );
        let text = complaints(&format!(
            "listeners: []\n{RULES}tls: {{certificate: c, clientCertificates: required}}"
        ));
        for expected in [
            "at least one listener",
            "'key' is missing",
            "'authorities' is missing",
        ] {
            assert!(text.contains(expected), "{text}");
        }
        assert!(complaints("").contains("empty"));
        assert!(complaints("- 1").contains("expected a mapping"));
    }

    #[test]
    fn mosquittos_password_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let hash = Hash::new(b"secret").unwrap();
        let file = |text: &str| {
            fs::write(folder.path().join("passwords"), text).unwrap();
            let text = format!("listeners: [{{port: 1}}]\n{RULES}passwordFile: passwords");
            Config::parse(&text, &folder.path().join("broker.yaml"))
        };
        let config = file(&format!("# staff\nalice:{hash}\n\n")).unwrap();
        assert_eq!(config.users["alice"], hash);
        let error = file("alice:secret").unwrap_err().to_string();
        assert!(
            error.contains("passwords:1: expected a password hash"),
            "{error}"
        );
    }

    #[test]
    fn limits_reach_front_and_engine() {
        let text = format!(
            "listeners: [{{port: 1}}]\n{RULES}limits: {{connections: 100, handshakeSeconds: 3, packetBytes: 2000000, keepAliveSeconds: 0, queuedMessages: 7}}"
        );
        let config = parse(&text).unwrap();
        assert_eq!(config.front.connections_per_address, 50);
        assert_eq!(config.front.handshake_time, Duration::from_secs(3));
        assert!(config.front.websocket_message >= 2_000_000);
        assert_eq!(config.engine.max_packet_size, 2_000_000);
        assert_eq!(config.engine.max_keep_alive, None);
        assert_eq!(config.engine.max_queued_messages, 7);
    }
}
