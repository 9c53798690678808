//! What a folder holds, as one hash: names, sizes and contents, so that deploying the same thing again changes nothing.

use super::artifacts::{Tree, TreeFile};
use crate::Failure;
use sha2::{Digest, Sha256};
use std::{fs::File, io::Read};
use tokio_util::sync::CancellationToken;

/// The hash of all files of a tree, which is sorted. `None` when canceled.
pub(crate) fn of(tree: &Tree, cancel: &CancellationToken) -> Result<Option<String>, Failure> {
    let mut whole = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    for file in &tree.files {
        let Some(content) = of_file(file, &mut buffer, cancel)? else {
            return Ok(None);
        };
        let name = file.relative.as_os_str().as_encoded_bytes();
        whole.update(name.len().to_be_bytes());
        whole.update(name);
        whole.update(content);
    }
    Ok(Some(hex(&whole.finalize())))
}

fn of_file(
    file: &TreeFile,
    buffer: &mut [u8],
    cancel: &CancellationToken,
) -> Result<Option<[u8; 32]>, Failure> {
    let unreadable = |e: std::io::Error| Failure::io("read", &file.source, &e);
    let mut reader = File::open(&file.source).map_err(unreadable)?;
    let mut hash = Sha256::new();
    loop {
        if cancel.is_cancelled() {
            return Ok(None);
        }
        match reader.read(buffer).map_err(unreadable)? {
            0 => return Ok(Some(hash.finalize().into())),
            n => hash.update(&buffer[..n]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
