//! What is known of one row, by column.
//!
//! A narrow read (`SELECT status ..`) does not refresh the columns it did not show, so a row is a short list
//! of versions, each with the columns last seen under it. Most rows have one.

use std::mem::size_of;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::Origin;
use super::store::Held;
use crate::sql::columns::ColumnSet;

/// Columns last seen under one version. The lists of a row are disjoint and not empty.
#[derive(Debug, Clone)]
struct Seen {
    version: i64,
    columns: ColumnSet,
    /// When the row was last seen at `version`.
    at: Instant,
}

/// One row as a scope knows it.
#[derive(Debug, Clone)]
pub(super) struct Observation {
    seen: SmallVec<[Seen; 1]>,
    /// Columns last seen in a state whose version was not shown. None of them is in `seen`.
    undated: ColumnSet,
    /// Version of the newest read: what a column that was never shown counts as seen under. `None` if that read
    /// did not show the version.
    newest_read: Option<i64>,
    /// The version that the row has now as far as the scope can tell, by a read or by its own write.
    present: i64,
    /// This scope alone moved the row from here to `present`.
    own_since: Option<i64>,
    /// When it was last read or written.
    touched: Instant,
    origin: Origin,
    /// Set by a refusal of an observation that rests only on an own write: known until then.
    hold_until: Option<Instant>,
}

/// How a constant or parameter N in `SET version = N` is to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrittenBack {
    /// "Based on N".
    BasedOn(i64),
    /// N is the observed version + 1: the app's own increment. Expected is the observed one.
    OwnIncrement(i64),
    /// An object in memory saved again: this scope alone moved the row from N to the present version, which
    /// is expected.
    SavedAgain(i64),
}

impl WrittenBack {
    /// The expected version.
    pub fn expected(self) -> i64 {
        match self {
            Self::BasedOn(v) | Self::OwnIncrement(v) | Self::SavedAgain(v) => v,
        }
    }
}

impl Observation {
    /// The first read of a row.
    pub(super) fn first_read(version: i64, shown: &ColumnSet, now: Instant) -> Self {
        Self::first(version, shown, Origin::Read, None, now)
    }

    /// The first thing known of a row is an own write that left it at `version`.
    pub(super) fn first_write(version: i64, columns: &ColumnSet, now: Instant) -> Self {
        Self::first(version, columns, Origin::OwnWrite, Some(version.saturating_sub(1)), now)
    }

    fn first(
        version: i64,
        columns: &ColumnSet,
        origin: Origin,
        own_since: Option<i64>,
        now: Instant,
    ) -> Self {
        let mut row = Self {
            seen: SmallVec::new(),
            undated: ColumnSet::new(),
            newest_read: Some(version),
            present: version,
            own_since,
            touched: now,
            origin,
            hold_until: None,
        };
        row.show(version, columns, now);
        row
    }

    /// A read showed `shown` at `version`.
    pub(super) fn read(&mut self, version: i64, shown: &ColumnSet, now: Instant) {
        if version != self.present {
            self.own_since = None;
            self.present = version;
        }
        self.newest_read = Some(version);
        self.touch_by_read(now);
        self.show(version, shown, now);
    }

    /// A cursor or portal that may have been opened some time ago showed `shown` at `version`. It tells of
    /// the columns it shows, never that the row is older than already known.
    pub(super) fn read_from_cursor(&mut self, version: i64, shown: &ColumnSet, now: Instant) {
        if version > self.present {
            self.own_since = None;
            self.present = version;
        }
        self.newest_read = self.newest_read.max(Some(version));
        self.touch_by_read(now);
        self.show(version, shown, now);
    }

    /// As [`Self::read_from_cursor`], but opened before an own write of the row: what that write taught stays.
    pub(super) fn read_from_stale_cursor(&mut self, version: i64, shown: &ColumnSet, now: Instant) {
        // Since `own_since` only this scope has written: what the cursor shows is the present state but for
        // those writes, so it counts as moved by them.
        let version = match self.own_since {
            Some(since) if since <= version && version <= self.present => self.present,
            _ => version,
        };
        let mut older = shown.clone();
        for s in self.seen.iter().filter(|s| s.version >= version) {
            older.subtract(&s.columns);
        }
        self.newest_read = self.newest_read.max(Some(version));
        self.touch_by_read(now);
        self.show(version, &older, now);
    }

    /// A cursor showed `shown` and not the version: under which one is no longer known. `not_newer`: the state
    /// shown cannot be newer than `present`, so that columns known as they are there stay known.
    pub(super) fn saw_undated(&mut self, shown: &ColumnSet, not_newer: bool) {
        let mut lost = shown.clone();
        for s in self.seen.iter().filter(|s| not_newer && s.version == self.present) {
            lost.subtract(&s.columns);
        }
        for s in &mut self.seen {
            s.columns.subtract(&lost);
        }
        self.seen.retain(|s| !s.columns.is_empty());
        self.undated.union_with(&lost);
        if !not_newer || self.newest_read != Some(self.present) {
            self.newest_read = None;
        }
    }

    /// An own checked write of the columns `sets` landed: the row went from `expected` to `expected` + 1.
    pub(super) fn wrote_checked(&mut self, expected: i64, sets: &ColumnSet, now: Instant) {
        self.wrote_to(expected, expected.saturating_add(1), sets, now);
    }

    /// An own write of the columns `sets` landed on `expected` and left the row at `next`, which need not be one more:
    /// a trigger may have moved it too.
    pub(super) fn wrote_to(&mut self, expected: i64, next: i64, sets: &ColumnSet, now: Instant) {
        if next < self.present {
            self.present = next;
            self.own_since = None;
        }
        self.own_move(expected, next, now);
        // The writer knows what it has just written, even where its expectation came from outside (a hint).
        let mut written = sets.clone();
        for s in self.seen.iter().filter(|s| s.version >= next) {
            written.subtract(&s.columns);
        }
        self.show(next, &written, now);
    }

    /// An own write left the row at `version` and showed the client `shown` (empty: a hidden RETURNING).
    pub(super) fn returned(&mut self, version: i64, shown: &ColumnSet, now: Instant) {
        if version < self.present {
            // The row has begun anew (deleted and inserted): nothing known before compares with it.
            self.present = version;
            self.own_since = None;
        }
        self.own_move(version.saturating_sub(1), version, now);
        if !shown.is_empty() {
            self.newest_read = Some(version);
            self.show(version, shown, now);
        }
    }

    /// An own write left the row at `version`, as a hidden RETURNING shows: columns known under the version before it
    /// move with it. If there are none it stays as it is: somebody else has written it since. `Err` has the version
    /// that it was at as far as was known.
    pub(super) fn moved(&mut self, version: i64, now: Instant) -> Result<(), i64> {
        let (from, before) = (version.saturating_sub(1), self.present);
        let moves = self.newest_read == Some(from) || self.seen.iter().any(|s| s.version == from);
        self.returned(version, &ColumnSet::new(), now);
        if moves { Ok(()) } else { Err(before) }
    }

    /// An own write took the row to `next`: columns known under `from` move with it, others stay.
    fn own_move(&mut self, from: i64, next: i64, now: Instant) {
        if self.present < next {
            if self.present != from || self.own_since.is_none() {
                self.own_since = Some(from);
            }
            self.present = next;
        }
        if self.newest_read == Some(from) {
            self.newest_read = Some(next);
        }
        for s in self.seen.iter_mut().filter(|s| s.version == from) {
            s.version = next;
            s.at = now;
        }
        self.join_equal();
        self.touched = now;
        self.hold_until = None;
    }

    /// A write based on this was refused.
    pub(super) fn refused(&mut self, hold: Duration, now: Instant) {
        // Not prolonged by a second refusal: a worker that repeats itself would never get out.
        if self.origin == Origin::OwnWrite && self.hold_until.is_none() {
            self.hold_until = now.checked_add(hold);
        }
    }

    /// The expected version of a write of `sets`, and when the row was seen at it. `None` if of none of them is known
    /// under which version it was seen.
    ///
    /// The lowest version among the columns counts; a column never shown counts as the newest read. A version
    /// above the present one belongs to an earlier life of the row (its version went back): it counts before
    /// all others, for it is certainly not the present state.
    pub(super) fn expected(&self, sets: &ColumnSet) -> Option<(i64, Instant)> {
        let mut never_shown = sets.clone();
        never_shown.subtract(&self.undated);
        let mut lowest: Option<(bool, i64, Instant)> = None;
        let mut take = |version: i64, at: Instant| {
            let this = (version <= self.present, version, at);
            if lowest.is_none_or(|l| (this.0, this.1) < (l.0, l.1)) {
                lowest = Some(this);
            }
        };
        for s in self.seen.iter().filter(|s| s.columns.intersects(sets)) {
            never_shown.subtract(&s.columns);
            take(s.version, s.at);
        }
        if let Some(newest) = self.newest_read.filter(|_| sets.is_empty() || !never_shown.is_empty()) {
            take(newest, self.touched);
        }
        lowest.map(|(_, version, at)| (version, at))
    }

    /// How to understand `SET version = n` of a write that also sets `sets`.
    pub(super) fn written_back(&self, n: i64, sets: &ColumnSet) -> WrittenBack {
        let observed = self.expected(sets).map(|(version, _)| version);
        match self.own_since {
            // What is set was last seen before others moved the row to where this scope took it from.
            Some(since) if observed.is_some_and(|v| v < since && v.saturating_add(1) == n) => {
                WrittenBack::OwnIncrement(n.saturating_sub(1))
            }
            Some(since) if since <= n && n < self.present => WrittenBack::SavedAgain(self.present),
            _ if n == self.present.saturating_add(1) => {
                WrittenBack::OwnIncrement(observed.unwrap_or(self.present))
            }
            _ => WrittenBack::BasedOn(n),
        }
    }

    /// The own writes alone: from which version to which they took the row, the columns known at the latter, and when
    /// that was.
    pub(super) fn own_moves(&self) -> Option<(i64, i64, ColumnSet, Instant)> {
        let since = self.own_since?;
        let mut known = ColumnSet::new();
        for seen in self.seen.iter().filter(|s| s.version == self.present) {
            known.union_with(&seen.columns);
        }
        Some((since, self.present, known, self.touched))
    }

    /// What it rests on.
    pub(super) fn origin(&self) -> Origin {
        self.origin
    }

    fn touch_by_read(&mut self, now: Instant) {
        self.origin = Origin::Read;
        self.hold_until = None;
        self.touched = now;
    }

    /// Puts `columns` under `version`, taking them from wherever they were.
    fn show(&mut self, version: i64, columns: &ColumnSet, now: Instant) {
        if columns.is_empty() {
            return;
        }
        self.undated.subtract(columns);
        for s in self.seen.iter_mut().filter(|s| s.version != version) {
            s.columns.subtract(columns);
        }
        self.seen.retain(|s| !s.columns.is_empty());
        match self.seen.iter_mut().find(|s| s.version == version) {
            Some(s) => {
                s.columns.union_with(columns);
                s.at = now;
            }
            None => self.seen.push(Seen { version, columns: columns.clone(), at: now }),
        }
        if self.seen.len() == 1 {
            self.seen.shrink_to_fit();
        }
    }

    /// Joins lists that a move has brought to the same version.
    fn join_equal(&mut self) {
        let mut i = 0;
        while i < self.seen.len() {
            let Some(version) = self.seen.get(i).map(|s| s.version) else { break };
            match (i + 1..self.seen.len()).find(|j| self.seen.get(*j).is_some_and(|s| s.version == version)) {
                Some(j) => {
                    let other = self.seen.swap_remove(j);
                    if let Some(s) = self.seen.get_mut(i) {
                        s.columns.union_with(&other.columns);
                        s.at = s.at.max(other.at);
                    }
                }
                None => i += 1,
            }
        }
    }
}

impl Held for Observation {
    fn heap_bytes(&self) -> usize {
        let list = if self.seen.spilled() { self.seen.capacity() * size_of::<Seen>() } else { 0 };
        list + self.undated.heap_bytes() + self.seen.iter().map(|s| s.columns.heap_bytes()).sum::<usize>()
    }

    fn expired(&self, ttl: Duration, now: Instant) -> bool {
        self.hold_until.is_some_and(|t| t <= now) || now.saturating_duration_since(self.touched) > ttl
    }
}
