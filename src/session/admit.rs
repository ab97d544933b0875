//! Who gets a session: clients that come as the settings ask, and in `auth.mode` `proxy` those that are who they say.

use tokio::io::AsyncWriteExt;

use super::refusal::Refusal;
use crate::auth::clients::{Applicant, Failure};
use crate::auth::login::LoginError;
use crate::auth::{Authenticator, Login};
use crate::server::{Peer, Shared, Stream};
use crate::telemetry::metrics::Authenticated;
use crate::telemetry::targets;
use crate::wire::buffer::In;
use crate::wire::startup::Startup;

/// What a client is told that comes without the encryption or certificate that the settings ask for: PostgreSQL's own
/// words where `pg_hba.conf` has nothing but `hostssl`.
pub(super) fn lacks_tls(
    client: &Stream,
    certified: bool,
    peer: Peer,
    startup: &Startup<'_>,
    shared: &Shared,
) -> Option<Refusal> {
    let tls = shared.client_tls.as_ref()?;
    let name = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
    match client {
        Stream::Tcp(_) if tls.required => Some(Refusal::new(
            "28000",
            format!(
                "no pg_hba.conf entry for host \"{}\", user \"{}\", database \"{}\", no encryption",
                peer.host(),
                name(startup.user()),
                name(startup.database()),
            ),
        )),
        Stream::Tls(_) if tls.certified && !certified => {
            Some(Refusal::new("28000", "connection requires a valid client certificate"))
        }
        _ => None,
    }
}

/// Finds out whether a client is who it says. `None`: it is not, and has been told so, or is gone. It has no session, and
/// gets none.
pub(super) async fn authenticate(
    authenticator: &Authenticator,
    applicant: Applicant<'_>,
    shared: &Shared,
) -> Option<Login> {
    let peer = applicant.peer;
    let outcome = tokio::select! {
        outcome = authenticator.authenticate(applicant, shared) => outcome,
        () = shared.stopping() => return None,
    };
    let (client, failure) = match outcome {
        Ok(login) => return Some(login),
        Err(failed) => failed,
    };
    match failure {
        Failure::Gone => shared.metrics.authentication(Authenticated::Gone),
        Failure::Refused { sqlstate, message } => {
            shared.metrics.authentication(Authenticated::Refused);
            tracing::info!(target: targets::SESSION, %peer, sqlstate, message, "a client was not authenticated");
            Refusal::new(sqlstate, message).send(client).await;
        }
    }
    None
}

/// Logs the session of a client in that is who it says; what the server has said, from AuthenticationOk on. `None`: the
/// server does not let it in, and the client has been told so, in the server's own words if it had any.
pub(super) async fn log_in(
    login: Login,
    client: &mut Stream,
    server: &mut Stream,
    packet: &[u8],
    peer: Peer,
    shared: &Shared,
) -> Option<In> {
    let error = match login.log_in(server, packet, shared.settings.connect_timeout).await {
        Ok(said) => {
            shared.metrics.authentication(Authenticated::Done);
            return Some(said);
        }
        Err(error) => error,
    };
    shared.metrics.authentication(Authenticated::NoLogin);
    shared.metrics.upstream_error("login");
    tracing::warn!(target: targets::UPSTREAM, %peer, %error, "a session was not logged in to the server");
    match error {
        LoginError::Refused(frame) => {
            let _ = client.write_all(&frame).await;
            let _ = client.shutdown().await;
        }
        other => {
            let message = format!("staleguard could not log in to the server: {other}");
            Refusal::new("08006", message).send(client).await;
        }
    }
    None
}
