//! One client: relays bytes both ways between it and the server.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;

use crate::server::Shared;
use crate::telemetry::targets;

/// Serves one client until it or the server is gone, or the process stops.
pub async fn run(mut client: TcpStream, peer: SocketAddr, shared: Arc<Shared>) {
    let mut server = match shared.upstream.connect(shared.settings.connect_timeout).await {
        Ok(server) => server,
        Err(error) => {
            shared.metrics.upstream_error(error.kind());
            tracing::warn!(target: targets::UPSTREAM, %peer, %error, "no connection to the server");
            return;
        }
    };
    tokio::select! {
        outcome = tokio::io::copy_bidirectional(&mut client, &mut server) => {
            if let Err(error) = outcome {
                tracing::debug!(target: targets::SESSION, %peer, %error, "connection lost");
            }
        }
        () = shared.stopping() => {}
    }
}
