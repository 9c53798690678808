//! Reading the artifacts of a manifest.

use super::{
    artifact::{Access, Artifact, Permission, Unarchive},
    fields::{Notes, join},
    node::{Node, NodeKind},
};

const ARTIFACT_KEYS: &[&str] = &["URI", "Unarchive", "Permission", "Digest", "Algorithm"];
const SCHEMES: &[&str] = &[
    "s3",
    "greengrass",
    "docker",
    "file",
    "http",
    "https",
    "lambda",
];

/// Reads `Artifacts`.
pub(super) fn read(node: &Node, path: &str, notes: &mut Notes) -> Vec<Artifact> {
    let Some(items) = notes.list(node, path) else {
        return Vec::new();
    };
    items
        .iter()
        .enumerate()
        .filter_map(|(index, item)| artifact(item, &format!("{path}[{index}]"), notes))
        .collect()
}

fn artifact(node: &Node, path: &str, notes: &mut Notes) -> Option<Artifact> {
    match &node.kind {
        NodeKind::Null => {
            notes.error(node.at, path, "is empty: remove the item, or give it a URI");
            return None;
        }
        NodeKind::Text(uri) => {
            notes.error(
                node.at,
                path,
                format!("must be a mapping: write URI: {uri:?}"),
            );
            return None;
        }
        _ => {}
    }
    let entries = notes.map(node, path)?;
    let fields = notes.fields(entries, path, ARTIFACT_KEYS);
    let uri = fields
        .get("URI")
        .and_then(|(node, path)| notes.text(node, &path))
        .map(|t| t.trim().to_owned());
    let Some(uri) = uri.filter(|u| !u.is_empty()) else {
        notes.error(
            node.at,
            path,
            "has no URI, such as s3://bucket/file or docker:image",
        );
        return None;
    };
    let unarchive = match fields.get("Unarchive") {
        None => Unarchive::None,
        Some((node, path)) => one_of(
            node,
            &path,
            &[("NONE", Unarchive::None), ("ZIP", Unarchive::Zip)],
            notes,
        ),
    };
    let mut artifact = Artifact {
        uri,
        unarchive,
        permission: fields
            .get("Permission")
            .map(|(node, path)| permission(node, &path, notes))
            .unwrap_or_default(),
        digest: fields
            .get("Digest")
            .and_then(|(node, path)| notes.text(node, &path)),
        algorithm: fields
            .get("Algorithm")
            .and_then(|(node, path)| notes.text(node, &path)),
    };
    artifact.digest.take_if(|d| d.is_empty());
    artifact.algorithm.take_if(|a| a.is_empty());
    remarks(&artifact, node, path, notes);
    Some(artifact)
}

fn remarks(artifact: &Artifact, node: &Node, path: &str, notes: &mut Notes) {
    let at = match &node.kind {
        NodeKind::Map(entries) => entries
            .iter()
            .find(|e| e.key.eq_ignore_ascii_case("URI"))
            .map_or(node.at, |e| e.value.at),
        _ => node.at,
    };
    let path = join(path, "URI");
    let uri = &artifact.uri;
    let placeholder = [
        "BUCKET_NAME",
        "COMPONENT_NAME",
        "COMPONENT_VERSION",
        "DOC-EXAMPLE-BUCKET",
        "EXAMPLE-BUCKET",
    ]
    .iter()
    .find(|p| uri.contains(**p));
    if let Some(placeholder) = placeholder {
        notes.warn(
            at,
            &path,
            format!("{placeholder} is a placeholder that a build fills in"),
        );
    } else if !artifact
        .scheme()
        .is_some_and(|s| SCHEMES.contains(&s.as_str()))
    {
        let hint = if uri.starts_with("s3//") {
            "; did you mean s3://?"
        } else {
            ""
        };
        let message = "does not start with s3:, greengrass: or docker:, so it can be had from a local artifact folder alone";
        notes.warn(at, &path, format!("{message}{hint}"));
    }
    if artifact.unarchive == Unarchive::Zip && artifact.scheme().as_deref() == Some("docker") {
        notes.warn(at, &path, "Unarchive has no meaning for an image");
    }
    match (&artifact.digest, &artifact.algorithm) {
        (Some(_), None) => notes.warn(
            at,
            &path,
            "has a Digest without an Algorithm; SHA-256 is meant",
        ),
        (Some(_), Some(algorithm)) if !algorithm.eq_ignore_ascii_case("SHA-256") => {
            notes.warn(
                at,
                &path,
                format!("Algorithm {algorithm:?} is not SHA-256: the digest cannot be checked"),
            );
        }
        _ => {}
    }
}

fn permission(node: &Node, path: &str, notes: &mut Notes) -> Permission {
    const WHO: &[(&str, Access)] = &[
        ("NONE", Access::None),
        ("OWNER", Access::Owner),
        ("ALL", Access::All),
    ];
    let mut permission = Permission::default();
    let Some(entries) = notes.map(node, path) else {
        return permission;
    };
    let fields = notes.fields(entries, path, &["Read", "Execute"]);
    if let Some((node, path)) = fields.get("Read").filter(|(n, _)| !n.is_empty()) {
        permission.read = one_of(node, &path, WHO, notes);
    }
    if let Some((node, path)) = fields.get("Execute").filter(|(n, _)| !n.is_empty()) {
        permission.execute = one_of(node, &path, WHO, notes);
    }
    permission
}

/// One of a few words, in any case; the first when it is none of them, with an error.
fn one_of<T: Copy>(node: &Node, path: &str, words: &[(&str, T)], notes: &mut Notes) -> T {
    let first = words[0].1;
    let Some(text) = notes.text(node, path) else {
        return first;
    };
    if let Some((_, value)) = words
        .iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(text.trim()))
    {
        return *value;
    }
    let all: Vec<_> = words.iter().map(|(word, _)| *word).collect();
    notes.error(
        node.at,
        path,
        format!("must be {}, not {text:?}", all.join(" or ")),
    );
    first
}
