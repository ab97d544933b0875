//! Failure modes of a connection's life: cancel, the end, COPY, protocol versions.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use super::WRITE;
use crate::common::LIMIT;
use crate::common::frames::{
    bind, cancel_request, copy_data, copy_done, execute, flush, function_call, gssenc_request, message,
    parse, query, ssl_request, startup, sync, terminate,
};
use crate::common::proxy::Proxy;
use crate::common::raw::{Raw, shape, sqlstate};
use crate::common::twin::{Stage, masked, same, stage};

/// Waits until a statement says `t`.
fn sure(stage: &Stage, sql: &str) {
    let (mut judge, end) = (stage.behind(), Instant::now() + LIMIT);
    while judge.value(sql) != "t" {
        assert!(Instant::now() < end, "did not come true: {sql}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn sleeps(pid: i32) -> String {
    format!("select wait_event is not distinct from 'PgSleep' from pg_stat_activity where pid = {pid}")
}

/// Sends a CancelRequest and waits until it has been delivered.
fn cancel(stage: &Stage, key: &[u8]) {
    let mut raw = Raw::open(stage.proxy.address());
    raw.send(&cancel_request(key));
    assert_eq!(raw.until_closed(), []);
}

#[test]
fn mode_23_a_cancel_reaches_its_own_backend_alone() {
    let stage = stage();
    let mut sessions: Vec<Raw> = (0..6).map(|_| stage.session()).collect();
    for session in &mut sessions {
        session.send(&query("select pg_sleep(60), name from projects where id = 1"));
    }
    sessions.iter().for_each(|s| sure(&stage, &sleeps(s.pid())));
    for n in [3, 0, 5] {
        let mut hit = sessions.remove(n.min(sessions.len() - 1));
        cancel(&stage, &hit.key);
        assert_eq!(sqlstate(&hit.until_ready(1)), "57014");
        assert_eq!(hit.value("select 1"), "1");
        // The others sleep on. One that is idle is not hit later, and neither is who comes after one that went.
        sessions.iter().for_each(|s| sure(&stage, &sleeps(s.pid())));
        cancel(&stage, &hit.key);
        assert_eq!(hit.value("select 2"), "2");
        let key = hit.key.clone();
        drop(hit);
        let mut next = stage.session();
        cancel(&stage, &key);
        assert_eq!(next.value("select 3"), "3");
    }
    // A key that is not quite right hits nobody.
    let mut wrong = sessions[0].key.clone();
    wrong[7] ^= 1;
    cancel(&stage, &wrong);
    sessions.iter().for_each(|s| sure(&stage, &sleeps(s.pid())));
    for session in sessions {
        cancel(&stage, &session.key);
    }
}

#[test]
fn mode_24_no_backend_is_left_behind() {
    let stage = stage();
    // How a client may go: inside a block, in the middle of a frame, of a cycle, of a copy, with a verdict out.
    let ways: [&dyn Fn(&mut Raw); 9] = [
        &|raw| raw.send(&terminate()),
        &|raw| raw.close_sending(),
        &|raw| raw.send(&query("update projects set name = 'half' where id = 2")[..20]),
        &|raw| raw.send(&[parse("", WRITE, &[]), bind("", &["x", "2"])].concat()),
        &|raw| raw.send(&[parse("", WRITE, &[]), bind("", &["x", "2"]), execute("", 0), flush()].concat()),
        &|raw| {
            raw.send(&query("copy notes from stdin"));
            raw.until('G');
            raw.send(&copy_data(b"40\tx\n")[..7]);
        },
        &|raw| raw.send(&query("select repeat('x', 1000000) from generate_series(1, 20)")),
        &|raw| raw.send(&[query("update projects set name = 'x' where id = 3"), terminate()].concat()),
        &|raw| raw.send(&message(b'S', &[])[..3]),
    ];
    for block in [false, true] {
        for (n, way) in ways.iter().enumerate() {
            let mut raw = stage.session();
            raw.query("select id, name from projects");
            if block {
                raw.ok("begin");
                raw.ok("update projects set name = 'never' where id = 1");
            }
            let pid = raw.pid();
            way(&mut raw);
            drop(raw);
            sure(
                &stage,
                &format!("select {n} >= 0 and not exists (select from pg_stat_activity where pid = {pid})"),
            );
            assert_eq!(
                stage.behind().value("select name from projects where id = 1"),
                "project 1",
                "way {n}"
            );
        }
    }
}

#[test]
fn mode_25_copy_does_not_hang_and_large_objects_work() {
    let stage = stage();
    let mut twin = stage.twin();
    let start = [parse("", "copy notes from stdin", &[]), bind("", &[]), execute("", 0)].concat();
    // Sync and Flush sent with the Execute, between the data, behind it; all in one flight, and in two.
    for (n, (with, between)) in
        [(sync(), flush()), (flush(), sync()), (Vec::new(), Vec::new()), (sync(), sync())]
            .into_iter()
            .enumerate()
    {
        let row = |i: usize| copy_data(format!("{}\tx\n", 100 + 10 * n + i).as_bytes());
        let data = [row(0), between, row(1), copy_done(), sync()].concat();
        for side in [&mut twin.direct, &mut twin.proxied] {
            side.send(&[&start[..], &with].concat());
            if !with.is_empty() {
                side.until('G');
            }
            side.send(&data);
        }
        same(&twin.direct.until_ready(1), &twin.proxied.until_ready(1));
        twin.query("select count(*) from notes");
    }
    // Large objects by FunctionCall: lo_creat, lo_open, lowrite, lo_lseek, loread, lo_close, lo_unlink.
    let int = |n: i32| n.to_be_bytes();
    twin.query("begin");
    let oid = 77_777;
    twin.query(&format!("select lo_create({oid})"));
    for (function, arguments) in [
        (952, vec![int(oid).to_vec(), int(0x6_0000).to_vec()]),
        (955, vec![int(0).to_vec(), b"bytes of a large object".to_vec()]),
        (956, vec![int(0).to_vec(), int(9).to_vec(), int(0).to_vec()]),
        (954, vec![int(0).to_vec(), int(100).to_vec()]),
        (953, vec![int(0).to_vec()]),
        (964, vec![int(oid).to_vec()]),
    ] {
        let arguments: Vec<_> = arguments.iter().map(Vec::as_slice).collect();
        let reply = twin.exchange(&[function_call(function, &arguments)]);
        assert_eq!(shape(&reply), "VZ", "{function}: {reply:?}");
    }
    twin.query("commit");
}

#[test]
fn mode_26_protocol_versions_grease_and_requests_for_encryption() {
    let stage = stage();
    let greeting = |address: &str, minor: u32, requests: &[Vec<u8>], more: &[(&str, &str)]| {
        let mut packet = startup(&[&[("user", "postgres"), ("database", "proxied")], more].concat());
        packet[4..8].copy_from_slice(&(196_608 + minor).to_be_bytes());
        let mut raw = Raw::open(address);
        for request in requests {
            raw.send(request);
            assert_eq!(raw.byte(), b'N');
        }
        raw.send(&packet);
        let greeting = raw.until_ready(1);
        assert_eq!(raw.value("select name from projects where id = 1"), "project 1");
        masked(&greeting)
    };
    let (ssl, gss) = (ssl_request(), gssenc_request());
    for minor in [0, 1, 2, 9999] {
        for more in
            [&[][..], &[("_pq_.grease", "1")], &[("_pq_.a", "x"), ("_pq_.b", ""), ("application_name", "y")]]
        {
            let direct = greeting(&stage.cluster.address(), minor, &[], more);
            assert_eq!(direct[0].tag == b'v', minor > 0 || !more.is_empty(), "{direct:?}");
            // Servers built with GSSAPI accept its encryption, which ends at the proxy: it is not offered there.
            for requests in [
                vec![],
                vec![ssl.clone()],
                vec![gss.clone()],
                vec![gss.clone(), ssl.clone()],
                vec![ssl.clone(), gss.clone()],
            ] {
                assert_eq!(
                    greeting(stage.proxy.address(), minor, &requests, more),
                    direct,
                    "3.{minor} {more:?}"
                );
            }
        }
    }
}

/// A server of protocol 3.2 gives out keys of up to 256 bytes: its client's CancelRequest carries all of it.
#[test]
fn mode_26_long_cancel_keys_pass_both_ways() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start_before(&listener.local_addr().unwrap().to_string(), &[]);
    for length in [4, 32, 256] {
        let key: Vec<u8> = [0, 0, 0, 7].into_iter().chain((0..length).map(|n| n as u8)).collect();
        let mut packet = startup(&[("user", "u"), ("database", "d")]);
        packet[7] = 2;
        let mut raw = Raw::open(proxy.address());
        raw.send(&packet);
        // The proxy also asks by itself whether the server is there: that connection says nothing.
        let mut server = loop {
            let (mut server, _) = listener.accept().unwrap();
            server.set_read_timeout(Some(LIMIT)).unwrap();
            let mut got = vec![0; packet.len()];
            if server.read_exact(&mut got).is_ok() && got == packet {
                break server;
            }
        };
        let hello = [message(b'R', &[0; 4]), message(b'K', &key), message(b'Z', b"I")].concat();
        server.write_all(&hello).unwrap();
        let greeting = raw.until_ready(1);
        assert_eq!(greeting[1].body, key);
        let request = cancel_request(&key);
        let mut cancel = Raw::open(proxy.address());
        cancel.send(&request);
        let got = loop {
            let (mut server, _) = listener.accept().unwrap();
            server.set_read_timeout(Some(LIMIT)).unwrap();
            let mut got = vec![0; request.len()];
            if server.read_exact(&mut got).is_ok() && got[4..8] == request[4..8] {
                break got;
            }
        };
        assert_eq!(got, request);
        assert_eq!(cancel.until_closed(), []);
    }
}
