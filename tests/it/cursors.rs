//! Cursors and portals: what they show is known as of the time when they were opened.

use crate::common::conflict::on_project;
use crate::common::frames::{Frame, bind, bind_raw, close, describe, execute, parse, query, sync};
use crate::common::raw::{BOTH, Protocol, Raw, commands, error, rows, shape, sqlstate, status};
use crate::common::twin::{Stage, stage};

const WRITE: &str = "update projects set name = $1 where id = $2";
const DECLARE: &str = "declare c cursor for select * from projects where id = $1";

/// Another user writes the row.
fn theirs(stage: &Stage, id: &str) {
    stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
}

/// A write of this session that must land.
fn lands(session: &mut Raw, protocol: Protocol, sql: &str, values: &[&str]) {
    let reply = session.say(protocol, sql, values);
    assert_eq!(commands(&reply), ["UPDATE 1"], "{protocol:?} {sql} {values:?}: {reply:?}");
}

/// Opens, reads and ends a cursor.
fn read_through(session: &mut Raw, protocol: Protocol, declare: &str, id: &str) -> Vec<Frame> {
    session.say(protocol, "begin", &[]);
    let reply = session.say(protocol, declare, &[id]);
    assert_eq!(sqlstate(&reply), "", "{reply:?}");
    let reply = session.say(protocol, "fetch all from c", &[]);
    session.say(protocol, "commit", &[]);
    reply
}

fn blind(stage: &Stage, cause: &str) -> f64 {
    stage.proxy.metric("staleguard_blind_writes_total", &[("table", "projects"), ("cause", cause)])
}

fn unchecked(stage: &Stage, reason: &str) -> f64 {
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
fn the_row_under_a_cursor_is_written_under_the_version_that_it_showed() {
    let stage = stage();
    for (protocol, id) in BOTH {
        for declare in [
            "declare c cursor for select * from projects where id = $1",
            "declare c cursor for select p.version, p.id, p.name from projects p where id = $1",
        ] {
            let write = "update projects set name = $1 where current of c";
            let mut mine = stage.session();
            let before: i64 = stage.version("projects", &format!("id = {id}")).parse().unwrap();
            let counted = unchecked(&stage, "current_of");
            mine.say(protocol, "begin", &[]);
            mine.say(protocol, declare, &[id]);
            mine.say(protocol, "fetch c", &[]);
            for name in ["one", "two", "three"] {
                lands(&mut mine, protocol, write, &[name]);
            }
            // By its key, inside and behind the transaction.
            lands(&mut mine, protocol, WRITE, &["four", id]);
            lands(&mut mine, protocol, write, &["five"]);
            mine.say(protocol, "commit", &[]);
            lands(&mut mine, protocol, WRITE, &["six", id]);
            assert_eq!(stage.version("projects", &format!("id = {id}")), (before + 6).to_string());
            assert_eq!(unchecked(&stage, "current_of"), counted);

            mine.say(protocol, "begin", &[]);
            mine.say(protocol, declare, &[id]);
            mine.say(protocol, "fetch c", &[]);
            theirs(&stage, id);
            // PostgreSQL itself would write the row as it is now.
            let reply = mine.say(protocol, write, &["stale"]);
            on_project(id, before + 6, Some(before + 7)).check(&reply, 'E');
            mine.say(protocol, "rollback", &[]);
        }
    }
}

#[test]
fn a_write_through_a_cursor_is_undone_with_its_transaction() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, "begin", &[]);
        mine.say(protocol, DECLARE, &[id]);
        mine.say(protocol, "fetch c", &[]);
        lands(&mut mine, protocol, "update projects set name = 'undone' where current of c", &[]);
        mine.say(protocol, "rollback", &[]);
        lands(&mut mine, protocol, WRITE, &["mine", id]);
        assert_eq!(stage.version("projects", &format!("id = {id}")), "2");
        theirs(&stage, id);
        on_project(id, 2, Some(3)).check(&mine.say(protocol, WRITE, &["mine", id]), 'I');
    }
}

#[test]
fn the_other_rows_stay_known_behind_a_write_through_a_cursor() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, "select * from projects where id = 7", &[]);
        mine.say(protocol, "begin", &[]);
        mine.say(protocol, DECLARE, &[id]);
        mine.say(protocol, "fetch c", &[]);
        lands(&mut mine, protocol, "update projects set name = 'mine' where current of c", &[]);
        mine.say(protocol, "commit", &[]);
        theirs(&stage, "7");
        assert_eq!(sqlstate(&mine.say(protocol, WRITE, &["mine", "7"])), "40001");
    }
}

#[test]
fn a_cursor_that_does_not_tell_its_rows_is_no_guard() {
    let stage = stage();
    for (protocol, id) in BOTH {
        for (declare, reason, cause) in [
            ("declare c cursor for select name from projects where id = $1", 1.0, 0.0),
            ("declare c cursor for select id, name from projects where id = $1", 0.0, 1.0),
            (
                "declare c cursor for select p.* from projects p join projects q on q.id = p.id where p.id = $1 for update of p",
                1.0,
                0.0,
            ),
        ] {
            let mut mine = stage.session();
            let counted = (unchecked(&stage, "current_of"), blind(&stage, "cursor"));
            mine.say(protocol, "select * from projects where id = $1", &[id]);
            theirs(&stage, id);
            mine.say(protocol, "begin", &[]);
            mine.say(protocol, declare, &[id]);
            assert_eq!(rows(&mine.say(protocol, "fetch c", &[])).len(), 1);
            // It shows the row as it is: an older version that the session knows of is not what this rests on.
            lands(&mut mine, protocol, "update projects set name = 'mine' where current of c", &[]);
            lands(&mut mine, protocol, WRITE, &["mine", id]);
            mine.say(protocol, "commit", &[]);
            let now = (unchecked(&stage, "current_of"), blind(&stage, "cursor"));
            assert_eq!(now, (counted.0 + reason, counted.1 + cause), "{declare} {protocol:?}");
        }
    }
    assert_eq!(stage.conflicts(), 0.0);
}

#[test]
fn a_cursor_moved_to_a_row_that_it_has_not_shown() {
    let stage = stage();
    for (protocol, _) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, "select * from projects where id = 3", &[]);
        mine.say(protocol, "begin", &[]);
        mine.say(protocol, "declare c cursor for select id, name, version from projects order by id", &[]);
        mine.say(protocol, "fetch c", &[]);
        mine.say(protocol, "move 2 in c", &[]);
        theirs(&stage, "3");
        // The session has seen row 3 before that.
        let reply = mine.say(protocol, "update projects set name = 'stale' where current of c", &[]);
        assert_eq!((sqlstate(&reply).as_str(), status(&reply)), ("40001", 'E'));
        mine.say(protocol, "rollback", &[]);
        mine.say(protocol, "begin", &[]);
        mine.say(protocol, "declare c cursor for select id, name, version from projects order by id", &[]);
        mine.say(protocol, "move 3 in c", &[]);
        mine.say(protocol, "select * from projects where id = 3", &[]);
        for _ in 0..2 {
            lands(&mut mine, protocol, "update projects set name = 'mine' where current of c", &[]);
            lands(&mut mine, protocol, WRITE, &["mine", "3"]);
        }
        mine.say(protocol, "commit", &[]);
        lands(&mut mine, protocol, WRITE, &["mine", "3"]);
    }
}

#[test]
fn all_in_one_query() {
    let stage = stage();
    let text = "begin; declare c cursor for select id, name, version from projects where id = 3 for update; fetch c; \
        update projects set name = 'mine' where current of c; \
        update projects set name = 'again' where current of c; commit";
    let mut mine = stage.session();
    for _ in 0..2 {
        let reply = mine.query(text);
        assert_eq!(shape(&reply), "CCTDCCCCZ", "{reply:?}");
    }
    assert_eq!(stage.version("projects", "id = 3"), "5");
    // What the session knew when it sent the text is what counts.
    mine.ok("select * from projects where id = 3");
    theirs(&stage, "3");
    let reply = mine.query(text);
    assert_eq!(
        (shape(&reply).as_str(), sqlstate(&reply).as_str(), status(&reply)),
        ("CCTDCEZ", "40001", 'E')
    );
    mine.ok("rollback");
    // Now it has seen the row as it is.
    assert_eq!(sqlstate(&mine.query(text)), "");
    assert_eq!(stage.version("projects", "id = 3"), "8");
}

#[test]
fn written_in_parts_of_one_cycle() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("begin");
    mine.ok("declare c cursor for select id, name, version from projects where id < 4 order by id");
    let one = |sql: &str| [parse("", sql, &[]), bind("", &[]), execute("", 0)];
    let mut messages = Vec::new();
    for _ in 0..3 {
        messages.extend(one("fetch c"));
        messages.extend(one("update projects set name = 'mine' where current of c"));
    }
    messages.push(sync());
    let reply = mine.exchange(&messages);
    assert_eq!(shape(&reply), "12DC12C12DC12C12DC12CZ", "{reply:?}");
    mine.ok("commit");
    for id in ["1", "2", "3"] {
        lands(&mut mine, Protocol::Extended, WRITE, &["mine", id]);
    }
    assert_eq!(stage.behind().rows("select distinct version from projects where id < 4"), [["3"]]);
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

#[test]
fn a_cursor_declared_in_the_same_cycle_is_waited_for() {
    let stage = stage();
    let mut mine = stage.session();
    let one = |sql: &str| [parse("", sql, &[]), bind("", &[]), execute("", 0)];
    let mut messages = Vec::new();
    for sql in [
        "begin",
        "declare c cursor for select id, name, version from projects where id = 3",
        "fetch c",
        "update projects set name = 'mine' where current of c",
        "update projects set name = 'again' where current of c",
        "commit",
    ] {
        messages.extend(one(sql));
    }
    messages.push(sync());
    let counted = unchecked(&stage, "current_of");
    assert_eq!(shape(&mine.exchange(&messages)), "12C12C12DC12C12C12CZ");
    lands(&mut mine, Protocol::Simple, WRITE, &["mine", "3"]);
    assert_eq!(
        (stage.version("projects", "id = 3").as_str(), unchecked(&stage, "current_of")),
        ("4", counted)
    );
}

#[test]
fn a_cursor_over_a_join_stands_on_a_row_of_each_table() {
    let stage = stage();
    let declare = "declare c cursor for select p.id, p.version, p.name, f.id, f.version, f.name \
        from projects p join portfolios f on f.id = p.portfolio_id where p.id = $1 for update of p";
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, "begin", &[]);
        mine.say(protocol, declare, &[id]);
        assert_eq!(rows(&mine.say(protocol, "fetch c", &[])).len(), 1);
        lands(&mut mine, protocol, "update projects set name = 'mine' where current of c", &[]);
        mine.say(protocol, "commit", &[]);
        lands(&mut mine, protocol, WRITE, &["mine", id]);
        let write = "update portfolios set name = 'x' where id = '2531439d-3075-46d6-9c19-63e3342fc43e'";
        stage.other_writes(write);
        assert_eq!(sqlstate(&mine.say(protocol, write, &[])), "40001");
    }
}

#[test]
fn keys_of_every_kind() {
    let stage = stage();
    for (table, columns, condition) in [
        ("user_roles", "role_id, user_id, granted_by, version", "user_id = 1 and role_id = 'admin'"),
        ("rates", "code, amount, version", "code = 'it''s'"),
        ("resources", "id, name, version", "id = 9007199254740993"),
        ("portfolios", "id, name, version", "id = '051e3dcf-81ba-49f2-8daa-110ed693f2b6'"),
    ] {
        let set = match table {
            "user_roles" => "granted_by = 'x'",
            "rates" => "amount = 1",
            _ => "name = 'x'",
        };
        for (protocol, _) in BOTH {
            let mut mine = stage.session();
            mine.say(protocol, "begin", &[]);
            let declare = format!("declare c cursor for select {columns} from {table} where {condition}");
            mine.say(protocol, &declare, &[]);
            mine.say(protocol, "fetch c", &[]);
            let through = format!("update {table} set {set} where current of c");
            let directly = format!("update {table} set {set} where {condition}");
            for sql in [&through, &directly, &through] {
                lands(&mut mine, protocol, sql, &[]);
            }
            mine.say(protocol, "commit", &[]);
            mine.say(protocol, "begin", &[]);
            mine.say(protocol, &declare, &[]);
            mine.say(protocol, "fetch c", &[]);
            stage.other_writes(&directly);
            assert_eq!(sqlstate(&mine.say(protocol, &through, &[])), "40001", "{table} {protocol:?}");
            mine.say(protocol, "rollback", &[]);
            assert_eq!(sqlstate(&mine.say(protocol, &directly, &[])), "40001", "{table} {protocol:?}");
        }
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

#[test]
fn a_locking_cursor_leaves_out_what_the_transaction_has_written_since() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, "begin", &[]);
        mine.say(protocol, "declare c cursor for select * from projects where id = $1 for update", &[id]);
        mine.say(protocol, "select * from projects where id = $1", &[id]);
        lands(&mut mine, protocol, WRITE, &["one", id]);
        assert!(rows(&mine.say(protocol, "fetch c", &[])).is_empty());
        mine.say(protocol, "declare d cursor for select * from projects where id = $1 for update", &[id]);
        assert_eq!(rows(&mine.say(protocol, "fetch d", &[])).len(), 1);
        lands(&mut mine, protocol, "update projects set name = 'two' where current of d", &[]);
        lands(&mut mine, protocol, WRITE, &["three", id]);
        mine.say(protocol, "commit", &[]);
        lands(&mut mine, protocol, WRITE, &["four", id]);
        assert_eq!(stage.version("projects", &format!("id = {id}")), "5");
    }
}

#[test]
fn a_returning_through_a_cursor_teaches_what_it_shows() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, "begin", &[]);
        mine.say(protocol, DECLARE, &[id]);
        mine.say(protocol, "fetch c", &[]);
        let reply =
            mine.say(protocol, "update projects set name = 'mine' where current of c returning name", &[]);
        assert_eq!(rows(&reply), [["mine"]]);
        lands(&mut mine, protocol, "update projects set budget = budget + 1 where current of c", &[]);
        mine.say(protocol, "commit", &[]);
        // What a self-relative write has left is not known: it is not taken for another's.
        lands(&mut mine, protocol, WRITE, &["mine", id]);
        assert_eq!(stage.version("projects", &format!("id = {id}")), "4");
    }
}
