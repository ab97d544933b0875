//! Version columns: up, down, status.
//!
//! A table at a time, each in a transaction of its own under a short `lock_timeout` with retries, so that
//! the migration never stands in an application's way for longer than that. Everything can be repeated:
//! a table that is already as wanted is left as it is, and a run that was broken off goes on where it
//! stood. No table is ever rewritten (since PostgreSQL 11 a constant default is kept in the catalog).
//!
//! [`down`] first marks the columns as retired ([`RETIRED_MARK`]). A proxy that meets the mark at its next
//! look at the catalog stops using the column; once every proxy has looked and every transaction that may
//! still go by an older look has ended, the columns are dropped, and no statement fails.

mod connect;
mod down;
mod inspect;
mod quote;
mod report;
mod retry;
mod status;
mod trigger;
mod up;
mod wait;

use std::time::Duration;

pub use connect::{ConnectError, Connection, ServerError, connect};
pub use down::down;
pub use inspect::default_is_one;
pub use report::{Action, Outcome, Problem, Report, TableReport, TriggerOutcome};
pub use status::{RowCount, StatusReport, TableStatus, status};
pub use trigger::{MARK as TRIGGER_MARK, TRIGGER};
pub use up::up;

/// What `down` writes into a column's comment before it drops the column. A column whose comment contains
/// it is no version column any more: it is neither read nor bumped.
pub const RETIRED_MARK: &str = "[staleguard: retired]";

/// After how long a proxy looks at the catalog again at the latest.
pub const CATALOG_AGE: Duration = Duration::from_secs(5);

/// The oldest server, as `server_version_num`, that adds a column with a constant default without
/// rewriting the table.
pub const OLDEST_SERVER: i32 = 110_000;

/// How the migration goes about its work.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long one try waits for a table's lock. Other sessions queue behind it for as long.
    pub lock_timeout: Duration,
    /// How often a table's lock is tried.
    pub tries: u32,
    /// The pause after the first try in vain; it doubles with each, up to [`Self::longest_pause`], and half
    /// of it is left to chance.
    pub first_pause: Duration,
    /// See [`Self::first_pause`].
    pub longest_pause: Duration,
    /// `down`: after how long a proxy looks at the catalog again; twice as long is waited.
    pub catalog_age: Duration,
    /// `down`: how long to wait for the transactions that were open when the columns were retired.
    pub wait_limit: Duration,
    /// `up`: also put the trigger on each table that bumps the version where a statement did not.
    pub with_trigger: bool,
    /// `down`: drop at once, for where no proxy is running.
    pub no_wait: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lock_timeout: Duration::from_secs(2),
            tries: 10,
            first_pause: Duration::from_millis(250),
            longest_pause: Duration::from_secs(8),
            catalog_age: CATALOG_AGE,
            wait_limit: Duration::from_secs(600),
            with_trigger: false,
            no_wait: false,
        }
    }
}

/// Is told what goes on while it goes on, a line at a time: retries, waits.
pub type Progress<'a> = &'a (dyn Fn(&str) + Sync);
