//! The operations by name, with the names of their answers and whether they know InvalidArgumentsError: the whole public
//! model of Greengrass IPC, and the few private ones of this runtime's command line.

use crate::fault::{Class, Fault};

macro_rules! operations {
    ($($name:ident = $namespace:literal, $invalid:literal;)*) => {
        /// An operation.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub(crate) enum Operation { $($name),* }

        impl Operation {
            /// All of them.
            #[cfg(test)]
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// From the header `operation`.
            pub fn from_name(name: &[u8]) -> Option<Self> {
                $(if name == concat!($namespace, stringify!($name)).as_bytes() { return Some(Self::$name); })*
                None
            }

            /// For example `aws.greengrass#PublishToTopic`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => concat!($namespace, stringify!($name))),* }
            }

            /// For example `aws.greengrass#PublishToTopicResponse`.
            pub fn response(self) -> &'static str {
                match self { $(Self::$name => concat!($namespace, stringify!($name), "Response")),* }
            }

            fn knows_invalid_arguments(self) -> bool {
                match self { $(Self::$name => $invalid),* }
            }
        }
    };
}

operations! {
    PublishToTopic = "aws.greengrass#", false;
    SubscribeToTopic = "aws.greengrass#", true;
    GetConfiguration = "aws.greengrass#", false;
    UpdateConfiguration = "aws.greengrass#", true;
    SubscribeToConfigurationUpdate = "aws.greengrass#", false;
    SubscribeToValidateConfigurationUpdates = "aws.greengrass#", false;
    SendConfigurationValidityReport = "aws.greengrass#", true;
    SubscribeToComponentUpdates = "aws.greengrass#", false;
    DeferComponentUpdate = "aws.greengrass#", true;
    UpdateState = "aws.greengrass#", false;
    PauseComponent = "aws.greengrass#", false;
    ResumeComponent = "aws.greengrass#", false;
    GetComponentDetails = "aws.greengrass#", true;
    ListComponents = "aws.greengrass#", false;
    RestartComponent = "aws.greengrass#", true;
    StopComponent = "aws.greengrass#", true;
    CreateLocalDeployment = "aws.greengrass#", true;
    CancelLocalDeployment = "aws.greengrass#", true;
    GetLocalDeploymentStatus = "aws.greengrass#", false;
    ListLocalDeployments = "aws.greengrass#", false;
    ValidateAuthorizationToken = "aws.greengrass#", false;
    PutComponentMetric = "aws.greengrass#", true;
    CreateDebugPassword = "aws.greengrass#", false;
    PublishToIoTCore = "aws.greengrass#", false;
    SubscribeToIoTCore = "aws.greengrass#", false;
    SubscribeToIoTCoreConnectionStatus = "aws.greengrass#", false;
    GetSecretValue = "aws.greengrass#", false;
    GetThingShadow = "aws.greengrass#", true;
    UpdateThingShadow = "aws.greengrass#", true;
    DeleteThingShadow = "aws.greengrass#", true;
    ListNamedShadowsForThing = "aws.greengrass#", true;
    SubscribeToCertificateUpdates = "aws.greengrass#", true;
    VerifyClientDeviceIdentity = "aws.greengrass#", true;
    GetClientDeviceAuthToken = "aws.greengrass#", true;
    AuthorizeClientDeviceAction = "aws.greengrass#", true;
    PlanLocalDeployment = "aws.greengrass.private#", true;
    SubscribeToDeployment = "aws.greengrass.private#", true;
}

impl Operation {
    /// The operation's word for a request that makes no sense. Where its model has no InvalidArgumentsError it is a
    /// ServiceError, because the Node SDK hides errors that an operation does not declare.
    pub fn invalid(self, message: impl Into<String>) -> Fault {
        let class = if self.knows_invalid_arguments() {
            Class::InvalidArguments
        } else {
            Class::Service
        };
        Fault::new(class, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_found_by_its_name_and_no_other() {
        assert_eq!(Operation::ALL.len(), 35 + 2);
        for operation in Operation::ALL {
            assert_eq!(
                Operation::from_name(operation.name().as_bytes()),
                Some(*operation)
            );
            assert_eq!(
                operation.response(),
                format!("{}Response", operation.name())
            );
        }
        assert_eq!(Operation::from_name(b"aws.greengrass#Publish"), None);
        assert_eq!(Operation::from_name(b"PublishToTopic"), None);
    }
}
