//! A row's form in a snapshot: times as milliseconds ago, units of the process before apart from this one's.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Read, Row, Seen, Sight, Undated};
use crate::observe::context::Unit;
use crate::sql::columns::ColumnSet;

/// A unit's number in two halves: JSON has no integers of 128 bits that every reader keeps.
type SavedUnit = (u64, u64);

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

fn ago(at: Instant, now: Instant) -> u64 {
    u64::try_from(now.saturating_duration_since(at).as_millis()).unwrap_or(u64::MAX)
}

/// Times before this machine's clock began count as its beginning.
fn at(ago: u64, now: Instant) -> Instant {
    now.checked_sub(Duration::from_millis(ago)).unwrap_or(now)
}

#[allow(clippy::cast_possible_truncation)]
fn save_unit(unit: Unit) -> SavedUnit {
    ((unit.0 >> 64) as u64, unit.0 as u64)
}

fn unit((high, low): SavedUnit) -> Unit {
    Unit(u128::from(high) << 64 | u128::from(low) | Unit::EARLIER)
}

fn save_read(read: &Read, now: Instant) -> SavedRead {
    SavedRead {
        unit: save_unit(read.unit),
        version: read.version,
        ago: ago(read.at, now),
        own: read.own,
        base: read.base,
    }
}

fn read(saved: &SavedRead, now: Instant) -> Read {
    Read {
        unit: unit(saved.unit),
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

fn sight(saved: &SavedSight, now: Instant) -> Sight {
    Sight {
        newest: read(&saved.newest, now),
        first: saved.first,
        other: saved.other.as_ref().map(|other| read(other, now)),
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
            refused_in: self.refused_at.map(|(_, _, seen)| save_unit(seen)),
            reread_by: self.reread_by.map(save_unit),
            conflicted: self.conflicted.iter().copied().map(save_unit).collect(),
            refusals: self.refusals,
            undated: self.undated.as_ref().map(|u| (u.unit.map(save_unit), u.columns.iter().collect())),
            ago: ago(self.touched, now),
        }
    }

    /// From a snapshot; its times are as long before `now` as they were before it was made.
    pub(in crate::observe::context) fn restore(saved: &SavedRow, now: Instant) -> Self {
        let seen =
            saved.seen.iter().map(|(slots, seen)| Seen { columns: columns(slots), sight: sight(seen, now) });
        Self {
            whole: sight(&saved.whole, now),
            seen: seen.collect(),
            present: saved.present,
            own_since: saved.own_since,
            refused_at: saved
                .refused_at
                .map(|(version, seen)| (version, at(seen, now), unit(saved.refused_in.unwrap_or_default()))),
            reread_by: saved.reread_by.map(unit),
            conflicted: saved.conflicted.iter().copied().map(unit).collect(),
            refusals: saved.refusals,
            undated: saved
                .undated
                .as_ref()
                .map(|(by, slots)| Box::new(Undated { unit: by.map(unit), columns: columns(slots) })),
            touched: at(saved.ago, now),
        }
    }
}
