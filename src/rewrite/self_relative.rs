//! Assignments that cannot overwrite anyone's change.
//!
//! `c = c + e`, `c = e + c`, `c = c - e`, `c = c * e`, `c = NOT c` and `c = array_append(c, e)`, where `e` holds no
//! column. Nothing else counts: `COALESCE($1, name)`, CASE, `||` and sub-selects are checked as usual.

use std::ops::Range;

use super::target::Written;
use crate::sql::assignments::Assignment;
use crate::sql::code::Code;
use crate::sql::select_list::dotted;
use crate::sql::token::TokenKind;

/// True if the assignment is of the self-relative kind.
pub fn is(code: Code<'_>, written: &Written<'_>, assignment: &Assignment) -> bool {
    if !assignment.whole || assignment.row_wise {
        return false;
    }
    let Some(value) = assignment.value.clone() else { return false };
    let value = code.strip_parens(value);
    let own = |range: Range<usize>| is_column(code, written, assignment.column, range);
    if code.word(value.start, "not") {
        return own(value.start + 1..value.end);
    }
    if let Some(arguments) = array_append(code, value.clone()) {
        let mut parts = code.split_commas(arguments);
        return match (parts.next(), parts.next(), parts.next()) {
            (Some(first), Some(second), None) => own(first) && is_column_free(code, second),
            _ => false,
        };
    }
    let depth = code.depth(value.start);
    let mut operators = value.clone().filter(|i| code.depth(*i) == depth && code.is(*i, TokenKind::Op));
    let Some(first) = operators.next() else { return false };
    let left = value.start..first;
    let right = first + 1..value.end;
    if own(left) {
        return match code.text(first) {
            // `c - 1 + 2` is `(c - 1) + 2`: still relative. `c * 2 + 1` is not of the listed kind.
            b"+" | b"-" => is_column_free(code, right),
            b"*" => is_column_free(code, right) && operators.all(|i| code.op(i, b"*")),
            _ => false,
        };
    }
    // `e + c`: the column is the last operand, behind a plus.
    let last = operators.next_back().unwrap_or(first);
    code.op(last, b"+") && own(last + 1..value.end) && is_column_free(code, value.start..last)
}

/// The tokens are the assigned column itself.
fn is_column(code: Code<'_>, written: &Written<'_>, column: usize, range: Range<usize>) -> bool {
    let range = code.strip_parens(range);
    let Some((name, next)) = dotted(code, range.start, range.end) else { return false };
    next == range.end
        && written.is_qualified_by(code, name.schema, name.table)
        && code.name(column).is_some_and(|c| code.is_name(name.column, &c))
}

/// `array_append( arguments )`.
fn array_append(code: Code<'_>, value: Range<usize>) -> Option<Range<usize>> {
    let mut i = value.start;
    if code.is_name(i, "pg_catalog") && code.is(i + 1, TokenKind::Dot) {
        i += 2;
    }
    (code.word(i, "array_append") && code.is_group(&(i + 1..value.end))).then(|| i + 2..value.end - 1)
}

/// Literals, parameters, arithmetic and casts only.
fn is_column_free(code: Code<'_>, range: Range<usize>) -> bool {
    !range.is_empty()
        && range.clone().all(|i| match code.get(i).map(|t| t.kind) {
            Some(TokenKind::Word) => {
                let before = i.checked_sub(1).filter(|p| *p >= range.start);
                // A type: behind `::`, or in front of a literal (`interval '1 day'`).
                before.is_some_and(|p| code.is(p, TokenKind::Cast))
                    || (i + 1 < range.end && code.is(i + 1, TokenKind::Str))
                    || code.any_word(i, &["null", "true", "false"])
            }
            Some(TokenKind::Op) => matches!(code.text(i), b"+" | b"-" | b"*" | b"/" | b"%"),
            Some(
                TokenKind::Str
                | TokenKind::EscapeStr
                | TokenKind::DollarStr
                | TokenKind::Number
                | TokenKind::Param
                | TokenKind::Cast
                | TokenKind::LParen
                | TokenKind::RParen,
            ) => true,
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::testing::only;

    fn self_relative(set: &str) -> bool {
        only(&format!("UPDATE projects SET {set} WHERE id = 1")).point.unwrap().self_relative
    }

    #[test]
    fn cannot_overwrite() {
        for set in [
            "budget = budget + 1",
            r#""budget"="budget"+ 1"#,
            "budget = (projects.budget + $1)",
            "budget = public.projects.budget - 2.5",
            "budget = budget * $1::numeric",
            "budget = budget * (1 + 2)",
            "budget = 1 + budget",
            "budget = $1 - 2 + budget",
            "budget = budget + interval '1 day'",
            "status = NOT status",
            "name = array_append(name, $1)",
            "name = pg_catalog.array_append(projects.name, 'x')",
            "budget = budget + 1, version = version + 1",
            "budget = budget + 1, version = 7",
            "version = version + 1",
        ] {
            assert!(self_relative(set), "{set}");
        }
    }

    #[test]
    fn may_overwrite() {
        for set in [
            "budget = 1",
            "budget = budget",
            "budget = budget + id",
            "budget = id + budget",
            "budget = name + 1",
            "budget = other.budget + 1",
            "budget = 1 - budget",
            "budget = 2 * budget",
            "budget = budget / 2",
            "budget = budget * 2 + 1",
            "budget = budget + (SELECT 1)",
            "budget = budget + f(1)",
            "budget = budget + 1 > 5",
            "budget = COALESCE(budget, 0) + 1",
            "budget = CASE WHEN TRUE THEN budget + 1 END",
            "name = name || 'x'",
            "budget = budget + 1, name = 'x'",
            "(budget) = ROW (budget + 1)",
            "name[1] = name[1] + 1",
            "name = array_append(status, 'x')",
            "name = array_append(name, status)",
            "name = array_cat(name, 'x')",
            "status = NOT name",
            "version = 7",
        ] {
            assert!(!self_relative(set), "{set}");
        }
    }
}
