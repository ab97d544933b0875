//! The configuration file: TOML text to values with line numbers.

use std::ops::Range;

use toml_edit::{ImDocument, Item, TableLike, Value};

use super::value::{Node, Raw};

/// Why a text is not TOML.
#[derive(Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// Line, counted from one.
    pub line: usize,
    /// The parser's words, on one line.
    pub reason: String,
}

/// Parses the text into the entries of its top level, in order.
pub fn parse(text: &str) -> Result<Vec<(String, Node)>, SyntaxError> {
    let document = ImDocument::parse(text).map_err(|error| SyntaxError {
        line: error.span().map_or(1, |span| line_at(text, span.start)),
        reason: error.message().trim().replace('\n', ", "),
    })?;
    Ok(table(text, document.as_table()))
}

fn table(text: &str, table: &dyn TableLike) -> Vec<(String, Node)> {
    table
        .iter()
        .map(|(name, item)| {
            let key = table.get_key_value(name).and_then(|(key, _)| key.span());
            (name.to_owned(), node(text, item, key))
        })
        .collect()
}

/// `key` is where the item's key stands; a header like `[log]` has its place in the table itself.
fn node(text: &str, item: &Item, key: Option<Range<usize>>) -> Node {
    let span = key.or_else(|| item.span());
    let line = span.map_or(1, |span| line_at(text, span.start));
    let raw = match item {
        Item::None => Raw::Other(String::new()),
        Item::Value(v) => value(text, v),
        Item::Table(t) => Raw::Table(table(text, t)),
        Item::ArrayOfTables(tables) => Raw::List(
            tables
                .iter()
                .map(|t| Node {
                    line: t.span().map_or(line, |span| line_at(text, span.start)),
                    raw: Raw::Table(table(text, t)),
                })
                .collect(),
        ),
    };
    Node { line, raw }
}

fn value(text: &str, v: &Value) -> Raw {
    match v {
        Value::String(s) => Raw::Text(s.value().clone()),
        Value::Integer(n) => Raw::Integer(*n.value()),
        Value::Boolean(b) => Raw::Boolean(*b.value()),
        Value::Array(items) => Raw::List(
            items
                .iter()
                .map(|item| Node {
                    line: item.span().map_or(1, |span| line_at(text, span.start)),
                    raw: value(text, item),
                })
                .collect(),
        ),
        Value::InlineTable(t) => Raw::Table(table(text, t)),
        Value::Float(_) | Value::Datetime(_) => {
            Raw::Other(v.span().and_then(|span| text.get(span)).unwrap_or("?").to_owned())
        }
    }
}

fn line_at(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|b| *b == b'\n').count()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn values_keep_their_lines() {
        let text =
            "listen = \"a\"\n[log]\nlevel = 'info'\n\n[[tables]]\nname = \"x\"\n[[tables]]\nname = 1.5\n";
        let top = parse(text).unwrap();
        let names: Vec<_> = top.iter().map(|(name, node)| (name.as_str(), node.line)).collect();
        assert_eq!(names, [("listen", 1), ("log", 2), ("tables", 5)]);
        let Raw::Table(log) = &top[1].1.raw else { panic!("{top:?}") };
        assert_eq!(log[0].1, Node { line: 3, raw: Raw::Text("info".to_owned()) });
        let Raw::List(tables) = &top[2].1.raw else { panic!("{top:?}") };
        assert_eq!(tables[1].line, 7);
        let Raw::Table(second) = &tables[1].raw else { panic!("{top:?}") };
        assert_eq!(second[0].1, Node { line: 8, raw: Raw::Other("1.5".to_owned()) });
    }

    #[test]
    fn syntax_errors_name_the_line() {
        let error = parse("a = 1\nb = \n").unwrap_err();
        assert_eq!(error.line, 2);
        assert!(!error.reason.is_empty() && !error.reason.contains('\n'), "{error:?}");
    }
}
