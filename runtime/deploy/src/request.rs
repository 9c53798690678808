//! What can be said about a request before anything is looked up: refused with the reason, or taken.

use crate::{Failure, Options, error::CreateError};
use configuration::parse_pointer;
use model::error_code::ErrorCode;
use model::{ComponentName, Version, deployment::LocalDeploymentRequest};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// The versions to add, of a request that was accepted.
pub(crate) fn versions(
    request: &LocalDeploymentRequest,
) -> Result<BTreeMap<ComponentName, Version>, Failure> {
    let parse = |(name, version): (&ComponentName, &String)| Ok((name.clone(), version.parse()?));
    let versions: Result<_, model::version::VersionError> = request.add.iter().map(parse).collect();
    versions.map_err(|e| Failure::new(&[ErrorCode::DeploymentDocumentNotValid], e.to_string()))
}

/// Checks a request; returns the versions to add, parsed.
pub(crate) fn check(
    request: &LocalDeploymentRequest,
    options: &Options,
) -> Result<BTreeMap<ComponentName, Version>, CreateError> {
    let bad = |message: String| Err(CreateError::InvalidArguments(message));
    if let Some(path) = &request.recipe_folder {
        folder(path).map_err(|reason| CreateError::InvalidRecipeFolder {
            path: path.clone(),
            reason,
        })?;
    }
    if let Some(path) = &request.artifact_folder {
        folder(path).map_err(|reason| CreateError::InvalidArtifactFolder {
            path: path.clone(),
            reason,
        })?;
        let own = options.root.join("packages/artifacts");
        if fs::canonicalize(path).ok() == fs::canonicalize(&own).ok().or(Some(own)) {
            let reason = "it is the component store itself".to_owned();
            return Err(CreateError::InvalidArtifactFolder {
                path: path.clone(),
                reason,
            });
        }
    }
    let nothing = request.add.is_empty()
        && request.remove.is_empty()
        && request.configuration.is_empty()
        && request.run_with.is_empty()
        && request.recipe_folder.is_none()
        && request.artifact_folder.is_none();
    if nothing {
        return bad("nothing to do: name components to add, remove or configure, or give a folder of recipes or artifacts".into());
    }
    if let Some(group) = &request.group {
        let name = group
            .strip_prefix("thinggroup/")
            .or_else(|| group.strip_prefix("thing/"))
            .unwrap_or(group);
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_:".contains(c);
        if name.len() > 128 || !name.chars().all(plain) {
            return bad(format!(
                "{group:?} is no group name: at most 128 letters, digits, '-', '_' and ':' are allowed"
            ));
        }
    }
    let mut add = BTreeMap::new();
    for (name, version) in &request.add {
        match version.parse() {
            Ok(parsed) => drop(add.insert(name.clone(), parsed)),
            Err(e) => {
                return bad(format!(
                    "component {name}: {e}; a root component needs one exact version such as 1.0.0"
                ));
            }
        }
    }
    let removed: BTreeSet<_> = request.remove.iter().collect();
    if let Some(both) = removed.iter().find(|name| add.contains_key(**name)) {
        return bad(format!("component {both} is to be both added and removed"));
    }
    for (name, update) in &request.configuration {
        if update
            .merge
            .as_ref()
            .is_some_and(|merge| !merge.is_object())
        {
            return bad(format!("configuration of {name}: MERGE takes an object"));
        }
        if let Some(pointer) = update
            .reset
            .iter()
            .find(|pointer| parse_pointer(pointer).is_none())
        {
            return bad(format!(
                "configuration of {name}: RESET {pointer:?} is no JSON pointer; write /key/below, or \"\" for all"
            ));
        }
    }
    for (name, update) in &request.run_with {
        if let Some(Some(user)) = &update.posix_user {
            let parts: Vec<_> = user.split(':').collect();
            let fine = |part: &&str| {
                !part.is_empty()
                    && !part.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/')
            };
            if parts.len() > 2 || !parts.iter().all(fine) {
                return bad(format!(
                    "runWith of {name}: {user:?} is not user or user:group"
                ));
            }
        }
        if let Some(Some(limits)) = &update.system_resource_limits {
            if limits
                .cpus
                .is_some_and(|cpus| !(cpus > 0.0 && cpus.is_finite()))
            {
                return bad(format!("runWith of {name}: cpus must be more than 0"));
            }
            if limits.memory == Some(0) {
                return bad(format!("runWith of {name}: memory must be more than 0 KB"));
            }
        }
    }
    Ok(add)
}

fn folder(path: &Path) -> Result<(), String> {
    if !path.is_absolute() {
        return Err("it must be an absolute path".into());
    }
    match fs::read_dir(path) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err("there is no such folder".into()),
        Err(e) if e.kind() == std::io::ErrorKind::NotADirectory => Err("it is not a folder".into()),
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            Err("the runtime's user may not read it".into())
        }
        Err(e) => Err(e.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::deployment::ConfigurationUpdate;
    use serde_json::json;

    fn refused(edit: impl FnOnce(&mut LocalDeploymentRequest)) -> CreateError {
        let mut request = LocalDeploymentRequest::default();
        request.add.insert(name("a"), "1.0.0".into());
        let options = Options::new("/nowhere", model::Platform::default());
        check(&request, &options).unwrap();
        edit(&mut request);
        check(&request, &options).unwrap_err()
    }

    fn name(text: &str) -> ComponentName {
        ComponentName::new(text).unwrap()
    }

    #[test]
    fn each_kind_of_mistake_has_its_own_refusal() {
        let recipe = refused(|r| r.recipe_folder = Some("/no/such/folder".into()));
        assert!(
            matches!(recipe, CreateError::InvalidRecipeFolder { .. }),
            "{recipe}"
        );
        let artifact = refused(|r| r.artifact_folder = Some("relative".into()));
        assert!(
            matches!(artifact, CreateError::InvalidArtifactFolder { .. }),
            "{artifact}"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        let file = refused(|r| r.recipe_folder = Some(file.path().into()));
        assert!(file.to_string().ends_with("it is not a folder"), "{file}");
    }

    #[test]
    fn arguments_that_make_no_sense_are_refused_with_what_would() {
        let update = |value| ConfigurationUpdate {
            merge: Some(value),
            reset: vec![],
        };
        let cases: Vec<(&str, CreateError)> = vec![
            (
                "one exact version",
                refused(|r| drop(r.add.insert(name("b"), "^1".into()))),
            ),
            (
                "both added and removed",
                refused(|r| r.remove.push(name("a"))),
            ),
            ("nothing to do", refused(|r| r.add.clear())),
            (
                "takes an object",
                refused(|r| drop(r.configuration.insert(name("a"), update(json!(1))))),
            ),
            (
                "no JSON pointer",
                refused(|r| {
                    r.configuration.insert(
                        name("a"),
                        ConfigurationUpdate {
                            reset: vec!["a".into()],
                            merge: None,
                        },
                    );
                }),
            ),
            ("no group name", refused(|r| r.group = Some("a/b".into()))),
            (
                "user or user:group",
                refused(|r| {
                    r.run_with.entry(name("a")).or_default().posix_user =
                        Some(Some("a:b:c".into()));
                }),
            ),
        ];
        for (part, error) in cases {
            assert!(
                matches!(&error, CreateError::InvalidArguments(m) if m.contains(part)),
                "{part}: {error}"
            );
        }
    }
}
