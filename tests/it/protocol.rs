//! The protocol's corners: whatever a client sends, the replies are PostgreSQL's own, in order, none lost and
//! none doubled.

use std::time::Duration;

use crate::common::conflict::on_project;
use crate::common::frames::{
    bind, bind_raw, close, copy_data, copy_done, copy_fail, describe, execute, flush, function_call, message,
    parse, query, sync,
};
use crate::common::raw::{commands, rows, shape, sqlstate, status};
use crate::common::twin::{Twin, same, stage};

const NAME: &str = "select name from projects where id = $1";
const WRITE: &str = "update projects set name = $1 where id = $2";

/// One cycle of the unnamed statement, with Sync.
fn cycle(sql: &str, values: &[&str]) -> Vec<Vec<u8>> {
    vec![parse("", sql, &[]), bind("", values), describe('P', ""), execute("", 0), sync()]
}

#[test]
fn after_an_error_everything_is_skipped_until_sync() {
    let stage = stage();
    let mut twin = stage.twin();
    for broken in [
        "selec",
        "select * from nowhere",
        "select nowhere from projects",
        "update projects set x = 1 where id = 1",
    ] {
        let mut messages = cycle(broken, &[]);
        let sync = messages.pop().unwrap();
        messages.extend(cycle(NAME, &["1"]));
        messages.pop();
        messages.push(flush());
        messages.push(sync);
        let reply = twin.exchange(&messages);
        assert_eq!(shape(&reply), "EZ", "{broken}");
        assert_eq!(rows(&twin.extended(NAME, &["1"])), [["project 1"]]);
    }
    let late = [
        parse("", "select 1 / (id - $1) from notes", &[23]),
        bind("", &["1"]),
        execute("", 0),
        execute("", 0),
        sync(),
    ];
    assert_eq!(shape(&twin.exchange(&late)), "12EZ");
    // An error inside one cycle of a pipeline leaves the next cycle whole.
    let pipeline = [cycle(NAME, &["1"]), cycle("select 1 / 0", &[]), cycle(NAME, &["2"])].concat();
    let reply = twin.exchange(&pipeline);
    assert_eq!(shape(&reply), "12TDCZ1EZ12TDCZ");
}

#[test]
fn several_cycles_in_flight_are_answered_in_order() {
    let stage = stage();
    let mut twin = stage.twin();
    let mut messages = Vec::new();
    for id in ["1", "2", "3"] {
        messages.extend(cycle(NAME, &[id]));
        messages.extend(cycle(WRITE, &["x", id]));
        messages.push(query(&format!("select 'simple {id}'")));
        messages.extend(cycle(NAME, &[id]));
        messages.extend(cycle("select body from notes where id = $1", &[id]));
    }
    let reply = twin.exchange(&messages);
    assert_eq!(shape(&reply), "12TDCZ12nCZTDCZ12TDCZ12TDCZ".repeat(3));
    assert_eq!(stage.conflicts(), 0.0);
}

#[test]
fn what_is_sent_behind_a_refused_write_is_answered_after_it() {
    let stage = stage();
    let mut mine = stage.session();
    mine.extended("select * from projects where id = $1", &["1"]);
    stage.other_writes("update projects set name = 'theirs' where id = 1");
    let mut messages = cycle(WRITE, &["mine", "1"]);
    messages.extend(cycle(NAME, &["1"]));
    messages.push(query("select 'behind'"));
    let reply = mine.exchange(&messages);
    assert_eq!(shape(&reply), "12nEZ12TDCZTDCZ", "{reply:?}");
    assert_eq!(rows(&reply), [["theirs"], ["behind"]]);
    assert_eq!(sqlstate(&reply), "40001");
}

#[test]
fn behind_a_refused_write_in_a_block_the_block_is_aborted() {
    let stage = stage();
    let mut mine = stage.session();
    mine.extended("select * from projects where id = $1", &["1"]);
    stage.other_writes("update projects set name = 'theirs' where id = 1");
    let mut messages = vec![query("begin")];
    messages.extend(cycle(WRITE, &["mine", "1"]));
    messages.extend(cycle("select 1", &[]));
    messages.push(query("commit"));
    let reply = mine.exchange(&messages);
    assert_eq!(shape(&reply), "CZ12nEZEZCZ", "{reply:?}");
    let states: Vec<_> = reply.iter().filter(|f| f.tag == b'E').filter_map(|f| f.field('C')).collect();
    assert_eq!(states, ["40001", "25P02"]);
    assert_eq!((commands(&reply).pop().unwrap(), status(&reply)), ("ROLLBACK".into(), 'I'));
}

#[test]
fn flush_brings_the_replies_and_ends_no_cycle() {
    let stage = stage();
    let mut twin = stage.twin();
    let step = |twin: &mut Twin, messages: &[Vec<u8>], last: char| {
        let bytes = [messages.concat(), flush()].concat();
        twin.direct.send(&bytes);
        twin.proxied.send(&bytes);
        same(&twin.direct.until(last), &twin.proxied.until(last));
    };
    step(&mut twin, &[parse("", NAME, &[]), describe('S', "")], 'T');
    step(&mut twin, &[bind("", &["1"]), execute("", 0)], 'C');
    step(&mut twin, &[parse("w", WRITE, &[])], '1');
    step(&mut twin, &[bind("w", &["flushed", "1"]), execute("", 0)], 'C');
    // Nothing is committed before the Sync: another session still sees the old row.
    assert_eq!(stage.behind().value("select name from projects where id = 1"), "project 1");
    step(&mut twin, &[bind("w", &["again", "1"]), execute("", 0)], 'C');
    assert_eq!(shape(&twin.exchange(&[sync()])), "Z");
    assert_eq!(stage.behind().value("select name from projects where id = 1"), "again");
    assert_eq!(stage.version("projects", "id = 1"), "3");
    // An Execute with neither Sync nor Flush behind it yet is answered once either comes.
    let bytes = [bind("w", &["held", "2"]), execute("", 0)].concat();
    twin.direct.send(&bytes);
    twin.proxied.send(&bytes);
    assert_eq!(shape(&twin.exchange(&[sync()])), "2CZ");
}

#[test]
fn statements_and_portals_are_closed_replaced_and_missing_as_on_the_server() {
    let stage = stage();
    let mut twin = stage.twin();
    assert_eq!(shape(&twin.exchange(&[parse("s", NAME, &[]), parse("s", NAME, &[]), sync()])), "1EZ");
    assert_eq!(shape(&twin.exchange(&[close('S', "s"), parse("s", WRITE, &[]), sync()])), "31Z");
    assert_eq!(shape(&twin.exchange(&[bind("s", &["x", "1"]), execute("", 0), sync()])), "2CZ");
    assert_eq!(shape(&twin.exchange(&[close('S', "s"), close('S', "s"), close('P', "p"), sync()])), "333Z");
    assert_eq!(sqlstate(&twin.exchange(&[bind("s", &["x", "1"]), sync()])), "26000");
    assert_eq!(sqlstate(&twin.exchange(&[describe('S', "s"), sync()])), "26000");
    assert_eq!(sqlstate(&twin.exchange(&[describe('P', "p"), sync()])), "34000");
    assert_eq!(sqlstate(&twin.exchange(&[execute("p", 0), sync()])), "34000");
    // The unnamed statement lives on beside simple queries' destruction of it.
    twin.exchange(&[parse("", NAME, &[]), sync()]);
    assert_eq!(shape(&twin.exchange(&[bind("", &["1"]), execute("", 0), sync()])), "2DCZ");
    twin.query("select 1");
    assert_eq!(sqlstate(&twin.exchange(&[bind("", &["1"]), execute("", 0), sync()])), "26000");
    // Portals end with their transaction; named ones may interleave inside it.
    twin.query("begin");
    twin.exchange(&[
        parse("l", "select name from projects order by id", &[]),
        parse("w", WRITE, &[]),
        sync(),
    ]);
    let two = [
        bind_raw("a", "l", &[], &[], &[]),
        bind_raw("b", "l", &[], &[], &[1]),
        execute("a", 1),
        execute("b", 2),
    ];
    assert_eq!(shape(&twin.exchange(&[&two[..], &[execute("a", 1), sync()]].concat())), "22DsDDsDsZ");
    assert_eq!(shape(&twin.exchange(&[bind("w", &["x", "2"]), execute("", 0), sync()])), "2CZ");
    assert_eq!(
        shape(&twin.exchange(&[execute("a", 0), close('P', "a"), execute("b", 0), sync()])),
        "DDDDDDDC3DDDDDDDCZ"
    );
    twin.query("commit");
    assert_eq!(sqlstate(&twin.exchange(&[execute("b", 0), sync()])), "34000");
    for sql in ["deallocate w", "deallocate all", "discard all"] {
        twin.query(sql);
        twin.exchange(&[bind("w", &["x", "1"]), execute("", 0), sync()]);
        twin.exchange(&[close('S', "w"), parse("w", WRITE, &[]), sync()]);
    }
}

#[test]
fn a_query_of_several_statements_passes_whole() {
    let stage = stage();
    let mut twin = stage.twin();
    for sql in [
        "",
        ";;",
        "-- nothing",
        "select 1; select 'a' as b, 2; update notes set body = 'x' where id = 1",
        "update projects set name='a' where id=1;update projects set name='b' where id=2",
        "begin; update projects set name='m' where id=1; commit",
        "begin; update projects set name='m' where id=1; rollback",
        "select name from projects where id = 1; select budget from projects where id = 2;",
        "select name from projects where id = 1; selec; select 2",
        "update projects set name = 'gone' where id = 1; select 1 / 0",
        "create table t (a int); insert into t values (1), (2); select count(*) from t as of; drop table t",
        "begin; savepoint a; update projects set name='n' where id=1; rollback to a; commit; select name from projects where id = 1",
        "lock projects in share mode; select 1",
        "set search_path = public; show search_path",
        "do $$ begin raise notice 'hello; %', 1; end $$; select 1",
    ] {
        twin.query(sql);
    }
    assert_eq!(rows(&twin.query("select name from projects order by id limit 2")), [["m"], ["b"]]);
}

#[test]
fn an_earlier_statement_of_a_query_is_not_committed_apart_from_a_later_failure() {
    let stage = stage();
    let mut twin = stage.twin();
    let reply = twin.query(
        "insert into notes values (50, 'x'); update projects set name = 'y' where id = 1; select 1 / 0",
    );
    assert_eq!(shape(&reply), "CCEZ");
    assert_eq!(stage.behind().value("select count(*) from notes where id = 50"), "0");
    assert_eq!(stage.version("projects", "id = 1"), "1");
}

#[test]
fn copy_in_and_out() {
    let stage = stage();
    let mut twin = stage.twin();
    twin.query("copy (select id, name from projects order by id) to stdout");
    twin.query("copy projects (id, name) to stdout with (format binary)");
    let copy_in = |twin: &mut Twin, sql: &str, data: &[Vec<u8>]| {
        for side in [&mut twin.direct, &mut twin.proxied] {
            side.send(&query(sql));
        }
        same(&twin.direct.until('G'), &twin.proxied.until('G'));
        for side in [&mut twin.direct, &mut twin.proxied] {
            side.send(&data.concat());
        }
        let (direct, proxied) = (twin.direct.until_ready(1), twin.proxied.until_ready(1));
        same(&direct, &proxied);
        proxied
    };
    let rows_of = [copy_data(b"100\tone\n"), copy_data(b"101\ttwo\n"), copy_done()];
    assert_eq!(commands(&copy_in(&mut twin, "copy projects (id, name) from stdin", &rows_of)), ["COPY 2"]);
    let failed = copy_in(&mut twin, "copy notes from stdin", &[copy_data(b"7\tx\n"), copy_fail("no more")]);
    assert_eq!(sqlstate(&failed), "57014");
    let broken = copy_in(&mut twin, "copy notes from stdin", &[copy_data(b"a\tb\tc\n"), copy_done()]);
    assert_eq!(sqlstate(&broken), "22P04");
    // In the extended protocol Sync and Flush are ignored while the data flows.
    let start = [parse("", "copy notes from stdin", &[]), bind("", &[]), execute("", 0), sync()];
    for side in [&mut twin.direct, &mut twin.proxied] {
        side.send(&start.concat());
        side.until('G');
        side.send(
            &[copy_data(b"8\tx\n"), flush(), sync(), copy_data(b"9\ty\n"), copy_done(), sync()].concat(),
        );
    }
    let (direct, proxied) = (twin.direct.until_ready(1), twin.proxied.until_ready(1));
    same(&direct, &proxied);
    assert_eq!(rows(&twin.query("select count(*) from notes")), [["5"]]);
    assert_eq!(rows(&twin.extended(NAME, &["100"])), [["one"]]);
    assert!(
        stage.proxy.metric("staleguard_unchecked_writes_total", &[("table", "projects"), ("reason", "copy")])
            >= 1.0
    );
}

#[test]
fn copy_of_much_data_flows_both_ways() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("create table wide (a int, b text)");
    mine.send(&query("copy wide from stdin"));
    mine.until('G');
    let line = format!("1\t{}\n", "x".repeat(8000));
    for _ in 0..2000 {
        mine.send(&copy_data(line.as_bytes()));
    }
    mine.send(&copy_done());
    assert_eq!(commands(&mine.until_ready(1)), ["COPY 2000"]);
    let reply = mine.query("copy wide to stdout");
    let bytes: usize = reply.iter().filter(|f| f.tag == b'd').map(|f| f.body.len()).sum();
    assert_eq!(bytes, 2000 * line.len());
    assert_eq!(mine.rows("select b from wide").len(), 2000);
    let long = "y".repeat(3_000_000);
    assert_eq!(mine.value(&format!("select length('{long}')")), "3000000");
    assert_eq!(
        commands(&mine.extended("update projects set status = $1 where id = 1", &[&long])),
        ["UPDATE 1"]
    );
    assert_eq!(mine.value("select length(status) from projects where id = 1"), "3000000");
}

#[test]
fn notifications_arrive_with_and_without_a_request() {
    let stage = stage();
    let mut twin = stage.twin();
    twin.query("listen news");
    twin.query("notify news, 'own'");
    for side in ["direct", "proxied"] {
        stage.cluster.direct(side).ok("notify news, 'while idle'");
    }
    same(&twin.direct.until('A'), &twin.proxied.until('A'));
    twin.query("unlisten *");
}

#[test]
fn function_calls_pass() {
    let stage = stage();
    let mut twin = stage.twin();
    // int4pl is OID 177 in every version.
    let reply = twin.exchange(&[function_call(177, &[&2_i32.to_be_bytes(), &3_i32.to_be_bytes()])]);
    assert_eq!((shape(&reply), &reply[0].body[..]), ("VZ".into(), &[0, 0, 0, 4, 0, 0, 0, 5][..]));
    assert_eq!(shape(&twin.exchange(&[function_call(1, &[])])), "EZ");
    assert_eq!(rows(&twin.extended(NAME, &["1"])), [["project 1"]]);
}

#[test]
fn notices_parameter_changes_and_non_utf8_text_pass() {
    let stage = stage();
    let mut twin = stage.twin();
    twin.query("set client_encoding = 'LATIN1'");
    let mut body = b"select 'gr\xf6\xdfe', name from projects where id = 1".to_vec();
    body.push(0);
    let reply = twin.exchange(&[message(b'Q', &body)]);
    assert!(
        reply.iter().any(|f| f.tag == b'D' && f.body.windows(5).any(|w| w == b"gr\xf6\xdfe")),
        "{reply:?}"
    );
    twin.query("set client_encoding = 'UTF8'");
    twin.query("set application_name = 'größe'");
    twin.query("set datestyle = 'german'");
    twin.query("select now()::date is not null, name from projects where id = 1");
    twin.query("drop table if exists nowhere");
    twin.query("set standard_conforming_strings = off");
    twin.query("update projects set name = 'it\\'s' where id = 1");
    assert_eq!(rows(&twin.query("select name from projects where id = 1")), [["it's"]]);
}

#[test]
fn an_unknown_message_gets_the_servers_answer() {
    let stage = stage();
    for bytes in [
        message(b'?', b"x"),
        message(b'P', b"no zero"),
        message(b'B', &[0]),
        message(b'Q', b"no zero"),
        message(b'D', b"X\0"),
    ] {
        let mut twin = stage.twin();
        let both = [bytes.clone(), sync()].concat();
        twin.direct.send(&both);
        twin.proxied.send(&both);
        let (direct, proxied) = (twin.direct.until('E'), twin.proxied.until('E'));
        same(&direct, &proxied);
    }
    assert_eq!(stage.session().value("select 1"), "1");
}

#[test]
fn a_client_that_does_not_read_stalls_nobody_else() {
    let stage = stage();
    let mut lazy = stage.session();
    lazy.send(&query("select repeat('x', 1000) from generate_series(1, 40000)"));
    let mut busy = stage.session();
    for _ in 0..50 {
        assert_eq!(busy.value("select 1"), "1");
    }
    assert_eq!(commands(&lazy.until_ready(1)), ["SELECT 40000"]);
}

#[test]
fn both_sides_may_write_at_once() {
    let stage = stage();
    let mut mine = stage.session();
    // More requests than any buffer holds, sent before the first reply is read by another thread's leave.
    let one = cycle("select name, $1::text from projects order by id", &[&"z".repeat(2000)]).concat();
    std::thread::scope(|scope| {
        let mut writer = mine.writer();
        scope.spawn(move || {
            for _ in 0..2000 {
                std::io::Write::write_all(&mut writer, &one).unwrap();
            }
        });
        assert_eq!(commands(&mine.until_ready(2000)).len(), 2000);
    });
}

#[test]
fn nothing_is_sent_that_was_not_asked_for() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("select * from projects where id = 1");
    stage.other_writes("update projects set name = 'theirs' where id = 1");
    on_project("1", 1, Some(2)).check(&mine.query("update projects set name = 'mine' where id = 1"), 'I');
    assert!(mine.quiet(Duration::from_millis(50)));
}

#[test]
fn a_portal_that_has_been_run_cannot_be_run_again() {
    let stage = stage();
    let mut twin = stage.twin();
    let run = |sql: &str, values: &[&str]| vec![parse("", sql, &[]), bind("", values), execute("", 0)];
    let again = || vec![execute("", 0)];
    for (sql, values) in [
        ("update projects set status = $1", &["x"][..]),
        ("update projects set budget = budget + 1 where id = $1", &["1"]),
        ("update projects set status = $1 where id = 0 and budget > 0", &["x"]),
        ("insert into projects (id) values ($1) on conflict (id) do update set name = 'x'", &["1"]),
        // Not of ours, or with a result that the client knows of.
        ("update projects set status = $1 where id = 1", &["y"]),
        ("update projects set status = $1 returning id", &["z"]),
        ("update notes set body = $1", &["x"]),
    ] {
        let returns = sql.contains("returning");
        let wanted = if returns { "" } else { "55000" };
        for read in ["", "read only"] {
            // In one cycle, with what follows skipped; and what it did is undone with it.
            let reply = twin.exchange(&[run(sql, values), again(), again(), vec![sync()]].concat());
            assert_eq!(sqlstate(&reply), wanted, "{sql}: {reply:?}");
            twin.query("select status, budget from projects order by id");
            // A Flush and more between.
            twin.exchange(
                &[
                    run(sql, values),
                    vec![flush(), describe('P', "")],
                    again(),
                    run("select 1", &[]),
                    vec![sync()],
                ]
                .concat(),
            );
            // In a block, over cycles.
            twin.query(&format!("begin transaction {read}"));
            twin.exchange(&[run(sql, values), vec![sync()]].concat());
            let reply = twin.exchange(&[again(), vec![sync()]].concat());
            let wanted = if read.is_empty() || sql.contains("notes") && returns { wanted } else { "25P02" };
            assert_eq!(sqlstate(&reply), wanted, "{sql} {read}: {reply:?}");
            twin.exchange(&[again(), vec![sync()]].concat());
            twin.query("rollback");
            // Gone with its transaction.
            let reply = twin.exchange(&[run(sql, values), vec![sync()], again(), vec![sync()]].concat());
            assert_eq!(sqlstate(&reply), "34000", "{sql}: {reply:?}");
            // Bound anew.
            twin.exchange(&[run(sql, values), vec![bind("", values)], again(), vec![sync()]].concat());
        }
    }
}
