//! Whether a configured table is protected, and why not.

use super::TableRow;
use crate::catalog::{Mode, TableSettings};
use crate::migrate::RETIRED_MARK;

/// Why a configured table is not protected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unprotected {
    /// No relation of this name.
    #[error("no such table")]
    Missing,
    /// A view, foreign table, ..
    #[error("not a table (relkind {0})")]
    Kind(String),
    /// No column of the configured name.
    #[error("no column \"{0}\": run `staleguard migrate up`")]
    NoColumn(String),
    /// Column of another type.
    #[error("column \"{0}\" is not of type {1}, left alone")]
    Type(String, &'static str),
    /// Column may be null or has another default.
    #[error("column \"{0}\" is not NOT NULL DEFAULT 1, left alone (`adopt = true` protects it all the same)")]
    NotOurs(String),
    /// Its settings say so.
    #[error("its mode is off")]
    Off,
    /// `migrate down` has marked the column.
    #[error("column \"{0}\" is retired by `staleguard migrate down`")]
    Retired(String),
}

/// What the look says of one configured table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableStatus {
    /// `schema.table`.
    pub table: String,
    /// `None` if protected.
    pub unprotected: Option<Unprotected>,
    /// Its mode.
    pub mode: Mode,
    /// Protected, with this to say about it.
    pub note: Option<&'static str>,
}

/// What speaks against its protection. `root`: the table as the server has it.
pub(super) fn judge(root: Option<&TableRow>, table: &TableSettings) -> Option<Unprotected> {
    let column = || table.version_column.clone();
    if table.mode == Mode::Off {
        return Some(Unprotected::Off);
    }
    let Some(root) = root else { return Some(Unprotected::Missing) };
    if !matches!(root.kind.as_str(), "r" | "p") {
        return Some(Unprotected::Kind(root.kind.clone()));
    }
    let Some(version) = &root.version else { return Some(Unprotected::NoColumn(column())) };
    if version.note.as_deref().is_some_and(|n| n.contains(RETIRED_MARK)) {
        return Some(Unprotected::Retired(column()));
    }
    if version.type_oid != table.version_type.oid() {
        return Some(Unprotected::Type(column(), table.version_type.sql_name()));
    }
    let ours = version.notnull && version.default.as_deref().is_some_and(is_one);
    if !ours && !table.adopt {
        return Some(Unprotected::NotOurs(column()));
    }
    None
}

/// `1`, `'1'::bigint`, `'1'::smallint`.
fn is_one(default: &str) -> bool {
    default == "1"
        || default.strip_prefix("'1'::").is_some_and(|t| matches!(t, "bigint" | "smallint" | "integer"))
}
