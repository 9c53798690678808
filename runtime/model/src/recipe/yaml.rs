//! YAML 1.2 (core schema) to [`Node`]s, on saphyr's event parser.
//!
//! Plain `yes`, `no`, `on` and `off` are texts, `0o17` and `0x1f` numbers. Aliases are copies, merge keys (`<<`) are
//! followed; how much may be copied, and how deep values may nest, is bounded.

use super::{
    node::{Entry, MAX_DEPTH, MAX_NODES, Node, NodeKind, Position},
    problem::Problem,
};
use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use serde_json::Number;
use std::collections::{HashMap, HashSet};

/// Reads one document.
pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    read(text).map_err(|mut problem| {
        let line = text
            .lines()
            .nth(problem.position.line.saturating_sub(1) as usize)
            .unwrap_or_default();
        if line.contains("{{") || line.contains("{%") {
            problem
                .message
                .push_str(" (this looks like a template that has yet to be filled in)");
        }
        problem
    })
}

fn read(text: &str) -> Result<Node, Problem> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|e| {
            let at = Position::new(e.marker().line(), e.marker().col());
            Problem::at(at, syntax_message(text, at, e.info()))
        })?;
        builder.event(event, position(span))?;
    }
    builder
        .done
        .ok_or_else(|| Problem::at(Position::START, "the file is empty".into()))
}

fn position(span: Span) -> Position {
    Position::new(span.start.line(), span.start.col())
}

fn syntax_message(text: &str, at: Position, info: &str) -> String {
    let line = text
        .lines()
        .nth(at.line.saturating_sub(1) as usize)
        .unwrap_or_default();
    let indent = &line[..line.len() - line.trim_start().len()];
    if indent.contains('\t') {
        return "YAML is indented with spaces; this line starts with a tab".into();
    }
    let mut message = format!("this is not YAML: {info}");
    if info.contains("did not find expected") {
        message.push_str("; check that this line and those above it are indented alike");
    }
    if line
        .trim_start_matches("- ")
        .trim_start()
        .split_once(": ")
        .is_some_and(|(_, v)| v.contains(": "))
    {
        message.push_str("; a text that holds \": \" must stand in quotes or after \"|\"");
    }
    message
}

/// A collection that is not closed yet.
struct Open {
    node: Node,
    anchor: usize,
    /// The key whose value comes next.
    key: Option<(String, Position)>,
    /// What `<<` brings in, kept apart until all own keys are known.
    merged: Vec<Entry>,
}

#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
    done: Option<Node>,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, at: Position) -> Result<(), Problem> {
        match event {
            Event::DocumentStart(_) if self.done.is_some() => Err(Problem::at(
                at,
                "a recipe is one YAML document; here a second one starts".into(),
            )),
            Event::SequenceStart(anchor, _) => self.start(NodeKind::List(Vec::new()), at, anchor),
            Event::MappingStart(anchor, _) => self.start(NodeKind::Map(Vec::new()), at, anchor),
            Event::SequenceEnd | Event::MappingEnd => {
                let open = self.open.pop().expect("the parser pairs starts and ends");
                let mut node = open.node;
                if let NodeKind::Map(entries) = &mut node.kind {
                    let mut seen: HashSet<_> = entries.iter().map(|e| e.key.clone()).collect();
                    entries.extend(
                        open.merged
                            .into_iter()
                            .filter(|e| seen.insert(e.key.clone())),
                    );
                }
                self.value(node, open.anchor)
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.count(1, at)?;
                let kind = scalar(&text, style, tag.as_deref()).map_err(|e| Problem::at(at, e))?;
                self.value(Node { at, kind }, anchor)
            }
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor) else {
                    return Err(Problem::at(
                        at,
                        "this alias stands inside the value it names".into(),
                    ));
                };
                let size = *size;
                if self.open.len() + depth(node) > MAX_DEPTH {
                    return Err(Problem::at(
                        at,
                        format!("values may nest {MAX_DEPTH} deep at most"),
                    ));
                }
                self.count(size, at)?;
                let node = self.anchors[&anchor].0.clone();
                self.value(node, 0)
            }
            _ => Ok(()),
        }
    }

    fn start(&mut self, kind: NodeKind, at: Position, anchor: usize) -> Result<(), Problem> {
        self.count(1, at)?;
        if self.open.len() >= MAX_DEPTH {
            return Err(Problem::at(
                at,
                format!("values may nest {MAX_DEPTH} deep at most"),
            ));
        }
        if let Some(Open {
            node: Node {
                kind: NodeKind::Map(_),
                ..
            },
            key: None,
            ..
        }) = self.open.last()
        {
            return Err(Problem::at(
                at,
                "a key must be a text, not a list or a mapping; a text that starts with \"{\" or \"[\" must stand in quotes".into(),
            ));
        }
        self.open.push(Open {
            node: Node { at, kind },
            anchor,
            key: None,
            merged: Vec::new(),
        });
        Ok(())
    }

    fn count(&mut self, more: usize, at: Position) -> Result<(), Problem> {
        self.nodes = self.nodes.saturating_add(more);
        if self.nodes > MAX_NODES {
            return Err(Problem::at(
                at,
                format!("there are more than {MAX_NODES} values, aliases counted in full"),
            ));
        }
        Ok(())
    }

    fn value(&mut self, node: Node, anchor: usize) -> Result<(), Problem> {
        if anchor != 0 {
            let size = size(&node);
            self.count(size, node.at)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        let Some(open) = self.open.last_mut() else {
            self.done = Some(node);
            return Ok(());
        };
        match &mut open.node.kind {
            NodeKind::List(items) => items.push(node),
            NodeKind::Map(entries) => match open.key.take() {
                None => {
                    let at = node.at;
                    let key = match node.kind {
                        NodeKind::Text(text) | NodeKind::Number(_, text) => text,
                        NodeKind::Bool(b) => b.to_string(),
                        NodeKind::Null => String::new(),
                        _ => return Err(Problem::at(at, "a key must be a text".into())),
                    };
                    open.key = Some((key, at));
                }
                Some((key, _)) if key == "<<" && merge(&mut open.merged, &node) => {}
                Some((key, key_at)) => entries.push(Entry {
                    key,
                    key_at,
                    value: node,
                }),
            },
            _ => {}
        }
        Ok(())
    }
}

/// `<<: *base` or `<<: [*first, *second]`; the first to name a key wins. False when it is no merge.
fn merge(merged: &mut Vec<Entry>, node: &Node) -> bool {
    match &node.kind {
        NodeKind::Map(entries) => merged.extend_from_slice(entries),
        NodeKind::List(items) if items.iter().all(|i| matches!(i.kind, NodeKind::Map(_))) => {
            for item in items {
                if let NodeKind::Map(entries) = &item.kind {
                    merged.extend_from_slice(entries);
                }
            }
        }
        _ => return false,
    }
    true
}

fn size(node: &Node) -> usize {
    1 + node.children().map(size).sum::<usize>()
}

fn depth(node: &Node) -> usize {
    1 + node.children().map(depth).max().unwrap_or(0)
}

/// The value of a scalar by the core schema.
fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<NodeKind, String> {
    let wanted = tag
        .filter(|t| t.is_yaml_core_schema())
        .map(|t| t.suffix.as_str());
    let plain = style == ScalarStyle::Plain && tag.is_none();
    let kind = if plain || matches!(wanted, Some("null" | "bool" | "int" | "float")) {
        resolve(text)
    } else {
        NodeKind::Text(text.to_owned())
    };
    let fits = match wanted {
        Some("null") => matches!(kind, NodeKind::Null),
        Some("bool") => matches!(kind, NodeKind::Bool(_)),
        Some("int" | "float") => matches!(kind, NodeKind::Number(..)),
        _ => true,
    };
    if fits {
        Ok(kind)
    } else {
        Err(format!("{text:?} is no !!{}", wanted.unwrap_or_default()))
    }
}

fn resolve(text: &str) -> NodeKind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => NodeKind::Null,
        "true" | "True" | "TRUE" => NodeKind::Bool(true),
        "false" | "False" | "FALSE" => NodeKind::Bool(false),
        _ => match number(text) {
            Some(number) => NodeKind::Number(number, text.to_owned()),
            None => NodeKind::Text(text.to_owned()),
        },
    }
}

/// Integers stay integers as far as 64 bits reach. `.inf` and `.nan` are texts: JSON has no such numbers.
fn number(text: &str) -> Option<Number> {
    if let Some(digits) = text.strip_prefix("0x") {
        return u64::from_str_radix(digits, 16)
            .ok()
            .filter(|_| !digits.starts_with('+'))
            .map(Number::from);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return u64::from_str_radix(digits, 8)
            .ok()
            .filter(|_| !digits.starts_with('+'))
            .map(Number::from);
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    if unsigned.bytes().all(|b| b.is_ascii_digit()) {
        let plain = text.strip_prefix('+').unwrap_or(text);
        if let Ok(n) = plain.parse::<i64>() {
            return Some(n.into());
        }
        if let Ok(n) = plain.parse::<u64>() {
            return Some(n.into());
        }
    }
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if !digits(whole)
        || !digits(fraction)
        || whole.len() + fraction.len() == 0
        || exponent.is_empty()
        || !digits(exponent)
    {
        return None;
    }
    text.parse::<f64>().ok().and_then(Number::from_f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn value(text: &str) -> Value {
        parse(text).unwrap().to_value()
    }

    fn error(text: &str) -> Problem {
        parse(text).unwrap_err()
    }

    #[test]
    fn plain_scalars_follow_the_core_schema() {
        assert_eq!(
            value(
                "[1, -1, +1, 007, 0x1f, 0o17, 1.5, 1e3, .5, 18446744073709551615, -9223372036854775808,\n \
                 true, False, ~, null, yes, No, on, 1.2.3, 2020-01-25, 1_000, 'true', \"1\", !!str 5, .inf, 0x, 12:30]"
            ),
            json!([
                1,
                -1,
                1,
                7,
                31,
                15,
                1.5,
                1000.0,
                0.5,
                18_446_744_073_709_551_615_u64,
                -9_223_372_036_854_775_808_i64,
                true,
                false,
                null,
                null,
                "yes",
                "No",
                "on",
                "1.2.3",
                "2020-01-25",
                "1_000",
                "true",
                "1",
                "5",
                ".inf",
                "0x",
                "12:30"
            ])
        );
    }

    #[test]
    fn anchors_and_merge_keys_are_copied_in_and_own_keys_win() {
        let text = "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\nc:\n  <<: [*a, *b]\n  x: 9\nd: *a\ne:\n  x: 7\n  <<: *a\n";
        let v = value(text);
        assert_eq!(v["c"], json!({"x": 9, "y": 2, "z": 4}));
        assert_eq!(v["d"], json!({"x": 1, "y": 2}));
        assert_eq!(v["e"], json!({"x": 7, "y": 2}));
    }

    #[test]
    fn block_texts_keep_their_lines() {
        assert_eq!(
            value("a: |\n  one\n    two\n\n  three\nb: >-\n  x\n  y\n"),
            json!({"a": "one\n  two\n\nthree\n", "b": "x y"})
        );
    }

    #[test]
    fn an_alias_bomb_and_endless_nesting_are_refused_at_once() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for i in 1..12 {
            let aliases = vec![format!("*a{}", i - 1); 10].join(", ");
            bomb.push_str(&format!("a{i}: &a{i} [{aliases}]\n"));
        }
        assert!(
            error(&bomb).message.contains("aliases counted"),
            "{}",
            error(&bomb)
        );
        assert!(
            error(&"[".repeat(5000)).message.contains("deep")
                || error(&"[".repeat(5000)).message.contains("YAML")
        );
        let deep: String = (0..200).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
        assert!(error(&deep).message.contains("deep"));
        assert!(parse("a: &a [*a]").is_err());
    }

    #[test]
    fn errors_tell_line_and_column_and_what_would_help() {
        let tab = error("a:\n\tb: 1\n");
        assert_eq!(tab.position.line, 2, "{tab}");
        assert!(tab.message.contains("tab"), "{tab}");
        let colon = error("a:\n  b: c: d\n");
        assert_eq!(colon.position.line, 2);
        assert!(colon.message.contains("quotes"), "{colon}");
        assert!(error("a: 1\n---\nb: 2\n").message.contains("second"));
        assert!(error("").message.contains("empty"));
        assert!(error("a: *nope\n").message.contains("YAML"));
        assert!(error("? [a]\n: b\n").message.contains("key must be a text"));
        assert!(error("a: !!int x\n").message.contains("!!int"));
    }
}
