#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::wire::build;
use crate::wire::frame::{Scan, body, scan};
use crate::wire::read::{read_bind, read_parse};

/// What an editor appends behind bytes that are already there; `None` if it refuses, which must leave no trace.
fn edited(edit: impl FnOnce(&mut BytesMut) -> bool) -> Option<Vec<u8>> {
    let mut out = BytesMut::from(&b"before"[..]);
    let done = edit(&mut out);
    let rest = out.strip_prefix(b"before").expect("what was there stays").to_vec();
    if !done {
        assert_eq!(rest, b"");
        return None;
    }
    assert_eq!(scan(&rest), Scan::Frame { tag: rest[0], len: rest.len() });
    Some(rest)
}

/// A Bind as a client with these formats sends it.
fn bind(formats: &[i16], params: &[Option<&[u8]>], result_formats: &[i16]) -> Vec<u8> {
    edited(|out| build::bind_formats(out, b"caf\xe9", b"s1", formats, params, result_formats)).unwrap()
}

#[test]
fn parse_gets_another_text() {
    let mut frame = BytesMut::new();
    assert!(build::parse(&mut frame, b"caf\xe9", b"SELECT 1", &[23, 0]));
    let parse = read_parse(body(&frame).unwrap()).unwrap();
    let same = edited(|out| parse_with_text(out, &parse, parse.text)).unwrap();
    assert_eq!(same, frame);
    let other = edited(|out| parse_with_text(out, &parse, b"SELECT '\xff', 2")).unwrap();
    let mut want = BytesMut::new();
    assert!(build::parse(&mut want, b"caf\xe9", b"SELECT '\xff', 2", &[23, 0]));
    assert_eq!(other, want);
    assert_eq!(edited(|out| parse_with_text(out, &parse, b"SELECT\0")), None);
}

#[test]
fn query_gets_a_text() {
    assert_eq!(edited(|out| query_with_text(out, b"a\xff")).unwrap(), b"Q\0\0\0\x07a\xff\0");
    assert_eq!(edited(|out| query_with_text(out, b"a\0")), None);
}

#[test]
fn added_parameters_follow_the_clients_formats() {
    const BOTH: AddedParam<'_> = AddedParam { text: Some(b"5"), binary: Some(b"\0\0\0\x05") };
    const TEXT: AddedParam<'_> = AddedParam { text: Some(b"{}"), binary: None };
    const BIN: AddedParam<'_> = AddedParam { text: None, binary: Some(b"\x01") };
    const NULL: AddedParam<'_> = AddedParam::NULL;
    let a = Some(&b"a"[..]);
    let text5 = Some(&b"5"[..]);
    let bin5 = Some(&b"\0\0\0\x05"[..]);
    let json = Some(&b"{}"[..]);
    let one = Some(&b"\x01"[..]);

    // (the client's formats, its parameters, what is added, formats and parameters that go out)
    type Params<'a> = &'a [Option<&'a [u8]>];
    type Case<'a> = (&'a [i16], Params<'a>, &'a [AddedParam<'a>], &'a [i16], Params<'a>);
    let cases: &[Case<'_>] = &[
        // No codes: all text, as long as text can be had.
        (&[], &[a, None], &[BOTH], &[], &[a, None, text5]),
        (&[], &[], &[BOTH, NULL], &[], &[text5, None]),
        (&[], &[a], &[BIN], &[0, 1], &[a, one]),
        // One code covers all, also where the client has one parameter or none.
        (&[0], &[a, a], &[BOTH], &[0], &[a, a, text5]),
        (&[1], &[a, a], &[BOTH, NULL], &[1], &[a, a, bin5, None]),
        (&[1], &[a], &[BOTH], &[1], &[a, bin5]),
        (&[1], &[], &[BOTH], &[1], &[bin5]),
        // One code that an added value cannot be had in becomes one for each.
        (&[1], &[a, None], &[TEXT, NULL, BIN], &[1, 1, 0, 0, 1], &[a, None, json, None, one]),
        (&[0], &[a], &[BIN, BOTH], &[0, 1, 0], &[a, one, text5]),
        (&[1], &[], &[TEXT], &[0], &[json]),
        // A code for each stays so.
        (&[0, 1], &[a, None], &[BOTH, BIN, NULL], &[0, 1, 0, 1, 0], &[a, None, text5, one, None]),
        // Nothing added, nothing changed.
        (&[0, 1], &[a, None], &[], &[0, 1], &[a, None]),
        (&[1], &[a, None], &[], &[1], &[a, None]),
    ];
    for (i, (formats, params, added, want_formats, want_params)) in cases.iter().enumerate() {
        let frame = bind(formats, params, &[1]);
        let read = read_bind(body(&frame).unwrap()).unwrap();
        let got = edited(|out| bind_with(out, &read, added, None));
        assert_eq!(got, Some(bind(want_formats, want_params, &[1])), "case {i}");
    }
}

#[test]
fn hidden_result_columns_follow_the_clients_codes() {
    // (the client's codes, visible and hidden columns, codes that go out)
    type Case = (&'static [i16], Option<(usize, usize)>, &'static [i16]);
    let cases: &[Case] = &[
        (&[], Some((3, 2)), &[]),
        (&[1], Some((3, 2)), &[1]),
        (&[1], Some((1, 2)), &[1]),
        (&[1, 0, 1], Some((3, 2)), &[1, 0, 1, 0, 0]),
        (&[1, 0, 1], Some((3, 0)), &[1, 0, 1]),
        (&[1, 0, 1], None, &[1, 0, 1]),
        // A wrong number stays as wrong as it was, so that the server refuses it.
        (&[1, 0], Some((3, 1)), &[1, 0, 0]),
    ];
    for (codes, columns, want) in cases {
        let frame = bind(&[], &[Some(b"x")], codes);
        let read = read_bind(body(&frame).unwrap()).unwrap();
        let got = edited(|out| bind_with(out, &read, &[], *columns));
        assert_eq!(got, Some(bind(&[], &[Some(b"x")], want)), "{codes:?} {columns:?}");
    }
}

#[test]
fn bind_stays_within_its_count_words() {
    let nulls = vec![None; 65_534];
    let frame = bind(&[1], &nulls, &[0, 0]);
    let read = read_bind(body(&frame).unwrap()).unwrap();
    let added = [AddedParam { text: Some(b"5"), binary: None }; 2];
    let got = edited(|out| bind_with(out, &read, &added[..1], None)).unwrap();
    let again = read_bind(body(&got).unwrap()).unwrap();
    assert_eq!((again.param_count(), again.param_formats.len()), (65_535, 65_535));
    assert_eq!(edited(|out| bind_with(out, &read, &added, None)), None);
    assert_eq!(edited(|out| bind_with(out, &read, &[], Some((2, 65_534)))), None);
    assert_eq!(edited(|out| bind_with(out, &read, &[], Some((2, usize::MAX)))), None);
}

#[test]
fn bind_goes_to_another_portal() {
    let frame = bind(&[0, 1], &[Some(b"a"), None], &[1]);
    let read = read_bind(body(&frame).unwrap()).unwrap();
    let got = edited(|out| bind_to(out, &read, b"p2", b"s2")).unwrap();
    let want =
        edited(|out| build::bind_formats(out, b"p2", b"s2", &[0, 1], &[Some(b"a"), None], &[1])).unwrap();
    assert_eq!(got, want);
    assert_eq!(edited(|out| bind_to(out, &read, read.portal, read.statement)).unwrap(), frame);
    assert_eq!(edited(|out| bind_to(out, &read, b"\0", b"")), None);
}

#[test]
fn hidden_items_are_stripped() {
    type Strip = fn(&mut BytesMut, &[u8], usize) -> bool;
    type Case<'a> = (&'a str, Strip, &'a [u8], usize, Option<&'a [u8]>);
    let tail = [9u8; 18];
    let columns = [b"\0\x03id\0", &tail[..], b"caf\xe9\0", &tail, b"\0", &tail].concat();
    let one_column = [b"T\0\0\0\x1b\0\x01id\0", &tail[..]].concat();
    let all_columns = [b"T\0\0\0\x45", &columns[..]].concat();
    let row = b"\0\x03\0\0\0\x02ab\xff\xff\xff\xff\0\0\0\x01c";
    let cases: &[Case<'_>] = &[
        ("two columns", row_description_strip, &columns, 2, Some(&one_column)),
        ("all columns", row_description_strip, &columns, 3, Some(b"T\0\0\0\x06\0\0")),
        ("no column", row_description_strip, &columns, 0, Some(&all_columns)),
        ("more columns than there are", row_description_strip, &columns, 4, None),
        ("a broken hidden column", row_description_strip, &columns[..columns.len() - 1], 1, None),
        ("a field", data_row_strip, row, 1, Some(b"D\0\0\0\x10\0\x02\0\0\0\x02ab\xff\xff\xff\xff")),
        ("all fields", data_row_strip, row, 3, Some(b"D\0\0\0\x06\0\0")),
        ("no field", data_row_strip, row, 0, Some(&[b"D\0\0\0\x15", &row[..]].concat())),
        ("more fields than there are", data_row_strip, row, 4, None),
        ("more than a count word holds", data_row_strip, row, 65_539, None),
        ("a broken hidden field", data_row_strip, &row[..row.len() - 1], 1, None),
        ("bytes left over", data_row_strip, &[&row[..], b"!"].concat(), 1, None),
        (
            "a parameter",
            parameter_description_strip,
            b"\0\x02\0\0\0\x17\0\0\0\x19",
            1,
            Some(b"t\0\0\0\x0a\0\x01\0\0\0\x17"),
        ),
        ("half a parameter", parameter_description_strip, b"\0\x02\0\0\0\x17\0\0", 1, None),
        ("no body", parameter_description_strip, b"", 0, None),
    ];
    for (what, strip, body, hidden, want) in cases {
        assert_eq!(edited(|out| strip(out, body, *hidden)).as_deref(), *want, "{what}");
    }
}

#[test]
fn error_fields_change_in_place() {
    let set = |code, value: &[u8]| (code, Some(value.to_vec()));
    let drop = |code| (code, None);
    let from: &[u8] = b"SERROR\0C42601\0Mcaf\xe9\0P15\0";
    type Case<'a> = (&'a str, &'a [u8], Vec<(u8, Option<Vec<u8>>)>, Option<&'a [u8]>);
    let cases: Vec<Case<'_>> = vec![
        ("nothing", from, vec![], Some(from)),
        ("replace", from, vec![set(b'P', b"7")], Some(b"SERROR\0C42601\0Mcaf\xe9\0P7\0")),
        ("drop", from, vec![drop(b'P')], Some(b"SERROR\0C42601\0Mcaf\xe9\0")),
        ("drop what is not there", from, vec![drop(b'q')], Some(from)),
        (
            "add",
            from,
            vec![set(b'D', b"\xff"), set(b'H', b"")],
            Some(b"SERROR\0C42601\0Mcaf\xe9\0P15\0D\xff\0H\0"),
        ),
        (
            "the first of two",
            from,
            vec![set(b'D', b"1"), set(b'D', b"2")],
            Some(b"SERROR\0C42601\0Mcaf\xe9\0P15\0D1\0"),
        ),
        (
            "dropped, then named again",
            from,
            vec![drop(b'P'), set(b'P', b"2")],
            Some(b"SERROR\0C42601\0Mcaf\xe9\0"),
        ),
        ("a field that is there twice", b"M1\0M2\0", vec![set(b'M', b"3")], Some(b"M3\0M3\0")),
        ("a NUL", from, vec![set(b'P', b"\0")], None),
        ("no code", from, vec![set(0, b"x")], None),
    ];
    for (what, fields, changes, want) in cases {
        let body = [fields, b"\0"].concat();
        let read = ErrorFields::parse(&body).unwrap();
        let got = edited(|out| error_with(out, back::NOTICE, &read, &changes));
        let want = want
            .map(|w| [&[back::NOTICE, 0, 0, 0, u8::try_from(w.len() + 5).unwrap()][..], w, b"\0"].concat());
        assert_eq!(got, want, "{what}");
    }
    let got = edited(|out| error_with(out, back::ERROR, &ErrorFields::default(), &[set(b'M', b"caf\xe9")]));
    assert_eq!(got.unwrap(), b"E\0\0\0\x0bMcaf\xe9\0\0");
}
