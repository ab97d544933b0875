//! Settings, their checks, and where they come from.
//!
//! Precedence: command line flags, then `STALEGUARD_*` environment variables, then the file, then the
//! built-in defaults. [`keys`] is the one table that names every setting: its flag, its variable, its
//! default, what it allows and how it is read all follow from it.

pub mod address;
pub mod auth;
pub mod file;
pub mod keys;
pub mod load;
pub mod origin;
pub mod scopes;
pub mod tables;
pub mod tls;
pub mod value;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

pub use address::{HostPort, ListenAddress, ServerAddress};
pub use load::{Loaded, load};
pub use origin::{ConfigError, Origin};
use tables::TableDefaults;

use crate::catalog::TableSettings;
pub use crate::catalog::{Blind, Mode};

/// Everything that can be configured, defaults applied and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Addresses that PostgreSQL clients connect to. Port 0 lets the system choose one.
    pub listen: Vec<ListenAddress>,
    /// Permissions of the Unix sockets that clients connect to.
    pub unix_socket_permissions: u32,
    /// The PostgreSQL server. Only `serve` cannot do without it: see [`Settings::upstream`].
    pub upstream: Option<ServerAddress>,
    /// Address of `/metrics`, `/health` and `/ready`.
    pub http: SocketAddr,
    /// The `environment` label of `version_conflicts_total`.
    pub environment: String,
    /// Worker threads, each with its own runtime.
    pub workers: usize,
    /// Time limit for connecting to the upstream, name resolution included.
    pub connect_timeout: Duration,
    /// Time limit for each message exchange of the proxy's own: catalog look, probe, failing statement.
    pub own_message_timeout: Duration,
    /// Time between two readiness probes of the upstream.
    pub probe_interval: Duration,
    /// Bounds of what is remembered.
    pub observations: ObservationSettings,
    /// What is done with the statements of the tables whose entries do not say.
    pub mode: Mode,
    /// What becomes of blind writes of the tables whose entries do not say.
    pub blind: Blind,
    /// Whose observations count.
    pub scopes: scopes::ScopeSettings,
    /// Known rows that travel with one guarded statement at most.
    pub guard_max_rows: usize,
    /// What becomes of a write whose clauses are not certain.
    pub on_unparsed: OnUnparsed,
    /// The conflict error.
    pub conflict: ConflictSettings,
    /// Users whose conflicts have a metric series of their own at most.
    pub max_users: usize,
    /// The log.
    pub log: LogSettings,
    /// Who authenticates clients.
    pub auth: auth::AuthSettings,
    /// Encryption.
    pub tls: tls::TlsSettings,
    /// The looks at the server's catalog.
    pub catalog: CatalogSettings,
    /// The tables to protect, in the order given.
    pub tables: Vec<Arc<TableSettings>>,
}

/// Bounds of what one connection remembers about rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservationSettings {
    /// Rows per connection; the least recently used go first.
    pub max_rows_per_connection: usize,
    /// Bytes per connection; the least recently used rows go first.
    pub max_bytes_per_connection: usize,
    /// How long an observation counts.
    pub ttl: Duration,
    /// How long a refused observation that rests only on the connection's own write is kept.
    pub conflict_hold: Duration,
}

/// The conflict error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConflictSettings {
    /// Its SQLSTATE: five characters 0-9 A-Z, never of a class that means success.
    pub sqlstate: String,
    /// SQLSTATE of conflicts that a repeat of the transaction cannot mend; `None`: the same.
    pub lasting_sqlstate: Option<String>,
    /// How long after a conflict a write of the same row by the same scope counts as its retry.
    pub retry_window: Duration,
}

/// What becomes of a statement that may write a protected table, and whose clauses are not certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnUnparsed {
    /// It is sent as it is, counted and logged.
    #[default]
    Pass,
    /// It is refused.
    Reject,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// A line for people.
    Human,
}

/// The log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// How lines look.
    pub format: LogFormat,
    /// Which events are written.
    pub level: LogLevel,
}

/// Which events are written: a level, and levels of single targets (`info,staleguard::session=debug`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLevel {
    /// For every target that is not named.
    pub all: tracing::level_filters::LevelFilter,
    /// By target prefix.
    pub targets: Vec<(String, tracing::level_filters::LevelFilter)>,
}

/// The looks at the server's catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogSettings {
    /// A view older than this is renewed before the next protected statement outside a transaction.
    pub max_age: Duration,
}

impl Settings {
    /// What the entries of tables inherit.
    pub fn table_defaults(&self) -> TableDefaults {
        TableDefaults { mode: self.mode, blind: self.blind }
    }

    /// The upstream, or the error that says how to name it.
    pub fn upstream(&self) -> Result<&ServerAddress, ConfigError> {
        self.upstream.as_ref().ok_or(ConfigError::Missing {
            key: "upstream",
            allowed: keys::UPSTREAM_ALLOWED,
            flag: "--upstream",
            variable: "STALEGUARD_UPSTREAM",
        })
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: vec![ListenAddress::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 6442)))],
            unix_socket_permissions: 0o777,
            upstream: None,
            http: SocketAddr::from((Ipv4Addr::LOCALHOST, 9642)),
            environment: "production".to_owned(),
            workers: std::thread::available_parallelism().map_or(1, usize::from),
            connect_timeout: Duration::from_secs(5),
            own_message_timeout: Duration::from_secs(5),
            probe_interval: Duration::from_secs(2),
            observations: ObservationSettings {
                max_rows_per_connection: 10_000,
                max_bytes_per_connection: 4 * 1024 * 1024,
                ttl: Duration::from_secs(3600),
                conflict_hold: Duration::from_secs(60),
            },
            mode: Mode::default(),
            blind: Blind::default(),
            scopes: scopes::ScopeSettings::default(),
            guard_max_rows: 1000,
            on_unparsed: OnUnparsed::default(),
            conflict: ConflictSettings {
                sqlstate: "40001".to_owned(),
                lasting_sqlstate: None,
                retry_window: Duration::from_secs(300),
            },
            max_users: 100,
            log: LogSettings {
                format: LogFormat::Json,
                level: LogLevel { all: tracing::level_filters::LevelFilter::INFO, targets: Vec::new() },
            },
            auth: auth::AuthSettings::default(),
            tls: tls::TlsSettings::default(),
            catalog: CatalogSettings { max_age: Duration::from_secs(5) },
            tables: tables::built_in(TableDefaults::default()),
        }
    }
}

#[cfg(test)]
mod tests;
