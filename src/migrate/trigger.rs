//! The trigger that bumps the version where the statement did not.
//!
//! A proxy bumps what passes through it. Functions, foreign-key cascades and clients that connect past every proxy
//! change rows too; with this trigger such a change is seen as one. It is a BEFORE UPDATE row trigger that runs only
//! where a statement has left the version as it was, so a write through the proxy costs one comparison more, and
//! the version grows by exactly one either way.
//!
//! A trigger and a function of its own for each table: tables may have different owners, and a shared function
//! could be replaced only by one of them. The trigger's condition names the version column, so that the server
//! itself refuses to drop the column from under it; the function names no other column, so that the application may
//! drop and rename its own as before.

use tokio_postgres::types::Type;
use tokio_postgres::{GenericClient, Transaction};

use super::connect::ServerError;
use super::quote;
use super::report::{Outcome, Problem};
use super::retry::Work;
use crate::catalog::TableSettings;

/// Name of the trigger. BEFORE triggers run in the order of their names, and this one wants to see what the others
/// have made of the row.
pub const TRIGGER: &str = "zzz_staleguard_bump";

/// What the body of each of our functions begins with. The catalog look goes by it too.
pub const MARK: &str = "-- staleguard: bumps the version";

/// The longest name that PostgreSQL keeps whole.
const LONGEST_NAME: usize = 63;

/// The trigger of our name on a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    schema: String,
    function: String,
    source: String,
    enabled: bool,
    /// Columns whose change alone does not count.
    arguments: Vec<String>,
}

/// How a trigger of ours stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// As `up` would make it.
    Current,
    /// Switched off.
    Disabled,
    /// Made for other settings or by another version of the program.
    Outdated,
}

impl Standing {
    /// For `status`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Current => "enabled",
            Self::Disabled => "disabled",
            Self::Outdated => "outdated",
        }
    }
}

impl Found {
    /// Its function is one of ours.
    pub fn is_ours(&self) -> bool {
        self.source.contains(MARK)
    }

    /// How it stands, if `wanted` are the columns that do not count.
    pub fn standing(&self, t: &TableSettings, wanted: &[String]) -> Standing {
        if !self.enabled {
            Standing::Disabled
        } else if self.source == body(t) && self.arguments == wanted {
            Standing::Current
        } else {
            Standing::Outdated
        }
    }
}

/// Looks for a trigger of our name on a table.
pub(super) async fn find(client: &impl GenericClient, oid: u32) -> Result<Option<Found>, ServerError> {
    const SELECT: &str = "\
SELECT n.nspname::pg_catalog.text, p.proname::pg_catalog.text, p.prosrc, t.tgenabled IN ('O', 'A'), t.tgargs \
FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid \
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
WHERE t.tgrelid = $1 AND t.tgname = $2";
    let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
        [(&oid, Type::OID), (&TRIGGER, Type::NAME)];
    let Some(row) = client.query_typed_opt(SELECT, &params).await? else { return Ok(None) };
    Ok(Some(Found {
        schema: row.try_get(0)?,
        function: row.try_get(1)?,
        source: row.try_get(2)?,
        enabled: row.try_get(3)?,
        arguments: arguments(row.try_get(4)?),
    }))
}

/// The arguments of a trigger as `pg_trigger.tgargs` keeps them: each ends with a zero byte.
fn arguments(bytes: &[u8]) -> Vec<String> {
    let Some(bytes) = bytes.strip_suffix(&[0]) else { return Vec::new() };
    bytes.split(|b| *b == 0).map(|a| String::from_utf8_lossy(a).into_owned()).collect()
}

/// The columns whose change alone does not count: `ignored_columns`, without the key's, and the generated columns,
/// whose new values a BEFORE trigger does not see.
pub(super) async fn uncounted(
    client: &impl GenericClient,
    t: &TableSettings,
    oid: u32,
) -> Result<Vec<String>, ServerError> {
    const SELECT: &str = "\
SELECT a.attname::pg_catalog.text FROM pg_catalog.pg_attribute a \
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attname::pg_catalog.text <> $3 \
  AND (COALESCE(pg_catalog.to_jsonb(a) ->> 'attgenerated', '') <> '' OR a.attname::pg_catalog.text = ANY ($2) \
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_index x WHERE x.indrelid = $1 AND x.indisprimary \
      AND a.attnum = ANY (x.indkey))) \
ORDER BY a.attnum";
    let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] =
        [(&oid, Type::OID), (&t.ignored_columns, Type::TEXT_ARRAY), (&t.version_column, Type::TEXT)];
    let rows = client.query_typed(SELECT, &params).await?;
    rows.iter().map(|row| row.try_get(0).map_err(ServerError::from)).collect()
}

/// The function's body. Everything in it is qualified: it runs under the search_path of whoever updates the table.
///
/// A row that is the same byte for byte has not changed. Where columns do not count, their old values are put into
/// the new row first: should one not survive the way through jsonb, the row counts as changed.
fn body(t: &TableSettings) -> String {
    let version = quote::ident(&t.version_column);
    format!(
        "\n{MARK} where a statement has changed the row and left the version as it was.\n\
-- Made by `staleguard migrate up --with-trigger`, taken away by `staleguard migrate down`.\n\
DECLARE\n  counted record := NEW;\n\
BEGIN\n\
  IF TG_NARGS OPERATOR(pg_catalog.>) 0 THEN\n\
    counted := pg_catalog.jsonb_populate_record(NEW, (SELECT pg_catalog.jsonb_object_agg(c.key, c.value)\n\
      FROM pg_catalog.jsonb_each(pg_catalog.to_jsonb(OLD)) AS c WHERE c.key OPERATOR(pg_catalog.=) ANY (TG_ARGV)));\n\
  END IF;\n\
  IF OLD OPERATOR(pg_catalog.*<>) counted THEN\n\
    NEW.{version} := OLD.{version} OPERATOR(pg_catalog.+) 1;\n\
  END IF;\n\
  RETURN NEW;\n\
END\n"
    )
}

/// The function's name: the table's behind `staleguard_bump_`, shortened where both do not fit.
fn function_name(table: &str) -> String {
    let name = format!("staleguard_bump_{table}");
    if name.len() <= LONGEST_NAME {
        return name;
    }
    let hash = table.bytes().fold(0x811c_9dc5_u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
    let mut end = LONGEST_NAME - 9;
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}_{hash:08x}", name.get(..end).unwrap_or_default())
}

/// Puts the trigger on a table, in the place of an older one.
pub(super) struct Install<'a> {
    pub table: &'a TableSettings,
    pub oid: u32,
}

impl Work for Install<'_> {
    async fn run(&self, tx: &Transaction<'_>) -> Result<Outcome, Problem> {
        self.install(tx).await.map_err(|e| Problem::server("adding the trigger", e))?;
        Ok(Outcome::AlreadyThere)
    }
}

impl Install<'_> {
    async fn install(&self, tx: &Transaction<'_>) -> Result<(), ServerError> {
        let t = self.table;
        let table = quote::table(t);
        let old = find(tx, self.oid).await?;
        if let Some(old) = old.filter(Found::is_ours) {
            drop_both(tx, t, &old).await?;
        }
        // One that was left behind by a DROP TRIGGER; any other function of the name stands in the way, and the
        // server says so.
        const ORPHAN: &str = "\
SELECT p.prosrc FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
WHERE n.nspname = $1 AND p.proname = $2 AND p.pronargs = 0";
        let name = function_name(&t.name);
        let orphan = tx.query_typed_opt(ORPHAN, &[(&t.schema, Type::NAME), (&name, Type::NAME)]).await?;
        let replace = match orphan {
            Some(row) if row.try_get::<_, String>(0)?.contains(MARK) => "OR REPLACE ",
            _ => "",
        };
        let function = format!("{}.{}", quote::ident(&t.schema), quote::ident(&name));
        let version = quote::ident(&t.version_column);
        let arguments: Vec<String> =
            uncounted(tx, t, self.oid).await?.iter().map(|c| quote::literal(c)).collect();
        let sql = format!(
            "CREATE {replace}FUNCTION {function}() RETURNS pg_catalog.trigger LANGUAGE plpgsql AS {};\
             CREATE TRIGGER {TRIGGER} BEFORE UPDATE ON {table} FOR EACH ROW \
             WHEN (OLD.{version} OPERATOR(pg_catalog.=) NEW.{version}) EXECUTE FUNCTION {function}({})",
            quote::literal(&body(t)),
            arguments.join(", ")
        );
        tx.batch_execute(&sql).await.map_err(ServerError::from)
    }
}

/// Takes the trigger and its function away.
pub(super) struct Remove<'a> {
    pub table: &'a TableSettings,
    pub oid: u32,
}

impl Work for Remove<'_> {
    async fn run(&self, tx: &Transaction<'_>) -> Result<Outcome, Problem> {
        remove(tx, self.table, self.oid).await?;
        Ok(Outcome::AlreadyThere)
    }
}

/// Likewise, inside a transaction that is open already.
pub(super) async fn remove(tx: &Transaction<'_>, t: &TableSettings, oid: u32) -> Result<(), Problem> {
    let wrong = |e: ServerError| Problem::server("dropping the trigger", e);
    match find(tx, oid).await.map_err(wrong)?.filter(Found::is_ours) {
        Some(found) => drop_both(tx, t, &found).await.map_err(wrong),
        None => Ok(()),
    }
}

async fn drop_both(tx: &Transaction<'_>, t: &TableSettings, found: &Found) -> Result<(), ServerError> {
    let sql = format!(
        "DROP TRIGGER {TRIGGER} ON {}; DROP FUNCTION {}.{}()",
        quote::table(t),
        quote::ident(&found.schema),
        quote::ident(&found.function)
    );
    tx.batch_execute(&sql).await.map_err(ServerError::from)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn names_of_functions_fit() {
        assert_eq!(function_name("projects"), "staleguard_bump_projects");
        let long = "ä".repeat(31);
        let (one, other) = (function_name(&long), function_name(&format!("{long}x")));
        assert!(one.len() <= 63 && one.starts_with("staleguard_bump_ää") && one != other, "{one} {other}");
    }

    #[test]
    fn arguments_as_the_catalog_keeps_them() {
        assert_eq!(arguments(b""), Vec::<String>::new());
        assert_eq!(arguments(b"a\0b c\0"), ["a", "b c"]);
        assert_eq!(arguments(b"\0"), [""]);
    }
}
