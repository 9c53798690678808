//! What was moved and what was not, for people and as JSON.

use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What became of one thing that was to be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It is there now, or would be.
    Moved,
    /// It was there before.
    There,
    /// Something else of that name is there; nothing was changed.
    Differs,
    /// It could not be moved.
    Failed,
    /// It is not meant to be moved.
    Left,
}

impl Outcome {
    const ALL: [(Self, &str); 5] = [
        (Self::Moved, "moved"),
        (Self::There, "there"),
        (Self::Differs, "differs"),
        (Self::Failed, "failed"),
        (Self::Left, "left"),
    ];
}

/// What has happened so far.
#[derive(Debug, Default)]
pub struct Report {
    kinds: Vec<&'static str>,
    counts: BTreeMap<(&'static str, Outcome), usize>,
    notes: Vec<(&'static str, String, Outcome, String)>,
    advice: Vec<String>,
}

/// Notes that are printed of one kind; all are in the JSON.
const PRINTED: usize = 20;

impl Report {
    /// A kind begins, with so many to move.
    pub fn begin(&mut self, kind: &'static str, count: usize) {
        self.kinds.push(kind);
        eprintln!("{kind}: {count}");
    }

    /// One is done.
    pub fn done(&mut self, kind: &'static str, name: &str, outcome: Outcome, why: &str) {
        *self.counts.entry((kind, outcome)).or_default() += 1;
        if !why.is_empty() {
            let note = (kind, name.to_owned(), outcome, why.to_owned());
            self.notes.push(note);
        }
        let done: usize = self.count_of(kind);
        if done.is_multiple_of(100) {
            eprintln!("{kind}: {done} done");
        }
    }

    /// Something that people must do themselves.
    pub fn advise(&mut self, text: impl Into<String>) {
        self.advice.push(text.into());
    }

    fn count_of(&self, kind: &str) -> usize {
        let own = self.counts.iter().filter(|((k, _), _)| *k == kind);
        own.map(|(_, count)| count).sum()
    }

    /// How many could not be moved.
    pub fn failures(&self) -> usize {
        let failed = self
            .counts
            .iter()
            .filter(|((_, o), _)| *o == Outcome::Failed);
        failed.map(|(_, count)| count).sum()
    }

    /// To standard output.
    pub fn print(&self, dry_run: bool) {
        let first = if dry_run { "to move" } else { "moved" };
        println!(
            "{:<24}{first:>9}{:>9}{:>9}{:>9}{:>9}",
            "", "there", "differs", "failed", "left"
        );
        for kind in &self.kinds {
            let mut line = format!("{kind:<24}");
            for (outcome, _) in Outcome::ALL {
                let count = self.counts.get(&(*kind, outcome)).copied().unwrap_or(0);
                line.push_str(&format!("{count:>9}"));
            }
            println!("{line}");
        }
        for kind in &self.kinds {
            let notes: Vec<_> = self.notes.iter().filter(|note| note.0 == *kind).collect();
            for (_, name, _, why) in notes.iter().take(PRINTED) {
                println!("{kind} {name}: {why}");
            }
            if notes.len() > PRINTED {
                println!(
                    "{kind}: {} more; --report FILE has all",
                    notes.len() - PRINTED
                );
            }
        }
        for advice in &self.advice {
            println!("\n{advice}");
        }
    }

    /// The whole, for programs.
    pub fn document(&self) -> Value {
        let kinds: serde_json::Map<String, Value> = self
            .kinds
            .iter()
            .map(|kind| {
                let counts: serde_json::Map<String, Value> = Outcome::ALL
                    .iter()
                    .map(|(outcome, word)| {
                        let count = self.counts.get(&(*kind, *outcome)).copied();
                        ((*word).to_owned(), count.unwrap_or(0).into())
                    })
                    .collect();
                ((*kind).to_owned(), Value::Object(counts))
            })
            .collect();
        let word = |outcome: Outcome| {
            let found = Outcome::ALL.iter().find(|(own, _)| *own == outcome);
            found.map_or("", |(_, word)| word)
        };
        let notes: Vec<Value> = self
            .notes
            .iter()
            .map(|(kind, name, outcome, why)| {
                json!({ "kind": kind, "name": name, "outcome": word(*outcome), "why": why })
            })
            .collect();
        json!({ "kinds": kinds, "notes": notes, "advice": self.advice })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_counts_and_says_why() {
        let mut report = Report::default();
        report.begin("things", 3);
        report.done("things", "a", Outcome::Moved, "");
        report.done("things", "b", Outcome::Failed, "no");
        report.done("things", "c", Outcome::Differs, "its type is another");
        assert_eq!(report.failures(), 1);
        let document = report.document();
        assert_eq!(document["kinds"]["things"]["moved"], 1);
        assert_eq!(document["notes"][0]["why"], "no");
        assert_eq!(document["notes"][1]["outcome"], "differs");
    }
}
