#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::BytesMut;
use pgwire::messages::Message;
use pgwire::messages::cancel::CancelRequest;
use pgwire::messages::startup::{GssEncRequest, SecretKey, SslRequest, Startup as PgStartup};

use super::*;

/// An untagged packet: length word, code, rest.
fn packet(code: u32, rest: &[u8]) -> Vec<u8> {
    let len = u32::try_from(8 + rest.len()).unwrap();
    [&len.to_be_bytes()[..], &code.to_be_bytes()[..], rest].concat()
}

const V3: u32 = 3 << 16;

#[test]
fn scans_for_whole_packets() {
    use StartupScan::{Incomplete, Malformed, Packet};
    let start = packet(V3, b"user\0ann\0\0");
    let cases: &[(&[u8], StartupScan)] = &[
        (b"", Incomplete),
        (b"\0\0\0", Incomplete),
        (b"\0\0\0\x08", Incomplete),
        (b"\0\0\0\x08\x04\xd2\x16\x2f", Packet(8)),
        (b"\0\0\0\x08\x04\xd2\x16\x2fmore", Packet(8)),
        (&start, Packet(18)),
        (&start[..17], Incomplete),
        (b"\0\0\0\x07", Malformed { len: 7 }),
        (b"\0\0\0\0", Malformed { len: 0 }),
        (b"\0\0\x27\x14", Incomplete),
        (b"\0\0\x27\x15", Malformed { len: 10_005 }),
        (b"GET / HTTP/1.1\r\n\r\n", Malformed { len: 0x4745_5420 }),
        (b"\x16\x03\x01\x02\0\x01", Malformed { len: 0x1603_0102 }),
        (b"\xff\xff\xff\xff", Malformed { len: u32::MAX }),
    ];
    for (bytes, want) in cases {
        assert_eq!(scan_startup(bytes), *want, "{bytes:?}");
    }
}

#[test]
fn reads_requests_and_refuses_broken_ones() {
    let key4 = packet(1234 << 16 | 5678, b"\0\0\0\x2akey4");
    let key256 = packet(1234 << 16 | 5678, &[7; 260]);
    let cases: &[(Vec<u8>, Result<Startup<'_>, StartupError>)] = &[
        (packet(1234 << 16 | 5679, b""), Ok(Startup::Ssl)),
        (packet(1234 << 16 | 5680, b""), Ok(Startup::GssEnc)),
        (key4.clone(), Ok(Startup::Cancel { packet: &key4 })),
        (key256.clone(), Ok(Startup::Cancel { packet: &key256 })),
        (packet(1234 << 16 | 5678, b"\0\0\0\x2ake"), Err(StartupError::CancelLength { got: 14 })),
        (packet(1234 << 16 | 5678, &[7; 261]), Err(StartupError::CancelLength { got: 269 })),
        (packet(1234 << 16 | 5681, b""), Ok(Startup::Unknown { code: 1234 << 16 | 5681 })),
        (packet(2 << 16, b"user\0ann\0\0"), Ok(Startup::Unknown { code: 2 << 16 })),
        (packet(V3, b"\0"), Ok(Startup::Start { major: 3, minor: 0, params: vec![] })),
        (
            packet(V3 | 9999, b"user\0ann\0_pq_.x\0\0\0"),
            Ok(Startup::Start { major: 3, minor: 9999, params: vec![(b"user", b"ann"), (b"_pq_.x", b"")] }),
        ),
        (packet(V3, b""), Err(StartupError::Layout)),
        (packet(V3, b"user\0ann\0"), Err(StartupError::Layout)),
        (packet(V3, b"user\0ann"), Err(StartupError::Layout)),
        (packet(V3, b"user\0\0"), Err(StartupError::Layout)),
        (packet(V3, b"user\0ann\0\0more"), Err(StartupError::Layout)),
        (b"\0\0\0\x08".to_vec(), Err(StartupError::Length { got: 4 })),
        ([packet(V3, b"\0"), b"!".to_vec()].concat(), Err(StartupError::Length { got: 10 })),
        (packet(V3, &[0; 9_997]), Err(StartupError::Length { got: 10_005 })),
    ];
    for (bytes, want) in cases {
        assert_eq!(read_startup(bytes), *want, "{bytes:?}");
    }
}

#[test]
fn finds_parameters_as_the_server_does() {
    let bytes = packet(
        V3,
        b"user\0ann\0database\0\0options\0-c a=b\0replication\0database\0application_name\0\xe9\0user\0bob\0\0",
    );
    let start = read_startup(&bytes).unwrap();
    assert_eq!(start.user(), Some(&b"bob"[..]), "the last one counts");
    assert_eq!(start.database(), Some(&b"bob"[..]), "an empty name means the user's");
    assert_eq!(start.options(), Some(&b"-c a=b"[..]));
    assert!(start.replication());
    assert_eq!(start.application_name(), Some(&b"\xe9"[..]), "any encoding");
    assert_eq!(start.param("client_encoding"), None);
    assert_eq!(Startup::Ssl.user(), None);

    let bytes = packet(V3, b"user\0ann\0database\0planner\0\0");
    assert_eq!(read_startup(&bytes).unwrap().database(), Some(&b"planner"[..]));
}

#[test]
fn reads_what_pgwire_writes() {
    let mut out = BytesMut::new();
    let mut start = PgStartup::new();
    start.protocol_number_minor = 2;
    start.parameters.insert("user".into(), "ann".into());
    start.encode(&mut out).unwrap();
    assert_eq!(scan_startup(&out), StartupScan::Packet(out.len()));
    assert_eq!(
        read_startup(&out),
        Ok(Startup::Start { major: 3, minor: 2, params: vec![(b"user", b"ann")] })
    );

    for (message, want) in [(true, Startup::Ssl), (false, Startup::GssEnc)] {
        let mut out = BytesMut::new();
        if message { SslRequest::new().encode(&mut out) } else { GssEncRequest::new().encode(&mut out) }
            .unwrap();
        assert_eq!(read_startup(&out), Ok(want));
    }

    let mut out = BytesMut::new();
    CancelRequest::new(42, SecretKey::I32(0x0102_0304)).encode(&mut out).unwrap();
    assert_eq!(read_startup(&out), Ok(Startup::Cancel { packet: &out }));
    let key = read_cancel(&out).unwrap();
    assert_eq!((key.pid, key.secret), (42, &[1, 2, 3, 4][..]));
}

#[test]
fn debug_output_keeps_secrets() {
    let bytes = packet(V3, b"user\0ann\0options\0-c app.token=hunter2\0\0");
    let shown = format!("{:?}", read_startup(&bytes).unwrap());
    assert!(shown.contains("options") && !shown.contains("hunter2"), "{shown}");
    let bytes = packet(1234 << 16 | 5678, b"\0\0\0\x2aABCD");
    let shown = format!("{:?} {:?}", read_startup(&bytes).unwrap(), read_cancel(&bytes).unwrap());
    assert!(!shown.contains("65") && !shown.contains("ABCD"), "{shown}");
}

#[test]
fn replication_is_read_as_the_server_reads_it() {
    let asked = |value: &[u8]| {
        let params = vec![(&b"replication"[..], value)];
        Startup::Start { major: 3, minor: 0, params }.replication()
    };
    for value in [&b"database"[..], b"true", b"TRUE", b"t", b"y", b"yes", b"on", b"ON", b"1"] {
        assert!(asked(value), "{}", value.escape_ascii());
    }
    for value in
        [&b"false"[..], b"F", b"n", b"off", b"0", b"", b"o", b"Database", b"truely", b"10", b"nonsense"]
    {
        assert!(!asked(value), "{}", value.escape_ascii());
    }
}
