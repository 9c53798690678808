//! Checks of single members, with the words AWS has for them: they name the member and what it must be.

use super::ApiError;
use std::{fmt::Display, ops::RangeInclusive};

fn refuse(member: &str, value: impl Display, must: impl Display) -> ApiError {
    ApiError::Invalid(format!(
        "1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: Member must {must}"
    ))
}

/// A number within its limits.
pub fn range(member: &str, value: i64, limits: RangeInclusive<i64>) -> Result<(), ApiError> {
    if value < *limits.start() {
        let must = format!("have value greater than or equal to {}", limits.start());
        return Err(refuse(member, value, must));
    }
    if value > *limits.end() {
        let must = format!("have value less than or equal to {}", limits.end());
        return Err(refuse(member, value, must));
    }
    Ok(())
}

/// Text of a length, in characters.
pub fn length(member: &str, value: &str, limits: RangeInclusive<usize>) -> Result<(), ApiError> {
    let length = value.chars().count();
    if length < *limits.start() {
        let must = format!("have length greater than or equal to {}", limits.start());
        return Err(refuse(member, value, must));
    }
    if length > *limits.end() {
        let must = format!("have length less than or equal to {}", limits.end());
        return Err(refuse(member, "…", must));
    }
    Ok(())
}

/// Text of a length and of allowed characters only; `pattern` is how the model writes the rule.
pub fn name(
    member: &str,
    value: &str,
    limits: RangeInclusive<usize>,
    allowed: impl Fn(char) -> bool,
    pattern: &str,
) -> Result<(), ApiError> {
    length(member, value, limits)?;
    if value.chars().all(allowed) {
        return Ok(());
    }
    Err(refuse(
        member,
        value,
        format!("satisfy regular expression pattern: {pattern}"),
    ))
}

/// One of a fixed set.
pub fn one_of(member: &str, value: &str, set: &[&str]) -> Result<(), ApiError> {
    if set.contains(&value) {
        return Ok(());
    }
    let must = format!("satisfy enum value set: [{}]", set.join(", "));
    Err(refuse(member, value, must))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_name_the_member_and_the_rule() {
        let word = |c: char| c.is_ascii_alphanumeric();
        let texts = [
            range("maxResults", 500, 1..=250),
            length("name", "", 1..=3),
            length("name", "abcd", 1..=3),
            name("name", "a b", 1..=3, word, "[a-zA-Z0-9]+"),
            one_of("kind", "x", &["A", "B"]),
        ]
        .map(|result| result.unwrap_err().to_string());
        assert_eq!(
            texts[0],
            "1 validation error detected: Value '500' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 250"
        );
        assert!(texts[1].ends_with("length greater than or equal to 1"));
        assert!(texts[2].ends_with("length less than or equal to 3"));
        assert!(texts[3].ends_with("pattern: [a-zA-Z0-9]+"));
        assert!(texts[4].ends_with("enum value set: [A, B]"));
        assert!(range("n", 1, 1..=1).is_ok() && length("n", "é", 1..=1).is_ok());
    }
}
