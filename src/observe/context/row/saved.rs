//! A row's form in a snapshot and in a shared store: times as milliseconds ago.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Read, Row, Seen, Sight, Undated};
use crate::observe::context::Unit;
use crate::observe::context::event::{UnitHalves, halves, joined};
use crate::sql::columns::ColumnSet;

/// What the units of a saved row are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::observe::context) enum Units {
    /// Those of a process before this one.
    Earlier,
    /// The same that this process and others beside it know.
    Same,
}

/// A unit's number, as in events.
type SavedUnit = UnitHalves;

#[derive(Debug, Serialize, Deserialize)]
struct SavedRead {
    unit: SavedUnit,
    version: i64,
    ago: u64,
    own: bool,
    #[serde(default)]
    base: Option<i64>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedSight {
    newest: SavedRead,
    first: i64,
    other: Option<SavedRead>,
    earliest: Option<i64>,
}

/// See [`Row`].
#[derive(Debug, Serialize, Deserialize)]
pub struct SavedRow {
    whole: SavedSight,
    seen: Vec<(Vec<usize>, SavedSight)>,
    present: i64,
    own_since: Option<i64>,
    /// With when it was seen.
    refused_at: Option<(i64, u64)>,
    #[serde(default)]
    refused_in: Option<SavedUnit>,
    reread_by: Option<SavedUnit>,
    conflicted: Vec<SavedUnit>,
    refusals: u32,
    undated: Option<(Option<SavedUnit>, Vec<usize>)>,
    ago: u64,
}

/// Rounded up: what comes back is no newer than it was.
fn ago(at: Instant, now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(at).as_micros().div_ceil(1_000)).unwrap_or(u64::MAX)
}

/// Times before this machine's clock began count as its beginning.
fn at(ago: u64, now: Instant) -> Instant {
    now.checked_sub(Duration::from_millis(ago)).unwrap_or(now)
}

impl Units {
    fn unit(self, saved: SavedUnit) -> Unit {
        match self {
            Self::Same => joined(saved),
            Self::Earlier => Unit(joined(saved).0 | Unit::EARLIER),
        }
    }
}

fn save_read(read: &Read, now: Instant) -> SavedRead {
    SavedRead {
        unit: halves(read.unit),
        version: read.version,
        ago: ago(read.at, now),
        own: read.own,
        base: read.base,
    }
}

fn read(saved: &SavedRead, now: Instant, units: Units) -> Read {
    Read {
        unit: units.unit(saved.unit),
        version: saved.version,
        at: at(saved.ago, now),
        own: saved.own,
        base: saved.base,
    }
}

fn save_sight(sight: &Sight, now: Instant) -> SavedSight {
    SavedSight {
        newest: save_read(&sight.newest, now),
        first: sight.first,
        other: sight.other.as_ref().map(|other| save_read(other, now)),
        earliest: sight.earliest,
    }
}

fn sight(saved: &SavedSight, now: Instant, units: Units) -> Sight {
    Sight {
        newest: read(&saved.newest, now, units),
        first: saved.first,
        other: saved.other.as_ref().map(|other| read(other, now, units)),
        earliest: saved.earliest,
    }
}

fn columns(slots: &[usize]) -> ColumnSet {
    // PostgreSQL has at most 1,600 columns in a table.
    slots.iter().copied().filter(|slot| *slot < 1_600).collect()
}

impl Row {
    /// For a snapshot made now.
    pub(in crate::observe::context) fn save(&self, now: Instant) -> SavedRow {
        SavedRow {
            whole: save_sight(&self.whole, now),
            seen: self.seen.iter().map(|s| (s.columns.iter().collect(), save_sight(&s.sight, now))).collect(),
            present: self.present,
            own_since: self.own_since,
            refused_at: self.refused_at.map(|(version, seen, _)| (version, ago(seen, now))),
            refused_in: self.refused_at.map(|(_, _, seen)| halves(seen)),
            reread_by: self.reread_by.map(halves),
            conflicted: self.conflicted.iter().copied().map(halves).collect(),
            refusals: self.refusals,
            undated: self.undated.as_ref().map(|u| (u.unit.map(halves), u.columns.iter().collect())),
            ago: ago(self.touched, now),
        }
    }

    /// From its saved form; its times are as long before `now` as they were before it was made.
    pub(in crate::observe::context) fn restore(saved: &SavedRow, now: Instant, units: Units) -> Self {
        let seen = saved
            .seen
            .iter()
            .map(|(slots, seen)| Seen { columns: columns(slots), sight: sight(seen, now, units) });
        Self {
            whole: sight(&saved.whole, now, units),
            seen: seen.collect(),
            present: saved.present,
            own_since: saved.own_since,
            refused_at: saved.refused_at.map(|(version, seen)| {
                (version, at(seen, now), units.unit(saved.refused_in.unwrap_or_default()))
            }),
            reread_by: saved.reread_by.map(|by| units.unit(by)),
            conflicted: saved.conflicted.iter().map(|by| units.unit(*by)).collect(),
            refusals: saved.refusals,
            undated: saved.undated.as_ref().map(|(by, slots)| {
                Box::new(Undated { unit: by.map(|by| units.unit(by)), columns: columns(slots) })
            }),
            touched: at(saved.ago, now),
        }
    }
}
