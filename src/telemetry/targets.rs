//! Log targets, in one place: what `log.level` can name (`info,staleguard::session=debug`).

/// Start, stop, listeners, workers.
pub const SERVER: &str = "staleguard::server";
/// Reaching the server, readiness probes.
pub const UPSTREAM: &str = "staleguard::upstream";
/// One client's session.
pub const SESSION: &str = "staleguard::session";
/// Version conflicts, one WARNING each.
pub const CONFLICT: &str = "staleguard::conflict";
/// Looks at the server's catalog, and which tables are protected.
pub const CATALOG: &str = "staleguard::catalog";
/// Rewritten statements that the server rejected.
pub const REWRITE: &str = "staleguard::rewrite";
/// Settings.
pub const CONFIG: &str = "staleguard::config";
/// The store that several proxies share.
pub const STORE: &str = "staleguard::store";
/// The HTTP endpoints.
pub const HTTP: &str = "staleguard::http";

/// All of them.
pub const ALL: &[&str] = &[SERVER, UPSTREAM, SESSION, CONFLICT, CATALOG, REWRITE, CONFIG, STORE, HTTP];
