#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::code::tests::{source, with_code};
use super::super::from;
use super::super::select_list::{self, Item};
use super::*;

fn clause(code: Code<'_>, range: Option<Range<usize>>) -> String {
    range.map_or("-".to_owned(), |r| source(code, r))
}

#[test]
fn updates() {
    for (text, want) in [
        ("UPDATE a SET b = 1", "a|b = 1|-|-|-"),
        (
            "UPDATE ONLY s.a AS x SET b = 1, c = d FROM e, f WHERE g RETURNING h AS from",
            "ONLY s.a AS x|b = 1, c = d|e, f|g|h AS from",
        ),
        ("UPDATE a x SET b = (SELECT c FROM d WHERE e)", "a x|b = (SELECT c FROM d WHERE e)|-|-|-"),
        ("UPDATE a SET b = c IS NOT DISTINCT FROM d RETURNING *", "a|b = c IS NOT DISTINCT FROM d|-|-|*"),
        ("UPDATE a SET b = 1 WHERE CURRENT OF c", "a|b = 1|-|CURRENT OF c|-"),
    ] {
        let got = with_code(text, |code, all| {
            let u = update(code, 0, all.end).unwrap();
            let (target, set) = (source(code, u.target.tokens.clone()), source(code, u.set.clone()));
            let rest = [u.from, u.condition, u.returning].map(|c| clause(code, c)).join("|");
            format!("{target}|{set}|{rest}")
        });
        assert_eq!(got, want);
    }
    for text in [
        "UPDATE",
        "UPDATE a",
        "UPDATE a SET",
        "UPDATE a b c SET d = 1",
        "UPDATE a, b SET c = 1",
        "UPDATE (a) SET b = 1",
        "UPDATE a SET b = 1 WHERE",
        "UPDATE a SET b = 1 WHERE c FROM d",
        "UPDATE a SET b = 1 WHERE c WHERE d",
        "UPDATE a SET b = 1 SET c = 2",
        "UPDATE a SET b = 1 ORDER BY c LIMIT 1",
    ] {
        assert_eq!(with_code(text, |code, all| update(code, 0, all.end)), None, "{text}");
    }
}

#[test]
fn with_clauses() {
    for (text, ctes, main) in [
        ("WITH a AS (SELECT 1) SELECT 2", "a=SELECT 1", "SELECT 2"),
        (
            "WITH RECURSIVE a (x, y) AS MATERIALIZED (VALUES (1)), b AS NOT MATERIALIZED (TABLE c) UPDATE d",
            "a=VALUES (1); b=TABLE c",
            "UPDATE d",
        ),
        (
            "WITH a AS (SELECT 1) SEARCH BREADTH FIRST BY x, y SET z CYCLE x SET c TO 1 DEFAULT 0 USING p, b AS (SELECT 2) (SELECT 3)",
            "a=SELECT 1; b=SELECT 2",
            "(SELECT 3)",
        ),
    ] {
        with_code(text, |code, all| {
            let with = with(code, 0, all.end).unwrap();
            let named: Vec<_> = with
                .ctes
                .iter()
                .map(|c| format!("{}={}", source(code, c.name..c.name + 1), source(code, c.body.clone())))
                .collect();
            assert_eq!(named.join("; "), ctes);
            assert_eq!(source(code, with.main..all.end), main);
        });
    }
    for text in [
        "WITH",
        "WITH a",
        "WITH a AS",
        "WITH a AS (SELECT 1)",
        "WITH a AS (SELECT 1),",
        "WITH a AS (SELECT 1) x",
    ] {
        assert_eq!(with_code(text, |code, all| with(code, 0, all.end)), None, "{text}");
    }
}

#[test]
fn selects() {
    for (text, list, from, flags) in [
        ("SELECT a, b FROM c, d WHERE e", "a, b", "c, d", ""),
        ("SELECT ALL a", "a", "-", ""),
        ("SELECT DISTINCT ON (a, b) c FROM d ORDER BY e", "c", "d", "distinct order"),
        ("SELECT a distinct FROM b GROUP BY c HAVING d", "a distinct", "b", "grouped"),
        ("SELECT a INTO b FROM c", "a", "c", "into"),
        ("SELECT a FROM b UNION SELECT c FROM d ORDER BY 1", "a", "b", "set order"),
        ("SELECT a UNION SELECT c FROM d", "a", "-", "set"),
        ("SELECT a FROM b FOR UPDATE OF b", "a", "b", ""),
        ("SELECT a FROM b LIMIT 1 OFFSET 2", "a", "b", ""),
        (
            "SELECT extract(year FROM a), t.from FROM b WINDOW w AS ()",
            "extract(year FROM a), t.from",
            "b",
            "",
        ),
    ] {
        with_code(text, |code, all| {
            let s = select(code, 0, all.end).unwrap();
            assert_eq!(source(code, s.list.clone()), list, "{text}");
            assert_eq!(clause(code, s.from.clone()), from, "{text}");
            let flags: Vec<_> = flags.split_whitespace().collect();
            let is = |flag| flags.contains(&flag);
            assert_eq!(
                (s.distinct, s.grouped, s.set_operation, s.into, s.order.is_some()),
                (is("distinct"), is("grouped"), is("set"), is("into"), is("order")),
                "{text}"
            );
        });
    }
}

#[test]
fn from_lists() {
    for (text, tables, merged) in [
        ("a, s.b x, ONLY c AS y", "a; s.b x; ONLY c AS y", ""),
        ("a JOIN b ON a.x = b.x LEFT OUTER JOIN c d USING (e, f)", "a; b; c d", "e f"),
        ("a NATURAL JOIN b CROSS JOIN c", "a; b; c", "natural"),
        ("f(x), LATERAL g(y) z, ROWS FROM (h()), (SELECT 1) q, a", "a", ""),
        ("(a JOIN b ON true) JOIN c ON left(x, 1) = 'y', d", "c; d", ""),
        ("a TABLESAMPLE SYSTEM (1), LATERAL (SELECT b) c", "a", ""),
        ("a AS x (p, q)", "a AS x!", ""),
    ] {
        with_code(text, |code, all| {
            let from = from::from(code, all);
            let named: Vec<_> = from
                .relations
                .iter()
                .map(|r| source(code, r.relation.tokens.clone()) + if r.renames_columns { "!" } else { "" })
                .collect();
            assert_eq!(named.join("; "), tables, "{text}");
            let mut columns: Vec<_> = from.using.iter().map(|i| source(code, *i..i + 1)).collect();
            columns.extend(from.natural.then(|| "natural".to_owned()));
            assert_eq!(columns.join(" "), merged, "{text}");
        });
    }
}

#[test]
fn output_items() {
    for (text, kind) in [
        ("*", "star"),
        ("a.*", "table"),
        ("s.a.*", "table"),
        ("a", "column"),
        ("s.t.a AS b", "column"),
        ("\"a\" \"b\"", "column"),
        ("a::int", "expression"),
        ("(a)", "expression"),
        ("f(a)", "expression"),
        ("'a' b", "expression"),
        ("a + b", "expression"),
        ("a.* + 1", "expression"),
    ] {
        let got = with_code(text, |code, all| match select_list::item(code, &all) {
            Item::Star => "star",
            Item::TableStar(_) => "table",
            Item::Column(_) => "column",
            Item::Expression => "expression",
        });
        assert_eq!(got, kind, "{text}");
    }
}
