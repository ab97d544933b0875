//! Contexts: observations shared over connections by a label that names one user or conversation.
//!
//! A web application's connections serve many users, and its save handler re-reads the row just before it writes it.
//! So in a context it does not count what was seen last, but what was seen last *by another unit of work* than the
//! writing one (DESIGN.md section 3): the form was filled by an earlier request.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `row` | one row: by column, the newest read and the newest read of another unit |
//! | `servers` | [`ServerId`]: which server a connection goes to |
//! | `shared` | [`Contexts`]: all labels, bounded each and in total |
//! | `session` | [`ContextScope`]: one session's part in it, its own writes until they are committed |
//! | `snapshot` | what they know across a planned restart |
//! | [`setting`] | a setting (GUC) that carries a label, as transactions and savepoints leave it |
//!
//! Whose label and which unit it is, a session finds out: `session::whose` (docs/decisions/0010).

mod row;
mod servers;
mod session;
pub mod setting;
mod shared;
mod snapshot;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

pub use servers::{Found, ServerId, ServerName};
pub use session::ContextScope;
pub use shared::Contexts;
pub use snapshot::SnapshotError;

/// A unit of work: a request where it can be told, else a transaction, else a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Unit(pub u128);

/// What a unit's number says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitKind {
    /// A request with a name, of which the number is a hash.
    Request,
    /// A transaction of a session, which counts them.
    Transaction {
        /// The proxy's number of the session.
        session: u64,
        /// Its number in the session.
        number: u64,
    },
    /// Of the process before this one.
    Earlier,
}

impl Unit {
    const NAMED: u128 = 1 << 127;
    /// Set in every unit of an earlier process: none of them goes on.
    const EARLIER: u128 = 1 << 126;

    /// A transaction of a session, or what lies between two lookups there.
    pub fn of_session(session: u64, number: u64) -> Self {
        Self((u128::from(session) << 64 | u128::from(number)) & !(Self::NAMED | Self::EARLIER))
    }

    /// A request whose name has this hash.
    pub fn of_request(hash: u128) -> Self {
        Self((hash | Self::NAMED) & !Self::EARLIER)
    }

    /// What its number says.
    #[allow(clippy::cast_possible_truncation)]
    pub fn kind(self) -> UnitKind {
        match () {
            () if self.0 & Self::EARLIER != 0 => UnitKind::Earlier,
            () if self.0 & Self::NAMED != 0 => UnitKind::Request,
            () => UnitKind::Transaction { session: (self.0 >> 64) as u64, number: self.0 as u64 },
        }
    }
}

/// Names one context: the server and the database that its rows live in, and the label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ContextKey {
    /// Which server.
    pub server: ServerId,
    /// Which database.
    pub database: Arc<str>,
    /// Whose.
    pub label: Arc<str>,
}

/// Which read of an earlier unit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reads {
    /// The newest.
    #[default]
    Latest,
    /// The oldest since the context's last write of the row, or conflict on it: for applications whose every request
    /// reads everything again.
    Earliest,
}

/// What lets a write pass after a conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AfterConflict {
    /// A later unit that met no conflict on the row has read it.
    #[default]
    Reread,
    /// The error itself: a bare repeat of the write passes.
    Told,
}

/// Bounds and rules of all contexts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContextLimits {
    /// Rows of one context at most.
    pub max_rows: usize,
    /// Bytes of one context at most.
    pub max_bytes: usize,
    /// Bytes of all contexts together at most.
    pub max_total_bytes: usize,
    /// How long a row that was seen counts as seen; a context idle for so long goes.
    pub ttl: Duration,
    /// Which reads count.
    pub reads: Reads,
    /// What a conflict asks for.
    pub after_conflict: AfterConflict,
}

impl Default for ContextLimits {
    fn default() -> Self {
        Self {
            max_rows: 10_000,
            max_bytes: 4 << 20,
            max_total_bytes: 256 << 20,
            ttl: Duration::from_secs(12 * 3600),
            reads: Reads::Latest,
            after_conflict: AfterConflict::Reread,
        }
    }
}
