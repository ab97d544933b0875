//! A refusal of the guard form, held back while the row's present state is read.
//!
//! The server itself has raised the error, so what the client has sent behind the statement may be on its way to the
//! server. Only where that is nothing, and no transaction block is left failed, can the proxy put a read of its own
//! before the client's next message, and the error goes out with what it shows.

use super::own::{Exchange, Own, OwnStatement, Value};
use super::put;
use super::state::{Session, Wait};
use crate::catalog::{Column, Table};
use crate::conflict::{self, BlindReport, ConflictReport, StateQuery};
use crate::sql::columns::ColumnSet;
use crate::wire::buffer::Out;
use crate::wire::build;

/// What the client is to be told.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Of a conflict.
    Conflict(ConflictReport),
    /// Of a blind write.
    Blind(BlindReport),
}

impl Refused {
    fn fields(&self) -> Vec<(u8, String)> {
        match self {
            Self::Conflict(report) => report.fields(),
            Self::Blind(report) => report.fields(),
        }
    }

    fn row(&mut self) -> &mut ConflictReport {
        match self {
            Self::Conflict(report) => report,
            Self::Blind(report) => &mut report.row,
        }
    }
}

/// An error held back.
#[derive(Debug)]
pub(crate) struct Held {
    refused: Refused,
    query: StateQuery,
    key: Vec<Box<str>>,
}

impl Session {
    /// Tells the client, now or once the state of the row has been read.
    pub(super) fn tell_with_state(
        &mut self,
        refused: Refused,
        table: &Table,
        sets: &ColumnSet,
        key: Vec<Box<str>>,
        client: &mut Out,
    ) {
        let columns: Vec<&Column> = conflict::state_columns(table, sets, table.settings.current_state);
        match conflict::state_query(table, &columns).filter(|_| self.stands_last()) {
            Some(query) => {
                self.held = Some(Box::new(Held { refused, query, key }));
                self.wait = Some(Wait::Verdict);
            }
            None => self.put_error(refused.fields(), client),
        }
    }

    /// Nothing of the client is behind the statement that has failed: the next message to the server may be our own.
    fn stands_last(&self) -> bool {
        self.queue.ends_with_head()
            && self.hold.is_none()
            && self.own.is_none()
            && matches!(self.wait, None | Some(Wait::Drain))
            && self.at_frame_boundary()
    }

    /// The server is at ReadyForQuery behind a statement whose error is held back. True: the state is being read, and
    /// the client must wait for both.
    pub(super) fn reads_state(&mut self, client: &mut Out, server: &mut Out) -> bool {
        let Some(held) = &self.held else { return false };
        if self.status != b'I' || !self.queue.is_empty() {
            self.release_held(client);
            return false;
        }
        let text = held.query.text.clone();
        let oids = held.query.parameter_types.clone();
        let key = held.key.clone();
        let values: Vec<Value<'_>> = key.iter().map(|part| Some(part.as_bytes())).collect();
        let run = OwnStatement { text: text.as_bytes(), oids: &oids, formats: &[], values: &values };
        self.own_send(server, Exchange::State, Some(run), None, true);
        true
    }

    /// The state has been read, or could not be.
    pub(super) fn state_read(&mut self, own: Own, client: &mut Out) {
        if let Some(held) = &mut self.held {
            held.refused.row().current_state = own.shown_state();
        }
        self.release_held(client);
        put(build::ready(client.as_bytes_mut(), self.status));
        self.client_ready(self.status, true);
    }

    /// Sends what is held back, as it is.
    pub(super) fn release_held(&mut self, client: &mut Out) {
        if let Some(held) = self.held.take() {
            self.put_error(held.refused.fields(), client);
            self.wait = None;
        }
    }
}
