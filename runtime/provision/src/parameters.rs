//! Template parameters that differ from device to device: `{dmi:product_serial}` and its like in their values.
//!
//! | written | is |
//! |---|---|
//! | `{dmi:NAME}` | `/sys/class/dmi/id/NAME` |
//! | `{device-tree:NAME}` | `/proc/device-tree/NAME` |
//! | `{file:/PATH}` | the file's text |
//! | `{command:/PATH ARGUMENTS}` | what the program writes |
//! | `{tpm:ek}` | SHA-256 of the TPM's endorsement key, in hexadecimal |
//!
//! White space and zero bytes around a value are cut. An empty value is an error: devices would share a name.

use std::{collections::BTreeMap, path::PathBuf};
use thiserror::Error;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// A program and its arguments.
    Command(Vec<String>),
    /// The hash of the TPM's endorsement key.
    EndorsementKey,
}

/// Why a parameter has no value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("template parameter {parameter}: {fault}")]
pub struct ParameterError {
    /// Its name.
    pub parameter: String,
    /// What is wrong.
    pub fault: String,
}

/// Fills in parameters. `read` gives what a source has.
pub fn resolve(
    parameters: &BTreeMap<String, String>,
    mut read: impl FnMut(&Source) -> Result<String, String>,
) -> Result<BTreeMap<String, String>, ParameterError> {
    let mut resolved = BTreeMap::new();
    for (name, written) in parameters {
        let value = fill_in(written, &mut read).map_err(|fault| ParameterError {
            parameter: name.clone(),
            fault,
        })?;
        resolved.insert(name.clone(), value);
    }
    Ok(resolved)
}

fn fill_in(
    written: &str,
    read: &mut impl FnMut(&Source) -> Result<String, String>,
) -> Result<String, String> {
    let mut value = String::new();
    let mut rest = written;
    while let Some((before, after)) = rest.split_once('{') {
        let (inside, behind) = after.split_once('}').ok_or("a { without its }")?;
        value.push_str(before);
        let text = read(&source(inside)?).map_err(|fault| format!("{{{inside}}}: {fault}"))?;
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        if text.is_empty() {
            return Err(format!("{{{inside}}} is empty"));
        }
        value.push_str(text);
        rest = behind;
    }
    value.push_str(rest);
    Ok(value)
}

fn source(inside: &str) -> Result<Source, String> {
    let (kind, name) = inside.split_once(':').unwrap_or((inside, ""));
    let below = |folder: &str| {
        let plain = !name.is_empty() && !name.split('/').any(|p| p.is_empty() || p == "..");
        plain
            .then(|| Source::File(PathBuf::from(folder).join(name)))
            .ok_or_else(|| format!("{{{inside}}} does not name a value"))
    };
    match kind {
        "dmi" => below("/sys/class/dmi/id"),
        "device-tree" => below("/proc/device-tree"),
        "file" if name.starts_with('/') => Ok(Source::File(name.into())),
        "command" if name.starts_with('/') => Ok(Source::Command(
            name.split_whitespace().map(str::to_owned).collect(),
        )),
        "tpm" if name == "ek" => Ok(Source::EndorsementKey),
        _ => Err(format!(
            "{{{inside}}} is not one of dmi:NAME, device-tree:NAME, file:/PATH, command:/PATH, tpm:ek"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(written: &str, value: &str) -> Result<String, ParameterError> {
        let parameters = BTreeMap::from([("p".to_owned(), written.to_owned())]);
        let read = |source: &Source| match source {
            Source::Command(words) => Ok(words.join("+")),
            Source::File(path) if path.ends_with("missing") => Err("no such file".into()),
            _ => Ok(value.to_owned()),
        };
        resolve(&parameters, read).map(|mut p| p.remove("p").unwrap())
    }

    #[test]
    fn values_are_filled_in_and_cut() {
        assert_eq!(one("plain", "").unwrap(), "plain");
        assert_eq!(
            one("gw-{dmi:product_serial}-{tpm:ek}", " 42\n").unwrap(),
            "gw-42-42"
        );
        assert_eq!(
            one("{device-tree:serial-number}", "100000000abc\0").unwrap(),
            "100000000abc"
        );
        assert_eq!(
            one("{command:/usr/bin/serial -x}", "").unwrap(),
            "/usr/bin/serial+-x"
        );
    }

    #[test]
    fn what_has_no_value_is_an_error_with_the_parameters_name() {
        for (written, value) in [
            ("{dmi:x}", "  \n"),
            ("{dmi:../../etc/shadow}", "x"),
            ("{dmi:}", "x"),
            ("{file:relative}", "x"),
            ("{file:/missing}", "x"),
            ("{serial}", "x"),
            ("{dmi:x", "x"),
        ] {
            let fault = one(written, value).unwrap_err().to_string();
            assert!(
                fault.starts_with("template parameter p: "),
                "{written}: {fault}"
            );
        }
    }
}
