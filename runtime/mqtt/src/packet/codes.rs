//! Reason codes as rumqttd's codec names them. A code that does not belong into a packet becomes "unspecified error".

use super::reason::{self, connect_return_code};
use rumqttd::protocol::{
    ConnectReturnCode, DisconnectReasonCode, PubAckReason, PubCompReason, PubRecReason,
    PubRelReason, QoS, SubscribeReasonCode, UnsubAckReason,
};

pub(super) fn connect(reason: u8) -> ConnectReturnCode {
    use ConnectReturnCode as Code;
    match reason {
        reason::SUCCESS => Code::Success,
        reason::MALFORMED_PACKET => Code::MalformedPacket,
        reason::PROTOCOL_ERROR => Code::ProtocolError,
        reason::IMPLEMENTATION_SPECIFIC_ERROR => Code::ImplementationSpecificError,
        reason::UNSUPPORTED_PROTOCOL_VERSION => Code::UnsupportedProtocolVersion,
        reason::CLIENT_IDENTIFIER_NOT_VALID => Code::ClientIdentifierNotValid,
        reason::BAD_USER_NAME_OR_PASSWORD => Code::BadUserNamePassword,
        reason::NOT_AUTHORIZED => Code::NotAuthorized,
        reason::SERVER_UNAVAILABLE | reason::SERVER_SHUTTING_DOWN => Code::ServerUnavailable,
        reason::SERVER_BUSY => Code::ServerBusy,
        reason::BANNED => Code::Banned,
        reason::BAD_AUTHENTICATION_METHOD => Code::BadAuthenticationMethod,
        reason::TOPIC_NAME_INVALID => Code::TopicNameInvalid,
        reason::PACKET_TOO_LARGE => Code::PacketTooLarge,
        reason::QUOTA_EXCEEDED => Code::QuotaExceeded,
        reason::PAYLOAD_FORMAT_INVALID => Code::PayloadFormatInvalid,
        reason::RETAIN_NOT_SUPPORTED => Code::RetainNotSupported,
        reason::QOS_NOT_SUPPORTED => Code::QoSNotSupported,
        reason::USE_ANOTHER_SERVER => Code::UseAnotherServer,
        reason::SERVER_MOVED => Code::ServerMoved,
        reason::CONNECTION_RATE_EXCEEDED => Code::ConnectionRateExceeded,
        _ => Code::UnspecifiedError,
    }
}

/// The return codes of 3.1.1 under the names that rumqttd's V4 codec writes.
pub(super) fn connect_311(reason: u8) -> Option<ConnectReturnCode> {
    use ConnectReturnCode as Code;
    match connect_return_code(reason)? {
        0 => Some(Code::Success),
        1 => Some(Code::RefusedProtocolVersion),
        2 => Some(Code::ClientIdentifierNotValid),
        3 => Some(Code::ServiceUnavailable),
        4 => Some(Code::BadUserNamePassword),
        5 => Some(Code::NotAuthorized),
        _ => None,
    }
}

pub(super) fn puback(reason: u8) -> PubAckReason {
    use PubAckReason as Code;
    match reason {
        reason::SUCCESS => Code::Success,
        reason::NO_MATCHING_SUBSCRIBERS => Code::NoMatchingSubscribers,
        reason::IMPLEMENTATION_SPECIFIC_ERROR => Code::ImplementationSpecificError,
        reason::NOT_AUTHORIZED => Code::NotAuthorized,
        reason::TOPIC_NAME_INVALID => Code::TopicNameInvalid,
        reason::PACKET_IDENTIFIER_IN_USE => Code::PacketIdentifierInUse,
        reason::QUOTA_EXCEEDED => Code::QuotaExceeded,
        reason::PAYLOAD_FORMAT_INVALID => Code::PayloadFormatInvalid,
        _ => Code::UnspecifiedError,
    }
}

pub(super) fn pubrec(reason: u8) -> PubRecReason {
    use PubRecReason as Code;
    match reason {
        reason::SUCCESS => Code::Success,
        reason::NO_MATCHING_SUBSCRIBERS => Code::NoMatchingSubscribers,
        reason::IMPLEMENTATION_SPECIFIC_ERROR => Code::ImplementationSpecificError,
        reason::NOT_AUTHORIZED => Code::NotAuthorized,
        reason::TOPIC_NAME_INVALID => Code::TopicNameInvalid,
        reason::PACKET_IDENTIFIER_IN_USE => Code::PacketIdentifierInUse,
        reason::QUOTA_EXCEEDED => Code::QuotaExceeded,
        reason::PAYLOAD_FORMAT_INVALID => Code::PayloadFormatInvalid,
        _ => Code::UnspecifiedError,
    }
}

/// PUBREL and PUBCOMP know one failure only.
pub(super) fn pubrel(reason: u8) -> PubRelReason {
    if reason == reason::SUCCESS {
        PubRelReason::Success
    } else {
        PubRelReason::PacketIdentifierNotFound
    }
}

/// As [`pubrel`].
pub(super) fn pubcomp(reason: u8) -> PubCompReason {
    if reason == reason::SUCCESS {
        PubCompReason::Success
    } else {
        PubCompReason::PacketIdentifierNotFound
    }
}

pub(super) fn suback(reason: u8) -> SubscribeReasonCode {
    use SubscribeReasonCode as Code;
    match reason {
        0 => Code::QoS0,
        1 => Code::QoS1,
        2 => Code::QoS2,
        reason::IMPLEMENTATION_SPECIFIC_ERROR => Code::ImplementationSpecific,
        reason::NOT_AUTHORIZED => Code::NotAuthorized,
        reason::TOPIC_FILTER_INVALID => Code::TopicFilterInvalid,
        reason::PACKET_IDENTIFIER_IN_USE => Code::PkidInUse,
        reason::QUOTA_EXCEEDED => Code::QuotaExceeded,
        reason::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED => Code::SharedSubscriptionsNotSupported,
        reason::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED => Code::SubscriptionIdNotSupported,
        reason::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED => Code::WildcardSubscriptionsNotSupported,
        _ => Code::Unspecified,
    }
}

pub(super) fn suback_311(reason: u8) -> SubscribeReasonCode {
    match reason {
        0 => SubscribeReasonCode::Success(QoS::AtMostOnce),
        1 => SubscribeReasonCode::Success(QoS::AtLeastOnce),
        2 => SubscribeReasonCode::Success(QoS::ExactlyOnce),
        _ => SubscribeReasonCode::Failure,
    }
}

pub(super) fn unsuback(reason: u8) -> UnsubAckReason {
    use UnsubAckReason as Code;
    match reason {
        reason::SUCCESS => Code::Success,
        reason::NO_SUBSCRIPTION_EXISTED => Code::NoSubscriptionExisted,
        reason::IMPLEMENTATION_SPECIFIC_ERROR => Code::ImplementationSpecificError,
        reason::NOT_AUTHORIZED => Code::NotAuthorized,
        reason::TOPIC_FILTER_INVALID => Code::TopicFilterInvalid,
        reason::PACKET_IDENTIFIER_IN_USE => Code::PacketIdentifierInUse,
        _ => Code::UnspecifiedError,
    }
}

pub(super) fn disconnect(reason: u8) -> DisconnectReasonCode {
    use DisconnectReasonCode as Code;
    match reason {
        reason::SUCCESS => Code::NormalDisconnection,
        reason::MALFORMED_PACKET => Code::MalformedPacket,
        reason::PROTOCOL_ERROR => Code::ProtocolError,
        reason::IMPLEMENTATION_SPECIFIC_ERROR => Code::ImplementationSpecificError,
        reason::NOT_AUTHORIZED => Code::NotAuthorized,
        reason::SERVER_BUSY => Code::ServerBusy,
        reason::SERVER_SHUTTING_DOWN => Code::ServerShuttingDown,
        reason::KEEP_ALIVE_TIMEOUT => Code::KeepAliveTimeout,
        reason::SESSION_TAKEN_OVER => Code::SessionTakenOver,
        reason::TOPIC_FILTER_INVALID => Code::TopicFilterInvalid,
        reason::TOPIC_NAME_INVALID => Code::TopicNameInvalid,
        reason::RECEIVE_MAXIMUM_EXCEEDED => Code::ReceiveMaximumExceeded,
        reason::TOPIC_ALIAS_INVALID => Code::TopicAliasInvalid,
        reason::PACKET_TOO_LARGE => Code::PacketTooLarge,
        reason::MESSAGE_RATE_TOO_HIGH => Code::MessageRateTooHigh,
        reason::QUOTA_EXCEEDED => Code::QuotaExceeded,
        reason::ADMINISTRATIVE_ACTION => Code::AdministrativeAction,
        reason::PAYLOAD_FORMAT_INVALID => Code::PayloadFormatInvalid,
        reason::RETAIN_NOT_SUPPORTED => Code::RetainNotSupported,
        reason::QOS_NOT_SUPPORTED => Code::QoSNotSupported,
        reason::USE_ANOTHER_SERVER => Code::UseAnotherServer,
        reason::SERVER_MOVED => Code::ServerMoved,
        reason::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED => Code::SharedSubscriptionNotSupported,
        reason::CONNECTION_RATE_EXCEEDED => Code::ConnectionRateExceeded,
        reason::MAXIMUM_CONNECT_TIME => Code::MaximumConnectTime,
        reason::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED => Code::SubscriptionIdentifiersNotSupported,
        reason::WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED => Code::WildcardSubscriptionsNotSupported,
        _ => Code::UnspecifiedError,
    }
}
