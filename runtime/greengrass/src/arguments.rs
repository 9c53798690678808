//! What can be said on the command line of the device program.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Runs AWS IoT Greengrass components on this device.
#[derive(Parser, Debug)]
#[command(name = "greengrass", version, arg_required_else_help = true)]
pub struct Arguments {
    /// The role.
    #[command(subcommand)]
    pub command: Command,
}

/// The roles.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// All roles in one process: for a developer's machine or a container. Needs no root; as root, components run as ggc_user.
    Run(Run),
    /// The nucleus alone: configuration, deployments, lifecycle decisions, IPC. Asks a launcher for everything that needs root.
    Nucleus(Nucleus),
    /// The launcher alone: starts and stops component processes for the nucleus. The only role that is root.
    Launcher(Launcher),
    /// The MQTT broker alone, by a configuration file.
    Broker(Broker),
    /// Give this device its own key, certificate and thing by the claim that its image has; `greengrass run` and `nucleus` do it by themselves.
    Provision(Provision),
    /// The command line; the same as greengrass-cli.
    #[command(disable_help_flag = true)]
    Cli {
        /// Arguments of greengrass-cli.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// What both `run` and `nucleus` need to know.
#[derive(Args, Debug, Clone)]
pub struct Device {
    /// Folder of all state [default: /var/lib/greengrass as root, else $XDG_STATE_HOME/greengrass or ~/.local/state/greengrass].
    #[arg(long, visible_alias = "ggc-root-path", value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// Folder of read-only configuration: config.yaml, then config.d/* in the order of their names.
    #[arg(long, value_name = "DIR", default_value = "/etc/greengrass")]
    pub config_folder: PathBuf,
    /// One more configuration file, read last.
    #[arg(long, visible_alias = "init-config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Name of the device, unless the configuration has it [default: the host name].
    #[arg(long, value_name = "NAME")]
    pub thing_name: Option<String>,
    /// User (user[:group]) of components that name none, unless the configuration has one.
    #[arg(long, visible_alias = "component-default-user", value_name = "USER")]
    pub component_user: Option<String>,
    /// Lowest level that is logged, unless the configuration has one: DEBUG, INFO, WARN, ERROR.
    #[arg(long, value_name = "LEVEL", value_parser = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"], ignore_case = true, hide_possible_values = true)]
    pub log_level: Option<String>,
}

/// `greengrass run`.
#[derive(Args, Debug, Clone)]
pub struct Run {
    /// The device.
    #[command(flatten)]
    pub device: Device,
    /// Who starts component processes: systemd when this is root on a systemd machine (`auto`), or always this program (`processes`).
    #[arg(long, value_name = "WHO", default_value = "processes", value_parser = ["auto", "systemd", "processes"])]
    pub launcher: String,
    /// Let a component's bootstrap step (exit code 101) reboot this machine. Otherwise the program ends with code 101.
    #[arg(long)]
    pub allow_reboot: bool,
}

/// `greengrass nucleus`.
#[derive(Args, Debug, Clone)]
pub struct Nucleus {
    /// The device.
    #[command(flatten)]
    pub device: Device,
    /// Socket of the launcher.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/run/greengrass/launcher.socket"
    )]
    pub launcher_socket: PathBuf,
}

/// `greengrass launcher`.
#[derive(Args, Debug, Clone)]
pub struct Launcher {
    /// Root folder of the nucleus; no path outside it is touched.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/greengrass")]
    pub root: PathBuf,
    /// Where to listen.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/run/greengrass/launcher.socket"
    )]
    pub socket: PathBuf,
    /// The user the nucleus runs as; only it and root are served.
    #[arg(long, value_name = "USER", default_value = "ggcore")]
    pub nucleus_user: String,
    /// Who starts component processes: systemd where it is process 1 (`auto`), or always this program (`processes`).
    #[arg(long, value_name = "WHO", default_value = "auto", value_parser = ["auto", "systemd", "processes"])]
    pub launcher: String,
    /// Let the nucleus reboot this machine.
    #[arg(long)]
    pub allow_reboot: bool,
}

/// `greengrass broker`.
#[derive(Args, Debug, Clone)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Broker {
    /// Instead of serving.
    #[command(subcommand)]
    pub command: Option<BrokerCommand>,
    /// The configuration: listeners, certificates, users, rules, limits.
    #[arg(long, value_name = "FILE", required = true)]
    pub config: Option<PathBuf>,
    /// Only check the configuration and the files it names.
    #[arg(long)]
    pub check: bool,
}

/// What the broker's program does besides.
#[derive(Subcommand, Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokerCommand {
    /// Read a password from standard input and print its hash for the configuration.
    HashPassword,
}

/// `greengrass provision`.
#[derive(Args, Debug, Clone)]
pub struct Provision {
    /// What to do.
    #[command(subcommand)]
    pub command: ProvisionCommand,
}

/// What there is to do.
#[derive(Subcommand, Debug, Clone)]
pub enum ProvisionCommand {
    /// Work until the device has its identity; goes on where an earlier run was stopped.
    Run {
        /// The device.
        #[command(flatten)]
        device: Device,
        /// Give up after so long [default: never].
        #[arg(long, value_name = "SECONDS")]
        timeout: Option<u64>,
        /// Form of the answer.
        #[arg(long, short, value_name = "FORM", default_value = "text")]
        output: Form,
    },
    /// Say how far it is, and why not further.
    Status {
        /// The device.
        #[command(flatten)]
        device: Device,
        /// Form of the answer.
        #[arg(long, short, value_name = "FORM", default_value = "text")]
        output: Form,
    },
    /// Look whether the claim, the parameters and the key's place are usable, or the identity that is there. Changes nothing.
    Check {
        /// The device.
        #[command(flatten)]
        device: Device,
        /// Form of the answer.
        #[arg(long, short, value_name = "FORM", default_value = "text")]
        output: Form,
    },
}

/// Form of answers.
#[derive(ValueEnum, Debug, Clone, Copy)]
pub enum Form {
    /// Lines, for people.
    Text,
    /// One JSON document, for scripts.
    Json,
}
