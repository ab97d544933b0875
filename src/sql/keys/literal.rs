//! Key values and versions written as literals in a statement.

use std::borrow::Cow;

use super::{KeyType, bool_key, ends_in_blank, parse_digits, parse_int, text_key, trim_blanks};
use crate::sql::encoding::Encoding;
use crate::sql::lexer::LexOptions;
use crate::sql::token::{Token, TokenKind};

/// Canonical form of a literal that is compared with a key: the whole of `tokens` must be one.
///
/// Known are `7`, `-7`, `+7`, `'7'`, `E'..'`, `$$..$$`, `1::int8`, `CAST('1' AS int4)`, `uuid '..'`, `1.50`, `TRUE`,
/// `DATE '..'`, all in parentheses or not, with casts to key types without a length or scale. Anything else
/// (`7.0` for an integer, out of the key type's range, `U&'..'`, `N'..'`, strings continued over a newline, a literal whose type
/// cannot be compared with the key's) is `None`.
pub fn canonical_literal(ty: KeyType, tokens: &[Token], src: &[u8], opts: &LexOptions) -> Option<Box<str>> {
    match evaluate(tokens, src, opts)? {
        Value::Int(value) if ty == KeyType::Numeric => Some(value.to_string().into()),
        Value::Int(value) => ty.int_key(i64::try_from(value).ok()?),
        Value::Canonical(of, text) => (ty == of).then_some(text),
        // As a text its blanks count.
        Value::Text(text) if ty.is_text() || (ty == KeyType::Bpchar && !ends_in_blank(&text)) => {
            text_key(opts.encoding, &text)
        }
        Value::Blank(text) if ty == KeyType::Bpchar => text_key(opts.encoding, trim_blanks(&text)),
        Value::Text(_) | Value::Blank(_) => None,
        Value::Untyped(text) => super::canonical_text(ty, opts.encoding, &text),
    }
}

/// Canonical forms of the elements of an array literal, `'{1,2}'`, that is compared with a key: `token` is the string.
pub fn canonical_literals(
    ty: KeyType,
    token: &Token,
    src: &[u8],
    opts: &LexOptions,
) -> Option<Vec<Box<str>>> {
    super::array::text(ty, opts.encoding, &string_value(token, src, opts)?)
}

/// A version number written as a literal, by the same rules as an int8 key.
pub fn int_literal(tokens: &[Token], src: &[u8], opts: &LexOptions) -> Option<i64> {
    match evaluate(tokens, src, opts)? {
        Value::Int(value) => i64::try_from(value).ok(),
        Value::Untyped(text) => parse_int(&text),
        Value::Canonical(..) | Value::Text(_) | Value::Blank(_) => None,
    }
}

/// A literal's value with what is known of its type.
enum Value<'a> {
    /// An integer of any type: wide, as the sign of the lowest int8 stands apart from its digits.
    Int(i128),
    /// uuid, numeric, boolean, date, timestamp: canonical.
    Canonical(KeyType, Box<str>),
    /// bpchar.
    Blank(Cow<'a, [u8]>),
    /// text or varchar.
    Text(Cow<'a, [u8]>),
    /// A string literal without a type: takes the type of what it is compared with.
    Untyped(Cow<'a, [u8]>),
}

fn evaluate<'a>(tokens: &[Token], src: &'a [u8], opts: &LexOptions) -> Option<Value<'a>> {
    let mut reader = Reader { tokens, src, opts, nesting: 0 };
    let value = reader.expression()?;
    reader.tokens.is_empty().then_some(value)
}

/// Reads from the front of `tokens`; the first thing that is not certain ends it with `None`.
struct Reader<'t, 'a> {
    tokens: &'t [Token],
    src: &'a [u8],
    opts: &'t LexOptions,
    nesting: u8,
}

impl<'a> Reader<'_, 'a> {
    fn next(&mut self) -> Option<Token> {
        let (first, tail) = self.tokens.split_first()?;
        self.tokens = tail;
        Some(*first)
    }

    /// Takes the next token if it is of this kind.
    fn take(&mut self, kind: TokenKind) -> Option<Token> {
        if self.tokens.first()?.kind == kind { self.next() } else { None }
    }

    fn take_word(&mut self, word: &str) -> Option<Token> {
        if self.tokens.first()?.is_word(self.src, word) { self.next() } else { None }
    }

    /// A sign or none, then a primary with its casts: `-1::int8` is `-(1::int8)`.
    fn expression(&mut self) -> Option<Value<'a>> {
        // Deep nesting is not how anyone writes a key.
        self.nesting = self.nesting.checked_add(1).filter(|n| *n <= 16)?;
        let sign = self.take(TokenKind::Op).map(|op| op.text(self.src));
        let value = self.with_casts()?;
        self.nesting -= 1;
        match (sign, value) {
            (None, value) => Some(value),
            (Some(b"+"), Value::Int(value)) => Some(Value::Int(value)),
            (Some(b"-"), Value::Int(value)) => Some(Value::Int(-value)),
            (Some(b"+"), Value::Canonical(KeyType::Numeric, value)) => {
                Some(Value::Canonical(KeyType::Numeric, value))
            }
            (Some(b"-"), Value::Canonical(KeyType::Numeric, value)) => {
                let negated = match value.strip_prefix('-') {
                    Some(positive) => positive.into(),
                    None if *value == *"0" => value,
                    None => format!("-{value}").into(),
                };
                Some(Value::Canonical(KeyType::Numeric, negated))
            }
            _ => None,
        }
    }

    fn with_casts(&mut self) -> Option<Value<'a>> {
        let mut value = self.primary()?;
        while self.take(TokenKind::Cast).is_some() {
            let ty = self.type_name()?;
            value = cast(value, ty)?;
        }
        Some(value)
    }

    fn primary(&mut self) -> Option<Value<'a>> {
        let token = *self.tokens.first()?;
        match token.kind {
            TokenKind::Number => {
                self.next();
                let text = token.text(self.src);
                match parse_digits(text) {
                    Some(n) => Some(Value::Int(n.into())),
                    None => super::number::text(text).map(|n| Value::Canonical(KeyType::Numeric, n)),
                }
            }
            TokenKind::Word if token.is_word(self.src, "true") || token.is_word(self.src, "false") => {
                self.next();
                Some(Value::Canonical(KeyType::Bool, bool_key(token.is_word(self.src, "true"))))
            }
            TokenKind::Str | TokenKind::EscapeStr | TokenKind::DollarStr => {
                self.next();
                string_value(&token, self.src, self.opts).map(Value::Untyped)
            }
            TokenKind::LParen => {
                self.next();
                let value = self.expression()?;
                self.take(TokenKind::RParen)?;
                Some(value)
            }
            TokenKind::Word if token.is_word(self.src, "cast") => {
                self.next();
                self.take(TokenKind::LParen)?;
                let value = self.expression()?;
                self.take_word("as")?;
                let ty = self.type_name()?;
                self.take(TokenKind::RParen)?;
                cast(value, ty)
            }
            TokenKind::Word | TokenKind::QuotedIdent => {
                // uuid '..'
                let ty = self.type_name()?;
                let token = self.next()?;
                let text = string_value(&token, self.src, self.opts)?;
                cast(Value::Untyped(text), ty)
            }
            _ => None,
        }
    }

    /// One of the key types by any of its names, without a length or scale.
    fn type_name(&mut self) -> Option<KeyType> {
        let first = self.next()?;
        let qualified = self.take(TokenKind::Dot).is_some();
        if qualified && !is_name(&first, self.src, "pg_catalog") {
            return None;
        }
        let name = if qualified { self.next()? } else { first };
        let is = |known: &str| is_name(&name, self.src, known);
        // `integer` and its like are grammar, not names of types: neither qualified nor quoted.
        let is_grammar = |known: &str| !qualified && name.is_word(self.src, known);
        if is("int4") || is_grammar("int") || is_grammar("integer") {
            Some(KeyType::Int4)
        } else if is("int8") || is_grammar("bigint") {
            Some(KeyType::Int8)
        } else if is("int2") || is_grammar("smallint") {
            Some(KeyType::Int2)
        } else if is("uuid") {
            Some(KeyType::Uuid)
        } else if is("text") {
            Some(KeyType::Text)
        } else if is("varchar") {
            Some(KeyType::Varchar)
        } else if is_grammar("character") {
            // Without VARYING it has the length 1.
            self.take_word("varying").map(|_| KeyType::Varchar)
        } else if is("bpchar") {
            Some(KeyType::Bpchar)
        } else if is("numeric") || is_grammar("decimal") || is_grammar("dec") {
            Some(KeyType::Numeric)
        } else if is("bool") || is_grammar("boolean") {
            Some(KeyType::Bool)
        } else if is("date") {
            Some(KeyType::Date)
        } else if is("timestamp") {
            if !qualified && self.take_word("without").is_some() {
                self.take_word("time")?;
                self.take_word("zone")?;
            }
            Some(KeyType::Timestamp)
        } else {
            None
        }
    }
}

/// True if an identifier, quoted or not, is this lower-case ASCII name.
fn is_name(token: &Token, src: &[u8], name: &str) -> bool {
    match (token.kind, token.text(src)) {
        (TokenKind::Word, text) => text.eq_ignore_ascii_case(name.as_bytes()),
        (TokenKind::QuotedIdent, [b'"', inner @ .., b'"']) => inner == name.as_bytes(),
        _ => false,
    }
}

/// The value behind a cast, if the cast cannot change it: else the server would raise, or the value is not certain.
fn cast(value: Value<'_>, ty: KeyType) -> Option<Value<'_>> {
    match value {
        Value::Int(value) if ty == KeyType::Numeric => Some(Value::Canonical(ty, value.to_string().into())),
        Value::Int(value) => i64::try_from(value).is_ok_and(|n| ty.holds(n)).then_some(Value::Int(value)),
        Value::Canonical(of, text) => (ty == of).then_some(Value::Canonical(of, text)),
        Value::Blank(text) => (ty == KeyType::Bpchar).then_some(Value::Blank(text)),
        Value::Text(text) if ty == KeyType::Bpchar && ends_in_blank(&text) => None,
        Value::Text(text) | Value::Untyped(text) => match ty {
            KeyType::Int2 | KeyType::Int4 | KeyType::Int8 => {
                parse_int(&text).filter(|n| ty.holds(*n)).map(|n| Value::Int(n.into()))
            }
            KeyType::Text | KeyType::Varchar => Some(Value::Text(text)),
            KeyType::Bpchar => Some(Value::Blank(text)),
            // Of these the client's encoding makes no difference.
            KeyType::Uuid | KeyType::Numeric | KeyType::Bool | KeyType::Date | KeyType::Timestamp => {
                super::canonical_text(ty, Encoding::Utf8, &text).map(|text| Value::Canonical(ty, text))
            }
        },
    }
}

/// What a string literal means. `None` for kinds and escapes that are not followed here.
fn string_value<'a>(token: &Token, src: &'a [u8], opts: &LexOptions) -> Option<Cow<'a, [u8]>> {
    let text = token.text(src);
    match token.kind {
        TokenKind::DollarStr => {
            let tag = memchr::memchr(b'$', text.get(1..)?)? + 2;
            text.get(tag..text.len().checked_sub(tag)?).map(Cow::Borrowed)
        }
        // N'..' begins with a letter: it is of type bpchar and falls out here.
        TokenKind::Str => {
            unquote(text.strip_prefix(b"'")?.strip_suffix(b"'")?, !opts.standard_conforming_strings)
        }
        TokenKind::EscapeStr => unquote(text.get(1..)?.strip_prefix(b"'")?.strip_suffix(b"'")?, true),
        _ => None,
    }
}

/// Undoes doubled quotes and, with `escapes`, the one-character backslash escapes.
fn unquote(inner: &[u8], escapes: bool) -> Option<Cow<'_, [u8]>> {
    let special = if escapes { memchr::memchr2(b'\'', b'\\', inner) } else { memchr::memchr(b'\'', inner) };
    if special.is_none() {
        return Some(Cow::Borrowed(inner));
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut bytes = inner.iter().copied();
    while let Some(b) = bytes.next() {
        match b {
            // A single quote inside is the end of one part of a literal continued over a newline.
            b'\'' => match bytes.next()? {
                b'\'' => out.push(b'\''),
                _ => return None,
            },
            b'\\' if escapes => out.push(match bytes.next()? {
                b'b' => 0x08,
                b'f' => 0x0c,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                // Numeric ones depend on the encoding, and servers differ about \v.
                b'0'..=b'7' | b'x' | b'u' | b'U' | b'v' => return None,
                other => other,
            }),
            b => out.push(b),
        }
    }
    Some(Cow::Owned(out))
}
