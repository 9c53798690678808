//! Objects that recipes refer to: fetched to a file, checked, sent on as a stream. Never whole in memory.

use super::{
    client::{Client, Refusal, read, refusal},
    service::encode,
};
use crate::http::sigv4::hex;
use anyhow::{Context as _, Result};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Method, Request, StatusCode, header::CONTENT_LENGTH};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use openssl::sha::Sha256;
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom, Write},
};

/// What an object carries that was sent from here, so that the next run knows it.
const MARK: &str = "x-amz-meta-greengrass-cloud-sha256";

/// The digest of no bytes.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Bytes that are read at a time.
const PIECE: usize = 64 * 1024;

fn path(bucket: &str, key: &str) -> String {
    let parts: Vec<String> = key.split('/').map(encode).collect();
    format!("/{}/{}", encode(bucket), parts.join("/"))
}

async fn head(client: &Client, path: &str) -> Result<Option<HeaderMap>> {
    let answer = client
        .ask(
            "s3",
            "s3",
            &Method::HEAD,
            path,
            &HeaderMap::new(),
            &Bytes::new(),
        )
        .await;
    match answer {
        Ok((headers, _)) => Ok(Some(headers)),
        Err(error) if refusal(&error).is_some_and(Refusal::missing) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes the bucket when it is not there; whether it had to be made.
pub async fn bucket(there: &Client, bucket: &str, dry_run: bool) -> Result<bool> {
    let path = format!("/{}", encode(bucket));
    if head(there, &path).await?.is_some() {
        return Ok(false);
    }
    if !dry_run {
        // The first region is the one that must not be named.
        let body = if there.region() == "us-east-1" {
            String::new()
        } else {
            format!(
                "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LocationConstraint>{}</LocationConstraint></CreateBucketConfiguration>",
                there.region()
            )
        };
        there
            .ask(
                "s3",
                "s3",
                &Method::PUT,
                &path,
                &HeaderMap::new(),
                &body.into(),
            )
            .await
            .with_context(|| format!("making the bucket {bucket}"))?;
    }
    Ok(true)
}

/// Copies an object; whether it was necessary.
pub async fn copy(
    here: &Client,
    there: &Client,
    (from, to, key): (&str, &str, &str),
    dry_run: bool,
) -> Result<bool> {
    let (source, target) = (path(from, key), path(to, key));
    let own = head(here, &source)
        .await?
        .with_context(|| format!("s3://{from}/{key} is not there"))?;
    let known = head(there, &target).await?;
    if let Some(known) = &known
        && known.contains_key(MARK)
        && known.get(CONTENT_LENGTH) == own.get(CONTENT_LENGTH)
    {
        return Ok(false);
    }
    if dry_run {
        return Ok(true);
    }
    let (mut file, length, digest) = fetch(here, &source).await?;
    file.seek(SeekFrom::Start(0))?;
    let pieces = stream::unfold(file, |mut file| async move {
        let mut piece = vec![0; PIECE];
        match file.read(&mut piece) {
            Ok(0) => None,
            Ok(read) => {
                piece.truncate(read);
                Some((Ok(Frame::data(Bytes::from(piece))), file))
            }
            Err(error) => Some((Err(error), file)),
        }
    });
    let request = Request::put(&target)
        .header(CONTENT_LENGTH, length)
        .header(MARK, &digest)
        .body(StreamBody::new(pieces).boxed_unsync())?;
    let answer = there.send("s3", "s3", request, &digest).await?;
    read(answer)
        .await
        .with_context(|| format!("writing s3://{to}/{key}"))?;
    Ok(true)
}

/// To a file without a name, which is gone with the program.
async fn fetch(here: &Client, source: &str) -> Result<(File, u64, String)> {
    let empty = http_body_util::Empty::new()
        .map_err(|never| match never {})
        .boxed_unsync();
    let request = Request::get(source).body(empty)?;
    let answer = here.send("s3", "s3", request, EMPTY).await?;
    if answer.status() != StatusCode::OK {
        read(answer).await?;
        anyhow::bail!("reading {source}");
    }
    let mut body = answer.into_body();
    let mut file = unnamed()?;
    let (mut length, mut digest) = (0, Sha256::new());
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame.context("reading an object")?.into_data() {
            file.write_all(&piece)?;
            digest.update(&piece);
            length += piece.len() as u64;
        }
    }
    Ok((file, length, hex(&digest.finish())))
}

fn unnamed() -> Result<File> {
    use rustix::fs::{Mode, OFlags, open};
    let folder = std::env::temp_dir();
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let file = open(&folder, flags, Mode::RUSR | Mode::WUSR)
        .with_context(|| format!("a temporary file in {}", folder.display()))?;
    Ok(file.into())
}
