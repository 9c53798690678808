//! How fast a job reaches its devices, when it is called off by itself, and how often a device may try again. Pure.

use super::execution::Status;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, time::Duration};

/// What jobs without a rate get, as with AWS IoT.
const DEFAULT_PER_MINUTE: i64 = 10_000;

/// `jobExecutionsRolloutConfig`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rollout {
    /// Devices a minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maximum_per_minute: Option<i64>,
    /// A rate that grows with success.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exponential_rate: Option<ExponentialRate>,
}

/// A rate that grows by a factor each time so many devices were told, or have succeeded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExponentialRate {
    /// Where it begins.
    pub base_rate_per_minute: i64,
    /// From 1.1 to 5.
    pub increment_factor: f64,
    /// When it grows.
    pub rate_increase_criteria: RateIncrease,
}

/// When a rate grows: one of the two.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RateIncrease {
    /// Devices told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number_of_notified_things: Option<i64>,
    /// Devices that succeeded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number_of_succeeded_things: Option<i64>,
}

impl Rollout {
    /// Refuses numbers that AWS IoT refuses.
    pub fn check(&self) -> Result<(), String> {
        if let Some(rate) = self.maximum_per_minute
            && !(1..=DEFAULT_PER_MINUTE).contains(&rate)
        {
            return Err(format!(
                "maximumPerMinute must be between 1 and {DEFAULT_PER_MINUTE}, not {rate}"
            ));
        }
        let Some(rate) = &self.exponential_rate else {
            return Ok(());
        };
        if !(1..=1000).contains(&rate.base_rate_per_minute) {
            return Err(format!(
                "baseRatePerMinute must be between 1 and 1000, not {}",
                rate.base_rate_per_minute
            ));
        }
        if !(1.1..=5.0).contains(&rate.increment_factor) {
            return Err(format!(
                "incrementFactor must be between 1.1 and 5, not {}",
                rate.increment_factor
            ));
        }
        let criteria = &rate.rate_increase_criteria;
        match (criteria.number_of_notified_things, criteria.number_of_succeeded_things) {
            (Some(number), None) | (None, Some(number)) if number >= 1 => Ok(()),
            (Some(_), Some(_)) | (None, None) => Err("rateIncreaseCriteria must have one of numberOfNotifiedThings and numberOfSucceededThings".into()),
            _ => Err("rateIncreaseCriteria must be at least 1".into()),
        }
    }

    /// Devices a minute, with so many told and so many that succeeded. `None`: all at once.
    pub fn per_minute(&self, told: i64, succeeded: i64) -> Option<i64> {
        let Some(rate) = &self.exponential_rate else {
            return self.maximum_per_minute;
        };
        let criteria = &rate.rate_increase_criteria;
        let steps = match (
            criteria.number_of_notified_things,
            criteria.number_of_succeeded_things,
        ) {
            (Some(number), _) => told / number.max(1),
            (None, Some(number)) => succeeded / number.max(1),
            (None, None) => 0,
        };
        let limit = self.maximum_per_minute.unwrap_or(1000);
        let mut current = rate.base_rate_per_minute as f64;
        for _ in 0..steps.min(64) {
            current *= rate.increment_factor;
            if current >= limit as f64 {
                return Some(limit);
            }
        }
        Some((current as i64).clamp(1, limit))
    }

    /// How long after the last device the next may be told.
    pub fn interval(&self, told: i64, succeeded: i64) -> Option<Duration> {
        let rate = self.per_minute(told, succeeded)?;
        Some(Duration::from_secs(60) / u32::try_from(rate.max(1)).unwrap_or(u32::MAX))
    }
}

/// `abortConfig`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Abort {
    /// Any of them calls the job off.
    pub criteria_list: Vec<AbortCriteria>,
}

/// When a job is called off.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AbortCriteria {
    /// `FAILED`, `REJECTED`, `TIMED_OUT` or `ALL`.
    pub failure_type: String,
    /// `CANCEL`.
    pub action: String,
    /// Of those that ended.
    pub threshold_percentage: f64,
    /// So many must have ended first.
    pub min_number_of_executed_things: i64,
}

/// How many runs are where.
pub type Counts = BTreeMap<Status, i64>;

/// How many of some kinds of failure there are.
fn failures(kind: &str, counts: &Counts) -> i64 {
    let of = |status| counts.get(&status).copied().unwrap_or(0);
    match kind {
        "FAILED" => of(Status::Failed),
        "REJECTED" => of(Status::Rejected),
        "TIMED_OUT" => of(Status::TimedOut),
        _ => of(Status::Failed) + of(Status::Rejected) + of(Status::TimedOut),
    }
}

impl Abort {
    /// Refuses what AWS IoT refuses.
    pub fn check(&self) -> Result<(), String> {
        for criteria in &self.criteria_list {
            if !matches!(
                criteria.failure_type.as_str(),
                "FAILED" | "REJECTED" | "TIMED_OUT" | "ALL"
            ) {
                return Err(format!(
                    "failureType must be FAILED, REJECTED, TIMED_OUT or ALL, not {}",
                    criteria.failure_type
                ));
            }
            if criteria.action != "CANCEL" {
                return Err(format!("action must be CANCEL, not {}", criteria.action));
            }
            if !(0.0..=100.0).contains(&criteria.threshold_percentage)
                || criteria.threshold_percentage == 0.0
            {
                return Err(format!(
                    "thresholdPercentage must be above 0 and at most 100, not {}",
                    criteria.threshold_percentage
                ));
            }
            if criteria.min_number_of_executed_things < 1 {
                return Err("minNumberOfExecutedThings must be at least 1".into());
            }
        }
        Ok(())
    }

    /// Whether it is time.
    pub fn met(&self, counts: &Counts) -> bool {
        let ended: i64 = counts
            .iter()
            .filter(|(status, _)| status.is_terminal())
            .map(|(_, count)| count)
            .sum();
        self.criteria_list.iter().any(|criteria| {
            let failed = failures(&criteria.failure_type, counts);
            ended >= criteria.min_number_of_executed_things
                && failed > 0
                && failed as f64 * 100.0 >= criteria.threshold_percentage * ended as f64
        })
    }
}

/// `jobExecutionsRetryConfig`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// Any of them allows it.
    pub criteria_list: Vec<RetryCriteria>,
}

/// How often a kind of failure is tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetryCriteria {
    /// `FAILED`, `TIMED_OUT` or `ALL`.
    pub failure_type: String,
    /// At most 10.
    pub number_of_retries: i64,
}

impl Retry {
    /// Refuses what AWS IoT refuses.
    pub fn check(&self) -> Result<(), String> {
        for criteria in &self.criteria_list {
            if !matches!(
                criteria.failure_type.as_str(),
                "FAILED" | "TIMED_OUT" | "ALL"
            ) {
                return Err(format!(
                    "failureType must be FAILED, TIMED_OUT or ALL, not {}",
                    criteria.failure_type
                ));
            }
            if !(0..=10).contains(&criteria.number_of_retries) {
                return Err(format!(
                    "numberOfRetries must be between 0 and 10, not {}",
                    criteria.number_of_retries
                ));
            }
        }
        Ok(())
    }

    /// How often this failure may be tried again.
    pub fn allowed(&self, status: Status) -> i64 {
        let fits = |criteria: &&RetryCriteria| {
            criteria.failure_type == "ALL" || criteria.failure_type == status.name()
        };
        self.criteria_list
            .iter()
            .filter(fits)
            .map(|criteria| criteria.number_of_retries)
            .max()
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_grows_with_what_it_is_told_to_grow_with_and_stops_at_its_limit() {
        let rollout = Rollout {
            maximum_per_minute: Some(100),
            exponential_rate: Some(ExponentialRate {
                base_rate_per_minute: 10,
                increment_factor: 2.0,
                rate_increase_criteria: RateIncrease {
                    number_of_notified_things: None,
                    number_of_succeeded_things: Some(5),
                },
            }),
        };
        assert_eq!(rollout.check(), Ok(()));
        let rates = [(100, 0), (0, 5), (0, 14), (0, 500)]
            .map(|(told, done)| rollout.per_minute(told, done));
        assert_eq!(rates, [Some(10), Some(20), Some(40), Some(100)]);
        assert_eq!(rollout.interval(0, 5), Some(Duration::from_secs(3)));
        assert_eq!(Rollout::default().per_minute(1, 1), None);
    }

    #[test]
    fn a_job_is_called_off_once_enough_have_ended_and_enough_of_them_failed() {
        let abort = Abort {
            criteria_list: vec![AbortCriteria {
                failure_type: "FAILED".into(),
                action: "CANCEL".into(),
                threshold_percentage: 50.0,
                min_number_of_executed_things: 4,
            }],
        };
        let counts = |failed, rejected, succeeded| {
            Counts::from([
                (Status::Failed, failed),
                (Status::Rejected, rejected),
                (Status::Succeeded, succeeded),
                (Status::Queued, 100),
            ])
        };
        assert!(!abort.met(&counts(3, 0, 0)));
        assert!(!abort.met(&counts(1, 3, 0)));
        assert!(abort.met(&counts(2, 0, 2)));
        assert!(!abort.met(&counts(0, 0, 9)));
    }

    #[test]
    fn numbers_beyond_their_limits_are_refused_by_name() {
        let rollout = Rollout {
            maximum_per_minute: Some(0),
            exponential_rate: None,
        };
        assert!(rollout.check().unwrap_err().starts_with("maximumPerMinute"));
        let retry = Retry {
            criteria_list: vec![RetryCriteria {
                failure_type: "REJECTED".into(),
                number_of_retries: 1,
            }],
        };
        assert!(retry.check().unwrap_err().starts_with("failureType"));
    }
}
