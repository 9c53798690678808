//! The components that can be deployed.

use super::{Frame, Visit, device::list, shown};
use crate::console::{
    Answer,
    form::encode,
    view::{Mark, When, text},
};
use crate::http::ApiError;
use askama::Template;
use serde_json::{Value, json};

#[derive(Template)]
#[template(path = "console/components.html")]
struct Page {
    frame: Frame,
    components: Vec<Component>,
}

struct Component {
    name: String,
    encoded: String,
    version: String,
    state: Mark,
    message: String,
    description: String,
    publisher: String,
    created: Option<When>,
    others: Vec<String>,
}

/// A component with its versions, the newest first.
pub struct Versions {
    /// Its name.
    pub name: String,
    /// Its versions.
    pub versions: Vec<String>,
    latest: Value,
}

/// All components, by name.
pub async fn versions(visit: &Visit<'_>) -> Result<Vec<Versions>, ApiError> {
    let input = json!({ "scope": "PRIVATE", "maxResults": 100 });
    let mut found = Vec::new();
    for component in list(visit, "greengrassv2", "ListComponents", input, "components").await? {
        let input = json!({ "arn": component["arn"], "maxResults": 100 });
        let versions = list(
            visit,
            "greengrassv2",
            "ListComponentVersions",
            input,
            "componentVersions",
        )
        .await?;
        found.push(Versions {
            name: text(&component, "componentName"),
            versions: versions
                .iter()
                .map(|version| text(version, "componentVersion"))
                .collect(),
            latest: component["latestVersion"].clone(),
        });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// The table.
pub async fn show(visit: Visit<'_>) -> Answer {
    let mut components = Vec::new();
    for component in versions(&visit).await? {
        let input = json!({ "arn": component.latest["arn"] });
        let described = visit
            .call("greengrassv2", "DescribeComponent", input)
            .await?;
        let version = text(&component.latest, "componentVersion");
        let mut others = component.versions;
        others.retain(|other| *other != version);
        components.push(Component {
            encoded: encode(&component.name),
            name: component.name,
            state: Mark::of(
                described["status"]["componentState"]
                    .as_str()
                    .unwrap_or_default(),
            ),
            message: text(&described["status"], "message"),
            description: text(&described, "description"),
            publisher: text(&described, "publisher"),
            created: When::of(&described["creationTimestamp"]),
            version,
            others,
        });
    }
    shown(&Page {
        frame: visit.frame("components"),
        components,
    })
}
