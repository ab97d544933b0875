//! SCRAM-SHA-256 (RFC 5802, RFC 7677) without a network: a server's side, and a client's that knows the keys in place of
//! the password. With channel binding `tls-server-end-point` where there is a certificate to bind to.
//!
//! Messages, checks and errors are those of PostgreSQL's `auth-scram.c`.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// Rounds of PostgreSQL's default.
const ITERATIONS: u32 = 4096;
/// Bytes of PostgreSQL's salts.
const SALT: usize = 16;

type Key = [u8; 32];

fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    // HMAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; 32] };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

fn xor(a: &Key, b: &Key) -> Key {
    let mut out = *a;
    out.iter_mut().zip(b).for_each(|(a, b)| *a ^= b);
    out
}

/// What a server keeps of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: Key,
    server_key: Key,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

impl Verifier {
    /// As `pg_authid` has it: `SCRAM-SHA-256$4096:salt$StoredKey:ServerKey`, each in base64.
    pub fn read(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("SCRAM-SHA-256$")?;
        let (rounds, keys) = rest.split_once('$')?;
        let (iterations, salt) = rounds.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let key = |text: &str| Key::try_from(BASE64.decode(text).ok()?).ok();
        let salt = BASE64.decode(salt).ok()?;
        Some(Self {
            iterations: iterations.parse().ok().filter(|n| *n > 0)?,
            salt: (!salt.is_empty()).then_some(salt)?,
            stored_key: key(stored_key)?,
            server_key: key(server_key)?,
        })
    }

    /// Of a password, with a salt of its own.
    pub fn of_password(password: &str) -> Option<Self> {
        Self::read(&postgres_protocol::password::scram_sha_256(password.as_bytes()))
    }

    /// What an unknown user is shown: the same name meets the same salt each time, and no proof fits it.
    pub fn mock(secret: &Key, user: &str) -> Self {
        let salt = hmac(secret, &[b"salt", user.as_bytes()]);
        Self {
            iterations: ITERATIONS,
            salt: salt.get(..SALT).unwrap_or_default().to_vec(),
            stored_key: hmac(secret, &[b"stored", user.as_bytes()]),
            server_key: hmac(secret, &[b"server", user.as_bytes()]),
        }
    }
}

/// What a client's proof has shown.
#[derive(Clone)]
pub struct Keys {
    client_key: Key,
}

/// What is wrong with a client's messages. A wrong password is not among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breach {
    /// SQLSTATE.
    pub sqlstate: &'static str,
    /// PostgreSQL's words.
    pub message: &'static str,
}

const MALFORMED: Breach = Breach { sqlstate: "08P01", message: "malformed SCRAM message" };
const BINDING: Breach = Breach { sqlstate: "28000", message: "SCRAM channel binding negotiation error" };

/// The server's side, before the client's first message.
pub struct Server<'a> {
    verifier: &'a Verifier,
    /// What the client's TLS is bound to, where the mechanism with channel binding was offered.
    end_point: Option<&'a [u8]>,
}

/// Between its two messages.
pub struct Challenged<'a> {
    verifier: &'a Verifier,
    /// What `c=` must be.
    binding: String,
    client_first_bare: String,
    nonce: String,
    /// The message that the client answers.
    pub message: String,
}

impl<'a> Server<'a> {
    /// An exchange over a verifier. `end_point`: the mechanism with channel binding is offered.
    pub fn new(verifier: &'a Verifier, end_point: Option<&'a [u8]>) -> Self {
        Self { verifier, end_point }
    }

    /// Answers the client's first message. `nonce` is the server's half: printable, without a comma.
    pub fn challenge(&self, plus: bool, message: &[u8], nonce: &str) -> Result<Challenged<'a>, Breach> {
        let message = std::str::from_utf8(message).map_err(|_| MALFORMED)?;
        let (flag, rest) = message.split_once(',').ok_or(MALFORMED)?;
        let (authzid, bare) = rest.split_once(',').ok_or(MALFORMED)?;
        let mut bound = format!("{flag},{authzid},").into_bytes();
        match (flag, plus) {
            ("n", false) => {}
            // The client takes the server for one without channel binding, which it is not.
            ("y", false) if self.end_point.is_some() => return Err(BINDING),
            ("y", false) => {}
            ("p=tls-server-end-point", true) => bound.extend_from_slice(self.end_point.ok_or(MALFORMED)?),
            _ => return Err(MALFORMED),
        }
        if !authzid.is_empty() {
            let message = "client uses authorization identity, but it is not supported";
            return Err(Breach { sqlstate: "0A000", message });
        }
        if bare.starts_with("m=") {
            let message = "client requires an unsupported SCRAM extension";
            return Err(Breach { sqlstate: "0A000", message });
        }
        // The name is that of the start-up packet, as for PostgreSQL.
        let (name, theirs) = bare.split_once(',').ok_or(MALFORMED)?;
        let theirs = theirs.strip_prefix("r=").ok_or(MALFORMED)?;
        let theirs = theirs.split(',').next().unwrap_or_default();
        let printable =
            |text: &str| !text.is_empty() && text.bytes().all(|b| matches!(b, 0x21..=0x2b | 0x2d..=0x7e));
        if !name.starts_with("n=") || !printable(theirs) {
            return Err(MALFORMED);
        }
        let nonce = format!("{theirs}{nonce}");
        let Verifier { iterations, salt, .. } = self.verifier;
        Ok(Challenged {
            verifier: self.verifier,
            binding: BASE64.encode(bound),
            client_first_bare: bare.to_owned(),
            message: format!("r={nonce},s={},i={iterations}", BASE64.encode(salt)),
            nonce,
        })
    }
}

impl Challenged<'_> {
    /// Judges the client's last message: `None` where its proof is wrong; else the server's last message and what the
    /// proof has shown.
    pub fn judge(&self, message: &[u8]) -> Result<Option<(String, Keys)>, Breach> {
        let message = std::str::from_utf8(message).map_err(|_| MALFORMED)?;
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or(MALFORMED)?;
        let mut parts = without_proof.splitn(3, ',');
        let binding = parts.next().and_then(|part| part.strip_prefix("c=")).ok_or(MALFORMED)?;
        let nonce = parts.next().and_then(|part| part.strip_prefix("r=")).ok_or(MALFORMED)?;
        let proof = BASE64.decode(proof).ok().and_then(|p| Key::try_from(p).ok()).ok_or(MALFORMED)?;
        if binding != self.binding {
            return Err(Breach { sqlstate: "28000", message: "SCRAM channel binding check failed" });
        }
        if nonce != self.nonce {
            return Err(Breach { sqlstate: "08P01", message: "invalid SCRAM response" });
        }
        let signed = format!("{},{},{without_proof}", self.client_first_bare, self.message);
        let Verifier { stored_key, server_key, .. } = self.verifier;
        let client_key = xor(&proof, &hmac(stored_key, &[signed.as_bytes()]));
        let shown: Key = Sha256::digest(client_key).into();
        if !bool::from(shown.ct_eq(stored_key)) {
            return Ok(None);
        }
        let signature = hmac(server_key, &[signed.as_bytes()]);
        Ok(Some((format!("v={}", BASE64.encode(signature)), Keys { client_key })))
    }
}

/// A client's side that knows the keys of a verifier which the server has too.
pub struct KeyClient<'a> {
    verifier: &'a Verifier,
    keys: &'a Keys,
    header: Vec<u8>,
    end_point: Option<Vec<u8>>,
    nonce: String,
}

/// Why a login by keys fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The server's messages make no sense.
    #[error("its SCRAM messages make no sense")]
    Malformed,
    /// Salt or rounds are not those of the verifier.
    #[error("it has another verifier for the user than the proxy")]
    OtherVerifier,
    /// It does not prove that it has the verifier.
    #[error("it does not prove that it knows the user's secret")]
    Unproved,
}

impl<'a> KeyClient<'a> {
    /// An exchange; `end_point` binds it to the server's certificate.
    pub fn new(verifier: &'a Verifier, keys: &'a Keys, end_point: Option<Vec<u8>>, nonce: String) -> Self {
        let header = if end_point.is_some() { "p=tls-server-end-point,," } else { "n,," };
        Self { verifier, keys, header: header.into(), end_point, nonce }
    }

    /// The first message.
    pub fn first(&self) -> Vec<u8> {
        [&self.header, self.bare().as_bytes()].concat()
    }

    fn bare(&self) -> String {
        format!("n=,r={}", self.nonce)
    }

    /// The last message, and what the server must answer.
    pub fn last(&self, challenge: &[u8]) -> Result<(String, String), KeyError> {
        let text = std::str::from_utf8(challenge).map_err(|_| KeyError::Malformed)?;
        let mut parts = text.split(',');
        let mut part = |name: &str| parts.next().and_then(|part| part.strip_prefix(name));
        let nonce = part("r=").filter(|r| r.len() > self.nonce.len() && r.starts_with(&self.nonce));
        let nonce = nonce.ok_or(KeyError::Malformed)?;
        let salt = part("s=").and_then(|s| BASE64.decode(s).ok()).ok_or(KeyError::Malformed)?;
        let rounds = part("i=").and_then(|i| i.parse::<u32>().ok()).ok_or(KeyError::Malformed)?;
        let Verifier { iterations, salt: ours, stored_key, server_key } = self.verifier;
        if salt != *ours || rounds != *iterations {
            return Err(KeyError::OtherVerifier);
        }
        let bound = [&self.header, self.end_point.as_deref().unwrap_or_default()].concat();
        let without_proof = format!("c={},r={nonce}", BASE64.encode(bound));
        let signed = format!("{},{text},{without_proof}", self.bare());
        let proof = xor(&self.keys.client_key, &hmac(stored_key, &[signed.as_bytes()]));
        let expected = format!("v={}", BASE64.encode(hmac(server_key, &[signed.as_bytes()])));
        Ok((format!("{without_proof},p={}", BASE64.encode(proof)), expected))
    }
}

/// The server's last message is the one expected.
pub fn proved(expected: &str, message: &[u8]) -> Result<(), KeyError> {
    if bool::from(expected.as_bytes().ct_eq(message)) { Ok(()) } else { Err(KeyError::Unproved) }
}

#[cfg(test)]
mod tests;
