//! Tokens of PostgreSQL's scanner, as byte ranges of the statement text.

/// What kind of token a byte range is. Whitespace is dropped, comments are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Unquoted identifier or keyword.
    Word,
    /// `"quoted"`.
    QuotedIdent,
    /// `U&"unicode"`.
    UnicodeIdent,
    /// `'string'` (also `N'..'`); backslashes escape only if `standard_conforming_strings` is off. A string of
    /// any kind that goes on over a newline (`'a'` newline `'b'`) is one token, as the server reads it.
    Str,
    /// `E'escape string'`.
    EscapeStr,
    /// `U&'..'`.
    UnicodeStr,
    /// `B'..'` or `X'..'`.
    BitStr,
    /// `$tag$..$tag$`.
    DollarStr,
    /// Integer or numeric literal, without sign.
    Number,
    /// `$1`.
    Param,
    /// Operator made of `+-*/<>=~!@#%^&|` `` ` `` `?` characters (including a lone `*` or `=`).
    Op,
    /// `::`.
    Cast,
    /// `:=`.
    ColonEquals,
    /// `(`.
    LParen,
    /// `)`.
    RParen,
    /// `[`.
    LBracket,
    /// `]`.
    RBracket,
    /// `,`.
    Comma,
    /// `;`.
    Semicolon,
    /// `.`.
    Dot,
    /// `..` (PL/pgSQL only; SQL refuses it).
    DotDot,
    /// `:` alone.
    Colon,
}

/// One token. `start..end` are byte offsets in the text; `depth` counts the parentheses and brackets that
/// enclose it (an opening and its closing bracket carry the depth outside of them).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// Kind.
    pub kind: TokenKind,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
    /// Enclosing parentheses and brackets.
    pub depth: u16,
}

impl Token {
    /// The token's bytes.
    pub fn text<'a>(&self, src: &'a [u8]) -> &'a [u8] {
        src.get(self.start as usize..self.end as usize).unwrap_or(&[])
    }

    /// True if this is the unquoted word `word` (given in lower case), in any case.
    pub fn is_word(&self, src: &[u8], word: &str) -> bool {
        self.kind == TokenKind::Word && self.text(src).eq_ignore_ascii_case(word.as_bytes())
    }
}
