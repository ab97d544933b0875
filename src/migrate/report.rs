//! What became of each table, as text and as JSON.

use serde::Serialize;

use super::connect::ServerError;
use super::wait::OpenTransaction;

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Add the columns.
    Up,
    /// Drop them.
    Down,
}

/// What became of one table, where nothing stood against it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The column was added.
    Added,
    /// It was there, as wanted.
    AlreadyThere,
    /// It was there, and `adopt = true` accepts it as it is.
    Adopted,
    /// It was there, marked as retired; the mark was taken away.
    Revived,
    /// The column was dropped.
    Dropped,
    /// There was none to drop.
    NotThere,
    /// The column is the application's own.
    LeftAlone {
        /// How that is known.
        why: String,
    },
}

impl Outcome {
    /// A fixed word for scripts.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::AlreadyThere => "already there",
            Self::Adopted => "adopted",
            Self::Revived => "revived",
            Self::Dropped => "dropped",
            Self::NotThere => "not there",
            Self::LeftAlone { .. } => "left alone",
        }
    }

    fn sentence(&self, column: &str) -> String {
        match self {
            Self::Added | Self::AlreadyThere | Self::Dropped => column.to_owned(),
            Self::Adopted => format!("{column} is the application's own, accepted by adopt = true"),
            Self::Revived => format!("{column} was marked as retired; the mark is gone"),
            Self::NotThere => format!("no column {column}"),
            Self::LeftAlone { why } => why.clone(),
        }
    }
}

/// What became of the trigger that bumps the version where a statement did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TriggerOutcome {
    /// It was added.
    Added,
    /// It was there, as wanted.
    AlreadyThere,
    /// One that was switched off, or made for other settings, was made anew.
    Replaced,
    /// It was dropped.
    Dropped,
}

impl TriggerOutcome {
    /// A fixed word for scripts.
    pub fn word(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::AlreadyThere => "already there",
            Self::Replaced => "replaced",
            Self::Dropped => "dropped",
        }
    }
}

/// What stood against a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No such table.
    #[error("there is no such table in this database{}", elsewhere_hint(elsewhere))]
    Missing {
        /// Tables of that name in other schemas.
        elsewhere: Vec<String>,
    },
    /// Something else bears the name.
    #[error("it is {kind}; only a table can have a version column: name the table itself in the settings")]
    NotATable {
        /// What it is.
        kind: &'static str,
    },
    /// A partition.
    #[error("it is a partition: name its root {root} in the settings, its partitions follow")]
    Partition {
        /// The partitioned table.
        root: String,
    },
    /// A column of another type.
    #[error(
        "column {column} is already there as {found}, wanted is {wanted}; left alone: set version_column to \
         another name{}",
        type_hint(found)
    )]
    WrongType {
        /// The column.
        column: String,
        /// Its type.
        found: String,
        /// Name, type, NOT NULL and default.
        wanted: String,
    },
    /// A column whose value the server computes.
    #[error(
        "column {column} is already there as {what}, wanted is {wanted}; left alone: set version_column to another name"
    )]
    Computed {
        /// The column.
        column: String,
        /// Generated or identity.
        what: &'static str,
        /// Name, type, NOT NULL and default.
        wanted: String,
    },
    /// It may be null.
    #[error(
        "column {column} is already there but may be null, wanted is {wanted}; left alone: set adopt = true \
         for this table if it is its version, or version_column to another name"
    )]
    Nullable {
        /// The column.
        column: String,
        /// Name, type, NOT NULL and default.
        wanted: String,
    },
    /// Its default is not 1.
    #[error(
        "column {column} is already there with {found}, wanted is {wanted}; left alone: set adopt = true for \
         this table if it is its version, or version_column to another name"
    )]
    OtherDefault {
        /// The column.
        column: String,
        /// Its default.
        found: String,
        /// Name, type, NOT NULL and default.
        wanted: String,
    },
    /// Only the owner alters a table.
    #[error(
        "role {role} may not alter it: it belongs to {owner}; run as {owner}, as a member of it, or as a superuser"
    )]
    NotOwner {
        /// Who asks.
        role: String,
        /// Who may.
        owner: String,
    },
    /// Something uses the column.
    #[error("column {column} is in use by {objects}; not marked, not dropped: drop or change that first")]
    InUse {
        /// The column.
        column: String,
        /// What uses it.
        objects: String,
    },
    /// The lock was not to be had.
    #[error("its lock was not free within {timeout:?} in any of {tries} tries; {holders}{}", aftermath(*retired))]
    Locked {
        /// How often it was tried.
        tries: u32,
        /// How long each time.
        timeout: std::time::Duration,
        /// Who holds it.
        holders: String,
        /// The column had been marked as retired before.
        retired: bool,
        /// The last try's answer.
        error: ServerError,
    },
    /// Somebody else revived or changed the column.
    #[error(
        "column {column} lost its retired mark or its shape while the transactions were waited for, so it was not dropped; is another migration running?"
    )]
    Changed {
        /// The column.
        column: String,
    },
    /// Transactions that would not end.
    #[error(
        "marked as retired, but not dropped: after {seconds} s there still was {}; it works unprotected now, \
         run `migrate down` again to finish or `migrate up` to go back",
        OpenTransaction::list(open)
    )]
    StillOpen {
        /// How long was waited.
        seconds: u64,
        /// Who stays.
        open: Vec<OpenTransaction>,
    },
    /// The server refused.
    #[error("{doing}: {error}{}", aftermath(*retired))]
    Server {
        /// What was done.
        doing: &'static str,
        /// Its words.
        error: ServerError,
        /// The column had been marked as retired before.
        retired: bool,
    },
    /// The connection was lost at an earlier table.
    #[error("not tried: the connection was lost")]
    NotTried,
}

fn elsewhere_hint(found: &[String]) -> String {
    if found.is_empty() { String::new() } else { format!(", but there is {}", found.join(", ")) }
}

fn type_hint(found: &str) -> &'static str {
    if matches!(found, "smallint" | "integer" | "bigint") {
        ", or version_type if this is its version"
    } else {
        ""
    }
}

fn aftermath(retired: bool) -> &'static str {
    if retired {
        "; it is marked as retired and works unprotected now: run `migrate down` again to finish or `migrate up` to go back"
    } else {
        ""
    }
}

impl Problem {
    pub(super) fn server(doing: &'static str, e: impl Into<ServerError>) -> Self {
        Self::Server { doing, error: e.into(), retired: false }
    }

    /// Says that the column had been marked as retired before this happened.
    pub(super) fn after_retiring(mut self) -> Self {
        if let Self::Server { retired, .. } | Self::Locked { retired, .. } = &mut self {
            *retired = true;
        }
        self
    }

    /// The server's words, where it was the server that refused.
    pub fn server_error(&self) -> Option<&ServerError> {
        match self {
            Self::Server { error, .. } | Self::Locked { error, .. } => Some(error),
            _ => None,
        }
    }

    /// The connection is gone: nothing more can be tried.
    pub(super) fn ends_the_run(&self) -> bool {
        self.server_error().is_some_and(|e| e.connection_lost)
    }

    /// A fixed word for scripts.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "missing",
            Self::NotATable { .. } => "not a table",
            Self::Partition { .. } => "partition",
            Self::WrongType { .. } => "wrong type",
            Self::Computed { .. } => "computed",
            Self::Nullable { .. } => "nullable",
            Self::OtherDefault { .. } => "other default",
            Self::NotOwner { .. } => "not owner",
            Self::InUse { .. } => "in use",
            Self::Locked { .. } => "locked",
            Self::Changed { .. } => "changed",
            Self::StillOpen { .. } => "still open",
            Self::Server { .. } => "server error",
            Self::NotTried => "not tried",
        }
    }
}

/// What became of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableReport {
    /// `schema.table`.
    pub table: String,
    /// Name, type, NOT NULL and default of the version column.
    pub column: String,
    /// How it went.
    pub result: Result<Outcome, Problem>,
    /// What became of its trigger; none where nothing was to be done.
    pub trigger: Option<TriggerOutcome>,
}

/// What became of all tables, in the order of the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Which way.
    pub action: Action,
    /// A table each.
    pub tables: Vec<TableReport>,
}

#[derive(Serialize)]
struct JsonTable<'a> {
    table: &'a str,
    ok: bool,
    outcome: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    trigger: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sqlstate: Option<&'a str>,
}

#[derive(Serialize)]
struct Json<'a> {
    action: Action,
    ok: bool,
    tables: Vec<JsonTable<'a>>,
}

impl TableReport {
    fn word(&self) -> &'static str {
        self.result.as_ref().map_or_else(Problem::word, Outcome::word)
    }

    fn sentence(&self) -> String {
        let sentence = match &self.result {
            Ok(outcome) => outcome.sentence(&self.column),
            Err(problem) => problem.to_string(),
        };
        match self.trigger {
            Some(trigger) => format!("{sentence}; trigger {}", trigger.word()),
            None => sentence,
        }
    }
}

impl Report {
    /// True if nothing stood against any table.
    pub fn ok(&self) -> bool {
        self.tables.iter().all(|t| t.result.is_ok())
    }

    /// A line a table and a line for all.
    pub fn text(&self) -> String {
        let width = self.tables.iter().map(|t| t.table.chars().count()).max().unwrap_or(0);
        let words = self.tables.iter().map(|t| t.word().len()).max().unwrap_or(0);
        let mut out = String::new();
        for t in &self.tables {
            let mark = if t.result.is_ok() { "ok     " } else { "PROBLEM" };
            out.push_str(&format!("{:width$}  {mark}  {:words$}  {}\n", t.table, t.word(), t.sentence()));
        }
        let bad = self.tables.iter().filter(|t| t.result.is_err()).count();
        out.push_str(&format!("{} of {} tables ok", self.tables.len() - bad, self.tables.len()));
        out.push_str(&if bad == 0 { "\n".to_owned() } else { format!(", {bad} with a problem\n") });
        out
    }

    /// `{"action": .., "ok": .., "tables": [{"table": .., "ok": .., "outcome": .., "message": .., "trigger": .., "sqlstate": ..}]}`
    pub fn json(&self) -> String {
        let tables = self
            .tables
            .iter()
            .map(|t| JsonTable {
                table: &t.table,
                ok: t.result.is_ok(),
                outcome: t.word(),
                message: t.sentence(),
                trigger: t.trigger.map(TriggerOutcome::word),
                sqlstate: t.result.as_ref().err().and_then(|p| p.server_error()?.sqlstate.as_deref()),
            })
            .collect();
        pretty(&Json { action: self.action, ok: self.ok(), tables })
    }
}

/// Plain structs of texts, numbers and booleans always serialize.
pub(super) fn pretty(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}
