//! The command line: commands and options of the classic `greengrass-cli`, the `deploy` form of nucleus lite, and what is new.
//! Options of several words are known in camelCase and in kebab-case.

mod component;
mod deployment;
mod legacy;
mod logs;
mod recipe;

pub use component::ComponentCommand;
pub use deployment::{Change, Create, DeploymentCommand, Follow, Group};
pub use legacy::modernise;
pub use logs::{Get, LogsCommand, Sources};
pub use recipe::RecipeCommand;

use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  it failed: a deployment failed, a component does not exist, no runtime answers
  2  the request is wrong: bad arguments, a bad recipe, a folder that does not exist";

/// Talks to the Greengrass core on this device
#[derive(Parser, Debug, PartialEq)]
#[command(name = "greengrass-cli", version, after_help = EXIT_CODES, propagate_version = true, subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// Root folder of Greengrass [default: unless root ~/.local/state/greengrass, then /var/lib/greengrass, then /greengrass/v2]
    #[arg(
        long = "ggcRootPath",
        aliases = ["ggc-root-path", "root"],
        env = "GGC_ROOT_PATH",
        hide_env_values = true,
        value_name = "FOLDER",
        help_heading = "Everywhere",
        global = true
    )]
    pub root: Option<PathBuf>,
    /// Form of the answer
    #[arg(
        long,
        short = 'o',
        value_name = "FORM",
        default_value = "text",
        help_heading = "Everywhere",
        global = true
    )]
    pub output: OutputForm,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// Form of answers.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputForm {
    /// Tables and sentences, for people
    Text,
    /// One JSON document, for scripts
    Json,
}

/// The commands.
#[derive(Subcommand, Debug, PartialEq)]
pub enum Command {
    /// Create local deployments, follow and cancel them
    #[command(subcommand, visible_alias = "deployments")]
    Deployment(DeploymentCommand),
    /// Create a local deployment, in the words of nucleus lite
    Deploy(Create),
    /// List, look at, restart and stop components
    #[command(subcommand, visible_alias = "components")]
    Component(ComponentCommand),
    /// Read and search log files
    #[command(subcommand)]
    Logs(LogsCommand),
    /// Check recipes
    #[command(subcommand)]
    Recipe(RecipeCommand),
    /// Print the completions of a shell
    #[cfg(feature = "generate")]
    Completions {
        /// Which shell
        shell: Shell,
    },
    #[cfg(feature = "generate")]
    /// Print the manual page, or write those of all commands
    Man {
        /// Folder for one page of each command
        #[arg(long, value_name = "FOLDER")]
        out: Option<PathBuf>,
    },
}

/// Shells there are completions for.
#[cfg(feature = "generate")]
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    /// GNU Bash
    Bash,
    /// Z shell
    Zsh,
    /// Fish
    Fish,
}

#[cfg(test)]
mod tests;
