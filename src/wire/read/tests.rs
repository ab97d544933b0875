#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::{Bytes, BytesMut};
use pgwire::messages::Message;
use pgwire::messages::data as pgdata;
use pgwire::messages::extendedquery as pg;
use pgwire::messages::response as pgresponse;
use pgwire::messages::simplequery::Query;
use pgwire::messages::startup as pgstartup;

use super::*;

/// The body of a message as pgwire writes it.
fn body_of(message: &impl Message) -> Vec<u8> {
    let mut out = BytesMut::new();
    message.encode(&mut out).unwrap();
    out[5..].to_vec()
}

#[test]
fn reads_front_messages_that_pgwire_writes() {
    let some = |s: &str| Some(s.to_owned());
    let body = body_of(&pg::Parse::new(some("s1"), "SELECT $1".into(), vec![23, 0]));
    let parse = read_parse(&body).unwrap();
    assert_eq!((parse.name, parse.text), (&b"s1"[..], &b"SELECT $1"[..]));
    assert_eq!(parse.oids.iter().collect::<Vec<_>>(), [23, 0]);
    assert_eq!((parse.oids.len(), parse.oids.get(0), parse.oids.get(2)), (2, Some(23), None));

    assert_eq!(read_query(&body_of(&Query::new("SELECT 1".into()))), Some(&b"SELECT 1"[..]));

    let values = vec![Some(Bytes::from("7")), None, Some(Bytes::new())];
    let body = body_of(&pg::Bind::new(some("p1"), some("s1"), vec![0, 1, 0], values, vec![1, 0]));
    let bind = read_bind(&body).unwrap();
    assert_eq!((bind.portal, bind.statement, bind.param_count()), (&b"p1"[..], &b"s1"[..], 3));
    assert_eq!(bind.params.iter().collect::<Vec<_>>(), [Some(&b"7"[..]), None, Some(&b""[..])]);
    assert_eq!((bind.param(0), bind.param(1), bind.param(3)), (Some(Some(&b"7"[..])), Some(None), None));
    assert_eq!([0, 1, 2].map(|i| bind.param_format(i)), [0, 1, 0]);
    assert_eq!([0, 1].map(|i| bind.result_format(i)), [1, 0]);
    assert_eq!((bind.result_formats.len(), bind.param_formats.is_empty()), (2, false));

    let body = body_of(&pg::Describe::new(b'S', some("s1")));
    assert_eq!(read_describe(&body), Some(Target { kind: b'S', name: b"s1" }));
    let body = body_of(&pg::Close::new(b'P', None));
    assert_eq!(read_close(&body), Some(Target { kind: b'P', name: b"" }));
    let body = body_of(&pg::Execute::new(some("p1"), 50));
    assert_eq!(read_execute(&body), Some(Execute { portal: b"p1", max_rows: 50 }));
}

#[test]
fn reads_back_messages_that_pgwire_writes() {
    let column = pgdata::FieldDescription::new("id".into(), 16_400, 1, 23, 4, -1, 1);
    let field = Field {
        name: b"id"[..].into(),
        table_oid: 16_400,
        attnum: 1,
        type_oid: 23,
        type_len: 4,
        type_mod: -1,
        format: 1,
    };
    let body = body_of(&pgdata::RowDescription::new(vec![column]));
    assert_eq!(read_row_description(&body), Some(vec![field]));

    let row = pgdata::DataRow::new(BytesMut::from(&b"\0\0\0\x017\xff\xff\xff\xff\0\0\0\0"[..]), 3);
    let body = body_of(&row);
    let row = read_data_row(&body).unwrap();
    assert_eq!(row.count(), 3);
    assert_eq!(row.fields().collect::<Vec<_>>(), [Some(&b"7"[..]), None, Some(&b""[..])]);
    assert_eq!(row.fields().len(), 3);

    let body = body_of(&pgresponse::CommandComplete::new("UPDATE 3".into()));
    assert_eq!(read_command_complete(&body), Some(&b"UPDATE 3"[..]));
    let body = body_of(&pgresponse::ReadyForQuery::new(pgresponse::TransactionStatus::Transaction));
    assert_eq!(read_ready(&body), Some(b'T'));
    let body = body_of(&pgstartup::ParameterStatus::new("TimeZone".into(), "".into()));
    assert_eq!(read_parameter_status(&body), Some((&b"TimeZone"[..], &b""[..])));
    let body = body_of(&pgdata::ParameterDescription::new(vec![23, 25]));
    assert_eq!(read_parameter_description(&body), Some(vec![23, 25]));
    let body = body_of(&pgstartup::BackendKeyData::new(42, pgstartup::SecretKey::I32(1)));
    assert_eq!(read_key_data(&body), Some(KeyData { pid: 42, secret: b"\0\0\0\x01" }));
    let body = body_of(&pgstartup::Authentication::MD5Password(vec![1, 2, 3, 4]));
    assert_eq!(read_authentication(&body), Some(Authentication { kind: 5, data: &[1, 2, 3, 4] }));

    let fields = [(b'S', "FEHLER"), (b'V', "ERROR"), (b'C', "42601"), (b'M', "m\u{fc}ll"), (b'P', "15")];
    let body = body_of(&pgresponse::ErrorResponse::new(fields.map(|(c, v)| (c, v.to_owned())).to_vec()));
    let error = ErrorFields::parse(&body).unwrap();
    assert_eq!(error.fields, fields.map(|(c, v)| (c, v.as_bytes())));
    assert_eq!(error.severity(), Some(&b"ERROR"[..]));
    assert_eq!((error.sqlstate(), error.position()), (Some(&b"42601"[..]), Some(15)));
    assert_eq!((error.get(b'D'), read_error_fields(&body)), (None, Some(error)));
}

#[test]
fn refuses_what_the_server_refuses() {
    type Accepts = fn(&[u8]) -> bool;
    let parse: Accepts = |b| read_parse(b).is_some();
    let query: Accepts = |b| read_query(b).is_some();
    let bind: Accepts = |b| read_bind(b).is_some();
    let target: Accepts = |b| read_describe(b).is_some() && read_close(b).is_some();
    let execute: Accepts = |b| read_execute(b).is_some();
    let row: Accepts = |b| read_data_row(b).is_some();
    let ready: Accepts = |b| read_ready(b).is_some();
    let error: Accepts = |b| ErrorFields::parse(b).is_some();
    let key: Accepts = |b| read_key_data(b).is_some();
    let columns: Accepts = |b| read_row_description(b).is_some();
    let cases: &[(&str, Accepts, &[u8], bool)] = &[
        ("least parse", parse, b"\0\0\0\0", true),
        ("parse with bytes left over", parse, b"\0\0\0\0!", false),
        ("parse with fewer types than said", parse, b"\0\0\0\x01\0\0\0", false),
        ("empty query", query, b"\0", true),
        ("query without NUL", query, b"SELECT 1", false),
        ("query with a NUL inside", query, b"SELECT\x001\0", false),
        ("no body at all", query, b"", false),
        ("least bind", bind, b"\0\0\0\0\0\0\0\0", true),
        ("one format and no parameter", bind, b"\0\0\0\x01\0\x01\0\0\0\0", true),
        ("two formats for one parameter", bind, b"\0\0\0\x02\0\0\0\0\0\x01\xff\xff\xff\xff\0\0", false),
        ("value of length -2", bind, b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0", false),
        ("value longer than the body", bind, b"\0\0\0\0\0\x01\x7f\xff\xff\xff\0\0", false),
        ("more values than bytes", bind, b"\0\0\0\0\xff\xff\0\0", false),
        ("describe of something else", target, b"X\0", false),
        ("describe without name", target, b"S", false),
        ("execute without limit", execute, b"\0\0\0\0", false),
        ("row without fields", row, b"\0\0", true),
        ("row with bytes left over", row, b"\0\0\0", false),
        ("columns without bytes", columns, b"\xff\xff", false),
        ("unknown status", ready, b"X", false),
        ("status and more", ready, b"II", false),
        ("error without fields", error, b"\0", true),
        ("error without end", error, b"Mfoo\0", false),
        ("error with bytes left over", error, b"\0M", false),
        ("key of 3 bytes", key, b"\0\0\0\x01abc", false),
        ("key of 256 bytes", key, &[1; 260], true),
        ("key of 257 bytes", key, &[1; 261], false),
    ];
    for (what, accepts, body, want) in cases {
        assert_eq!(accepts(body), *want, "{what}");
    }
}

#[test]
fn formats_apply_as_the_protocol_says() {
    // (codes on the wire, format of items 0, 1, 2)
    let cases: &[(&[[u8; 2]], [i16; 3])] = &[
        (&[], [0, 0, 0]),
        (&[[0, 1]], [1, 1, 1]),
        (&[[0, 0]], [0, 0, 0]),
        (&[[0, 1], [0, 0], [0, 1]], [1, 0, 1]),
    ];
    for (codes, want) in cases {
        let list = I16List(codes);
        assert_eq!([0, 1, 2].map(|i| list.applied(i)), *want, "{codes:?}");
        assert_eq!((list.len(), list.get(9)), (codes.len(), None));
    }
}

#[test]
fn counts_rows_of_command_tags() {
    let cases: &[(&[u8], Option<u64>)] = &[
        (b"UPDATE 3", Some(3)),
        (b"UPDATE 0", Some(0)),
        (b"INSERT 0 1", Some(1)),
        (b"SELECT 18446744073709551615", Some(u64::MAX)),
        (b"SELECT 18446744073709551616", None),
        (b"BEGIN", None),
        (b"CREATE TABLE", None),
        (b"UPDATE ", None),
        (b"UPDATE -1", None),
        (b"UPDATE +1", None),
        (b"3", None),
        (b"", None),
    ];
    for (tag, want) in cases {
        assert_eq!(rows_of_tag(tag), *want, "{tag:?}");
    }
}

#[test]
fn positions_are_numbers_or_nothing() {
    for (value, want) in
        [("15", Some(15)), ("", None), ("x", None), ("-1", None), ("99999999999999999999", None)]
    {
        let fields = ErrorFields { fields: vec![(b'P', value.as_bytes())] };
        assert_eq!(fields.position(), want, "{value:?}");
    }
    let translated = ErrorFields { fields: vec![(b'S', b"FEHLER")] };
    assert_eq!(translated.severity(), Some(&b"FEHLER"[..]));
}

#[test]
fn debug_output_keeps_values_out() {
    let row = read_data_row(b"\0\x01\0\0\0\x03abc").unwrap();
    let bind = read_bind(b"\0\0\0\0\0\x01\0\0\0\x03abc\0\0").unwrap();
    let error = read_error_fields(b"C40001\0Dabc\0\0").unwrap();
    let key = read_key_data(b"\0\0\0\x01abca").unwrap();
    let shown = format!("{row:?} {bind:?} {error:?} {key:?}");
    assert!(shown.contains("40001") && !shown.contains("abc") && !shown.contains("97"), "{shown}");
}
