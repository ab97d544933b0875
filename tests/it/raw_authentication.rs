//! Authentication passes as it is, whatever the method: a server of our own plays them all.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use crate::common::LIMIT;
use crate::common::frames::{Frame, message, query, startup};
use crate::common::proxy::Proxy;
use crate::common::raw::Raw;

/// The server's end of the session that began with this packet. The proxy asks by itself whether the server is there: such
/// connections say something else, or nothing.
fn accept(listener: &TcpListener, packet: &[u8]) -> TcpStream {
    loop {
        let (mut server, _) = listener.accept().unwrap();
        server.set_read_timeout(Some(LIMIT)).unwrap();
        let mut got = vec![0; packet.len()];
        if server.read_exact(&mut got).is_ok() && got == packet {
            return server;
        }
    }
}

fn receive(server: &mut TcpStream, length: usize) -> Vec<u8> {
    let mut got = vec![0; length];
    server.read_exact(&mut got).unwrap();
    got
}

/// Nothing more has come within a moment.
fn is_quiet(server: &TcpStream) -> bool {
    server.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let quiet = server.peek(&mut [0]).is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
    server.set_read_timeout(Some(LIMIT)).unwrap();
    quiet
}

#[test]
fn every_kind_of_authentication_passes_byte_for_byte() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start_before(&listener.local_addr().unwrap().to_string(), &[]);
    let token: Vec<u8> = (0..=255).cycle().take(3_000).collect();
    // Kerberos V5, clear text, MD5, SCM, GSSAPI, its tokens, SSPI, SASL, its tokens, and one that nobody has defined.
    let requests: &[(u32, &[u8])] = &[
        (2, b""),
        (3, b""),
        (5, b"\xff\x00\x01\x80"),
        (6, b""),
        (7, b""),
        (8, &token),
        (9, b""),
        (10, b"SCRAM-SHA-256\0\0"),
        (11, b"r=nonce,s=salt,i=4096"),
        (99, &token),
    ];
    let packet = startup(&[("user", "u"), ("database", "d")]);
    let mut client = Raw::open(proxy.address());
    client.send(&packet);
    let mut server = accept(&listener, &packet);
    for (code, data) in requests {
        let body = [&code.to_be_bytes(), *data].concat();
        server.write_all(&message(b'R', &body)).unwrap();
        assert_eq!(client.frame(), Frame { tag: b'R', body });
        let answer = message(b'p', &[&token[..], data].concat());
        client.send(&answer);
        assert_eq!(receive(&mut server, answer.len()), answer, "{code}");
    }
    // A statement that is sent ahead waits until the session has begun, behind a last token that wants no answer too.
    client.send(&query("select 1"));
    for (code, data) in [(8_u32, &token[..]), (12, b"v=signature"), (0, b"")] {
        let body = [&code.to_be_bytes(), data].concat();
        server.write_all(&message(b'R', &body)).unwrap();
        assert_eq!(client.frame(), Frame { tag: b'R', body });
        assert!(is_quiet(&server), "a statement before the session has begun");
    }
    server.write_all(&[message(b'K', b"\0\0\0\x07secr"), message(b'Z', b"I")].concat()).unwrap();
    client.until('Z');
    // What comes then is the proxy's own look in front of the statement, or the statement.
    assert_ne!(receive(&mut server, 1), b"p");
}

#[test]
fn what_is_no_answer_to_a_request_for_a_password_is_the_servers_to_refuse() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::start_before(&listener.local_addr().unwrap().to_string(), &[]);
    for code in [3_u32, 5, 10, 11] {
        let packet = startup(&[("user", "u"), ("database", "d")]);
        let mut client = Raw::open(proxy.address());
        client.send(&packet);
        let mut server = accept(&listener, &packet);
        server.write_all(&message(b'R', &[&code.to_be_bytes()[..], b"salt"].concat())).unwrap();
        client.until('R');
        // One message stands for the answer; what follows it does not go.
        let (first, second) = (query("select 1"), query("update projects set name = 'x'"));
        client.send(&[&first[..], &second].concat());
        assert_eq!(receive(&mut server, first.len()), first);
        assert!(is_quiet(&server), "{code}");
        let refusal = message(b'E', b"SFATAL\0C08P01\0Mexpected password response\0\0");
        server.write_all(&refusal).unwrap();
        drop(server);
        let reply = client.until_closed();
        assert_eq!(reply.len(), 1, "{reply:?}");
    }
}
