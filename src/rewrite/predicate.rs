//! Which rows a WHERE condition names, and what else it asks of them.
//!
//! ```text
//! UPDATE projects SET name = $1 WHERE ("public"."projects"."id" = $2 AND 1=1)
//! ```
//!
//! names the row of key `$2`; `1=1` is the rest. A point write's condition names each key column once, as a
//! top-level AND part `key = value`; the check goes behind the condition:
//!
//! ```text
//! UPDATE projects SET name = $1, version = projects.version + 1
//!   WHERE (("public"."projects"."id" = $2 AND 1=1)) AND projects.version = 5
//! ```

use std::ops::Range;

use smallvec::SmallVec;

use super::Context;
use super::evaluable;
use super::plan::{Operand, Reason, Rest};
use super::target::Written;
use crate::catalog::VersionType;
use crate::sql::code::Code;
use crate::sql::condition::{self, Conjuncts};
use crate::sql::keys::KeyType;
use crate::sql::operand;
use crate::sql::select_list::dotted;
use crate::sql::token::TokenKind;

/// A condition, read against one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The rows it names.
    pub rows: Rows,
    /// `AND version = 5`.
    pub version: Option<Operand>,
    parts: Conjuncts,
    /// Parts that name the key.
    key_parts: SmallVec<[usize; 2]>,
    version_part: Option<usize>,
}

/// The rows that a condition names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rows {
    /// One, by its key.
    One(Vec<Operand>),
    /// Several; their keys if all are known.
    Several(Vec<Vec<Operand>>),
    /// It names none by key; why.
    Unnamed(Reason),
}

impl Rows {
    /// The keys named.
    pub fn keys(self) -> Vec<Vec<Operand>> {
        match self {
            Self::One(key) => vec![key],
            Self::Several(keys) => keys,
            Self::Unnamed(_) => Vec::new(),
        }
    }
}

/// What one part of the condition says.
enum Part {
    /// Key columns with their values; `None` where a value is not canonical.
    Key(SmallVec<[(usize, Option<Operand>); 2]>),
    /// A key column in a list of values.
    KeyList(Vec<Option<Operand>>),
    /// A key column among values that the text does not show.
    KeyAny,
    /// `version = 5`.
    Version(Operand),
    Other,
}

/// Reads the condition behind WHERE.
pub fn read(code: Code<'_>, ctx: &Context<'_>, written: &Written<'_>, range: Range<usize>) -> Condition {
    let parts = condition::conjuncts(code, range);
    let mut key: SmallVec<[Option<Operand>; 2]> = written.table.key.iter().map(|_| None).collect();
    let mut out = Condition {
        rows: Rows::Unnamed(Reason::SetWrite),
        version: None,
        parts: Conjuncts::new(),
        key_parts: SmallVec::new(),
        version_part: None,
    };
    let mut several = None;
    let mut unknown = false;
    for (n, part) in parts.iter().enumerate() {
        match read_part(code, ctx, written, part) {
            Part::Key(columns) => {
                // A second value for a key column is one more condition.
                let fresh =
                    columns.iter().all(|(k, v)| v.is_some() && key.get(*k).is_some_and(Option::is_none));
                unknown |= columns.iter().any(|(_, v)| v.is_none());
                if fresh {
                    for (k, value) in columns {
                        if let Some(slot) = key.get_mut(k) {
                            *slot = value;
                        }
                    }
                    out.key_parts.push(n);
                }
            }
            Part::KeyList(values) => {
                several = Some(values.into_iter().map(|v| v.map(|v| vec![v])).collect::<Option<Vec<_>>>());
            }
            Part::KeyAny => several = several.or(Some(None)),
            Part::Version(value) if out.version.is_none() => {
                out.version = Some(value);
                out.version_part = Some(n);
            }
            Part::Version(_) | Part::Other => {}
        }
    }
    let single = written.table.key.len() == 1;
    out.parts = parts;
    out.rows = match key.into_iter().collect::<Option<Vec<_>>>() {
        Some(key) if !key.is_empty() => Rows::One(key),
        _ if unknown => Rows::Unnamed(Reason::UnknownKey),
        _ => match several {
            Some(keys) => Rows::Several(keys.filter(|_| single).unwrap_or_default()),
            None => Rows::Unnamed(Reason::SetWrite),
        },
    };
    out
}

impl Condition {
    /// The parts that name the key, fit for another WHERE.
    pub fn key_condition(&self, code: Code<'_>) -> Option<Box<str>> {
        let mut out = String::new();
        for part in self.key_parts.iter().filter_map(|n| self.parts.get(*n)) {
            if !out.is_empty() {
                out.push_str(" AND ");
            }
            out.push_str(&code.spelled(part.clone())?);
        }
        Some(out.into())
    }

    /// What the condition asks beside key and version.
    pub fn rest(&self, code: Code<'_>, written: &Written<'_>) -> Rest {
        let mut out = String::new();
        for (n, part) in self.parts.iter().enumerate() {
            if self.key_parts.contains(&n) || self.version_part == Some(n) {
                continue;
            }
            if !evaluable::is(code, written, part.clone()) {
                return Rest::Opaque;
            }
            let Some(spelled) = code.spelled(part.clone()) else { return Rest::Opaque };
            if !out.is_empty() {
                out.push_str(" AND ");
            }
            out.push('(');
            out.push_str(&spelled);
            out.push(')');
        }
        if out.is_empty() { Rest::None } else { Rest::Evaluable(out.into()) }
    }
}

fn read_part(code: Code<'_>, ctx: &Context<'_>, written: &Written<'_>, part: &Range<usize>) -> Part {
    if let Some(equals) = condition::equality(code, part) {
        return read_equality(code, ctx, written, part.start..equals, equals + 1..part.end);
    }
    if let Some((column, list)) = in_list(code, written, part) {
        let Some(k) = key_position(written, column) else { return Part::Other };
        let mut values: Vec<_> =
            code.split_commas(list).map(|v| key_value(code, ctx, written, column, v)).collect();
        return match values.len() {
            0 => Part::KeyAny,
            1 => Part::Key(SmallVec::from_iter([(k, values.pop().flatten())])),
            _ => Part::KeyList(values),
        };
    }
    read_or(code, ctx, written, part)
}

/// `id = 1 OR id = 2`.
fn read_or(code: Code<'_>, ctx: &Context<'_>, written: &Written<'_>, part: &Range<usize>) -> Part {
    let branches = condition::disjuncts(code, part.clone());
    if branches.len() < 2 {
        return Part::Other;
    }
    let mut values = Vec::new();
    let mut position = None;
    for branch in branches {
        let Some(equals) = condition::equality(code, &branch) else { return Part::Other };
        match read_equality(code, ctx, written, branch.start..equals, equals + 1..branch.end) {
            Part::Key(mut columns) if columns.len() == 1 => {
                let (k, value) = columns.remove(0);
                if position.is_some_and(|p| p != k) {
                    return Part::Other;
                }
                position = Some(k);
                values.push(value);
            }
            _ => return Part::Other,
        }
    }
    Part::KeyList(values)
}

fn read_equality(
    code: Code<'_>,
    ctx: &Context<'_>,
    written: &Written<'_>,
    left: Range<usize>,
    right: Range<usize>,
) -> Part {
    let (column, other) = match (column(code, written, left.clone()), column(code, written, right.clone())) {
        (Some(column), None) => (column, right),
        (None, Some(column)) => (column, left),
        (Some(_), Some(_)) => return Part::Other,
        (None, None) => return read_rows(code, ctx, written, left, right),
    };
    if column == written.table.version {
        let ty = match written.table.version_type {
            VersionType::Int2 => KeyType::Int2,
            VersionType::Int4 => KeyType::Int4,
            VersionType::Int8 => KeyType::Int8,
        };
        return operand::value(code, other, ty, ctx.lex).map_or(Part::Other, |v| Part::Version(v.into()));
    }
    let Some(k) = key_position(written, column) else { return Part::Other };
    if code.any_word(other.start, &["any", "some", "all"]) && code.is(other.start + 1, TokenKind::LParen) {
        return Part::KeyAny;
    }
    Part::Key(SmallVec::from_iter([(k, key_value(code, ctx, written, column, other))]))
}

/// `(a, b) = (1, 2)`, where all of the left side are key columns.
fn read_rows(
    code: Code<'_>,
    ctx: &Context<'_>,
    written: &Written<'_>,
    left: Range<usize>,
    right: Range<usize>,
) -> Part {
    let row = |r: Range<usize>| {
        let r = r.start + usize::from(code.word(r.start, "row"))..r.end;
        code.is_group(&r).then(|| r.start + 1..r.end - 1)
    };
    let (Some(left), Some(right)) = (row(left), row(right)) else { return Part::Other };
    let mut values = code.split_commas(right);
    let mut columns = SmallVec::new();
    for name in code.split_commas(left) {
        let (Some(column), Some(value)) = (column(code, written, name), values.next()) else {
            return Part::Other;
        };
        let Some(k) = key_position(written, column) else { return Part::Other };
        columns.push((k, key_value(code, ctx, written, column, value)));
    }
    if values.next().is_some() || columns.len() < 2 {
        return Part::Other;
    }
    Part::Key(columns)
}

/// The tokens as a column of the written table: its index.
fn column(code: Code<'_>, written: &Written<'_>, range: Range<usize>) -> Option<usize> {
    let range = code.strip_parens(range);
    let (name, next) = dotted(code, range.start, range.end)?;
    if next != range.end || !written.is_qualified_by(code, name.schema, name.table) {
        return None;
    }
    written.table.columns.iter().position(|c| code.is_name(name.column, &c.name))
}

fn key_position(written: &Written<'_>, column: usize) -> Option<usize> {
    written.table.key.iter().position(|k| *k == column)
}

fn key_value(
    code: Code<'_>,
    ctx: &Context<'_>,
    written: &Written<'_>,
    column: usize,
    range: Range<usize>,
) -> Option<Operand> {
    let ty = KeyType::from_oid(written.table.columns.get(column)?.type_oid)?;
    operand::value(code, range, ty, ctx.lex).map(Operand::from)
}

/// `column IN (list)`: the column and the list; not a sub-select.
fn in_list(code: Code<'_>, written: &Written<'_>, part: &Range<usize>) -> Option<(usize, Range<usize>)> {
    let depth = code.depth(part.start);
    let at = (part.clone()).find(|i| code.depth(*i) == depth && code.word(*i, "in") && !code.is_named(*i))?;
    let list = at + 1..part.end;
    if !code.is_group(&list) {
        return None;
    }
    let column = column(code, written, part.start..at)?;
    let inner = list.start + 1..list.end - 1;
    if code.any_word(inner.start, &["select", "with", "values", "table"]) {
        return Some((column, 0..0));
    }
    Some((column, inner))
}
