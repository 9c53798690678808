//! A recipe as canonical JSON.
use super::Recipe;
use serde_json::Value;
impl Recipe {
    /// The recipe in the reference's own spelling, keys sorted, defaults filled in: what fingerprints and the cloud's answers compare.
    pub fn to_json(&self) -> Value {
        Value::Null
    }
}
