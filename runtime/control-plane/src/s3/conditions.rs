//! Conditions on what is there: of writers, and of readers.

use super::{storing::moment, table::Object};
use s3s::{
    S3Error, S3Result,
    dto::{ETagCondition, GetObjectInput},
    s3_error,
};

pub(super) fn no_key() -> S3Error {
    s3_error!(NoSuchKey, "The specified key does not exist.")
}

/// HTTP dates have whole seconds.
fn second(time: s3s::dto::Timestamp) -> i64 {
    time::OffsetDateTime::from(time).unix_timestamp()
}

/// What a writer may demand of what is there.
#[derive(Clone, Debug, Default)]
pub(super) struct Conditions {
    pub(super) matches: Option<ETagCondition>,
    pub(super) none_matches: Option<ETagCondition>,
}

impl Conditions {
    pub(super) fn check(&self, there: Option<&str>) -> S3Result<()> {
        let failed = || {
            s3_error!(
                PreconditionFailed,
                "At least one of the pre-conditions you specified did not hold"
            )
        };
        if let Some(condition) = &self.matches
            && !hits(condition, there)
        {
            return Err(if there.is_none() { no_key() } else { failed() });
        }
        match &self.none_matches {
            Some(condition) if hits(condition, there) => Err(failed()),
            _ => Ok(()),
        }
    }
}

fn hits(condition: &ETagCondition, there: Option<&str>) -> bool {
    match condition {
        ETagCondition::Any => there.is_some(),
        ETagCondition::ETag(etag) => there == Some(etag.value()),
    }
}

/// What a reader may demand: 412 or 304 when it does not hold.
pub(super) fn readable(object: &Object, input: &GetObjectInput) -> S3Result<()> {
    let modified = second(moment(object.modified));
    let failed = || {
        s3_error!(
            PreconditionFailed,
            "At least one of the pre-conditions you specified did not hold"
        )
    };
    match (&input.if_match, &input.if_unmodified_since) {
        (Some(condition), _) if !hits(condition, Some(&object.etag)) => return Err(failed()),
        (None, Some(since)) if modified > second(since.clone()) => return Err(failed()),
        _ => {}
    }
    let not_modified = match (&input.if_none_match, &input.if_modified_since) {
        (Some(condition), _) => hits(condition, Some(&object.etag)),
        (None, Some(since)) => modified <= second(since.clone()),
        _ => false,
    };
    if not_modified {
        Err(s3_error!(NotModified))
    } else {
        Ok(())
    }
}
