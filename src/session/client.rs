//! Frames from the client: which stay on the raw lane, and what becomes of the others.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;

use super::look::Viewed;
use super::prepared::{Portal, Prepared, Undo};
use super::put;
use super::queue::Kind;
use super::state::{Buffers, Detail, ExecuteDetail, Hold, QueryDetail, Session, Wait};
use super::writes::{self, BoundValues, Values};
use crate::rewrite::plan::{Plan, PointWrite, Reason};
use crate::rewrite::render::{Check, render_parse, render_query};
use crate::sql::prefilter::Interest;
use crate::wire::buffer::Out;
use crate::wire::edit::AddedParam;
use crate::wire::frame::{Scan, scan};
use crate::wire::read::{Bind, read_bind, read_close, read_describe, read_execute, read_parse, read_query};
use crate::wire::tag::front;
use crate::wire::{build, edit};

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lane {
    /// Forward it as it is; its reply is queued.
    Raw,
    /// It has been dealt with.
    Done,
    /// Not now: look at it again later.
    Later,
}

impl Session {
    /// Works through what the client has sent, as far as it may go now.
    pub fn client_input(&mut self, io: &mut Buffers) {
        let mut run = 0;
        loop {
            if self.closing {
                run = 0;
                io.client_in.consume(io.client_in.len());
                break;
            }
            let Some(data) = io.client_in.data().get(run..) else { break };
            if data.is_empty() {
                break;
            }
            if self.client_raw {
                run += data.len();
                break;
            }
            if self.client_rest > 0 {
                let n = self.client_rest.min(data.len());
                self.client_rest -= n;
                run += n;
                continue;
            }
            if self.wait.is_some() {
                break;
            }
            let (tag, len) = match scan(data) {
                Scan::Incomplete => break,
                Scan::Malformed => {
                    // The server closes such a connection with an error of its own: let it.
                    self.shared.metrics.protocol_error(crate::telemetry::metrics::ErrorSource::Client);
                    self.client_raw = true;
                    continue;
                }
                Scan::Frame { tag, len } => (tag, len),
            };
            if !self.started && tag != front::PASSWORD && tag != front::TERMINATE {
                // Sent ahead of the server's first ReadyForQuery: it waits for it.
                break;
            }
            let whole = data.get(..len);
            if self.needs_whole(tag) {
                let Some(frame) = whole else { break };
                if self.is_raw(tag, frame) {
                    run += len;
                    continue;
                }
                io.server_out.forward(&mut io.client_in, run);
                run = 0;
                let Buffers { client_in, client_out, server_out, .. } = io;
                let Some(frame) = client_in.data().get(..len) else { break };
                match self.typed(tag, frame, server_out, client_out) {
                    Lane::Raw => run = len,
                    Lane::Done => client_in.consume(len),
                    Lane::Later => break,
                }
            } else {
                self.passing(tag);
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
            front::SYNC | front::FLUSH => self.hold.is_some() || self.local_skip,
            _ => self.hold.is_some() || self.local_skip,
        }
    }

    /// A frame that nobody needs to read: note what the server will answer.
    fn passing(&mut self, tag: u8) {
        match tag {
            front::SYNC => self.expect(Kind::Sync, Detail::Plain),
            front::FUNCTION_CALL => self.expect(Kind::Function, Detail::Plain),
            front::COPY_DONE | front::COPY_FAIL if self.queue.may_copy_in() => {
                self.expect(Kind::CopyEnd, Detail::Plain);
            }
            front::TERMINATE => self.terminated = true,
            _ => {}
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
                if !self.is_of_no_interest(text) {
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
                let undo = self.names.set_statement(parse.name, None);
                self.expect(Kind::Parse, undo_detail(undo));
            }
            front::BIND => {
                let Some(bind) = read_bind(body) else {
                    self.expect(Kind::Bind, Detail::Plain);
                    return true;
                };
                if self.names.statement(bind.statement).is_some() {
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
                        Kind::DescribeStatement => self.names.statement(target.name).is_some(),
                        _ => self.names.portal(target.name).is_some(),
                    };
                    if known {
                        return false;
                    }
                }
                self.expect(kind, Detail::Plain);
            }
            front::EXECUTE => {
                if let Some(execute) = read_execute(body) {
                    if self.names.portal(execute.portal).is_some() {
                        return false;
                    }
                }
                self.expect(Kind::Execute, Detail::Plain);
            }
            front::CLOSE => {
                let undo = match read_close(body) {
                    Some(target) if target.kind == b'S' => self.names.set_statement(target.name, None),
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
        if self.view_outdated && self.status == b'I' {
            return false;
        }
        if seen.view.prefilter.interest(text) != Interest::None {
            return false;
        }
        if !fresh {
            self.look_after = true;
        }
        true
    }

    /// A simple Query destroys the unnamed statement and portal.
    fn drop_unnamed(&mut self) {
        self.names.set_statement(b"", None);
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
        }
        let Some(body) = frame.get(5..) else { return Lane::Raw };
        match tag {
            front::QUERY => self.on_query(body, out),
            front::PARSE => self.on_parse(body, out),
            front::BIND => self.on_bind(frame, body, out),
            front::DESCRIBE => self.on_describe(body),
            front::EXECUTE => self.on_execute(body, out),
            front::CLOSE | front::SYNC | front::FLUSH => {
                if tag == front::CLOSE {
                    self.is_raw(tag, frame);
                } else {
                    self.passing(tag);
                }
                Lane::Raw
            }
            _ => {
                self.passing(tag);
                Lane::Raw
            }
        }
    }

    /// The proxy's own look has failed the client's transaction: its error is the reply, and then, as the
    /// server would, nothing until Sync.
    fn answer_locally(&mut self, tag: u8, client: &mut Out) -> Lane {
        if let Some(error) = self.local_error.take() {
            super::verdict::forward_error(client, &error);
            if tag == front::QUERY {
                put(build::ready(client.as_bytes_mut(), self.status));
            } else {
                self.local_skip = true;
            }
            self.errored = true;
            return Lane::Done;
        }
        match tag {
            front::SYNC => {
                self.local_skip = false;
                put(build::ready(client.as_bytes_mut(), self.status));
                Lane::Done
            }
            front::TERMINATE => {
                self.passing(tag);
                Lane::Raw
            }
            _ => Lane::Done,
        }
    }

    /// The plan of a text under the present view, where there is anything to it.
    fn plan(&mut self, text: &[u8]) -> Option<std::sync::Arc<Plan>> {
        let view = self.view_arc()?;
        if view.prefilter.interest(text) == Interest::None {
            return None;
        }
        let plan = self.shared.plans.plan(text, &view, self.lex);
        (!plan.is_idle()).then_some(plan)
    }

    fn on_query(&mut self, body: &[u8], out: &mut Out) -> Lane {
        let Some(text) = read_query(body) else { return Lane::Raw };
        if self.ensure_view(Some(text), out) == Viewed::Later {
            return Lane::Later;
        }
        self.drop_unnamed();
        let Some(plan) = self.plan(text) else {
            self.expect(Kind::Query, Detail::Plain);
            return Lane::Raw;
        };
        let now = self.now();
        let values = Values { bind: None, oids: &[], encoding: self.lex.encoding };
        let single = plan.statements.len() == 1;
        let write =
            if single { writes::decide(&plan, &values, Ok(()), &mut self.observations, now) } else { None };
        let mut checks: smallvec::SmallVec<[Check; 4]> =
            plan.statements.iter().map(|_| Check::None).collect();
        let mut guarded = false;
        if let Some(write) = &write {
            guarded = write.is_checked();
            if let (Some(check), Some(version)) = (checks.first_mut(), write.predicate()) {
                *check = Check::Version(version);
            }
        }
        let rendered = render_query(&plan, text, &checks);
        let sent = match &rendered {
            Some(rendered) => edit::query_with_text(out.as_bytes_mut(), &rendered.text),
            None => edit::query_with_text(out.as_bytes_mut(), text),
        };
        if !sent {
            self.expect(Kind::Query, Detail::Plain);
            return Lane::Raw;
        }
        let detail = QueryDetail {
            seq: self.next_seq(),
            text: Bytes::copy_from_slice(text),
            plan,
            rendered,
            index: 0,
            learner: None,
            write,
            returned: None,
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

    fn on_parse(&mut self, body: &[u8], out: &mut Out) -> Lane {
        let Some(parse) = read_parse(body) else { return Lane::Raw };
        if self.ensure_view(Some(parse.text), out) == Viewed::Later {
            return Lane::Later;
        }
        let Some(plan) = self.plan(parse.text) else {
            let undo = self.names.set_statement(parse.name, None);
            self.expect(Kind::Parse, undo_detail(undo));
            return Lane::Raw;
        };
        let prepared =
            self.prepare(parse.name, Bytes::copy_from_slice(parse.text), parse.oids.iter().collect(), plan);
        let sent = match &prepared.rendered {
            Some(rendered) => edit::parse_with_text(out.as_bytes_mut(), &parse, &rendered.text),
            None => edit::parse_with_text(out.as_bytes_mut(), &parse, parse.text),
        };
        if !sent {
            let undo = self.names.set_statement(parse.name, None);
            self.expect(Kind::Parse, undo_detail(undo));
            return Lane::Raw;
        }
        let undo = self.names.set_statement(parse.name, Some(prepared.clone()));
        self.expect(Kind::Parse, Detail::Parse(prepared, undo));
        Lane::Done
    }

    fn prepare(
        &mut self,
        name: &[u8],
        text: Bytes,
        oids: Vec<u32>,
        plan: std::sync::Arc<Plan>,
    ) -> Rc<Prepared> {
        let own_params = usize::from(plan.max_param).max(oids.len());
        let hidden_param = match plan.statements.as_slice() {
            [one] if one.point.as_ref().is_some_and(PointWrite::takes_check) => {
                u16::try_from(own_params + 1).unwrap_or(0)
            }
            _ => 0,
        };
        let rendered = render_parse(&plan, &text, hidden_param);
        let hidden = plan.statements.first().map_or(0, |s| s.hidden.len());
        Rc::new(Prepared {
            seq: self.next_seq(),
            name: name.into(),
            text,
            oids,
            generation: self.view.as_ref().map_or(0, |v| v.view.generation),
            hidden_param: if rendered.is_some() { hidden_param } else { 0 },
            hidden: if rendered.is_some() { hidden } else { 0 },
            hidden_result: rendered.is_some() && plan.statements.first().is_some_and(|s| s.hidden_result),
            rendered,
            plan,
            layout: RefCell::new(None),
            param_types: RefCell::new(None),
            described_in: Cell::new(u64::MAX),
        })
    }

    /// Parses a statement again under its name: in its original form where `plan` is none of ours any more.
    fn parse_again(&mut self, old: &Rc<Prepared>, rewritten: bool, out: &mut Out) -> Option<Rc<Prepared>> {
        let bytes = out.as_bytes_mut();
        let plan = if rewritten { self.plan(&old.text) } else { None };
        let new = plan.map(|plan| self.prepare(&old.name, old.text.clone(), old.oids.clone(), plan));
        if !old.name.is_empty() {
            put(build::close(bytes, b'S', &old.name));
            self.expect(Kind::Close, Detail::Own);
        }
        let text: &[u8] = match new.as_ref().and_then(|n| n.rendered.as_ref()) {
            Some(rendered) => &rendered.text,
            None => &old.text,
        };
        put(build::parse(bytes, &old.name, text, &old.oids));
        let undo = self.names.set_statement(&old.name, new.clone());
        self.expect(Kind::Parse, Detail::OwnUndo(undo));
        new
    }

    fn on_bind(&mut self, frame: &[u8], body: &[u8], out: &mut Out) -> Lane {
        let Some(bind) = read_bind(body) else { return Lane::Raw };
        if self.ensure_view(None, out) == Viewed::Later {
            return Lane::Later;
        }
        let Some(mut prepared) = self.names.statement(bind.statement).cloned() else {
            let undo = self.names.set_portal(bind.portal, None);
            self.expect(Kind::Bind, undo_detail(undo));
            return Lane::Raw;
        };
        let generation = self.view.as_ref().map_or(0, |v| v.view.generation);
        let wildcard = prepared.statement().is_some_and(|s| s.has_wildcard);
        let wrong_count = prepared.hidden_param > 0 && bind.param_count() != prepared.own_params();
        if wrong_count && prepared.is_rewritten() {
            // The server's complaint must name the client's own number of parameters.
            self.parse_again(&prepared, false, out);
            let undo = self.names.set_portal(bind.portal, None);
            self.expect(Kind::Bind, undo_detail(undo));
            return Lane::Raw;
        }
        if prepared.generation != generation && self.status != b'E' && !wildcard {
            match self.parse_again(&prepared, true, out) {
                Some(new) => prepared = new,
                None => {
                    let undo = self.names.set_portal(bind.portal, None);
                    self.expect(Kind::Bind, undo_detail(undo));
                    return Lane::Raw;
                }
            }
        }
        let portal = Rc::new(Portal {
            result_formats: bind.result_formats.iter().collect(),
            param_count: bind.param_count(),
            returned: Cell::new(None),
            write: RefCell::new(None),
            prepared,
        });
        if portal.prepared.is_held() {
            self.hold = Some(Hold {
                portal_name: bind.portal.into(),
                bind: Bytes::copy_from_slice(frame),
                frames: Vec::new(),
                executed: false,
                portal,
            });
            return Lane::Done;
        }
        self.send_bind(&bind, portal, None, Err(Reason::Batch), out);
        Lane::Done
    }

    /// Sends a Bind with what the proxy adds to it. `allowed`: the predicate form may be used.
    fn send_bind(
        &mut self,
        bind: &Bind<'_>,
        portal: Rc<Portal>,
        hidden_param: Option<u16>,
        allowed: Result<(), Reason>,
        out: &mut Out,
    ) -> bool {
        let prepared = portal.prepared.clone();
        let values = Values { bind: Some(bind), oids: &prepared.oids, encoding: self.lex.encoding };
        let now = self.now();
        let mut write = writes::decide(&prepared.plan, &values, allowed, &mut self.observations, now);
        let mut guarded = false;
        let mut text = None;
        let mut binary = None;
        if let Some(write) = &mut write {
            if write.is_checked() {
                guarded = true;
                if let Some(version) = write.predicate() {
                    text = Some(version.to_string());
                    binary = write.point().map(|p| version_bytes(p.table.version_type, version));
                }
                write.prepared = Some(prepared.clone());
                write.values = Some(BoundValues {
                    formats: (0..bind.param_count()).map(|i| bind.param_format(i)).collect(),
                    values: (0..bind.param_count())
                        .map(|i| bind.param(i).flatten().map(<[u8]>::to_vec))
                        .collect(),
                });
            }
        }
        let added = AddedParam { text: text.as_ref().map(|t| t.as_bytes()), binary: binary.as_deref() };
        let params: &[AddedParam<'_>] = if hidden_param.is_some() { &[added] } else { &[] };
        let visible = portal.result_formats.len();
        let columns = (prepared.hidden > 0).then_some((visible, prepared.hidden));
        put(edit::bind_with(out.as_bytes_mut(), bind, params, columns));
        *portal.write.borrow_mut() = write;
        let undo = self.names.set_portal(bind.portal, Some(portal.clone()));
        self.expect(Kind::Bind, Detail::Bind(portal, undo));
        guarded
    }

    /// A frame behind a held Bind. `None`: the hold is over, treat the frame as usual.
    fn behind_bind(&mut self, tag: u8, frame: &[u8], out: &mut Out) -> Option<Lane> {
        let hold = self.hold.as_mut()?;
        let body = frame.get(5..)?;
        match tag {
            front::DESCRIBE if !hold.executed => {
                if read_describe(body).is_some_and(|t| t.kind == b'P' && *t.name == *hold.portal_name) {
                    hold.frames.push((Kind::DescribePortal, Bytes::copy_from_slice(frame)));
                    return Some(Lane::Done);
                }
            }
            front::EXECUTE if !hold.executed => {
                if read_execute(body).is_some_and(|e| *e.portal == *hold.portal_name) {
                    hold.frames.push((Kind::Execute, Bytes::copy_from_slice(frame)));
                    hold.executed = true;
                    return Some(Lane::Done);
                }
            }
            front::SYNC if hold.executed && self.cycle.executes == 0 => {
                if self.release(Ok(()), out) {
                    self.expect(Kind::Sync, Detail::Guarded);
                    self.wait = Some(Wait::Verdict);
                } else {
                    self.passing(tag);
                }
                return Some(Lane::Raw);
            }
            _ => {}
        }
        let reason = if tag == front::FLUSH { Reason::Flush } else { Reason::Batch };
        self.release(Err(reason), out);
        None
    }

    /// Sends a held Bind and what was held behind it.
    fn release(&mut self, allowed: Result<(), Reason>, out: &mut Out) -> bool {
        let Some(hold) = self.hold.take() else { return false };
        let Some(bind) = hold.bind.get(5..).and_then(read_bind) else { return false };
        let hidden_param = Some(hold.portal.prepared.hidden_param).filter(|n| *n > 0);
        let guarded = self.send_bind(&bind, hold.portal.clone(), hidden_param, allowed, out);
        for (kind, frame) in hold.frames {
            match kind {
                Kind::Execute => {
                    if self.execute_portal(&hold.portal, &hold.portal_name, out) == Lane::Raw {
                        out.extend(&frame);
                    }
                }
                _ => {
                    hold.portal.prepared.described_in.set(self.cycle.number);
                    self.expect(Kind::DescribePortal, Detail::DescribePortal(hold.portal.clone(), false));
                    out.extend(&frame);
                }
            }
        }
        guarded
    }

    fn on_describe(&mut self, body: &[u8]) -> Lane {
        let Some(target) = read_describe(body) else { return Lane::Raw };
        if target.kind == b'S' {
            let Some(prepared) = self.names.statement(target.name).cloned() else { return Lane::Raw };
            prepared.described_in.set(self.cycle.number);
            self.expect(Kind::DescribeStatement, Detail::DescribeStatement(prepared));
        } else {
            let Some(portal) = self.names.portal(target.name).cloned() else { return Lane::Raw };
            portal.prepared.described_in.set(self.cycle.number);
            self.expect(Kind::DescribePortal, Detail::DescribePortal(portal, false));
        }
        Lane::Raw
    }

    fn on_execute(&mut self, body: &[u8], out: &mut Out) -> Lane {
        let Some(execute) = read_execute(body) else { return Lane::Raw };
        let Some(portal) = self.names.portal(execute.portal).cloned() else { return Lane::Raw };
        self.execute_portal(&portal, execute.portal, out)
    }

    /// Queues an Execute, with a Describe of our own before it where its rows could not be read otherwise.
    fn execute_portal(&mut self, portal: &Rc<Portal>, name: &[u8], out: &mut Out) -> Lane {
        let prepared = &portal.prepared;
        let teaches = prepared.statement().is_some_and(|s| !s.teaches.is_empty());
        if teaches && prepared.layout.borrow().is_none() && prepared.described_in.get() != self.cycle.number {
            prepared.described_in.set(self.cycle.number);
            put(build::describe(out.as_bytes_mut(), b'P', name));
            self.expect(Kind::DescribePortal, Detail::DescribePortal(portal.clone(), true));
        }
        let seq = self.next_seq();
        let detail = ExecuteDetail { seq, portal: portal.clone(), learner: None };
        self.expect(Kind::Execute, Detail::Execute(Box::new(detail)));
        if portal.prepared.hidden_result {
            // A limit on rows that the client does not know of would suspend the portal.
            put(build::execute(out.as_bytes_mut(), name, 0));
            return Lane::Done;
        }
        Lane::Raw
    }

    /// The client's stream has ended: what is held must still reach the server.
    pub fn client_ended(&mut self, out: &mut Out) {
        if self.hold.is_some() {
            self.release(Err(Reason::Batch), out);
        }
    }
}

fn undo_detail(undo: Undo) -> Detail {
    match undo {
        Undo::None => Detail::Plain,
        undo => Detail::Undo(undo),
    }
}

fn version_bytes(ty: crate::catalog::VersionType, version: i64) -> Vec<u8> {
    use crate::catalog::VersionType::{Int2, Int4, Int8};
    match ty {
        Int2 => i16::try_from(version).unwrap_or(0).to_be_bytes().to_vec(),
        Int4 => i32::try_from(version).unwrap_or(0).to_be_bytes().to_vec(),
        Int8 => version.to_be_bytes().to_vec(),
    }
}
