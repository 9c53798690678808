//! The back end as a role uses it: one process-wide set-up, components printing from several threads.
//! One test, because a process has one `log` back end.

#![allow(clippy::unwrap_used)] // helpers of tests

use logs::{Entry, Format, Options, Settings, Stream, Target};
use model::ComponentName;
use std::{fs, time::Duration};

fn read(folder: &std::path::Path, stem: &str) -> String {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|f| f.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| {
            logs::names::split(&name).map(|(s, stamp)| (s.to_owned(), stamp, name.clone()))
        })
        .filter(|(s, ..)| s == stem)
        .collect();
    files.sort_by_key(|(_, stamp, _)| (stamp.is_none(), *stamp)); // the current file last
    files
        .iter()
        .map(|(.., name)| fs::read_to_string(folder.join(name)).unwrap())
        .collect()
}

#[test]
fn lines_of_components_and_of_the_runtime_reach_their_files() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("logs");
    let settings = Settings {
        file_size: 20_000,
        ..Settings::default()
    };
    let logs = logs::init(Options {
        target: Target::Files,
        folder: folder.clone(),
        settings: settings.clone(),
        ..Options::default()
    })
    .unwrap();
    assert!(matches!(
        logs::init(Options {
            target: Target::Console,
            ..Options::default()
        }),
        Err(logs::LogsError::Twice)
    ));

    // Four threads share two components; across rotations each thread's lines arrive whole and in their order.
    let output = logs.component_output();
    let names: Vec<ComponentName> = ["com.example.A", "greengrass"]
        .iter()
        .map(|n| n.parse().unwrap())
        .collect();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (output, name) = (output.clone(), &names[thread % 2]);
            scope.spawn(move || {
                for n in 0..500 {
                    output.line(
                        name,
                        "run",
                        Stream::Stdout,
                        format!("{thread}:{n}\r\n").as_bytes(),
                    );
                }
            });
        }
    });
    assert!(output.flush(Duration::from_secs(10)));
    for (index, stem) in ["com.example.A", "greengrass~"].iter().enumerate() {
        let text = read(&folder, stem);
        for thread in [index, index + 2] {
            let prefix = format!("{thread}:");
            let numbers: Vec<usize> = text
                .lines()
                .map(|line| {
                    Entry::parse(line)
                        .expect("whole lines")
                        .message
                        .unwrap()
                        .into_owned()
                })
                .filter_map(|m| m.strip_prefix(&prefix).map(|n| n.parse().unwrap()))
                .collect();
            assert_eq!(
                numbers,
                (0..500).collect::<Vec<_>>(),
                "{stem} thread {thread}"
            );
        }
    }
    assert!(
        fs::read_dir(&folder).unwrap().count() > 2,
        "nothing was rotated"
    );

    // The runtime's own lines carry key-values, the context of the process and no second line that looks like an entry.
    logs.set_context("thing", "core-1");
    log::warn!(component = "com.example.A", event = "restart"; "it failed\nwith two lines");
    log::debug!("too fine");
    // Output that is not UTF-8, several lines at once, and a level that drops stdout.
    output.line(&names[0], "install", Stream::Stderr, b"\xff\xfe\nsecond");
    logs.apply(Settings {
        level: log::LevelFilter::Warn,
        format: Format::Json,
        ..settings
    });
    output.line(&names[0], "run", Stream::Stdout, b"dropped by level");
    output.line(&names[0], "shutdown", Stream::Stderr, b"kept");
    assert!(logs.flush(Duration::from_secs(10)));

    let own = read(&folder, "greengrass");
    assert!(own.contains("[WARN] (lines_of_components"), "{own}");
    assert!(
        own.contains(
            "restart. it failed\n    with two lines. {component=com.example.A, thing=core-1}\n"
        ),
        "{own}"
    );
    assert!(!own.contains("too fine"));
    let text = read(&folder, "com.example.A");
    let last: Vec<_> = text
        .lines()
        .rev()
        .take(3)
        .map(|l| Entry::parse(l).unwrap())
        .collect();
    assert_eq!(last[0].message.as_deref(), Some("kept"));
    assert!(
        text.lines().next_back().unwrap().starts_with('{'),
        "the new format did not take effect"
    );
    assert_eq!(last[0].keyword("currentState").unwrap(), "STOPPING");
    assert_eq!(
        (last[1].message.as_deref(), last[2].message.as_deref()),
        (Some("second"), Some("\u{fffd}\u{fffd}"))
    );
    assert_eq!(last[2].keyword("currentState").unwrap(), "NEW");
    assert_eq!(&*last[2].level, "WARN");
}
