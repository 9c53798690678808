//! Whose request it is, and what a role's policies allow of S3.

use crate::{
    http::Caller,
    state::{State, keys},
};
use s3s::{
    S3Result,
    access::{S3Access, S3AccessContext},
    auth::{S3Auth, SecretKey},
    path::S3Path,
    s3_error,
};
use std::sync::Arc;

/// Gives s3s the secret half of a key.
pub(super) struct Secrets(pub(super) Arc<State>);

#[async_trait::async_trait]
impl S3Auth for Secrets {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let found = keys::find(&self.0.database, access_key).await;
        match found.map_err(s3s::S3Error::internal_error)? {
            Some(key) => Ok(key.secret.reveal().into()),
            None => Err(s3_error!(
                InvalidAccessKeyId,
                "The AWS Access Key Id you provided does not exist in our records."
            )),
        }
    }
}

/// Checks every operation before it begins. The caller is in the request's extensions: the front has put it there.
pub(super) struct Policy;

#[async_trait::async_trait]
impl S3Access for Policy {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        if context.credentials().is_none() {
            return Err(s3_error!(AccessDenied, "Access Denied"));
        }
        let operation = context.s3_op().name();
        if operation == "DeleteObjects" {
            // Each key is checked when it is known.
            return Ok(());
        }
        let (action, of_bucket) = action(operation);
        let resource = match context.s3_path() {
            S3Path::Root => "*".to_owned(),
            S3Path::Object { bucket, key } if !of_bucket => arn(bucket, Some(key)),
            S3Path::Bucket { bucket } | S3Path::Object { bucket, .. } => arn(bucket, None),
        };
        allow(context.extensions_mut().get(), &action, &resource)
    }
}

/// The action that policies know an operation by, and whether it is one on the bucket.
fn action(operation: &str) -> (String, bool) {
    let (name, of_bucket) = match operation {
        "GetObject" | "HeadObject" | "GetObjectAttributes" => ("GetObject", false),
        "PutObject"
        | "CopyObject"
        | "CreateMultipartUpload"
        | "UploadPart"
        | "UploadPartCopy"
        | "CompleteMultipartUpload" => ("PutObject", false),
        "ListParts" => ("ListMultipartUploadParts", false),
        "ListObjects" | "ListObjectsV2" | "HeadBucket" => ("ListBucket", true),
        "ListMultipartUploads" => ("ListBucketMultipartUploads", true),
        "ListBuckets" => ("ListAllMyBuckets", true),
        other => (other, other.contains("Bucket")),
    };
    (format!("s3:{name}"), of_bucket)
}

/// `arn:aws:s3:::<bucket>[/<key>]`.
pub(super) fn arn(bucket: &str, key: Option<&str>) -> String {
    match key {
        Some(key) => format!("arn:aws:s3:::{bucket}/{key}"),
        None => format!("arn:aws:s3:::{bucket}"),
    }
}

/// Refuses what the caller may not do.
pub(super) fn allow(caller: Option<&Caller>, action: &str, resource: &str) -> S3Result<()> {
    match caller {
        Some(caller) if caller.may(action, resource) => Ok(()),
        _ => Err(s3_error!(
            AccessDenied,
            "Access Denied: {} on {}",
            action,
            resource
        )),
    }
}
