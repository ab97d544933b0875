//! DELETE from a protected table.
//!
//! ```text
//! DELETE FROM projects WHERE id = 7
//! DELETE FROM projects WHERE (id = 7) AND projects.version = 5
//! ```
//!
//! It has no increment that could carry the guard. Where the predicate form does not fit, the guard goes behind the
//! condition, in a CASE that evaluates it for rows only of which the whole condition is true:
//!
//! ```text
//! DELETE FROM projects WHERE id IN (7, 8)
//! DELETE FROM projects WHERE (id IN (7, 8)) AND CASE WHEN (id IN (7, 8)) THEN <guard> ELSE TRUE END
//! ```
//!
//! So the condition is evaluated twice, which is certain to say the same only of some. A DELETE of another condition
//! (a sub-select, functions not known), of the row under a cursor, or with USING, whose join decides about the row too,
//! gets the guard as a column of its RETURNING, in a Query alone:
//!
//! ```text
//! DELETE FROM projects USING users u WHERE owner = u.id
//! DELETE FROM projects USING users u WHERE owner = u.id RETURNING <guard> AS __sg_v1
//! ```

use super::evaluable;
use super::plan::{GuardSite, Reason, Slot, Verb, VersionSource};
use super::predicate::{self, Rows};
use super::site::comparable_key;
use super::statement::{Place, Statement};
use super::target::{Target, Written, unchecked};
use crate::catalog::nested::Event;
use crate::catalog::{Mode, Table};
use crate::sql::clauses::{self, Delete};
use crate::sql::columns::ColumnSet;
use crate::sql::token::TokenKind;

impl Statement<'_> {
    /// Plans the DELETE that begins at token `i`.
    pub fn delete(&mut self, i: usize, end: usize, place: Place) {
        let code = self.code;
        let Some(delete) = clauses::delete(code, i, end) else { return self.uncertain(i..end) };
        let table = match self.target(&delete.target) {
            Target::Table(table) => table,
            Target::View(root) => {
                self.view(root);
                let mut tables = self.ctx.view.tables.iter().filter(|t| *t.root_name == *root);
                if tables.any(|t| !t.settings.check_delete)
                    && let Some(write) = self.out.unchecked.last_mut()
                {
                    write.reason = Reason::Delete;
                }
                return;
            }
            Target::Other => return,
        };
        self.touch(place, table, Event::Delete);
        let observed = table.settings.mode == Mode::Observe;
        if place.returns() {
            self.deleted(delete.returning.clone(), &delete.target, table, observed);
        }
        let Some(written) = Written::new(code, self.ctx, &delete.target, table) else {
            return self
                .unchecked(place, unchecked(table, unless_passed(table, Reason::Encoding), Vec::new()));
        };
        let condition = delete.condition.clone().map(|c| predicate::read(code, self.ctx, &written, c));
        let keys = condition.as_ref().map_or(Vec::new(), |c| c.rows.clone().keys());
        let complete = |r: &std::ops::Range<usize>| code.is_complete(r);
        let certain = self.certain
            && delete.condition.as_ref().is_none_or(|c| code.is_condition(c))
            && delete.using.as_ref().is_none_or(complete);
        if !certain {
            return self.unchecked(place, unchecked(table, Reason::Unparsed, keys));
        }
        if !table.may_read {
            return self.unchecked(place, unchecked(table, unless_passed(table, Reason::Privilege), keys));
        }
        let rows = condition.as_ref().map_or(Rows::Unnamed(Reason::Delete), |c| c.rows.clone());
        let one = matches!(rows, Rows::One(_));
        let alone = one && delete.using.is_none() && !table.statement_triggers;
        let current_of = delete.condition.as_ref().filter(|c| code.words(c.start, &["current", "of"]));
        let cursor = current_of.map(|c| code.name(c.start + 2).unwrap_or_default().into());
        // Row security shows a role that names no column rows that it may not read.
        let visible = !table.row_security || !matches!(rows, Rows::Unnamed(_));
        let fits = comparable_key(table) && visible && !table.delete_rules;
        let slot = if fits { self.guard_of_delete(&delete, &written, i, end, place) } else { None };
        let version = condition.as_ref().and_then(|c| c.version.clone());
        let site = GuardSite {
            table: table.clone(),
            reference: written.reference.clone(),
            keys,
            sets: ColumnSet::new(),
            self_relative: false,
            moves_key: false,
            bare: delete.using.is_none() && condition.as_ref().is_some_and(|c| c.is_bare()),
            source: version.map_or(VersionSource::Observed, VersionSource::InPredicate),
            reason: unless_passed(table, self.reason(place).unwrap_or(Reason::Delete)),
            verb: Verb::Delete,
            guardable: slot.is_some(),
            slot: slot.unwrap_or(Slot::Nothing),
            cursor,
        };
        if let (true, Some(condition), Some(range)) =
            (alone && place == Place::Main, &condition, delete.condition)
            && self.reason(place).is_none()
        {
            self.out.point = self.point(&site, &delete.target, &written, condition, range);
        }
        if self.out.point.is_none() && !site.guardable {
            return self.unchecked(place, unchecked(table, site.reason, site.keys));
        }
        if observed && delete.returning.is_none() {
            self.hidden_result(place, &site, end);
        }
        self.write(place, site);
    }

    /// Where its guard goes.
    fn guard_of_delete(
        &self,
        delete: &Delete,
        written: &Written<'_>,
        i: usize,
        end: usize,
        place: Place,
    ) -> Option<Slot> {
        let code = self.code;
        let clauses_end = delete.returning.as_ref().map_or(end, |r| r.start - 1);
        let clauses_end = code.end_before(clauses_end);
        if delete.using.is_none() {
            let Some(range) = delete.condition.clone() else {
                return Some(Slot::Condition { condition: None, start: clauses_end, end: clauses_end });
            };
            if evaluable::is_condition(code, written, range.clone())
                && evaluable::is_repeatable(code, written, range.clone())
                && let Some(condition) = code.spelled(range.clone())
            {
                return Some(Slot::Condition {
                    condition: Some(condition.into()),
                    start: code.start(range.start),
                    end: code.end_before(range.end),
                });
            }
        }
        match (&delete.returning, place) {
            // What reads the WITH query would find one column more.
            (Some(_), Place::Cte) => None,
            (Some(list), _) if !code.is_complete(list) => None,
            (Some(list), _) => Some(Slot::Returning {
                at: code.end_before(list.end),
                listed: true,
                shown: place == Place::Main,
            }),
            // Naming a WITH query without a RETURNING is an error that must stay one.
            (None, Place::Cte) if self.is_read(i) => None,
            (None, _) => {
                Some(Slot::Returning { at: clauses_end, listed: false, shown: place == Place::Main })
            }
        }
    }

    /// The WITH query whose body begins at token `i` may be named somewhere.
    fn is_read(&self, i: usize) -> bool {
        let code = self.code;
        let open = (self.tokens.start..i).rfind(|n| code.is(*n, TokenKind::LParen) && code.close(*n) > i);
        let name = open.and_then(|open| {
            let words = ["as", "not", "materialized"];
            (self.tokens.start..open).rfind(|n| !code.any_word(*n, &words))
        });
        let Some(name) = name.and_then(|n| code.name(n)) else { return true };
        self.tokens.clone().filter(|n| code.is_name(*n, &name)).count() != 1
    }
}

/// Why a DELETE is not checked: that the table does not have it checked comes before every other reason.
fn unless_passed(table: &Table, reason: Reason) -> Reason {
    if table.settings.check_delete { reason } else { Reason::Delete }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::plan::Reason;
    use super::super::testing::{bumped, checked, guarded, only, parsed, parsed_guarded, plan_of, reasons};

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

    /// The guard of row 7 of `projects`, or of the rows named, as [`guarded`] shows it.
    fn check(json: &str) -> String {
        format!(
            "CASE WHEN projects.version = COALESCE(('{json}'::jsonb #>> ARRAY['0', projects.id::text])::int4, \
             projects.version) THEN TRUE ELSE \
             ('sg0.0:' || projects.id::text || ':' || projects.version::text)::int4 IS NULL END"
        )
    }

    #[test]
    fn behind_the_condition() {
        let seven = check(r#"{"0":{"7":5}}"#);
        for (condition, json) in [
            ("id IN (1, 2)", r#"{"0":{"1":5,"2":5}}"#),
            ("status = 'x' AND updated_at < now() - interval '1 day'", r#"{"0":{"7":5}}"#),
            ("id = ANY($1::int[]) OR name LIKE 'a%'", r#"{"0":{"7":5}}"#),
            ("updated_at < CURRENT_DATE", r#"{"0":{"7":5}}"#),
        ] {
            for (before, after) in [
                ("", ""),
                ("", " RETURNING *"),
                ("WITH d AS (", " RETURNING id) SELECT * FROM d"),
                ("EXPLAIN ANALYZE ", ""),
            ] {
                let text = format!("{before}DELETE FROM projects WHERE {condition}{after}");
                let want = format!(
                    "{before}DELETE FROM projects WHERE ({condition}) AND CASE WHEN ({condition}) THEN {} ELSE TRUE END{after}",
                    check(json)
                );
                assert_eq!(guarded(&text), want);
                assert_eq!(bumped(&text), text);
            }
        }
        assert_eq!(guarded("DELETE FROM projects"), format!("DELETE FROM projects WHERE {seven}"));
        assert_eq!(
            guarded("DELETE FROM projects -- all\n RETURNING id"),
            format!("DELETE FROM projects WHERE {seven} -- all\n RETURNING id")
        );
        // Both forms, as a statement is prepared.
        let text = parsed_guarded("DELETE FROM projects WHERE id = $1", false);
        assert!(text.starts_with(
            "DELETE FROM projects WHERE ((id = $1) AND projects.version = COALESCE($2::int4, projects.version)) \
             AND CASE WHEN (id = $1) THEN CASE WHEN projects.version = COALESCE(($3::jsonb #>> ARRAY['0', '0', "
        ));
    }

    #[test]
    fn as_a_column_of_the_result() {
        let guard = check(r#"{"0":{"7":5}}"#)
            .replace("THEN TRUE", "THEN NULL::int4")
            .replace("::int4 IS NULL END", "::int4 END AS __sg_v1");
        for (text, with) in [
            ("DELETE FROM projects USING users u WHERE u.id = portfolio_id", " RETURNING "),
            ("DELETE FROM projects WHERE CURRENT OF c", " RETURNING "),
            ("DELETE FROM projects WHERE id IN (SELECT 1)", " RETURNING "),
            ("DELETE FROM projects WHERE my_function(name)", " RETURNING "),
            // The server's error names the WHERE.
            ("DELETE FROM projects WHERE id", " RETURNING "),
            ("DELETE FROM projects WHERE (id + 1)", " RETURNING "),
            ("DELETE FROM projects WHERE my_function(name) RETURNING id, name", ", "),
            ("EXPLAIN ANALYZE DELETE FROM projects WHERE f(name)", " RETURNING "),
        ] {
            assert_eq!(guarded(text), format!("{text}{with}{guard}"));
            assert_eq!(parsed_guarded(text, false), text);
            assert!(!only(text).takes_guard(), "{text}");
        }
        assert_eq!(
            guarded("WITH d AS (DELETE FROM projects WHERE f(name)) SELECT 1"),
            format!("WITH d AS (DELETE FROM projects WHERE f(name) RETURNING {guard}) SELECT 1")
        );
        // It would be seen there.
        for text in [
            "WITH d AS (DELETE FROM projects WHERE f(name) RETURNING id) SELECT * FROM d",
            "WITH d AS (DELETE FROM projects WHERE f(name)) SELECT 1 FROM d",
            "WITH d AS (DELETE FROM projects WHERE f(name)) SELECT 1 FROM \"d\"",
        ] {
            assert_eq!(guarded(text), text);
        }
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
