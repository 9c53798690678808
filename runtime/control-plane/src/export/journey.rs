//! What is moved, kind by kind: types, groups, things, policies, role aliases, components, deployments, certificates.

use super::{
    artifacts,
    client::{Client, Refusal, refusal},
    report::{Outcome, Report},
    service::{Operation, encode},
    translate::{Translation, parts_of, uris},
};
use anyhow::{Context as _, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::Method;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// How long a new component version may take to become deployable.
const DEPLOYABLE: Duration = Duration::from_secs(120);

/// From here to there.
pub struct Journey {
    /// The control plane that is left.
    pub here: Client,
    /// The new place.
    pub there: Client,
    /// Names of one in the other.
    pub translation: Translation,
    /// Whether only to look.
    pub dry_run: bool,
    /// Whether certificates are registered there.
    pub certificates: bool,
    /// What happened.
    pub report: Report,
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// Members that are there.
fn kept(value: &Value, names: &[&str]) -> Value {
    let members = names
        .iter()
        .filter(|name| !value[**name].is_null())
        .map(|name| ((*name).to_owned(), value[*name].clone()));
    Value::Object(members.collect())
}

/// `None` when it is not there.
fn found(result: Result<Value>) -> Result<Option<Value>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if refusal(&error).is_some_and(Refusal::missing) => Ok(None),
        Err(error) => Err(error),
    }
}

type Done = Result<(Outcome, &'static str)>;

impl Journey {
    /// Moves all kinds. What cannot be moved is reported and does not hold up the rest.
    pub async fn run(&mut self) -> Result<()> {
        self.types().await.context("thing types")?;
        self.groups().await.context("thing groups")?;
        self.policies().await.context("policies")?;
        self.things().await.context("things")?;
        self.group_policies().await.context("policies of groups")?;
        self.aliases().await.context("role aliases")?;
        self.components().await.context("components")?;
        self.deployments().await.context("deployments")?;
        self.moved_certificates().await.context("certificates")?;
        self.report.advise(
            "Devices: each must be given the new place's endpoints (aws iot describe-endpoint --endpoint-type iot:Data-ATS and\niot:CredentialProvider) and its root certificate before it connects there. While both places run, a device belongs to one.",
        );
        self.report.advise(
            "Not moved: IAM roles and their policies, secrets, shadows, jobs that are no deployments, histories, provisioning templates,\nusers of this control plane. Private keys of certificates are on the devices and nowhere else.",
        );
        Ok(())
    }

    fn note(&mut self, kind: &'static str, name: &str, done: Done) {
        match done {
            Ok((outcome, why)) => self.report.done(kind, name, outcome, why),
            Err(error) => {
                self.report
                    .done(kind, name, Outcome::Failed, &format!("{error:#}"));
            }
        }
    }

    /// Makes something that is not there, unless this is a dry run.
    async fn make(&self, operation: Operation, input: Value) -> Done {
        if self.dry_run {
            return Ok((Outcome::Moved, ""));
        }
        match self.there.call(operation, input).await {
            Ok(_) => Ok((Outcome::Moved, "")),
            // Made by somebody else meanwhile, or by a try whose answer was lost.
            Err(error) if refusal(&error).is_some_and(Refusal::exists) => Ok((Outcome::There, "")),
            Err(error) => Err(error),
        }
    }

    async fn types(&mut self) -> Result<()> {
        let list = Operation::iot_get("ListThingTypes", "/thing-types");
        let all = self
            .here
            .list(list, json!({ "maxResults": 250 }), "thingTypes")
            .await?;
        self.report.begin("thing types", all.len());
        for own in all {
            let name = text(&own, "thingTypeName").to_owned();
            let done = self.thing_type(&name, &own).await;
            self.note("thing types", &name, done);
        }
        Ok(())
    }

    async fn thing_type(&self, name: &str, own: &Value) -> Done {
        let path = format!("/thing-types/{}", encode(name));
        let get = Operation::iot_get("DescribeThingType", &path);
        if let Some(known) = found(self.there.call(get, json!({})).await)? {
            let same = known["thingTypeProperties"] == own["thingTypeProperties"]
                || own["thingTypeProperties"].is_null();
            return Ok(there(same, "its properties are others"));
        }
        let input = kept(own, &["thingTypeProperties"]);
        self.make(Operation::iot_post("CreateThingType", path), input)
            .await
    }

    async fn groups(&mut self) -> Result<()> {
        let list = Operation::iot_get("ListThingGroups", "/thing-groups");
        let input = json!({ "maxResults": 250, "recursive": true });
        let all = self.here.list(list, input, "thingGroups").await?;
        self.report.begin("thing groups", all.len());
        let mut waiting = BTreeMap::new();
        for group in all {
            let name = text(&group, "groupName").to_owned();
            let path = format!("/thing-groups/{}", encode(&name));
            let get = Operation::iot_get("DescribeThingGroup", path);
            waiting.insert(name, self.here.call(get, json!({})).await?);
        }
        // Those above first.
        while !waiting.is_empty() {
            let parent =
                |own: &Value| text(&own["thingGroupMetadata"], "parentGroupName").to_owned();
            let ready: Vec<String> = waiting
                .iter()
                .filter(|(_, own)| !waiting.contains_key(&parent(own)))
                .map(|(name, _)| name.clone())
                .collect();
            if ready.is_empty() {
                break;
            }
            for name in ready {
                if let Some(own) = waiting.remove(&name) {
                    let done = self.group(&name, &own, &parent(&own)).await;
                    self.note("thing groups", &name, done);
                }
            }
        }
        Ok(())
    }

    async fn group(&self, name: &str, own: &Value, parent: &str) -> Done {
        let path = format!("/thing-groups/{}", encode(name));
        let get = Operation::iot_get("DescribeThingGroup", &path);
        if let Some(known) = found(self.there.call(get, json!({})).await)? {
            let same = text(&known["thingGroupMetadata"], "parentGroupName") == parent;
            return Ok(there(same, "it is in another group"));
        }
        let mut input = kept(own, &["thingGroupProperties"]);
        if !parent.is_empty() {
            input["parentGroupName"] = parent.into();
        }
        self.make(Operation::iot_post("CreateThingGroup", path), input)
            .await
    }

    async fn things(&mut self) -> Result<()> {
        let list = Operation::iot_get("ListThings", "/things");
        let all = self
            .here
            .list(list, json!({ "maxResults": 250 }), "things")
            .await?;
        self.report.begin("things", all.len());
        for own in all {
            let name = text(&own, "thingName").to_owned();
            let done = self.thing(&name, &own).await;
            self.note("things", &name, done);
        }
        Ok(())
    }

    async fn thing(&self, name: &str, own: &Value) -> Done {
        let path = format!("/things/{}", encode(name));
        let get = Operation::iot_get("DescribeThing", &path);
        let done = match found(self.there.call(get, json!({})).await)? {
            Some(known) => {
                let attributes = |value: &Value| value["attributes"].as_object().cloned();
                let same = known["thingTypeName"] == own["thingTypeName"]
                    && attributes(&known).unwrap_or_default()
                        == attributes(own).unwrap_or_default();
                there(same, "its type or attributes are others")
            }
            None => {
                let mut input = kept(own, &["thingTypeName"]);
                if let Some(attributes) = own["attributes"].as_object().filter(|a| !a.is_empty()) {
                    input["attributePayload"] = json!({ "attributes": attributes });
                }
                self.make(Operation::iot_post("CreateThing", &path), input)
                    .await?
            }
        };
        let groups = Operation::iot_get("ListThingGroupsForThing", format!("{path}/thing-groups"));
        let input = json!({ "maxResults": 250 });
        let groups = self
            .here
            .list(groups.clone(), input.clone(), "thingGroups")
            .await
            .map(|own| (own, groups))?;
        if groups.0.is_empty() || self.dry_run {
            return Ok(done);
        }
        let known: BTreeSet<String> = (self.there.list(groups.1, input, "thingGroups").await?)
            .iter()
            .map(|group| text(group, "groupName").to_owned())
            .collect();
        for group in groups.0.iter().map(|group| text(group, "groupName")) {
            if !known.contains(group) {
                let add = Operation::iot_put(
                    "AddThingToThingGroup",
                    "/thing-groups/addThingToThingGroup",
                );
                let input = json!({ "thingGroupName": group, "thingName": name });
                self.there.call(add, input).await?;
            }
        }
        Ok(done)
    }

    async fn policies(&mut self) -> Result<()> {
        let list = Operation::iot_get("ListPolicies", "/policies");
        let all = self
            .here
            .list(list, json!({ "pageSize": 250 }), "policies")
            .await?;
        self.report.begin("policies", all.len());
        for own in all {
            let name = text(&own, "policyName").to_owned();
            let done = self.policy(&name).await;
            self.note("policies", &name, done);
        }
        Ok(())
    }

    async fn policy(&self, name: &str) -> Done {
        let path = format!("/policies/{}", encode(name));
        let get = Operation::iot_get("GetPolicy", &path);
        let own = self.here.call(get.clone(), json!({})).await?;
        let document = self.translation.text(text(&own, "policyDocument"));
        if let Some(known) = found(self.there.call(get, json!({})).await)? {
            let parsed = |text: &str| serde_json::from_str::<Value>(text).ok();
            let same = parsed(text(&known, "policyDocument")) == parsed(&document);
            return Ok(there(same, "its document is another"));
        }
        let input = json!({ "policyDocument": document });
        self.make(Operation::iot_post("CreatePolicy", path), input)
            .await
    }

    async fn group_policies(&mut self) -> Result<()> {
        let list = Operation::iot_get("ListThingGroups", "/thing-groups");
        let input = json!({ "maxResults": 250, "recursive": true });
        let mut pairs = Vec::new();
        for group in self.here.list(list, input, "thingGroups").await? {
            let arn = text(&group, "groupArn");
            for policy in self.attached(&self.here, arn).await? {
                pairs.push((arn.to_owned(), policy));
            }
        }
        self.report.begin("policies of groups", pairs.len());
        for (arn, policy) in pairs {
            let target = self.translation.text(&arn);
            let done = self.attach(&target, &policy).await;
            self.note("policies of groups", &policy, done);
        }
        Ok(())
    }

    /// Names of the policies attached to a group or certificate itself.
    async fn attached(&self, client: &Client, target: &str) -> Result<Vec<String>> {
        let list = Operation::iot_post(
            "ListAttachedPolicies",
            format!("/attached-policies/{}", encode(target)),
        );
        let all = client
            .list(list, json!({ "recursive": false }), "policies")
            .await?;
        let names = all
            .iter()
            .map(|policy| text(policy, "policyName").to_owned());
        Ok(names.collect())
    }

    async fn attach(&self, target: &str, policy: &str) -> Done {
        if self.dry_run {
            return Ok((Outcome::Moved, ""));
        }
        if (self.attached(&self.there, target).await?).contains(&policy.to_owned()) {
            return Ok((Outcome::There, ""));
        }
        let path = format!("/target-policies/{}", encode(policy));
        let attach = Operation::iot_put("AttachPolicy", path);
        self.make(attach, json!({ "target": target })).await
    }

    async fn aliases(&mut self) -> Result<()> {
        let list = Operation::iot_get("ListRoleAliases", "/role-aliases");
        let all = self
            .here
            .list(list, json!({ "pageSize": 250 }), "roleAliases")
            .await?;
        self.report.begin("role aliases", all.len());
        for name in all.iter().filter_map(Value::as_str) {
            let done = self.alias(name).await;
            self.note("role aliases", name, done);
        }
        if !all.is_empty() {
            self.report.advise(
                "Role aliases name roles of the new account: make those roles (aws iam create-role, trusted by credentials.iot.amazonaws.com)\nwith the permissions that devices need. A role alias is refused until its role is there.",
            );
        }
        Ok(())
    }

    async fn alias(&self, name: &str) -> Done {
        let path = format!("/role-aliases/{}", encode(name));
        let get = Operation::iot_get("DescribeRoleAlias", &path);
        let own = self.here.call(get.clone(), json!({})).await?;
        let own = &own["roleAliasDescription"];
        let role = self.translation.text(text(own, "roleArn"));
        if let Some(known) = found(self.there.call(get, json!({})).await)? {
            let same = text(&known["roleAliasDescription"], "roleArn") == role;
            return Ok(there(same, "it names another role"));
        }
        let mut input = kept(own, &["credentialDurationSeconds"]);
        input["roleArn"] = role.into();
        self.make(Operation::iot_post("CreateRoleAlias", path), input)
            .await
    }

    async fn components(&mut self) -> Result<()> {
        let list = Operation::greengrass_get("ListComponents", "/greengrass/v2/components");
        let input = json!({ "scope": "PRIVATE", "maxResults": 100 });
        let mut all = Vec::new();
        for component in self.here.list(list, input, "components").await? {
            let path = format!(
                "/greengrass/v2/components/{}/versions",
                encode(text(&component, "arn"))
            );
            let list = Operation::greengrass_get("ListComponentVersions", path);
            let input = json!({ "maxResults": 100 });
            let mut versions = self.here.list(list, input, "componentVersions").await?;
            // The oldest first, so that the latest there is the latest here at every moment.
            versions.reverse();
            all.extend(versions);
        }
        self.report.begin("component versions", all.len());
        let (mut buckets, mut objects) = (BTreeSet::new(), BTreeSet::new());
        for own in all {
            let name = format!(
                "{} {}",
                text(&own, "componentName"),
                text(&own, "componentVersion")
            );
            let done = self
                .component(text(&own, "arn"), &mut buckets, &mut objects)
                .await;
            self.note("component versions", &name, done);
        }
        Ok(())
    }

    async fn component(
        &mut self,
        arn: &str,
        buckets: &mut BTreeSet<String>,
        objects: &mut BTreeSet<String>,
    ) -> Done {
        let path = |arn: &str| format!("/greengrass/v2/components/{}", encode(arn));
        let get = Operation::greengrass_get("GetComponent", path(arn));
        let own = self
            .here
            .call(get, json!({ "recipeOutputFormat": "JSON" }))
            .await?;
        let recipe = STANDARD.decode(text(&own, "recipe"))?;
        let mut recipe: Value = serde_json::from_slice(&recipe).context("reading the recipe")?;
        let new_arn = self.translation.text(arn);
        let describe =
            Operation::greengrass_get("DescribeComponent", format!("{}/metadata", path(&new_arn)));
        if found(self.there.call(describe.clone(), json!({})).await)?.is_some() {
            return Ok((Outcome::There, ""));
        }
        for uri in uris(&mut recipe).into_iter().map(|uri| uri.clone()) {
            let Some((from, key)) = parts_of(&uri) else {
                continue;
            };
            let to = self.translation.bucket(from).to_owned();
            if buckets.insert(to.clone())
                && artifacts::bucket(&self.there, &to, self.dry_run).await?
                && self.dry_run
            {
                // Nothing can be in a bucket that is not there.
                continue;
            }
            if objects.insert(uri.clone()) {
                artifacts::copy(&self.here, &self.there, (from, &to, key), self.dry_run)
                    .await
                    .with_context(|| format!("its artifact {uri}"))?;
            }
        }
        self.translation.recipe(&mut recipe);
        let create = Operation::greengrass_post(
            "CreateComponentVersion",
            "/greengrass/v2/createComponentVersion",
        );
        let mut input = json!({ "inlineRecipe": STANDARD.encode(serde_json::to_vec(&recipe)?) });
        if let Some(tags) = own["tags"].as_object().filter(|tags| !tags.is_empty()) {
            input["tags"] = json!(tags);
        }
        let done = self.make(create, input).await?;
        if !self.dry_run {
            self.deployable(describe).await?;
        }
        Ok(done)
    }

    /// Waits until a component that was made has been checked.
    async fn deployable(&self, describe: Operation) -> Result<()> {
        let deadline = Instant::now() + DEPLOYABLE;
        loop {
            let now = self.there.call(describe.clone(), json!({})).await?;
            match text(&now["status"], "componentState") {
                "DEPLOYABLE" => return Ok(()),
                "FAILED" => anyhow::bail!("it failed there: {}", now["status"]["errors"]),
                _ if Instant::now() > deadline => anyhow::bail!("it is not deployable yet"),
                _ => tokio::time::sleep(Duration::from_millis(500)).await,
            }
        }
    }

    async fn deployments(&mut self) -> Result<()> {
        let list = Operation::greengrass_get("ListDeployments", "/greengrass/v2/deployments");
        let input = json!({ "historyFilter": "LATEST_ONLY", "maxResults": 100 });
        let all = self.here.list(list, input, "deployments").await?;
        self.report.begin("deployments", all.len());
        // Those above their sub-deployments first.
        let (first, then): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|own| own["parentTargetArn"].is_null());
        for own in first.into_iter().chain(then) {
            let target = text(&own, "targetArn").to_owned();
            let done = self.deployment(&own, &target).await;
            self.note("deployments", &target, done);
        }
        Ok(())
    }

    async fn deployment(&self, own: &Value, target: &str) -> Done {
        if matches!(text(own, "deploymentStatus"), "CANCELED" | "INACTIVE") {
            return Ok((Outcome::Left, "it was canceled"));
        }
        let get = |id: &str| {
            let path = format!("/greengrass/v2/deployments/{}", encode(id));
            Operation::greengrass_get("GetDeployment", path)
        };
        let own = self
            .here
            .call(get(text(own, "deploymentId")), json!({}))
            .await?;
        let target = self.translation.text(target);
        let list = Operation::greengrass_get("ListDeployments", "/greengrass/v2/deployments");
        let input = json!({ "targetArn": target, "historyFilter": "LATEST_ONLY" });
        if let Some(known) = (self.there.list(list, input, "deployments").await?).first() {
            let known = self
                .there
                .call(get(text(known, "deploymentId")), json!({}))
                .await?;
            let same = known["components"] == own["components"];
            return Ok(there(same, "the target runs something else there"));
        }
        let mut input = kept(
            &own,
            &[
                "deploymentName",
                "components",
                "deploymentPolicies",
                "iotJobConfiguration",
            ],
        );
        input["targetArn"] = target.into();
        if let Some(parent) = own["parentTargetArn"].as_str() {
            input["parentTargetArn"] = self.translation.text(parent).into();
        }
        if let Some(tags) = own["tags"].as_object().filter(|tags| !tags.is_empty()) {
            input["tags"] = json!(tags);
        }
        let create = Operation::greengrass_post("CreateDeployment", "/greengrass/v2/deployments");
        self.make(create, input).await
    }

    async fn moved_certificates(&mut self) -> Result<()> {
        let list = Operation::iot_get("ListCertificates", "/certificates");
        let all = self
            .here
            .list(list, json!({ "pageSize": 250 }), "certificates")
            .await?;
        self.report.begin("certificates", all.len());
        for own in &all {
            let id = text(own, "certificateId").to_owned();
            let done = self.certificate(own, &id).await;
            self.note("certificates", &id, done);
        }
        if !all.is_empty() && !self.certificates {
            self.report.advise(
                "Certificates were left here. AWS IoT takes them without their keys, which stay on the devices:\n  --certificates   registers each active one as it is (RegisterCertificateWithoutCA), with its policies and things; or\n  register this control plane's authority there (aws iot register-ca-certificate with DATA/pki/ca.pem, whose key signs the\n  verification certificate), with automatic registration: then each is registered when its device first connects.",
            );
        }
        Ok(())
    }

    async fn certificate(&self, own: &Value, id: &str) -> Done {
        if !self.certificates {
            return Ok((Outcome::Left, ""));
        }
        if text(own, "status") != "ACTIVE" {
            return Ok((Outcome::Left, "it is not active"));
        }
        let path = format!("/certificates/{}", encode(id));
        let get = Operation::iot_get("DescribeCertificate", path);
        let full = self.here.call(get.clone(), json!({})).await?;
        let done = match found(self.there.call(get, json!({})).await)? {
            Some(_) => (Outcome::There, ""),
            None => {
                let pem = &full["certificateDescription"]["certificatePem"];
                let input = json!({ "certificatePem": pem, "status": "ACTIVE" });
                let path = "/certificate/register-no-ca";
                let register = Operation::iot_post("RegisterCertificateWithoutCA", path);
                self.make(register, input).await?
            }
        };
        if self.dry_run {
            return Ok(done);
        }
        let arn = text(own, "certificateArn");
        let target = self.translation.text(arn);
        for policy in self.attached(&self.here, arn).await? {
            self.attach(&target, &policy).await?;
        }
        let list = Operation::iot_get("ListPrincipalThings", "/principals/things")
            .with_header("x-amzn-principal", arn);
        for thing in self.here.list(list, json!({}), "things").await? {
            let path = format!(
                "/things/{}/principals",
                encode(thing.as_str().unwrap_or_default())
            );
            let mut attach = Operation::iot_put("AttachThingPrincipal", path)
                .with_header("x-amzn-principal", target.as_str());
            attach.method = Method::PUT;
            self.there.call(attach, json!({})).await?;
        }
        Ok(done)
    }
}

fn there(same: bool, otherwise: &'static str) -> (Outcome, &'static str) {
    if same {
        (Outcome::There, "")
    } else {
        (Outcome::Differs, otherwise)
    }
}
