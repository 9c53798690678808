//! The device program. One file, several roles: `greengrass run` has them all in one process, `greengrass nucleus` and
//! `greengrass launcher` are the roles of the appliance, `greengrass broker` is the MQTT engine alone, `greengrass provision`
//! gets the device its identity, and under the name `greengrass-cli` (or `ggl-cli`, or as `greengrass cli`) it is the
//! command line.

mod arguments;
mod broker;
mod exit;
mod memory;
mod nucleus;
mod provision;
mod roles;
mod settings;
mod signals;

use arguments::{Arguments, Command};
use clap::Parser;
use std::{ffi::OsString, path::Path, process::ExitCode};

fn main() -> ExitCode {
    // First of all: between fork and shell, this program is also the step that takes on a component's user and cgroup.
    supervisor::launcher::trampoline_main();
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let arguments = match for_cli(&arguments) {
        // The command line's neighbour: it works before there is a nucleus to talk to.
        Some(cli) if cli.get(1).is_some_and(|word| word == "provision") => cli,
        Some(cli) => return code(cli::run(cli.into_iter())),
        None => arguments,
    };
    let role = Arguments::parse_from(&arguments).command;
    memory::one_arena(&arguments);
    let run = match role {
        Command::Run(options) => roles::run(&options),
        Command::Nucleus(options) => roles::nucleus(options),
        Command::Launcher(options) => roles::launcher(options),
        Command::Broker(options) => broker::run(&options),
        Command::Provision(options) => provision::command(&options),
        Command::Cli { .. } => unreachable!("handled above"),
    };
    match run {
        Ok(exit) => exit.into(),
        Err(error) => {
            log::error!("{error:#}");
            eprintln!("greengrass: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The arguments of the command line, when that is what was asked for: by the program's name, or by the word `cli`.
fn for_cli(arguments: &[OsString]) -> Option<Vec<OsString>> {
    let name = Path::new(arguments.first()?).file_name()?.to_str()?;
    if name == "greengrass-cli" || name == "ggl-cli" {
        return Some(arguments.to_vec());
    }
    if arguments.get(1)? == "cli" {
        let mut rest = vec![OsString::from("greengrass-cli")];
        rest.extend_from_slice(&arguments[2..]);
        return Some(rest);
    }
    None
}

fn code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
