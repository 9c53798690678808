//! Objects that this program stores itself, for devices to read by a link.

use super::{
    objects::PutError,
    table::{self, Attributes, Object},
};
use crate::{
    http::{ApiError, Timestamp},
    state::State,
};
use bytes::Bytes;
use futures_util::stream;
use std::{convert::Infallible, sync::Arc};

/// Stores an object, in the place of what was there; the bucket is made when it is missing.
pub async fn keep(
    state: &Arc<State>,
    bucket: &str,
    key: &str,
    contents: Bytes,
) -> Result<(), ApiError> {
    let limit = contents.len() as u64;
    let body = stream::iter([Ok::<_, Infallible>(contents)]);
    let stored = state.objects.write(body, limit, |_| {}).await;
    let stored = stored.map_err(|error: PutError| ApiError::internal(error))?;
    let now = Timestamp::now();
    let object = Object {
        key: key.to_owned(),
        file: stored.name,
        size: stored.size,
        etag: stored.md5,
        modified: now,
        attributes: Attributes {
            content_type: Some("application/json".to_owned()),
            ..Attributes::default()
        },
    };
    let bucket = bucket.to_owned();
    state
        .database
        .write(move |t| {
            let sql =
                "INSERT INTO s3_bucket (name, created) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
            t.execute(sql, (&bucket, now))?;
            table::put_object(t, &bucket, &object)
        })
        .await?;
    Ok(state.objects.collect(&state.database).await?)
}

/// Removes an object that [`keep`] has stored.
pub async fn discard(state: &Arc<State>, bucket: &str, key: &str) -> Result<(), ApiError> {
    let (bucket, key) = (bucket.to_owned(), key.to_owned());
    state
        .database
        .write(move |t| table::remove_object(t, &bucket, &key))
        .await?;
    Ok(state.objects.collect(&state.database).await?)
}
