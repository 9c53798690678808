//! Reads fields of a frame without copying; every length is checked against what is left.

use super::DecodeError;
use std::str;

/// The part of a frame that has not been read yet.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

const SHORT: DecodeError = DecodeError::malformed("the packet ends within a field");

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(SHORT)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(SHORT)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A variable byte integer in its shortest form (MQTT 5 section 1.5.5).
    pub(super) fn variable(&mut self) -> Result<u32, DecodeError> {
        match Variable::read(self.rest)? {
            Some(found) if found.shortest => {
                self.take(found.size)?;
                Ok(found.value)
            }
            Some(_) => Err(DecodeError::malformed(
                "a variable byte integer is longer than needed",
            )),
            None => Err(SHORT),
        }
    }

    /// Binary data: two bytes of length, then as many bytes.
    pub(super) fn binary(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.u16()?;
        self.take(length.into())
    }

    /// A UTF-8 string without U+0000 (MQTT 5 section 1.5.4).
    pub(super) fn text(&mut self) -> Result<&'a str, DecodeError> {
        let text = str::from_utf8(self.binary()?)
            .map_err(|_| DecodeError::malformed("a string is not UTF-8"))?;
        if text.as_bytes().contains(&0) {
            return Err(DecodeError::malformed("a string has U+0000 in it"));
        }
        Ok(text)
    }

    /// A string that names something: also without control characters, which the specification lets a receiver refuse
    /// and which have no place in logs, policies and stores.
    pub(super) fn name(&mut self) -> Result<&'a str, DecodeError> {
        let text = self.text()?;
        let plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if plain || !text.chars().any(char::is_control) {
            Ok(text)
        } else {
            Err(DecodeError::malformed(
                "a name has control characters in it",
            ))
        }
    }

    /// As many bytes as the given length, as a cursor of their own.
    pub(super) fn part(&mut self, length: u32) -> Result<Self, DecodeError> {
        let length = usize::try_from(length).map_err(|_| SHORT)?;
        self.take(length).map(Self::new)
    }

    /// The packet must be read to its end.
    pub(super) fn end(&self) -> Result<(), DecodeError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::malformed(
                "bytes are left over at the end of the packet",
            ))
        }
    }
}

/// A variable byte integer as found.
pub(super) struct Variable {
    pub(super) value: u32,
    /// Bytes that it takes, 1 to 4.
    pub(super) size: usize,
    /// Whether no shorter form exists.
    pub(super) shortest: bool,
}

impl Variable {
    /// `None` when the bytes end before the integer does.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Self>, DecodeError> {
        let mut value = 0;
        for (size, byte) in (1..=4).zip(bytes) {
            value |= u32::from(byte & 0x7F) << (7 * (size - 1));
            if byte & 0x80 == 0 {
                return Ok(Some(Self {
                    value,
                    size,
                    shortest: size == 1 || *byte != 0,
                }));
            }
        }
        if bytes.len() < 4 {
            Ok(None)
        } else {
            Err(DecodeError::malformed(
                "a variable byte integer has more than four bytes",
            ))
        }
    }
}
