//! From a request to an operation's typed input. Labels, query parameters, `x-amzn-` headers and the members of the body
//! are one set of members under their wire names; labels win over the query, and both over the body. What came as text
//! becomes a number or a boolean where the type asks for one.

use super::{ApiError, route::Labels};
use serde::{
    de::{
        DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess,
        SeqAccess, Visitor, value::StrDeserializer,
    },
    forward_to_deserialize_any,
};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The members of one input, by wire name.
#[derive(Debug, Default)]
pub struct Members(BTreeMap<String, Member>);

#[derive(Debug)]
enum Member {
    /// From the body.
    Json(Value),
    /// From path, query, header or form: text, lists and maps of text.
    Text(Value),
}

impl Members {
    /// The members of a JSON body; an empty body has none.
    pub fn json(body: &[u8]) -> Result<Self, ApiError> {
        let mut found = Self::default();
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(found);
        }
        let members: Map<String, Value> = serde_json::from_slice(body)
            .map_err(|e| ApiError::invalid(format!("the body is not a JSON object: {e}")))?;
        for (name, value) in members {
            // A member that is null is one that is absent.
            if !value.is_null() {
                found.0.insert(name, Member::Json(value));
            }
        }
        Ok(found)
    }

    /// The parameters of a query string; one that comes more than once is a list.
    pub fn query(&mut self, query: &str) {
        let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let values = found.entry(name.into_owned()).or_default();
            values.push(Value::String(value.into_owned()));
        }
        for (name, mut values) in found {
            let value = match (values.len(), values.pop()) {
                (1, Some(one)) => one,
                (_, last) => {
                    values.extend(last);
                    Value::Array(values)
                }
            };
            self.0.insert(name, Member::Text(value));
        }
    }

    /// Headers that are members: those that begin with `x-amzn-`.
    pub fn headers(&mut self, headers: &http::HeaderMap) {
        for (name, value) in headers {
            if let (true, Ok(value)) = (name.as_str().starts_with("x-amzn-"), value.to_str()) {
                let value = Value::String(value.to_owned());
                self.0.insert(name.as_str().to_owned(), Member::Text(value));
            }
        }
    }

    /// The path's labels.
    pub fn labels(&mut self, labels: Labels) {
        for (name, value) in labels {
            self.0.insert(name, Member::Text(Value::String(value)));
        }
    }

    /// A form body of the query protocol: `Tags.member.1.Key=a` is the list `Tags` of maps with `Key`.
    pub fn form(&mut self, body: &[u8]) {
        let mut root = Map::new();
        for (name, value) in form_urlencoded::parse(body) {
            if name != "Action" && name != "Version" {
                let parts: Vec<&str> = name.split('.').filter(|p| *p != "member").collect();
                place(&mut root, &parts, value.into_owned());
            }
        }
        for (name, value) in root {
            self.0.insert(name, Member::Text(lists(value)));
        }
    }

    /// The typed input. The error names the member.
    pub fn read<T: DeserializeOwned>(self) -> Result<T, ApiError> {
        serde_path_to_error::deserialize(self).map_err(|error| {
            let path = error.path().to_string();
            let text = error.into_inner().to_string();
            ApiError::Invalid(match text.strip_prefix("missing field `").and_then(|t| t.strip_suffix('`')) {
                Some(member) => {
                    let member = if path == "." { member.to_owned() } else { format!("{path}.{member}") };
                    format!("1 validation error detected: Value null at '{member}' failed to satisfy constraint: Member must not be null")
                }
                None if path == "." => format!("1 validation error detected: {text}"),
                None => format!("1 validation error detected: Value at '{path}' failed to satisfy constraint: {text}"),
            })
        })
    }
}

/// The depth of a form's names, so that a stack is never at the caller's mercy.
const DEPTH: usize = 8;

fn place(at: &mut Map<String, Value>, parts: &[&str], value: String) {
    match parts {
        [] => {}
        [name] => {
            at.insert((*name).to_owned(), Value::String(value));
        }
        [name, rest @ ..] if rest.len() < DEPTH => {
            let next = at
                .entry((*name).to_owned())
                .or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(next) = next {
                place(next, rest, value);
            }
        }
        _ => {}
    }
}

/// Maps whose keys are numbers are lists, in the order of the numbers.
fn lists(value: Value) -> Value {
    let Value::Object(map) = value else {
        return value;
    };
    let numbers: Option<Vec<u32>> = map.keys().map(|k| k.parse().ok()).collect();
    match numbers {
        Some(numbers) if !numbers.is_empty() => {
            let mut items: Vec<(u32, Value)> = numbers.into_iter().zip(map.into_values()).collect();
            items.sort_by_key(|(number, _)| *number);
            Value::Array(items.into_iter().map(|(_, item)| lists(item)).collect())
        }
        _ => Value::Object(map.into_iter().map(|(k, v)| (k, lists(v))).collect()),
    }
}

type Failure = serde_json::Error;

impl<'de> Deserializer<'de> for Members {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_map(Walk::new(self.0.into_iter()))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// Goes through names and members.
struct Walk<I> {
    rest: I,
    value: Option<Member>,
}

impl<I: Iterator<Item = (String, Member)>> Walk<I> {
    fn new(rest: I) -> Self {
        Self { rest, value: None }
    }
}

impl<'de, I: Iterator<Item = (String, Member)>> MapAccess<'de> for Walk<I> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Failure> {
        let Some((name, member)) = self.rest.next() else {
            return Ok(None);
        };
        self.value = Some(member);
        let name: StrDeserializer<'_, Failure> = name.as_str().into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Failure> {
        match self.value.take() {
            Some(Member::Json(value)) => seed.deserialize(value),
            Some(Member::Text(value)) => seed.deserialize(Text(value)),
            None => Err(Failure::custom("a value before its key")),
        }
    }
}

impl<'de, I: Iterator<Item = Value>> SeqAccess<'de> for Walk<I> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Failure> {
        self.rest
            .next()
            .map(|item| seed.deserialize(Text(item)))
            .transpose()
    }
}

/// Text that becomes what the type asks for.
struct Text(Value);

impl Text {
    fn parse<T: std::str::FromStr>(&self, what: &str) -> Result<T, Failure> {
        let text = self
            .0
            .as_str()
            .ok_or_else(|| Failure::custom(format!("expected {what}")))?;
        text.parse()
            .map_err(|_| Failure::custom(format!("expected {what}, not '{text}'")))
    }
}

macro_rules! number {
    ($($method:ident $visit:ident $type:ty, $what:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
            visitor.$visit(self.parse::<$type>($what)?)
        }
    )*};
}

impl<'de> Deserializer<'de> for Text {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.0 {
            Value::Array(items) => visitor.visit_seq(Walk {
                rest: items.into_iter(),
                value: None,
            }),
            Value::Object(map) => {
                let members = map
                    .into_iter()
                    .map(|(name, value)| (name, Member::Text(value)));
                visitor.visit_map(Walk::new(members))
            }
            other => other.deserialize_any(visitor),
        }
    }

    number! {
        deserialize_bool visit_bool bool, "true or false";
        deserialize_i8 visit_i8 i8, "a whole number";
        deserialize_i16 visit_i16 i16, "a whole number";
        deserialize_i32 visit_i32 i32, "a whole number";
        deserialize_i64 visit_i64 i64, "a whole number";
        deserialize_u8 visit_u8 u8, "a whole number";
        deserialize_u16 visit_u16 u16, "a whole number";
        deserialize_u32 visit_u32 u32, "a whole number";
        deserialize_u64 visit_u64 u64, "a whole number";
        deserialize_f32 visit_f32 f32, "a number";
        deserialize_f64 visit_f64 f64, "a number";
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        // A parameter that came once is a list of one; an empty one, as forms have it, a list of none.
        let items = match self.0 {
            Value::Array(items) => items,
            Value::String(text) if text.is_empty() => Vec::new(),
            one => vec![one],
        };
        visitor.visit_seq(Walk {
            rest: items.into_iter(),
            value: None,
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.0.deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Deserialize, Debug, PartialEq)]
    #[serde(rename_all = "camelCase")]
    struct Input {
        thing_name: String,
        max_results: Option<u32>,
        recursive: Option<bool>,
        #[serde(default)]
        names: Vec<String>,
        nested: Option<Nested>,
        #[serde(rename = "x-amzn-principal")]
        principal: Option<String>,
    }

    #[derive(Deserialize, Debug, PartialEq)]
    struct Nested {
        count: u32,
    }

    fn members(query: &str, labels: &[(&str, &str)], body: &str) -> Members {
        let mut members = Members::json(body.as_bytes()).unwrap();
        members.query(query);
        members.labels(
            labels
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()))
                .collect(),
        );
        members
    }

    fn text(result: Result<Input, ApiError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn members_come_from_everywhere_and_take_the_type_asked_for() {
        let mut members = members(
            "maxResults=10&recursive=true&names=a&names=b%2Fc",
            &[("thingName", "t")],
            r#"{"nested": {"count": 3}}"#,
        );
        let mut headers = http::HeaderMap::new();
        headers.insert("x-amzn-principal", "arn:x".parse().unwrap());
        members.headers(&headers);
        assert_eq!(
            members.read::<Input>().unwrap(),
            Input {
                thing_name: "t".into(),
                max_results: Some(10),
                recursive: Some(true),
                names: vec!["a".into(), "b/c".into()],
                nested: Some(Nested { count: 3 }),
                principal: Some("arn:x".into()),
            }
        );
        assert_eq!(
            self::members("names=one&thingName=x", &[], "")
                .read::<Input>()
                .unwrap()
                .names,
            ["one"]
        );
    }

    #[test]
    fn a_label_cannot_be_overridden_by_the_body_or_the_query() {
        let read = members(
            "thingName=query",
            &[("thingName", "label")],
            r#"{"thingName": "body"}"#,
        )
        .read::<Input>();
        assert_eq!(read.unwrap().thing_name, "label");
    }

    #[test]
    fn what_does_not_fit_is_named() {
        assert!(text(members("", &[], "").read()).contains("at 'thingName'"));
        assert!(
            text(members("maxResults=x", &[("thingName", "t")], "").read())
                .contains("'maxResults'")
        );
        let nested =
            text(members("", &[("thingName", "t")], r#"{"nested": {"count": "x"}}"#).read());
        assert!(nested.contains("'nested.count'"), "{nested}");
        let missing = text(members("", &[("thingName", "t")], r#"{"nested": {}}"#).read());
        assert!(missing.contains("'nested.count'"), "{missing}");
    }

    #[test]
    fn a_form_becomes_lists_and_maps() {
        #[derive(Deserialize, Debug, PartialEq)]
        #[serde(rename_all = "PascalCase")]
        struct Form {
            role_name: String,
            tags: Vec<Tag>,
            max_session_duration: u32,
        }
        #[derive(Deserialize, Debug, PartialEq)]
        #[serde(rename_all = "PascalCase")]
        struct Tag {
            key: String,
        }
        let mut members = Members::default();
        members.form(b"Action=CreateRole&Version=2010-05-08&RoleName=r&MaxSessionDuration=3600&Tags.member.10.Key=z&Tags.member.2.Key=a%20b");
        assert_eq!(
            members.read::<Form>().unwrap(),
            Form {
                role_name: "r".into(),
                tags: vec![Tag { key: "a b".into() }, Tag { key: "z".into() }],
                max_session_duration: 3600
            }
        );
    }
}
