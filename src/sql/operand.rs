//! A value compared with a key or assigned to a version: a literal or a parameter. Also lists of them.

use std::ops::Range;

use super::code::{Code, MAX_NESTING};
use super::keys::{self, KeyType};
use super::lexer::LexOptions;
use super::token::TokenKind;

/// A constant of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A literal in its canonical form.
    Literal(Box<str>),
    /// `$n`, one-based.
    Param(u16),
}

/// The tokens as a constant of type `ty`: a literal that has a canonical form under it, or a parameter, bare or
/// cast to a type of the same family. `None` for anything else.
pub fn value(code: Code<'_>, range: Range<usize>, ty: KeyType, opts: &LexOptions) -> Option<Value> {
    if let Some(n) = param(code, range.clone(), ty) {
        return Some(Value::Param(n));
    }
    keys::canonical_literal(ty, code.tokens.get(range)?, code.src, opts).map(Value::Literal)
}

/// The values that a key may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum List {
    /// These.
    Values(Vec<Value>),
    /// The elements of the array `$n`.
    Param(u16),
}

/// The tokens between the parentheses of `= ANY (..)` as a list of constants of type `ty`: `$1`, `'{1,2}'`,
/// `ARRAY[1, $2]`, each with casts to arrays of a type of the same family. `None` for anything else, and if any one of
/// the values is not certain.
pub fn list(code: Code<'_>, mut range: Range<usize>, ty: KeyType, opts: &LexOptions) -> Option<List> {
    for _ in 0..MAX_NESTING {
        range = code.strip_parens(range);
        if range.len() == 1 {
            if code.is(range.start, TokenKind::Param) {
                return number(code, range.start).map(List::Param);
            }
            let literals = keys::canonical_literals(ty, code.get(range.start)?, code.src, opts)?;
            return Some(List::Values(literals.into_iter().map(Value::Literal).collect()));
        }
        let bracket = range.start + 1;
        if code.word(range.start, "array")
            && code.is(bracket, TokenKind::LBracket)
            && code.close(bracket) + 1 == range.end
        {
            let values = code.split_commas(bracket + 1..range.end - 1).filter(|v| !is_null(code, v));
            return values.map(|v| value(code, v, ty, opts)).collect::<Option<_>>().map(List::Values);
        }
        range = uncast(code, range, |range| {
            let element = array_of(code, range)?;
            cast_keeps(code, element, ty).then_some(())
        })?;
    }
    None
}

/// The word NULL: a key is equal to nothing of it.
pub fn is_null(code: Code<'_>, range: &Range<usize>) -> bool {
    range.len() == 1 && code.word(range.start, "null")
}

/// The tokens of `type` where they are `type[]` or `type[3]`.
fn array_of(code: Code<'_>, range: Range<usize>) -> Option<Range<usize>> {
    let last = range.end.checked_sub(1).filter(|last| code.is(*last, TokenKind::RBracket))?;
    let open = range.clone().rfind(|i| code.is(*i, TokenKind::LBracket))?;
    let length = open + 1..last;
    let plain = length.is_empty() || (length.len() == 1 && code.is(open + 1, TokenKind::Number));
    (plain && open > range.start).then_some(range.start..open)
}

/// `$n`, `($n)`, `$n::integer`, `CAST($n AS uuid)`, `$n::text::uuid`.
fn param(code: Code<'_>, mut range: Range<usize>, ty: KeyType) -> Option<u16> {
    for _ in 0..MAX_NESTING {
        range = code.strip_parens(range);
        if range.len() == 1 {
            return if code.is(range.start, TokenKind::Param) { number(code, range.start) } else { None };
        }
        range = uncast(code, range, |range| cast_keeps(code, range, ty).then_some(()))?;
    }
    None
}

/// What is cast, if `keeps` says of the type's tokens that the cast does not change which key it is.
fn uncast(
    code: Code<'_>,
    range: Range<usize>,
    keeps: impl Fn(Range<usize>) -> Option<()>,
) -> Option<Range<usize>> {
    let depth = code.depth(range.start);
    if code.word(range.start, "cast") {
        let inner = range.start + 1..range.end;
        if !code.is_group(&inner) {
            return None;
        }
        let value = inner.start + 1..inner.end - 1;
        let at = value.clone().rfind(|i| code.word(*i, "as") && code.depth(*i) == depth + 1)?;
        return keeps(at + 1..value.end).map(|()| value.start..at);
    }
    let at = range.clone().rfind(|i| code.is(*i, TokenKind::Cast) && code.depth(*i) == depth)?;
    keeps(at + 1..range.end).map(|()| range.start..at)
}

/// The number of the parameter at `i`.
pub fn number(code: Code<'_>, i: usize) -> Option<u16> {
    let digits = code.text(i).get(1..)?;
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|n| *n > 0)
}

/// A cast to this type does not change which key a value is: the key's own family, or text on the way to it. A
/// length (`varchar(3)`) would cut.
fn cast_keeps(code: Code<'_>, range: Range<usize>, ty: KeyType) -> bool {
    let mut range = range;
    if range.len() == 3 && code.is_name(range.start, "pg_catalog") && code.is(range.start + 1, TokenKind::Dot)
    {
        range.start += 2;
    }
    let qualified = range.start > 0 && code.is(range.start - 1, TokenKind::Dot);
    // `integer` and its like are grammar, not names of types: neither qualified nor quoted.
    let (grammar, names): (&[&str], &[&str]) = match ty {
        KeyType::Int2 | KeyType::Int4 | KeyType::Int8 => {
            (&["int", "integer", "smallint", "bigint"], &["int2", "int4", "int8", "text", "varchar"])
        }
        KeyType::Uuid => (&[], &["uuid", "text", "varchar"]),
        KeyType::Text | KeyType::Varchar => (&[], &["text", "varchar"]),
        // As a text its blanks would count.
        KeyType::Bpchar => (&[], &["bpchar"]),
        KeyType::Numeric => (&["decimal", "dec"], &["numeric", "text", "varchar"]),
        KeyType::Bool => (&["boolean"], &["bool", "text", "varchar"]),
        KeyType::Date => (&[], &["date", "text", "varchar"]),
        KeyType::Timestamp => (&[], &["timestamp", "text", "varchar"]),
    };
    match range.len() {
        1 => {
            (!qualified && code.any_word(range.start, grammar))
                || names.iter().any(|name| code.is_name(range.start, name))
        }
        2 => !qualified && ty != KeyType::Bpchar && code.words(range.start, &["character", "varying"]),
        4 => {
            !qualified
                && ty == KeyType::Timestamp
                && code.words(range.start, &["timestamp", "without", "time", "zone"])
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::code::tests::with_code;
    use super::*;

    #[test]
    fn lists() {
        let values = |v: &[&str]| {
            let value = |v: &&str| match v.strip_prefix('$') {
                Some(n) => Value::Param(n.parse().unwrap()),
                None => Value::Literal((*v).into()),
            };
            Some(List::Values(v.iter().map(value).collect()))
        };
        let uuid = "2531439d-3075-46d6-9c19-63e3342fc43e";
        for (text, ty, want) in [
            ("$1", KeyType::Int4, Some(List::Param(1))),
            ("(($2))::int[]", KeyType::Int4, Some(List::Param(2))),
            ("CAST($1 AS integer[])", KeyType::Int8, Some(List::Param(1))),
            ("$1::text[]::pg_catalog.uuid[]", KeyType::Uuid, Some(List::Param(1))),
            ("$1::bigint[4]", KeyType::Int4, Some(List::Param(1))),
            ("$1::character varying[]", KeyType::Text, Some(List::Param(1))),
            ("$1::int", KeyType::Int4, None),
            ("$1::int[][]", KeyType::Int4, None),
            ("$1::numeric[]", KeyType::Int4, None),
            ("$1::other.int4[]", KeyType::Int4, None),
            ("$1::varchar(3)[]", KeyType::Text, None),
            ("'{1, 2}'", KeyType::Int4, values(&["1", "2"])),
            ("'{1,NULL}'::int[]", KeyType::Int4, values(&["1"])),
            ("'{}'", KeyType::Int4, values(&[])),
            ("E'{\\\"a\\\"}'", KeyType::Text, values(&["a"])),
            ("'{1,x}'", KeyType::Int4, None),
            ("'1'", KeyType::Int4, None),
            ("ARRAY[1, '2', -3, NULL, $4::int]", KeyType::Int4, values(&["1", "2", "-3", "$4"])),
            ("(array['2531439D-3075-46D6-9C19-63E3342FC43E']::uuid[])", KeyType::Uuid, values(&[uuid])),
            ("ARRAY[]::int[]", KeyType::Int4, values(&[])),
            ("ARRAY[1, f(2)]", KeyType::Int4, None),
            ("ARRAY[[1], [2]]", KeyType::Int4, None),
            ("ARRAY[1, 2][1]", KeyType::Int4, None),
            ("ARRAY[1] || 2", KeyType::Int4, None),
            ("ARRAY(SELECT 1)", KeyType::Int4, None),
            ("SELECT 1", KeyType::Int4, None),
            ("ids", KeyType::Int4, None),
            ("string_to_array($1, ',')::int[]", KeyType::Int4, None),
        ] {
            let got = with_code(text, |code, all| list(code, all, ty, &LexOptions::default()));
            assert_eq!(got, want, "{text}");
        }
    }

    #[test]
    fn parameters() {
        for (text, ty, n) in [
            ("$1", KeyType::Int4, Some(1)),
            ("(($12))", KeyType::Text, Some(12)),
            ("$1::INTEGER", KeyType::Int8, Some(1)),
            ("($1::pg_catalog.int8)", KeyType::Int4, Some(1)),
            ("CAST ($1 AS character varying)", KeyType::Varchar, Some(1)),
            ("CAST(($1)::text AS uuid)", KeyType::Uuid, Some(1)),
            ("$1::uuid", KeyType::Int4, None),
            ("$1::numeric", KeyType::Int4, None),
            ("$1::\"integer\"", KeyType::Int4, None),
            ("$1::pg_catalog.integer", KeyType::Int4, None),
            ("$1::int4", KeyType::Text, None),
            ("$1::varchar(3)", KeyType::Varchar, None),
            ("$1::other.text", KeyType::Text, None),
            ("$1::text[]", KeyType::Text, None),
            ("$1::bpchar", KeyType::Bpchar, Some(1)),
            ("$1::text", KeyType::Bpchar, None),
            ("$1::character varying", KeyType::Bpchar, None),
            ("$1::char", KeyType::Bpchar, None),
            ("$1::decimal", KeyType::Numeric, Some(1)),
            ("$1::numeric(10,2)", KeyType::Numeric, None),
            ("$1::int4", KeyType::Numeric, None),
            ("$1::boolean", KeyType::Bool, Some(1)),
            ("$1::date", KeyType::Date, Some(1)),
            ("$1::timestamp", KeyType::Date, None),
            ("CAST($1 AS timestamp without time zone)", KeyType::Timestamp, Some(1)),
            ("$1::timestamp(3)", KeyType::Timestamp, None),
            ("$1::timestamp with time zone", KeyType::Timestamp, None),
            ("$1 + 1", KeyType::Int4, None),
            ("-$1", KeyType::Int4, None),
            ("f($1)", KeyType::Int4, None),
            ("$0", KeyType::Int4, None),
            ("$65536", KeyType::Int4, None),
        ] {
            let got = with_code(text, |code, all| value(code, all, ty, &LexOptions::default()));
            assert_eq!(got, n.map(Value::Param), "{text}");
        }
    }
}
