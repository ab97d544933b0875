//! Cursors: what a FETCH shows teaches, and a `WHERE CURRENT OF` writes the row that was shown last.
//!
//! A cursor is made by DECLARE or, as a portal, by Bind; both share one name space. The map here holds those of
//! DECLARE as the server has them: it changes as replies come in, so it is right for the reply that is being read. The
//! portals are in [`super::prepared::Names`]. A cursor shows rows as they were when it was opened, and says so.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use smallvec::SmallVec;

use super::detail::Detail;
use super::learn::{Learner, Taught};
use super::prepared::{Names, Portal};
use super::state::Session;
use crate::catalog::View;
use crate::observe::{RowKey, Sequence};
use crate::rewrite::plan::{Effect, GuardSite, Plan, Reason, StatementPlan};
use crate::wire::read::Field;

/// More savepoints than this are not told apart.
const MAX_SAVEPOINTS: usize = 10_000;

/// What rows a cursor has shown.
#[derive(Debug, Default)]
pub(crate) struct Shows {
    /// The row of each table that it showed last; empty if it may stand on another one.
    pub(super) at: RefCell<SmallVec<[RowKey; 1]>>,
    /// Root OIDs of tables of which it shows something, but not which row.
    obscured: RefCell<SmallVec<[u32; 1]>>,
}

impl Shows {
    /// The result's columns are known.
    pub fn through(&self, learner: &Learner) {
        *self.obscured.borrow_mut() = SmallVec::from_slice(learner.obscured());
    }

    /// A row of its result begins.
    pub fn next_row(&self) {
        self.at.borrow_mut().clear();
    }

    /// It has shown this one.
    pub fn stands_on(&self, row: &RowKey) {
        self.at.borrow_mut().push(row.clone());
    }
}

/// A cursor that a DECLARE made.
#[derive(Debug)]
pub(crate) struct Declared {
    /// What its rows teach.
    statement: StatementPlan,
    /// When it was opened, in the order of own writes.
    opened: Sequence,
    hold: bool,
    /// Its columns as the server described them.
    layout: RefCell<Option<Rc<[Field]>>>,
    shows: Shows,
}

impl Declared {
    pub fn set_layout(&self, fields: Rc<[Field]>) {
        *self.layout.borrow_mut() = Some(fields);
    }
}

/// What a FETCH reads from.
#[derive(Debug, Clone)]
pub(crate) enum Cursor {
    /// Made by DECLARE.
    Declared(Rc<Declared>),
    /// Made by Bind.
    Portal(Rc<Portal>),
}

impl Cursor {
    /// How many columns at the end of its rows are not the client's.
    pub fn hidden(&self) -> usize {
        match self {
            Self::Declared(_) => 0,
            Self::Portal(portal) => portal.prepared.hidden,
        }
    }

    /// Its columns, once described.
    pub fn layout(&self) -> Option<Rc<[Field]>> {
        match self {
            Self::Declared(declared) => declared.layout.borrow().clone(),
            Self::Portal(portal) => portal.prepared.layout.borrow().clone(),
        }
    }

    /// Takes note of its columns.
    pub fn set_layout(&self, fields: &Rc<[Field]>) {
        match self {
            Self::Declared(declared) => declared.set_layout(fields.clone()),
            Self::Portal(portal) => *portal.prepared.layout.borrow_mut() = Some(fields.clone()),
        }
    }

    fn statement(&self) -> Option<&StatementPlan> {
        match self {
            Self::Declared(declared) => Some(&declared.statement),
            Self::Portal(portal) => portal.prepared.statement(),
        }
    }

    fn opened(&self) -> Option<Sequence> {
        match self {
            Self::Declared(declared) => Some(declared.opened),
            Self::Portal(portal) => portal.opened.get(),
        }
    }

    pub fn shows(&self) -> &Shows {
        match self {
            Self::Declared(declared) => &declared.shows,
            Self::Portal(portal) => &portal.shows,
        }
    }

    /// Reads its rows in these formats.
    pub fn learner(&self, view: Option<&View>, fields: &[Field], format: impl Fn(usize) -> i16) -> Learner {
        let mut learner = match (self, self.statement(), view) {
            (Self::Declared(_), Some(statement), Some(view)) => {
                Learner::of_cursor(statement, view, fields, format)
            }
            (Self::Portal(_), Some(statement), Some(view)) => Learner::new(statement, view, fields, format),
            _ => Learner::default(),
        };
        learner.hidden = self.hidden();
        self.shows().through(&learner);
        learner
    }

    /// What it has shown of a table's rows is what is known of them.
    fn tells_of(&self, root_oid: u32) -> bool {
        self.statement().is_some_and(|s| teaches(s, root_oid))
            && !self.shows().obscured.borrow().contains(&root_oid)
    }
}

fn teaches(statement: &StatementPlan, root_oid: u32) -> bool {
    statement.teaches.iter().any(|t| t.table.root_oid == root_oid)
}

/// An open cursor and the savepoint it belongs to.
#[derive(Debug)]
struct Open {
    cursor: Rc<Declared>,
    /// How many savepoints were set before it. `None`: its transaction has committed.
    depth: Option<usize>,
}

/// The cursors of DECLARE that are open.
#[derive(Debug, Default)]
pub(crate) struct Cursors {
    open: HashMap<Box<str>, Open>,
    savepoints: Vec<Box<str>>,
}

impl Cursors {
    pub fn get(&self, name: &str) -> Option<&Rc<Declared>> {
        if self.open.is_empty() { None } else { self.open.get(name).map(|open| &open.cursor) }
    }

    /// By the name in a message.
    pub fn named(&self, name: &[u8]) -> Option<&Rc<Declared>> {
        if self.open.is_empty() { None } else { self.get(std::str::from_utf8(name).ok()?) }
    }

    /// A DECLARE has completed.
    pub fn declare(&mut self, name: &str, statement: &StatementPlan, hold: bool, opened: Sequence) {
        if name.is_empty() {
            return;
        }
        let cursor = Declared {
            statement: StatementPlan { teaches: statement.teaches.clone(), ..StatementPlan::default() },
            opened,
            hold,
            layout: RefCell::default(),
            shows: Shows::default(),
        };
        let depth = Some(self.savepoints.len());
        self.open.insert(name.into(), Open { cursor: Rc::new(cursor), depth });
    }

    pub fn close(&mut self, name: &str) {
        self.open.remove(name);
    }

    pub fn clear(&mut self) {
        self.open.clear();
    }

    pub fn savepoint(&mut self, name: &str) {
        if self.savepoints.len() < MAX_SAVEPOINTS {
            self.savepoints.push(name.into());
        }
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.savepoints.iter().rposition(|s| **s == *name)
    }

    /// What was opened behind the savepoint belongs to the level around it.
    pub fn release(&mut self, name: &str) {
        let Some(at) = self.find(name) else { return };
        self.savepoints.truncate(at);
        for open in self.open.values_mut() {
            open.depth = open.depth.map(|depth| depth.min(at));
        }
    }

    /// What was opened behind the savepoint, which stays, is gone. What was closed there stays closed.
    pub fn rollback_to(&mut self, name: &str) {
        let at = self.find(name);
        // Of a savepoint that was not kept any more: whatever the transaction has opened may be gone.
        self.savepoints.truncate(at.map_or(0, |at| at + 1));
        self.open.retain(|_, open| open.depth.is_none_or(|depth| at.is_some_and(|at| depth <= at)));
    }

    /// The transaction is over.
    pub fn transaction_over(&mut self, committed: bool) {
        self.savepoints.clear();
        if self.open.is_empty() {
            return;
        }
        self.open.retain(|_, open| open.depth.is_none() || committed && open.cursor.hold);
        for open in self.open.values_mut() {
            open.depth = None;
        }
        if self.open.capacity() > 64 {
            self.open.shrink_to_fit();
        }
    }
}

/// What is known of the row that a `WHERE CURRENT OF` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// What its cursor has shown has been learned: what is known of the table's rows goes along.
    Known,
    /// The client may have seen the row in a state that was not learned.
    Unknown,
    /// The cursor may be on its way.
    Unsettled,
}

/// The cursors that a statement may write through.
pub(crate) struct OpenCursors<'a> {
    pub names: &'a Names,
    pub cursors: &'a Cursors,
    /// The statements before it in its text.
    pub before: &'a [StatementPlan],
    /// Replies are outstanding that may open a cursor.
    pub in_flight: bool,
}

impl OpenCursors<'_> {
    pub fn standing(&self, site: &GuardSite) -> Standing {
        let Some(name) = &site.cursor else { return Standing::Known };
        let known = |known: bool| if known { Standing::Known } else { Standing::Unknown };
        let root = site.table.root_oid;
        let declares = |s: &&StatementPlan| matches!(&s.effect, Effect::Declare { name: n, .. } if n == name);
        if let Some(declare) = self.before.iter().rev().find(declares) {
            // The client has seen nothing through it when it sent the text.
            return known(teaches(declare, root));
        }
        match self.cursor(name) {
            Some(cursor) => known(cursor.tells_of(root)),
            None if self.in_flight => Standing::Unsettled,
            None => Standing::Unknown,
        }
    }

    fn cursor(&self, name: &str) -> Option<Cursor> {
        let declared = self.cursors.get(name).cloned().map(Cursor::Declared);
        declared.or_else(|| self.names.portal(name.as_bytes()).cloned().map(Cursor::Portal))
    }

    /// The row that a `WHERE CURRENT OF` will write, if nothing that is still to run can move its cursor.
    pub fn position(&self, site: &GuardSite) -> Option<RowKey> {
        let name = site.cursor.as_ref().filter(|_| !self.in_flight)?;
        let may_move = |s: &StatementPlan| !matches!(s.effect, Effect::None | Effect::Begin);
        if self.before.iter().any(may_move) {
            return None;
        }
        let cursor = self.cursor(name)?;
        let at = cursor.shows().at.borrow();
        at.iter().find(|row| row.table == site.table.root_oid).cloned()
    }
}

/// The cursor that a statement fetches from, with rows.
pub(crate) fn fetched(statement: &StatementPlan) -> Option<&str> {
    match &statement.effect {
        Effect::Fetch { name, moves: false } => Some(name),
        _ => None,
    }
}

impl Session {
    /// The cursor of this name; `portal` is the one that had it when the statement was sent.
    pub fn cursor(&self, name: &str, portal: Option<&Rc<Portal>>) -> Option<Cursor> {
        let declared = self.cursors.get(name).cloned().map(Cursor::Declared);
        declared.or_else(|| portal.cloned().map(Cursor::Portal))
    }

    /// The portals that a plan's statements fetch from, by statement; empty if there are none.
    pub fn portals_fetched(&self, plan: &Plan) -> Vec<Option<Rc<Portal>>> {
        let portal = |s: &StatementPlan| self.portal_fetched(s);
        if self.names.has_portals() { plan.statements.iter().map(portal).collect() } else { Vec::new() }
    }

    /// The portal that a statement fetches from, or an EXECUTE of a FETCH that was parsed before.
    pub fn portal_fetched(&self, statement: &StatementPlan) -> Option<Rc<Portal>> {
        match &statement.effect {
            Effect::Fetch { name, .. } => self.names.portal(name.as_bytes()).cloned(),
            Effect::Execute(name) if self.names.has_portals() => {
                let executed = self.names.statement(name.as_bytes())?.statement()?;
                self.names.portal(fetched(executed)?.as_bytes()).cloned()
            }
            _ => None,
        }
    }

    /// A DECLARE that has been sent may still open a cursor.
    pub fn may_declare(&self) -> bool {
        self.queue.details().any(Detail::declares)
    }

    /// A cursor's row goes to the client.
    pub fn learn_from_cursor(&mut self, cursor: &Cursor, learner: &Learner, body: &[u8]) {
        let now = self.now();
        let opened = cursor.opened().unwrap_or_else(|| self.observations.sequence());
        let alone = self.observations.context().is_some() && self.teaches_transaction_only(None);
        let observations = &mut self.observations;
        let shows = cursor.shows();
        shows.next_row();
        learner.row(body, self.lex.encoding, |Taught { row, version, shown, .. }| {
            shows.stands_on(&row);
            match version {
                Some(version) if alone => observations.read_for_transaction(row, version, shown, now),
                _ if alone => {}
                Some(version) => observations.read_from_cursor(row, version, shown, opened, now),
                None => observations.saw_undated(&row, shown, opened, now),
            }
        });
    }

    /// A FETCH or MOVE has completed.
    pub fn cursor_moved(&mut self, name: &str, portal: Option<&Rc<Portal>>, moved: bool) {
        let Some(cursor) = self.cursor(name, portal) else { return };
        if moved {
            cursor.shows().next_row();
        }
        // A portal that writes has done so now: what it was bound with is not looked at.
        if let Cursor::Portal(portal) = &cursor
            && let Some(statement) = portal.prepared.statement().filter(|s| s.writes())
            && !portal.suspended.replace(true)
        {
            *portal.write.borrow_mut() = None;
            *portal.guards.borrow_mut() = None;
            let roots = statement.sites.iter().map(|site| (&site.table.root_name, site.table.root_oid));
            let unchecked = statement.unchecked.iter().map(|write| (&write.table, write.root_oid));
            for (table, root_oid) in roots.chain(unchecked) {
                self.shared.metrics.unchecked_write(table, Reason::Nested);
                self.observations.forget_table(root_oid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::observe::{Limits, Observations};

    /// Runs `declare c`, `hold c`, `close c`, `savepoint a`, `release a`, `to a`, `commit`, `rollback`; the names open.
    fn open(steps: &str) -> String {
        let mut cursors = Cursors::default();
        let opened = Observations::new(Limits::default()).sequence();
        for step in steps.split(", ") {
            match step.split_once(' ') {
                Some(("declare", name)) => cursors.declare(name, &StatementPlan::default(), false, opened),
                Some(("hold", name)) => cursors.declare(name, &StatementPlan::default(), true, opened),
                Some(("close", name)) => cursors.close(name),
                Some(("savepoint", name)) => cursors.savepoint(name),
                Some(("release", name)) => cursors.release(name),
                Some(("to", name)) => cursors.rollback_to(name),
                _ => cursors.transaction_over(step == "commit"),
            }
        }
        let mut names: Vec<&str> = cursors.open.keys().map(AsRef::as_ref).collect();
        names.sort_unstable();
        names.join(" ")
    }

    #[test]
    fn cursors_live_as_on_the_server() {
        for (steps, want) in [
            ("declare a, hold b, commit", "b"),
            ("declare a, hold b, rollback", ""),
            ("hold b, commit, declare a, rollback", "b"),
            ("hold b, commit, hold b, rollback", ""),
            ("declare a, savepoint s, declare b, to s", "a"),
            ("declare a, savepoint s, close a, to s", ""),
            ("savepoint s, savepoint s, declare a, to s", ""),
            ("savepoint s, declare a, savepoint s, to s", "a"),
            ("savepoint s, declare a, release s, savepoint s, to s", "a"),
            ("savepoint s, savepoint t, declare a, release t, to s", ""),
            ("savepoint s, declare a, savepoint t, declare b, to s, declare c, to t", ""),
            ("savepoint s, declare a, release s, to s", ""),
            ("hold a, commit, savepoint s, declare b, to s", "a"),
        ] {
            assert_eq!(open(steps), want, "{steps}");
        }
    }

    #[test]
    fn a_cursor_stands_on_the_row_that_it_showed_last() {
        let shows = Shows::default();
        for key in ["1", "2"] {
            shows.next_row();
            shows.stands_on(&RowKey::new(7, key));
        }
        assert_eq!(shows.at.borrow().as_slice(), [RowKey::new(7, "2")]);
        shows.next_row();
        assert!(shows.at.borrow().is_empty());
    }
}
