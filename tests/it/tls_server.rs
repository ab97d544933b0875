//! TLS between the proxy and the server.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;

use crate::common::LIMIT;
use crate::common::certs::Authority;
use crate::common::cluster::{Cluster, cluster};
use crate::common::frames::{cancel_request, query, startup};
use crate::common::proxy::{Proxy, staleguard, to_end};
use crate::common::raw::{Raw, error, sqlstate};
use crate::common::tls::tls_cluster;

const WHO: [(&str, &str); 2] = [("user", "postgres"), ("database", "proxied")];
const TRUST: &str = "host all all 127.0.0.1/32 trust\n";

/// Whether the proxy's connection to the server is encrypted; or the error that the client got.
fn encrypted(proxy: &Proxy) -> Result<bool, String> {
    let mut raw = Raw::open(proxy.address());
    raw.send(&startup(&WHO));
    let greeting = raw.until_ready(1);
    if let Some(error) = error(&greeting) {
        return Err(error.field('M').unwrap());
    }
    Ok(raw.value("select ssl from pg_stat_ssl where pid = pg_backend_pid()") == "t")
}

fn handshakes(proxy: &Proxy, outcome: &str) -> f64 {
    proxy.metric("staleguard_tls_handshakes_total", &[("side", "server"), ("outcome", outcome)])
}

#[test]
fn each_mode_with_a_server_that_speaks_tls() {
    let authority = Authority::new();
    let named = authority.issue("server", &["localhost"]);
    let cluster = tls_cluster(&authority, &named, TRUST);
    let (ca, other) = (authority.ca(), Authority::new());
    let other = other.ca();
    for (arguments, outcome) in [
        (vec!["disable"], Ok(false)),
        (vec!["prefer"], Ok(true)),
        (vec!["require"], Ok(true)),
        (vec!["require", "--tls-server-ca", &ca], Ok(true)),
        (vec!["require", "--tls-server-ca", &other], Err("handshake failed")),
        (vec!["verify-ca", "--tls-server-ca", &ca], Ok(true)),
        (vec!["verify-ca", "--tls-server-ca", &other], Err("handshake failed")),
        (vec!["verify-full", "--tls-server-ca", &ca], Err("handshake failed")),
        (vec!["verify-full", "--tls-server-ca", &ca, "--tls-server-name", "localhost"], Ok(true)),
        (
            vec!["verify-full", "--tls-server-ca", &ca, "--tls-server-name", "remotehost"],
            Err("handshake failed"),
        ),
        (
            vec!["verify-full", "--tls-server-ca", &other, "--tls-server-name", "localhost"],
            Err("handshake failed"),
        ),
        (vec!["require", "--tls-min-version", "1.3"], Ok(true)),
        // What libpq does as well: whoever cannot be spoken to under TLS is spoken to without.
        (vec!["prefer", "--tls-server-ca", &other], Ok(false)),
        // PostgreSQL before version 17 takes the first byte of a handshake for garbage.
        (vec!["require", "--tls-server-negotiation", "direct"], Err("")),
    ] {
        let arguments = [&["--tls-server"][..], &arguments].concat();
        let proxy = Proxy::start(&cluster, &arguments);
        match (encrypted(&proxy), outcome) {
            (found, Ok(expected)) => assert_eq!(found, Ok(expected), "{arguments:?}"),
            (Err(message), Err(words)) => {
                assert!(message.contains(words), "{arguments:?}: {message}");
                assert!(handshakes(&proxy, "failed") >= 1.0, "{arguments:?}");
            }
            (found, Err(words)) => panic!("{arguments:?}: {found:?}, expected {words}"),
        }
    }
}

#[test]
fn everything_goes_the_same_way() {
    let authority = Authority::new();
    let named = authority.issue("server", &["127.0.0.1"]);
    // Without TLS the server takes nobody.
    let cluster =
        tls_cluster(&authority, &named, "hostssl all all 127.0.0.1/32 trust\nhost all judge all trust\n");
    let ca = authority.ca();
    let proxy = Proxy::start(&cluster, &["--tls-server", "verify-full", "--tls-server-ca", &ca]);
    let mut session = proxy.session();
    assert_eq!(session.value("select ssl from pg_stat_ssl where pid = pg_backend_pid()"), "t");
    session.rows("select * from projects where id = 1");
    assert_eq!(proxy.session().ok("update projects set name = 'b' where id = 1"), "UPDATE 1");
    assert_eq!(sqlstate(&session.query("update projects set name = 'a' where id = 1")), "40001");
    let large = "x".repeat(3_000_000);
    assert_eq!(session.rows(&format!("select '{large}' || '{large}'"))[0][0].len(), 6_000_000);
    // A request to cancel.
    let pid = session.pid();
    session.send(&query("select pg_sleep(600)"));
    let mut judge = proxy.session();
    let active = format!("select count(*) from pg_stat_activity where pid = {pid} and state = 'active'");
    while judge.value(&active) != "1" {}
    let before = handshakes(&proxy, "done");
    Raw::open(proxy.address()).send(&cancel_request(&session.key));
    assert_eq!(sqlstate(&session.until_ready(1)), "57014");
    assert!(handshakes(&proxy, "done") > before, "the request to cancel went under TLS");
    // The end of a session, said and unsaid.
    let gone = |judge: &mut Raw, pid| {
        while judge.value(&format!("select count(*) from pg_stat_activity where pid = {pid}")) != "0" {}
    };
    let mut second = proxy.session();
    let second_pid = second.pid();
    second.send(&crate::common::frames::terminate());
    gone(&mut judge, second_pid);
    session.close_sending();
    gone(&mut judge, pid);
    assert_eq!(proxy.metric("staleguard_upstream_ready", &[]), 1.0);
    // The command that changes the schema.
    let dsn = format!("postgres://postgres@127.0.0.1:{}/proxied", cluster.port());
    let status = |mode: &str| {
        let mut command = staleguard();
        command.env("STALEGUARD_TLS_SERVER", mode).env("STALEGUARD_TLS_SERVER_CA", &ca);
        to_end(command.args(["migrate", "status", "--table", "projects", "--dsn", &dsn]))
    };
    let (_, text) = status("verify-full");
    assert!(text.contains("projects") && !text.contains("cannot connect"), "{text}");
    let (_, text) = status("disable");
    assert!(text.contains("no encryption"), "{text}");
}

/// A server that declines TLS, and what it is sent behind that.
fn decliner(answer: &'static [u8]) -> (String, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 8];
            if stream.read_exact(&mut request).is_err() {
                continue;
            }
            let _ = stream.write_all(answer);
            let mut behind = Vec::new();
            let _ = stream.read_to_end(&mut behind);
            let _ = sender.send(behind);
        }
    });
    (address, receiver)
}

#[test]
fn require_never_falls_back_to_plain_text() {
    let authority = Authority::new();
    let known = authority.ca();
    for mode in ["require", "verify-ca", "verify-full"] {
        for (answer, words) in
            [(&b"N"[..], "speaks no TLS"), (b"E\0\0\0\x05\0", "0x45"), (b"SN", "handshake failed")]
        {
            let (address, behind) = decliner(answer);
            let proxy = Proxy::start_before(&address, &["--tls-server", mode, "--tls-server-ca", &known]);
            let mut raw = Raw::open(proxy.address());
            raw.send(&startup(&WHO));
            let reply = raw.until_closed();
            assert_eq!(sqlstate(&reply), "08006", "{mode}");
            assert!(error(&reply).unwrap().field('M').unwrap().contains(words), "{mode}: {reply:?}");
            // Of the readiness probe and of the client's attempt: nothing but, at most, a TLS handshake and its end.
            for _ in 0..2 {
                let sent = behind.recv_timeout(LIMIT).unwrap();
                assert!(sent.is_empty() || sent[0] == 0x16, "{mode}: {sent:?}");
                let sent = String::from_utf8_lossy(&sent);
                assert!(!sent.contains("postgres\0"), "{mode}: {sent}");
            }
            let kind = if answer == b"N" { "no_tls" } else { "tls" };
            assert!(proxy.metric("staleguard_upstream_errors_total", &[("kind", kind)]) >= 1.0);
            // Nor does a request to cancel.
            Raw::open(proxy.address()).send(&cancel_request(&[0, 0, 0, 1, 0, 0, 0, 2]));
            let sent = behind.recv_timeout(LIMIT).unwrap();
            assert!(!sent.windows(4).any(|w| w == [4, 210, 22, 46]), "{sent:?}");
        }
    }
    // `prefer` does.
    let cluster = cluster();
    let proxy = Proxy::start(&cluster, &["--tls-server", "prefer"]);
    assert_eq!(encrypted(&proxy), Ok(false));
    assert!(handshakes(&proxy, "declined") >= 1.0);
}

#[test]
fn the_proxys_own_certificate() {
    let authority = Authority::new();
    let server = authority.issue("server", &["127.0.0.1"]);
    let own = authority.issue("postgres", &[]);
    let cluster = tls_cluster(&authority, &server, "hostssl all postgres 127.0.0.1/32 cert\n");
    let shown = Proxy::start(
        &cluster,
        &[
            "--tls-server",
            "require",
            "--tls-server-certificate",
            &own.certificate,
            "--tls-server-key",
            &own.key,
        ],
    );
    assert_eq!(encrypted(&shown), Ok(true));
    let hidden = Proxy::start(&cluster, &["--tls-server", "require"]);
    let error = encrypted(&hidden).unwrap_err();
    assert!(error.contains("client certificate"), "{error}");
}

#[test]
fn tls_that_begins_at_once() {
    let authority = Authority::new();
    let pair = authority.issue("proxy", &["127.0.0.1"]);
    let cluster: Cluster = Cluster::start(&[]);
    // A proxy is what speaks like PostgreSQL 17 here.
    let inner = Proxy::start(
        &cluster,
        &["--tls-client", "require", "--tls-certificate", &pair.certificate, "--tls-key", &pair.key],
    );
    let ca = authority.ca();
    let outer = Proxy::start_before(
        inner.address(),
        &["--tls-server", "verify-full", "--tls-server-ca", &ca, "--tls-server-negotiation", "direct"],
    );
    assert_eq!(outer.session().value("select 42"), "42");
    assert_eq!(outer.metric("staleguard_upstream_ready", &[]), 1.0);
}
