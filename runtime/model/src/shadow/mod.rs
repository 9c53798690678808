//! A device shadow as AWS IoT keeps it: desired and reported state with a timestamp for each leaf, a version that only
//! grows, and the difference between the two sides. Pure: who stores and who publishes it is elsewhere.
//!
//! ```
//! use model::shadow::{Shadow, Update};
//! use serde_json::json;
//!
//! let mut shadow = Shadow::default();
//! let update = Update::parse(br#"{"state":{"desired":{"light":"on"},"reported":{"light":"off"}}}"#)?;
//! let change = shadow.update(&update, 1700000000)?;
//! assert_eq!(shadow.version, 1);
//! assert_eq!(change.delta().unwrap()["state"], json!({"light": "on"}));
//! # Ok::<(), model::shadow::ShadowError>(())
//! ```

mod merge;
mod update;

pub use update::{ShadowError, Update};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// The largest state document, in bytes of JSON, that AWS IoT keeps (a quota that can be raised).
pub const MAX_STATE_BYTES: usize = 8 * 1024;

/// How deep a state may nest below `desired` or `reported`.
pub const MAX_DEPTH: usize = 8;

/// Seconds since the epoch.
pub type Timestamp = i64;

/// One side of the state, or what is known about its leaves.
pub type Tree = Map<String, Value>;

/// A shadow's document. An empty side is the same as a side that was never set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Shadow {
    /// What applications want.
    #[serde(default, skip_serializing_if = "Tree::is_empty")]
    pub desired: Tree,
    /// What the device says.
    #[serde(default, skip_serializing_if = "Tree::is_empty")]
    pub reported: Tree,
    /// `{"timestamp": …}` for each leaf of `desired`.
    #[serde(default, skip_serializing_if = "Tree::is_empty")]
    pub desired_metadata: Tree,
    /// `{"timestamp": …}` for each leaf of `reported`.
    #[serde(default, skip_serializing_if = "Tree::is_empty")]
    pub reported_metadata: Tree,
    /// Counts up with every accepted update; 0 before the first. Outlives deletion (see [`Shadow::deleted`]).
    pub version: u64,
    /// When it was changed last.
    pub timestamp: Timestamp,
}

/// What an accepted update did: the material of the three messages that follow it.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    previous: Shadow,
    current: Shadow,
    accepted: Value,
    client_token: Option<String>,
    timestamp: Timestamp,
}

impl Shadow {
    /// Applies an update at `now`, or says why not and changes nothing.
    pub fn update(&mut self, update: &Update, now: Timestamp) -> Result<Change, ShadowError> {
        if let Some(version) = update.version
            && version != self.version
        {
            return Err(ShadowError::VersionConflict);
        }
        let mut next = self.clone();
        let mut metadata = Map::new();
        for (name, side, leaves, change) in [
            (
                "desired",
                &mut next.desired,
                &mut next.desired_metadata,
                &update.desired,
            ),
            (
                "reported",
                &mut next.reported,
                &mut next.reported_metadata,
                &update.reported,
            ),
        ] {
            match change {
                update::Side::Untouched => {}
                update::Side::Cleared => {
                    side.clear();
                    leaves.clear();
                }
                update::Side::Merge(change) => {
                    let touched = merge::merge(side, leaves, change, now);
                    metadata.insert(name.into(), Value::Object(touched));
                }
            }
        }
        let bytes = size(&next.desired) + size(&next.reported);
        if bytes > MAX_STATE_BYTES {
            return Err(ShadowError::TooLarge);
        }
        next.version += 1;
        next.timestamp = now;
        let mut accepted = json!({
            "state": update.state,
            "metadata": metadata,
            "version": next.version,
            "timestamp": now,
        });
        token(&mut accepted, update.client_token.as_deref());
        let previous = std::mem::replace(self, next);
        Ok(Change {
            previous,
            current: self.clone(),
            accepted,
            client_token: update.client_token.clone(),
            timestamp: now,
        })
    }

    /// What is left of a shadow once it is deleted: its version, so that a later one goes on from there and a stale
    /// writer is still found out.
    pub fn deleted(&self) -> Self {
        Self {
            version: self.version + 1,
            ..Self::default()
        }
    }

    /// The whole document, as `get` answers it, with the difference when there is one.
    pub fn document(&self, now: Timestamp) -> Value {
        let mut document = self.state_and_metadata();
        // The timestamps of the difference are those of `desired`, which the metadata has already.
        let (delta, _) = self.delta_parts();
        if !delta.is_empty() {
            document["state"]["delta"] = Value::Object(delta);
        }
        document["version"] = self.version.into();
        document["timestamp"] = now.into();
        document
    }

    fn state_and_metadata(&self) -> Value {
        let mut state = Map::new();
        let mut metadata = Map::new();
        for (name, side, leaves) in [
            ("desired", &self.desired, &self.desired_metadata),
            ("reported", &self.reported, &self.reported_metadata),
        ] {
            if !side.is_empty() {
                state.insert(name.into(), Value::Object(side.clone()));
                metadata.insert(name.into(), Value::Object(leaves.clone()));
            }
        }
        json!({ "state": state, "metadata": metadata })
    }

    /// What is desired and not (or otherwise) reported, with the timestamps of the wish.
    fn delta_parts(&self) -> (Tree, Tree) {
        merge::difference(&self.desired, &self.reported, &self.desired_metadata)
    }
}

impl Change {
    /// The answer to who asked: what was asked for, with the timestamps it got.
    pub fn accepted(&self) -> &Value {
        &self.accepted
    }

    /// The message about the difference, when there is one.
    pub fn delta(&self) -> Option<Value> {
        let (state, metadata) = self.current.delta_parts();
        if state.is_empty() {
            return None;
        }
        let mut delta = json!({
            "version": self.current.version,
            "timestamp": self.timestamp,
            "state": state,
            "metadata": metadata,
        });
        token(&mut delta, self.client_token.as_deref());
        Some(delta)
    }

    /// The document before and after.
    pub fn documents(&self) -> Value {
        let side = |shadow: &Shadow| {
            let mut value = shadow.state_and_metadata();
            value["version"] = shadow.version.into();
            value
        };
        let mut documents = json!({
            "previous": side(&self.previous),
            "current": side(&self.current),
            "timestamp": self.timestamp,
        });
        token(&mut documents, self.client_token.as_deref());
        documents
    }
}

fn token(value: &mut Value, client_token: Option<&str>) {
    if let Some(client_token) = client_token {
        value["clientToken"] = client_token.into();
    }
}

fn size(tree: &Tree) -> usize {
    if tree.is_empty() {
        return 0;
    }
    serde_json::to_string(tree).map_or(usize::MAX, |text| text.len())
}

#[cfg(test)]
mod tests;
