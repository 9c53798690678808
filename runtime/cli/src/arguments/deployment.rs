//! `deployment …` and `deploy`

use super::component::trimmed_name;
use clap::{ArgAction, Args, Subcommand, ValueEnum};
use model::ComponentName;
use std::path::PathBuf;

/// Commands about deployments.
#[derive(Subcommand, Debug, PartialEq)]
pub enum DeploymentCommand {
    /// Create a local deployment: add, update, configure and remove components
    Create(Create),
    /// Remove components with a local deployment
    Remove(Remove),
    /// Show how far a deployment is
    Status {
        /// The deployment
        #[arg(short = 'i', long = "deploymentId", aliases = ["deployment-id", "id"], value_name = "ID")]
        id: String,
        #[command(flatten)]
        #[allow(missing_docs)]
        follow: Follow,
    },
    /// List the local deployments
    List,
    /// Cancel a deployment
    Cancel {
        /// The deployment
        #[arg(short = 'i', long = "deploymentId", aliases = ["deployment-id", "id"], value_name = "ID")]
        id: String,
    },
}

/// What to deploy.
#[derive(Args, Debug, PartialEq, Default)]
pub struct Create {
    /// Folder of recipes to take in
    #[arg(short = 'r', long = "recipeDir", aliases = ["recipe-dir", "recipesDir", "recipes-dir"], value_name = "FOLDER")]
    pub recipes: Option<PathBuf>,
    /// Folder of artifacts to take in: <component>/<version>/<files>
    #[arg(short = 'a', long = "artifactDir", aliases = ["artifact-dir", "artifactsDir", "artifacts-dir"], value_name = "FOLDER")]
    pub artifacts: Option<PathBuf>,
    /// Component and version to add or update; may be repeated
    #[arg(short = 'm', long = "merge", aliases = ["add-component", "addComponent"], value_name = "NAME=VERSION", value_parser = merge, value_delimiter = ',')]
    pub merge: Vec<(ComponentName, String)>,
    /// Component to remove; may be repeated
    #[arg(long, aliases = ["remove-component", "removeComponent"], value_name = "NAME", value_delimiter = ',', value_parser = trimmed_name)]
    pub remove: Vec<ComponentName>,
    /// Who a component runs as: NAME:posixUser=USER[:GROUP]; may be repeated
    #[arg(long = "runWith", alias = "run-with", value_name = "NAME:posixUser=USER", value_parser = run_with)]
    pub run_with: Vec<RunWithOption>,
    /// Limits by component, JSON or a file: {"NAME": {"cpus": 0.5, "memory": KiB}}
    #[arg(
        long = "systemLimits",
        alias = "system-limits",
        value_name = "JSON|FILE"
    )]
    pub system_limits: Option<String>,
    /// Configuration by component, JSON or a file: {"NAME": {"RESET": ["/pointer"], "MERGE": {...}}}
    #[arg(short = 'c', long = "update-config", aliases = ["updateConfig", "update-configuration"], value_name = "JSON|FILE")]
    pub update: Option<String>,
    /// What to do when it fails
    #[arg(
        long = "failure-handling-policy",
        alias = "failureHandlingPolicy",
        value_name = "POLICY",
        ignore_case = true
    )]
    pub policy: Option<Policy>,
    /// Whether components that are to change are asked before, and may defer it [default: they are not asked]
    #[arg(
        long = "component-update-policy",
        alias = "componentUpdatePolicy",
        value_name = "POLICY",
        ignore_case = true
    )]
    pub update_policy: Option<Asking>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub change: Change,
}

/// What to remove.
#[derive(Args, Debug, PartialEq, Default)]
pub struct Remove {
    /// The components, separated by blanks or commas
    #[arg(value_name = "NAME", value_delimiter = ',', value_parser = trimmed_name, required_unless_present = "names")]
    pub components: Vec<ComponentName>,
    /// The same, as an option
    #[arg(short = 'n', long = "names", alias = "name", value_name = "NAME,...", value_delimiter = ',', value_parser = trimmed_name)]
    pub names: Vec<ComponentName>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub change: Change,
}

/// What every deployment can be told.
#[derive(Args, Debug, PartialEq, Default)]
pub struct Change {
    /// Only show what it would change
    #[arg(long = "dry-run", alias = "dryRun", conflicts_with = "follow")]
    pub dry_run: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub follow: Follow,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub group: Group,
}

/// The group a deployment belongs to.
#[derive(Args, Debug, PartialEq, Default)]
pub struct Group {
    /// Thing group whose components it changes [default: local deployments]
    #[arg(short = 'g', long = "groupId", aliases = ["group-id", "group-name", "groupName", "group"], value_name = "GROUP")]
    pub group: Option<String>,
}

/// Whether to stay until the end.
#[derive(Args, Debug, PartialEq, Default)]
pub struct Follow {
    /// Show progress until the deployment has ended; exit 1 when it does not succeed
    #[arg(long, visible_alias = "wait", action = ArgAction::SetTrue)]
    pub follow: bool,
    /// Give up following after this many seconds; the deployment goes on
    #[arg(long, value_name = "SECONDS", requires = "follow")]
    pub timeout: Option<u64>,
}

/// `NAME:posixUser=USER[:GROUP]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunWithOption {
    /// Which component.
    pub component: ComponentName,
    /// `user[:group]`; `None` clears it.
    pub posix_user: Option<String>,
}

/// What happens when a deployment fails.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Policy {
    /// Put everything back
    #[value(alias = "roll-back")]
    Rollback,
    /// Leave it as it is
    #[value(alias = "do-nothing")]
    DoNothing,
}

/// Whether components are asked before they change.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Asking {
    /// Ask; no answer within a minute is consent
    NotifyComponents,
    /// Change them unasked
    SkipNotifyComponents,
}

fn merge(text: &str) -> Result<(ComponentName, String), String> {
    let (name, version) = text
        .trim()
        .split_once('=')
        .ok_or("expected NAME=VERSION, for example com.example.A=1.0.0")?;
    let name = name
        .trim()
        .parse::<ComponentName>()
        .map_err(|e| e.to_string())?;
    let version = version.trim();
    // The version is compared as text on the other side; what is sent is what was meant.
    version
        .parse::<model::Version>()
        .map_err(|e| e.to_string())?;
    Ok((name, version.to_owned()))
}

fn run_with(text: &str) -> Result<RunWithOption, String> {
    const FORM: &str = "expected NAME:posixUser=USER or NAME:posixUser=USER:GROUP";
    let (left, user) = text.split_once('=').ok_or(FORM)?;
    let (component, option) = left.split_once(':').ok_or(FORM)?;
    let component = component
        .trim()
        .parse()
        .map_err(|e: model::name::NameError| e.to_string())?;
    if option.eq_ignore_ascii_case("windowsUser") {
        return Err("windowsUser has no meaning on Linux; use posixUser".to_owned());
    }
    if !option.eq_ignore_ascii_case("posixUser") {
        return Err(FORM.to_owned());
    }
    if user.starts_with(':') || user.ends_with(':') || user.matches(':').count() > 1 {
        return Err(FORM.to_owned());
    }
    Ok(RunWithOption {
        component,
        posix_user: (!user.is_empty()).then(|| user.to_owned()),
    })
}
