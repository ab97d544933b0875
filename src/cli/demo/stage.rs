//! What every scenario is given: the two ways to the database, and the rows to play with.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::DemoError;
use super::client::{Ledger, Session, Target, Uuid};
use super::proxy::Log;

/// The two ways to the database and what the run has left behind so far.
#[derive(Debug)]
pub struct Stage {
    /// Straight to PostgreSQL.
    pub direct: Target,
    /// Through the proxy.
    pub proxied: Target,
    /// Through a second proxy, which tells the users of a pool apart.
    pub told_apart: Target,
    /// psql, where it is installed.
    pub psql: Option<PathBuf>,
    /// Seconds each half of the race runs.
    pub race: Duration,
    /// What clients were shown through the proxy.
    pub ledger: Arc<Ledger>,
    /// The proxy's HTTP address.
    pub http: SocketAddr,
    /// The proxy's log.
    pub log: Log,
}

impl Stage {
    /// Keys of `count` rows of a table with an `id`, from the `skip`th in the order of the keys. Scenarios
    /// take disjoint rows, so that each meets rows at version 1.
    pub async fn ids(&self, table: &str, skip: i64, count: i64) -> Result<Vec<Uuid>, DemoError> {
        let session = self.direct.connect().await?;
        let sql = format!("SELECT id FROM {table} ORDER BY id OFFSET $1 LIMIT $2");
        let rows = session.query(&sql, &[&skip, &count]).await?;
        let ids: Vec<Uuid> = rows.iter().map(|r| r.try_get(0)).collect::<Result<_, _>>()?;
        match i64::try_from(ids.len()) {
            Ok(found) if found == count => Ok(ids),
            _ => Err(DemoError::Rows { sql, rows: ids.len() }),
        }
    }

    /// The key of one row; see [`Stage::ids`].
    pub async fn id(&self, table: &str, skip: i64) -> Result<Uuid, DemoError> {
        let ids = self.ids(table, skip, 1).await?;
        ids.first().copied().ok_or_else(|| DemoError::Rows { sql: table.to_owned(), rows: 0 })
    }

    /// Two sessions through the proxy: two users at two desks.
    pub async fn two_users(&self) -> Result<(Session, Session), DemoError> {
        Ok((self.proxied.connect().await?, self.proxied.connect().await?))
    }
}
