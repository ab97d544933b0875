//! Observations: which version of which row a scope has last seen, and the undo of its own writes.
//!
//! Pure state: no I/O, no clock (the time is passed in), no SQL. Three pieces, each knowing only its own:
//!
//! | file | what it knows |
//! | --- | --- |
//! | `row` | one row: the version each column was last seen under, and how own writes move them |
//! | `store` | the bounded map of rows: least recently used, time to live, memory held |
//! | `undo` | what was known before each own write of the open transaction, by savepoint |
//! | `scope` | [`Observations`], the three put together for one scope |
//! | `kinds` | [`Scope`], whatever its kind: the one that sessions know |
//! | [`context`] | what is shared over connections by a label, and by which unit of work each row was seen |
//!
//! The rules are those of DESIGN.md section 3. In short: a *read* is what the client's own result showed it
//! and outlives every end of a transaction; an *own write* moves the columns that were up to date and is
//! undone with its transaction or savepoint.

pub mod context;
mod kinds;
mod row;
mod scope;
mod store;
mod undo;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod model;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;

use std::time::{Duration, Instant};

use context::Unit;

pub use kinds::Scope;
pub use row::WrittenBack;
pub use scope::{Moved, Observations, Sequence};

/// A row of a protected table.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RowKey {
    /// OID of the partition root (the table's own where it is no partition).
    pub table: u32,
    /// Primary key in its one canonical text form.
    pub key: Box<str>,
}

impl RowKey {
    /// A row by its root table and canonical key.
    pub fn new(table: u32, key: impl Into<Box<str>>) -> Self {
        Self { table, key: key.into() }
    }
}

/// What an observation rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The client was shown the row by a read (and may have written it since).
    Read,
    /// Only the scope's own writes told of it.
    OwnWrite,
}

/// Why nothing is known of a row. The `cause` label of blind writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The scope never saw it.
    NeverRead,
    /// Seen longer ago than the time to live, or a refused own write whose hold has ended.
    Expired,
    /// Seen, then dropped to stay within the limits.
    Evicted,
    /// Forgotten on purpose: the scope wrote it unchecked or deleted it, so nobody can tell its version.
    Forgotten,
    /// Seen last through a cursor that did not show the version, so that nobody can tell in which state.
    Cursor,
    /// Scope `context`: nothing told whose write it was, and its own transaction had not seen the row.
    NoLabel,
    /// Forgotten because another write of the scope may have changed it on the side, by a trigger or foreign key.
    Trigger,
}

impl Cause {
    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::NeverRead => "never_read",
            Self::Expired => "expired",
            Self::Evicted => "evicted",
            Self::Forgotten => "forgotten",
            Self::Cursor => "cursor",
            Self::NoLabel => "no_label",
            Self::Trigger => "trigger",
        }
    }
}

/// Answer to "which version is a write of these columns based on?".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// The scope has seen the row.
    Known {
        /// The expected version.
        version: i64,
        /// When the scope saw the row at this version (or wrote it).
        seen_at: Instant,
        /// In which unit of work, in scope `context`.
        unit: Option<Unit>,
        /// What that rests on.
        origin: Origin,
    },
    /// A write of it is blind.
    Unknown(Cause),
}

impl Lookup {
    /// The expected version, if known.
    pub fn version(self) -> Option<i64> {
        match self {
            Self::Known { version, .. } => Some(version),
            Self::Unknown(_) => None,
        }
    }
}

/// Bounds of one scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Rows held at most; the least recently used goes first.
    pub max_rows: usize,
    /// Bytes held at most, heap and undo included (an estimate that errs upwards).
    pub max_bytes: usize,
    /// How long a row counts as seen after it was last read or written.
    pub ttl: Duration,
    /// How long a refused observation that rests only on an own write keeps refusing.
    pub conflict_hold: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_rows: 10_000,
            max_bytes: 4 << 20,
            ttl: Duration::from_secs(3600),
            conflict_hold: Duration::from_secs(60),
        }
    }
}
