//! What a session knows, and what it must not claim to know.

use crate::common::conflict::on_project;
use crate::common::raw::{BOTH, Raw, commands, sqlstate};
use crate::common::twin::{stage, stage_with};

const READ: &str = "select id, name, budget from projects where id = $1";
const WRITE: &str = "update projects set name = $1 where id = $2";

#[test]
fn a_rolled_back_own_write_is_undone_in_what_is_known() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, READ, &[id]);
        mine.say(protocol, "begin", &[]);
        assert_eq!(commands(&mine.say(protocol, WRITE, &["undone", id])), ["UPDATE 1"]);
        assert_eq!(commands(&mine.say(protocol, WRITE, &["undone too", id])), ["UPDATE 1"]);
        mine.say(protocol, "rollback", &[]);
        // Back at version 1: the session's write lands ..
        assert_eq!(commands(&mine.say(protocol, WRITE, &["mine", id])), ["UPDATE 1"]);
        assert_eq!(stage.version("projects", &format!("id = {id}")), "2");
        mine.say(protocol, "begin", &[]);
        assert_eq!(commands(&mine.say(protocol, WRITE, &["undone", id])), ["UPDATE 1"]);
        mine.say(protocol, "rollback", &[]);
        // .. and another user's write to the version that the undone one had is still another's.
        stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
        on_project(id, 2, Some(3)).check(&mine.say(protocol, WRITE, &["mine", id]), 'I');
    }
}

#[test]
fn a_failed_transaction_undoes_its_writes() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, READ, &[id]);
        mine.say(protocol, "begin", &[]);
        assert_eq!(commands(&mine.say(protocol, WRITE, &["undone", id])), ["UPDATE 1"]);
        mine.say(protocol, "select 1 / 0", &[]);
        assert_eq!(commands(&mine.say(protocol, "commit", &[])), ["ROLLBACK"]);
        stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
        on_project(id, 1, Some(2)).check(&mine.say(protocol, WRITE, &["mine", id]), 'I');
    }
}

#[test]
fn a_read_survives_a_rollback() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, "begin", &[]);
        mine.say(protocol, READ, &[id]);
        mine.say(protocol, "rollback", &[]);
        stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
        on_project(id, 1, Some(2)).check(&mine.say(protocol, WRITE, &["mine", id]), 'I');
    }
}

#[test]
fn a_rollback_to_a_savepoint_undoes_the_writes_behind_it_only() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        let condition = format!("id = {id}");
        let mut say = |sql: &str| mine.say(protocol, sql, &[]);
        let write = |text: &str| format!("update projects set name = '{text}' where id = {id}");
        say(&format!("select * from projects where id = {id}"));
        say("begin");
        assert_eq!(commands(&say(&write("kept"))), ["UPDATE 1"]);
        say("savepoint a");
        assert_eq!(commands(&say(&write("undone"))), ["UPDATE 1"]);
        say("savepoint b");
        assert_eq!(commands(&say(&write("undone"))), ["UPDATE 1"]);
        say("release b");
        assert_eq!(commands(&say(&write("undone"))), ["UPDATE 1"]);
        say("rollback to a");
        assert_eq!(commands(&say(&write("kept too"))), ["UPDATE 1"]);
        say("commit");
        assert_eq!(stage.version("projects", &condition), "3");
        stage.other_writes(&write("theirs"));
        on_project(id, 3, Some(4)).check(&say(&write("mine")), 'I');
    }
}

#[test]
fn a_write_undone_by_a_savepoint_frees_the_row_for_others() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, READ, &[id]);
        mine.say(protocol, "begin", &[]);
        mine.say(protocol, "savepoint a", &[]);
        assert_eq!(commands(&mine.say(protocol, WRITE, &["undone", id])), ["UPDATE 1"]);
        mine.say(protocol, "rollback to a", &[]);
        stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
        on_project(id, 1, Some(2)).check(&mine.say(protocol, WRITE, &["mine", id]), 'E');
        mine.say(protocol, "rollback", &[]);
    }
}

#[test]
fn a_narrow_read_does_not_refresh_the_columns_it_did_not_show() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, READ, &[id]);
        stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
        mine.say(protocol, "select budget from projects where id = $1", &[id]);
        mine.say(protocol, "select id, version from projects where id = $1", &[id]);
        on_project(id, 1, Some(2)).check(&mine.say(protocol, WRITE, &["mine", id]), 'I');
        // The budget was seen as it is now.
        let sql = "update projects set budget = $1 where id = $2";
        assert_eq!(commands(&mine.say(protocol, sql, &["5", id])), ["UPDATE 1"]);
        on_project(id, 1, Some(3)).check(&mine.say(protocol, WRITE, &["mine", id]), 'I');
    }
}

#[test]
fn what_shows_no_column_of_the_row_teaches_nothing() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        for sql in [
            "select 1 from projects where id = $1",
            "select id from projects where id = $1",
            "select exists (select from projects where id = $1)",
            "select count(*) from projects where id = $1",
            "select notes.body from notes join projects on projects.id = notes.id where projects.id = $1",
        ] {
            mine.say(protocol, sql, &[id]);
        }
        stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
        assert_eq!(commands(&mine.say(protocol, WRITE, &["mine", id])), ["UPDATE 1"]);
    }
    assert_eq!(stage.conflicts(), 0.0);
}

#[test]
fn a_column_inside_an_expression_counts_as_seen() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, "select upper(name) from projects where id = $1", &[id]);
        stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
        on_project(id, 1, Some(2)).check(&mine.say(protocol, WRITE, &["mine", id]), 'I');
    }
}

#[test]
fn lists_and_joins_teach_every_row_they_show() {
    let stage = stage();
    for (protocol, id) in BOTH {
        for sql in [
            "select name from projects order by id limit 5",
            "select p.name, pf.name from portfolios pf left join projects p on p.portfolio_id = pf.id",
            "select sub.name from (select id, name from projects) sub",
            "select * from projects p join portfolios on portfolios.id = p.portfolio_id for update of p",
        ] {
            let mut mine = stage.session();
            mine.say(protocol, sql, &[]);
            let expected: i64 = stage.version("projects", &format!("id = {id}")).parse().unwrap();
            stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
            let reply = mine.say(protocol, WRITE, &["mine", id]);
            if sql.contains("sub.") && commands(&reply) == ["UPDATE 1"] {
                continue;
            }
            on_project(id, expected, Some(expected + 1)).check(&reply, 'I');
        }
    }
}

#[test]
fn a_self_join_teaches_no_wrong_version() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        stage.other_writes(&format!("update projects set name = 'x' where id = {id}"));
        let sql =
            "select a.id, b.version, a.name from projects a join projects b on b.id = 9 where a.id = $1";
        mine.say(protocol, sql, &[id]);
        // Row 9's version 1 is not this row's.
        assert_eq!(commands(&mine.say(protocol, WRITE, &["mine", id])), ["UPDATE 1"]);
    }
    assert_eq!(stage.conflicts(), 0.0);
}

#[test]
fn returning_teaches_as_a_read_does() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        let sql = "update projects set name = 'first' where id = $1 returning name";
        assert_eq!(commands(&mine.say(protocol, sql, &[id])), ["UPDATE 1"]);
        stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
        on_project(id, 2, Some(3)).check(&mine.say(protocol, WRITE, &["mine", id]), 'I');

        let new = format!("20{id}");
        let sql = "insert into projects (id, name) values ($1, 'new') returning id, name";
        assert_eq!(commands(&mine.say(protocol, sql, &[&new])), ["INSERT 0 1"]);
        stage.other_writes(&format!("update projects set name = 'theirs' where id = {new}"));
        on_project(&new, 1, Some(2)).check(&mine.say(protocol, WRITE, &["mine", &new]), 'I');
    }
}

#[test]
fn what_is_known_goes_with_discard_reset_and_role() {
    let stage = stage();
    for (protocol, id) in BOTH {
        for forget in ["discard all", "reset all", "set role app", "set session authorization app"] {
            let mut mine = stage.session();
            mine.say(protocol, READ, &[id]);
            stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
            mine.query(forget);
            assert_eq!(commands(&mine.say(protocol, WRITE, &["mine", id])), ["UPDATE 1"], "{forget}");
        }
    }
    assert_eq!(stage.conflicts(), 0.0);
}

#[test]
fn other_sessions_do_not_share_what_one_has_seen() {
    let stage = stage();
    for (protocol, id) in BOTH {
        stage.session().say(protocol, READ, &[id]);
        stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
        assert_eq!(commands(&stage.session().say(protocol, WRITE, &["mine", id])), ["UPDATE 1"]);
    }
}

#[test]
fn a_dropped_column_shifts_no_other_columns_version() {
    let stage = stage_with(&["--catalog-max-age", "0s"]);
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, "select id, name from projects where id = $1", &[id]);
        stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
        mine.say(protocol, "select id, budget from projects where id = $1", &[id]);
        stage.behind().ok("alter table projects add gone int; alter table projects drop gone");
        stage.behind().ok("alter table projects drop portfolio_id");
        let reply = mine.say(protocol, "update projects set name = $1 where id = $2", &["mine", id]);
        on_project(id, 1, Some(2)).check(&reply, 'I');
        stage.behind().ok("alter table projects add portfolio_id uuid");
    }
}

#[test]
fn a_worker_that_never_reads_is_not_locked_out_by_a_conflict() {
    for (hold, passes) in [("0s", true), ("1h", false)] {
        let stage = stage_with(&["--observations-conflict-hold", hold]);
        for (protocol, id) in BOTH {
            let write = |session: &mut Raw| {
                let sql = "update projects set name = 'worker' where id = $1 returning name";
                sqlstate(&session.say(protocol, sql, &[id]))
            };
            let others =
                || stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
            // What it knows rests on its own write alone.
            let mut worker = stage.session();
            assert_eq!(write(&mut worker), "");
            others();
            assert_eq!(write(&mut worker), "40001");
            assert_eq!(write(&mut worker), if passes { "" } else { "40001" }, "{hold}");
            // What it has read stays until it reads again, however short that time is.
            let mut reader = stage.session();
            reader.ok(&format!("select * from projects where id = {id}"));
            others();
            for _ in 0..3 {
                assert_eq!(write(&mut reader), "40001", "{hold}");
            }
            reader.ok(&format!("select * from projects where id = {id}"));
            assert_eq!(write(&mut reader), "");
        }
    }
}
