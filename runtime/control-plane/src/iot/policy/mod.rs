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

/// What one policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing about this.
    Silent,
    /// Yes, unless another one says no.
    Allow,
    /// No.
    Deny,
}

/// What one policy says about `action` (`iot:Publish`) on `resource` (an ARN) by who the facts are about.
pub fn verdict(document: &Document, action: &str, resource: &str, facts: &Facts) -> Verdict {
    let mut said = Verdict::Silent;
    for statement in document.statements() {
        if !statement.applies(action, resource, facts) {
            continue;
        }
        if statement.denies() {
            return Verdict::Deny;
        }
        said = Verdict::Allow;
    }
    said
}

/// Whether the policies allow `action` (`iot:Publish`) on `resource` (an ARN) to who the facts are about.
pub fn allows<'a>(
    documents: impl IntoIterator<Item = &'a Document>,
    action: &str,
    resource: &str,
    facts: &Facts,
) -> bool {
    let mut allowed = false;
    for document in documents {
        match verdict(document, action, resource, facts) {
            Verdict::Silent => {}
            Verdict::Allow => allowed = true,
            Verdict::Deny => return false,
        }
    }
    allowed
}

#[cfg(test)]
mod tests;
