//! The proxy's own messages: how they are sent, swallowed and bounded in time.
//!
//! They are named extended-protocol messages: a simple Query would destroy the client's unnamed statement.
//! They end with Sync only where the server is at ReadyForQuery; inside a client's cycle they end with Flush,
//! since a Sync would commit its half-sent implicit transaction.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::detail::Detail;
use super::prepared::Prepared;
use super::put;
use super::queue::Kind;
use super::state::{Session, Wait};
use crate::catalog::look::WITHOUT_JIT_SQL;
use crate::wire::buffer::Out;
use crate::wire::build;

/// Name of the proxy's own statement and portal on the server.
pub(super) const OWN_NAME: &[u8] = b"staleguard_own";
/// Name of the statement and portal around a look, which lives as long as the look.
const SETTING_NAME: &[u8] = b"staleguard_setting";

/// What an exchange is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exchange {
    /// Reads the catalog.
    Look,
    /// Asks which server the connection goes to.
    Server,
    /// Asks for the parameter types of the client's statement.
    ParameterTypes,
    /// Parses a client's statement again.
    Restate,
    /// Reads the present version of the row that a write did not find.
    Probe,
    /// Reads the present state of the row, makes the transaction fail, or both.
    Refuse,
    /// Asks what the server makes of a text.
    Syntax,
    /// Reads the present state of a row whose write the server has refused.
    State,
}

impl Exchange {
    /// For log lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Look => "catalog look",
            Self::Server => "which server",
            Self::ParameterTypes => "parameter types",
            Self::Restate => "another text of a statement",
            Self::Probe => "probe",
            Self::Refuse => "refusal",
            Self::Syntax => "syntax of a statement",
            Self::State => "state of a row",
        }
    }
}

/// An exchange in flight, with what has come in.
#[derive(Debug)]
pub(crate) struct Own {
    pub what: Exchange,
    pub rows: Vec<Vec<Option<Bytes>>>,
    /// Body of the ErrorResponse.
    pub error: Option<Bytes>,
    pub types: Option<Vec<u32>>,
    /// Ends with Sync (else with Flush).
    pub synced: bool,
    /// The server was kept from compiling it.
    pub without_jit: bool,
    pub sent_at: Instant,
    /// When it has taken too long.
    pub deadline: Instant,
    /// It has taken too long once, and the server was asked to cancel it.
    pub cancelled: bool,
}

impl Own {
    /// What it has shown of one row's state, as its second column; of two rows neither is certain.
    pub fn shown_state(&self) -> Option<String> {
        let [row] = self.rows.as_slice() else { return None };
        let state = row.get(1)?.as_ref()?;
        std::str::from_utf8(state).ok().map(str::to_owned)
    }
}

/// A value of an own statement's parameter.
pub(crate) type Value<'a> = Option<&'a [u8]>;

/// One own statement.
pub(crate) struct OwnStatement<'a> {
    pub text: &'a [u8],
    pub oids: &'a [u32],
    pub formats: &'a [i16],
    pub values: &'a [Value<'a>],
}

/// Puts the messages that begin to run a statement.
fn put_begin(bytes: &mut BytesMut, name: &[u8], run: &OwnStatement<'_>, max_rows: i32) {
    put(build::close(bytes, b'S', name));
    put(build::parse(bytes, name, run.text, run.oids));
    put(build::bind_formats(bytes, name, name, run.formats, run.values, &[]));
    put(build::execute(bytes, name, max_rows));
}

/// Puts the messages that close its portal and itself.
fn put_closes(bytes: &mut BytesMut, name: &[u8]) {
    put(build::close(bytes, b'P', name));
    put(build::close(bytes, b'S', name));
}

impl Session {
    /// Sends an exchange: an optional statement that is run, and optionally a text whose Parse must fail.
    pub fn own_send(
        &mut self,
        out: &mut Out,
        what: Exchange,
        run: Option<OwnStatement<'_>>,
        fail: Option<&[u8]>,
        sync: bool,
    ) {
        let bytes = out.as_bytes_mut();
        let mut kinds = SmallVec::new();
        if let Some(run) = run {
            put_begin(bytes, OWN_NAME, &run, 0);
            put_closes(bytes, OWN_NAME);
            kinds.extend([Kind::Close, Kind::Parse, Kind::Bind, Kind::Execute, Kind::Close, Kind::Close]);
        }
        if let Some(text) = fail {
            put(build::parse(bytes, OWN_NAME, text, &[]));
            kinds.push(Kind::Parse);
        }
        self.own_end(out, &mut kinds, sync);
        self.own_started(what, sync);
    }

    /// Sends the look in an exchange that keeps the server from compiling it, and leaves the session's setting as it was.
    pub fn own_look_without_jit(&mut self, out: &mut Out, look: &OwnStatement<'_>, sync: bool) {
        let setting = OwnStatement { text: WITHOUT_JIT_SQL.as_bytes(), oids: &[], formats: &[], values: &[] };
        let bytes = out.as_bytes_mut();
        put_begin(bytes, SETTING_NAME, &setting, 1);
        put_begin(bytes, OWN_NAME, look, 0);
        put_closes(bytes, OWN_NAME);
        put(build::execute(bytes, SETTING_NAME, 0));
        put_closes(bytes, SETTING_NAME);
        let begin = [Kind::Close, Kind::Parse, Kind::Bind, Kind::Execute];
        let mut kinds: SmallVec<[Kind; 16]> = begin.into_iter().chain(begin).collect();
        kinds.extend([Kind::Close, Kind::Close, Kind::Execute, Kind::Close, Kind::Close]);
        self.own_end(out, &mut kinds, sync);
        self.own_started(Exchange::Look, sync);
        if let Some(own) = &mut self.own {
            own.without_jit = true;
        }
    }

    /// Ends an exchange of these messages, and expects their replies.
    fn own_end(&mut self, out: &mut Out, kinds: &mut SmallVec<[Kind; 16]>, sync: bool) {
        if sync {
            build::sync(out.as_bytes_mut());
            kinds.push(Kind::Sync);
        } else {
            build::flush(out.as_bytes_mut());
        }
        self.own_expect(kinds);
    }

    fn own_expect(&mut self, kinds: &[Kind]) {
        let mut skipped = 0;
        for (n, kind) in kinds.iter().enumerate() {
            let detail = if n + 1 == kinds.len() { Detail::OwnEnd } else { Detail::Own };
            skipped += usize::from(self.queue.push(*kind, detail).is_some());
        }
        debug_assert_eq!(skipped, 0, "own messages are never sent into a skipped cycle");
    }

    /// Asks for the types of a client's statement: its Describe and a Sync.
    pub fn own_describe(&mut self, out: &mut Out, statement: &[u8]) {
        let bytes = out.as_bytes_mut();
        put(build::describe(bytes, b'S', statement));
        build::sync(bytes);
        self.queue.push(Kind::DescribeStatement, Detail::Own);
        self.queue.push(Kind::Sync, Detail::OwnEnd);
        self.own_started(Exchange::ParameterTypes, true);
    }

    /// Has the server hold a client's statement in another text.
    pub fn own_restate(&mut self, out: &mut Out, new: Rc<Prepared>) {
        let bytes = out.as_bytes_mut();
        put(build::close(bytes, b'S', &new.name));
        put(build::parse(bytes, &new.name, new.server_text(), &new.oids));
        build::sync(bytes);
        let name = new.name.clone();
        // Also if it fails: the server has no statement of the name then.
        self.set_statement(&name, Some(new));
        self.queue.push(Kind::Close, Detail::Own);
        self.queue.push(Kind::Parse, Detail::Own);
        self.queue.push(Kind::Sync, Detail::OwnEnd);
        self.own_started(Exchange::Restate, true);
    }

    pub(super) fn own_started(&mut self, what: Exchange, synced: bool) {
        let now = self.now();
        self.own = Some(Own {
            what,
            rows: Vec::new(),
            error: None,
            types: None,
            synced,
            without_jit: false,
            sent_at: now,
            deadline: now + self.shared.settings.own_message_timeout,
            cancelled: false,
        });
        if self.wait != Some(Wait::Verdict) {
            self.wait = Some(Wait::Own);
        }
    }

    /// When the exchange in flight has taken too long.
    pub fn own_deadline(&self) -> Option<Instant> {
        self.own.as_ref().map(|o| o.deadline)
    }

    /// The exchange has taken too long: the first time ask the server to cancel it (its error then is the
    /// outcome), the second time the session cannot go on.
    pub fn own_overdue(&mut self, grace: Duration) -> Overdue {
        let now = self.now();
        match &mut self.own {
            Some(own) if own.deadline > now => Overdue::NotYet,
            Some(own) if !own.cancelled => {
                own.cancelled = true;
                own.deadline = now + grace;
                tracing::warn!(
                    target: crate::telemetry::targets::SESSION,
                    session = self.facts.id,
                    exchange = own.what.name(),
                    "the server is slow to answer the proxy's own message: cancelling it"
                );
                Overdue::Cancel
            }
            Some(_) => Overdue::Close,
            None => Overdue::NotYet,
        }
    }
}

/// What to do about a slow exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overdue {
    NotYet,
    Cancel,
    Close,
}
