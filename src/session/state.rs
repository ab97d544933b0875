//! The state of one client's session between its two sockets. No I/O: frames go in, frames come out.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::after::Pooled;
use super::again::Again;
use super::cursors::Cursors;
use super::detail::Detail;
use super::held::Held;
use super::in_flight::InFlight;
use super::measure::Measured;
use super::own::Own;
use super::prepared::{Names, Portal};
use super::queue::{Kind, Queue};
use super::suspect::Suspected;
use super::verdict::Verdict;
use super::whose::Whose;
use crate::catalog::View;
use crate::catalog::views::{Seen, ViewKey};
use crate::config::scopes::ScopeKind;
use crate::observe::context::store::Ask;
use crate::observe::context::{ContextScope, Unit};
use crate::observe::{Limits, Observations, Scope};
use crate::server::{Peer, Shared};
use crate::sql::encoding::Encoding;
use crate::sql::lexer::LexOptions;
use crate::wire::buffer::{In, Out};

/// The four buffers between the two sockets.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    /// From the client.
    pub client_in: In,
    /// To the client.
    pub client_out: Out,
    /// From the server.
    pub server_in: In,
    /// To the server.
    pub server_out: Out,
}

/// Who is connected, for logs and for what is shared.
#[derive(Debug)]
pub(crate) struct Facts {
    pub id: u64,
    pub peer: Peer,
    pub user: String,
    pub database: String,
    pub application_name: String,
    pub view_key: ViewKey,
    /// Settings of the start-up packet that are listened for.
    pub settings: Vec<(Box<str>, Box<str>)>,
    /// When its start-up packet was read: the server reads its defaults later.
    pub begun: Instant,
}

/// Why the client's next frames are not looked at yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Until every outstanding reply is in.
    Drain,
    /// Until the proxy's own exchange is over.
    Own,
    /// Until a checked write's outcome is known.
    Verdict,
    /// Until the store that contexts are shared by has told of the rows of a write, or its time is over.
    Store,
}

/// The extended-protocol messages since the last Sync.
#[derive(Debug, Default)]
pub(crate) struct Cycle {
    /// Counts cycles.
    pub number: u64,
    /// How many of them the server has answered; fewer than it has while several are in flight.
    pub answered: u64,
    /// Messages sent since the last Sync.
    pub messages: u32,
    /// Counts transaction control in it.
    pub part: u32,
    /// Executes among them.
    pub executes: u32,
}

/// A Bind that is held until it is known what follows its Execute.
#[derive(Debug)]
pub(crate) struct Hold {
    pub portal: Rc<Portal>,
    pub portal_name: Box<[u8]>,
    /// The Bind as the client sent it, whole frame.
    pub bind: Bytes,
    /// Describe and Execute frames behind it, with their kind.
    pub frames: Vec<(Kind, Bytes)>,
    pub executed: bool,
}

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    pub shared: Arc<Shared>,
    pub facts: Facts,
    pub queue: Queue<Detail>,
    /// Transaction status of the server's last ReadyForQuery.
    pub status: u8,
    pub lex: LexOptions,
    pub server_encoding: Vec<u8>,
    pub client_encoding: Vec<u8>,
    pub view: Option<Seen>,
    /// The view no longer fits: names may resolve otherwise, the role is another, DDL has passed.
    pub view_outdated: bool,
    /// The view was read inside the present transaction, for it alone.
    pub view_private: bool,
    /// This session's names or role differ from those it started with: its looks are its own.
    pub diverged: bool,
    /// The look in flight, or just answered, is the client's next frame's.
    pub view_awaited: bool,
    /// A statement without a protected word has passed under a view that was too old.
    pub look_after: bool,
    /// The role is not the one that the session began with.
    pub another_role: bool,
    /// The role has turned out not to have the right to call `set_config`.
    pub may_not_set: bool,
    /// What the look under way was told is known.
    pub look_known: Option<Seen>,
    pub names: Names,
    pub cursors: Cursors,
    pub observations: Scope,
    /// When the connection's server was asked last which one it is.
    pub server_asked: Option<Instant>,
    /// Who is at work.
    pub whose: Whose,
    /// Signs that the connection serves a pool.
    pub pooled: Pooled,
    pub measured: Measured,
    pub cycle: Cycle,
    pub seq: u64,
    pub hold: Option<Hold>,
    pub wait: Option<Wait>,
    pub own: Option<Own>,
    pub verdict: Option<Box<Verdict>>,
    /// An error of the guard form that waits for the state of its row.
    pub held: Option<Box<Held>>,
    /// Notices on a text that may have to be sent again, and would be told twice.
    pub notices: Vec<u8>,
    /// The client's own request has failed since the last ReadyForQuery.
    pub errored: bool,
    /// A PREPARE, DEALLOCATE or DISCARD in SQL has been sent since nothing was in flight.
    pub naming: bool,
    /// Bytes of the present frame still to forward unread, by direction.
    pub client_rest: usize,
    pub server_rest: usize,
    /// The client's stream makes no sense from here on: the server has got the header that tells, and closes.
    pub client_broken: bool,
    /// The client asked for protocol 1 or 2: what the server refuses it with is no frame.
    pub old_protocol: bool,
    /// What the server has asked of the client to authenticate itself, and what the client has answered.
    pub auth_asked: u32,
    pub auth_answered: u32,
    /// Terminate has been forwarded.
    pub terminated: bool,
    /// The server has told the client that the session ends.
    pub fatal: bool,
    /// The session must end after what is in the client's buffer has been written.
    pub closing: bool,
    /// Authentication and start-up are over.
    pub started: bool,
    /// BackendKeyData: process id and secret, for cancelling the proxy's own messages.
    pub key_data: Option<Bytes>,
    /// What the server makes of the client's next message, where that is to be refused.
    pub suspected: Option<Suspected>,
    /// Body of the error that the client's next statement is answered with, the server having said it of it already (or
    /// of the proxy's own look, which failed the client's transaction).
    pub local_error: Option<Bytes>,
    /// That statement was an extended-protocol message: drop the client's messages up to Sync.
    pub local_skip: bool,
    /// Marks what the session's guards raise.
    pub nonce: String,
    /// Own writes on their way.
    pub in_flight: InFlight,
    /// A savepoint has been sent in the present transaction.
    pub subtransaction: bool,
    /// A CALL or DO of the present transaction may have committed what went before it.
    pub may_have_committed: bool,
    /// What decides how a text is read has been set in the present transaction.
    pub text_moved: bool,
    /// The present cycle, while it may have to be sent again.
    pub again: Option<Again>,
    /// What the store that contexts are shared by is to be asked.
    pub ask: Option<Vec<Ask>>,
}

impl Session {
    pub fn new(shared: Arc<Shared>, facts: Facts) -> Self {
        let limits = {
            let o = &shared.settings.observations;
            Limits {
                max_rows: o.max_rows_per_connection,
                max_bytes: o.max_bytes_per_connection,
                ttl: o.ttl,
                conflict_hold: o.conflict_hold,
            }
        };
        let scopes = &shared.settings.scopes;
        let observations = match scopes.of(&facts.application_name, &facts.database, &facts.user) {
            ScopeKind::Connection => Scope::Connection(Observations::new(limits)),
            ScopeKind::Transaction => Scope::Transaction(Observations::new(limits)),
            ScopeKind::Context => {
                let contexts = shared.contexts.clone();
                let database = facts.database.as_str().into();
                Scope::Context(Box::new(ContextScope::new(contexts, database, limits, Unit(0))))
            }
        };
        let started = facts.settings.iter().map(|(name, value)| (&**name, Some(&**value)));
        let whose = Whose::new(facts.id, &facts.user, &shared.labels.settings, started);
        let measured = Measured::new(shared.metrics.clone());
        Self {
            shared,
            facts,
            queue: Queue::default(),
            status: b'I',
            lex: LexOptions::default(),
            server_encoding: b"UTF8".to_vec(),
            client_encoding: b"UTF8".to_vec(),
            view: None,
            view_outdated: false,
            view_private: false,
            diverged: false,
            view_awaited: false,
            look_after: false,
            another_role: false,
            may_not_set: false,
            look_known: None,
            names: Names::default(),
            cursors: Cursors::default(),
            observations,
            server_asked: None,
            whose,
            pooled: Pooled::default(),
            measured,
            cycle: Cycle::default(),
            seq: 0,
            hold: None,
            wait: None,
            own: None,
            verdict: None,
            held: None,
            notices: Vec::new(),
            errored: false,
            naming: false,
            client_rest: 0,
            server_rest: 0,
            client_broken: false,
            old_protocol: false,
            auth_asked: 0,
            auth_answered: 0,
            terminated: false,
            fatal: false,
            closing: false,
            started: false,
            key_data: None,
            suspected: None,
            local_error: None,
            local_skip: false,
            nonce: nonce(),
            in_flight: InFlight::default(),
            subtransaction: false,
            may_have_committed: false,
            text_moved: false,
            again: None,
            ask: None,
        }
    }

    pub fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    /// Notes a request that goes to the server. If the server will skip it, what was assumed of it is undone.
    pub fn expect(&mut self, kind: Kind, detail: Detail) {
        match kind {
            Kind::Sync | Kind::Query | Kind::Function => {
                self.in_flight.may_end_transaction();
                self.cycle.number += 1;
                // A FunctionCall behind messages of a cycle may be skipped with them.
                if kind != Kind::Function {
                    self.cycle.messages = 0;
                }
                self.cycle.executes = 0;
                self.cycle.part = 0;
            }
            Kind::CopyEnd => {}
            _ => {
                self.cycle.messages += 1;
                if kind == Kind::Execute {
                    self.cycle.executes += 1;
                }
            }
        }
        if let Some(skipped) = self.queue.push(kind, detail) {
            self.undo(skipped.detail);
        }
    }

    /// Puts back what a request that was not carried out had assumed.
    pub fn undo(&mut self, detail: Detail) {
        match detail {
            Detail::Undo(undo)
            | Detail::OwnParse(_, undo)
            | Detail::Rerun(_, undo)
            | Detail::Parse(_, undo)
            | Detail::Bind(_, undo) => {
                self.names.undo(undo);
            }
            _ => {}
        }
    }

    /// No frame of the client's is on its way in part: a message of our own may go.
    pub fn at_frame_boundary(&self) -> bool {
        self.client_rest == 0 && !self.client_broken
    }

    /// The view to plan with.
    pub fn view_arc(&self) -> Option<Arc<View>> {
        self.view.as_ref().map(|s| s.view.clone())
    }

    /// What the server has not yet told decides how the rest of the cycle is read.
    pub fn text_unsettled(&mut self) {
        self.lex.encoding = Encoding::Unsafe;
        self.lex.strings_unsettled = true;
    }

    /// ReadyForQuery: what decides how a text is read has been told.
    pub fn text_settled(&mut self) {
        self.lex.strings_unsettled = false;
        if self.lex.encoding == Encoding::Unsafe {
            self.lex.encoding = Encoding::from_settings(&self.client_encoding, &self.server_encoding);
        }
    }

    /// Encoding and string settings changed: plans are keyed by them, keys in bytes are not comparable.
    pub fn parameter_status(&mut self, name: &[u8], value: &[u8]) {
        match name {
            b"standard_conforming_strings" => self.lex.standard_conforming_strings = value == b"on",
            b"client_encoding" => {
                if self.started && self.client_encoding != value {
                    self.observations.clear();
                }
                self.client_encoding = value.to_vec();
                self.lex.encoding = Encoding::from_settings(&self.client_encoding, &self.server_encoding);
            }
            // PostgreSQL 18 and later tell of it, whoever has set it.
            b"search_path" if self.started => self.names_changed(),
            b"server_encoding" => {
                self.server_encoding = value.to_vec();
                self.lex.encoding = Encoding::from_settings(&self.client_encoding, &self.server_encoding);
            }
            b"application_name" => {
                if self.started && self.facts.application_name.as_bytes() != value {
                    self.handed_on();
                }
                self.facts.application_name = String::from_utf8_lossy(value).into_owned();
                if !self.started {
                    self.whose.begins_as("application_name", &self.facts.application_name);
                }
            }
            b"session_authorization" => {
                let user = String::from_utf8_lossy(value);
                if self.started {
                    self.whose.authorized(&user);
                } else {
                    self.whose.begins_as("session_authorization", &user);
                }
            }
            b"search_path" if self.started => {
                self.view_outdated = true;
                self.diverged = true;
            }
            _ => {}
        }
    }

    pub fn now(&self) -> Instant {
        Instant::now()
    }
}

/// Letters and digits that no client can guess: what a guard raises must not be forged.
fn nonce() -> String {
    use std::hash::BuildHasher;
    // The keys of the standard library's hasher are random for each process; every call is another secret.
    let word = || std::hash::RandomState::new().hash_one(std::time::Instant::now());
    format!("sg{:016x}{:016x}x", word(), word())
}
