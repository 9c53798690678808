//! Buckets and objects.

use super::{
    access::{allow, arn},
    checksum::Checksums,
    conditions::{Conditions, readable},
    listing::Query,
    names::{Encoding, limit},
    storing::{Service, Upload, moment, need_bucket, put_error},
    table::{self, Attributes, Object},
    uploads,
};
use crate::http::{Caller, Timestamp};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use s3s::{S3, S3Error, S3Request, S3Response, S3Result, dto::*, s3_error};
use std::io::SeekFrom;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

/// How much of a file is read at a time.
const READ: usize = 64 * 1024;

#[async_trait::async_trait]
impl S3 for Service {
    async fn list_buckets(
        &self,
        req: S3Request<ListBucketsInput>,
    ) -> S3Result<S3Response<ListBucketsOutput>> {
        let prefix = req.input.prefix.unwrap_or_default();
        let region = self.state.account.region.clone();
        let buckets = self
            .read(move |t| {
                let mut all = t.prepare("SELECT name, created FROM s3_bucket ORDER BY name")?;
                let rows = all.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
                let mut buckets = Vec::new();
                for row in rows {
                    let (name, created) = row?;
                    if name.starts_with(&prefix) {
                        buckets.push(Bucket {
                            name: Some(name),
                            creation_date: Some(moment(created)),
                            bucket_region: Some(region.clone()),
                        });
                    }
                }
                Ok(buckets)
            })
            .await?;
        let owner = Owner {
            id: Some(self.state.account.id.clone()),
            ..Default::default()
        };
        Ok(S3Response::new(ListBucketsOutput {
            buckets: Some(buckets),
            owner: Some(owner),
            ..Default::default()
        }))
    }

    async fn create_bucket(
        &self,
        req: S3Request<CreateBucketInput>,
    ) -> S3Result<S3Response<CreateBucketOutput>> {
        let name = req.input.bucket;
        let own = self.state.account.region.as_str();
        let asked = req
            .input
            .create_bucket_configuration
            .and_then(|c| c.location_constraint);
        if asked.as_ref().is_some_and(|region| region.as_str() != own) {
            return Err(s3_error!(
                IllegalLocationConstraintException,
                "This control plane is region {}: buckets are nowhere else.",
                own
            ));
        }
        let (bucket, again_is_fine) = (name.clone(), own == "us-east-1");
        self.write(move |t| {
            let sql = "INSERT INTO s3_bucket (name, created) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
            match t.execute(sql, (bucket, Timestamp::now()))? {
                0 if !again_is_fine => Err(s3_error!(
                    BucketAlreadyOwnedByYou,
                    "Your previous request to create the named bucket succeeded and you already own it."
                )
                .into()),
                _ => Ok(()),
            }
        })
        .await?;
        Ok(S3Response::new(CreateBucketOutput {
            location: Some(format!("/{name}")),
        }))
    }

    async fn head_bucket(
        &self,
        req: S3Request<HeadBucketInput>,
    ) -> S3Result<S3Response<HeadBucketOutput>> {
        self.read(move |t| need_bucket(t, &req.input.bucket))
            .await?;
        let bucket_region = Some(self.state.account.region.clone());
        Ok(S3Response::new(HeadBucketOutput {
            bucket_region,
            ..Default::default()
        }))
    }

    async fn get_bucket_location(
        &self,
        req: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.read(move |t| need_bucket(t, &req.input.bucket))
            .await?;
        let region = self.state.account.region.clone();
        // The first region has no name here.
        let location_constraint =
            (region != "us-east-1").then(|| BucketLocationConstraint::from(region));
        Ok(S3Response::new(GetBucketLocationOutput {
            location_constraint,
        }))
    }

    async fn delete_bucket(
        &self,
        req: S3Request<DeleteBucketInput>,
    ) -> S3Result<S3Response<DeleteBucketOutput>> {
        let bucket = req.input.bucket;
        self.write(move |t| {
            need_bucket(t, &bucket)?;
            let objects =
                "SELECT count(*) FROM (SELECT 1 FROM s3_object WHERE bucket = ?1 LIMIT 1)";
            if t.query_row(objects, [&bucket], |row| row.get::<_, bool>(0))? {
                return Err(s3_error!(
                    BucketNotEmpty,
                    "The bucket you tried to delete is not empty"
                )
                .into());
            }
            uploads::abort_all(t, &bucket)?;
            t.execute("DELETE FROM s3_bucket WHERE name = ?1", [bucket])?;
            Ok(())
        })
        .await?;
        Ok(S3Response::new(DeleteBucketOutput {}))
    }

    async fn put_object(
        &self,
        req: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let (input, trailers) = (req.input, req.trailing_headers);
        let bucket = input.bucket.clone();
        self.read(move |t| need_bucket(t, &bucket)).await?;
        let announced = uploads::announced(&req.headers);
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
            algorithm: input
                .checksum_algorithm
                .map(|a| a.as_str().to_owned())
                .or(announced),
        };
        let (stored, checksums) = self.store(upload).await?;
        let attributes = Attributes {
            content_type: input.content_type,
            cache_control: input.cache_control,
            content_disposition: input.content_disposition,
            content_encoding: uploads::without_chunked(input.content_encoding),
            content_language: input.content_language,
            expires: input.expires,
            metadata: input.metadata.unwrap_or_default(),
            checksums: checksums.clone(),
        };
        let object = Object {
            key: input.key,
            file: stored.name.clone(),
            size: stored.size,
            etag: stored.md5.clone(),
            modified: Timestamp::now(),
            attributes,
        };
        let conditions = Conditions {
            matches: input.if_match,
            none_matches: input.if_none_match,
        };
        self.replace(input.bucket, object, conditions).await?;
        let sums = checksums.answer();
        Ok(S3Response::new(PutObjectOutput {
            e_tag: Some(ETag::Strong(stored.md5)),
            checksum_crc32: sums.checksum_crc32,
            checksum_crc32c: sums.checksum_crc32c,
            checksum_crc64nvme: sums.checksum_crc64nvme,
            checksum_sha1: sums.checksum_sha1,
            checksum_sha256: sums.checksum_sha256,
            checksum_type: sums.checksum_type,
            ..Default::default()
        }))
    }

    async fn get_object(
        &self,
        req: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let input = req.input;
        let (object, mut file) = self.open(&input.bucket, &input.key).await?;
        readable(&object, &input)?;
        let (from, length) = match &input.range {
            None => (0, object.size),
            Some(range) => {
                let range = range.check(object.size)?;
                (range.start, range.end - range.start)
            }
        };
        file.seek(SeekFrom::Start(from))
            .await
            .map_err(S3Error::internal_error)?;
        let body = ReaderStream::with_capacity(file.take(length), READ);
        let partial = input.range.is_some();
        let content_range =
            partial.then(|| format!("bytes {from}-{}/{}", from + length.max(1) - 1, object.size));
        let Object {
            attributes,
            etag,
            modified,
            ..
        } = object;
        // A part's checksum is not the whole's.
        let sums = if partial {
            Checksums::default()
        } else {
            attributes.checksums
        };
        let sums = sums.answer();
        let output = GetObjectOutput {
            body: Some(StreamingBlob::wrap(body)),
            accept_ranges: Some("bytes".into()),
            content_length: i64::try_from(length).ok(),
            content_range,
            last_modified: Some(moment(modified)),
            e_tag: Some(ETag::Strong(etag)),
            content_type: input
                .response_content_type
                .or(attributes.content_type)
                .or_else(|| Some("binary/octet-stream".into())),
            cache_control: input.response_cache_control.or(attributes.cache_control),
            content_disposition: input
                .response_content_disposition
                .or(attributes.content_disposition),
            content_encoding: input
                .response_content_encoding
                .or(attributes.content_encoding),
            content_language: input
                .response_content_language
                .or(attributes.content_language),
            expires: attributes.expires,
            metadata: Some(attributes.metadata),
            checksum_crc32: sums.checksum_crc32,
            checksum_crc32c: sums.checksum_crc32c,
            checksum_crc64nvme: sums.checksum_crc64nvme,
            checksum_sha1: sums.checksum_sha1,
            checksum_sha256: sums.checksum_sha256,
            checksum_type: sums.checksum_type,
            ..Default::default()
        };
        let mut response = S3Response::new(output);
        if partial {
            response.status = Some(http::StatusCode::PARTIAL_CONTENT);
        }
        Ok(response)
    }

    async fn head_object(
        &self,
        req: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = req.input;
        let object = self.find(&input.bucket, &input.key).await?;
        let conditions = GetObjectInput {
            if_match: input.if_match,
            if_none_match: input.if_none_match,
            if_modified_since: input.if_modified_since,
            if_unmodified_since: input.if_unmodified_since,
            ..Default::default()
        };
        readable(&object, &conditions)?;
        let Object {
            attributes,
            etag,
            modified,
            size,
            ..
        } = object;
        let sums = attributes.checksums.answer();
        Ok(S3Response::new(HeadObjectOutput {
            accept_ranges: Some("bytes".into()),
            content_length: i64::try_from(size).ok(),
            last_modified: Some(moment(modified)),
            e_tag: Some(ETag::Strong(etag)),
            content_type: attributes
                .content_type
                .or_else(|| Some("binary/octet-stream".into())),
            cache_control: attributes.cache_control,
            content_disposition: attributes.content_disposition,
            content_encoding: attributes.content_encoding,
            content_language: attributes.content_language,
            expires: attributes.expires,
            metadata: Some(attributes.metadata),
            checksum_crc32: sums.checksum_crc32,
            checksum_crc32c: sums.checksum_crc32c,
            checksum_crc64nvme: sums.checksum_crc64nvme,
            checksum_sha1: sums.checksum_sha1,
            checksum_sha256: sums.checksum_sha256,
            checksum_type: sums.checksum_type,
            ..Default::default()
        }))
    }

    async fn copy_object(
        &self,
        req: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        let input = req.input;
        let (bucket, key) = uploads::source(&input.copy_source)?;
        allow(
            req.extensions.get::<Caller>(),
            "s3:GetObject",
            &arn(bucket, Some(key)),
        )?;
        let (from, file) = self.open(bucket, key).await?;
        Conditions {
            matches: input.copy_source_if_match,
            none_matches: input.copy_source_if_none_match,
        }
        .check(Some(&from.etag))?;
        let replaced = input
            .metadata_directive
            .as_ref()
            .is_some_and(|d| d.as_str() == MetadataDirective::REPLACE);
        if !replaced && bucket == input.bucket && key == input.key {
            return Err(s3_error!(
                InvalidRequest,
                "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata."
            ));
        }
        let body = ReaderStream::with_capacity(file, READ);
        let stored = self
            .state
            .objects
            .write(body, u64::MAX, |_| ())
            .await
            .map_err(put_error)?;
        let mut attributes = from.attributes;
        if replaced {
            attributes = Attributes {
                content_type: input.content_type,
                cache_control: input.cache_control,
                content_disposition: input.content_disposition,
                content_encoding: input.content_encoding,
                content_language: input.content_language,
                expires: input.expires,
                metadata: input.metadata.unwrap_or_default(),
                checksums: attributes.checksums,
            };
        }
        let modified = Timestamp::now();
        // A copy is whole, whatever its source was put together from.
        let etag = stored.md5.clone();
        if attributes.checksums.composite {
            attributes.checksums = Checksums::default();
        }
        let sums = attributes.checksums.answer();
        let object = Object {
            key: input.key,
            file: stored.name,
            size: stored.size,
            etag: etag.clone(),
            modified,
            attributes,
        };
        self.replace(input.bucket, object, Conditions::default())
            .await?;
        Ok(S3Response::new(CopyObjectOutput {
            copy_object_result: Some(CopyObjectResult {
                e_tag: Some(ETag::Strong(etag)),
                last_modified: Some(moment(modified)),
                checksum_crc32: sums.checksum_crc32,
                checksum_crc32c: sums.checksum_crc32c,
                checksum_crc64nvme: sums.checksum_crc64nvme,
                checksum_sha1: sums.checksum_sha1,
                checksum_sha256: sums.checksum_sha256,
                checksum_type: sums.checksum_type,
            }),
            ..Default::default()
        }))
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = req.input;
        self.write(move |t| {
            need_bucket(t, &input.bucket)?;
            table::remove_object(t, &input.bucket, &input.key)?;
            Ok(())
        })
        .await?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        req: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let caller = req.extensions.get::<Caller>().cloned();
        let DeleteObjectsInput { bucket, delete, .. } = req.input;
        if delete.objects.len() > 1000 {
            return Err(s3_error!(
                MalformedXML,
                "The XML you provided was not well-formed or did not validate against our published schema"
            ));
        }
        let quiet = delete.quiet.unwrap_or(false);
        let (mut allowed, mut errors) = (Vec::new(), Vec::new());
        for object in delete.objects {
            match allow(
                caller.as_ref(),
                "s3:DeleteObject",
                &arn(&bucket, Some(&object.key)),
            ) {
                Ok(()) => allowed.push(object.key),
                Err(_) => errors.push(Error {
                    key: Some(object.key),
                    code: Some("AccessDenied".into()),
                    message: Some("Access Denied".into()),
                    version_id: None,
                }),
            }
        }
        let deleted = self
            .write(move |t| {
                need_bucket(t, &bucket)?;
                for key in &allowed {
                    table::remove_object(t, &bucket, key)?;
                }
                Ok(allowed)
            })
            .await?;
        let deleted = deleted.into_iter().map(|key| DeletedObject {
            key: Some(key),
            ..Default::default()
        });
        Ok(S3Response::new(DeleteObjectsOutput {
            deleted: (!quiet).then(|| deleted.collect()),
            errors: (!errors.is_empty()).then_some(errors),
            ..Default::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = req.input;
        let limit = limit(input.max_keys)?;
        let after = match &input.continuation_token {
            Some(token) => {
                let bytes = URL_SAFE_NO_PAD.decode(token).ok();
                let key = bytes.and_then(|b| String::from_utf8(b).ok());
                Some(key.ok_or_else(|| {
                    s3_error!(
                        InvalidArgument,
                        "The continuation token provided is incorrect"
                    )
                })?)
            }
            None => input.start_after.clone(),
        };
        let query = Query {
            bucket: input.bucket.clone(),
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone().unwrap_or_default(),
            after,
            limit,
        };
        let page = self.page(query).await?;
        let encoding = Encoding::of(input.encoding_type.as_ref());
        let (contents, prefixes) = encoding.entries(page.entries);
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            prefix: Some(encoding.text(input.prefix.unwrap_or_default())),
            delimiter: input.delimiter.map(|d| encoding.text(d)),
            start_after: input.start_after.map(|s| encoding.text(s)),
            max_keys: i32::try_from(limit).ok(),
            key_count: i32::try_from(contents.len() + prefixes.len()).ok(),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next.map(|key| URL_SAFE_NO_PAD.encode(key)),
            continuation_token: input.continuation_token,
            encoding_type: encoding.name(),
            contents: Some(contents),
            common_prefixes: Some(prefixes),
            ..Default::default()
        }))
    }

    async fn list_objects(
        &self,
        req: S3Request<ListObjectsInput>,
    ) -> S3Result<S3Response<ListObjectsOutput>> {
        let input = req.input;
        let limit = limit(input.max_keys)?;
        let query = Query {
            bucket: input.bucket.clone(),
            prefix: input.prefix.clone().unwrap_or_default(),
            delimiter: input.delimiter.clone().unwrap_or_default(),
            after: input.marker.clone().filter(|m| !m.is_empty()),
            limit,
        };
        let page = self.page(query).await?;
        let encoding = Encoding::of(input.encoding_type.as_ref());
        let (contents, prefixes) = encoding.entries(page.entries);
        Ok(S3Response::new(ListObjectsOutput {
            name: Some(input.bucket),
            prefix: Some(encoding.text(input.prefix.unwrap_or_default())),
            delimiter: input.delimiter.map(|d| encoding.text(d)),
            marker: Some(encoding.text(input.marker.unwrap_or_default())),
            max_keys: i32::try_from(limit).ok(),
            is_truncated: Some(page.next.is_some()),
            next_marker: page.next.map(|key| encoding.text(key)),
            encoding_type: encoding.name(),
            contents: Some(contents),
            common_prefixes: Some(prefixes),
            ..Default::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        self.begin_upload(req.input).await.map(S3Response::new)
    }

    async fn upload_part(
        &self,
        req: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let announced = uploads::announced(&req.headers);
        self.put_part(req.input, req.trailing_headers, announced)
            .await
            .map(S3Response::new)
    }

    async fn upload_part_copy(
        &self,
        req: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        let (bucket, key) = uploads::source(&req.input.copy_source)?;
        allow(
            req.extensions.get::<Caller>(),
            "s3:GetObject",
            &arn(bucket, Some(key)),
        )?;
        self.copy_part(req.input).await.map(S3Response::new)
    }

    async fn list_parts(
        &self,
        req: S3Request<ListPartsInput>,
    ) -> S3Result<S3Response<ListPartsOutput>> {
        self.parts(req.input).await.map(S3Response::new)
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        self.uploads(req.input).await.map(S3Response::new)
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        self.complete(req.input).await.map(S3Response::new)
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let AbortMultipartUploadInput {
            bucket,
            key,
            upload_id,
            ..
        } = req.input;
        self.write(move |t| uploads::abort(t, &bucket, &key, &upload_id))
            .await?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }
}
