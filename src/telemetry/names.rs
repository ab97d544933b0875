//! Metric names, in one place. `docs/metrics.md` describes each; a test compares the two.

/// What kind of metric a name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Counter or gauge.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// Its `# HELP` line.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($constant:ident: $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Metric =
                Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };
        )*
        /// All of them.
        pub const ALL: &[Metric] = &[$($constant),*];
    };
}

metrics! {
    CONFLICTS: Counter "version_conflicts_total" ["entity_type", "environment"]
        "Writes refused because the row had another version than expected, or was gone.";
    CONFLICT_RETRIES: Counter "version_conflict_retries_total" ["entity_type", "outcome"]
        "What became of refused writes: whether the same scope wrote the row again within conflict.retry_window.";
    CONFLICTS_BY_USER: Counter "staleguard_conflicts_by_user_total" ["user_id"]
        "Version conflicts in scope context by label; labels beyond metrics.max_users count as other.";
    WRITES: Counter "staleguard_writes_total" ["entity_type", "outcome"]
        "Writes of protected tables by outcome.";
    OBSERVED: Counter "staleguard_observe_total" ["entity_type", "outcome"]
        "Statements in mode observe that enforce would have checked, by what it would have done.";
    UNCHECKED_WRITES: Counter "staleguard_unchecked_writes_total" ["table", "reason"]
        "Writes of protected tables that were let through without a check, by reason.";
    BLIND_WRITES: Counter "staleguard_blind_writes_total" ["table", "cause"]
        "Point writes of rows whose expected version nobody knew, by cause.";
    GUARD_OVERFLOW: Counter "staleguard_guard_overflow_total" ["table"]
        "Known rows whose versions did not go with a guarded write, since there were more than guard_max_rows.";
    GUARD_GONE: Counter "staleguard_guard_gone_total" ["table"]
        "Known rows that a guarded write named and did not find: they are gone.";
    REFUSED_STATEMENTS: Counter "staleguard_refused_statements_total" ["table", "reason"]
        "Statements refused because nothing could check them and a setting lets no such write pass, by reason.";
    ZERO_ROW_PROBES: Counter "staleguard_zero_row_probes_total" ["verdict"]
        "Probes made after a checked write changed no row, by verdict.";
    REWRITE_REJECTED: Counter "staleguard_rewrite_rejected_total" ["sqlstate"]
        "Rewritten statements that the server rejected for the rewrite's sake.";
    CONNECTIONS: Gauge "staleguard_connections" []
        "Client connections open now.";
    CONNECTIONS_TOTAL: Counter "staleguard_connections_total" []
        "Client connections accepted.";
    ACCEPT_ERRORS: Counter "staleguard_accept_errors_total" []
        "Failures to accept a client connection, such as no free file descriptor.";
    UPSTREAM_ERRORS: Counter "staleguard_upstream_errors_total" ["kind"]
        "Failures to reach the server or of an open connection to it, by kind.";
    UPSTREAM_READY: Gauge "staleguard_upstream_ready" []
        "1 while the readiness probes of the server succeed, else 0.";
    TLS_HANDSHAKES: Counter "staleguard_tls_handshakes_total" ["side", "outcome"]
        "TLS handshakes with clients and with the server, by outcome.";
    AUTHENTICATIONS: Counter "staleguard_authentications_total" ["outcome"]
        "Clients that the proxy itself has authenticated or refused, in auth.mode proxy, by outcome.";
    RELOADS: Counter "staleguard_reloads_total" ["outcome"]
        "Times that certificates or users were read again from changed files, by whether they could be used.";
    PROTOCOL_ERRORS: Counter "staleguard_protocol_errors_total" ["source"]
        "Messages that break the protocol, by whose fault they are.";
    SESSIONS_DESYNCED: Counter "staleguard_sessions_desynced_total" []
        "Sessions ended because replies no longer matched the requests.";
    SESSION_PANICS: Counter "staleguard_session_panics_total" []
        "Sessions ended by a bug in the proxy; each of them is worth a report.";
    CATALOG_LOOKS: Counter "staleguard_catalog_looks_total" ["outcome"]
        "Looks at the server's catalog, by outcome.";
    OBSERVATIONS_HELD: Gauge "staleguard_observations_held" []
        "Rows whose version is remembered now, over all connections.";
    OBSERVATIONS_EVICTED: Counter "staleguard_observations_evicted_total" []
        "Observations dropped because a connection reached its bound.";
    OBSERVATIONS_EXPIRED: Counter "staleguard_observations_expired_total" []
        "Observations dropped because they were older than observations.ttl.";
    CONTEXTS: Gauge "staleguard_contexts" []
        "Contexts held now: labels under which rows are remembered.";
    CONTEXT_ROWS: Gauge "staleguard_context_rows" []
        "Rows whose version is remembered now, over all contexts.";
    CONTEXT_BYTES: Gauge "staleguard_context_bytes" []
        "Bytes that the memory of all contexts takes now, estimated upwards.";
    CONTEXT_ROWS_EVICTED: Counter "staleguard_context_rows_evicted_total" []
        "Rows dropped from contexts because one of them or all together reached a bound.";
    CONTEXT_ROWS_EXPIRED: Counter "staleguard_context_rows_expired_total" []
        "Rows dropped from contexts because they, or the whole context, were not used for context.ttl.";
    STORE_UP: Gauge "staleguard_store_up" []
        "1 while the shared store of contexts answers, else 0; absent where contexts are local.";
    STORE_EVENTS: Counter "staleguard_store_events_total" ["outcome"]
        "Events of contexts by whether the shared store has got them.";
    STORE_FETCHES: Counter "staleguard_store_fetches_total" ["outcome"]
        "Times that a write asked the shared store for its rows, by outcome.";
    STORE_FETCH_MICROSECONDS: Counter "staleguard_store_fetch_microseconds_total" []
        "Time that writes have waited for the shared store.";
    STORE_ERRORS: Counter "staleguard_store_errors_total" ["kind"]
        "Failures to reach the shared store of contexts or of a connection to it, by kind.";
    BUILD_INFO: Gauge "staleguard_build_info" ["version"]
        "Always 1; its label tells the version of the program.";
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::telemetry::metrics::{Authenticated, Handshake, Reload, Side};
    use crate::telemetry::{CatalogLook, ErrorSource, WriteOutcome, targets};

    const PAGE: &str = include_str!("../../docs/metrics.md");

    #[test]
    fn the_page_describes_every_metric() {
        for metric in ALL {
            let row = format!("| `{}` | {} |", metric.name, format!("{:?}", metric.kind).to_lowercase());
            let line =
                PAGE.lines().find(|line| line.starts_with(&row)).unwrap_or_else(|| panic!("no row {row}"));
            for word in metric.labels.iter().map(|label| format!("`{label}`")).chain([metric.help.to_owned()])
            {
                assert!(line.contains(&word), "{line}\nlacks {word}");
            }
        }
    }

    #[test]
    fn the_page_describes_fixed_label_values() {
        let outcomes = WriteOutcome::ALL.map(WriteOutcome::label);
        let sources = ErrorSource::ALL.map(ErrorSource::label);
        let looks = CatalogLook::ALL.map(CatalogLook::label);
        let handshakes = Handshake::ALL.map(Handshake::label);
        let sides = Side::ALL.map(Side::label);
        let reloads = Reload::ALL.map(Reload::label);
        let authenticated = Authenticated::ALL.map(Authenticated::label);
        let encryption = handshakes.iter().chain(&sides).chain(&reloads).chain(&authenticated);
        for label in outcomes.iter().chain(&sources).chain(&looks).chain(encryption) {
            assert!(PAGE.contains(&format!("`{label}`")), "{label}");
        }
    }

    #[test]
    fn counters_are_called_total_and_gauges_are_not() {
        for metric in ALL {
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
        }
    }

    #[test]
    fn the_configuration_page_names_every_log_target() {
        let page = include_str!("../../docs/configuration.md");
        for target in targets::ALL {
            assert!(page.contains(&format!("`{target}`")), "{target}");
        }
    }
}
