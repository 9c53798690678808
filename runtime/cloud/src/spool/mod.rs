//! Messages that wait to be sent, in order, within a size. In memory by default, on disk by configuration: what was
//! accepted there is sent also after a power cut, at least once.
//!
//! One reader takes messages with growing ids and says up to which id they have arrived; all before it is forgotten.

mod disk;
mod memory;

use crate::{SpoolError, settings::Spooler};
use disk::Disk;
use memory::Memory;
use mqtt::Message;
use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// What a message takes beside its own bytes, about.
const OVERHEAD: u64 = 64;

/// A message that waits.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its place; later ones are greater.
    pub id: u64,
    /// What it takes.
    pub size: u64,
    /// The message.
    pub message: Message,
}

/// See the module.
#[derive(Debug)]
pub struct Spool {
    kind: Kind,
    room: Room,
}

#[derive(Debug)]
enum Kind {
    Memory(Memory),
    Disk(Disk),
}

/// How much waits, and how much may.
#[derive(Debug, Default)]
struct Room {
    taken: Mutex<Taken>,
    emptied: Notify,
}

#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    used: u64,
    limit: u64,
}

impl Room {
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, size: u64) -> Result<(), SpoolError> {
        let mut taken = self.taken();
        let Taken { used, limit } = *taken;
        if used.saturating_add(size) > limit {
            return Err(SpoolError::Full { used, limit, size });
        }
        taken.used += size;
        Ok(())
    }

    fn give_back(&self, size: u64) {
        let mut taken = self.taken();
        taken.used = taken.used.saturating_sub(size);
        if taken.used == 0 {
            self.emptied.notify_waiters();
        }
    }
}

impl Spool {
    /// Opens it. A file that cannot be opened is an error in the log, and memory serves until the next start: the device
    /// works on.
    pub async fn open(settings: &Spooler, path: PathBuf) -> Self {
        let room = Room::default();
        room.taken().limit = settings.limit;
        if settings.on_disk {
            let shown = path.display().to_string();
            match Disk::open(path).await {
                Ok((disk, used)) => {
                    room.taken().used = used;
                    let kind = Kind::Disk(disk);
                    return Self { kind, room };
                }
                Err(error) => log::error!(
                    "the MQTT spool {shown} cannot be opened, messages are kept in memory only: {error}"
                ),
            }
        }
        Self {
            kind: Kind::Memory(Memory::default()),
            room,
        }
    }

    /// Whether what is accepted survives a restart.
    pub fn is_on_disk(&self) -> bool {
        matches!(self.kind, Kind::Disk(_))
    }

    /// Changes how much may wait. What waits already stays.
    pub fn limit(&self, bytes: u64) {
        self.room.taken().limit = bytes;
    }

    /// Accepts a message; when this returns it is kept, on disk if that is the kind.
    pub async fn add(&self, message: Message) -> Result<(), SpoolError> {
        let size = u64::try_from(message.size()).unwrap_or(u64::MAX);
        let size = size.saturating_add(OVERHEAD);
        self.room.take(size)?;
        let added = match &self.kind {
            Kind::Memory(memory) => {
                memory.add(size, message);
                Ok(())
            }
            Kind::Disk(disk) => disk.add(size, message).await,
        };
        if added.is_err() {
            self.room.give_back(size);
        }
        added
    }

    /// The first messages after an id, some at a time; waits for one. Cancel-safe.
    pub async fn after(&self, id: u64) -> Result<Vec<Entry>, SpoolError> {
        match &self.kind {
            Kind::Memory(memory) => Ok(memory.after(id).await),
            Kind::Disk(disk) => disk.after(id).await,
        }
    }

    /// All up to this one have arrived, or never will; its size is given back.
    pub fn done(&self, id: u64, size: u64) {
        match &self.kind {
            Kind::Memory(memory) => memory.remove_up_to(id),
            Kind::Disk(disk) => disk.remove_up_to(id),
        }
        self.room.give_back(size);
    }

    /// Waits until nothing waits in it.
    pub async fn emptied(&self) {
        loop {
            let emptied = self.room.emptied.notified();
            if self.room.taken().used == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// Writes what is still to be written, and closes the file.
    pub async fn close(&self) {
        if let Kind::Disk(disk) = &self.kind {
            disk.close().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use mqtt::{Properties, QoS};
    use std::{sync::Arc, time::Duration};
    use tokio::time::timeout;

    fn settings(on_disk: bool, limit: u64) -> Spooler {
        Spooler {
            on_disk,
            limit,
            keep_qos0: true,
        }
    }

    fn message(text: &str) -> Message {
        Message {
            topic: "a/b".into(),
            payload: Bytes::copy_from_slice(text.as_bytes()),
            qos: QoS::AtLeastOnce,
            retain: text == "retained",
            expires: None,
            properties: Some(Arc::new(Properties {
                payload_format: Some(1),
                content_type: Some("text".into()),
                response_topic: Some("r".into()),
                correlation_data: Some(Bytes::from_static(b"\x00\xff")),
                user: vec![("k".into(), "1".into()), ("k".into(), "2".into())],
            })),
        }
    }

    async fn all(spool: &Spool, mut id: u64, count: usize) -> Vec<Entry> {
        let mut found = Vec::new();
        while found.len() < count {
            let page = spool.after(id).await.unwrap();
            id = page.last().unwrap().id;
            found.extend(page);
        }
        found
    }

    #[tokio::test]
    async fn messages_come_out_whole_and_in_order_from_either_kind() {
        let folder = tempfile::tempdir().unwrap();
        for on_disk in [false, true] {
            let path = folder.path().join("spool/messages.db");
            let spool = Spool::open(&settings(on_disk, 1 << 20), path).await;
            assert_eq!(spool.is_on_disk(), on_disk);
            let given: Vec<_> = (0..200).map(|n| message(&n.to_string())).collect();
            for message in &given {
                spool.add(message.clone()).await.unwrap();
            }
            let found = all(&spool, 0, given.len()).await;
            assert!(found.windows(2).all(|pair| pair[0].id < pair[1].id));
            let found: Vec<_> = found.into_iter().map(|entry| entry.message).collect();
            assert_eq!(found, given);
            spool.close().await;
        }
    }

    #[tokio::test]
    async fn a_full_spool_says_so_and_takes_more_once_something_has_arrived() {
        let folder = tempfile::tempdir().unwrap();
        for on_disk in [false, true] {
            let path = folder.path().join("spool/full.db");
            let two = 2 * (message("second").size() as u64 + OVERHEAD);
            let spool = Spool::open(&settings(on_disk, two), path).await;
            spool.add(message("first")).await.unwrap();
            spool.add(message("second")).await.unwrap();
            let refused = spool.add(message("third")).await.unwrap_err().to_string();
            assert!(
                refused.contains("full") && refused.contains(&two.to_string()),
                "{refused}"
            );
            let first = spool.after(0).await.unwrap().remove(0);
            spool.done(first.id, first.size);
            spool.add(message("third")).await.unwrap();
            let left = all(&spool, 0, 2).await;
            assert_eq!(&left[0].message.payload[..], b"second");
            let last = &left[1];
            spool.done(last.id, left[0].size + last.size);
            let emptied = timeout(Duration::from_secs(20), spool.emptied());
            emptied.await.unwrap();
            spool.close().await;
        }
    }

    #[tokio::test]
    async fn what_was_accepted_on_disk_is_there_after_a_restart_and_what_arrived_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spool/messages.db");
        let spool = Spool::open(&settings(true, 1 << 20), path.clone()).await;
        for text in ["one", "two", "retained"] {
            spool.add(message(text)).await.unwrap();
        }
        let first = spool.after(0).await.unwrap().remove(0);
        spool.done(first.id, first.size);
        spool.close().await;
        assert!(spool.add(message("late")).await.is_err());
        let spool = Spool::open(&settings(true, 2 * OVERHEAD), path).await;
        let left = all(&spool, 0, 2).await;
        assert_eq!(&left[0].message.payload[..], b"two");
        assert!(left[1].message.retain);
        assert!(
            matches!(
                spool.add(message("more")).await,
                Err(SpoolError::Full { .. })
            ),
            "what was left counts"
        );
        spool.close().await;
    }

    #[tokio::test]
    async fn a_reader_waits_for_the_next_message() {
        let folder = tempfile::tempdir().unwrap();
        for on_disk in [false, true] {
            let path = folder.path().join("spool/wait.db");
            let spool = Arc::new(Spool::open(&settings(on_disk, 1 << 20), path).await);
            let reading = tokio::spawn({
                let spool = spool.clone();
                async move { spool.after(0).await.unwrap() }
            });
            tokio::task::yield_now().await;
            spool.add(message("late")).await.unwrap();
            let page = timeout(Duration::from_secs(20), reading)
                .await
                .unwrap()
                .unwrap();
            assert_eq!(&page[0].message.payload[..], b"late");
            spool.close().await;
        }
    }
}
