//! IAM policy documents and what they allow: an explicit deny wins, then an allow, else no.
//!
//! Conditions are not evaluated: a statement that has one never allows, and always denies, so that a policy is never wider
//! here than it is meant.

use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

/// A parsed policy document.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Document {
    #[serde(default, deserialize_with = "one_or_many")]
    statement: Vec<Statement>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    effect: Effect,
    #[serde(default, deserialize_with = "one_or_many")]
    action: Vec<String>,
    #[serde(default, deserialize_with = "one_or_many")]
    not_action: Vec<String>,
    #[serde(default, deserialize_with = "one_or_many")]
    resource: Vec<String>,
    #[serde(default, deserialize_with = "one_or_many")]
    not_resource: Vec<String>,
    principal: Option<Value>,
    not_principal: Option<Value>,
    condition: Option<Value>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

fn one_or_many<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either<T> {
        Many(Vec<T>),
        One(T),
    }
    Ok(match Either::deserialize(deserializer)? {
        Either::Many(many) => many,
        Either::One(one) => vec![one],
    })
}

/// What a decision looks at.
struct Question<'a> {
    action: &'a str,
    resource: &'a str,
    /// The kind of principal and its name, for trust policies.
    principal: Option<(&'a str, &'a [&'a str])>,
}

impl Document {
    /// Reads a document; the error is for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let document: Self = serde_json::from_str(text).map_err(|e| e.to_string())?;
        if document.statement.is_empty() {
            return Err("Policy statement must contain at least one statement.".into());
        }
        for statement in &document.statement {
            if statement.action.is_empty() == statement.not_action.is_empty() {
                return Err("Policy statement must contain actions.".into());
            }
        }
        Ok(document)
    }

    /// Whether it has resources in each statement, as a permissions policy must.
    pub fn grants_permissions(&self) -> Result<(), String> {
        for statement in &self.statement {
            if statement.resource.is_empty() == statement.not_resource.is_empty() {
                return Err("Policy statement must contain resources.".into());
            }
            if statement.principal.is_some() || statement.not_principal.is_some() {
                return Err("Policy document should not specify a principal.".into());
            }
        }
        Ok(())
    }

    /// Whether, as a role's trust policy, it lets a principal assume the role. `kind` is `AWS` or `Service`; `names` are the
    /// names by which the policy may call the principal.
    pub fn trusts(&self, action: &str, kind: &str, names: &[&str]) -> bool {
        let question = Question {
            action,
            resource: "",
            principal: Some((kind, names)),
        };
        decide(std::slice::from_ref(self), &question)
    }
}

fn decide(documents: &[Document], question: &Question<'_>) -> bool {
    let statements = documents.iter().flat_map(|d| &d.statement);
    let mut allowed = false;
    for statement in statements {
        let applies = statement.applies(question);
        match statement.effect {
            Effect::Deny if applies => return false,
            Effect::Allow if applies && statement.condition.is_none() => allowed = true,
            _ => {}
        }
    }
    allowed
}

impl Statement {
    fn applies(&self, question: &Question<'_>) -> bool {
        let action = if self.action.is_empty() {
            !self
                .not_action
                .iter()
                .any(|p| matches_folded(p, question.action))
        } else {
            self.action
                .iter()
                .any(|p| matches_folded(p, question.action))
        };
        let target = match question.principal {
            Some((kind, names)) => match (&self.principal, &self.not_principal) {
                (Some(principal), None) => names_one(principal, kind, names),
                (None, Some(principal)) => !names_one(principal, kind, names),
                _ => false,
            },
            None if self.resource.is_empty() => !self
                .not_resource
                .iter()
                .any(|p| matches(p, question.resource)),
            None => self.resource.iter().any(|p| matches(p, question.resource)),
        };
        action && target
    }
}

/// `"*"`, `{"AWS": "*"}`, `{"Service": ["a", "b"]}`.
fn names_one(principal: &Value, kind: &str, names: &[&str]) -> bool {
    let hit = |value: &Value| {
        let text = value.as_str();
        text.is_some_and(|t| (kind == "AWS" && t == "*") || names.contains(&t))
    };
    match principal {
        Value::String(text) => text == "*",
        Value::Object(kinds) => match kinds.get(kind) {
            Some(Value::Array(all)) => all.iter().any(hit),
            Some(one) => hit(one),
            None => false,
        },
        _ => false,
    }
}

/// `*` is any text, `?` any one character. Takes time in proportion to the product of the lengths, whatever the pattern.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(&c) if c == b'?' || c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                // Back to the last star, which takes one more byte.
                Some((after, taken)) => {
                    star = Some((after, taken + 1));
                    (p, t) = (after, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

fn matches_folded(pattern: &str, action: &str) -> bool {
    matches(&pattern.to_ascii_lowercase(), &action.to_ascii_lowercase())
}

/// What a session may do: what the role's documents allow and, when the session was made with a policy, that allows too.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    role: Arc<Vec<Document>>,
    session: Option<Arc<Document>>,
}

impl Policies {
    /// Of the documents' texts. One that cannot be read allows nothing, and with it nothing is allowed: it may have denied.
    pub fn parse(role: &[String], session: Option<&str>) -> Result<Self, String> {
        let role: Result<Vec<Document>, String> = role.iter().map(|t| Document::parse(t)).collect();
        Ok(Self {
            role: Arc::new(role?),
            session: session.map(Document::parse).transpose()?.map(Arc::new),
        })
    }

    /// Whether the action on the resource is allowed.
    pub fn allow(&self, action: &str, resource: &str) -> bool {
        let question = Question {
            action,
            resource,
            principal: None,
        };
        let session =
            |session: &Arc<Document>| decide(std::slice::from_ref(session.as_ref()), &question);
        decide(&self.role, &question) && self.session.as_ref().is_none_or(session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policies(documents: &[&str], session: Option<&str>) -> Policies {
        let documents: Vec<String> = documents.iter().map(|d| (*d).to_owned()).collect();
        Policies::parse(&documents, session).unwrap()
    }

    const READ: &str = r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": ["s3:GetObject", "s3:List*"], "Resource": "arn:aws:s3:::a/*"}}"#;

    #[test]
    fn what_no_statement_allows_is_denied_and_a_deny_wins() {
        let read = policies(&[READ], None);
        assert!(read.allow("s3:GetObject", "arn:aws:s3:::a/b/c"));
        assert!(read.allow("S3:getobject", "arn:aws:s3:::a/b"));
        assert!(!read.allow("s3:PutObject", "arn:aws:s3:::a/b"));
        assert!(!read.allow("s3:GetObject", "arn:aws:s3:::b/b"));
        let denied = policies(
            &[
                READ,
                r#"{"Statement": [{"Effect": "Deny", "Action": "s3:*", "Resource": "arn:aws:s3:::a/secret*"}]}"#,
            ],
            None,
        );
        assert!(denied.allow("s3:GetObject", "arn:aws:s3:::a/b"));
        assert!(!denied.allow("s3:GetObject", "arn:aws:s3:::a/secret/x"));
    }

    #[test]
    fn a_session_policy_only_takes_away() {
        let all = r#"{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}"#;
        let both = policies(&[READ], Some(all));
        assert!(both.allow("s3:GetObject", "arn:aws:s3:::a/b"));
        assert!(!both.allow("s3:PutObject", "arn:aws:s3:::a/b"));
        let narrowed = policies(&[all], Some(READ));
        assert!(!narrowed.allow("s3:PutObject", "arn:aws:s3:::a/b"));
    }

    #[test]
    fn a_condition_makes_an_allow_void_and_a_deny_stand() {
        let allow = r#"{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"Bool": {"a": "b"}}}]}"#;
        assert!(!policies(&[allow], None).allow("s3:GetObject", "x"));
        let deny = allow.replace("Allow", "Deny");
        let all = r#"{"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}"#;
        assert!(!policies(&[all, &deny], None).allow("s3:GetObject", "x"));
    }

    #[test]
    fn not_action_and_not_resource_turn_the_match_around() {
        let policy =
            r#"{"Statement": [{"Effect": "Allow", "NotAction": "iam:*", "NotResource": "arn:x"}]}"#;
        let policies = policies(&[policy], None);
        assert!(policies.allow("s3:GetObject", "arn:y"));
        assert!(!policies.allow("iam:GetRole", "arn:y"));
        assert!(!policies.allow("s3:GetObject", "arn:x"));
    }

    #[test]
    fn a_trust_policy_names_who_may_assume() {
        let trust = Document::parse(
            r#"{"Statement": [{"Effect": "Allow", "Principal": {"Service": "credentials.iot.amazonaws.com"}, "Action": "sts:AssumeRole"},
                {"Effect": "Allow", "Principal": {"AWS": ["arn:aws:iam::1:root"]}, "Action": "sts:AssumeRole"}]}"#,
        )
        .unwrap();
        let action = "sts:AssumeRole";
        assert!(trust.trusts(action, "Service", &["credentials.iot.amazonaws.com"]));
        assert!(!trust.trusts(action, "Service", &["lambda.amazonaws.com"]));
        assert!(trust.trusts(action, "AWS", &["arn:aws:iam::1:root", "1"]));
        assert!(!trust.trusts(action, "AWS", &["arn:aws:iam::2:root", "2"]));
    }

    #[test]
    fn documents_without_statements_actions_or_resources_are_refused() {
        assert!(Document::parse("{}").is_err());
        assert!(
            Document::parse(r#"{"Statement": [{"Effect": "Allow", "Resource": "*"}]}"#).is_err()
        );
        assert!(Document::parse(r#"{"Statement": [{"Effect": "Maybe", "Action": "*"}]}"#).is_err());
        let trust = Document::parse(
            r#"{"Statement": [{"Effect": "Allow", "Action": "*", "Principal": "*"}]}"#,
        )
        .unwrap();
        assert!(trust.grants_permissions().is_err());
    }

    proptest! {
        #[test]
        fn a_pattern_made_of_the_text_matches(text in "[a-c]{0,12}", cuts in proptest::collection::vec((0usize..12, 0usize..12), 0..4)) {
            let mut pattern = text.clone();
            for (from, length) in cuts {
                let from = from.min(pattern.len());
                let to = (from + length).min(pattern.len());
                pattern.replace_range(from..to, "*");
            }
            prop_assert!(matches(&pattern, &text), "{} {}", pattern, text);
            let longer = pattern + "z";
            prop_assert!(!matches(&longer, &text));
        }
    }
}
