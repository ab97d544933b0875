//! Races that the lost-update test has found, each made small and certain.

use crate::common::conflict::on_project;
use crate::common::frames::{bind, execute, flush, parse, query, sync};
use crate::common::raw::{Raw, commands, sqlstate};
use crate::common::twin::stage;

/// Parse, Bind, Execute.
fn run(sql: &str) -> Vec<u8> {
    [parse("", sql, &[]), bind("", &[]), execute("", 0)].concat()
}

/// Sends statements with a Flush behind each and awaits their completion.
fn flushed(session: &mut Raw, statements: &[&str]) {
    for sql in statements {
        session.send(&[run(sql), flush()].concat());
        session.until('C');
    }
}

#[test]
fn a_write_behind_rollback_to_in_one_query_is_rewritten_like_any_other() {
    let stage = stage();
    let mut mine = stage.session();
    let text = |second: &str| {
        format!(
            "begin; savepoint s; update projects set name = 'undone' where id = 1; rollback to s; {second}; commit"
        )
    };
    // The same row: whether its earlier write stands cannot be awaited, so it only bumps.
    let same = "update projects set name = 'b' where id = 1";
    mine.query(&text(same));
    assert_eq!(stage.version("projects", "id = 1"), "2");
    // Another row is checked.
    let other = "update projects set name = 'b' where id in (2, 3)";
    mine.ok("select * from projects where id = 2");
    mine.query(&text(other));
    assert_eq!(stage.version("projects", "id = 2"), "2");
    mine.ok("select * from projects where id = 2");
    stage.other_writes("update projects set name = 'theirs' where id = 2");
    let mut reply = mine.query(&text(other));
    assert_eq!(commands(&reply), ["BEGIN", "SAVEPOINT", "UPDATE 1", "ROLLBACK"]);
    reply.retain(|frame| frame.tag != b'C');
    on_project("2", 2, Some(3)).check(&reply, 'E');
    mine.ok("rollback");
    // Behind a change of names that it may take back nothing is certain: it is not read as a write of the table.
    mine.ok("begin");
    mine.ok("savepoint s");
    mine.ok("set local search_path = pg_catalog");
    mine.ok("rollback to s; update projects set name = 'b' where id = 4; commit");
    assert_eq!(stage.version("projects", "id = 4"), "1");
    assert!(stage.proxy.metric("staleguard_unchecked_writes_total", &[("reason", "unparsed")]) > 0.0);
}

#[test]
fn a_guarded_write_waits_for_a_rollback_to_that_undoes_an_own_write() {
    let stage = stage();
    for (end, commit) in [("rollback to s", "commit"), ("rollback", "begin")] {
        let mut mine = stage.session();
        let version: i64 = stage.version("projects", "id = 1").parse().unwrap();
        mine.ok("select * from projects where id = 1");
        let upsert = "insert into projects (id, name) values (1, 'b') on conflict (id) do update set name = excluded.name";
        let cycles =
            ["begin", "savepoint s", "update projects set name = 'a' where id = 1", end, upsert, commit];
        let messages: Vec<Vec<u8>> = cycles.iter().map(|sql| [run(sql), sync()].concat()).collect();
        mine.send(&messages.concat());
        let reply = mine.until_ready(cycles.len());
        assert_eq!(sqlstate(&reply), "", "{reply:?}");
        assert_eq!(stage.version("projects", "id = 1"), (version + 1).to_string());
    }
    assert_eq!(stage.conflicts(), 0.0);
}

#[test]
fn a_guarded_write_behind_what_forgets_everything_is_blind() {
    let stage = stage();
    let upsert =
        "insert into projects (id, name) values (1, 'b') on conflict (id) do update set name = excluded.name";
    for (n, forgets) in ["discard all", "reset all", "set session authorization app"].into_iter().enumerate()
    {
        let mut mine = stage.session();
        mine.ok("select * from projects where id = 1");
        stage.other_writes("update projects set name = 'theirs' where id = 1");
        mine.send(&[query(forgets), run(upsert), sync()].concat());
        let reply = mine.until_ready(2);
        assert_eq!(sqlstate(&reply), "", "{forgets}: {reply:?}");
        assert_eq!(stage.version("projects", "id = 1"), (2 * n + 3).to_string());
    }
}

#[test]
fn a_write_behind_a_commit_in_the_same_cycle_is_checked() {
    let stage = stage();
    for write in [
        "update projects set name = 'b' where id in (1, 2)",
        "update projects set name = 'b' where id = 1",
        "insert into projects (id, name) values (1, 'b') on conflict (id) do update set name = excluded.name",
    ] {
        let mut mine = stage.session();
        mine.ok("select * from projects where id in (1, 2)");
        let version: i64 = stage.version("projects", "id = 1").parse().unwrap();
        flushed(&mut mine, &["begin", "update projects set name = 'a' where id in (1, 2)", "commit"]);
        stage.other_writes("update projects set name = 'theirs' where id = 1");
        let reply = mine.exchange(&[run("begin"), run(write), run("commit"), sync()]);
        assert_eq!(commands(&reply), ["BEGIN"], "{write}: {reply:?}");
        let failed = &reply[reply.len() - 2..];
        on_project("1", version + 1, Some(version + 2)).check(failed, 'E');
        mine.ok("rollback");
        assert_eq!(stage.version("projects", "id = 1"), (version + 2).to_string());
    }
}
