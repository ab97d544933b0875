//! A WHERE condition as the list of its top-level AND parts.

use std::ops::Range;

use smallvec::SmallVec;

use super::code::{Code, Keyword, MAX_NESTING};
use super::token::TokenKind;

/// The parts of a condition that must all hold.
pub type Conjuncts = SmallVec<[Range<usize>; 4]>;

/// Splits a condition at its top-level ANDs, through parentheses. The AND of BETWEEN and those inside of
/// `CASE .. END` do not split; a part that holds an OR stays whole.
pub fn conjuncts(code: Code<'_>, range: Range<usize>) -> Conjuncts {
    let mut out = Conjuncts::new();
    split(code, range, MAX_NESTING, &mut out);
    out
}

fn split(code: Code<'_>, range: Range<usize>, nesting: u16, out: &mut Conjuncts) {
    let first = out.len();
    let mut start = range.start;
    let mut between = false;
    for (at, keyword) in code.keywords(range.clone()) {
        match keyword {
            Keyword::Between => between = true,
            Keyword::And if between => between = false,
            Keyword::And => {
                part(code, start..at, nesting, out);
                start = at + 1;
            }
            Keyword::Or => {
                out.truncate(first);
                out.push(range);
                return;
            }
            _ => {}
        }
    }
    part(code, start..range.end, nesting, out);
}

fn part(code: Code<'_>, range: Range<usize>, nesting: u16, out: &mut Conjuncts) {
    if nesting > 0 && code.is_group(&range) && is_condition(code, range.start + 1..range.end - 1) {
        split(code, range.start + 1..range.end - 1, nesting - 1, out);
    } else {
        out.push(range);
    }
}

/// The tokens between two parentheses are a condition, not a sub-select or a row.
fn is_condition(code: Code<'_>, range: Range<usize>) -> bool {
    !range.is_empty()
        && !code.any_word(range.start, &["select", "with", "values", "table"])
        && code.split_commas(range).nth(1).is_none()
}

/// The parts of a condition of which one must hold, if it is an OR of more than one.
pub fn disjuncts(code: Code<'_>, range: Range<usize>) -> SmallVec<[Range<usize>; 4]> {
    let range = code.strip_parens(range);
    let mut out = SmallVec::new();
    let mut start = range.start;
    for (at, keyword) in code.keywords(range.clone()) {
        if keyword == Keyword::Or {
            out.push(code.strip_parens(start..at));
            start = at + 1;
        }
    }
    out.push(code.strip_parens(start..range.end));
    out
}

/// One part as `left = right`: the index of the `=` if it is the first operator of the part's own level (a sign
/// aside). What else stands on either side is for its reader to judge.
pub fn equality(code: Code<'_>, range: &Range<usize>) -> Option<usize> {
    let depth = code.depth(range.start);
    let signed = usize::from(code.op(range.start, b"-") || code.op(range.start, b"+"));
    (range.start + signed..range.end)
        .find(|i| code.depth(*i) == depth && code.is(*i, TokenKind::Op))
        .filter(|i| code.op(*i, b"="))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::code::tests::{source, with_code};
    use super::*;

    #[test]
    fn top_level_ands() {
        for (text, parts) in [
            ("a", &["a"][..]),
            ("a AND b and c", &["a", "b", "c"]),
            ("(a AND (b)) AND ((c AND d))", &["a", "b", "c", "d"]),
            ("a AND (b OR c)", &["a", "b OR c"]),
            ("a AND b OR c", &["a AND b OR c"]),
            ("NOT a AND b", &["NOT a", "b"]),
            ("NOT (a AND b)", &["NOT (a AND b)"]),
            ("a BETWEEN 1 AND 2 AND b", &["a BETWEEN 1 AND 2", "b"]),
            ("a NOT BETWEEN SYMMETRIC 1 AND 2 AND b", &["a NOT BETWEEN SYMMETRIC 1 AND 2", "b"]),
            ("CASE WHEN a AND b OR c THEN d END AND e", &["CASE WHEN a AND b OR c THEN d END", "e"]),
            ("(a, b) = (1, 2) AND (c)", &["(a, b) = (1, 2)", "c"]),
            ("(SELECT a AND b) AND c", &["(SELECT a AND b)", "c"]),
            ("(a) = (b) AND c", &["(a) = (b)", "c"]),
            ("f(a AND b)", &["f(a AND b)"]),
            ("t.and AND b", &["t.and", "b"]),
        ] {
            let got: Vec<_> = with_code(text, |code, all| {
                conjuncts(code, all).into_iter().map(|r| source(code, r)).collect::<Vec<_>>()
            });
            assert_eq!(got, parts, "{text}");
        }
    }

    #[test]
    fn equalities() {
        for (text, at) in [
            ("a = b", Some(1)),
            ("-1 = a", Some(2)),
            ("f(a = b) = c", Some(6)),
            ("a + 1 = b", None),
            ("a <= b", None),
            ("a IS NULL", None),
            ("f(a = b)", None),
        ] {
            assert_eq!(with_code(text, |code, all| equality(code, &all)), at, "{text}");
        }
    }
}
