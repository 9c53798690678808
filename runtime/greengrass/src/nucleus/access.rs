//! The file that lets the command line in: `cli_ipc_info/user-<uid>`, mode 0600.

use anyhow::Context;
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
};

fn file(root: &Path, uid: u32) -> PathBuf {
    root.join("cli_ipc_info").join(format!("user-{uid}"))
}

/// Writes it whole, or not at all.
pub fn publish(root: &Path, socket: &Path, uid: u32, token: &str) -> anyhow::Result<()> {
    let path = file(root, uid);
    let text = json!({ "cli_auth_token": token, "domain_socket_path": socket }).to_string();
    store::file::write_atomic(&path, text.as_bytes(), 0o600)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Removes it; a token that no longer opens anything need not lie about.
pub fn withdraw(root: &Path, uid: u32) {
    let _ = fs::remove_file(file(root, uid));
}
