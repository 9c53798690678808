//! mosquitto on a free loopback port, with a configuration and files of its own.

use super::certificates::{Authority, Issued};
use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

const PROGRAM: &str = "/usr/sbin/mosquitto";

pub struct Mosquitto {
    folder: TempDir,
    pub port: u16,
    process: Option<Child>,
}

/// TLS of the broker, with client certificates asked for.
pub struct WithTls<'a> {
    pub authority: &'a Authority,
    pub server: &'a Issued,
}

impl Mosquitto {
    /// Starts it; `None`, said on stdout, if it is not installed.
    pub fn start(more: &str, tls: Option<&WithTls<'_>>) -> Option<Self> {
        if !Path::new(PROGRAM).exists() {
            println!("SKIPPED: mosquitto is not installed");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let at = folder.path().display();
        let mut text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\nlog_dest none\npersistence_location {at}/\n"
        );
        if let Some(tls) = tls {
            let file = |name: &str, pem: Vec<u8>| fs::write(folder.path().join(name), pem).unwrap();
            file("ca.pem", tls.authority.pem());
            file("server.pem", tls.server.certificate.to_pem().unwrap());
            let key = tls.server.key.private_key_to_pem_pkcs8().unwrap();
            file("server.key", key);
            text += &format!(
                "cafile {at}/ca.pem\ncertfile {at}/server.pem\nkeyfile {at}/server.key\nrequire_certificate true\n"
            );
        }
        text += more;
        fs::write(folder.path().join("mosquitto.conf"), text).unwrap();
        let mut broker = Self {
            folder,
            port,
            process: None,
        };
        broker.run();
        Some(broker)
    }

    /// Starts it again.
    pub fn run(&mut self) {
        let child = Command::new(PROGRAM)
            .arg("-c")
            .arg(self.folder.path().join("mosquitto.conf"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.process = Some(child);
        let by = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < by, "mosquitto does not listen");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it in an orderly way: it saves what it persists.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("it runs");
        let kill = Command::new("kill").arg(process.id().to_string()).status();
        assert!(kill.unwrap().success());
        process.wait().unwrap();
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}
