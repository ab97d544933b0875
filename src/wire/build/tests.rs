#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::Bytes;
use pgwire::messages::DecodeContext;
use pgwire::messages::extendedquery as pg;
use pgwire::messages::simplequery::Query;

use super::*;
use crate::wire::frame::{Scan, scan};

/// Decodes `out` as one pgwire message that fills it.
fn decode<M: Message>(mut out: BytesMut) -> M {
    assert_eq!(scan(&out), Scan::Frame { tag: out[0], len: out.len() });
    let message = M::decode(&mut out, &DecodeContext::default()).unwrap().unwrap();
    assert!(out.is_empty());
    message
}

/// What a builder writes.
fn built(build: impl FnOnce(&mut BytesMut) -> bool) -> BytesMut {
    let mut out = BytesMut::new();
    assert!(build(&mut out));
    out
}

#[test]
fn pgwire_reads_what_is_built() {
    let some = |s: &str| Some(s.to_owned());
    let message: pg::Parse = decode(built(|o| parse(o, b"s1", b"SELECT $1", &[23, 0])));
    assert_eq!(message, pg::Parse::new(some("s1"), "SELECT $1".into(), vec![23, 0]));

    let message: pg::Bind = decode(built(|o| bind(o, b"p1", b"s1", &[Some(b"7"), None, Some(b"")])));
    let params = vec![Some(Bytes::from("7")), None, Some(Bytes::new())];
    assert_eq!(message, pg::Bind::new(some("p1"), some("s1"), vec![], params.clone(), vec![]));

    let message: pg::Bind =
        decode(built(|o| bind_formats(o, b"", b"s1", &[0, 1, 0], &[Some(b"7"), None, Some(b"")], &[1])));
    assert_eq!(message, pg::Bind::new(None, some("s1"), vec![0, 1, 0], params, vec![1]));

    let message: pg::Describe = decode(built(|o| describe(o, b'S', b"s1")));
    assert_eq!(message, pg::Describe::new(b'S', some("s1")));
    let message: pg::Close = decode(built(|o| close(o, b'P', b"")));
    assert_eq!(message, pg::Close::new(b'P', None));
    let message: pg::Execute = decode(built(|o| execute(o, b"p1", 50)));
    assert_eq!(message, pg::Execute::new(some("p1"), 50));
    let message: Query = decode(built(|o| query(o, b"SELECT 1")));
    assert_eq!(message, Query::new("SELECT 1".into()));

    let fields = vec![(b'S', "ERROR".to_owned()), (b'C', "40001".to_owned())];
    let message: ErrorResponse = decode(built(|o| error_response(o, &fields)));
    assert_eq!(message, ErrorResponse::new(fields));
    let message: ReadyForQuery = decode(built(|o| ready(o, b'E')));
    assert_eq!(message, ReadyForQuery::new(TransactionStatus::Error));
    let message: CommandComplete = decode(built(|o| command_complete(o, "UPDATE 0")));
    assert_eq!(message, CommandComplete::new("UPDATE 0".into()));
}

#[test]
fn short_messages_have_their_bytes() {
    type Build = fn(&mut BytesMut);
    let cases: &[(Build, &[u8])] = &[
        (flush, b"H\0\0\0\x04"),
        (sync, b"S\0\0\0\x04"),
        (terminate, b"X\0\0\0\x04"),
        (ssl_request, b"\0\0\0\x08\x04\xd2\x16\x2f"),
    ];
    for (build, want) in cases {
        let mut out = BytesMut::new();
        build(&mut out);
        assert_eq!(&out[..], *want);
    }
}

#[test]
fn names_and_texts_may_be_in_any_encoding() {
    let out = built(|o| parse(o, b"caf\xe9", b"SELECT '\xff'", &[]));
    assert_eq!(&out[..], b"P\0\0\0\x16caf\xe9\0SELECT '\xff'\0\0\0");
    let long = vec![b'n'; 20_000];
    assert_eq!(built(|o| describe(o, b'S', &long)).len(), 5 + 1 + 20_000 + 1);
}

#[test]
fn what_no_frame_can_carry_is_refused_without_a_trace() {
    let too_many = vec![None; 65_536];
    type Build<'a> = Box<dyn Fn(&mut BytesMut) -> bool + 'a>;
    let cases: Vec<(&str, Build<'_>)> = vec![
        ("NUL in a name", Box::new(|o| parse(o, b"a\0b", b"", &[]))),
        ("NUL in a text", Box::new(|o| parse(o, b"", b"SELECT 1\0", &[]))),
        ("too many types", Box::new(|o| parse(o, b"", b"", &[0; 65_536]))),
        ("NUL in a portal", Box::new(|o| bind(o, b"\0", b"", &[]))),
        ("too many parameters", Box::new(|o| bind(o, b"", b"", &too_many))),
        ("formats for other parameters", Box::new(|o| bind_formats(o, b"", b"", &[0, 1], &[None], &[]))),
        ("too many result formats", Box::new(|o| bind_formats(o, b"", b"", &[], &[], &[0; 65_536]))),
        ("neither statement nor portal", Box::new(|o| describe(o, b'X', b""))),
        ("neither statement nor portal", Box::new(|o| close(o, 0, b""))),
        ("NUL in a query", Box::new(|o| query(o, b"\0"))),
        ("NUL in a field", Box::new(|o| error_response(o, &[(b'M', "a\0b".into())]))),
        ("field without code", Box::new(|o| error_response(o, &[(0, "a".into())]))),
        ("no such status", Box::new(|o| ready(o, b'X'))),
        ("NUL in a tag", Box::new(|o| command_complete(o, "UPDATE\0"))),
        ("tag too long for pgwire", Box::new(|o| command_complete(o, &"x".repeat(40_000)))),
    ];
    for (what, build) in cases {
        let mut out = BytesMut::from(&b"before"[..]);
        assert!(!build(&mut out), "{what}");
        assert_eq!(&out[..], b"before", "{what}");
    }
}
