//! PREPARE, EXECUTE and DEALLOCATE in SQL: what is prepared there is checked each time it runs, and nobody can tell.

use crate::common::conflict::on_project;
use crate::common::frames::{bind, close, describe, execute, flush, parse, query, sync};
use crate::common::raw::{BOTH, Protocol, Raw, commands, error, rows, shape, sqlstate, status};
use crate::common::twin::{Stage, stage};

const ALL: &str = "select * from projects";

fn unchecked(stage: &Stage, reason: &str) -> f64 {
    let labels = [("table", "projects"), ("reason", reason)];
    stage.proxy.metric("staleguard_unchecked_writes_total", &labels)
}

fn blind(stage: &Stage) -> f64 {
    stage.proxy.metric("staleguard_blind_writes_total", &[("table", "projects")])
}

fn other_writes(stage: &Stage, id: u32) {
    stage.other_writes(&format!("update projects set budget = 0 where id = {id}"));
}

/// What is prepared, and how it is run so that row 1 is written; the tag.
const PREPARED: &[(&str, &str, &str)] = &[
    ("(text, int) as update projects set name = $1 where id = $2", "('x', 1)", "UPDATE 1"),
    ("as update projects set name = $1 where id = $2", "('x', '1')", "UPDATE 1"),
    (
        "(int, text) as update projects set name = $2 where id = $1 returning name",
        "(1::int, 'x'::text)",
        "UPDATE 1",
    ),
    ("(int) as update projects set name = 'y' where id in ($1, 2)", "( 1 )", "UPDATE 2"),
    ("as update projects set name = 'y' where id = 1", "", "UPDATE 1"),
    ("as update projects set name = 'y' where budget >= 0", "", "UPDATE 9"),
    ("(int[]) as update projects set name = 'y' where id = any ($1)", "('{1,2}')", "UPDATE 2"),
    ("(int) as update projects set name = 'y' where id = $1", "(3 - 2)", "UPDATE 1"),
    ("(numeric, int, text) as update projects set budget = $1 where id = $2", "(1, 1, 'unused')", "UPDATE 1"),
    (
        "(int) as insert into projects (id) values ($1) on conflict (id) do update set name = 'z'",
        "(1)",
        "INSERT 0 1",
    ),
    (
        "(int) as with w as (update projects set name = 'w' where id = $1 returning *) select id from w",
        "(1)",
        "SELECT 1",
    ),
    (
        "(text) as update projects p set name = $1 from portfolios f where f.id = p.portfolio_id",
        "('f')",
        "UPDATE 9",
    ),
];

#[test]
fn each_execute_is_checked() {
    let stage = stage();
    for (what, with, tag) in PREPARED {
        let mut mine = stage.session();
        assert_eq!(mine.ok(&format!("prepare w {what}")), "PREPARE");
        let run = format!("execute w{with}");
        mine.ok(ALL);
        other_writes(&stage, 1);
        let version = || stage.version("projects", "id = 1").parse::<i64>().unwrap();
        let before = version();
        for text in [run.clone(), format!("select 1; {run}"), format!("begin; {run}")] {
            let reply = mine.query(&text);
            assert_eq!(sqlstate(&reply), "40001", "{what}: {text}: {reply:?}");
            if status(&reply) == 'E' {
                assert_eq!(mine.ok("commit"), "ROLLBACK");
            }
        }
        on_project("1", before - 1, Some(before)).check(&mine.extended(&run, &[]), 'I');
        on_project("1", before - 1, Some(before)).check(&mine.query(&format!("explain analyze {run}")), 'I');
        assert_eq!(version(), before, "{what}");
        // Fresh, it lands, and again: the session does not conflict with itself, in one text neither.
        mine.ok(ALL);
        assert_eq!(mine.ok(&run), *tag, "{what}");
        assert_eq!(commands(&mine.extended(&run, &[])), [*tag], "{what}");
        assert_eq!(mine.ok(&format!("{run}; {run}")), *tag, "{what}");
        assert_eq!(mine.ok(&format!("explain analyze {run}")), "EXPLAIN");
        assert_eq!(version(), before + 5, "{what}");
        mine.ok(&format!("explain {run}"));
        assert_eq!(mine.ok("deallocate w"), "DEALLOCATE");
        // Nothing known: it passes and is counted.
        let mut unseen = stage.session();
        unseen.ok(&format!("prepare w {what}"));
        let count = || {
            ["nested", "cte", "unknown_key"].iter().map(|r| unchecked(&stage, r)).sum::<f64>() + blind(&stage)
        };
        let counted = count();
        assert_eq!(unseen.ok(&run), *tag, "{what}");
        assert_eq!((version(), count()), (before + 6, counted + 1.0), "{what}");
    }
}

#[test]
fn a_delete_prepared_in_sql_is_checked() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("prepare d (int) as delete from projects where id = $1");
    mine.ok("prepare f as delete from projects where id in ($1, $2) returning name");
    mine.ok(ALL);
    other_writes(&stage, 1);
    for text in ["execute d(1)", "execute f(1, 2)"] {
        on_project("1", 1, Some(2)).check(&mine.query(text), 'I');
        on_project("1", 1, Some(2)).check(&mine.extended(text, &[]), 'I');
    }
    mine.ok(ALL);
    assert_eq!(mine.ok("execute d(1)"), "DELETE 1");
    assert_eq!(mine.ok("execute f(2, 3)"), "DELETE 2");
    assert_eq!(mine.ok("execute d(1)"), "DELETE 0");
}

#[test]
fn a_client_cannot_tell() {
    let stage = stage();
    let mut twin = stage.twin();
    for text in [
        "prepare w (text, int) as update projects set name = $1 where id = $2",
        "prepare r as update projects set name = $1 where id = $2 returning *",
        "prepare s (int) as select name from projects where id = $1",
        "prepare q as select 1; execute q",
        "prepare n as update projects set name = 'n'",
        "execute w ('x', 1)",
        "execute r ('x', 1)",
        "execute s (1)",
        // The server's own complaints.
        "prepare w as select 1",
        "prepare bad as update projects set nonsense = $1 where id = $2",
        "prepare bad (int, text as select 1",
        "prepare bad (nonsense) as update projects set name = 'x' where id = $1",
        "prepare bad as update projects set name = $1 where id = $3",
        "prepare bad (int) as update projects set name = 'x' where id = $1 and",
        "execute w ('x')",
        "execute w",
        "execute w ('x', 1, 2)",
        "execute w ()",
        "execute w ('x', 'not a number')",
        "execute w ('x', now())",
        "/* é */ execute w ('x', nonsense)",
        "execute n (1)",
        "execute nobody (1)",
        "explain execute w ('x')",
        "select 1; execute w ('x', 1, 2)",
        "create table copied as execute s (2)",
        "create table copied as execute s (2)",
        "create table copy2 as execute w ('x', 2)",
        "create table copy3 as execute s",
        "select * from copied",
        "deallocate nobody",
        "deallocate w; execute w ('x', 1)",
        "execute w ('x', 1)",
        "prepare w as update projects set budget = $1; execute w (5)",
        "deallocate prepare w",
        "deallocate all; execute r ('x', 1)",
        "execute s (1)",
        "prepare transaction as update projects set name = $1 where id = 1",
        "execute transaction ('y')",
    ] {
        twin.query(text);
        twin.query("begin");
        twin.query(text);
        twin.query("rollback");
        twin.extended(text.split("; ").last().unwrap(), &[]);
        twin.query("begin");
        twin.extended(text.split("; ").last().unwrap(), &[]);
        twin.query("rollback");
    }
    twin.query("select id, name, budget from projects order by 1");
    twin.query("select * from copied order by 1");
    assert_eq!(stage.proxy.metric("staleguard_sessions_desynced_total", &[]), 0.0);
}

#[test]
fn statements_of_both_protocols_share_their_names() {
    let stage = stage();
    let mut twin = stage.twin();
    // Prepared in SQL, bound by the protocol.
    twin.query("prepare w (text, int) as update projects set name = $1 where id = $2");
    twin.exchange(&[describe('S', "w"), sync()]);
    twin.exchange(&[bind("w", &["x", "1"]), describe('P', ""), execute("", 0), sync()]);
    twin.exchange(&[bind("w", &["x", "1"]), execute("", 0), bind("w", &["y", "2"]), execute("", 0), sync()]);
    twin.exchange(&[bind("w", &["x"]), execute("", 0), sync()]);
    twin.exchange(&[bind("w", &["x", "1", "2"]), execute("", 0), sync()]);
    twin.exchange(&[parse("w", "select 1", &[]), sync()]);
    twin.exchange(&[bind("w", &["x", "1"]), execute("", 0), sync()]);
    twin.exchange(&[close('S', "w"), sync()]);
    twin.query("execute w ('x', 1)");
    twin.exchange(&[bind("w", &["x", "1"]), execute("", 0), sync()]);
    // Prepared by the protocol, run in SQL.
    for text in [
        "update projects set name = $1 where id = $2",
        "update projects set name = $1 where id = $2 returning name",
        "update projects set budget = budget + $1 where id = $2",
        "select name, $1::text from projects where id = $2",
        "delete from projects where name = $1 and id = $2",
    ] {
        twin.exchange(&[parse("s", text, &[]), sync()]);
        twin.exchange(&[bind("s", &["7", "3"]), execute("", 0), sync()]);
        for run in
            ["execute s ('8', 3)", "execute s ('8')", "execute s", "explain (costs off) execute s ('8')"]
        {
            twin.query(run);
            twin.extended(run, &[]);
        }
        twin.exchange(&[bind("s", &["9", "3"]), describe('P', ""), execute("", 0), sync()]);
        twin.exchange(&[describe('S', "s"), sync()]);
        twin.query("deallocate s");
        twin.exchange(&[describe('S', "s"), sync()]);
    }
    twin.query("select id, name, budget from projects order by id");
    // In one pipeline.
    let run = |text: &str| [parse("", text, &[]), bind("", &[]), execute("", 0)].concat();
    twin.exchange(&[
        run("prepare p (int) as update projects set name = 'p' where id = $1"),
        bind("p", &["1"]),
        execute("", 0),
        run("execute p (2)"),
        run("deallocate p"),
        bind("p", &["1"]),
        execute("", 0),
        sync(),
    ]);
    twin.exchange(&[
        query("prepare p (int) as update projects set name = 'q' where id = $1"),
        bind("p", &["1"]),
        execute("", 0),
        sync(),
    ]);
    twin.query("select id, name, budget from projects order by id");
    twin.query("discard all");
    twin.query("execute p (1)");
    twin.exchange(&[bind("p", &["1"]), execute("", 0), sync()]);
}

#[test]
fn either_protocol_checks_what_the_other_has_prepared() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("prepare w (text, int) as update projects set name = $1 where id = $2");
    mine.exchange(&[parse("s", "update projects set name = $1 where id = $2", &[]), sync()]);
    mine.exchange(&[parse("r", "update projects set name = $1 where id = $2 returning name", &[]), sync()]);
    let bound = |name: &str| [bind(name, &["x", "1"]), execute("", 0), sync()];
    let mut expected = 1;
    for round in 1..=2 {
        mine.ok(ALL);
        other_writes(&stage, 1);
        for name in ["w", "s", "r"] {
            let stale = on_project("1", expected, Some(expected + 1));
            stale.check(&mine.exchange(&bound(name)), 'I');
            stale.check(&mine.query(&format!("execute {name} ('x', 1)")), 'I');
            stale.check(&mine.extended(&format!("execute {name} ('x', 1)"), &[]), 'I');
        }
        mine.ok(ALL);
        for name in ["w", "s", "r"] {
            assert_eq!(commands(&mine.exchange(&bound(name))), ["UPDATE 1"], "{name} {round}");
            assert_eq!(mine.ok(&format!("execute {name} ('x', 1)")), "UPDATE 1", "{name} {round}");
            assert_eq!(commands(&mine.extended(&format!("execute {name} ('x', 1)"), &[])), ["UPDATE 1"]);
        }
        expected = stage.version("projects", "id = 1").parse().unwrap();
    }
    assert_eq!(expected, 21);
}

#[test]
fn an_execute_that_is_parsed_once_follows_what_is_known() {
    let stage = stage();
    let mut mine = stage.session();
    // Parsed before there is anything of that name.
    mine.exchange(&[parse("e", "execute w ('x', 1)", &[]), sync()]);
    mine.ok("prepare w (text, int) as update projects set name = $1 where id = $2");
    let run = [bind("e", &[]), execute("", 0), sync()];
    assert_eq!(commands(&mine.exchange(&run)), ["UPDATE 1"]);
    for round in 0..3 {
        mine.ok(ALL);
        assert_eq!(commands(&mine.exchange(&run)), ["UPDATE 1"], "{round}");
        other_writes(&stage, 1);
        assert_eq!(sqlstate(&mine.exchange(&run)), "40001", "{round}");
        // Inside a block, and with a Flush.
        mine.ok("begin");
        mine.send(&[bind("e", &[]), execute("", 0), flush()].concat());
        let reply = mine.until('E');
        assert_eq!((shape(&reply).as_str(), sqlstate(&reply).as_str()), ("2E", "40001"));
        assert_eq!(status(&mine.exchange(&[sync()])), 'E');
        mine.ok("rollback");
    }
    // Another statement under the same name.
    mine.ok("deallocate w; prepare w (text, int) as update projects set name = $1 where id = $2 + 1");
    assert_eq!(commands(&mine.exchange(&run)), ["UPDATE 1"]);
    mine.ok("deallocate w");
    assert_eq!(sqlstate(&mine.exchange(&run)), "26000");
}

#[test]
fn names_outlive_a_rollback_and_not_a_failed_prepare() {
    let stage = stage();
    let mut mine = stage.session();
    let stale = |mine: &mut Raw| {
        mine.ok(ALL);
        other_writes(&stage, 1);
        let reply = mine.query("execute w ('x', 1)");
        assert_eq!(sqlstate(&reply), "40001", "{reply:?}");
        mine.ok(ALL);
        assert_eq!(mine.ok("execute w ('x', 1)"), "UPDATE 1");
    };
    let prepare = "prepare w (text, int) as update projects set name = $1 where id = $2";
    mine.ok("begin");
    mine.ok(prepare);
    mine.ok("rollback");
    stale(&mut mine);
    // A second one fails, and the first one stays.
    assert_eq!(sqlstate(&mine.query("prepare w as select 1")), "42P05");
    stale(&mut mine);
    // What was prepared before an error in the same text stays too.
    mine.ok("deallocate w");
    assert_eq!(sqlstate(&mine.query(&format!("{prepare}; select 1/0"))), "22012");
    stale(&mut mine);
    mine.ok("deallocate all");
    assert_eq!(sqlstate(&mine.query(&format!("select 1/0; {prepare}"))), "22012");
    assert_eq!(sqlstate(&mine.query("execute w ('x', 1)")), "26000");
    // All in one text.
    mine.ok(ALL);
    other_writes(&stage, 1);
    let all = format!("{prepare}; execute w ('x', 1); deallocate w");
    assert_eq!(sqlstate(&mine.query(&all)), "40001");
    mine.ok("deallocate w");
    mine.ok(ALL);
    assert_eq!(mine.ok(&all), "DEALLOCATE");
    assert_eq!(sqlstate(&mine.query("execute w ('x', 1)")), "26000");
    // Sent on without waiting.
    mine.ok(ALL);
    other_writes(&stage, 1);
    mine.send(&[query(prepare), query("execute w ('x', 1)"), query("execute w ('x', 2)")].concat());
    let reply = mine.until_ready(3);
    assert_eq!((shape(&reply).as_str(), sqlstate(&reply).as_str()), ("CZEZCZ", "40001"));
    mine.ok("discard all");
    assert_eq!(sqlstate(&mine.query("execute w ('x', 1)")), "26000");
}

#[test]
fn keys_of_other_types_and_of_several_columns() {
    let stage = stage();
    let mut mine = stage.session();
    for (table, condition, types, arguments) in [
        ("portfolios", "id = $1", "uuid", "'2531439D-3075-46d6-9c19-63e3342fc43e'"),
        ("rates", "code = $1", "text", "'it''s'"),
        ("rates", "code = $1", "text", "E'it\\'s'"),
        ("rates", "code = $1", "bpchar", "'day'"),
        ("resources", "id = $1", "bigint", "9007199254740993"),
        ("user_roles", "user_id = $1 and role_id = $2", "int, text", "1, 'admin'"),
    ] {
        stage.behind().ok(&format!("prepare bump as update {table} set version = version; execute bump"));
        mine.ok(&format!("select * from {table}"));
        let set = if table == "rates" {
            "amount = 5"
        } else if table == "user_roles" {
            "granted_by = 'x'"
        } else {
            "name = 'x'"
        };
        mine.ok(&format!("prepare w ({types}) as update {table} set {set} where {condition}"));
        stage.behind().ok(&format!("update {table} set version = version + 1"));
        let reply = mine.query(&format!("execute w ({arguments})"));
        assert_eq!(sqlstate(&reply), "40001", "{table} {arguments}");
        mine.ok(&format!("select * from {table}"));
        assert_eq!(mine.ok(&format!("execute w ({arguments})")), "UPDATE 1", "{table} {arguments}");
        mine.ok("deallocate w");
    }
}

#[test]
fn what_an_execute_shows_teaches() {
    let stage = stage();
    for (protocol, _) in BOTH {
        let mut mine = stage.session();
        mine.ok("prepare r (int) as select * from projects where id = $1");
        mine.ok("prepare narrow (int) as select name from projects where id = $1");
        mine.ok("prepare u (int) as update projects set status = 'u' where id = $1 returning *");
        let say = |mine: &mut Raw, text: &str| match protocol {
            Protocol::Simple => mine.query(text),
            Protocol::Extended => mine.extended(text, &[]),
        };
        // Key and version are in the result.
        assert_eq!(rows(&say(&mut mine, "execute r (4)")).len(), 1);
        other_writes(&stage, 4);
        assert_eq!(sqlstate(&mine.query("update projects set name = 'x' where id = 4")), "40001");
        assert_eq!(rows(&say(&mut mine, "execute r (4)")).len(), 1);
        assert_eq!(mine.ok("update projects set name = 'x' where id = 4"), "UPDATE 1");
        // A write shows what it left.
        assert_eq!(commands(&say(&mut mine, "execute u (4)")), ["UPDATE 1"]);
        assert_eq!(mine.ok("update projects set status = 'v' where id = 4"), "UPDATE 1");
        // No hidden columns here: such a read teaches nothing.
        let reply = say(&mut mine, "execute narrow (5)");
        assert_eq!(rows(&reply).concat(), ["project 5"]);
        other_writes(&stage, 5);
        assert_eq!(mine.ok("update projects set name = 'project 5' where id = 5"), "UPDATE 1");
    }
}

#[test]
fn a_table_that_comes_under_protection_later_leaves_it_as_it_is() {
    let stage = stage();
    let mut mine = stage.session();
    stage.behind().ok("alter table projects drop column version");
    mine.ok("prepare w (text, int) as update projects set name = $1 where id = $2");
    assert_eq!(mine.ok("execute w ('x', 1)"), "UPDATE 1");
    let counted = unchecked(&stage, "nested");
    mine.ok("alter table projects add column version integer not null default 1");
    mine.ok(ALL);
    assert_eq!(mine.ok("execute w ('x', 1)"), "UPDATE 1");
    assert_eq!(commands(&mine.exchange(&[bind("w", &["x", "1"]), execute("", 0), sync()])), ["UPDATE 1"]);
    assert_eq!(
        (stage.version("projects", "id = 1").as_str(), unchecked(&stage, "nested")),
        ("1", counted + 2.0)
    );
    // Prepared anew it is checked.
    mine.ok("deallocate w; prepare w (text, int) as update projects set name = $1 where id = $2");
    mine.ok(ALL);
    other_writes(&stage, 1);
    let reply = mine.query("execute w ('x', 1)");
    assert_eq!(sqlstate(&reply), "40001");
    assert!(error(&reply).is_some_and(|e| e.field('M').is_some_and(|m| m.contains("expected version 1"))));
}

#[test]
fn the_catalog_shows_the_rewritten_text() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("prepare w (text, int) as update projects set name = $1 where id = $2");
    let shown =
        mine.rows("select statement, parameter_types from pg_prepared_statements where name = 'w'").concat();
    assert!(shown[0].contains("pg_catalog.jsonb") && shown[1] == "{text,integer,jsonb}", "{shown:?}");
}

/// A known difference: a statement with hidden columns is parsed again where names mean other tables, and the server
/// has nothing left to compare its new result with.
#[test]
fn a_result_whose_type_changes_with_the_search_path() {
    let stage = stage();
    for database in ["direct", "proxied"] {
        stage.cluster.direct(database).ok("create schema other; \
             create table other.projects (id integer primary key, name char(5)); \
             insert into other.projects values (1, 'other')");
    }
    let run = || [bind("q", &[]), execute("", 0), sync()];
    for by_name in [true, false] {
        let mut twin = stage.twin();
        twin.exchange(&[parse("q", "select name from projects where id = 1", &[]), sync()]);
        twin.query("set search_path = other, public");
        let reply = |session: &mut Raw| match by_name {
            true => session.query("execute q"),
            false => session.exchange(&run()),
        };
        assert_eq!(sqlstate(&reply(&mut twin.direct)), "0A000", "{by_name}");
        assert_eq!(rows(&reply(&mut twin.proxied)), [["other"]], "{by_name}");
        // Back where it was made it is as it was.
        twin.query("set search_path = public");
        twin.exchange(&run());
    }
}
