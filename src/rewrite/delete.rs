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
