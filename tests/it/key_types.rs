//! Keys of every type that is compared: read and written in text and in binary, alone and beside other statements.

use crate::common::frames::{Frame, bind_raw, describe, execute, parse, sync};
use crate::common::raw::{Raw, commands, error, rows, sqlstate};
use crate::common::twin::{Stage, stage_with};

/// A key type: its table holds the first key and a few beside it.
struct Kind {
    table: &'static str,
    columns: &'static str,
    key: &'static str,
    /// Rows, the first of them the one that is written.
    rows: &'static str,
    /// The condition that names the first row, and its key as a conflict shows it.
    first: &'static str,
    /// Another row.
    other: &'static str,
    id: &'static str,
    /// Conditions that name it with literals.
    literals: &'static [&'static str],
    /// Conditions with `$1`, the type declared for it, and its text; empty text: the key in binary.
    params: &'static [(&'static str, u32, &'static str)],
}

const KINDS: &[Kind] = &[
    Kind {
        table: "k_bpchars",
        columns: "k character(6)",
        key: "k",
        rows: "('ab'), (' ab'), ('abc')",
        first: "k = 'ab'",
        other: "k = ' ab'",
        id: "ab",
        literals: &["k = 'ab'", "k = 'ab    '", "k = 'ab   '::bpchar", "'ab'::text = k", "k in ('ab  ')"],
        params: &[
            ("k = $1", 0, "ab"),
            ("k = $1", 0, "ab      "),
            ("k = $1", 1043, "ab"),
            ("k = $1::bpchar", 0, "ab "),
            ("k = $1", 0, ""),
            ("k = $1", 1042, ""),
        ],
    },
    Kind {
        table: "k_numerics",
        columns: "k numeric(12, 3)",
        key: "k",
        rows: "(1.5), (15), (0), (-1.5)",
        first: "k = 1.5",
        other: "k = 15",
        id: "1.5",
        literals: &[
            "k = 1.50",
            "k = '1.5'",
            "k = 15e-1",
            "1.500::numeric = k",
            "k = +1.5",
            "k = '1.5'::decimal",
        ],
        params: &[
            ("k = $1", 0, "1.5"),
            ("k = $1", 1700, "01.500"),
            ("k = $1::numeric", 0, "0.15e1"),
            ("k = $1", 0, ""),
            ("k = $1", 1700, ""),
        ],
    },
    Kind {
        table: "k_bools",
        columns: "k boolean",
        key: "k",
        rows: "(true), (false)",
        first: "k",
        other: "k = false",
        id: "true",
        literals: &["k = true", "k = 't'", "k = 'yes'::bool", "TRUE = k", "k = bool 'on'"],
        params: &[("k = $1", 0, "t"), ("k = $1", 16, "TRUE"), ("k = $1::boolean", 0, "1"), ("k = $1", 0, "")],
    },
    Kind {
        table: "k_dates",
        columns: "k date",
        key: "k",
        rows: "('2026-02-01'), ('2026-01-02'), ('infinity'), ('5874897-12-31'), ('0044-03-15 BC')",
        first: "k = '2026-02-01'",
        other: "k = '2026-01-02'",
        id: "2026-02-01",
        literals: &[
            "k = '2026-02-01'",
            "k = '2026-02-01'::date",
            "k = DATE '2026-02-01'",
            "date '2026-02-01' = k",
        ],
        params: &[
            ("k = $1", 0, "2026-02-01"),
            ("k = $1", 1082, "2026-02-01"),
            ("k = $1::date", 0, "2026-02-01"),
            ("k = $1::text::date", 0, "2026-02-01"),
            ("k = $1", 0, ""),
            ("k = $1", 1082, ""),
        ],
    },
    Kind {
        table: "k_timestamps",
        columns: "k timestamp",
        key: "k",
        rows: "('2026-02-01 10:00:00.5'), ('2026-01-02 10:00'), ('-infinity'), ('0044-03-15 10:00 BC')",
        first: "k = '2026-02-01 10:00:00.5'",
        other: "k = '2026-01-02 10:00'",
        id: "2026-02-01 10:00:00.5",
        literals: &[
            "k = '2026-02-01 10:00:00.500'",
            "k = '2026-02-01T10:00:00.5'",
            "k = TIMESTAMP '2026-02-01 10:00:00.5'",
            "k = '2026-02-01 10:00:00.5'::timestamp",
            "timestamp without time zone '2026-02-01 10:00:00.5' = k",
        ],
        params: &[
            ("k = $1", 0, "2026-02-01 10:00:00.5"),
            ("k = $1", 0, "2026-02-01 10:00:00.5+02"),
            ("k = $1", 1114, "2026-02-01T10:00:00.500000"),
            ("k = $1::timestamp", 0, "2026-02-01 10:00:00.5"),
            ("k = $1", 0, ""),
            ("k = $1", 1114, ""),
        ],
    },
    Kind {
        table: "k_mixeds",
        columns: "d date, c character(4), n numeric, b boolean, id smallint",
        key: "d, c, n, b, id",
        rows: "('2026-02-01', 'a,b', 1.50, true, 7), ('2026-02-01', 'a,b', 1.50, false, 7)",
        first: "b",
        other: "d = '2026-02-01' and c = 'a,b' and n = 1.5 and b = false and id = 7",
        id: "2026-02-01,a,b,1.5,true,7",
        literals: &[
            "d = '2026-02-01' and c = 'a,b ' and n = 1.500 and b = 't' and id = 7",
            "(n, b, d, c, id) = (1.5, true, date '2026-02-01', 'a,b', '7')",
        ],
        params: &[("id = 7 and n = $1 and b = true and c = 'a,b' and d = '2026-02-01'", 0, "1.50")],
    },
];

/// A stage with the tables of all kinds.
fn types() -> Stage {
    let names: Vec<&str> = KINDS.iter().map(|k| k.table).collect();
    let stage = stage_with(&["--tables", &format!("{},k_zones", names.join(","))]);
    let mut behind = stage.behind();
    for Kind { table, columns, key, rows, .. } in KINDS {
        behind.ok(&format!(
            "create table {table} ({columns}, note text, version integer not null default 1, primary key ({key})); \
             insert into {table} values {rows}"
        ));
    }
    stage
}

/// A statement with at most one parameter in the extended protocol, with results in this format; behind it in the same
/// cycle, if asked for, another statement.
fn say(
    session: &mut Raw,
    sql: &str,
    param: Option<(u32, u16, &[u8])>,
    format: u16,
    more: bool,
) -> Vec<Frame> {
    let oids: Vec<u32> = param.iter().map(|p| p.0).collect();
    let formats: Vec<u16> = param.iter().map(|p| p.1).collect();
    let values: Vec<_> = param.iter().map(|p| Some(p.2)).collect();
    let mut messages = vec![
        parse("", sql, &oids),
        bind_raw("", "", &formats, &values, &[format]),
        describe('P', ""),
        execute("", 0),
    ];
    if more {
        messages.extend([parse("", "select 1", &[]), bind_raw("", "", &[], &[], &[]), execute("", 0)]);
    }
    messages.push(sync());
    session.exchange(&messages)
}

/// The single value of a statement as the server sends it in binary.
fn binary(stage: &Stage, sql: &str) -> Vec<u8> {
    let reply = say(&mut stage.behind(), sql, None, 1, false);
    let row = reply.iter().find(|f| f.tag == b'D').unwrap_or_else(|| panic!("{reply:?}"));
    row.values().remove(0).unwrap()
}

/// A read in text and in binary, and behind each this write: refused where it is stale, landing where it is fresh.
fn check(stage: &Stage, kind: &Kind, what: &str, mut write: impl FnMut(&mut Raw) -> Vec<Frame>) {
    let Kind { table, first, other, id, .. } = kind;
    for format in [0, 1] {
        let mut mine = stage.session();
        let read = |mine: &mut Raw| {
            let reply = say(mine, &format!("select note from {table}"), None, format, false);
            assert!(!rows(&reply).is_empty(), "{reply:?}");
        };
        read(&mut mine);
        let before: i64 = stage.version(table, first).parse().unwrap();
        stage.other_writes(&format!("update {table} set note = 'theirs' where {first}"));
        let reply = write(&mut mine);
        assert_eq!(sqlstate(&reply), "40001", "{table}, {what}, format {format}: {reply:?}");
        let told = error(&reply).and_then(|e| e.field('M')).unwrap();
        let wanted = format!(" {id}: expected version {before}, actual version {}", before + 1);
        assert!(told.ends_with(&wanted), "{table}, {what}: {told}");
        read(&mut mine);
        stage.other_writes(&format!("update {table} set note = 'theirs' where {other}"));
        for _ in 0..2 {
            let reply = write(&mut mine);
            assert_eq!(
                commands(&reply).first().map(String::as_str),
                Some("UPDATE 1"),
                "{table}, {what}: {reply:?}"
            );
        }
        // The key was read: what is known of another row stays.
        let single = format!("update {table} set note = 'mine' where {other}");
        assert_eq!(sqlstate(&mine.query(&single)), "40001", "{table}, {what}");
        read(&mut mine);
        let reply = mine.query(&format!("update {table} set note = 'all'"));
        assert_eq!(sqlstate(&reply), "", "{table}: {reply:?}");
        assert_eq!(stage.version(table, first), (before + 4).to_string(), "{table}, {what}");
    }
}

#[test]
fn literals_of_every_type() {
    let stage = types();
    for kind in KINDS {
        for condition in kind.literals {
            let sql = format!("update {} set note = 'mine' where {condition}", kind.table);
            check(&stage, kind, &sql, |mine| mine.query(&sql));
            let batch = format!("{sql}; select 1");
            check(&stage, kind, &batch, |mine| mine.query(&batch));
        }
    }
}

#[test]
fn parameters_of_every_type() {
    let stage = types();
    for kind in KINDS {
        for (condition, oid, text) in kind.params {
            let key = match text.is_empty() {
                true => {
                    binary(&stage, &format!("select {} from {} where {}", kind.key, kind.table, kind.first))
                }
                false => text.as_bytes().to_vec(),
            };
            let param = Some((*oid, u16::from(text.is_empty()), key.as_slice()));
            let sql = format!("update {} set note = 'mine' where {condition}", kind.table);
            for more in [false, true] {
                let what = format!("{sql}, {oid} {text:?}, {more}");
                check(&stage, kind, &what, |mine| say(mine, &sql, param, 0, more));
            }
        }
    }
}

#[test]
fn lists_of_every_type() {
    let stage = types();
    for kind in KINDS.iter().filter(|k| k.key == "k") {
        let Kind { table, first, .. } = kind;
        let text = stage.behind().value(&format!("select array[k]::text from {table} where {first}"));
        let bytes = binary(&stage, &format!("select array[k] from {table} where {first}"));
        let sql = format!("update {table} set note = 'mine' where k = any ($1)");
        for param in [(0, 0, text.as_bytes()), (0, 1, bytes.as_slice())] {
            check(&stage, kind, &sql, |mine| say(mine, &sql, Some(param), 0, false));
        }
        let sql = format!("update {table} set note = 'mine' where k = any ('{text}')");
        check(&stage, kind, &sql, |mine| mine.query(&sql));
    }
}

#[test]
fn the_style_of_dates_changes_nothing_that_is_known() {
    let stage = types();
    for (table, first) in [("k_dates", "k = '2026-02-01'"), ("k_timestamps", "k = '2026-02-01 10:00:00.5'")] {
        for style in ["SQL, DMY", "German", "Postgres, MDY", "ISO, MDY"] {
            let mut mine = stage.session();
            let sql = format!("update {table} set note = 'mine' where {first}");
            let named = |mine: &mut Raw| {
                mine.exchange(&[
                    bind_raw("", "s", &[], &[], &[]),
                    execute("", 0),
                    bind_raw("", "s", &[], &[], &[]),
                    execute("", 0),
                    sync(),
                ])
            };
            // Prepared under one style, run under another.
            mine.exchange(&[parse("s", &sql, &[]), sync()]);
            mine.rows(&format!("select * from {table}"));
            stage.other_writes(&format!("update {table} set note = 'theirs' where {first}"));
            mine.ok(&format!("set datestyle = '{style}'"));
            for write in
                [sql.clone(), format!("{sql}; select 1"), format!("update {table} set note = 'mine'")]
            {
                assert_eq!(sqlstate(&mine.query(&write)), "40001", "{style}: {write}");
            }
            assert_eq!(sqlstate(&named(&mut mine)), "40001", "{style}");
            // A binary result is the same in every style.
            say(&mut mine, &format!("select * from {table}"), None, 1, false);
            assert_eq!(commands(&named(&mut mine)), ["UPDATE 1", "UPDATE 1"], "{style}");
            assert_eq!(mine.ok(&sql), "UPDATE 1", "{style}");
            stage.other_writes(&format!("update {table} set note = 'theirs' where {first}"));
            // A text result in another style tells of no key: what was known stands.
            mine.rows(&format!("select * from {table}"));
            let after = if style.starts_with("ISO") { "" } else { "40001" };
            assert_eq!(sqlstate(&mine.query(&sql)), after, "{style}");
            // A literal in the session's own style is not read here; the guard compares in the server.
            let key = stage
                .behind()
                .value(&format!("set datestyle = '{style}'; select k from {table} where {first}"));
            let reply = mine.query(&format!("update {table} set note = 'mine' where k = '{key}'"));
            assert_eq!(sqlstate(&reply), after, "{style}: {key}");
        }
    }
}

#[test]
fn keys_that_have_no_certain_form() {
    let stage = types();
    let mut behind = stage.behind();
    behind.ok("insert into k_numerics (k) values ('NaN')");
    behind.ok(
        "create table k_zones (k timestamptz primary key, note text, version integer not null default 1)",
    );
    behind.ok("insert into k_zones (k) values ('2026-02-01 10:00+00')");
    let mut mine = stage.session();
    for (table, condition) in [
        ("k_zones", "k = '2026-02-01 10:00+00'"),
        ("k_numerics", "k = 'NaN'"),
        ("k_dates", "k = 'infinity'"),
        ("k_dates", "k = '5874897-12-31'"),
        ("k_dates", "k = '0044-03-15 BC'"),
        ("k_timestamps", "k = '-infinity'"),
    ] {
        // Bumped and counted, never refused.
        mine.rows(&format!("select * from {table}"));
        stage.other_writes(&format!("update {table} set note = 'theirs' where {condition}"));
        let count = || {
            let labels = [("table", table)];
            stage.proxy.metric("staleguard_unchecked_writes_total", &labels)
                + stage.proxy.metric("staleguard_writes_total", &[("outcome", "checked")])
        };
        let counted = count();
        assert_eq!(
            mine.ok(&format!("update {table} set note = 'mine' where {condition}")),
            "UPDATE 1",
            "{table}"
        );
        assert_eq!(count(), counted + 1.0, "{table} {condition}");
        assert_eq!(stage.version(table, condition), "3", "{table} {condition}");
    }
}

#[test]
fn a_proposed_key_is_stored_with_the_precision_of_its_column() {
    let stage = types();
    let mut mine = stage.session();
    let sql = "insert into k_numerics (k) values (1.50049) on conflict (k) do update set note = 'mine'";
    mine.rows("select * from k_numerics");
    stage.other_writes("update k_numerics set note = 'theirs' where k = 1.5");
    assert_eq!(sqlstate(&mine.query(sql)), "40001");
    mine.rows("select * from k_numerics");
    assert_eq!(mine.ok(sql), "INSERT 0 1");
    assert_eq!(stage.version("k_numerics", "k = 1.5"), "3");
}
