//! Commands that work on files alone: recipes, completions, manual pages.

use super::Fake;
use std::fs;

#[test]
fn recipes_are_checked_without_a_runtime() {
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.yaml");
    fs::write(
        &bad,
        "RecipeFormatVersion: '2020-01-25'\nComponentName: a/b\nComponentVersion: '1.0.0'\n",
    )
    .unwrap();
    let (code, text, _) = Fake::default().run(&["recipe", "check", bad.to_str().unwrap()]);
    assert_eq!(code, 2);
    assert!(
        text.contains(&format!("error: {}:2:", bad.display())),
        "{text}"
    );
    let (code, _, error) = Fake::default().run(&["recipe", "check", "/no/such/recipe.yaml"]);
    assert_eq!(code, 2);
    assert!(error.contains("/no/such/recipe.yaml"), "{error}");
}

#[test]
fn a_good_recipe_shows_what_would_run_on_the_platform_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.yaml");
    fs::write(
        &file,
        "RecipeFormatVersion: '2020-01-25'\nComponentName: com.a\nComponentVersion: '1.0.0'\nManifests:\n  - Platform: {os: linux, architecture: arm}\n    \
         Lifecycle:\n      Install: {Script: echo arm, RequiresPrivilege: true, Timeout: 5}\n  - Platform: {os: linux}\n    Lifecycle: {Run: echo other}\n",
    )
    .unwrap();
    let check = |platform: &str| {
        Fake::default().run(&[
            "recipe",
            "check",
            file.to_str().unwrap(),
            "--platform",
            platform,
        ])
    };
    let (code, text, _) = check("os=linux,architecture=arm");
    assert_eq!(code, 0, "{text}");
    assert!(
        text.starts_with("com.a 1.0.0 on architecture arm, os linux"),
        "{text}"
    );
    assert!(
        text.contains("install (as root, at most 5 s):\n    | echo arm"),
        "{text}"
    );
    assert!(
        check("architecture=amd64").1.contains("    | echo other"),
        "{}",
        check("architecture=amd64").1
    );
    assert_eq!(check("os=windows").0, 2);
}

#[cfg(feature = "generate")]
#[test]
fn completions_and_manual_pages_are_made_for_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, text, _) = Fake::default().run(&["completions", shell]);
        assert_eq!(code, 0);
        assert!(
            text.contains("greengrass-cli") && text.contains("recipeDir"),
            "{shell}: {text}"
        );
    }
    let (_, text, _) = Fake::default().run(&["man"]);
    assert!(text.contains(".TH greengrass-cli"), "{text}");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("man");
    assert_eq!(
        Fake::default()
            .run(&["man", "--out", out.to_str().unwrap()])
            .0,
        0
    );
    let mut pages: Vec<String> = fs::read_dir(&out)
        .unwrap()
        .map(|f| f.unwrap().file_name().into_string().unwrap())
        .collect();
    pages.sort();
    for page in [
        "greengrass-cli.1",
        "greengrass-cli-deployment-create.1",
        "greengrass-cli-logs-get.1",
    ] {
        assert!(pages.iter().any(|p| p == page), "{page} not in {pages:?}");
    }
}
