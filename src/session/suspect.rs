//! `on_unparsed = "reject"`: a text that is about to be refused is shown to the server first, which may refuse it in
//! its own words. A Parse executes nothing, and fails a transaction block as the statement itself would.

use bytes::Bytes;

use super::detail::Detail;
use super::own::{Exchange, OWN_NAME, Own};
use super::put;
use super::queue::Kind;
use super::state::Session;
use crate::config::OnUnparsed;
use crate::rewrite::plan::Plan;
use crate::rewrite::refuse::{Refusal, Rule};
use crate::wire::buffer::Out;
use crate::wire::build;
use crate::wire::read::read_error_fields;

/// Where the server says that a text is of several statements. Of the first of them alone that is no error.
const SEVERAL: &[u8] = b"exec_parse_message";

/// Where it says that a text does not follow the grammar: of the whole text, before any of it is carried out.
const GRAMMAR: &[u8] = b"scanner_yyerror";

/// A text that the server is asked about.
#[derive(Debug)]
pub(crate) struct Suspect {
    refusal: Refusal,
    /// It came in a Query, and is one statement there; `None`: in a Parse.
    single: Option<bool>,
}

/// What is known of the text of the client's next message.
#[derive(Debug)]
pub(crate) enum Suspected {
    /// The server is being asked.
    Asked(Suspect),
    /// It would take it.
    Taken,
}

impl Session {
    /// The text holds a statement that is to be refused since its clauses are not certain, and the server is asked about
    /// it first: look at it again later.
    pub(super) fn asks_about(
        &mut self,
        text: &[u8],
        oids: Option<&[u32]>,
        plan: &Plan,
        out: &mut Out,
    ) -> bool {
        if self.shared.settings.on_unparsed != OnUnparsed::Reject
            || matches!(self.suspected.take(), Some(Suspected::Taken))
        {
            return false;
        }
        let inserts = plan.statements.iter().flat_map(|s| &s.edits).map(|e| &*e.insert);
        let mut refusals = inserts.filter_map(|insert| Refusal::read(insert, &self.nonce));
        let Some(refusal) = refusals.find(|r| r.rule == Rule::Unparsed) else { return false };
        let synced = self.cycle.messages == 0;
        let single = oids.is_none().then_some(plan.statements.len() == 1);
        // A Query would be skipped behind a Parse that has failed in its cycle. Of several statements a Parse says that
        // they are several, and would fail the block that the first of them may end.
        if single.is_some() && !synced || single == Some(false) && self.status != b'I' {
            return false;
        }
        if !self.queue.is_empty() {
            self.drain(out);
            return true;
        }
        self.suspected = Some(Suspected::Asked(Suspect { refusal, single }));
        let bytes = out.as_bytes_mut();
        put(build::close(bytes, b'S', OWN_NAME));
        put(build::parse(bytes, OWN_NAME, text, oids.unwrap_or_default()));
        put(build::close(bytes, b'S', OWN_NAME));
        let mut kinds = vec![Kind::Close, Kind::Parse, Kind::Close];
        if synced {
            build::sync(bytes);
            kinds.push(Kind::Sync);
        } else {
            build::flush(bytes);
        }
        let last = kinds.len();
        for (n, kind) in (1..).zip(kinds) {
            self.queue.push(kind, if n == last { Detail::OwnEnd } else { Detail::Own });
        }
        self.own_started(Exchange::Syntax, synced);
        true
    }

    /// The server has said what it makes of the text.
    pub(super) fn text_judged(&mut self, own: Own, client: &mut Out) {
        let Some(Suspected::Asked(suspect)) = self.suspected.take() else { return };
        let Some(error) = own.error else {
            self.suspected = Some(Suspected::Taken);
            return;
        };
        let error = match suspect.is_answered_by(&error, own.cancelled) {
            true => error,
            false if own.synced && self.status != b'E' => {
                self.suspected = Some(Suspected::Taken);
                return;
            }
            // The block, or the cycle, has failed already.
            false => self.refusal_error(&suspect.refusal),
        };
        if own.synced {
            self.local_error = Some(error);
        } else {
            // The server skips to the client's Sync.
            self.errored = true;
            super::frame_out(client, crate::wire::tag::back::ERROR, &error);
        }
    }
}

impl Suspect {
    /// The server would say the same of the client's message.
    fn is_answered_by(&self, error: &Bytes, cancelled: bool) -> bool {
        let Some(fields) = read_error_fields(error).filter(|_| !cancelled) else { return false };
        let Some(single) = self.single else { return true };
        let place = fields.get(b'R').unwrap_or_default();
        match fields.sqlstate().unwrap_or_default() {
            b"25P02" => true,
            // A Query has no parameters, and the server other words for one that names them.
            b"42P18" | b"42P02" => false,
            _ if place == GRAMMAR => true,
            sqlstate => single && place != SEVERAL && sqlstate.starts_with(b"42"),
        }
    }
}
