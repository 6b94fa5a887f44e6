//! Unix sockets: what may be replaced, and what is removed in the end.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use tokio::net::{UnixSocket, UnixStream};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// A socket that is listened on.
pub(in crate::hub) struct BoundSocket {
    pub(in crate::hub) name: Name,
    pub(in crate::hub) listener: UnixListener,
}

/// The name of a socket in the file system. Removed with this value, if it is still that of the same
/// socket: drop it while the socket is open, so that no other can have its number.
pub(in crate::hub) struct Name {
    path: PathBuf,
    id: (u64, u64),
}

impl Drop for Name {
    fn drop(&mut self) {
        if socket_at(&self.path).is_ok_and(|id| id == self.id) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds a socket. One that nobody listens on is replaced.
pub(super) async fn bind(path: &Path, mode: u32) -> io::Result<BoundSocket> {
    let socket = match bind_name(path) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            remove_stale(path).await?;
            bind_name(path)?
        }
        bound => bound?,
    };
    let name = Name { path: path.to_owned(), id: socket_at(path)? };
    // Before it listens, so that nobody connects who may not.
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    let listener = socket.listen(BACKLOG)?.into_std()?;
    Ok(BoundSocket { name, listener })
}

fn bind_name(path: &Path) -> io::Result<UnixSocket> {
    let socket = UnixSocket::new_stream()?;
    socket.bind(path)?;
    Ok(socket)
}

/// Removes a socket that refuses connections, and nothing else.
async fn remove_stale(path: &Path) -> io::Result<()> {
    let id = socket_at(path)?;
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
        Ok(_) => return Err(in_the_way("somebody listens on this socket")),
        Err(error) => {
            let why = format!("there is a socket, which may be in use: {error}");
            return Err(in_the_way(&why));
        }
    }
    if socket_at(path)? != id {
        return Err(in_the_way("another socket has just been made there"));
    }
    fs::remove_file(path)
}

/// Device and inode of the socket at a path. A link to one is none.
fn socket_at(path: &Path) -> io::Result<(u64, u64)> {
    let there = fs::symlink_metadata(path)?;
    if !there.file_type().is_socket() {
        return Err(in_the_way("there is something that is not a socket; it is left alone"));
    }
    Ok((there.dev(), there.ino()))
}

fn in_the_way(why: &str) -> io::Error {
    io::Error::new(ErrorKind::AddrInUse, why)
}
