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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::plan::Reason;
    use super::super::testing::{bumped, only};

    #[test]
    fn bumps_each_update() {
        let text = "MERGE INTO ONLY projects AS p USING (SELECT 1 AS id) v ON p.id = v.id \
            WHEN MATCHED AND CASE WHEN p.name = 'x' THEN TRUE END THEN UPDATE SET name = CASE WHEN TRUE THEN 'a' END \
            WHEN MATCHED THEN UPDATE SET (status, version) = ('x', 7) \
            WHEN NOT MATCHED THEN INSERT (id) VALUES (v.id)";
        let want = "MERGE INTO ONLY projects AS p USING (SELECT 1 AS id) v ON p.id = v.id \
            WHEN MATCHED AND CASE WHEN p.name = 'x' THEN TRUE END THEN UPDATE SET name = CASE WHEN TRUE THEN 'a' END, version = p.version + 1 \
            WHEN MATCHED THEN UPDATE SET (status, version) = ('x', p.version + 1) \
            WHEN NOT MATCHED THEN INSERT (id) VALUES (v.id)";
        assert_eq!(bumped(text), want);
        assert_eq!(only(text).unchecked[0].reason, Reason::Merge);
    }

    #[test]
    fn ends_in_an_update() {
        assert_eq!(
            bumped("MERGE INTO projects USING v ON true WHEN MATCHED THEN UPDATE SET name = 'x' RETURNING *"),
            "MERGE INTO projects USING v ON true WHEN MATCHED THEN UPDATE SET name = 'x', version = projects.version + 1 RETURNING *"
        );
        assert_eq!(
            bumped("MERGE INTO projects USING v ON true WHEN MATCHED THEN DELETE"),
            "MERGE INTO projects USING v ON true WHEN MATCHED THEN DELETE"
        );
    }
}
