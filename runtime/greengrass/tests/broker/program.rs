//! The program, started with a configuration, and what it says.

use crate::files::Folder;
use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

/// Longer than anything takes on a busy machine; reached only by a failing test.
pub const DEADLINE: Duration = Duration::from_secs(30);

pub fn greengrass() -> Command {
    Command::new(env!("CARGO_BIN_EXE_greengrass"))
}

/// A running broker; killed when dropped.
pub struct Broker {
    child: Child,
    lines: Receiver<String>,
    /// The ports of its listeners, in the order of the file.
    pub ports: Vec<u16>,
}

impl Broker {
    /// With `broker.yaml` of the folder, as many listeners as it says.
    pub fn start(folder: &Folder, listeners: usize) -> Self {
        Self::run(
            greengrass()
                .args(["broker", "--config"])
                .arg(folder.path("broker.yaml")),
            listeners,
        )
    }

    /// With at most so many open files.
    pub fn start_with_files(folder: &Folder, listeners: usize, files: u32) -> Self {
        let script = format!("ulimit -n {files}; exec \"$0\" broker --config \"$1\"");
        let mut shell = Command::new("sh");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_greengrass")]);
        Self::run(shell.arg(folder.path("broker.yaml")), listeners)
    }

    fn run(command: &mut Command, listeners: usize) -> Self {
        let command = command.env_remove("JOURNAL_STREAM");
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (line, lines) = channel();
        let output = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for read in output.lines().map_while(Result::ok) {
                let _ = line.send(read);
            }
        });
        let mut broker = Self {
            child,
            lines,
            ports: Vec::new(),
        };
        for _ in 0..listeners {
            let line = broker.says("listening");
            let address = line
                .split("address=")
                .nth(1)
                .unwrap()
                .split_whitespace()
                .next();
            let port = address.unwrap().rsplit(':').next().unwrap();
            broker.ports.push(port.parse().unwrap());
        }
        broker
    }

    /// Waits for a line with these words.
    pub fn says(&self, words: &str) -> String {
        let deadline = Instant::now() + DEADLINE;
        let mut before = Vec::new();
        loop {
            match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) if line.contains(words) => return line,
                Ok(line) => before.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("never said '{words}', but:\n{}", before.join("\n"))
                }
            }
        }
    }

    pub fn signal(&self, name: &str) {
        let kill = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status();
        assert!(kill.unwrap().success());
    }

    /// Asks it to end and waits; its exit code.
    pub fn stop(&mut self) -> i32 {
        self.signal("TERM");
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(start.elapsed() < DEADLINE, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
