//! The recipes at hand: those of the component store, and those of a request's folder, which win.

use crate::{
    Failure,
    folders::{self, Layout},
};
use model::error_code::ErrorCode;
use model::{ComponentName, Recipe, Version, recipe::MAX_BYTES};
use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// Files looked at in one folder.
const MAX_FILES: usize = 10_000;

/// Recipes by component and version.
#[derive(Debug, Default)]
pub(crate) struct Library {
    pub recipes: BTreeMap<ComponentName, BTreeMap<Version, Found>>,
}

/// One recipe.
#[derive(Debug)]
pub(crate) struct Found {
    pub recipe: Recipe,
    pub text: String,
    /// `yaml` or `json`.
    pub extension: &'static str,
    /// Where it was read.
    pub path: PathBuf,
    /// Files of the component store with this component and version.
    pub stored: Vec<PathBuf>,
    /// The store has none, or another text.
    pub fresh: bool,
}

impl Library {
    /// Reads the store and the request's folder. A bad recipe in the folder is an error; in the store it is passed over.
    pub(crate) fn read(layout: &Layout, folder: Option<&Path>) -> Result<Self, Failure> {
        let mut library = Self::default();
        let store = layout.recipes();
        if store.is_dir() {
            for found in read_folder(&store, false)? {
                library.add_stored(found);
            }
        }
        if let Some(folder) = folder {
            for found in read_folder(folder, true)? {
                library.add_fresh(found)?;
            }
        }
        Ok(library)
    }

    pub(crate) fn get(&self, component: &ComponentName, version: &Version) -> Option<&Found> {
        self.recipes.get(component)?.get(version)
    }

    fn add_stored(&mut self, mut found: Found) {
        let path = found.path.clone();
        found.stored.push(path.clone());
        let versions = self.recipes.entry(found.recipe.name.clone()).or_default();
        match versions.get_mut(&found.recipe.version) {
            Some(present) => present.stored.push(path),
            None => drop(versions.insert(found.recipe.version.clone(), found)),
        }
    }

    fn add_fresh(&mut self, mut found: Found) -> Result<(), Failure> {
        let versions = self.recipes.entry(found.recipe.name.clone()).or_default();
        found.fresh = true;
        if let Some(present) = versions.get(&found.recipe.version) {
            if present.stored.is_empty() || present.path.parent() == found.path.parent() {
                if present.text == found.text {
                    return Ok(());
                }
                return Err(Failure::new(
                    &[ErrorCode::RecipeParseError],
                    format!(
                        "{} and {} are both the recipe of {} {}, and say different things; keep one",
                        present.path.display(),
                        found.path.display(),
                        found.recipe.name,
                        found.recipe.version
                    ),
                ));
            }
            found.fresh = present.text != found.text;
            found.stored = present.stored.clone();
        }
        versions.insert(found.recipe.version.clone(), found);
        Ok(())
    }
}

fn read_folder(folder: &Path, strict: bool) -> Result<Vec<Found>, Failure> {
    let unreadable = |e: std::io::Error| Failure::io("read the recipe folder", folder, &e);
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if extension(&path).is_some() && path.is_file() {
            paths.push(path);
        }
        if paths.len() > MAX_FILES {
            return Err(Failure::new(
                &[ErrorCode::RecipeParseError],
                format!(
                    "{} holds more than {MAX_FILES} files; give the folder of the recipes",
                    folder.display()
                ),
            ));
        }
    }
    paths.sort();
    let mut found = Vec::new();
    for path in paths {
        match read_file(&path) {
            Ok(Some(recipe)) => found.push(recipe),
            Ok(None) => log::debug!(file = path.to_string_lossy().as_ref(); "not a recipe"),
            Err(failure) if strict => return Err(failure),
            Err(failure) => log::warn!("ignoring a recipe of the component store: {failure}"),
        }
    }
    Ok(found)
}

fn extension(path: &Path) -> Option<&'static str> {
    let hidden = path.file_name()?.to_str()?.starts_with('.');
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        _ if hidden => None,
        "yaml" | "yml" => Some("yaml"),
        "json" => Some("json"),
        _ => None,
    }
}

/// `None` when it is no recipe at all: people keep other YAML and JSON beside them.
fn read_file(path: &Path) -> Result<Option<Found>, Failure> {
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes))
        .map_err(|e| Failure::io("read", path, &e))?;
    let bad = |message: String| Failure::new(&[ErrorCode::RecipeParseError], message);
    let text = String::from_utf8_lossy(&bytes);
    let lower = text.to_ascii_lowercase();
    if !lower.contains("componentname") && !lower.contains("recipeformatversion") {
        return Ok(None);
    }
    if bytes.len() > MAX_BYTES {
        return Err(bad(format!(
            "{}: a recipe may have at most {MAX_BYTES} bytes",
            path.display()
        )));
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|e| bad(format!("{}: not UTF-8: {e}", path.display())))?;
    let parsed =
        Recipe::parse(text, &path.to_string_lossy()).map_err(|errors| bad(errors.to_string()))?;
    for warning in &parsed.warnings {
        log::warn!("{}:{warning}", path.display());
    }
    let extension = extension(path).expect("only such files are read");
    Ok(Some(Found {
        recipe: parsed.recipe,
        text: text.to_owned(),
        extension,
        path: path.to_owned(),
        stored: Vec::new(),
        fresh: false,
    }))
}

/// Writes a recipe to where it is staged; the caller makes it durable.
pub(crate) fn write_recipe(path: &Path, text: &str) -> Result<(), Failure> {
    let folder = path.parent().expect("a path below the staging folder");
    folders::create_all(folder).map_err(|e| Failure::io("create", folder, &e))?;
    fs::write(path, text)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o644)))
        .map_err(|e| Failure::io("write", path, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(name: &str, version: &str, script: &str) -> String {
        format!(
            r#"{{"RecipeFormatVersion":"2020-01-25","ComponentName":"{name}","ComponentVersion":"{version}",
            "Manifests":[{{"Lifecycle":{{"Run":"{script}"}}}}]}}"#
        )
    }

    fn setting() -> (tempfile::TempDir, Layout, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout {
            root: folder.path().join("root"),
        };
        fs::create_dir_all(layout.recipes()).unwrap();
        let request = folder.path().join("recipes");
        fs::create_dir_all(&request).unwrap();
        (folder, layout, request)
    }

    #[test]
    fn recipes_are_found_by_what_they_say_not_by_their_names() {
        let (_folder, layout, request) = setting();
        fs::write(
            request.join("my recipe.JSON"),
            recipe("com.a", "1.0.0", "x"),
        )
        .unwrap();
        fs::write(request.join("tsconfig.json"), "{ // comments\n}").unwrap();
        fs::write(request.join("notes.txt"), "componentname").unwrap();
        let library = Library::read(&layout, Some(&request)).unwrap();
        let found = library
            .get(
                &ComponentName::new("com.a").unwrap(),
                &"1.0.0".parse().unwrap(),
            )
            .unwrap();
        assert!(found.fresh && found.stored.is_empty() && found.extension == "json");
        assert_eq!(library.recipes.len(), 1);
    }

    #[test]
    fn a_bad_recipe_of_the_request_is_an_error_with_file_and_line_but_one_of_the_store_is_passed_over()
     {
        let (_folder, layout, request) = setting();
        let bad = "{\n\"RecipeFormatVersion\":\"2020-01-25\",\n\"ComponentName\": \"a b\"\n}";
        fs::write(layout.recipes().join("bad.json"), bad).unwrap();
        assert!(
            Library::read(&layout, Some(&request))
                .unwrap()
                .recipes
                .is_empty()
        );
        fs::write(request.join("bad.json"), bad).unwrap();
        let failure = Library::read(&layout, Some(&request)).unwrap_err();
        assert!(failure.stack.contains(&"RECIPE_PARSE_ERROR".to_owned()));
        assert!(failure.cause.contains("bad.json:3:"), "{}", failure.cause);
    }

    #[test]
    fn a_recipe_of_the_request_wins_and_is_fresh_only_when_it_says_something_else() {
        let (_folder, layout, request) = setting();
        let (name, version) = (ComponentName::new("a").unwrap(), "1.0.0".parse().unwrap());
        fs::write(
            layout.recipes().join("a-1.0.0.json"),
            recipe("a", "1.0.0", "old"),
        )
        .unwrap();
        fs::write(request.join("a.json"), recipe("a", "1.0.0", "old")).unwrap();
        let library = Library::read(&layout, Some(&request)).unwrap();
        assert!(!library.get(&name, &version).unwrap().fresh);
        fs::write(request.join("a.json"), recipe("a", "1.0.0", "new")).unwrap();
        let library = Library::read(&layout, Some(&request)).unwrap();
        let found = library.get(&name, &version).unwrap();
        assert!(found.fresh && found.stored.len() == 1 && found.text.contains("new"));
    }

    #[test]
    fn two_different_recipes_of_one_version_in_one_folder_are_refused() {
        let (_folder, layout, request) = setting();
        fs::write(request.join("a.json"), recipe("a", "1.0.0", "x")).unwrap();
        fs::write(request.join("b.json"), recipe("a", "1.0.0", "x")).unwrap();
        Library::read(&layout, Some(&request)).unwrap();
        fs::write(request.join("b.json"), recipe("a", "1.0.0", "y")).unwrap();
        let failure = Library::read(&layout, Some(&request)).unwrap_err();
        assert!(failure.cause.contains("a.json and "), "{}", failure.cause);
    }
}
