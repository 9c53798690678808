//! The console asks for data as any client does: by the API's operations, within the program.

use super::pages::Visit;
use crate::http::{ApiError, Caller};
use serde_json::Value;

/// What stands where an access key's id would: nothing is signed within the program.
const NO_KEY: &str = "console";

impl Visit<'_> {
    /// An operation, for the user of this session.
    pub async fn call(
        &self,
        service: &str,
        operation: &str,
        input: Value,
    ) -> Result<Value, ApiError> {
        let caller = Caller::User {
            name: self.session.user.clone(),
            id: NO_KEY.into(),
            access_key_id: NO_KEY.into(),
        };
        self.console
            .api
            .call(service, operation, &input, caller)
            .await
    }

    /// The members of all pages of a list, but no more than `most`.
    pub async fn all(
        &self,
        service: &str,
        operation: &str,
        mut input: Value,
        list: &str,
        most: usize,
    ) -> Result<Vec<Value>, ApiError> {
        let mut found = Vec::new();
        loop {
            let mut page = self.call(service, operation, input.clone()).await?;
            if let Value::Array(items) = page[list].take() {
                found.extend(items);
            }
            let next = page["nextToken"].take();
            if next.is_null() || found.len() >= most {
                found.truncate(most);
                return Ok(found);
            }
            input["nextToken"] = next;
        }
    }
}

/// Nothing where there is nothing: a device that has not reported yet has no components, and that is no error of a page.
pub fn or_none<T>(result: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(ApiError::Refused(refusal)) if refusal.status == http::StatusCode::NOT_FOUND => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
