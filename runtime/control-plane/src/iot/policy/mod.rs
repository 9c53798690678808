//! AWS IoT policies: what the holder of a certificate may do. An explicit deny wins, then an allow, else no.
//!
//! ```
//! use control_plane::iot::policy::{self, Document, Facts};
//!
//! let document = Document::parse(r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "iot:Publish",
//!     "Resource": "arn:aws:iot:us-east-1:123456789012:topic/${iot:Connection.Thing.ThingName}/*"}]}"#)?;
//! let facts = Facts::default().with("iot:Connection.Thing.ThingName", "lamp");
//! let topic = |name| format!("arn:aws:iot:us-east-1:123456789012:topic/{name}");
//! assert!(policy::allows([&document], "iot:Publish", &topic("lamp/state"), &facts));
//! assert!(!policy::allows([&document], "iot:Publish", &topic("door/state"), &facts));
//! # Ok::<(), policy::Malformed>(())
//! ```

mod condition;
mod document;
mod facts;
mod pattern;

pub use document::{Document, MAX_BYTES, Malformed};
pub use facts::Facts;

/// Whether the policies allow `action` (`iot:Publish`) on `resource` (an ARN) to who the facts are about.
pub fn allows<'a>(
    documents: impl IntoIterator<Item = &'a Document>,
    action: &str,
    resource: &str,
    facts: &Facts,
) -> bool {
    let mut allowed = false;
    for statement in documents.into_iter().flat_map(Document::statements) {
        if !statement.applies(action, resource, facts) {
            continue;
        }
        if statement.denies() {
            return false;
        }
        allowed = true;
    }
    allowed
}

#[cfg(test)]
mod tests;
