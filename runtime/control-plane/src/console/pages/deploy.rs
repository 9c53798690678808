//! The form that deploys a component version to a group or a device.

use super::{
    Frame, Visit,
    components::{Versions, versions},
    device::list,
};
use crate::{
    console::{Answer, elsewhere, fleet, form::encode, html, view},
    http::ApiError,
};
use askama::Template;
use http::StatusCode;
use serde_json::{Map, Value, json};

/// The longest configuration that is taken.
const MAX_MERGE: usize = 64 * 1024;

#[derive(Template)]
#[template(path = "console/deploy.html")]
struct Page {
    frame: Frame,
    problem: String,
    /// A field and what is wrong with it.
    wrong: (&'static str, String),
    filled: Filled,
    groups: Vec<String>,
    components: Vec<Versions>,
    /// Of the target's present deployment.
    present: Vec<(String, String)>,
}

/// What the form holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Filled {
    /// `group` or `device`.
    kind: String,
    group: String,
    device: String,
    /// `name@version`.
    component: String,
    merge: String,
    name: String,
    /// Whether the other components of the target's present deployment stay.
    keep: bool,
}

impl Filled {
    fn of(form: &crate::console::Form, first: bool) -> Self {
        let device = form.get("device").to_owned();
        let kind = match form.get("kind") {
            "" if !device.is_empty() => "device",
            "device" => "device",
            _ => "group",
        };
        Self {
            kind: kind.to_owned(),
            group: form.get("group").to_owned(),
            device,
            component: form.get("component").to_owned(),
            merge: form.raw("merge").trim().to_owned(),
            name: form.get("name").to_owned(),
            keep: first || form.get("keep") == "yes",
        }
    }

    fn target(&self) -> &str {
        if self.kind == "device" {
            &self.device
        } else {
            &self.group
        }
    }

    /// What the form asks for, or the field that is wrong and why.
    fn checked(&self) -> Result<(String, Value), (&'static str, String)> {
        if self.target().is_empty() {
            let text = format!("Say which {} it is for.", self.kind);
            return Err(if self.kind == "device" {
                ("device", text)
            } else {
                ("group", text)
            });
        }
        let Some((name, version)) = self.component.rsplit_once('@') else {
            return Err(("component", "Choose a component and its version.".into()));
        };
        let mut component = json!({ "componentVersion": version });
        if !self.merge.is_empty() {
            merge(&self.merge).map_err(|text| ("merge", text))?;
            component["configurationUpdate"] = json!({ "merge": self.merge });
        }
        Ok((name.to_owned(), component))
    }
}

/// A configuration to merge is a JSON object; says what is wrong and where.
fn merge(text: &str) -> Result<(), String> {
    if text.len() > MAX_MERGE {
        return Err(format!(
            "The configuration may have at most {MAX_MERGE} bytes."
        ));
    }
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(_)) => Ok(()),
        Ok(_) => Err("The configuration must be a JSON object: {…}.".into()),
        Err(error) => Err(format!("This is not JSON: {error}.")),
    }
}

/// The form as a link leads to it: `?group=` or `?device=`, `?component=`.
pub async fn show(visit: Visit<'_>) -> Answer {
    let filled = Filled::of(&visit.call.query, true);
    page(
        visit,
        filled,
        StatusCode::OK,
        String::new(),
        ("", String::new()),
    )
    .await
}

async fn page(
    visit: Visit<'_>,
    filled: Filled,
    status: StatusCode,
    problem: String,
    wrong: (&'static str, String),
) -> Answer {
    let groups = visit.console.state.database.read(fleet::groups).await?;
    let mut present = Vec::new();
    if !filled.target().is_empty() {
        let own = present_of(&visit, &arn(&visit, &filled)).await?;
        present = own
            .iter()
            .map(|(name, component)| (name.clone(), view::text(component, "componentVersion")))
            .collect();
    }
    let page = Page {
        frame: visit.frame("deployments"),
        problem,
        wrong,
        filled,
        groups,
        components: versions(&visit).await?,
        present,
    };
    Ok(html(status, page.render()?))
}

fn arn(visit: &Visit<'_>, filled: &Filled) -> String {
    let kind = if filled.kind == "device" {
        "thing"
    } else {
        "thinggroup"
    };
    let account = &visit.console.state.account;
    account.arn("iot", &format!("{kind}/{}", filled.target()))
}

/// The components of the deployment that a target has now.
async fn present_of(visit: &Visit<'_>, target: &str) -> Result<Map<String, Value>, ApiError> {
    let input = json!({ "targetArn": target, "historyFilter": "LATEST_ONLY", "maxResults": 1 });
    let found = list(
        visit,
        "greengrassv2",
        "ListDeployments",
        input,
        "deployments",
    )
    .await?;
    let Some(latest) = found.first() else {
        return Ok(Map::new());
    };
    let input = json!({ "deploymentId": latest["deploymentId"] });
    let mut deployment = visit.call("greengrassv2", "GetDeployment", input).await?;
    match deployment["components"].take() {
        Value::Object(components) => Ok(components),
        _ => Ok(Map::new()),
    }
}

/// Deploys.
pub async fn submit(visit: Visit<'_>) -> Answer {
    let filled = Filled::of(&visit.call.form, false);
    let (name, component) = match filled.checked() {
        Ok(checked) => checked,
        Err(wrong) => {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            return page(visit, filled, status, String::new(), wrong).await;
        }
    };
    let target = arn(&visit, &filled);
    let deployed = async {
        let mut components = if filled.keep {
            present_of(&visit, &target).await?
        } else {
            Map::new()
        };
        components.insert(name, component);
        let mut input = json!({ "targetArn": target, "components": components });
        if !filled.name.is_empty() {
            input["deploymentName"] = filled.name.as_str().into();
        }
        visit.call("greengrassv2", "CreateDeployment", input).await
    };
    let made = match deployed.await {
        Ok(made) => made,
        Err(error) => {
            let (status, problem) = view::explain(&error);
            return page(visit, filled, status, problem, ("", String::new())).await;
        }
    };
    let id = view::text(&made, "deploymentId");
    let user = visit.session.user.as_str();
    log::info!(target: "audit", user = user, deployment = id.as_str(), target = target.as_str(); "deployed");
    let text = format!(
        "{user} deployed {} to {}",
        filled.component,
        filled.target()
    );
    visit.console.events.add(
        "console",
        "busy",
        text,
        None,
        made["iotJobId"].as_str().map(str::to_owned),
    );
    Ok(elsewhere(&format!("/console/deployments/{}", encode(&id))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::Form;

    fn filled(form: &str) -> Filled {
        Filled::of(&Form::parse(form.as_bytes()), false)
    }

    #[test]
    fn a_form_says_which_field_is_wrong() {
        let field = |form: &str| filled(form).checked().map_err(|(field, _)| field);
        assert_eq!(field(""), Err("group"));
        assert_eq!(field("kind=device"), Err("device"));
        assert_eq!(field("group=a"), Err("component"));
        for bad in ["{", "[1]", "3", "{\"a\":}"] {
            let form = format!("group=a&component=c@1.0.0&merge={}", encode(bad));
            assert_eq!(field(&form), Err("merge"), "{bad}");
        }
        let (name, component) = filled("group=a&component=com.example.A@1.2.3&merge={\"a\":1}")
            .checked()
            .unwrap();
        assert_eq!(name, "com.example.A");
        assert_eq!(
            component,
            json!({ "componentVersion": "1.2.3", "configurationUpdate": { "merge": "{\"a\":1}" } })
        );
    }

    #[test]
    fn a_link_with_a_device_is_about_that_device_and_keeps_what_it_has() {
        let filled = Filled::of(&Form::parse(b"device=a"), true);
        assert_eq!(
            (filled.kind.as_str(), filled.target(), filled.keep),
            ("device", "a", true)
        );
    }
}
