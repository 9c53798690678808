//! What stays in the component store after a deployment: the versions that are deployed, those of the sets before as far as
//! the rule and the size allow, and nothing else. What goes is told in the log.

use super::Library;
use crate::{Failure, folders, folders::Layout, options::Retention};
use model::{ComponentName, Version};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

type Set = BTreeMap<ComponentName, Version>;
type Key = (ComponentName, Version);

/// Removes what need not stay; `previous` newest first. Returns the versions that went.
pub(crate) fn clean(
    layout: &Layout,
    active: &Set,
    previous: &[Set],
    rule: &Retention,
) -> Result<Vec<Key>, Failure> {
    let library = Library::read(layout, None)?;
    let mut there: BTreeSet<Key> = library
        .recipes
        .iter()
        .flat_map(|(name, versions)| {
            versions
                .keys()
                .map(|version| (name.clone(), version.clone()))
        })
        .collect();
    for top in ["packages/artifacts", "packages/artifacts-unarchived"] {
        there.extend(folder_versions(&layout.root.join(top)));
    }
    let mut keep: BTreeSet<Key> = keys(active).collect();
    let mut size: u64 = keep.iter().map(|key| size_of(layout, key)).sum();
    'sets: for set in previous.iter().take(rule.previous_sets as usize) {
        for key in keys(set).filter(|key| there.contains(key)) {
            if keep.contains(&key) {
                continue;
            }
            size += size_of(layout, &key);
            if size > rule.max_bytes {
                break 'sets;
            }
            keep.insert(key);
        }
    }
    let mut gone = Vec::new();
    for (name, version) in there.difference(&keep) {
        log::info!(component = name.as_str(); "removing version {version} from the component store");
        for found in library
            .get(name, version)
            .into_iter()
            .flat_map(|found| &found.stored)
        {
            folders::remove(found)?;
        }
        for folder in [
            layout.unarchived(name, version),
            layout.artifacts(name, version),
        ] {
            folders::remove(&folder)?;
            if let Some(above) = folder.parent() {
                // Fails while other versions are in it, as it should.
                let _ = fs::remove_dir(above);
            }
        }
        gone.push((name.clone(), version.clone()));
    }
    Ok(gone)
}

fn keys(set: &Set) -> impl Iterator<Item = Key> {
    set.iter()
        .map(|(name, version)| (name.clone(), version.clone()))
}

fn folder_versions(top: &Path) -> Vec<Key> {
    let list = |path: &Path| {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries
            .filter_map(|e| e.file_name().into_string().ok())
            .collect::<Vec<_>>()
    };
    let mut found = Vec::new();
    for name in list(top) {
        let Ok(component) = ComponentName::new(&name) else {
            continue;
        };
        let versions = list(&top.join(&name));
        found.extend(
            versions
                .iter()
                .filter_map(|v| Some((component.clone(), v.parse().ok()?))),
        );
    }
    found
}

fn size_of(layout: &Layout, (name, version): &Key) -> u64 {
    tree_size(&layout.artifacts(name, version)) + tree_size(&layout.unarchived(name, version))
}

/// The bytes of all files below a folder; 0 where nothing is.
pub(crate) fn tree_size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => tree_size(&entry.path()),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(versions: &[&str]) -> (tempfile::TempDir, Layout, ComponentName) {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout {
            root: folder.path().to_owned(),
        };
        let name = ComponentName::new("com.a").unwrap();
        fs::create_dir_all(layout.recipes()).unwrap();
        for version in versions {
            let parsed = version.parse().unwrap();
            fs::create_dir_all(layout.artifacts(&name, &parsed)).unwrap();
            fs::create_dir_all(layout.unarchived(&name, &parsed)).unwrap();
            fs::write(layout.artifacts(&name, &parsed).join("f"), [0; 100]).unwrap();
        }
        (folder, layout, name)
    }

    fn left(layout: &Layout, name: &ComponentName) -> Vec<String> {
        let mut left: Vec<_> =
            fs::read_dir(layout.root.join("packages/artifacts").join(name.as_str()))
                .map(|entries| {
                    entries
                        .map(|e| e.unwrap().file_name().into_string().unwrap())
                        .collect()
                })
                .unwrap_or_default();
        left.sort();
        left
    }

    fn set(name: &ComponentName, version: &str) -> Set {
        Set::from([(name.clone(), version.parse().unwrap())])
    }

    #[test]
    fn the_deployed_and_the_previous_version_stay_and_older_ones_go() {
        let (_f, layout, name) = setting(&["1.0.0", "2.0.0", "3.0.0", "4.0.0"]);
        let rule = Retention {
            previous_sets: 1,
            max_bytes: 1 << 20,
        };
        let gone = clean(
            &layout,
            &set(&name, "3.0.0"),
            &[set(&name, "2.0.0"), set(&name, "1.0.0")],
            &rule,
        )
        .unwrap();
        assert_eq!(left(&layout, &name), ["2.0.0", "3.0.0"]);
        assert_eq!(gone.len(), 2);
    }

    #[test]
    fn the_previous_version_goes_too_when_there_is_no_room_but_the_deployed_one_never() {
        let (_f, layout, name) = setting(&["1.0.0", "2.0.0"]);
        let rule = Retention {
            previous_sets: 1,
            max_bytes: 50,
        };
        clean(&layout, &set(&name, "2.0.0"), &[set(&name, "1.0.0")], &rule).unwrap();
        assert_eq!(left(&layout, &name), ["2.0.0"]);
    }

    #[test]
    fn nothing_is_left_of_a_component_that_is_gone() {
        let (_f, layout, _) = setting(&["1.0.0"]);
        clean(
            &layout,
            &Set::new(),
            &[],
            &Retention {
                previous_sets: 1,
                max_bytes: 0,
            },
        )
        .unwrap();
        assert!(!layout.root.join("packages/artifacts/com.a").exists());
        assert!(
            !layout
                .root
                .join("packages/artifacts-unarchived/com.a")
                .exists()
        );
    }
}
