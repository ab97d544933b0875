//! A view of a text as tokens, and the walk over keywords that every clause finder shares.
//!
//! Clauses are found on tokens with their bracket depth, not in a syntax tree: a tree's spans lose brackets,
//! casts and leading `NOT`, and a parser that knows less SQL than the server would leave writes unprotected.

use std::ops::Range;

use super::ident;
use super::token::{Token, TokenKind};

/// How deep brackets are followed. Nobody writes deeper; a hostile text must cost neither stack nor time.
pub const MAX_NESTING: u16 = 32;

/// A text and its tokens. Cheap to copy; positions are indexes into `tokens`.
#[derive(Debug, Clone, Copy)]
pub struct Code<'a> {
    /// The text.
    pub src: &'a [u8],
    /// Its tokens, comments left out.
    pub tokens: &'a [Token],
}

impl<'a> Code<'a> {
    /// The token at `i`.
    #[inline]
    pub fn get(&self, i: usize) -> Option<&'a Token> {
        self.tokens.get(i)
    }

    /// True if the token at `i` is of this kind.
    #[inline]
    pub fn is(&self, i: usize, kind: TokenKind) -> bool {
        self.get(i).is_some_and(|t| t.kind == kind)
    }

    /// The bytes of the token at `i`; empty behind the end.
    #[inline]
    pub fn text(&self, i: usize) -> &'a [u8] {
        self.get(i).map_or(&[], |t| t.text(self.src))
    }

    /// True if the token at `i` is this unquoted word (given in lower case).
    #[inline]
    pub fn word(&self, i: usize, word: &str) -> bool {
        self.get(i).is_some_and(|t| t.is_word(self.src, word))
    }

    /// True if the token at `i` is one of these unquoted words (given in lower case).
    pub fn any_word(&self, i: usize, words: &[&str]) -> bool {
        self.is(i, TokenKind::Word) && words.iter().any(|w| self.word(i, w))
    }

    /// True if the words stand at `i` one after the other.
    pub fn words(&self, i: usize, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(n, w)| self.word(i + n, w))
    }

    /// True if the token at `i` is this operator.
    #[inline]
    pub fn op(&self, i: usize, op: &[u8]) -> bool {
        self.get(i).is_some_and(|t| t.kind == TokenKind::Op && t.text(self.src) == op)
    }

    /// True if the token at `i` can be an identifier (a word, or quoted).
    #[inline]
    pub fn is_ident(&self, i: usize) -> bool {
        self.get(i).is_some_and(|t| {
            matches!(t.kind, TokenKind::Word | TokenKind::QuotedIdent | TokenKind::UnicodeIdent)
        })
    }

    /// The name that the identifier at `i` stands for, folded or unquoted.
    pub fn name(&self, i: usize) -> Option<std::borrow::Cow<'a, str>> {
        self.get(i).and_then(|t| ident::ident_name(t, self.src))
    }

    /// True if the identifier at `i` stands for this name (as stored in the catalog).
    #[inline]
    pub fn is_name(&self, i: usize, name: &str) -> bool {
        let Some(token) = self.get(i) else { return false };
        let text = token.text(self.src);
        match token.kind {
            TokenKind::Word => {
                text.len() == name.len()
                    && text.iter().zip(name.as_bytes()).all(|(a, b)| a.to_ascii_lowercase() == *b)
            }
            TokenKind::QuotedIdent if text.len() == name.len() + 2 => {
                text.get(1..text.len() - 1) == Some(name.as_bytes()) && !name.contains('"')
            }
            TokenKind::QuotedIdent if !name.contains('"') => false,
            TokenKind::QuotedIdent | TokenKind::UnicodeIdent => self.name(i).is_some_and(|n| n == name),
            _ => false,
        }
    }

    /// Bracket depth of the token at `i`; `u16::MAX` behind the end, so that no token there is ever at a
    /// wanted depth.
    #[inline]
    pub fn depth(&self, i: usize) -> u16 {
        self.get(i).map_or(u16::MAX, |t| t.depth)
    }

    /// The index of the bracket that closes the one at `open`; the number of tokens if there is none.
    pub fn close(&self, open: usize) -> usize {
        let Some(depth) = self.get(open).map(|t| t.depth) else { return self.tokens.len() };
        let tail = self.tokens.get(open + 1..).unwrap_or(&[]);
        let inside = tail
            .iter()
            .position(|t| t.depth == depth && matches!(t.kind, TokenKind::RParen | TokenKind::RBracket));
        inside.map_or(self.tokens.len(), |n| open + 1 + n)
    }

    /// True if the tokens are one pair of parentheses with all the rest inside.
    pub fn is_group(&self, range: &Range<usize>) -> bool {
        self.is(range.start, TokenKind::LParen)
            && range.len() >= 2
            && self.close(range.start) + 1 == range.end
    }

    /// The tokens without the parentheses around all of them (up to [`MAX_NESTING`]).
    pub fn strip_parens(&self, mut range: Range<usize>) -> Range<usize> {
        for _ in 0..MAX_NESTING {
            if !self.is_group(&range) {
                break;
            }
            range = range.start + 1..range.end - 1;
        }
        range
    }

    /// First byte of the token at `i`.
    pub fn start(&self, i: usize) -> usize {
        self.get(i).map_or(self.src.len(), |t| t.start as usize)
    }

    /// One past the last byte of the token before `i`: where something goes that is put behind it.
    pub fn end_before(&self, i: usize) -> usize {
        i.checked_sub(1).and_then(|i| self.get(i)).map_or(0, |t| t.end as usize)
    }

    /// The token at `i` is a name although it may look like a keyword: behind a dot or behind `AS`.
    #[inline]
    pub fn is_named(&self, i: usize) -> bool {
        let dotted = |i: usize| i.checked_sub(1).is_some_and(|p| self.is(p, TokenKind::Dot));
        dotted(i) || i.checked_sub(1).is_some_and(|p| self.word(p, "as") && !dotted(p))
    }

    /// The tokens as spelled, but each comment is replaced by a space, so that the text can be set into a line.
    /// `None` if the bytes are not UTF-8.
    pub fn spelled(&self, range: Range<usize>) -> Option<String> {
        let mut out = Vec::with_capacity(64);
        let mut behind: Option<usize> = None;
        for token in self.tokens.get(range)? {
            if let Some(end) = behind {
                let gap = self.src.get(end..token.start as usize)?;
                if gap.iter().all(u8::is_ascii_whitespace) {
                    out.extend_from_slice(gap);
                } else {
                    out.push(b' ');
                }
            }
            out.extend_from_slice(token.text(self.src));
            behind = Some(token.end as usize);
        }
        String::from_utf8(out).ok()
    }

    /// As [`Self::is_complete`], for a condition: in brackets of ours a comma of its own level would be no error there.
    pub fn is_condition(&self, range: &Range<usize>) -> bool {
        let depth = self.depth(range.start);
        self.is_complete(range)
            && !range.clone().any(|i| self.is(i, TokenKind::Comma) && self.depth(i) == depth)
    }

    /// False if the tokens end in something that wants more (`a +`, `a,`, `a AND`): the server will refuse the
    /// statement, and pieces put in behind would change its words.
    pub fn is_complete(&self, range: &Range<usize>) -> bool {
        let Some(last) = range.end.checked_sub(1).filter(|last| *last >= range.start) else { return false };
        let before = |kind| last > range.start && self.is(last - 1, kind);
        match self.get(last).map(|t| t.kind) {
            None
            | Some(
                TokenKind::Comma
                | TokenKind::Dot
                | TokenKind::DotDot
                | TokenKind::Cast
                | TokenKind::Colon
                | TokenKind::ColonEquals
                | TokenKind::Semicolon
                | TokenKind::LParen
                | TokenKind::LBracket,
            ) => false,
            Some(TokenKind::Op) => {
                self.op(last, b"*")
                    && (range.len() == 1 || before(TokenKind::Comma) || before(TokenKind::Dot))
            }
            Some(TokenKind::Word) => {
                let open = [
                    "and", "or", "not", "is", "in", "like", "ilike", "between", "as", "case", "then", "else",
                ];
                !self.any_word(last, &open) || self.is_named(last)
            }
            Some(_) => true,
        }
    }

    /// Splits the tokens at the commas of the outermost level. No parts if there are no tokens; an empty part
    /// where nothing stands beside a comma.
    pub fn split_commas(&self, range: Range<usize>) -> impl Iterator<Item = Range<usize>> + use<'a> {
        let code = *self;
        let depth = code.depth(range.start);
        let mut start = range.start;
        let end = range.end;
        let mut more = !range.is_empty();
        std::iter::from_fn(move || {
            if !more {
                return None;
            }
            let comma = (start..end)
                .find(|i| code.is(*i, TokenKind::Comma) && code.depth(*i) == depth)
                .unwrap_or(end);
            more = comma < end;
            let part = start..comma;
            start = comma + 1;
            Some(part)
        })
    }

    /// The keywords of the level of the first token, in order.
    pub fn keywords(&self, range: Range<usize>) -> Keywords<'a> {
        Keywords { code: *self, depth: self.depth(range.start), next: range.start, end: range.end, cases: 0 }
    }
}

/// Keywords that begin clauses or join conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Keyword {
    And,
    Between,
    Case,
    Distinct,
    Do,
    End,
    Except,
    Fetch,
    For,
    From,
    Group,
    Having,
    Intersect,
    Into,
    Join,
    Limit,
    Natural,
    Offset,
    On,
    Or,
    Order,
    Returning,
    Select,
    Set,
    Then,
    Union,
    Using,
    Values,
    When,
    Where,
    Window,
}

impl Keyword {
    /// The keyword that these bytes spell, in any case.
    pub fn of(word: &[u8]) -> Option<Self> {
        let mut lower = [0u8; 9];
        let lower = lower.get_mut(..word.len())?;
        for (to, from) in lower.iter_mut().zip(word) {
            *to = from.to_ascii_lowercase();
        }
        Some(match &*lower {
            b"and" => Self::And,
            b"between" => Self::Between,
            b"case" => Self::Case,
            b"distinct" => Self::Distinct,
            b"do" => Self::Do,
            b"end" => Self::End,
            b"except" => Self::Except,
            b"fetch" => Self::Fetch,
            b"for" => Self::For,
            b"from" => Self::From,
            b"group" => Self::Group,
            b"having" => Self::Having,
            b"intersect" => Self::Intersect,
            b"into" => Self::Into,
            b"join" => Self::Join,
            b"limit" => Self::Limit,
            b"natural" => Self::Natural,
            b"offset" => Self::Offset,
            b"on" => Self::On,
            b"or" => Self::Or,
            b"order" => Self::Order,
            b"returning" => Self::Returning,
            b"select" => Self::Select,
            b"set" => Self::Set,
            b"then" => Self::Then,
            b"union" => Self::Union,
            b"using" => Self::Using,
            b"values" => Self::Values,
            b"when" => Self::When,
            b"where" => Self::Where,
            b"window" => Self::Window,
            _ => return None,
        })
    }
}

/// Walks over the keywords of one bracket level, outside of `CASE .. END`; names that look like keywords and
/// the FROM of `IS [NOT] DISTINCT FROM` are passed over.
#[derive(Debug, Clone)]
pub struct Keywords<'a> {
    code: Code<'a>,
    depth: u16,
    next: usize,
    end: usize,
    cases: u32,
}

impl Iterator for Keywords<'_> {
    type Item = (usize, Keyword);

    fn next(&mut self) -> Option<(usize, Keyword)> {
        while self.next < self.end {
            let i = self.next;
            self.next += 1;
            let token = self.code.get(i)?;
            if token.depth != self.depth || token.kind != TokenKind::Word {
                continue;
            }
            let Some(keyword) = Keyword::of(token.text(self.code.src)) else { continue };
            if self.code.is_named(i) {
                continue;
            }
            match keyword {
                Keyword::Case => self.cases += 1,
                Keyword::End if self.cases > 0 => self.cases -= 1,
                Keyword::From if is_distinct_from(self.code, i) => {}
                _ if self.cases > 0 => {}
                keyword => return Some((i, keyword)),
            }
        }
        None
    }
}

/// The FROM at `i` belongs to `IS [NOT] DISTINCT FROM`.
fn is_distinct_from(code: Code<'_>, i: usize) -> bool {
    let word =
        |back: usize, w: &str| i.checked_sub(back).is_some_and(|p| code.word(p, w) && !code.is_named(p));
    word(1, "distinct") && (word(2, "is") || (word(2, "not") && word(3, "is")))
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::sql::lexer::{LexOptions, lex};

    /// Runs `read` on the text's tokens.
    pub(crate) fn with_code<T>(text: &str, read: impl FnOnce(Code<'_>, Range<usize>) -> T) -> T {
        let tokens = lex(text.as_bytes(), &LexOptions::default()).unwrap().tokens;
        read(Code { src: text.as_bytes(), tokens: &tokens }, 0..tokens.len())
    }

    /// The tokens of a range, with the text between them.
    pub(crate) fn source(code: Code<'_>, range: Range<usize>) -> String {
        code.spelled(range).unwrap()
    }

    #[test]
    fn names() {
        for (text, name, is) in [
            ("projects", "projects", true),
            ("PROJECTS", "projects", true),
            ("\"projects\"", "projects", true),
            ("\"Projects\"", "projects", false),
            ("\"Projects\"", "Projects", true),
            ("Projects", "Projects", false),
            ("\"a\"\"b\"", "a\"b", true),
            ("U&\"\\0070rojects\"", "projects", true),
            ("'projects'", "projects", false),
            ("projects2", "projects", false),
        ] {
            assert_eq!(with_code(text, |code, _| code.is_name(0, name)), is, "{text}");
        }
    }

    #[test]
    fn keywords_of_one_level() {
        use Keyword::*;
        for (text, want) in [
            ("a FROM b WHERE (c FROM d)", &[From, Where][..]),
            ("a IS DISTINCT FROM b FROM c", &[Distinct, From]),
            ("a IS NOT DISTINCT FROM b", &[Distinct]),
            ("t.is distinct FROM b", &[Distinct, From]),
            ("t.from AS where \"from\" 'from'", &[]),
            ("t.as FROM b", &[From]),
            ("CASE WHEN a AND b THEN c END AND d", &[And]),
            ("CASE CASE WHEN a THEN b END WHEN c THEN d END OR e", &[Or]),
            ("a end FROM b", &[End, From]),
            ("extract(year FROM a) -- FROM", &[]),
        ] {
            let got: Vec<_> = with_code(text, |code, all| code.keywords(all).map(|(_, k)| k).collect());
            assert_eq!(got, want, "{text}");
        }
    }

    #[test]
    fn brackets_and_commas() {
        with_code("((a, [b, c])), d", |code, all| {
            assert_eq!(code.close(0), 10);
            let parts: Vec<_> = code.split_commas(all.clone()).map(|r| source(code, r)).collect();
            assert_eq!(parts, ["((a, [b, c]))", "d"]);
            assert_eq!(source(code, code.strip_parens(0..11)), "a, [b, c]");
            assert!(!code.is_group(&all));
        });
        let parts =
            |text| with_code(text, |code, all| code.split_commas(all).map(|r| r.len()).collect::<Vec<_>>());
        assert_eq!(parts("a,, b c,"), [1, 0, 2, 0]);
        assert_eq!(parts(""), [0; 0]);
        with_code("(a) = (b)", |code, all| assert!(!code.is_group(&all)));
        with_code("a /* c */ b -- d\n\tc", |code, all| assert_eq!(source(code, all), "a b c"));
    }

    #[test]
    fn complete_lists() {
        for (text, complete) in [
            ("a", true),
            ("*", true),
            ("a, t.*", true),
            ("f(a)", true),
            ("a AS not", true),
            ("CASE a END", true),
            ("", false),
            ("a,", false),
            ("a *", false),
            ("a +", false),
            ("a.", false),
            ("a::", false),
            ("a AND", false),
            ("a AS", false),
        ] {
            assert_eq!(with_code(text, |code, all| code.is_complete(&all)), complete, "{text}");
        }
    }
}
