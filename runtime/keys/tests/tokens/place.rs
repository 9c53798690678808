//! Where a case happens: a token store in a folder, and the TPM behind it.

use keys::{Erase, KeyUri, LoadOptions, NewToken, Pin, PinSources, Token};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

pub const PIN: &str = "PIN-2486-user";
pub const OFFICER_PIN: &str = "PIN-1357-officer";
const FOLDER: &str = "KEYS_TEST_FOLDER";

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    SoftHsm,
    Tpm,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::SoftHsm => "softhsm",
            Self::Tpm => "tpm",
        }
    }

    pub fn named(name: &str) -> Self {
        match name {
            "softhsm" => Self::SoftHsm,
            _ => Self::Tpm,
        }
    }

    /// The PKCS#11 library.
    pub fn library(self) -> Option<PathBuf> {
        let uri = match self {
            Self::SoftHsm => "pkcs11:token=a?module-name=softhsm2",
            Self::Tpm => "pkcs11:token=a?module-name=tpm2_pkcs11",
        };
        let uri: KeyUri = uri.parse().unwrap();
        keys::find_library(uri.token().unwrap(), None).ok()
    }

    /// What is not installed.
    pub fn missing(self) -> Option<&'static str> {
        let program = |name: &str| {
            let paths = std::env::var_os("PATH").unwrap_or_default();
            std::env::split_paths(&paths).any(|p| p.join(name).is_file())
        };
        match self {
            _ if keys::Backend::engine().is_err() => Some("no engine (libengine-pkcs11-openssl)"),
            Self::SoftHsm if self.library().is_none() => Some("no libsofthsm2.so (softhsm2)"),
            Self::Tpm if self.library().is_none() => {
                Some("no libtpm2_pkcs11.so (libtpm2-pkcs11-1)")
            }
            Self::Tpm if !program("swtpm") => Some("no swtpm (swtpm)"),
            Self::Tpm if !program("tpm2_flushcontext") => Some("no tpm2_flushcontext (tpm2-tools)"),
            _ => None,
        }
    }
}

/// The environment of a case, made before its process starts.
pub fn prepare(kind: Kind, folder: &Path, command: &mut Command) {
    command.env(FOLDER, folder);
    for name in [
        PinSources::ENVIRONMENT,
        "CREDENTIALS_DIRECTORY",
        keys::MODULE_ENVIRONMENT,
    ] {
        command.env_remove(name);
    }
    let store = folder.join("tokens");
    fs::create_dir(&store).unwrap();
    match kind {
        Kind::SoftHsm => {
            let configuration = folder.join("softhsm2.conf");
            let text = format!(
                "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = true\n",
                store.display()
            );
            fs::write(&configuration, text).unwrap();
            command.env("SOFTHSM2_CONF", configuration);
        }
        Kind::Tpm => {
            fs::create_dir(folder.join("tpm")).unwrap();
            command.env("TPM2_PKCS11_STORE", store);
            command.env(
                "TPM2_PKCS11_TCTI",
                format!("swtpm:path={}", socket(folder).display()),
            );
            // Their own complaints go to the error output; only what a case prints itself is of interest.
            command.env("TSS2_LOG", "all+NONE");
            command.env("TPM2_PKCS11_LOG_LEVEL", "0");
        }
    }
}

fn pid_file(folder: &Path) -> PathBuf {
    folder.join("tpm/pid")
}

/// Ends the TPM of a case whose process died before it could.
pub fn clean_up(folder: &Path) {
    let Ok(pid) = fs::read_to_string(pid_file(folder)) else {
        return;
    };
    let arguments = fs::read_to_string(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
    if arguments.contains(folder.to_str().unwrap())
        && let Some(pid) = pid
            .trim()
            .parse()
            .ok()
            .and_then(rustix::process::Pid::from_raw)
    {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("tpm/socket")
}

pub struct Place {
    pub kind: Kind,
    pub folder: PathBuf,
    pub library: PathBuf,
    tpm: Option<Child>,
}

impl Place {
    pub fn here(kind: Kind) -> Self {
        let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
        let mut place = Self {
            kind,
            folder,
            library: kind.library().unwrap(),
            tpm: None,
        };
        // A helper uses its case's.
        if kind == Kind::Tpm && std::env::var_os("KEYS_TEST_TPM_RUNS").is_none() {
            place.start_tpm();
        }
        place
    }

    pub fn store(&self) -> PathBuf {
        self.folder.join("tokens")
    }

    fn start_tpm(&mut self) {
        let state = self.folder.join("tpm");
        let socket = socket(&self.folder);
        let _ = fs::remove_file(&socket);
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .arg("--tpmstate")
            .arg(format!("dir={}", state.display()))
            .arg("--server")
            .arg(format!("type=unixio,path={}", socket.display()))
            .arg("--ctrl")
            .arg(format!("type=unixio,path={}.ctrl", socket.display()))
            .arg("--pid")
            .arg(format!("file={}", pid_file(&self.folder).display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.tpm = Some(child);
        eventually("swtpm listens", || socket.exists());
    }

    /// Takes the token away.
    pub fn unplug(&mut self) {
        match self.kind {
            Kind::SoftHsm => fs::rename(self.store(), self.folder.join("away")).unwrap(),
            Kind::Tpm => {
                let mut tpm = self.tpm.take().unwrap();
                tpm.kill().unwrap();
                tpm.wait().unwrap();
            }
        }
    }

    /// Puts it back.
    pub fn plug_in(&mut self) {
        match self.kind {
            Kind::SoftHsm => fs::rename(self.folder.join("away"), self.store()).unwrap(),
            Kind::Tpm => self.start_tpm(),
        }
    }

    /// Frees the TPM's three places for keys. On a device the kernel's resource manager (/dev/tpmrm0) does that.
    pub fn relieve(&self, uri: &KeyUri) {
        if self.kind == Kind::Tpm {
            self.open(uri).close().wait().unwrap();
            let status = Command::new("tpm2_flushcontext")
                .args(["--transient-object", "--tcti"])
                .arg(format!("swtpm:path={}", socket(&self.folder).display()))
                .status();
            assert!(status.unwrap().success());
        }
    }

    /// A new token, named so that its key is found, without a PIN in it.
    pub fn new_token(&self, label: &str) -> KeyUri {
        let new = NewToken {
            label: label.into(),
            slot: None,
            officer_pin: Pin::new(OFFICER_PIN),
            user_pin: Pin::new(PIN),
            erase: Erase::Never,
        };
        keys::initialise(&self.library, new)
            .unwrap()
            .wait()
            .unwrap()
    }

    pub fn pins(&self) -> PinSources {
        PinSources::only(Pin::new(PIN))
    }

    pub fn options(&self) -> LoadOptions {
        LoadOptions {
            pins: self.pins(),
            library: None,
            backend: None,
        }
    }

    pub fn open(&self, uri: &KeyUri) -> Token {
        Token::open(uri, &self.pins(), None).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(tpm) = &mut self.tpm {
            let _ = tpm.kill();
            let _ = tpm.wait();
        }
    }
}

/// Waits for something that another process does.
pub fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
