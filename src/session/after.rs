//! After a conflict: what is remembered of it, and what its operator must hear.

use super::state::Session;
use crate::conflict::Who;
use crate::observe::{RowKey, Scope};
use crate::telemetry::targets;

/// After so many refusals of a row in a row, without a read that lets the context write it, the operator is told.
const REFUSALS: u32 = 3;

/// After so many uses of a connection by others its operator is told.
const USES: u32 = 3;

/// Signs that one connection serves a pool.
#[derive(Debug, Default)]
pub(crate) struct Pooled {
    /// How often the connection was handed on: reset, or given another name or role.
    handed_on: u32,
    told: bool,
}

impl Session {
    /// A write of the row, based on `expected`, has been refused.
    pub fn conflicted(&mut self, entity: &str, row: &RowKey, expected: i64, actual: Option<i64>) {
        let now = self.now();
        let metrics = self.shared.metrics.clone();
        let refusals = self.observations.refused(row, expected, actual, now);
        let (id, database) = (self.facts.id, self.facts.database.as_str());
        let label = self.observations.label();
        self.shared.retries.refused(who(id, database, label), row, entity, now, |entity, outcome| {
            metrics.retry(entity, outcome);
        });
        let Some(user) = self.user() else { return };
        self.shared.users.conflict(&user, |user| metrics.conflict_of_user(user));
        if refusals == REFUSALS {
            tracing::warn!(target: targets::CONFLICT, session = id, database, user_id = &*user,
                entity_type = entity, entity_id = &*row.key, application_name = %self.facts.application_name,
                "a context has been refused the same row {REFUSALS} times and no later unit of work has read it; \
                 a worker that writes without reading wants scope connection (scope_exceptions = \
                 [\"application_name=PATTERN:connection\"]), a client that repeats its request on purpose \
                 context.after_conflict = \"told\"");
        }
    }

    /// A write of the row has landed.
    pub fn landed(&self, row: &RowKey) {
        let (id, database) = (self.facts.id, self.facts.database.as_str());
        let metrics = &self.shared.metrics;
        let who = who(id, database, self.observations.label());
        self.shared.retries.landed(who, row, self.now(), |entity, outcome| metrics.retry(entity, outcome));
    }

    /// The connection was reset, or got another name or role, as pools do when they hand it on.
    pub fn handed_on(&mut self) {
        self.pooled.handed_on += 1;
        if self.pooled.handed_on < USES || self.pooled.told {
            return;
        }
        self.pooled.told = true;
        if matches!(self.observations, Scope::Connection(_)) && self.shared.notices.pooled() {
            tracing::warn!(target: targets::SESSION, session = self.facts.id, database = %self.facts.database,
                application_name = %self.facts.application_name,
                "a connection evidently serves a pool (it was reset or renamed {USES} times) under scope connection: \
                 whose reads count is not told apart by user; scope context does (scope = \"context\" and \
                 context.label, see docs/scopes.md)");
        }
    }
}

fn who<'a>(session: u64, database: &'a str, label: Option<&'a str>) -> Who<'a> {
    label.map_or(Who::Session(session), |label| Who::Context(database, label))
}
