//! Keys in real tokens: SoftHSM, and a software TPM (swtpm) behind tpm2-pkcs11.
//!
//! PKCS#11 libraries read their configuration from environment variables and keep one state a process. So each case is
//! run by this program started anew, with a token store in a folder of its own and, for the TPM, a swtpm of its own.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod cases;
mod place;

use libtest_mimic::{Arguments, Failed, Trial};
use place::{Kind, Place};
use std::process::{Command, ExitCode};

const CHILD: &str = "KEYS_TEST_CASE";

fn main() -> ExitCode {
    if let Some(case) = std::env::var_os(CHILD) {
        let case = case.into_string().unwrap();
        let (kind, name) = case.split_once('/').unwrap();
        let found = cases::ALL.iter().find(|c| c.0 == name).unwrap();
        let mut place = Place::here(Kind::named(kind));
        (found.2)(&mut place);
        return ExitCode::SUCCESS;
    }
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for kind in [Kind::SoftHsm, Kind::Tpm] {
        let missing = kind.missing();
        if let Some(missing) = &missing
            && !arguments.list
        {
            println!("SKIPPED: every case with {}: {missing}", kind.name());
        }
        for (name, kinds, _) in cases::ALL.iter().filter(|c| c.1.contains(&kind)) {
            let _ = kinds;
            let case = format!("{}/{name}", kind.name());
            let trial = Trial::test(case.clone(), move || run(kind, &case));
            trials.push(trial.with_ignored_flag(missing.is_some()));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn run(kind: Kind, case: &str) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new(std::env::current_exe()?);
    command.env(CHILD, case);
    place::prepare(kind, folder.path(), &mut command);
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(Failed::from(format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )))
}
