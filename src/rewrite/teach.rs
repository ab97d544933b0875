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
use crate::sql::code::{Code, MAX_NESTING};
use crate::sql::keys::KeyType;
use crate::sql::token::TokenKind;

/// A quick test for identifiers that may be the name of a protected table.
pub struct NameFilter([u64; 4]);

impl NameFilter {
    /// The filter for the tables of `view`.
    pub fn new(view: &View) -> Self {
        let mut filter = Self([0; 4]);
        for table in &view.tables {
            if let Some(bit) = Self::bit(table.name.as_bytes())
                && let Some(word) = filter.0.get_mut(bit / 64)
            {
                *word |= 1 << (bit % 64);
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
    if code.depth(i) > MAX_NESTING {
        return None;
    }
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
        if mention.defines || mentions.iter().filter(clash).nth(1).is_some() || !has_known_key(table) {
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
    if code.depth(at) > MAX_NESTING {
        return false;
    }
    (range.start..at).filter(|i| code.is_ident(*i) && code.depth(*i) < code.depth(at)).all(|definition| {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::plan::ResultKind;
    use super::super::testing::only;

    fn taught(text: &str) -> Vec<(String, Vec<usize>)> {
        let teaches = only(text).teaches;
        teaches.iter().map(|t| (t.table.name.to_string(), t.shown.iter().collect())).collect()
    }

    #[test]
    fn named_exactly_once() {
        for (text, names) in [
            ("SELECT * FROM projects", &["projects"][..]),
            ("SELECT projects.id FROM projects AS projects", &["projects"]),
            (r#"SELECT "projects"."id" AS "projects" FROM "projects" AS "projects""#, &["projects"]),
            ("SELECT * FROM projects p JOIN users u ON true", &["projects", "users"]),
            ("SELECT * FROM (SELECT * FROM projects) s", &["projects"]),
            ("SELECT * FROM users UNION SELECT * FROM projects", &["users", "projects"]),
            ("TABLE public.projects", &["projects"]),
            ("SELECT o.projects FROM other o, users", &["users"]),
            ("SELECT * FROM projects a, projects b", &[]),
            ("SELECT * FROM projects a, public.projects b", &[]),
            ("SELECT * FROM projects a, other.projects b", &["projects"]),
            ("SELECT * FROM projects WHERE id IN (SELECT id FROM projects)", &[]),
            ("SELECT * FROM events, events_2024", &[]),
            ("SELECT * FROM events_2024", &["events_2024"]),
            ("SELECT * FROM rates", &[]),
            ("SELECT * FROM amounts", &[]),
            ("SELECT * FROM open_projects", &[]),
            ("WITH c AS (SELECT * FROM projects) SELECT * FROM c", &["projects"]),
            ("WITH c AS (SELECT * FROM projects) SELECT c.id FROM c WHERE c.id = 1", &["projects"]),
            ("WITH c AS (SELECT * FROM projects) SELECT * FROM c a, c b", &[]),
            ("WITH c AS (SELECT * FROM projects) SELECT 1", &[]),
            (
                "WITH c (x) AS NOT MATERIALIZED (SELECT id FROM projects), d AS (SELECT * FROM c) SELECT * FROM d, d e",
                &["projects"],
            ),
            ("WITH d AS (WITH c AS (SELECT * FROM projects) SELECT * FROM c) SELECT * FROM d, d e", &[]),
            ("WITH RECURSIVE c AS (SELECT * FROM projects UNION ALL SELECT * FROM c) SELECT * FROM c", &[]),
            ("WITH projects AS (SELECT * FROM public.projects) SELECT * FROM projects", &[]),
            ("WITH c AS (DELETE FROM users) SELECT * FROM projects", &[]),
            ("WITH c AS (WITH d AS (SELECT 1) UPDATE projects SET name = 'x') SELECT * FROM users", &[]),
            ("DECLARE c CURSOR FOR SELECT * FROM projects", &["projects"]),
            ("DECLARE c CURSOR FOR WITH x AS (SELECT 1) (SELECT * FROM projects)", &["projects"]),
            ("EXPLAIN SELECT * FROM projects", &[]),
            ("PREPARE p AS SELECT * FROM projects", &[]),
            ("COPY projects TO STDOUT", &[]),
            ("CREATE TABLE x AS SELECT * FROM projects", &[]),
        ] {
            let got: Vec<String> = taught(text).into_iter().map(|(name, _)| name).collect();
            assert_eq!(got, names, "{text}");
        }
    }

    #[test]
    fn columns_that_expressions_show() {
        for (text, shown) in [
            ("SELECT name FROM projects", &[][..]),
            ("SELECT upper(name) FROM projects", &[2]),
            ("SELECT upper(p.name) || status AS budget FROM projects p", &[2, 4]),
            ("SELECT id, version, p FROM projects p", &[0, 1, 2, 3, 4, 5, 6]),
            ("SELECT row_to_json(p.*) FROM projects p", &[0, 1, 2, 3, 4, 5, 6]),
            ("SELECT (p).status FROM projects p", &[4]),
            ("SELECT upper('x') name FROM projects", &[]),
            ("SELECT status(1), '1'::name, CAST(1 AS name) FROM projects", &[]),
            ("SELECT (SELECT name FROM users WHERE status = p.budget) FROM projects p", &[3]),
        ] {
            let expected: Vec<usize> = shown.to_vec();
            let got = taught(text).into_iter().find(|(name, _)| name == "projects").unwrap();
            assert_eq!(got.1, expected, "{text}");
        }
    }

    #[test]
    fn results_of_writes() {
        for (text, kind, names) in [
            ("UPDATE projects SET name = 'x' RETURNING *", ResultKind::Written, &["projects"][..]),
            ("UPDATE projects SET name = 'x'", ResultKind::Read, &[]),
            ("INSERT INTO projects (id) VALUES (1) RETURNING *", ResultKind::Written, &["projects"]),
            ("DELETE FROM projects RETURNING *", ResultKind::Deleted, &["projects"]),
            ("DELETE FROM projects USING users u RETURNING *", ResultKind::Deleted, &["projects"]),
            ("UPDATE projects SET name = 'x' RETURNING old.*", ResultKind::Written, &[]),
            ("UPDATE projects SET name = 'x' FROM projects p RETURNING *", ResultKind::Written, &[]),
        ] {
            assert_eq!(only(text).result, kind, "{text}");
            let got: Vec<String> = taught(text).into_iter().map(|(name, _)| name).collect();
            assert_eq!(got, names, "{text}");
        }
    }

    #[test]
    fn wildcards() {
        for (text, wildcard) in [
            ("SELECT * FROM projects", true),
            ("SELECT id, p.* FROM projects p", true),
            ("SELECT DISTINCT ON (id) * FROM projects", true),
            ("SELECT ALL * FROM projects", true),
            ("TABLE projects", true),
            ("SELECT 1 UNION SELECT * FROM projects", true),
            ("UPDATE projects SET name = 'x' RETURNING *", true),
            ("SELECT 2 * 3, count(*), (SELECT 1 * 2) FROM projects", false),
            ("SELECT (1) * (2) FROM projects", false),
            ("UPDATE projects * SET budget = 2 * 3 RETURNING id", false),
        ] {
            assert_eq!(only(text).has_wildcard, wildcard, "{text}");
        }
    }
}
