//! The identity lookup: the first thing that a request of a web application reads is who makes it.

use super::*;

#[test]
fn a_lookup_may_be_written_in_many_ways() {
    let desk = Desk::new(&["--context-label", "lookup:users.id"]);
    desk.stage.behind().ok("create table roles (id text, name text); grant all on roles to app");
    for inside in [
        "select * from users where id = $1",
        "select users.id, users.email from users where users.id = '{}'",
        "select users.email from users where users.id = {}",
        "select email from public.users where users.id = '{}'::int and email <> ''",
        "select u.* from users u where u.id = $1::integer limit 1",
        "select u.*, r.* from users u left join user_roles r on r.user_id = u.id where u.id = $1 order by 1",
        "select \"users\".* from \"users\" where \"users\".\"id\" = $1 LIMIT 1",
        "select u.email from users as u join user_roles as r on r.user_id = u.id where ($1 = u.id)",
    ] {
        tells_apart(&desk, Way { inside, ..Way::default() }, ["1", "2"]);
    }
}

#[test]
fn a_lookup_may_be_by_a_uuid_or_a_text() {
    let ids = ["2531439d-3075-46d6-9c19-63e3342fc43e", "051e3dcf-81ba-49f2-8daa-110ed693f2b6"];
    let desk = Desk::new(&["--context-label", "lookup:portfolios.id"]);
    for inside in [
        "select portfolios.id, portfolios.name from portfolios where portfolios.id = '{}'::UUID",
        "select name from portfolios p where p.id = $1",
        "select name from portfolios p where p.id = cast($1 as uuid)",
    ] {
        tells_apart(&desk, Way { inside, ..Way::default() }, ids);
    }
    // However it is written, it is the same one.
    let id = desk.row();
    let mut one = desk.session();
    one.ok(&format!("begin; select name from portfolios where id = '{}'", ids[0]));
    one.ok(&format!("select name from projects where id = {id}"));
    one.ok("commit");
    desk.other_writes(&id);
    one.ok(&format!("begin; select name from portfolios where id = '{{{}}}'", ids[0].to_uppercase()));
    let reply = one.query(&format!("update projects set name = 'x' where id = {id}"));
    on_project(&id, 1, Some(2)).check(&reply, 'E');

    // A table that is not protected, under an application's own name.
    let desk = Desk::new(&["--context-label", "lookup:django_session.session_key"]);
    desk.stage.behind().ok(
        "create table django_session (session_key varchar(40) primary key, session_data text, expire_date timestamptz);
         insert into django_session values ('k1', 'x', now() + '1 day'), ('k2', 'x', now() + '1 day');
         grant all on django_session to app",
    );
    let inside = "SELECT \"django_session\".\"session_key\", \"django_session\".\"session_data\" FROM \
                  \"django_session\" WHERE (\"django_session\".\"expire_date\" > '2024-01-01'::timestamptz AND \
                  \"django_session\".\"session_key\" = '{}') LIMIT 21";
    tells_apart(&desk, Way { inside, ..Way::default() }, ["k1", "k2"]);
    tells_apart(
        &desk,
        Way { inside: "select 1 from django_session where session_key = $1", ..Way::default() },
        ["k1", "k2"],
    );
}

#[test]
fn a_lookup_tells_who_and_not_what() {
    let desk = Desk::new(&["--context-label", "lookup:users.id"]);
    let who = "select email from users where id = $1";
    let write = "update users set email = $1 where id = $2";
    for (protocol, user) in PROTOCOLS.into_iter().zip(["1", "2"]) {
        let mut one = desk.session();
        let theirs = format!("update users set email = 'theirs' where id = {user}");
        one.ok("begin");
        fine(one.say(protocol, who, &[user]));
        one.ok("commit");
        desk.stage.other_writes(&theirs);
        // The row that the lookup of an earlier transaction read is not known. ..
        one.ok("begin");
        fine(one.say(protocol, who, &[user]));
        assert_eq!(commands(&one.say(protocol, write, &["mine", user])), ["UPDATE 1"]);
        one.ok("commit");
        // .. That of its own is.
        one.ok("begin");
        fine(one.say(protocol, "select 1", &[]));
        fine(one.say(protocol, who, &[user]));
        desk.stage.other_writes(&theirs);
        assert_eq!(sqlstate(&one.say(protocol, write, &["mine", user])), "40001");
        one.ok("rollback");
    }
}

#[test]
fn reads_before_the_lookup_belong_to_its_user() {
    let desk = Desk::new(&["--context-label", "lookup:users.id"]);
    for protocol in PROTOCOLS {
        let id = desk.row();
        let mut one = desk.session();
        one.ok("begin");
        fine(one.say(protocol, READ, &[&id]));
        fine(one.say(protocol, "select email from users where id = $1", &["1"]));
        one.ok("commit");
        desk.other_writes(&id);
        let mut two = desk.session();
        for (user, refused) in [("2", false), ("1", true)] {
            two.ok("begin");
            fine(two.say(protocol, "select email from users where id = $1", &[user]));
            let reply = two.say(protocol, WRITE, &["x", &id]);
            assert_eq!(sqlstate(&reply) == "40001", refused, "{user}");
            two.ok("rollback");
        }
    }
}

const ADA: &str = "select email from users where id = 1";

/// A transaction of Ada's that writes the row.
fn ada_saves(desk: &Desk, id: &str) -> Vec<Frame> {
    let mut one = desk.session();
    one.ok("begin");
    one.ok(ADA);
    let reply = one.query(&format!("update projects set name = 'mine' where id = {id}"));
    one.ok(if status(&reply) == 'T' { "commit" } else { "rollback" });
    reply
}

#[test]
fn a_cursor_opened_before_it_is_known_who_it_is() {
    let desk = Desk::new(&["--context-label", "lookup:users.id"]);
    let id = desk.row();
    let declare = format!("declare c cursor for select id, name, version from projects where id = {id}");
    let mut one = desk.session();
    // What it shows is newer than what she has written before.
    assert_eq!(commands(&ada_saves(&desk, &id)), ["UPDATE 1"]);
    desk.other_writes(&id);
    for text in ["begin", &declare, ADA, "fetch c", "commit"] {
        one.ok(text);
    }
    assert_eq!(commands(&ada_saves(&desk, &id)), ["UPDATE 1"]);
    // What it shows is older than what she has written since, however much the session has written before.
    for other in 201..210 {
        one.ok(&format!("update projects set name = 'x' where id = {other}"));
    }
    for text in ["begin", &declare, ADA] {
        one.ok(text);
    }
    assert_eq!(commands(&ada_saves(&desk, &id)), ["UPDATE 1"]);
    for text in ["fetch c", "commit"] {
        one.ok(text);
    }
    assert_eq!(commands(&ada_saves(&desk, &id)), ["UPDATE 1"]);
    // Each of these has landed.
    assert_eq!(desk.stage.version("projects", &format!("id = {id}")), "6");
}

#[test]
fn who_edits_his_own_row_is_known_to_have_seen_it_by_another_select_alone() {
    for (after_conflict, twice) in [("reread", true), ("told", false)] {
        let flags = ["--context-label", "lookup:users.id", "--context-after-conflict", after_conflict];
        let desk = Desk::new(&flags);
        let mut one = desk.session();
        let mut request = |texts: &[&str]| {
            one.ok("begin");
            one.ok(ADA);
            let reply = texts.iter().map(|text| one.query(text)).last();
            one.ok(if reply.as_deref().is_none_or(|reply| status(reply) == 'T') {
                "commit"
            } else {
                "rollback"
            });
            reply.map(|reply| sqlstate(&reply)).unwrap_or_default()
        };
        let save = "update users set email = 'mine' where id = 1";
        assert_eq!(request(&[save]), "");
        desk.stage.behind().ok("update users set email = 'admins', version = version + 1 where id = 1");
        // The form shows what the lookup has read.
        request(&[]);
        assert_eq!(request(&[save]), "40001", "{after_conflict}");
        request(&[]);
        assert_eq!(request(&[save]), if twice { "40001" } else { "" }, "{after_conflict}");
        // A second SELECT in the same request is no lookup.
        request(&[ADA]);
        assert_eq!(request(&[save]), "", "{after_conflict}");
    }
}
