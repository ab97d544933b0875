//! What is there: a row a table.

use serde::Serialize;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::connect::ServerError;
use super::inspect::{self, inspect};
use super::quote;
use super::report::{Problem, pretty};
use super::trigger::{self, Found, Standing};
use crate::catalog::{TableSettings, VersionType};

/// From how much of its type's range on a version is worth a word.
const NEAR_THE_TOP: f64 = 0.9;

/// How many rows a table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", content = "count", rename_all = "lowercase")]
pub enum RowCount {
    /// Counted.
    Exact(i64),
    /// The planner's guess.
    Estimated(i64),
    /// Never analysed, or not readable.
    Unknown,
}

impl RowCount {
    fn text(self) -> String {
        match self {
            Self::Exact(n) => n.to_string(),
            Self::Estimated(n) => format!("~{n}"),
            Self::Unknown => "?".into(),
        }
    }
}

/// What there is to say of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableStatus {
    /// `schema.table`.
    pub table: String,
    /// The version column's configured name.
    pub column: String,
    /// A column of that name is there.
    pub present: bool,
    /// It is the configured version column, in use: right type, NOT NULL DEFAULT 1 or adopted, not retired.
    pub ready: bool,
    /// Its type as PostgreSQL prints it, with NOT NULL.
    #[serde(rename = "type")]
    pub type_name: Option<String>,
    /// Its default.
    pub default: Option<String>,
    /// The trigger that bumps the version where a statement did not: `enabled`, `disabled` or `outdated`; none if there
    /// is none.
    pub trigger: Option<&'static str>,
    /// Rows of the table.
    pub rows: RowCount,
    /// Lowest version.
    pub min_version: Option<i64>,
    /// Highest version.
    pub max_version: Option<i64>,
    /// What stands against the table.
    pub problem: Option<String>,
    /// What else is worth knowing.
    pub note: Option<String>,
}

/// The status of all tables, in the order of the settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatusReport {
    /// A table each.
    pub tables: Vec<TableStatus>,
}

impl StatusReport {
    /// True if nothing stands against any table. A column that is not there yet is no problem.
    pub fn ok(&self) -> bool {
        self.tables.iter().all(|t| t.problem.is_none())
    }

    /// A table for people.
    pub fn text(&self) -> String {
        let header = ["table", "present", "type", "default", "rows", "min", "max", "note"].map(str::to_owned);
        let dash = |v: Option<String>| v.unwrap_or_else(|| "-".into());
        let rows = self.tables.iter().map(|t| {
            let problem = t.problem.as_ref().map(|p| format!("PROBLEM {p}"));
            let note: Vec<&str> = problem.as_deref().into_iter().chain(t.note.as_deref()).collect();
            [
                t.table.clone(),
                if t.present { "yes" } else { "no" }.into(),
                dash(t.type_name.clone()),
                dash(t.default.clone()),
                t.rows.text(),
                dash(t.min_version.map(|v| v.to_string())),
                dash(t.max_version.map(|v| v.to_string())),
                note.join("; "),
            ]
        });
        let all: Vec<[String; 8]> = std::iter::once(header).chain(rows).collect();
        let width =
            |i: usize| all.iter().filter_map(|r| r.get(i)).map(|c| c.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..8).map(width).collect();
        let line = |row: &[String; 8]| {
            let cells = row.iter().zip(&widths).enumerate().map(|(i, (cell, w))| {
                // Numbers to the right; the note comes last and needs no padding.
                if (4..7).contains(&i) { format!("{cell:>w$}") } else { format!("{cell:w$}") }
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
        };
        all.iter().map(line).collect()
    }

    /// `{"tables": [..], "ok": ..}`
    pub fn json(&self) -> String {
        #[derive(Serialize)]
        struct Json<'a> {
            ok: bool,
            tables: &'a [TableStatus],
        }
        pretty(&Json { ok: self.ok(), tables: &self.tables })
    }
}

/// Looks at each table. `fast`: the planner's guess for the rows, and no look at the versions.
pub async fn status(client: &Client, tables: &[TableSettings], fast: bool) -> StatusReport {
    let mut report = StatusReport { tables: Vec::with_capacity(tables.len()) };
    let mut lost = false;
    for t in tables {
        report.tables.push(one(client, t, fast, &mut lost).await);
    }
    report
}

async fn one(client: &Client, t: &TableSettings, fast: bool, lost: &mut bool) -> TableStatus {
    let mut status = TableStatus {
        table: format!("{}.{}", t.schema, t.name),
        column: t.version_column.clone(),
        present: false,
        ready: false,
        type_name: None,
        default: None,
        trigger: None,
        rows: RowCount::Unknown,
        min_version: None,
        max_version: None,
        problem: None,
        note: None,
    };
    if *lost {
        status.problem = Some(Problem::NotTried.to_string());
        return status;
    }
    let relation = match inspect(client, t).await {
        Ok(relation) => relation,
        Err(problem) => {
            *lost = problem.ends_the_run();
            status.problem = Some(problem.to_string());
            return status;
        }
    };
    let mut notes = Vec::new();
    if let Some(found) = &relation.column {
        describe(found, t, &mut status, &mut notes);
    } else {
        notes.push(format!("no column {}: run migrate up", t.version_column));
    }
    if let Err(problem) = describe_trigger(client, t, relation.oid, &mut status, &mut notes).await {
        *lost = problem.ends_the_run();
        status.problem.get_or_insert_with(|| problem.to_string());
    }
    let counted = if fast {
        estimate(client, relation.oid).await.map(|rows| status.rows = rows)
    } else {
        count(client, t, relation.column.as_ref(), &mut status).await
    };
    if let Err(e) = counted {
        let problem = Problem::server("counting its rows", e);
        *lost = problem.ends_the_run();
        status.problem.get_or_insert_with(|| problem.to_string());
    }
    if !fast && relation.row_security {
        notes.push("row security hides rows from this role: the numbers may be too low".into());
    }
    if status.ready && status.max_version.is_some_and(|v| near_the_top(v, t.version_type)) {
        notes.push(format!("versions come near the end of {}", quote::type_name(t.version_type)));
    }
    status.note = (!notes.is_empty()).then(|| notes.join("; "));
    status
}

fn describe(found: &inspect::Found, t: &TableSettings, status: &mut TableStatus, notes: &mut Vec<String>) {
    status.present = true;
    status.type_name = Some(format!("{}{}", found.type_name, if found.not_null { " NOT NULL" } else { "" }));
    status.default.clone_from(&found.default);
    let fault = found.fault(t);
    status.ready = fault.is_none() && !found.retired();
    status.problem = fault.map(|p| p.to_string());
    if status.problem.is_none() && found.retired() {
        notes.push("marked as retired: run migrate up to use it again, migrate down to drop it".into());
    }
    if t.adopt {
        notes.push("adopted".into());
    }
}

async fn describe_trigger(
    client: &Client,
    t: &TableSettings,
    oid: u32,
    status: &mut TableStatus,
    notes: &mut Vec<String>,
) -> Result<(), Problem> {
    let wrong = |e: ServerError| Problem::server("looking for the trigger", e);
    let Some(found) = trigger::find(client, oid).await.map_err(wrong)?.filter(Found::is_ours) else {
        return Ok(());
    };
    let wanted = trigger::uncounted(client, t, oid).await.map_err(wrong)?;
    let standing = found.standing(t, &wanted);
    status.trigger = Some(standing.word());
    notes.push(match standing {
        Standing::Current => "trigger".into(),
        other => format!("trigger {}: run migrate up --with-trigger", other.word()),
    });
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a ratio")]
fn near_the_top(version: i64, of: VersionType) -> bool {
    let top = match of {
        VersionType::Int2 => i64::from(i16::MAX),
        VersionType::Int4 => i64::from(i32::MAX),
        VersionType::Int8 => i64::MAX,
    };
    version as f64 >= top as f64 * NEAR_THE_TOP
}

async fn count(
    client: &Client,
    t: &TableSettings,
    found: Option<&inspect::Found>,
    status: &mut TableStatus,
) -> Result<(), tokio_postgres::Error> {
    let integer = found.is_some_and(|c| [20, 21, 23].contains(&c.type_oid));
    let versions = if integer {
        let column = quote::ident(&t.version_column);
        format!(", pg_catalog.min({column})::pg_catalog.int8, pg_catalog.max({column})::pg_catalog.int8")
    } else {
        ", NULL::pg_catalog.int8, NULL::pg_catalog.int8".to_owned()
    };
    let sql = format!("SELECT pg_catalog.count(*){versions} FROM {}", quote::table(t));
    let row = client.query_typed_one(&sql, &[]).await?;
    status.rows = RowCount::Exact(row.try_get(0)?);
    status.min_version = row.try_get(1)?;
    status.max_version = row.try_get(2)?;
    Ok(())
}

/// Before PostgreSQL 14 a table that was never analysed says 0, since then -1.
async fn estimate(client: &Client, oid: u32) -> Result<RowCount, tokio_postgres::Error> {
    const SELECT: &str = "\
WITH RECURSIVE family(oid) AS (SELECT $1 UNION \
  SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN family f ON i.inhparent = f.oid) \
SELECT pg_catalog.bool_and(c.reltuples >= 0), pg_catalog.sum(c.reltuples)::pg_catalog.int8 \
FROM pg_catalog.pg_class c JOIN family f USING (oid) WHERE c.relkind = 'r'";
    let row = client.query_typed_one(SELECT, &[(&oid, Type::OID)]).await?;
    let known: Option<bool> = row.try_get(0)?;
    let sum: Option<i64> = row.try_get(1)?;
    Ok(match (known, sum) {
        (Some(true), Some(n)) => RowCount::Estimated(n),
        _ => RowCount::Unknown,
    })
}
