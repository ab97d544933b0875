//! PostgreSQL's scanner over bytes: where each token of a text begins and ends.
//!
//! Follows the rules of the server's `scan.l` (PostgreSQL 16, whose number syntax is a superset of older ones):
//! nested block comments, string literals continued over a newline as one token, operators that stop before a
//! comment, `$tag$` quotes. Where server versions read a text differently (`1a` is two tokens before
//! PostgreSQL 15 and an error since) the text is refused here: a text that is not certain is not rewritten.

use std::ops::Range;

use memchr::{memchr, memchr2};

pub use super::encoding::Encoding;
use super::ident::uescape_end;
use super::token::{Token, TokenKind};
use number::{no_junk, number};

mod number;

/// Session settings that change how a text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LexOptions {
    /// `standard_conforming_strings`: if off, backslashes escape in plain `'..'` too.
    pub standard_conforming_strings: bool,
    /// It has been set, and what to is not known yet: a text with a backslash has no certain reading.
    pub strings_unsettled: bool,
    /// The encoding the text is in.
    pub encoding: Encoding,
}

impl Default for LexOptions {
    /// PostgreSQL's defaults: conforming strings, UTF-8.
    fn default() -> Self {
        Self { standard_conforming_strings: true, strings_unsettled: false, encoding: Encoding::Utf8 }
    }
}

/// The tokens of one text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tokens {
    /// Tokens in order; whitespace and comments are left out.
    pub tokens: Vec<Token>,
    /// Comments in order, with their `--` or `/*` and `*/`, as byte ranges.
    pub comments: Vec<Range<u32>>,
}

/// Why a text could not be read. The server would refuse most of these texts too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LexError {
    /// Non-ASCII bytes in an encoding that cannot be read byte by byte.
    #[error("the text has non-ASCII characters in an encoding that cannot be read byte by byte")]
    Encoding,
    /// A backslash, while it is not known whether it escapes.
    #[error("whether backslashes escape is not known yet: standard_conforming_strings has just been set")]
    Strings,
    /// More than 4 GiB.
    #[error("the text is longer than 4 GiB")]
    TooLong,
    /// No closing quote of a string literal.
    #[error("the string literal that begins at byte {0} is not terminated")]
    UnterminatedString(usize),
    /// No closing double quote.
    #[error("the quoted identifier that begins at byte {0} is not terminated")]
    UnterminatedIdent(usize),
    /// No closing dollar tag.
    #[error("the dollar-quoted string that begins at byte {0} is not terminated")]
    UnterminatedDollar(usize),
    /// No closing `*/`.
    #[error("the comment that begins at byte {0} is not terminated")]
    UnterminatedComment(usize),
    /// `""`.
    #[error("the quoted identifier at byte {0} is empty")]
    EmptyIdent(usize),
    /// `U&'..'` while `standard_conforming_strings` is off.
    #[error("the U& string at byte {0} is not allowed while standard_conforming_strings is off")]
    UnicodeString(usize),
    /// `1a`, `$1a`, `0x`, `1e+`.
    #[error("there is junk behind the number at byte {0}")]
    NumberJunk(usize),
    /// A byte that begins no token.
    #[error("the character at byte {0} begins no token")]
    UnexpectedByte(usize),
    /// A closing bracket without an opening one, or an opening one that is never closed.
    #[error("the parentheses or brackets do not balance at byte {0}")]
    Unbalanced(usize),
    /// More than 65,535 brackets inside each other.
    #[error("the parentheses are nested too deep")]
    TooDeep,
}

/// What a byte can begin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Other,
    Space,
    Word,
    Digit,
    Op,
    Quote,
    DoubleQuote,
    Dollar,
    Dot,
    Colon,
    Open,
    Close,
    Comma,
    Semicolon,
}

const CLASSES: [Class; 256] = {
    let mut table = [Class::Other; 256];
    let mut i = 0;
    while i < 256 {
        table[i] = match i as u8 {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => Class::Space,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => Class::Word,
            b'0'..=b'9' => Class::Digit,
            b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' | b'+' | b'-' | b'*' | b'/'
            | b'%' | b'<' | b'>' | b'=' => Class::Op,
            b'\'' => Class::Quote,
            b'"' => Class::DoubleQuote,
            b'$' => Class::Dollar,
            b'.' => Class::Dot,
            b':' => Class::Colon,
            b'(' | b'[' => Class::Open,
            b')' | b']' => Class::Close,
            b',' => Class::Comma,
            b';' => Class::Semicolon,
            _ => Class::Other,
        };
        i += 1;
    }
    table
};

#[inline]
fn class(byte: u8) -> Class {
    CLASSES[byte as usize]
}

/// The byte at `at`, 0 behind the end (a text never holds a zero byte: it ends messages' strings).
#[inline]
fn byte(text: &[u8], at: usize) -> u8 {
    text.get(at).copied().unwrap_or(0)
}

#[inline]
fn rest(text: &[u8], at: usize) -> &[u8] {
    text.get(at..).unwrap_or(&[])
}

/// True for bytes that go on with an identifier.
#[inline]
fn is_word_byte(b: u8) -> bool {
    matches!(class(b), Class::Word | Class::Digit | Class::Dollar)
}

/// Reads `text` into tokens.
///
/// # Errors
/// If the text has no certain reading; see [`LexError`].
pub fn lex(text: &[u8], opts: &LexOptions) -> Result<Tokens, LexError> {
    if u32::try_from(text.len()).is_err() {
        return Err(LexError::TooLong);
    }
    if opts.encoding == Encoding::Unsafe && !text.is_ascii() {
        return Err(LexError::Encoding);
    }
    if opts.strings_unsettled && memchr(b'\\', text).is_some() {
        return Err(LexError::Strings);
    }
    // One token for about four bytes is usual SQL; a long text is likely to be long literals.
    let mut out = Tokens { tokens: Vec::with_capacity((text.len() / 4 + 4).min(1024)), comments: Vec::new() };
    let mut depth: u16 = 0;
    let mut last_open = 0;
    let mut pos = 0;
    while let Some(&b) = text.get(pos) {
        let start = pos;
        let mut token_depth = depth;
        let kind = match class(b) {
            Class::Space => {
                pos += 1;
                continue;
            }
            Class::Word => {
                if let Some((kind, end)) = prefixed(text, start, opts)? {
                    pos = end;
                    kind
                } else {
                    pos += 1;
                    while is_word_byte(byte(text, pos)) {
                        pos += 1;
                    }
                    TokenKind::Word
                }
            }
            Class::Digit => {
                pos = number(text, start)?;
                TokenKind::Number
            }
            Class::Op => {
                let next = byte(text, pos + 1);
                if (b == b'-' && next == b'-') || (b == b'/' && next == b'*') {
                    pos = if b == b'-' { line_end(text, pos) } else { block_comment_end(text, pos)? };
                    out.comments.push(start as u32..pos as u32);
                    continue;
                }
                pos = operator_end(text, start);
                TokenKind::Op
            }
            Class::Quote => {
                pos = string_end(text, start, start + 1, !opts.standard_conforming_strings)?;
                TokenKind::Str
            }
            Class::DoubleQuote => {
                pos = ident_end(text, start, start + 1)?;
                TokenKind::QuotedIdent
            }
            Class::Dollar => {
                if byte(text, pos + 1).is_ascii_digit() {
                    pos += 1;
                    while byte(text, pos).is_ascii_digit() {
                        pos += 1;
                    }
                    no_junk(text, start, pos)?;
                    TokenKind::Param
                } else {
                    pos = dollar_string_end(text, start)?;
                    TokenKind::DollarStr
                }
            }
            Class::Dot => match byte(text, pos + 1) {
                b'.' => {
                    pos += 2;
                    TokenKind::DotDot
                }
                b'0'..=b'9' => {
                    pos = number(text, start)?;
                    TokenKind::Number
                }
                _ => {
                    pos += 1;
                    TokenKind::Dot
                }
            },
            Class::Colon => match byte(text, pos + 1) {
                b':' => {
                    pos += 2;
                    TokenKind::Cast
                }
                b'=' => {
                    pos += 2;
                    TokenKind::ColonEquals
                }
                _ => {
                    pos += 1;
                    TokenKind::Colon
                }
            },
            Class::Open => {
                depth = depth.checked_add(1).ok_or(LexError::TooDeep)?;
                if depth == 1 {
                    last_open = pos;
                }
                pos += 1;
                if b == b'(' { TokenKind::LParen } else { TokenKind::LBracket }
            }
            Class::Close => {
                depth = depth.checked_sub(1).ok_or(LexError::Unbalanced(start))?;
                token_depth = depth;
                pos += 1;
                if b == b')' { TokenKind::RParen } else { TokenKind::RBracket }
            }
            Class::Comma => {
                pos += 1;
                TokenKind::Comma
            }
            Class::Semicolon => {
                pos += 1;
                TokenKind::Semicolon
            }
            Class::Other => return Err(LexError::UnexpectedByte(start)),
        };
        out.tokens.push(Token { kind, start: start as u32, end: pos as u32, depth: token_depth });
    }
    if depth != 0 {
        return Err(LexError::Unbalanced(last_open));
    }
    Ok(out)
}

/// A literal or identifier that begins with a letter: `E''`, `B''`, `X''`, `N''`, `U&''`, `U&""`.
#[inline]
fn prefixed(text: &[u8], start: usize, opts: &LexOptions) -> Result<Option<(TokenKind, usize)>, LexError> {
    let next = byte(text, start + 1);
    if next == b'\'' {
        return Ok(match byte(text, start) {
            b'e' | b'E' => Some((TokenKind::EscapeStr, string_end(text, start, start + 2, true)?)),
            b'n' | b'N' => {
                Some((TokenKind::Str, string_end(text, start, start + 2, !opts.standard_conforming_strings)?))
            }
            b'b' | b'B' | b'x' | b'X' => Some((TokenKind::BitStr, bit_string_end(text, start)?)),
            _ => None,
        });
    }
    if next == b'&' && matches!(byte(text, start), b'u' | b'U') {
        match byte(text, start + 2) {
            b'\'' if !opts.standard_conforming_strings => return Err(LexError::UnicodeString(start)),
            b'\'' => {
                return Ok(Some((TokenKind::UnicodeStr, string_end(text, start, start + 3, false)?)));
            }
            b'"' => {
                let end = ident_end(text, start, start + 3)?;
                return Ok(Some((TokenKind::UnicodeIdent, uescape_end(text, end).unwrap_or(end))));
            }
            _ => {}
        }
    }
    Ok(None)
}

/// The end of a string literal whose content begins at `pos`, with its continuations.
fn string_end(text: &[u8], start: usize, mut pos: usize, escapes: bool) -> Result<usize, LexError> {
    loop {
        let tail = rest(text, pos);
        let found = if escapes { memchr2(b'\'', b'\\', tail) } else { memchr(b'\'', tail) };
        pos += found.ok_or(LexError::UnterminatedString(start))?;
        if byte(text, pos) == b'\\' || byte(text, pos + 1) == b'\'' {
            pos += 2;
            continue;
        }
        pos += 1;
        match continuation(text, pos) {
            Some(content) => pos = content,
            None => return Ok(pos),
        }
    }
}

/// The end of `B'..'` or `X'..'`: no quote doubling, but continuations.
fn bit_string_end(text: &[u8], start: usize) -> Result<usize, LexError> {
    let mut pos = start + 2;
    loop {
        pos += memchr(b'\'', rest(text, pos)).ok_or(LexError::UnterminatedString(start))? + 1;
        match continuation(text, pos) {
            Some(content) => pos = content,
            None => return Ok(pos),
        }
    }
}

/// Behind a literal's closing quote: if whitespace with a newline in it (and `--` comments) leads to another
/// quote, the literal goes on behind that one.
#[inline]
fn continuation(text: &[u8], mut pos: usize) -> Option<usize> {
    let mut newline = false;
    loop {
        match byte(text, pos) {
            b' ' | b'\t' | 0x0b | 0x0c => pos += 1,
            b'\n' | b'\r' => {
                newline = true;
                pos += 1;
            }
            b'-' if byte(text, pos + 1) == b'-' => pos = line_end(text, pos),
            b'\'' if newline => return Some(pos + 1),
            _ => return None,
        }
    }
}

/// The end of a quoted identifier whose content begins at `content`.
fn ident_end(text: &[u8], start: usize, content: usize) -> Result<usize, LexError> {
    let mut pos = content;
    loop {
        pos += memchr(b'"', rest(text, pos)).ok_or(LexError::UnterminatedIdent(start))?;
        if byte(text, pos + 1) == b'"' {
            pos += 2;
        } else if pos == content {
            return Err(LexError::EmptyIdent(start));
        } else {
            return Ok(pos + 1);
        }
    }
}

/// The end of `$tag$..$tag$`.
fn dollar_string_end(text: &[u8], start: usize) -> Result<usize, LexError> {
    let mut pos = start + 1;
    if class(byte(text, pos)) == Class::Word {
        while matches!(class(byte(text, pos)), Class::Word | Class::Digit) {
            pos += 1;
        }
    }
    if byte(text, pos) != b'$' {
        return Err(LexError::UnexpectedByte(start));
    }
    pos += 1;
    let tag = text.get(start..pos).unwrap_or(&[]);
    loop {
        pos += memchr(b'$', rest(text, pos)).ok_or(LexError::UnterminatedDollar(start))?;
        if rest(text, pos).starts_with(tag) {
            return Ok(pos + tag.len());
        }
        pos += 1;
    }
}

/// Where the line of a `--` comment ends (its newline is not part of it).
fn line_end(text: &[u8], pos: usize) -> usize {
    memchr2(b'\n', b'\r', rest(text, pos)).map_or(text.len(), |n| pos + n)
}

/// The end of a block comment; they nest.
fn block_comment_end(text: &[u8], start: usize) -> Result<usize, LexError> {
    let mut pos = start + 2;
    let mut open = 1usize;
    while open > 0 {
        pos += memchr2(b'*', b'/', rest(text, pos)).ok_or(LexError::UnterminatedComment(start))?;
        match (byte(text, pos), byte(text, pos + 1)) {
            (b'*', b'/') => {
                open -= 1;
                pos += 2;
            }
            (b'/', b'*') => {
                open += 1;
                pos += 2;
            }
            _ => pos += 1,
        }
    }
    Ok(pos)
}

/// The end of an operator: before a comment, and without trailing `+` or `-` unless a character that SQL's own
/// operators do not use is in it (so that `=-1` is `=` and `-`, while `@-` is one operator).
fn operator_end(text: &[u8], start: usize) -> usize {
    let mut pos = start + 1;
    while class(byte(text, pos)) == Class::Op {
        pos += 1;
    }
    if pos == start + 1 {
        return pos;
    }
    let mut op = text.get(start..pos).unwrap_or(&[]);
    if let Some(n) = op.windows(2).position(|w| w == b"--" || w == b"/*") {
        op = op.get(..n).unwrap_or(&[]);
    }
    let special = |b: &u8| matches!(b, b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' | b'%');
    if op.len() > 1 && !op.iter().any(special) {
        while let [head @ .., b'+' | b'-'] = op {
            if head.is_empty() {
                break;
            }
            op = head;
        }
    }
    start + op.len()
}

#[cfg(test)]
mod tests;
