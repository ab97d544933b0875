//! The one table of all settings. Flags, environment variables, `check-config` and the tests of the reference
//! page follow from it.

use std::time::Duration;

use super::Settings;
use super::address::{ListenAddress, ServerAddress};
use super::auth::AUTH_KEYS;
use super::scopes::SCOPE_KEYS;
use super::tls::TLS_KEYS;
use super::value::{self, Raw};

/// One setting.
pub struct Key {
    /// Its name in the file, sections joined with dots.
    pub name: &'static str,
    /// Its default as one would write it; what is not a value stands in parentheses.
    pub default: &'static str,
    /// What is allowed, as the end of "expected ..".
    pub allowed: &'static str,
    /// What it means: one line, the flag's help.
    pub meaning: &'static str,
    /// Reads the value into the settings; `None` where it is not allowed.
    pub set: fn(&mut Settings, &Raw) -> Option<()>,
}

impl Key {
    /// Its command line flag without the dashes: `conflict-sqlstate`.
    pub fn flag(&self) -> String {
        self.name.replace(['.', '_'], "-")
    }

    /// Its environment variable: `STALEGUARD_CONFLICT_SQLSTATE`.
    pub fn variable(&self) -> String {
        format!("STALEGUARD_{}", self.name.replace('.', "_").to_ascii_uppercase())
    }
}

/// What `upstream` allows.
pub const UPSTREAM_ALLOWED: &str = "HOST:PORT, such as 127.0.0.1:5432, db.internal:5432 or [::1]:5432, \
     or the folder of a Unix socket, such as /var/run/postgresql:5432";

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Name of the setting that lists the tables. It is read apart, for its entries have settings of their own: see
/// [`super::tables`].
pub const TABLES: &str = "tables";

/// All settings but the tables.
pub fn keys() -> impl Iterator<Item = &'static Key> + Clone {
    KEYS.iter().chain(SCOPE_KEYS).chain(TLS_KEYS).chain(AUTH_KEYS)
}

const KEYS: &[Key] = &[
    Key {
        name: "listen",
        default: "127.0.0.1:6442",
        allowed: "one IP:PORT or several different ones, such as 127.0.0.1:6442 or [::]:6442; port 0 lets the system choose; \
                  or the folder of a Unix socket, such as /run/staleguard:6442",
        meaning: "Addresses that PostgreSQL clients connect to",
        set: |s, raw| value::list(raw, ListenAddress::read).map(|v| s.listen = v),
    },
    Key {
        name: "unix_socket_permissions",
        default: "0777",
        allowed: "an octal number from 0600 to 0777, such as 0770",
        meaning: "Permissions of the Unix sockets that listen names: who may write to a socket may connect",
        set: |s, raw| value::permissions(raw).map(|v| s.unix_socket_permissions = v),
    },
    Key {
        name: "upstream",
        default: "(none: has to be given)",
        allowed: UPSTREAM_ALLOWED,
        meaning: "The PostgreSQL server",
        set: |s, raw| ServerAddress::read(raw).map(|v| s.upstream = Some(v)),
    },
    Key {
        name: "http",
        default: "127.0.0.1:9642",
        allowed: "an IP:PORT, such as 127.0.0.1:9642; port 0 lets the system choose",
        meaning: "Address of /metrics, /health and /ready",
        set: |s, raw| value::address(raw).map(|v| s.http = v),
    },
    Key {
        name: "environment",
        default: "production",
        allowed: "text that is not empty",
        meaning: "The environment label of version_conflicts_total",
        set: |s, raw| value::text(raw).map(|v| s.environment = v),
    },
    Key {
        name: "workers",
        default: "(one for each processor core)",
        allowed: "an integer from 1 to 1024",
        meaning: "Worker threads; a client's session lives on one of them",
        set: |s, raw| value::integer(raw, 1, 1024).map(|v| s.workers = v),
    },
    Key {
        name: "connect_timeout",
        default: "5s",
        allowed: "a duration from 1ms to 1h with its unit, such as 500ms or 5s",
        meaning: "Time limit for connecting to the server, name resolution included",
        set: |s, raw| value::duration(raw, MILLISECOND, HOUR).map(|v| s.connect_timeout = v),
    },
    Key {
        name: "own_message_timeout",
        default: "5s",
        allowed: "a duration from 1ms to 1h with its unit, such as 500ms or 5s",
        meaning: "Time limit for each message exchange of the proxy's own: catalog look, probe, failing statement",
        set: |s, raw| value::duration(raw, MILLISECOND, HOUR).map(|v| s.own_message_timeout = v),
    },
    Key {
        name: "probe_interval",
        default: "2s",
        allowed: "a duration from 10ms to 1h with its unit, such as 500ms or 2s",
        meaning: "Time between two readiness probes of the server",
        set: |s, raw| value::duration(raw, 10 * MILLISECOND, HOUR).map(|v| s.probe_interval = v),
    },
    Key {
        name: "mode",
        default: "enforce",
        allowed: value::MODES,
        meaning: "What is done with the statements of protected tables: check and bump; bump and report; or nothing, as if they were not configured",
        set: |s, raw| value::mode(raw).map(|v| s.mode = v),
    },
    Key {
        name: "blind",
        default: "allow",
        allowed: value::BLIND,
        meaning: "Writes of rows whose expected version nobody knows: they land and are counted, or are refused",
        set: |s, raw| value::blind(raw).map(|v| s.blind = v),
    },
    Key {
        name: "guard_max_rows",
        default: "1000",
        allowed: "an integer from 1 to 100000",
        meaning: "Rows whose known versions go with one guarded statement at most; rows beyond are not checked, and counted",
        set: |s, raw| value::integer(raw, 1, 100_000).map(|v| s.guard_max_rows = v),
    },
    Key {
        name: "on_unparsed",
        default: "pass",
        allowed: "pass or reject",
        meaning: "Statements that may write a protected table and whose clauses are not certain: sent as they are and counted, or refused",
        set: |s, raw| value::on_unparsed(raw).map(|v| s.on_unparsed = v),
    },
    Key {
        name: "observations.max_rows_per_connection",
        default: "10000",
        allowed: "an integer from 1 to 100000000",
        meaning: "Rows that one connection remembers; the least recently used go first",
        set: |s, raw| value::integer(raw, 1, 100_000_000).map(|v| s.observations.max_rows_per_connection = v),
    },
    Key {
        name: "observations.max_bytes_per_connection",
        default: "4MiB",
        allowed: "a number of bytes from 1KiB to 64GiB, such as 65536 or 4MiB",
        meaning: "Bytes that one connection's memory of rows may take; the least recently used rows go first",
        set: |s, raw| {
            value::bytes(raw, 1 << 10, 64 << 30).map(|v| s.observations.max_bytes_per_connection = v)
        },
    },
    Key {
        name: "observations.ttl",
        default: "1h",
        allowed: "a duration from 1s to 24h with its unit, such as 90s or 1h",
        meaning: "How long a row that was seen counts as seen",
        set: |s, raw| value::duration(raw, SECOND, DAY).map(|v| s.observations.ttl = v),
    },
    Key {
        name: "observations.conflict_hold",
        default: "60s",
        allowed: "a duration from 0s to 24h with its unit, such as 90s or 1h",
        meaning: "How long a refused observation that rests only on the connection's own write is kept",
        set: |s, raw| value::duration(raw, Duration::ZERO, DAY).map(|v| s.observations.conflict_hold = v),
    },
    Key {
        name: "conflict.sqlstate",
        default: "40001",
        allowed: "five characters 0-9 A-Z, not of the classes 00, 01 and 02, such as 40001 or OL409",
        meaning: "SQLSTATE of the conflict error",
        set: |s, raw| value::sqlstate(raw).map(|v| s.conflict.sqlstate = v),
    },
    Key {
        name: "conflict.lasting_sqlstate",
        default: "(that of conflict.sqlstate)",
        allowed: "five characters 0-9 A-Z, not of the classes 00, 01 and 02, such as PT409 or OL409; or nothing",
        meaning: "SQLSTATE of conflicts that a repeat of the transaction cannot mend: in scope context, of a version written back, of a hint",
        set: |s, raw| {
            s.conflict.lasting_sqlstate = match raw {
                Raw::Text(text) if text.is_empty() => None,
                raw => Some(value::sqlstate(raw)?),
            };
            Some(())
        },
    },
    Key {
        name: "conflict.retry_window",
        default: "5m",
        allowed: "a duration from 1s to 24h with its unit, such as 90s or 5m",
        meaning: "How long after a conflict a write of the same row by the same scope counts as its retry",
        set: |s, raw| value::duration(raw, SECOND, DAY).map(|v| s.conflict.retry_window = v),
    },
    Key {
        name: "metrics.max_users",
        default: "100",
        allowed: "an integer from 0 to 10000",
        meaning: "Users with a series of their own in staleguard_conflicts_by_user_total; the rest are counted as other",
        set: |s, raw| value::integer(raw, 0, 10_000).map(|v| s.max_users = v),
    },
    Key {
        name: "log.format",
        default: "json",
        allowed: "json or human",
        meaning: "How log lines look; the log goes to the standard error stream",
        set: |s, raw| value::log_format(raw).map(|v| s.log.format = v),
    },
    Key {
        name: "log.level",
        default: "info",
        allowed: "off, error, warn, info, debug or trace, with targets of its own behind it where wanted, \
                  such as info,staleguard::session=debug",
        meaning: "Which events are logged",
        set: |s, raw| value::log_level(raw).map(|v| s.log.level = v),
    },
    Key {
        name: "catalog.max_age",
        default: "5s",
        allowed: "a duration from 0s to 1h with its unit, such as 500ms or 5s",
        meaning: "A view of the server's catalog older than this is renewed before the next statement that needs it",
        set: |s, raw| value::duration(raw, Duration::ZERO, HOUR).map(|v| s.catalog.max_age = v),
    },
];
