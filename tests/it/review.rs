//! Orders of messages and of ends of transactions that a proxy is easily wrong about.

use std::time::{Duration, Instant};

use crate::common::cluster::major;
use crate::common::conflict::on_project;
use crate::common::frames::{
    bind, bind_raw, close, copy_done, describe, execute, flush, message, parse, query, sync,
};
use crate::common::raw::{BOTH, Raw, commands, rows, shape, sqlstate, status};
use crate::common::twin::{same, stage, stage_with};

const READ: &str = "select * from projects where id = $1";
const WRITE: &str = "update projects set name = $1 where id = $2";

/// One cycle of the unnamed statement, with Sync.
pub fn cycle(sql: &str, values: &[&str]) -> Vec<Vec<u8>> {
    vec![parse("", sql, &[]), bind("", values), describe('P', ""), execute("", 0), sync()]
}

pub fn both(sides: &mut crate::common::twin::Twin, bytes: &[u8]) {
    sides.direct.send(bytes);
    sides.proxied.send(bytes);
}

#[test]
fn a_write_bound_in_a_cycle_that_has_failed_is_skipped_with_it() {
    let stage = stage();
    let mut twin = stage.twin();
    twin.exchange(&[parse("w", WRITE, &[]), sync()]);
    both(&mut twin, &[parse("", "selec", &[]), flush(), bind("w", &["x", "1"])].concat());
    same(&twin.direct.until('E'), &twin.proxied.until('E'));
    both(&mut twin, &[execute("", 0), sync()].concat());
    same(&twin.direct.until('Z'), &twin.proxied.until('Z'));
    assert_eq!(shape(&twin.query("select 1")), "TDCZ");
    assert_eq!(shape(&twin.exchange(&[bind("w", &["x", "1"]), execute("", 0), sync()])), "2CZ");
}

#[test]
fn whatever_follows_a_write_in_its_cycle_is_answered() {
    let stage = stage();
    let mut twin = stage.twin();
    let statements = [parse("w", WRITE, &[]), parse("n", "select body from notes", &[]), sync()];
    twin.exchange(&statements);
    let write = [bind("w", &["x", "1"]), execute("", 0)];
    for behind in [
        vec![describe('S', "n")],
        vec![describe('S', "missing")],
        vec![describe('P', "missing")],
        vec![execute("missing", 0)],
        vec![bind_raw("p", "n", &[], &[], &[]), execute("p", 1), execute("p", 0)],
        vec![close('S', "n"), parse("n", "select body from notes", &[])],
        vec![message(b'P', b"no zero")],
        vec![message(b'B', &[0])],
        vec![message(b'E', b"x")],
        vec![message(b'D', b"X\0")],
        vec![message(b'C', b"X\0")],
    ] {
        for parts in [&write[..], &write[..1]] {
            let messages = [parts, &behind[..], &[sync()]].concat();
            twin.exchange(&messages);
            assert_eq!(shape(&twin.query("select 1")), "TDCZ");
        }
    }
    if major() >= 18 {
        // Between Bind and Query the proxy sends Flush, at which this server itself fails (XX000, unexpected state STARTED).
        return;
    }
    twin.exchange(&[bind("w", &["x", "1"]), execute("", 0), query("select 1"), sync()]);
    twin.exchange(&[bind("w", &["x", "1"]), query("select 1"), sync()]);
    twin.exchange(&[bind("w", &["x", "1"]), message(b'Q', b"no zero"), sync()]);
}

#[test]
fn a_checked_query_that_fails_leaves_the_session_in_step() {
    let stage = stage();
    let mut twin = stage.twin();
    twin.query("select * from projects where id = 1");
    for begin in ["begin", "select 1"] {
        for broken in [
            "update projects set name = 'x' where id = 1 and nowhere = 2",
            "update projects set name = nowhere where id = 1",
            "update projects set name = 'x' where id = 1 and",
            "update projects set name = 1 / 0 where id = 1",
        ] {
            twin.query(begin);
            twin.query(broken);
            assert_eq!(
                shape(&twin.exchange(&[query("rollback"), query("select 1")])).replace('N', ""),
                "CZTDCZ"
            );
        }
    }
}

#[test]
fn a_checked_query_whose_version_column_is_gone_is_run_as_it_is() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("select * from projects where id = 1");
    stage.behind().ok("alter table projects drop column version");
    let reply = mine.exchange(&[query("update projects set name = 'x' where id = 1"), query("select 1")]);
    assert_eq!(shape(&reply), "CZTDCZ", "{reply:?}");
    assert_eq!(mine.ok("update projects set name = 'y' where id = 1"), "UPDATE 1");
}

#[test]
fn a_query_behind_messages_without_sync() {
    let stage = stage();
    let mut twin = stage.twin();
    twin.query("select * from projects where id = 1");
    // The server skips the Query as well.
    both(
        &mut twin,
        &[parse("", "selec", &[]), query("update projects set name = 'x' where id = 1")].concat(),
    );
    assert_eq!(shape(&twin.exchange(&[sync()])), "EZ");
    assert_eq!(shape(&twin.query("select 1")), "TDCZ");
}

#[test]
fn a_query_that_would_commit_messages_before_it_is_refused_with_them() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("select * from projects where id = 1");
    stage.other_writes("update projects set name = 'theirs' where id = 1");
    let insert = [parse("", "insert into notes values (70, 'x')", &[]), bind("", &[]), execute("", 0)];
    let reply =
        mine.exchange(&[&insert[..], &[query("update projects set name = 'mine' where id = 1")]].concat());
    let inserted = stage.behind().value("select count(*) from notes where id = 70");
    assert_eq!((shape(&reply), inserted), ("12CEZ".into(), "0".into()), "{reply:?}");
}

#[test]
fn what_is_sent_behind_discard_all_hides_its_hidden_columns() {
    let stage = stage();
    let mut twin = stage.twin();
    twin.query("select name from projects where id = 1");
    twin.exchange(&[query("discard all"), query("select name from projects where id = 1")]);
    twin.exchange(&[
        query("discard all"),
        query("update projects set name = 'x' where id = 1 returning name"),
    ]);
    twin.exchange(&[query("discard all"), query("update projects set budget = budget + 1 where id = 1")]);
    let mut messages = vec![query("discard all")];
    messages.extend(cycle("select name from projects where id = $1", &["1"]));
    twin.exchange(&messages);
}

#[test]
fn a_write_behind_own_writes_in_flight_knows_of_them() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, READ, &[id]);
        let extended = protocol == crate::common::raw::Protocol::Extended;
        let one = |sql: &str| match extended {
            true => cycle(&sql.replace('?', "$1"), &[id]),
            false => vec![query(&sql.replace('?', id))],
        };
        for before in [
            "update projects set budget = budget + 1 where id = ?",
            "update projects set name = 'a' where id = ? returning name",
            "update projects set name = 'a' where id = ?",
            "update projects set name = 'a' where id = ? or id = 0",
            "with a as (update projects set name = 'b' where id = ?) select 1",
        ] {
            let write = one("update projects set name = 'b' where id = ?");
            let reply = mine.exchange(&[one(before), write].concat());
            assert_eq!(sqlstate(&reply), "", "{before}: {reply:?}");
            mine.say(protocol, READ, &[id]);
        }
        // What is undone in front of it is not what it is based on.
        mine.ok("begin");
        mine.ok(&format!("update projects set name = 'undone' where id = {id}"));
        let mut messages = vec![query("rollback")];
        messages.extend(one("update projects set name = 'b' where id = ?"));
        let reply = mine.exchange(&messages);
        assert_eq!(sqlstate(&reply), "", "{reply:?}");
    }
    assert_eq!(stage.conflicts(), 0.0);
}

#[test]
fn a_portal_opened_before_an_own_write_does_not_undo_what_that_taught() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("begin");
    let open = [
        parse("l", "select id, name from projects order by id", &[]),
        bind_raw("p", "l", &[], &[], &[]),
        execute("p", 1),
        sync(),
    ];
    assert_eq!(shape(&mine.exchange(&open)), "12DsZ");
    mine.ok("select * from projects where id = 2");
    mine.ok("update projects set name = 'mine' where id = 2");
    assert_eq!(shape(&mine.exchange(&[execute("p", 1), sync()])), "DsZ");
    let reply = mine.query("update projects set name = 'again' where id = 2");
    assert_eq!(shape(&reply), "CZ", "{reply:?}");
    mine.ok("commit");
    assert_eq!(stage.version("projects", "id = 2"), "3");
}

#[test]
fn a_returning_fetched_in_parts_forgets_nothing() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("select * from projects where id < 3");
    mine.ok("begin");
    let sql = "update projects set name = 'mine' where id = 1 returning name";
    let reply = mine.exchange(&[
        parse("", sql, &[]),
        bind_raw("p", "", &[], &[], &[]),
        execute("p", 1),
        execute("p", 0),
        sync(),
    ]);
    assert_eq!(shape(&reply), "12DsCZ", "{reply:?}");
    mine.ok("commit");
    stage.other_writes("update projects set name = 'theirs' where id = 2");
    on_project("2", 1, Some(2)).check(&mine.query("update projects set name = 'mine' where id = 2"), 'I');
}

#[test]
fn a_statement_bound_with_too_few_values_stays_protected() {
    let stage = stage();
    let mut twin = stage.twin();
    twin.exchange(&[parse("w", WRITE, &[]), sync()]);
    for wrong in [&["x"][..], &["x", "1", "2"], &[]] {
        twin.exchange(&[bind("w", wrong), execute("", 0), sync()]);
    }
    assert_eq!(shape(&twin.exchange(&[bind("w", &["x", "1"]), execute("", 0), sync()])), "2CZ");
    assert_eq!(stage.version("projects", "id = 1"), "2");
}

/// Sends `sql` until it does what is wanted: views of the catalog may be five seconds old.
fn until(session: &mut Raw, sql: &str, mut wanted: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !wanted() {
        assert!(Instant::now() < end, "{sql}");
        session.query(sql);
    }
}

#[test]
fn a_statement_prepared_before_the_column_came_is_protected_from_then_on() {
    let stage = stage_with(&["--catalog-max-age", "50ms"]);
    stage.behind().ok("alter table projects drop column version");
    let mut mine = stage.session();
    mine.exchange(&[
        parse("w", WRITE, &[]),
        parse("r", "select name from projects where id = $1", &[]),
        sync(),
    ]);
    assert_eq!(shape(&mine.exchange(&[bind("w", &["x", "1"]), execute("", 0), sync()])), "2CZ");
    stage.behind().ok("alter table projects add column version integer not null default 1");
    let mut judge = stage.behind();
    until(&mut mine, "update projects set name = 'x' where id = 2", || {
        judge.value("select version from projects where id = 2") == "2"
    });
    assert_eq!(shape(&mine.exchange(&[bind("w", &["x", "1"]), execute("", 0), sync()])), "2CZ");
    assert_eq!(stage.version("projects", "id = 1"), "2");
    assert_eq!(shape(&mine.exchange(&[bind("r", &["1"]), execute("", 0), sync()])), "2DCZ");
    stage.other_writes("update projects set name = 'theirs' where id = 1");
    let reply = mine.exchange(&[bind("w", &["x", "1"]), execute("", 0), sync()]);
    on_project("1", 2, Some(3)).check(&reply, 'I');
}

#[test]
fn result_formats_of_a_statement_without_a_result() {
    let stage = stage();
    let mut twin = stage.twin();
    for sql in [
        "update projects set budget = budget + 1 where id = 1",
        "update projects set name = 'x' where id = 1",
    ] {
        for formats in [&[][..], &[1], &[1, 1], &[0, 1, 0]] {
            let messages = [
                parse("", sql, &[]),
                bind_raw("", "", &[], &[], formats),
                describe('P', ""),
                execute("", 1),
                sync(),
            ];
            assert_eq!(shape(&twin.exchange(&messages)), "12nCZ", "{sql} {formats:?}");
        }
    }
    assert_eq!(stage.version("projects", "id = 1"), "9");
}

#[test]
fn more_result_formats_than_a_frame_can_grow_by() {
    let stage = stage();
    let mut mine = stage.session();
    let messages = [
        parse("", "select name from projects where id = 1", &[]),
        bind_raw("", "", &[], &[], &vec![0; 65_535]),
        execute("", 0),
        sync(),
    ];
    let reply = mine.exchange(&messages);
    assert_eq!((shape(&reply), sqlstate(&reply)), ("1EZ".into(), "08P01".into()));
}

#[test]
fn sql_execute_of_a_protocol_level_statement() {
    let stage = stage();
    let mut twin = stage.twin();
    twin.exchange(&[parse("r", "select name from projects where id = $1", &[23]), sync()]);
    twin.exchange(&[parse("w", WRITE, &[1043, 23]), sync()]);
    twin.exchange(&[parse("u", "update projects set budget = budget + 1 where id = $1", &[23]), sync()]);
    twin.exchange(&[
        parse("v", "update projects set name = 'v' where id = $1 returning name", &[23]),
        sync(),
    ]);
    for _ in 0..2 {
        twin.query("execute r (1)");
        twin.query("execute w ('x', 1)");
        twin.query("execute u (1)");
        twin.query("execute v (1)");
        twin.extended("execute r (1)", &[]);
        twin.extended("execute w ('x', 1)", &[]);
    }
    assert_eq!(stage.version("projects", "id = 1"), "9");
    assert_eq!(shape(&twin.exchange(&[bind("r", &["1"]), execute("", 0), sync()])), "2DCZ");
    assert_eq!(shape(&twin.exchange(&[bind("w", &["x", "1"]), execute("", 0), sync()])), "2CZ");
}

#[test]
fn a_copy_in_that_fails_before_it_reads_leaves_the_session_in_step() {
    let stage = stage();
    let mut twin = stage.twin();
    twin.query(
        "create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$; \
         create trigger refuse before insert on notes for each statement execute function refuse()",
    );
    let start = [parse("", "copy notes from stdin", &[]), bind("", &[]), execute("", 0), sync()].concat();
    both(&mut twin, &start);
    same(&twin.direct.until('Z'), &twin.proxied.until('Z'));
    // What the copy came to is no fault of the next transaction.
    twin.query("select * from projects where id = 1");
    both(&mut twin, &start);
    same(&twin.direct.until('Z'), &twin.proxied.until('Z'));
    twin.query("update projects set name = 'x' where id = 1");
    twin.query("update projects set name = 'y' where id = 1");
    both(&mut twin, &start);
    same(&twin.direct.until('Z'), &twin.proxied.until('Z'));
    assert_eq!(shape(&twin.exchange(&[copy_done(), sync()])), "Z");
    assert_eq!(rows(&twin.extended("select 2", &[])), [["2"]]);
}

#[test]
fn a_version_column_made_anew_begins_anew() {
    let stage = stage();
    let mut mine = stage.session();
    stage.other_writes("update projects set name = 'x' where id = 1");
    mine.ok("select * from projects where id = 1");
    mine.ok("alter table projects drop column version");
    mine.ok("select name from projects where id = 1");
    mine.ok("alter table projects add column version integer not null default 1");
    assert_eq!(mine.ok("update projects set name = 'x' where id = 1"), "UPDATE 1");
    assert_eq!(stage.version("projects", "id = 1"), "2");
}

#[test]
fn prepare_transaction_in_a_failed_block_rolls_back() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("select * from projects where id = 1");
    mine.ok("begin");
    mine.ok("update projects set name = 'x' where id = 1");
    mine.query("select 1 / 0");
    assert_eq!(commands(&mine.query("prepare transaction 'p'")), ["ROLLBACK"]);
    stage.other_writes("update projects set name = 'theirs' where id = 1");
    on_project("1", 1, Some(2)).check(&mine.query("update projects set name = 'mine' where id = 1"), 'I');
}

#[test]
fn ends_of_transactions_inside_one_query() {
    let stage = stage();
    let mut mine = stage.session();
    let seen = |mine: &mut Raw| mine.ok("select * from projects where id = 1");
    seen(&mut mine);
    // The first part is committed, the second is not.
    mine.query("begin; update projects set name = 'a' where id = 1; commit; select 1 / 0");
    seen(&mut mine);
    mine.ok("begin");
    mine.ok("update projects set name = 'b' where id = 1");
    let reply = mine.query("commit and chain");
    assert_eq!((commands(&reply), status(&reply)), (vec!["COMMIT".to_owned()], 'T'));
    mine.ok("update projects set name = 'c' where id = 1");
    mine.ok("rollback and chain");
    assert_eq!(mine.ok("update projects set name = 'd' where id = 1"), "UPDATE 1");
    mine.ok("commit");
    // A deferred constraint fails at COMMIT.
    mine.ok("create table parent (id int primary key); create table child (id int references parent deferrable initially deferred)");
    mine.ok("begin");
    mine.ok("update projects set name = 'e' where id = 1");
    mine.ok("insert into child values (5)");
    assert_eq!(sqlstate(&mine.query("commit")), "23503");
    assert_eq!(mine.ok("update projects set name = 'f' where id = 1"), "UPDATE 1");
    assert_eq!(stage.conflicts(), 0.0);
}

#[test]
fn what_is_held_is_measured() {
    let stage = stage_with(&["--observations-max-rows-per-connection", "5"]);
    let mut mine = stage.session();
    mine.ok("select * from projects");
    let held = || stage.proxy.metric("staleguard_observations_held", &[]);
    assert_eq!((held(), stage.proxy.metric("staleguard_observations_evicted_total", &[])), (5.0, 4.0));
    mine.ok("discard all");
    assert_eq!(held(), 0.0);
    mine.ok("select * from projects where id < 4");
    assert_eq!(held(), 3.0);
    drop(mine);
    let end = Instant::now() + Duration::from_secs(20);
    while held() != 0.0 {
        assert!(Instant::now() < end);
    }
}

#[test]
fn a_look_waits_for_nobodys_lock() {
    let stage = stage_with(&["--own-message-timeout", "30s"]);
    let mut locking = stage.behind();
    locking.ok("begin; lock table projects in access exclusive mode");
    let mut mine = stage.session();
    let begin = Instant::now();
    assert_eq!(mine.ok("update programs set name = 'x' where id = 1"), "UPDATE 1");
    assert!(begin.elapsed() < Duration::from_secs(15));
    assert_eq!(stage.version("programs", "id = 1"), "2");
}
