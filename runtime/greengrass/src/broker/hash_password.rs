//! `greengrass broker hash-password`: a password from standard input, its hash to standard output.

use super::password::Hash;
use anyhow::{Context, ensure};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{self, BufRead, Write};
use zeroize::Zeroizing;

/// More than any protocol field takes.
const LONGEST: u64 = 65_535;

/// Reads one line and prints its hash.
pub fn run() -> anyhow::Result<()> {
    let password = read().context("cannot read the password from standard input")?;
    ensure!(!password.is_empty(), "the password is empty");
    let hash = Hash::new(password.as_bytes()).context("cannot hash the password")?;
    println!("{hash}");
    Ok(())
}

fn read() -> io::Result<Zeroizing<String>> {
    let input = io::stdin();
    let quiet = Quiet::new();
    if quiet.is_some() {
        eprint!("Password: ");
        io::stderr().flush()?;
    }
    let mut line = Zeroizing::new(String::with_capacity(1024));
    io::Read::take(input.lock(), LONGEST).read_line(&mut line)?;
    if quiet.is_some() {
        eprintln!();
    }
    let end = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(end);
    Ok(line)
}

/// A terminal that does not show what is typed, until dropped.
struct Quiet(Termios);

impl Quiet {
    /// `None`: standard input is no terminal.
    fn new() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &quiet).ok()?;
        Some(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}
