//! Pure: statement text + catalog -> [`plan::Plan`]. One file per rule; no I/O, no versions.
//!
//! A text is tokenised once ([`crate::sql::lexer`]), split into statements, and each statement is read by its
//! verb: what it writes ([`update`], [`on_conflict`], [`merge`], [`delete`], [`nested`], [`prepare`]), what its result may
//! teach ([`teach`], [`hidden_columns`], [`hidden_result`]) and what its completion does to the session ([`effect`]). The plan names
//! byte offsets; [`render`] puts the pieces in, with or without an expected version. What a setting does not let pass
//! unchecked, [`refuse`] replaces by a statement that fails.

pub mod cache;
mod choice;
pub mod guard;
pub mod hint;
pub mod known;
pub mod plan;
pub mod prepare;
pub mod reason;
pub mod refuse;
pub mod render;
pub mod site;

#[cfg(test)]
mod client_statements;
mod delete;
mod effect;
mod evaluable;
mod hidden_columns;
mod hidden_result;
mod increment;
mod label;
mod merge;
mod nested;
mod on_conflict;
mod point;
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
use crate::catalog::nested::Event;
use crate::sql::code::Code;
use crate::sql::lexer::{self, LexError, LexOptions};
use crate::sql::operand;
use crate::sql::split;
use crate::sql::token::TokenKind;
use plan::{Effect, Plan, Reason, StatementPlan, UncheckedWrite};
use teach::NameFilter;

/// What a plan depends on beside the text.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The protected tables.
    pub view: &'a View,
    /// How the text is to be read.
    pub lex: &'a LexOptions,
    /// The open transaction may have changed what names mean, and ROLLBACK TO may take that back.
    pub names_may_return: bool,
}

/// Plans a text. Never fails: what cannot be read is left as it is and counted.
pub fn plan(text: &[u8], ctx: &Context<'_>) -> Plan {
    let (tokens, comments) = match lexer::lex(text, ctx.lex) {
        Ok(lexed) => (lexed.tokens, lexed.comments),
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
        certain &= !changes_names(&statement.effect, ctx);
        plan.statements.push(statement);
    }
    hint::apply(&mut plan, text, &comments);
    label::tag(&mut plan, text, &comments, ctx);
    if plan.statements.len() > 1 {
        for statement in &mut plan.statements {
            // A point write beside other statements: zero rows would be noticed when they have run.
            statement.point = None;
            statement.hidden_result.take_if(|hidden| hidden.deleted);
        }
    }
    plan
}

/// Behind such a statement of the same text a name may mean another table, or a column may be gone: what follows
/// cannot be planned before it has run.
fn changes_names(effect: &Effect, ctx: &Context<'_>) -> bool {
    match effect {
        Effect::Call { names } => *names,
        Effect::Catalog | Effect::Names | Effect::Role | Effect::DiscardAll | Effect::ResetAll => true,
        Effect::RollbackTo(_) => ctx.names_may_return,
        _ => false,
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
    let reason = match error {
        LexError::Encoding | LexError::Strings => Reason::Encoding,
        _ => Reason::Unparsed,
    };
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
                for event in Event::ALL {
                    statement.touches.extend(table.nested.of(event));
                }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::testing::{bumped, only, plan_of, view};
    use super::*;
    use crate::sql::encoding::Encoding;

    fn reasons(text: &[u8], lex: &LexOptions) -> Vec<(String, Reason)> {
        let plan = plan(text, &Context { view: &view(), lex, names_may_return: false });
        let unchecked = plan.statements.iter().flat_map(|s| &s.unchecked);
        unchecked.map(|u| (u.table.to_string(), u.reason)).collect()
    }

    #[test]
    fn unreadable_texts_are_counted() {
        let conforming = LexOptions::default();
        let sjis = LexOptions { encoding: Encoding::Unsafe, ..conforming };
        let projects = |reason| vec![("projects".to_owned(), reason)];
        for (text, lex, want) in [
            (&b"UPDATE Projects SET name = 'x"[..], &conforming, projects(Reason::Unparsed)),
            (b"UPDATE my_projects SET name = 'x", &conforming, vec![]),
            (b"SELECT * FROM projects WHERE name = 'x", &conforming, vec![]),
            (b"UPDATE projects SET name = '\x83\x5c' WHERE id = 1", &sjis, projects(Reason::Encoding)),
            (b"UPDATE projects SET name = 'x' WHERE id = 1", &sjis, vec![]),
        ] {
            assert_eq!(reasons(text, lex), want, "{}", String::from_utf8_lossy(text));
        }
        let statement = only("UPDATE projects SET name = 'x");
        assert_eq!((statement.range, statement.edits.len()), (0..29, 0));
    }

    #[test]
    fn names_that_cannot_be_written() {
        let latin1 = LexOptions { encoding: Encoding::SingleByte, ..LexOptions::default() };
        let text = b"UPDATE projects AS \xe9 SET name = 'x' WHERE id = 1";
        assert_eq!(reasons(text, &latin1), [("projects".to_owned(), Reason::Encoding)]);
        // A value is no name: it stays as it is.
        let text = b"UPDATE projects SET name = '\xe9' WHERE id = 1 AND status = '\xe9'";
        let plan = plan(text, &Context { view: &view(), lex: &latin1, names_may_return: false });
        let point = plan.statements[0].point.as_ref().unwrap();
        assert_eq!(point.rest, plan::Rest::Opaque);
    }

    #[test]
    fn uncertain_clauses_are_counted() {
        for text in [
            "UPDATE projects SET name = 'x' WHERE id = 1 WHERE id = 2",
            "UPDATE projects SET name",
            "INSERT INTO projects VALUES (1) ON CONFLICT (id) DO UPDATE SET name",
            "MERGE INTO projects nonsense p USING v ON true WHEN MATCHED THEN DELETE",
            "WITH a AS UPDATE projects SET name = 'x'",
        ] {
            assert_eq!(bumped(text), text);
            let unchecked = only(text).unchecked;
            assert_eq!(unchecked.len(), 1, "{text}");
            assert_eq!(unchecked[0].reason, Reason::Unparsed, "{text}");
        }
    }

    #[test]
    fn statements_of_a_text() {
        let text = "; BEGIN ;; UPDATE projects SET name = $3 WHERE id = $12 ; /* c */ ;";
        let plan = plan_of(text);
        let parts: Vec<_> = plan.statements.iter().map(|s| &text[s.range.clone()]).collect();
        assert_eq!(parts, [" BEGIN ", " UPDATE projects SET name = $3 WHERE id = $12 "]);
        assert_eq!(plan.max_param, 12);
        assert!(plan_of("").statements.is_empty());
    }

    #[test]
    fn any_bytes_give_a_plan() {
        // Every cut of a text with everything in it, so that each reader meets an early end.
        let text = "WITH a (b) AS NOT MATERIALIZED (UPDATE ONLY public.projects * AS p SET (name, version) = ROW ($1, 5), \
            budget = CASE WHEN a THEN 1 END FROM c WHERE p.id IN (1) AND (x OR y) RETURNING p.*) \
            INSERT INTO users (id) VALUES ($2::uuid) ON CONFLICT (id) DO UPDATE SET email = 'x' RETURNING *;\
            MERGE INTO projects USING v ON true WHEN MATCHED THEN UPDATE SET name = 'x' WHEN NOT MATCHED THEN DO NOTHING;\
            EXPLAIN (ANALYZE) SELECT DISTINCT ON (a) p.name, (p).id FROM projects p NATURAL JOIN x USING (id) GROUP BY 1 ORDER BY 2;\
            DECLARE c CURSOR FOR SELECT 1; COPY projects (a) FROM STDIN; TRUNCATE projects, users CASCADE; FETCH 1 FROM c";
        for start in 0..text.len() {
            for end in start..=text.len() {
                if start == 0 || end == text.len() || (end - start) % 41 == 0 {
                    bumped(&text[start..end]);
                }
            }
        }
    }

    #[test]
    fn deep_nesting_costs_neither_stack_nor_time() {
        let n = 20_000;
        let open = "(".repeat(n);
        let close = ")".repeat(n);
        for text in [
            format!("UPDATE projects SET name = 'x' WHERE {open}id = 1{close}"),
            format!("UPDATE projects SET name = 'x' WHERE id = {open}1{close}"),
            format!("UPDATE projects SET name = 'x' WHERE id = $1{}", "::int".repeat(n)),
            format!("UPDATE projects SET version = {open}version{close} + 1 WHERE id = 1"),
            format!("{open}SELECT name FROM projects{close}"),
            format!("SELECT {open}name{close} FROM projects"),
            format!("SELECT name FROM {open}projects{close}"),
            format!("{}SELECT 1{close}", "WITH projects AS (".repeat(n)),
            format!("{}UPDATE projects SET name = 'x'{close}", "WITH a AS (".repeat(n)),
            format!("SELECT {}1{close} FROM projects", "projects(".repeat(n)),
            format!("SELECT {}1{close} FROM projects", "(SELECT name, ".repeat(n)),
            format!("SELECT name FROM projects{}", " UNION SELECT name FROM projects".repeat(n)),
            format!("UPDATE projects SET name = 'x' WHERE id = 1{}", " AND status = 'x'".repeat(n)),
            format!("UPDATE projects SET name = 'x' WHERE id = 1{}", " OR id = 1".repeat(n)),
        ] {
            plan_of(&text);
        }
    }
}
