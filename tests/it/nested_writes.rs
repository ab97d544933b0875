//! What a session's own writes change on the side, by triggers, rules and foreign keys, is no conflict with itself.

use crate::common::conflict::Conflict;
use crate::common::frames::{bind, describe, execute, parse, sync};
use crate::common::raw::{BOTH, Protocol, Raw, commands, error};
use crate::common::twin::{Stage, stage_with};

/// Functions that change user 1 each in its way, as trigger functions.
const FUNCTIONS: &str = "\
create function in_sql() returns void language sql as $$ update users set email = 'sql', version = version + 1 where id = 1 $$;
create function in_atomic() returns void language sql begin atomic update users set email = 'atomic', version = version + 1 where id = 1; end;
create function plain() returns trigger language plpgsql as
  $$ begin update users set email = 'plain', version = version + 1 where id = 1; return null; end $$;
create function quoted() returns trigger language plpgsql as
  $$ begin UPDATE public.\"users\" SET email = 'quoted', version = version + 1 WHERE id = 1; return null; end $$;
create function calls_sql() returns trigger language plpgsql as $$ begin perform in_sql(); return null; end $$;
create function calls_atomic() returns trigger language plpgsql as $$ begin perform in_atomic(); return null; end $$;
create function dynamic() returns trigger language plpgsql as
  $$ begin execute format('update %I set version = version + 1 where id = 1', 'us' || 'ers'); return null; end $$;
create function note() returns trigger language plpgsql as $$ begin insert into notes values (random() * 1000000000); return null; end $$;
create view user_mail as select id, email, version from users;
create function by_view() returns trigger language plpgsql as
  $$ begin update user_mail set email = 'view', version = version + 1 where id = 1; return null; end $$;
create function put() returns trigger language plpgsql as
  $$ begin insert into users values (1, 'put', 'x') on conflict (id) do update set version = users.version + 1; return null; end $$;
";

fn stage(setup: &str) -> Stage {
    let stage = stage_with(&["--catalog-max-age", "0s"]);
    stage.behind().ok(FUNCTIONS);
    if !setup.is_empty() {
        stage.behind().ok(setup);
    }
    stage
}

fn read_users(mine: &mut Raw, protocol: Protocol) {
    mine.say(protocol, "select * from users where id = $1", &["1"]);
}

fn writes_users(mine: &mut Raw, protocol: Protocol) -> Vec<crate::common::frames::Frame> {
    mine.say(protocol, "update users set email = 'mine' where id = $1", &["1"])
}

#[test]
fn a_trigger_that_bumps_another_table() {
    let stage = stage("");
    let after = |event: &str, function: &str| {
        format!("create trigger x after {event} on projects for each row execute function {function}()")
    };
    let update = "update projects set name = 'x' where id = 2";
    let cases = [
        (after("update", "plain"), update),
        (after("update", "quoted"), update),
        (after("update", "calls_sql"), update),
        (after("update", "calls_atomic"), update),
        (after("update", "dynamic"), update),
        (after("update", "by_view"), update),
        (after("update", "put"), update),
        (after("update", "plain"), "update projects set name = 'x' where id + 0 = 2"),
        (after("update", "plain"), "insert into projects (id) values (2) on conflict (id) do update set name = 'y'"),
        (after("update", "plain"), "with w as (update projects set name = 'x' where id = 2) select 1"),
        (after("update", "plain"), "explain analyze update projects set name = 'x' where id = 2"),
        (after("update", "plain"), "merge into projects using (select 1) v on id = 2 when matched then update set name = 'z'"),
        (after("insert", "plain"), "insert into projects (id) select max(id) + 1 from projects"),
        (after("delete", "plain"), "delete from projects where id = (select max(id) from projects)"),
        (after("delete", "plain"), "delete from projects where id > (select max(id) - 1 from projects)"),
        ("create trigger x after update on projects execute function plain()".to_owned(), update),
        ("create trigger x after truncate on rates execute function plain()".to_owned(), "truncate rates"),
        (
            "create rule x as on update to projects do also update users set version = version + 1 where id = 1".to_owned(),
            update,
        ),
        (
            format!("{}; create trigger y after insert on notes for each row execute function plain()", after("update", "note")),
            update,
        ),
    ];
    for (setup, own) in cases {
        stage.behind().ok(&setup);
        for (protocol, _) in BOTH {
            let mut mine = stage.session();
            read_users(&mut mine, protocol);
            let before: i64 = stage.version("users", "id = 1").parse().unwrap();
            mine.say(protocol, "select * from projects where id = $1", &["2"]);
            let reply = mine.say(protocol, own, &[]);
            assert!(error(&reply).is_none(), "{setup}: {own}: {reply:?}");
            let moved: i64 = stage.version("users", "id = 1").parse().unwrap();
            assert!(moved > before, "{setup}: {own} changes nothing");
            let reply = writes_users(&mut mine, protocol);
            assert_eq!(commands(&reply), ["UPDATE 1"], "{setup}: {own}: {reply:?}");
            // Once read again, it is protected as before.
            read_users(&mut mine, protocol);
            let seen: i64 = stage.version("users", "id = 1").parse().unwrap();
            stage.other_writes("update users set email = 'theirs' where id = 1");
            let conflict =
                Conflict { table: "users", entity: "user", id: "1", expected: seen, actual: Some(seen + 1) };
            conflict.check(&writes_users(&mut mine, protocol), 'I');
        }
        let mut direct = stage.behind();
        direct.query("drop trigger if exists x on projects");
        direct.query("drop trigger if exists x on rates");
        direct.query("drop rule if exists x on projects");
        direct.query("drop trigger if exists y on notes");
    }
    let cause = [("table", "users"), ("cause", "trigger")];
    assert!(stage.proxy.metric("staleguard_blind_writes_total", &cause) > 30.0);
}

#[test]
fn in_a_batch_in_a_transaction_and_by_prepare() {
    let stage = stage("create trigger x after update on projects for each row execute function plain()");
    let project = "update projects set name = 'x' where id = 1";
    let user = "update users set email = 'mine' where id = 1";
    let read = |mine: &mut Raw| {
        mine.ok("select * from projects where id = 1");
        mine.ok("select * from users where id = 1");
    };
    let mut mine = stage.session();
    read(&mut mine);
    assert_eq!(commands(&mine.query(&format!("{project}; {user}"))), ["UPDATE 1"; 2]);
    read(&mut mine);
    let cycle = [
        parse("p", project, &[]),
        parse("u", user, &[]),
        bind("p", &[]),
        describe('P', ""),
        execute("", 0),
        bind("u", &[]),
        execute("", 0),
        sync(),
    ];
    assert_eq!(commands(&mine.exchange(&cycle)), ["UPDATE 1"; 2]);
    read(&mut mine);
    let apart = [bind("p", &[]), execute("", 0), sync(), bind("u", &[]), execute("", 0), sync()];
    assert_eq!(commands(&mine.exchange(&apart)), ["UPDATE 1"; 2]);
    for end in ["commit", "rollback"] {
        read(&mut mine);
        mine.ok("begin");
        assert_eq!(mine.ok(project), "UPDATE 1");
        assert_eq!(mine.ok(user), "UPDATE 1");
        mine.ok("savepoint s");
        assert_eq!(mine.ok(project), "UPDATE 1");
        // Read behind the nested write: gone again with it.
        mine.ok("select * from users where id = 1");
        mine.ok("rollback to s");
        assert_eq!(mine.ok(user), "UPDATE 1");
        mine.ok(end);
        assert_eq!(mine.ok(user), "UPDATE 1");
    }
    mine.ok("prepare sp as update projects set name = 'y' where id = 1");
    read(&mut mine);
    assert_eq!(mine.ok("execute sp"), "UPDATE 1");
    assert_eq!(mine.ok(user), "UPDATE 1");
    assert_eq!(stage.conflicts(), 0.0);
}

#[test]
fn a_deferred_trigger_acts_at_commit() {
    let stage = stage(
        "create constraint trigger x after update on projects deferrable initially deferred \
        for each row execute function plain()",
    );
    for (protocol, _) in BOTH {
        let mut mine = stage.session();
        mine.ok("begin");
        mine.say(protocol, "update projects set name = 'x' where id = $1", &["1"]);
        read_users(&mut mine, protocol);
        mine.ok("commit");
        assert_eq!(commands(&writes_users(&mut mine, protocol)), ["UPDATE 1"]);
    }
}

#[test]
fn nested_writes_by_foreign_keys() {
    let stage = stage("alter table projects drop constraint projects_portfolio_id_fkey");
    let north = "2531439d-3075-46d6-9c19-63e3342fc43e";
    let mut direct = stage.behind();
    let dsn = format!("postgres://postgres@{}/proxied", stage.cluster.address());
    let config = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(config.path(), "tables = [\"projects\"]").unwrap();
    let mut command = crate::common::proxy::staleguard();
    command.args(["migrate", "up", "--with-trigger", "--dsn", &dsn, "--config"]).arg(config.path());
    let (status, text) = crate::common::proxy::to_end(&mut command);
    assert!(status.success(), "{text}");
    for (protocol, id) in BOTH {
        for (action, own, bumps) in [
            ("on delete set null", format!("delete from portfolios where id = '{north}'"), true),
            ("on delete set default", format!("delete from portfolios where id = '{north}'"), true),
            (
                "on update cascade",
                format!("update portfolios set id = gen_random_uuid() where id = '{north}'"),
                true,
            ),
            ("on update cascade", format!("update portfolios set name = 'x' where id = '{north}'"), false),
            ("on delete cascade", format!("delete from portfolios where id = '{north}'"), false),
        ] {
            direct.ok(&format!(
                "insert into portfolios values ('{north}', 'North') on conflict do nothing; \
                 insert into projects (id, portfolio_id) values ({id}, '{north}') on conflict (id) do update set portfolio_id = '{north}'; \
                 update projects set portfolio_id = '{north}'; \
                 alter table projects add constraint c foreign key (portfolio_id) references portfolios {action}"
            ));
            let mut mine = stage.session();
            mine.say(protocol, "select * from projects where id = $1", &[id]);
            mine.say(protocol, &format!("select * from portfolios where id = '{north}'"), &[]);
            let before = stage.version("projects", &format!("id = {id}"));
            let reply = mine.say(protocol, &own, &[]);
            assert!(error(&reply).is_none(), "{own}: {reply:?}");
            let gone = action == "on delete cascade";
            if !gone {
                let after = stage.version("projects", &format!("id = {id}"));
                assert_eq!(after != before, bumps, "{action}: {own}");
            }
            let write = "update projects set name = 'mine' where id = $1";
            if !gone && !bumps {
                // What the write does not touch is as protected as before.
                stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
                let expected = before.parse().unwrap();
                let conflict = Conflict {
                    table: "projects",
                    entity: "project",
                    id,
                    expected,
                    actual: Some(expected + 1),
                };
                conflict.check(&mine.say(protocol, write, &[id]), 'I');
            } else {
                let reply = mine.say(protocol, write, &[id]);
                assert_eq!(
                    commands(&reply),
                    [if gone { "UPDATE 0" } else { "UPDATE 1" }],
                    "{action}: {reply:?}"
                );
            }
            direct.ok("alter table projects drop constraint c");
        }
    }
}

#[test]
fn what_changes_no_version_is_not_forgotten() {
    let stage = stage(
        "create function audit() returns trigger language plpgsql as $$ begin \
          if TG_OP = 'UPDATE' or TG_OP = 'DELETE' then insert into notes select random() * 1000000000, email from users; end if; \
          return new; end $$; \
        create function touch() returns trigger language plpgsql as \
          $$ begin update users set password_hash = 'x' where id = 1; return null; end $$",
    );
    for (n, (function, own)) in [
        ("audit", "update projects set name = 'x' where id = 2"),
        ("touch", "update projects set name = 'x' where id = 2"),
        // Other events than the trigger's.
        ("plain", "insert into projects (id) values (77)"),
        ("plain", "update projects set name = 'x' where id = 78"),
        // Not enabled.
        ("plain", "update projects set name = 'x' where id = 2"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut direct = stage.behind();
        direct.ok(&format!(
            "create trigger x after update on projects for each row execute function {function}()"
        ));
        if n == 4 {
            direct.ok("alter table projects disable trigger x");
        }
        let mut mine = stage.session();
        read_users(&mut mine, Protocol::Simple);
        let expected: i64 = stage.version("users", "id = 1").parse().unwrap();
        mine.ok(own);
        stage.other_writes("update users set email = 'theirs' where id = 1");
        let conflict =
            Conflict { table: "users", entity: "user", id: "1", expected, actual: Some(expected + 1) };
        conflict.check(&writes_users(&mut mine, Protocol::Simple), 'I');
        direct.ok("drop trigger x on projects");
    }
}

#[test]
fn the_look_stays_cheap() {
    // Above jit_above_cost (100,000) the server would compile it first, for seconds.
    let stage = stage("create trigger x after update on projects for each row execute function plain()");
    let text = staleguard::catalog::look::LOOK_SQL;
    let mut direct = stage.behind();
    direct.ok(&format!("prepare look (text[], text[], text[], text[], text[], text) as {text}"));
    let plan =
        direct.rows("explain execute look ('{public,public}', '{projects,users}', '{version,version}', '{public}', '{users}', '')");
    let cost =
        plan[0][0].split("..").nth(1).and_then(|c| c.split(' ').next()).unwrap().parse::<f64>().unwrap();
    assert!(cost < 50_000.0, "{cost}");
}
