//! What happens to a row of a context, as it goes to a shared store and comes back ([`super::store`]).

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::Unit;
use super::row::{Row, SavedRow, Units};
use crate::observe::scope::OwnWrite;
use crate::observe::store::Known;
use crate::sql::columns::ColumnSet;

/// PostgreSQL has at most 1,600 columns in a table.
const MAX_COLUMNS: usize = 1_600;

/// A unit in two halves: JSON has no integers of 128 bits that every reader keeps.
pub(super) type UnitHalves = (u64, u64);

#[allow(clippy::cast_possible_truncation)]
pub(super) fn halves(unit: Unit) -> UnitHalves {
    ((unit.0 >> 64) as u64, unit.0 as u64)
}

pub(super) fn joined((high, low): UnitHalves) -> Unit {
    Unit(u128::from(high) << 64 | u128::from(low))
}

/// Columns as runs: the first, and how many.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Runs(Vec<(u16, u16)>);

impl Runs {
    pub(super) fn of(columns: &ColumnSet) -> Self {
        let mut runs: Vec<(u16, u16)> = Vec::new();
        for slot in columns.iter().filter_map(|slot| u16::try_from(slot).ok()) {
            match runs.last_mut() {
                Some((first, count)) if first.saturating_add(*count) == slot => *count += 1,
                _ => runs.push((slot, 1)),
            }
        }
        Self(runs)
    }

    pub(super) fn columns(&self) -> ColumnSet {
        let all = self.0.iter().flat_map(|(first, count)| {
            let first = usize::from(*first);
            (first..first + usize::from(*count)).take_while(|slot| *slot < MAX_COLUMNS)
        });
        all.collect()
    }
}

/// One event. Times are microseconds since 1970.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Event {
    /// A result has shown columns.
    #[serde(rename = "r")]
    Read {
        u: UnitHalves,
        v: i64,
        c: Runs,
        t: u64,
        /// It counts for its own unit too.
        #[serde(default, skip_serializing_if = "is_false")]
        own: bool,
        /// Through a cursor, which may be older than own writes before this.
        #[serde(default, skip_serializing_if = "is_false")]
        cursor: bool,
        /// Of the unit's own work, before its commit.
        #[serde(default, skip_serializing_if = "is_false")]
        own_work: bool,
    },
    /// A cursor has shown columns and not their version.
    #[serde(rename = "u")]
    Undated { u: UnitHalves, c: Runs },
    /// An own write has committed.
    #[serde(rename = "w")]
    Wrote { u: UnitHalves, from: i64, to: i64, c: Runs, t: u64, landed: u64 },
    /// The context has deleted the row.
    #[serde(rename = "d")]
    Deleted,
    /// The context has written it so that nobody can tell its version.
    #[serde(rename = "f")]
    Forgotten,
    /// A write was refused.
    #[serde(rename = "x")]
    Refused { u: UnitHalves, expected: i64, actual: Option<i64>, t: u64 },
    /// Everything before, in short.
    #[serde(rename = "s")]
    Saved {
        known: Option<SavedKnown>,
        /// See [`super::fold::Folded`].
        own_to: Option<i64>,
        t: u64,
        /// No two are alike.
        n: u64,
    },
}

/// What is known of a row.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum SavedKnown {
    #[serde(rename = "s")]
    Seen(Box<SavedRow>),
    #[serde(rename = "d")]
    Deleted,
    #[serde(rename = "f")]
    Forgotten,
}

impl SavedKnown {
    pub(super) fn of(known: &Known<Row>, now: Instant) -> Self {
        match known {
            Known::Seen(row) => Self::Seen(Box::new(row.save(now))),
            Known::Deleted => Self::Deleted,
            Known::Forgotten => Self::Forgotten,
        }
    }

    /// `then`: when it was saved.
    pub(super) fn known(&self, then: Instant, units: Units) -> Known<Row> {
        match self {
            Self::Seen(row) => Known::Seen(Row::restore(row, then, units)),
            Self::Deleted => Known::Deleted,
            Self::Forgotten => Known::Forgotten,
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(b: &bool) -> bool {
    !b
}

impl Event {
    pub(super) fn wrote(write: &OwnWrite, unit: Unit, now: Instant, clock: &Clock) -> Self {
        match write {
            OwnWrite::Moved { from, to, known, at } => Self::Wrote {
                u: halves(unit),
                from: *from,
                to: *to,
                c: Runs::of(known),
                t: clock.micros(now),
                landed: clock.micros(*at),
            },
            OwnWrite::Deleted => Self::Deleted,
            OwnWrite::Forgotten => Self::Forgotten,
        }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        // Numbers and booleans: there is nothing that JSON could not say.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// `None`: another program has written it, or a later version of this one.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// The two clocks: a process's own, and the one that processes share.
///
/// One moment of both is taken for all of the process's life, so that the order of what happens in it is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    pub now: Instant,
    begun: (Instant, u64),
}

impl Clock {
    pub(super) fn read() -> Self {
        static BEGUN: OnceLock<(Instant, u64)> = OnceLock::new();
        let begun = *BEGUN.get_or_init(|| {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            (Instant::now(), micros(since))
        });
        Self { now: Instant::now(), begun }
    }

    /// What the other clock showed at this instant.
    pub(super) fn micros(&self, at: Instant) -> u64 {
        let (instant, begun) = self.begun;
        match at.checked_duration_since(instant) {
            Some(after) => begun.saturating_add(micros(after)),
            None => begun.saturating_sub(micros(instant.saturating_duration_since(at))),
        }
    }

    /// The instant of a time by the other clock. What another machine has in its future happens now.
    pub(super) fn instant(&self, time: u64) -> Instant {
        let (instant, begun) = self.begun;
        let at = match time.checked_sub(begun) {
            Some(after) => instant.checked_add(Duration::from_micros(after)),
            None => instant.checked_sub(Duration::from_micros(begun.saturating_sub(time))),
        };
        at.map_or(self.now, |at| at.min(self.now))
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
