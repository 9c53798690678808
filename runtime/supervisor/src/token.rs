//! The token that tells the IPC server which component speaks: `SVCUID`, 16 characters of [A-Z0-9].

use rustix::rand::{GetRandomFlags, getrandom};
use std::{fmt, io};
use subtle::ConstantTimeEq;

const ALPHABET: &[u8; 36] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
const LENGTH: usize = 16;

/// A component's token. Debug hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// A new one, from the system's random source.
    pub fn generate() -> io::Result<Self> {
        let mut text = String::with_capacity(LENGTH);
        while text.len() < LENGTH {
            let mut bytes = [0u8; LENGTH];
            let filled = getrandom(&mut bytes, GetRandomFlags::empty())?;
            // 252 is the largest multiple of 36 below 256: bytes above it would favour the first letters.
            let fair = bytes[..filled].iter().filter(|byte| **byte < 252);
            text.extend(
                fair.take(LENGTH - text.len())
                    .map(|byte| char::from(ALPHABET[usize::from(*byte % 36)])),
            );
        }
        Ok(Self(text))
    }

    /// One that was stored; `None` when it is not of the right form.
    pub fn from_stored(text: String) -> Option<Self> {
        (text.len() == LENGTH && text.bytes().all(|byte| ALPHABET.contains(&byte)))
            .then_some(Self(text))
    }

    /// For the component's environment and the database.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Compares in constant time.
    pub fn is(&self, text: &str) -> bool {
        self.0.as_bytes().ct_eq(text.as_bytes()).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn tokens_are_sixteen_upper_case_letters_and_digits_and_differ() {
        let tokens: BTreeSet<String> = (0..200)
            .map(|_| Token::generate().unwrap().reveal().to_owned())
            .collect();
        assert_eq!(tokens.len(), 200);
        assert!(
            tokens
                .iter()
                .all(|t| Token::from_stored(t.clone()).is_some())
        );
        let letters: BTreeSet<char> = tokens.iter().flat_map(|t| t.chars()).collect();
        assert_eq!(
            letters.len(),
            36,
            "every character of the alphabet turns up in 3,200"
        );
    }

    #[test]
    fn a_token_matches_itself_alone_and_is_not_printed() {
        let token = Token::generate().unwrap();
        assert!(token.is(token.reveal()));
        assert!(!token.is(&token.reveal()[..15]));
        assert!(!token.is(Token::generate().unwrap().reveal()));
        assert!(!format!("{token:?}").contains(token.reveal()));
    }

    #[test]
    fn a_stored_text_of_another_form_is_no_token() {
        assert!(Token::from_stored("abcdefghijklmnop".into()).is_none());
        assert!(Token::from_stored(String::new()).is_none());
    }
}
