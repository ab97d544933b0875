//! Scope `context`: each source of a label, as long as it lasts, over pooled connections.

use std::cell::Cell;

use crate::common::conflict::on_project;
use crate::common::frames::{self, Frame};
use crate::common::raw::{Protocol, Raw, commands, error, sqlstate, status};
use crate::common::twin::{Stage, stage_with};

mod cycles;
mod lasting;
mod lookups;
mod units;

const READ: &str = "select id, name, budget from projects where id = $1";
const WRITE: &str = "update projects set name = $1 where id = $2";
const PROTOCOLS: [Protocol; 2] = [Protocol::Simple, Protocol::Extended];

/// A stage in scope `context`, and rows that no other part of the test has used.
struct Desk {
    stage: Stage,
    next: Cell<u32>,
}

impl Desk {
    fn new(settings: &[&str]) -> Self {
        let stage = stage_with(&[&["--scope", "context"], settings].concat());
        stage.behind().ok(
            "insert into projects (id, name, budget) select i, 'project ' || i, i from generate_series(100, 500) i;
             create role ada login; create role bob login; grant app to ada, bob",
        );
        Self { stage, next: Cell::new(100) }
    }

    /// The key of a fresh row, at version 1.
    fn row(&self) -> String {
        self.next.set(self.next.get() + 1);
        self.next.get().to_string()
    }

    fn session(&self) -> Raw {
        self.stage.session()
    }

    /// Someone else changes the row.
    fn other_writes(&self, id: &str) {
        self.stage
            .behind()
            .ok(&format!("update projects set name = 'theirs', version = version + 1 where id = {id}"));
    }

    fn blind(&self, cause: &str) -> f64 {
        self.stage.proxy.metric("staleguard_blind_writes_total", &[("cause", cause)])
    }
}

/// A statement that must not fail.
fn fine(reply: Vec<Frame>) -> Vec<Frame> {
    assert!(error(&reply).is_none(), "{reply:?}");
    reply
}

/// How an application says who is at work; `{}` stands for the user, `$1` for a parameter with the user.
#[derive(Debug, Clone, Copy, Default)]
struct Way<'a> {
    /// Before BEGIN.
    before: &'a str,
    /// Behind BEGIN.
    inside: &'a str,
    /// Around each statement of the transaction.
    prefix: &'a str,
    suffix: &'a str,
    /// Behind the end of the transaction.
    after: &'a str,
}

impl Way<'_> {
    fn of(text: &str, user: &str) -> String {
        text.replace("{}", user)
    }

    fn say(connection: &mut Raw, protocol: Protocol, text: &str, user: &str) {
        if !text.is_empty() {
            let values: &[&str] = if text.contains("$1") { &[user] } else { &[] };
            fine(connection.say(protocol, &Self::of(text, user), values));
        }
    }

    fn statement(
        &self,
        connection: &mut Raw,
        protocol: Protocol,
        user: &str,
        sql: &str,
        values: &[&str],
    ) -> Vec<Frame> {
        let sql = format!("{}{sql}{}", Self::of(self.prefix, user), Self::of(self.suffix, user));
        connection.say(protocol, &sql, values)
    }

    /// One transaction that reads the row and, if there is a name, writes it. The reply to the last statement.
    fn transaction(
        &self,
        connection: &mut Raw,
        protocol: Protocol,
        user: &str,
        id: &str,
        name: Option<&str>,
    ) -> Vec<Frame> {
        Self::say(connection, protocol, self.before, user);
        connection.ok("begin");
        Self::say(connection, protocol, self.inside, user);
        let mut reply = fine(self.statement(connection, protocol, user, READ, &[id]));
        if let Some(name) = name {
            reply = self.statement(connection, protocol, user, WRITE, &[name, id]);
        }
        let end = if name.is_some() && status(&reply) == 'T' { "commit" } else { "rollback" };
        connection.ok(end);
        Self::say(connection, protocol, self.after, user);
        reply
    }
}

/// Two users open the same form on one connection and save it on another: the second is refused.
fn tells_apart(desk: &Desk, way: Way<'_>, [ada, bob]: [&str; 2]) {
    for protocol in PROTOCOLS {
        let id = desk.row();
        let (mut one, mut two) = (desk.session(), desk.session());
        for user in [ada, bob] {
            way.transaction(&mut one, protocol, user, &id, None);
        }
        let told = format!("{way:?} {protocol:?}");
        let reply = way.transaction(&mut two, protocol, ada, &id, Some("ada's"));
        assert_eq!(commands(&reply), ["UPDATE 1"], "{told}");
        let reply = way.transaction(&mut two, protocol, bob, &id, Some("bob's"));
        assert_eq!(sqlstate(&reply), "40001", "{told}: {reply:?}");
        on_project(&id, 1, Some(2)).check(&reply, 'E');
        // Another form, and it may be saved.
        way.transaction(&mut one, protocol, bob, &id, None);
        let reply = way.transaction(&mut two, protocol, bob, &id, Some("bob's"));
        assert_eq!(commands(&reply), ["UPDATE 1"], "{told}");
        assert_eq!(desk.stage.version("projects", &format!("id = {id}")), "3");
    }
}

#[test]
fn comments_tell_users_apart() {
    let desk = Desk::new(&["--context-label", "comment:user"]);
    for (prefix, suffix) in [
        ("", " /*user='{}'*/"),
        ("/*user='{}',action='show'*/ ", ""),
        ("", " /*action='it\\'s',user='{}'*/"),
        ("", " /*application:crm,user:{}*/"),
        ("", " /* user={} */"),
        ("", " -- user='{}'"),
    ] {
        let way = Way { prefix, suffix, ..Way::default() };
        // URL-encoded they are the same users.
        tells_apart(&desk, way, ["ada%20l", "bob%2Cthe%20builder"]);
    }
    // Encoded or not, it is the same user.
    let id = desk.row();
    let mut one = desk.session();
    fine(one.query(&format!("select name from projects where id = {id} /*user='a%20b'*/")));
    desk.other_writes(&id);
    let reply = one.query(&format!("/*user:a b*/ update projects set name = 'x' where id = {id}"));
    on_project(&id, 1, Some(2)).check(&reply, 'I');
}

#[test]
fn settings_tell_users_apart() {
    let desk = Desk::new(&["--context-label", "setting:app.user_id"]);
    for way in [
        Way { before: "set app.user_id = '{}'", ..Way::default() },
        Way { before: "SET SESSION App.User_Id TO '{}'", after: "reset app.user_id", ..Way::default() },
        Way { before: "set app.user_id to {}", after: "reset all", ..Way::default() },
        Way { before: "select set_config('app.user_id', '{}', false)", ..Way::default() },
        Way { before: "select set_config('app.user_id', $1, false)", after: "discard all", ..Way::default() },
        Way { inside: "set local app.user_id = '{}'", ..Way::default() },
        Way { inside: "set app.user_id = '{}'", ..Way::default() },
        Way { inside: "select set_config('app.user_id', '{}', true)", ..Way::default() },
        Way { inside: "select pg_catalog.set_config('app.user_id', $1::text, true)", ..Way::default() },
    ] {
        tells_apart(&desk, way, ["ada", "bob"]);
    }
}

#[test]
fn a_setting_is_told_by_binary_parameters_and_prepared_statements_too() {
    let desk = Desk::new(&["--context-label", "setting:app.user_id"]);
    let mut one = desk.session();
    one.exchange(&[
        frames::parse("who", "select set_config('app.user_id', $1, true)", &[25]),
        frames::parse("read", READ, &[23]),
        frames::sync(),
    ]);
    let unit = |one: &mut Raw, user: &str, id: &str, name: Option<&str>| {
        one.ok("begin");
        let id4 = id.parse::<i32>().unwrap().to_be_bytes();
        fine(one.exchange(&[
            frames::bind_raw("", "who", &[1], &[Some(user.as_bytes())], &[1]),
            frames::execute("", 0),
            frames::sync(),
        ]));
        let mut reply = fine(one.exchange(&[
            frames::bind_raw("", "read", &[1], &[Some(&id4)], &[1]),
            frames::execute("", 0),
            frames::sync(),
        ]));
        if let Some(name) = name {
            reply = one.extended(WRITE, &[name, id]);
        }
        one.ok(if status(&reply) == 'T' { "commit" } else { "rollback" });
        reply
    };
    let id = desk.row();
    unit(&mut one, "ada", &id, None);
    unit(&mut one, "bob", &id, None);
    assert_eq!(commands(&unit(&mut one, "ada", &id, Some("ada's"))), ["UPDATE 1"]);
    on_project(&id, 1, Some(2)).check(&unit(&mut one, "bob", &id, Some("bob's")), 'E');
    // By PREPARE and EXECUTE.
    let id = desk.row();
    let way = Way { inside: "execute tell('{}')", ..Way::default() };
    one.ok("prepare tell(text) as select set_config('app.user_id', $1, true)");
    for user in ["ada", "bob"] {
        way.transaction(&mut one, Protocol::Simple, user, &id, None);
    }
    let reply = way.transaction(&mut one, Protocol::Simple, "ada", &id, Some("ada's"));
    assert_eq!(commands(&reply), ["UPDATE 1"]);
    let reply = way.transaction(&mut one, Protocol::Simple, "bob", &id, Some("bob's"));
    on_project(&id, 1, Some(2)).check(&reply, 'E');
}

#[test]
fn application_names_tell_users_apart() {
    let desk = Desk::new(&["--context-label", "application_name"]);
    for way in [
        Way { before: "set application_name = '{}'", ..Way::default() },
        Way { inside: "set local application_name to '{}'", ..Way::default() },
        Way { inside: "select set_config('application_name', $1, true)", ..Way::default() },
        Way { before: "set application_name = '{}'", after: "reset application_name", ..Way::default() },
    ] {
        tells_apart(&desk, way, ["ada", "bob"]);
    }
}

#[test]
fn roles_tell_users_apart() {
    let desk = Desk::new(&["--context-label", "role"]);
    for way in [
        Way { before: "set role {}", after: "reset role", ..Way::default() },
        Way { before: "set role '{}'", after: "set role none", ..Way::default() },
        Way { inside: "set local role {}", ..Way::default() },
        Way {
            before: "set session authorization {}",
            after: "reset session authorization",
            ..Way::default()
        },
        Way { inside: "set local session authorization '{}'", ..Way::default() },
        Way { inside: "select set_config('role', $1, true)", ..Way::default() },
    ] {
        tells_apart(&desk, way, ["ada", "bob"]);
    }
}

/// Whose session it is from its start-up packet on: `sessions` opens one for a user.
fn told_at_the_start(desk: &Desk, sessions: impl Fn(&str) -> Raw) {
    for protocol in PROTOCOLS {
        let id = desk.row();
        let way = Way::default();
        for user in ["ada", "bob"] {
            way.transaction(&mut sessions(user), protocol, user, &id, None);
        }
        let reply = way.transaction(&mut sessions("ada"), protocol, "", &id, Some("ada's"));
        assert_eq!(commands(&reply), ["UPDATE 1"]);
        let reply = way.transaction(&mut sessions("bob"), protocol, "", &id, Some("bob's"));
        on_project(&id, 1, Some(2)).check(&reply, 'E');
    }
}

#[test]
fn the_start_of_a_session_may_tell_whose_it_is() {
    let connect = |desk: &Desk, user: &str, more: (&str, &str)| {
        let parameters = [("user", user), ("database", "proxied"), more];
        Raw::connect_with(desk.stage.proxy.address(), &parameters)
    };
    let desk = Desk::new(&["--context-label", "setting:app.user_id"]);
    told_at_the_start(&desk, |user| {
        connect(&desk, "postgres", ("options", &format!("-c app.user_id={user}")))
    });
    told_at_the_start(&desk, |user| {
        connect(&desk, "postgres", ("options", &format!("-c geqo=on --app.user_id={user}")))
    });
    told_at_the_start(&desk, |user| connect(&desk, "postgres", ("app.user_id", user)));
    let desk = Desk::new(&["--context-label", "application_name"]);
    told_at_the_start(&desk, |user| connect(&desk, "postgres", ("application_name", user)));
    told_at_the_start(&desk, |user| {
        connect(&desk, "postgres", ("options", &format!("-c application_name={user}")))
    });
    let desk = Desk::new(&["--context-label", "role"]);
    told_at_the_start(&desk, |user| connect(&desk, user, ("application_name", "x")));
    told_at_the_start(&desk, |user| connect(&desk, "postgres", ("options", &format!("-c role={user}"))));
}

#[test]
fn the_first_source_that_yields_a_label_counts() {
    let desk = Desk::new(&["--context-label", "comment:user,setting:app.user_id,application_name"]);
    let id = desk.row();
    let mut one = desk.session();
    let read = format!("select name from projects where id = {id}");
    let write = format!("update projects set name = 'x' where id = {id}");
    // The comment is ada's, whatever else is set.
    one.ok("set application_name = 'app'");
    one.ok("set app.user_id = 'set'");
    one.ok(&format!("{read} /*user='ada'*/"));
    desk.other_writes(&id);
    assert_eq!(commands(&one.query(&write)), ["UPDATE 1"]);
    on_project(&id, 1, Some(3)).check(&one.query(&format!("{write} /*user='ada'*/")), 'I');
    // Without a comment it is the setting.
    one.ok(&read);
    desk.other_writes(&id);
    one.ok("set app.user_id = ''");
    // An empty one is none: the application's name counts, who has read nothing yet.
    assert_eq!(commands(&one.query(&write)), ["UPDATE 1"]);
    one.ok(&read);
    one.ok("set app.user_id = 'set'");
    on_project(&id, 3, Some(5)).check(&one.query(&write), 'I');
    one.ok("reset app.user_id");
    desk.other_writes(&id);
    on_project(&id, 5, Some(6)).check(&one.query(&write), 'I');
}

#[test]
fn scopes_may_be_chosen_by_application_database_and_role() {
    let desk = Desk::new(&[
        "--context-label",
        "comment:user",
        "--scope-exceptions",
        "application_name=worker-*:connection,role=app:transaction,database=postgres:connection",
    ]);
    let connect = |user: &str, name: &str| {
        let parameters = [("user", user), ("database", "proxied"), ("application_name", name)];
        Raw::connect_with(desk.stage.proxy.address(), &parameters)
    };
    for protocol in PROTOCOLS {
        for (user, name, refused) in [
            // Its connection's reads count, whatever comments say.
            ("postgres", "worker-1", true),
            // No label of its own, so its transaction's alone.
            ("postgres", "worker", false),
            ("app", "", false),
            ("app", "worker-2", true),
        ] {
            let id = desk.row();
            let mut one = connect(user, name);
            fine(one.say(protocol, &format!("{READ} /*user='ada'*/"), &[&id]));
            desk.other_writes(&id);
            let reply = one.say(protocol, &format!("{WRITE} /*user='{name}'*/"), &["x", &id]);
            assert_eq!(sqlstate(&reply) == "40001", refused, "{user} {name}: {reply:?}");
        }
    }
}

#[test]
fn in_scope_transaction_earlier_transactions_do_not_count() {
    let stage = stage_with(&["--scope", "transaction"]);
    for (protocol, id) in crate::common::raw::BOTH {
        let mut mine = stage.session();
        let mut version = 1;
        for end in ["commit", "rollback"] {
            mine.ok("begin");
            mine.say(protocol, READ, &[id]);
            mine.ok(end);
            stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
            assert_eq!(commands(&mine.say(protocol, WRITE, &["mine", id])), ["UPDATE 1"]);
            version += 2;
        }
        // Likewise in one Query.
        mine.ok("begin");
        mine.say(protocol, READ, &[id]);
        stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
        let reply = mine.query(&format!("commit; update projects set name = 'mine' where id = {id}"));
        assert_eq!(commands(&reply), ["COMMIT", "UPDATE 1"]);
        version += 2;
        // In autocommit each statement is one.
        mine.say(protocol, READ, &[id]);
        stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
        assert_eq!(commands(&mine.say(protocol, WRITE, &["mine", id])), ["UPDATE 1"]);
        version += 2;
        // Its own reads count in each.
        mine.ok("begin");
        mine.say(protocol, READ, &[id]);
        stage.other_writes(&format!("update projects set name = 'theirs' where id = {id}"));
        on_project(id, version, Some(version + 1)).check(&mine.say(protocol, WRITE, &["mine", id]), 'E');
        mine.ok("rollback");
    }
}
