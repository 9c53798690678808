//! The `logging` keys of the nucleus configuration, read leniently: a value that makes no sense keeps its default
//! and is named in a warning, because a typing error must not leave a device without logs.

use log::LevelFilter;
use serde_json::Value;
use std::path::PathBuf;

/// How much is logged, in which form and how much of it is kept.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// Lines below it are dropped; components' stdout counts as INFO, their stderr as WARN.
    pub level: LevelFilter,
    /// The form of a line in a file.
    pub format: Format,
    /// Files, or only the console.
    pub output: Output,
    /// A file is rotated before it grows beyond this many bytes.
    pub file_size: u64,
    /// All files of one component together, in bytes; the oldest go first.
    pub total_size: u64,
    /// Instead of `<root>/logs`.
    pub directory: Option<PathBuf>,
}

/// Greengrass's two line formats.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// `2026-01-02T03:04:05.678Z [INFO] (thread) logger: event. message. {key=value}`
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// `outputType`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Output {
    /// `logs/<component>.log` and `logs/greengrass.log`.
    #[default]
    File,
    /// Standard error only.
    Console,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            level: LevelFilter::Info,
            format: Format::Text,
            output: Output::File,
            file_size: 1024 * 1024,
            total_size: 10_240 * 1024,
            directory: None,
        }
    }
}

impl Settings {
    /// Reads the value of `services.aws.greengrass.Nucleus.configuration.logging`; also returns what was not understood.
    pub fn from_configuration(logging: &Value) -> (Self, Vec<String>) {
        let mut settings = Self::default();
        let mut warnings = Vec::new();
        let Some(object) = logging.as_object() else {
            if !logging.is_null() {
                warnings.push("logging: expected an object".to_owned());
            }
            return (settings, warnings);
        };
        for (key, value) in object {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            let understood = match key.to_ascii_lowercase().as_str() {
                "level" => set(&mut settings.level, level(&text)),
                "format" => set(
                    &mut settings.format,
                    one_of(&text, &[("text", Format::Text), ("json", Format::Json)]),
                ),
                "outputtype" => set(
                    &mut settings.output,
                    one_of(
                        &text,
                        &[("file", Output::File), ("console", Output::Console)],
                    ),
                ),
                "filesizekb" => set(&mut settings.file_size, kib(&text)),
                "totallogssizekb" => set(&mut settings.total_size, kib(&text)),
                "outputdirectory" => {
                    settings.directory =
                        (!text.is_empty() && !value.is_null()).then(|| PathBuf::from(&text));
                    true
                }
                _ => true, // keys of the classic nucleus that mean nothing here
            };
            if !understood {
                warnings.push(format!(
                    "logging.{key}: {text:?} is not understood, the default is used"
                ));
            }
        }
        (settings, warnings)
    }
}

fn set<T>(place: &mut T, value: Option<T>) -> bool {
    value.map(|value| *place = value).is_some()
}

fn one_of<T: Copy>(text: &str, choices: &[(&str, T)]) -> Option<T> {
    choices
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text))
        .map(|(_, choice)| *choice)
}

fn kib(text: &str) -> Option<u64> {
    text.trim()
        .parse()
        .ok()
        .filter(|n: &u64| *n > 0)
        .and_then(|n| n.checked_mul(1024))
}

fn level(text: &str) -> Option<LevelFilter> {
    // "FINE" and its like never were documented; "OFF" and "WARNING" are what people write.
    if text.eq_ignore_ascii_case("warning") {
        Some(LevelFilter::Warn)
    } else {
        text.trim().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_documented_keys_are_read_in_any_case_and_type() {
        let (settings, warnings) = Settings::from_configuration(&json!({
            "level": "debug", "Format": "json", "outputType": "CONSOLE", "fileSizeKB": "10", "totallogssizekb": 20, "outputDirectory": "/var/log/gg",
        }));
        assert!(warnings.is_empty(), "{warnings:?}");
        let expected = Settings {
            level: LevelFilter::Debug,
            format: Format::Json,
            output: Output::Console,
            file_size: 10_240,
            total_size: 20_480,
            directory: Some("/var/log/gg".into()),
        };
        assert_eq!(settings, expected);
    }

    #[test]
    fn a_value_without_sense_keeps_its_default_and_is_named() {
        let (settings, warnings) = Settings::from_configuration(
            &json!({"level": "LOUD", "fileSizeKB": -3, "totalLogsSizeKB": 0}),
        );
        assert_eq!(settings, Settings::default());
        assert_eq!(warnings.len(), 3);
        assert!(
            warnings
                .iter()
                .any(|w| w.contains("logging.level") && w.contains("LOUD")),
            "{warnings:?}"
        );
    }
}
