//! A recipe as YAML. Keys and texts are written as JSON writes them wherever a plain word could be mistaken, since YAML
//! reads JSON's quotes; only maps and lists take YAML's own form.

use serde_json::Value;

/// A JSON value as a YAML document.
pub fn write(value: &Value) -> String {
    let mut out = String::new();
    block(&mut out, value, 0);
    if !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n("  ", depth));
}

/// A value that starts at the beginning of a line, or right after a dash.
fn block(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (index, (key, member)) in members.iter().enumerate() {
                if index > 0 {
                    indent(out, depth);
                }
                scalar(out, &Value::String(key.clone()));
                out.push(':');
                nested(out, member, depth + 1);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    indent(out, depth);
                }
                out.push_str("- ");
                block(out, item, depth + 1);
                if !out.ends_with('\n') {
                    out.push('\n');
                }
            }
        }
        other => scalar(out, other),
    }
}

/// A value after a key.
fn nested(out: &mut String, value: &Value, depth: usize) {
    let container = match value {
        Value::Object(members) => !members.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if container {
        out.push('\n');
        indent(out, depth);
        block(out, value, depth);
    } else {
        out.push(' ');
        scalar(out, value);
        out.push('\n');
    }
}

fn scalar(out: &mut String, value: &Value) {
    match value {
        Value::String(text) if plain(text) => out.push_str(text),
        other => out.push_str(&other.to_string()),
    }
}

/// A word that YAML can only read as text.
fn plain(text: &str) -> bool {
    const WORDS: &[&str] = &["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let mut characters = text.chars();
    characters.next().is_some_and(|c| c.is_ascii_alphabetic())
        && characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::recipe::document;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn maps_and_lists_are_blocks_and_doubtful_words_are_quoted() {
        let value = json!({"A": {"b": ["x", {"c": "yes", "d": 1}, []]}, "E": {}, "F": "1.0.0"});
        let text =
            "A:\n  b:\n    - x\n    - c: \"yes\"\n      d: 1\n    - []\nE: {}\nF: \"1.0.0\"\n";
        assert_eq!(write(&value), text);
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[ -~\n]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[ -~]{1,8}", inner, 0..4)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(value in values()) {
            let text = write(&json!({ "value": value }));
            prop_assert_eq!(document(&text, "x.yaml").unwrap(), json!({ "value": value }));
        }
    }
}
