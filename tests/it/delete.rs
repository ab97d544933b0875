//! DELETE in every place: refused where it is based on a stale read, passed where it is not, and told from one that
//! was sent past the proxy by nothing.

use crate::common::conflict::on_project;
use crate::common::frames::{bind, bind_raw, describe, execute, parse, sync};
use crate::common::raw::{BOTH, Raw, commands, rows, shape, sqlstate, status};
use crate::common::twin::{Stage, stage};

pub const ALL: &str = "select * from projects";

pub fn unchecked(stage: &Stage, reason: &str) -> f64 {
    let labels = [("table", "projects"), ("reason", reason)];
    stage.proxy.metric("staleguard_unchecked_writes_total", &labels)
}

fn blind(stage: &Stage) -> f64 {
    stage.proxy.metric("staleguard_blind_writes_total", &[("table", "projects")])
}

pub fn other_writes(stage: &Stage, id: u32) {
    stage.other_writes(&format!("update projects set budget = 0 where id = {id}"));
}

fn ids(stage: &Stage) -> Vec<String> {
    stage.behind().rows("select id from projects order by id").concat()
}

/// Every kind of DELETE that takes row 1: the text, the command tag, and why it is counted where nothing is known.
const DELETES: &[(&str, &str, &str)] = &[
    ("delete from projects where id in (1, 2)", "DELETE 2", "delete"),
    ("delete from projects where id in (1, 2) returning name, id", "DELETE 2", "delete"),
    ("delete from projects where id = any ('{1,2}'::int[])", "DELETE 2", "delete"),
    ("delete from only projects as p where p.id < 3 and p.budget > 0 - 1", "DELETE 2", "delete"),
    ("delete from projects", "DELETE 9", "delete"),
    ("delete from projects returning *", "DELETE 9", "delete"),
    ("delete from projects where updated_at is null and now() > '2020-01-01'", "DELETE 9", "delete"),
    ("select 1; delete from projects where id = 1", "DELETE 1", "delete"),
    ("delete from projects where id = 1; select 1", "SELECT 1", "delete"),
    ("begin; delete from projects where id = 1 returning id; commit", "COMMIT", "delete"),
    ("begin; savepoint s; delete from projects where id = 1; release s; commit", "COMMIT", "delete"),
    ("delete from projects p using portfolios f where f.id = p.portfolio_id", "DELETE 9", "delete"),
    (
        "delete from projects p using (values (1), (2)) v (n) where n = p.id returning p.id, n",
        "DELETE 2",
        "delete",
    ),
    ("delete from projects where id in (select n from generate_series(1, 3) n)", "DELETE 3", "delete"),
    (
        "delete from projects where id in (select 1 + n from generate_series(0, 1) n) returning id",
        "DELETE 2",
        "delete",
    ),
    ("with d as (delete from projects where id = 1 returning *) select * from d", "SELECT 1", "cte"),
    ("with d as (delete from projects where id in (1, 2)) select 5", "SELECT 1", "cte"),
    ("with d as (delete from projects where id = (select 1)) select 5", "SELECT 1", "cte"),
    (
        "with a as (select 1), b as (delete from projects where id < 3 returning id) insert into notes select 10 + id from b",
        "INSERT 0 2",
        "cte",
    ),
    (
        "create table gone as with d as (delete from projects where id = 1 returning *) select * from d",
        "SELECT 1",
        "cte",
    ),
    (
        "explain (analyze, costs off, timing off, summary off) delete from projects where id = 1",
        "EXPLAIN",
        "nested",
    ),
    (
        "explain (analyze, costs off, timing off, summary off) delete from projects where id = (select 1) returning id",
        "EXPLAIN",
        "nested",
    ),
];

#[test]
fn each_kind_of_delete_is_refused_where_it_is_stale() {
    let stage = stage();
    let mut behind = stage.behind();
    behind.ok("create table kept as table projects");
    for (sql, tag, reason) in DELETES {
        let restore = "drop table if exists gone; delete from notes where id > 9; delete from projects; \
            insert into projects select * from kept";
        behind.ok(restore);
        let mut mine = stage.session();
        mine.ok(ALL);
        other_writes(&stage, 1);
        let before = behind.rows("select * from projects order by id");
        let reply = mine.query(sql);
        if sql.starts_with("begin") {
            assert_eq!((sqlstate(&reply).as_str(), status(&reply)), ("40001", 'E'), "{sql}: {reply:?}");
            assert_eq!(mine.ok("commit"), "ROLLBACK", "{sql}");
        } else if sql.contains(';') {
            assert_eq!(sqlstate(&reply), "40001", "{sql}: {reply:?}");
        } else {
            on_project("1", 1, Some(2)).check(&reply, 'I');
        }
        assert_eq!(behind.rows("select * from projects order by id"), before, "{sql}");
        // Stale until it is read again.
        assert_eq!(sqlstate(&mine.query(sql)), "40001", "{sql}");
        if sql.starts_with("begin") {
            mine.ok("rollback");
        }
        mine.ok(ALL);
        assert_eq!(mine.ok(sql), *tag, "{sql}");
        assert!(!ids(&stage).contains(&"1".to_owned()), "{sql}");
        // Who has seen nothing deletes, counted.
        behind.ok(restore);
        let counted = unchecked(&stage, reason) + blind(&stage);
        assert_eq!(stage.session().ok(sql), *tag, "{sql}");
        assert_eq!(unchecked(&stage, reason) + blind(&stage), counted + 1.0, "{sql}");
    }
}

#[test]
fn a_delete_answers_as_without_the_proxy() {
    let stage = stage();
    for (sql, ..) in DELETES {
        let mut twin = stage.twin();
        twin.query("begin");
        twin.query(ALL);
        if sql.starts_with("explain") {
            continue;
        }
        let sql = sql.trim_start_matches("begin; ").trim_end_matches("; commit");
        let reply = twin.query(sql);
        assert_eq!(sqlstate(&reply), "", "{sql}");
        twin.query("rollback; begin");
        twin.query(ALL);
        if !sql.contains(';') {
            twin.extended(sql, &[]);
        }
        twin.query("rollback");
    }
    let mut twin = stage.twin();
    twin.query(ALL);
    for sql in ["delete from projects where id", "delete from projects where (budget + 1); select 1"] {
        assert_eq!(sqlstate(&twin.query(sql)), "42804", "{sql}");
    }
}

#[test]
fn batches_of_the_extended_protocol_are_checked_row_by_row() {
    let stage = stage();
    for returning in ["", " returning id, name"] {
        stage.behind().ok("create table if not exists kept as table projects; delete from projects; \
            insert into projects select * from kept");
        let text = format!("delete from projects where id = $1{returning}");
        for ids_of_batch in [["1", "2", "3"], ["2", "1", "3"], ["2", "3", "1"]] {
            let mut mine = stage.session();
            mine.ok(ALL);
            other_writes(&stage, 1);
            mine.exchange(&[parse("d", &text, &[]), sync()]);
            let binds = ids_of_batch.iter().flat_map(|id| [bind("d", &[id]), execute("", 0)]);
            let batch: Vec<_> = binds.chain([sync()]).collect();
            let reply = mine.exchange(&batch);
            assert_eq!((sqlstate(&reply).as_str(), status(&reply)), ("40001", 'I'), "{ids_of_batch:?}");
            assert_eq!(ids(&stage).len(), 9);
            mine.ok("begin");
            mine.ok(ALL);
            let rows = if returning.is_empty() { "2C2C2CZ" } else { "2DC2DC2DCZ" };
            assert_eq!(shape(&mine.exchange(&batch)), rows, "{ids_of_batch:?}");
            mine.ok("rollback");
        }
        // Binary keys, several rows, a set.
        let mut mine = stage.session();
        mine.ok(ALL);
        other_writes(&stage, 2);
        for (text, types, formats, value) in [
            ("delete from projects where id = $1 or id = $1 + 1", vec![23], [1], 1i32.to_be_bytes()),
            ("delete from projects where id in ($1, 2)", vec![23], [1], 4i32.to_be_bytes()),
            ("delete from projects where id < $1", vec![23], [1], 3i32.to_be_bytes()),
        ] {
            let messages = [
                parse("", text, &types),
                bind_raw("", "", &formats, &[Some(&value)], &[]),
                execute("", 0),
                sync(),
            ];
            let reply = mine.exchange(&messages);
            assert_eq!((shape(&reply).as_str(), sqlstate(&reply).as_str()), ("12EZ", "40001"), "{text}");
        }
        mine.ok(ALL);
        assert_eq!(
            commands(&mine.extended("delete from projects where id in ($1, 2)", &["1"])),
            ["DELETE 2"]
        );
    }
}

#[test]
fn describe_tells_nothing_of_a_guard() {
    let stage = stage();
    let mut twin = stage.twin();
    for text in [
        "delete from projects where id = $1",
        "delete from projects where id in ($1, 3)",
        "delete from projects where id in ($1, 3) returning name",
        "delete from projects p using notes n where n.id = p.id and p.id = $1",
        "delete from projects where id in (select $1::int)",
    ] {
        twin.query("begin");
        twin.query(ALL);
        twin.exchange(&[parse("d", text, &[]), describe('S', "d"), sync()]);
        let run = [bind("d", &["1"]), describe('P', ""), execute("", 0)];
        twin.exchange(&[&run[..], &[bind("d", &["2"]), execute("", 1), sync()]].concat());
        // In a failed block too.
        twin.query("select 1/0");
        twin.exchange(&[describe('S', "d"), sync()]);
        twin.query("rollback");
        twin.exchange(&[describe('S', "d"), bind("d", &["99"]), execute("", 0), execute("", 0), sync()]);
        twin.query("deallocate d");
    }
}

#[test]
fn own_writes_of_the_row_do_not_conflict_with_its_delete() {
    let stage = stage();
    for text in [
        "update projects set name = 'x' where id = 1; delete from projects where id = 1",
        "update projects set name = 'x' where id = 1; update projects set name = 'y' where id = 1; delete from projects where id in (1, 2)",
        "update projects set name = 'x'; delete from projects where id = 1",
        "delete from projects where id = 1; delete from projects where id = 1",
        "delete from projects where id = 1; insert into projects (id) values (1); delete from projects where id = 1",
        "delete from projects where id = 1; insert into projects (id) values (1); update projects set name = 'z' where id = 1",
        "delete from projects where budget >= 0; insert into projects (id) values (1); update projects set name = 'z' where id in (1, 2)",
        "with d as (delete from projects where id = 1) select 1; insert into projects (id) values (1); update projects set name = 'z' where id = 1",
    ] {
        let mut mine = stage.session();
        for _ in 0..2 {
            mine.ok("update projects set name = 'up' where id = 1");
        }
        mine.ok(ALL);
        mine.ok("begin");
        let reply = mine.query(text);
        assert_eq!(sqlstate(&reply), "", "{text}: {reply:?}");
        mine.ok("rollback");
        if text.contains("set name = 'x';") || text.contains("budget >= 0") {
            // What a write of rows that it does not name has left is not known, even undone.
            mine.ok(ALL);
        }
        // What was undone is known as before.
        assert_eq!(mine.ok("delete from projects where id = 1 and budget < 0; select 1"), "SELECT 1");
        other_writes(&stage, 1);
        assert_eq!(sqlstate(&mine.query("select 1; delete from projects where id = 1")), "40001", "{text}");
    }
    // In a pipeline.
    let mut mine = stage.session();
    mine.ok(ALL);
    let statement =
        |text: &str, values: &[&str]| [parse("", text, &[]), bind("", values), execute("", 0)].concat();
    let messages = [
        statement("update projects set name = $1 where id = $2", &["x", "1"]),
        statement("delete from projects where id = $1", &["1"]),
        statement("insert into projects (id, name) values ($1, 'new')", &["1"]),
        statement("update projects set name = $1 where id = $2", &["x", "1"]),
        statement("delete from projects where id = $1", &["1"]),
        sync(),
    ];
    let reply = mine.exchange(&messages);
    assert_eq!((sqlstate(&reply).as_str(), commands(&reply).len()), ("", 5), "{reply:?}");
}

#[test]
fn after_a_delete_the_row_is_forgotten() {
    let stage = stage();
    for (protocol, id) in BOTH {
        for text in [
            "delete from projects where id = $1",
            "delete from projects where id in ($1, 77)",
            "delete from projects where budget = 100 * $1",
        ] {
            stage.behind().ok("update projects set budget = 100 * id");
            let mut mine = stage.session();
            mine.ok(ALL);
            assert_eq!(commands(&mine.say(protocol, text, &[id])), ["DELETE 1"], "{text}");
            assert_eq!(mine.ok(&format!("update projects set name = 'x' where id = {id}")), "UPDATE 0");
            assert_eq!(
                mine.ok(&format!("insert into projects (id, budget) values ({id}, {id} * 100)")),
                "INSERT 0 1"
            );
            other_writes(&stage, id.parse().unwrap());
            assert_eq!(
                mine.ok(&format!("update projects set name = 'x' where id = {id}")),
                "UPDATE 1",
                "{text}"
            );
        }
    }
}

#[test]
fn the_wait_for_a_lock_is_seen() {
    let stage = stage();
    for text in [
        "delete from projects where id in (1, 2)",
        "delete from projects p using portfolios f where f.id = p.portfolio_id and p.id = 1",
        "delete from projects where id = 1; select 1",
    ] {
        let mut mine = stage.session();
        mine.ok(ALL);
        let mut other = stage.session();
        other.ok("begin; update projects set name = name || '!' where id = 1");
        let pid = mine.value("select pg_backend_pid()");
        let mut waiting = mine;
        let handle = std::thread::spawn(move || waiting.query(text));
        let mut behind = stage.behind();
        while behind.value(&format!("select cardinality(pg_blocking_pids({pid}))")) == "0" {
            std::thread::yield_now();
        }
        other.ok("commit");
        let reply = handle.join().unwrap();
        assert_eq!(sqlstate(&reply), "40001", "{text}: {reply:?}");
    }
}

#[test]
fn rows_that_the_condition_leaves_out_are_not_looked_at() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok(ALL);
    stage.behind().ok("update projects set name = 'x', version = version + 1 where id <> 7");
    for text in [
        "delete from projects where budget = 700",
        "delete from projects where 1000 / (budget - 100 * id + id) < 150 and budget > 600 and id < 8",
        "delete from projects p using notes n where n.id + 6 = p.id and n.id = 1",
        "delete from projects where id in (select n from generate_series(7, 7) n)",
        "with d as (delete from projects where id in (7, 70) returning id) select * from d",
    ] {
        assert_eq!(sqlstate(&mine.query(&format!("begin; {text}"))), "", "{text}");
        mine.ok("rollback");
    }
    assert_eq!(mine.ok("delete from projects where false; select 1"), "SELECT 1");
}

#[test]
fn explain_shows_the_rewritten_plan_and_analyze_runs_it() {
    let stage = stage();
    let mut mine: Raw = stage.session();
    mine.ok(ALL);
    other_writes(&stage, 1);
    let plan = |reply: &[crate::common::frames::Frame]| rows(reply).concat().join("\n");
    // Not run: neither checked nor changed.
    for (protocol, _) in BOTH {
        for (text, shown) in [
            ("explain (verbose, costs off) update projects set name = 'x' where id = 1", "(version + 1)"),
            ("explain (costs off) delete from projects where id in (1, 2)", "Delete on projects"),
        ] {
            let reply = mine.say(protocol, text, &[]);
            assert!(plan(&reply).contains(shown), "{reply:?}");
        }
        for text in [
            "explain analyze update projects set name = 'x' where id = 1",
            "explain analyze delete from projects where id = 1",
        ] {
            let reply = mine.say(protocol, text, &[]);
            assert_eq!(sqlstate(&reply), "40001", "{text}");
        }
    }
    assert_eq!(stage.version("projects", "id = 1"), "2");
    mine.ok(ALL);
    for (protocol, _) in BOTH {
        mine.ok("begin");
        for text in [
            "explain analyze update projects set name = 'x' where id = 1",
            "explain analyze delete from projects where id = 1",
        ] {
            assert_eq!(commands(&mine.say(protocol, text, &[])), ["EXPLAIN"], "{text}");
        }
        mine.ok("rollback");
    }
    mine.ok("explain analyze update projects set name = 'x' where id = 1");
    assert_eq!(stage.version("projects", "id = 1"), "3");
}

#[test]
fn a_delete_is_based_on_the_newest_read_whatever_that_showed() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let delete =
            |mine: &mut Raw| commands(&mine.say(protocol, "delete from projects where id = $1", &[id]));
        let mut mine = stage.session();
        mine.ok(ALL);
        stage.other_writes(&format!("update projects set budget = 0 where id = {id}"));
        // An existence check, a list of keys: nothing of the row was seen.
        mine.ok(&format!("select 1 from projects where id = {id}"));
        mine.ok("select id from projects");
        assert!(delete(&mut mine).is_empty());
        mine.ok(&format!("select name from projects where id = {id}"));
        assert_eq!(delete(&mut mine), ["DELETE 1"]);
    }
}
