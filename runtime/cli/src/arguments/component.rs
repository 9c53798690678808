//! `component …`

use clap::{Args, Subcommand};
use model::ComponentName;

/// Commands about components.
#[derive(Subcommand, Debug, PartialEq)]
pub enum ComponentCommand {
    /// List the components on this device
    List,
    /// Show version, state and configuration of a component
    Details {
        /// The component
        #[arg(short = 'n', long = "name", value_name = "NAME")]
        name: ComponentName,
    },
    /// Restart components; also brings back those that are BROKEN
    Restart(Names),
    /// Stop components
    Stop(Names),
}

/// One or more components.
#[derive(Args, Debug, PartialEq)]
pub struct Names {
    /// The components, separated by commas
    #[arg(short = 'n', long = "names", alias = "name", value_name = "NAME,...", value_delimiter = ',', required = true, value_parser = trimmed_name)]
    pub names: Vec<ComponentName>,
}

/// `a, b` is as good as `a,b`.
pub(super) fn trimmed_name(text: &str) -> Result<ComponentName, model::name::NameError> {
    text.trim().parse()
}
