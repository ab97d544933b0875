//! Rows that begin anew: another session has deleted a row that this one has seen, and this one inserts it again. What
//! it knew of the row's earlier life must not refuse its own later writes.

use crate::common::conflict::on_project;
use crate::common::frames::{bind, bind_raw, describe, execute, parse, sync};
use crate::common::raw::{BOTH, Protocol, Raw, commands, error, shape, sqlstate};
use crate::common::twin::{Stage, stage};

const ALL: &str = "select * from projects";

/// A session that has seen the rows 1 to 9, of which 5 and 6 are at version 7 and gone since.
fn outlived(stage: &Stage) -> Raw {
    let mut behind = stage.behind();
    behind.ok("delete from projects where id > 9");
    behind.ok(
        "insert into projects (id, version) values (5, 7), (6, 7) on conflict (id) do update set version = 7",
    );
    let mut mine = stage.session();
    mine.ok(ALL);
    behind.ok("delete from projects where id in (5, 6)");
    mine
}

/// Every kind of INSERT that makes row 5 (and in some row 6) anew.
const INSERTS: &[(&str, &[&str])] = &[
    ("insert into projects (id, name) values (5, 'anew')", &[]),
    ("insert into projects (name, id) values ($1, $2)", &["anew", "5"]),
    ("insert into projects values (5, null, 'anew')", &[]),
    ("insert into projects (id, name) values ($1, 'a'), (6, 'b')", &["5"]),
    ("insert into only_projects (id, name) values (5, 'anew')", &[]),
    ("insert into projects (id, name) values (5, 'anew') on conflict do nothing", &[]),
    ("insert into projects (id, name) values (5, 'a'), (6, 'b') on conflict (id) do nothing", &[]),
    ("insert into projects (id, name) values (5, 'anew') returning id", &[]),
    ("insert into projects (id, name) values (5, 'anew') returning name", &[]),
    ("insert into projects (id, name) values (5, 'anew') returning id, version", &[]),
    ("insert into projects (id, name) select n, 'anew' from generate_series(5, 6) n returning id", &[]),
    ("insert into projects (id, name) select 5, 'anew' returning *", &[]),
    ("insert into projects (id, name) values ((select 5), 'anew') returning id", &[]),
    ("insert into projects (id, name, version) values (5, 'anew', 3)", &[]),
    ("with i as (insert into projects (id, name) values (5, 'anew')) select 1", &[]),
    ("with v as (select 1) insert into projects (id, name) values (5, 'anew')", &[]),
];

const UPDATES: [&str; 3] = [
    "update projects set name = 'later' where id = 5",
    "update projects set budget = 1, status = 'x' where id in (5)",
    "update projects set name = 'once more'",
];

#[test]
fn an_own_insert_of_a_row_that_another_has_deleted() {
    let stage = stage();
    stage.behind().ok("create view only_projects as select * from projects");
    for (protocol, _) in BOTH {
        for (sql, values) in INSERTS {
            for update in UPDATES {
                let mut mine = outlived(&stage);
                let reply = mine.say(protocol, sql, values);
                assert!(error(&reply).is_none(), "{sql}: {reply:?}");
                let reply = mine.say(protocol, update, &[]);
                assert!(error(&reply).is_none(), "{protocol:?} {sql}, then {update}: {reply:?}");
                // Nor does it conflict with that one.
                let reply = mine.say(protocol, UPDATES[0], &[]);
                assert!(
                    error(&reply).is_none(),
                    "{protocol:?} {sql}, then {update}, {}: {reply:?}",
                    UPDATES[0]
                );
                let reply = mine.say(protocol, "delete from projects where id = 5", &[]);
                assert_eq!(commands(&reply), ["DELETE 1"], "{sql}: {reply:?}");
            }
        }
    }
}

#[test]
fn in_one_text_and_in_one_cycle() {
    let stage = stage();
    for (sql, values) in INSERTS.iter().filter(|(sql, _)| !sql.contains("only_projects")) {
        // What a SELECT or the server itself names is not known before it has answered.
        let named = !sql.contains("select") && !sql.contains("do nothing");
        if named {
            let mut mine = outlived(&stage);
            let text = crate::common::raw::inlined(sql, values);
            for end in ["", "; commit"] {
                let begin = if end.is_empty() { "" } else { "begin; " };
                let reply = mine.query(&format!("{begin}{text}; {}{end}", UPDATES[0]));
                assert!(error(&reply).is_none(), "{text}: {reply:?}");
                mine = outlived(&stage);
            }
        }
        // Messages wait for each other where they must.
        let mut mine = outlived(&stage);
        let reply = mine.exchange(&[
            parse("i", sql, &[]),
            bind("i", values),
            execute("", 0),
            parse("u", UPDATES[0], &[]),
            bind("u", &[]),
            execute("", 0),
            sync(),
        ]);
        if named || sql.contains("do nothing") {
            assert!(error(&reply).is_none(), "{sql}: {reply:?}");
            assert_eq!(commands(&reply).last().unwrap(), "UPDATE 1");
        }
    }
}

#[test]
fn binary_and_prepared_inserts() {
    let stage = stage();
    let mut mine = outlived(&stage);
    let five = 5_i32.to_be_bytes();
    let reply = mine.exchange(&[
        parse("i", "insert into projects (id, name) values ($1, 'anew')", &[23]),
        bind_raw("", "i", &[1], &[Some(&five[..])], &[]),
        execute("", 0),
        sync(),
    ]);
    assert_eq!(commands(&reply), ["INSERT 0 1"], "{reply:?}");
    assert_eq!(mine.ok(UPDATES[0]), "UPDATE 1");

    for (types, run) in [("", "(5, 'anew')"), (" (int, text)", "(5, 'anew')"), (" (int)", "('5', 'anew')")] {
        for returning in ["", " returning id"] {
            let mut mine = outlived(&stage);
            mine.ok(&format!(
                "prepare i{types} as insert into projects (id, name) values ($1, $2){returning}"
            ));
            assert_eq!(mine.ok(&format!("execute i {run}")), "INSERT 0 1");
            assert_eq!(mine.ok(UPDATES[0]), "UPDATE 1", "{types}{returning}");
        }
    }
    let mut mine = outlived(&stage);
    mine.ok("prepare i (int) as insert into projects (id) values ($1)");
    assert_eq!(mine.ok(&format!("execute i (5); {}", UPDATES[0])), "UPDATE 1");

    // A portal that is run in parts.
    let mut mine = outlived(&stage);
    let reply = mine.exchange(&[
        parse("", "insert into projects (id, name) values (5, 'a'), (6, 'b') returning id", &[]),
        bind("", &[]),
        describe('P', ""),
        execute("", 1),
        execute("", 0),
        sync(),
    ]);
    assert_eq!(
        (shape(&reply).as_str(), commands(&reply)),
        ("12TDsDCZ", vec!["INSERT 0 1".to_owned()]),
        "{reply:?}"
    );
    assert_eq!(mine.ok(UPDATES[0]), "UPDATE 1");
}

#[test]
fn what_was_known_comes_back_with_a_rollback() {
    let stage = stage();
    let rows = |stage: &Stage| stage.behind().ok("insert into projects (id, version) values (5, 8)");
    for (begin, undo, end) in [
        ("begin", "rollback", "select 1"),
        ("begin; savepoint a", "rollback to a", "commit"),
        ("begin; savepoint a; savepoint b", "release b; rollback to a", "commit"),
    ] {
        let mut mine = outlived(&stage);
        mine.ok(begin);
        mine.ok("insert into projects (id, name) values (5, 'anew')");
        mine.ok(UPDATES[0]);
        mine.ok(undo);
        mine.ok(end);
        // Somebody else makes the row: this session knows it in a state that it does not have.
        rows(&stage);
        on_project("5", 7, Some(8)).check(&mine.query(UPDATES[0]), 'I');
    }
    // A failed one has inserted nothing.
    let mut mine = outlived(&stage);
    rows(&stage);
    assert_eq!(sqlstate(&mine.query("insert into projects (id) values (5)")), "23505");
    on_project("5", 7, Some(8)).check(&mine.query(UPDATES[0]), 'I');
    // Nor has one that found the row.
    for sql in [
        "insert into projects (id) values (5) on conflict do nothing",
        "insert into projects (id) values (5), (6) on conflict (id) do nothing",
        "insert into projects (id) values (5) on conflict do nothing returning id",
        "with i as (insert into projects (id) values (5) on conflict do nothing) select 1",
    ] {
        for (protocol, _) in BOTH {
            let mut mine = outlived(&stage);
            rows(&stage);
            assert!(error(&mine.say(protocol, sql, &[])).is_none());
            on_project("5", 7, Some(8)).check(&mine.say(protocol, UPDATES[0], &[]), 'I');
            if protocol == Protocol::Simple {
                let reply = mine.query(&format!("{sql}; {}", UPDATES[0]));
                assert_eq!(sqlstate(&reply), "40001", "{sql}: {reply:?}");
            }
        }
    }
}

#[test]
fn inserts_are_no_blind_writes() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("insert into projects (id, name) values (20, 'x'), (21, 'y')");
    mine.extended("insert into projects (id, name) values ($1, 'z') returning id", &["22"]);
    mine.ok("explain analyze insert into projects (id) values (23)");
    for name in
        ["staleguard_unchecked_writes_total", "staleguard_blind_writes_total", "staleguard_writes_total"]
    {
        assert_eq!(stage.proxy.metric(name, &[]), 0.0, "{name}");
    }
    // Other rows stay known, also those that the server has made keys for.
    let mut mine = stage.session();
    mine.ok(ALL);
    stage.other_writes("update projects set budget = 0 where id = 1");
    mine.ok("insert into projects (id) values (30)");
    mine.ok("insert into projects (id) select 31");
    mine.ok("insert into projects (id) select 32 returning id");
    on_project("1", 1, Some(2)).check(&mine.query("update projects set name = 'x' where id = 1"), 'I');
}

#[test]
fn what_is_read_of_a_row_of_ones_own_goes_with_its_rollback() {
    let stage = stage();
    for (protocol, id) in BOTH {
        stage.behind().ok(&format!("delete from projects where id = {id}"));
        let mut twin = stage.twin();
        twin.direct.ok(&format!("delete from projects where id = {id}"));
        let insert = "insert into projects (id, name) values ($1, 'mine')";
        let read = "select name from projects where id = $1";
        for (undo, end) in [("rollback", ""), ("rollback to a", "commit")] {
            twin.query("begin");
            twin.query("savepoint a");
            twin.say(protocol, insert, &[id]);
            twin.say(protocol, read, &[id]);
            twin.query(undo);
            // There is no such row, and there never was.
            twin.say(protocol, "update projects set name = 'x' where id = $1", &[id]);
            twin.query(end);
        }
    }
    assert_eq!(stage.conflicts(), 0.0);
}

#[test]
fn a_row_that_another_has_made_anew_is_taken_for_the_one_at_the_same_version() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let update = |mine: &mut Raw| {
            let sql = "update projects set name = 'mine' where id = $1";
            sqlstate(&mine.say(protocol, sql, &[id]))
        };
        let anew = |version: u32| {
            stage.behind().ok(&format!("delete from projects where id = {id}"));
            let values = format!("values ({id}, 'anew', {version})");
            stage.behind().ok(&format!("insert into projects (id, name, version) {values}"));
        };
        anew(1);
        let mut mine = stage.session();
        mine.ok(ALL);
        anew(1);
        assert_eq!(update(&mut mine), "");
        // At any other version it is another row.
        anew(1);
        assert_eq!(update(&mut mine), "40001");
    }
}
