//! INSERT into a protected table.
//!
//! ```text
//! INSERT INTO projects (id, name, version) VALUES (1, 'a', 1)
//!   ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name, version = EXCLUDED.version
//! INSERT INTO projects (id, name, version) VALUES (1, 'a', 1)
//!   ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name,
//!     version = CASE WHEN TRUE THEN projects.version + 1 ELSE EXCLUDED.version END
//! ```
//!
//! A plain INSERT overwrites nothing: it is not counted, but its RETURNING teaches, and what was known of the rows that it
//! names is of an earlier life of theirs.

use std::ops::Range;
use std::sync::Arc;

use super::Context;
use super::increment;
use super::plan::{GuardSite, Operand, Reason, ResultKind, Slot, Verb, VersionSource};
use super::site::comparable_key;
use super::statement::{Place, Statement};
use super::target::{Target, Written, unchecked};
use super::written_back::VersionSet;
use crate::catalog::Table;
use crate::catalog::nested::Event;
use crate::sql::clauses::{self, Insert};
use crate::sql::code::Code;
use crate::sql::columns::ColumnSet;
use crate::sql::keys::KeyType;
use crate::sql::operand;
use crate::sql::token::TokenKind;

impl Statement<'_> {
    /// Plans the INSERT that begins at token `i`.
    pub fn insert(&mut self, i: usize, end: usize, place: Place) {
        let code = self.code;
        let Some(insert) = clauses::insert(code, i, end) else { return self.uncertain(i..end) };
        let table = match self.target(&insert.target) {
            Target::Table(table) => table,
            Target::View(root) => return self.view(root),
            Target::Other => return,
        };
        self.touch(place, table, Event::Insert);
        if insert.set.is_some() {
            self.touch(place, table, Event::Update);
            self.touch(place, table, Event::KeyUpdate);
        }
        // The rows that a plain INSERT returns are new: nothing that is known of a row moves with them.
        let updates = insert.set.is_some();
        if place.returns() {
            self.returning(insert.returning.clone(), &insert.target, table, updates);
        }
        let Some(set) = insert.set.clone() else {
            return self.plain_insert(&insert, table, i..end, place);
        };
        let reason = match Written::new(code, self.ctx, &insert.target, table) {
            _ if !self.certain => Reason::Unparsed,
            _ if !table.may_write => Reason::Privilege,
            None => Reason::Encoding,
            Some(written) => match increment::set_list(code, self.ctx.lex, &written, set, false) {
                Some(list) if list.only_ignored => {
                    if place.returns() {
                        // What it updates it leaves as somebody else has left it.
                        self.out.result = ResultKind::Read;
                    }
                    return self.touch_ignored(place, table);
                }
                Some(list) => {
                    let certain_keys = conflicts_on_key(code, &insert, table);
                    let keys_stay = !list.moves_key || certain_keys && key_is_excluded(code, &insert, table);
                    let positions = key_positions(code, &insert, table).filter(|_| certain_keys);
                    let keys = proposed_keys(code, self.ctx, &insert, table, positions);
                    let source = match list.version {
                        VersionSet::Value(Some(value)) if keys.len() == 1 => {
                            VersionSource::WrittenBack(value)
                        }
                        _ => VersionSource::Observed,
                    };
                    let site = GuardSite {
                        table: table.clone(),
                        reference: written.reference.clone(),
                        keys,
                        sets: list.sets,
                        self_relative: list.self_relative,
                        moves_key: !keys_stay,
                        bare: false,
                        source,
                        reason: self.reason(place).unwrap_or(Reason::OnConflict),
                        verb: Verb::Upsert,
                        slot: list.slot,
                        guardable: comparable_key(table),
                        cursor: None,
                    };
                    if insert.returning.is_none() {
                        self.hidden_result(place, &site, end);
                    }
                    return self.write(place, site);
                }
                None => Reason::Unparsed,
            },
        };
        self.unchecked(place, unchecked(table, reason, Vec::new()));
    }
}

impl Statement<'_> {
    /// Plans an INSERT that updates nothing.
    fn plain_insert(&mut self, insert: &Insert, table: &Arc<Table>, tokens: Range<usize>, place: Place) {
        let code = self.code;
        if !self.certain || place == Place::Shown {
            return;
        }
        let depth = code.depth(tokens.start);
        let has = |words: &[&str]| tokens.clone().any(|n| code.depth(n) == depth && code.words(n, words));
        // The key is then made by the server, whatever is proposed.
        let certain = !has(&["overriding", "user", "value"]);
        let positions = match insert.columns {
            Some(_) => key_positions(code, insert, table),
            None => Some(table.key.clone()),
        };
        let keys = proposed_keys(code, self.ctx, insert, table, positions.filter(|_| certain));
        let returns = place.returns() && insert.returning.is_some();
        if keys.is_empty() && !returns {
            return;
        }
        self.out.sites.push(GuardSite {
            table: table.clone(),
            reference: Box::default(),
            keys,
            sets: ColumnSet::new(),
            self_relative: true,
            moves_key: false,
            bare: !has(&["on", "conflict"]),
            source: VersionSource::Observed,
            reason: self.reason(place).unwrap_or(Reason::Batch),
            verb: Verb::Insert,
            slot: Slot::Nothing,
            guardable: false,
            cursor: None,
        });
    }
}

/// Where among the columns that it names an INSERT has those of the key; `None` if it names none, or not all of them.
fn key_positions(code: Code<'_>, insert: &Insert, table: &Table) -> Option<Vec<usize>> {
    let columns: Vec<_> = code.split_commas(insert.columns.clone()?).collect();
    let at = |name: &str| columns.iter().position(|c| c.len() == 1 && code.is_name(c.start, name));
    table.key_columns().map(|key| at(&key.name)).collect()
}

/// The keys of the rows that an `INSERT .. VALUES ..` proposes, which has them at these places of each row; empty if any
/// of them is not certain.
fn proposed_keys(
    code: Code<'_>,
    ctx: &Context<'_>,
    insert: &Insert,
    table: &Table,
    positions: Option<Vec<usize>>,
) -> Vec<Vec<Operand>> {
    let (Some(positions), Some(values)) = (positions, insert.values.clone()) else { return Vec::new() };
    let positions: Option<Vec<_>> = table
        .key_columns()
        .zip(positions)
        .map(|(key, at)| Some((at, KeyType::from_oid(key.type_oid).filter(|ty| ty.is_stored_as_given())?)))
        .collect();
    let Some(positions) = positions.filter(|p| !p.is_empty()) else { return Vec::new() };
    let row = |row: Range<usize>| -> Option<Vec<Operand>> {
        if !code.is_group(&row) || !code.is(row.start, TokenKind::LParen) {
            return None;
        }
        let items: Vec<_> = code.split_commas(row.start + 1..row.end - 1).collect();
        positions
            .iter()
            .map(|(at, ty)| operand::value(code, items.get(*at)?.clone(), *ty, ctx.lex).map(Operand::from))
            .collect()
    };
    code.split_commas(values).map(row).collect::<Option<Vec<_>>>().unwrap_or_default()
}

/// `ON CONFLICT (key)`: the row updated has the key that was proposed. On another constraint it may have any.
fn conflicts_on_key(code: Code<'_>, insert: &Insert, table: &Table) -> bool {
    let Some(target) = insert.conflict_target.clone() else { return false };
    let names: Vec<_> = code.split_commas(target).collect();
    names.len() == table.key.len()
        && table.key_columns().all(|k| names.iter().any(|n| n.len() == 1 && code.is_name(n.start, &k.name)))
}

/// Every key column that DO UPDATE sets is set to the proposed value (`"id" = EXCLUDED."id"`, as Sequelize does):
/// the row keeps its key if the key is what it conflicts on.
fn key_is_excluded(code: Code<'_>, insert: &Insert, table: &Table) -> bool {
    let Some(set) = insert.set.clone() else { return false };
    let is_key = |i: usize| table.key_columns().any(|k| code.is_name(i, &k.name));
    code.split_commas(set).filter(|part| is_key(part.start)).all(|part| {
        part.len() == 5
            && code.op(part.start + 1, b"=")
            && code.is_name(part.start + 2, "excluded")
            && code.is(part.start + 3, TokenKind::Dot)
            && code.name(part.start).is_some_and(|name| code.is_name(part.start + 4, &name))
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::plan::{Operand, Reason, Verb};
    use super::super::testing::{bumped, only, plan_of, reasons};

    #[test]
    fn bumps() {
        for (text, want) in [
            (
                "INSERT INTO projects (id, version) VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET name = 'x', version = EXCLUDED.version WHERE projects.name = 'y' RETURNING id",
                "INSERT INTO projects (id, version) VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET name = 'x', version = CASE WHEN TRUE THEN projects.version + 1 ELSE EXCLUDED.version END WHERE projects.name = 'y' RETURNING id, projects.version AS __sg_v1",
            ),
            (
                "INSERT INTO public.projects AS p SELECT * FROM x WHERE a ON CONFLICT ON CONSTRAINT projects_pkey DO UPDATE SET (name, budget) = (EXCLUDED.name, 1)",
                "INSERT INTO public.projects AS p SELECT * FROM x WHERE a ON CONFLICT ON CONSTRAINT projects_pkey DO UPDATE SET (name, budget) = (EXCLUDED.name, 1), version = p.version + 1",
            ),
            (
                "INSERT INTO projects VALUES ($1) ON CONFLICT (id) WHERE a DO UPDATE SET version = EXCLUDED.version + 1, name = $2",
                "INSERT INTO projects VALUES ($1) ON CONFLICT (id) WHERE a DO UPDATE SET version = CASE WHEN TRUE THEN projects.version + 1 ELSE EXCLUDED.version + 1 END, name = $2",
            ),
            (
                "INSERT INTO projects VALUES ($1) ON CONFLICT (id) DO UPDATE SET version = projects.version + 1",
                "INSERT INTO projects VALUES ($1) ON CONFLICT (id) DO UPDATE SET version = projects.version + 1",
            ),
        ] {
            assert_eq!(bumped(text), want);
            assert_eq!(reasons(&only(text))[0].0, Reason::OnConflict);
        }
    }

    #[test]
    fn plain_inserts_overwrite_nothing() {
        for text in [
            "INSERT INTO projects (id) VALUES (1)",
            "INSERT INTO projects VALUES (1) RETURNING *",
            "WITH i AS (INSERT INTO projects (id) VALUES (1)) SELECT 1",
            "EXPLAIN INSERT INTO projects (id) VALUES (1)",
            "COPY (INSERT INTO projects (id) VALUES (1) RETURNING id) TO STDOUT",
            "INSERT INTO projects DEFAULT VALUES",
            "INSERT INTO projects (id) VALUES (1) ON CONFLICT DO NOTHING",
            "INSERT INTO projects TABLE other",
            "INSERT INTO projects WITH x AS (SELECT 1) SELECT * FROM x",
            "INSERT INTO projects (id) OVERRIDING SYSTEM VALUE VALUES (1)",
            "INSERT INTO other (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = 'x'",
        ] {
            assert_eq!(bumped(text), text);
            assert!(only(text).unguarded().is_empty(), "{text}");
            assert!(!only(text).takes_guard() && only(text).point.is_none(), "{text}");
        }
    }

    #[test]
    fn rows_that_begin_anew() {
        let key = |v: &str| vec![Operand::Literal(v.into())];
        for (text, keys, certain) in [
            (
                "INSERT INTO projects (name, id) VALUES ('a', 1), ('b', $2)",
                vec![key("1"), vec![Operand::Param(2)]],
                true,
            ),
            ("INSERT INTO projects VALUES ('7', NULL, 'x')", vec![key("7")], true),
            ("INSERT INTO user_roles VALUES (1, 'a', 'x')", vec![[key("1"), key("a")].concat()], true),
            ("INSERT INTO projects (id) OVERRIDING SYSTEM VALUE VALUES (1)", vec![key("1")], true),
            ("INSERT INTO projects (id) VALUES (1) ON CONFLICT DO NOTHING", vec![key("1")], false),
            ("WITH i AS (INSERT INTO projects (id) VALUES (1)) SELECT 1", vec![key("1")], true),
            ("EXPLAIN ANALYZE INSERT INTO projects (id) VALUES (1)", vec![key("1")], true),
            // The result tells which.
            ("INSERT INTO projects (name) VALUES ('x') RETURNING id", vec![], true),
            ("INSERT INTO projects (id) SELECT 1 RETURNING name", vec![], true),
            ("INSERT INTO projects (id) OVERRIDING USER VALUE VALUES (1) RETURNING id", vec![], true),
        ] {
            let site = &only(text).sites[0];
            assert_eq!((&site.keys, site.bare, site.verb), (&keys, certain, Verb::Insert), "{text}");
        }
        for text in [
            "INSERT INTO projects (id) OVERRIDING USER VALUE VALUES (1)",
            "INSERT INTO projects (id) VALUES (1), (DEFAULT)",
            "INSERT INTO projects (name) VALUES ('x')",
            "INSERT INTO projects (id) SELECT 1",
            "INSERT INTO amounts (id) VALUES (1)",
            "WITH i AS (INSERT INTO projects (name) VALUES ('x') RETURNING id) SELECT * FROM i",
            "EXPLAIN INSERT INTO projects (id) VALUES (1)",
            "SET search_path = x; INSERT INTO projects (id) VALUES (1)",
        ] {
            let plan = plan_of(text);
            assert!(plan.statements.iter().all(|s| s.sites.is_empty()), "{text}");
        }
    }

    #[test]
    fn proposed_keys() {
        let key = |v: &str| vec![Operand::Literal(v.into())];
        for (text, keys) in [
            (
                "(name, id) VALUES ('a', 1), ('b', '2') ON CONFLICT (id) DO UPDATE SET name = 'x'",
                vec![key("1"), key("2")],
            ),
            (
                "(id) VALUES ($1) ON CONFLICT (id) DO UPDATE SET id = EXCLUDED.id, name = 'x'",
                vec![vec![Operand::Param(1)]],
            ),
            ("(id) VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 7", vec![]),
            ("(id) VALUES (1) ON CONFLICT (name) DO UPDATE SET status = 'x'", vec![]),
            ("(id) VALUES (DEFAULT) ON CONFLICT (id) DO UPDATE SET name = 'x'", vec![]),
            ("(id) SELECT 1 ON CONFLICT (id) DO UPDATE SET name = 'x'", vec![]),
            ("VALUES (1) ON CONFLICT (id) DO UPDATE SET name = 'x'", vec![]),
        ] {
            assert_eq!(only(&format!("INSERT INTO projects {text}")).unguarded()[0].keys, keys, "{text}");
        }
    }

    #[test]
    fn left_alone() {
        for (text, reason) in [
            ("INSERT INTO locked VALUES (1) ON CONFLICT (id) DO UPDATE SET name = 'x'", Reason::Privilege),
            ("INSERT INTO open_projects VALUES (1)", Reason::View),
            (
                "INSERT INTO projects VALUES (1) ON CONFLICT (id) DO UPDATE SET (name, version) = (SELECT 1, 2)",
                Reason::Unparsed,
            ),
        ] {
            assert_eq!(bumped(text), text);
            assert_eq!(only(text).unchecked[0].reason, reason, "{text}");
        }
    }
}
