//! What this process tells a shared store of its contexts, and what it asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::event::{Clock, Event, Runs, halves};
use super::row::Shown;
use super::store::{Ask, ContextStore, Fetching, Note, Place};
use super::{ContextKey, Unit};
use crate::observe::RowKey;
use crate::observe::scope::OwnWrite;
use crate::sql::columns::ColumnSet;

/// System identifier and timeline.
type ServerName = (Option<String>, Option<String>);

/// By database and OID.
type TableKey = (Arc<str>, u32);

/// What tells one table's rows from another's in the store.
#[derive(Debug, Default)]
struct Tables {
    server: ServerName,
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

    /// The server is this one from now on.
    pub(super) fn at_server(&self, server: &ServerName) {
        self.tables(|tables| {
            if tables.server != *server {
                tables.server = server.clone();
                tables.names.clear();
            }
        });
    }

    /// A table's version column is the one with this attribute number.
    pub(super) fn stamp(&self, database: &Arc<str>, table: u32, attnum: i16) {
        self.tables(|tables| {
            let key = (database.clone(), table);
            tables.names.remove(&key);
            tables.stamps.insert(key, attnum);
        });
    }

    fn tables<R>(&self, f: impl FnOnce(&mut Tables) -> R) -> R {
        f(&mut self.tables.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn table(&self, database: &Arc<str>, table: u32) -> Arc<str> {
        self.tables(|tables| {
            let key = (database.clone(), table);
            if let Some(name) = tables.names.get(&key) {
                return name.clone();
            }
            let part = |part: &Option<String>| part.clone().unwrap_or_default();
            let (system, timeline) = (part(&tables.server.0), part(&tables.server.1));
            let attnum = tables.stamps.get(&key).copied().unwrap_or_default();
            let name: Arc<str> = format!("{system}/{timeline}/{table}/{attnum}/{database}").into();
            tables.names.insert(key, name.clone());
            name
        })
    }

    /// The rows of a table in a context.
    pub(super) fn place(&self, key: &ContextKey, table: u32) -> Place {
        Place { table: self.table(&key.database, table), label: key.label.clone() }
    }

    fn happened(&self, key: &ContextKey, row: &RowKey, event: &Event) {
        let (place, row) = (self.place(key, row.table), row.key.clone());
        self.store.note(Note::Happened { place, row, event: event.bytes() });
    }

    /// A result of a unit has shown columns of a row. `cursor`: a cursor's.
    pub(super) fn read(&self, key: &ContextKey, row: &RowKey, shown: &Shown<'_>, cursor: bool) {
        let event = Event::Read {
            u: halves(shown.unit),
            v: shown.version,
            c: Runs::of(shown.columns),
            t: Clock::read().millis(shown.now),
            own: shown.own,
            cursor,
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
        let t = Clock::read().millis(now);
        for (row, write) in writes {
            self.happened(key, row, &Event::wrote(write, unit, t));
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
        let t = Clock::read().millis(now);
        self.happened(key, row, &Event::Refused { u: halves(unit), expected, actual, t });
    }

    /// TRUNCATE.
    pub(super) fn truncated(&self, database: &str, table: u32) {
        self.store.note(Note::ForgetTable(self.table(&database.into(), table)));
    }

    /// See [`ContextStore::fetch`].
    pub(super) fn fetch(&self, asks: Vec<Ask>) -> Fetching {
        self.store.fetch(asks)
    }
}
