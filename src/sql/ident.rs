//! Identifiers: the name the server stores for a token, and names quoted for generated SQL.

use std::borrow::Cow;

use super::token::{Token, TokenKind};

/// Longest name in bytes (`NAMEDATALEN - 1`); the server cuts longer ones.
pub const MAX_NAME: usize = 63;

/// The name that an identifier token stands for, as the server stores it: an unquoted word in lower case (ASCII
/// only, as in a UTF-8 database), a quoted one with its quotes undone, both cut to [`MAX_NAME`] bytes.
///
/// `None` if the token is no identifier or its name is not certain: bytes that are not UTF-8, a `U&".."` with a
/// wrong escape, or with an `UESCAPE` behind it that is not in the token (or a comment, which may hide one).
pub fn ident_name<'a>(token: &Token, src: &'a [u8]) -> Option<Cow<'a, str>> {
    let text = std::str::from_utf8(token.text(src)).ok()?;
    match token.kind {
        TokenKind::Word => {
            let text = truncated(text);
            if text.bytes().any(|b| b.is_ascii_uppercase()) {
                Some(Cow::Owned(text.to_ascii_lowercase()))
            } else {
                Some(Cow::Borrowed(text))
            }
        }
        TokenKind::QuotedIdent => {
            let inner = text.strip_prefix('"')?.strip_suffix('"')?;
            Some(undoubled(inner))
        }
        TokenKind::UnicodeIdent => {
            if escape_may_follow(src.get(token.end as usize..).unwrap_or(&[])) {
                return None;
            }
            let (inner, behind) = text.get(2..)?.strip_prefix('"')?.rsplit_once('"')?;
            let escape = match behind.strip_suffix('\'') {
                Some(uescape) => uescape.chars().next_back()?,
                None => '\\',
            };
            let decoded = decode_unicode(&inner.replace("\"\"", "\""), escape)?;
            Some(Cow::Owned(truncated(&decoded).to_owned()))
        }
        _ => None,
    }
}

fn undoubled(inner: &str) -> Cow<'_, str> {
    if inner.contains('"') {
        Cow::Owned(truncated(&inner.replace("\"\"", "\"")).to_owned())
    } else {
        Cow::Borrowed(truncated(inner))
    }
}

/// Cut at a character boundary.
fn truncated(name: &str) -> &str {
    let end = (0..=MAX_NAME.min(name.len())).rev().find(|n| name.is_char_boundary(*n)).unwrap_or(0);
    name.get(..end).unwrap_or("")
}

/// True if `UESCAPE` follows, or a comment behind which it might.
fn escape_may_follow(tail: &[u8]) -> bool {
    let tail = tail.trim_ascii_start();
    tail.starts_with(b"--")
        || tail.starts_with(b"/*")
        || tail.get(..7).is_some_and(|word| word.eq_ignore_ascii_case(b"uescape"))
}

/// The end of `UESCAPE '!'` behind a `U&".."` that ends at `pos`: the server reads both as one name. `None` if there is
/// none, or one that the server would refuse, or that is spelled in another way than this.
pub(super) fn uescape_end(text: &[u8], pos: usize) -> Option<usize> {
    let skip_space = |mut pos: usize| {
        while text.get(pos).is_some_and(|b| matches!(b, b' ' | b'\t'..=b'\r')) {
            pos += 1;
        }
        pos
    };
    let word = skip_space(pos);
    let quote = skip_space(word + 7);
    let escape = match text.get(word..)? {
        [b'u' | b'U', ..] if text.get(word..word + 7)?.eq_ignore_ascii_case(b"uescape") => {
            text.get(quote..quote + 3)?
        }
        _ => return None,
    };
    // A quote or a newline behind it would go on with the literal.
    let ends = !matches!(text.get(quote + 3), Some(b'\'' | b'\n' | b'\r'));
    match escape {
        [b'\'', c, b'\'']
            if ends && c.is_ascii_graphic() && !c.is_ascii_hexdigit() && !b"+'\"\\".contains(c) =>
        {
            Some(quote + 3)
        }
        _ => None,
    }
}

/// The text that `\XXXX`, `\+XXXXXX` and `\\` (or the like of another escape character) stand for; surrogates
/// count in pairs only.
fn decode_unicode(text: &str, escape: char) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut high: Option<u32> = None;
    let mut tail = text;
    while let Some(c) = tail.chars().next() {
        tail = tail.get(c.len_utf8()..)?;
        let code = match c {
            c if c == escape && tail.starts_with(escape) => {
                tail = tail.get(1..)?;
                u32::from(escape)
            }
            c if c == escape => {
                let (digits, len) = match tail.strip_prefix('+') {
                    Some(digits) => (digits, 6),
                    None => (tail, 4),
                };
                let hex = digits.get(..len)?;
                if !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return None;
                }
                tail = digits.get(len..)?;
                u32::from_str_radix(hex, 16).ok()?
            }
            c => u32::from(c),
        };
        match (high.take(), code) {
            (None, 0xd800..=0xdbff) => high = Some(code),
            (None, 0) => return None,
            (None, code) => out.push(char::from_u32(code)?),
            (Some(first), 0xdc00..=0xdfff) => {
                out.push(char::from_u32(0x10000 + ((first - 0xd800) << 10) + (code - 0xdc00))?);
            }
            (Some(_), _) => return None,
        }
    }
    if high.is_some() { None } else { Some(out) }
}

/// Keywords that are not names everywhere: PostgreSQL 15's `pg_get_keywords()` but the unreserved ones, and what
/// 16 to 18 added. In order, for the search.
#[rustfmt::skip]
const KEYWORDS: &[&str] = &[
    "all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "authorization",
    "between", "bigint", "binary", "bit", "boolean", "both", "case", "cast", "char", "character",
    "check", "coalesce", "collate", "collation", "column", "concurrently", "constraint", "create",
    "cross", "current_catalog", "current_date", "current_role", "current_schema", "current_time",
    "current_timestamp", "current_user", "dec", "decimal", "default", "deferrable", "desc",
    "distinct", "do", "else", "end", "except", "exists", "extract", "false", "fetch", "float",
    "for", "foreign", "freeze", "from", "full", "grant", "graph_table", "greatest", "group",
    "grouping", "having", "ilike", "in", "initially", "inner", "inout", "int", "integer",
    "intersect", "interval", "into", "is", "isnull", "join", "json", "json_array", "json_arrayagg",
    "json_exists", "json_object", "json_objectagg", "json_query", "json_scalar", "json_serialize",
    "json_table", "json_value", "lateral", "leading", "least", "left", "like", "limit", "localtime",
    "localtimestamp", "merge_action", "national", "natural", "nchar", "none", "normalize", "not",
    "notnull", "null", "nullif", "numeric", "offset", "on", "only", "or", "order", "out", "outer",
    "overlaps", "overlay", "placing", "position", "precision", "primary", "real", "references",
    "returning", "right", "row", "select", "session_user", "setof", "similar", "smallint", "some",
    "substring", "symmetric", "system_user", "table", "tablesample", "then", "time", "timestamp",
    "to", "trailing", "treat", "trim", "true", "union", "unique", "user", "using", "values",
    "varchar", "variadic", "verbose", "when", "where", "window", "with", "xmlattributes",
    "xmlconcat", "xmlelement", "xmlexists", "xmlforest", "xmlnamespaces", "xmlparse", "xmlpi",
    "xmlroot", "xmlserialize", "xmltable",
];

/// `name` as an identifier of generated SQL: as it is where every server reads it as this name, else in quotes.
pub fn quote_ident(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        && KEYWORDS.binary_search(&name).is_err();
    if plain {
        return name.to_owned();
    }
    let mut quoted = String::with_capacity(name.len() + 2);
    quoted.push('"');
    for c in name.chars() {
        if c == '"' {
            quoted.push('"');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::sql::lexer::{LexOptions, lex};

    fn name_of(text: &str) -> Option<String> {
        let lexed = lex(text.as_bytes(), &LexOptions::default()).unwrap();
        ident_name(lexed.tokens.first().unwrap(), text.as_bytes()).map(Cow::into_owned)
    }

    #[test]
    fn names() {
        let long = "a".repeat(70);
        let cut = "a".repeat(63);
        // The 62 ASCII bytes leave no room for both bytes of the last character.
        let wide = format!("{}éé", "a".repeat(62));
        let wide_cut = "a".repeat(62);
        let quoted_long = format!("\"{}\"\"b\"", "a".repeat(63));
        for (text, want) in [
            ("projects", Some("projects")),
            ("PROJECTS.id", Some("projects")),
            ("Größe", Some("größe")),
            ("ÄRGER", Some("Ärger")),
            ("a$1", Some("a$1")),
            (r#""Projects""#, Some("Projects")),
            (r#""a""b""#, Some("a\"b")),
            (r#""a b""#, Some("a b")),
            (&long, Some(&cut)),
            (&wide, Some(&wide_cut)),
            (&quoted_long, Some(&cut)),
            (r#"U&"d\0061t\+000061""#, Some("data")),
            (r#"u&"a\\b""""#, Some("a\\b\"")),
            (r#"U&"\D83D\DE00""#, Some("😀")),
            (r#"U&"\D83D""#, None),
            (r#"U&"\DE00""#, None),
            (r#"U&"\0000""#, None),
            (r#"U&"\00+1""#, None),
            (r#"U&"\00""#, None),
            (r#"U&"d!0061t!+000061!!" UESCAPE '!'"#, Some("data!")),
            (r#"U&"d\0061" uescape'!' , x"#, Some("d\\0061")),
            (r#"U&"d!0061" UESCAPE '!!'"#, None),
            (r#"U&"d!0061" UESCAPE 'a'"#, None),
            (r#"U&"d!0061" UESCAPE"#, None),
            (r#"U&"d!00" UESCAPE '!'"#, None),
            (r#"U&"d!0061" /**/ UESCAPE '!'"#, None),
            (r#"U&"d!0061" -- x"#, None),
            ("'a'", None),
            ("1", None),
        ] {
            assert_eq!(name_of(text).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_have_no_name() {
        let text = b"\xe9t\xe9";
        let lexed = lex(text, &LexOptions::default()).unwrap();
        assert_eq!(ident_name(&lexed.tokens[0], text), None);
    }

    #[test]
    fn quoting() {
        for (name, want) in [
            ("projects", "projects"),
            ("_a1", "_a1"),
            ("version", "version"),
            ("user", "\"user\""),
            ("Projects", "\"Projects\""),
            ("1a", "\"1a\""),
            ("a$b", "\"a$b\""),
            ("a\"b", "\"a\"\"b\""),
            ("größe", "\"größe\""),
            ("", "\"\""),
        ] {
            assert_eq!(quote_ident(name), want);
        }
    }

    #[test]
    fn keywords_are_in_order() {
        assert!(KEYWORDS.is_sorted());
    }
}
