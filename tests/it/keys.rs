//! Rows are the same row whatever their key's type, spelling and wire format.

use crate::common::conflict::Conflict;
use crate::common::frames::{bind, bind_raw, describe, execute, parse, sync};
use crate::common::raw::{BOTH, Protocol, Raw, commands, error, rows, sqlstate};
use crate::common::twin::{Stage, stage};

/// One row: its table, how a condition names it when it is read, and the other spellings of the same key.
struct Row {
    table: &'static str,
    entity: &'static str,
    id: &'static str,
    column: &'static str,
    read: &'static str,
    writes: &'static [&'static str],
}

const ROWS: &[Row] = &[
    Row {
        table: "programs",
        entity: "program",
        id: "2",
        column: "name",
        read: "id = 2",
        writes: &[
            "id = '2'",
            "2 = id",
            "id = 2::int2",
            "\"id\" = 2::smallint",
            "(id) = (2)",
            "programs.id = 2::int8",
        ],
    },
    Row {
        table: "projects",
        entity: "project",
        id: "3",
        column: "name",
        read: "id = '3'",
        writes: &[
            "id = 3",
            "id = 3::int4",
            "id = CAST(3 AS bigint)",
            "'3' = id",
            "id = ('3'::int4)",
            "id = +3",
        ],
    },
    Row {
        table: "resources",
        entity: "resource",
        id: "9007199254740993",
        column: "name",
        read: "id = 9007199254740993",
        writes: &[
            "id = '9007199254740993'",
            "id = 9007199254740993::int8",
            "public.resources.id = 9007199254740993",
        ],
    },
    Row {
        table: "portfolios",
        entity: "portfolio",
        id: "2531439d-3075-46d6-9c19-63e3342fc43e",
        column: "name",
        read: "id = '2531439d-3075-46d6-9c19-63e3342fc43e'",
        writes: &[
            "id = '2531439D-3075-46D6-9C19-63E3342FC43E'",
            "id = '2531439d-3075-46d6-9C19-63e3342fc43e'::uuid",
            "'{2531439d-3075-46d6-9c19-63e3342fc43e}'::UUID = portfolios.id",
            "id = '2531439d307546d69c1963e3342fc43e'",
        ],
    },
    Row {
        table: "rates",
        entity: "rate",
        id: "it's",
        column: "amount",
        read: "code = 'it''s'",
        writes: &["code = E'it\\'s'", "code = $$it's$$", "code = 'it''s'::text", "rates.code = 'it''s'"],
    },
    Row {
        table: "rates",
        entity: "rate",
        id: "",
        column: "amount",
        read: "code = ''",
        writes: &["'' = code"],
    },
    Row {
        table: "rates",
        entity: "rate",
        id: "back\\slash",
        column: "amount",
        read: "code = 'back\\slash'",
        writes: &["code = E'back\\\\slash'"],
    },
    Row {
        table: "rates",
        entity: "rate",
        id: "größe",
        column: "amount",
        read: "code like 'gr%e'",
        writes: &["code = 'größe'", "'größe'::text = rates.code", "code = E'größe'"],
    },
    Row {
        table: "worker_types",
        entity: "worker_type",
        id: "dev",
        column: "name",
        read: "code = 'dev'",
        writes: &["code = 'dev'::varchar", "'dev'::text = code"],
    },
];

/// Reads the row, lets another user write it, and demands that the write in this spelling is refused.
fn refused(stage: &Stage, row: &Row, write: &str) {
    let Row { table, column, read, .. } = row;
    let mut mine = stage.session();
    assert_eq!(mine.rows(&format!("select * from {table} where {read}")).len(), 1);
    let expected: i64 = stage.version(table, read).parse().unwrap();
    stage.other_writes(&format!("update {table} set {column} = {column} where {read}"));
    let conflict = Conflict { table, entity: row.entity, id: row.id, expected, actual: Some(expected + 1) };
    conflict.check(&mine.query(&format!("update {table} set {column} = '7' where {write}")), 'I');
}

#[test]
fn a_key_is_known_in_every_spelling() {
    let stage = stage();
    for row in ROWS {
        for write in row.writes.iter().chain([&row.read]).filter(|w| !w.contains("like")) {
            refused(&stage, row, write);
        }
    }
}

#[test]
fn a_neighbouring_key_is_another_row() {
    let stage = stage();
    let mut mine = stage.session();
    mine.rows("select * from resources");
    mine.rows("select * from rates");
    mine.rows("select * from user_roles");
    stage.other_writes("update resources set name = 'x' where id = 9007199254740993");
    stage.other_writes("update rates set amount = 1 where code = 'day'");
    stage.other_writes("update user_roles set granted_by = 'x' where user_id = 1 and role_id = 'admin'");
    for sql in [
        "update resources set name = 'y' where id = 1",
        "update rates set amount = 2 where code = ''",
        "update user_roles set granted_by = 'y' where user_id = 1 and role_id = 'reader'",
        "update user_roles set granted_by = 'y' where user_id = 2 and role_id = 'admin'",
    ] {
        assert_eq!(mine.ok(sql), "UPDATE 1", "{sql}");
    }
}

#[test]
fn a_composite_key_needs_all_its_columns() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        let read = "select granted_by from user_roles where user_id = $1 and role_id = 'admin'";
        assert_eq!(rows(&mine.say(protocol, read, &[id])).len(), 1);
        let row = format!("user_id = {id} and role_id = 'admin'");
        stage.other_writes(&format!("update user_roles set granted_by = 'x' where {row}"));
        let sql = "update user_roles set granted_by = $3 where role_id = $1 and $2 = user_roles.user_id";
        let reply = mine.say(protocol, sql, &["admin", id, "y"]);
        let refused = error(&reply).unwrap_or_else(|| panic!("no conflict: {reply:?}"));
        let message = refused.field('M').unwrap();
        assert!(message.starts_with("version conflict on user_role "), "{message}");
        assert!(message.ends_with("expected version 1, actual version 2"), "{message}");
        // Half a key names no row: each row that it writes is checked all the same.
        let sql = "update user_roles set granted_by = 'z' where user_id = $1";
        assert_eq!(sqlstate(&mine.say(protocol, sql, &[id])), "40001");
        assert_eq!(stage.version("user_roles", &row), "2");
    }
}

#[test]
fn writes_by_a_key_of_several_columns_in_batches() {
    let stage = stage();
    let row = "user_id = 1 and role_id = 'admin'";
    let write = format!("update user_roles set granted_by = 'mine' where {row}");
    let other =
        "update user_roles set granted_by = 'mine' where (user_id, role_id) in ((1, 'reader'), (2, 'admin'))";
    let within = format!("with w as ({write} returning user_id) select * from w");
    let upsert = "insert into user_roles (user_id, role_id) values (1, 'admin') \
                  on conflict (user_id, role_id) do update set granted_by = 'mine'";
    for (protocol, _) in BOTH {
        for (first, second) in
            [(other, &*write), (&*write, other), (other, &*within), (other, upsert), (&*write, &*write)]
        {
            let mut mine = stage.session();
            let batch = |mine: &mut Raw| match protocol {
                Protocol::Simple => mine.query(&format!("{first}; {second}")),
                Protocol::Extended => {
                    let one = |sql: &str| [parse("", sql, &[]), bind("", &[]), execute("", 0)].concat();
                    mine.exchange(&[[one(first), one(second)].concat(), sync()])
                }
            };
            // Nothing known; then all of it, by what it has itself written; then read again.
            for _ in 0..2 {
                assert!(error(&batch(&mut mine)).is_none(), "{first}; {second}");
            }
            mine.ok("select * from user_roles");
            stage.other_writes(&format!("update user_roles set granted_by = 'theirs' where {row}"));
            let versions = "select user_id, role_id, version from user_roles order by 1, 2";
            let before = stage.behind().rows(versions);
            let reply = batch(&mut mine);
            assert_eq!(sqlstate(&reply), "40001", "{first}; {second}: {reply:?}");
            let message = error(&reply).unwrap().field('M').unwrap();
            assert!(message.starts_with("version conflict on user_role 1,admin: "), "{message}");
            assert_eq!(stage.behind().rows(versions), before, "{first}; {second}");
        }
    }
}

#[test]
fn a_key_is_known_in_binary() {
    let stage = stage();
    let uuid = 0x2531_439d_3075_46d6_9c19_63e3_342f_c43e_u128.to_be_bytes();
    type Case<'a> = (&'a str, &'a str, u32, &'a [u8], &'a str, &'a str);
    let cases: &[Case<'_>] = &[
        ("programs", "id", 21, &[0, 2], "2", "name"),
        ("projects", "id", 23, &[0, 0, 0, 3], "3", "name"),
        // drivers bind small numbers as int2, whatever the column (psycopg), or as int8
        ("projects", "id", 21, &[0, 4], "4", "name"),
        ("projects", "id", 20, &[0, 0, 0, 0, 0, 0, 0, 5], "5", "name"),
        ("resources", "id", 20, &9_007_199_254_740_993_i64.to_be_bytes(), "9007199254740993", "name"),
        ("portfolios", "id", 2950, &uuid, "2531439d-3075-46d6-9c19-63e3342fc43e", "name"),
        ("rates", "code", 25, "it's".as_bytes(), "it''s", "amount"),
        ("worker_types", "code", 1043, b"dev", "dev", "name"),
    ];
    for (table, key, oid, bytes, text, column) in cases {
        let mut mine = stage.session();
        let mut cycle = |sql: String| {
            let bind = bind_raw("", "", &[1], &[Some(*bytes)], &[1]);
            mine.exchange(&[parse("", &sql, &[*oid]), bind, describe('P', ""), execute("", 0), sync()])
        };
        let read = cycle(format!("select {column} from {table} where {key} = $1"));
        assert_eq!(rows(&read).len(), 1, "{table}: {read:?}");
        let write = format!("update {table} set {column} = '7' where {key} = $1");
        assert_eq!(commands(&cycle(write.clone())), ["UPDATE 1"], "{table}");
        stage.other_writes(&format!("update {table} set {column} = '8' where {key} = '{text}'"));
        let reply = cycle(write);
        assert_eq!(sqlstate(&reply), "40001", "{table}: {reply:?}");
    }
}

#[test]
fn a_key_that_cannot_be_made_canonical_is_checked_row_by_row() {
    let stage = stage();
    let mut mine = stage.session();
    mine.rows("select * from projects where id = 1");
    stage.other_writes("update projects set name = 'theirs' where id = 1");
    for key in ["2 - 1", "(select 1)", "1.0"] {
        let sql = format!("update projects set name = 'x' where id = {key}");
        assert_eq!(sqlstate(&mine.query(&sql)), "40001", "{key}");
    }
    assert_eq!(stage.version("projects", "id = 1"), "2");
    // A row that nobody has seen lands.
    assert_eq!(mine.ok("update projects set name = 'x' where id = 4 - 2"), "UPDATE 1");
    // The escape means another byte in another encoding.
    mine.rows("select * from rates where code = 'größe'");
    stage.other_writes("update rates set amount = 1 where code = 'größe'");
    assert_eq!(
        sqlstate(&mine.query("update rates set amount = 2 where code = E'gr\\u00f6\\u00dfe'")),
        "40001"
    );
}

#[test]
fn a_write_that_moves_the_key_forgets_both_keys() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let to = format!("10{id}");
        let mut mine = stage.session();
        mine.say(protocol, "select * from projects where id = $1", &[id]);
        assert_eq!(
            commands(&mine.say(protocol, "update projects set id = $1 where id = $2", &[&to, id])),
            ["UPDATE 1"]
        );
        assert_eq!(stage.version("projects", &format!("id = {to}")), "2");
        // The old key is nobody's: no row, and no claim that it was deleted.
        let sql = "update projects set name = 'x' where id = $1";
        assert_eq!(commands(&mine.say(protocol, sql, &[id])), ["UPDATE 0"]);
        stage.other_writes(&format!("update projects set name = 'x' where id = {to}"));
        assert_eq!(commands(&mine.say(protocol, sql, &[&to])), ["UPDATE 1"]);
    }
}
