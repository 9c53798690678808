//! `recipe …`

use clap::Subcommand;
use std::path::PathBuf;

/// Commands about recipes.
#[derive(Subcommand, Debug, PartialEq)]
pub enum RecipeCommand {
    /// Show what a recipe would run on a platform, or what is wrong with it
    Check {
        /// Recipes, YAML or JSON; - reads standard input
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Platform to check for, over this device's own: os=linux,architecture=aarch64; an empty value removes an attribute
        #[arg(long, value_name = "KEY=VALUE,...", value_delimiter = ',', value_parser = attribute)]
        platform: Vec<(String, String)>,
    },
}

fn attribute(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("expected KEY=VALUE, for example os=linux")?;
    if key.trim().is_empty() {
        return Err("the attribute has no name".to_owned());
    }
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}
