//! Why a deployment failed, in the words of fleet status: codes from the general to the particular, types, a cause for people.

use model::ComponentName;
use serde::{Deserialize, Serialize};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($variant:ident => $word:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
        #[allow(missing_docs)] // the API's own words
        pub enum $name { $(#[serde(rename = $word)] $variant),* }

        impl $name {
            /// The word on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }
        }
    };
}

words! {
    /// Entries of a deployment's error stack.
    ErrorCode {
        DeploymentFailure => "DEPLOYMENT_FAILURE",
        DeploymentInterrupted => "DEPLOYMENT_INTERRUPTED",
        ArtifactDownloadError => "ARTIFACT_DOWNLOAD_ERROR",
        NoAvailableComponentVersion => "NO_AVAILABLE_COMPONENT_VERSION",
        ComponentPackageLoadingError => "COMPONENT_PACKAGE_LOADING_ERROR",
        ComponentVersionRequirementsNotMet => "COMPONENT_VERSION_REQUIREMENTS_NOT_MET",
        ComponentCircularDependencyError => "COMPONENT_CIRCULAR_DEPENDENCY_ERROR",
        MultipleNucleusResolvedError => "MULTIPLE_NUCLEUS_RESOLVED_ERROR",
        MissingDockerApplicationManager => "MISSING_DOCKER_APPLICATION_MANAGER",
        DeploymentDocumentNotValid => "DEPLOYMENT_DOCUMENT_NOT_VALID",
        ComponentUpdateError => "COMPONENT_UPDATE_ERROR",
        ComponentBroken => "COMPONENT_BROKEN",
        ComponentBootstrapTimeout => "COMPONENT_BOOTSTRAP_TIMEOUT",
        ComponentBootstrapError => "COMPONENT_BOOTSTRAP_ERROR",
        ComponentConfigurationNotValid => "COMPONENT_CONFIGURATION_NOT_VALID",
        RunWithConfigNotValid => "RUN_WITH_CONFIG_NOT_VALID",
        NucleusRestartFailure => "NUCLEUS_RESTART_FAILURE",
        IoError => "IO_ERROR",
        IoWriteError => "IO_WRITE_ERROR",
        IoReadError => "IO_READ_ERROR",
        IoUnzipError => "IO_UNZIP_ERROR",
        DiskSpaceCritical => "DISK_SPACE_CRITICAL",
        LocalRecipeNotFound => "LOCAL_RECIPE_NOT_FOUND",
        RecipeParseError => "RECIPE_PARSE_ERROR",
        RecipeMissingManifest => "RECIPE_MISSING_MANIFEST",
        RecipeMissingArtifactHashAlgorithm => "RECIPE_MISSING_ARTIFACT_HASH_ALGORITHM",
        ArtifactUriNotValid => "ARTIFACT_URI_NOT_VALID",
        UnsupportedArtifactScheme => "UNSUPPORTED_ARTIFACT_SCHEME",
        ArtifactChecksumMismatch => "ARTIFACT_CHECKSUM_MISMATCH",
        ConfigInterpolateError => "CONFIG_INTERPOLATE_ERROR",
    }
}

words! {
    /// What kind of thing is at fault.
    ErrorType {
        NucleusError => "NUCLEUS_ERROR",
        ComponentError => "COMPONENT_ERROR",
        AwsComponentError => "AWS_COMPONENT_ERROR",
        UserComponentError => "USER_COMPONENT_ERROR",
        PermissionError => "PERMISSION_ERROR",
        DeviceError => "DEVICE_ERROR",
        DependencyError => "DEPENDENCY_ERROR",
        RequestError => "REQUEST_ERROR",
        ComponentRecipeError => "COMPONENT_RECIPE_ERROR",
    }
}

impl ErrorCode {
    /// The type a code stands for by itself.
    fn error_type(self) -> Option<ErrorType> {
        use ErrorCode as C;
        Some(match self {
            C::ComponentVersionRequirementsNotMet
            | C::ComponentCircularDependencyError
            | C::MultipleNucleusResolvedError
            | C::MissingDockerApplicationManager
            | C::DeploymentDocumentNotValid
            | C::RunWithConfigNotValid => ErrorType::RequestError,
            C::IoError
            | C::IoWriteError
            | C::IoReadError
            | C::IoUnzipError
            | C::DiskSpaceCritical
            | C::LocalRecipeNotFound => ErrorType::DeviceError,
            C::RecipeParseError
            | C::RecipeMissingManifest
            | C::RecipeMissingArtifactHashAlgorithm
            | C::ArtifactUriNotValid
            | C::UnsupportedArtifactScheme
            | C::ArtifactChecksumMismatch
            | C::ConfigInterpolateError => ErrorType::ComponentRecipeError,
            C::ComponentUpdateError
            | C::ComponentBroken
            | C::ComponentBootstrapError
            | C::ComponentBootstrapTimeout => ErrorType::ComponentError,
            C::ComponentConfigurationNotValid => ErrorType::ComponentError,
            C::NucleusRestartFailure => ErrorType::NucleusError,
            C::DeploymentFailure
            | C::DeploymentInterrupted
            | C::ArtifactDownloadError
            | C::NoAvailableComponentVersion
            | C::ComponentPackageLoadingError => return None,
        })
    }
}

/// Why a deployment failed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{cause}")]
pub struct Failure {
    /// `DEPLOYMENT_FAILURE` first, then ever closer to the cause.
    pub stack: Vec<ErrorCode>,
    /// What is at fault.
    pub types: Vec<ErrorType>,
    /// For a person: what failed, on what, and what would help.
    pub cause: String,
}

impl Failure {
    /// A failure with the codes under `DEPLOYMENT_FAILURE`; the types follow from them.
    pub fn new(codes: &[ErrorCode], cause: impl Into<String>) -> Self {
        let mut stack = vec![ErrorCode::DeploymentFailure];
        stack.extend_from_slice(codes);
        let mut types = Vec::new();
        for found in stack.iter().filter_map(|code| code.error_type()) {
            if !types.contains(&found) {
                types.push(found);
            }
        }
        Self {
            stack,
            types,
            cause: cause.into(),
        }
    }

    /// Says whose component it was: Amazon's or the user's own.
    #[must_use]
    pub fn of_component(mut self, component: &ComponentName) -> Self {
        let whose = if component.as_str().starts_with("aws.greengrass.") {
            ErrorType::AwsComponentError
        } else {
            ErrorType::UserComponentError
        };
        for add in [ErrorType::ComponentError, whose] {
            if !self.types.contains(&add) {
                self.types.push(add);
            }
        }
        self
    }

    /// A failure to read or write on this device.
    pub fn io(action: &str, path: &std::path::Path, source: &std::io::Error) -> Self {
        let code = match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                ErrorCode::DiskSpaceCritical
            }
            _ => ErrorCode::IoError,
        };
        Self::new(
            &[code],
            format!("cannot {action} {}: {source}", path.display()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_component_is_reported_in_the_words_of_fleet_status() {
        let name = ComponentName::new("com.example.A").unwrap();
        let failure = Failure::new(
            &[ErrorCode::ComponentUpdateError, ErrorCode::ComponentBroken],
            "x",
        )
        .of_component(&name);
        let stack: Vec<_> = failure.stack.iter().map(|c| c.as_str()).collect();
        assert_eq!(
            stack,
            [
                "DEPLOYMENT_FAILURE",
                "COMPONENT_UPDATE_ERROR",
                "COMPONENT_BROKEN"
            ]
        );
        let types: Vec<_> = failure.types.iter().map(|c| c.as_str()).collect();
        assert_eq!(types, ["COMPONENT_ERROR", "USER_COMPONENT_ERROR"]);
    }
}
