//! Addresses of sockets: TCP, and Unix sockets as PostgreSQL names them, by folder and port.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::value::{self, Raw};

/// The port of a Unix socket whose setting names none: PostgreSQL's.
const DEFAULT_PORT: u16 = 5432;

/// The longest path of a Unix socket in bytes: `sun_path` without its NUL.
const MAX_PATH: usize = 107;

/// A Unix socket: `/var/run/postgresql:5432` is `/var/run/postgresql/.s.PGSQL.5432`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixSocket {
    /// The folder that the socket is in: what clients are told as their host.
    pub directory: PathBuf,
    /// The number in the socket's name: what clients are told as their port.
    pub port: u16,
}

impl UnixSocket {
    /// The socket's file.
    pub fn path(&self) -> PathBuf {
        self.directory.join(format!(".s.PGSQL.{}", self.port))
    }

    fn read(text: &str) -> Option<Self> {
        let (directory, port) = match text.rsplit_once(':').map(|(d, port)| (d, port.parse())) {
            Some((directory, Ok(port))) => (directory, port),
            _ => (text, DEFAULT_PORT),
        };
        let socket = Self { directory: directory.into(), port };
        (directory.starts_with('/') && port != 0 && socket.path().as_os_str().len() <= MAX_PATH)
            .then_some(socket)
    }
}

impl fmt::Display for UnixSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.directory.display(), self.port)
    }
}

/// An address that clients connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// IP address and port; port 0 lets the system choose one.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(UnixSocket),
}

impl ListenAddress {
    /// `127.0.0.1:6442`, `[::]:6442`, `/run/staleguard:6442`.
    pub fn read(raw: &Raw) -> Option<Self> {
        match value::text(raw)? {
            path if path.starts_with('/') => UnixSocket::read(&path).map(Self::Unix),
            _ => value::address(raw).map(Self::Tcp),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(socket) => socket.fmt(f),
        }
    }
}

/// Where the PostgreSQL server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerAddress {
    /// Host and port.
    Tcp(HostPort),
    /// A Unix socket.
    Unix(UnixSocket),
}

impl ServerAddress {
    /// `db.internal:5432`, `[::1]:5432`, `/var/run/postgresql:5432`.
    pub fn read(raw: &Raw) -> Option<Self> {
        match value::text(raw)? {
            path if path.starts_with('/') => UnixSocket::read(&path).map(Self::Unix),
            _ => value::host_port(raw).map(Self::Tcp),
        }
    }
}

impl From<HostPort> for ServerAddress {
    fn from(address: HostPort) -> Self {
        Self::Tcp(address)
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(socket) => socket.fmt(f),
        }
    }
}

/// A host name or address and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// DNS name, IPv4 address, or IPv6 address without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn a_folder_and_a_port_name_a_socket() {
        let read = |text: &str| ServerAddress::read(&Raw::Text(text.to_owned()));
        let path = |text: &str| match read(text) {
            Some(ServerAddress::Unix(socket)) => socket.path().display().to_string(),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(path("/run/pg"), "/run/pg/.s.PGSQL.5432");
        assert_eq!(path("/run/pg:6442"), "/run/pg/.s.PGSQL.6442");
        assert_eq!(path("/run/a:b"), "/run/a:b/.s.PGSQL.5432");
        assert_eq!(read("/run/pg:0"), None);
        assert_eq!(read(&format!("/{}", "x".repeat(100))), None, "longer than the system allows");
        assert_eq!(read("run/pg:1"), None, "no absolute path");
        assert_eq!(read("/run/pg:6442").unwrap().to_string(), "/run/pg:6442");
    }
}
