//! What a session knows, whatever the kind of its scope.

use std::time::Instant;

use super::context::ContextScope;
use super::{Lookup, Moved, Observations, RowKey, Sequence, WrittenBack};
use crate::sql::columns::ColumnSet;

/// Who shares observations (DESIGN.md section 3), and what they know.
#[derive(Debug)]
pub enum Scope {
    /// One connection.
    Connection(Observations),
    /// One transaction: what it knows is forgotten at its end.
    Transaction(Observations),
    /// All connections that work under one label.
    Context(Box<ContextScope>),
}

/// Calls the method of whatever it is.
macro_rules! each {
    ($self:ident, $scope:ident => $call:expr) => {
        match $self {
            Scope::Connection($scope) | Scope::Transaction($scope) => $call,
            Scope::Context($scope) => $call,
        }
    };
}

impl Scope {
    /// Scope `context`.
    pub fn context(&mut self) -> Option<&mut ContextScope> {
        match self {
            Self::Context(scope) => Some(scope),
            _ => None,
        }
    }

    /// Its name in settings, errors and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connection(_) => "connection",
            Self::Transaction(_) => "transaction",
            Self::Context(_) => "context",
        }
    }

    /// Whose reads count: the label, in scope `context`.
    pub fn label(&self) -> Option<&str> {
        match self {
            Self::Context(scope) => scope.label(),
            _ => None,
        }
    }

    /// What is known changes with the end of a transaction, whatever it has written.
    pub fn ends_with_transaction(&self) -> bool {
        !matches!(self, Self::Connection(_))
    }

    /// See [`Observations::read`]. `locking`: a locking read, which counts for its own unit where that is wanted. `sent`:
    /// when its statement was sent.
    pub fn read(
        &mut self,
        row: RowKey,
        version: i64,
        shown: &ColumnSet,
        (locking, sent): (bool, Sequence),
        now: Instant,
    ) {
        match self {
            Self::Connection(scope) | Self::Transaction(scope) => scope.read(row, version, shown, now),
            Self::Context(scope) => scope.read_since(row, version, shown, (locking, sent), now),
        }
    }

    /// A read that the transaction alone may count: who it is was looked up by it, or its unit is none to learn from.
    pub fn read_for_transaction(&mut self, row: RowKey, version: i64, shown: &ColumnSet, now: Instant) {
        match self {
            Self::Connection(scope) | Self::Transaction(scope) => scope.read(row, version, shown, now),
            Self::Context(scope) => scope.read_for_transaction(row, version, shown, now),
        }
    }

    /// See [`Observations::read_from_cursor`].
    pub fn read_from_cursor(
        &mut self,
        row: RowKey,
        version: i64,
        shown: &ColumnSet,
        opened: Sequence,
        now: Instant,
    ) {
        each!(self, scope => scope.read_from_cursor(row, version, shown, opened, now));
    }

    /// See [`Observations::saw_undated`].
    pub fn saw_undated(&mut self, row: &RowKey, shown: &ColumnSet, opened: Sequence, now: Instant) {
        each!(self, scope => scope.saw_undated(row, shown, opened, now));
    }

    /// See [`Observations::sequence`].
    pub fn sequence(&self) -> Sequence {
        each!(self, scope => scope.sequence())
    }

    /// The session itself has written since.
    pub fn has_written_since(&self, opened: Sequence) -> bool {
        each!(self, scope => scope.has_written_since(opened))
    }

    /// The session itself may have written this row since.
    pub fn has_written_row_since(&self, row: &RowKey, opened: Sequence, now: Instant) -> bool {
        each!(self, scope => scope.has_written_row_since(row, opened, now))
    }

    /// See [`Observations::expected`].
    pub fn expected(&mut self, row: &RowKey, sets: &ColumnSet, now: Instant) -> Lookup {
        each!(self, scope => scope.expected(row, sets, now))
    }

    /// What the row is known at when a write of `sets` that was based on `expected` has landed, just before it is told
    /// of: behind earlier writes of the same transaction that is more than `expected`.
    pub fn landed_on(&mut self, row: &RowKey, sets: &ColumnSet, expected: i64, now: Instant) -> Lookup {
        match self {
            Self::Connection(scope) | Self::Transaction(scope) => scope.expected(row, sets, now),
            Self::Context(scope) => scope.landed_on(row, sets, expected, now),
        }
    }

    /// See [`Observations::written_back`].
    pub fn written_back(&mut self, row: &RowKey, n: i64, sets: &ColumnSet, now: Instant) -> WrittenBack {
        each!(self, scope => scope.written_back(row, n, sets, now))
    }

    /// See [`Observations::wrote_checked`].
    pub fn wrote_checked(&mut self, row: &RowKey, expected: i64, sets: &ColumnSet, now: Instant) {
        each!(self, scope => scope.wrote_checked(row, expected, sets, now));
    }

    /// See [`Observations::wrote_to`].
    pub fn wrote_to(&mut self, row: &RowKey, expected: i64, version: i64, sets: &ColumnSet, now: Instant) {
        each!(self, scope => scope.wrote_to(row, expected, version, sets, now));
    }

    /// See [`Observations::moved`].
    pub fn moved(&mut self, row: &RowKey, version: i64, now: Instant) -> Moved {
        each!(self, scope => scope.moved(row, version, now))
    }

    /// See [`Observations::wrote_unknown`].
    pub fn wrote_unknown(&mut self, row: &RowKey, now: Instant) {
        each!(self, scope => scope.wrote_unknown(row, now));
    }

    /// See [`Observations::returned`].
    pub fn returned(&mut self, row: RowKey, version: i64, shown: &ColumnSet, now: Instant) {
        each!(self, scope => scope.returned(row, version, shown, now));
    }

    /// See [`Observations::wrote_unchecked`].
    pub fn wrote_unchecked(&mut self, row: &RowKey, now: Instant) {
        each!(self, scope => scope.wrote_unchecked(row, now));
    }

    /// See [`Observations::began_anew`].
    pub fn began_anew(&mut self, row: &RowKey, now: Instant) {
        each!(self, scope => scope.began_anew(row, now));
    }

    /// See [`Observations::deleted`].
    pub fn deleted(&mut self, row: &RowKey, now: Instant) {
        each!(self, scope => scope.deleted(row, now));
    }

    /// See [`Observations::deleted_by_us`].
    pub fn deleted_by_us(&self, row: &RowKey, now: Instant) -> bool {
        each!(self, scope => scope.deleted_by_us(row, now))
    }

    /// A write based on `expected` was refused, the row being at `actual` (`None`: gone). Returns how many times in a
    /// row that has happened to the context; 1 in other scopes.
    pub fn refused(&mut self, row: &RowKey, expected: i64, actual: Option<i64>, now: Instant) -> u32 {
        match self {
            Self::Connection(scope) | Self::Transaction(scope) => {
                scope.refused(row, now);
                1
            }
            Self::Context(scope) => scope.refused(row, expected, actual, now),
        }
    }

    /// With a store that contexts are shared by: a decision needs rows that have not been asked for.
    pub fn lacks_rows(&self) -> bool {
        matches!(self, Self::Context(scope) if scope.lacks_rows())
    }

    /// The store that contexts are shared by was asked what is known of the row, and does not answer.
    pub fn is_cut_off(&self, row: &RowKey, now: Instant) -> bool {
        matches!(self, Self::Context(scope) if scope.is_cut_off(row, now))
    }

    /// As [`Self::expected`], for what does not decide about a write: no store is asked.
    pub fn known_here(&mut self, row: &RowKey, sets: &ColumnSet, now: Instant) -> Lookup {
        match self {
            Self::Connection(scope) | Self::Transaction(scope) => scope.expected(row, sets, now),
            Self::Context(scope) => scope.known_here(row, sets, now),
        }
    }

    /// Something may be known of rows of the table.
    pub fn may_know_rows(&mut self, table: u32) -> bool {
        match self {
            Self::Connection(scope) | Self::Transaction(scope) => !scope.known_rows(table, 1).0.is_empty(),
            Self::Context(scope) => scope.may_know_rows(table),
        }
    }

    /// See [`Observations::known_rows`].
    pub fn known_rows(&mut self, table: u32, limit: usize) -> (Vec<RowKey>, usize) {
        each!(self, scope => scope.known_rows(table, limit))
    }

    /// See [`Observations::forget_table`].
    pub fn forget_table(&mut self, table: u32) {
        each!(self, scope => scope.forget_table(table));
    }

    /// TRUNCATE.
    pub fn truncated(&mut self, table: u32) {
        match self {
            Self::Connection(scope) | Self::Transaction(scope) => scope.forget_table(table),
            Self::Context(scope) => scope.truncated(table),
        }
    }

    /// The table or its version column is another than before.
    pub fn made_anew(&mut self, table: u32) {
        match self {
            Self::Connection(scope) | Self::Transaction(scope) => scope.forget_table(table),
            Self::Context(scope) => scope.made_anew(table),
        }
    }

    /// See [`Observations::touch_table`].
    pub fn touch_table(&mut self, table: u32, deferred: bool) {
        each!(self, scope => scope.touch_table(table, deferred));
    }

    /// See [`Observations::clear`].
    pub fn clear(&mut self) {
        each!(self, scope => scope.clear());
    }

    /// See [`Observations::savepoint`].
    pub fn savepoint(&mut self, name: &str) {
        each!(self, scope => scope.savepoint(name));
    }

    /// See [`Observations::release`].
    pub fn release(&mut self, name: &str) {
        each!(self, scope => scope.release(name));
    }

    /// See [`Observations::rollback_to`].
    pub fn rollback_to(&mut self, name: &str, now: Instant) {
        each!(self, scope => scope.rollback_to(name, now));
    }

    /// See [`Observations::commit`].
    pub fn commit(&mut self, now: Instant) {
        match self {
            Self::Connection(scope) => scope.commit(),
            Self::Transaction(scope) => {
                scope.commit();
                scope.clear();
            }
            Self::Context(scope) => scope.commit(now),
        }
    }

    /// See [`Observations::rollback`].
    pub fn rollback(&mut self, now: Instant) {
        match self {
            Self::Connection(scope) => scope.rollback(now),
            Self::Transaction(scope) => {
                scope.rollback(now);
                scope.clear();
            }
            Self::Context(scope) => scope.rollback(),
        }
    }

    /// The open transaction has written rows.
    pub fn has_written_any(&self) -> bool {
        match self {
            Self::Connection(scope) | Self::Transaction(scope) => {
                scope.written_in_transaction().next().is_some()
            }
            Self::Context(scope) => scope.has_written_any(),
        }
    }

    /// See [`Observations::may_be_undone`].
    pub fn may_be_undone(&self, row: &RowKey) -> bool {
        each!(self, scope => scope.may_be_undone(row))
    }

    /// See [`Observations::forget_written`].
    pub fn forget_written(&mut self, now: Instant) {
        match self {
            Self::Connection(scope) => scope.forget_written(now),
            Self::Transaction(scope) => {
                scope.forget_written(now);
                scope.clear();
            }
            Self::Context(scope) => scope.forget_written(now),
        }
    }

    /// Rows held for this session alone.
    pub fn rows(&self) -> usize {
        each!(self, scope => scope.rows())
    }

    /// Rows dropped to stay within this session's limits, so far.
    pub fn evicted(&self) -> u64 {
        match self {
            Self::Connection(scope) | Self::Transaction(scope) => scope.evicted(),
            Self::Context(_) => 0,
        }
    }

    /// Rows of this session dropped because they were too old, so far.
    pub fn expired(&self) -> u64 {
        match self {
            Self::Connection(scope) | Self::Transaction(scope) => scope.expired(),
            Self::Context(_) => 0,
        }
    }
}
