//! What a request must satisfy before anything is done for it. Pure.

use super::{LaunchError, Options, Unit};
use model::{ComponentName, SystemLimits};
use std::path::{Component, Path};

/// Longest script.
pub(crate) const MAX_SCRIPT: usize = 1 << 20;
/// Most bytes of names and values in an environment: the kernel's own limit is near 2 MiB for arguments and environment.
pub(crate) const MAX_ENVIRONMENT: usize = 1 << 20;
/// One string of argv or the environment may hold 128 KiB, with its end.
const MAX_STRING: usize = (128 << 10) - 1;

type Checked = Result<(), LaunchError>;

fn refuse<T>(why: impl Into<String>) -> Result<T, LaunchError> {
    Err(LaunchError::Refused(why.into()))
}

/// A unit as a whole.
pub(crate) fn unit(options: &Options, unit: &Unit) -> Checked {
    if unit.privileged && !options.allow_privileged {
        return refuse(format!(
            "{} requires privilege, which this launcher does not give",
            unit.id
        ));
    }
    if unit.tag.len() > 256 || !unit.tag.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return refuse("a tag is at most 256 printable ASCII characters");
    }
    if unit.script.len() > MAX_SCRIPT || unit.script.contains('\0') {
        return refuse(format!(
            "the script of {} is longer than {MAX_SCRIPT} bytes or holds a NUL",
            unit.id
        ));
    }
    shell(&unit.shell)?;
    if let Some(name) = &unit.user {
        user(name)?;
    }
    environment(unit)?;
    below(
        &options.root,
        &super::port::work_folder(&options.root, &unit.id.component),
        &unit.work_folder,
    )?;
    limits(&unit.limits)
}

fn shell(shell: &str) -> Checked {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"/_-.+".contains(&b);
    if shell.is_empty() || shell.len() > 256 || !shell.bytes().all(fine) || shell.starts_with('-') {
        return refuse(format!("{shell:?} is not the name or path of a shell"));
    }
    if shell.contains('/') && !shell.starts_with('/') {
        return refuse(format!(
            "the shell {shell:?} must be a plain name or an absolute path"
        ));
    }
    Ok(())
}

/// `user` or `user:group`, names or numbers. Only the form; whether they exist is asked later.
pub(crate) fn user(text: &str) -> Checked {
    let fine = |part: &str| {
        !part.is_empty()
            && part.len() <= 256
            && !part.starts_with('-')
            && part
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"_-.$@\\".contains(&b))
    };
    let (user, group) = text
        .split_once(':')
        .map_or((text, None), |(u, g)| (u, Some(g)));
    if fine(user) && group.is_none_or(fine) {
        Ok(())
    } else {
        refuse(format!("{text:?} is not of the form user or user:group"))
    }
}

fn environment(unit: &Unit) -> Checked {
    let mut total = 0;
    for (name, value) in &unit.environment {
        let mut bytes = name.bytes();
        let first = bytes
            .next()
            .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        if !first || !bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return refuse(format!(
                "{name:?} is not the name of an environment variable"
            ));
        }
        if value.contains('\0') {
            return refuse(format!("the value of {name} holds a NUL"));
        }
        if name.len() + value.len() + 1 > MAX_STRING {
            return refuse(format!(
                "the value of {name} is longer than {MAX_STRING} bytes"
            ));
        }
        total += name.len() + value.len() + 2;
    }
    if total > MAX_ENVIRONMENT {
        return refuse(format!(
            "the environment of {} is larger than {MAX_ENVIRONMENT} bytes",
            unit.id
        ));
    }
    Ok(())
}

/// Numbers the kernel takes.
pub(crate) fn limits(limits: &SystemLimits) -> Checked {
    if limits
        .cpus
        .is_some_and(|cpus| !(0.01..=8192.0).contains(&cpus))
    {
        return refuse("a CPU limit lies between 0.01 and 8192 CPUs");
    }
    if limits
        .memory_kib
        .is_some_and(|kib| kib == 0 || kib > u64::MAX / 1024)
    {
        return refuse("a memory limit is at least 1 KiB");
    }
    Ok(())
}

/// An artifact folder of this component.
pub(crate) fn artifacts(root: &Path, component: &ComponentName, path: &Path) -> Checked {
    let packages = root.join("packages");
    if ["artifacts", "artifacts-unarchived"]
        .iter()
        .any(|kind| below(root, &packages.join(kind).join(component.as_str()), path).is_ok())
    {
        return Ok(());
    }
    refuse(format!(
        "{} is not an artifact folder of {component}",
        path.display()
    ))
}

/// `path` is `folder` or lies below it, and is spelled without `.`, `..` and NUL. `folder` lies in `root`.
fn below(root: &Path, folder: &Path, path: &Path) -> Checked {
    debug_assert!(folder.starts_with(root));
    let plain = path
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if plain
        && path.is_absolute()
        && path.starts_with(folder)
        && !path.as_os_str().as_encoded_bytes().contains(&0)
    {
        return Ok(());
    }
    refuse(format!(
        "{} is not below {}",
        path.display(),
        folder.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::super::{StepKind, UnitId, output};
    use super::*;
    use std::sync::Arc;

    fn options() -> Options {
        Options::new("/gg", "/run/gg", Arc::new(output::discard))
    }

    fn good() -> Unit {
        Unit {
            id: UnitId::new("a.B".parse().unwrap(), StepKind::Run),
            tag: "1.0.0".into(),
            script: "true".into(),
            shell: "sh".into(),
            user: Some("ggc_user:ggc_group".into()),
            privileged: false,
            environment: [("SVCUID".to_owned(), "X".to_owned())].into(),
            work_folder: "/gg/work/a.B".into(),
            limits: SystemLimits::default(),
        }
    }

    fn refused(change: impl FnOnce(&mut Unit)) -> bool {
        let mut unit_ = good();
        change(&mut unit_);
        matches!(unit(&options(), &unit_), Err(LaunchError::Refused(_)))
    }

    #[test]
    fn an_ordinary_unit_passes() {
        assert_eq!(unit(&options(), &good()), Ok(()));
    }

    #[test]
    fn a_work_folder_outside_the_components_own_is_refused() {
        for path in [
            "/gg/work/other",
            "/gg/work/a.B/../other",
            "/etc",
            "work/a.B",
            "/gg/work/a.Bc",
            "/gg/work",
        ] {
            assert!(refused(|u| u.work_folder = path.into()), "{path}");
        }
        assert!(!refused(|u| u.work_folder = "/gg/work/a.B/below".into()));
    }

    #[test]
    fn what_the_kernel_would_misread_is_refused() {
        assert!(refused(|u| u.script = "a\0b".into()));
        assert!(refused(|u| u.script = "x".repeat(MAX_SCRIPT + 1)));
        for name in ["", "A=B", "1A", "A B", "A\n"] {
            assert!(
                refused(|u| drop(u.environment.insert(name.into(), String::new()))),
                "{name:?}"
            );
        }
        assert!(refused(|u| drop(
            u.environment.insert("A".into(), "\0".into())
        )));
        assert!(refused(|u| drop(
            u.environment.insert("A".into(), "x".repeat(MAX_STRING))
        )));
        assert!(refused(|u| {
            u.environment = (0..20)
                .map(|i| (format!("A{i}"), "x".repeat(100_000)))
                .collect();
        }));
    }

    #[test]
    fn users_shells_and_limits_keep_their_form() {
        for text in ["", ":", "a:", ":b", "a:b:c", "a b", "-a", "a\n"] {
            assert!(refused(|u| u.user = Some(text.into())), "{text:?}");
        }
        for text in ["", "-c", "sh -e", "bin/sh", "sh\n", "$(id)"] {
            assert!(refused(|u| u.shell = text.into()), "{text:?}");
        }
        assert!(!refused(|u| u.shell = "/bin/bash".into()));
        for cpus in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(refused(|u| u.limits.cpus = Some(cpus)), "{cpus}");
        }
        assert!(refused(|u| u.limits.memory_kib = Some(0)));
        assert!(refused(|u| u.tag = "ü".into()));
    }

    #[test]
    fn a_launcher_may_be_told_to_give_no_privilege() {
        let mut options = options();
        options.allow_privileged = false;
        let mut privileged = good();
        privileged.privileged = true;
        assert!(matches!(
            unit(&options, &privileged),
            Err(LaunchError::Refused(_))
        ));
    }

    #[test]
    fn only_the_components_own_artifacts_change_hands() {
        let root = Path::new("/gg");
        let name = "a.B".parse().unwrap();
        for path in [
            "/gg/packages/artifacts/a.B/1.0.0",
            "/gg/packages/artifacts-unarchived/a.B/1.0.0/x",
        ] {
            assert_eq!(artifacts(root, &name, Path::new(path)), Ok(()), "{path}");
        }
        for path in [
            "/gg/packages/artifacts",
            "/gg/packages/artifacts/other",
            "/gg/state.db",
            "/gg/packages/artifacts/a.B/../c",
        ] {
            assert!(artifacts(root, &name, Path::new(path)).is_err(), "{path}");
        }
    }
}
