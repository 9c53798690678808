//! Between requests and what is kept: bodies become files, rows change, and files without a row go.

use super::{
    checksum::{Checksums, Summing},
    conditions::{Conditions, no_key},
    listing::{self, Listing, Query},
    objects::{PutError, Stored},
    table::{self, Object},
};
use crate::{http::Timestamp, state::State};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::StreamExt;
use rusqlite::Transaction;
use s3s::{S3Error, S3Result, TrailingHeaders, dto::StreamingBlob, s3_error};
use std::sync::Arc;
use store::StoreError;

/// The largest object that one request stores, as with AWS.
const LARGEST: u64 = 5 * 1024 * 1024 * 1024;

/// Implements what is served; s3s answers NotImplemented for the rest.
pub(super) struct Service {
    pub(super) state: Arc<State>,
}

/// An error of the database's closures.
#[derive(Debug)]
pub(super) struct Error(pub(super) S3Error);

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self(S3Error::internal_error(error))
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self(S3Error::internal_error(error))
    }
}

impl From<S3Error> for Error {
    fn from(error: S3Error) -> Self {
        Self(error)
    }
}

impl From<Error> for S3Error {
    fn from(error: Error) -> Self {
        error.0
    }
}

pub(super) fn no_bucket() -> S3Error {
    s3_error!(NoSuchBucket, "The specified bucket does not exist")
}

pub(super) fn need_bucket(t: &Transaction<'_>, bucket: &str) -> Result<(), Error> {
    if table::bucket_exists(t, bucket)? {
        Ok(())
    } else {
        Err(no_bucket().into())
    }
}

pub(super) fn moment(time: Timestamp) -> s3s::dto::Timestamp {
    let nanos = i128::from(time.millis()) * 1_000_000;
    let time = time::OffsetDateTime::from_unix_timestamp_nanos(nanos);
    time.unwrap_or(time::OffsetDateTime::UNIX_EPOCH).into()
}

pub(super) fn put_error(error: PutError) -> S3Error {
    match error {
        PutError::Body(cause) => {
            // A wrong hash or chunk signature shows only while the body is read; s3s says which by an error of its own.
            match cause.downcast::<S3Error>() {
                Ok(error) => *error,
                Err(cause) => S3Error::with_source(s3s::S3ErrorCode::IncompleteBody, cause),
            }
        }
        PutError::TooLong(_) => s3_error!(
            EntityTooLarge,
            "Your proposed upload exceeds the maximum allowed size"
        ),
        PutError::Io(error) => S3Error::internal_error(error),
    }
}

/// A body on its way to a file.
pub(super) struct Upload {
    pub(super) body: Option<StreamingBlob>,
    pub(super) trailers: Option<TrailingHeaders>,
    pub(super) content_md5: Option<String>,
    pub(super) length: Option<i64>,
    pub(super) given: Checksums,
    pub(super) algorithm: Option<String>,
}

impl Service {
    pub(super) fn new(state: Arc<State>) -> Self {
        Self { state }
    }

    /// Stores a body and compares it with all that was said about it.
    pub(super) async fn store(&self, upload: Upload) -> S3Result<(Stored, Checksums)> {
        let Upload {
            body,
            trailers,
            content_md5,
            length,
            mut given,
            algorithm,
        } = upload;
        // A checksum in the trailer is announced by its header's name.
        let names = given
            .values
            .keys()
            .cloned()
            .chain(algorithm)
            .collect::<Vec<_>>();
        let mut summing = Summing::new(names.iter().map(String::as_str))?;
        let body = body.map_or_else(|| futures_util::stream::empty().boxed(), StreamExt::boxed);
        let stored = self
            .state
            .objects
            .write(body, LARGEST, |piece| summing.update(piece))
            .await
            .map_err(put_error)?;
        let checked = || {
            if length.is_some_and(|length| length.unsigned_abs() != stored.size) {
                return Err(s3_error!(
                    IncompleteBody,
                    "You did not provide the number of bytes specified by the Content-Length HTTP header"
                ));
            }
            if let Some(md5) = &content_md5 {
                let md5 = STANDARD.decode(md5).map_err(|_| {
                    s3_error!(InvalidDigest, "The Content-MD5 you specified was invalid.")
                })?;
                if crate::http::sigv4::hex(&md5) != stored.md5 {
                    return Err(s3_error!(
                        BadDigest,
                        "The Content-MD5 you specified did not match what we received."
                    ));
                }
            }
            given.trailing(trailers);
            let computed = summing.finish();
            given.check(&computed)?;
            Ok(computed)
        };
        match checked() {
            Ok(computed) => Ok((stored, computed)),
            Err(error) => {
                self.drop_file(&stored.name).await;
                Err(error)
            }
        }
    }

    /// Removes a file that no row has ever referred to.
    pub(super) async fn drop_file(&self, name: &str) {
        if let Err(error) = tokio::fs::remove_file(self.state.objects.path(name)).await {
            log::warn!(file = name; "removing a file that was not wanted: {error}");
        }
    }

    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Error> + Send + 'static,
    ) -> S3Result<T> {
        Ok(self.state.database.read(work).await?)
    }

    /// Writes, and removes the files that are no longer referred to.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Error> + Send + 'static,
    ) -> S3Result<T> {
        let value = self.state.database.write(work).await?;
        if let Err(error) = self.state.objects.collect(&self.state.database).await {
            log::warn!("removing files of replaced objects: {error}");
        }
        Ok(value)
    }

    pub(super) async fn find(&self, bucket: &str, key: &str) -> S3Result<Object> {
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        self.read(move |t| {
            if let Some(object) = table::find_object(t, &bucket, &key)? {
                return Ok(object);
            }
            need_bucket(t, &bucket)?;
            Err(no_key().into())
        })
        .await
    }

    /// An object and its open file. One that is replaced meanwhile is looked up again.
    pub(super) async fn open(
        &self,
        bucket: &str,
        key: &str,
    ) -> S3Result<(Object, tokio::fs::File)> {
        let mut tries = 3;
        loop {
            let object = self.find(bucket, key).await?;
            match self.state.objects.read(&object.file).await {
                Ok(file) => return Ok((object, file)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && tries > 0 => {
                    tries -= 1;
                }
                Err(error) => return Err(S3Error::internal_error(error)),
            }
        }
    }

    pub(super) async fn page(&self, query: Query) -> S3Result<Listing> {
        self.read(move |t| {
            need_bucket(t, &query.bucket)?;
            Ok(listing::list(t, &query)?)
        })
        .await
    }
    /// Makes an object be what its row says; its file is removed when it is refused.
    pub(super) async fn replace(
        &self,
        bucket: String,
        object: Object,
        conditions: Conditions,
    ) -> S3Result<()> {
        let file = object.file.clone();
        let done = self
            .write(move |t| {
                need_bucket(t, &bucket)?;
                let there = table::find_object(t, &bucket, &object.key)?;
                conditions.check(there.as_ref().map(|o| o.etag.as_str()))?;
                Ok(table::put_object(t, &bucket, &object)?)
            })
            .await;
        if done.is_err() {
            self.drop_file(&file).await;
        }
        done
    }
}
