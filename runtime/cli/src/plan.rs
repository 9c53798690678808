//! Shows what a deployment would change.

use crate::{
    Failure,
    output::{Output, text},
};
use serde_json::Value;

/// Shows a plan as the runtime's dry run answers it: `{"components": […], "bootstrap": […], "notes": […]}`.
pub fn show(plan: &Value, output: &mut Output<'_>) -> Result<(), Failure> {
    if output.is_json() {
        return output.json(plan);
    }
    let list = |value: &Value, member: &str| -> Vec<String> {
        let items = value
            .get(member)
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        items.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let components = plan
        .get("components")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let (unchanged, changed): (Vec<_>, Vec<_>) = components
        .iter()
        .partition(|c| text(c, "change") == "UNCHANGED");
    if changed.is_empty() {
        output.line("Nothing would change.")?;
    } else {
        let rows: Vec<Vec<String>> = changed
            .iter()
            .map(|component| {
                let (old, new) = (text(component, "oldVersion"), text(component, "newVersion"));
                let version = match (old.as_str(), new.as_str()) {
                    (old, "") => old.to_owned(),
                    ("", new) => new.to_owned(),
                    (old, new) if old == new => new.to_owned(),
                    (old, new) => format!("{old} -> {new}"),
                };
                vec![
                    text(component, "change").to_lowercase(),
                    text(component, "component"),
                    version,
                    list(component, "why").join("; "),
                ]
            })
            .collect();
        output.table(&["CHANGE", "COMPONENT", "VERSION", "WHY"], &rows)?;
    }
    let bootstrap = list(plan, "bootstrap");
    if !bootstrap.is_empty() {
        output.line(&format!(
            "Bootstrap steps run, in this order: {}",
            bootstrap.join(", ")
        ))?;
    }
    if !unchanged.is_empty() {
        output.line(&format!(
            "Unchanged: {}",
            unchanged
                .iter()
                .map(|c| text(c, "component"))
                .collect::<Vec<_>>()
                .join(", ")
        ))?;
    }
    for note in list(plan, "notes") {
        output.line(&format!("Note: {note}"))?;
    }
    Ok(())
}
