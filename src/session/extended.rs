//! Messages of the extended protocol that have to do with a plan: Parse, Bind, Describe, Execute.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::client::{Lane, undo_detail};
use super::cursors::Cursor;
use super::detail::{CursorDetail, Detail, ExecuteDetail};
use super::look::Viewed;
use super::own::OWN_NAME;
use super::prepared::{Portal, Prepared};
use super::put;
use super::queue::Kind;
use super::state::Session;
use crate::rewrite::plan::{Effect, Plan, PointWrite, StatementPlan};
use crate::rewrite::render::{HiddenParams, render_parse};
use crate::wire::buffer::Out;
use crate::wire::read::{read_describe, read_execute, read_parse};
use crate::wire::tag::back;
use crate::wire::{build, edit};

/// A statement without a result, which changes nothing, also in a transaction that may only read.
const DOES_NOTHING: &[u8] = b"UNLISTEN staleguard_nothing";

impl Session {
    pub(super) fn on_parse(&mut self, body: &[u8], out: &mut Out) -> Lane {
        let Some(parse) = read_parse(body) else { return Lane::Raw };
        if self.ensure_view(parse.text, out) == Viewed::Later {
            return Lane::Later;
        }
        let Some(plan) = self.lasting_plan(parse.text) else {
            let undo = self.set_statement(parse.name, None);
            self.expect(Kind::Parse, undo_detail(undo));
            return Lane::Raw;
        };
        let oids: Vec<u32> = parse.oids.iter().collect();
        if self.restates(&plan, out) || self.asks_about(parse.text, Some(&oids), &plan, out) {
            return Lane::Later;
        }
        let prepared = self.prepare(parse.name, Bytes::copy_from_slice(parse.text), oids, plan);
        if prepared.is_rewritten() {
            self.keep_cycle(None);
        }
        let sent = match &prepared.rendered {
            Some(rendered) => edit::parse_with_text(out.as_bytes_mut(), &parse, &rendered.text),
            None => edit::parse_with_text(out.as_bytes_mut(), &parse, parse.text),
        };
        if !sent {
            let undo = self.set_statement(parse.name, None);
            self.expect(Kind::Parse, undo_detail(undo));
            return Lane::Raw;
        }
        let undo = self.set_statement(parse.name, Some(prepared.clone()));
        self.expect(Kind::Parse, Detail::Parse(prepared, undo));
        Lane::Done
    }

    pub(super) fn prepare(
        &mut self,
        name: &[u8],
        text: Bytes,
        oids: Vec<u32>,
        plan: Arc<Plan>,
    ) -> Rc<Prepared> {
        let own_params = usize::from(plan.max_param).max(oids.len());
        let number = |n: usize| u16::try_from(own_params + n).unwrap_or(0);
        let mut params = HiddenParams::default();
        if let [one] = plan.statements.as_slice() {
            let point = one.point.as_ref().is_some_and(PointWrite::takes_check);
            params.version = if point { number(1) } else { 0 };
            params.known = if one.takes_guard() { number(1 + usize::from(params.version > 0)) } else { 0 };
            params.own_writes = one.sites.iter().all(|s| s.table.may_read_all);
        }
        let rendered = match self.render_execute(&plan, &text) {
            Some(rendered) => rendered,
            None => render_parse(&plan, &text, params, &self.nonce),
        };
        let hidden = plan.statements.first().map_or(0, |s| s.hidden.len());
        Rc::new(Prepared {
            seq: self.next_seq(),
            name: name.into(),
            text,
            oids,
            generation: self.generation(),
            params: if rendered.is_some() { params } else { HiddenParams::default() },
            hidden: if rendered.is_some() { hidden } else { 0 },
            fetched_hidden: plan
                .statements
                .first()
                .and_then(|s| self.portal_fetched(s))
                .map_or(0, |portal| portal.prepared.hidden),
            hidden_result: rendered.is_some()
                && plan.statements.first().is_some_and(|s| s.hidden_result.is_some()),
            rendered,
            plan,
            from_sql: false,
            layout: RefCell::new(None),
            param_types: RefCell::new(None),
            described_in: Cell::new(u64::MAX),
            lost: Cell::new(false),
        })
    }

    /// A statement that the server has in the client's own words. A view of another generation plans it anew.
    pub(super) fn as_it_is(
        &mut self,
        name: &[u8],
        text: Bytes,
        oids: Vec<u32>,
        generation: u64,
    ) -> Rc<Prepared> {
        let as_it_is = self.prepare(name, text, oids, Arc::default());
        Rc::new(Prepared { generation, ..Rc::unwrap_or_clone(as_it_is) })
    }

    pub(super) fn generation(&self) -> u64 {
        self.view.as_ref().map_or(0, |v| v.view.generation)
    }

    /// The server must have a statement in another text before it can be used.
    pub(super) fn is_outdated(&self, prepared: &Prepared) -> bool {
        (prepared.lost.get() || prepared.generation != self.generation())
            && !self.has_failed()
            && !prepared.from_sql
    }

    /// Brings a statement whose plan is out of date up to the present view: the server gets a new text only
    /// where that differs (or hidden columns have become of another type, which would fail the client's statement), and
    /// never where the client would find a result of another shape (a `*` that has grown:
    /// the server itself says so, 0A000).
    ///
    /// The server is asked first whether it takes the new text, for it must not lose the statement with the table that it
    /// names. `before`: what the client is told before it hears that it does not.
    pub(super) fn plan_again(&mut self, old: &Rc<Prepared>, before: Vec<u8>, out: &mut Out) -> Rc<Prepared> {
        // The server does not change its mind about the types of a statement's parameters.
        let (text, oids) = (old.text.clone(), old.own_types().unwrap_or_else(|| old.oids.clone()));
        let plan = self.lasting_plan(&text).unwrap_or_default();
        let new = self.prepare(&old.name, text, oids, plan);
        let same_types = |new: &StatementPlan, old: &StatementPlan| new.hidden_types().eq(old.hidden_types());
        let same_hidden = match (new.statement(), old.statement()) {
            (Some(new), Some(old)) => same_types(new, old),
            _ => true,
        };
        let lost = old.lost.get();
        if new.server_text() == old.server_text() && same_hidden && !lost {
            *new.layout.borrow_mut() = old.layout.borrow().clone();
            *new.param_types.borrow_mut() = old.param_types.borrow().clone();
            self.names.replan(&old.name, new.clone());
            return new;
        }
        if old.statement().is_some_and(|s| s.has_wildcard) && !lost {
            return old.clone();
        }
        if !lost {
            let bytes = out.as_bytes_mut();
            put(build::close(bytes, b'S', OWN_NAME));
            put(build::parse(bytes, OWN_NAME, new.server_text(), &new.oids));
            put(build::close(bytes, b'S', OWN_NAME));
            self.expect(Kind::Close, Detail::Own);
            self.expect(Kind::Parse, Detail::OwnTry(new.clone(), before));
            self.expect(Kind::Close, Detail::Own);
        }
        self.parse_again(new.clone(), out);
        new
    }

    /// Parses a statement again under its name, in another text.
    pub(super) fn parse_again(&mut self, new: Rc<Prepared>, out: &mut Out) {
        let bytes = out.as_bytes_mut();
        if !new.name.is_empty() {
            put(build::close(bytes, b'S', &new.name));
            self.expect(Kind::Close, Detail::Own);
        }
        put(build::parse(bytes, &new.name, new.server_text(), &new.oids));
        let name = new.name.clone();
        let undo = self.set_statement(&name, Some(new.clone()));
        self.expect(Kind::Parse, Detail::OwnParse(new, undo));
    }

    /// Parses a statement again in the client's own words.
    pub(super) fn parse_as_it_is(&mut self, old: &Prepared, generation: u64, out: &mut Out) {
        let oids = old.own_types().unwrap_or_else(|| old.oids.clone());
        let new = self.as_it_is(&old.name, old.text.clone(), oids, generation);
        self.parse_again(new, out);
    }

    pub(super) fn on_describe(&mut self, body: &[u8], out: &mut Out) -> Lane {
        let Some(target) = read_describe(body) else { return Lane::Raw };
        if target.kind == b'S' {
            if self.waits_for_name(target.name, false, out) {
                return Lane::Later;
            }
            let Some(mut prepared) = self.names.statement(target.name).cloned() else {
                self.expect(Kind::DescribeStatement, Detail::Plain);
                return Lane::Raw;
            };
            // A look would take the snapshot before a BEGIN or a LOCK that may follow in its cycle.
            if self.ensure_view(&prepared.text, out) == Viewed::Later {
                return Lane::Later;
            }
            let types = prepared.own_types().map(|types| parameter_description(&types));
            if prepared.hidden_result
                && let Some(types) = &types
            {
                // To the client it has no result, whatever has become of its table or of the transaction.
                let mut known = Out::new();
                known.extend(types);
                super::frame_out(&mut known, back::NO_DATA, &[]);
                put(build::close(out.as_bytes_mut(), b'S', OWN_NAME));
                self.expect(Kind::Close, Detail::Known(known.pending().to_vec()));
                return Lane::Done;
            }
            if (prepared.has_hidden_result() || prepared.lost.get()) && self.is_outdated(&prepared) {
                // The server plans a statement with a result anew: a hidden column may be gone.
                prepared = self.plan_again(&prepared, types.unwrap_or_default(), out);
            }
            if prepared.has_hidden_result() {
                self.keep_cycle(Some(&prepared));
            }
            prepared.described_in.set(self.cycle.number);
            self.expect(Kind::DescribeStatement, Detail::DescribeStatement(prepared, RefCell::default()));
        } else {
            if let Some(cursor) = self.cursors.named(target.name).cloned() {
                self.expect(Kind::DescribePortal, Detail::DescribeCursor(cursor));
                return Lane::Raw;
            }
            let Some(portal) = self.names.portal(target.name).cloned() else { return Lane::Raw };
            portal.prepared.described_in.set(self.cycle.number);
            portal.described.set(true);
            self.expect(Kind::DescribePortal, Detail::DescribePortal(portal, false));
        }
        Lane::Raw
    }

    pub(super) fn on_execute(&mut self, body: &[u8], out: &mut Out) -> Lane {
        let Some(execute) = read_execute(body) else { return Lane::Raw };
        if let Some(cursor) = self.cursors.named(execute.portal).cloned() {
            let detail = CursorDetail { cursor: cursor.clone(), learner: None };
            if Cursor::Declared(cursor.clone()).layout().is_none() {
                put(build::describe(out.as_bytes_mut(), b'P', execute.portal));
                self.expect(Kind::DescribePortal, Detail::OwnDescribeCursor(cursor));
            }
            self.expect(Kind::Execute, Detail::ExecuteCursor(Box::new(detail)));
            return Lane::Raw;
        }
        let Some(portal) = self.names.portal(execute.portal).cloned() else { return Lane::Raw };
        self.execute_portal(&portal, execute.portal, out)
    }

    /// The columns of what a FETCH will show are not known, and may matter.
    fn fetches_undescribed(&self, portal: &Portal) -> bool {
        let Some(name) = portal.fetches().filter(|_| !portal.described.get()) else { return false };
        let known = self.cursors.get(name).cloned().map(Cursor::Declared);
        match known.or_else(|| portal.fetched.borrow().clone()) {
            Some(cursor) => cursor.layout().is_none(),
            None => self.may_declare(),
        }
    }

    /// Queues an Execute, with a Describe of our own before it where its rows could not be read otherwise.
    pub(super) fn execute_portal(&mut self, portal: &Rc<Portal>, name: &[u8], out: &mut Out) -> Lane {
        let prepared = &portal.prepared;
        // What a DECLARE teaches its FETCH does.
        let teaches = portal
            .acting()
            .statement()
            .is_some_and(|s| !s.teaches.is_empty() && !matches!(s.effect, Effect::Declare { .. }));
        let fetches = self.fetches_undescribed(portal);
        let undescribed =
            teaches && prepared.layout.borrow().is_none() && prepared.described_in.get() != self.cycle.number;
        let ran = portal.ran.get() && !self.has_failed();
        if (fetches || undescribed || ran) && portal.cycle != self.cycle.number && !self.queue.is_empty() {
            // Its transaction may be over: the server's word on that is for the client's own message.
            self.drain(out);
            return Lane::Later;
        }
        if ran {
            return self.cannot_be_run(name, out);
        }
        portal.ran.set(prepared.hidden_result);
        if fetches {
            portal.described.set(true);
            put(build::describe(out.as_bytes_mut(), b'P', name));
            self.expect(Kind::DescribePortal, Detail::DescribePortal(portal.clone(), true));
        } else if undescribed {
            prepared.described_in.set(self.cycle.number);
            put(build::describe(out.as_bytes_mut(), b'P', name));
            self.expect(Kind::DescribePortal, Detail::DescribePortal(portal.clone(), true));
        }
        self.notes_names(&portal.prepared.plan);
        if let (Some(statement), Some(acting)) = (portal.prepared.statement(), portal.acting().statement()) {
            let place = self.place();
            match &*portal.guards.borrow() {
                Some(guards) => self.sent_writes(acting, guards, place),
                None => self.sent_point(portal, place),
            }
            self.in_flight.add_statement(acting);
            self.in_flight.add_touched(&statement.touches);
            self.sent_says(statement);
            if portal.executed.is_some() {
                self.sent_says(acting);
            }
            self.sent_effect(&statement.effect);
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
}

impl Session {
    /// An Execute of a portal that has been run. The server says so of the portal of a statement without a result: it
    /// gets one to say it of, in the place of that which has a hidden result.
    fn cannot_be_run(&mut self, name: &[u8], out: &mut Out) -> Lane {
        let bytes = out.as_bytes_mut();
        put(build::close(bytes, b'S', OWN_NAME));
        put(build::parse(bytes, OWN_NAME, DOES_NOTHING, &[]));
        put(build::close(bytes, b'P', name));
        put(build::bind_formats(bytes, name, OWN_NAME, &[], &[], &[]));
        put(build::execute(bytes, name, 0));
        for kind in [Kind::Close, Kind::Parse, Kind::Close, Kind::Bind, Kind::Execute] {
            self.expect(kind, Detail::Own);
        }
        self.expect(Kind::Execute, Detail::Plain);
        Lane::Raw
    }
}

/// The frame that tells of a statement's parameters.
fn parameter_description(types: &[u32]) -> Vec<u8> {
    let mut out = Out::new();
    let count = u16::try_from(types.len()).unwrap_or(u16::MAX).to_be_bytes();
    let body: Vec<u8> = count.into_iter().chain(types.iter().flat_map(|oid| oid.to_be_bytes())).collect();
    super::frame_out(&mut out, back::PARAMETER_DESCRIPTION, &body);
    out.pending().to_vec()
}
