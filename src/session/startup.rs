//! From accept to the server's answer to the start-up packet.
//!
//! A CancelRequest goes to the server as it is; a start-up packet opens the server connection and is forwarded byte
//! for byte, so that the server itself judges versions, options and, unless `auth.mode` is `proxy`, passwords.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;

use super::admit;
use super::first::{self, First, Opened};
use super::refusal::Refusal;
use super::state::{Buffers, Facts, Session};
use crate::auth::clients::Applicant;
use crate::catalog::views::ViewKey;
use crate::server::{Peer, Shared, Stream, forward_cancel};
use crate::telemetry::metrics::ErrorSource;
use crate::telemetry::targets;
use crate::wire::startup::{Startup, StartupError, read_startup};

/// What a connection turned out to be.
pub(super) enum Started {
    /// An ordinary session.
    Session { client: Stream, server: Stream, session: Box<Session>, buffers: Box<Buffers> },
    /// A replication connection: its bytes are nobody's business.
    Replication { client: Stream, server: Stream },
}

/// Reads the first packets. `None`: the connection is dealt with.
pub(super) async fn start(client: Stream, peer: Peer, shared: &Arc<Shared>) -> Option<Started> {
    let opened = tokio::select! {
        opened = first::open(client, peer, shared) => opened?,
        () = shared.stopping() => return None,
    };
    let Opened { mut client, mut input, end_point, certified, first } = opened;
    let packet = match first {
        First::Packet(packet) => packet,
        First::Refused(refusal) => {
            shared.metrics.protocol_error(ErrorSource::Client);
            tracing::info!(target: targets::SESSION, %peer, message = refusal.message, "refused a connection");
            refusal.send(&mut client).await;
            return None;
        }
        First::Bad(message) => {
            shared.metrics.protocol_error(ErrorSource::Client);
            // Nothing for the client: the server closes such a connection, and tells its log alone.
            tracing::info!(target: targets::SESSION, %peer, message, "refused a connection");
            return None;
        }
    };
    let text =
        |value: Option<&[u8]>| value.map(|v| String::from_utf8_lossy(v).into_owned()).unwrap_or_default();
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
    if let Some(refusal) = admit::lacks_tls(&client, certified, peer, &startup, shared) {
        tracing::info!(target: targets::SESSION, %peer, message = refusal.message, "refused a connection");
        refusal.send(&mut client).await;
        return None;
    }
    let login = match &shared.authenticator {
        None => None,
        Some(authenticator) => {
            let (user, database) = (text(startup.user()), text(startup.database()));
            let applicant = Applicant {
                client: &mut client,
                input: &mut input,
                end_point: end_point.as_deref(),
                peer,
                user: &user,
                database: &database,
            };
            Some(admit::authenticate(authenticator, applicant, shared).await?)
        }
    };
    let mut server = match shared.upstream.connect(shared.settings.connect_timeout).await {
        Ok(server) => server,
        Err(error) => {
            shared.metrics.upstream_error(error.kind());
            shared.views.outdate_all();
            tracing::warn!(target: targets::UPSTREAM, %peer, %error, "no connection to the server");
            let message = format!("staleguard could not connect to the server: {error}");
            Refusal::new("08006", message).send(&mut client).await;
            return None;
        }
    };
    // What the server has said already, beginning with AuthenticationOk.
    let said = match login {
        None => None,
        Some(login) => Some(admit::log_in(login, &mut client, &mut server, &packet, peer, shared).await?),
    };
    if startup.replication() {
        let begins = if said.is_some() { &[] } else { packet.as_slice() };
        let said = said.unwrap_or_default();
        let passed = async {
            server.write_all(&[begins, input.data()].concat()).await?;
            server.flush().await?;
            client.write_all(said.data()).await?;
            client.flush().await
        };
        if passed.await.is_err() {
            let message = "the server closed the connection during start-up";
            Refusal::new("08006", message).send(&mut client).await;
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
    match said {
        Some(said) => buffers.server_in = said,
        None => buffers.server_out.extend(&packet),
    }
    let mut session = Box::new(Session::new(shared.clone(), facts));
    session.old_protocol = packet.get(4..6).is_some_and(|major| *major < [0, 3][..]);
    Some(Started::Session { client, server, session, buffers })
}
