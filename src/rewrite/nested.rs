//! Statements that hold another: EXPLAIN, PREPARE, DECLARE, COPY (query), CREATE TABLE AS.
//!
//! ```text
//! EXPLAIN ANALYZE UPDATE projects SET name = 'x' WHERE id = 1
//! EXPLAIN ANALYZE UPDATE projects SET name = 'x', version = projects.version + 1 WHERE id = 1
//! PREPARE p AS UPDATE projects SET name = $1 WHERE id = $2
//! PREPARE p AS UPDATE projects SET name = $1, version = projects.version + 1 WHERE id = $2
//! ```
//!
//! The inner statement is bumped, not checked, and gets no hidden columns. A cursor's query may teach through
//! FETCH.

use super::effect;
use super::plan::{Effect, Reason};
use super::statement::{Place, Statement, is_query};
use super::target::{Target, resolve, unchecked};
use crate::sql::clauses;
use crate::sql::relation::relation;
use crate::sql::token::TokenKind;

/// Plans the statement if it is one of these kinds.
pub fn plan(statement: &mut Statement<'_>) -> bool {
    let code = statement.code;
    let i = statement.tokens.start;
    match () {
        () if code.word(i, "explain") => explain(statement),
        () if code.word(i, "prepare") => return prepare(statement),
        () if code.word(i, "declare") => declare(statement),
        () if code.word(i, "copy") => copy(statement),
        () if code.word(i, "execute") => {
            statement.out.is_query = true;
            execute(statement, i);
        }
        () if code.word(i, "create") => create(statement),
        () => return false,
    }
    true
}

/// `EXPLAIN [ANALYZE] [VERBOSE] statement`, `EXPLAIN (options) statement`.
fn explain(statement: &mut Statement<'_>) {
    let code = statement.code;
    let end = statement.tokens.end;
    let mut i = statement.tokens.start + 1;
    let mut analyze = false;
    let options = code.is(i, TokenKind::LParen) && !clauses::is_statement(code, i + 1);
    if options && !code.is(i + 1, TokenKind::LParen) {
        let close = code.close(i);
        for option in code.split_commas(i + 1..close) {
            if code.any_word(option.start, &["analyze", "analyse"]) {
                let off = code.any_word(option.start + 1, &["off", "false"])
                    || code.text(option.start + 1) == b"0"
                    || code.text(option.start + 1).eq_ignore_ascii_case(b"'off'")
                    || code.text(option.start + 1).eq_ignore_ascii_case(b"'false'");
                analyze = !(off && option.len() == 2);
            }
        }
        i = close + 1;
    } else {
        while code.any_word(i, &["analyze", "analyse", "verbose"]) {
            analyze |= !code.word(i, "verbose");
            i += 1;
        }
    }
    statement.out.is_query = true;
    if is_query(code, i) {
        let place = if analyze { Place::Nested } else { Place::Shown };
        statement.query(i, end, place);
        statement.set_effect(effect::of_query(code, i..end));
    } else if analyze && code.word(i, "execute") {
        execute(statement, i);
    } else if analyze && code.word(i, "create") {
        statement.set_effect(Effect::Catalog);
    }
}

/// `EXECUTE name (..)`.
fn execute(statement: &mut Statement<'_>, i: usize) {
    let name = statement.code.name(i + 1).unwrap_or_default();
    statement.set_effect(Effect::Execute(name.into()));
}

/// `PREPARE name [(types)] AS statement`; not `PREPARE TRANSACTION 'id'`.
fn prepare(statement: &mut Statement<'_>) -> bool {
    let code = statement.code;
    let name = statement.tokens.start + 1;
    if code.word(name, "transaction") && !code.word(name + 1, "as") && !code.is(name + 1, TokenKind::LParen) {
        return false;
    }
    let mut i = name + 1;
    if code.is(i, TokenKind::LParen) {
        i = code.close(i) + 1;
    }
    statement.out.is_query = true;
    if code.word(i, "as") && code.is_ident(name) {
        statement.query(i + 1, statement.tokens.end, Place::Nested);
        statement.set_effect(Effect::Prepare(code.name(name).unwrap_or_default().into()));
    }
    true
}

/// `DECLARE name .. CURSOR .. FOR query`.
fn declare(statement: &mut Statement<'_>) {
    let code = statement.code;
    let range = statement.tokens.clone();
    let name = range.start + 1;
    let cursor = (name + 1..range.end).find(|i| code.word(*i, "cursor"));
    let query = cursor.and_then(|c| (c + 1..range.end).find(|i| code.word(*i, "for")));
    statement.out.is_query = true;
    statement.set_effect(Effect::Declare(code.name(name).unwrap_or_default().into()));
    let Some(mut i) = query.map(|f| f + 1) else { return };
    let mut end = range.end;
    while code.is_group(&(i..end)) {
        i += 1;
        end -= 1;
    }
    if code.word(i, "with") {
        let Some(with) = clauses::with(code, i, end) else { return };
        i = with.main;
    }
    statement.select(i, end, false);
}

/// `COPY (query) TO ..`, `COPY table (columns) FROM ..`.
fn copy(statement: &mut Statement<'_>) {
    let code = statement.code;
    let end = statement.tokens.end;
    let mut i = statement.tokens.start + 1;
    statement.out.is_query = true;
    if code.is(i, TokenKind::LParen) {
        let close = code.close(i);
        if clauses::is_modifying(code, i + 1, close) {
            statement.query(i + 1, close, Place::Nested);
        }
        statement.set_effect(effect::of_query(code, i + 1..close));
        return;
    }
    i += usize::from(code.word(i, "binary"));
    let Some((target, mut next)) = relation(code, i, end) else { return };
    if code.is(next, TokenKind::LParen) {
        next = code.close(next) + 1;
    }
    if code.word(next, "from") {
        match resolve(code, statement.ctx, &target) {
            Target::Table(table) => statement.out.unchecked.push(unchecked(table, Reason::Copy, Vec::new())),
            Target::View(root) => statement.view(root),
            Target::Other => {}
        }
    }
}

/// `CREATE TABLE name AS query`, and any other CREATE.
fn create(statement: &mut Statement<'_>) {
    let code = statement.code;
    let range = statement.tokens.clone();
    let queries = |i: &usize| code.word(*i, "as") && (is_query(code, i + 1) || code.word(i + 1, "execute"));
    statement.out.is_query = range.clone().any(|i| queries(&i));
    statement.set_effect(Effect::Catalog);
}
