//! Frames from the client: which stay on the raw lane, and what becomes of the others.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::detail::{Detail, QueryDetail};
use super::guards::Guards;
use super::look::{Viewed, takes_snapshot};
use super::prepared::{Prepared, Undo};
use super::queue::Kind;
use super::state::{Buffers, Session, Wait};
use super::writes::{self, Values, Write};
use crate::rewrite::known::Known;
use crate::rewrite::plan::{Plan, Reason, StatementPlan};
use crate::rewrite::render::{Checks, render_query};
use crate::sql::encoding::Encoding;
use crate::sql::prefilter::Interest;
use crate::wire::buffer::Out;
use crate::wire::frame::{HEADER, Scan, scan_front};
use crate::wire::read::{read_bind, read_close, read_describe, read_execute, read_parse, read_query};
use crate::wire::tag::front;
use crate::wire::{build, edit};

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Forward it as it is; its reply is queued.
    Raw,
    /// It has been dealt with.
    Done,
    /// Not now: look at it again later.
    Later,
}

/// How many requests may be outstanding. Of so many the server has answered most: its own buffer holds less.
const MAX_OUTSTANDING: usize = 8 * 1024;

impl Session {
    /// The client's next frame is not looked at yet.
    pub fn waits(&self) -> bool {
        self.wait.is_some() || self.queue.len() >= MAX_OUTSTANDING
    }

    /// Works through what the client has sent, as far as it may go now.
    pub fn client_input(&mut self, io: &mut Buffers) {
        let mut run = 0;
        loop {
            if self.closing || self.client_broken {
                run = 0;
                io.client_in.consume(io.client_in.len());
                break;
            }
            let Some(data) = io.client_in.data().get(run..) else { break };
            if data.is_empty() {
                break;
            }
            if self.client_rest > 0 {
                let n = self.client_rest.min(data.len());
                self.client_rest -= n;
                run += n;
                continue;
            }
            if self.waits() {
                break;
            }
            let (tag, len) = match scan_front(data) {
                Scan::Incomplete => break,
                Scan::Malformed => {
                    // The server closes such a connection once it has read the header: let it. Nothing behind that
                    // may go, for where a statement begins in it nobody knows.
                    self.shared.metrics.protocol_error(crate::telemetry::metrics::ErrorSource::Client);
                    self.client_broken = true;
                    io.server_out.forward(&mut io.client_in, run + HEADER);
                    run = 0;
                    continue;
                }
                Scan::Frame { tag, len } => (tag, len),
            };
            if !self.started && tag != front::TERMINATE {
                if tag != front::PASSWORD && self.auth_answered >= self.auth_asked {
                    // Sent ahead of the server's first ReadyForQuery: it waits for it.
                    break;
                }
                // Whatever stands in the place of an answer is the server's to refuse.
                self.auth_answered += 1;
                let n = len.min(data.len());
                self.client_rest = len - n;
                run += n;
                continue;
            }
            let whole = data.get(..len);
            if self.needs_whole(tag) {
                let Some(frame) = whole else {
                    if self.streams(tag, data) {
                        self.client_rest = len - data.len();
                        run += data.len();
                        continue;
                    }
                    break;
                };
                if self.is_raw(tag, frame) {
                    self.keep_frame(tag, frame);
                    run += len;
                    continue;
                }
                io.server_out.forward(&mut io.client_in, run);
                run = 0;
                let Buffers { client_in, client_out, server_out, .. } = io;
                let Some(frame) = client_in.data().get(..len) else { break };
                let lane = self.typed(tag, frame, server_out, client_out);
                self.has_decided();
                if lane != Lane::Later {
                    self.keep_frame(tag, frame);
                }
                match lane {
                    Lane::Raw => run = len,
                    Lane::Done => client_in.consume(len),
                    Lane::Later => break,
                }
            } else {
                self.passing(tag, len - HEADER);
                let n = len.min(data.len());
                self.client_rest = len - n;
                run += n;
            }
        }
        if run > 0 {
            io.server_out.forward(&mut io.client_in, run);
        }
    }

    /// The frame's body must be read before it may go.
    fn needs_whole(&self, tag: u8) -> bool {
        if self.queue.skipping() && !self.local_skip {
            return false;
        }
        match tag {
            front::QUERY | front::PARSE | front::BIND | front::DESCRIBE | front::EXECUTE | front::CLOSE => {
                true
            }
            _ => self.hold.is_some() || self.local_skip || self.again.is_some(),
        }
    }

    /// The quick way for frames that concern no protected table: queues their reply and lets them pass.
    fn is_raw(&mut self, tag: u8, frame: &[u8]) -> bool {
        if self.hold.is_some() || self.local_error.is_some() || self.local_skip {
            return false;
        }
        let Some(body) = frame.get(5..) else { return false };
        match tag {
            front::QUERY => {
                let Some(text) = read_query(body) else {
                    self.expect(Kind::Query, Detail::Plain);
                    return true;
                };
                if self.is_mixed() || !self.is_of_no_interest(text) {
                    return false;
                }
                self.drop_unnamed();
                self.expect(Kind::Query, Detail::Plain);
            }
            front::PARSE => {
                let Some(parse) = read_parse(body) else {
                    self.expect(Kind::Parse, Detail::Plain);
                    return true;
                };
                if !self.is_of_no_interest(parse.text) {
                    return false;
                }
                let undo = self.set_statement(parse.name, None);
                self.expect(Kind::Parse, undo_detail(undo));
            }
            front::BIND => {
                let Some(bind) = read_bind(body) else {
                    self.expect(Kind::Bind, Detail::Plain);
                    return true;
                };
                if self.may_be_ours(bind.statement) {
                    return false;
                }
                let undo = self.names.set_portal(bind.portal, None);
                self.expect(Kind::Bind, undo_detail(undo));
            }
            front::DESCRIBE => {
                let target = read_describe(body);
                let kind = if target.as_ref().is_some_and(|t| t.kind == b'S') {
                    Kind::DescribeStatement
                } else {
                    Kind::DescribePortal
                };
                if let Some(target) = &target {
                    let known = match kind {
                        Kind::DescribeStatement => self.may_be_ours(target.name),
                        _ => {
                            self.names.portal(target.name).is_some()
                                || self.cursors.named(target.name).is_some()
                        }
                    };
                    if known {
                        return false;
                    }
                }
                self.expect(kind, Detail::Plain);
            }
            front::EXECUTE => {
                if let Some(execute) = read_execute(body)
                    && (self.names.portal(execute.portal).is_some()
                        || self.cursors.named(execute.portal).is_some())
                {
                    return false;
                }
                self.expect(Kind::Execute, Detail::Plain);
            }
            front::CLOSE => {
                let undo = match read_close(body) {
                    Some(target) if target.kind == b'S' => self.set_statement(target.name, None),
                    Some(target) if self.cursors.named(target.name).is_some() => {
                        self.expect(Kind::Close, Detail::CloseCursor(target.name.into()));
                        return true;
                    }
                    Some(target) => self.names.set_portal(target.name, None),
                    None => Undo::None,
                };
                self.expect(Kind::Close, undo_detail(undo));
            }
            _ => return false,
        }
        true
    }

    /// The text names nothing of interest, and that is known from a view.
    fn is_of_no_interest(&mut self, text: &[u8]) -> bool {
        let fresh = self.view_is_fresh();
        let Some(seen) = &self.view else { return false };
        // In a block it may name what the block itself has made of a protected table: a view, another name.
        let outdated = self.view_outdated && (self.status == b'I' || takes_snapshot(text));
        if outdated || self.names_in_flight() {
            return false;
        }
        if seen.view.prefilter.interest(text) != Interest::None {
            return false;
        }
        self.view_awaited = false;
        if !fresh {
            self.look_after = true;
        }
        true
    }

    /// Puts a statement in the place of one of its name, or takes that away (`None`).
    pub(super) fn set_statement(&mut self, name: &[u8], new: Option<Rc<Prepared>>) -> Undo {
        self.names.set_statement(name, new, self.cycle.number)
    }

    /// What a name stands for depends on messages of an earlier cycle that may yet fail, or (`mixed`) on messages
    /// of this one: wait for their replies. True if so.
    pub(super) fn waits_for_name(&mut self, name: &[u8], mixed: bool, out: &mut Out) -> bool {
        if self.queue.is_empty() {
            self.names.settle_all();
            self.naming = false;
            return false;
        }
        if !mixed && !self.naming && !self.names.is_uncertain(name, self.cycle.number) {
            return false;
        }
        if self.cycle.messages > 0 {
            build::flush(out.as_bytes_mut());
        }
        self.wait = Some(Wait::Drain);
        true
    }

    /// A Query behind messages without their Sync: it destroys the unnamed statement only if none of them fails.
    fn is_mixed(&self) -> bool {
        self.cycle.messages > 0 && self.names.statement(b"").is_some()
    }

    /// A simple Query destroys the unnamed statement and portal.
    fn drop_unnamed(&mut self) {
        self.names.drop_statement(b"");
        self.names.set_portal(b"", None);
    }

    fn typed(&mut self, tag: u8, frame: &[u8], out: &mut Out, client: &mut Out) -> Lane {
        if self.local_error.is_some() || self.local_skip {
            return self.answer_locally(tag, client);
        }
        if self.hold.is_some() {
            if let Some(lane) = self.behind_bind(tag, frame, out) {
                return lane;
            }
            if self.is_raw(tag, frame) {
                return Lane::Raw;
            }
        }
        let Some(body) = frame.get(5..) else { return Lane::Raw };
        match tag {
            front::QUERY => self.on_query(body, out),
            front::PARSE => self.on_parse(body, out),
            front::BIND => self.on_bind(frame, body, out),
            front::DESCRIBE => self.on_describe(body, out),
            front::EXECUTE => self.on_execute(body, out),
            _ => {
                self.passing(tag, body.len());
                Lane::Raw
            }
        }
    }

    /// The plan of a text under the present view, where there is anything to it.
    pub(super) fn plan(&mut self, text: &[u8]) -> Option<Arc<Plan>> {
        let (plan, _) = self.any_plan(text, false)?;
        (!plan.is_idle()).then_some(plan)
    }

    /// The plan of a text that is prepared: also where there is nothing to it under the present view, but a
    /// later one may protect a table that it names.
    pub(super) fn lasting_plan(&mut self, text: &[u8]) -> Option<Arc<Plan>> {
        let (plan, interest) = self.any_plan(text, true)?;
        (interest == Interest::Protected || !plan.is_idle()).then_some(plan)
    }

    fn any_plan(&mut self, text: &[u8], prepared: bool) -> Option<(Arc<Plan>, Interest)> {
        let view = self.view_arc()?;
        match view.prefilter.interest(text) {
            Interest::None => None,
            // The server does not take it, and its error quotes the bytes around the invalid ones.
            _ if self.lex.encoding == Encoding::Utf8 && std::str::from_utf8(text).is_err() => None,
            interest => {
                // What the open transaction has done to names may be undone by the text itself.
                let names_may_return = self.view_private || self.view_outdated;
                let plan = self.shared.plans.plan(text, &view, self.lex, names_may_return);
                self.log_unparsed(text, &plan);
                Some((self.with_refusals(plan, prepared), interest))
            }
        }
    }

    /// The text runs EXECUTE for a statement that a Parse has made: its result goes to the client (or into a table) as
    /// it is, so that the server must have it without hidden columns. True: that must come first.
    pub(super) fn restates(&mut self, plan: &Plan, out: &mut Out) -> bool {
        if self.has_failed() {
            return false;
        }
        let names: SmallVec<[Box<str>; 1]> =
            plan.statements.iter().filter_map(|s| Some(s.execute.as_ref()?.name.clone())).collect();
        for name in names {
            while let Some(new) = self.restated(&name, 0) {
                if self.cycle.messages == 0 && !self.queue.is_empty() {
                    self.drain(out);
                    return true;
                }
                if self.cycle.messages == 0 {
                    self.own_restate(out, new);
                    return true;
                }
                self.parse_again(new, out);
            }
        }
        false
    }

    fn on_query(&mut self, body: &[u8], out: &mut Out) -> Lane {
        let Some(text) = read_query(body) else { return Lane::Raw };
        if self.waits_for_room(out) || self.is_mixed() && self.waits_for_name(b"", true, out) {
            return Lane::Later;
        }
        if self.ensure_view(text, out) == Viewed::Later {
            return Lane::Later;
        }
        let plan = self.plan(text);
        if plan.as_ref().is_some_and(|plan| self.awaits_names(plan, out) || self.restates(plan, out)) {
            return Lane::Later;
        }
        if plan.as_ref().is_some_and(|plan| self.asks_about(text, None, plan, out)) {
            return Lane::Later;
        }
        let checked = plan.as_ref().is_some_and(|p| p.statements.len() == 1 && p.compares_row());
        if checked && self.cycle.executes == 0 && self.is_unsettled() {
            self.drain(out);
            return Lane::Later;
        }
        let Some(plan) = plan else {
            self.drop_unnamed();
            self.expect(Kind::Query, Detail::Plain);
            return Lane::Raw;
        };
        let now = self.now();
        let values = Values { bind: None, arguments: None, oids: &[], encoding: self.lex.encoding };
        let single = plan.statements.len() == 1;
        if let [statement] = plan.statements.as_slice() {
            self.enter_ahead(statement);
        }
        // It ends the implicit transaction of messages before it that no Sync has ended, and would commit them.
        let allowed = if self.cycle.executes == 0 { Ok(()) } else { Err(Reason::Batch) };
        let write =
            if single { writes::decide(&plan, &values, allowed, &mut self.observations, now) } else { None };
        if self.asks_store() {
            return Lane::Later;
        }
        let mut checks = Checks::default();
        let mut guarded = false;
        if let Some(write) = &write {
            guarded = write.is_checked();
            checks.version = write.predicate();
        }
        let refusal = write.as_ref().and_then(|write| self.refuses(write, false));
        let (plan, write) = match refusal {
            Some(refusal) => (Arc::new(plan.refusing(0, &refusal, &self.nonce)), None),
            None => (plan, write),
        };
        let executed = self.executed(&plan, text);
        let (guards, arguments, unsettled) = self.decide_query(&plan, text, &executed, write.as_ref());
        if unsettled && !self.queue.is_empty() {
            self.drain(out);
            return Lane::Later;
        }
        if self.asks_store() {
            return Lane::Later;
        }
        let known: Vec<Vec<Option<Known>>> =
            guards.iter().map(|g| g.as_ref().map_or_else(Vec::new, Guards::known)).collect();
        let hidden_results = self.hidden_results(&plan, &guards, write.as_ref());
        let of_each = known.iter().zip(&arguments).zip(&hidden_results).enumerate();
        let all: Vec<Checks<'_>> = of_each
            .map(|(n, ((guards, added), hidden_result))| {
                let prepared = executed.get(n).and_then(Option::as_ref);
                let arguments = prepared.and_then(|p| p.arguments(added.as_deref()));
                Checks { guards, arguments, hidden_result: *hidden_result, ..checks }
            })
            .collect();
        let rendered = render_query(&plan, text, &all, &self.nonce);
        let portals = self.portals_fetched(&plan);
        self.drop_unnamed();
        let sent = match &rendered {
            Some(rendered) => edit::query_with_text(out.as_bytes_mut(), &rendered.text),
            None => edit::query_with_text(out.as_bytes_mut(), text),
        };
        if !sent {
            self.expect(Kind::Query, Detail::Plain);
            return Lane::Raw;
        }
        self.notes_names(&plan);
        let detail = QueryDetail {
            seq: self.next_seq(),
            sent: self.observations.sequence(),
            text: Bytes::copy_from_slice(text),
            plan,
            index: 0,
            learner: None,
            write,
            guards,
            executed,
            hidden_results: if rendered.is_some() { hidden_results } else { Vec::new() },
            rendered,
            portals,
            cursor: None,
            guarded,
            answered: false,
            refused: None,
        };
        self.expect(Kind::Query, Detail::Query(Box::new(detail)));
        if guarded {
            self.wait = Some(Wait::Verdict);
        }
        Lane::Done
    }

    /// Which statements of a Query are to return what they have written: where nothing is known of a table's rows
    /// there is nothing that could move.
    fn hidden_results(&mut self, plan: &Plan, guards: &[Option<Guards>], write: Option<&Write>) -> Vec<bool> {
        let in_flight = !self.queue.is_empty();
        let observations = &mut self.observations;
        let one = |(n, statement): (usize, &StatementPlan)| {
            let Some(hidden) = &statement.hidden_result else { return false };
            let expects = write.is_some_and(Write::is_checked)
                || guards.get(n).and_then(Option::as_ref).is_some_and(Guards::has_rows);
            // What comes before it may teach something yet.
            let last = n > 0 || in_flight;
            expects || last || observations.may_know_rows(hidden.table.root_oid)
        };
        plan.statements.iter().enumerate().map(one).collect()
    }
}

pub(super) fn undo_detail(undo: Undo) -> Detail {
    match undo {
        Undo::None => Detail::Plain,
        undo => Detail::Undo(undo),
    }
}
