//! Prepared statements and portals as the session believes the server has them.
//!
//! The maps change when a message is sent; a message that the server then refuses or skips is undone from
//! its [`Undo`], newest first. Only statements that the plan has something to say about are kept: a name that
//! is not here is the client's own business.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::cursors::{Cursor, Shows, fetched};
use super::guards::Guards;
use super::whose::Heard;
use crate::observe::Sequence;
use crate::rewrite::plan::{Plan, PointWrite, StatementPlan, VersionSource};
use crate::rewrite::render::{HiddenParams, Rendered};
use crate::wire::read::{Bind, Field, I16List};

/// A statement that a Parse made.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    /// Order of sending.
    pub seq: u64,
    /// Its name, empty for the unnamed one.
    pub name: Box<[u8]>,
    /// The client's own text.
    pub text: Bytes,
    /// Parameter types the client declared.
    pub oids: Vec<u32>,
    /// The plan of the text.
    pub plan: Arc<Plan>,
    /// Generation of the view that it was made for.
    pub generation: u64,
    /// The text as sent, where it differs.
    pub rendered: Option<Rendered>,
    /// Numbers of the added parameters.
    pub params: HiddenParams,
    /// How many hidden columns its result ends with.
    pub hidden: usize,
    /// It is a FETCH from a portal whose rows end with this many hidden columns.
    pub fetched_hidden: usize,
    /// Its whole result is the proxy's own: the client knows it as a statement without one.
    pub hidden_result: bool,
    /// A PREPARE in SQL made it: it cannot be parsed again, and stays as it is.
    pub from_sql: bool,
    /// The result's columns as the server described them (hidden ones included, formats of a statement).
    pub layout: RefCell<Option<Rc<[Field]>>>,
    /// Parameter types as the server described them (the added one included).
    pub param_types: RefCell<Option<Rc<[u32]>>>,
    /// The cycle in which a Describe was last sent.
    pub described_in: Cell<u64>,
    /// The server has it no more: it was to get another text, and has refused that.
    pub lost: Cell<bool>,
}

impl Prepared {
    /// The one statement of the text (a Parse holds at most one).
    pub fn statement(&self) -> Option<&StatementPlan> {
        self.plan.statements.first()
    }

    /// How many parameters the client's own text has.
    pub fn own_params(&self) -> usize {
        usize::from(self.plan.max_param).max(self.oids.len())
    }

    /// The types of the client's own parameters, if they are known without asking.
    pub fn own_types(&self) -> Option<Vec<u32>> {
        /// `unknown`, which is as good as undeclared.
        const UNKNOWN: u32 = 705;
        let own = self.own_params();
        let described = self.param_types.borrow().as_ref().and_then(|types| Some(types.get(..own)?.to_vec()));
        let declared = self.oids.len() == own && self.oids.iter().all(|oid| ![0, UNKNOWN].contains(oid));
        described.or_else(|| declared.then(|| self.oids.clone()))
    }

    /// A Bind of it is held until it is known what follows its Execute: zero rows may ask for a verdict.
    pub fn is_held(&self) -> bool {
        let explicit = |p: &PointWrite| matches!(p.source, VersionSource::InPredicate(_));
        let point = self.statement().and_then(|s| s.point.as_ref());
        // In mode `observe` as well, where zero rows are only reported on.
        self.params.version > 0 || point.is_some_and(|p| explicit(p) || p.is_observed())
    }

    /// The text as the server has it.
    pub fn server_text(&self) -> &[u8] {
        self.rendered.as_ref().map_or(&self.text, |r| &r.text)
    }

    /// How many parameters were added to it.
    pub fn added_params(&self) -> usize {
        usize::from(self.params.version > 0) + usize::from(self.params.known > 0)
    }

    /// The server has it with a larger result than the client knows of.
    pub fn has_hidden_result(&self) -> bool {
        self.hidden > 0 || self.hidden_result
    }

    /// The text on the server is not the client's.
    pub fn is_rewritten(&self) -> bool {
        self.rendered.is_some()
    }

    /// The result formats to bind with: none where the client knows of no result, or the server would apply the
    /// client's to the hidden one.
    pub fn result_formats<'a>(&self, bind: &Bind<'a>) -> I16List<'a> {
        if self.hidden_result { I16List::default() } else { bind.result_formats }
    }

    /// What [`Portal::surplus`] is for this Bind, with so many hidden columns in its result.
    pub fn surplus(&self, bind: &Bind<'_>, hidden: usize) -> (usize, usize) {
        let (formats, count) = (bind.param_formats.len(), bind.param_count());
        if (formats > 1 && formats != count) || count != self.own_params() {
            let added = self.added_params();
            (added, added)
        } else {
            let codes = bind.result_formats.len();
            // More codes than a frame can hold are sent as they came.
            let grown = codes > 1 && codes + hidden <= usize::from(u16::MAX);
            (if grown { hidden } else { 0 }, hidden)
        }
    }
}

/// A portal that a Bind made.
#[derive(Debug)]
pub(crate) struct Portal {
    /// The statement bound.
    pub prepared: Rc<Prepared>,
    /// Result formats as bound: none = text, one = all, else one per visible column.
    pub result_formats: Vec<i16>,
    /// Number of the cycle in which it was bound.
    pub cycle: u64,
    /// By how much the counts in the server's complaint about the Bind (of parameters, or of result columns)
    /// are higher than the client's own.
    pub surplus: (usize, usize),
    /// When the server opened it, in the order of own writes.
    pub opened: Cell<Option<Sequence>>,
    /// When its Bind was sent, likewise.
    pub sent: Sequence,
    /// It has been run to its end, or has failed. Of one with a hidden result only.
    pub ran: Cell<bool>,
    /// It has shown some of its rows and waits to be fetched further; if it writes, what it wrote has been taken note of.
    pub suspended: Cell<bool>,
    /// What the write behind it rests on.
    pub write: RefCell<Option<super::writes::Write>>,
    /// The guards that it was bound with.
    pub guards: RefCell<Option<Guards>>,
    /// What it says of who is at work.
    pub heard: RefCell<Option<Box<Heard>>>,
    /// What its rows have shown.
    pub shows: Shows,
    /// It has a name, by which `WHERE CURRENT OF` can tell it.
    pub named: bool,
    /// It is a FETCH: from this cursor.
    pub fetched: RefCell<Option<Cursor>>,
    /// It is a FETCH, and a Describe of it has been sent.
    pub described: Cell<bool>,
    /// What its EXECUTE names.
    pub executed: Option<Rc<Prepared>>,
}

impl Portal {
    /// It writes rows of a protected table.
    pub fn writes(&self) -> bool {
        self.acting().statement().is_some_and(StatementPlan::writes)
    }

    /// How many columns at the end of its rows are not the client's.
    pub fn hidden(&self) -> usize {
        self.fetched.borrow().as_ref().map_or(self.prepared.hidden, Cursor::hidden)
    }

    /// The cursor that it fetches from.
    pub fn fetches(&self) -> Option<&str> {
        self.prepared.statement().and_then(fetched)
    }

    /// Format of result column `i` (hidden columns count behind the visible ones).
    pub fn format(&self, i: usize) -> i16 {
        match self.result_formats.as_slice() {
            [] => 0,
            [all] => *all,
            each => each.get(i).copied().unwrap_or(0),
        }
    }
}

/// What a message that is not carried out must put back.
#[derive(Debug, Default)]
pub(crate) enum Undo {
    /// Nothing.
    #[default]
    None,
    /// This change of the statement of this name.
    Statement(Box<[u8]>, u64),
    /// The portal of this name.
    Portal(Box<[u8]>, Option<Rc<Portal>>),
}

/// What a name stands for from one message on.
#[derive(Debug)]
struct Change {
    /// Number of the change; 0 once the server has carried it out.
    number: u64,
    /// The cycle it was sent in.
    cycle: u64,
    statement: Option<Rc<Prepared>>,
}

/// The two maps.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// The changes of each name that may still count, oldest first: any but the last one counts if those behind
    /// it fail.
    statements: HashMap<Box<[u8]>, SmallVec<[Change; 1]>>,
    portals: HashMap<Box<[u8]>, Rc<Portal>>,
    changes: u64,
}

impl Names {
    pub fn statement(&self, name: &[u8]) -> Option<&Rc<Prepared>> {
        if self.statements.is_empty() {
            return None;
        }
        self.statements.get(name)?.last()?.statement.as_ref()
    }

    /// A message of another cycle than this one has changed the name, and may fail without this cycle's failing.
    pub fn is_uncertain(&self, name: &[u8], cycle: u64) -> bool {
        let last = if self.statements.is_empty() { None } else { self.statements.get(name) };
        last.and_then(|c| c.last()).is_some_and(|c| c.number != 0 && c.cycle != cycle)
    }

    /// A message that has not been answered has changed the name.
    pub fn is_pending(&self, name: &[u8]) -> bool {
        self.statements.get(name).and_then(|c| c.last()).is_some_and(|c| c.number != 0)
    }

    /// A PREPARE has made it, before anything that is still in flight.
    pub fn made(&mut self, new: Rc<Prepared>) {
        let changes = self.statements.entry(new.name.clone()).or_default();
        changes.retain(|c| c.number != 0);
        changes.insert(0, Change { number: 0, cycle: 0, statement: Some(new) });
    }

    pub fn portal(&self, name: &[u8]) -> Option<&Rc<Portal>> {
        if self.portals.is_empty() { None } else { self.portals.get(name) }
    }

    pub fn has_portals(&self) -> bool {
        !self.portals.is_empty()
    }

    /// Puts a statement in the place of one of its name, or takes that away (`None`), by a message of this cycle.
    pub fn set_statement(&mut self, name: &[u8], new: Option<Rc<Prepared>>, cycle: u64) -> Undo {
        if new.is_none() && !self.statements.contains_key(name) {
            return Undo::None;
        }
        self.changes += 1;
        let change = Change { number: self.changes, cycle, statement: new };
        self.statements.entry(name.into()).or_default().push(change);
        Undo::Statement(name.into(), self.changes)
    }

    /// The name stands for nothing from here on, whatever becomes of messages before.
    pub fn drop_statement(&mut self, name: &[u8]) {
        if !self.statements.is_empty() {
            self.statements.remove(name);
        }
    }

    /// Puts a plan in the place of one for the same text, with no message to the server.
    pub fn replan(&mut self, name: &[u8], new: Rc<Prepared>) {
        if let Some(last) = self.statements.get_mut(name).and_then(|c| c.last_mut()) {
            last.statement = Some(new);
        }
    }

    /// The server has carried a change out: what was before it is over.
    pub fn settle(&mut self, undo: Undo) {
        let Undo::Statement(name, number) = undo else { return };
        let Some(changes) = self.statements.get_mut(&name) else { return };
        if let Some(at) = changes.iter().position(|c| c.number == number) {
            changes.drain(..at);
            if let Some(first) = changes.first_mut() {
                first.number = 0;
            }
        }
        if changes.iter().all(|c| c.statement.is_none()) {
            self.statements.remove(&name);
        }
    }

    /// Nothing is in flight: the last change of each name is what the server has.
    pub fn settle_all(&mut self) {
        self.statements.retain(|_, changes| {
            let last = changes.pop().filter(|c| c.statement.is_some());
            changes.clear();
            changes.extend(last.map(|c| Change { number: 0, ..c }));
            !changes.is_empty()
        });
    }

    /// Puts a portal in the place of one of its name, or takes that away (`None`).
    pub fn set_portal(&mut self, name: &[u8], new: Option<Rc<Portal>>) -> Undo {
        if new.is_none() && self.portals.is_empty() {
            return Undo::None;
        }
        let old = match new {
            Some(new) => self.portals.insert(name.into(), new),
            None => match self.portals.remove(name) {
                Some(old) => Some(old),
                None => return Undo::None,
            },
        };
        Undo::Portal(name.into(), old)
    }

    pub fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::None => {}
            Undo::Statement(name, number) => {
                if let Some(changes) = self.statements.get_mut(&name) {
                    changes.retain(|c| c.number != number);
                    if changes.iter().all(|c| c.statement.is_none()) {
                        self.statements.remove(&name);
                    }
                }
            }
            Undo::Portal(name, Some(old)) => {
                self.portals.insert(name, old);
            }
            Undo::Portal(name, None) => {
                self.portals.remove(&name);
            }
        }
    }

    /// DEALLOCATE ALL, DISCARD ALL sent as number `seq`: what was parsed later stays.
    pub fn deallocate_all(&mut self, seq: u64) {
        self.statements.retain(|_, changes| parsed_after(changes, seq));
    }

    /// DEALLOCATE name, sent as number `seq`.
    pub fn deallocate(&mut self, name: &[u8], seq: u64) {
        if self.statements.get_mut(name).is_some_and(|changes| !parsed_after(changes, seq)) {
            self.statements.remove(name);
        }
    }

    /// A transaction is over: no portal opened in one of the `answered` cycles outlives it.
    pub fn transaction_over(&mut self, answered: u64) {
        if !self.portals.is_empty() {
            self.portals.retain(|_, p| p.cycle >= answered);
            if self.portals.capacity() > 64 {
                self.portals.shrink_to_fit();
            }
        }
    }
}

/// Drops what was parsed before number `seq`; true if anything is left.
fn parsed_after(changes: &mut SmallVec<[Change; 1]>, seq: u64) -> bool {
    changes.retain(|c| c.statement.as_ref().is_some_and(|s| s.seq > seq));
    !changes.is_empty()
}
