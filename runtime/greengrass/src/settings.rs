//! Read-only configuration: `config.yaml`, the drop-ins of `config.d` in the order of their names, one more file if asked for.
//! Each is a partial copy of the configuration tree (`system: …`, `services: …`), as nucleus lite and the classic installer have it.

use anyhow::{Context, bail};
use serde_json::{Map, Value};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Reads all files, first to last.
pub fn read(folder: &Path, extra: Option<&Path>) -> anyhow::Result<Vec<Value>> {
    let mut files: Vec<PathBuf> = vec![folder.join("config.yaml")];
    let mut drop_ins: Vec<PathBuf> = match fs::read_dir(folder.join("config.d")) {
        Ok(entries) => entries
            .filter_map(|e| e.ok().map(|e| e.path()))
            .filter(|p| named(p))
            .collect(),
        Err(_) => Vec::new(),
    };
    drop_ins.sort();
    files.append(&mut drop_ins);
    let mut documents = Vec::new();
    for file in &files {
        match fs::read_to_string(file) {
            Ok(text) => documents.push(parse(&text, file)?),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e).with_context(|| format!("cannot read {}", file.display())),
        }
    }
    if let Some(file) = extra {
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        documents.push(parse(&text, file)?);
    }
    Ok(documents)
}

fn named(path: &Path) -> bool {
    let hidden = path
        .file_name()
        .is_none_or(|name| name.to_string_lossy().starts_with('.'));
    !hidden
        && path
            .extension()
            .is_some_and(|e| ["yaml", "yml", "json"].iter().any(|known| e == *known))
}

fn parse(text: &str, file: &Path) -> anyhow::Result<Value> {
    if text.trim().is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let value = model::recipe::document(text, &file.to_string_lossy())
        .map_err(|e| anyhow::anyhow!("{e}"))?;
    match value {
        Value::Null => Ok(Value::Object(Map::new())),
        Value::Object(map) => {
            for key in map.keys() {
                if !["system", "services"]
                    .iter()
                    .any(|known| key.eq_ignore_ascii_case(known))
                {
                    bail!(
                        "{}: unknown key '{key}'; a configuration has 'system' and 'services'",
                        file.display()
                    );
                }
            }
            Ok(Value::Object(map))
        }
        _ => bail!(
            "{}: a configuration is a mapping with 'system' and 'services'",
            file.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> PathBuf {
        let folder = std::env::temp_dir().join(format!(
            "greengrass-settings-{}-{}",
            std::process::id(),
            files.len()
        ));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("config.d")).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
        folder
    }

    #[test]
    fn drop_ins_follow_the_main_file_in_the_order_of_their_names() {
        let folder = folder(&[
            ("config.d/20-b.yaml", "system: {thingName: b}"),
            ("config.yaml", "system: {thingName: main}"),
            ("config.d/10-a.json", r#"{"system": {"thingName": "a"}}"#),
            ("config.d/readme.txt", "not read"),
            ("config.d/.hidden.yaml", "not: read"),
        ]);
        let read = read(&folder, None).unwrap();
        let names: Vec<_> = read
            .iter()
            .map(|d| d["system"]["thingName"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["main", "a", "b"]);
    }

    #[test]
    fn a_wrong_file_is_named_with_its_line() {
        let bad = folder(&[("config.yaml", "system:\n  thingName: [a\n")]);
        let error = read(&bad, None).unwrap_err().to_string();
        assert!(
            error.contains("config.yaml") && error.contains('2') || error.contains('3'),
            "{error}"
        );
        let unknown = folder(&[("config.yaml", "sytem: {}"), ("config.d/x.yaml", "")]);
        assert!(
            read(&unknown, None)
                .unwrap_err()
                .to_string()
                .contains("unknown key 'sytem'")
        );
        assert!(read(Path::new("/nonexistent"), None).unwrap().is_empty());
    }
}
