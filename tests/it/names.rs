//! A name means what the server takes it for, however it was set and spelled.

mod lifetime;
mod settings;

use crate::common::cluster::major;
use crate::common::conflict::on_project;
use crate::common::frames::{bind, execute, parse, query, sync};
use crate::common::raw::{BOTH, Raw, commands, rows, sqlstate};
use crate::common::twin::{Stage, Twin, stage, stage_with};

const WRITE: &str = "update projects set name = $1 where id = $2";

/// A schema with a table of the same name and the same shape, on both databases.
fn other_schema(stage: &Stage) {
    for database in ["direct", "proxied"] {
        stage.cluster.direct(database).ok("create schema other;
            create table other.projects (like public.projects including all);
            insert into other.projects select * from public.projects;
            create schema empty;
            grant usage on schema other, empty to app; grant all on other.projects to app");
    }
}

/// Which of the two tables a write of `projects` has reached: the public one is protected, the other left alone.
fn reaches(stage: &Stage, session: &mut Raw, public: bool, why: &str) {
    for (protocol, id) in BOTH {
        let mark = format!("{why} {protocol:?}");
        let before: i64 = stage.version("public.projects", &format!("id = {id}")).parse().unwrap();
        session.say(protocol, "select name from projects where id = $1", &[id]);
        let reply = session.say(protocol, WRITE, &[&mark, id]);
        assert_eq!(commands(&reply), ["UPDATE 1"], "{mark}: {reply:?}");
        let mut judge = stage.behind();
        let name =
            |judge: &mut Raw, table: &str| judge.value(&format!("select name from {table} where id = {id}"));
        let after: i64 = stage.version("public.projects", &format!("id = {id}")).parse().unwrap();
        assert_eq!(after - before, i64::from(public), "{mark}");
        assert_eq!(name(&mut judge, "public.projects") == mark, public, "{mark}");
        assert_eq!(name(&mut judge, "other.projects") == mark, !public, "{mark}");
        assert_eq!(stage.version("other.projects", &format!("id = {id}")), "1", "{mark}");
    }
}

#[test]
fn search_path_of_start_up_role_and_database() {
    let stage = stage();
    other_schema(&stage);
    let address = stage.proxy.address();
    let startup = |extra: &[(&str, &str)]| {
        let parameters = [&[("user", "postgres"), ("database", "proxied")], extra].concat();
        Raw::connect_with(address, &parameters)
    };
    reaches(&stage, &mut startup(&[]), true, "default");
    reaches(&stage, &mut startup(&[("search_path", "other, public")]), false, "parameter");
    reaches(&stage, &mut startup(&[("options", "-c search_path=other")]), false, "options");
    reaches(&stage, &mut startup(&[("options", "--search-path=empty,public")]), true, "long option");
    reaches(
        &stage,
        &mut startup(&[("options", "-c search_path=other"), ("search_path", "public")]),
        true,
        "both",
    );
    let mut before = startup(&[]);
    reaches(&stage, &mut before, true, "before any default");
    // Defaults hold for sessions that begin later, not for those that are there.
    for (set, reset) in [
        ("alter role postgres set search_path = other, public", "alter role postgres reset search_path"),
        (
            "alter database proxied set search_path = other, public",
            "alter database proxied reset search_path",
        ),
        (
            "alter role postgres in database proxied set search_path = other, public",
            "alter role postgres in database proxied reset all",
        ),
        ("alter role all set search_path = other, public", "alter role all reset search_path"),
    ] {
        before.ok(set);
        let mut later = startup(&[]);
        for round in 0..3 {
            reaches(&stage, &mut before, true, &format!("{round}, there before {set}"));
            reaches(&stage, &mut later, false, &format!("{round}, begun after {set}"));
            reaches(&stage, &mut startup(&[]), false, &format!("{round}, begun later after {set}"));
            reaches(
                &stage,
                &mut startup(&[("search_path", "public")]),
                true,
                &format!("{round}, own, {set}"),
            );
        }
        later.ok("set search_path = public");
        reaches(&stage, &mut later, true, &format!("set after {set}"));
        later.ok("reset search_path");
        reaches(&stage, &mut later, false, &format!("reset after {set}"));
        before.ok(reset);
        reaches(&stage, &mut startup(&[]), true, &format!("begun after {reset}"));
        reaches(&stage, &mut later, false, &format!("there before {reset}"));
    }
}

/// The default that another session's view was made with says nothing about this one, also once that has grown old.
#[test]
fn search_path_of_a_role_that_changes_under_old_sessions() {
    let stage = stage_with(&["--catalog-max-age", "20ms"]);
    other_schema(&stage);
    let mut before = stage.session();
    reaches(&stage, &mut before, true, "before");
    stage.behind().ok("alter role postgres set search_path = other");
    let mut later = stage.session();
    for round in 0..10 {
        reaches(&stage, &mut before, true, &format!("old {round}"));
        reaches(&stage, &mut later, false, &format!("new {round}"));
    }
}

#[test]
fn search_path_that_a_session_sets() {
    let stage = stage();
    other_schema(&stage);
    let mut mine = stage.session();
    for (set, public) in [
        ("set search_path = other, public", false),
        ("set search_path = empty, public", true),
        ("set search_path to 'other'", false),
        ("set search_path to default", true),
        ("set schema 'other'", false),
        ("reset search_path", true),
        ("select set_config('search_path', 'other', false)", false),
        ("select set_config('search' || '_path', 'public', false)", true),
        ("select pg_catalog.set_config('SEARCH_PATH', 'other', false)", false),
        ("set session search_path = \"$user\", public", true),
        ("set \"search_path\" = other", false),
        ("reset all", true),
        ("do $$ begin perform set_config('search_path', 'other', false); end $$", false),
        ("discard all", true),
    ] {
        for protocol in BOTH.map(|(protocol, _)| protocol) {
            if set.starts_with("discard") && protocol != BOTH[0].0 {
                mine.ok("set search_path = other");
            }
            assert_eq!(sqlstate(&mine.say(protocol, set, &[])), "", "{set}");
            reaches(&stage, &mut mine, public, set);
        }
    }
}

/// Functions and procedures that set it, and some that do not.
const MOVERS: &str = "
    create function set_tenant(tenant text) returns void language plpgsql as
        'begin perform set_config(''search_path'', tenant, false); end';
    create function any_setting(name text, value text) returns text language sql as 'select set_config($1, $2, false)';
    create function in_its_body(value text) returns text language sql
        begin atomic select set_config('search_path', value, false); end;
    create procedure app.\"Moves\"(tenant text) language plpgsql as 'begin execute format(''SET  Schema %L'', tenant); end';
    create function calls_another(tenant text) returns int language plpgsql as 'begin call app.\"Moves\"(tenant); return 1; end';
    create function inert(tenant text) returns void language plpgsql set search_path = other as
        'begin perform set_config(''app.tenant'', tenant, false); update public.roles set schema = 1, role = 2 where false; end';
    create table roles (schema int, role int)";

#[test]
fn search_path_that_a_function_sets() {
    let stage = stage();
    other_schema(&stage);
    stage.behind().ok(&format!("create schema app; {MOVERS}"));
    let mut mine = stage.session();
    for (set, public) in [
        ("select public.set_tenant('other')", false),
        ("select public.Set_Tenant ( 'public' )", true),
        ("select public.any_setting('search_path', 'other, public')", false),
        ("select public.calls_another('public')", true),
        ("call app.\"Moves\"('other')", false),
        ("call app.\"Moves\"('public')", true),
        ("select public.in_its_body('other, public')", false),
        ("explain analyze select public.set_tenant('public')", true),
        ("select public.inert('other')", true),
    ] {
        for protocol in BOTH.map(|(protocol, _)| protocol) {
            assert_eq!(sqlstate(&mine.say(protocol, set, &[])), "", "{set}");
            reaches(&stage, &mut mine, public, set);
        }
    }
    // A function of which nothing was known when the catalog was last looked at.
    mine.ok("create function late() returns void language plpgsql as 'begin set search_path = other; end'");
    mine.ok("select late()");
    reaches(&stage, &mut mine, false, "late");
    mine.ok("select public.set_tenant('public')");
    for undo in ["rollback", "rollback to s; commit"] {
        for sql in ["begin", "savepoint s", "select public.set_tenant('other')"] {
            mine.ok(sql);
        }
        for sql in undo.split("; ") {
            mine.ok(sql);
        }
        reaches(&stage, &mut mine, true, undo);
    }
}

/// A text that a function puts together says nothing. PostgreSQL 18 tells of the change; before, the next look does.
#[test]
fn search_path_that_nobody_has_seen_set() {
    let age = if major() >= 18 { "1h" } else { "0s" };
    let stage = stage_with(&["--catalog-max-age", age]);
    other_schema(&stage);
    stage.behind().ok("create function secretly(tenant text) returns void language plpgsql as
        'begin execute ''set sear'' || ''ch_path = '' || tenant; end'");
    let (mut mine, mut other) = (stage.session(), stage.session());
    for (schema, public) in [("other", false), ("public", true), ("other", false)] {
        mine.ok(&format!("select public.secretly('{schema}')"));
        reaches(&stage, &mut mine, public, schema);
        // What names mean to it, they mean to it alone.
        reaches(&stage, &mut other, true, "another session");
        reaches(&stage, &mut stage.session(), true, "a new session");
    }
}

#[test]
fn what_a_session_alone_means_by_names_is_shared_with_nobody() {
    let stage = stage_with(&["--catalog-max-age", "1h"]);
    other_schema(&stage);
    stage.behind().ok("create procedure secretly(tenant text) language plpgsql as
        'begin execute ''set sear'' || ''ch_path = '' || tenant; end'");
    // Behind its DDL the first who looks is a session that has gone its own way.
    let (mut mine, mut other) = (stage.session(), stage.session());
    mine.ok("call secretly('other')");
    mine.ok("create table x ()");
    reaches(&stage, &mut mine, false, "mine");
    reaches(&stage, &mut other, true, "another session");
}

/// Also what is sent behind it without waiting for its answer.
#[test]
fn what_is_sent_behind_a_function_that_sets_search_path() {
    let stage = stage();
    other_schema(&stage);
    stage.behind().ok(&format!("create schema app; {MOVERS}"));
    let mut mine = stage.session();
    let one = |sql: &str| [parse("", sql, &[]), bind("", &[]), execute("", 0)];
    for set in ["select public.set_tenant", "call app.\"Moves\""] {
        for (schema, other) in [("public", "other"), ("other", "public")] {
            mine.ok(&format!("{set}('{other}')"));
            let write = "update projects set name = 'x' where id = 1";
            let before: i64 = stage.version("public.projects", "id = 1").parse().unwrap();
            let set = format!("{set}('{schema}')");
            mine.exchange(&[query(&set), query(write)]);
            mine.exchange(&[&one(&set)[..], &one(write), &[sync()]].concat());
            let bumps = 2 * i64::from(schema == "public");
            let after: i64 = stage.version("public.projects", "id = 1").parse().unwrap();
            assert_eq!(after - before, bumps, "{set}");
            assert_eq!(stage.version("other.projects", "id = 1"), "1", "{set}");
            // In one Query the second statement cannot be planned before the first has run: it is counted.
            let counted =
                || stage.proxy.metric("staleguard_unchecked_writes_total", &[("reason", "unparsed")]);
            let was = counted();
            mine.ok(&format!("{set}; {write}"));
            assert_eq!(counted() - was, 1.0, "{set}");
        }
    }
}

#[test]
fn search_path_for_a_transaction() {
    let stage = stage();
    other_schema(&stage);
    let mut mine = stage.session();
    for protocol in BOTH.map(|(protocol, _)| protocol) {
        for set in [
            "set local search_path = other",
            "select set_config('search_path', 'other', true)",
            "set search_path = other",
            "set local schema 'other'",
        ] {
            for undo in ["rollback", "rollback to s; commit", "commit"] {
                // A plain SET outlives its transaction's commit.
                let lasts = undo == "commit" && set.starts_with("set search");
                for sql in ["begin", "savepoint s", set] {
                    assert_eq!(sqlstate(&mine.say(protocol, sql, &[])), "", "{sql}");
                }
                let mark = format!("{set}, inside");
                for (protocol, id) in BOTH {
                    assert_eq!(commands(&mine.say(protocol, WRITE, &[&mark, id])), ["UPDATE 1"], "{mark}");
                    let sql = "select name from other.projects where id = $1";
                    assert_eq!(rows(&mine.say(protocol, sql, &[id])), [[mark.clone()]]);
                }
                for sql in undo.split("; ") {
                    assert_eq!(sqlstate(&mine.say(protocol, sql, &[])), "", "{sql}");
                }
                reaches(&stage, &mut mine, !lasts, &format!("{set}, behind {undo}"));
                mine.ok("reset search_path");
            }
        }
    }
}

/// The server itself reads a prepared statement anew under another search_path.
#[test]
fn a_prepared_statement_follows_the_search_path() {
    let stage = stage();
    other_schema(&stage);
    let mut twin = stage.twin();
    let run = |twin: &mut Twin| {
        for (name, values) in [("r", &["1"][..]), ("w", &["x", "1"]), ("u", &["1"])] {
            let reply = twin.exchange(&[bind(name, values), execute("", 0), sync()]);
            assert_eq!(sqlstate(&reply), "", "{name}: {reply:?}");
        }
    };
    twin.exchange(&[
        parse("r", "select budget from projects where id = $1", &[]),
        parse("w", "update projects set name = $1 where id = $2", &[]),
        parse("u", "update projects set budget = budget + 1 where id = $1 returning budget", &[]),
        sync(),
    ]);
    let version = |wanted: &str| assert_eq!(stage.version("projects", "id = 1"), wanted);
    run(&mut twin);
    version("3");
    twin.query("set search_path = other");
    run(&mut twin);
    run(&mut twin);
    version("3");
    twin.query("reset search_path");
    run(&mut twin);
    version("5");
    twin.query("begin");
    twin.query("set local search_path = other");
    run(&mut twin);
    twin.query("rollback");
    run(&mut twin);
    version("7");
    // And a temporary table that comes in between.
    twin.query("create temp table projects (id int primary key, name varchar(200), budget numeric(12, 2)); insert into pg_temp.projects values (1, 't', 1)");
    run(&mut twin);
    twin.query("select * from pg_temp.projects");
    twin.query("drop table pg_temp.projects");
    run(&mut twin);
    let versions = stage.version("projects", "id = 1");
    let budgets = ["direct", "proxied"]
        .map(|database| stage.cluster.direct(database).value("select budget from projects where id = 1"));
    assert_eq!(budgets[0], budgets[1]);
    assert!(["9", "11"].contains(&versions.as_str()), "{versions}");
}

#[test]
fn temporary_tables_shadow_in_both_protocols() {
    let stage = stage();
    let mut twin = stage.twin();
    for (protocol, id) in BOTH {
        for create in [
            "create temp table projects (id int primary key, name text)",
            "create temporary table projects as select 1 as id, 'a'::text as name",
            "create temp table if not exists projects (id int, name text, version int default 7)",
            "begin; create temp table projects (id int, name text) on commit drop",
        ] {
            let before = stage.version("projects", &format!("id = {id}"));
            for sql in create.split("; ") {
                twin.say(protocol, sql, &[]);
            }
            twin.say(protocol, "insert into projects (id, name) values ($1::int + 10, 'temp')", &[id]);
            let mine = format!("1{id}");
            twin.say(protocol, "select name from projects where id = $1", &[&mine]);
            assert_eq!(commands(&twin.say(protocol, WRITE, &["x", &mine])), ["UPDATE 1"], "{create}");
            assert_eq!(stage.version("projects", &format!("id = {id}")), before, "{create}");
            // By its schema the protected one is reached all the same.
            let write = "update public.projects set name = $1 where id = $2";
            assert_eq!(commands(&twin.say(protocol, write, &["y", id])), ["UPDATE 1"]);
            match create.starts_with("begin") {
                true => twin.say(protocol, "commit", &[]),
                false => twin.say(protocol, "drop table projects", &[]),
            };
            assert_eq!(commands(&twin.say(protocol, WRITE, &["z", id])), ["UPDATE 1"], "{create}");
            let after: i64 = before.parse().unwrap();
            assert_eq!(stage.version("projects", &format!("id = {id}")), (after + 2).to_string(), "{create}");
        }
        twin.query("discard temp");
    }
}

#[test]
fn spellings_of_one_name() {
    let stage = stage();
    for write in [
        "UPDATE PROJECTS SET NAME = $1 WHERE ID = $2",
        "update \"projects\" set \"name\" = $1 where \"id\" = $2",
        "update Public . Projects set name = $1 where Projects.Id = $2",
        "update \"public\".\"projects\" as \"P\" set name = $1 where \"P\".id = $2",
        "update U&\"\\0070rojects\" set U&\"n\\0061me\" = $1 where U&\"\\0069d\" = $2",
        "update U&\"\\+000070rojects\" set name = $1 where id = $2",
        "update projects set name = $1 where U&\"\\0069d\" = $2",
        "update U&\"!0070rojects\" uescape '!' set name = $1 where id = $2",
        "update projects set name = $1 where U&\"!0069d\" uescape '!' = $2",
        "update only(projects) set name = $1 where id = $2",
    ] {
        for (protocol, id) in BOTH {
            let mut twin = stage.twin();
            twin.proxied.say(protocol, "select id, name from projects where id = $1", &[id]);
            let version = || stage.version("projects", &format!("id = {id}")).parse::<i64>().unwrap();
            let before = version();
            let reply = twin.say(protocol, write, &["mine", id]);
            assert_eq!(commands(&reply), ["UPDATE 1"], "{write}: {reply:?}");
            assert_eq!(version(), before + 1, "{write}");
            twin.proxied.say(protocol, "select id, name from projects where id = $1", &[id]);
            let known = version();
            stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
            let reply = twin.proxied.say(protocol, write, &["stale", id]);
            on_project(id, known, Some(known + 1)).check(&reply, 'I');
        }
    }
}

#[test]
fn tables_that_only_look_like_it() {
    let stage = stage();
    for database in ["direct", "proxied"] {
        stage.cluster.direct(database).ok(
            "create table \"Projects\" (like projects including all); insert into \"Projects\" (id, name) values (1, 'a'), (2, 'b');
             create table \"PROJECTS\" (like projects including all); insert into \"PROJECTS\" (id, name) values (1, 'a'), (2, 'b');
             create table \"projects \" (like projects including all); insert into \"projects \" (id, name) values (1, 'a'), (2, 'b')",
        );
    }
    let mut twin = stage.twin();
    for table in
        ["\"Projects\"", "\"PROJECTS\"", "U&\"\\0050rojects\"", "\"projects \"", "public.\"Projects\""]
    {
        for (protocol, id) in BOTH {
            let write = format!("update {table} set name = $1 where id = $2");
            assert_eq!(commands(&twin.say(protocol, &write, &["x", id])), ["UPDATE 1"], "{table}");
            assert_eq!(stage.version(table, &format!("id = {id}")), "1", "{table}");
            assert_eq!(stage.version("projects", &format!("id = {id}")), "1", "{table}");
        }
    }
}

#[test]
fn a_protected_table_of_mixed_case() {
    let stage = stage_with(&["--tables", "Orders,shop.Order Lines"]);
    let mut mine = stage.session();
    mine.ok("create schema shop;
        create table \"Orders\" (\"Id\" int primary key, \"Name\" text, version int not null default 1);
        create table shop.\"Order Lines\" (\"Id\" int primary key, \"Name\" text, version int not null default 1);
        create table orders (id int primary key, name text, version int not null default 1);
        insert into \"Orders\" values (1, 'a'), (2, 'b'); insert into shop.\"Order Lines\" values (1, 'a'), (2, 'b');
        insert into orders values (1, 'a'), (2, 'b')");
    for (protocol, id) in BOTH {
        for table in ["\"Orders\"", "shop.\"Order Lines\""] {
            let (read, write) = (
                format!("select \"Name\" from {table} where \"Id\" = $1"),
                format!("update {table} set \"Name\" = $1 where \"Id\" = $2"),
            );
            mine.say(protocol, &read, &[id]);
            assert_eq!(commands(&mine.say(protocol, &write, &["x", id])), ["UPDATE 1"]);
            let row = format!("\"Id\" = {id}");
            assert_eq!(stage.version(table, &row), "2", "{table}");
            stage.other_writes(&format!("update {table} set \"Name\" = 'theirs' where {row}"));
            let reply = mine.say(protocol, &write, &["stale", id]);
            assert_eq!(sqlstate(&reply), "40001", "{table}: {reply:?}");
            assert_eq!(stage.version(table, &row), "3", "{table}");
        }
        let write = "update orders set name = $1 where id = $2";
        assert_eq!(commands(&mine.say(protocol, write, &["x", id])), ["UPDATE 1"]);
        assert_eq!(stage.version("orders", &format!("id = {id}")), "1");
    }
}
