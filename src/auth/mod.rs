//! Authentication mode `proxy`: the proxy itself authenticates the client, and logs in to the server.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`scram`] | SCRAM-SHA-256 and its form with channel binding, both sides; no I/O |
//! | [`users`] | the file of users and their secrets |
//! | [`lookup`] | the secret of a user that the file does not name, by a query |
//! | [`clients`] | the exchange with a client |
//! | [`login`] | the exchange with the server |
//!
//! The stages are types: a client that has been authenticated is a [`Login`], and only with one can a connection to
//! the server be logged in to. Secrets never reach the log, and none of these types shows one in its `Debug` form.

pub mod clients;
pub mod login;
pub mod lookup;
pub mod scram;
pub mod users;

use std::fmt;
use std::sync::Arc;

use self::lookup::Lookup;
use self::scram::{Keys, Verifier};
use self::users::{Secret, Users, UsersError};
use crate::config::auth::{AuthMode, AuthSettings};
use crate::telemetry::Metrics;
use crate::tls::reload::Reloading;

/// Bytes that are nobody's to guess, from the operating system's own source.
fn random<const N: usize>() -> Result<[u8; N], AuthError> {
    use tokio_rustls::rustls::crypto::SecureRandom;
    let mut bytes = [0; N];
    let provider = tokio_rustls::rustls::crypto::ring::default_provider();
    let source: &dyn SecureRandom = provider.secure_random;
    source.fill(&mut bytes).map_err(|_| AuthError::Random)?;
    Ok(bytes)
}

/// Why clients cannot be authenticated as the settings say.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The file of users.
    #[error(transparent)]
    Users(#[from] UsersError),
    /// Neither a file nor a query.
    #[error("auth.mode = proxy needs users: set auth.users, auth.query or both")]
    NoUsers,
    /// A query without its own login.
    #[error("auth.query needs auth.query_user, a user of the file that auth.users names")]
    NoQueryUser,
    /// The operating system has no random bytes.
    #[error("the operating system gives no random bytes")]
    Random,
}

/// What authenticates clients.
pub struct Authenticator {
    users: Option<Reloading<Users, UsersError>>,
    lookup: Option<Lookup>,
    /// What the mock exchange of an unknown user is made from, so that the same name meets the same salt again.
    mock: [u8; 32],
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").field("users", &self.users).finish_non_exhaustive()
    }
}

impl Authenticator {
    /// Reads the users. `None` where authentication passes through.
    pub fn new(settings: &AuthSettings, metrics: &Metrics) -> Result<Option<Self>, AuthError> {
        if settings.mode == AuthMode::PassThrough {
            return Ok(None);
        }
        let users = match settings.users.clone() {
            None => None,
            Some(path) => {
                let files = vec![path.clone()];
                Some(Reloading::new("users", files, metrics, move || Users::read(&path))?)
            }
        };
        let lookup = match (&settings.query, &settings.query_user) {
            (None, _) => None,
            (Some(query), Some(user)) if users.as_ref().is_some_and(|u| u.get().secret(user).is_some()) => {
                Some(Lookup {
                    query: query.clone(),
                    user: user.clone(),
                    database: settings.query_database.clone(),
                })
            }
            (Some(_), _) => return Err(AuthError::NoQueryUser),
        };
        if users.is_none() && lookup.is_none() {
            return Err(AuthError::NoUsers);
        }
        Ok(Some(Self { users, lookup, mock: random()? }))
    }

    /// Reads the file again now.
    pub fn reload(&self) {
        if let Some(users) = &self.users {
            users.force();
        }
    }

    /// The secret that the file has for a user.
    fn in_file(&self, user: &str) -> Option<Arc<Secret>> {
        self.users.as_ref()?.get().secret(user)
    }
}

/// A client that has been authenticated, and what its session is logged in to the server by.
pub struct Login {
    /// The user.
    pub user: String,
    credential: Credential,
}

/// What the proxy knows of the user.
enum Credential {
    /// The password.
    Password(String),
    /// The keys that the client's own proof has shown, of a verifier that the server has too.
    Keys(Arc<Verifier>, Keys),
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}
