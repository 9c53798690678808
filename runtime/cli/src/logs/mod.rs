//! `logs …`: works on the files alone, so that it also helps when no runtime runs.

mod entries;
mod filter;
mod get;
mod groups;
mod syslog;
mod window;

use crate::{
    Failure, Output,
    arguments::{LogsCommand, Sources},
};
use groups::{Group, files, in_folders};
use std::path::{Path, PathBuf};

/// Runs the command. `root` is the root folder, whose logs are read when no folder is named.
pub fn run(command: &LogsCommand, root: &Path, output: &mut Output<'_>) -> Result<(), Failure> {
    match command {
        LogsCommand::Get(get) => get::run(get, root, output),
        LogsCommand::ListLogFiles { folders } => list_files(&or_default(folders, root), output),
        LogsCommand::ListLogGroups { folders } => list_groups(&or_default(folders, root), output),
        LogsCommand::ListKeywords { syslog } => list_keywords(*syslog, output),
    }
}

fn or_default(folders: &[PathBuf], root: &Path) -> Vec<PathBuf> {
    if folders.is_empty() {
        vec![root.join("logs")]
    } else {
        folders.to_vec()
    }
}

fn list_files(folders: &[PathBuf], output: &mut Output<'_>) -> Result<(), Failure> {
    let files: Vec<String> = in_folders(folders)?
        .iter()
        .flat_map(files)
        .map(|path| path.display().to_string())
        .collect();
    if output.is_json() {
        return output.json(&files.into());
    }
    for file in &files {
        output.line(file)?;
    }
    match files.len() {
        0 => output.line("No log file found."),
        count => output.line(&format!("Total {count} files found.")),
    }
}

fn list_groups(folders: &[PathBuf], output: &mut Output<'_>) -> Result<(), Failure> {
    let groups = in_folders(folders)?;
    let size = |group: &Group| {
        files(group)
            .iter()
            .filter_map(|f| f.metadata().ok())
            .map(|m| m.len())
            .sum::<u64>()
    };
    if output.is_json() {
        let groups: Vec<_> = groups
            .iter()
            .map(|group| serde_json::json!({ "name": group.name(), "files": files(group), "bytes": size(group) }))
            .collect();
        return output.json(&groups.into());
    }
    let rows: Vec<Vec<String>> = groups
        .iter()
        .map(|group| {
            vec![
                group.name().to_owned(),
                files(group).len().to_string(),
                format!("{} KiB", size(group).div_ceil(1024)),
            ]
        })
        .collect();
    output.table(&["NAME", "FILES", "SIZE"], &rows)
}

fn list_keywords(syslog: bool, output: &mut Output<'_>) -> Result<(), Failure> {
    let (of, keywords): (_, &[&str]) = if syslog {
        (
            "syslog",
            &["priority=$int", "host=$str", "logger=$str", "class=$str"],
        )
    } else {
        (
            "Greengrass log",
            &[
                "level=$str",
                "thread=$str",
                "loggerName=$str",
                "eventType=$str",
                "serviceName=$str",
                "error=$str",
            ],
        )
    };
    if output.is_json() {
        return output.json(&keywords.into());
    }
    output.line(&format!("Here is a list of suggested keywords for {of}:"))?;
    keywords.iter().try_for_each(|keyword| output.line(keyword))
}

/// What the sources name: whole folders, single files, or the root's logs.
fn sources(sources: &Sources, root: &Path) -> Result<Vec<Group>, Failure> {
    let mut groups: Vec<Group> = sources
        .files
        .iter()
        .map(|file| Group::single(file))
        .collect();
    if let Some(missing) = sources.files.iter().find(|file| !file.exists()) {
        return Err(Failure::Usage(format!(
            "{}: there is no such file",
            missing.display()
        )));
    }
    if !sources.folders.is_empty() || sources.files.is_empty() {
        groups.extend(in_folders(&or_default(&sources.folders, root))?);
    }
    if !sources.components.is_empty() {
        let wanted = |group: &Group| sources.components.iter().any(|name| group.is_of(name));
        if let Some(missing) = sources
            .components
            .iter()
            .find(|name| !groups.iter().any(|group| group.is_of(name)))
        {
            return Err(Failure::Failed(format!(
                "there is no log of {missing}; `greengrass-cli logs list-log-groups` shows what there is"
            )));
        }
        groups.retain(wanted);
    }
    Ok(groups)
}
