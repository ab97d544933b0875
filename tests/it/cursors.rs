//! Cursors and portals: what they show is known as of the time when they were opened.

use crate::common::conflict::on_project;
use crate::common::frames::{Frame, bind, bind_raw, close, describe, execute, parse, sync};
use crate::common::raw::{BOTH, Protocol, Raw, commands, error, rows, shape, sqlstate};
use crate::common::twin::{Stage, stage};

pub const WRITE: &str = "update projects set name = $1 where id = $2";
pub const DECLARE: &str = "declare c cursor for select * from projects where id = $1";

/// Another user writes the row.
pub fn theirs(stage: &Stage, id: &str) {
    stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
}

/// A write of this session that must land.
pub fn lands(session: &mut Raw, protocol: Protocol, sql: &str, values: &[&str]) {
    let reply = session.say(protocol, sql, values);
    assert_eq!(commands(&reply), ["UPDATE 1"], "{protocol:?} {sql} {values:?}: {reply:?}");
}

/// Opens, reads and ends a cursor.
pub fn read_through(session: &mut Raw, protocol: Protocol, declare: &str, id: &str) -> Vec<Frame> {
    session.say(protocol, "begin", &[]);
    let reply = session.say(protocol, declare, &[id]);
    assert_eq!(sqlstate(&reply), "", "{reply:?}");
    let reply = session.say(protocol, "fetch all from c", &[]);
    session.say(protocol, "commit", &[]);
    reply
}

pub fn blind(stage: &Stage, cause: &str) -> f64 {
    stage.proxy.metric("staleguard_blind_writes_total", &[("table", "projects"), ("cause", cause)])
}

pub fn unchecked(stage: &Stage, reason: &str) -> f64 {
    stage.proxy.metric("staleguard_unchecked_writes_total", &[("table", "projects"), ("reason", reason)])
}

#[test]
fn a_fetch_teaches() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        assert_eq!(rows(&read_through(&mut mine, protocol, DECLARE, id)).len(), 1);
        lands(&mut mine, protocol, WRITE, &["fresh", id]);
        theirs(&stage, id);
        on_project(id, 2, Some(3)).check(&mine.say(protocol, WRITE, &["stale", id]), 'I');
        // Read again through a cursor alone, it lands.
        read_through(&mut mine, protocol, DECLARE, id);
        lands(&mut mine, protocol, WRITE, &["mine", id]);
    }
    assert_eq!(stage.conflicts(), 2.0);
}

#[test]
fn every_fetch_teaches_and_a_move_does_not() {
    let stage = stage();
    for (fetches, known) in [
        (&["fetch c"][..], &["1"][..]),
        (&["fetch next from c", "fetch 1 in c"], &["1", "2"]),
        (&["fetch all from c"], &["1", "2", "3"]),
        (&["fetch absolute 3 from c", "fetch backward all from c"], &["1", "2", "3"]),
        (&["fetch last from c", "fetch prior from c"], &["2", "3"]),
        (&["move 2 in c", "fetch 0 from c"], &["2"]),
        (&["move all in c", "fetch relative -3 c"], &["1"]),
        (&["fetch absolute 0 from c", "move 1 from c", "fetch forward 5 from c"], &["2", "3"]),
        (&["move forward all in c"], &[]),
    ] {
        for (protocol, _) in BOTH {
            for together in [false, true] {
                let mut mine = stage.session();
                let declare = "declare c scroll cursor for select id, name, version from projects where id < 4 order by id";
                if together && protocol == Protocol::Simple {
                    mine.query(&format!("begin; {declare}; {}; commit", fetches.join("; ")));
                } else {
                    mine.say(protocol, "begin", &[]);
                    mine.say(protocol, declare, &[]);
                    for fetch in fetches {
                        mine.say(protocol, fetch, &[]);
                    }
                    mine.say(protocol, "commit", &[]);
                }
                for id in ["1", "2", "3"] {
                    theirs(&stage, id);
                    let reply = mine.say(protocol, WRITE, &["mine", id]);
                    let want = if known.contains(&id) { "40001" } else { "" };
                    assert_eq!(sqlstate(&reply), want, "{fetches:?} {protocol:?} {together} {id}: {reply:?}");
                }
            }
        }
    }
}

#[test]
fn names_of_cursors_fold_and_quote() {
    let stage = stage();
    for (declared, fetched) in
        [("Curs", "cURS"), ("\"Curs 1\"", "\"Curs 1\""), ("\"curs\"", "CURS"), ("u&\"c\\0061\"", "ca")]
    {
        let mut mine = stage.session();
        mine.ok(&format!("begin; declare {declared} cursor for select * from projects where id = 3"));
        mine.ok("declare other cursor for select 1");
        assert_eq!(mine.rows(&format!("fetch {fetched}")).len(), 1);
        mine.ok("commit");
        theirs(&stage, "3");
        assert_eq!(
            sqlstate(&mine.query("update projects set name = 'x' where id = 3")),
            "40001",
            "{declared}"
        );
    }
}

#[test]
fn in_binary_too() {
    let stage = stage();
    // A binary cursor in the simple protocol, text and binary results in the extended one.
    for (declare, results) in [
        ("declare c binary cursor for select * from projects where id = 3", None),
        ("declare c cursor for select * from projects where id = 3", Some(1)),
        ("declare c cursor for select * from projects where id = 3", Some(0)),
        ("declare c binary cursor for select * from projects where id = 3", Some(1)),
        ("declare c binary cursor for select * from projects where id = 3", Some(0)),
    ] {
        let mut mine = stage.session();
        mine.ok("begin");
        mine.ok(declare);
        let reply = match results {
            None => mine.query("fetch c"),
            Some(format) => mine.exchange(&[
                parse("f", "fetch c", &[]),
                bind_raw("", "f", &[], &[], &[format]),
                execute("", 0),
                sync(),
            ]),
        };
        assert_eq!(rows(&reply).len(), 1, "{reply:?}");
        mine.ok("commit");
        theirs(&stage, "3");
        let reply = mine.query("update projects set name = 'x' where id = 3");
        assert_eq!(sqlstate(&reply), "40001", "{declare} {results:?}");
    }
}

#[test]
fn whatever_describes_the_fetch() {
    let stage = stage();
    let ways: [&[&[Vec<u8>]]; 6] = [
        // Nothing does.
        &[&[parse("", "fetch c", &[]), bind("", &[]), execute("", 0), sync()]],
        &[&[parse("", "fetch c", &[]), describe('S', ""), bind("", &[]), execute("", 0), sync()]],
        // In a cycle of its own.
        &[
            &[parse("f", "fetch c", &[]), describe('S', "f"), sync()],
            &[bind("f", &[]), execute("", 0), sync()],
        ],
        &[&[parse("f", "fetch c", &[]), bind("f", &[]), describe('P', ""), execute("", 0), sync()]],
        &[
            &[parse("f", "fetch c", &[]), bind_raw("p", "f", &[], &[], &[]), describe('P', "p"), sync()],
            &[execute("p", 0), sync()],
        ],
        // The cursor itself, by the protocol.
        &[&[describe('P', "c"), sync()], &[execute("c", 1), sync()]],
    ];
    for (way, id) in ways.iter().zip(["1", "2", "3", "4", "5", "6"]) {
        let mut twin = stage.twin();
        twin.query("begin");
        twin.query(&format!(
            "declare c cursor for select id, version, budget, status from projects where id = {id}"
        ));
        let reply: Vec<Frame> = way.iter().flat_map(|cycle| twin.exchange(cycle)).collect();
        assert_eq!(rows(&reply).len(), 1, "{reply:?}");
        twin.query("commit");
        theirs(&stage, id);
        let reply = twin.proxied.say(Protocol::Simple, WRITE, &["stale", id]);
        assert_eq!(sqlstate(&reply), "40001", "{way:?}");
    }
}

#[test]
fn a_prepared_fetch_outlives_cursors_of_other_shapes() {
    let stage = stage();
    let mut mine = stage.session();
    // Parsed where there is no cursor yet.
    mine.exchange(&[parse("f", "fetch all from c", &[]), sync()]);
    for (list, id) in
        [("name, id, version", "1"), ("version, budget, id, name", "2"), ("id, name, version", "3")]
    {
        mine.ok("begin");
        mine.ok(&format!("declare c cursor for select {list} from projects where id = {id}"));
        assert_eq!(rows(&mine.exchange(&[bind("f", &[]), execute("", 0), sync()])).len(), 1);
        mine.ok("commit");
        theirs(&stage, id);
        on_project(id, 1, Some(2)).check(&mine.say(Protocol::Simple, WRITE, &["mine", id]), 'I');
    }
}

#[test]
fn a_pipeline_of_declare_and_fetch_teaches() {
    let stage = stage();
    let mut mine = stage.session();
    let reply = mine.exchange(&[
        parse("", "begin", &[]),
        bind("", &[]),
        execute("", 0),
        parse("", "declare c cursor for select * from projects where id = 3", &[]),
        bind("", &[]),
        execute("", 0),
        parse("", "fetch c", &[]),
        bind("", &[]),
        execute("", 0),
        parse("", "commit", &[]),
        bind("", &[]),
        execute("", 0),
        sync(),
    ]);
    assert_eq!(shape(&reply), "12C12C12DC12CZ");
    theirs(&stage, "3");
    assert_eq!(sqlstate(&mine.query("update projects set name = 'x' where id = 3")), "40001");
}

#[test]
fn cursors_that_are_gone_teach_nothing() {
    let stage = stage();
    stage.behind().ok(
        "create function open_mixed() returns void language plpgsql as $$ declare c refcursor := 'c'; begin
         open c for select a.id, b.version, a.name from projects a join projects b on b.id = 9 where a.id = 3; end $$",
    );
    theirs(&stage, "3");
    let declare = "declare c cursor for select id, version, name from projects where id = 8";
    for ends in [
        &["rollback", "begin"][..],
        &["commit", "begin"],
        &["close c"],
        &["close all"],
        &["savepoint b", "rollback to a"],
        &["rollback to a", "commit", "begin"],
        &["select 1/0", "rollback", "begin"],
        &["select 1/0", "commit", "begin"],
    ] {
        let mut mine = stage.session();
        mine.ok("begin");
        mine.ok("savepoint a");
        mine.ok(declare);
        for end in ends {
            mine.query(end);
        }
        mine.ok("select open_mixed()");
        let reply = mine.query("fetch c");
        assert_eq!(rows(&reply).len(), 1, "{ends:?}: {reply:?}");
        mine.ok("commit");
        // Row 9's version is not row 3's.
        assert_eq!(mine.ok("update projects set name = 'x' where id = 3"), "UPDATE 1", "{ends:?}");
    }
    let held = "declare c cursor with hold for select id, version, name from projects where id = 8";
    for ends in [&["close c"][..], &["discard all"], &["close all"]] {
        let mut mine = stage.session();
        mine.ok(held);
        for end in ends {
            mine.ok(end);
        }
        mine.ok("begin");
        mine.ok("select open_mixed()");
        assert_eq!(mine.rows("fetch c").len(), 1);
        mine.ok("commit");
        assert_eq!(mine.ok("update projects set name = 'x' where id = 3"), "UPDATE 1", "{ends:?}");
    }
    // Closed by the protocol.
    let mut mine = stage.session();
    mine.ok("begin");
    mine.ok(declare);
    assert_eq!(shape(&mine.exchange(&[close('P', "c"), sync()])), "3Z");
    mine.ok("select open_mixed()");
    assert_eq!(mine.rows("fetch c").len(), 1);
    mine.ok("commit");
    assert_eq!(mine.ok("update projects set name = 'x' where id = 3"), "UPDATE 1");
    assert_eq!(stage.conflicts(), 0.0);
}

#[test]
fn cursors_that_live_on_teach() {
    let stage = stage();
    let plain = "declare c cursor for select * from projects where id = $1";
    let held = "declare c cursor with hold for select * from projects where id = $1";
    for (steps, ends) in [
        (&["begin", "savepoint a", plain, "release a", "savepoint a", "rollback to a"][..], &["commit"][..]),
        (&["begin", plain, "savepoint a", "rollback to a"], &["commit"]),
        (&[held], &[]),
        (&["begin", held, "commit", "begin", "rollback"], &[]),
        (&["begin", held, "commit", "reset all"], &[]),
    ] {
        for (protocol, id) in BOTH {
            let mut mine = stage.session();
            for step in steps {
                let values: &[&str] = if step.contains('$') { &[id] } else { &[] };
                assert_eq!(sqlstate(&mine.say(protocol, step, values)), "", "{step}");
            }
            assert_eq!(rows(&mine.say(protocol, "fetch c", &[])).len(), 1);
            for end in ends {
                mine.say(protocol, end, &[]);
            }
            theirs(&stage, id);
            assert_eq!(sqlstate(&mine.say(protocol, WRITE, &["x", id])), "40001", "{steps:?} {protocol:?}");
        }
    }
}

#[test]
fn a_cursor_opened_before_an_own_write_does_not_lower_what_that_taught() {
    let stage = stage();
    for (protocol, id) in BOTH {
        for list in ["*", "id, name", "id, name, version"] {
            let mut mine = stage.session();
            mine.say(protocol, "begin", &[]);
            let declare = format!("declare c scroll cursor for select {list} from projects where id = $1");
            mine.say(protocol, &declare, &[id]);
            mine.say(protocol, "fetch c", &[]);
            mine.say(protocol, "select * from projects where id = $1", &[id]);
            lands(&mut mine, protocol, WRITE, &["one", id]);
            // Shows the row as it was before.
            mine.say(protocol, "fetch relative 0 from c", &[]);
            lands(&mut mine, protocol, WRITE, &["two", id]);
            mine.say(protocol, "fetch relative 0 from c", &[]);
            mine.say(protocol, "commit", &[]);
            lands(&mut mine, protocol, WRITE, &["three", id]);
            let version: i64 = stage.version("projects", &format!("id = {id}")).parse().unwrap();
            // .. and what it taught is still good for a check.
            theirs(&stage, id);
            on_project(id, version, Some(version + 1)).check(&mine.say(protocol, WRITE, &["stale", id]), 'I');
        }
    }
}

#[test]
fn a_cursor_without_the_version_mends_a_conflict() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        let before = blind(&stage, "cursor");
        mine.say(protocol, "select id, name, status, budget from projects where id = $1", &[id]);
        theirs(&stage, id);
        assert_eq!(sqlstate(&mine.say(protocol, WRITE, &["stale", id])), "40001");
        // Whatever shows nothing of the row changes nothing.
        for declare in [
            "declare c cursor for select id from projects where id = $1",
            "declare c cursor for select name from projects where id = $1",
            "declare c cursor for select id, status from projects where id = $1",
            "declare c cursor for select a.id, b.name from projects a, projects b where a.id = $1 and b.id = 9",
        ] {
            read_through(&mut mine, protocol, declare, id);
            let reply = mine.say(protocol, WRITE, &["stale", id]);
            assert_eq!(sqlstate(&reply), "40001", "{declare} {protocol:?}");
        }
        read_through(
            &mut mine,
            protocol,
            "declare c cursor for select id, name from projects where id = $1",
            id,
        );
        // The budget was seen before the other's write only.
        assert_eq!(
            sqlstate(&mine.say(protocol, "update projects set budget = 1 where id = $1", &[id])),
            "40001"
        );
        lands(&mut mine, protocol, WRITE, &["mine", id]);
        assert_eq!(blind(&stage, "cursor"), before + 1.0);
        // The write in between is the session's own.
        lands(&mut mine, protocol, "update projects set budget = 1 where id = $1", &[id]);
    }
}

#[test]
fn a_row_seen_through_a_cursor_alone_has_a_cause_of_its_own() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        let before = blind(&stage, "cursor");
        let declare = "declare c cursor for select id, upper(name) from projects where id = $1";
        read_through(&mut mine, protocol, declare, id);
        lands(&mut mine, protocol, WRITE, &["mine", id]);
        assert_eq!(blind(&stage, "cursor"), before + 1.0);
    }
}

#[test]
fn own_writes_survive_a_cursor_without_the_version() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, "begin", &[]);
        mine.say(protocol, "select * from projects where id = $1", &[id]);
        lands(&mut mine, protocol, WRITE, &["one", id]);
        // Opened behind the write, the row still locked: what it shows is what was written.
        mine.say(protocol, "declare c cursor for select id, name from projects where id = $1", &[id]);
        mine.say(protocol, "fetch c", &[]);
        mine.say(protocol, "commit", &[]);
        theirs(&stage, id);
        on_project(id, 2, Some(3)).check(&mine.say(protocol, WRITE, &["stale", id]), 'I');
    }
}

#[test]
fn rows_locked_as_they_are_fetched() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, "select * from projects where id = $1", &[id]);
        mine.say(protocol, "begin", &[]);
        mine.say(protocol, "declare c cursor for select * from projects where id = $1 for update", &[id]);
        theirs(&stage, id);
        // It shows the row as it is now, not as it was when the cursor was opened.
        let reply = mine.say(protocol, "fetch c", &[]);
        assert_eq!(rows(&reply)[0].last().map(String::as_str), Some("2"));
        lands(&mut mine, protocol, "update projects set name = 'mine' where current of c", &[]);
        mine.say(protocol, "commit", &[]);
        lands(&mut mine, protocol, WRITE, &["mine", id]);
        assert_eq!(stage.version("projects", &format!("id = {id}")), "4");
    }
}

#[test]
fn an_explained_declare_opens_nothing() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("begin");
    mine.ok("declare c cursor for select id, name, version from projects where id = 3");
    for explain in ["explain", "explain analyze", "explain (costs off)"] {
        mine.ok(&format!("{explain} declare c cursor for select a.id from projects a, projects b"));
    }
    assert_eq!(mine.rows("fetch c").len(), 1);
    theirs(&stage, "3");
    let reply = mine.query("update projects set name = 'stale' where current of c");
    on_project("3", 1, Some(2)).check(&reply, 'E');
    assert!(error(&reply).is_some());
}
