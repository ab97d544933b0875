//! Channel binding through a proxy at which TLS ends, and what follows a failed authentication.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;

use crate::common::certs::Authority;
use crate::common::cluster::cluster;
use crate::common::frames::{query, startup};
use crate::common::proxy::Proxy;
use crate::common::raw::{Raw, error, sqlstate};
use crate::common::tls::{psql, scram_behind, tls_cluster, users};

const PASSWORD: &str = "open sesame";

#[test]
fn mode_27_channel_binding_through_a_proxy_at_which_tls_ends() {
    let authority = Authority::new();
    let pair = authority.issue("server", &["localhost", "127.0.0.1"]);
    let hba = "host all pw_scram all scram-sha-256\nhost all all all trust\n";
    let cluster = tls_cluster(&authority, &pair, hba);
    let clients = ["--tls-client", "allow", "--tls-certificate", &pair.certificate, "--tls-key", &pair.key];
    let server = ["--tls-server", "require"];
    let offered = |proxy: &Proxy| {
        let mut raw = Raw::open(proxy.address());
        raw.send(&startup(&[("user", "pw_scram"), ("database", "proxied")]));
        let frame = raw.frame();
        assert_eq!((frame.tag, &frame.body[..4]), (b'R', &[0, 0, 0, 10][..]));
        String::from_utf8(frame.body[4..].to_vec()).unwrap()
    };
    let log_in =
        |proxy: &Proxy, settings: &str| psql(proxy.port(), &format!("user=pw_scram {settings}"), PASSWORD);

    // The server binds to a certificate that no client sees: it is not offered to any.
    let far = Proxy::start(&cluster, &server);
    assert_eq!(offered(&far), "SCRAM-SHA-256\0\0");
    let (came_through, text) = log_in(&far, "sslmode=disable");
    assert!(came_through, "{text}");
    // TLS with the client alone: the server has nothing to bind to, and takes the client for what it is.
    let near = Proxy::start(&cluster, &clients);
    assert_eq!(offered(&near), "SCRAM-SHA-256\0\0");
    for settings in ["sslmode=disable", "sslmode=require", "sslmode=require channel_binding=disable"] {
        let (came_through, text) = log_in(&near, settings);
        assert!(came_through, "{settings}: {text}");
    }
    let (came_through, text) = log_in(&near, "sslmode=require channel_binding=require");
    assert!(!came_through && text.contains("channel binding"), "{text}");

    // On both sides: the client says that it saw no offer, and the server knows that it made one. That is what the
    // mechanism is for, and no proxy may lie about it. A client that does not bind comes through.
    let both = Proxy::start(&cluster, &[&clients[..], &server].concat());
    assert_eq!(offered(&both), "SCRAM-SHA-256\0\0");
    let (came_through, text) = log_in(&both, "sslmode=require");
    assert!(!came_through && text.contains("SCRAM channel binding negotiation error"), "{text}");
    for settings in ["sslmode=disable", "sslmode=require channel_binding=disable"] {
        let (came_through, text) = log_in(&both, settings);
        assert!(came_through, "{settings}: {text}");
    }
    // Where the proxy authenticates, each side binds to the certificate that it sees.
    let folder = tempfile::tempdir().unwrap();
    let file = users(folder.path(), &[("pw_scram", PASSWORD)]);
    let own = ["--auth-mode", "proxy", "--auth-users", &file];
    let proxy = Proxy::start(&cluster, &[&clients[..], &server, &own].concat());
    for settings in
        ["disable", "require", "require channel_binding=require", "require channel_binding=disable"]
    {
        let (came_through, text) = log_in(&proxy, &format!("sslmode={settings}"));
        assert!(came_through && text.contains("I am pw_scram"), "{settings}: {text}");
    }
}

/// A server that tells of every start-up packet that it gets.
fn watcher() -> (String, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut first = [0; 8];
            if stream.read_exact(&mut first).is_ok() && first[4..] == [4, 210, 22, 47] {
                let _ = stream.write_all(b"N");
            } else {
                let _ = sender.send(first.to_vec());
            }
        }
    });
    (address, receiver)
}

#[test]
fn mode_28_nothing_continues_after_a_failed_authentication() {
    let cluster = cluster();
    let write = query("update projects set name = 'intruder' where id = 1");
    let name = || cluster.direct("proxied").value("select name from projects where id = 1");
    let before = name();
    // Passed through: the server refuses, and what was sent along goes nowhere.
    let through = Proxy::start(&cluster, &[]);
    let mut raw = Raw::open(through.address());
    let said = scram_behind(&mut raw, "pw_scram", "wrong", &write);
    assert_eq!(sqlstate(&said), "28P01");
    assert!(said.iter().all(|f| f.tag == b'R' || f.tag == b'E'), "{said:?}");
    assert!(raw.try_frame().is_err(), "closed");
    assert_eq!(name(), before);
    // By the proxy: the server is not even asked.
    let (address, asked) = watcher();
    let folder = tempfile::tempdir().unwrap();
    let file = users(folder.path(), &[("pw_scram", PASSWORD)]);
    let proxy = Proxy::start_before(&address, &["--auth-mode", "proxy", "--auth-users", &file]);
    for (user, password) in [("pw_scram", "wrong"), ("nobody_knows", PASSWORD)] {
        let mut raw = Raw::open(proxy.address());
        let said = scram_behind(&mut raw, user, password, &write);
        assert_eq!(sqlstate(&said), "28P01", "{user}");
        assert!(said.iter().all(|f| f.tag == b'R' || f.tag == b'E'), "{said:?}");
        assert!(raw.try_frame().is_err(), "closed");
    }
    // Also where the client says so without a proof, or leaves.
    for bytes in [write.clone(), Vec::new()] {
        let mut raw = Raw::open(proxy.address());
        raw.send(&startup(&[("user", "pw_scram"), ("database", "proxied")]));
        assert_eq!(raw.frame().tag, b'R');
        raw.send(&bytes);
        raw.close_sending();
        assert_eq!(error(&raw.until_closed()).is_none(), bytes.is_empty());
    }
    assert!(asked.try_recv().is_err(), "no session was begun at the server");
    // The same with a server that does not know the proxy's secret: the client, known by then, is told, and is closed.
    let stranger = users(folder.path(), &[("pw_scram", "stale password")]);
    let proxy = Proxy::start(&cluster, &["--auth-mode", "proxy", "--auth-users", &stranger]);
    let mut raw = Raw::open(proxy.address());
    let said = scram_behind(&mut raw, "pw_scram", "stale password", &write);
    assert_eq!(sqlstate(&said), "28P01");
    assert!(raw.try_frame().is_err(), "closed");
    assert_eq!(name(), before);
}
