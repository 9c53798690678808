//! What the supervisor remembers of each component across a restart of the runtime.
//!
//! One row a component: its token, the boot the errors were counted in, and its [`Past`] as JSON. Errors, BROKEN and
//! main processes mean nothing after a boot and are dropped then: a power cycle gives every component a fresh start.
//! A stop by request is not remembered, as in Greengrass: a restart of the runtime starts the component again.

use crate::{
    machine::{Errors, Moment, Past},
    token::Token,
};
use model::ComponentName;
use rustix::time::{ClockId, clock_gettime};
use std::{collections::BTreeMap, time::Duration};
use store::{Database, Schema, StoreError, rusqlite};
use tokio::time::Instant;

/// The supervisor's table.
pub const SCHEMA: Schema = Schema {
    name: "supervisor",
    migrations: &["CREATE TABLE supervisor_component (
        name TEXT PRIMARY KEY NOT NULL, token TEXT NOT NULL, boot TEXT NOT NULL, past TEXT NOT NULL
    ) WITHOUT ROWID, STRICT"],
};

/// The rows, and the boot they are read in.
#[derive(Clone)]
pub(crate) struct Records {
    database: Database,
    boot: String,
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub token: Token,
    pub past: Past,
}

impl Records {
    pub fn new(database: Database) -> Self {
        // Without a boot id nothing of an earlier run is believed.
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self {
            database,
            boot: boot.trim().to_owned(),
        }
    }

    /// All rows. One that cannot be understood is left out with a warning: its component is installed anew.
    pub async fn load(&self) -> Result<BTreeMap<ComponentName, Record>, StoreError> {
        let boot = self.boot.clone();
        read(&self.database, move |transaction| {
            let mut rows = transaction.prepare("SELECT name, token, boot, past FROM supervisor_component")?;
            let rows = rows.query_map([], |row| {
                Ok((row.get::<_, String>(0)?, row.get(1)?, row.get::<_, String>(2)?, row.get::<_, String>(3)?))
            })?;
            let mut records = BTreeMap::new();
            for row in rows {
                let (name, token, in_boot, past) = row?;
                match parse(&name, token, in_boot == boot && !boot.is_empty(), &past) {
                    Ok((name, record)) => drop(records.insert(name, record)),
                    Err(reason) => log::warn!(component = name.as_str(); "its remembered state is not usable: {reason}"),
                }
            }
            Ok(records)
        })
        .await
    }

    /// Durable when it returns.
    pub async fn save(
        &self,
        name: &ComponentName,
        record: Option<Record>,
    ) -> Result<(), StoreError> {
        let (name, boot) = (name.as_str().to_owned(), self.boot.clone());
        write(&self.database, move |transaction| {
            let Some(record) = record else {
                transaction.execute("DELETE FROM supervisor_component WHERE name = ?1", [name])?;
                return Ok(());
            };
            let past = serde_json::to_string(&record.past).expect("a component's past has text keys only");
            transaction.execute(
                "INSERT OR REPLACE INTO supervisor_component (name, token, boot, past) VALUES (?1, ?2, ?3, ?4)",
                rusqlite::params![name, record.token.reveal(), boot, past],
            )?;
            Ok(())
        })
        .await
    }
}

fn parse(
    name: &str,
    token: String,
    same_boot: bool,
    past: &str,
) -> Result<(ComponentName, Record), String> {
    let name = ComponentName::new(name).map_err(|e| e.to_string())?;
    let token = Token::from_stored(token).ok_or("its token is of another form")?;
    let mut past: Past = serde_json::from_str(past).map_err(|e| e.to_string())?;
    if !same_boot {
        past = Past {
            errors: Errors::default(),
            broken: None,
            launched: None,
            ..past
        };
    }
    Ok((name, Record { token, past }))
}

type Transaction<'a> = rusqlite::Transaction<'a>;

#[cfg(not(test))]
async fn write<T: Send + 'static>(
    database: &Database,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    database.write(work).await
}

#[cfg(not(test))]
async fn read<T: Send + 'static>(
    database: &Database,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    database.read(work).await
}

// A paused clock jumps ahead while tasks wait for another thread, unless that thread runs a blocking task.
#[cfg(test)]
async fn write<T: Send + 'static>(
    database: &Database,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let database = database.clone();
    tokio::task::spawn_blocking(move || database.write_blocking(work))
        .await
        .expect("a write does not panic")
}

#[cfg(test)]
async fn read<T: Send + 'static>(
    database: &Database,
    work: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let database = database.clone();
    tokio::task::spawn_blocking(move || database.read_blocking(work))
        .await
        .expect("a read does not panic")
}

/// Converts between the machine's time and tokio's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
    boot_time: Duration,
}

impl Clock {
    pub fn start() -> Self {
        let time = clock_gettime(ClockId::Boottime);
        let boot_time = Duration::new(
            time.tv_sec.try_into().unwrap_or(0),
            time.tv_nsec.try_into().unwrap_or(0),
        );
        Self {
            started: Instant::now(),
            boot_time,
        }
    }

    pub fn now(&self) -> Moment {
        Moment(self.boot_time + self.started.elapsed())
    }

    /// When tokio's clock reaches a moment.
    pub fn instant(&self, moment: Moment) -> Instant {
        self.started + moment.since(Moment(self.boot_time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Machine, Origin, fixture};
    use std::sync::Arc;

    fn record() -> Record {
        let mut machine = Machine::new(Arc::new(fixture::running("c")));
        let policy = machine.spec.restart_policy.clone();
        machine.installed = true;
        let _ = machine
            .errors
            .add(Origin::Running, Moment::default(), &policy, Duration::ZERO);
        Record {
            token: Token::generate().unwrap(),
            past: machine.past(),
        }
    }

    #[tokio::test]
    async fn a_record_comes_back_as_it_was_and_can_be_forgotten() {
        let records = Records::new(Database::in_memory(&[SCHEMA]).unwrap());
        let (name, record) = (fixture::name("c"), record());
        records.save(&name, Some(record.clone())).await.unwrap();
        assert_eq!(
            records.load().await.unwrap(),
            BTreeMap::from([(name.clone(), record)])
        );
        records.save(&name, None).await.unwrap();
        assert_eq!(records.load().await.unwrap(), BTreeMap::new());
    }

    #[tokio::test]
    async fn a_boot_forgets_errors_and_processes_but_not_what_is_installed() {
        let database = Database::in_memory(&[SCHEMA]).unwrap();
        let (name, record) = (fixture::name("c"), record());
        let before = Records {
            database: database.clone(),
            boot: "before".into(),
        };
        before.save(&name, Some(record.clone())).await.unwrap();
        let after = Records {
            database,
            boot: "after".into(),
        };
        let past = after.load().await.unwrap().remove(&name).unwrap().past;
        assert_eq!(
            past,
            Past {
                errors: Errors::default(),
                ..record.past
            }
        );
        assert!(past.installed);
    }

    #[tokio::test]
    async fn a_row_that_cannot_be_understood_does_not_take_the_others_along() {
        let database = Database::in_memory(&[SCHEMA]).unwrap();
        let records = Records::new(database.clone());
        records
            .save(&fixture::name("c"), Some(record()))
            .await
            .unwrap();
        write(&database, |transaction| {
            transaction.execute(
                "INSERT INTO supervisor_component VALUES ('bad', 'no token', '', '{}')",
                [],
            )?;
            Ok(())
        })
        .await
        .unwrap();
        let names: Vec<_> = records.load().await.unwrap().into_keys().collect();
        assert_eq!(names, [fixture::name("c")]);
    }
}
