//! What several proxies share: a store beside this process that keeps what has happened to each row of a context.
//!
//! Without one (the default) contexts live in this process alone, in [`super::Contexts`]. With one each process notes
//! there what happens here, behind the back of the sessions: [`ContextStore::note`] never waits. A write asks for the
//! rows that it needs before it is decided: [`ContextStore::fetch`]. What comes back is a row's history; folding it
//! gives what one process would know that had seen all of it (`fold`).
//!
//! The store knows neither SQL nor versions: names, bytes and their order. Nobody here knows what kind of store it is.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::ContextLimits;
use super::event::Clock;
use super::fold::Folded;

/// The rows of one table in one context.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// Names server, timeline, database, table and version column, so that what is known of one never counts for
    /// another.
    pub table: Arc<str>,
    /// Whose.
    pub label: Arc<str>,
}

/// What a process notes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// Something has happened to a row: goes behind what the store holds of it.
    Happened {
        /// Where the row is.
        place: Place,
        /// Its key.
        row: Box<str>,
        /// What has happened.
        event: Vec<u8>,
    },
    /// The context no longer knows any row of the table.
    Forget(Place),
    /// No context does: TRUNCATE.
    ForgetTable(Arc<str>),
}

/// What a write needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Where the rows are.
    pub place: Place,
    /// Their keys.
    pub rows: Vec<Box<str>>,
    /// Rows that have no name yet: at most so many, the ones used last first.
    pub any: Option<usize>,
}

/// A row's history: what has happened to it, the oldest first.
pub type History = Vec<Vec<u8>>;

/// One event that says as much as a whole history: a store may put it in the place of those.
pub fn in_short(history: &[Vec<u8>], limits: &ContextLimits) -> Vec<u8> {
    let clock = Clock::read();
    Folded::of(history, limits, &clock).event(&clock).bytes()
}

/// The answer to one [`Ask`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// The history of each row asked for, in that order; empty: nothing is known.
    pub rows: Vec<History>,
    /// Rows found, with their history.
    pub any: Vec<(Box<str>, History)>,
    /// How many there are beyond these.
    pub more: usize,
}

/// The store does not answer, or not in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unavailable;

/// One answer for each ask, or none.
pub type Fetching = Pin<Box<dyn Future<Output = Result<Vec<Answer>, Unavailable>> + Send>>;

/// A store that several processes share.
pub trait ContextStore: Debug + Send + Sync {
    /// Takes a note, in the order that notes are made. Never waits: a note that cannot be taken is dropped, and the
    /// store sees to it that nobody relies on what it holds of that place.
    fn note(&self, note: Note);

    /// Asks, behind every note made before. Ends within the store's time limit.
    fn fetch(&self, asks: Vec<Ask>) -> Fetching;
}
