//! `greengrass-cloud user`, `credentials` and `backup`: commands of whoever may enter the data folder. A running program
//! owns the database, so it is asked through a socket in that folder; without one the folder is opened directly.
//!
//! The socket speaks HTTP: `POST /` with a [`Command`] as JSON, answered with JSON, or with a tar for a backup.

pub mod backup;
mod client;
mod server;

pub use client::{Answer, call};
pub use server::{bind, serve};

use crate::{
    http::Secret,
    serve,
    state::{State, users},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The name of the socket in the data folder.
const SOCKET: &str = "admin.socket";

/// What can be asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    /// Add a user with one access key.
    UserAdd {
        /// Its name.
        name: String,
        /// Its password for the console; none: it may not sign in there.
        password: Option<Secret>,
    },
    /// Give a user another password, or none.
    UserPassword {
        /// Its name.
        name: String,
        /// The password.
        password: Option<Secret>,
    },
    /// List the users.
    UserList,
    /// Remove a user and its keys.
    UserRemove {
        /// Its name.
        name: String,
    },
    /// The lines for a shell, with a user's key.
    Credentials {
        /// Its name.
        user: String,
    },
    /// A copy of everything.
    Backup,
}

/// Does what is asked, save for a backup, which is no JSON.
pub async fn run(state: &State, command: Command) -> Result<Value, users::UserError> {
    let database = &state.database;
    match command {
        Command::UserAdd { name, password } => {
            let hashed = hash(password).await?;
            let user = name.clone();
            let key = database
                .write(move |t| users::add(t, &name, hashed.as_deref()))
                .await?;
            log::info!(user = user.as_str(); "added a user");
            Ok(json!({ "key": key }))
        }
        Command::UserPassword { name, password } => {
            let hashed = hash(password).await?;
            database
                .write(move |t| users::set_password(t, &name, hashed.as_deref()))
                .await?;
            Ok(json!({}))
        }
        Command::UserList => {
            let users = database.read(users::list).await?;
            Ok(json!({ "users": users }))
        }
        Command::UserRemove { name } => {
            let user = name.clone();
            database.write(move |t| users::remove(t, &name)).await?;
            log::info!(user = user.as_str(); "removed a user");
            Ok(json!({}))
        }
        Command::Credentials { user } => {
            let key = database.read(move |t| users::key_of(t, &user)).await?;
            let endpoints = state.endpoints.load();
            Ok(
                json!({ "lines": serve::exports(state, &endpoints, &key), "running": endpoints.url().is_some() }),
            )
        }
        Command::Backup => unreachable!("a backup is streamed"),
    }
}

async fn hash(password: Option<Secret>) -> Result<Option<String>, users::UserError> {
    let Some(password) = password else {
        return Ok(None);
    };
    let hashed = tokio::task::spawn_blocking(move || users::hashed(&password)).await;
    hashed.map_err(|_| users::UserError::Password)?.map(Some)
}
