//! The protected tables as the server has them, for one role on one database.

pub mod nested;
mod view_table;
pub mod views;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::sql::columns::ColumnSet;
use crate::sql::prefilter::Prefilter;

pub mod labels;
pub mod look;

/// Integer type of a version column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionType {
    /// `smallint`.
    Int2,
    /// `integer`.
    Int4,
    /// `bigint`.
    Int8,
}

impl VersionType {
    /// The type's name as used in a qualified cast.
    pub fn sql_name(self) -> &'static str {
        match self {
            Self::Int2 => "int2",
            Self::Int4 => "int4",
            Self::Int8 => "int8",
        }
    }

    /// The lowest value, which no version has.
    pub fn lowest(self) -> i64 {
        match self {
            Self::Int2 => i16::MIN.into(),
            Self::Int4 => i32::MIN.into(),
            Self::Int8 => i64::MIN,
        }
    }

    /// The type's OID in `pg_type`.
    pub fn oid(self) -> u32 {
        match self {
            Self::Int2 => 21,
            Self::Int4 => 23,
            Self::Int8 => 20,
        }
    }
}

/// One column of a protected table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Attribute number in this very relation (`pg_attribute.attnum`).
    pub attnum: i16,
    /// Name as stored, without quotes.
    pub name: Box<str>,
    /// Type OID; 0 if values that differ can be equal (a nondeterministic collation).
    pub type_oid: u32,
    /// Attribute number in the root table, less one; [`crate::sql::columns::ColumnSet`] counts in slots.
    pub slot: usize,
}

/// A protected relation: a table, a partition of one, or a view that is as good as one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// OID of this relation.
    pub oid: u32,
    /// OID of the partition root (its own OID where it is no partition). Observations are kept under it.
    pub root_oid: u32,
    /// Schema name.
    pub schema: Box<str>,
    /// Relation name.
    pub name: Box<str>,
    /// Name of the configured (root) table: the label of metrics, `projects`.
    pub root_name: Box<str>,
    /// Entity type: singular name, `project`.
    pub entity: Box<str>,
    /// Live columns in attribute order.
    pub columns: Vec<Column>,
    /// Indexes into `columns` of the primary key, in key order.
    pub key: Vec<usize>,
    /// Index into `columns` of the version column.
    pub version: usize,
    /// Type of the version column.
    pub version_type: VersionType,
    /// It is an automatically updatable view of the table of this root, which shows key and version. No hidden columns go
    /// into its reads, and it has no system columns.
    pub is_view: bool,
    /// The unqualified name finds this relation in the session's search_path.
    pub visible: bool,
    /// Has a statement-level UPDATE or DELETE trigger: a write of zero rows is not without effect.
    pub statement_triggers: bool,
    /// Has a rule for DELETE: which rows go, and what else happens, is not the statement's to say.
    pub delete_rules: bool,
    /// A row trigger of its UPDATE that is not ours mentions the version column: what a write leaves there is not
    /// certain.
    pub version_triggers: bool,
    /// It has the trigger of `staleguard migrate up --with-trigger`, and beside it a BEFORE trigger of its own, or a
    /// generated column that is newer: a write of ignored columns alone may be bumped for what those change.
    pub ignored_may_bump: bool,
    /// What writes of it do to other tables, by triggers and foreign keys.
    pub nested: Arc<nested::Nested>,
    /// A trigger that runs once the row is written may write it again: what a RETURNING shows of the version is not
    /// what the statement leaves.
    pub late_triggers: bool,
    /// A rule rewrites its UPDATE or DELETE, or a partition is a foreign table: a RETURNING may fail what passes without one.
    pub rules: bool,
    /// Row security applies to the role.
    pub row_security: bool,
    /// It is a partition: a row with this key may be in another one.
    pub part: bool,
    /// Partitions or children hold rows of it, which ONLY leaves out.
    pub parent: bool,
    /// The role may SELECT key and version.
    pub may_read: bool,
    /// The role may SELECT the whole table (system columns are not granted by column).
    pub may_read_all: bool,
    /// The role may UPDATE the version.
    pub may_write: bool,
    /// Columns (slots) whose change neither checks nor bumps, if nothing else is changed (`ignored_columns`).
    pub ignored: ColumnSet,
    /// The table's settings.
    pub settings: Arc<TableSettings>,
}

impl Table {
    /// The version column.
    pub fn version_column(&self) -> Option<&Column> {
        self.columns.get(self.version)
    }

    /// The key's columns, in key order.
    pub fn key_columns(&self) -> impl Iterator<Item = &Column> {
        self.key.iter().filter_map(|i| self.columns.get(*i))
    }

    /// Schema, table and version column as errors name them: of the table itself, where this is a view.
    pub fn reported(&self) -> (&str, &str, &str) {
        let version = self.version_column().map_or("", |c| &*c.name);
        match self.is_view {
            true => (&self.settings.schema, &self.settings.name, &self.settings.version_column),
            false => (&self.schema, &self.name, version),
        }
    }

    /// Triggers may leave another version than the one that a write sets.
    pub fn moves_versions(&self) -> bool {
        self.version_triggers || self.late_triggers
    }

    /// Column by stored name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| &*c.name == name)
    }

    /// Column by attribute number.
    pub fn column_by_attnum(&self, attnum: i16) -> Option<&Column> {
        self.columns.iter().find(|c| c.attnum == attnum)
    }
}

/// What the proxy does with the statements of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Checks writes and bumps versions.
    #[default]
    Enforce,
    /// Bumps versions, and reports what `Enforce` would have refused.
    Observe,
    /// Leaves its statements alone, as if the table was not configured.
    Off,
}

impl Mode {
    /// Its name in the settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
            Self::Off => "off",
        }
    }
}

/// What becomes of a blind write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Blind {
    /// It lands, bumps the version, and is counted.
    #[default]
    Allow,
    /// It is refused: who writes a row must have read it.
    Reject,
}

/// What a write of an observed row that is gone answers in the predicate form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnDeleted {
    /// A conflict whose actual version is null.
    #[default]
    Conflict,
    /// The server's own `UPDATE 0`.
    Pass,
}

/// Zero rows of a write that guards itself (`WHERE id = 1 AND version = 5`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ExplicitPredicate {
    /// The server's own `UPDATE 0`: version-aware ORMs raise their own stale-object error.
    #[default]
    Passthrough,
    /// The conflict error.
    Error,
}

/// How much of the present row the conflict error's DETAIL shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CurrentState {
    /// Present values of the columns that the refused statement set.
    #[default]
    Written,
    /// All columns.
    All,
    /// Nothing.
    None,
}

/// Settings of one protected table, defaults applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSettings {
    /// Schema, `public` where the entry names none.
    pub schema: String,
    /// Table name.
    pub name: String,
    /// Entity type (singular).
    pub entity: String,
    /// Name of the version column.
    pub version_column: String,
    /// Its type as configured: a column of another type is not ours.
    pub version_type: VersionType,
    /// Protect although the column is not `NOT NULL DEFAULT 1`.
    pub adopt: bool,
    /// See [`Mode`].
    pub mode: Mode,
    /// See [`Blind`].
    pub blind: Blind,
    /// A DELETE is checked; false: it passes, counted.
    pub check_delete: bool,
    /// Columns whose change, if nothing else is changed, is nobody's loss.
    pub ignored_columns: Vec<String>,
    /// In scope `context`, a `SELECT .. FOR UPDATE` counts for the unit of work that makes it.
    pub for_update_refreshes: bool,
    /// See [`OnDeleted`].
    pub on_deleted: OnDeleted,
    /// See [`ExplicitPredicate`].
    pub explicit_predicate: ExplicitPredicate,
    /// See [`CurrentState`].
    pub current_state: CurrentState,
    /// Glob patterns (`*`) of column names never shown in a conflict error.
    pub redact_columns: Vec<String>,
}

/// What one look at the catalog found, for one role on one database. Immutable.
#[derive(Debug, Default)]
pub struct View {
    /// Grows with every look that found something else than the one before.
    pub generation: u64,
    /// Protected relations.
    pub tables: Vec<Arc<Table>>,
    /// Index into `tables` by relation OID.
    pub by_oid: HashMap<u32, usize>,
    /// Names of aggregate functions (`pg_proc.prokind = 'a'`), lower case.
    pub aggregates: HashSet<Box<str>>,
    /// Names of functions and procedures whose source says that a call may set `search_path` or the role.
    pub movers: HashSet<Box<str>>,
    /// Names of other views that select from a protected relation, as (schema, name, root table name).
    pub views: Vec<(Box<str>, Box<str>, Box<str>)>,
    /// What statements are listened for.
    pub labels: Arc<labels::LabelRules>,
    /// The tables of its identity rules, in their order; `None`: no such table or column.
    pub identities: Vec<Option<Arc<Table>>>,
    /// Tells whether a text names anything of the above.
    pub prefilter: Prefilter,
}

impl View {
    /// Holds the same as `other`, generation aside.
    pub fn same_as(&self, other: &Self) -> bool {
        self.tables == other.tables
            && self.views == other.views
            && self.aggregates == other.aggregates
            && self.movers == other.movers
            && self.labels == other.labels
            && self.identities == other.identities
    }

    /// Relation by OID.
    pub fn table_by_oid(&self, oid: u32) -> Option<&Arc<Table>> {
        self.by_oid.get(&oid).and_then(|i| self.tables.get(*i))
    }

    /// Resolves a name as the server would: with a schema exactly, without one by visibility.
    pub fn resolve(&self, schema: Option<&str>, name: &str) -> Option<&Arc<Table>> {
        self.tables.iter().find(|t| {
            &*t.name == name
                && match schema {
                    Some(s) => &*t.schema == s,
                    None => t.visible,
                }
        })
    }

    /// A table that the name may mean once other schemas are looked at.
    pub fn of_name(&self, name: &str) -> Option<&Arc<Table>> {
        self.tables.iter().find(|t| &*t.name == name)
    }
}
