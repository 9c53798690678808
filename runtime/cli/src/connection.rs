//! Finds the runtime: its root folder, and in there the socket and this user's token in `cli_ipc_info/user-<uid>`:
//!
//! ```json
//! {"cli_auth_token": "…", "domain_socket_path": "/var/lib/greengrass/ipc.socket"}
//! ```
//!
//! Inside a component its own token and socket serve, when no root was named.

use crate::runtime::ConnectError;
use serde::Deserialize;
use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

/// Roots of the whole device, tried in this order when none is named.
const DEVICE_ROOTS: [&str; 2] = ["/var/lib/greengrass", "/greengrass/v2"];

/// The folder of all state of somebody who is not root and names none: `greengrass run` keeps it there.
pub fn own_root() -> Option<PathBuf> {
    let folder = |name| {
        env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let home = || folder("HOME").map(|home| home.join(".local/state"));
    let state = folder("XDG_STATE_HOME").filter(|path| path.is_absolute());
    Some(state.or_else(home)?.join("greengrass"))
}

/// Roots tried in this order when none is named: of somebody who is not root the own one, then the device's.
fn default_roots(own: Option<PathBuf>) -> Vec<PathBuf> {
    let own = own.filter(|_| !rustix::process::geteuid().is_root());
    own.into_iter()
        .chain(DEVICE_ROOTS.map(PathBuf::from))
        .collect()
}

/// Where to connect, and as whom.
#[derive(PartialEq, Eq)]
pub struct Endpoint {
    /// The socket.
    pub socket: PathBuf,
    /// The token. Never shown.
    pub token: String,
    /// The root folder, when known; for messages.
    pub root: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Info {
    cli_auth_token: String,
    domain_socket_path: PathBuf,
}

/// Looks for the runtime; `named` is what the user gave.
pub fn find(named: Option<&Path>) -> Result<Endpoint, ConnectError> {
    if let Some(root) = named {
        if !root.is_dir() {
            return Err(ConnectError::Usage(format!(
                "{} is no folder. Give the root folder of Greengrass with --ggcRootPath or GGC_ROOT_PATH.",
                root.display()
            )));
        }
        return in_root(root);
    }
    if let Some(endpoint) = of_component() {
        return Ok(endpoint);
    }
    let roots = default_roots(own_root());
    match roots.iter().find(|root| root.is_dir()) {
        Some(root) => in_root(root),
        None => {
            let tried: Vec<_> = roots
                .iter()
                .map(|root| root.display().to_string())
                .collect();
            Err(ConnectError::Usage(format!(
                "there is no Greengrass in {}. Give its root folder with --ggcRootPath or GGC_ROOT_PATH.",
                tried.join(" or ")
            )))
        }
    }
}

/// The root folder for commands that need no runtime.
pub fn root(named: Option<&Path>) -> PathBuf {
    if let Some(root) = named {
        return root.to_owned();
    }
    let mut roots = default_roots(own_root());
    let found = roots.iter().position(|root| root.is_dir());
    roots.swap_remove(found.unwrap_or(0))
}

fn of_component() -> Option<Endpoint> {
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let socket = set("AWS_GG_NUCLEUS_DOMAIN_SOCKET_FILEPATH_FOR_COMPONENT")?;
    Some(Endpoint {
        socket: socket.into(),
        token: set("SVCUID")?,
        root: None,
    })
}

fn in_root(root: &Path) -> Result<Endpoint, ConnectError> {
    let folder = root.join("cli_ipc_info");
    let own = folder.join(format!("user-{}", rustix::process::geteuid().as_raw()));
    let group = folder.join(format!("group-{}", rustix::process::getegid().as_raw()));
    // Any file that may be read will do, as in the classic CLI: the permissions of the files decide who may talk.
    let others = fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|file| file.path());
    let mut denied = false;
    for file in [own, group].into_iter().chain(others) {
        match fs::read(&file) {
            Ok(bytes) => return read(&file, &bytes, root),
            Err(error) => denied |= error.kind() == io::ErrorKind::PermissionDenied,
        }
    }
    if denied {
        return Err(denied_at(root));
    }
    let down = not_running(root);
    Err(
        if root.join("config").exists() || root.join("state.db").exists() || folder.exists() {
            ConnectError::Down(down)
        } else {
            ConnectError::Usage(format!(
                "{} is not the root folder of a Greengrass that ever ran (it has no cli_ipc_info). {down}",
                root.display()
            ))
        },
    )
}

fn read(file: &Path, bytes: &[u8], root: &Path) -> Result<Endpoint, ConnectError> {
    let info: Info = serde_json::from_slice(bytes).map_err(|error| {
        ConnectError::Refused(format!(
            "{} is damaged ({error}). Restarting the runtime writes it anew.",
            file.display()
        ))
    })?;
    Ok(Endpoint {
        socket: info.domain_socket_path,
        token: info.cli_auth_token,
        root: Some(root.to_owned()),
    })
}

fn denied_at(root: &Path) -> ConnectError {
    ConnectError::Refused(format!(
        "permission denied: this user may not talk to the runtime in {}. Use sudo, or the user that runs it.",
        root.display()
    ))
}

fn not_running(root: &Path) -> String {
    format!(
        "No runtime is running in {0}. Start it with `systemctl start greengrass`, or by hand with `greengrass run --root {0}`.",
        root.display()
    )
}

impl Endpoint {
    /// What an error of the socket means for the user.
    pub fn explain(&self, error: &io::Error) -> ConnectError {
        let root = self.root.as_deref();
        match (error.kind(), root) {
            (io::ErrorKind::PermissionDenied, Some(root)) => denied_at(root),
            (io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused, Some(root)) => {
                ConnectError::Down(not_running(root))
            }
            (io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused, None) => {
                ConnectError::Down(format!("nobody listens on {}", self.socket.display()))
            }
            _ => ConnectError::Down(format!(
                "cannot connect to {}: {error}",
                self.socket.display()
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(result: Result<Endpoint, ConnectError>) -> String {
        result.err().map(|e| format!("{e:?}")).unwrap_or_default()
    }

    #[test]
    fn the_users_own_file_names_socket_and_token() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("cli_ipc_info");
        fs::create_dir(&folder).unwrap();
        let uid = rustix::process::geteuid().as_raw();
        fs::write(
            folder.join("user-4294967"),
            r#"{"cli_auth_token":"other","domain_socket_path":"/other"}"#,
        )
        .unwrap();
        fs::write(
            folder.join(format!("user-{uid}")),
            r#"{"cli_auth_token":"mine","domain_socket_path":"/s"}"#,
        )
        .unwrap();
        let endpoint = find(Some(root.path())).ok().unwrap();
        assert_eq!(
            (endpoint.socket, endpoint.token),
            (PathBuf::from("/s"), "mine".to_owned())
        );
    }

    #[test]
    fn every_way_to_miss_the_runtime_says_what_to_do() {
        let root = tempfile::tempdir().unwrap();
        let wrong = message(find(Some(&root.path().join("nowhere"))));
        assert!(
            wrong.starts_with("Usage") && wrong.contains("--ggcRootPath"),
            "{wrong}"
        );
        let never = message(find(Some(root.path())));
        assert!(
            never.starts_with("Usage") && never.contains("cli_ipc_info"),
            "{never}"
        );
        fs::create_dir(root.path().join("config")).unwrap();
        let down = message(find(Some(root.path())));
        assert!(
            down.starts_with("Down") && down.contains("greengrass run --root"),
            "{down}"
        );
        fs::create_dir(root.path().join("cli_ipc_info")).unwrap();
        fs::write(root.path().join("cli_ipc_info/user-1"), "{").unwrap();
        let damaged = message(find(Some(root.path())));
        assert!(damaged.contains("damaged"), "{damaged}");
    }

    #[test]
    fn errors_of_the_socket_are_explained() {
        let endpoint = Endpoint {
            socket: "/r/ipc.socket".into(),
            token: "t".into(),
            root: Some("/r".into()),
        };
        let text = |kind: io::ErrorKind| format!("{:?}", endpoint.explain(&kind.into()));
        assert!(text(io::ErrorKind::ConnectionRefused).contains("No runtime is running in /r"));
        assert!(text(io::ErrorKind::PermissionDenied).contains("sudo"));
        assert!(text(io::ErrorKind::TimedOut).contains("/r/ipc.socket"));
    }
}
