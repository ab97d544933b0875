//! One session's part in the contexts: whose label it works under, in which unit, and its own writes until they are
//! committed.

use std::sync::Arc;
use std::time::Instant;

use super::row::Shown;
use super::shared::Contexts;
use super::{ContextKey, Unit};
use crate::observe::scope::OwnWrite;
use crate::observe::{Cause, Limits, Lookup, Observations, Origin, RowKey, Sequence, WrittenBack};
use crate::sql::columns::ColumnSet;

/// A read made before the transaction's label was known.
#[derive(Debug)]
struct Pending {
    row: RowKey,
    version: i64,
    shown: ColumnSet,
    now: Instant,
    own: bool,
}

/// One session in scope `context`.
///
/// Reads enter the context of the present label at once, own writes at COMMIT. Reads that came before the label are
/// kept until it is known or the transaction is over. Without a label the transaction alone counts.
#[derive(Debug)]
pub struct ContextScope {
    contexts: Arc<Contexts>,
    key: Option<ContextKey>,
    unit: Unit,
    /// Transaction scope: what counts while there is no label, and the rows that are known to the transaction only.
    local: Observations,
    /// The open transaction's own writes, and nothing else.
    writes: Observations,
    /// Rows dropped from `writes` before the transaction began.
    lost: u64,
    /// Tables that the open transaction wrote.
    tables: Vec<u32>,
    /// Tables of which it wrote rows that are not known.
    forgotten: Vec<u32>,
    pending: Vec<Pending>,
    max_pending: usize,
}

impl ContextScope {
    /// A session without a label yet. `limits` bound what one transaction holds.
    pub fn new(contexts: Arc<Contexts>, limits: Limits, unit: Unit) -> Self {
        Self {
            contexts,
            key: None,
            unit,
            local: Observations::new(limits),
            writes: Observations::new(limits),
            lost: 0,
            tables: Vec::new(),
            forgotten: Vec::new(),
            pending: Vec::new(),
            max_pending: limits.max_rows,
        }
    }

    /// Another unit of work begins.
    pub fn begin_unit(&mut self, unit: Unit) {
        self.unit = unit;
    }

    /// The present unit.
    pub fn unit(&self) -> Unit {
        self.unit
    }

    /// Whose reads count from here on. What the transaction has read before, without a label, is theirs as well.
    pub fn set_label(&mut self, key: Option<ContextKey>) {
        if let Some(key) = &key {
            for read in std::mem::take(&mut self.pending) {
                let shown = Shown {
                    unit: self.unit,
                    version: read.version,
                    columns: &read.shown,
                    now: read.now,
                    own: read.own,
                };
                self.contexts.read(key, read.row, &shown, None);
            }
        }
        self.key = key;
    }

    /// The present label.
    pub fn label(&self) -> Option<&ContextKey> {
        self.key.as_ref()
    }

    /// As [`Observations::read`]. `own`: a locking read that counts for its own unit.
    pub fn read(&mut self, row: RowKey, version: i64, shown: &ColumnSet, own: bool, now: Instant) {
        self.learn(row, version, shown, None, own, now);
    }

    /// As [`Observations::read_from_cursor`].
    pub fn read_from_cursor(
        &mut self,
        row: RowKey,
        version: i64,
        shown: &ColumnSet,
        opened: Sequence,
        now: Instant,
    ) {
        self.learn(row, version, shown, Some(opened), false, now);
    }

    /// A read that the transaction alone may count: the identity lookup tells who, not what.
    pub fn read_for_transaction(&mut self, row: RowKey, version: i64, shown: &ColumnSet, now: Instant) {
        self.local.read(row, version, shown, now);
    }

    fn learn(
        &mut self,
        row: RowKey,
        version: i64,
        shown: &ColumnSet,
        opened: Option<Sequence>,
        own: bool,
        now: Instant,
    ) {
        // Of rows that this transaction has written it sees its own work, which may yet be undone.
        if shown.is_empty() || self.has_written(&row, now) {
            return;
        }
        match &self.key {
            Some(key) => {
                let shown = Shown { unit: self.unit, version, columns: shown, now, own };
                self.contexts.read(key, row, &shown, opened.map(Sequence::number));
            }
            None => {
                self.local.read(row.clone(), version, shown, now);
                if self.pending.len() < self.max_pending {
                    self.pending.push(Pending { row, version, shown: shown.clone(), now, own });
                }
            }
        }
    }

    fn has_written(&self, row: &RowKey, now: Instant) -> bool {
        self.forgotten.contains(&row.table) || self.writes.own_write_of(row, now).is_some()
    }

    /// As [`Observations::sequence`].
    pub fn sequence(&self) -> Sequence {
        Sequence::from_number(self.key.as_ref().map_or(0, |key| self.contexts.sequence(key)))
    }

    /// As [`Observations::expected`].
    pub fn expected(&mut self, row: &RowKey, sets: &ColumnSet, now: Instant) -> Lookup {
        let Some(key) = &self.key else { return self.local.expected(row, sets, now) };
        match self.writes.own_write_of(row, now) {
            Some(OwnWrite::Deleted | OwnWrite::Forgotten) => Lookup::Unknown(Cause::Forgotten),
            None if self.forgotten.contains(&row.table) => Lookup::Unknown(Cause::Forgotten),
            None => match self.contexts.expected(key, row, sets, self.unit, now) {
                found @ Lookup::Known { .. } => found,
                // It may be known to this transaction alone.
                unknown => match self.local.expected(row, sets, now) {
                    found @ Lookup::Known { .. } => found,
                    Lookup::Unknown(_) => unknown,
                },
            },
            Some(OwnWrite::Moved { from, to, known }) => {
                let mut others = sets.clone();
                others.subtract(&known);
                let own = Lookup::Known { version: to, seen_at: now, origin: Origin::OwnWrite };
                if others.is_empty() && !known.is_empty() {
                    return own;
                }
                match self.contexts.expected(key, row, &others, self.unit, now) {
                    Lookup::Known { version, .. } if (from..to).contains(&version) => own,
                    Lookup::Unknown(_) if !known.is_empty() => own,
                    found => found,
                }
            }
        }
    }

    /// As [`Observations::written_back`].
    pub fn written_back(&mut self, row: &RowKey, n: i64, sets: &ColumnSet, now: Instant) -> WrittenBack {
        let Some(key) = &self.key else { return self.local.written_back(row, n, sets, now) };
        if let Some(OwnWrite::Moved { from, to, .. }) = self.writes.own_write_of(row, now) {
            if (from..to).contains(&n) {
                return WrittenBack::SavedAgain(to);
            }
            if n == to.saturating_add(1)
                && let Lookup::Known { version, .. } = self.expected(row, sets, now)
            {
                return WrittenBack::OwnIncrement(version);
            }
            return WrittenBack::BasedOn(n);
        }
        self.contexts.written_back(key, row, n, sets, self.unit, now)
    }

    /// As [`Observations::wrote_checked`].
    pub fn wrote_checked(&mut self, row: &RowKey, expected: i64, sets: &ColumnSet, now: Instant) {
        self.writes_table(row.table);
        self.local.wrote_checked(row, expected, sets, now);
        self.writes.wrote_checked(row, expected, sets, now);
    }

    /// As [`Observations::returned`].
    pub fn returned(&mut self, row: RowKey, version: i64, shown: &ColumnSet, now: Instant) {
        self.writes_table(row.table);
        self.local.returned(row.clone(), version, shown, now);
        if shown.is_empty() && self.writes.own_write_of(&row, now).is_none() {
            // Moves what is known at the version before, and nothing else.
            let before = version.saturating_sub(1);
            return self.writes.wrote_checked(&row, before, &ColumnSet::new(), now);
        }
        self.writes.returned(row, version, shown, now);
    }

    /// As [`Observations::wrote_unchecked`].
    pub fn wrote_unchecked(&mut self, row: &RowKey, now: Instant) {
        self.writes_table(row.table);
        self.local.wrote_unchecked(row, now);
        self.writes.wrote_unchecked(row, now);
    }

    /// As [`Observations::deleted`].
    pub fn deleted(&mut self, row: &RowKey, now: Instant) {
        self.writes_table(row.table);
        self.local.deleted(row, now);
        self.writes.deleted(row, now);
    }

    /// As [`Observations::deleted_by_us`].
    pub fn deleted_by_us(&self, row: &RowKey, now: Instant) -> bool {
        match (&self.key, self.writes.own_write_of(row, now)) {
            (_, Some(write)) => write == OwnWrite::Deleted,
            (Some(key), None) => self.contexts.deleted(key, row, now),
            (None, None) => self.local.deleted_by_us(row, now),
        }
    }

    /// A write based on `expected` was refused, the row being at `actual` (`None`: gone). Returns how many times in a
    /// row that has happened to the context on this row.
    pub fn refused(&mut self, row: &RowKey, expected: i64, actual: Option<i64>, now: Instant) -> u32 {
        match &self.key {
            Some(key) => self.contexts.refused(key, row, self.unit, (expected, actual), now),
            None => {
                self.local.refused(row, now);
                1
            }
        }
    }

    /// As [`Observations::known_rows`].
    pub fn known_rows(&self, table: u32, limit: usize) -> (Vec<RowKey>, usize) {
        let (local, mut more) = self.local.known_rows(table, limit);
        let Some(key) = &self.key else { return (local, more) };
        let (mut rows, beyond) = self.writes.known_rows(table, limit);
        let (shared, shared_beyond) = self.contexts.known_rows(key, table, limit);
        more += beyond + shared_beyond;
        for row in local.into_iter().chain(shared) {
            if rows.contains(&row) {
                continue;
            }
            if rows.len() < limit {
                rows.push(row);
            } else {
                more += 1;
            }
        }
        (rows, more)
    }

    /// As [`Observations::forget_table`]: for the transaction at once, for the context at its COMMIT.
    pub fn forget_table(&mut self, table: u32) {
        self.local.forget_table(table);
        self.writes.forget_table(table);
        if !self.forgotten.contains(&table) {
            self.forgotten.push(table);
        }
        self.pending.retain(|read| read.row.table != table);
    }

    /// DISCARD ALL, RESET ALL, another role: what the connection knew goes, and with it its label. What a context
    /// knows stays.
    pub fn clear(&mut self) {
        self.local.clear();
        self.pending.clear();
        self.key = None;
    }

    /// As [`Observations::savepoint`].
    pub fn savepoint(&mut self, name: &str) {
        self.local.savepoint(name);
        self.writes.savepoint(name);
    }

    /// As [`Observations::release`].
    pub fn release(&mut self, name: &str) {
        self.local.release(name);
        self.writes.release(name);
    }

    /// As [`Observations::rollback_to`].
    pub fn rollback_to(&mut self, name: &str, now: Instant) {
        self.local.rollback_to(name, now);
        self.writes.rollback_to(name, now);
    }

    /// The transaction has committed: its writes enter the context.
    pub fn commit(&mut self, now: Instant) {
        if let Some(key) = self.key.clone()
            && !(self.tables.is_empty() && self.forgotten.is_empty())
        {
            let mut forgotten = std::mem::take(&mut self.forgotten);
            if self.writes.evicted() + self.writes.expired() > self.lost {
                // More than could be kept: what became of some rows is not known.
                forgotten.append(&mut self.tables);
            }
            let committed = |(row, write): (&RowKey, OwnWrite)| (row.clone(), write);
            let writes = self.writes.own_writes().map(committed).collect();
            self.contexts.commit(&key, self.unit, writes, &forgotten, now);
        }
        self.end();
    }

    /// The transaction has rolled back: its writes never were. What it has read stays in the context.
    pub fn rollback(&mut self) {
        self.end();
    }

    /// PREPARE TRANSACTION: what it wrote is forgotten, since another session decides about it.
    pub fn forget_written(&mut self, now: Instant) {
        let rows: Vec<RowKey> = self.writes.own_writes().map(|(row, _)| row.clone()).collect();
        for row in rows {
            self.writes.wrote_unchecked(&row, now);
        }
        self.commit(now);
    }

    /// Rows that the open transaction has written so far.
    pub fn written_in_transaction(&self) -> impl Iterator<Item = &RowKey> {
        self.writes.own_writes().map(|(row, _)| row)
    }

    fn end(&mut self) {
        self.local.rollback(Instant::now());
        self.local.clear();
        self.writes.commit();
        self.writes.clear();
        self.lost = self.writes.evicted() + self.writes.expired();
        self.tables.clear();
        self.forgotten.clear();
        self.pending.clear();
    }

    fn writes_table(&mut self, table: u32) {
        if !self.tables.contains(&table) {
            self.tables.push(table);
        }
    }

    /// Rows held for the open transaction.
    pub fn rows(&self) -> usize {
        self.local.rows() + self.writes.rows() + self.pending.len()
    }

    /// Bytes held for the open transaction (an estimate that errs upwards).
    pub fn bytes(&self) -> usize {
        let pending = |read: &Pending| size_of::<Pending>() + read.row.key.len() + read.shown.heap_bytes();
        self.local.bytes() + self.writes.bytes() + self.pending.iter().map(pending).sum::<usize>()
    }
}
