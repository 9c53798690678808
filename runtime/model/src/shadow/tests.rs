use super::*;
use proptest::prelude::*;

fn update(shadow: &mut Shadow, value: &Value, now: Timestamp) -> Result<Change, ShadowError> {
    shadow.update(&Update::parse(value.to_string().as_bytes())?, now)
}

#[test]
fn an_update_merges_members_and_null_removes_them() {
    let mut shadow = Shadow::default();
    update(
        &mut shadow,
        &json!({"state": {"desired": {"a": {"x": 1, "y": 2}, "b": [1, 2]}}}),
        10,
    )
    .unwrap();
    update(
        &mut shadow,
        &json!({"state": {"desired": {"a": {"x": null, "z": 3}, "b": [3]}}}),
        20,
    )
    .unwrap();
    assert_eq!(
        Value::Object(shadow.desired.clone()),
        json!({"a": {"y": 2, "z": 3}, "b": [3]})
    );
    assert_eq!(
        Value::Object(shadow.desired_metadata.clone()),
        json!({"a": {"y": {"timestamp": 10}, "z": {"timestamp": 20}}, "b": [{"timestamp": 20}]})
    );
    assert_eq!(shadow.version, 2);
}

#[test]
fn a_side_that_is_null_is_cleared_and_the_other_stays() {
    let mut shadow = Shadow::default();
    update(
        &mut shadow,
        &json!({"state": {"desired": {"a": 1}, "reported": {"a": 1}}}),
        1,
    )
    .unwrap();
    update(&mut shadow, &json!({"state": {"desired": null}}), 2).unwrap();
    let document = shadow.document(3);
    assert_eq!(document["state"], json!({"reported": {"a": 1}}));
    assert_eq!(
        document["metadata"],
        json!({"reported": {"a": {"timestamp": 1}}})
    );
}

#[test]
fn the_answer_carries_what_was_asked_with_its_timestamps_and_token() {
    let mut shadow = Shadow::default();
    let change = update(
        &mut shadow,
        &json!({"state": {"reported": {"a": 1, "gone": null}}, "clientToken": "abc"}),
        5,
    )
    .unwrap();
    assert_eq!(
        change.accepted(),
        &json!({"state": {"reported": {"a": 1, "gone": null}}, "metadata": {"reported": {"a": {"timestamp": 5}}},
                "version": 1, "timestamp": 5, "clientToken": "abc"})
    );
    assert_eq!(change.delta(), None);
}

#[test]
fn the_delta_has_only_what_differs_and_lists_as_a_whole() {
    let mut shadow = Shadow::default();
    let change = update(
        &mut shadow,
        &json!({"state": {"desired": {"a": {"x": 1, "y": 2}, "l": [1, 2], "same": true},
                         "reported": {"a": {"x": 1, "y": 3}, "l": [1], "same": true, "only": 1}}}),
        7,
    )
    .unwrap();
    assert_eq!(
        change.delta().unwrap(),
        json!({"version": 1, "timestamp": 7, "state": {"a": {"y": 2}, "l": [1, 2]},
               "metadata": {"a": {"y": {"timestamp": 7}}, "l": [{"timestamp": 7}, {"timestamp": 7}]}})
    );
}

#[test]
fn documents_show_before_and_after() {
    let mut shadow = Shadow::default();
    update(&mut shadow, &json!({"state": {"reported": {"a": 1}}}), 1).unwrap();
    let change = update(&mut shadow, &json!({"state": {"reported": {"a": 2}}}), 2).unwrap();
    let documents = change.documents();
    assert_eq!(
        documents["previous"]["state"],
        json!({"reported": {"a": 1}})
    );
    assert_eq!(documents["previous"]["version"], 1);
    assert_eq!(documents["current"]["state"], json!({"reported": {"a": 2}}));
    assert_eq!(documents["current"]["version"], 2);
}

#[test]
fn a_stale_version_changes_nothing_also_after_deletion() {
    let mut shadow = Shadow::default();
    update(&mut shadow, &json!({"state": {"reported": {"a": 1}}}), 1).unwrap();
    let before = shadow.clone();
    let error = update(
        &mut shadow,
        &json!({"state": {"reported": {"a": 2}}, "version": 7}),
        2,
    )
    .unwrap_err();
    assert_eq!(error.code(), 409);
    assert_eq!(shadow, before);
    let mut again = shadow.deleted();
    assert!(
        update(
            &mut again,
            &json!({"state": {"reported": {"a": 2}}, "version": 1}),
            3
        )
        .is_err()
    );
    update(&mut again, &json!({"state": {"reported": {"a": 2}}}), 3).unwrap();
    assert_eq!(again.version, 3);
}

#[test]
fn bad_requests_are_refused_in_the_words_of_aws_iot() {
    let deep = format!(
        "{{\"state\":{{\"desired\":{}1{}}}}}",
        "{\"a\":".repeat(9),
        "}".repeat(9)
    );
    for (text, message) in [
        (r#"{"#, "Invalid JSON"),
        (r#"[]"#, "Document node must be an object"),
        (r#"{}"#, "Missing required node: state"),
        (r#"{"state":1}"#, "State node must be an object"),
        (
            r#"{"state":{"desired":1}}"#,
            "Desired node must be an object",
        ),
        (
            r#"{"state":{"reported":[]}}"#,
            "Reported node must be an object",
        ),
        (
            r#"{"state":{"wanted":{}}}"#,
            "State contains an invalid node: 'wanted'",
        ),
        (r#"{"state":{},"version":"1"}"#, "Invalid version"),
        (r#"{"state":{},"version":-1}"#, "Invalid version"),
        (r#"{"state":{},"clientToken":1}"#, "Invalid clientToken"),
        (
            deep.as_str(),
            "JSON contains too many levels of nesting; maximum is 8",
        ),
    ] {
        let error = Update::parse(text.as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with(message), "{text}: {error}");
        assert_eq!(error.code(), 400);
    }
    assert_eq!(
        Update::client_token_of(br#"{"clientToken":"t","state":1}"#).as_deref(),
        Some("t")
    );
}

#[test]
fn a_state_may_not_grow_beyond_its_limit() {
    let mut shadow = Shadow::default();
    let error = update(
        &mut shadow,
        &json!({"state": {"reported": {"a": "x".repeat(MAX_STATE_BYTES)}}}),
        1,
    )
    .unwrap_err();
    assert_eq!(error, ShadowError::TooLarge);
    assert_eq!(shadow.version, 0);
}

fn trees() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(1)),
        Just(json!(2)),
        Just(json!("s")),
        Just(json!([1])),
        Just(json!(true))
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        prop::collection::btree_map("[a-c]", inner, 1..3)
            .prop_map(|members| Value::Object(members.into_iter().collect()))
    })
}

fn sides() -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-c]", trees(), 0..3)
        .prop_map(|members| Value::Object(members.into_iter().collect()))
}

proptest! {
    /// A device that applies each delta and reports it comes to rest.
    #[test]
    fn reporting_the_delta_ends_the_difference(desired in sides(), reported in sides()) {
        let mut shadow = Shadow::default();
        update(&mut shadow, &json!({"state": {"reported": reported}}), 1).unwrap();
        let change = update(&mut shadow, &json!({"state": {"desired": desired}}), 2).unwrap();
        if let Some(delta) = change.delta() {
            let change = update(&mut shadow, &json!({"state": {"reported": delta["state"]}}), 3).unwrap();
            prop_assert_eq!(change.delta(), None);
        }
    }

    /// Every leaf has a timestamp, and nothing else has.
    #[test]
    fn metadata_follows_the_state(changes in prop::collection::vec(sides(), 1..5)) {
        let mut shadow = Shadow::default();
        for (at, change) in changes.into_iter().enumerate() {
            update(&mut shadow, &json!({"state": {"reported": change}}), at as i64).unwrap();
        }
        fn check(state: &Value, stamp: &Value) -> bool {
            match state {
                Value::Object(members) => {
                    stamp.as_object().is_some_and(|s| s.len() == members.len())
                        && members.iter().all(|(key, value)| check(value, &stamp[key]))
                }
                Value::Array(elements) => stamp.as_array().is_some_and(|s| s.len() == elements.len()),
                _ => stamp["timestamp"].is_i64(),
            }
        }
        prop_assert!(check(&Value::Object(shadow.reported), &Value::Object(shadow.reported_metadata)));
    }
}
