//! The first bytes of a connection: requests for encryption, passwords, refusals, and garbage.

use std::io::Write;
use std::net::{TcpListener, TcpStream};

use crate::common::cluster::{Cluster, cluster, free_port};
use crate::common::frames::{gssenc_request, message, password, ssl_request, startup, sync, untyped};
use crate::common::proxy::{Proxy, staleguard, to_end};
use crate::common::raw::{Raw, error, sqlstate};
use crate::common::twin::{Stage, masked, stage};

/// The next client is served, nothing panicked and memory did not run away.
fn next_client_is_served(stage: &Stage) {
    assert_eq!(stage.session().value("select 42"), "42");
    let log = stage.proxy.log().text();
    assert!(!log.to_lowercase().contains("panic"), "{log}");
    assert!(stage.proxy.peak_memory_mb() < 300, "{} MB", stage.proxy.peak_memory_mb());
}

#[test]
fn requests_for_encryption_are_answered_no_and_startup_goes_on() {
    let stage = stage();
    for requests in
        [vec![ssl_request(), gssenc_request()], vec![gssenc_request(), ssl_request()], vec![ssl_request()]]
    {
        let mut raw = Raw::open(stage.proxy.address());
        for request in requests {
            raw.send(&request);
            assert_eq!(raw.byte(), b'N');
        }
        raw.send(&startup(&[("user", "postgres"), ("database", "proxied")]));
        assert!(raw.until_ready(1).iter().any(|f| f.tag == b'Z'));
        assert_eq!(raw.value("select 1"), "1");
    }
}

#[test]
fn the_greeting_is_the_servers_own() {
    let stage = stage();
    let both = |parameters: &[(&str, &str)]| {
        let direct = Raw::connect_with(&stage.cluster.address(), parameters);
        let proxied = Raw::connect_with(stage.proxy.address(), parameters);
        assert_eq!(masked(&direct.greeting), masked(&proxied.greeting), "{parameters:?}");
    };
    let base = [("user", "app"), ("database", "proxied")];
    both(&base);
    both(
        &[
            &base[..],
            &[("application_name", "größe"), ("client_encoding", "LATIN1"), ("DateStyle", "German")],
        ]
        .concat(),
    );
    both(&[&base[..], &[("options", "-c search_path=nowhere -c statement_timeout=5s")]].concat());
    both(&[&base[..], &[("_pq_.something", "1")]].concat());
    // A newer minor version is negotiated down by the server.
    for minor in [1, 2, 9999] {
        let greeting = |address: &str| {
            let mut request = startup(&base);
            request[4..8].copy_from_slice(&(196_608_u32 + minor).to_be_bytes());
            let mut raw = Raw::open(address);
            raw.send(&request);
            masked(&raw.until_ready(1))
        };
        assert_eq!(greeting(&stage.cluster.address()), greeting(stage.proxy.address()), "3.{minor}");
    }
}

#[test]
fn startup_options_govern_how_names_resolve() {
    let stage = stage();
    stage
        .behind()
        .ok("create schema other; create table other.projects (id int primary key, name text, version int)");
    stage.behind().ok("insert into other.projects values (1, 'o', 5)");
    let parameters = [("user", "postgres"), ("database", "proxied"), ("options", "-c search_path=other")];
    let mut raw = Raw::connect_with(stage.proxy.address(), &parameters);
    assert_eq!(raw.ok("update projects set name = 'x' where id = 1"), "UPDATE 1");
    assert_eq!(stage.version("other.projects", "id = 1"), "5");
    assert_eq!(raw.ok("update public.projects set name = 'x' where id = 1"), "UPDATE 1");
    assert_eq!(stage.version("projects", "id = 1"), "2");
    raw.ok("set search_path = public");
    assert_eq!(raw.ok("update projects set name = 'x' where id = 1"), "UPDATE 1");
    assert_eq!(
        (stage.version("projects", "id = 1"), stage.version("other.projects", "id = 1")),
        ("3".into(), "5".into())
    );
}

#[test]
fn refusals_are_the_servers_own() {
    let stage = stage();
    for parameters in [
        &[("user", "postgres"), ("database", "nowhere")][..],
        &[("user", "nobody_knows"), ("database", "proxied")],
        &[("user", "postgres"), ("database", "proxied"), ("nonsense", "1")],
        &[("user", "postgres"), ("database", "proxied"), ("options", "-c nonsense=1")],
        &[("database", "proxied")],
        &[],
    ] {
        let refusal = |address: &str| {
            let mut raw = Raw::open(address);
            raw.send(&startup(parameters));
            raw.until_closed()
        };
        let (direct, proxied) = (refusal(&stage.cluster.address()), refusal(stage.proxy.address()));
        assert!(error(&direct).is_some(), "{direct:?}");
        assert_eq!(direct, proxied, "{parameters:?}");
    }
    stage.behind().ok("alter role app connection limit 0");
    let mut raw = Raw::open(stage.proxy.address());
    raw.send(&startup(&[("user", "app"), ("database", "proxied")]));
    assert_eq!(sqlstate(&raw.until_closed()), "53300");
    next_client_is_served(&stage);
}

/// Connects with tokio-postgres, which speaks all three kinds of password; the server's answer to a query.
fn log_in(port: u16, user: &str, password: &str) -> Result<String, tokio_postgres::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let settings = format!("host=127.0.0.1 port={port} user={user} password='{password}' dbname=proxied");
        let (client, connection) = tokio_postgres::connect(&settings, tokio_postgres::NoTls).await?;
        let driver = tokio::spawn(connection);
        let row = client.query_one("select current_user::text", &[]).await?;
        drop(client);
        driver.await.unwrap()?;
        Ok(row.get(0))
    })
}

#[test]
fn every_kind_of_password_passes_and_a_wrong_one_gets_the_servers_error() {
    let stage = stage();
    for user in ["pw_plain", "pw_md5", "pw_scram"] {
        assert_eq!(log_in(stage.proxy.port(), user, "open sesame").unwrap(), user);
        let facts = |port| {
            let error = log_in(port, user, "wrong").unwrap_err();
            let error = error.as_db_error().unwrap_or_else(|| panic!("{user}: {error}"));
            (error.severity().to_owned(), error.code().code().to_owned(), error.message().to_owned())
        };
        assert_eq!(facts(stage.proxy.port()), facts(stage.cluster.port()), "{user}");
        assert_eq!(facts(stage.proxy.port()).1, "28P01");
    }
    assert!(!stage.proxy.log().text().contains("sesame"));
    // A client that gives no answer, or breaks off, holds nobody up.
    let mut raw = Raw::open(stage.proxy.address());
    raw.send(&startup(&[("user", "pw_plain"), ("database", "proxied")]));
    assert_eq!(raw.frame().tag, b'R');
    drop(raw);
    let mut raw = Raw::open(stage.proxy.address());
    raw.send(&startup(&[("user", "pw_plain"), ("database", "proxied")]));
    assert_eq!(raw.frame().tag, b'R');
    raw.send(&password(&"long".repeat(1000)));
    assert_eq!(sqlstate(&raw.until_closed()), "28P01");
    next_client_is_served(&stage);
}

#[test]
fn garbage_instead_of_a_startup_packet_is_refused() {
    let stage = stage();
    let long = untyped(&vec![b'a'; 9_000]);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("TLS without asking", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec()),
        ("zeros", vec![0; 64]),
        ("ones", vec![0xff; 64]),
        ("length 4", untyped(&[])),
        ("length 7", vec![0, 0, 0, 7, 0, 3, 0]),
        ("length 2 GB", vec![0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0]),
        ("too long", long),
        ("unknown code", untyped(&12_345_678_u32.to_be_bytes())),
        ("protocol 1.0", untyped(&[0, 1, 0, 0, 0])),
        ("protocol 2.0", untyped(&[0, 2, 0, 0, 0])),
        ("protocol 4.0", untyped(&[0, 4, 0, 0, 0])),
        ("a name without value", untyped(&[&196_608_u32.to_be_bytes()[..], b"user\0"].concat())),
        ("no end", untyped(&[&196_608_u32.to_be_bytes()[..], b"user\0x\0"].concat())),
        ("no zero", untyped(&[&196_608_u32.to_be_bytes()[..], b"user"].concat())),
        ("a cancel of nobody", untyped(&[&80_877_102_u32.to_be_bytes()[..], &[0; 8]].concat())),
        ("a cancel too short", untyped(&80_877_102_u32.to_be_bytes())),
        ("a cancel too long", untyped(&[&80_877_102_u32.to_be_bytes()[..], &[1; 400]].concat())),
        ("SSLRequest with a tail", untyped(&[&80_877_103_u32.to_be_bytes()[..], b"x"].concat())),
        ("nothing", Vec::new()),
        ("half a length", vec![0, 0]),
        ("half a packet", startup(&[("user", "postgres")])[..12].to_vec()),
    ];
    for (what, bytes) in &cases {
        let mut raw = Raw::open(stage.proxy.address());
        let _ = raw.try_send(bytes);
        if !what.starts_with("protocol") {
            raw.close_sending();
        }
        // `N` to an SSLRequest is no frame; all else is an error or nothing, then the end.
        if ["protocol 1.0", "protocol 2.0"].contains(what) {
            // The error is one of those protocols, which have no lengths.
            assert_eq!(raw.try_frame().unwrap_err().kind(), std::io::ErrorKind::InvalidData);
            let error = raw.unframed().unwrap();
            assert!(error.starts_with(b"EFATAL:  unsupported frontend protocol"), "{}", error.escape_ascii());
        } else if !what.starts_with("SSL") {
            let reply = raw.until_closed();
            assert!(reply.iter().all(|f| f.tag == b'E'), "{what}: {reply:?}");
            assert!(!what.starts_with("protocol") || reply.len() == 1, "{what}: {reply:?}");
        }
        next_client_is_served(&stage);
    }
}

#[test]
fn an_unending_startup_packet_holds_nobody_up() {
    let stage = stage();
    let mut slow: Vec<_> = (0..20).map(|_| TcpStream::connect(stage.proxy.address()).unwrap()).collect();
    for stream in &mut slow {
        stream.write_all(&startup(&[("user", "postgres")])[..6]).unwrap();
    }
    next_client_is_served(&stage);
}

#[test]
fn malformed_frames_end_the_session_with_an_error() {
    let stage = stage();
    for bytes in [
        &b"Q\x00\x00\x00\x03"[..],
        b"Q\x00\x00\x00\x00",
        b"Q\xff\xff\xff\xff",
        b"Q\x7f\xff\xff\xffselect 1",
        b"P\x7f\xff\xff\xff\0select 1",
        b"S\x7f\xff\xff\xff",
        b"\0\0\0\0\x04",
    ] {
        let mut raw = stage.session();
        raw.send(bytes);
        raw.close_sending();
        let reply = raw.until_closed();
        assert!(reply.iter().all(|f| matches!(f.tag, b'E' | b'N')), "{bytes:?}: {reply:?}");
        next_client_is_served(&stage);
    }
}

#[test]
fn bodies_cut_short_inside_a_whole_frame_are_the_servers_to_refuse() {
    let stage = stage();
    let whole = [
        crate::common::frames::parse("s", "update projects set name = $1 where id = $2", &[25, 23]),
        crate::common::frames::bind("s", &["x", "1"]),
        crate::common::frames::describe('S', "s"),
        crate::common::frames::execute("", 0),
        crate::common::frames::close('S', "s"),
        crate::common::frames::query("update projects set name = 'x' where id = 1"),
    ];
    for frame in &whole {
        let body = &frame[5..];
        let mut twin = stage.twin();
        for length in (0..body.len()).step_by(1 + body.len() / 12) {
            let cut = [message(frame[0], &body[..length]), sync()].concat();
            for side in [&mut twin.direct, &mut twin.proxied] {
                side.send(&cut);
            }
            let (direct, proxied) = (twin.direct.until('Z'), twin.proxied.until('Z'));
            if frame[0] == b'Q' {
                twin.direct.until('Z');
                twin.proxied.until('Z');
            }
            crate::common::twin::same(&direct, &proxied);
        }
    }
    next_client_is_served(&stage);
}

#[test]
fn a_dead_server_is_a_fatal_error_not_a_dropped_socket() {
    let proxy = Proxy::start_before(&format!("127.0.0.1:{}", free_port()), &[]);
    for _ in 0..2 {
        let mut raw = Raw::open(proxy.address());
        raw.send(&startup(&[("user", "postgres"), ("database", "x")]));
        let reply = raw.until_closed();
        let fatal = error(&reply).unwrap_or_else(|| panic!("no error: {reply:?}"));
        assert_eq!(
            (fatal.field('S'), fatal.field('C')),
            (Some("FATAL".into()), Some("08006".into())),
            "{fatal:?}"
        );
        assert_eq!(reply.len(), 1, "{reply:?}");
    }
}

#[test]
fn a_server_that_closes_at_once_is_a_fatal_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start_before(&listener.local_addr().unwrap().to_string(), &[]);
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let mut raw = Raw::open(proxy.address());
    raw.send(&startup(&[("user", "postgres"), ("database", "x")]));
    let reply = raw.until_closed();
    assert_eq!(sqlstate(&reply), "08006", "{reply:?}");
}

#[test]
fn a_server_that_stops_in_mid_session_says_so() {
    let cluster = std::sync::Arc::new(Cluster::start(&[]));
    let stage = Stage { proxy: Proxy::start(&cluster, &[]), cluster };
    let mut idle = stage.session();
    let mut block = stage.session();
    block.ok("begin");
    block.ok("select * from projects where id = 1");
    stage.cluster.stop();
    for raw in [&mut idle, &mut block] {
        let reply = raw.until_closed();
        // An immediate shutdown is announced by a warning; the proxy may add its own word, but never silence.
        let states: Vec<_> = reply.iter().filter_map(|f| f.field('C')).collect();
        assert!(states.iter().any(|s| s.starts_with("57P0") || s == "08006"), "{reply:?}");
        assert!(reply.iter().filter(|f| f.tag == b'E').count() < 2, "{reply:?}");
    }
    let mut raw = Raw::open(stage.proxy.address());
    raw.send(&startup(&[("user", "postgres"), ("database", "proxied")]));
    assert_eq!(sqlstate(&raw.until_closed()), "08006");
}

#[test]
fn a_setting_that_is_wrong_is_named_and_nothing_starts() {
    let mut command = staleguard();
    command.args(["serve", "--listen", "nonsense", "--upstream", &cluster().address()]);
    let (status, text) = to_end(&mut command);
    assert!(!status.success());
    assert!(text.contains("listen") && text.contains("nonsense"), "{text}");
}
