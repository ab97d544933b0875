//! Retires the version columns, waits, and drops them.

use tokio_postgres::{Client, Transaction};

use super::inspect::{Relation, dependents, inspect};
use super::report::{Action, Outcome, Problem, Report, TableReport, TriggerOutcome};
use super::retry::{Work, locked};
use super::trigger::{self, Remove};
use super::up::comment_on;
use super::wait::wait;
use super::{Options, Progress, RETIRED_MARK, quote};
use crate::catalog::TableSettings;

/// What is known of a table after the first round.
enum Step {
    Done(Outcome, Option<TriggerOutcome>),
    Drop { oid: u32, trigger: bool },
}

/// Takes the version columns away without any statement of a proxy's clients failing; see the module.
pub async fn down(
    client: &mut Client,
    tables: &[TableSettings],
    options: &Options,
    progress: Progress<'_>,
) -> Report {
    let mut steps = Vec::with_capacity(tables.len());
    let mut lost = false;
    for t in tables {
        let step = if lost { Err(Problem::NotTried) } else { retire(client, t, options, progress).await };
        lost |= step.as_ref().is_err_and(Problem::ends_the_run);
        steps.push(step);
    }
    let any = steps.iter().any(|s| matches!(s, Ok(Step::Drop { .. })));
    let waited = if any && !options.no_wait { wait(client, options, progress).await } else { Ok(()) };
    let mut report = Report { action: Action::Down, tables: Vec::with_capacity(tables.len()) };
    for (t, step) in tables.iter().zip(steps) {
        let mut dropped = None;
        let result = match (step, &waited) {
            (Err(problem), _) => Err(problem),
            (Ok(Step::Done(outcome, trigger)), _) => {
                dropped = trigger;
                Ok(outcome)
            }
            (Ok(Step::Drop { .. }), Err(problem)) => Err(problem.clone()),
            (Ok(Step::Drop { oid, trigger }), Ok(())) => {
                let name = quote::table(t);
                let result = locked(client, options, (&name, oid), progress, &Drop(t, oid)).await;
                dropped = (trigger && result.is_ok()).then_some(TriggerOutcome::Dropped);
                result.map_err(Problem::after_retiring)
            }
        };
        report.tables.push(TableReport {
            table: format!("{}.{}", t.schema, t.name),
            column: quote::definition(t),
            result,
            trigger: dropped,
        });
    }
    report
}

async fn retire(
    client: &mut Client,
    t: &TableSettings,
    options: &Options,
    progress: Progress<'_>,
) -> Result<Step, Problem> {
    let relation = inspect(client, t).await?;
    let trigger = trigger::find(client, relation.oid)
        .await
        .map_err(|e| Problem::server("looking for the trigger", e))?
        .is_some_and(|found| found.is_ours());
    let Some(found) = &relation.column else { return Ok(Step::Done(Outcome::NotThere, None)) };
    if t.adopt {
        let why = format!(
            "column {} is the application's own (adopt = true); set adopt = false to have it dropped",
            t.version_column
        );
        return leave_alone(client, t, options, progress, &relation, trigger, why).await;
    }
    if !is_ours(&relation, t) {
        let default = found.default.as_ref().map(|d| format!(" DEFAULT {d}")).unwrap_or_default();
        let null = if found.not_null { " NOT NULL" } else { "" };
        let why = format!(
            "column {} is {}{null}{default} and not {}: the application's own",
            t.version_column,
            found.type_name,
            quote::definition(t)
        );
        return leave_alone(client, t, options, progress, &relation, trigger, why).await;
    }
    relation.must_be_owned()?;
    let users = dependents(client, relation.oid, found.attnum)
        .await
        .map_err(|e| Problem::server("looking for what uses the column", e))?;
    if !users.is_empty() {
        return Err(Problem::InUse { column: t.version_column.clone(), objects: users.join(", ") });
    }
    if !found.retired() {
        let name = quote::table(t);
        locked(client, options, (&name, relation.oid), progress, &Retire(t)).await?;
    }
    Ok(Step::Drop { oid: relation.oid, trigger })
}

/// The column is the application's own; the trigger is not.
async fn leave_alone(
    client: &mut Client,
    t: &TableSettings,
    options: &Options,
    progress: Progress<'_>,
    relation: &Relation,
    trigger: bool,
    why: String,
) -> Result<Step, Problem> {
    if trigger {
        relation.must_be_owned()?;
        let remove = Remove { table: t, oid: relation.oid };
        locked(client, options, (&quote::table(t), relation.oid), progress, &remove).await?;
    }
    Ok(Step::Done(Outcome::LeftAlone { why }, trigger.then_some(TriggerOutcome::Dropped)))
}

fn is_ours(relation: &Relation, t: &TableSettings) -> bool {
    relation.column.as_ref().is_some_and(|c| c.fault(t).is_none())
}

struct Retire<'a>(&'a TableSettings);

impl Work for Retire<'_> {
    async fn run(&self, tx: &Transaction<'_>) -> Result<Outcome, Problem> {
        let t = self.0;
        let comment = inspect(tx, t).await?.column.and_then(|c| c.comment).unwrap_or_default();
        let value = quote::literal(format!("{comment} {RETIRED_MARK}").trim_start());
        comment_on(tx, t, &value).await.map_err(|e| Problem::server("marking the column as retired", e))?;
        Ok(Outcome::Dropped)
    }
}

struct Drop<'a>(&'a TableSettings, u32);

impl Work for Drop<'_> {
    async fn run(&self, tx: &Transaction<'_>) -> Result<Outcome, Problem> {
        let Self(t, oid) = self;
        let doing = "dropping the column";
        let lock = format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", quote::table(t));
        tx.batch_execute(&lock).await.map_err(|e| Problem::server(doing, e))?;
        // Under the lock nobody changes it any more. An `up` that ran meanwhile has won.
        let relation = inspect(tx, t).await?;
        let Some(found) = &relation.column else { return Ok(Outcome::NotThere) };
        if relation.oid != *oid || !found.retired() || !is_ours(&relation, t) {
            return Err(Problem::Changed { column: t.version_column.clone() });
        }
        trigger::remove(tx, t, *oid).await?;
        let drop = format!("ALTER TABLE {} DROP COLUMN {}", quote::table(t), quote::ident(&t.version_column));
        tx.batch_execute(&drop).await.map_err(|e| Problem::server(doing, e))?;
        Ok(Outcome::Dropped)
    }
}
