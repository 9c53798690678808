//! Checksums beyond MD5: what the sender gave is compared with what arrived, kept, and told to readers.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use s3s::{
    S3Result, TrailingHeaders,
    checksum::ChecksumHasher,
    crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Sha1, Sha256},
    dto::{Checksum, ChecksumType},
    s3_error,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The algorithms, by the names that headers and rows have for them.
pub(super) const ALGORITHMS: [&str; 5] = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"];

/// Checksums in base64, by algorithm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Checksums {
    pub(super) values: BTreeMap<String, String>,
    /// Of the parts' checksums, not of the whole.
    pub(super) composite: bool,
}

impl Checksums {
    /// As s3s has them in requests.
    pub(super) fn given(values: [Option<String>; 5]) -> Self {
        let named = ALGORITHMS.iter().zip(values);
        let values = named.filter_map(|(name, value)| Some(((*name).to_owned(), value?)));
        Self {
            values: values.collect(),
            composite: false,
        }
    }

    /// As s3s wants them in answers.
    pub(super) fn answer(&self) -> Checksum {
        let value = |name: &str| self.values.get(name).cloned();
        let kind = if self.composite {
            ChecksumType::COMPOSITE
        } else {
            ChecksumType::FULL_OBJECT
        };
        Checksum {
            checksum_crc32: value("CRC32"),
            checksum_crc32c: value("CRC32C"),
            checksum_crc64nvme: value("CRC64NVME"),
            checksum_sha1: value("SHA1"),
            checksum_sha256: value("SHA256"),
            checksum_type: (!self.values.is_empty()).then(|| ChecksumType::from_static(kind)),
        }
    }

    /// What trailing headers brought, once the body has been read.
    pub(super) fn trailing(&mut self, trailers: Option<TrailingHeaders>) {
        let Some(headers) = trailers.and_then(|t| t.take()) else {
            return;
        };
        for name in ALGORITHMS {
            let header = format!("x-amz-checksum-{}", name.to_ascii_lowercase());
            if let Some(Ok(value)) = headers.get(header.as_str()).map(|v| v.to_str()) {
                self.values.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    /// Refuses contents whose computed checksums are not those that were given.
    pub(super) fn check(&self, computed: &Self) -> S3Result<()> {
        for (name, given) in &self.values {
            if computed.values.get(name) != Some(given) {
                return Err(s3_error!(
                    BadDigest,
                    "The {} you specified did not match the calculated checksum.",
                    name
                ));
            }
        }
        Ok(())
    }
}

/// Computes checksums of what passes by.
pub(super) struct Summing(ChecksumHasher);

impl Summing {
    /// For these algorithms.
    pub(super) fn new<'a>(names: impl Iterator<Item = &'a str>) -> S3Result<Self> {
        let mut hasher = ChecksumHasher::default();
        for name in names {
            match name {
                "CRC32" => hasher.crc32 = Some(Crc32::new()),
                "CRC32C" => hasher.crc32c = Some(Crc32c::new()),
                "CRC64NVME" => hasher.crc64nvme = Some(Crc64Nvme::new()),
                "SHA1" => hasher.sha1 = Some(Sha1::new()),
                "SHA256" => hasher.sha256 = Some(Sha256::new()),
                other => {
                    return Err(s3_error!(
                        InvalidRequest,
                        "The checksum algorithm '{}' is not served.",
                        other
                    ));
                }
            }
        }
        Ok(Self(hasher))
    }

    pub(super) fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    pub(super) fn finish(self) -> Checksums {
        let sums = self.0.finalize();
        Checksums::given([
            sums.checksum_crc32,
            sums.checksum_crc32c,
            sums.checksum_crc64nvme,
            sums.checksum_sha1,
            sums.checksum_sha256,
        ])
    }
}

/// The checksum of the parts' checksums, with their number.
pub(super) fn composite(algorithm: &str, parts: &[Checksums]) -> S3Result<Checksums> {
    let mut summing = Summing::new(std::iter::once(algorithm))?;
    for part in parts {
        let value = part
            .values
            .get(algorithm)
            .and_then(|v| STANDARD.decode(v).ok());
        let value = value
            .ok_or_else(|| s3_error!(InvalidRequest, "A part has no {} checksum.", algorithm))?;
        summing.update(&value);
    }
    let mut sums = summing.finish();
    for value in sums.values.values_mut() {
        value.push_str(&format!("-{}", parts.len()));
    }
    sums.composite = true;
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(algorithm: &str, data: &[u8]) -> Checksums {
        let mut summing = Summing::new(std::iter::once(algorithm)).unwrap();
        summing.update(data);
        summing.finish()
    }

    #[test]
    fn the_published_check_values_come_out() {
        // The catalogue's check value of each algorithm over "123456789".
        for (name, hex) in [
            ("CRC32", "cbf43926"),
            ("CRC32C", "e3069283"),
            ("CRC64NVME", "ae8b14860a799888"),
        ] {
            let value = STANDARD
                .decode(&sums(name, b"123456789").values[name])
                .unwrap();
            assert_eq!(crate::http::sigv4::hex(&value), hex, "{name}");
        }
    }

    #[test]
    fn a_composite_is_over_the_parts_and_counts_them() {
        let parts = [sums("SHA256", b"a"), sums("SHA256", b"b")];
        let both = composite("SHA256", &parts).unwrap();
        assert!(both.values["SHA256"].ends_with("-2") && both.composite);
        assert!(composite("SHA1", &parts).is_err());
    }

    #[test]
    fn a_wrong_checksum_is_refused() {
        let right = sums("CRC32", b"a");
        assert!(right.check(&right).is_ok());
        assert!(sums("CRC32", b"b").check(&right).is_err());
        assert!(Summing::new(std::iter::once("MD4")).is_err());
    }
}
