//! Failure modes of rewriting: statements that escape, and texts that come out changed.

use std::sync::Arc;

use super::{same_length, theirs};
use crate::common::cluster::Cluster;
use crate::common::proxy::Proxy;
use crate::common::raw::{BOTH, Protocol, Raw, commands, error, inlined, rows, sqlstate, status};
use crate::common::twin::{Stage, stage};

#[test]
fn mode_14_a_query_of_several_statements_loses_none() {
    let stage = stage();
    let mut twin = stage.twin();
    let versions = || stage.behind().rows("select id, version from projects where version > 1 order by id");
    let texts = [
        "select 1; update projects set name = 'a' where id = 1; update notes set body = 'a' where id = 1; select name from projects where id = 1",
        "update projects set name = 'b' where id = 1; update projects set name = 'c' where id = 2; update notes set body = 'b' where id = 2",
        "update notes set body = 'c' where id = 1; select body from notes where id = 1;; select name from projects where id = 2;",
        "insert into notes values (20, 'n'); update projects set name = 'd' where id = 3 returning name; delete from notes where id = 20",
        "begin; update projects set name = 'e' where id = 1; savepoint s; update projects set name = 'f' where id = 1; rollback to s; commit; select name from projects where id = 1",
        "set local search_path = public; update projects set name = 'g' where id = 4; show search_path",
        "with w as (update projects set name = 'h' where id = 5 returning id) select id from w; select 'tail'",
        "update projects set name = 'i' where id = 6; select 1 / 0; update projects set name = 'never' where id = 7",
        "update projects set name = 'j' where id = 6; selec; update projects set name = 'never' where id = 7",
        "/* a;b */ update projects set name = 'k;l' where id = 8 -- ; not the end\n; select $$;$$; select 'it''s; fine'",
        "do $$ begin update notes set body = 'do; not' where id = 1; end $$; update projects set name = 'm' where id = 9",
    ];
    for sql in texts {
        twin.query(sql);
    }
    let state = "select id, name from projects order by id";
    assert_eq!(rows(&twin.query(state)).len(), 9);
    assert_eq!(versions(), [["1", "4"], ["2", "2"], ["3", "2"], ["5", "2"], ["8", "2"]]);
    // Behind what may change the meaning of names (rows 4 and 9) a write passes as it is, and is counted.
    let labels = [("table", "projects"), ("reason", "unparsed")];
    assert_eq!(stage.proxy.metric("staleguard_unchecked_writes_total", &labels), 2.0);
    assert_eq!(stage.conflicts(), 0.0);
    // Stale: nothing of the message lands, wherever in it the write stands.
    for sql in [
        "update projects set name = 'x' where id = 1; update projects set name = 'x' where id = 2; select 1",
        "update projects set name = 'x' where id = 2; insert into notes values (30, 'x'); update projects set name = 'x' where id = 1",
        "insert into notes values (30, 'x'); select 1; update projects set name = 'x' where id = 1 returning name",
    ] {
        let mut mine = stage.session();
        mine.query("select * from projects");
        theirs(&stage, "1");
        let before = versions();
        let reply = mine.query(sql);
        assert_eq!((sqlstate(&reply).as_str(), status(&reply)), ("40001", 'I'), "{sql}: {reply:?}");
        assert_eq!(versions(), before, "{sql}");
        assert_eq!(stage.behind().value("select count(*) from notes where id = 30"), "0", "{sql}");
    }
}

/// Kinds of writes of row `$1` that parsers and rewriters miss, and the table that they are to leave alone.
const KINDS: &[&str] = &[
    "insert into projects (id, name) values ($1, 'a') on conflict (id) do update set name = excluded.name",
    "insert into projects as p (id, name) values ($1, 'b') on conflict on constraint projects_pkey do update set name = 'b' where p.id > 0 returning p.*",
    "update projects p set name = n.body from notes n where p.id = $1 and n.id = 1",
    "update projects set name = n.body from (select * from notes) n where projects.id = $1 and n.id = 1",
    "update projects * set name = 'c' where id = $1",
    "with w as (update projects set name = 'd' where id = $1 returning *) select * from w",
    "with a as (select 1), w as (update projects set name = 'e' where id = $1) select * from a",
    "with w as (select id from projects where id = $1) update projects set name = 'f' from w where projects.id = w.id",
    "with recursive w (n) as (values (1) union all select n + 1 from w where n < 2), x as (update projects set name = 'g' where id = $1 returning id) select n from w",
    "merge into projects p using (values ($1)) v (id) on p.id = v.id::int when matched then update set name = 'h' when not matched then do nothing",
    "update projects set (name, status) = ('i', 'j') where id = $1",
    "update projects set (name, status) = (select body, 'k' from notes where id = 1) where id = $1",
    "update projects set name = 'l' where (id, name) in (select id, name from projects where id = $1)",
    "update public.projects set name = 'm' where projects.id = $1 returning *",
    "update projects set name = 'n' where id = $1 returning projects",
];

#[test]
fn mode_15_kinds_of_writes_that_escape_elsewhere() {
    let stage = stage();
    same_length(&stage);
    let mut twin = stage.twin();
    twin.query("create schema other; create table other.projects (like public.projects including all); insert into other.projects select * from public.projects");
    for sql in KINDS {
        for (protocol, id) in BOTH {
            // A row as a whole is text with the version in it: `returning projects` differs in that alone.
            let whole = sql.ends_with("returning projects");
            twin.proxied.query("select * from projects");
            let version = || stage.version("projects", &format!("id = {id}")).parse::<i64>().unwrap();
            let before = version();
            let reply = if whole {
                twin.direct.say(protocol, sql, &[id]);
                twin.proxied.say(protocol, sql, &[id])
            } else {
                twin.say(protocol, sql, &[id])
            };
            assert!(error(&reply).is_none(), "{sql}: {reply:?}");
            assert_eq!(version(), before + 1, "{sql}");
            // Stale.
            twin.proxied.query("select * from projects");
            theirs(&stage, id);
            let reply = twin.proxied.say(protocol, sql, &[id]);
            assert_eq!(sqlstate(&reply), "40001", "{sql}: {reply:?}");
            assert_eq!(version(), before + 2, "{sql}");
        }
    }
    // Wildcards show the version column once, in its place.
    for sql in [
        "select * from projects where id = $1",
        "select p.*, n.* from projects p, notes n where p.id = $1 and n.id = 2",
    ] {
        for (protocol, id) in BOTH {
            twin.say(protocol, sql, &[id]);
        }
    }
    // What runs inside EXPLAIN ANALYZE runs.
    for (protocol, id) in BOTH {
        let mut mine = stage.session();
        mine.query("select * from projects");
        let sql = "explain (analyze, costs off, timing off, summary off) update projects set name = 'x' where id = $1";
        let before: i64 = stage.version("projects", &format!("id = {id}")).parse().unwrap();
        assert!(error(&mine.say(protocol, sql, &[id])).is_none());
        assert_eq!(stage.version("projects", &format!("id = {id}")), (before + 1).to_string());
        mine.query("select * from projects");
        theirs(&stage, id);
        mine.query("explain update projects set name = 'not run' where id = 1");
        assert_eq!(sqlstate(&mine.say(protocol, sql, &[id])), "40001");
    }
    // The other schema's table is nobody's business.
    for (protocol, id) in BOTH {
        for sql in KINDS.iter().filter(|sql| !sql.contains("returning projects")) {
            let sql = sql.replace("public.projects", "other.projects");
            twin.query("set search_path = other, public");
            let before = stage.version("projects", &format!("id = {id}"));
            twin.say(protocol, &sql, &[id]);
            assert_eq!(stage.version("other.projects", &format!("id = {id}")), "100", "{sql}");
            assert_eq!(stage.version("projects", &format!("id = {id}")), before, "{sql}");
            twin.query("reset search_path");
        }
    }
}

/// The text of this session's last statement, as the server got it.
fn sent(stage: &Stage, session: &Raw) -> String {
    stage.behind().value(&format!("select query from pg_stat_activity where pid = {}", session.pid()))
}

#[test]
fn mode_16_comments_and_hints_survive_and_the_meaning_stays() {
    let cluster = Arc::new(Cluster::start(&["track_activity_query_size=32768"]));
    let stage = Stage { proxy: Proxy::start(&cluster, &[]), cluster };
    let mut twin = stage.twin();
    let texts = [
        "/*+ SeqScan(projects) */ select name from projects where id = $1 /* traceparent='00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01' */",
        "select name isnull from projects where id = $1",
        "select name ISNULL, budget NOTNULL, not status is null from projects where id = $1",
        "SELECT  name\t,\n budget  FROM projects -- the end of the list\n WHERE id = $1 -- last",
        "select /* nested /* comments */ stay */ 'größe' as größe, name from projects where id = $1",
        "select $tag$ a '; $b$ --$tag$, name as \"Name\", E'\\'x' from projects where id = $1",
        "/* app:'shop',route='\\'' */ UPDATE\n  projects  /*+ IndexScan(projects) */ SET\tname  =  'x'  WHERE id=$1  -- traceparent='00-1'\n",
        "update projects set name = U&'\\0061', status = $$a$$ || 'b' where id = $1 and (name is null) is not true /* e */",
        "update projects set budget = 1_0 where id = $1",
        "update projects /* a */ as /* b */ p /* c */ set /* d */ name /* e */ = /* f */ 'g' /* h */ where /* i */ p.id /* j */ = /* k */ $1 /* l */ returning /* m */ name /* n */",
        "select name as isnull, id between 1 and 2 as b, budget::int::text from projects where id = $1 and name like '%' escape '!'",
        "WITH w AS (/* inside */ UPDATE projects SET name = 'w' WHERE id = $1 RETURNING name /* r */) SELECT name /* s */ FROM w",
        "insert into projects (id) values ($1) /* v */ on conflict (id) /* w */ do update /* x */ set /* y */ name = 'z' /* z */",
    ];
    for sql in texts {
        for (protocol, id) in BOTH {
            twin.query("select * from projects");
            let reply = twin.say(protocol, sql, &[id]);
            if error(&reply).is_some() {
                // Not SQL for this server: its own words, and the client's own text.
                assert_eq!(sqlstate(&reply), "42601", "{sql}: {reply:?}");
                continue;
            }
            let text = match protocol {
                Protocol::Simple => inlined(sql, &[id]),
                Protocol::Extended => sql.to_owned(),
            };
            let sent = sent(&stage, &twin.proxied);
            assert_ne!(commands(&reply), Vec::<String>::new());
            // Only insertions: what the client wrote is there, in order, and each comment and literal in one piece.
            let mut wanted = text.bytes().peekable();
            sent.bytes().for_each(|b| {
                wanted.next_if_eq(&b);
            });
            assert!(wanted.next().is_none(), "{text}\nhas become\n{sent}");
            for piece in pieces(&text) {
                assert!(sent.contains(piece), "{piece:?} is not in\n{sent}");
            }
        }
    }
    assert_eq!(stage.conflicts(), 0.0);
}

/// Comments (without nested ones taken apart) and words of a text.
fn pieces(text: &str) -> Vec<&str> {
    let mut pieces: Vec<_> = text.split_whitespace().collect();
    let mut rest = text;
    while let Some(at) = rest.find("/*") {
        let end = rest[at..].rfind("*/").map_or(rest.len(), |e| at + e + 2);
        let first = rest[at..].find("*/").map_or(rest.len(), |e| at + e + 2);
        let nested = rest[at + 2..first].contains("/*");
        pieces.push(&rest[at..if nested { end } else { first }]);
        rest = &rest[if nested { end } else { first }..];
    }
    pieces.extend(text.lines().filter_map(|line| line.find("-- ").map(|at| &line[at..])));
    pieces
}
