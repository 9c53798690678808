use super::*;

const TOPIC: &str = "arn:aws:iot:us-east-1:123456789012:topic/";

fn document(statement: &str) -> Document {
    Document::parse(&format!(
        r#"{{"Version": "2012-10-17", "Statement": [{statement}]}}"#
    ))
    .unwrap()
}

fn publish(document: &Document, topic: &str, facts: &Facts) -> bool {
    allows([document], "iot:Publish", &format!("{TOPIC}{topic}"), facts)
}

fn allow_publish(resource: &str) -> Document {
    document(&format!(
        r#"{{"Effect": "Allow", "Action": ["iot:Publish", "iot:Receive"], "Resource": "{TOPIC}{resource}"}}"#
    ))
}

#[test]
fn wildcards_are_those_of_policies_and_not_of_mqtt() {
    let none = Facts::default();
    let policy = allow_publish("a/+/b/*");
    assert!(publish(&policy, "a/+/b/c/d", &none));
    assert!(!publish(&policy, "a/x/b/c", &none));
    let policy = allow_publish("s?nsor");
    assert!(publish(&policy, "sensor", &none));
    assert!(publish(&policy, "sénsor", &none));
    assert!(!publish(&policy, "seensor", &none));
    assert!(!allows(
        [&policy],
        "iot:Subscribe",
        &format!("{TOPIC}sensor"),
        &none
    ));
}

#[test]
fn a_variable_without_a_value_allows_nothing_and_its_value_is_never_a_wildcard() {
    let policy = allow_publish("${iot:ClientId}/data");
    assert!(!publish(&policy, "/data", &Facts::default()));
    let star = Facts::default().with("iot:ClientId", "*");
    assert!(publish(&policy, "*/data", &star));
    assert!(!publish(&policy, "other/data", &star));
    let policy = allow_publish("${*}/x/${iot:clientid}");
    assert!(publish(
        &policy,
        "*/x/me",
        &Facts::default().with("iot:ClientId", "me")
    ));
    assert!(!publish(
        &policy,
        "a/x/me",
        &Facts::default().with("iot:ClientId", "me")
    ));
}

#[test]
fn an_explicit_deny_wins_whatever_the_order() {
    let deny = document(&format!(
        r#"{{"Effect": "Deny", "Action": "iot:*", "Resource": "{TOPIC}secret/*"}}"#
    ));
    let allow = allow_publish("*");
    let resource = format!("{TOPIC}secret/a");
    for documents in [[&deny, &allow], [&allow, &deny]] {
        assert!(!allows(
            documents,
            "iot:Publish",
            &resource,
            &Facts::default()
        ));
    }
    assert!(!allows([], "iot:Publish", &resource, &Facts::default()));
}

#[test]
fn conditions_must_all_hold() {
    let policy = document(&format!(
        r#"{{"Effect": "Allow", "Action": "iot:Publish", "Resource": "{TOPIC}*",
            "Condition": {{"Bool": {{"iot:Connection.Thing.IsAttached": "true"}},
                           "IpAddress": {{"aws:SourceIp": ["10.0.0.0/8", "fd00::/8"]}},
                           "StringLike": {{"iot:Connection.Thing.Attributes[site]": "be*"}}}}}}"#
    ));
    let all = Facts::default()
        .with("iot:Connection.Thing.IsAttached", "true")
        .with("aws:SourceIp", "10.1.2.3")
        .with("iot:Connection.Thing.Attributes[site]", "berlin");
    assert!(publish(&policy, "a", &all));
    let elsewhere = Facts::default()
        .with("iot:Connection.Thing.IsAttached", "true")
        .with("aws:SourceIp", "11.1.2.3")
        .with("iot:Connection.Thing.Attributes[site]", "berlin");
    assert!(!publish(&policy, "a", &elsewhere));
    assert!(!publish(&policy, "a", &Facts::default()));
}

#[test]
fn connect_attributes_are_looked_at_one_by_one() {
    let policy = document(
        r#"{"Effect": "Allow", "Action": "iot:Connect", "Resource": "*",
            "Condition": {"ForAllValues:StringEquals": {"iot:ConnectAttributes": ["PersistentConnect"]}}}"#,
    );
    let connect = |facts: &Facts| allows([&policy], "iot:Connect", "x", facts);
    let attributes = || Facts::default().with_none("iot:ConnectAttributes");
    assert!(connect(&attributes()));
    assert!(connect(
        &attributes().with("iot:ConnectAttributes", "PersistentConnect")
    ));
    assert!(!connect(
        &attributes()
            .with("iot:ConnectAttributes", "PersistentConnect")
            .with("iot:ConnectAttributes", "LastWill")
    ));
}

#[test]
fn a_negated_condition_holds_for_a_key_that_is_not_there() {
    let policy = document(
        r#"{"Effect": "Deny", "Action": "*", "Resource": "*", "Condition": {"StringNotEquals": {"iot:ClientId": "a"}}}"#,
    );
    let all = document(r#"{"Effect": "Allow", "Action": "*", "Resource": "*"}"#);
    let ask = |facts: &Facts| allows([&all, &policy], "iot:Connect", "x", facts);
    assert!(ask(&Facts::default().with("iot:ClientId", "a")));
    assert!(!ask(&Facts::default().with("iot:ClientId", "b")));
    assert!(!ask(&Facts::default()));
}

#[test]
fn not_action_and_not_resource_turn_the_match_around() {
    let policy =
        document(r#"{"Effect": "Allow", "NotAction": "iot:Connect", "NotResource": "secret"}"#);
    let none = Facts::default();
    assert!(allows([&policy], "iot:Publish", "x", &none));
    assert!(!allows([&policy], "iot:connect", "x", &none));
    assert!(!allows([&policy], "iot:Publish", "secret", &none));
}

#[test]
fn a_document_that_would_not_mean_what_it_says_is_refused() {
    for (text, message) in [
        ("{", "not JSON"),
        ("[]", "must be an object"),
        (r#"{"Statement": []}"#, "Version is missing"),
        (
            r#"{"Version": "2013-01-01", "Statement": []}"#,
            "'2013-01-01' is not known",
        ),
        (r#"{"Version": "2012-10-17"}"#, "at least one Statement"),
        (
            r#"{"Version": "2012-10-17", "Statement": [], "Sid": 1}"#,
            "'Sid' is not known",
        ),
        (
            r#"{"Version": "2012-10-17", "Statement": {"Effect": "Maybe"}}"#,
            "Effect must be",
        ),
        (
            r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Resource": "*"}}"#,
            "must have Action",
        ),
        (
            r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "a", "NotAction": "b", "Resource": "*"}}"#,
            "both Action and NotAction",
        ),
        (
            r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "a"}}"#,
            "must have Resource",
        ),
        (
            r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "a", "Resource": "${iot:ClientId"}}"#,
            "not closed",
        ),
        (
            r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "a", "Resource": "*", "Condition": {"StringIs": {"a": "b"}}}}"#,
            "'StringIs' is not known",
        ),
        (
            r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "a", "Resource": "*", "Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/33"}}}}"#,
            "more than 32 bits",
        ),
        (
            r#"{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": 1, "Resource": {}}}"#,
            "Resource must be",
        ),
    ] {
        let error = Document::parse(text).unwrap_err().to_string();
        assert!(error.contains(message), "{text}: {error}");
    }
    let long = format!(
        r#"{{"Version": "2012-10-17", "Statement": {{"Effect": "Allow", "Action": "a", "Resource": "{}"}}}}"#,
        "x".repeat(MAX_BYTES)
    );
    assert!(
        Document::parse(&long)
            .unwrap_err()
            .to_string()
            .contains("at most 2048")
    );
}
