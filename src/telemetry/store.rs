//! The metrics of the shared store of contexts.

use std::time::Duration;

use metrics::{Counter, Gauge};

/// What came of asking the store. The `outcome` label of `staleguard_store_fetches_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreFetch {
    /// It has answered.
    Answered,
    /// Not within the limit.
    Late,
    /// The connection broke, or the answer made no sense.
    Failed,
    /// It was not asked, since it is gone, silent, or lacks what was noted of these rows.
    Refused,
}

impl StoreFetch {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Answered, Self::Late, Self::Failed, Self::Refused];

    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Late => "late",
            Self::Failed => "failed",
            Self::Refused => "refused",
        }
    }
}

/// What went wrong with the store. The `kind` label of `staleguard_store_errors_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreError {
    /// No connection, or it broke.
    Connection,
    /// No answer in time.
    Timeout,
    /// The server refused: password, permissions, memory.
    Refused,
}

impl StoreError {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Connection, Self::Timeout, Self::Refused];

    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Timeout => "timeout",
            Self::Refused => "refused",
        }
    }
}

/// Handles of all of them. Cheap to clone.
#[derive(Clone)]
pub struct StoreMetrics {
    /// `staleguard_store_up`.
    pub up: Gauge,
    sent: Counter,
    dropped: Counter,
    fetches: [Counter; 4],
    microseconds: Counter,
    errors: [Counter; 3],
}

impl std::fmt::Debug for StoreMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreMetrics").finish_non_exhaustive()
    }
}

impl StoreMetrics {
    /// Of handles that begin at 0. `labelled` makes one by the metric's name and the label's value.
    pub(super) fn new(
        up: Gauge,
        microseconds: Counter,
        events: impl Fn(&'static str) -> Counter,
        fetches: impl Fn(&'static str) -> Counter,
        errors: impl Fn(&'static str) -> Counter,
    ) -> Self {
        up.set(0.0);
        Self {
            up,
            microseconds,
            sent: events("sent"),
            dropped: events("dropped"),
            fetches: StoreFetch::ALL.map(|outcome| fetches(outcome.label())),
            errors: StoreError::ALL.map(|kind| errors(kind.label())),
        }
    }

    /// Events that the store has got.
    pub fn sent(&self, count: u64) {
        self.sent.increment(count);
    }

    /// Events that it has not got.
    pub fn dropped(&self, count: u64) {
        self.dropped.increment(count);
    }

    /// A write has asked.
    pub fn fetched(&self, outcome: StoreFetch, took: Duration) {
        let fetches = StoreFetch::ALL.iter().zip(&self.fetches);
        fetches.filter(|(of, _)| **of == outcome).for_each(|(_, counter)| counter.increment(1));
        self.microseconds.increment(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Something went wrong.
    pub fn failed(&self, kind: StoreError) {
        let errors = StoreError::ALL.iter().zip(&self.errors);
        errors.filter(|(of, _)| **of == kind).for_each(|(_, counter)| counter.increment(1));
    }
}
