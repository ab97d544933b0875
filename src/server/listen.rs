//! Listening sockets and the accept loop.

use std::fs::Permissions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::shared::Shared;
use super::stream::{Accepted, Peer};
use super::upstream;
use super::worker::Workers;
use crate::config::ListenAddress;
use crate::config::address::UnixSocket;
use crate::telemetry::targets;

const BACKLOG: i32 = 1024;
/// First and longest pause after a failed accept: without file descriptors the next accept fails at once as well.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// A socket that clients connect to.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, Claim),
}

impl Listener {
    /// Binds the socket of a setting.
    pub fn bind(address: &ListenAddress, permissions: u32) -> io::Result<Self> {
        match address {
            ListenAddress::Tcp(address) => bind(*address).map(Self::Tcp),
            ListenAddress::Unix(socket) => bind_unix(socket, permissions),
        }
    }

    /// The address as bound: what port 0 came to.
    pub fn address(&self) -> io::Result<String> {
        match self {
            Self::Tcp(listener) => Ok(listener.local_addr()?.to_string()),
            Self::Unix(_, claim) => Ok(claim.path.display().to_string()),
        }
    }

    async fn accept(&self) -> io::Result<(Accepted, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                upstream::tune(&stream)?;
                Ok((Accepted::Tcp(stream.into_std()?), Peer::Tcp(peer)))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((Accepted::Unix(stream.into_std()?), Peer::Unix))
            }
        }
    }
}

/// The file of a Unix socket that this process listens on. Removed when dropped, unless it is another's by then.
pub(super) struct Claim {
    path: PathBuf,
    /// Device and number of the file.
    file: (u64, u64),
}

impl Drop for Claim {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|file| file == self.file)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(target: targets::SERVER, path = %self.path.display(), %error, "the socket was not removed");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Binds a listening socket that a restart can take over at once (SO_REUSEADDR).
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Binds a Unix socket, in the place of one that nobody listens on any more.
fn bind_unix(socket: &UnixSocket, permissions: u32) -> io::Result<Listener> {
    let path = socket.path();
    let address = SockAddr::unix(&path)?;
    let bound = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    bound.set_nonblocking(true)?;
    match bound.bind(&address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_abandoned(&path)? => {
            std::fs::remove_file(&path)?;
            tracing::info!(target: targets::SERVER, path = %path.display(), "a socket that nobody listens on was removed");
            bound.bind(&address)?;
        }
        outcome => outcome?,
    }
    let claim = Claim { file: identity(&path)?, path };
    // Nobody can connect before `listen`, so that the permissions hold from the first client on.
    std::fs::set_permissions(&claim.path, Permissions::from_mode(permissions))?;
    bound.listen(BACKLOG)?;
    Ok(Listener::Unix(UnixListener::from_std(bound.into())?, claim))
}

/// A socket, and nobody answers. Anything else in its place is not ours to remove.
fn is_abandoned(path: &Path) -> io::Result<bool> {
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        return Ok(false);
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Ok(false),
        Err(error) => Ok(error.kind() == io::ErrorKind::ConnectionRefused),
    }
}

/// Accepts clients until the process stops.
pub(super) async fn accept(listener: Listener, workers: Arc<Workers>, shared: Arc<Shared>) {
    let mut pause = PAUSE.0;
    let stopping = shared.stopping();
    tokio::pin!(stopping);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stopping => return,
        };
        let handed = match accepted {
            Ok((stream, peer)) => {
                shared.metrics.connections_total.increment(1);
                workers.hand_over(stream, peer, &shared.metrics.connections).map_err(io::Error::other)
            }
            Err(error) => Err(error),
        };
        match handed {
            Ok(()) => pause = PAUSE.0,
            // The client gave up while it waited: nothing is wrong here.
            Err(error) if gone(&error) => {}
            Err(error) => {
                shared.metrics.accept_errors.increment(1);
                tracing::error!(target: targets::SERVER, %error, ?pause, "a client could not be accepted");
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = &mut stopping => return,
                }
                pause = PAUSE.1.min(pause * 2);
            }
        }
    }
}

fn gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotConnected
            | io::ErrorKind::InvalidInput
    )
}
