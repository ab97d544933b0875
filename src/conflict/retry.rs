//! What becomes of writes after their conflict: whether who was refused tries again, and gets through.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hashlink::LinkedHashMap;

use crate::observe::RowKey;

/// Refused writes that are waited for at most; beyond, the oldest count as abandoned.
const MAX_PENDING: usize = 10_000;

/// What became of a write that was refused. The `outcome` label of `version_conflict_retries_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetryOutcome {
    /// The same scope has written the row since.
    Succeeded,
    /// The next write of the row by the same scope was refused too.
    ConflictedAgain,
    /// The scope did not write the row again in time.
    Abandoned,
}

impl RetryOutcome {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Succeeded, Self::ConflictedAgain, Self::Abandoned];

    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::ConflictedAgain => "conflicted_again",
            Self::Abandoned => "abandoned",
        }
    }
}

/// Whose write it was: where the scope is a context, its database and label; else the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Who<'a> {
    /// By the proxy's number.
    Session(u64),
    /// By database and label.
    Context(&'a str, &'a str),
}

#[derive(Debug)]
struct Pending {
    entity: Box<str>,
    since: Instant,
}

/// The refused writes of all scopes that are waited for, by a hash of whose and which row: a collision miscounts one.
#[derive(Debug)]
pub struct Retries {
    window: Duration,
    pending: Mutex<LinkedHashMap<u64, Pending>>,
    count: AtomicUsize,
    hasher: RandomState,
}

impl Retries {
    /// A retry counts for so long after the conflict.
    pub fn new(window: Duration) -> Self {
        Self { window, pending: Mutex::default(), count: AtomicUsize::new(0), hasher: RandomState::new() }
    }

    /// A write was refused. Calls `tell` for each refused write that is settled by it: an earlier one of the same row
    /// and scope, and those that have waited too long.
    pub fn refused(
        &self,
        who: Who<'_>,
        row: &RowKey,
        entity: &str,
        now: Instant,
        mut tell: impl FnMut(&str, RetryOutcome),
    ) {
        let mut pending = self.lock();
        if let Some(before) =
            pending.insert(self.key(who, row), Pending { entity: entity.into(), since: now })
        {
            let again = now.saturating_duration_since(before.since) <= self.window;
            tell(&before.entity, if again { RetryOutcome::ConflictedAgain } else { RetryOutcome::Abandoned });
        }
        self.drop_old(&mut pending, now, &mut tell);
        self.count.store(pending.len(), Ordering::Release);
    }

    /// A write of the row has landed. Costs next to nothing where no refused write is waited for.
    pub fn landed(&self, who: Who<'_>, row: &RowKey, now: Instant, mut tell: impl FnMut(&str, RetryOutcome)) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut pending = self.lock();
        if let Some(before) = pending.remove(&self.key(who, row)) {
            let in_time = now.saturating_duration_since(before.since) <= self.window;
            tell(&before.entity, if in_time { RetryOutcome::Succeeded } else { RetryOutcome::Abandoned });
        }
        self.count.store(pending.len(), Ordering::Release);
    }

    /// Gives up on those that have waited too long.
    pub fn sweep(&self, now: Instant, mut tell: impl FnMut(&str, RetryOutcome)) {
        let mut pending = self.lock();
        self.drop_old(&mut pending, now, &mut tell);
        self.count.store(pending.len(), Ordering::Release);
    }

    fn drop_old(
        &self,
        pending: &mut LinkedHashMap<u64, Pending>,
        now: Instant,
        tell: &mut impl FnMut(&str, RetryOutcome),
    ) {
        while let Some((_, oldest)) = pending.front() {
            let waits = now.saturating_duration_since(oldest.since) <= self.window;
            if waits && pending.len() <= MAX_PENDING {
                break;
            }
            if let Some((_, gone)) = pending.pop_front() {
                tell(&gone.entity, RetryOutcome::Abandoned);
            }
        }
    }

    fn key(&self, who: Who<'_>, row: &RowKey) -> u64 {
        self.hasher.hash_one((who, row))
    }

    /// A panic while it was locked has left the map as single operations do.
    fn lock(&self) -> MutexGuard<'_, LinkedHashMap<u64, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn each_refused_write_is_settled_once() {
        let retries = Retries::new(Duration::from_secs(60));
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (row, other) = (RowKey::new(1, "7"), RowKey::new(1, "8"));
        let told = std::cell::RefCell::new(Vec::new());
        let tell = |entity: &str, outcome: RetryOutcome| {
            told.borrow_mut().push((entity.to_owned(), outcome.label()))
        };
        let mine = Who::Session(1);
        retries.landed(mine, &row, at(0), tell);
        retries.refused(mine, &row, "project", at(1), tell);
        retries.landed(Who::Session(2), &row, at(2), tell);
        retries.landed(mine, &other, at(2), tell);
        assert!(told.borrow().is_empty());
        retries.refused(mine, &row, "project", at(3), tell);
        retries.landed(mine, &row, at(4), tell);
        retries.landed(mine, &row, at(5), tell);
        assert_eq!(
            told.take(),
            [("project".to_owned(), "conflicted_again"), ("project".to_owned(), "succeeded")]
        );
        // Too late, by each way to notice it.
        retries.refused(mine, &row, "a", at(10), tell);
        retries.refused(Who::Context("d", "x"), &row, "b", at(11), tell);
        retries.refused(Who::Context("d", "y"), &row, "c", at(12), tell);
        retries.landed(mine, &row, at(71), tell);
        retries.sweep(at(72), tell);
        retries.refused(Who::Context("d", "y"), &row, "d", at(73), tell);
        let late = |entity: &str| (entity.to_owned(), "abandoned");
        assert_eq!(told.take(), [late("a"), late("b"), late("c")]);
    }

    #[test]
    fn bounded() {
        let retries = Retries::new(Duration::from_secs(60));
        let now = Instant::now();
        let mut abandoned = 0;
        for n in 0..MAX_PENDING as u64 + 10 {
            retries.refused(Who::Session(n), &RowKey::new(1, "7"), "project", now, |_, _| abandoned += 1);
        }
        assert_eq!(abandoned, 10);
    }
}
