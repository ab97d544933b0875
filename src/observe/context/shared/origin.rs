//! Where the rows of contexts come from: servers and tables. If these are others than before, what was known is void.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Context, Contexts, Table, lock};
use crate::observe::Cause;
use crate::observe::context::{ContextKey, Found, ServerId, ServerName};

impl Contexts {
    /// All contexts forget a table: TRUNCATE, the table or its version column made anew. `server`: those of one server
    /// alone, where it is known.
    pub fn forget_table(&self, server: Option<ServerId>, database: &str, table: u32) {
        if let Some(journal) = &self.journal {
            journal.truncated(server, database, table);
        }
        self.drop_table(server, database, table);
    }

    fn drop_table(&self, server: Option<ServerId>, database: &str, table: u32) {
        let is_there =
            |key: &ContextKey| server.is_none_or(|server| key.server == server) && *key.database == *database;
        for part in &self.parts {
            let part = &mut *lock(part);
            let mut bytes = 0;
            for (key, context) in &mut part.contexts {
                if is_there(key) {
                    context.own = self.next_own();
                    context.store.drop_if(Some(Cause::Forgotten), |row, _| row.table == table);
                    context.store.lose_own(context.own);
                }
                bytes += context.bytes();
            }
            part.bytes = bytes;
        }
    }

    /// A connection's server calls itself that. One that was not known makes all contexts of others go: the connections
    /// that are left there begin anew. `None`: it cannot be told which one it is.
    pub fn found(&self, name: &ServerName) -> Option<Found> {
        let found = lock(&self.servers).found(name)?;
        if let Some(journal) = &self.journal {
            journal.found(found.server, name);
        }
        if found.another {
            self.keep_those_of(found.server);
        }
        Some(found)
    }

    /// The server found last for the first time.
    pub(in crate::observe::context) fn newest_server(&self) -> Option<(ServerId, ServerName)> {
        lock(&self.servers).newest().cloned()
    }

    fn keep_those_of(&self, server: ServerId) {
        lock(&self.stamps).retain(|(of, ..), _| *of == server);
        for part in &self.parts {
            let part = &mut *lock(part);
            let gone = part.contexts.iter().filter(|(key, _)| key.server != server).map(|(_, c)| c.own).max();
            part.lost_own = part.lost_own.max(gone.unwrap_or(0));
            part.contexts.retain(|key, _| key.server == server);
            part.bytes = part.contexts.values().map(Context::bytes).sum();
        }
    }

    /// A table's version column is the one with this attribute number. If it was another before, all contexts forget
    /// the table.
    pub fn stamp(&self, server: ServerId, database: &Arc<str>, table: u32, attnum: i16) {
        let before = lock(&self.stamps).insert((server, database.clone(), table), attnum);
        if before != Some(attnum)
            && let Some(journal) = &self.journal
        {
            journal.stamp(server, database, table, attnum);
        }
        if before.is_some_and(|before| before != attnum) {
            self.drop_table(Some(server), database, table);
        }
    }

    /// See [`Self::stamp`].
    pub(in crate::observe::context) fn stamps(&self) -> HashMap<Table, i16> {
        lock(&self.stamps).clone()
    }
}
