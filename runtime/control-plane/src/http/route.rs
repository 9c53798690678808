//! URI templates as the AWS models write them: `/things/{thingName}`, and `{artifactName+}` for a label that takes the
//! rest of the path. A path is split first and decoded afterwards, so a label may contain an encoded slash.

use percent_encoding::percent_decode_str;
use std::cmp::Ordering;

/// One parsed template.
#[derive(Debug, PartialEq, Eq)]
pub struct Template {
    segments: Vec<Segment>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Literal(String),
    Label(String),
    Greedy(String),
}

/// The labels of a template with what the path has in their places, decoded.
pub type Labels = Vec<(String, String)>;

impl Template {
    /// Reads `/a/{label}/{rest+}`. Templates are constants of this program.
    pub fn parse(text: &str) -> Self {
        let segment = |text: &str| match text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) {
            Some(label) => match label.strip_suffix('+') {
                Some(label) => Segment::Greedy(label.to_owned()),
                None => Segment::Label(label.to_owned()),
            },
            None => Segment::Literal(text.to_owned()),
        };
        let segments = split(text).map(segment).collect();
        Self { segments }
    }

    /// The labels, when the raw path fits. Labels are never empty and must be UTF-8.
    pub fn matches(&self, raw_path: &str) -> Option<Labels> {
        let mut labels = Vec::new();
        let mut path = split(raw_path);
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => {
                    if path.next()? != text {
                        return None;
                    }
                }
                Segment::Label(name) => labels.push((name.clone(), decoded(path.next()?)?)),
                Segment::Greedy(name) => {
                    let rest: Vec<&str> = path.by_ref().collect();
                    labels.push((name.clone(), decoded(&rest.join("/"))?));
                }
            }
        }
        path.next().is_none().then_some(labels)
    }

    /// Orders templates so that the first that fits is the right one: a literal before a label before a greedy label.
    pub fn specificity(&self, other: &Self) -> Ordering {
        let rank = |segment: &Segment| match segment {
            Segment::Literal(_) => 0,
            Segment::Label(_) => 1,
            Segment::Greedy(_) => 2,
        };
        let ours = self.segments.iter().map(rank);
        ours.cmp(other.segments.iter().map(rank))
    }
}

fn split(path: &str) -> impl Iterator<Item = &str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let none = path.is_empty();
    path.split('/').filter(move |_| !none)
}

fn decoded(raw: &str) -> Option<String> {
    let text = percent_decode_str(raw).decode_utf8().ok()?;
    (!text.is_empty()).then(|| text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn labels(template: &str, path: &str) -> Option<Vec<(String, String)>> {
        Template::parse(template).matches(path)
    }

    fn pairs(pairs: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
        let own = |(a, b): &(&str, &str)| ((*a).to_owned(), (*b).to_owned());
        Some(pairs.iter().map(own).collect())
    }

    #[test]
    fn labels_are_decoded_after_the_path_is_split() {
        assert_eq!(
            labels("/topics/{topic}", "/topics/a%2Fb"),
            pairs(&[("topic", "a/b")])
        );
        assert_eq!(
            labels(
                "/greengrass/v2/components/{arn}/versions",
                "/greengrass/v2/components/arn%3Aaws%3Agreengrass%3Aus-east-1%3A1%3Acomponents%3Aa/versions"
            ),
            pairs(&[("arn", "arn:aws:greengrass:us-east-1:1:components:a")])
        );
    }

    #[test]
    fn a_greedy_label_takes_the_rest_with_its_slashes() {
        assert_eq!(
            labels("/c/{arn}/artifacts/{name+}", "/c/x/artifacts/a/b%20c/d"),
            pairs(&[("arn", "x"), ("name", "a/b c/d")])
        );
        assert_eq!(
            labels("/c/{arn}/artifacts/{name+}", "/c/x/artifacts/"),
            None
        );
        assert_eq!(labels("/c/{arn}/artifacts/{name+}", "/c/x/artifacts"), None);
    }

    #[test]
    fn empty_labels_and_left_over_segments_do_not_match() {
        assert_eq!(labels("/things/{t}", "/things/"), None);
        assert_eq!(labels("/things/{t}", "/things/a/"), None);
        assert_eq!(labels("/things/{t}", "/things/a/b"), None);
        assert_eq!(labels("/things", "/things"), pairs(&[]));
        assert_eq!(labels("/", "/"), pairs(&[]));
        assert_eq!(labels("/things/{t}", "/things/%FF"), None);
    }

    #[test]
    fn a_literal_goes_before_a_label_and_that_before_a_greedy_one() {
        let mut all = ["/a/{x+}", "/a/{x}", "/a/b"].map(Template::parse);
        all.sort_by(Template::specificity);
        assert_eq!(all, ["/a/b", "/a/{x}", "/a/{x+}"].map(Template::parse));
    }

    proptest! {
        #[test]
        fn any_text_survives_being_a_label(text in "\\PC{1,40}") {
            let encoded: String = percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC).collect();
            prop_assert_eq!(labels("/x/{t}/y", &format!("/x/{encoded}/y")), Some(vec![("t".to_owned(), text)]));
        }

        #[test]
        fn no_path_makes_it_panic(path in "\\PC{0,60}") {
            let _ = labels("/a/{b}/{c+}", &path);
        }
    }
}
