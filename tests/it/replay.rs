//! Statements as real clients send them, replayed through the proxy and past it: the replies must be the same
//! byte for byte, but for the version.

use crate::common::frames::{bind, describe, execute, flush, parse, sync};
use crate::common::raw::{Raw, error, inlined, rows, sqlstate};
use crate::common::twin::{Stage, Twin, same, stage};

/// One statement of `replay.sql`.
struct Case {
    sql: String,
    values: Vec<String>,
    /// Versions of the rows it writes as they are afterwards, by key.
    versions: Vec<(String, String)>,
}

/// Reads `replay.sql`: statements end with a line `---`; `-- values: a | b` before one gives its parameters,
/// `-- versions: 1=2 | 2=2` what it leaves behind.
fn cases() -> Vec<Case> {
    let list = |line: &str| line.split(" | ").map(|v| v.trim().to_owned()).collect::<Vec<_>>();
    let blocks = include_str!("replay.sql").split("\n---\n").filter(|b| !b.trim().is_empty());
    blocks
        .map(|block| {
            let mut case = Case { sql: String::new(), values: Vec::new(), versions: Vec::new() };
            let mut lines = Vec::new();
            for line in block.lines() {
                if let Some(values) = line.strip_prefix("-- values: ") {
                    case.values = list(values);
                } else if let Some(versions) = line.strip_prefix("-- versions: ") {
                    let pairs = list(versions);
                    case.versions = pairs
                        .iter()
                        .filter_map(|p| p.split_once('='))
                        .map(|(k, v)| (k.into(), v.into()))
                        .collect();
                } else if !line.starts_with("-- #") {
                    lines.push(line);
                }
            }
            case.sql = lines.join("\n");
            case
        })
        .collect()
}

/// Everything the clients' tables hold but the versions; timestamps that a statement takes from the clock aside.
const STATE: &str = "select id, portfolio_id, name, budget, status from projects order by id";
const RESET: &str = "delete from projects where id > 9 or id < 1; update projects set portfolio_id = '2531439d-3075-46d6-9c19-63e3342fc43e',
    name = 'project ' || id, budget = 100 * id, status = 'open', updated_at = null, version = 1;
    insert into projects (id, portfolio_id, name, budget)
    select i, '2531439d-3075-46d6-9c19-63e3342fc43e', 'project ' || i, 100 * i from generate_series(1, 9) i on conflict do nothing";

/// Runs one case on both sides with `run`, from the same state, and compares replies and rows.
fn replay(stage: &Stage, case: &Case, run: impl Fn(&mut Raw, &Case) -> Vec<crate::common::frames::Frame>) {
    let mut judges = [stage.cluster.direct("direct"), stage.behind()];
    for judge in &mut judges {
        judge.ok(RESET);
    }
    let mut twin = stage.twin();
    // What an application does first: it reads.
    twin.query("select * from projects order by id");
    let (direct, proxied) = (run(&mut twin.direct, case), run(&mut twin.proxied, case));
    same(&direct, &proxied);
    assert!(error(&direct).is_none(), "{}: {direct:?}", case.sql);
    let [direct, proxied] = judges.each_mut().map(|j| rows(&j.query(STATE)));
    assert_eq!(direct, proxied, "{}", case.sql);
    for (id, version) in &case.versions {
        assert_eq!(stage.version("projects", &format!("id = {id}")), *version, "{}", case.sql);
    }
}

#[test]
fn in_a_simple_query() {
    let stage = stage();
    for case in cases() {
        replay(&stage, &case, |raw, case| {
            let values: Vec<_> = case.values.iter().map(String::as_str).collect();
            raw.query(&inlined(&case.sql, &values))
        });
    }
}

#[test]
fn in_a_transaction() {
    let stage = stage();
    for case in cases() {
        replay(&stage, &case, |raw, case| {
            let values: Vec<_> = case.values.iter().map(String::as_str).collect();
            let mut out = raw.query("BEGIN");
            out.extend(raw.query(&inlined(&case.sql, &values)));
            out.extend(raw.query("COMMIT"));
            out
        });
    }
}

#[test]
fn unnamed_in_one_cycle() {
    let stage = stage();
    for case in cases() {
        replay(&stage, &case, |raw, case| {
            let values: Vec<_> = case.values.iter().map(String::as_str).collect();
            raw.extended(&case.sql, &values)
        });
    }
}

#[test]
fn named_described_and_run_twice() {
    let stage = stage();
    for case in cases().iter().filter(|c| c.versions.is_empty()) {
        replay(&stage, case, |raw, case| {
            let values: Vec<_> = case.values.iter().map(String::as_str).collect();
            raw.send(&[parse("s", &case.sql, &[]), describe('S', "s"), flush()].concat());
            let mut out = raw.until('1');
            out.extend(raw.exchange(&[sync()]));
            for _ in 0..2 {
                out.extend(raw.exchange(&[bind("s", &values), execute("", 0), sync()]));
            }
            out
        });
    }
}

#[test]
fn parsed_described_and_run_each_with_its_own_sync() {
    let stage = stage();
    for case in cases() {
        replay(&stage, &case, |raw, case| {
            let values: Vec<_> = case.values.iter().map(String::as_str).collect();
            let mut out = raw.exchange(&[parse("", &case.sql, &[]), sync()]);
            out.extend(raw.exchange(&[describe('S', ""), sync()]));
            out.extend(raw.exchange(&[bind("", &values), execute("", 1), sync()]));
            out
        });
    }
}

#[test]
fn what_drivers_say_between_statements() {
    let stage = stage();
    let mut twin: Twin = stage.twin();
    for sql in [
        "BEGIN;",
        "SAVEPOINT __asyncpg_savepoint_1__;",
        "RELEASE SAVEPOINT __asyncpg_savepoint_1__;",
        "COMMIT;",
        "SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;",
        "begin transaction",
        "commit",
        "START TRANSACTION;",
        "ROLLBACK",
        "BEGIN READ WRITE",
        "ROLLBACK",
        "SET extra_float_digits = 3",
        "SET application_name = 'PostgreSQL JDBC Driver'",
        "DEALLOCATE ALL",
        "SHOW server_version_num",
        "select pg_catalog.version()",
    ] {
        let reply = twin.query(sql);
        assert_eq!(sqlstate(&reply), "", "{sql}");
    }
}
