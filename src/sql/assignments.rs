//! The assignments of a SET list.

use std::ops::Range;

use smallvec::SmallVec;

use super::code::Code;
use super::token::TokenKind;

/// One assigned column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The token of the column's name.
    pub column: usize,
    /// The whole column is set; false for `a[1] = ..` and `c.f = ..`.
    pub whole: bool,
    /// Set by `(a, b) = ..`.
    pub row_wise: bool,
    /// The tokens of the value; `None` where a row's sub-select yields it.
    pub value: Option<Range<usize>>,
}

/// The columns that a SET list assigns.
pub type Assignments = SmallVec<[Assignment; 8]>;

/// Reads a SET list (without SET). `None` if a part of it is no assignment.
pub fn assignments(code: Code<'_>, range: Range<usize>) -> Option<Assignments> {
    let mut out = Assignments::new();
    for part in code.split_commas(range) {
        let equals =
            (part.clone()).find(|i| code.op(*i, b"=") && code.depth(*i) == code.depth(part.start))?;
        let value = equals + 1..part.end;
        if !code.is_complete(&value) {
            return None;
        }
        if code.is(part.start, TokenKind::LParen) {
            if code.close(part.start) + 1 != equals {
                return None;
            }
            row_wise(code, part.start + 1..equals - 1, value, &mut out)?;
        } else {
            let (column, whole) = target(code, part.start..equals)?;
            out.push(Assignment { column, whole, row_wise: false, value: Some(value) });
        }
    }
    (!out.is_empty()).then_some(out)
}

/// `name`, `name[..]`, `name.field`.
fn target(code: Code<'_>, range: Range<usize>) -> Option<(usize, bool)> {
    if !code.is_ident(range.start) {
        return None;
    }
    let whole = range.len() == 1;
    (whole || code.is(range.start + 1, TokenKind::Dot) || code.is(range.start + 1, TokenKind::LBracket))
        .then_some((range.start, whole))
}

/// `(a, b) = ROW (x, y)`, `(a, b) = (x, y)`, `(a, b) = (SELECT ..)`.
fn row_wise(code: Code<'_>, names: Range<usize>, value: Range<usize>, out: &mut Assignments) -> Option<()> {
    let row = value.start + usize::from(code.word(value.start, "row"))..value.end;
    let inner = row.start + 1..row.end.saturating_sub(1);
    let is_row = code.is_group(&row) && !code.any_word(inner.start, &["select", "with", "values", "table"]);
    let mut values = code.split_commas(if is_row { inner } else { 0..0 });
    let first = out.len();
    for name in code.split_commas(names) {
        let (column, whole) = target(code, name)?;
        out.push(Assignment {
            column,
            whole,
            row_wise: true,
            value: values.next().filter(|v| !v.is_empty()),
        });
    }
    // Too few or too many values are the server's error; without them nothing is certain.
    let named = out.get(first..).unwrap_or(&[]);
    let complete = named.iter().all(|a| a.value.is_some()) && values.next().is_none();
    if is_row && !complete {
        return None;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::code::tests::{source, with_code};
    use super::*;

    #[test]
    fn reads_lists() {
        for (text, want) in [
            ("a = 1, \"B\"=f(x, y)", &["a: 1", "\"B\": f(x, y)"][..]),
            ("a[1] = 1, b.c = 2, d['k'] = 3", &["a..: 1", "b..: 2", "d..: 3"]),
            ("(a, b) = (1, (2, 3))", &["(a): 1", "(b): (2, 3)"]),
            ("(a, b) = ROW (1, DEFAULT), c = a = b", &["(a): 1", "(b): DEFAULT", "c: a = b"]),
            ("(a, b) = (SELECT x, y)", &["(a): ?", "(b): ?"]),
        ] {
            let got = with_code(text, |code, all| {
                let list = assignments(code, all).unwrap();
                list.into_iter()
                    .map(|a| {
                        let name = source(code, a.column..a.column + 1);
                        let name = match (a.whole, a.row_wise) {
                            (true, false) => name,
                            (true, true) => format!("({name})"),
                            (false, _) => format!("{name}.."),
                        };
                        format!("{name}: {}", a.value.map_or("?".to_owned(), |v| source(code, v)))
                    })
                    .collect::<Vec<_>>()
            });
            assert_eq!(got, want, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_none() {
        for text in [
            "a",
            "a = ",
            "a = 1,",
            "a b = 1",
            "1 = 2",
            "(a, b) = (1)",
            "(a) = (1, 2)",
            "(a) b = 1",
            ", a = 1",
        ] {
            assert_eq!(with_code(text, assignments), None, "{text}");
        }
    }
}
