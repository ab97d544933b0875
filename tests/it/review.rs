//! Orders of messages and of ends of transactions that a proxy is easily wrong about.

use crate::common::conflict::on_project;
use crate::common::frames::{bind, bind_raw, close, describe, execute, flush, message, parse, query, sync};
use crate::common::raw::{BOTH, shape, sqlstate};
use crate::common::twin::{same, stage};

const READ: &str = "select * from projects where id = $1";
const WRITE: &str = "update projects set name = $1 where id = $2";

/// One cycle of the unnamed statement, with Sync.
fn cycle(sql: &str, values: &[&str]) -> Vec<Vec<u8>> {
    vec![parse("", sql, &[]), bind("", values), describe('P', ""), execute("", 0), sync()]
}

fn both(sides: &mut crate::common::twin::Twin, bytes: &[u8]) {
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
fn a_query_that_would_commit_messages_before_it_is_not_refused_alone() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("select * from projects where id = 1");
    stage.other_writes("update projects set name = 'theirs' where id = 1");
    let insert = [parse("", "insert into notes values (70, 'x')", &[]), bind("", &[]), execute("", 0)];
    let reply =
        mine.exchange(&[&insert[..], &[query("update projects set name = 'mine' where id = 1")]].concat());
    // Refused it would have to take the insert with it.
    let inserted = stage.behind().value("select count(*) from notes where id = 70");
    assert_eq!((shape(&reply), inserted), ("12CCZ".into(), "1".into()), "{reply:?}");
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
