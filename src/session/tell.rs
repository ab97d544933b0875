//! Telling the client and the log of a conflict.

use super::guards::{GuardedRow, Guards};
use super::observed::Expectation;
use super::put;
use super::refuse::unseen;
use super::server::Fate;
use super::state::Session;
use crate::conflict::{BlindReport, ConflictEvent, ConflictReport, Connection, Source, Unseen, ascii_fields};
use crate::observe::{Lookup, RowKey};
use crate::rewrite::guard::parse_raise;
use crate::rewrite::plan::{Plan, Reason};
use crate::sql::encoding::Encoding;
use crate::sql::keys::join_key;
use crate::telemetry::metrics::WriteOutcome;
use crate::wire::buffer::Out;
use crate::wire::build;
use crate::wire::read::read_error_fields;

impl Session {
    /// A guard has raised: the client gets the conflict in the place of the server's 22P02.
    pub fn raised(
        &mut self,
        body: &[u8],
        plan: &Plan,
        guards: &[Option<Guards>],
        client: &mut Out,
    ) -> Option<Fate> {
        let fields = read_error_fields(body).filter(|f| f.sqlstate() == Some(b"22P02"))?;
        // In the language of the server and the encoding of the client; our part of it is ASCII.
        let message = String::from_utf8_lossy(fields.get(b'M')?);
        let raised = parse_raise(&message, &self.nonce)?;
        let site = plan.statements.get(raised.statement)?.sites.get(raised.site)?;
        let guard = guards.get(raised.statement)?.as_ref()?.0.get(raised.site)?;
        let key = join_key(&raised.key);
        let row = guard.rows.iter().find(|r| r.row.key == key);
        if row.is_none() && !site.is_strict() {
            return None;
        }
        let table = &site.table;
        let expectation = row.map_or_else(
            || Expectation {
                key: raised.key.iter().map(|part| part.as_str().into()).collect(),
                expected: 0,
                source: Source::Nobody,
                seen: None,
            },
            GuardedRow::expectation,
        );
        let report = self.report(table, &expectation, Some(raised.actual));
        let now = self.now();
        match row.map(|r| r.row.clone()) {
            Some(row) => {
                self.tell(&report, client);
                self.conflicted(&table.entity, &row, expectation.expected, Some(raised.actual));
            }
            None => {
                let row = RowKey::new(table.root_oid, key);
                let unseen = match self.observations.expected(&row, &site.sets, now) {
                    _ if site.reason == Reason::CurrentOf => Unseen::Cursor,
                    Lookup::Known { .. } => Unseen::Overflow,
                    Lookup::Unknown(cause) => unseen(cause),
                };
                self.tell_blind(BlindReport { row: report, unseen }, client);
            }
        }
        self.errored = true;
        Some(Fate::Gone)
    }

    /// Sends the conflict error, counts and logs it.
    pub fn tell(&mut self, report: &ConflictReport, client: &mut Out) {
        self.put_error(report.fields(), client);
        self.shared.metrics.conflict(&report.entity);
        self.shared.metrics.write(&report.entity, WriteOutcome::Conflict);
        self.event(report, |event| event.emit());
    }

    /// Logs a conflict, or what would have been one.
    pub fn event(&self, report: &ConflictReport, emit: impl FnOnce(&ConflictEvent<'_>)) {
        let client_address = self.facts.peer.to_string();
        emit(&ConflictEvent {
            report,
            connection: self.connection(&client_address),
            user_id: self.user().as_deref(),
        });
    }

    /// Sends an error of the proxy's own words.
    pub(super) fn put_error(&self, fields: Vec<(u8, String)>, client: &mut Out) {
        let fields = match self.lex.encoding {
            Encoding::Utf8 => fields,
            _ => ascii_fields(fields),
        };
        put(build::error_response(client.as_bytes_mut(), &fields));
    }

    /// Who is connected, for the log.
    pub(super) fn connection<'a>(&'a self, client: &'a str) -> Connection<'a> {
        Connection {
            session: self.facts.id,
            database: &self.facts.database,
            role: &self.facts.user,
            application: &self.facts.application_name,
            client,
        }
    }
}
