//! Who authenticates clients.

use std::path::PathBuf;

use super::keys::Key;
use super::tls::path;
use super::value::{self, Raw};

/// Who authenticates clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuthMode {
    /// The server: its messages and the client's pass through.
    #[default]
    PassThrough,
    /// The proxy, which then logs in to the server.
    Proxy,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuthSettings {
    /// Who authenticates clients.
    pub mode: AuthMode,
    /// The file of users and their secrets.
    pub users: Option<PathBuf>,
    /// The query for the secret of a user that the file does not name.
    pub query: Option<String>,
    /// Who asks it.
    pub query_user: Option<String>,
    /// Where; `None`: in the database that the client asks for.
    pub query_database: Option<String>,
}

/// The settings of authentication.
pub const AUTH_KEYS: &[Key] = &[
    Key {
        name: "auth.mode",
        default: "pass-through",
        allowed: "pass-through or proxy",
        meaning: "Who authenticates clients: the server, or the proxy, which then logs in to the server",
        set: |s, raw| {
            s.auth.mode = match value::text(raw)?.as_str() {
                "pass-through" => AuthMode::PassThrough,
                "proxy" => AuthMode::Proxy,
                _ => return None,
            };
            Some(())
        },
    },
    Key {
        name: "auth.users",
        default: "(none)",
        allowed: "the path of a file, or nothing",
        meaning: "Users and their secrets, in the form of pgbouncer's userlist.txt",
        set: |s, raw| path(raw).map(|v| s.auth.users = v),
    },
    Key {
        name: "auth.query",
        default: "(none)",
        allowed: "a SELECT of two columns with one parameter, or nothing",
        meaning: "The query for name and secret of a user that auth.users does not name",
        set: |s, raw| text(raw).map(|v| s.auth.query = v),
    },
    Key {
        name: "auth.query_user",
        default: "(none)",
        allowed: "the name of a user, or nothing",
        meaning: "Who asks auth.query; auth.users has its password",
        set: |s, raw| text(raw).map(|v| s.auth.query_user = v),
    },
    Key {
        name: "auth.query_database",
        default: "(the client's)",
        allowed: "the name of a database, or nothing",
        meaning: "Where auth.query is asked",
        set: |s, raw| text(raw).map(|v| s.auth.query_database = v),
    },
];

/// A text; none where it is empty.
fn text(raw: &Raw) -> Option<Option<String>> {
    match raw {
        Raw::Text(text) if text.is_empty() => Some(None),
        raw => value::text(raw).map(Some),
    }
}
