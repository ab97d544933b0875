//! PREPARE and EXECUTE in SQL: the guard of what is prepared gets its versions as one more argument.
//!
//! ```text
//! PREPARE p (text, int) AS UPDATE projects SET name = $1 WHERE id = $2
//! PREPARE p (text, int, pg_catalog.jsonb) AS UPDATE projects SET name = $1, version = <guard by $3> WHERE id = $2
//!
//! EXECUTE p ('x', 7)
//! EXECUTE p ('x', 7, '{"0":{"0":{"7":5}}}'::pg_catalog.jsonb)
//! ```
//!
//! What is prepared is planned as a statement of its own, without hidden columns: its results teach by what they show.

use std::ops::Range;

use super::label;
use super::plan::{Plan, Reason, StatementPlan, UncheckedWrite};
use super::statement::{Place, Statement};
use crate::sql::code::Code;
use crate::sql::operand;
use crate::sql::splice::Edit;
use crate::sql::token::TokenKind;

/// The server cuts names behind this many bytes.
const MAX_NAME: usize = 63;

/// In the place of a declared type's OID: one whose values are not compared with keys.
pub const OTHER_TYPE: u32 = u32::MAX;

/// `PREPARE name [(types)] AS statement`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepare {
    /// The name.
    pub name: Box<str>,
    /// What it prepares. Offsets are of the whole text.
    pub inner: StatementPlan,
    /// OIDs of the types declared, or [`OTHER_TYPE`].
    pub types: Vec<u32>,
    /// End of the list of types.
    pub types_end: Option<usize>,
    /// How many parameters the client knows of.
    pub own_params: u16,
}

impl Prepare {
    /// Number of the parameter that is added for the guards; 0: none.
    pub fn known(&self) -> u16 {
        if self.inner.takes_guard() { self.own_params.checked_add(1).unwrap_or(0) } else { 0 }
    }

    /// Guards may read `xmin` of every table written.
    pub fn own_writes(&self) -> bool {
        self.inner.sites.iter().all(|s| s.table.may_read_all)
    }

    /// What is prepared, as the plan of a text.
    pub fn plan(&self) -> Plan {
        Plan { statements: vec![self.inner.clone()], max_param: self.own_params }
    }
}

/// `EXECUTE name [(arguments)]`, also under EXPLAIN and CREATE TABLE AS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execute {
    /// The name.
    pub name: Box<str>,
    /// The arguments, as bytes of the whole text.
    pub arguments: Vec<Range<usize>>,
    /// End of the last argument, or of the name.
    pub at: usize,
    /// The arguments are plain constants.
    pub plain: bool,
    /// It is run, not only shown.
    pub runs: bool,
    /// The version that a comment beside it names: it counts where it runs a write of one row.
    pub hint: Option<i64>,
}

impl Execute {
    /// The edit that adds arguments. `ignored`: the server does not look at the client's own, as it does for a statement
    /// without parameters; then they must not be counted.
    pub fn edit(&self, added: &str, ignored: bool) -> Edit {
        if let (Some(first), true) = (self.arguments.first(), ignored && self.plain) {
            Edit { at: first.start, remove: self.at - first.start, insert: added.into() }
        } else if self.arguments.is_empty() {
            Edit::insert(self.at, format!(" ({added})"))
        } else {
            Edit::insert(self.at, format!(", {added}"))
        }
    }
}

/// The name of a prepared statement at token `i`, as the server keeps it; empty if it cannot be read.
pub fn name(code: Code<'_>, i: usize) -> Box<str> {
    let name = code.name(i).unwrap_or_default();
    let mut end = name.len().min(MAX_NAME);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.get(..end).unwrap_or_default().into()
}

/// The EXECUTE that begins at token `i`.
pub fn execute(code: Code<'_>, i: usize, end: usize, runs: bool) -> Option<Execute> {
    if name(code, i + 1).is_empty() {
        return None;
    }
    let at = code.end_before(i + 2);
    let mut out =
        Execute { name: name(code, i + 1), arguments: Vec::new(), at, plain: true, runs, hint: None };
    if i + 2 < end && code.is(i + 2, TokenKind::LParen) {
        let close = code.close(i + 2);
        let inner = i + 3..close.min(end);
        if inner.is_empty() || close >= end {
            // An error of the client that the server has words for.
            return None;
        }
        out.at = code.end_before(inner.end);
        out.plain = code.split_commas(inner.clone()).all(|a| a.len() == 1);
        out.arguments = code
            .split_commas(inner)
            .map(|a| code.start(a.start)..code.end_before(a.end).max(code.start(a.start)))
            .collect();
    }
    Some(out)
}

/// `(types)` between these brackets.
fn types(code: Code<'_>, inner: Range<usize>) -> Vec<u32> {
    code.split_commas(inner).map(|ty| type_oid(code, ty)).collect()
}

/// Names of types whose values are compared with keys: their OIDs, and those of arrays of them.
const TYPES: [(&[&str], u32, u32); 11] = [
    (&["int", "integer", "int4"], 23, 1007),
    (&["bigint", "int8"], 20, 1016),
    (&["smallint", "int2"], 21, 1005),
    (&["text"], 25, 1009),
    (&["varchar"], 1043, 1015),
    (&["bpchar"], 1042, 1014),
    (&["uuid"], 2950, 2951),
    (&["numeric", "decimal"], 1700, 1231),
    (&["bool", "boolean"], 16, 1000),
    (&["date"], 1082, 1182),
    (&["timestamp"], 1114, 1115),
];

fn type_oid(code: Code<'_>, ty: Range<usize>) -> u32 {
    let qualified = code.is_name(ty.start, "pg_catalog") && code.is(ty.start + 1, TokenKind::Dot);
    let i = ty.start + if qualified { 2 } else { 0 };
    let known = TYPES.iter().find(|(names, ..)| code.any_word(i, names));
    let brackets = code.is(i + 1, TokenKind::LBracket) && code.is(i + 2, TokenKind::RBracket);
    match (known, ty.end.saturating_sub(i)) {
        (Some((_, oid, _)), 1) => *oid,
        (Some((_, _, array)), 3) if brackets => *array,
        // `numeric(4)`: something else.
        _ => OTHER_TYPE,
    }
}

/// Plans `PREPARE name [(types)] AS statement`, whose name is at token `at`.
pub fn plan(statement: &mut Statement<'_>, at: usize) {
    let code = statement.code;
    let range = statement.tokens.clone();
    let mut i = at + 1;
    let mut declared = Vec::new();
    let mut types_end = None;
    if code.is(i, TokenKind::LParen) {
        let close = code.close(i);
        declared = types(code, i + 1..close.min(range.end));
        types_end = Some(code.end_before(close));
        i = close + 1;
    }
    if !code.word(i, "as") || !code.is_ident(at) {
        return;
    }
    statement.hide = false;
    statement.query(i + 1, range.end, Place::Prepared);
    let numbers = range.filter(|i| code.is(*i, TokenKind::Param)).filter_map(|i| operand::number(code, i));
    let highest = usize::from(numbers.max().unwrap_or(0)).max(declared.len());
    let mut inner = std::mem::take(&mut statement.out);
    inner.says = label::of(code, statement.ctx, i + 1..statement.tokens.end);
    statement.out.range = inner.range.clone();
    statement.out.is_query = true;
    let name = name(code, at);
    if name.is_empty() {
        // Not to be told from others: it is prepared as it is.
        statement.out.unchecked =
            inner.unguarded().into_iter().map(|u| UncheckedWrite { reason: Reason::Encoding, ..u }).collect();
        return;
    }
    statement.out.prepares = Some(Box::new(Prepare {
        name,
        inner: StatementPlan { is_query: true, ..inner },
        types: declared,
        types_end,
        own_params: u16::try_from(highest).unwrap_or(u16::MAX),
    }));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::plan::{Effect, Reason};
    use super::super::testing::{bumped, only, reasons};
    use super::*;

    fn prepare(text: &str) -> Prepare {
        *only(text).prepares.unwrap_or_else(|| panic!("{text}"))
    }

    #[test]
    fn an_added_parameter() {
        let guard = |n: u16| {
            format!(
                "version = CASE WHEN projects.version OPERATOR(pg_catalog.=) COALESCE((${n}::pg_catalog.jsonb \
                 OPERATOR(pg_catalog.#>>) ARRAY['0', '0', projects.id::pg_catalog.text])::pg_catalog.int4"
            )
        };
        for (head, own, list) in [
            ("PREPARE p AS", 2, ""),
            ("PREPARE p (text, int) AS", 2, "PREPARE p (text, int, pg_catalog.jsonb) AS"),
            (
                "PREPARE p (text, int, numeric(4, 2) /* c */) AS",
                3,
                "PREPARE p (text, int, numeric(4, 2), pg_catalog.jsonb /* c */) AS",
            ),
        ] {
            let text = format!("{head} UPDATE projects SET name = $1 WHERE id = $2");
            let plan = prepare(&text);
            assert_eq!((plan.own_params, plan.known()), (own, own + 1), "{text}");
            let sent = bumped(&text);
            assert!(sent.contains(&guard(own + 1)), "{sent}");
            assert!(sent.starts_with(if list.is_empty() { head } else { list }), "{sent}");
            assert_eq!(reasons(&plan.inner), [(Reason::Nested, 1)]);
            assert_eq!(only(&text).effect, Effect::Prepare("p".into()));
            assert!(only(&text).sites.is_empty() && only(&text).unchecked.is_empty());
        }
    }

    #[test]
    fn nothing_added() {
        for text in [
            "PREPARE p AS SELECT name FROM projects WHERE id = $1",
            "PREPARE p (int) AS DELETE FROM projects USING users u WHERE id = $1",
            "PREPARE p AS INSERT INTO projects (id) VALUES ($1) RETURNING name",
            "PREPARE p AS UPDATE projects SET name = $1 WHERE id = $2 AND version = $3 RETURNING name",
        ] {
            assert_eq!(prepare(text).known(), 0, "{text}");
            let sent = bumped(text);
            assert!(!sent.contains("__sg_") && !sent.contains("jsonb"), "{sent}");
        }
        // What its results show teaches.
        assert_eq!(prepare("PREPARE p AS SELECT * FROM projects").inner.teaches.len(), 1);
        assert_eq!(prepare("PREPARE p AS UPDATE projects SET name = 'x' RETURNING *").inner.teaches.len(), 1);
    }

    #[test]
    fn types_of_keys() {
        let plan = prepare(
            "PREPARE p (INT, pg_catalog.int8, uuid, text[], varchar(3), mine.int, char) AS \
             UPDATE projects SET name = 'x' WHERE id = $1",
        );
        assert_eq!(plan.types, [23, 20, 2950, 1009, OTHER_TYPE, OTHER_TYPE, OTHER_TYPE]);
        assert_eq!(plan.own_params, 7);
    }

    #[test]
    fn arguments() {
        for (text, name, arguments, sent, runs) in [
            ("EXECUTE p", "p", &[][..], "EXECUTE p (+)", true),
            ("EXECUTE \"P q\" -- c", "P q", &[], "EXECUTE \"P q\" (+) -- c", true),
            (
                "EXECUTE p (1, f(2, 3) /* c */)",
                "p",
                &["1", "f(2, 3)"],
                "EXECUTE p (1, f(2, 3), + /* c */)",
                true,
            ),
            ("EXPLAIN EXECUTE p(1)", "p", &["1"], "EXPLAIN EXECUTE p(1, +)", false),
            ("EXPLAIN (COSTS OFF) EXECUTE p(1)", "p", &["1"], "EXPLAIN (COSTS OFF) EXECUTE p(1, +)", false),
            ("EXPLAIN ANALYZE EXECUTE p(1)", "p", &["1"], "EXPLAIN ANALYZE EXECUTE p(1, +)", true),
            (
                "CREATE TABLE x AS EXECUTE p WITH NO DATA",
                "p",
                &[],
                "CREATE TABLE x AS EXECUTE p (+) WITH NO DATA",
                true,
            ),
        ] {
            let execute = only(text).execute.unwrap_or_else(|| panic!("{text}"));
            let found: Vec<_> = execute.arguments.iter().map(|a| &text[a.clone()]).collect();
            assert_eq!((&*execute.name, &*found, execute.runs), (name, arguments, runs), "{text}");
            let edit = execute.edit("+", false);
            assert_eq!(format!("{}{}{}", &text[..edit.at], edit.insert, &text[edit.at..]), sent);
        }
        let ignored = only("EXECUTE p (1, 'x')").execute.unwrap().edit("+", true);
        assert_eq!((ignored.at, ignored.remove, &*ignored.insert), (11, 6, "+"));
        for text in ["EXECUTE p ()", "EXECUTE p (1", "EXECUTE", "EXECUTE 'p'"] {
            assert!(
                super::super::testing::plan_of(text).statements.iter().all(|s| s.execute.is_none()),
                "{text}"
            );
        }
        let long = "n".repeat(70);
        assert_eq!(only(&format!("EXECUTE {long}")).execute.unwrap().name.len(), 63);
        assert_eq!(prepare(&format!("PREPARE {long} AS SELECT 1")).name.len(), 63);
    }
}
