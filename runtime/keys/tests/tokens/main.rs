//! Keys in real tokens: SoftHSM, and a software TPM (swtpm) behind tpm2-pkcs11.
//!
//! PKCS#11 libraries read their configuration from environment variables and keep one state a process. So each case is
//! run by this program started anew, with a token store in a folder of its own and, for the TPM, a swtpm of its own.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod cases;
mod pki;
mod place;

use libtest_mimic::{Arguments, Failed, Trial};
use place::{Kind, Place};
use std::process::{Command, ExitCode};

const CHILD: &str = "KEYS_TEST_CASE";

fn main() -> ExitCode {
    if let Some(case) = std::env::var_os(CHILD) {
        let case = case.into_string().unwrap();
        let (kind, name) = case.split_once('/').unwrap();
        let found = cases::ALL
            .iter()
            .chain(cases::MEASURES)
            .chain(cases::HELPERS)
            .find(|c| c.0 == name);
        let mut place = Place::here(Kind::named(kind));
        (found.unwrap().2)(&mut place);
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
        let add = |measure: bool, trials: &mut Vec<Trial>| {
            let cases = if measure { cases::MEASURES } else { cases::ALL };
            for (name, ..) in cases.iter().filter(|c| c.1.contains(&kind)) {
                let case = format!("{}/{name}", kind.name());
                let trial = Trial::test(case.clone(), move || run(kind, &case, measure));
                trials.push(trial.with_ignored_flag(measure || missing.is_some()));
            }
        };
        add(false, &mut trials);
        add(true, &mut trials);
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn run(kind: Kind, case: &str, measure: bool) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let small = case.ends_with("a_full_token_says_that_it_is_full");
    let mut command = if small {
        // A file system of its own for the store, which goes with the process.
        let mut command = Command::new("unshare");
        command.args(["--mount", "--map-root-user", "sh", "-c"]);
        command.arg(
            "mount -t tmpfs -o size=96k small \"$KEYS_TEST_FOLDER/tokens\" || exit 77; exec \"$0\"",
        );
        command.arg(std::env::current_exe()?);
        command
    } else {
        Command::new(std::env::current_exe()?)
    };
    command.env(CHILD, case);
    place::prepare(kind, folder.path(), &mut command);
    let output = command.output()?;
    place::clean_up(folder.path());
    for line in String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|l| measure || l.starts_with("SKIPPED"))
    {
        println!("{case}: {line}");
    }
    if output.status.success() {
        return Ok(());
    }
    if small && !String::from_utf8_lossy(&output.stderr).contains("panicked") {
        println!(
            "SKIPPED: {case}: no small file system can be mounted here: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        return Ok(());
    }
    Err(Failed::from(format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )))
}
