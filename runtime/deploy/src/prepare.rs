//! Everything before the first change: which versions, which files, what they come to, and the plan. It runs on a blocking
//! thread, looks at a consistent state that was taken before, and stops soon when canceled.

use crate::{
    ChangeKind, Failure, Options, PlannedChange,
    folders::{self, Layout, Move},
    groups::{self, Groups},
    journal::Prepared,
    packages::{self, Library, Source, Wanted},
    plan::{Sides, plan},
    resolve::{ResolveError, Universe, Versions, resolve},
    settle::{Inputs, Settled, settle},
    table::{Contents, Specs},
};
use configuration::{Timestamp, Tree};
use model::error_code::ErrorCode;
use model::{
    ComponentName, Recipe, Version,
    component::Action,
    deployment::{DeploymentId, LocalDeploymentRequest},
    recipe::{Artifact, ComponentType},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
};
use tokio_util::sync::CancellationToken;

/// The state it works on.
#[derive(Clone)]
pub(crate) struct Situation {
    pub options: Arc<Options>,
    pub request: LocalDeploymentRequest,
    pub add: BTreeMap<ComponentName, Version>,
    pub deployment: DeploymentId,
    pub at: Timestamp,
    pub tree: Tree,
    pub active: Specs,
    pub contents: Contents,
    /// Components that are BROKEN.
    pub broken: BTreeSet<ComponentName>,
}

/// How preparing ended.
pub(crate) enum Outcome {
    /// All is known; with staging, all is at hand.
    Ready(Box<Prepared>),
    Canceled,
}

/// What the commit needs besides the journal.
pub(crate) struct Draft {
    pub settled: Settled,
    pub plan: crate::Plan,
    pub actions: BTreeMap<ComponentName, Action>,
}

/// Prepares; with `staging` also copies and unpacks. `progress` is told what it is at.
pub(crate) fn prepare(
    situation: &Situation,
    staging: bool,
    progress: &dyn Fn(&str),
    cancel: &CancellationToken,
) -> Result<Outcome, Failure> {
    let layout = Layout {
        root: situation.options.root.clone(),
    };
    let request = &situation.request;
    progress("reading recipes");
    let library = Library::read(&layout, request.recipe_folder.as_deref())?;
    let group = groups::name_of(request.group.as_deref());
    let groups = Groups::read(&situation.tree).with(&group, &situation.add, &request.remove);
    progress("choosing versions");
    let universe = universe(&library, situation);
    let resolution = resolve(&groups.0, &universe).map_err(|error| {
        let codes: &[ErrorCode] = match &error {
            ResolveError::NoVersion { .. } => &[
                ErrorCode::NoAvailableComponentVersion,
                ErrorCode::ComponentVersionRequirementsNotMet,
            ],
            ResolveError::Circle { .. } => &[ErrorCode::ComponentCircularDependencyError],
        };
        Failure::new(codes, error.to_string())
    })?;
    check_mentioned(situation, &resolution.versions)?;
    let versions: Versions = resolution
        .versions
        .into_iter()
        .filter(|(name, _)| !situation.options.provided.contains_key(name))
        .collect();
    let mut prepared = Prepared {
        versions,
        groups,
        ..Prepared::default()
    };
    let recipes = recipes_of(&library, &prepared.versions)?;
    prepared.plan.notes = notes(situation, &prepared, &resolution.wanted_by);

    progress("looking for artifacts");
    let mut with_files = BTreeSet::new();
    let mut sources = Vec::new();
    for (name, recipe) in &recipes {
        let artifacts = artifacts_of(recipe, situation, name)?;
        let wanted = Wanted {
            component: name,
            version: &recipe.version,
            artifacts: &artifacts,
        };
        let recorded = situation
            .contents
            .get(&(name.clone(), recipe.version.clone()));
        let source = packages::locate(
            &layout,
            request.artifact_folder.as_deref(),
            &wanted,
            recorded,
            cancel,
        )?;
        let Some(source) = source else {
            return Ok(Outcome::Canceled);
        };
        if !matches!(source, Source::Nothing) {
            with_files.insert(name.clone());
        }
        let same_version = situation
            .active
            .get(name)
            .is_some_and(|spec| spec.version == recipe.version);
        let found = library
            .get(name, &recipe.version)
            .expect("its recipe was found there");
        if found.fresh {
            recipe_moves(found, &mut prepared.moves);
            if same_version {
                prepared
                    .changed
                    .entry(name.clone())
                    .or_default()
                    .push("its recipe is different".into());
            }
        }
        if let Source::Stage { content, .. } = &source {
            if same_version {
                prepared
                    .changed
                    .entry(name.clone())
                    .or_default()
                    .push("its artifacts are different".into());
            }
            prepared.contents.insert(name.clone(), content.clone());
            prepared.moves.push(Move {
                place: folders::artifacts(name, &recipe.version),
                comes: true,
            });
            let unpacks = artifacts
                .iter()
                .any(|a| a.unarchive == model::recipe::Unarchive::Zip);
            prepared.moves.push(Move {
                place: folders::unarchived(name, &recipe.version),
                comes: unpacks,
            });
        }
        sources.push((name, recipe, artifacts, source));
    }
    let draft = draft(
        situation,
        &prepared,
        (&recipes, &files_of(&library, &prepared.versions)),
        &with_files,
        &resolution.wanted_by,
    )?;
    let notes = std::mem::take(&mut prepared.plan.notes);
    prepared.plan = draft.plan;
    prepared.plan.notes = notes;
    if !staging {
        return Ok(Outcome::Ready(Box::new(prepared)));
    }

    check_size(&layout, situation, &prepared, &sources)?;
    let staged = layout.staged(&situation.deployment);
    for (name, recipe, artifacts, source) in &sources {
        let Source::Stage { tree, .. } = source else {
            continue;
        };
        progress(&format!("copying artifacts of {name}"));
        let wanted = Wanted {
            component: name,
            version: &recipe.version,
            artifacts,
        };
        if !packages::stage(&staged, &wanted, tree, &situation.options.unpack, cancel)? {
            return Ok(Outcome::Canceled);
        }
        store::crash_point("deploy.staging");
    }
    for (name, recipe) in &recipes {
        let found = library
            .get(name, &recipe.version)
            .expect("its recipe was found there");
        if found.fresh {
            let place = folders::recipe(name, &recipe.version, found.extension);
            packages::write_recipe(&staged.join(place), &found.text)?;
        }
    }
    if staged.exists() {
        let folder = std::fs::File::open(&staged).map_err(|e| Failure::io("open", &staged, &e))?;
        rustix::fs::syncfs(&folder).map_err(|e| Failure::io("make durable", &staged, &e.into()))?;
    }
    Ok(Outcome::Ready(Box::new(prepared)))
}

/// Settles again from what is prepared, with the recipes where they are now: staged or stored.
pub(crate) fn redraft(situation: &Situation, prepared: &Prepared) -> Result<Draft, Failure> {
    let layout = Layout {
        root: situation.options.root.clone(),
    };
    let staged = layout
        .staged(&situation.deployment)
        .join("packages/recipes");
    let library = Library::read(
        &layout,
        Some(staged.as_path()).filter(|folder| folder.is_dir()),
    )?;
    let recipes = recipes_of(&library, &prepared.versions)?;
    let mut with_files: BTreeSet<_> = prepared.contents.keys().cloned().collect();
    let stored =
        |(name, version): &(&ComponentName, &Version)| layout.artifacts(name, version).is_dir();
    with_files.extend(
        prepared
            .versions
            .iter()
            .filter(stored)
            .map(|(name, _)| name.clone()),
    );
    let files = files_of(&library, &prepared.versions);
    let mut draft = draft(
        situation,
        prepared,
        (&recipes, &files),
        &with_files,
        &BTreeMap::new(),
    )?;
    // Who asked for what is known from the first time.
    for change in &mut draft.plan.components {
        let first = prepared
            .plan
            .components
            .iter()
            .find(|c| c.component == change.component);
        if change.why.is_empty()
            && let Some(first) = first
        {
            change.why.clone_from(&first.why);
        }
    }
    draft.plan.notes.clone_from(&prepared.plan.notes);
    Ok(draft)
}

fn draft(
    situation: &Situation,
    prepared: &Prepared,
    (recipes, recipe_files): (
        &BTreeMap<ComponentName, Recipe>,
        &BTreeMap<ComponentName, PathBuf>,
    ),
    with_files: &BTreeSet<ComponentName>,
    wanted_by: &BTreeMap<ComponentName, Vec<String>>,
) -> Result<Draft, Failure> {
    let settled = settle(&Inputs {
        options: &situation.options,
        tree: &situation.tree,
        versions: &prepared.versions,
        recipes,
        recipe_files,
        with_files,
        request: &situation.request,
        active: &situation.active,
        groups: &prepared.groups,
        group: &groups::name_of(situation.request.group.as_deref()),
        deployment: &situation.deployment.0,
        at: situation.at,
    })?;
    let retry = situation
        .broken
        .iter()
        .filter(|name| situation.add.contains_key(*name))
        .cloned()
        .collect();
    let (mut plan, actions) = plan(Sides {
        old: &situation.active,
        new: &settled.specs,
        content: &prepared.changed,
        configuration: &settled.configuration,
        retry: &retry,
        wanted_by,
    });
    for (name, version) in &situation.options.provided {
        if let Some(paths) = settled.configuration.get(name) {
            plan.components.push(PlannedChange {
                component: name.clone(),
                change: ChangeKind::Configuration,
                old_version: Some(version.clone()),
                new_version: Some(version.clone()),
                why: vec![format!("configuration: {}", paths.join(", "))],
            });
        }
    }
    Ok(Draft {
        settled,
        plan,
        actions,
    })
}

fn universe(library: &Library, situation: &Situation) -> Universe {
    let mut universe = Universe::default();
    for (name, versions) in &library.recipes {
        let versions = versions.iter().map(|(version, found)| {
            let dependencies = found.recipe.dependencies.iter();
            (
                version.clone(),
                dependencies
                    .map(|(n, d)| (n.clone(), d.requirement.clone()))
                    .collect(),
            )
        });
        universe.known.insert(name.clone(), versions.collect());
    }
    // What is part of the runtime cannot be another version.
    for (name, version) in &situation.options.provided {
        universe.known.insert(
            name.clone(),
            BTreeMap::from([(version.clone(), BTreeMap::new())]),
        );
    }
    universe.active = situation
        .active
        .values()
        .map(|spec| (spec.name.clone(), spec.version.clone()))
        .collect();
    universe
}

/// Configuration and runWith must be for something that is there.
fn check_mentioned(situation: &Situation, versions: &Versions) -> Result<(), Failure> {
    let request = &situation.request;
    let mentioned = request.configuration.keys().map(|n| (n, "configuration"));
    for (name, what) in mentioned.chain(request.run_with.keys().map(|n| (n, "runWith"))) {
        let provided = what == "configuration" && situation.options.provided.contains_key(name);
        if !provided && !versions.contains_key(name) {
            return Err(Failure::new(
                &[ErrorCode::DeploymentDocumentNotValid],
                format!(
                    "{what} is given for {name}, which is not among the components of this device; add it, or correct the name"
                ),
            ));
        }
    }
    Ok(())
}

fn recipes_of(
    library: &Library,
    versions: &Versions,
) -> Result<BTreeMap<ComponentName, Recipe>, Failure> {
    let mut recipes = BTreeMap::new();
    for (name, version) in versions {
        let Some(found) = library.get(name, version) else {
            let message =
                format!("the recipe of {name} {version} is gone from the component store");
            return Err(Failure::new(&[ErrorCode::LocalRecipeNotFound], message));
        };
        match found.recipe.component_type {
            ComponentType::Generic => {}
            ComponentType::Nucleus => {
                let message =
                    format!("{name} {version} is a nucleus, and this runtime is one already");
                return Err(Failure::new(
                    &[ErrorCode::MultipleNucleusResolvedError],
                    message,
                ));
            }
            other => {
                let kind = match other {
                    ComponentType::Lambda => "a Lambda function, which needs the Lambda feature",
                    _ => "a plugin of the Java nucleus",
                };
                let message = format!("{name} {version} is {kind}; this runtime cannot run it");
                let failure = Failure::new(&[ErrorCode::ComponentPackageLoadingError], message);
                return Err(failure.of_component(name));
            }
        }
        recipes.insert(name.clone(), found.recipe.clone());
    }
    Ok(recipes)
}

fn files_of(library: &Library, versions: &Versions) -> BTreeMap<ComponentName, PathBuf> {
    let file = |(name, version)| {
        Some((
            ComponentName::clone(name),
            library.get(name, version)?.path.clone(),
        ))
    };
    versions.iter().filter_map(file).collect()
}

fn artifacts_of(
    recipe: &Recipe,
    situation: &Situation,
    name: &ComponentName,
) -> Result<Vec<Artifact>, Failure> {
    let selected = recipe.select(&situation.options.platform);
    let selected = selected.map_err(|e| {
        Failure::new(&[ErrorCode::RecipeMissingManifest], e.to_string()).of_component(name)
    })?;
    Ok(selected.artifacts)
}

fn recipe_moves(found: &packages::Found, moves: &mut Vec<Move>) {
    let (name, version) = (&found.recipe.name, &found.recipe.version);
    let place = folders::recipe(name, version, found.extension);
    for other in &found.stored {
        let other =
            std::path::Path::new("packages/recipes").join(other.file_name().unwrap_or_default());
        if other != place {
            moves.push(Move {
                place: other,
                comes: false,
            });
        }
    }
    moves.push(Move { place, comes: true });
}

/// Why a component that was to be removed stays.
fn notes(
    situation: &Situation,
    prepared: &Prepared,
    wanted_by: &BTreeMap<ComponentName, Vec<String>>,
) -> Vec<String> {
    let stays = |name: &&ComponentName| prepared.versions.contains_key(*name);
    let note = |name: &ComponentName| {
        let by = wanted_by
            .get(name)
            .map(|by| by.join(", "))
            .unwrap_or_default();
        let groups = prepared.groups.of(name);
        let help = match groups.first() {
            Some(group) => format!("; remove it from {group} to be rid of it"),
            None => String::new(),
        };
        format!("{name} stays: it is asked for by {by}{help}")
    };
    situation
        .request
        .remove
        .iter()
        .filter(stays)
        .map(note)
        .collect()
}

/// The new set alone must fit into the component store.
fn check_size(
    layout: &Layout,
    situation: &Situation,
    prepared: &Prepared,
    sources: &[(&ComponentName, &Recipe, Vec<Artifact>, Source)],
) -> Result<(), Failure> {
    let mut size = 0_u64;
    for (name, _, _, source) in sources {
        size = size.saturating_add(match source {
            Source::Stage { tree, .. } => tree.bytes,
            _ => packages::tree_size(&layout.artifacts(name, &prepared.versions[*name])),
        });
    }
    let limit = situation.options.retention.max_bytes;
    if size > limit {
        return Err(Failure::new(
            &[ErrorCode::DiskSpaceCritical],
            format!(
                "the artifacts of this deployment have {size} bytes; componentStoreMaxSizeBytes allows {limit}"
            ),
        ));
    }
    Ok(())
}
