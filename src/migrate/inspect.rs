//! What is there now: the relation of a configured table and its version column.

use tokio_postgres::GenericClient;
use tokio_postgres::types::Type;

use super::connect::ServerError;
use super::report::Problem;
use super::{RETIRED_MARK, quote, trigger};
use crate::catalog::TableSettings;

/// The column that bears the version column's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Attribute number.
    pub attnum: i16,
    /// As PostgreSQL prints it.
    pub type_name: String,
    pub type_oid: u32,
    pub not_null: bool,
    /// The default's expression; a generated column's generation.
    pub default: Option<String>,
    pub generated: bool,
    pub identity: bool,
    pub comment: Option<String>,
}

impl Found {
    pub fn retired(&self) -> bool {
        self.comment.as_deref().is_some_and(|c| c.contains(RETIRED_MARK))
    }

    /// What keeps it from being the configured version column, if anything does. An adopted column needs
    /// only the right type.
    pub fn fault(&self, t: &TableSettings) -> Option<Problem> {
        let wanted = quote::definition(t);
        if self.type_oid != t.version_type.oid() {
            return Some(Problem::WrongType {
                column: t.version_column.clone(),
                found: self.type_name.clone(),
                wanted,
            });
        }
        if self.generated || self.identity {
            let what = if self.generated { "a generated column" } else { "an identity column" };
            return Some(Problem::Computed { column: t.version_column.clone(), what, wanted });
        }
        if t.adopt {
            return None;
        }
        if !self.not_null {
            return Some(Problem::Nullable { column: t.version_column.clone(), wanted });
        }
        if !self.default.as_deref().is_some_and(default_is_one) {
            let found = self.default.as_ref().map_or("no default".into(), |d| format!("DEFAULT {d}"));
            return Some(Problem::OtherDefault { column: t.version_column.clone(), found, wanted });
        }
        None
    }
}

/// True if a default's expression, as `pg_get_expr` prints it, is the constant one: `1`, `'1'::bigint`.
pub fn default_is_one(expression: &str) -> bool {
    let (constant, cast) = expression.split_once("::").map_or((expression, None), |(c, t)| (c, Some(t)));
    let cast_is_plain = cast.is_none_or(|t| matches!(t, "smallint" | "integer" | "bigint"));
    cast_is_plain && matches!(constant, "1" | "(1)" | "'1'")
}

/// A relation that can bear a version column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Relation {
    pub oid: u32,
    /// The role owns it, or may act as the one that does.
    pub owned: bool,
    pub owner: String,
    pub role: String,
    /// Row security is active for this role.
    pub row_security: bool,
    pub column: Option<Found>,
}

impl Relation {
    /// The role must be able to alter the table.
    pub fn must_be_owned(&self) -> Result<(), Problem> {
        if self.owned {
            return Ok(());
        }
        Err(Problem::NotOwner { role: self.role.clone(), owner: self.owner.clone() })
    }
}

const SELECT: &str = "\
SELECT c.oid, c.relkind::pg_catalog.text, c.relispartition, \
  pg_catalog.pg_has_role(c.relowner, 'USAGE'), pg_catalog.pg_get_userbyid(c.relowner)::pg_catalog.text, \
  current_user::pg_catalog.text, pg_catalog.row_security_active(c.oid), \
  a.attnum, pg_catalog.format_type(a.atttypid, a.atttypmod), a.atttypid, \
  a.attnotnull AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid \
    AND k.contype = 'n' AND k.conkey = ARRAY[a.attnum] AND NOT k.convalidated), \
  pg_catalog.pg_get_expr(d.adbin, d.adrelid), \
  COALESCE(pg_catalog.to_jsonb(a) ->> 'attgenerated', '') <> '', a.attidentity <> '', \
  pg_catalog.col_description(c.oid, a.attnum), \
  (WITH RECURSIVE up(oid, depth) AS (SELECT c.oid, 0 UNION ALL \
     SELECT i.inhparent, up.depth + 1 FROM up JOIN pg_catalog.pg_inherits i ON i.inhrelid = up.oid) \
   SELECT u.oid::pg_catalog.regclass::pg_catalog.text FROM up u ORDER BY u.depth DESC LIMIT 1) \
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = $3 AND a.attnum > 0 \
  AND NOT a.attisdropped \
LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum \
WHERE n.nspname = $1 AND c.relname = $2";

/// Looks at a table. The problems are those that stand against any migration of it.
pub(super) async fn inspect(client: &impl GenericClient, t: &TableSettings) -> Result<Relation, Problem> {
    let wrong = |e: tokio_postgres::Error| Problem::server("looking at the catalog", e);
    let params: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] =
        [(&t.schema, Type::TEXT), (&t.name, Type::TEXT), (&t.version_column, Type::TEXT)];
    let Some(row) = client.query_typed_opt(SELECT, &params).await.map_err(wrong)? else {
        return Err(missing(client, t).await?);
    };
    let kind: String = row.try_get(1).map_err(wrong)?;
    if let Some(kind) = not_a_table(&kind) {
        return Err(Problem::NotATable { kind });
    }
    let is_partition: bool = row.try_get(2).map_err(wrong)?;
    if is_partition {
        let root: Option<String> = row.try_get(15).map_err(wrong)?;
        return Err(Problem::Partition { root: root.unwrap_or_default() });
    }
    let attnum: Option<i16> = row.try_get(7).map_err(wrong)?;
    let column = match attnum {
        None => None,
        Some(attnum) => Some(Found {
            attnum,
            type_name: row.try_get(8).map_err(wrong)?,
            type_oid: row.try_get(9).map_err(wrong)?,
            not_null: row.try_get(10).map_err(wrong)?,
            default: row.try_get(11).map_err(wrong)?,
            generated: row.try_get(12).map_err(wrong)?,
            identity: row.try_get(13).map_err(wrong)?,
            comment: row.try_get(14).map_err(wrong)?,
        }),
    };
    Ok(Relation {
        oid: row.try_get(0).map_err(wrong)?,
        owned: row.try_get(3).map_err(wrong)?,
        owner: row.try_get(4).map_err(wrong)?,
        role: row.try_get(5).map_err(wrong)?,
        row_security: row.try_get(6).map_err(wrong)?,
        column,
    })
}

/// A table of that name elsewhere is worth telling: the schema may have been left out in the settings.
async fn missing(client: &impl GenericClient, t: &TableSettings) -> Result<Problem, Problem> {
    const ELSEWHERE: &str = "\
SELECT n.nspname::pg_catalog.text FROM pg_catalog.pg_class c \
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
WHERE c.relname = $1 AND c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_(toast_)?temp_' ORDER BY 1";
    let rows = client
        .query_typed(ELSEWHERE, &[(&t.name, Type::TEXT)])
        .await
        .map_err(|e| Problem::server("looking at the catalog", e))?;
    let found: Vec<String> = rows
        .iter()
        .filter_map(|r| r.try_get::<_, String>(0).ok())
        .map(|s| format!("{s}.{}", t.name))
        .collect();
    Ok(Problem::Missing { elsewhere: found })
}

fn not_a_table(relkind: &str) -> Option<&'static str> {
    Some(match relkind {
        "r" | "p" => return None,
        "v" => "a view",
        "m" => "a materialized view",
        "f" => "a foreign table",
        "i" | "I" => "an index",
        "S" => "a sequence",
        "c" => "a composite type",
        _ => "no table",
    })
}

/// What would keep the column from being dropped: views, policies, foreign keys on it; not our own trigger.
pub(super) async fn dependents(
    client: &impl GenericClient,
    oid: u32,
    attnum: i16,
) -> Result<Vec<String>, ServerError> {
    const SELECT: &str = "\
SELECT DISTINCT pg_catalog.pg_describe_object(d.classid, d.objid, d.objsubid) FROM pg_catalog.pg_depend d \
WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = $1 \
  AND d.refobjsubid = $2 AND d.deptype = 'n' AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t \
    JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid WHERE d.classid = 'pg_catalog.pg_trigger'::pg_catalog.regclass \
    AND t.oid = d.objid AND t.tgname = $3 AND pg_catalog.strpos(p.prosrc, $4) > 0) ORDER BY 1";
    let rows = client
        .query_typed(
            SELECT,
            &[
                (&oid, Type::OID),
                (&i32::from(attnum), Type::INT4),
                (&trigger::TRIGGER, Type::NAME),
                (&trigger::MARK, Type::TEXT),
            ],
        )
        .await
        .map_err(ServerError::from)?;
    rows.iter().map(|r| r.try_get(0).map_err(ServerError::from)).collect()
}

#[cfg(test)]
mod tests {
    use super::default_is_one;

    #[test]
    fn one_and_nothing_but_one() {
        for yes in ["1", "'1'::bigint", "'1'::smallint", "(1)::bigint", "(1)", "'1'::integer"] {
            assert!(default_is_one(yes), "{yes}");
        }
        for no in ["0", "11", "nextval('s'::regclass)", "1 + 1", "'1'::text", "one()", "- 1", "", "(1 + 0)"] {
            assert!(!default_is_one(no), "{no}");
        }
    }
}
