//! Writes that name several rows by key: the rows that they name are checked, and the rest stays known.

use std::time::{Duration, Instant};

use crate::common::frames::{Frame, bind_raw, execute, parse, sync};
use crate::common::raw::{Raw, commands, error, sqlstate};
use crate::common::twin::{Stage, stage};

/// A parameter: its declared type, its format and its value.
type Param<'a> = (u32, u16, &'a [u8]);

/// One statement with parameters, alone in its cycle.
fn say(session: &mut Raw, sql: &str, params: &[Param<'_>]) -> Vec<Frame> {
    let oids: Vec<u32> = params.iter().map(|p| p.0).collect();
    let formats: Vec<u16> = params.iter().map(|p| p.1).collect();
    let values: Vec<_> = params.iter().map(|p| Some(p.2)).collect();
    session.exchange(&[
        parse("", sql, &oids),
        bind_raw("", "", &formats, &values, &[]),
        execute("", 0),
        sync(),
    ])
}

/// An array of one dimension in binary format.
fn array(element: u32, values: &[&[u8]]) -> Vec<u8> {
    let mut out: Vec<u8> =
        [1, 0, element, values.len() as u32, 1].iter().flat_map(|w| w.to_be_bytes()).collect();
    for value in values {
        out.extend((value.len() as i32).to_be_bytes());
        out.extend_from_slice(value);
    }
    out
}

/// How a list of the two rows of a test is written, and with what parameters.
struct List<'a> {
    table: &'a str,
    column: &'a str,
    /// A row of the list, the other one, and a row beside them.
    rows: [&'a str; 3],
    condition: &'a str,
    params: &'a [Param<'a>],
}

/// The list is refused where one of its rows is stale; where all are fresh it lands and keeps them known; and what is
/// known of other rows stays in force behind it.
fn check(stage: &Stage, list: &List<'_>) {
    let List { table, column, rows: [one, two, other], condition, params } = list;
    let write = |value: &str| format!("update {table} set {column} = '{value}' where {condition}");
    let theirs = |row: &str| {
        let sql = format!("update {table} set {column} = '1' where {row}");
        assert_eq!(stage.session().ok(&sql), "UPDATE 1", "{sql}");
    };
    let mut mine = stage.session();
    let read = format!("select * from {table}");
    for row in [one, two] {
        mine.rows(&read);
        theirs(row);
        let before = stage.version(table, one);
        let reply = say(&mut mine, &write("2"), params);
        assert_eq!(sqlstate(&reply), "40001", "{table} {condition}: {reply:?}");
        // All or nothing.
        assert_eq!(stage.version(table, one), before, "{condition}");
    }
    mine.rows(&read);
    theirs(other);
    for value in ["3", "4"] {
        let reply = say(&mut mine, &write(value), params);
        assert_eq!(commands(&reply), ["UPDATE 2"], "{table} {condition}: {reply:?}");
    }
    let single = |row: &str| format!("update {table} set {column} = '5' where {row}");
    assert_eq!(sqlstate(&mine.query(&single(other))), "40001", "{condition}");
    assert_eq!(mine.ok(&single(one)), "UPDATE 1", "{condition}");
    theirs(two);
    assert_eq!(sqlstate(&mine.query(&single(two))), "40001", "{condition}");
}

#[test]
fn lists_in_the_text_name_their_rows() {
    let stage = stage();
    for condition in [
        "id in (1, 2)",
        "id in ('1', 2, null) and name is not null",
        "id = any ('{1,2}')",
        "id = any ('{\"1\", 02 , NULL}'::int[])",
        "id = some (array[1, 2])",
        "id = any (array['1', '2']::integer[])",
        "id = any ((array[1, 2]))",
        "id = any (cast('{1,2}' as bigint[]))",
        "id = 1 or (id = 2)",
        "(id = 1 or id = any('{2}')) and 1 = 1",
        "id in (1, 2, 3) and id in (1, 2)",
    ] {
        let rows = ["id = 1", "id = 2", "id = 4"];
        check(&stage, &List { table: "projects", column: "name", rows, condition, params: &[] });
    }
    for condition in [
        "code = any ('{it''s,\"back\\\\slash\"}')",
        "code = any (array['it''s', 'back\\slash'])",
        "code in ('it''s', $$back\\slash$$::text)",
    ] {
        let rows = ["code = 'it''s'", "code = 'back\\slash'", "code = ''"];
        check(&stage, &List { table: "rates", column: "amount", rows, condition, params: &[] });
    }
}

#[test]
fn array_parameters_name_their_rows() {
    let stage = stage();
    let ids = array(23, &[&[0, 0, 0, 1], &[0, 0, 0, 2]]);
    let wide = array(20, &[&1i64.to_be_bytes(), &2i64.to_be_bytes()]);
    let cases: &[(&str, &[Param<'_>])] = &[
        ("id = any ($1)", &[(0, 0, b"{1,2}")]),
        ("id = any ($1)", &[(1007, 0, b"{1,NULL,2}")]),
        ("id = any ($1)", &[(0, 1, &ids)]),
        ("id = any ($1)", &[(1007, 1, &ids)]),
        ("id = any ($1)", &[(1016, 1, &wide)]),
        ("id = any ($1::int[])", &[(0, 1, &ids)]),
        ("id = any (($1)::bigint[])", &[(0, 1, &wide)]),
        ("id = any ($1::text[]::int[])", &[(0, 0, b"{\"1\",2}")]),
        ("id = any (cast($1 as integer[]))", &[(25, 0, b"{1, 2}")]),
        ("id = any (array[$1, $2]::int[])", &[(0, 0, b"1"), (0, 1, &[0, 0, 0, 2])]),
        ("id in ($1, $2)", &[(0, 0, b"1"), (21, 1, &[0, 2])]),
        ("id = $1 or id = $2", &[(0, 0, b"1"), (0, 0, b"2")]),
    ];
    for (condition, params) in cases {
        let rows = ["id = 1", "id = 2", "id = 4"];
        check(&stage, &List { table: "projects", column: "name", rows, condition, params });
    }
    let (dev, ops) = (b"dev".as_slice(), b"ops".as_slice());
    let codes = array(25, &[dev, ops]);
    stage.behind().ok("insert into worker_types (code, name) values ('qa', 'tester')");
    for (condition, params) in [
        ("code = any ($1)", &[(0, 1, codes.as_slice())][..]),
        ("code = any ($1::text[])", &[(0, 0, b"{dev,\"ops\"}")]),
        ("code = any ($1::varchar[])", &[(1015, 0, b"{dev,\"ops\"}")]),
    ] {
        let rows = ["code = 'dev'", "code = 'ops'", "code = 'qa'"];
        check(&stage, &List { table: "worker_types", column: "name", rows, condition, params });
    }
    let uuids = "{2531439D-3075-46D6-9C19-63E3342FC43E,\"{051e3dcf81ba49f28daa110ed693f2b6}\"}";
    let id = "2c3e6be4-6b07-4d24-9c3f-0f6d7a3d3f6c";
    stage.behind().ok(&format!("insert into portfolios (id, name) values ('{id}', 'East')"));
    for condition in ["id = any ($1)", "id = any ($1::uuid[])", "id = any ($1::text[]::uuid[])"] {
        let other = format!("id = '{id}'");
        let rows = [
            "id = '2531439d-3075-46d6-9c19-63e3342fc43e'",
            "id = '051e3dcf-81ba-49f2-8daa-110ed693f2b6'",
            &other,
        ];
        let params: &[Param<'_>] = &[(0, 0, uuids.as_bytes())];
        check(&stage, &List { table: "portfolios", column: "name", rows, condition, params });
    }
}

#[test]
fn keys_of_several_columns_in_lists() {
    let stage = stage();
    let ids = array(23, &[&[0, 0, 0, 1], &[0, 0, 0, 2]]);
    let cases: &[(&str, &[Param<'_>])] = &[
        ("user_id in (1, 2) and role_id = 'admin'", &[]),
        ("role_id = 'admin' and user_id = any ('{1,2}')", &[]),
        ("user_id = any ($1) and role_id = $2", &[(0, 1, &ids), (0, 0, b"admin")]),
        ("user_id = any ($1) and role_id = any ($2)", &[(0, 0, b"{1,2}"), (0, 0, b"{admin}")]),
        ("(user_id, role_id) in ((1, 'admin'), (2, 'admin'))", &[]),
        ("(role_id, user_id) in (row('admin', $1), ($2, 2))", &[(0, 0, b"1"), (0, 0, b"admin")]),
        ("(user_id = 1 and role_id = 'admin') or (role_id = 'admin' and user_id = 2)", &[]),
        (
            "((user_id = $1 and role_id = $2) or (user_id = $3 and role_id = $4)) and 1 = 1",
            &[(0, 0, b"1"), (0, 0, b"admin"), (0, 0, b"2"), (0, 0, b"admin")],
        ),
        ("(user_id = 1 or user_id = 2) and role_id = 'admin'", &[]),
    ];
    for (condition, params) in cases {
        let rows = [
            "user_id = 1 and role_id = 'admin'",
            "user_id = 2 and role_id = 'admin'",
            "user_id = 1 and role_id = 'reader'",
        ];
        check(&stage, &List { table: "user_roles", column: "granted_by", rows, condition, params });
    }
}

#[test]
fn a_list_that_is_not_certain_is_checked_row_by_row() {
    let stage = stage();
    for (condition, params) in [
        ("id = any ($1)", &[(1231, 0, b"{1,2.0}".as_slice())][..]),
        ("id = any ($1)", &[(0, 0, b"[2:3]={1,2}")]),
        ("id = any ($1)", &[(0, 0, b"{{1},{2}}")]),
        ("id = any (string_to_array($1, ',')::int[])", &[(25, 0, b"1,2")]),
        ("id in (1, 1 + 1)", &[]),
        ("id in (select 1 union select 2)", &[]),
    ] {
        let mut mine = stage.session();
        mine.rows("select * from projects");
        stage.other_writes("update projects set name = 'theirs' where id = 2");
        let sql = format!("update projects set name = 'mine' where {condition}");
        let reply = say(&mut mine, &sql, params);
        assert_eq!(sqlstate(&reply), "40001", "{condition}: {reply:?}");
        mine.rows("select * from projects");
        assert_eq!(commands(&say(&mut mine, &sql, params)), ["UPDATE 2"], "{condition}");
    }
    // No element, or none that is not null: no row, and everything stays known.
    let mut mine = stage.session();
    mine.rows("select * from projects");
    stage.other_writes("update projects set name = 'theirs' where id = 2");
    for (condition, params) in [
        ("id = any ($1)", &[(0, 0, b"{}".as_slice())][..]),
        ("id = any ($1)", &[(0, 0, b"{NULL}")]),
        ("id = any ('{}')", &[]),
    ] {
        let sql = format!("update projects set name = 'mine' where {condition}");
        assert_eq!(commands(&say(&mut mine, &sql, params)), ["UPDATE 0"], "{condition}");
    }
    let refused = mine.query("update projects set name = 'mine' where id = any ('{2}')");
    assert_eq!(sqlstate(&refused), "40001");
}

#[test]
fn a_parameter_without_a_certain_form_is_checked_by_the_server() {
    let stage = stage();
    for (sql, params) in [
        // Standing alone, with others in the cycle, and one that moves the key.
        ("update projects set name = 'm' where id = $1", &[(1700, 0, b"1.0".as_slice())][..]),
        ("update projects set name = 'm' where id = $1", &[(701, 0, b"1")]),
        ("update projects set name = 'm' where id = $1 and status = $2", &[(701, 0, b"1"), (0, 0, b"open")]),
        ("update projects set id = $1 where id = $2", &[(0, 0, b"1"), (701, 0, b"1")]),
    ] {
        let mut mine = stage.session();
        mine.rows("select * from projects");
        stage.other_writes("update projects set name = 'theirs' where id = 1");
        let reply = say(&mut mine, sql, params);
        assert_eq!(sqlstate(&reply), "40001", "{sql}: {reply:?}");
        let told = error(&reply).and_then(|e| e.field('M')).unwrap_or_default();
        assert!(told.starts_with("version conflict on project 1: "), "{told}");
        mine.rows("select * from projects");
        assert_eq!(commands(&say(&mut mine, sql, params)), ["UPDATE 1"], "{sql}");
    }
    // Nothing known: it lands, bumps and is counted.
    let labels = [("table", "projects"), ("reason", "unknown_key")];
    let counted = stage.proxy.metric("staleguard_unchecked_writes_total", &labels);
    let sql = "update projects set name = 'm' where id = $1";
    assert_eq!(commands(&say(&mut stage.session(), sql, &[(701, 0, b"1")])), ["UPDATE 1"]);
    assert_eq!(stage.proxy.metric("staleguard_unchecked_writes_total", &labels), counted + 1.0);
}

#[test]
fn a_key_that_moves_in_a_batch_is_checked() {
    let stage = stage();
    let mut mine = stage.session();
    mine.rows("select * from projects");
    stage.other_writes("update projects set name = 'theirs' where id = 1");
    let sql = "update projects set id = 11 where id = 1; select 1";
    assert_eq!(sqlstate(&mine.query(sql)), "40001");
    mine.rows("select * from projects");
    assert_eq!(commands(&mine.query(sql)), ["UPDATE 1", "SELECT 1"]);
}

#[test]
fn of_a_long_list_the_known_rows_travel() {
    let stage = stage();
    stage.behind().ok("insert into projects (id, name) select i, 'p' from generate_series(10, 20000) i");
    let count = 100_000;
    let ids: Vec<String> = (1..=count).map(|i: u32| i.to_string()).collect();
    let text = format!("{{{}}}", ids.join(","));
    let binary: Vec<[u8; 4]> = (1..=count).map(u32::to_be_bytes).collect();
    let binary = array(23, &binary.iter().map(<[u8; 4]>::as_slice).collect::<Vec<_>>());
    let one = "update projects set name = 'x' where id = any ($1)";
    let in_text = format!("update projects set name = 'x' where id in ({})", ids.join(","));
    let began = Instant::now();
    for (sql, params) in
        [(one, &[(0, 0, text.as_bytes())][..]), (one, &[(0, 1, &binary)]), (in_text.as_str(), &[])]
    {
        let mut mine = stage.session();
        mine.rows("select * from projects where id in (1, 2, 15000)");
        stage.other_writes("update projects set name = 'theirs' where id = 15000");
        assert_eq!(sqlstate(&say(&mut mine, sql, params)), "40001");
        mine.rows("select * from projects where id = 15000");
        assert_eq!(commands(&say(&mut mine, sql, params)), ["UPDATE 20000"]);
        // Not all rows of the list were there: which ones were, the hidden result tells.
        assert_eq!(mine.ok("update projects set name = 'x' where id = 2"), "UPDATE 1");
        stage.other_writes("update projects set name = 'theirs' where id = 2");
        assert_eq!(sqlstate(&mine.query("update projects set name = 'x' where id = 2")), "40001");
    }
    // Three times two lists of 100,000 rows: in quadratic time this takes hours.
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

#[test]
fn more_known_rows_than_travel_are_counted() {
    let stage = stage();
    stage.behind().ok("insert into projects (id, name) select i, 'p' from generate_series(10, 1200) i");
    let labels = [("table", "projects"), ("reason", "guard_overflow")];
    let mut mine = stage.session();
    for (n, condition) in ["id = any ($1)", "id > $1 or $1 is null"].into_iter().enumerate() {
        mine.rows("select * from projects");
        let ids: Vec<String> = (1..=1200).map(|i: u32| i.to_string()).collect();
        let value = if n == 0 { format!("{{{}}}", ids.join(",")) } else { "0".to_owned() };
        let sql = format!("update projects set name = 'x' where {condition}");
        assert_eq!(commands(&say(&mut mine, &sql, &[(0, 0, value.as_bytes())])), ["UPDATE 1200"]);
        let counted = stage.proxy.metric("staleguard_unchecked_writes_total", &labels);
        assert_eq!(counted, (n + 1) as f64, "{condition}");
    }
}
