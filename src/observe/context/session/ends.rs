//! How transactions and their savepoints end: own writes enter the context, or never were.

use std::time::Instant;

use super::ContextScope;
use super::reads::Pending;
use crate::observe::RowKey;
use crate::observe::scope::OwnWrite;

impl ContextScope {
    /// As [`Observations::savepoint`].
    pub fn savepoint(&mut self, name: &str) {
        self.local.savepoint(name);
        self.writes.savepoint(name);
        self.marks.push((name.into(), self.own_reads.len()));
    }

    /// As [`Observations::release`].
    pub fn release(&mut self, name: &str) {
        self.local.release(name);
        self.writes.release(name);
        if let Some(at) = self.marks.iter().rposition(|(n, _)| **n == *name) {
            self.marks.truncate(at);
        }
    }

    /// As [`Observations::rollback_to`].
    pub fn rollback_to(&mut self, name: &str, now: Instant) {
        self.local.rollback_to(name, now);
        self.writes.rollback_to(name, now);
        let Some(at) = self.marks.iter().rposition(|(n, _)| **n == *name) else { return };
        self.marks.truncate(at + 1);
        let since = self.marks.last().map_or(0, |(_, reads)| *reads);
        let mut n = 0;
        // Reads of what has been undone go with it.
        self.own_reads.retain(|(_, read)| {
            n += 1;
            n <= since
                || matches!((self.writes.own_write_of(&read.row, now), read.version),
                    (Some(OwnWrite::Moved { to, .. }), Some(version)) if version <= to)
        });
    }

    /// The transaction has committed: its writes enter the context.
    pub fn commit(&mut self, now: Instant) {
        for table in std::mem::take(&mut self.truncated) {
            self.contexts.forget_table(self.server, &self.database, table);
        }
        if self.has_written_any() && (self.key.is_some() || !self.earlier.is_empty()) {
            let mut forgotten = std::mem::take(&mut self.forgotten);
            if self.writes.evicted() + self.writes.expired() > self.lost {
                // More than could be kept: what became of some rows is not known.
                forgotten.append(&mut self.tables);
            }
            let committed = |(row, write): (&RowKey, OwnWrite)| (row.clone(), write);
            let mut writes: Vec<(RowKey, OwnWrite)> = self.writes.own_writes().map(committed).collect();
            for (key, rows) in std::mem::take(&mut self.earlier) {
                let theirs = writes.extract_if(.., |(row, _)| rows.contains(row)).collect();
                self.contexts.commit(&key, self.unit, theirs, &forgotten, now);
            }
            if let Some(key) = &self.key {
                self.contexts.commit(key, self.unit, writes, &forgotten, now);
            }
            self.own_work_read(now);
            self.entered = self.contexts.sequence();
        }
        self.end();
    }

    /// What the transaction has read of rows that it had written, once these writes have entered.
    fn own_work_read(&mut self, now: Instant) {
        for (key, read) in std::mem::take(&mut self.own_reads) {
            let (Some(key), Some(version)) = (key.as_ref().or(self.key.as_ref()), read.version) else {
                continue;
            };
            let version = match self.writes.own_write_of(&read.row, now) {
                // It alone has written the row since.
                Some(OwnWrite::Moved { from, to, .. }) if (from..=to).contains(&version) => to,
                Some(OwnWrite::Forgotten) => version,
                _ => continue,
            };
            if self.contexts.newest(key, &read.row, now).is_some_and(|newest| newest > version) {
                // Somebody else's later write has been read meanwhile.
                continue;
            }
            let read = Pending { version: Some(version), since: u64::MAX, ..read };
            read.enter(&self.contexts, key, self.unit, true);
        }
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

    fn end(&mut self) {
        self.local.rollback(Instant::now());
        self.local.clear();
        self.writes.commit();
        self.writes.clear();
        self.lost = self.writes.evicted() + self.writes.expired();
        self.tables.clear();
        self.forgotten.clear();
        self.truncated.clear();
        self.earlier.clear();
        self.unknown = 0;
        self.pending.clear();
        self.own_reads.clear();
        self.marks.clear();
    }
}
