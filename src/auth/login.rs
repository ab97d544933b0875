//! The exchange with the server: logs a client's session in by what the proxy knows of the user.

use std::io;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::BytesMut;
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::scram::{KeyClient, KeyError, proved};
use super::{AuthError, Credential, Login, random};
use crate::server::Stream;
use crate::wire::auth::{self, Authentication, SCRAM, SCRAM_PLUS, read_authentication};
use crate::wire::buffer::In;
use crate::wire::frame::{Scan, scan};
use crate::wire::tag::back;

/// The longest message that a server sends before it has authenticated anyone, as libpq has it.
const MAX_MESSAGE: usize = 30_000;

/// The most rounds of hashing that a server may ask for: the session's core does nothing else meanwhile.
const MAX_ROUNDS: u32 = 1_000_000;

/// The rounds that a challenge asks for.
fn rounds(challenge: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(challenge).ok()?;
    text.split(',').find_map(|part| part.strip_prefix("i="))?.parse().ok()
}

/// Why a session was not logged in.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The server's own error, whole frame: for the client to read.
    #[error("the server refuses the login")]
    Refused(Vec<u8>),
    /// The connection failed.
    #[error("the connection broke during the login: {0}")]
    Io(#[from] io::Error),
    /// It took too long.
    #[error("the server did not answer the login within {0:?}")]
    Timeout(Duration),
    /// Its messages make no sense.
    #[error("the server's login messages make no sense")]
    Malformed,
    /// The server asks for something that the proxy does not have, or does not send.
    #[error("the server asks for {0}")]
    Asks(&'static str),
    /// By keys.
    #[error("the login by the client's own keys failed: {0}")]
    Keys(#[from] KeyError),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] AuthError),
}

impl Login {
    /// Sends the client's start-up packet and answers what the server asks. What is left in the buffer begins with
    /// AuthenticationOk, or with what the server has said before it: for the client.
    pub async fn log_in(
        self,
        server: &mut Stream,
        startup: &[u8],
        limit: Duration,
    ) -> Result<In, LoginError> {
        tokio::time::timeout(limit, self.exchange(server, startup))
            .await
            .unwrap_or(Err(LoginError::Timeout(limit)))
    }

    async fn exchange(self, server: &mut Stream, startup: &[u8]) -> Result<In, LoginError> {
        let end_point = server.peer_certificate().and_then(crate::tls::end_point::of);
        let mut answer = Answers { login: &self, end_point, state: State::Begun };
        let mut out = BytesMut::from(startup);
        let mut early = Vec::new();
        let mut input = In::new();
        loop {
            if !out.is_empty() {
                server.write_all(&out).await?;
                server.flush().await?;
                out.clear();
            }
            let len = whole(server, &mut input).await?;
            let frame = input.data().get(..len).unwrap_or_default();
            let body = frame.get(5..).unwrap_or_default();
            match frame.first() {
                Some(&back::AUTHENTICATION) => {
                    let asked = read_authentication(body).ok_or(LoginError::Malformed)?;
                    if asked == Authentication::Ok {
                        if !answer.may_end() {
                            return Err(KeyError::Unproved.into());
                        }
                        return Ok(in_front(&early, input));
                    }
                    answer.to(&asked, server, &mut out)?;
                    input.consume(len);
                }
                Some(&back::ERROR) => return Err(LoginError::Refused(frame.to_vec())),
                Some(&(back::NOTICE | back::NEGOTIATE_VERSION)) => {
                    early.extend_from_slice(frame);
                    input.consume(len);
                }
                _ => return Err(LoginError::Malformed),
            }
        }
    }
}

/// What was said early, and what is in the buffer.
fn in_front(early: &[u8], input: In) -> In {
    if early.is_empty() {
        return input;
    }
    let mut all = In::new();
    all.spare().extend_from_slice(early);
    all.spare().extend_from_slice(input.data());
    all
}

/// Reads until a whole frame is there; its length.
async fn whole(server: &mut Stream, input: &mut In) -> Result<usize, LoginError> {
    loop {
        match scan(input.data()) {
            Scan::Malformed => return Err(LoginError::Malformed),
            Scan::Frame { len, .. } if len > MAX_MESSAGE => return Err(LoginError::Malformed),
            Scan::Frame { len, .. } if input.len() >= len => return Ok(len),
            Scan::Frame { .. } | Scan::Incomplete => {}
        }
        if server.read_buf(input.spare()).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
}

enum State {
    /// Nothing has been answered.
    Begun,
    /// A password has been sent.
    Sent,
    /// SCRAM by password.
    Scram(Box<ScramSha256>),
    /// SCRAM by keys: the nonce, and whether it is bound to the certificate.
    Keys(String, bool),
    /// The message that proves the server's own knowledge.
    Expects(String),
    /// SCRAM is over: the server has proved that it knows the secret.
    Proved,
}

/// What is answered to the server.
struct Answers<'a> {
    login: &'a Login,
    end_point: Option<Vec<u8>>,
    state: State,
}

impl Answers<'_> {
    /// The server may say that all is well: it has not begun SCRAM, or has ended it. What began and is not proved may
    /// be someone else's server.
    fn may_end(&self) -> bool {
        matches!(self.state, State::Begun | State::Sent | State::Proved)
    }

    fn to(
        &mut self,
        asked: &Authentication<'_>,
        server: &Stream,
        out: &mut BytesMut,
    ) -> Result<(), LoginError> {
        let state = std::mem::replace(&mut self.state, State::Sent);
        let written = match (asked, state, &self.login.credential) {
            (Authentication::Cleartext | Authentication::Md5(_), State::Begun, _)
                if server.is_plain_tcp() =>
            {
                return Err(LoginError::Asks(
                    "a password in a form that others on the network could use, over a connection without TLS",
                ));
            }
            (Authentication::Cleartext, State::Begun, Credential::Password(password)) => {
                auth::password(out, password.as_bytes())
            }
            (Authentication::Md5(salt), State::Begun, Credential::Password(password)) => {
                let hash = md5_hash(self.login.user.as_bytes(), password.as_bytes(), *salt);
                auth::password(out, hash.as_bytes())
            }
            (Authentication::Cleartext | Authentication::Md5(_), State::Begun, Credential::Keys(..)) => {
                return Err(LoginError::Asks("the password, of which the proxy has a verifier only"));
            }
            (Authentication::Sasl(offered), State::Begun, credential) => {
                let bound = self.end_point.clone().filter(|_| offered.contains(&SCRAM_PLUS.as_bytes()));
                let mechanism = if bound.is_some() { SCRAM_PLUS } else { SCRAM };
                if !offered.contains(&mechanism.as_bytes()) {
                    return Err(LoginError::Asks("a SASL mechanism other than SCRAM-SHA-256"));
                }
                match credential {
                    Credential::Password(password) => {
                        let binding = match bound {
                            Some(hash) => ChannelBinding::tls_server_end_point(hash),
                            None => ChannelBinding::unsupported(),
                        };
                        let scram = ScramSha256::new(password.as_bytes(), binding);
                        let written = auth::sasl_initial(out, mechanism, scram.message());
                        self.state = State::Scram(Box::new(scram));
                        written
                    }
                    Credential::Keys(verifier, keys) => {
                        let nonce = BASE64.encode(random::<18>()?);
                        let is_bound = bound.is_some();
                        let first = KeyClient::new(verifier, keys, bound, nonce.clone()).first();
                        self.state = State::Keys(nonce, is_bound);
                        auth::sasl_initial(out, mechanism, &first)
                    }
                }
            }
            (Authentication::SaslContinue(message), State::Scram(mut scram), _) => {
                if rounds(message).is_none_or(|rounds| rounds > MAX_ROUNDS) {
                    return Err(LoginError::Malformed);
                }
                scram.update(message).map_err(|_| LoginError::Malformed)?;
                let written = auth::sasl_response(out, scram.message());
                self.state = State::Scram(scram);
                written
            }
            (
                Authentication::SaslContinue(message),
                State::Keys(nonce, is_bound),
                Credential::Keys(verifier, keys),
            ) => {
                let bound = self.end_point.clone().filter(|_| is_bound);
                let (last, expected) = KeyClient::new(verifier, keys, bound, nonce).last(message)?;
                self.state = State::Expects(expected);
                auth::sasl_response(out, last.as_bytes())
            }
            (Authentication::SaslFinal(message), State::Scram(mut scram), _) => {
                scram.finish(message).map_err(|_| KeyError::Unproved)?;
                self.state = State::Proved;
                true
            }
            (Authentication::SaslFinal(message), State::Expects(expected), _) => {
                proved(&expected, message)?;
                self.state = State::Proved;
                true
            }
            (Authentication::Other(_), ..) => {
                return Err(LoginError::Asks("a way of authentication that the proxy does not know"));
            }
            _ => return Err(LoginError::Malformed),
        };
        if written { Ok(()) } else { Err(LoginError::Malformed) }
    }
}
