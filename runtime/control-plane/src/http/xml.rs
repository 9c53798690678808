//! Outputs of the query services as XML: a member is an element, a list's items are `<member>`, null is left out.

use quick_xml::escape::escape;
use serde_json::Value;

/// Writes `<name>value</name>`.
pub fn element(out: &mut String, name: &str, value: &Value) {
    if value.is_null() {
        return;
    }
    out.push('<');
    out.push_str(name);
    out.push('>');
    content(out, value);
    out.push_str("</");
    out.push_str(name);
    out.push('>');
}

/// Writes what stands inside an element.
pub fn content(out: &mut String, value: &Value) {
    match value {
        Value::Null => {}
        Value::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::String(string) => text(out, string),
        Value::Array(items) => items.iter().for_each(|item| element(out, "member", item)),
        Value::Object(members) => members
            .iter()
            .for_each(|(name, member)| element(out, name, member)),
    }
}

/// Text without the characters that XML 1.0 cannot carry.
pub fn text(out: &mut String, string: &str) {
    let allowed = |c: &char| !c.is_control() || matches!(c, '\t' | '\n' | '\r');
    let clean: String = string.chars().filter(allowed).collect();
    out.push_str(&escape(clean.as_str()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lists_have_members_and_text_is_escaped() {
        let mut out = String::new();
        element(
            &mut out,
            "R",
            &json!({"A": ["<x>", 2], "B": true, "C": null, "D": {"E": "a\u{1}&b"}}),
        );
        assert_eq!(
            out,
            "<R><A><member>&lt;x&gt;</member><member>2</member></A><B>true</B><D><E>a&amp;b</E></D></R>"
        );
    }
}
