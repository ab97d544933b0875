//! The demo's client: tokio-postgres (extended protocol, binary), with a note of all it was shown.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error as StdError;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{BufMut, BytesMut};
use tokio::task::JoinHandle;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, NoTls, Row, Statement};

use super::DemoError;

/// Parameters as tokio-postgres takes them.
pub type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A `uuid` value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Uuid(pub [u8; 16]);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            if matches!(i, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl<'a> FromSql<'a> for Uuid {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self(raw.try_into()?))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::UUID
    }
}

impl ToSql for Uuid {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        out.put_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::UUID
    }

    to_sql_checked!();
}

/// Where a client connects to.
#[derive(Debug, Clone)]
pub struct Target {
    /// Loopback port.
    pub port: u16,
    /// Where what is shown on it is written down; only for connections through the proxy.
    pub ledger: Option<Arc<Ledger>>,
}

/// Role and database of the planner.
pub const PLANNER: &str = "planner";

impl Target {
    /// The connection string, as psql and tokio-postgres both take it.
    pub fn conninfo(&self) -> String {
        format!("host=127.0.0.1 port={} user={PLANNER} dbname={PLANNER}", self.port)
    }

    /// Opens a session.
    pub async fn connect(&self) -> Result<Session, DemoError> {
        let (client, connection) = tokio_postgres::connect(&self.conninfo(), NoTls).await?;
        let task = tokio::spawn(async move {
            // The error reaches the statement that waits on this connection, so it need not be told twice.
            let _ = connection.await;
        });
        Ok(Session { client, task, ledger: self.ledger.clone() })
    }
}

/// Everything the clients were shown through the proxy.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Shown>);

/// The content of a [`Ledger`].
#[derive(Debug, Default)]
pub struct Shown {
    /// Column names each statement was described with.
    pub columns: BTreeMap<String, BTreeSet<Vec<String>>>,
    /// Conflicts that reached a client.
    pub conflicts: u64,
    /// Texts of distinct errors, all fields. Keeps one of each message, up to a bound.
    pub errors: Vec<String>,
}

/// Error texts kept; the race alone makes thousands that differ in their numbers only.
const ERRORS_KEPT: usize = 2_000;

impl Ledger {
    /// What was shown so far.
    pub fn shown(&self) -> MutexGuard<'_, Shown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down an error and whether it was a conflict.
    pub fn error(&self, text: String, conflict: bool) {
        let mut shown = self.shown();
        shown.conflicts += u64::from(conflict);
        if shown.errors.len() < ERRORS_KEPT {
            shown.errors.push(text);
        }
    }
}

/// A refused write, as the client sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflict {
    /// The error's message.
    pub message: String,
    /// The error's DETAIL, parsed.
    pub detail: serde_json::Value,
    /// The error's HINT.
    pub hint: String,
    /// The error's constraint field.
    pub constraint: String,
}

impl Conflict {
    /// `expected 1, actual 2, name=..`: what the table shows.
    pub fn summary(&self, column: &str) -> String {
        let field = |name: &str| self.detail.get(name).map_or("?".into(), ToString::to_string);
        let state = self.detail.get("current_state").and_then(|s| s.get(column));
        format!(
            "expected {}, actual {}, {column} is {}",
            field("expected_version"),
            field("actual_version"),
            state.map_or("not shown".into(), ToString::to_string)
        )
    }
}

/// How a write ended that may be refused.
#[derive(Debug, Clone, PartialEq)]
pub enum Saved {
    /// Landed, on so many rows.
    Rows(u64),
    /// Refused with SQLSTATE 40001.
    Conflict(Box<Conflict>),
}

impl Saved {
    /// The conflict, where one was met.
    pub fn conflict(&self) -> Option<&Conflict> {
        match self {
            Self::Rows(_) => None,
            Self::Conflict(c) => Some(c),
        }
    }

    /// A word or two for the table.
    pub fn word(&self) -> String {
        match self {
            Self::Rows(n) => format!("UPDATE {n}"),
            Self::Conflict(_) => "conflict 40001".into(),
        }
    }
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    client: Client,
    task: JoinHandle<()>,
    ledger: Option<Arc<Ledger>>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Session {
    /// Prepares a statement and notes the columns it is described with.
    pub async fn prepare(&self, sql: &str) -> Result<Statement, DemoError> {
        let statement = self.client.prepare(sql).await.map_err(|e| self.failed(e))?;
        if let Some(ledger) = &self.ledger {
            let names = column_names(&statement);
            let mut shown = ledger.shown();
            match shown.columns.get_mut(sql) {
                Some(seen) => seen.insert(names),
                None => shown.columns.insert(sql.to_owned(), BTreeSet::from([names])).is_none(),
            };
        }
        Ok(statement)
    }

    /// Rows of a statement.
    pub async fn query(&self, sql: &str, params: Params<'_>) -> Result<Vec<Row>, DemoError> {
        let statement = self.prepare(sql).await?;
        self.query_prepared(&statement, params).await
    }

    /// Rows of a prepared statement.
    pub async fn query_prepared(
        &self,
        statement: &Statement,
        params: Params<'_>,
    ) -> Result<Vec<Row>, DemoError> {
        self.client.query(statement, params).await.map_err(|e| self.failed(e))
    }

    /// The one row of a statement.
    pub async fn one(&self, sql: &str, params: Params<'_>) -> Result<Row, DemoError> {
        let mut rows = self.query(sql, params).await?;
        match (rows.pop(), rows.is_empty()) {
            (Some(row), true) => Ok(row),
            (row, _) => {
                Err(DemoError::Rows { sql: sql.to_owned(), rows: rows.len() + usize::from(row.is_some()) })
            }
        }
    }

    /// A write that may meet a conflict. Any other error is an error.
    pub async fn save(&self, sql: &str, params: Params<'_>) -> Result<Saved, DemoError> {
        let statement = self.prepare(sql).await?;
        self.save_prepared(&statement, params).await
    }

    /// As [`Session::save`], of a prepared statement.
    pub async fn save_prepared(&self, statement: &Statement, params: Params<'_>) -> Result<Saved, DemoError> {
        let error = match self.client.execute(statement, params).await {
            Ok(rows) => return Ok(Saved::Rows(rows)),
            Err(error) => error,
        };
        match error.as_db_error() {
            Some(e) if e.code().code() == "40001" => {
                let conflict = Conflict {
                    message: e.message().to_owned(),
                    detail: serde_json::from_str(e.detail().unwrap_or_default())
                        .unwrap_or(serde_json::Value::Null),
                    hint: e.hint().unwrap_or_default().to_owned(),
                    constraint: e.constraint().unwrap_or_default().to_owned(),
                };
                self.note(&error);
                Ok(Saved::Conflict(Box::new(conflict)))
            }
            _ => Err(self.failed(error)),
        }
    }

    /// Statements without parameters, by the simple protocol.
    pub async fn batch(&self, sql: &str) -> Result<(), DemoError> {
        self.client.batch_execute(sql).await.map_err(|e| self.failed(e))
    }

    /// SQLSTATE that a statement fails with, `00000` where it does not fail.
    pub async fn sqlstate_of(&self, sql: &str) -> Result<String, DemoError> {
        match self.client.batch_execute(sql).await {
            Ok(()) => Ok("00000".into()),
            Err(error) => {
                self.note(&error);
                match error.code() {
                    Some(code) => Ok(code.code().to_owned()),
                    None => Err(error.into()),
                }
            }
        }
    }

    /// Rows of a prepared statement, fetched through a portal in pages of `page` rows.
    pub async fn paged(
        &mut self,
        statement: &Statement,
        params: Params<'_>,
        page: i32,
    ) -> Result<Vec<Row>, DemoError> {
        let transaction = self.client.transaction().await?;
        let portal = transaction.bind(statement, params).await?;
        let mut all = Vec::new();
        loop {
            let rows = transaction.query_portal(&portal, page).await?;
            if rows.is_empty() {
                break;
            }
            all.extend(rows);
        }
        transaction.rollback().await?;
        Ok(all)
    }

    fn failed(&self, error: tokio_postgres::Error) -> DemoError {
        self.note(&error);
        error.into()
    }

    fn note(&self, error: &tokio_postgres::Error) {
        let Some(ledger) = &self.ledger else { return };
        let conflict = error
            .as_db_error()
            .is_some_and(|e| e.constraint().is_some_and(|c| c.ends_with("_version_conflict")));
        ledger.error(format!("{error:?}"), conflict);
    }
}

/// Names of the columns that a statement's result is described with.
pub fn column_names(statement: &Statement) -> Vec<String> {
    statement.columns().iter().map(|c| c.name().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_uuid_prints_as_postgres_prints_it() {
        let bytes: [u8; 16] = std::array::from_fn(|i| u8::try_from(i * 17).unwrap());
        assert_eq!(Uuid(bytes).to_string(), "00112233-4455-6677-8899-aabbccddeeff");
    }

    #[test]
    fn a_conflict_is_summed_up_by_versions_and_state() {
        let conflict = Conflict {
            message: String::new(),
            detail: serde_json::json!({"expected_version": 1, "actual_version": 2,
                                       "current_state": {"name": "Depot"}}),
            hint: String::new(),
            constraint: String::new(),
        };
        assert_eq!(conflict.summary("name"), "expected 1, actual 2, name is \"Depot\"");
        assert_eq!(conflict.summary("budget"), "expected 1, actual 2, budget is not shown");
    }
}
