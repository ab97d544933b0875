#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::plan::{PointWrite, VersionSource};
use super::super::testing::{checked, only, reasons};
use super::*;

fn point(table: &str, condition: &str) -> PointWrite {
    let plan = only(&format!("UPDATE {table} SET note = 'x' WHERE {condition}"));
    assert!(plan.unchecked.is_empty(), "{condition}");
    plan.point.unwrap_or_else(|| panic!("{condition}"))
}

fn literal(value: &str) -> Operand {
    Operand::Literal(value.into())
}

#[test]
fn names_one_row() {
    let uuid = "051e3dcf-81ba-49f2-8daa-110ed693f2b6";
    for (table, condition, key) in [
        ("projects", "id = 1", vec![literal("1")]),
        ("projects", "1 = id", vec![literal("1")]),
        ("projects", "-1 = id", vec![literal("-1")]),
        ("projects", "id=-1", vec![literal("-1")]),
        ("projects", "((id) = (1))", vec![literal("1")]),
        ("projects", "projects.id = '1'", vec![literal("1")]),
        ("projects", "public.projects.id = 1::int8", vec![literal("1")]),
        ("projects p", "p.id = 1", vec![literal("1")]),
        ("projects AS \"P\"", "\"P\".\"id\" = 1", vec![literal("1")]),
        ("projects", "ID IN (1)", vec![literal("1")]),
        ("projects", "id = $1", vec![Operand::Param(1)]),
        ("projects", "id = ($1::INTEGER)", vec![Operand::Param(1)]),
        ("projects", "id = CAST($1 AS bigint)", vec![Operand::Param(1)]),
        ("projects", "id = $1::text::pg_catalog.int4", vec![Operand::Param(1)]),
        ("users", &format!("id = '{uuid}'"), vec![literal(uuid)]),
        ("users", &format!("id = '{}'::UUID", uuid.to_uppercase()), vec![literal(uuid)]),
        ("users", "id = $1::uuid", vec![Operand::Param(1)]),
        ("user_roles", "role = 'a' AND user_id = 7", vec![literal("7"), literal("a")]),
        ("user_roles", "(user_id = $2 AND (role = $1))", vec![Operand::Param(2), Operand::Param(1)]),
        ("user_roles", "(user_id, role) = ($1, 'x')", vec![Operand::Param(1), literal("x")]),
        ("user_roles", "ROW (role, user_id) = ROW ('x', 1)", vec![literal("1"), literal("x")]),
        (r#""Odd Name""#, r#""Id" = 1"#, vec![literal("1")]),
        ("archive.rates", "rates.id = 1", vec![literal("1")]),
    ] {
        assert_eq!(point(table, condition).key, key, "{table}: {condition}");
    }
}

#[test]
fn the_rest() {
    let evaluable = |rest: &str| Rest::Evaluable(rest.into());
    for (condition, rest) in [
        ("id = 1", Rest::None),
        ("id = 1 AND status = 'open'", evaluable("(status = 'open')")),
        ("(id = 1 AND 1=1)", evaluable("(1=1)")),
        ("id IN ($1) AND (id = $2 AND 1=1)", evaluable("(id = $2) AND (1=1)")),
        ("budget BETWEEN 1 AND 5 AND id = 1", evaluable("(budget BETWEEN 1 AND 5)")),
        ("id = 1 AND (status = 'a' OR status = 'b')", evaluable("(status = 'a' OR status = 'b')")),
        ("id = 1 AND NOT status = 'a'", evaluable("(NOT status = 'a')")),
        (
            "id = 1 AND CASE WHEN budget > 1 AND budget < 3 THEN TRUE ELSE FALSE END",
            evaluable("(CASE WHEN budget > 1 AND budget < 3 THEN TRUE ELSE FALSE END)"),
        ),
        ("id = 1 AND lower(name) LIKE 'a%'", evaluable("(lower(name) LIKE 'a%')")),
        ("id = 1 AND name IS NOT DISTINCT FROM $1::text", evaluable("(name IS NOT DISTINCT FROM $1::text)")),
        ("id = 1 AND status IN ('a', 'b')", evaluable("(status IN ('a', 'b'))")),
        ("id = 1 AND status = ANY($2)", evaluable("(status = ANY($2))")),
        ("id = 1 AND version < 5", evaluable("(version < 5)")),
        ("id = 1 AND xmin = '77'", evaluable("(xmin = '77')")),
        (
            "id = 1 AND updated_at = '2020-01-01'::timestamp(3)",
            evaluable("(updated_at = '2020-01-01'::timestamp(3))"),
        ),
        ("id = 1 AND name = 'a' -- which\n AND status = 'b'", evaluable("(name = 'a') AND (status = 'b')")),
        ("id = 1 AND now() > updated_at", Rest::Opaque),
        ("id = 1 AND f(name)", Rest::Opaque),
        ("id = 1 AND s.lower(name) = 'a'", Rest::Opaque),
        ("id = 1 AND EXISTS (SELECT 1 FROM users)", Rest::Opaque),
        ("id = 1 AND budget = (SELECT max(budget) FROM users)", Rest::Opaque),
        ("id = 1 AND other.name = 'x'", Rest::Opaque),
        ("id = 1 AND nonsense", Rest::Opaque),
        ("id = 1 AND name = 'a'::custom", Rest::Opaque),
        ("id = 1 AND status OPERATOR(pg_catalog.=) 'a'", Rest::Opaque),
    ] {
        assert_eq!(point("projects", condition).rest, rest, "{condition}");
    }
}

#[test]
fn names_several_rows() {
    let list = |keys: &[&[&str]]| -> Vec<Vec<Operand>> {
        let part = |v: &&str| match v.strip_prefix('$') {
            Some(n) => Operand::Param(n.parse().unwrap()),
            None => match v.strip_prefix('@') {
                Some(n) => Operand::Elements(n.parse().unwrap()),
                None => literal(v),
            },
        };
        keys.iter().map(|key| key.iter().map(part).collect()).collect()
    };
    for (table, condition, keys) in [
        ("projects", "id = ANY($1::int[])", list(&[&["@1"]])),
        ("projects", "id = ANY(ARRAY[$2, 7])", list(&[&["$2"], &["7"]])),
        ("user_roles", "role = 'x' AND user_id = ANY($1)", list(&[&["@1", "x"]])),
        (
            "user_roles",
            "role IN ('x', $3) AND user_id IN (1, 2)",
            list(&[&["1", "x"], &["2", "x"], &["1", "$3"], &["2", "$3"]]),
        ),
        ("user_roles", "(role, user_id) IN (('x', 1), ('y', $2))", list(&[&["1", "x"], &["$2", "y"]])),
        (
            "user_roles",
            "((role = $1 AND user_id = 1) OR (user_id = $2 AND role = 'y' AND note = 'n'))",
            list(&[&["1", "$1"], &["$2", "y"]]),
        ),
        (
            "user_roles",
            "(user_id, role) IN ((1, 'x'), (2, 'y')) AND user_id = 1",
            list(&[&["1", "x"], &["1", "y"]]),
        ),
    ] {
        let plan = only(&format!("UPDATE {table} SET note = 'x' WHERE {condition}"));
        let got = &plan.sites[0].keys;
        let same = got.len() == keys.len() && keys.iter().all(|k| got.contains(k));
        assert!(same, "{condition}: {got:?}");
    }
    // One list in brackets is one row.
    assert_eq!(point("user_roles", "(user_id, role) IN ((1, 'x'))").key, [literal("1"), literal("x")]);
}

#[test]
fn as_many_keys_as_are_read() {
    let list = |n: usize| (0..n).map(|i| i.to_string()).collect::<Vec<_>>().join(",");
    for (condition, keys) in [
        (format!("id IN ({})", list(MAX_KEYS)), MAX_KEYS),
        (format!("id IN ({})", list(MAX_KEYS + 1)), 0),
        (format!("id = ANY('{{{}}}')", list(MAX_KEYS)), MAX_KEYS),
        (format!("id = ANY(ARRAY[{}])", list(MAX_KEYS + 1)), 0),
        (format!("id = {}", list(MAX_KEYS + 1).replace(',', " OR id = ")), 0),
    ] {
        let plan = only(&format!("UPDATE projects SET name = 'x' WHERE {condition}"));
        assert_eq!(reasons(&plan), [(Reason::SeveralRows, keys)]);
    }
    let (a, b) = (list(400), list(400).replace(',', "','"));
    let plan = only(&format!("UPDATE user_roles SET note = 'x' WHERE user_id IN ({a}) AND role IN ('{b}')"));
    assert_eq!(reasons(&plan), [(Reason::SeveralRows, 0)]);
}

#[test]
fn key_conditions() {
    for (table, condition, key_condition) in [
        ("projects", "(status = 'a') AND ((id = /* k */ 1))", "id = 1"),
        (
            "user_roles",
            "role=$1 AND note = 'x' AND user_roles.user_id=$2",
            "role=$1 AND user_roles.user_id=$2",
        ),
    ] {
        assert_eq!(&*point(table, condition).key_condition, key_condition);
    }
}

#[test]
fn targets() {
    for (table, target, reference) in [
        ("ONLY public.projects /* p */ AS p", "ONLY public.projects AS p", "p"),
        ("\"projects\"", "\"projects\"", "\"projects\""),
        ("archive.rates", "archive.rates", "rates"),
    ] {
        let point = point(table, "id = 1");
        assert_eq!((&*point.target, &*point.reference), (target, reference));
    }
}

#[test]
fn names_the_version() {
    for (condition, source) in [
        ("id = 1 AND version = 5", VersionSource::InPredicate(literal("5"))),
        ("($2 = projects.version) AND id = 1", VersionSource::InPredicate(Operand::Param(2))),
        ("id = 1 AND version IN (5)", VersionSource::Observed),
        ("id = 1 AND version < 5", VersionSource::Observed),
        ("id = 1 AND (version = 5 OR version = 6)", VersionSource::Observed),
    ] {
        assert_eq!(point("projects", condition).source, source, "{condition}");
    }
    let text = "UPDATE projects SET name = 'x' WHERE id = 1 AND version = 4";
    assert_eq!(
        checked(text),
        "UPDATE projects SET name = 'x', version = projects.version + 1 WHERE id = 1 AND version = 4"
    );
    assert_eq!(
        point("projects", "id = 1 AND version = 5 AND name = 'x'").rest,
        Rest::Evaluable("(name = 'x')".into())
    );
}

#[test]
fn names_no_single_row() {
    for (table, condition, reason, keys) in [
        ("projects", "status = 'x'", Reason::SetWrite, 0),
        ("projects", "id > 5", Reason::SetWrite, 0),
        ("projects", "NOT id = 5", Reason::SetWrite, 0),
        ("projects", "id = 5 OR status = 'x'", Reason::SetWrite, 0),
        ("projects", "id = portfolio_id", Reason::SetWrite, 0),
        ("projects", "id = 1 IS NOT TRUE", Reason::UnknownKey, 0),
        ("projects", "id = 1 + 1", Reason::UnknownKey, 0),
        ("projects", "id = 1.0", Reason::UnknownKey, 0),
        ("projects", "id = (SELECT 1)", Reason::UnknownKey, 0),
        ("projects", "id = f($1)", Reason::UnknownKey, 0),
        ("projects", "id = $1::custom", Reason::UnknownKey, 0),
        ("projects", "id + 0 = 1", Reason::SetWrite, 0),
        ("projects", "id NOT IN (1)", Reason::SetWrite, 0),
        ("projects", "id IN (1, '2', $1)", Reason::SeveralRows, 3),
        ("projects", "id IN (1, f(2))", Reason::SeveralRows, 0),
        ("projects", "id IN (SELECT 1)", Reason::SeveralRows, 0),
        ("projects", "id IN (1, NULL)", Reason::SeveralRows, 1),
        ("projects", "id IN (VALUES (1), (2))", Reason::SeveralRows, 0),
        ("projects", "id = ANY($1)", Reason::SeveralRows, 1),
        ("projects", "($1::int[]) = ANY(id)", Reason::SetWrite, 0),
        ("projects", "id = SOME('{1,2}'::int[]) AND status = 'x'", Reason::SeveralRows, 2),
        ("projects", "id = ANY(ARRAY[1, $2])", Reason::SeveralRows, 2),
        ("projects", "id = ANY('{}')", Reason::SeveralRows, 0),
        ("projects", "id = ALL('{1,2}')", Reason::SeveralRows, 0),
        ("projects", "id <> ANY('{1,2}')", Reason::SetWrite, 0),
        ("projects", "NOT id = ANY('{1,2}')", Reason::SetWrite, 0),
        ("projects", "id = ANY('{1,2}') IS NOT TRUE", Reason::SeveralRows, 0),
        ("projects", "id = ANY(SELECT 1)", Reason::SeveralRows, 0),
        ("projects", "id = ANY(f($1))", Reason::SeveralRows, 0),
        ("projects", "(id = 1 OR id IN (2, 3)) OR id = ANY('{4,5}')", Reason::SeveralRows, 5),
        ("projects", "id IN (1, 2) AND id IN (2, 3)", Reason::SeveralRows, 2),
        ("projects", "id IN (1, f(2)) AND id IN (2, 3)", Reason::SeveralRows, 2),
        ("projects", "id = 1 AND status = 'x' OR id = 2", Reason::SeveralRows, 2),
        ("projects", "id = 1 OR id = f(2)", Reason::SeveralRows, 0),
        ("projects", "(id = 1 OR (id = 2)) AND status = 'x'", Reason::SeveralRows, 2),
        ("user_roles", "user_id = 1", Reason::SetWrite, 0),
        ("user_roles", "user_id IN (1, 2)", Reason::SetWrite, 0),
        ("user_roles", "user_id IN (1, 2) AND role = 'x'", Reason::SeveralRows, 2),
        ("user_roles", "user_id IN (1, 2) AND role IN ('x', 'y')", Reason::SeveralRows, 4),
        ("user_roles", "user_id = ANY($1) AND role = ANY($2)", Reason::SeveralRows, 1),
        ("user_roles", "(user_id, role) IN ((1, 'x'), (2, 'y'))", Reason::SeveralRows, 2),
        ("user_roles", "ROW(role, user_id) IN (ROW('x', 1), ROW('y', 2))", Reason::SeveralRows, 2),
        ("user_roles", "(user_id, role) IN ((1, 'x'), (2, 3))", Reason::SeveralRows, 0),
        ("user_roles", "(user_id, role) IN (SELECT 1, 'x')", Reason::SeveralRows, 0),
        ("user_roles", "(user_id, note) IN ((1, 'x'), (2, 'y'))", Reason::SetWrite, 0),
        ("user_roles", "(user_id, role) NOT IN ((1, 'x'), (2, 'y'))", Reason::SetWrite, 0),
        (
            "user_roles",
            "(user_id = 1 AND role = 'x') OR (role = 'y' AND user_id = 2)",
            Reason::SeveralRows,
            2,
        ),
        ("user_roles", "((user_id = 1) OR (user_id = 2)) AND role = 'x'", Reason::SeveralRows, 2),
        ("user_roles", "user_id = 1 AND role = 'x' OR user_id = 2", Reason::SetWrite, 0),
        ("user_roles", "(user_id, role) IN ((1, 'x'), (2, 'y')) AND user_id = 1", Reason::SeveralRows, 2),
        ("user_roles", "role = $1::varchar(3) AND user_id = 1", Reason::UnknownKey, 0),
        ("amounts", "id = 1", Reason::UnknownKey, 0),
        ("triggered", "id = 1", Reason::StatementTrigger, 1),
        ("projects", "CURRENT OF c", Reason::CurrentOf, 0),
        ("locked", "id = 1", Reason::Privilege, 1),
    ] {
        let plan = only(&format!("UPDATE {table} SET name = 'x' WHERE {condition}"));
        assert_eq!(plan.point, None, "{condition}");
        assert_eq!(reasons(&plan), [(reason, keys)], "{condition}");
        assert_eq!(plan.sites.is_empty(), reason == Reason::Privilege, "{condition}");
    }
}
