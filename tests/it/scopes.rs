//! Whose version counts: scopes, labels and units of work.

use crate::common::conflict::on_project;
use crate::common::frames::Frame;
use crate::common::raw::{BOTH, Protocol, Raw, commands, rows, sqlstate, status};
use crate::common::twin::{Stage, stage_with};

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
