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
use super::choice::{Choice, Values, all};
use super::evaluable;
use super::plan::{Operand, Reason, Rest};
use super::target::Written;
use crate::catalog::VersionType;
use crate::sql::code::{Code, MAX_NESTING};
use crate::sql::condition::{self, Conjuncts};
use crate::sql::keys::{KeyType, MAX_KEYS};
use crate::sql::operand::{self, List};
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
    /// Key columns with the values that they may have.
    Keys(Choice),
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
    let mut choices = Vec::new();
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
            Part::Keys(choice) => choices.push(choice),
            Part::Version(value) if out.version.is_none() => {
                out.version = Some(value);
                out.version_part = Some(n);
            }
            Part::Version(_) | Part::Other => {}
        }
    }
    out.parts = parts;
    out.rows = match key.iter().cloned().collect::<Option<Vec<_>>>() {
        Some(key) if !key.is_empty() => Rows::One(key),
        _ if unknown => Rows::Unnamed(Reason::UnknownKey),
        _ => {
            let choice = all(&key, &choices);
            let whole: SmallVec<[usize; 2]> = (0..key.len()).collect();
            if choice.columns.len() == whole.len() && !whole.is_empty() {
                let keys = choice.only(&whole).keys.unwrap_or_default();
                Rows::Several(keys.into_iter().map(SmallVec::into_vec).collect())
            } else {
                Rows::Unnamed(Reason::SetWrite)
            }
        }
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

    /// It names rows, and asks nothing else.
    pub fn is_bare(&self) -> bool {
        match &self.rows {
            Rows::One(_) => self.parts.len() == self.key_parts.len(),
            Rows::Several(keys) => !keys.is_empty() && self.parts.len() == 1,
            Rows::Unnamed(_) => false,
        }
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
    let branches = condition::disjuncts(code, part.clone());
    if branches.len() > 1 {
        return read_or(code, ctx, written, &branches);
    }
    if let Some(equals) = condition::equality(code, part) {
        return read_equality(code, ctx, written, part.start..equals, equals + 1..part.end);
    }
    read_in(code, ctx, written, part).unwrap_or(Part::Other)
}

/// `id = 1 OR id = 2`, `(a = 1 AND b = 'x') OR (a = 2 AND b = 'y')`: the columns that every branch names.
fn read_or(code: Code<'_>, ctx: &Context<'_>, written: &Written<'_>, branches: &[Range<usize>]) -> Part {
    let mut out: Option<Choice> = None;
    for branch in branches {
        if code.depth(branch.start) > MAX_NESTING {
            return Part::Other;
        }
        let choice = branch_choice(code, ctx, written, branch);
        out = Some(match out {
            None => choice,
            Some(before) => {
                let both: SmallVec<[usize; 2]> =
                    before.columns.iter().copied().filter(|k| choice.columns.contains(k)).collect();
                let (mut before, choice) = (before.only(&both), choice.only(&both));
                before.keys = match (before.keys, choice.keys) {
                    (Some(mut keys), Some(more)) if keys.len() + more.len() <= MAX_KEYS => {
                        keys.extend(more);
                        Some(keys)
                    }
                    _ => None,
                };
                before
            }
        });
        if out.as_ref().is_none_or(|c| c.columns.is_empty()) {
            return Part::Other;
        }
    }
    out.map_or(Part::Other, Part::Keys)
}

/// What one branch of an OR says of the key.
fn branch_choice(code: Code<'_>, ctx: &Context<'_>, written: &Written<'_>, branch: &Range<usize>) -> Choice {
    let mut fixed: SmallVec<[Option<Operand>; 2]> = written.table.key.iter().map(|_| None).collect();
    let mut choices = Vec::new();
    for part in condition::conjuncts(code, branch.clone()) {
        match read_part(code, ctx, written, &part) {
            Part::Key(columns) => {
                for (k, value) in columns {
                    match (value, fixed.get_mut(k)) {
                        (None, _) => choices.push(Choice::unknown(SmallVec::from_iter([k]))),
                        (value, Some(slot)) if slot.is_none() => *slot = value,
                        _ => {}
                    }
                }
            }
            Part::Keys(choice) => choices.push(choice),
            Part::Version(_) | Part::Other => {}
        }
    }
    all(&fixed, &choices)
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
        let columns = SmallVec::from_iter([k]);
        let inside = other.start + 1..other.end;
        // `= ALL` of an empty array holds for every row.
        if code.any_word(other.start, &["all"]) || !code.is_group(&inside) {
            return Part::Keys(Choice::unknown(columns));
        }
        let list = key_type(written, column)
            .and_then(|ty| operand::list(code, inside.start + 1..inside.end - 1, ty, ctx.lex));
        let keys = list.map(|list| match list {
            List::Values(values) => values.into_iter().map(|v| SmallVec::from_iter([v.into()])).collect(),
            List::Param(n) => vec![SmallVec::from_iter([Operand::Elements(n)])],
        });
        // No key at all would be read as any.
        let keys = keys.filter(|keys: &Vec<Values>| !keys.is_empty() && keys.len() <= MAX_KEYS);
        return Part::Keys(Choice { columns, keys });
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
    let values = row_columns(code, written, left)
        .and_then(|columns| Some((row_values(code, ctx, written, &columns, right)?, columns)));
    match values {
        Some((values, columns)) => Part::Key(columns.iter().map(|(k, _)| *k).zip(values).collect()),
        None => Part::Other,
    }
}

/// `(a, b)` or `ROW(a, b)` of key columns: their positions in the key, and in the table.
fn row_columns(
    code: Code<'_>,
    written: &Written<'_>,
    range: Range<usize>,
) -> Option<SmallVec<[(usize, usize); 2]>> {
    let name = |range| {
        let column = column(code, written, range)?;
        Some((key_position(written, column)?, column))
    };
    let columns: SmallVec<[_; 2]> = code.split_commas(row(code, range)?).map(name).collect::<Option<_>>()?;
    (columns.len() > 1).then_some(columns)
}

/// `(1, 'x')` or `ROW(1, 'x')`: a value for each of the columns.
fn row_values(
    code: Code<'_>,
    ctx: &Context<'_>,
    written: &Written<'_>,
    columns: &[(usize, usize)],
    range: Range<usize>,
) -> Option<SmallVec<[Option<Operand>; 2]>> {
    let mut values = code.split_commas(row(code, range)?);
    let value = |(_, column): &(usize, usize)| Some(key_value(code, ctx, written, *column, values.next()?));
    let out = columns.iter().map(value).collect::<Option<_>>()?;
    values.next().is_none().then_some(out)
}

/// The tokens inside of a row's parentheses.
fn row(code: Code<'_>, range: Range<usize>) -> Option<Range<usize>> {
    let range = range.start + usize::from(code.word(range.start, "row"))..range.end;
    code.is_group(&range).then(|| range.start + 1..range.end - 1)
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

fn key_type(written: &Written<'_>, column: usize) -> Option<KeyType> {
    KeyType::from_oid(written.table.columns.get(column)?.type_oid)
}

fn key_value(
    code: Code<'_>,
    ctx: &Context<'_>,
    written: &Written<'_>,
    column: usize,
    range: Range<usize>,
) -> Option<Operand> {
    operand::value(code, range, key_type(written, column)?, ctx.lex).map(Operand::from)
}

/// `id IN (1, 2)`, `(a, b) IN ((1, 'x'), (2, 'y'))`. `None` if it is nothing of that kind.
fn read_in(code: Code<'_>, ctx: &Context<'_>, written: &Written<'_>, part: &Range<usize>) -> Option<Part> {
    let depth = code.depth(part.start);
    let at = (part.clone()).find(|i| code.depth(*i) == depth && code.word(*i, "in") && !code.is_named(*i))?;
    let list = at + 1..part.end;
    if !code.is_group(&list) {
        return None;
    }
    let left = part.start..at;
    let columns: SmallVec<[(usize, usize); 2]> = match column(code, written, left.clone()) {
        Some(column) => SmallVec::from_iter([(key_position(written, column)?, column)]),
        None => row_columns(code, written, left)?,
    };
    let positions: SmallVec<[usize; 2]> = columns.iter().map(|(k, _)| *k).collect();
    let inner = list.start + 1..list.end - 1;
    if code.any_word(inner.start, &["select", "with", "values", "table"]) {
        return Some(Part::Keys(Choice::unknown(positions)));
    }
    let read = |item: Range<usize>| -> Option<SmallVec<[Option<Operand>; 2]>> {
        match columns.as_slice() {
            [(_, column)] => Some(SmallVec::from_iter([key_value(code, ctx, written, *column, item)])),
            several => row_values(code, ctx, written, several, item),
        }
    };
    let mut items = code.split_commas(inner.clone());
    let first = items.next()?;
    if items.next().is_none() {
        let values = read(first).unwrap_or_else(|| columns.iter().map(|_| None).collect());
        return Some(Part::Key(positions.into_iter().zip(values).collect()));
    }
    let items = code.split_commas(inner).filter(|item| !operand::is_null(code, item));
    let mut keys = Vec::new();
    for item in items {
        match read(item).and_then(|values| values.into_iter().collect::<Option<Values>>()) {
            Some(key) if keys.len() < MAX_KEYS => keys.push(key),
            _ => return Some(Part::Keys(Choice::unknown(positions))),
        }
    }
    Some(Part::Keys(Choice { columns: positions, keys: Some(keys).filter(|k| !k.is_empty()) }))
}

#[cfg(test)]
#[path = "predicate_tests.rs"]
mod tests;
