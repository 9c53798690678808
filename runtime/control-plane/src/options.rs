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
