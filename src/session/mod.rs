//! One client: from its first packet to its last.
//!
//! Three stages, each a type or function of its own: the start-up packet ([`startup`]), then one
//! [`state::Session`] between two sockets ([`relay`]), which passes authentication through and then looks at
//! every statement. The session itself does no I/O and never awaits: `client.rs` and `server.rs` take frames
//! from one buffer and put frames into another, so no reply of the proxy's own can overtake the server's. What is kept
//! with each request until it is answered is in `detail.rs`, what its answer means in `replies.rs`; `extended.rs` and
//! `bind.rs` send the messages of the extended protocol.

use std::sync::Arc;

use crate::server::{Peer, Shared, Stream};
use crate::wire::buffer::Out;
use crate::wire::build;

mod admit;
mod after;
mod again;
mod bind;
mod client;
mod current_of;
mod cursors;
mod detail;
mod effects;
mod errors;
mod extended;
mod fetch;
mod first;
mod guards;
mod held;
mod hold;
mod in_flight;
mod learn;
mod local;
mod look;
mod measure;
mod observed;
mod own;
mod passing;
mod prepared;
pub mod queue;
mod refusal;
mod refuse;
mod relay;
mod replies;
mod results;
mod server;
mod settle;
mod shared_store;
mod sql_prepared;
mod startup;
mod state;
mod suspect;
mod tell;
mod verdict;
mod whose;
mod writes;
mod written;

/// Serves one client until it or the server is gone, or the process stops.
pub async fn run(client: Stream, peer: Peer, shared: Arc<Shared>) {
    let Some(started) = startup::start(client, peer, &shared).await else { return };
    match started {
        startup::Started::Session { client, server, session, buffers } => {
            relay::relay(client, server, *session, *buffers).await;
        }
        startup::Started::Replication { mut client, mut server } => {
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                () = shared.stopping() => {}
            }
        }
    }
}

/// Writes a FATAL ErrorResponse of the proxy's own.
pub(crate) fn fatal(out: &mut Out, sqlstate: &str, message: &str) {
    let fields = [(b'S', "FATAL"), (b'V', "FATAL"), (b'C', sqlstate), (b'M', message)];
    let fields: Vec<(u8, String)> =
        fields.into_iter().map(|(code, value)| (code, value.to_owned())).collect();
    put(build::error_response(out.as_bytes_mut(), &fields));
}

/// Takes a builder's word that it has written its frame. It would not with a NUL inside a string or past the
/// 1 GB limit, which names and texts read from frames cannot have.
pub(crate) fn put(written: bool) {
    if !written {
        tracing::error!(target: crate::telemetry::targets::SESSION, "a message of the proxy's own could not be built");
    }
}

/// Writes a frame from its tag and body.
pub(crate) fn frame_out(out: &mut Out, tag: u8, body: &[u8]) {
    out.extend(&[tag]);
    out.extend(&u32::try_from(body.len() + 4).unwrap_or(u32::MAX).to_be_bytes());
    out.extend(body);
}
