//! The last lines a unit wrote, from the journal. Output of both kinds: the journal does not tell them apart.

use std::{process::Stdio, time::Duration};
use tokio::{process::Command, time::timeout};

const LINES: usize = 20;
const LINE_BYTES: usize = 512;
const PATIENCE: Duration = Duration::from_secs(3);

/// The last lines of one run of a unit; none when the journal does not answer.
pub(super) async fn tail(invocation: &str) -> Vec<String> {
    // What the dead process wrote last may still be on its way.
    let _ = journalctl(&["--sync".into()]).await;
    let lines = format!("--lines={LINES}");
    let of_unit = format!("_SYSTEMD_INVOCATION_ID={invocation}");
    let arguments = [
        "--output=cat".into(),
        "--all".into(),
        lines,
        of_unit,
        "_TRANSPORT=stdout".into(),
    ];
    let text = journalctl(&arguments).await.unwrap_or_default();
    text.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| String::from_utf8_lossy(&line[..line.len().min(LINE_BYTES)]).into_owned())
        .collect()
}

async fn journalctl(arguments: &[String]) -> Option<Vec<u8>> {
    let mut command = Command::new("journalctl");
    command
        .args(["--quiet", "--no-pager"])
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    match timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) => Some(output.stdout),
        Ok(Err(e)) => {
            log::debug!("journalctl: {e}");
            None
        }
        Err(_) => None,
    }
}
