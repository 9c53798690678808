//! `greengrass-cli`: the commands people know from the classic CLI and from nucleus lite, over the runtime's IPC socket.
//!
//! ```no_run
//! let code = cli::run(["greengrass-cli", "component", "list"].map(Into::into).into_iter());
//! assert_eq!(code, 0);
//! ```

mod arguments;
mod component;
mod connection;
mod deployment;
mod failure;
mod follow;
#[cfg(feature = "generate")]
mod generate;
mod ipc_client;
mod logs;
mod output;
mod plan;
mod recipe;
mod request;
mod runtime;

use arguments::{Cli, Command, RecipeCommand};
use clap::Parser;
pub use connection::own_root;
use failure::Failure;
use output::Output;
use runtime::Connect;
use std::{
    ffi::OsString,
    io::{self, IsTerminal},
};

/// Runs one command and returns the process's exit code: 0 done, 1 it failed, 2 the request is wrong.
///
/// `arguments` begins with the program's name. The program serves the names `greengrass-cli` and `ggl-cli`.
pub fn run(arguments: impl Iterator<Item = OsString>) -> i32 {
    let cli = match Cli::try_parse_from(arguments::modernise(arguments)) {
        // An empty GGC_ROOT_PATH is none.
        Ok(cli) => Cli {
            root: cli.root.filter(|root| !root.as_os_str().is_empty()),
            ..cli
        },
        Err(error) => {
            // Nobody is left to tell when this fails.
            let _ = error.print();
            return error.exit_code();
        }
    };
    let mut answer = io::BufWriter::new(io::stdout());
    let mut output = Output {
        answer: &mut answer,
        progress: &mut io::stderr(),
        form: cli.output,
        colour: io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
        live: io::stderr().is_terminal(),
    };
    let socket = ipc_client::Socket {
        root: cli.root.clone(),
    };
    let result = execute(&cli, &socket, start_tokio, &mut output);
    i32::from(finish(result, &mut output))
}

/// Flushes the answer, says what failed, and gives the exit code.
fn finish(result: Result<(), Failure>, output: &mut Output<'_>) -> u8 {
    let result = output.answer.flush().map_err(Failure::from).and(result);
    match result {
        Ok(()) => 0,
        Err(failure) => {
            let code = failure.exit_code();
            if code != 0 && !matches!(failure, Failure::Silent(_)) {
                let _ = writeln!(output.progress, "error: {failure}");
            }
            code
        }
    }
}

/// Makes the async runtime, for the commands that need one.
type StartTokio = fn() -> io::Result<tokio::runtime::Runtime>;

fn start_tokio() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
}

fn execute(
    cli: &Cli,
    connect: &dyn Connect,
    start: StartTokio,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let root = || connection::root(cli.root.as_deref());
    let tokio = || start().map_err(|error| Failure::Failed(format!("cannot start: {error}")));
    match &cli.command {
        Command::Deployment(command) => {
            tokio()?.block_on(deployment::run(command, connect, output))
        }
        Command::Deploy(arguments) => {
            tokio()?.block_on(deployment::create(arguments, connect, output))
        }
        Command::Component(command) => tokio()?.block_on(component::run(command, connect, output)),
        Command::Recipe(RecipeCommand::Check { files, platform }) => {
            recipe::run(files, platform, &root(), output)
        }
        Command::Logs(command) => logs::run(command, &root(), output),
        #[cfg(feature = "generate")]
        Command::Completions { shell } => generate::completions(*shell, output),
        #[cfg(feature = "generate")]
        Command::Man { out } => generate::man(out.as_deref(), output),
    }
}

#[cfg(test)]
mod tests;
