//! Whose version counts: scopes, labels and units of work.

use crate::common::conflict::on_project;
use crate::common::frames::Frame;
use crate::common::proxy::Proxy;
use crate::common::raw::{BOTH, Protocol, Raw, commands, error, rows, sqlstate, status};
use crate::common::twin::{Stage, stage_with};
use crate::settings::configured;

const READ: &str = "select id, name, budget from projects where id = $1";
const WRITE: &str = "update projects set name = $1 where id = $2";

/// A web application with one pool and no labels: each request loads its user first.
struct App<'a> {
    connection: &'a mut Raw,
    protocol: Protocol,
    user: &'a str,
}

impl App<'_> {
    fn begin(&mut self) {
        self.connection.ok("select 1");
        self.connection.ok("begin");
        let who = "select users.id, users.email from users where users.id = $1";
        assert_eq!(rows(&self.connection.say(self.protocol, who, &[self.user])).len(), 1);
        self.connection.say(self.protocol, "select role_id from user_roles where user_id = $1", &[self.user]);
    }

    /// GET: shows the form.
    fn form(&mut self, id: &str) {
        self.begin();
        assert_eq!(rows(&self.connection.say(self.protocol, READ, &[id])).len(), 1);
        self.connection.ok("rollback");
    }

    /// PUT: reads the row again, writes it, and an audit row in a second transaction.
    fn save(&mut self, id: &str, name: &str) -> Vec<Frame> {
        self.begin();
        self.connection.say(self.protocol, READ, &[id]);
        let reply = self.connection.say(self.protocol, WRITE, &[name, id]);
        if status(&reply) == 'E' {
            self.connection.ok("rollback");
        } else {
            self.connection.ok("commit");
            self.connection.ok("begin");
            self.connection.ok("insert into audit (what) values ('saved')");
            self.connection.ok("commit");
        }
        reply
    }
}

fn context(extra: &[&str]) -> Stage {
    let stage = stage_with(&[&["--scope", "context"], extra].concat());
    stage.behind().ok("create table audit (id serial primary key, what text); grant all on audit to app; grant all on audit_id_seq to app");
    stage
}

#[test]
fn an_app_that_labels_nothing_is_told_apart_by_the_user_that_it_loads() {
    let stage = context(&["--context-label", "lookup:users.id"]);
    for (protocol, id) in BOTH {
        let mut pool = [stage.session(), stage.session()];
        let [one, two] = &mut pool;
        // Two users open the same form, on whichever connection is free.
        App { connection: one, protocol, user: "1" }.form(id);
        App { connection: one, protocol, user: "2" }.form(id);
        // Both save.
        assert_eq!(commands(&App { connection: two, protocol, user: "1" }.save(id, "ada's")), ["UPDATE 1"]);
        let reply = App { connection: one, protocol, user: "2" }.save(id, "bob's");
        on_project(id, 1, Some(2)).check(&reply, 'E');
        // A repeat of the same request is refused again.
        let reply = App { connection: two, protocol, user: "2" }.save(id, "bob's");
        assert_eq!(sqlstate(&reply), "40001");
        assert_eq!(stage.behind().value(&format!("select name from projects where id = {id}")), "ada's");
        // After a refresh it succeeds.
        App { connection: one, protocol, user: "2" }.form(id);
        assert_eq!(commands(&App { connection: one, protocol, user: "2" }.save(id, "bob's")), ["UPDATE 1"]);
        // Whoever saves twice in a row does not conflict with himself.
        assert_eq!(
            commands(&App { connection: two, protocol, user: "2" }.save(id, "bob's again")),
            ["UPDATE 1"]
        );
        // The first one's form is stale now.
        assert_eq!(sqlstate(&App { connection: two, protocol, user: "1" }.save(id, "ada's")), "40001");
    }
}

fn retries(stage: &Stage, outcome: &str) -> f64 {
    let labels = [("entity_type", "project"), ("outcome", outcome)];
    stage.proxy.metric("version_conflict_retries_total", &labels)
}

#[test]
fn retries_are_followed_up() {
    let stage = stage_with(&["--conflict-retry-window", "1s"]);
    for (protocol, id) in BOTH {
        let before = ["succeeded", "conflicted_again"].map(|outcome| retries(&stage, outcome));
        let mut mine = stage.session();
        mine.say(protocol, READ, &[id]);
        stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
        assert_eq!(sqlstate(&mine.say(protocol, WRITE, &["mine", id])), "40001");
        assert_eq!(sqlstate(&mine.say(protocol, WRITE, &["mine", id])), "40001");
        mine.say(protocol, READ, &[id]);
        // Another session's write is no retry of it.
        let after = ["succeeded", "conflicted_again"].map(|outcome| retries(&stage, outcome));
        assert_eq!(after, [before[0], before[1] + 1.0]);
        assert_eq!(commands(&mine.say(protocol, WRITE, &["mine", id])), ["UPDATE 1"]);
        let after = ["succeeded", "conflicted_again"].map(|outcome| retries(&stage, outcome));
        assert_eq!(after, [before[0] + 1.0, before[1] + 1.0]);
        assert_eq!(commands(&mine.say(protocol, WRITE, &["mine", id])), ["UPDATE 1"]);
        assert_eq!(retries(&stage, "succeeded"), before[0] + 1.0);
    }
    // In guard form, in a list of rows.
    let mut mine = stage.session();
    mine.ok("select id, name, budget from projects where id in (3, 4)");
    stage.other_writes("update projects set name = 'theirs' where id = 3");
    let list = "update projects set name = 'mine' where id in (3, 4) returning id";
    assert_eq!(sqlstate(&mine.query(list)), "40001");
    mine.ok("select id, name, budget from projects where id in (3, 4)");
    assert_eq!(rows(&mine.query(list)).len(), 2);
    assert_eq!(retries(&stage, "succeeded"), 3.0);
    // Nobody comes back for this one.
    let mut other = stage.session();
    other.ok("select id, name, budget from projects where id = 5");
    stage.other_writes("update projects set name = 'theirs' where id = 5");
    assert_eq!(sqlstate(&other.query("update projects set name = 'mine' where id = 5")), "40001");
    let mut ticks = 0;
    while retries(&stage, "abandoned") < 1.0 {
        ticks += 1;
        assert!(ticks < 300, "the refused write is never given up");
        std::thread::park_timeout(std::time::Duration::from_millis(100));
    }
}

#[test]
fn conflicts_are_counted_by_user_and_the_number_of_users_is_bounded() {
    let stage =
        stage_with(&["--scope", "context", "--context-label", "comment:user", "--metrics-max-users", "1"]);
    let by_user = |user: &str| stage.proxy.metric("staleguard_conflicts_by_user_total", &[("user_id", user)]);
    for (n, (user, shown)) in [("ada", "ada"), ("bob", "other"), ("ada", "ada")].into_iter().enumerate() {
        let id = n + 1;
        let mut mine = stage.session();
        mine.ok(&format!("select id, name, budget from projects where id = {id} /*user='{user}'*/"));
        stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
        let before = by_user(shown);
        let write = format!("update projects set name = 'mine' where id = {id} /*user='{user}'*/");
        assert_eq!(sqlstate(&mine.query(&write)), "40001");
        assert_eq!(by_user(shown), before + 1.0, "{user}");
    }
}

#[test]
fn three_refusals_without_a_read_tell_the_operator_what_to_change() {
    let stage = stage_with(&["--scope", "context", "--context-label", "comment:user"]);
    let mut mine = stage.session();
    mine.ok("select id, name, budget from projects where id = 1 /*user='ada'*/");
    stage.other_writes("update projects set name = 'theirs' where id = 1");
    for _ in 0..4 {
        let reply = mine.query("update projects set name = 'mine' where id = 1 /*user='ada'*/");
        on_project("1", 1, Some(2)).check(&reply, 'I');
    }
    let told = |line: &str| line.contains("context.after_conflict");
    assert!(stage.proxy.log().wait(told).is_some());
    assert_eq!(stage.proxy.log().lines().iter().filter(|line| told(line)).count(), 1);
}

#[test]
fn a_connection_that_serves_a_pool_is_noticed_once() {
    let stage = stage_with(&[]);
    let notices = || {
        let (_, body) = stage.proxy.get("/status");
        serde_json::from_str::<serde_json::Value>(&body).unwrap()["notices"].as_array().unwrap().len()
    };
    let mut mine = stage.session();
    for _ in 0..2 {
        mine.ok("select id, name from projects where id = 1");
        mine.ok("discard all");
    }
    assert_eq!(notices(), 0);
    mine.ok("discard all");
    assert_eq!(notices(), 1);
    let mut named = stage.session();
    for name in ["a", "b", "c", "d"] {
        named.ok(&format!("set application_name = '{name}'"));
    }
    let told = |line: &str| line.contains("evidently serves a pool");
    assert!(stage.proxy.log().wait(told).is_some());
    assert_eq!(stage.proxy.log().lines().iter().filter(|line| told(line)).count(), 1);
    // In scope context that is as it should be.
    let stage = stage_with(&["--scope", "context", "--context-label", "comment:user"]);
    let mut mine = stage.session();
    for _ in 0..4 {
        mine.ok("discard all");
    }
    let (head, body) = stage.proxy.get("/status");
    assert!(head.contains("200 OK"), "{head}");
    let status: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&status["scope"], &status["notices"]), (&"context".into(), &serde_json::json!([])));
}

#[test]
fn a_locking_read_counts_for_its_own_unit_where_the_table_says_so() {
    // A lock that lets others lock too is none for writing, and one of another table is none of this.
    const LOCKS: [(&str, bool); 6] = [
        ("for update", true),
        ("for no key update of p", true),
        ("for update of u, p", true),
        ("for share", false),
        ("for key share of u for update of p", true),
        ("for update of u", false),
    ];
    for refreshes in [false, true] {
        let stage = configured(&format!(
            "scope = 'context'\n[context]\nlabel = ['comment:user']\n\
             [tables.projects]\nfor_update_refreshes = {refreshes}\n[tables.users]\n"
        ));
        for (n, (lock, locks)) in LOCKS.into_iter().enumerate() {
            let id = n + 1;
            let mut mine = stage.session();
            mine.ok(&format!("select id, name from projects where id = {id} /*user='ada'*/"));
            stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
            mine.ok("begin");
            let read = format!("select p.id, p.name from projects p, users u where p.id = {id} and u.id = 1");
            mine.ok(&format!("{read} {lock} /*user='ada'*/"));
            let write = format!("update projects set name = 'mine' where id = {id} /*user='ada'*/");
            assert_eq!(error(&mine.query(&write)).is_none(), refreshes && locks, "{refreshes} {lock}");
            mine.ok("rollback");
        }
    }
}

#[test]
fn contexts_survive_a_planned_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("contexts.jsonl");
    let flags = [
        "--scope",
        "context",
        "--context-label",
        "comment:user",
        "--context-snapshot",
        file.to_str().unwrap(),
    ];
    let stage = stage_with(&flags);
    let mut mine = stage.session();
    mine.ok("select id, name from projects where id in (1, 2, 3) /*user='ada'*/");
    mine.ok("select id, budget from projects where id in (1, 2, 3) /*user='bob'*/");
    mine.ok("update projects set name = 'ada''s' where id = 2 /*user='ada'*/");
    mine.ok("delete from projects where id = 3 /*user='ada'*/");
    drop(mine);
    let Stage { proxy, cluster } = stage;
    assert!(proxy.signal("TERM").success());
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.lines().count() == 3 && !text.contains("ada's") && !text.contains("project "), "{text}");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&file).unwrap());
    assert_eq!(mode & 0o777, 0o600);

    let mut direct = cluster.direct("proxied");
    direct.ok("update projects set name = 'theirs', version = version + 1 where id = 1");
    let proxy = Proxy::start(&cluster, &flags);
    // It is used once: after a crash it would tell of reads that were not the last.
    assert!(!file.exists());
    let mut mine = proxy.session();
    let write =
        |id: &str, user: &str| format!("update projects set name = 'mine' where id = {id} /*user='{user}'*/");
    on_project("1", 1, Some(2)).check(&mine.query(&write("1", "ada")), 'I');
    // An own write before the restart is no conflict after it; the other's read is older than that.
    assert_eq!(commands(&mine.query(&write("2", "ada"))), ["UPDATE 1"]);
    on_project("2", 1, Some(3)).check(&mine.query(&write("2", "bob")), 'I');
    // What ada deleted herself is none of her conflicts; bob's is gone.
    assert_eq!(commands(&mine.query(&write("3", "ada"))), ["UPDATE 0"]);
    on_project("3", 1, None).check(&mine.query(&write("3", "bob")), 'I');
    drop(mine);
    assert!(proxy.signal("TERM").success());

    // Its version column is another: what was known of it is void.
    direct
        .ok("alter table projects drop version; alter table projects add version integer not null default 1");
    direct.ok("update projects set version = 9");
    let proxy = Proxy::start(&cluster, &flags);
    assert_eq!(commands(&proxy.session().query(&write("1", "ada"))), ["UPDATE 1"]);
    assert!(proxy.signal("TERM").success());

    // One that cannot be read is told of, and the proxy starts.
    std::fs::write(&file, "{\"staleguard_contexts\":1").unwrap();
    let proxy = Proxy::start(&cluster, &flags);
    let told = |line: &str| line.contains("snapshot of contexts was not read");
    assert!(proxy.log().wait(told).is_some());
    assert_eq!(commands(&proxy.session().query(&write("1", "ada"))), ["UPDATE 1"]);
}

#[test]
fn conflicts_that_a_repeat_cannot_mend_have_a_code_of_their_own() {
    let flags = ["--conflict-lasting-sqlstate", "PT409"];
    let write = "update projects set name = 'mine' where id = 1";
    for (scope, text, code) in [
        (&["--scope", "connection"][..], write.to_owned(), "40001"),
        (&["--scope", "connection"], write.replace(" where", ", version = 1 where"), "PT409"),
        (&["--scope", "connection"], format!("/*expected_version=1*/ {write}"), "PT409"),
        (
            &["--scope", "context", "--context-label", "comment:user"],
            format!("{write} /*user='ada'*/"),
            "PT409",
        ),
    ] {
        let stage = stage_with(&[&flags[..], scope].concat());
        let mut mine = stage.session();
        mine.ok("select id, name from projects where id = 1 /*user='ada'*/");
        stage.other_writes("update projects set name = 'theirs' where id = 1");
        assert_eq!(sqlstate(&mine.query(&text)), code, "{text}");
        if !text.contains("version") {
            // In guard form too.
            let list = text.replace("id = 1", "id in (1, 2)");
            assert_eq!(sqlstate(&mine.query(&list)), code, "{list}");
        }
    }
}
