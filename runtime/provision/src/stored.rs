//! The state on disk: JSON, replaced whole, mode 0600 (an ownership token is in it).
//!
//! ```text
//! {"version": 1, "state": "registering", "key": URI, "certificateId": "…", "token": "…",
//!  "failed": {"why": "…", "at": SECONDS, "again": SECONDS}}
//! ```
//! Other processes read it while one works: it says where provisioning is and why it is not further.

use crate::{
    machine::State,
    wire::{OwnershipToken, Registered},
};
use serde_json::{Value, json};
use std::{io, path::Path};
use zeroize::Zeroizing;

const VERSION: u64 = 1;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where provisioning is.
    pub state: State,
    /// The last attempt of what this state does, if it failed.
    pub failed: Option<Failed>,
}

/// An attempt that failed. Times are in seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Why.
    pub why: String,
    /// When.
    pub at: u64,
    /// When the next one is made.
    pub again: u64,
}

pub(crate) fn write(path: &Path, state: &State, failed: Option<&Failed>) -> io::Result<()> {
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
    if let Some(Failed { why, at, again }) = failed {
        document["failed"] = json!({"why": why, "at": at, "again": again});
    }
    let text = Zeroizing::new(document.to_string());
    store::file::write_atomic(path, text.as_bytes(), 0o600)
}

/// `Fresh` when nothing was ever stored.
pub fn read(path: &Path) -> io::Result<Record> {
    let text = match std::fs::read(path) {
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => {
            return Ok(Record {
                state: State::Fresh,
                failed: None,
            });
        }
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
    let failed = document["failed"].as_object().map(|failed| {
        let time = |name: &str| failed.get(name).and_then(Value::as_u64).unwrap_or(0);
        let why = failed.get("why").and_then(Value::as_str);
        Failed {
            why: why.unwrap_or_default().to_owned(),
            at: time("at"),
            again: time("again"),
        }
    });
    let state = match document["state"].as_str().unwrap_or_default() {
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
    };
    Ok(Record { state, failed })
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
        assert_eq!(read(&path).unwrap().state, State::Fresh);
        let failed = Failed {
            why: "no route".into(),
            at: 1,
            again: 3,
        };
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
            for failed in [None, Some(failed.clone())] {
                write(&path, &state, failed.as_ref()).unwrap();
                let state = state.clone();
                assert_eq!(read(&path).unwrap(), Record { state, failed });
            }
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
