//! CONNECT. rumqttd's codec takes a password only as UTF-8 and confuses an empty user name with none, so both are read
//! here: the codec is given the frame without its last field, the password.

use super::{
    Connect, DecodeError, Version, Will,
    codec::{DIFFERENT, name, pairs, parse, passing, quality},
    guard::{ConnectFacts, Header},
};
use crate::{Message, Properties};
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use rumqttd::protocol::{self as wire, Packet};

/// The connect flag of the password.
const PASSWORD: u8 = 0x40;

/// Reads a frame that the guard has checked. Nothing of what is returned holds the frame's memory, since it lives as
/// long as the connection.
pub(super) fn read(
    version: Version,
    facts: &ConnectFacts,
    header: &Header,
    mut frame: BytesMut,
) -> Result<Connect, DecodeError> {
    let password = facts
        .password_at
        .map(|at| take_password(&mut frame, header, facts.flags_at, at))
        .transpose()?;
    let Packet::Connect(connect, properties, will, will_properties, login) =
        parse(version, &mut frame)?
    else {
        return Err(DIFFERENT);
    };
    let username = facts
        .username
        .then(|| login.map(|login| login.username.into()).unwrap_or_default());
    let forever = if connect.clean_session { 0 } else { u32::MAX };
    let mut read = Connect {
        version,
        client_id: connect.client_id.into(),
        clean: connect.clean_session,
        keep_alive: connect.keep_alive,
        will: will
            .map(|will| read_will(will, will_properties))
            .transpose()?,
        username,
        password,
        session_expiry: if version == Version::V311 { forever } else { 0 },
        receive_maximum: u16::MAX,
        maximum_packet_size: None,
        topic_alias_maximum: 0,
        request_problem_information: true,
        request_response_information: false,
        authentication_method: None,
    };
    if let Some(found) = properties {
        read.session_expiry = found.session_expiry_interval.unwrap_or_default();
        read.receive_maximum = found.receive_maximum.unwrap_or(u16::MAX);
        read.maximum_packet_size = found.max_packet_size;
        read.topic_alias_maximum = found.topic_alias_max.unwrap_or_default();
        read.request_problem_information = found.request_problem_info != Some(0);
        read.request_response_information = found.request_response_info == Some(1);
        read.authentication_method = found.authentication_method.map(ByteString::from);
    }
    Ok(read)
}

/// Cuts the password off, clears its flag and writes the new remaining length into the bytes of the old one (which may
/// then be longer than needed; the codec does not mind).
fn take_password(
    frame: &mut BytesMut,
    header: &Header,
    flags_at: usize,
    password_at: usize,
) -> Result<Bytes, DecodeError> {
    let field = frame.split_off(header.size + password_at);
    let (start, body) = frame.split_at_mut(header.size);
    *body.get_mut(flags_at).ok_or(DIFFERENT)? &= !PASSWORD;
    let mut left = body.len();
    for byte in start.iter_mut().skip(1) {
        *byte = *byte & 0x80 | u8::try_from(left & 0x7F).map_err(|_| DIFFERENT)?;
        left >>= 7;
    }
    Ok(Bytes::copy_from_slice(field.get(2..).unwrap_or_default()))
}

fn read_will(
    will: wire::LastWill,
    properties: Option<wire::LastWillProperties>,
) -> Result<Box<Will>, DecodeError> {
    let own = |bytes: Bytes| Bytes::copy_from_slice(&bytes);
    let mut read = Will {
        message: Message {
            topic: name(own(will.topic))?,
            payload: own(will.message),
            qos: quality(will.qos),
            retain: will.retain,
            expires: None,
            properties: None,
        },
        delay: 0,
        expiry: None,
    };
    if let Some(found) = properties {
        read.delay = found.delay_interval.unwrap_or_default();
        read.expiry = found.message_expiry_interval;
        read.message.properties = passing(Properties {
            payload_format: found.payload_format_indicator,
            content_type: found.content_type.map(ByteString::from),
            response_topic: found.response_topic.map(ByteString::from),
            correlation_data: found.correlation_data.map(own),
            user: pairs(found.user_properties),
        });
    }
    Ok(Box::new(read))
}
