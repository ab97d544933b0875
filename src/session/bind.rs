//! Bind: which write it makes of its statement, with which guards, and what the proxy adds to it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::client::{Lane, undo_detail};
use super::cursors::{Cursor, OpenCursors, Shows};
use super::detail::Detail;
use super::guards::{self, Guards, Scene};
use super::look::Viewed;
use super::own::OWN_NAME;
use super::prepared::{Portal, Prepared};
use super::put;
use super::queue::Kind;
use super::state::{Hold, Session};
use super::writes::{self, BoundValues, Values};
use crate::rewrite::plan::{Reason, StatementPlan};
use crate::wire::buffer::Out;
use crate::wire::edit::AddedParam;
use crate::wire::read::{Bind, read_bind};
use crate::wire::{build, edit};

impl Session {
    pub(super) fn on_bind(&mut self, frame: &[u8], body: &[u8], out: &mut Out) -> Lane {
        let Some(bind) = read_bind(body) else { return Lane::Raw };
        if self.waits_for_room(out) || self.waits_for_name(bind.statement, false, out) {
            return Lane::Later;
        }
        if let Some(text) = self.names.statement(bind.statement).map(|p| p.text.clone())
            && self.ensure_view(&text, out) == Viewed::Later
        {
            return Lane::Later;
        }
        let Some(mut prepared) = self.names.statement(bind.statement).cloned() else {
            let undo = self.names.set_portal(bind.portal, None);
            self.expect(Kind::Bind, undo_detail(undo));
            return Lane::Raw;
        };
        let outdated = self.is_outdated(&prepared);
        let by_name = prepared.hidden_result && !bind.portal.is_empty() && !self.has_failed();
        if (outdated || by_name) && !self.queue.is_empty() {
            // Whether its block has failed decides whose words the client gets: those of its Bind, or of our own Parse.
            self.drain(out);
            return Lane::Later;
        }
        if outdated {
            prepared = self.plan_again(&prepared, Vec::new(), out);
        }
        if prepared.hidden_result && !bind.portal.is_empty() && !self.has_failed() {
            // A FETCH in SQL could run it by the portal's name, and would show what the client must not see.
            let plan = Arc::new(prepared.plan.with_own_result());
            let (text, oids) = (prepared.text.clone(), prepared.oids.clone());
            prepared = self.prepare(&prepared.name, text, oids, plan);
            self.parse_again(prepared.clone(), out);
        }
        let (prepared, executed, made) = match self.bind_execute(&prepared, out) {
            Ok(bound) => bound,
            Err(lane) => return lane,
        };
        if prepared.is_rewritten() && !prepared.from_sql {
            self.keep_cycle(Some(&prepared));
        }
        let fetched = prepared.statement().and_then(|s| self.portal_fetched(s)).map(Cursor::Portal);
        let hidden = fetched.as_ref().map_or(prepared.hidden, Cursor::hidden);
        let portal = Rc::new(Portal {
            result_formats: prepared.result_formats(&bind).iter().collect(),
            cycle: self.cycle.number,
            surplus: prepared.surplus(&bind, hidden),
            opened: Cell::new(None),
            sent: self.observations.sequence(),
            ran: Cell::new(false),
            suspended: Cell::new(false),
            write: RefCell::new(None),
            guards: RefCell::new(made),
            heard: RefCell::new(None),
            executed,
            shows: Shows::default(),
            named: !bind.portal.is_empty(),
            fetched: RefCell::new(fetched),
            described: Cell::new(false),
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
        if portal.prepared.params.known > 0
            && !self.queue.is_empty()
            && self.decide_guards(&portal.prepared.clone(), &bind).1
        {
            self.drain(out);
            return Lane::Later;
        }
        if portal.guards.borrow().is_none() && self.bind_asks(&portal.prepared, &bind, Err(Reason::Batch)) {
            return Lane::Later;
        }
        self.send_bind(&bind, portal, Err(Reason::Batch), out);
        Lane::Done
    }

    /// Sends a Bind with what the proxy adds to it. `allowed`: the predicate form may be used.
    pub(super) fn send_bind(
        &mut self,
        bind: &Bind<'_>,
        portal: Rc<Portal>,
        allowed: Result<(), Reason>,
        out: &mut Out,
    ) -> bool {
        let prepared = portal.prepared.clone();
        let bind = &Bind { result_formats: prepared.result_formats(bind), ..*bind };
        let values =
            Values { bind: Some(bind), arguments: None, oids: &prepared.oids, encoding: self.lex.encoding };
        if let Some(statement) = prepared.statement() {
            self.enter_ahead(statement);
            *portal.heard.borrow_mut() =
                self.heard(portal.acting().statement().unwrap_or(statement), &values);
        }
        let now = self.now();
        let mut write = writes::decide(&prepared.plan, &values, allowed, &mut self.observations, now);
        let mut guarded = false;
        let mut text = None;
        let mut binary = None;
        if let Some(write) = &mut write
            && write.is_checked()
        {
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
        let added = AddedParam { text: text.as_ref().map(|t| t.as_bytes()), binary: binary.as_deref() };
        let handled = write.as_ref().is_none_or(|w| w.is_guarded());
        let guards = match portal.guards.take() {
            Some(guards) => Some(guards),
            None => (handled && !prepared.plan.statements.is_empty())
                .then(|| self.decide_guards(&prepared, bind).0),
        };
        let needs_known = prepared.statement().is_some_and(StatementPlan::takes_guard);
        let guards = match guards {
            Some(guards) if needs_known && prepared.params.known == 0 => Some(guards.without_parameter()),
            guards => guards,
        };
        let json = guards.as_ref().filter(|_| prepared.params.known > 0).and_then(Guards::parameter);
        let jsonb = json.as_ref().map(|text| [&[1], text.as_bytes()].concat());
        let known = AddedParam { text: json.as_ref().map(|t| t.as_bytes()), binary: jsonb.as_deref() };
        let mut params: smallvec::SmallVec<[AddedParam<'_>; 2]> = smallvec::SmallVec::new();
        if prepared.params.version > 0 {
            params.push(added);
        }
        if prepared.params.known > 0 {
            params.push(known);
        }
        *portal.guards.borrow_mut() = guards;
        let visible = portal.result_formats.len();
        let hidden = portal.hidden();
        let columns = (hidden > 0).then_some((visible, hidden));
        let refusal = write.as_ref().and_then(|write| self.refuses(write, true));
        let bytes = out.as_bytes_mut();
        if let Some(refusal) = refusal {
            // Its error is the Bind's.
            put(build::parse(bytes, OWN_NAME, refusal.text(&self.nonce).as_bytes(), &[]));
            let undo = self.names.set_portal(bind.portal, Some(portal.clone()));
            self.expect(Kind::Bind, Detail::Bind(portal, undo));
            return false;
        }
        // More formats than a frame can name are the client's mistake, which the server has words for.
        put(edit::bind_with(bytes, bind, &params, columns) || edit::bind_with(bytes, bind, &params, None));
        *portal.write.borrow_mut() = write;
        let undo = self.names.set_portal(bind.portal, Some(portal.clone()));
        self.expect(Kind::Bind, Detail::Bind(portal, undo));
        guarded
    }

    /// The guards of a statement with the values of a Bind, and whether it must wait for earlier writes.
    pub(super) fn decide_guards(&mut self, prepared: &Prepared, bind: &Bind<'_>) -> (Guards, bool) {
        if self.queue.is_empty() {
            // Also in the midst of a cycle: Flush has brought every answer.
            self.in_flight.clear();
        }
        if let Some(statement) = prepared.statement() {
            self.enter_ahead(statement);
        }
        let scene = Scene {
            values: Values {
                bind: Some(bind),
                arguments: None,
                oids: &prepared.oids,
                encoding: self.lex.encoding,
            },
            open: OpenCursors {
                names: &self.names,
                cursors: &self.cursors,
                before: &[],
                in_flight: !self.queue.is_empty(),
            },
            place: self.place(),
            behind_end: false,
            own_writes: !self.subtransaction && prepared.params.own_writes,
            prepared: true,
            max_rows: self.shared.settings.guard_max_rows,
            now: self.now(),
        };
        let Some(statement) = prepared.statement() else { return (Guards::default(), false) };
        let (mut guards, unsettled) =
            guards::decide(statement, &scene, &self.in_flight, &mut self.observations);
        if statement.takes_guard() && prepared.params.known == 0 {
            // The text has no room for one.
            guards.only_bump();
        }
        (guards, unsettled)
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
