//! DELETE from a protected table: not rewritten, counted.

use super::plan::Reason;
use super::predicate::{self, Rows};
use super::statement::{Place, Statement};
use super::target::{Target, Written, resolve, unchecked};
use crate::sql::clauses;

impl Statement<'_> {
    /// Plans the DELETE that begins at token `i`.
    pub fn delete(&mut self, i: usize, end: usize, place: Place) {
        let code = self.code;
        let Some(delete) = clauses::delete(code, i, end) else { return self.uncertain(i..end) };
        let table = match resolve(code, self.ctx, &delete.target) {
            Target::Table(table) => table,
            Target::View(root) => return self.view(root),
            Target::Other => return,
        };
        let written = Written::new(code, self.ctx, &delete.target, table);
        let rows = written.zip(delete.condition).map_or(Rows::Unnamed(Reason::SetWrite), |(written, c)| {
            predicate::read(code, self.ctx, &written, c).rows
        });
        if place == Place::Main {
            self.deleted(delete.returning, &delete.target, table);
        }
        if self.writes(place) {
            self.out.unchecked.push(unchecked(table, Reason::Delete, rows.keys()));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::plan::Reason;
    use super::super::testing::{bumped, only};

    #[test]
    fn counted_with_the_keys_named() {
        for (text, reason, keys) in [
            ("DELETE FROM projects", Reason::Delete, 0),
            ("DELETE FROM ONLY projects p WHERE p.id = 1 RETURNING *", Reason::Delete, 1),
            ("DELETE FROM projects WHERE id IN (1, 2)", Reason::Delete, 2),
            ("DELETE FROM projects USING users JOIN x USING (id) WHERE status = 'x'", Reason::Delete, 0),
            ("DELETE FROM open_projects WHERE id = 1", Reason::View, 0),
            ("DELETE FROM projects nonsense more WHERE id = 1", Reason::Unparsed, 0),
        ] {
            assert_eq!(bumped(text), text);
            let plan = only(text);
            assert_eq!(plan.unchecked.len(), 1, "{text}");
            assert_eq!((plan.unchecked[0].reason, plan.unchecked[0].keys.len()), (reason, keys), "{text}");
        }
    }
}
