//! The last lines a unit wrote, from the journal. Output of both kinds: the journal does not tell them apart.

use std::{
    process::Stdio,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{process::Command, time::timeout};

const LINES: usize = 20;
const LINE_BYTES: usize = 512;
const PATIENCE: Duration = Duration::from_secs(3);

/// The last lines that a unit has written since it was started; none when the journal does not answer.
pub(super) async fn tail(unit: &str, started: SystemTime) -> Vec<String> {
    // What the dead process wrote last may still be on its way.
    let _ = journalctl(&["--sync".into()]).await;
    let since = started.duration_since(UNIX_EPOCH).unwrap_or_default();
    let arguments = [
        "--output=cat".into(),
        "--all".into(),
        // With --since, systemd before 254 otherwise gives the first lines instead of the last.
        "--reverse".into(),
        format!("--lines={LINES}"),
        format!("--since=@{}.{:06}", since.as_secs(), since.subsec_micros()),
        // By unit and time, since the journal learns the name from the stream itself, while the invocation is looked up
        // later and may be missing for a process that ended at once.
        format!("_SYSTEMD_UNIT={unit}"),
        "_TRANSPORT=stdout".into(),
    ];
    let text = journalctl(&arguments).await.unwrap_or_default();
    let line =
        |line: &[u8]| String::from_utf8_lossy(&line[..line.len().min(LINE_BYTES)]).into_owned();
    let lines = text
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    let mut lines: Vec<String> = lines.map(line).take(LINES).collect();
    lines.reverse();
    lines
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
