#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::testing::{bumped, only};

/// What stands behind the output list, `""` if nothing.
const APPENDED: &[(&str, &str)] = &[
    // Missing parts only, per table.
    ("SELECT name| FROM projects", ", projects.id AS __sg_k1, projects.version AS __sg_v2"),
    ("SELECT name, id| FROM projects", ", projects.version AS __sg_v1"),
    ("SELECT version| FROM projects", ", projects.id AS __sg_k1"),
    ("SELECT id, version| FROM projects", ""),
    ("SELECT id AS a, name b, version AS c| FROM projects", ""),
    ("SELECT p.id, public.projects.name| FROM projects p", ""),
    (
        "SELECT public.projects.name| FROM public.projects",
        ", projects.id AS __sg_k1, projects.version AS __sg_v2",
    ),
    (
        "SELECT note| FROM user_roles WHERE user_id = 1",
        ", user_roles.user_id AS __sg_k1, user_roles.role AS __sg_k2, user_roles.version AS __sg_v3",
    ),
    ("SELECT role, note| FROM user_roles r", ", r.user_id AS __sg_k1, r.version AS __sg_v2"),
    (
        r#"SELECT "Full Name"| FROM "Odd Name""#,
        r#", "Odd Name"."Id" AS __sg_k1, "Odd Name"."Version" AS __sg_v2"#,
    ),
    ("SELECT amount| FROM archive.rates", ", rates.id AS __sg_k1, rates.version AS __sg_v2"),
    ("SELECT title| FROM events_2024", ", events_2024.id AS __sg_k1, events_2024.version AS __sg_v2"),
    (
        "SELECT p.name, u.email| FROM projects p JOIN users u ON u.id = p.portfolio_id, other o",
        ", p.id AS __sg_k1, p.version AS __sg_v2, u.id AS __sg_k3, u.version AS __sg_v4",
    ),
    (
        "SELECT p.name, u.id| FROM projects p LEFT JOIN users u ON true",
        ", p.id AS __sg_k1, p.version AS __sg_v2",
    ),
    (
        "SELECT o.*, p.name| FROM other o, LATERAL f(o.x) g, ONLY projects AS p",
        ", p.id AS __sg_k1, p.version AS __sg_v2",
    ),
    // Words that elsewhere begin a clause.
    ("SELECT name| FROM projects set WHERE id = 1", ", set.id AS __sg_k1, set.version AS __sg_v2"),
    ("SELECT name| FROM other, projects values", ", values.id AS __sg_k1, values.version AS __sg_v2"),
    // Stars.
    ("SELECT *| FROM projects", ""),
    ("SELECT p.*, o.x| FROM projects p, other o", ""),
    ("SELECT *| FROM projects NATURAL JOIN other", ", projects.id AS __sg_k1, projects.version AS __sg_v2"),
    ("SELECT *| FROM other JOIN projects USING (id)", ", projects.id AS __sg_k1"),
    ("SELECT id, p.version, p.name| FROM other JOIN projects p USING (id)", ", p.id AS __sg_k1"),
    ("SELECT p.id, p.version, p.name| FROM other JOIN projects p USING (id)", ""),
    // Expressions.
    ("SELECT upper(name)| FROM projects", ", projects.id AS __sg_k1, projects.version AS __sg_v2"),
    ("SELECT id + 1| FROM projects", ""),
    ("SELECT p| FROM projects p", ", p.id AS __sg_k1, p.version AS __sg_v2"),
    ("SELECT to_jsonb(p.*)| FROM projects p", ", p.id AS __sg_k1, p.version AS __sg_v2"),
    ("SELECT (p).name| FROM projects p", ", p.id AS __sg_k1, p.version AS __sg_v2"),
    ("SELECT (p).id| FROM projects p", ""),
    ("SELECT id::text name| FROM projects", ""),
    ("SELECT id, 1 AS name| FROM projects", ""),
    (
        "SELECT CASE WHEN status = 'x' THEN 1 END| FROM projects",
        ", projects.id AS __sg_k1, projects.version AS __sg_v2",
    ),
    ("SELECT p.id, (SELECT x FROM other WHERE a = p.name)| FROM projects p", ", p.version AS __sg_v1"),
    ("SELECT p.id, (SELECT name FROM other)| FROM projects p", ""),
    ("SELECT p.id, (SELECT p.name FROM other p)| FROM projects p", ""),
    // A count of rows in a sub-select is the sub-select's own.
    ("SELECT p.id, p.name, (SELECT count(*) FROM o)| FROM projects p", ", p.version AS __sg_v1"),
    (
        "SELECT name| FROM projects WHERE status = 'x' ORDER BY name LIMIT 1 FOR UPDATE",
        ", projects.id AS __sg_k1, projects.version AS __sg_v2",
    ),
    (
        "SELECT name, status| FROM projects ORDER BY 1, (2) DESC NULLS LAST LIMIT 3",
        ", projects.id AS __sg_k1, projects.version AS __sg_v2",
    ),
    (
        "SELECT name| FROM projects ORDER BY name LIMIT 3 OFFSET 4",
        ", projects.id AS __sg_k1, projects.version AS __sg_v2",
    ),
    ("(SELECT name| FROM projects)", ", projects.id AS __sg_k1, projects.version AS __sg_v2"),
    (
        "WITH o AS (SELECT 1 AS n) SELECT name, n| FROM projects, o",
        ", projects.id AS __sg_k1, projects.version AS __sg_v2",
    ),
    ("SELECT ALL name| FROM projects", ", projects.id AS __sg_k1, projects.version AS __sg_v2"),
    (
        "SELECT extract(year FROM updated_at)| FROM projects",
        ", projects.id AS __sg_k1, projects.version AS __sg_v2",
    ),
    (
        "SELECT name IS DISTINCT FROM 'x'| FROM projects",
        ", projects.id AS __sg_k1, projects.version AS __sg_v2",
    ),
    ("SELECT p.from, p.name| FROM projects p", ", p.id AS __sg_k1, p.version AS __sg_v2"),
    // Nothing beyond the key.
    ("SELECT id| FROM projects", ""),
    ("SELECT 1| FROM projects WHERE name = 'x'", ""),
    ("SELECT o.x| FROM other o JOIN projects p ON p.name = o.x", ""),
    ("SELECT EXISTS (SELECT 1 FROM projects WHERE name = 'x')|", ""),
    ("SELECT| FROM projects", ""),
    // Where it would change the result.
    ("SELECT DISTINCT name| FROM projects", ""),
    ("SELECT DISTINCT ON (name) name| FROM projects", ""),
    ("SELECT name| FROM projects GROUP BY name", ""),
    ("SELECT max(name)| FROM projects", ""),
    ("SELECT MAX(name) OVER ()| FROM projects", ""),
    ("SELECT \"my_agg\"(name)| FROM projects", ""),
    ("SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY budget)| FROM projects", ""),
    ("SELECT coalesce(sum(budget), 0)| FROM projects", ""),
    ("SELECT 'x'| FROM projects HAVING true", ""),
    ("SELECT name| FROM projects ORDER BY count(*)", ""),
    ("SELECT name| FROM projects ORDER BY 2", ""),
    ("SELECT name| FROM projects ORDER BY name, (2) DESC LIMIT 1", ""),
    ("SELECT name| FROM projects ORDER BY 0x2", ""),
    ("SELECT o.*, p.name| FROM other o, projects p ORDER BY 2", ""),
    ("SELECT name| FROM projects UNION SELECT 'x'", ""),
    ("SELECT name| FROM projects EXCEPT ALL SELECT 'x'", ""),
    ("(SELECT name FROM projects) LIMIT 1|", ""),
    ("SELECT name| INTO x FROM projects", ""),
    ("CREATE TABLE x AS SELECT name| FROM projects", ""),
    ("INSERT INTO other SELECT name| FROM projects", ""),
    ("DECLARE c CURSOR FOR SELECT name| FROM projects", ""),
    ("PREPARE p AS SELECT name| FROM projects", ""),
    ("EXPLAIN SELECT name| FROM projects", ""),
    ("COPY (SELECT name FROM projects) TO STDOUT|", ""),
    ("TABLE projects|", ""),
    ("VALUES (1)|", ""),
    // Where the row cannot be told.
    ("SELECT a.name| FROM projects a, projects b", ""),
    ("SELECT name| FROM projects WHERE id IN (SELECT id FROM projects)", ""),
    ("SELECT name| FROM events, events_2024", ""),
    ("SELECT name| FROM projects AS p (a, name)", ""),
    ("SELECT name| FROM (projects CROSS JOIN other)", ""),
    ("SELECT name| FROM (SELECT * FROM projects) p", ""),
    ("WITH projects AS (SELECT 1 AS name) SELECT name| FROM projects", ""),
    ("WITH projects (name) AS MATERIALIZED (SELECT 1) SELECT name| FROM projects", ""),
    ("WITH x AS (UPDATE users SET active = true) SELECT name| FROM projects", ""),
    ("SELECT name| FROM open_projects", ""),
    ("SELECT name| FROM other.projects", ""),
    ("SELECT name| FROM locked", ""),
    ("SELECT name| FROM amounts", ""),
    ("SELECT name| FROM projects()", ""),
    ("SELECT name| FROM ROWS FROM (projects())", ""),
];

#[test]
fn appended_columns() {
    for (text, want) in APPENDED {
        let (before, behind) = text.split_once('|').unwrap();
        let original = format!("{before}{behind}");
        // A write in a WITH clause bumps as well; what counts here is the list.
        let got = bumped(&original).replace(", version = users.version + 1", "");
        assert_eq!(got, format!("{before}{want}{behind}"), "{original}");
        assert_eq!(only(&original).hidden.len(), want.matches("__sg_").count(), "{original}");
    }
}

#[test]
fn comments_behind_the_list() {
    assert_eq!(
        bumped("SELECT name -- the name\n FROM projects"),
        "SELECT name, projects.id AS __sg_k1, projects.version AS __sg_v2 -- the name\n FROM projects"
    );
}

#[test]
fn returning() {
    for (text, want) in [
        (
            "INSERT INTO projects AS p (name) VALUES ('a') RETURNING name|",
            ", p.id AS __sg_k1, p.version AS __sg_v2",
        ),
        ("INSERT INTO projects (name) VALUES ('a') RETURNING id|", ""),
        ("INSERT INTO projects (name) SELECT 'a' RETURNING *|", ""),
        (
            "INSERT INTO projects (id) VALUES (1) ON CONFLICT DO NOTHING RETURNING id, name|",
            ", projects.version AS __sg_v1",
        ),
        ("DELETE FROM projects WHERE id = 1 RETURNING name|", ""),
        ("INSERT INTO projects (id) VALUES (1) RETURNING old.name|", ""),
        ("INSERT INTO projects (id) VALUES (1) RETURNING WITH (OLD AS o) o.name|", ""),
        ("INSERT INTO projects (id) SELECT id FROM projects RETURNING name|", ""),
    ] {
        let (before, behind) = text.split_once('|').unwrap();
        assert_eq!(bumped(&format!("{before}{behind}")), format!("{before}{want}{behind}"));
    }
}

#[test]
fn hidden_columns_are_named() {
    let plan = only("SELECT p.name, u.email FROM projects p, users u");
    let hidden: Vec<_> = plan.hidden.iter().map(|h| (h.table_oid, h.column)).collect();
    assert_eq!(hidden, [(1001, 0), (1001, 6), (1002, 0), (1002, 3)]);
    assert_eq!(plan.edits.len(), 1);
}
