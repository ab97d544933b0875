//! Nothing that the proxy adds to a statement may show in its result.

use std::collections::BTreeSet;

use tokio_postgres::Row;

use crate::cli::demo::DemoError;
use crate::cli::demo::client::{Session, column_names};
use crate::cli::demo::psql::Psql;
use crate::cli::demo::report::Check;
use crate::cli::demo::stage::Stage;

/// Statements that are run both ways, over shapes that gain hidden columns and shapes that do not.
const PROBES: &[&str] = &[
    "SELECT * FROM projects ORDER BY id LIMIT 20",
    "SELECT name FROM projects ORDER BY code LIMIT 20",
    "SELECT id, name FROM projects WHERE code = 'PRJ-0000'",
    "SELECT p.name, f.name AS portfolio FROM projects p JOIN portfolios f ON f.id = p.portfolio_id \
     ORDER BY p.code LIMIT 20",
    "SELECT p.name, g.name FROM projects p LEFT JOIN programs g ON g.id = p.program_id ORDER BY p.code LIMIT 20",
    "SELECT a.name, b.name FROM projects a JOIN projects b ON b.program_id = a.program_id \
     ORDER BY a.code, b.code LIMIT 20",
    "SELECT upper(full_name) FROM workers ORDER BY personnel_no LIMIT 20",
    "SELECT DISTINCT status FROM projects ORDER BY 1",
    "SELECT status, count(*) FROM projects GROUP BY status ORDER BY 1",
    "SELECT name FROM portfolios UNION SELECT name FROM programs ORDER BY 1 LIMIT 20",
    "SELECT p.* FROM programs p ORDER BY p.code LIMIT 3",
    "SELECT (SELECT name FROM portfolios f WHERE f.id = p.portfolio_id) FROM projects p ORDER BY p.code LIMIT 20",
    "WITH recent AS (SELECT id, name FROM projects ORDER BY code LIMIT 5) SELECT name FROM recent ORDER BY name",
    "SELECT name FROM projects WHERE code = 'PRJ-0042' FOR UPDATE",
    "UPDATE worker_types SET name = 'Engineers' WHERE code = 'ENG' RETURNING name",
    "SELECT 1 AS one",
];

/// Compares column names, column counts and row sizes of both ways, and psql's output letter by letter.
pub async fn run(stage: &Stage) -> Result<Vec<Check>, DemoError> {
    let mut checks = vec![everything_shown(stage).await?, side_by_side(stage).await?];
    checks.push(match &stage.psql {
        None => Check::skipped("psql's output, both ways", "psql is not installed"),
        Some(program) => {
            by_psql(Psql::start(program, &stage.direct)?, Psql::start(program, &stage.proxied)?)?
        }
    });
    Ok(checks)
}

/// Every statement that was prepared through the proxy in the whole run, against its direct description.
async fn everything_shown(stage: &Stage) -> Result<Check, DemoError> {
    let direct = stage.direct.connect().await?;
    let shown = stage.ledger.shown().columns.clone();
    let mut differing = Vec::new();
    for (sql, seen) in &shown {
        let expected = BTreeSet::from([column_names(&direct.prepare(sql).await?)]);
        if *seen != expected {
            differing.push(format!("{sql}: {seen:?} instead of {expected:?}"));
        }
    }
    Ok(verdict("all statements of this run so far", shown.len(), &differing))
}

/// The probes, whole and in pages of three rows.
async fn side_by_side(stage: &Stage) -> Result<Check, DemoError> {
    let mut direct = stage.direct.connect().await?;
    let mut proxied = stage.proxied.connect().await?;
    let mut differing = Vec::new();
    for sql in PROBES {
        let (expected, seen) = (shape(&mut direct, sql).await?, shape(&mut proxied, sql).await?);
        if expected != seen {
            differing.push(format!("{sql}: {seen:?} instead of {expected:?}"));
        }
    }
    Ok(verdict("columns and row sizes, whole and in pages", PROBES.len(), &differing))
}

/// Column names, then the bytes of each row: a DataRow with a value too many would be longer.
type Shape = (Vec<String>, Vec<usize>, Vec<usize>);

async fn shape(session: &mut Session, sql: &str) -> Result<Shape, DemoError> {
    let statement = session.prepare(sql).await?;
    let sizes = |rows: Vec<Row>| rows.iter().map(Row::raw_size_bytes).collect();
    session.batch("BEGIN").await?;
    let whole = session.query_prepared(&statement, &[]).await;
    session.batch("ROLLBACK").await?;
    let paged = session.paged(&statement, &[], 3).await?;
    Ok((column_names(&statement), sizes(whole?), sizes(paged)))
}

fn by_psql(mut direct: Psql, mut proxied: Psql) -> Result<Check, DemoError> {
    let mut differing = Vec::new();
    for sql in PROBES {
        let mut outputs = Vec::new();
        for psql in [&mut direct, &mut proxied] {
            psql.run("BEGIN")?;
            outputs.push(psql.run(sql)?.output);
            psql.run("ROLLBACK")?;
        }
        if outputs.first() != outputs.get(1) {
            differing.push(format!("{sql}: output differs"));
        }
    }
    Ok(verdict("psql's output, letter by letter", PROBES.len(), &differing))
}

fn verdict(scenario: &str, compared: usize, differing: &[String]) -> Check {
    let seen = match differing.first() {
        None => format!("{compared} statements, 0 differ"),
        Some(first) => format!("{compared} statements, {} differ; {first}", differing.len()),
    };
    Check::new(scenario, "0 differ from a direct connection", seen, differing.is_empty() && compared > 0)
}
