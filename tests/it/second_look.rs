//! Orders of messages, and what is sent behind something that changes its meaning, that a second look has tried.

use crate::common::cluster::major;
use crate::common::conflict::on_project;
use crate::common::frames::{Frame, bind, bind_raw, describe, execute, flush, parse, query, sync};
use crate::common::raw::{Raw, commands, shape, sqlstate};
use crate::common::twin::{Stage, stage, stage_with};

/// Statements in one Query or, each with a Parse, Bind and Execute of its own, in one cycle.
fn at_once(session: &mut Raw, extended: bool, texts: &[&str]) -> Vec<Frame> {
    if !extended {
        return session.query(&texts.join("; "));
    }
    let one = |sql: &&str| [parse("", sql, &[]), bind("", &[]), execute("", 0)];
    let mut messages: Vec<_> = texts.iter().flat_map(one).collect();
    messages.push(sync());
    session.exchange(&messages)
}

#[test]
fn writes_in_flight_that_find_no_row_hide_no_change_of_another_user() {
    let stage = stage();
    let (relative, write) = (
        "update projects set budget = budget + 1 where id = 1",
        "update projects set name = 'mine' where id = 1",
    );
    for before in [
        "update projects set budget = budget + 1 where id = 1 and status = 'none'",
        "update projects set budget = budget + 1 where status = 'none'",
        "update projects set name = 'mine' where id = 1 and status = 'none'",
    ] {
        for extended in [false, true] {
            let mut mine = stage.session();
            mine.ok("select * from projects where id = 1");
            stage.other_writes("update projects set name = 'theirs' where id = 1");
            let counted = |stage: &Stage| {
                stage.proxy.metric("staleguard_unchecked_writes_total", &[("reason", "same_row_in_query")])
            };
            let unchecked = counted(&stage);
            let reply = at_once(&mut mine, extended, &[before, relative, write]);
            let said = (sqlstate(&reply), counted(&stage) - unchecked);
            // In one Query the first answers cannot be awaited.
            let wanted = if extended { ("40001".into(), 0.0) } else { (String::new(), 1.0) };
            assert_eq!(said, wanted, "{before}: {reply:?}");
        }
    }
    // Nor where the transaction has written the row without a check before.
    for extended in [false, true] {
        let mut mine = stage.session();
        mine.ok("select * from projects where id = 1");
        stage.other_writes("update projects set name = 'theirs' where id = 1");
        mine.ok("begin");
        mine.ok(relative);
        let none = "update projects set name = 'mine' where id = 1 and status = 'none'";
        let reply = at_once(&mut mine, extended, &[none, none, write]);
        let wanted = if extended { "40001" } else { "" };
        assert_eq!(sqlstate(&reply), wanted, "{reply:?}");
    }
    // Checked writes of one row follow each other, whether they find it or not.
    for extended in [false, true] {
        let mut mine = stage.session();
        mine.ok("select * from projects where id = 1");
        let none = "update projects set name = 'mine' where id = 1 and status = 'none'";
        let reply = at_once(&mut mine, extended, &[write, none, write, write]);
        assert_eq!(commands(&reply), ["UPDATE 1", "UPDATE 0", "UPDATE 1", "UPDATE 1"], "{reply:?}");
        let reply = at_once(&mut mine, extended, &[relative, relative, write]);
        assert_eq!(commands(&reply), ["UPDATE 1"; 3], "{reply:?}");
    }
}

#[test]
fn a_block_writes_through_what_it_has_made_itself() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("select * from projects where id = 1");
    mine.ok("begin");
    mine.ok("create view of_mine as select id, name, version from projects");
    mine.ok("update of_mine set name = 'mine' where id = 1");
    assert_eq!(mine.value("select version from projects where id = 1"), "2");
    mine.ok("rollback");
    stage.other_writes("update projects set name = 'theirs' where id = 1");
    mine.ok("begin");
    mine.ok("create view of_mine as select id, name, version from projects");
    assert_eq!(sqlstate(&mine.query("update of_mine set name = 'mine' where id = 1")), "40001");
    mine.ok("rollback");
}

#[test]
fn a_write_of_no_row_whose_commit_fails_has_been_answered() {
    let stage = stage();
    let mut twin = stage.twin();
    twin.query("create table parents (id int primary key)");
    twin.query("create table children (id int references parents deferrable initially deferred)");
    twin.query(
        "create function breaks() returns boolean language plpgsql as \
         'begin insert into children values (1); return false; end'",
    );
    twin.query("select * from projects where id = 1");
    let write = "update projects set name = $1 where id = $2 and breaks()";
    let messages = [parse("", write, &[]), bind("", &["x", "1"]), execute("", 0), sync()];
    assert_eq!(shape(&twin.exchange(&messages)), "12CEZ");
    assert_eq!(shape(&twin.query("select 1")), "TDCZ");
}

#[test]
fn a_text_behind_a_setting_of_strings_is_read_by_it() {
    let stage = stage();
    let mut twin = stage.twin();
    twin.query("select * from projects where id < 4");
    let as_text = |n: u32| query(&format!(r"update projects set name = 'a\', budget = 5 where id = {n} --'"));
    let names = query("select id, name, budget from projects order by id");
    twin.exchange(&[query("set standard_conforming_strings = off"), as_text(1), names.clone()]);
    twin.exchange(&[
        query("select set_config('standard_conforming_strings', 'on', false)"),
        as_text(2),
        names.clone(),
    ]);
    twin.exchange(&[query("begin; set standard_conforming_strings = off")]);
    twin.exchange(&[query("rollback"), as_text(3), names.clone()]);
    twin.exchange(&[query("set client_encoding = 'LATIN1'"), query("select 'x'"), names]);
}

#[test]
fn a_text_behind_a_setting_of_strings_in_its_own_cycle_is_not_read() {
    let stage = stage();
    let mut twin = stage.twin();
    twin.query("select * from projects where id < 3");
    let one = |sql: &str| [parse("", sql, &[]), bind("", &[]), execute("", 0)];
    for (set, n) in [
        ("set standard_conforming_strings = off", 1),
        ("select set_config('standard_conforming_strings', 'on', false)", 2),
    ] {
        // Where backslashes escape, what follows the first quote is all one string.
        let write = format!(r"update projects set name = 'a\' where id = {n} --', budget = 5 where id = {n}");
        let quiet = format!("update projects set budget = 7 where id = {n}");
        twin.exchange(&[&one(set)[..], &one(&write), &one(&quiet), &[sync()]].concat());
        twin.query("select id, name, budget from projects order by id");
        // What has no backslash reads the same either way.
        assert_eq!(stage.version("projects", &format!("id = {n}")), "2", "{set}");
        let counted = stage.proxy.metric("staleguard_unchecked_writes_total", &[("reason", "encoding")]);
        assert_eq!(counted, f64::from(n), "{set}");
    }
}

#[test]
fn a_statement_outlives_the_table_that_it_names() {
    let stage = stage();
    let mut twin = stage.twin();
    let run = |name: &str, values: &[&str]| vec![bind(name, values), execute("", 0), sync()];
    twin.exchange(&[
        parse("w", "update projects set name = $1 where id = $2", &[]),
        parse("r", "select name from projects where id = $1", &[]),
        sync(),
    ]);
    twin.exchange(&run("w", &["a", "1"]));
    for begin in ["select 1", "begin"] {
        let end = if begin == "begin" { "rollback" } else { "alter table elsewhere rename to projects" };
        twin.query(begin);
        twin.query("alter table projects rename to elsewhere");
        twin.exchange(&run("w", &["b", "1"]));
        if begin != "begin" {
            twin.exchange(&run("r", &["1"]));
        }
        twin.query(end);
        assert_eq!(shape(&twin.exchange(&run("w", &["c", "1"]))), "2CZ");
        assert_eq!(shape(&twin.exchange(&run("r", &["1"]))), "2DCZ");
    }
    // And is checked as before.
    twin.exchange(&run("r", &["1"]));
    stage.other_writes("update projects set name = 'theirs' where id = 1");
    assert_eq!(sqlstate(&twin.proxied.exchange(&run("w", &["d", "1"]))), "40001");
}

#[test]
fn by_another_primary_key_nothing_is_known() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("alter table projects add number integer");
    stage.behind().ok("update projects set number = 10 - id");
    stage.other_writes("update projects set name = 'theirs' where id = 9");
    mine.ok("select * from projects where id = 1");
    mine.ok("alter table projects drop constraint projects_pkey, add primary key (number)");
    assert_eq!(shape(&mine.query("update projects set name = 'mine' where number = 1")), "CZ");
    assert_eq!(stage.conflicts(), 0.0);
}

#[test]
fn what_a_trigger_raises_is_raised_once() {
    let stage = stage();
    let mut twin = stage.twin();
    twin.query(
        "create function refuses() returns trigger language plpgsql as \
         $$ begin raise notice 'no'; raise exception 'no' using errcode = '42501'; end $$",
    );
    twin.query("create trigger refuses before update on users for each row execute function refuses()");
    twin.query("select * from users where id = 1");
    for sql in ["update users set email = 'x' where id = 1", "update users set email = 'x'"] {
        assert_eq!(shape(&twin.query(sql)), "NEZ");
        assert_eq!(shape(&twin.extended(sql, &[])), "12nNEZ");
    }
}

#[test]
fn odd_keys_and_formats_are_answered_as_by_the_server() {
    let stage = stage();
    let mut twin = stage.twin();
    for sql in ["select * from projects", "select * from user_roles", "select * from rates"] {
        twin.query(sql);
    }
    let any = "update projects set name = 'q' where id = any($1)";
    for array in
        ["{}", "{NULL}", "{1,NULL}", "[2:3]={1,2}", "{1,1}", "{{1,2}}", "{1.0}", " { 1 , \"2\" } ", "x"]
    {
        twin.extended(any, &[array]);
        twin.query(&format!("update projects set name = 'q' where id = any('{array}')"));
    }
    for sql in [
        "update projects set name = 'q' where id = 1.0",
        "update projects set name = 'q' where id = null",
        "update projects set name = 'q' where id in (1, null)",
        "update projects set name = 'q' where id in (null)",
        "update projects set name = 'q' where id = 1 and id = 2",
        "update projects set name = 'q' where id = 1 or id is null",
        "update projects set name = 'q' where (id) = (1)",
        "update projects set name = 'q' where (id, 1) = (1, 1)",
        "update projects set name = 'q' where id = +1",
        "update projects set name = 'q' where id = - -1",
        "update projects set name = 'q' where id = '1' :: int",
        "update projects set name = 'q' where id = ' 1 '",
        "update projects set name = 'q' where id = 1::bigint",
        "update projects set name = 'q' where id = 99999999999",
        "update projects set name = 'q' where id = 0x1",
        "update projects set name = 'q' where id = 1e0",
        "update projects set name = 'q' where not id = 1",
        "update projects set name = 'q' where id = 1 is true",
        "update projects set name = 'q' where id = any(array[]::int[])",
        "update projects set name = 'q' where id = any(array[1, null])",
        "update projects set name = 'q' where id = all('{1}')",
        "update projects set name = 'q' where id between 1 and 2",
        "update user_roles set granted_by = 'z' where (user_id, role_id) in ((1, 'admin'), (1, null))",
        "update user_roles set granted_by = 'z' where (user_id, role_id) = any (values (1, 'admin'))",
        "update rates set amount = 5 where code = 'day '",
        "update rates set amount = 5 where code = 'day'::char(5)",
        "update rates set amount = 5 where code = any('{day,\"it''s\",NULL,\"\"}')",
        "update rates set amount = 5 where code = E'back\\\\slash'",
    ] {
        twin.query(sql);
        twin.query("begin");
        twin.query(sql);
        twin.query(&format!("{sql}; {sql}; select 1"));
        twin.query("rollback");
        twin.exchange(&[
            parse("", sql, &[]),
            bind("", &[]),
            describe('P', ""),
            execute("", 0),
            flush(),
            execute("", 0),
            sync(),
        ]);
        twin.exchange(&[
            parse("", sql, &[]),
            bind("", &[]),
            execute("", 1),
            parse("", sql, &[]),
            bind("", &[]),
            execute("", 0),
            sync(),
        ]);
    }
    twin.query("select id, name from projects order by id");
    twin.exchange(&[parse("w", "update projects set name = $1 where id = $2", &[]), sync()]);
    for formats in [&[][..], &[0], &[1], &[0, 0], &[0, 1], &[2], &[0, 0, 0], &[0, 7], &[1, 1]] {
        for values in [
            &[Some(&b"x"[..]), Some(b"1")][..],
            &[Some(b"x"), None],
            &[None, Some(b"\0\0\0\x01")],
            &[Some(b"x")],
            &[],
        ] {
            for results in [&[][..], &[0], &[1, 1]] {
                twin.exchange(&[bind_raw("", "w", formats, values, results), execute("", 0), sync()]);
                twin.exchange(&[
                    bind_raw("p", "w", formats, values, results),
                    execute("p", 0),
                    flush(),
                    execute("p", 0),
                    sync(),
                ]);
            }
        }
    }
}

/// PostgreSQL 18 lets no procedure commit behind other statements of its cycle.
fn commits_in_pipelines(reply: &[Frame]) -> bool {
    let refused = sqlstate(reply) == "2D000";
    assert_eq!(refused, major() >= 18);
    !refused
}

#[test]
fn a_procedure_that_commits_in_the_midst_of_a_cycle_makes_no_conflict() {
    let stage = stage();
    let mut twin = stage.twin();
    twin.query("create procedure commits() language plpgsql as 'begin commit; end'");
    for call in ["call commits()", "do 'begin commit; end'"] {
        twin.query("select * from projects where id = 1");
        let write = "update projects set name = 'x' where id = 1";
        let one = |sql: &str| [parse("", sql, &[]), bind("", &[]), execute("", 0)];
        let messages = [&one(write)[..], &one(call), &one(write), &[sync()]].concat();
        let reply = twin.exchange(&messages);
        if !commits_in_pipelines(&reply) {
            continue;
        }
        assert_eq!(shape(&reply), "12C12C12CZ", "{call}");
    }
}

#[test]
fn what_a_procedure_may_have_committed_before_an_error_is_not_known() {
    let one = |sql: &str| [parse("", sql, &[]), bind("", &[]), execute("", 0)];
    let write = "update projects set name = 'x' where id = 1";
    for scope in ["connection", "context"] {
        let stage = stage_with(&["--scope", scope, "--context-label", "role"]);
        stage.behind().ok("create procedure commits(fails boolean) language plpgsql as
            'begin commit; if fails then raise division_by_zero; end if; end'");
        for (call, breaks) in [
            ("call commits(false)", true),
            ("do 'begin commit; end'", true),
            ("call commits(true)", false),
            ("do 'begin commit; raise division_by_zero; end'", false),
        ] {
            let mut mine = stage.session();
            mine.ok("select * from projects where id = 1");
            let last = if breaks { one("select 1 / 0") } else { one("select 1") };
            let reply = mine.exchange(&[&one(write)[..], &one(call), &last, &[sync()]].concat());
            if !commits_in_pipelines(&reply) {
                continue;
            }
            assert_eq!(sqlstate(&reply), "22012", "{call}");
            // The first write is there to stay.
            assert_eq!(commands(&mine.query(write)), ["UPDATE 1"], "{scope}, {call}");
            // What is read after that counts again.
            mine.ok("select * from projects where id = 1");
            stage.behind().ok("update projects set name = 'theirs', version = version + 1 where id = 1");
            assert_eq!(sqlstate(&mine.query(write)), "40001", "{scope}, {call}");
        }
    }
}

#[test]
fn an_own_increment_of_what_others_have_changed_is_no_second_save() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("select * from projects where id = 1");
    stage.other_writes("update projects set name = 'theirs' where id = 1");
    mine.ok("update projects set budget = budget + 1 where id = 1");
    let reply = mine.query("update projects set name = 'mine', version = 2 where id = 1");
    on_project("1", 1, Some(3)).check(&reply, 'I');
}

#[test]
fn temporary_tables_shadow_as_long_as_they_live() {
    let stage = stage();
    let mut twin = stage.twin();
    let make = "create temp table projects (id int primary key, name text)";
    for (make, end) in [
        (format!("begin; {make} on commit drop"), "commit"),
        (make.to_owned(), "discard temp"),
        (make.to_owned(), "drop table projects"),
    ] {
        twin.query("select id, name from projects where id = 1");
        twin.query(&make);
        twin.query("insert into projects values (1, 'temp')");
        twin.query("update projects set name = 'x' where id = 1");
        twin.extended("select name from projects where id = 1", &[]);
        let write = query("update projects set name = 'y' where id = 1");
        twin.exchange(&[query(end), write, query("select name from projects where id = 1")]);
        stage.other_writes("update projects set name = 'theirs' where id = 1");
        let reply = twin.proxied.query("update projects set name = 'z' where id = 1");
        assert_eq!(sqlstate(&reply), "40001", "{make}");
        stage.behind().ok("update projects set name = 'y' where id = 1");
    }
}

#[test]
fn a_look_that_fails_is_made_up_for_at_the_next_statement() {
    let stage = stage();
    stage.behind().ok("alter role app set statement_timeout = '1ms'");
    let mut mine = stage.proxy.session_of("app", "proxied");
    mine.query("select * from projects where id = 1");
    mine.ok("set statement_timeout = 0");
    mine.ok("select * from projects where id = 1");
    stage.other_writes("update projects set name = 'theirs' where id = 1");
    on_project("1", 1, Some(2)).check(&mine.query("update projects set name = 'mine' where id = 1"), 'I');
}

/// In SJIS a character may end in the byte of a backslash, which is none.
#[test]
fn a_look_that_cannot_be_read_leaves_what_is_known() {
    let stage = stage_with(&["--catalog-max-age", "1ms"]);
    stage.behind().ok("alter table projects add \"表\" text");
    let mut mine = stage.session();
    mine.ok("select * from projects where id = 1");
    mine.ok("set client_encoding = 'SJIS'");
    let looks = || stage.proxy.metric("staleguard_catalog_looks_total", &[("outcome", "failed")]);
    let before = looks();
    mine.ok("select id, name from projects where id = 1");
    stage.other_writes("update projects set name = 'theirs' where id = 1");
    let reply = mine.query("update projects set name = 'mine' where id = 1");
    assert_eq!(sqlstate(&reply), "40001", "{reply:?}");
    assert!(looks() > before);
}

#[test]
fn a_look_that_fails_leaves_no_names_as_they_were() {
    let stage = stage();
    stage.behind().ok("create schema elsewhere; create table elsewhere.projects (id int, name text)");
    let mut mine = stage.session();
    mine.ok("set search_path = elsewhere");
    mine.ok("select * from projects where id = 1");
    mine.ok("set statement_timeout = '1ms'");
    mine.ok("set search_path = public");
    mine.query("select * from projects where id = 1");
    mine.ok("set statement_timeout = 0");
    mine.ok("select * from projects where id = 1");
    stage.other_writes("update projects set name = 'theirs' where id = 1");
    on_project("1", 1, Some(2)).check(&mine.query("update projects set name = 'mine' where id = 1"), 'I');
}

#[test]
fn what_a_prepared_transaction_has_written_makes_no_conflict() {
    let stage = stage();
    let mut mine = stage.session();
    for end in ["commit prepared 'p'", "rollback prepared 'p'"] {
        mine.ok("select * from projects where id = 1");
        mine.ok("begin");
        mine.ok("update projects set name = 'x' where id = 1");
        mine.ok("prepare transaction 'p'");
        let write = query("update projects set name = 'y' where id = 1");
        assert_eq!(shape(&mine.exchange(&[query(end), write])), "CZCZ");
        mine.ok("update projects set name = 'z' where id = 1");
    }
}
