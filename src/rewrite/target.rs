//! The table that a statement names, and how generated text refers to it.

use std::sync::Arc;

use super::Context;
use super::plan::{Operand, Reason, UncheckedWrite};
use crate::catalog::{Column, Table};
use crate::sql::code::Code;
use crate::sql::encoding::Encoding;
use crate::sql::ident::{MAX_NAME, quote_ident};
use crate::sql::operand::Value;
use crate::sql::relation::Relation;

/// What a statement writes.
pub enum Target<'a> {
    /// A protected table.
    Table(&'a Arc<Table>),
    /// A view over the protected table of this name.
    View(&'a str),
    /// Something else.
    Other,
}

/// Resolves the name of a table reference as the server would.
pub fn resolve<'a>(code: Code<'_>, ctx: &Context<'a>, relation: &Relation) -> Target<'a> {
    let Some(name) = code.name(relation.name) else { return Target::Other };
    let schema = match relation.schema {
        Some(s) => match code.name(s) {
            Some(schema) => Some(schema),
            None => return Target::Other,
        },
        None => None,
    };
    if let Some(table) = ctx.view.resolve(schema.as_deref(), &name) {
        return Target::Table(table);
    }
    let view = ctx.view.views.iter().find(|(view_schema, view, _)| {
        **view == *name && schema.as_deref().is_none_or(|s| **view_schema == *s)
    });
    view.map_or(Target::Other, |(_, _, root)| Target::View(root))
}

/// A written table and the names by which the statement's columns can be reached.
pub struct Written<'a> {
    /// The table.
    pub table: &'a Arc<Table>,
    /// Alias or name, as spelled.
    pub reference: Box<str>,
    /// The token of the alias or name.
    pub reference_token: usize,
    /// The statement gives it an alias, so that its own name does not reach it.
    pub aliased: bool,
    /// The version column, quoted where needed.
    pub version: String,
}

impl<'a> Written<'a> {
    /// `None` if the names cannot be written in the client's encoding.
    pub fn new(
        code: Code<'_>,
        ctx: &Context<'_>,
        relation: &Relation,
        table: &'a Arc<Table>,
    ) -> Option<Self> {
        let reference_token = relation.reference();
        let reference = reference(code, reference_token)?;
        let version = writable(ctx, table.version_column()?)?;
        Some(Self { table, reference, reference_token, aliased: relation.alias.is_some(), version })
    }

    /// A dotted name's qualifiers reach this table.
    pub fn is_qualified_by(&self, code: Code<'_>, schema: Option<usize>, table: Option<usize>) -> bool {
        reaches(code, self.table, self.reference_token, self.aliased, schema, table)
    }
}

/// How generated SQL calls the table that the statement knows by this token. `None` if that cannot be written.
pub fn reference(code: Code<'_>, token: usize) -> Option<Box<str>> {
    if code.text(token).len() <= MAX_NAME {
        return code.spelled(token..token + 1).map(Into::into);
    }
    // As the server cuts it, who says so each time that it reads it in full.
    code.name(token).map(|name| quote_ident(&name).into())
}

/// Qualifiers (none, `t.`, `s.t.`) reach the table that the statement knows by the token `reference`.
pub fn reaches(
    code: Code<'_>,
    table: &Table,
    reference: usize,
    aliased: bool,
    schema: Option<usize>,
    qualifier: Option<usize>,
) -> bool {
    let Some(qualifier) = qualifier else { return true };
    if schema.is_some_and(|s| aliased || !code.is_name(s, &table.schema)) {
        return false;
    }
    if aliased {
        code.name(reference).is_some_and(|name| code.is_name(qualifier, &name))
    } else {
        code.is_name(qualifier, &table.name)
    }
}

/// The column's name in generated SQL; `None` if the client's encoding may spell it otherwise.
pub fn writable(ctx: &Context<'_>, column: &Column) -> Option<String> {
    (ctx.lex.encoding == Encoding::Utf8 || column.name.is_ascii()).then(|| quote_ident(&column.name))
}

impl From<Value> for Operand {
    fn from(value: Value) -> Self {
        match value {
            Value::Literal(text) => Self::Literal(text),
            Value::Param(n) => Self::Param(n),
        }
    }
}

/// A write of `table` that is not checked.
pub fn unchecked(table: &Table, reason: Reason, keys: Vec<Vec<Operand>>) -> UncheckedWrite {
    UncheckedWrite { table: table.root_name.clone(), root_oid: table.root_oid, reason, keys }
}
