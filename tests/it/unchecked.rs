//! Writes that the predicate form does not fit: checked in the guard form, or bumped and counted with the reason.
//! Silence is never protection.

use crate::common::frames::{bind, execute, flush, parse, query, sync};
use crate::common::raw::{Raw, commands, error, rows, shape, sqlstate, status};
use crate::common::twin::{Stage, stage, stage_with};

/// Runs the statements through a session that knows a stale version of row 1; the counts that grew by them.
fn grown(stage: &Stage, table: &str, reason: &str, act: impl FnOnce(&mut Raw)) -> f64 {
    let labels = [("table", table), ("reason", reason)];
    let before = stage.proxy.metric("staleguard_unchecked_writes_total", &labels);
    let mut mine = stage.session();
    mine.ok("select * from projects");
    stage.other_writes("update projects set budget = 0 where id = 1");
    act(&mut mine);
    stage.proxy.metric("staleguard_unchecked_writes_total", &labels) - before
}

#[test]
fn each_kind_of_write_is_refused_where_it_is_stale() {
    let stage = stage();
    for (sql, tag, reason, writes) in [
        ("update projects set name = 'a' where status = 'open'", "UPDATE 9", "set_write", 1.0),
        ("update projects set name = 'b' where id < 2", "UPDATE 1", "set_write", 1.0),
        ("update projects set name = 'c' where id in (1, 2)", "UPDATE 2", "several_rows", 1.0),
        ("update projects set name = 'd' where id = any (array[1, 2])", "UPDATE 2", "several_rows", 1.0),
        (
            "update projects set name = 'e' where id = 1; update projects set name = 'f' where id = 2",
            "UPDATE 1",
            "batch",
            2.0,
        ),
        ("begin; update projects set name = 'g' where id = 1; commit", "COMMIT", "batch", 1.0),
        (
            "insert into projects (id) values (1) on conflict (id) do update set name = 'h'",
            "INSERT 0 1",
            "on_conflict",
            1.0,
        ),
        (
            "merge into projects p using (values (1)) v(id) on p.id = v.id when matched then update set name = 'i'",
            "MERGE 1",
            "merge",
            1.0,
        ),
        (
            "with w as (update projects set name = 'j' where id = 1 returning id) select id from w",
            "SELECT 1",
            "cte",
            1.0,
        ),
        (
            "update projects p set name = v.n from (values (1, 'k')) v(id, n) where p.id = v.id",
            "UPDATE 1",
            "update_from",
            1.0,
        ),
        (
            "explain (analyze, costs off, timing off, summary off) update projects set name = 'l' where id = 1",
            "EXPLAIN",
            "nested",
            1.0,
        ),
        ("update projects set name = 'm' where id = 1 + 0", "UPDATE 1", "unknown_key", 1.0),
    ] {
        let mut mine = stage.session();
        mine.ok("select * from projects");
        stage.other_writes("update projects set budget = 0 where id = 1");
        let version = || stage.version("projects", "id = 1").parse::<i64>().unwrap();
        let before = version();
        // Stale: the whole message is refused, and nothing of it lands.
        let reply = mine.query(sql);
        assert_eq!(sqlstate(&reply), "40001", "{sql}: {reply:?}");
        if sql.starts_with("begin") {
            assert_eq!(status(&reply), 'E', "{sql}: {reply:?}");
            assert_eq!(mine.ok("commit"), "ROLLBACK");
        }
        let told = error(&reply).and_then(|e| e.field('M')).unwrap_or_default();
        let wanted = format!("expected version {}, actual version {before}", before - 1);
        assert!(
            told.starts_with("version conflict on project 1") && told.ends_with(&wanted),
            "{sql}: {told}"
        );
        assert_eq!(version(), before, "{sql}");
        // Read again it lands, and again: the session does not conflict with itself.
        mine.ok("select * from projects");
        for round in 1..=2 {
            assert_eq!(mine.ok(sql), tag, "{sql}");
            assert_eq!(version(), before + round, "{sql}");
        }
        // A session that has seen nothing lands, bumps, and is counted.
        let labels = [("table", "projects"), ("reason", reason)];
        let count = || {
            stage.proxy.metric("staleguard_unchecked_writes_total", &labels)
                + stage.proxy.metric("staleguard_blind_writes_total", &[("table", "projects")])
        };
        let counted = count();
        assert_eq!(stage.session().ok(sql), tag, "{sql}");
        assert_eq!((version(), count() - counted), (before + 3, writes), "{sql}");
    }
}

#[test]
fn a_stale_delete_is_refused_and_a_fresh_one_passes() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("select * from projects");
    for id in [1, 4] {
        stage.other_writes(&format!("update projects set budget = 0 where id = {id}"));
    }
    assert_eq!(sqlstate(&mine.query("delete from projects where id = 1")), "40001");
    let returning = "delete from projects where id = $1 returning name";
    assert_eq!(sqlstate(&mine.extended(returning, &["4"])), "40001");
    mine.ok("select * from projects");
    assert_eq!(mine.ok("delete from projects where id = 1"), "DELETE 1");
    assert_eq!(commands(&mine.extended(returning, &["4"])), ["DELETE 1"]);
    assert_eq!(mine.ok("delete from projects where id = 1"), "DELETE 0");
}

#[test]
fn where_current_of_a_cursor_bumps() {
    let stage = stage();
    let grew = grown(&stage, "projects", "current_of", |mine| {
        mine.ok("begin");
        // Which row it stands on is not told.
        mine.ok("declare c cursor for select name from projects where id = 1 for update");
        assert_eq!(mine.rows("fetch c").len(), 1);
        assert_eq!(mine.ok("update projects set name = 'x' where current of c"), "UPDATE 1");
        mine.ok("commit");
    });
    assert_eq!((grew, stage.version("projects", "id = 1")), (1.0, "3".into()));
}

#[test]
fn copy_of_an_update_bumps() {
    let stage = stage();
    let copy = "copy (update projects set name = 'x' where id = 1 returning id, name) to stdout";
    let grew = grown(&stage, "projects", "nested", |mine| {
        // COPY takes no parameters, so that no version can go with it: it lands, stale as it is.
        for reply in [mine.query(copy), mine.extended(copy, &[])] {
            assert_eq!((sqlstate(&reply).as_str(), commands(&reply)), ("", vec!["COPY 1".to_owned()]));
            assert!(reply.iter().any(|f| f.tag == b'd' && f.body == b"1\tx\n"), "{reply:?}");
        }
        // .. and tells nothing: the next write is a blind one.
        assert_eq!(mine.ok("update projects set name = 'y' where id = 1"), "UPDATE 1");
    });
    assert_eq!((grew, stage.version("projects", "id = 1")), (2.0, "5".into()));
}

#[test]
fn batches_of_the_extended_protocol_are_checked_row_by_row() {
    let stage = stage();
    let write = "update projects set name = $1 where id = $2";
    // JDBC's executeBatch: one statement, many Binds, one Sync; the stale row first, in the middle, last.
    for ids in [["1", "2", "3"], ["2", "1", "3"], ["2", "3", "1"]] {
        let mut mine = stage.session();
        mine.ok("select * from projects");
        stage.other_writes("update projects set budget = 0 where id = 1");
        let versions = || stage.behind().rows("select version from projects where id < 4 order by id");
        let before = versions();
        let batch = || {
            let binds = ids.iter().flat_map(|id| [bind("w", &["batch", id]), execute("", 0)]);
            binds.chain([sync()]).collect::<Vec<_>>()
        };
        mine.exchange(&[parse("w", write, &[]), sync()]);
        let reply = mine.exchange(&batch());
        assert_eq!((sqlstate(&reply).as_str(), status(&reply)), ("40001", 'I'), "{ids:?}");
        assert_eq!(versions(), before, "{ids:?}");
        mine.ok("select * from projects");
        for _ in 0..2 {
            assert_eq!(shape(&mine.exchange(&batch())), "2C2C2CZ", "{ids:?}");
        }
    }
    // The same row twice and three times does not conflict with itself.
    let mut mine = stage.session();
    mine.ok("select * from projects");
    let binds = ["5"; 3].iter().flat_map(|id| [bind("", &["again", id]), execute("", 0)]);
    let messages: Vec<_> = [parse("", write, &[])].into_iter().chain(binds).chain([sync()]).collect();
    assert_eq!(shape(&mine.exchange(&messages)), "12C2C2CZ");
    assert_eq!(stage.version("projects", "id = 5"), "4");
    assert_eq!(
        mine.ok("update projects set name = 'x' where id = 5; update projects set name = 'y' where id = 5"),
        "UPDATE 1"
    );
    assert_eq!(stage.version("projects", "id = 5"), "6");
    // .. and still conflicts with others.
    stage.other_writes("update projects set budget = 0 where id = 5");
    assert_eq!(sqlstate(&mine.exchange(&messages)), "40001");
}

#[test]
fn a_block_begun_in_the_same_batch_really_fails() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("select * from projects");
    stage.other_writes("update projects set budget = 0 where id = 1");
    let write = parse("w", "update projects set name = $1 where id = $2", &[]);
    // As pgjdbc sends it.
    let begin = [parse("", "BEGIN", &[]), bind("", &[]), execute("", 0)];
    let messages = [&begin[..], &[write, bind("w", &["x", "1"]), execute("", 1), sync()]].concat();
    let reply = mine.exchange(&messages);
    assert_eq!(
        (shape(&reply).as_str(), sqlstate(&reply).as_str(), status(&reply)),
        ("12C12EZ", "40001", 'E')
    );
    assert_eq!(mine.ok("commit"), "ROLLBACK");
    mine.ok("select * from projects");
    let again = [&begin[..], &[bind("w", &["x", "1"]), execute("", 1), sync()]].concat();
    assert_eq!(shape(&mine.exchange(&again)), "12C2CZ");
    assert_eq!(mine.ok("commit"), "COMMIT");
}

#[test]
fn a_flush_in_place_of_a_sync_is_checked() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("select * from projects");
    stage.other_writes("update projects set budget = 0 where id = 1");
    let write = "update projects set name = $1 where id = $2";
    let messages = [parse("", write, &[]), bind("", &["x", "1"]), execute("", 0), flush()].concat();
    mine.send(&messages);
    let reply = mine.until('E');
    assert_eq!((shape(&reply).as_str(), sqlstate(&reply).as_str()), ("12E", "40001"));
    assert_eq!(shape(&mine.exchange(&[sync()])), "Z");
    mine.ok("select * from projects");
    mine.send(&messages);
    assert_eq!(shape(&mine.until('C')), "12C");
    assert_eq!(shape(&mine.exchange(&[sync()])), "Z");
}

#[test]
fn a_failing_batch_undoes_all_of_it() {
    let stage = stage();
    let mut twin = stage.twin();
    let write = "update projects set name = $1 where id = $2";
    let messages = [
        parse("w", write, &[]),
        bind("w", &["x", "1"]),
        execute("", 0),
        bind("w", &["x", "not a number"]),
        execute("", 0),
        bind("w", &["x", "2"]),
        execute("", 0),
        sync(),
    ];
    assert_eq!(shape(&twin.exchange(&messages)), "12CEZ");
    assert_eq!(stage.version("projects", "id = 1"), "1");
    assert_eq!(
        rows(&twin.query("select name from projects where id < 3 order by id")),
        [["project 1"], ["project 2"]]
    );
}

#[test]
fn through_a_view_a_write_passes_and_is_counted() {
    let stage = stage();
    stage.behind().ok("create view open_projects as select id, name from projects where status = 'open'");
    let grew = grown(&stage, "projects", "view", |mine| {
        assert_eq!(mine.ok("update open_projects set name = 'v' where id = 1"), "UPDATE 1");
    });
    assert_eq!(grew, 1.0);
}

#[test]
fn a_table_with_a_statement_trigger_is_checked_without_a_stray_firing() {
    let stage = stage();
    stage.behind().ok("create function audit() returns trigger language plpgsql as
         $$ begin insert into notes values (1000 + (select count(*) from notes), 'seen'); return null; end $$;
         create trigger audit after update on projects for each statement execute function audit()");
    let mut mine = stage.session();
    mine.ok("select * from projects");
    stage.other_writes("update projects set budget = 0 where id = 1");
    assert_eq!(sqlstate(&mine.query("update projects set name = 'x' where id = 1")), "40001");
    mine.ok("select * from projects");
    assert_eq!(mine.ok("update projects set name = 'x' where id = 1"), "UPDATE 1");
    assert_eq!(stage.version("projects", "id = 1"), "3");
    // Once for each statement that was not refused.
    assert_eq!(stage.behind().value("select count(*) from notes where body = 'seen'"), "2");
}

#[test]
fn a_role_without_the_right_to_the_version_keeps_working() {
    let stage = stage();
    stage.behind().ok("create role narrow login;
         grant select (id, name), update (name) on projects to narrow;
         grant select on notes to narrow");
    let mut twin = stage.twin_of("postgres");
    twin.direct = Raw::connect(&stage.cluster.address(), "narrow", "proxied");
    twin.proxied = stage.proxy.session_of("narrow", "proxied");
    for sql in [
        "select id, name from projects where id = 1",
        "select name from projects where id = 1",
        "update projects set name = 'n' where id = 1",
        "update projects set name = 'n' where id = 1 returning name",
    ] {
        assert!(sqlstate(&twin.query(sql)).is_empty(), "{sql}");
        assert!(sqlstate(&twin.extended(sql, &[])).is_empty(), "{sql}");
    }
    for sql in [
        "select * from projects",
        "update projects set budget = 1 where id = 1",
        "select budget from projects",
    ] {
        assert_eq!(sqlstate(&twin.query(sql)), "42501", "{sql}");
        assert_eq!(sqlstate(&twin.extended(sql, &[])), "42501", "{sql}");
    }
    let labels = [("table", "projects"), ("reason", "privilege")];
    assert!(stage.proxy.metric("staleguard_unchecked_writes_total", &labels) >= 4.0);
}

#[test]
fn business_columns_called_version_are_left_alone() {
    let stage = stage();
    let mut twin = stage.twin();
    for (table, column, version) in
        [("actuals", "note", "draft"), ("workers", "name", "7"), ("scope_assignments", "name", "0")]
    {
        for sql in [
            format!("select {column}, version from {table} where id = 1"),
            format!("update {table} set {column} = 'x' where id = 1"),
            format!("update {table} set {column} = 'x', version = '{version}' where id = 1"),
            format!("select * from {table}"),
        ] {
            twin.query(&sql);
            twin.extended(&sql, &[]);
        }
        assert_eq!(stage.version(table, "id = 1"), version, "{table}");
        let said = stage
            .proxy
            .log()
            .wait(|l| l.contains(table) && !l.contains("listening") && !l.contains("starting"));
        assert!(said.is_some(), "no word on {table}");
    }
    let sent = stage
        .behind()
        .value(&format!("select query from pg_stat_activity where pid = {}", twin.proxied.pid()));
    assert_eq!(sent, "select * from scope_assignments");
}

#[test]
fn tables_of_the_same_name_elsewhere_are_left_alone() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("create schema other; create table other.projects (like projects including all); insert into other.projects (id) values (1)");
    assert_eq!(mine.ok("update other.projects set name = 'x' where id = 1"), "UPDATE 1");
    assert_eq!(stage.version("other.projects", "id = 1"), "1");
    mine.ok("create temp table portfolios (id int, name text, version int); insert into portfolios values (1, 'a', 1)");
    assert_eq!(mine.ok("update portfolios set name = 'x' where id = 1"), "UPDATE 1");
    assert_eq!(mine.value("select version from pg_temp.portfolios"), "1");
    mine.ok("drop table portfolios");
    assert_eq!(
        mine.ok("update portfolios set name = 'x' where id = '2531439d-3075-46d6-9c19-63e3342fc43e'"),
        "UPDATE 1"
    );
    assert_eq!(stage.version("portfolios", "id = '2531439d-3075-46d6-9c19-63e3342fc43e'"), "2");
    mine.ok("begin; set local search_path = other");
    assert_eq!(mine.ok("update projects set name = 'y' where id = 1"), "UPDATE 1");
    mine.ok("rollback");
    assert_eq!(mine.ok("update projects set name = 'y' where id = 1"), "UPDATE 1");
    assert_eq!(
        (stage.version("other.projects", "id = 1"), stage.version("projects", "id = 1")),
        ("1".into(), "2".into())
    );
}

#[test]
fn what_touches_no_protected_table_is_not_touched() {
    let stage = stage_with(&[]);
    let mut mine = stage.session();
    mine.send(&query("select 1"));
    mine.until_ready(1);
    for sql in [
        "select body from notes where id = 1",
        "update notes set body = 'x' where id = 1",
        "select 'projects'",
    ] {
        mine.ok(sql);
        let sent =
            stage.behind().value(&format!("select query from pg_stat_activity where pid = {}", mine.pid()));
        assert_eq!(sent, sql);
    }
}
