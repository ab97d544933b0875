//! Two users open the same project. The first save lands, the second is refused with the row as it is now,
//! its user reads again and saves again.

use serde_json::Value;

use crate::cli::demo::DemoError;
use crate::cli::demo::client::{Conflict, Saved};
use crate::cli::demo::psql::Psql;
use crate::cli::demo::report::Check;
use crate::cli::demo::stage::Stage;

const READ: &str = "SELECT id, name, status FROM projects WHERE id = $1";
const SAVE: &str = "UPDATE projects SET name = $1 WHERE id = $2";
const EXPECTED: &str = "conflict 40001: expected 1, actual 2, name is \"Ada's\"; \
                        after reading again UPDATE 1, version 3";
const IN_BLOCK: &str = "the block is failed";
const COMMIT_SAYS: &str = "COMMIT answers ROLLBACK";

/// Plays by extended and simple protocol, in autocommit and in a transaction block.
pub async fn run(stage: &Stage) -> Result<Vec<Check>, DemoError> {
    let mut checks = vec![autocommit(stage).await?, in_a_block(stage).await?];
    for (skip, block, scenario) in
        [(12, false, "psql, autocommit"), (13, true, "psql, in a transaction block")]
    {
        checks.push(match &stage.psql {
            None => Check::skipped(scenario, "psql is not installed"),
            Some(program) => {
                let id = stage.id("projects", skip).await?.to_string();
                let (ada, ben) =
                    (Psql::start(program, &stage.proxied)?, Psql::start(program, &stage.proxied)?);
                with_psql(scenario, ada, ben, &id, block)?
            }
        });
    }
    Ok(checks)
}

async fn autocommit(stage: &Stage) -> Result<Check, DemoError> {
    let id = stage.id("projects", 10).await?;
    let (ada, ben) = stage.two_users().await?;
    ada.query(READ, &[&id]).await?;
    ben.query(READ, &[&id]).await?;
    ada.save(SAVE, &[&"Ada's", &id]).await?;
    let refused = ben.save(SAVE, &[&"Ben's", &id]).await?;
    ben.query(READ, &[&id]).await?;
    let again = ben.save(SAVE, &[&"Ben's", &id]).await?;
    let version: i32 = ben.one("SELECT version FROM projects WHERE id = $1", &[&id]).await?.try_get(0)?;
    Ok(Check::equal(
        "tokio-postgres, autocommit",
        EXPECTED,
        format!("{}; after reading again {}, version {version}", told(&refused), again.word()),
    ))
}

async fn in_a_block(stage: &Stage) -> Result<Check, DemoError> {
    let id = stage.id("projects", 11).await?;
    let (ada, ben) = stage.two_users().await?;
    ada.query(READ, &[&id]).await?;
    ben.batch("BEGIN").await?;
    ben.query(READ, &[&id]).await?;
    ada.save(SAVE, &[&"Ada's", &id]).await?;
    let refused = ben.save(SAVE, &[&"Ben's", &id]).await?;
    // 25P02: the server itself refuses whatever follows, so its state is what the client was told.
    let block = match ben.sqlstate_of("SELECT 1").await?.as_str() {
        "25P02" => IN_BLOCK.to_owned(),
        other => format!("the block answers {other}"),
    };
    ben.batch("ROLLBACK").await?;
    ben.batch("BEGIN").await?;
    ben.query(READ, &[&id]).await?;
    let again = ben.save(SAVE, &[&"Ben's", &id]).await?;
    ben.batch("COMMIT").await?;
    let version: i32 = ada.one("SELECT version FROM projects WHERE id = $1", &[&id]).await?.try_get(0)?;
    Ok(Check::equal(
        "tokio-postgres, in a transaction block",
        format!("{EXPECTED}; {IN_BLOCK}"),
        format!("{}; after reading again {}, version {version}; {block}", told(&refused), again.word()),
    ))
}

fn with_psql(
    scenario: &str,
    mut ada: Psql,
    mut ben: Psql,
    id: &str,
    block: bool,
) -> Result<Check, DemoError> {
    let read = format!("SELECT id, name, status FROM projects WHERE id = '{id}'");
    let save = |name: &str| format!("UPDATE projects SET name = '{name}' WHERE id = '{id}'");
    ada.run("\\t on")?;
    ada.run(&read)?;
    if block {
        ben.run("BEGIN")?;
    }
    ben.run(&read)?;
    ada.run(&save("Ada''s"))?;
    let refused = ben.run(&save("Ben''s"))?;
    let mut state = String::new();
    if block {
        let failed = match ben.run("SELECT 1")?.sqlstate.as_str() {
            "25P02" => IN_BLOCK.to_owned(),
            other => format!("the block answers {other}"),
        };
        state = format!("; {failed}, COMMIT answers {}", ben.run("COMMIT")?.tag());
        ben.run("BEGIN")?;
    }
    ben.run(&read)?;
    let again = ben.run(&save("Ben''s"))?;
    if block {
        ben.run("COMMIT")?;
    }
    let version = ada.run(&format!("SELECT version FROM projects WHERE id = '{id}'"))?;
    let expected = if block { format!("{EXPECTED}; {IN_BLOCK}, {COMMIT_SAYS}") } else { EXPECTED.to_owned() };
    let detail = Conflict {
        message: String::new(),
        detail: serde_json::from_str(refused.field("DETAIL: ")).unwrap_or(Value::Null),
        hint: String::new(),
        constraint: String::new(),
    };
    let seen = match refused.sqlstate.as_str() {
        "40001" => format!("conflict 40001: {}", detail.summary("name")),
        _ => refused.word(),
    };
    let seen =
        format!("{seen}; after reading again {}, version {}{state}", again.word(), version.output.trim());
    Ok(Check::equal(scenario, expected, seen))
}

/// How a refused save reads in the table.
fn told(saved: &Saved) -> String {
    match saved.conflict() {
        Some(conflict) => format!("{}: {}", saved.word(), conflict.summary("name")),
        None => saved.word(),
    }
}
