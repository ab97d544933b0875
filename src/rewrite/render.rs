//! Puts a plan's pieces into the text.

use super::plan::{Edit, Plan, PointWrite};
use crate::sql::ident::quote_ident;
use crate::sql::splice::{self, SpliceMap};

/// What a statement of a Query is checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Nothing: it only bumps.
    None,
    /// The row must have this version.
    Version(i64),
}

/// A rewritten text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// What goes to the server.
    pub text: Vec<u8>,
    /// The way back for error positions.
    pub map: SpliceMap,
}

/// The text of a Query with the checks of its statements (missing ones are [`Check::None`]). `None` if nothing
/// changes: the original goes out.
pub fn render_query(plan: &Plan, text: &[u8], checks: &[Check]) -> Option<Rendered> {
    let expected = |n: usize| match checks.get(n) {
        Some(Check::Version(version)) => Some(version.to_string()),
        Some(Check::None) | None => None,
    };
    render(plan, text, expected)
}

/// The text of a Parse. Its write is checked against the added parameter `$hidden_param`, which is NULL in a
/// Bind that knows no version; 0 if none is added. `None` if nothing changes.
pub fn render_parse(plan: &Plan, text: &[u8], hidden_param: u16) -> Option<Rendered> {
    let expected = |n: usize| {
        let point = plan.statements.get(n)?.point.as_ref().filter(|_| hidden_param > 0)?;
        let ty = point.table.version_type.sql_name();
        Some(format!("COALESCE(${hidden_param}::pg_catalog.{ty}, {})", version_of(point)?))
    };
    render(plan, text, expected)
}

fn render(plan: &Plan, text: &[u8], expected: impl Fn(usize) -> Option<String>) -> Option<Rendered> {
    let mut edits: Vec<Edit> = Vec::new();
    for (n, statement) in plan.statements.iter().enumerate() {
        edits.extend(statement.edits.iter().cloned());
        if let Some(point) = statement.point.as_ref().filter(|p| p.takes_check())
            && let (Some(expected), Some(version)) = (expected(n), version_of(point))
        {
            edits.push(Edit::insert(point.open_at, "("));
            edits.push(Edit::insert(point.check_at, format!(") AND {version} = {expected}")));
        }
    }
    if edits.is_empty() {
        return None;
    }
    edits.sort_by_key(|e| e.at);
    // Edits come from disjoint clauses of one text; a plan for another text is the caller's mistake, and then
    // the client's own text is the one thing that is certainly not wrong.
    let (text, map) = splice::apply(text, &edits).ok()?;
    Some(Rendered { text, map })
}

/// `projects.version`.
fn version_of(point: &PointWrite) -> Option<String> {
    let column = point.table.version_column()?;
    Some(format!("{}.{}", point.reference, quote_ident(&column.name)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::testing::{checked, plan_of};
    use super::*;

    #[test]
    fn nothing_to_change() {
        for text in
            ["SELECT 1", "BEGIN", "", ";;", "UPDATE other SET a = 1 WHERE id = 1", "SELECT * FROM projects"]
        {
            assert_eq!(render_query(&plan_of(text), text.as_bytes(), &[Check::Version(5)]), None, "{text}");
            assert_eq!(render_parse(&plan_of(text), text.as_bytes(), 1), None, "{text}");
        }
    }

    #[test]
    fn comments_and_spacing_stay() {
        let text = "/* a */ UPDATE/*b*/projects -- c\n SET\tname = 'x' -- d\n WHERE id=1 /* e */ -- f";
        assert_eq!(
            checked(text),
            "/* a */ UPDATE/*b*/projects -- c\n SET\tname = 'x', version = projects.version + 1 -- d\n WHERE (id=1) AND projects.version = 5 /* e */ -- f"
        );
    }

    #[test]
    fn positions_lead_back() {
        let text = "UPDATE projects SET name = nam WHERE id = 1";
        let rendered = render_query(&plan_of(text), text.as_bytes(), &[Check::Version(5)]).unwrap();
        let rewritten = String::from_utf8(rendered.text).unwrap();
        let at = rewritten.find("id = 1").unwrap();
        assert_eq!(rendered.map.original_offset(at), text.find("id = 1").unwrap());
    }
}
