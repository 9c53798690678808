//! Documents that are too large to be sent over MQTT. A device gets one without components that requires the capability
//! LARGE_CONFIGURATION, and fetches the whole with a link. AWS' path for that is not public; ours is
//!
//! ```text
//! GET /greengrass/v2/coreDevices/<thing>/deployments/<deployment id>/configuration
//!     -> {"preSignedUrl": "…", "integrityCheck": {"algorithm": "SHA-256", "digest": "<base64>"}}
//! ```

use super::{
    document::{Names, whole},
    table::Deployment,
};
use crate::{
    greengrassv2::names::{Kind, not_found},
    http::ApiError,
    iot::registry::{groups, names::of_arn},
    s3,
    state::State,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use openssl::sha::sha256;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// How long a link is good.
const GOOD_FOR: Duration = Duration::from_secs(3600);

/// The bucket of such documents.
fn bucket(state: &State) -> String {
    let account = &state.account;
    format!("greengrass-deployments-{}-{}", account.id, account.region)
}

/// The key of a deployment's document.
pub fn key(id: &str) -> String {
    format!("{id}.json")
}

/// Removes the document of a deployment that is gone.
pub async fn drop(state: &Arc<State>, id: &str) -> Result<(), ApiError> {
    s3::discard(state, &bucket(state), &key(id)).await
}

/// What a device fetches its document with. The object is made when the first device asks. Any deployment that it is a
/// target of can be asked for, also small ones.
pub async fn configuration(
    state: &Arc<State>,
    base: &str,
    thing: &str,
    id: &str,
) -> Result<Value, ApiError> {
    let (thing, id) = (thing.to_owned(), id.to_owned());
    let account = state.account.clone();
    let (bucket, key) = (bucket(state), key(&id));
    let (its_bucket, its_key) = (bucket.clone(), key.clone());
    let (document, there) = state
        .database
        .read(move |t| {
            let deployment = Deployment::get(t, &id)?;
            let is_target = match of_arn(&deployment.target, "thinggroup") {
                Some(group) => groups::of_thing(t, &thing, true)?
                    .iter()
                    .any(|g| g == group),
                None => deployment.thing() == Some(&thing),
            };
            if !is_target {
                return Err(not_found(
                    Kind::Deployment,
                    &id,
                    format!("Deployment {id} does not exist for {thing}."),
                ));
            }
            let names = Names {
                id: &deployment.id,
                name: deployment.name.as_deref(),
                target: &deployment.target,
                parent: deployment.parent.as_deref(),
                configuration: &deployment.configuration_arn(&account),
                created: deployment.created,
            };
            let document = whole(&names, &deployment.parts)?;
            let there = s3::find_object(t, &its_bucket, &its_key)?.is_some();
            Ok::<_, ApiError>((document, there))
        })
        .await?;
    let digest = STANDARD.encode(sha256(document.to_string().as_bytes()));
    if !there {
        s3::keep(state, &bucket, &key, document.to_string().into()).await?;
    }
    Ok(json!({
        "preSignedUrl": s3::link(state, base, &bucket, &key, GOOD_FOR),
        "integrityCheck": { "algorithm": "SHA-256", "digest": digest },
    }))
}
