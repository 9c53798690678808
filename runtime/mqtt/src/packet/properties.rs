//! Rules for MQTT 5 properties (section 2.2.2): which packet may carry which, how often, and with what values.

use super::{DecodeError, cursor::Cursor, guard, reason};

/// Packets that a client may send with properties. An acknowledgement is any of PUBACK, PUBREC, PUBREL and PUBCOMP.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Connect,
    Will,
    Publish,
    Acknowledgement,
    Subscribe,
    Unsubscribe,
    Disconnect,
}

/// What the guard itself needs to know of the properties it has checked.
#[derive(Default)]
pub(super) struct Found {
    pub(super) topic_alias: bool,
    pub(super) session_expiry: Option<u32>,
}

/// Each user property costs many times its five bytes on the wire once it is read, so their number has a limit.
pub(super) const MOST_USER_PROPERTIES: usize = 1024;

const USER_PROPERTY: u8 = 0x26;
const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;

/// Walks the property length and the properties at the cursor.
pub(super) fn check(cursor: &mut Cursor<'_>, place: Place) -> Result<Found, DecodeError> {
    let length = cursor.variable()?;
    let mut rest = cursor.part(length)?;
    let mut found = Found::default();
    let mut seen = 0_u64;
    let mut users = 0;
    while !rest.is_empty() {
        let id = rest.u8()?;
        if !allowed(id, place) {
            return Err(DecodeError::malformed(
                "a property does not belong into this packet",
            ));
        }
        if id == USER_PROPERTY {
            users += 1;
            if users > MOST_USER_PROPERTIES {
                return Err(DecodeError::new(
                    reason::QUOTA_EXCEEDED,
                    "the packet has too many user properties",
                ));
            }
        } else {
            let bit = 1 << id; // allowed() lets pass only ids below 64
            if seen & bit != 0 {
                return Err(DecodeError::protocol("a property is there twice"));
            }
            seen |= bit;
        }
        if id == SUBSCRIPTION_IDENTIFIER && place == Place::Publish {
            return Err(DecodeError::protocol(
                "a client's PUBLISH has a subscription identifier",
            ));
        }
        value(id, &mut rest, &mut found)?;
    }
    let authentication = |id: u8| seen & (1 << id) != 0;
    if authentication(0x16) && !authentication(0x15) {
        return Err(DecodeError::protocol(
            "authentication data comes without a method",
        ));
    }
    Ok(found)
}

/// Table 2-4 of the specification, without what only a server sends.
fn allowed(id: u8, place: Place) -> bool {
    use Place::{Acknowledgement, Connect, Disconnect, Publish, Subscribe, Will};
    match id {
        0x01 | 0x02 | 0x03 | 0x08 | 0x09 => matches!(place, Publish | Will),
        SUBSCRIPTION_IDENTIFIER => matches!(place, Subscribe | Publish),
        0x11 => matches!(place, Connect | Disconnect),
        0x15 | 0x16 | 0x17 | 0x19 | 0x21 | 0x22 | 0x27 => matches!(place, Connect),
        0x18 => matches!(place, Will),
        0x1F => matches!(place, Acknowledgement | Disconnect),
        0x23 => matches!(place, Publish),
        USER_PROPERTY => true,
        _ => false,
    }
}

fn value(id: u8, rest: &mut Cursor<'_>, found: &mut Found) -> Result<(), DecodeError> {
    match id {
        // Payload format indicator, request problem information, request response information.
        0x01 | 0x17 | 0x19 => {
            if rest.u8()? > 1 {
                return Err(DecodeError::protocol(
                    "a property of 0 or 1 has another value",
                ));
            }
        }
        // Message expiry, will delay.
        0x02 | 0x18 => {
            rest.u32()?;
        }
        0x11 => found.session_expiry = Some(rest.u32()?),
        // Content type, authentication method, reason string.
        0x03 | 0x15 | 0x1F => {
            rest.text()?;
        }
        0x08 => {
            if guard::topic_name(rest.binary()?).is_err() {
                return Err(DecodeError::protocol(
                    "the response topic is not a topic name",
                ));
            }
        }
        // Correlation data, authentication data.
        0x09 | 0x16 => {
            rest.binary()?;
        }
        SUBSCRIPTION_IDENTIFIER => {
            if rest.variable()? == 0 {
                return Err(DecodeError::protocol("the subscription identifier is 0"));
            }
        }
        0x21 => {
            if rest.u16()? == 0 {
                return Err(DecodeError::protocol("the receive maximum is 0"));
            }
        }
        0x22 => {
            rest.u16()?;
        }
        0x23 => {
            if rest.u16()? == 0 {
                return Err(DecodeError::new(
                    reason::TOPIC_ALIAS_INVALID,
                    "the topic alias is 0",
                ));
            }
            found.topic_alias = true;
        }
        0x27 => {
            if rest.u32()? == 0 {
                return Err(DecodeError::protocol("the maximum packet size is 0"));
            }
        }
        USER_PROPERTY => {
            rest.text()?;
            rest.text()?;
        }
        _ => return Err(DecodeError::malformed("a property is not known")),
    }
    Ok(())
}
