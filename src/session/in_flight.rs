//! Own writes that have been sent and not been answered, and what that means for later ones.

use std::collections::{HashMap, HashSet};

use super::guards::Guards;
use super::prepared::Portal;
use super::state::Session;
use super::writes::Write;
use crate::observe::{RowKey, Scope};
use crate::rewrite::plan::{Effect, Reason, StatementPlan, Touched, Verb};

/// Own writes that have been sent and not been answered, by row and by table (rows unknown).
#[derive(Debug, Default, Clone)]
pub(crate) struct InFlight {
    rows: HashMap<RowKey, Sent>,
    tables: HashMap<u32, Sent>,
    /// How many of these have a guard that demands this version of the row.
    demanded: HashMap<RowKey, (i64, i64)>,
    /// Rows that an INSERT .. ON CONFLICT DO NOTHING proposes: they may begin anew, or stay as they are.
    proposed: HashSet<RowKey>,
    /// The end of a transaction, or ROLLBACK TO: what earlier writes have taught may be undone.
    undo: bool,
    /// What makes the session forget: DISCARD ALL, RESET ALL, another role, TRUNCATE.
    forget: bool,
    /// What may make later writes another's: a label, the name of a request.
    anothers: bool,
    /// What decides which tables names mean, or how a text is read: settings, roles, DDL, or the end of a transaction
    /// that had such.
    names: bool,
    /// Tables that triggers and foreign keys of own writes may change.
    touched: Vec<u32>,
}

/// Writes in flight of one row or table.
#[derive(Debug, Clone, Copy)]
struct Sent {
    /// The place of the last one.
    place: Place,
    /// How many, DELETEs not counted: behind one of them a row is gone, or as it was.
    count: i64,
    /// One of them is a DELETE.
    deletes: bool,
    /// What lives under a key behind them may have begun anew, at any version.
    anew: bool,
}

/// What a write in flight does to rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    /// It moves their versions by one at most.
    Moves,
    Deletes,
    /// Likewise, or it inserts them where they are not there.
    MovesOrInserts,
    /// It inserts them, or nothing is known of it.
    Anew,
}

impl From<Verb> for Sort {
    fn from(verb: Verb) -> Self {
        match verb {
            Verb::Update => Self::Moves,
            Verb::Upsert | Verb::Merge => Self::MovesOrInserts,
            Verb::Delete => Self::Deletes,
            Verb::Insert => Self::Anew,
        }
    }
}

/// Where in the stream of messages a write stands: two of one place are of one transaction, with no transaction
/// control between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub cycle: u64,
    pub part: u32,
}

/// What earlier writes that are still in flight mean for a write of the same row.
pub(super) enum Earlier {
    /// There are none.
    None,
    /// This many of the same transaction.
    Own(i64),
    /// Of another transaction, or of one whose rows cannot be told by their xmin or number: their answers must be in
    /// first.
    Unsettled,
}

impl InFlight {
    /// A message that may end an implicit transaction, by rolling it back too, is on its way.
    pub(super) fn may_end_transaction(&mut self) {
        self.undo = true;
    }

    /// What has been sent may make later writes another's.
    pub(super) fn may_be_anothers(&mut self) {
        self.anothers = true;
    }

    /// What ends a failed block, or takes it back to a savepoint, is on its way.
    pub(super) fn may_recover(&self) -> bool {
        self.undo
    }

    /// Once it is answered, something else may be known of any row: what earlier writes have taught may be undone, the
    /// scope ends with its transaction, or later writes are another's.
    pub(super) fn unsettles(&self, scope: &Scope) -> bool {
        self.may_change_scope(scope) || self.undo && scope.has_written_any()
    }

    /// Likewise of every row, known or not.
    pub(super) fn may_change_scope(&self, scope: &Scope) -> bool {
        self.anothers || self.undo && scope.ends_with_transaction()
    }

    /// What a name means is decided by what has not been answered yet.
    pub(super) fn moves_names(&self) -> bool {
        self.names
    }

    /// Nothing is in flight any more.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.tables.clear();
        self.demanded.clear();
        self.proposed.clear();
        self.undo = false;
        self.anothers = false;
        self.forget = false;
        self.names = false;
        self.touched.clear();
    }

    /// What is in flight of a row that a write expects at this version.
    pub(super) fn earlier(&self, row: &RowKey, expected: i64, place: Place, observations: &Scope) -> Earlier {
        let of_row = self.rows.get(row);
        let of_table = self.tables.get(&row.table);
        let mut count = 0;
        if self.forget || self.touched.contains(&row.table) || self.undo && observations.may_be_undone(row) {
            return Earlier::Unsettled;
        }
        for sent in of_row.into_iter().chain(of_table) {
            if sent.place != place || sent.anew {
                return Earlier::Unsettled;
            }
            count += sent.count;
        }
        // Which of several have found the row is not known: a change of another user below one that asks for no version
        // could pass for the work of one that has not.
        let demanded = self.demanded.get(row) == Some(&(count, expected)) && !observations.may_be_undone(row);
        match count {
            0 => Earlier::None,
            2.. if !demanded => Earlier::Unsettled,
            _ => Earlier::Own(count),
        }
    }

    /// An INSERT in flight may have begun the row anew.
    pub(super) fn is_proposed(&self, row: &RowKey) -> bool {
        self.proposed.contains(row)
    }

    /// A point write that goes without guards is on its way.
    pub fn add_point(&mut self, write: &Write, place: Place) {
        if let Some(point) = write.point() {
            let row = write.row.as_ref().map(std::slice::from_ref);
            self.add(point.table.root_oid, row, place, point.verb.into());
        }
    }

    /// A write of a statement is on its way.
    fn add(&mut self, table: u32, named: Option<&[RowKey]>, place: Place, sort: Sort) {
        let deleted = self.tables.get(&table).is_some_and(|sent| sent.deletes);
        let count = |entry: &mut Sent, deleted: bool| {
            entry.place = place;
            entry.count += i64::from(sort != Sort::Deletes);
            entry.anew |= sort == Sort::Anew || sort == Sort::MovesOrInserts && (deleted || entry.deletes);
            entry.deletes |= sort == Sort::Deletes;
        };
        let none = Sent { place, count: 0, deletes: false, anew: false };
        match named {
            Some(rows) => {
                for row in rows {
                    count(self.rows.entry(row.clone()).or_insert(none), deleted);
                }
            }
            None => {
                count(self.tables.entry(table).or_insert(none), deleted);
                if sort == Sort::MovesOrInserts {
                    self.inserts_into(table);
                }
            }
        }
    }

    /// A write that has been added has a guard that demands this version of the row.
    fn demands(&mut self, row: &RowKey, expected: i64) {
        let (count, demanded) = self.demanded.entry(row.clone()).or_insert((0, expected));
        *count += i64::from(*demanded == expected);
    }

    /// Rows that are not named, or not certain, may be inserted: what has been deleted may be among them.
    fn inserts_into(&mut self, table: u32) {
        let rows = self.rows.iter_mut().filter(|(row, _)| row.table == table).map(|(_, sent)| sent);
        rows.chain(self.tables.get_mut(&table)).for_each(|sent| sent.anew |= sent.deletes);
    }

    /// A statement is on its way, whose writes have been noted. Unless it is one of a single write and all is known of
    /// that, or begins a transaction or savepoint, it may insert what has been deleted before.
    pub fn add_statement(&mut self, statement: &StatementPlan) {
        self.add_touched(&statement.touches);
        let control = matches!(statement.effect, Effect::Begin | Effect::Savepoint(_) | Effect::Release(_));
        let [site] = statement.sites.as_slice() else {
            if !control {
                self.all_anew();
            }
            return;
        };
        if site.reason == Reason::Cte || !statement.unchecked.is_empty() {
            self.all_anew();
        }
    }

    fn all_anew(&mut self) {
        self.rows.values_mut().chain(self.tables.values_mut()).for_each(|sent| sent.anew |= sent.deletes);
    }

    /// Triggers and foreign keys may change these tables.
    pub fn add_touched(&mut self, touches: &[Touched]) {
        for touched in touches {
            if !self.touched.contains(&touched.root_oid) {
                self.touched.push(touched.root_oid);
            }
        }
    }
}

impl Session {
    /// The place of what is sent next.
    pub fn place(&self) -> Place {
        Place { cycle: self.cycle.number, part: self.cycle.part }
    }

    /// Takes note of the writes of a statement that is sent now.
    pub fn sent_writes(&mut self, statement: &StatementPlan, guards: &Guards, place: Place) {
        for (site, guard) in statement.sites.iter().zip(&guards.0) {
            if site.verb == Verb::Insert && (guard.named.is_none() || !site.bare) {
                // What it writes beside the rows named is not known to be a row that is known.
                self.in_flight.proposed.extend(guard.named.iter().flatten().cloned());
                self.in_flight.inserts_into(site.table.root_oid);
                continue;
            }
            self.in_flight.add(site.table.root_oid, guard.named.as_deref(), place, site.verb.into());
            if guard.known.is_some() && site.verb != Verb::Delete {
                guard.rows.iter().for_each(|row| self.in_flight.demands(&row.row, row.expected));
            }
        }
        for write in statement.unchecked.iter().filter(|w| w.root_oid != 0) {
            self.in_flight.add(write.root_oid, None, place, Sort::Anew);
        }
    }

    /// Likewise of a point write that goes without guards.
    pub fn sent_point(&mut self, portal: &Portal, place: Place) {
        if let Some(write) = &*portal.write.borrow() {
            self.in_flight.add_point(write, place);
        }
    }

    /// Transaction control stands between what was sent before and what comes.
    pub fn sent_effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Begin | Effect::Release(_) => self.cycle.part += 1,
            Effect::Call { names } => {
                self.cycle.part += 1;
                self.in_flight.names |= names;
            }
            Effect::Commit { .. }
            | Effect::Rollback { .. }
            | Effect::RollbackTo(_)
            | Effect::PrepareTransaction => {
                self.cycle.part += 1;
                self.in_flight.undo = true;
                self.in_flight.names |= self.view_private || self.view_outdated || self.text_moved;
            }
            Effect::Savepoint(_) => {
                self.cycle.part += 1;
                self.subtransaction = true;
            }
            Effect::DiscardAll | Effect::ResetAll | Effect::Role => {
                self.in_flight.forget = true;
                self.in_flight.names = true;
            }
            Effect::Truncate(_) => self.in_flight.forget = true,
            Effect::Names | Effect::Catalog => self.in_flight.names = true,
            Effect::Text => {
                self.in_flight.names = true;
                self.text_moved = true;
            }
            _ => {}
        }
    }
}
