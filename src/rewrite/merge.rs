//! MERGE into a protected table.
//!
//! ```text
//! MERGE INTO projects p USING v ON p.id = v.id WHEN MATCHED THEN UPDATE SET name = v.name
//! MERGE INTO projects p USING v ON p.id = v.id WHEN MATCHED THEN UPDATE SET name = v.name, version = p.version + 1
//! ```

use super::increment;
use super::plan::Reason;
use super::statement::{Place, Statement};
use super::target::{Target, Written, resolve, unchecked};
use crate::sql::clauses;

impl Statement<'_> {
    /// Plans the MERGE that begins at token `i`.
    pub fn merge(&mut self, i: usize, end: usize, place: Place) {
        let code = self.code;
        let Some(merge) = clauses::merge(code, i, end) else { return self.uncertain(i..end) };
        let table = match resolve(code, self.ctx, &merge.target) {
            Target::Table(table) => table,
            Target::View(root) => return self.view(root),
            Target::Other => return,
        };
        let mut reason = self.reason(place).unwrap_or(Reason::Merge);
        match Written::new(code, self.ctx, &merge.target, table) {
            _ if !self.certain => reason = Reason::Unparsed,
            _ if !table.may_write => reason = Reason::Privilege,
            None => reason = Reason::Encoding,
            Some(written) => {
                let lists = merge.sets.into_iter();
                let lists: Option<Vec<_>> =
                    lists.map(|set| increment::set_list(code, self.ctx.lex, &written, set, false)).collect();
                match lists {
                    Some(lists) => self.out.edits.extend(lists.into_iter().flat_map(|l| l.edits)),
                    None => reason = Reason::Unparsed,
                }
            }
        }
        if self.writes(place) {
            self.out.unchecked.push(unchecked(table, reason, Vec::new()));
        }
    }
}
