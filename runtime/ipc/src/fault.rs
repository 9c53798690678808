//! The errors of the Greengrass IPC model. All four members that real clients look for are in each of them: Python reads
//! `message`, the C SDK wants `_errorCode`, Java's base class writes `_service` and `_message` besides.

use crate::ports::{ComponentFault, DeploymentFault};
use bytes::Bytes;
use serde::Serialize;

const SERVICE: &str = "aws.greengrass#GreengrassCoreIPC";

/// An error of the model, to be sent to the caller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Which error.
    pub class: Class,
    /// For a person.
    pub message: String,
    /// What was not found: `resourceType` and `resourceName` of a ResourceNotFoundError.
    pub resource: Option<(&'static str, String)>,
}

macro_rules! classes {
    ($($name:ident),* $(,)?) => {
        /// The error shapes of the model.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[allow(missing_docs)] // the model's own names, without the ending "Error"
        pub enum Class { $($name),* }

        impl Class {
            /// The name without its namespace, for example `ServiceError`.
            pub fn code(self) -> &'static str {
                match self { $(Self::$name => concat!(stringify!($name), "Error")),* }
            }

            /// The name of the shape, for example `aws.greengrass#ServiceError`.
            pub fn model(self) -> &'static str {
                match self { $(Self::$name => concat!("aws.greengrass#", stringify!($name), "Error")),* }
            }
        }
    };
}

classes! {
    Service, Unauthorized, ResourceNotFound, InvalidArguments, FailedUpdateConditionCheck, ComponentNotFound,
    InvalidRecipeDirectoryPath, InvalidArtifactsDirectoryPath, InvalidToken,
}

#[derive(Serialize)]
struct Wire<'a> {
    _service: &'static str,
    _message: &'a str,
    #[serde(rename = "_errorCode")]
    error_code: &'static str,
    message: &'a str,
    #[serde(rename = "resourceType", skip_serializing_if = "Option::is_none")]
    resource_type: Option<&'a str>,
    #[serde(rename = "resourceName", skip_serializing_if = "Option::is_none")]
    resource_name: Option<&'a str>,
}

impl Fault {
    /// An error of some class.
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            resource: None,
        }
    }

    /// Our fault, or something the model has no better word for.
    pub fn service(message: impl Into<String>) -> Self {
        Self::new(Class::Service, message)
    }

    /// The caller may not do that.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(Class::Unauthorized, message)
    }

    /// The caller asks for something that makes no sense.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Class::InvalidArguments, message)
    }

    /// Something named does not exist.
    pub fn not_found(
        kind: &'static str,
        name: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            class: Class::ResourceNotFound,
            message: message.into(),
            resource: Some((kind, name.into())),
        }
    }

    /// The payload on the wire.
    pub fn payload(&self) -> Bytes {
        let wire = Wire {
            _service: SERVICE,
            _message: &self.message,
            error_code: self.class.code(),
            message: &self.message,
            resource_type: self.resource.as_ref().map(|(kind, _)| *kind),
            resource_name: self.resource.as_ref().map(|(_, name)| name.as_str()),
        };
        serde_json::to_vec(&wire)
            .expect("texts always serialise")
            .into()
    }
}

impl From<ComponentFault> for Fault {
    fn from(fault: ComponentFault) -> Self {
        let message = fault.to_string();
        match fault {
            ComponentFault::NotFound(name) => Self::not_found("Component", name.as_str(), message),
            ComponentFault::Refused(_) | ComponentFault::Failed(_) => Self::service(message),
        }
    }
}

impl From<DeploymentFault> for Fault {
    fn from(fault: DeploymentFault) -> Self {
        let message = fault.to_string();
        match fault {
            DeploymentFault::Invalid(_) => Self::invalid(message),
            DeploymentFault::RecipeFolder(_) => {
                Self::new(Class::InvalidRecipeDirectoryPath, message)
            }
            DeploymentFault::ArtifactFolder(_) => {
                Self::new(Class::InvalidArtifactsDirectoryPath, message)
            }
            DeploymentFault::NotFound(id) => Self::not_found("LocalDeployment", id.0, message),
            DeploymentFault::Failed(_) => Self::service(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_carries_all_four_members_and_its_own() {
        let fault = Fault::not_found("Key", "a", "no such key");
        let json: serde_json::Value = serde_json::from_slice(&fault.payload()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "_service": "aws.greengrass#GreengrassCoreIPC", "_message": "no such key",
                "_errorCode": "ResourceNotFoundError", "message": "no such key",
                "resourceType": "Key", "resourceName": "a",
            })
        );
        assert_eq!(fault.class.model(), "aws.greengrass#ResourceNotFoundError");
    }
}
