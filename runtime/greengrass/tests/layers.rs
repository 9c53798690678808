//! The direction of dependencies between crates: down the layers only, and features never on each other.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{collections::BTreeMap, process::Command};

/// Each crate, and what of the workspace it may stand on. A new crate gets its line here.
const ALLOWED: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("store", &[]),
    ("configuration", &["model", "store"]),
    ("logs", &["model"]),
    ("supervisor", &["logs", "model", "store"]),
    ("deploy", &["configuration", "model", "store"]),
    ("ipc", &["configuration", "model", "store"]),
    ("keys", &["store"]),
    ("mqtt", &["store"]),
    ("provision", &["store"]),
    (
        "cloud",
        &["configuration", "keys", "model", "mqtt", "store"],
    ),
    ("control-plane", &["model", "mqtt", "store"]),
    ("cli", &["ipc", "logs", "model"]),
    ("testkit", &["ipc", "model"]),
    (
        "greengrass",
        &[
            "cli",
            "cloud",
            "configuration",
            "deploy",
            "ipc",
            "keys",
            "logs",
            "model",
            "mqtt",
            "provision",
            "store",
            "supervisor",
        ],
    ),
];

fn dependencies() -> BTreeMap<String, Vec<String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
            "--manifest-path",
        ])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let names: Vec<&str> = packages
        .iter()
        .map(|p| p["name"].as_str().unwrap())
        .collect();
    let of = |package: &serde_json::Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        // Tests may use anything below them and the test kit.
        let shipped = all.filter(|d| d["kind"].is_null());
        let own = shipped
            .map(|d| d["name"].as_str().unwrap())
            .filter(|d| names.contains(d));
        own.map(str::to_owned).collect()
    };
    packages
        .iter()
        .map(|p| (p["name"].as_str().unwrap().to_owned(), of(p)))
        .collect()
}

#[test]
fn every_crate_stands_only_on_the_layers_below_it() {
    let found = dependencies();
    for (name, needs) in &found {
        let allowed = ALLOWED.iter().find(|(crate_, _)| crate_ == name);
        let (_, allowed) = allowed.unwrap_or_else(|| {
            panic!("crate {name} has no line in this test: say what it may stand on")
        });
        for need in needs {
            assert!(
                allowed.contains(&need.as_str()),
                "{name} may not depend on {need}; it may stand on {allowed:?}"
            );
        }
    }
    for (name, _) in ALLOWED {
        assert!(
            found.contains_key(*name),
            "this test names {name}, which is no crate"
        );
    }
}
