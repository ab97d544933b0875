//! `blind = "reject"`: who writes a row must have read it.

use crate::common::conflict::on_project;
use crate::common::frames::{Frame, bind, execute, parse, query, sync};
use crate::common::raw::{BOTH, Protocol, Raw, commands, error, rows, sqlstate, status};
use crate::common::twin::Stage;
use crate::settings::configured;

fn strict() -> Stage {
    configured(
        "blind = 'reject'\n[tables.projects]\n[tables.user_roles]\n[tables.rates]\n[tables.users]\nblind = 'allow'\n",
    )
}

/// Demands the error for a blind write of this project, and the status behind it.
fn refused(reply: &[Frame], id: &str, actual: i64, after: char) {
    let error = error(reply).unwrap_or_else(|| panic!("no error: {reply:?}"));
    let field = |code| error.field(code).unwrap_or_default();
    assert_eq!(field('M'), format!("blind write on project {id}: this connection has not read the row"));
    assert_eq!((field('C'), field('n')), ("40001".to_owned(), "projects_version_conflict".to_owned()));
    let detail: serde_json::Value = serde_json::from_str(&field('D')).unwrap();
    assert_eq!(detail["entity_type"], "project");
    assert_eq!(detail["entity_id"], id);
    assert_eq!(detail["expected_version"], serde_json::Value::Null);
    assert_eq!(detail["actual_version"], actual);
    assert!(field('H').starts_with("Read the row first"), "{error:?}");
    assert_eq!(reply.iter().filter(|f| f.tag == b'E').count(), 1, "{reply:?}");
    assert_eq!(status(reply), after, "{reply:?}");
}

fn version(stage: &Stage, id: &str) -> i64 {
    stage.version("projects", &format!("id = {id}")).parse().unwrap()
}

#[test]
fn a_point_write_of_a_row_nobody_read_is_refused() {
    let stage = strict();
    for (protocol, id) in BOTH {
        for (sql, shows_state) in [
            ("update projects set name = 'mine' where id = $1", true),
            ("update projects set name = 'mine' where id = $1 and status = 'open' returning name", true),
            ("delete from projects where id = $1", false),
        ] {
            let mut mine = stage.session();
            let reply = mine.say(protocol, sql, &[id]);
            refused(&reply, id, 1, 'I');
            let detail = error(&reply).and_then(|e| e.field('D')).unwrap();
            assert_eq!(detail.contains(&format!("\"name\": \"project {id}\"")), shows_state, "{detail}");
            // In a block the server has failed.
            mine.ok("begin");
            refused(&mine.say(protocol, sql, &[id]), id, 1, 'E');
            assert_eq!(sqlstate(&mine.query("select 1")), "25P02");
            assert_eq!(mine.ok("commit"), "ROLLBACK");
        }
        assert_eq!(version(&stage, id), 1);
        // Another condition does not hold, or there is no such row: the server's own answer.
        let mut mine = stage.session();
        let sql = "update projects set name = 'mine' where id = $1 and status = 'closed'";
        assert_eq!(commands(&mine.say(protocol, sql, &[id])), ["UPDATE 0"]);
        assert_eq!(
            commands(&mine.say(protocol, "update projects set name = 'x' where id = $1", &["77"])),
            ["UPDATE 0"]
        );
        assert_eq!(
            commands(&mine.say(protocol, "delete from projects where id = $1", &["77"])),
            ["DELETE 0"]
        );
        // Read first, it lands, and again; then the row may go.
        mine.say(protocol, "select name from projects where id = $1", &[id]);
        let sql = "update projects set name = 'mine' where id = $1";
        for _ in 0..2 {
            assert_eq!(commands(&mine.say(protocol, sql, &[id])), ["UPDATE 1"]);
        }
        assert_eq!(version(&stage, id), 3);
        assert_eq!(commands(&mine.say(protocol, "delete from projects where id = $1", &[id])), ["DELETE 1"]);
    }
    let refused = [("entity_type", "project"), ("outcome", "blind_refused")];
    assert_eq!(stage.proxy.metric("staleguard_writes_total", &refused), 12.0);
    assert_eq!(stage.proxy.metric("staleguard_writes_total", &[("outcome", "blind")]), 0.0);
    assert_eq!(stage.conflicts(), 0.0);
    let line = stage.proxy.log().wait(|l| l.contains("blind write on project 1"));
    assert!(line.is_some_and(|l| l.contains("\"cause\":\"never_read\"") && !l.contains("mine")));
}

#[test]
fn what_is_not_blind_lands() {
    let stage = strict();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        for (sql, tag) in [
            ("update projects set budget = budget + 1 where id = $1", "UPDATE 1"),
            ("update projects set name = 'a', version = 2 where id = $1", "UPDATE 1"),
            ("update projects set name = 'b' where id = $1 and version = 3", "UPDATE 1"),
            ("/* expected_version=4 */ update projects set name = 'c' where id = $1", "UPDATE 1"),
            ("insert into projects (id, name) values (1000 + $1::int, 'new')", "INSERT 0 1"),
            (
                "insert into projects (id) values (2000 + $1::int) on conflict (id) do update set name = 'x'",
                "INSERT 0 1",
            ),
        ] {
            let reply = mine.say(protocol, sql, &[id]);
            assert_eq!(commands(&reply), [tag], "{sql}: {reply:?}");
        }
        assert_eq!(version(&stage, id), 5);
        // The upsert of a row that is there is a blind write.
        let sql = "insert into projects (id) values ($1) on conflict (id) do update set name = 'x'";
        assert_eq!(sqlstate(&stage.session().say(protocol, sql, &[id])), "40001");
        // A table of its own mind.
        let sql = "update users set email = 'x' where id = $1";
        assert_eq!(commands(&mine.say(protocol, sql, &[id])), ["UPDATE 1"]);
    }
}

#[test]
fn a_hint_counts_where_nobody_has_read_the_row() {
    for stage in [strict(), crate::common::twin::stage()] {
        for (protocol, id) in BOTH {
            let mut mine = stage.session();
            let write =
                |n: i64| format!("/* expected_version={n} */ update projects set name = 'c' where id = $1");
            let reply = mine.say(protocol, &write(4), &[id]);
            on_project(id, 4, Some(1)).check(&reply, 'I');
            assert_eq!(commands(&mine.say(protocol, &write(1), &[id])), ["UPDATE 1"]);
            assert_eq!(version(&stage, id), 2);
        }
    }
}

#[test]
fn rows_of_batches_and_set_writes_are_refused_one_and_all() {
    let stage = strict();
    let set_writes = [
        "update projects set name = 'x' where id in (1, 2)",
        "update projects set name = 'x' where status = 'open'",
        "update projects set name = 'x'",
        "update projects set name = 'x' where id = 1; select 1",
        "begin; update projects set name = 'x' where id = 1; commit",
        "with w as (update projects set name = 'x' where id = 1 returning id) select * from w",
        "update projects p set name = v.n from (values (1, 'k')) v(id, n) where p.id = v.id",
        "merge into projects p using (values (1)) v(id) on p.id = v.id when matched then update set name = 'i'",
        "explain analyze update projects set name = 'x' where id = 1",
        "update projects set name = 'x' where id = 1 + 0",
    ];
    for sql in set_writes {
        // Nobody has read row 1; others have been read, where there are others.
        let mut mine = stage.session();
        mine.ok("select * from projects where id <> 1");
        let reply = mine.query(sql);
        refused(&reply, "1", 1, if sql.starts_with("begin") { 'E' } else { 'I' });
        if !sql.contains(';') {
            let reply = mine.extended(sql, &[]);
            refused(&reply, "1", 1, 'I');
        }
    }
    assert_eq!(version(&stage, "1"), 1);
    for sql in set_writes {
        let mut mine = stage.session();
        mine.ok("select * from projects");
        assert!(!mine.ok(sql).is_empty());
        if !sql.contains(';') {
            mine.ok("select * from projects");
            assert!(error(&mine.extended(sql, &[])).is_none(), "{sql}");
        }
    }
    // Zero rows, whoever has read what.
    assert_eq!(stage.session().ok("update projects set name = 'x' where status = 'none'"), "UPDATE 0");
}

#[test]
fn batches_of_the_extended_protocol() {
    let stage = strict();
    let two = |mine: &mut Raw, ids: [&str; 2]| {
        mine.exchange(&[
            parse("w", "update projects set name = $2 where id = $1", &[]),
            bind("w", &[ids[0], "first"]),
            execute("", 0),
            bind("w", &[ids[1], "second"]),
            execute("", 0),
            sync(),
        ])
    };
    let mut mine = stage.session();
    mine.ok("select * from projects where id in (1, 2)");
    let reply = two(&mut mine, ["1", "3"]);
    refused(&reply, "3", 1, 'I');
    assert_eq!((version(&stage, "1"), version(&stage, "3")), (1, 1));
    let mut mine = stage.session();
    mine.ok("select * from projects where id in (1, 2)");
    assert_eq!(commands(&two(&mut mine, ["1", "2"])), ["UPDATE 1", "UPDATE 1"]);
    // The same row twice, and behind a savepoint.
    let mut mine = stage.session();
    mine.ok("select * from projects where id = 1");
    mine.ok("begin");
    assert_eq!(commands(&two(&mut mine, ["1", "1"])), ["UPDATE 1", "UPDATE 1"]);
    mine.ok("savepoint a");
    let again = mine.exchange(&[
        bind("w", &["1", "third"]),
        execute("", 0),
        bind("w", &["1", "fourth"]),
        execute("", 0),
        sync(),
    ]);
    assert_eq!(commands(&again), ["UPDATE 1", "UPDATE 1"], "{again:?}");
    mine.ok("commit");
    assert_eq!(version(&stage, "1"), 6);
    // And in one Query, where nothing can be awaited.
    let mut mine = stage.session();
    mine.ok("select * from projects where id = 1");
    let sql = "begin; savepoint a; update projects set name = 'a' where id = 1; \
               update projects set name = 'b' where id = 1; commit";
    assert_eq!(mine.ok(sql), "COMMIT");
    assert_eq!(version(&stage, "1"), 8);
}

#[test]
fn what_cannot_be_checked_is_refused_as_a_statement() {
    let stage = strict();
    stage.behind().ok("create view names as select id, name from projects");
    for (protocol, _) in BOTH {
        for (sql, reason) in [
            ("update names set name = 'x' where id = 1", "view"),
            ("delete from projects where current of c", "delete"),
            ("with d as (delete from projects where id = (select 1) returning id) select * from d", "cte"),
            ("prepare p as delete from projects where id in (select 1)", "nested"),
            ("prepare p as delete from projects where current of c", "nested"),
            ("prepare p as update names set name = 'x' where id = 1", "view"),
            ("copy (update projects set name = 'x' where id = 1 returning id) to stdout", "nested"),
            ("update projects set name = 'x', name = (select 'y'", "unparsed"),
        ] {
            // Of a Query the row under a cursor is checked.
            if protocol == Protocol::Simple && sql.contains("current of") {
                continue;
            }
            let mut mine = stage.session();
            mine.ok("select * from projects");
            mine.ok("begin");
            let reply = mine.say(protocol, sql, &[]);
            assert_eq!(sqlstate(&reply), "0A000", "{sql}: {reply:?}");
            let said = error(&reply).and_then(|e| e.field('M')).unwrap();
            assert!(said.starts_with("a write of projects is refused") && said.contains(reason), "{said}");
            assert_eq!(status(&reply), 'E', "{sql}");
            assert_eq!(mine.ok("commit"), "ROLLBACK");
            // The session goes on.
            assert_eq!(mine.value("select 1"), "1");
            assert_eq!(rows(&mine.extended("select $1::int", &["2"])), [["2"]]);
            let reply = mine.say(protocol, sql, &[]);
            assert_eq!((sqlstate(&reply).as_str(), status(&reply)), ("0A000", 'I'), "{sql}");
        }
    }
    // Only the one statement of a Query, in its place: what went before is undone with it.
    let mut mine = stage.session();
    mine.ok("select * from projects");
    let reply =
        mine.query("update projects set name = 'y' where id = 1; update names set name = 'x'; select 1");
    assert_eq!((commands(&reply), sqlstate(&reply)), (vec!["UPDATE 1".to_owned()], "0A000".to_owned()));
    assert_eq!(version(&stage, "1"), 1);
    // Messages behind the refused one are skipped as after any error; the next cycle is answered.
    let reply = mine.exchange(&[query("update names set name = 'x'"), query("select 7")]);
    assert_eq!(rows(&reply), [["7"]]);
    assert_eq!(version(&stage, "1"), 1);
    let labels = [("table", "projects"), ("reason", "view")];
    assert_eq!(stage.proxy.metric("staleguard_refused_statements_total", &labels), 10.0);
    assert_eq!(stage.proxy.metric("staleguard_sessions_desynced_total", &[]), 0.0);
}

#[test]
fn a_cursor_that_shows_the_version_is_a_read() {
    let stage = strict();
    let write = "update projects set name = 'x' where current of c";
    for (protocol, id) in BOTH {
        for (columns, passes) in [("*", true), ("id, name, version", true), ("id, name", false)] {
            let mut mine = stage.session();
            mine.ok("begin");
            mine.ok(&format!(
                "declare c cursor for select {columns} from projects where id = {id} for update"
            ));
            assert_eq!(mine.rows("fetch c").len(), 1);
            let reply = mine.say(protocol, write, &[]);
            if passes {
                assert_eq!(commands(&reply), ["UPDATE 1"], "{columns}: {reply:?}");
            } else {
                // Even if the row has been read elsewhere: the cursor may show another state.
                assert_eq!((sqlstate(&reply).as_str(), status(&reply)), ("40001", 'E'), "{columns}");
                let said = error(&reply).and_then(|e| e.field('M')).unwrap();
                let wanted = format!("blind write on project {id}: what a cursor shows is not known");
                assert_eq!(said, wanted);
            }
            mine.ok("rollback");
        }
    }
}

#[test]
fn keys_of_several_columns_and_text() {
    let stage = strict();
    let mut mine = stage.session();
    let set = "update user_roles set granted_by = 'x' where user_id = 1 and role_id in ('admin', 'reader')";
    assert_eq!(sqlstate(&mine.query(set)), "40001");
    mine.ok("select * from user_roles where role_id = 'admin'");
    let reply = mine.query("update user_roles set granted_by = 'x' where user_id = 1");
    let said = error(&reply).and_then(|e| e.field('M')).unwrap();
    assert_eq!(said, "blind write on user_role 1,reader: this connection has not read the row");
    mine.ok("select * from user_roles");
    assert_eq!(mine.ok(set), "UPDATE 2");
    let mut mine = stage.session();
    let reply = mine.query("update rates set amount = 1 where code >= 'g'");
    assert_eq!(sqlstate(&reply), "40001", "{reply:?}");
    mine.ok("select * from rates");
    assert_eq!(mine.ok("update rates set amount = 1 where code >= 'g'"), "UPDATE 2");
}
