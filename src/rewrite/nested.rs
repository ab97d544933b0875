//! Statements that hold another: EXPLAIN, PREPARE ([`prepare`]), DECLARE, COPY (query), CREATE TABLE AS.
//!
//! ```text
//! EXPLAIN ANALYZE UPDATE projects SET name = 'x' WHERE id = 1
//! EXPLAIN ANALYZE UPDATE projects SET name = 'x', version = projects.version + 1 WHERE id = 1
//! ```
//!
//! The inner statement is guarded where it is run, and gets no hidden columns. A cursor's query may teach through
//! FETCH.

use std::ops::Range;

use super::plan::{Effect, Reason};
use super::statement::{Place, Statement, is_query};
use super::target::{Target, unchecked};
use super::{effect, prepare};
use crate::catalog::nested::Event;
use crate::sql::clauses;
use crate::sql::relation::relation;
use crate::sql::token::TokenKind;

/// Plans the statement if it is one of these kinds.
pub fn plan(statement: &mut Statement<'_>) -> bool {
    let code = statement.code;
    let i = statement.tokens.start;
    match () {
        () if code.word(i, "explain") => explain(statement),
        () if code.word(i, "prepare") => return prepared(statement),
        () if code.word(i, "declare") => declare(statement),
        () if code.word(i, "copy") => copy(statement),
        () if code.word(i, "execute") => {
            statement.out.is_query = true;
            execute(statement, i, true);
        }
        () if code.word(i, "create") => create(statement),
        () if code.any_word(i, &["call", "do"]) => {
            // What they run cannot be seen, but it may take a snapshot.
            statement.out.is_query = true;
            return false;
        }
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
        let place = if analyze { Place::Explained } else { Place::Shown };
        statement.query(i, end, place);
        statement.set_effect(effect::of_query(code, statement.ctx, i..end));
    } else if code.word(i, "execute") {
        execute(statement, i, analyze);
    } else if analyze && code.word(i, "create") {
        statement.set_effect(Effect::Catalog);
    }
}

/// `EXECUTE name (..)`.
fn execute(statement: &mut Statement<'_>, i: usize, runs: bool) {
    let end = statement.tokens.end;
    statement.out.execute = prepare::execute(statement.code, i, end, runs);
    if runs {
        statement.set_effect(Effect::Execute(prepare::name(statement.code, i + 1)));
    }
}

/// `PREPARE name [(types)] AS statement`; not `PREPARE TRANSACTION 'id'`.
fn prepared(statement: &mut Statement<'_>) -> bool {
    let code = statement.code;
    let name = statement.tokens.start + 1;
    if code.word(name, "transaction") && !code.word(name + 1, "as") && !code.is(name + 1, TokenKind::LParen) {
        return false;
    }
    statement.out.is_query = true;
    prepare::plan(statement, name);
    if let Some(prepare) = &statement.out.prepares {
        let effect = Effect::Prepare(prepare.name.clone());
        statement.set_effect(effect);
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
    let hold = cursor.is_some_and(|c| code.words(c + 1, &["with", "hold"]));
    statement.set_effect(Effect::Declare { name: code.name(name).unwrap_or_default().into(), hold });
    let Some(query) = query else { return };
    let Range { start: mut i, end } = code.strip_parens(query + 1..range.end);
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
        statement.set_effect(effect::of_query(code, statement.ctx, i + 1..close));
        return;
    }
    i += usize::from(code.word(i, "binary"));
    let Some((target, mut next)) = relation(code, i, end) else { return };
    if code.is(next, TokenKind::LParen) {
        next = code.close(next) + 1;
    }
    if code.word(next, "from") {
        match statement.target(&target) {
            Target::Table(table) => {
                statement.touch(Place::Main, table, Event::Insert);
                statement.out.unchecked.push(unchecked(table, Reason::Copy, Vec::new()));
            }
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
    let table = ["table", "temp", "temporary", "local", "global", "unlogged"];
    if let Some(query) = range.clone().find(queries)
        && code.any_word(range.start + 1, &table)
        && clauses::is_modifying(code, query + 1, range.end)
    {
        // CREATE TABLE .. AS WITH a AS (UPDATE ..) SELECT ..
        statement.query(query + 1, range.end, Place::Cte);
    }
    if let Some(query) = range.clone().find(queries).filter(|i| code.word(i + 1, "execute")) {
        statement.out.execute = prepare::execute(code, query + 1, range.end, true);
    }
    statement.set_effect(Effect::Catalog);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::plan::{Effect, Reason};
    use super::super::testing::{bumped, only, reasons};

    #[test]
    fn bumped_not_checked() {
        for (before, reason) in [
            ("EXPLAIN ANALYZE ", Some(Reason::Nested)),
            ("EXPLAIN ANALYZE VERBOSE ", Some(Reason::Nested)),
            ("EXPLAIN (COSTS OFF, ANALYZE) ", Some(Reason::Nested)),
            ("EXPLAIN (ANALYZE true, FORMAT json) ", Some(Reason::Nested)),
            ("EXPLAIN (ANALYZE off) ", None),
            ("EXPLAIN ", None),
            ("EXPLAIN VERBOSE ", None),
            ("WITH a AS (SELECT 1), b AS (DELETE FROM x) ", Some(Reason::Cte)),
        ] {
            let text = format!("{before}UPDATE projects SET name = 'x' WHERE id = 1 RETURNING name");
            let want = format!(
                "{before}UPDATE projects SET name = 'x', version = projects.version + 1 WHERE id = 1 RETURNING name"
            );
            assert_eq!(bumped(&text), want);
            let plan = only(&text);
            assert_eq!(plan.point, None, "{text}");
            assert_eq!(reasons(&plan).first().map(|r| r.0), reason, "{text}");
        }
    }

    #[test]
    fn inside_a_with_clause() {
        let text = "WITH RECURSIVE t (a) AS (SELECT 1) SEARCH DEPTH FIRST BY a SET o, \
            moved AS NOT MATERIALIZED (UPDATE projects SET name = 'x' WHERE id = 1 RETURNING *), \
            put AS (INSERT INTO users (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET email = 'x') \
            SELECT * FROM moved, t";
        let want = text
            .replace("name = 'x'", "name = 'x', version = projects.version + 1")
            .replace("email = 'x'", "email = 'x', version = users.version + 1");
        assert_eq!(bumped(text), want);
        let plan = only(text);
        assert!(plan.sites.iter().all(|s| s.takes_guard()));
        let reasons: Vec<_> = plan.sites.iter().map(|s| (&*s.table.name, s.reason)).collect();
        assert_eq!(reasons, [("projects", Reason::Cte), ("users", Reason::Cte)]);
        assert!(plan.teaches.is_empty() && plan.hidden.is_empty());
    }

    #[test]
    fn copies() {
        for (text, reason) in [
            ("COPY projects FROM STDIN", Some(Reason::Copy)),
            ("COPY BINARY public.projects (id, name) FROM STDIN WITH (FORMAT csv)", Some(Reason::Copy)),
            ("COPY open_projects FROM STDIN", Some(Reason::View)),
            ("COPY projects (id) TO STDOUT", None),
            ("COPY other FROM STDIN", None),
            ("COPY (SELECT * FROM projects) TO STDOUT", None),
        ] {
            assert_eq!(bumped(text), text);
            assert_eq!(only(text).unchecked.first().map(|u| u.reason), reason, "{text}");
        }
        let text = "COPY (UPDATE projects SET name = 'x' RETURNING *) TO STDOUT";
        assert_eq!(bumped(text), text.replace("'x'", "'x', version = projects.version + 1"));
        assert_eq!(only(text).unchecked[0].reason, Reason::Nested);
    }

    #[test]
    fn names() {
        assert_eq!(only("PREPARE \"P\" AS SELECT 1").effect, Effect::Prepare("P".into()));
        assert_eq!(only("PREPARE transaction AS SELECT 1").effect, Effect::Prepare("transaction".into()));
        assert_eq!(only("EXPLAIN ANALYZE EXECUTE p(1)").effect, Effect::Execute("p".into()));
        assert_eq!(only("EXPLAIN EXECUTE p(1)").effect, Effect::None);
        assert_eq!(only("EXPLAIN (SELECT 1)").effect, Effect::None);
    }
}
