//! What a recipe refers to: whether it is there, and its digest.

use crate::{
    http::ApiError,
    s3::{self, Object},
    state::State,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use model::{Recipe, recipe::Artifact};
use openssl::sha::Sha256;
use rusqlite::Transaction;
use std::{collections::BTreeMap, sync::Arc};
use tokio::io::AsyncReadExt;

/// What AWS says of an artifact that it cannot read.
const NOT_THERE: &str = "Specified artifact resource cannot be accessed";

/// Bucket and key of an `s3://` URI.
pub fn place(uri: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = uri.split_once("://")?;
    let (bucket, key) = rest.split_once('/')?;
    (scheme.eq_ignore_ascii_case("s3") && !bucket.is_empty() && !key.is_empty())
        .then_some((bucket, key))
}

/// The object that an artifact is, if it is one of ours; what is wrong otherwise.
fn object(
    t: &Transaction<'_>,
    artifact: &Artifact,
) -> Result<Result<Option<Object>, String>, ApiError> {
    let scheme = artifact.scheme().unwrap_or_default();
    Ok(match scheme.as_str() {
        "s3" => match place(&artifact.uri) {
            Some((bucket, key)) => match s3::find_object(t, bucket, key)? {
                Some(object) => Ok(Some(object)),
                None => Err(NOT_THERE.to_owned()),
            },
            None => Err("The URI is not s3://<bucket>/<key>".to_owned()),
        },
        "docker" => Ok(None),
        "greengrass" => Err(NOT_THERE.to_owned()),
        other => Err(format!(
            "Artifacts with the scheme '{other}' are not supported: use s3 or docker"
        )),
    })
}

/// By URI: objects, and what is wrong.
pub type Looked = (BTreeMap<String, Object>, BTreeMap<String, String>);

/// The objects of a recipe's artifacts by URI, and what is wrong with the others.
pub fn look(t: &Transaction<'_>, recipe: &Recipe) -> Result<Looked, ApiError> {
    let (mut objects, mut errors) = (BTreeMap::new(), BTreeMap::new());
    for artifact in recipe.manifests.iter().flat_map(|m| &m.artifacts) {
        match object(t, artifact)? {
            Ok(Some(object)) => {
                objects.insert(artifact.uri.clone(), object);
            }
            Ok(None) => {}
            Err(error) => {
                errors.insert(artifact.uri.clone(), error);
            }
        }
    }
    Ok((objects, errors))
}

/// Writes digests into a recipe. Artifacts that no digest was given for are left as they are.
pub fn fill(recipe: &mut Recipe, digests: &BTreeMap<String, String>) {
    for artifact in recipe.manifests.iter_mut().flat_map(|m| &mut m.artifacts) {
        // Only what was read here is vouched for.
        let digest = digests.get(&artifact.uri).cloned();
        artifact.algorithm = digest.as_ref().map(|_| "SHA-256".to_owned());
        artifact.digest = digest;
    }
}

/// Base64 of the SHA-256 of an object's contents.
pub async fn digest(state: &Arc<State>, object: &Object) -> std::io::Result<String> {
    let mut file = state.objects.read(&object.file).await?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut piece).await?;
        if read == 0 {
            return Ok(STANDARD.encode(hasher.finish()));
        }
        hasher.update(&piece[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_bucket_and_a_key_that_may_have_slashes() {
        assert_eq!(place("s3://b/k/x.zip"), Some(("b", "k/x.zip")));
        assert_eq!(place("S3://b/k"), Some(("b", "k")));
        for uri in ["s3://b", "s3://b/", "s3:///k", "http://b/k", "docker:x"] {
            assert_eq!(place(uri), None, "{uri}");
        }
    }
}
