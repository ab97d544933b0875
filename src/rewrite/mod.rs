//! Pure: statement text + catalog -> [`plan::Plan`]. One file per rule; no I/O, no versions.
//!
//! A text is tokenised once ([`crate::sql::lexer`]), split into statements, and each statement is read by its
//! verb: what it writes ([`update`], [`on_conflict`], [`merge`], [`delete`], [`nested`]), what its result may
//! teach ([`teach`], [`hidden_columns`]) and what its completion does to the session ([`effect`]). The plan names
//! byte offsets; [`render`] puts the pieces in, with or without an expected version.

pub mod cache;
pub mod plan;
pub mod render;

#[cfg(test)]
mod client_statements;
mod delete;
mod effect;
mod evaluable;
mod hidden_columns;
mod increment;
mod merge;
mod nested;
mod on_conflict;
mod predicate;
mod self_relative;
mod statement;
mod target;
mod teach;
#[cfg(test)]
mod testing;
mod update;
mod written_back;

use std::ops::Range;

use crate::catalog::View;
use crate::sql::code::Code;
use crate::sql::lexer::{self, LexError, LexOptions};
use crate::sql::operand;
use crate::sql::split;
use crate::sql::token::TokenKind;
use plan::{Effect, Plan, PointWrite, Reason, StatementPlan, UncheckedWrite};
use teach::NameFilter;

/// What a plan depends on beside the text.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The protected tables.
    pub view: &'a View,
    /// How the text is to be read.
    pub lex: &'a LexOptions,
}

/// Plans a text. Never fails: what cannot be read is left as it is and counted.
pub fn plan(text: &[u8], ctx: &Context<'_>) -> Plan {
    let tokens = match lexer::lex(text, ctx.lex) {
        Ok(tokens) => tokens.tokens,
        Err(error) => return unreadable(text, ctx, error),
    };
    let code = Code { src: text, tokens: &tokens };
    let filter = NameFilter::new(ctx.view);
    let ranges = split::split(&tokens, text);
    let mut plan =
        Plan { statements: Vec::with_capacity(ranges.len()), max_param: max_param(code, 0..tokens.len()) };
    let mut certain = true;
    for range in ranges {
        let mut statement = statement::plan(code, ctx, &filter, range, certain);
        statement.edits.sort_by_key(|e| e.at);
        certain &= !changes_names(&statement.effect);
        plan.statements.push(statement);
    }
    if plan.statements.len() > 1 {
        for statement in &mut plan.statements {
            if let Some(point) = statement.point.take() {
                statement.unchecked.push(in_batch(point));
            }
        }
    }
    plan
}

/// Behind such a statement of the same text a name may mean another table, or a column may be gone: what follows
/// cannot be planned before it has run.
fn changes_names(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Catalog
            | Effect::Names
            | Effect::Role
            | Effect::DiscardAll
            | Effect::ResetAll
            | Effect::RollbackTo(_)
    )
}

/// A point write beside other statements is bumped only: zero rows would be noticed when they have run.
fn in_batch(point: PointWrite) -> UncheckedWrite {
    let keys = if point.moves_key { Vec::new() } else { vec![point.key] };
    UncheckedWrite {
        table: point.table.root_name.clone(),
        root_oid: point.table.root_oid,
        reason: Reason::Batch,
        keys,
    }
}

fn max_param(code: Code<'_>, range: Range<usize>) -> u16 {
    range
        .filter(|i| code.is(*i, TokenKind::Param))
        .filter_map(|i| operand::number(code, i))
        .max()
        .unwrap_or(0)
}

/// A text without certain tokens: sent as it is. The protected tables that it may write are counted.
fn unreadable(text: &[u8], ctx: &Context<'_>, error: LexError) -> Plan {
    let reason = if error == LexError::Encoding { Reason::Encoding } else { Reason::Unparsed };
    let mut statement = StatementPlan { range: 0..text.len(), is_query: true, ..StatementPlan::default() };
    let lower = text.to_ascii_lowercase();
    let names = |word: &str| contains_word(&lower, word.to_ascii_lowercase().as_bytes());
    if ["update", "insert", "delete", "merge", "copy"].iter().any(|verb| names(verb)) {
        for table in &ctx.view.tables {
            if names(&table.name) && !statement.unchecked.iter().any(|u| u.root_oid == table.root_oid) {
                statement.unchecked.push(UncheckedWrite {
                    table: table.root_name.clone(),
                    root_oid: table.root_oid,
                    reason,
                    keys: Vec::new(),
                });
            }
        }
    }
    // Whether a transaction begins or ends in it is not known either: the server's own status tells.
    Plan { statements: vec![statement], max_param: 0 }
}

/// `word` stands in `text` with no identifier byte on either side.
fn contains_word(text: &[u8], word: &[u8]) -> bool {
    let is_word = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    memchr::memmem::find_iter(text, word).any(|at| {
        let before = at.checked_sub(1).and_then(|i| text.get(i));
        !is_word(before) && !is_word(text.get(at + word.len()))
    })
}
