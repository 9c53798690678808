//! Patterns of resources and conditions: `*`, `?` and `${variables}`.
//!
//! A variable's value stands for itself: a client that calls itself `*` matches nothing but `*`.

use super::Facts;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Any,
    One,
    Variable(String),
}

#[derive(Clone, Copy)]
enum Token {
    Byte(u8),
    Any,
    One,
}

impl Pattern {
    /// Reads a pattern; the error names the variable that is not closed.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['*', '?', '$']) {
            let (before, from) = rest.split_at(at);
            text_part(&mut parts, before);
            if let Some(variable) = from.strip_prefix("${") {
                let Some((name, after)) = variable.split_once('}') else {
                    return Err(format!("the variable in '{text}' is not closed"));
                };
                match name {
                    "*" | "?" | "$" => text_part(&mut parts, name),
                    name => parts.push(Part::Variable(name.to_owned())),
                }
                rest = after;
                continue;
            }
            match from.as_bytes()[0] {
                b'*' => parts.push(Part::Any),
                b'?' => parts.push(Part::One),
                _ => text_part(&mut parts, "$"),
            }
            rest = &from[1..];
        }
        text_part(&mut parts, rest);
        Ok(Self(parts))
    }

    /// Whether the whole text fits. A variable that has no value fits nothing.
    pub fn matches(&self, text: &str, facts: &Facts) -> bool {
        let Some(tokens) = self.tokens(facts, true) else {
            return false;
        };
        glob(&tokens, text.as_bytes())
    }

    /// Whether the text is the pattern's, letter for letter, once variables are filled in.
    pub fn equals(&self, text: &str, facts: &Facts, fold: bool) -> bool {
        let Some(tokens) = self.tokens(facts, false) else {
            return false;
        };
        let same = |(token, byte): (&Token, u8)| match token {
            Token::Byte(own) if fold => own.eq_ignore_ascii_case(&byte),
            Token::Byte(own) => *own == byte,
            Token::Any | Token::One => false,
        };
        tokens.len() == text.len() && tokens.iter().zip(text.bytes()).all(same)
    }

    fn tokens(&self, facts: &Facts, wild: bool) -> Option<Vec<Token>> {
        let mut tokens = Vec::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => tokens.extend(text.bytes().map(Token::Byte)),
                Part::Variable(name) => {
                    tokens.extend(facts.variable(name)?.bytes().map(Token::Byte));
                }
                Part::Any if wild => tokens.push(Token::Any),
                Part::One if wild => tokens.push(Token::One),
                Part::Any => tokens.push(Token::Byte(b'*')),
                Part::One => tokens.push(Token::Byte(b'?')),
            }
        }
        Some(tokens)
    }
}

fn text_part(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(Part::Text(last)) => last.push_str(text),
        _ => parts.push(Part::Text(text.to_owned())),
    }
}

/// Time at most in proportion to the product of the lengths: only the last star is ever gone back to.
fn glob(pattern: &[Token], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(Token::Any) => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(Token::One) => {
                // One character, not one byte of it.
                p += 1;
                t += 1;
                while text.get(t).is_some_and(|byte| byte & 0xC0 == 0x80) {
                    t += 1;
                }
            }
            Some(Token::Byte(byte)) if *byte == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((after, taken)) => {
                    star = Some((after, taken + 1));
                    (p, t) = (after, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|token| matches!(token, Token::Any))
}
