//! A small catalog for table-driven tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashMap;
use std::sync::Arc;

use super::known::Known;
use super::plan::Operand;
use super::plan::{Plan, StatementPlan};
use super::render::{Checks, HiddenParams, render_parse, render_query};
use super::{Context, plan};
use crate::catalog::{
    Column, CurrentState, ExplicitPredicate, OnDeleted, Table, TableSettings, VersionType, View,
};
use crate::sql::lexer::LexOptions;

const INT4: u32 = 23;
const TEXT: u32 = 25;
const UUID: u32 = 2950;
const NUMERIC: u32 = 1700;
const TIMESTAMP: u32 = 1114;
const FLOAT8: u32 = 701;
const BOOL: u32 = 16;

/// OID of `projects` in [`view`].
pub const PROJECTS: u32 = 1001;

fn table(oid: u32, schema: &str, name: &str, key: &[&str], columns: &[(&str, u32)]) -> Table {
    let entity = name.strip_suffix('s').unwrap_or(name);
    let columns: Vec<Column> = columns
        .iter()
        .enumerate()
        .map(|(slot, (name, type_oid))| Column {
            attnum: slot as i16 + 1,
            name: (*name).into(),
            type_oid: *type_oid,
            slot,
        })
        .collect();
    let at = |wanted: &str| columns.iter().position(|c| &*c.name == wanted).unwrap();
    let version = columns.iter().position(|c| c.name.eq_ignore_ascii_case("version")).unwrap();
    Table {
        oid,
        root_oid: oid,
        schema: schema.into(),
        name: name.into(),
        root_name: name.into(),
        entity: entity.into(),
        key: key.iter().map(|k| at(k)).collect(),
        version,
        version_type: VersionType::Int4,
        columns: columns.clone(),
        visible: schema == "public",
        statement_triggers: false,
        version_triggers: false,
        ignored_may_bump: false,
        is_view: false,
        nested: Default::default(),
        delete_rules: false,
        late_triggers: false,
        rules: false,
        row_security: false,
        part: false,
        parent: false,
        may_read: true,
        may_read_all: true,
        may_write: true,
        ignored: Default::default(),
        settings: Arc::new(TableSettings {
            schema: schema.into(),
            name: name.into(),
            entity: entity.into(),
            version_column: "version".into(),
            version_type: VersionType::Int4,
            adopt: false,
            mode: Default::default(),
            blind: Default::default(),
            check_delete: true,
            ignored_columns: Vec::new(),
            for_update_refreshes: false,
            on_deleted: OnDeleted::default(),
            explicit_predicate: ExplicitPredicate::default(),
            current_state: CurrentState::default(),
            redact_columns: Vec::new(),
        }),
    }
}

/// The catalog of the tests: `projects` (int key, `updated_at` ignored), `users` (uuid key), `user_roles` (composite key), `"Odd Name"`
/// (mixed case), `archive.rates` (not in the search_path), `events` and its partition `events_2024`, tables with
/// a smallint version, a float key, a statement trigger, and without privileges.
pub fn view() -> View {
    let mut projects = table(
        PROJECTS,
        "public",
        "projects",
        &["id"],
        &[
            ("id", INT4),
            ("portfolio_id", UUID),
            ("name", TEXT),
            ("budget", NUMERIC),
            ("status", TEXT),
            ("updated_at", TIMESTAMP),
            ("version", INT4),
        ],
    );
    projects.ignored = [5].into_iter().collect();
    let users = table(
        1002,
        "public",
        "users",
        &["id"],
        &[("id", UUID), ("email", TEXT), ("active", BOOL), ("version", INT4)],
    );
    let user_roles = table(
        1003,
        "public",
        "user_roles",
        &["user_id", "role"],
        &[("user_id", INT4), ("role", TEXT), ("note", TEXT), ("version", INT4)],
    );
    let odd = table(
        1004,
        "public",
        "Odd Name",
        &["Id"],
        &[("Id", INT4), ("Full Name", TEXT), ("Version", INT4), ("select", TEXT)],
    );
    let rates =
        table(1005, "archive", "rates", &["id"], &[("id", INT4), ("amount", NUMERIC), ("version", INT4)]);
    let events =
        table(1006, "public", "events", &["id"], &[("id", INT4), ("title", TEXT), ("version", INT4)]);
    let mut partition =
        table(1007, "public", "events_2024", &["id"], &[("title", TEXT), ("id", INT4), ("version", INT4)]);
    partition.root_oid = 1006;
    partition.root_name = "events".into();
    for (column, slot) in partition.columns.iter_mut().zip([1, 0, 2]) {
        column.slot = slot;
    }
    let mut small = table(1008, "public", "small", &["id"], &[("id", INT4), ("name", TEXT), ("version", 21)]);
    small.version_type = VersionType::Int2;
    let amounts =
        table(1009, "public", "amounts", &["id"], &[("id", FLOAT8), ("name", TEXT), ("version", INT4)]);
    let mut triggered =
        table(1010, "public", "triggered", &["id"], &[("id", INT4), ("name", TEXT), ("version", INT4)]);
    triggered.statement_triggers = true;
    let mut locked =
        table(1011, "public", "locked", &["id"], &[("id", INT4), ("name", TEXT), ("version", INT4)]);
    locked.may_read = false;
    locked.may_write = false;
    let tables: Vec<Arc<Table>> =
        [projects, users, user_roles, odd, rates, events, partition, small, amounts, triggered, locked]
            .into_iter()
            .map(Arc::new)
            .collect();
    let by_oid: HashMap<u32, usize> = tables.iter().enumerate().map(|(n, t)| (t.oid, n)).collect();
    View {
        generation: 1,
        tables,
        by_oid,
        movers: ["set_tenant", "My Tenant"].map(Into::into).into(),
        aggregates: ["count", "sum", "max", "min", "avg", "array_agg", "my_agg"].map(Into::into).into(),
        labels: Default::default(),
        identities: Vec::new(),
        prefilter: Default::default(),
        views: vec![("public".into(), "open_projects".into(), "projects".into())],
    }
}

/// The plan of a text under [`view`] and default settings.
pub fn plan_of(text: &str) -> Plan {
    plan_in(&view(), text)
}

/// The plan of a text under this view.
pub fn plan_in(view: &View, text: &str) -> Plan {
    plan(text.as_bytes(), &Context { view, lex: &LexOptions::default(), names_may_return: false })
}

/// The plan of the text's only statement.
pub fn only(text: &str) -> StatementPlan {
    let mut plan = plan_of(text);
    assert_eq!(plan.statements.len(), 1, "{text}");
    plan.statements.remove(0)
}

/// The text as a Query without a known version.
pub fn bumped(text: &str) -> String {
    let rendered = render_query(&plan_of(text), text.as_bytes(), &[], NONCE);
    rendered.map_or(text.to_owned(), |r| String::from_utf8(r.text).unwrap())
}

/// The text as a Query without a known version, whose statements have their hidden results.
pub fn returned(text: &str) -> String {
    let plan = plan_of(text);
    let checks = vec![Checks { hidden_result: true, ..Checks::default() }; plan.statements.len()];
    let rendered = render_query(&plan, text.as_bytes(), &checks, NONCE);
    let bumps = [
        ", version = projects.version + 1",
        ", version = \"P\".version + 1",
        ", version = user_roles.version + 1",
        ", version = users.version + 1",
    ];
    let text = rendered.map_or(text.to_owned(), |r| String::from_utf8(r.text).unwrap());
    bumps.iter().fold(text, |text, bump| text.replace(bump, ""))
}

/// The text as a Query whose first statement expects version 5.
pub fn checked(text: &str) -> String {
    let rendered = render_query(
        &plan_of(text),
        text.as_bytes(),
        &[Checks { version: Some(5), ..Checks::default() }],
        NONCE,
    );
    rendered.map_or(text.to_owned(), |r| String::from_utf8(r.text).unwrap())
}

/// The text as a Query whose sites know the rows that they name by constants, under version 5, or a row of key 7 in
/// each key column.
pub fn guarded(text: &str) -> String {
    let plan = plan_of(text);
    let known = |site: &super::plan::GuardSite| {
        let literal = |part: &Operand| match part {
            Operand::Literal(text) => Some(text.clone()),
            Operand::Param(_) | Operand::Elements(_) => None,
        };
        let mut known = Known::new();
        for key in site.keys.iter().filter_map(|k| k.iter().map(literal).collect::<Option<Vec<_>>>()) {
            known.expect(&key, 5);
        }
        if known.is_empty() {
            known.expect(&vec!["7"; site.table.key.len()], 5);
        }
        Some(known)
    };
    let guards: Vec<Vec<_>> = plan.statements.iter().map(|s| s.sites.iter().map(known).collect()).collect();
    let checks: Vec<_> = guards.iter().map(|guards| Checks { guards, ..Checks::default() }).collect();
    let rendered = render_query(&plan, text.as_bytes(), &checks, NONCE);
    rendered.map_or(text.to_owned(), |r| readable(&String::from_utf8(r.text).unwrap()))
}

/// The text as a Parse with two parameters more than it has.
pub fn parsed_guarded(text: &str, own_writes: bool) -> String {
    let plan = plan_of(text);
    let params = HiddenParams { version: plan.max_param + 1, known: plan.max_param + 2, own_writes };
    let rendered = render_parse(&plan, text.as_bytes(), params, NONCE);
    rendered.map_or(text.to_owned(), |r| readable(&String::from_utf8(r.text).unwrap()))
}

/// Without the qualifiers of what a guard calls.
fn readable(text: &str) -> String {
    let mut out =
        text.replace("::pg_catalog.", "::").replace(" pg_catalog.", " ").replace("(pg_catalog.", "(");
    for op in ["=", ">", "<=", "||", "#>>"] {
        out = out.replace(&format!("OPERATOR({op})"), op);
    }
    out
}

/// The nonce of these.
pub const NONCE: &str = "sg";

/// The reasons and the numbers of keys of the statement's writes, whether or not they could be guarded.
pub fn reasons(statement: &StatementPlan) -> Vec<(super::plan::Reason, usize)> {
    statement.unguarded().iter().map(|u| (u.reason, u.keys.len())).collect()
}

/// The text as a Parse with one more parameter than it has.
pub fn parsed(text: &str) -> String {
    let plan = plan_of(text);
    let params = HiddenParams { version: plan.max_param + 1, ..HiddenParams::default() };
    let rendered = render_parse(&plan, text.as_bytes(), params, NONCE);
    rendered.map_or(text.to_owned(), |r| String::from_utf8(r.text).unwrap())
}
