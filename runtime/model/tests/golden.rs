//! Every recipe in `recipes/` is checked on two platforms and the report compared with the one beside it.
//! `UPDATE_EXPECTED=1 cargo test -p model --test golden` writes the reports anew; read the difference before it is kept.

use model::{Platform, Recipe, check::check};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recipes")
}

fn recipes() -> BTreeMap<String, String> {
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("a recipe can be read");
        Some((path.file_name()?.to_str()?.to_owned(), text))
    };
    fs::read_dir(folder())
        .expect("the folder of recipes is there")
        .filter_map(|entry| read(entry.ok()?.path()))
        .filter(|(name, _)| !name.ends_with(".expected.json"))
        .collect()
}

fn report(name: &str, text: &str) -> Value {
    let root = Path::new("/var/lib/greengrass");
    let on = |machine| check(text, name, &Platform::from_uname("Linux", machine), root);
    let (server, board) = (on("x86_64"), on("aarch64"));
    if server.plan.is_none() && board.plan.is_none() {
        return json!(server);
    }
    json!({"x86_64": server, "aarch64": board})
}

#[test]
fn every_recipe_is_reported_on_as_expected() {
    let mut different = Vec::new();
    for (name, text) in recipes() {
        let found = report(&name, &text);
        let path = folder().join(format!("{name}.expected.json"));
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&path, serde_json::to_string_pretty(&found).unwrap() + "\n").unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        if serde_json::from_str::<Value>(&expected).ok().as_ref() != Some(&found) {
            different.push(format!("{name}: found {found:#}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn the_same_recipe_in_yaml_and_json_is_the_same() {
    let recipes = recipes();
    let yaml: Recipe = recipes["hello.yaml"].parse().unwrap();
    let json: Recipe = recipes["hello.json"].parse().unwrap();
    assert_eq!(yaml.to_json(), json.to_json());
}

#[test]
fn canonical_json_is_a_recipe_that_reads_back_to_itself() {
    for (name, text) in recipes() {
        let Ok(parsed) = Recipe::parse(&text, &name) else {
            continue;
        };
        let canonical = parsed.recipe.to_json();
        let again = Recipe::parse(&canonical.to_string(), "canonical.json")
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(again.recipe.to_json(), canonical, "{name}");
        for machine in ["x86_64", "aarch64", "armv7l"] {
            let platform = Platform::from_uname("Linux", machine);
            let steps = |recipe: &Recipe| {
                recipe
                    .select(&platform)
                    .map(|s| (s.manifest_name, s.artifacts))
                    .ok()
            };
            assert_eq!(
                steps(&again.recipe),
                steps(&parsed.recipe),
                "{name} on {machine}"
            );
        }
    }
}

#[test]
fn a_recipe_cut_off_or_garbled_anywhere_is_refused_without_a_panic() {
    for (name, text) in recipes() {
        let cuts = text.char_indices().map(|(i, _)| i).step_by(7);
        for cut in cuts {
            let _ = Recipe::parse(&text[..cut], &name);
            let garbled = format!("{}\u{0}{{[:-&*{}", &text[..cut], &text[cut..]);
            let _ = Recipe::parse(&garbled, &name);
        }
    }
}
