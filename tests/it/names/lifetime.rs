//! How long a name means what it means: a session, a transaction, as long as nobody looks again.

use super::*;

#[test]
fn a_temporary_table_shadows_in_its_own_session_only() {
    let stage = stage();
    for create in [
        "create temp table projects (id int, name text)",
        "create local temporary table projects (id int, name text)",
        "create temporary table projects as select 1 as id, 'a' as name",
        "select 1 as id, 'a' as name into temp projects",
        "create temporary view projects as select 1 as id, 'a' as name",
    ] {
        let mut shadowing = stage.session();
        shadowing.ok(create);
        shadowing.ok("select name from projects");
        let before: i32 = stage.version("projects", "id = 1").parse().unwrap();
        stage.other_writes("update projects set name = 'x' where id = 1");
        assert_eq!(stage.version("projects", "id = 1"), (before + 1).to_string(), "{create}");
    }
}

#[test]
fn names_set_in_a_transaction_go_with_what_undoes_them() {
    let stage = stage();
    let mut twin = stage.twin();
    twin.query("create schema other; create table other.projects (id int primary key, name text)");
    twin.query("insert into other.projects values (1, 'other')");
    for (set, undo) in [
        ("set search_path = public", "rollback to a"),
        ("set local search_path = public", "rollback to savepoint a"),
        ("set search_path = public", "rollback and chain"),
        ("set local search_path = public", "commit and chain"),
    ] {
        twin.query("set search_path = other");
        twin.query("select lower(name) from projects where id = 1");
        twin.query("begin");
        twin.query("savepoint a");
        twin.query(set);
        twin.query("select lower(name) from projects where id = 1");
        twin.query(undo);
        let reply = twin.query("update projects set name = 'x' where id = 1");
        assert_eq!(commands(&reply), ["UPDATE 1"], "{set}, {undo}: {reply:?}");
        twin.query("rollback");
    }
}

#[test]
fn a_view_may_be_as_short_lived_as_it_likes() {
    for age in ["0s", "1ms"] {
        let stage = stage_with(&["--catalog-max-age", age]);
        let mut twin = stage.twin();
        for (protocol, id) in BOTH {
            twin.say(protocol, "select name from projects where id = $1", &[id]);
            twin.say(protocol, "select body from notes where id = $1", &[id]);
            twin.say(protocol, WRITE, &["x", id]);
        }
        assert_eq!(stage.version("projects", "id = 1"), "2");
    }
}

#[test]
fn the_view_of_an_open_transaction_is_its_own() {
    let stage = stage_with(&["--catalog-max-age", "1ms"]);
    let mut twin = stage.twin();
    twin.query("begin");
    twin.query("drop table projects cascade");
    twin.query("create table projects (id int primary key, name text)");
    twin.query("insert into projects values (1, 'a')");
    twin.query("select lower(name) from projects where id = 1");
    let mut other = stage.session();
    for _ in 0..3 {
        other.ok("select name from programs where id = 1");
        twin.query("update projects set name = 'x' where id = 1");
    }
    twin.query("rollback");
    twin.query("update projects set name = 'x' where id = 1");
    assert_eq!(stage.version("projects", "id = 1"), "2");
}
