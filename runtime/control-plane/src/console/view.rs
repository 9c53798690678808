//! How values are shown: times, states, errors.

use crate::http::{ApiError, Timestamp};
use http::StatusCode;
use serde_json::Value;

/// What a page says of an error, and with which status.
pub fn explain(error: &ApiError) -> (StatusCode, String) {
    match error {
        ApiError::Refused(refusal) => (refusal.status, refusal.message.clone()),
        ApiError::Invalid(text) => (StatusCode::UNPROCESSABLE_ENTITY, text.clone()),
        ApiError::BadToken => (
            StatusCode::BAD_REQUEST,
            "This page of the list is no longer there. Go back to the first.".into(),
        ),
        ApiError::Denied(text) => (StatusCode::FORBIDDEN, text.clone()),
        ApiError::Internal(cause) => {
            log::error!("a page of the console failed: {cause}");
            (
                StatusCode::INTERNAL_SERVER_ERROR,
                "Something went wrong here; the log of greengrass-cloud says what.".into(),
            )
        }
    }
}

/// A moment: for people, and exactly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct When {
    /// `3 minutes ago`.
    pub ago: String,
    /// `2026-01-02T03:04:05Z`.
    pub exact: String,
}

impl When {
    /// Of a member of an answer: seconds since 1970.
    pub fn of(value: &Value) -> Option<Self> {
        let seconds = value.as_f64()?;
        let moment = Timestamp::from_millis((seconds * 1000.0) as i64);
        Some(Self::at(moment, Timestamp::now()))
    }

    /// A moment, seen from now.
    pub fn at(moment: Timestamp, now: Timestamp) -> Self {
        let seconds = (now.millis() - moment.millis()) / 1000;
        let ago = match seconds {
            ..-60 => "in the future".to_owned(),
            -60..10 => "just now".to_owned(),
            10..120 => format!("{seconds} seconds ago"),
            120..7200 => format!("{} minutes ago", seconds / 60),
            7200..172_800 => format!("{} hours ago", seconds / 3600),
            _ => format!("{} days ago", seconds / 86_400),
        };
        Self {
            ago,
            exact: moment.iso(),
        }
    }
}

/// A state, as a coloured mark with its word: never by colour alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The class that colours it: `good`, `bad`, `busy`, `quiet`.
    pub class: &'static str,
    /// The sign before the word.
    pub sign: &'static str,
    /// The word.
    pub word: String,
}

impl Mark {
    /// Of a state of a device, component, deployment or job, as the API names it.
    pub fn of(state: &str) -> Self {
        let (class, sign) = match state {
            "HEALTHY" | "RUNNING" | "FINISHED" | "SUCCEEDED" | "COMPLETED" | "CONNECTED"
            | "DEPLOYABLE" | "Connected" => ("good", "✓"),
            "UNHEALTHY" | "BROKEN" | "ERRORED" | "FAILED" | "TIMED_OUT" | "REJECTED" => {
                ("bad", "✕")
            }
            "ACTIVE" | "IN_PROGRESS" | "QUEUED" | "STARTING" | "STOPPING" | "INSTALLED" | "NEW" => {
                ("busy", "◔")
            }
            _ => ("quiet", "–"),
        };
        let mut word = state.replace('_', " ").to_lowercase();
        if let Some(first) = word.get(..1).map(str::to_uppercase) {
            word.replace_range(..1, &first);
        }
        if word.is_empty() {
            "Not known".clone_into(&mut word);
        }
        Self { class, sign, word }
    }
}

/// A text member, empty when absent.
pub fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

/// What an ARN of a thing or group names: the kind and the name.
pub fn target(arn: &str) -> (&'static str, String) {
    let resource = arn.splitn(6, ':').nth(5).unwrap_or(arn);
    match resource.split_once('/') {
        Some(("thinggroup", name)) => ("Group", name.to_owned()),
        Some(("thing", name)) => ("Device", name.to_owned()),
        _ => ("Target", resource.to_owned()),
    }
}

/// `aarch64` and `linux` as one.
pub fn joined(parts: &[&str]) -> String {
    let there: Vec<&str> = parts.iter().copied().filter(|p| !p.is_empty()).collect();
    there.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_as_people_say_them() {
        let now = Timestamp::from_millis(1_000_000_000_000);
        let ago =
            |seconds: i64| When::at(Timestamp::from_millis(now.millis() - seconds * 1000), now).ago;
        assert_eq!(ago(3), "just now");
        assert_eq!(ago(-3), "just now");
        assert_eq!(ago(90), "90 seconds ago");
        assert_eq!(ago(600), "10 minutes ago");
        assert_eq!(ago(3 * 3600), "3 hours ago");
        assert_eq!(ago(3 * 86_400), "3 days ago");
        assert_eq!(ago(-3600), "in the future");
        assert_eq!(
            When::of(&serde_json::json!(1.5)).unwrap().exact,
            "1970-01-01T00:00:01Z"
        );
        assert_eq!(When::of(&Value::Null), None);
    }

    #[test]
    fn a_state_has_a_word_and_a_sign_besides_its_colour() {
        assert_eq!(Mark::of("TIMED_OUT").word, "Timed out");
        assert_eq!(Mark::of("").word, "Not known");
        assert_ne!(Mark::of("HEALTHY").sign, Mark::of("UNHEALTHY").sign);
    }

    #[test]
    fn targets_are_named_without_their_arn() {
        assert_eq!(
            target("arn:aws:iot:us-east-1:1:thinggroup/a"),
            ("Group", "a".into())
        );
        assert_eq!(
            target("arn:aws:iot:us-east-1:1:thing/a:b"),
            ("Device", "a:b".into())
        );
    }
}
