//! All contexts of this process, bounded each and in total.

mod origin;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hashlink::LinkedHashMap;

use super::journal::Journal;
use super::row::{Row, Shown, Wrote};
use super::servers::{ServerId, Servers};
use super::store::ContextStore;
use super::{ContextKey, ContextLimits, Reads, Unit};
use crate::observe::scope::OwnWrite;
use crate::observe::store::{Entry, Known, Store};
use crate::observe::{Cause, Limits, Lookup, Origin, RowKey, WrittenBack};
use crate::sql::columns::ColumnSet;

/// At most this many parts share the total of bytes and have a lock of their own.
const PARTS: usize = 16;
/// Bytes of a context without rows and label, about.
const EMPTY: usize = 512;

/// A table by server, database and OID.
pub(super) type Table = (ServerId, Arc<str>, u32);

#[derive(Debug)]
struct Context {
    store: Store<Row>,
    /// Number of its last own write.
    own: u64,
    used: Instant,
    /// Bytes of its label.
    label: usize,
}

impl Context {
    fn bytes(&self) -> usize {
        self.store.bytes() + EMPTY + self.label
    }
}

#[derive(Debug, Default)]
struct Part {
    /// Least recently used first.
    contexts: LinkedHashMap<ContextKey, Context>,
    bytes: usize,
    /// Highest number of an own write of a context that went.
    lost_own: u64,
}

impl Part {
    /// The least recently used context goes; how many rows it had.
    fn drop_oldest(&mut self) -> Option<u64> {
        let (_, gone) = self.contexts.pop_front()?;
        self.bytes = self.bytes.saturating_sub(gone.bytes());
        self.lost_own = self.lost_own.max(gone.own);
        Some(gone.store.rows() as u64)
    }
}

/// The observations of all contexts.
///
/// Cheap to call from any thread; each call locks one part for the time of a few map operations.
#[derive(Debug)]
pub struct Contexts {
    parts: Box<[Mutex<Part>]>,
    /// Number of the last own write that has entered: one order for all contexts, so that it holds for a cursor whatever
    /// label its rows are read under.
    entered: AtomicU64,
    hasher: RandomState,
    limits: ContextLimits,
    servers: Mutex<Servers>,
    /// The attribute number of the version column of each table that is known.
    stamps: Mutex<HashMap<Table, i16>>,
    evicted: AtomicU64,
    expired: AtomicU64,
    /// The way to the store that other processes share, if there is one.
    journal: Option<Journal>,
}

impl Contexts {
    /// Nothing known yet.
    pub fn new(limits: ContextLimits) -> Self {
        // A part must hold several contexts of full size, or the bound of the total would undercut that of one.
        let parts = (limits.max_total_bytes / limits.max_bytes.max(1) / 4).clamp(1, PARTS);
        Self {
            parts: (0..parts).map(|_| Mutex::default()).collect(),
            entered: AtomicU64::new(0),
            hasher: RandomState::new(),
            limits,
            servers: Mutex::default(),
            stamps: Mutex::default(),
            evicted: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            journal: None,
        }
    }

    /// Likewise, and shared with other processes by a store.
    pub fn with_store(limits: ContextLimits, store: Arc<dyn ContextStore>) -> Self {
        Self { journal: Some(Journal::new(store)), ..Self::new(limits) }
    }

    /// The way to the store that other processes share, if there is one.
    pub(super) fn journal(&self) -> Option<&Journal> {
        self.journal.as_ref()
    }

    /// The bounds and rules it was made with.
    pub fn limits(&self) -> &ContextLimits {
        &self.limits
    }

    /// Contexts held.
    pub fn len(&self) -> usize {
        self.parts.iter().map(|p| lock(p).contexts.len()).sum()
    }

    /// True if nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes held (an estimate that errs upwards).
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|p| lock(p).bytes).sum()
    }

    /// Rows held.
    pub fn rows(&self) -> usize {
        self.parts.iter().map(|p| lock(p).contexts.values().map(|c| c.store.rows()).sum::<usize>()).sum()
    }

    /// Rows dropped to stay within the bounds, so far.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Rows dropped because they were too old, so far.
    pub fn expired(&self) -> u64 {
        self.expired.load(Ordering::Relaxed)
    }

    /// Drops contexts that were not used for the time to live.
    pub fn sweep(&self, now: Instant) {
        for part in &self.parts {
            let part = &mut *lock(part);
            while let Some((_, context)) = part.contexts.front() {
                if now.saturating_duration_since(context.used) <= self.limits.ttl {
                    break;
                }
                let Some(rows) = part.drop_oldest() else { break };
                self.expired.fetch_add(rows, Ordering::Relaxed);
            }
        }
    }

    /// Shows every context and its rows, the least recently used first.
    pub(super) fn each(
        &self,
        mut show: impl FnMut(&ContextKey, &mut dyn Iterator<Item = (&RowKey, &Entry<Row>)>),
    ) {
        for part in &self.parts {
            for (key, context) in &lock(part).contexts {
                show(key, &mut context.store.iter());
            }
        }
    }

    /// Puts rows into a context, in place of what it knows of them.
    pub(super) fn put(
        &self,
        key: &ContextKey,
        rows: impl Iterator<Item = (RowKey, Entry<Row>)>,
        now: Instant,
    ) {
        self.with(key, now, |context| {
            for (row, entry) in rows {
                context.store.put(row, entry);
            }
        });
    }

    /// What the store knows of a row takes the place of what is known of it here.
    pub(super) fn take_in(&self, key: &ContextKey, row: &RowKey, known: Option<Known<Row>>, now: Instant) {
        self.with(key, now, |context| {
            let own = context.store.peek(row, now).map_or(0, |entry| entry.own);
            match known {
                Some(known) => context.store.put(row.clone(), Entry { known, own }),
                None => {
                    context.store.remove(row);
                    context.store.lose_own(own);
                }
            }
        });
    }

    /// Why nothing is known of a row.
    pub(super) fn cause(&self, key: &ContextKey, row: &RowKey) -> Cause {
        let part = lock(self.part(key));
        part.contexts.get(key).map_or(Cause::NeverRead, |context| context.store.cause(row))
    }

    /// The present point in the order of own writes.
    pub(super) fn sequence(&self) -> u64 {
        self.entered.load(Ordering::SeqCst)
    }

    /// Asked for with the context's part locked.
    fn next_own(&self) -> u64 {
        self.entered.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// A result of a unit showed columns of a row. `since`: its statement was sent, or its cursor opened, at that point in
    /// the order of own writes. What has been written since it may not show, unless it shows it.
    pub(super) fn read(&self, key: &ContextKey, row: RowKey, shown: &Shown<'_>, since: u64) {
        self.with(key, shown.now, |context| {
            let stale = match context.store.peek(&row, shown.now) {
                Some(Entry { known: Known::Seen(seen), own }) => {
                    *own > since && shown.version < seen.present()
                }
                Some(Entry { own, .. }) => *own > since,
                None => context.store.lost_own() > since,
            };
            if stale {
                return;
            }
            if let Some(journal) = &self.journal {
                journal.read(key, &row, shown);
            }
            let known = context.store.change(&row, shown.now, |entry| match &mut entry.known {
                Known::Seen(seen) => seen.read(shown),
                other => *other = Known::Seen(Row::new(shown)),
            });
            if known.is_none() {
                context.store.put(row, Entry { known: Known::Seen(Row::new(shown)), own: 0 });
            }
        });
    }

    /// A cursor opened at that point in the order of own writes showed a unit columns of a row, and not its version.
    pub(super) fn saw_undated(
        &self,
        key: &ContextKey,
        row: &RowKey,
        (shown, unit): (&ColumnSet, Unit),
        opened: u64,
        now: Instant,
    ) {
        self.with(key, now, |context| {
            if let Some(journal) = &self.journal {
                journal.undated(key, row, shown, unit);
            }
            let known = context.store.change(row, now, |entry| match &mut entry.known {
                Known::Seen(seen) if entry.own <= opened => seen.saw_undated(shown, unit),
                _ => {}
            });
            if known.is_none() {
                context.store.note_gone(row, Cause::Cursor);
            }
        });
    }

    /// The newest version that a context has seen the row at; `None`: it knows none.
    pub(super) fn newest(&self, key: &ContextKey, row: &RowKey, now: Instant) -> Option<i64> {
        let part = lock(self.part(key));
        match part.contexts.get(key).and_then(|c| c.store.peek(row, now)) {
            Some(Entry { known: Known::Seen(seen), .. }) => Some(seen.present()),
            _ => None,
        }
    }

    /// The version that a write of `sets` in `unit` is based on.
    pub(super) fn expected(
        &self,
        key: &ContextKey,
        row: &RowKey,
        sets: &ColumnSet,
        unit: Unit,
        now: Instant,
    ) -> Lookup {
        self.with(key, now, |context| {
            let reads = self.limits.reads;
            let found = context.store.change(row, now, |entry| expected_by(&entry.known, sets, unit, reads));
            found.unwrap_or_else(|| Lookup::Unknown(context.store.cause(row)))
        })
    }

    /// How to understand `SET version = n`.
    pub(super) fn written_back(
        &self,
        key: &ContextKey,
        row: &RowKey,
        n: i64,
        sets: &ColumnSet,
        unit: Unit,
        now: Instant,
    ) -> WrittenBack {
        let part = lock(self.part(key));
        match part.contexts.get(key).and_then(|c| c.store.peek(row, now)) {
            Some(Entry { known: Known::Seen(seen), .. }) => {
                seen.written_back(n, sets, unit, self.limits.reads)
            }
            _ => WrittenBack::BasedOn(n),
        }
    }

    /// True if the last that the context knows of the row is that it deleted it itself.
    pub(super) fn deleted(&self, key: &ContextKey, row: &RowKey, now: Instant) -> bool {
        let part = lock(self.part(key));
        let entry = part.contexts.get(key).and_then(|c| c.store.peek(row, now));
        matches!(entry, Some(Entry { known: Known::Deleted, .. }))
    }

    /// Up to `limit` rows of a table of which something is known, and how many there are beyond.
    pub(super) fn known_rows(&self, key: &ContextKey, table: u32, limit: usize) -> (Vec<RowKey>, usize) {
        let part = lock(self.part(key));
        part.contexts.get(key).map_or_else(Default::default, |context| context.store.of_table(table, limit))
    }

    /// A transaction of `unit` has committed: its writes enter. `tables`: of these it wrote rows that are not known.
    pub(super) fn commit(
        &self,
        key: &ContextKey,
        unit: Unit,
        writes: Vec<(RowKey, OwnWrite)>,
        tables: &[u32],
        now: Instant,
    ) {
        self.with(key, now, |context| {
            if let Some(journal) = &self.journal {
                journal.committed(key, unit, &writes, tables, now);
            }
            context.own = self.next_own();
            for table in tables {
                context.store.drop_if(Some(Cause::Forgotten), |row, _| row.table == *table);
                context.store.lose_own(context.own);
            }
            for (row, write) in writes {
                context.own = self.next_own();
                context.wrote(row, write, unit, now);
            }
        });
    }

    /// A write was refused. Returns how many times in a row that has happened to the context on this row.
    pub(super) fn refused(
        &self,
        key: &ContextKey,
        row: &RowKey,
        unit: Unit,
        (expected, actual): (i64, Option<i64>),
        now: Instant,
    ) -> u32 {
        self.with(key, now, |context| {
            if let Some(journal) = &self.journal {
                journal.refused(key, row, unit, (expected, actual), now);
            }
            let refused = context.store.change(row, now, |entry| match &mut entry.known {
                Known::Seen(seen) => seen.refused(unit, expected, actual, self.limits.after_conflict, now),
                Known::Deleted | Known::Forgotten => 1,
            });
            refused.unwrap_or(1)
        })
    }

    fn part(&self, key: &ContextKey) -> &Mutex<Part> {
        let n = usize::try_from(self.hasher.hash_one(key)).unwrap_or(usize::MAX) % self.parts.len().max(1);
        // There is at least one part, and the number is below their count.
        #[allow(clippy::indexing_slicing)]
        &self.parts[n]
    }

    /// Works on a context, made if it is not there, and keeps the bounds.
    fn with<R>(&self, key: &ContextKey, now: Instant, f: impl FnOnce(&mut Context) -> R) -> R {
        let part = &mut *lock(self.part(key));
        let Part { contexts, bytes, lost_own } = part;
        let held = contexts.len();
        let context = contexts.entry(key.clone()).or_insert_with(|| {
            let mut store = Store::new(Limits {
                max_rows: self.limits.max_rows,
                max_bytes: self.limits.max_bytes,
                ttl: self.limits.ttl,
                conflict_hold: Duration::ZERO,
            });
            store.lose_own(*lost_own);
            Context { store, own: 0, used: now, label: key.label.len() }
        });
        let before = (context.bytes(), context.store.evicted(), context.store.expired());
        context.used = now;
        let result = f(context);
        context.store.trim(0, now);
        *bytes += context.bytes();
        self.evicted.fetch_add(context.store.evicted().saturating_sub(before.1), Ordering::Relaxed);
        self.expired.fetch_add(context.store.expired().saturating_sub(before.2), Ordering::Relaxed);
        if contexts.len() == held {
            *bytes = bytes.saturating_sub(before.0);
        }
        contexts.to_back(key);
        let share = self.limits.max_total_bytes / self.parts.len().max(1);
        while part.bytes > share && part.contexts.len() > 1 {
            let Some(rows) = part.drop_oldest() else { break };
            self.evicted.fetch_add(rows, Ordering::Relaxed);
        }
        result
    }
}

impl Context {
    fn wrote(&mut self, row: RowKey, write: OwnWrite, unit: Unit, now: Instant) {
        let own = self.own;
        let known = match write {
            OwnWrite::Moved { from, to, known, at } => {
                let held = self.store.change(&row, now, |entry| {
                    entry.own = own;
                    match &mut entry.known {
                        Known::Seen(seen) => {
                            seen.wrote(&Wrote { from, to, known: &known, unit, landed: at }, now);
                        }
                        // A row of which nothing is known stays so, unless the write has shown or set something.
                        Known::Deleted | Known::Forgotten if known.is_empty() => {}
                        other => *other = Known::Seen(Row::written_first(&written(unit, to, &known, now))),
                    }
                });
                match held {
                    Some(()) => return,
                    None if known.is_empty() => return self.store.lose_own(own),
                    None => Known::Seen(Row::written_first(&written(unit, to, &known, now))),
                }
            }
            OwnWrite::Deleted => Known::Deleted,
            // Of what it does not know there is nothing to forget.
            OwnWrite::Forgotten if self.store.peek(&row, now).is_none() => return self.store.lose_own(own),
            OwnWrite::Forgotten => Known::Forgotten,
        };
        self.store.put(row, Entry { known, own });
    }
}

/// The version that a write of `sets` in `unit` is based on, by what is known of the row.
pub(super) fn expected_by(known: &Known<Row>, sets: &ColumnSet, unit: Unit, reads: Reads) -> Lookup {
    match known {
        Known::Seen(seen) => match seen.expected(sets, unit, reads) {
            Some((version, seen_at, unit)) => {
                Lookup::Known { version, seen_at, unit: Some(unit), origin: Origin::Read }
            }
            None => Lookup::Unknown(Cause::Cursor),
        },
        Known::Deleted | Known::Forgotten => Lookup::Unknown(Cause::Forgotten),
    }
}

fn written<'a>(unit: Unit, version: i64, columns: &'a ColumnSet, now: Instant) -> Shown<'a> {
    Shown { unit, version, columns, now, own: true, cursor: false, own_work: false }
}

/// A panic while a part was locked has left it as consistent as single map operations are.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
