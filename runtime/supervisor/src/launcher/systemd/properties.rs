//! A unit as systemd's transient properties.
//!
//! Properties, and the unit files systemd makes of them, are readable by everybody. The environment holds the component's token, so
//! it goes through an `EnvironmentFile` that only root may read. The script is the recipe's and no secret; `ps` shows it anyway.

use super::super::{LaunchError, Options, Unit, UnitId, shell, users::Account};
use super::{
    proxy::Property,
    state::{COMPONENT, STEP, TAG},
};
use model::SystemLimits;
use std::{path::PathBuf, time::Duration};
use zbus::Variant;

/// What a failed main process leaves behind has this long; a stop has its own grace.
const LEFTOVER_GRACE: Duration = Duration::from_secs(5);

/// Where a unit's environment lies while it lives.
pub(super) fn environment_file(options: &Options, id: &UnitId) -> PathBuf {
    options
        .runtime_folder
        .join(format!("{}.{}.env", id.component, id.step))
}

/// Writes the files a unit needs and gives its properties.
pub(super) fn of(
    options: &Options,
    unit: &Unit,
    account: &Account,
) -> Result<Vec<Property<'static>>, LaunchError> {
    let failed = |reason: &dyn std::fmt::Display| LaunchError::start(&unit.id, reason);
    let file = environment_file(options, &unit.id);
    let environment = shell::environment(account, unit);
    let text: String = environment
        .iter()
        .map(|(name, value)| assignment(name, value))
        .collect();
    shell::write_private(&file, &text, &Account::root()).map_err(|e| failed(&e))?;

    // systemd wants an absolute path.
    let shell = shell::find(&unit.shell)
        .ok_or_else(|| failed(&format!("there is no shell {:?}", unit.shell)))?;
    let mut argv = vec![shell.clone()];
    argv.extend(shell::arguments(options, account, unit).map_err(|e| failed(&e))?);
    let fields = [
        (COMPONENT, unit.id.component.as_str()),
        (STEP, unit.id.step.as_str()),
        (TAG, unit.tag.as_str()),
    ];
    let fields: Vec<Vec<u8>> = fields
        .iter()
        .map(|(name, value)| format!("{name}={value}").into_bytes())
        .collect();

    let mut properties: Vec<Property<'static>> = vec![
        (
            "Description",
            format!(
                "Greengrass component {}, {} step",
                unit.id.component, unit.id.step
            )
            .into(),
        ),
        // The start is done when the shell runs, and its failure is the start's.
        ("Type", "exec".into()),
        // A success stays visible until it is seen, even by a nucleus that was not there; see `Seen::settled`.
        ("RemainAfterExit", true.into()),
        ("CollectMode", "inactive".into()),
        (
            "ExecStartEx",
            vec![(shell, argv, vec!["no-env-expand".to_owned()])].into(),
        ),
        (
            "EnvironmentFiles",
            vec![(file.to_string_lossy().into_owned(), false)].into(),
        ),
        (
            "WorkingDirectory",
            unit.work_folder.to_string_lossy().into_owned().into(),
        ),
        ("Slice", "greengrass.slice".into()),
        ("KillMode", "control-group".into()),
        ("TimeoutStopUSec", microseconds(LEFTOVER_GRACE).into()),
        ("StandardInput", "null".into()),
        ("StandardOutput", "journal".into()),
        ("StandardError", "journal".into()),
        (
            "SyslogIdentifier",
            unit.id.component.as_str().to_owned().into(),
        ),
        ("LogExtraFields", fields.into()),
        // Memory of all its processes counts, so the end of one is the end of all.
        ("OOMPolicy", "stop".into()),
        (
            "NoNewPrivileges",
            (options.no_new_privileges && account.uid != 0 && !unit.privileged).into(),
        ),
    ];
    if account.uid != 0 {
        // By name, so that systemd gives it its supplementary groups; a number without a name has none.
        let user = account
            .name
            .clone()
            .unwrap_or_else(|| account.uid.to_string());
        properties.push(("User", user.into()));
        properties.push(("Group", account.gid.to_string().into()));
    }
    properties.extend(limits(&unit.limits));
    Ok(properties)
}

/// Limits as properties; what has none is made unlimited.
pub(super) fn limits(limits: &SystemLimits) -> Vec<Property<'static>> {
    let memory = limits
        .memory_kib
        .map_or(u64::MAX, |kib| kib.saturating_mul(1024));
    let cpu = limits.cpus.map_or(Ok(u64::MAX), |cpus| {
        Duration::try_from_secs_f64(cpus).map(microseconds)
    });
    vec![
        ("MemoryMax", Variant::U64(memory)),
        ("CPUQuotaPerSecUSec", Variant::U64(cpu.unwrap_or(u64::MAX))),
    ]
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A line of an environment file: in double quotes the backslash escapes itself, the quote, the dollar and the backtick.
fn assignment(name: &str, value: &str) -> String {
    let mut line = format!("{name}=\"");
    for c in value.chars() {
        if matches!(c, '"' | '\\' | '$' | '`') {
            line.push('\\');
        }
        line.push(c);
    }
    line + "\"\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_in_an_environment_file_are_quoted() {
        assert_eq!(assignment("A", "plain"), "A=\"plain\"\n");
        assert_eq!(
            assignment("A", "a\"b\\c$d`e'\nf"),
            "A=\"a\\\"b\\\\c\\$d\\`e'\nf\"\n"
        );
    }

    #[test]
    fn limits_are_bytes_and_microseconds_and_absent_ones_unlimited() {
        let some = limits(&SystemLimits {
            memory_kib: Some(2),
            cpus: Some(1.5),
        });
        assert_eq!(
            some,
            [
                ("MemoryMax", Variant::U64(2048)),
                ("CPUQuotaPerSecUSec", Variant::U64(1_500_000))
            ]
        );
        let none = limits(&SystemLimits::default());
        assert!(
            none.iter()
                .all(|(_, value)| *value == Variant::U64(u64::MAX))
        );
    }
}
