//! The state on disk: JSON, replaced whole, mode 0600 (an ownership token is in it).
//!
//! ```text
//! {"version": 1, "state": "registering", "key": URI, "certificateId": "…", "token": "…"}
//! ```

use crate::{
    machine::State,
    wire::{OwnershipToken, Registered},
};
use serde_json::{Value, json};
use std::{io, path::Path};
use zeroize::Zeroizing;

const VERSION: u64 = 1;

pub(crate) fn write(path: &Path, state: &State) -> io::Result<()> {
    let mut document = match state {
        State::Fresh => json!({"state": "fresh"}),
        State::MakingKey => json!({"state": "making-key"}),
        State::Requesting { key } => json!({"state": "requesting", "key": key}),
        State::Registering {
            key,
            certificate_id,
            token,
        } => {
            json!({"state": "registering", "key": key, "certificateId": certificate_id, "token": token.expose()})
        }
        State::Storing {
            key,
            certificate_id,
            registered,
        } => json!({"state": "storing", "key": key, "certificateId": certificate_id,
            "thing": registered.thing, "configuration": registered.configuration}),
        State::Done {
            thing,
            certificate_id,
        } => json!({"state": "done", "thing": thing, "certificateId": certificate_id}),
    };
    document["version"] = VERSION.into();
    let text = Zeroizing::new(document.to_string());
    store::file::write_atomic(path, text.as_bytes(), 0o600)
}

/// `Fresh` when nothing was ever stored.
pub(crate) fn read(path: &Path) -> io::Result<State> {
    let text = match std::fs::read(path) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(State::Fresh),
        other => Zeroizing::new(other?),
    };
    let document: Value = serde_json::from_slice(&text)?;
    if document["version"] != VERSION {
        return Err(fault(
            "it is from a newer version of this program, and is left alone",
        ));
    }
    let needed = |name: &str| match document[name].as_str() {
        Some(text) => Ok(text.to_owned()),
        None => Err(fault("something is missing in it")),
    };
    Ok(match document["state"].as_str().unwrap_or_default() {
        "fresh" => State::Fresh,
        "making-key" => State::MakingKey,
        "requesting" => State::Requesting {
            key: document["key"].as_str().map(str::to_owned),
        },
        "registering" => State::Registering {
            key: needed("key")?,
            certificate_id: needed("certificateId")?,
            token: OwnershipToken::new(needed("token")?),
        },
        "storing" => State::Storing {
            key: needed("key")?,
            certificate_id: needed("certificateId")?,
            registered: Registered {
                thing: needed("thing")?,
                configuration: serde_json::from_value(document["configuration"].clone())?,
            },
        },
        "done" => State::Done {
            thing: needed("thing")?,
            certificate_id: needed("certificateId")?,
        },
        _ => return Err(fault("its state is not known")),
    })
}

fn fault(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn every_state_is_read_back_as_it_was_from_a_file_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("provisioning.json");
        assert_eq!(read(&path).unwrap(), State::Fresh);
        let (key, certificate_id) = (String::from("pkcs11:object=a"), String::from("id"));
        for state in [
            State::Fresh,
            State::MakingKey,
            State::Requesting { key: None },
            State::Requesting {
                key: Some(key.clone()),
            },
            State::Registering {
                key: key.clone(),
                certificate_id: certificate_id.clone(),
                token: OwnershipToken::new("token"),
            },
            State::Storing {
                key,
                certificate_id: certificate_id.clone(),
                registered: Registered {
                    thing: "t".into(),
                    configuration: [("a".to_owned(), "b".to_owned())].into(),
                },
            },
            State::Done {
                thing: "t".into(),
                certificate_id,
            },
        ] {
            write(&path, &state).unwrap();
            assert_eq!(read(&path).unwrap(), state);
        }
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn nonsense_and_a_newer_version_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("provisioning.json");
        for text in [
            "",
            "{}",
            r#"{"version":2}"#,
            r#"{"version":1,"state":"registering"}"#,
        ] {
            std::fs::write(&path, text).unwrap();
            assert!(read(&path).is_err(), "{text}");
        }
    }
}
