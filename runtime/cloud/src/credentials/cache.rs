//! How long an answer of the credentials provider is remembered: credentials until shortly before they expire, errors for a
//! while, so that a component that asks in a loop does not become the provider's problem.

use super::fetch::{Fetched, Granted};
use crate::Settings;
use std::time::Duration;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// Credentials are fetched anew this long before they expire.
const EARLY: Duration = Duration::from_secs(5 * 60);
/// As Greengrass has them: the provider says no, the provider fails, no answer at all.
const AFTER_4XX: Duration = Duration::from_secs(120);
const AFTER_5XX: Duration = Duration::from_secs(60);
const AFTER_NONE: Duration = Duration::from_secs(300);
/// Without a connection the next try may soon succeed: it is not the provider that is spared then.
const AFTER_NO_CONNECTION: Duration = Duration::from_secs(10);

/// What a component is answered. Secret.
#[derive(Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The JSON document.
    pub body: Zeroizing<String>,
}

impl Answer {
    /// An error with a text.
    pub fn error(status: u16, message: &str) -> Self {
        let body = serde_json::json!({ "message": message }).to_string();
        Self {
            status,
            body: Zeroizing::new(body),
        }
    }
}

/// The last answer.
#[derive(Default)]
pub struct Cache(Option<Entry>);

struct Entry {
    /// Whom it was asked for: another provider is asked anew.
    settings: Settings,
    answer: Answer,
    fresh_until: Instant,
    /// Of credentials.
    valid_until: Option<Instant>,
}

impl Cache {
    /// The answer that is still good.
    pub fn fresh(&self, settings: &Settings) -> Option<Answer> {
        let entry = self.of(settings)?;
        (Instant::now() < entry.fresh_until).then(|| entry.answer.clone())
    }

    /// Remembers what came, and says what to answer. Credentials that are still valid are better than an error.
    pub fn put(&mut self, settings: &Settings, fetched: Fetched) -> Answer {
        let now = Instant::now();
        let (answer, keep) = match fetched {
            Fetched::Granted(Granted { document, lifetime }) => {
                let answer = Answer {
                    status: 200,
                    body: document,
                };
                self.0 = Some(Entry {
                    settings: settings.clone(),
                    answer: answer.clone(),
                    fresh_until: now + lifetime.saturating_sub(EARLY),
                    valid_until: Some(now + lifetime),
                });
                return answer;
            }
            Fetched::Refused { status, message } => {
                let keep = match status {
                    400..=499 => AFTER_4XX,
                    500..=599 => AFTER_5XX,
                    _ => AFTER_NONE,
                };
                (Answer::error(status, &message), keep)
            }
            Fetched::NotReached { message } => (Answer::error(503, &message), AFTER_NO_CONNECTION),
        };
        log::warn!(status = answer.status; "no AWS credentials for components: {}", *answer.body);
        let same = self.0.as_mut().filter(|entry| entry.settings == *settings);
        if let Some(entry) = same
            && entry.valid_until.is_some_and(|until| now < until)
        {
            entry.fresh_until = now + keep.min(AFTER_5XX);
            return entry.answer.clone();
        }
        self.0 = Some(Entry {
            settings: settings.clone(),
            answer: answer.clone(),
            fresh_until: now + keep,
            valid_until: None,
        });
        answer
    }

    fn of(&self, settings: &Settings) -> Option<&Entry> {
        let entry = self
            .0
            .as_ref()
            .filter(|entry| entry.settings == *settings)?;
        let expired = entry
            .valid_until
            .is_some_and(|until| until <= Instant::now());
        (!expired).then_some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Standing;
    use configuration::{Operation, Tree};
    use serde_json::json;
    use tokio::time::advance;

    fn settings(alias: &str) -> Settings {
        let operation = Operation::Merge {
            path: Vec::new(),
            value: json!({
                "system": {"thingName": "t", "rootCaPath": "a", "certificateFilePath": "b", "privateKeyPath": "c"},
                "services": {"aws.greengrass.Nucleus": {"configuration": {
                    "iotDataEndpoint": "d", "iotCredEndpoint": "c", "iotRoleAlias": alias}}},
            }),
            at: 1,
        };
        let (tree, _) = Tree::empty().apply(&operation).unwrap();
        match Standing::read(&tree) {
            Standing::Ready(settings) => *settings,
            other => panic!("{other:?}"),
        }
    }

    fn granted(text: &str, minutes: u64) -> Fetched {
        Fetched::Granted(Granted {
            document: Zeroizing::new(text.into()),
            lifetime: Duration::from_secs(minutes * 60),
        })
    }

    fn refused(status: u16) -> Fetched {
        let message = "no".into();
        Fetched::Refused { status, message }
    }

    fn body(answer: Option<Answer>) -> Option<String> {
        answer.map(|answer| answer.body.to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_are_remembered_until_five_minutes_before_they_expire() {
        let (mut cache, settings) = (Cache::default(), settings("role"));
        assert!(cache.fresh(&settings).is_none());
        cache.put(&settings, granted("first", 60));
        advance(Duration::from_secs(54 * 60)).await;
        assert_eq!(body(cache.fresh(&settings)).as_deref(), Some("first"));
        advance(Duration::from_secs(61)).await;
        assert!(cache.fresh(&settings).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn credentials_that_are_still_valid_outlast_a_provider_that_fails() {
        let (mut cache, settings) = (Cache::default(), settings("role"));
        cache.put(&settings, granted("first", 60));
        advance(Duration::from_secs(56 * 60)).await;
        let answer = cache.put(&settings, refused(500));
        assert_eq!((answer.status, &**answer.body), (200, "first"));
        advance(Duration::from_secs(5 * 60)).await;
        assert!(cache.fresh(&settings).is_none());
        assert_eq!(cache.put(&settings, refused(500)).status, 500);
    }

    #[tokio::test(start_paused = true)]
    async fn errors_are_remembered_for_as_long_as_greengrass_does() {
        for (fetched, seconds) in [(403, 120), (503, 60), (302, 300)] {
            let (mut cache, settings) = (Cache::default(), settings("role"));
            assert_eq!(cache.put(&settings, refused(fetched)).status, fetched);
            advance(Duration::from_secs(seconds - 1)).await;
            assert!(cache.fresh(&settings).is_some(), "{fetched}");
            advance(Duration::from_secs(2)).await;
            assert!(cache.fresh(&settings).is_none(), "{fetched}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn another_role_is_asked_for_anew() {
        let mut cache = Cache::default();
        cache.put(&settings("role"), granted("first", 60));
        assert!(cache.fresh(&settings("other")).is_none());
    }
}
