//! What a statement tells of who is at work: tags in comments, settings, the lookup of a user.
//!
//! ```text
//! SELECT .. /*user='42',traceparent='00-4bf9..-01'*/
//! SET LOCAL app.user_id = '42'
//! SELECT set_config('app.user_id', $1, false)
//! SELECT users.id, users.email FROM users WHERE users.id = '2531439d-..'::UUID
//! ```
//!
//! Only what the configuration names is listened for ([`crate::catalog::labels`]).

use std::ops::Range;

use super::Context;
use super::plan::{Lookup, NewValue, Operand, Plan, Says, SettingChange};
use super::target::reaches;
use crate::catalog::Table;
use crate::sql::clauses;
use crate::sql::code::{Code, Keyword};
use crate::sql::condition;
use crate::sql::from::from;
use crate::sql::keys::KeyType;
use crate::sql::operand;
use crate::sql::select_list::dotted;
use crate::sql::tags;
use crate::sql::token::TokenKind;

/// The setting behind SET SESSION AUTHORIZATION.
const AUTHORIZATION: &str = "session_authorization";

/// Puts the tags of the text's comments into its plan. In a text of several statements a comment belongs to the
/// statement that it stands in, before or behind, up to the semicolon.
pub fn tag(plan: &mut Plan, text: &[u8], comments: &[Range<u32>], ctx: &Context<'_>) {
    let keys = &ctx.view.labels.tags;
    if keys.is_empty() || comments.is_empty() {
        return;
    }
    let single = plan.statements.len() == 1;
    for comment in comments {
        let (start, end) = (comment.start as usize, comment.end as usize);
        let content = String::from_utf8_lossy(text.get(start..end).unwrap_or_default());
        let Some(content) = tags::content(&content) else { continue };
        for (key, value) in tags::tags(content) {
            if value.is_empty() || !keys.iter().any(|k| **k == *key) {
                continue;
            }
            for statement in &mut plan.statements {
                if single || statement.range.contains(&start) {
                    let says = statement.says.get_or_insert_default();
                    says.tags.push((key.as_ref().into(), value.as_ref().into()));
                }
            }
        }
    }
}

/// What the statement that is these tokens says without comments.
pub fn of(code: Code<'_>, ctx: &Context<'_>, range: Range<usize>) -> Option<Box<Says>> {
    let rules = &ctx.view.labels;
    let mut says = Says::default();
    if !rules.settings.is_empty() {
        settings(code, ctx, range.clone(), &mut says.settings);
        without_role(&mut says.settings);
    }
    if !rules.identities.is_empty() {
        says.lookup = lookup(code, ctx, range);
    }
    (!says.settings.is_empty() || says.lookup.is_some()).then(|| Box::new(says))
}

fn settings(code: Code<'_>, ctx: &Context<'_>, range: Range<usize>, out: &mut Vec<SettingChange>) {
    let names = &ctx.view.labels.settings;
    let first = range.start;
    if code.word(first, "set") {
        let local = code.word(first + 1, "local");
        let scoped = local || code.word(first + 1, "session") && !code.word(first + 2, "authorization");
        let i = first + 1 + usize::from(scoped);
        if is_authorization(code, i) {
            let value = value(code, ctx, i + 2..range.end);
            return out.extend(authorization(names, value, local));
        }
        let Some((name, next)) = setting_name(code, i, range.end) else { return };
        let known = names.contains(&name);
        // `SET ROLE x` and `SET SESSION AUTHORIZATION x` have neither TO nor `=`.
        let assigns = code.word(next, "to") || code.op(next, b"=");
        if known && (assigns || name == "role") {
            let value = value(code, ctx, next + usize::from(assigns)..range.end);
            out.push(SettingChange { name: name.into(), value, local: Some(local) });
        }
    } else if code.word(first, "reset") {
        if is_authorization(code, first + 1) {
            return out.extend(authorization(names, NewValue::Default, false));
        }
        if let Some((name, _)) = setting_name(code, first + 1, range.end)
            && names.contains(&name)
        {
            out.push(SettingChange { name: name.into(), value: NewValue::Default, local: Some(false) });
        }
    } else if !code.word(first, "prepare") && !code.word(first, "create") {
        let begin = out.len();
        for i in range.clone() {
            if code.is_name(i, "set_config") && code.is(i + 1, TokenKind::LParen) {
                out.extend(set_config(code, ctx, i + 2..code.close(i + 1)));
            }
        }
        if out.len() > begin && !is_plain_call(code, range) {
            // Whether it is called at all, or how often, the rows decide.
            out.iter_mut().skip(begin).for_each(|change| change.value = NewValue::Unknown);
        }
    }
}

/// `SELECT set_config(..) [[AS] name] [, ..]`, and nothing else.
fn is_plain_call(code: Code<'_>, range: Range<usize>) -> bool {
    let range = code.strip_parens(range);
    code.word(range.start, "select")
        && code.split_commas(range.start + 1..range.end).all(|item| {
            let qualified = code.is_name(item.start, "pg_catalog") && code.is(item.start + 1, TokenKind::Dot);
            let name = item.start + if qualified { 2 } else { 0 };
            if !(code.is_name(name, "set_config") && code.is(name + 1, TokenKind::LParen)) {
                return false;
            }
            let label = code.close(name + 1) + 1..item.end;
            match label.len() {
                0 => true,
                1 => code.is_ident(label.start),
                2 => code.word(label.start, "as") && code.is_ident(label.start + 1),
                _ => false,
            }
        })
}

/// `SESSION AUTHORIZATION` begins at token `i`.
fn is_authorization(code: Code<'_>, i: usize) -> bool {
    code.word(i, "session") && code.word(i + 1, "authorization")
}

/// SET SESSION AUTHORIZATION, where it is listened for.
fn authorization(names: &[String], value: NewValue, local: bool) -> Option<SettingChange> {
    let change = SettingChange { name: AUTHORIZATION.into(), value, local: Some(local) };
    names.iter().any(|n| n == AUTHORIZATION).then_some(change)
}

/// Another session user ends SET ROLE.
fn without_role(changes: &mut Vec<SettingChange>) {
    for n in (0..changes.len()).rev() {
        if let Some(change) = changes.get(n).filter(|change| *change.name == *AUTHORIZATION) {
            let value = match change.value {
                // Whether it is changed at all is not told.
                NewValue::Unknown => NewValue::Unknown,
                _ => NewValue::Value(Operand::Literal("none".into())),
            };
            let role = SettingChange { name: "role".into(), value, local: change.local };
            changes.insert(n + 1, role);
        }
    }
}

/// `app.user_id`, `"app"."user_id"`, `role`; its name in lower case, and the token behind it.
fn setting_name(code: Code<'_>, i: usize, end: usize) -> Option<(String, usize)> {
    let mut name = code.name(i).filter(|_| i < end)?.to_ascii_lowercase();
    let mut next = i + 1;
    while next + 1 < end && code.is(next, TokenKind::Dot) {
        name.push('.');
        name.push_str(&code.name(next + 1)?.to_ascii_lowercase());
        next += 2;
    }
    Some((name, next))
}

/// What stands behind TO.
fn value(code: Code<'_>, ctx: &Context<'_>, range: Range<usize>) -> NewValue {
    if let Some(value) = constant(code, ctx, range.clone()) {
        return NewValue::Value(value);
    }
    if range.len() == 1 && code.word(range.start, "default") {
        return NewValue::Default;
    }
    // A bare word or number is a value.
    match range.len() {
        1 if code.is_ident(range.start) => code
            .name(range.start)
            .map_or(NewValue::Unknown, |n| NewValue::Value(Operand::Literal((&*n).into()))),
        1 if code.is(range.start, TokenKind::Number) => std::str::from_utf8(code.text(range.start))
            .map_or(NewValue::Unknown, |n| NewValue::Value(Operand::Literal(n.into()))),
        _ => NewValue::Unknown,
    }
}

/// A string constant or a parameter.
fn constant(code: Code<'_>, ctx: &Context<'_>, range: Range<usize>) -> Option<Operand> {
    operand::value(code, range, KeyType::Text, ctx.lex).map(Operand::from)
}

/// The arguments of `set_config(name, value, is_local)`.
fn set_config(code: Code<'_>, ctx: &Context<'_>, arguments: Range<usize>) -> Vec<SettingChange> {
    let names = &ctx.view.labels.settings;
    let mut arguments = code.split_commas(arguments);
    let (Some(name), Some(new), Some(is_local)) = (arguments.next(), arguments.next(), arguments.next())
    else {
        return Vec::new();
    };
    let new = constant(code, ctx, new).map_or(NewValue::Unknown, NewValue::Value);
    let local = match () {
        () if is_local.len() == 1 && code.word(is_local.start, "true") => Some(true),
        () if is_local.len() == 1 && code.word(is_local.start, "false") => Some(false),
        () => None,
    };
    match constant(code, ctx, name) {
        Some(Operand::Literal(name)) => {
            let name = name.to_ascii_lowercase();
            if !names.contains(&name) {
                return Vec::new();
            }
            vec![SettingChange { name: name.into(), value: new, local }]
        }
        // Which one is not told: none of them is known any more.
        _ => names
            .iter()
            .map(|name| SettingChange { name: name.as_str().into(), value: NewValue::Unknown, local })
            .collect(),
    }
}

/// `SELECT .. FROM users .. WHERE users.id = value`: the value.
fn lookup(code: Code<'_>, ctx: &Context<'_>, range: Range<usize>) -> Option<Lookup> {
    let range = code.strip_parens(range);
    if !code.word(range.start, "select") {
        return None;
    }
    let select = clauses::select(code, range.start, range.end)?;
    if select.set_operation || select.into {
        return None;
    }
    let items = from(code, select.from?);
    let condition = condition_of(code, range)?;
    let single = items.relations.len() == 1;
    for item in items.relations.iter().filter(|item| !item.renames_columns) {
        let relation = &item.relation;
        let (Some(name), schema) = (code.name(relation.name), relation.schema.map(|s| code.name(s))) else {
            continue;
        };
        for (rule, table) in ctx.view.labels.identities.iter().zip(&ctx.view.identities) {
            let Some(table) = table else { continue };
            let named = match &schema {
                Some(schema) => schema.as_deref() == Some(&*table.schema),
                None => table.visible,
            };
            if *table.name != *name || !named {
                continue;
            }
            let Some(column) = rule.column_of(table) else { continue };
            let aliased = relation.alias.is_some();
            let is_column = |range: Range<usize>| {
                let range = code.strip_parens(range);
                dotted(code, range.start, range.end).is_some_and(|(name, next)| {
                    next == range.end
                        && (name.table.is_some() || single)
                        && reaches(code, table, relation.reference(), aliased, name.schema, name.table)
                        && table.columns.get(column).is_some_and(|c| code.is_name(name.column, &c.name))
                })
            };
            for part in condition::conjuncts(code, condition.clone()) {
                let Some(equals) = condition::equality(code, &part) else { continue };
                let (left, right) = (part.start..equals, equals + 1..part.end);
                let other = match (is_column(left.clone()), is_column(right.clone())) {
                    (true, false) => right,
                    (false, true) => left,
                    _ => continue,
                };
                if let Some(value) = lookup_value(code, ctx, table, column, other) {
                    return Some(Lookup { table: table.clone(), column, value });
                }
            }
        }
    }
    None
}

fn lookup_value(
    code: Code<'_>,
    ctx: &Context<'_>,
    table: &Table,
    column: usize,
    range: Range<usize>,
) -> Option<Operand> {
    let ty = KeyType::from_oid(table.columns.get(column)?.type_oid)?;
    operand::value(code, range, ty, ctx.lex).map(Operand::from)
}

/// The tokens behind WHERE on the level of the SELECT.
fn condition_of(code: Code<'_>, range: Range<usize>) -> Option<Range<usize>> {
    let mut start = None;
    for (at, keyword) in code.keywords(range.clone()) {
        match (keyword, start) {
            (Keyword::Where, None) => start = Some(at + 1),
            (
                Keyword::Group
                | Keyword::Having
                | Keyword::Window
                | Keyword::Order
                | Keyword::Limit
                | Keyword::Offset
                | Keyword::Fetch
                | Keyword::For,
                Some(start),
            ) => return Some(start..at),
            _ => {}
        }
    }
    start.map(|start| start..range.end)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::sync::Arc;

    use super::super::testing::{plan_in, view};
    use super::*;
    use crate::catalog::View;
    use crate::catalog::labels::{IdentityRule, LabelRules};

    fn listening() -> View {
        let mut view = view();
        let rule = |table: &str, column: &str| IdentityRule {
            schema: "public".into(),
            table: table.into(),
            column: column.into(),
        };
        view.labels = Arc::new(LabelRules {
            tags: vec!["user".into(), "traceparent".into()],
            settings: vec!["app.user_id".into(), "role".into(), "session_authorization".into()],
            identities: vec![rule("users", "id"), rule("user_roles", "role")],
        });
        let table = |name: &str| view.tables.iter().find(|t| &*t.name == name).cloned();
        view.identities = vec![table("users"), table("user_roles")];
        view
    }

    fn says(text: &str) -> Vec<Says> {
        let plan = plan_in(&listening(), text);
        plan.statements.into_iter().map(|s| *s.says.unwrap_or_default()).collect()
    }

    #[test]
    fn tags_of_comments() {
        for (text, want) in [
            ("SELECT 1 /*user='42',action='x'*/", vec![vec![("user", "42")]]),
            (
                "/*user=42*/ SELECT 1; SELECT 2 /*user:7,traceparent='a'*/",
                vec![vec![("user", "42")], vec![("user", "7"), ("traceparent", "a")]],
            ),
            ("SELECT '/*user=42*/'", vec![vec![]]),
            ("SELECT 1 /*user=*/", vec![vec![]]),
        ] {
            let got: Vec<Vec<(String, String)>> = says(text)
                .into_iter()
                .map(|s| s.tags.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect())
                .collect();
            let want: Vec<Vec<(String, String)>> = want
                .into_iter()
                .map(|s| s.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
                .collect();
            assert_eq!(got, want, "{text}");
        }
    }

    #[test]
    fn changes_of_settings() {
        let value = |v: &str| NewValue::Value(Operand::Literal(v.into()));
        let param = |n| NewValue::Value(Operand::Param(n));
        let user = |new: NewValue, local| {
            vec![("session_authorization", new, Some(local)), ("role", value("none"), Some(local))]
        };
        for (text, want) in [
            ("SET app.user_id = '42'", vec![("app.user_id", value("42"), Some(false))]),
            ("SET LOCAL app.user_id TO 42", vec![("app.user_id", value("42"), Some(true))]),
            ("SET SESSION App.\"User_Id\" TO anna", vec![("app.user_id", value("anna"), Some(false))]),
            ("SET app.user_id TO DEFAULT", vec![("app.user_id", NewValue::Default, Some(false))]),
            ("SET app.user_id = a, b", vec![("app.user_id", NewValue::Unknown, Some(false))]),
            ("RESET app.user_id", vec![("app.user_id", NewValue::Default, Some(false))]),
            ("SET ROLE anna", vec![("role", value("anna"), Some(false))]),
            ("SET ROLE NONE", vec![("role", value("none"), Some(false))]),
            ("SET SESSION ROLE anna", vec![("role", value("anna"), Some(false))]),
            ("SET SESSION AUTHORIZATION anna", user(value("anna"), false)),
            ("SET LOCAL SESSION AUTHORIZATION 'anna'", user(value("anna"), true)),
            ("SET session_authorization = anna", user(value("anna"), false)),
            ("SET SESSION AUTHORIZATION DEFAULT", user(NewValue::Default, false)),
            ("RESET SESSION AUTHORIZATION", user(NewValue::Default, false)),
            ("RESET session_authorization", user(NewValue::Default, false)),
            ("SELECT set_config('session_authorization', 'anna', true)", user(value("anna"), true)),
            ("SET app.other = '42'", vec![]),
            (
                "SELECT set_config('app.user_id', '42', false)",
                vec![("app.user_id", value("42"), Some(false))],
            ),
            (
                "SELECT pg_catalog.set_config('APP.user_id', $1, true)",
                vec![("app.user_id", param(1), Some(true))],
            ),
            ("SELECT set_config('app.user_id', $1::text, $2)", vec![("app.user_id", param(1), None)]),
            (
                "SELECT set_config('app.user_id', f(), true)",
                vec![("app.user_id", NewValue::Unknown, Some(true))],
            ),
            (
                "SELECT set_config('search_path', 'x', true), set_config('app.user_id', '1', true)",
                vec![("app.user_id", value("1"), Some(true))],
            ),
            ("PREPARE q AS SELECT set_config('app.user_id', '1', false)", vec![]),
            (
                "SELECT set_config('app.user_id', '1', false) AS a, pg_catalog.set_config('app.user_id', '2', true) b",
                vec![("app.user_id", value("1"), Some(false)), ("app.user_id", value("2"), Some(true))],
            ),
            (
                "SELECT set_config('app.user_id', '1', false) FROM users WHERE id = 1",
                vec![("app.user_id", NewValue::Unknown, Some(false))],
            ),
            (
                "SELECT CASE WHEN f() THEN set_config('app.user_id', '1', false) END",
                vec![("app.user_id", NewValue::Unknown, Some(false))],
            ),
            (
                "EXPLAIN SELECT set_config('app.user_id', '1', false)",
                vec![("app.user_id", NewValue::Unknown, Some(false))],
            ),
            (
                "SELECT set_config($1, $2, true)",
                vec![
                    ("app.user_id", NewValue::Unknown, Some(true)),
                    ("role", NewValue::Unknown, Some(true)),
                    ("session_authorization", NewValue::Unknown, Some(true)),
                    ("role", NewValue::Unknown, Some(true)),
                ],
            ),
        ] {
            let got = says(text).remove(0).settings;
            let want: Vec<SettingChange> = want
                .into_iter()
                .map(|(name, value, local)| SettingChange { name: name.into(), value, local })
                .collect();
            assert_eq!(got, want, "{text}");
        }
    }

    #[test]
    fn lookups_of_a_user() {
        let uuid = "2531439d-3075-46d6-9c19-63e3342fc43e";
        let found = |v: &str| Some(Operand::Literal(v.into()));
        for (text, want) in [
            (format!("SELECT users.id, users.email FROM users WHERE users.id = '{uuid}'::UUID"), found(uuid)),
            (format!("SELECT * FROM users u WHERE '{uuid}' = u.id AND u.active LIMIT 1"), found(uuid)),
            (
                format!(
                    "SELECT u.* FROM public.users u LEFT JOIN user_roles r ON r.user_id = u.id WHERE u.id = '{uuid}' ORDER BY 1"
                ),
                found(uuid),
            ),
            ("SELECT * FROM users WHERE id = $1".into(), Some(Operand::Param(1))),
            ("SELECT * FROM user_roles WHERE role = 'x'".into(), found("x")),
            ("SELECT * FROM users, other WHERE id = $1".into(), None),
            ("SELECT * FROM users WHERE id = $1 OR email = $2".into(), None),
            ("SELECT * FROM users WHERE email = $1".into(), None),
            ("SELECT * FROM other.users WHERE id = $1".into(), None),
            ("SELECT * FROM users u WHERE users.id = $1".into(), None),
            ("SELECT * FROM users WHERE id = other".into(), None),
            ("SELECT * FROM (SELECT * FROM users WHERE id = $1) s".into(), None),
            ("SELECT 1 FROM users UNION SELECT 1 FROM users WHERE id = $1".into(), None),
            ("UPDATE users SET email = 'x' WHERE id = $1".into(), None),
            ("DELETE FROM users WHERE id = $1".into(), None),
        ] {
            assert_eq!(says(&text).remove(0).lookup.map(|l| l.value), want, "{text}");
        }
    }
}
