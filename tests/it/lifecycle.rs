//! Cancelling, being ended, going away: each side learns what it would have learnt without a proxy.

use std::time::Instant;

use crate::common::LIMIT;
use crate::common::cluster::cluster;
use crate::common::frames::{bind, cancel_request, execute, parse, query, sync, terminate};
use crate::common::proxy::Proxy;
use crate::common::raw::{Raw, commands, error, sqlstate, status};
use crate::common::twin::{Stage, stage};

/// Waits until a query about `pg_stat_activity` or `pg_locks` says true.
pub fn until_true(judge: &mut Raw, sql: &str) {
    let end = Instant::now() + LIMIT;
    while judge.value(sql) != "t" {
        assert!(Instant::now() < end, "never true: {sql}");
    }
}

fn asleep(pid: i32) -> String {
    format!("select exists (select from pg_stat_activity where pid = {pid} and wait_event = 'PgSleep')")
}

fn gone(pid: i32) -> String {
    format!("select not exists (select from pg_stat_activity where pid = {pid})")
}

pub fn cancel(stage: &Stage, key: &[u8]) {
    let mut raw = Raw::open(stage.proxy.address());
    raw.send(&cancel_request(key));
    assert!(raw.until_closed().is_empty());
}

#[test]
fn a_cancel_request_reaches_the_right_backend() {
    let stage = stage();
    let mut judge = stage.behind();
    let mut first = stage.session();
    let mut second = stage.session();
    for session in [&mut first, &mut second] {
        session.send(&query("select pg_sleep(600)"));
        until_true(&mut judge, &asleep(session.pid()));
    }
    cancel(&stage, &first.key);
    assert_eq!(sqlstate(&first.until_ready(1)), "57014");
    assert_eq!(judge.value(&asleep(second.pid())), "t");
    cancel(&stage, &second.key);
    assert_eq!(sqlstate(&second.until_ready(1)), "57014");
    // A cancel that comes too late cancels nothing, and a wrong secret nobody.
    cancel(&stage, &first.key);
    assert_eq!(first.value("select 1"), "1");
    first.send(&query("select pg_sleep(600)"));
    until_true(&mut judge, &asleep(first.pid()));
    let mut wrong = first.key.clone();
    wrong[7] ^= 1;
    cancel(&stage, &wrong);
    assert_eq!(judge.value(&asleep(first.pid())), "t");
    cancel(&stage, &first.key);
    assert_eq!(sqlstate(&first.until_ready(1)), "57014");
}

#[test]
fn a_guarded_write_that_waits_for_a_lock_can_be_cancelled() {
    let stage = stage();
    let mut judge = stage.behind();
    let mut holder = stage.session();
    holder.ok("begin");
    holder.ok("update projects set name = 'held' where id in (1, 2)");
    for (extended, block) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut mine = stage.session();
        mine.ok("select * from projects where id = 1");
        if block {
            mine.ok("begin");
        }
        if extended {
            let sql = "update projects set name = 'x' where id = $1";
            mine.send(&[parse("", sql, &[]), bind("", &["1"]), execute("", 0), sync()].concat());
        } else {
            mine.send(&query("update projects set name = 'x' where id = 1"));
        }
        let waits =
            format!("select exists (select from pg_locks where pid = {} and not granted)", mine.pid());
        until_true(&mut judge, &waits);
        cancel(&stage, &mine.key);
        let reply = mine.until_ready(1);
        assert_eq!((sqlstate(&reply), status(&reply)), ("57014".into(), if block { 'E' } else { 'I' }));
        mine.ok("rollback");
        assert_eq!(mine.value("select 1"), "1");
    }
    holder.ok("rollback");
}

#[test]
fn a_terminated_backend_is_reported_to_its_client() {
    let stage = stage();
    let mut judge = stage.behind();
    for running in [false, true] {
        let mut mine = stage.session();
        mine.ok("select * from projects where id = 1");
        if running {
            mine.send(&query("select pg_sleep(600)"));
            until_true(&mut judge, &asleep(mine.pid()));
        }
        judge.ok(&format!("select pg_terminate_backend({})", mine.pid()));
        let reply = mine.until_closed();
        let fatal = error(&reply).unwrap_or_else(|| panic!("no error: {reply:?}"));
        assert_eq!(
            (fatal.field('S'), fatal.field('C')),
            (Some("FATAL".into()), Some("57P01".into())),
            "{fatal:?}"
        );
        assert_eq!(reply.iter().filter(|f| matches!(f.tag, b'E' | b'Z')).count(), 1, "{reply:?}");
    }
    assert_eq!(stage.session().value("select 1"), "1");
}

#[test]
fn a_backend_terminated_under_a_guarded_write_is_reported() {
    let stage = stage();
    let mut judge = stage.behind();
    let mut holder = stage.session();
    holder.ok("begin");
    holder.ok("update projects set name = 'held' where id = 1");
    let mut mine = stage.session();
    mine.ok("select * from projects where id = 1");
    mine.send(&query("update projects set name = 'x' where id = 1"));
    until_true(
        &mut judge,
        &format!("select exists (select from pg_locks where pid = {} and not granted)", mine.pid()),
    );
    judge.ok(&format!("select pg_terminate_backend({})", mine.pid()));
    assert_eq!(sqlstate(&mine.until_closed()), "57P01");
}

#[test]
fn when_the_client_goes_its_backend_goes() {
    let stage = stage();
    let mut judge = stage.behind();
    type Leaving = (&'static str, fn(&mut Raw));
    let leave: [Leaving; 6] = [
        ("idle", |_| {}),
        ("Terminate", |raw| raw.send(&terminate())),
        ("in a transaction", |raw| {
            raw.ok("begin");
            raw.ok("update projects set name = 'x' where id = 1");
        }),
        ("Terminate in a transaction", |raw| {
            raw.ok("begin");
            raw.ok("select * from projects where id = 1");
            raw.send(&terminate());
        }),
        ("half a frame", |raw| {
            raw.ok("begin");
            raw.send(&query("update projects set name = 'x' where id = 1")[..20]);
        }),
        ("rows unread", |raw| {
            raw.send(&query("select pg_sleep(0.001), repeat('x', 1000) from generate_series(1, 1000000)"))
        }),
    ];
    for (how, act) in leave {
        let mut raw = stage.session();
        act(&mut raw);
        let pid = raw.pid();
        drop(raw);
        eprintln!("client leaves: {how}");
        until_true(&mut judge, &gone(pid));
    }
    // No lock is left behind.
    assert_eq!(judge.ok("update projects set name = 'free' where id = 1"), "UPDATE 1");
    assert_eq!(stage.version("projects", "id = 1"), "1");
}

#[test]
fn a_write_sent_in_full_before_the_client_goes_is_done_or_undone_whole() {
    let stage = stage();
    let mut judge = stage.behind();
    for id in ["1", "2", "3"] {
        let mut mine = stage.session();
        mine.ok(&format!("select * from projects where id = {id}"));
        mine.send(&query(&format!("update projects set name = 'last words' where id = {id}")));
        let pid = mine.pid();
        drop(mine);
        until_true(&mut judge, &gone(pid));
        let row = judge.rows(&format!("select name, version from projects where id = {id}"));
        assert!(row == [["last words", "2"]] || row == [[&format!("project {id}")[..], "1"]], "{row:?}");
    }
}

#[test]
fn timeouts_of_the_server_pass() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("set statement_timeout = 50");
    assert_eq!(sqlstate(&mine.query("select pg_sleep(600)")), "57014");
    mine.ok("set statement_timeout = 0");
    mine.ok("set idle_in_transaction_session_timeout = 50");
    mine.ok("begin");
    assert_eq!(sqlstate(&mine.until_closed()), "25P03");
    let mut holder = stage.session();
    holder.ok("begin");
    holder.ok("update projects set name = 'held' where id = 1");
    let mut mine = stage.session();
    mine.ok("set lock_timeout = 50");
    mine.ok("select * from projects where id = 1");
    assert_eq!(sqlstate(&mine.query("update projects set name = 'x' where id = 1")), "55P03");
    assert_eq!(commands(&mine.query("update projects set name = 'x' where id = 2")), ["UPDATE 1"]);
}

#[test]
fn serializable_and_read_only_transactions_stay_what_they_are() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("begin isolation level repeatable read");
    mine.ok("select * from projects where id = 1");
    stage.other_writes("update projects set name = 'theirs' where id = 1");
    let reply = mine.query("update projects set name = 'mine' where id = 1");
    assert_eq!((sqlstate(&reply), status(&reply)), ("40001".into(), 'E'));
    mine.ok("rollback");
    let mut twin = stage.twin();
    twin.query(
        "begin; set transaction isolation level serializable; select name from projects where id = 3; commit",
    );
    twin.query("begin");
    twin.query("set transaction isolation level serializable, read only");
    twin.query("select name from projects where id = 3");
    assert_eq!(sqlstate(&twin.query("update projects set name = 'x' where id = 3")), "25006");
    twin.query("rollback and chain");
    twin.query("commit and chain");
    twin.query("show transaction_isolation");
    twin.query("rollback");
    mine.ok("select * from projects where id = 4");
    mine.ok("begin");
    mine.ok("update projects set name = 'prepared' where id = 4");
    assert_eq!(mine.ok("prepare transaction 'x'"), "PREPARE TRANSACTION");
    assert_eq!(stage.behind().ok("rollback prepared 'x'"), "ROLLBACK PREPARED");
    // What a prepared transaction wrote is nobody's knowledge.
    assert_eq!(mine.ok("update projects set name = 'x' where id = 4"), "UPDATE 1");
}

#[test]
fn a_stopping_proxy_tells_its_clients_and_exits_cleanly() {
    let cluster = cluster();
    for signal in ["TERM", "INT"] {
        let proxy = Proxy::start(&cluster, &[]);
        let mut idle = proxy.session();
        let mut block = proxy.session();
        block.ok("begin");
        block.ok("update projects set name = 'x' where id = 1");
        let (idle_pid, block_pid) = (idle.pid(), block.pid());
        assert!(proxy.signal(signal).success());
        for raw in [&mut idle, &mut block] {
            assert_eq!(sqlstate(&raw.until_closed()), "57P01");
        }
        let mut judge = cluster.direct("proxied");
        until_true(&mut judge, &gone(idle_pid));
        until_true(&mut judge, &gone(block_pid));
        assert_eq!(judge.value("select version from projects where id = 1"), "1");
    }
}
