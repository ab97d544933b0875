//! The look: one statement, run on a client's own connection, that reads all a view needs.
//!
//! The proxy has no login of its own; what it knows of the catalog it reads with a client's privileges, so a
//! view belongs to one role on one database with one start-up search_path.

mod protection;

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;

use super::labels::{IdentityRule, LabelRules};
use super::nested::Nested;
use super::view_table::{self, ViewRow};
use super::views::Seen;
use super::{Column, Mode, Table, TableSettings, VersionType, View};
use crate::sql::prefilter::Prefilter;

use protection::judge;
pub use protection::{TableStatus, Unprotected};

/// The statement. Parameters: schemas, table names and version column names of the tables to protect as three `text[]`
/// of one length; schemas and names of the tables whose point SELECT tells the user as two.
/// Result: rows of (kind, JSON text). It waits for no lock on a table: `pg_get_expr` would, given a relation.
///
/// `reach` follows what writes of each table do elsewhere ([`super::nested`]): from triggers to functions, from what
/// their sources name to tables. Kinds of nodes: `b` the table written, `r` another relation, `f` a function, `x` one
/// that cannot be read. `does` is a set of bits: 4 INSERT, 8 DELETE, 16 UPDATE, 32 TRUNCATE, 64 sets the version itself.
///
/// `mover` names functions whose source sets `search_path` or the role, or a setting that it does not spell out, and
/// those that name these; what a function sets by a clause of its own ends with it, and stands in no source. They are
/// read only where the functions are not those of the fingerprint given ($6).
///
/// The last conditions of `src` and `reach` are always true: they keep the planner from estimating a cost above `jit_above_cost`, at which the
/// server would compile the statement for seconds.
pub const LOOK_SQL: &str = include_str!("look.sql");

/// Run in two parts: the first turns `jit` off for what is planned next, the second puts it back as it was.
///
/// With `enable_seqscan = off` and the like in a session, or in a database of very many tables, the planner puts the
/// cost of the look above `jit_above_cost` whatever it says, and the server would compile it for seconds in which it
/// cannot even be cancelled. The array is made once, before the first part.
pub const WITHOUT_JIT_SQL: &str = "SELECT pg_catalog.set_config('jit', s.value, true), NULL FROM (SELECT \
    pg_catalog.unnest(ARRAY['off', pg_catalog.current_setting('jit')]) AS value OFFSET 0) AS s";

/// Asks which server a connection goes to, as the look does too: system identifier and timeline.
pub const SERVER_SQL: &str = "SELECT \
    CASE WHEN pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE') \
    THEN (SELECT s.system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system() s) END, \
    CASE WHEN NOT pg_catalog.pg_is_in_recovery() \
    THEN pg_catalog.\"left\"(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 8) END";

/// Why a look could not be used.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// A row did not have the expected shape.
    #[error("the catalog look answered a row that could not be read: {0}")]
    Row(String),
}

/// A look's whole answer.
#[derive(Debug)]
pub struct Look {
    /// The view; its generation is not yet set.
    pub view: View,
    /// One per configured table, in configured order.
    pub tables: Vec<TableStatus>,
    /// Database name as the server says it.
    pub database: String,
    /// Role that looked.
    pub role: String,
    /// A temporary table of the session has a protected relation's name: names mean this to nobody else.
    pub shadowed: bool,
    /// The role may call `set_config`.
    pub may_set: bool,
    /// The session has another search_path than it began with: likewise.
    pub moved: bool,
    /// The settings of role and database that decide how names resolve in a session that begins now.
    pub defaults: String,
    /// Which server, as far as it tells: system identifier and timeline.
    pub server: (Option<String>, Option<String>),
    /// Fingerprint of the functions there.
    pub functions: Arc<str>,
    /// It was taken under a snapshot of REPEATABLE READ or above: not to be shared.
    pub frozen: bool,
}

#[derive(Default, Deserialize)]
struct FunctionsRow {
    print: Box<str>,
    movers: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct TableRow {
    ord: usize,
    oid: u32,
    root: u32,
    schema: String,
    name: String,
    kind: String,
    visible: bool,
    columns: Option<Vec<(i16, String, u32)>>,
    key: Option<Vec<i16>>,
    version: Option<VersionRow>,
    statement_triggers: bool,
    delete_rules: bool,
    version_triggers: Option<bool>,
    /// Columns that our own trigger does not count, where it is there.
    bump: Option<Vec<String>>,
    generated: Option<Vec<String>>,
    before_triggers: Option<bool>,
    late_triggers: bool,
    rules: bool,
    row_security: bool,
    parent: bool,
    may_read: Option<bool>,
    may_read_all: bool,
    may_write: Option<bool>,
}

#[derive(Deserialize)]
struct VersionRow {
    attnum: i16,
    #[serde(rename = "type")]
    type_oid: u32,
    notnull: bool,
    default: Option<String>,
    note: Option<String>,
}

/// A table whose point SELECT tells the user.
#[derive(Deserialize)]
struct IdentityRow {
    ord: usize,
    oid: u32,
    schema: String,
    name: String,
    visible: bool,
    columns: Option<Vec<(i16, String, u32)>>,
}

impl IdentityRow {
    /// The table; the protected one where it is that.
    fn table(&self, view: &View) -> Arc<Table> {
        if let Some(table) = view.table_by_oid(self.oid) {
            return table.clone();
        }
        let column = |(attnum, name, type_oid): &(i16, String, u32)| Column {
            attnum: *attnum,
            name: name.as_str().into(),
            type_oid: *type_oid,
            slot: slot(*attnum),
        };
        let columns = self.columns.iter().flatten().map(column).collect();
        Arc::new(Table::unprotected(self.oid, &self.schema, &self.name, columns, self.visible))
    }
}

#[derive(Deserialize)]
struct SessionRow {
    database: String,
    role: String,
    isolation: String,
    shadowed: bool,
    moved: bool,
    system: Option<String>,
    timeline: Option<String>,
    defaults: Option<String>,
    may_set: bool,
}

impl TableRow {
    /// It is the table of these settings, and was found as a partition of the table of other ones.
    fn is_part_of_another(&self, settings: &TableSettings) -> bool {
        self.oid != self.root && self.schema == settings.schema && self.name == settings.name
    }
}

/// The parameters of [`LOOK_SQL`]: arrays in PostgreSQL's array text form, and what is `known` of functions.
pub fn parameters(tables: &[Arc<TableSettings>], labels: &LabelRules, known: Option<&Seen>) -> [String; 6] {
    let of_tables = |value: fn(&TableSettings) -> &str| array(tables.iter().map(|t| value(t)));
    let of_rules = |value: fn(&IdentityRule) -> &str| array(labels.identities.iter().map(value));
    [
        of_tables(|t| &t.schema),
        of_tables(|t| &t.name),
        of_tables(|t| &t.version_column),
        of_rules(|r| &r.schema),
        of_rules(|r| &r.table),
        known.map_or(String::new(), |seen| seen.functions.to_string()),
    ]
}

fn array<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let items: Vec<String> =
        texts.map(|text| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))).collect();
    format!("{{{}}}", items.join(","))
}

/// Reads the rows (kind, JSON) of a look. `known`: what it was told is known.
pub fn read(
    rows: &[(String, Option<String>)],
    settings: &[Arc<TableSettings>],
    labels: &Arc<LabelRules>,
    known: Option<&Seen>,
) -> Result<Look, LookError> {
    let mut found: Vec<TableRow> = Vec::new();
    let mut view = View::default();
    let mut views: Vec<(String, String, u32, u32)> = Vec::new();
    let mut simple: Vec<ViewRow> = Vec::new();
    let mut nested: Vec<(u32, u32, u32)> = Vec::new();
    let mut identities: Vec<IdentityRow> = Vec::new();
    let mut session: Option<SessionRow> = None;
    let mut functions = FunctionsRow::default();
    for (kind, json) in rows {
        let Some(json) = json.as_deref() else { continue };
        match kind.as_str() {
            "table" => found.push(parse(json)?),
            "aggregates" => {
                view.aggregates =
                    parse::<Vec<String>>(json)?.into_iter().map(String::into_boxed_str).collect();
            }
            "functions" => functions = parse(json)?,
            "views" => views = parse(json)?,
            "view" => simple.push(parse(json)?),
            "nested" => nested = parse(json)?,
            "identity" => identities.push(parse(json)?),
            "session" => session = Some(parse(json)?),
            other => return Err(LookError::Row(other.to_string())),
        }
    }
    let session = session.ok_or_else(|| LookError::Row("no row about the session".to_string()))?;
    view.movers = match functions.movers {
        Some(names) => names.into_iter().map(String::into_boxed_str).collect(),
        None => {
            let known = known.filter(|seen| *seen.functions == *functions.print);
            known.ok_or_else(|| LookError::Row("no row about functions".to_string()))?.view.movers.clone()
        }
    };
    let mut statuses = Vec::with_capacity(settings.len());
    let mut root_names: HashMap<u32, Box<str>> = HashMap::new();
    // Those that turn out to be protected.
    let roots: Vec<u32> = settings
        .iter()
        .enumerate()
        .filter_map(|(index, table)| {
            let root = found.iter().find(|r| r.ord == index + 1 && r.oid == r.root)?;
            judge(Some(root), table).is_none().then_some(root.oid)
        })
        .collect();
    nested.retain(|(_, _, root)| *root == 0 || roots.contains(root));
    for (index, table) in settings.iter().enumerate() {
        let mut members: Vec<&TableRow> = found.iter().filter(|r| r.ord == index + 1).collect();
        // The root first: its columns give the slots.
        members.sort_by_key(|r| (r.oid != r.root, r.oid));
        let root = members.first().copied();
        let mut unprotected = judge(root, table);
        let mut note = None;
        // A partition of another configured table is one of that one's members.
        if let (None, Some(part)) = (root, found.iter().find(|r| r.is_part_of_another(table)))
            && let Some(settings) = part.ord.checked_sub(1).and_then(|n| settings.get(n))
        {
            let root = found.iter().find(|r| r.oid == part.root && r.ord == part.ord);
            unprotected = judge(root, settings);
            note = unprotected.is_none().then_some(
                "a partition of another table that is configured: the settings of that one hold for it",
            );
        }
        if unprotected.is_none() && root.is_some() {
            let of_root = nested.iter().filter(|n| root.is_some_and(|r| r.oid == n.0));
            let nested = Nested::new(of_root.map(|n| (n.1, n.2)), &roots);
            for row in &members {
                if let Some(mut made) = make_table(row, root, table, &nested) {
                    if made.oid == made.root_oid {
                        // A write of the root may go to any partition.
                        made.version_triggers = members.iter().any(|m| m.version_triggers == Some(true));
                        made.late_triggers = members.iter().any(|m| m.late_triggers);
                        made.rules |= members.iter().any(|m| m.kind == "f");
                    }
                    if made.key.is_empty() {
                        note = Some("no primary key: its writes are bumped, never checked");
                    } else if !made.settings.ignored_columns.iter().all(|name| may_ignore(&made, name)) {
                        note = Some(
                            "a name of ignored_columns is no column of it, or one of its key, or the version",
                        );
                    }
                    root_names.insert(made.oid, made.root_name.clone());
                    view.by_oid.insert(made.oid, view.tables.len());
                    view.tables.push(Arc::new(made));
                }
            }
        }
        statuses.push(TableStatus {
            table: format!("{}.{}", table.schema, table.name),
            unprotected,
            mode: table.mode,
            note,
        });
    }
    for made in view_table::make(&simple, &view.tables) {
        view.by_oid.insert(made.table.oid, view.tables.len());
        view.tables.push(Arc::new(made.table));
    }
    for (schema, name, root, oid) in views {
        if view.by_oid.contains_key(&oid) {
            continue;
        }
        if let Some(root_name) = root_names.get(&root) {
            view.views.push((schema.into(), name.into(), root_name.clone()));
        }
    }
    view.labels = labels.clone();
    view.identities = (0..labels.identities.len())
        .map(|n| identities.iter().find(|row| row.ord == n + 1).map(|row| row.table(&view)))
        .collect();
    view.prefilter = prefilter(&view, settings);
    Ok(Look {
        view,
        tables: statuses,
        database: session.database,
        role: session.role,
        shadowed: session.shadowed,
        may_set: session.may_set,
        moved: session.moved,
        functions: functions.print.into(),
        server: (session.system, session.timeline),
        defaults: session.defaults.unwrap_or_default(),
        frozen: !matches!(session.isolation.as_str(), "read committed" | "read uncommitted"),
    })
}

fn parse<T: for<'de> Deserialize<'de>>(json: &str) -> Result<T, LookError> {
    serde_json::from_str(json).map_err(|e| LookError::Row(e.to_string()))
}

/// The configured names count also where they are not protected: a statement prepared now may name a table that
/// comes under protection later.
fn prefilter(view: &View, settings: &[Arc<TableSettings>]) -> Prefilter {
    let on = settings.iter().filter(|t| t.mode != Mode::Off);
    let mut words: Vec<String> = on.map(|t| t.name.clone()).collect();
    words.extend(view.tables.iter().map(|t| t.name.to_string()));
    words.extend(view.views.iter().map(|(_, name, _)| name.to_string()));
    words.extend(view.labels.identities.iter().map(|rule| rule.table.clone()));
    words.extend(view.movers.iter().map(|name| name.to_string()));
    words.sort();
    words.dedup();
    Prefilter::new(words)
}

fn may_ignore(table: &Table, name: &str) -> bool {
    let position = table.columns.iter().position(|c| &*c.name == name);
    position.is_some_and(|i| i != table.version && !table.key.contains(&i))
}

/// Slots follow attribute numbers, which stay when other columns are dropped: what is known of a column must not
/// become another's.
fn slot(attnum: i16) -> usize {
    usize::try_from(attnum).unwrap_or_default().saturating_sub(1)
}

fn make_table(
    row: &TableRow,
    root: Option<&TableRow>,
    settings: &Arc<TableSettings>,
    nested: &Arc<Nested>,
) -> Option<Table> {
    let root = root?;
    let root_columns = root.columns.as_deref().unwrap_or_default();
    let slot_of: HashMap<&str, usize> = root_columns.iter().map(|c| (c.1.as_str(), slot(c.0))).collect();
    let columns: Vec<Column> = row
        .columns
        .iter()
        .flatten()
        .map(|(attnum, name, type_oid)| {
            Some(Column {
                attnum: *attnum,
                name: name.as_str().into(),
                type_oid: *type_oid,
                slot: *slot_of.get(name.as_str())?,
            })
        })
        .collect::<Option<_>>()?;
    // What our own trigger counts, the proxy has to count too.
    let counted = |name: &str| row.bump.as_ref().is_some_and(|not| !not.iter().any(|n| n == name));
    let ignored = columns
        .iter()
        .filter(|c| settings.ignored_columns.iter().any(|n| *n == *c.name) && !counted(&c.name))
        .map(|c| c.slot)
        .collect();
    let version = row.version.as_ref()?;
    let position = |attnum: i16| columns.iter().position(|c| c.attnum == attnum);
    let version_index = position(version.attnum)?;
    // A partition's own primary key is its root's, in the root's order: take the root's by name.
    let root_key: Vec<&str> = root
        .key
        .iter()
        .flatten()
        .filter_map(|n| root_columns.iter().find(|c| c.0 == *n).map(|c| c.1.as_str()))
        .collect();
    let key: Vec<usize> =
        root_key.iter().filter_map(|n| columns.iter().position(|c| &*c.name == *n)).collect();
    Some(Table {
        oid: row.oid,
        root_oid: root.oid,
        schema: row.schema.as_str().into(),
        name: row.name.as_str().into(),
        root_name: settings.name.as_str().into(),
        entity: settings.entity.as_str().into(),
        version: version_index,
        version_type: settings.version_type,
        key,
        columns,
        is_view: false,
        visible: row.visible,
        statement_triggers: row.statement_triggers,
        version_triggers: row.version_triggers.unwrap_or(false),
        ignored_may_bump: row.bump.is_some()
            && (row.before_triggers == Some(true)
                || row.generated.iter().flatten().any(|name| counted(name))),
        nested: nested.clone(),
        delete_rules: row.delete_rules,
        late_triggers: row.late_triggers,
        rules: row.rules,
        row_security: row.row_security,
        part: row.oid != root.oid,
        parent: row.parent,
        may_read: row.may_read.unwrap_or(false),
        may_read_all: row.may_read_all,
        may_write: row.may_write.unwrap_or(false),
        ignored,
        settings: settings.clone(),
    })
}

impl VersionType {
    /// The type with this OID.
    pub fn from_oid(oid: u32) -> Option<Self> {
        [Self::Int2, Self::Int4, Self::Int8].into_iter().find(|t| t.oid() == oid)
    }
}
