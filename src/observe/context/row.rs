//! What a context knows of one row: by column, and by the unit of work that saw it.
//!
//! A save handler re-reads the row just before it writes it, so the version that counts is the one seen by *another*
//! unit of work than the writing one. Two reads are kept for it: the newest, and the newest of another unit than that
//! one. Whatever unit then writes, one of the two is the newest read of another unit than the writer's. Only where no
//! other unit has seen the row does the writer's own first read count.

mod saved;

use std::mem::size_of;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

pub(super) use saved::SavedRow;

use super::super::row::WrittenBack;
use super::super::store::Held;
use super::{AfterConflict, Reads, Unit};
use crate::sql::columns::ColumnSet;

/// Units that met a conflict on a row and are remembered for it: what they read of it since does not count.
const CONFLICTED: usize = 4;

/// The version that a write is based on, when it was seen, and in which unit.
pub(super) type Basis = (i64, Instant, Unit);

/// One read.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Read {
    unit: Unit,
    version: i64,
    at: Instant,
    /// It counts for its own unit too (a locking read of a table with `for_update_refreshes`).
    own: bool,
    /// What the newest read of another unit showed then: should this unit meet a conflict, that is what counts again.
    base: Option<i64>,
}

/// How some columns, or the row as a whole, were seen.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sight {
    newest: Read,
    /// The first read of the newest one's unit.
    first: i64,
    /// The newest read of another unit than the newest one's.
    other: Option<Read>,
    /// The oldest version seen since this context last wrote the row or met a conflict on it.
    earliest: Option<i64>,
}

impl Sight {
    fn new(read: Read) -> Self {
        Self { newest: read, first: read.version, other: None, earliest: Some(read.version) }
    }

    fn read(&mut self, read: Read) {
        let mut base = self.newest.base;
        if self.newest.unit != read.unit {
            base = Some(self.newest.version);
            self.other = Some(self.newest);
            self.first = read.version;
        }
        self.newest = Read { base, ..read };
        self.earliest = Some(self.earliest.map_or(read.version, |e| e.min(read.version)));
    }

    /// What a write in `unit` is based on.
    fn expected(&self, unit: Unit, reads: Reads) -> Basis {
        let (latest, read) = match &self.other {
            _ if self.newest.own || self.newest.unit != unit => (self.newest.version, &self.newest),
            Some(other) => (other.version, other),
            None => (self.first, &self.newest),
        };
        match (reads, self.earliest) {
            (Reads::Earliest, Some(earliest)) if !self.newest.own => {
                (earliest.min(latest), read.at, read.unit)
            }
            _ => (latest, read.at, read.unit),
        }
    }

    /// The context itself moved the row: what was seen at `from` counts as seen at `to`.
    /// `checked`: on a version known, so that nothing seen before is older than the write.
    fn moved(&mut self, from: i64, to: i64, checked: bool, at: Instant) {
        let shift = |version: &mut i64| {
            let moves = *version == from;
            if moves {
                *version = to;
            }
            moves
        };
        if shift(&mut self.newest.version) {
            self.newest.at = at;
        }
        shift(&mut self.first);
        self.newest.base.iter_mut().for_each(|base| _ = shift(base));
        if let Some(other) = &mut self.other {
            if shift(&mut other.version) {
                other.at = at;
            }
            other.base.iter_mut().for_each(|base| _ = shift(base));
        }
        match &mut self.earliest {
            Some(earliest) if !checked => _ = shift(earliest),
            earliest => *earliest = None,
        }
    }

    /// When and where this version was seen, as far as that is still known.
    fn seen_at(&self, version: i64) -> Option<(Instant, Unit)> {
        let reads = [Some(self.newest), self.other].into_iter().flatten();
        reads.filter(|r| r.version == version).map(|r| (r.at, r.unit)).max_by_key(|(at, _)| *at)
    }

    /// A write in `unit` was refused: what that unit has read does not count.
    fn refused(&mut self, unit: Unit) {
        self.earliest = None;
        if self.newest.unit == unit {
            match self.other.take() {
                Some(other) => {
                    self.newest = other;
                    self.first = other.version;
                }
                None => {
                    self.newest.version = self.newest.base.unwrap_or(self.first);
                    self.first = self.newest.version;
                }
            }
        } else if let Some(other) = self.other.filter(|other| other.unit == unit) {
            self.other = other.base.map(|base| Read { version: base, ..other });
        }
    }

    fn set_version(&mut self, version: i64, at: Instant) {
        *self = Self::new(Read { version, at, own: false, base: None, ..self.newest });
    }
}

/// Columns seen alike.
#[derive(Debug, Clone)]
struct Seen {
    columns: ColumnSet,
    sight: Sight,
}

/// Columns that a cursor has shown without a version, so that nobody can tell in which state.
#[derive(Debug, Clone)]
struct Undated {
    /// Which unit saw them; `None`: several.
    unit: Option<Unit>,
    columns: ColumnSet,
}

/// One row as a context knows it.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// The row whatever its columns: what a column that was never shown counts as seen with.
    whole: Sight,
    /// Disjoint and not empty.
    seen: SmallVec<[Seen; 1]>,
    /// The version that the row has now as far as the context can tell.
    present: i64,
    /// This context alone moved the row from here to `present`.
    own_since: Option<i64>,
    /// A write based on this version was refused, and no later unit that met no conflict has read the row since. And
    /// when and where the version had been seen.
    refused_at: Option<Basis>,
    /// The one unit that has read it since, without a conflict: that counts for every other unit.
    reread_by: Option<Unit>,
    /// Units that met a conflict on it.
    conflicted: SmallVec<[Unit; 1]>,
    /// Conflicts since the context last wrote it, or read it in a unit that met none.
    refusals: u32,
    undated: Option<Box<Undated>>,
    touched: Instant,
}

/// A read of a row, as it enters a context.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown<'a> {
    pub unit: Unit,
    pub version: i64,
    pub columns: &'a ColumnSet,
    pub now: Instant,
    /// It was a locking read that counts for its own unit.
    pub own: bool,
}

/// A committed write of the context, as it enters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wrote<'a> {
    /// It took the row from here ..
    pub from: i64,
    /// .. to here.
    pub to: i64,
    /// The columns that its unit knows at `to`: those that it set or was shown.
    pub known: &'a ColumnSet,
    pub unit: Unit,
    /// When the write itself, not its commit, was told of.
    pub landed: Instant,
}

impl Shown<'_> {
    fn read(&self) -> Read {
        Read { unit: self.unit, version: self.version, at: self.now, own: self.own, base: None }
    }
}

impl Row {
    /// The first read of a row.
    pub(super) fn new(shown: &Shown<'_>) -> Self {
        let sight = Sight::new(shown.read());
        let mut seen = SmallVec::new();
        seen.push(Seen { columns: shown.columns.clone(), sight });
        Self {
            whole: sight,
            seen,
            present: shown.version,
            own_since: None,
            refused_at: None,
            reread_by: None,
            conflicted: SmallVec::new(),
            refusals: 0,
            undated: None,
            touched: shown.now,
        }
    }

    /// The first thing known of a row is an own write that took it to `version`.
    pub(super) fn written_first(shown: &Shown<'_>) -> Self {
        let mut row = Self::new(shown);
        row.own_since = Some(shown.version.saturating_sub(1));
        row
    }

    /// The version that the row has as far as the context can tell.
    pub(super) fn present(&self) -> i64 {
        self.present
    }

    /// A read showed some of its columns.
    pub(super) fn read(&mut self, shown: &Shown<'_>) {
        self.touched = shown.now;
        if self.conflicted.contains(&shown.unit) {
            return;
        }
        if self.refused_at.is_some() {
            match self.reread_by {
                Some(unit) if unit != shown.unit => self.settled(),
                _ => self.reread_by = Some(shown.unit),
            }
        }
        if shown.version != self.present {
            self.own_since = None;
            self.present = shown.version;
        }
        self.dated(shown.columns);
        self.whole.read(shown.read());
        self.change(shown.columns, Sight::new(shown.read()), |sight| sight.read(shown.read()));
    }

    /// A cursor showed `columns` to a unit, and not the version.
    pub(super) fn saw_undated(&mut self, columns: &ColumnSet, unit: Unit) {
        match &mut self.undated {
            Some(undated) => {
                undated.columns.union_with(columns);
                if undated.unit != Some(unit) {
                    undated.unit = None;
                }
            }
            None => self.undated = Some(Box::new(Undated { unit: Some(unit), columns: columns.clone() })),
        }
    }

    /// These columns have been seen with their version.
    fn dated(&mut self, columns: &ColumnSet) {
        self.undated.take_if(|undated| {
            undated.columns.subtract(columns);
            undated.columns.is_empty()
        });
    }

    /// What a write of `sets` in `unit` is based on: the lowest among the
    /// columns, a column never shown counting as the row. `None`: another unit has seen one of them undated.
    pub(super) fn expected(&self, sets: &ColumnSet, unit: Unit, reads: Reads) -> Option<Basis> {
        if let Some(refused) = self.refused_at
            && self.reread_by.is_none_or(|u| u == unit)
        {
            return Some(refused);
        }
        if self.undated.as_ref().is_some_and(|u| u.unit != Some(unit) && u.columns.intersects(sets)) {
            return None;
        }
        let mut never_shown = sets.clone();
        let mut lowest: Option<Basis> = None;
        for seen in self.seen.iter().filter(|s| s.columns.intersects(sets)) {
            never_shown.subtract(&seen.columns);
            let this = seen.sight.expected(unit, reads);
            if lowest.is_none_or(|l| this.0 < l.0) {
                lowest = Some(this);
            }
        }
        let whole = self.whole.expected(unit, reads);
        match lowest {
            Some(lowest) if never_shown.is_empty() || lowest.0 <= whole.0 => Some(lowest),
            _ => Some(whole),
        }
    }

    /// How to understand `SET version = n` of a write that also sets `sets`.
    pub(super) fn written_back(&self, n: i64, sets: &ColumnSet, unit: Unit, reads: Reads) -> WrittenBack {
        match self.own_since {
            Some(since) if since <= n && n < self.present => WrittenBack::SavedAgain(self.present),
            _ => match self.expected(sets, unit, reads) {
                Some((expected, ..)) if n == self.present.saturating_add(1) => {
                    WrittenBack::OwnIncrement(expected)
                }
                _ => WrittenBack::BasedOn(n),
            },
        }
    }

    /// A committed write of the context has moved the row.
    pub(super) fn wrote(&mut self, write: &Wrote<'_>, now: Instant) {
        let Wrote { from, mut to, known, unit, landed } = *write;
        // The row was locked from when the write landed until its commit, which another connection can have seen before
        // this one was told of it. What that has read since, at a higher version, is somebody else's later write.
        let is_newer = |read: &Read| read.at > landed && read.version > write.to;
        let mut overtaken = false;
        if self.own_since == Some(to) && to < self.present {
            // Another connection has written it since, and its commit has entered first.
            self.own_since = Some(from);
            to = self.present;
        } else if self.present <= to {
            if self.present != from || self.own_since.is_none() {
                self.own_since = Some(from);
            }
            self.present = to;
        } else if is_newer(&self.whole.newest) {
            overtaken = true;
        } else {
            // The row has begun anew (deleted and inserted).
            self.present = to;
            self.own_since = None;
        }
        self.dated(known);
        let checked = !known.is_empty();
        for sight in std::iter::once(&mut self.whole).chain(self.seen.iter_mut().map(|seen| &mut seen.sight))
        {
            sight.moved(from, to, checked, now);
            if overtaken && checked {
                let newer = [Some(sight.newest), sight.other].into_iter().flatten().filter(is_newer);
                sight.earliest = newer.map(|read| read.version).min();
            }
        }
        let mut own = Sight::new(Read { unit, version: to, at: now, own: false, base: None });
        // Whoever writes next in this context, this unit too, knows these columns as they are.
        own.other = Some(own.newest);
        // The earliest is one of the reads to come.
        own.earliest = None;
        self.change(known, own, |sight| {
            if !(overtaken && is_newer(&sight.newest)) {
                *sight = own;
            }
        });
        self.join_equal();
        // A write that was not checked (`n = n + 1`) settles nothing: what was refused is as stale as before. So does one
        // that was overtaken: what was refused since may be based on less than what overtook it.
        let own_work = self.refused_at.is_some_and(|(expected, ..)| self.moved_alone(expected, self.present));
        if checked && !overtaken || own_work {
            self.settled();
        }
        self.touched = now;
    }

    /// A write of the context in `unit`, based on `expected`, was refused, the row being at `actual` (`None`: gone).
    /// Returns how many times in a row that has happened; 0 if it was the context's own other write that came first.
    pub(super) fn refused(
        &mut self,
        unit: Unit,
        expected: i64,
        actual: Option<i64>,
        rule: AfterConflict,
        now: Instant,
    ) -> u32 {
        self.touched = now;
        if actual.is_some_and(|actual| self.moved_alone(expected, actual)) {
            // Two saves at once, by one user: nobody else's change was unseen, so nothing has to be read again.
            return 0;
        }
        self.refusals = self.refusals.saturating_add(1);
        if let (AfterConflict::Told, Some(actual)) = (rule, actual) {
            self.whole.set_version(actual, now);
            for seen in &mut self.seen {
                seen.sight.set_version(actual, now);
            }
            self.join_equal();
            return self.refusals;
        }
        let (seen_at, seen_in) = match self.refused_at {
            Some((version, at, seen_in)) if version == expected => (at, seen_in),
            _ => {
                let sights = std::iter::once(&self.whole).chain(self.seen.iter().map(|seen| &seen.sight));
                let last = sights.filter_map(|sight| sight.seen_at(expected)).max_by_key(|(at, _)| *at);
                last.unwrap_or((now, unit))
            }
        };
        self.refused_at = Some((expected, seen_at, seen_in));
        self.reread_by = None;
        if !self.conflicted.contains(&unit) {
            if self.conflicted.len() >= CONFLICTED {
                self.conflicted.remove(0);
            }
            self.conflicted.push(unit);
        }
        self.whole.refused(unit);
        for seen in &mut self.seen {
            seen.sight.refused(unit);
        }
        self.join_equal();
        self.refusals
    }

    /// As far as is known, the context alone moved the row from one version to another.
    fn moved_alone(&self, from: i64, to: i64) -> bool {
        from < to && to <= self.present && self.own_since.is_some_and(|since| since <= from)
    }

    /// The conflicts that it met no longer count.
    fn settled(&mut self) {
        self.refused_at = None;
        self.reread_by = None;
        self.conflicted.clear();
        self.refusals = 0;
    }

    /// Changes how `columns` were seen; those never seen begin with `new`.
    fn change(&mut self, columns: &ColumnSet, new: Sight, change: impl Fn(&mut Sight)) {
        let mut fresh = columns.clone();
        let mut parts: SmallVec<[Seen; 2]> = SmallVec::new();
        for seen in &mut self.seen {
            if !seen.columns.intersects(columns) {
                continue;
            }
            fresh.subtract(&seen.columns);
            let mut part = seen.columns.clone();
            part.intersect_with(columns);
            seen.columns.subtract(columns);
            let mut sight = seen.sight;
            change(&mut sight);
            parts.push(Seen { columns: part, sight });
        }
        self.seen.retain(|s| !s.columns.is_empty());
        self.seen.extend(parts);
        if !fresh.is_empty() {
            self.seen.push(Seen { columns: fresh, sight: new });
        }
        self.join_equal();
    }

    /// Joins columns that are seen alike.
    fn join_equal(&mut self) {
        let mut i = 0;
        while let Some(sight) = self.seen.get(i).map(|s| s.sight) {
            match (i + 1..self.seen.len()).find(|j| self.seen.get(*j).is_some_and(|s| s.sight == sight)) {
                Some(j) => {
                    let other = self.seen.swap_remove(j);
                    if let Some(seen) = self.seen.get_mut(i) {
                        seen.columns.union_with(&other.columns);
                    }
                }
                None => i += 1,
            }
        }
        if self.seen.len() == 1 {
            self.seen.shrink_to_fit();
        }
    }
}

impl Held for Row {
    fn heap_bytes(&self) -> usize {
        let list = if self.seen.spilled() { self.seen.capacity() * size_of::<Seen>() } else { 0 };
        let units =
            if self.conflicted.spilled() { self.conflicted.capacity() * size_of::<Unit>() } else { 0 };
        let undated = self.undated.as_ref().map_or(0, |u| size_of::<Undated>() + u.columns.heap_bytes());
        list + units + undated + self.seen.iter().map(|s| s.columns.heap_bytes()).sum::<usize>()
    }

    fn expired(&self, ttl: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.touched) > ttl
    }
}
