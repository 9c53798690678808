//! The Unix socket in the file system: made, replaced when its server is dead, reached also when its path is long.
//!
//! A socket address holds at most 107 bytes of path. The SDKs refuse longer ones, so a server below a deep folder is given
//! a short name besides, and both this server and components use that.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};
use tokio::net::{UnixListener, UnixStream};

/// The longest path that fits a socket address, in bytes.
pub const LONGEST: usize = 107;

/// Why the socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another server answers there.
    #[error("{0} is served already: is another Greengrass runtime running on this root?")]
    Served(PathBuf),
    /// Something that is no socket is in the way.
    #[error("{0} exists and is no socket")]
    NotASocket(PathBuf),
    /// The short name cannot be trusted.
    #[error(
        "{0} belongs to someone else or others may write to it, and {1} is too long for a socket"
    )]
    Untrusted(PathBuf, PathBuf),
    /// The system refuses.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

fn at<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> SocketError + 'a {
    move |source| SocketError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}

/// A listening socket. Its file is removed when this is dropped.
#[derive(Debug)]
pub struct Socket {
    /// Where connections arrive.
    pub listener: UnixListener,
    /// The path to give to clients: short enough for them.
    pub address: PathBuf,
    file: PathBuf,
    inode: u64,
}

/// Binds the socket so that every local user may connect; who they are is asked afterwards.
pub fn bind(path: &Path) -> Result<Socket, SocketError> {
    let address = address(path)?;
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(SocketError::NotASocket(path.to_owned()));
        }
        Ok(_) => match std::os::unix::net::UnixStream::connect(&address) {
            Ok(_) => return Err(SocketError::Served(path.to_owned())),
            // Nobody listens: its server has died.
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(at("remove", path))?;
            }
            // A full backlog, for example: somebody is there.
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                return Err(SocketError::Served(path.to_owned()));
            }
            Err(source) => return Err(at("connect to", path)(source)),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(at("look at", path)(source)),
    }
    let listener = UnixListener::bind(&address).map_err(at("bind", path))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o666))
        .map_err(at("open to all", path))?;
    let inode = fs::symlink_metadata(path)
        .map_err(at("look at", path))?
        .ino();
    Ok(Socket {
        listener,
        address,
        file: path.to_owned(),
        inode,
    })
}

impl Drop for Socket {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.file).is_ok_and(|found| found.ino() == self.inode);
        if ours {
            // A file that stays is replaced by the next server.
            let _ = fs::remove_file(&self.file);
        }
    }
}

/// The path by which a socket is bound and reached, and which components are to be told: itself, or below a short symbolic link to its folder.
///
/// The link is the same each time, because components outlive their runtime and connect again with what they were given.
pub fn address(path: &Path) -> Result<PathBuf, SocketError> {
    if path.as_os_str().len() <= LONGEST {
        return Ok(path.to_owned());
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    let folder = fs::canonicalize(folder).map_err(at("find", folder))?;
    let name = path.file_name().unwrap_or_default();
    let base = if rustix::process::geteuid().is_root() && Path::new("/run").is_dir() {
        PathBuf::from("/run")
    } else {
        PathBuf::from("/tmp")
    };
    let user = rustix::process::geteuid().as_raw();
    let own = base.join(format!("greengrass-{user}"));
    match fs::DirBuilder::new().mode(0o755).create(&own) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(source) => return Err(at("make", &own)(source)),
    }
    let found = fs::symlink_metadata(&own).map_err(at("look at", &own))?;
    if !found.is_dir() || found.uid() != user || found.mode() & 0o022 != 0 {
        return Err(SocketError::Untrusted(own, path.to_owned()));
    }
    let mark = crc32fast::hash(folder.as_os_str().as_encoded_bytes());
    let link = own.join(format!("{mark:08x}"));
    if fs::read_link(&link).ok().as_deref() != Some(&folder) {
        // None there, or one to another folder: two folders share a mark once in four thousand million.
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(&folder, &link).map_err(at("link", &link))?;
    }
    Ok(link.join(name))
}

/// Connects to a socket, however long its path.
pub async fn connect(path: &Path) -> io::Result<UnixStream> {
    if path.as_os_str().len() <= LONGEST {
        return UnixStream::connect(path).await;
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    // Through the descriptor of its folder.
    use rustix::fs::{Mode, OFlags};
    use std::os::fd::AsRawFd;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty())?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
    UnixStream::connect(short).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ipc.socket");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let live = bind(&path).unwrap();
        assert_eq!(mode(&path), 0o666);
        assert!(matches!(bind(&path), Err(SocketError::Served(_))));
        drop(live);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ipc.socket");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&path), Err(SocketError::NotASocket(_))));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn a_long_path_has_a_short_address_that_stays_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("d".repeat(60)).join("e".repeat(60));
        fs::create_dir_all(&deep).unwrap();
        let path = deep.join("ipc.socket");
        let socket = bind(&path).unwrap();
        assert!(socket.address.as_os_str().len() <= LONGEST);
        assert_eq!(mode(&path), 0o666);
        UnixStream::connect(&socket.address).await.unwrap();
        connect(&path).await.unwrap();
        let address = socket.address.clone();
        drop(socket);
        assert_eq!(bind(&path).unwrap().address, address);
        fs::remove_file(address.parent().unwrap()).unwrap();
    }
}
