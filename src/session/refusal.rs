//! What a client is told that is not served.

use tokio::io::AsyncWriteExt;

use super::put;
use crate::server::Stream;
use crate::wire::buffer::Out;
use crate::wire::build;

/// A FATAL error of the proxy's own.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub sqlstate: &'static str,
    pub message: String,
    pub detail: Option<&'static str>,
}

impl Refusal {
    pub fn new(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self { sqlstate, message: message.into(), detail: None }
    }

    /// Appends the ErrorResponse.
    pub fn write(&self, out: &mut Out) {
        let mut fields = vec![
            (b'S', "FATAL".to_owned()),
            (b'V', "FATAL".to_owned()),
            (b'C', self.sqlstate.to_owned()),
            // A name of the client's own may be in it.
            (b'M', self.message.replace('\0', "")),
        ];
        fields.extend(self.detail.map(|detail| (b'D', detail.to_owned())));
        put(build::error_response(out.as_bytes_mut(), &fields));
    }

    /// Tells the client, and closes.
    pub async fn send(&self, client: &mut Stream) {
        let mut out = Out::new();
        self.write(&mut out);
        let _ = client.write_all(out.pending()).await;
        let _ = client.flush().await;
        let _ = client.shutdown().await;
    }
}
