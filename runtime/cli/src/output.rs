//! How answers look: columns for people, one JSON document for scripts.
//!
//! Columns are written by hand: a table crate brings borders, wrapping and terminal queries, and what people pipe into `awk` and
//! `grep` wants none of them.

use crate::{Failure, arguments::OutputForm};
use serde_json::Value;
use std::io::Write;

/// Where a command writes to.
pub struct Output<'a> {
    /// Answers.
    pub answer: &'a mut (dyn Write + Send),
    /// Progress and warnings.
    pub progress: &'a mut (dyn Write + Send),
    /// Form of answers.
    pub form: OutputForm,
    /// `answer` is a terminal that shows colours.
    pub colour: bool,
    /// `progress` is a terminal: a line may be rewritten.
    pub live: bool,
}

impl Output<'_> {
    /// Answers go to a script.
    pub fn is_json(&self) -> bool {
        self.form == OutputForm::Json
    }

    /// Writes a document.
    pub fn json(&mut self, value: &Value) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(value).expect("a value is always JSON");
        Ok(writeln!(self.answer, "{text}")?)
    }

    /// Writes a line for people.
    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        Ok(writeln!(self.answer, "{text}")?)
    }

    /// Writes columns for people.
    pub fn table(&mut self, head: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
        Ok(self.answer.write_all(table(head, rows).as_bytes())?)
    }

    /// Writes a warning.
    pub fn warn(&mut self, text: &str) {
        let _ = writeln!(self.progress, "warning: {text}");
    }
}

/// Lays out columns; the last one is not padded and keeps only the first line of each cell.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = head.iter().map(|&h| h.to_owned()).collect();
    let width = |column: usize| {
        let cells = std::iter::once(&head)
            .chain(rows)
            .filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let mut text = String::new();
    for row in std::iter::once(&head).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let cell = cell.lines().next().unwrap_or_default();
            line.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A member of an answer as text; empty when it is not there.
pub fn text(value: &Value, member: &str) -> String {
    match value.get(member) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_without_blanks() {
        let rows = [
            vec!["com.example.Long".into(), "1.0.0".into(), "RUNNING".into()],
            vec!["ä".into(), "10.0.0".into(), "no\nmore".into()],
        ];
        assert_eq!(
            table(&["NAME", "VERSION", "STATE"], &rows),
            "NAME              VERSION  STATE\ncom.example.Long  1.0.0    RUNNING\nä                 10.0.0   no\n"
        );
    }
}
