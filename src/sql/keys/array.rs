//! Key values in arrays: `id = ANY($1)`, `id = ANY('{1,2}')`.
//!
//! An element that is null names no row and is passed over. Anything that is not certain makes the whole list
//! unknown: more than one dimension, bounds (`[2:3]={..}`), backslashes outside of quotes.

use std::borrow::Cow;

use super::super::encoding::Encoding;
use super::{KeyType, canonical_binary, canonical_text, comparable, oid, trim_space};

/// At most this many keys are read of one statement. Beyond that it may write any row of its table.
pub const MAX_KEYS: usize = 100_000;

/// Array types of `pg_type`, with the types of their elements.
const ARRAYS: [(u32, u32); 11] = [
    (1000, oid::BOOL),
    (1005, oid::INT2),
    (1007, oid::INT4),
    (1009, oid::TEXT),
    (1014, oid::BPCHAR),
    (1015, oid::VARCHAR),
    (1016, oid::INT8),
    (1115, oid::TIMESTAMP),
    (1182, oid::DATE),
    (1231, oid::NUMERIC),
    (2951, oid::UUID),
];

/// Canonical forms of the elements of a Bind parameter that is an array of keys, under the terms of
/// [`super::canonical_param`].
pub fn canonical_elements(
    ty: KeyType,
    declared_oid: u32,
    format: i16,
    encoding: Encoding,
    value: &[u8],
) -> Option<Vec<Box<str>>> {
    // Text in an array's place can only have come through a cast in the statement.
    let is_text = matches!(declared_oid, oid::TEXT | oid::VARCHAR);
    match format {
        1 if !is_text => binary(ty, encoding, value),
        0 | 1 => {
            let element = match declared_oid {
                0 | oid::UNKNOWN | oid::TEXT | oid::VARCHAR => 0,
                array => ARRAYS.iter().find(|(oid, _)| *oid == array)?.1,
            };
            // As texts their blanks count.
            let blanks = ty == KeyType::Bpchar && matches!(element, oid::TEXT | oid::VARCHAR);
            if comparable(ty, element) && !blanks { text(ty, encoding, value) } else { None }
        }
        _ => None,
    }
}

/// Canonical forms of the elements of an array in text format: `{1,2}`, `{"a b",c}`.
pub(super) fn text(ty: KeyType, encoding: Encoding, value: &[u8]) -> Option<Vec<Box<str>>> {
    // Where bytes of a character may look like quotes, none are read.
    if encoding == Encoding::Unsafe && !value.is_ascii() {
        return None;
    }
    let inner = trim_space(value).strip_prefix(b"{")?.strip_suffix(b"}")?;
    let mut keys = Vec::new();
    if trim_space(inner).is_empty() {
        return Some(keys);
    }
    let mut rest = Some(inner);
    while let Some(at) = rest {
        let (element, behind) = element(at)?;
        rest = behind;
        match element {
            // With the setting array_nulls off it would be a text like any other.
            Element::Null if ty.is_text() || ty == KeyType::Bpchar => return None,
            Element::Null => {}
            Element::Value(value) => keys.push(canonical_text(ty, encoding, &value)?),
        }
        if keys.len() > MAX_KEYS {
            return None;
        }
    }
    Some(keys)
}

enum Element<'a> {
    Null,
    Value(Cow<'a, [u8]>),
}

/// The first element, and what follows behind its comma if there is one.
fn element(text: &[u8]) -> Option<(Element<'_>, Option<&[u8]>)> {
    if let Some(quoted) = trim_space(text).strip_prefix(b"\"") {
        let (value, behind) = quoted_element(quoted)?;
        let behind = trim_space(behind);
        let rest = if behind.is_empty() { None } else { Some(behind.strip_prefix(b",")?) };
        return Some((Element::Value(value), rest));
    }
    let end = memchr::memchr(b',', text);
    let value = trim_space(text.get(..end.unwrap_or(text.len()))?);
    if value.is_empty() || value.iter().any(|b| matches!(b, b'"' | b'\\' | b'{' | b'}')) {
        return None;
    }
    let rest = end.and_then(|end| text.get(end + 1..));
    let element = if value.eq_ignore_ascii_case(b"null") {
        Element::Null
    } else {
        Element::Value(Cow::Borrowed(value))
    };
    Some((element, rest))
}

/// What stands up to the closing quote, and what follows it.
fn quoted_element(text: &[u8]) -> Option<(Cow<'_, [u8]>, &[u8])> {
    let end = memchr::memchr2(b'"', b'\\', text)?;
    if text.get(end) == Some(&b'"') {
        return Some((Cow::Borrowed(text.get(..end)?), text.get(end + 1..)?));
    }
    let mut out = Vec::with_capacity(text.len().min(64));
    let mut bytes = text.iter().enumerate();
    while let Some((i, b)) = bytes.next() {
        match b {
            b'"' => return Some((Cow::Owned(out), text.get(i + 1..)?)),
            b'\\' => out.push(*bytes.next()?.1),
            b => out.push(*b),
        }
    }
    None
}

/// Canonical forms of the elements of an array in binary format: number of dimensions, a flag for nulls, the
/// elements' type, for each dimension its length and lower bound; then each element behind its length.
fn binary(ty: KeyType, encoding: Encoding, value: &[u8]) -> Option<Vec<Box<str>>> {
    let mut rest = value;
    let dimensions = word(&mut rest)?;
    let _flags = word(&mut rest)?;
    let element = u32::from_be_bytes(word(&mut rest)?.to_be_bytes());
    if dimensions == 0 {
        return rest.is_empty().then(Vec::new);
    }
    if dimensions != 1 {
        return None;
    }
    let count = usize::try_from(word(&mut rest)?).ok().filter(|n| *n <= MAX_KEYS)?;
    let _lower_bound = word(&mut rest)?;
    // Each element takes four bytes at least: no more is set aside than the message can hold.
    let mut keys = Vec::with_capacity(count.min(rest.len() / 4));
    for _ in 0..count {
        let length = word(&mut rest)?;
        if length == -1 {
            continue;
        }
        let (value, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        rest = behind;
        keys.push(canonical_binary(ty, Some(element), encoding, value)?);
    }
    rest.is_empty().then_some(keys)
}

fn word(rest: &mut &[u8]) -> Option<i32> {
    let (head, behind) = rest.split_first_chunk::<4>()?;
    *rest = behind;
    Some(i32::from_be_bytes(*head))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    fn read(ty: KeyType, text: &str) -> Option<String> {
        canonical_elements(ty, 0, 0, Encoding::Utf8, text.as_bytes()).map(|keys| keys.join("|"))
    }

    #[test]
    fn texts() {
        use KeyType::{Int4, Text, Uuid};
        let uuid = "2531439d-3075-46d6-9c19-63e3342fc43e";
        for (ty, text, want) in [
            (Int4, "{}", Some("")),
            (Int4, " { } ", Some("")),
            (Int4, "{1}", Some("1")),
            (Int4, "{1,02, +3 ,\"4\", \" 5\" }", Some("1|2|3|4|5")),
            (Int4, "{1,NULL,2,null}", Some("1|2")),
            (Int4, "{1,\"NULL\"}", None),
            (Int4, "{1,}", None),
            (Int4, "{,1}", None),
            (Int4, "{1,,2}", None),
            (Int4, "{1 2}", None),
            (Int4, "{1}x", None),
            (Int4, "1", None),
            (Int4, "{1", None),
            (Int4, "{{1},{2}}", None),
            (Int4, "[2:3]={1,2}", None),
            (Int4, "{1,2.5}", None),
            (Int4, "{2147483648}", None),
            (Int4, "", None),
            (Int4, "{", None),
            (Int4, "}", None),
            (Text, "{a,b c , d}", Some("a|b c|d")),
            (Text, "{\"a,b\",\"\",\"c\\\"d\\\\\",\" e \"}", Some("a,b||c\"d\\| e ")),
            (Text, "{\"NULL\"}", Some("NULL")),
            (Text, "{NULL}", None),
            (Text, "{a\\,b}", None),
            (Text, "{a\"b\"}", None),
            (Text, "{\"a\"b}", None),
            (Text, "{\"a\",}", None),
            (Text, "{\"a\\\"}", None),
            (Text, "{\"a}", None),
            (Text, "{größe}", Some("größe")),
            (Uuid, "{{2531439d307546d69c1963e3342fc43e}}", None),
            (Uuid, "{2531439D-3075-46D6-9C19-63E3342FC43E}", Some(uuid)),
            (Uuid, "{\"{2531439d307546d69c1963e3342fc43e}\"}", Some(uuid)),
        ] {
            assert_eq!(read(ty, text).as_deref(), want, "{ty:?} {text}");
        }
        let sjis = "{größe}".as_bytes();
        assert_eq!(canonical_elements(Text, 0, 0, Encoding::Unsafe, sjis), None);
        let many = |n: usize| format!("{{{}}}", vec!["1"; n].join(","));
        assert!(read(Int4, &many(MAX_KEYS)).is_some());
        assert_eq!(read(Int4, &many(MAX_KEYS + 1)), None);
    }

    /// An array of int4 with these words in its head.
    fn array(head: &[i32], elements: &[Option<&[u8]>]) -> Vec<u8> {
        let mut out: Vec<u8> = head.iter().flat_map(|w| w.to_be_bytes()).collect();
        for element in elements {
            match element {
                Some(value) => {
                    out.extend_from_slice(&(value.len() as i32).to_be_bytes());
                    out.extend_from_slice(value);
                }
                None => out.extend_from_slice(&(-1i32).to_be_bytes()),
            }
        }
        out
    }

    #[test]
    fn binaries() {
        use KeyType::{Int4, Int8, Text, Uuid};
        let (one, two) = (1i32.to_be_bytes(), 2i32.to_be_bytes());
        let both: &[Option<&[u8]>] = &[Some(&one), Some(&two)];
        for (ty, declared, value, want) in [
            (Int4, 0, array(&[0, 0, 23], &[]), Some("")),
            (Int4, 1007, array(&[1, 0, 23, 2, 1], both), Some("1|2")),
            (Int8, 0, array(&[1, 0, 23, 2, 5], both), Some("1|2")),
            (Int4, 0, array(&[1, 1, 23, 3, 1], &[Some(&one), None, Some(&two)]), Some("1|2")),
            (Int4, 0, array(&[1, 0, 21, 1, 1], &[Some(&[0, 7])]), Some("7")),
            (Text, 1009, array(&[1, 0, 25, 2, 1], &[Some(b"a"), Some(b"")]), Some("a|")),
            (Int4, 25, b"{1,2}".to_vec(), Some("1|2")),
            (Int4, 0, array(&[2, 0, 23, 1, 1, 2, 1], both), None),
            (Int4, 0, array(&[1, 0, 701, 1, 1], &[Some(&[0; 8])]), None),
            (Int4, 0, array(&[1, 0, 23, 3, 1], both), None),
            (Int4, 0, array(&[1, 0, 23, 1, 1], both), None),
            (Int4, 0, array(&[1, 0, 23, -1, 1], &[]), None),
            (Int4, 0, array(&[1, 0, 23, i32::MAX, 1], &[]), None),
            (Int4, 0, array(&[1, 0, 23, 1, 1, -2], &[]), None),
            (Int4, 0, array(&[1, 0, 23], &[]), None),
            (Int4, 0, array(&[0, 0, 23, 7], &[]), None),
            (Uuid, 0, array(&[1, 0, 2950, 1, 1], &[Some(&one)]), None),
            (Int4, 0, Vec::new(), None),
        ] {
            let got = canonical_elements(ty, declared, 1, Encoding::Utf8, &value);
            assert_eq!(got.map(|keys| keys.join("|")).as_deref(), want, "{ty:?} {declared} {value:?}");
        }
    }

    #[test]
    fn declared_types() {
        use KeyType::{Int4, Text, Uuid};
        for (ty, declared, format, want) in [
            (Int4, 1016, 0, true),
            (Int4, 25, 0, true),
            (Int4, 705, 0, true),
            (Int4, 1022, 0, false),
            (Int4, 23, 0, false),
            (Text, 1007, 0, false),
            (Text, 1015, 0, true),
            (Uuid, 1007, 0, false),
            (Int4, 0, 2, false),
        ] {
            let got = canonical_elements(ty, declared, format, Encoding::Utf8, b"{}");
            assert_eq!(got.is_some(), want, "{ty:?} {declared} {format}");
        }
    }
}
