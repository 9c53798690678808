//! One log line in Greengrass's two formats, written and read back:
//!
//! ```text
//! 2026-01-02T03:04:05.678Z [INFO] (Copier) com.example.A: stdout. hello. {serviceName=com.example.A, currentState=RUNNING}
//! {"thread":"Copier","level":"INFO","eventType":"stdout","message":"hello","contexts":{…},"loggerName":"com.example.A","timestamp":1767323045678,"cause":null}
//! ```

use crate::{Format, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{borrow::Cow, fmt::Write};

/// Key-values, in their order.
pub type Contexts<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// A line, in parts.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Entry<'a> {
    /// Who wrote it inside the process.
    #[serde(default)]
    pub thread: Cow<'a, str>,
    /// `INFO`, `WARN`, …
    pub level: Cow<'a, str>,
    /// What kind of event, for example `stdout`.
    #[serde(rename = "eventType", default)]
    pub event: Option<Cow<'a, str>>,
    /// The text.
    #[serde(default)]
    pub message: Option<Cow<'a, str>>,
    /// Key-values, in their order.
    #[serde(default, with = "contexts")]
    pub contexts: Contexts<'a>,
    /// The component, or the part of the runtime.
    #[serde(rename = "loggerName", default)]
    pub logger: Cow<'a, str>,
    /// Milliseconds since 1970.
    pub timestamp: i64,
    /// The error behind it.
    #[serde(default)]
    pub cause: Option<Value>,
}

impl Entry<'_> {
    /// Appends the line, with its end of line, to a buffer.
    pub fn render(&self, format: Format, buffer: &mut Vec<u8>) {
        match format {
            Format::Text => buffer.extend_from_slice(self.text().as_bytes()),
            Format::Json => serde_json::to_writer(&mut *buffer, self)
                .expect("an entry holds only strings and numbers"),
        }
        buffer.push(b'\n');
    }

    fn text(&self) -> String {
        let mut line = format!(
            "{} [{}] ({}) {}:",
            Utc::from_epoch_ms(self.timestamp),
            self.level,
            self.thread,
            self.logger
        );
        let mut separator = " ";
        for part in [&self.event, &self.message]
            .into_iter()
            .flatten()
            .filter(|part| !part.is_empty())
        {
            line.push_str(separator);
            // Further lines are indented, so that no text can pass itself off as an entry of its own.
            line.push_str(&part.replace('\n', "\n    "));
            separator = ". ";
        }
        if !self.contexts.is_empty() {
            let mut open = "{";
            line.push_str(separator);
            for (key, value) in &self.contexts {
                let _ = write!(line, "{open}{key}={}", value.replace('\n', "\n    "));
                open = ", ";
            }
            line.push('}');
        }
        line
    }

    /// The value of a keyword as `greengrass-cli logs get --filter` knows it: `level`, `thread`, `loggerName`, `eventType`, `message`, `error`
    /// or the key of a context.
    pub fn keyword(&self, key: &str) -> Option<Cow<'_, str>> {
        let part = |text: &'_ Cow<'_, str>| Cow::Owned(text.clone().into_owned());
        match key.to_ascii_lowercase().as_str() {
            "level" => Some(part(&self.level)),
            "thread" => Some(part(&self.thread)),
            "loggername" => Some(part(&self.logger)),
            "eventtype" => self.event.as_ref().map(part),
            "message" => self.message.as_ref().map(part),
            "error" if self.cause.is_some() => self
                .cause
                .as_ref()
                .map(|cause| Cow::Owned(cause.to_string())),
            _ => self
                .contexts
                .iter()
                .find(|(k, _)| k.eq_ignore_ascii_case(key))
                .map(|(_, v)| part(v)),
        }
    }

    /// Reads a line of either format; `None` for anything else, such as the further lines of a text of several lines.
    pub fn parse(line: &str) -> Option<Entry<'_>> {
        if line.starts_with('{') {
            return serde_json::from_str(line).ok();
        }
        if !line.starts_with(|c: char| c.is_ascii_digit()) {
            return None; // a further line of a text of several lines is indented
        }
        let (time, rest) = line.split_once(" [")?;
        let (level, rest) = rest.split_once("] (")?;
        let (thread, rest) = rest.split_once(") ")?;
        let (logger, mut rest) = rest.split_once(':')?;
        rest = rest.strip_prefix(' ').unwrap_or(rest);
        let mut contexts = Vec::new();
        if let Some((before, list)) = split_contexts(rest) {
            contexts = list;
            rest = before;
        }
        // An event is a single word: stdout, stderr, service-set-state…
        let word = |text: &str| {
            !text.is_empty()
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
        };
        let (event, message) = match rest.split_once(". ") {
            Some((event, message)) if word(event) => (Some(event), message),
            _ => (None, rest),
        };
        Some(Entry {
            thread: thread.into(),
            level: level.into(),
            event: event.map(Into::into),
            message: (!message.is_empty()).then(|| message.into()),
            contexts,
            logger: logger.into(),
            timestamp: Utc::parse(time)?.epoch_ms(),
            cause: None,
        })
    }
}

/// Takes `{key=value, …}` off the end of a text.
fn split_contexts(text: &str) -> Option<(&str, Contexts<'_>)> {
    let inner = text.strip_suffix('}')?;
    let open = if inner.starts_with('{') {
        0
    } else {
        inner.rfind(". {").map(|at| at + 2)?
    };
    let list: Option<Contexts<'_>> = inner[open + 1..]
        .split(", ")
        .map(|pair| pair.split_once('=').map(|(k, v)| (k.into(), v.into())))
        .collect();
    Some((
        inner[..open].strip_suffix(". ").unwrap_or(&inner[..open]),
        list?,
    ))
}

/// Contexts as a JSON object that keeps its order.
mod contexts {
    use serde::{Deserializer, Serializer, de, ser::SerializeMap};
    use std::{borrow::Cow, fmt};

    pub fn serialize<S: Serializer>(
        list: &[(Cow<'_, str>, Cow<'_, str>)],
        s: S,
    ) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(list.len()))?;
        for (key, value) in list {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }

    pub fn deserialize<'de, 'a, D: Deserializer<'de>>(
        d: D,
    ) -> Result<super::Contexts<'a>, D::Error> {
        struct Pairs;
        impl<'de> de::Visitor<'de> for Pairs {
            type Value = Vec<(String, serde_json::Value)>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: de::MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs)
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Vec::new())
            }
        }
        let text = |value| match value {
            serde_json::Value::String(text) => text,
            other => other.to_string(),
        };
        Ok(d.deserialize_any(Pairs)?
            .into_iter()
            .map(|(k, v)| (k.into(), text(v).into()))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Entry<'static> {
        Entry {
            thread: "Copier".into(),
            level: "INFO".into(),
            event: Some("stdout".into()),
            message: Some("hello".into()),
            contexts: vec![
                (
                    "scriptName".into(),
                    "services.com.example.A.lifecycle.run.Script".into(),
                ),
                ("serviceName".into(), "com.example.A".into()),
                ("currentState".into(), "RUNNING".into()),
            ],
            logger: "com.example.A".into(),
            timestamp: 1_767_323_045_678,
            cause: None,
        }
    }

    fn line(entry: &Entry<'_>, format: Format) -> String {
        let mut buffer = Vec::new();
        entry.render(format, &mut buffer);
        String::from_utf8(buffer).unwrap()
    }

    #[test]
    fn both_formats_are_those_of_greengrass() {
        assert_eq!(
            line(&sample(), Format::Text),
            "2026-01-02T03:04:05.678Z [INFO] (Copier) com.example.A: stdout. hello. \
             {scriptName=services.com.example.A.lifecycle.run.Script, serviceName=com.example.A, currentState=RUNNING}\n"
        );
        assert_eq!(
            line(&sample(), Format::Json),
            "{\"thread\":\"Copier\",\"level\":\"INFO\",\"eventType\":\"stdout\",\"message\":\"hello\",\
             \"contexts\":{\"scriptName\":\"services.com.example.A.lifecycle.run.Script\",\"serviceName\":\"com.example.A\",\"currentState\":\"RUNNING\"},\
             \"loggerName\":\"com.example.A\",\"timestamp\":1767323045678,\"cause\":null}\n"
        );
    }

    #[test]
    fn a_text_of_several_lines_cannot_forge_an_entry() {
        let forged = Entry {
            message: Some("x\n2026-01-02T03:04:05.678Z [ERROR] (a) b: c".into()),
            ..sample()
        };
        let text = line(&forged, Format::Text);
        let entries = text.lines().filter(|l| Entry::parse(l).is_some()).count();
        assert_eq!((entries, text.lines().count()), (1, 2), "{text}");
    }

    #[test]
    fn keywords_find_members_and_contexts() {
        let entry = sample();
        assert_eq!(entry.keyword("level").unwrap(), "INFO");
        assert_eq!(entry.keyword("serviceName").unwrap(), "com.example.A");
        assert_eq!(entry.keyword("eventType").unwrap(), "stdout");
        assert_eq!(entry.keyword("nothing"), None);
    }

    #[test]
    fn json_lines_of_the_classic_nucleus_are_read() {
        let entry = Entry::parse(r#"{"thread":"main","level":"WARN","eventType":null,"message":"m \"q\"","contexts":{"n":3},"loggerName":"l","timestamp":5,"cause":{"message":"why"}}"#).unwrap();
        assert_eq!(entry.message.as_deref(), Some("m \"q\""));
        assert_eq!(entry.contexts, vec![("n".into(), "3".into())]);
        assert!(entry.keyword("error").unwrap().contains("why"));
    }

    proptest! {
        #[test]
        fn a_line_read_back_is_the_line_written(message in "[ -~]{1,60}", json: bool) {
            let entry = Entry { message: Some(message.into()), ..sample() };
            let text = line(&entry, if json { Format::Json } else { Format::Text });
            prop_assert_eq!(Entry::parse(text.trim_end_matches('\n')), Some(entry));
        }

        #[test]
        fn reading_any_text_never_panics(text in "\\PC*|[0-9TZ:. \\[\\](){}=,-]{0,80}") {
            let _ = Entry::parse(&text);
        }
    }
}
