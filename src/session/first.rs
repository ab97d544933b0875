//! The first bytes of a client: requests for encryption and the handshake, up to its first packet of another kind.
//!
//! Order and answers are those of the server's `ProcessSSLStartup` and `ProcessStartupPacket`: TLS is not offered on
//! a Unix socket, each request counts once until the other one was declined, and what a client has sent in plain text
//! behind a request is never taken for something it has sent under encryption.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::refusal::Refusal;
use crate::server::{Peer, Shared, Stream};
use crate::telemetry::metrics::{Handshake, Side};
use crate::telemetry::targets;
use crate::tls::clients::{ClientTls, Shaken};
use crate::wire::buffer::In;
use crate::wire::startup::{Startup, StartupScan, read_startup, scan_startup};

/// How long a client may take for its first packets; the server's own `authentication_timeout` follows.
const FIRST_PACKET_LIMIT: Duration = Duration::from_secs(60);

/// How many SSLRequest and GSSENCRequest packets a client may send.
const MAX_REQUESTS: usize = 4;

/// The first byte of a TLS handshake. No length word of a packet begins with it.
const TLS_RECORD: u8 = 0x16;

/// A client after its first packet.
pub(super) struct Opened {
    pub client: Stream,
    /// What was read behind the packet.
    pub input: In,
    /// What SCRAM binds to the certificate that the client was shown.
    pub end_point: Option<Vec<u8>>,
    /// The client has shown a certificate.
    pub certified: bool,
    pub first: First,
}

/// The first packet that is no request for encryption.
pub(super) enum First {
    Packet(Vec<u8>),
    /// There is none: this is another protocol, or garbage.
    Bad(&'static str),
    /// It is to be told so.
    Refused(Refusal),
}

/// Reads the first packets of a client, within the time limit. `None`: it is gone, or is left without a word.
pub(super) async fn open(client: Stream, peer: Peer, shared: &Shared) -> Option<Opened> {
    let opening = Opening { peer, shared, requests: 0, ssl_done: false, gss_done: false };
    tokio::time::timeout(FIRST_PACKET_LIMIT, opening.run(client)).await.ok()?
}

struct Opening<'a> {
    peer: Peer,
    shared: &'a Shared,
    requests: usize,
    /// An SSLRequest has been answered last.
    ssl_done: bool,
    /// A GSSENCRequest has been answered last, or TLS is spoken.
    gss_done: bool,
}

impl Opening<'_> {
    async fn run(mut self, client: Stream) -> Option<Opened> {
        let mut opened = Opened {
            client,
            input: In::new(),
            end_point: None,
            certified: false,
            first: First::Packet(Vec::new()),
        };
        if let (Stream::Tcp(_), Some(tls)) = (&opened.client, &self.shared.client_tls) {
            opened = self.direct(opened, tls).await?;
        }
        loop {
            let packet = match packet(&mut opened).await? {
                First::Packet(packet) => packet,
                refused => return Some(Opened { first: refused, ..opened }),
            };
            let refused = match read_startup(&packet) {
                Ok(Startup::Ssl) if !self.ssl_done => {
                    opened = self.ssl(opened).await?;
                    self.behind_request(&opened, "received unencrypted data after SSL request")
                }
                Ok(Startup::GssEnc) if !self.gss_done => {
                    (self.ssl_done, self.gss_done) = (false, true);
                    decline(&mut opened.client).await?;
                    self.behind_request(&opened, "received unencrypted data after GSSAPI encryption request")
                }
                Ok(Startup::Ssl) => Some(unsupported("1234.5679")),
                Ok(Startup::GssEnc) => Some(unsupported("1234.5680")),
                _ => return Some(Opened { first: First::Packet(packet), ..opened }),
            };
            if let Some(refusal) = refused {
                return Some(Opened { first: First::Refused(refusal), ..opened });
            }
        }
    }

    /// TLS that begins at once, if the client's first byte says so.
    async fn direct(&self, opened: Opened, tls: &ClientTls) -> Option<Opened> {
        let Stream::Tcp(stream) = opened.client else { return Some(opened) };
        let mut first = [0];
        if stream.peek(&mut first).await.ok()? == 0 {
            return None;
        }
        if first != [TLS_RECORD] {
            return Some(Opened { client: Stream::Tcp(stream), ..opened });
        }
        let shaken = self.handshake(stream, tls).await?;
        if !shaken.alpn {
            // As PostgreSQL, which closes without a word: the client may speak another protocol altogether.
            self.shared.metrics.protocol_error(crate::telemetry::metrics::ErrorSource::Client);
            tracing::info!(target: targets::SESSION, peer = %self.peer,
                "refused a connection: TLS began at once, and the client names no protocol (ALPN)");
            return None;
        }
        Some(Opened {
            client: shaken.stream,
            end_point: shaken.end_point,
            certified: shaken.certified,
            ..opened
        })
    }

    /// Answers an SSLRequest, and shakes hands if the answer is yes.
    async fn ssl(&mut self, mut opened: Opened) -> Option<Opened> {
        self.ssl_done = true;
        match (opened.client, &self.shared.client_tls) {
            (Stream::Tcp(mut stream), Some(tls)) => {
                self.gss_done = true;
                stream.write_all(b"S").await.ok()?;
                let shaken = self.handshake(stream, tls).await?;
                Some(Opened {
                    client: shaken.stream,
                    end_point: shaken.end_point,
                    certified: shaken.certified,
                    ..opened
                })
            }
            (client, _) => {
                opened.client = client;
                self.gss_done = false;
                decline(&mut opened.client).await?;
                Some(opened)
            }
        }
    }

    async fn handshake(&self, stream: TcpStream, tls: &ClientTls) -> Option<Shaken> {
        let limit = self.shared.settings.tls.handshake_timeout;
        let accepted = tokio::time::timeout(limit, tls.accept(stream)).await;
        let outcome = match &accepted {
            Ok(Ok(_)) => Handshake::Done,
            Ok(Err(_)) => Handshake::Failed,
            Err(_) => Handshake::Timeout,
        };
        self.shared.metrics.handshake(Side::Client, outcome);
        match accepted {
            Ok(Ok(shaken)) => Some(shaken),
            Ok(Err(error)) => {
                tracing::info!(target: targets::SESSION, peer = %self.peer, %error, "a client's TLS handshake failed");
                None
            }
            Err(_) => {
                tracing::info!(target: targets::SESSION, peer = %self.peer, ?limit, "a client's TLS handshake took too long");
                None
            }
        }
    }

    /// What was sent along with a request in plain text was sent before the client could know the answer: it may
    /// be someone else's (CVE-2021-23222).
    fn behind_request(&mut self, opened: &Opened, message: &str) -> Option<Refusal> {
        self.requests += 1;
        if !opened.input.is_empty() {
            return Some(Refusal {
                sqlstate: "08P01",
                message: message.to_owned(),
                detail: Some(
                    "This could be either a client-software bug or evidence of an attempted man-in-the-middle attack.",
                ),
            });
        }
        (self.requests > MAX_REQUESTS).then(|| Refusal::new("08P01", "too many requests for encryption"))
    }
}

async fn decline(client: &mut Stream) -> Option<()> {
    client.write_all(b"N").await.ok()?;
    client.flush().await.ok()
}

/// The next whole packet. What follows it stays in the input.
async fn packet(opened: &mut Opened) -> Option<First> {
    loop {
        match scan_startup(opened.input.data()) {
            StartupScan::Incomplete => match opened.client.read_buf(opened.input.spare()).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            },
            StartupScan::Malformed { .. } => {
                return Some(First::Bad("invalid length of startup packet"));
            }
            StartupScan::Packet(len) => {
                let packet = opened.input.data().get(..len).unwrap_or_default().to_vec();
                opened.input.consume(len);
                return Some(First::Packet(packet));
            }
        }
    }
}

/// A request that comes a second time counts as a version of the protocol, of which there is none.
fn unsupported(version: &str) -> Refusal {
    Refusal::new("0A000", format!("unsupported frontend protocol {version}: server supports 3.0 to 3.0"))
}
