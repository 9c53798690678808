//! The cloud, as IPC sees it, and the rest of the runtime, as the credentials endpoint sees it.

use async_trait::async_trait;
use bytes::Bytes;
use cloud::{Access, Link, LinkError, Subscription};
use ipc::{
    Rights,
    ports::{Cloud, CloudFault, CloudMessage, CloudQos, CloudSubscription},
};
use model::ComponentName;
use mqtt::{Message, Properties, QoS};
use std::{sync::Arc, time::SystemTime};
use supervisor::Supervisor;
use tokio::sync::watch;

const TOKEN_EXCHANGE: &str = "aws.greengrass.TokenExchangeService";

/// Implements the port of IPC.
pub struct Broker(pub Link);

/// Implements the port of the credentials endpoint.
pub struct Components {
    /// Knows the tokens.
    pub supervisor: Supervisor,
    /// Knows the policies.
    pub rights: Rights,
}

impl Access for Components {
    fn component(&self, token: &str) -> Option<ComponentName> {
        self.supervisor.authenticate(token)
    }

    fn may_have_credentials(&self, component: &ComponentName) -> bool {
        self.rights
            .allow(TOKEN_EXCHANGE, component, "getCredentials", None)
    }
}

#[async_trait]
impl Cloud for Broker {
    async fn publish(&self, message: CloudMessage) -> Result<(), CloudFault> {
        self.0.publish(outgoing(message)).await.map_err(fault)
    }

    async fn subscribe(
        &self,
        filter: &str,
        wanted: CloudQos,
    ) -> Result<Box<dyn CloudSubscription>, CloudFault> {
        let made = self.0.subscribe(filter, qos(wanted)).await;
        let subscription = made.map_err(fault)?;
        Ok(Box::new(Messages {
            subscription,
            filter: filter.to_owned(),
        }))
    }

    fn connected(&self) -> Result<watch::Receiver<bool>, CloudFault> {
        self.0.connected().map_err(fault)
    }
}

struct Messages {
    subscription: Subscription,
    filter: String,
}

#[async_trait]
impl CloudSubscription for Messages {
    async fn next(&mut self) -> Option<CloudMessage> {
        match self.subscription.recv().await {
            Ok(message) => Some(incoming(&message)),
            Err(error) => {
                log::warn!(filter = self.filter; "a component's subscription ends: {error}");
                None
            }
        }
    }
}

fn fault(error: LinkError) -> CloudFault {
    match error {
        LinkError::NotConfigured => CloudFault::NotConfigured,
        LinkError::Invalid(why) => CloudFault::Invalid(why),
        error => CloudFault::Failed(error.to_string()),
    }
}

fn qos(qos: CloudQos) -> QoS {
    match qos {
        CloudQos::AtMostOnce => QoS::AtMostOnce,
        CloudQos::AtLeastOnce => QoS::AtLeastOnce,
    }
}

fn outgoing(message: CloudMessage) -> Message {
    let user = message.user_properties.into_iter();
    let properties = Properties {
        payload_format: message.payload_format,
        content_type: message.content_type.map(Into::into),
        response_topic: message.response_topic.map(Into::into),
        correlation_data: message.correlation_data,
        user: user.map(|(k, v)| (k.into(), v.into())).collect(),
    };
    let has_properties = properties != Properties::default();
    Message {
        topic: message.topic.into(),
        payload: message.payload,
        qos: qos(message.qos),
        retain: message.retain,
        expires: message
            .expires_in
            .and_then(|after| SystemTime::now().checked_add(after)),
        properties: has_properties.then(|| Arc::new(properties)),
    }
}

fn incoming(message: &Message) -> CloudMessage {
    let properties = message.properties.as_deref().cloned().unwrap_or_default();
    let user = properties.user.iter();
    CloudMessage {
        topic: message.topic.to_string(),
        payload: Bytes::clone(&message.payload),
        qos: match message.qos {
            QoS::AtMostOnce => CloudQos::AtMostOnce,
            QoS::AtLeastOnce | QoS::ExactlyOnce => CloudQos::AtLeastOnce,
        },
        retain: message.retain,
        expires_in: message.expires.map(|at| {
            at.duration_since(SystemTime::now())
                // It arrived in time.
                .unwrap_or_default()
        }),
        payload_format: properties.payload_format,
        content_type: properties.content_type.map(|t| t.to_string()),
        response_topic: properties.response_topic.map(|t| t.to_string()),
        correlation_data: properties.correlation_data,
        user_properties: user.map(|(k, v)| (k.to_string(), v.to_string())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_message_keeps_all_it_has_on_its_way_to_the_cloud_and_back() {
        let message = CloudMessage {
            topic: "a/b".into(),
            payload: Bytes::from_static(b"\x00\x01"),
            qos: CloudQos::AtLeastOnce,
            retain: true,
            expires_in: None,
            payload_format: Some(0),
            content_type: Some("text/plain".into()),
            response_topic: Some("answers".into()),
            correlation_data: Some(Bytes::from_static(b"\xff")),
            user_properties: vec![("k".into(), "1".into()), ("k".into(), "2".into())],
        };
        assert_eq!(incoming(&outgoing(message.clone())), message);
        let plain = CloudMessage {
            topic: "t".into(),
            ..CloudMessage::default()
        };
        assert!(outgoing(plain).properties.is_none());
    }

    #[test]
    fn an_expiry_is_counted_from_when_it_is_published() {
        let message = CloudMessage {
            expires_in: Some(Duration::from_secs(100)),
            ..CloudMessage::default()
        };
        let left = incoming(&outgoing(message)).expires_in.unwrap();
        assert!(left > Duration::from_secs(90) && left <= Duration::from_secs(100));
    }
}
