//! Readiness probes of the upstream: connect, SSLRequest, one byte of answer, close.
//!
//! PostgreSQL answers an SSLRequest before it counts connections, so that a server whose connection limit is reached
//! still answers, and a full pool does not take the proxy out of service.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::MissedTickBehavior;

use super::shared::Shared;
use super::upstream::{Upstream, UpstreamError};
use crate::telemetry::health::Readiness;
use crate::telemetry::targets;
use crate::tls::server::SSL_REQUEST;

/// Why a probe failed.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] UpstreamError),
    /// No answer in time.
    #[error("no answer to an SSLRequest within {0:?}")]
    Timeout(Duration),
    /// The connection broke.
    #[error("the connection broke before an SSLRequest was answered: {0}")]
    Io(#[from] io::Error),
    /// Not what PostgreSQL answers.
    #[error("an SSLRequest was answered with byte {0:#04x} in place of S or N: is this PostgreSQL?")]
    Answer(u8),
}

impl ProbeError {
    /// The `kind` label of `staleguard_upstream_errors_total`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Connect(error) => error.kind(),
            Self::Timeout(_) => "probe_timeout",
            Self::Io(_) => "probe_io",
            Self::Answer(_) => "probe_answer",
        }
    }
}

/// One probe. `limit` holds for connecting and for the answer, each.
pub async fn probe(upstream: &Upstream, limit: Duration) -> Result<(), ProbeError> {
    let mut stream = upstream.connect(limit).await?;
    if upstream.asks_for_tls() {
        // The server has answered an SSLRequest, or more.
        return Ok(());
    }
    let exchange = async {
        stream.write_all(&SSL_REQUEST).await?;
        match stream.read_u8().await? {
            b'S' | b'N' => Ok(()),
            other => Err(ProbeError::Answer(other)),
        }
    };
    tokio::time::timeout(limit, exchange).await.unwrap_or(Err(ProbeError::Timeout(limit)))
}

/// Probes for ever, the first time at once.
pub(super) async fn run(shared: Arc<Shared>, readiness: Arc<Readiness>) {
    let mut ticks = tokio::time::interval(shared.settings.probe_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let outcome = probe(&shared.upstream, shared.settings.connect_timeout).await;
        let upstream = shared.upstream.address();
        if let Err(error) = &outcome {
            shared.metrics.upstream_error(error.kind());
            tracing::debug!(target: targets::UPSTREAM, %upstream, %error, "a readiness probe failed");
        }
        let reason = outcome.as_ref().err().map(ToString::to_string);
        match readiness.note(outcome.map_err(|error| error.to_string())) {
            Some(true) => tracing::info!(target: targets::UPSTREAM, %upstream, "the server answers: ready"),
            Some(false) => {
                tracing::warn!(target: targets::UPSTREAM, %upstream, reason, "the server is away: not ready");
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use tokio::net::TcpListener;

    use super::*;
    use crate::config::HostPort;

    async fn probed(answer: Option<&'static [u8]>) -> Result<(), ProbeError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let upstream = Upstream::new(HostPort { host: "localhost".to_owned(), port });
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0u8; 8];
            stream.read_exact(&mut request).await.unwrap();
            assert_eq!(request, SSL_REQUEST);
            match answer {
                Some(bytes) => stream.write_all(bytes).await.unwrap(),
                None => std::future::pending().await,
            }
            drop(stream);
            std::future::pending::<()>().await;
        };
        let limit = if answer.is_some() { Duration::from_secs(60) } else { Duration::from_millis(200) };
        tokio::select! {
            outcome = probe(&upstream, limit) => outcome,
            () = server => panic!("never ends"),
        }
    }

    #[tokio::test]
    async fn what_counts_as_an_answer() {
        assert!(probed(Some(b"S")).await.is_ok());
        assert!(probed(Some(b"N")).await.is_ok());
        assert!(matches!(probed(Some(b"HTTP/1.1 400")).await, Err(ProbeError::Answer(b'H'))));
        assert!(matches!(probed(Some(b"")).await, Err(ProbeError::Io(_))));
        assert!(matches!(probed(None).await, Err(ProbeError::Timeout(_))));
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_says_so() {
        let upstream = Upstream::new(HostPort { host: "no such name".to_owned(), port: 1 });
        let error = probe(&upstream, Duration::from_secs(60)).await.unwrap_err();
        assert_eq!(error.kind(), "dns", "{error}");
    }
}
