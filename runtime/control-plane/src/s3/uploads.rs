//! Multipart uploads: each part is a file of its own until the upload is completed, which puts them together.

use super::{
    checksum::{ALGORITHMS, Checksums, Summing, composite},
    conditions::Conditions,
    objects::discard,
    storing::{Error, Service, Upload, moment, need_bucket, put_error},
    table::{Attributes, Object},
};
use crate::http::Timestamp;
use futures_util::{StreamExt, TryStreamExt};
use http::HeaderMap;
use openssl::hash::{MessageDigest, hash};
use rusqlite::{OptionalExtension, Transaction};
use s3s::{S3Error, S3Result, TrailingHeaders, dto::*, s3_error};
use std::{io::SeekFrom, sync::Arc};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

/// All parts but the last have at least this much.
const SMALLEST_PART: u64 = 5 * 1024 * 1024;

/// Bucket and key of a source of copying.
pub(super) fn source(source: &CopySource) -> S3Result<(&str, &str)> {
    match source {
        CopySource::Bucket { bucket, key, .. } => Ok((bucket, key)),
        _ => Err(s3_error!(NotImplemented, "Access points are not served.")),
    }
}

/// The checksum algorithm that the trailer will have.
pub(super) fn announced(headers: &HeaderMap) -> Option<String> {
    let trailer = headers
        .get("x-amz-trailer")?
        .to_str()
        .ok()?
        .to_ascii_uppercase();
    let name = trailer.strip_prefix("X-AMZ-CHECKSUM-")?;
    ALGORITHMS.contains(&name).then(|| name.to_owned())
}

/// A content encoding without `aws-chunked`, which was for the way only.
pub(super) fn without_chunked(encoding: Option<String>) -> Option<String> {
    let encoding = encoding?;
    let kept: Vec<&str> = encoding
        .split(',')
        .map(str::trim)
        .filter(|e| !e.is_empty() && *e != "aws-chunked")
        .collect();
    (!kept.is_empty()).then(|| kept.join(","))
}

fn no_upload() -> S3Error {
    s3_error!(
        NoSuchUpload,
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."
    )
}

/// Drops an upload and its parts.
pub(super) fn abort(t: &Transaction<'_>, bucket: &str, key: &str, id: &str) -> Result<(), Error> {
    find(t, bucket, key, id)?;
    remove(t, id)
}

/// Drops all uploads of a bucket.
pub(super) fn abort_all(t: &Transaction<'_>, bucket: &str) -> Result<(), Error> {
    let mut all = t.prepare("SELECT id FROM s3_upload WHERE bucket = ?1")?;
    let ids: Vec<String> = all
        .query_map([bucket], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    ids.iter().try_for_each(|id| remove(t, id))
}

fn remove(t: &Transaction<'_>, id: &str) -> Result<(), Error> {
    for part in parts_of(t, id, 0, i64::MAX)? {
        discard(t, &part.file)?;
    }
    t.execute("DELETE FROM s3_part WHERE upload = ?1", [id])?;
    t.execute("DELETE FROM s3_upload WHERE id = ?1", [id])?;
    Ok(())
}

/// What an upload began with.
struct Begun {
    attributes: Attributes,
    algorithm: Option<String>,
    whole: bool,
}

fn find(t: &Transaction<'_>, bucket: &str, key: &str, id: &str) -> Result<Begun, Error> {
    let sql = "SELECT attributes, algorithm, whole FROM s3_upload WHERE id = ?1 AND bucket = ?2 AND key = ?3";
    let found = t.query_row(sql, (id, bucket, key), |row| {
        let attributes: String = row.get(0)?;
        Ok(Begun {
            attributes: serde_json::from_str(&attributes).unwrap_or_default(),
            algorithm: row.get(1)?,
            whole: row.get(2)?,
        })
    });
    if let Some(begun) = found.optional()? {
        return Ok(begun);
    }
    need_bucket(t, bucket)?;
    Err(no_upload().into())
}

#[derive(Clone, Debug)]
struct StoredPart {
    number: i64,
    file: String,
    size: u64,
    etag: String,
    checksums: Checksums,
    modified: Timestamp,
}

fn parts_of(
    t: &Transaction<'_>,
    id: &str,
    after: i64,
    limit: i64,
) -> Result<Vec<StoredPart>, Error> {
    let sql = "SELECT number, file, size, etag, checksums, modified FROM s3_part
               WHERE upload = ?1 AND number > ?2 ORDER BY number LIMIT ?3";
    let mut all = t.prepare_cached(sql)?;
    let rows = all.query_map((id, after, limit), |row| {
        let checksums: String = row.get(4)?;
        Ok(StoredPart {
            number: row.get(0)?,
            file: row.get(1)?,
            size: row.get::<_, i64>(2)?.unsigned_abs(),
            etag: row.get(3)?,
            checksums: serde_json::from_str(&checksums).unwrap_or_default(),
            modified: row.get(5)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

impl Service {
    pub(super) async fn begin_upload(
        &self,
        input: CreateMultipartUploadInput,
    ) -> S3Result<CreateMultipartUploadOutput> {
        let attributes = Attributes {
            content_type: input.content_type,
            cache_control: input.cache_control,
            content_disposition: input.content_disposition,
            content_encoding: without_chunked(input.content_encoding),
            content_language: input.content_language,
            expires: input.expires,
            metadata: input.metadata.unwrap_or_default(),
            checksums: Checksums::default(),
        };
        let algorithm = input
            .checksum_algorithm
            .as_ref()
            .map(|a| a.as_str().to_owned());
        let asked = input
            .checksum_type
            .as_ref()
            .map(|t| t.as_str() == ChecksumType::FULL_OBJECT);
        let whole = asked.unwrap_or(algorithm.as_deref() == Some("CRC64NVME"));
        Summing::new(algorithm.as_deref().into_iter())?;
        let (id, bucket, key) = (
            uuid::Uuid::new_v4().simple().to_string(),
            input.bucket,
            input.key,
        );
        let row = (id.clone(), bucket.clone(), key.clone());
        self.write(move |t| {
            need_bucket(t, &row.1)?;
            let attributes = serde_json::to_string(&attributes).unwrap_or_default();
            t.execute(
                "INSERT INTO s3_upload (id, bucket, key, attributes, algorithm, whole, started) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                (row.0, row.1, row.2, attributes, algorithm, whole, Timestamp::now()),
            )?;
            Ok(())
        })
        .await?;
        Ok(CreateMultipartUploadOutput {
            bucket: Some(bucket),
            key: Some(key),
            upload_id: Some(id),
            checksum_algorithm: input.checksum_algorithm,
            checksum_type: input.checksum_type,
            ..Default::default()
        })
    }

    pub(super) async fn put_part(
        &self,
        input: UploadPartInput,
        trailers: Option<TrailingHeaders>,
        announced: Option<String>,
    ) -> S3Result<UploadPartOutput> {
        let (bucket, key, id) = (input.bucket, input.key, input.upload_id);
        let row = (bucket, key, id.clone());
        let begun = self.read(move |t| find(t, &row.0, &row.1, &row.2)).await?;
        let given = Checksums::given([
            input.checksum_crc32,
            input.checksum_crc32c,
            input.checksum_crc64nvme,
            input.checksum_sha1,
            input.checksum_sha256,
        ]);
        let upload = Upload {
            body: input.body,
            trailers,
            content_md5: input.content_md5,
            length: input.content_length,
            given,
            algorithm: announced.or(begun.algorithm),
        };
        let (stored, checksums) = self.store(upload).await?;
        let etag = stored.md5.clone();
        let part = StoredPart {
            number: i64::from(input.part_number),
            file: stored.name,
            size: stored.size,
            etag: stored.md5,
            checksums: checksums.clone(),
            modified: Timestamp::now(),
        };
        self.keep_part(id, part).await?;
        let sums = checksums.answer();
        Ok(UploadPartOutput {
            e_tag: Some(ETag::Strong(etag)),
            checksum_crc32: sums.checksum_crc32,
            checksum_crc32c: sums.checksum_crc32c,
            checksum_crc64nvme: sums.checksum_crc64nvme,
            checksum_sha1: sums.checksum_sha1,
            checksum_sha256: sums.checksum_sha256,
            ..Default::default()
        })
    }

    pub(super) async fn copy_part(
        &self,
        input: UploadPartCopyInput,
    ) -> S3Result<UploadPartCopyOutput> {
        let id = input.upload_id;
        let row = (input.bucket, input.key, id.clone());
        let begun = self.read(move |t| find(t, &row.0, &row.1, &row.2)).await?;
        let (bucket, key) = source(&input.copy_source)?;
        let (from, mut file) = self.open(bucket, key).await?;
        let conditions = Conditions {
            matches: input.copy_source_if_match,
            none_matches: input.copy_source_if_none_match,
        };
        conditions.check(Some(&from.etag))?;
        let (start, length) = match input.copy_source_range.as_deref() {
            None => (0, from.size),
            Some(range) => {
                let wrong = || {
                    s3_error!(
                        InvalidArgument,
                        "The x-amz-copy-source-range value must be of the form bytes=first-last"
                    )
                };
                let range = Range::parse(range).map_err(|_| wrong())?.check(from.size)?;
                (range.start, range.end - range.start)
            }
        };
        file.seek(SeekFrom::Start(start))
            .await
            .map_err(S3Error::internal_error)?;
        let mut summing = Summing::new(begun.algorithm.as_deref().into_iter())?;
        let body = ReaderStream::with_capacity(file.take(length), 64 * 1024);
        let stored = self
            .state
            .objects
            .write(body, u64::MAX, |piece| summing.update(piece))
            .await
            .map_err(put_error)?;
        let (etag, modified) = (stored.md5.clone(), Timestamp::now());
        let part = StoredPart {
            number: i64::from(input.part_number),
            file: stored.name,
            size: stored.size,
            etag: stored.md5,
            checksums: summing.finish(),
            modified,
        };
        self.keep_part(id, part).await?;
        Ok(UploadPartCopyOutput {
            copy_part_result: Some(CopyPartResult {
                e_tag: Some(ETag::Strong(etag)),
                last_modified: Some(moment(modified)),
                ..Default::default()
            }),
            ..Default::default()
        })
    }

    async fn keep_part(&self, id: String, part: StoredPart) -> S3Result<()> {
        let file = part.file.clone();
        let done = self
            .write(move |t| {
                if !(1..=10_000).contains(&part.number) {
                    return Err(s3_error!(InvalidArgument, "Part number must be an integer between 1 and 10000, inclusive").into());
                }
                let there: bool = t.query_row("SELECT count(*) FROM s3_upload WHERE id = ?1", [&id], |row| row.get(0))?;
                if !there {
                    return Err(no_upload().into());
                }
                let sql = "DELETE FROM s3_part WHERE upload = ?1 AND number = ?2 RETURNING file";
                let old: Option<String> = t.query_row(sql, (&id, part.number), |row| row.get(0)).optional()?;
                if let Some(old) = old {
                    discard(t, &old)?;
                }
                let checksums = serde_json::to_string(&part.checksums).unwrap_or_default();
                let size = i64::try_from(part.size).unwrap_or(i64::MAX);
                t.execute(
                    "INSERT INTO s3_part (upload, number, file, size, etag, checksums, modified) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                    (id, part.number, part.file, size, part.etag, checksums, part.modified),
                )?;
                Ok(())
            })
            .await;
        if done.is_err() {
            self.drop_file(&file).await;
        }
        done
    }

    pub(super) async fn complete(
        &self,
        input: CompleteMultipartUploadInput,
    ) -> S3Result<CompleteMultipartUploadOutput> {
        let (bucket, key, id) = (input.bucket, input.key, input.upload_id);
        let row = (bucket.clone(), key.clone(), id.clone());
        let (begun, there) = self
            .read(move |t| {
                Ok((
                    find(t, &row.0, &row.1, &row.2)?,
                    parts_of(t, &row.2, 0, i64::MAX)?,
                ))
            })
            .await?;
        let wanted = input
            .multipart_upload
            .and_then(|u| u.parts)
            .unwrap_or_default();
        let chosen = choose(&there, &wanted)?;
        let mut checksums = Checksums::default();
        let mut summing = Summing::new(
            begun
                .algorithm
                .as_deref()
                .filter(|_| begun.whole)
                .into_iter(),
        )?;
        if let Some(algorithm) = begun.algorithm.as_deref().filter(|_| !begun.whole) {
            let each: Vec<Checksums> = chosen.iter().map(|p| p.checksums.clone()).collect();
            checksums = composite(algorithm, &each)?;
        }
        let objects = Arc::new(self.state.objects.clone());
        let files: Vec<String> = chosen.iter().map(|p| p.file.clone()).collect();
        let body = futures_util::stream::iter(files)
            .then(move |file| {
                let objects = Arc::clone(&objects);
                async move {
                    objects
                        .read(&file)
                        .await
                        .map(|f| ReaderStream::with_capacity(f, 256 * 1024))
                }
            })
            .try_flatten()
            .boxed();
        let stored = self
            .state
            .objects
            .write(body, u64::MAX, |piece| summing.update(piece))
            .await
            .map_err(put_error)?;
        if begun.whole {
            checksums = summing.finish();
        }
        let given = Checksums::given([
            input.checksum_crc32,
            input.checksum_crc32c,
            input.checksum_crc64nvme,
            input.checksum_sha1,
            input.checksum_sha256,
        ]);
        if let Err(error) = given.check(&checksums) {
            self.drop_file(&stored.name).await;
            return Err(error);
        }
        let etag = etag_of(&chosen)?;
        let object = Object {
            key: key.clone(),
            file: stored.name,
            size: stored.size,
            etag: etag.clone(),
            modified: Timestamp::now(),
            attributes: Attributes {
                checksums: checksums.clone(),
                ..begun.attributes
            },
        };
        let conditions = Conditions {
            matches: input.if_match,
            none_matches: input.if_none_match,
        };
        self.put_together(bucket.clone(), object, conditions, id)
            .await?;
        let sums = checksums.answer();
        Ok(CompleteMultipartUploadOutput {
            location: Some(format!("/{bucket}/{key}")),
            bucket: Some(bucket),
            key: Some(key),
            e_tag: Some(ETag::Strong(etag)),
            checksum_crc32: sums.checksum_crc32,
            checksum_crc32c: sums.checksum_crc32c,
            checksum_crc64nvme: sums.checksum_crc64nvme,
            checksum_sha1: sums.checksum_sha1,
            checksum_sha256: sums.checksum_sha256,
            checksum_type: sums.checksum_type,
            ..Default::default()
        })
    }

    /// The object appears and the upload disappears in one step.
    async fn put_together(
        &self,
        bucket: String,
        object: Object,
        conditions: Conditions,
        id: String,
    ) -> S3Result<()> {
        let file = object.file.clone();
        let done = self
            .write(move |t| {
                find(t, &bucket, &object.key, &id)?;
                let old = super::table::find_object(t, &bucket, &object.key)?;
                conditions.check(old.as_ref().map(|o| o.etag.as_str()))?;
                super::table::put_object(t, &bucket, &object)?;
                remove(t, &id)
            })
            .await;
        if done.is_err() {
            self.drop_file(&file).await;
        }
        done
    }

    pub(super) async fn parts(&self, input: ListPartsInput) -> S3Result<ListPartsOutput> {
        let limit = input.max_parts.unwrap_or(1000).clamp(1, 1000);
        let after = input.part_number_marker.unwrap_or(0);
        let (bucket, key, id) = (
            input.bucket.clone(),
            input.key.clone(),
            input.upload_id.clone(),
        );
        let mut parts = self
            .read(move |t| {
                find(t, &bucket, &key, &id)?;
                parts_of(t, &id, i64::from(after), i64::from(limit) + 1)
            })
            .await?;
        let more = parts.len() > usize::try_from(limit).unwrap_or(0);
        parts.truncate(usize::try_from(limit).unwrap_or(0));
        let last = parts.last().and_then(|p| i32::try_from(p.number).ok());
        let parts = parts.into_iter().map(|part| {
            let sums = part.checksums.answer();
            Part {
                part_number: i32::try_from(part.number).ok(),
                e_tag: Some(ETag::Strong(part.etag)),
                size: i64::try_from(part.size).ok(),
                last_modified: Some(moment(part.modified)),
                checksum_crc32: sums.checksum_crc32,
                checksum_crc32c: sums.checksum_crc32c,
                checksum_crc64nvme: sums.checksum_crc64nvme,
                checksum_sha1: sums.checksum_sha1,
                checksum_sha256: sums.checksum_sha256,
            }
        });
        Ok(ListPartsOutput {
            parts: Some(parts.collect()),
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            max_parts: Some(limit),
            part_number_marker: Some(after),
            is_truncated: Some(more),
            next_part_number_marker: last.filter(|_| more),
            ..Default::default()
        })
    }

    pub(super) async fn uploads(
        &self,
        input: ListMultipartUploadsInput,
    ) -> S3Result<ListMultipartUploadsOutput> {
        if input.delimiter.is_some() {
            return Err(s3_error!(
                NotImplemented,
                "A delimiter is not served when listing uploads."
            ));
        }
        let limit = input.max_uploads.unwrap_or(1000).clamp(1, 1000);
        let (bucket, prefix) = (
            input.bucket.clone(),
            input.prefix.clone().unwrap_or_default(),
        );
        let key_after = input.key_marker.clone().unwrap_or_default();
        let id_after = input.upload_id_marker.clone();
        let mut uploads = self
            .read(move |t| {
                need_bucket(t, &bucket)?;
                let sql = "SELECT key, id, started FROM s3_upload WHERE bucket = ?1 AND substr(key, 1, length(?2)) = ?2
                           AND (key > ?3 OR (key = ?3 AND id > ?4)) ORDER BY key, id LIMIT ?5";
                let mut all = t.prepare(sql)?;
                // Without an upload's id, all uploads of the key are done with: no id comes after this one.
                let id_after = id_after.unwrap_or_else(|| "~".into());
                let rows = all.query_map((bucket, prefix, key_after, id_after, limit + 1), |row| {
                    Ok(MultipartUpload {
                        key: Some(row.get(0)?),
                        upload_id: Some(row.get(1)?),
                        initiated: Some(moment(row.get(2)?)),
                        ..Default::default()
                    })
                })?;
                Ok(rows.collect::<Result<Vec<_>, _>>()?)
            })
            .await?;
        let more = uploads.len() > usize::try_from(limit).unwrap_or(0);
        uploads.truncate(usize::try_from(limit).unwrap_or(0));
        let last = uploads.last().filter(|_| more);
        Ok(ListMultipartUploadsOutput {
            next_key_marker: last.and_then(|u| u.key.clone()),
            next_upload_id_marker: last.and_then(|u| u.upload_id.clone()),
            uploads: Some(uploads),
            bucket: Some(input.bucket),
            prefix: input.prefix,
            key_marker: input.key_marker,
            upload_id_marker: input.upload_id_marker,
            max_uploads: Some(limit),
            is_truncated: Some(more),
            ..Default::default()
        })
    }
}

/// The parts that the caller names, in order, each with the ETag it had when it was stored.
fn choose(there: &[StoredPart], wanted: &[CompletedPart]) -> S3Result<Vec<StoredPart>> {
    let invalid = || {
        s3_error!(
            InvalidPart,
            "One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag."
        )
    };
    let mut chosen: Vec<StoredPart> = Vec::new();
    for part in wanted {
        let number = i64::from(part.part_number.unwrap_or_default());
        if chosen.last().is_some_and(|last| last.number >= number) {
            return Err(s3_error!(
                InvalidPartOrder,
                "The list of parts was not in ascending order."
            ));
        }
        let found = there
            .iter()
            .find(|p| p.number == number)
            .ok_or_else(invalid)?;
        if part
            .e_tag
            .as_ref()
            .is_some_and(|etag| etag.value() != found.etag)
        {
            return Err(invalid());
        }
        chosen.push(found.clone());
    }
    let Some((_, all_but_last)) = chosen.split_last() else {
        return Err(s3_error!(
            MalformedXML,
            "You must specify at least one part"
        ));
    };
    if all_but_last.iter().any(|p| p.size < SMALLEST_PART) {
        return Err(s3_error!(
            EntityTooSmall,
            "Your proposed upload is smaller than the minimum allowed size"
        ));
    }
    Ok(chosen)
}

/// MD5 over the parts' MD5s, and their number.
fn etag_of(parts: &[StoredPart]) -> S3Result<String> {
    let mut all = Vec::with_capacity(parts.len() * 16);
    for part in parts {
        for pair in part.etag.as_bytes().chunks(2) {
            let text = std::str::from_utf8(pair).unwrap_or_default();
            all.push(u8::from_str_radix(text, 16).map_err(S3Error::internal_error)?);
        }
    }
    let md5 = hash(MessageDigest::md5(), &all).map_err(S3Error::internal_error)?;
    Ok(format!("{}-{}", crate::http::sigv4::hex(&md5), parts.len()))
}
