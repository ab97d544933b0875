//! The reference: whose version a write is based on, by the rules of the design and with no care for room or time.
//!
//! What is known of a row is kept as a history for each column and for the row as a whole. Whoever writes asks each
//! history of a column that he sets (of a column never shown: that of the row) and the lowest answer counts.

use std::collections::{BTreeMap, BTreeSet};

/// Columns: `name`, `budget`, `status`.
pub type Columns = BTreeSet<usize>;

/// Which rules hold beside the scope's kind.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rules {
    /// The oldest read since the context's last write or conflict counts.
    pub earliest: bool,
    /// A conflict lets a bare repeat pass.
    pub told: bool,
}

/// A unit of work; `None`: known to every unit, the writing one too.
type Unit = Option<u64>;

#[derive(Debug, Clone, Default)]
struct History {
    reads: Vec<(Unit, i64)>,
    /// The oldest seen since the last write or conflict.
    oldest: Option<i64>,
}

impl History {
    /// The newest read of another unit; the writer's own first only where there is none.
    fn expected(&self, unit: Unit, rules: Rules) -> Option<i64> {
        let other = self.reads.iter().rev().find(|(u, _)| u.is_none() || *u != unit);
        let latest = other.or(self.reads.first())?.1;
        Some(if rules.earliest { self.oldest.map_or(latest, |o| o.min(latest)) } else { latest })
    }

    fn read(&mut self, unit: Unit, version: i64) {
        self.reads.push((unit, version));
        self.oldest = Some(self.oldest.map_or(version, |o| o.min(version)));
    }

    /// The scope's own write: what was seen at the version before is seen at the version behind it.
    /// `resets`: it was checked and has been committed.
    fn moved(&mut self, from: i64, to: i64, resets: bool) {
        let reads = self.reads.iter_mut().map(|(_, version)| version);
        for version in reads.chain(&mut self.oldest).filter(|v| **v == from) {
            *version = to;
        }
        if resets {
            self.oldest = None;
        }
    }

    /// A unit met a conflict: what it has read does not count, unless it is all there is.
    fn refused(&mut self, unit: Unit) {
        let first = self.reads.first().copied();
        self.reads.retain(|(u, _)| *u != unit);
        if self.reads.is_empty() {
            self.reads.extend(first);
        }
        self.oldest = None;
    }
}

/// What a scope knows of one row.
#[derive(Debug, Clone, Default)]
pub struct Row {
    whole: History,
    columns: BTreeMap<usize, History>,
    /// The version of the last read or own write.
    latest: i64,
    /// The scope deleted it itself, and that is the last it knows.
    pub deleted: bool,
    /// Context: the version of the last refusal, until other units have read the row.
    refused_at: Option<i64>,
    clean: BTreeSet<u64>,
    conflicted: BTreeSet<u64>,
}

/// What a write does to what is known.
#[derive(Debug, Clone)]
pub enum Own {
    /// From which version to which, and the columns set under a check.
    Moved(i64, i64, Columns),
    /// Deleted.
    Deleted,
    /// Begun anew, or a blind write: nothing is known.
    Forgotten,
    /// In a context: the transaction has read its own work.
    Read(u64, i64, Columns),
}

impl Row {
    /// A result showed these columns.
    pub fn read(&mut self, unit: Unit, version: i64, shown: &Columns) {
        if let Some(unit) = unit {
            if self.conflicted.contains(&unit) {
                return;
            }
            if self.refused_at.is_some() {
                self.clean.insert(unit);
                if self.clean.len() > 1 {
                    self.settled();
                }
            }
        }
        self.deleted = false;
        self.latest = version;
        self.whole.read(unit, version);
        for column in shown {
            self.columns.entry(*column).or_default().read(unit, version);
        }
    }

    /// The version that a write of these columns is based on.
    pub fn expected(&self, sets: &Columns, unit: Unit, rules: Rules) -> Option<i64> {
        if let Some(refused) = self.refused_at
            && self.clean.iter().all(|u| Some(*u) == unit)
        {
            return Some(refused);
        }
        let of = |column: &usize| self.columns.get(column).unwrap_or(&self.whole).expected(unit, rules);
        // A DELETE sets nothing: the row as a whole.
        if sets.is_empty() { self.whole.expected(unit, rules) } else { sets.iter().filter_map(of).min() }
    }

    /// Likewise outside of contexts: a higher version than the latest is of a row that is gone, whose key this one has got.
    /// What was seen of that is not seen of this one, so it counts before all others.
    pub fn expected_by_one(&self, sets: &Columns, rules: Rules) -> Option<i64> {
        let of = |column: &usize| self.columns.get(column).unwrap_or(&self.whole).expected(None, rules);
        match sets.is_empty() {
            true => self.whole.expected(None, rules),
            false => sets.iter().filter_map(of).min_by_key(|version| (*version <= self.latest, *version)),
        }
    }

    /// An own write; `committed`: not the open transaction's.
    pub fn wrote(&mut self, own: &Own, committed: bool) {
        match own {
            Own::Moved(from, to, known) => {
                if self.deleted {
                    return;
                }
                self.latest = *to;
                let resets = committed && !known.is_empty();
                self.whole.moved(*from, *to, resets);
                self.columns.values_mut().for_each(|history| history.moved(*from, *to, resets));
                for column in known {
                    self.columns.insert(*column, History { reads: vec![(None, *to)], oldest: None });
                }
                if !known.is_empty() {
                    self.settled();
                }
            }
            Own::Deleted => *self = Self { deleted: true, ..Self::default() },
            Own::Forgotten => *self = Self::default(),
            Own::Read(unit, version, shown) => self.read(Some(*unit), *version, shown),
        }
    }

    fn settled(&mut self) {
        self.refused_at = None;
        self.clean.clear();
        self.conflicted.clear();
    }

    /// A write of a context was refused.
    pub fn refused(&mut self, unit: u64, expected: i64, actual: Option<i64>, rules: Rules) {
        if let (true, Some(actual)) = (rules.told, actual) {
            // It is told, so it knows, in all of its units.
            let told = || History { reads: vec![(None, actual)], oldest: Some(actual) };
            self.whole = told();
            self.columns.values_mut().for_each(|history| *history = told());
            return;
        }
        self.refused_at = Some(expected);
        self.clean.clear();
        self.conflicted.insert(unit);
        self.whole.refused(Some(unit));
        self.columns.values_mut().for_each(|history| history.refused(Some(unit)));
    }
}

/// What a scope knows: rows by number.
pub type Known = BTreeMap<usize, Row>;

/// One level of a transaction's undo: a savepoint's name, and what was known of each row just before the first write
/// of it in this level.
type Level = (String, BTreeMap<usize, Option<Row>>);

/// What one session knows for itself: all in the scopes `connection` and `transaction`; in a context what counts
/// without a label, and its own writes until COMMIT.
#[derive(Debug, Clone, Default)]
pub struct Session {
    pub known: Known,
    levels: Vec<Level>,
    /// Own writes of the open transaction, and how many there were at each level.
    pub own: Vec<(usize, Own)>,
    marks: Vec<usize>,
    /// Reads without a label yet.
    pub pending: Vec<(usize, i64, Columns)>,
}

impl Session {
    pub fn begin(&mut self) {
        self.levels = vec![(String::new(), BTreeMap::new())];
        self.marks = vec![0];
    }

    pub fn savepoint(&mut self, name: &str) {
        self.levels.push((name.into(), BTreeMap::new()));
        self.marks.push(self.own.len());
    }

    fn find(&self, name: &str) -> usize {
        self.levels.iter().rposition(|(n, _)| n == name).expect("a savepoint of the script")
    }

    pub fn release(&mut self, name: &str) {
        let at = self.find(name);
        for (_, undone) in self.levels.split_off(at) {
            for (row, before) in undone {
                self.levels[at - 1].1.entry(row).or_insert(before);
            }
        }
        self.marks.truncate(at);
    }

    pub fn rollback_to(&mut self, name: &str) {
        let at = self.find(name);
        self.undo(at);
        self.levels.push((name.into(), BTreeMap::new()));
        // Of each row what is behind its first undone write.
        let mut undone = BTreeSet::new();
        for (row, own) in self.own.split_off(self.marks[at]) {
            if !matches!(own, Own::Read(..)) {
                undone.insert(row);
            } else if !undone.contains(&row) && !self.has_left_unknown(row) {
                self.own.push((row, own));
            }
        }
        self.marks.truncate(at + 1);
    }

    fn undo(&mut self, from: usize) {
        for (_, undone) in self.levels.split_off(from).into_iter().rev() {
            for (row, before) in undone {
                match before {
                    Some(before) => self.known.insert(row, before),
                    None => self.known.remove(&row),
                };
            }
        }
    }

    /// The transaction is over.
    pub fn end(&mut self, committed: bool) {
        if !committed {
            self.undo(0);
        }
        self.levels.clear();
        self.marks.clear();
        self.own.clear();
        self.pending.clear();
    }

    /// DISCARD ALL, RESET ALL: a rollback does not bring it back.
    pub fn clear(&mut self) {
        self.known.clear();
        self.pending.clear();
        self.levels.iter_mut().for_each(|(_, undone)| undone.clear());
    }

    pub fn wrote(&mut self, row: usize, own: Own) {
        let before = self.known.get(&row).cloned();
        if let Some((_, undone)) = self.levels.last_mut() {
            undone.entry(row).or_insert(before);
        }
        match (self.known.get_mut(&row), &own) {
            (Some(known), own) => known.wrote(own, true),
            (None, Own::Deleted) => self.known.entry(row).or_default().wrote(&own, true),
            // Of a row never seen a checked write cannot be, and another teaches nothing.
            (None, _) => {}
        }
        self.own.push((row, own));
    }

    /// The open transaction has written the row.
    pub fn has_written(&self, row: usize) -> bool {
        self.own.iter().any(|(r, _)| *r == row)
    }

    /// A DELETE is based on the row as a whole: on the transaction's own checked write, where there is one.
    pub fn has_written_checked(&self, row: usize) -> bool {
        let own = self.own.iter().rev().filter(|(r, _)| *r == row);
        let last = own.take_while(|(_, own)| !matches!(own, Own::Deleted | Own::Forgotten));
        last.into_iter().any(|(_, own)| matches!(own, Own::Moved(_, _, known) if !known.is_empty()))
    }

    /// What its own write has left unknown stays so until COMMIT.
    pub fn has_left_unknown(&self, row: usize) -> bool {
        let own = self.own.iter().rev().filter(|(r, _)| *r == row);
        let mut state = own.filter(|(_, own)| match own {
            Own::Moved(_, _, known) => !known.is_empty(),
            Own::Read(..) => false,
            _ => true,
        });
        matches!(state.next(), Some((_, Own::Forgotten)))
    }

    /// The row as a context with the transaction's own writes sees it.
    pub fn within(&self, shared: &Known, row: usize) -> Row {
        let mut known = shared.get(&row).cloned().unwrap_or_default();
        for (_, own) in self.own.iter().filter(|(r, _)| *r == row) {
            known.wrote(own, false);
        }
        known
    }
}
