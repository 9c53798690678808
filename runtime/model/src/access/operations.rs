//! The services policies may name, their operations, and how their resources are matched.

pub(super) const TOKEN_EXCHANGE: &str = "aws.greengrass.TokenExchangeService";
pub(super) const GET_CREDENTIALS: &str = "getCredentials";
const MQTT_PROXY: &str = "aws.greengrass.ipc.mqttproxy";

/// How the resources of a service are matched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    /// `*` stands for any characters; everything else is meant as it is written.
    Plain,
    /// The wildcards of MQTT count as well, where MQTT allows them.
    Mqtt,
}

const TABLE: &[(&str, &[&str])] = &[
    (
        "aws.greengrass.ipc.pubsub",
        &[
            "aws.greengrass#PublishToTopic",
            "aws.greengrass#SubscribeToTopic",
        ],
    ),
    (
        MQTT_PROXY,
        &[
            "aws.greengrass#PublishToIoTCore",
            "aws.greengrass#SubscribeToIoTCore",
        ],
    ),
    (
        "aws.greengrass.ipc.lifecycle",
        &[
            "aws.greengrass#PauseComponent",
            "aws.greengrass#ResumeComponent",
        ],
    ),
    (
        "aws.greengrass.ipc.componentmetric",
        &["aws.greengrass#PutComponentMetric"],
    ),
    (
        "aws.greengrass.SecretManager",
        &["aws.greengrass#GetSecretValue"],
    ),
    (
        "aws.greengrass.ShadowManager",
        &[
            "aws.greengrass#GetThingShadow",
            "aws.greengrass#UpdateThingShadow",
            "aws.greengrass#DeleteThingShadow",
            "aws.greengrass#ListNamedShadowsForThing",
        ],
    ),
    (
        "aws.greengrass.clientdevices.Auth",
        &[
            "aws.greengrass#SubscribeToCertificateUpdates",
            "aws.greengrass#VerifyClientDeviceIdentity",
            "aws.greengrass#GetClientDeviceAuthToken",
            "aws.greengrass#AuthorizeClientDeviceAction",
        ],
    ),
    (
        super::CLI,
        &[
            "aws.greengrass#GetComponentDetails",
            "aws.greengrass#ListComponents",
            "aws.greengrass#RestartComponent",
            "aws.greengrass#StopComponent",
            "aws.greengrass#CreateLocalDeployment",
            "aws.greengrass#CancelLocalDeployment",
            "aws.greengrass#GetLocalDeploymentStatus",
            "aws.greengrass#ListLocalDeployments",
            "aws.greengrass#CreateDebugPassword",
        ],
    ),
    (TOKEN_EXCHANGE, &[GET_CREDENTIALS]),
];

/// The operations of a service; `None` when there is no such service.
pub fn operations(destination: &str) -> Option<&'static [&'static str]> {
    TABLE
        .iter()
        .find(|(name, _)| *name == destination)
        .map(|(_, operations)| *operations)
}

/// How the resources of a service are matched.
pub fn style(destination: &str) -> Style {
    if destination == MQTT_PROXY {
        Style::Mqtt
    } else {
        Style::Plain
    }
}

/// The services there are.
pub(super) fn destinations() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(name, _)| *name)
}

pub(super) fn is_known(destination: &str, operation: &str) -> bool {
    operations(destination).is_some_and(|known| known.contains(&operation))
}
