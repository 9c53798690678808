//! The settings of fleet provisioning by claim, as the classic nucleus's plugin has them and as nucleus lite has them.

use serde_json::Value;
use std::{collections::BTreeMap, path::PathBuf, time::Duration};
use thiserror::Error;
use zeroize::Zeroizing;

/// Where MQTT is, unless the settings say so.
pub const PORT: u16 = 8883;

/// How a device gets its identity. Keys are URIs (`file:`, `pkcs11:`) or paths.
#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// The provisioning template.
    pub template: String,
    /// Its parameters, with `{dmi:…}` and its like not filled in.
    pub parameters: BTreeMap<String, String>,
    /// The claim's certificate.
    pub claim_certificate: String,
    /// The claim's private key.
    pub claim_key: String,
    /// Root certificates.
    pub root: PathBuf,
    /// Where MQTT goes.
    pub endpoint: String,
    /// 8883, or 443 with ALPN.
    pub port: u16,
    /// The credential provider's endpoint, to be stored with the identity.
    pub credential_endpoint: Option<String>,
    /// The role alias, to be stored with the identity.
    pub role_alias: Option<String>,
    /// The region, to be stored with the identity.
    pub region: Option<String>,
    /// The MQTT client id for the claim; a random one when `None`.
    pub client_id: Option<String>,
    /// A proxy's URL.
    pub proxy: Option<String>,
    /// User name and password for the proxy.
    pub proxy_credentials: Option<(String, Zeroizing<String>)>,
    /// How the device's key is made.
    pub key: KeyFrom,
    /// Where the certificate goes: a file, or beside the key in its token.
    pub certificate: Option<String>,
    /// Where the device's key goes or is.
    pub key_name: Option<String>,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// Who makes the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyFrom {
    /// The cloud: it comes with the certificate. What the classic plugin does by default.
    Cloud,
    /// The device, with this common name in its request.
    Device {
        /// `CN`
        common_name: String,
    },
    /// It is there, with a request that is made.
    Request {
        /// The request's file.
        request: PathBuf,
    },
}

/// A setting that is missing or wrong.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{name}: {fault}")]
pub struct SettingsError {
    /// The setting.
    pub name: String,
    /// What is wrong.
    pub fault: &'static str,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys may have a pin-value, proxies a password.
        f.debug_struct("Settings")
            .field("template", &self.template)
            .field("endpoint", &self.endpoint)
            .field("parameters", &self.parameters)
            .finish_non_exhaustive()
    }
}

/// One section of a configuration.
struct Section<'a>(&'a Value);

impl Section<'_> {
    fn text(&self, name: &str) -> Result<Option<String>, SettingsError> {
        match &self.0[name] {
            Value::Null => Ok(None),
            Value::String(text) if text.is_empty() => Ok(None),
            Value::String(text) => Ok(Some(text.clone())),
            _ => Err(fault(name, "is not a text")),
        }
    }

    fn needed(&self, name: &str) -> Result<String, SettingsError> {
        self.text(name)?.ok_or_else(|| fault(name, "is missing"))
    }

    fn parameters(&self, name: &str) -> Result<BTreeMap<String, String>, SettingsError> {
        let section = match &self.0[name] {
            Value::Null => return Ok(BTreeMap::new()),
            Value::Object(section) => section,
            _ => return Err(fault(name, "is not a map")),
        };
        let mut parameters = BTreeMap::new();
        for (key, value) in section {
            let text = match value {
                Value::String(text) => text.clone(),
                // YAML reads serial numbers as numbers.
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                _ => return Err(fault(&format!("{name}.{key}"), "is not a text")),
            };
            parameters.insert(key.clone(), text);
        }
        Ok(parameters)
    }

    fn port(&self, name: &str) -> Result<u16, SettingsError> {
        let value = &self.0[name];
        if value.is_null() {
            return Ok(PORT);
        }
        let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
        let port = number
            .and_then(|n| u16::try_from(n).ok())
            .filter(|p| *p > 0);
        port.ok_or_else(|| fault(name, "is not a port"))
    }
}

fn fault(name: &str, fault: &'static str) -> SettingsError {
    SettingsError {
        name: name.into(),
        fault,
    }
}

impl Settings {
    /// Reads the configuration of `aws.greengrass.FleetProvisioningByClaim`.
    pub fn classic(configuration: &Value) -> Result<Self, SettingsError> {
        let section = Section(configuration);
        let folder = section.text("rootPath")?.map(PathBuf::from);
        let below = |name: &str| {
            let path = folder.as_ref().map(|f| f.join(name));
            path.map(|p| p.to_string_lossy().into_owned())
        };
        let request = section.text("csrPath")?;
        let (key, key_name) = match request {
            Some(request) => (
                KeyFrom::Request {
                    request: request.into(),
                },
                Some(section.needed("csrPrivateKeyPath")?),
            ),
            None => {
                let default = below("privKey.key");
                let name = section.text("privateKeyPath")?.or(default);
                // No key gets into a token from outside: it is made there. For one in a file, lite's setting says so.
                let token = name.as_ref().is_some_and(|n| n.starts_with("pkcs11:"));
                let asked = section.text("csrCommonName")?;
                let from = match asked {
                    Some(common_name) => KeyFrom::Device { common_name },
                    None if token => KeyFrom::Device {
                        common_name: "aws-greengrass-nucleus".into(),
                    },
                    None => KeyFrom::Cloud,
                };
                (from, name)
            }
        };
        Ok(Self {
            template: section.needed("provisioningTemplate")?,
            parameters: section.parameters("templateParameters")?,
            claim_certificate: section.needed("claimCertificatePath")?,
            claim_key: section.needed("claimCertificatePrivateKeyPath")?,
            root: section.needed("rootCaPath")?.into(),
            endpoint: section.needed("iotDataEndpoint")?,
            port: section.port("mqttPort")?,
            credential_endpoint: section.text("iotCredentialEndpoint")?,
            role_alias: section.text("iotRoleAlias")?,
            region: section.text("awsRegion")?,
            client_id: section.text("deviceId")?,
            proxy: section.text("proxyUrl")?,
            proxy_credentials: match section.text("proxyUsername")? {
                Some(user) => {
                    let password = section.text("proxyPassword")?.unwrap_or_default();
                    Some((user, Zeroizing::new(password)))
                }
                None => None,
            },
            key,
            certificate: section
                .text("certificatePath")?
                .or_else(|| below("thingCert.crt")),
            key_name,
            timeout: Duration::from_secs(30),
        })
    }

    /// Reads the configuration of nucleus lite's `aws.greengrass.fleet_provisioning`. The device makes the key.
    pub fn lite(configuration: &Value) -> Result<Self, SettingsError> {
        let section = Section(configuration);
        let key = match section.text("csrPath")? {
            Some(request) if section.text("keyPath")?.is_some() => KeyFrom::Request {
                request: request.into(),
            },
            _ => KeyFrom::Device {
                common_name: section
                    .text("csrCommonName")?
                    .unwrap_or_else(|| "aws-greengrass-nucleus-lite".into()),
            },
        };
        Ok(Self {
            template: section.needed("templateName")?,
            parameters: section.parameters("templateParams")?,
            claim_certificate: section.needed("claimCertPath")?,
            claim_key: section.needed("claimKeyPath")?,
            root: section.needed("rootCaPath")?.into(),
            endpoint: section.needed("iotDataEndpoint")?,
            port: section.port("mqttPort")?,
            credential_endpoint: section.text("iotCredEndpoint")?,
            role_alias: None,
            region: None,
            client_id: None,
            proxy: None,
            proxy_credentials: None,
            key,
            certificate: section.text("certPath")?,
            key_name: section.text("keyPath")?,
            timeout: Duration::from_secs(30),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn classic() -> Value {
        json!({"provisioningTemplate": "T", "claimCertificatePath": "/c.crt",
            "claimCertificatePrivateKeyPath": "pkcs11:token=claim;object=k?pin-value=987654", "rootCaPath": "/r.pem",
            "iotDataEndpoint": "x-ats.iot.eu-west-1.amazonaws.com", "rootPath": "/greengrass/v2",
            "templateParameters": {"SerialNumber": 42}, "mqttPort": "443"})
    }

    #[test]
    fn classics_settings_have_its_defaults() {
        let settings = Settings::classic(&classic()).unwrap();
        assert_eq!(settings.key, KeyFrom::Cloud);
        assert_eq!(
            settings.certificate.as_deref(),
            Some("/greengrass/v2/thingCert.crt")
        );
        assert_eq!(
            settings.key_name.as_deref(),
            Some("/greengrass/v2/privKey.key")
        );
        assert_eq!(settings.parameters["SerialNumber"], "42");
        assert_eq!(settings.port, 443);
        assert!(!format!("{settings:?}").contains("987654"));
    }

    #[test]
    fn a_key_in_a_token_is_made_there() {
        let mut configuration = classic();
        configuration["privateKeyPath"] = json!("pkcs11:token=greengrass;object=device");
        let settings = Settings::classic(&configuration).unwrap();
        assert!(matches!(settings.key, KeyFrom::Device { .. }));
    }

    #[test]
    fn a_common_name_makes_the_key_on_the_device_with_classics_settings_too() {
        let mut configuration = classic();
        configuration["csrCommonName"] = json!("gateway");
        let common_name = "gateway".into();
        let settings = Settings::classic(&configuration).unwrap();
        assert_eq!(settings.key, KeyFrom::Device { common_name });
    }

    #[test]
    fn classic_with_a_request_needs_its_key() {
        let mut configuration = classic();
        configuration["csrPath"] = json!("/x.csr");
        let missing = Settings::classic(&configuration).unwrap_err();
        assert_eq!(missing.to_string(), "csrPrivateKeyPath: is missing");
        configuration["csrPrivateKeyPath"] = json!("/x.key");
        let settings = Settings::classic(&configuration).unwrap();
        assert_eq!(settings.key_name.as_deref(), Some("/x.key"));
    }

    #[test]
    fn each_required_setting_is_missed_by_name() {
        for name in [
            "provisioningTemplate",
            "claimCertificatePath",
            "claimCertificatePrivateKeyPath",
            "rootCaPath",
            "iotDataEndpoint",
        ] {
            let mut configuration = classic();
            configuration[name].take();
            assert_eq!(Settings::classic(&configuration).unwrap_err().name, name);
        }
    }

    #[test]
    fn lites_settings_make_the_key_on_the_device() {
        let settings = Settings::lite(&json!({"iotDataEndpoint": "e", "iotCredEndpoint": "c", "rootCaPath": "/r",
            "claimKeyPath": "/k", "claimCertPath": "/c", "templateName": "T", "templateParams": {"a": "b"},
            "csrCommonName": "me"}))
        .unwrap();
        let expected = KeyFrom::Device {
            common_name: "me".into(),
        };
        assert_eq!(settings.key, expected);
        assert_eq!(settings.credential_endpoint.as_deref(), Some("c"));
    }
}
