//! Makes the planner database and migrates it.

use std::process::Command;

use tokio_postgres::NoTls;

use super::DemoError;
use super::client::{PLANNER, Target};
use super::proxy::without_settings;
use crate::throwaway::Cluster;

/// Tables, keys, triggers and rows.
const SCRIPT: &str = include_str!("planner.sql");

/// Creates the application's role and its database, and fills it. Returns the number of rows of all tables.
pub async fn create(cluster: &Cluster) -> Result<i64, DemoError> {
    as_superuser(cluster, &format!("CREATE ROLE {PLANNER} LOGIN")).await?;
    as_superuser(cluster, &format!("CREATE DATABASE {PLANNER} OWNER {PLANNER}")).await?;
    let session = Target { port: cluster.port(), ledger: None }.connect().await?;
    session.batch(SCRIPT).await?;
    // ANALYZE, the script's last statement, has left the counts.
    let counted = "SELECT sum(reltuples)::bigint FROM pg_class \
                   WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";
    Ok(session.one(counted, &[]).await?.try_get(0)?)
}

/// Runs one statement as the superuser; psql may be missing on this machine.
async fn as_superuser(cluster: &Cluster, sql: &str) -> Result<(), DemoError> {
    let (client, connection) = tokio_postgres::connect(&cluster.dsn("postgres"), NoTls).await?;
    let task = tokio::spawn(async move {
        let _ = connection.await;
    });
    let done = client.batch_execute(sql).await;
    task.abort();
    Ok(done?)
}

/// Runs `staleguard migrate up` on the planner, as its owner; returns what it printed.
pub fn migrate(cluster: &Cluster) -> Result<String, DemoError> {
    let failed = |source| DemoError::Program { program: "staleguard migrate up".into(), source };
    let dsn = cluster.dsn_as(PLANNER, None, PLANNER);
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.args(["migrate", "up", "--dsn", &dsn]);
    without_settings(&mut command);
    let output = command.output().map_err(failed)?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() {
        Ok(text)
    } else {
        Err(DemoError::Migration { status: output.status.to_string(), output: text })
    }
}
