//! Short options of several letters, as the classic CLI has them (`-fp ROLLBACK`, `-lf=FILE`): every other parser reads those as
//! a row of one-letter options, so they become long ones first.

use std::ffi::OsString;

const LEGACY: [(&str, &str); 5] = [
    ("-fp", "--failure-handling-policy"),
    ("-lf", "--log-file"),
    ("-ld", "--log-dir"),
    ("-fol", "--follow"),
    ("-nc", "--no-color"),
];

/// Replaces them up to `--`; all other arguments stay what they are.
pub fn modernise(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut options = true;
    arguments
        .map(|argument| {
            let Some(text) = argument.to_str().filter(|_| options) else {
                return argument;
            };
            options = text != "--";
            let (name, value) = text
                .split_once('=')
                .map_or((text, None), |(name, value)| (name, Some(value)));
            match (LEGACY.iter().find(|(old, _)| *old == name), value) {
                (Some((_, new)), None) => (*new).into(),
                (Some((_, new)), Some(value)) => format!("{new}={value}").into(),
                (None, _) => argument,
            }
        })
        .collect()
}
