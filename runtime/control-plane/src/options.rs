//! The command line.

use clap::{Args, Parser, Subcommand};
use std::{net::SocketAddr, path::PathBuf};

/// A self-hosted control plane that the AWS CLI, the SDKs and Greengrass devices take for AWS.
#[derive(Parser, Debug)]
#[command(name = "greengrass-cloud", version)]
pub struct Options {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run the control plane until told to stop.
    Serve(Serve),
    /// Print the lines that make a shell's AWS CLI talk to this control plane, with a user's keys.
    Credentials(Credentials),
    /// Manage who may sign in: each user has access keys for the API and may have a password for the console.
    User {
        /// What to do.
        #[command(subcommand)]
        command: User,
    },
    /// Write everything to one new file, also while the program runs. Keep the file as secret as the data folder.
    Backup {
        /// The data folder.
        #[command(flatten)]
        data: Data,
        /// The file to make.
        file: PathBuf,
    },
    /// Make things, groups, policies, components and deployments anew in an account of AWS, or in another control plane.
    ///
    /// The credentials of the new place are in the environment, as for the AWS CLI. This control plane must be running.
    /// Nothing that exists in the new place is changed; an export that was interrupted is run again.
    Export(Export),
    /// Make a new data folder of a backup.
    Restore {
        /// The data folder to make.
        #[command(flatten)]
        data: Data,
        /// The backup.
        file: PathBuf,
    },
}

/// `credentials`.
#[derive(Args, Debug)]
pub struct Credentials {
    /// The data folder.
    #[command(flatten)]
    pub data: Data,
    /// Whose keys.
    #[arg(long, default_value = "admin")]
    pub user: String,
    /// Write to this new file, readable by nobody else, instead of the terminal.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `export`.
#[derive(Args, Debug)]
pub struct Export {
    /// The data folder of what is left.
    #[command(flatten)]
    pub data: Data,
    /// Whose keys to read with.
    #[arg(long, default_value = "admin")]
    pub user: String,
    /// The new place [default: AWS_ENDPOINT_URL, else AWS itself].
    #[arg(long, value_name = "URL")]
    pub endpoint_url: Option<String>,
    /// The new region [default: AWS_REGION, AWS_DEFAULT_REGION].
    #[arg(long)]
    pub region: Option<String>,
    /// The bucket for artifacts in the new place; made when it is not there [default: of the same name].
    #[arg(long)]
    pub bucket: Option<String>,
    /// Register the active certificates too, with their policies and things. Their keys stay on the devices.
    #[arg(long)]
    pub certificates: bool,
    /// Look, and say what would be moved.
    #[arg(long)]
    pub dry_run: bool,
    /// Also write the report to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// `user`.
#[derive(Subcommand, Debug)]
pub enum User {
    /// Add a user; prints nothing secret: see `credentials`.
    Add {
        /// The data folder.
        #[command(flatten)]
        data: Data,
        /// Its name.
        name: String,
        /// Also read a console password, of at least 12 characters, from standard input.
        #[arg(long)]
        password: bool,
    },
    /// Read a new console password for a user from standard input.
    Password {
        /// The data folder.
        #[command(flatten)]
        data: Data,
        /// Its name.
        name: String,
        /// Take the password away instead: the user can no longer sign in to the console.
        #[arg(long)]
        remove: bool,
    },
    /// List the users.
    List {
        /// The data folder.
        #[command(flatten)]
        data: Data,
    },
    /// Remove a user and its keys, at once.
    Remove {
        /// The data folder.
        #[command(flatten)]
        data: Data,
        /// Its name.
        name: String,
    },
}

/// Where everything is kept.
#[derive(Args, Debug, Clone)]
pub struct Data {
    /// The data folder.
    #[arg(long, value_name = "DIR", env = "GREENGRASS_CLOUD_DATA")]
    pub data: PathBuf,
}

/// `serve`.
#[derive(Args, Debug)]
pub struct Serve {
    /// Where everything is kept; made by the first start.
    #[command(flatten)]
    pub data: Data,
    /// REST without TLS: for tools on this machine, which then need no CA bundle.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:4580")]
    pub listen_http: SocketAddr,
    /// REST with TLS, with a certificate of this program's own authority.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:4543")]
    pub listen_https: SocketAddr,
    /// MQTT for devices, with mutual TLS; HTTPS by ALPN.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8883")]
    pub listen_mqtt: SocketAddr,
    /// HTTPS for devices, with mutual TLS: data plane, credentials, discovery; MQTT by ALPN.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8443")]
    pub listen_devices: SocketAddr,
    /// Devices that may be connected at a time.
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000)]
    pub max_connections: usize,
    /// Certificates that devices may get with one provisioning claim, in all [default: as many as they ask for].
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub claim_uses: Option<u32>,
    /// Serve no REST without TLS.
    #[arg(long, conflicts_with = "listen_http")]
    pub no_http: bool,
    /// Let --listen-http be an address that other machines reach: secrets then cross the network as they are.
    #[arg(long)]
    pub insecure_http: bool,
    /// A name or address, besides those of this machine, by which it is reached; may be given more than once.
    #[arg(long = "name", value_name = "NAME")]
    pub names: Vec<String>,
    /// The region to be; decided by the first start [default: us-east-1].
    #[arg(long)]
    pub region: Option<String>,
    /// The 12 digits of the account; decided by the first start [default: random].
    #[arg(long)]
    pub account: Option<String>,
}
