//! With a shared store: what a session has asked it for one decision.
//!
//! A decision is made as if everything was at hand. Where it needs a row that was not fetched, that is noted; the
//! session then asks for what is missing, and decides again. What was fetched holds for that one decision only: other
//! processes go on.

use std::collections::{HashMap, HashSet};
use std::mem::take;
use std::sync::Arc;
use std::time::Instant;

use super::ContextScope;
use crate::observe::context::event::Clock;
use crate::observe::context::fold::Folded;
use crate::observe::context::row::Row;
use crate::observe::context::shared::{Contexts, expected_by};
use crate::observe::context::store::{Answer, Ask, Fetching, Place, Unavailable};
use crate::observe::context::{ContextKey, Unit};
use crate::observe::store::Known;
use crate::observe::{Cause, Lookup, RowKey, WrittenBack};
use crate::sql::columns::ColumnSet;

/// A decision asks so often at most: what it needs may depend on what it has got.
const ROUNDS: u32 = 4;

/// Rows asked for at once.
const MAX_ROWS: usize = 4_096;

#[derive(Debug, Default)]
pub(super) struct Fetched {
    rows: HashMap<(ContextKey, RowKey), Option<Known<Row>>>,
    tables: HashMap<(ContextKey, u32), (Vec<RowKey>, usize)>,
    missing_rows: HashSet<(ContextKey, RowKey)>,
    missing_tables: Vec<(ContextKey, u32, usize)>,
    /// What has been asked for.
    asked: Vec<(ContextKey, u32, Ask)>,
    rounds: u32,
    /// The store does not answer: what was not fetched is not known.
    unavailable: bool,
}

impl Fetched {
    fn row(&mut self, key: &ContextKey, row: &RowKey) -> Option<&Option<Known<Row>>> {
        let wanted = (key.clone(), row.clone());
        if !self.rows.contains_key(&wanted) {
            if !self.unavailable && self.missing_rows.len() < MAX_ROWS {
                self.missing_rows.insert(wanted);
            }
            return None;
        }
        self.rows.get(&wanted)
    }

    /// The version that a write of `sets` is based on.
    pub(super) fn expected(
        &mut self,
        contexts: &Contexts,
        key: &ContextKey,
        row: &RowKey,
        sets: &ColumnSet,
        unit: Unit,
    ) -> Lookup {
        match self.row(key, row) {
            Some(Some(known)) => expected_by(known, sets, unit, contexts.limits().reads),
            Some(None) => Lookup::Unknown(contexts.cause(key, row)),
            None => Lookup::Unknown(Cause::Store),
        }
    }

    /// How to understand `SET version = n`.
    pub(super) fn written_back(
        &mut self,
        contexts: &Contexts,
        key: &ContextKey,
        row: &RowKey,
        n: i64,
        sets: &ColumnSet,
        unit: Unit,
    ) -> WrittenBack {
        match self.row(key, row) {
            Some(Some(Known::Seen(seen))) => seen.written_back(n, sets, unit, contexts.limits().reads),
            _ => WrittenBack::BasedOn(n),
        }
    }

    /// Up to `limit` rows of a table of which something is known, and how many there are beyond.
    pub(super) fn known_rows(&mut self, key: &ContextKey, table: u32, limit: usize) -> (Vec<RowKey>, usize) {
        if let Some(found) = self.tables.get(&(key.clone(), table)) {
            return found.clone();
        }
        let wanted = (key.clone(), table, limit);
        if !self.unavailable && !self.missing_tables.contains(&wanted) {
            self.missing_tables.push(wanted);
        }
        (Vec::new(), 0)
    }

    fn asks(&mut self, contexts: &Contexts) -> Vec<Ask> {
        let Some(journal) = contexts.journal() else { return Vec::new() };
        let mut asked: Vec<(ContextKey, u32, Ask)> = Vec::new();
        let mut of = |key: ContextKey, table: u32, row: Option<Box<str>>, any: Option<usize>| {
            let at = asked.iter().position(|(k, t, _)| (k, *t) == (&key, table));
            let at = at.unwrap_or_else(|| {
                let place: Place = journal.place(&key, table);
                asked.push((key, table, Ask { place, rows: Vec::new(), any: None }));
                asked.len() - 1
            });
            if let Some((_, _, ask)) = asked.get_mut(at) {
                ask.rows.extend(row);
                ask.any = ask.any.max(any);
            }
        };
        for (key, row) in take(&mut self.missing_rows) {
            of(key, row.table, Some(row.key), None);
        }
        for (key, table, limit) in take(&mut self.missing_tables) {
            of(key, table, None, Some(limit));
        }
        let asks = asked.iter().map(|(_, _, ask)| ask.clone()).collect();
        self.asked = asked;
        asks
    }

    /// True if anything is known of the row.
    fn take_in(
        &mut self,
        contexts: &Contexts,
        (key, row): (&ContextKey, RowKey),
        history: &[Vec<u8>],
        clock: &Clock,
    ) -> bool {
        let folded = Folded::of(history, contexts.limits(), clock);
        contexts.take_in(key, &row, folded.known.clone(), clock.now);
        let is_known = folded.known.is_some();
        self.rows.insert((key.clone(), row), folded.known);
        is_known
    }
}

impl ContextScope {
    /// What the scope's context, and others beside, knows is in a store that other processes share.
    pub fn is_shared(&self) -> bool {
        self.fetched.is_some()
    }

    /// What the last decision needs and has not got; `None`: nothing.
    pub fn to_fetch(&mut self) -> Option<Vec<Ask>> {
        let fetched = self.fetched.as_deref_mut()?;
        if fetched.missing_rows.is_empty() && fetched.missing_tables.is_empty() {
            return None;
        }
        fetched.rounds += 1;
        Some(fetched.asks(&self.contexts))
    }

    /// The last decision needs something that it has not got.
    pub fn lacks_rows(&self) -> bool {
        let lacks = |f: &Fetched| !f.missing_rows.is_empty() || !f.missing_tables.is_empty();
        self.fetched.as_deref().is_some_and(lacks)
    }

    /// The store's answer to [`Self::to_fetch`].
    pub fn fetched(&mut self, answers: Result<Vec<Answer>, Unavailable>) {
        let Some(fetched) = self.fetched.as_deref_mut() else { return };
        let asked = take(&mut fetched.asked);
        // What is missing after the last round stays so.
        fetched.unavailable = fetched.rounds >= ROUNDS;
        let Ok(answers) = answers else {
            fetched.unavailable = true;
            return;
        };
        let clock = Clock::read();
        for ((key, table, ask), answer) in asked.into_iter().zip(answers) {
            for (row, history) in ask.rows.into_iter().zip(answer.rows) {
                fetched.take_in(&self.contexts, (&key, RowKey::new(table, row)), &history, &clock);
            }
            let mut found = Vec::with_capacity(answer.any.len());
            for (row, history) in answer.any {
                let row = RowKey::new(table, row);
                if fetched.take_in(&self.contexts, (&key, row.clone()), &history, &clock) {
                    found.push(row);
                }
            }
            if ask.any.is_some() {
                fetched.tables.insert((key, table), (found, answer.more));
            }
        }
    }

    /// The store was asked what is known of a row and does not answer, so that nothing can be made of what the write
    /// itself says of versions.
    pub fn is_cut_off(&self, row: &RowKey, now: Instant) -> bool {
        let (Some(fetched), Some(key)) = (self.fetched.as_deref(), &self.key) else { return false };
        fetched.unavailable
            && (self.supposed.is_some() || self.writes.own_write_of(row, now).is_none())
            && !fetched.rows.contains_key(&(key.clone(), row.clone()))
    }

    /// Something may be known of rows of the table.
    pub fn may_know_rows(&mut self, table: u32) -> bool {
        // What other processes have told the store is not asked for here.
        self.is_shared() && self.key.is_some() || !self.known_rows(table, 1).0.is_empty()
    }

    /// The decision is made: what was fetched for it no longer counts.
    pub fn has_decided(&mut self) {
        if let Some(fetched) = self.fetched.as_deref_mut() {
            *fetched = Fetched::default();
        }
    }

    /// What is known here of a row, for what does not decide about a write: see [`Self::expected`].
    pub fn known_here(&mut self, row: &RowKey, sets: &ColumnSet, now: Instant) -> Lookup {
        let fetched = self.fetched.take();
        let found = self.expected(row, sets, now);
        self.fetched = fetched;
        found
    }
}

/// Behind [`Contexts`], for whoever waits in the session's place.
impl Contexts {
    /// See [`super::super::store::ContextStore::fetch`].
    pub fn fetch(self: &Arc<Self>, asks: Vec<Ask>) -> Fetching {
        match self.journal() {
            Some(journal) => journal.fetch(asks),
            None => Box::pin(std::future::ready(Err(Unavailable))),
        }
    }
}
