//! A value is what the session's settings make of it, and a role may do what it was granted.

use crate::common::raw::{BOTH, Raw, commands, rows, sqlstate};
use crate::common::twin::{stage, stage_with};

const WRITE: &str = "update projects set name = $1 where id = $2";

#[test]
fn strings_that_do_not_conform_to_the_standard() {
    let stage = stage();
    let mut twin = stage.twin();
    for setting in ["off", "on"] {
        twin.query("set escape_string_warning = off");
        twin.query(&format!("set standard_conforming_strings = {setting}"));
        let backslash = if setting == "off" { "'back\\\\slash'" } else { "'back\\slash'" };
        let quote = if setting == "off" { "'it\\'s'" } else { "'it''s'" };
        for key in [backslash, quote] {
            let (read, write) = (
                format!("select amount from rates where code = {key}"),
                format!("update rates set amount = amount + 0, version = version where code = {key}"),
            );
            let change = format!("update rates set amount = 7 where code = {key} -- {setting}: ' \"");
            for protocol in BOTH.map(|(protocol, _)| protocol) {
                assert_eq!(rows(&twin.say(protocol, &read, &[])).len(), 1, "{read}");
                assert_eq!(commands(&twin.say(protocol, &write, &[])), ["UPDATE 1"], "{write}");
                twin.proxied.say(protocol, &read, &[]);
                stage.other_writes(if key == quote {
                    "update rates set amount = 8 where code = 'it''s'"
                } else {
                    "update rates set amount = 8 where code = 'back\\slash'"
                });
                let reply = twin.proxied.say(protocol, &change, &[]);
                assert_eq!(sqlstate(&reply), "40001", "{setting} {key}: {reply:?}");
                twin.proxied.say(protocol, &read, &[]);
                assert_eq!(commands(&twin.say(protocol, &change, &[])), ["UPDATE 1"], "{change}");
            }
        }
    }
}

/// Keys that read otherwise under another DateStyle: the first of February here is the second of January there.
#[test]
fn date_and_timestamp_keys_under_every_date_style() {
    for ty in ["date", "timestamp"] {
        let stage = stage_with(&["--tables", "days"]);
        for database in ["direct", "proxied"] {
            stage.cluster.direct(database).ok(&format!(
                "create table days (day {ty} primary key, note text, version int not null default 1);
                 insert into days values ('2024-01-02', 'january'), ('2024-02-01', 'february')"
            ));
        }
        let counted = || {
            stage.proxy.metric("staleguard_unchecked_writes_total", &[("table", "days")])
                + stage.proxy.metric("staleguard_blind_writes_total", &[("table", "days")])
        };
        let styles = ["ISO, MDY", "ISO, DMY", "SQL, DMY", "SQL, MDY", "German, DMY", "Postgres, MDY"];
        for read_style in ["ISO, MDY", "SQL, DMY", "German, DMY"] {
            for style in styles {
                for (protocol, _) in BOTH {
                    let day = if style.ends_with("DMY") { "01/02/2024" } else { "02/01/2024" };
                    let other = if style.ends_with("DMY") { "02/01/2024" } else { "01/02/2024" };
                    let mut mine = stage.session();
                    mine.ok(&format!("set datestyle = '{read_style}'"));
                    mine.say(protocol, "select day, note from days order by day", &[]);
                    mine.ok(&format!("set datestyle = '{style}'"));
                    stage.other_writes("update days set note = 'theirs' where day = '2024-02-01'");
                    let write = "update days set note = $1 where day = $2";
                    let place = format!("{ty}, read under {read_style}, written under {style}, {protocol:?}");
                    let version = stage.version("days", "day = '2024-01-02'").parse::<i64>().unwrap();
                    // The row that nobody has changed is never refused ..
                    let reply = mine.say(protocol, write, &["january", other]);
                    assert_eq!(commands(&reply), ["UPDATE 1"], "{place}: {reply:?}");
                    let after = stage.version("days", "day = '2024-01-02'").parse::<i64>().unwrap();
                    assert_eq!(after, version + 1, "{place}");
                    // .. the other one is, or it is counted.
                    let before = counted();
                    let reply = mine.say(protocol, write, &["february", day]);
                    assert!(sqlstate(&reply) == "40001" || counted() > before, "{place}: {reply:?}");
                }
            }
        }
    }
}

#[test]
fn column_privileges_that_suffice_and_that_do_not() {
    let stage = stage();
    let mut judge = stage.behind();
    judge.ok("revoke all on projects from app");
    let steps: [(&str, bool); 5] = [
        ("grant select (id, name), update (name) on projects to app", false),
        ("grant select (version) on projects to app", false),
        ("grant update (version) on projects to app", true),
        ("revoke select (version) on projects from app", false),
        ("grant select on projects to app", true),
    ];
    for (grant, protected) in steps {
        judge.ok(grant);
        for (protocol, id) in BOTH {
            // A role's first statement after it looks at the catalog: each step has its own session, past the view's age.
            let stage_session = || stage.proxy.session_of("app", "proxied");
            let mut mine = stage_session();
            let refused = stage.proxy.metric("staleguard_unchecked_writes_total", &[("reason", "privilege")]);
            let version = || stage.version("projects", &format!("id = {id}")).parse::<i64>().unwrap();
            // Any DDL through the proxy makes it look again, as the grant through it would.
            stage.session().ok("grant select on notes to app");
            mine.say(protocol, "select id, name from projects where id = $1", &[id]);
            let before = version();
            let reply = mine.say(protocol, WRITE, &["mine", id]);
            assert_eq!(commands(&reply), ["UPDATE 1"], "{grant}: {reply:?}");
            assert_eq!(version() - before, i64::from(protected), "{grant}");
            mine.say(protocol, "select id, name from projects where id = $1", &[id]);
            stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
            let reply = mine.say(protocol, WRITE, &["stale", id]);
            assert_eq!(sqlstate(&reply) == "40001", protected, "{grant}: {reply:?}");
            let counted = stage.proxy.metric("staleguard_unchecked_writes_total", &[("reason", "privilege")]);
            assert_eq!(counted - refused, if protected { 0.0 } else { 2.0 }, "{grant}");
        }
    }
}

/// SET ROLE is another role, for privileges and for what it has seen.
#[test]
fn the_role_that_a_session_takes_on() {
    let stage = stage();
    stage.behind().ok("create role narrow; grant narrow to app;
        grant select (id, name), update (name) on projects to narrow");
    for (protocol, id) in BOTH {
        let mut mine = stage.proxy.session_of("app", "proxied");
        let version = || stage.version("projects", &format!("id = {id}")).parse::<i64>().unwrap();
        let start = version();
        let step = |mine: &mut Raw, set: &str| {
            assert_eq!(sqlstate(&mine.say(protocol, set, &[])), "", "{set}");
            mine.say(protocol, "select name from projects where id = $1", &[id]);
            let reply = mine.say(protocol, WRITE, &["x", id]);
            assert_eq!(commands(&reply), ["UPDATE 1"], "{set}: {reply:?}");
            version() - start
        };
        assert_eq!(step(&mut mine, "select 1"), 1);
        assert_eq!(step(&mut mine, "set role narrow"), 1);
        assert_eq!(step(&mut mine, "reset role"), 2);
        assert_eq!(step(&mut mine, "select set_config('role', 'narrow', false)"), 2);
        assert_eq!(step(&mut mine, "set role none"), 3);
        mine.say(protocol, "begin", &[]);
        assert_eq!(step(&mut mine, "set local role narrow"), 3);
        mine.say(protocol, "rollback", &[]);
        assert_eq!(step(&mut mine, "select 1"), 4);
    }
}

/// Rows that a policy hides or keeps: PostgreSQL's own answer, and no conflict where the policy is the reason.
#[test]
fn row_security_in_both_forms() {
    let stage = stage();
    for database in ["direct", "proxied"] {
        stage.cluster.direct(database).ok("alter table projects enable row level security;
            create policy see on projects for select to app using (id <> 9);
            create policy change on projects for update to app using (status = 'open') with check (name <> 'forbidden')");
    }
    let mut twin = stage.twin_of("app");
    for (protocol, id) in BOTH {
        twin.proxied.say(protocol, "select * from projects order by id", &[]);
        for (sql, values) in [
            (WRITE, &["mine", id][..]),
            ("update projects set name = $1 where id in ($2, 8, 9)", &["several", id]),
            ("update projects set name = $1 where id = 9", &["hidden"]),
            (WRITE, &["forbidden", id]),
            ("update projects set name = $1 where id in ($2, 8)", &["forbidden", id]),
            ("update projects set status = $1 where id = $2", &["closed", if id == "1" { "3" } else { "4" }]),
            (WRITE, &["kept by the policy", if id == "1" { "3" } else { "4" }]),
            ("select name from projects where id = 9", &[]),
        ] {
            twin.say(protocol, sql, values);
        }
        // Stale rows that the policy lets through are refused in either form ..
        for sql in [WRITE, "update projects set name = $1 where id in ($2, 100)"] {
            twin.proxied.say(protocol, "select * from projects", &[]);
            stage.other_writes(&format!("update projects set budget = 0 where id = {id}"));
            let reply = twin.proxied.say(protocol, sql, &["stale", id]);
            assert_eq!(sqlstate(&reply), "40001", "{sql}: {reply:?}");
        }
        // .. and of one that it has come to keep, the guard sees nothing; the probe sees that it was changed.
        twin.proxied.say(protocol, "select * from projects", &[]);
        stage.other_writes(&format!("update projects set status = 'closed' where id = {id}"));
        let several = "update projects set name = $1 where id in ($2, 100)";
        assert_eq!(commands(&twin.proxied.say(protocol, several, &["stale", id])), ["UPDATE 0"]);
        assert_eq!(sqlstate(&twin.proxied.say(protocol, WRITE, &["stale", id])), "40001");
        twin.proxied.say(protocol, "select * from projects", &[]);
        assert_eq!(commands(&twin.proxied.say(protocol, WRITE, &["kept", id])), ["UPDATE 0"]);
    }
}
