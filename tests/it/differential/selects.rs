//! SELECT in many shapes. What the standard leaves open (the order of rows, whatever a hidden column might do to a
//! plan) is pinned by an ORDER BY.

use super::statements::Maker;

/// Any SELECT.
pub fn select(m: &mut Maker<'_>) -> String {
    let shape = m.v.rng.below(30);
    match shape {
        0..=17 => simple(m),
        18..=21 => join(m),
        22..=25 => nested(m),
        _ => grouped(m),
    }
}

fn simple(m: &mut Maker<'_>) -> String {
    let from = m.target();
    let key = m.table.key[0].0;
    let keys: Vec<_> = m.table.key.iter().map(|k| k.0).collect();
    let (other, _) = m.other();
    let own = m.reference.clone();
    let version = if m.table.protected { "version" } else { key };
    let (n, list) = match m.v.rng.below(29) {
        0 | 1 => (None, "*".to_owned()),
        2 => (None, format!("{own}.*")),
        3 => (Some(1), m.column(other)),
        4 => (Some(2), format!("{}, {}", m.column(key), m.column(other))),
        5 => (Some(1), m.column(key)),
        6 => (Some(1), m.column(version)),
        7 => (Some(2), format!("{other} AS version, 1 AS id")),
        8 => (Some(1), format!("upper({other}::text)")),
        9 => (Some(1), format!("{other}::text || 'x' AS id")),
        10 => (Some(2), format!("{version}, {other}")),
        11 => (Some(1), "1".into()),
        12 => (None, format!("{other}, *")),
        13 => (Some(1), own.clone()),
        14 => (Some(1), format!("({own}).{other}")),
        15 => (Some(1), format!("row_to_json({own})")),
        16 => (Some(2), format!("(SELECT count(*) FROM notes), {}", m.column(other))),
        17 => (Some(2), format!("row_number() OVER (ORDER BY {key}), {other}")),
        18 => (Some(1), format!("CASE WHEN {other} IS NULL THEN 'none' ELSE {other}::text END \"Case\"")),
        19 => (Some(1), format!("COALESCE({other}::text, 'x') n")),
        20 => (Some(2), format!("count(*) OVER (), {other}")),
        21 => (Some(1), format!("EXISTS (SELECT 1 FROM notes n WHERE n.body = {own}.{other}::text)")),
        22 => (Some(3), format!("{key}, {other} AS {key}, {version}")),
        23 => (Some(0), String::new()),
        24 => (Some(2), format!("{other}, $${other}$$ AS \"from\"")),
        25 => (Some(1), format!("ALL {other}")),
        26 => (Some(2), format!("repeat({other}::text, 9000), {other}")),
        _ => (Some(2), format!("{other}, {key} AS __sg_k1")),
    };
    m.columns = n;
    let condition = m.condition();
    let order = match m.v.rng.below(9) {
        0 if n.unwrap_or(1) > 0 && !list.contains("row_to_json") => format!("1, {}", qualified(&own, &keys)),
        1 => format!("{own}.{other} DESC NULLS LAST, {}", qualified(&own, &keys)),
        2 => format!("{own}.{version}, {}", qualified(&own, &keys)),
        3 => format!("length({own}.{other}::text), {}", qualified(&own, &keys)),
        _ => qualified(&own, &keys),
    };
    let tail = m.pick(&[
        "",
        "",
        "",
        "",
        "",
        " LIMIT 2",
        " OFFSET 1",
        " LIMIT 1 OFFSET 0",
        " FETCH FIRST 2 ROWS ONLY",
        " LIMIT ALL",
        " FOR UPDATE",
        " FOR NO KEY UPDATE",
        " FOR SHARE NOWAIT",
        " LIMIT 1 FOR UPDATE SKIP LOCKED",
    ]);
    // Window functions do not go with row locks: an error, the same on both sides.
    let limit = if m.chance(5) {
        format!(" LIMIT {}", m.v.spell(super::values::Kind::Int8, "2"))
    } else {
        tail.into()
    };
    format!("SELECT {list} FROM {from}{condition} ORDER BY {order}{limit}")
}

fn qualified(own: &str, keys: &[&str]) -> String {
    keys.iter().map(|k| format!("{own}.{k}")).collect::<Vec<_>>().join(", ")
}

fn join(m: &mut Maker<'_>) -> String {
    m.columns = None;
    let list = m.pick(&[
        "*",
        "p.*",
        "p.name, f.name",
        "p.name",
        "f.*, p.id",
        "p.id, f.version",
        "p.version, f.version",
        "f.name AS n",
        "p.name || f.name",
        "p.budget, f.notes, p.id, p.version",
        "count(*) OVER (), f.name",
        "p, f",
        "1",
    ]);
    let kind = m.pick(&["JOIN", "LEFT JOIN", "RIGHT OUTER JOIN", "FULL JOIN", "INNER JOIN"]);
    let tail = m.pick(&["", "", " LIMIT 3", " FOR UPDATE OF p", " WHERE p.id = 1", " WHERE f.id IS NULL"]);
    let (condition, tail) = if tail.starts_with(" W") { (tail, "") } else { ("", tail) };
    match m.v.rng.below(9) {
        0 => "SELECT u.email, r.role_id FROM users u LEFT JOIN user_roles r ON r.user_id = u.id ORDER BY u.id, r.role_id".into(),
        1 => "SELECT * FROM users u NATURAL JOIN programs ORDER BY 1, 2".into(),
        2 => "SELECT id, email, s.name FROM users JOIN programs s USING (id) ORDER BY id".into(),
        3 => "SELECT a.name, b.name FROM projects a JOIN projects b ON b.id = a.id + 1 ORDER BY a.id".into(),
        4 => "SELECT p.name, l.n FROM projects p CROSS JOIN LATERAL (SELECT count(*) AS n FROM notes WHERE notes.id > p.id) l ORDER BY p.id".into(),
        5 => "SELECT p.name, x.email FROM projects p, (SELECT id, email FROM users) x WHERE p.id = x.id ORDER BY p.id".into(),
        _ => format!(
            "SELECT {list} FROM projects p {kind} portfolios f ON f.id = p.portfolio_id{condition} ORDER BY p.id, f.id{tail}"
        ),
    }
}

fn nested(m: &mut Maker<'_>) -> String {
    m.columns = None;
    let name = m.table.name;
    let keys: Vec<_> = m.table.key.iter().map(|k| k.0).collect();
    let keys = keys.join(", ");
    let (other, kind) = m.other();
    match m.v.rng.below(12) {
        0 => format!(
            "SELECT s.{other} FROM (SELECT {keys}, {other} FROM {name}) s ORDER BY {}",
            qualified("s", &[m.table.key[0].0])
        ),
        1 => format!("WITH x AS (SELECT * FROM {name}) SELECT {other} FROM x ORDER BY {keys}"),
        2 => format!(
            "WITH x AS MATERIALIZED (SELECT {other}, {keys} FROM {name}) SELECT * FROM x ORDER BY {keys}"
        ),
        3 => format!("WITH {name} AS (SELECT 1 AS id, 'cte' AS name) SELECT * FROM {name} ORDER BY 1"),
        4 => format!(
            "SELECT {other} FROM {name} WHERE {other}::text IN (SELECT body FROM notes) ORDER BY {keys}"
        ),
        5 => format!("(SELECT {other} FROM {name} ORDER BY {keys} LIMIT 1)"),
        6 => format!("SELECT (SELECT max({other}::text) FROM {name}), 1"),
        7 => format!(
            "SELECT n.body, (SELECT max(x.{other}::text) FROM {name} x WHERE x.{other}::text <> n.body) FROM notes n ORDER BY n.id"
        ),
        8 => format!("VALUES (1, {}), (2, NULL)", m.v.any(kind)),
        9 => format!("TABLE {name} ORDER BY 1, 2"),
        10 => "SELECT name FROM project_names ORDER BY name".into(),
        _ => format!(
            "SELECT * FROM (SELECT a.* FROM {name} a) b ORDER BY {}",
            qualified("b", &[m.table.key[0].0])
        ),
    }
}

fn grouped(m: &mut Maker<'_>) -> String {
    m.columns = None;
    let name = m.table.name;
    let key = m.table.key[0].0;
    let (other, _) = m.other();
    match m.v.rng.below(12) {
        0 => format!("SELECT DISTINCT {other} FROM {name} ORDER BY 1"),
        1 => format!("SELECT DISTINCT ON ({key}) {key}, {other} FROM {name} ORDER BY {key}, {other}"),
        2 => format!("SELECT {other}, count(*) FROM {name} GROUP BY {other} ORDER BY 1"),
        3 => format!("SELECT {other}, count(*) c FROM {name} GROUP BY 1 HAVING count(*) > 0 ORDER BY c, 1"),
        4 => format!("SELECT count(*), max({key}::text) FROM {name}"),
        5 => format!("SELECT {other}::text FROM {name} UNION SELECT body FROM notes ORDER BY 1"),
        6 => format!("SELECT {key}::text FROM {name} EXCEPT ALL SELECT '1' ORDER BY {key}"),
        7 => format!(
            "SELECT array_agg({other}::text ORDER BY {other}) FILTER (WHERE {other} IS NOT NULL) FROM {name}"
        ),
        8 => format!("SELECT string_agg({other}::text, ',' ORDER BY {key}) AS version FROM {name}"),
        9 => format!(
            "SELECT {key} FROM {name} WHERE {key} IS NOT NULL INTERSECT SELECT {key} FROM {name} ORDER BY {key}"
        ),
        10 => format!("SELECT {other} FROM {name} GROUP BY ROLLUP ({other}) ORDER BY 1"),
        _ => format!("SELECT json_agg(x) FROM (SELECT {other} FROM {name} ORDER BY {key}, {other}) x"),
    }
}
