//! A write whose rows are known to a store that several proxies share: it waits for the store's answer, and is then
//! decided again. The loop around the session asks and keeps the time.

use super::client::Lane;
use super::prepared::Prepared;
use super::state::{Hold, Session, Wait};
use super::writes::{self, Values, Write};
use crate::observe::context::store::{Answer, Unavailable};
use crate::rewrite::plan::Reason;
use crate::wire::read::{Bind, read_bind};

impl Session {
    /// What has just been decided lacks rows that the store may know: leave the client's frame until it answers.
    pub(super) fn asks_store(&mut self) -> bool {
        let Some(asks) = self.observations.context().and_then(|scope| scope.to_fetch()) else { return false };
        self.ask = Some(asks);
        self.wait = Some(Wait::Store);
        // However long that takes, the view that it was decided under is young enough for it.
        self.view_awaited = true;
        true
    }

    /// The store has answered, or its time is over.
    pub(super) fn store_answered(&mut self, answers: Result<Vec<Answer>, Unavailable>) {
        if let Some(scope) = self.observations.context() {
            scope.fetched(answers);
        }
        if self.wait == Some(Wait::Store) {
            self.wait = None;
        }
    }

    /// A frame has been looked at. What the store told counts for one decision: not if that waits for something else.
    pub(super) fn has_decided(&mut self) {
        if self.wait != Some(Wait::Store)
            && let Some(scope) = self.observations.context()
        {
            scope.has_decided();
        }
    }

    /// As [`Self::asks_store`], for a Bind that is about to be sent.
    pub(super) fn bind_asks(
        &mut self,
        prepared: &Prepared,
        bind: &Bind<'_>,
        allowed: Result<(), Reason>,
    ) -> bool {
        if self.observations.context().is_none_or(|scope| !scope.is_shared()) {
            return false;
        }
        if let Some(statement) = prepared.statement() {
            self.enter_ahead(statement);
        }
        let values =
            Values { bind: Some(bind), arguments: None, oids: &prepared.oids, encoding: self.lex.encoding };
        let now = self.now();
        let write = writes::decide(&prepared.plan, &values, allowed, &mut self.observations, now);
        if write.as_ref().is_none_or(Write::is_guarded) && !prepared.plan.statements.is_empty() {
            self.decide_guards(prepared, bind);
        }
        self.asks_store()
    }

    /// Likewise for the Bind that is held.
    pub(super) fn hold_asks(&mut self, allowed: Result<(), Reason>) -> Option<Lane> {
        if self.observations.context().is_none_or(|scope| !scope.is_shared()) {
            return None;
        }
        let Hold { portal, bind, .. } = self.hold.as_ref().filter(|h| h.portal.guards.borrow().is_none())?;
        let (prepared, bind) = (portal.prepared.clone(), bind.clone());
        let bind = bind.get(5..).and_then(read_bind)?;
        let asks = self.bind_asks(&prepared, &bind, allowed);
        // Its view was made sure of with the Bind.
        self.view_awaited = false;
        asks.then_some(Lane::Later)
    }
}
