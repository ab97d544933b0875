//! A RETURNING of the proxy's own: which rows a write changed, and the versions that it left.
//!
//! ```text
//! UPDATE projects SET name = 'x' WHERE status = 'y'
//! UPDATE projects SET name = 'x', .. WHERE status = 'y' RETURNING projects.id AS __sg_k1, projects.version AS __sg_v2
//! ```
//!
//! The client knows the statement as one without a result: rows and description are swallowed, the tag stays. Only
//! where the count of rows does not tell by itself what has become of the rows that are known, and where a RETURNING
//! changes nothing else: not under row security (its policies for SELECT would apply), not past rules, not where
//! the role may not read key and version, not beside a data-modifying WITH.

use std::fmt::Write as _;

use super::plan::{HiddenResult, Verb};
use super::site::{GuardSite, comparable_key};
use super::statement::{Place, Statement};
use super::target::writable;
use crate::catalog::Mode;

impl Statement<'_> {
    /// Plans the RETURNING of a write that has none of its own. `end`: the token behind its last.
    pub fn hidden_result(&mut self, place: Place, site: &GuardSite, end: usize) {
        let table = &site.table;
        let tells = comparable_key(table) && !site.moves_key && !table.late_triggers;
        if place != Place::Main || self.modifying_cte || !tells || table.row_security || table.rules {
            return;
        }
        let columns = table.key_columns().map(|c| (c, 'k')).chain(table.version_column().map(|c| (c, 'v')));
        let mut returning = String::from(" RETURNING");
        for (n, (column, kind)) in columns.enumerate() {
            let Some(name) = writable(self.ctx, column) else { return };
            let comma = if n == 0 { "" } else { "," };
            let _ = write!(returning, "{comma} {}.{name} AS __sg_{kind}{}", site.reference, n + 1);
        }
        self.out.hidden_result = Some(HiddenResult {
            at: self.code.end_before(end),
            returning: returning.into(),
            table: table.clone(),
            deleted: site.verb == Verb::Delete,
        });
    }
}

/// What has become of the rows that are known is told only by what the write returns.
pub fn is_needed(site: &GuardSite) -> bool {
    let observed = site.table.settings.mode == Mode::Observe;
    site.verb == Verb::Upsert
        || site.self_relative
        || !site.names_one_row()
        || site.table.version_triggers
        || observed
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::sync::Arc;

    use super::super::testing::{only, plan_in, plan_of, returned, view};
    use crate::catalog::Table;

    const ID: &str = "projects.id AS __sg_k1, projects.version AS __sg_v2";

    #[test]
    fn where_the_count_of_rows_does_not_tell() {
        for (text, list) in [
            ("UPDATE projects SET name = 'x'§", ID),
            ("UPDATE projects SET name = 'x' WHERE status = 'y'§ -- all", ID),
            ("UPDATE projects SET name = 'x' WHERE id IN (1, 2)§", ID),
            ("UPDATE projects SET name = 'x' WHERE id = 1 + 1§", ID),
            ("UPDATE projects SET name = v.n FROM v WHERE projects.id = v.id§", ID),
            ("UPDATE projects SET budget = budget + 1 WHERE id = 1§", ID),
            ("UPDATE projects SET name = 'x' WHERE CURRENT OF c§", ID),
            (
                "WITH v AS (SELECT 1 AS id) UPDATE projects SET name = 'x' FROM v WHERE projects.id = v.id§",
                ID,
            ),
            ("INSERT INTO projects (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = 'x'§", ID),
            (
                "UPDATE ONLY public.projects AS \"P\" SET name = o.name FROM projects o WHERE \"P\".id = o.id + 1§",
                "\"P\".id AS __sg_k1, \"P\".version AS __sg_v2",
            ),
            (
                "UPDATE user_roles SET note = 'x' WHERE user_id = 1§",
                "user_roles.user_id AS __sg_k1, user_roles.role AS __sg_k2, user_roles.version AS __sg_v3",
            ),
        ] {
            assert_eq!(returned(&text.replace('§', "")), text.replace('§', &format!(" RETURNING {list}")));
        }
    }

    #[test]
    fn where_it_tells_or_a_returning_would_change_something() {
        for text in [
            "UPDATE projects SET name = 'x' WHERE id = 1",
            "UPDATE projects SET id = id + 1 WHERE status = 'x'",
            "UPDATE projects SET name = 'x' WHERE status = 'y' RETURNING id",
            "UPDATE amounts SET name = 'x' WHERE name = 'y'",
            "UPDATE locked SET name = 'x' WHERE name = 'y'",
            "UPDATE other SET name = 'x'",
            "WITH a AS (UPDATE projects SET name = 'x') SELECT 1",
            "WITH a AS (DELETE FROM users) UPDATE projects SET name = 'x'",
            "EXPLAIN ANALYZE UPDATE projects SET name = 'x'",
            "PREPARE p AS UPDATE projects SET name = 'x'",
            "MERGE INTO projects USING v ON true WHEN MATCHED THEN UPDATE SET name = 'x'",
            "INSERT INTO projects (id) VALUES (1)",
            "DELETE FROM projects",
        ] {
            assert!(only(text).hidden_result.is_none(), "{text}");
        }
        let with = |change: fn(&mut Table)| {
            let mut view = view();
            for table in view.tables.iter_mut().map(Arc::make_mut) {
                change(table);
            }
            move |text: &str| plan_in(&view, text).statements.remove(0).hidden_result.is_some()
        };
        let (set, point) = ("UPDATE projects SET name = 'x'", "UPDATE projects SET name = 'x' WHERE id = 1");
        assert!(!with(|t| t.row_security = true)(set));
        assert!(!with(|t| t.rules = true)(set));
        assert!(!with(|t| (t.version_triggers, t.late_triggers) = (true, true))(set));
        assert!(with(|t| t.version_triggers = true)(point));
    }

    #[test]
    fn each_statement_of_a_text_has_its_own() {
        let text = "UPDATE projects SET name = 'x' ; UPDATE users SET email = 'y' WHERE active; SELECT 1";
        let has: Vec<_> = plan_of(text).statements.iter().map(|s| s.hidden_result.is_some()).collect();
        assert_eq!(has, [true, true, false]);
        assert!(returned(text).contains(" RETURNING projects.id AS __sg_k1, projects.version AS __sg_v2 ; "));
    }
}
