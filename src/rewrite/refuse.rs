//! A statement that a setting refuses, since nothing could check it.
//!
//! ```text
//! UPDATE open_projects SET name = 'x'
//! SELECT CAST('staleguard refused a write (<nonce>:blind:view:70726f6a65637473)' AS pg_catalog.int4)
//! ```
//!
//! In its place goes one that makes the server itself fail, so that what went before is rolled back and what follows
//! is answered as PostgreSQL does it. The session recognises its nonce in the error and puts the real one in place.

use super::plan::{Edit, Effect, Plan, Reason, Slot, StatementPlan, Verb, VersionSource};

/// Which setting refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// `on_unparsed = "reject"`.
    Unparsed,
    /// `blind = "reject"` of the table.
    Blind,
}

impl Rule {
    fn word(self) -> &'static str {
        match self {
            Self::Unparsed => "unparsed",
            Self::Blind => "blind",
        }
    }
}

/// A refused statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The setting.
    pub rule: Rule,
    /// Why it cannot be checked: a label of [`Reason`].
    pub reason: Box<str>,
    /// Root name of the table written.
    pub table: Box<str>,
}

impl Refusal {
    /// Of a write of this table.
    pub fn new(rule: Rule, reason: Reason, table: &str) -> Self {
        Self { rule, reason: reason.label().into(), table: table.into() }
    }

    /// The statement that fails in the place of the refused one.
    pub fn text(&self, nonce: &str) -> String {
        let table: String = self.table.bytes().map(|b| format!("{b:02x}")).collect();
        let (rule, reason) = (self.rule.word(), &self.reason);
        format!(
            "SELECT CAST('staleguard refused a write ({nonce}:{rule}:{reason}:{table})' AS pg_catalog.int4)"
        )
    }

    /// Reads the message of the error that [`Self::text`] raises.
    pub fn read(message: &str, nonce: &str) -> Option<Self> {
        if nonce.is_empty() {
            return None;
        }
        let told = message.get(message.find(nonce)? + nonce.len()..)?.strip_prefix(':')?;
        let mut parts = told.split(')').next()?.split(':');
        let rule = parts.next()?;
        let rule = [Rule::Unparsed, Rule::Blind].into_iter().find(|r| r.word() == rule)?;
        let reason = parts.next()?.into();
        let hex = parts.next()?;
        let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
        let table: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(byte).collect();
        Some(Self { rule, reason, table: String::from_utf8(table?).ok()?.into() })
    }
}

/// What refuses a statement. `unparsed`: `on_unparsed = "reject"`; `strict`: the root OID's table refuses blind
/// writes, and for a DELETE has it checked; `by_predicate`: its point write may be sent in the predicate form;
/// `prepared`: what is known travels as a parameter.
pub fn refusal(
    statement: &StatementPlan,
    unparsed: bool,
    strict: impl Fn(u32, Reason) -> bool,
    by_predicate: bool,
    prepared: bool,
) -> Option<Refusal> {
    let by_unchecked = statement.unchecked.iter().find_map(|write| match write.reason {
        Reason::Unparsed if unparsed => Some(Refusal::new(Rule::Unparsed, write.reason, &write.table)),
        // It only inserts.
        Reason::Copy => None,
        reason if strict(write.root_oid, reason) => Some(Refusal::new(Rule::Blind, reason, &write.table)),
        _ => None,
    });
    let point = statement.point.as_ref().filter(|_| by_predicate).map(|p| p.site);
    by_unchecked.or_else(|| {
        let mut sites = statement.sites.iter().enumerate();
        sites.find_map(|(n, site)| {
            let guardable = site.guardable && !(prepared && matches!(site.slot, Slot::Returning { .. }));
            let blind = site.is_strict() && !guardable && !site.self_relative;
            let explicit = matches!(site.source, VersionSource::InPredicate(_));
            let refused = blind && !explicit && Some(n) != point;
            refused.then(|| Refusal::new(Rule::Blind, site.reason, &site.table.root_name))
        })
    })
}

/// What refuses an EXECUTE, in SQL, of this statement that a Parse has made: it runs without any check.
pub fn of_execute(statement: &StatementPlan) -> Option<Refusal> {
    let mut sites = statement.sites.iter();
    let blind = sites.find(|s| s.is_strict() && !s.self_relative && s.verb != Verb::Delete)?;
    Some(Refusal::new(Rule::Blind, Reason::Nested, &blind.table.root_name))
}

impl Plan {
    /// The plan for the same text where the statement of this index is refused.
    pub fn refusing(&self, index: usize, refusal: &Refusal, nonce: &str) -> Self {
        let mut plan = self.clone();
        if let Some(statement) = plan.statements.get_mut(index) {
            let range = statement.range.clone();
            let edit = Edit { at: range.start, remove: range.len(), insert: refusal.text(nonce).into() };
            *statement = StatementPlan {
                range,
                effect: Effect::None,
                is_query: statement.is_query,
                edits: vec![edit],
                ..StatementPlan::default()
            };
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::render::render_query;
    use super::super::testing::{only, plan_of};
    use super::*;

    #[test]
    fn a_refusal_comes_back_in_the_error() {
        let refusal = Refusal::new(Rule::Blind, Reason::View, "Odd 'Name' ü");
        let text = refusal.text("sg7f");
        assert!(text.is_ascii() && !text.contains('"'));
        let literal = text.split('\'').nth(1).unwrap();
        let message = format!("ungültige Eingabesyntax für Typ integer: »{literal}«");
        assert_eq!(Refusal::read(&message, "sg7f"), Some(refusal));
        for message in
            ["", "sg7f", "sg7f:blind", "sg7f:blind:view:7", "sg7f:x:view:70)", "sg7e:blind:view:70)"]
        {
            assert_eq!(Refusal::read(message, "sg7f"), None, "{message}");
        }
        assert_eq!(Refusal::read(":blind:view:70)", ""), None);
    }

    #[test]
    fn it_takes_the_place_of_its_statement_alone() {
        let text = "BEGIN; /* a */ UPDATE projects SET name; UPDATE projects SET name = 'x' WHERE id = 1";
        let plan = plan_of(text);
        let refused: Vec<_> =
            plan.statements.iter().map(|s| refusal(s, true, |_, _| false, true, false).is_some()).collect();
        assert_eq!(refused, [false, true, false]);
        let refusal = refusal(&plan.statements[1], true, |_, _| false, true, false).unwrap();
        let plan = plan.refusing(1, &refusal, "sg");
        let rendered = render_query(&plan, text.as_bytes(), &[], "sg").unwrap();
        assert_eq!(
            String::from_utf8(rendered.text).unwrap(),
            "BEGIN;SELECT CAST('staleguard refused a write (sg:unparsed:unparsed:70726f6a65637473)' AS pg_catalog.int4); \
             UPDATE projects SET name = 'x', version = projects.version + 1 WHERE id = 1"
        );
    }

    #[test]
    fn what_a_strict_table_refuses() {
        for (text, reason) in [
            ("UPDATE open_projects SET name = 'x'", Some("view")),
            ("UPDATE projects SET name", Some("unparsed")),
            ("COPY (UPDATE projects SET name = 'x' RETURNING id) TO STDOUT", Some("nested")),
            ("WITH d AS (DELETE FROM projects WHERE f(name) RETURNING id) SELECT * FROM d", Some("cte")),
            // Checked, or nothing to check.
            ("UPDATE projects SET name = 'x'", None),
            ("UPDATE projects SET name = 'x' WHERE CURRENT OF c", None),
            ("DELETE FROM projects WHERE id = 1", None),
            ("DELETE FROM projects WHERE id IN (1, 2)", None),
            ("DELETE FROM projects WHERE f(name)", None),
            ("DELETE FROM projects WHERE CURRENT OF c", None),
            ("COPY projects FROM STDIN", None),
            ("INSERT INTO projects (id) VALUES (1)", None),
            ("EXPLAIN UPDATE projects SET name = 'x'", None),
            ("SELECT 1", None),
        ] {
            let found = refusal(&only(text), false, |_, _| true, true, false);
            assert_eq!(found.as_ref().map(|r| &*r.reason), reason, "{text}");
            assert_eq!(refusal(&only(text), false, |_, _| false, true, false), None, "{text}");
        }
        // What an EXECUTE of it would run, where what is known goes as an argument.
        for (text, reason) in [
            ("PREPARE p AS UPDATE open_projects SET name = 'x'", Some("view")),
            ("PREPARE p AS UPDATE projects SET name = 'x'", None),
            ("PREPARE p AS DELETE FROM projects WHERE id = 1", None),
        ] {
            let inner = only(text).prepares.unwrap().inner;
            let found = refusal(&inner, false, |_, _| true, false, true);
            assert_eq!(found.as_ref().map(|r| &*r.reason), reason, "{text}");
        }
    }
}
