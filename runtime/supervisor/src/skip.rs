//! `Skipif`: looked at by the runtime, with the step's own `PATH`.

use model::component::{SkipCondition, SkipIf};
use std::{collections::BTreeMap, path::Path};

/// Where executables are looked for when the environment names no `PATH`: what the launcher fills in.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Whether the step is to be skipped. May block on a slow file system.
pub(crate) fn holds(
    skip: &SkipIf,
    environment: &BTreeMap<String, String>,
    work_folder: &Path,
) -> bool {
    let found = match &skip.condition {
        SkipCondition::Exists(file) => work_folder.join(file).exists(),
        SkipCondition::OnPath(program) => {
            let path = environment.get("PATH").map_or(PATH, String::as_str);
            path.split(':')
                .any(|folder| is_executable(&work_folder.join(folder).join(program)))
        }
    };
    found != skip.negated
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file)
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn when(negated: bool, condition: SkipCondition) -> SkipIf {
        SkipIf { negated, condition }
    }

    #[test]
    fn a_file_exists_or_not_also_relative_to_the_work_folder() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("there"), "").unwrap();
        let holds = |negated, file: &str| {
            holds(
                &when(negated, SkipCondition::Exists(file.into())),
                &BTreeMap::new(),
                folder.path(),
            )
        };
        assert!(holds(false, "there"));
        assert!(!holds(true, "there"));
        assert!(!holds(false, "/not/there"));
        assert!(holds(true, "/not/there"));
    }

    #[test]
    fn only_an_executable_file_counts_as_on_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tool");
        std::fs::write(&file, "").unwrap();
        let environment = BTreeMap::from([(
            "PATH".into(),
            format!("/nowhere:{}", folder.path().display()),
        )]);
        let skip = when(false, SkipCondition::OnPath("tool".into()));
        assert!(!holds(&skip, &environment, folder.path()));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(holds(&skip, &environment, folder.path()));
        assert!(holds(
            &when(false, SkipCondition::OnPath("sh".into())),
            &BTreeMap::new(),
            folder.path()
        ));
    }
}
