//! What a deployment failed of, in the words fleet tools know: a stack of codes, from the general to the particular,
//! and the types they belong to.

use crate::ComponentName;
use std::fmt;

/// Whose fault it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs)] // the API's own words
pub enum ErrorType {
    None,
    UnknownError,
    ServerError,
    NucleusError,
    CloudServiceError,
    ComponentError,
    AwsComponentError,
    UserComponentError,
    PermissionError,
    DeviceError,
    NetworkError,
    DependencyError,
    RequestError,
    HttpError,
    ComponentRecipeError,
}

impl ErrorType {
    /// As it is reported, for example `REQUEST_ERROR`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::UnknownError => "UNKNOWN_ERROR",
            Self::ServerError => "SERVER_ERROR",
            Self::NucleusError => "NUCLEUS_ERROR",
            Self::CloudServiceError => "CLOUD_SERVICE_ERROR",
            Self::ComponentError => "COMPONENT_ERROR",
            Self::AwsComponentError => "AWS_COMPONENT_ERROR",
            Self::UserComponentError => "USER_COMPONENT_ERROR",
            Self::PermissionError => "PERMISSION_ERROR",
            Self::DeviceError => "DEVICE_ERROR",
            Self::NetworkError => "NETWORK_ERROR",
            Self::DependencyError => "DEPENDENCY_ERROR",
            Self::RequestError => "REQUEST_ERROR",
            Self::HttpError => "HTTP_ERROR",
            Self::ComponentRecipeError => "COMPONENT_RECIPE_ERROR",
        }
    }

    /// The type of an error that a component made: AWS's own are told from the user's.
    pub fn of_component(name: &ComponentName) -> Self {
        if name.as_str().starts_with("aws.greengrass.") {
            Self::AwsComponentError
        } else {
            Self::UserComponentError
        }
    }
}

impl fmt::Display for ErrorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! codes {
    ($($name:ident = $text:literal, $kind:ident;)*) => {
        /// What went wrong.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[allow(missing_docs)] // the API's own words
        pub enum ErrorCode {
            $($name,)*
        }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// As it is reported, for example `COMPONENT_BROKEN`.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }

            /// The type it belongs to; `None` for those that say nothing of whose fault it is.
            pub fn error_type(self) -> ErrorType {
                match self {
                    $(Self::$name => ErrorType::$kind,)*
                }
            }
        }
    };
}

codes! {
    DeploymentFailure = "DEPLOYMENT_FAILURE", None;
    DeploymentRejected = "DEPLOYMENT_REJECTED", None;
    DeploymentInterrupted = "DEPLOYMENT_INTERRUPTED", None;
    ArtifactDownloadError = "ARTIFACT_DOWNLOAD_ERROR", None;
    NoAvailableComponentVersion = "NO_AVAILABLE_COMPONENT_VERSION", None;
    ComponentPackageLoadingError = "COMPONENT_PACKAGE_LOADING_ERROR", None;
    RejectedStaleDeployment = "REJECTED_STALE_DEPLOYMENT", None;
    NucleusMissingRequiredCapabilities = "NUCLEUS_MISSING_REQUIRED_CAPABILITIES", RequestError;
    ComponentCircularDependencyError = "COMPONENT_CIRCULAR_DEPENDENCY_ERROR", RequestError;
    UnauthorizedNucleusMinorVersionUpdate = "UNAUTHORIZED_NUCLEUS_MINOR_VERSION_UPDATE", RequestError;
    MissingDockerApplicationManager = "MISSING_DOCKER_APPLICATION_MANAGER", RequestError;
    MissingTokenExchangeService = "MISSING_TOKEN_EXCHANGE_SERVICE", RequestError;
    ComponentVersionRequirementsNotMet = "COMPONENT_VERSION_REQUIREMENTS_NOT_MET", RequestError;
    MultipleNucleusResolvedError = "MULTIPLE_NUCLEUS_RESOLVED_ERROR", RequestError;
    CloudApiError = "CLOUD_API_ERROR", None;
    BadRequest = "BAD_REQUEST", NucleusError;
    AccessDenied = "ACCESS_DENIED", PermissionError;
    ThrottlingError = "THROTTLING_ERROR", RequestError;
    ServerError = "SERVER_ERROR", ServerError;
    ConflictedRequest = "CONFLICTED_REQUEST", RequestError;
    ResourceNotFound = "RESOURCE_NOT_FOUND", RequestError;
    GetDeploymentConfigurationAccessDenied = "GET_DEPLOYMENT_CONFIGURATION_ACCESS_DENIED", PermissionError;
    GetComponentVersionArtifactAccessDenied = "GET_COMPONENT_VERSION_ARTIFACT_ACCESS_DENIED", PermissionError;
    ResolveComponentCandidatesAccessDenied = "RESOLVE_COMPONENT_CANDIDATES_ACCESS_DENIED", PermissionError;
    NetworkError = "NETWORK_ERROR", NetworkError;
    MqttConnectionFailed = "MQTT_CONNECTION_FAILED", NetworkError;
    TlsHandshakeFailure = "TLS_HANDSHAKE_FAILURE", NetworkError;
    MissingMqttConnectPolicy = "MISSING_MQTT_CONNECT_POLICY", PermissionError;
    CredentialEndpointAuthFailure = "CREDENTIAL_ENDPOINT_AUTH_FAILURE", PermissionError;
    CredentialEndpointServerError = "CREDENTIAL_ENDPOINT_SERVER_ERROR", ServerError;
    HttpRequestError = "HTTP_REQUEST_ERROR", HttpError;
    DownloadDeploymentDocumentError = "DOWNLOAD_DEPLOYMENT_DOCUMENT_ERROR", HttpError;
    GetGreengrassArtifactSizeError = "GET_GREENGRASS_ARTIFACT_SIZE_ERROR", HttpError;
    DownloadGreengrassArtifactError = "DOWNLOAD_GREENGRASS_ARTIFACT_ERROR", HttpError;
    IoError = "IO_ERROR", None;
    IoMappingError = "IO_MAPPING_ERROR", None;
    IoWriteError = "IO_WRITE_ERROR", DeviceError;
    IoReadError = "IO_READ_ERROR", DeviceError;
    DiskSpaceCritical = "DISK_SPACE_CRITICAL", DeviceError;
    IoFileAttributeError = "IO_FILE_ATTRIBUTE_ERROR", DeviceError;
    SetPermissionError = "SET_PERMISSION_ERROR", DeviceError;
    IoUnzipError = "IO_UNZIP_ERROR", DeviceError;
    LocalRecipeNotFound = "LOCAL_RECIPE_NOT_FOUND", DeviceError;
    LocalRecipeCorrupted = "LOCAL_RECIPE_CORRUPTED", DeviceError;
    LocalRecipeMetadataNotFound = "LOCAL_RECIPE_METADATA_NOT_FOUND", DeviceError;
    HashingAlgorithmUnavailable = "HASHING_ALGORITHM_UNAVAILABLE", DeviceError;
    LaunchDirectoryCorrupted = "LAUNCH_DIRECTORY_CORRUPTED", DeviceError;
    RecipeParseError = "RECIPE_PARSE_ERROR", ComponentRecipeError;
    RecipeMetadataParseError = "RECIPE_METADATA_PARSE_ERROR", ComponentRecipeError;
    ArtifactUriNotValid = "ARTIFACT_URI_NOT_VALID", ComponentRecipeError;
    S3ArtifactUriNotValid = "S3_ARTIFACT_URI_NOT_VALID", ComponentRecipeError;
    DockerArtifactUriNotValid = "DOCKER_ARTIFACT_URI_NOT_VALID", ComponentRecipeError;
    EmptyArtifactUri = "EMPTY_ARTIFACT_URI", ComponentRecipeError;
    EmptyArtifactScheme = "EMPTY_ARTIFACT_SCHEME", ComponentRecipeError;
    UnsupportedArtifactScheme = "UNSUPPORTED_ARTIFACT_SCHEME", ComponentRecipeError;
    RecipeMissingManifest = "RECIPE_MISSING_MANIFEST", ComponentRecipeError;
    RecipeMissingArtifactHashAlgorithm = "RECIPE_MISSING_ARTIFACT_HASH_ALGORITHM", ComponentRecipeError;
    ArtifactChecksumMismatch = "ARTIFACT_CHECKSUM_MISMATCH", ComponentRecipeError;
    ComponentDependencyNotValid = "COMPONENT_DEPENDENCY_NOT_VALID", ComponentRecipeError;
    ConfigInterpolateError = "CONFIG_INTERPOLATE_ERROR", ComponentRecipeError;
    ComponentVersionNotValid = "COMPONENT_VERSION_NOT_VALID", ComponentRecipeError;
    DeviceConfigNotValidForArtifactDownload = "DEVICE_CONFIG_NOT_VALID_FOR_ARTIFACT_DOWNLOAD", DeviceError;
    RunWithConfigNotValid = "RUN_WITH_CONFIG_NOT_VALID", RequestError;
    UnsupportedRegion = "UNSUPPORTED_REGION", RequestError;
    IotCredEndpointFormatNotValid = "IOT_CRED_ENDPOINT_FORMAT_NOT_VALID", RequestError;
    IotDataEndpointFormatNotValid = "IOT_DATA_ENDPOINT_FORMAT_NOT_VALID", RequestError;
    DockerError = "DOCKER_ERROR", DependencyError;
    GetEcrCredentialError = "GET_ECR_CREDENTIAL_ERROR", PermissionError;
    UserNotAuthorizedForDocker = "USER_NOT_AUTHORIZED_FOR_DOCKER", PermissionError;
    DockerServiceUnavailable = "DOCKER_SERVICE_UNAVAILABLE", DependencyError;
    DockerImageQueryError = "DOCKER_IMAGE_QUERY_ERROR", DependencyError;
    DockerLoginError = "DOCKER_LOGIN_ERROR", DependencyError;
    DockerPullError = "DOCKER_PULL_ERROR", DependencyError;
    DockerImageNotValid = "DOCKER_IMAGE_NOT_VALID", DependencyError;
    S3Error = "S3_ERROR", DependencyError;
    S3ResourceNotFound = "S3_RESOURCE_NOT_FOUND", DependencyError;
    S3AccessDenied = "S3_ACCESS_DENIED", PermissionError;
    S3BadRequest = "S3_BAD_REQUEST", DependencyError;
    S3ServerError = "S3_SERVER_ERROR", ServerError;
    S3HeadObjectAccessDenied = "S3_HEAD_OBJECT_ACCESS_DENIED", PermissionError;
    S3HeadObjectResourceNotFound = "S3_HEAD_OBJECT_RESOURCE_NOT_FOUND", RequestError;
    S3GetBucketLocationAccessDenied = "S3_GET_BUCKET_LOCATION_ACCESS_DENIED", PermissionError;
    S3GetBucketLocationResourceNotFound = "S3_GET_BUCKET_LOCATION_RESOURCE_NOT_FOUND", RequestError;
    S3GetObjectAccessDenied = "S3_GET_OBJECT_ACCESS_DENIED", PermissionError;
    S3GetObjectResourceNotFound = "S3_GET_OBJECT_RESOURCE_NOT_FOUND", RequestError;
    ResolveComponentCandidatesBadResponse = "RESOLVE_COMPONENT_CANDIDATES_BAD_RESPONSE", CloudServiceError;
    DeploymentDocumentSizeExceeded = "DEPLOYMENT_DOCUMENT_SIZE_EXCEEDED", CloudServiceError;
    GreengrassArtifactSizeNotFound = "GREENGRASS_ARTIFACT_SIZE_NOT_FOUND", CloudServiceError;
    DeploymentDocumentNotValid = "DEPLOYMENT_DOCUMENT_NOT_VALID", None;
    EmptyDeploymentRequest = "EMPTY_DEPLOYMENT_REQUEST", None;
    DeploymentDocumentParseError = "DEPLOYMENT_DOCUMENT_PARSE_ERROR", None;
    DeploymentTypeNotValid = "DEPLOYMENT_TYPE_NOT_VALID", UnknownError;
    ComponentMetadataNotValidInDeployment = "COMPONENT_METADATA_NOT_VALID_IN_DEPLOYMENT", None;
    NucleusVersionNotFound = "NUCLEUS_VERSION_NOT_FOUND", NucleusError;
    NucleusRestartFailure = "NUCLEUS_RESTART_FAILURE", NucleusError;
    ComponentLoadFailure = "COMPONENT_LOAD_FAILURE", NucleusError;
    CustomPluginNotSupported = "CUSTOM_PLUGIN_NOT_SUPPORTED", UserComponentError;
    ComponentUpdateError = "COMPONENT_UPDATE_ERROR", None;
    ComponentBroken = "COMPONENT_BROKEN", None;
    RemoveComponentError = "REMOVE_COMPONENT_ERROR", None;
    ComponentBootstrapTimeout = "COMPONENT_BOOTSTRAP_TIMEOUT", None;
    ComponentBootstrapError = "COMPONENT_BOOTSTRAP_ERROR", None;
    ComponentConfigurationNotValid = "COMPONENT_CONFIGURATION_NOT_VALID", None;
}

impl ErrorCode {
    /// The two arrays of a report: the stack of codes, and the types in it, each once and in its order.
    pub fn stack(codes: &[Self]) -> (Vec<String>, Vec<String>) {
        let mut types = Vec::new();
        for code in codes {
            let kind = code.error_type();
            if kind != ErrorType::None && !types.iter().any(|t| t == kind.as_str()) {
                types.push(kind.as_str().to_owned());
            }
        }
        (codes.iter().map(|c| c.as_str().to_owned()).collect(), types)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_names_each_type_once_and_leaves_out_none() {
        let (stack, types) = ErrorCode::stack(&[
            ErrorCode::DeploymentFailure,
            ErrorCode::ArtifactDownloadError,
            ErrorCode::S3Error,
            ErrorCode::S3AccessDenied,
            ErrorCode::S3ResourceNotFound,
        ]);
        assert_eq!(
            stack[..3],
            ["DEPLOYMENT_FAILURE", "ARTIFACT_DOWNLOAD_ERROR", "S3_ERROR"]
        );
        assert_eq!(types, ["DEPENDENCY_ERROR", "PERMISSION_ERROR"]);
    }

    #[test]
    fn every_code_has_a_text_of_its_own() {
        let mut texts: Vec<_> = ErrorCode::ALL.iter().map(|c| c.as_str()).collect();
        texts.sort_unstable();
        texts.dedup();
        assert_eq!(texts.len(), ErrorCode::ALL.len());
        assert_eq!(ErrorCode::ComponentBroken.error_type(), ErrorType::None);
        assert_eq!(
            ErrorType::of_component(&"com.example.A".parse().unwrap()).as_str(),
            "USER_COMPONENT_ERROR"
        );
        assert_eq!(
            ErrorType::of_component(&"aws.greengrass.Cli".parse().unwrap()).as_str(),
            "AWS_COMPONENT_ERROR"
        );
    }
}
