#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::TokenKind::*;
use super::*;

fn on() -> LexOptions {
    LexOptions::default()
}

fn off() -> LexOptions {
    LexOptions { standard_conforming_strings: false, ..on() }
}

fn kinds(text: &str, opts: &LexOptions) -> Vec<(TokenKind, String)> {
    let lexed = lex(text.as_bytes(), opts).unwrap_or_else(|e| panic!("{text}: {e}"));
    let show = |t: &Token| String::from_utf8_lossy(t.text(text.as_bytes())).into_owned();
    lexed.tokens.iter().map(|t| (t.kind, show(t))).collect()
}

fn check(opts: &LexOptions, table: &[(&str, &[(TokenKind, &str)])]) {
    for (text, want) in table {
        let want: Vec<_> = want.iter().map(|(k, s)| (*k, (*s).to_owned())).collect();
        assert_eq!(kinds(text, opts), want, "{text}");
    }
}

#[test]
fn words_and_numbers() {
    check(
        &on(),
        &[
            ("", &[]),
            (" \t\r\n\x0b\x0c", &[]),
            ("a$b _c é1 Ünï", &[(Word, "a$b"), (Word, "_c"), (Word, "é1"), (Word, "Ünï")]),
            ("foo$$bar$$", &[(Word, "foo$$bar$$")]),
            (
                "1 1.5 1. .5 1e5 1.e-5 .5E+2",
                &[
                    (Number, "1"),
                    (Number, "1.5"),
                    (Number, "1."),
                    (Number, ".5"),
                    (Number, "1e5"),
                    (Number, "1.e-5"),
                    (Number, ".5E+2"),
                ],
            ),
            (
                "0x1F 0o17 0b01 0x_1 1_000 1_0.0_1 1e1_0",
                &[
                    (Number, "0x1F"),
                    (Number, "0o17"),
                    (Number, "0b01"),
                    (Number, "0x_1"),
                    (Number, "1_000"),
                    (Number, "1_0.0_1"),
                    (Number, "1e1_0"),
                ],
            ),
            ("1..2", &[(Number, "1"), (DotDot, ".."), (Number, "2")]),
            ("1.5.3", &[(Number, "1.5"), (Number, ".3")]),
            ("t.1 t.a", &[(Word, "t"), (Number, ".1"), (Word, "t"), (Dot, "."), (Word, "a")]),
            ("$1 $12+1", &[(Param, "$1"), (Param, "$12"), (Op, "+"), (Number, "1")]),
            ("id=1", &[(Word, "id"), (Op, "="), (Number, "1")]),
        ],
    );
}

#[test]
fn strings() {
    check(
        &on(),
        &[
            ("'a''b' ''", &[(Str, "'a''b'"), (Str, "''")]),
            (r"'a\' b", &[(Str, r"'a\'"), (Word, "b")]),
            (
                r"E'a\'b' e'\\' E'''\''",
                &[(EscapeStr, r"E'a\'b'"), (EscapeStr, r"e'\\'"), (EscapeStr, r"E'''\''")],
            ),
            ("N'x' n'y'", &[(Str, "N'x'"), (Str, "n'y'")]),
            ("ne'x'", &[(Word, "ne"), (Str, "'x'")]),
            ("B'01' x'1f'", &[(BitStr, "B'01'"), (BitStr, "x'1f'")]),
            ("B'1''0'", &[(BitStr, "B'1'"), (Str, "'0'")]),
            (r"U&'d\0061' u&'x'", &[(UnicodeStr, r"U&'d\0061'"), (UnicodeStr, "u&'x'")]),
            ("U & 'x'", &[(Word, "U"), (Op, "&"), (Str, "'x'")]),
            ("u&b", &[(Word, "u"), (Op, "&"), (Word, "b")]),
            ("'a'\n'b'", &[(Str, "'a'\n'b'")]),
            ("'a' -- it's\n -- or\r\n 'b' x", &[(Str, "'a' -- it's\n -- or\r\n 'b'"), (Word, "x")]),
            ("E'a'\n'\\'b'", &[(EscapeStr, "E'a'\n'\\'b'")]),
            ("'a' 'b'", &[(Str, "'a'"), (Str, "'b'")]),
            ("'a' /* \n */ 'b'", &[(Str, "'a'"), (Str, "'b'")]),
            ("'a' - -1", &[(Str, "'a'"), (Op, "-"), (Op, "-"), (Number, "1")]),
            ("'a' --", &[(Str, "'a'")]),
            (r#""a""b" U&"d\0061""#, &[(QuotedIdent, r#""a""b""#), (UnicodeIdent, r#"U&"d\0061""#)]),
            ("\"a\"\n\"b\"", &[(QuotedIdent, "\"a\""), (QuotedIdent, "\"b\"")]),
        ],
    );
    check(
        &off(),
        &[
            (r"'a\' b'", &[(Str, r"'a\' b'")]),
            (r"N'a\' b'", &[(Str, r"N'a\' b'")]),
            (r#"U&"x" '\\'"#, &[(UnicodeIdent, r#"U&"x""#), (Str, r"'\\'")]),
        ],
    );
}

#[test]
fn dollar_quotes() {
    check(
        &on(),
        &[
            ("$$a'b$$", &[(DollarStr, "$$a'b$$")]),
            ("$a$ $b$ $$ $a $a$", &[(DollarStr, "$a$ $b$ $$ $a $a$")]),
            ("$a$x$b$a$", &[(DollarStr, "$a$x$b$a$")]),
            ("$é1$;$é1$;", &[(DollarStr, "$é1$;$é1$"), (Semicolon, ";")]),
            ("$1$$x$$", &[(Param, "$1"), (DollarStr, "$$x$$")]),
            ("$$$a$$", &[(DollarStr, "$$$a$$")]),
        ],
    );
}

#[test]
fn operators() {
    check(
        &on(),
        &[
            ("a=-1", &[(Word, "a"), (Op, "="), (Op, "-"), (Number, "1")]),
            ("a=+-+1", &[(Word, "a"), (Op, "="), (Op, "+"), (Op, "-"), (Op, "+"), (Number, "1")]),
            ("@- 1", &[(Op, "@-"), (Number, "1")]),
            ("a->>b", &[(Word, "a"), (Op, "->>"), (Word, "b")]),
            ("a=--c\n1", &[(Word, "a"), (Op, "="), (Number, "1")]),
            ("a</*c*/b", &[(Word, "a"), (Op, "<"), (Word, "b")]),
            ("*/ **", &[(Op, "*/"), (Op, "**")]),
            ("a=>1 <> != <=", &[(Word, "a"), (Op, "=>"), (Number, "1"), (Op, "<>"), (Op, "!="), (Op, "<=")]),
            (
                "a:=b::c:d",
                &[
                    (Word, "a"),
                    (ColonEquals, ":="),
                    (Word, "b"),
                    (Cast, "::"),
                    (Word, "c"),
                    (Colon, ":"),
                    (Word, "d"),
                ],
            ),
            ("a ? b ?| c", &[(Word, "a"), (Op, "?"), (Word, "b"), (Op, "?|"), (Word, "c")]),
            ("COUNT(*)", &[(Word, "COUNT"), (LParen, "("), (Op, "*"), (RParen, ")")]),
        ],
    );
}

#[test]
fn comments_are_kept_apart() {
    let text = "/* a /* b */ ' */ SELECT -- x;'\n1 /**/ /*/*/**/*/*/--";
    let lexed = lex(text.as_bytes(), &on()).unwrap();
    let shown: Vec<_> = lexed.comments.iter().map(|r| &text[r.start as usize..r.end as usize]).collect();
    assert_eq!(shown, ["/* a /* b */ ' */", "-- x;'", "/**/", "/*/*/**/*/*/", "--"]);
    assert_eq!(kinds(text, &on()), [(Word, "SELECT".to_owned()), (Number, "1".to_owned())]);
}

#[test]
fn depth_is_the_one_outside_of_a_bracket() {
    let lexed = lex(b"a(b[1],(c))d", &on()).unwrap();
    let depths: Vec<_> = lexed.tokens.iter().map(|t| t.depth).collect();
    assert_eq!(depths, [0, 0, 1, 1, 2, 1, 1, 1, 2, 1, 0, 0]);
}

#[test]
fn refused() {
    for (text, opts, want) in [
        ("'a", on(), LexError::UnterminatedString(0)),
        ("x 'a''", on(), LexError::UnterminatedString(2)),
        (r"E'a\'", on(), LexError::UnterminatedString(0)),
        (r"E'a\", on(), LexError::UnterminatedString(0)),
        (r"'a\'", off(), LexError::UnterminatedString(0)),
        ("'a'\n'b", on(), LexError::UnterminatedString(0)),
        ("B'1", on(), LexError::UnterminatedString(0)),
        ("\"a", on(), LexError::UnterminatedIdent(0)),
        ("\"a\"\"", on(), LexError::UnterminatedIdent(0)),
        ("\"\"", on(), LexError::EmptyIdent(0)),
        ("U&\"\"", on(), LexError::EmptyIdent(0)),
        ("U&'a'", off(), LexError::UnicodeString(0)),
        ("$$a$", on(), LexError::UnterminatedDollar(0)),
        ("$a$ $A$", on(), LexError::UnterminatedDollar(0)),
        ("$a b", on(), LexError::UnexpectedByte(0)),
        ("$", on(), LexError::UnexpectedByte(0)),
        ("a { b", on(), LexError::UnexpectedByte(2)),
        ("a \\ b", on(), LexError::UnexpectedByte(2)),
        ("/* /* */", on(), LexError::UnterminatedComment(0)),
        ("/*/", on(), LexError::UnterminatedComment(0)),
        ("1a", on(), LexError::NumberJunk(0)),
        ("1_", on(), LexError::NumberJunk(0)),
        ("1._5", on(), LexError::NumberJunk(0)),
        ("1e", on(), LexError::NumberJunk(0)),
        ("1e+", on(), LexError::NumberJunk(0)),
        ("0x", on(), LexError::NumberJunk(0)),
        ("0b12", on(), LexError::NumberJunk(0)),
        ("$1a", on(), LexError::NumberJunk(0)),
        ("a)", on(), LexError::Unbalanced(1)),
        ("a (b (c)", on(), LexError::Unbalanced(2)),
    ] {
        assert_eq!(lex(text.as_bytes(), &opts), Err(want), "{text}");
    }
}

#[test]
fn encodings() {
    let sjis = LexOptions { encoding: Encoding::Unsafe, ..on() };
    assert_eq!(lex("SELECT 'é'".as_bytes(), &sjis), Err(LexError::Encoding));
    assert_eq!(lex(b"SELECT 'e'", &sjis).map(|t| t.tokens.len()), Ok(2));
    let latin1 = LexOptions { encoding: Encoding::SingleByte, ..on() };
    let lexed = lex(b"SELECT \xe9t\xe9, '\xe9'", &latin1).unwrap();
    assert_eq!(
        lexed.tokens.iter().map(|t| (t.start, t.end)).collect::<Vec<_>>(),
        [(0, 6), (7, 10), (10, 11), (12, 15)]
    );
}

#[test]
fn backslashes_while_it_is_not_known_what_they_mean() {
    let unsettled = LexOptions { strings_unsettled: true, ..on() };
    assert_eq!(lex(br"SELECT 'a\', 1", &unsettled), Err(LexError::Strings));
    assert_eq!(lex(b"SELECT 'a', 1", &unsettled), lex(b"SELECT 'a', 1", &off()));
}

#[test]
fn too_deep() {
    assert_eq!(lex(&vec![b'('; 70_000], &on()), Err(LexError::TooDeep));
}

/// Any bytes give tokens and comments that are in order and leave out whitespace only, or an error.
#[test]
fn every_byte_is_accounted_for() {
    const PIECES: [&[u8]; 40] = [
        b" ", b"\n", b"'", b"''", b"\"", b"a", b"E'", b"U&'", b"U&\"", b"B'", b"$", b"$$", b"$a$", b"$1",
        b"\\", b"--", b"/*", b"*/", b"+", b"-", b"@", b"=", b":", b"::", b":=", b".", b"..", b"1", b"0x",
        b"1e", b"_", b"(", b")", b"[", b"]", b",", b";", b"\xe9", b"\xff", b"z",
    ];
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let mut read = 0;
    for round in 0..60_000 {
        let text: Vec<u8> = (0..1 + next(9)).flat_map(|_| PIECES[next(PIECES.len())].to_vec()).collect();
        let opts = LexOptions {
            standard_conforming_strings: round % 2 == 0,
            encoding: Encoding::SingleByte,
            ..on()
        };
        let Ok(lexed) = lex(&text, &opts) else { continue };
        read += 1;
        let mut spans: Vec<_> = lexed.tokens.iter().map(|t| t.start..t.end).chain(lexed.comments).collect();
        spans.sort_by_key(|s| s.start);
        let mut done = 0;
        for span in spans {
            assert!(span.start < span.end && span.end as usize <= text.len(), "{text:?}");
            let gap = text.get(done as usize..span.start as usize);
            assert!(gap.is_some_and(|g| g.iter().all(u8::is_ascii_whitespace)), "{text:?}");
            done = span.end;
        }
        assert!(text[done as usize..].iter().all(u8::is_ascii_whitespace), "{text:?}");
    }
    assert!(read > 5_000, "only {read} of the texts could be read");
}
