//! What this process tells a shared store of its contexts, and what it asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::event::{Clock, Event, Runs, halves};
use super::row::Shown;
use super::store::{Ask, ContextStore, Fetching, Note, Place};
use super::{ContextKey, ServerId, ServerName, Unit};
use crate::observe::RowKey;
use crate::observe::scope::OwnWrite;
use crate::sql::columns::ColumnSet;

/// By server, database and OID.
type TableKey = (ServerId, Arc<str>, u32);

/// What tells one table's rows from another's in the store.
#[derive(Debug, Default)]
struct Tables {
    servers: HashMap<ServerId, ServerName>,
    stamps: HashMap<TableKey, i16>,
    /// Made of the above when first needed.
    names: HashMap<TableKey, Arc<str>>,
}

/// The way to the store.
#[derive(Debug)]
pub(super) struct Journal {
    store: Arc<dyn ContextStore>,
    tables: Mutex<Tables>,
}

impl Journal {
    pub(super) fn new(store: Arc<dyn ContextStore>) -> Self {
        Self { store, tables: Mutex::default() }
    }

    /// A server calls itself that.
    pub(super) fn found(&self, server: ServerId, name: &ServerName) {
        self.tables(|tables| {
            let known = tables.servers.entry(server).or_default();
            // A role that may not ask for the system identifier tells less than another.
            if known.1 != name.1 || known.0.is_none() && name.0.is_some() {
                *known = name.clone();
                tables.names.retain(|(of, ..), _| *of != server);
            }
        });
    }

    /// A table's version column is the one with this attribute number.
    pub(super) fn stamp(&self, server: ServerId, database: &Arc<str>, table: u32, attnum: i16) {
        self.tables(|tables| {
            let key = (server, database.clone(), table);
            tables.names.remove(&key);
            tables.stamps.insert(key, attnum);
        });
    }

    fn tables<R>(&self, f: impl FnOnce(&mut Tables) -> R) -> R {
        f(&mut self.tables.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn table(&self, server: ServerId, database: &Arc<str>, table: u32) -> Arc<str> {
        self.tables(|tables| {
            let key = (server, database.clone(), table);
            if let Some(name) = tables.names.get(&key) {
                return name.clone();
            }
            let part = |part: &Option<String>| part.clone().unwrap_or_default();
            let name = tables.servers.get(&server);
            let (system, timeline) = name.map(|name| (part(&name.0), part(&name.1))).unwrap_or_default();
            let attnum = tables.stamps.get(&key).copied().unwrap_or_default();
            let name: Arc<str> = format!("{system}/{timeline}/{table}/{attnum}/{database}").into();
            tables.names.insert(key, name.clone());
            name
        })
    }

    /// The rows of a table in a context.
    pub(super) fn place(&self, key: &ContextKey, table: u32) -> Place {
        Place { table: self.table(key.server, &key.database, table), label: key.label.clone() }
    }

    fn happened(&self, key: &ContextKey, row: &RowKey, event: &Event) {
        let (place, row) = (self.place(key, row.table), row.key.clone());
        self.store.note(Note::Happened { place, row, event: event.bytes() });
    }

    /// A result of a unit has shown columns of a row.
    pub(super) fn read(&self, key: &ContextKey, row: &RowKey, shown: &Shown<'_>) {
        let event = Event::Read {
            u: halves(shown.unit),
            v: shown.version,
            c: Runs::of(shown.columns),
            t: Clock::read().micros(shown.now),
            own: shown.own,
            cursor: shown.cursor,
            own_work: shown.own_work,
        };
        self.happened(key, row, &event);
    }

    /// A cursor has shown columns of a row and not its version.
    pub(super) fn undated(&self, key: &ContextKey, row: &RowKey, shown: &ColumnSet, unit: Unit) {
        self.happened(key, row, &Event::Undated { u: halves(unit), c: Runs::of(shown) });
    }

    /// A transaction has committed.
    pub(super) fn committed(
        &self,
        key: &ContextKey,
        unit: Unit,
        writes: &[(RowKey, OwnWrite)],
        tables: &[u32],
        now: Instant,
    ) {
        for table in tables {
            self.store.note(Note::Forget(self.place(key, *table)));
        }
        let clock = Clock::read();
        for (row, write) in writes {
            self.happened(key, row, &Event::wrote(write, unit, now, &clock));
        }
    }

    /// A write was refused.
    pub(super) fn refused(
        &self,
        key: &ContextKey,
        row: &RowKey,
        unit: Unit,
        (expected, actual): (i64, Option<i64>),
        now: Instant,
    ) {
        let t = Clock::read().micros(now);
        self.happened(key, row, &Event::Refused { u: halves(unit), expected, actual, t });
    }

    /// TRUNCATE. `server`: of that one alone, where it is known.
    pub(super) fn truncated(&self, server: Option<ServerId>, database: &str, table: u32) {
        let servers: Vec<ServerId> = self.tables(|tables| tables.servers.keys().copied().collect());
        for known in servers.into_iter().filter(|known| server.is_none_or(|server| server == *known)) {
            self.store.note(Note::ForgetTable(self.table(known, &database.into(), table)));
        }
    }

    /// See [`ContextStore::fetch`].
    pub(super) fn fetch(&self, asks: Vec<Ask>) -> Fetching {
        self.store.fetch(asks)
    }
}
