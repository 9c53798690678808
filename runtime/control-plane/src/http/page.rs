//! Pagination: lists are ordered by a key, a page ends with the key it reached, and that key is the token: sealed, so that
//! callers cannot make one up, and bound to the operation and to what it was asked for.
//!
//! ```text
//! token = base64url( HMAC-SHA256(page key, operation 0 filters 0 key)[..16] | key )
//! ```

use super::{ApiError, Context, sigv4::hmac_sha256};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use openssl::memcmp;
use std::ops::RangeInclusive;

const SEAL: usize = 16;

/// One page of a list: what to fetch, and how to go on.
#[derive(Debug)]
pub struct Page {
    limit: usize,
    after: Option<String>,
    operation: &'static str,
    filters: String,
    key: [u8; 32],
}

impl Page {
    /// The page that a request asks for. `filters` is whatever else of the input decides what is listed: a token is refused
    /// when it comes with others. `default` is the limit when the caller names none.
    pub fn of(
        context: &Context,
        max_results: Option<i64>,
        limits: RangeInclusive<i64>,
        default: i64,
        token: Option<&str>,
        filters: impl Into<String>,
    ) -> Result<Self, ApiError> {
        if let Some(asked) = max_results {
            super::validate::range("maxResults", asked, limits)?;
        }
        Self::with_key(
            context.state.account.page_key,
            context.operation(),
            usize::try_from(max_results.unwrap_or(default)).unwrap_or(1),
            token,
            filters.into(),
        )
    }

    fn with_key(
        key: [u8; 32],
        operation: &'static str,
        limit: usize,
        token: Option<&str>,
        filters: String,
    ) -> Result<Self, ApiError> {
        let mut page = Self {
            limit,
            after: None,
            operation,
            filters,
            key,
        };
        // An empty token is what some callers send for "from the start".
        if let Some(token) = token.filter(|t| !t.is_empty()) {
            page.after = Some(page.opened(token).ok_or(ApiError::BadToken)?);
        }
        Ok(page)
    }

    /// The key that the last page ended with: list what comes after it, or from the start.
    pub fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// How many rows to ask the database for: one more than the page holds, to know whether there are more.
    pub fn fetch(&self) -> i64 {
        i64::try_from(self.limit)
            .unwrap_or(i64::MAX)
            .saturating_add(1)
    }

    /// Cuts what was fetched to the page; the token, when there is more. `key` gives an item's place in the order.
    pub fn finish<T>(
        &self,
        mut items: Vec<T>,
        key: impl Fn(&T) -> String,
    ) -> (Vec<T>, Option<String>) {
        if items.len() <= self.limit {
            return (items, None);
        }
        items.truncate(self.limit);
        let token = items.last().map(|last| self.sealed(&key(last)));
        (items, token)
    }

    fn seal(&self, key: &str) -> [u8; SEAL] {
        let text = [self.operation, &self.filters, key].join("\0");
        let mut seal = [0; SEAL];
        seal.copy_from_slice(&hmac_sha256(&self.key, text.as_bytes())[..SEAL]);
        seal
    }

    fn sealed(&self, key: &str) -> String {
        let mut bytes = self.seal(key).to_vec();
        bytes.extend_from_slice(key.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    fn opened(&self, token: &str) -> Option<String> {
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (seal, key) = bytes.split_at_checked(SEAL)?;
        let key = std::str::from_utf8(key).ok()?;
        memcmp::eq(seal, &self.seal(key)).then(|| key.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(operation: &'static str, token: Option<&str>, filters: &str) -> Result<Page, ApiError> {
        Page::with_key([7; 32], operation, 2, token, filters.into())
    }

    #[test]
    fn a_page_goes_on_where_the_last_one_ended() {
        let first = page("ListThings", None, "").unwrap();
        assert_eq!((first.after(), first.fetch()), (None, 3));
        let (items, token) = first.finish(vec!["a", "b", "c"], |i| (*i).to_owned());
        assert_eq!(items, ["a", "b"]);
        let second = page("ListThings", token.as_deref(), "").unwrap();
        assert_eq!(second.after(), Some("b"));
        assert_eq!(
            second.finish(vec!["c"], |i| (*i).to_owned()),
            (vec!["c"], None)
        );
    }

    #[test]
    fn a_token_of_another_operation_or_filter_or_made_up_is_refused() {
        let (_, token) = page("ListThings", None, "x")
            .unwrap()
            .finish(vec![1, 2, 3], i32::to_string);
        let token = token.unwrap();
        assert!(page("ListThings", Some(&token), "x").is_ok());
        for (operation, token, filters) in [
            ("ListJobs", token.as_str(), "x"),
            ("ListThings", token.as_str(), "y"),
            ("ListThings", "bm90aGluZw", "x"),
            ("ListThings", "not base64!", "x"),
            ("ListThings", &format!("{token}AA"), "x"),
        ] {
            assert!(matches!(
                page(operation, Some(token), filters),
                Err(ApiError::BadToken)
            ));
        }
        assert!(page("ListThings", Some(""), "x").unwrap().after().is_none());
    }
}
