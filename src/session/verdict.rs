//! Zero rows of a checked write: find out why before saying so.
//!
//! The server's `UPDATE 0` is kept back. At ReadyForQuery the row is probed by its key; then either the kept
//! reply goes out as it is, or the conflict error does. In a transaction block the server is made to fail
//! first, so that the transaction's status stays its own truth.

use bytes::Bytes;

use super::observed::Expectation;
use super::own::{Exchange, Own, OwnStatement, Value};
use super::put;
use super::refuse::unseen;
use super::state::Session;
use super::writes::{Stance, Write};
use crate::catalog::{Column, Table};
use crate::conflict::{self, BlindReport, Probed, Source, ZeroRows};
use crate::rewrite::plan::{Rest, Verb};
use crate::sql::ident::quote_ident;
use crate::sql::keys::KeyType;
use crate::telemetry::metrics::{Observed, WriteOutcome};
use crate::telemetry::targets;
use crate::wire::buffer::Out;
use crate::wire::tag::back;
use crate::wire::{build, edit};

/// What makes the server fail: an error that names us in its log, without any value. Its Parse always fails.
const FAILING_TEXT: &[u8] =
    b"SELECT CAST('staleguard: version conflict, see the error sent to the client' AS pg_catalog.int4)";

/// A checked write that found no row.
#[derive(Debug)]
pub(crate) struct Verdict {
    write: Write,
    /// The CommandComplete frame kept back.
    complete: Bytes,
    /// The version found.
    actual: Option<i64>,
    /// Parameter types of the client's statement, once known.
    types: Vec<u32>,
}

impl Verdict {
    pub fn new(write: Write, complete: &[u8]) -> Self {
        Self { write, complete: Bytes::copy_from_slice(complete), actual: None, types: Vec::new() }
    }

    /// The reply that is kept back.
    pub fn complete(&self) -> &[u8] {
        &self.complete
    }
}

/// Parameters of the probe in their order.
struct ProbeText {
    text: Vec<u8>,
    oids: Vec<u32>,
    formats: Vec<i16>,
    values: Vec<Option<Vec<u8>>>,
}

impl Session {
    /// The server is at ReadyForQuery behind a checked write that found no row: begin to find out why.
    pub fn begin_probe(&mut self, out: &mut Out) {
        let Some(verdict) = &self.verdict else { return };
        // The rest of the WHERE needs the types of the parameters that it names; the client's statement is
        // still on the server, since everything behind the write is held back.
        let prepared = verdict.write.prepared.clone();
        if let (Some(prepared), true) = (prepared, needs_types(&verdict.write)) {
            let known = prepared.param_types.borrow().clone();
            match known {
                Some(types) => {
                    if let Some(verdict) = &mut self.verdict {
                        verdict.types = types.to_vec();
                    }
                }
                None => return self.own_describe(out, &prepared.name),
            }
        }
        self.send_probe(out);
    }

    fn send_probe(&mut self, out: &mut Out) {
        let Some(probe) = self.verdict.as_ref().and_then(|v| probe_text(v)) else { return };
        let values: Vec<Value<'_>> = probe.values.iter().map(Option::as_deref).collect();
        self.own_send(
            out,
            Exchange::Probe,
            Some(OwnStatement {
                text: &probe.text,
                oids: &probe.oids,
                formats: &probe.formats,
                values: &values,
            }),
            None,
            true,
        );
    }

    /// The types of the client's statement are in (or could not be had).
    pub fn types_known(&mut self, own: Own, client: &mut Out, server: &mut Out) {
        if let Some(error) = own.error {
            return self.reply_with_own_error(&error, client);
        }
        if let Some(verdict) = &mut self.verdict {
            verdict.types = own.types.unwrap_or_default();
        }
        self.send_probe(server);
    }

    /// The probe's answer is in.
    pub fn probed(&mut self, own: Own, client: &mut Out, server: &mut Out) {
        if let Some(error) = own.error {
            return self.reply_with_own_error(&error, client);
        }
        let now = self.now();
        let Some(verdict) = &mut self.verdict else { return };
        let Some(point) = verdict.write.point() else { return };
        let probe = own.rows.first().and_then(|row| {
            let version = text(row.first())?.parse::<i64>().ok()?;
            let rest = match text(row.get(1)) {
                Some("true" | "t") => Some(true),
                Some(_) => Some(false),
                // NULL: the condition does not hold.
                None if matches!(point.rest, Rest::Evaluable(_)) => Some(false),
                None => None,
            };
            Some(Probed { version, rest })
        });
        let Some(expected) = verdict.write.expected() else { return };
        let deleted_by_us =
            verdict.write.row.as_ref().is_some_and(|row| self.observations.deleted_by_us(row, now));
        let decision = conflict::judge(ZeroRows {
            probe,
            expected,
            on_deleted: point.table.settings.on_deleted,
            partial: point.partial,
            deleted_by_us,
            is_delete: point.verb == Verb::Delete,
            blind: verdict.write.is_refused(),
        });
        match decision {
            conflict::Verdict::Pass(reason) => {
                self.shared.metrics.zero_row_probe(reason.label());
                if verdict.write.observed().is_some() {
                    self.shared.metrics.observed(&point.table.entity, Observed::Pass);
                }
                self.pass_zero(client);
            }
            conflict::Verdict::Conflict { actual } => {
                let blind = verdict.write.is_refused();
                self.shared.metrics.zero_row_probe(if blind { "blind" } else { "conflict" });
                if let Some(row) = verdict.write.observed() {
                    let table = point.table.clone();
                    self.would_conflict(&table, &row, actual);
                    return self.pass_zero(client);
                }
                if verdict.write.reports_only() {
                    self.shared.metrics.conflict(&point.table.entity);
                    return self.pass_zero(client);
                }
                verdict.actual = actual;
                self.refuse(client, server);
            }
        }
    }

    fn refuse(&mut self, client: &mut Out, server: &mut Out) {
        let Some(verdict) = &self.verdict else { return };
        let Some(point) = verdict.write.point() else { return };
        let table = point.table.clone();
        let columns: Vec<&Column> = match verdict.actual {
            Some(_) => conflict::state_columns(&table, &point.sets, table.settings.current_state),
            None => Vec::new(),
        };
        let fail = (self.status == b'T').then_some(FAILING_TEXT);
        let key = verdict.write.key.clone();
        let state = conflict::state_query(&table, &columns);
        match (state, fail) {
            (None, None) => self.told(None, client),
            (state, fail) => {
                let values: Vec<Value<'_>> = key.iter().map(|k| Some(k.as_bytes())).collect();
                let run = state.as_ref().map(|text| OwnStatement {
                    text: text.text.as_bytes(),
                    oids: &text.parameter_types,
                    formats: &[],
                    values: &values,
                });
                self.own_send(server, Exchange::Refuse, run, fail, true);
            }
        }
    }

    /// The state has been read and the transaction, if there is one, has failed.
    pub fn refused(&mut self, own: Own, client: &mut Out) {
        let state = own.shown_state();
        if self.status == b'T' {
            // The server would not fail: an error now would be a lie about its transaction.
            tracing::error!(target: targets::SESSION, session = self.facts.id,
                "the server did not fail where it was made to; the connection is closed");
            return self.close_with(
                client,
                "XX000",
                "staleguard could not make the transaction fail after a version conflict",
            );
        }
        self.told(state, client);
    }

    /// Tells the client of the conflict.
    fn told(&mut self, state: Option<String>, client: &mut Out) {
        let Some(verdict) = self.verdict.take() else { return };
        let Some(point) = verdict.write.point() else { return };
        let (expected, source, seen) = match verdict.write.stance {
            Stance::Checked { expected, source, seen } => (expected, source, seen),
            Stance::Refused(_) => (0, Source::Nobody, None),
            _ => return,
        };
        let row = Expectation { key: verdict.write.key.clone(), expected, source, seen };
        let mut report = self.report(&point.table, &row, verdict.actual);
        report.current_state = state;
        match verdict.write.stance {
            Stance::Refused(cause) => {
                self.tell_blind(BlindReport { row: report, unseen: unseen(cause) }, client)
            }
            _ => self.tell(&report, client),
        }
        put(build::ready(client.as_bytes_mut(), self.status));
        if let (Some(row), Stance::Checked { .. }) = (&verdict.write.row, &verdict.write.stance) {
            self.conflicted(&point.table.entity, row, expected, verdict.actual);
        }
        self.wait = None;
        self.client_ready(self.status, true);
    }

    /// Zero rows for another reason: the server's own reply.
    fn pass_zero(&mut self, client: &mut Out) {
        let Some(verdict) = self.verdict.take() else { return };
        client.extend(&verdict.complete);
        put(build::ready(client.as_bytes_mut(), self.status));
        if let Some(point) = verdict.write.point() {
            self.shared.metrics.write(&point.table.entity, WriteOutcome::PassedZero);
        }
        self.wait = None;
        self.client_ready(self.status, false);
    }

    /// The proxy's own message failed (cancelled, timed out): its error is the statement's reply.
    fn reply_with_own_error(&mut self, body: &[u8], client: &mut Out) {
        self.verdict = None;
        forward_error(client, body);
        put(build::ready(client.as_bytes_mut(), self.status));
        self.shared.metrics.zero_row_probe("failed");
        self.wait = None;
        self.client_ready(self.status, true);
    }
}

/// An error of the proxy's own message, without the position that points into a text the client never sent.
pub(crate) fn forward_error(out: &mut Out, body: &[u8]) {
    match crate::wire::read::read_error_fields(body) {
        Some(fields) => {
            put(edit::error_with(out.as_bytes_mut(), back::ERROR, &fields, &[(b'P', None)]));
        }
        None => {
            let fields =
                [(b'S', "ERROR"), (b'V', "ERROR"), (b'C', "XX000"), (b'M', "unreadable server error")];
            put(build::error_response(
                out.as_bytes_mut(),
                &fields.map(|(code, value)| (code, value.to_owned())),
            ));
        }
    }
}

/// The body of such an error.
pub(crate) fn without_position(body: &[u8]) -> Bytes {
    let mut out = Out::default();
    forward_error(&mut out, body);
    Bytes::copy_from_slice(out.as_bytes_mut().get(5..).unwrap_or_default())
}

fn needs_types(write: &Write) -> bool {
    write.values.is_some()
        && write.point().is_some_and(|p| match &p.rest {
            Rest::Evaluable(text) => text.contains('$'),
            _ => false,
        })
}

/// A value of an own result as text.
fn text(value: Option<&Option<Bytes>>) -> Option<&str> {
    std::str::from_utf8(value?.as_ref()?).ok()
}

/// The key type's name in `pg_catalog`. A varchar key is compared as text: a cast to varchar changes nothing else.
fn key_type_name(oid: u32) -> Option<&'static str> {
    Some(match KeyType::from_oid(oid)? {
        KeyType::Int2 => "int2",
        KeyType::Int4 => "int4",
        KeyType::Int8 => "int8",
        KeyType::Uuid => "uuid",
        KeyType::Text | KeyType::Varchar => "text",
        KeyType::Bpchar => "bpchar",
        KeyType::Numeric => "numeric",
        KeyType::Bool => "bool",
        KeyType::Date => "date",
        KeyType::Timestamp => "timestamp",
    })
}

/// `SELECT t.version, (rest) FROM target WHERE t.key = $n::type`.
fn probe_text(verdict: &Verdict) -> Option<ProbeText> {
    let point = verdict.write.point()?;
    let table: &Table = &point.table;
    let version = quote_ident(&table.version_column()?.name);
    let mut oids = Vec::new();
    let mut formats = Vec::new();
    let mut values: Vec<Option<Vec<u8>>> = Vec::new();
    let mut rest = String::from("NULL::pg_catalog.bool");
    if let Rest::Evaluable(text) = &point.rest {
        rest = format!("({text})");
        if let (true, Some(bound)) = (needs_types(&verdict.write), &verdict.write.values) {
            // The client's own parameters keep their numbers; those the condition does not name are sent
            // as they are, their types being known.
            for (i, value) in bound.values.iter().enumerate() {
                oids.push(verdict.types.get(i).copied().unwrap_or(0));
                formats.push(bound.formats.get(i).copied().unwrap_or(0));
                values.push(value.clone());
            }
        }
    }
    let mut conditions = Vec::new();
    for (column, key) in table.key_columns().zip(&verdict.write.key) {
        values.push(Some(key.as_bytes().to_vec()));
        oids.push(0);
        formats.push(0);
        conditions.push(format!(
            "{}.{} OPERATOR(pg_catalog.=) ${}::pg_catalog.{}",
            point.reference,
            quote_ident(&column.name),
            values.len(),
            key_type_name(column.type_oid)?,
        ));
    }
    let text = format!(
        "SELECT {}.{version}::pg_catalog.text, ({rest})::pg_catalog.text FROM {} WHERE {}",
        point.reference,
        point.target,
        conditions.join(" AND "),
    );
    Some(ProbeText { text: text.into_bytes(), oids, formats, values })
}

impl Session {
    /// A client-visible ReadyForQuery has been written (or is about to be): settle own writes and portals.
    pub fn client_ready(&mut self, status: u8, failed: bool) {
        let failed = failed || self.errored;
        self.errored = false;
        self.cycle.answered = if self.queue.is_empty() { self.cycle.number } else { self.cycle.answered + 1 };
        self.text_settled();
        if status == b'I' {
            let may_have_committed = std::mem::take(&mut self.may_have_committed);
            if failed {
                if may_have_committed {
                    // Which of its writes are there to stay is not known.
                    let now = self.now();
                    self.observations.forget_written(now);
                }
                self.rolled_back();
            } else {
                self.committed();
            }
            self.names.transaction_over(self.cycle.answered);
            self.cursors.transaction_over(!failed);
            self.subtransaction &= !self.queue.is_empty();
            self.text_moved &= !self.queue.is_empty();
            if self.view_private {
                self.view_private = false;
                self.view_outdated = true;
            }
        }
        self.whose.ready();
        if self.queue.is_empty() {
            self.in_flight.clear();
        }
        self.measured.update(&self.observations);
    }
}
