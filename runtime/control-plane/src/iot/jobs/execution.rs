//! One device's run of one job, as a pure state machine: what a device or an operator may do to it, and what time does.
//!
//! ```text
//! QUEUED -> IN_PROGRESS -> SUCCEEDED | FAILED | REJECTED | TIMED_OUT        by the device, or by its timers
//! QUEUED | IN_PROGRESS -> CANCELED                                          by an operator, or with the job
//! QUEUED -> REMOVED                                                         the device is no longer a target
//! ```

use crate::http::Timestamp;
use rusqlite::{
    ToSql,
    types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// Names and values that a device tells about its progress.
pub type StatusDetails = BTreeMap<String, String>;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// Waits for the device.
    Queued,
    /// The device works on it.
    InProgress,
    /// Done.
    Succeeded,
    /// The device could not do it.
    Failed,
    /// The device did not end it in time.
    TimedOut,
    /// The device would not do it.
    Rejected,
    /// The device ceased to be a target before it began.
    Removed,
    /// Called off.
    Canceled,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::InProgress,
        Self::Succeeded,
        Self::Failed,
        Self::TimedOut,
        Self::Rejected,
        Self::Removed,
        Self::Canceled,
    ];

    /// As AWS writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::InProgress => "IN_PROGRESS",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::TimedOut => "TIMED_OUT",
            Self::Rejected => "REJECTED",
            Self::Removed => "REMOVED",
            Self::Canceled => "CANCELED",
        }
    }

    /// Reads what [`Status::name`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == text)
    }

    /// Whether nothing follows.
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Queued | Self::InProgress)
    }
}

impl ToSql for Status {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.name().into())
    }
}

impl FromSql for Status {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let text = value.as_str()?;
        Self::parse(text)
            .ok_or_else(|| FromSqlError::Other(format!("'{text}' is no status").into()))
    }
}

/// One device's run of one job.
#[derive(Clone, Debug, PartialEq)]
pub struct Execution {
    /// Where it stands.
    pub status: Status,
    /// What the device told last.
    pub details: StatusDetails,
    /// Counts up with every change.
    pub version: i64,
    /// When it was queued.
    pub queued: Timestamp,
    /// When the device began.
    pub started: Option<Timestamp>,
    /// When it changed last.
    pub updated: Timestamp,
    /// When it is too late for the whole.
    pub deadline: Option<Timestamp>,
    /// When it is too late for the step that the device is at.
    pub step_deadline: Option<Timestamp>,
    /// Whether it was called off although the device was at it.
    pub forced: bool,
    /// Times it was begun anew after a failure.
    pub attempts: i64,
}

/// What a device says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The new status.
    pub status: Option<Status>,
    /// Replaces the details, when given.
    pub details: Option<StatusDetails>,
    /// The version that the device has seen.
    pub expected_version: Option<i64>,
    /// A timer for the step that begins now, in minutes; -1 ends one.
    pub step_timeout_minutes: Option<i64>,
}

/// Why a change is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExecutionError {
    /// It stands where this is not possible.
    #[error("{} execution cannot be changed to {}", .from.name(), .to.name())]
    Transition {
        /// Where it stands.
        from: Status,
        /// What was asked for.
        to: Status,
    },
    /// Somebody else was faster.
    #[error("expected version {expected} but the version is {actual}")]
    Version {
        /// What the caller had seen.
        expected: i64,
        /// What it is.
        actual: i64,
    },
    /// Not what a device may say.
    #[error("{0}")]
    Invalid(String),
}

impl Execution {
    /// A new one.
    pub fn queued(now: Timestamp) -> Self {
        Self {
            status: Status::Queued,
            details: StatusDetails::new(),
            version: 1,
            queued: now,
            started: None,
            updated: now,
            deadline: None,
            step_deadline: None,
            forced: false,
            attempts: 0,
        }
    }

    /// What a device reports. `timeout` is the job's limit for the whole, counted from the start.
    pub fn report(
        &self,
        report: &Report,
        timeout: Option<Duration>,
        now: Timestamp,
    ) -> Result<Self, ExecutionError> {
        if let Some(expected) = report.expected_version
            && expected != self.version
        {
            return Err(ExecutionError::Version {
                expected,
                actual: self.version,
            });
        }
        let to = report.status.unwrap_or(self.status);
        match to {
            Status::InProgress | Status::Succeeded | Status::Failed | Status::Rejected => {}
            Status::Queued | Status::TimedOut | Status::Removed | Status::Canceled => {
                return Err(ExecutionError::Invalid(format!(
                    "A device may not set the status {}",
                    to.name()
                )));
            }
        }
        if self.status.is_terminal() {
            return Err(ExecutionError::Transition {
                from: self.status,
                to,
            });
        }
        let mut next = self.moved(to, now);
        if let Some(details) = &report.details {
            check_details(details)?;
            next.details.clone_from(details);
        }
        if to == Status::InProgress {
            if self.status == Status::Queued {
                next.started = Some(now);
                next.deadline = timeout.map(|timeout| now.plus(timeout));
            }
            match report.step_timeout_minutes {
                None => {}
                Some(-1) => next.step_deadline = None,
                Some(minutes @ 1..=10_080) => {
                    let minutes = u64::try_from(minutes).unwrap_or(0);
                    next.step_deadline = Some(now.plus(Duration::from_secs(minutes * 60)));
                }
                Some(minutes) => {
                    return Err(ExecutionError::Invalid(format!(
                        "stepTimeoutInMinutes must be between 1 and 10080, or -1, not {minutes}"
                    )));
                }
            }
        }
        Ok(next)
    }

    /// Called off by an operator. One that the device is at only with `force`.
    pub fn cancel(&self, force: bool, now: Timestamp) -> Result<Self, ExecutionError> {
        let refused = ExecutionError::Transition {
            from: self.status,
            to: Status::Canceled,
        };
        match self.status {
            Status::Queued => Ok(self.moved(Status::Canceled, now)),
            Status::InProgress if force => {
                let mut next = self.moved(Status::Canceled, now);
                next.forced = true;
                Ok(next)
            }
            _ => Err(refused),
        }
    }

    /// The device ceased to be a target: one that it is at goes on.
    pub fn remove(&self, now: Timestamp) -> Option<Self> {
        (self.status == Status::Queued).then(|| self.moved(Status::Removed, now))
    }

    /// What has happened by the passing of time, if anything.
    pub fn expire(&self, now: Timestamp) -> Option<Self> {
        let over = |deadline: Option<Timestamp>| deadline.is_some_and(|deadline| deadline <= now);
        let late =
            self.status == Status::InProgress && (over(self.deadline) || over(self.step_deadline));
        late.then(|| self.moved(Status::TimedOut, now))
    }

    /// Queued anew after a failure, when the job allows so many.
    pub fn retry(&self, allowed: i64, now: Timestamp) -> Option<Self> {
        let failed = matches!(self.status, Status::Failed | Status::TimedOut);
        (failed && self.attempts < allowed).then(|| Self {
            attempts: self.attempts + 1,
            version: self.version + 1,
            ..Self::queued(now)
        })
    }

    /// The timer that ends first.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        match self.status {
            Status::InProgress => [self.deadline, self.step_deadline]
                .into_iter()
                .flatten()
                .min(),
            _ => None,
        }
    }

    fn moved(&self, to: Status, now: Timestamp) -> Self {
        let mut next = self.clone();
        next.status = to;
        next.version += 1;
        next.updated = now;
        if to.is_terminal() {
            next.deadline = None;
            next.step_deadline = None;
        }
        next
    }
}

fn check_details(details: &StatusDetails) -> Result<(), ExecutionError> {
    if details.len() > 20 {
        return Err(ExecutionError::Invalid(
            "statusDetails may have at most 20 members".into(),
        ));
    }
    for (name, value) in details {
        let named = !name.is_empty()
            && name.len() <= 128
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, ':' | '_' | '-'));
        if !named {
            return Err(ExecutionError::Invalid(format!(
                "statusDetails: '{name}' is no name of 1 to 128 of [a-zA-Z0-9:_-]"
            )));
        }
        if value.chars().count() > 1024 {
            return Err(ExecutionError::Invalid(format!(
                "statusDetails: the value of '{name}' has more than 1024 characters"
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn reported(status: Status) -> Report {
        Report {
            status: Some(status),
            ..Report::default()
        }
    }

    fn in_status(status: Status) -> Execution {
        Execution {
            status,
            ..Execution::queued(at(0))
        }
    }

    #[test]
    fn a_device_may_report_only_what_follows() {
        use Status::{Failed, InProgress, Queued, Rejected, Succeeded};
        for from in Status::ALL {
            for to in Status::ALL {
                let may = matches!(from, Queued | InProgress)
                    && matches!(to, InProgress | Succeeded | Failed | Rejected);
                let result = in_status(from).report(&reported(to), None, at(1));
                assert_eq!(result.is_ok(), may, "{from:?} -> {to:?}");
                if let Ok(next) = result {
                    assert_eq!((next.status, next.version, next.updated), (to, 2, at(1)));
                }
            }
        }
    }

    #[test]
    fn the_timers_run_from_the_start_and_from_the_step() {
        let report = Report {
            step_timeout_minutes: Some(1),
            ..reported(Status::InProgress)
        };
        let started = in_status(Status::Queued)
            .report(&report, Some(Duration::from_secs(600)), at(10))
            .unwrap();
        assert_eq!(
            (started.started, started.next_deadline()),
            (Some(at(10)), Some(at(70)))
        );
        let report = Report {
            step_timeout_minutes: Some(-1),
            ..reported(Status::InProgress)
        };
        let going = started
            .report(&report, Some(Duration::from_secs(600)), at(60))
            .unwrap();
        assert_eq!(
            (going.started, going.next_deadline()),
            (Some(at(10)), Some(at(610)))
        );
        assert_eq!(going.expire(at(609)), None);
        let late = going.expire(at(610)).unwrap();
        assert_eq!(
            (late.status, late.next_deadline()),
            (Status::TimedOut, None)
        );
    }

    #[test]
    fn a_stale_version_changes_nothing() {
        let report = Report {
            expected_version: Some(7),
            ..reported(Status::InProgress)
        };
        let error = in_status(Status::Queued)
            .report(&report, None, at(1))
            .unwrap_err();
        assert_eq!(
            error,
            ExecutionError::Version {
                expected: 7,
                actual: 1
            }
        );
    }

    #[test]
    fn what_a_device_is_at_is_called_off_only_by_force() {
        assert!(in_status(Status::InProgress).cancel(false, at(1)).is_err());
        assert!(
            in_status(Status::InProgress)
                .cancel(true, at(1))
                .unwrap()
                .forced
        );
        assert!(
            !in_status(Status::Queued)
                .cancel(true, at(1))
                .unwrap()
                .forced
        );
        assert!(in_status(Status::Succeeded).cancel(true, at(1)).is_err());
        assert_eq!(in_status(Status::InProgress).remove(at(1)), None);
        assert_eq!(
            in_status(Status::Queued).remove(at(1)).unwrap().status,
            Status::Removed
        );
    }

    #[test]
    fn a_failure_is_tried_again_as_often_as_the_job_allows() {
        let failed = in_status(Status::Failed);
        let again = failed.retry(1, at(5)).unwrap();
        assert_eq!(
            (again.status, again.attempts, again.version, again.queued),
            (Status::Queued, 1, 2, at(5))
        );
        assert_eq!(
            Execution {
                status: Status::Failed,
                ..again
            }
            .retry(1, at(6)),
            None
        );
        assert_eq!(in_status(Status::Rejected).retry(5, at(5)), None);
    }

    #[test]
    fn details_beyond_their_limits_are_refused_with_the_name() {
        let with = |name: &str, value: String| Report {
            details: Some(StatusDetails::from([(name.to_owned(), value)])),
            ..reported(Status::InProgress)
        };
        let queued = in_status(Status::Queued);
        for (report, message) in [
            (with("a b", "x".into()), "'a b'"),
            (with("a", "x".repeat(1025)), "value of 'a'"),
        ] {
            let error = queued.report(&report, None, at(1)).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
