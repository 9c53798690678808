//! The journal: how far the deployment under way has come, written before each step that changes anything, and the table that
//! says what a start of the program makes of it.
//!
//! ```text
//! Preparing -> Consenting -> Exchanging -> Bootstrapping -> Activating -> Watching -> Cleaning
//!     |             |            |               \____________/____________/              (success)
//!     v             v            v                       v
//!   (nothing has changed)    Returning              Restoring -> RestoringBootstrap -> Reactivating -> Rewatching
//! ```
//! The transaction that leaves Exchanging holds the configuration, the active set, the records and the journal; so does the
//! one that leaves Restoring. Between the two the new set counts, outside of them the old one.

use crate::{
    Failure, Plan,
    folders::Move,
    saved::Saved,
    table::{Content, Specs},
};
use model::{ComponentName, Version, component::Action, deployment::DeploymentId};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// How far it has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// Resolving, copying, unpacking: nothing has changed.
    Preparing,
    /// Everything is at hand and the plan is stored; components are asked.
    Consenting,
    /// Folders change places.
    Exchanging,
    /// Folders go back to their places; nothing was committed.
    Returning,
    /// The new set is committed; bootstrap step `next` is to run and was begun so many times.
    Bootstrapping { next: usize, begun: u32 },
    /// Old processes stop, new ones start.
    Activating,
    /// Waiting for the new processes.
    Watching,
    /// It succeeded; what is not needed any more goes.
    Cleaning,
    /// Folders go back, then configuration and set.
    Restoring,
    /// The old set is committed again; bootstrap steps that want to run on a rollback do.
    RestoringBootstrap { next: usize, begun: u32 },
    /// New processes stop, old ones start.
    Reactivating,
    /// Waiting for the old processes.
    Rewatching,
}

impl Stage {
    /// For messages and crash points.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Consenting => "consenting",
            Self::Exchanging => "exchanging",
            Self::Returning => "returning",
            Self::Bootstrapping { .. } => "bootstrapping",
            Self::Activating => "activating",
            Self::Watching => "watching",
            Self::Cleaning => "cleaning",
            Self::Restoring => "restoring",
            Self::RestoringBootstrap { .. } => "restoring-bootstrap",
            Self::Reactivating => "reactivating",
            Self::Rewatching => "rewatching",
        }
    }
}

/// How it is going to end, once that is known.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Reason {
    /// It failed.
    Failed(Failure),
    /// Somebody canceled it.
    Canceled,
}

/// The one deployment under way.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Journal {
    pub deployment: DeploymentId,
    pub stage: Stage,
    /// Starts of the program since the stage was entered.
    #[serde(skip)]
    pub attempts: u32,
    /// Present from Consenting on.
    pub prepared: Option<Prepared>,
    /// Present between the two transactions, and after.
    pub committed: Option<Committed>,
    /// Why it goes back; present in Returning, Restoring and what follows.
    pub reason: Option<Reason>,
    /// Which bootstrap step ended in a restart of the runtime or the device, which has not happened yet.
    #[serde(default)]
    pub restart: Option<Restart>,
    /// What went wrong on the way back.
    #[serde(default)]
    pub trouble: Vec<String>,
}

/// A restart that was asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Restart {
    Runtime,
    /// Done when the device's boot is another one.
    Device {
        boot: Option<String>,
    },
}

/// What was found out before anything changed.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Prepared {
    pub plan: Plan,
    /// The new set, without what the runtime provides.
    pub versions: BTreeMap<ComponentName, Version>,
    /// Folders to exchange.
    pub moves: Vec<Move>,
    /// What the artifact folders of these components are made from afterwards.
    pub contents: BTreeMap<ComponentName, Content>,
    /// Components whose recipe or artifacts of the same version are different, and what is.
    pub changed: BTreeMap<ComponentName, Vec<String>>,
    /// The root components of every group afterwards.
    pub groups: crate::groups::Groups,
}

/// What going back needs, and going on.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Committed {
    pub old: Specs,
    pub new: Specs,
    /// What becomes of each component of the new set.
    pub actions: BTreeMap<ComponentName, Action>,
    /// Down from before the first bootstrap step (or the exchange) until activation.
    pub halted: BTreeSet<ComponentName>,
    /// Old records of the artifact folders that changed.
    pub old_contents: Vec<(ComponentName, Version, Option<Content>)>,
    /// The configuration as it was, where it changed.
    pub saved: Saved,
    /// Components that were not well before; nobody waits for them on the way back.
    pub unwell: BTreeSet<ComponentName>,
    /// The new set has been handed to the supervisor.
    pub activated: bool,
}

/// What to do with a journal found at start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Resume {
    /// Throw away what was prepared and begin again.
    StartOver,
    /// Go on at the stage.
    GoOn,
    /// The program has died here too often: end as failed, nothing has changed.
    GiveUp,
    /// The program has died here too often: put the folders back.
    Return,
    /// The program has died here too often: put the old set back, or with DO_NOTHING leave the new one.
    GoBack,
    /// Even the way back kills the program: end as failed.
    Abandon,
}

/// Starts of the program in one stage before something else is tried.
pub(crate) const ATTEMPTS: u32 = 4;

/// The table. `attempts` counts this start.
pub(crate) fn resume(stage: Stage, attempts: u32) -> Resume {
    let often = attempts >= ATTEMPTS;
    match (stage, often) {
        (Stage::Preparing, false) => Resume::StartOver,
        (Stage::Consenting, false) => Resume::GoOn,
        (Stage::Preparing | Stage::Consenting, true) => Resume::GiveUp,
        (Stage::Exchanging, false) => Resume::GoOn,
        (Stage::Exchanging, true) => Resume::Return,
        (Stage::Returning, _) => Resume::GoOn,
        (Stage::Bootstrapping { .. } | Stage::Activating | Stage::Watching, false) => Resume::GoOn,
        (Stage::Bootstrapping { .. } | Stage::Activating | Stage::Watching, true) => Resume::GoBack,
        (Stage::Cleaning, _) => Resume::GoOn,
        (Stage::Restoring, _) => Resume::GoOn,
        (Stage::RestoringBootstrap { .. } | Stage::Reactivating | Stage::Rewatching, false) => {
            Resume::GoOn
        }
        (Stage::RestoringBootstrap { .. } | Stage::Reactivating | Stage::Rewatching, true) => {
            Resume::Abandon
        }
    }
}

impl Journal {
    /// A deployment that begins.
    pub(crate) fn new(deployment: DeploymentId) -> Self {
        Self {
            deployment,
            stage: Stage::Preparing,
            attempts: 0,
            prepared: None,
            committed: None,
            reason: None,
            restart: None,
            trouble: Vec::new(),
        }
    }

    /// What should run until this deployment goes on, given the active set as stored: never a component whose folders or
    /// bootstrap are half done.
    pub(crate) fn running(&self, active: &Specs) -> Specs {
        let without = |specs: &Specs, out: &dyn Fn(&ComponentName) -> bool| -> Specs {
            specs
                .iter()
                .filter(|(name, _)| !out(name))
                .map(|(n, s)| (n.clone(), s.clone()))
                .collect()
        };
        let changed = |name: &ComponentName| {
            self.prepared
                .as_ref()
                .is_some_and(|p| p.changed.contains_key(name))
        };
        let Some(committed) = &self.committed else {
            return match self.stage {
                Stage::Exchanging | Stage::Returning => without(active, &changed),
                _ => active.clone(),
            };
        };
        match self.stage {
            Stage::Bootstrapping { .. } | Stage::Activating => {
                without(&committed.old, &|n| committed.halted.contains(n))
            }
            Stage::Watching | Stage::Cleaning => committed.new.clone(),
            Stage::Restoring | Stage::RestoringBootstrap { .. } | Stage::Reactivating => {
                without(&committed.old, &|name| {
                    committed.halted.contains(name)
                        || committed.actions.get(name) != Some(&Action::Keep)
                })
            }
            Stage::Rewatching => committed.old.clone(),
            Stage::Preparing | Stage::Consenting | Stage::Exchanging | Stage::Returning => {
                active.clone()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORWARD: [Stage; 3] = [
        Stage::Bootstrapping { next: 1, begun: 1 },
        Stage::Activating,
        Stage::Watching,
    ];
    const BACK: [Stage; 3] = [
        Stage::RestoringBootstrap { next: 0, begun: 0 },
        Stage::Reactivating,
        Stage::Rewatching,
    ];

    #[test]
    fn preparing_begins_again_since_it_left_only_half_copies() {
        assert_eq!(resume(Stage::Preparing, 1), Resume::StartOver);
    }

    #[test]
    fn consenting_asks_again_with_the_stored_plan() {
        assert_eq!(resume(Stage::Consenting, 1), Resume::GoOn);
    }

    #[test]
    fn a_deployment_that_kills_the_program_before_it_changed_anything_is_given_up() {
        assert_eq!(resume(Stage::Preparing, ATTEMPTS), Resume::GiveUp);
        assert_eq!(resume(Stage::Consenting, ATTEMPTS), Resume::GiveUp);
    }

    #[test]
    fn exchanging_goes_on_since_each_move_can_be_repeated() {
        assert_eq!(resume(Stage::Exchanging, 1), Resume::GoOn);
    }

    #[test]
    fn exchanging_that_dies_too_often_puts_the_folders_back() {
        assert_eq!(resume(Stage::Exchanging, ATTEMPTS), Resume::Return);
    }

    #[test]
    fn returning_goes_on_until_it_is_done() {
        assert_eq!(resume(Stage::Returning, 1), Resume::GoOn);
        assert_eq!(resume(Stage::Returning, 100), Resume::GoOn);
    }

    #[test]
    fn what_is_committed_goes_on() {
        for stage in FORWARD {
            assert_eq!(resume(stage, 1), Resume::GoOn, "{stage:?}");
            assert_eq!(resume(stage, ATTEMPTS - 1), Resume::GoOn, "{stage:?}");
        }
    }

    #[test]
    fn a_new_set_that_keeps_killing_the_program_goes_back() {
        for stage in FORWARD {
            assert_eq!(resume(stage, ATTEMPTS), Resume::GoBack, "{stage:?}");
        }
    }

    #[test]
    fn cleaning_goes_on_until_it_is_done() {
        assert_eq!(resume(Stage::Cleaning, 100), Resume::GoOn);
    }

    #[test]
    fn restoring_goes_on_until_it_is_done() {
        assert_eq!(resume(Stage::Restoring, 1), Resume::GoOn);
        assert_eq!(resume(Stage::Restoring, 100), Resume::GoOn);
    }

    #[test]
    fn the_way_back_goes_on_but_not_for_ever() {
        for stage in BACK {
            assert_eq!(resume(stage, 1), Resume::GoOn, "{stage:?}");
            assert_eq!(resume(stage, ATTEMPTS), Resume::Abandon, "{stage:?}");
        }
    }
}
