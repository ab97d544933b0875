//! The server behind the proxy changes: what contexts know belongs to one server.

use std::sync::Arc;
use std::time::Instant;

use crate::common::LIMIT;
use crate::common::cluster::{Cluster, cluster};
use crate::common::conflict::on_project;
use crate::common::proxy::Proxy;
use crate::common::raw::{BOTH, Raw, commands, sqlstate};
use crate::common::switch::Switch;

#[test]
fn contexts_know_nothing_of_another_server() {
    let (first, second) = (cluster(), Cluster::promoted());
    let switch = Switch::new(first.port());
    let proxy =
        Proxy::start_before(switch.address(), &["--scope", "context", "--context-label", "comment:user"]);
    let read = "select id, name from projects where id = 1 /*user='ada'*/";
    let write = "update projects set name = 'mine' where id = 1 /*user='ada'*/";
    let mut mine = proxy.session();
    mine.ok(read);
    // A connection that ends by itself is no sign of another server.
    first.direct("proxied").ok(&format!("select pg_terminate_backend({})", mine.pid()));
    mine.until_closed();
    first.direct("proxied").ok("update projects set name = 'theirs', version = version + 1 where id = 1");
    let mut mine = proxy.session();
    on_project("1", 1, Some(2)).check(&mine.query(write), 'I');
    // A standby that lacks the last changes has been promoted: what was seen is of another history.
    switch.turn_to(second.port());
    second.direct("proxied").ok("update projects set name = 'theirs', version = 7 where id = 1");
    first.stop();
    mine.until_closed();
    let mut mine = proxy.session();
    assert_eq!(commands(&mine.query(write)), ["UPDATE 1"]);
    assert!(proxy.log().wait(|line| line.contains("the server is another than before")).is_some());
    mine.ok(read);
    second.direct("proxied").ok("update projects set name = 'theirs', version = version + 1 where id = 1");
    on_project("1", 8, Some(9)).check(&mine.query(write), 'I');
}

/// The statements of one user.
const READ: &str = "select id, name from projects where id = $1 /*user='ada'*/";
const WRITE: &str = "update projects set name = 'mine' where id = $1 /*user='ada'*/";

/// Two servers that are both alive, the second one promoted, with a proxy that still asks the first one.
struct Split {
    first: Arc<Cluster>,
    second: Cluster,
    switch: Switch,
    proxy: Proxy,
}

impl Split {
    fn new(extra: &[&str]) -> Self {
        let (first, second) = (cluster(), Cluster::promoted());
        second.direct("proxied").ok("update projects set version = 7");
        let switch = Switch::new(first.port());
        let flags = ["--scope", "context", "--context-label", "comment:user"];
        let proxy = Proxy::start_before(switch.address(), &[&flags[..], extra].concat());
        Self { first, second, switch, proxy }
    }

    /// A session with each server.
    fn sessions(&self, read: impl Fn(&mut Raw)) -> (Raw, Raw) {
        let mut old = self.proxy.session();
        read(&mut old);
        self.switch.turn_to(self.second.port());
        let mut new = self.proxy.session();
        read(&mut new);
        (old, new)
    }
}

#[test]
fn each_server_has_its_own_contexts_while_both_are_alive() {
    // Whether each statement looks at the catalog or none but the first.
    for extra in [&["--catalog-max-age", "0s"][..], &["--catalog-max-age", "1h"]] {
        let split = Split::new(extra);
        let (mut old, mut new) = split.sessions(|raw| {
            for (protocol, id) in BOTH {
                raw.say(protocol, READ, &[id]);
            }
        });
        for (protocol, id) in BOTH {
            let read = |raw: &mut Raw| raw.say(protocol, READ, &[id]);
            let write = |raw: &mut Raw| raw.say(protocol, WRITE, &[id]);
            // What the old server shows says nothing of the new one's row.
            read(&mut old);
            assert_eq!(commands(&write(&mut new)), ["UPDATE 1"], "{extra:?}");
            // Nor does it make the context forget what the new one has shown.
            let theirs = format!("update projects set name = 'theirs', version = 9 where id = {id}");
            split.second.direct("proxied").ok(&theirs);
            read(&mut old);
            on_project(id, 8, Some(9)).check(&write(&mut new), 'I');
            // A session that is still with the old one is compared with what that has shown.
            assert_eq!(commands(&write(&mut old)), ["UPDATE 1"], "{extra:?}");
            split.first.direct("proxied").ok(&theirs.replace("= 9", "= 3"));
            on_project(id, 2, Some(3)).check(&write(&mut old), 'I');
        }
        let told = |line: &&String| line.contains("the server is another than before");
        assert!(split.proxy.log().wait(|line| told(&&line.to_owned())).is_some());
        assert_eq!(split.proxy.log().lines().iter().filter(told).count(), 1);
    }
}

#[test]
fn a_truncate_on_the_old_server_is_not_the_new_ones() {
    let split = Split::new(&[]);
    let (mut old, mut new) = split.sessions(|raw| _ = raw.ok(&READ.replace("$1", "1")));
    old.ok("truncate projects cascade");
    split.second.direct("proxied").ok("update projects set name = 'theirs', version = 9 where id = 1");
    on_project("1", 7, Some(9)).check(&new.query(&WRITE.replace("$1", "1")), 'I');
}

#[test]
fn a_standby_teaches_nothing_until_it_is_promoted() {
    let cluster = Cluster::standby();
    let flags = ["--scope", "context", "--context-label", "comment:user", "--catalog-max-age", "1s"];
    let proxy = Proxy::start(&cluster, &flags);
    let (read, write) = (READ.replace("$1", "1"), WRITE.replace("$1", "1"));
    let mut mine = proxy.session();
    mine.ok(&read);
    assert_eq!(sqlstate(&mine.query(&write)), "25006");
    cluster.promote();
    // What the connection has read before is of a standby that may have been behind.
    assert_eq!(mine.ok(&write), "UPDATE 1");
    assert_eq!(proxy.metric("staleguard_blind_writes_total", &[]), 1.0);
    // It is asked again, though not for each statement.
    let end = Instant::now() + LIMIT;
    loop {
        mine.ok(&read);
        cluster
            .direct("proxied")
            .ok("update projects set name = 'theirs', version = version + 1 where id = 1");
        match &*sqlstate(&mine.query(&write)) {
            "40001" => break,
            state => assert!(state.is_empty() && Instant::now() < end, "{state}"),
        }
    }
}
