//! What the nucleus is told at start, and what it makes of it for each of its parts.

use super::{CONFIGURED_AT, NUCLEUS, merged, text};
use configuration::{Configuration, Operation};
use model::{Platform, SystemLimits, Version};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::PathBuf};
use supervisor::DefaultUser;

/// Components that are part of the runtime: they satisfy dependencies and take configuration, and need no recipe.
const PROVIDED: [(&str, &str); 5] = [
    // The version whose recipes, SDKs and features this runtime answers for; what GGC_VERSION says.
    ("aws.greengrass.Nucleus", GREENGRASS_VERSION),
    ("aws.greengrass.NucleusLite", "2.6.0"),
    ("aws.greengrass.Cli", GREENGRASS_VERSION),
    ("aws.greengrass.FleetStatusService", GREENGRASS_VERSION),
    ("aws.greengrass.TokenExchangeService", "2.0.3"),
];
const GREENGRASS_VERSION: &str = "2.18.0";

/// Set-up of a nucleus.
#[derive(Clone, Debug)]
pub struct Options {
    /// The root folder.
    pub root: PathBuf,
    /// Read-only configuration, first to last.
    pub documents: Vec<Value>,
    /// Device name when no file has one.
    pub thing_name: String,
    /// `user[:group]` for components without one, when no file has one.
    pub component_user: Option<String>,
    /// The launcher is root, so components must not simply run as its user.
    pub privileged: bool,
    /// Leave components running at the end, for the next nucleus.
    pub keep_components: bool,
}

impl Options {
    /// The operations that bring the read-only configuration into the tree. `identity` is what provisioning has left;
    /// files that name one go before it. A device that `awaits` provisioning has no name yet.
    pub fn given(
        &self,
        configuration: &Configuration,
        identity: Option<&Value>,
        awaits: bool,
    ) -> Vec<Operation> {
        let mut operations: Vec<_> = self
            .documents
            .iter()
            .chain(identity)
            .map(|document| Operation::Merge {
                path: Vec::new(),
                value: document.clone(),
                at: CONFIGURED_AT,
            })
            .collect();
        operations.push(merged(&["system", "rootPath"], json!(self.root)));
        for (name, version) in PROVIDED {
            let path = ["services", name, "version"].map(str::to_owned).to_vec();
            operations.push(Operation::Replace {
                path,
                value: json!(version),
                at: CONFIGURED_AT,
            });
        }
        let named = self
            .documents
            .iter()
            .chain(identity)
            .any(|d| d.pointer("/system/thingName").is_some());
        if !named && !awaits && text(configuration, &["system", "thingName"]).is_none() {
            operations.push(merged(&["system", "thingName"], json!(self.thing_name)));
        }
        operations
    }

    /// For the supervisor.
    pub fn supervisor(
        &self,
        configuration: &Configuration,
        socket: PathBuf,
        credentials: Option<String>,
    ) -> supervisor::Options {
        let run_with = |key: &str| {
            text(
                configuration,
                &[NUCLEUS[0], NUCLEUS[1], NUCLEUS[2], "runWithDefault", key],
            )
        };
        let default_user = match run_with("posixUser").or_else(|| self.component_user.clone()) {
            Some(user) => DefaultUser::Named(user),
            None if self.privileged => DefaultUser::Missing,
            None => DefaultUser::Caller,
        };
        let limits = [
            NUCLEUS[0],
            NUCLEUS[1],
            NUCLEUS[2],
            "runWithDefault",
            "systemResourceLimits",
        ];
        let limits = configuration.get(&limits).unwrap_or(Value::Null);
        let mut environment = BTreeMap::new();
        if let Some(path) = text(configuration, &["system", "rootCaPath"]) {
            environment.insert("GG_ROOT_CA_PATH".to_owned(), path);
        }
        if let Some(uri) = credentials {
            environment.insert("AWS_CONTAINER_CREDENTIALS_FULL_URI".to_owned(), uri);
        }
        proxies(configuration, &mut environment);
        supervisor::Options {
            thing_name: text(configuration, &["system", "thingName"]),
            region: text(
                configuration,
                &[NUCLEUS[0], NUCLEUS[1], NUCLEUS[2], "awsRegion"],
            ),
            version: GREENGRASS_VERSION.to_owned(),
            base_environment: environment,
            default_user,
            shell: run_with("posixShell").unwrap_or_else(|| "sh".to_owned()),
            default_limits: SystemLimits {
                memory_kib: limits.get("memory").and_then(Value::as_u64),
                cpus: limits.get("cpus").and_then(Value::as_f64),
            },
            socket,
            ..supervisor::Options::new(self.root.clone())
        }
    }

    /// For deployments.
    pub fn deployments(&self, thing_name: Option<String>) -> deploy::Options {
        let uname = rustix::system::uname();
        let system = uname.sysname().to_string_lossy().into_owned();
        let platform = Platform::from_uname(&system, &uname.machine().to_string_lossy());
        let provided = PROVIDED
            .into_iter()
            .map(|(name, version)| {
                let version: Version = version.parse().expect("a version");
                (name.parse().expect("a name"), version)
            })
            .collect();
        deploy::Options {
            thing_name,
            provided,
            ..deploy::Options::new(self.root.clone(), platform)
        }
    }
}

/// `networkProxy`, as the environment variables that programs understand.
fn proxies(configuration: &Configuration, environment: &mut BTreeMap<String, String>) {
    let get = |path: &[&str]| {
        let path: Vec<_> = NUCLEUS
            .iter()
            .chain(&["networkProxy"])
            .chain(path)
            .copied()
            .collect();
        text(configuration, &path)
    };
    let Some(url) = get(&["proxy", "url"]) else {
        return;
    };
    for name in ["ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY"] {
        environment.insert(name.to_owned(), url.clone());
        environment.insert(name.to_ascii_lowercase(), url.clone());
    }
    let exempt = get(&["noProxyAddresses"]).map_or_else(
        || "localhost".to_owned(),
        |more| format!("localhost,{more}"),
    );
    environment.insert("NO_PROXY".to_owned(), exempt.clone());
    environment.insert("no_proxy".to_owned(), exempt);
}
