//! The published example of the specification, the published S3 presigned example where the rules are the same, and what
//! must not pass.

use super::*;
use crate::http::Timestamp;
use http::request::Parts;
use std::time::Duration;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// "Create a signed AWS API request", the IAM ListUsers example.
fn list_users(authorization: &str) -> Parts {
    http::Request::get("https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08")
        .header("host", "iam.amazonaws.com")
        .header(
            "content-type",
            "application/x-www-form-urlencoded; charset=utf-8",
        )
        .header("x-amz-date", "20150830T123600Z")
        .header("authorization", authorization)
        .body(())
        .unwrap()
        .into_parts()
        .0
}

const LIST_USERS: &str = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7";

fn claim(parts: &Parts) -> Claim {
    Claim::of(parts).unwrap().unwrap()
}

fn check(parts: &Parts) -> Result<(), SignatureError> {
    Claim::of(parts)?
        .unwrap()
        .verify(parts, EMPTY, "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
}

#[test]
fn the_published_example_verifies() {
    let parts = list_users(LIST_USERS);
    let found = claim(&parts);
    assert_eq!(
        (found.access_key_id.as_str(), found.scope().as_str()),
        ("AKIDEXAMPLE", "20150830/us-east-1/iam/aws4_request")
    );
    assert_eq!(check(&parts), Ok(()));
}

/// One case of AWS's published suite: request line, headers besides host and date, signed headers, signature. All are of
/// 2015-08-30, region us-east-1, service `service`, without a body.
type Case = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
    &'static str,
);

const ROOT: &str = "host;x-amz-date";

const SUITE: &[Case] = &[
    (
        "GET /",
        &[],
        ROOT,
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    (
        "GET /example/..",
        &[],
        ROOT,
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    (
        "GET /example1/example2/../..",
        &[],
        ROOT,
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    (
        "GET /./",
        &[],
        ROOT,
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    (
        "GET //",
        &[],
        ROOT,
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    (
        "GET /./example",
        &[],
        ROOT,
        "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5",
    ),
    (
        "GET //example//",
        &[],
        ROOT,
        "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84",
    ),
    (
        "GET /-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        &[],
        ROOT,
        "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
    ),
    (
        "GET /\u{1234}",
        &[],
        ROOT,
        "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
    ),
    (
        "GET /?Param1=value1",
        &[],
        ROOT,
        "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
    ),
    (
        "GET /?Param2=value2&Param1=value1",
        &[],
        ROOT,
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    (
        "GET /?Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
        &[],
        ROOT,
        "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
    ),
    (
        "GET /?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        &[],
        ROOT,
        "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
    ),
    (
        "GET /?\u{1234}=bar",
        &[],
        ROOT,
        "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
    ),
    (
        "GET /",
        &[
            ("my-header1", "value2"),
            ("my-header1", "value2"),
            ("my-header1", "value1"),
        ],
        "host;my-header1;x-amz-date",
        "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
    ),
    (
        "GET /",
        &[
            ("my-header1", "value4"),
            ("my-header1", "value1"),
            ("my-header1", "value3"),
            ("my-header1", "value2"),
        ],
        "host;my-header1;x-amz-date",
        "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01",
    ),
    (
        "GET /",
        &[("my-header1", " value1"), ("my-header2", " \"a   b   c\"")],
        "host;my-header1;my-header2;x-amz-date",
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
    (
        "GET /",
        &[(
            "x-amz-security-token",
            "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267",
        )],
        "host;x-amz-date;x-amz-security-token",
        "07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8",
    ),
    (
        "POST /",
        &[],
        ROOT,
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    ),
    (
        "POST /?Param1=value1",
        &[],
        ROOT,
        "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
    ),
    (
        "POST /",
        &[("my-header1", "VALUE1")],
        "host;my-header1;x-amz-date",
        "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
    ),
];

#[test]
fn the_published_suite_verifies() {
    for (line, headers, signed, signature) in SUITE {
        let (method, target) = line.split_once(' ').unwrap();
        let mut request = http::Request::builder()
            .method(method)
            .uri(target)
            .header("host", "example.amazonaws.com")
            .header("x-amz-date", "20150830T123600Z");
        for (name, value) in *headers {
            request = request.header(*name, *value);
        }
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders={signed}, Signature={signature}"
        );
        let parts = request
            .header("authorization", authorization)
            .body(())
            .unwrap()
            .into_parts()
            .0;
        assert_eq!(
            claim(&parts).verify(&parts, EMPTY, SECRET),
            Ok(()),
            "{line} {signed}"
        );
    }
}

#[test]
fn a_changed_request_secret_or_body_does_not_verify() {
    let parts = list_users(LIST_USERS);
    assert_eq!(
        claim(&parts).verify(&parts, EMPTY, "other"),
        Err(SignatureError::Mismatch)
    );
    assert_eq!(
        claim(&parts).verify(&parts, &payload_hash(b"x"), SECRET),
        Err(SignatureError::Mismatch)
    );
    let mut changed = list_users(LIST_USERS);
    changed.uri = "https://iam.amazonaws.com/?Action=DeleteUser&Version=2010-05-08"
        .parse()
        .unwrap();
    assert_eq!(check(&changed), Err(SignatureError::Mismatch));
    let shortened = LIST_USERS.trim_end_matches('7');
    assert_eq!(check(&list_users(shortened)), Err(SignatureError::Mismatch));
}

#[test]
fn a_header_that_says_what_is_asked_for_must_be_signed() {
    let mut parts = list_users(LIST_USERS);
    parts
        .headers
        .insert("x-amz-target", "Other.Operation".parse().unwrap());
    assert!(
        matches!(check(&parts), Err(SignatureError::Scope(text)) if text.contains("x-amz-target"))
    );
}

#[test]
fn what_is_incomplete_is_named() {
    for (authorization, named) in [
        ("Basic YWxhZGRpbg==", "AWS4-HMAC-SHA256"),
        (
            "AWS4-HMAC-SHA256 SignedHeaders=host, Signature=00",
            "'Credential'",
        ),
        (
            "AWS4-HMAC-SHA256 Credential=A/20150830/us-east-1/iam/aws4_request, SignedHeaders=host",
            "'Signature'",
        ),
        (
            "AWS4-HMAC-SHA256 Credential=A/iam, SignedHeaders=host, Signature=00",
            "5 slash-delimited",
        ),
        (
            "AWS4-HMAC-SHA256 Credential=A/20150831/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=00",
            "20150831",
        ),
        (
            "AWS4-HMAC-SHA256 Credential=A/20150830/us-east-1/iam/aws4_request, SignedHeaders=x-amz-date, Signature=00",
            "'Host'",
        ),
    ] {
        let error = Claim::of(&list_users(authorization))
            .unwrap_err()
            .to_string();
        assert!(error.contains(named), "{authorization}: {error}");
    }
    let mut twice = list_users(LIST_USERS);
    twice
        .headers
        .append("authorization", "AWS4-HMAC-SHA256 x".parse().unwrap());
    assert!(Claim::of(&twice).is_err());
    let none = http::Request::get("https://x/?a=b")
        .body(())
        .unwrap()
        .into_parts()
        .0;
    assert!(Claim::of(&none).unwrap().is_none());
}

#[test]
fn five_minutes_of_skew_are_forgiven_and_no_more() {
    let claim = claim(&list_users(LIST_USERS));
    let at =
        |seconds: i64| claim.timely(Timestamp::from_millis(claim.time.millis() + seconds * 1000));
    assert_eq!(at(300), Ok(()));
    assert_eq!(at(-300), Ok(()));
    assert_eq!(
        at(301),
        Err(SignatureError::Expired(
            "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T124101Z - 5 min.)".into()
        ))
    );
    assert_eq!(
        at(-301),
        Err(SignatureError::FromTheFuture(
            "Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z (20150830T123059Z + 5 min.)".into()
        ))
    );
}

#[test]
fn a_presigned_url_is_good_for_as_long_as_it_says() {
    let url = |expires: &str| {
        format!(
            "https://sts.amazonaws.com/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fsts%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-Expires={expires}&X-Amz-SignedHeaders=host&X-Amz-Signature="
        )
    };
    let parts = |url: &str| {
        let request = http::Request::get(url).header("host", "sts.amazonaws.com");
        request.body(()).unwrap().into_parts().0
    };
    let unsigned = parts(&format!("{}00", url("60")));
    let claimed = claim(&unsigned);
    assert_eq!(claimed.expires, Some(Duration::from_secs(60)));
    let canonical = canonical::request(&unsigned, &claimed, EMPTY).unwrap();
    let signature = claimed.signature_of(&canonical, SECRET);
    let signed = parts(&format!("{}{signature}", url("60")));
    let found = claim(&signed);
    assert_eq!(found.verify(&signed, EMPTY, SECRET), Ok(()));
    let at =
        |seconds: i64| found.timely(Timestamp::from_millis(found.time.millis() + seconds * 1000));
    assert_eq!(
        (at(60), at(61)),
        (Ok(()), Err(SignatureError::PresignedExpired))
    );
    for wrong in ["0", "604801", "x", ""] {
        assert!(
            Claim::of(&parts(&format!("{}00", url(wrong)))).is_err(),
            "{wrong}"
        );
    }
}
