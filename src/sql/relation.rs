//! One table reference: `[ONLY] [schema.]name [*] [[AS] alias]`.

use std::ops::Range;

use super::code::Code;
use super::token::TokenKind;

/// A table as a statement names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// All its tokens, with ONLY and the alias.
    pub tokens: Range<usize>,
    /// The token of the schema.
    pub schema: Option<usize>,
    /// The token of the name.
    pub name: usize,
    /// The token of the alias.
    pub alias: Option<usize>,
}

impl Relation {
    /// The token by which the statement's columns are qualified: the alias, or else the name.
    pub fn reference(&self) -> usize {
        self.alias.unwrap_or(self.name)
    }
}

/// Unquoted words that cannot be an alias without AS in any place where a table is named, because a clause, a
/// join or a sample begins with them. All but SET are reserved; SET is not, but the grammar prefers the clause.
const NO_ALIAS: [&str; 27] = [
    "cross",
    "default",
    "except",
    "fetch",
    "for",
    "from",
    "full",
    "group",
    "having",
    "inner",
    "intersect",
    "join",
    "left",
    "limit",
    "natural",
    "offset",
    "on",
    "order",
    "overriding",
    "returning",
    "right",
    "select",
    "set",
    "tablesample",
    "union",
    "using",
    "values",
];

/// More of them; apart so that the common case stays a short list.
const NO_ALIAS_EITHER: [&str; 7] = ["when", "where", "window", "with", "table", "as", "into"];

/// Reads the table reference at `i`; answers it and the index behind it. `None` if there is no plain one.
pub fn relation(code: Code<'_>, i: usize, end: usize) -> Option<(Relation, usize)> {
    let first = i;
    let mut i = i;
    let mut bracketed = false;
    if code.word(i, "only") {
        i += 1;
        if code.is(i, TokenKind::LParen) {
            bracketed = true;
            i += 1;
        }
    }
    let mut name = i;
    let mut schema = None;
    if !code.is_ident(name) {
        return None;
    }
    i += 1;
    while code.is(i, TokenKind::Dot) && i < end {
        if !code.is_ident(i + 1) {
            return None;
        }
        schema = Some(name);
        name = i + 1;
        i += 2;
    }
    if bracketed {
        if !code.is(i, TokenKind::RParen) {
            return None;
        }
        i += 1;
    }
    if code.op(i, b"*") {
        i += 1;
    }
    let mut alias = None;
    if code.word(i, "as") {
        if !code.is_ident(i + 1) {
            return None;
        }
        alias = Some(i + 1);
        i += 2;
    } else if i < end
        && code.is_ident(i)
        && !code.any_word(i, &NO_ALIAS)
        && !code.any_word(i, &NO_ALIAS_EITHER)
    {
        alias = Some(i);
        i += 1;
    }
    (i <= end).then_some((Relation { tokens: first..i, schema, name, alias }, i))
}
