//! What browsers send: forms, queries, cookies, parts of a path.

use http::{HeaderMap, header::COOKIE};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// All but the unreserved characters of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Names and values, in their order.
#[derive(Debug, Default)]
pub struct Form(Vec<(String, String)>);

impl Form {
    /// `application/x-www-form-urlencoded`.
    pub fn parse(raw: &[u8]) -> Self {
        Self(form_urlencoded::parse(raw).into_owned().collect())
    }

    /// The first value of a name, without space around it; empty when there is none.
    pub fn get(&self, name: &str) -> &str {
        self.raw(name).trim()
    }

    /// The first value of a name, as it came.
    pub fn raw(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(own, _)| own == name);
        found.map_or("", |(_, value)| value)
    }
}

/// A cookie's value.
pub fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers.get_all(COOKIE).into_iter();
    let mut pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'));
    pairs.find_map(|pair| {
        let (own, value) = pair.trim().split_once('=')?;
        (own == name).then(|| value.to_owned())
    })
}

/// A part of a path or a value of a query.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// What [`encode`] made.
pub fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn a_cookie_is_found_among_others_by_its_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append(COOKIE, HeaderValue::from_static("a=1; my-session=2"));
        headers.append(COOKIE, HeaderValue::from_static("session=3"));
        assert_eq!(cookie(&headers, "session").as_deref(), Some("3"));
        assert_eq!(cookie(&headers, "sess"), None);
    }

    #[test]
    fn what_is_encoded_is_one_part_of_a_path() {
        let name = "a/b?c#d e:ü";
        assert!(!encode(name).contains(['/', '?', '#', ' ']));
        assert_eq!(decode(&encode(name)), name);
    }

    #[test]
    fn a_value_that_is_not_there_is_empty() {
        let form = Form::parse(b"a=+1+&a=2&b=%26");
        assert_eq!((form.get("a"), form.raw("a")), ("1", " 1 "));
        assert_eq!((form.get("b"), form.get("c")), ("&", ""));
    }
}
