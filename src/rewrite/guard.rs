//! The guard: a check inside the SET list that makes the server itself fail.
//!
//! ```text
//! UPDATE projects SET name = 'x' WHERE id IN (7, 8)
//! UPDATE projects SET name = 'x', version = CASE
//!   WHEN projects.version = COALESCE(('{"0":{"7":5}}'::jsonb #>> ARRAY['0', projects.id::text])::int4, projects.version)
//!   THEN projects.version + 1
//!   ELSE ('<nonce>0.0:' || projects.id::text || ':' || projects.version::text)::int4 END
//!   WHERE id IN (7, 8)
//! ```
//!
//! (Operators, types and functions are qualified with `pg_catalog` throughout: a search_path is the client's.)
//! PostgreSQL evaluates a SET list for the rows that match only, and again after it has waited for a lock. The ELSE
//! names columns of the row, or planning would fold it and raise always. Rows that are not in the JSON text pass: the
//! COALESCE compares the version with itself.
//!
//! Where blind writes are refused, the COALESCE is missing from a literal (`t.version = NULL` raises); from a parameter
//! it lets rows pass only if no versions were sent at all, as with the predicate form.
//!
//! Where writes of the same row in this transaction may be in flight, a version above the expected one passes too, if
//! it is not above what those writes can have left and the row's present state is this transaction's (`xmin`).

use super::known::{EXPECTED, HIGHEST};
use super::site::{Guard, GuardSite};
use crate::sql::ident::quote_ident;
use crate::sql::keys::KeyType;

/// Where the JSON text of what is known comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Json<'a> {
    /// A literal of what is known of this site's rows.
    Literal(&'a str),
    /// A parameter with what is known of all sites of the statement.
    Param {
        /// Its number.
        number: u16,
        /// This site's.
        site: usize,
    },
}

/// The guard of a site. `strict`: rows that are not in the JSON text raise as well. `marker` begins the text that the
/// server cannot read as a number. `None` if the table's columns are not as the plan says.
pub(super) fn guard(
    site: &GuardSite,
    json: Json<'_>,
    strict: bool,
    own_writes: bool,
    marker: &str,
) -> Option<Guard> {
    let version = version_of(site)?;
    let ty = site.table.version_type.sql_name();
    let columns: Vec<(String, KeyType)> = site
        .table
        .key_columns()
        .map(|c| {
            let ty = KeyType::from_oid(c.type_oid)?;
            Some((ty.sql_text(&format!("{}.{}", site.reference, quote_ident(&c.name))), ty))
        })
        .collect::<Option<_>>()?;
    let known = match json {
        Json::Literal(text) => format!("{}::pg_catalog.jsonb", literal(text)),
        Json::Param { number, .. } => format!("${number}::pg_catalog.jsonb"),
    };
    let keys = columns.iter().map(|(text, _)| format!(", {text}")).collect::<String>();
    let at = |part: &str| {
        let first = match json {
            Json::Literal(_) => String::new(),
            Json::Param { site, .. } => format!("'{site}', "),
        };
        format!("({known} OPERATOR(pg_catalog.#>>) ARRAY[{first}'{part}'{keys}])::pg_catalog.{ty}")
    };
    let others = match json {
        Json::Param { number, .. } if strict => {
            Some(format!("CASE WHEN ${number}::pg_catalog.jsonb IS NULL THEN {version} END"))
        }
        Json::Literal(_) if strict => None,
        _ => Some(version.clone()),
    };
    let expected = at(EXPECTED);
    let expected = others.map_or(expected.clone(), |others| format!("COALESCE({expected}, {others})"));
    let mut holds = format!("{version} OPERATOR(pg_catalog.=) {expected}");
    if own_writes {
        let (from, to) = (at(EXPECTED), at(HIGHEST));
        let xmin = format!("{}.xmin", site.reference);
        holds.push_str(&format!(
            " OR ({version} OPERATOR(pg_catalog.>) {from} AND {version} OPERATOR(pg_catalog.<=) {to} \
             AND {xmin} OPERATOR(pg_catalog.=) pg_catalog.pg_current_xact_id()::pg_catalog.xid)"
        ));
    }
    let mut raise = format!("'{marker}:'");
    for (n, (text, key)) in columns.iter().enumerate() {
        if n > 0 {
            raise.push_str(" OPERATOR(pg_catalog.||) '.'");
        }
        raise.push_str(" OPERATOR(pg_catalog.||) ");
        match key {
            KeyType::Int2 | KeyType::Int4 | KeyType::Int8 | KeyType::Uuid => raise.push_str(text),
            _ => {
                let hex = format!("pg_catalog.encode(pg_catalog.convert_to({text}, 'UTF8'), 'hex')");
                raise.push_str(&format!("'x' OPERATOR(pg_catalog.||) {hex}"));
            }
        }
    }
    raise.push_str(&format!(
        " OPERATOR(pg_catalog.||) ':' OPERATOR(pg_catalog.||) {version}::pg_catalog.text"
    ));
    Some(Guard { holds, raise: format!("({raise})::pg_catalog.{ty}") })
}

/// `projects.version`.
pub(super) fn version_of(site: &GuardSite) -> Option<String> {
    let column = site.table.version_column()?;
    Some(format!("{}.{}", site.reference, quote_ident(&column.name)))
}

/// The begin of what a guard raises: who it was.
pub(super) fn marker(nonce: &str, statement: usize, site: usize) -> String {
    format!("{nonce}{statement}.{site}")
}

/// A string constant that means the same whatever `standard_conforming_strings` is.
pub(super) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains('\\') { format!("E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// What a guard has told by raising.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raised {
    /// Index of the statement in the text.
    pub statement: usize,
    /// Index of the site in the statement.
    pub site: usize,
    /// The row's key in canonical form, in key order.
    pub key: Vec<String>,
    /// The version that the row has.
    pub actual: i64,
}

/// Reads the message of an error 22P02 (`invalid input syntax for type integer: ".."`, in any language). `None` if it
/// does not carry this nonce: then it is the client's own error.
pub fn parse_raise(message: &str, nonce: &str) -> Option<Raised> {
    if nonce.is_empty() {
        return None;
    }
    let told = message.get(message.find(nonce)? + nonce.len()..)?;
    let (place, rest) = told.split_once(':')?;
    let (statement, site) = place.split_once('.')?;
    let (key, rest) = rest.split_once(':')?;
    let digits = rest.strip_prefix('-').unwrap_or(rest);
    let end =
        digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len()) + (rest.len() - digits.len());
    Some(Raised {
        statement: statement.parse().ok()?,
        site: site.parse().ok()?,
        key: key.split('.').map(key_part).collect::<Option<_>>()?,
        actual: rest.get(..end)?.parse().ok()?,
    })
}

/// An integer or uuid as it is, anything else in hexadecimal behind an `x`.
fn key_part(part: &str) -> Option<String> {
    let Some(hex) = part.strip_prefix('x') else {
        return (!part.is_empty()).then(|| part.to_owned());
    };
    let digit = |b: &u8| char::from(*b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let bytes: Option<Vec<u8>> = hex
        .as_bytes()
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        })
        .collect();
    String::from_utf8(bytes?).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::testing::{bumped, guarded, parsed_guarded};
    use super::*;

    #[test]
    fn messages() {
        let raised = |site: usize, key: &[&str], actual| {
            Some(Raised { statement: 0, site, key: key.iter().map(|k| (*k).to_owned()).collect(), actual })
        };
        for (message, want) in [
            ("invalid input syntax for type integer: \"sg7f0.0:7:6\"", raised(0, &["7"], 6)),
            ("ungültige Eingabesyntax für Typ bigint: »sg7f0.2:-7:-6«", raised(2, &["-7"], -6)),
            (
                "invalid input syntax for type smallint: \"sg7f0.1:051e3dcf-81ba-49f2-8daa-110ed693f2b6.x:12\"",
                raised(1, &["051e3dcf-81ba-49f2-8daa-110ed693f2b6", ""], 12),
            ),
            ("x \"sg7f0.0:xc3a93a2e:1\"", raised(0, &["é:."], 1)),
            ("x \"sg7f0.0:xc3a:1\"", None),
            ("x \"sg7f0.0:xzz:1\"", None),
            ("x \"sg7f0.0:x80:1\"", None),
            ("x \"sg7f0.0::1\"", None),
            ("x \"sg7f0.0:7\"", None),
            ("x \"sg7f0:7:1\"", None),
            ("x \"sg7f0.0:7:\"", None),
            ("x \"sg7e0.0:7:1\"", None),
            ("", None),
        ] {
            assert_eq!(parse_raise(message, "sg7f"), want, "{message}");
        }
        assert_eq!(parse_raise("0.0:7:1", ""), None);
    }

    #[test]
    fn constants_in_every_mode_of_strings() {
        for (text, want) in [
            (r#"{"a":1}"#, r#"'{"a":1}'"#),
            (r#"{"it's":1}"#, r#"'{"it''s":1}'"#),
            (r#"{"\"'":1}"#, r#"E'{"\\"''":1}'"#),
        ] {
            assert_eq!(literal(text), want);
        }
    }

    /// `t.version = COALESCE(..) THEN`, as [`guarded`] shows it.
    fn holds(reference: &str, json: &str, keys: &str) -> String {
        format!(
            "{reference}.version = COALESCE(('{json}'::jsonb #>> ARRAY['0', {keys}])::int4, {reference}.version)"
        )
    }

    #[test]
    fn every_place_of_an_increment() {
        let seven = r#"{"0":{"7":5}}"#;
        let projects = |json: &str| holds("projects", json, "projects.id::text");
        let raise = "('sg0.0:' || projects.id::text || ':' || projects.version::text)::int4";
        for (set, want) in [
            // Behind the list, in the place of a value, around the client's own increment.
            (
                "name = 'x'",
                format!(
                    "name = 'x', version = CASE WHEN {} THEN projects.version + 1 ELSE {raise} END",
                    projects(seven)
                ),
            ),
            (
                "version = 4, name = 'x'",
                format!(
                    "version = CASE WHEN {} THEN projects.version + 1 ELSE {raise} END, name = 'x'",
                    projects(seven)
                ),
            ),
            (
                "version = 1 + version, name = 'x'",
                format!(
                    "version = CASE WHEN {} THEN 1 + version ELSE {raise} END, name = 'x'",
                    projects(seven)
                ),
            ),
            (
                "(name, version) = ('x', 9)",
                format!(
                    "(name, version) = ('x', CASE WHEN {} THEN projects.version + 1 ELSE {raise} END)",
                    projects(seven)
                ),
            ),
            (
                "version = $2, name = 'x'",
                format!(
                    "version = CASE WHEN {} THEN projects.version + 1 WHEN TRUE THEN {raise} ELSE $2 END, name = 'x'",
                    projects(seven)
                ),
            ),
            // Not checked.
            ("budget = budget + 1", "budget = budget + 1, version = projects.version + 1".to_owned()),
        ] {
            let text = format!("UPDATE projects SET {set} WHERE status = 'x'");
            assert_eq!(guarded(&text), format!("UPDATE projects SET {want} WHERE status = 'x'"));
        }
        let text = "UPDATE projects SET name = 'x' WHERE version = 5 AND status = 'y'";
        assert_eq!(guarded(text), bumped(text));
    }

    #[test]
    fn every_kind_of_write() {
        for (text, reference, columns, keys, json, number) in [
            (
                "UPDATE projects SET name = 'x'§ WHERE id IN (1, 2)",
                "projects",
                &["id"][..],
                &[("id", false)][..],
                r#"{"0":{"1":5,"2":5}}"#,
                "0.0",
            ),
            (
                "UPDATE projects AS \"P\" SET name = 'x'§ FROM v WHERE \"P\".id = v.id",
                "\"P\"",
                &["id"],
                &[("id", false)],
                r#"{"0":{"7":5}}"#,
                "0.0",
            ),
            (
                "UPDATE projects SET name = 'x'§ WHERE CURRENT OF c",
                "projects",
                &["id"],
                &[("id", false)],
                r#"{"0":{"7":5}}"#,
                "0.0",
            ),
            (
                "UPDATE triggered SET name = 'x'§ WHERE id = 1",
                "triggered",
                &["id"],
                &[("id", false)],
                r#"{"0":{"1":5}}"#,
                "0.0",
            ),
            (
                "UPDATE events_2024 SET title = 'x'§",
                "events_2024",
                &["id"],
                &[("id", false)],
                r#"{"0":{"7":5}}"#,
                "0.0",
            ),
            (
                "UPDATE user_roles SET note = 'x'§ WHERE user_id = 1",
                "user_roles",
                &["user_id", "role"],
                &[("user_id", false), ("role", true)],
                r#"{"0":{"7":{"7":5}}}"#,
                "0.0",
            ),
            (
                "SELECT 1; UPDATE projects SET name = 'x'§ WHERE id = 1",
                "projects",
                &["id"],
                &[("id", false)],
                r#"{"0":{"1":5}}"#,
                "1.0",
            ),
            (
                "WITH a AS (UPDATE projects p SET name = 'x'§) SELECT 1",
                "p",
                &["id"],
                &[("id", false)],
                r#"{"0":{"7":5}}"#,
                "0.0",
            ),
            (
                "EXPLAIN ANALYZE UPDATE projects SET name = 'x'§",
                "projects",
                &["id"],
                &[("id", false)],
                r#"{"0":{"7":5}}"#,
                "0.0",
            ),
            (
                "CREATE TABLE y AS WITH a AS (UPDATE projects SET name = 'x'§ RETURNING id) SELECT 1",
                "projects",
                &["id"],
                &[("id", false)],
                r#"{"0":{"7":5}}"#,
                "0.0",
            ),
            (
                "INSERT INTO projects AS p (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name§ WHERE p.name = 'y'",
                "p",
                &["id"],
                &[("id", false)],
                r#"{"0":{"1":5}}"#,
                "0.0",
            ),
            (
                "MERGE INTO projects p USING v ON p.id = v.id WHEN MATCHED AND x THEN DO NOTHING WHEN MATCHED THEN UPDATE SET name = 'x'§",
                "p",
                &["id"],
                &[("id", false)],
                r#"{"0":{"7":5}}"#,
                "0.0",
            ),
        ] {
            let column = |c: &str| format!("{reference}.{c}::text");
            let holds =
                holds(reference, json, &columns.iter().map(|c| column(c)).collect::<Vec<_>>().join(", "));
            let key = |(c, hex): &(&str, bool)| match hex {
                true => format!("'x' || encode(convert_to({}, 'UTF8'), 'hex')", column(c)),
                false => column(c),
            };
            let keys = keys.iter().map(key).collect::<Vec<_>>().join(" || '.' || ");
            let guard = format!(
                ", version = CASE WHEN {holds} THEN {reference}.version + 1 ELSE ('sg{number}:' || {keys} || ':' || {reference}.version::text)::int4 END"
            );
            assert_eq!(guarded(&text.replace('§', "")), text.replace('§', &guard));
        }
    }

    #[test]
    fn each_update_of_a_merge_is_a_site() {
        let text = "MERGE INTO small USING v ON small.id = v.id WHEN MATCHED AND v.a THEN UPDATE SET name = 'x' \
            WHEN MATCHED THEN UPDATE SET name = 'y' WHEN NOT MATCHED THEN INSERT VALUES (1)";
        let site = |n: usize| {
            format!(
                ", version = CASE WHEN small.version = COALESCE(($2::jsonb #>> ARRAY['{n}', '0', small.id::text])::int2, small.version) \
                 OR (small.version > ($2::jsonb #>> ARRAY['{n}', '0', small.id::text])::int2 \
                 AND small.version <= ($2::jsonb #>> ARRAY['{n}', '1', small.id::text])::int2 \
                 AND small.xmin = pg_current_xact_id()::xid) \
                 THEN small.version + 1 ELSE ('sg0.{n}:' || small.id::text || ':' || small.version::text)::int2 END"
            )
        };
        let want = text.replace("'x'", &format!("'x'{}", site(0))).replace("'y'", &format!("'y'{}", site(1)));
        assert_eq!(parsed_guarded(text, true), want);
    }

    #[test]
    fn a_prepared_point_write_has_both_forms() {
        assert_eq!(
            parsed_guarded("UPDATE projects SET name = $1 WHERE id = $2", false),
            "UPDATE projects SET name = $1, version = CASE \
             WHEN projects.version = COALESCE(($4::jsonb #>> ARRAY['0', '0', projects.id::text])::int4, projects.version) \
             THEN projects.version + 1 ELSE ('sg0.0:' || projects.id::text || ':' || projects.version::text)::int4 END \
             WHERE (id = $2) AND projects.version = COALESCE($3::int4, projects.version)"
        );
    }

    #[test]
    fn bumps_only() {
        for text in [
            "UPDATE amounts SET name = 'x'",
            "COPY (UPDATE projects SET name = 'x' RETURNING id) TO STDOUT",
            "EXPLAIN UPDATE projects SET name = 'x' WHERE id = 1",
        ] {
            assert!(bumped(text).contains(".version + 1"));
            assert_eq!(guarded(text), bumped(text));
        }
    }
}
