//! The whole transition table: every event in every phase, against `table.txt`, which is read and changed by hand.
//! `UPDATE_TABLE=1` writes what the machine does now; the difference is what a change of the machine means.

use super::{
    Effect, Event, Fault, Goal, Machine, Moment, Origin, Phase, Removal, Stage, Why,
    fixture::{running, timed},
};
use crate::launcher::{Outcome, StepKind};
use model::{ComponentSpec, State, component::Action};
use std::{fmt::Write, path::Path, sync::Arc, time::Duration};

/// With every step but startup, so that nothing is passed over.
fn full() -> ComponentSpec {
    let mut spec = running("c");
    let life = &mut spec.lifecycle;
    life.install = Some(timed("install", 120));
    life.shutdown = Some(timed("shutdown", 15));
    life.recover = Some(timed("recover", 60));
    life.uninstall = Some(timed("uninstall", 120));
    spec
}

fn with_startup() -> ComponentSpec {
    let mut spec = full();
    spec.lifecycle.run = None;
    spec.lifecycle.startup = Some(timed("startup", 120));
    spec
}

const NOW: Moment = Moment(Duration::from_secs(1_000));

/// Leads a new machine along events; `p` stands for its present launch.
fn led(spec: ComponentSpec, events: &[&str]) -> Machine {
    let spec = Arc::new(spec);
    let mut machine = Machine::new(Arc::clone(&spec));
    for event in [&["set keep"][..], events].concat() {
        let event = named(event, &machine);
        machine = machine
            .advance(event.clone(), NOW)
            .unwrap_or_else(|e| panic!("{event:?}: {e}"))
            .0;
    }
    machine
}

/// Each phase as it is reached in life.
fn phases() -> Vec<(&'static str, Machine)> {
    let run = &["spawned", "exited 0", "go", "spawned"][..];
    let then = |more: &[&'static str]| [run, more].concat();
    let mut broken = full();
    broken.restart_policy.max_errors = 1;
    broken.restart_policy.retry_broken = Some(Duration::from_secs(600));
    vec![
        ("New, stopped", led(full(), &["spawned", "stop", "down"])),
        ("Installing", led(full(), &["spawned"])),
        ("Installed", led(full(), &["spawned", "exited 0"])),
        ("Starting startup", led(with_startup(), run)),
        (
            "Starting run, launch under way",
            led(full(), &["spawned", "exited 0", "go"]),
        ),
        (
            "Running startup, ended",
            led(with_startup(), &then(&["exited 0"])),
        ),
        ("Running run", led(full(), run)),
        (
            "Running run, frozen",
            led(full(), &then(&["pause", "frozen"])),
        ),
        ("Leaving to restart, held", led(full(), &then(&["restart"]))),
        (
            "Leaving by stop, shutdown",
            led(full(), &then(&["stop", "spawned"])),
        ),
        (
            "Leaving by stop, sweep",
            led(full(), &then(&["stop", "exited 0"])),
        ),
        (
            "Leaving to restart, sweep",
            led(full(), &then(&["restart", "go", "exited 0"])),
        ),
        (
            "Leaving to reinstall, sweep",
            led(full(), &then(&["set reinstall", "go", "exited 0"])),
        ),
        (
            "Leaving to be removed, sweep",
            led(full(), &then(&["remove", "go", "exited 0"])),
        ),
        (
            "Leaving finished, sweep",
            led(full(), &then(&["exited 0", "exited 0"])),
        ),
        (
            "Leaving by stop, sweep failed",
            led(full(), &then(&["stop", "exited 0", "not down"])),
        ),
        ("Failed, cut", led(full(), &then(&["exited 3"]))),
        (
            "Failed, recover",
            led(full(), &then(&["exited 3", "down", "spawned"])),
        ),
        (
            "Failed, shutdown",
            led(full(), &then(&["exited 3", "down", "exited 0", "spawned"])),
        ),
        (
            "Failed, sweep",
            led(full(), &then(&["exited 3", "down", "exited 0", "exited 0"])),
        ),
        (
            "Failed once too often, sweep",
            led(
                broken.clone(),
                &then(&["exited 3", "down", "exited 0", "exited 0"]),
            ),
        ),
        (
            "Install failed, sweep",
            led(full(), &["spawned", "exited 3", "down", "exited 0"]),
        ),
        (
            "Waiting",
            led(
                full(),
                &then(&["exited 3", "down", "exited 0", "exited 0", "down"]),
            ),
        ),
        (
            "Finished",
            led(full(), &then(&["exited 0", "exited 0", "down"])),
        ),
        (
            "Finished, stopped",
            led(full(), &then(&["stop", "exited 0", "down"])),
        ),
        (
            "Broken",
            led(
                broken,
                &then(&["exited 3", "down", "exited 0", "exited 0", "down"]),
            ),
        ),
        (
            "Uninstalling",
            led(
                full(),
                &then(&["remove", "go", "exited 0", "down", "spawned"]),
            ),
        ),
        (
            "Uninstalling, sweep",
            led(
                full(),
                &then(&["remove", "go", "exited 0", "down", "exited 0"]),
            ),
        ),
        (
            "Gone",
            led(
                full(),
                &then(&["remove", "go", "exited 0", "down", "exited 0", "down"]),
            ),
        ),
    ]
}

const EVENTS: [&str; 23] = [
    "set keep",
    "set restart",
    "set reinstall",
    "restart",
    "dependency lost",
    "stop",
    "stop orderly",
    "remove",
    "go",
    "report running",
    "report errored",
    "pause",
    "resume",
    "frozen",
    "not frozen",
    "spawned",
    "skipped",
    "not spawned",
    "exited 0",
    "exited 3",
    "down",
    "not down",
    "deadline",
];

fn named(event: &str, machine: &Machine) -> Event {
    let attempt = machine.process().map_or(0, |process| process.attempt);
    let set = |action| {
        let target = machine.next.as_ref().unwrap_or(&machine.spec);
        Event::Set {
            spec: Arc::clone(target),
            action,
        }
    };
    let exited = |code| Event::Exited {
        attempt,
        outcome: Outcome::Code(code),
        stderr: Vec::new(),
    };
    match event {
        "set keep" => set(Action::Keep),
        "set restart" => set(Action::Restart),
        "set reinstall" => set(Action::Reinstall),
        "restart" => Event::Restart,
        "dependency lost" => Event::DependencyLost,
        "stop" => Event::Stop { orderly: false },
        "stop orderly" => Event::Stop { orderly: true },
        "remove" => Event::Remove,
        "go" => Event::Go,
        "report running" => Event::ReportRunning,
        "report errored" => Event::ReportErrored,
        "pause" => Event::Pause,
        "resume" => Event::Resume,
        "frozen" => Event::Frozen(true),
        "not frozen" => Event::Frozen(false),
        "spawned" => Event::Spawned { attempt, pid: 7 },
        "skipped" => Event::Skipped { attempt },
        "not spawned" => Event::NotSpawned {
            attempt,
            fault: Fault::Io("no".into()),
        },
        "exited 0" => exited(0),
        "exited 3" => exited(3),
        "down" => Event::Down(true),
        "not down" => Event::Down(false),
        "deadline" => Event::Deadline,
        other => panic!("no such event: {other}"),
    }
}

fn show(machine: &Machine) -> String {
    let stage = match &machine.phase {
        Phase::New => "New".to_owned(),
        Phase::Installing(_) => "Installing".to_owned(),
        Phase::Installed { soft_until } => format!(
            "Installed{}",
            if soft_until.is_none() {
                ", without SOFT"
            } else {
                ""
            }
        ),
        Phase::Starting(process) => format!("Starting {}", process.step),
        Phase::Running {
            process: Some(process),
        } => format!("Running {}", process.step),
        Phase::Running { process: None } => "Running".to_owned(),
        Phase::Leaving { why, stage, .. } => {
            let why = match why {
                Why::Stop => "Stop",
                Why::Finish => "Finish",
                Why::Failure {
                    origin: Origin::New,
                    ..
                } => "Failure NEW",
                Why::Failure {
                    origin: Origin::Starting,
                    ..
                } => "Failure STARTING",
                Why::Failure {
                    origin: Origin::Running,
                    ..
                } => "Failure RUNNING",
            };
            let stage = match stage {
                Stage::Held => "held",
                Stage::Cut {
                    recovered: false, ..
                } => "cut",
                Stage::Cut {
                    recovered: true, ..
                } => "cut without recover",
                Stage::Recover(_) => "recover",
                Stage::Shutdown(_) => "shutdown",
                Stage::Sweep(_) => "sweep",
            };
            format!("Leaving {why} {stage}")
        }
        Phase::Waiting { until, .. } => format!("Waiting {} ms", until.since(NOW).as_millis()),
        Phase::Finished => "Finished".to_owned(),
        Phase::Broken { .. } => "Broken".to_owned(),
        Phase::Uninstalling(Removal::Script(_)) => "Uninstalling".to_owned(),
        Phase::Uninstalling(Removal::Sweep(_)) => "Uninstalling sweep".to_owned(),
        Phase::Gone => "Gone".to_owned(),
    };
    let mut text = format!("{} ({stage})", machine.state());
    match machine.goal {
        Goal::Up => {}
        Goal::Down => text += " wants down",
        Goal::Gone => text += " wants gone",
    }
    match machine.redo {
        Action::Keep => {}
        redo => write!(text, " then {redo:?}").unwrap(),
    }
    if machine.is_stuck() {
        text += " stuck";
    }
    if !machine.failure.reason.is_empty() {
        write!(text, " {:?}", machine.failure.code).unwrap();
    }
    text
}

fn table() -> String {
    let mut text = String::new();
    for (title, machine) in phases() {
        writeln!(text, "{title}: {}", show(&machine)).unwrap();
        let mut refused = Vec::new();
        for name in EVENTS {
            let event = named(name, &machine);
            let now = match event {
                Event::Deadline => machine.deadline().unwrap_or(NOW),
                _ => NOW,
            };
            let Ok((next, effects)) = machine.advance(event, now) else {
                refused.push(name);
                continue;
            };
            if next == machine && effects.is_empty() {
                writeln!(text, "  {name:15} -").unwrap();
                continue;
            }
            write!(text, "  {name:15} {}", show(&next)).unwrap();
            for effect in effects {
                match effect {
                    Effect::Launch { step, .. } => write!(text, " [{step}]").unwrap(),
                    Effect::Limit(_) => write!(text, " [limit]").unwrap(),
                    other => write!(text, " [{}]", format!("{other:?}").to_lowercase()).unwrap(),
                }
            }
            text.push('\n');
        }
        writeln!(text, "  refused: {}\n", refused.join(", ")).unwrap();
    }
    text
}

#[test]
fn every_event_in_every_phase_does_what_the_table_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/machine/table.txt");
    let now = table();
    if std::env::var_os("UPDATE_TABLE").is_some() {
        std::fs::write(&file, &now).unwrap();
    }
    let written = std::fs::read_to_string(&file).unwrap();
    for (line, (is, should)) in now.lines().zip(written.lines()).enumerate() {
        assert_eq!(is, should, "line {} of table.txt", line + 1);
    }
    assert_eq!(now.lines().count(), written.lines().count());
}

#[test]
fn a_late_answer_to_an_earlier_launch_is_refused() {
    let machine = led(full(), &["spawned", "exited 0", "go"]);
    for event in [
        Event::Spawned { attempt: 1, pid: 9 },
        Event::Exited {
            attempt: 1,
            outcome: Outcome::Code(1),
            stderr: Vec::new(),
        },
        Event::Skipped { attempt: 1 },
    ] {
        assert_eq!(machine.advance(event, NOW), Err(super::Refused::Stale));
    }
}

#[test]
fn a_deadline_before_its_time_is_refused() {
    let machine = led(full(), &["spawned"]);
    let deadline = NOW + Duration::from_secs(120);
    assert_eq!(machine.deadline(), Some(deadline));
    assert_eq!(
        machine.advance(Event::Deadline, NOW),
        Err(super::Refused::Early(Some(deadline)))
    );
    assert_eq!(
        machine
            .advance(Event::Deadline, deadline)
            .unwrap()
            .0
            .state(),
        State::Errored
    );
}

#[test]
fn without_steps_a_component_is_finished_as_soon_as_it_may_start() {
    let mut spec = running("c");
    spec.lifecycle.run = None;
    assert_eq!(led(spec, &["go"]).phase, Phase::Finished);
}

#[test]
fn a_skipped_startup_gives_its_place_to_run() {
    let mut both = full();
    both.lifecycle.startup = Some(timed("startup", 120));
    let machine = led(both, &["spawned", "exited 0", "go", "skipped"]);
    assert_eq!(
        machine.process().map(|process| process.step),
        Some(StepKind::Run)
    );
}

#[test]
fn a_startup_that_reported_running_has_met_its_time_limit() {
    let machine = led(
        with_startup(),
        &["spawned", "exited 0", "go", "report running"],
    );
    assert_eq!(machine.deadline(), None);
    let machine = machine.advance(named("spawned", &machine), NOW).unwrap().0;
    assert_eq!(machine.deadline(), None);
}
