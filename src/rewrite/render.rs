//! Puts a plan's pieces into the text.

use super::guard;
use super::known::Known;
use super::plan::{Edit, GuardSite, Plan, PointWrite, StatementPlan};
use crate::sql::ident::quote_ident;
use crate::sql::splice::{self, SpliceMap};

/// What a statement of a Query is checked against. By default it only bumps.
#[derive(Debug, Clone, Copy, Default)]
pub struct Checks<'a> {
    /// Predicate form: the version that the row of its point write must have.
    pub version: Option<i64>,
    /// Guard form: what is known of the rows of each of its `sites`. Missing, `None` or empty: the site only bumps.
    pub guards: &'a [Option<Known>],
    /// Its hidden result goes in, where it has one.
    pub hidden_result: bool,
    /// Arguments that are added to its EXECUTE, and whether the server looks at those of the client.
    pub arguments: Option<Arguments<'a>>,
}

/// Arguments for an EXECUTE.
#[derive(Debug, Clone, Copy)]
pub struct Arguments<'a> {
    /// What goes behind the client's own.
    pub added: &'a str,
    /// What it runs has no parameters that the client knows of: its own arguments count for nothing.
    pub own_ignored: bool,
}

/// The parameters added to a Parse. A Bind sends NULL for the one that it does not use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HiddenParams {
    /// Number of the expected version's, of the version column's type; 0: none, no predicate.
    pub version: u16,
    /// Number of what is known of the rows of all sites, a `jsonb` ([`super::known::parameter`]); 0: none, no guard.
    pub known: u16,
    /// Guards accept what the transaction's own writes left ([`Known::accept_own`]). They need to read `xmin`, which
    /// the role may do only with SELECT on the whole table.
    pub own_writes: bool,
}

/// A rewritten text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendered {
    /// What goes to the server.
    pub text: Vec<u8>,
    /// The way back for error positions.
    pub map: SpliceMap,
}

/// The text of a Query with the checks of its statements (missing ones only bump). `nonce` (letters and digits, a
/// letter first, not to be guessed) marks what guards raise. `None` if nothing changes: the original goes out.
pub fn render_query(plan: &Plan, text: &[u8], checks: &[Checks<'_>], nonce: &str) -> Option<Rendered> {
    let mut edits = Vec::new();
    for (n, statement) in plan.statements.iter().enumerate() {
        let checks = checks.get(n).copied().unwrap_or_default();
        edits.extend(statement.edits.iter().cloned());
        edits.extend(prepared(statement, nonce)?);
        if let (Some(execute), Some(arguments)) = (&statement.execute, checks.arguments) {
            edits.push(execute.edit(arguments.added, arguments.own_ignored));
        }
        edits.extend(predicate(statement, |_| checks.version.map(|v| v.to_string())));
        for (s, site) in statement.sites.iter().enumerate() {
            let known = checks.guards.get(s).and_then(Option::as_ref).filter(|k| !k.is_empty());
            let guard = known.filter(|_| site.takes_guard()).and_then(|known| {
                let json = guard::Json::Literal(&known.to_json());
                let (strict, own_writes) = (known.refuses_others(), known.accepts_own());
                guard::guard(site, json, strict, own_writes, &guard::marker(nonce, n, s))
            });
            edits.extend(increment(site, guard.as_ref())?);
        }
        // Behind whatever else goes to the statement's end.
        edits.extend(hidden_result(statement).filter(|_| checks.hidden_result));
    }
    apply(text, edits)
}

/// The text of a Parse, whose write is checked against the added parameters. `nonce` as for [`render_query`], for the
/// life of the prepared statement. `None` if nothing changes.
pub fn render_parse(plan: &Plan, text: &[u8], params: HiddenParams, nonce: &str) -> Option<Rendered> {
    let mut edits = Vec::new();
    for (n, statement) in plan.statements.iter().enumerate() {
        edits.extend(statement.edits.iter().cloned());
        edits.extend(predicate(statement, |point| {
            let ty = point.table.version_type.sql_name();
            let version = version_of(point)?;
            (params.version > 0).then(|| format!("COALESCE(${}::pg_catalog.{ty}, {version})", params.version))
        }));
        edits.extend(prepared(statement, nonce)?);
        edits.extend(by_parameter(statement, params, n, nonce)?);
        edits.extend(hidden_result(statement));
    }
    apply(text, edits)
}

/// The increments of a statement whose guards take what is known from a parameter.
fn by_parameter(statement: &StatementPlan, params: HiddenParams, n: usize, nonce: &str) -> Option<Vec<Edit>> {
    let mut edits = Vec::new();
    for (s, site) in statement.sites.iter().enumerate() {
        let guard = (params.known > 0 && site.takes_parameter()).then(|| {
            let json = guard::Json::Param { number: params.known, site: s };
            guard::guard(site, json, site.is_strict(), params.own_writes, &guard::marker(nonce, n, s))
        });
        edits.extend(increment(site, guard.flatten().as_ref())?);
    }
    Some(edits)
}

/// The edits of what a PREPARE prepares, and of its list of types.
fn prepared(statement: &StatementPlan, nonce: &str) -> Option<Vec<Edit>> {
    let Some(prepare) = &statement.prepares else { return Some(Vec::new()) };
    let params = HiddenParams { version: 0, known: prepare.known(), own_writes: prepare.own_writes() };
    let mut edits = prepare.inner.edits.clone();
    if let (Some(at), true) = (prepare.types_end, params.known > 0) {
        edits.push(Edit::insert(at, ", pg_catalog.jsonb"));
    }
    edits.extend(by_parameter(&prepare.inner, params, 0, nonce)?);
    Some(edits)
}

/// A constant of type jsonb, or NULL.
pub fn jsonb(json: Option<&str>) -> String {
    let value = json.map_or_else(|| "NULL".to_owned(), guard::literal);
    format!("{value}::pg_catalog.jsonb")
}

/// The brackets and the condition of the predicate form.
fn predicate(
    statement: &StatementPlan,
    expected: impl Fn(&PointWrite) -> Option<String>,
) -> impl IntoIterator<Item = Edit> {
    let point = statement.point.as_ref().filter(|p| p.takes_check());
    point
        .and_then(|point| {
            let (expected, version) = (expected(point)?, version_of(point)?);
            Some([
                Edit::insert(point.open_at, "("),
                Edit::insert(point.check_at, format!(") AND {version} = {expected}")),
            ])
        })
        .into_iter()
        .flatten()
}

fn hidden_result(statement: &StatementPlan) -> Option<Edit> {
    statement.hidden_result.as_ref().map(|hidden| Edit::insert(hidden.at, hidden.returning.clone()))
}

fn increment(site: &GuardSite, guard: Option<&super::site::Guard>) -> Option<Vec<Edit>> {
    let bump = format!("{} + 1", guard::version_of(site)?);
    Some(site.slot.edits(&bump, site.table.version_type, guard))
}

fn apply(text: &[u8], mut edits: Vec<Edit>) -> Option<Rendered> {
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

    use super::super::testing::{NONCE, checked, plan_of};
    use super::*;

    const FIVE: Checks<'_> = Checks { version: Some(5), guards: &[], hidden_result: false, arguments: None };

    #[test]
    fn nothing_to_change() {
        let params = HiddenParams { version: 1, known: 2, own_writes: true };
        for text in
            ["SELECT 1", "BEGIN", "", ";;", "UPDATE other SET a = 1 WHERE id = 1", "SELECT * FROM projects"]
        {
            assert_eq!(render_query(&plan_of(text), text.as_bytes(), &[FIVE], NONCE), None, "{text}");
            assert_eq!(render_parse(&plan_of(text), text.as_bytes(), params, NONCE), None, "{text}");
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
        let rendered = render_query(&plan_of(text), text.as_bytes(), &[FIVE], NONCE).unwrap();
        let rewritten = String::from_utf8(rendered.text).unwrap();
        let at = rewritten.find("id = 1").unwrap();
        assert_eq!(rendered.map.original_offset(at), text.find("id = 1").unwrap());
    }
}
