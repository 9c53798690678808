//! One component's configuration as Greengrass IPC offers it: GetConfiguration, UpdateConfiguration,
//! SubscribeToConfigurationUpdate. Key paths start at the component's `configuration`.

use crate::{
    Change, Configuration, MAX_COMPONENT, Operation, Subscription, Timestamp, Tree, TreeError,
    bounds,
    node::{Content, Node, fold},
    pointer_of,
};
use model::ComponentName;
use serde_json::Value;
use std::sync::Arc;
use store::StoreError;

/// A key a component may not write itself.
const ACCESS_CONTROL: &str = "accesscontrol";

/// Why UpdateConfiguration refuses; nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum UpdateRefused {
    /// A value that the update touches is newer: `FailedUpdateConditionCheck`.
    #[error(
        "the value at {} was written later ({present} ms) than the proposed time ({proposed} ms)",
        pointer_of(path)
    )]
    Older {
        /// The newer value, from the component's configuration.
        path: Vec<String>,
        /// Its timestamp.
        present: Timestamp,
        /// The update's timestamp.
        proposed: Timestamp,
    },
    /// Access rights come with a deployment only: `InvalidArguments`.
    #[error("accessControl cannot be changed by the component itself")]
    AccessControl,
    /// A container would become a value or a value a container: `InvalidArguments`.
    #[error("{} holds {}, the update gives {}", pointer_of(path), kind(*container), kind(!*container))]
    KindChange {
        /// Where, from the component's configuration.
        path: Vec<String>,
        /// Whether it is a container now.
        container: bool,
    },
    /// No such component: `InvalidArguments`.
    #[error("there is no component {0}")]
    UnknownComponent(ComponentName),
    /// Too large, too deep, or no object at the top: `InvalidArguments`.
    #[error(transparent)]
    Invalid(TreeError),
    /// It could not be stored: `ServiceError`.
    #[error("configuration: {0}")]
    Store(#[from] StoreError),
}

fn kind(container: bool) -> &'static str {
    if container {
        "an object"
    } else {
        "a single value"
    }
}

/// Nothing is at a key path: `ResourceNotFound`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{component} has no configuration at {:?}", pointer_of(key_path))]
pub struct KeyNotFound {
    /// Whose configuration.
    pub component: ComponentName,
    /// Where.
    pub key_path: Vec<String>,
}

/// The changes at and below one key path of a component.
#[derive(Debug)]
pub struct ComponentSubscription {
    subscription: Subscription,
    above: usize,
}

impl ComponentSubscription {
    /// The key path of the next value that changed, from the component's configuration. `None` when the configuration is gone.
    pub async fn recv(&mut self) -> Option<Vec<String>> {
        self.subscription
            .recv()
            .await
            .map(|change| self.key_path(&change))
    }

    /// [`ComponentSubscription::recv`] if a change waits already.
    pub fn try_recv(&mut self) -> Option<Vec<String>> {
        self.subscription
            .try_recv()
            .map(|change| self.key_path(&change))
    }

    fn key_path(&self, change: &Change) -> Vec<String> {
        change.path.get(self.above..).unwrap_or_default().to_vec()
    }
}

impl Configuration {
    /// GetConfiguration: the object at a key path, or a single value wrapped as `{key: value}`.
    pub fn component_value(
        &self,
        component: &ComponentName,
        key_path: &[String],
    ) -> Result<Value, KeyNotFound> {
        let path = path_of(component, key_path);
        let entry = self.tree().entry(&path);
        let entry = entry.ok_or_else(|| not_found(component, key_path))?;
        Ok(match entry.path.last() {
            Some(key) if entry.is_leaf => {
                Value::Object([(key.clone(), entry.value)].into_iter().collect())
            }
            _ => entry.value,
        })
    }

    /// SubscribeToConfigurationUpdate: the component must exist, and the key path too unless it is empty.
    pub fn subscribe_component(
        &self,
        component: &ComponentName,
        key_path: &[String],
    ) -> Result<ComponentSubscription, KeyNotFound> {
        let path = path_of(component, key_path);
        let must_exist = if key_path.is_empty() {
            &path[..2]
        } else {
            &path[..]
        };
        // Subscribed first, so that nothing is missed between the look and the subscription.
        let subscription = self.subscribe(&path);
        if !self.tree().contains(must_exist) {
            return Err(not_found(component, key_path));
        }
        Ok(ComponentSubscription {
            subscription,
            above: path.len() - key_path.len(),
        })
    }

    /// UpdateConfiguration: merges a value into the component's own configuration, all of it or nothing.
    pub async fn update(
        &self,
        component: &ComponentName,
        key_path: &[String],
        value: Value,
        at: Timestamp,
    ) -> Result<(), UpdateRefused> {
        let path = path_of(component, key_path);
        let component = component.clone();
        let check_and_merge = move |tree: &Tree| -> Result<Tree, UpdateRefused> {
            if !tree.contains(&path[..2]) {
                return Err(UpdateRefused::UnknownComponent(component));
            }
            let above = 3;
            if touches_access_control(&path[above..], &value) {
                return Err(UpdateRefused::AccessControl);
            }
            if path.len() == above && !value.is_object() {
                return Err(UpdateRefused::KindChange {
                    path: Vec::new(),
                    container: true,
                });
            }
            bounds::check(&path, &value)?;
            check(tree, &path, above, &value, at)?;
            let (merged, _) = tree.apply(&Operation::Merge {
                path: path.clone(),
                value,
                at,
            })?;
            let weight = |tree: &Tree| tree.node(&path[..above]).map_or(0, |node| node.weight);
            if weight(&merged) > MAX_COMPONENT && weight(&merged) > weight(tree) {
                return Err(TreeError::TooLarge {
                    path: path[..above].to_vec(),
                    limit: MAX_COMPONENT,
                }
                .into());
            }
            Ok(merged)
        };
        self.change(check_and_merge, |_| Ok(())).await.map(|_| ())
    }
}

fn path_of(component: &ComponentName, key_path: &[String]) -> Vec<String> {
    let above = ["services", component.as_str(), "configuration"];
    above
        .into_iter()
        .map(str::to_owned)
        .chain(key_path.iter().cloned())
        .collect()
}

fn not_found(component: &ComponentName, key_path: &[String]) -> KeyNotFound {
    KeyNotFound {
        component: component.clone(),
        key_path: key_path.to_vec(),
    }
}

fn touches_access_control(key_path: &[String], value: &Value) -> bool {
    match (key_path.first(), value) {
        (Some(key), _) => fold(key) == ACCESS_CONTROL,
        (None, Value::Object(members)) => members.keys().any(|key| fold(key) == ACCESS_CONTROL),
        (None, _) => false,
    }
}

/// Refuses when the merge would meet anything newer, or change the kind of anything.
fn check(
    tree: &Tree,
    path: &[String],
    above: usize,
    value: &Value,
    at: Timestamp,
) -> Result<(), UpdateRefused> {
    let mut node = &tree.root;
    for (depth, key) in path.iter().enumerate() {
        let children = match &node.content {
            Content::Container(children) => children,
            Content::Leaf(Value::Null) => return older(node, &path[above..depth.max(above)], at),
            Content::Leaf(_) => {
                let path = path[above..depth.max(above)].to_vec();
                return Err(UpdateRefused::KindChange {
                    path,
                    container: false,
                });
            }
        };
        match children.get(&*fold(key)) {
            Some(child) => node = &child.node,
            None => return Ok(()),
        }
    }
    check_below(node, &mut path[above..].to_vec(), value, at)
}

fn check_below(
    node: &Arc<Node>,
    path: &mut Vec<String>,
    value: &Value,
    at: Timestamp,
) -> Result<(), UpdateRefused> {
    match (&node.content, value) {
        (Content::Container(children), Value::Object(members)) => {
            for (key, member) in members {
                if let Some(child) = children.get(&*fold(key)) {
                    path.push(key.clone());
                    check_below(&child.node, path, member, at)?;
                    path.pop();
                }
            }
            Ok(())
        }
        (Content::Container(_), _) => Err(UpdateRefused::KindChange {
            path: path.clone(),
            container: true,
        }),
        (Content::Leaf(present), Value::Object(_)) if !present.is_null() => {
            Err(UpdateRefused::KindChange {
                path: path.clone(),
                container: false,
            })
        }
        (Content::Leaf(_), _) => older(node, path, at),
    }
}

fn older(node: &Arc<Node>, path: &[String], proposed: Timestamp) -> Result<(), UpdateRefused> {
    if proposed < node.newest {
        return Err(UpdateRefused::Older {
            path: path.to_vec(),
            present: node.newest,
            proposed,
        });
    }
    Ok(())
}
