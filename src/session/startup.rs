//! From accept to the server's answer to the start-up packet.
//!
//! GSSENCRequest and SSLRequest are answered `N`; a CancelRequest goes to the server as it is; a start-up
//! packet opens the server connection and is forwarded byte for byte, so that the server itself judges
//! versions, options and passwords.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::state::{Buffers, Facts, Session};
use crate::catalog::views::ViewKey;
use crate::server::{Shared, forward_cancel};
use crate::telemetry::metrics::ErrorSource;
use crate::telemetry::targets;
use crate::wire::buffer::{In, Out};
use crate::wire::startup::{Startup, StartupError, StartupScan, read_startup, scan_startup};

/// How long a client may take for its first packets; the server's own `authentication_timeout` follows.
const FIRST_PACKET_LIMIT: Duration = Duration::from_secs(60);

/// What a connection turned out to be.
pub(super) enum Started {
    /// An ordinary session.
    Session { client: TcpStream, server: TcpStream, session: Box<Session>, buffers: Box<Buffers> },
    /// A replication connection: its bytes are nobody's business.
    Replication { client: TcpStream, server: TcpStream },
}

/// Reads the first packets. `None`: the connection is dealt with.
pub(super) async fn start(mut client: TcpStream, peer: SocketAddr, shared: &Arc<Shared>) -> Option<Started> {
    let mut input = In::new();
    let first = tokio::select! {
        first = tokio::time::timeout(FIRST_PACKET_LIMIT, first_packet(&mut client, &mut input)) => first.ok()?,
        () = shared.stopping() => return None,
    };
    let packet = match first {
        First::Packet(packet) => packet,
        First::Gone => return None,
        First::Bad(message) => {
            shared.metrics.protocol_error(ErrorSource::Client);
            tracing::info!(target: targets::SESSION, %peer, message, "refused a connection");
            // Nothing for the client: the server closes such a connection, and tells its log alone.
            return None;
        }
        First::Again(code) => {
            shared.metrics.protocol_error(ErrorSource::Client);
            tracing::info!(target: targets::SESSION, %peer, code, "encryption was asked for twice");
            let message = format!("unsupported frontend protocol 1234.{code}");
            refuse(&mut client, "0A000", &message).await;
            return None;
        }
    };
    let startup = match read_startup(&packet) {
        Ok(startup) => startup,
        Err(error @ StartupError::CancelLength { .. }) => {
            shared.metrics.protocol_error(ErrorSource::Client);
            tracing::info!(target: targets::SESSION, %peer, %error, "refused a connection");
            return None;
        }
        Err(error) => {
            // Terminators amiss: the server has words for that; it needs the packet for them.
            tracing::info!(target: targets::SESSION, %peer, %error, "unusual start-up packet passed on");
            Startup::Unknown { code: 0 }
        }
    };
    if let Startup::Cancel { .. } = startup {
        if let Err(error) = forward_cancel(&packet, &shared.upstream, shared.settings.connect_timeout).await {
            tracing::warn!(target: targets::SESSION, %peer, %error, "a cancel request did not reach the server");
        }
        return None;
    }
    let mut server = match shared.upstream.connect(shared.settings.connect_timeout).await {
        Ok(server) => server,
        Err(error) => {
            shared.metrics.upstream_error(error.kind());
            shared.views.outdate_all();
            tracing::warn!(target: targets::UPSTREAM, %peer, %error, "no connection to the server");
            refuse(&mut client, "08006", &format!("staleguard could not connect to the server: {error}"))
                .await;
            return None;
        }
    };
    let text =
        |value: Option<&[u8]>| value.map(|v| String::from_utf8_lossy(v).into_owned()).unwrap_or_default();
    if startup.replication() {
        if server.write_all(&packet).await.is_err() || server.write_all(input.data()).await.is_err() {
            refuse(&mut client, "08006", "the server closed the connection during start-up").await;
            return None;
        }
        return Some(Started::Replication { client, server });
    }
    let mut options = Vec::new();
    for name in ["options", "search_path", "role", "session_authorization"] {
        options.extend_from_slice(startup.param(name).unwrap_or_default());
        options.push(0);
    }
    let facts = Facts {
        begun: std::time::Instant::now(),
        id: shared.next_session_id(),
        peer,
        user: text(startup.user()),
        database: text(startup.database()),
        application_name: text(startup.application_name()),
        view_key: ViewKey {
            database: startup.database().unwrap_or_default().into(),
            user: startup.user().unwrap_or_default().into(),
            options: options.into(),
        },
        settings: shared
            .labels
            .settings
            .iter()
            .filter_map(|name| Some((name.as_str().into(), startup.setting(name)?.into())))
            .collect(),
    };
    let mut buffers = Box::new(Buffers { client_in: input, ..Buffers::default() });
    buffers.server_out.extend(&packet);
    let mut session = Box::new(Session::new(shared.clone(), facts));
    session.old_protocol = packet.get(4..6).is_some_and(|major| *major < [0, 3][..]);
    Some(Started::Session { client, server, session, buffers })
}

enum First {
    Packet(Vec<u8>),
    Gone,
    Bad(&'static str),
    /// A second request for encryption of the kind with this code, which the server takes for a protocol version.
    Again(u16),
}

/// The first packet that is no request for encryption. What follows it stays in `input`.
async fn first_packet(client: &mut TcpStream, input: &mut In) -> First {
    let (mut ssl, mut gss) = (false, false);
    loop {
        match scan_startup(input.data()) {
            StartupScan::Incomplete => match client.read_buf(input.spare()).await {
                Ok(0) | Err(_) => return First::Gone,
                Ok(_) => continue,
            },
            StartupScan::Malformed { .. } => return First::Bad("invalid length of startup packet"),
            StartupScan::Packet(len) => {
                let packet = input.data().get(..len).unwrap_or_default().to_vec();
                input.consume(len);
                let (asked, code) = match read_startup(&packet) {
                    Ok(Startup::Ssl) => (&mut ssl, 5679),
                    Ok(Startup::GssEnc) => (&mut gss, 5680),
                    _ => return First::Packet(packet),
                };
                if std::mem::replace(asked, true) {
                    return First::Again(code);
                }
                if client.write_all(b"N").await.is_err() {
                    return First::Gone;
                }
            }
        }
    }
}

/// Tells a client that it is not served, and closes.
async fn refuse(client: &mut TcpStream, sqlstate: &str, message: &str) {
    let mut out = Out::new();
    super::fatal(&mut out, sqlstate, message);
    let _ = client.write_all(out.pending()).await;
    let _ = client.shutdown().await;
}
