//! Who may do what: rules that allow; what none allows is denied.
//!
//! In filters and client ids `%c` stands for the client id, `%u` for the user name, `%cn` for the certificate's common name and `%%`
//! for a percent sign. A rule whose placeholder has no value for a client, or one with `/`, `+` or `#` in it, does not apply to it.

/// What a client is known by.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// Its client id.
    pub client_id: &'a str,
    /// Its user name, proven by a password.
    pub user: Option<&'a str>,
    /// The common name of its certificate.
    pub common_name: Option<&'a str>,
}

/// A rule as configured. `*` in a pattern stands for any text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// For users like this.
    pub user: Option<String>,
    /// For certificates with a common name like this.
    pub common_name: Option<String>,
    /// For client ids like this.
    pub client_id: Option<String>,
    /// Client ids that may be used; empty: the rule says nothing about them.
    pub connect: Vec<Template>,
    /// Topic filters that may be published to.
    pub publish: Vec<Template>,
    /// Topic filters that may be subscribed to.
    pub subscribe: Vec<Template>,
}

impl Rule {
    fn is_for(&self, who: Who<'_>) -> bool {
        let fits = |pattern: &Option<String>, value: Option<&str>| match (pattern, value) {
            (None, _) => true,
            (Some(pattern), Some(value)) => like(pattern, value),
            (Some(_), None) => false,
        };
        fits(&self.user, who.user)
            && fits(&self.common_name, who.common_name)
            && fits(&self.client_id, Some(who.client_id))
    }
}

/// All rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(pub Vec<Rule>);

impl Rules {
    fn of<'a>(&'a self, who: Who<'a>) -> impl Iterator<Item = &'a Rule> {
        self.0.iter().filter(move |rule| rule.is_for(who))
    }

    /// May it use its client id? Any, unless a rule for it names some.
    pub fn may_connect(&self, who: Who<'_>) -> bool {
        let mut named = self.of(who).flat_map(|rule| &rule.connect).peekable();
        named.peek().is_none()
            || named.any(|ids| {
                (ids.fill(who, false)).is_some_and(|pattern| like(&pattern, who.client_id))
            })
    }

    /// May it publish to this topic?
    pub fn may_publish(&self, who: Who<'_>, topic: &str) -> bool {
        (self.of(who).flat_map(|rule| &rule.publish)).any(|allowed| allowed.allows(who, topic))
    }

    /// May it subscribe with this filter? When every topic that the filter matches is allowed.
    pub fn may_subscribe(&self, who: Who<'_>, filter: &str) -> bool {
        (self.of(who).flat_map(|rule| &rule.subscribe)).any(|allowed| allowed.allows(who, filter))
    }
}

/// Text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    ClientId,
    User,
    CommonName,
}

impl Template {
    /// Reads the placeholders; the error says which is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            plain.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            let (part, after) = if let Some(after) = rest.strip_prefix("cn") {
                (Part::CommonName, after)
            } else if let Some(after) = rest.strip_prefix('c') {
                (Part::ClientId, after)
            } else if let Some(after) = rest.strip_prefix('u') {
                (Part::User, after)
            } else if let Some(after) = rest.strip_prefix('%') {
                plain.push('%');
                rest = after;
                continue;
            } else {
                let unknown: String = rest.chars().take(1).collect();
                return Err(format!(
                    "'%{unknown}' is no placeholder; there are %c, %u, %cn and %% for a percent sign"
                ));
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(part);
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() || parts.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }

    /// With the placeholders filled in; `None` when one has no value, or one that would be more than a part of a level.
    fn fill(&self, who: Who<'_>, levels: bool) -> Option<String> {
        let mut filled = String::new();
        for part in &self.0 {
            let value = match part {
                Part::Text(text) => {
                    filled.push_str(text);
                    continue;
                }
                Part::ClientId => Some(who.client_id),
                Part::User => who.user,
                Part::CommonName => who.common_name,
            }?;
            let special: &[char] = if levels {
                &['/', '+', '#', '\0']
            } else {
                &['*']
            };
            if value.is_empty() || value.contains(special) {
                return None;
            }
            filled.push_str(value);
        }
        Some(filled)
    }

    fn allows(&self, who: Who<'_>, wanted: &str) -> bool {
        self.fill(who, true)
            .is_some_and(|filter| covers(&filter, wanted))
    }

    /// What it looks like with harmless values, for a check of its form.
    pub fn example(&self) -> String {
        let who = Who {
            client_id: "x",
            user: Some("x"),
            common_name: Some("x"),
        };
        self.fill(who, true).unwrap_or_default()
    }
}

/// Whether every topic that `wanted` matches is matched by `allowed` as well; a topic name matches itself alone.
pub fn covers(allowed: &str, wanted: &str) -> bool {
    // Wildcards at the start do not reach topics of the system (MQTT 5, 4.7.2).
    if wanted.starts_with('$') && allowed.starts_with(['+', '#']) {
        return false;
    }
    let mut wanted = wanted.split('/');
    for level in allowed.split('/') {
        match (level, wanted.next()) {
            // "a/#" is also "a".
            ("#", _) => return true,
            ("+", Some(level)) if level != "#" => {}
            (level, Some(same)) if level == same => {}
            _ => return false,
        }
    }
    wanted.next().is_none()
}

/// `*` stands for any text, also for none.
fn like(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(start) else {
        return false;
    };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let end = pieces.pop().unwrap_or_default();
    for piece in pieces {
        match text.find(piece) {
            Some(at) => text = &text[at + piece.len()..],
            None => return false,
        }
    }
    text.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALICE: Who<'_> = Who {
        client_id: "sensor-1",
        user: Some("alice"),
        common_name: None,
    };

    fn template(text: &str) -> Template {
        Template::parse(text).unwrap()
    }

    fn templates(all: &[&str]) -> Vec<Template> {
        all.iter().map(|text| template(text)).collect()
    }

    #[test]
    fn nothing_is_allowed_without_a_rule() {
        let rules = Rules::default();
        assert!(!rules.may_publish(ALICE, "a"));
        assert!(!rules.may_subscribe(ALICE, "a"));
        assert!(rules.may_connect(ALICE));
    }

    #[test]
    fn rules_add_up() {
        let rules = Rules(vec![
            Rule {
                publish: templates(&["all/#"]),
                ..Rule::default()
            },
            Rule {
                user: Some("al*".into()),
                publish: templates(&["users/%u/+"]),
                subscribe: templates(&["devices/%c/#"]),
                ..Rule::default()
            },
            Rule {
                common_name: Some("*".into()),
                publish: templates(&["certificates/%cn"]),
                ..Rule::default()
            },
        ]);
        assert!(rules.may_publish(ALICE, "all/x"));
        assert!(rules.may_publish(ALICE, "users/alice/x"));
        assert!(!rules.may_publish(ALICE, "users/bob/x"));
        assert!(!rules.may_publish(ALICE, "certificates/"));
        assert!(rules.may_subscribe(ALICE, "devices/sensor-1/#"));
        assert!(!rules.may_subscribe(ALICE, "devices/+/#"));
        let device = Who {
            user: None,
            common_name: Some("device-1"),
            ..ALICE
        };
        assert!(rules.may_publish(device, "certificates/device-1"));
        assert!(!rules.may_publish(device, "users/alice/x"));
    }

    #[test]
    fn names_with_wildcards_or_levels_in_them_widen_nothing() {
        let rules = Rules(vec![Rule {
            subscribe: templates(&["devices/%c/#", "users/%u"]),
            ..Rule::default()
        }]);
        for client_id in ["#", "+", "a/b", ""] {
            let who = Who {
                client_id,
                user: Some("+"),
                ..ALICE
            };
            assert!(!rules.may_subscribe(who, "devices/+/#"), "{client_id}");
            assert!(!rules.may_subscribe(who, "devices/a/b/#"), "{client_id}");
            assert!(!rules.may_subscribe(who, "users/+"), "{client_id}");
        }
    }

    #[test]
    fn a_client_id_belongs_to_whom_the_rules_give_it() {
        let rules = Rules(vec![Rule {
            common_name: Some("*".into()),
            connect: templates(&["%cn", "%cn-*"]),
            ..Rule::default()
        }]);
        let who = |client_id, common_name| Who {
            client_id,
            user: None,
            common_name,
        };
        assert!(rules.may_connect(who("d1", Some("d1"))));
        assert!(rules.may_connect(who("d1-tool", Some("d1"))));
        assert!(!rules.may_connect(who("d2", Some("d1"))));
        assert!(!rules.may_connect(who("anything", Some("*"))));
        assert!(rules.may_connect(who("d2", None)), "no rule names its ids");
    }

    #[test]
    fn a_filter_covers_what_it_matches_whatever_that_is() {
        for (allowed, wanted) in [
            ("#", "a/b/#"),
            ("#", "+"),
            ("a/#", "a"),
            ("a/#", "a/#"),
            ("a/+/c", "a/+/c"),
            ("a/+", "a/b"),
            ("+/+", "+/b"),
            ("$aws/#", "$aws/things/+"),
        ] {
            assert!(covers(allowed, wanted), "{allowed} {wanted}");
        }
        for (allowed, wanted) in [
            ("+", "#"),
            ("a/+", "a/#"),
            ("a/+", "a"),
            ("a/b", "a/+"),
            ("#", "$SYS/#"),
            ("+/x", "$aws/x"),
            ("a/#", "ab"),
        ] {
            assert!(!covers(allowed, wanted), "{allowed} {wanted}");
        }
    }

    #[test]
    fn placeholders_are_told_from_what_looks_like_them() {
        assert_eq!(template("100%%/%c%cn%u").example(), "100%/xxx");
        let error = Template::parse("a/%i").unwrap_err();
        assert!(error.contains("'%i'"), "{error}");
        assert!(Template::parse("a%").is_err());
    }

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, text) in [
            ("*", ""),
            ("a*", "a"),
            ("a*c", "abc"),
            ("*b*", "abc"),
            ("a*b*c", "abbc"),
        ] {
            assert!(like(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("a*", "b"),
            ("a*a", "a"),
            ("*b", "abc"),
            ("a", "ab"),
            ("a*bc*c", "abc"),
        ] {
            assert!(!like(pattern, text), "{pattern} {text}");
        }
    }

    fn filter() -> impl Strategy<Value = String> {
        let level = prop_oneof![
            "[ab]",
            Just("+".to_owned()),
            Just(String::new()),
            Just("$a".to_owned())
        ];
        let levels = prop::collection::vec(level, 1..4);
        (levels, any::<bool>()).prop_map(|(mut levels, hash)| {
            if hash {
                levels.push("#".into());
            }
            levels.join("/")
        })
    }

    proptest! {
        #[test]
        fn what_a_covered_filter_matches_is_matched_by_the_covering_one(
            allowed in filter(), wanted in filter(), topic in "[ab$/]{1,6}",
        ) {
            if covers(&allowed, &wanted) && mqtt::topic::matches(&wanted, &topic) {
                prop_assert!(mqtt::topic::matches(&allowed, &topic));
            }
        }

        #[test]
        fn a_topic_is_covered_when_it_is_matched(allowed in filter(), topic in "[ab$/]{1,6}") {
            prop_assert_eq!(covers(&allowed, &topic), mqtt::topic::matches(&allowed, &topic));
        }
    }
}
