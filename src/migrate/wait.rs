//! The wait between retiring a column and dropping it.
//!
//! A proxy goes by what it saw of the catalog for [`CATALOG_AGE`](super::CATALOG_AGE) at most, and a
//! transaction by what its first statement saw until its end. So first twice that age is let pass, and then
//! every transaction that is open at that moment must end; those that begin later know of the mark.

use std::collections::HashSet;
use std::fmt;
use std::time::{Duration, Instant};

use tokio_postgres::{Client, Row};

use super::connect::ServerError;
use super::report::Problem;
use super::{Options, Progress};

/// How often the server is asked whether the transactions have ended; it has no event for it.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often the wait is told of.
const TELL_EVERY: Duration = Duration::from_secs(10);
/// How many transactions a message names.
const NAMED: usize = 5;

/// A session whose transaction is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenTransaction {
    /// The server process; none for a prepared transaction.
    pub pid: Option<i32>,
    /// Its role.
    pub role: Option<String>,
    /// Its `application_name`.
    pub application: Option<String>,
    /// Since when it is open, in seconds; none where this role may not know.
    pub age: Option<i64>,
}

impl OpenTransaction {
    /// From four columns that begin at `at`: pid, role, application, age.
    pub(super) fn from_row(row: &Row, at: usize) -> Result<Self, tokio_postgres::Error> {
        Ok(Self {
            pid: row.try_get(at)?,
            role: row.try_get(at + 1)?,
            application: row.try_get::<_, Option<String>>(at + 2)?.filter(|a| !a.is_empty()),
            age: row.try_get(at + 3)?,
        })
    }

    /// The first few in words.
    pub(super) fn list(open: &[Self]) -> String {
        let mut text: Vec<String> = open.iter().take(NAMED).map(ToString::to_string).collect();
        if open.len() > NAMED {
            text.push(format!("{} more", open.len() - NAMED));
        }
        text.join(", ")
    }
}

impl fmt::Display for OpenTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(pid) = self.pid else {
            return f.write_str("a prepared transaction (see pg_prepared_xacts)");
        };
        write!(f, "pid {pid} (")?;
        if let Some(role) = &self.role {
            write!(f, "role {role}, ")?;
        }
        if let Some(application) = &self.application {
            write!(f, "application {application}, ")?;
        }
        match self.age {
            Some(age) => write!(f, "transaction open for {age} s)"),
            None => f.write_str("age not visible to this role)"),
        }
    }
}

/// Lets twice the catalog's age pass, then waits for every transaction that is open at its end.
pub(super) async fn wait(client: &Client, options: &Options, progress: Progress<'_>) -> Result<(), Problem> {
    let pause = options.catalog_age * 2;
    progress(&format!(
        "waiting {} s until every proxy has seen that the columns are retired",
        pause.as_secs_f64()
    ));
    tokio::time::sleep(pause).await;
    let failed = |e: ServerError| Problem::server("waiting for open transactions", e).after_retiring();
    let mut open = look(client).await.map_err(failed)?;
    let began = Instant::now();
    let mut told: Option<Instant> = None;
    while !open.is_empty() {
        let named = || open.iter().map(|(_, o)| o.clone()).collect::<Vec<_>>();
        if began.elapsed() >= options.wait_limit {
            return Err(Problem::StillOpen { seconds: options.wait_limit.as_secs(), open: named() });
        }
        if told.is_none_or(|t| t.elapsed() >= TELL_EVERY) {
            told = Some(Instant::now());
            let left = options.wait_limit.saturating_sub(began.elapsed()).as_secs();
            progress(&format!("waiting, {left} s at most, for {}", OpenTransaction::list(&named())));
        }
        tokio::time::sleep(LOOK_EVERY.min(options.wait_limit)).await;
        let first: HashSet<String> = open.into_iter().map(|(id, _)| id).collect();
        open = look(client).await.map_err(failed)?;
        open.retain(|(id, _)| first.contains(id));
    }
    Ok(())
}

/// The transactions of clients that are open in this database, by virtual transaction id.
///
/// Any role sees `pg_locks` whole, and of `pg_stat_activity` the database, role and application. A
/// process without a role is autovacuum or another of the server's own, which run no client's statements.
async fn look(client: &Client) -> Result<Vec<(String, OpenTransaction)>, ServerError> {
    const SELECT: &str = "\
SELECT l.virtualxid, l.pid, s.usename::pg_catalog.text, s.application_name, \
  pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - s.xact_start)::pg_catalog.int8 \
FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity s ON s.pid = l.pid \
WHERE l.locktype = 'virtualxid' AND l.granted AND l.mode = 'ExclusiveLock' \
  AND l.pid <> pg_catalog.pg_backend_pid() AND s.datname = pg_catalog.current_database() \
  AND s.usesysid IS NOT NULL \
ORDER BY s.xact_start NULLS LAST, l.pid";
    let rows = client.query_typed(SELECT, &[]).await?;
    rows.iter()
        .map(|row| Ok((row.try_get::<_, String>(0)?, OpenTransaction::from_row(row, 1)?)))
        .collect::<Result<_, tokio_postgres::Error>>()
        .map_err(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut() {
        let one = |pid| OpenTransaction {
            pid: Some(pid),
            role: Some("app".into()),
            application: None,
            age: (pid != 2).then_some(40),
        };
        let open: Vec<_> = (1..=7).map(one).collect();
        let text = OpenTransaction::list(&open);
        assert!(text.starts_with(
            "pid 1 (role app, transaction open for 40 s), pid 2 (role app, age not visible to this role)"
        ));
        assert!(text.ends_with("pid 5 (role app, transaction open for 40 s), 2 more"), "{text}");
    }
}
