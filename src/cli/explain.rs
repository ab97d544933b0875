//! `staleguard explain`: shows a statement as it would be sent, and says why.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use super::{FAILURE, USAGE, fail};
use crate::catalog::labels::IdentityRule;
use crate::catalog::look::{self, LOOK_SQL, Look};
use crate::catalog::{ExplicitPredicate, Mode, TableSettings};
use crate::config::load::Given;
use crate::config::scopes::{ScopeKind, ScopeSettings, UnitSource};
use crate::config::{Settings, load};
use crate::migrate::{self, ServerError};
use crate::rewrite::known::Known;
use crate::rewrite::plan::{
    GuardSite, Operand, Plan, PointWrite, Reason, Rest, StatementPlan, Verb, VersionSource,
};
use crate::rewrite::render::{Checks, HiddenParams, render_parse, render_query};
use crate::rewrite::{Context, plan};
use crate::sql::lexer::LexOptions;

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The statement as the application sends it, with $1, $2 .. where it uses parameters
    sql: String,
    /// The database whose catalog decides: postgres://user@host:5432/database
    #[arg(long, env = "STALEGUARD_DSN", hide_env_values = true)]
    dsn: String,
    /// The configuration file
    #[arg(long, value_name = "FILE", env = "STALEGUARD_CONFIG")]
    config: Option<PathBuf>,
    /// The version that the session is supposed to have seen
    #[arg(long, value_name = "N", default_value_t = 5)]
    seen: i64,
}

#[derive(Debug, thiserror::Error)]
enum ExplainError {
    #[error("{0}")]
    Connect(#[from] migrate::ConnectError),
    #[error("the catalog cannot be read: {0}")]
    Server(ServerError),
    #[error("{0}")]
    Look(#[from] look::LookError),
}

pub(super) fn run(args: &Args) -> ExitCode {
    let given = Given { config: args.config.clone(), values: Vec::new() };
    let variables =
        std::env::vars_os().filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?)));
    let settings = match load(&given, variables) {
        Ok(loaded) => loaded.settings,
        Err(error) => return fail(&error, USAGE),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error, FAILURE),
    };
    match runtime.block_on(look_at(&args.dsn, &settings)) {
        Ok(look) => {
            print!("{}", explain(&args.sql, &look, args.seen, &settings.scopes));
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error, FAILURE),
    }
}

async fn look_at(dsn: &str, settings: &Settings) -> Result<Look, ExplainError> {
    let connection = migrate::connect(dsn, None).await?;
    let (tables, labels) = (&settings.tables, Arc::new(settings.scopes.rules()));
    let column = |value: fn(&TableSettings) -> &str| tables.iter().map(|t| value(t)).collect::<Vec<&str>>();
    let named = |value: fn(&IdentityRule) -> &str| labels.identities.iter().map(value).collect::<Vec<&str>>();
    let (schemas, names, versions) =
        (column(|t| &t.schema), column(|t| &t.name), column(|t| &t.version_column));
    let (identity_schemas, identity_names) = (named(|r| &r.schema), named(|r| &r.table));
    let rows = connection
        .client
        .query(LOOK_SQL, &[&schemas, &names, &versions, &identity_schemas, &identity_names, &""])
        .await
        .map_err(|e| ExplainError::Server(e.into()))?;
    let rows: Vec<(String, Option<String>)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    connection.close().await;
    Ok(look::read(&rows, tables, &labels, None)?)
}

/// The whole text that `explain` prints.
fn explain(sql: &str, look: &Look, seen: i64, scopes: &ScopeSettings) -> String {
    let lex = LexOptions::default();
    let plan = plan(sql.as_bytes(), &Context { view: &look.view, lex: &lex, names_may_return: false });
    let mut out = String::new();
    let mut say = |line: &str| {
        out.push_str(line);
        out.push('\n');
    };
    for (number, statement) in plan.statements.iter().enumerate() {
        let prefix =
            if plan.statements.len() > 1 { format!("statement {}: ", number + 1) } else { String::new() };
        let text = sql.get(statement.range.clone()).unwrap_or(sql);
        for sentence in sentences(statement, text, look) {
            say(&format!("{prefix}{sentence}"));
        }
    }
    if plan.statements.iter().any(is_observed) {
        say(&whose(scopes));
    }
    if plan.statements.is_empty() {
        say("No statement: forwarded as it is.");
    }
    let guards: Vec<Vec<Option<Known>>> =
        plan.statements.iter().map(|s| s.sites.iter().map(|site| known(s, site, seen)).collect()).collect();
    let checks: Vec<Checks<'_>> = plan
        .statements
        .iter()
        .zip(&guards)
        .map(|(s, guards)| Checks { version: check(s, seen), guards, hidden_result: true, arguments: None })
        .collect();
    let text = |rendered: Option<crate::rewrite::render::Rendered>| {
        rendered.map_or_else(|| sql.to_owned(), |r| String::from_utf8_lossy(&r.text).into_owned())
    };
    let bare = text(render_query(&plan, sql.as_bytes(), &[], NONCE));
    let checked = text(render_query(&plan, sql.as_bytes(), &checks, NONCE));
    let hidden = hidden_parameters(&plan);
    say("");
    if plan.max_param == 0 {
        if checked != bare {
            say(&format!("Sent as a simple query, once version {seen} has been seen:\n  {checked}"));
            say(&format!("Sent as a simple query, while nothing has been seen:\n  {bare}"));
        } else {
            say(&format!("Sent as a simple query:\n  {bare}"));
        }
    }
    if plan.statements.len() < 2 {
        say(&format!(
            "Sent as a prepared statement:\n  {}",
            text(render_parse(&plan, sql.as_bytes(), hidden, NONCE))
        ));
        if hidden.version > 0 {
            say(&format!(
                "  (${} carries the expected version, NULL while nothing has been seen)",
                hidden.version
            ));
        }
        if hidden.known > 0 {
            say(&format!(
                "  (${} carries the versions by key where other statements stand beside it or several rows may be written, NULL else)",
                hidden.known
            ));
        }
    }
    out
}

/// It is compared with what was seen of its rows.
fn is_observed(statement: &StatementPlan) -> bool {
    let observed = |source: &VersionSource| matches!(source, VersionSource::Observed);
    let point = statement.point.as_ref().is_some_and(|p| !p.self_relative && observed(&p.source));
    point || statement.sites.iter().any(|s| !s.self_relative && s.is_compared() && observed(&s.source))
}

/// Whose reads count for that, and in which unit of work.
fn whose(scopes: &ScopeSettings) -> String {
    let told = "The log names it for each conflict (seen_in).";
    match scopes.scope {
        ScopeKind::Connection => {
            format!("Scope connection: what the same connection has seen counts. {told}")
        }
        ScopeKind::Transaction => {
            format!("Scope transaction: what the same transaction has seen counts. {told}")
        }
        ScopeKind::Context => {
            let names = scopes.unit.iter().map(|source| match source {
                UnitSource::Comment(key) => format!("comment:{key}"),
                UnitSource::Setting(name) => format!("setting:{name}"),
            });
            let names = names.collect::<Vec<_>>().join(", ");
            let request = if names.is_empty() {
                String::new()
            } else {
                format!("the request that {names} names, else ")
            };
            let sticky = if scopes.sticky { "what lies between two lookups, else " } else { "" };
            format!(
                "Scope context: what another unit of work of the same label has seen last counts. A unit is {request}{sticky}the transaction. {told}"
            )
        }
    }
}

/// Marks what a guard raises; the proxy's own is not to be guessed.
const NONCE: &str = "sg_nonce_";

fn check(statement: &StatementPlan, seen: i64) -> Option<i64> {
    let point = statement.point.as_ref().filter(|p| p.takes_check())?;
    expected(&point.source, seen)
}

fn expected(source: &VersionSource, seen: i64) -> Option<i64> {
    match source {
        VersionSource::Observed | VersionSource::WrittenBack(Operand::Param(_) | Operand::Elements(_)) => {
            Some(seen)
        }
        VersionSource::WrittenBack(Operand::Literal(n)) => n.parse().ok(),
        VersionSource::Hint(n) => Some(*n),
        VersionSource::InPredicate(_) => None,
    }
}

/// What a guard may be given: the rows that the text names.
fn known(statement: &StatementPlan, site: &GuardSite, seen: i64) -> Option<Known> {
    if statement.point.is_some() || !site.takes_guard() {
        return None;
    }
    let expected = expected(&site.source, seen)?;
    let mut known = Known::new();
    for key in &site.keys {
        let parts = key.iter().map(|part| match part {
            Operand::Literal(text) => Some(&**text),
            Operand::Param(_) | Operand::Elements(_) => None,
        });
        if let Some(parts) = parts.collect::<Option<Vec<_>>>() {
            known.expect(&parts, expected);
        }
    }
    Some(known)
}

fn hidden_parameters(plan: &Plan) -> HiddenParams {
    let [one] = plan.statements.as_slice() else { return HiddenParams::default() };
    let checks = one.point.as_ref().is_some_and(PointWrite::takes_check);
    let version = if checks { plan.max_param.saturating_add(1) } else { 0 };
    let known = if one.takes_guard() { plan.max_param.max(version).saturating_add(1) } else { 0 };
    HiddenParams { version, known, own_writes: true }
}

/// What happens to one statement, a sentence for each fact.
fn sentences(statement: &StatementPlan, sql: &str, look: &Look) -> Vec<String> {
    let mut out = Vec::new();
    if let Some(point) = &statement.point {
        out.push(point_sentence(point));
        if let Rest::Opaque = point.rest {
            out.push("Where no row is found, its other conditions are taken as true: they cannot be evaluated safely.".into());
        }
    }
    let point = statement.point.as_ref().map(|p| p.site);
    let sites = statement.sites.iter().enumerate();
    for (_, site) in sites.filter(|(n, site)| Some(*n) != point && site.verb != Verb::Insert) {
        out.push(format!("A write of {}: {}", site.table.root_name, site_sentence(site)));
    }
    if let Some(prepare) = &statement.prepares {
        out.push(
            "Prepares a statement that each EXECUTE gives what is known of its rows as one more argument:"
                .into(),
        );
        out.extend(sentences(&prepare.inner, sql, look));
    }
    if let Some(execute) = &statement.execute {
        out.push(format!("Runs what the session has prepared as \"{}\".", execute.name));
    }
    if statement.hidden_result.is_some() {
        out.push("A RETURNING that the client does not see tells which rows it has changed; in a simple query only where a row of the table has been seen.".into());
    }
    if statement.sites.iter().any(|s| s.table.settings.mode == Mode::Observe) {
        out.push("Its table is in mode observe: nothing is refused, and what enforce would have done is logged and counted.".into());
    }
    for write in &statement.unchecked {
        out.push(format!("A write of {}: {}", write.table, reason_sentence(write.reason)));
    }
    for teach in &statement.teaches {
        let hidden = statement.hidden.iter().filter(|h| h.table_oid == teach.table.oid).count();
        let how = if hidden > 0 {
            format!("{hidden} hidden column(s) are added and taken out of the reply again")
        } else {
            "its result shows key and version itself".to_owned()
        };
        out.push(format!(
            "Its rows teach which version of {} the session has seen: {how}.",
            teach.table.root_name
        ));
    }
    if out.is_empty() {
        let unprotected: Vec<String> = look
            .tables
            .iter()
            .filter(|t| {
                t.table.rsplit('.').next().is_some_and(|name| sql.to_ascii_lowercase().contains(name))
            })
            .filter_map(|t| t.unprotected.as_ref().map(|why| format!("{} ({why})", t.table)))
            .collect();
        out.push("Left alone: it neither writes a protected table nor shows a row of one.".into());
        if !unprotected.is_empty() {
            out.push(format!(
                "It names what is configured, but not protected in this database: {}.",
                unprotected.join(", ")
            ));
        }
    }
    out
}

fn point_sentence(point: &PointWrite) -> String {
    let table = &point.table.root_name;
    if point.self_relative {
        return format!(
            "A write of one row of {table} that only counts up or down: bumped, not checked, as it cannot overwrite anyone's change."
        );
    }
    let explicit = match point.table.settings.explicit_predicate {
        ExplicitPredicate::Passthrough => "zero rows are passed on, as the application expects them",
        ExplicitPredicate::Error => "zero rows of a changed row become the conflict error",
    };
    match &point.source {
        VersionSource::InPredicate(_) => {
            format!(
                "A write of one row of {table} that checks the version itself (rule 1, in the predicate): {explicit}."
            )
        }
        _ if !point.predicate_allowed => {
            format!("A write of one row of {table}: bumped, but not checked, and counted.")
        }
        VersionSource::Hint(n) => format!(
            "A write of one row of {table} whose comment names the version that it is based on (rule 3, a hint): bumped, and checked against version {n}."
        ),
        VersionSource::WrittenBack(_) => format!(
            "A write of one row of {table} that writes the version back (rule 2): the value becomes the expected version, the assignment the increment."
        ),
        VersionSource::Observed => format!(
            "A write of one row of {table}: bumped, and checked against the version that the session has last seen of that row (rule 4, observed); where it has seen none it is a blind write."
        ),
    }
}

/// A write in the guard form.
fn site_sentence(site: &GuardSite) -> String {
    let why = match site.reason {
        Reason::SetWrite => "it does not name its rows by primary key",
        Reason::SeveralRows => "it names several rows",
        Reason::Batch => "other statements stand beside it",
        Reason::OnConflict => "it is an INSERT .. ON CONFLICT DO UPDATE",
        Reason::Merge => "it is a MERGE",
        Reason::Cte => "it stands inside a WITH, or beside one that writes",
        Reason::UpdateFrom => "it is an UPDATE .. FROM",
        Reason::CurrentOf => "it is a WHERE CURRENT OF",
        Reason::Nested => "it stands inside PREPARE or EXPLAIN ANALYZE",
        Reason::Delete => "it is a DELETE of rows that are not named one by one",
        Reason::StatementTrigger => "the table has a statement trigger, which runs even for zero rows",
        Reason::UnknownKey => "the value of its key has no certain form",
        reason => return reason_sentence(reason).to_owned(),
    };
    let bumped = if site.verb == Verb::Delete { "" } else { "bumped, and " };
    if site.self_relative {
        return "bumped, not checked, as it only counts up or down and cannot overwrite anyone's change."
            .into();
    }
    if matches!(site.source, VersionSource::InPredicate(_)) {
        return "left to the version that its own condition names.".into();
    }
    if !site.is_compared() {
        return "bumped, not checked: its key is of a type that is not compared.".into();
    }
    let others = if site.is_strict() { "fail it too" } else { "pass" };
    format!(
        "{bumped}checked row by row in the guard form, since {why}: a row that has another version than the session has seen makes the server fail the statement; rows that it has not seen {others}."
    )
}

fn reason_sentence(reason: Reason) -> &'static str {
    match reason {
        Reason::SetWrite => "bumped, not checked: it does not name its rows by primary key.",
        Reason::SeveralRows => "bumped, not checked: it names several rows.",
        Reason::Batch => "bumped, not checked: other statements stand beside it.",
        Reason::SameRowInQuery => {
            "bumped, not checked: an earlier statement of the Query writes the same row."
        }
        Reason::OnConflict => "bumped where the row exists, not checked: INSERT .. ON CONFLICT DO UPDATE.",
        Reason::Merge => "bumped, not checked: MERGE.",
        Reason::Delete => "not checked: DELETE.",
        Reason::Cte => "bumped, not checked: it stands inside a WITH.",
        Reason::UpdateFrom => "bumped, not checked: UPDATE .. FROM.",
        Reason::CurrentOf => "bumped, not checked: WHERE CURRENT OF.",
        Reason::Nested => "bumped, not checked: it stands inside PREPARE, COPY or EXPLAIN.",
        Reason::Flush => "bumped, not checked: Flush follows in place of Sync.",
        Reason::StatementTrigger => {
            "bumped, not checked: the table has a statement trigger, which runs even for zero rows."
        }
        Reason::UnknownKey => "bumped, not checked: the value of its key has no certain form.",
        Reason::Unparsed => "sent as it is: its clauses are not certain.",
        Reason::Privilege => "sent as it is: the role may not read or update the version column.",
        Reason::View => "sent as it is: it goes through a view.",
        Reason::Copy => "sent as it is: COPY is not seen row by row.",
        Reason::Encoding => "sent as it is: its encoding cannot be read safely.",
        Reason::GuardOverflow => "bumped, not checked: more rows are known than travel with one statement.",
        Reason::Parameters => "bumped, not checked: it has as many parameters as there may be.",
    }
}
