//! The connection, and what the server says, as a person reads it. Passwords are never shown.

use std::error::Error as _;
use std::fmt;

use tokio::task::JoinHandle;
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, NoTls, Socket};

use super::OLDEST_SERVER;
use crate::config::tls::{Negotiation, ServerMode, TlsSettings};
use crate::tls::TlsError;
use crate::tls::postgres::{self, MakeTls};

/// What the server, or the connection to it, said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerError {
    /// SQLSTATE; none if it was the connection that failed.
    pub sqlstate: Option<String>,
    /// The text, with DETAIL and HINT where there are any.
    pub text: String,
    /// The connection is gone.
    pub connection_lost: bool,
}

impl ServerError {
    pub(super) fn is(&self, state: &SqlState) -> bool {
        self.sqlstate.as_deref() == Some(state.code())
    }
}

impl From<tokio_postgres::Error> for ServerError {
    fn from(e: tokio_postgres::Error) -> Self {
        if let Some(db) = e.as_db_error() {
            let mut text = db.message().to_owned();
            for (label, more) in [("detail", db.detail()), ("hint", db.hint())] {
                if let Some(more) = more {
                    text.push_str(&format!("; {label}: {}", more.replace('\n', ", ")));
                }
            }
            // Class 57P0x: the server ends the session with this very message.
            let connection_lost = e.is_closed() || db.code().code().starts_with("57P0");
            return Self { sqlstate: Some(db.code().code().to_owned()), text, connection_lost };
        }
        let mut text = e.to_string();
        let mut cause = e.source();
        while let Some(c) = cause {
            text.push_str(&format!(": {c}"));
            cause = c.source();
        }
        Self { sqlstate: None, text, connection_lost: true }
    }
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.sqlstate {
            Some(code) => write!(f, "{code} {}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// Why nothing could be begun.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The connection string cannot be read. Its text is not shown: it may hold a password.
    #[error(
        "the connection string cannot be read{reason}; it looks like \
         postgres://user:password@host:5432/database, with special characters of the password as %XX"
    )]
    BadDsn {
        /// What is known to hold no part of the text.
        reason: String,
    },
    /// Certificates and keys.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No connection.
    #[error("cannot connect to {target}: {error}{hint}")]
    Connect {
        /// Hosts, ports and database.
        target: String,
        /// The reason.
        error: ServerError,
        /// What may help.
        hint: &'static str,
    },
    /// A server that would rewrite the tables.
    #[error(
        "the server is PostgreSQL {version}: before version 11 adding a column with a default rewrites the \
         whole table under an exclusive lock, so nothing was done"
    )]
    TooOld {
        /// As the server calls itself.
        version: String,
    },
    /// The first questions failed.
    #[error("cannot read the server's version: {error}")]
    Version {
        /// The reason.
        error: ServerError,
    },
}

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    /// To ask with.
    pub client: Client,
    /// The server's version as it calls itself.
    pub server_version: String,
    driver: JoinHandle<()>,
}

impl Connection {
    /// Says goodbye and waits until the connection is closed.
    pub async fn close(self) {
        drop(self.client);
        let _ = self.driver.await;
    }
}

/// Connects inside a tokio runtime. `password` counts where the connection string has none; TLS is spoken if the settings
/// or the connection string ask for it.
pub async fn connect(
    dsn: &str,
    password: Option<&str>,
    tls: &TlsSettings,
) -> Result<Connection, ConnectError> {
    let mut config: Config = dsn.parse().map_err(|e| bad_dsn(&e))?;
    if let Some(p) = password.filter(|_| config.get_password().is_none()) {
        config.password(p);
    }
    if config.get_application_name().is_none() {
        config.application_name("staleguard migrate");
    }
    let target = target(&config);
    let asked = postgres::ssl_mode(tls, config.get_ssl_mode());
    config.ssl_mode(asked);
    if tls.server >= ServerMode::Require && tls.server_negotiation == Negotiation::Direct {
        config.ssl_negotiation(SslNegotiation::Direct);
    }
    let opened = if asked == SslMode::Require || tls.server == ServerMode::Prefer {
        open(&config, MakeTls::new(tls)?).await
    } else {
        open(&config, NoTls).await
    };
    let (client, driver) = opened.map_err(|e| {
        let error = ServerError::from(e);
        let hint = if error.text.contains("password missing") {
            "; put the password into the connection string or into PGPASSWORD"
        } else {
            ""
        };
        ConnectError::Connect { target: target.clone(), error, hint }
    })?;
    let row = client
        .query_typed_one(
            "SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int4, \
             pg_catalog.current_setting('server_version')",
            &[],
        )
        .await
        .map_err(|e| ConnectError::Version { error: e.into() })?;
    let read = |e: tokio_postgres::Error| ConnectError::Version { error: e.into() };
    let number: i32 = row.try_get(0).map_err(read)?;
    let server_version: String = row.try_get(1).map_err(read)?;
    if number < OLDEST_SERVER {
        return Err(ConnectError::TooOld { version: server_version });
    }
    Ok(Connection { client, server_version, driver })
}

async fn open<T>(config: &Config, tls: T) -> Result<(Client, JoinHandle<()>), tokio_postgres::Error>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
{
    let (client, connection) = config.connect(tls).await?;
    // What the driver would report here is also the answer to whichever question is open then.
    let driver = tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok((client, driver))
}

/// Only reasons of a fixed wording are passed on: others quote parts of the string.
fn bad_dsn(e: &tokio_postgres::Error) -> ConnectError {
    let cause = e.source().map(ToString::to_string).unwrap_or_default();
    let reason =
        if cause.starts_with("invalid value for option") { format!(" ({cause})") } else { String::new() };
    ConnectError::BadDsn { reason }
}

fn target(config: &Config) -> String {
    use tokio_postgres::config::Host;
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .enumerate()
        .map(|(i, host)| {
            let port = config.get_ports().get(i).or(config.get_ports().first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(path) => format!("{}/.s.PGSQL.{port}", path.display()),
            }
        })
        .collect();
    let hosts = if hosts.is_empty() { "no host".to_owned() } else { hosts.join(", ") };
    format!("{hosts}, database {}", config.get_dbname().or(config.get_user()).unwrap_or("(default)"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_bad_connection_string_does_not_leak_its_password() {
        for dsn in ["postgres://u:hush#1@h/db", "postgres://u:p/hush@h:x/db", "password=a hush=b", "hush"] {
            let Err(e) = dsn.parse::<Config>() else { continue };
            assert!(!bad_dsn(&e).to_string().contains("hush"), "{dsn}");
        }
    }

    #[test]
    fn the_target_names_no_password() {
        let config: Config = "postgres://u:hush@h1:1,h2:2/db".parse().unwrap();
        assert_eq!(target(&config), "h1:1, h2:2, database db");
    }
}
