//! A rewritten statement that the server refuses, though it would take the original: the original is run, and
//! the client does not notice.

use crate::common::frames::{bind, describe, execute, flush, parse, sync};
use crate::common::raw::{commands, rows, shape, sqlstate, status};
use crate::common::twin::{Stage, stage, stage_with};

/// Drops the version column behind the proxy's back, on both databases; the proxy's view is too young to notice.
fn drop_column(stage: &Stage) {
    for database in ["direct", "proxied"] {
        stage.cluster.direct(database).ok("alter table projects drop column version");
    }
}

fn rejected(stage: &Stage) -> f64 {
    stage.proxy.metric("staleguard_rewrite_rejected_total", &[("sqlstate", "42703")])
}

#[test]
fn a_simple_query_is_run_in_its_own_words() {
    let stage = stage();
    let mut twin = stage.twin();
    twin.query("select name from projects where id = 1");
    drop_column(&stage);
    assert_eq!(commands(&twin.query("update projects set name = 'x' where id = 1")), ["UPDATE 1"]);
    assert_eq!(rejected(&stage), 1.0);
    // The catalog has been looked at again: nothing is rewritten any more.
    assert_eq!(rows(&twin.query("select name from projects where id = 1")), [["x"]]);
    assert_eq!(rejected(&stage), 1.0);
}

#[test]
fn an_extended_cycle_is_run_in_its_own_words() {
    for with_flush in [false, true] {
        let stage = stage();
        let mut twin = stage.twin();
        twin.query("select name from projects where id = 2");
        drop_column(&stage);
        let sql = "update projects set name = $1 where id = $2";
        let parse = parse("w", sql, &[]);
        if with_flush {
            // The client waits for the answer to its Flush before it sends the rest.
            for session in [&mut twin.direct, &mut twin.proxied] {
                session.send(&[parse.clone(), describe('S', "w"), flush()].concat());
                assert_eq!(shape(&session.until('n')), "1tn");
            }
            assert_eq!(shape(&twin.exchange(&[bind("w", &["x", "2"]), execute("", 0), sync()])), "2CZ");
        } else {
            let cycle = [parse, bind("w", &["x", "2"]), describe('P', ""), execute("", 0), sync()];
            assert_eq!(shape(&twin.exchange(&cycle)), "12nCZ");
        }
        assert_eq!(rejected(&stage), 1.0);
        // The statement is usable from then on.
        assert_eq!(shape(&twin.exchange(&[bind("w", &["y", "2"]), execute("", 0), sync()])), "2CZ");
        assert_eq!(rows(&twin.query("select name from projects where id = 2")), [["y"]]);
    }
}

#[test]
fn a_prepared_statement_is_bound_in_its_own_words() {
    let stage = stage();
    let mut twin = stage.twin();
    let read = parse("r", "select name from projects where id = $1", &[]);
    let write = parse("w", "update projects set name = $1 where id = $2", &[]);
    assert_eq!(shape(&twin.exchange(&[read, write, describe('S', "r"), sync()])), "11tTZ");
    drop_column(&stage);
    for round in ["x", "y"] {
        assert_eq!(shape(&twin.exchange(&[bind("w", &[round, "3"]), execute("", 0), sync()])), "2CZ");
        let read = twin.exchange(&[bind("r", &["3"]), describe('P', ""), execute("", 0), sync()]);
        assert_eq!((shape(&read), rows(&read)), ("2TDCZ".to_owned(), vec![vec![round.to_owned()]]));
    }
}

#[test]
fn in_a_block_the_refusal_stands() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("select name from projects where id = 4");
    mine.ok("begin");
    drop_column(&stage);
    let reply = mine.query("update projects set name = 'x' where id = 4");
    assert_eq!((sqlstate(&reply).as_str(), status(&reply)), ("42703", 'E'));
    assert_eq!(mine.ok("rollback"), "ROLLBACK");
    assert_eq!(mine.ok("update projects set name = 'x' where id = 4"), "UPDATE 1");
}

#[test]
fn an_error_of_the_clients_own_is_told_as_without_a_proxy() {
    let stage = stage();
    let mut twin = stage.twin();
    for sql in [
        "update projects set nme = 'x' where id = 1",
        "select name, nme from projects where id = 1",
        "update projects set name = 'x' where nme = 1 and id = 1",
        "update projects set name = 'x' where id = 1 returning nme",
        "update projects set name = 'x' where id = 1 whre",
        "select name from projects where id = 1 and (",
    ] {
        assert_eq!(status(&twin.query(sql)), 'I', "{sql}");
        let cycle = [parse("", sql, &[]), describe('S', ""), bind("", &[]), execute("", 0), sync()];
        assert_eq!(shape(&twin.exchange(&cycle)), "EZ", "{sql}");
        // Pipelined behind and before other cycles nothing is sent again, and nothing comes out of order.
        let other = [parse("", "select 1", &[]), bind("", &[]), execute("", 0), sync()];
        let pipeline = [&other[..], &cycle[..], &other[..]].concat();
        assert_eq!(shape(&twin.exchange(&pipeline)), "12DCZEZ12DCZ", "{sql}");
    }
    assert_eq!(rejected(&stage), 0.0);
}

/// A Describe of a statement with a result has the server plan it anew: hidden columns that are gone are no concern of
/// the client's.
#[test]
fn a_statement_whose_hidden_columns_are_gone_is_described_as_it_is() {
    for age in ["5s", "0s"] {
        let stage = stage_with(&["--catalog-max-age", age]);
        let mut twin = stage.twin();
        let statements = [
            ("set", "update projects set status = $1"),
            ("upsert", "insert into projects (id) values ($1) on conflict (id) do update set name = 'x'"),
            ("narrow", "select name from projects where id = $1"),
            ("returning", "update projects set name = $1 where id = 1 returning status"),
            ("all", "select * from projects"),
            ("plain", "update projects set name = $1 where id = $2"),
        ];
        let texts = statements.map(|(name, sql)| parse(name, sql, &[])).concat();
        twin.exchange(&[texts, sync()]);
        for database in ["direct", "proxied"] {
            stage.cluster.direct(database).ok("alter table projects drop column version");
        }
        for (name, _) in statements {
            let reply = twin.exchange(&[describe('S', name), sync()]);
            let wanted = match name {
                "all" => "tEZ",
                "narrow" | "returning" => "tTZ",
                _ => "tnZ",
            };
            assert_eq!(shape(&reply), wanted, "{name}: {reply:?}");
            // With more behind it, and again.
            let values: &[&str] = if name == "plain" { &["x", "1"] } else { &["1"] };
            if name != "all" {
                twin.exchange(&[describe('S', name), bind(name, values), execute("", 0), sync()]);
                twin.exchange(&[describe('S', name), flush(), sync(), describe('S', name), sync()]);
            }
        }
        assert_eq!(sqlstate(&twin.exchange(&[describe('S', "nobody"), sync()])), "26000");
    }
}
