//! A write whose rows the guard form can check: where it stands in the text, and what goes there.

use std::sync::Arc;

use super::plan::{Operand, Reason, UncheckedWrite, VersionSource};
use crate::catalog::{Blind, Mode, Table, VersionType};
use crate::sql::columns::ColumnSet;
use crate::sql::keys::KeyType;
use crate::sql::splice::Edit;

/// Which statement writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// UPDATE.
    Update,
    /// INSERT .. ON CONFLICT DO UPDATE.
    Upsert,
    /// WHEN MATCHED THEN UPDATE of a MERGE.
    Merge,
    /// DELETE.
    Delete,
    /// An INSERT that updates nothing. It is not checked and nothing is put in: it tells which rows begin anew.
    Insert,
}

/// A write of a protected table whose increment can carry the guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuardSite {
    /// The relation written.
    pub table: Arc<Table>,
    /// How the text must refer to its columns: alias or table name, as spelled.
    pub reference: Box<str>,
    /// The rows named, each in key order; empty: any row of the table may be written.
    pub keys: Vec<Vec<Operand>>,
    /// Columns it sets, without the version and the ignored ones; empty for a DELETE.
    pub sets: ColumnSet,
    /// Every assignment is of the self-relative kind: no check, the increment only.
    pub self_relative: bool,
    /// It sets a key column: rows leave the keys named, and what lives under which key is not certain.
    pub moves_key: bool,
    /// The condition asks nothing beside the keys: a row that it names and does not find is gone. Of an INSERT: it has no
    /// ON CONFLICT, so that it inserts every row or fails.
    pub bare: bool,
    /// Where the expected version comes from; beside `Observed` only where `keys` names one row.
    pub source: VersionSource,
    /// Why the predicate form does not fit; for the site of a [`super::plan::PointWrite`], why it would not fit
    /// if other statements stood beside it.
    pub reason: Reason,
    /// What kind of write it is.
    pub verb: Verb,
    /// Where its increment goes.
    pub slot: Slot,
    /// The rows' keys can be compared in the statement. If not, it only bumps.
    pub guardable: bool,
    /// `WHERE CURRENT OF` this cursor: the row is the one that it stands on.
    pub cursor: Option<Box<str>>,
}

impl GuardSite {
    /// Rows that nobody has seen are refused: the guard lets only rows pass whose version goes with it.
    pub fn is_strict(&self) -> bool {
        let settings = &self.table.settings;
        settings.blind == Blind::Reject && settings.mode == Mode::Enforce && self.is_checked()
    }

    /// False for a DELETE from a table that does not have them checked.
    pub fn is_checked(&self) -> bool {
        self.verb != Verb::Delete || self.table.settings.check_delete
    }

    /// True if a guard may be put in: the application does not guard itself, the write could overwrite another's
    /// change, and the rows' keys can be compared.
    pub fn takes_guard(&self) -> bool {
        self.is_compared() && self.table.settings.mode == Mode::Enforce
    }

    /// The rows' versions are compared with what is known: by a guard, or in mode `observe` when they are returned.
    pub fn is_compared(&self) -> bool {
        self.guardable
            && self.is_checked()
            && !self.self_relative
            && !matches!(self.source, VersionSource::InPredicate(_))
    }

    /// .. and into a statement that is prepared once and run later, with what is known as a parameter. A RETURNING is
    /// not put into one: a Describe would tell of it.
    pub fn takes_parameter(&self) -> bool {
        self.takes_guard() && !matches!(self.slot, Slot::Returning { .. })
    }

    /// As a write that is only bumped.
    pub fn unguarded(&self) -> UncheckedWrite {
        UncheckedWrite {
            table: self.table.root_name.clone(),
            root_oid: self.table.root_oid,
            reason: self.reason,
            keys: if self.moves_key { Vec::new() } else { self.keys.clone() },
        }
    }

    /// The text names one row by its key.
    pub fn names_one_row(&self) -> bool {
        let [key] = self.keys.as_slice() else { return false };
        !key.iter().any(|part| matches!(part, Operand::Elements(_)))
    }
}

/// Every key column is of a type whose text the server prints as [`crate::sql::keys`] does, and the role may read
/// it. Keys of other types are not compared.
pub fn comparable_key(table: &Table) -> bool {
    table.may_read
        && !table.key.is_empty()
        && table.key_columns().count() == table.key.len()
        && table.key_columns().all(|c| KeyType::from_oid(c.type_oid).is_some())
}

/// The place of the increment in the text. Offsets are bytes of the whole text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    /// `, version = ..` goes behind the SET list, which ends at `at`. `column` is the quoted name.
    Append {
        /// End of the list.
        at: usize,
        /// The version column, quoted where needed.
        column: Box<str>,
    },
    /// It takes the place of the client's own value.
    Replace {
        /// Where the value begins.
        at: usize,
        /// Its length.
        len: usize,
    },
    /// The client's own value holds parameters, which must stay in the text for the server to infer their
    /// types: it goes into a branch that planning folds away.
    Keep {
        /// Where the value begins.
        start: usize,
        /// Where it ends.
        end: usize,
    },
    /// The client's own value is the increment.
    Own {
        /// Where it begins.
        start: usize,
        /// Where it ends.
        end: usize,
    },
    /// A DELETE has no increment. The guard goes behind its condition, and is evaluated only for rows of which the
    /// condition is true.
    Condition {
        /// The condition, fit to be evaluated once more; `None` if there is none.
        condition: Option<Box<str>>,
        /// Where it begins, or where a WHERE goes.
        start: usize,
        /// Where it ends.
        end: usize,
    },
    /// The guard of a DELETE whose condition may not be evaluated twice is a column of its RETURNING.
    Returning {
        /// Where it goes.
        at: usize,
        /// The client has a RETURNING: it is the last column of that one.
        listed: bool,
        /// The column is in the statement's result, and must be taken out of it.
        shown: bool,
    },
    /// The client guards itself and sets the version itself, or it is an INSERT: nothing is put in.
    Nothing,
}

/// A guard in SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// True for rows that may be written.
    pub holds: String,
    /// Evaluated for others: raises.
    pub raise: String,
}

impl Slot {
    /// The edits that put the increment in, with a guard or without.
    pub fn edits(&self, increment: &str, ty: VersionType, guard: Option<&Guard>) -> Vec<Edit> {
        let guarded = |increment: &str| match guard {
            Some(Guard { holds, raise }) => format!("CASE WHEN {holds} THEN {increment} ELSE {raise} END"),
            None => increment.to_owned(),
        };
        match self {
            Self::Append { at, column } => {
                vec![Edit::insert(*at, format!(", {column} = {}", guarded(increment)))]
            }
            Self::Replace { at, len } => {
                vec![Edit { at: *at, remove: *len, insert: guarded(increment).into() }]
            }
            Self::Keep { start, end } => {
                // smallint + integer is an integer, and so would be the parameter beside it.
                let cast = if ty == VersionType::Int2 { "::pg_catalog.int2" } else { "" };
                let before = match guard {
                    Some(Guard { holds, raise }) => {
                        format!("CASE WHEN {holds} THEN {increment}{cast} WHEN TRUE THEN {raise} ELSE ")
                    }
                    None => format!("CASE WHEN TRUE THEN {increment}{cast} ELSE "),
                };
                vec![Edit::insert(*start, before), Edit::insert(*end, " END")]
            }
            Self::Own { start, end } => match guard {
                Some(Guard { holds, raise }) => vec![
                    Edit::insert(*start, format!("CASE WHEN {holds} THEN ")),
                    Edit::insert(*end, format!(" ELSE {raise} END")),
                ],
                None => Vec::new(),
            },
            Self::Condition { condition, start, end } => {
                let Some(Guard { holds, raise }) = guard else { return Vec::new() };
                let check = format!("CASE WHEN {holds} THEN TRUE ELSE {raise} IS NULL END");
                match condition {
                    Some(condition) => vec![
                        Edit::insert(*start, "("),
                        Edit::insert(
                            *end,
                            format!(") AND CASE WHEN ({condition}) THEN {check} ELSE TRUE END"),
                        ),
                    ],
                    None => vec![Edit::insert(*end, format!(" WHERE {check}"))],
                }
            }
            Self::Returning { at, listed, .. } => match guard {
                Some(_) => {
                    let word = if *listed { "," } else { " RETURNING" };
                    let nothing = format!("NULL::pg_catalog.{}", ty.sql_name());
                    vec![Edit::insert(*at, format!("{word} {} AS __sg_v1", guarded(&nothing)))]
                }
                None => Vec::new(),
            },
            Self::Nothing => Vec::new(),
        }
    }
}
