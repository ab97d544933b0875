//! Names and texts as SQL.

use crate::catalog::{TableSettings, VersionType};

/// A name between double quotes.
pub(super) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The table's name with its schema, both quoted.
pub(super) fn table(t: &TableSettings) -> String {
    format!("{}.{}", ident(&t.schema), ident(&t.name))
}

/// A text constant that means the same under both values of `standard_conforming_strings`.
pub(super) fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if doubled.contains('\\') {
        format!("E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }
}

/// The type's name as PostgreSQL prints it.
pub(super) fn type_name(t: VersionType) -> &'static str {
    match t {
        VersionType::Int2 => "smallint",
        VersionType::Int4 => "integer",
        VersionType::Int8 => "bigint",
    }
}

/// `version integer NOT NULL DEFAULT 1`
pub(super) fn definition(t: &TableSettings) -> String {
    format!("{} {} NOT NULL DEFAULT 1", t.version_column, type_name(t.version_type))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_survive_quotes_and_backslashes() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"a\b'c"), r"E'a\\b''c'");
        assert_eq!(ident("Odd \"x\""), "\"Odd \"\"x\"\"\"");
    }
}
