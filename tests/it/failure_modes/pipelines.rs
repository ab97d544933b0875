//! Failure modes of order and pipelines.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{READ, WRITE, theirs};
use crate::common::conflict::on_project;
use crate::common::frames::{
    Frame, bind, close, describe, execute, flush, function_call, parse, query, sync,
};
use crate::common::raw::{rows, shape, sqlstate, status};
use crate::common::twin::{Twin, same, stage};

/// One cycle of the unnamed statement, with Sync.
fn cycle(sql: &str, values: &[&str]) -> Vec<u8> {
    [parse("", sql, &[]), bind("", values), describe('P', ""), execute("", 0), sync()].concat()
}

/// Sends bytes to both sides and demands the same replies, with so many ReadyForQuery.
fn both(twin: &mut Twin, bytes: &[u8], ready: usize) -> Vec<Frame> {
    twin.direct.send(bytes);
    twin.proxied.send(bytes);
    let (direct, proxied) = (twin.direct.until_ready(ready), twin.proxied.until_ready(ready));
    same(&direct, &proxied);
    proxied
}

#[test]
fn mode_01_a_refusal_does_not_overtake_replies_in_flight() {
    let stage = stage();
    // Slow and large replies before the refusal, in cycles of their own and in a Query.
    let slow = "select pg_sleep(0.2), repeat('x', 300000) from generate_series(1, 5)";
    for refused in [
        cycle(WRITE, &["mine", "1"]),
        query("update projects set name = 'mine' where id = 1"),
        query("select 'first'; update projects set name = 'mine' where id = 1"),
    ] {
        let mut mine = stage.session();
        mine.query("select id, name from projects");
        theirs(&stage, "1");
        let flight =
            [cycle(slow, &[]), query(slow), refused, cycle(READ, &["2"]), query("select 'last'")].concat();
        mine.send(&flight);
        let reply = mine.until_ready(5);
        let order: String =
            shape(&reply).chars().filter(|c| !matches!(c, 'D' | '1' | '2' | 'T' | 'n')).collect();
        let first = rows(&reply).iter().any(|r| r == &["first"]);
        assert_eq!(order, if first { "CZCZCEZCZCZ" } else { "CZCZEZCZCZ" }, "{}", shape(&reply));
        assert_eq!(sqlstate(&reply), "40001");
        assert_eq!(rows(&reply).pop().unwrap(), ["last"]);
    }
}

#[test]
fn mode_02_behind_a_refusal_all_is_skipped_to_the_sync_and_no_further() {
    let stage = stage();
    for block in [false, true] {
        // The refused write first, in the middle and last of its cycle.
        for place in 0..3 {
            let mut mine = stage.session();
            mine.query("select id, name from projects");
            theirs(&stage, "1");
            if block {
                mine.ok("begin");
            }
            let mut messages = vec![parse("w", WRITE, &[]), parse("r", READ, &[])];
            for n in 0..3 {
                messages.push(bind("w", &["mine", if n == place { "1" } else { "2" }]));
                messages.push(execute("", 0));
            }
            // What is no write is skipped as well, a Query and a FunctionCall among it.
            messages.extend([bind("r", &["1"]), execute("", 0), close('S', "w"), flush()]);
            messages.push(query("insert into notes values (70, 'skipped')"));
            messages.push(function_call(177, &[&2_i32.to_be_bytes(), &3_i32.to_be_bytes()]));
            messages.push(sync());
            messages.push(if block { query("rollback") } else { query("select 'behind'") });
            mine.send(&messages.concat());
            let reply = mine.until_ready(2);
            let wanted = format!("11{}{}EZ{}", "2C".repeat(place), "2", if block { "CZ" } else { "TDCZ" });
            assert_eq!(shape(&reply), wanted, "{block} {place}: {reply:?}");
            assert_eq!((sqlstate(&reply).as_str(), status(&reply)), ("40001", 'I'));
            let name = stage.behind().value("select name from projects where id = 2");
            assert_eq!(name, "project 2", "what stood before the refusal is undone with it");
            assert_eq!(stage.behind().value("select count(*) from notes where id = 70"), "0");
            // The skipped Close has closed nothing.
            let again = mine.exchange(&[bind("w", &["project 2", "2"]), execute("", 0), sync()]);
            assert_eq!(shape(&again), "2CZ", "{again:?}");
            stage.behind().ok("update projects set version = 1");
        }
    }
}

#[test]
fn mode_03_each_request_gets_its_own_ready_for_query() {
    let stage = stage();
    let mut mine = stage.session();
    for round in 0..30 {
        let id = (1 + round % 3).to_string();
        mine.query("select id, name from projects");
        theirs(&stage, &id);
        let write = match round % 4 {
            0 => cycle(WRITE, &["mine", &id]),
            1 => query(&format!("update projects set name = 'mine' where id = {id}")),
            2 => query(&format!("update projects set name = 'mine' where id = {id}; select 1")),
            _ => cycle("update projects set name = $1 where id in ($2, 9)", &["mine", &id]),
        };
        // Sent one by one, a marker behind each: a Ready too many gives a marker the reply of the one before.
        mine.send(&write);
        assert_eq!(sqlstate(&mine.until_ready(1)), "40001", "round {round}");
        let marker = format!("marker {round}");
        assert_eq!(mine.value(&format!("select '{marker}'")), marker);
        mine.query("select id, name from projects");
        theirs(&stage, &id);
        // And in one flight.
        let flight =
            [write, query(&format!("select '{marker}'")), cycle("select $1::text", &[&marker])].concat();
        mine.send(&flight);
        let reply = mine.until_ready(3);
        let got: Vec<_> = rows(&reply).into_iter().flatten().filter(|r| r.starts_with("marker")).collect();
        assert_eq!(got, [marker.clone(), marker]);
        assert!(mine.quiet(Duration::from_millis(5)));
    }
}

#[test]
fn mode_04_an_error_ends_its_own_cycle_alone() {
    let stage = stage();
    let mut twin = stage.twin();
    twin.query("select * from projects");
    let errors = [
        cycle("selec", &[]),
        cycle("select 1 / 0", &[]),
        cycle(READ, &["x"]),
        cycle(WRITE, &["x", "x"]),
        cycle("update projects set nowhere = 1", &[]),
        query("selec"),
        query("select 1; select 1 / 0; select 2"),
        query("update projects set name = 'x' where id = 1; select 1 / 0"),
        function_call(1, &[]),
        [parse("", READ, &[]), bind("missing", &[]), execute("", 0), sync()].concat(),
        [execute("missing", 0), describe('S', "missing"), sync()].concat(),
    ];
    for (n, first) in errors.iter().enumerate() {
        for second in &errors {
            let marker = format!("marker {n}");
            let flight = [
                cycle(READ, &["1"]),
                first.clone(),
                cycle(WRITE, &[&marker, "2"]),
                second.clone(),
                query("select name from projects where id = 2"),
                cycle(READ, &["2"]),
            ];
            let reply = both(&mut twin, &flight.concat(), 6);
            let rows = rows(&reply);
            assert_eq!(rows[rows.len() - 2..], [[marker.clone()], [marker]], "{reply:?}");
        }
    }
}

#[test]
fn mode_05_flush_is_neither_ignored_nor_a_sync() {
    let stage = stage();
    let mut twin = stage.twin();
    twin.query("select * from projects");
    // Answered without a ReadyForQuery, and nothing is committed.
    for (n, sql) in [WRITE, "update projects set name = $1 where id in ($2)"].into_iter().enumerate() {
        let name = format!("flushed {n}");
        let bytes = [parse("", sql, &[]), bind("", &[&name, "1"]), execute("", 0), flush()].concat();
        twin.direct.send(&bytes);
        twin.proxied.send(&bytes);
        let (direct, proxied) = (twin.direct.until('C'), twin.proxied.until('C'));
        same(&direct, &proxied);
        assert!(twin.proxied.quiet(Duration::from_millis(20)));
        assert_ne!(stage.behind().value("select name from projects where id = 1"), name);
        assert_eq!(shape(&twin.exchange(&[sync()])), "Z");
        assert_eq!(stage.behind().value("select name from projects where id = 1"), name);
    }
    // A refusal comes at the Flush, and its ReadyForQuery at the Sync.
    theirs(&stage, "1");
    let mine = &mut twin.proxied;
    mine.send(&[parse("", WRITE, &[]), bind("", &["late", "1"]), execute("", 0), flush()].concat());
    let reply = mine.until('E');
    assert_eq!((shape(&reply).as_str(), sqlstate(&reply).as_str()), ("12E", "40001"));
    mine.send(&[parse("", READ, &[]), flush(), flush()].concat());
    assert!(mine.quiet(Duration::from_millis(20)));
    assert_eq!(shape(&mine.exchange(&[sync()])), "Z");
    assert_eq!(mine.value("select 'goes on'"), "goes on");
}

#[test]
fn mode_06_the_second_request_in_flight_does_not_hang() {
    let stage = stage();
    let mut twin = stage.twin();
    twin.query("select * from projects");
    let requests = [
        cycle(READ, &["1"]),
        cycle(WRITE, &["a", "1"]),
        query("select name from projects where id = 1"),
        query("update projects set name = 'b' where id = 1"),
        cycle("update projects set name = $1 where id = $2 and false", &["c", "1"]),
        query("select 1"),
        function_call(177, &[&2_i32.to_be_bytes(), &3_i32.to_be_bytes()]),
    ];
    // Two in one write; and the second cut in the middle, its rest once the first has been answered.
    for first in &requests {
        for second in &requests {
            both(&mut twin, &[&first[..], second].concat(), 2);
            let (head, tail) = second.split_at(second.len() / 2);
            for side in [&mut twin.direct, &mut twin.proxied] {
                side.send(&[first, head].concat());
            }
            same(&twin.direct.until_ready(1), &twin.proxied.until_ready(1));
            both(&mut twin, tail, 1);
        }
    }
}

#[test]
fn mode_07_both_sides_write_and_nobody_reads() {
    let stage = stage();
    let mut mine = stage.session();
    mine.query("select * from projects");
    // Replies and requests that fill every buffer between client and server, with guarded writes among them.
    let one = [
        cycle("select $1::text, name from projects where id = 1", &[&"z".repeat(100_000)]),
        cycle(WRITE, &["w", "1"]),
        query("update projects set name = 'v' where id = 1 and false"),
    ]
    .concat();
    // More than the kernel holds on two connections in both directions.
    let most = |name: &str| {
        let sizes = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap();
        sizes.split_whitespace().last().and_then(|n| n.parse::<usize>().ok()).unwrap()
    };
    let count = 4 * (most("tcp_rmem") + most("tcp_wmem")) / 100_000 + 400;
    let sent = Arc::new(AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let (mut writer, progress) = (mine.writer(), sent.clone());
        scope.spawn(move || {
            for _ in 0..count {
                std::io::Write::write_all(&mut writer, &one).unwrap();
                progress.fetch_add(1, Ordering::Relaxed);
            }
        });
        // Not a byte is read before the writer is stuck: nothing tells of that but that it makes no more progress.
        let mut before = usize::MAX;
        loop {
            let now = sent.load(Ordering::Relaxed);
            if now == before {
                break;
            }
            before = now;
            std::thread::sleep(Duration::from_millis(200));
        }
        assert!(before < count, "nothing held the writer up");
        let (mut ready, mut commands) = (0, 0);
        while ready < 3 * count {
            let frame = mine.frame();
            assert_ne!(frame.tag, b'E', "{frame:?}");
            ready += usize::from(frame.tag == b'Z');
            commands += usize::from(frame.tag == b'C');
        }
        assert_eq!(commands, 3 * count);
    });
    assert!(stage.proxy.peak_memory_mb() < 100, "{} MB", stage.proxy.peak_memory_mb());
    theirs(&stage, "2");
    let reply = mine.query("update projects set name = 'late' where id = 2");
    on_project("2", 1, Some(2)).check(&reply, 'I');
}
