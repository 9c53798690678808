//! Who may do what: the policies in the `accessControl` of all components, compiled.
//!
//! They are compiled again when the first request after a change of any `accessControl` is decided. So a deployment that
//! has just been written is in force for the very next request, and a burst of changes costs one compilation.

use crate::{Principal, fault::Fault};
use configuration::{Change, Configuration, Tree};
use model::access::{Policies, Warning};
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

/// Where policies stand in a component's configuration.
const ACCESS_CONTROL: &str = "accessControl";

/// Decides requests.
#[derive(Debug)]
pub struct Authorisation {
    configuration: Configuration,
    compiled: RwLock<Arc<Compiled>>,
    /// Warnings that were logged already: a policy is compiled again and again, its faults are told once.
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
        let policies = self.current();
        let allowed = match principal {
            Principal::Component(name) => {
                policies.authorized(destination, name.as_str(), operation, resource)
            }
            Principal::Cli(_) => {
                policies.authorized(destination, &principal.to_string(), operation, resource)
            }
        };
        if allowed {
            return Ok(());
        }
        let resource = resource.unwrap_or("*");
        let message = format!(
            "Principal {principal} is not authorized to perform {destination}:{operation} on resource {resource}"
        );
        log::info!(component:% = principal, operation = operation, resource = resource; "not authorized");
        Err(Fault::unauthorized(message))
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
                self.tell(&component, &warning);
            }
        }
        policies
    }

    fn tell(&self, component: &str, warning: &Warning) {
        let text = format!("{component}: {warning}");
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= 1000 {
            told.clear();
        }
        if told.insert(text) {
            log::warn!(component = component; "accessControl: {warning}");
        }
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
