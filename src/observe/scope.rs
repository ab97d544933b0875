//! What one scope knows: rows, bounds and undo put together.

use std::time::Instant;

use super::row::{Observation, WrittenBack};
use super::store::{Entry, Known, Store};
use super::undo::Undo;
use super::{Cause, Limits, Lookup, RowKey};
use crate::sql::columns::ColumnSet;

/// A point in the order of own writes. Taken when a statement is sent, or a cursor or portal opened, and given back with
/// what it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sequence {
    /// Number of the last own write of the session.
    own: u64,
    /// And of the last that has entered any context.
    entered: u64,
}

impl Sequence {
    /// With that of all contexts.
    pub(super) fn with_entered(self, entered: u64) -> Self {
        Self { entered, ..self }
    }

    /// The number of the last write that had entered a context.
    pub(super) fn entered(self) -> u64 {
        self.entered
    }

    /// The same point as far as the session's own writes go, and for those of others when its statement was sent.
    pub fn sent(self, sent: Self) -> Self {
        Self { entered: sent.entered, ..self }
    }
}

/// What own writes did to a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum OwnWrite {
    /// They took it from one version to another; these columns are known at the latter. The last of them landed `at`.
    Moved { from: i64, to: i64, known: ColumnSet, at: Instant },
    /// They deleted it.
    Deleted,
    /// Nobody can tell.
    Forgotten,
}

impl OwnWrite {
    pub(super) fn of(entry: &Entry) -> Self {
        match &entry.known {
            Known::Seen(seen) => match seen.own_moves() {
                Some((from, to, known, at)) => Self::Moved { from, to, known, at },
                None => Self::Forgotten,
            },
            Known::Deleted => Self::Deleted,
            Known::Forgotten => Self::Forgotten,
        }
    }
}

/// The observations of one scope.
///
/// ```
/// use std::time::Instant;
/// use staleguard::observe::{Limits, Observations, RowKey};
/// use staleguard::sql::columns::ColumnSet;
///
/// let (now, name) = (Instant::now(), ColumnSet::from_iter([2]));
/// let row = RowKey::new(16384, "7");
/// let mut seen = Observations::new(Limits::default());
/// seen.read(row.clone(), 5, &name, now);
/// assert_eq!(seen.expected(&row, &name, now).version(), Some(5));
/// seen.wrote_checked(&row, 5, &name, now);
/// assert_eq!(seen.expected(&row, &name, now).version(), Some(6));
/// seen.rollback(now);
/// assert_eq!(seen.expected(&row, &name, now).version(), Some(5));
/// ```
///
/// Every method costs the same however many rows are held, but for [`Self::forget_table`], [`Self::clear`] and
/// what a rollback takes back.
#[derive(Debug)]
pub struct Observations {
    pub(super) store: Store,
    pub(super) undo: Undo,
    /// Number of the scope's last own write.
    pub(super) own: u64,
    /// Tables of which the open transaction has written rows that are not known: what it reads of them since may
    /// be its own work.
    pub(super) set_written: Vec<u32>,
    /// Tables that deferred triggers may change when the open transaction commits.
    pub(super) deferred: Vec<u32>,
    /// Tables of which the open transaction has written more unknown rows than are remembered singly: a row of them
    /// that it meets for the first time may be its own work.
    pub(super) swept: Vec<u32>,
    /// How many unknown rows of set writes the open transaction has remembered singly.
    pub(super) unknown_written: usize,
}

/// Unknown rows of set writes that a transaction remembers singly, for its rollback.
const MAX_UNKNOWN: usize = 1_000;

/// What a write that [`Observations::moved`] was told of means for its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// Nothing was known of the row, or no version.
    Unknown,
    /// What was known under the version before has moved with it.
    Moved,
    /// Known under other versions than the one before, this the newest of them: left as it is.
    Left(i64),
}

impl Observations {
    /// Nothing known yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            store: Store::new(limits),
            undo: Undo::new(limits.max_bytes / 2),
            own: 0,
            set_written: Vec::new(),
            deferred: Vec::new(),
            swept: Vec::new(),
            unknown_written: 0,
        }
    }

    /// The client's result showed it `shown` of a row at `version`.
    ///
    /// `shown` holds the columns beyond the key, the version's own slot included where the client asked for
    /// it; an empty set teaches nothing. For rows that a cursor or a suspended portal brings use
    /// [`Self::read_from_cursor`].
    pub fn read(&mut self, key: RowKey, version: i64, shown: &ColumnSet, now: Instant) {
        if !shown.is_empty() {
            self.learn(key, now, |o| o.read(version, shown, now), version, shown);
        }
    }

    /// As [`Self::read`], for a cursor or portal opened at `opened`: it never lowers what an own write after
    /// that has taught, nor the row's newest read.
    pub fn read_from_cursor(
        &mut self,
        key: RowKey,
        version: i64,
        shown: &ColumnSet,
        opened: Sequence,
        now: Instant,
    ) {
        if shown.is_empty() {
            return;
        }
        match self.store.peek(&key, now) {
            // Written since by this scope, and what is in the row now is not known.
            Some(Entry { known: Known::Deleted | Known::Forgotten, own }) if *own > opened.own => {}
            None if self.store.lost_own() > opened.own => {}
            Some(Entry { own, .. }) if *own > opened.own => {
                self.learn(key, now, |o| o.read_from_stale_cursor(version, shown, now), version, shown);
            }
            _ => self.learn(key, now, |o| o.read_from_cursor(version, shown, now), version, shown),
        }
    }

    /// A cursor opened at `opened` showed `shown` of a row and not its version: in which state the client has seen
    /// these columns is unknown from now on. What an own write has taught stays where the cursor can show nothing
    /// newer: opened before it, or the row is still locked by it.
    pub fn saw_undated(&mut self, key: &RowKey, shown: &ColumnSet, opened: Sequence, now: Instant) {
        if shown.is_empty() {
            return;
        }
        let not_newer = match self.store.peek(key, now) {
            Some(Entry { known: Known::Seen(_), own }) => *own > opened.own || self.undo.wrote(key, *own),
            // What the scope did to the row itself is the better reason for not knowing it.
            Some(_) => return,
            None => return self.store.note_gone(key, Cause::Cursor),
        };
        self.store.change(key, now, |entry| {
            if let Known::Seen(o) = &mut entry.known {
                o.saw_undated(shown, not_newer);
            }
        });
        self.trim(now);
    }

    /// The present point in the order of own writes, to keep with a cursor or portal when it is opened.
    pub fn sequence(&self) -> Sequence {
        Sequence { own: self.own, entered: 0 }
    }

    /// It has written since.
    pub fn has_written_since(&self, opened: Sequence) -> bool {
        opened.own != self.own
    }

    /// It may have written this row since.
    pub fn has_written_row_since(&self, key: &RowKey, opened: Sequence, now: Instant) -> bool {
        self.store.peek(key, now).map_or_else(|| self.store.lost_own(), |entry| entry.own) > opened.own
    }

    /// The version that a write of the columns `sets` is based on: the lowest under which one of them was
    /// seen. A column never shown counts as seen with the row's newest read.
    pub fn expected(&mut self, key: &RowKey, sets: &ColumnSet, now: Instant) -> Lookup {
        let found = self.store.change(key, now, |entry| match &entry.known {
            Known::Seen(o) => match o.expected(sets) {
                Some((version, seen_at)) => {
                    Lookup::Known { version, seen_at, unit: None, origin: o.origin() }
                }
                None => Lookup::Unknown(Cause::Cursor),
            },
            Known::Deleted | Known::Forgotten => Lookup::Unknown(Cause::Forgotten),
        });
        found.unwrap_or_else(|| Lookup::Unknown(self.store.cause(key)))
    }

    /// How to understand `SET version = n` (a constant or parameter) in a write that also sets `sets`.
    pub fn written_back(&self, key: &RowKey, n: i64, sets: &ColumnSet, now: Instant) -> WrittenBack {
        match self.store.peek(key, now) {
            Some(Entry { known: Known::Seen(o), .. }) => o.written_back(n, sets),
            _ => WrittenBack::BasedOn(n),
        }
    }

    /// An own checked write of `sets` landed: the row is at `expected` + 1 now. Columns known under `expected`
    /// move with it, those known under a lower version stay. May be called before or after
    /// [`Self::returned`] for the same write.
    pub fn wrote_checked(&mut self, key: &RowKey, expected: i64, sets: &ColumnSet, now: Instant) {
        let own = self.own_write(key, now);
        let known = self.store.change(key, now, |entry| {
            entry.own = own;
            match &mut entry.known {
                Known::Seen(o) => o.wrote_checked(expected, sets, now),
                other => {
                    *other = Known::Seen(Observation::first_write(expected.saturating_add(1), sets, now));
                }
            }
        });
        if known.is_none() {
            let row = Observation::first_write(expected.saturating_add(1), sets, now);
            self.store.put(key.clone(), Entry { known: Known::Seen(row), own });
        }
        self.trim(now);
    }

    /// An own checked write of `sets` landed on `expected` and left the row at `version`, as its RETURNING shows: not
    /// one more where a trigger moves versions too.
    pub fn wrote_to(&mut self, key: &RowKey, expected: i64, version: i64, sets: &ColumnSet, now: Instant) {
        let own = self.own_write(key, now);
        self.store.change(key, now, |entry| {
            entry.own = own;
            if let Known::Seen(o) = &mut entry.known {
                o.wrote_to(expected, version, sets, now);
            }
        });
        self.trim(now);
    }

    /// An own unchecked write left the row at `version`, as a hidden RETURNING shows: what was known under the version
    /// before moves with it, an unknown row stays unknown. However many rows it is told of, it takes no more memory.
    pub fn moved(&mut self, key: &RowKey, version: i64, now: Instant) -> Moved {
        self.wrote_unknown(key, now);
        let moved = self.store.change(key, now, |entry| match &mut entry.known {
            Known::Seen(o) => o.moved(version, now).map_or_else(Moved::Left, |()| Moved::Moved),
            Known::Deleted | Known::Forgotten => Moved::Unknown,
        });
        moved.unwrap_or(Moved::Unknown)
    }

    /// An own write of a row of which nothing is known: it stays unknown, and what is read of it from now on goes with
    /// the write if that is undone. However many rows it is told of, it takes no more memory.
    pub fn wrote_unknown(&mut self, key: &RowKey, now: Instant) {
        if self.store.peek(key, now).is_some() {
            let own = self.own_write(key, now);
            self.store.change(key, now, |entry| entry.own = own);
            return;
        }
        if self.unknown_written < MAX_UNKNOWN {
            self.own_write(key, now);
            self.unknown_written += 1;
        } else {
            self.own += 1;
            if !self.swept.contains(&key.table) {
                self.swept.push(key.table);
            }
        }
        self.store.lose_own(self.own);
    }

    /// An own write, checked or not, left the row at `version`, and its RETURNING showed the client `shown`.
    ///
    /// With `shown` empty (a hidden RETURNING) an unknown row stays unknown, and a known one moves if it was
    /// known at `version` - 1, else it is left as it is.
    pub fn returned(&mut self, key: RowKey, version: i64, shown: &ColumnSet, now: Instant) {
        let own = self.own_write(&key, now);
        let known = self.store.change(&key, now, |entry| {
            entry.own = own;
            match &mut entry.known {
                Known::Seen(o) => o.returned(version, shown, now),
                other if !shown.is_empty() => {
                    *other = Known::Seen(Observation::first_write(version, shown, now));
                }
                Known::Deleted | Known::Forgotten => {}
            }
        });
        match (known, shown.is_empty()) {
            (None, false) => {
                let row = Observation::first_write(version, shown, now);
                self.store.put(key, Entry { known: Known::Seen(row), own });
            }
            (None, true) => self.store.lose_own(own),
            (Some(()), _) => {}
        }
        self.trim(now);
    }

    /// An own write whose outcome nobody can tell: the row is forgotten until it is read again.
    pub fn wrote_unchecked(&mut self, key: &RowKey, now: Instant) {
        let own = self.own_write(key, now);
        self.store.put(key.clone(), Entry { known: Known::Forgotten, own });
        self.trim(now);
    }

    /// An own INSERT of the row landed: what is known of a row that had this key before is forgotten. Of a row of which
    /// nothing is known nothing is held; what is read of it from now on goes with the INSERT if that is undone. Of a bulk
    /// load not every row is noted.
    pub fn began_anew(&mut self, key: &RowKey, now: Instant) {
        match self.store.peek(key, now) {
            Some(Entry { known: Known::Seen(_), .. }) => self.wrote_unchecked(key, now),
            Some(_) => self.wrote_unknown(key, now),
            None if self.unknown_written < MAX_UNKNOWN => {
                self.own_write(key, now);
                self.unknown_written += 1;
            }
            None => {}
        }
    }

    /// An own DELETE of the row landed.
    pub fn deleted(&mut self, key: &RowKey, now: Instant) {
        let own = self.own_write(key, now);
        self.store.put(key.clone(), Entry { known: Known::Deleted, own });
        self.trim(now);
    }

    /// True if the last this scope knows of the row is that it deleted it itself.
    pub fn deleted_by_us(&self, key: &RowKey, now: Instant) -> bool {
        matches!(self.store.peek(key, now), Some(Entry { known: Known::Deleted, .. }))
    }

    /// A write based on this observation was refused. What rests on a read stays until the row is read again;
    /// what rests on an own write alone is dropped after [`Limits::conflict_hold`].
    pub fn refused(&mut self, key: &RowKey, now: Instant) {
        let hold = self.store.limits().conflict_hold;
        self.store.change(key, now, |entry| {
            if let Known::Seen(o) = &mut entry.known {
                o.refused(hold, now);
            }
        });
    }

    /// Up to `limit` rows of a table of which something is held, the ones last used first, and how many there are
    /// beyond.
    pub fn known_rows(&self, table: u32, limit: usize) -> (Vec<RowKey>, usize) {
        self.store.of_table(table, limit)
    }

    /// Forgets all rows of a table: TRUNCATE, the table or its version column made anew, a set write whose
    /// rows are not known. A rollback does not bring them back.
    pub fn forget_table(&mut self, table: u32) {
        if !self.set_written.contains(&table) {
            self.set_written.push(table);
        }
        self.drop_table(table, Cause::Forgotten);
    }

    /// Forgets all rows of a table, since an own write may have changed some of them on the side, by a trigger or a
    /// foreign key; `deferred`: or will when the transaction commits. A rollback does not bring them back.
    pub fn touch_table(&mut self, table: u32, deferred: bool) {
        if !self.set_written.contains(&table) {
            self.set_written.push(table);
        }
        if deferred && !self.deferred.contains(&table) {
            self.deferred.push(table);
        }
        self.drop_table(table, Cause::Trigger);
    }

    pub(super) fn drop_table(&mut self, table: u32, cause: Cause) {
        self.own += 1;
        self.store.drop_if(Some(cause), |key, _| key.table == table);
        self.store.lose_own(self.own);
        self.undo.forget_if(|key| key.table == table);
    }

    /// Forgets everything: DISCARD ALL, RESET ALL, another role. A rollback does not bring it back.
    pub fn clear(&mut self) {
        self.store.clear(self.own);
        self.undo.forget_if(|_| true);
    }

    /// Rows held.
    pub fn rows(&self) -> usize {
        self.store.rows()
    }

    /// Bytes held, undo included (an estimate that errs upwards).
    pub fn bytes(&self) -> usize {
        self.store.bytes() + self.undo.bytes()
    }

    /// Rows dropped to stay within the limits, so far.
    pub fn evicted(&self) -> u64 {
        self.store.evicted()
    }

    /// Rows dropped because they were too old, so far.
    pub fn expired(&self) -> u64 {
        self.store.expired()
    }

    fn learn(
        &mut self,
        key: RowKey,
        now: Instant,
        more: impl FnOnce(&mut Observation),
        version: i64,
        shown: &ColumnSet,
    ) {
        let known = self.store.change(&key, now, |entry| match &mut entry.known {
            Known::Seen(o) => more(o),
            other => *other = Known::Seen(Observation::first_read(version, shown, now)),
        });
        if known.is_none() {
            if self.swept.contains(&key.table) {
                self.undo.record(&key, None);
            }
            // In a transaction too large to remember, a row met again may be one of its own.
            let own = if self.undo.overflowed_since().is_some() { self.own } else { 0 };
            let row = Observation::first_read(version, shown, now);
            self.store.put(key, Entry { known: Known::Seen(row), own });
        }
        self.trim(now);
    }

    /// Remembers what is known of the row before an own write, and numbers the write.
    fn own_write(&mut self, key: &RowKey, now: Instant) -> u64 {
        self.undo.record(key, self.store.peek(key, now));
        self.own += 1;
        self.own
    }

    pub(super) fn trim(&mut self, now: Instant) {
        self.store.trim(self.undo.bytes(), now);
    }

    #[cfg(test)]
    pub(super) fn assert_counts(&self) {
        assert_eq!(self.store.bytes(), self.store.counted_bytes());
        assert_eq!(self.undo.bytes(), self.undo.counted_bytes());
    }
}
