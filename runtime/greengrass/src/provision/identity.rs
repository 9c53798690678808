//! The device's identity: as the configuration files name it, or as provisioning has left it in the root folder, in the
//! same form as they have.

use anyhow::Context;
use provision::{Identity, Settings, SettingsError};
use serde_json::{Map, Value, json};
use std::{
    fs::{self, File, TryLockError},
    io,
    path::PathBuf,
};

const CLASSIC: &str = "aws.greengrass.FleetProvisioningByClaim";
const LITE: &str = "aws.greengrass.fleet_provisioning";

/// Where provisioning keeps what it must not forget.
#[derive(Debug, Clone)]
pub struct Place {
    /// The root folder.
    pub root: PathBuf,
}

impl Place {
    /// How far provisioning is.
    pub fn state(&self) -> PathBuf {
        self.root.join("config/provisioning.json")
    }

    /// What came out of it: a configuration file, read after all others.
    pub fn identity(&self) -> PathBuf {
        self.root.join("config/identity.json")
    }

    /// Takes the right to provision, which one process has at a time. `None`: another one has it.
    pub fn lock(&self) -> anyhow::Result<Option<File>> {
        let path = self.root.join("config/provisioning.lock");
        let failed = || format!("cannot lock {}", path.display());
        let folder = self.root.join("config");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let file = File::create(&path).with_context(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error).with_context(failed),
        }
    }

    /// What provisioning has left, if it is done.
    pub fn read(&self) -> anyhow::Result<Option<Value>> {
        let path = self.identity();
        let text = match fs::read(&path) {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let document = serde_json::from_slice(&text);
        document.with_context(|| format!("{} is not JSON", path.display()))
    }

    /// Leaves it, durably. A key's URI may have a PIN in it, so that only the owner may read it.
    pub fn write(&self, document: &Value) -> io::Result<()> {
        let text = format!("{document:#}\n");
        store::file::write_atomic(&self.identity(), text.as_bytes(), 0o600)
    }

    /// A device whose identity was taken away is provisioned anew.
    pub fn forget_the_end(&self) -> anyhow::Result<()> {
        let path = self.state();
        let record = provision::read(&path)
            .with_context(|| format!("the provisioning state in {}", path.display()))?;
        if matches!(record.state, provision::machine::State::Done { .. })
            && !self.identity().exists()
        {
            log::warn!(
                "{} is gone: this device is provisioned anew",
                self.identity().display()
            );
            store::file::remove_durable(&path)
                .with_context(|| format!("cannot remove {}", path.display()))?;
        }
        Ok(())
    }
}

/// All documents as one: later ones go before earlier ones.
fn merged(documents: &[Value]) -> Value {
    fn merge(into: &mut Value, from: &Value) {
        match (into, from) {
            (Value::Object(into), Value::Object(from)) => {
                for (name, value) in from {
                    merge(into.entry(name.clone()).or_insert(Value::Null), value);
                }
            }
            (into, from) => *into = from.clone(),
        }
    }
    let mut all = Value::Null;
    for document in documents {
        merge(&mut all, document);
    }
    all
}

/// What the files say of how the device gets its identity: the section of classic's plugin, or of nucleus lite.
pub fn settings(documents: &[Value]) -> Result<Option<Settings>, SettingsError> {
    let all = merged(documents);
    let section = |name: &str| {
        let section = &all["services"][name]["configuration"];
        section.is_object().then_some(section)
    };
    match (section(CLASSIC), section(LITE)) {
        (Some(classic), _) => Settings::classic(classic).map(Some),
        (None, Some(lite)) => Settings::lite(lite).map(Some),
        (None, None) => Ok(None),
    }
}

/// The device's own key and certificate, as a configuration names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// `system.thingName`
    pub thing: String,
    /// `system.privateKeyPath`
    pub key: String,
    /// `system.certificateFilePath`
    pub certificate: String,
    /// `system.rootCaPath`
    pub root: Option<String>,
}

impl Named {
    /// What the documents name together; `None` unless they name a thing, a key and a certificate.
    pub fn by(documents: &[Value]) -> Option<Self> {
        let all = merged(documents);
        let text = |name: &str| {
            let text = all["system"][name].as_str()?;
            (!text.is_empty()).then(|| text.to_owned())
        };
        Some(Self {
            thing: text("thingName")?,
            key: text("privateKeyPath")?,
            certificate: text("certificateFilePath")?,
            root: text("rootCaPath"),
        })
    }
}

/// An identity as a configuration document.
pub fn document(identity: &Identity, certificate: &str, settings: &Settings) -> Value {
    let mut nucleus = Map::new();
    let mut put = |name: &str, value: Option<&String>| {
        if let Some(value) = value {
            nucleus.insert(name.into(), json!(value));
        }
    };
    put("iotDataEndpoint", Some(&settings.endpoint));
    put("iotCredEndpoint", settings.credential_endpoint.as_ref());
    put("iotRoleAlias", settings.role_alias.as_ref());
    put("awsRegion", settings.region.as_ref());
    if settings.port != provision::PORT {
        nucleus.insert("mqtt".into(), json!({"port": settings.port}));
    }
    let more = &identity.registered.configuration;
    if !more.is_empty() {
        nucleus.insert("deviceConfiguration".into(), json!(more));
    }
    json!({
        "system": {
            "thingName": identity.registered.thing,
            "certificateFilePath": certificate,
            "privateKeyPath": identity.key,
            "rootCaPath": settings.root,
        },
        "services": {crate::nucleus::NUCLEUS[1]: {"configuration": nucleus}},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> [Value; 2] {
        let image = json!({"provisioningTemplate": "T", "claimCertificatePath": "/c", "rootCaPath": "/r",
            "claimCertificatePrivateKeyPath": "/k", "iotDataEndpoint": "e", "rootPath": "/x"});
        let batch = json!({"templateParameters": {"Batch": 7}, "iotDataEndpoint": "batch"});
        [image, batch].map(|section| json!({"services": {CLASSIC: {"configuration": section}}}))
    }

    #[test]
    fn a_batchs_file_adds_to_the_images() {
        let settings = settings(&files()).unwrap().unwrap();
        assert_eq!(
            (settings.endpoint.as_str(), settings.template.as_str()),
            ("batch", "T")
        );
        assert_eq!(settings.parameters["Batch"], "7");
        assert!(super::settings(&[json!({})]).unwrap().is_none());
    }

    #[test]
    fn an_identity_has_a_thing_a_key_and_a_certificate() {
        let mut system =
            json!({"thingName": "t", "privateKeyPath": "/k", "certificateFilePath": "/c"});
        let named = |system: &Value| Named::by(&[json!({"system": system})]);
        assert_eq!(named(&system).unwrap().thing, "t");
        // Nucleus lite's sample has empty texts where nothing is.
        system["privateKeyPath"] = json!("");
        assert_eq!(named(&system), None);
    }

    #[test]
    fn one_process_provisions_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place {
            root: folder.path().into(),
        };
        let held = place.lock().unwrap();
        assert!(held.is_some() && place.lock().unwrap().is_none());
        drop(held);
        assert!(place.lock().unwrap().is_some());
    }
}
