//! What happens to jobs by the passing of time and by changes of the registry: deadlines, waves of a rollout, and things
//! that join or leave the groups that continuous jobs are for.

use super::{
    Jobs, Notices, enlist, finish, follow, put, queue,
    table::{Job, Run},
};
use crate::{
    http::{ApiError, Timestamp},
    iot::registry::{Event, Registry, groups, names, things::Thing},
};
use rusqlite::{OptionalExtension, Transaction};
use std::{collections::BTreeSet, time::Duration};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

/// The longest sleep: a step of the wall clock is noticed within it.
const LONGEST: Duration = Duration::from_secs(30);

/// Runs that one transaction ends.
const BATCH: i64 = 500;

impl Jobs {
    /// Runs until told to stop.
    pub async fn run(&self, registry: Registry, stop: CancellationToken) {
        let mut events = registry.events();
        // Whatever the registry did while nobody listened: groups may have changed.
        if let Err(error) = self.change(catch_up).await {
            log::error!("looking after continuous jobs: {error}");
        }
        loop {
            let due = match self.0.database.read(next_due).await {
                Ok(due) => due,
                Err(error) => {
                    log::error!("looking for due jobs: {error}");
                    None
                }
            };
            let wait = due.map_or(LONGEST, |due| {
                let millis = due.millis() - Timestamp::now().millis();
                Duration::from_millis(u64::try_from(millis).unwrap_or(0)).min(LONGEST)
            });
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.wake.notified() => {}
                () = tokio::time::sleep(wait) => {
                    if let Err(error) = self.change(tick).await {
                        log::error!("keeping jobs' deadlines: {error}");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
                event = events.recv() => {
                    let changed = match event {
                        Ok(event) => self.change(move |t, notices| follow_registry(t, notices, &event)).await,
                        Err(RecvError::Lagged(_)) => self.change(catch_up).await,
                        Err(RecvError::Closed) => return,
                    };
                    if let Err(error) = changed {
                        log::error!("following the registry: {error}");
                    }
                }
            }
        }
    }
}

fn next_due(t: &Transaction<'_>) -> Result<Option<Timestamp>, ApiError> {
    let sql = "SELECT min(due) FROM (SELECT min(expires) AS due FROM iot_execution WHERE expires IS NOT NULL
         UNION ALL SELECT min(next_wave) FROM iot_job WHERE next_wave IS NOT NULL)";
    Ok(t.query_row(sql, [], |row| row.get(0)).optional()?.flatten())
}

fn tick(t: &Transaction<'_>, notices: &mut Notices) -> Result<(), ApiError> {
    let now = Timestamp::now();
    let mut statement = t.prepare_cached(
        "SELECT * FROM iot_execution WHERE expires <= ?1 ORDER BY expires LIMIT ?2",
    )?;
    let late = statement
        .query_map((now, BATCH), Run::read)?
        .collect::<Result<Vec<_>, _>>()?;
    for run in late {
        if let Some(next) = run.execution.expire(now) {
            let run = put(t, notices, &run, next)?;
            follow(t, notices, run, now)?;
        }
    }
    let mut statement = t.prepare_cached("SELECT * FROM iot_job WHERE next_wave <= ?1")?;
    let due = statement
        .query_map([now], Job::read)?
        .collect::<Result<Vec<_>, _>>()?;
    for job in due {
        wave(t, notices, job, now)?;
    }
    Ok(())
}

/// Tells as many devices as the time since the last wave allows.
fn wave(
    t: &Transaction<'_>,
    notices: &mut Notices,
    mut job: Job,
    now: Timestamp,
) -> Result<(), ApiError> {
    let succeeded = job
        .counts(t)?
        .get(&super::Status::Succeeded)
        .copied()
        .unwrap_or(0);
    let mut due = job.next_wave.unwrap_or(now);
    let mut told = 0;
    while due <= now && told < BATCH {
        let sql = "SELECT thing FROM iot_job_waiting WHERE job = ?1 ORDER BY thing LIMIT 1";
        let thing: Option<String> = t
            .prepare_cached(sql)?
            .query_row([&job.id], |row| row.get(0))
            .optional()?;
        let Some(thing) = thing else {
            job.next_wave = None;
            job.save(t)?;
            return finish(t, &mut job, now);
        };
        t.prepare_cached("DELETE FROM iot_job_waiting WHERE job = ?1 AND thing = ?2")?
            .execute((&job.id, &thing))?;
        if Thing::find(t, &thing)?.is_some() {
            queue(t, notices, &mut job, &thing, now)?;
        }
        told += 1;
        // Without a rate, when it was taken away, the rest come at once.
        if let Some(interval) = job.rollout.interval(job.told, succeeded) {
            due = due.plus(interval);
        }
    }
    job.next_wave = Some(due);
    job.save(t)
}

fn continuous(t: &Transaction<'_>) -> Result<Vec<Job>, ApiError> {
    let mut statement = t.prepare_cached(
        "SELECT * FROM iot_job WHERE selection = 'CONTINUOUS' AND status = 'IN_PROGRESS'",
    )?;
    let rows = statement.query_map([], Job::read)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn follow_registry(
    t: &Transaction<'_>,
    notices: &mut Notices,
    event: &Event,
) -> Result<(), ApiError> {
    match event {
        Event::ThingAdded { thing, group } => {
            let mut concerned: BTreeSet<String> = BTreeSet::from([group.clone()]);
            if let Some(group) = groups::Group::find(t, group)? {
                concerned.extend(group.above(t)?);
            }
            for mut job in continuous(t)? {
                let is_target = job.targets.iter().any(|target| {
                    names::of_arn(target, "thinggroup").is_some_and(|name| concerned.contains(name))
                });
                if is_target {
                    enlist(
                        t,
                        notices,
                        &mut job,
                        BTreeSet::from([thing.clone()]),
                        Timestamp::now(),
                    )?;
                }
            }
            Ok(())
        }
        Event::ThingRemoved { thing, .. } | Event::ThingDeleted { thing } => release(
            t,
            notices,
            thing,
            matches!(event, Event::ThingDeleted { .. }),
        ),
        Event::GroupDeleted { .. } => catch_up(t, notices),
        Event::ThingCreated { .. } | Event::CertificateChanged { .. } => Ok(()),
    }
}

/// Takes back what a thing has not begun of jobs that it is no target of any more.
fn release(
    t: &Transaction<'_>,
    notices: &mut Notices,
    thing: &str,
    gone: bool,
) -> Result<(), ApiError> {
    let now = Timestamp::now();
    let sql = "SELECT * FROM iot_execution WHERE thing = ?1 AND status = 'QUEUED'";
    let mut statement = t.prepare_cached(sql)?;
    let runs = statement
        .query_map([thing], Run::read)?
        .collect::<Result<Vec<_>, _>>()?;
    for run in runs {
        let Some(mut job) = Job::find(t, &run.job)? else {
            continue;
        };
        // A snapshot job keeps those it was made for.
        let target = !gone && (!job.continuous || job.things(t)?.contains(thing));
        if !target && let Some(next) = run.execution.remove(now) {
            put(t, notices, &run, next)?;
            finish(t, &mut job, now)?;
        }
    }
    let sql = "DELETE FROM iot_job_waiting WHERE thing = ?1 AND (?2 OR job IN (SELECT id FROM iot_job WHERE selection = 'CONTINUOUS'))";
    let waiting = t.execute(sql, (thing, gone))?;
    if waiting > 0 {
        // Still a target by another group, perhaps.
        for mut job in continuous(t)? {
            if job.things(t)?.contains(thing) {
                enlist(
                    t,
                    notices,
                    &mut job,
                    BTreeSet::from([thing.to_owned()]),
                    now,
                )?;
            }
        }
    }
    Ok(())
}

/// Brings every continuous job in line with its groups as they are.
fn catch_up(t: &Transaction<'_>, notices: &mut Notices) -> Result<(), ApiError> {
    for mut job in continuous(t)? {
        let things = job.things(t)?;
        let sql = "SELECT DISTINCT thing FROM iot_execution WHERE job = ?1 AND status = 'QUEUED'";
        let mut statement = t.prepare_cached(sql)?;
        let queued = statement
            .query_map([&job.id], |row| row.get(0))?
            .collect::<Result<Vec<String>, _>>()?;
        for thing in queued.iter().filter(|thing| !things.contains(*thing)) {
            release(t, notices, thing, Thing::find(t, thing)?.is_none())?;
        }
        enlist(t, notices, &mut job, things, Timestamp::now())?;
    }
    Ok(())
}
