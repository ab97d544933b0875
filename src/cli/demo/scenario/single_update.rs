//! One user reads a row and saves it: the save lands and the version goes from 1 to 2.

use std::time::SystemTime;

use crate::cli::demo::DemoError;
use crate::cli::demo::client::{Session, Uuid};
use crate::cli::demo::psql::Psql;
use crate::cli::demo::report::Check;
use crate::cli::demo::stage::Stage;

/// Plays with tokio-postgres, on a plain and on a composite key, and with psql.
pub async fn run(stage: &Stage) -> Result<Vec<Check>, DemoError> {
    let mut checks = Vec::new();
    let session = stage.proxied.connect().await?;

    let id = stage.id("projects", 0).await?;
    let (from, before) = version_and_time(&session, &id).await?;
    session.query("SELECT id, name, status FROM projects WHERE id = $1", &[&id]).await?;
    let name = "Harbour crane".to_owned();
    let saved = session.save("UPDATE projects SET name = $1 WHERE id = $2", &[&name, &id]).await?;
    let (to, after) = version_and_time(&session, &id).await?;
    checks.push(Check::equal(
        "tokio-postgres saves a project",
        "UPDATE 1, version 1 to 2, updated_at changed",
        format!(
            "{}, version {from} to {to}, updated_at {}",
            saved.word(),
            if after > before { "changed" } else { "unchanged" }
        ),
    ));

    let key = stage.id("users", 0).await?;
    let role = "viewer".to_owned();
    let read = "SELECT note, version FROM user_roles WHERE user_id = $1 AND role = $2";
    let from: i32 = session.one(read, &[&key, &role]).await?.try_get(1)?;
    let note = "granted by the board".to_owned();
    let saved = session
        .save("UPDATE user_roles SET note = $1 WHERE user_id = $2 AND role = $3", &[&note, &key, &role])
        .await?;
    let to: i32 = session.one(read, &[&key, &role]).await?.try_get(1)?;
    checks.push(Check::equal(
        "the same on a key of two columns",
        "UPDATE 1, version 1 to 2",
        format!("{}, version {from} to {to}", saved.word()),
    ));

    let scenario = "psql saves a project";
    checks.push(match &stage.psql {
        None => Check::skipped(scenario, "psql is not installed"),
        Some(program) => {
            let id = stage.id("projects", 1).await?;
            let mut psql = Psql::start(program, &stage.proxied)?;
            let version = format!("SELECT version FROM projects WHERE id = '{id}'");
            psql.run("\\t on")?;
            psql.run(&format!("SELECT name FROM projects WHERE id = '{id}'"))?;
            let from = psql.run(&version)?.output;
            let saved = psql.run(&format!("UPDATE projects SET name = 'Tram depot' WHERE id = '{id}'"))?;
            let to = psql.run(&version)?.output;
            Check::equal(
                scenario,
                "UPDATE 1, version 1 to 2",
                format!("{}, version {from} to {to}", saved.word()),
            )
        }
    });
    Ok(checks)
}

async fn version_and_time(session: &Session, id: &Uuid) -> Result<(i32, SystemTime), DemoError> {
    let row = session.one("SELECT version, updated_at FROM projects WHERE id = $1", &[id]).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}
