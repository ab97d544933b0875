//! Failure modes of memory, and of reading and writing.

use std::time::{Duration, Instant};

use super::{READ, WRITE};
use crate::common::LIMIT;
use crate::common::frames::{
    bind, bind_raw, copy_data, copy_done, describe, execute, message, parse, password, query, startup, sync,
};
use crate::common::raw::{Raw, commands, rows, shape};
use crate::common::twin::{Stage, masked, stage};

/// Waits until the backend behind a session waits for this.
fn backend_waits(stage: &Stage, pid: i32, event: &str) {
    let sql =
        format!("select wait_event is not distinct from '{event}' from pg_stat_activity where pid = {pid}");
    let (mut judge, end) = (stage.behind(), Instant::now() + LIMIT);
    while judge.value(&sql) != "t" {
        assert!(Instant::now() < end, "no backend in {event}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn mode_17_what_passes_leaves_nothing_behind() {
    let stage = stage();
    let mut mine = stage.session();
    mine.query("create table plain (a int, b text)");
    mine.query("select * from projects");
    // Every way that statements pass: prepared, unnamed, simple, of no protected table and of one.
    mine.exchange(&[
        parse("i", "insert into plain values ($1, $2)", &[]),
        parse("w", "update projects set budget = 1 where id = $1", &[]),
        sync(),
    ]);
    let mut batch = Vec::new();
    for n in 0..250 {
        batch.push([bind("i", &["1", "x"]), execute("", 0), sync()].concat());
        batch.push(
            [parse("", READ, &[]), bind("", &["1"]), describe('P', ""), execute("", 0), sync()].concat(),
        );
        batch.push([bind("w", &["1"]), execute("", 0), sync()].concat());
        batch.push(query(&format!("insert into plain values ({n}, 'y')")));
    }
    let mut round = || {
        mine.send(&batch.concat());
        assert_eq!(commands(&mine.until_ready(1000)).len(), 1000);
    };
    (0..4).for_each(|_| round());
    let before = stage.proxy.memory_kb();
    (0..40).for_each(|_| round());
    let grown = stage.proxy.memory_kb().saturating_sub(before);
    assert!(grown < 4_000, "{grown} kB more after 40,000 requests");
}

#[test]
fn mode_18_a_slow_client_is_not_buffered_for() {
    let stage = stage();
    // Of no protected table, of one, and of copied data; 200 MB each.
    for sql in [
        "select repeat('x', 100000) from generate_series(1, 2000)",
        "select name, repeat('x', 100000) from projects, generate_series(1, 300)",
        "copy (select repeat('x', 100000) from generate_series(1, 2000)) to stdout",
    ] {
        let mut slow = stage.session();
        slow.send(&query(sql));
        backend_waits(&stage, slow.pid(), "ClientWrite");
        assert!(stage.proxy.peak_memory_mb() < 80, "{} MB: {sql}", stage.proxy.peak_memory_mb());
        // All of it is there once the client reads.
        let reply = slow.until_ready(1);
        let bytes: usize = reply.iter().map(|f| f.body.len()).sum();
        assert!(bytes > 200_000_000, "{bytes}: {sql}");
    }
}

#[test]
fn mode_19_buffers_shrink_again() {
    let stage = stage();
    let long = "x".repeat(4_000_000);
    let sessions: Vec<Raw> = (0..20)
        .map(|_| {
            let mut session = stage.session();
            // Long both ways, on both lanes.
            assert_eq!(session.value(&format!("select length('{long}')")), "4000000");
            session.extended("select name, $1::text from projects where id = 1", &[&long]);
            session.extended("update projects set status = $1 where id = 1", &[&long]);
            session.extended("select status from projects where id = 1", &[]);
            session
        })
        .collect();
    let held = stage.proxy.memory_kb() / 1024;
    assert!(held < 60, "{held} MB are held by {} idle sessions", sessions.len());
}

#[test]
fn mode_20_frames_may_come_in_any_pieces() {
    let stage = stage();
    let flight = [
        startup(&[("user", "postgres"), ("database", "proxied")]),
        query("select name from projects where id = 1"),
        parse("w", WRITE, &[]),
        bind("w", &["pieces", "1"]),
        describe('P', ""),
        execute("", 0),
        sync(),
        query("select 'x' from notes where id = 1"),
    ]
    .concat();
    stage.behind().ok("update projects set name = 'pieces' where id = 1");
    let whole = {
        let mut raw = Raw::open(stage.proxy.address());
        raw.send(&flight);
        masked(&raw.until_ready(4))
    };
    // Each byte on its own, and cuts at every place.
    let mut raw = Raw::open(stage.proxy.address());
    flight.iter().for_each(|byte| raw.send(&[*byte]));
    assert_eq!(masked(&raw.until_ready(4)), whole);
    for cut in (1..flight.len()).step_by(7) {
        let mut raw = Raw::open(stage.proxy.address());
        raw.send(&flight[..cut]);
        raw.send(&flight[cut..]);
        assert_eq!(masked(&raw.until_ready(4)), whole, "cut at {cut}");
    }
    // A time limit that ends while a frame is there in part takes nothing of it away.
    let mut twin = stage.twin();
    let late = query("update projects set name = 'late' where id = 2");
    for side in [&mut twin.direct, &mut twin.proxied] {
        side.send(&late[..9]);
    }
    stage.behind().ok("select pg_sleep(1)");
    for side in [&mut twin.direct, &mut twin.proxied] {
        side.send(&late[9..]);
    }
    assert_eq!(twin.direct.until_ready(1), twin.proxied.until_ready(1));
}

#[test]
fn mode_21_no_length_brings_it_down() {
    let stage = stage();
    let address = stage.cluster.address();
    let lengths =
        [0_u32, 1, 3, 4, 5, 9, 10_000, 10_001, 0x3fff_fffe, 0x3fff_ffff, 0x4000_0000, 0x7fff_ffff, u32::MAX];
    for tag in b"QPBDECHSFdcfXp?\0" {
        for length in lengths {
            let answer = |address: &str| {
                let mut raw = Raw::connect(address, "postgres", "proxied");
                let body = &[0; 4][..length.saturating_sub(4).min(4) as usize];
                let _ = raw.try_send(&[&[*tag], &length.to_be_bytes()[..], body].concat());
                raw.close_sending();
                raw.until_closed()
            };
            assert_eq!(answer(&address), answer(stage.proxy.address()), "{:?} {length}", char::from(*tag));
        }
    }
    // Counts and lengths inside of bodies that promise more than there is.
    for body in [
        (b'B', &b"\0\0\xff\xff"[..]),
        (b'B', b"\0\0\0\0\xff\xff"),
        (b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xff"),
        (b'B', b"\0\0\0\0\0\x01\x80\0\0\0\0\0"),
        (b'P', b"\0update projects set name = 'x' where id = 1\0\xff\xff"),
        (b'F', b"\0\0\0\xb1\0\x01\0\x01\xff\xff\x7f\xff\xff\xff"),
    ] {
        let mut twin = stage.twin();
        let reply = twin.exchange(&[parse("", READ, &[]), message(body.0, body.1), sync()]);
        assert!(shape(&reply).contains('E'), "{reply:?}");
    }
    assert!(stage.proxy.peak_memory_mb() < 60, "{} MB", stage.proxy.peak_memory_mb());
    assert!(!stage.proxy.log().text().contains("panicked"));
}

/// How long the messages of the test below are: `STALEGUARD_TEST_LONG_MB`, else 64 MB.
fn long_mb() -> usize {
    std::env::var("STALEGUARD_TEST_LONG_MB").ok().and_then(|mb| mb.parse().ok()).unwrap_or(64)
}

#[test]
fn mode_22_long_messages_stream_and_long_passwords_pass() {
    let stage = stage();
    let mb = long_mb();
    let size = mb << 20;
    let mut mine = stage.session();
    mine.wait_up_to(LIMIT * u32::try_from(1 + mb / 64).unwrap());
    mine.query("create table plain (a text)");
    mine.query("select name from projects where id = 1");
    let long = vec![b'x'; size];
    // A parameter and a value of statements that nobody looks into, and a piece of COPY data.
    let reply = mine.exchange(&[
        parse("", "select length($1)", &[25]),
        bind_raw("", "", &[], &[Some(&long)], &[]),
        execute("", 0),
        sync(),
    ]);
    assert_eq!(rows(&reply), [[size.to_string()]]);
    mine.send(&query(&format!("select repeat('x', {size})")));
    assert_eq!(mine.until_ready(1).iter().map(|f| f.body.len()).max(), Some(size + 6));
    mine.send(&query("copy plain from stdin"));
    mine.until('G');
    mine.send(&copy_data(&long));
    mine.send(&[copy_data(b"\n"), copy_done()].concat());
    assert_eq!(commands(&mine.until_ready(1)), ["COPY 1"]);
    mine.send(&query("copy plain to stdout"));
    assert_eq!(mine.until_ready(1).iter().map(|f| f.body.len()).max(), Some(size + 1));
    let peak = stage.proxy.peak_memory_mb();
    assert!(peak < 32, "{peak} MB held at messages of {mb} MB");
    println!("messages of {mb} MB: the proxy held {peak} MB at most");
    // What is looked into may be long as well.
    let status = "s".repeat(3 << 20);
    assert_eq!(
        commands(&mine.extended("update projects set status = $1 where id = 1", &[&status])),
        ["UPDATE 1"]
    );
    assert_eq!(mine.value("select length(status) from projects where id = 1"), (3 << 20).to_string());
    // Tokens that stand for passwords are longer than most buffers for passwords.
    let token = "t".repeat(5_000);
    stage.behind().ok(&format!("alter role pw_plain password '{token}'"));
    let mut raw = Raw::open(stage.proxy.address());
    raw.send(&startup(&[("user", "pw_plain"), ("database", "proxied")]));
    raw.until('R');
    raw.send(&password(&token));
    raw.until_ready(1);
    assert_eq!(raw.value("select current_user"), "pw_plain");
}
