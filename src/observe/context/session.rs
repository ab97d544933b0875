//! One session's part in the contexts: whose label it works under, in which unit, and its own writes until they are
//! committed.

mod ends;
mod fetched;
mod reads;
mod writes;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use fetched::Fetched;
use hashlink::LinkedHashSet;
use reads::Pending;

use super::shared::Contexts;
use super::{ContextKey, ServerId, Unit};
use crate::observe::scope::OwnWrite;
use crate::observe::{Cause, Limits, Lookup, Observations, Origin, RowKey, WrittenBack};
use crate::sql::columns::ColumnSet;

/// Unknown rows of set writes that a transaction remembers.
const MAX_UNKNOWN: usize = 1_000;

/// One session in scope `context`.
///
/// Reads enter the context of the present label at once, own writes at COMMIT. Reads that came before the label are
/// kept until it is known or the transaction is over. Without a label the transaction alone counts.
#[derive(Debug)]
pub struct ContextScope {
    contexts: Arc<Contexts>,
    /// Which server its connection goes to, once it is known: until then there is no label.
    server: Option<ServerId>,
    /// Which database, as in [`ContextKey`].
    database: Arc<str>,
    key: Option<ContextKey>,
    unit: Unit,
    /// The present label and unit, while another one is supposed.
    supposed: Option<(Option<ContextKey>, Unit)>,
    /// Transaction scope: what counts while there is no label, and the rows that are known to the transaction only.
    local: Observations,
    /// The open transaction's own writes, and nothing else.
    writes: Observations,
    /// When its own writes have entered last, in the order of all.
    entered: u64,
    /// Rows dropped from `writes` before the transaction began.
    lost: u64,
    /// Labels under which the open transaction wrote before the present one, and which rows.
    earlier: Vec<(ContextKey, HashSet<RowKey>)>,
    /// Rows of set writes that nothing was known of and that are remembered all the same.
    unknown: usize,
    /// Tables that the open transaction wrote.
    tables: Vec<u32>,
    /// Tables that it has truncated.
    truncated: Vec<u32>,
    /// Tables of which it wrote rows that are not known.
    forgotten: Vec<u32>,
    pending: Vec<Pending>,
    /// Reads of rows that the open transaction itself had written, and under which label: they enter behind its writes,
    /// if it commits.
    own_reads: Vec<(Option<ContextKey>, Pending)>,
    /// How many there were at each savepoint.
    marks: Vec<(Box<str>, usize)>,
    max_pending: usize,
    /// With a store that other processes share: what has been asked of it.
    fetched: Option<Box<Fetched>>,
}

impl ContextScope {
    /// A session without a label yet. `limits` bound what one transaction holds.
    pub fn new(contexts: Arc<Contexts>, database: Arc<str>, limits: Limits, unit: Unit) -> Self {
        let fetched = contexts.journal().is_some().then(Box::default);
        Self {
            contexts,
            server: None,
            database,
            fetched,
            key: None,
            unit,
            supposed: None,
            local: Observations::new(limits),
            writes: Observations::new(limits),
            entered: 0,
            lost: 0,
            earlier: Vec::new(),
            unknown: 0,
            tables: Vec::new(),
            truncated: Vec::new(),
            forgotten: Vec::new(),
            pending: Vec::new(),
            own_reads: Vec::new(),
            marks: Vec::new(),
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
    pub fn set_label(&mut self, label: Option<&str>) {
        if self.key.as_ref().map(|key| &*key.label) == label.filter(|_| self.server.is_some()) {
            return;
        }
        let key = self.key_of(label);
        if let Some(before) = self.key.take() {
            // What has been written so far is that one's.
            let taken = |row: &&RowKey| !self.earlier.iter().any(|(_, rows)| rows.contains(*row));
            let rows: HashSet<RowKey> =
                self.writes.own_writes().map(|(row, _)| row).filter(taken).cloned().collect();
            // Of tables written without telling the rows each label forgets its own.
            let tables = !self.forgotten.is_empty() && !self.earlier.iter().any(|(key, _)| *key == before);
            if !rows.is_empty() || tables {
                self.earlier.push((before, rows));
            }
        }
        if let Some(key) = &key {
            for read in std::mem::take(&mut self.pending) {
                read.enter(&self.contexts, key, self.unit, false);
            }
        }
        self.key = key;
    }

    /// A statement is decided that stands behind the end of the open transaction, which has yet to come, and will go
    /// under this label. What this transaction alone knows does not count for it, and stays with its own label.
    pub fn suppose(&mut self, label: Option<&str>, unit: Unit) {
        let key = self.key_of(label);
        let present = (std::mem::replace(&mut self.key, key), std::mem::replace(&mut self.unit, unit));
        self.supposed.get_or_insert(present);
    }

    /// The connection goes to this server, whose contexts are its own. A label that was set before has to be set again.
    pub fn on_server(&mut self, server: ServerId) {
        if self.server.replace(server) != Some(server) {
            self.set_label(None);
        }
    }

    /// The server that the connection goes to, once it is known.
    pub fn server(&self) -> Option<ServerId> {
        self.server
    }

    fn key_of(&self, label: Option<&str>) -> Option<ContextKey> {
        let (label, server) = label.zip(self.server)?;
        Some(ContextKey { server, database: self.database.clone(), label: label.into() })
    }

    /// Goes back from what was supposed.
    pub fn suppose_no_more(&mut self) {
        if let Some((key, unit)) = self.supposed.take() {
            (self.key, self.unit) = (key, unit);
        }
    }

    /// The present label.
    pub fn label(&self) -> Option<&str> {
        self.key.as_ref().map(|key| &*key.label)
    }

    fn has_written(&self, row: &RowKey, now: Instant) -> bool {
        self.forgotten.contains(&row.table) || self.writes.own_write_of(row, now).is_some()
    }

    /// As [`Observations::expected`].
    pub fn expected(&mut self, row: &RowKey, sets: &ColumnSet, now: Instant) -> Lookup {
        if self.supposed.is_some() {
            return match &self.key {
                Some(key) => self.context_expects(key.clone(), row, sets, now),
                None => Lookup::Unknown(Cause::NoLabel),
            };
        }
        let Some(key) = self.key.clone() else {
            return match self.known_to_transaction(row, sets, now) {
                Lookup::Unknown(Cause::NeverRead) => Lookup::Unknown(Cause::NoLabel),
                found => found,
            };
        };
        match self.writes.own_write_of(row, now) {
            Some(OwnWrite::Deleted | OwnWrite::Forgotten) => Lookup::Unknown(Cause::Forgotten),
            None if self.forgotten.contains(&row.table) => Lookup::Unknown(Cause::Forgotten),
            None => match self.context_expects(key, row, sets, now) {
                found @ Lookup::Known { .. } => found,
                // It may be known to this transaction alone.
                unknown => match self.known_to_transaction(row, sets, now) {
                    found @ Lookup::Known { .. } => found,
                    Lookup::Unknown(_) => unknown,
                },
            },
            Some(OwnWrite::Moved { from, to, known, .. }) => {
                let mut others = sets.clone();
                others.subtract(&known);
                let unit = Some(self.unit);
                let own = Lookup::Known { version: to, seen_at: now, unit, origin: Origin::OwnWrite };
                if others.is_empty() && !known.is_empty() {
                    return own;
                }
                match self.context_expects(key, row, &others, now) {
                    Lookup::Known { version, .. } if (from..to).contains(&version) => own,
                    Lookup::Unknown(_) if !known.is_empty() => own,
                    found => found,
                }
            }
        }
    }

    fn known_to_transaction(&mut self, row: &RowKey, sets: &ColumnSet, now: Instant) -> Lookup {
        let mut found = self.local.expected(row, sets, now);
        if let Lookup::Known { unit, .. } = &mut found {
            *unit = Some(self.unit);
        }
        found
    }

    /// What the context expects, whatever the open transaction has done.
    fn context_expects(&mut self, key: ContextKey, row: &RowKey, sets: &ColumnSet, now: Instant) -> Lookup {
        match self.fetched.as_deref_mut() {
            Some(fetched) => fetched.expected(&self.contexts, &key, row, sets, self.unit),
            None => self.contexts.expected(&key, row, sets, self.unit, now),
        }
    }

    fn context_written_back(
        &mut self,
        key: ContextKey,
        row: &RowKey,
        n: i64,
        sets: &ColumnSet,
        now: Instant,
    ) -> WrittenBack {
        match self.fetched.as_deref_mut() {
            Some(fetched) => fetched.written_back(&self.contexts, &key, row, n, sets, self.unit),
            None => self.contexts.written_back(&key, row, n, sets, self.unit, now),
        }
    }

    /// As [`Observations::written_back`].
    pub fn written_back(&mut self, row: &RowKey, n: i64, sets: &ColumnSet, now: Instant) -> WrittenBack {
        if self.supposed.is_some() {
            return match &self.key {
                Some(key) => self.context_written_back(key.clone(), row, n, sets, now),
                None => WrittenBack::BasedOn(n),
            };
        }
        let Some(key) = self.key.clone() else { return self.local.written_back(row, n, sets, now) };
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
        self.context_written_back(key, row, n, sets, now)
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
    pub fn known_rows(&mut self, table: u32, limit: usize) -> (Vec<RowKey>, usize) {
        let (local, mut more) = self.local.known_rows(table, limit);
        let Some(key) = &self.key else { return (local, more) };
        let (rows, beyond) = self.writes.known_rows(table, limit);
        let (shared, shared_beyond) = match self.fetched.as_deref_mut() {
            Some(fetched) => fetched.known_rows(key, table, limit),
            None => self.contexts.known_rows(key, table, limit),
        };
        more += beyond + shared_beyond;
        let mut rows: LinkedHashSet<RowKey> = rows.into_iter().collect();
        for row in local.into_iter().chain(shared) {
            if rows.len() < limit {
                rows.insert(row);
            } else if !rows.contains(&row) {
                more += 1;
            }
        }
        (rows.into_iter().collect(), more)
    }

    /// As [`Observations::forget_table`]: for the transaction at once, for the context at its COMMIT.
    pub fn forget_table(&mut self, table: u32) {
        self.local.forget_table(table);
        self.forget_at_commit(table);
    }

    /// TRUNCATE: no context knows rows of the table once it is committed.
    pub fn truncated(&mut self, table: u32) {
        self.forget_table(table);
        self.truncated.push(table);
    }

    /// The table or its version column is another: what the transaction knows of its rows is void. For what contexts
    /// know see [`Self::stamp`].
    pub fn made_anew(&mut self, table: u32) {
        self.forget_table(table);
    }

    /// The version column of a table has this attribute number: see [`Contexts::stamp`].
    pub fn stamp(&self, table: u32, attnum: i16) {
        if let Some(server) = self.server {
            self.contexts.stamp(server, &self.database, table, attnum);
        }
    }

    fn forget_at_commit(&mut self, table: u32) {
        self.writes.forget_table(table);
        if !self.forgotten.contains(&table) {
            self.forgotten.push(table);
        }
        self.pending.retain(|read| read.row.table != table);
        self.own_reads.retain(|(_, read)| read.row.table != table);
    }

    /// DISCARD ALL, RESET ALL, another role: what the connection knew goes, and with it its label. What a context
    /// knows stays.
    pub fn clear(&mut self) {
        self.local.clear();
        self.pending.clear();
        self.own_reads.clear();
        self.set_label(None);
    }

    /// The open transaction has written rows.
    pub fn has_written_any(&self) -> bool {
        !self.tables.is_empty() || !self.forgotten.is_empty()
    }

    fn writes_table(&mut self, table: u32) {
        if !self.tables.contains(&table) {
            self.tables.push(table);
        }
    }

    /// Rows held for the open transaction.
    pub fn rows(&self) -> usize {
        self.local.rows() + self.writes.rows() + self.pending.len() + self.own_reads.len()
    }

    /// Bytes held for the open transaction (an estimate that errs upwards).
    pub fn bytes(&self) -> usize {
        let pending = |read: &Pending| size_of::<Pending>() + read.row.key.len() + read.shown.heap_bytes();
        let reads = self.pending.iter().chain(self.own_reads.iter().map(|(_, read)| read));
        self.local.bytes() + self.writes.bytes() + reads.map(pending).sum::<usize>()
    }
}
