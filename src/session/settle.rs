//! A statement has completed: what its writes mean for what is known, and how they are counted.

use super::guards::{GuardedRow, Guards, SiteGuard};
use super::learn::Learner;
use super::prepared::{Portal, Prepared};
use super::state::Session;
use super::writes::{Stance, Write};
use super::written::Basis;
use crate::conflict::Source;
use crate::observe::{Cause, Lookup, RowKey};
use crate::rewrite::known::Known;
use crate::rewrite::plan::{
    Effect, GuardSite, Operand, Reason, StatementPlan, Touched, UncheckedWrite, Verb,
};
use crate::sql::keys::join_key;
use crate::telemetry::metrics::WriteOutcome;
use crate::wire::read::rows_of_tag;
use std::collections::HashSet;
use std::rc::Rc;

/// A completed statement.
pub(super) struct Done<'a> {
    /// Command tag.
    pub tag: &'a [u8],
    /// Order of sending.
    pub seq: u64,
    /// Of its rows.
    pub learner: Option<&'a Learner>,
    /// What its guards were.
    pub guards: Option<Guards>,
    /// The portal that it fetched from.
    pub portal: Option<Rc<Portal>>,
    /// What an EXECUTE has run.
    pub executed: Option<Rc<Prepared>>,
}

impl Done<'_> {
    /// Root OIDs of tables whose written rows its result has shown.
    pub(super) fn taught(&self) -> &[u32] {
        self.learner.map_or(&[], Learner::written)
    }
}

impl Session {
    /// A statement has completed with this tag.
    pub(super) fn complete(&mut self, statement: &StatementPlan, write: Option<Write>, done: &Done<'_>) {
        let Done { tag, seq, learner, .. } = *done;
        let taught = done.taught();
        if let Some(prepared) = &done.executed {
            if let (Some(acting), Some(guards)) = (prepared.statement(), &done.guards) {
                self.settle_guards(acting, guards, tag, learner);
                self.unchecked(&acting.unchecked, taught);
            }
            let later = self.later_writes(prepared);
            self.unchecked(&later, taught);
            let nested = self.nested_writes(prepared);
            self.unchecked(&nested, taught);
            return self.effect(statement, tag, seq);
        }
        let guarded = write.as_ref().is_none_or(Write::is_guarded);
        let rows = rows_of_tag(tag).unwrap_or(0);
        if let Effect::Fetch { name, moves } = &statement.effect {
            self.cursor_moved(name, done.portal.as_ref(), *moves || rows == 0);
        }
        if let Some(write) = write.filter(|w| !w.is_guarded()) {
            self.settle(&write, rows, done);
        } else if let Some(guards) = done.guards.as_ref().filter(|_| guarded) {
            self.settle_guards(statement, guards, tag, learner);
            self.unchecked(&statement.unchecked, taught);
            return self.effect(statement, tag, seq);
        } else if let Some(point) = &statement.point {
            // Its outcome is settled already, or its key was not looked at.
            self.observations.forget_table(point.table.root_oid);
        }
        if tag != b"INSERT 0 0" {
            self.unchecked(&statement.unguarded(), taught);
        }
        self.effect(statement, tag, seq);
    }

    /// Writes of unknown outcome: counted, and what was known of their rows is forgotten.
    pub(super) fn unchecked(&mut self, writes: &[UncheckedWrite], taught: &[u32]) {
        let now = self.now();
        for write in writes {
            self.shared.metrics.unchecked_write(&write.table, write.reason);
            if write.root_oid == 0 || taught.contains(&write.root_oid) {
                continue;
            }
            match self.literal_rows(write) {
                Some(rows) => rows.iter().for_each(|row| self.observations.wrote_unchecked(row, now)),
                None => self.observations.forget_table(write.root_oid),
            }
        }
    }

    /// The rows of an unchecked write, if its text names them all by constants.
    fn literal_rows(&self, write: &UncheckedWrite) -> Option<Vec<RowKey>> {
        if write.keys.is_empty() {
            return None;
        }
        let row = |key: &Vec<Operand>| {
            let parts: Option<Vec<&str>> = key
                .iter()
                .map(|part| match part {
                    Operand::Literal(text) => Some(&**text),
                    Operand::Param(_) | Operand::Elements(_) => None,
                })
                .collect();
            Some(RowKey::new(write.root_oid, join_key(&parts?)))
        };
        write.keys.iter().map(row).collect()
    }

    /// A point write has completed.
    fn settle(&mut self, write: &Write, rows: u64, done: &Done<'_>) {
        let Some(point) = write.point() else { return };
        let metrics = self.shared.metrics.clone();
        let entity: &str = &point.table.entity;
        let now = self.now();
        let shown = done.taught().contains(&point.table.root_oid);
        if let (Some(row), 1..) = (write.observed(), rows) {
            let basis = done.learner.and_then(|l| l.basis.as_ref());
            // Of a row that matches a version in the statement's own condition that is the version it had.
            let compared = basis.is_some_and(|b| b.compared() > 0) || row.source == Source::Predicate;
            let table = point.table.clone();
            self.observed(&table, basis, compared, |_| Some(row));
        }
        let outcome = match (&write.stance, rows) {
            (Stance::Checked { expected, .. }, 1..) => {
                match &write.row {
                    Some(row) if point.verb == Verb::Delete => self.observations.deleted(row, now),
                    Some(row) if !point.moves_key && !point.table.moves_versions() => {
                        self.observations.wrote_checked(row, *expected, &point.sets, now);
                    }
                    // It has shown what triggers have left.
                    Some(_) if shown && !point.moves_key => {}
                    Some(row) => self.observations.wrote_unchecked(row, now),
                    None => {}
                }
                WriteOutcome::Checked
            }
            (_, 0) => WriteOutcome::PassedZero,
            (Stance::Observed { .. }, _) => {
                if let Some(row) = write.row.as_ref().filter(|_| point.verb == Verb::Delete) {
                    self.observations.deleted(row, now);
                }
                WriteOutcome::Observed
            }
            (Stance::Blind(cause) | Stance::Refused(cause), _) => {
                metrics.blind_write(&point.table.root_name, cause.label());
                WriteOutcome::Blind
            }
            (Stance::SelfRelative, _) => WriteOutcome::SelfRelative,
            (Stance::Explicit { .. }, _) => WriteOutcome::Explicit,
            (Stance::Guarded, _) => WriteOutcome::Checked,
            (Stance::Unchecked(reason), _) => {
                metrics.unchecked_write(&point.table.root_name, *reason);
                WriteOutcome::Unchecked
            }
        };
        metrics.write(entity, outcome);
        if let (Some(row), 1..) = (&write.row, rows) {
            self.landed(row);
        }
        let settled = match write.stance {
            Stance::Checked { .. } => true,
            Stance::Observed { .. } => point.verb == Verb::Delete,
            _ => false,
        };
        if rows > 0 && !shown && !settled {
            match &write.row {
                Some(row) if point.verb == Verb::Delete => self.observations.deleted(row, now),
                Some(row) => self.observations.wrote_unchecked(row, now),
                None => self.observations.forget_table(point.table.root_oid),
            }
        }
        if point.moves_key && rows > 0 {
            // The row now lives under a key that is not worked out here.
            self.observations.forget_table(point.table.root_oid);
        }
    }

    /// Triggers and foreign keys may have changed rows of other tables, or more rows of this one.
    pub(super) fn touched(&mut self, statement: &StatementPlan, tag: &[u8]) {
        let no_row = rows_of_tag(tag) == Some(0);
        if no_row && statement.point.as_ref().is_some_and(|p| !p.table.statement_triggers) {
            return;
        }
        for touched in &statement.touches {
            self.observations.touch_table(touched.root_oid, touched.deferred);
        }
        let Effect::Execute(name) = &statement.effect else { return };
        let executed = self.innermost(name).and_then(|p| p.statement());
        let touches: Vec<Touched> = executed.map_or_else(Vec::new, |s| s.touches.clone());
        for touched in touches {
            self.observations.touch_table(touched.root_oid, touched.deferred);
        }
    }

    /// An INSERT has completed that did not show its rows. A row inserted is this session's own, at whatever version it
    /// began with: what was known of the row that had its key before is of no more use.
    fn settle_insert(&mut self, site: &GuardSite, guard: &SiteGuard, rows: Option<u64>) {
        let Some(named) = &guard.named else { return };
        let all = rows.map_or(site.bare, |rows| rows == named.len() as u64);
        let now = self.now();
        for row in named.iter().filter(|_| all) {
            self.observations.began_anew(row, now);
        }
    }

    /// A statement with guards has completed: what its writes mean for what is known. `learner`: of its rows.
    pub fn settle_guards(
        &mut self,
        statement: &StatementPlan,
        guards: &Guards,
        tag: &[u8],
        learner: Option<&Learner>,
    ) {
        let now = self.now();
        let metrics = self.shared.metrics.clone();
        // How many rows the write itself has changed: the tag tells where the write is the statement.
        let is_statement = |site: &GuardSite| {
            statement.sites.len() == 1
                && site.reason != Reason::Cte
                && [&b"UPDATE "[..], b"DELETE ", b"INSERT ", b"MERGE "]
                    .iter()
                    .any(|word| tag.starts_with(word))
        };
        for (site, guard) in statement.sites.iter().zip(&guards.0) {
            let table = &site.table;
            let rows = rows_of_tag(tag).filter(|_| is_statement(site));
            if site.verb == Verb::Insert {
                if learner.is_none_or(|l| !l.written().contains(&table.root_oid)) {
                    self.settle_insert(site, guard, rows);
                }
                continue;
            }
            if guard.is_observed(site) {
                let told = learner.is_some_and(|l| l.tells(table.root_oid))
                    && !guard.unsure
                    && !table.moves_versions();
                let basis = learner.and_then(|l| l.basis.as_ref());
                self.observed(table, basis, told || rows == Some(0), |row| {
                    guard.rows.iter().find(|r| r.row == *row).map(GuardedRow::expectation)
                });
            }
            let taught = learner.is_some_and(|l| l.written().contains(&table.root_oid));
            if let Some(cursor) = &site.cursor {
                let left = learner.and_then(|l| l.basis.as_ref()).is_some_and(Basis::left);
                self.settle_current_of(site, cursor, guard, rows, taught && !left);
                continue;
            }
            metrics.guard_gone(&table.root_name, guard.gone(site, rows));
            if rows == Some(0) {
                metrics.write(&table.entity, WriteOutcome::PassedZero);
                continue;
            }
            if guard.rows.is_empty() && guard.known.as_ref().is_some_and(Known::refuses_others) {
                // Any row that it found would have been refused.
                continue;
            }
            metrics.guard_overflow(&table.root_name, guard.overflow as u64);
            let reason = match () {
                () if guard.same_row => Reason::SameRowInQuery,
                () if guard.uncertain => Reason::UnknownKey,
                () => site.reason,
            };
            let outcome = match (&guard.known, guard.blind) {
                _ if guard.no_parameter && !site.self_relative => {
                    metrics.unchecked_write(&table.root_name, Reason::Parameters);
                    WriteOutcome::Unchecked
                }
                (Some(_), _) => {
                    if guard.same_row {
                        metrics.unchecked_write(&table.root_name, reason);
                    }
                    WriteOutcome::Checked
                }
                (None, _) if guard.is_observed(site) => WriteOutcome::Observed,
                (None, Some(cause)) => {
                    metrics.blind_write(&table.root_name, cause.label());
                    WriteOutcome::Blind
                }
                (None, None) if site.self_relative => WriteOutcome::SelfRelative,
                (None, None) => {
                    metrics.unchecked_write(&table.root_name, reason);
                    WriteOutcome::Unchecked
                }
            };
            if guard.overflow > 0 {
                metrics.unchecked_write(&table.root_name, Reason::GuardOverflow);
            }
            metrics.write(&table.entity, outcome);
            guard.named.iter().flatten().for_each(|row| self.landed(row));
            let taught = learner.is_some_and(|l| l.written().contains(&table.root_oid));
            if taught && !site.moves_key {
                continue;
            }
            let Some(named) = &guard.named else {
                self.observations.forget_table(table.root_oid);
                continue;
            };
            // All rows that it names were written: each is at one more than the scope knew, or gone.
            let all = rows == Some(named.len() as u64);
            let moved = all && site.verb == Verb::Update && !table.moves_versions();
            let checked: HashSet<&RowKey> = guard.rows.iter().map(|r| &r.row).collect();
            for row in named {
                let expected = checked.contains(row);
                let known = match guard.rows.iter().find(|r| r.row == *row) {
                    Some(r) => self.observations.landed_on(row, &site.sets, r.expected, now),
                    None => self.observations.known_here(row, &site.sets, now),
                };
                match known {
                    Lookup::Known { version, .. } if moved && expected => {
                        self.observations.wrote_checked(row, version, &site.sets, now);
                    }
                    _ if all && site.verb == Verb::Delete => self.observations.deleted(row, now),
                    // Of the latter other columns may be known under a version that the row has left.
                    Lookup::Known { .. } | Lookup::Unknown(Cause::Cursor) => {
                        self.observations.wrote_unchecked(row, now);
                    }
                    Lookup::Unknown(_) => self.observations.wrote_unknown(row, now),
                }
            }
        }
    }
}
