//! What AWS IoT tells about connections: `$aws/events/presence/…` and `$aws/events/subscriptions/…`.

use super::port::{Link, Outgoing};
use crate::http::Timestamp;
use mqtt::{
    Identity,
    engine::{DisconnectCause, Engine, Event},
};
use serde_json::json;
use std::collections::HashMap;
use tokio_util::sync::CancellationToken;

/// Publishes until told to stop.
pub async fn run(engine: Engine, link: Link, stop: CancellationToken) {
    let mut events = engine.events();
    // How often a client id was connected since this program started, and the session that a disconnect ends.
    let mut sessions: HashMap<String, (u64, String)> = HashMap::new();
    let mut count: u64 = 0;
    while let Some(Some(event)) = stop.run_until_cancelled(events.recv()).await {
        let now = Timestamp::now().millis();
        let message = match event {
            Event::Connected { identity, .. } => {
                count += 1;
                let session = uuid::Uuid::new_v4().to_string();
                sessions.insert(identity.client_id.to_string(), (count, session.clone()));
                let mut message = json!({
                    "clientId": &*identity.client_id,
                    "timestamp": now,
                    "eventType": "connected",
                    "sessionIdentifier": session,
                    "principalIdentifier": principal(&identity),
                    "versionNumber": count,
                });
                if let Some(address) = identity.address {
                    message["ipAddress"] = address.ip().to_string().into();
                }
                Outgoing::json(
                    format!("$aws/events/presence/connected/{}", identity.client_id),
                    &message,
                )
            }
            Event::Disconnected { identity, cause } => {
                // After a takeover the id belongs to the new connection.
                let known = match cause {
                    DisconnectCause::TakenOver => sessions.get(&*identity.client_id).cloned(),
                    _ => sessions.remove(&*identity.client_id),
                };
                let (version, session) = known.unwrap_or_default();
                let message = json!({
                    "clientId": &*identity.client_id,
                    "timestamp": now,
                    "eventType": "disconnected",
                    "sessionIdentifier": session,
                    "principalIdentifier": principal(&identity),
                    "clientInitiatedDisconnect": matches!(cause, DisconnectCause::Client(_)),
                    "disconnectReason": reason(cause),
                    "versionNumber": version,
                });
                Outgoing::json(
                    format!("$aws/events/presence/disconnected/{}", identity.client_id),
                    &message,
                )
            }
            Event::Subscribed { identity, filters } => {
                let topics: Vec<&str> = filters.iter().map(|(filter, _)| &**filter).collect();
                subscription(
                    "subscribed",
                    &identity,
                    session_of(&sessions, &identity),
                    &topics,
                    now,
                )
            }
            Event::Unsubscribed { identity, filters } => {
                let topics: Vec<&str> = filters.iter().map(|filter| &**filter).collect();
                subscription(
                    "unsubscribed",
                    &identity,
                    session_of(&sessions, &identity),
                    &topics,
                    now,
                )
            }
        };
        link.send_all([message]).await;
    }
}

fn session_of<'a>(sessions: &'a HashMap<String, (u64, String)>, identity: &Identity) -> &'a str {
    sessions
        .get(&*identity.client_id)
        .map_or("", |(_, session)| session)
}

fn subscription(
    what: &str,
    identity: &Identity,
    session: &str,
    topics: &[&str],
    now: i64,
) -> Outgoing {
    let message = json!({
        "clientId": &*identity.client_id,
        "timestamp": now,
        "eventType": what,
        "sessionIdentifier": session,
        "principalIdentifier": principal(identity),
        "topics": topics,
    });
    Outgoing::json(
        format!("$aws/events/subscriptions/{what}/{}", identity.client_id),
        &message,
    )
}

fn principal(identity: &Identity) -> &str {
    identity
        .certificate
        .as_ref()
        .map_or("", |certificate| &certificate.fingerprint)
}

/// The reasons as AWS IoT calls them.
fn reason(cause: DisconnectCause) -> &'static str {
    match cause {
        DisconnectCause::Client(_) => "CLIENT_INITIATED_DISCONNECT",
        DisconnectCause::ConnectionLost => "CONNECTION_LOST",
        DisconnectCause::KeepAlive => "MQTT_KEEP_ALIVE_TIMEOUT",
        DisconnectCause::TakenOver => "DUPLICATE_CLIENTID",
        DisconnectCause::ProtocolError(_) => "CLIENT_ERROR",
        DisconnectCause::NotAuthorized => "FORBIDDEN_ACCESS",
        DisconnectCause::Server(_) => "SERVER_INITIATED_DISCONNECT",
    }
}
