//! Who may do what: the policies in the `accessControl` of all components, compiled.
//!
//! They are compiled again when the first request after a change of any `accessControl` is decided. So a deployment that
//! has just been written is in force for the very next request, and a burst of changes costs one compilation.

use crate::{Principal, fault::Fault};
use configuration::{Change, Configuration, Tree};
use model::access::Policies;
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

/// Where policies stand in a component's configuration.
const ACCESS_CONTROL: &str = "accessControl";
/// Log lines that are remembered, so as not to be repeated.
const REMEMBERED: usize = 1000;
/// What the names of people start with in policies.
const CLI_PREFIX: &str = "greengrass-cli-";

/// Decides requests.
#[derive(Debug)]
pub struct Authorisation {
    configuration: Configuration,
    compiled: RwLock<Arc<Compiled>>,
    /// What was logged already: policies are compiled again and again, and requests repeated; it is told once.
    told: Mutex<HashSet<String>>,
}

#[derive(Debug)]
struct Compiled {
    tree: Tree,
    policies: Arc<Policies>,
}

impl Authorisation {
    /// Compiles the policies as they are now.
    pub fn new(configuration: Configuration) -> Self {
        let tree = Tree::empty();
        let policies = Arc::new(Policies::builtin());
        let authorisation = Self {
            configuration,
            compiled: RwLock::new(Arc::new(Compiled { tree, policies })),
            told: Mutex::default(),
        };
        authorisation.current();
        authorisation
    }

    /// Refuses what no policy allows. `resource`: `None` when the operation has none.
    pub fn check(
        &self,
        destination: &str,
        principal: &Principal,
        operation: &str,
        resource: Option<&str>,
    ) -> Result<(), Fault> {
        if self.allows(destination, principal, operation, resource) {
            return Ok(());
        }
        let resource = resource.unwrap_or("*");
        let message = format!(
            "Principal {principal} is not authorized to perform {destination}:{operation} on resource {resource}"
        );
        // A component may try again and again.
        if self.is_new(&message) {
            log::warn!(component:% = principal; "{message}");
        }
        Err(Fault::unauthorized(message))
    }

    /// Whether a policy allows it.
    pub fn allows(
        &self,
        destination: &str,
        principal: &Principal,
        operation: &str,
        resource: Option<&str>,
    ) -> bool {
        let policies = self.current();
        match principal {
            // No component gets the rights of people by its name.
            Principal::Component(name) if name.as_str().starts_with(CLI_PREFIX) => false,
            Principal::Component(name) => {
                policies.authorized(destination, name.as_str(), operation, resource)
            }
            Principal::Cli(_) => {
                policies.authorized(destination, &principal.to_string(), operation, resource)
            }
        }
    }

    fn current(&self) -> Arc<Policies> {
        let tree = self.configuration.tree();
        let compiled = self
            .compiled
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let changes = compiled.tree.changes_to(&tree);
        if changes.is_empty() {
            return compiled.policies.clone();
        }
        let policies = if changes.iter().any(touches_policies) {
            Arc::new(self.compile(&tree))
        } else {
            compiled.policies.clone()
        };
        let compiled = Arc::new(Compiled {
            tree,
            policies: policies.clone(),
        });
        *self
            .compiled
            .write()
            .unwrap_or_else(PoisonError::into_inner) = compiled;
        policies
    }

    fn compile(&self, tree: &Tree) -> Policies {
        let mut policies = Policies::builtin();
        for component in tree.keys(&["services"]) {
            let path = ["services", &component, "configuration", ACCESS_CONTROL];
            let Some(access) = tree.get(&path) else {
                continue;
            };
            let (own, mut warnings) = Policies::parse(&component, &access);
            warnings.extend(policies.merge(own));
            for warning in warnings {
                if self.is_new(&format!("{component}: {warning}")) {
                    log::warn!(component = component; "accessControl: {warning}");
                }
            }
        }
        policies
    }

    fn is_new(&self, text: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= REMEMBERED {
            told.clear();
        }
        !told.contains(text) && told.insert(text.to_owned())
    }
}

/// `services`, the component, `configuration`, `accessControl`: a change above it takes it along.
fn touches_policies(change: &Change) -> bool {
    let wanted = [
        Some("services"),
        None,
        Some("configuration"),
        Some(ACCESS_CONTROL),
    ];
    change
        .path
        .iter()
        .zip(wanted)
        .all(|(key, wanted)| wanted.is_none_or(|wanted| key.eq_ignore_ascii_case(wanted)))
}
