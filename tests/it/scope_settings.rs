//! What the settings of scopes change, and what `docs/scopes.md` says to set up.

use crate::common::conflict::on_project;
use crate::common::frames::Frame;
use crate::common::raw::{BOTH, Protocol, Raw, commands, error, sqlstate, status};
use crate::common::twin::{Stage, stage_with};

const READ: &str = "select id, name, budget from projects where id = $1";
const WRITE: &str = "update projects set name = $1 where id = $2";

fn context(extra: &[&str]) -> Stage {
    stage_with(&[&["--scope", "context"], extra].concat())
}

fn hint(reply: &[Frame]) -> String {
    error(reply).and_then(|e| e.field('H')).unwrap_or_default()
}

/// A session that labels its transactions as `docs/scopes.md` shows: by settings, at their begin.
struct Labelled<'a> {
    connection: &'a mut Raw,
    protocol: Protocol,
    label: &'a str,
    request: u32,
}

impl Labelled<'_> {
    fn begin(&mut self) {
        self.connection.ok("begin");
        let set =
            "select set_config('app.user_id', $1::varchar, true), set_config('app.request_id', $2, true)";
        let request = self.request.to_string();
        let reply = self.connection.say(self.protocol, set, &[self.label, &request]);
        assert_eq!(commands(&reply), ["SELECT 1"], "{reply:?}");
    }

    fn form(&mut self, id: &str) {
        self.begin();
        self.connection.say(self.protocol, READ, &[id]);
        self.connection.ok("rollback");
        self.request += 1;
    }

    /// A handler that commits twice: it reads the row and commits, reads it again and writes it.
    fn save(&mut self, id: &str, name: &str) -> Vec<Frame> {
        self.begin();
        self.connection.say(self.protocol, READ, &[id]);
        self.connection.ok("commit");
        self.begin();
        self.connection.say(self.protocol, READ, &[id]);
        let reply = self.connection.say(self.protocol, WRITE, &[name, id]);
        self.connection.ok(if status(&reply) == 'E' { "rollback" } else { "commit" });
        self.request += 1;
        reply
    }
}

const BY_SETTING: [&str; 4] =
    ["--context-label", "setting:app.user_id", "--context-unit", "setting:app.request_id"];

#[test]
fn two_tabs_are_told_apart_by_a_label_per_tab_and_not_by_a_label_per_user() {
    let stage = context(&BY_SETTING);
    let mut pool = stage.session();
    let mut request = 0;
    for (n, (protocol, id)) in BOTH.into_iter().enumerate() {
        let mut say = |label: &str, name: Option<&str>| {
            request += 100;
            let mut tab = Labelled { connection: &mut pool, protocol, label, request };
            match name {
                None => {
                    tab.form(id);
                    Vec::new()
                }
                Some(name) => tab.save(id, name),
            }
        };
        // One label per user: the second save passes.
        let user = format!("user-{n}");
        say(&user, None);
        say(&user, None);
        assert_eq!(commands(&say(&user, Some("first"))), ["UPDATE 1"]);
        assert_eq!(commands(&say(&user, Some("second"))), ["UPDATE 1"]);
        // One per tab: it is refused, although the handler has read the row again and committed in between.
        let (one, two) = (format!("{user}:a"), format!("{user}:b"));
        say(&one, None);
        say(&two, None);
        assert_eq!(commands(&say(&one, Some("third"))), ["UPDATE 1"]);
        let reply = say(&two, Some("fourth"));
        on_project(id, 3, Some(4)).check(&reply, 'E');
        assert_eq!(stage.behind().value(&format!("select name from projects where id = {id}")), "third");
    }
}

#[test]
fn a_handler_that_commits_twice_is_caught_with_a_request_key_alone() {
    for (arguments, caught) in [(&BY_SETTING[..], true), (&BY_SETTING[..2], false)] {
        let stage = context(arguments);
        for (protocol, id) in BOTH {
            let mut pool = stage.session();
            let mut mine = Labelled { connection: &mut pool, protocol, label: "7", request: 1 };
            mine.form(id);
            stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
            let reply = mine.save(id, "mine");
            if caught {
                on_project(id, 1, Some(2)).check(&reply, 'E');
            } else {
                assert_eq!(commands(&reply), ["UPDATE 1"]);
            }
        }
    }
}

#[test]
fn a_hint_refuses_the_second_tab_of_one_user() {
    let stage = context(&BY_SETTING);
    for (protocol, id) in BOTH {
        let mut pool = stage.session();
        Labelled { connection: &mut pool, protocol, label: "7", request: 1 }.form(id);
        let hinted = "update /* expected_version=1 */ projects set name = $1 where id = $2";
        for (name, refused) in [("first", false), ("second", true)] {
            let mut tab = Labelled { connection: &mut pool, protocol, label: "7", request: 2 };
            tab.begin();
            let reply = tab.connection.say(protocol, hinted, &[name, id]);
            if refused {
                on_project(id, 1, Some(2)).check(&reply, 'E');
                assert!(hint(&reply).contains("named in the statement's comment"), "{}", hint(&reply));
            } else {
                assert_eq!(commands(&reply), ["UPDATE 1"]);
            }
            pool.ok(if refused { "rollback" } else { "commit" });
        }
    }
}

#[test]
fn the_error_names_the_scope_and_the_log_names_the_label() {
    let stage = context(&BY_SETTING);
    for (protocol, id) in BOTH {
        let mut pool = stage.session();
        let label = format!("user {id}");
        let mut mine = Labelled { connection: &mut pool, protocol, label: &label, request: 1 };
        mine.form(id);
        stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
        for _ in 0..2 {
            // Also where it is refused again: what counts is when version 1 was seen, not that the row was read since.
            let reply = mine.save(id, "mine");
            on_project(id, 1, Some(2)).check(&reply, 'E');
            let hint = hint(&reply);
            let start = "Read the row again in a new request and retry. Version 1 was last seen ";
            assert!(hint.starts_with(start) && hint.ends_with(" ago (scope: context)."), "{hint}");
        }
        let event = |line: &str| {
            [
                "\"target\":\"staleguard::conflict\"",
                &format!("\"user_id\":\"{label}\""),
                "\"scope\":\"context\"",
                &format!("\"entity_id\":\"{id}\""),
            ]
            .iter()
            .all(|part| line.contains(part))
        };
        assert!(stage.proxy.log().wait(event).is_some(), "{}", stage.proxy.log().text());
    }
}

#[test]
fn scope_transaction_forgets_at_the_end_of_the_transaction_and_names_itself() {
    let stage = stage_with(&["--scope", "transaction"]);
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        let theirs = format!("update projects set name = 'theirs' where id = {id}");
        // Read and written in one transaction, another's write between.
        mine.ok("begin");
        mine.say(protocol, READ, &[id]);
        stage.other_writes(&theirs);
        let reply = mine.say(protocol, WRITE, &["mine", id]);
        on_project(id, 1, Some(2)).check(&reply, 'E');
        assert!(hint(&reply).ends_with("(scope: transaction)."), "{}", hint(&reply));
        mine.ok("rollback");
        // In two: nothing is known any more.
        mine.ok("begin");
        mine.say(protocol, READ, &[id]);
        mine.ok("commit");
        stage.other_writes(&theirs);
        assert_eq!(commands(&mine.say(protocol, WRITE, &["mine", id])), ["UPDATE 1"]);
        let event =
            |line: &str| line.contains("\"scope\":\"transaction\"") && line.contains("\"user_id\":null");
        assert!(stage.proxy.log().wait(event).is_some());
    }
    assert_eq!(
        stage
            .proxy
            .metric("staleguard_blind_writes_total", &[("table", "projects"), ("cause", "never_read")]),
        6.0,
        "two by others and one of mine in each protocol"
    );
}

#[test]
fn an_exception_gives_workers_a_scope_of_their_own() {
    let stage =
        context(&["--context-label", "setting:app.user_id", "--scope-exceptions", "role=app:connection"]);
    for (protocol, id) in BOTH {
        let mut worker = stage.proxy.session_of("app", "proxied");
        worker.say(protocol, READ, &[id]);
        stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
        let reply = worker.say(protocol, WRITE, &["mine", id]);
        on_project(id, 1, Some(2)).check(&reply, 'I');
        assert!(hint(&reply).ends_with("(scope: connection)."), "{}", hint(&reply));
        // Its own read mends it: the reading and the writing need not be of two requests.
        worker.say(protocol, READ, &[id]);
        assert_eq!(commands(&worker.say(protocol, WRITE, &["mine", id])), ["UPDATE 1"]);
    }
}

#[test]
fn a_session_table_tells_the_user_of_autocommit_with_sticky() {
    let stage =
        context(&["--context-label", "lookup:django_session.session_key", "--context-sticky", "true"]);
    stage.behind().ok(
        "create table django_session (session_key varchar(40) primary key, session_data text, expire_date timestamptz);
         insert into django_session values ('ada-secret', '', now() + '1 day'), ('bob-secret', '', now() + '1 day')",
    );
    let who = "SELECT \"django_session\".\"session_key\", \"django_session\".\"session_data\" FROM \"django_session\" \
               WHERE (\"django_session\".\"expire_date\" > '2020-01-01 00:00:00+00:00'::timestamptz \
               AND \"django_session\".\"session_key\" = $1) LIMIT 21";
    for (protocol, id) in BOTH {
        let mut pool = stage.session();
        // Each request: the session, then its work, each statement a transaction of its own.
        let mut request = |user: &str, write: Option<&str>| {
            let reply = pool.say(protocol, who, &[user]);
            assert_eq!(commands(&reply), ["SELECT 1"], "{reply:?}");
            pool.say(protocol, READ, &[id]);
            write.map(|name| pool.say(protocol, WRITE, &[name, id]))
        };
        request("ada-secret", None);
        request("bob-secret", None);
        assert_eq!(commands(&request("ada-secret", Some("ada's")).unwrap()), ["UPDATE 1"]);
        on_project(id, 1, Some(2)).check(&request("bob-secret", Some("bob's")).unwrap(), 'I');
        assert_eq!(sqlstate(&request("bob-secret", Some("bob's")).unwrap()), "40001");
        request("bob-secret", None);
        assert_eq!(commands(&request("bob-secret", Some("bob's")).unwrap()), ["UPDATE 1"]);
    } // A session's key is a secret: whoever reads it could go on with the session.
    let (_, metrics) = stage.proxy.get("/metrics");
    let log = stage.proxy.log().text();
    assert!(
        metrics.contains("staleguard_conflicts_by_user_total{user_id=\"~") && log.contains("\"user_id\":\"~"),
        "{log}"
    );
    assert!(!metrics.contains("secret") && !log.contains("secret"), "{log}\n{metrics}");
}

#[test]
fn without_a_label_the_transaction_alone_counts_and_that_is_counted() {
    let stage = context(&["--context-label", "comment:user"]);
    let no_label = || {
        stage.proxy.metric("staleguard_blind_writes_total", &[("table", "projects"), ("cause", "no_label")])
    };
    for (n, (protocol, id)) in BOTH.into_iter().enumerate() {
        let theirs = format!("update projects set name = 'theirs' where id = {id} /*user='other'*/");
        let before = no_label();
        let mut mine = stage.session();
        mine.ok("begin");
        mine.say(protocol, READ, &[id]);
        stage.other_writes(&theirs);
        on_project(id, 1, Some(2)).check(&mine.say(protocol, WRITE, &["mine", id]), 'E');
        mine.ok("rollback");
        mine.say(protocol, READ, &[id]);
        stage.other_writes(&theirs);
        assert_eq!(commands(&mine.say(protocol, WRITE, &["mine", id])), ["UPDATE 1"], "{n}");
        assert_eq!(no_label(), before + 1.0);
    }
    // A table that refuses blind writes says why.
    let stage = context(&["--context-label", "comment:user", "--blind", "reject"]);
    let reply = stage.session().query("update projects set name = 'x' where id = 1");
    let message = error(&reply).and_then(|e| e.field('M')).unwrap_or_default();
    assert_eq!(
        message,
        "blind write on project 1: no label tells whose reads count, and this transaction has not read the row"
    );
}

#[test]
fn after_conflict_told_lets_a_bare_repeat_through() {
    let stage = context(&[&BY_SETTING[..], &["--context-after-conflict", "told"]].concat());
    for (protocol, id) in BOTH {
        let mut pool = stage.session();
        let mut mine = Labelled { connection: &mut pool, protocol, label: id, request: 1 };
        mine.form(id);
        stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
        on_project(id, 1, Some(2)).check(&mine.save(id, "mine"), 'E');
        assert_eq!(commands(&mine.save(id, "mine")), ["UPDATE 1"]);
    }
}

#[test]
fn contexts_are_measured_and_their_reach_is_told() {
    let stage = context(&BY_SETTING);
    let warns = |line: &str| line.contains("\"WARNING\"") && line.contains("known to this process alone");
    assert!(stage.proxy.log().wait(warns).is_some(), "{}", stage.proxy.log().text());
    let mut pool = stage.session();
    for (protocol, id) in BOTH {
        Labelled { connection: &mut pool, protocol, label: id, request: 1 }.form(id);
    }
    // They are brought up to date every few seconds.
    let began = std::time::Instant::now();
    while stage.proxy.metric("staleguard_contexts", &[]) < 2.0 {
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "no contexts are told");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(stage.proxy.metric("staleguard_contexts", &[]), 2.0);
    assert_eq!(stage.proxy.metric("staleguard_context_rows", &[]), 2.0);
    let bytes = stage.proxy.metric("staleguard_context_bytes", &[]);
    assert!((1000.0..10_000.0).contains(&bytes), "{bytes}");
    for name in ["staleguard_context_rows_evicted_total", "staleguard_context_rows_expired_total"] {
        assert_eq!(stage.proxy.metric(name, &[]), 0.0);
        assert!(stage.proxy.get("/metrics").1.contains(name));
    }
    // Where no scope is context nothing is said.
    let silent = stage_with(&[]);
    silent.session().ok("select 1");
    assert!(!silent.proxy.log().lines().iter().any(|line| warns(line)));
}

#[test]
fn what_does_not_go_together_stops_the_program() {
    let run = |arguments: &[&str]| {
        let mut command = crate::common::proxy::staleguard();
        crate::common::proxy::to_end(command.args(arguments).args(["--upstream", "127.0.0.1:1"]))
    };
    for command in ["check-config", "serve"] {
        let (status, said) = run(&[command, "--scope", "context"]);
        assert_eq!(status.code(), Some(2), "{said}");
        assert!(
            said.contains("context.label = (none) (built in) does not go with scope = \"context\""),
            "{said}"
        );
    }
    let (status, said) = run(&["check-config", "--scope", "context", "--context-label", "role"]);
    assert!(status.success() && said.contains("scope = \"context\"    # from the flag --scope"), "{said}");
}
