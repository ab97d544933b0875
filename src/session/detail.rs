//! What the session keeps with each outstanding request.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::cursors::{Cursor, Declared};
use super::guards::Guards;
use super::learn::Learner;
use super::prepared::{Portal, Prepared, Undo};
use super::sql_prepared::runs;
use super::writes::Write;
use crate::observe::Sequence;
use crate::rewrite::plan::{Effect, Plan, Slot};
use crate::rewrite::render::Rendered;

/// What the session keeps with an outstanding request.
#[derive(Debug, Default)]
pub(crate) enum Detail {
    /// Replies are forwarded.
    #[default]
    Plain,
    /// Replies are forwarded; if it fails, this is put back.
    Undo(Undo),
    /// The proxy's own: replies are swallowed.
    Own,
    /// The last one of an own exchange.
    OwnEnd,
    /// Parse put in by the proxy before a Bind: what is parsed, and its undo.
    OwnParse(Rc<Prepared>, Undo),
    /// Parse put in by the proxy to see whether the server takes a text, before what it has under a name gives way to it.
    /// If it does not, these frames go to the client before the error.
    OwnTry(Rc<Prepared>, Vec<u8>),
    /// In the place of a message whose answer is known: the client gets these frames for it.
    Known(Vec<u8>),
    /// A Query with a plan.
    Query(Box<QueryDetail>),
    /// The Sync behind a checked write: its ReadyForQuery asks for the verdict.
    Guarded,
    /// The client's own text, run in place of a rewritten one that the server refused with this SQLSTATE.
    Rerun(Box<[u8]>, Undo),
    /// The Sync whose ReadyForQuery lets a refused cycle be sent again.
    Again,
    /// A Parse whose text was changed.
    Parse(Rc<Prepared>, Undo),
    /// Describe of a statement whose description is changed or wanted.
    /// The description of its parameters is kept back while the server may yet refuse the rest.
    DescribeStatement(Rc<Prepared>, RefCell<Vec<u8>>),
    /// Describe of a portal likewise; true if the client did not ask for it.
    DescribePortal(Rc<Portal>, bool),
    /// Bind of a statement with a plan.
    Bind(Rc<Portal>, Undo),
    /// Execute of a portal with a plan.
    Execute(Box<ExecuteDetail>),
    /// Describe of a cursor of DECLARE.
    DescribeCursor(Rc<Declared>),
    /// Likewise, but the client did not ask for it.
    OwnDescribeCursor(Rc<Declared>),
    /// Execute of a cursor of DECLARE.
    ExecuteCursor(Box<CursorDetail>),
    /// Close of a cursor of DECLARE.
    CloseCursor(Box<[u8]>),
}

impl Detail {
    /// The client must not see the replies.
    pub fn is_own(&self) -> bool {
        matches!(
            self,
            Self::Own
                | Self::OwnEnd
                | Self::OwnParse(..)
                | Self::OwnTry(..)
                | Self::DescribePortal(_, true)
                | Self::OwnDescribeCursor(_)
        )
    }

    /// It may open a cursor.
    pub fn declares(&self) -> bool {
        let plan = match self {
            Self::Query(query) => &query.plan,
            Self::Execute(execute) => &execute.portal.prepared.plan,
            _ => return false,
        };
        plan.statements.iter().any(|s| matches!(s.effect, Effect::Declare { .. }))
    }

    /// Its reply may change what is known of rows otherwise than by a read.
    pub fn moves_observations(&self) -> bool {
        match self {
            Self::Query(query) => query.plan.moves_observations(),
            Self::Execute(execute) => execute.portal.prepared.plan.moves_observations(),
            Self::Rerun(..) => true,
            _ => false,
        }
    }
}

/// A Query in flight.
#[derive(Debug)]
pub(crate) struct QueryDetail {
    pub seq: u64,
    /// When it was sent, in the order of own writes.
    pub sent: Sequence,
    pub text: Bytes,
    pub plan: Arc<Plan>,
    pub rendered: Option<Rendered>,
    /// The statement whose replies come next.
    pub index: usize,
    pub learner: Option<Learner>,
    pub write: Option<Write>,
    /// The guards of its statements.
    pub guards: Vec<Option<Guards>>,
    /// What each EXECUTE of it stands for.
    pub executed: Vec<Option<Rc<Prepared>>>,
    /// Which statements were sent with their hidden result.
    pub hidden_results: Vec<bool>,
    /// The portals that its statements fetch from, if any do.
    pub portals: Vec<Option<Rc<Portal>>>,
    /// What the present statement fetches from.
    pub cursor: Option<Cursor>,
    /// It is a checked write: its ReadyForQuery asks for the verdict.
    pub guarded: bool,
    /// Something of this Query's reply has reached the client.
    pub answered: bool,
    /// The server refused the rewritten text for want of a column or privilege; kept until it is known
    /// whether the original may be run in its place.
    pub refused: Option<Bytes>,
}

impl QueryDetail {
    /// The present statement's result is the proxy's own.
    pub fn hides_result(&self) -> bool {
        let planned = self.hidden_results.get(self.index).copied().unwrap_or_default();
        planned || self.guard_column() == Some(false)
    }

    /// If the server refuses its text, the client's own may be run in its place.
    pub fn may_run_again(&self) -> bool {
        let named = self.executed.get(self.index).and_then(Option::as_ref).is_some();
        self.plan.statements.len() == 1 && !self.answered && !named && self.rendered.is_some()
    }

    /// What the present statement, an EXECUTE, runs.
    pub fn executed(&self) -> Option<&Rc<Prepared>> {
        let runs = self.plan.statements.get(self.index).is_some_and(runs);
        self.executed.get(self.index)?.as_ref().filter(|_| runs)
    }

    /// The present statement's result has got a guard as its last column; false: as its only one.
    pub fn guard_column(&self) -> Option<bool> {
        let guards = self.guards.get(self.index)?.as_ref()?;
        let sites = &self.plan.statements.get(self.index)?.sites;
        sites.iter().zip(&guards.0).find_map(|(site, guard)| match site.slot {
            Slot::Returning { listed, shown: true, .. } if guard.known.is_some() => Some(listed),
            _ => None,
        })
    }
}

/// An Execute in flight.
#[derive(Debug)]
pub(crate) struct ExecuteDetail {
    pub seq: u64,
    pub portal: Rc<Portal>,
    pub learner: Option<Learner>,
}

/// An Execute of a cursor in flight.
#[derive(Debug)]
pub(crate) struct CursorDetail {
    pub cursor: Rc<Declared>,
    pub learner: Option<Learner>,
}
