//! The commands besides `serve`, as a person uses them.

use crate::{
    admin::{self, Answer, Command, backup},
    http::Secret,
    options::{Credentials, User},
};
use anyhow::{Context as _, Result, bail};
use futures_util::StreamExt;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde_json::Value;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, IsTerminal, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

async fn value(folder: &Path, command: Command) -> Result<Value> {
    match admin::call(folder, command).await? {
        Answer::Value(value) => Ok(value),
        Answer::Backup(_) => bail!("an answer of another kind than asked for"),
    }
}

/// `credentials`: to a terminal, a pipe, or a file that nobody else can read.
pub async fn credentials(options: Credentials) -> Result<()> {
    let answer = value(
        &options.data.data,
        Command::Credentials { user: options.user },
    )
    .await?;
    let lines = answer["lines"].as_str().unwrap_or_default();
    if answer["running"] != Value::Bool(true) {
        eprintln!("greengrass-cloud is not running: AWS_ENDPOINT_URL is empty");
    }
    match options.output {
        Some(path) => {
            let mut file = new_private(&path)?;
            file.write_all(lines.as_bytes())
                .with_context(|| format!("writing {}", path.display()))?;
        }
        None => {
            refuse_public_file()?;
            print!("{lines}");
        }
    }
    Ok(())
}

/// A secret redirected into a file that others can read would stay there.
fn refuse_public_file() -> Result<()> {
    let out = fs::metadata("/proc/self/fd/1");
    if out.is_ok_and(|out| out.is_file() && out.mode() & 0o077 != 0) {
        bail!("standard output is a file that others can read; use --output FILE");
    }
    Ok(())
}

fn new_private(path: &Path) -> Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    file.with_context(|| format!("making {}", path.display()))
}

/// `user`.
pub async fn user(command: User) -> Result<()> {
    match command {
        User::Add {
            data,
            name,
            password,
        } => {
            let password = password.then(read_password).transpose()?;
            let answer = value(
                &data.data,
                Command::UserAdd {
                    name: name.clone(),
                    password,
                },
            )
            .await?;
            println!(
                "added {name}, access key {}",
                answer["key"]["access_key_id"].as_str().unwrap_or_default()
            );
            println!(
                "its lines for the AWS CLI: greengrass-cloud credentials --data {} --user {name}",
                data.data.display()
            );
        }
        User::Password { data, name, remove } => {
            let password = if remove { None } else { Some(read_password()?) };
            value(&data.data, Command::UserPassword { name, password }).await?;
        }
        User::List { data } => {
            let answer = value(&data.data, Command::UserList).await?;
            for user in answer["users"].as_array().into_iter().flatten() {
                let keys: Vec<&str> = user["access_key_ids"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .collect();
                let console = if user["console"] == Value::Bool(true) {
                    "console"
                } else {
                    "no console"
                };
                println!(
                    "{}\t{}\t{console}",
                    user["name"].as_str().unwrap_or_default(),
                    keys.join(" ")
                );
            }
        }
        User::Remove { data, name } => {
            value(&data.data, Command::UserRemove { name }).await?;
        }
    }
    Ok(())
}

/// One line of standard input; on a terminal it is not shown.
fn read_password() -> Result<Secret> {
    let input = io::stdin();
    let before = if input.is_terminal() {
        eprint!("Password: ");
        let before = tcgetattr(&input)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&input, OptionalActions::Flush, &quiet)?;
        Some(before)
    } else {
        None
    };
    let mut line = String::new();
    let read = input.lock().read_line(&mut line);
    if let Some(before) = before {
        tcsetattr(&input, OptionalActions::Flush, &before)?;
        eprintln!();
    }
    read.context("reading the password")?;
    Ok(Secret::new(line.trim_end_matches(['\r', '\n'])))
}

/// `backup`: to a new file, which is there only when it is whole.
pub async fn backup(folder: &Path, path: &Path) -> Result<()> {
    if path.exists() {
        bail!("{} is there already", path.display());
    }
    let Answer::Backup(mut pieces) = admin::call(folder, Command::Backup).await? else {
        bail!("an answer of another kind than asked for");
    };
    let mut name = path.file_name().context("a file has a name")?.to_owned();
    name.push(".partial");
    let partial = path.with_file_name(name);
    // What an interrupted backup has left.
    let _ = fs::remove_file(&partial);
    let mut file = new_private(&partial)?;
    let mut write = async || {
        while let Some(piece) = pieces.next().await {
            file.write_all(&piece?)?;
        }
        file.sync_all()
    };
    let written = write().await.and_then(|()| {
        // Unlike a rename, a link does not replace what has come into being meanwhile.
        fs::hard_link(&partial, path)?;
        store::file::fsync_dir(
            path.parent()
                .filter(|p| *p != Path::new(""))
                .unwrap_or(Path::new(".")),
        )
    });
    let _ = fs::remove_file(&partial);
    written.with_context(|| format!("writing {}", path.display()))
}

/// `restore`.
pub async fn restore(folder: &Path, path: &Path) -> Result<()> {
    let (folder, path) = (folder.to_owned(), path.to_owned());
    let what = tokio::task::spawn_blocking(move || backup::restore(&path, &folder)).await??;
    println!("restored {what}");
    Ok(())
}
