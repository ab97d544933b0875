//! Which parts of statements tell who is at work: what scope `context` listens for.

use super::Table;

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
