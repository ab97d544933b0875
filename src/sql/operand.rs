//! A value compared with a key or assigned to a version: a literal or a parameter.

use std::ops::Range;

use super::code::Code;
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

/// `$n`, `($n)`, `$n::integer`, `CAST($n AS uuid)`, `$n::text::uuid`.
fn param(code: Code<'_>, range: Range<usize>, ty: KeyType) -> Option<u16> {
    let range = code.strip_parens(range);
    if code.word(range.start, "cast") {
        let inner = range.start + 1..range.end;
        if !code.is_group(&inner) {
            return None;
        }
        let as_ = (inner.start + 1..inner.end - 1)
            .rfind(|i| code.word(*i, "as") && code.depth(*i) == code.depth(inner.start) + 1)?;
        return if cast_keeps(code, as_ + 1..inner.end - 1, ty) {
            param(code, inner.start + 1..as_, ty)
        } else {
            None
        };
    }
    if let Some(cast) =
        range.clone().rfind(|i| code.is(*i, TokenKind::Cast) && code.depth(*i) == code.depth(range.start))
    {
        return if cast_keeps(code, cast + 1..range.end, ty) {
            param(code, range.start..cast, ty)
        } else {
            None
        };
    }
    if range.len() != 1 || !code.is(range.start, TokenKind::Param) {
        return None;
    }
    number(code, range.start)
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
    let words: &[&str] = match ty {
        KeyType::Int2 | KeyType::Int4 | KeyType::Int8 => {
            &["int", "integer", "int2", "int4", "int8", "smallint", "bigint", "text", "varchar"]
        }
        KeyType::Uuid => &["uuid", "text", "varchar"],
        KeyType::Text | KeyType::Varchar => &["text", "varchar"],
    };
    match range.len() {
        1 => code.is_ident(range.start) && words.iter().any(|w| code.is_name(range.start, w)),
        2 => words.contains(&"varchar") && code.words(range.start, &["character", "varying"]),
        _ => false,
    }
}
