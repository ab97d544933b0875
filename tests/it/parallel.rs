//! Two connections work under one label at the same time.

use std::sync::Arc;
use std::time::Instant;

use crate::common::LIMIT;
use crate::common::cluster::{Cluster, cluster};
use crate::common::frames;
use crate::common::proxy::Proxy;
use crate::common::raw::{BOTH, Protocol, Raw, commands, inlined, sqlstate};
use crate::common::switch::Switch;

const READ: &str = "select id, name, budget from projects where id = 1 /*user='ada'*/";
const WRITE: &str = "update projects set name = 'mine' where id = 1 /*user='ada'*/";

/// A proxy whose server's answers can be held up.
struct Bench {
    cluster: Arc<Cluster>,
    switch: Switch,
    proxy: Proxy,
}

impl Bench {
    fn new() -> Self {
        let cluster = cluster();
        let switch = Switch::new(cluster.port());
        let flags = ["--scope", "context", "--context-label", "comment:user"];
        let proxy = Proxy::start_before(switch.address(), &flags);
        Self { cluster, switch, proxy }
    }

    fn behind(&self) -> Raw {
        self.cluster.direct("proxied")
    }
}

#[test]
fn a_commit_that_is_told_late_does_not_outdate_a_newer_read() {
    let relative = "update projects set budget = budget + 1 where id = 1 /*user='ada'*/";
    for (write, reads_again) in [(WRITE, false), (relative, false), (WRITE, true)] {
        let bench = Bench::new();
        let mut one = bench.proxy.session();
        one.ok(READ);
        one.ok("begin");
        assert_eq!(one.ok(write), "UPDATE 1");
        if reads_again {
            one.ok(READ);
        }
        bench.switch.hold();
        one.send(&frames::query("commit"));
        // Waits for the commit, of which the proxy does not know yet.
        bench.behind().ok("update projects set budget = 7, version = version + 1 where id = 1");
        let mut two = bench.proxy.session();
        two.ok(READ);
        bench.switch.release();
        one.until_ready(1);
        assert_eq!(commands(&two.query(WRITE)), ["UPDATE 1"], "{write}");
    }
}

/// Waits until a session past the switch waits for a row.
fn await_lock(bench: &Bench) {
    let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'";
    let (mut behind, end) = (bench.behind(), Instant::now() + LIMIT);
    while behind.value(waiting) == "0" {
        assert!(Instant::now() < end, "nobody waits");
    }
}

/// The messages of one statement of Ada's, with `$1` for the key.
fn saying(protocol: Protocol, sql: &str, id: &str) -> Vec<u8> {
    match protocol {
        Protocol::Simple => frames::query(&inlined(sql, &[id])),
        Protocol::Extended => [
            frames::parse("", sql, &[]),
            frames::bind("", &[id]),
            frames::describe('P', ""),
            frames::execute("", 0),
            frames::sync(),
        ]
        .concat(),
    }
}

#[test]
fn of_two_saves_at_once_the_second_is_refused_and_the_next_is_not() {
    let read = "select id, name, budget from projects where id = $1 /*user='ada'*/";
    let point = "update projects set name = 'mine' where id = $1 /*user='ada'*/";
    let guarded = "update projects set name = 'mine' where id in ($1, 99) /*user='ada'*/";
    let relative = "update projects set budget = budget + 1 where id = $1 /*user='ada'*/";
    // What the first one writes, what the second one, and whether somebody else's write lies between.
    for (first, second, theirs) in [
        (point, point, false),
        (guarded, guarded, false),
        (relative, point, false),
        (point, point, true),
        (guarded, guarded, true),
    ] {
        let bench = Bench::new();
        for (protocol, id) in BOTH {
            let request = |raw: &mut Raw| {
                raw.ok("begin");
                raw.say(protocol, read, &[id]);
            };
            let (mut one, mut two) = (bench.proxy.session(), bench.proxy.session());
            one.say(protocol, read, &[id]);
            // A double click: both requests read the row again before either has written it.
            request(&mut one);
            request(&mut two);
            assert_eq!(commands(&one.say(protocol, first, &[id])), ["UPDATE 1"]);
            let mut behind = bench.behind();
            if theirs {
                let write = format!("update projects set budget = 9, version = version + 1 where id = {id}");
                behind.send(&frames::query(&write));
                await_lock(&bench);
            }
            two.send(&saying(protocol, second, id));
            if theirs {
                one.ok("commit");
                behind.until_ready(1);
            } else {
                await_lock(&bench);
                one.ok("commit");
            }
            assert_eq!(sqlstate(&two.until_ready(1)), "40001", "{protocol:?} {first} {second}");
            two.ok("rollback");
            // Whoever saves once more is not stuck, unless somebody else has written the row.
            request(&mut two);
            let reply = two.say(protocol, second, &[id]);
            assert_eq!(sqlstate(&reply), if theirs { "40001" } else { "" }, "{protocol:?} {first} {second}");
            two.ok("rollback");
        }
    }
}

#[test]
fn a_read_that_is_told_late_does_not_outdate_a_save() {
    for protocol in [Protocol::Simple, Protocol::Extended] {
        let bench = Bench::new();
        let (read, write) = (READ.replace("= 1", "= $1"), WRITE.replace("= 1", "= $1"));
        let mut slow = bench.proxy.session();
        slow.ok(&read.replace("$1", "2"));
        bench.switch.hold();
        // Sees the row as it is, and its answer is on the way for long.
        let mut behind = bench.behind();
        behind.ok("create sequence seen");
        slow.send(&saying(protocol, &read.replace("$1", "$1 and nextval('seen') > 0"), "1"));
        let end = Instant::now() + LIMIT;
        while behind.value("select is_called from seen") == "f" {
            assert!(Instant::now() < end, "it is not run");
        }
        let mut quick = bench.proxy.session();
        quick.ok(READ);
        quick.ok(WRITE);
        bench.switch.release();
        slow.until_ready(1);
        // Nobody else has written it.
        assert_eq!(commands(&slow.say(protocol, &write, &["1"])), ["UPDATE 1"], "{protocol:?}");
    }
}
