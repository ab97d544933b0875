//! The metrics: handles resolved once where the labels are fixed, functions where they are not.

use std::sync::Arc;

use metrics::{Counter, Gauge, Key, Label, Level, Metadata, Recorder, SharedString};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

pub use super::encryption::{Authenticated, Handshake, Reload, Side};
use super::names::{self, Kind, Metric};
use super::store::StoreMetrics;
use crate::catalog::{Mode, TableSettings};
use crate::conflict::RetryOutcome;
use crate::observe::context::Contexts;
use crate::rewrite::plan::Reason;

static METADATA: Metadata<'static> = Metadata::new("staleguard", Level::INFO, None);

/// What became of a write of a protected table. The `outcome` label of `staleguard_writes_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteOutcome {
    /// Landed, and the row had the expected version.
    Checked,
    /// Landed; the statement named the version in its own WHERE.
    Explicit,
    /// Landed; it cannot overwrite anyone's change (`c = c + 1`), so that there was nothing to check.
    SelfRelative,
    /// Landed; nobody knew the expected version.
    Blind,
    /// Landed without a check: see `staleguard_unchecked_writes_total`.
    Unchecked,
    /// Refused.
    Conflict,
    /// Refused: nobody knew the expected version, and the table refuses that.
    Refused,
    /// Changed no row for a reason that is no conflict: the server's own `UPDATE 0` was passed on.
    PassedZero,
    /// Landed in mode `observe`, where it would have been checked: see `staleguard_observe_total`.
    Observed,
}

impl WriteOutcome {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Checked,
        Self::Explicit,
        Self::SelfRelative,
        Self::Blind,
        Self::Unchecked,
        Self::Conflict,
        Self::Refused,
        Self::PassedZero,
        Self::Observed,
    ];

    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Checked => "checked",
            Self::Explicit => "explicit",
            Self::SelfRelative => "self_relative",
            Self::Blind => "blind",
            Self::Unchecked => "unchecked",
            Self::Conflict => "conflict",
            Self::Refused => "blind_refused",
            Self::PassedZero => "passed_zero",
            Self::Observed => "observed",
        }
    }
}

/// What mode `enforce` would have done with a statement in mode `observe`. The `outcome` label of
/// `staleguard_observe_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Observed {
    /// Let it pass.
    Pass,
    /// Refused it.
    WouldConflict,
    /// It cannot be told.
    Unknown,
}

impl Observed {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pass, Self::WouldConflict, Self::Unknown];

    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::WouldConflict => "would_conflict",
            Self::Unknown => "unknown",
        }
    }
}

/// Whose fault a breach of the protocol is. The `source` label of `staleguard_protocol_errors_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorSource {
    /// The client sent it.
    Client,
    /// The server sent it.
    Server,
    /// The proxy's own doing.
    Proxy,
}

impl ErrorSource {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Client, Self::Server, Self::Proxy];

    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Proxy => "proxy",
        }
    }
}

/// What a look at the catalog came to. The `outcome` label of `staleguard_catalog_looks_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CatalogLook {
    /// Found something else than the look before, or was the first.
    Changed,
    /// Found the same.
    Unchanged,
    /// Failed.
    Failed,
}

impl CatalogLook {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Changed, Self::Unchanged, Self::Failed];

    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
        }
    }
}

/// What is known of the contexts as a whole.
#[derive(Clone)]
struct ContextMetrics {
    held: Gauge,
    rows: Gauge,
    bytes: Gauge,
    evicted: Counter,
    expired: Counter,
}

/// The process's metrics. Cheap to clone; every method may be called from any thread.
#[derive(Clone)]
pub struct Metrics {
    recorder: Arc<PrometheusRecorder>,
    environment: SharedString,
    /// `staleguard_connections`.
    pub connections: Gauge,
    /// `staleguard_connections_total`.
    pub connections_total: Counter,
    /// `staleguard_accept_errors_total`.
    pub accept_errors: Counter,
    /// `staleguard_upstream_ready`.
    pub upstream_ready: Gauge,
    /// `staleguard_sessions_desynced_total`.
    pub sessions_desynced: Counter,
    /// `staleguard_session_panics_total`.
    pub session_panics: Counter,
    /// `staleguard_observations_held`.
    pub observations_held: Gauge,
    /// `staleguard_observations_evicted_total`.
    pub observations_evicted: Counter,
    /// `staleguard_observations_expired_total`.
    pub observations_expired: Counter,
    contexts: ContextMetrics,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// Registers and describes everything. The series of `tables` and of fixed labels begin at 0, so that a first
    /// increment shows as one.
    pub fn new(environment: &str, tables: &[Arc<TableSettings>]) -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        for metric in names::ALL {
            match metric.kind {
                Kind::Counter => recorder.describe_counter(metric.name.into(), None, metric.help.into()),
                Kind::Gauge => recorder.describe_gauge(metric.name.into(), None, metric.help.into()),
            }
        }
        let counter = |metric: Metric| recorder.register_counter(&Key::from_name(metric.name), &METADATA);
        let gauge = |metric: Metric| recorder.register_gauge(&Key::from_name(metric.name), &METADATA);
        let metrics = Self {
            connections: gauge(names::CONNECTIONS),
            connections_total: counter(names::CONNECTIONS_TOTAL),
            accept_errors: counter(names::ACCEPT_ERRORS),
            upstream_ready: gauge(names::UPSTREAM_READY),
            sessions_desynced: counter(names::SESSIONS_DESYNCED),
            session_panics: counter(names::SESSION_PANICS),
            observations_held: gauge(names::OBSERVATIONS_HELD),
            observations_evicted: counter(names::OBSERVATIONS_EVICTED),
            observations_expired: counter(names::OBSERVATIONS_EXPIRED),
            contexts: ContextMetrics {
                held: gauge(names::CONTEXTS),
                rows: gauge(names::CONTEXT_ROWS),
                bytes: gauge(names::CONTEXT_BYTES),
                evicted: counter(names::CONTEXT_ROWS_EVICTED),
                expired: counter(names::CONTEXT_ROWS_EXPIRED),
            },
            environment: SharedString::from(environment.to_owned()),
            recorder: Arc::new(recorder),
        };
        metrics.begin_at_zero(tables);
        metrics
    }

    fn begin_at_zero(&self, tables: &[Arc<TableSettings>]) {
        let version = env!("CARGO_PKG_VERSION");
        let key = Key::from_parts(names::BUILD_INFO.name, vec![Label::new("version", version)]);
        self.recorder.register_gauge(&key, &METADATA).set(1.0);
        let contexts = [&self.contexts.held, &self.contexts.rows, &self.contexts.bytes];
        for gauge in
            [&self.connections, &self.upstream_ready, &self.observations_held].into_iter().chain(contexts)
        {
            gauge.set(0.0);
        }
        for table in tables {
            self.conflicts(&table.entity).increment(0);
            for outcome in WriteOutcome::ALL {
                self.writes(&table.entity, outcome).increment(0);
            }
            for outcome in RetryOutcome::ALL {
                self.retries(&table.entity, outcome).increment(0);
            }
            for outcome in Observed::ALL.into_iter().filter(|_| table.mode == Mode::Observe) {
                self.observes(&table.entity, outcome).increment(0);
            }
        }
        for source in ErrorSource::ALL {
            self.labelled(names::PROTOCOL_ERRORS, [source.label().into()]).increment(0);
        }
        for look in CatalogLook::ALL {
            self.labelled(names::CATALOG_LOOKS, [look.label().into()]).increment(0);
        }
    }

    /// Those of the shared store of contexts; they appear once this is called.
    pub fn store(&self) -> StoreMetrics {
        let begin = |counter: Counter| {
            counter.increment(0);
            counter
        };
        let of = |metric: Metric| move |label: &'static str| begin(self.labelled(metric, [label.into()]));
        StoreMetrics::new(
            self.recorder.register_gauge(&Key::from_name(names::STORE_UP.name), &METADATA),
            begin(self.labelled(names::STORE_FETCH_MICROSECONDS, [])),
            of(names::STORE_EVENTS),
            of(names::STORE_FETCHES),
            of(names::STORE_ERRORS),
        )
    }

    /// What became of a refused write: `version_conflict_retries_total`.
    pub fn retry(&self, entity_type: &str, outcome: RetryOutcome) {
        self.retries(entity_type, outcome).increment(1);
    }

    fn retries(&self, entity_type: &str, outcome: RetryOutcome) -> Counter {
        self.labelled(names::CONFLICT_RETRIES, [entity_type.to_owned().into(), outcome.label().into()])
    }

    /// A conflict under a label; `user` is it, or `other`: `staleguard_conflicts_by_user_total`.
    pub fn conflict_of_user(&self, user: &str) {
        self.labelled(names::CONFLICTS_BY_USER, [user.to_owned().into()]).increment(1);
    }

    fn labelled<const N: usize>(&self, metric: Metric, values: [SharedString; N]) -> Counter {
        let labels: Vec<Label> =
            metric.labels.iter().zip(values).map(|(name, value)| Label::new(*name, value)).collect();
        self.recorder.register_counter(&Key::from_parts(metric.name, labels), &METADATA)
    }

    fn conflicts(&self, entity_type: &str) -> Counter {
        self.labelled(names::CONFLICTS, [entity_type.to_owned().into(), self.environment.clone()])
    }

    fn writes(&self, entity_type: &str, outcome: WriteOutcome) -> Counter {
        self.labelled(names::WRITES, [entity_type.to_owned().into(), outcome.label().into()])
    }

    /// A version conflict: `version_conflicts_total`. The write itself is counted by [`Metrics::write`].
    pub fn conflict(&self, entity_type: &str) {
        self.conflicts(entity_type).increment(1);
    }

    /// What became of a write of a protected table: `staleguard_writes_total`.
    pub fn write(&self, entity_type: &str, outcome: WriteOutcome) {
        self.writes(entity_type, outcome).increment(1);
    }

    /// What `enforce` would have done with a statement in mode `observe`: `staleguard_observe_total`.
    pub fn observed(&self, entity_type: &str, outcome: Observed) {
        self.observes(entity_type, outcome).increment(1);
    }

    fn observes(&self, entity_type: &str, outcome: Observed) -> Counter {
        self.labelled(names::OBSERVED, [entity_type.to_owned().into(), outcome.label().into()])
    }

    /// A write let through unchecked: `staleguard_unchecked_writes_total`.
    pub fn unchecked_write(&self, table: &str, reason: Reason) {
        self.labelled(names::UNCHECKED_WRITES, [table.to_owned().into(), reason.label().into()]).increment(1);
    }

    /// A blind write; `cause` is a fixed word such as `never_read`: `staleguard_blind_writes_total`.
    pub fn blind_write(&self, table: &str, cause: &'static str) {
        self.labelled(names::BLIND_WRITES, [table.to_owned().into(), cause.into()]).increment(1);
    }

    /// Known rows that did not go with a guarded write: `staleguard_guard_overflow_total`.
    pub fn guard_overflow(&self, table: &str, rows: u64) {
        self.guard_rows(names::GUARD_OVERFLOW, table, rows);
    }

    /// Known rows that a guarded write did not find: `staleguard_guard_gone_total`.
    pub fn guard_gone(&self, table: &str, rows: u64) {
        self.guard_rows(names::GUARD_GONE, table, rows);
    }

    fn guard_rows(&self, metric: Metric, table: &str, rows: u64) {
        if rows > 0 {
            self.labelled(metric, [table.to_owned().into()]).increment(rows);
        }
    }

    /// A statement refused since nothing could check it; `reason` is a label of [`Reason`]:
    /// `staleguard_refused_statements_total`.
    pub fn refused_statement(&self, table: &str, reason: &str) {
        let labels = [table.to_owned().into(), reason.to_owned().into()];
        self.labelled(names::REFUSED_STATEMENTS, labels).increment(1);
    }

    /// What the contexts hold now and have dropped so far.
    pub fn contexts(&self, contexts: &Contexts) {
        // Sizes fit into the 52 bits that a gauge keeps exactly.
        #[allow(clippy::cast_precision_loss)]
        let set = |gauge: &Gauge, value: usize| gauge.set(value as f64);
        set(&self.contexts.held, contexts.len());
        set(&self.contexts.rows, contexts.rows());
        set(&self.contexts.bytes, contexts.bytes());
        self.contexts.evicted.absolute(contexts.evicted());
        self.contexts.expired.absolute(contexts.expired());
    }

    /// A probe after zero rows; `verdict` is a fixed word: `staleguard_zero_row_probes_total`.
    pub fn zero_row_probe(&self, verdict: &'static str) {
        self.labelled(names::ZERO_ROW_PROBES, [verdict.into()]).increment(1);
    }

    /// A rewritten statement that the server rejected: `staleguard_rewrite_rejected_total`.
    pub fn rewrite_rejected(&self, sqlstate: &str) {
        self.labelled(names::REWRITE_REJECTED, [sqlstate.to_owned().into()]).increment(1);
    }

    /// A failure to reach the server or of a connection to it; `kind` is a fixed word such as
    /// [`crate::server::UpstreamError::kind`]: `staleguard_upstream_errors_total`.
    pub fn upstream_error(&self, kind: &'static str) {
        self.labelled(names::UPSTREAM_ERRORS, [kind.into()]).increment(1);
    }

    /// A breach of the protocol: `staleguard_protocol_errors_total`.
    pub fn protocol_error(&self, source: ErrorSource) {
        self.labelled(names::PROTOCOL_ERRORS, [source.label().into()]).increment(1);
    }

    /// A TLS handshake: `staleguard_tls_handshakes_total`.
    pub fn handshake(&self, side: Side, outcome: Handshake) {
        let labels = [side.label().into(), outcome.label().into()];
        self.labelled(names::TLS_HANDSHAKES, labels).increment(1);
    }

    /// An authentication of the proxy's own: `staleguard_authentications_total`.
    pub fn authentication(&self, outcome: Authenticated) {
        self.labelled(names::AUTHENTICATIONS, [outcome.label().into()]).increment(1);
    }

    /// Files that have changed: `staleguard_reloads_total`.
    pub fn reload(&self, outcome: Reload) {
        self.labelled(names::RELOADS, [outcome.label().into()]).increment(1);
    }

    /// A look at the catalog: `staleguard_catalog_looks_total`.
    pub fn catalog_look(&self, look: CatalogLook) {
        self.labelled(names::CATALOG_LOOKS, [look.label().into()]).increment(1);
    }

    /// What `/metrics` answers.
    pub fn handle(&self) -> PrometheusHandle {
        self.recorder.handle()
    }
}
