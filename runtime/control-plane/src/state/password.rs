//! Passwords of the console, kept as scrypt makes them: `scrypt$<log N>$<r>$<p>$<salt>$<hash>`, base64.

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use openssl::{error::ErrorStack, memcmp, pkcs5::scrypt, rand::rand_bytes};

/// 32 MiB and about 0.2 s a try: OWASP's figures for log N = 15.
const LOG_N: u8 = 15;
const R: u64 = 8;
const P: u64 = 3;
const MEMORY: u64 = 64 * 1024 * 1024;

/// What to keep of a password. Takes time: not on an async thread.
pub fn hash(password: &str) -> Result<String, ErrorStack> {
    let mut salt = [0; 16];
    rand_bytes(&mut salt)?;
    let mut out = [0; 32];
    scrypt(
        password.as_bytes(),
        &salt,
        1 << LOG_N,
        R,
        P,
        MEMORY,
        &mut out,
    )?;
    let (salt, out) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(out));
    Ok(format!("scrypt${LOG_N}${R}${P}${salt}${out}"))
}

/// Whether the password is the one that was hashed. Takes time: not on an async thread.
pub fn verify(password: &str, kept: &str) -> bool {
    let parts: Vec<&str> = kept.split('$').collect();
    let ["scrypt", log_n, r, p, salt, hash] = parts[..] else {
        return false;
    };
    let (Ok(log_n), Ok(r), Ok(p)) = (log_n.parse::<u8>(), r.parse(), p.parse()) else {
        return false;
    };
    let (Ok(salt), Ok(hash)) = (STANDARD_NO_PAD.decode(salt), STANDARD_NO_PAD.decode(hash)) else {
        return false;
    };
    let mut out = [0; 32];
    log_n < 20
        && hash.len() == out.len()
        && scrypt(
            password.as_bytes(),
            &salt,
            1 << log_n,
            r,
            p,
            MEMORY,
            &mut out,
        )
        .is_ok()
        && memcmp::eq(&out, &hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_verifies_against_its_own_hash_only() {
        let kept = hash("correct horse").unwrap();
        assert!(verify("correct horse", &kept));
        assert!(!verify("Correct horse", &kept));
        assert!(!verify("", &kept));
        assert_ne!(
            kept,
            hash("correct horse").unwrap(),
            "each has its own salt"
        );
        for broken in ["", "scrypt$15$8$3$x", "scrypt$63$8$3$AAAA$AAAA", "plain"] {
            assert!(!verify("correct horse", broken));
        }
    }
}
