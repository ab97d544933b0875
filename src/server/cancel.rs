//! Passing a client's CancelRequest on.
//!
//! One client connection is one server connection and BackendKeyData passes through, so the packet names the right
//! backend as it is, whatever the length of its key (protocol 3.2 allows up to 256 bytes).

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::upstream::{Upstream, UpstreamError};

/// Why a CancelRequest did not get through. The client is told nothing, as with PostgreSQL itself.
#[derive(Debug, thiserror::Error)]
pub enum CancelError {
    /// No connection.
    #[error("the cancel request could not be passed on: {0}")]
    Connect(#[from] UpstreamError),
    /// The connection failed.
    #[error("the cancel request could not be passed on: {0}")]
    Io(#[from] io::Error),
    /// The server did not close the connection in time.
    #[error("the server did not confirm the cancel request within {0:?}")]
    Timeout(Duration),
}

/// Sends the CancelRequest `packet` (length word included, verbatim) over a new connection and waits until the
/// server closes it: that is when the backend has been told. `limit` holds for connecting and for the rest, each.
pub async fn forward_cancel(packet: &[u8], upstream: &Upstream, limit: Duration) -> Result<(), CancelError> {
    let mut stream = upstream.connect(limit).await?;
    let exchange = async {
        stream.write_all(packet).await?;
        stream.flush().await?;
        // The server answers nothing; whatever it might send is of no interest.
        let mut discarded = [0u8; 64];
        loop {
            match stream.read(&mut discarded).await {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                // A server that closes hard has closed all the same.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                Err(error) => return Err(CancelError::Io(error)),
            }
        }
    };
    tokio::time::timeout(limit, exchange).await.unwrap_or(Err(CancelError::Timeout(limit)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use tokio::net::TcpListener;

    use super::*;
    use crate::config::HostPort;

    async fn server() -> (TcpListener, Upstream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, Upstream::new(HostPort { host: "127.0.0.1".to_owned(), port }))
    }

    /// A CancelRequest as protocol 3.2 has it: the key is longer than four bytes.
    const PACKET: [u8; 20] = [0, 0, 0, 20, 4, 210, 22, 46, 0, 0, 1, 0, 9, 8, 7, 6, 5, 4, 3, 2];

    #[tokio::test]
    async fn the_packet_arrives_as_it_is_and_the_close_is_awaited() {
        let (listener, upstream) = server().await;
        let forward = forward_cancel(&PACKET, &upstream, Duration::from_secs(60));
        tokio::pin!(forward);
        let receive = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut packet = [0u8; PACKET.len()];
            stream.read_exact(&mut packet).await.unwrap();
            (stream, packet)
        };
        let (stream, packet) = tokio::select! {
            received = receive => received,
            ended = &mut forward => panic!("ended before the server closed: {ended:?}"),
        };
        assert_eq!(packet, PACKET);
        drop(stream);
        forward.await.unwrap();
    }

    #[tokio::test]
    async fn a_server_that_is_silent_or_away_is_an_error() {
        let (listener, upstream) = server().await;
        let error = forward_cancel(&PACKET, &upstream, Duration::from_millis(20)).await.unwrap_err();
        assert!(matches!(error, CancelError::Timeout(_)), "{error}");
        drop(listener);
        let error = forward_cancel(&PACKET, &upstream, Duration::from_secs(60)).await.unwrap_err();
        assert!(matches!(error, CancelError::Connect(UpstreamError::Refused { .. })), "{error}");
    }
}
