//! Two users with one row: the write that came too late is refused, the write that lands bumps.

use crate::common::conflict::on_project;
use crate::common::raw::{BOTH, Raw, commands, sqlstate, status};
use crate::common::twin::{Stage, stage};

const READ: &str = "select id, name, budget from projects where id = $1";
const WRITE: &str = "update projects set name = $1 where id = $2";

fn other_user_writes(stage: &Stage, id: &str) {
    stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
}

fn name(stage: &Stage, id: &str) -> String {
    stage.behind().value(&format!("select name from projects where id = {id}"))
}

#[test]
fn a_stale_write_in_autocommit_is_refused_and_a_fresh_one_lands() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, READ, &[id]);
        other_user_writes(&stage, id);
        let reply = mine.say(protocol, WRITE, &["mine", id]);
        let detail = on_project(id, 1, Some(2)).check(&reply, 'I');
        assert_eq!(detail["current_state"], serde_json::json!({"name": "theirs"}));
        assert_eq!(
            (name(&stage, id), stage.version("projects", &format!("id = {id}"))),
            ("theirs".into(), "2".into())
        );

        mine.say(protocol, READ, &[id]);
        assert_eq!(commands(&mine.say(protocol, WRITE, &["mine", id])), ["UPDATE 1"]);
        assert_eq!(
            (name(&stage, id), stage.version("projects", &format!("id = {id}"))),
            ("mine".into(), "3".into())
        );
    }
    assert_eq!(stage.conflicts(), 2.0);
    let labels = [("entity_type", "project"), ("environment", "production")];
    assert_eq!(stage.proxy.metric("version_conflicts_total", &labels), 2.0);
}

#[test]
fn a_refused_write_stays_refused_until_the_row_is_read_again() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, READ, &[id]);
        other_user_writes(&stage, id);
        for _ in 0..3 {
            on_project(id, 1, Some(2)).check(&mine.say(protocol, WRITE, &["mine", id]), 'I');
        }
    }
}

#[test]
fn in_a_transaction_the_backend_really_fails() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.ok("begin");
        mine.say(protocol, READ, &[id]);
        other_user_writes(&stage, id);
        on_project(id, 1, Some(2)).check(&mine.say(protocol, WRITE, &["mine", id]), 'E');
        let state = "select state from pg_stat_activity where pid = ";
        assert_eq!(stage.behind().value(&format!("{state}{}", mine.pid())), "idle in transaction (aborted)");
        let reply = mine.say(protocol, "select 1", &[]);
        assert_eq!((sqlstate(&reply), status(&reply)), ("25P02".into(), 'E'));
        let reply = mine.say(protocol, "commit", &[]);
        assert_eq!((commands(&reply), status(&reply)), (vec!["ROLLBACK".to_owned()], 'I'));
        assert_eq!(name(&stage, id), "theirs");
    }
}

#[test]
fn rollback_to_savepoint_recovers_and_the_session_goes_on() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.ok("begin");
        assert_eq!(
            commands(&mine.say(protocol, "update projects set status = 'kept' where id = 3", &[])),
            ["UPDATE 1"]
        );
        mine.say(protocol, READ, &[id]);
        mine.ok("savepoint before_write");
        other_user_writes(&stage, id);
        on_project(id, 1, Some(2)).check(&mine.say(protocol, WRITE, &["mine", id]), 'E');
        let reply = mine.say(protocol, "rollback to savepoint before_write", &[]);
        assert_eq!((commands(&reply), status(&reply)), (vec!["ROLLBACK".to_owned()], 'T'));
        mine.say(protocol, READ, &[id]);
        assert_eq!(commands(&mine.say(protocol, WRITE, &["mine", id])), ["UPDATE 1"]);
        assert_eq!(commands(&mine.say(protocol, "commit", &[])), ["COMMIT"]);
        assert_eq!(
            (name(&stage, id), stage.version("projects", &format!("id = {id}"))),
            ("mine".into(), "3".into())
        );
        assert_eq!(stage.behind().value("select status from projects where id = 3"), "kept");
        stage.behind().ok("update projects set status = 'open' where id = 3");
    }
}

#[test]
fn own_writes_follow_each_other_without_reading() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, READ, &[id]);
        for text in ["a", "b", "c"] {
            assert_eq!(commands(&mine.say(protocol, WRITE, &[text, id])), ["UPDATE 1"]);
        }
        mine.ok("begin");
        for text in ["d", "e"] {
            assert_eq!(commands(&mine.say(protocol, WRITE, &[text, id])), ["UPDATE 1"]);
        }
        mine.ok("commit");
        assert_eq!(commands(&mine.say(protocol, WRITE, &["f", id])), ["UPDATE 1"]);
        assert_eq!(stage.version("projects", &format!("id = {id}")), "7");
        other_user_writes(&stage, id);
        on_project(id, 7, Some(8)).check(&mine.say(protocol, WRITE, &["g", id]), 'I');
    }
}

#[test]
fn every_update_that_lands_bumps_the_version() {
    let stage = stage();
    let mut mine = stage.session();
    let statements = [
        ("update projects set name = 'a' where id = 3", "UPDATE 1"),
        ("UPDATE \"projects\" SET \"name\"='b' WHERE \"projects\".\"id\" = 3", "UPDATE 1"),
        ("update public.projects as p set name = 'c' where p.id = 3", "UPDATE 1"),
        ("update only projects p set (name, status) = ('d', 'x') where 3 = p.id", "UPDATE 1"),
        ("update projects set budget = budget + 1 where id = 3", "UPDATE 1"),
        ("update projects set name = 'e', version = version + 1 where id = 3", "UPDATE 1"),
        ("update projects set name = 'f' where id in (3)", "UPDATE 1"),
        ("update projects set name = 'g' where id = any (array[3])", "UPDATE 1"),
        ("update projects set name = 'h' where id between 3 and 3", "UPDATE 1"),
        (
            "update projects set name = v.n from (values (3, 'i')) v(id, n) where projects.id = v.id",
            "UPDATE 1",
        ),
        ("with w as (update projects set name = 'j' where id = 3 returning id) select * from w", "SELECT 1"),
        ("update projects set name = 'k' /* where */ where id = 3 -- done", "UPDATE 1"),
        ("update projects set name = $$where id = 4$$ where id = 3;", "UPDATE 1"),
        (
            "insert into projects (id, name) values (3, 'l') on conflict (id) do update set name = excluded.name",
            "INSERT 0 1",
        ),
        (
            "merge into projects p using (values (3)) v(id) on p.id = v.id when matched then update set name = 'm'",
            "MERGE 1",
        ),
        ("update projects set name = 'n'", "UPDATE 9"),
    ];
    for (bumps, (sql, tag)) in statements.into_iter().enumerate() {
        let reply = mine.query(sql);
        assert_eq!(commands(&reply), [tag], "{sql}: {reply:?}");
        assert_eq!(stage.version("projects", "id = 3"), (bumps + 2).to_string(), "{sql}");
    }
    let rewritten =
        stage.behind().value(&format!("select query from pg_stat_activity where pid = {}", mine.pid()));
    assert!(rewritten.contains("set name = 'n'"), "{rewritten}");
    assert_eq!(stage.conflicts(), 0.0);
}

#[test]
fn the_text_around_the_splices_survives_byte_for_byte() {
    let stage = stage();
    let mut mine = stage.session();
    let sql = "/* app:'shop' */ UPDATE\n  projects  /*+ Hint */ SET\tname  =  'x'  WHERE id=4  -- traceparent='00-1'\n";
    assert_eq!(mine.ok(sql), "UPDATE 1");
    let sent =
        stage.behind().value(&format!("select query from pg_stat_activity where pid = {}", mine.pid()));
    let mut rest = sent.as_str();
    for piece in [
        "/* app:'shop' */ UPDATE\n  projects  /*+ Hint */ SET\tname  =  'x'",
        "WHERE ",
        "id=4",
        "-- traceparent='00-1'",
    ] {
        let at = rest.find(piece).unwrap_or_else(|| panic!("{piece:?} is not in {sent:?}"));
        rest = &rest[at + piece.len()..];
    }
}

#[test]
fn an_explicit_version_is_respected() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        let version = |stage: &Stage| stage.version("projects", &format!("id = {id}"));
        let mut write = |sql: &str, values: &[&str]| mine.say(protocol, sql, values);
        // The app guards itself: the increment is added where it brings none.
        let sql = "update projects set name = 'a' where id = $1 and version = $2";
        assert_eq!(commands(&write(sql, &[id, "1"])), ["UPDATE 1"]);
        assert_eq!(version(&stage), "2");
        let sql = "update projects set name = 'b', version = $3 where id = $1 and version = $2";
        assert_eq!(commands(&write(sql, &[id, "2", "3"])), ["UPDATE 1"]);
        assert_eq!(version(&stage), "3");
        // Its own stale-object error rests on the plain zero.
        let conflicts = stage.conflicts();
        let sql = "update projects set name = 'c' where id = $1 and version = $2";
        assert_eq!(commands(&write(sql, &[id, "2"])), ["UPDATE 0"]);
        assert_eq!(stage.conflicts(), conflicts + 1.0);
        // Written back by an ORM that writes all columns.
        let sql = "update projects set name = 'd', version = $2 where id = $1";
        assert_eq!(commands(&write(sql, &[id, "3"])), ["UPDATE 1"]);
        assert_eq!(version(&stage), "4");
        on_project(id, 2, Some(4)).check(&write(sql, &[id, "2"]), 'I');
    }
}

#[test]
fn a_write_of_a_row_never_read_is_blind_and_bumps() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        other_user_writes(&stage, id);
        assert_eq!(commands(&mine.say(protocol, WRITE, &["mine", id])), ["UPDATE 1"]);
        assert_eq!(stage.version("projects", &format!("id = {id}")), "3");
    }
    assert_eq!(stage.conflicts(), 0.0);
}

#[test]
fn self_relative_writes_are_not_checked_but_bump() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, READ, &[id]);
        other_user_writes(&stage, id);
        let sql = "update projects set budget = budget + $1 where id = $2";
        assert_eq!(commands(&mine.say(protocol, sql, &["5", id])), ["UPDATE 1"]);
        assert_eq!(stage.version("projects", &format!("id = {id}")), "3");
        // It showed nothing of the row: the name is still known from before the other user's write.
        let reply = mine.say(protocol, WRITE, &["mine", id]);
        assert_eq!((sqlstate(&reply), name(&stage, id)), ("40001".into(), "theirs".into()), "{reply:?}");
    }
}

#[test]
fn an_own_self_relative_write_makes_no_conflict_later() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, READ, &[id]);
        for _ in 0..2 {
            let sql = "update projects set budget = budget + $1 where id = $2";
            assert_eq!(commands(&mine.say(protocol, sql, &["5", id])), ["UPDATE 1"]);
        }
        assert_eq!(commands(&mine.say(protocol, WRITE, &["mine", id])), ["UPDATE 1"]);
        assert_eq!(stage.version("projects", &format!("id = {id}")), "4");
    }
}

/// Sends a write without awaiting its reply, and returns once the server has it waiting for a lock.
fn send_and_block(stage: &Stage, mine: &mut Raw, sql: &str) {
    mine.send(&crate::common::frames::query(sql));
    let waits = format!("select count(*) from pg_locks where pid = {} and not granted", mine.pid());
    let mut judge = stage.behind();
    let end = std::time::Instant::now() + crate::common::LIMIT;
    while judge.value(&waits) == "0" {
        assert!(std::time::Instant::now() < end, "the write never waited");
    }
}

#[test]
fn a_lock_wait_that_ends_in_the_others_commit_is_a_conflict() {
    let stage = stage();
    for (block, id) in [("", "1"), ("begin", "2")] {
        let mut mine = stage.session();
        mine.query(block);
        mine.ok(&format!("select * from projects where id = {id}"));
        let mut theirs = stage.session();
        theirs.ok("begin");
        theirs.ok(&format!("update projects set name = 'theirs' where id = {id}"));
        send_and_block(&stage, &mut mine, &format!("update projects set name = 'mine' where id = {id}"));
        theirs.ok("commit");
        on_project(id, 1, Some(2)).check(&mine.until_ready(1), if block.is_empty() { 'I' } else { 'E' });
        assert_eq!(name(&stage, id), "theirs");
    }
}

#[test]
fn a_lock_wait_that_ends_in_the_others_rollback_lets_the_write_land() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("select * from projects where id = 1");
    let mut theirs = stage.session();
    theirs.ok("begin");
    theirs.ok("update projects set name = 'theirs' where id = 1");
    send_and_block(&stage, &mut mine, "update projects set name = 'mine' where id = 1");
    theirs.ok("rollback");
    assert_eq!(commands(&mine.until_ready(1)), ["UPDATE 1"]);
    assert_eq!((name(&stage, "1"), stage.version("projects", "id = 1")), ("mine".into(), "2".into()));
}

#[test]
fn a_checked_write_that_the_server_refuses_holds_nobody_up() {
    let stage = stage();
    for block in [false, true] {
        for sql in [
            "update projects set name = 'x' where id = 1 and nowhere = 1",
            "update projects set name = 'x' where id = 1 and",
            "update projects set budget = 1 / 0 where id = 1",
            "update projects set portfolio_id = '00000000-0000-0000-0000-000000000000' where id = 1",
        ] {
            let mut mine = stage.session();
            mine.ok("select * from projects");
            if block {
                mine.ok("begin");
            }
            assert!(!sqlstate(&mine.query(sql)).is_empty(), "{sql}");
            mine.ok("rollback");
            assert_eq!(mine.value("select 1"), "1", "{sql}");
            assert!(!sqlstate(&mine.extended(sql, &[])).is_empty(), "{sql}");
            assert_eq!(mine.value("select 1"), "1", "{sql}");
        }
    }
}
