#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::KeyType::*;
use super::*;
use crate::sql::lexer::{LexOptions, lex};

const UTF8: Encoding = Encoding::Utf8;
const UUID: &str = "2531439d-3075-46d6-9c19-63e3342fc43e";
const UUID_BYTES: [u8; 16] =
    [0x25, 0x31, 0x43, 0x9d, 0x30, 0x75, 0x46, 0xd6, 0x9c, 0x19, 0x63, 0xe3, 0x34, 0x2f, 0xc4, 0x3e];

#[test]
fn texts() {
    for (ty, text, want) in [
        (Int4, "7", Some("7")),
        (Int4, "007", Some("7")),
        (Int4, " \t\n\x0b\x0c\r7 ", Some("7")),
        (Int4, "+7", Some("7")),
        (Int4, "-07", Some("-7")),
        (Int4, "-0", Some("0")),
        (Int4, "0x1F", Some("31")),
        (Int4, "-0b_11", Some("-3")),
        (Int4, "1_000", Some("1000")),
        (Int4, "1__0", None),
        (Int4, "_1", None),
        (Int4, "1_", None),
        (Int4, "0x", None),
        (Int4, "- 7", None),
        (Int4, "", None),
        (Int4, "-", None),
        (Int4, "7.0", None),
        (Int4, "7a", None),
        (Int4, "2147483647", Some("2147483647")),
        (Int4, "2147483648", None),
        (Int4, "-2147483648", Some("-2147483648")),
        (Int2, "32767", Some("32767")),
        (Int2, "32768", None),
        (Int8, "-9223372036854775808", Some("-9223372036854775808")),
        (Int8, "9223372036854775808", None),
        (Int8, "99999999999999999999999", None),
        (Uuid, UUID, Some(UUID)),
        (Uuid, "2531439D-3075-46D6-9C19-63E3342FC43E", Some(UUID)),
        (Uuid, "{2531439d307546d69c1963e3342fc43e}", Some(UUID)),
        (Uuid, "2531-439d-3075-46d6-9c19-63e3-342f-c43e", Some(UUID)),
        (Uuid, "2531439d3075-46d69c19-63e3342fc43e", Some(UUID)),
        (Uuid, " 2531439d-3075-46d6-9c19-63e3342fc43e", None),
        (Uuid, "{2531439d-3075-46d6-9c19-63e3342fc43e", None),
        (Uuid, "2531439d--3075-46d6-9c19-63e3342fc43e", None),
        (Uuid, "253-1439d-3075-46d6-9c19-63e3342fc43e", None),
        (Uuid, "2531439d-3075-46d6-9c19-63e3342fc43e-", None),
        (Uuid, "2531439d-3075-46d6-9c19-63e3342fc43", None),
        (Uuid, "2531439d-3075-46d6-9c19-63e3342fc43e0", None),
        (Uuid, "", None),
        (Text, " A ", Some(" A ")),
        (Bpchar, "ab", Some("ab")),
        (Bpchar, " ab   ", Some(" ab")),
        (Bpchar, "ab\t ", Some("ab\t")),
        (Bpchar, "   ", Some("")),
        (Numeric, "1.50", Some("1.5")),
        (Numeric, "007", Some("7")),
        (Numeric, "NaN", None),
        (Bool, "t", Some("true")),
        (Bool, " TrUe ", Some("true")),
        (Bool, "y", Some("true")),
        (Bool, "ye", Some("true")),
        (Bool, "on", Some("true")),
        (Bool, "1", Some("true")),
        (Bool, "f", Some("false")),
        (Bool, "FALSE", Some("false")),
        (Bool, "no", Some("false")),
        (Bool, "of", Some("false")),
        (Bool, "off", Some("false")),
        (Bool, "0", Some("false")),
        (Bool, "o", None),
        (Bool, "", None),
        (Bool, "00", None),
        (Bool, "truee", None),
        (Bool, "2", None),
        (Date, "2026-01-31", Some("2026-01-31")),
        (Date, "31.01.2026", None),
        (Timestamp, "2026-01-31 10:00:00.50", Some("2026-01-31 10:00:00.5")),
        (Varchar, "é", Some("é")),
        (Text, "", Some("")),
    ] {
        assert_eq!(canonical_text(ty, UTF8, text.as_bytes()).as_deref(), want, "{ty:?} {text:?}");
    }
}

#[test]
fn texts_that_are_not_ascii_count_in_utf8_only() {
    assert_eq!(canonical_text(Text, Encoding::SingleByte, "é".as_bytes()), None);
    assert_eq!(canonical_text(Text, Encoding::Unsafe, "é".as_bytes()), None);
    assert_eq!(canonical_text(Text, UTF8, b"\xe9"), None);
    assert_eq!(canonical_text(Text, Encoding::SingleByte, b"e").as_deref(), Some("e"));
}

#[test]
fn binaries() {
    for (ty, type_oid, value, want) in [
        (Int4, None, &7i32.to_be_bytes()[..], Some("7")),
        (Int4, Some(0), &7i16.to_be_bytes(), Some("7")),
        (Int4, Some(oid::INT2), &(-7i16).to_be_bytes(), Some("-7")),
        (Int4, Some(oid::INT8), &7i64.to_be_bytes(), Some("7")),
        (Int4, Some(oid::INT8), &(1i64 << 40).to_be_bytes(), None),
        (Int8, Some(oid::INT4), &7i16.to_be_bytes(), None),
        (Int8, Some(oid::NUMERIC), &7i64.to_be_bytes(), None),
        (Int8, Some(701), &7f64.to_be_bytes(), None),
        (Int8, None, b"123", None),
        (Int4, Some(oid::TEXT), b"1234", Some("1234")),
        (Uuid, None, &UUID_BYTES, Some(UUID)),
        (Uuid, Some(oid::UUID), &UUID_BYTES, Some(UUID)),
        (Uuid, Some(oid::UUID), &UUID_BYTES[..15], None),
        (Uuid, Some(oid::VARCHAR), b"2531439D307546d69c1963e3342fc43e", Some(UUID)),
        (Uuid, Some(oid::INT4), &UUID_BYTES, None),
        (Text, Some(oid::UNKNOWN), "é".as_bytes(), Some("é")),
        (Text, Some(oid::VARCHAR), b"x", Some("x")),
        (Varchar, Some(oid::INT4), &7i32.to_be_bytes(), None),
        (Text, Some(1042), b"x ", None),
        (Bpchar, None, b"x  ", Some("x")),
        (Bpchar, Some(oid::BPCHAR), b"x  ", Some("x")),
        (Bpchar, Some(oid::VARCHAR), b"x", Some("x")),
        (Bpchar, Some(oid::TEXT), b"x ", None),
        (Numeric, None, &[0, 1, 0, 0, 0, 0, 0, 0, 0, 7], Some("7")),
        (Numeric, Some(oid::NUMERIC), &[0, 0, 0, 0, 0, 0, 0, 2], Some("0")),
        // An int8 of 2, or a numeric 0.00.
        (Numeric, None, &[0, 0, 0, 0, 0, 0, 0, 2], None),
        (Numeric, Some(oid::INT8), &7i64.to_be_bytes(), Some("7")),
        (Numeric, Some(oid::INT2), &(-7i16).to_be_bytes(), Some("-7")),
        (Numeric, None, &7i32.to_be_bytes(), None),
        (Numeric, Some(701), &7f64.to_be_bytes(), None),
        (Bool, None, &[1], Some("true")),
        (Bool, Some(oid::BOOL), &[0], Some("false")),
        (Bool, None, &[0, 1], None),
        (Bool, Some(oid::INT2), &[0, 1], None),
        (Date, Some(oid::DATE), &(-1i32).to_be_bytes(), Some("1999-12-31")),
        (Date, Some(oid::TIMESTAMP), &[0; 8], None),
        (Date, Some(oid::TEXT), b"2026-01-31", Some("2026-01-31")),
        (Timestamp, None, &[0; 8], Some("2000-01-01 00:00:00")),
        (Timestamp, Some(1184), &[0; 8], None),
        (Timestamp, Some(oid::DATE), &[0; 4], None),
    ] {
        assert_eq!(
            canonical_binary(ty, type_oid, UTF8, value).as_deref(),
            want,
            "{ty:?} {type_oid:?} {value:?}"
        );
    }
}

#[test]
fn params() {
    for (ty, declared, format, value, want) in [
        (Int4, 0, 0, &b"7"[..], Some("7")),
        (Int4, oid::INT8, 0, b"07", Some("7")),
        (Int4, oid::NUMERIC, 0, b"7", Some("7")),
        (Int4, oid::NUMERIC, 0, b"7.0", None),
        (Int4, oid::NUMERIC, 1, &[0, 1, 0, 0, 0, 0, 0, 0, 0, 7], None),
        (Int8, 701, 0, b"7", None),
        (Int4, oid::INT2, 1, &[0, 7], Some("7")),
        (Int4, 0, 1, &[0, 0, 0, 7], Some("7")),
        (Int4, 0, 2, b"7", None),
        (Uuid, 0, 1, &UUID_BYTES, Some(UUID)),
        (Uuid, oid::TEXT, 0, UUID.as_bytes(), Some(UUID)),
        (Uuid, oid::INT4, 0, UUID.as_bytes(), None),
        (Text, 0, 0, b"a", Some("a")),
        (Text, oid::INT4, 0, b"7", None),
        (Varchar, oid::TEXT, 1, b"a", Some("a")),
        (Bpchar, 0, 0, b"a  ", Some("a")),
        (Bpchar, oid::BPCHAR, 0, b"a  ", Some("a")),
        (Bpchar, oid::VARCHAR, 0, b"a", Some("a")),
        (Bpchar, oid::VARCHAR, 0, b"a  ", None),
        (Numeric, oid::INT4, 0, b"7", Some("7")),
        (Numeric, oid::NUMERIC, 0, b"7.10", Some("7.1")),
        (Numeric, 701, 0, b"7.1", None),
        (Bool, oid::BOOL, 0, b"yes", Some("true")),
        (Bool, oid::INT4, 0, b"1", None),
        (Date, oid::DATE, 0, b"2026-01-31", Some("2026-01-31")),
        (Date, oid::TIMESTAMP, 0, b"2026-01-31", None),
        (Timestamp, 1184, 0, b"2026-01-31 10:00:00", None),
        (Timestamp, oid::TIMESTAMP, 0, b"2026-01-31T10:00", Some("2026-01-31 10:00:00")),
    ] {
        assert_eq!(
            canonical_param(ty, declared, format, UTF8, value).as_deref(),
            want,
            "{ty:?} {declared} {format} {value:?}"
        );
    }
    for (declared, format, value, want) in [
        (0, 0, &b"5"[..], Some(5)),
        (oid::INT4, 0, b" 5", Some(5)),
        (oid::INT4, 1, &[0, 0, 0, 5], Some(5)),
        (0, 1, &[0, 5], Some(5)),
        (oid::TEXT, 1, b"5", Some(5)),
        (oid::INT4, 1, &[0, 5], None),
        (701, 0, b"5", None),
        (0, 0, b"5.5", None),
    ] {
        assert_eq!(int_param(declared, format, value), want, "{declared} {format} {value:?}");
    }
}

fn literal(ty: KeyType, text: &str, opts: &LexOptions) -> Option<Box<str>> {
    let tokens = lex(text.as_bytes(), opts).unwrap().tokens;
    canonical_literal(ty, &tokens, text.as_bytes(), opts)
}

#[test]
fn literals() {
    let opts = LexOptions::default();
    for (ty, text, want) in [
        (Int4, "7", Some("7")),
        (Int4, "-7", Some("-7")),
        (Int4, "- 7", Some("-7")),
        (Int4, "+7", Some("7")),
        (Int4, "- -7", None),
        (Int4, "(-(-7))", Some("7")),
        (Int4, "-'7'", None),
        (Int4, "~7", None),
        (Int4, "0x1F", Some("31")),
        (Int4, "1_000", Some("1000")),
        (Int4, "'7'", Some("7")),
        (Int4, "' 007 '", Some("7")),
        (Int4, "E'7'", Some("7")),
        (Int4, "$$7$$", Some("7")),
        (Int4, "$a$7$a$", Some("7")),
        (Int4, "7.0", None),
        (Int4, "7.", None),
        (Int4, "1e1", None),
        (Int4, "'7.0'", None),
        (Int4, "2147483648", None),
        (Int4, "-2147483648", Some("-2147483648")),
        (Int8, "-9223372036854775808", Some("-9223372036854775808")),
        (Int8, "9223372036854775808", None),
        (Int8, "-9223372036854775808::int8", None),
        (Int4, "1::int8", Some("1")),
        (Int4, "-1::int8", Some("-1")),
        (Int8, "'1'::integer", Some("1")),
        (Int4, "('1'::int4)", Some("1")),
        (Int4, "((('1')::text)::int4)", Some("1")),
        (Int4, "70000::int2", None),
        (Int4, "'70000'::smallint", None),
        (Int4, "CAST('1' AS int4)", Some("1")),
        (Int4, "cast(1 as BIGINT)::int", Some("1")),
        (Int4, "'1'::pg_catalog.int4", Some("1")),
        (Int4, "'1'::\"pg_catalog\".\"int4\"", Some("1")),
        (Int4, "'1'::pg_catalog.integer", None),
        (Int4, "'1'::\"integer\"", None),
        (Int4, "'1'::\"INT4\"", None),
        (Int4, "'1'::myschema.int4", None),
        (Int4, "'1'::numeric", None),
        (Int4, "1::numeric", None),
        (Int4, "1::float8", None),
        (Int4, "1::text", None),
        (Int4, "'1'::text", None),
        (Int4, "integer '1'", Some("1")),
        (Int4, "int4('1')", None),
        (Int4, "true", None),
        (Int4, "NULL", None),
        (Int4, "$1", None),
        (Int4, "1 + 1", None),
        (Int4, "1, 2", None),
        (Int4, "", None),
        (Int4, "()", None),
        (Uuid, "'2531439D-3075-46D6-9C19-63E3342FC43E'", Some(UUID)),
        (Uuid, "'2531439d-3075-46d6-9c19-63e3342fc43e'::UUID", Some(UUID)),
        (Uuid, "'{2531439d307546d69c1963e3342fc43e}'::pg_catalog.uuid", Some(UUID)),
        (Uuid, "uuid '2531439d-3075-46d6-9c19-63e3342fc43e'", Some(UUID)),
        (Uuid, "pg_catalog.uuid '2531439d-3075-46d6-9c19-63e3342fc43e'", Some(UUID)),
        (Uuid, "'2531439d-3075-46d6-9c19-63e3342fc43e'::text::uuid", Some(UUID)),
        (Uuid, "'2531439d-3075-46d6-9c19-63e3342fc43e'::text", None),
        (Uuid, "'x'::uuid", None),
        (Uuid, "7", None),
        (Text, "'a''b'", Some("a'b")),
        (Text, r"'a\nb'", Some(r"a\nb")),
        (Text, r"E'a\nb\'\\c'''", Some("a\nb'\\c'")),
        (Text, r"E'\x41'", None),
        (Text, r"E'\101'", None),
        (Text, r"E'\u0041'", None),
        (Text, r"E'\q\é'", Some("qé")),
        (Text, "''", Some("")),
        (Text, "E''", Some("")),
        (Text, "$$it's$$", Some("it's")),
        (Text, "'é'", Some("é")),
        (Text, "'a'::varchar", Some("a")),
        (Text, "'a'::character varying", Some("a")),
        (Text, "'abc'::character varying(2)", None),
        (Text, "'abc'::varchar(2)", None),
        (Text, "CAST('abc' AS varchar(2))", None),
        (Text, "'a'::bpchar", None),
        (Text, "'a'::name", None),
        (Text, "'a'::text[]", None),
        (Text, "'a' COLLATE \"C\"", None),
        (Text, "N'a'", None),
        (Text, "U&'a'", None),
        (Text, "B'1'", None),
        (Text, "'a' 'b'", None),
        (Text, "'a'\n'b'", None),
        (Text, "''\n''", None),
        (Text, "E'a'\n'b'", None),
        (Text, "7", None),
        (Text, "7::text", None),
        (Text, "'7'::int4", None),
        (Varchar, "text 'a'", Some("a")),
        (Bpchar, "'a  '", Some("a")),
        (Bpchar, "'a  '::bpchar", Some("a")),
        (Bpchar, "'a'::text", Some("a")),
        (Bpchar, "'a  '::text", None),
        (Bpchar, "'abc'::char", None),
        (Bpchar, "'abc'::char(2)", None),
        (Bpchar, "'abc'::character", None),
        (Bpchar, "7", None),
        (Numeric, "1.50", Some("1.5")),
        (Numeric, "-1.50", Some("-1.5")),
        (Numeric, "-(-1.50)", Some("1.5")),
        (Numeric, "-0.0", Some("0")),
        (Numeric, "1e2", Some("100")),
        (Numeric, "7", Some("7")),
        (Numeric, "99999999999999999999", Some("99999999999999999999")),
        (Numeric, "'1.50'", Some("1.5")),
        (Numeric, "1.50::numeric", Some("1.5")),
        (Numeric, "CAST('1.50' AS decimal)", Some("1.5")),
        (Numeric, "7::int8", Some("7")),
        (Numeric, "1.555::numeric(10,2)", None),
        (Numeric, "1.5::int4", None),
        (Numeric, "1.5::float8", None),
        (Numeric, "1.5::text", None),
        (Numeric, "'1.5'::text", None),
        (Bool, "TRUE", Some("true")),
        (Bool, "false", Some("false")),
        (Bool, "'t'", Some("true")),
        (Bool, "'off'::boolean", Some("false")),
        (Bool, "bool 'yes'", Some("true")),
        (Bool, "1", None),
        (Bool, "1::bool", None),
        (Bool, "\"true\"", None),
        (Date, "'2026-01-31'", Some("2026-01-31")),
        (Date, "'2026-01-31'::date", Some("2026-01-31")),
        (Date, "DATE '2026-01-31'", Some("2026-01-31")),
        (Date, "pg_catalog.date '2026-01-31'", Some("2026-01-31")),
        (Date, "'2026-01-31'::timestamp", None),
        (Date, "'31.01.2026'::date", None),
        (Date, "current_date", None),
        (Timestamp, "'2026-01-31'::timestamp", Some("2026-01-31 00:00:00")),
        (Timestamp, "TIMESTAMP '2026-01-31 10:00:00.5'", Some("2026-01-31 10:00:00.5")),
        (Timestamp, "timestamp without time zone '2026-01-31 10:00'", Some("2026-01-31 10:00:00")),
        (Timestamp, "CAST('2026-01-31 10:00' AS timestamp without time zone)", Some("2026-01-31 10:00:00")),
        (Timestamp, "'2026-01-31 10:00'::timestamp with time zone", None),
        (Timestamp, "timestamp with time zone '2026-01-31 10:00'", None),
        (Timestamp, "'2026-01-31 10:00'::timestamptz", None),
        (Timestamp, "'2026-01-31 10:00'::timestamp(0)", None),
        (Timestamp, "DATE '2026-01-31'", None),
        (Int4, "7.5", None),
        (Text, "TRUE", None),
    ] {
        assert_eq!(literal(ty, text, &opts).as_deref(), want, "{ty:?} {text}");
    }
    let deep = format!("{}7{}", "(".repeat(300), ")".repeat(300));
    assert_eq!(literal(Int4, &deep, &opts), None);
}

#[test]
fn literals_under_other_settings() {
    let off = LexOptions { standard_conforming_strings: false, ..LexOptions::default() };
    assert_eq!(literal(Text, r"'a\nb'", &off).as_deref(), Some("a\nb"));
    assert_eq!(literal(Text, r"$$a\n$$", &off).as_deref(), Some(r"a\n"));
    let latin1 = LexOptions { encoding: Encoding::SingleByte, ..LexOptions::default() };
    assert_eq!(literal(Text, "'é'", &latin1), None);
    assert_eq!(literal(Text, "'é'::text", &latin1), None);
    assert_eq!(literal(Text, "'e'", &latin1).as_deref(), Some("e"));
}

#[test]
fn version_literals() {
    let opts = LexOptions::default();
    for (text, want) in [
        ("5", Some(5)),
        ("'5'", Some(5)),
        ("5::int8", Some(5)),
        ("(5)", Some(5)),
        ("-9223372036854775808", Some(i64::MIN)),
        ("9223372036854775808", None),
        ("5.0", None),
        ("version + 1", None),
        ("'5'::text", None),
    ] {
        let tokens = lex(text.as_bytes(), &opts).unwrap().tokens;
        assert_eq!(int_literal(&tokens, text.as_bytes(), &opts), want, "{text}");
    }
}

#[test]
fn composite_keys() {
    assert_eq!(&*join_key(&["a,b"]), "a,b");
    assert_eq!(&*join_key(&["1", "x"]), "1,x");
    assert_eq!(&*join_key(&["a,b", "c"]), "a\\,b,c");
    assert_eq!(&*join_key(&["a\\", "c"]), "a\\\\,c");
    assert_ne!(join_key(&["a\\,b", "c"]), join_key(&["a\\", "b,c"]));
    assert_ne!(join_key(&["", "a"]), join_key(&["a", ""]));
}

#[test]
fn key_types() {
    for (type_oid, want) in
        [(20, Some(Int8)), (21, Some(Int2)), (23, Some(Int4)), (25, Some(Text)), (1043, Some(Varchar))]
    {
        assert_eq!(KeyType::from_oid(type_oid), want);
    }
    for ty in [Int2, Int4, Int8, Uuid, Text, Varchar, Bpchar, Numeric, Bool, Date, Timestamp] {
        assert_eq!(KeyType::from_oid(ty.oid()), Some(ty));
    }
    // timestamptz, float8, citext and other extensions' types.
    for other in [0, 701, 1184, 16_500] {
        assert_eq!(KeyType::from_oid(other), None);
    }
}
