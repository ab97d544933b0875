//! A transaction that needs a table's lock: tried with a short `lock_timeout`, again and again.
//!
//! A statement that waits for a table's exclusive lock makes all that come after it wait too. So a try is
//! short, and between two tries the table is free.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Transaction};

use super::report::{Outcome, Problem};
use super::wait::OpenTransaction;
use super::{Options, Progress};

/// One table's work inside its transaction.
pub(super) trait Work {
    /// Does it; the caller commits, or rolls back what ended in a problem.
    async fn run(&self, tx: &Transaction<'_>) -> Result<Outcome, Problem>;
}

/// Runs `work` in a transaction of its own until the lock of table `oid` was had or `options.tries` are used up.
pub(super) async fn locked(
    client: &mut Client,
    options: &Options,
    (name, oid): (&str, u32),
    progress: Progress<'_>,
    work: &impl Work,
) -> Result<Outcome, Problem> {
    let mut pause = options.first_pause;
    let mut tried = 0;
    loop {
        tried += 1;
        let (doing, error) = match once(client, options, work).await {
            Err(Problem::Server { doing, error, .. })
                if error.is(&SqlState::LOCK_NOT_AVAILABLE) || error.is(&SqlState::T_R_DEADLOCK_DETECTED) =>
            {
                (doing, error)
            }
            other => return other,
        };
        let holders = match holders(client, oid).await {
            Ok(open) if open.is_empty() => "whoever held it has let go since".to_owned(),
            Ok(open) => format!("held by {}", OpenTransaction::list(&open)),
            Err(e) => format!("who holds it is unknown ({e})"),
        };
        if tried >= options.tries {
            let timeout = options.lock_timeout;
            return Err(Problem::Locked { tries: tried, timeout, holders, retired: false, error });
        }
        let wait = jitter(pause);
        progress(&format!(
            "{name}: {doing}: lock not free ({error}), {holders}; try {} of {} in {:.1} s",
            tried + 1,
            options.tries,
            wait.as_secs_f64()
        ));
        tokio::time::sleep(wait).await;
        pause = (pause * 2).min(options.longest_pause);
    }
}

async fn once(client: &mut Client, options: &Options, work: &impl Work) -> Result<Outcome, Problem> {
    let tx = client.transaction().await.map_err(|e| Problem::server("opening a transaction", e))?;
    // A role's own statement_timeout must not strike first: it would look like another error.
    let set = format!(
        "SET LOCAL lock_timeout = '{}ms'; SET LOCAL statement_timeout = 0",
        options.lock_timeout.as_millis().max(1)
    );
    tx.batch_execute(&set).await.map_err(|e| Problem::server("setting lock_timeout", e))?;
    let outcome = work.run(&tx).await;
    match outcome {
        Ok(outcome) => match tx.commit().await.map_err(|e| Problem::server("committing", e)) {
            Ok(()) => Ok(outcome),
            Err(Problem::Server { error, retired, .. }) if error.connection_lost => Err(Problem::Server {
                doing: "committing (whether it was done is not known: run this again)",
                error,
                retired,
            }),
            Err(problem) => Err(problem),
        },
        Err(problem) => {
            // If this fails too, the connection is gone and the server rolls back by itself.
            let _ = tx.rollback().await;
            Err(problem)
        }
    }
}

/// Between half of `pause` and all of it.
fn jitter(pause: Duration) -> Duration {
    let half = pause / 2;
    let span = u64::try_from(half.as_millis()).unwrap_or(u64::MAX).max(1);
    half + Duration::from_millis(RandomState::new().hash_one(0_u8) % span)
}

/// Who holds a lock on the table or on one of its partitions and children.
async fn holders(client: &Client, oid: u32) -> Result<Vec<OpenTransaction>, super::ServerError> {
    const SELECT: &str = "\
WITH RECURSIVE family(oid) AS (SELECT $1 UNION \
  SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN family f ON i.inhparent = f.oid) \
SELECT DISTINCT l.pid, s.usename::pg_catalog.text, s.application_name, \
  pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - s.xact_start)::pg_catalog.int8 \
FROM pg_catalog.pg_locks l JOIN family f ON f.oid = l.relation \
LEFT JOIN pg_catalog.pg_stat_activity s ON s.pid = l.pid \
WHERE l.granted AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid() AND l.database = \
  (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()) \
ORDER BY 1";
    let rows = client.query_typed(SELECT, &[(&oid, Type::OID)]).await?;
    rows.iter().map(|row| OpenTransaction::from_row(row, 0).map_err(Into::into)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_pause_is_left_to_chance() {
        let pause = Duration::from_millis(1_000);
        let picks: Vec<Duration> = (0..50).map(|_| jitter(pause)).collect();
        assert!(picks.iter().all(|p| *p >= pause / 2 && *p < pause));
        assert!(picks.iter().any(|p| Some(p) != picks.first()));
    }
}
