//! What the proxy adds to a result can be seen by nobody, in no shape of request, and still teaches.

use crate::common::conflict::on_project;
use crate::common::frames::{bind, bind_raw, close, describe, execute, flush, parse, query, sync};
use crate::common::raw::{commands, rows, shape, sqlstate};
use crate::common::twin::{Stage, Twin, same, stage};

const NARROW: &str = "select name from projects where id = $1";
const LIST: &str = "select name, budget from projects where id < 6 order by id";

/// The proxied session has seen row 1 at version 1: prove it.
fn has_learned(stage: &Stage, twin: &mut Twin) {
    stage.other_writes("update projects set name = 'theirs' where id = 1");
    let reply = twin.proxied.query("update projects set name = 'mine' where id = 1");
    on_project("1", 1, Some(2)).check(&reply, 'I');
}

#[test]
fn simple_query_of_a_narrow_select() {
    let stage = stage();
    let mut twin = stage.twin();
    let reply = twin.query("select name from projects where id = 1");
    assert_eq!((shape(&reply), rows(&reply)), ("TDCZ".into(), vec![vec!["project 1".to_owned()]]));
    has_learned(&stage, &mut twin);
}

#[test]
fn describe_of_the_statement_only() {
    let stage = stage();
    let mut twin = stage.twin();
    assert_eq!(shape(&twin.exchange(&[parse("s", NARROW, &[]), describe('S', "s"), sync()])), "1tTZ");
    // The Bind comes later, and nothing describes the portal.
    assert_eq!(shape(&twin.exchange(&[bind("s", &["1"]), execute("", 0), sync()])), "2DCZ");
    has_learned(&stage, &mut twin);
}

#[test]
fn describe_of_the_portal_only() {
    let stage = stage();
    let mut twin = stage.twin();
    let cycle = [parse("", NARROW, &[]), bind("", &["1"]), describe('P', ""), execute("", 0), sync()];
    assert_eq!(shape(&twin.exchange(&cycle)), "12TDCZ");
    has_learned(&stage, &mut twin);
}

#[test]
fn describe_of_statement_and_portal_each_in_its_own_cycle() {
    let stage = stage();
    let mut twin = stage.twin();
    assert_eq!(shape(&twin.exchange(&[parse("s", NARROW, &[23]), sync()])), "1Z");
    assert_eq!(shape(&twin.exchange(&[describe('S', "s"), sync()])), "tTZ");
    twin.query("begin");
    let open = bind_raw("p", "s", &[], &[Some(b"1")], &[1]);
    assert_eq!(shape(&twin.exchange(&[open, sync()])), "2Z");
    assert_eq!(shape(&twin.exchange(&[describe('P', "p"), sync()])), "TZ");
    assert_eq!(shape(&twin.exchange(&[execute("p", 0), sync()])), "DCZ");
    twin.query("commit");
    has_learned(&stage, &mut twin);
}

#[test]
fn execute_without_any_describe() {
    let stage = stage();
    let mut twin = stage.twin();
    let cycle = [parse("", NARROW, &[]), bind("", &["1"]), execute("", 0), sync()];
    let reply = twin.exchange(&cycle);
    assert_eq!((shape(&reply), rows(&reply)), ("12DCZ".into(), vec![vec!["project 1".to_owned()]]));
    has_learned(&stage, &mut twin);
}

#[test]
fn result_formats_none_one_and_one_per_column() {
    let stage = stage();
    let mut twin = stage.twin();
    let sql = "select name, budget, updated_at from projects where id in (1, 2) order by id";
    twin.exchange(&[parse("s", sql, &[]), sync()]);
    for formats in [&[][..], &[0], &[1], &[0, 1, 0], &[1, 0, 1], &[1, 1, 1]] {
        let open = bind_raw("", "s", &[], &[], formats);
        let reply = twin.exchange(&[open.clone(), describe('P', ""), execute("", 0), sync()]);
        assert_eq!(shape(&reply), "2TDDCZ", "{formats:?}");
        assert_eq!(shape(&twin.exchange(&[open, execute("", 0), sync()])), "2DDCZ", "{formats:?}");
    }
    has_learned(&stage, &mut twin);
}

#[test]
fn a_wrong_number_of_result_formats_is_the_servers_own_error() {
    let stage = stage();
    let mut twin = stage.twin();
    for formats in [&[0, 0][..], &[1, 0, 1], &[0; 5]] {
        let open = bind_raw("", "", &[], &[Some(b"1")], formats);
        let reply = twin.exchange(&[parse("", NARROW, &[]), open, execute("", 0), sync()]);
        assert_eq!((shape(&reply), sqlstate(&reply)), ("1EZ".into(), "08P01".into()), "{formats:?}");
    }
    // A wrong number of parameters, too.
    let reply = twin.exchange(&[parse("", NARROW, &[]), bind("", &["1", "2"]), execute("", 0), sync()]);
    assert_eq!(sqlstate(&reply), "08P01");
    let write = "update projects set name = $1 where id = $2";
    for values in [&["1"][..], &["1", "2", "3"]] {
        let reply = twin.exchange(&[parse("", write, &[]), bind("", values), execute("", 0), sync()]);
        assert_eq!(sqlstate(&reply), "08P01");
    }
}

#[test]
fn pages_of_max_rows() {
    let stage = stage();
    let mut twin = stage.twin();
    twin.query("begin");
    let open = [parse("", LIST, &[]), bind("", &[]), describe('P', ""), execute("", 2), sync()];
    assert_eq!(shape(&twin.exchange(&open)), "12TDDsZ");
    assert_eq!(shape(&twin.exchange(&[execute("", 2), flush(), execute("", 1), sync()])), "DDsDsZ");
    assert_eq!(shape(&twin.exchange(&[execute("", 2), sync()])), "CZ");
    twin.query("commit");
    // asyncpg's fetchrow.
    assert_eq!(shape(&twin.exchange(&[parse("s", NARROW, &[]), describe('S', "s"), sync()])), "1tTZ");
    assert_eq!(shape(&twin.exchange(&[bind("s", &["1"]), execute("", 1), sync()])), "2DsZ");
    has_learned(&stage, &mut twin);
}

#[test]
fn max_rows_of_a_write_with_and_without_returning() {
    let stage = stage();
    let mut twin = stage.twin();
    let plain = "update projects set name = $1 where id = $2";
    let cycle = [parse("", plain, &[]), bind("", &["x", "1"]), describe('P', ""), execute("", 1), sync()];
    assert_eq!(shape(&twin.exchange(&cycle)), "12nCZ");
    let many = "update projects set name = 'x' where id < 4";
    let cycle = [parse("", many, &[]), bind("", &[]), describe('P', ""), execute("", 1), sync()];
    let reply = twin.exchange(&cycle);
    assert_eq!((shape(&reply), commands(&reply)), ("12nCZ".into(), vec!["UPDATE 3".to_owned()]));
    let returning = "update projects set name = $1 where id < 4 returning name";
    let cycle = [parse("", returning, &[]), bind("", &["y"]), describe('P', ""), execute("", 2), sync()];
    assert_eq!(shape(&twin.exchange(&cycle)), "12TDDsZ");
}

#[test]
fn empty_results() {
    let stage = stage();
    let mut twin = stage.twin();
    assert_eq!(shape(&twin.query("select name from projects where id = 999")), "TCZ");
    assert_eq!(shape(&twin.extended(NARROW, &["999"])), "12TCZ");
    assert_eq!(
        shape(&twin.extended("update projects set name = 'x' where id = $1 returning name", &["999"])),
        "12TCZ"
    );
    assert_eq!(shape(&twin.extended("select from projects where id = $1", &["1"])), "12TDCZ");
}

#[test]
fn joins_of_a_table_with_itself_and_outer_joins() {
    let stage = stage();
    let mut twin = stage.twin();
    for sql in [
        "select a.name, b.name from projects a join projects b on b.id = a.id + 1 where a.id < 4 order by a.id",
        "select a.name, b.budget from projects a left join projects b on b.id = a.id + 8 order by a.id",
        "select p.name, f.name from portfolios f full join projects p on p.portfolio_id = f.id order by p.id, f.id",
        "select a.name from projects a, projects b where a.id = 1 and b.id = 2",
        "select p.*, f.* from projects p right join portfolios f on f.id = p.portfolio_id order by p.id, f.id",
        "select name from portfolios natural join (select 1) x(one) order by name",
        "select projects from projects where id = 2",
        "select (projects).name from projects where id = 2",
        "select name from projects tablesample bernoulli (100) where id = 2",
        "select name from only projects where id = 2 for no key update",
    ] {
        let simple = twin.query(sql);
        let extended = twin.extended(sql, &[]);
        assert_eq!(rows(&simple), rows(&extended), "{sql}");
        assert!(!rows(&simple).is_empty(), "{sql}");
    }
}

#[test]
fn results_that_hidden_columns_would_change_are_left_alone() {
    let stage = stage();
    let mut twin = stage.twin();
    for sql in [
        "select distinct status from projects",
        "select distinct on (status) status, name from projects order by status, id",
        "select status, count(*) from projects group by status",
        "select count(*), min(name) from projects",
        "select name from projects where id = 1 union select name from portfolios order by 1",
        "select name from projects where id = 1 except all select 'x'",
        "select array(select name from projects order by id)",
        "select (select name from projects where id = 1)",
        "select 1 where 'project 1' in (select name from projects)",
        "select string_agg(name, ',' order by id) filter (where id < 3) from projects",
        "select name, row_number() over (order by id) from projects order by id",
        "with p as (select name from projects where id = 1) select * from p",
        "with p as materialized (select * from projects) select name from p order by id",
        "create temp table copied as select name from projects",
        "select name into temp also_copied from projects",
        "insert into notes (id, body) select id + 100, name from projects on conflict do nothing",
        "select * from project_names order by 1",
        "values (1)",
        "table notes",
        "table projects",
        "explain (costs off) select 1",
    ] {
        twin.query(sql);
        if !sql.contains(" into ") && !sql.contains("create") {
            twin.extended(sql, &[]);
        }
    }
    assert_eq!(twin.query("select count(*) from copied"), twin.query("select count(*) from also_copied"));
}

#[test]
fn sql_level_cursors_show_what_they_always_showed() {
    let stage = stage();
    let mut twin = stage.twin();
    twin.query("begin");
    twin.query("declare c no scroll cursor for select name from projects order by id");
    assert_eq!(rows(&twin.query("fetch forward 2 from c")).len(), 2);
    assert_eq!(shape(&twin.extended("fetch 3 from c", &[])), "12TDDDCZ");
    twin.query("move 1 in c");
    twin.query("fetch all from c");
    twin.query("close c");
    twin.query("commit");
}

#[test]
fn a_prepared_statement_run_many_times() {
    let stage = stage();
    let mut twin = stage.twin();
    twin.exchange(&[parse("r", NARROW, &[23]), describe('S', "r"), sync()]);
    let write = "update projects set name = $1 where id = $2";
    twin.exchange(&[parse("w", write, &[25, 23]), describe('S', "w"), sync()]);
    // Beyond the fifth run the server considers a generic plan.
    for run in 1..=12 {
        let one = 1_i32.to_be_bytes();
        let read = bind_raw("", "r", &[1], &[Some(&one)], &[1]);
        assert_eq!(shape(&twin.exchange(&[read, execute("", 0), sync()])), "2DCZ");
        let name = format!("run {run}");
        let values = [Some(name.as_bytes()), Some(&one[..])];
        let reply = twin.exchange(&[bind_raw("", "w", &[0, 1], &values, &[]), execute("", 0), sync()]);
        assert_eq!(commands(&reply), ["UPDATE 1"]);
        assert_eq!(stage.version("projects", "id = 1"), (run + 1).to_string());
    }
    stage.other_writes("update projects set name = 'theirs' where id = 1");
    let stale = twin.proxied.exchange(&[bind("w", &["mine", "1"]), execute("", 0), sync()]);
    on_project("1", 13, Some(14)).check(&stale, 'I');
    // The name taken anew has the new text's plan.
    let again = [close('S', "w"), parse("w", "select status from projects where id = $1", &[]), sync()];
    assert_eq!(shape(&twin.exchange(&again)), "31Z");
    assert_eq!(rows(&twin.exchange(&[bind("w", &["1"]), execute("", 0), sync()])), [["open"]]);
}

#[test]
fn describe_of_a_write_shows_only_the_clients_parameters() {
    let stage = stage();
    let mut twin = stage.twin();
    for (sql, types) in [
        ("update projects set name = $1 where id = $2", &[][..]),
        ("update projects set name = $1 where id = $2", &[25, 20][..]),
        ("update projects set name = $1 where id = $2", &[0, 0][..]),
        ("update projects set name = 'x' where id = 1", &[]),
        ("update projects set name = $3 where id = $1 and status = $2 returning id", &[]),
        ("update projects set name = $1 where id = $2 and version = $3", &[]),
        ("insert into projects (id, name) values ($1, $2) on conflict (id) do update set name = $2", &[]),
        ("delete from projects where id = $1", &[]),
    ] {
        twin.exchange(&[parse("", sql, types), describe('S', ""), sync()]);
    }
}

#[test]
fn rows_change_beside_the_replies_as_they_would_without_a_proxy() {
    let stage = stage();
    let mut twin = stage.twin();
    for sql in [
        "update projects set name = 'a' where id = 1",
        "update projects set name = 'b', budget = 3 where id in (1, 2)",
        "delete from projects where id = 7",
        "insert into projects (id, name) values (1, 'c'), (77, 'd') on conflict (id) do update set name = excluded.name",
    ] {
        twin.query(sql);
    }
    let all = "select id, portfolio_id, name, budget, status, updated_at from projects order by id";
    let (direct, proxied) = (stage.cluster.direct("direct").query(all), stage.behind().query(all));
    same(&direct, &proxied);
    let mut judge = stage.behind();
    judge.send(&query("select 1"));
    judge.until_ready(1);
}
