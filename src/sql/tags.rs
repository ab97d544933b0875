//! Tags in comments: what an application says of itself beside its statements.
//!
//! ```text
//! /*action='show',user='42',traceparent='00-4bf9..-01'*/ SELECT ..
//! SELECT .. /*application:crm,controller:users*/
//! SELECT .. /* expected_version=5 */
//! ```
//!
//! The first is sqlcommenter's form: keys and values URL-encoded, values quoted, quotes in them escaped by a backslash
//! (<https://open-telemetry.github.io/opentelemetry-sqlcommenter/specifications>). The second is the older form of
//! Rails' query log tags. Bare values are read too.

use std::borrow::Cow;

/// The text between a comment's marks; `None` if it is not a whole comment.
pub fn content(comment: &str) -> Option<&str> {
    match comment.strip_prefix("/*") {
        Some(block) => Some(block.strip_suffix("*/").unwrap_or(block)),
        None => comment.strip_prefix("--"),
    }
}

/// Keys and values of a comment's content, decoded. What has no value is left out.
pub fn tags(content: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let mut quoted = false;
    let mut escaped = false;
    let parts = content.split(move |c| {
        if c == '\'' && !escaped {
            quoted = !quoted;
        }
        escaped = c == '\\' && !escaped;
        c == ',' && !quoted
    });
    parts.filter_map(|part| {
        let at = part.find(['=', ':'])?;
        let (key, value) = (part.get(..at)?.trim(), part.get(at + 1..)?.trim());
        let value = match value.strip_prefix('\'').and_then(|v| v.strip_suffix('\'')) {
            Some(quoted) => unescape(quoted),
            None => value.into(),
        };
        Some((decode(key.into()), decode(value)))
    })
}

/// `\'` is `'`, `\\` is `\`.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, chars.as_str().chars().next()) {
            ('\\', Some(next @ ('\'' | '\\'))) => {
                out.push(next);
                chars.next();
            }
            _ => out.push(c),
        }
    }
    out.into()
}

/// `%22` is `"`.
fn decode(text: Cow<'_, str>) -> Cow<'_, str> {
    if !text.contains('%') {
        return text;
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let [first, rest @ ..] = bytes {
        bytes = rest;
        let digit = |b: &u8| char::from(*b).to_digit(16).and_then(|d| u8::try_from(d).ok());
        if let (b'%', [high, low, behind @ ..]) = (first, rest)
            && let (Some(high), Some(low)) = (digit(high), digit(low))
        {
            out.push(high << 4 | low);
            bytes = behind;
        } else {
            out.push(*first);
        }
    }
    String::from_utf8_lossy(&out).into_owned().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn every_form() {
        for (comment, want) in [
            ("/*action='show',user='42'*/", &[("action", "show"), ("user", "42")][..]),
            ("/* user = 42 , b=c */", &[("user", "42"), ("b", "c")]),
            ("/*application:crm,controller:users*/", &[("application", "crm"), ("controller", "users")]),
            ("/*at:2026-01-01T10:00:00*/", &[("at", "2026-01-01T10:00:00")]),
            ("-- user='42'", &[("user", "42")]),
            (r"/*name='it\'s, x',user='4'*/", &[("name", "it's, x"), ("user", "4")]),
            (r"/*name='a\\',user='4'*/", &[("name", r"a\"), ("user", "4")]),
            (r"/*name='a\b'*/", &[("name", r"a\b")]),
            ("/*route%20name='%2Fparam%20first'*/", &[("route name", "/param first")]),
            ("/*name='%'*/", &[("name", "%")]),
            ("/*name='%C3%A9'*/", &[("name", "é")]),
            ("/*empty='',user='4'*/", &[("empty", ""), ("user", "4")]),
            ("/*+ IndexScan(t) */", &[]),
            ("/* just words, and more */", &[]),
            ("/**/", &[]),
            ("/*", &[]),
            ("/*a='b", &[("a", "'b")]),
        ] {
            let found: Vec<_> = tags(content(comment).unwrap()).collect();
            let found: Vec<_> = found.iter().map(|(k, v)| (&**k, &**v)).collect();
            assert_eq!(found, want, "{comment}");
        }
        assert_eq!(content("no comment"), None);
    }
}
