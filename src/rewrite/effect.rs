//! What a statement's completion does to the session: transaction control, SET, DDL, cursors.

use std::ops::Range;

use super::plan::Effect;
use super::target::{Target, resolve};
use super::{Context, prepare};
use crate::sql::clauses;
use crate::sql::code::Code;
use crate::sql::relation::relation;
use crate::sql::token::TokenKind;

/// Settings that decide how names resolve.
const NAME_SETTINGS: [&str; 1] = ["search_path"];
/// Settings that are another role.
const ROLE_SETTINGS: [&str; 2] = ["role", "session_authorization"];

/// Settings that decide how the texts behind are read.
const TEXT_SETTINGS: [&str; 2] = ["standard_conforming_strings", "client_encoding"];

/// The effect of a statement that is no query.
pub fn of(code: Code<'_>, ctx: &Context<'_>, range: Range<usize>) -> Effect {
    let i = range.start;
    let first = code.text(i).to_ascii_lowercase();
    if !code.is(i, TokenKind::Word) {
        return Effect::None;
    }
    match &*first {
        b"begin" => Effect::Begin,
        b"start" if code.word(i + 1, "transaction") => Effect::Begin,
        b"commit" if code.word(i + 1, "prepared") => Effect::None,
        b"commit" | b"end" => Effect::Commit { chain: chains(code, i + 1) },
        b"rollback" if code.word(i + 1, "prepared") => Effect::None,
        b"rollback" | b"abort" => rollback(code, i),
        b"savepoint" => named(code, i + 1, Effect::Savepoint),
        b"release" => named(code, i + 1 + usize::from(savepoint_word(code, i + 1)), Effect::Release),
        b"prepare" => Effect::PrepareTransaction,
        b"set" => set(code, i + 1),
        b"reset" => reset(code, i + 1),
        b"discard" if code.word(i + 1, "all") => Effect::DiscardAll,
        b"discard" if code.any_word(i + 1, &["temp", "temporary"]) => Effect::Names,
        b"deallocate" => deallocate(code, i + 1),
        b"truncate" => truncate(code, ctx, range),
        b"fetch" | b"move" => {
            let moves = *first == *b"move";
            cursor(code, range).map_or(Effect::None, |n| named(code, n, |name| Effect::Fetch { name, moves }))
        }
        b"close" if code.word(i + 1, "all") => Effect::Close(None),
        b"close" => named(code, i + 1, |name| Effect::Close(Some(name))),
        b"alter" | b"drop" | b"grant" | b"revoke" | b"comment" | b"reassign" | b"import" | b"security" => {
            Effect::Catalog
        }
        b"do" => Effect::Call { names: true },
        b"call" => Effect::Call { names: calls_mover(code, ctx, range) },
        _ => Effect::None,
    }
}

/// The effect of SELECT and DML: `set_config`, functions that set what decides how names resolve, SELECT INTO.
pub fn of_query(code: Code<'_>, ctx: &Context<'_>, range: Range<usize>) -> Effect {
    if calls_mover(code, ctx, range.clone()) {
        return Effect::Names;
    }
    for i in range.clone() {
        if code.is(i + 1, TokenKind::LParen) && code.is_name(i, "set_config") {
            match set_config(code, i + 2) {
                Effect::None => {}
                effect => return effect,
            }
        }
    }
    let mut i = range.start;
    while code.is(i, TokenKind::LParen) {
        i += 1;
    }
    if code.word(i, "with") {
        i = clauses::with(code, i, range.end).map_or(i, |w| w.main);
    }
    let into = code.word(i, "select") && clauses::select(code, i, range.end).is_some_and(|s| s.into);
    if into { Effect::Catalog } else { Effect::None }
}

/// It calls a function or procedure that may change what names mean.
fn calls_mover(code: Code<'_>, ctx: &Context<'_>, mut range: Range<usize>) -> bool {
    let movers = &ctx.view.movers;
    let is_mover =
        |i| code.is(i + 1, TokenKind::LParen) && code.name(i).is_some_and(|n| movers.contains(&*n));
    !movers.is_empty() && range.any(is_mover)
}

/// The first argument of `set_config` may be a setting that matters here: only a plain literal tells.
fn set_config(code: Code<'_>, i: usize) -> Effect {
    let literal = code.is(i, TokenKind::Str) && code.is(i + 1, TokenKind::Comma);
    let name = code.text(i).strip_prefix(b"'").and_then(|t| t.strip_suffix(b"'")).filter(|_| literal);
    let Some(name) = name.and_then(|n| std::str::from_utf8(n).ok()) else { return Effect::Names };
    let one_of = |settings: &[&str]| settings.iter().any(|s| name.eq_ignore_ascii_case(s));
    match () {
        () if one_of(&NAME_SETTINGS) || one_of(&ROLE_SETTINGS) => Effect::Names,
        () if one_of(&TEXT_SETTINGS) => Effect::Text,
        () => Effect::None,
    }
}

/// `[WORK | TRANSACTION] AND [NO] CHAIN`.
fn chains(code: Code<'_>, i: usize) -> bool {
    let i = i + usize::from(code.any_word(i, &["work", "transaction"]));
    code.words(i, &["and", "chain"])
}

fn rollback(code: Code<'_>, i: usize) -> Effect {
    let next = i + 1 + usize::from(code.any_word(i + 1, &["work", "transaction"]));
    if code.word(next, "to") {
        return named(code, next + 1 + usize::from(savepoint_word(code, next + 1)), Effect::RollbackTo);
    }
    Effect::Rollback { chain: chains(code, i + 1) }
}

/// The SAVEPOINT before a name; a savepoint may itself be called `savepoint`.
fn savepoint_word(code: Code<'_>, i: usize) -> bool {
    code.word(i, "savepoint") && code.is_ident(i + 1)
}

fn named(code: Code<'_>, i: usize, effect: impl Fn(Box<str>) -> Effect) -> Effect {
    effect(code.name(i).unwrap_or_default().into())
}

/// Behind SET.
fn set(code: Code<'_>, i: usize) -> Effect {
    let i = match () {
        () if code.words(i, &["session", "authorization"]) => return Effect::Role,
        () if code.any_word(i, &["session", "local"]) => i + 1,
        () => i,
    };
    if code.words(i, &["session", "authorization"]) || is_setting(code, i, &ROLE_SETTINGS) {
        Effect::Role
    } else if code.word(i, "schema") || is_setting(code, i, &NAME_SETTINGS) {
        Effect::Names
    } else if code.word(i, "names") || is_setting(code, i, &TEXT_SETTINGS) {
        Effect::Text
    } else {
        Effect::None
    }
}

/// The names of settings are not case-sensitive, quoted or not.
fn is_setting(code: Code<'_>, i: usize, settings: &[&str]) -> bool {
    code.name(i).is_some_and(|name| settings.iter().any(|s| name.eq_ignore_ascii_case(s)))
        && !code.is(i + 1, TokenKind::Dot)
}

/// Behind RESET.
fn reset(code: Code<'_>, i: usize) -> Effect {
    if code.word(i, "all") {
        Effect::ResetAll
    } else if code.words(i, &["session", "authorization"]) || is_setting(code, i, &ROLE_SETTINGS) {
        Effect::Role
    } else if is_setting(code, i, &NAME_SETTINGS) {
        Effect::Names
    } else if is_setting(code, i, &TEXT_SETTINGS) {
        Effect::Text
    } else {
        Effect::None
    }
}

/// Behind DEALLOCATE.
fn deallocate(code: Code<'_>, i: usize) -> Effect {
    let i = i + usize::from(code.word(i, "prepare") && code.is_ident(i + 1));
    if code.word(i, "all") {
        return Effect::Deallocate(None);
    }
    Effect::Deallocate(Some(prepare::name(code, i)))
}

/// `TRUNCATE [TABLE] [ONLY] name [*], .. [RESTART IDENTITY] [CASCADE]`.
fn truncate(code: Code<'_>, ctx: &Context<'_>, range: Range<usize>) -> Effect {
    let mut roots: Vec<u32> = Vec::new();
    if range.end.checked_sub(1).is_some_and(|last| code.word(last, "cascade")) {
        roots.extend(ctx.view.tables.iter().map(|t| t.root_oid));
    } else {
        let start = range.start + 1 + usize::from(code.word(range.start + 1, "table"));
        for part in code.split_commas(start..range.end) {
            if let Some((named, _)) = relation(code, part.start, part.end)
                && let Target::Table(table) = resolve(code, ctx, &named)
            {
                roots.push(table.root_oid);
            }
        }
    }
    roots.sort_unstable();
    roots.dedup();
    Effect::Truncate(roots)
}

/// The cursor's name is FETCH's last token.
fn cursor(code: Code<'_>, range: Range<usize>) -> Option<usize> {
    range.end.checked_sub(1).filter(|last| *last > range.start && code.is_ident(*last))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::testing::{PROJECTS, only};
    use super::Effect;

    #[test]
    fn effects() {
        let name = |n: &str| -> Box<str> { n.into() };
        let declare = |n: &str, hold| Effect::Declare { name: n.into(), hold };
        let fetch = |n: &str, moves| Effect::Fetch { name: n.into(), moves };
        for (text, effect) in [
            ("BEGIN", Effect::Begin),
            ("begin transaction isolation level serializable, read only", Effect::Begin),
            ("START TRANSACTION;", Effect::Begin),
            ("COMMIT", Effect::Commit { chain: false }),
            ("END WORK", Effect::Commit { chain: false }),
            ("commit and chain", Effect::Commit { chain: true }),
            ("COMMIT TRANSACTION AND NO CHAIN", Effect::Commit { chain: false }),
            ("COMMIT PREPARED 'x'", Effect::None),
            ("ROLLBACK", Effect::Rollback { chain: false }),
            ("ABORT WORK AND CHAIN", Effect::Rollback { chain: true }),
            ("ROLLBACK PREPARED 'x'", Effect::None),
            ("ROLLBACK TO a", Effect::RollbackTo(name("a"))),
            ("ROLLBACK TRANSACTION TO SAVEPOINT \"A b\"", Effect::RollbackTo(name("A b"))),
            ("ROLLBACK TO SAVEPOINT", Effect::RollbackTo(name("savepoint"))),
            ("SAVEPOINT __asyncpg_savepoint_1__;", Effect::Savepoint(name("__asyncpg_savepoint_1__"))),
            ("SAVEPOINT AbC", Effect::Savepoint(name("abc"))),
            ("RELEASE SAVEPOINT x", Effect::Release(name("x"))),
            ("RELEASE x", Effect::Release(name("x"))),
            ("PREPARE TRANSACTION 'x'", Effect::PrepareTransaction),
            ("SET search_path TO a, b", Effect::Names),
            ("SET LOCAL \"search_path\" = a", Effect::Names),
            ("SET SCHEMA 'a'", Effect::Names),
            ("SET SESSION search_path TO a", Effect::Names),
            ("SET ROLE x", Effect::Role),
            ("SET LOCAL ROLE NONE", Effect::Role),
            ("SET role TO 'x'", Effect::Role),
            ("SET SESSION AUTHORIZATION x", Effect::Role),
            ("SET SESSION SESSION AUTHORIZATION DEFAULT", Effect::Role),
            ("SET session_authorization = x", Effect::Role),
            ("SET app.user_id = '42'", Effect::None),
            ("SET role.x = '42'", Effect::None),
            ("SET TRANSACTION READ ONLY", Effect::None),
            ("SET NAMES 'latin1'", Effect::Text),
            ("SET LOCAL Client_Encoding = latin1", Effect::Text),
            ("set standard_conforming_strings to off", Effect::Text),
            ("RESET standard_conforming_strings", Effect::Text),
            ("SELECT set_config('client_encoding', $1, true)", Effect::Text),
            ("SET datestyle TO iso", Effect::None),
            ("RESET ALL", Effect::ResetAll),
            ("RESET ROLE", Effect::Role),
            ("RESET SESSION AUTHORIZATION", Effect::Role),
            ("RESET search_path", Effect::Names),
            ("RESET work_mem", Effect::None),
            ("SELECT set_config('search_path', $1, true)", Effect::Names),
            ("SELECT pg_catalog.set_config($1, $2, true)", Effect::Names),
            ("SELECT set_config('app.user_id', '42', true)", Effect::None),
            ("SELECT a, Public.Set_Tenant ('b') FROM x", Effect::Names),
            ("UPDATE x SET a = \"My Tenant\"()", Effect::Names),
            ("EXPLAIN ANALYZE SELECT set_tenant('b')", Effect::Names),
            ("COPY (SELECT set_tenant('b')) TO STDOUT", Effect::Names),
            ("CALL app.set_tenant('b')", Effect::Call { names: true }),
            ("SELECT set_tenant, set_tenants(), 'set_tenant()' FROM x", Effect::None),
            ("DISCARD ALL", Effect::DiscardAll),
            ("DISCARD TEMP", Effect::Names),
            ("DISCARD PLANS", Effect::None),
            ("DEALLOCATE pdo_stmt_00000001", Effect::Deallocate(Some(name("pdo_stmt_00000001")))),
            ("DEALLOCATE PREPARE \"A\"", Effect::Deallocate(Some(name("A")))),
            ("DEALLOCATE ALL", Effect::Deallocate(None)),
            ("DEALLOCATE PREPARE ALL", Effect::Deallocate(None)),
            ("CREATE TEMP TABLE projects (id int)", Effect::Catalog),
            ("CREATE TABLE x AS SELECT 1", Effect::Catalog),
            ("ALTER TABLE projects ADD x int", Effect::Catalog),
            ("DROP TABLE x", Effect::Catalog),
            ("GRANT SELECT ON projects TO x", Effect::Catalog),
            ("REVOKE ALL ON projects FROM x", Effect::Catalog),
            ("SELECT * INTO x FROM projects", Effect::Catalog),
            ("WITH a AS (SELECT 1) SELECT * INTO x FROM a", Effect::Catalog),
            ("DO $$ BEGIN END $$", Effect::Call { names: true }),
            ("CALL f()", Effect::Call { names: false }),
            ("TRUNCATE projects", Effect::Truncate(vec![PROJECTS])),
            ("TRUNCATE TABLE ONLY public.users, other RESTART IDENTITY", Effect::Truncate(vec![1002])),
            ("TRUNCATE events_2024, events", Effect::Truncate(vec![1006])),
            ("TRUNCATE other", Effect::Truncate(vec![])),
            (
                "TRUNCATE other CASCADE",
                Effect::Truncate(vec![PROJECTS, 1002, 1003, 1004, 1005, 1006, 1008, 1009, 1010, 1011]),
            ),
            ("DECLARE c CURSOR FOR SELECT 1", declare("c", false)),
            (
                "DECLARE \"C x\" BINARY INSENSITIVE NO SCROLL CURSOR WITH HOLD FOR SELECT 1",
                declare("C x", true),
            ),
            ("DECLARE c SCROLL CURSOR WITHOUT HOLD FOR SELECT 1 FOR UPDATE", declare("c", false)),
            ("DECLARE cursor CURSOR WITH HOLD FOR WITH hold AS (SELECT 1) SELECT 1", declare("cursor", true)),
            ("DECLARE c CURSOR FOR WITH hold AS (SELECT 1) SELECT * FROM hold", declare("c", false)),
            ("FETCH FORWARD 2 FROM \"_django_curs_1\"", fetch("_django_curs_1", false)),
            ("FETCH ALL IN C", fetch("c", false)),
            ("FETCH BACKWARD ALL FROM c", fetch("c", false)),
            ("FETCH ABSOLUTE -1 c", fetch("c", false)),
            ("FETCH 0 c", fetch("c", false)),
            ("MOVE NEXT FROM c", fetch("c", true)),
            ("FETCH c", fetch("c", false)),
            ("FETCH next", fetch("next", false)),
            ("CLOSE ALL", Effect::Close(None)),
            ("CLOSE \"all\"", Effect::Close(Some(name("all")))),
            ("CLOSE C", Effect::Close(Some(name("c")))),
            ("LISTEN x", Effect::None),
            ("EXECUTE p (1, 2)", Effect::Execute(name("p"))),
            ("SELECT 1", Effect::None),
            ("LOCK TABLE projects", Effect::None),
            ("VACUUM", Effect::None),
        ] {
            assert_eq!(only(text).effect, effect, "{text}");
        }
    }

    #[test]
    fn queries() {
        for (text, is_query) in [
            ("SELECT 1", true),
            ("(SELECT 1)", true),
            ("VALUES (1)", true),
            ("TABLE projects", true),
            ("WITH a AS (SELECT 1) SELECT * FROM a", true),
            ("INSERT INTO x VALUES (1)", true),
            ("UPDATE x SET a = 1", true),
            ("DELETE FROM x", true),
            ("MERGE INTO x USING y ON true WHEN MATCHED THEN DELETE", true),
            ("COPY x FROM STDIN", true),
            ("EXPLAIN SELECT 1", true),
            ("PREPARE p AS SELECT 1", true),
            ("EXECUTE p", true),
            ("DECLARE c CURSOR FOR SELECT 1", true),
            ("CREATE TABLE x AS SELECT 1", true),
            ("CALL f()", true),
            ("CREATE TABLE x (a int)", false),
            ("BEGIN", false),
            ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", false),
            ("LOCK TABLE projects", false),
            ("FETCH c", false),
            ("SET search_path TO x", false),
        ] {
            assert_eq!(only(text).is_query, is_query, "{text}");
        }
    }
}
