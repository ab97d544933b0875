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

/// Unquoted words that are no alias without AS where a table is named, though the grammar takes them for names: a clause
/// of INSERT begins with them.
const CLAUSES: [&str; 3] = ["set", "values", "overriding"];

/// Likewise of UPDATE, DELETE and MERGE, which share this part of the grammar.
const SET: [&str; 1] = ["set"];

/// Unquoted words that are no alias at all: what `pg_get_keywords()` calls reserved, for functions and types too.
#[rustfmt::skip]
const RESERVED: &[&str] = &[
    "where", "on", "order", "using", "inner", "left", "join", "returning", "limit", "cross", "for", "when", "as",
    "all", "analyse", "analyze", "and", "any", "array", "asc", "asymmetric", "authorization", "binary", "both", "case",
    "cast", "check", "collate", "collation", "column", "concurrently", "constraint", "create", "current_catalog",
    "current_date", "current_role", "current_schema", "current_time", "current_timestamp", "current_user", "default",
    "deferrable", "desc", "distinct", "do", "else", "end", "except", "false", "fetch", "foreign", "freeze", "from",
    "full", "grant", "group", "having", "ilike", "in", "initially", "intersect", "into", "is", "isnull", "lateral",
    "leading", "like", "localtime", "localtimestamp", "natural", "not", "notnull", "null", "offset", "only", "or",
    "outer", "overlaps", "placing", "primary", "references", "right", "select", "session_user", "similar", "some",
    "symmetric", "system_user", "table", "tablesample", "then", "to", "trailing", "true", "union", "unique", "user",
    "variadic", "verbose", "window", "with",
];

/// Reads the table reference at `i`; answers it and the index behind it. `None` if there is no plain one.
pub fn relation(code: Code<'_>, i: usize, end: usize) -> Option<(Relation, usize)> {
    read(code, i, end, &CLAUSES)
}

/// Reads the table that an UPDATE, DELETE or MERGE writes.
pub fn target(code: Code<'_>, i: usize, end: usize) -> Option<(Relation, usize)> {
    read(code, i, end, &SET)
}

/// Reads a table of a FROM list, where no clause begins with a word that could be an alias.
pub fn item(code: Code<'_>, i: usize, end: usize) -> Option<(Relation, usize)> {
    read(code, i, end, &[])
}

fn read(code: Code<'_>, i: usize, end: usize, clauses: &[&str]) -> Option<(Relation, usize)> {
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
        if !code.is_ident(i + 1) || code.any_word(i + 1, RESERVED) {
            return None;
        }
        alias = Some(i + 1);
        i += 2;
    } else if i < end && code.is_ident(i) && !code.any_word(i, clauses) && !code.any_word(i, RESERVED) {
        alias = Some(i);
        i += 1;
    }
    (i <= end).then_some((Relation { tokens: first..i, schema, name, alias }, i))
}
