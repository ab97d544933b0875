//! The guard form as PostgreSQL runs it: texts of the rewriter, sent past the proxy.

use std::sync::Arc;

use staleguard::catalog::View;
use staleguard::catalog::look::{self, LOOK_SQL};
use staleguard::config::Settings;
use staleguard::rewrite::guard::{Raised, parse_raise};
use staleguard::rewrite::known::{self, Known};
use staleguard::rewrite::plan::Plan;
use staleguard::rewrite::render::{Checks, HiddenParams, render_parse, render_query};
use staleguard::rewrite::{Context, plan};
use staleguard::sql::lexer::LexOptions;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::common::cluster::{Cluster, cluster};

const NONCE: &str = "sgtest";

/// A session of the database, with the view that the rewriter needs.
struct Session {
    client: Client,
    view: View,
    lex: LexOptions,
}

/// A cluster whose tables a test may add to.
fn database(setup: &str) -> Arc<Cluster> {
    let cluster = cluster();
    cluster.direct("proxied").query(setup);
    cluster
}

async fn connect(cluster: &Cluster, user: &str) -> Session {
    let address = format!("host=127.0.0.1 port={} user={user} dbname=proxied", cluster.port());
    let (client, connection) = tokio_postgres::connect(&address, NoTls).await.unwrap();
    tokio::spawn(connection);
    let tables = Settings::default().tables;
    let column = |of: fn(&staleguard::catalog::TableSettings) -> &str| -> Vec<String> {
        tables.iter().map(|t| of(t).to_owned()).collect()
    };
    let (schemas, names, versions) =
        (column(|t| &t.schema), column(|t| &t.name), column(|t| &t.version_column));
    let none: Vec<String> = Vec::new();
    let rows = client.query(LOOK_SQL, &[&schemas, &names, &versions, &none, &none, &""]).await.unwrap();
    let rows: Vec<(String, Option<String>)> = rows.iter().map(|r| (r.get(0), r.get(1))).collect();
    let view = look::read(&rows, &tables, &Default::default(), None).unwrap().view;
    Session { client, view, lex: LexOptions::default() }
}

impl Session {
    fn plan(&self, text: &str) -> Plan {
        plan(text.as_bytes(), &Context { view: &self.view, lex: &self.lex, names_may_return: false })
    }

    /// The text as a Query in which every site knows these rows.
    fn rendered(&self, text: &str, known: &Known) -> String {
        let plan = self.plan(text);
        let guards: Vec<Vec<Option<Known>>> = plan
            .statements
            .iter()
            .map(|s| {
                assert!(s.unchecked.is_empty(), "{text}");
                s.sites.iter().map(|_| Some(known.clone())).collect()
            })
            .collect();
        let checks: Vec<Checks<'_>> =
            guards.iter().map(|guards| Checks { guards, ..Checks::default() }).collect();
        let rendered = render_query(&plan, text.as_bytes(), &checks, NONCE);
        rendered.map_or_else(|| text.to_owned(), |r| String::from_utf8(r.text).unwrap())
    }

    /// Runs it: what the last statement's tag counts, or what the guard has told.
    async fn run(&self, text: &str, known: &Known) -> Result<u64, Raised> {
        let sent = self.rendered(text, known);
        told(self.client.simple_query(&sent).await.map(|messages| last_count(&messages)), &sent)
    }

    async fn exec(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    async fn value(&self, sql: &str) -> String {
        let messages = self.client.simple_query(sql).await.unwrap();
        let row = messages.iter().find_map(|m| match m {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        row.unwrap_or_default().to_owned()
    }
}

fn last_count(messages: &[SimpleQueryMessage]) -> u64 {
    let counts = messages.iter().filter_map(|m| match m {
        SimpleQueryMessage::CommandComplete(n) => Some(*n),
        _ => None,
    });
    counts.last().unwrap_or(0)
}

fn told<T>(result: Result<T, tokio_postgres::Error>, sent: &str) -> Result<T, Raised> {
    result.map_err(|error| {
        let error = error.as_db_error().unwrap_or_else(|| panic!("{error}: {sent}"));
        assert_eq!(error.code().code(), "22P02", "{error}: {sent}");
        parse_raise(error.message(), NONCE).unwrap_or_else(|| panic!("{error}: {sent}"))
    })
}

fn raised(statement: usize, site: usize, key: &[&str], actual: i64) -> Raised {
    Raised { statement, site, key: key.iter().map(|k| (*k).to_owned()).collect(), actual }
}

fn row(key: &[&str], version: i64) -> Known {
    let mut known = Known::new();
    known.expect(key, version);
    known
}

/// A jsonb parameter in binary format.
#[derive(Debug)]
struct Json(Option<String>);

impl ToSql for Json {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut tokio_postgres::types::private::BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let Some(text) = &self.0 else { return Ok(IsNull::Yes) };
        out.extend_from_slice(&[1]);
        out.extend_from_slice(text.as_bytes());
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::JSONB
    }

    to_sql_checked!();
}

/// Every kind of write of project 7: the text, and where its write is.
const WRITES: &[(&str, usize)] = &[
    ("UPDATE projects SET name = 'x' WHERE id IN (7, 8)", 0),
    ("UPDATE projects AS p SET name = 'x', version = 4 WHERE p.id = 7 OR p.id = 8", 0),
    ("UPDATE ONLY public.projects SET name = 'x', version = version + 1 WHERE id = ANY ('{7}')", 0),
    ("UPDATE projects SET (name, version) = ('x', 3) WHERE id > 6", 0),
    ("UPDATE projects p SET name = v.n FROM (VALUES (7, 'a'), (8, 'b')) v (id, n) WHERE p.id = v.id", 0),
    ("UPDATE projects p SET name = o.name FROM projects o WHERE p.id = o.id + 1 AND o.id = 6", 0),
    (
        "UPDATE projects SET name = CASE projects.id WHEN 7 THEN 'b' WHEN 8 THEN 'c' END WHERE projects.id IN (7, 8)",
        0,
    ),
    ("SELECT 1; UPDATE projects SET name = 'x' WHERE id = 7", 1),
    ("WITH a AS (UPDATE projects SET name = 'x' WHERE id = 7) SELECT 1", 0),
    ("WITH a AS (SELECT 7 AS n) UPDATE projects SET name = 'x' FROM a WHERE id = n", 0),
    (
        "INSERT INTO projects (id, name) VALUES (7, 'x') ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name",
        0,
    ),
    (
        "INSERT INTO projects AS p (id, version) SELECT 7, 3 ON CONFLICT (id) DO UPDATE SET version = EXCLUDED.version WHERE p.id > 0",
        0,
    ),
    ("EXPLAIN ANALYZE UPDATE projects SET name = 'x' WHERE id = 7", 0),
    (
        "CREATE TEMP TABLE made AS WITH a AS (UPDATE projects SET name = 'x' WHERE id = 7 RETURNING id) SELECT * FROM a",
        0,
    ),
];

#[tokio::test]
async fn fresh_writes_bump_once_and_stale_ones_fail_the_statement() {
    let cluster = database("");
    let session = connect(&cluster, "postgres").await;
    let mut writes = WRITES.to_vec();
    if session.value("show server_version_num").await.parse::<u32>().unwrap() >= 150_000 {
        writes.push((
            "MERGE INTO projects p USING (SELECT 7 AS id) v ON p.id = v.id WHEN MATCHED THEN UPDATE SET name = 'x'",
            0,
        ));
    }
    for (text, statement) in writes {
        let state = "select string_agg(id || ':' || version, ' ' order by id) from projects where id >= 7";
        let before = session.value(state).await;
        let actual: i64 = session.value("select version from projects where id = 7").await.parse().unwrap();
        for stale in [actual - 1, actual + 1] {
            let refused = session.run(text, &row(&["7"], stale)).await;
            assert_eq!(refused, Err(raised(statement, 0, &["7"], actual)), "{text}");
            assert_eq!(session.value(state).await, before, "{text}");
        }
        // The row as it is, none at all, and one that is not written.
        let mut unknown = row(&["1"], 99);
        unknown.expect(&["700"], 1);
        for (known, to) in [(row(&["7"], actual), 1), (Known::new(), 2), (unknown, 3)] {
            session.exec("DROP TABLE IF EXISTS made").await;
            session.run(text, &known).await.unwrap_or_else(|r| panic!("{text}: {r:?}"));
            let version = session.value("select version from projects where id = 7").await;
            assert_eq!(version, (actual + to).to_string(), "{text}");
        }
        session.exec("DROP TABLE IF EXISTS made").await;
    }
}

#[tokio::test]
async fn rows_that_the_condition_leaves_out_are_not_looked_at() {
    let cluster = database("");
    let session = connect(&cluster, "postgres").await;
    // Every row but one is stale.
    let mut known = row(&["7"], 1);
    (1..=9).filter(|n| *n != 7).for_each(|n| known.expect(&[n.to_string()], 99));
    for text in [
        "UPDATE projects SET name = 'a' WHERE budget = 700",
        "UPDATE projects SET name = 'b' WHERE 1000 / (budget - 100 * id + id) < 150 AND budget > 600 AND id < 8",
        "UPDATE projects p SET name = 'c' FROM projects o WHERE o.id = p.id AND o.name = 'b'",
        "WITH w AS (SELECT 7 AS id) UPDATE projects SET name = 'd' WHERE id IN (SELECT id FROM w)",
        "INSERT INTO projects (id) VALUES (7), (8) ON CONFLICT (id) DO UPDATE SET name = 'e' WHERE projects.name = 'd'",
        "UPDATE projects SET name = 'f' WHERE id = (SELECT max(id) FROM projects) - 2",
        "UPDATE projects SET name = 'g' WHERE false",
    ] {
        let found = session.run(text, &known).await;
        let wanted = u64::from(!text.contains("false"));
        assert_eq!(found, Ok(wanted), "{text}");
        known = row(&["7"], 1);
        let version: i64 = session.value("select version from projects where id = 7").await.parse().unwrap();
        known.expect(&["7"], version);
        (1..=9).filter(|n| *n != 7).for_each(|n| known.expect(&[n.to_string()], 99));
    }
}

#[tokio::test]
async fn the_wait_for_a_lock_is_seen() {
    let cluster = database("");
    let session = connect(&cluster, "postgres").await;
    let other = connect(&cluster, "postgres").await;
    other.exec("begin; update projects set version = 2 where id = 7").await;
    let sent = session.rendered("UPDATE projects SET name = 'x' WHERE id IN (7, 8)", &row(&["7"], 1));
    let pid: i32 = session.value("select pg_backend_pid()").await.parse().unwrap();
    let waiting = async {
        let blocked = format!("select cardinality(pg_blocking_pids({pid}))");
        while other.value(&blocked).await == "0" {
            tokio::task::yield_now().await;
        }
        other.exec("commit").await;
    };
    let (result, ()) = tokio::join!(session.client.simple_query(&sent), waiting);
    assert_eq!(told(result, &sent).map(|_| ()), Err(raised(0, 0, &["7"], 2)));
}

#[tokio::test]
async fn keys_of_every_type() {
    let cluster = database("insert into rates (code, amount) values ('a.b:c', 1), ('a\"b', 2)");
    let session = connect(&cluster, "postgres").await;
    let uuid = "051e3dcf-81ba-49f2-8daa-110ed693f2b6";
    for (table, key) in [
        ("programs", &["2"][..]),
        ("resources", &["9007199254740993"]),
        ("portfolios", &[uuid]),
        ("worker_types", &["dev"]),
        ("rates", &["it's"]),
        ("rates", &[""]),
        ("rates", &["back\\slash"]),
        ("rates", &["größe"]),
        ("rates", &["a.b:c"]),
        ("rates", &["a\"b"]),
        ("user_roles", &["1", "reader"]),
    ] {
        let text = format!("UPDATE {table} SET version = 7");
        for strings in ["on", "off"] {
            session.exec(&format!("set standard_conforming_strings = {strings}")).await;
            let refused = session.run(&text, &row(key, 90)).await.unwrap_err();
            assert_eq!(refused.key, key, "{table}");
        }
        session.exec("begin").await;
        assert!(session.run(&text, &row(key, refused_version(&session, table, key).await)).await.is_ok());
        session.exec("rollback").await;
        // A part of a key is not the key.
        if let [user, _] = key {
            assert!(session.run(&text, &row(&[user, "writer"], 90)).await.is_ok());
        }
    }
}

/// The version that a guard tells of a row.
async fn refused_version(session: &Session, table: &str, key: &[&str]) -> i64 {
    session.exec("savepoint s").await;
    let refused = session.run(&format!("UPDATE {table} SET version = 7"), &row(key, 90)).await;
    session.exec("rollback to s").await;
    refused.unwrap_err().actual
}

#[tokio::test]
async fn own_writes_of_the_transaction_are_accepted() {
    let cluster = database(
        "create table plans (id int, part int, name text, version int not null default 1, primary key (id)) partition by range (id);
         create table plans_1 partition of plans for values from (0) to (10);
         insert into plans (id) values (1); drop table programs; alter table plans rename to programs",
    );
    let session = connect(&cluster, "postgres").await;
    let other = connect(&cluster, "postgres").await;
    for (table, text) in [
        ("projects", "UPDATE projects SET name = 'x' WHERE id IN (1, 2)"),
        ("projects", "INSERT INTO projects (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = 'x'"),
        ("projects", "WITH a AS (UPDATE projects SET name = 'x' WHERE id = 1) SELECT 1"),
        ("programs", "UPDATE programs SET name = 'x' WHERE id = 1"),
        ("programs", "INSERT INTO programs (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = 'x'"),
    ] {
        let version = format!("select version from {table} where id = 1");
        let start: i64 = session.value(&version).await.parse().unwrap();
        let kth = |k: i64| {
            let mut known = row(&["1"], start);
            known.accept_own(&["1"], start + k - 1);
            known
        };
        // The second and the third write of the row in one transaction, the first of which may not have landed.
        session.exec("begin").await;
        session.run(text, &row(&["1"], start)).await.unwrap();
        session.run(text, &kth(2)).await.unwrap();
        session.run(text, &kth(3)).await.unwrap();
        assert_eq!(session.value(&version).await, (start + 3).to_string(), "{text}");
        // More than the writes in flight can have left is not theirs.
        let refused = session.run(text, &kth(3)).await;
        assert_eq!(refused, Err(raised(0, 0, &["1"], start + 3)), "{text}");
        session.exec("rollback; begin").await;
        session.run(text, &kth(2)).await.unwrap();
        session.exec("commit").await;
        // The same version, left by another: the transaction's own writes cannot have.
        let refused = session.run(text, &kth(2)).await;
        assert_eq!(refused, Err(raised(0, 0, &["1"], start + 1)), "{text}");
        other.exec(&format!("update {table} set version = version + 1 where id = 1")).await;
        let refused = session.run(text, &kth(3)).await;
        assert_eq!(refused, Err(raised(0, 0, &["1"], start + 2)), "{text}");
    }
}

#[tokio::test]
async fn parameters() {
    let cluster = database("");
    let session = connect(&cluster, "postgres").await;
    // A point write, a write of several rows; each prepared once.
    for (mode, text) in [
        ("force_custom_plan", "UPDATE projects SET name = 'x' WHERE id = $1"),
        ("force_generic_plan", "UPDATE projects SET name = 'x' WHERE id = $1"),
        ("force_generic_plan", "UPDATE projects SET name = 'x' WHERE id = $1 OR id = 100"),
    ] {
        session.exec(&format!("set plan_cache_mode = {mode}")).await;
        session.exec("begin; update projects set version = 5 where id = 7").await;
        let plan = session.plan(text);
        let point = plan.takes_check();
        let params = HiddenParams {
            version: if point { 2 } else { 0 },
            known: if point { 3 } else { 2 },
            own_writes: true,
        };
        let rendered = render_parse(&plan, text.as_bytes(), params, NONCE).unwrap();
        let sent = String::from_utf8(rendered.text).unwrap();
        let prepared = session.client.prepare(&sent).await.unwrap();
        assert_eq!(prepared.params().last(), Some(&Type::JSONB));
        for (expected, json, want) in [
            (None, None, Ok(1)),
            (None, Some(row(&["7"], 5)), Ok(1)),
            (None, Some(row(&["8"], 4)), Ok(1)),
            (None, Some(row(&["7"], 4)), Err(raised(0, 0, &["7"], 5))),
            (Some(5), None, Ok(1)),
            (Some(4), None, Ok(0)),
        ] {
            if expected.is_some() && !point {
                continue;
            }
            session.exec("savepoint s").await;
            let json = Json(known::parameter(&[json]));
            let mut values: Vec<&(dyn ToSql + Sync)> = vec![&7i32, &expected, &json];
            if !point {
                values.remove(1);
            }
            let got = session.client.execute(&prepared, &values).await;
            assert_eq!(told(got, &sent), want, "{sent} {expected:?} {json:?}");
            session.exec("rollback to s").await;
        }
        session.exec("rollback").await;
    }
}

#[tokio::test]
async fn a_search_path_with_operators_of_its_own() {
    let cluster = database(
        "create schema mine;
         create function mine.f(text, text) returns text language sql immutable as $$ select '1' $$;
         create function mine.g(jsonb, text[]) returns text language sql immutable as $$ select '99' $$;
         create function mine.h(xid, xid) returns boolean language sql immutable as $$ select true $$;
         create operator mine.|| (leftarg = text, rightarg = text, function = mine.f);
         create operator mine.#>> (leftarg = jsonb, rightarg = text[], function = mine.g);
         create operator mine.= (leftarg = xid, rightarg = xid, function = mine.h);
         create domain mine.jsonb as int; create domain mine.text as int; create domain mine.int4 as text",
    );
    let session = connect(&cluster, "postgres").await;
    session.exec("set search_path = mine, pg_catalog, public").await;
    let text = "UPDATE public.projects SET name = 'x' WHERE id IN (7, 8)";
    let mut stale = row(&["7"], 0);
    stale.accept_own(&["7"], 1);
    assert_eq!(session.run(text, &stale).await, Err(raised(0, 0, &["7"], 1)));
    assert_eq!(session.run(text, &row(&["7"], 1)).await, Ok(2));
}

#[tokio::test]
async fn a_role_with_columns_only() {
    let cluster = database(
        "revoke all on projects from app; grant select (id, version), update (name, version) on projects to app",
    );
    let session = connect(&cluster, "app").await;
    let text = "UPDATE projects SET name = 'x' WHERE id IN (7, 8)";
    assert_eq!(session.run(text, &row(&["7"], 0)).await, Err(raised(0, 0, &["7"], 1)));
    assert_eq!(session.run(text, &row(&["7"], 1)).await, Ok(2));
    // It may not read the system column.
    let mut own = row(&["7"], 1);
    own.accept_own(&["7"], 2);
    let error = session.client.simple_query(&session.rendered(text, &own)).await.unwrap_err();
    assert_eq!(error.as_db_error().unwrap().code().code(), "42501");
}
