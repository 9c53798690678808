//! One resource of a policy, compiled.
//!
//! `*` stands for any characters, `/` included, anywhere. `${*}`, `${?}` and `${$}` are those characters themselves.
//! In MQTT style `+` alone in a level stands for that level, and `/#` at the end for the level above and all below it;
//! elsewhere both are plain characters.

use super::Style;

/// A compiled resource.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Pattern {
    /// Every resource.
    All,
    /// This resource.
    Exact(String),
    /// What these parts match, with anything between two parts.
    Parts(Vec<Part>),
}

/// What stands between two `*`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Part(Vec<Token>);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Token {
    Text(String),
    /// `+`: up to the next `/`.
    Level,
    /// `/#` at the end: nothing, or `/` and anything.
    Below,
}

/// Why a resource cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Nothing at all.
    #[error("a resource may not be empty; use \"*\" for all resources")]
    Empty,
    /// A `?` on its own.
    #[error("'?' is no wildcard: write ${{?}} for the character itself, or use '*'")]
    QuestionMark,
    /// `${` that is none of the three escapes.
    #[error("unknown escape {0:?}: there are ${{*}}, ${{?}} and ${{$}}")]
    Escape(String),
}

impl Pattern {
    /// Compiles a resource.
    pub fn new(resource: &str, style: Style) -> Result<Self, PatternError> {
        if resource.is_empty() {
            return Err(PatternError::Empty);
        }
        if resource == "*" || (resource == "#" && style == Style::Mqtt) {
            return Ok(Self::All);
        }
        let mut parts = vec![Part::default()];
        let mut rest = resource;
        let mut before = None;
        while let Some(c) = rest.chars().next() {
            let tail = &rest[c.len_utf8()..];
            let part = parts.last_mut().expect("one part is there from the start");
            let level_starts = matches!(before, None | Some('/'));
            let mut used = c.len_utf8();
            match c {
                '*' => parts.push(Part::default()),
                '?' => return Err(PatternError::QuestionMark),
                '$' if tail.starts_with('{') => {
                    let escape = rest
                        .get(..4)
                        .filter(|e| matches!(*e, "${*}" | "${?}" | "${$}"));
                    let Some(escape) = escape else {
                        return Err(PatternError::Escape(
                            rest.split_inclusive('}').next().unwrap_or(rest).to_owned(),
                        ));
                    };
                    part.text(&escape[2..3]);
                    used = escape.len();
                }
                '+' if style == Style::Mqtt
                    && level_starts
                    && (tail.is_empty() || tail.starts_with('/')) =>
                {
                    part.0.push(Token::Level);
                }
                '/' if style == Style::Mqtt && tail == "#" => {
                    part.0.push(Token::Below);
                    used = rest.len();
                }
                c => part.text(c.encode_utf8(&mut [0; 4])),
            }
            before = rest[..used].chars().next_back();
            rest = &rest[used..];
        }
        Ok(match parts.as_mut_slice() {
            [Part(tokens)] => match tokens.as_mut_slice() {
                [Token::Text(text)] => Self::Exact(std::mem::take(text)),
                _ => Self::Parts(parts),
            },
            parts if parts.iter().all(|p| p.0.is_empty()) => Self::All,
            _ => Self::Parts(parts),
        })
    }

    /// Whether a resource is meant.
    pub fn matches(&self, resource: &str) -> bool {
        match self {
            Self::All => true,
            Self::Exact(text) => text == resource,
            Self::Parts(parts) => match parts.as_slice() {
                [] => resource.is_empty(),
                [only] => only.at(resource).is_some_and(str::is_empty),
                [first, middle @ .., last] => {
                    // Taking each part where it first fits is enough: whatever it leaves over, a `*` can take.
                    let Some(mut rest) = first.at(resource) else {
                        return false;
                    };
                    for part in middle {
                        let Some(after) = part.find(rest) else {
                            return false;
                        };
                        rest = after;
                    }
                    last.ends(rest)
                }
            },
        }
    }
}

impl Part {
    fn text(&mut self, text: &str) {
        if let Some(Token::Text(last)) = self.0.last_mut() {
            last.push_str(text);
        } else {
            self.0.push(Token::Text(text.to_owned()));
        }
    }

    /// What is left of `text` when the part is taken from its start.
    fn at<'t>(&self, text: &'t str) -> Option<&'t str> {
        let mut rest = text;
        for token in &self.0 {
            rest = match token {
                Token::Text(expected) => rest.strip_prefix(expected.as_str())?,
                Token::Level => &rest[rest.find('/').unwrap_or(rest.len())..],
                Token::Below if rest.is_empty() || rest.starts_with('/') => "",
                Token::Below => return None,
            };
        }
        Some(rest)
    }

    /// The same, from the first place where the part fits.
    fn find<'t>(&self, text: &'t str) -> Option<&'t str> {
        self.starts(text).find_map(|start| self.at(start))
    }

    /// Whether the part fits somewhere and takes all that follows.
    fn ends(&self, text: &str) -> bool {
        match self.0.as_slice() {
            [] => true,
            [Token::Text(expected)] => text.ends_with(expected.as_str()),
            _ => self
                .starts(text)
                .any(|start| self.at(start).is_some_and(str::is_empty)),
        }
    }

    /// The places where the part may begin.
    fn starts<'t>(&self, text: &'t str) -> impl Iterator<Item = &'t str> {
        let first = match self.0.first() {
            Some(Token::Text(first)) => first.as_str(),
            _ => "",
        };
        let mut from = Some(0);
        std::iter::from_fn(move || {
            let start = from?;
            let found = start + text.get(start..)?.find(first)?;
            from = text[found..].chars().next().map(|c| found + c.len_utf8());
            Some(&text[found..])
        })
    }
}
