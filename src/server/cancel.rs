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
