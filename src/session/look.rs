//! When the session looks at the catalog, and what it does with the answer.

use std::time::Duration;

use super::detail::Detail;
use super::own::{Exchange, Own, OwnStatement};
use super::state::{Session, Wait};
use crate::catalog::View;
use crate::catalog::look::{self, Look, Unprotected};
use crate::catalog::views::Seen;
use crate::observe::context::{ContextScope, ServerId, ServerName};
use crate::sql::prefilter::first_word;
use crate::telemetry::metrics::CatalogLook;
use crate::telemetry::targets;
use crate::wire::buffer::Out;
use crate::wire::build;

/// How soon a server that did not tell which one it is may be asked again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// First words of statements that take a snapshot anyway, so that a look before them changes nothing.
/// LOCK and SET TRANSACTION must come before any snapshot of their transaction.
const SNAPSHOT_WORDS: [&[u8]; 13] = [
    b"select", b"with", b"insert", b"update", b"delete", b"merge", b"values", b"table", b"execute",
    b"declare", b"explain", b"copy", b"prepare",
];

/// What the session may do with a statement now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Viewed {
    /// Plan it with the view (or forward it, if there is none).
    Ready,
    /// Not yet: replies or a look are outstanding.
    Later,
}

impl Session {
    /// Takes the shared view in, where a newer one is there and this session has not gone its own way.
    fn adopt_shared(&mut self) {
        if self.diverged || self.view_outdated || self.view_private || self.is_of_old_defaults() {
            return;
        }
        if let Some(shared) = self.shared.views.get(&self.facts.view_key)
            && self.view.as_ref().is_none_or(|mine| mine.at < shared.at)
            && self.is_of_its_server(&shared)
        {
            self.take_view(shared);
        }
    }

    /// Role or database have got another search_path since this session began: it keeps the one that it has.
    fn is_of_old_defaults(&self) -> bool {
        self.shared.views.is_of_old_defaults(&self.facts.view_key, self.facts.begun)
    }

    /// Plans with this view from now on. Versions of a column that is gone, or was made anew, compare with none.
    fn take_view(&mut self, seen: Seen) {
        if self.view.as_ref().is_none_or(|before| before.view.generation != seen.view.generation)
            && let Some(scope) = self.observations.context()
        {
            stamp(scope, &seen.view);
        }
        let before = self.view.replace(seen);
        let (Some(before), Some(now)) = (before, &self.view) else { return };
        if before.view.generation == now.view.generation {
            return;
        }
        // By another key another row has the name that a row was known by.
        let columns = |view: &View, oid: u32| {
            let table = view.table_by_oid(oid)?;
            let key: Vec<i16> = table.key_columns().map(|c| c.attnum).collect();
            Some((table.version_column()?.attnum, key))
        };
        for table in before.view.tables.iter().filter(|t| !t.is_view) {
            if columns(&before.view, table.oid) != columns(&now.view, table.oid) {
                self.observations.made_anew(table.root_oid);
            }
        }
    }

    /// A view young enough for a statement sent now is at hand, without asking anyone.
    pub fn view_is_fresh(&mut self) -> bool {
        if self.view_outdated {
            return false;
        }
        let now = self.now();
        let age = self.shared.settings.catalog.max_age;
        if self.view.as_ref().is_some_and(|v| v.is_fresh(now, age)) {
            return true;
        }
        self.adopt_shared();
        self.view.as_ref().is_some_and(|v| v.is_fresh(now, age))
    }

    /// What a name means is not settled: what decides it has been sent and not been answered.
    pub(super) fn names_in_flight(&self) -> bool {
        self.in_flight.moves_names() && !self.queue.is_empty()
    }

    /// Makes sure of a view before a statement that it matters to. `mid_cycle`: extended-protocol messages
    /// have been sent since the last Sync.
    pub fn ensure_view(&mut self, text: &[u8], out: &mut Out) -> Viewed {
        if self.names_in_flight() && takes_snapshot(text) {
            self.drain(out);
            return Viewed::Later;
        }
        // A statement that has waited for a look goes with what it found, however long that took.
        let awaited = std::mem::take(&mut self.view_awaited) && !self.view_outdated;
        let fresh = awaited || self.view_is_fresh();
        let usable = self.view.is_some() && !self.view_outdated;
        let mid_cycle = self.cycle.messages > 0;
        if fresh || mid_cycle && usable {
            if awaited || !self.wants_server() {
                return Viewed::Ready;
            }
            if !self.queue.is_empty() {
                self.drain(out);
                return Viewed::Later;
            }
            if self.status == b'I' && !mid_cycle || matches!(self.status, b'I' | b'T') && takes_snapshot(text)
            {
                self.ask_server(out, !mid_cycle);
                return Viewed::Later;
            }
            return Viewed::Ready;
        }
        if !self.queue.is_empty() {
            self.drain(out);
            return Viewed::Later;
        }
        match self.status {
            b'I' if !mid_cycle => {}
            b'T' if usable => return Viewed::Ready,
            // A cycle is a transaction, too.
            b'I' | b'T' if takes_snapshot(text) => {}
            _ => return Viewed::Ready,
        }
        self.look(out, !mid_cycle);
        self.view_awaited = true;
        Viewed::Later
    }

    /// Leaves the client's next frame until every outstanding reply is in.
    pub fn drain(&mut self, out: &mut Out) {
        if self.cycle.messages > 0 {
            build::flush(out.as_bytes_mut());
        }
        self.wait = Some(Wait::Drain);
    }

    /// More is on its way than is kept in mind: wait for the answers. True if so.
    pub(super) fn waits_for_room(&mut self, out: &mut Out) -> bool {
        let full = self.in_flight.is_full() && !self.queue.is_empty();
        if full {
            self.drain(out);
        }
        full
    }

    /// The transaction block has failed, and nothing on its way to the server can end that: what the client sends is
    /// refused there.
    pub fn has_failed(&self) -> bool {
        self.status == b'E' && (self.queue.is_empty() || !self.in_flight.may_recover())
    }

    /// What is known of the rows of a write is not settled: own writes, or what undoes them, are in flight.
    pub fn is_unsettled(&self) -> bool {
        self.queue.details().any(Detail::moves_observations)
            || !self.queue.is_empty() && self.in_flight.unsettles(&self.observations)
    }

    /// Sends a look.
    pub fn look(&mut self, out: &mut Out, sync: bool) {
        self.look_known = self.view.clone();
        let parameters =
            look::parameters(&self.shared.settings.tables, &self.shared.labels, self.look_known.as_ref());
        let values = parameters.each_ref().map(|p| Some(p.as_bytes()));
        self.look_after = false;
        let statement =
            OwnStatement { text: look::LOOK_SQL.as_bytes(), oids: &[], formats: &[], values: &values };
        if self.may_turn_jit_off(sync) {
            self.own_look_without_jit(out, &statement, sync);
        } else {
            self.own_send(out, Exchange::Look, Some(statement), None, sync);
        }
    }

    /// The look may be sent together with a `set_config`. Where its refusal would fail the client's transaction, the
    /// role must be known to have the right.
    fn may_turn_jit_off(&self, sync: bool) -> bool {
        if self.may_not_set {
            return false;
        }
        let known = self.shared.views.may_set(&self.facts.view_key).filter(|_| !self.another_role);
        known.unwrap_or(sync && self.status == b'I')
    }

    /// A look outside a transaction has failed since the role may not call `set_config`: it goes without.
    pub fn looks_again(&mut self, own: &Own, out: &mut Out) -> bool {
        let refused = own.error.as_deref().and_then(crate::wire::read::read_error_fields);
        let refused = refused.is_some_and(|fields| fields.sqlstate() == Some(b"42501"));
        if !refused || !own.without_jit || !own.synced || self.status != b'I' {
            return false;
        }
        self.may_not_set = true;
        self.look(out, true);
        true
    }

    /// A session in scope `context` does not know yet which server it is connected to: whose contexts count.
    fn wants_server(&mut self) -> bool {
        let (now, age) = (self.now(), self.shared.settings.catalog.max_age.max(ASK_AGAIN));
        let unknown = self.observations.context().is_some_and(|scope| scope.server().is_none());
        unknown && self.server_asked.is_none_or(|at| now.saturating_duration_since(at) >= age)
    }

    /// Asks for it, where the view that is there came from another session.
    fn ask_server(&mut self, out: &mut Out, sync: bool) {
        self.server_asked = Some(self.now());
        let statement =
            OwnStatement { text: look::SERVER_SQL.as_bytes(), oids: &[], formats: &[], values: &[] };
        self.own_send(out, Exchange::Server, Some(statement), None, sync);
    }

    /// The server has told which one it is. Returns the error that the client must see, as [`Self::looked`].
    pub fn server_told(&mut self, own: Own) -> Option<bytes::Bytes> {
        let in_transaction = self.status != b'I' || !own.synced;
        if own.error.is_some() {
            return own.error.filter(|_| in_transaction);
        }
        let text =
            |value: &Option<bytes::Bytes>| value.as_deref().map(|v| String::from_utf8_lossy(v).into_owned());
        let mut values = own.rows.first().into_iter().flatten().map(text);
        self.on_server(&(values.next().flatten(), values.next().flatten()));
        None
    }

    /// The connection's server calls itself that. Gives back its number.
    fn on_server(&mut self, name: &ServerName) -> Option<u64> {
        self.server_asked = Some(self.now());
        let found = self.shared.contexts.found(name)?;
        if found.another {
            tracing::warn!(target: targets::CATALOG, session = self.facts.id, database = %self.facts.database,
                "the server is another than before, or was restored: contexts begin anew");
            self.shared.views.outdate_all();
        }
        let ServerId(number) = found.server;
        let Some(scope) = self.observations.context() else { return Some(number) };
        if scope.server() == Some(found.server) {
            return Some(number);
        }
        scope.on_server(found.server);
        match &self.view {
            Some(seen) if seen.server == Some(number) => stamp(scope, &seen.view),
            Some(_) => self.view_outdated = true,
            None => {}
        }
        self.relabel();
        Some(number)
    }

    /// A view was read from the server that this session is connected to, as far as that is known.
    fn is_of_its_server(&mut self, seen: &Seen) -> bool {
        let mine = self.observations.context().and_then(|scope| scope.server());
        mine.is_none_or(|ServerId(mine)| seen.server.is_none_or(|server| server == mine))
    }

    /// A look's answer is in. Returns the error that the client must see in place of its statement's reply,
    /// if the look has failed the client's transaction.
    pub fn looked(&mut self, own: Own) -> Option<bytes::Bytes> {
        let in_transaction = self.status != b'I' || !own.synced;
        let known = self.look_known.take();
        let metrics = &self.shared.metrics;
        if let Some(error) = own.error {
            metrics.catalog_look(CatalogLook::Failed);
            let fields = crate::wire::read::read_error_fields(&error);
            let sqlstate =
                fields.as_ref().and_then(|f| f.sqlstate()).map(String::from_utf8_lossy).unwrap_or_default();
            tracing::warn!(target: targets::CATALOG, session = self.facts.id, database = %self.facts.database,
                %sqlstate, "the catalog look failed: statements pass unprotected until one succeeds");
            self.look_failed(own.sent_at);
            return in_transaction.then_some(error);
        }
        let rows: Vec<(String, Option<String>)> = own
            .rows
            .into_iter()
            .map(|row| {
                let mut texts = row.into_iter().map(|v| v.map(|v| String::from_utf8_lossy(&v).into_owned()));
                (texts.next().flatten().unwrap_or_default(), texts.next().flatten())
            })
            .collect();
        match look::read(&rows, &self.shared.settings.tables, &self.shared.labels, known.as_ref()) {
            Ok(look) => self.take_look(look, own.sent_at, in_transaction),
            Err(error) => {
                metrics.catalog_look(CatalogLook::Failed);
                tracing::error!(target: targets::CATALOG, session = self.facts.id, %error, "the catalog look failed");
                self.look_failed(own.sent_at);
            }
        }
        None
    }

    /// A look sent at `at` has brought nothing. Until the next try statements go with what is known. Where that is no
    /// longer true, or nothing is known, they pass unprotected and the next one asks again.
    fn look_failed(&mut self, at: std::time::Instant) {
        if self.view_outdated {
            self.view = None;
        } else if self.view.is_none() {
            self.adopt_shared();
        }
        if let Some(seen) = &mut self.view {
            (seen.at, seen.server) = (at, None);
        }
        self.view_outdated = false;
    }

    fn take_look(&mut self, look: Look, at: std::time::Instant, in_transaction: bool) {
        let shared = self.shared.clone();
        let before = self.view.as_ref().map(|v| v.view.generation);
        if !self.another_role {
            shared.views.found_may_set(&self.facts.view_key, look.may_set);
        }
        self.diverged |= look.shadowed || look.moved;
        // A look inside a transaction may see what nobody else sees (its own DDL, an old snapshot).
        self.view_private |= in_transaction;
        if !self.diverged && !in_transaction {
            shared.views.begin_with(&self.facts.view_key, &look.defaults, at, self.now());
        }
        let server = self.on_server(&look.server);
        let seen = if self.diverged || in_transaction || self.is_of_old_defaults() {
            let view = shared.views.private(self.view.as_ref().map(|v| &v.view), look.view);
            Seen { view, at, server, functions: look.functions }
        } else {
            shared.views.publish(&self.facts.view_key, look.view, at, server, look.functions)
        };
        let changed = before != Some(seen.view.generation);
        shared.metrics.catalog_look(if changed { CatalogLook::Changed } else { CatalogLook::Unchanged });
        self.take_view(seen);
        self.view_outdated = false;
        if !in_transaction {
            for table in shared.views.news(look.database.as_bytes(), &look.tables) {
                let mode = table.mode.name();
                match (&table.unprotected, table.note) {
                    (None, None) => tracing::info!(target: targets::CATALOG, database = %look.database,
                        table = %table.table, mode, "protected"),
                    (None, Some(note)) => tracing::warn!(target: targets::CATALOG, database = %look.database,
                        table = %table.table, mode, note, "protected"),
                    (Some(reason @ Unprotected::Off), _) => tracing::info!(target: targets::CATALOG,
                        database = %look.database, table = %table.table, mode, %reason, "not protected"),
                    (Some(reason), _) => tracing::warn!(target: targets::CATALOG, database = %look.database,
                        table = %table.table, mode, %reason, "not protected"),
                }
            }
        }
    }
}

/// What contexts know of a table is void if its version column is another than before.
fn stamp(scope: &ContextScope, view: &View) {
    for table in view.tables.iter().filter(|t| t.oid == t.root_oid && !t.is_view) {
        table.version_column().into_iter().for_each(|c| scope.stamp(table.oid, c.attnum));
    }
}

pub(super) fn takes_snapshot(text: &[u8]) -> bool {
    // A text that begins with something else than a word (a parenthesis) is a query.
    first_word(text).is_none_or(|word| SNAPSHOT_WORDS.iter().any(|w| word.eq_ignore_ascii_case(w)))
}
