//! UPDATE of a protected table.
//!
//! ```text
//! UPDATE projects SET name = 'x' WHERE id = 7
//! UPDATE projects SET name = 'x', version = projects.version + 1 WHERE (id = 7) AND projects.version = 5
//! ```
//!
//! The increment is part of every form; the brackets and the check, or the guard in the increment's place, are put in
//! by [`super::render`] where the session knows expected versions.

use super::hidden_result;
use super::increment;
use super::plan::{GuardSite, Reason, Verb, VersionSource};
use super::predicate::{self, Rows};
use super::site::comparable_key;
use super::statement::{Place, Statement};
use super::target::{Target, Written, unchecked};
use super::written_back::VersionSet;
use crate::catalog::nested::Event;
use crate::sql::clauses;

impl<'a> Statement<'a> {
    /// Plans the UPDATE that begins at token `i`.
    pub fn update(&mut self, i: usize, end: usize, place: Place) {
        let code = self.code;
        let Some(update) = clauses::update(code, i, end) else { return self.uncertain(i..end) };
        let table = match self.target(&update.target) {
            Target::Table(table) => table,
            Target::View(root) => return self.view(root),
            Target::Other => return,
        };
        self.touch(place, table, Event::Update);
        let Some(written) = Written::new(code, self.ctx, &update.target, table) else {
            self.touch(place, table, Event::KeyUpdate);
            return self.out.unchecked.push(unchecked(table, Reason::Encoding, Vec::new()));
        };
        if update.condition.as_ref().is_some_and(|c| !code.is_condition(c))
            || update.returning.as_ref().is_some_and(|r| !code.is_complete(r))
        {
            self.touch(place, table, Event::KeyUpdate);
            return self.out.unchecked.push(unchecked(table, Reason::Unparsed, Vec::new()));
        }
        let current_of = update.condition.as_ref().filter(|c| code.words(c.start, &["current", "of"]));
        let cursor = current_of.map(|c| code.name(c.start + 2).unwrap_or_default().into());
        let condition = update.condition.clone().map(|c| predicate::read(code, self.ctx, &written, c));
        let guarded = condition.as_ref().is_some_and(|c| c.version.is_some());
        let rows = condition.as_ref().map_or(Rows::Unnamed(Reason::SetWrite), |c| c.rows.clone());
        let list = increment::set_list(code, self.ctx.lex, &written, update.set.clone(), guarded);
        if list.as_ref().is_none_or(|l| l.moves_key) {
            self.touch(place, table, Event::KeyUpdate);
        }
        let Some(list) = list.filter(|_| self.certain) else {
            return self.out.unchecked.push(unchecked(table, Reason::Unparsed, rows.keys()));
        };
        if list.only_ignored {
            self.touch_ignored(place, table);
            if place.returns() {
                self.returning_unchanged(update.returning, &update.target, table);
            }
            return;
        }
        let keys = if list.moves_key { Vec::new() } else { rows.clone().keys() };
        if !table.may_write {
            return self.unchecked(place, unchecked(table, Reason::Privilege, keys));
        }
        let reason = match (self.reason(place), &rows) {
            (Some(reason), _) => reason,
            _ if cursor.is_some() => Reason::CurrentOf,
            _ if update.from.is_some() => Reason::UpdateFrom,
            _ if table.statement_triggers => Reason::StatementTrigger,
            (None, Rows::Several(_)) => Reason::SeveralRows,
            (None, Rows::Unnamed(reason)) => *reason,
            (None, Rows::One(_)) => Reason::Batch,
        };
        let one = matches!(rows, Rows::One(_));
        let source = match (condition.as_ref().and_then(|c| c.version.clone()), list.version) {
            (Some(version), _) => VersionSource::InPredicate(version),
            (None, VersionSet::Value(Some(value))) if one => VersionSource::WrittenBack(value),
            _ => VersionSource::Observed,
        };
        let site = GuardSite {
            table: table.clone(),
            reference: written.reference.clone(),
            keys: rows.keys(),
            sets: list.sets,
            self_relative: list.self_relative,
            moves_key: list.moves_key,
            bare: update.from.is_none() && condition.as_ref().is_some_and(|c| c.is_bare()),
            source,
            reason,
            verb: Verb::Update,
            slot: list.slot,
            guardable: comparable_key(table),
            cursor,
        };
        let needed = hidden_result::is_needed(&site);
        if place.returns() {
            self.returning(update.returning.clone(), &update.target, table, needed && !site.moves_key);
        }
        if needed && update.returning.is_none() {
            self.hidden_result(place, &site, end);
        }
        if let (Reason::Batch, Some(condition), Some(range)) = (reason, &condition, update.condition)
            && let Some(point) = self.point(&site, &update.target, &written, condition, range)
        {
            self.out.point = Some(point);
        }
        self.write(place, site);
    }
}
