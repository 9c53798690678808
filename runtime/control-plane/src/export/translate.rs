//! ARNs and buckets of the old place become those of the new one.

use serde_json::Value;

/// From where to where.
#[derive(Clone, Debug)]
pub struct Translation {
    /// The account here.
    pub from_account: String,
    /// The region here.
    pub from_region: String,
    /// The account there.
    pub to_account: String,
    /// The region there.
    pub to_region: String,
    /// `aws`, or that of China or the government's clouds.
    pub partition: String,
    /// Where artifacts are to be; as here when absent.
    pub bucket: Option<String>,
}

impl Translation {
    /// A text in which ARNs of this account may be, a policy's document for example. Other accounts' are left alone.
    pub fn text(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find("arn:aws:") {
            let (before, arn) = rest.split_at(at);
            out.push_str(before);
            let mut parts = arn.splitn(6, ':');
            let of_this_account = match (parts.nth(2), parts.next(), parts.next()) {
                (Some(service), Some(region), Some(account))
                    if account == self.from_account
                        && (region == self.from_region || region.is_empty() || region == "*") =>
                {
                    let to = if region == self.from_region {
                        &self.to_region
                    } else {
                        region
                    };
                    let old = format!("arn:aws:{service}:{region}:{account}:");
                    Some((
                        old.len(),
                        format!("arn:{}:{service}:{to}:{}:", self.partition, self.to_account),
                    ))
                }
                _ => None,
            };
            let taken = match of_this_account {
                Some((length, new)) => {
                    out.push_str(&new);
                    length
                }
                None => {
                    out.push_str("arn:aws:");
                    "arn:aws:".len()
                }
            };
            rest = &arn[taken..];
        }
        out.push_str(rest);
        out
    }

    /// The bucket in which an artifact is to be.
    pub fn bucket<'a>(&'a self, own: &'a str) -> &'a str {
        self.bucket.as_deref().unwrap_or(own)
    }

    /// A recipe whose artifacts are in the new bucket.
    pub fn recipe(&self, recipe: &mut Value) {
        for uri in uris(recipe) {
            if let Some((bucket, key)) = parts_of(uri) {
                *uri = format!("s3://{}/{key}", self.bucket(bucket));
            }
        }
    }
}

/// Bucket and key of `s3://bucket/key`.
pub fn parts_of(uri: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = uri.split_once("://")?;
    scheme
        .eq_ignore_ascii_case("s3")
        .then(|| rest.split_once('/'))
        .flatten()
}

/// A member whatever its case: in recipes it does not matter.
fn member<'a>(value: &'a mut Value, name: &str) -> Option<&'a mut Value> {
    let mut members = value.as_object_mut()?.iter_mut();
    members
        .find(|(own, _)| own.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

/// The URIs of a recipe's artifacts.
pub fn uris(recipe: &mut Value) -> Vec<&mut String> {
    let manifests = member(recipe, "manifests").and_then(Value::as_array_mut);
    manifests
        .into_iter()
        .flatten()
        .filter_map(|manifest| member(manifest, "artifacts")?.as_array_mut())
        .flatten()
        .filter_map(|artifact| match member(artifact, "uri")? {
            Value::String(uri) => Some(uri),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn translation() -> Translation {
        Translation {
            from_account: "111111111111".into(),
            from_region: "us-east-1".into(),
            to_account: "222222222222".into(),
            to_region: "eu-west-1".into(),
            partition: "aws".into(),
            bucket: Some("new".into()),
        }
    }

    #[test]
    fn arns_of_the_account_move_and_others_stay() {
        let t = translation();
        for (old, new) in [
            (
                "arn:aws:iot:us-east-1:111111111111:topic/a",
                "arn:aws:iot:eu-west-1:222222222222:topic/a",
            ),
            (
                "arn:aws:iam::111111111111:role/r",
                "arn:aws:iam::222222222222:role/r",
            ),
            (
                "arn:aws:iot:*:111111111111:*",
                "arn:aws:iot:*:222222222222:*",
            ),
            (
                "arn:aws:iot:us-east-1:333333333333:topic/a",
                "arn:aws:iot:us-east-1:333333333333:topic/a",
            ),
            ("arn:aws:s3:::bucket/*", "arn:aws:s3:::bucket/*"),
            ("arn:aws:", "arn:aws:"),
            ("*", "*"),
        ] {
            let document = |arn: &str| format!(r#"{{"Resource":["{arn}","{arn}"]}}"#);
            assert_eq!(t.text(&document(old)), document(new));
        }
        let china = Translation {
            partition: "aws-cn".into(),
            ..t
        };
        assert_eq!(
            china.text("arn:aws:iam::111111111111:role/r"),
            "arn:aws-cn:iam::222222222222:role/r"
        );
    }

    #[test]
    fn artifacts_move_and_those_of_docker_stay() {
        let mut recipe = json!({ "Manifests": [
            { "Artifacts": [{ "Uri": "s3://old/a/b.zip" }, { "URI": "docker:image" }, { "Uri": "S3://other/c" }] },
            { "Lifecycle": {} },
        ] });
        translation().recipe(&mut recipe);
        let all: Vec<String> = uris(&mut recipe)
            .into_iter()
            .map(|uri| uri.clone())
            .collect();
        assert_eq!(all, ["s3://new/a/b.zip", "docker:image", "s3://new/c"]);
        Translation {
            bucket: None,
            ..translation()
        }
        .recipe(&mut recipe);
        assert_eq!(uris(&mut recipe)[0], "s3://new/a/b.zip");
    }
}
