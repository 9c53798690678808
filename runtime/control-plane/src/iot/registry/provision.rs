//! Carrying out a provisioning template: thing, groups, policies and certificate, all or nothing.

use super::{
    certificates, groups,
    memory::Event,
    names, policies, principals,
    template::{Override, Plan, Template, ThingPlan},
    things::{self, NewThing, Thing},
};
use crate::{http::ApiError, state::Account};
use http::StatusCode;
use rusqlite::Transaction;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What was made or found.
#[derive(Clone, Debug, Default)]
pub struct Provisioned {
    /// The thing.
    pub thing: Option<String>,
    /// What the device is told.
    pub device_configuration: Map<String, Value>,
    /// ARNs by the names in the template.
    pub arns: BTreeMap<String, String>,
    /// Certificates to refresh.
    pub affected: Vec<String>,
    /// To tell once the transaction is through.
    pub events: Vec<Event>,
}

fn conflict(message: impl Into<String>) -> ApiError {
    ApiError::new(
        StatusCode::CONFLICT,
        "ConflictingResourceUpdateException",
        message,
    )
}

/// Fills a template in and does what it says, for one certificate, which exists.
pub fn run(
    t: &Transaction<'_>,
    account: &Account,
    template: &Template,
    parameters: &BTreeMap<String, String>,
    certificate: Option<&str>,
) -> Result<Provisioned, ApiError> {
    let plan = template
        .fill(parameters)
        .map_err(|why| ApiError::invalid(why.to_string()))?;
    carry_out(t, account, plan, certificate)
}

/// Does what a plan says.
pub fn carry_out(
    t: &Transaction<'_>,
    account: &Account,
    plan: Plan,
    certificate: Option<&str>,
) -> Result<Provisioned, ApiError> {
    let mut done = Provisioned {
        device_configuration: plan.device_configuration,
        ..Provisioned::default()
    };
    if let Some(thing) = &plan.thing {
        put_thing(t, account, thing, &mut done)?;
        let arn = account.arn("iot", &format!("thing/{}", thing.name));
        done.arns.insert(thing.resource.clone(), arn);
        done.thing = Some(thing.name.clone());
    }
    let Some(id) = certificate else {
        return Ok(done);
    };
    for policy in &plan.policies {
        let name = match (&policy.name, &policy.document) {
            (Some(name), None) => name.clone(),
            (name, Some(document)) => {
                // Without a name it is named by its text, so that devices of one template share it.
                let name = name
                    .clone()
                    .unwrap_or_else(|| format!("provisioned-{}", &digest(document)[..32]));
                match policies::current(t, &name)? {
                    Some(current) if current == *document => {}
                    Some(_) => {
                        return Err(conflict(format!(
                            "Policy {name} exists and has another document"
                        )));
                    }
                    None => policies::add(
                        t,
                        &name,
                        document,
                        &account.arn("iot", &format!("policy/{name}")),
                    )?,
                }
                name
            }
            (None, None) => continue,
        };
        policies::attach_to_certificate(t, &name, id)?;
        let arn = account.arn("iot", &format!("policy/{name}"));
        done.arns.insert(policy.resource.clone(), arn);
    }
    if let Some(thing) = &plan.thing {
        principals::put(t, &thing.name, id, false)?;
    }
    if let Some(certificate) = &plan.certificate {
        if certificates::set_status(t, id, &certificate.status)? {
            done.events.push(Event::CertificateChanged {
                certificate: id.to_owned(),
                status: Some(certificate.status.clone()),
            });
        }
        let arn = account.arn("iot", &format!("cert/{id}"));
        done.arns.insert(certificate.resource.clone(), arn);
    }
    done.affected.push(id.to_owned());
    Ok(done)
}

fn digest(text: &str) -> String {
    let digest = openssl::sha::sha256(text.as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn put_thing(
    t: &Transaction<'_>,
    account: &Account,
    plan: &ThingPlan,
    done: &mut Provisioned,
) -> Result<(), ApiError> {
    let name = &plan.name;
    names::resource("ThingName", name)?;
    match Thing::find(t, name)? {
        None => {
            let new = NewThing {
                name: name.clone(),
                kind: plan.kind.clone(),
                attributes: plan.attributes.clone(),
            };
            things::add(t, &new, &account.arn("iot", &format!("thing/{name}")))?;
            done.events.push(Event::ThingCreated {
                thing: name.clone(),
            });
            join(t, plan, &[], done)
        }
        Some(found) => {
            let differs = |what: &str| {
                conflict(format!(
                    "Thing {name} exists and has {what}, and the template says FAIL"
                ))
            };
            if found.kind != plan.kind {
                match plan.kind_override {
                    Override::Replace => {
                        things::change(t, name, Some(plan.kind.clone()), None, None)?;
                    }
                    Override::Fail => return Err(differs("another type")),
                    Override::DoNothing | Override::Merge => {}
                }
            }
            if found.attributes != plan.attributes {
                let merge = plan.attributes_override == Override::Merge;
                match plan.attributes_override {
                    Override::Replace | Override::Merge => {
                        let payload = things::AttributePayload::new(plan.attributes.clone(), merge);
                        things::change(t, name, None, Some(payload), None)?;
                    }
                    Override::Fail => return Err(differs("other attributes")),
                    Override::DoNothing => {}
                }
            }
            let current = groups::of_thing(t, name, false)?;
            let same = current.len() == plan.groups.len()
                && plan.groups.iter().all(|group| current.contains(group));
            match plan.groups_override {
                _ if same => Ok(()),
                Override::DoNothing => Ok(()),
                Override::Fail => Err(differs("other groups")),
                Override::Merge => join(t, plan, &current, done),
                Override::Replace => {
                    for group in current.iter().filter(|group| !plan.groups.contains(group)) {
                        if let Some(affected) = groups::take(t, group, name)? {
                            done.affected.extend(affected);
                            done.events.push(Event::ThingRemoved {
                                thing: name.clone(),
                                group: group.clone(),
                            });
                        }
                    }
                    join(t, plan, &current, done)
                }
            }
        }
    }
}

fn join(
    t: &Transaction<'_>,
    plan: &ThingPlan,
    current: &[String],
    done: &mut Provisioned,
) -> Result<(), ApiError> {
    for group in plan.groups.iter().filter(|group| !current.contains(group)) {
        if let Some(affected) = groups::put(t, group, &plan.name)? {
            done.affected.extend(affected);
            done.events.push(Event::ThingAdded {
                thing: plan.name.clone(),
                group: group.clone(),
            });
        }
    }
    Ok(())
}
