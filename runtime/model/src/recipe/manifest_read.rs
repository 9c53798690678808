//! Reading the manifests of a recipe, with remarks on platforms that no device has.

use super::{
    Manifest, artifact_read,
    fields::{Fields, Notes, closest, join},
    node::{Node, NodeKind, Position},
};

const MANIFEST_KEYS: &[&str] = &["Name", "Platform", "Lifecycle", "Selections", "Artifacts"];
/// Far more than there are kinds of devices.
const MAX_MANIFESTS: usize = 100;

/// Reads `Manifests`.
pub(super) fn read(fields: &Fields<'_>, notes: &mut Notes) -> Vec<Manifest> {
    let Some((node, path)) = fields.get("Manifests") else {
        notes.error(Position::START, "Manifests", "is missing: a recipe needs at least one manifest, which may be as short as \"- Lifecycle: {}\"");
        return Vec::new();
    };
    let Some(items) = notes.list(node, &path) else {
        return Vec::new();
    };
    if items.is_empty() {
        notes.error(node.at, &path, "is empty: a recipe needs at least one manifest, which may be as short as \"- Lifecycle: {}\"");
    }
    if items.len() > MAX_MANIFESTS {
        notes.error(
            node.at,
            &path,
            format!("has more than {MAX_MANIFESTS} manifests"),
        );
    }
    items
        .iter()
        .take(MAX_MANIFESTS)
        .enumerate()
        .map(|(index, item)| manifest(item, &format!("{path}[{index}]"), notes))
        .collect()
}

fn manifest(node: &Node, path: &str, notes: &mut Notes) -> Manifest {
    let mut manifest = Manifest::default();
    if matches!(node.kind, NodeKind::Null) {
        notes.error(
            node.at,
            path,
            "is empty: remove the item, or write {} for a manifest without anything",
        );
        return manifest;
    }
    let Some(entries) = notes.map(node, path) else {
        return manifest;
    };
    let fields = notes.fields(entries, path, MANIFEST_KEYS);
    manifest.name = fields
        .get("Name")
        .and_then(|(node, path)| notes.text(node, &path));
    if let Some((node, path)) = fields.get("Platform") {
        platform(node, &path, &mut manifest, notes);
    }
    manifest.lifecycle = fields
        .get("Lifecycle")
        .map(|(node, _)| node.clone())
        .filter(|n| !n.is_empty());
    if let Some((node, path)) = fields.get("Selections") {
        // One label alone stands for a list of one.
        manifest.selections = match &node.kind {
            NodeKind::Text(text) => vec![text.clone()],
            _ => notes
                .list(node, &path)
                .unwrap_or_default()
                .iter()
                .enumerate()
                .filter_map(|(index, item)| notes.text(item, &format!("{path}[{index}]")))
                .collect(),
        };
    }
    if let Some((node, path)) = fields.get("Artifacts") {
        manifest.artifacts = artifact_read::read(node, &path, notes);
    }
    manifest
}

fn platform(node: &Node, path: &str, manifest: &mut Manifest, notes: &mut Notes) {
    let Some(entries) = notes.map(node, path) else {
        return;
    };
    for entry in entries {
        let path = join(path, &entry.key);
        let misplaced = MANIFEST_KEYS
            .iter()
            .any(|k| k.eq_ignore_ascii_case(&entry.key));
        if misplaced && matches!(entry.value.kind, NodeKind::List(_) | NodeKind::Map(_)) {
            notes.error(
                entry.key_at,
                &path,
                "belongs beside Platform, not below it: indent it less",
            );
            continue;
        }
        let value = notes.text(&entry.value, &path);
        if let Some(text) = &value {
            known_value(&entry.key, text, entry.value.at, &path, notes);
        }
        if let Err(e) = manifest.platform.insert(&entry.key, value.as_deref()) {
            notes.error(entry.value.at, &path, e.to_string());
        }
    }
}

/// Values that are nearly right match nothing, silently; better to say so.
fn known_value(name: &str, text: &str, at: Position, path: &str, notes: &mut Notes) {
    let known: &[&'static str] = match name {
        "os" => &["linux", "darwin", "windows", "all", "any", "*"],
        "architecture" => &["amd64", "x86", "arm", "aarch64", "all", "any", "*"],
        _ => {
            if let Some(meant) = closest(
                name,
                &["os", "architecture", "architecture.detail", "runtime"],
            ) && meant != name
                && !matches!(name, "runtime" | "architecture.detail")
            {
                notes.warn(at, path, format!("no device has this attribute unless its operator adds it; did you mean {meant}?"));
            }
            return;
        }
    };
    if known.contains(&text) || text.starts_with('/') {
        return;
    }
    let meant = match text.to_ascii_lowercase().as_str() {
        "x86_64" | "x64" | "amd64" => Some("amd64"),
        "arm64" | "armv8" | "aarch64" => Some("aarch64"),
        "armv7l" | "armv6l" | "armhf" | "arm32" => Some("arm"),
        "macos" => Some("darwin"),
        "ubuntu" | "debian" => Some("linux"),
        other => known
            .iter()
            .find(|k| **k == other)
            .copied()
            .or_else(|| closest(other, known)),
    };
    if let Some(meant) = meant {
        notes.warn(
            at,
            path,
            format!("{text:?} fits no device; did you mean {meant:?}?"),
        );
    }
}
