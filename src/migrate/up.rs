//! Adds the version columns.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Transaction};

use super::inspect::{Found, inspect};
use super::report::{Action, Outcome, Problem, Report, TableReport, TriggerOutcome};
use super::retry::{Work, locked};
use super::trigger::{self, Install, Standing};
use super::{Options, Progress, RETIRED_MARK, quote};
use crate::catalog::TableSettings;

/// Gives each table its version column, and takes the retired mark from one that has it; where that is asked for,
/// the trigger too.
pub async fn up(
    client: &mut Client,
    tables: &[TableSettings],
    options: &Options,
    progress: Progress<'_>,
) -> Report {
    let mut report = Report { action: Action::Up, tables: Vec::with_capacity(tables.len()) };
    let mut lost = false;
    for t in tables {
        let mut result = if lost { Err(Problem::NotTried) } else { one(client, t, options, progress).await };
        let mut trigger = None;
        if options.with_trigger && result.is_ok() {
            match with_trigger(client, t, options, progress).await {
                Ok(outcome) => trigger = Some(outcome),
                Err(problem) => result = Err(problem),
            }
        }
        lost |= result.as_ref().is_err_and(Problem::ends_the_run);
        report.tables.push(TableReport {
            table: format!("{}.{}", t.schema, t.name),
            column: quote::definition(t),
            result,
            trigger,
        });
    }
    report
}

async fn one(
    client: &mut Client,
    t: &TableSettings,
    options: &Options,
    progress: Progress<'_>,
) -> Result<Outcome, Problem> {
    let relation = inspect(client, t).await?;
    let name = quote::table(t);
    let Some(found) = &relation.column else {
        relation.must_be_owned()?;
        let added = locked(client, options, (&name, relation.oid), progress, &Add(t)).await;
        // Another run was faster: what it left decides.
        if matches!(&added, Err(Problem::Server { error, .. }) if error.is(&SqlState::DUPLICATE_COLUMN)) {
            let again = inspect(client, t).await?.column;
            return again.map_or(added, |found| present(&found, t));
        }
        return added;
    };
    let outcome = present(found, t)?;
    if !found.retired() {
        return Ok(outcome);
    }
    relation.must_be_owned()?;
    locked(client, options, (&name, relation.oid), progress, &Revive(t)).await
}

/// A transaction of its own: the table is locked for as short as can be.
async fn with_trigger(
    client: &mut Client,
    t: &TableSettings,
    options: &Options,
    progress: Progress<'_>,
) -> Result<TriggerOutcome, Problem> {
    let wrong = |e: super::ServerError| Problem::server("looking for the trigger", e);
    let relation = inspect(client, t).await?;
    let wanted = trigger::uncounted(client, t, relation.oid).await.map_err(wrong)?;
    let found = trigger::find(client, relation.oid).await.map_err(wrong)?;
    let found = found.filter(trigger::Found::is_ours);
    if found.as_ref().is_some_and(|f| f.standing(t, &wanted) == Standing::Current) {
        return Ok(TriggerOutcome::AlreadyThere);
    }
    relation.must_be_owned()?;
    let install = Install { table: t, oid: relation.oid };
    locked(client, options, (&quote::table(t), relation.oid), progress, &install).await?;
    Ok(if found.is_some() { TriggerOutcome::Replaced } else { TriggerOutcome::Added })
}

fn present(found: &Found, t: &TableSettings) -> Result<Outcome, Problem> {
    if let Some(problem) = found.fault(t) {
        return Err(problem);
    }
    // An adopted column that has our own shape needs no adopting.
    let own_shape = found.fault(&TableSettings { adopt: false, ..t.clone() }).is_none();
    Ok(if own_shape { Outcome::AlreadyThere } else { Outcome::Adopted })
}

struct Add<'a>(&'a TableSettings);

impl Work for Add<'_> {
    async fn run(&self, tx: &Transaction<'_>) -> Result<Outcome, Problem> {
        let t = self.0;
        let sql = format!(
            "ALTER TABLE {} ADD COLUMN {} pg_catalog.{} NOT NULL DEFAULT 1",
            quote::table(t),
            quote::ident(&t.version_column),
            t.version_type.sql_name()
        );
        tx.batch_execute(&sql).await.map_err(|e| Problem::server("adding the column", e))?;
        Ok(Outcome::Added)
    }
}

struct Revive<'a>(&'a TableSettings);

impl Work for Revive<'_> {
    async fn run(&self, tx: &Transaction<'_>) -> Result<Outcome, Problem> {
        let t = self.0;
        let comment = inspect(tx, t).await?.column.and_then(|c| c.comment).unwrap_or_default();
        let rest = comment.replace(RETIRED_MARK, "");
        let rest = rest.trim();
        let value = if rest.is_empty() { "NULL".to_owned() } else { quote::literal(rest) };
        comment_on(tx, t, &value).await.map_err(|e| Problem::server("taking the retired mark away", e))?;
        Ok(Outcome::Revived)
    }
}

/// Sets the version column's comment to an SQL value.
pub(super) async fn comment_on(
    tx: &Transaction<'_>,
    t: &TableSettings,
    value: &str,
) -> Result<(), tokio_postgres::Error> {
    let sql = format!("COMMENT ON COLUMN {}.{} IS {value}", quote::table(t), quote::ident(&t.version_column));
    tx.batch_execute(&sql).await
}
