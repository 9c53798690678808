//! When a certificate is renewed.

use openssl::{
    asn1::{Asn1Time, Asn1TimeRef},
    error::ErrorStack,
    x509::X509Ref,
};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Renewal begins when this part of a certificate's life has passed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Of its whole life, 0 to 1.
    pub after: f64,
}

impl Default for Schedule {
    /// Two thirds: a third is left for a network that is away.
    fn default() -> Self {
        Self { after: 2.0 / 3.0 }
    }
}

impl Schedule {
    /// When a certificate is to be renewed. `spread` (0 to 1, the device's own) moves it by up to a tenth of its life
    /// earlier, so that a fleet made in one day does not renew in one minute.
    pub fn due(&self, certificate: &X509Ref, spread: f64) -> Result<SystemTime, ErrorStack> {
        let from = seconds(certificate.not_before())?;
        let until = seconds(certificate.not_after())?;
        let life = until.saturating_sub(from);
        let part = (self.after - spread.clamp(0.0, 1.0) / 10.0).clamp(0.0, 1.0);
        Ok(UNIX_EPOCH + Duration::from_secs(from) + Duration::from_secs(life).mul_f64(part))
    }
}

/// Since 1970; 0 for what was before.
fn seconds(time: &Asn1TimeRef) -> Result<u64, ErrorStack> {
    let since = Asn1Time::from_unix(0)?.diff(time)?;
    let seconds = i64::from(since.days) * 86_400 + i64::from(since.secs);
    Ok(u64::try_from(seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use openssl::x509::X509;

    fn certificate(from: i64, until: i64) -> X509 {
        let mut builder = X509::builder().unwrap();
        builder
            .set_not_before(&Asn1Time::from_unix(from).unwrap())
            .unwrap();
        builder
            .set_not_after(&Asn1Time::from_unix(until).unwrap())
            .unwrap();
        builder.build()
    }

    #[test]
    fn it_is_due_after_two_thirds_and_earlier_with_spread() {
        let year = 365 * 86_400;
        let certificate = certificate(1_700_000_000, 1_700_000_000 + year);
        let due = |spread| {
            let due = Schedule::default().due(&certificate, spread).unwrap();
            due.duration_since(UNIX_EPOCH).unwrap().as_secs() - 1_700_000_000
        };
        assert_eq!(due(0.0), 365 * 86_400 * 2 / 3);
        assert!(due(1.0) < due(0.5) && due(0.5) < due(0.0));
        assert!(due(1.0) > 365 * 86_400 / 2);
    }

    #[test]
    fn a_certificate_without_an_end_is_due_in_a_far_year_and_not_before_now() {
        // AWS's certificates end in 2049.
        let due = Schedule::default()
            .due(&certificate(1_700_000_000, 2_524_607_999), 0.0)
            .unwrap();
        assert!(due > UNIX_EPOCH + Duration::from_secs(2_200_000_000));
    }
}
