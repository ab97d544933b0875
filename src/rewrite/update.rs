//! UPDATE of a protected table.
//!
//! ```text
//! UPDATE projects SET name = 'x' WHERE id = 7
//! UPDATE projects SET name = 'x', version = projects.version + 1 WHERE (id = 7) AND projects.version = 5
//! ```
//!
//! The increment is part of every form; the brackets and the check are put in by [`super::render`] where the
//! session knows an expected version.

use super::increment;
use super::plan::{Edit, PointWrite, Reason, VersionSource};
use super::predicate::{self, Rows};
use super::statement::{Place, Statement};
use super::target::{Target, Written, resolve, unchecked};
use super::written_back::VersionSet;
use crate::sql::clauses;
use crate::sql::ident::quote_ident;

impl<'a> Statement<'a> {
    /// Plans the UPDATE that begins at token `i`.
    pub fn update(&mut self, i: usize, end: usize, place: Place) {
        let code = self.code;
        let Some(update) = clauses::update(code, i, end) else { return self.uncertain(i..end) };
        let table = match resolve(code, self.ctx, &update.target) {
            Target::Table(table) => table,
            Target::View(root) => return self.view(root),
            Target::Other => return,
        };
        let Some(written) = Written::new(code, self.ctx, &update.target, table) else {
            return self.out.unchecked.push(unchecked(table, Reason::Encoding, Vec::new()));
        };
        let incomplete = |r: &std::ops::Range<usize>| !code.is_complete(r);
        if update.condition.as_ref().is_some_and(incomplete)
            || update.returning.as_ref().is_some_and(incomplete)
        {
            return self.out.unchecked.push(unchecked(table, Reason::Unparsed, Vec::new()));
        }
        let current_of = update.condition.as_ref().is_some_and(|c| code.words(c.start, &["current", "of"]));
        let condition = update.condition.clone().map(|c| predicate::read(code, self.ctx, &written, c));
        let guarded = condition.as_ref().is_some_and(|c| c.version.is_some());
        let rows = condition.as_ref().map_or(Rows::Unnamed(Reason::SetWrite), |c| c.rows.clone());
        let list = increment::set_list(code, self.ctx.lex, &written, update.set.clone(), guarded);
        let Some(list) = list.filter(|_| self.certain) else {
            return self.out.unchecked.push(unchecked(table, Reason::Unparsed, rows.keys()));
        };
        if !table.may_write {
            let keys = if list.moves_key { Vec::new() } else { rows.keys() };
            return self.out.unchecked.push(unchecked(table, Reason::Privilege, keys));
        }
        self.out.edits.extend(list.edits);
        if place == Place::Main {
            self.returning(update.returning.clone(), &update.target, table);
        }
        let reason = match (self.reason(place), &rows) {
            (Some(reason), _) => reason,
            _ if current_of => Reason::CurrentOf,
            _ if update.from.is_some() => Reason::UpdateFrom,
            _ if table.statement_triggers => Reason::StatementTrigger,
            (None, Rows::Several(_)) => Reason::SeveralRows,
            (None, Rows::Unnamed(reason)) => *reason,
            (None, Rows::One(key)) => {
                let point = condition.as_ref().zip(update.condition).and_then(|(condition, range)| {
                    Some(PointWrite {
                        table: table.clone(),
                        reference: written.reference.clone(),
                        target: code.spelled(update.target.tokens.clone())?.into(),
                        key: key.clone(),
                        sets: list.sets,
                        self_relative: list.self_relative,
                        source: match (&condition.version, list.version) {
                            (Some(version), _) => VersionSource::InPredicate(version.clone()),
                            (None, VersionSet::Value(Some(value))) => VersionSource::WrittenBack(value),
                            (None, _) => VersionSource::Observed,
                        },
                        open_at: code.start(range.start),
                        check_at: code.end_before(range.end),
                        rest: condition.rest(code, &written),
                        key_condition: condition.key_condition(code)?,
                        moves_key: list.moves_key,
                        predicate_allowed: true,
                    })
                });
                if let Some(point) = point {
                    if place == Place::Main && point.self_relative && update.returning.is_none() {
                        self.hidden_returning(&point);
                    }
                    self.out.point = Some(point);
                    return;
                }
                Reason::Encoding
            }
        };
        if self.writes(place) {
            let keys = if list.moves_key { Vec::new() } else { rows.keys() };
            self.out.unchecked.push(unchecked(table, reason, keys));
        }
    }

    /// A self-relative write is not checked, and its own count of rows does not tell which version it left: a
    /// RETURNING does. Not under row security, where a RETURNING may fail what passes without one.
    fn hidden_returning(&mut self, point: &PointWrite) {
        let table = &point.table;
        let Some(version) = table.version_column().filter(|_| table.may_read && !table.row_security) else {
            return;
        };
        let returning = format!(" RETURNING {}.{} AS __sg_v1", point.reference, quote_ident(&version.name));
        self.out.edits.push(Edit::insert(point.check_at, returning));
        self.out.hidden_result = true;
    }
}
