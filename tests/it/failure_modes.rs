//! Failure modes that other proxies of this kind have been caught on, a test each: prepared statements here, rewriting
//! in a file of its own. The numbers are those of the list that they come from.

mod rewriting;

use std::process::Command;

use crate::common::cluster::client_program;
use crate::common::conflict::on_project;
use crate::common::frames::{bind, bind_raw, close, describe, execute, parse, query, sync};
use crate::common::proxy::to_end;
use crate::common::raw::{Protocol, error, shape, sqlstate};
use crate::common::twin::{Stage, stage, stage_with};

const READ: &str = "select name from projects where id = $1";
const WRITE: &str = "update projects set name = $1 where id = $2";
const NOTE: &str = "update notes set body = $1 where id = $2";

/// Bind and Execute of a statement.
fn run(name: &str, values: &[&str]) -> Vec<u8> {
    [bind(name, values), execute("", 0)].concat()
}

/// Writes that were let through unchecked, or blind.
fn uncounted(stage: &Stage) -> f64 {
    let table = [("table", "projects")];
    stage.proxy.metric("staleguard_unchecked_writes_total", &table)
        + stage.proxy.metric("staleguard_blind_writes_total", &table)
}

/// Another user changes row `id` between this session's reads and its writes.
fn theirs(stage: &Stage, id: &str) {
    let sql = format!("update projects set status = 'theirs' where id = {id}");
    stage.other_writes(&sql);
    stage.cluster.direct("direct").ok(&sql);
}

/// Versions of three digits, direct and through the proxy: replies are compared without them, but with their lengths.
fn same_length(stage: &Stage) {
    for database in ["direct", "proxied"] {
        stage.cluster.direct(database).ok("update projects set version = 100");
    }
}

#[test]
fn mode_08_a_name_parsed_again_keeps_no_old_rewrite() {
    let stage = stage();
    let mut twin = stage.twin();
    // The unnamed statement, in cycles of their own and in one; each text has another rewrite, or none.
    let texts: [(&str, &[&str]); 6] = [
        (WRITE, &["a", "1"]),
        (NOTE, &["b", "1"]),
        (READ, &["1"]),
        ("select body from notes where id = $1", &["1"]),
        ("update projects set budget = budget + 1 where id = $1", &["1"]),
        ("update programs set name = $1 where id = $2", &["c", "2"]),
    ];
    for (first, values) in texts {
        for (second, others) in texts {
            twin.exchange(&[parse("", first, &[]), run("", values), sync()]);
            twin.exchange(&[parse("", second, &[]), run("", others), sync()]);
            twin.exchange(&[
                parse("", first, &[]),
                run("", values),
                parse("", second, &[]),
                run("", others),
                sync(),
            ]);
            // A name, closed and given to another text, in two cycles and in one.
            twin.exchange(&[parse("s", first, &[]), run("s", values), sync()]);
            twin.exchange(&[close('S', "s"), parse("s", second, &[]), run("s", others), sync()]);
            twin.exchange(&[
                close('S', "s"),
                parse("s", first, &[]),
                run("s", values),
                close('S', "s"),
                sync(),
            ]);
        }
    }
    // A Parse that fails leaves a named statement as it was, and no unnamed one.
    twin.exchange(&[parse("s", WRITE, &[]), parse("", READ, &[]), sync()]);
    assert_eq!(shape(&twin.exchange(&[parse("s", NOTE, &[]), sync()])), "EZ");
    assert_eq!(shape(&twin.exchange(&[run("s", &["x", "1"]), sync()])), "2CZ");
    assert_eq!(shape(&twin.exchange(&[parse("", "selec", &[]), sync()])), "EZ");
    assert_eq!(sqlstate(&twin.exchange(&[run("", &["1"]), sync()])), "26000");
    assert_eq!(stage.conflicts(), 0.0);
    // What stands under the name now is what is checked.
    twin.proxied.query("select * from projects");
    let known: i64 = stage.version("projects", "id = 1").parse().unwrap();
    theirs(&stage, "1");
    let reply = twin.proxied.exchange(&[run("s", &["x", "1"]), sync()]);
    on_project("1", known, Some(known + 1)).check(&reply, 'I');
}

/// `pgbench -M extended` parses the unnamed statement anew for each statement; `prepared` names each once.
#[test]
fn mode_08_pgbench_extended_and_prepared() {
    let stage = stage();
    let script = tempfile::NamedTempFile::new().unwrap();
    let text = "select name from projects where id = 1;
        update projects set budget = budget + 1 where id = 1;
        update projects set name = 'bench' where id = 2;
        update notes set body = 'bench' where id = 1;
        select body from notes where id = 1;\n";
    std::fs::write(script.path(), text).unwrap();
    for (n, mode) in ["simple", "extended", "prepared"].into_iter().enumerate() {
        let mut pgbench = Command::new(client_program("pgbench"));
        pgbench.args(["-n", "-M", mode, "-c", "1", "-t", "50", "-h", "127.0.0.1", "-U", "postgres"]);
        pgbench.args(["-p", &stage.proxy.port().to_string(), "-f"]).arg(script.path()).arg("proxied");
        let (status, text) = to_end(&mut pgbench);
        assert!(status.success() && text.contains("50/50"), "{mode}: {text}");
        let wanted = (1 + 50 * (n + 1)).to_string();
        assert_eq!(stage.version("projects", "id = 1"), wanted, "{mode}");
        assert_eq!(stage.version("projects", "id = 2"), wanted, "{mode}");
    }
    assert_eq!(stage.behind().value("select budget from projects where id = 1"), "250.00");
}

#[test]
fn mode_09_deallocated_and_closed_statements_are_gone() {
    let stage = stage();
    let mut twin = stage.twin();
    let plain = |sql: &str| [parse("d", sql, &[]), run("d", &[]), close('S', "d")].concat();
    for gone in ["deallocate all", "discard all", "deallocate w", "deallocate prepare w", "deallocate \"w\""]
    {
        // Simple, extended, and in the same flight as what follows.
        for way in 0..3 {
            twin.exchange(&[parse("w", WRITE, &[]), parse("r", READ, &[]), sync()]);
            assert_eq!(shape(&twin.exchange(&[run("w", &["x", "1"]), sync()])), "2CZ", "{gone}");
            let away = match way {
                0 => vec![query(gone)],
                1 => vec![parse("", gone, &[]), run("", &[]), sync()],
                _ => vec![run("w", &["y", "1"]), sync(), query(gone)],
            };
            let behind =
                [run("w", &["z", "1"]), sync(), parse("w", NOTE, &[]), run("w", &["n", "1"]), sync()];
            let reply = match way {
                2 => twin.exchange(&[&away[..], &behind[..]].concat()),
                _ => {
                    let reply = twin.exchange(&away);
                    [reply, twin.exchange(&behind)].concat()
                }
            };
            assert_eq!(sqlstate(&reply), "26000", "{gone}: {reply:?}");
            assert!(shape(&reply).ends_with("EZ12CZ"), "{gone}: {reply:?}");
            twin.query("deallocate all");
        }
    }
    // Not undone by a rollback; not carried out in a failed block.
    twin.exchange(&[parse("w", WRITE, &[]), sync()]);
    twin.query("begin");
    twin.query("deallocate w");
    twin.query("rollback");
    assert_eq!(sqlstate(&twin.exchange(&[run("w", &["x", "1"]), sync()])), "26000");
    twin.exchange(&[parse("w", WRITE, &[]), sync()]);
    twin.query("begin");
    twin.query("select 1 / 0");
    assert_eq!(sqlstate(&twin.query("deallocate w")), "25P02");
    twin.query("rollback");
    assert_eq!(shape(&twin.exchange(&[run("w", &["x", "1"]), sync()])), "2CZ");
    // A Close that is skipped with the rest of a failed cycle has closed nothing.
    let skipped = [parse("", "selec", &[]), close('S', "w"), parse("w", NOTE, &[]), sync()];
    assert_eq!(shape(&twin.exchange(&skipped)), "EZ");
    assert_eq!(shape(&twin.exchange(&[run("w", &["x", "1"]), sync()])), "2CZ");
    // Closed twice, closed and bound in one cycle.
    assert_eq!(
        shape(&twin.exchange(&[close('S', "w"), close('S', "w"), run("w", &["x", "1"]), sync()])),
        "33EZ"
    );
    // In one flight: all gone, and the same names for other texts.
    twin.exchange(&[parse("w", WRITE, &[]), parse("r", READ, &[]), sync()]);
    let reply = twin.exchange(&[
        plain("deallocate all"),
        parse("w", READ, &[]),
        parse("r", WRITE, &[]),
        run("w", &["1"]),
        run("r", &["swapped", "1"]),
        sync(),
    ]);
    assert_eq!(shape(&reply), "12C3112DC2CZ", "{reply:?}");
    // The one that is left is still protected.
    twin.proxied.query("select * from projects");
    let known: i64 = stage.version("projects", "id = 1").parse().unwrap();
    theirs(&stage, "1");
    on_project("1", known, Some(known + 1))
        .check(&twin.proxied.exchange(&[run("r", &["x", "1"]), sync()]), 'I');
}

#[test]
fn mode_10_prepare_and_execute_in_sql_do_not_escape() {
    let stage = stage();
    let mut twin = stage.twin();
    let version = || stage.version("projects", "id = 1").parse::<i64>().unwrap();
    let before = uncounted(&stage);
    for (prepare, execute_it) in [
        ("prepare w (text, int) as update projects set name = $1 where id = $2", "execute w ('x', 1)"),
        ("prepare w as update projects set name = 'y' where id = 1 returning id, name", "execute w"),
        ("prepare w as select name from projects where id = 1", "execute w"),
        ("prepare w (int) as update projects set budget = budget + 1 where id = $1", "execute w (1)"),
    ] {
        let write = i64::from(prepare.contains("update"));
        for protocol in [Protocol::Simple, Protocol::Extended] {
            let start = version();
            twin.say(protocol, prepare, &[]);
            for _ in 0..2 {
                let reply = twin.say(protocol, execute_it, &[]);
                assert!(error(&reply).is_none(), "{prepare}: {reply:?}");
            }
            twin.query(&format!("begin; {execute_it}; rollback; {execute_it}"));
            // The namespace is one with the protocol's.
            let reply = twin.exchange(&[describe('S', "w"), sync()]);
            assert!(matches!(&*shape(&reply), "tTZ" | "tnZ"), "{reply:?}");
            if !prepare.contains('(') {
                twin.exchange(&[run("w", &[]), sync()]);
            }
            let ran = if prepare.contains('(') { 3 } else { 4 };
            assert_eq!(version(), start + ran * write, "{prepare}");
            assert_eq!(sqlstate(&twin.say(protocol, prepare, &[])), "42P05");
            twin.say(protocol, "deallocate w", &[]);
            assert_eq!(sqlstate(&twin.say(protocol, execute_it, &[])), "26000");
        }
    }
    assert!(uncounted(&stage) > before, "nothing was counted");
}

#[test]
fn mode_11_a_cached_plan_must_not_change_its_result_type() {
    let stage = stage_with(&["--catalog-max-age", "0s"]);
    same_length(&stage);
    let mut twin = stage.twin();
    let statements: [(&str, &str, &[&str]); 5] = [
        ("all", "select * from projects where id = $1", &["1"]),
        ("some", "select name, budget from projects where id = $1", &["1"]),
        ("note", "select * from notes where id = $1", &["1"]),
        ("w", WRITE, &["x", "1"]),
        ("ret", "update projects set name = $1 where id = $2 returning *", &["y", "1"]),
    ];
    let parse_all = || statements.map(|(name, sql, _)| parse(name, sql, &[])).concat();
    twin.exchange(&[parse_all(), sync()]);
    for (ddl, changes) in [
        ("alter table projects add column extra text", &["all", "ret"][..]),
        ("alter table notes add column extra text", &["note"]),
        ("alter table projects drop column extra", &["all", "ret"]),
        ("alter table projects alter column id type bigint", &["all", "ret"]),
        ("alter table projects alter column budget type text", &["all", "some", "ret"]),
    ] {
        // By another session, past the proxy, and by this one.
        for database in ["direct", "proxied"] {
            stage.cluster.direct(database).ok(ddl);
        }
        for _ in 0..2 {
            for (name, _, values) in statements {
                let reply = twin.exchange(&[bind(name, values), describe('P', ""), execute("", 0), sync()]);
                let wanted = if changes.contains(&name) { "0A000" } else { "" };
                assert_eq!(sqlstate(&reply), wanted, "{ddl}: {name}: {reply:?}");
            }
        }
        // What a driver does then.
        twin.query("deallocate all");
        twin.exchange(&[parse_all(), sync()]);
        for (name, _, values) in statements {
            let reply = twin.exchange(&[bind(name, values), describe('P', ""), execute("", 0), sync()]);
            assert_eq!(sqlstate(&reply), "", "{ddl}: {name}");
        }
    }
    for (ddl, broken) in
        [("alter table projects add column more int", true), ("alter table projects drop column more", true)]
    {
        twin.query(ddl);
        for (name, _, values) in statements {
            let reply = twin.exchange(&[bind(name, values), describe('P', ""), execute("", 0), sync()]);
            assert_eq!(
                sqlstate(&reply) == "0A000",
                broken && ["all", "ret"].contains(&name),
                "{ddl}: {name}"
            );
        }
        twin.query("deallocate all");
        twin.exchange(&[parse_all(), sync()]);
    }
}

/// The hidden columns are no part of the result that the client knows: a change of their type is none of its business.
#[test]
fn mode_11_a_hidden_column_that_changes_its_type_is_not_seen() {
    let stage = stage();
    let mut twin = stage.twin();
    for (ddl, table) in [
        ("alter table programs alter column id type integer", "programs"),
        ("alter table projects alter column version type bigint", "projects"),
    ] {
        let texts = [
            parse("r", &format!("select name from {table} where id = $1"), &[]),
            parse("w", &format!("update {table} set name = $1 where id = $2"), &[]),
            parse("u", &format!("update {table} set name = $1 where id = $2 returning name"), &[]),
        ];
        twin.exchange(&[texts.concat(), sync()]);
        for round in 0..3 {
            if round == 1 {
                twin.query(ddl);
            }
            for (name, values) in [("r", &["1"][..]), ("w", &["x", "1"]), ("u", &["y", "1"])] {
                let reply = twin.exchange(&[bind(name, values), execute("", 0), sync()]);
                assert_eq!(sqlstate(&reply), "", "{ddl}: {name}: {reply:?}");
            }
        }
        twin.query("deallocate all");
    }
    assert_eq!(stage.version("programs", "id = 1"), "7");
}

/// A difference that docs/coverage.md lists, and how it ends.
#[test]
fn mode_11_a_hidden_column_whose_type_was_changed_past_the_proxy() {
    let stage = stage_with(&["--catalog-max-age", "1h"]);
    let mut twin = stage.twin();
    let run = || [bind("r", &["1"]), execute("", 0), sync()];
    twin.exchange(&[parse("r", "select name from programs where id = $1", &[]), sync()]);
    twin.exchange(&run());
    for database in ["direct", "proxied"] {
        stage.cluster.direct(database).ok("alter table programs alter column id type integer");
    }
    assert_eq!(shape(&twin.direct.exchange(&run())), "2DCZ");
    assert_eq!(sqlstate(&twin.proxied.exchange(&run())), "0A000");
    // DDL of its own, whatever it is about, has it look again.
    twin.query("create table any_other (id int)");
    twin.exchange(&run());
    twin.exchange(&run());
}

#[test]
fn mode_12_declared_parameter_types_beside_added_parameters() {
    let stage = stage();
    // (types, values that fit them, formats)
    type Case<'a> = (&'a [u32], usize);
    let cases: &[Case<'_>] = &[
        (&[], 2),
        (&[0], 2),
        (&[0, 0], 2),
        (&[1043], 2),
        (&[25, 23], 2),
        (&[0, 20], 2),
        (&[1043, 21], 2),
        // More than the text uses: each wants a value, and a type.
        (&[25, 23, 25], 3),
        (&[0, 0, 23, 1700, 2950], 5),
        (&[0, 0, 0], 3),
        (&[25, 23, 0], 3),
        (&[0, 0, 25, 0, 25], 5),
        // Types that do not fit, or do not exist.
        (&[25, 25], 2),
        (&[23, 23], 2),
        (&[25, 2950], 2),
        (&[999_999, 23], 2),
        (&[25, 23, 999_999], 3),
    ];
    let values: [Option<&[u8]>; 5] = [Some(b"typed"), Some(b"1"), Some(b"7"), Some(b"1.5"), None];
    let texts = [
        WRITE,
        "update projects set name = $1 where id = $2 returning name",
        "update projects set name = $1 where id = $2 or id = 100",
        "with w as (update projects set name = $1 where id = $2) select 1",
        "insert into projects (id, name) values ($2, $1) on conflict (id) do update set name = excluded.name",
        "select name from projects where name <> $1 and id = $2",
    ];
    let mut twin = stage.twin();
    twin.query("select * from projects");
    for sql in texts {
        for (types, count) in cases {
            let reply = twin.exchange(&[parse("w", sql, types), describe('S', "w"), sync()]);
            // The formats: none, one for all, one for each; and counts that are wrong.
            for formats in [&[][..], &[0], &vec![0; *count], &vec![0; count + 1]] {
                for given in [*count, count - 1, count + 1] {
                    let given = &values[..given.min(5)];
                    twin.exchange(&[
                        bind_raw("", "w", formats, given, &[]),
                        describe('P', ""),
                        execute("", 0),
                        sync(),
                    ]);
                }
            }
            if error(&reply).is_none() {
                twin.query("deallocate w");
            }
        }
    }
    assert_eq!(stage.conflicts(), 0.0);
    // In binary, and stale: the parameter added behind those declared is the one that decides.
    for types in [&[][..], &[25, 23], &[25, 23, 25], &[0, 0, 23, 1700, 2950]] {
        let count = types.len().max(2);
        let mut mine = stage.session();
        mine.query("select * from projects");
        theirs(&stage, "1");
        let mut binary = values;
        binary[1] = Some(&[0, 0, 0, 1]);
        let formats: Vec<u16> = (0..count).map(|i| u16::from(i == 1)).collect();
        for sql in &texts[..2] {
            let write =
                [parse("", sql, types), bind_raw("", "", &formats, &binary[..count], &[]), execute("", 0)]
                    .concat();
            assert_eq!(sqlstate(&mine.exchange(&[write, sync()])), "40001", "{sql} {types:?}");
        }
    }
}

#[test]
fn mode_13_no_reply_is_made_up_or_out_of_place() {
    let stage = stage();
    let mut twin = stage.twin();
    twin.query("select * from projects");
    // Bound, closed, parsed again and bound again under one name, all in one cycle.
    let reply = twin.exchange(&[
        parse("s", WRITE, &[]),
        run("s", &["one", "1"]),
        close('S', "s"),
        parse("s", READ, &[]),
        run("s", &["1"]),
        close('S', "s"),
        parse("s", NOTE, &[]),
        run("s", &["note", "1"]),
        sync(),
    ]);
    assert_eq!(shape(&reply), "12C312DC312CZ");
    // The portal outlives its statement.
    let reply = twin.exchange(&[
        parse("t", READ, &[]),
        bind("t", &["1"]),
        close('S', "t"),
        parse("t", WRITE, &[]),
        execute("", 0),
        run("t", &["two", "1"]),
        sync(),
    ]);
    assert_eq!(shape(&reply), "1231DC2CZ");
    // The same over several cycles in one flight, with statements of both kinds before and behind.
    let mut flight = Vec::new();
    for n in ["1", "2", "3"] {
        flight.extend([close('S', "s"), parse("s", WRITE, &[]), run("s", &["flight", n]), sync()]);
        flight.extend([run("s", &["again", n]), sync(), query("select 'between'"), close('S', "s"), sync()]);
        flight.extend([parse("s", READ, &[]), bind("s", &[n]), describe('P', ""), execute("", 0), sync()]);
    }
    assert_eq!(shape(&twin.exchange(&flight)), "312CZ2CZTDCZ3Z12TDCZ".repeat(3));
    // More statements than anyone keeps plans of: a Bind finds the one that it names.
    let many = 5_000;
    let mut parses = Vec::new();
    for n in 0..many {
        let sql = format!("update projects set name = $1 where id = $2 /* {n} */");
        parses.push(parse(&format!("m{n}"), &sql, &[]));
    }
    parses.push(sync());
    assert_eq!(twin.exchange(&parses).len(), many + 1);
    for n in [0, 1, many / 2, many - 1] {
        assert_eq!(shape(&twin.exchange(&[run(&format!("m{n}"), &["many", "4"]), sync()])), "2CZ");
    }
    assert_eq!((stage.version("projects", "id = 4"), stage.conflicts()), ("5".into(), 0.0));
    // A refusal in the middle of a flight: the rest is answered as it was asked.
    twin.proxied.query("select * from projects");
    theirs(&stage, "5");
    let reply = twin.proxied.exchange(&[
        run("m1", &["a", "4"]),
        sync(),
        run("m2", &["b", "5"]),
        sync(),
        run("m3", &["c", "6"]),
        sync(),
        query("select 'behind'"),
    ]);
    assert_eq!((shape(&reply).as_str(), sqlstate(&reply).as_str()), ("2CZ2EZ2CZTDCZ", "40001"));
}
