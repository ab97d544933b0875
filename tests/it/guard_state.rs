//! What a refusal of the guard form shows of the row: its present state where nothing of the client's stands behind
//! the statement, and an error without it where the proxy cannot ask.

use crate::common::conflict::{Conflict, on_project};
use crate::common::frames::{bind, bind_raw, copy_data, execute, flush, parse, query, sync};
use crate::common::raw::{BOTH, Protocol, Raw, error, rows, shape, sqlstate, status};
use crate::common::twin::{Stage, stage, stage_with};
use crate::lifecycle::{cancel, until_true};

/// Writes of row `$1` that the guard form checks.
const WRITES: &[&str] = &[
    "update projects set name = 'mine' where id >= $1::int and id < $1::int + 1",
    "update projects set name = 'mine' where id in ($1, 77)",
    "update projects set name = 'mine' where id = $1::int + 0 returning id",
    "with a as (update projects set name = 'mine' where id = $1 returning id) select * from a",
    "insert into projects (id) values ($1) on conflict (id) do update set name = 'mine'",
    "update projects p set name = v.n from (values ($1::int, 'mine')) v(id, n) where p.id = v.id",
];

/// The session has seen row `id`, and another user has changed it since.
fn stale(stage: &Stage, mine: &mut Raw, id: &str) -> i64 {
    mine.ok(&format!("select id, name, version from projects where id = {id}"));
    let known = stage.version("projects", &format!("id = {id}")).parse().unwrap();
    stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
    known
}

fn theirs() -> serde_json::Value {
    serde_json::json!({"name": "theirs"})
}

#[test]
fn a_refusal_of_the_guard_form_shows_the_state_outside_a_block() {
    let stage = stage();
    for (protocol, id) in BOTH {
        for sql in WRITES {
            let mut mine = stage.session();
            let known = stale(&stage, &mut mine, id);
            let reply = mine.say(protocol, sql, &[id]);
            let detail = on_project(id, known, Some(known + 1)).check(&reply, 'I');
            assert_eq!(detail["current_state"], theirs(), "{sql}: {detail}");
            // The session goes on, and so does the block in which nothing can be asked any more.
            mine.ok("begin");
            let reply = mine.say(protocol, sql, &[id]);
            let detail = on_project(id, known, Some(known + 1)).check(&reply, 'E');
            assert!(detail.get("current_state").is_none(), "{sql}: {detail}");
            mine.ok("rollback");
            mine.ok(&format!("select name from projects where id = {id}"));
            assert!(error(&mine.say(protocol, sql, &[id])).is_none(), "{sql}");
        }
    }
}

#[test]
fn so_does_that_of_a_batch_and_of_an_execute() {
    let stage = stage();
    let mut mine = stage.session();
    let known = stale(&stage, &mut mine, "1");
    let check = |reply: &[_]| {
        let conflict = on_project("1", known, Some(known + 1));
        let one: Vec<_> =
            reply.iter().filter(|f: &&crate::common::frames::Frame| f.tag != b'C').cloned().collect();
        assert_eq!(conflict.check(&one, 'I')["current_state"], theirs());
    };
    let update = "update projects set name = 'mine' where id = 1";
    let reply = mine.query(&format!("update projects set name = 'x' where id = 5; {update}; select 1"));
    assert_eq!(shape(&reply), "CEZ");
    check(&reply);
    mine.ok(&format!("prepare p as {update}"));
    check(&mine.query("execute p"));
    // The error ends the cycle: what stands behind it there is skipped by the server.
    let cycle = [
        parse("w", "update projects set name = $1 where id = $2", &[]),
        bind("w", &["x", "5"]),
        execute("", 0),
        bind("w", &["mine", "1"]),
        execute("", 0),
        bind("w", &["x", "6"]),
        execute("", 0),
        sync(),
    ];
    let reply = mine.exchange(&cycle);
    assert_eq!(shape(&reply), "12C2EZ");
    check(&reply);
    for id in ["5", "6"] {
        assert_eq!(stage.version("projects", &format!("id = {id}")), "1");
    }
    // Behind an implicit transaction that a text has made its own, a block stays behind.
    let reply = mine.query(&format!("begin; {update}"));
    assert_eq!((shape(&reply).as_str(), status(&reply)), ("CEZ", 'E'));
    assert!(!error(&reply).unwrap().field('D').unwrap().contains("current_state"));
}

#[test]
fn with_more_behind_it_the_error_waits_for_nothing() {
    let stage = stage();
    let mut mine = stage.session();
    let known = stale(&stage, &mut mine, "1");
    let conflict = on_project("1", known, Some(known + 1));
    let set = "update projects set name = 'mine' where id > 0 and id < 2";
    let select = [parse("", "select 7", &[]), bind("", &[]), execute("", 0), sync()].concat();
    let write = [parse("", set, &[]), bind("", &[]), execute("", 0), sync()].concat();
    // A pipeline of cycles, of Queries, and of both.
    for (first, second) in [(&write, &select), (&query(set), &select), (&write, &query("select 7"))] {
        mine.send(&[&first[..], &second[..]].concat());
        let reply = mine.until_ready(1);
        conflict.check(&reply, 'I');
        assert_eq!(rows(&mine.until_ready(1)), [["7"]]);
    }
    // The client waits for what it flushed before it sends its Sync.
    mine.send(&[parse("", set, &[]), bind("", &[]), execute("", 0), flush()].concat());
    let mut reply = mine.until('E');
    mine.send(&sync());
    reply.extend(mine.until_ready(1));
    conflict.check(&reply, 'I');
    assert_eq!(mine.value("select 1"), "1");
}

#[test]
fn rows_of_all_keys_are_found_again() {
    let stage = stage();
    for (table, entity, key, id, set) in [
        ("portfolios", "portfolio", "id", "2531439d-3075-46d6-9c19-63e3342fc43e", "name"),
        ("rates", "rate", "code", "it's", "amount"),
        ("resources", "resource", "id", "9007199254740993", "name"),
        ("user_roles", "user_role", "(user_id, role_id)", "1,admin", "granted_by"),
    ] {
        for (protocol, _) in BOTH {
            let mut mine = stage.session();
            mine.ok(&format!("select * from {table}"));
            let literal = match key {
                "(user_id, role_id)" => "(1, 'admin')".to_owned(),
                _ => format!("'{}'", id.replace('\'', "''")),
            };
            let version = stage.version(table, &format!("{key} = {literal}")).parse().unwrap();
            stage.other_writes(&format!("update {table} set {set} = '77' where {key} = {literal}"));
            let reply = mine.say(protocol, &format!("update {table} set {set} = '5'"), &[]);
            let conflict = Conflict { table, entity, id, expected: version, actual: Some(version + 1) };
            let state = conflict.check(&reply, 'I')["current_state"][set].to_string();
            assert!(state.contains("77"), "{table}: {state}");
        }
    }
}

#[test]
fn a_blind_write_of_a_set_shows_it_too() {
    let stage = stage_with(&["--blind", "reject"]);
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.ok(&format!("select id, name from projects where id <> {id}"));
        let reply = mine.say(protocol, "update projects set name = 'x' where id in ($1, 9)", &[id]);
        let field = |code| error(&reply).unwrap().field(code).unwrap();
        assert!(field('M').starts_with("blind write on project"), "{reply:?}");
        assert!(field('D').contains("\"current_state\":{\"name\": \"project "), "{reply:?}");
    }
}

#[test]
fn a_state_that_may_not_be_read_is_left_out() {
    let stage = stage();
    let rights = "revoke all on projects from app; \
                  grant select (id, status, version), update (name, status, version) on projects to app";
    stage.behind().ok(rights);
    for (protocol, id) in BOTH {
        let mut mine = stage.proxy.session_of("app", "proxied");
        mine.ok(&format!("select id, status from projects where id = {id}"));
        stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
        let sql = "update projects set name = 'mine' where id in ($1, 77)";
        let detail = on_project(id, 1, Some(2)).check(&mine.say(protocol, sql, &[id]), 'I');
        assert!(detail.get("current_state").is_none(), "{detail}");
        assert_eq!(mine.value("select 1"), "1");
    }
}

/// Another session takes the table between the refusal and the read of the state.
fn behind_a_lock(stage: &Stage, protocol: Protocol) -> (Raw, Raw) {
    let mut judge = stage.behind();
    let mut mine = stage.session();
    // The version is compared again once the row's lock is free.
    mine.ok("select id, name from projects where id = 1");
    let mut theirs = stage.session();
    theirs.ok("begin; update projects set name = 'theirs' where id = 1");
    let set = "update projects set name = 'mine' where id in (1, 77)";
    mine.send(&match protocol {
        Protocol::Simple => query(set),
        Protocol::Extended => [parse("", set, &[]), bind("", &[]), execute("", 0), sync()].concat(),
    });
    let waits = |pid| format!("select exists (select from pg_locks where pid = {pid} and not granted)");
    until_true(&mut judge, &waits(mine.pid()));
    let mut locking = stage.behind();
    locking.send(&query("begin; lock table projects in access exclusive mode"));
    until_true(&mut judge, &waits(locking.pid()));
    theirs.ok("commit");
    locking.until_ready(1);
    until_true(&mut judge, &waits(mine.pid()));
    (mine, locking)
}

#[test]
fn a_state_that_cannot_be_read_in_time_is_left_out() {
    let told = |mut mine: Raw, mut locking: Raw| {
        let detail = on_project("1", 1, Some(2)).check(&mine.until_ready(1), 'I');
        assert!(detail.get("current_state").is_none(), "{detail}");
        locking.ok("rollback");
        // Nothing of it is left.
        assert_eq!(mine.value("select 1"), "1");
    };
    let on_demand = stage();
    let (mine, locking) = behind_a_lock(&on_demand, Protocol::Extended);
    cancel(&on_demand, &mine.key);
    told(mine, locking);
    // Long enough for the test to see it wait.
    let in_time = stage_with(&["--own-message-timeout", "3s"]);
    let (mine, locking) = behind_a_lock(&in_time, Protocol::Simple);
    told(mine, locking);
}

#[test]
fn a_backend_that_ends_meanwhile_leaves_the_error() {
    for (protocol, _) in BOTH {
        let stage = stage();
        let (mut mine, _locking) = behind_a_lock(&stage, protocol);
        stage.behind().ok(&format!("select pg_terminate_backend({})", mine.pid()));
        let told = mine.until_closed();
        let start = if protocol == Protocol::Simple { "EE" } else { "12EE" };
        assert_eq!(shape(&told), start, "{told:?}");
        let errors: Vec<_> = told.into_iter().filter(|f| f.tag == b'E').collect();
        let message = errors[0].field('M').unwrap();
        assert_eq!(message, "version conflict on project 1: expected version 1, actual version 2");
        assert_eq!(sqlstate(&errors[1..]), "57P01");
    }
}

/// What the server reports behind an error it reports behind it still.
#[test]
fn settings_that_come_back_are_reported_behind_the_error() {
    let stage = stage();
    let mut twin = stage.twin();
    let mut mine = stage.session();
    stale(&stage, &mut mine, "1");
    let fails =
        "set timezone = 'Asia/Tokyo'; update projects set name = ('x' || id)::int::text where id in (1, 77)";
    let direct = twin.direct.query(fails);
    let reply =
        mine.query("set timezone = 'Asia/Tokyo'; update projects set name = 'mine' where id in (1, 77)");
    assert_eq!(shape(&reply), shape(&direct), "{reply:?}");
    assert_eq!(sqlstate(&reply), "40001");
    assert_eq!(mine.value("select 1"), "1");
}

/// A look that follows a reply must not go into the midst of a message of the client's.
#[test]
fn a_look_does_not_cut_a_message_in_two() {
    let stage = stage_with(&["--catalog-max-age", "0s"]);
    let mut mine = stage.session();
    mine.ok("create temp table loads (n int)");
    for _ in 0..3 {
        mine.send(&query("copy loads from stdin"));
        mine.until('G');
        let bad = copy_data(b"seven\n");
        let rest = copy_data(&[b'8'; 100]);
        let (head, tail) = rest.split_at(40);
        // The server fails and is ready again while the client is still sending.
        mine.send(&[&bad[..], head].concat());
        assert_eq!(sqlstate(&mine.until_ready(1)), "22P02");
        // The rest of a message that the server ignores.
        mine.send(tail);
        assert_eq!(mine.value("select 1"), "1");
    }
    assert_eq!(
        mine.exchange(&[parse("", "select 1", &[]), bind_raw("", "", &[], &[], &[]), execute("", 0), sync()])
            .len(),
        5
    );
}
