//! Key values in one canonical text form per type, whatever form they come in.
//!
//! Two values of one key are the same row exactly if their canonical forms are equal. What cannot be made
//! canonical with certainty is `None`: unknown, never guessed. The forms are what the server prints: `7`,
//! `2531439d-3075-46d6-9c19-63e3342fc43e`, the text itself, `true`; of a numeric without zeros that say nothing, of a date
//! or timestamp under DateStyle ISO, whatever the session's is. [`KeyType::sql_text`] makes the server print them.

mod array;
mod literal;
mod number;
mod time;

pub use array::{MAX_KEYS, canonical_elements};
pub use literal::{canonical_literal, canonical_literals, int_literal};

use super::encoding::Encoding;

/// Type OIDs of `pg_type` that key values and parameters come in.
mod oid {
    pub const BOOL: u32 = 16;
    pub const INT8: u32 = 20;
    pub const INT2: u32 = 21;
    pub const INT4: u32 = 23;
    pub const TEXT: u32 = 25;
    pub const UNKNOWN: u32 = 705;
    pub const BPCHAR: u32 = 1042;
    pub const VARCHAR: u32 = 1043;
    pub const DATE: u32 = 1082;
    pub const TIMESTAMP: u32 = 1114;
    pub const NUMERIC: u32 = 1700;
    pub const UUID: u32 = 2950;
}

/// A type of a primary key column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// `smallint`.
    Int2,
    /// `integer`.
    Int4,
    /// `bigint`.
    Int8,
    /// `uuid`.
    Uuid,
    /// `text`.
    Text,
    /// `varchar`, with or without a length.
    Varchar,
    /// `character(n)`: blanks at the end say nothing.
    Bpchar,
    /// `numeric`, with or without a scale.
    Numeric,
    /// `boolean`.
    Bool,
    /// `date`.
    Date,
    /// `timestamp` without time zone.
    Timestamp,
}

impl KeyType {
    /// The key type of a `pg_type` OID; `None` if keys of that type are not compared.
    pub fn from_oid(type_oid: u32) -> Option<Self> {
        match type_oid {
            oid::INT2 => Some(Self::Int2),
            oid::INT4 => Some(Self::Int4),
            oid::INT8 => Some(Self::Int8),
            oid::UUID => Some(Self::Uuid),
            oid::TEXT => Some(Self::Text),
            oid::VARCHAR => Some(Self::Varchar),
            oid::BPCHAR => Some(Self::Bpchar),
            oid::NUMERIC => Some(Self::Numeric),
            oid::BOOL => Some(Self::Bool),
            oid::DATE => Some(Self::Date),
            oid::TIMESTAMP => Some(Self::Timestamp),
            _ => None,
        }
    }

    /// The type's OID in `pg_type`.
    pub fn oid(self) -> u32 {
        match self {
            Self::Int2 => oid::INT2,
            Self::Int4 => oid::INT4,
            Self::Int8 => oid::INT8,
            Self::Uuid => oid::UUID,
            Self::Text => oid::TEXT,
            Self::Varchar => oid::VARCHAR,
            Self::Bpchar => oid::BPCHAR,
            Self::Numeric => oid::NUMERIC,
            Self::Bool => oid::BOOL,
            Self::Date => oid::DATE,
            Self::Timestamp => oid::TIMESTAMP,
        }
    }

    /// The expression that prints the canonical form of a key column in the server, in a session of any settings. What
    /// has no canonical form here (infinity, NaN) is printed in some way that no key here has, and never fails.
    pub fn sql_text(self, column: &str) -> String {
        // JSON has dates in one form only, whatever DateStyle says.
        let json = || format!("pg_catalog.to_jsonb({column}) OPERATOR(pg_catalog.#>>) '{{}}'");
        match self {
            Self::Int2
            | Self::Int4
            | Self::Int8
            | Self::Uuid
            | Self::Text
            | Self::Varchar
            | Self::Bpchar
            | Self::Bool => format!("{column}::pg_catalog.text"),
            Self::Numeric => format!("pg_catalog.trim_scale({column})::pg_catalog.text"),
            Self::Date => format!("({})", json()),
            Self::Timestamp => format!("pg_catalog.replace({}, 'T', ' ')", json()),
        }
    }

    /// What an INSERT stores is what its value says. Others are rounded to the column's precision.
    pub fn is_stored_as_given(self) -> bool {
        !matches!(self, Self::Numeric | Self::Timestamp)
    }

    fn is_int(self) -> bool {
        matches!(self, Self::Int2 | Self::Int4 | Self::Int8)
    }

    fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::Varchar)
    }

    /// True if a value of an integer type fits into this one.
    fn holds(self, value: i64) -> bool {
        match self {
            Self::Int2 => i16::try_from(value).is_ok(),
            Self::Int4 => i32::try_from(value).is_ok(),
            Self::Int8 => true,
            _ => false,
        }
    }

    /// Canonical form of an integer key.
    fn int_key(self, value: i64) -> Option<Box<str>> {
        self.holds(value).then(|| value.to_string().into())
    }
}

/// Canonical form of a value in text format, as the server prints it or a client sends it (`007`, ` 7 `, an
/// upper-case uuid in braces). `encoding` is the client's: text keys that are not ASCII are comparable in UTF-8 only.
pub fn canonical_text(ty: KeyType, encoding: Encoding, value: &[u8]) -> Option<Box<str>> {
    match ty {
        KeyType::Int2 | KeyType::Int4 | KeyType::Int8 => ty.int_key(parse_int(value)?),
        KeyType::Uuid => parse_uuid(value),
        KeyType::Text | KeyType::Varchar => text_key(encoding, value),
        KeyType::Bpchar => text_key(encoding, trim_blanks(value)),
        KeyType::Numeric => number::text(value),
        KeyType::Bool => parse_bool(value).map(bool_key),
        KeyType::Date => time::date_text(value),
        KeyType::Timestamp => time::timestamp_text(value),
    }
}

/// Canonical form of a value in binary format. `type_oid` is the value's own type (RowDescription, Parse); `None`
/// or 0 where the server inferred it: then an integer's size tells its type.
pub fn canonical_binary(
    ty: KeyType,
    type_oid: Option<u32>,
    encoding: Encoding,
    value: &[u8],
) -> Option<Box<str>> {
    let type_oid = type_oid.filter(|t| *t != 0 && *t != oid::UNKNOWN);
    match (ty, type_oid) {
        (KeyType::Bpchar, Some(oid::TEXT | oid::VARCHAR)) if ends_in_blank(value) => None,
        // Text in another type's place can only have come through a cast in the statement.
        (_, Some(oid::TEXT | oid::VARCHAR)) => canonical_text(ty, encoding, value),
        (KeyType::Int2 | KeyType::Int4 | KeyType::Int8, _) => ty.int_key(binary_int(type_oid, value)?),
        (KeyType::Uuid, None | Some(oid::UUID)) => {
            Some(format_uuid(u128::from_be_bytes(value.try_into().ok()?)))
        }
        (KeyType::Text | KeyType::Varchar, None) => text_key(encoding, value),
        (KeyType::Bpchar, None | Some(oid::BPCHAR)) => text_key(encoding, trim_blanks(value)),
        // A zero of either type has eight bytes where the type is not told.
        (KeyType::Numeric, None) if value.len() == 8 => None,
        (KeyType::Numeric, None | Some(oid::NUMERIC)) => number::binary(value),
        (KeyType::Numeric, Some(oid::INT2 | oid::INT4 | oid::INT8)) => {
            binary_int(type_oid, value).map(|value| value.to_string().into())
        }
        (KeyType::Bool, None | Some(oid::BOOL)) => match value {
            [value] => Some(bool_key(*value != 0)),
            _ => None,
        },
        (KeyType::Date, None | Some(oid::DATE)) => time::date_binary(value),
        (KeyType::Timestamp, None | Some(oid::TIMESTAMP)) => time::timestamp_binary(value),
        (_, Some(_)) => None,
    }
}

/// Canonical form of a Bind parameter. `declared_oid` is the type that Parse declared, 0 where it left the server
/// to infer the type of the key it is compared with (or of its one cast to a type like the key's); `format` 0 is text,
/// 1 binary. A parameter that is cast twice, or to another kind of type, is not for this function.
pub fn canonical_param(
    ty: KeyType,
    declared_oid: u32,
    format: i16,
    encoding: Encoding,
    value: &[u8],
) -> Option<Box<str>> {
    match format {
        // As a text its blanks count.
        0 if ty == KeyType::Bpchar
            && matches!(declared_oid, oid::TEXT | oid::VARCHAR)
            && ends_in_blank(value) =>
        {
            None
        }
        0 if comparable(ty, declared_oid) => canonical_text(ty, encoding, value),
        1 => canonical_binary(ty, Some(declared_oid), encoding, value),
        _ => None,
    }
}

/// A version number in a Bind parameter, or in a result column of the type `declared_oid`, by the same rules as an
/// int8 key.
pub fn int_param(declared_oid: u32, format: i16, value: &[u8]) -> Option<i64> {
    match (format, declared_oid) {
        (0, _) if comparable(KeyType::Int8, declared_oid) => parse_int(value),
        (1, oid::TEXT | oid::VARCHAR) => parse_int(value),
        (1, 0 | oid::UNKNOWN) => binary_int(None, value),
        (1, declared) => binary_int(Some(declared), value),
        _ => None,
    }
}

/// One text for the parts of a key: a single part as it is; several joined by `,` with `,` and `\` in them escaped
/// by `\`, so that different keys of one table never give the same text.
pub fn join_key<S: AsRef<str>>(parts: &[S]) -> Box<str> {
    if let [single] = parts {
        return single.as_ref().into();
    }
    let mut joined = String::with_capacity(parts.iter().map(|p| p.as_ref().len() + 1).sum());
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            joined.push(',');
        }
        for c in part.as_ref().chars() {
            if matches!(c, ',' | '\\') {
                joined.push('\\');
            }
            joined.push(c);
        }
    }
    joined.into()
}

/// Takes apart what [`join_key`] has put together from `count` parts.
pub fn split_key(joined: &str, count: usize) -> Vec<Box<str>> {
    if count == 1 {
        return vec![joined.into()];
    }
    let mut parts = Vec::with_capacity(count);
    let mut part = String::new();
    let mut chars = joined.chars();
    while let Some(c) = chars.next() {
        match c {
            ',' => parts.push(std::mem::take(&mut part).into_boxed_str()),
            '\\' => part.extend(chars.next()),
            c => part.push(c),
        }
    }
    parts.push(part.into_boxed_str());
    parts
}

/// True if a text-format parameter of the declared type has, if the server accepts the comparison at all, the value
/// that the key type reads from its text. Floats are not in it: they round.
fn comparable(ty: KeyType, declared_oid: u32) -> bool {
    match declared_oid {
        0 | oid::UNKNOWN | oid::TEXT | oid::VARCHAR => true,
        oid::INT2 | oid::INT4 | oid::INT8 | oid::NUMERIC => ty.is_int() || ty == KeyType::Numeric,
        oid::UUID | oid::BPCHAR | oid::BOOL | oid::DATE | oid::TIMESTAMP => declared_oid == ty.oid(),
        _ => false,
    }
}

fn text_key(encoding: Encoding, value: &[u8]) -> Option<Box<str>> {
    if encoding != Encoding::Utf8 && !value.is_ascii() {
        return None;
    }
    std::str::from_utf8(value).ok().map(Into::into)
}

fn trim_blanks(mut value: &[u8]) -> &[u8] {
    while let [head @ .., b' '] = value {
        value = head;
    }
    value
}

fn ends_in_blank(value: &[u8]) -> bool {
    value.last() == Some(&b' ')
}

/// As a cast to text prints it, which is not how a result shows it (`t`).
fn bool_key(value: bool) -> Box<str> {
    if value { "true" } else { "false" }.into()
}

/// A boolean as the server's input function reads it: words or the beginnings of words, in any case.
fn parse_bool(value: &[u8]) -> Option<bool> {
    let value = trim_space(value).to_ascii_lowercase();
    let begins = |word: &[u8], least: usize| value.len() >= least && word.starts_with(&value);
    if begins(b"true", 1) || begins(b"yes", 1) || value == b"on" || value == b"1" {
        Some(true)
    } else if begins(b"false", 1) || begins(b"no", 1) || begins(b"off", 2) || value == b"0" {
        Some(false)
    } else {
        None
    }
}

/// A binary integer, of its declared type or else of the type that its size tells.
fn binary_int(type_oid: Option<u32>, value: &[u8]) -> Option<i64> {
    match (type_oid, value.len()) {
        (None | Some(oid::INT2), 2) => Some(i16::from_be_bytes(value.try_into().ok()?).into()),
        (None | Some(oid::INT4), 4) => Some(i32::from_be_bytes(value.try_into().ok()?).into()),
        (None | Some(oid::INT8), 8) => Some(i64::from_be_bytes(value.try_into().ok()?)),
        _ => None,
    }
}

/// An integer as the server's input functions read it: whitespace around it, a sign, decimal digits, or (from
/// PostgreSQL 16, an error before) `0x`, `0o`, `0b` and underscores.
fn parse_int(value: &[u8]) -> Option<i64> {
    let value = trim_space(value);
    match value {
        [b'-', digits @ ..] => signed(true, digits),
        [b'+', digits @ ..] => signed(false, digits),
        digits => signed(false, digits),
    }
}

/// C's isspace() in PostgreSQL's sense; unlike `trim_ascii` it has the vertical tab.
fn trim_space(mut value: &[u8]) -> &[u8] {
    let space = |b: &u8| matches!(b, b' ' | b'\t'..=b'\r');
    while let [first, tail @ ..] = value
        && space(first)
    {
        value = tail;
    }
    while let [head @ .., last] = value
        && space(last)
    {
        value = head;
    }
    value
}

/// The value of unsigned digits with a sign applied to it.
fn signed(negative: bool, digits: &[u8]) -> Option<i64> {
    let magnitude = parse_digits(digits)?;
    let value = if negative { -i128::from(magnitude) } else { i128::from(magnitude) };
    i64::try_from(value).ok()
}

/// Unsigned digits: decimal, or with a radix prefix; single underscores between them (and behind the prefix).
fn parse_digits(text: &[u8]) -> Option<u64> {
    let (radix, digits, mut underscore) = match text {
        [b'0', b'x' | b'X', digits @ ..] => (16, digits, true),
        [b'0', b'o' | b'O', digits @ ..] => (8, digits, true),
        [b'0', b'b' | b'B', digits @ ..] => (2, digits, true),
        digits => (10, digits, false),
    };
    let mut value: u64 = 0;
    let mut ends_in_digit = false;
    for &b in digits {
        if b == b'_' && underscore {
            underscore = false;
            ends_in_digit = false;
            continue;
        }
        let digit = char::from(b).to_digit(radix)?;
        value = value.checked_mul(radix.into())?.checked_add(digit.into())?;
        underscore = true;
        ends_in_digit = true;
    }
    ends_in_digit.then_some(value)
}

/// A uuid as the server's input function reads it: 32 hexadecimal digits of any case, a hyphen or none behind each
/// four, braces around it or none.
fn parse_uuid(value: &[u8]) -> Option<Box<str>> {
    let value = match value {
        [b'{', inner @ .., b'}'] => inner,
        bare => bare,
    };
    let mut number: u128 = 0;
    let mut digits = 0;
    let mut after_hyphen = false;
    for &b in value {
        if b == b'-' {
            if digits == 0 || digits % 4 != 0 || digits == 32 || after_hyphen {
                return None;
            }
            after_hyphen = true;
            continue;
        }
        if digits == 32 {
            return None;
        }
        number = number << 4 | u128::from(char::from(b).to_digit(16)?);
        digits += 1;
        after_hyphen = false;
    }
    (digits == 32).then(|| format_uuid(number))
}

/// A uuid as the server prints it.
fn format_uuid(number: u128) -> Box<str> {
    let hex = format!("{number:032x}");
    let mut out = String::with_capacity(36);
    for (i, c) in hex.chars().enumerate() {
        if matches!(i, 8 | 12 | 16 | 20) {
            out.push('-');
        }
        out.push(c);
    }
    out.into()
}

#[cfg(test)]
mod tests;
