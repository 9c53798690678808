//! How the device reaches the cloud, read from the configuration tree by Greengrass's own keys. Pure: touches no file.

use configuration::Tree;
use keys::{KeyUri, config::Provider};
use mqtt::packet::Version;
use serde_json::Value;
use std::{fmt, path::PathBuf, time::Duration};
use zeroize::Zeroizing;

pub const NUCLEUS: [&str; 3] = ["services", "aws.greengrass.Nucleus", "configuration"];
pub const PKCS11: [&str; 3] = [
    "services",
    "aws.greengrass.crypto.Pkcs11Provider",
    "configuration",
];
/// AWS IoT: the largest message.
const LARGEST_MESSAGE: u64 = 128 * 1024;
const HTTPS: u16 = 443;
const DATA_PLANE: u16 = 8443;

/// What the configuration makes of this device.
#[derive(Clone, PartialEq, Debug)]
pub enum Standing {
    /// No endpoint: it is on its own.
    Local,
    /// An endpoint, but something else is missing or wrong; the text says what.
    Incomplete(String),
    /// Everything is there.
    Ready(Box<Settings>),
}

/// The way to the cloud.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// `system.thingName`: also the MQTT client id.
    pub thing_name: String,
    /// Who the device is, and whom it trusts.
    pub identity: Identity,
    /// `iotDataEndpoint` with `mqtt.port`.
    pub data: Endpoint,
    /// `greengrassDataPlaneEndpoint`, or the data endpoint, with `greengrassDataPlanePort`.
    pub data_plane: Endpoint,
    /// `iotCredEndpoint` with `iotRoleAlias`, where there are both.
    pub credentials: Option<CredentialsProvider>,
    /// The section `mqtt`.
    pub mqtt: Mqtt,
    /// The section `networkProxy`.
    pub proxy: Option<Proxy>,
    /// For the log: what is not as it should be, and what is done instead.
    pub warnings: Vec<String>,
}

/// Where the device's certificate, key and authorities are.
#[derive(Clone, PartialEq, Debug)]
pub struct Identity {
    /// `system.rootCaPath`
    pub authorities: PathBuf,
    /// `system.certificateFilePath`
    pub certificate: KeyUri,
    /// `system.privateKeyPath`
    pub key: KeyUri,
}

/// A server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// The credentials provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CredentialsProvider {
    /// `iotCredEndpoint`
    pub endpoint: Endpoint,
    /// `iotRoleAlias`
    pub role_alias: String,
}

/// The section `mqtt`.
#[derive(Clone, PartialEq, Debug)]
pub struct Mqtt {
    /// `version`: `mqtt5` or `mqtt3`.
    pub version: Version,
    /// `keepAliveTimeoutMs`
    pub keep_alive: Duration,
    /// `pingTimeoutMs`
    pub ping_timeout: Duration,
    /// `operationTimeoutMs`
    pub operation_timeout: Duration,
    /// `connackTimeoutMs`
    pub connack_timeout: Duration,
    /// `socketTimeoutMs`
    pub socket_timeout: Duration,
    /// `maxInFlightPublishes`
    pub in_flight: u16,
    /// `maxMessageSizeInBytes`
    pub largest_message: usize,
    /// `sessionExpirySeconds`
    pub session_expiry: u32,
    /// `receiveMaximum`
    pub receive_maximum: u16,
    /// `minimumReconnectDelaySeconds`, `maximumReconnectDelaySeconds`, `minimumConnectedTimeBeforeRetryResetSeconds`
    pub reconnect: Reconnect,
    /// The section `spooler`.
    pub spooler: Spooler,
}

/// When to try again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reconnect {
    /// The first wait, at most.
    pub minimum: Duration,
    /// Any wait, at most.
    pub maximum: Duration,
    /// A connection that lasted this long starts anew.
    pub reset_after: Duration,
}

/// The section `mqtt.spooler`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spooler {
    /// `storageType` is `Disk`.
    pub on_disk: bool,
    /// `maxSizeInBytes`
    pub limit: u64,
    /// `keepQos0WhenOffline`
    pub keep_qos0: bool,
}

/// The section `networkProxy`.
#[derive(Clone, PartialEq)]
pub struct Proxy {
    /// `proxy.url`, with `proxy.username` and `proxy.password` in it if they are given beside it.
    pub url: Zeroizing<String>,
    /// `proxy.username` and `proxy.password`.
    pub user: Option<(String, Zeroizing<String>)>,
    /// `noProxyAddresses`
    pub except: String,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may carry a password.
        f.debug_struct("Proxy")
            .field("except", &self.except)
            .finish_non_exhaustive()
    }
}

impl Standing {
    /// As the tree has it now.
    pub fn read(tree: &Tree) -> Self {
        let nucleus = tree.get(&NUCLEUS).unwrap_or(Value::Null);
        let system = tree.get(&["system"]).unwrap_or(Value::Null);
        let provider = tree.get(&PKCS11);
        Self::from_parts(&system, &nucleus, provider.as_ref())
    }

    fn from_parts(system: &Value, nucleus: &Value, provider: Option<&Value>) -> Self {
        let Some(data) = text(nucleus, "iotDataEndpoint") else {
            return Self::Local;
        };
        match read(system, nucleus, provider, data) {
            Ok(settings) => Self::Ready(Box::new(settings)),
            Err(why) => Self::Incomplete(why),
        }
    }
}

fn read(
    system: &Value,
    nucleus: &Value,
    provider: Option<&Value>,
    data: &str,
) -> Result<Settings, String> {
    let mut reader = Reader::default();
    let thing_name = needed(system, "system", "thingName")?;
    let provider = provider
        .filter(|provider| provider.is_object())
        .map(Provider::read)
        .transpose();
    let provider = provider.map_err(|e| e.to_string())?;
    let mapped = keys::config::classic(system, provider.as_ref()).map_err(|e| e.to_string())?;
    let certificate = mapped
        .certificate
        .ok_or("system.certificateFilePath is missing")?;
    let identity = Identity {
        authorities: needed(system, "system", "rootCaPath")?.into(),
        certificate,
        key: mapped.key,
    };
    let section = find(nucleus, "mqtt").unwrap_or(&Value::Null);
    let port = |reader: &mut Reader, of: &Value, at: &str, key: &str, standard: u16| {
        let number = reader.number(of, at, key, u64::from(standard), 1..=65535);
        u16::try_from(number).unwrap_or(standard)
    };
    let mqtt_port = port(&mut reader, section, "mqtt.", "port", 8883);
    let plane_port = port(
        &mut reader,
        nucleus,
        "",
        "greengrassDataPlanePort",
        DATA_PLANE,
    );
    let data = Endpoint::parse(data, "iotDataEndpoint", mqtt_port)?;
    let data_plane = match text(nucleus, "greengrassDataPlaneEndpoint") {
        Some(plane) => Endpoint::parse(plane, "greengrassDataPlaneEndpoint", plane_port)?,
        None => Endpoint {
            host: data.host.clone(),
            port: plane_port,
        },
    };
    let credentials = match (
        text(nucleus, "iotCredEndpoint"),
        text(nucleus, "iotRoleAlias"),
    ) {
        (Some(endpoint), Some(alias)) => Some(CredentialsProvider {
            endpoint: Endpoint::parse(endpoint, "iotCredEndpoint", HTTPS)?,
            role_alias: alias.to_owned(),
        }),
        _ => None,
    };
    Ok(Settings {
        thing_name: thing_name.to_owned(),
        identity,
        data,
        data_plane,
        credentials,
        mqtt: mqtt(&mut reader, section),
        proxy: proxy(find(nucleus, "networkProxy").unwrap_or(&Value::Null)),
        warnings: reader.warnings,
    })
}

fn mqtt(reader: &mut Reader, section: &Value) -> Mqtt {
    let version = match text(section, "version")
        .map(str::to_ascii_lowercase)
        .as_deref()
    {
        None | Some("mqtt5") => Version::V5,
        Some("mqtt3") => Version::V311,
        Some(other) => {
            reader.warn(format!(
                "mqtt.version is {other:?}, neither mqtt5 nor mqtt3: MQTT 5 is used"
            ));
            Version::V5
        }
    };
    let milliseconds = |reader: &mut Reader, key: &str, standard: u64| {
        Duration::from_millis(reader.number(
            section,
            "mqtt.",
            key,
            standard,
            1..=u64::from(u32::MAX),
        ))
    };
    let seconds = |reader: &mut Reader, key: &str, standard: u64| {
        let range = 0..=u64::from(u32::MAX);
        Duration::from_secs(reader.number(section, "mqtt.", key, standard, range))
    };
    let minimum = seconds(reader, "minimumReconnectDelaySeconds", 1);
    let short = |number: u64| u16::try_from(number).unwrap_or(u16::MAX);
    let large = reader.number(
        section,
        "mqtt.",
        "maxMessageSizeInBytes",
        LARGEST_MESSAGE,
        1..=256 * 1024 * 1024,
    );
    Mqtt {
        version,
        keep_alive: milliseconds(reader, "keepAliveTimeoutMs", 60_000),
        ping_timeout: milliseconds(reader, "pingTimeoutMs", 30_000),
        operation_timeout: milliseconds(reader, "operationTimeoutMs", 30_000),
        connack_timeout: milliseconds(reader, "connackTimeoutMs", 20_000),
        socket_timeout: milliseconds(reader, "socketTimeoutMs", 10_000),
        in_flight: short(reader.number(section, "mqtt.", "maxInFlightPublishes", 100, 1..=65535)),
        largest_message: usize::try_from(large).unwrap_or(usize::MAX),
        session_expiry: u32::try_from(seconds(reader, "sessionExpirySeconds", 3600).as_secs())
            .unwrap_or(u32::MAX),
        receive_maximum: short(reader.number(section, "mqtt.", "receiveMaximum", 100, 1..=65535)),
        reconnect: Reconnect {
            minimum,
            maximum: seconds(reader, "maximumReconnectDelaySeconds", 120).max(minimum),
            reset_after: seconds(reader, "minimumConnectedTimeBeforeRetryResetSeconds", 30),
        },
        spooler: spooler(reader, find(section, "spooler").unwrap_or(&Value::Null)),
    }
}

fn spooler(reader: &mut Reader, section: &Value) -> Spooler {
    let kind = text(section, "storageType").unwrap_or("Memory");
    let on_disk = kind.eq_ignore_ascii_case("Disk");
    if !on_disk && !kind.eq_ignore_ascii_case("Memory") {
        reader.warn(format!(
            "mqtt.spooler.storageType is {kind:?}, neither Memory nor Disk: memory is used"
        ));
    }
    if let Some(plugin) = text(section, "pluginName") {
        reader.warn(format!(
            "mqtt.spooler.pluginName {plugin:?} has no effect: the spool on disk is part of the runtime"
        ));
    }
    Spooler {
        on_disk,
        limit: reader.number(
            section,
            "mqtt.spooler.",
            "maxSizeInBytes",
            2_621_440,
            1..=u64::MAX,
        ),
        keep_qos0: boolean(section, "keepQos0WhenOffline").unwrap_or(false),
    }
}

fn proxy(section: &Value) -> Option<Proxy> {
    let proxy = find(section, "proxy")?;
    let url = text(proxy, "url")?;
    let user = text(proxy, "username").map(|name| {
        let password = text(proxy, "password").unwrap_or_default();
        (name.to_owned(), Zeroizing::new(password.to_owned()))
    });
    Some(Proxy {
        url: Zeroizing::new(url.to_owned()),
        user,
        except: text(section, "noProxyAddresses")
            .unwrap_or_default()
            .to_owned(),
    })
}

impl Endpoint {
    /// `host`, or `host:port` for servers that are not on the usual one.
    fn parse(text: &str, key: &str, standard: u16) -> Result<Self, String> {
        let text = text.trim();
        let wrong = || format!("{key} is {text:?}: a host name is expected, perhaps with a port");
        let authority: http::uri::Authority = text.parse().map_err(|_| wrong())?;
        if authority.as_str().contains('@') {
            return Err(wrong());
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let port = authority.port_u16().unwrap_or(standard);
        Ok(Self { host, port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Reads numbers as Greengrass does, whose configuration turns some of them into texts.
#[derive(Default)]
struct Reader {
    warnings: Vec<String>,
}

impl Reader {
    fn warn(&mut self, text: String) {
        self.warnings.push(text);
    }

    fn number(
        &mut self,
        section: &Value,
        at: &str,
        key: &str,
        standard: u64,
        range: std::ops::RangeInclusive<u64>,
    ) -> u64 {
        let Some(value) = find(section, key).filter(|value| !value.is_null()) else {
            return standard;
        };
        let number = value
            .as_u64()
            .or_else(|| value.as_str()?.trim().parse().ok());
        match number.filter(|number| range.contains(number)) {
            Some(number) => number,
            None => {
                self.warn(format!(
                    "{at}{key} is {value}, which is no number from {} to {}: {standard} is used",
                    range.start(),
                    range.end()
                ));
                standard
            }
        }
    }
}

/// Keys match in any case, as everywhere in the configuration.
fn find<'a>(section: &'a Value, key: &str) -> Option<&'a Value> {
    let members = section.as_object()?;
    members.get(key).or_else(|| {
        let mut all = members.iter();
        all.find(|(name, _)| name.eq_ignore_ascii_case(key))
            .map(|(_, value)| value)
    })
}

fn text<'a>(section: &'a Value, key: &str) -> Option<&'a str> {
    let text = find(section, key)?.as_str()?.trim();
    (!text.is_empty()).then_some(text)
}

fn boolean(section: &Value, key: &str) -> Option<bool> {
    let value = find(section, key)?;
    value
        .as_bool()
        .or_else(|| value.as_str()?.trim().to_ascii_lowercase().parse().ok())
}

fn needed<'a>(section: &'a Value, at: &str, key: &str) -> Result<&'a str, String> {
    text(section, key).ok_or_else(|| format!("{at}.{key} is missing"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn system() -> Value {
        json!({
            "thingName": "core", "rootCaPath": "/gg/ca.pem",
            "certificateFilePath": "/gg/cert.pem", "privateKeyPath": "/gg/key.pem",
        })
    }

    fn ready(nucleus: &Value) -> Settings {
        match Standing::from_parts(&system(), nucleus, None) {
            Standing::Ready(settings) => *settings,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_device_without_endpoints_is_on_its_own() {
        let standing = Standing::from_parts(&system(), &json!({"awsRegion": "eu-west-1"}), None);
        assert_eq!(standing, Standing::Local);
        let empty = Standing::from_parts(&system(), &json!({"iotDataEndpoint": ""}), None);
        assert_eq!(empty, Standing::Local);
    }

    #[test]
    fn the_defaults_are_those_of_greengrass() {
        let settings = ready(&json!({"iotDataEndpoint": "x-ats.iot.eu-west-1.amazonaws.com"}));
        assert_eq!(
            settings.data.to_string(),
            "x-ats.iot.eu-west-1.amazonaws.com:8883"
        );
        assert_eq!(settings.data_plane.port, 8443);
        assert_eq!(settings.mqtt.version, Version::V5);
        assert_eq!(settings.mqtt.spooler.limit, 2_621_440);
        assert!(!settings.mqtt.spooler.on_disk && !settings.mqtt.spooler.keep_qos0);
        assert!(settings.warnings.is_empty() && settings.credentials.is_none());
    }

    #[test]
    fn keys_are_read_in_any_case_and_numbers_from_texts() {
        let settings = ready(&json!({
            "IOTDATAENDPOINT": "[::1]:1883", "iotCredEndpoint": "cred:9", "iotRoleAlias": "a",
            "mqtt": {"Port": "443", "version": "mqtt3", "spooler": {"storageType": "disk", "keepQos0WhenOffline": "true"}},
            "networkProxy": {"noProxyAddresses": "a,b", "proxy": {"url": "http://p:3128", "username": "u", "password": "secret"}},
        }));
        assert_eq!(settings.data.to_string(), "[::1]:1883");
        assert_eq!(settings.mqtt.version, Version::V311);
        assert!(settings.mqtt.spooler.on_disk && settings.mqtt.spooler.keep_qos0);
        assert_eq!(settings.credentials.unwrap().endpoint.to_string(), "cred:9");
        assert!(!format!("{:?}", settings.proxy).contains("secret"));
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let nucleus = json!({"iotDataEndpoint": "host"});
        for (key, value) in [
            ("rootCaPath", Value::Null),
            ("certificateFilePath", json!("")),
            ("privateKeyPath", Value::Null),
            ("thingName", Value::Null),
        ] {
            let mut system = system();
            system[key] = value;
            let Standing::Incomplete(why) = Standing::from_parts(&system, &nucleus, None) else {
                panic!("{key} is missing and nobody says so");
            };
            assert!(why.contains(key), "{why}");
        }
        let nucleus = json!({"iotDataEndpoint": "https://host/path"});
        let wrong = Standing::from_parts(&system(), &nucleus, None);
        assert!(matches!(wrong, Standing::Incomplete(why) if why.contains("iotDataEndpoint")));
    }

    #[test]
    fn values_that_cannot_be_used_are_told_and_replaced() {
        let settings = ready(&json!({
            "iotDataEndpoint": "host",
            "mqtt": {"port": 70000, "version": "4", "spooler": {"storageType": "Tape", "pluginName": "p"}},
        }));
        assert_eq!(settings.data.port, 8883);
        assert_eq!(settings.warnings.len(), 4, "{:?}", settings.warnings);
    }
}
