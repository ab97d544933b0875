//! What was known of each row just before the open transaction's own writes, by savepoint.
//!
//! One level for the transaction and one per savepoint; each remembers a row once, at its first own write in
//! that level. Rolling back puts those rows back and leaves all others, so reads survive.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::mem::{size_of, swap, take};

use super::RowKey;
use super::store::Entry;

/// What was known of rows that a rollback undoes.
#[derive(Debug)]
pub(super) enum Undone {
    /// Each row with what was known before (`None`: nothing).
    Rows(Before),
    /// The log had outgrown its bounds: forget every row with an own write later than this number.
    Since(u64),
}

/// What was known of each row before a level's first own write of it (`None`: nothing).
type Before = HashMap<RowKey, Option<Entry>>;

/// One savepoint.
#[derive(Debug)]
struct Level {
    /// Its name as stored.
    name: Box<str>,
    before: Before,
}

/// The log of one scope.
#[derive(Debug)]
pub(super) struct Undo {
    /// The transaction's own level.
    base: Before,
    savepoints: Vec<Level>,
    bytes: usize,
    max_bytes: usize,
    /// Number of the last own write before the transaction.
    began: u64,
    /// Grown over `max_bytes` in this transaction: rows and savepoints are no longer remembered, and a
    /// rollback forgets all rows written since `began` (unknown, never wrong).
    overflow: bool,
}

/// Bytes of a level without rows.
fn level_bytes(name: &str) -> usize {
    size_of::<Level>() + name.len() + 16
}

fn row_bytes(key: &RowKey, before: Option<&Entry>) -> usize {
    before.map_or(2 * size_of::<(RowKey, Option<Entry>)>() + key.key.len() + 16, |e| {
        e.bytes(key) + size_of::<(RowKey, Option<Entry>)>()
    })
}

fn rows_bytes(rows: &Before) -> usize {
    rows.iter().map(|(k, e)| row_bytes(k, e.as_ref())).sum()
}

/// Moves the rows of an inner level into the one around it, which keeps what it knows itself: that is older.
/// Walks the smaller of the two, so that a savepoint around each of many statements stays cheap. Returns the
/// bytes of what was dropped.
fn merge(outer: &mut Before, mut inner: Before) -> usize {
    let mut dropped = 0;
    if inner.len() > outer.len() {
        swap(outer, &mut inner);
        for (key, older) in inner {
            let newer = outer.insert(key.clone(), older);
            if let Some(newer) = newer {
                dropped += row_bytes(&key, newer.as_ref());
            }
        }
    } else {
        for (key, newer) in inner {
            match outer.entry(key) {
                Slot::Occupied(slot) => dropped += row_bytes(slot.key(), newer.as_ref()),
                Slot::Vacant(slot) => {
                    slot.insert(newer);
                }
            }
        }
    }
    dropped
}

impl Undo {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { base: HashMap::new(), savepoints: Vec::new(), bytes: 0, max_bytes, began: 0, overflow: false }
    }

    /// Remembers what was known of a row before an own write, if this is the level's first of it.
    pub(super) fn record(&mut self, key: &RowKey, before: Option<&Entry>) {
        if self.overflow {
            return;
        }
        let level = self.savepoints.last_mut().map_or(&mut self.base, |l| &mut l.before);
        if level.contains_key(key) {
            return;
        }
        // Counted as cloned: a clone may hold less than what it was made from.
        let before = before.cloned();
        let bytes = row_bytes(key, before.as_ref());
        level.insert(key.clone(), before);
        self.grow(bytes);
    }

    pub(super) fn savepoint(&mut self, name: &str) {
        if self.overflow {
            return;
        }
        self.savepoints.push(Level { name: name.into(), before: HashMap::new() });
        self.grow(level_bytes(name));
    }

    /// Merges the savepoint, and those inside it, into the level around it.
    pub(super) fn release(&mut self, name: &str) {
        let Some(at) = self.find(name) else { return };
        for level in self.savepoints.split_off(at) {
            let outer = self.savepoints.last_mut().map_or(&mut self.base, |l| &mut l.before);
            let freed = merge(outer, level.before) + level_bytes(&level.name);
            self.bytes = self.bytes.saturating_sub(freed);
        }
    }

    /// Takes back everything since the savepoint, which stays. `None` if there is no such savepoint.
    pub(super) fn rollback_to(&mut self, name: &str) -> Option<Undone> {
        if self.overflow {
            return Some(Undone::Since(self.began));
        }
        let at = self.find(name)?;
        let mut undone = HashMap::new();
        for level in self.savepoints.split_off(at) {
            let freed = rows_bytes(&level.before) + level_bytes(&level.name);
            self.bytes = self.bytes.saturating_sub(freed);
            merge(&mut undone, level.before);
        }
        self.savepoint(name);
        Some(Undone::Rows(undone))
    }

    /// Takes back the whole transaction. `own` is the number of the last own write.
    pub(super) fn rollback(&mut self, own: u64) -> Undone {
        let undone = if self.overflow {
            Undone::Since(self.began)
        } else {
            let mut undone = take(&mut self.base);
            for level in self.savepoints.drain(..) {
                merge(&mut undone, level.before);
            }
            Undone::Rows(undone)
        };
        self.commit(own);
        undone
    }

    /// Own writes up to number `own` are there to stay.
    pub(super) fn commit(&mut self, own: u64) {
        self.reset();
        self.overflow = false;
        self.began = own;
    }

    /// What was known of these rows is no longer to come back.
    pub(super) fn forget_if(&mut self, gone: impl Fn(&RowKey) -> bool) {
        let levels = self.savepoints.iter_mut().map(|l| &mut l.before);
        for (key, before) in levels.chain([&mut self.base]).flatten() {
            if gone(key) {
                *before = None;
            }
        }
        self.bytes = self.counted_bytes();
    }

    /// The row has been written by the transaction (or it is too large to tell).
    pub(super) fn holds(&self, key: &RowKey) -> bool {
        self.overflow
            || self.base.contains_key(key)
            || self.savepoints.iter().any(|l| l.before.contains_key(key))
    }

    /// Rows written by the transaction (a row once for each level that wrote it).
    pub(super) fn written(&self) -> impl Iterator<Item = &RowKey> {
        self.savepoints.iter().flat_map(|l| l.before.keys()).chain(self.base.keys())
    }

    /// The open transaction has written the row, whose last own write was number `own`, and that is not undone.
    pub(super) fn wrote(&self, key: &RowKey, own: u64) -> bool {
        match self.overflowed_since() {
            Some(began) => own > began,
            None => self.base.contains_key(key) || self.savepoints.iter().any(|l| l.before.contains_key(key)),
        }
    }

    /// Number of the last own write before the transaction, if the log has outgrown its bounds.
    pub(super) fn overflowed_since(&self) -> Option<u64> {
        self.overflow.then_some(self.began)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Innermost savepoint of the name: an inner one shadows an outer one.
    fn find(&self, name: &str) -> Option<usize> {
        self.savepoints.iter().rposition(|l| &*l.name == name)
    }

    fn grow(&mut self, bytes: usize) {
        self.bytes += bytes;
        if self.bytes > self.max_bytes {
            self.reset();
            self.overflow = true;
        }
    }

    pub(super) fn counted_bytes(&self) -> usize {
        let levels = self.savepoints.iter().map(|l| level_bytes(&l.name) + rows_bytes(&l.before));
        levels.sum::<usize>() + rows_bytes(&self.base)
    }

    /// Empties the log and gives back what a large transaction made it hold.
    fn reset(&mut self) {
        if self.base.capacity() > 64 {
            self.base = HashMap::new();
        } else {
            self.base.clear();
        }
        if self.savepoints.capacity() > 64 {
            self.savepoints = Vec::new();
        } else {
            self.savepoints.clear();
        }
        self.bytes = 0;
    }
}
