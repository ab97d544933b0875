//! Two web users, one form, one pooled connection, nothing that tells them apart: a limit, shown as it is.

use crate::cli::demo::DemoError;
use crate::cli::demo::report::Check;
use crate::cli::demo::stage::Stage;

const OPEN: &str = "SELECT id, name, budget::text FROM portfolios WHERE id = $1";
const SAVE: &str = "UPDATE portfolios SET name = $1 WHERE id = $2";

/// What to say below the table.
pub const NOTE: &str = concat!(
    "  A limit of this version. The default scope is the connection: what a connection has read and written\n",
    "  counts as known to whoever uses it next. Where a web application's users share pooled connections, Ada's\n",
    "  save is the pool's own, and Ben's stale form passes. Telling users apart is what `scope = \"context\"` is\n",
    "  for, with a label for each user (a GUC, an SQL comment, the user lookup of each request): it is planned\n",
    "  and not in this version.",
);

/// Four requests over one connection: Ada opens, Ben opens, Ada saves, Ben saves his stale form.
pub async fn run(stage: &Stage) -> Result<Vec<Check>, DemoError> {
    let id = stage.id("portfolios", 0).await?;
    let pooled = stage.proxied.connect().await?;
    pooled.query(OPEN, &[&id]).await?;
    pooled.query(OPEN, &[&id]).await?;
    pooled.save(SAVE, &[&"Ada's", &id]).await?;
    let bens = pooled.save(SAVE, &[&"Ben's", &id]).await?;
    let seen = match bens.conflict() {
        Some(_) => "caught".to_owned(),
        None => format!("not caught: {}, Ada's change is overwritten", bens.word()),
    };
    Ok(vec![Check::equal(
        "two web users, one form, one pooled connection, unlabelled",
        "not caught: UPDATE 1, Ada's change is overwritten",
        seen,
    )])
}
