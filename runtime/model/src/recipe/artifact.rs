//! Artifacts of a manifest.

use serde::{Deserialize, Serialize};

/// One entry of `Artifacts`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Artifact {
    /// Where it comes from: `s3://…`, `greengrass:…`, `docker:…`, `file:…`.
    #[serde(rename = "URI")]
    pub uri: String,
    /// What becomes of an archive.
    pub unarchive: Unarchive,
    /// Who may read and run its files.
    pub permission: Permission,
    /// Base64 of its hash; the cloud fills it in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The hash, `SHA-256`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
}

/// `Unarchive`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Unarchive {
    /// Left as it is.
    #[default]
    None,
    /// Unpacked to a folder of its own name without the extension.
    Zip,
}

/// `Permission`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Permission {
    /// OWNER when not given.
    pub read: Access,
    /// NONE when not given.
    pub execute: Access,
}

impl Default for Permission {
    fn default() -> Self {
        Self {
            read: Access::Owner,
            execute: Access::None,
        }
    }
}

/// Who may do something with an artifact's files.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Access {
    /// Nobody but root.
    None,
    /// The component's user.
    Owner,
    /// Everybody.
    All,
}

impl Artifact {
    /// The part before the first `:`, in lower case.
    pub fn scheme(&self) -> Option<String> {
        self.uri
            .split_once(':')
            .map(|(scheme, _)| scheme.to_ascii_lowercase())
            .filter(|s| !s.is_empty())
    }

    /// The last part of the path: the file's name in the artifact folder. `None` when there is none or it would leave the folder.
    pub fn file_name(&self) -> Option<&str> {
        let name = self.uri.rsplit(['/', ':']).next()?;
        (!name.is_empty() && name != "." && name != "..").then_some(name)
    }
}
