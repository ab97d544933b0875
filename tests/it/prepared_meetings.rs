//! PREPARE, EXECUTE and DELETE where they meet views, cursors, lists of keys, hints and strict tables.

use crate::common::conflict::on_project;
use crate::common::frames::{bind, execute, parse, query, sync};
use crate::common::raw::{BOTH, commands, error, sqlstate, status};
use crate::common::twin::{Stage, stage};
use crate::settings::configured;

const ALL: &str = "select * from projects";

fn other_writes(stage: &Stage, id: u32) {
    stage.other_writes(&format!("update projects set budget = 0 where id = {id}"));
}

fn strict() -> Stage {
    configured("blind = 'reject'\n[tables.projects]\n")
}

fn is_blind(reply: &[crate::common::frames::Frame]) -> bool {
    let message = error(reply).and_then(|e| e.field('M')).unwrap_or_default();
    sqlstate(reply) == "40001" && message.starts_with("blind write on project")
}

#[test]
fn deletes_of_one_row_in_a_batch_on_a_strict_table() {
    let stage = strict();
    let batch = |ids: [&str; 2]| {
        let mut messages = vec![parse("d", "delete from projects where id = $1", &[])];
        for id in ids {
            messages.extend([bind("d", &[id]), execute("", 0)]);
        }
        messages.push(sync());
        messages
    };
    let mut mine = stage.session();
    mine.ok("select * from projects where id = 1");
    // The second one nobody has read: none goes.
    let reply = mine.exchange(&batch(["1", "2"]));
    assert!(is_blind(&reply), "{reply:?}");
    assert_eq!(stage.behind().value("select count(*) from projects where id < 3"), "2");
    mine.query("deallocate d");
    mine.ok("select * from projects where id < 3");
    assert_eq!(commands(&mine.exchange(&batch(["1", "2"]))), ["DELETE 1", "DELETE 1"]);
    // In one Query.
    let mut mine = stage.session();
    mine.ok("select * from projects where id = 3");
    let reply = mine.query("delete from projects where id = 3; delete from projects where id = 4");
    assert!(is_blind(&reply), "{reply:?}");
    mine.ok("select * from projects where id = 4");
    assert_eq!(mine.ok("delete from projects where id = 3; delete from projects where id = 4"), "DELETE 1");
    assert_eq!(stage.behind().value("select count(*) from projects where id < 5"), "0");
}

#[test]
fn an_execute_of_what_a_parse_made_on_a_strict_table() {
    let stage = strict();
    for (sql, run) in [
        ("update projects set name = $1 where id = $2", "execute s ('x', 1)"),
        ("update projects set name = $1 where id in ($2, 2)", "execute s ('x', 1)"),
        ("delete from projects where id = $1", "execute s (1)"),
    ] {
        let mut mine = stage.session();
        mine.exchange(&[parse("s", sql, &[]), sync()]);
        for reply in [mine.query(run), mine.extended(run, &[]), mine.query(&format!("begin; {run}"))] {
            assert!(is_blind(&reply), "{sql}: {reply:?}");
        }
        mine.ok("rollback");
        mine.ok(ALL);
        other_writes_strictly(&stage);
        assert_eq!(sqlstate(&mine.query(run)), "40001", "{sql}");
        mine.ok(ALL);
        let reply = mine.query(run);
        assert!(error(&reply).is_none(), "{sql}: {reply:?}");
    }
}

/// As [`other_writes`] of row 1, by who has read it.
fn other_writes_strictly(stage: &Stage) {
    let mut other = stage.session();
    other.ok("select * from projects where id = 1");
    assert_eq!(other.ok("update projects set budget = 0 where id = 1"), "UPDATE 1");
}

#[test]
fn current_of_inside_prepare() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("begin; declare c cursor for select id, name, version from projects where id = 1");
    // PostgreSQL plans it when it is run.
    mine.ok("prepare w (text) as update projects set name = $1 where current of c");
    mine.ok("fetch 1 from c");
    assert_eq!(mine.ok("execute w ('x')"), "UPDATE 1");
    mine.ok("commit");
    assert_eq!(stage.version("projects", "id = 1"), "2");
    // Stale: another has written the row since the cursor has shown it.
    let mut mine = stage.session();
    mine.ok("begin; declare c cursor for select id, name, version from projects where id = 2");
    mine.ok("prepare w (text) as update projects set name = $1 where current of c");
    mine.ok("fetch 1 from c");
    other_writes(&stage, 2);
    let reply = mine.query("execute w ('x')");
    assert_eq!((sqlstate(&reply).as_str(), status(&reply)), ("40001", 'E'), "{reply:?}");
}

#[test]
fn a_delete_through_a_view_with_prepare() {
    let stage = stage();
    stage
        .behind()
        .ok("create view open_projects as select id, name, version from projects where status = 'open'");
    for (name, run, row) in [
        ("d (int) as delete from open_projects where id = $1", "execute d (1)", 1),
        ("l as delete from open_projects where id in (2, 3) returning id", "execute l", 2),
    ] {
        let mut mine = stage.session();
        mine.ok(&format!("prepare {name}"));
        mine.ok("select * from open_projects");
        other_writes(&stage, row);
        assert_eq!(sqlstate(&mine.query(run)), "40001", "{name}");
        assert_eq!(sqlstate(&mine.extended(run, &[])), "40001", "{name}");
        mine.ok("select * from open_projects");
        mine.ok(run);
    }
    assert_eq!(stage.behind().value("select count(*) from projects where id < 4"), "0");
}

#[test]
fn lists_of_keys_in_the_arguments_of_execute() {
    let stage = stage();
    let prepared = "prepare w (int[]) as update projects set status = 'x' where id = any ($1)";
    let mut mine = stage.session();
    mine.ok(prepared);
    mine.ok(ALL);
    other_writes(&stage, 1);
    for run in [
        "execute w ('{1,2}')",
        "execute w (array[2, 1])",
        "execute w ('{1}'::int[])",
        "execute w (array[1]::int[])",
    ] {
        on_project("1", 1, Some(2)).check(&mine.query(run), 'I');
        on_project("1", 1, Some(2)).check(&mine.extended(run, &[]), 'I');
    }
    // Rows that are not named are not looked at, and stay known.
    assert_eq!(mine.ok("execute w ('{2,3}')"), "UPDATE 2");
    assert_eq!(mine.ok("execute w (array[2, 3])"), "UPDATE 2");
    assert_eq!(mine.ok("execute w ('{}')"), "UPDATE 0");
    assert_eq!(mine.ok("execute w (null)"), "UPDATE 0");
    on_project("1", 1, Some(2)).check(&mine.query("update projects set name = 'x' where id = 1"), 'I');
    other_writes(&stage, 4);
    on_project("4", 1, Some(2)).check(&mine.query("update projects set name = 'x' where id = 4"), 'I');
}

#[test]
fn a_set_delete_beside_an_open_cursor() {
    let stage = stage();
    for (protocol, _) in BOTH {
        let mut mine = stage.session();
        mine.ok("begin; declare c cursor for select id, name, version from projects order by id");
        mine.ok("fetch 2 from c");
        let seen = stage.behind().rows("select id, version from projects order by id limit 1").concat();
        let id: u32 = seen[0].parse().unwrap();
        other_writes(&stage, id);
        let sql = format!("delete from projects where id < {} and budget >= $1", id + 1);
        let reply = mine.say(protocol, &sql, &["0"]);
        assert_eq!((sqlstate(&reply).as_str(), status(&reply)), ("40001", 'E'), "{reply:?}");
        mine.ok("rollback");
        // Fresh: it goes, and what the cursor shows of it then teaches nothing.
        let mut mine = stage.session();
        mine.ok("begin; declare c cursor for select id, name, version from projects order by id");
        mine.ok(ALL);
        assert_eq!(commands(&mine.say(protocol, &sql, &["0"])), ["DELETE 1"]);
        assert_eq!(mine.ok("fetch 1 from c"), "FETCH 1");
        let reply = mine.query(&format!("update projects set name = 'x' where id = {id}"));
        assert_eq!(commands(&reply), ["UPDATE 0"], "{reply:?}");
        mine.ok("commit");
    }
}

#[test]
fn a_hint_in_the_comment_of_an_execute() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("prepare w (text, int) as update projects set name = $1 where id = $2");
    mine.ok("prepare s as update projects set status = 'x' where budget > 0");
    other_writes(&stage, 1);
    for hinted in
        ["/* expected_version=1 */ execute w ('a', 1)", "execute w ('a', 1) /*expected_version='1'*/"]
    {
        on_project("1", 1, Some(2)).check(&mine.query(hinted), 'I');
        on_project("1", 1, Some(2)).check(&mine.extended(hinted, &[]), 'I');
        let reply = mine.exchange(&[query(&format!("select 1; {hinted}"))]);
        assert_eq!(sqlstate(&reply), "40001", "{reply:?}");
    }
    assert_eq!(mine.ok("/* expected_version=2 */ execute w ('a', 1)"), "UPDATE 1");
    // It goes before what has been seen, and counts for one row named alone.
    mine.ok("select * from projects where id = 1");
    on_project("1", 9, Some(3)).check(&mine.query("/* expected_version=9 */ execute w ('b', 1)"), 'I');
    assert_eq!(mine.ok("execute w ('b', 1)"), "UPDATE 1");
    assert_eq!(mine.ok("/* expected_version=77 */ execute s"), "UPDATE 8");
}

#[test]
fn an_execute_behind_a_write_that_was_undone_in_one_pipeline() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("prepare s (text, int) as update projects set name = $1 where id = $2");
    for fresh in [true, false] {
        mine.ok(ALL);
        if !fresh {
            other_writes(&stage, 1);
        }
        let texts = [
            "begin",
            "savepoint a",
            "update projects set budget = budget + 1 where id = 1",
            "rollback to a",
            "execute s ('x', 1)",
            "commit",
        ];
        let messages =
            texts.iter().flat_map(|text| [parse("", text, &[]), bind("", &[]), execute("", 0), sync()]);
        mine.send(&messages.collect::<Vec<_>>().concat());
        let reply = mine.until_ready(texts.len());
        let (code, end) = if fresh { ("", "COMMIT") } else { ("40001", "ROLLBACK") };
        assert_eq!(sqlstate(&reply), code);
        assert_eq!(commands(&reply).last().map(String::as_str), Some(end));
    }
}

#[test]
fn an_execute_behind_what_ends_a_failed_block_in_one_send() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("prepare s (text, int) as update projects set name = $1 where id = $2");
    for ends in ["rollback to a", "rollback"] {
        for fresh in [true, false] {
            mine.ok("rollback");
            mine.ok(ALL);
            if !fresh {
                other_writes(&stage, 1);
            }
            mine.ok("begin; savepoint a");
            assert_eq!(status(&mine.query("select 1 / 0")), 'E');
            // The proxy has yet to hear that the block lives again.
            let texts = [ends, "execute s ('x', 1)"];
            let messages =
                texts.iter().flat_map(|text| [parse("", text, &[]), bind("", &[]), execute("", 0), sync()]);
            mine.send(&messages.collect::<Vec<_>>().concat());
            let reply = mine.until_ready(2);
            assert_eq!(sqlstate(&reply), if fresh { "" } else { "40001" }, "{ends}");
        }
    }
}
