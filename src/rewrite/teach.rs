//! Which tables' rows a statement's result may teach.
//!
//! RowDescription says of which table and column each result column is, but not of which *row*: in
//! `SELECT b.id, a.version FROM projects a JOIN projects b ..` it would teach row b the version of row a. So a
//! result teaches only tables that its statement names exactly once, and only if no WITH clause of it changes
//! rows (the outer query still sees them as they were). Counting a name too often is the safe side.

use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;

use super::Context;
use super::statement::Statement;
use crate::catalog::{Table, View};
use crate::sql::code::Code;
use crate::sql::keys::KeyType;
use crate::sql::token::TokenKind;

/// A quick test for identifiers that may be the name of a protected table.
pub struct NameFilter([u64; 4]);

impl NameFilter {
    /// The filter for the tables of `view`.
    pub fn new(view: &View) -> Self {
        let mut filter = Self([0; 4]);
        for table in &view.tables {
            if let Some(bit) = Self::bit(table.name.as_bytes()) {
                if let Some(word) = filter.0.get_mut(bit / 64) {
                    *word |= 1 << (bit % 64);
                }
            }
        }
        filter
    }

    fn bit(name: &[u8]) -> Option<usize> {
        let first = name.first()?.to_ascii_lowercase();
        Some((usize::from(first) + name.len() * 37) % 256)
    }

    /// False if the identifier at `i` is certainly no name of a protected table.
    fn may_be(&self, code: Code<'_>, i: usize) -> bool {
        let Some(token) = code.get(i) else { return false };
        let text = token.text(code.src);
        let name = match token.kind {
            TokenKind::Word => text,
            TokenKind::QuotedIdent if !text.get(1..text.len() - 1).is_some_and(|t| t.contains(&b'"')) => {
                text.get(1..text.len() - 1).unwrap_or(text)
            }
            TokenKind::QuotedIdent | TokenKind::UnicodeIdent => return true,
            _ => return false,
        };
        Self::bit(name)
            .and_then(|bit| self.0.get(bit / 64).map(|w| w & (1 << (bit % 64)) != 0))
            .unwrap_or(false)
    }
}

/// A place that names, or may name, a protected table.
pub struct Mention<'a> {
    /// The token of the name.
    pub at: usize,
    /// The table that it resolves to.
    pub table: Option<&'a Arc<Table>>,
    /// It is the name of a WITH query: `projects AS (..)`.
    pub defines: bool,
}

/// All mentions of protected tables' names between these tokens. Qualifiers (`projects.id`), aliases and labels
/// behind AS, and columns of something (`p.rates`) are none.
pub fn mentions<'a>(
    code: Code<'_>,
    ctx: &Context<'a>,
    filter: &NameFilter,
    range: Range<usize>,
) -> SmallVec<[Mention<'a>; 4]> {
    let mut out = SmallVec::new();
    for i in range {
        if !filter.may_be(code, i) || code.is(i + 1, TokenKind::Dot) {
            continue;
        }
        let dotted = i.checked_sub(2).filter(|_| code.is(i - 1, TokenKind::Dot));
        if dotted.is_none() && code.is_named(i) {
            continue;
        }
        let mut same_name = ctx.view.tables.iter().filter(|t| code.is_name(i, &t.name)).peekable();
        if same_name.peek().is_none() {
            continue;
        }
        let table = match dotted {
            Some(schema) => {
                let Some(table) = same_name.find(|t| code.is_name(schema, &t.schema)) else { continue };
                Some(table)
            }
            None => same_name.find(|t| t.visible),
        };
        out.push(Mention { at: i, table, defines: dotted.is_none() && defines(code, i).is_some() });
    }
    out
}

/// The identifier at `i` names a WITH query: `name [(columns)] AS [[NOT] MATERIALIZED] (`; its bracket.
fn defines(code: Code<'_>, i: usize) -> Option<usize> {
    let mut i = i + 1;
    if code.is(i, TokenKind::LParen) {
        i = code.close(i) + 1;
    }
    if !code.word(i, "as") {
        return None;
    }
    i += 1;
    i += usize::from(code.word(i, "not"));
    i += usize::from(code.word(i, "materialized"));
    code.is(i, TokenKind::LParen).then_some(i)
}

/// The tables that the statement's result may teach.
pub fn teachable<'a>(statement: &Statement<'a>) -> SmallVec<[&'a Arc<Table>; 2]> {
    let mut out = SmallVec::new();
    if statement.modifying_cte || !statement.certain {
        return out;
    }
    let code = statement.code;
    let range = statement.tokens.clone();
    let mentions = mentions(code, statement.ctx, statement.filter, range.clone());
    for mention in &mentions {
        let Some(table) = mention.table else { continue };
        let clash = |other: &&Mention<'_>| {
            code.is_name(other.at, &table.name) || other.table.is_some_and(|t| t.root_oid == table.root_oid)
        };
        if mention.defines || mentions.iter().filter(clash).count() != 1 || !has_known_key(table) {
            continue;
        }
        if enclosing_queries_used_once(code, range.clone(), mention.at) {
            out.push(table);
        }
    }
    out
}

/// The key's types have a canonical form.
pub fn has_known_key(table: &Table) -> bool {
    !table.key.is_empty() && table.key_columns().all(|c| KeyType::from_oid(c.type_oid).is_some())
}

/// Every WITH query around the token is named exactly once beside its definition.
fn enclosing_queries_used_once(code: Code<'_>, range: Range<usize>, at: usize) -> bool {
    if !range.clone().take(at.saturating_sub(range.start)).any(|i| code.word(i, "with")) {
        return true;
    }
    (range.start..at).filter(|i| code.is_ident(*i)).all(|definition| {
        let Some(open) = defines(code, definition) else { return true };
        if open > at || code.close(open) < at {
            return true;
        }
        let Some(name) = code.name(definition) else { return false };
        let is_use = |i: &usize| {
            *i != definition
                && code.is_name(*i, &name)
                && !code.is(*i + 1, TokenKind::Dot)
                && !code.is_named(*i)
        };
        range.clone().filter(is_use).count() == 1
    })
}

/// An output list on the level of the first token holds a star: its shape follows the tables' columns.
pub fn has_wildcard(code: Code<'_>, range: Range<usize>) -> bool {
    let depth = code.depth(range.start);
    range.clone().any(|i| {
        let starts = i == range.start;
        let before = || {
            i.checked_sub(1).is_some_and(|p| {
                code.is(p, TokenKind::Comma)
                    || code.is(p, TokenKind::Dot)
                    || code.any_word(p, &["select", "all", "distinct", "returning"])
                    || code.is(p, TokenKind::RParen) && code.any_word(i + 1, &["from", "into"])
            })
        };
        code.op(i, b"*") && code.depth(i) == depth && (starts || before())
    })
}
