//! Views that are as good as their table: automatically updatable ones that show its key and its version.
//!
//! Such a view is a relation of its own ([`Table`] with [`Table::is_view`]): statements name its columns by the view's
//! names, results describe them by the view's OID, and what is known of rows is kept under the table beneath. Which
//! column of the view is which of the table is read from the view's rule, where the server keeps the origin of every
//! output column that is a plain column of the relation beneath; that may be another view.

use std::sync::Arc;

use serde::Deserialize;

use super::{Column, Table};

/// Position, name, relation and column beneath; whether the role may SELECT and UPDATE it in the view, and whether
/// the view's owner may beneath.
type ColumnRow = (i16, String, u32, i16, bool, bool, bool, bool);

/// What the look says of one view that is simple enough: one relation beneath, no aggregates, grouping, limits,
/// sub-selects, triggers or rules.
#[derive(Debug, Deserialize)]
pub(super) struct ViewRow {
    oid: u32,
    schema: String,
    name: String,
    visible: bool,
    /// It has a WHERE.
    filters: bool,
    /// Columns of the relation beneath that its WHERE names; 0 for the whole row.
    filtered_by: Option<Vec<i16>>,
    /// The relation beneath has row security, for whomever.
    row_security: Option<bool>,
    /// Its columns that are plain columns of the relation beneath.
    columns: Option<Vec<ColumnRow>>,
}

/// A view as a table, and whether its owner may read key and version beneath, and write the version.
pub(super) struct Made {
    pub table: Table,
    reads_beneath: bool,
    writes_beneath: bool,
}

/// Makes tables of those views that are as good as theirs, given the protected tables.
pub(super) fn make(rows: &[ViewRow], tables: &[Arc<Table>]) -> Vec<Made> {
    let mut made: Vec<Made> = Vec::new();
    // Views over views come behind the ones beneath them.
    loop {
        let before = made.len();
        for row in rows {
            if made.iter().any(|m| m.table.oid == row.oid) {
                continue;
            }
            let Some(beneath) = row.beneath() else { continue };
            let one = match (
                tables.iter().find(|t| t.oid == beneath),
                made.iter().find(|m| m.table.oid == beneath),
            ) {
                (Some(table), _) => view(row, table, true, true),
                (None, Some(m)) => view(row, &m.table, m.reads_beneath, m.writes_beneath),
                (None, None) => None,
            };
            made.extend(one);
        }
        if made.len() == before {
            return made;
        }
    }
}

impl ViewRow {
    /// The one relation that its columns come from.
    fn beneath(&self) -> Option<u32> {
        let mut origins = self.columns.iter().flatten().map(|c| c.2);
        let first = origins.next()?;
        origins.all(|o| o == first).then_some(first)
    }
}

fn view(row: &ViewRow, base: &Table, reads: bool, writes: bool) -> Option<Made> {
    let version = base.version_column()?.attnum;
    // A write that bumps could leave a view whose WHERE asks for the version.
    if row.filtered_by.iter().flatten().any(|attnum| *attnum <= 0 || *attnum == version) {
        return None;
    }
    let rows = row.columns.as_deref()?;
    let mut columns = Vec::with_capacity(rows.len());
    for (attnum, name, _, origin, ..) in rows {
        let of = base.column_by_attnum(*origin)?;
        columns.push(Column {
            attnum: *attnum,
            name: name.as_str().into(),
            type_oid: of.type_oid,
            slot: of.slot,
        });
    }
    // Shown twice, one assignment could meet another.
    let only = |attnum: i16| {
        let mut found = rows.iter().enumerate().filter(|(_, c)| c.3 == attnum);
        let (index, _) = found.next()?;
        found.next().is_none().then_some(index)
    };
    let key = base.key_columns().map(|c| only(c.attnum)).collect::<Option<Vec<usize>>>()?;
    if key.len() != base.key.len() {
        return None;
    }
    let version = only(version)?;
    let all =
        |may: fn(&ColumnRow) -> bool| key.iter().chain([&version]).all(|i| rows.get(*i).is_some_and(may));
    let reads_beneath = reads && all(|c| c.6);
    let writes_beneath = writes && rows.get(version).is_some_and(|c| c.6 && c.7);
    let table = Table {
        oid: row.oid,
        schema: row.schema.as_str().into(),
        name: row.name.as_str().into(),
        visible: row.visible,
        is_view: true,
        may_read: reads_beneath && all(|c| c.4),
        may_write: writes_beneath && rows.get(version).is_some_and(|c| c.4 && c.5),
        // There is no xmin in it.
        may_read_all: false,
        // A row that is not seen through it may be there all the same.
        row_security: base.row_security || row.filters || row.row_security == Some(true),
        parent: false,
        columns,
        key,
        version,
        ..base.clone()
    };
    Some(Made { table, reads_beneath, writes_beneath })
}
