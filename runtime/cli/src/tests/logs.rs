//! `logs …` on a folder of two components.

use super::Fake;
use serde_json::Value;
use std::{fs, path::PathBuf};

/// A root folder with logs of two components that were written at the same time.
fn logs() -> (tempfile::TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("logs");
    fs::create_dir(&folder).unwrap();
    let line = |second: u32, level: &str, component: &str, text: &str| {
        format!(
            "2026-01-02T03:04:{second:02}.000Z [{level}] (Copier) {component}: stdout. {text}. {{serviceName={component}}}\n"
        )
    };
    fs::write(
        folder.join("com.a_2026_01_02_03_0.log"),
        line(1, "INFO", "com.a", "one")
            + &line(3, "WARN", "com.a", "three")
            + "    more of three\n",
    )
    .unwrap();
    fs::write(folder.join("com.a.log"), line(5, "INFO", "com.a", "five")).unwrap();
    fs::write(
        folder.join("com.b.log"),
        line(2, "INFO", "com.b", "two")
            + &line(4, "ERROR", "com.b", "four")
            + &line(6, "INFO", "com.b", "six"),
    )
    .unwrap();
    fs::write(folder.join("notes.txt"), "no log").unwrap();
    (root, folder)
}

fn get(root: &tempfile::TempDir, more: &[&str]) -> Vec<String> {
    let line: Vec<&str> = [
        "--ggcRootPath",
        root.path().to_str().unwrap(),
        "logs",
        "get",
    ]
    .into_iter()
    .chain(more.iter().copied())
    .collect();
    let (code, text, error) = Fake::default().run(&line);
    assert_eq!(code, 0, "{error}");
    text.lines()
        .map(|l| {
            l.rsplit(['.', ' '])
                .find(|w| !w.is_empty())
                .unwrap_or_default()
                .trim_end_matches('.')
                .to_owned()
        })
        .collect()
}

#[test]
fn lines_of_several_files_are_merged_in_the_order_of_time() {
    let (root, folder) = logs();
    assert_eq!(
        get(&root, &[]),
        ["one", "two", "three", "three", "four", "five", "six"]
    );
    assert_eq!(get(&root, &["-n", "com.b"]), ["two", "four", "six"]);
    let file = folder.join("com.b.log");
    assert_eq!(
        get(&root, &["-lf", file.to_str().unwrap()]),
        ["two", "four", "six"]
    );
    assert_eq!(
        get(&root, &["-f", "level=WARN"]),
        ["three", "three", "four"]
    );
    assert_eq!(
        get(&root, &["-f", "four", "-b", "1", "-a", "1"]),
        ["three", "three", "four", "five"]
    );
    assert_eq!(get(&root, &["--max-log-entries", "2"]), ["five", "six"]);
    assert_eq!(
        get(&root, &["-t", "2026-01-02T03:04:02,2026-01-02T03:04:03"]),
        ["two", "three", "three"]
    );
    assert_eq!(
        get(
            &root,
            &["--follow", "-t", "2026-01-02T03:04:02,2026-01-02T03:04:02"]
        ),
        ["two"]
    );
    let (_, json, _) = Fake::default().run(&[
        "--root",
        root.path().to_str().unwrap(),
        "logs",
        "get",
        "-o",
        "json",
        "-f",
        "three",
    ]);
    let entry: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (entry["message"].as_str(), entry["eventType"].as_str()),
        (Some("three\n    more of three"), Some("stdout"))
    );
    let (code, _, error) = Fake::default().run(&[
        "--root",
        root.path().to_str().unwrap(),
        "logs",
        "get",
        "-n",
        "com.c",
    ]);
    assert!(code == 1 && error.contains("list-log-groups"), "{error}");
}

#[test]
fn log_files_and_groups_are_listed() {
    let (root, folder) = logs();
    let root = root.path().to_str().unwrap();
    let (_, text, _) = Fake::default().run(&["--ggcRootPath", root, "logs", "list-log-files"]);
    let expected = ["com.a_2026_01_02_03_0.log", "com.a.log", "com.b.log"]
        .map(|name| folder.join(name).display().to_string())
        .join("\n");
    assert_eq!(text, format!("{expected}\nTotal 3 files found.\n"));
    let (_, text, _) = Fake::default().run(&["--ggcRootPath", root, "logs", "list-log-groups"]);
    assert_eq!(
        text,
        "NAME   FILES  SIZE\ncom.a  2      1 KiB\ncom.b  1      1 KiB\n"
    );
    let (code, _, error) =
        Fake::default().run(&["logs", "list-log-files", "--log-dir", "/no/such"]);
    assert!(code == 2 && error.contains("journalctl"), "{error}");
    let (_, text, _) = Fake::default().run(&["logs", "list-keywords"]);
    assert!(text.contains("loggerName=$str"), "{text}");
}
