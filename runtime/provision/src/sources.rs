//! Reads what parameters come from: files and programs. The TPM is asked by whoever has it.

use crate::Source;
use std::{process::Stdio, time::Duration};
use tokio::{io::AsyncReadExt, process::Command, time::timeout};

/// A serial number is short.
const MOST: u64 = 4096;
const LIMIT: Duration = Duration::from_secs(30);

/// What a file or a program has. An endorsement key's hash is not read here.
pub async fn read(source: &Source) -> Result<String, String> {
    let bytes = match source {
        Source::File(path) => {
            let mut bytes = Vec::new();
            let file = tokio::fs::File::open(path)
                .await
                .map_err(|e| e.to_string())?;
            file.take(MOST)
                .read_to_end(&mut bytes)
                .await
                .map_err(|e| e.to_string())?;
            bytes
        }
        Source::Command(words) => run(words).await?,
        Source::EndorsementKey => return Err("there is no TPM here".into()),
    };
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".into())
}

async fn run(words: &[String]) -> Result<Vec<u8>, String> {
    let (program, arguments) = words.split_first().ok_or("no program is named")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| e.to_string())?;
    let output = child.stdout.take().ok_or("it has no output")?;
    let work = async {
        let mut bytes = Vec::new();
        output.take(MOST).read_to_end(&mut bytes).await?;
        let status = child.wait().await?;
        std::io::Result::Ok((bytes, status))
    };
    let done = timeout(LIMIT, work)
        .await
        .map_err(|_| format!("it did not end within {LIMIT:?}"))?;
    let (bytes, status) = done.map_err(|e| e.to_string())?;
    if status.success() {
        Ok(bytes)
    } else {
        Err(format!("it failed: {status}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &[&str]) -> Source {
        Source::Command(words.iter().map(|w| (*w).to_owned()).collect())
    }

    #[tokio::test]
    async fn files_and_programs_are_read_and_failures_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("serial");
        std::fs::write(&path, "0042\0").unwrap();
        assert_eq!(read(&Source::File(path)).await.unwrap(), "0042\0");
        assert_eq!(
            read(&command(&["/bin/echo", "-n", "0042"])).await.unwrap(),
            "0042"
        );
        assert!(
            read(&command(&["/bin/false"]))
                .await
                .unwrap_err()
                .contains("failed")
        );
        assert!(read(&command(&["/nowhere/serial"])).await.is_err());
        assert!(read(&Source::File("/nowhere/serial".into())).await.is_err());
        assert!(
            read(&command(&["/bin/sh", "-c", "printf '\\377'"]))
                .await
                .unwrap_err()
                .contains("UTF-8")
        );
    }

    #[tokio::test]
    async fn an_endless_output_is_cut_and_the_program_stopped() {
        let long = read(&command(&["/usr/bin/yes"])).await;
        assert!(long.is_err() || long.unwrap().len() <= 4096);
    }
}
