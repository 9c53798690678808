//! Artifacts: where each file of a component comes from, and the copy that is checked, unpacked and given its permissions
//! in a folder nobody else sees.

use super::{fingerprint, unpack};
use crate::{Failure, folders, folders::Layout, options::UnpackLimits, table::Content};
use base64::Engine;
use model::error_code::ErrorCode;
use model::{
    ComponentName, Version,
    recipe::{Access, Artifact, Permission, Unarchive},
};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};
use tokio_util::sync::CancellationToken;

/// Folders in folders.
const MAX_DEPTH: usize = 32;
/// Files of one component.
const MAX_FILES: usize = 200_000;
/// Left free on the disk, as in Greengrass.
const RESERVE: u64 = 20 * 1024 * 1024;

/// A folder's files, sorted by name.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub files: Vec<TreeFile>,
    pub bytes: u64,
}

/// One regular file.
#[derive(Debug)]
pub(crate) struct TreeFile {
    /// Below the folder.
    pub relative: PathBuf,
    pub source: PathBuf,
    pub mode: u32,
}

/// A component whose artifacts are needed.
pub(crate) struct Wanted<'a> {
    pub component: &'a ComponentName,
    pub version: &'a Version,
    pub artifacts: &'a [Artifact],
}

/// Where its files come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// The component store has them, just so.
    Stored,
    /// They are to be staged.
    Stage { tree: Tree, content: Content },
    /// There are none.
    Nothing,
}

/// Finds every file of a component, in the request's folder first, then in the store. Changes nothing.
/// `None` when canceled.
pub(crate) fn locate(
    layout: &Layout,
    folder: Option<&Path>,
    wanted: &Wanted<'_>,
    recorded: Option<&Content>,
    cancel: &CancellationToken,
) -> Result<Option<Source>, Failure> {
    let stored = layout.artifacts(wanted.component, wanted.version);
    let given = folder
        .map(|f| {
            f.join(wanted.component.as_str())
                .join(wanted.version.to_string())
        })
        .filter(|f| f.is_dir());
    let mut files = BTreeMap::new();
    for from in [Some(&stored), given.as_ref()]
        .into_iter()
        .flatten()
        .filter(|from| from.is_dir())
    {
        let mut found = Vec::new();
        walk(from, Path::new(""), 0, &mut found)?;
        files.extend(found.into_iter().map(|file| (file.relative.clone(), file)));
    }
    if let Some(given) = &given {
        // What the folder no longer has is gone, unless the recipe asks for it.
        let asked: Vec<_> = wanted
            .artifacts
            .iter()
            .filter_map(Artifact::file_name)
            .map(Path::new)
            .collect();
        files.retain(|relative, file| {
            file.source.starts_with(given) || asked.contains(&relative.as_path())
        });
    }
    for artifact in wanted.artifacts {
        check_present(wanted, artifact, &files, folder)?;
    }
    if files.is_empty() {
        return Ok(Some(Source::Nothing));
    }
    let mut tree = Tree {
        files: files.into_values().collect(),
        bytes: 0,
    };
    for file in &tree.files {
        tree.bytes += fs::metadata(&file.source)
            .map_err(|e| Failure::io("read", &file.source, &e))?
            .len();
    }
    let artifacts = serde_json::to_string(wanted.artifacts).expect("artifacts are plain texts");
    let from_request = tree
        .files
        .iter()
        .any(|file| !file.source.starts_with(&stored));
    if !from_request && recorded.is_some_and(|recorded| recorded.artifacts == artifacts) {
        return Ok(Some(Source::Stored));
    }
    let Some(files) = fingerprint::of(&tree, cancel)? else {
        return Ok(None);
    };
    let content = Content { files, artifacts };
    if recorded == Some(&content) && stored.is_dir() {
        return Ok(Some(Source::Stored));
    }
    Ok(Some(Source::Stage { tree, content }))
}

fn check_present(
    wanted: &Wanted<'_>,
    artifact: &Artifact,
    files: &BTreeMap<PathBuf, TreeFile>,
    folder: Option<&Path>,
) -> Result<(), Failure> {
    let (component, version, uri) = (wanted.component, wanted.version, &artifact.uri);
    let fail = |codes: &[ErrorCode], why: &str| {
        Err(Failure::new(
            codes,
            format!("artifact {uri} of {component} {version}: {why}"),
        )
        .of_component(component))
    };
    let scheme = artifact.scheme();
    match scheme.as_deref() {
        Some("s3" | "greengrass" | "https" | "http" | "file") => {}
        Some("docker") => {
            let codes = [
                ErrorCode::ArtifactDownloadError,
                ErrorCode::MissingDockerApplicationManager,
            ];
            return fail(
                &codes,
                "this runtime has no feature installed that pulls container images",
            );
        }
        Some(other) => {
            return fail(
                &[ErrorCode::UnsupportedArtifactScheme],
                &format!("the scheme {other:?} is unknown; use s3:, greengrass: or docker:"),
            );
        }
        None => {
            return fail(
                &[ErrorCode::ArtifactUriNotValid],
                "it has no scheme such as s3:",
            );
        }
    }
    let Some(name) = artifact.file_name() else {
        return fail(
            &[ErrorCode::ArtifactUriNotValid],
            "it does not end in a file name",
        );
    };
    if files.contains_key(Path::new(name)) {
        return Ok(());
    }
    let place = format!("{component}/{version}/{name}");
    let help = match folder {
        Some(folder) => format!(
            "neither {} nor the component store has it",
            folder.join(&place).display()
        ),
        None => format!(
            "the component store does not have it, and no artifact folder with {place} was given"
        ),
    };
    fail(
        &[ErrorCode::ArtifactDownloadError],
        &format!("{help}; downloading needs the cloud feature, which is not installed"),
    )
}

/// Links are followed, since a person laid out the folder; anything that is neither file nor folder is refused.
fn walk(
    folder: &Path,
    relative: &Path,
    depth: usize,
    found: &mut Vec<TreeFile>,
) -> Result<(), Failure> {
    let too_much = |what: &str| {
        Err(Failure::new(
            &[ErrorCode::IoReadError],
            format!("{}: more than {what}", folder.display()),
        ))
    };
    if depth > MAX_DEPTH {
        return too_much(&format!(
            "{MAX_DEPTH} folders in each other; a link may lead in a circle"
        ));
    }
    let here = folder.join(relative);
    let unreadable = |e: io::Error| Failure::io("read the artifact folder", &here, &e);
    for entry in fs::read_dir(&here).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name();
        let (relative, source) = (relative.join(&name), here.join(&name));
        let meta = fs::metadata(&source).map_err(|e| Failure::io("read", &source, &e))?;
        if meta.is_dir() {
            walk(folder, &relative, depth + 1, found)?;
        } else if meta.is_file() {
            found.push(TreeFile {
                relative,
                source,
                mode: meta.permissions().mode(),
            });
        } else {
            let message = format!("{} is neither a file nor a folder", source.display());
            return Err(Failure::new(&[ErrorCode::IoReadError], message));
        }
        if found.len() > MAX_FILES {
            return too_much(&format!("{MAX_FILES} files"));
        }
    }
    Ok(())
}

/// Copies, checks, unpacks and sets permissions, below `staged`. `false` when canceled; what is there then is to be removed.
pub(crate) fn stage(
    staged: &Path,
    wanted: &Wanted<'_>,
    tree: &Tree,
    limits: &UnpackLimits,
    cancel: &CancellationToken,
) -> Result<bool, Failure> {
    let folder = staged.join(folders::artifacts(wanted.component, wanted.version));
    check_space(staged, tree.bytes)?;
    let named: BTreeMap<&str, &Artifact> = wanted
        .artifacts
        .iter()
        .filter_map(|artifact| Some((artifact.file_name()?, artifact)))
        .collect();
    for file in &tree.files {
        let to = folder.join(&file.relative);
        create_all(to.parent().expect("below the folder"))?;
        let Some(hash) = copy(&file.source, &to, cancel)? else {
            return Ok(false);
        };
        let artifact = file.relative.to_str().and_then(|name| named.get(name));
        if let Some(artifact) = artifact {
            check_digest(wanted, artifact, &hash)?;
        }
        if let Some(artifact) = artifact.filter(|a| a.unarchive == Unarchive::Zip) {
            let name = Path::new(artifact.file_name().expect("it has one"))
                .file_stem()
                .unwrap_or_default();
            let into = staged
                .join(folders::unarchived(wanted.component, wanted.version))
                .join(name);
            create_all(&into)?;
            let mode = mode_of(artifact.permission);
            let unpacked = unpack::zip(&to, &into, mode, limits, cancel).map_err(|e| {
                Failure::new(
                    &[ErrorCode::IoUnzipError],
                    format!(
                        "artifact {} of {} {}: {e}",
                        artifact.uri, wanted.component, wanted.version
                    ),
                )
                .of_component(wanted.component)
            })?;
            if !unpacked {
                return Ok(false);
            }
        }
        // Files the recipe does not name keep what their author gave them, as far as it is harmless.
        let mode = artifact.map_or(file.mode & 0o755 | 0o400, |artifact| {
            mode_of(artifact.permission)
        });
        set_mode(&to, mode)?;
    }
    Ok(true)
}

fn check_space(folder: &Path, needed: u64) -> Result<(), Failure> {
    create_all(folder)?;
    let stat = rustix::fs::statvfs(folder)
        .map_err(|e| Failure::io("look at the disk of", folder, &e.into()))?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free < needed.saturating_add(RESERVE) {
        return Err(Failure::new(
            &[ErrorCode::DiskSpaceCritical],
            format!(
                "{needed} bytes of artifacts do not fit on the disk of {}: {free} bytes are free and {RESERVE} stay so",
                folder.display()
            ),
        ));
    }
    Ok(())
}

/// The caller makes all durable at once, at the end.
fn create_all(path: &Path) -> Result<(), Failure> {
    folders::create_all(path).map_err(|e| Failure::io("create", path, &e))
}

/// Copies and hashes at once. `None` when canceled.
fn copy(from: &Path, to: &Path, cancel: &CancellationToken) -> Result<Option<[u8; 32]>, Failure> {
    let mut reader = File::open(from).map_err(|e| Failure::io("read", from, &e))?;
    let mut writer = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .map_err(|e| Failure::io("write", to, &e))?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 64 * 1024]);
    loop {
        if cancel.is_cancelled() {
            return Ok(None);
        }
        match reader
            .read(&mut buffer)
            .map_err(|e| Failure::io("read", from, &e))?
        {
            0 => return Ok(Some(hash.finalize().into())),
            n => {
                hash.update(&buffer[..n]);
                writer
                    .write_all(&buffer[..n])
                    .map_err(|e| Failure::io("write", to, &e))?;
            }
        }
    }
}

fn check_digest(wanted: &Wanted<'_>, artifact: &Artifact, hash: &[u8; 32]) -> Result<(), Failure> {
    let Some(digest) = &artifact.digest else {
        return Ok(());
    };
    let fail = |code, why: String| {
        let message = format!(
            "artifact {} of {} {}: {why}",
            artifact.uri, wanted.component, wanted.version
        );
        Err(
            Failure::new(&[ErrorCode::ArtifactDownloadError, code], message)
                .of_component(wanted.component),
        )
    };
    match artifact.algorithm.as_deref() {
        None => {
            return fail(
                ErrorCode::RecipeMissingArtifactHashAlgorithm,
                "it has a Digest but no Algorithm".into(),
            );
        }
        Some(name) if name.replace('-', "").eq_ignore_ascii_case("SHA256") => {}
        Some(name) => {
            return fail(
                ErrorCode::RecipeMissingArtifactHashAlgorithm,
                format!("the Algorithm {name:?} is unknown; SHA-256 is the one there is"),
            );
        }
    }
    let found = base64::engine::general_purpose::STANDARD.encode(hash);
    if found.trim_end_matches('=') != digest.trim().trim_end_matches('=') {
        return fail(
            ErrorCode::ArtifactChecksumMismatch,
            format!(
                "its SHA-256 is {found}, the recipe says {digest}; take the right file, or remove Digest from the recipe"
            ),
        );
    }
    Ok(())
}

/// The owner is the component's user, who gets the files before install.
fn mode_of(permission: Permission) -> u32 {
    let bits = |access, owner: u32, all: u32| match access {
        Access::None => 0,
        Access::Owner => owner,
        Access::All => all,
    };
    bits(permission.read, 0o440, 0o444) | bits(permission.execute, 0o110, 0o111)
}

pub(super) fn set_mode(path: &Path, mode: u32) -> Result<(), Failure> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(|e| Failure::io("set permissions of", path, &e))
}
