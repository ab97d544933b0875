//! Results of statements with a plan: rows, completion, zero rows.

use bytes::Bytes;

use super::learn::Learner;
use super::server::{Fate, portal_learner, strip_description};
use super::state::{Detail, ExecuteDetail, QueryDetail, Session};
use super::queue::Kind;
use super::verdict::Verdict;
use super::writes::{Stance, Write};
use crate::rewrite::plan::{Effect, ResultKind, StatementPlan};
use crate::telemetry::metrics::WriteOutcome;
use crate::wire::buffer::Out;
use crate::wire::edit;
use crate::wire::read::{read_command_complete, read_error_fields, read_row_description, rows_of_tag};
use crate::wire::tag::back;

impl Session {
    /// A reply to a Query with a plan.
    pub(super) fn query_frame(&mut self, query: &mut QueryDetail, tag: u8, body: &[u8], client: &mut Out) -> Fate {
        match tag {
            back::ROW_DESCRIPTION => {
                query.answered = true;
                let Some(statement) = query.plan.statements.get(query.index) else { return Fate::Forward };
                let (Some(fields), Some(seen)) = (read_row_description(body), self.view.as_ref()) else {
                    return Fate::Forward;
                };
                let hidden = if query.rendered.is_some() { statement.hidden.len() } else { 0 };
                let mut learner = Learner::new(statement, &seen.view, &fields, |_| 0);
                learner.hidden = hidden;
                query.learner = Some(learner);
                strip_description(body, hidden, client)
            }
            back::DATA_ROW => match &query.learner {
                Some(learner) => self.row(learner, body, client),
                None => Fate::Forward,
            },
            back::COMMAND_COMPLETE => {
                query.learner = None;
                let plan = query.plan.clone();
                let statement = plan.statements.get(query.index);
                query.index += 1;
                let tag = read_command_complete(body).unwrap_or_default();
                let rows = rows_of_tag(tag);
                if let (Some(0), Some(write)) = (rows, query.write.take_if(|w| w.is_checked())) {
                    self.zero_rows(write, body);
                    return Fate::Gone;
                }
                query.answered = true;
                if let Some(statement) = statement {
                    self.complete(statement, query.write.take(), tag, query.seq);
                }
                Fate::Forward
            }
            back::EMPTY_QUERY => Fate::Forward,
            back::ERROR => {
                let refused = read_error_fields(body).is_some_and(|f| may_be_ours(f.sqlstate().unwrap_or_default()));
                let alone = query.plan.statements.len() == 1 && !query.answered && query.rendered.is_some();
                if refused && alone {
                    query.refused = Some(Bytes::copy_from_slice(body));
                    return Fate::Gone;
                }
                self.errored = true;
                self.error_out(back::ERROR, body, &query.text, query.rendered.as_ref(), None, client)
            }
            _ => {
                query.answered = true;
                Fate::Forward
            }
        }
    }

    /// The server has refused a rewritten Query for want of a column or a privilege. Outside a block the
    /// client's own text is run in its place; inside one the error stands.
    pub(super) fn refused_text(&mut self, query: QueryDetail, frame: &[u8], client: &mut Out, server: &mut Out) -> Fate {
        let error = query.refused.clone().unwrap_or_default();
        // Behind requests that are already on their way it would come out of order.
        if self.status == b'I' && self.queue.is_empty() {
            let sqlstate = read_error_fields(&error)
                .and_then(|f| f.sqlstate().map(<[u8]>::to_vec))
                .unwrap_or_default();
            self.rewrite_rejected(&sqlstate);
            self.view_outdated = true;
            edit::query_with_text(server.as_bytes_mut(), &query.text);
            self.expect(Kind::Query, Detail::Plain);
            return Fate::Gone;
        }
        self.errored = true;
        if self.error_out(back::ERROR, &error, &query.text, query.rendered.as_ref(), None, client) == Fate::Forward {
            super::frame_out(client, back::ERROR, &error);
        }
        client.extend(frame);
        let status = self.status;
        self.client_ready(status, true);
        Fate::Gone
    }

    /// A reply to an Execute of a portal with a plan.
    pub(super) fn execute_frame(
        &mut self,
        execute: &mut ExecuteDetail,
        tag: u8,
        body: &[u8],
        client: &mut Out,
    ) -> Fate {
        let portal = execute.portal.clone();
        match tag {
            back::DATA_ROW => {
                if execute.learner.is_none() {
                    execute.learner = Some(portal_learner(self, &portal));
                }
                match &execute.learner {
                    Some(learner) => self.row(learner, body, client),
                    None => Fate::Forward,
                }
            }
            back::COMMAND_COMPLETE => {
                let tag = read_command_complete(body).unwrap_or_default();
                let mut write = portal.write.borrow_mut();
                if let (Some(0), Some(write)) = (rows_of_tag(tag), write.take_if(|w| w.is_checked())) {
                    self.zero_rows(write, body);
                    return Fate::Gone;
                }
                if let Some(statement) = portal.prepared.statement() {
                    self.complete(statement, write.take(), tag, execute.seq);
                }
                Fate::Forward
            }
            back::ERROR => {
                self.errored = true;
                let prepared = &portal.prepared;
                self.error_out(back::ERROR, body, &prepared.text, prepared.rendered.as_ref(), None, client)
            }
            _ => Fate::Forward,
        }
    }

    /// A checked write found no row: keep its reply back until it is known why.
    fn zero_rows(&mut self, write: Write, body: &[u8]) {
        let mut frame = Vec::with_capacity(body.len() + 5);
        frame.push(back::COMMAND_COMPLETE);
        frame.extend_from_slice(&u32::try_from(body.len() + 4).unwrap_or(u32::MAX).to_be_bytes());
        frame.extend_from_slice(body);
        self.verdict = Some(Box::new(Verdict::new(write, &frame)));
    }

    fn row(&mut self, learner: &Learner, body: &[u8], client: &mut Out) -> Fate {
        let now = self.now();
        let observations = &mut self.observations;
        learner.row(body, self.lex.encoding, |taught| match learner.kind {
            ResultKind::Read => observations.read(taught.row, taught.version, taught.shown, now),
            ResultKind::Written => observations.returned(taught.row, taught.version, taught.shown, now),
            ResultKind::Deleted => observations.deleted(&taught.row, now),
        });
        if learner.hidden > 0 && edit::data_row_strip(client.as_bytes_mut(), body, learner.hidden) {
            Fate::Gone
        } else {
            Fate::Forward
        }
    }

    /// A statement has completed with this tag.
    fn complete(&mut self, statement: &StatementPlan, write: Option<Write>, tag: &[u8], seq: u64) {
        let rows = rows_of_tag(tag).unwrap_or(0);
        if let Some(write) = write {
            self.settle(&write, rows);
        } else if let Some(point) = &statement.point {
            // One of several in a Query: its key was not looked at.
            self.observations.forget_table(point.table.root_oid);
        }
        for unchecked in &statement.unchecked {
            self.shared.metrics.unchecked_write(&unchecked.table, unchecked.reason);
            if unchecked.root_oid != 0 && !tag.starts_with(b"INSERT 0 0") {
                self.observations.forget_table(unchecked.root_oid);
            }
            if unchecked.reason == crate::rewrite::plan::Reason::Nested && tag == b"PREPARE" {
                self.nested_roots.push(unchecked.root_oid);
            }
        }
        self.effect(statement, tag, seq);
    }

    /// A point write has completed.
    fn settle(&mut self, write: &Write, rows: u64) {
        let Some(point) = write.point() else { return };
        let metrics = self.shared.metrics.clone();
        let entity: &str = &point.table.entity;
        let now = self.now();
        let outcome = match (&write.stance, rows) {
            (Stance::Checked { expected, .. }, 1..) => {
                match &write.row {
                    Some(row) if !point.moves_key && !point.table.version_triggers => {
                        self.observations.wrote_checked(row, *expected, &point.sets, now);
                    }
                    Some(row) => self.observations.wrote_unchecked(row, now),
                    None => {}
                }
                WriteOutcome::Checked
            }
            (_, 0) => WriteOutcome::PassedZero,
            (Stance::Checked { .. }, _) => WriteOutcome::Checked,
            (Stance::Blind(cause), _) => {
                metrics.blind_write(&point.table.root_name, cause.label());
                WriteOutcome::Blind
            }
            (Stance::SelfRelative, _) => WriteOutcome::SelfRelative,
            (Stance::Explicit, _) => WriteOutcome::Explicit,
            (Stance::Unchecked(reason), _) => {
                metrics.unchecked_write(&point.table.root_name, *reason);
                WriteOutcome::Unchecked
            }
        };
        metrics.write(entity, outcome);
        if rows > 0 && !matches!(write.stance, Stance::Checked { .. }) {
            match &write.row {
                Some(row) => self.observations.wrote_unchecked(row, now),
                None => self.observations.forget_table(point.table.root_oid),
            }
        }
        if point.moves_key && rows > 0 {
            // The row now lives under a key that is not worked out here.
            self.observations.forget_table(point.table.root_oid);
        }
    }

    /// What a completed statement does to the session beside rows.
    fn effect(&mut self, statement: &StatementPlan, tag: &[u8], seq: u64) {
        let now = self.now();
        match &statement.effect {
            Effect::None | Effect::Begin | Effect::Declare(_) | Effect::Fetch(_) => {
                let dml = [&b"UPDATE"[..], b"DELETE", b"MERGE", b"INSERT"].iter().any(|w| tag.starts_with(w));
                if dml && statement.point.is_none() && statement.unchecked.is_empty() {
                    // EXECUTE of a statement prepared in SQL.
                    for root in std::mem::take(&mut self.nested_roots) {
                        self.observations.forget_table(root);
                        self.nested_roots.push(root);
                    }
                    self.nested_roots.sort_unstable();
                    self.nested_roots.dedup();
                }
            }
            Effect::Commit { .. } | Effect::Rollback { .. } => {
                if tag == b"COMMIT" {
                    self.observations.commit();
                } else {
                    self.observations.rollback(now);
                }
                self.errored = false;
            }
            Effect::Savepoint(name) => self.observations.savepoint(name),
            Effect::RollbackTo(name) => self.observations.rollback_to(name, now),
            Effect::Release(name) => self.observations.release(name),
            Effect::PrepareTransaction => self.observations.forget_written(now),
            Effect::DiscardAll => {
                self.names.deallocate_all(seq);
                self.observations.clear();
                self.nested_roots.clear();
                // As the session began: what its kind shares fits again.
                self.diverged = false;
                self.view_outdated = false;
                self.view = None;
            }
            Effect::ResetAll => {
                self.observations.clear();
                self.view_outdated |= self.diverged;
            }
            Effect::Deallocate(Some(name)) => self.names.deallocate(name.as_bytes(), seq),
            Effect::Deallocate(None) => self.names.deallocate_all(seq),
            Effect::Role => {
                self.observations.clear();
                self.names_changed();
            }
            Effect::Names => self.names_changed(),
            Effect::Catalog => {
                self.view_outdated = true;
                self.shared.views.outdate(&self.facts.view_key.database);
            }
            Effect::Truncate(roots) => {
                for root in roots {
                    self.observations.forget_table(*root);
                }
            }
        }
    }

    /// Names may resolve otherwise from here on, in this session alone.
    fn names_changed(&mut self) {
        self.view_outdated = true;
        self.diverged = true;
    }
}

/// Errors that a rewritten statement may meet where the original would not: no such column, no privilege.
fn may_be_ours(sqlstate: &[u8]) -> bool {
    matches!(sqlstate, b"42703" | b"42501")
}
