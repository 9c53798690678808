//! The counting rule: errors are counted apart for NEW, STARTING and RUNNING; `max_errors` of them within the reset
//! time make a component BROKEN; the pause before the next try doubles with each.

use super::Moment;
use model::component::RestartPolicy;
use serde::{Deserialize, Serialize};
use std::{collections::VecDeque, time::Duration};

/// Errors remembered when the policy never breaks a component: enough to reach any longest pause.
const REMEMBERED: usize = 32;

/// The state an error came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Origin {
    /// Its install step.
    New,
    /// Its startup step, or the start of its run step.
    Starting,
    /// After it was up.
    Running,
}

/// When a component failed, by state.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Errors {
    new: VecDeque<Moment>,
    starting: VecDeque<Moment>,
    running: VecDeque<Moment>,
    last: Option<Origin>,
}

impl Errors {
    /// Notes an error; true when it is one too many.
    #[must_use]
    pub fn add(
        &mut self,
        origin: Origin,
        now: Moment,
        policy: &RestartPolicy,
        reset: Duration,
    ) -> bool {
        let most = usize::try_from(policy.max_errors).unwrap_or(usize::MAX);
        let times = self.times(origin);
        times.retain(|time| now.since(*time) <= reset);
        while times.len() >= REMEMBERED.max(most) {
            times.pop_front();
        }
        times.push_back(now);
        let broken = most != 0 && times.len() >= most;
        self.last = Some(origin);
        broken
    }

    /// The state was left without an error: its count starts anew.
    pub fn clear(&mut self, origin: Origin) {
        self.times(origin).clear();
    }

    /// The pause before the next try after the errors of this state.
    pub fn pause(&self, origin: Origin, policy: &RestartPolicy) -> Duration {
        let doublings = self.count(origin).saturating_sub(1).min(31);
        policy
            .first_delay
            .saturating_mul(1 << doublings)
            .min(policy.max_delay)
    }

    /// Errors counted in a state.
    pub fn count(&self, origin: Origin) -> u32 {
        let times = match origin {
            Origin::New => &self.new,
            Origin::Starting => &self.starting,
            Origin::Running => &self.running,
        };
        u32::try_from(times.len()).unwrap_or(u32::MAX)
    }

    /// Errors counted in the state that failed last, and that state.
    pub fn latest(&self) -> Option<(Origin, u32)> {
        self.last.map(|origin| (origin, self.count(origin)))
    }

    fn times(&mut self, origin: Origin) -> &mut VecDeque<Moment> {
        match origin {
            Origin::New => &mut self.new,
            Origin::Starting => &mut self.starting,
            Origin::Running => &mut self.running,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> Moment {
        Moment(Duration::from_secs(seconds))
    }

    #[test]
    fn the_third_error_in_one_state_within_the_reset_time_breaks() {
        let (policy, hour) = (RestartPolicy::default(), Duration::from_secs(3600));
        let mut errors = Errors::default();
        assert!(!errors.add(Origin::Running, at(0), &policy, hour));
        assert!(!errors.add(Origin::Starting, at(1), &policy, hour));
        assert!(!errors.add(Origin::Running, at(2), &policy, hour));
        assert!(
            !errors.add(Origin::Running, at(3601), &policy, hour),
            "the first has expired"
        );
        assert!(errors.add(Origin::Running, at(3602), &policy, hour));
    }

    #[test]
    fn zero_never_breaks_and_the_pause_doubles_up_to_its_limit() {
        let policy = RestartPolicy {
            max_errors: 0,
            ..RestartPolicy::default()
        };
        let mut errors = Errors::default();
        let pauses: Vec<u128> = (0..100)
            .map(|i| {
                assert!(!errors.add(Origin::New, at(i), &policy, Duration::from_secs(3600)));
                errors.pause(Origin::New, &policy).as_millis()
            })
            .collect();
        assert_eq!(
            pauses[..9],
            [500, 1000, 2000, 4000, 8000, 16000, 32000, 60000, 60000]
        );
        assert_eq!(pauses[99], 60000);
        assert!(errors.count(Origin::New) as usize <= REMEMBERED);
    }

    proptest! {
        /// Against the plain statement of the rule.
        #[test]
        fn broken_exactly_when_enough_errors_of_the_state_are_recent(
            gaps in prop::collection::vec(0u64..2000, 1..40), most in 1u32..6, reset in 1u64..4000,
        ) {
            let policy = RestartPolicy { max_errors: most, ..RestartPolicy::default() };
            let (mut errors, mut all, mut now) = (Errors::default(), Vec::new(), 0);
            for gap in gaps {
                now += gap;
                all.push(now);
                let recent = all.iter().filter(|t| now - **t <= reset).count();
                let broken = errors.add(Origin::Starting, at(now), &policy, Duration::from_secs(reset));
                prop_assert_eq!(broken, recent >= most as usize);
            }
        }
    }
}
