//! DELETE from a protected table.
//!
//! ```text
//! DELETE FROM projects WHERE id = 7
//! DELETE FROM projects WHERE (id = 7) AND projects.version = 5
//! ```
//!
//! It has no increment that could carry the guard, so that it is checked in the predicate form alone. Anywhere else it
//! passes, counted.

use super::plan::{GuardSite, Reason, Slot, Verb, VersionSource};
use super::predicate::{self, Rows};
use super::statement::{Place, Statement};
use super::target::{Target, Written, resolve, unchecked};
use crate::catalog::Mode;
use crate::sql::clauses;
use crate::sql::columns::ColumnSet;

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
        let observed = table.settings.mode == Mode::Observe;
        if place == Place::Main {
            self.deleted(delete.returning.clone(), &delete.target, table, observed);
        }
        let Some(written) = Written::new(code, self.ctx, &delete.target, table) else {
            return self.unchecked(place, unchecked(table, Reason::Encoding, Vec::new()));
        };
        let condition = delete.condition.clone().map(|c| predicate::read(code, self.ctx, &written, c));
        let keys = condition.as_ref().map_or(Vec::new(), |c| c.rows.clone().keys());
        let complete = |r: &std::ops::Range<usize>| code.is_complete(r);
        let certain = self.certain
            && delete.condition.as_ref().is_none_or(complete)
            && delete.using.as_ref().is_none_or(complete);
        if !certain {
            return self.unchecked(place, unchecked(table, Reason::Unparsed, keys));
        }
        if !table.may_read {
            return self.unchecked(place, unchecked(table, Reason::Privilege, keys));
        }
        let one = matches!(condition.as_ref().map(|c| &c.rows), Some(Rows::One(_)));
        let alone = one && delete.using.is_none() && !table.statement_triggers;
        let version = condition.as_ref().and_then(|c| c.version.clone());
        let site = GuardSite {
            table: table.clone(),
            reference: written.reference.clone(),
            keys,
            sets: ColumnSet::new(),
            self_relative: false,
            moves_key: false,
            source: version.map_or(VersionSource::Observed, VersionSource::InPredicate),
            reason: match self.reason(place) {
                Some(reason) => reason,
                None => Reason::Delete,
            },
            verb: Verb::Delete,
            slot: Slot::Nothing,
            guardable: false,
            cursor: None,
        };
        if let (true, Some(condition), Some(range)) =
            (alone && place == Place::Main, &condition, delete.condition)
            && self.reason(place).is_none()
        {
            self.out.point = self.point(&site, &delete.target, &written, condition, range);
        }
        if self.out.point.is_none() {
            return self.unchecked(place, unchecked(table, site.reason, site.keys));
        }
        if observed && delete.returning.is_none() {
            self.hidden_result(place, &site, end);
        }
        self.write(place, site);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::plan::Reason;
    use super::super::testing::{bumped, checked, only, parsed, plan_of, reasons};

    #[test]
    fn one_row() {
        for (text, want) in [
            (
                "DELETE FROM projects WHERE id = 1",
                "DELETE FROM projects WHERE (id = 1) AND projects.version = 5",
            ),
            (
                "DELETE FROM ONLY public.projects AS p WHERE p.id = 1 AND status = 'x' -- gone\n RETURNING p.id",
                "DELETE FROM ONLY public.projects AS p WHERE (p.id = 1 AND status = 'x') AND p.version = 5 -- gone\n RETURNING p.id",
            ),
            (
                "DELETE FROM projects WHERE id = 1 AND version = 4",
                "DELETE FROM projects WHERE id = 1 AND version = 4",
            ),
        ] {
            assert_eq!(checked(text), want);
            assert_eq!(bumped(text), text);
        }
        assert_eq!(
            parsed("DELETE FROM user_roles WHERE user_id = $1 AND role = $2"),
            "DELETE FROM user_roles WHERE (user_id = $1 AND role = $2) AND user_roles.version = COALESCE($3::pg_catalog.int4, user_roles.version)"
        );
    }

    #[test]
    fn counted() {
        for (text, reason, keys) in [
            ("DELETE FROM projects", Reason::Delete, 0),
            ("DELETE FROM projects WHERE id = 1 + 1", Reason::Delete, 0),
            ("DELETE FROM projects WHERE id IN (1, 2)", Reason::Delete, 2),
            ("DELETE FROM projects USING users JOIN x USING (id) WHERE status = 'x'", Reason::Delete, 0),
            ("DELETE FROM projects WHERE id IN (1, 2) RETURNING id", Reason::Delete, 2),
            ("DELETE FROM triggered WHERE id = 1", Reason::Delete, 1),
            ("DELETE FROM amounts WHERE id = 1", Reason::Delete, 0),
            ("DELETE FROM locked WHERE id = 1", Reason::Privilege, 1),
            ("WITH d AS (DELETE FROM projects WHERE id = 1 RETURNING *) SELECT * FROM d", Reason::Cte, 1),
            ("EXPLAIN ANALYZE DELETE FROM projects", Reason::Nested, 0),
            ("PREPARE p AS DELETE FROM projects WHERE id = $1", Reason::Nested, 1),
            ("DELETE FROM open_projects WHERE id = 1", Reason::View, 0),
            ("DELETE FROM projects nonsense more WHERE id = 1", Reason::Unparsed, 0),
            ("DELETE FROM projects WHERE id = 1 AND", Reason::Unparsed, 1),
        ] {
            assert_eq!(bumped(text), text);
            assert_eq!(reasons(&only(text)), [(reason, keys)], "{text}");
            assert!(only(text).point.is_none(), "{text}");
        }
        assert!(reasons(&only("EXPLAIN DELETE FROM projects")).is_empty());
        // Checked where it stands alone.
        let text = "DELETE FROM projects WHERE id = 1 RETURNING id";
        assert!(only(text).point.is_some() && only(text).hidden_result.is_none());
        let plan = plan_of(&format!("{text}; SELECT 1"));
        assert_eq!(reasons(&plan.statements[0]), [(Reason::Delete, 1)]);
    }
}
