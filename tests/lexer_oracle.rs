//! The lexer against another one: sqlparser's tokenizer with its PostgreSQL dialect must find the same tokens.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::tokenizer::{Token, Tokenizer, Whitespace};
use staleguard::sql::lexer::{LexOptions, lex};

/// Byte offset of the first byte of each token, and of each comment, as sqlparser sees them.
fn oracle(text: &str) -> (Vec<usize>, Vec<usize>) {
    let lines: Vec<usize> =
        std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
    let found = Tokenizer::new(&PostgreSqlDialect {}, text)
        .with_unescape(false)
        .tokenize_with_location()
        .unwrap_or_else(|e| panic!("{e}: {text}"));
    let (mut tokens, mut comments) = (Vec::new(), Vec::new());
    for found in found {
        let line = lines[found.span.start.line as usize - 1];
        let column = found.span.start.column as usize - 1;
        let at = line + text[line..].char_indices().map(|(i, _)| i).nth(column).unwrap();
        match found.token {
            Token::Whitespace(Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_)) => {
                comments.push(at);
            }
            Token::Whitespace(_) => {}
            _ => tokens.push(at),
        }
    }
    (tokens, comments)
}

/// Where each of the offsets is, fit for reading.
fn show(text: &str, offsets: &[usize]) -> Vec<(usize, String)> {
    offsets.iter().map(|at| (*at, text[*at..].chars().take(20).collect())).collect()
}

fn compare(text: &str) {
    let lexed = lex(text.as_bytes(), &LexOptions::default()).unwrap_or_else(|e| panic!("{e}: {text}"));
    let (tokens, comments) = oracle(text);
    let ours: Vec<usize> = lexed.tokens.iter().map(|t| t.start as usize).collect();
    assert_eq!(show(text, &ours), show(text, &tokens), "{text}");
    let ours: Vec<usize> = lexed.comments.iter().map(|c| c.start as usize).collect();
    assert_eq!(show(text, &ours), show(text, &comments), "{text}");
}

#[test]
fn statements_of_real_clients() {
    for line in include_str!("data/clients.sql").lines() {
        compare(line);
    }
    compare(include_str!("data/clients.sql"));
}

#[test]
fn texts_made_for_lexers() {
    compare(include_str!("data/lexer.sql"));
}
