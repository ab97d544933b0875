//! Splits the tokens of a `Query` text into its statements.

use std::ops::Range;

use super::token::{Token, TokenKind};

/// The statements of a text, as ranges of token indexes without the semicolons. Empty statements are left out:
/// the server sends no reply for them.
///
/// A semicolon inside parentheses (CREATE RULE) or inside the `BEGIN ATOMIC .. END` body of a CREATE FUNCTION or
/// PROCEDURE ends no statement.
pub fn split(tokens: &[Token], src: &[u8]) -> Vec<Range<usize>> {
    let mut statements = Vec::new();
    let mut start = 0;
    while start < tokens.len() {
        let length = statement_length(tokens.get(start..).unwrap_or(&[]), src);
        if length > 0 {
            statements.push(start..start + length);
        }
        start += length + 1;
    }
    statements
}

/// How many of the tokens belong to the first statement.
fn statement_length(tokens: &[Token], src: &[u8]) -> usize {
    let routine = creates_routine(tokens, src);
    let mut in_body = false;
    let mut previous: Option<&Token> = None;
    for (i, token) in tokens.iter().enumerate() {
        if token.depth == 0 {
            match token.kind {
                TokenKind::Semicolon if !in_body => return i,
                TokenKind::Word if routine => {
                    let after = |word| previous.is_some_and(|p| p.is_word(src, word));
                    if token.is_word(src, "atomic") && after("begin") {
                        in_body = true;
                    } else if in_body && token.is_word(src, "end") {
                        // Each statement of the body ends in a semicolon, so the END of a CASE, or `end` as a
                        // label, never stands behind one.
                        let closes =
                            previous.is_some_and(|p| p.kind == TokenKind::Semicolon) || after("atomic");
                        in_body = !closes;
                    }
                }
                _ => {}
            }
        }
        previous = Some(token);
    }
    tokens.len()
}

/// True for CREATE [OR REPLACE] FUNCTION or PROCEDURE.
fn creates_routine(tokens: &[Token], src: &[u8]) -> bool {
    let is = |i: usize, word: &str| tokens.get(i).is_some_and(|t| t.is_word(src, word));
    let kind = if is(1, "or") && is(2, "replace") { 3 } else { 1 };
    is(0, "create") && (is(kind, "function") || is(kind, "procedure"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;
    use crate::sql::lexer::{LexOptions, lex};

    fn statements(text: &str) -> Vec<&str> {
        let tokens = lex(text.as_bytes(), &LexOptions::default()).unwrap().tokens;
        split(&tokens, text.as_bytes())
            .into_iter()
            .map(|r| &text[tokens[r.start].start as usize..tokens[r.end - 1].end as usize])
            .collect()
    }

    #[test]
    fn table() {
        for (text, want) in [
            ("", &[][..]),
            (" ; ;; -- x;", &[]),
            ("SELECT 1", &["SELECT 1"]),
            ("SELECT 1;", &["SELECT 1"]),
            (";BEGIN;; UPDATE t SET a=';' ;COMMIT", &["BEGIN", "UPDATE t SET a=';'", "COMMIT"]),
            ("SELECT $$;$$; SELECT /*;*/ 2", &["SELECT $$;$$", "SELECT /*;*/ 2"]),
            (
                "CREATE RULE r AS ON UPDATE TO t DO (SELECT 1; SELECT 2); SELECT 3",
                &["CREATE RULE r AS ON UPDATE TO t DO (SELECT 1; SELECT 2)", "SELECT 3"],
            ),
            (
                "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 2 END; END; SELECT 3",
                &[
                    "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 2 END; END",
                    "SELECT 3",
                ],
            ),
            (
                "create or replace procedure p() begin atomic end; end",
                &["create or replace procedure p() begin atomic end", "end"],
            ),
            (
                "CREATE PROCEDURE p() BEGIN ATOMIC SELECT 1 end; SELECT (CASE 1 WHEN 1 THEN 2 END); END; END;",
                &[
                    "CREATE PROCEDURE p() BEGIN ATOMIC SELECT 1 end; SELECT (CASE 1 WHEN 1 THEN 2 END); END",
                    "END",
                ],
            ),
            ("BEGIN; SELECT 1; END", &["BEGIN", "SELECT 1", "END"]),
            (
                "CREATE FUNCTION begin() RETURNS int RETURN 1; SELECT 1",
                &["CREATE FUNCTION begin() RETURNS int RETURN 1", "SELECT 1"],
            ),
            (
                "CREATE VIEW v AS SELECT 1 begin atomic; SELECT 2",
                &["CREATE VIEW v AS SELECT 1 begin atomic", "SELECT 2"],
            ),
        ] {
            assert_eq!(statements(text), want, "{text}");
        }
    }
}
