//! What the session is shown: it enters the context of its label, or waits for one.

use std::time::Instant;

use super::ContextScope;
use crate::observe::context::row::Shown;
use crate::observe::context::shared::Contexts;
use crate::observe::context::{ContextKey, Unit};
use crate::observe::{RowKey, Sequence};
use crate::sql::columns::ColumnSet;

/// A read made before the transaction's label was known.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) row: RowKey,
    /// `None`: a cursor did not show it.
    pub(super) version: Option<i64>,
    pub(super) shown: ColumnSet,
    pub(super) now: Instant,
    pub(super) own: bool,
    pub(super) cursor: bool,
    /// When its statement was sent, in the order of writes that enter contexts.
    pub(super) since: u64,
}

impl Pending {
    /// It enters a context. `own_work`: behind the commit of what it has read.
    pub(super) fn enter(self, contexts: &Contexts, key: &ContextKey, unit: Unit, own_work: bool) {
        let Self { row, version, shown: columns, now, own, cursor, since } = self;
        match version {
            Some(version) => {
                let shown = Shown { unit, version, columns: &columns, now, own, cursor, own_work };
                contexts.read(key, row, &shown, since);
            }
            None => contexts.saw_undated(key, &row, (&columns, unit), since, now),
        }
    }
}

impl ContextScope {
    /// As [`crate::observe::Observations::read`]. `own`: a locking read that counts for its own unit.
    pub fn read(&mut self, row: RowKey, version: i64, shown: &ColumnSet, own: bool, now: Instant) {
        self.read_since(row, version, shown, (own, self.sequence()), now);
    }

    /// Likewise of a statement that was sent then: what another connection of the label has written since it may not show.
    pub fn read_since(
        &mut self,
        row: RowKey,
        version: i64,
        shown: &ColumnSet,
        (own, sent): (bool, Sequence),
        now: Instant,
    ) {
        // What answers behind a COMMIT of the session's own has seen it.
        let since = sent.entered().max(self.entered);
        self.learn(row, version, shown, (None, since), own, now);
    }

    /// As [`crate::observe::Observations::read_from_cursor`].
    pub fn read_from_cursor(
        &mut self,
        row: RowKey,
        version: i64,
        shown: &ColumnSet,
        opened: Sequence,
        now: Instant,
    ) {
        self.learn(row, version, shown, (Some(opened), opened.entered()), false, now);
    }

    /// A read that the transaction alone may count: the identity lookup tells who, not what.
    pub fn read_for_transaction(&mut self, row: RowKey, version: i64, shown: &ColumnSet, now: Instant) {
        self.local.read(row, version, shown, now);
    }

    fn learn(
        &mut self,
        row: RowKey,
        version: i64,
        shown: &ColumnSet,
        (opened, since): (Option<Sequence>, u64),
        own: bool,
        now: Instant,
    ) {
        if shown.is_empty() {
            return;
        }
        // Of rows that this transaction has written it sees its own work, which may yet be undone.
        let cursor = opened.is_some();
        let own_work = self.has_written(&row, now);
        if own_work && opened.is_none() && self.own_reads.len() < self.max_pending {
            let read = Pending {
                row: row.clone(),
                version: Some(version),
                shown: shown.clone(),
                now,
                own,
                cursor,
                since,
            };
            self.own_reads.push((self.key.clone(), read));
        }
        match &self.key {
            Some(_) if own_work => {}
            Some(key) => {
                let shown =
                    Shown { unit: self.unit, version, columns: shown, now, own, cursor, own_work: false };
                self.contexts.read(key, row, &shown, since);
            }
            None => {
                match opened {
                    Some(opened) => {
                        self.local.read_from_cursor(row.clone(), version, shown, opened, now);
                    }
                    None => self.local.read(row.clone(), version, shown, now),
                }
                if !own_work {
                    self.pend(Pending {
                        row,
                        version: Some(version),
                        shown: shown.clone(),
                        now,
                        own,
                        cursor,
                        since,
                    });
                }
            }
        }
    }

    fn pend(&mut self, read: Pending) {
        if self.pending.len() < self.max_pending {
            self.pending.push(read);
        }
    }

    /// As [`crate::observe::Observations::saw_undated`].
    pub fn saw_undated(&mut self, row: &RowKey, shown: &ColumnSet, opened: Sequence, now: Instant) {
        if shown.is_empty() {
            return;
        }
        let own_work = self.has_written(row, now);
        match &self.key {
            Some(_) if own_work => {}
            Some(key) => {
                self.contexts.saw_undated(key, row, (shown, self.unit), opened.entered(), now);
            }
            None => {
                self.local.saw_undated(row, shown, opened, now);
                if !own_work {
                    let (row, shown, since) = (row.clone(), shown.clone(), opened.entered());
                    self.pend(Pending { row, version: None, shown, now, own: false, cursor: true, since });
                }
            }
        }
    }

    /// As [`crate::observe::Observations::sequence`]. It holds whatever the label is by the time that it is given back.
    pub fn sequence(&self) -> Sequence {
        self.local.sequence().with_entered(self.contexts.sequence())
    }

    /// As [`crate::observe::Observations::has_written_since`].
    pub fn has_written_since(&self, opened: Sequence) -> bool {
        self.local.has_written_since(opened)
    }
}
