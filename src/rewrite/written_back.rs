//! The version column in a SET list.
//!
//! ```text
//! UPDATE projects SET name = 'x', version = 5 WHERE id = 1
//! UPDATE projects SET name = 'x', version = projects.version + 1 WHERE id = 1
//! UPDATE projects SET version = $2::INTEGER WHERE id = $1
//! UPDATE projects SET version = CASE WHEN TRUE THEN projects.version + 1 ELSE $2::INTEGER END WHERE id = $1
//! ```
//!
//! An ORM that writes all columns back means "based on 5": that is the expected version. A parameter stays in the
//! text, in a branch that planning folds away, so that the server infers the type for it that the client reckons
//! with, and so does whatever is no constant: what is wrong with it is the server's to say. `version = version + 1`
//! is the increment already. Any other value becomes the increment too: versions never go back.

use std::ops::Range;

use super::plan::{Operand, Slot};
use super::target::Written;
use crate::catalog::VersionType;
use crate::sql::code::Code;
use crate::sql::keys::KeyType;
use crate::sql::lexer::LexOptions;
use crate::sql::operand;
use crate::sql::select_list::dotted;
use crate::sql::token::TokenKind;

/// What a SET list does to the version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionSet {
    /// Does not name it.
    Absent,
    /// `version = version + 1`.
    Increment,
    /// Sets it to something else; a constant is the version that the client's change is based on.
    Value(Option<Operand>),
}

/// Reads the value assigned to the version and answers where the increment goes in its place.
pub fn version_value(
    code: Code<'_>,
    opts: &LexOptions,
    written: &Written<'_>,
    value: Range<usize>,
) -> (VersionSet, Slot) {
    let start = code.start(value.start);
    let end = code.end_before(value.end);
    if is_increment(code, written, value.clone()) {
        return (VersionSet::Increment, Slot::Own { start, end });
    }
    let ty = match written.table.version_type {
        VersionType::Int2 => KeyType::Int2,
        VersionType::Int4 => KeyType::Int4,
        VersionType::Int8 => KeyType::Int8,
    };
    let constant = operand::value(code, value.clone(), ty, opts).map(Operand::from);
    let default = value.len() == 1 && code.word(value.start, "default");
    let slot = if default || matches!(constant, Some(Operand::Literal(_))) {
        Slot::Replace { at: start, len: end - start }
    } else {
        Slot::Keep { start, end }
    };
    (VersionSet::Value(constant), slot)
}

/// `version + 1`, `1 + version`, qualified or in parentheses.
fn is_increment(code: Code<'_>, written: &Written<'_>, value: Range<usize>) -> bool {
    let value = code.strip_parens(value);
    let one = |i: usize| code.is(i, TokenKind::Number) && code.text(i) == b"1";
    let column = if one(value.end.wrapping_sub(1)) && code.op(value.end.wrapping_sub(2), b"+") {
        value.start..value.end.saturating_sub(2)
    } else if one(value.start) && code.op(value.start + 1, b"+") {
        value.start + 2..value.end
    } else {
        return false;
    };
    let column = code.strip_parens(column);
    let Some((name, next)) = dotted(code, column.start, column.end) else { return false };
    let is_version = written.table.version_column().is_some_and(|v| code.is_name(name.column, &v.name));
    next == column.end && is_version && written.is_qualified_by(code, name.schema, name.table)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::plan::{Reason, VersionSource};
    use super::super::testing::{bumped, only, parsed};
    use super::*;

    #[test]
    fn values_become_the_increment() {
        let literal = |v: &str| VersionSource::WrittenBack(Operand::Literal(v.into()));
        for (set, want, source) in [
            ("version = 5", "version = projects.version + 1", literal("5")),
            ("version = '5', name = 'x'", "version = projects.version + 1, name = 'x'", literal("5")),
            (r#""version"=5::int"#, r#""version"=projects.version + 1"#, literal("5")),
            ("version = (5)", "version = projects.version + 1", literal("5")),
            (
                "version = $2",
                "version = CASE WHEN TRUE THEN projects.version + 1 ELSE $2 END",
                VersionSource::WrittenBack(Operand::Param(2)),
            ),
            (
                "version = $2::INTEGER",
                "version = CASE WHEN TRUE THEN projects.version + 1 ELSE $2::INTEGER END",
                VersionSource::WrittenBack(Operand::Param(2)),
            ),
            ("version = DEFAULT", "version = projects.version + 1", VersionSource::Observed),
            (
                "version = version + 2",
                "version = CASE WHEN TRUE THEN projects.version + 1 ELSE version + 2 END",
                VersionSource::Observed,
            ),
            (
                "version = (SELECT 1 FROM t)",
                "version = CASE WHEN TRUE THEN projects.version + 1 ELSE (SELECT 1 FROM t) END",
                VersionSource::Observed,
            ),
            (
                "version = version nonsense",
                "version = CASE WHEN TRUE THEN projects.version + 1 ELSE version nonsense END",
                VersionSource::Observed,
            ),
            (
                "version = coalesce($2, 1)",
                "version = CASE WHEN TRUE THEN projects.version + 1 ELSE coalesce($2, 1) END",
                VersionSource::Observed,
            ),
            ("version = version + 1", "version = version + 1", VersionSource::Observed),
            ("version = 1 + version", "version = 1 + version", VersionSource::Observed),
            ("version = (projects.version+1)", "version = (projects.version+1)", VersionSource::Observed),
            (
                "version = public.projects.version + 1",
                "version = public.projects.version + 1",
                VersionSource::Observed,
            ),
            ("(name, version) = ('x', 5)", "(name, version) = ('x', projects.version + 1)", literal("5")),
            (
                "(version, name) = ROW ($2, $3)",
                "(version, name) = ROW (CASE WHEN TRUE THEN projects.version + 1 ELSE $2 END, $3)",
                VersionSource::WrittenBack(Operand::Param(2)),
            ),
        ] {
            let text = format!("UPDATE projects SET {set} WHERE id = $1");
            assert_eq!(bumped(&text), format!("UPDATE projects SET {want} WHERE id = $1"));
            assert_eq!(only(&text).point.unwrap().source, source, "{text}");
        }
    }

    #[test]
    fn smallint_keeps_the_type_of_the_parameter() {
        assert_eq!(
            parsed("UPDATE small SET version = $1 WHERE id = 1"),
            "UPDATE small SET version = CASE WHEN TRUE THEN small.version + 1::pg_catalog.int2 ELSE $1 END WHERE (id = 1) AND small.version = COALESCE($2::pg_catalog.int2, small.version)"
        );
    }

    #[test]
    fn an_uncertain_version_is_left_alone() {
        for set in [
            "(name, version) = (SELECT 'a', 5)",
            "version = 5, version = 6",
            "version[1] = 5",
            "(name, version) = ('a')",
        ] {
            let text = format!("UPDATE projects SET {set} WHERE id = 1");
            assert_eq!(bumped(&text), text);
            assert_eq!(only(&text).unchecked[0].reason, Reason::Unparsed);
        }
    }
}
