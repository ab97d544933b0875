//! Rows that a write returns, to the client or to the proxy alone: what they mean for what is known.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use super::guards::Guards;
use super::writes::Write;
use crate::catalog::{Mode, Table};
use crate::observe::{Moved, RowKey, Scope};
use crate::rewrite::plan::{StatementPlan, Verb};
use crate::sql::columns::ColumnSet;

/// What a write in flight is based on, for the rows that it returns.
#[derive(Debug)]
pub(crate) struct Basis {
    table: Arc<Table>,
    verb: Verb,
    sets: ColumnSet,
    /// It is the row that a cursor stands on.
    by_cursor: bool,
    /// That row was known under another version.
    left: Cell<bool>,
    /// The expected version of each row that is checked, or in mode `observe` would be.
    expected: HashMap<Box<str>, i64>,
    /// Mode `observe`: the first row that had another version than expected.
    stale: RefCell<Option<StaleRow>>,
    compared: Cell<usize>,
}

/// A row that a write in mode `observe` has changed though `enforce` would have refused it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StaleRow {
    pub row: RowKey,
    pub expected: i64,
    pub actual: i64,
}

impl Basis {
    /// Of the one write that a statement is; `None` if it is none, or several.
    pub fn new(statement: &StatementPlan, guards: Option<&Guards>, write: Option<&Write>) -> Option<Self> {
        let [site] = statement.sites.as_slice() else { return None };
        let mut expected: HashMap<Box<str>, i64> = HashMap::new();
        if let Some(write) = write
            && let (Some(row), Some(version)) = (&write.row, write.basis())
        {
            expected.insert(row.key.clone(), version);
        }
        for guarded in guards.and_then(|g| g.0.first()).map_or(&[][..], |site| &site.rows) {
            expected.insert(guarded.row.key.clone(), guarded.expected);
        }
        // A key that is set stays as it is (`id = EXCLUDED.id`), and no read shows it.
        let mut sets = site.sets.clone();
        sets.subtract(&site.table.key_columns().map(|c| c.slot).collect());
        Some(Self {
            table: site.table.clone(),
            verb: site.verb,
            sets,
            by_cursor: site.cursor.is_some(),
            left: Cell::new(false),
            expected,
            stale: RefCell::new(None),
            compared: Cell::new(0),
        })
    }

    /// The row that `enforce` would have refused the write for.
    pub fn stale(&self) -> Option<StaleRow> {
        self.stale.borrow().clone()
    }

    /// A cursor's row was known under another version than the one before the write.
    pub fn left(&self) -> bool {
        self.left.get()
    }

    /// How many rows have been compared with what was expected of them.
    pub fn compared(&self) -> usize {
        self.compared.get()
    }

    /// A row was written, and had this version before.
    fn compare(&self, row: &RowKey, expected: i64, actual: i64) {
        self.compared.set(self.compared.get() + 1);
        if actual != expected {
            let stale = || StaleRow { row: row.clone(), expected, actual };
            self.stale.borrow_mut().get_or_insert_with(stale);
        }
    }

    /// The rows are new ones.
    pub fn inserts(&self) -> bool {
        self.verb == Verb::Insert
    }

    /// A DELETE has returned a row as it was.
    pub fn deleted(&self, row: &RowKey, version: i64) {
        if let Some(expected) = self.expected.get(&row.key) {
            self.compare(row, *expected, version);
        }
    }

    /// A write has returned a row as it left it.
    pub fn written(
        &self,
        row: RowKey,
        version: i64,
        shown: &ColumnSet,
        observations: &mut Scope,
        now: std::time::Instant,
    ) {
        if self.table.late_triggers {
            // What it shows need not be what the row has now.
            return observations.wrote_unchecked(&row, now);
        }
        if self.verb == Verb::Insert {
            observations.began_anew(&row, now);
            if !shown.is_empty() {
                observations.returned(row, version, shown, now);
            }
            return;
        }
        let upsert = self.verb == Verb::Upsert;
        match self.expected.get(&row.key) {
            // The row was gone, and has been inserted anew.
            Some(expected) if upsert && version <= *expected => observations.wrote_unchecked(&row, now),
            Some(expected) if self.table.version_triggers => {
                observations.wrote_to(&row, *expected, version, &self.sets, now);
            }
            Some(expected) if self.table.settings.mode == Mode::Observe => {
                self.compare(&row, *expected, version.saturating_sub(1));
                observations.wrote_to(&row, *expected, version, &self.sets, now);
            }
            // With earlier writes of this transaction in flight it may have had a higher version than was expected.
            Some(_) => observations.wrote_checked(&row, version.saturating_sub(1), &self.sets, now),
            None => match observations.moved(&row, version, now) {
                // What the cursor has shown of its row is for it to say.
                Moved::Left(_) if self.by_cursor => self.left.set(true),
                // Whose doing that is cannot be told.
                Moved::Left(_) if self.table.version_triggers => observations.wrote_unchecked(&row, now),
                Moved::Left(known) if upsert && version <= known => observations.wrote_unchecked(&row, now),
                Moved::Left(_) | Moved::Moved | Moved::Unknown => {}
            },
        }
        if !shown.is_empty() {
            observations.returned(row, version, shown, now);
        }
    }
}
