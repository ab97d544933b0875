//! Views that show key and version: their reads teach, their writes are checked and bump. Other views pass, counted.

use crate::common::conflict::{Conflict, on_project};
use crate::common::frames::{bind, execute, parse, sync};
use crate::common::raw::{BOTH, Protocol, Raw, commands, error, rows, sqlstate};
use crate::common::twin::{Stage, Twin, stage_with};

const VIEWS: &str = "\
create view open_projects as select id as project_id, name as title, version as rev, upper(name) as loud, budget, status
  from projects where status = 'open' with check option;
create view below as select rev as v, project_id as k, title as \"The (n)ame\" from open_projects;
create view every_project as select * from projects;
create view barrier with (security_barrier) as select name, version, id from projects where budget > 0;
create view roles as select role_id as role, granted_by as by_whom, version, user_id from user_roles;
create view mail as select id, email from users;
create view aged as select code, amount, version from rates where version < 10;
create view twice as select code, amount, version, version as again from rates;
create view counted as select code, version, count(*) from rates group by code;
create view ruled as select code, amount, version from rates;
create rule r as on update to ruled do instead update rates set amount = new.amount where code = old.code;
create view instead as select code, amount, version from rates;
create function instead() returns trigger language plpgsql as
  $$ begin update rates set amount = new.amount where code = old.code; return new; end $$;
create trigger i instead of update on instead for each row execute function instead();
create view over_mail as select id, email from mail;
create table events (id int primary key, title text, version int not null default 1) partition by range (id);
create table events_low partition of events for values from (0) to (100);
insert into events values (1, 'one'), (2, 'two');
create view all_events as select id, title, version as v from events;
grant select, update, delete, insert on all tables in schema public to app;
";

const TABLES: &str = "projects,users,user_roles,rates,programs,events";

fn stage() -> Stage {
    let stage = stage_with(&["--catalog-max-age", "0s", "--tables", TABLES]);
    for database in ["direct", "proxied"] {
        stage.cluster.direct(database).ok(VIEWS);
    }
    stage
}

fn theirs(stage: &Stage, id: &str) {
    stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
}

fn version(stage: &Stage, id: &str) -> i64 {
    stage.version("projects", &format!("id = {id}")).parse().unwrap()
}

/// A read and a write of the row `$1`, through a view or past it.
const READS: [&str; 5] = [
    "select project_id, rev, title from open_projects where project_id = $1",
    "select * from below where k = $1",
    "select * from every_project where id = $1",
    "select * from barrier where id = $1",
    "select name from projects where id = $1",
];
const WRITES: [&str; 5] = [
    "update open_projects set title = 'mine' where project_id = $1",
    "update below as b set \"The (n)ame\" = 'mine' where b.k = $1",
    "update public.every_project set name = 'mine' where id = $1",
    "update barrier set name = 'mine' where id = $1",
    "update projects set name = 'mine' where id = $1",
];

#[test]
fn through_a_view_a_stale_write_is_refused_and_a_fresh_one_lands() {
    let stage = stage();
    for (protocol, id) in BOTH {
        for read in READS {
            for write in WRITES {
                let mut mine = stage.session();
                assert_eq!(rows(&mine.say(protocol, read, &[id])).len(), 1, "{read}");
                let seen = version(&stage, id);
                assert_eq!(commands(&mine.say(protocol, write, &[id])), ["UPDATE 1"], "{read}: {write}");
                assert_eq!(version(&stage, id), seen + 1, "{read}: {write}");
                theirs(&stage, id);
                let detail =
                    on_project(id, seen + 1, Some(seen + 2)).check(&mine.say(protocol, write, &[id]), 'I');
                assert!(detail["current_state"].to_string().contains("theirs"), "{write}: {detail}");
                assert_eq!(version(&stage, id), seen + 2);
            }
        }
    }
    assert_eq!(stage.proxy.metric("staleguard_unchecked_writes_total", &[]), 0.0);
    assert_eq!(stage.proxy.metric("staleguard_rewrite_rejected_total", &[]), 0.0);
}

#[test]
fn every_form_of_write_through_a_view() {
    let stage = stage();
    for (protocol, id) in BOTH {
        for (read, sql, tag) in [
            (READS[0], "delete from open_projects where project_id = $1 and title = 'no'", "DELETE 0"),
            (READS[0], "update open_projects set title = 'x' where project_id in ($1, 77)", "UPDATE 1"),
            (
                READS[0],
                "update open_projects o set title = 'x' where o.title = o.title and o.project_id + 0 = $1",
                "UPDATE 1",
            ),
            (
                READS[1],
                "update below set \"The (n)ame\" = s.n from (select 'x' as n) s where k = $1",
                "UPDATE 1",
            ),
            (
                READS[0],
                "with w as (update open_projects set title = 'x' where project_id = $1 returning title) select * from w",
                "SELECT 1",
            ),
            (
                READS[0],
                "insert into open_projects (project_id, title) values ($1, 'x') on conflict (project_id) do update set title = excluded.title",
                "INSERT 0 1",
            ),
            (
                READS[0],
                "update open_projects set (title, budget) = ('x', 5) where project_id = $1 returning loud",
                "UPDATE 1",
            ),
        ] {
            let deletes = sql.starts_with("delete");
            let mut mine = stage.session();
            mine.say(protocol, read, &[id]);
            let before = version(&stage, id);
            let reply = mine.say(protocol, sql, &[id]);
            assert_eq!(commands(&reply), [tag], "{sql}: {reply:?}");
            assert_eq!(version(&stage, id), before + i64::from(!deletes), "{sql}");
            mine.say(protocol, read, &[id]);
            theirs(&stage, id);
            let reply = mine.say(protocol, sql, &[id]);
            if deletes {
                assert_eq!(commands(&reply), [tag]);
            } else {
                let seen = before + 1;
                on_project(id, seen, Some(seen + 1)).check(&reply, 'I');
            }
        }
        // Where the application tells its version itself.
        let mut mine = stage.session();
        let now = version(&stage, id);
        for (sql, tag, moves) in [
            (
                format!("update open_projects set title = 'x', rev = {now} where project_id = $1"),
                "UPDATE 1",
                true,
            ),
            (
                format!("update open_projects set title = 'x' where project_id = $1 and rev = {}", now + 1),
                "UPDATE 1",
                true,
            ),
            (
                format!("update open_projects set title = 'x' where project_id = $1 and rev = {now}"),
                "UPDATE 0",
                false,
            ),
            (
                "update open_projects set budget = budget + 1 where project_id = $1".to_owned(),
                "UPDATE 1",
                true,
            ),
            (
                "update open_projects set title = 'y', rev = rev + 1 where project_id = $1".to_owned(),
                "UPDATE 1",
                true,
            ),
        ] {
            let before = version(&stage, id);
            assert_eq!(commands(&mine.say(protocol, &sql, &[id])), [tag], "{sql}");
            assert_eq!(version(&stage, id), before + i64::from(moves), "{sql}");
        }
        let reply = mine.say(
            protocol,
            &format!("update open_projects set title = 'x', rev = {now} where project_id = $1"),
            &[id],
        );
        assert!(error(&reply).is_some(), "{reply:?}");
        // A delete that lands, and one that comes too late.
        let gone = if protocol == Protocol::Simple { "8" } else { "9" };
        mine.say(protocol, READS[0], &[gone]);
        theirs(&stage, gone);
        let delete = "delete from open_projects where project_id = $1";
        on_project(gone, 1, Some(2)).check(&mine.say(protocol, delete, &[gone]), 'I');
        mine.say(protocol, READS[0], &[gone]);
        assert_eq!(commands(&mine.say(protocol, delete, &[gone])), ["DELETE 1"]);
    }
}

#[test]
fn the_same_row_several_times_is_no_conflict_with_oneself() {
    let stage = stage();
    let write = "update open_projects set title = $1 where project_id = 1";
    let mut mine = stage.session();
    mine.query(READS[0].replace("$1", "1").as_str());
    let one = |n: usize| [bind("w", &[["a", "b", "c"][n]]), execute("", 0)];
    let mut messages = vec![parse("w", write, &[])];
    messages.extend((0..3).flat_map(one));
    messages.push(sync());
    assert_eq!(commands(&mine.exchange(&messages)), ["UPDATE 1"; 3]);
    assert_eq!(version(&stage, "1"), 4);
    mine.ok("begin");
    for name in ["a", "b"] {
        mine.ok("savepoint s");
        assert_eq!(mine.ok(&write.replace("$1", &format!("'{name}'"))), "UPDATE 1");
        assert_eq!(mine.ok("update projects set name = 'past it' where id = 1"), "UPDATE 1");
    }
    mine.ok("rollback to s");
    assert_eq!(mine.ok(&write.replace("$1", "'d'")), "UPDATE 1");
    mine.ok("commit");
    assert_eq!(version(&stage, "1"), 7);
    theirs(&stage, "1");
    let batch =
        [parse("", write, &[]), bind("", &["x"]), execute("", 0), bind("", &["y"]), execute("", 0), sync()];
    on_project("1", 7, Some(8)).check(&mine.exchange(&batch), 'I');
}

#[test]
fn a_row_that_has_left_the_view() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, READS[0], &[id]);
        stage.other_writes(&format!("update projects set status = 'closed' where id = {id}"));
        // It may be there all the same: as the server says.
        assert_eq!(commands(&mine.say(protocol, WRITES[0], &[id])), ["UPDATE 0"]);
        // Seen as a whole it is still refused.
        on_project(id, 1, Some(2)).check(&mine.say(protocol, WRITES[4], &[id]), 'I');
    }
    // The view that hides nothing: a row that is gone is a conflict.
    let mut mine = stage.session();
    mine.ok("select * from every_project where id = 7");
    assert_eq!(stage.session().ok("delete from projects where id = 7"), "DELETE 1");
    on_project("7", 1, None).check(&mine.query("update every_project set name = 'x' where id = 7"), 'I');
}

#[test]
fn keys_of_several_columns_and_partitions() {
    let stage = stage();
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.say(protocol, "select * from roles where user_id = $1 and role = 'admin'", &[id]);
        stage.other_writes(&format!(
            "update user_roles set granted_by = 'theirs' where user_id = {id} and role_id = 'admin'"
        ));
        let key = format!("{id},admin");
        let conflict =
            Conflict { table: "user_roles", entity: "user_role", id: &key, expected: 1, actual: Some(2) };
        conflict.check(
            &mine.say(
                protocol,
                "update roles set by_whom = 'mine' where user_id = $1 and role = 'admin'",
                &[id],
            ),
            'I',
        );

        mine.say(protocol, "select * from all_events where id = $1", &[id]);
        stage.other_writes(&format!("update events_low set title = 'theirs' where id = {id}"));
        let reply = mine.say(protocol, "update all_events set title = 'mine' where id = $1", &[id]);
        assert_eq!(sqlstate(&reply), "40001", "{reply:?}");
    }
}

#[test]
fn the_client_cannot_tell() {
    let stage = stage();
    let mut twin: Twin = stage.twin();
    for (protocol, id) in BOTH {
        // The check option's error quotes the row, with its version.
        let closes = "update open_projects set status = 'closed' where project_id = $1";
        let told = |mine: &mut Raw| {
            let reply = mine.say(protocol, closes, &[id]);
            error(&reply).map(|e| (e.field('C'), e.field('M'), e.field('P'))).unwrap()
        };
        assert_eq!(told(&mut twin.direct), told(&mut twin.proxied));
        for sql in [
            "select project_id, title, loud from open_projects where project_id = $1",
            "select title from open_projects where project_id = $1",
            "select * from every_project where id = $1",
            "update open_projects set title = 'x' where project_id = $1 returning title, loud, project_id",
            "update below set \"The (n)ame\" = 'y' where k = $1 returning k",
            "update every_project set name = 'z' where id = $1 returning *",
            // A column that cannot be written, one that is not there, a syntax error.
            "update open_projects set loud = 'X' where project_id = $1",
            "update open_projects set nothing = 'X' where project_id = $1",
            "update open_projects set title = 'X' where project_id = $1 and",
            "update open_projects set budget = budget + 1 where project_id = $1",
            "insert into open_projects (project_id, title) values ($1 + 0, 'x')",
            "delete from open_projects where project_id = $1 returning title",
            "select count(*) from every_project where id <> $1",
        ] {
            twin.say(protocol, sql, &[id]);
        }
        twin.query("update open_projects set title = 'a' where project_id = 3; update every_project set name = 'b' where id = 3");
    }
}

#[test]
fn roles_that_may_use_the_view_alone() {
    let stage = stage();
    stage.behind().ok("revoke all on projects from app");
    let mut mine = stage.proxy.session_of("app", "proxied");
    mine.ok("select * from open_projects where project_id = 1");
    assert_eq!(mine.ok("update open_projects set title = 'mine' where project_id = 1"), "UPDATE 1");
    assert_eq!(version(&stage, "1"), 2);
    theirs(&stage, "1");
    on_project("1", 2, Some(3))
        .check(&mine.query("update open_projects set title = 'mine' where project_id = 1"), 'I');
    // Its caller's rights count on both.
    stage
        .behind()
        .ok("create view invoked with (security_invoker = true) as select id, name, version from projects; \
        grant select, update on invoked to app; grant select, update (name) on projects to app");
    // Its name is of interest from the next look on.
    mine.ok("select id from projects where id = 2");
    assert_eq!(mine.ok("update invoked set name = 'x' where id = 2"), "UPDATE 1");
    stage
        .behind()
        .ok("revoke update on open_projects from app; grant update (title) on open_projects to app");
    assert_eq!(mine.ok("update open_projects set title = 'x' where project_id = 2"), "UPDATE 1");
    assert_eq!(version(&stage, "2"), 1);
    let labels = [("table", "projects"), ("reason", "privilege")];
    assert_eq!(stage.proxy.metric("staleguard_unchecked_writes_total", &labels), 2.0);
    assert_eq!(stage.proxy.metric("staleguard_rewrite_rejected_total", &[]), 0.0);
}

#[test]
fn other_views_pass_and_are_counted() {
    let stage = stage();
    let mut mine = stage.session();
    mine.ok("select * from rates where code = 'day'");
    mine.ok("select * from users where id = 1");
    for (n, sql) in [
        "update aged set amount = 1 where code = 'day'",
        "update twice set amount = 2 where code = 'day'",
        "update ruled set amount = 3 where code = 'day'",
        "update instead set amount = 4 where code = 'day'",
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(mine.ok(sql), "UPDATE 1", "{sql}");
        let labels = [("table", "rates"), ("reason", "view")];
        assert_eq!(stage.proxy.metric("staleguard_unchecked_writes_total", &labels), (n + 1) as f64, "{sql}");
    }
    assert_eq!(stage.version("rates", "code = 'day'"), "1");
    assert_eq!(mine.ok("update mail set email = 'x' where id = 1"), "UPDATE 1");
    assert_eq!(mine.ok("update over_mail set email = 'y' where id = 1"), "UPDATE 1");
    let labels = [("table", "users"), ("reason", "view")];
    assert_eq!(stage.proxy.metric("staleguard_unchecked_writes_total", &labels), 2.0);
}

#[test]
fn a_view_that_is_made_anew() {
    let stage = stage();
    let write = |mine: &mut Raw| mine.ok("update every_project set name = 'x' where id = 1");
    let mut mine = stage.session();
    assert_eq!(write(&mut mine), "UPDATE 1");
    assert_eq!(version(&stage, "1"), 2);
    // Its version is another column now, then none.
    stage.behind().ok("drop view every_project; create view every_project as select name, version as id_of, id from projects");
    let before = version(&stage, "1");
    assert_eq!(write(&mut mine), "UPDATE 1");
    assert_eq!(version(&stage, "1"), before + 1);
    mine.ok("create or replace view every_project as select name, version as id_of, id, budget from projects where id > 0");
    assert_eq!(write(&mut mine), "UPDATE 1");
    assert_eq!(version(&stage, "1"), before + 2);
    mine.ok("drop view every_project; create view every_project as select id, name from projects");
    assert_eq!(write(&mut mine), "UPDATE 1");
    assert_eq!(version(&stage, "1"), before + 2);
    // A table of the session's own that hides the view.
    mine.ok("create temp table open_projects (project_id int, title text, rev int); insert into open_projects values (1, 'a', 1)");
    assert_eq!(mine.ok("update open_projects set title = 'b' where project_id = 1"), "UPDATE 1");
    assert_eq!(mine.value("select rev from open_projects"), "1");
}
