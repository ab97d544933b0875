//! The bounded map of rows: least recently used goes first, old ones no longer count, bytes are kept track of.

use std::hash::BuildHasher;
use std::mem::size_of;
use std::time::{Duration, Instant};

use hashlink::LinkedHashMap;

use super::row::Observation;
use super::{Cause, Limits, RowKey};

/// What is kept of a row that was seen.
pub(super) trait Held {
    /// Heap bytes it holds.
    fn heap_bytes(&self) -> usize;
    /// True if it no longer counts.
    fn expired(&self, ttl: Duration, now: Instant) -> bool;
}

/// What an allocator adds to each allocation, about.
const ALLOCATION: usize = 16;
/// Bytes of one held row apart from its heap: list node with two links, and its slot in the hash table (a
/// pointer and a control byte, at worst half full after growth).
const fn row_size<O>() -> usize {
    size_of::<RowKey>() + size_of::<Entry<O>>() + 2 * size_of::<usize>() + ALLOCATION + 18
}
/// How many dropped rows are remembered (as hashes) to tell an evicted or expired row from one never read.
const GONE: usize = 256;

/// What the scope knows of a row.
#[derive(Debug, Clone)]
pub(super) enum Known<O = Observation> {
    /// It has seen or written it.
    Seen(O),
    /// It deleted it.
    Deleted,
    /// It wrote it unchecked: nobody can tell the version.
    Forgotten,
}

/// One held row.
#[derive(Debug, Clone)]
pub(super) struct Entry<O = Observation> {
    pub(super) known: Known<O>,
    /// Sequence number of the scope's last own write of the row; 0 for none.
    pub(super) own: u64,
}

impl<O: Held> Entry<O> {
    /// Bytes of the row, key and heap included.
    pub(super) fn bytes(&self, key: &RowKey) -> usize {
        row_size::<O>() + key.key.len() + ALLOCATION + self.heap_bytes()
    }

    fn heap_bytes(&self) -> usize {
        match &self.known {
            Known::Seen(o) => o.heap_bytes(),
            Known::Deleted | Known::Forgotten => 0,
        }
    }

    fn expired(&self, limits: &Limits, now: Instant) -> bool {
        match &self.known {
            Known::Seen(o) => o.expired(limits.ttl, now),
            Known::Deleted | Known::Forgotten => false,
        }
    }
}

/// The rows of one scope.
#[derive(Debug)]
pub(super) struct Store<O = Observation> {
    rows: LinkedHashMap<RowKey, Entry<O>>,
    bytes: usize,
    limits: Limits,
    /// Highest own-write number among rows that were dropped: a cursor opened before it may not teach a row
    /// of which nothing is held.
    lost_own: u64,
    gone: LinkedHashMap<u64, Cause>,
    evicted: u64,
    expired: u64,
}

impl<O: Held> Store<O> {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            rows: LinkedHashMap::new(),
            bytes: 0,
            limits,
            lost_own: 0,
            gone: LinkedHashMap::new(),
            evicted: 0,
            expired: 0,
        }
    }

    /// The row, if held and not expired, without making it recently used.
    pub(super) fn peek(&self, key: &RowKey, now: Instant) -> Option<&Entry<O>> {
        self.rows.get(key).filter(|e| !e.expired(&self.limits, now))
    }

    /// Changes a held row, which becomes the most recently used. `None` if it is not held (any more).
    pub(super) fn change<R>(
        &mut self,
        key: &RowKey,
        now: Instant,
        f: impl FnOnce(&mut Entry<O>) -> R,
    ) -> Option<R> {
        let entry = self.rows.to_back(key)?;
        if entry.expired(&self.limits, now) {
            self.expire(key);
            return None;
        }
        let before = entry.heap_bytes();
        let result = f(entry);
        let after = entry.heap_bytes();
        self.bytes = (self.bytes + after).saturating_sub(before);
        Some(result)
    }

    /// Holds `entry`, in place of what was held.
    pub(super) fn put(&mut self, key: RowKey, entry: Entry<O>) {
        let bytes = entry.bytes(&key);
        self.remove(&key);
        self.bytes += bytes;
        self.rows.insert(key, entry);
    }

    /// Holds nothing of the row.
    pub(super) fn remove(&mut self, key: &RowKey) -> Option<Entry<O>> {
        let (key, entry) = self.rows.remove_entry(key)?;
        self.bytes = self.bytes.saturating_sub(entry.bytes(&key));
        Some(entry)
    }

    /// Brings the store within its limits, `beside` being bytes that count but are held elsewhere.
    pub(super) fn trim(&mut self, beside: usize, now: Instant) {
        // Old rows sit at the front; two a time keep up with any rate of new ones.
        for _ in 0..2 {
            match self.rows.front() {
                Some((key, entry)) if entry.expired(&self.limits, now) => {
                    let key = key.clone();
                    self.expire(&key);
                }
                _ => break,
            }
        }
        while self.rows.len() > self.limits.max_rows || self.bytes + beside > self.limits.max_bytes {
            let Some((key, entry)) = self.rows.pop_front() else { break };
            self.bytes = self.bytes.saturating_sub(entry.bytes(&key));
            self.lost_own = self.lost_own.max(entry.own);
            self.evicted += 1;
            self.note_gone(&key, Cause::Evicted);
        }
    }

    /// Drops rows; a walk over all of them, for the rare statements that need it.
    pub(super) fn drop_if(&mut self, cause: Option<Cause>, gone: impl Fn(&RowKey, &Entry<O>) -> bool) {
        let keys: Vec<RowKey> =
            self.rows.iter().filter(|(k, e)| gone(k, e)).map(|(k, _)| k.clone()).collect();
        for key in keys {
            if let Some(entry) = self.remove(&key) {
                self.lost_own = self.lost_own.max(entry.own);
            }
            if let Some(cause) = cause {
                self.note_gone(&key, cause);
            }
        }
    }

    /// Rows of a table that are held, the ones last used first; a walk over all, for the rare statements that need it.
    pub(super) fn of_table(&self, table: u32, limit: usize) -> (Vec<RowKey>, usize) {
        let mut of_table = self.rows.iter().rev().filter(|(key, _)| key.table == table);
        let rows = of_table.by_ref().take(limit).map(|(key, _)| key.clone()).collect();
        (rows, of_table.filter(|(_, entry)| matches!(entry.known, Known::Seen(_))).count())
    }

    /// Every row held, expired ones too.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&RowKey, &Entry<O>)> {
        self.rows.iter()
    }

    /// Drops everything and its memory. Cursors opened before own write number `own` teach nothing new.
    pub(super) fn clear(&mut self, own: u64) {
        self.rows = LinkedHashMap::new();
        self.gone = LinkedHashMap::new();
        self.bytes = 0;
        self.lost_own = own;
    }

    /// Own writes up to this number may have touched rows of which nothing is held.
    pub(super) fn lose_own(&mut self, own: u64) {
        self.lost_own = self.lost_own.max(own);
    }

    /// See [`Self::lose_own`].
    pub(super) fn lost_own(&self) -> u64 {
        self.lost_own
    }

    /// Why nothing is held of the row.
    pub(super) fn cause(&self, key: &RowKey) -> Cause {
        if self.gone.is_empty() {
            return Cause::NeverRead;
        }
        self.gone.get(&self.rows.hasher().hash_one(key)).copied().unwrap_or(Cause::NeverRead)
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn evicted(&self) -> u64 {
        self.evicted
    }

    pub(super) fn expired(&self) -> u64 {
        self.expired
    }

    fn expire(&mut self, key: &RowKey) {
        if let Some(entry) = self.remove(key) {
            self.lost_own = self.lost_own.max(entry.own);
            self.expired += 1;
            self.note_gone(key, Cause::Expired);
        }
    }

    /// Nothing is held of the row, for this reason.
    pub(super) fn note_gone(&mut self, key: &RowKey, cause: Cause) {
        self.gone.insert(self.rows.hasher().hash_one(key), cause);
        if self.gone.len() > GONE {
            self.gone.pop_front();
        }
    }

    /// The bytes as a fresh count says, for tests of the running one.
    #[cfg(test)]
    pub(super) fn counted_bytes(&self) -> usize {
        self.rows.iter().map(|(k, e)| e.bytes(k)).sum()
    }
}
