//! The PostgreSQL server and how to reach it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};

use super::stream::Stream;
use crate::config::tls::{ServerMode, TlsSettings};
use crate::config::{HostPort, ServerAddress};
use crate::telemetry::metrics::{Handshake, Side};
use crate::telemetry::{Metrics, targets};
use crate::tls::TlsError;
use crate::tls::server::{HandshakeError, Offered, ServerTls};

/// Idle time before the first keepalive packet, on both sides of the proxy.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
/// Time between keepalive packets that stay unanswered.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// Where the server is. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Upstream {
    address: ServerAddress,
    tls: Option<Arc<ServerTls>>,
    metrics: Option<Metrics>,
}

/// Why the server could not be reached. The server or the network is at fault.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// The name does not resolve.
    #[error("the name of the PostgreSQL server {address} cannot be resolved: {reason}")]
    Dns {
        /// `host:port`.
        address: String,
        /// The resolver's words.
        reason: io::Error,
    },
    /// Every address refused the connection.
    #[error("the PostgreSQL server {address} refuses connections: is it running?")]
    Refused {
        /// `host:port`.
        address: String,
    },
    /// No address answered in time.
    #[error("the PostgreSQL server {address} did not accept a connection within {limit:?}")]
    Timeout {
        /// `host:port`.
        address: String,
        /// The time limit.
        limit: Duration,
    },
    /// It declines TLS, which the settings ask for.
    #[error("the PostgreSQL server {address} speaks no TLS, which tls.server = {mode} asks for")]
    NoTls {
        /// `host:port`.
        address: String,
        /// The setting.
        mode: &'static str,
    },
    /// TLS did not come about.
    #[error("no TLS with the PostgreSQL server {address}: {reason}")]
    Tls {
        /// `host:port`.
        address: String,
        /// What went wrong.
        reason: HandshakeError,
    },
    /// Anything else, such as no route.
    #[error("the PostgreSQL server {address} cannot be reached: {reason}")]
    Unreachable {
        /// `host:port`.
        address: String,
        /// The operating system's words, of the last address tried.
        reason: io::Error,
    },
}

impl UpstreamError {
    /// The `kind` label of `staleguard_upstream_errors_total`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Dns { .. } => "dns",
            Self::Refused { .. } => "refused",
            Self::Timeout { .. } => "timeout",
            Self::NoTls { .. } => "no_tls",
            Self::Tls { .. } => "tls",
            Self::Unreachable { .. } => "unreachable",
        }
    }
}

impl Upstream {
    /// The server at `address`. Nothing is resolved or connected yet.
    pub fn new(address: impl Into<ServerAddress>) -> Self {
        Self { address: address.into(), tls: None, metrics: None }
    }

    /// The same, reached as the settings say. PostgreSQL speaks no TLS over Unix sockets.
    pub fn with_tls(mut self, settings: &TlsSettings, metrics: &Metrics) -> Result<Self, TlsError> {
        if let ServerAddress::Tcp(address) = &self.address {
            self.tls = ServerTls::new(settings, &address.host, metrics)?.map(Arc::new);
        }
        self.metrics = Some(metrics.clone());
        Ok(self)
    }

    /// Reads certificates again now.
    pub fn reload(&self) {
        if let Some(tls) = &self.tls {
            tls.reload();
        }
    }

    /// The server is asked for TLS.
    pub fn asks_for_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Its address as configured.
    pub fn address(&self) -> &ServerAddress {
        &self.address
    }

    /// Opens a connection. All addresses of the name are tried in order, all within `limit`.
    pub async fn connect(&self, limit: Duration) -> Result<Stream, UpstreamError> {
        match tokio::time::timeout(limit, self.connect_any()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(UpstreamError::Timeout { address: self.address.to_string(), limit }),
        }
    }

    async fn connect_any(&self) -> Result<Stream, UpstreamError> {
        match &self.address {
            ServerAddress::Tcp(address) => {
                let stream = self.connect_tcp(address).await?;
                match &self.tls {
                    Some(tls) => self.encrypt(address, stream, tls).await,
                    None => Ok(Stream::Tcp(stream)),
                }
            }
            ServerAddress::Unix(socket) => {
                let connected = UnixStream::connect(socket.path()).await;
                connected.map(Stream::Unix).map_err(|error| self.failed(error))
            }
        }
    }

    /// TLS, or what the settings allow in its place.
    async fn encrypt(
        &self,
        address: &HostPort,
        stream: TcpStream,
        tls: &ServerTls,
    ) -> Result<Stream, UpstreamError> {
        let offered = tls.offer(stream).await;
        if let Some(metrics) = &self.metrics {
            match &offered {
                Ok(Offered::Tls(_)) => metrics.handshake(Side::Server, Handshake::Done),
                Ok(Offered::Declined(_)) => metrics.handshake(Side::Server, Handshake::Declined),
                Err(_) => metrics.handshake(Side::Server, Handshake::Failed),
            }
        }
        match offered {
            Ok(Offered::Tls(stream)) => Ok(Stream::Tls(Box::new((*stream).into()))),
            Ok(Offered::Declined(stream)) if tls.mode == ServerMode::Prefer => Ok(Stream::Tcp(stream)),
            Ok(Offered::Declined(_)) => {
                Err(UpstreamError::NoTls { address: self.address.to_string(), mode: tls.mode.name() })
            }
            Err(reason @ HandshakeError::Handshake(_)) if tls.mode == ServerMode::Prefer => {
                // As libpq: what speaks no TLS that this side understands is reached without.
                tracing::warn!(target: targets::UPSTREAM, %reason, "connecting to the server without TLS");
                self.connect_tcp(address).await.map(Stream::Tcp)
            }
            Err(reason) => Err(UpstreamError::Tls { address: self.address.to_string(), reason }),
        }
    }

    async fn connect_tcp(&self, address: &HostPort) -> Result<TcpStream, UpstreamError> {
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host((address.host.as_str(), address.port))
            .await
            .map_err(|reason| UpstreamError::Dns { address: address.to_string(), reason })?
            .collect();
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for candidate in addresses {
            match TcpStream::connect(candidate).await.and_then(|stream| tune(&stream).map(|()| stream)) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(self.failed(last))
    }

    fn failed(&self, reason: io::Error) -> UpstreamError {
        let address = self.address.to_string();
        match reason.kind() {
            io::ErrorKind::ConnectionRefused => UpstreamError::Refused { address },
            _ => UpstreamError::Unreachable { address, reason },
        }
    }
}

/// No delay of small packets, and keepalive so that a vanished peer is noticed.
pub(crate) fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}
