//! What clients do around their statements: preparing from the nth run on, savepoints, portals, pools, batches.

use crate::common::conflict::on_project;
use crate::common::frames::{bind, bind_raw, describe, execute, parse, query, sync};
use crate::common::raw::{commands, error, rows, shape, sqlstate, status};
use crate::common::twin::{Stage, stage};

const READ: &str = "SELECT id, name, budget FROM projects WHERE id = $1";
const WRITE: &str = "UPDATE projects SET name = $1 WHERE id = $2";

fn theirs(stage: &Stage, id: &str) {
    stage.other_writes(&format!("update projects set status = 'theirs' where id = {id}"));
}

#[test]
fn psycopg_3_prepares_from_the_sixth_run_on() {
    let stage = stage();
    let mut twin = stage.twin();
    let id = [0, 1];
    let run = |name: &str, sql: &str, text: Option<&str>| {
        let values: Vec<Option<&[u8]>> =
            text.map(|t| Some(t.as_bytes())).into_iter().chain([Some(&id[..])]).collect();
        let types: &[u32] = if text.is_some() { &[0, 21] } else { &[21] };
        let formats: &[u16] = if text.is_some() { &[0, 1] } else { &[1] };
        let cycle = [bind_raw("", name, formats, &values, &[0]), describe('P', ""), execute("", 0), sync()];
        (parse(name, sql, types), cycle)
    };
    for n in 0..9 {
        let name = |of: &'static str| if n < 5 { "" } else { of };
        for (name, sql, text) in [(name("_pg3_0"), READ, None), (name("_pg3_1"), WRITE, Some("psycopg"))] {
            let (parse, cycle) = run(name, sql, text);
            match n {
                0..5 => drop(twin.exchange(&[&[parse], &cycle[..]].concat())),
                5 => {
                    twin.exchange(&[parse, sync()]);
                    twin.exchange(&cycle);
                }
                _ => drop(twin.exchange(&cycle)),
            }
        }
    }
    assert_eq!(stage.version("projects", "id = 1"), "10");
    theirs(&stage, "1");
    let (_, cycle) = run("_pg3_1", WRITE, Some("stale"));
    on_project("1", 10, Some(11)).check(&twin.proxied.exchange(&cycle), 'I');
}

#[test]
fn pgjdbc_names_from_the_fifth_run_and_skips_describe_from_the_sixth() {
    let stage = stage();
    let mut twin = stage.twin();
    let id = 1_i32.to_be_bytes();
    let read = "SELECT id, name, budget FROM projects WHERE id = $1";
    for n in 1..9 {
        let name = if n < 5 { "" } else { "S_1" };
        let mut cycle = Vec::new();
        if n <= 5 {
            cycle.push(parse(name, read, &[23]));
        }
        // Binary for the integer and the numeric once the types are known.
        let formats: &[u16] = if n > 5 { &[1, 0, 1] } else { &[] };
        cycle.push(bind_raw("", name, &[1], &[Some(&id)], formats));
        if n <= 5 {
            cycle.push(describe('P', ""));
        }
        cycle.extend([execute("", 0), sync()]);
        let reply = twin.exchange(&cycle);
        assert_eq!(reply.iter().find(|f| f.tag == b'D').map(|f| f.values().len()), Some(3));
        twin.exchange(&[
            parse("", "UPDATE projects SET name = $1 WHERE id = $2", &[1043, 23]),
            bind_raw("", "", &[0, 1], &[Some(b"jdbc"), Some(&id)], &[]),
            describe('P', ""),
            execute("", 1),
            sync(),
        ]);
    }
    assert_eq!(stage.version("projects", "id = 1"), "9");
    theirs(&stage, "1");
    on_project("1", 9, Some(10)).check(&twin.proxied.extended(WRITE, &["stale", "1"]), 'I');
}

#[test]
fn pgjdbc_execute_batch_is_all_or_nothing() {
    let stage = stage();
    let mut twin = stage.twin();
    let batch: Vec<_> = [parse("S_3", WRITE, &[1043, 23])]
        .into_iter()
        .chain(
            ["1", "2", "3"]
                .iter()
                .flat_map(|id| [bind("S_3", &["batch", id]), describe('P', ""), execute("", 1)]),
        )
        .chain([sync()])
        .collect();
    twin.query("select * from projects");
    assert_eq!(shape(&twin.exchange(&batch)), "12nC2nC2nCZ");
    twin.query("select * from projects");
    theirs(&stage, "2");
    let versions = || stage.behind().rows("select version from projects where id < 4 order by id");
    let before = versions();
    let reply = twin.proxied.exchange(&batch[1..]);
    assert_eq!((sqlstate(&reply).as_str(), status(&reply)), ("40001", 'I'), "{reply:?}");
    assert_eq!(versions(), before);
}

/// Autosave of pgjdbc, nested blocks of asyncpg: the refusal undoes the savepoint, and the transaction goes on.
#[test]
fn a_savepoint_around_a_statement_recovers_from_the_refusal() {
    let stage = stage();
    for (begin, savepoint, undo) in [
        ("BEGIN", "SAVEPOINT PGJDBC_AUTOSAVE", "ROLLBACK TO SAVEPOINT PGJDBC_AUTOSAVE"),
        ("BEGIN;", "SAVEPOINT __asyncpg_savepoint_1__;", "ROLLBACK TO __asyncpg_savepoint_1__;"),
    ] {
        let mut mine = stage.session();
        mine.extended(READ, &["1"]);
        mine.extended(READ, &["2"]);
        theirs(&stage, "1");
        let (one, two) = (stage.version("projects", "id = 1"), stage.version("projects", "id = 2"));
        mine.ok(begin);
        mine.ok(savepoint);
        let reply = mine.extended(WRITE, &["stale", "1"]);
        assert_eq!((sqlstate(&reply).as_str(), status(&reply)), ("40001", 'E'), "{reply:?}");
        mine.ok(undo);
        mine.ok(savepoint);
        assert_eq!(commands(&mine.extended(WRITE, &["fresh", "2"])), ["UPDATE 1"]);
        assert_eq!(mine.ok("COMMIT"), "COMMIT");
        assert_eq!(stage.version("projects", "id = 1"), one);
        assert_eq!(stage.version("projects", "id = 2").parse::<i64>(), two.parse::<i64>().map(|v| v + 1));
    }
}

#[test]
fn asyncpg_fetchrow_and_portals() {
    let stage = stage();
    let mut twin = stage.twin();
    // fetchrow: max_rows 1, of a read and of a write that returns.
    let key = 1_i32.to_be_bytes();
    let row = |name: &str, values: &[Option<&[u8]>]| {
        [bind_raw("", name, &[1], values, &[1]), execute("", 1), sync()]
    };
    twin.exchange(&[parse("r", READ, &[]), describe('S', "r"), sync()]);
    let sql = "UPDATE projects SET name = $1 WHERE id = $2 RETURNING name";
    twin.exchange(&[parse("w", sql, &[]), describe('S', "w"), sync()]);
    assert_eq!(shape(&twin.exchange(&row("r", &[Some(&key)]))), "2DsZ");
    assert_eq!(shape(&twin.exchange(&row("w", &[Some(b"one"), Some(&key)]))), "2DsZ");
    assert_eq!(shape(&twin.exchange(&row("w", &[Some(b"two"), Some(&key)]))), "2DsZ");
    assert_eq!(stage.version("projects", "id = 1"), "3");
    theirs(&stage, "1");
    let reply = twin.proxied.exchange(&row("w", &[Some(b"stale"), Some(&key)]));
    on_project("1", 3, Some(4)).check(&reply, 'I');
    // A cursor over a portal, two rows at a time.
    twin.query("BEGIN;");
    twin.exchange(&[
        parse("l", "SELECT id, name FROM projects ORDER BY id DESC", &[]),
        describe('S', "l"),
        sync(),
    ]);
    twin.exchange(&[bind_raw("__asyncpg_portal_1__", "l", &[], &[], &[1]), sync()]);
    assert_eq!(shape(&twin.exchange(&[execute("__asyncpg_portal_1__", 2), sync()])), "DDsZ");
    theirs(&stage, "9");
    theirs(&stage, "7");
    // What it has shown is known, what it has not is not.
    assert_eq!(commands(&twin.proxied.extended(WRITE, &["blind", "7"])), ["UPDATE 1"]);
    on_project("9", 1, Some(2)).check(&twin.proxied.extended(WRITE, &["stale", "9"]), 'E');
}

/// The connection goes to another user: nothing of what the last one saw counts, and that is told.
#[test]
fn asyncpg_pool_release_forgets() {
    let stage = stage();
    let mut twin = stage.twin();
    twin.query("SELECT * FROM projects WHERE id = 1");
    twin.query("SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;");
    theirs(&stage, "1");
    let blind = || stage.proxy.metric("staleguard_blind_writes_total", &[("table", "projects")]);
    let before = blind();
    assert_eq!(commands(&twin.proxied.extended(WRITE, &["blind", "1"])), ["UPDATE 1"]);
    assert_eq!((blind() - before, stage.version("projects", "id = 1")), (1.0, "3".into()));
}

#[test]
fn django_server_cursors() {
    let stage = stage();
    let mut twin = stage.twin();
    twin.query("BEGIN");
    twin.query(r#"DECLARE "_django_curs_1" NO SCROLL CURSOR FOR SELECT "projects"."id" FROM "projects""#);
    for wanted in [2, 2, 2, 2, 1, 0] {
        let reply = twin.query(r#"FETCH FORWARD 2 FROM "_django_curs_1""#);
        assert_eq!(rows(&reply).len(), wanted);
    }
    twin.query(r#"CLOSE "_django_curs_1""#);
    twin.query("COMMIT");
    // Keys alone show nothing of a row.
    theirs(&stage, "1");
    assert_eq!(
        commands(&twin.query(r#"UPDATE "projects" SET "name" = 'dj' WHERE "projects"."id" = 1"#)),
        ["UPDATE 1"]
    );
    assert_eq!(stage.version("projects", "id = 1"), "3");
}

/// TypeORM's `save()` reads the row again before it begins: what it writes is based on that.
#[test]
fn typeorm_reads_again_before_its_transaction() {
    let stage = stage();
    let mut twin = stage.twin();
    let read = r#"SELECT "P"."id" AS "P_id", "P"."name" AS "P_name" FROM "projects" "P" WHERE "P"."id" = $1"#;
    twin.extended(read, &["1"]);
    stage.cluster.direct("direct").ok("update projects set status = 'theirs' where id = 1");
    theirs(&stage, "1");
    twin.extended(read, &["1"]);
    twin.query("START TRANSACTION");
    let write = r#"UPDATE "projects" SET "name" = $1 WHERE "id" IN ($2)"#;
    assert_eq!(commands(&twin.extended(write, &["typeorm", "1"])), ["UPDATE 1"]);
    twin.query("COMMIT");
    // Changed between that read and the write, it is refused.
    twin.extended(read, &["1"]);
    theirs(&stage, "1");
    twin.proxied.ok("START TRANSACTION");
    let reply = twin.proxied.extended(write, &["stale", "1"]);
    assert_eq!((sqlstate(&reply).as_str(), status(&reply)), ("40001", 'E'));
    assert_eq!(twin.proxied.ok("ROLLBACK"), "ROLLBACK");
}

#[test]
fn prisma_upsert_in_a_transaction() {
    let stage = stage();
    let mut twin = stage.twin();
    let read = r#"SELECT "public"."projects"."id", "public"."projects"."name" FROM "public"."projects" WHERE ("public"."projects"."id" = $1 AND 1=1) LIMIT $2 OFFSET $3"#;
    let write = r#"UPDATE "public"."projects" SET "name" = $1 WHERE ("public"."projects"."id" = $2 AND 1=1) RETURNING "public"."projects"."id", "public"."projects"."name""#;
    let insert =
        r#"INSERT INTO "public"."projects" ("id","name") VALUES ($1,$2) RETURNING "public"."projects"."id""#;
    twin.query("BEGIN");
    twin.extended(read, &["1", "1", "0"]);
    twin.extended(write, &["prisma", "1"]);
    assert!(rows(&twin.extended(read, &["100", "1", "0"])).is_empty());
    twin.extended(insert, &["100", "new"]);
    twin.extended(write, &["newer", "100"]);
    twin.query("COMMIT");
    assert_eq!(
        (stage.version("projects", "id = 1"), stage.version("projects", "id = 100")),
        ("2".into(), "2".into())
    );
    twin.proxied.ok("BEGIN");
    twin.proxied.extended(read, &["100", "1", "0"]);
    theirs(&stage, "100");
    on_project("100", 2, Some(3)).check(&twin.proxied.extended(write, &["stale", "100"]), 'E');
}

#[test]
fn rails_reads_named_and_writes_unnamed() {
    let stage = stage();
    let mut twin = stage.twin();
    let read = r#"SELECT "projects".* FROM "projects" WHERE "projects"."id" = $1 LIMIT $2"#;
    twin.exchange(&[parse("a1", read, &[]), sync()]);
    for _ in 0..2 {
        twin.exchange(&[bind("a1", &["1", "1"]), describe('P', ""), execute("", 0), sync()]);
        twin.query("BEGIN");
        twin.extended(r#"UPDATE "projects" SET "name" = $1 WHERE "projects"."id" = $2"#, &["rails", "1"]);
        twin.query("COMMIT");
    }
    assert_eq!(stage.version("projects", "id = 1"), "3");
    twin.exchange(&[bind("a1", &["1", "1"]), describe('P', ""), execute("", 0), sync()]);
    theirs(&stage, "1");
    twin.proxied.ok("BEGIN");
    let reply = twin
        .proxied
        .extended(r#"UPDATE "projects" SET "name" = $1 WHERE "projects"."id" = $2"#, &["stale", "1"]);
    on_project("1", 3, Some(4)).check(&reply, 'E');
}

/// Hibernate, SQLAlchemy's `version_id_col`, Rails' `lock_version`, Sequelize: they write the next version themselves and
/// raise their own error at zero rows. They keep doing so, and the conflict is counted all the same.
#[test]
fn version_aware_clients_see_their_own_zero_rows() {
    let stage = stage();
    let sql = r#"UPDATE "projects" SET "name" = $1, "version" = $2 WHERE "projects"."id" = $3 AND "projects"."version" = $4"#;
    for (n, id) in ["1", "2"].into_iter().enumerate() {
        let mut twin = stage.twin();
        twin.extended("SELECT id, name, version FROM projects WHERE id = $1", &[id]);
        assert_eq!(commands(&twin.extended(sql, &["own", "2", id, "1"])), ["UPDATE 1"]);
        assert_eq!(stage.version("projects", &format!("id = {id}")), "2");
        theirs(&stage, id);
        let reply = match n {
            0 => twin.proxied.extended(sql, &["stale", "3", id, "2"]),
            _ => twin
                .proxied
                .query(&sql.replace("$1", "'stale'").replace("$2", "3").replace("$3", id).replace("$4", "2")),
        };
        assert!(error(&reply).is_none(), "{reply:?}");
        assert_eq!(commands(&reply), ["UPDATE 0"]);
        assert_eq!(
            (stage.version("projects", &format!("id = {id}")), stage.conflicts()),
            ("3".into(), n as f64 + 1.0)
        );
    }
}

/// A cycle of two statements with a simple Query between them, as drivers pipeline them.
#[test]
fn a_query_between_extended_cycles_keeps_the_order() {
    let stage = stage();
    let mut twin = stage.twin();
    twin.query("select * from projects");
    let cycle = |id: &str| {
        [parse("", WRITE, &[]), bind("", &["piped", id]), describe('P', ""), execute("", 0), sync()]
    };
    let all = [&cycle("1")[..], &[query("SAVEPOINT a")], &cycle("2")[..]].concat();
    twin.query("BEGIN");
    assert_eq!(shape(&twin.exchange(&all)), "12nCZCZ12nCZ");
    twin.query("COMMIT");
    assert_eq!(
        (stage.version("projects", "id = 1"), stage.version("projects", "id = 2")),
        ("2".into(), "2".into())
    );
}
