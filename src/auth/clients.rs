//! The exchange with a client: SCRAM, by the secret that the proxy has of the user.
//!
//! A user who is unknown, or whose secret is none by which SCRAM can authenticate, meets the same exchange as a known one,
//! over a mock verifier, and the same error behind it.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::scram::{Breach, Server, Verifier};
use super::users::Secret;
use super::{Authenticator, Credential, Login, random};
use crate::server::{Peer, Shared, Stream, Upstream};
use crate::telemetry::targets;
use crate::wire::auth::{self, SCRAM, SCRAM_PLUS, read_sasl_initial};
use crate::wire::buffer::In;
use crate::wire::frame::{Scan, scan};
use crate::wire::tag::front;

/// The longest message of a mechanism, as PostgreSQL has it (`PG_MAX_SASL_MESSAGE_LENGTH`), and its frame.
const MAX_MESSAGE: usize = 1024 + 5;

/// How long a client may take: PostgreSQL's `authentication_timeout`.
const LIMIT: Duration = Duration::from_secs(60);

/// A client that wants to log in.
pub struct Applicant<'a> {
    /// Its connection.
    pub client: &'a mut Stream,
    /// What has been read of it behind its start-up packet.
    pub input: &'a mut In,
    /// What its TLS is bound to.
    pub end_point: Option<&'a [u8]>,
    /// Who it is, for the log.
    pub peer: Peer,
    /// The user that it names.
    pub user: &'a str,
    /// The database that it asks for.
    pub database: &'a str,
}

/// Why a client is not logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It is gone, or has taken too long.
    Gone,
    /// It is to be told so.
    Refused {
        /// SQLSTATE.
        sqlstate: &'static str,
        /// PostgreSQL's words.
        message: String,
    },
}

impl Failure {
    fn refused(sqlstate: &'static str, message: impl Into<String>) -> Self {
        Self::Refused { sqlstate, message: message.into() }
    }

    /// What everyone is told whose proof is wrong, or who is unknown.
    fn wrong(user: &str) -> Self {
        Self::refused("28P01", format!("password authentication failed for user \"{user}\""))
    }
}

impl From<Breach> for Failure {
    fn from(breach: Breach) -> Self {
        Self::refused(breach.sqlstate, breach.message)
    }
}

impl Authenticator {
    /// Authenticates a client, within the time limit. With a failure its connection is handed back.
    pub async fn authenticate<'a>(
        &self,
        mut applicant: Applicant<'a>,
        shared: &Shared,
    ) -> Result<Login, (&'a mut Stream, Failure)> {
        let outcome = match self.secret(&applicant, shared).await {
            Ok(secret) => match tokio::time::timeout(LIMIT, self.exchange(&mut applicant, secret)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(Failure::Gone),
            },
            Err(failure) => Err(failure),
        };
        outcome.map_err(|failure| (applicant.client, failure))
    }

    /// What is known of the user that the client names.
    async fn secret(
        &self,
        applicant: &Applicant<'_>,
        shared: &Shared,
    ) -> Result<Option<Arc<Secret>>, Failure> {
        if applicant.user.is_empty() {
            return Err(Failure::refused("28000", "no PostgreSQL user name specified in startup packet"));
        }
        // A name that is not UTF-8 came with this character in its place: it is nobody's that is known here.
        if applicant.user.contains(char::REPLACEMENT_CHARACTER) {
            return Ok(None);
        }
        match self.in_file(applicant.user) {
            Some(secret) => Ok(Some(secret)),
            None => self.looked_up(applicant, &shared.upstream, shared.settings.connect_timeout).await,
        }
    }

    async fn looked_up(
        &self,
        applicant: &Applicant<'_>,
        upstream: &Upstream,
        limit: Duration,
    ) -> Result<Option<Arc<Secret>>, Failure> {
        let Some(lookup) = &self.lookup else { return Ok(None) };
        let own = self.in_file(&lookup.user);
        let password = match own.as_deref() {
            Some(Secret::Password(password, _)) => Some(password.as_str()),
            _ => None,
        };
        let database = lookup.database.as_deref().unwrap_or(applicant.database);
        match lookup.ask(upstream, password, database, applicant.user, limit).await {
            Ok(secret) => Ok(secret.map(Arc::new)),
            Err(error) => {
                tracing::error!(target: targets::SESSION, peer = %applicant.peer, %error,
                    "the secret of a user could not be looked up");
                Err(Failure::refused("08006", "staleguard could not look up how to authenticate the user"))
            }
        }
    }

    async fn exchange(
        &self,
        applicant: &mut Applicant<'_>,
        secret: Option<Arc<Secret>>,
    ) -> Result<Login, Failure> {
        let known = secret.as_deref().and_then(Secret::verifier);
        let mock = Arc::new(Verifier::mock(&self.mock, applicant.user));
        let verifier = known.clone().unwrap_or(mock);
        let end_point = applicant.end_point;
        let mut out = BytesMut::new();
        let offered: &[&[u8]] = match end_point {
            Some(_) => &[SCRAM_PLUS.as_bytes(), SCRAM.as_bytes()],
            None => &[SCRAM.as_bytes()],
        };
        let written = auth::sasl(&mut out, offered);
        say(applicant, &mut out, written).await?;

        let initial = response(applicant).await?;
        let (mechanism, message) =
            read_sasl_initial(&initial).ok_or(Failure::refused("08P01", "malformed SCRAM message"))?;
        if !offered.contains(&mechanism) {
            return Err(Failure::refused(
                "08P01",
                "client selected an invalid SASL authentication mechanism",
            ));
        }
        let bytes: [u8; 18] = random().map_err(|error| Failure::refused("XX000", error.to_string()))?;
        let server = Server::new(&verifier, end_point);
        let challenged =
            server.challenge(mechanism == SCRAM_PLUS.as_bytes(), message, &BASE64.encode(bytes))?;
        out.clear();
        let written = auth::sasl_continue(&mut out, challenged.message.as_bytes());
        say(applicant, &mut out, written).await?;

        let last = response(applicant).await?;
        let judged = challenged.judge(&last)?;
        // An unknown user's proof cannot fit the mock, and would count for nothing if it did.
        let (Some((answer, keys)), Some(verifier), Some(secret)) = (judged, known, secret) else {
            return Err(Failure::wrong(applicant.user));
        };
        out.clear();
        let written = auth::sasl_final(&mut out, answer.as_bytes());
        say(applicant, &mut out, written).await?;
        let credential = match &*secret {
            Secret::Password(password, _) => Credential::Password(password.clone()),
            Secret::Verifier(_) | Secret::Unusable => Credential::Keys(verifier, keys),
        };
        Ok(Login { user: applicant.user.to_owned(), credential })
    }
}

async fn say(applicant: &mut Applicant<'_>, out: &mut BytesMut, written: bool) -> Result<(), Failure> {
    if !written {
        return Err(Failure::refused("XX000", "a message of staleguard's own could not be built"));
    }
    applicant.client.write_all(out).await.map_err(|_| Failure::Gone)?;
    applicant.client.flush().await.map_err(|_| Failure::Gone)
}

/// The body of the client's next message, which must be a password message.
async fn response(applicant: &mut Applicant<'_>) -> Result<Vec<u8>, Failure> {
    loop {
        match scan(applicant.input.data()) {
            Scan::Frame { tag, .. } if tag != front::PASSWORD => {
                return Err(Failure::refused(
                    "08P01",
                    format!("expected SASL response, got message type {tag}"),
                ));
            }
            Scan::Malformed => return Err(Failure::refused("08P01", "invalid SASL message length")),
            Scan::Frame { len, .. } if len > MAX_MESSAGE => {
                return Err(Failure::refused("08P01", "invalid SASL message length"));
            }
            Scan::Frame { len, .. } if applicant.input.len() >= len => {
                let body = applicant.input.data().get(5..len).unwrap_or_default().to_vec();
                applicant.input.consume(len);
                return Ok(body);
            }
            Scan::Frame { .. } | Scan::Incomplete => {}
        }
        match applicant.client.read_buf(applicant.input.spare()).await {
            Ok(0) | Err(_) => return Err(Failure::Gone),
            Ok(_) => {}
        }
    }
}
