//! Requests and events as they travel between the nucleus and a launcher in another process.
//!
//! ```text
//! frame    = length (u32, big-endian, at most 4 MiB), JSON
//! nucleus -> launcher   {"id": 7, "request": {"Stop": {…}}}
//! launcher -> nucleus   {"Reply": {"id": 7, "result": {"Ok": "Done"}}}   in any order
//!                       {"Event": {"Exited": {…}}}
//! ```
//!
//! Both ends are of the same release, or of neighbouring ones while an update restarts them one after the other: add fields with
//! defaults, never change them.

use super::{Event, LaunchError, Started, Unit, UnitId, UnitStatus};
use model::{ComponentName, SystemLimits};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{io, path::PathBuf, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

/// Longest frame: a script and an environment at their limits, escaped as JSON mostly does.
pub(super) const MAX_FRAME: u32 = 4 << 20;
/// A frame that has begun must be whole within this.
const FRAME_PATIENCE: Duration = Duration::from_secs(10);

/// Everything that can be asked of a launcher.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) enum Request {
    Start(Box<Unit>),
    Stop {
        id: UnitId,
        grace: Duration,
    },
    Freeze(ComponentName),
    Thaw(ComponentName),
    Inspect,
    Owner {
        pid: u32,
    },
    OwnArtifacts {
        component: ComponentName,
        paths: Vec<PathBuf>,
        user: String,
    },
    PrepareWorkFolder {
        component: ComponentName,
        user: Option<String>,
    },
    Limits {
        component: ComponentName,
        limits: SystemLimits,
    },
    Reboot,
}

/// What a launcher answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Response {
    Done,
    Started(Started),
    Units(Vec<UnitStatus>),
    Owner(Option<ComponentName>),
    Folder(PathBuf),
}

/// From the nucleus.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Call {
    pub(super) id: u32,
    pub(super) request: Request,
}

/// From the launcher.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Message {
    Reply {
        id: u32,
        result: Result<Response, LaunchError>,
    },
    Event(Event),
}

/// Reads a frame; `None` when the other end closed between two. Waits for ever for one to begin.
pub(super) async fn read<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<T>> {
    let mut length = [0; 4];
    if from.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    let rest = async {
        from.read_exact(&mut length[1..]).await?;
        let length = u32::from_be_bytes(length);
        if length > MAX_FRAME {
            return Err(invalid(format!(
                "a frame of {length} bytes is longer than {MAX_FRAME}"
            )));
        }
        // Grows with what really comes, so that a length alone costs no memory.
        let mut body = Vec::new();
        let read = from.take(u64::from(length)).read_to_end(&mut body).await?;
        if u32::try_from(read) != Ok(length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(body)
    };
    let body = timeout(FRAME_PATIENCE, rest)
        .await
        .map_err(|_| invalid("a frame was begun and not finished".into()))??;
    serde_json::from_slice(&body)
        .map(Some)
        .map_err(|e| invalid(e.to_string()))
}

/// Writes a frame.
pub(super) async fn write<T: Serialize>(
    to: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> io::Result<()> {
    let body = encode(message)?;
    timeout(FRAME_PATIENCE, to.write_all(&body))
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// A frame's bytes. Fails for a message that is too long.
pub(super) fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message)?;
    let length = u32::try_from(frame.len() - 4)
        .ok()
        .filter(|length| *length <= MAX_FRAME);
    let length = length.ok_or_else(|| {
        invalid(format!(
            "a message of {} bytes does not fit a frame",
            frame.len() - 4
        ))
    })?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

fn invalid(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_is_read() {
        let bytes = encode(&Call {
            id: 7,
            request: Request::Owner { pid: 42 },
        })
        .unwrap();
        let call: Call = read(&mut &bytes[..]).await.unwrap().unwrap();
        assert!(matches!(
            call,
            Call {
                id: 7,
                request: Request::Owner { pid: 42 }
            }
        ));
        assert!(read::<Call>(&mut &[][..]).await.unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_frame_that_is_cut_too_long_unknown_or_never_finished_is_an_error() {
        let good = encode(&Call {
            id: 7,
            request: Request::Inspect,
        })
        .unwrap();
        assert!(read::<Call>(&mut &good[..good.len() - 1]).await.is_err());
        assert!(read::<Call>(&mut &[0xff; 8][..]).await.is_err());
        for body in [
            &br#"{"id":1,"request":"Explode"}"#[..],
            b"\xff\0",
            b"{}",
            br#"{"id":1,"request":{"Stop":{}}}"#,
        ] {
            let frame = [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat();
            assert!(read::<Call>(&mut &frame[..]).await.is_err());
        }
        let (mut one, mut other) = tokio::io::duplex(64);
        one.write_all(&good[..6]).await.unwrap();
        assert!(
            read::<Call>(&mut other).await.is_err(),
            "the paused clock runs out of patience"
        );
    }
}
