//! What a completed statement does to the session beside rows.

use super::state::Session;
use crate::rewrite::plan::{Effect, StatementPlan};

impl Session {
    /// What a completed statement does to the session beside rows.
    pub(super) fn effect(&mut self, statement: &StatementPlan, tag: &[u8], seq: u64) {
        self.touched(statement, tag);
        match &statement.effect {
            Effect::None | Effect::Begin | Effect::Fetch { .. } | Effect::Prepare(_) | Effect::Execute(_) => {
            }
            Effect::Declare { name, hold } => {
                let opened = self.observations.sequence();
                self.cursors.declare(name, statement, *hold, opened);
            }
            Effect::Close(Some(name)) => self.cursors.close(name),
            Effect::Close(None) => self.cursors.clear(),
            Effect::Commit { .. } | Effect::Rollback { .. } => {
                if tag == b"COMMIT" {
                    self.committed();
                } else {
                    self.rolled_back();
                }
                self.cursors.transaction_over(tag == b"COMMIT");
                self.errored = false;
                // With AND CHAIN the next transaction has begun.
                self.view_outdated |= std::mem::take(&mut self.view_private);
            }
            Effect::Savepoint(name) => {
                self.savepoint(name);
                self.cursors.savepoint(name);
            }
            Effect::RollbackTo(name) => {
                self.cursors.rollback_to(name);
                self.rolled_back_to(name);
                // What the transaction has done to names and tables may be undone.
                self.view_outdated |= self.view_private;
            }
            Effect::Release(name) => {
                self.release_savepoint(name);
                self.cursors.release(name);
            }
            Effect::PrepareTransaction => {
                // Of a failed transaction it answers ROLLBACK.
                let failed = tag == b"ROLLBACK";
                if failed {
                    self.rolled_back();
                } else {
                    self.prepared_transaction();
                }
                self.cursors.transaction_over(!failed);
            }
            Effect::DiscardAll => {
                self.cursors.clear();
                self.names.deallocate_all(seq);
                self.observations.clear();
                self.reset_said(true);
                self.handed_on();
                // As the session began: what its kind shares fits again.
                self.diverged = false;
                self.another_role = false;
                self.view_outdated = false;
                self.view = None;
            }
            Effect::ResetAll => {
                self.observations.clear();
                self.reset_said(false);
                self.handed_on();
                self.view_outdated |= self.diverged;
            }
            // The one without a name is not to be reached in SQL.
            Effect::Deallocate(Some(name)) if name.is_empty() => {}
            Effect::Deallocate(Some(name)) => {
                self.names.deallocate(name.as_bytes(), seq);
            }
            Effect::Deallocate(None) => {
                self.names.deallocate_all(seq);
            }
            Effect::Role => {
                self.another_role = true;
                self.handed_on();
                self.observations.clear();
                self.names_changed();
            }
            Effect::Names | Effect::Call { names: true } => self.names_changed(),
            // ParameterStatus has the new value, in front of ReadyForQuery.
            Effect::Text | Effect::Call { names: false } => {}
            Effect::Catalog => {
                self.view_outdated = true;
                self.shared.views.outdate(&self.facts.view_key.database);
            }
            Effect::Truncate(roots) => {
                for root in roots {
                    self.observations.truncated(*root);
                }
            }
        }
    }

    /// The server answers the statement: it has run, or some of it.
    pub(super) fn may_commit(&mut self, statement: &StatementPlan) {
        self.may_have_committed |= matches!(statement.effect, Effect::Call { .. });
    }

    /// Names may resolve otherwise from here on, in this session alone.
    pub(super) fn names_changed(&mut self) {
        self.view_outdated = true;
        self.diverged = true;
    }
}
