//! PREPARE, EXECUTE and DEALLOCATE in SQL.
//!
//! They share their names with the statements of Parse, on the server as in [`super::prepared::Names`]: what either
//! has made the other may bind, execute or close. A statement that the server has with more parameters than the
//! client knows of gets them from its Bind, or here as arguments spliced into its EXECUTE.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;

use super::client::Lane;
use super::cursors::OpenCursors;
use super::guards::{self, Guards, Scene};
use super::in_flight::Place;
use super::prepared::{Portal, Prepared};
use super::state::Session;
use super::writes::{Arguments, Values};
use crate::rewrite::hint;
use crate::rewrite::plan::{Effect, Execute, Plan, Prepare, Reason, StatementPlan, UncheckedWrite};
use crate::rewrite::render::{self, Checks, HiddenParams, Rendered, jsonb, render_query};
use crate::wire::buffer::Out;
use crate::wire::edit;
use crate::wire::read::read_error_fields;
use crate::wire::tag::back;

/// The function of the server that counts an EXECUTE's arguments.
const COUNTS_ARGUMENTS: &[u8] = b"EvaluateParams";

/// A statement of Parse may be an EXECUTE, which names another. Further than this such names are not followed.
const MAX_DEPTH: usize = 8;

impl Prepared {
    /// What it names, if it is an EXECUTE.
    fn names(&self) -> Option<&Execute> {
        self.statement()?.execute.as_ref()
    }

    /// The arguments that an EXECUTE of it needs beside the client's; `json` is what is known of rows.
    fn added_arguments(&self, json: Option<&str>) -> Option<String> {
        let mut out = Vec::new();
        if self.params.version > 0 {
            let point = self.statement().and_then(|s| s.point.as_ref())?;
            out.push(format!("NULL::pg_catalog.{}", point.table.version_type.sql_name()));
        }
        if self.params.known > 0 {
            out.push(jsonb(json));
        }
        (!out.is_empty()).then(|| out.join(", "))
    }

    /// Those arguments for the text of the EXECUTE.
    pub fn arguments<'a>(&self, added: Option<&'a str>) -> Option<render::Arguments<'a>> {
        Some(render::Arguments { added: added?, own_ignored: self.own_params() == 0 })
    }
}

impl Portal {
    /// What its Execute runs: the statement bound, or the one that an EXECUTE names.
    pub fn acting(&self) -> &Rc<Prepared> {
        self.run_by_name().unwrap_or(&self.prepared)
    }

    /// The statement that its EXECUTE runs.
    pub fn run_by_name(&self) -> Option<&Rc<Prepared>> {
        self.executed.as_ref().filter(|_| self.prepared.statement().is_some_and(runs))
    }
}

/// The statement named runs when this statement does.
pub(super) fn runs(statement: &StatementPlan) -> bool {
    statement.execute.as_ref().is_some_and(|e| e.runs)
}

/// A statement to bind: as the server has it now, what its EXECUTE names, and with which guards it runs.
pub(super) type Bound = (Rc<Prepared>, Option<Rc<Prepared>>, Option<Guards>);

impl Session {
    /// The text gives or takes names of prepared statements.
    pub(super) fn notes_names(&mut self, plan: &Plan) {
        self.naming |= plan
            .statements
            .iter()
            .any(|s| matches!(s.effect, Effect::Prepare(_) | Effect::Deallocate(_) | Effect::DiscardAll));
    }

    /// The text runs EXECUTE for a name of which messages in flight decide what it stands for: wait for them.
    pub(super) fn awaits_names(&mut self, plan: &Plan, out: &mut Out) -> bool {
        plan.statements.iter().filter_map(|s| s.execute.as_ref()).any(|execute| {
            let mut name = Some(execute.name.clone());
            let mut depth = 0;
            while let Some(next) = name.filter(|_| depth < MAX_DEPTH) {
                let pending = self.names.is_pending(next.as_bytes());
                if self.waits_for_name(next.as_bytes(), pending, out) {
                    return true;
                }
                name = self.names.statement(next.as_bytes()).and_then(|p| Some(p.names()?.name.clone()));
                depth += 1;
            }
            false
        })
    }

    /// The statement of this name, or the one that it names itself, as the server must have it to run it by name: if it
    /// has it otherwise.
    pub(super) fn restated(&mut self, name: &str, depth: usize) -> Option<Rc<Prepared>> {
        let old = self.names.statement(name.as_bytes()).filter(|p| !p.from_sql && depth < MAX_DEPTH)?.clone();
        if old.has_hidden_result() {
            let plan = Arc::new(old.plan.with_own_result());
            return Some(self.prepare(&old.name, old.text.clone(), old.oids.clone(), plan));
        }
        if let Some(inner) = self.restated(&old.names()?.name.clone(), depth + 1) {
            return Some(inner);
        }
        // With as many arguments as the server counts now, and nothing of what was known when it was bound last.
        let rendered = self.render_execute(&old.plan, &old.text)?;
        (rendered.as_ref().map(|r| &r.text) != old.rendered.as_ref().map(|r| &r.text))
            .then(|| Rc::new(Prepared { rendered, seq: self.next_seq(), ..Prepared::clone(&old) }))
    }

    /// The statement that runs in the end where this name is executed.
    pub(super) fn innermost(&self, name: &str) -> Option<&Rc<Prepared>> {
        let mut found = self.names.statement(name.as_bytes())?;
        for _ in 0..MAX_DEPTH {
            let Some(next) = found.names() else { return Some(found) };
            found = self.names.statement(next.name.as_bytes())?;
        }
        None
    }

    /// The writes of what an EXECUTE runs that is run by name itself: they carry nothing of what is known.
    pub(super) fn nested_writes(&self, executed: &Prepared) -> Vec<UncheckedWrite> {
        let named = executed.names().and_then(|e| self.innermost(&e.name));
        named.and_then(|p| p.statement()).map_or_else(Vec::new, |s| s.all_writes(Reason::Nested))
    }

    /// What each EXECUTE of the text stands for, as far as it is known here.
    pub(super) fn executed(&mut self, plan: &Plan, text: &[u8]) -> Vec<Option<Rc<Prepared>>> {
        if plan.statements.iter().all(|s| s.execute.is_none()) {
            return Vec::new();
        }
        let mut own: HashMap<Box<str>, Option<Rc<Prepared>>> = HashMap::new();
        let mut cleared = false;
        let mut out = Vec::with_capacity(plan.statements.len());
        for statement in &plan.statements {
            match &statement.effect {
                Effect::Deallocate(Some(name)) => {
                    own.insert(name.clone(), None);
                }
                Effect::Deallocate(None) | Effect::DiscardAll => {
                    own.clear();
                    cleared = true;
                }
                _ => {}
            }
            if let Some(prepare) = &statement.prepares {
                let text = Bytes::copy_from_slice(text);
                let made = self.made_in_sql(prepare, text, None, 0);
                own.insert(prepare.name.clone(), Some(made));
            }
            out.push(statement.execute.as_ref().and_then(|e| match own.get(&e.name) {
                Some(made) => made.clone(),
                None if cleared => None,
                None => self.names.statement(e.name.as_bytes()).cloned(),
            }));
        }
        out
    }

    fn made_in_sql(
        &self,
        prepare: &Prepare,
        text: Bytes,
        rendered: Option<Rendered>,
        seq: u64,
    ) -> Rc<Prepared> {
        Rc::new(Prepared {
            seq,
            name: prepare.name.as_bytes().into(),
            text,
            oids: prepare.types.clone(),
            plan: Arc::new(prepare.plan()),
            generation: self.generation(),
            rendered,
            params: HiddenParams { version: 0, known: prepare.known(), own_writes: prepare.own_writes() },
            hidden: 0,
            hidden_result: false,
            from_sql: true,
            fetched_hidden: 0,
            layout: RefCell::new(None),
            param_types: RefCell::new(None),
            described_in: Cell::new(u64::MAX),
            lost: Cell::new(false),
        })
    }

    /// A PREPARE has completed.
    pub(super) fn prepared_in_sql(
        &mut self,
        prepare: &Prepare,
        text: &Bytes,
        rendered: Option<&Rendered>,
        seq: u64,
    ) {
        let made = self.made_in_sql(prepare, text.clone(), rendered.cloned(), seq);
        self.names.made(made);
    }

    /// The text of a Parse of an EXECUTE, as long as its Bind has not said what is known. `None`: it is no such text.
    pub(super) fn render_execute(&mut self, plan: &Plan, text: &[u8]) -> Option<Option<Rendered>> {
        plan.statements.first()?.execute.as_ref()?;
        let prepared = self.executed(plan, text).pop().flatten();
        let added = prepared.as_ref().and_then(|p| p.added_arguments(None));
        let arguments = prepared.as_ref().and_then(|p| p.arguments(added.as_deref()));
        let checks = [Checks { arguments, ..Checks::default() }];
        Some(render_query(plan, text, &checks, &self.nonce))
    }

    /// The guards of what an EXECUTE runs, the arguments to add to it, and whether it must wait for earlier writes.
    pub(super) fn decide_execute(
        &mut self,
        execute: &Execute,
        prepared: &Prepared,
        text: &[u8],
        place: Place,
        behind_end: bool,
    ) -> (Option<Guards>, Option<String>, bool) {
        let Some(statement) = prepared.statement().filter(|_| execute.runs) else {
            return (None, prepared.added_arguments(None), false);
        };
        let hinted = execute.hint.and_then(|version| hint::executed(statement, version));
        let statement = hinted.as_ref().unwrap_or(statement);
        let lex = self.lex;
        let scene = Scene {
            values: Values {
                bind: None,
                arguments: Some(Arguments { text, ranges: &execute.arguments, lex: &lex }),
                oids: &prepared.oids,
                encoding: lex.encoding,
            },
            open: OpenCursors {
                names: &self.names,
                cursors: &self.cursors,
                before: &[],
                in_flight: !self.queue.is_empty(),
            },
            place,
            behind_end,
            own_writes: !self.subtransaction && prepared.params.own_writes,
            prepared: true,
            max_rows: self.shared.settings.guard_max_rows,
            now: self.now(),
        };
        let (guards, waits) = guards::decide(statement, &scene, &self.in_flight, &mut self.observations);
        let added = prepared.added_arguments(guards.parameter().as_deref());
        (Some(guards), added, waits)
    }

    /// A Bind of an EXECUTE: brings the arguments that the server has in its text up to date. `Err`: not now.
    pub(super) fn bind_execute(&mut self, outer: &Rc<Prepared>, out: &mut Out) -> Result<Bound, Lane> {
        let same = (outer.clone(), None, None);
        let Some(execute) = outer.statement().and_then(|s| s.execute.as_ref()) else { return Ok(same) };
        if self.has_failed() {
            return Ok(same);
        }
        if self.awaits_names(&outer.plan, out) || self.restates(&outer.plan, out) {
            return Err(Lane::Later);
        }
        if self.queue.is_empty() {
            // Also in the midst of a cycle: Flush has brought every answer.
            self.in_flight.clear();
        }
        let executed = self.executed(&outer.plan, &outer.text).pop().flatten();
        let (guards, added) = match &executed {
            Some(prepared) => {
                let place = self.place();
                let (guards, added, unsettled) =
                    self.decide_execute(execute, prepared, &outer.text, place, false);
                if unsettled && !self.queue.is_empty() {
                    self.drain(out);
                    return Err(Lane::Later);
                }
                if self.asks_store() {
                    return Err(Lane::Later);
                }
                (guards, added)
            }
            None => (None, None),
        };
        let arguments = executed.as_ref().and_then(|p| p.arguments(added.as_deref()));
        let checks = [Checks { arguments, ..Checks::default() }];
        let rendered = render_query(&outer.plan, &outer.text, &checks, &self.nonce);
        let mut now = outer.clone();
        if rendered.as_ref().map(|r| &r.text) != outer.rendered.as_ref().map(|r| &r.text) {
            let seq = self.next_seq();
            now = Rc::new(Prepared { rendered, seq, ..Prepared::clone(outer) });
            self.parse_again(now.clone(), out);
        }
        Ok((now, executed, guards))
    }

    /// Writes of what a PREPARE made that were no writes of a protected table when it was sent.
    pub(super) fn later_writes(&mut self, prepared: &Prepared) -> Vec<UncheckedWrite> {
        if !prepared.from_sql || prepared.generation == self.generation() {
            return Vec::new();
        }
        let Some(plan) = self.plan(&prepared.text) else { return Vec::new() };
        let named =
            |s: &&StatementPlan| s.prepares.as_ref().is_some_and(|p| p.name.as_bytes() == &*prepared.name);
        let Some(prepare) = plan.statements.iter().find(named).and_then(|s| s.prepares.as_ref()) else {
            return Vec::new();
        };
        let before: Vec<u32> = prepared
            .statement()
            .map_or_else(Vec::new, StatementPlan::unguarded)
            .iter()
            .map(|u| u.root_oid)
            .collect();
        let mut later = prepare.inner.unguarded();
        later.retain(|u| !before.contains(&u.root_oid));
        for write in &mut later {
            write.reason = Reason::Nested;
        }
        later
    }
}

/// Forwards the server's complaint about the number of an EXECUTE's arguments with the client's own counts: both
/// numbers of its DETAIL are too high by what was added. False if it is no such complaint.
pub(super) fn own_argument_counts(body: &[u8], executed: Option<&Rc<Prepared>>, client: &mut Out) -> bool {
    let added = executed.map_or(0, |p| p.added_params());
    let counts = |fields: &crate::wire::read::ErrorFields<'_>| {
        fields.sqlstate() == Some(b"42601") && fields.get(b'R') == Some(COUNTS_ARGUMENTS)
    };
    let Some(fields) = read_error_fields(body).filter(|f| added > 0 && counts(f)) else { return false };
    let Some(detail) = fields.get(b'D') else { return false };
    let mut told = Vec::with_capacity(detail.len());
    for run in detail.chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit()) {
        match std::str::from_utf8(run).ok().and_then(|digits| digits.parse::<usize>().ok()) {
            Some(number) => told.extend_from_slice(number.saturating_sub(added).to_string().as_bytes()),
            None => told.extend_from_slice(run),
        }
    }
    edit::error_with(client.as_bytes_mut(), back::ERROR, &fields, &[(b'D', Some(told))])
}
