//! The body of a provisioning template: parameters, resources and the functions that fill them in. Pure: what comes out is
//! a plan, which [`super::provision`] carries out.

use super::things::Attributes;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The parameter that AWS IoT fills in itself.
pub const CERTIFICATE_ID: &str = "AWS::IoT::Certificate::Id";

/// Levels of functions within functions.
const MAX_DEPTH: usize = 16;

/// A template that was read and checked.
#[derive(Clone, Debug)]
pub struct Template {
    parameters: BTreeMap<String, Option<String>>,
    mappings: Value,
    resources: Vec<Resource>,
    device_configuration: Map<String, Value>,
}

#[derive(Clone, Debug)]
struct Resource {
    name: String,
    kind: Kind,
    properties: Map<String, Value>,
    overrides: Map<String, Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Thing,
    Certificate,
    Policy,
}

/// Why a body is no template, or why it cannot be filled in; for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TemplateError(String);

fn fail<T>(text: impl Into<String>) -> Result<T, TemplateError> {
    Err(TemplateError(text.into()))
}

/// What to do with a property of a thing that exists and has it otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Override {
    /// Leave it.
    #[default]
    DoNothing,
    /// Set it.
    Replace,
    /// Add to it.
    Merge,
    /// Refuse.
    Fail,
}

/// What a filled-in template asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The thing, if the template has one.
    pub thing: Option<ThingPlan>,
    /// The status that the certificate gets.
    pub certificate: Option<CertificatePlan>,
    /// Policies to attach to the certificate.
    pub policies: Vec<PolicyPlan>,
    /// What the device is told.
    pub device_configuration: Map<String, Value>,
}

/// A thing of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThingPlan {
    /// Its name in the template.
    pub resource: String,
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: Option<String>,
    /// Its attributes.
    pub attributes: Attributes,
    /// Its groups.
    pub groups: Vec<String>,
    /// What to do with a type that differs.
    pub kind_override: Override,
    /// What to do with attributes that differ.
    pub attributes_override: Override,
    /// What to do with groups that differ.
    pub groups_override: Override,
}

/// A certificate of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CertificatePlan {
    /// Its name in the template.
    pub resource: String,
    /// `ACTIVE` or `INACTIVE`.
    pub status: String,
    /// Which certificate: what the template refers to.
    pub id: Option<String>,
    /// A signing request, where the template has one.
    pub signing_request: Option<String>,
    /// A certificate, where the template has one.
    pub pem: Option<String>,
}

/// A policy of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyPlan {
    /// Its name in the template.
    pub resource: String,
    /// One that exists, or the name for the document.
    pub name: Option<String>,
    /// The document, when the template has it.
    pub document: Option<String>,
}

impl Template {
    /// Reads and checks a body.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let body: Value = serde_json::from_str(text)
            .map_err(|error| TemplateError(format!("the template is not JSON: {error}")))?;
        let Value::Object(body) = body else {
            return fail("the template must be an object");
        };
        for key in body.keys() {
            if !matches!(
                key.as_str(),
                "Parameters" | "Mappings" | "Resources" | "DeviceConfiguration"
            ) {
                return fail(format!("'{key}' is not known in a template"));
            }
        }
        let mut parameters = BTreeMap::new();
        for (name, parameter) in object(&body, "Parameters")? {
            match parameter.get("Type").and_then(Value::as_str) {
                Some("String") => {}
                _ => return fail(format!("the Type of the parameter '{name}' must be String")),
            }
            let default = match parameter.get("Default") {
                None => None,
                Some(Value::String(text)) => Some(text.clone()),
                Some(_) => {
                    return fail(format!(
                        "the Default of the parameter '{name}' must be text"
                    ));
                }
            };
            parameters.insert(name, default);
        }
        let mut resources = Vec::new();
        for (name, resource) in object(&body, "Resources")? {
            resources.push(Resource::read(name, &resource)?);
        }
        for kind in [Kind::Thing, Kind::Certificate] {
            if resources
                .iter()
                .filter(|resource| resource.kind == kind)
                .count()
                > 1
            {
                return fail(format!("a template may have one {kind:?} at most"));
            }
        }
        if resources.is_empty() {
            return fail("a template must have Resources");
        }
        let template = Self {
            parameters,
            mappings: Value::Object(object(&body, "Mappings")?),
            resources,
            device_configuration: object(&body, "DeviceConfiguration")?,
        };
        template.check_references()?;
        Ok(template)
    }

    /// References to parameters that are not declared are found when the template is made, not when a device comes.
    fn check_references(&self) -> Result<(), TemplateError> {
        let filled: BTreeMap<&str, &str> = self
            .parameters
            .keys()
            .map(|name| (name.as_str(), ""))
            .collect();
        let scope = Scope {
            template: self,
            values: filled,
        };
        let values = self
            .resources
            .iter()
            .flat_map(|resource| resource.properties.values());
        for value in values.chain(self.device_configuration.values()) {
            scope.check(value, 0)?;
        }
        Ok(())
    }

    /// Fills the template in.
    pub fn fill(&self, given: &BTreeMap<String, String>) -> Result<Plan, TemplateError> {
        let mut values = BTreeMap::new();
        for (name, default) in &self.parameters {
            match given.get(name).or(default.as_ref()) {
                Some(value) => values.insert(name.as_str(), value.as_str()),
                None => return fail(format!("the parameter '{name}' is missing")),
            };
        }
        let scope = Scope {
            template: self,
            values,
        };
        let mut plan = Plan::default();
        for resource in &self.resources {
            let name = resource.name.clone();
            match resource.kind {
                Kind::Thing => plan.thing = Some(resource.thing(&scope)?),
                Kind::Certificate => {
                    let status = scope
                        .optional(&resource.properties, "Status")?
                        .unwrap_or_else(|| "Active".into());
                    let status = status.to_ascii_uppercase();
                    if !matches!(status.as_str(), "ACTIVE" | "INACTIVE") {
                        return fail(format!(
                            "the Status of '{name}' must be Active or Inactive, not '{status}'"
                        ));
                    }
                    plan.certificate = Some(CertificatePlan {
                        resource: name,
                        status,
                        id: scope.optional(&resource.properties, "CertificateId")?,
                        signing_request: scope
                            .optional(&resource.properties, "CertificateSigningRequest")?,
                        pem: scope.optional(&resource.properties, "CertificatePem")?,
                    });
                }
                Kind::Policy => {
                    let document = match resource.properties.get("PolicyDocument") {
                        Some(document @ Value::Object(_)) if !is_function(document) => {
                            Some(scope.fill(document, 0)?.to_string())
                        }
                        _ => scope.optional(&resource.properties, "PolicyDocument")?,
                    };
                    let policy = PolicyPlan {
                        name: scope.optional(&resource.properties, "PolicyName")?,
                        resource: name,
                        document,
                    };
                    if policy.name.is_none() && policy.document.is_none() {
                        return fail(format!(
                            "'{}' has neither PolicyName nor PolicyDocument",
                            policy.resource
                        ));
                    }
                    plan.policies.push(policy);
                }
            }
        }
        for (key, value) in &self.device_configuration {
            plan.device_configuration
                .insert(key.clone(), scope.fill(value, 0)?);
        }
        Ok(plan)
    }
}

fn object(body: &Map<String, Value>, key: &str) -> Result<Map<String, Value>, TemplateError> {
    match body.get(key) {
        None => Ok(Map::new()),
        Some(Value::Object(object)) => Ok(object.clone()),
        Some(_) => fail(format!("{key} must be an object")),
    }
}

impl Resource {
    fn read(name: String, value: &Value) -> Result<Self, TemplateError> {
        let Value::Object(resource) = value else {
            return fail(format!("the resource '{name}' must be an object"));
        };
        let (kind, known): (_, &[&str]) = match resource.get("Type").and_then(Value::as_str) {
            Some("AWS::IoT::Thing") => (
                Kind::Thing,
                &[
                    "ThingName",
                    "ThingTypeName",
                    "AttributePayload",
                    "ThingGroups",
                    "BillingGroup",
                ],
            ),
            Some("AWS::IoT::Certificate") => (
                Kind::Certificate,
                &[
                    "CertificateId",
                    "CertificateSigningRequest",
                    "CertificatePem",
                    "CACertificatePem",
                    "Status",
                    "ThingPrincipalType",
                ],
            ),
            Some("AWS::IoT::Policy") => (Kind::Policy, &["PolicyName", "PolicyDocument"]),
            Some(other) => {
                return fail(format!(
                    "the Type '{other}' of the resource '{name}' is not known"
                ));
            }
            None => return fail(format!("the resource '{name}' has no Type")),
        };
        let properties = object(resource, "Properties")?;
        if let Some(unknown) = properties.keys().find(|key| !known.contains(&key.as_str())) {
            return fail(format!("the resource '{name}' has no property '{unknown}'"));
        }
        if kind == Kind::Thing && !properties.contains_key("ThingName") {
            return fail(format!("the resource '{name}' has no ThingName"));
        }
        if properties.contains_key("BillingGroup") {
            return fail(format!(
                "the resource '{name}' has a BillingGroup, which this control plane has not"
            ));
        }
        Ok(Self {
            kind,
            properties,
            overrides: object(resource, "OverrideSettings")?,
            name,
        })
    }

    fn thing(&self, scope: &Scope<'_>) -> Result<ThingPlan, TemplateError> {
        let mut attributes = Attributes::new();
        if let Some(payload) = self.properties.get("AttributePayload") {
            let Value::Object(payload) = scope.fill(payload, 0)? else {
                return fail(format!(
                    "AttributePayload of '{}' must be an object",
                    self.name
                ));
            };
            for (key, value) in payload {
                match value {
                    Value::String(text) => attributes.insert(key, text),
                    other => attributes.insert(key, other.to_string()),
                };
            }
        }
        let mut groups = Vec::new();
        if let Some(list) = self.properties.get("ThingGroups") {
            let Value::Array(list) = scope.fill(list, 0)? else {
                return fail(format!("ThingGroups of '{}' must be a list", self.name));
            };
            for group in list {
                match group {
                    Value::String(group) => groups.push(group),
                    _ => {
                        return fail(format!(
                            "ThingGroups of '{}' must be a list of names",
                            self.name
                        ));
                    }
                }
            }
        }
        let name = scope
            .optional(&self.properties, "ThingName")?
            .unwrap_or_default();
        Ok(ThingPlan {
            resource: self.name.clone(),
            name,
            kind: scope
                .optional(&self.properties, "ThingTypeName")?
                .filter(|kind| !kind.is_empty()),
            attributes,
            groups,
            kind_override: self.override_of("ThingTypeName", false)?,
            attributes_override: self.override_of("AttributePayload", true)?,
            groups_override: self.override_of("ThingGroups", true)?,
        })
    }

    fn override_of(&self, property: &str, merges: bool) -> Result<Override, TemplateError> {
        match self.overrides.get(property).map(|value| value.as_str()) {
            None => Ok(Override::DoNothing),
            Some(Some("DO_NOTHING")) => Ok(Override::DoNothing),
            Some(Some("REPLACE")) => Ok(Override::Replace),
            Some(Some("FAIL")) => Ok(Override::Fail),
            Some(Some("MERGE")) if merges => Ok(Override::Merge),
            _ => fail(format!(
                "OverrideSettings of '{}': {property} must be DO_NOTHING, REPLACE, FAIL{}",
                self.name,
                if merges { " or MERGE" } else { "" }
            )),
        }
    }
}

fn is_function(value: &Value) -> bool {
    let Value::Object(members) = value else {
        return false;
    };
    members.len() == 1
        && members
            .keys()
            .all(|key| key == "Ref" || key.starts_with("Fn::"))
}

struct Scope<'a> {
    template: &'a Template,
    values: BTreeMap<&'a str, &'a str>,
}

impl Scope<'_> {
    fn optional(
        &self,
        properties: &Map<String, Value>,
        key: &str,
    ) -> Result<Option<String>, TemplateError> {
        let Some(value) = properties.get(key) else {
            return Ok(None);
        };
        match self.fill(value, 0)? {
            Value::String(text) => Ok(Some(text)),
            _ => fail(format!("{key} must be text")),
        }
    }

    fn fill(&self, value: &Value, depth: usize) -> Result<Value, TemplateError> {
        if depth > MAX_DEPTH {
            return fail("the template nests its functions too deeply");
        }
        match value {
            Value::Object(members) if is_function(value) => {
                let (name, argument) = members.iter().next().expect("a function has one member");
                self.call(name, argument, depth + 1)
            }
            Value::Object(members) => {
                let fill = |(key, value): (&String, &Value)| {
                    Ok((key.clone(), self.fill(value, depth + 1)?))
                };
                members
                    .iter()
                    .map(fill)
                    .collect::<Result<Map<_, _>, _>>()
                    .map(Value::Object)
            }
            Value::Array(elements) => elements
                .iter()
                .map(|element| self.fill(element, depth + 1))
                .collect(),
            other => Ok(other.clone()),
        }
    }

    fn text(&self, value: &Value, depth: usize, of: &str) -> Result<String, TemplateError> {
        match self.fill(value, depth)? {
            Value::String(text) => Ok(text),
            _ => fail(format!("{of} takes text")),
        }
    }

    fn parameter(&self, name: &str) -> Result<&str, TemplateError> {
        self.values
            .get(name)
            .copied()
            .ok_or_else(|| TemplateError(format!("the parameter '{name}' is not declared")))
    }

    fn call(&self, name: &str, argument: &Value, depth: usize) -> Result<Value, TemplateError> {
        let list = |length: usize| match argument {
            Value::Array(list) if list.len() == length => Ok(list),
            _ => fail(format!("{name} takes a list of {length}")),
        };
        match name {
            "Ref" => match argument {
                Value::String(parameter) => Ok(self.parameter(parameter)?.into()),
                _ => fail("Ref takes the name of a parameter"),
            },
            "Fn::Join" => {
                let list = list(2)?;
                let separator = self.text(&list[0], depth, name)?;
                let Value::Array(parts) = self.fill(&list[1], depth)? else {
                    return fail("Fn::Join takes a separator and a list");
                };
                let parts: Option<Vec<&str>> = parts.iter().map(Value::as_str).collect();
                match parts {
                    Some(parts) => Ok(parts.join(&separator).into()),
                    None => fail("Fn::Join takes a list of texts"),
                }
            }
            "Fn::Split" => {
                let list = list(2)?;
                let (separator, text) = (
                    self.text(&list[0], depth, name)?,
                    self.text(&list[1], depth, name)?,
                );
                if separator.is_empty() {
                    return fail("Fn::Split takes a separator that is not empty");
                }
                Ok(text.split(&separator).map(Value::from).collect())
            }
            "Fn::Select" => {
                let list = list(2)?;
                let index = match self.fill(&list[0], depth)? {
                    Value::Number(number) => number.as_u64(),
                    Value::String(text) => text.parse().ok(),
                    _ => None,
                };
                let Value::Array(elements) = self.fill(&list[1], depth)? else {
                    return fail("Fn::Select takes an index and a list");
                };
                let element = index.and_then(|index| elements.get(usize::try_from(index).ok()?));
                element
                    .cloned()
                    .ok_or_else(|| TemplateError("Fn::Select: the list has no such element".into()))
            }
            "Fn::Sub" => {
                let (text, more) = match argument {
                    Value::String(text) => (text, Map::new()),
                    Value::Array(list) => match list.as_slice() {
                        [Value::String(text), Value::Object(more)] => (text, more.clone()),
                        _ => return fail("Fn::Sub takes text, or text and an object"),
                    },
                    _ => return fail("Fn::Sub takes text, or text and an object"),
                };
                self.substitute(text, &more, depth).map(Value::from)
            }
            "Fn::FindInMap" => {
                let list = list(3)?;
                let mut found = &self.template.mappings;
                for key in list {
                    let key = self.text(key, depth, name)?;
                    found = match found.get(&key) {
                        Some(found) => found,
                        None => {
                            return fail(format!("Fn::FindInMap: there is no '{key}' in Mappings"));
                        }
                    };
                }
                Ok(found.clone())
            }
            other => fail(format!("the function {other} is not known")),
        }
    }

    fn substitute(
        &self,
        text: &str,
        more: &Map<String, Value>,
        depth: usize,
    ) -> Result<String, TemplateError> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, from)) = rest.split_once("${") {
            out.push_str(before);
            let Some((name, after)) = from.split_once('}') else {
                return fail(format!("Fn::Sub: the variable in '{text}' is not closed"));
            };
            match more.get(name) {
                // `${!name}` is a literal `${name}`, for policy variables.
                _ if name.starts_with('!') => out.push_str(&format!("${{{}}}", &name[1..])),
                Some(value) => out.push_str(&self.text(value, depth, "Fn::Sub")?),
                None => out.push_str(self.parameter(name)?),
            }
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }

    /// Finds references that can never be filled in. What depends on values (an index, a key of a map) cannot be told yet.
    fn check(&self, value: &Value, depth: usize) -> Result<(), TemplateError> {
        if depth > MAX_DEPTH {
            return fail("the template nests its functions too deeply");
        }
        match value {
            Value::Object(members) if is_function(value) => {
                let (name, argument) = members.iter().next().expect("a function has one member");
                match (name.as_str(), argument) {
                    ("Ref", Value::String(parameter)) => self.parameter(parameter).map(|_| ()),
                    ("Ref", _) => fail("Ref takes the name of a parameter"),
                    (
                        "Fn::Join" | "Fn::Split" | "Fn::Select" | "Fn::Sub" | "Fn::FindInMap",
                        argument,
                    ) => self.check(argument, depth + 1),
                    (other, _) => fail(format!("the function {other} is not known")),
                }
            }
            Value::Object(members) => members
                .values()
                .try_for_each(|value| self.check(value, depth + 1)),
            Value::Array(elements) => elements
                .iter()
                .try_for_each(|element| self.check(element, depth + 1)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn body() -> Value {
        json!({
            "Parameters": {
                "SerialNumber": {"Type": "String"},
                "Site": {"Type": "String", "Default": "berlin"},
                "AWS::IoT::Certificate::Id": {"Type": "String"}
            },
            "Mappings": {"Urls": {"berlin": {"url": "https://b"}, "oslo": {"url": "https://o"}}},
            "Resources": {
                "thing": {
                    "Type": "AWS::IoT::Thing",
                    "OverrideSettings": {"AttributePayload": "MERGE", "ThingGroups": "FAIL"},
                    "Properties": {
                        "ThingName": {"Fn::Join": ["-", ["device", {"Ref": "SerialNumber"}]]},
                        "AttributePayload": {"serial": {"Ref": "SerialNumber"}, "first": {"Fn::Select": [0, {"Fn::Split": ["-", {"Ref": "SerialNumber"}]}]}},
                        "ThingGroups": ["all", {"Fn::Sub": "site-${Site}"}],
                        "ThingTypeName": "sensor"
                    }
                },
                "certificate": {"Type": "AWS::IoT::Certificate", "Properties": {"CertificateId": {"Ref": "AWS::IoT::Certificate::Id"}, "Status": "Active"}},
                "policy": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyName": "fleet"}}
            },
            "DeviceConfiguration": {"url": {"Fn::FindInMap": ["Urls", {"Ref": "Site"}, "url"]}}
        })
    }

    #[test]
    fn a_template_is_filled_in_with_parameters_and_their_defaults() {
        let template = Template::parse(&body().to_string()).unwrap();
        let plan = template
            .fill(&given(&[("SerialNumber", "a-1"), (CERTIFICATE_ID, "ff")]))
            .unwrap();
        let thing = plan.thing.unwrap();
        assert_eq!(thing.name, "device-a-1");
        assert_eq!(
            thing.attributes,
            given(&[("serial", "a-1"), ("first", "a")])
        );
        assert_eq!(thing.groups, ["all", "site-berlin"]);
        assert_eq!(thing.kind.as_deref(), Some("sensor"));
        assert_eq!(
            (thing.attributes_override, thing.groups_override),
            (Override::Merge, Override::Fail)
        );
        let certificate = plan.certificate.unwrap();
        assert_eq!(
            (certificate.status.as_str(), certificate.id.as_deref()),
            ("ACTIVE", Some("ff"))
        );
        assert_eq!(plan.policies[0].name.as_deref(), Some("fleet"));
        assert_eq!(
            Value::Object(plan.device_configuration),
            json!({"url": "https://b"})
        );
    }

    #[test]
    fn what_is_missing_or_cannot_be_found_is_named() {
        let template = Template::parse(&body().to_string()).unwrap();
        let error = template
            .fill(&given(&[(CERTIFICATE_ID, "ff")]))
            .unwrap_err();
        assert_eq!(error.to_string(), "the parameter 'SerialNumber' is missing");
        let error = template
            .fill(&given(&[
                ("SerialNumber", "1"),
                ("Site", "rome"),
                (CERTIFICATE_ID, "f"),
            ]))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "Fn::FindInMap: there is no 'rome' in Mappings"
        );
    }

    #[test]
    fn a_body_that_can_never_be_filled_in_is_refused_when_it_is_made() {
        let thing = |name: Value| json!({"Resources": {"t": {"Type": "AWS::IoT::Thing", "Properties": {"ThingName": name}}}});
        for (body, message) in [
            (json!([]), "must be an object"),
            (json!({"Resource": {}}), "'Resource' is not known"),
            (json!({}), "must have Resources"),
            (
                json!({"Resources": {"a": {"Type": "AWS::EC2::Instance"}}}),
                "'AWS::EC2::Instance'",
            ),
            (
                json!({"Resources": {"a": {"Type": "AWS::IoT::Thing"}}}),
                "no ThingName",
            ),
            (
                thing(json!({"Ref": "Nothing"})),
                "'Nothing' is not declared",
            ),
            (thing(json!({"Fn::Base64": "x"})), "Fn::Base64 is not known"),
            (
                json!({"Parameters": {"a": {"Type": "Number"}}, "Resources": {}}),
                "must be String",
            ),
        ] {
            let error = Template::parse(&body.to_string()).unwrap_err().to_string();
            assert!(error.contains(message), "{body}: {error}");
        }
    }

    #[test]
    fn a_policy_document_may_stand_in_the_template_and_keep_its_variables() {
        let body = json!({
            "Parameters": {"Site": {"Type": "String"}},
            "Resources": {"p": {"Type": "AWS::IoT::Policy", "Properties": {"PolicyDocument": {"Fn::Sub": "{\"Resource\": \"${Site}/${!iot:ClientId}\"}"}}}}
        });
        let plan = Template::parse(&body.to_string())
            .unwrap()
            .fill(&given(&[("Site", "x")]))
            .unwrap();
        assert_eq!(
            plan.policies[0].document.as_deref(),
            Some("{\"Resource\": \"x/${iot:ClientId}\"}")
        );
    }
}
