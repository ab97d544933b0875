//! The protected tables: the built-in thirteen, or the ones that the configuration names in their place.

use std::sync::Arc;

use super::origin::{ConfigError, Origin};
use super::value::{self, Node, Raw};
use crate::catalog::{Blind, CurrentState, ExplicitPredicate, Mode, OnDeleted, TableSettings, VersionType};

/// The built-in tables of schema `public`, with their entity types.
pub const BUILT_IN: [(&str, &str); 13] = [
    ("portfolios", "portfolio"),
    ("programs", "program"),
    ("projects", "project"),
    ("project_phases", "project_phase"),
    ("resources", "resource"),
    ("worker_types", "worker_type"),
    ("workers", "worker"),
    ("resource_assignments", "resource_assignment"),
    ("rates", "rate"),
    ("actuals", "actual"),
    ("users", "user"),
    ("user_roles", "user_role"),
    ("scope_assignments", "scope_assignment"),
];

/// Column names that a conflict error never shows unless an entry says otherwise.
pub const REDACTED: [&str; 6] = ["*password*", "*passwd*", "*_hash", "*secret*", "*token*", "*salt*"];

/// What `tables` allows.
pub const ALLOWED: &str = "table names (projects, app.orders), or entries like [tables.projects] or \
     [tables.\"app.orders\"], each part of a name 1 to 63 bytes long and spelled as PostgreSQL stores it";

/// One setting of a table's entry.
pub struct TableKey {
    /// Its name.
    pub name: &'static str,
    /// Its default as one would write it.
    pub default: &'static str,
    /// What is allowed, as the end of "expected ..".
    pub allowed: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// Reads the value into the entry; `None` where it is not allowed.
    pub set: fn(&mut TableSettings, &Raw) -> Option<()>,
}

/// All settings of a table's entry but `name`, which only the array form has.
pub const TABLE_KEYS: &[TableKey] = &[
    TableKey {
        name: "entity",
        default: "(the table's name in the singular)",
        allowed: "text that is not empty",
        meaning: "Entity type: how errors, log events and metrics call one row",
        set: |t, raw| value::text(raw).map(|v| t.entity = v),
    },
    TableKey {
        name: "version_column",
        default: "version",
        allowed: "a column name of 1 to 63 bytes, spelled as PostgreSQL stores it",
        meaning: "Name of the version column",
        set: |t, raw| value::text(raw).filter(|v| v.len() <= 63).map(|v| t.version_column = v),
    },
    TableKey {
        name: "version_type",
        default: "int4",
        allowed: "int2, int4 or int8 (or smallint, integer, bigint)",
        meaning: "Type of the version column: a column of another type is not taken for one",
        set: |t, raw| version_type(raw).map(|v| t.version_type = v),
    },
    TableKey {
        name: "adopt",
        default: "false",
        allowed: "true or false",
        meaning: "Protect the table although its version column is not NOT NULL DEFAULT 1",
        set: |t, raw| value::boolean(raw).map(|v| t.adopt = v),
    },
    TableKey {
        name: "mode",
        default: "enforce",
        allowed: value::MODES,
        meaning: "What is done with its statements; the global `mode` where it does not say",
        set: |t, raw| value::mode(raw).map(|v| t.mode = v),
    },
    TableKey {
        name: "blind",
        default: "allow",
        allowed: value::BLIND,
        meaning: "Writes of rows that the connection has not read: they land and are counted, or are refused; the global `blind` where it does not say",
        set: |t, raw| value::blind(raw).map(|v| t.blind = v),
    },
    TableKey {
        name: "check_delete",
        default: "true",
        allowed: "true or false",
        meaning: "A DELETE based on a stale read is refused; false: it passes and is counted",
        set: |t, raw| value::boolean(raw).map(|v| t.check_delete = v),
    },
    TableKey {
        name: "ignored_columns",
        default: "[]",
        allowed: "column names, spelled as PostgreSQL stores them",
        meaning: "A write that sets none but these columns is neither checked nor does it bump the version",
        set: |t, raw| names(raw).map(|v| t.ignored_columns = v),
    },
    TableKey {
        name: "for_update_refreshes",
        default: "false",
        allowed: "true or false",
        meaning: "In scope context, a SELECT .. FOR UPDATE counts for the unit of work that makes it: for apps that compute under the lock",
        set: |t, raw| value::boolean(raw).map(|v| t.for_update_refreshes = v),
    },
    TableKey {
        name: "on_deleted",
        default: "conflict",
        allowed: "conflict or pass",
        meaning: "A write of an observed row that is gone: the conflict error, or the server's own UPDATE 0",
        set: |t, raw| {
            t.on_deleted = match value::text(raw)?.as_str() {
                "conflict" => OnDeleted::Conflict,
                "pass" => OnDeleted::Pass,
                _ => return None,
            };
            Some(())
        },
    },
    TableKey {
        name: "explicit_predicate",
        default: "passthrough",
        allowed: "passthrough or error",
        meaning: "Zero rows of a write that names the version in its own WHERE: the server's own UPDATE 0, or the conflict error",
        set: |t, raw| {
            t.explicit_predicate = match value::text(raw)?.as_str() {
                "passthrough" => ExplicitPredicate::Passthrough,
                "error" => ExplicitPredicate::Error,
                _ => return None,
            };
            Some(())
        },
    },
    TableKey {
        name: "current_state",
        default: "written",
        allowed: "written, all or none",
        meaning: "Which present values the conflict error shows: of the columns that the refused statement set, all, none",
        set: |t, raw| {
            t.current_state = match value::text(raw)?.as_str() {
                "written" => CurrentState::Written,
                "all" => CurrentState::All,
                "none" => CurrentState::None,
                _ => return None,
            };
            Some(())
        },
    },
    TableKey {
        name: "redact_columns",
        default: "[\"*password*\", \"*passwd*\", \"*_hash\", \"*secret*\", \"*token*\", \"*salt*\"]",
        allowed: "column names, * standing for any characters",
        meaning: "Columns that a conflict error never shows; takes the place of the default list",
        set: |t, raw| names(raw).map(|v| t.redact_columns = v),
    },
];

/// A list that may be empty.
fn names(raw: &Raw) -> Option<Vec<String>> {
    let none = matches!(raw, Raw::List(items) if items.is_empty());
    if none { Some(Vec::new()) } else { value::list(raw, value::text) }
}

fn version_type(raw: &Raw) -> Option<VersionType> {
    match value::text(raw)?.as_str() {
        "int2" | "smallint" => Some(VersionType::Int2),
        "int4" | "integer" => Some(VersionType::Int4),
        "int8" | "bigint" => Some(VersionType::Int8),
        _ => None,
    }
}

/// What a table's entry inherits from the global settings of the same names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TableDefaults {
    /// `mode`.
    pub mode: Mode,
    /// `blind`.
    pub blind: Blind,
}

/// The built-in tables.
pub fn built_in(inherited: TableDefaults) -> Vec<Arc<TableSettings>> {
    let entry = |name: &str| Arc::new(defaults("public".to_owned(), name.to_owned(), inherited));
    BUILT_IN.iter().map(|(name, _)| entry(name)).collect()
}

/// A table's entry with nothing set.
pub fn defaults(schema: String, name: String, inherited: TableDefaults) -> TableSettings {
    TableSettings {
        entity: singular(&name),
        schema,
        name,
        version_column: "version".to_owned(),
        version_type: VersionType::Int4,
        adopt: false,
        mode: inherited.mode,
        blind: inherited.blind,
        check_delete: true,
        ignored_columns: Vec::new(),
        for_update_refreshes: false,
        on_deleted: OnDeleted::default(),
        explicit_predicate: ExplicitPredicate::default(),
        current_state: CurrentState::default(),
        redact_columns: REDACTED.map(str::to_owned).to_vec(),
    }
}

/// `companies` -> `company`, `orders` -> `order`, `address` stays. The thirteen have theirs written down.
fn singular(name: &str) -> String {
    if let Some((_, entity)) = BUILT_IN.iter().find(|(table, _)| *table == name) {
        return (*entity).to_owned();
    }
    match name.strip_suffix("ies") {
        Some(stem) if stem.len() > 1 => format!("{stem}y"),
        _ if name.ends_with("ss") => name.to_owned(),
        _ => name.strip_suffix('s').filter(|stem| !stem.is_empty()).unwrap_or(name).to_owned(),
    }
}

/// Reads the whole `tables` setting. `origin` gives the place of a line of the file; flags and variables have no
/// lines and ignore it.
pub fn read(
    node: &Node,
    origin: &dyn Fn(usize) -> Origin,
    inherited: TableDefaults,
) -> Result<Vec<Arc<TableSettings>>, ConfigError> {
    let mut tables: Vec<Arc<TableSettings>> = Vec::new();
    for (name, line, entry) in entries(node, origin)? {
        let (schema, table) =
            split_name(&name).ok_or_else(|| invalid("tables", &Raw::Text(name.clone()), origin(line)))?;
        let mut settings = defaults(schema, table, inherited);
        for (key, value) in entry {
            apply(&mut settings, &name, key, value, origin)?;
        }
        if tables.iter().any(|t| t.schema == settings.schema && t.name == settings.name) {
            return Err(ConfigError::Twice {
                table: format!("{}.{}", settings.schema, settings.name),
                origin: origin(line),
            });
        }
        tables.push(Arc::new(settings));
    }
    if tables.is_empty() {
        return Err(invalid("tables", &node.raw, origin(node.line)));
    }
    Ok(tables)
}

type Entry<'a> = (String, usize, Vec<(&'a String, &'a Node)>);

/// The entries of all forms: names in text or in an array, tables in an array, a table of tables.
fn entries<'a>(node: &'a Node, origin: &dyn Fn(usize) -> Origin) -> Result<Vec<Entry<'a>>, ConfigError> {
    match &node.raw {
        Raw::Text(text) => {
            Ok(text.split(',').map(|name| (name.trim().to_owned(), node.line, Vec::new())).collect())
        }
        Raw::List(items) => items
            .iter()
            .map(|item| match &item.raw {
                Raw::Text(name) => Ok((name.trim().to_owned(), item.line, Vec::new())),
                Raw::Table(fields) => {
                    let named = fields.iter().find(|(key, _)| key == "name");
                    let name = named.and_then(|(_, v)| value::text(&v.raw)).ok_or_else(|| {
                        let given = named.map_or(&item.raw, |(_, v)| &v.raw);
                        ConfigError::Invalid {
                            key: "tables.name".to_owned(),
                            value: given.to_string(),
                            origin: origin(named.map_or(item.line, |(_, v)| v.line)),
                            allowed: "name = \"table\" or \"schema.table\" in each [[tables]] entry"
                                .to_owned(),
                        }
                    })?;
                    let rest = fields.iter().filter(|(key, _)| key != "name").map(|(k, v)| (k, v));
                    Ok((name, item.line, rest.collect()))
                }
                other => Err(invalid("tables", other, origin(item.line))),
            })
            .collect(),
        Raw::Table(fields) => fields
            .iter()
            .map(|(name, item)| match &item.raw {
                Raw::Table(fields) => {
                    Ok((name.clone(), item.line, fields.iter().map(|(k, v)| (k, v)).collect()))
                }
                other => Err(invalid(&format!("tables.{name}"), other, origin(item.line))),
            })
            .collect(),
        other => Err(invalid("tables", other, origin(node.line))),
    }
}

fn apply(
    settings: &mut TableSettings,
    table: &str,
    key: &str,
    node: &Node,
    origin: &dyn Fn(usize) -> Origin,
) -> Result<(), ConfigError> {
    let path = format!("tables.{table}.{key}");
    let Some(known) = TABLE_KEYS.iter().find(|k| k.name == key) else {
        let hint = if matches!(node.raw, Raw::Table(_)) {
            format!("a table of another schema is written with quotes, [tables.\"{table}.{key}\"]")
        } else {
            let names: Vec<&str> = TABLE_KEYS.iter().map(|k| k.name).collect();
            format!("a table's entry has {}", names.join(", "))
        };
        return Err(ConfigError::Unknown { key: path, origin: origin(node.line), hint });
    };
    (known.set)(settings, &node.raw).ok_or_else(|| ConfigError::Invalid {
        key: path,
        value: node.raw.to_string(),
        origin: origin(node.line),
        allowed: known.allowed.to_owned(),
    })
}

/// `projects` -> (`public`, `projects`); `app.orders` -> (`app`, `orders`).
fn split_name(name: &str) -> Option<(String, String)> {
    let (schema, table) = name.split_once('.').unwrap_or(("public", name));
    let fits = |part: &str| {
        (1..=63).contains(&part.len()) && !part.contains(['.', '"']) && !part.chars().any(char::is_control)
    };
    (fits(schema) && fits(table)).then(|| (schema.to_owned(), table.to_owned()))
}

fn invalid(key: &str, raw: &Raw, origin: Origin) -> ConfigError {
    ConfigError::Invalid { key: key.to_owned(), value: raw.to_string(), origin, allowed: ALLOWED.to_owned() }
}
