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
    Part::Other
}

/// `id = 1 OR id = 2`.
fn read_or(code: Code<'_>, ctx: &Context<'_>, written: &Written<'_>, branches: &[Range<usize>]) -> Part {
    let mut values = Vec::new();
    let mut position = None;
    for branch in branches {
        let Some(equals) = condition::equality(code, branch) else { return Part::Other };
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::plan::{PointWrite, VersionSource};
    use super::super::testing::{checked, only, reasons};
    use super::*;

    fn point(table: &str, condition: &str) -> PointWrite {
        let plan = only(&format!("UPDATE {table} SET note = 'x' WHERE {condition}"));
        assert!(plan.unchecked.is_empty(), "{condition}");
        plan.point.unwrap_or_else(|| panic!("{condition}"))
    }

    fn literal(value: &str) -> Operand {
        Operand::Literal(value.into())
    }

    #[test]
    fn names_one_row() {
        let uuid = "051e3dcf-81ba-49f2-8daa-110ed693f2b6";
        for (table, condition, key) in [
            ("projects", "id = 1", vec![literal("1")]),
            ("projects", "1 = id", vec![literal("1")]),
            ("projects", "-1 = id", vec![literal("-1")]),
            ("projects", "id=-1", vec![literal("-1")]),
            ("projects", "((id) = (1))", vec![literal("1")]),
            ("projects", "projects.id = '1'", vec![literal("1")]),
            ("projects", "public.projects.id = 1::int8", vec![literal("1")]),
            ("projects p", "p.id = 1", vec![literal("1")]),
            ("projects AS \"P\"", "\"P\".\"id\" = 1", vec![literal("1")]),
            ("projects", "ID IN (1)", vec![literal("1")]),
            ("projects", "id = $1", vec![Operand::Param(1)]),
            ("projects", "id = ($1::INTEGER)", vec![Operand::Param(1)]),
            ("projects", "id = CAST($1 AS bigint)", vec![Operand::Param(1)]),
            ("projects", "id = $1::text::pg_catalog.int4", vec![Operand::Param(1)]),
            ("users", &format!("id = '{uuid}'"), vec![literal(uuid)]),
            ("users", &format!("id = '{}'::UUID", uuid.to_uppercase()), vec![literal(uuid)]),
            ("users", "id = $1::uuid", vec![Operand::Param(1)]),
            ("user_roles", "role = 'a' AND user_id = 7", vec![literal("7"), literal("a")]),
            ("user_roles", "(user_id = $2 AND (role = $1))", vec![Operand::Param(2), Operand::Param(1)]),
            ("user_roles", "(user_id, role) = ($1, 'x')", vec![Operand::Param(1), literal("x")]),
            ("user_roles", "ROW (role, user_id) = ROW ('x', 1)", vec![literal("1"), literal("x")]),
            (r#""Odd Name""#, r#""Id" = 1"#, vec![literal("1")]),
            ("archive.rates", "rates.id = 1", vec![literal("1")]),
        ] {
            assert_eq!(point(table, condition).key, key, "{table}: {condition}");
        }
    }

    #[test]
    fn the_rest() {
        let evaluable = |rest: &str| Rest::Evaluable(rest.into());
        for (condition, rest) in [
            ("id = 1", Rest::None),
            ("id = 1 AND status = 'open'", evaluable("(status = 'open')")),
            ("(id = 1 AND 1=1)", evaluable("(1=1)")),
            ("id IN ($1) AND (id = $2 AND 1=1)", evaluable("(id = $2) AND (1=1)")),
            ("budget BETWEEN 1 AND 5 AND id = 1", evaluable("(budget BETWEEN 1 AND 5)")),
            ("id = 1 AND (status = 'a' OR status = 'b')", evaluable("(status = 'a' OR status = 'b')")),
            ("id = 1 AND NOT status = 'a'", evaluable("(NOT status = 'a')")),
            (
                "id = 1 AND CASE WHEN budget > 1 AND budget < 3 THEN TRUE ELSE FALSE END",
                evaluable("(CASE WHEN budget > 1 AND budget < 3 THEN TRUE ELSE FALSE END)"),
            ),
            ("id = 1 AND lower(name) LIKE 'a%'", evaluable("(lower(name) LIKE 'a%')")),
            (
                "id = 1 AND name IS NOT DISTINCT FROM $1::text",
                evaluable("(name IS NOT DISTINCT FROM $1::text)"),
            ),
            ("id = 1 AND status IN ('a', 'b')", evaluable("(status IN ('a', 'b'))")),
            ("id = 1 AND status = ANY($2)", evaluable("(status = ANY($2))")),
            ("id = 1 AND version < 5", evaluable("(version < 5)")),
            ("id = 1 AND xmin = '77'", evaluable("(xmin = '77')")),
            (
                "id = 1 AND updated_at = '2020-01-01'::timestamp(3)",
                evaluable("(updated_at = '2020-01-01'::timestamp(3))"),
            ),
            (
                "id = 1 AND name = 'a' -- which\n AND status = 'b'",
                evaluable("(name = 'a') AND (status = 'b')"),
            ),
            ("id = 1 AND now() > updated_at", Rest::Opaque),
            ("id = 1 AND f(name)", Rest::Opaque),
            ("id = 1 AND s.lower(name) = 'a'", Rest::Opaque),
            ("id = 1 AND EXISTS (SELECT 1 FROM users)", Rest::Opaque),
            ("id = 1 AND budget = (SELECT max(budget) FROM users)", Rest::Opaque),
            ("id = 1 AND other.name = 'x'", Rest::Opaque),
            ("id = 1 AND nonsense", Rest::Opaque),
            ("id = 1 AND name = 'a'::custom", Rest::Opaque),
            ("id = 1 AND status OPERATOR(pg_catalog.=) 'a'", Rest::Opaque),
        ] {
            assert_eq!(point("projects", condition).rest, rest, "{condition}");
        }
    }

    #[test]
    fn key_conditions() {
        for (table, condition, key_condition) in [
            ("projects", "(status = 'a') AND ((id = /* k */ 1))", "id = 1"),
            (
                "user_roles",
                "role=$1 AND note = 'x' AND user_roles.user_id=$2",
                "role=$1 AND user_roles.user_id=$2",
            ),
        ] {
            assert_eq!(&*point(table, condition).key_condition, key_condition);
        }
    }

    #[test]
    fn targets() {
        for (table, target, reference) in [
            ("ONLY public.projects /* p */ AS p", "ONLY public.projects AS p", "p"),
            ("\"projects\"", "\"projects\"", "\"projects\""),
            ("archive.rates", "archive.rates", "rates"),
        ] {
            let point = point(table, "id = 1");
            assert_eq!((&*point.target, &*point.reference), (target, reference));
        }
    }

    #[test]
    fn names_the_version() {
        for (condition, source) in [
            ("id = 1 AND version = 5", VersionSource::InPredicate(literal("5"))),
            ("($2 = projects.version) AND id = 1", VersionSource::InPredicate(Operand::Param(2))),
            ("id = 1 AND version IN (5)", VersionSource::Observed),
            ("id = 1 AND version < 5", VersionSource::Observed),
            ("id = 1 AND (version = 5 OR version = 6)", VersionSource::Observed),
        ] {
            assert_eq!(point("projects", condition).source, source, "{condition}");
        }
        let text = "UPDATE projects SET name = 'x' WHERE id = 1 AND version = 4";
        assert_eq!(
            checked(text),
            "UPDATE projects SET name = 'x', version = projects.version + 1 WHERE id = 1 AND version = 4"
        );
        assert_eq!(
            point("projects", "id = 1 AND version = 5 AND name = 'x'").rest,
            Rest::Evaluable("(name = 'x')".into())
        );
    }

    #[test]
    fn names_no_single_row() {
        for (table, condition, reason, keys) in [
            ("projects", "status = 'x'", Reason::SetWrite, 0),
            ("projects", "id > 5", Reason::SetWrite, 0),
            ("projects", "NOT id = 5", Reason::SetWrite, 0),
            ("projects", "id = 5 OR status = 'x'", Reason::SetWrite, 0),
            ("projects", "id = portfolio_id", Reason::SetWrite, 0),
            ("projects", "id = 1 IS NOT TRUE", Reason::UnknownKey, 0),
            ("projects", "id = 1 + 1", Reason::UnknownKey, 0),
            ("projects", "id = 1.0", Reason::UnknownKey, 0),
            ("projects", "id = (SELECT 1)", Reason::UnknownKey, 0),
            ("projects", "id = f($1)", Reason::UnknownKey, 0),
            ("projects", "id = $1::custom", Reason::UnknownKey, 0),
            ("projects", "id + 0 = 1", Reason::SetWrite, 0),
            ("projects", "id NOT IN (1)", Reason::SetWrite, 0),
            ("projects", "id IN (1, '2', $1)", Reason::SeveralRows, 3),
            ("projects", "id IN (1, f(2))", Reason::SeveralRows, 0),
            ("projects", "id IN (SELECT 1)", Reason::SeveralRows, 0),
            ("projects", "id = ANY($1)", Reason::SeveralRows, 0),
            ("projects", "(id = 1 OR (id = 2)) AND status = 'x'", Reason::SeveralRows, 2),
            ("user_roles", "user_id = 1", Reason::SetWrite, 0),
            ("user_roles", "user_id IN (1, 2) AND role = 'x'", Reason::SeveralRows, 0),
            ("user_roles", "role = $1::varchar(3) AND user_id = 1", Reason::UnknownKey, 0),
            ("amounts", "id = 1", Reason::UnknownKey, 0),
            ("triggered", "id = 1", Reason::StatementTrigger, 1),
            ("projects", "CURRENT OF c", Reason::CurrentOf, 0),
            ("locked", "id = 1", Reason::Privilege, 1),
        ] {
            let plan = only(&format!("UPDATE {table} SET name = 'x' WHERE {condition}"));
            assert_eq!(plan.point, None, "{condition}");
            assert_eq!(reasons(&plan), [(reason, keys)], "{condition}");
            assert_eq!(plan.sites.is_empty(), reason == Reason::Privilege, "{condition}");
        }
    }
}
