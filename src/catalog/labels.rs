//! Which parts of statements tell who is at work: what scope `context` listens for.

use std::sync::Arc;

use super::{Column, Mode, Table, TableSettings, VersionType};

/// What is listened for. Empty where no scope is `context`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelRules {
    /// Keys of tags in comments.
    pub tags: Vec<String>,
    /// Settings (GUC) in lower case.
    pub settings: Vec<String>,
    /// Tables whose point SELECT tells the user.
    pub identities: Vec<IdentityRule>,
}

impl LabelRules {
    /// Nothing is listened for.
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty() && self.settings.is_empty() && self.identities.is_empty()
    }
}

/// A column by whose value an application looks up the user or session of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityRule {
    /// Schema.
    pub schema: String,
    /// Table.
    pub table: String,
    /// Column.
    pub column: String,
}

impl IdentityRule {
    /// The index of its column in its table as the server has it.
    pub fn column_of(&self, table: &Table) -> Option<usize> {
        table.columns.iter().position(|c| *c.name == *self.column)
    }
}

impl Table {
    /// A table that is listened for, and is not protected: none of its statements is changed or checked.
    pub fn unprotected(oid: u32, schema: &str, name: &str, columns: Vec<Column>, visible: bool) -> Self {
        let settings = TableSettings {
            schema: schema.to_owned(),
            name: name.to_owned(),
            entity: name.to_owned(),
            version_column: String::new(),
            version_type: VersionType::Int4,
            adopt: false,
            mode: Mode::Off,
            blind: Default::default(),
            check_delete: false,
            ignored_columns: Vec::new(),
            for_update_refreshes: false,
            on_deleted: Default::default(),
            explicit_predicate: Default::default(),
            current_state: Default::default(),
            redact_columns: Vec::new(),
        };
        Self {
            oid,
            root_oid: oid,
            schema: schema.into(),
            name: name.into(),
            root_name: name.into(),
            entity: name.into(),
            version: columns.len(),
            columns,
            key: Vec::new(),
            version_type: VersionType::Int4,
            is_view: false,
            visible,
            statement_triggers: false,
            delete_rules: false,
            version_triggers: false,
            ignored_may_bump: false,
            nested: Default::default(),
            late_triggers: false,
            rules: false,
            row_security: false,
            part: false,
            parent: false,
            may_read: false,
            may_read_all: false,
            may_write: false,
            ignored: Default::default(),
            settings: Arc::new(settings),
        }
    }
}
