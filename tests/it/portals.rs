//! Portals that are fetched in parts, by Execute or by FETCH. Of a write with a RETURNING, PostgreSQL runs all at the
//! first part, whatever that shows and whether anything of the rest is ever fetched.

use crate::common::conflict::on_project;
use crate::common::frames::{bind, bind_raw, close, describe, execute, flush, parse, query, sync};
use crate::common::raw::{BOTH, Protocol, Raw, commands, error, rows, shape, sqlstate};
use crate::common::twin::{Stage, stage, stage_with};
use crate::cursors::{WRITE, lands, theirs};

/// Writes of the rows 1, 2 and 3; each shows them, whole or in part.
const WRITES: &[&str] = &[
    "update projects set status = 's' where id < 4 returning id",
    "update projects set status = 's' where id < 4 returning name",
    "update projects set status = 's' where id in (1, 2, 3) returning *",
    "update projects set status = 's' where id = any ('{3,2,1}') returning status",
    "update projects p set status = v.s from (values (1, 's'), (2, 's'), (3, 's')) v(i, s) where id = i returning v.s",
    "update projects set budget = budget + 1 where id < 4 returning id, budget",
    "update projects set budget = budget + 1 where id in (1, 2, 3) returning 1",
    "insert into projects (id) values (1), (2), (3) on conflict (id) do update set status = 's' returning id",
    "insert into projects (id) select id from projects where id < 4 on conflict (id) do update set status = 's' returning name",
    "with w as (update projects set status = 's' where id < 4 returning id) select * from w",
    "with w as (update projects set status = 's' where id in (1, 2, 3) returning id) select * from w",
];

/// What follows the first Execute, which fetches one row.
const REST: &[(&str, bool)] = &[
    ("nothing", false),
    ("close", false),
    ("one more", false),
    ("the rest", false),
    // In a block, with a Sync between.
    ("nothing", true),
    ("one more", true),
    ("the rest", true),
];

fn open(sql: &str) -> Vec<u8> {
    [parse("", sql, &[]), bind_raw("p", "", &[], &[], &[]), describe('P', "p"), execute("p", 1)].concat()
}

fn run(session: &mut Raw, sql: &str, rest: &str, block: bool) {
    let more = match rest {
        "close" => close('P', "p"),
        "one more" => execute("p", 1),
        "the rest" => execute("p", 0),
        _ => Vec::new(),
    };
    if block {
        session.ok("begin");
        let reply = session.exchange(&[open(sql), sync()]);
        assert_eq!(shape(&reply), "12TDsZ", "{sql}: {reply:?}");
        let reply = session.exchange(&[sync(), more, sync()].map(|m| if m.is_empty() { flush() } else { m }));
        assert!(error(&reply).is_none(), "{sql}: {reply:?}");
        session.ok("commit");
    } else {
        let reply = session.exchange(&[[open(sql), more].concat(), sync()]);
        assert!(shape(&reply).starts_with("12TDs"), "{sql}: {reply:?}");
        assert!(error(&reply).is_none(), "{sql}: {reply:?}");
    }
}

/// How often a write went unchecked, and how often one was refused.
fn counts(stage: &Stage) -> (f64, f64) {
    let count = |name: &str| stage.proxy.metric(name, &[]);
    (
        count("staleguard_blind_writes_total") + count("staleguard_unchecked_writes_total"),
        count("version_conflicts_total"),
    )
}

fn version(stage: &Stage, id: &str) -> i64 {
    stage.version("projects", &format!("id = {id}")).parse().unwrap()
}

#[test]
fn a_write_that_is_shown_in_part_has_changed_all_its_rows() {
    let stage = stage();
    for sql in WRITES {
        for (rest, block) in REST {
            let what = format!("{sql}, {rest}, {block}");
            let mut mine = stage.session();
            mine.ok("select * from projects");
            let before = version(&stage, "3");
            run(&mut mine, sql, rest, *block);
            assert_eq!(version(&stage, "3"), before + 1, "{what}");
            // Its own write does not make it conflict.
            let update = |id: &str| format!("update projects set name = 'mine' where id = {id}");
            for id in ["1", "2"] {
                assert_eq!(mine.ok(&update(id)), "UPDATE 1", "{what}");
            }
            // Another's does, or the write is counted as one that nothing was known for.
            stage.other_writes(&update("3").replace("mine", "theirs"));
            let before = counts(&stage);
            let refused = sqlstate(&mine.query(&update("3"))) == "40001";
            let after = counts(&stage);
            let counted = (after.0 - before.0, after.1 - before.1);
            assert_eq!(counted, if refused { (0.0, 1.0) } else { (1.0, 0.0) }, "{what}");
            // What it has not written stays protected.
            stage.other_writes(&update("5").replace("mine", "theirs"));
            if sql.contains("in (1, 2, 3)") {
                let known = version(&stage, "5") - 1;
                on_project("5", known, Some(known + 1)).check(&mine.query(&update("5")), 'I');
            }
        }
    }
}

#[test]
fn one_that_is_stale_is_refused_at_its_first_row() {
    let stage = stage();
    for sql in WRITES.iter().filter(|sql| !sql.contains("budget")) {
        for id in ["1", "3"] {
            let mut mine = stage.session();
            mine.ok("select * from projects");
            let known = version(&stage, id);
            stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
            let reply = mine.exchange(&[open(sql), sync()]);
            on_project(id, known, Some(known + 1)).check(&reply, 'I');
        }
    }
}

#[test]
fn rows_that_are_gone_are_counted_once_the_rest_is_shown() {
    let stage = stage();
    let gone = || stage.proxy.metric("staleguard_guard_gone_total", &[]);
    for (rest, block) in REST {
        let mut mine = stage.session();
        mine.ok("select * from projects");
        let sql = "update projects set status = 's' where id in (1, 2, 3) returning id";
        run(&mut mine, sql, rest, *block);
        assert_eq!(gone(), 0.0, "{rest}");
    }
}

#[test]
fn rows_that_an_insert_has_made_are_new_ones_shown_or_not() {
    let stage = stage();
    for sql in [
        "insert into projects (id, name) values (7, 'a'), (8, 'b'), (9, 'c') returning id",
        "insert into projects (id, name) values (7, 'a'), (8, 'b'), (9, 'c') returning name",
        "insert into projects (id, name) values (7, 'a'), (8, 'b'), (9, 'c') returning *",
    ] {
        for (rest, block) in REST {
            let what = format!("{sql}, {rest}, {block}");
            stage.behind().ok("update projects set version = version + 1");
            let mut mine = stage.session();
            mine.ok("select * from projects");
            stage.behind().ok("delete from projects where id > 6");
            run(&mut mine, sql, rest, *block);
            for id in ["7", "8", "9"] {
                let reply = mine.query(&format!("update projects set name = 'mine' where id = {id}"));
                assert_eq!(commands(&reply), ["UPDATE 1"], "{what}: {reply:?}");
            }
        }
    }
}

#[test]
fn rows_that_a_delete_has_taken_are_gone_shown_or_not() {
    let stage = stage();
    for sql in [
        "delete from projects where id > 6 returning id",
        "delete from projects where id in (7, 8, 9) returning name",
        "with d as (delete from projects where id > 6 returning id) select * from d",
    ] {
        for (rest, block) in REST {
            let what = format!("{sql}, {rest}, {block}");
            stage.behind().ok("update projects set version = version + 1");
            let mut mine = stage.session();
            mine.ok("select * from projects");
            run(&mut mine, sql, rest, *block);
            // Others make them anew.
            stage.behind().ok("insert into projects (id) values (7), (8), (9)");
            for id in ["7", "8", "9"] {
                let reply = mine.query(&format!("update projects set name = 'mine' where id = {id}"));
                assert_eq!(commands(&reply), ["UPDATE 1"], "{what}: {reply:?}");
            }
        }
    }
}

#[test]
fn a_fetch_from_the_portal_of_a_write_is_counted_once() {
    let stage = stage();
    let nested = || stage.proxy.metric("staleguard_unchecked_writes_total", &[("reason", "nested")]);
    for sql in WRITES {
        let mut mine = stage.session();
        mine.ok("select * from projects");
        mine.ok("begin");
        mine.exchange(&[parse("", sql, &[]), bind_raw("p", "", &[], &[], &[]), sync()]);
        let before = (nested(), version(&stage, "3"));
        for _ in 0..2 {
            assert!(error(&mine.exchange(&[query("fetch 1 from p")])).is_none(), "{sql}");
        }
        assert!(error(&mine.exchange(&[execute("p", 1), sync()])).is_none());
        mine.ok("commit");
        assert_eq!((nested() - before.0, version(&stage, "3") - before.1), (1.0, 1), "{sql}");
        for id in ["1", "2", "3"] {
            assert_eq!(mine.ok(&format!("update projects set name = 'mine' where id = {id}")), "UPDATE 1");
        }
    }
}

#[test]
fn in_mode_observe_what_was_not_fetched_cannot_be_told() {
    let stage = stage_with(&["--mode", "observe"]);
    let told = |outcome: &str| stage.proxy.metric("staleguard_observe_total", &[("outcome", outcome)]);
    for sql in WRITES.iter().filter(|sql| !sql.contains("budget")) {
        for (rest, block) in REST {
            let mut mine = stage.session();
            mine.ok("select * from projects");
            stage.other_writes("update projects set name = 'theirs' where id = 3");
            let before = (told("unknown"), told("pass"), told("would_conflict"));
            run(&mut mine, sql, rest, *block);
            let after = (told("unknown"), told("pass"), told("would_conflict"));
            assert_eq!(after, (before.0 + 1.0, before.1, before.2), "{sql}, {rest}, {block}");
        }
    }
}

#[test]
fn a_fetch_from_a_portal_shows_no_hidden_column() {
    let stage = stage();
    let mut twin = stage.twin();
    let open = |sql: &str| [parse("s", sql, &[]), bind_raw("p", "s", &[], &[], &[]), sync()];
    for fetch in [
        &[query("fetch 2 from p")][..],
        &[query("fetch 1 from p; fetch 1 from p; move 1 in p; fetch all from p")],
        &[parse("", "fetch 2 from p", &[]), bind("", &[]), describe('P', ""), execute("", 0), sync()],
        &[parse("", "fetch 2 from p", &[]), describe('S', ""), bind("", &[]), execute("", 0), sync()],
        &[parse("", "fetch 2 from p", &[]), bind("", &[]), execute("", 1), execute("", 0), sync()],
        &[parse("", "fetch 2 from p", &[]), bind_raw("", "", &[], &[], &[1]), execute("", 0), sync()],
        &[
            parse("", "fetch 2 from p", &[]),
            bind_raw("", "", &[], &[], &[0, 1]),
            describe('P', ""),
            execute("", 0),
            sync(),
        ],
        &[parse("", "fetch 2 from p", &[]), bind_raw("", "", &[], &[], &[0, 1, 0]), execute("", 0), sync()],
        &[
            parse("f", "fetch 1 from p", &[]),
            sync(),
            bind("f", &[]),
            execute("", 0),
            sync(),
            execute("p", 1),
            sync(),
        ],
    ] {
        twin.query("begin");
        twin.exchange(&open("select name, status from projects where id < 4 order by id"));
        twin.exchange(fetch);
        twin.query("rollback");
        twin.exchange(&[close('S', "s"), close('S', "f"), sync()]);
    }
    // By way of EXECUTE, and with the name given to a cursor.
    twin.query("begin");
    twin.exchange(&open("select name, status from projects where id < 4 order by id"));
    twin.exchange(&[parse("f", "fetch 1 from p", &[]), sync()]);
    twin.query("execute f");
    twin.extended("execute f", &[]);
    twin.query("close p; declare p cursor for select 1, 2, 3");
    twin.exchange(&[describe('P', "p"), execute("p", 0), sync()]);
    twin.query("rollback");
}

#[test]
fn a_fetch_from_a_portal_teaches() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.ok("begin");
        let open = [
            parse("s", "select name from projects where id = $1", &[]),
            bind_raw("p", "s", &[], &[Some(id.as_bytes())], &[]),
            sync(),
        ];
        assert_eq!(shape(&mine.exchange(&open)), "12Z");
        assert_eq!(rows(&mine.say(protocol, "fetch p", &[])).len(), 1);
        theirs(&stage, id);
        let reply = mine.say(protocol, "update projects set name = 'stale' where current of p", &[]);
        on_project(id, 1, Some(2)).check(&reply, 'E');
        mine.ok("rollback");
        on_project(id, 1, Some(2)).check(&mine.say(protocol, WRITE, &["stale", id]), 'I');
    }
}

#[test]
fn a_portal_executed_in_parts_is_written_where_it_stands() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("begin");
    let open = [
        parse("l", "select id, name from projects", &[]),
        bind_raw("p", "l", &[], &[], &[]),
        execute("p", 2),
        sync(),
    ];
    assert_eq!(shape(&mine.exchange(&open)), "12DDsZ");
    let write = "update projects set name = 'mine' where current of p";
    lands(&mut mine, Protocol::Extended, write, &[]);
    lands(&mut mine, Protocol::Extended, WRITE, &["mine", "2"]);
    lands(&mut mine, Protocol::Simple, write, &[]);
    assert_eq!(shape(&mine.exchange(&[execute("p", 2), sync()])), "DDsZ");
    theirs(&stage, "4");
    on_project("4", 1, Some(2)).check(&mine.query(write), 'E');
    mine.ok("rollback");
    // Row 1 was seen, and not written.
    theirs(&stage, "1");
    on_project("1", 1, Some(2)).check(&mine.query("update projects set name = 'x' where id = 1"), 'I');
}

#[test]
fn a_write_bound_to_a_portal_and_fetched_does_not_conflict_with_its_session() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, "select * from projects where id = $1", &[id]);
        mine.ok("begin");
        let write = "update projects set name = 'fetched' where id = $1 returning name";
        let open = [parse("w", write, &[]), bind_raw("p", "w", &[], &[Some(id.as_bytes())], &[]), sync()];
        assert_eq!(shape(&mine.exchange(&open)), "12Z");
        let reply = mine.say(protocol, "fetch p", &[]);
        assert_eq!(rows(&reply), [["fetched"]]);
        lands(&mut mine, protocol, WRITE, &["mine", id]);
        mine.ok("commit");
        assert_eq!(stage.version("projects", &format!("id = {id}")), "3");
        // Stale, its guard raises where it runs.
        theirs(&stage, id);
        mine.say(protocol, "select * from projects where id = $1", &[id]);
        theirs(&stage, id);
        mine.ok("begin");
        assert_eq!(
            shape(&mine.exchange(&[bind_raw("p", "w", &[], &[Some(id.as_bytes())], &[]), sync()])),
            "2Z"
        );
        on_project(id, 4, Some(5)).check(&mine.say(protocol, "fetch p", &[]), 'E');
        mine.ok("rollback");
    }
}

#[test]
fn a_portal_bound_before_an_own_write_shows_rows_as_they_were() {
    let stage = stage();
    for limit in [0, 1] {
        let mut mine = stage.session();
        mine.ok("begin");
        let open = [
            parse("l", "select id, name from projects where id < 3", &[]),
            bind_raw("p", "l", &[], &[], &[]),
            sync(),
        ];
        assert_eq!(shape(&mine.exchange(&open)), "12Z");
        let before: i64 = stage.version("projects", "id = 1").parse().unwrap();
        mine.ok("select * from projects where id = 2");
        mine.ok("update projects set name = 'mine' where id = 2");
        theirs(&stage, "1");
        let reply = mine.exchange(&[execute("p", limit), execute("p", limit), execute("p", 0), sync()]);
        let mut names = rows(&reply);
        names.sort();
        assert_eq!(names.len(), 2, "{reply:?}");
        // Its own write is known, the other's is not.
        lands(&mut mine, Protocol::Extended, WRITE, &["again", "2"]);
        let reply = mine.say(Protocol::Extended, WRITE, &["stale", "1"]);
        on_project("1", before, Some(before + 1)).check(&reply, 'E');
        mine.ok("rollback");
        // Put back for the next round.
        mine.ok("select * from projects where id < 3");
    }
}
