//! The classic nucleus: the component `aws.greengrass.crypto.Pkcs11Provider`, and `system.privateKeyPath`.

use super::{ConfigError, Library, Mapped, about_pin, needed, new_form, text};
use crate::{KeyUri, Pin};
use serde_json::Value;
use std::path::PathBuf;

const COMPONENT: &str = "aws.greengrass.crypto.Pkcs11Provider";

/// The component's configuration.
#[derive(Debug, Clone)]
pub struct Provider {
    /// `name`: of no meaning here.
    pub name: String,
    /// `library`: the PKCS#11 library.
    pub library: PathBuf,
    /// `slot`: the slot's number.
    pub slot: u64,
    /// `userPin`
    pub pin: Option<Pin>,
}

impl Provider {
    /// Reads the component's configuration.
    pub fn read(configuration: &Value) -> Result<Self, ConfigError> {
        let slot = &configuration["slot"];
        // The classic nucleus takes both, because its configuration passes through YAML and shadows.
        let number = slot.as_u64().or_else(|| slot.as_str()?.trim().parse().ok());
        Ok(Self {
            name: text(configuration, COMPONENT, "name")?
                .unwrap_or_default()
                .into(),
            library: needed(configuration, COMPONENT, "library")?.into(),
            slot: number.ok_or_else(|| {
                ConfigError::new(
                    format!("{COMPONENT}.slot"),
                    "is missing or not a number (slot-id)",
                )
            })?,
            pin: match &configuration["userPin"] {
                // An unquoted PIN in YAML is a number.
                Value::Number(pin) => Some(Pin::new(pin.to_string())),
                _ => text(configuration, COMPONENT, "userPin")?.map(Pin::new),
            },
        })
    }
}

/// Reads `system.privateKeyPath` and `system.certificateFilePath`, with the component's configuration if it is deployed.
pub fn classic(system: &Value, provider: Option<&Provider>) -> Result<Mapped, ConfigError> {
    let library = provider.map_or_else(Library::default, |p| Library {
        path: Some(p.library.clone()),
        token: None,
        slot: Some(p.slot),
        pin: p.pin.clone(),
    });
    let read = |name: &str| -> Result<Option<KeyUri>, ConfigError> {
        let Some(written) = text(system, "system", name)? else {
            return Ok(None);
        };
        let at = format!("system.{name}");
        let uri: KeyUri = written
            .parse()
            .map_err(|fault| ConfigError::uri(&at, &fault))?;
        let uri = library.complete(uri);
        if let KeyUri::Token(token) = &uri
            && token.module_path.is_none()
            && token.module_name.is_none()
        {
            return Err(ConfigError::new(
                at,
                format!(
                    "names a key in a token, and neither {COMPONENT}.library nor module-path= says which library"
                ),
            ));
        }
        Ok(Some(uri))
    };
    let key = read("privateKeyPath")?
        .ok_or_else(|| ConfigError::new("system.privateKeyPath", "is missing"))?;
    let certificate = read("certificateFilePath")?;
    let slot = key
        .token()
        .is_some_and(|t| t.slot.is_some() && t.token.is_none());
    let message = format!(
        "system.privateKeyPath is now written {}{}{}",
        new_form(&key),
        if slot {
            "; token=LABEL in place of slot-id stays right when slots change"
        } else {
            ""
        },
        about_pin(&key)
    );
    Ok(Mapped {
        key,
        certificate,
        message,
    })
}
