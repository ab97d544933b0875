//! `WHERE CURRENT OF` has written the row that a cursor stands on.

use super::guards::SiteGuard;
use super::state::Session;
use crate::catalog::Mode;
use crate::observe::{Lookup, RowKey};
use crate::rewrite::plan::{GuardSite, Verb};
use crate::telemetry::metrics::WriteOutcome;

impl Session {
    /// The row of a table that a cursor stands on, if that is certain.
    fn position(&self, name: &str, root_oid: u32) -> Option<RowKey> {
        let cursor = self.cursor(name, self.names.portal(name.as_bytes()))?;
        let at = cursor.shows().at.borrow();
        at.iter().find(|row| row.table == root_oid).cloned()
    }

    /// An UPDATE or DELETE of the row that a cursor stands on has completed. `rows`: how many it has changed, if its tag tells;
    /// `shown`: its own result has shown the row.
    pub fn settle_current_of(
        &mut self,
        site: &GuardSite,
        cursor: &str,
        guard: &SiteGuard,
        rows: Option<u64>,
        shown: bool,
    ) {
        let now = self.now();
        let metrics = self.shared.metrics.clone();
        let table = &site.table;
        if rows == Some(0) {
            return metrics.write(&table.entity, WriteOutcome::PassedZero);
        }
        let row = self.position(cursor, table.root_oid);
        let expected =
            row.as_ref().and_then(|row| guard.rows.iter().find(|r| r.row == *row)).map(|r| r.expected);
        let checked = expected.is_some();
        let known = row.as_ref().map(|row| match expected {
            Some(expected) => self.observations.landed_on(row, &site.sets, expected, now),
            None => self.observations.known_here(row, &site.sets, now),
        });
        let outcome = match known {
            _ if site.self_relative => WriteOutcome::SelfRelative,
            Some(_) if checked && table.settings.mode == Mode::Observe => WriteOutcome::Observed,
            Some(_) if checked => WriteOutcome::Checked,
            Some(Lookup::Unknown(cause)) if guard.by_cursor => {
                metrics.blind_write(&table.root_name, cause.label());
                WriteOutcome::Blind
            }
            _ => {
                metrics.unchecked_write(&table.root_name, site.reason);
                WriteOutcome::Unchecked
            }
        };
        metrics.write(&table.entity, outcome);
        if shown {
            return;
        }
        match (row, known) {
            (Some(row), Some(Lookup::Known { version, .. }))
                if checked
                    && rows == Some(1)
                    && site.verb == Verb::Update
                    && !site.moves_key
                    && !table.moves_versions() =>
            {
                self.observations.wrote_checked(&row, version, &site.sets, now);
            }
            (Some(row), _) if site.verb == Verb::Delete => self.observations.deleted(&row, now),
            (Some(row), _) if !site.moves_key => self.observations.wrote_unchecked(&row, now),
            _ => self.observations.forget_table(table.root_oid),
        }
    }
}
