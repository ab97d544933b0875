//! Which conditions the probe may evaluate a second time.
//!
//! The probe asks whether the rest of a WHERE still holds for the row. That is safe and exact only if the rest
//! consists of the table's own columns, constants, operators and functions whose answer depends on nothing else.

use std::ops::Range;

use super::target::Written;
use crate::sql::code::Code;
use crate::sql::select_list::dotted;
use crate::sql::token::TokenKind;

/// OID of `boolean`.
const BOOL: u32 = 16;

/// Words of conditions that are no names.
const WORDS: [&str; 23] = [
    "all", "and", "any", "between", "case", "distinct", "else", "end", "escape", "false", "from", "ilike",
    "in", "is", "isnull", "like", "not", "notnull", "null", "or", "some", "true", "unknown",
];

/// More of them.
const MORE_WORDS: [&str; 6] = ["array", "similar", "symmetric", "then", "to", "when"];

/// Built-in functions that are immutable for every argument type they take.
const FUNCTIONS: [&str; 22] = [
    "abs",
    "btrim",
    "ceil",
    "ceiling",
    "char_length",
    "character_length",
    "coalesce",
    "floor",
    "greatest",
    "least",
    "left",
    "length",
    "lower",
    "ltrim",
    "md5",
    "mod",
    "nullif",
    "octet_length",
    "right",
    "rtrim",
    "sign",
    "upper",
];

/// Functions whose answer is the same throughout a statement.
const STABLE_FUNCTIONS: [&str; 7] = [
    "age",
    "date_part",
    "date_trunc",
    "make_interval",
    "now",
    "statement_timestamp",
    "transaction_timestamp",
];

/// Reserved words that stand for a value of that kind.
const STABLE_WORDS: [&str; 5] =
    ["current_date", "current_timestamp", "current_user", "localtimestamp", "session_user"];

/// Types whose input and casts depend on nothing but the session's settings.
const TYPES: [&str; 25] = [
    "bigint",
    "bool",
    "boolean",
    "char",
    "character",
    "date",
    "decimal",
    "float4",
    "float8",
    "int",
    "int2",
    "int4",
    "int8",
    "integer",
    "interval",
    "json",
    "jsonb",
    "numeric",
    "real",
    "smallint",
    "text",
    "time",
    "timestamp",
    "timestamptz",
    "uuid",
];

/// Types of more than one word, or less common.
const MORE_TYPES: [&str; 3] = ["varchar", "bpchar", "bytea"];

/// Columns that every table has.
const SYSTEM_COLUMNS: [&str; 6] = ["xmin", "xmax", "cmin", "cmax", "ctid", "tableoid"];

/// True if the tokens may be evaluated by the probe.
pub fn is(code: Code<'_>, written: &Written<'_>, range: Range<usize>) -> bool {
    harmless(code, written, range, false)
}

/// True if the tokens may be evaluated twice by the statement itself, with one and the same answer.
pub fn is_repeatable(code: Code<'_>, written: &Written<'_>, range: Range<usize>) -> bool {
    harmless(code, written, range, true)
}

/// True if the tokens are a condition for certain, so that the server has the same words for them behind WHERE and
/// beside an AND: `WHERE id` is an error that names the WHERE.
pub fn is_condition(code: Code<'_>, written: &Written<'_>, range: Range<usize>) -> bool {
    const COMPARISONS: [&[u8]; 7] = [b"=", b"<", b">", b"<=", b">=", b"<>", b"!="];
    const PREDICATES: [&str; 12] =
        ["and", "between", "false", "ilike", "in", "is", "isnull", "like", "not", "notnull", "or", "true"];
    let range = code.strip_parens(range);
    if let Some((name, next)) = dotted(code, range.start, range.end)
        && next == range.end
    {
        let is_bool = |c: &crate::catalog::Column| c.type_oid == BOOL && code.is_name(name.column, &c.name);
        return written.table.columns.iter().any(is_bool) || code.any_word(range.start, &["true", "false"]);
    }
    let depth = code.depth(range.start);
    let tells = |i: usize| {
        COMPARISONS.iter().any(|op| code.op(i, op)) || code.any_word(i, &PREDICATES) && !code.is_named(i)
    };
    range.clone().any(|i| code.depth(i) == depth && tells(i))
}

fn harmless(code: Code<'_>, written: &Written<'_>, range: Range<usize>, stable: bool) -> bool {
    let mut i = range.start;
    while i < range.end {
        let Some(token) = code.get(i) else { return false };
        let next = match token.kind {
            TokenKind::Word | TokenKind::QuotedIdent | TokenKind::UnicodeIdent => {
                name(code, written, i, &range, stable)
            }
            TokenKind::Str
            | TokenKind::EscapeStr
            | TokenKind::DollarStr
            | TokenKind::Number
            | TokenKind::Param
            | TokenKind::Op
            | TokenKind::LParen
            | TokenKind::RParen
            | TokenKind::LBracket
            | TokenKind::RBracket
            | TokenKind::Comma => Some(i + 1),
            TokenKind::Cast => cast_type(code, i + 1),
            _ => None,
        };
        match next {
            Some(next) => i = next,
            None => return false,
        }
    }
    true
}

/// A word or name at `i`: the index behind it if it is harmless.
fn name(
    code: Code<'_>,
    written: &Written<'_>,
    i: usize,
    range: &Range<usize>,
    stable: bool,
) -> Option<usize> {
    let (name, next) = dotted(code, i, range.end)?;
    let lone = name.table.is_none();
    if code.is(next, TokenKind::LParen) && next < range.end {
        let in_catalog =
            lone || name.schema.is_none() && name.table.is_some_and(|t| code.is_name(t, "pg_catalog"));
        let function = in_catalog
            && (code.any_word(name.column, &FUNCTIONS)
                || stable && code.any_word(name.column, &STABLE_FUNCTIONS));
        let word = lone && (code.any_word(i, &WORDS) || code.any_word(i, &MORE_WORDS));
        return (function || word).then_some(next);
    }
    if lone && (code.any_word(i, &WORDS) || code.any_word(i, &MORE_WORDS)) {
        return Some(next);
    }
    if lone && stable && code.any_word(i, &STABLE_WORDS) {
        return Some(next);
    }
    // `uuid '..'`
    if lone && (code.any_word(i, &TYPES) || code.any_word(i, &MORE_TYPES)) && code.is(next, TokenKind::Str) {
        return Some(next);
    }
    let column = written.table.columns.iter().any(|c| code.is_name(name.column, &c.name))
        || SYSTEM_COLUMNS.iter().any(|c| code.is_name(name.column, c));
    (column && written.is_qualified_by(code, name.schema, name.table)).then_some(next)
}

/// A type behind `::`, with its length and brackets: the index behind it.
fn cast_type(code: Code<'_>, i: usize) -> Option<usize> {
    let mut i = i;
    if code.is_name(i, "pg_catalog") && code.is(i + 1, TokenKind::Dot) {
        i += 2;
    }
    if !code.any_word(i, &TYPES) && !code.any_word(i, &MORE_TYPES) {
        return None;
    }
    i += 1;
    if code.word(i, "varying") {
        i += 1;
    }
    if code.is(i, TokenKind::LParen) {
        i = code.close(i) + 1;
    }
    if code.any_word(i, &["with", "without"]) && code.words(i + 1, &["time", "zone"]) {
        i += 3;
    }
    Some(i)
}
