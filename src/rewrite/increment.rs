//! The increment in a SET list.
//!
//! ```text
//! UPDATE projects p SET name = 'x' WHERE p.id = 1
//! UPDATE projects p SET name = 'x', version = p.version + 1 WHERE p.id = 1
//! ```
//!
//! The same for `ON CONFLICT DO UPDATE SET` and for `WHEN MATCHED THEN UPDATE SET` of a MERGE.

use std::ops::Range;

use super::plan::Slot;
use super::self_relative;
use super::target::Written;
use super::written_back::{self, VersionSet};
use crate::catalog::Table;
use crate::sql::assignments;
use crate::sql::code::Code;
use crate::sql::columns::ColumnSet;
use crate::sql::lexer::LexOptions;

/// A SET list, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetList {
    /// Where the increment goes, so that it bumps the version exactly once.
    pub slot: Slot,
    /// What the client's text does to the version.
    pub version: VersionSet,
    /// The columns set, without the version and the ignored ones.
    pub sets: ColumnSet,
    /// Sets a column of the key.
    pub moves_key: bool,
    /// Every assignment beside the version's and those of ignored columns is of the kind `c = c + e`.
    pub self_relative: bool,
    /// It sets ignored columns and nothing else: it neither checks nor bumps.
    pub only_ignored: bool,
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
        slot: Slot::Nothing,
        version: VersionSet::Absent,
        sets: ColumnSet::new(),
        moves_key: false,
        self_relative: true,
        only_ignored: true,
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
            (list.version, list.slot) = written_back::version_value(code, opts, written, assignment.value?);
            continue;
        }
        // A name that the table has not got is the server's to refuse.
        let column = table.columns.iter().position(|c| code.is_name(assignment.column, &c.name));
        if column.is_some_and(|c| is_ignored(table, c)) {
            continue;
        }
        list.only_ignored = false;
        list.self_relative &= self_relative::is(code, written, &assignment);
        if let Some(column) = column {
            list.moves_key |= table.key.contains(&column);
            if let Some(column) = table.columns.get(column) {
                list.sets.insert(column.slot);
            }
        }
    }
    list.only_ignored &= list.version == VersionSet::Absent;
    if list.version == VersionSet::Absent && !list.only_ignored {
        let column = written.version.as_str().into();
        list.slot = Slot::Append { at: code.end_before(range.end), column };
    }
    // A version written back alone is a change of its own: the client says what it is based on.
    if list.sets.is_empty() && matches!(list.version, VersionSet::Value(_)) {
        list.self_relative = false;
    }
    Some(list)
}

/// A column whose change is nobody's loss. A key column never is: the row would be another one.
fn is_ignored(table: &Table, column: usize) -> bool {
    !table.key.contains(&column) && table.columns.get(column).is_some_and(|c| table.ignored.contains(c.slot))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::sync::Arc;

    use super::super::plan::{Reason, ResultKind};
    use super::super::testing::{bumped, checked, only, plan_in, plan_of, view};
    use super::Table;

    #[test]
    fn every_shape_of_target_and_assignment() {
        for (text, want) in [
            (
                "UPDATE ONLY public.projects * AS p SET name = 'x'",
                "UPDATE ONLY public.projects * AS p SET name = 'x', version = p.version + 1",
            ),
            ("update PROJECTS P set NAME = 'x'", "update PROJECTS P set NAME = 'x', version = P.version + 1"),
            (
                r#"UPDATE "projects" AS "P" SET "name" = 'x'"#,
                r#"UPDATE "projects" AS "P" SET "name" = 'x', version = "P".version + 1"#,
            ),
            (
                r#"UPDATE U&"\0070rojects" SET name = 'x'"#,
                r#"UPDATE U&"\0070rojects" SET name = 'x', version = U&"\0070rojects".version + 1"#,
            ),
            (
                r#"UPDATE "Odd Name" SET "Full Name" = 'x', "select" = DEFAULT"#,
                r#"UPDATE "Odd Name" SET "Full Name" = 'x', "select" = DEFAULT, "Version" = "Odd Name"."Version" + 1"#,
            ),
            (
                "UPDATE archive.rates SET amount = 1",
                "UPDATE archive.rates SET amount = 1, version = rates.version + 1",
            ),
            (
                "UPDATE db.archive.rates SET amount = 1",
                "UPDATE db.archive.rates SET amount = 1, version = rates.version + 1",
            ),
            (
                "UPDATE events_2024 SET title = 'x'",
                "UPDATE events_2024 SET title = 'x', version = events_2024.version + 1",
            ),
            (
                "UPDATE projects AS set SET name = 'x'",
                "UPDATE projects AS set SET name = 'x', version = set.version + 1",
            ),
            (
                "UPDATE projects SET tags[1] = 'a', meta['k'] = '1', c.f = 2",
                "UPDATE projects SET tags[1] = 'a', meta['k'] = '1', c.f = 2, version = projects.version + 1",
            ),
            (
                "UPDATE projects SET (name, budget) = (SELECT a, b FROM c WHERE d), status = 'x'",
                "UPDATE projects SET (name, budget) = (SELECT a, b FROM c WHERE d), status = 'x', version = projects.version + 1",
            ),
            (
                "UPDATE projects SET active = name IS NOT DISTINCT FROM 'x' WHERE a IS DISTINCT FROM b",
                "UPDATE projects SET active = name IS NOT DISTINCT FROM 'x', version = projects.version + 1 WHERE a IS DISTINCT FROM b",
            ),
            (
                "UPDATE projects SET name = substring(name from 1 for 2) FROM v WHERE v.from = 1 AND v.where",
                "UPDATE projects SET name = substring(name from 1 for 2), version = projects.version + 1 FROM v WHERE v.from = 1 AND v.where",
            ),
            (
                "UPDATE projects SET name = $$WHERE$$ -- FROM\nRETURNING id AS where",
                "UPDATE projects SET name = $$WHERE$$, version = projects.version + 1 -- FROM\nRETURNING id AS where, projects.version AS __sg_v1",
            ),
            (
                "WITH c AS (SELECT 1 AS n) UPDATE projects SET budget = n FROM c",
                "WITH c AS (SELECT 1 AS n) UPDATE projects SET budget = n, version = projects.version + 1 FROM c",
            ),
            ("UPDATE projects SET", "UPDATE projects SET"),
            ("UPDATE projects SET name = 'x',", "UPDATE projects SET name = 'x',"),
            (
                "UPDATE projects SET name = 'x' || WHERE id = 1",
                "UPDATE projects SET name = 'x' || WHERE id = 1",
            ),
            (
                "UPDATE projects SET name = 'x' WHERE id = 1 AND",
                "UPDATE projects SET name = 'x' WHERE id = 1 AND",
            ),
            ("UPDATE projects SET name = 'x' RETURNING id,", "UPDATE projects SET name = 'x' RETURNING id,"),
            ("SELECT name, FROM projects", "SELECT name, FROM projects"),
            ("UPDATE projects SET name", "UPDATE projects SET name"),
            ("UPDATE projects name = 1", "UPDATE projects name = 1"),
            ("UPDATE rates SET amount = 1", "UPDATE rates SET amount = 1"),
            ("UPDATE other.projects SET name = 'x'", "UPDATE other.projects SET name = 'x'"),
            ("UPDATE pg_temp.projects SET name = 'x'", "UPDATE pg_temp.projects SET name = 'x'"),
            (r#"UPDATE "PROJECTS" SET name = 'x'"#, r#"UPDATE "PROJECTS" SET name = 'x'"#),
        ] {
            assert_eq!(bumped(text), want);
        }
    }

    #[test]
    fn several_statements() {
        let text = "UPDATE projects SET name='a' WHERE id=1;;UPDATE projects SET name='b' WHERE id=2";
        let want = "UPDATE projects SET name='a', version = projects.version + 1 WHERE id=1;;UPDATE projects SET name='b', version = projects.version + 1 WHERE id=2";
        assert_eq!(checked(text), want);
        let plan = plan_of(text);
        assert_eq!(plan.statements.len(), 2);
        for (statement, key) in plan.statements.iter().zip(["1", "2"]) {
            assert!(statement.point.is_none());
            assert!(statement.unchecked.is_empty());
            assert_eq!(statement.sites.len(), 1);
            assert_eq!(statement.sites[0].reason, Reason::Batch);
            assert_eq!(statement.sites[0].keys, [[super::super::plan::Operand::Literal(key.into())]]);
        }
        assert_eq!(
            checked("BEGIN; UPDATE projects SET name='m' WHERE id=1; COMMIT"),
            "BEGIN; UPDATE projects SET name='m', version = projects.version + 1 WHERE id=1; COMMIT"
        );
    }

    #[test]
    fn behind_a_change_of_names_nothing_is_certain() {
        for first in ["SET search_path TO x", "DROP TABLE y", "SELECT set_config('search_path', 'x', false)"]
        {
            let text = format!("{first}; UPDATE projects SET name = 'x' WHERE id = 1 RETURNING name");
            assert_eq!(bumped(&text), text);
            let plan = plan_of(&text);
            assert_eq!(plan.statements[1].unchecked[0].reason, Reason::Unparsed);
            assert!(plan.statements[1].teaches.is_empty());
        }
    }

    #[test]
    fn behind_a_change_of_names_a_table_that_is_not_visible_counts() {
        let mut view = view();
        let hide = |t: &Arc<Table>| Arc::new(Table { visible: false, ..Table::clone(t) });
        view.tables = view.tables.iter().map(hide).collect();
        for write in [
            "UPDATE projects SET name = 'x' WHERE id = 1",
            "UPDATE projects SET name = 'x' nonsense WHERE id = 1",
            "DELETE FROM projects WHERE id = 1",
            "INSERT INTO projects (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET name = 'x'",
            "MERGE INTO projects USING s ON s.id = projects.id WHEN MATCHED THEN UPDATE SET name = 'x'",
            "WITH w AS (UPDATE projects SET name = 'x' RETURNING id) SELECT * FROM w",
            "COPY projects FROM STDIN",
        ] {
            let counted = |text: &str| {
                let plan = plan_in(&view, text);
                assert!(plan.statements.iter().all(|s| s.edits.is_empty() && s.sites.is_empty()), "{text}");
                plan.statements.iter().map(|s| s.unchecked.len()).sum::<usize>()
            };
            assert_eq!(counted(write), 0, "{write}");
            assert_eq!(counted(&format!("SELECT 1; {write}")), 0, "{write}");
            assert_eq!(counted(&format!("SET search_path = public; {write}")), 1, "{write}");
        }
    }

    #[test]
    fn ignored_columns() {
        for text in [
            "UPDATE projects SET updated_at = now() WHERE id = 1",
            "UPDATE projects SET (updated_at) = ROW (now()) RETURNING name, id, version",
            "INSERT INTO projects (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET updated_at = EXCLUDED.updated_at",
            "MERGE INTO projects p USING v ON p.id = v.id WHEN MATCHED THEN UPDATE SET updated_at = now()",
        ] {
            assert_eq!(bumped(text), text);
            let plan = only(text);
            assert!(plan.point.is_none() && plan.sites.is_empty() && plan.unchecked.is_empty(), "{text}");
        }
        // Its rows teach as a read does: if the version has moved, it was not this statement.
        for (text, hidden) in [
            ("UPDATE projects SET updated_at = now() RETURNING name, id, version", 0),
            ("UPDATE projects SET updated_at = now() RETURNING name", 2),
            (
                "INSERT INTO projects (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET updated_at = now() RETURNING name",
                2,
            ),
        ] {
            let returning = only(text);
            assert_eq!((returning.teaches.len(), returning.hidden.len()), (1, hidden), "{text}");
            assert_eq!(returning.result, ResultKind::Read, "{text}");
            assert!(!returning.writes());
        }
        for (set, sets, self_relative) in [
            ("updated_at = now(), name = 'x'", &[2][..], false),
            ("updated_at = now(), budget = budget + 1", &[3], true),
            ("updated_at = now(), version = version + 1", &[], true),
            ("updated_at = now(), version = 5", &[], false),
        ] {
            let point = only(&format!("UPDATE projects SET {set} WHERE id = 1")).point.unwrap();
            assert_eq!(point.sets.iter().collect::<Vec<_>>(), sets, "{set}");
            assert_eq!(point.self_relative, self_relative, "{set}");
        }
    }

    #[test]
    fn what_a_list_sets() {
        let point =
            only("UPDATE projects SET name = 'x', status = 'y', nonsense = 1 WHERE id = 1").point.unwrap();
        assert_eq!(point.sets.iter().collect::<Vec<_>>(), [2, 4]);
        assert!(!point.moves_key);
        let point = only("UPDATE user_roles SET role = 'x' WHERE role = 'y' AND user_id = 1").point.unwrap();
        assert!(point.moves_key);
        // Slots are those of the partition's root.
        let point = only("UPDATE events_2024 SET title = 'x' WHERE id = 1").point.unwrap();
        assert_eq!(point.sets.iter().collect::<Vec<_>>(), [1]);
    }
}
