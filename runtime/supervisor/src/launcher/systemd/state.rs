//! What is seen of a unit, from its properties and the signals about them. Pure.

use super::super::{Outcome, StepKind, UnitId};
use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};
use zbus::{OwnedVariant, Variant};

/// Fields of `LogExtraFields`: they tell which unit it is, and let the journal be searched by component.
pub(super) const COMPONENT: &str = "GREENGRASS_COMPONENT";
pub(super) const STEP: &str = "GREENGRASS_STEP";
pub(super) const TAG: &str = "GREENGRASS_TAG";

/// A unit's state as last heard of.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Seen {
    active: String,
    sub: String,
    result: String,
    freezer: String,
    loaded: bool,
    code: i32,
    status: i32,
    main_pid: u32,
    exec_pid: u32,
    started_us: u64,
    fields: Vec<String>,
}

impl Seen {
    /// Takes over what the properties say. Those of a unit that was unloaded say nothing but that.
    pub(super) fn update<'a>(
        &mut self,
        properties: impl IntoIterator<Item = (&'a str, &'a Variant<'a>)>,
    ) {
        for (name, value) in properties {
            match (name, value) {
                ("ActiveState", Variant::Str(text)) => self.active = text.to_string(),
                ("SubState", Variant::Str(text)) => self.sub = text.to_string(),
                ("Result", Variant::Str(text)) => self.result = text.to_string(),
                ("FreezerState", Variant::Str(text)) => self.freezer = text.to_string(),
                ("LoadState", Variant::Str(text)) => self.loaded = text.as_str() == "loaded",
                ("ExecMainCode", Variant::I32(code)) => self.code = *code,
                ("ExecMainStatus", Variant::I32(status)) => self.status = *status,
                ("MainPID", Variant::U32(pid)) => self.main_pid = *pid,
                ("ExecMainPID", Variant::U32(pid)) => self.exec_pid = *pid,
                ("ExecMainStartTimestamp", Variant::U64(time)) => self.started_us = *time,
                ("LogExtraFields", Variant::Array(fields)) => {
                    let text = |field: &Variant<'_>| match field {
                        Variant::Array(bytes) => String::from_utf8(bytes_of(bytes)).ok(),
                        _ => None,
                    };
                    self.fields = fields.iter().filter_map(text).collect();
                }
                _ => {}
            }
        }
    }

    /// From a whole set of properties, as `GetAll` gives them. `false` when the unit is not loaded any more.
    pub(super) fn replace(
        &mut self,
        unit: &HashMap<String, OwnedVariant>,
        service: &HashMap<String, OwnedVariant>,
    ) -> bool {
        let loaded = matches!(unit.get("LoadState").map(|state| &**state), Some(Variant::Str(state)) if state.as_str() == "loaded");
        if loaded {
            self.update(
                unit.iter()
                    .chain(service)
                    .map(|(name, value)| (name.as_str(), &**value)),
            );
        }
        loaded
    }

    /// The unit's id, if we started it.
    pub(super) fn id(&self) -> Option<UnitId> {
        let step: StepKind = self.field(STEP)?.parse().ok()?;
        Some(UnitId::new(self.field(COMPONENT)?.parse().ok()?, step))
    }

    pub(super) fn tag(&self) -> &str {
        self.field(TAG).unwrap_or_default()
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
    }

    /// The main process, dead or alive.
    pub(super) fn pid(&self) -> u32 {
        self.exec_pid
    }

    /// The main process is over, whatever else of the unit still runs.
    pub(super) fn main_ended(&self) -> bool {
        self.main_pid == 0
            && (self.code != 0 || matches!(self.active.as_str(), "failed" | "inactive"))
    }

    /// systemd is done with its processes, or keeps those of a success.
    pub(super) fn settled(&self) -> bool {
        matches!(
            (self.active.as_str(), self.sub.as_str()),
            ("failed" | "inactive", _) | ("active", "exited")
        )
    }

    pub(super) fn frozen(&self) -> bool {
        self.freezer.starts_with("fr") // freezing, frozen, and both "by parent"
    }

    pub(super) fn started(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(self.started_us)
    }

    /// How the main process ended. `CLD_EXITED`, `CLD_KILLED`, `CLD_DUMPED` are 1, 2, 3.
    pub(super) fn outcome(&self) -> Outcome {
        match (self.result.as_str(), self.code) {
            ("oom-kill", _) => Outcome::OutOfMemory,
            (_, 1) => Outcome::Code(self.status),
            (_, 2 | 3) => Outcome::Signal(self.status),
            _ => Outcome::Unknown,
        }
    }

    /// Why a start failed, from the exit codes systemd reserves for what it does before the program runs.
    pub(super) fn start_failure(&self) -> Option<&'static str> {
        if self.code != 1 {
            return None;
        }
        Some(match self.status {
            200 => "its work folder cannot be entered",
            203 => "its shell cannot be executed",
            205 => "its limits cannot be set",
            216 => "its group cannot be taken",
            217 => "its user cannot be taken",
            219 => "its cgroup cannot be joined",
            _ => return None,
        })
    }
}

fn bytes_of(array: &zbus::Array<'_>) -> Vec<u8> {
    let byte = |value: &Variant<'_>| match value {
        Variant::U8(byte) => Some(*byte),
        _ => None,
    };
    array.iter().filter_map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(properties: &[(&str, Variant<'_>)]) -> Seen {
        let mut seen = Seen::default();
        for (name, value) in properties {
            seen.update([(*name, value)]);
        }
        seen
    }

    #[test]
    fn ends_are_told_apart() {
        for (active, sub, result, code, status, outcome, settled) in [
            ("active", "exited", "success", 1, 0, Outcome::Code(0), true),
            (
                "failed",
                "failed",
                "exit-code",
                1,
                3,
                Outcome::Code(3),
                true,
            ),
            (
                "active",
                "exited",
                "success",
                2,
                15,
                Outcome::Signal(15),
                true,
            ),
            (
                "failed",
                "failed",
                "core-dump",
                3,
                11,
                Outcome::Signal(11),
                true,
            ),
            (
                "failed",
                "failed",
                "oom-kill",
                2,
                9,
                Outcome::OutOfMemory,
                true,
            ),
            ("inactive", "dead", "success", 0, 0, Outcome::Unknown, true),
            (
                "deactivating",
                "stop-sigterm",
                "exit-code",
                1,
                3,
                Outcome::Code(3),
                false,
            ),
        ] {
            let seen = seen(&[
                ("ActiveState", active.into()),
                ("SubState", sub.into()),
                ("Result", result.into()),
                ("MainPID", 0u32.into()),
                ("ExecMainCode", code.into()),
                ("ExecMainStatus", status.into()),
            ]);
            assert_eq!(
                (seen.main_ended(), seen.settled(), seen.outcome()),
                (true, settled, outcome),
                "{active} {sub} {result}"
            );
        }
        let runs = seen(&[
            ("ActiveState", "active".into()),
            ("SubState", "running".into()),
            ("MainPID", 7u32.into()),
        ]);
        assert!(!runs.main_ended() && !runs.settled());
    }

    #[test]
    fn a_unit_is_known_by_its_fields_not_by_its_name() {
        let fields: Vec<Vec<u8>> = [
            "GREENGRASS_COMPONENT=com.example.install",
            "GREENGRASS_STEP=run",
            "GREENGRASS_TAG=1.0 a=b",
        ]
        .map(|field| field.as_bytes().to_vec())
        .into();
        let seen = seen(&[("LogExtraFields", fields.into())]);
        assert_eq!(
            seen.id(),
            Some(UnitId::new(
                "com.example.install".parse().unwrap(),
                StepKind::Run
            ))
        );
        assert_eq!(seen.tag(), "1.0 a=b");
        assert_eq!(Seen::default().id(), None);
    }
}
