//! What a connection may do: the policies of its certificate and of its thing's groups, asked for each topic.
//!
//! | act | action | resource |
//! |---|---|---|
//! | CONNECT | `iot:Connect` | `client/<client id>` |
//! | PUBLISH, the will | `iot:Publish`, retained also `iot:RetainPublish` | `topic/<topic>` |
//! | SUBSCRIBE | `iot:Subscribe` | `topicfilter/<filter>` |
//! | a message on its way to the client | `iot:Receive` | `topic/<topic>` |

use super::port::Link;
use crate::{
    iot::{
        policy::{self, Document, Facts},
        registry::{Principal, Registry, arrivals},
    },
    state::Account,
};
use async_trait::async_trait;
use mqtt::{
    Certificate, Identity, Policy, QoS,
    policy::{ConnectRefusal, ConnectRequest},
};
use openssl::{nid::Nid, x509::X509NameRef};
use std::sync::Arc;
use tokio::sync::watch;

/// Topics that only this program publishes to.
pub const OURS: &[&str] = &["$aws/events/", "$SYS/"];

/// Decides by the registry.
pub struct Access {
    registry: Registry,
    account: Account,
    link: Link,
    revision: watch::Receiver<u32>,
}

impl Access {
    /// Over the account's registry.
    pub fn new(registry: Registry, account: Account, link: Link) -> Self {
        let revision = registry.revision();
        Self {
            registry,
            account,
            link,
            revision,
        }
    }

    /// A certificate that is not known: its authority may want it registered.
    async fn arrived(&self, certificate: &Certificate) -> Option<Arc<Principal>> {
        let der = certificate.x509().to_der().ok()?;
        let news = match arrivals::arrive(&self.registry, &self.account, &der).await {
            Ok(news) => news?,
            Err(error) => {
                log::error!("registering a certificate at its first connection: {error}");
                return None;
            }
        };
        self.link.send_all([news]).await;
        self.registry
            .load(&certificate.fingerprint)
            .await
            .ok()
            .flatten()
    }

    fn principal(&self, who: &Identity) -> Option<Arc<Principal>> {
        let certificate = who.certificate.as_ref()?;
        self.registry
            .loaded(&certificate.fingerprint)
            .filter(|principal| principal.active())
    }

    fn allows(
        &self,
        who: &Identity,
        action: &str,
        resource: &str,
        add: impl FnOnce(&mut Facts),
    ) -> bool {
        let Some(principal) = self.principal(who) else {
            return false;
        };
        self.principal_allows(&principal, who, action, resource, add)
    }

    fn principal_allows(
        &self,
        principal: &Principal,
        who: &Identity,
        action: &str,
        resource: &str,
        add: impl FnOnce(&mut Facts),
    ) -> bool {
        let mut facts = facts(principal, who);
        add(&mut facts);
        let resource = self.account.arn("iot", resource);
        policy::allows(
            documents(principal, &who.client_id),
            action,
            &resource,
            &facts,
        )
    }
}

/// The policies that count for a client: the certificate's, and those of the groups of its thing.
pub fn documents<'a>(
    principal: &'a Principal,
    client_id: &str,
) -> impl Iterator<Item = &'a Document> {
    let thing = principal.thing(client_id).map(|(_, thing)| thing);
    let of_groups = thing.into_iter().flat_map(|thing| &thing.policies);
    principal.policies.iter().chain(of_groups).map(Arc::as_ref)
}

/// What policies may ask about a connection.
pub fn facts(principal: &Principal, who: &Identity) -> Facts {
    let mut facts = Facts::default();
    facts.add("iot:ClientId", who.client_id.to_string());
    facts.add("aws:SecureTransport", "true");
    if let Some(address) = who.address {
        facts.add("iot:SourceIp", address.ip().to_string());
        facts.add("aws:SourceIp", address.ip().to_string());
    }
    let thing = principal.thing(&who.client_id);
    facts.add(
        "iot:Connection.Thing.IsAttached",
        thing.is_some().to_string(),
    );
    if let Some((name, thing)) = thing {
        facts.add("iot:Connection.Thing.ThingName", name);
        if let Some(kind) = &thing.kind {
            facts.add("iot:Connection.Thing.ThingTypeName", kind);
        }
        for (name, value) in &thing.attributes {
            facts.add(&format!("iot:Connection.Thing.Attributes[{name}]"), value);
        }
    }
    if let Some(certificate) = &who.certificate {
        facts.add("iot:CertificateId", &certificate.fingerprint);
        names(&mut facts, "Subject", certificate.x509().subject_name());
        names(&mut facts, "Issuer", certificate.x509().issuer_name());
        if let Ok(serial) = certificate.serial() {
            facts.add("iot:Certificate.SerialNumber", serial);
        }
        for name in certificate.alternative_names() {
            facts.add("iot:Certificate.Subject.AlternativeName.DNSName", name);
        }
    }
    facts
}

fn names(facts: &mut Facts, of: &str, name: &X509NameRef) {
    for (nid, part) in [
        (Nid::COMMONNAME, "CommonName"),
        (Nid::COUNTRYNAME, "Country"),
        (Nid::ORGANIZATIONNAME, "Organization"),
        (Nid::ORGANIZATIONALUNITNAME, "OrganizationalUnit"),
        (Nid::STATEORPROVINCENAME, "State"),
        (Nid::LOCALITYNAME, "Locality"),
        (Nid::SERIALNUMBER, "SerialNumber"),
        (Nid::TITLE, "Title"),
        (Nid::SURNAME, "Surname"),
        (Nid::GIVENNAME, "GivenName"),
        (Nid::INITIALS, "Initials"),
        (Nid::PSEUDONYM, "Pseudonym"),
        (Nid::GENERATIONQUALIFIER, "GenerationQualifier"),
    ] {
        for entry in name.entries_by_nid(nid) {
            if let Ok(value) = entry.data().to_string() {
                facts.add(&format!("iot:Certificate.{of}.{part}"), value);
            }
        }
    }
}

#[async_trait]
impl Policy for Access {
    async fn connect(&self, request: ConnectRequest<'_>) -> Result<(), ConnectRefusal> {
        let who = request.identity;
        let Some(certificate) = &who.certificate else {
            return Err(ConnectRefusal::NotAuthorized);
        };
        let principal = match self.registry.load(&certificate.fingerprint).await {
            Ok(Some(principal)) => principal,
            Ok(None) => match self.arrived(certificate).await {
                Some(principal) => principal,
                None => {
                    log::info!(client = who.client_id.as_ref() as &str, certificate = certificate.fingerprint.as_str(); "refused: the certificate is not registered");
                    return Err(ConnectRefusal::NotAuthorized);
                }
            },
            Err(error) => {
                log::error!("looking for a certificate: {error}");
                return Err(ConnectRefusal::Busy);
            }
        };
        if !principal.active() {
            log::info!(client = who.client_id.as_ref() as &str, certificate = principal.id.as_str(), status = principal.status.as_str(); "refused: the certificate is not active");
            return Err(ConnectRefusal::NotAuthorized);
        }
        let resource = format!("client/{}", who.client_id);
        let allowed = self.principal_allows(&principal, who, "iot:Connect", &resource, |facts| {
            let mut attributes = std::mem::take(facts).with_none("iot:ConnectAttributes");
            if request.persistent {
                attributes.add("iot:ConnectAttributes", "PersistentConnect");
            }
            if request.will.is_some() {
                attributes.add("iot:ConnectAttributes", "LastWill");
            }
            *facts = attributes;
        });
        if allowed {
            return Ok(());
        }
        log::info!(client = who.client_id.as_ref() as &str, certificate = principal.id.as_str(); "refused: no policy allows iot:Connect");
        Err(ConnectRefusal::NotAuthorized)
    }

    fn publish(&self, who: &Identity, topic: &str, _qos: QoS, retain: bool) -> bool {
        if OURS.iter().any(|prefix| topic.starts_with(prefix)) {
            return false;
        }
        let resource = format!("topic/{topic}");
        self.allows(who, "iot:Publish", &resource, |_| {})
            && (!retain || self.allows(who, "iot:RetainPublish", &resource, |_| {}))
    }

    fn subscribe(&self, who: &Identity, filter: &str, _qos: QoS) -> bool {
        self.allows(
            who,
            "iot:Subscribe",
            &format!("topicfilter/{filter}"),
            |_| {},
        )
    }

    fn receive(&self, who: &Identity, topic: &str) -> bool {
        self.allows(who, "iot:Receive", &format!("topic/{topic}"), |_| {})
    }

    fn keep(&self, who: &Identity) -> bool {
        self.allows(
            who,
            "iot:Connect",
            &format!("client/{}", who.client_id),
            |facts| {
                // Which attributes it connected with is not known any more: conditions on them were judged then.
                *facts = std::mem::take(facts).with_none("iot:ConnectAttributes");
            },
        )
    }

    fn revision(&self) -> Option<watch::Receiver<u32>> {
        Some(self.revision.clone())
    }
}
