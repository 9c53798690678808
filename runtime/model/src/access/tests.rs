use super::*;
use proptest::prelude::*;
use regex_lite::Regex;
use serde_json::{Value, json};

const PUBSUB: &str = "aws.greengrass.ipc.pubsub";
const MQTT: &str = "aws.greengrass.ipc.mqttproxy";
const PUBLISH: &str = "aws.greengrass#PublishToTopic";
const SUBSCRIBE: &str = "aws.greengrass#SubscribeToTopic";
const TO_CORE: &str = "aws.greengrass#PublishToIoTCore";

fn clean(access_control: &Value) -> Policies {
    let (policies, warnings) = Policies::parse("com.example.A", access_control);
    assert_eq!(warnings, []);
    policies
}

fn one(destination: &str, operations: &Value, resources: &Value) -> Value {
    json!({destination: {"com.example.A:1": {"policyDescription": "d", "operations": operations, "resources": resources}}})
}

fn matches(resource: &str, style: Style, asked: &str) -> bool {
    Pattern::new(resource, style).unwrap().matches(asked)
}

#[test]
fn publishing_and_subscribing_follow_the_resources() {
    for (resource, topic, allowed) in [
        ("test/topic", "test/topic", true),
        (
            "testStarWildcard/topic*suffix/match*",
            "testStarWildcard/topic-A/B/C-suffix/match-star/1/2",
            true,
        ),
        ("test${?}escape${$}char*", "test?escape$char1/2/3", true),
        ("*", "any/thing", true),
        ("wrong/topic", "test/topic", false),
        (
            "testStarWildcard/topic*suffix/no-match*",
            "testStarWildcard/topic-A/B/C-suffix/match-star/1/2",
            false,
        ),
        ("test${?}escape\\${$}char", "test${?}escape${$}char", false),
    ] {
        let policies = clean(&one(
            PUBSUB,
            &json!([PUBLISH, SUBSCRIBE]),
            &json!([resource]),
        ));
        for operation in [PUBLISH, SUBSCRIBE] {
            let answer = policies.authorized(PUBSUB, "com.example.A", operation, Some(topic));
            assert_eq!(answer, allowed, "{operation} {resource} {topic}");
        }
        assert!(!policies.authorized(PUBSUB, "com.example.B", PUBLISH, Some(topic)));
    }
}

#[test]
fn publishing_to_the_cloud_honours_mqtt_wildcards_and_star_together() {
    for (resource, topic, allowed) in [
        (
            "topic-A/B-suffix/+/level/#",
            "topic-A/B-suffix/matchPlus/level/match/pound",
            true,
        ),
        (
            "topic-A/B-suffix/+/level/#",
            "topic-A/B-suffix/matchPlus/extraLevel/level/match/pound",
            false,
        ),
        (
            "topic*suffix/+/level/#",
            "topic-A/B-suffix/matchPlus/level/match/pound",
            true,
        ),
        (
            "topic*suffix/+/level/#",
            "topic-A/B-suffix/matchPlus/extraLevel/level/match/pound",
            false,
        ),
        ("test${?}escape${$}char*", "test?escape$char1/2/3", true),
        ("test/topic", "test/topic", true),
        ("wrong/topic", "test/topic", false),
    ] {
        let policies = clean(&one(MQTT, &json!([TO_CORE]), &json!([resource])));
        assert_eq!(
            policies.authorized(MQTT, "com.example.A", TO_CORE, Some(topic)),
            allowed,
            "{resource} {topic}"
        );
    }
}

#[test]
fn a_star_stands_for_any_characters_anywhere() {
    for (resource, yes, no) in [
        (
            "abc*xy*z",
            &["abcxyz", "abc123xy90zABCz", "abcxy/ 7z", "abcxyzxyz"][..],
            &["abc123yx90z", "abxyz", "abcxy", ""][..],
        ),
        ("*qwe*90*", &["qwe90", "1qwe2901"], &["90qwe", "qwe9"]),
        ("ab/*/c", &["ab/12/c", "ab/1/2/c"], &["ab/1/c/", "ab//d"]),
        ("*wer", &["wer", "1wer"], &["werX"]),
        ("**/abc", &["7/8/abc", "/abc"], &["abc"]),
        ("*", &["", "x", "a/b"], &[]),
        ("**", &["", "x"], &[]),
        ("a*a", &["aa", "aba"], &["a"]),
    ] {
        for style in [Style::Plain, Style::Mqtt] {
            for asked in yes {
                assert!(matches(resource, style, asked), "{resource} {asked}");
            }
            for asked in no {
                assert!(!matches(resource, style, asked), "{resource} {asked}");
            }
        }
    }
}

#[test]
fn mqtt_wildcards_count_only_where_mqtt_allows_them() {
    for (resource, yes, no) in [
        (
            "abc/#",
            &["abc", "abc/", "abc/1/2"][..],
            &["abcd/e", "ab"][..],
        ),
        (
            "123/#/xyz/#",
            &["123/#/xyz", "123/#/xyz/1"],
            &["123/4/xyz/a"],
        ),
        ("#/zzz", &["#/zzz"], &["x/zzz"]),
        ("#", &["a/b", "x"], &[]),
        ("/#", &["/a/b"], &["a/b"]),
        ("w/q#", &["w/q#"], &["w/q/e"]),
        ("12/#/", &["12/#/"], &["12/4/"]),
        ("##", &["##"], &["ab"]),
        ("abc/+/123", &["abc/def/123", "abc//123"], &["abc/d/e/123"]),
        ("+/56", &["123/56", "/56"], &["8/1/56"]),
        ("+", &["abc"], &["/123", "a/b"]),
        ("+/+", &["/123", "a/b"], &["/123/"]),
        ("a/q+/1", &["a/q+/1"], &["a/qw/1"]),
        ("12/+23", &["12/+23"], &["12/x23"]),
        ("/+/++", &["/zz/++"], &["/33/ty"]),
        (
            "xyz*/+/*room/#",
            &["xyzz/89/bedroom/light/5", "xyz/8/fan/bedroom"],
            &["xyz/bedroom"],
        ),
        ("12/*#", &["12/345#", "12/3/4#"], &["12/45/67"]),
        (
            "x*ui/+/#",
            &["xyzui/89/fan", "xyz/34ui/p/23", "xui/p"],
            &["xyz/zz34/p/23", "xui"],
        ),
        ("a/+/+/#/+", &["a/b/c/#/d"], &["a/b/c/d/e"]),
        ("abc*/#", &["abc123", "abc/x"], &["ab"]),
        (
            "a/*bc/#",
            &["a/xbc", "a/xbc/", "a/xbcnt/bc", "a/xbc/nt/bc"],
            &["a/x"],
        ),
        ("a/+/#", &["a/xyz", "a/xyz/", "a/xyz/nt", "a/"], &["a"]),
    ] {
        for asked in yes {
            assert!(matches(resource, Style::Mqtt, asked), "{resource} {asked}");
        }
        for asked in no {
            assert!(!matches(resource, Style::Mqtt, asked), "{resource} {asked}");
        }
    }
}

#[test]
fn mqtt_wildcards_are_plain_characters_elsewhere() {
    for resource in ["abc/#", "#", "+", "a/+/c"] {
        assert!(matches(resource, Style::Plain, resource));
        assert!(!matches(
            resource,
            Style::Plain,
            &resource.replace(['#', '+'], "x")
        ));
    }
}

#[test]
fn escapes_stand_for_the_three_signs_and_nothing_else_is_an_escape() {
    assert!(matches("a/${*}b", Style::Plain, "a/*b"));
    assert!(!matches("a/${*}b", Style::Plain, "a/xb"));
    assert!(matches("${$}aws/${?}", Style::Mqtt, "$aws/?"));
    assert!(matches("$aws/things/*", Style::Plain, "$aws/things/a"));
    assert!(matches("r${$}{*}m", Style::Plain, "r${abc}m"));
    assert!(matches("456$*", Style::Plain, "456$1/a"));
    for (bad, error) in [
        ("", PatternError::Empty),
        ("a?", PatternError::QuestionMark),
        ("a${c}b", PatternError::Escape("${c}".into())),
        ("a${", PatternError::Escape("${".into())),
        ("a${*bc}", PatternError::Escape("${*bc}".into())),
        ("${é}", PatternError::Escape("${é}".into())),
    ] {
        assert_eq!(Pattern::new(bad, Style::Plain), Err(error));
    }
}

#[test]
fn a_star_for_operations_allows_every_operation_of_the_service() {
    let policies = clean(&one(PUBSUB, &json!(["*"]), &json!(["a"])));
    assert!(policies.authorized(PUBSUB, "com.example.A", PUBLISH, Some("a")));
    assert!(policies.authorized(PUBSUB, "com.example.A", SUBSCRIBE, Some("a")));
    assert!(!policies.authorized(PUBSUB, "com.example.A", SUBSCRIBE, Some("b")));
    assert!(!policies.authorized(
        PUBSUB,
        "com.example.A",
        "aws.greengrass#GetSecretValue",
        Some("a")
    ));
    assert!(!policies.authorized(MQTT, "com.example.A", TO_CORE, Some("a")));
    assert!(!policies.authorized(PUBSUB, "com.example.A", PUBLISH, Some("")));
}

#[test]
fn no_resources_allow_no_resource_but_an_operation_that_has_none() {
    for resources in [json!(null), json!([])] {
        let policies = clean(&one(PUBSUB, &json!([PUBLISH]), &resources));
        assert!(!policies.authorized(PUBSUB, "com.example.A", PUBLISH, Some("a")));
        assert!(policies.authorized(PUBSUB, "com.example.A", PUBLISH, None));
        assert!(!policies.authorized(PUBSUB, "com.example.A", SUBSCRIBE, None));
    }
}

#[test]
fn what_makes_no_sense_is_left_out_with_a_warning_and_the_rest_stays() {
    let access_control = json!({
        PUBSUB: {
            "empty": {"operations": [], "resources": ["*"]},
            "missing": {"resources": ["*"]},
            "unknown": {"operations": [SUBSCRIBE, "aws.greengrass#Publish"], "resources": ["*"]},
            "text": "no policy",
            "types": {"operations": [1], "resources": ["*"]},
            "half": {"operations": [PUBLISH], "resources": ["a?", "ok/${x}", "good"], "effect": "allow"},
        },
        "aws.greengrass.nope": {"x": {"operations": ["*"], "resources": ["*"]}},
    });
    let (policies, warnings) = Policies::parse("com.example.A", &access_control);
    assert!(policies.authorized(PUBSUB, "com.example.A", PUBLISH, Some("good")));
    assert!(!policies.authorized(PUBSUB, "com.example.A", PUBLISH, Some("a?")));
    assert!(!policies.authorized(PUBSUB, "com.example.A", SUBSCRIBE, Some("x")));
    let text = warnings
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n");
    for expected in [
        "aws.greengrass.nope: there is no such service",
        "pubsub/empty: the policy has no operations",
        "pubsub/missing: the policy has no operations",
        "pubsub/unknown: aws.greengrass.ipc.pubsub has no operation \"aws.greengrass#Publish\"",
        "pubsub/text: a policy must be a mapping",
        "pubsub/types: operations must be a list of texts",
        "resource \"a?\" is left out",
        "unknown escape \"${x}\"",
        "unknown key \"effect\"",
    ] {
        assert!(text.contains(expected), "{expected} in\n{text}");
    }
    assert_eq!(warnings.len(), 9, "{text}");
}

#[test]
fn an_access_control_may_be_json_in_a_text_and_its_keys_in_any_case() {
    let text = json!({PUBSUB: {"p": {"Operations": [PUBLISH], "RESOURCES": "a"}}}).to_string();
    assert!(clean(&json!(text)).authorized(PUBSUB, "com.example.A", PUBLISH, Some("a")));
    assert!(!clean(&json!("")).authorized(PUBSUB, "com.example.A", PUBLISH, Some("a")));
    assert_eq!(Policies::parse("a", &json!([1])).1.len(), 1);
    assert_eq!(Policies::parse("a", &json!("nonsense")).1.len(), 1);
}

#[test]
fn policies_of_several_components_are_merged_replaced_and_removed() {
    let mut all = Policies::builtin();
    assert_eq!(
        all.merge(clean(&one(PUBSUB, &json!([PUBLISH]), &json!(["a", "a/*"])))),
        []
    );
    let (other, _) = Policies::parse(
        "com.example.B",
        &one(PUBSUB, &json!([PUBLISH]), &json!(["*"])),
    );
    let warnings = all.merge(other);
    assert!(
        warnings[0]
            .message
            .contains("com.example.A and com.example.B"),
        "{}",
        warnings[0]
    );
    assert!(all.authorized(PUBSUB, "com.example.B", PUBLISH, Some("x")));
    all.remove("com.example.A");
    assert!(!all.authorized(PUBSUB, "com.example.A", PUBLISH, Some("a")));
    all.merge(clean(&one(PUBSUB, &json!([PUBLISH]), &json!(["c"]))));
    assert!(all.authorized(PUBSUB, "com.example.A", PUBLISH, Some("c")));
    assert!(!all.authorized(PUBSUB, "com.example.A", PUBLISH, Some("a/x")));
}

#[test]
fn every_component_may_ask_for_credentials_and_the_cli_for_its_operations() {
    let all = Policies::builtin();
    assert!(all.authorized(
        "aws.greengrass.TokenExchangeService",
        "com.example.A",
        "getCredentials",
        None
    ));
    assert!(all.authorized(
        "aws.greengrass.Cli",
        "greengrass-cli-user",
        "aws.greengrass#ListComponents",
        None
    ));
    assert!(!all.authorized(
        "aws.greengrass.Cli",
        "com.example.A",
        "aws.greengrass#ListComponents",
        None
    ));
    assert!(!all.authorized(
        "aws.greengrass.Cli",
        "greengrass-cli-user",
        "aws.greengrass#Unheard",
        None
    ));
}

/// The meaning of a resource, written down a second time.
fn reference(resource: &str, style: Style) -> Regex {
    let mqtt = style == Style::Mqtt;
    if mqtt && resource == "#" {
        return Regex::new("^.*$").unwrap();
    }
    let mut out = String::from("^");
    let chars: Vec<char> = resource.chars().collect();
    for (i, c) in chars.iter().enumerate() {
        let starts = i == 0 || chars[i - 1] == '/';
        let ends = i + 1 == chars.len() || chars[i + 1] == '/';
        match c {
            '*' => out.push_str(".*"),
            '+' if mqtt && starts && ends => out.push_str("[^/]*"),
            '/' if mqtt && chars[i + 1..] == ['#'] => {
                out.push_str("(/.*)?");
                break;
            }
            c => out.push_str(&regex_lite::escape(&c.to_string())),
        }
    }
    Regex::new(&(out + "$")).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn compiled_resources_mean_what_a_regular_expression_says(
        resource in "[ab/*+#]{1,8}", asked in "[ab/+#]{0,10}", mqtt in any::<bool>()
    ) {
        let style = if mqtt { Style::Mqtt } else { Style::Plain };
        prop_assert_eq!(matches(&resource, style, &asked), reference(&resource, style).is_match(&asked));
    }

    #[test]
    fn no_resource_makes_the_compiler_panic(resource in "[a${}*?/é]{0,10}", asked in "[a${}*?/é]{0,10}") {
        if let Ok(pattern) = Pattern::new(&resource, Style::Mqtt) {
            let _ = pattern.matches(&asked);
        }
    }
}
