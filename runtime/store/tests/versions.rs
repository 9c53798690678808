//! Files of other versions, damaged files, and crashes on the way: the other slot may hold an older program.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use store::{Database, Schema, StoreError, rusqlite::Transaction};

const OLD: Schema = Schema {
    name: "pump",
    migrations: &["CREATE TABLE pump_speed (speed INTEGER)"],
};
const NEW: Schema = Schema {
    name: "pump",
    migrations: &[
        "CREATE TABLE pump_speed (speed INTEGER)",
        "ALTER TABLE pump_speed RENAME COLUMN speed TO litres; UPDATE pump_speed SET litres = litres * 10",
    ],
};
const NEWEST: Schema = Schema {
    name: "pump",
    migrations: &[
        NEW.migrations[0],
        NEW.migrations[1],
        "CREATE TABLE pump_valve (open INTEGER)",
    ],
};
const OTHER: Schema = Schema {
    name: "valve",
    migrations: &["CREATE TABLE valve_state (open INTEGER)"],
};

struct Device {
    folder: tempfile::TempDir,
}

impl Device {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("state.db")
    }

    fn open(&self, schemas: &[Schema]) -> Result<Database, StoreError> {
        Database::open(&self.path(), schemas)
    }

    /// Adds a row in the column that this program knows, as one run of it.
    fn run_adding(&self, schema: Schema, value: i64) {
        let database = self.open(&[schema]).unwrap();
        database
            .write_blocking(move |t| {
                t.execute("INSERT INTO pump_speed VALUES (?1)", [value])?;
                Ok::<_, StoreError>(())
            })
            .unwrap();
        database.close();
    }

    fn values(&self, schema: Schema) -> Vec<i64> {
        let database = self.open(&[schema]).unwrap();
        let values = values_in(&database);
        database.close();
        values
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> = entries
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn values_in(database: &Database) -> Vec<i64> {
    let query = |t: &Transaction<'_>| {
        let mut statement = t.prepare("SELECT * FROM pump_speed ORDER BY 1")?;
        let rows = statement.query_map([], |row| row.get(0))?;
        Ok::<Vec<i64>, StoreError>(rows.collect::<Result<_, _>>()?)
    };
    database.read_blocking(query).unwrap()
}

#[test]
fn an_upgrade_keeps_the_old_file_and_the_older_program_finds_it_again() {
    let device = Device::new();
    device.run_adding(OLD, 1);
    device.run_adding(NEW, 20);
    assert_eq!(device.names(), ["state.db", "state.db.layout-1"]);
    assert_eq!(device.values(NEW), [10, 20]);

    // The bootloader falls back to the slot with the older program.
    assert_eq!(device.values(OLD), [1]);
    device.run_adding(OLD, 3);
    assert_eq!(device.names(), ["state.db", "state.db.layout-2"]);

    // The next attempt starts from what the older program did meanwhile, not from what the first attempt had left.
    assert_eq!(device.values(NEW), [10, 30]);
    assert_eq!(device.names(), ["state.db", "state.db.layout-1"]);
    assert_eq!(device.values(OLD), [1, 3]);
}

#[test]
fn two_older_layouts_are_kept() {
    let device = Device::new();
    device.run_adding(OLD, 1);
    device.run_adding(NEW, 20);
    assert_eq!(device.values(NEWEST), [10, 20]);
    assert_eq!(
        device.names(),
        ["state.db", "state.db.layout-1", "state.db.layout-2"]
    );
    assert_eq!(device.values(OLD), [1]);
}

#[test]
fn a_newer_file_without_a_copy_to_go_back_to_is_left_alone() {
    let device = Device::new();
    device.run_adding(NEW, 20);
    let before = std::fs::read(device.path()).unwrap();
    let error = device.open(&[OTHER, OLD]).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{}: pump is at version 2, this program knows versions up to 1; the file is left as it is",
            device.path().display()
        )
    );
    assert!(matches!(
        error,
        StoreError::Newer {
            found: 2,
            known: 1,
            ..
        }
    ));
    let aside = Database::open_or_set_aside(&device.path(), &[OLD]);
    assert!(matches!(aside, Err(StoreError::Newer { .. })));
    assert_eq!(std::fs::read(device.path()).unwrap(), before);
    assert_eq!(device.names(), ["state.db"]);
    assert_eq!(device.values(NEW), [20]);
}

#[test]
fn a_new_feature_is_added_in_place_and_does_not_trouble_an_older_program() {
    let device = Device::new();
    device.run_adding(OLD, 1);
    device.open(&[OLD, OTHER]).unwrap().close();
    assert_eq!(device.names(), ["state.db"]);
    assert_eq!(device.values(OLD), [1]);
}

#[test]
fn a_failing_migration_leaves_the_old_state_and_names_itself() {
    const BAD: Schema = Schema {
        name: "pump",
        migrations: &[OLD.migrations[0], "ALTER TABLE nowhere ADD COLUMN x"],
    };
    let device = Device::new();
    device.run_adding(OLD, 1);
    let error = device.open(&[BAD]).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Migration {
                feature: "pump",
                from: 1,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(device.values(OLD), [1]);
    assert_eq!(device.names(), ["state.db"]);
}

#[test]
fn a_file_that_is_no_database_is_set_aside_with_the_reason() {
    let device = Device::new();
    std::fs::write(device.path(), vec![b'x'; 10_000]).unwrap();
    let error = device.open(&[OLD]).unwrap_err();
    assert!(
        matches!(&error, StoreError::Corrupt { path, .. } if *path == device.path()),
        "{error}"
    );
    assert_eq!(
        std::fs::read(device.path()).unwrap(),
        vec![b'x'; 10_000],
        "the error alone changes nothing"
    );

    let (database, aside) = Database::open_or_set_aside(&device.path(), &[OLD]).unwrap();
    let aside = aside.unwrap();
    assert!(values_in(&database).is_empty());
    database.close();
    assert_eq!(std::fs::read(&aside.path).unwrap(), vec![b'x'; 10_000]);
    let names = [
        "state.db",
        "state.db.damaged-1",
        "state.db.damaged-1.reason",
    ];
    assert_eq!(device.names(), names);
    let reason = std::fs::read_to_string(device.folder.path().join(names[2])).unwrap();
    assert_eq!(reason.trim(), aside.reason);

    // The next damage gets the next name.
    std::fs::write(device.path(), b"torn").unwrap();
    let (_database, aside) = Database::open_or_set_aside(&device.path(), &[OLD]).unwrap();
    assert!(aside.unwrap().path.ends_with("state.db.damaged-2"));
}

#[test]
fn a_page_overwritten_inside_is_found_at_the_next_start() {
    let device = Device::new();
    for n in 0..3 {
        device.run_adding(OLD, n);
    }
    let mut bytes = std::fs::read(device.path()).unwrap();
    assert!(bytes.len() > 2 * 4096);
    bytes[4096..].fill(0xa5);
    std::fs::write(device.path(), bytes).unwrap();
    let error = device.open(&[OLD]).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[test]
fn an_undamaged_file_is_not_set_aside() {
    let device = Device::new();
    device.run_adding(OLD, 1);
    let (database, aside) = Database::open_or_set_aside(&device.path(), &[OLD]).unwrap();
    assert!(aside.is_none());
    assert_eq!(values_in(&database), [1]);
}

/// The crash points on the way of an upgrade and a downgrade; each is hit by a child of this test binary.
#[cfg(feature = "crash-points")]
mod crashes {
    use super::*;
    use std::{path::Path, process::Command};

    const CHILD: &str = "STORE_TEST_DATABASE";

    #[test]
    #[ignore = "a child process of the crash tests"]
    fn child_new() {
        open_as_child(NEW);
    }

    #[test]
    #[ignore = "a child process of the crash tests"]
    fn child_old() {
        open_as_child(OLD);
    }

    fn open_as_child(schema: Schema) {
        if let Some(path) = std::env::var_os(CHILD) {
            Database::open(Path::new(&path), &[schema]).unwrap().close();
        }
    }

    /// Whether the child died at the crash point rather than passing it by.
    fn dies_at(point: &str, child: &str, path: &Path) -> bool {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &format!("crashes::{child}"), "--ignored"])
            .env(CHILD, path)
            .env("GREENGRASS_CRASH_AT", point)
            .output()
            .unwrap();
        std::os::unix::process::ExitStatusExt::signal(&output.status).is_some()
    }

    #[test]
    fn a_crash_anywhere_in_an_upgrade_leaves_the_old_or_the_new_state() {
        for point in [
            "store.migrate.copied",
            "store.migrate.step",
            "store.migrate.commit.before",
            "store.migrate.commit.after",
            "store.migrate.written",
            "store.migrate.kept",
            "file.rename.before",
            "file.rename.after",
            "file.rename.durable",
            "store.migrate.replaced",
        ] {
            // Upgraded after the crash by the new program.
            let device = Device::new();
            device.run_adding(OLD, 1);
            assert!(dies_at(point, "child_new", &device.path()), "{point}");
            assert_eq!(device.values(NEW), [10], "{point}");
            assert_eq!(device.names(), ["state.db", "state.db.layout-1"], "{point}");
            // Opened after the crash by the old one.
            let device = Device::new();
            device.run_adding(OLD, 1);
            assert!(dies_at(point, "child_new", &device.path()), "{point}");
            assert_eq!(device.values(OLD), [1], "{point}");
            assert_eq!(device.values(NEW), [10], "{point}");
        }
    }

    #[test]
    fn a_crash_anywhere_in_a_downgrade_loses_neither_state() {
        for point in [
            "store.migrate.kept",
            "file.rename.before",
            "file.rename.after",
            "file.rename.durable",
        ] {
            let device = Device::new();
            device.run_adding(OLD, 1);
            device.run_adding(NEW, 20);
            assert!(dies_at(point, "child_old", &device.path()), "{point}");
            assert_eq!(device.values(OLD), [1], "{point}");
            assert_eq!(device.names(), ["state.db", "state.db.layout-2"], "{point}");
        }
    }
}
