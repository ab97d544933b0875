//! Writes that a setting refuses: blind ones, and statements that nothing could check.

use std::sync::Arc;

use bytes::Bytes;

use super::state::Session;
use super::writes::{Stance, Write};
use crate::catalog::{Blind, Mode, TableSettings, View};
use crate::config::OnUnparsed;
use crate::conflict::{BlindReport, Unseen};
use crate::observe::Cause;
use crate::rewrite::plan::{Effect, Plan, Reason};
use crate::rewrite::refuse::{self, Refusal, Rule};
use crate::telemetry::metrics::WriteOutcome;
use crate::telemetry::targets;
use crate::wire::buffer::Out;
use crate::wire::read::read_error_fields;
use crate::wire::tag::back;

/// SQLSTATE of a statement that is refused because nothing could check it: feature_not_supported.
const CANNOT_CHECK: &str = "0A000";

/// As the error words it.
pub(super) fn unseen(cause: Cause) -> Unseen {
    match cause {
        Cause::NeverRead => Unseen::NeverRead,
        Cause::NoLabel => Unseen::NoLabel,
        Cause::Expired | Cause::Evicted => Unseen::Dropped,
        Cause::Forgotten | Cause::Trigger => Unseen::Forgotten,
        Cause::Cursor => Unseen::Cursor,
        Cause::Store => Unseen::Store,
    }
}

impl Session {
    /// Logs, once per text, that a statement is not understood well enough to be changed. Not the text: it holds values.
    pub(super) fn log_unparsed(&self, text: &[u8], plan: &Plan) {
        let unchecked = plan.statements.iter().flat_map(|s| &s.unchecked);
        let unparsed = unchecked.filter(|u| u.reason == Reason::Unparsed);
        let mut tables: Vec<&str> = unparsed.map(|u| &*u.table).collect();
        if tables.is_empty() || !self.shared.told.is_news(text) {
            return;
        }
        tables.sort_unstable();
        tables.dedup();
        tracing::warn!(target: targets::REWRITE, session = self.facts.id, database = %self.facts.database,
            tables = %tables.join(", "), reason = Reason::Unparsed.label(), length = text.len(),
            "a statement may write protected tables, and its clauses are not certain");
    }

    /// The plan with every statement that a setting refuses replaced by one that fails. `prepared`: what is known of
    /// rows can only travel as a parameter.
    pub(super) fn with_refusals(&self, plan: Arc<Plan>, prepared: bool) -> Arc<Plan> {
        if !self.shared.refuses {
            return plan;
        }
        let Some(view) = self.view_arc() else { return plan };
        let mut out = plan;
        for n in 0..out.statements.len() {
            if let Some(refusal) = self.refusal(&out, n, &view, prepared) {
                out = Arc::new(out.refusing(n, &refusal, &self.nonce));
            }
        }
        out
    }

    fn refusal(&self, plan: &Plan, n: usize, view: &View, prepared: bool) -> Option<Refusal> {
        let statement = plan.statements.get(n)?;
        let strict = |oid: u32, reason: Reason| {
            let checked =
                |s: &TableSettings| s.mode == Mode::Enforce && (s.check_delete || reason != Reason::Delete);
            view.table_by_oid(oid).is_some_and(|t| t.settings.blind == Blind::Reject && checked(&t.settings))
        };
        let unparsed = self.shared.settings.on_unparsed == OnUnparsed::Reject;
        if let Some(prepare) = &statement.prepares {
            return refuse::refusal(&prepare.inner, unparsed, strict, false, true);
        }
        if let Effect::Execute(name) = &statement.effect
            && let Some(named) = self.names.statement(name.as_bytes())
            && let Some(executed) = named.statement()
        {
            let guarded = named.params.known > 0 || !executed.takes_guard();
            return if guarded {
                refuse::refusal(executed, unparsed, strict, false, true)
            } else {
                refuse::of_execute(executed)
            };
        }
        refuse::refusal(statement, unparsed, strict, true, prepared)
    }

    /// A point write whose table refuses blind writes is to be sent without a check: there is no guard for it, and
    /// the predicate form does not fit. `prepared`: what is known can only travel as a parameter.
    pub(super) fn refuses(&self, write: &Write, prepared: bool) -> Option<Refusal> {
        let reason = match write.stance {
            Stance::Guarded if write.row.is_none() => Reason::UnknownKey,
            Stance::Guarded => Reason::Batch,
            _ => return None,
        };
        let point = write.point()?;
        let statement = write.plan.statements.first()?;
        let site = statement.sites.get(point.site).filter(|s| s.is_strict())?;
        let guarded = if prepared { site.takes_parameter() } else { site.takes_guard() };
        if guarded {
            return None;
        }
        Some(Refusal::new(Rule::Blind, reason, &site.table.root_name))
    }

    /// The statement put in the place of a refused one has failed: the client is told why. False: it is another error.
    pub(super) fn told_refusal(&mut self, body: &[u8], client: &mut Out) -> bool {
        if !self.shared.refuses {
            return false;
        }
        let Some(fields) = read_error_fields(body).filter(|f| f.sqlstate() == Some(b"22P02")) else {
            return false;
        };
        // In the language of the server and the encoding of the client; our part of it is ASCII.
        let message = String::from_utf8_lossy(fields.get(b'M').unwrap_or_default());
        let Some(refusal) = Refusal::read(&message, &self.nonce) else { return false };
        self.errored = true;
        let error = self.refusal_error(&refusal);
        super::frame_out(client, back::ERROR, &error);
        true
    }

    /// Body of the error that tells of a refused statement, which is counted and logged.
    pub(super) fn refusal_error(&self, refusal: &Refusal) -> Bytes {
        let Refusal { rule, reason, table } = refusal;
        let (message, hint) = match rule {
            Rule::Unparsed => (
                format!(
                    "a write of {table} is refused: its clauses are not certain, and on_unparsed is \"reject\""
                ),
                "Check its syntax, and send it in a message of its own.",
            ),
            Rule::Blind => (
                format!(
                    "a write of {table} is refused: it cannot be checked ({reason}), and blind is \"reject\""
                ),
                "Name the rows by their key, in an UPDATE of the table itself or a DELETE that stands alone.",
            ),
        };
        let texts = [(b'S', "ERROR"), (b'V', "ERROR"), (b'C', CANNOT_CHECK), (b'M', &*message), (b'H', hint)];
        let mut fields: Vec<(u8, String)> = texts.map(|(code, text)| (code, text.to_owned())).to_vec();
        fields.push((b't', table.to_string()));
        let mut out = Out::default();
        self.put_error(fields, &mut out);
        self.shared.metrics.refused_statement(table, reason);
        tracing::warn!(target: targets::REWRITE, session = self.facts.id, database = %self.facts.database,
            table = %table, reason = %reason, "refused a write that could not be checked");
        Bytes::copy_from_slice(out.as_bytes_mut().get(5..).unwrap_or_default())
    }

    /// Tells the client that its blind write is refused, counts and logs it.
    pub(super) fn tell_blind(&mut self, report: BlindReport, client: &mut Out) {
        self.put_error(report.fields(), client);
        self.note_blind(&report);
    }

    /// Counts and logs a blind write that is refused.
    pub(super) fn note_blind(&self, report: &BlindReport) {
        self.shared.metrics.write(&report.row.entity, WriteOutcome::Refused);
        let address = self.facts.peer.to_string();
        report.emit(self.connection(&address), self.user().as_deref());
    }
}
