//! Results of statements with a plan: rows, completion, zero rows.

use bytes::Bytes;

use super::cursors::{Cursor, Shows, fetched};
use super::learn::{Learner, Taught, hidden_learner, portal_learner};
use super::prepared::Undo;
use super::put;
use super::queue::Kind;
use super::server::{Fate, strip_description};
use super::settle::Done;
use super::sql_prepared::own_argument_counts;
use super::state::{Detail, ExecuteDetail, QueryDetail, Session};
use super::verdict::Verdict;
use super::writes::Write;
use super::written::Basis;
use crate::observe::Sequence;
use crate::rewrite::plan::{Effect, ResultKind};
use crate::wire::buffer::Out;
use crate::wire::edit;
use crate::wire::read::{
    ErrorFields, read_command_complete, read_error_fields, read_row_description, rows_of_tag,
};
use crate::wire::tag::back;

impl Session {
    /// A reply to a Query with a plan.
    pub(super) fn query_frame(
        &mut self,
        query: &mut QueryDetail,
        tag: u8,
        body: &[u8],
        client: &mut Out,
    ) -> Fate {
        if self.observations.context().is_some() && tag != back::DATA_ROW {
            let acting = query.executed().and_then(|p| p.statement());
            if let Some(statement) = acting.or_else(|| query.plan.statements.get(query.index)) {
                self.enter(statement);
            }
        }
        if let Some(statement) = query.plan.statements.get(query.index) {
            self.may_commit(statement);
        }
        match tag {
            back::ROW_DESCRIPTION => {
                if query.hides_result() {
                    self.hidden_learner(query);
                    return Fate::Gone;
                }
                query.answered = true;
                let Some(statement) = query.plan.statements.get(query.index) else { return Fate::Forward };
                let portal = query.portals.get(query.index).cloned().flatten();
                if fetched(statement).is_some() || portal.is_some() {
                    let declared = fetched(statement).and_then(|name| self.cursor(name, None));
                    let cursor = declared.or_else(|| portal.map(Cursor::Portal));
                    return self.fetch_begins(query, cursor, body, client);
                }
                let guard = usize::from(query.guard_column() == Some(true));
                let hidden = if query.rendered.is_some() { statement.hidden.len() + guard } else { 0 };
                // The view may be gone since the text was sent (DISCARD ALL before it).
                let acting = query.executed().and_then(|p| p.statement()).unwrap_or(statement);
                let mut learner = match (read_row_description(body), self.view.as_ref()) {
                    (Some(fields), Some(seen)) => Learner::new(acting, &seen.view, &fields, |_| 0),
                    _ => Learner::default(),
                };
                learner.hidden = hidden;
                learner.transaction_only = self.teaches_transaction_only(Some(acting));
                if learner.kind != ResultKind::Read {
                    let guards = query.guards.get(query.index).and_then(Option::as_ref);
                    learner.basis = Basis::new(acting, guards, query.write.as_ref());
                }
                query.learner = Some(learner);
                strip_description(body, hidden, client)
            }
            // Of a guard that is the whole of a hidden result there is nothing to learn.
            back::DATA_ROW if query.learner.is_none() && query.hides_result() => Fate::Gone,
            back::DATA_ROW => match (&query.learner, &query.cursor) {
                (Some(learner), Some(cursor)) => {
                    self.learn_from_cursor(cursor, learner, body);
                    strip_row(body, learner.hidden, client)
                }
                (Some(learner), None) => self.row(learner, (None, query.sent), None, body, client),
                (None, _) => Fate::Forward,
            },
            back::COMMAND_COMPLETE => {
                if query.hides_result() {
                    self.hidden_learner(query);
                }
                let learner = query.learner.take();
                query.cursor = None;
                let plan = query.plan.clone();
                let statement = plan.statements.get(query.index);
                let executed = query.executed().cloned();
                query.index += 1;
                let tag = read_command_complete(body).unwrap_or_default();
                let rows = rows_of_tag(tag);
                if rows == Some(0)
                    && let Some(write) = query.write.take_if(|w| w.is_checked())
                {
                    self.zero_rows(write, body);
                    return Fate::Gone;
                }
                query.answered = true;
                let heard = self.heard_in_query(query, query.index - 1);
                if let Some(statement) = statement {
                    let guards = query.guards.get_mut(query.index - 1).and_then(Option::take);
                    let portal = query.portals.get_mut(query.index - 1).and_then(Option::take);
                    let learner = learner.as_ref();
                    let done = Done { tag, seq: query.seq, learner, guards, portal, executed };
                    self.complete(statement, query.write.take(), &done);
                    if let Some(prepare) = &statement.prepares {
                        self.prepared_in_sql(prepare, &query.text, query.rendered.as_ref(), query.seq);
                    }
                }
                if let Some(heard) = heard {
                    self.hear(&heard);
                }
                Fate::Forward
            }
            back::EMPTY_QUERY => Fate::Forward,
            back::ERROR => {
                let plan = query.plan.clone();
                let raised = match query.executed().cloned() {
                    Some(executed) => {
                        let guards = [query.guards.get_mut(query.index).and_then(Option::take)];
                        self.raised(body, &executed.plan, &guards, client)
                    }
                    None => self.raised(body, &plan, &query.guards, client),
                };
                if let Some(fate) = raised {
                    return fate;
                }
                if let Some(portal) = query.portals.get(query.index).cloned().flatten()
                    && let Some(fate) = self.portal_raised(&portal, body, client)
                {
                    return fate;
                }
                let named = query.executed.get(query.index).and_then(Option::as_ref);
                if own_argument_counts(body, named, client) {
                    self.errored = true;
                    return Fate::Gone;
                }
                let named = named.is_some();
                let refused = read_error_fields(body).is_some_and(|f| may_be_ours(&f));
                let alone =
                    query.plan.statements.len() == 1 && !query.answered && !named && query.rendered.is_some();
                // Inside a block it stands, and goes out in its place before what the server says of its own accord.
                if refused && alone && self.status == b'I' {
                    query.refused = Some(Bytes::copy_from_slice(body));
                    return Fate::Gone;
                }
                self.errored = true;
                self.error_out(back::ERROR, body, &query.text, query.rendered.as_ref(), client)
            }
            _ => {
                query.answered = true;
                Fate::Forward
            }
        }
    }

    /// The server has refused a rewritten Query for want of a column or a privilege. Outside a block the
    /// client's own text is run in its place; inside one the error stands.
    pub(super) fn refused_text(
        &mut self,
        query: QueryDetail,
        frame: &[u8],
        client: &mut Out,
        server: &mut Out,
    ) -> Fate {
        if query.guarded {
            // No verdict is to come.
            self.wait = None;
        }
        let error = query.refused.clone().unwrap_or_default();
        // Behind requests that are already on their way it would come out of order.
        if self.status == b'I' && self.queue.is_empty() && self.at_frame_boundary() {
            let sqlstate =
                read_error_fields(&error).and_then(|f| f.sqlstate().map(<[u8]>::to_vec)).unwrap_or_default();
            put(edit::query_with_text(server.as_bytes_mut(), &query.text));
            self.expect(Kind::Query, Detail::Rerun(sqlstate.into(), Undo::None));
            return Fate::Gone;
        }
        self.errored = true;
        if self.error_out(back::ERROR, &error, &query.text, query.rendered.as_ref(), client) == Fate::Forward
        {
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
        if self.observations.context().is_some()
            && (tag != back::DATA_ROW || execute.learner.is_none())
            && let Some(statement) = portal.acting().statement()
        {
            self.enter(statement);
        }
        if let Some(statement) = portal.prepared.statement() {
            self.may_commit(statement);
        }
        match tag {
            back::DATA_ROW if portal.fetches().is_some() || portal.fetched.borrow().is_some() => {
                if execute.learner.is_none() {
                    execute.learner = Some(self.fetch_learner(&portal));
                }
                let Some(learner) = &execute.learner else { return Fate::Forward };
                if let Some(cursor) = &*portal.fetched.borrow() {
                    self.learn_from_cursor(cursor, learner, body);
                }
                strip_row(body, learner.hidden, client)
            }
            back::DATA_ROW => {
                if execute.learner.is_none() {
                    execute.learner = Some(portal_learner(self, &portal));
                }
                // What it shows is of the time when it was opened.
                let behind = |opened: &Sequence| {
                    portal.suspended.get() || !portal.writes() && self.observations.has_written_since(*opened)
                };
                let opened = portal.opened.get().filter(behind);
                let Some(learner) = &execute.learner else { return Fate::Forward };
                let shows = Some(&portal.shows).filter(|_| portal.named);
                self.row(learner, (opened, portal.sent), shows, body, client)
            }
            // A write has run in full before its first row: it was taken note of then.
            back::COMMAND_COMPLETE | back::PORTAL_SUSPENDED if portal.suspended.get() && portal.writes() => {
                Fate::Forward
            }
            back::COMMAND_COMPLETE => {
                if execute.learner.is_none() && portal.writes() {
                    execute.learner = Some(portal_learner(self, &portal));
                }
                let tag = read_command_complete(body).unwrap_or_default();
                let mut write = portal.write.borrow_mut();
                if rows_of_tag(tag) == Some(0)
                    && let Some(write) = write.take_if(|w| w.is_checked())
                {
                    self.zero_rows(write, body);
                    return Fate::Gone;
                }
                if let Some(statement) = portal.prepared.statement() {
                    let guards = portal.guards.borrow_mut().take();
                    let portal_fetched = match &*portal.fetched.borrow() {
                        Some(Cursor::Portal(portal)) => Some(portal.clone()),
                        _ => None,
                    };
                    let learner = execute.learner.as_ref();
                    let executed = portal.run_by_name().cloned();
                    let seq = execute.seq;
                    let done = Done { tag, seq, learner, guards, portal: portal_fetched, executed };
                    self.complete(statement, write.take(), &done);
                    if matches!(statement.effect, Effect::Text | Effect::ResetAll) {
                        self.text_unsettled();
                    }
                    if let Some(prepare) = &statement.prepares {
                        let prepared = &portal.prepared;
                        self.prepared_in_sql(
                            prepare,
                            &prepared.text,
                            prepared.rendered.as_ref(),
                            execute.seq,
                        );
                    }
                    if portal.prepared.from_sql {
                        let later = self.later_writes(&portal.prepared);
                        self.unchecked(&later, learner.map_or(&[], Learner::written));
                    }
                }
                if let Some(heard) = portal.heard.take() {
                    self.hear(&heard);
                }
                Fate::Forward
            }
            back::PORTAL_SUSPENDED => {
                if let Some(heard) = portal.heard.take() {
                    self.hear(&heard);
                }
                portal.suspended.set(true);
                if let Some(cursor) = &*portal.fetched.borrow() {
                    // It stands on the last row of the FETCH, not on the last one that was shown.
                    cursor.shows().next_row();
                }
                // A write has changed all of its rows by now, and may never be fetched further.
                if let Some(statement) = portal.prepared.statement().filter(|_| portal.writes()) {
                    let write = portal.write.borrow_mut().take();
                    let one = statement.point.is_some();
                    let learner = execute.learner.as_ref().filter(|_| one);
                    let executed = portal.run_by_name().cloned();
                    let guards = portal.guards.borrow_mut().take();
                    // How many they are is told at its end.
                    let (tag, seq): (&[u8], _) = (if one { b"UPDATE 1" } else { b"" }, execute.seq);
                    let done = Done { tag, seq, learner, guards, portal: None, executed };
                    self.complete(statement, write, &done);
                }
                Fate::Forward
            }
            back::ERROR => {
                if let Some(fate) = self.portal_raised(&portal, body, client) {
                    return fate;
                }
                if let Some(Cursor::Portal(fetched)) = &*portal.fetched.borrow()
                    && let Some(fate) = self.portal_raised(fetched, body, client)
                {
                    return fate;
                }
                self.errored = true;
                if own_argument_counts(body, portal.executed.as_ref(), client) {
                    return Fate::Gone;
                }
                let prepared = &portal.prepared;
                self.error_out(back::ERROR, body, &prepared.text, prepared.rendered.as_ref(), client)
            }
            _ => Fate::Forward,
        }
    }

    /// Makes ready for the rows of a hidden result.
    fn hidden_learner(&self, query: &mut QueryDetail) {
        let Some(statement) = query.plan.statements.get(query.index) else { return };
        let guards = query.guards.get(query.index).and_then(Option::as_ref);
        if query.learner.is_none() {
            query.learner = hidden_learner(self, statement, guards, query.write.as_ref());
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

    /// A row of a result of a statement that was `sent` then. `opened`: of a portal that was opened then, if the session
    /// may have written since. `shows`:
    /// of one whose place counts.
    fn row(
        &mut self,
        learner: &Learner,
        (opened, sent): (Option<Sequence>, Sequence),
        shows: Option<&Shows>,
        body: &[u8],
        client: &mut Out,
    ) -> Fate {
        let now = self.now();
        let observations = &mut self.observations;
        let in_context = observations.context().is_some();
        if let Some(shows) = shows {
            shows.next_row();
        }
        learner.row(body, self.lex.encoding, |taught| {
            if let Some(shows) = shows {
                shows.stands_on(&taught.row);
            }
            let Taught { row, version, shown, refreshes } = taught;
            let basis = learner.basis.as_ref();
            match (learner.kind, opened, version) {
                // Also of a portal that is fetched from in parts.
                (ResultKind::Read, Some(_), Some(version)) if learner.transaction_only && in_context => {
                    observations.read_for_transaction(row, version, shown, now);
                }
                (ResultKind::Deleted, _, version) => {
                    if let (Some(basis), Some(version)) = (basis, version) {
                        basis.deleted(&row, version);
                    }
                    observations.deleted(&row, now);
                }
                (ResultKind::Read | ResultKind::Written, Some(opened), Some(version)) => {
                    observations.read_from_cursor(row, version, shown, opened, now);
                }
                (ResultKind::Read, _, Some(version)) if learner.transaction_only => {
                    observations.read_for_transaction(row, version, shown, now);
                }
                (ResultKind::Read, None, Some(version)) => {
                    observations.read(row, version, shown, (refreshes, sent), now);
                }
                (ResultKind::Written, None, Some(version)) => match basis {
                    Some(basis) => basis.written(row, version, shown, observations, now),
                    None => observations.returned(row, version, shown, now),
                },
                (ResultKind::Written, None, None) if basis.is_some_and(Basis::inserts) => {
                    observations.began_anew(&row, now);
                }
                // Only a cursor's rows are read without it.
                (_, _, None) => {}
            }
        });
        if learner.swallows {
            return Fate::Gone;
        }
        strip_row(body, learner.hidden, client)
    }
}

/// Sends a row without its hidden columns.
pub(super) fn strip_row(body: &[u8], hidden: usize, client: &mut Out) -> Fate {
    if hidden > 0 && edit::data_row_strip(client.as_bytes_mut(), body, hidden) {
        Fate::Gone
    } else {
        Fate::Forward
    }
}

/// Errors that a rewritten statement may meet where the original would not (no such column, no privilege), or
/// that the server words otherwise for it (a syntax error at the very end).
///
/// Not what is raised while the statement runs, by a function (its error says where) or by a policy: it has done
/// something by then.
pub(super) fn may_be_ours(error: &ErrorFields<'_>) -> bool {
    matches!(error.sqlstate(), Some(b"42703" | b"42501" | b"42601"))
        && error.get(b'W').is_none()
        && error.get(b'R') != Some(b"ExecWithCheckOptions")
}
