//! The headers of a frame, one after the other.

use super::FrameError;
use bytes::{BufMut, BytesMut};

/// One header, borrowed from the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// Its value.
    pub value: Value<'a>,
}

/// The types of values this protocol uses. The format knows more; they are read over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value<'a> {
    /// Type 4.
    Int(i32),
    /// Type 7.
    Text(&'a [u8]),
    /// Any other type of the format.
    Other,
}

/// Takes the next header off `rest`; `None` at the end.
pub fn next<'a>(rest: &mut &'a [u8]) -> Result<Option<Header<'a>>, FrameError> {
    if rest.is_empty() {
        return Ok(None);
    }
    let length = take(rest, 1)?[0];
    let name = take(rest, length.into())?;
    if name.is_empty() {
        return Err(FrameError::Header("a header without a name"));
    }
    let value = match take(rest, 1)?[0] {
        0 | 1 => Value::Other,
        2 => skip(rest, 1)?,
        3 => skip(rest, 2)?,
        4 => {
            let bytes = take(rest, 4)?;
            Value::Int(i32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        }
        5 | 8 => skip(rest, 8)?,
        6 => {
            let length = long(rest)?;
            skip(rest, length)?
        }
        7 => {
            let length = long(rest)?;
            Value::Text(take(rest, length)?)
        }
        9 => skip(rest, 16)?,
        _ => return Err(FrameError::Header("a header of a type that does not exist")),
    };
    Ok(Some(Header { name, value }))
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Result<&'a [u8], FrameError> {
    let (taken, left) = rest
        .split_at_checked(count)
        .ok_or(FrameError::Header("headers that end in the middle of one"))?;
    *rest = left;
    Ok(taken)
}

fn skip<'a>(rest: &mut &'a [u8], count: usize) -> Result<Value<'a>, FrameError> {
    take(rest, count).map(|_| Value::Other)
}

fn long(rest: &mut &[u8]) -> Result<usize, FrameError> {
    let bytes = take(rest, 2)?;
    Ok(u16::from_be_bytes([bytes[0], bytes[1]]).into())
}

/// The length of an integer header.
pub const fn int_length(name: &[u8]) -> usize {
    1 + name.len() + 1 + 4
}

/// The length of a text header.
pub const fn text_length(name: &[u8], text: &str) -> usize {
    1 + name.len() + 1 + 2 + text.len()
}

/// Writes an integer header. Names are ours and short.
pub fn put_int(out: &mut BytesMut, name: &[u8], value: i32) {
    put_name(out, name, 4);
    out.put_i32(value);
}

/// Writes a text header.
pub fn put_text(out: &mut BytesMut, name: &[u8], text: &str) {
    put_name(out, name, 7);
    out.put_u16(
        u16::try_from(text.len()).expect("header texts are names of shapes and operations"),
    );
    out.put_slice(text.as_bytes());
}

fn put_name(out: &mut BytesMut, name: &[u8], kind: u8) {
    out.put_u8(u8::try_from(name.len()).expect("header names are constants of this crate"));
    out.put_slice(name);
    out.put_u8(kind);
}
