//! Names of keys in listings.

use super::{listing::Entry, storing::moment};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::{
    S3Result,
    dto::{CommonPrefix, ETag, EncodingType, ObjectStorageClass},
    s3_error,
};

/// Keys in XML may have characters that XML has not: callers ask for them percent-encoded.
pub(super) struct Encoding(bool);

const URL: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/')
    .remove(b'*');

impl Encoding {
    pub(super) fn of(asked: Option<&EncodingType>) -> Self {
        Self(asked.is_some_and(|e| e.as_str() == EncodingType::URL))
    }

    pub(super) fn name(&self) -> Option<EncodingType> {
        self.0.then(|| EncodingType::from_static(EncodingType::URL))
    }

    pub(super) fn text(&self, text: String) -> String {
        if self.0 {
            utf8_percent_encode(&text, URL).to_string()
        } else {
            text
        }
    }

    pub(super) fn entries(
        &self,
        entries: Vec<Entry>,
    ) -> (Vec<s3s::dto::Object>, Vec<CommonPrefix>) {
        let (mut objects, mut prefixes) = (Vec::new(), Vec::new());
        for entry in entries {
            match entry {
                Entry::Object(object) => objects.push(s3s::dto::Object {
                    key: Some(self.text(object.key)),
                    e_tag: Some(ETag::Strong(object.etag)),
                    last_modified: Some(moment(object.modified)),
                    size: i64::try_from(object.size).ok(),
                    storage_class: Some(ObjectStorageClass::from_static(
                        ObjectStorageClass::STANDARD,
                    )),
                    ..Default::default()
                }),
                Entry::Prefix(prefix) => prefixes.push(CommonPrefix {
                    prefix: Some(self.text(prefix)),
                }),
            }
        }
        (objects, prefixes)
    }
}

pub(super) fn limit(max_keys: Option<i32>) -> S3Result<usize> {
    let asked = max_keys.unwrap_or(1000).min(1000);
    usize::try_from(asked).map_err(|_| {
        s3_error!(
            InvalidArgument,
            "Argument maxKeys must be an integer between 0 and 2147483647"
        )
    })
}
