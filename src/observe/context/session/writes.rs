//! The open transaction's own writes, as they are told of: they enter the context at COMMIT.

use std::time::Instant;

use super::{ContextScope, MAX_UNKNOWN};
use crate::observe::scope::OwnWrite;
use crate::observe::{Cause, Lookup, Moved, Origin, RowKey};
use crate::sql::columns::ColumnSet;

impl ContextScope {
    /// As [`crate::observe::Observations::wrote_checked`].
    pub fn wrote_checked(&mut self, row: &RowKey, expected: i64, sets: &ColumnSet, now: Instant) {
        self.writes_table(row.table);
        self.local.wrote_checked(row, expected, sets, now);
        self.writes.wrote_checked(row, expected, sets, now);
    }

    /// What the row is at, a write of it that was based on `expected` having landed: behind earlier writes of the same
    /// transaction it is more. Other units may have moved what the context knows since the write was sent.
    pub fn landed_on(&mut self, row: &RowKey, sets: &ColumnSet, expected: i64, now: Instant) -> Lookup {
        if self.key.is_none() {
            return self.local.expected(row, sets, now);
        }
        let version = match self.writes.own_write_of(row, now) {
            Some(OwnWrite::Deleted | OwnWrite::Forgotten) => return Lookup::Unknown(Cause::Forgotten),
            None if self.forgotten.contains(&row.table) => return Lookup::Unknown(Cause::Forgotten),
            Some(OwnWrite::Moved { to, .. }) => to,
            None => expected,
        };
        Lookup::Known { version, seen_at: now, unit: Some(self.unit), origin: Origin::OwnWrite }
    }

    /// As [`crate::observe::Observations::wrote_to`].
    pub fn wrote_to(&mut self, row: &RowKey, expected: i64, version: i64, sets: &ColumnSet, now: Instant) {
        self.writes_table(row.table);
        self.local.wrote_to(row, expected, version, sets, now);
        self.writes.wrote_checked(row, expected, sets, now);
        self.writes.wrote_to(row, expected.saturating_add(1), version, sets, now);
    }

    /// As [`crate::observe::Observations::moved`].
    pub fn moved(&mut self, row: &RowKey, version: i64, now: Instant) -> Moved {
        self.writes_table(row.table);
        let local = self.local.moved(row, version, now);
        let Some(key) = &self.key else {
            self.moves(row, version, now);
            return local;
        };
        match self.writes.own_write_of(row, now) {
            Some(OwnWrite::Forgotten) => {
                self.no_longer_known(row, now);
                Moved::Unknown
            }
            Some(_) => self.writes.moved(row, version, now),
            None if self.forgotten.contains(&row.table) => Moved::Unknown,
            None => match self.contexts.newest(key, row, now) {
                Some(newest) if newest != version.saturating_sub(1) => {
                    self.moves(row, version, now);
                    Moved::Left(newest)
                }
                Some(_) => {
                    self.moves(row, version, now);
                    Moved::Moved
                }
                None => {
                    // Another unit may yet read it before this one commits.
                    if self.unknown < MAX_UNKNOWN {
                        self.unknown += 1;
                        self.moves(row, version, now);
                    }
                    Moved::Unknown
                }
            },
        }
    }

    /// Moves what is known at the version before, and nothing else.
    fn moves(&mut self, row: &RowKey, version: i64, now: Instant) {
        self.writes.wrote_checked(row, version.saturating_sub(1), &ColumnSet::new(), now);
    }

    /// As [`crate::observe::Observations::touch_table`]: for the transaction at once, for the context at its COMMIT.
    pub fn touch_table(&mut self, table: u32, deferred: bool) {
        self.local.touch_table(table, deferred);
        self.forget_at_commit(table);
    }

    /// As [`crate::observe::Observations::may_be_undone`].
    pub fn may_be_undone(&self, row: &RowKey) -> bool {
        self.forgotten.contains(&row.table) || self.writes.may_be_undone(row) || self.local.may_be_undone(row)
    }

    /// As [`crate::observe::Observations::returned`].
    pub fn returned(&mut self, row: RowKey, version: i64, shown: &ColumnSet, now: Instant) {
        self.writes_table(row.table);
        self.local.returned(row.clone(), version, shown, now);
        if shown.is_empty() && self.writes.own_write_of(&row, now).is_none() {
            return self.moves(&row, version, now);
        }
        self.writes.returned(row, version, shown, now);
    }

    /// As [`crate::observe::Observations::wrote_unknown`].
    pub fn wrote_unknown(&mut self, row: &RowKey, now: Instant) {
        self.writes_table(row.table);
        self.local.wrote_unknown(row, now);
        // Another unit may read it before this one commits, or this one its own work.
        if self.unknown < MAX_UNKNOWN {
            self.unknown += 1;
            self.no_longer_known(row, now);
        }
    }

    /// As [`crate::observe::Observations::wrote_unchecked`].
    pub fn wrote_unchecked(&mut self, row: &RowKey, now: Instant) {
        self.local.wrote_unchecked(row, now);
        self.no_longer_known(row, now);
    }

    /// As [`crate::observe::Observations::began_anew`].
    pub fn began_anew(&mut self, row: &RowKey, now: Instant) {
        self.local.began_anew(row, now);
        let known = self.writes.own_write_of(row, now).is_some()
            || self.key.as_ref().is_some_and(|key| self.contexts.newest(key, row, now).is_some());
        // It may be undone, so what the transaction reads of it is its own work. Of a bulk load not every row is noted.
        if !known {
            if self.unknown >= MAX_UNKNOWN {
                return;
            }
            self.unknown += 1;
        }
        self.no_longer_known(row, now);
    }

    /// What the row is at is not known from here on.
    fn no_longer_known(&mut self, row: &RowKey, now: Instant) {
        self.writes_table(row.table);
        self.writes.wrote_unchecked(row, now);
        self.own_reads.retain(|(_, read)| read.row != *row);
    }

    /// As [`crate::observe::Observations::deleted`].
    pub fn deleted(&mut self, row: &RowKey, now: Instant) {
        self.writes_table(row.table);
        self.local.deleted(row, now);
        self.writes.deleted(row, now);
    }
}
