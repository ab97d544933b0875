//! What a third look has found: replies of rare orders of messages, and texts that are told of twice.

use crate::common::frames::{
    bind, bind_raw, copy_data, copy_done, describe, execute, flush, parse, query, sync,
};
use crate::common::raw::{commands, rows, shape, sqlstate};
use crate::common::twin::{Stage, same, stage};

#[test]
fn a_copy_in_of_a_query_ignores_sync_and_flush() {
    let stage = stage();
    let mut twin = stage.twin();
    for (table, ready, data) in [
        ("notes", 1, vec![sync(), copy_data(b"70\tx\n"), flush(), sync(), copy_done()]),
        ("projects (id, name)", 2, vec![sync(), copy_data(b"71\tx\n"), copy_done(), sync()]),
        ("notes", 1, vec![sync(), sync(), copy_data(b"no number\n"), copy_done()]),
        ("notes", 2, vec![sync(), copy_data(b"no number\n"), copy_done(), sync()]),
        ("nowhere", 2, vec![sync()]),
    ] {
        let sent = [vec![query(&format!("copy {table} from stdin"))], data].concat().concat();
        for side in [&mut twin.direct, &mut twin.proxied] {
            side.send(&sent);
        }
        same(&twin.direct.until_ready(ready), &twin.proxied.until_ready(ready));
        twin.query("select name from projects where id = 1");
        twin.extended("update projects set name = $1 where id = $2", &["x", "1"]);
    }
}

#[test]
fn words_of_clauses_are_aliases_in_a_from_list() {
    let stage = stage();
    let mut twin = stage.twin();
    for text in [
        "select name from projects set where id = 1",
        "select p.name from projects p, programs values where p.id = 1",
        "update projects values set name = 'x' where id = 1",
        "delete from projects values where id = 9",
    ] {
        twin.query("begin");
        twin.query(text);
        twin.query("rollback");
    }
    assert_eq!(stage.proxy.metric("staleguard_unchecked_writes_total", &[("reason", "unparsed")]), 0.0);
    let mut mine = stage.session();
    mine.ok("select name from projects set where id = 2");
    stage.other_writes("update projects set name = 'theirs' where id = 2");
    assert_eq!(sqlstate(&mine.query("update projects set name = 'mine' where id = 2")), "40001");
}

#[test]
fn a_portal_that_has_written_and_is_executed_again_leaves_what_is_known() {
    let stage = stage();
    let mut twin = stage.twin();
    let save = "update projects set name = $1, version = $2 where id = 1 returning name";
    let reply = twin.exchange(&[
        parse("", save, &[]),
        bind("", &["x", "1"]),
        execute("", 3),
        execute("", 3),
        flush(),
        execute("", 0),
        sync(),
    ]);
    assert_eq!(shape(&reply), "12DCCCZ");
    // An object in memory that is saved again.
    assert_eq!(commands(&twin.proxied.extended(save, &["y", "1"])), ["UPDATE 1"]);
    let relative = "update projects set budget = budget + 1 where id = 1 returning id";
    twin.exchange(&[parse("", relative, &[]), bind("", &[]), execute("", 0), execute("", 0), sync()]);
    stage.other_writes("update projects set name = 'theirs' where id = 1");
    assert_eq!(sqlstate(&twin.proxied.query("update projects set name = 'z' where id = 1")), "40001");
}

#[test]
fn notices_on_a_text_are_told_once() {
    let stage = stage();
    let mut twin = stage.twin();
    let long = "x".repeat(70);
    let texts = [
        format!("select name as {long}, nothing from projects"),
        format!("select name as {long} from projects"),
        format!("update projects set name = 'x', name = 'y' where id = 1 and name <> \"{long}\""),
        // A name that is put in again and again.
        format!("update projects {long} set name = 'x' where id = 1"),
        format!("update projects {long} set name = 'x' where name = 'none'"),
        format!("select {long}.name from projects as {long} where id = 1"),
        format!("select name from projects \"{long}é\" where id = 1"),
        format!("delete from projects {long} where id in (7, 77)"),
    ];
    for text in &texts {
        twin.query(text);
        twin.extended(text, &[]);
        twin.exchange(&[parse("", text, &[]), describe('S', ""), sync()]);
        twin.exchange(&[query(text), query("select 1")]);
    }
    twin.query("set standard_conforming_strings = off");
    twin.query("select * from projects");
    for text in [
        r"update projects set name = 'a\b', name = 'c' where id = 1",
        r"update projects set name = 'a\b' where id = 1",
        r"update projects set name = 'a\b' where name in ('c\d', 'e')",
        r"delete from projects where name in ('c\d', 'e')",
    ] {
        twin.query(text);
        twin.extended(text, &[]);
        twin.query(&format!("{text}; select 1"));
    }
}

#[test]
fn what_is_only_explained_is_not_counted() {
    let stage = stage();
    let mut mine = stage.session();
    let unparsed =
        |stage: &Stage| stage.proxy.metric("staleguard_unchecked_writes_total", &[("reason", "unparsed")]);
    mine.ok("select * from projects where id = 1");
    let write = "update projects set name = 'x' where id = 1";
    mine.ok(&format!("set search_path = public; explain {write}"));
    assert_eq!(unparsed(&stage), 0.0);
    mine.ok(&format!("set search_path = public; {write}"));
    assert_eq!(unparsed(&stage), 1.0);
}

#[test]
fn rows_of_an_insert_are_new_ones_in_every_part_of_its_result() {
    let stage = stage();
    stage.behind().ok("alter table users alter password_hash set default 'x'");
    for parts in [1, 2] {
        let mut mine = stage.session();
        mine.ok("select * from users where id < 3");
        mine.ok("update users set email = 'mine' where id < 3");
        stage.behind().ok("delete from users where id < 3");
        let again = "insert into users (id, email) select i, 'again' from generate_series(1, 2) i returning id, email";
        let reply = mine.exchange(&[
            query("begin"),
            parse("", again, &[]),
            bind("", &[]),
            execute("", parts),
            execute("", 0),
            sync(),
        ]);
        assert_eq!(rows(&reply).len(), 2);
        for id in ["1", "2"] {
            // Of a column that the result has not shown.
            let write = format!("update users set password_hash = 'y' where id = {id}");
            assert_eq!(mine.ok(&write), "UPDATE 1", "{parts}");
            assert_eq!(mine.ok(&write), "UPDATE 1", "{parts}");
        }
        mine.ok("commit");
        stage.other_writes("update users set email = 'theirs' where id = 2");
        assert_eq!(sqlstate(&mine.query("update users set email = 'mine' where id = 2")), "40001");
    }
    assert_eq!(stage.conflicts(), 2.0);
}

#[test]
fn a_statement_that_is_parsed_again_keeps_the_types_of_its_parameters() {
    let stage = stage();
    let mut twin = stage.twin();
    twin.query("alter table projects drop constraint projects_pkey cascade, add primary key (id)");
    twin.exchange(&[parse("r", "select name from projects where id = $1", &[]), describe('S', "r"), sync()]);
    let read = [bind_raw("", "r", &[1], &[Some(&[0, 0, 0, 1])], &[]), execute("", 0), sync()];
    assert_eq!(shape(&twin.exchange(&read)), "2DCZ");
    twin.query("alter table projects alter id type bigint");
    assert_eq!(shape(&twin.exchange(&read)), "2DCZ");
    assert_eq!(shape(&twin.exchange(&[describe('S', "r"), sync()])), "tTZ");
    stage.other_writes("update projects set name = 'theirs' where id = 1");
    assert_eq!(sqlstate(&twin.proxied.query("update projects set name = 'mine' where id = 1")), "40001");
}

#[test]
fn an_execute_that_is_executed_by_name_runs_what_it_names() {
    let stage = stage();
    let mut twin = stage.twin();
    let read = "select name from projects where id = 1";
    let write = "update projects set name = $1 where id = $2";
    // What it names may come later, from either protocol, with hidden columns or with more parameters.
    twin.exchange(&[parse("second", "execute first", &[]), parse("third", "execute second", &[]), sync()]);
    for inner in
        [read, "update projects set name = 'a' where id = 1", "update projects set name = 'b' where id < 3"]
    {
        twin.exchange(&[parse("first", inner, &[]), sync()]);
        for name in ["second", "third", "first"] {
            twin.query(&format!("execute {name}"));
            twin.exchange(&[bind(name, &[]), describe('P', ""), execute("", 0), sync()]);
            twin.query(&format!("begin; execute {name}; execute {name}; commit; select 1"));
        }
        twin.query("deallocate first");
    }
    twin.exchange(&[parse("given", "execute named('c', 1)", &[]), sync()]);
    twin.exchange(&[parse("named", write, &[]), sync()]);
    twin.query("execute given");
    twin.query("deallocate named");
    twin.query(&format!("prepare named as {write}"));
    for _ in 0..2 {
        twin.query("execute given");
        twin.exchange(&[bind("given", &[]), execute("", 0), sync()]);
        twin.query("update projects set name = 'd' where id = 1");
    }
    twin.query("execute second");
    twin.exchange(&[parse("loop", "execute loop", &[]), sync()]);
    assert_eq!(stage.conflicts(), 0.0);
    let nested = stage.proxy.metric("staleguard_unchecked_writes_total", &[("reason", "nested")]);
    assert!(nested > 0.0, "{nested}");
}

#[test]
fn a_write_behind_a_portal_that_has_shown_some_of_what_it_wrote() {
    for (first, second) in [
        (
            "update projects set name = 'x' where id < 3 returning id",
            "update projects set name = 'y' where id = 1",
        ),
        (
            "update projects set name = 'x' where id < 3 returning id",
            "update projects set name = 'y' where id = 1 and name = 'none'",
        ),
        (
            "update projects set name = 'x' where id < 3 returning id",
            "update projects set name = 'y' where id in (1, 2)",
        ),
        ("delete from projects where id < 3 returning id", "update projects set name = 'y' where id = 1"),
        (
            "update projects set name = 'x' where id = 1 returning id",
            "update projects set name = 'y' where id = 1",
        ),
    ] {
        for limit in [1, 0] {
            let stage = stage();
            let mut twin = stage.twin();
            twin.query("select * from projects");
            let reply = twin.exchange(&[
                parse("", first, &[]),
                bind_raw("p", "", &[], &[], &[]),
                execute("p", limit),
                parse("", second, &[]),
                bind("", &[]),
                execute("", 0),
                sync(),
            ]);
            assert_eq!(sqlstate(&reply), "", "{first}, {second}, {limit}");
        }
    }
}
