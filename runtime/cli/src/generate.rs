//! Shell completions and manual pages, made from the command line's own definition so that they cannot disagree with it.

use crate::{
    Failure,
    arguments::{Cli, Shell},
    output::Output,
};
use clap::CommandFactory;
use std::{fs, path::Path};

const NAME: &str = "greengrass-cli";

/// Prints a completion script.
pub fn completions(shell: Shell, output: &mut Output<'_>) -> Result<(), Failure> {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    let mut command = Cli::command();
    if shell != clap_complete::Shell::Bash {
        clap_complete::generate(shell, &mut command, NAME, &mut script);
        return Ok(output.answer.write_all(&script)?);
    }
    // clap_complete takes a hyphen in the program's name for the way to a subcommand, and then completes none of them.
    let plain = NAME.replace('-', "");
    clap_complete::generate(shell, &mut command, &plain, &mut script);
    let script = String::from_utf8_lossy(&script);
    let script = script.replace(&format!(" {plain}\n"), &format!(" {NAME}\n"));
    Ok(output.answer.write_all(script.as_bytes())?)
}

/// Prints the manual page of the whole, or writes one page for each command into a folder.
pub fn man(folder: Option<&Path>, output: &mut Output<'_>) -> Result<(), Failure> {
    let command = Cli::command();
    let Some(folder) = folder else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        return Ok(output.answer.write_all(&page)?);
    };
    let problem = |error: std::io::Error| Failure::Usage(format!("{}: {error}", folder.display()));
    fs::create_dir_all(folder).map_err(problem)?;
    clap_mangen::generate_to(command, folder).map_err(problem)
}
