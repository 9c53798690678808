//! `recipe check`

use crate::{Failure, output::Output};
use model::{
    Platform,
    check::{Plan, Report, check},
    component::Step,
};
use serde_json::Value;
use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Checks recipes; fails when one of them is none, or does not run on the platform.
pub fn run(
    files: &[PathBuf],
    overrides: &[(String, String)],
    root: &Path,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let platform = platform(overrides);
    let mut reports = Vec::new();
    for file in files {
        let (name, text) = read(file)?;
        reports.push(check(&text, &name, &platform, root));
    }
    if output.is_json() {
        let mut values: Vec<Value> = reports
            .iter()
            .map(|r| serde_json::to_value(r).expect("a report is JSON"))
            .collect();
        let answer = if values.len() == 1 {
            values.remove(0)
        } else {
            values.into()
        };
        output.json(&answer)?;
    } else {
        for (index, report) in reports.iter().enumerate() {
            if index > 0 {
                output.line("")?;
            }
            show(report, output)?;
        }
    }
    if reports.iter().any(|report| !report.errors.is_empty()) {
        Err(Failure::Silent(2))
    } else {
        Ok(())
    }
}

fn read(file: &Path) -> Result<(String, String), Failure> {
    let problem = |error: io::Error| Failure::Usage(format!("{}: {error}", file.display()));
    if file == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).map_err(problem)?;
        return Ok(("standard input".to_owned(), text));
    }
    Ok((
        file.display().to_string(),
        fs::read_to_string(file).map_err(problem)?,
    ))
}

/// This device's platform with the overrides of the command line.
fn platform(overrides: &[(String, String)]) -> Platform {
    let system = rustix::system::uname();
    let mut platform = Platform::from_uname(
        &system.sysname().to_string_lossy(),
        &system.machine().to_string_lossy(),
    );
    if overrides.iter().any(|(key, _)| key == "architecture") {
        // This device's detail says nothing about another architecture.
        platform = platform.with_overrides([("architecture.detail", "")]);
    }
    platform.with_overrides(
        overrides
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str())),
    )
}

fn show(report: &Report, output: &mut Output<'_>) -> Result<(), Failure> {
    // `file:line:column:`, where editors and CI find the place.
    for problem in &report.errors {
        output.line(&format!("error: {}:{problem}", report.source_name))?;
    }
    for problem in &report.warnings {
        output.line(&format!("warning: {}:{problem}", report.source_name))?;
    }
    match &report.plan {
        Some(plan) => show_plan(plan, output),
        None => Ok(()),
    }
}

fn show_plan(plan: &Plan, output: &mut Output<'_>) -> Result<(), Failure> {
    output.line(&format!(
        "{} {} on {}",
        plan.name, plan.version, plan.platform
    ))?;
    output.line(&format!("  manifest: {}", plan.manifest))?;
    for (name, (requirement, kind)) in &plan.dependencies {
        output.line(&format!(
            "  needs: {name} {requirement} ({})",
            format!("{kind:?}").to_uppercase()
        ))?;
    }
    for artifact in &plan.artifacts {
        output.line(&format!("  artifact: {}", artifact.uri))?;
    }
    for (name, value) in &plan.lifecycle.setenv {
        output.line(&format!("  environment: {name}={value}"))?;
    }
    let lifecycle = &plan.lifecycle;
    let steps = [
        ("bootstrap", &lifecycle.bootstrap),
        ("install", &lifecycle.install),
        ("startup", &lifecycle.startup),
        ("run", &lifecycle.run),
        ("shutdown", &lifecycle.shutdown),
        ("recover", &lifecycle.recover),
        ("uninstall", &lifecycle.uninstall),
    ];
    if steps.iter().all(|(_, step)| step.is_none()) {
        output.line("  runs nothing: it is FINISHED at once")?;
    }
    for (name, step) in steps {
        if let Some(step) = step {
            show_step(name, step, output)?;
        }
    }
    if plan
        .configuration
        .as_object()
        .is_some_and(|object| !object.is_empty())
    {
        let text = serde_json::to_string_pretty(&plan.configuration).expect("a value is JSON");
        output.line(&format!("  configuration: {}", text.replace('\n', "\n  ")))?;
    }
    Ok(())
}

fn show_step(name: &str, step: &Step, output: &mut Output<'_>) -> Result<(), Failure> {
    let mut notes = Vec::new();
    if step.requires_privilege {
        notes.push("as root".to_owned());
    }
    if let Some(timeout) = step.timeout {
        notes.push(format!("at most {} s", timeout.as_secs_f64()));
    }
    if let Some(skip) = &step.skip_if {
        let negation = if skip.negated { "not " } else { "" };
        let what = match &skip.condition {
            model::component::SkipCondition::OnPath(program) => format!("onpath {program}"),
            model::component::SkipCondition::Exists(path) => format!("exists {}", path.display()),
        };
        notes.push(format!("skipped if {negation}{what}"));
    }
    if step.on_rollback {
        notes.push("also on rollback".to_owned());
    }
    let notes = if notes.is_empty() {
        String::new()
    } else {
        format!(" ({})", notes.join(", "))
    };
    output.line(&format!("  {name}{notes}:"))?;
    for (key, value) in &step.setenv {
        output.line(&format!("    {key}={value}"))?;
    }
    for line in step.script.trim_end().lines() {
        output.line(&format!("    | {line}"))?;
    }
    Ok(())
}
