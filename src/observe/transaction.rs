//! The transaction around a scope's own writes: its savepoints, its end, and what they undo.

use std::time::Instant;

use super::scope::OwnWrite;
use super::store::{Entry, Known};
use super::undo::Undone;
use super::*;

impl Observations {
    /// SAVEPOINT: `name` as stored.
    pub fn savepoint(&mut self, name: &str) {
        self.undo.savepoint(name);
    }

    /// RELEASE SAVEPOINT: its writes belong to the level around it. An unknown name changes nothing.
    pub fn release(&mut self, name: &str) {
        self.undo.release(name);
    }

    /// ROLLBACK TO SAVEPOINT, which stays. An unknown name changes nothing.
    pub fn rollback_to(&mut self, name: &str, now: Instant) {
        if let Some(undone) = self.undo.rollback_to(name) {
            self.take_back(undone, now);
        }
        for table in self.set_written.clone() {
            self.drop_table(table, Cause::Forgotten);
        }
    }

    /// The transaction, explicit or implicit, has committed.
    pub fn commit(&mut self) {
        for table in std::mem::take(&mut self.deferred) {
            self.drop_table(table, Cause::Trigger);
        }
        self.end();
        self.undo.commit(self.own);
    }

    /// The transaction, explicit or implicit, has rolled back or failed. Rows that it had written are put back
    /// to what was known just before; all other reads stay.
    pub fn rollback(&mut self, now: Instant) {
        let undone = self.undo.rollback(self.own);
        self.take_back(undone, now);
        self.deferred.clear();
        for table in std::mem::take(&mut self.set_written) {
            self.drop_table(table, Cause::Forgotten);
        }
        self.end();
    }

    /// No transaction is open any more.
    fn end(&mut self) {
        self.set_written.clear();
        self.swept.clear();
        self.unknown_written = 0;
    }

    /// Rows that the open transaction has written so far; one may come several times. Empty if the
    /// transaction is too large to remember.
    pub fn written_in_transaction(&self) -> impl Iterator<Item = &RowKey> {
        self.undo.written()
    }

    /// What the scope's own writes, which are all that it holds, did to the rows.
    pub(super) fn own_writes(&self) -> impl Iterator<Item = (&RowKey, OwnWrite)> {
        self.store.iter().map(|(key, entry)| (key, OwnWrite::of(entry)))
    }

    /// What the scope's own writes, which are all that it holds, did to a row.
    pub(super) fn own_write_of(&self, key: &RowKey, now: Instant) -> Option<OwnWrite> {
        self.store.peek(key, now).map(OwnWrite::of)
    }

    /// The end of the open transaction, or of a savepoint, may change what is known of the row.
    pub fn may_be_undone(&self, key: &RowKey) -> bool {
        self.set_written.contains(&key.table) || self.undo.holds(key)
    }

    /// PREPARE TRANSACTION: what it wrote is forgotten, since another session decides about it.
    pub fn forget_written(&mut self, now: Instant) {
        for table in std::mem::take(&mut self.deferred) {
            self.drop_table(table, Cause::Trigger);
        }
        for table in std::mem::take(&mut self.set_written) {
            self.drop_table(table, Cause::Forgotten);
        }
        if let Some(since) = self.undo.overflowed_since() {
            self.store.drop_if(Some(Cause::Forgotten), |_, entry| entry.own > since);
        }
        let written: Vec<RowKey> = self.undo.written().cloned().collect();
        for key in written {
            self.store.put(key, Entry { known: Known::Forgotten, own: self.own });
        }
        self.undo.commit(self.own);
        self.end();
        self.trim(now);
    }

    fn take_back(&mut self, undone: Undone, now: Instant) {
        match undone {
            Undone::Rows(rows) => {
                for (key, before) in rows {
                    match before {
                        Some(entry) => self.store.put(key, entry),
                        None => {
                            self.store.remove(&key);
                        }
                    }
                }
            }
            Undone::Since(own) => {
                self.store.drop_if(Some(Cause::Evicted), |_, entry| entry.own > own);
            }
        }
        self.trim(now);
    }
}
