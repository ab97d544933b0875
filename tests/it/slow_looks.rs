//! The look at the catalog in sessions whose settings would make it slow.

use std::sync::Arc;

use crate::common::cluster::Cluster;
use crate::common::conflict::on_project;
use crate::common::frames::{bind, describe, execute, flush, parse, query, sync};
use crate::common::proxy::Proxy;
use crate::common::raw::sqlstate;
use crate::common::twin::{Stage, stage};

/// How often a statement that has all these pieces was run, and how many functions were compiled for it.
fn compiled(stage: &Stage, pieces: &[&str]) -> (i64, i64) {
    let shown = stage.behind().rows(
        "select query, calls, coalesce(to_jsonb(s) ->> 'jit_functions', '0') from pg_stat_statements s",
    );
    let number = |text: &str| text.parse::<i64>().unwrap();
    let found = shown.iter().filter(|row| pieces.iter().all(|piece| row[0].contains(piece)));
    found.fold((0, 0), |sum, row| (sum.0 + number(&row[1]), sum.1 + number(&row[2])))
}

#[test]
fn the_look_is_not_compiled_and_the_clients_statements_are() {
    let cluster = Arc::new(Cluster::start(&["shared_preload_libraries=pg_stat_statements"]));
    let stage = Stage { proxy: Proxy::start(&cluster, &[]), cluster };
    let mut behind = stage.behind();
    behind.ok("create extension pg_stat_statements");
    // Before version 15 the statistics do not tell.
    let told =
        behind.value("select pg_jit_available() and current_setting('server_version_num')::int >= 150000");
    let mut mine = stage.session();
    // The planner puts every cost above that.
    mine.ok("set jit = on");
    mine.ok("set jit_above_cost = 0");
    mine.ok("set enable_seqscan = off");
    mine.ok("set enable_nestloop = off");
    let read = "select name from projects where id = 1";
    let cycle = vec![parse("", read, &[]), bind("", &[]), describe('P', ""), execute("", 0), flush(), sync()];
    let ways = [
        ("alone", &["create table made ()"][..], vec![query(read)]),
        ("in a block", &["begin", "drop table made"], vec![query(read)]),
        ("in a cycle", &["commit", "create table made ()"], cycle),
    ];
    for (way, before, messages) in ways {
        before.iter().for_each(|text| drop(mine.ok(text)));
        let looks = compiled(&stage, &["row_security_active"]);
        let reads = compiled(&stage, &["select name"]);
        assert_eq!(sqlstate(&mine.exchange(&messages)), "", "{way}");
        // The setting is the client's again.
        assert_eq!(mine.value("show jit"), "on", "{way}");
        assert_eq!(compiled(&stage, &["row_security_active"]), (looks.0 + 1, 0), "{way}");
        if told == "t" {
            assert!(compiled(&stage, &["select name"]).1 > reads.1, "{way}");
        }
    }
    assert_eq!(mine.value("select count(*) from pg_prepared_statements"), "0");
    assert_eq!(mine.value("select count(*) from pg_cursors where name <> ''"), "0");
}

#[test]
fn a_setting_made_in_the_transaction_lasts_as_it_was_made() {
    let stage = stage();
    let mut twin = stage.twin();
    for (set, end) in [
        ("set jit = on", "commit"),
        ("set local jit = on", "commit"),
        ("set jit = on", "rollback"),
        ("savepoint a; set local jit = on", "rollback to a; commit"),
    ] {
        for text in
            ["set jit = off", "begin", "create table made ()", set, "select name from projects", "show jit"]
        {
            twin.query(text);
        }
        twin.query(end);
        twin.query("show jit");
        twin.query("drop table if exists made");
    }
}

#[test]
fn a_role_that_may_not_set_is_protected_all_the_same() {
    let stage = stage();
    stage.behind().ok("revoke execute on function pg_catalog.set_config(text, text, boolean) from public");
    let read = "select * from projects where id = 1";
    // The first look of all, and those behind DDL, are made outside a transaction, or in a block that must not fail.
    let made = "create temp table made ()";
    let ways: [(&[&str], char); 4] =
        [(&[], 'I'), (&["begin"], 'E'), (&[made], 'I'), (&[made, "begin", "drop table made"], 'E')];
    for (before, status) in ways {
        let mut mine = stage.proxy.session_of("app", "proxied");
        before.iter().for_each(|text| drop(mine.ok(text)));
        mine.ok(read);
        let expected: i64 = stage.version("projects", "id = 1").parse().unwrap();
        stage.other_writes("update projects set name = 'theirs' where id = 1");
        let reply = mine.query("update projects set name = 'mine' where id = 1");
        on_project("1", expected, Some(expected + 1)).check(&reply, status);
    }
}
