//! Listening sockets and the accept loop.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::shared::Shared;
use super::upstream;
use super::worker::Workers;
use crate::telemetry::targets;

const BACKLOG: i32 = 1024;
/// First and longest pause after a failed accept: without file descriptors the next accept fails at once as well.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Binds a listening socket that a restart can take over at once (SO_REUSEADDR).
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts clients until the process stops.
pub(super) async fn accept(listener: TcpListener, workers: Arc<Workers>, shared: Arc<Shared>) {
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
                upstream::tune(&stream).and_then(|()| stream.into_std()).and_then(|stream| {
                    shared.metrics.connections_total.increment(1);
                    workers.hand_over(stream, peer, &shared.metrics.connections).map_err(io::Error::other)
                })
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
