//! Reading lifecycle sections: choosing by selections, then the steps.

use super::{
    fields::{Notes, join},
    lifecycle::{RawLifecycle, RawStep, Scalar, StepName},
    node::{Entry, Node, NodeKind},
};
use std::collections::{BTreeMap, BTreeSet};

/// The label that is there without being named.
pub(super) const ALL: &str = "all";
pub(super) const LIFECYCLE_KEYS: &[&str] = &[
    "Setenv",
    "Bootstrap",
    "Install",
    "Startup",
    "Run",
    "Shutdown",
    "Recover",
    "Uninstall",
    "ErrorResetTime",
];
pub(super) const STEP_KEYS: &[&str] = &[
    "Script",
    "RequiresPrivilege",
    "Skipif",
    "Timeout",
    "Setenv",
    "BootstrapOnRollback",
];

/// The part of a global lifecycle that selections leave, at every level: where any label of the recipe stands among
/// the keys of a mapping, the mapping is replaced by the value of the first selection it has, or of `all`, or dropped.
pub(super) fn filter(
    node: &Node,
    labels: &BTreeSet<&str>,
    selections: &[String],
    path: &str,
    notes: &mut Notes,
) -> Option<Node> {
    let NodeKind::Map(entries) = &node.kind else {
        return (!matches!(node.kind, NodeKind::Null)).then(|| node.clone());
    };
    let find = |label: &str| {
        entries
            .iter()
            .find(|e| e.key == label && !matches!(e.value.kind, NodeKind::Null))
    };
    if entries.iter().any(|e| labels.contains(e.key.as_str())) {
        for lost in entries.iter().filter(|e| !labels.contains(e.key.as_str())) {
            let labels: Vec<_> = labels.iter().copied().collect();
            let message = format!(
                "is ignored, because a selection label ({}) stands beside it; move it below the labels",
                labels.join(", ")
            );
            notes.warn(lost.key_at, &join(path, &lost.key), message);
        }
        let chosen = selections
            .iter()
            .find_map(|s| find(s))
            .or_else(|| find(ALL))?;
        return filter(
            &chosen.value,
            labels,
            selections,
            &join(path, &chosen.key),
            notes,
        );
    }
    let kept = entries.iter().filter_map(|e| {
        let value = filter(&e.value, labels, selections, &join(path, &e.key), notes)?;
        Some(Entry {
            key: e.key.clone(),
            key_at: e.key_at,
            value,
        })
    });
    Some(Node {
        at: node.at,
        kind: NodeKind::Map(kept.collect()),
    })
}

/// The steps of a lifecycle section without selections.
pub(super) fn read(node: &Node, path: &str, notes: &mut Notes) -> RawLifecycle {
    let mut lifecycle = RawLifecycle::default();
    let Some(entries) = notes.map(node, path) else {
        return lifecycle;
    };
    let fields = notes.fields(entries, path, LIFECYCLE_KEYS);
    if let Some((node, path)) = fields.get("Setenv") {
        lifecycle.setenv = setenv(node, &path, notes);
    }
    lifecycle.error_reset = fields
        .get("ErrorResetTime")
        .and_then(|(node, path)| scalar(node, path, notes));
    for name in StepName::ALL {
        let Some((node, path)) = fields.get(name.as_str()) else {
            continue;
        };
        if let Some(step) = step(name, node, &path, notes) {
            lifecycle.steps.insert(name, step);
        }
    }
    if let (Some(startup), Some(run)) = (
        lifecycle.steps.get(&StepName::Startup),
        lifecycle.steps.get(&StepName::Run),
    ) {
        let message = match startup.skip_if {
            None => "is never run, because Startup is there too: keep one of them".to_owned(),
            Some(_) => "is run only when Startup is skipped".to_owned(),
        };
        notes.warn(run.script.at, &join(path, "Run"), message);
    }
    lifecycle
}

fn step(name: StepName, node: &Node, path: &str, notes: &mut Notes) -> Option<RawStep> {
    let NodeKind::Map(entries) = &node.kind else {
        let script = scalar(node, path.to_owned(), notes)?;
        return (!script.text.trim().is_empty()).then(|| RawStep::new(script));
    };
    let fields = notes.fields(entries, path, STEP_KEYS);
    let mut field = |key: &str| {
        fields
            .get(key)
            .and_then(|(node, path)| scalar(node, path, notes))
    };
    let script = field("Script");
    let (requires_privilege, skip_if) = (field("RequiresPrivilege"), field("Skipif"));
    let (timeout, on_rollback) = (field("Timeout"), field("BootstrapOnRollback"));
    if let Some(misplaced) = on_rollback.as_ref().filter(|_| name != StepName::Bootstrap) {
        notes.warn(
            misplaced.at,
            &misplaced.key,
            "has a meaning in Bootstrap alone, and is ignored here",
        );
    }
    let setenv = fields
        .get("Setenv")
        .map(|(node, path)| setenv(node, &path, notes))
        .unwrap_or_default();
    let Some(script) = script else {
        match fields.get("Script") {
            _ if entries.is_empty() => notes.warn(node.at, path, "is empty, and ignored"),
            Some((script, path)) if matches!(script.kind, NodeKind::Null) => {
                notes.warn(script.at, &path, "is empty, and the step ignored");
            }
            // Its fault has been said already.
            Some(_) => {}
            None => {
                let labels = if path.starts_with("Lifecycle.") {
                    "; a selection label counts only when the Selections of a manifest name it"
                } else {
                    ""
                };
                let message = format!(
                    "has no Script: write the shell commands to run under the key Script{labels}"
                );
                notes.error(node.at, path, message);
            }
        }
        return None;
    };
    if script.text.trim().is_empty() {
        return None;
    }
    Some(RawStep {
        script,
        requires_privilege,
        skip_if,
        timeout,
        setenv,
        on_rollback,
    })
}

fn scalar(node: &Node, key: String, notes: &mut Notes) -> Option<Scalar> {
    let text = notes.text(node, &key)?;
    Some(Scalar {
        at: node.at,
        key,
        text,
    })
}

fn setenv(node: &Node, path: &str, notes: &mut Notes) -> BTreeMap<String, Scalar> {
    let mut variables = BTreeMap::new();
    if matches!(&node.kind, NodeKind::Text(text) if text.trim().is_empty()) {
        return variables;
    }
    let Some(entries) = notes.map(node, path) else {
        return variables;
    };
    for entry in entries {
        let key = join(path, &entry.key);
        if entry.key.is_empty() || entry.key.contains(['=', '\0']) {
            notes.error(
                entry.key_at,
                &key,
                "is no name for an environment variable: it may not be empty or hold '='",
            );
            continue;
        }
        let value = match &entry.value.kind {
            NodeKind::Null => Some(Scalar {
                at: entry.value.at,
                key: key.clone(),
                text: String::new(),
            }),
            // A mapping or a list reaches the script as JSON, rather than being refused.
            NodeKind::List(_) | NodeKind::Map(_) => {
                notes.warn(
                    entry.value.at,
                    &key,
                    "is given to the script as JSON; write a text",
                );
                Some(Scalar {
                    at: entry.value.at,
                    key: key.clone(),
                    text: entry.value.to_value().to_string(),
                })
            }
            _ => scalar(&entry.value, key, notes),
        };
        variables.extend(value.map(|v| (entry.key.clone(), v)));
    }
    variables
}
