//! The component configuration tree: timestamps, merge, reset, subscriptions, snapshots.
//!
//! ```
//! use configuration::{Configuration, Operation};
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), configuration::ConfigurationError> {
//! let database = store::Database::in_memory(&[Configuration::SCHEMA])?;
//! let configuration = Configuration::open(database).await?;
//! let path = ["services", "com.example.Pump", "configuration"].map(String::from).to_vec();
//! let mut subscription = configuration.subscribe(&path);
//! configuration
//!     .commit(vec![
//!         Operation::Defaults { path: path.clone(), value: json!({"Speed": 3, "unit": "l/s"}) },
//!         Operation::Merge { path: path.clone(), value: json!({"speed": 5}), at: 1_700_000_000_000 },
//!     ])
//!     .await?;
//! assert_eq!(configuration.get(&path), Some(json!({"Speed": 5, "unit": "l/s"})));
//! assert_eq!(subscription.recv().await.unwrap().path.last().unwrap(), "Speed");
//! # Ok(())
//! # }
//! ```

mod bounds;
mod change;
mod component;
mod configuration;
mod error;
mod node;
mod operation;
mod pointer;
mod row;
mod subscription;
mod table;
mod tree;

pub use bounds::{MAX_COMPONENT, MAX_DEPTH, MAX_KEY, MAX_LEAF, MAX_TREE};
pub use change::{Change, ChangeKind};
pub use component::{ComponentSubscription, KeyNotFound, UpdateRefused};
pub use configuration::Configuration;
pub use error::{ConfigurationError, TreeError};
pub use operation::{DEFAULT_AT, Operation, Timestamp};
pub use pointer::{parse_pointer, pointer_of};
pub use subscription::Subscription;
pub use tree::{Entry, Tree};
