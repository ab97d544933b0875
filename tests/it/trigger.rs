//! The trigger of `migrate up --with-trigger`: who bypasses the proxy is seen, and what goes through it bumps by one.

use std::sync::Arc;

use crate::common::cluster::{Cluster, cluster};
use crate::common::conflict::on_project;
use crate::common::frames::{bind, execute, parse, sync};
use crate::common::proxy::{Proxy, staleguard, to_end};
use crate::common::raw::{BOTH, Raw, commands, error};
use crate::common::twin::Stage;

const CONFIG: &str = "\
[catalog]
max_age = \"20ms\"
[tables.projects]
ignored_columns = [\"updated_at\"]
[tables.resources]
version_type = \"int8\"
[tables.rates]
[tables.users]
[tables.portfolios]
[tables.programs]
version_column = \"Rev 2\"
version_type = \"int2\"
[tables.events]
";

struct Bench {
    stage: Stage,
    config: tempfile::NamedTempFile,
}

fn migrate(cluster: &Cluster, config: &std::path::Path, arguments: &[&str]) -> (bool, String) {
    let dsn = format!("postgres://postgres@{}/proxied", cluster.address());
    let mut command = staleguard();
    command.arg("migrate").args(arguments).args(["--dsn", &dsn, "--config"]).arg(config);
    let (status, text) = to_end(&mut command);
    (status.success(), text)
}

/// A stage whose tables have the trigger, after `setup`.
fn bench(setup: &str) -> Bench {
    let cluster: Arc<Cluster> = cluster();
    let config = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(config.path(), CONFIG).unwrap();
    let mut direct = cluster.direct("proxied");
    direct.ok("alter table programs rename version to \"Rev 2\"; \
        alter table programs alter \"Rev 2\" type int2; alter table resources alter version type int8; \
        create table events (id int primary key, title text, version int not null default 1) partition by range (id); \
        create table events_low partition of events for values from (0) to (100); \
        create table events_high partition of events for values from (100) to (200); \
        insert into events values (1, 'a')");
    if !setup.is_empty() {
        direct.ok(setup);
    }
    let (ok, text) = migrate(&cluster, config.path(), &["up", "--with-trigger"]);
    assert!(ok && text.matches("trigger added").count() == 7, "{text}");
    let path = config.path().to_str().unwrap();
    Bench { stage: Stage { proxy: Proxy::start(&cluster, &["--config", path]), cluster }, config }
}

impl Bench {
    fn migrate(&self, arguments: &[&str]) -> String {
        let (ok, text) = migrate(&self.stage.cluster, self.config.path(), arguments);
        assert!(ok, "{text}");
        text
    }

    fn version(&self, id: &str) -> i64 {
        self.stage.version("projects", &format!("id = {id}")).parse().unwrap()
    }
}

#[test]
fn up_down_and_status() {
    let bench = bench("");
    let mut direct = bench.stage.behind();
    let triggers = "select count(*) from pg_trigger where tgname = 'zzz_staleguard_bump'";
    let functions = "select count(*) from pg_proc where proname like 'staleguard_bump%'";
    // With the two of the partitions.
    assert_eq!((direct.value(triggers), direct.value(functions)), ("9".into(), "7".into()));

    assert_eq!(bench.migrate(&["up", "--with-trigger"]).matches("; trigger already there").count(), 7);
    assert!(!bench.migrate(&["up"]).contains("trigger"), "left as it is, unmentioned");
    assert_eq!(direct.value(triggers), "9");
    let status = bench.migrate(&["status"]);
    assert_eq!(status.lines().filter(|l| l.trim_end().ends_with("trigger")).count(), 7, "{status}");

    direct.ok("alter table projects disable trigger zzz_staleguard_bump");
    let status = bench.migrate(&["status", "--format", "json", "--table", "projects"]);
    assert!(status.contains("\"trigger\": \"disabled\""), "{status}");
    assert!(bench.migrate(&["up", "--with-trigger", "--table", "projects"]).contains("; trigger replaced"));
    // Columns that have come since, and other settings.
    direct.ok("alter table projects add upper_name text generated always as (upper(name)) stored");
    assert!(bench.migrate(&["status", "--table", "projects"]).contains("trigger outdated: run migrate up"));
    let up = bench.migrate(&["up", "--with-trigger", "--table", "projects", "--format", "json"]);
    assert!(up.contains("\"trigger\": \"replaced\""), "{up}");
    // What a DROP TRIGGER has left behind is no obstacle.
    direct.ok("drop trigger zzz_staleguard_bump on projects");
    assert!(bench.migrate(&["up", "--with-trigger"]).contains("; trigger added"));

    let down = bench.migrate(&["down", "--no-wait"]);
    assert_eq!(down.matches("; trigger dropped").count(), 7, "{down}");
    assert_eq!((direct.value(triggers), direct.value(functions)), ("0".into(), "0".into()));
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let cluster = cluster();
    let config = tempfile::NamedTempFile::new().unwrap();
    let text = "[tables.workers]\nadopt = true\n[tables.users]\n[tables.rates]\n";
    std::fs::write(config.path(), text).unwrap();
    let mut direct = cluster.direct("proxied");
    direct.ok("create function staleguard_bump_users() returns trigger language plpgsql as 'begin return new; end'; \
        create function mine() returns trigger language plpgsql as 'begin return new; end'; \
        create trigger zzz_staleguard_bump before update on rates for each row execute function mine()");
    let (ok, text) = migrate(&cluster, config.path(), &["up", "--with-trigger"]);
    assert!(!ok && text.contains("42723") && text.contains("42710"), "{text}");
    let bump = "update workers set name = 'x' where id = 1 returning version";
    assert_eq!(direct.value(bump), "8");
    // An adopted column stays, the trigger goes.
    let (_, text) = migrate(&cluster, config.path(), &["down", "--no-wait", "--table", "workers"]);
    assert!(text.contains("left alone") && text.contains("; trigger dropped"), "{text}");
    assert_eq!(direct.value("update workers set name = 'y' where id = 1 returning version"), "8");
    assert_eq!(direct.value("select count(*) from pg_trigger where tgname = 'zzz_staleguard_bump'"), "1");
}

#[test]
fn a_direct_writer_bumps_where_it_changes_something() {
    let bench = bench(
        "alter table projects add upper_name text generated always as (upper(name)) stored; \
        alter table projects add doc json",
    );
    let mut direct = bench.stage.behind();
    let mut version = 1;
    for (set, bumps) in [
        ("name = 'a'", true),
        ("name = 'a'", false),
        ("name = name", false),
        ("updated_at = now()", false),
        ("updated_at = now(), name = 'a'", false),
        ("updated_at = now(), name = 'b'", true),
        ("budget = 1.0", true),
        ("budget = 1.00", false),
        ("doc = '{\"a\":1}'", true),
        ("doc = '{\"a\": 1}'", true),
        ("name = null", true),
        ("name = 'c', version = version", true),
        ("name = 'd', version = version + 1", true),
    ] {
        assert_eq!(direct.ok(&format!("update projects set {set} where id = 1")), "UPDATE 1");
        version += i64::from(bumps);
        assert_eq!(bench.version("1"), version, "{set}");
    }
    // The application's own columns may go.
    direct.ok("alter table projects drop updated_at; alter table projects rename name to title");
    direct.ok("update projects set title = 'x' where id = 1");
    assert_eq!(bench.version("1"), version + 1);
    assert_eq!(crate::common::raw::sqlstate(&direct.query("alter table projects drop version")), "2BP01");

    direct.ok("insert into portfolios values ('00000000-0000-0000-0000-000000000001', 'x'); \
        update projects set portfolio_id = '00000000-0000-0000-0000-000000000001' where id = 2");
    for (sql, table, column, id, want) in [
        ("update programs set name = 'x' where id = 1", "programs", "\"Rev 2\"", "1", "2"),
        ("update resources set name = 'x' where id = 1", "resources", "version", "1", "2"),
        ("update events set title = 'x'", "events", "version", "1", "2"),
        ("update events_low set title = 'y'", "events", "version", "1", "3"),
        ("update events set id = 150", "events", "version", "150", "4"),
        (
            "insert into events values (150) on conflict (id) do update set title = 'z'",
            "events",
            "version",
            "150",
            "5",
        ),
    ] {
        direct.ok(sql);
        let got = direct.value(&format!("select {column} from {table} where id = {id}"));
        assert_eq!(got, want, "{sql}");
    }
}

#[test]
fn what_bypasses_the_proxy_is_a_change_to_its_users() {
    let bench = bench(
        "create function rename() returns void language sql as \
        $$ update projects set name = 'by function' where id = 2 $$",
    );
    for (protocol, id, other) in [
        (BOTH[0].0, "1", "update projects set name = 'direct' where id = 1"),
        (BOTH[1].0, "2", "select rename()"),
    ] {
        let mut mine = bench.stage.session();
        mine.say(protocol, "select * from projects where id = $1", &[id]);
        bench.stage.behind().ok(other);
        let reply = mine.say(protocol, "update projects set name = 'mine' where id = $1", &[id]);
        on_project(id, 1, Some(2)).check(&reply, 'I');
    }
}

#[test]
fn every_form_of_write_through_the_proxy_bumps_by_exactly_one() {
    let bench = bench("");
    for (protocol, id) in BOTH {
        let mut mine = bench.stage.session();
        let mut version = bench.version(id);
        for sql in [
            // Blind, then checked.
            "update projects set name = 'a' where id = $1",
            "select * from projects where id = $1",
            "update projects set name = 'b' where id = $1",
            // Nothing changes: it bumps as ever.
            "update projects set name = 'b' where id = $1",
            "update projects set name = name where id = $1",
            "update projects set budget = budget + 1 where id = $1",
            "update projects set name = 'c' where id in ($1, 77)",
            "update projects set name = 'd' where id + 0 = $1",
            "update projects set name = 'd' where id + 0 = $1",
            "insert into projects (id, name) values ($1, 'e') on conflict (id) do update set name = excluded.name",
            "merge into projects p using (select $1::int as id) v on p.id = v.id when matched then update set name = 'f'",
            "with w as (update projects set name = 'g' where id = $1 returning id) select * from w",
            "explain analyze update projects set name = 'h' where id = $1",
            "update projects set name = 'i', version = version + 1 where id = $1",
            // The proxy does not read it, the trigger counts it.
            "do $x$ begin update projects set name = 'j' where id = 1; update projects set name = 'j' where id = 2; end $x$",
            // Ignored.
            "update projects set updated_at = now() where id = $1",
        ] {
            let values: &[&str] = if sql.contains("$1") { &[id] } else { &[] };
            let reply = mine.say(protocol, sql, values);
            assert!(error(&reply).is_none(), "{sql}: {reply:?}");
            let now = bench.version(id);
            version += i64::from(!sql.starts_with("select") && !sql.contains("updated_at"));
            if sql.starts_with("do") {
                version = now;
            }
            assert_eq!(now, version, "{sql}");
        }
        // Written back, as an ORM does that saves all columns.
        let back = format!("update projects set name = 'k', version = {version} where id = $1");
        assert_eq!(commands(&mine.say(protocol, &back, &[id])), ["UPDATE 1"]);
        assert_eq!(bench.version(id), version + 1);
        let guarded = format!("update projects set name = 'l' where id = $1 and version = {}", version + 1);
        assert_eq!(commands(&mine.say(protocol, &guarded, &[id])), ["UPDATE 1"]);
        assert_eq!(bench.version(id), version + 2);
        mine.say(protocol, "select * from projects where id = $1", &[id]);
        bench.stage.behind().ok(&format!("update projects set name = 'other' where id = {id}"));
        on_project(id, version + 2, Some(version + 3))
            .check(&mine.say(protocol, "update projects set name = 'm' where id = $1", &[id]), 'I');
    }
}

#[test]
fn a_session_knows_what_its_writes_left() {
    // With our own trigger the outcome of a checked write is as certain as without.
    let bench = bench("");
    let stale = |mine: &mut Raw, expected: i64| {
        bench.stage.behind().ok("update projects set name = 'theirs' where id = 1");
        let reply = mine.query("update projects set name = 'mine' where id = 1");
        on_project("1", expected, Some(expected + 1)).check(&reply, 'I');
    };
    let mut mine = bench.stage.session();
    mine.ok("select * from projects where id = 1");
    let many = |n: usize| -> Vec<Vec<u8>> {
        let one = |_| [bind("w", &["x"]), execute("", 0)];
        let mut all = vec![parse("w", "update projects set name = $1 where id = 1", &[])];
        all.extend((0..n).flat_map(one));
        all.push(sync());
        all
    };
    let reply = mine.exchange(&many(3));
    assert_eq!(commands(&reply), ["UPDATE 1"; 3]);
    assert_eq!(bench.version("1"), 4);
    stale(&mut mine, 4);
}

#[test]
fn ignored_columns_are_counted_where_the_trigger_counts_them() {
    // A trigger that was made before the setting: it bumps, and so does the proxy.
    let bench = bench("");
    std::fs::write(bench.config.path(), CONFIG.replace("ignored_columns = [\"updated_at\"]", "")).unwrap();
    bench.migrate(&["up", "--with-trigger"]);
    let mut mine = bench.stage.session();
    bench.stage.behind().ok("select pg_sleep(0.1)");
    mine.ok("select * from projects where id = 1");
    for n in 2..5 {
        assert_eq!(mine.ok("update projects set updated_at = clock_timestamp() where id = 1"), "UPDATE 1");
        assert_eq!(bench.version("1"), n);
    }
    assert_eq!(mine.ok("update projects set name = 'x' where id = 1"), "UPDATE 1");
    assert_eq!(bench.stage.conflicts(), 0.0);
}

#[test]
fn another_trigger_that_changes_a_counted_column_is_no_conflict_with_oneself() {
    let bench = bench(
        "create function stamp() returns trigger language plpgsql as \
        $$ begin new.status = 'seen ' || clock_timestamp(); return new; end $$; \
        create trigger stamp before update on projects for each row execute function stamp()",
    );
    let mut mine = bench.stage.session();
    mine.ok("select * from projects where id = 1");
    // Ignored by the proxy; the trigger finds `status` changed.
    assert_eq!(mine.ok("update projects set updated_at = clock_timestamp() where id = 1"), "UPDATE 1");
    assert_eq!(bench.version("1"), 2);
    assert_eq!(mine.ok("update projects set name = 'x' where id = 1"), "UPDATE 1");
    assert_eq!(bench.version("1"), 3);
    let cause = [("table", "projects"), ("cause", "trigger")];
    assert_eq!(bench.stage.proxy.metric("staleguard_blind_writes_total", &cause), 1.0);
    // Whatever statement it is.
    for sql in [
        "insert into projects (id) values (1) on conflict (id) do update set updated_at = clock_timestamp()",
        "merge into projects p using (select 1 as id) v on p.id = v.id \
         when matched then update set updated_at = clock_timestamp()",
        "prepare i as update projects set updated_at = clock_timestamp() where id = 1; execute i",
        "explain analyze update projects set updated_at = clock_timestamp() where id = 1",
        "with w as (update projects set updated_at = clock_timestamp() where id = 1) select 1",
    ] {
        mine.ok("select * from projects where id = 1");
        let before = bench.version("1");
        mine.ok(sql);
        assert_eq!(bench.version("1"), before + 1, "{sql}");
        assert_eq!(mine.ok("update projects set name = 'x' where id = 1"), "UPDATE 1", "{sql}");
    }
    // Nor is a generated column that has come since the trigger was made.
    mine.ok("drop trigger stamp on projects; alter table projects add stamped text generated always as (upper(name)) stored");
    mine.ok("select * from projects where id = 1");
    let before = bench.version("1");
    assert_eq!(mine.ok("update projects set updated_at = clock_timestamp() where id = 1"), "UPDATE 1");
    assert_eq!(bench.version("1"), before + 1);
    assert_eq!(mine.ok("update projects set name = 'y' where id = 1"), "UPDATE 1");
}
