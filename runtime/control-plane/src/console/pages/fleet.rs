//! The fleet: all devices, how they are, found by name, group and health.

use super::{Frame, Step, Visit, shown};
use crate::{
    console::{
        Answer,
        fleet::{self, Counts, Filter},
        form::encode,
        view::{Mark, When, joined},
    },
    http::{ApiError, Timestamp},
};
use askama::Template;
use std::collections::HashSet;

/// How the filter of health is worded.
const HEALTH: [(&str, &str); 4] = [
    ("", "Any health"),
    ("HEALTHY", "Healthy"),
    ("UNHEALTHY", "Unhealthy"),
    ("SILENT", "Not reported yet"),
];

#[derive(Template)]
#[template(path = "console/fleet.html")]
struct Page {
    frame: Frame,
    filter: Filter,
    counts: Counts,
    connected: usize,
    silent: i64,
    groups: Vec<String>,
    health: [(&'static str, &'static str); 4],
    rows: Vec<Row>,
    range: String,
    steps: Vec<Step>,
    filtered: bool,
}

struct Row {
    link: String,
    name: String,
    health: Mark,
    connected: bool,
    version: String,
    platform: String,
    seen: Option<When>,
    groups: Vec<(String, String)>,
}

/// The table.
pub async fn show(visit: Visit<'_>) -> Answer {
    let query = &visit.call.query;
    let filter = Filter {
        search: query.get("search").to_owned(),
        group: query.get("group").to_owned(),
        health: query.get("health").to_owned(),
    };
    let number = query.get("page").parse::<i64>().unwrap_or(1).max(1) - 1;
    let asked = filter.clone();
    let (counts, groups, (devices, found)) = visit
        .console
        .state
        .database
        .read(move |t| {
            Ok::<_, ApiError>((
                fleet::counts(t)?,
                fleet::groups(t)?,
                fleet::page(t, &asked, number)?,
            ))
        })
        .await?;
    let connected = visit.connected();
    let now = Timestamp::now();
    let first = number * fleet::PAGE + 1;
    let last = first + i64::try_from(devices.len()).unwrap_or(0) - 1;
    let rows: Vec<Row> = devices
        .into_iter()
        .map(|device| Row {
            link: encode(&device.name),
            health: Mark::of(if device.health.is_empty() {
                "NOT_REPORTED"
            } else {
                &device.health
            }),
            connected: connected.contains(&device.name),
            version: device.version,
            platform: joined(&[&device.platform, &device.architecture]),
            seen: device.seen.map(|seen| When::at(seen, now)),
            groups: device
                .groups
                .into_iter()
                .map(|group| (encode(&group), group))
                .collect(),
            name: device.name,
        })
        .collect();
    let pages = (found + fleet::PAGE - 1) / fleet::PAGE;
    shown(&Page {
        frame: visit.frame("devices"),
        silent: counts.all - counts.healthy - counts.unhealthy,
        connected: connected.len(),
        range: match found {
            0 => String::new(),
            _ => format!("{first} to {last} of {found}"),
        },
        steps: steps(&filter, number, pages),
        filtered: filter != Filter::default(),
        counts,
        groups,
        health: HEALTH,
        rows,
        filter,
    })
}

fn steps(filter: &Filter, number: i64, pages: i64) -> Vec<Step> {
    let link = |number: i64| {
        format!(
            "/console/?search={}&group={}&health={}&page={}",
            encode(&filter.search),
            encode(&filter.group),
            encode(&filter.health),
            number + 1
        )
    };
    let all = [
        ("First", 0, number > 0),
        ("Previous", number - 1, number > 0),
        ("Next", number + 1, number + 1 < pages),
        ("Last", pages - 1, number + 1 < pages),
    ];
    all.into_iter()
        .filter(|(_, _, there)| *there)
        .map(|(text, number, _)| Step {
            text,
            link: link(number),
        })
        .collect()
}

impl Visit<'_> {
    /// The client ids that are connected now.
    pub fn connected(&self) -> HashSet<String> {
        let Some(engine) = self.console.state.engine.get() else {
            return HashSet::new();
        };
        engine
            .clients()
            .into_iter()
            .filter(|client| client.identity.is_some())
            .map(|client| client.client_id.to_string())
            .collect()
    }
}
