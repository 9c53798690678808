//! The hash of the TPM's endorsement key: what a device's maker can know of it before it is ever switched on.
//!
//! One command of the TPM, so that no TSS library is needed on the device: CreatePrimary with the template of the TCG's
//! credential profile (RSA 2048) always gives the same key. The hash is SHA-256 of the public key in DER form, which
//! `tpm2_createek -c ek.ctx -G rsa -u ek.pem -f pem; openssl pkey -pubin -in ek.pem -outform DER | sha256sum` prints too.

use openssl::{bn::BigNum, pkey::PKey, rsa::Rsa, sha::sha256};
use std::{
    fs::OpenOptions,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

/// The kernel's resource manager: what is made through it is gone when it is closed.
const DEVICE: &str = "/dev/tpmrm0";
/// Where tpm2-pkcs11 is told that the TPM is elsewhere.
const ELSEWHERE: &str = "TPM2_PKCS11_TCTI";
/// A slow TPM takes a minute for an RSA key.
const LIMIT: Duration = Duration::from_secs(120);

const SESSIONS: u16 = 0x8002;
const NO_SESSIONS: u16 = 0x8001;
const CREATE_PRIMARY: u32 = 0x131;
const FLUSH_CONTEXT: u32 = 0x165;
const ENDORSEMENT: u32 = 0x4000_000b;
/// `PolicySecret` of the endorsement hierarchy: part of the template.
const POLICY: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24,
    0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];

trait Tpm: Read + Write {}
impl<T: Read + Write> Tpm for T {}

/// The hash in hexadecimal. Not for async threads.
pub fn hash() -> Result<String, String> {
    let place = std::env::var(ELSEWHERE).unwrap_or_default();
    let (name, tpm): (&str, io::Result<Box<dyn Tpm>>) = match place.split_once(':') {
        Some(("swtpm", options)) if options.starts_with("path=") => {
            let path = &options["path=".len()..];
            let socket = UnixStream::connect(path).and_then(|socket| {
                socket.set_read_timeout(Some(LIMIT))?;
                Ok(Box::new(socket) as Box<dyn Tpm>)
            });
            (path, socket)
        }
        Some(("device", path)) => (path, device(path)),
        _ => (DEVICE, device(DEVICE)),
    };
    let said = |error: io::Error| format!("the TPM at {name}: {error}");
    let modulus = tpm
        .and_then(|mut tpm| endorsement_key(&mut *tpm))
        .map_err(said)?;
    let der = BigNum::from_slice(&modulus)
        .and_then(|n| Rsa::from_public_components(n, BigNum::from_u32(65537)?))
        .and_then(|key| PKey::from_rsa(key)?.public_key_to_der());
    let der = der.map_err(|error| format!("the TPM's endorsement key: {error}"))?;
    Ok(sha256(&der).iter().map(|b| format!("{b:02x}")).collect())
}

fn device(path: &str) -> io::Result<Box<dyn Tpm>> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    Ok(Box::new(file))
}

fn endorsement_key(tpm: &mut dyn Tpm) -> io::Result<Vec<u8>> {
    let answer = ask(tpm, SESSIONS, CREATE_PRIMARY, &create())?;
    let mut rest = Rest(&answer);
    let handle = rest.take(4)?.to_vec();
    let modulus = modulus(&mut rest);
    // A TPM without resource manager has room for three keys.
    ask(tpm, NO_SESSIONS, FLUSH_CONTEXT, &handle)?;
    modulus
}

/// The parameters of CreatePrimary.
fn create() -> Vec<u8> {
    let mut public = Vec::new();
    for part in [
        &[0x00, 0x01, 0x00, 0x0b][..], // RSA, named by SHA-256
        &[0x00, 0x03, 0x00, 0xb2],     // restricted decryption, fixed to this TPM
        &[0x00, 0x20],
        &POLICY,
        &[0x00, 0x06, 0x00, 0x80, 0x00, 0x43], // protects with AES-128-CFB
        &[0x00, 0x10, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00], // no scheme, 2048 bits, exponent 65537
        &[0x01, 0x00],
        &[0; 256],
    ] {
        public.extend_from_slice(part);
    }
    let size = u16::try_from(public.len()).unwrap_or(u16::MAX);
    let mut all = ENDORSEMENT.to_be_bytes().to_vec();
    all.extend_from_slice(&[0, 0, 0, 9, 0x40, 0, 0, 9, 0, 0, 0, 0, 0]); // the hierarchy's empty password
    all.extend_from_slice(&[0, 4, 0, 0, 0, 0]); // no secret of the caller's
    all.extend_from_slice(&size.to_be_bytes());
    all.extend_from_slice(&public);
    all.extend_from_slice(&[0; 6]); // nothing from outside, no PCRs
    all
}

fn ask(tpm: &mut dyn Tpm, tag: u16, command: u32, body: &[u8]) -> io::Result<Vec<u8>> {
    let size = u32::try_from(10 + body.len()).unwrap_or(u32::MAX);
    let mut request = tag.to_be_bytes().to_vec();
    request.extend_from_slice(&size.to_be_bytes());
    request.extend_from_slice(&command.to_be_bytes());
    request.extend_from_slice(body);
    // The kernel takes a command in one write, and gives the answer in one read.
    tpm.write_all(&request)?;
    let mut answer = vec![0; 4096];
    let mut have = 0;
    loop {
        let more = tpm.read(&mut answer[have..])?;
        have += more;
        let mut rest = Rest(&answer[..have]);
        if let (Ok(_), Ok(size), Ok(code)) = (rest.take(2), rest.number(), rest.number())
            && have >= usize::try_from(size).unwrap_or(usize::MAX)
        {
            return match code {
                0 => Ok(rest.0.to_vec()),
                code => Err(io::Error::other(format!("it answers with code 0x{code:x}"))),
            };
        }
        if more == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn modulus(rest: &mut Rest<'_>) -> io::Result<Vec<u8>> {
    // Size of the parameters, size of the public area, kind, name's hash, attributes.
    rest.take(4 + 2 + 2 + 2 + 4)?;
    let policy = rest.size()?;
    // Policy, symmetric algorithm, scheme, bits, exponent.
    rest.take(policy + 6 + 2 + 2 + 4)?;
    let size = rest.size()?;
    rest.take(size).map(<[u8]>::to_vec)
}

/// What is left of an answer.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> io::Result<u32> {
        let bytes = self.take(4)?;
        Ok(bytes.iter().fold(0, |n, b| n << 8 | u32::from(*b)))
    }

    fn size(&mut self) -> io::Result<usize> {
        let bytes = self.take(2)?;
        Ok(usize::from(bytes[0]) << 8 | usize::from(bytes[1]))
    }
}
