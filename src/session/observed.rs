//! Mode `observe`: what `enforce` would have done, told and counted.

use std::time::{Duration, Instant};

use super::state::Session;
use super::written::Basis;
use crate::catalog::{Mode, Table};
use crate::conflict::{ConflictReport, Source};
use crate::observe::context::Unit;
use crate::telemetry::metrics::Observed;

/// When and where the row was seen at the version that a write is based on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sighting {
    pub ago: Duration,
    /// `None`: outside of contexts.
    pub unit: Option<Unit>,
}

impl Sighting {
    pub fn new(at: Instant, unit: Option<Unit>, now: Instant) -> Self {
        Self { ago: now.saturating_duration_since(at), unit }
    }
}

/// What is known of the row that a write in mode `observe` would have been refused for.
pub(crate) struct Expectation {
    pub key: Vec<Box<str>>,
    pub expected: i64,
    pub source: Source,
    pub seen: Option<Sighting>,
}

impl Session {
    /// A report on a row of a table, without its present state.
    pub fn report(&self, table: &Table, row: &Expectation, actual: Option<i64>) -> ConflictReport {
        let (schema, name, version) = table.reported();
        ConflictReport {
            entity: table.entity.to_string(),
            entity_id: row.key.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(","),
            schema: schema.to_owned(),
            table: name.to_owned(),
            version_column: version.to_owned(),
            expected: row.expected,
            actual,
            current_state: None,
            scope: self.observations.name(),
            seen_ago: row.seen.map(|seen| seen.ago),
            seen_in: row.seen.map(|seen| self.shared.units.tell(seen.unit, self.facts.id)),
            source: row.source,
            sqlstate: self.sqlstate_of(row.source),
        }
    }

    /// The SQLSTATE of a conflict whose expectation came from there.
    fn sqlstate_of(&self, source: Source) -> String {
        let settings = &self.shared.settings.conflict;
        let lasting = self.observations.label().is_some() && source == Source::Observed
            || matches!(source, Source::WrittenBack | Source::Hint);
        settings.lasting_sqlstate.as_ref().filter(|_| lasting).unwrap_or(&settings.sqlstate).clone()
    }

    /// A statement in mode `observe` that `enforce` would have checked has landed. `told`: its rows were compared.
    /// `row` finds what was expected of a row.
    pub fn observed(
        &mut self,
        table: &Table,
        basis: Option<&Basis>,
        told: bool,
        row: impl FnOnce(&crate::observe::RowKey) -> Option<Expectation>,
    ) {
        debug_assert_eq!(table.settings.mode, Mode::Observe);
        if let Some(stale) = basis.and_then(Basis::stale)
            && let Some(row) = row(&stale.row)
        {
            return self.would_conflict(table, &row, Some(stale.actual));
        }
        let outcome = if told { Observed::Pass } else { Observed::Unknown };
        self.shared.metrics.observed(&table.entity, outcome);
    }

    /// `enforce` would have refused the statement.
    pub fn would_conflict(&mut self, table: &Table, row: &Expectation, actual: Option<i64>) {
        self.shared.metrics.observed(&table.entity, Observed::WouldConflict);
        let report = self.report(table, row, actual);
        self.event(&report, |event| event.emit_observed());
    }
}
