//! Two web users, one form, one pooled connection, and an application that says nothing of who is at work: lost in
//! scope `connection`, told apart in scope `context` by the user that each request loads first.

use crate::cli::demo::DemoError;
use crate::cli::demo::client::{Saved, Session, Uuid};
use crate::cli::demo::report::Check;
use crate::cli::demo::stage::Stage;

const WHO: &str = "SELECT users.id, users.display_name FROM users WHERE users.id = $1";
const OPEN: &str = "SELECT id, name, budget::text FROM portfolios WHERE id = $1";
const SAVE: &str = "UPDATE portfolios SET name = $1 WHERE id = $2";
const AUDIT: &str = "UPDATE users SET last_login = now() WHERE id = $1";

/// How the second proxy is started.
pub const FLAGS: [&str; 4] = ["--scope", "context", "--context-label", "lookup:users.id"];

/// What to say below the table.
pub const NOTE: &str = concat!(
    "  By default the scope is the connection: what a connection has read and written counts as known to whoever\n",
    "  uses it next. Where a web application's users share pooled connections, scope context tells them apart by a\n",
    "  label: here by the user that each request loads first, so that not a line of the application changes. See\n",
    "  docs/scopes.md.",
);

/// A request of the application: it loads its user first.
struct Request<'a> {
    pool: &'a Session,
    user: Uuid,
}

impl Request<'_> {
    async fn begin(&self) -> Result<(), DemoError> {
        self.pool.batch("BEGIN").await?;
        self.pool.one(WHO, &[&self.user]).await?;
        Ok(())
    }

    /// GET: shows the form.
    async fn form(&self, id: Uuid) -> Result<(), DemoError> {
        self.begin().await?;
        self.pool.one(OPEN, &[&id]).await?;
        self.pool.batch("ROLLBACK").await
    }

    /// PUT: reads the row again, writes it, and notes that in a second transaction.
    async fn save(&self, id: Uuid, name: &str) -> Result<Saved, DemoError> {
        self.begin().await?;
        self.pool.one(OPEN, &[&id]).await?;
        let saved = self.pool.save(SAVE, &[&name, &id]).await?;
        if saved.conflict().is_some() {
            self.pool.batch("ROLLBACK").await?;
            return Ok(saved);
        }
        self.pool.batch("COMMIT; BEGIN").await?;
        self.pool.save(AUDIT, &[&self.user]).await?;
        self.pool.batch("COMMIT").await?;
        Ok(saved)
    }
}

/// Ada opens, Ben opens, Ada saves, Ben saves his stale form.
async fn stale_form(pool: &Session, ada: Uuid, ben: Uuid, id: Uuid) -> Result<Saved, DemoError> {
    let (ada, ben) = (Request { pool, user: ada }, Request { pool, user: ben });
    ada.form(id).await?;
    ben.form(id).await?;
    ada.save(id, "Ada's").await?;
    ben.save(id, "Ben's").await
}

/// The same requests over one connection of a pool: in scope `connection`, and in scope `context`.
pub async fn run(stage: &Stage) -> Result<Vec<Check>, DemoError> {
    let users = stage.ids("users", 0, 2).await?;
    let portfolios = stage.ids("portfolios", 0, 2).await?;
    let ([ada, ben], [first, second]) = (users.as_slice(), portfolios.as_slice()) else {
        return Err(DemoError::Rows { sql: "users, portfolios".to_owned(), rows: users.len() });
    };
    let (ada, ben, first, second) = (*ada, *ben, *first, *second);
    let pool = stage.proxied.connect().await?;
    let seen = match stale_form(&pool, ada, ben, first).await?.conflict() {
        Some(_) => "caught".to_owned(),
        None => "not caught: Ada's change is overwritten".to_owned(),
    };
    let mut checks = vec![Check::equal(
        "scope connection: two web users, one form, one pool",
        "not caught: Ada's change is overwritten",
        seen,
    )];

    let pool = stage.told_apart.connect().await?;
    let ben = Request { pool: &pool, user: ben };
    let saved = stale_form(&pool, ada, ben.user, second).await?;
    let seen = saved.conflict().map_or_else(|| saved.word(), |conflict| conflict.summary("name"));
    checks.push(Check::equal(
        "scope context, label lookup:users.id: Ben saves his stale form",
        "expected 1, actual 2, name is \"Ada's\"",
        seen,
    ));
    let again = ben.save(second, "Ben's").await?.word();
    checks.push(Check::equal("his browser repeats the request", "conflict 40001", again));
    ben.form(second).await?;
    let fresh = ben.save(second, "Ben's").await?.word();
    let twice = ben.save(second, "Ben's, again").await?.word();
    checks.push(Check::equal(
        "he opens the form anew and saves twice",
        "UPDATE 1, UPDATE 1",
        format!("{fresh}, {twice}"),
    ));
    Ok(checks)
}
