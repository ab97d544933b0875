//! A user opens ten rates and saves all ten; two were changed meanwhile.

use crate::cli::demo::DemoError;
use crate::cli::demo::client::{Session, Uuid};
use crate::cli::demo::report::Check;
use crate::cli::demo::stage::Stage;

const SAVE: &str = "UPDATE rates SET hourly_cents = $1 WHERE id = $2";
const READ: &str = "SELECT id, hourly_cents FROM rates WHERE id = $1";

/// Ten point saves in autocommit; those refused are read and saved again.
pub async fn run(stage: &Stage) -> Result<Vec<Check>, DemoError> {
    let ids = stage.ids("rates", 0, 10).await?;
    let (ada, ben) = stage.two_users().await?;
    let list = "SELECT id, hourly_cents FROM rates WHERE id = ANY($1) ORDER BY id";
    ada.query(list, &[&ids]).await?;

    for id in ids.iter().skip(3).step_by(4) {
        let cents: i32 = ben.one(READ, &[id]).await?.try_get(1)?;
        ben.save(SAVE, &[&(cents + 250), id]).await?;
    }

    let refused = raise(&ada, &ids).await?;
    for id in &refused {
        ada.query(READ, &[id]).await?;
    }
    let still_refused = raise(&ada, &refused).await?;
    let rows = ada.query("SELECT version FROM rates WHERE id = ANY($1) ORDER BY id", &[&ids]).await?;
    let versions: Vec<i32> = rows.iter().map(|r| r.try_get(0)).collect::<Result<_, _>>()?;
    Ok(vec![Check::equal(
        "ten rates, two of them changed by a colleague",
        "8 saved, 2 conflicts; after reading again 2 saved, 0 conflicts; versions 2 2 2 3 2 2 2 3 2 2",
        format!(
            "{} saved, {} conflicts; after reading again {} saved, {} conflicts; versions {}",
            ids.len() - refused.len(),
            refused.len(),
            refused.len() - still_refused.len(),
            still_refused.len(),
            versions.iter().map(i32::to_string).collect::<Vec<_>>().join(" ")
        ),
    )])
}

/// Saves each row and returns those that were refused.
async fn raise(session: &Session, ids: &[Uuid]) -> Result<Vec<Uuid>, DemoError> {
    let mut refused = Vec::new();
    for (cents, id) in (7_000_i32..).step_by(100).zip(ids) {
        if session.save(SAVE, &[&cents, id]).await?.conflict().is_some() {
            refused.push(*id);
        }
    }
    Ok(refused)
}
