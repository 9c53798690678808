//! Conditions: `{"StringEquals": {"iot:ClientId": ["a", "b"]}}`. Values of one key are alternatives; keys and operators
//! must all hold.

use super::{Facts, pattern::Pattern};
use serde_json::{Map, Value};
use std::net::IpAddr;

#[derive(Clone, Debug)]
pub(super) struct Condition {
    test: Test,
    negated: bool,
    if_exists: bool,
    set: Set,
    key: String,
}

/// How a key with several values is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    Single,
    ForAllValues,
    ForAnyValue,
}

#[derive(Clone, Debug)]
enum Test {
    Equals(Vec<Pattern>),
    EqualsFolded(Vec<Pattern>),
    Like(Vec<Pattern>),
    Bool(Vec<bool>),
    Ip(Vec<(IpAddr, u8)>),
    /// Whether the key must be absent.
    Null(bool),
    Numeric(Ordering, Vec<f64>),
}

#[derive(Clone, Copy, Debug)]
enum Ordering {
    Equal,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl Condition {
    pub fn read_all(conditions: &Map<String, Value>) -> Result<Vec<Self>, String> {
        let mut all = Vec::new();
        for (operator, keys) in conditions {
            let Value::Object(keys) = keys else {
                return Err(format!("'{operator}' in Condition must be an object"));
            };
            for (key, values) in keys {
                let values = texts(values)
                    .filter(|values| !values.is_empty())
                    .ok_or_else(|| {
                        format!("'{key}' in Condition must have a value or a list of values")
                    })?;
                all.push(Self::read(operator, key, &values)?);
            }
        }
        Ok(all)
    }

    fn read(operator: &str, key: &str, values: &[String]) -> Result<Self, String> {
        let (set, name) = match operator.split_once(':') {
            Some(("ForAllValues", name)) => (Set::ForAllValues, name),
            Some(("ForAnyValue", name)) => (Set::ForAnyValue, name),
            Some(_) => return Err(format!("Condition operator '{operator}' is not known")),
            None => (Set::Single, operator),
        };
        let (name, if_exists) = match name.strip_suffix("IfExists") {
            Some(name) => (name, true),
            None => (name, false),
        };
        let patterns = || {
            values
                .iter()
                .map(|value| Pattern::parse(value))
                .collect::<Result<Vec<_>, _>>()
        };
        let numbers = || {
            let number = |value: &String| {
                value
                    .parse::<f64>()
                    .map_err(|_| format!("'{value}' of '{key}' in Condition is not a number"))
            };
            values
                .iter()
                .map(number)
                .collect::<Result<Vec<_>, String>>()
        };
        let (test, negated) = match name {
            "StringEquals" | "ArnEquals" => (Test::Equals(patterns()?), false),
            "StringNotEquals" | "ArnNotEquals" => (Test::Equals(patterns()?), true),
            "StringEqualsIgnoreCase" => (Test::EqualsFolded(patterns()?), false),
            "StringNotEqualsIgnoreCase" => (Test::EqualsFolded(patterns()?), true),
            "StringLike" | "ArnLike" => (Test::Like(patterns()?), false),
            "StringNotLike" | "ArnNotLike" => (Test::Like(patterns()?), true),
            "Bool" => (Test::Bool(booleans(key, values)?), false),
            "Null" => (Test::Null(booleans(key, values)?[0]), false),
            "IpAddress" => (Test::Ip(networks(key, values)?), false),
            "NotIpAddress" => (Test::Ip(networks(key, values)?), true),
            "NumericEquals" => (Test::Numeric(Ordering::Equal, numbers()?), false),
            "NumericNotEquals" => (Test::Numeric(Ordering::Equal, numbers()?), true),
            "NumericLessThan" => (Test::Numeric(Ordering::Less, numbers()?), false),
            "NumericLessThanEquals" => (Test::Numeric(Ordering::LessEqual, numbers()?), false),
            "NumericGreaterThan" => (Test::Numeric(Ordering::Greater, numbers()?), false),
            "NumericGreaterThanEquals" => {
                (Test::Numeric(Ordering::GreaterEqual, numbers()?), false)
            }
            _ => return Err(format!("Condition operator '{operator}' is not known")),
        };
        Ok(Self {
            test,
            negated,
            if_exists,
            set,
            key: key.to_owned(),
        })
    }

    pub fn holds(&self, facts: &Facts) -> bool {
        let values = facts.values(&self.key);
        if let Test::Null(absent) = self.test {
            return values.is_none_or(<[_]>::is_empty) == absent;
        }
        let one = |value: &String| self.test.fits(value, facts) != self.negated;
        match (self.set, values) {
            (Set::ForAllValues, values) => values.unwrap_or_default().iter().all(one),
            (_, None) => self.if_exists || self.negated,
            (Set::ForAnyValue, Some(values)) => values.iter().any(one),
            (Set::Single, Some([])) => self.if_exists || self.negated,
            (Set::Single, Some(values)) => values.iter().all(one),
        }
    }
}

impl Test {
    /// Whether a value is one of the alternatives.
    fn fits(&self, value: &str, facts: &Facts) -> bool {
        match self {
            Self::Equals(patterns) => patterns.iter().any(|p| p.equals(value, facts, false)),
            Self::EqualsFolded(patterns) => patterns.iter().any(|p| p.equals(value, facts, true)),
            Self::Like(patterns) => patterns.iter().any(|p| p.matches(value, facts)),
            Self::Bool(wanted) => value
                .parse()
                .is_ok_and(|value: bool| wanted.contains(&value)),
            Self::Ip(networks) => value
                .parse()
                .is_ok_and(|address| networks.iter().any(|network| within(address, *network))),
            Self::Numeric(ordering, numbers) => value.parse().is_ok_and(|value: f64| {
                numbers.iter().any(|number| match ordering {
                    Ordering::Equal => value == *number,
                    Ordering::Less => value < *number,
                    Ordering::LessEqual => value <= *number,
                    Ordering::Greater => value > *number,
                    Ordering::GreaterEqual => value >= *number,
                })
            }),
            Self::Null(_) => false,
        }
    }
}

fn booleans(key: &str, values: &[String]) -> Result<Vec<bool>, String> {
    let read = |value: &String| match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(format!(
            "'{value}' of '{key}' in Condition is neither true nor false"
        )),
    };
    values.iter().map(read).collect()
}

fn networks(key: &str, values: &[String]) -> Result<Vec<(IpAddr, u8)>, String> {
    let read = |value: &String| {
        let (address, bits) = match value.split_once('/') {
            Some((address, bits)) => (address, bits.parse().ok()),
            None => (value.as_str(), Some(u8::MAX)),
        };
        let address: Option<IpAddr> = address.parse().ok();
        match (address, bits) {
            (Some(address), Some(bits)) => {
                let width = if address.is_ipv4() { 32 } else { 128 };
                if bits <= width || bits == u8::MAX {
                    return Ok((address, bits.min(width)));
                }
                Err(format!(
                    "'{value}' of '{key}' in Condition has more than {width} bits"
                ))
            }
            _ => Err(format!(
                "'{value}' of '{key}' in Condition is no address or network"
            )),
        }
    };
    values.iter().map(read).collect()
}

fn within(address: IpAddr, (network, bits): (IpAddr, u8)) -> bool {
    let bits = u32::from(bits);
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            u32::from(address) & mask == u32::from(network) & mask
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            u128::from(address) & mask == u128::from(network) & mask
        }
        _ => false,
    }
}

/// A text, boolean or number, or a list of them.
pub(super) fn texts(value: &Value) -> Option<Vec<String>> {
    let one = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    };
    match value {
        Value::Array(values) => values.iter().map(one).collect(),
        value => Some(vec![one(value)?]),
    }
}
