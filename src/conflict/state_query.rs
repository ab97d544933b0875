//! The text of the one read of a row's present state, for the conflict error.
//!
//! ```sql
//! SELECT s.version, CASE WHEN pg_catalog.octet_length(s.state) OPERATOR(pg_catalog.<=) 65536 THEN s.state END
//! FROM (SELECT t."version"::pg_catalog.text AS version,
//!              (pg_catalog.jsonb_build_object('name'::pg_catalog.text, t."name"))::pg_catalog.text AS state
//!       FROM "public"."projects" AS t
//!       WHERE t."id" OPERATOR(pg_catalog.=) $1::pg_catalog.int4 OFFSET 0) AS s LIMIT 2
//! ```
//!
//! Everything is qualified: the text means the same whatever the session's search_path holds.

use std::fmt::Write as _;

use crate::catalog::{Column, Table};

/// Largest state shown, in bytes of its text: an error is a message, not a download.
pub const MAX_STATE_BYTES: usize = 65_536;

/// Name and value of at most this many columns fit in one call: a function takes 100 arguments at most.
const PAIRS: usize = 50;

/// A read of a row's present state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateQuery {
    /// The statement. Its parameters are the key's values in key order, to be sent as text. Its result has two
    /// text columns: the version, and a JSON object (NULL where it is larger than [`MAX_STATE_BYTES`]). Two
    /// rows (a table that inherits has the same key) show nothing that can be said of one row.
    pub text: String,
    /// Type OID of each parameter.
    pub parameter_types: Vec<u32>,
}

/// Builds the read of `columns` of one row of `table`, or `None` where there is nothing to show or a key column
/// is of a type whose text form is not certain.
pub fn state_query(table: &Table, columns: &[&Column]) -> Option<StateQuery> {
    if columns.is_empty() || table.key.is_empty() {
        return None;
    }
    let version = ident(&table.version_column()?.name);
    let mut state = String::new();
    for (i, chunk) in columns.chunks(PAIRS).enumerate() {
        state.push_str(if i == 0 { "" } else { " OPERATOR(pg_catalog.||) " });
        state.push_str("pg_catalog.jsonb_build_object(");
        for (j, column) in chunk.iter().enumerate() {
            let comma = if j == 0 { "" } else { ", " };
            let (name, column) = (literal(&column.name), ident(&column.name));
            let _ = write!(state, "{comma}{name}::pg_catalog.text, t.{column}");
        }
        state.push(')');
    }
    let mut condition = String::new();
    let mut parameter_types = Vec::with_capacity(table.key.len());
    for (i, key) in table.key_columns().enumerate() {
        let and = if i == 0 { "" } else { " AND " };
        let (name, cast) = (ident(&key.name), type_name(key.type_oid)?);
        let _ = write!(
            condition,
            "{and}t.{name} OPERATOR(pg_catalog.=) ${n}::pg_catalog.{cast}",
            n = i.saturating_add(1)
        );
        parameter_types.push(key.type_oid);
    }
    let (schema, name) = (ident(&table.schema), ident(&table.name));
    let text = format!(
        "SELECT s.version, CASE WHEN pg_catalog.octet_length(s.state) OPERATOR(pg_catalog.<=) {MAX_STATE_BYTES} \
         THEN s.state END FROM (SELECT t.{version}::pg_catalog.text AS version, \
         ({state})::pg_catalog.text AS state FROM {schema}.{name} AS t WHERE {condition} OFFSET 0) AS s LIMIT 2"
    );
    Some(StateQuery { text, parameter_types })
}

/// Name in `pg_catalog` of a type that keys are known by.
fn type_name(oid: u32) -> Option<&'static str> {
    Some(match oid {
        16 => "bool",
        20 => "int8",
        21 => "int2",
        23 => "int4",
        25 => "text",
        1042 => "bpchar",
        1043 => "varchar",
        1082 => "date",
        1114 => "timestamp",
        1184 => "timestamptz",
        1700 => "numeric",
        2950 => "uuid",
        _ => return None,
    })
}

/// A name in double quotes.
fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string literal that means the same with `standard_conforming_strings` on or off.
fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::sync::Arc;

    use super::*;
    use crate::catalog::{CurrentState, ExplicitPredicate, OnDeleted, TableSettings, VersionType};
    use crate::config::tables::REDACTED;

    /// A table of the given columns (name, type OID); the first `key` of them are its key, the last its version.
    pub(crate) fn table(name: &str, columns: &[(&str, u32)], key: usize) -> Table {
        let columns: Vec<Column> = columns
            .iter()
            .enumerate()
            .map(|(slot, (name, type_oid))| Column {
                attnum: slot as i16 + 1,
                name: (*name).into(),
                type_oid: *type_oid,
                slot,
            })
            .collect();
        Table {
            oid: 16384,
            root_oid: 16384,
            schema: "public".into(),
            name: name.into(),
            root_name: name.into(),
            entity: name.trim_end_matches('s').into(),
            key: (0..key).collect(),
            version: columns.len() - 1,
            columns,
            version_type: VersionType::Int4,
            is_view: false,
            visible: true,
            statement_triggers: false,
            version_triggers: false,
            ignored_may_bump: false,
            nested: Default::default(),
            delete_rules: false,
            late_triggers: false,
            rules: false,
            row_security: false,
            part: false,
            parent: false,
            may_read: true,
            may_read_all: true,
            may_write: true,
            ignored: Default::default(),
            settings: Arc::new(TableSettings {
                schema: "public".into(),
                name: name.into(),
                entity: name.trim_end_matches('s').into(),
                version_column: "version".into(),
                version_type: VersionType::Int4,
                adopt: false,
                mode: Default::default(),
                blind: Default::default(),
                check_delete: true,
                ignored_columns: Vec::new(),
                for_update_refreshes: false,
                on_deleted: OnDeleted::default(),
                explicit_predicate: ExplicitPredicate::default(),
                current_state: CurrentState::default(),
                redact_columns: REDACTED.map(str::to_owned).to_vec(),
            }),
        }
    }

    /// `users(id uuid, name, password_hash, version)`.
    pub(crate) fn users() -> Table {
        table("users", &[("id", 2950), ("name", 25), ("password_hash", 25), ("version", 23)], 1)
    }

    #[test]
    fn reads_the_columns_by_key() {
        let table = users();
        let query = state_query(&table, &[table.column("name").unwrap()]).unwrap();
        assert_eq!(
            query.text,
            "SELECT s.version, CASE WHEN pg_catalog.octet_length(s.state) OPERATOR(pg_catalog.<=) 65536 \
             THEN s.state END FROM (SELECT t.\"version\"::pg_catalog.text AS version, \
             (pg_catalog.jsonb_build_object('name'::pg_catalog.text, t.\"name\"))::pg_catalog.text AS state \
             FROM \"public\".\"users\" AS t \
             WHERE t.\"id\" OPERATOR(pg_catalog.=) $1::pg_catalog.uuid OFFSET 0) AS s LIMIT 2"
        );
        assert_eq!(query.parameter_types, [2950]);
    }

    #[test]
    fn quotes_every_name_and_names_every_key_column() {
        let table = table("odd\"t", &[("A b", 23), ("c", 1700), ("it's", 25), ("b\\s", 25), ("v", 23)], 2);
        let columns: Vec<&Column> = table.columns.iter().collect();
        let query = state_query(&table, &columns).unwrap();
        for part in [
            "FROM \"public\".\"odd\"\"t\" AS t WHERE",
            "t.\"A b\" OPERATOR(pg_catalog.=) $1::pg_catalog.int4 AND t.\"c\" OPERATOR(pg_catalog.=) \
             $2::pg_catalog.numeric",
            "'it''s'::pg_catalog.text, t.\"it's\"",
            "E'b\\\\s'::pg_catalog.text, t.\"b\\s\"",
            "t.\"v\"::pg_catalog.text AS version",
        ] {
            assert!(query.text.contains(part), "{part} in {}", query.text);
        }
    }

    #[test]
    fn splits_wide_rows_at_the_argument_limit() {
        let names: Vec<String> = (0..120).map(|i| format!("c{i}")).collect();
        let columns: Vec<(&str, u32)> = names.iter().map(|n| (n.as_str(), 23)).collect();
        let table = table("wide", &columns, 1);
        let query = state_query(&table, &table.columns.iter().collect::<Vec<_>>()).unwrap();
        let calls: Vec<&str> = query.text.split("jsonb_build_object(").skip(1).collect();
        let pairs: Vec<usize> = calls.iter().map(|c| c.matches("::pg_catalog.text, t.").count()).collect();
        assert_eq!(pairs, [50, 50, 20]);
        assert_eq!(query.text.matches("OPERATOR(pg_catalog.||)").count(), 2);
    }

    #[test]
    fn gives_up_where_the_key_is_not_certain() {
        let odd = table("t", &[("id", 600), ("name", 25), ("version", 23)], 1);
        assert_eq!(state_query(&odd, &[odd.column("name").unwrap()]), None);
        assert_eq!(state_query(&users(), &[]), None);
    }
}
