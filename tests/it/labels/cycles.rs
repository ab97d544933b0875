//! A label and a write that go to the server together: the write is decided under the right label.

use super::*;

/// Ada has read the row; someone has changed it; bob has not seen it.
fn stale(desk: &Desk) -> String {
    let id = desk.row();
    let mut ada = desk.session();
    ada.ok("set app.user_id = 'ada'");
    fine(ada.query(&format!("select name from projects where id = {id} /*user='ada'*/")));
    desk.other_writes(&id);
    id
}

/// One statement of a pipeline, unnamed.
fn step(sql: &str, values: &[&str]) -> Vec<Vec<u8>> {
    vec![
        frames::parse("", sql, &[]),
        frames::bind("", values),
        frames::describe('P', ""),
        frames::execute("", 0),
    ]
}

#[test]
fn in_one_query() {
    let desk = Desk::new(&["--context-label", "comment:user,setting:app.user_id"]);
    let mut one = desk.session();
    for (text, refused) in [
        ("set app.user_id = 'ada'; update projects set name = 'x' where id = {}", true),
        ("set app.user_id = 'bob'; update projects set name = 'x' where id = {}", false),
        ("set local app.user_id = '1'; update projects set name = 'x' where id = {}", false),
        ("set local app.user_id = 'ada'; update projects set name = 'x' where id = {}", true),
        (
            "begin; select set_config('app.user_id', 'ada', true); update projects set name = 'x' where id = {}; commit",
            true,
        ),
        ("begin; set local app.user_id = 'ada'; commit; update projects set name = 'x' where id = {}", false),
        ("select 1 /*user='bob'*/; update projects set name = 'x' where id = {} /*user='ada'*/", true),
        ("set app.user_id = 'ada'; update projects set name = 'x' where id = {} /*user='bob'*/", false),
    ] {
        one.ok("set app.user_id = 'bob'");
        let id = stale(&desk);
        let reply = one.query(&text.replace("{}", &id));
        assert_eq!(sqlstate(&reply) == "40001", refused, "{text}: {reply:?}");
        assert!(refused || error(&reply).is_none(), "{text}: {reply:?}");
        if status(&reply) != 'I' {
            one.ok("rollback");
        }
    }
}

#[test]
fn in_one_pipeline() {
    let desk = Desk::new(&["--context-label", "comment:user,setting:app.user_id"]);
    let mut one = desk.session();
    let local = "select set_config('app.user_id', $1, true)";
    for (user, refused) in [("ada", true), ("bob", false)] {
        // BEGIN, label, write, COMMIT in one cycle; or each with a Sync of its own, sent at once.
        for synced in [false, true] {
            let id = stale(&desk);
            let steps =
                [step("begin", &[]), step(local, &[user]), step(WRITE, &["x", &id]), step("commit", &[])];
            let mut messages = Vec::new();
            for mut step in steps {
                messages.append(&mut step);
                if synced {
                    messages.push(frames::sync());
                }
            }
            if !synced {
                messages.push(frames::sync());
            }
            let reply = one.exchange(&messages);
            assert_eq!(sqlstate(&reply) == "40001", refused, "{user} {synced}: {reply:?}");
            if status(&reply) != 'I' {
                one.ok("rollback");
            }
            assert_eq!(
                desk.stage.version("projects", &format!("id = {id}")),
                if refused { "2" } else { "3" }
            );
        }
        // SET and a write in autocommit, one cycle each, sent at once.
        let id = stale(&desk);
        let messages = [
            step(&format!("set app.user_id = '{user}'"), &[]),
            vec![frames::sync()],
            step(WRITE, &["x", &id]),
            vec![frames::sync()],
        ]
        .concat();
        let reply = one.exchange(&messages);
        assert_eq!(sqlstate(&reply) == "40001", refused, "{user}: {reply:?}");
        // The other one's write right behind.
        let id = stale(&desk);
        let other = if refused { "bob" } else { "ada" };
        let messages = [
            step(&format!("set app.user_id = '{user}'"), &[]),
            vec![frames::sync()],
            step(&format!("set app.user_id = '{other}'"), &[]),
            vec![frames::sync()],
            step(WRITE, &["x", &id]),
            vec![frames::sync()],
        ]
        .concat();
        let reply = one.exchange(&messages);
        assert_eq!(sqlstate(&reply) == "40001", !refused, "{other}: {reply:?}");
    }
}

#[test]
fn a_label_that_fails_is_none() {
    let desk = Desk::new(&["--context-label", "setting:app.user_id"]);
    let mut one = desk.session();
    one.ok("set app.user_id = 'bob'");
    let id = stale(&desk);
    // The cycle fails behind the SET, so it never was.
    let messages = [
        step("set app.user_id = 'ada'", &[]),
        step("select 1/0", &[]),
        vec![frames::sync()],
        step(WRITE, &["x", &id]),
        vec![frames::sync()],
    ]
    .concat();
    let reply = one.exchange(&messages);
    assert_eq!(sqlstate(&reply), "22012");
    assert_eq!(commands(&reply).last().map(String::as_str), Some("UPDATE 1"), "{reply:?}");
    // Likewise in a Query.
    let id = stale(&desk);
    assert_eq!(sqlstate(&one.query("set app.user_id = 'ada'; select 1/0")), "22012");
    assert_eq!(
        commands(&one.query(&format!("update projects set name = 'x' where id = {id}"))),
        ["UPDATE 1"]
    );
}

#[test]
fn a_lookup_in_a_pipeline() {
    let desk = Desk::new(&["--context-label", "lookup:users.id"]);
    let mut one = desk.session();
    let id = desk.row();
    one.ok("begin; select email from users where id = 1");
    fine(one.query(&format!("select name from projects where id = {id}")));
    one.ok("commit");
    desk.other_writes(&id);
    for (user, refused) in [("1", true), ("2", false)] {
        let messages = [
            step("begin", &[]),
            step("select email from users where id = $1", &[user]),
            step(WRITE, &["x", &id]),
            vec![frames::sync()],
        ]
        .concat();
        let reply = one.exchange(&messages);
        assert_eq!(sqlstate(&reply) == "40001", refused, "{user}: {reply:?}");
        one.ok("rollback");
    }
}

#[test]
fn what_is_undone_in_a_query_counts_no_more_behind_it() {
    let desk = Desk::new(&["--context-label", "comment:user,setting:app.user_id"]);
    let mut one = desk.session();
    let mut wrong = Vec::new();
    for (text, refused) in [
        ("begin; set app.user_id = 'ada'; rollback; update projects set name = 'x' where id = {}", false),
        ("begin; set app.user_id = 'ada'; commit; update projects set name = 'x' where id = {}", true),
        (
            "begin; savepoint a; set app.user_id = 'ada'; rollback to a; update projects set name = 'x' where id = {}; commit",
            false,
        ),
        (
            "begin; set local app.user_id = 'ada'; savepoint a; set local app.user_id = 'bob'; rollback to a; update projects set name = 'x' where id = {}; commit",
            true,
        ),
        (
            "begin; savepoint a; set local app.user_id = 'ada'; release a; update projects set name = 'x' where id = {}; commit",
            true,
        ),
    ] {
        one.ok("set app.user_id = 'bob'");
        let id = stale(&desk);
        let reply = one.query(&text.replace("{}", &id));
        if (sqlstate(&reply) == "40001") != refused {
            wrong.push(text);
        }
        if status(&reply) != 'I' {
            one.ok("rollback");
        }
    }
    one.ok("set app.user_id = 'bob'");
    let id = stale(&desk);
    one.ok("begin");
    one.ok("set app.user_id = 'ada'");
    let reply = one.query(&format!("rollback; update projects set name = 'x' where id = {id}"));
    if error(&reply).is_some() {
        wrong.push("rollback; update");
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn a_pipelined_execute_behind_another_statement_is_its_own_users() {
    let desk = Desk::new(&["--context-label", "comment:user,setting:app.user_id"]);
    let mut one = desk.session();
    one.ok("prepare w (int) as update projects set name = 'x' where id = $1");
    one.ok("prepare s (text) as select set_config('app.user_id', $1, false)");
    let id = stale(&desk);
    let reply = one.exchange(&[
        frames::query("select name from projects where id = 9 /*user='bob'*/"),
        frames::query(&format!("select 1; execute w({id}) /*user='ada'*/")),
    ]);
    assert_eq!(sqlstate(&reply), "40001", "{reply:?}");
    let id = stale(&desk);
    let reply = one.exchange(&[
        frames::query("select name from projects where id = 9 /*user='ada'*/"),
        frames::query(&format!("select 1; execute w({id}) /*user='bob'*/")),
    ]);
    assert_eq!(sqlstate(&reply), "", "{reply:?}");
    one.ok("set app.user_id = 'bob'");
    let id = stale(&desk);
    let reply = one.query(&format!("execute s('ada'); update projects set name = 'x' where id = {id}"));
    assert_eq!(sqlstate(&reply), "40001", "{reply:?}");
}

#[test]
fn what_is_read_behind_a_label_in_one_pipeline_refreshes() {
    let desk = Desk::new(&["--context-label", "setting:app.user_id"]);
    let mut one = desk.session();
    let id = desk.row();
    let local = "select set_config('app.user_id', $1, true)";
    let mut cycle = |sql: &str, values: &[&str]| {
        let steps = [step("begin", &[]), step(local, &["ada"]), step(sql, values), step("commit", &[])];
        let mut messages = steps.concat();
        messages.push(frames::sync());
        let reply = one.exchange(&messages);
        if status(&reply) != 'I' {
            one.ok("rollback");
        }
        reply
    };
    fine(cycle(READ, &[&id]));
    // Her own write, and then someone else's.
    fine(cycle(WRITE, &["ada's", &id]));
    desk.other_writes(&id);
    assert_eq!(sqlstate(&cycle(WRITE, &["x", &id])), "40001");
    // She opens the form again.
    fine(cycle(READ, &[&id]));
    fine(cycle(READ, &[&id]));
    assert_eq!(sqlstate(&cycle(WRITE, &["x", &id])), "");
}

#[test]
fn what_a_transaction_read_without_a_label_is_not_the_next_ones() {
    let desk = Desk::new(&["--context-label", "setting:app.user_id"]);
    let mut one = desk.session();
    let mut ada = desk.session();
    ada.ok("set app.user_id = 'ada'");
    let id = desk.row();
    fine(ada.query(&format!("select name from projects where id = {id}")));
    desk.other_writes(&id);
    one.ok("begin");
    fine(one.query(&format!("select name from projects where id = {id}")));
    one.ok("commit; set app.user_id = 'ada'; select name from projects where id = 9");
    let write = format!("update projects set name = 'x' where id = {id}");
    on_project(&id, 1, Some(2)).check(&one.query(&write), 'I');
    // Nor is what it has written.
    one.ok("reset app.user_id");
    let id = desk.row();
    fine(ada.query(&format!("select name from projects where id = {id}")));
    one.ok("begin");
    one.ok(&format!("update projects set name = 'theirs' where id = {id}"));
    one.ok("commit; set app.user_id = 'ada'; select name from projects where id = 9");
    let write = format!("update projects set name = 'x' where id = {id}");
    on_project(&id, 1, Some(2)).check(&ada.query(&write), 'I');
    // Without a label it is forgotten at once, too.
    one.ok("reset app.user_id");
    let id = desk.row();
    one.ok("begin");
    fine(one.query(&format!("select name from projects where id = {id}")));
    desk.other_writes(&id);
    let reply = one.query(&format!("commit; update projects set name = 'x' where id = {id}"));
    assert_eq!(sqlstate(&reply), "", "{reply:?}");
}

#[test]
fn an_application_name_in_the_same_query_or_cycle() {
    let desk = Desk::new(&["--context-label", "application_name"]);
    for (user, refused) in [("ada", true), ("bob", false)] {
        for protocol in PROTOCOLS {
            let id = desk.row();
            let mut ada = desk.session();
            ada.ok("set application_name = 'ada'");
            fine(ada.query(&format!("select name from projects where id = {id}")));
            desk.other_writes(&id);
            let mut one = desk.session();
            one.ok(&format!("set application_name = '{}'", if refused { "bob" } else { "ada" }));
            let set = format!("set application_name = '{user}'");
            let reply = match protocol {
                Protocol::Simple => {
                    one.query(&format!("{set}; update projects set name = 'x' where id = {id}"))
                }
                Protocol::Extended => {
                    one.exchange(&[step(&set, &[]), step(WRITE, &["x", &id]), vec![frames::sync()]].concat())
                }
            };
            assert_eq!(sqlstate(&reply) == "40001", refused, "{user} {protocol:?}: {reply:?}");
        }
    }
    // What is read there is the new one's.
    for protocol in PROTOCOLS {
        let id = desk.row();
        let mut one = desk.session();
        one.ok("set application_name = 'ada'");
        let (set, read) =
            ("set application_name = 'bob'", format!("select name from projects where id = {id}"));
        fine(match protocol {
            Protocol::Simple => one.query(&format!("{set}; {read}")),
            Protocol::Extended => {
                one.exchange(&[step(set, &[]), step(&read, &[]), vec![frames::sync()]].concat())
            }
        });
        desk.other_writes(&id);
        assert_eq!(sqlstate(&one.say(protocol, WRITE, &["x", &id])), "40001", "{protocol:?}");
        one.ok("set application_name = 'ada'");
        assert_eq!(sqlstate(&one.say(protocol, WRITE, &["x", &id])), "", "{protocol:?}");
    }
}

#[test]
fn another_session_user_in_one_query_or_cycle() {
    let desk = Desk::new(&["--context-label", "role"]);
    let write = "update projects set name = 'x' where id = {}";
    for (says, refused) in [
        (&["set role ada"][..], true),
        (&["set session authorization ada"], true),
        (&["set session authorization 'bob'"], false),
        (&["set session_authorization = ada"], true),
        (&["select set_config('session_authorization', 'ada', false)"], true),
        (&["set role bob", "set session authorization ada"], true),
        (&["set role bob", "set session_authorization to ada"], true),
        (&["set role ada", "set session authorization bob"], false),
        (&["set session authorization ada", "set session authorization default"], false),
        (&["set session authorization ada", "reset session authorization"], false),
        (&["set session authorization ada", "reset session_authorization"], false),
        (&["set session authorization ada", "reset all"], true),
        (&["begin", "set local session authorization ada"], true),
        (&["begin", "savepoint a", "set session authorization ada", "rollback to a"], false),
        (&["begin", "set session authorization ada", "rollback"], false),
    ] {
        for pipelined in [false, true] {
            let id = desk.row();
            desk.stage
                .proxy
                .session_of("ada", "proxied")
                .ok(&format!("select name from projects where id = {id}"));
            desk.other_writes(&id);
            let write = write.replace("{}", &id);
            let texts: Vec<&str> = says.iter().copied().chain([&*write]).collect();
            let mut one = desk.session();
            let before = desk.stage.proxy.metric("staleguard_unchecked_writes_total", &[]);
            let reply = if pipelined {
                let mut messages: Vec<Vec<u8>> = texts.iter().flat_map(|text| step(text, &[])).collect();
                messages.push(frames::sync());
                one.exchange(&messages)
            } else {
                one.query(&texts.join("; "))
            };
            // Behind another role in one Query nothing can be told of names and privileges: it is not checked at all.
            let want = if refused && pipelined { "40001" } else { "" };
            assert_eq!(sqlstate(&reply), want, "{texts:?} {pipelined}: {reply:?}");
            let unchecked = desk.stage.proxy.metric("staleguard_unchecked_writes_total", &[]);
            assert_eq!(unchecked, before + f64::from(!pipelined), "{texts:?} {pipelined}");
        }
    }
}
