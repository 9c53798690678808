//! JSON to [`Node`]s, with jsonc-parser: serde_json does not tell where a value stands.

use super::{
    node::{Entry, MAX_DEPTH, MAX_NODES, Node, NodeKind, Position},
    problem::Problem,
};
use jsonc_parser::{
    CollectOptions, ParseOptions,
    ast::{ObjectPropName, Value},
    common::Ranged,
    errors::ParseError,
    parse_to_ast,
};
use serde_json::Number;
use std::cell::Cell;

const STRICT: ParseOptions = ParseOptions {
    allow_comments: false,
    allow_loose_object_property_names: false,
    allow_trailing_commas: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// Reads one value. Comments and trailing commas are let pass, with a warning.
pub(super) fn parse(text: &str) -> Result<(Node, Option<Problem>), Problem> {
    let lines = Lines::new(text);
    let problem = |e: &ParseError, hint: &str| {
        let at = lines.position(e.range().start);
        Problem::at(at, format!("this is not JSON: {}{hint}", e.kind()))
    };
    let options = CollectOptions::default();
    let (parsed, warning) = match parse_to_ast(text, &options, &STRICT) {
        Ok(parsed) => (parsed, None),
        Err(strict) => {
            let lax = ParseOptions {
                allow_comments: true,
                allow_trailing_commas: true,
                ..STRICT
            };
            match parse_to_ast(text, &options, &lax) {
                Ok(parsed) => (
                    parsed,
                    Some(problem(
                        &strict,
                        "; it is read all the same, but others will refuse it",
                    )),
                ),
                Err(lax) => return Err(problem(&lax, "")),
            }
        }
    };
    let Some(value) = parsed.value else {
        return Err(Problem::at(Position::START, "the file is empty".into()));
    };
    let mut nodes = 0;
    Ok((convert(&value, &lines, 1, &mut nodes)?, warning))
}

fn convert(
    value: &Value<'_>,
    lines: &Lines<'_>,
    depth: usize,
    nodes: &mut usize,
) -> Result<Node, Problem> {
    let at = lines.position(value.range().start);
    *nodes += 1;
    if *nodes > MAX_NODES {
        return Err(Problem::at(
            at,
            format!("there are more than {MAX_NODES} values"),
        ));
    }
    if depth > MAX_DEPTH {
        return Err(Problem::at(
            at,
            format!("values may nest {MAX_DEPTH} deep at most"),
        ));
    }
    let kind = match value {
        Value::NullKeyword(_) => NodeKind::Null,
        Value::BooleanLit(literal) => NodeKind::Bool(literal.value),
        Value::StringLit(literal) => NodeKind::Text(literal.value.clone().into_owned()),
        Value::NumberLit(literal) => {
            let number: Number = serde_json::from_str(literal.value).map_err(|_| {
                Problem::at(at, format!("{} is not a number JSON allows", literal.value))
            })?;
            NodeKind::Number(number, literal.value.to_owned())
        }
        Value::Array(array) => NodeKind::List(
            array
                .elements
                .iter()
                .map(|e| convert(e, lines, depth + 1, nodes))
                .collect::<Result<_, _>>()?,
        ),
        Value::Object(object) => {
            let mut entries = Vec::with_capacity(object.properties.len());
            for property in &object.properties {
                let (key, start) = match &property.name {
                    ObjectPropName::String(literal) => {
                        (literal.value.clone().into_owned(), literal.range.start)
                    }
                    ObjectPropName::Word(literal) => {
                        (literal.value.to_owned(), literal.range.start)
                    }
                };
                let key_at = lines.position(start);
                let value = convert(&property.value, lines, depth + 1, nodes)?;
                entries.push(Entry { key, key_at, value });
            }
            NodeKind::Map(entries)
        }
    };
    Ok(Node { at, kind })
}

/// From byte offsets to lines and columns. Offsets come mostly in order, so counting goes on where it stopped: a file
/// may be one long line.
struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
    /// Line, offset and column of the last answer.
    last: Cell<(usize, usize, usize)>,
}

impl<'t> Lines<'t> {
    fn new(text: &'t str) -> Self {
        let after = text
            .bytes()
            .enumerate()
            .filter(|(_, b)| *b == b'\n')
            .map(|(i, _)| i + 1);
        Self {
            text,
            starts: std::iter::once(0).chain(after).collect(),
            last: Cell::new((1, 0, 0)),
        }
    }

    fn position(&self, offset: usize) -> Position {
        let line = self.starts.partition_point(|start| *start <= offset);
        let (from, before) = match self.last.get() {
            (last, from, column) if last == line && from <= offset => (from, column),
            _ => (self.starts[line - 1], 0),
        };
        let column = before
            + self
                .text
                .get(from..offset)
                .map_or(0, |passed| passed.chars().count());
        self.last.set((line, offset, column));
        Position::new(line, column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn escapes_tabs_and_surrogate_pairs_are_read() {
        let (node, warning) =
            parse("{\t\"a\\u00e9\": \"\\ud83d\\ude00\\n\\t\\\"\",\r\n\t\"n\": 9007199254740993}")
                .unwrap();
        assert_eq!(
            node.to_value(),
            json!({"aé": "😀\n\t\"", "n": 9_007_199_254_740_993_u64})
        );
        assert_eq!(warning, None);
    }

    #[test]
    fn keys_and_values_know_their_places() {
        let (node, _) = parse("{\n  \"é\": {\n    \"b\": [1,\n      2]}}").unwrap();
        let NodeKind::Map(entries) = &node.kind else {
            panic!()
        };
        assert_eq!(entries[0].key_at, Position { line: 2, column: 3 });
        assert_eq!(entries[0].value.at, Position { line: 2, column: 8 });
    }

    #[test]
    fn comments_and_trailing_commas_pass_with_a_warning_and_other_faults_do_not() {
        let (node, warning) = parse("{\n // why\n \"a\": [1, 2,],\n}").unwrap();
        assert_eq!(node.to_value(), json!({"a": [1, 2]}));
        assert_eq!(warning.unwrap().position.line, 2);
        for bad in [
            "{\"a\": }",
            "{a: 1}",
            "{'a': 1}",
            "{\"a\": 0x1}",
            "{\"a\": 1 \"b\": 2}",
            "{\"a\": \"\\ud83d\"}",
            "{",
            "{} {}",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(parse("{\n\"a\": nope}").unwrap_err().position.line, 2);
    }

    #[test]
    fn endless_nesting_is_refused() {
        for text in [
            "[".repeat(100_000),
            format!("{}1{}", "[".repeat(200), "]".repeat(200)),
        ] {
            assert!(
                parse(&text)
                    .unwrap_err()
                    .message
                    .to_lowercase()
                    .contains("nest")
            );
        }
    }
}
