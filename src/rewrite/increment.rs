//! The increment in a SET list.
//!
//! ```text
//! UPDATE projects p SET name = 'x' WHERE p.id = 1
//! UPDATE projects p SET name = 'x', version = p.version + 1 WHERE p.id = 1
//! ```
//!
//! The same for `ON CONFLICT DO UPDATE SET` and for `WHEN MATCHED THEN UPDATE SET` of a MERGE.

use std::ops::Range;

use smallvec::SmallVec;

use super::plan::Edit;
use super::self_relative;
use super::target::Written;
use super::written_back::{self, VersionSet};
use crate::sql::assignments;
use crate::sql::code::Code;
use crate::sql::columns::ColumnSet;
use crate::sql::lexer::LexOptions;

/// A SET list, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetList {
    /// What makes it bump the version exactly once.
    pub edits: SmallVec<[Edit; 2]>,
    /// What the client's text does to the version.
    pub version: VersionSet,
    /// The columns set, without the version.
    pub sets: ColumnSet,
    /// Sets a column of the key.
    pub moves_key: bool,
    /// Every assignment beside the version's is of the kind `c = c + e`.
    pub self_relative: bool,
}

/// Reads a SET list. `keep_version`: an assignment of the version stays as it is (the statement guards itself).
/// `None` if the list, or what it does to the version, is not certain.
pub fn set_list(
    code: Code<'_>,
    opts: &LexOptions,
    written: &Written<'_>,
    range: Range<usize>,
    keep_version: bool,
) -> Option<SetList> {
    let table = written.table;
    let version = table.version_column()?;
    let mut list = SetList {
        edits: SmallVec::new(),
        version: VersionSet::Absent,
        sets: ColumnSet::new(),
        moves_key: false,
        self_relative: true,
    };
    for assignment in assignments::assignments(code, range.clone())? {
        if code.is_name(assignment.column, &version.name) {
            if list.version != VersionSet::Absent || !assignment.whole {
                return None;
            }
            if keep_version {
                list.version = VersionSet::Value(None);
                continue;
            }
            let (set, edits) = written_back::version_value(code, opts, written, assignment.value?);
            list.version = set;
            list.edits.extend(edits);
            continue;
        }
        list.self_relative &= self_relative::is(code, written, &assignment);
        // A name that the table has not got is the server's to refuse.
        if let Some(column) = table.columns.iter().position(|c| code.is_name(assignment.column, &c.name)) {
            list.moves_key |= table.key.contains(&column);
            if let Some(column) = table.columns.get(column) {
                list.sets.insert(column.slot);
            }
        }
    }
    if list.version == VersionSet::Absent {
        let bump = format!(", {} = {}", written.version, written.increment());
        list.edits.push(Edit::insert(code.end_before(range.end), bump));
    }
    // A version written back alone is a change of its own: the client says what it is based on.
    if list.sets.is_empty() && matches!(list.version, VersionSet::Value(_)) {
        list.self_relative = false;
    }
    Some(list)
}
