//! Several proxies that share what contexts know by a Redis server: `docs/scopes.md`.

mod away;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::common::LIMIT;
use crate::common::cluster::{Cluster, cluster};
use crate::common::conflict::on_project;
use crate::common::frames::{self, Frame};
use crate::common::proxy::Proxy;
use crate::common::raw::{BOTH, Protocol, Raw, commands, error, sqlstate};
use crate::common::redis::{Answer, Redis};

/// Some proxies, one server of PostgreSQL, one Redis.
struct Fleet {
    proxies: Vec<Proxy>,
    redis: Redis,
    cluster: Arc<Cluster>,
}

/// A user's requests, each through whichever proxy it meets.
struct User<'a> {
    fleet: &'a Fleet,
    protocol: Protocol,
    label: &'a str,
    request: u32,
}

fn fleet(extra: &[&str]) -> Fleet {
    fleet_with(Redis::start(), extra)
}

fn fleet_with(redis: Redis, extra: &[&str]) -> Fleet {
    let cluster = cluster();
    let proxies = (0..2).map(|_| proxy(&cluster, &redis, extra)).collect();
    let fleet = Fleet { proxies, redis, cluster };
    fleet.proxies.iter().for_each(is_up);
    fleet
}

fn proxy(cluster: &Cluster, redis: &Redis, extra: &[&str]) -> Proxy {
    proxy_at(&redis.url(), cluster, extra)
}

fn proxy_at(url: &str, cluster: &Cluster, extra: &[&str]) -> Proxy {
    let shared = ["--scope", "context", "--context-store", url];
    // The store's own limit is not what most tests are about, and the machine may be busy.
    let patient = ["--context-store-timeout", "5s"];
    let patient = if extra.contains(&patient[0]) { &[][..] } else { &patient };
    let labels = ["--context-label", "comment:user", "--context-unit", "comment:request"];
    Proxy::start(cluster, &[&shared[..], &labels, patient, extra].concat())
}

fn until(what: &str, is: impl Fn() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < LIMIT, "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_up(proxy: &Proxy) {
    until("the store is up", || proxy.metric("staleguard_store_up", &[]) == 1.0);
}

fn sent(proxy: &Proxy) -> f64 {
    proxy.metric("staleguard_store_events_total", &[("outcome", "sent")])
}

fn blind(proxy: &Proxy) -> f64 {
    proxy.metric("staleguard_blind_writes_total", &[("cause", "store")])
}

impl Fleet {
    /// Does something at a proxy that the store is told, and waits until it has been.
    fn told<R>(&self, n: usize, act: impl FnOnce() -> R) -> R {
        let before = sent(&self.proxies[n]);
        let result = act();
        until("the store is told", || sent(&self.proxies[n]) > before);
        result
    }

    fn behind(&self) -> Raw {
        self.cluster.direct("proxied")
    }

    /// Another user's write.
    fn other_writes(&self, id: &str) {
        let sql = format!("update projects set name = 'theirs', version = version + 1 where id = {id}");
        assert_eq!(self.behind().ok(&sql), "UPDATE 1");
    }

    fn user<'a>(&'a self, protocol: Protocol, label: &'a str) -> User<'a> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        User { fleet: self, protocol, label, request: NEXT.fetch_add(1_000, Ordering::Relaxed) }
    }
}

impl User<'_> {
    fn says(&self, sql: &str) -> String {
        format!("/*user='{}',request='{}-{}'*/ {sql}", self.label, self.label, self.request)
    }

    /// One statement, alone in its request.
    fn say(&mut self, n: usize, sql: &str, values: &[&str]) -> Vec<Frame> {
        self.request += 1;
        let sql = self.says(sql);
        self.fleet.proxies[n].session().say(self.protocol, &sql, values)
    }

    /// Reads a row, and the store is told.
    fn reads(&mut self, n: usize, id: &str) {
        let fleet = self.fleet;
        let sql = "select id, name, budget, status from projects where id = $1";
        let reply = fleet.told(n, || self.say(n, sql, &[id]));
        assert_eq!(commands(&reply), ["SELECT 1"], "{reply:?}");
    }

    fn saves(&mut self, n: usize, id: &str) -> Vec<Frame> {
        self.say(n, "update projects set name = $1 where id = $2", &["mine", id])
    }

    /// Saves a row, and the store is told.
    fn saves_well(&mut self, n: usize, id: &str) {
        let fleet = self.fleet;
        let reply = fleet.told(n, || self.saves(n, id));
        assert_eq!(commands(&reply), ["UPDATE 1"], "{reply:?}");
    }
}

#[test]
fn two_proxies_tell_two_users_apart() {
    let fleet = fleet(&[]);
    for (protocol, id) in BOTH {
        let (mut ada, mut bob) = (fleet.user(protocol, "ada"), fleet.user(protocol, "bob"));
        ada.reads(0, id);
        bob.reads(0, id);
        // What was read at the one counts at the other.
        bob.saves_well(1, id);
        let reply = fleet.told(1, || ada.saves(1, id));
        let detail = on_project(id, 1, Some(2)).check(&reply, 'I');
        assert_eq!(detail["current_state"]["name"], "mine");
        // A bare repeat is refused, wherever it is made.
        on_project(id, 1, Some(2)).check(&ada.saves(0, id), 'I');
        on_project(id, 1, Some(2)).check(&ada.saves(1, id), 'I');
        ada.reads(0, id);
        ada.saves_well(1, id);
        // Whoever saves here and there does not conflict with himself.
        ada.saves_well(0, id);
        ada.saves_well(1, id);
        ada.saves_well(1, id);
        // The other has not seen any of it.
        let now = fleet.behind().value(&format!("select version from projects where id = {id}"));
        on_project(id, 2, now.parse().ok()).check(&bob.saves(0, id), 'I');
    }
    for proxy in &fleet.proxies {
        assert_eq!(blind(proxy), 0.0);
        assert_eq!(proxy.metric("staleguard_store_fetches_total", &[("outcome", "late")]), 0.0);
        assert!(proxy.metric("staleguard_store_fetches_total", &[("outcome", "answered")]) > 0.0);
    }
}

#[test]
fn a_save_handler_that_reads_again_at_the_other_proxy() {
    let fleet = fleet(&[]);
    for (protocol, id) in BOTH {
        let mut ada = fleet.user(protocol, "ada");
        let mut handles = |n: usize| {
            ada.request += 1;
            let mut session = fleet.proxies[n].session();
            session.say(protocol, &ada.says("begin"), &[]);
            let read = ada.says("select id, name from projects where id = $1");
            fleet.told(n, || session.say(protocol, &read, &[id]));
            let write = ada.says("update projects set name = $1 where id = $2");
            let reply = session.say(protocol, &write, &["mine", id]);
            session.ok(if error(&reply).is_some() { "rollback" } else { "commit" });
            reply
        };
        // Nothing was shown before: its own read counts.
        assert_eq!(commands(&fleet.told(0, || handles(0))), ["UPDATE 1"]);
        // It knows what it wrote.
        assert_eq!(commands(&fleet.told(1, || handles(1))), ["UPDATE 1"]);
        fleet.other_writes(id);
        on_project(id, 3, Some(4)).check(&handles(0), 'E');
    }
}

#[test]
fn one_request_over_two_proxies_is_one_unit() {
    let fleet = fleet(&[]);
    for (protocol, id) in BOTH {
        let mut ada = fleet.user(protocol, "ada");
        ada.reads(0, id);
        fleet.other_writes(id);
        // The request reads at the one and writes at the other: its own read does not refresh the form's.
        ada.reads(0, id);
        ada.request -= 1;
        on_project(id, 1, Some(2)).check(&ada.saves(1, id), 'I');
    }
}

#[test]
fn the_guard_form_of_batches_and_of_rows_that_are_not_named() {
    let fleet = fleet(&[]);
    for (protocol, id) in BOTH {
        let mut ada = fleet.user(protocol, "ada");
        ada.reads(0, id);
        ada.reads(0, "5");
        // Fresh: both statements of one message.
        ada.request += 1;
        let write = |id: &str| ada.says(&format!("update projects set name = 'mine' where id = {id}"));
        let both = format!("{}; {}", write(id), write("5"));
        let reply = fleet.told(1, || fleet.proxies[1].session().query(&both));
        assert_eq!(commands(&reply), ["UPDATE 1", "UPDATE 1"], "{reply:?}");
        // Stale: nothing of it lands.
        fleet.other_writes(id);
        ada.request += 1;
        let reply = fleet.proxies[0].session().query(&both);
        assert_eq!(sqlstate(&reply), "40001", "{reply:?}");
        // Rows that nobody names are looked for under the label.
        ada.reads(0, id);
        ada.reads(0, "5");
        fleet.other_writes("5");
        let reply = ada.say(1, "update projects set status = $1 where budget < 10000", &["done"]);
        assert_eq!(sqlstate(&reply), "40001", "{reply:?}");
        ada.reads(0, "5");
        ada.reads(1, "5");
        let reply = ada.say(1, "update projects set status = $1 where budget < 10000", &["done"]);
        assert_eq!(commands(&reply), ["UPDATE 9"], "{reply:?}");
        // Keys in an array.
        let reply = ada.say(0, "update projects set status = $1 where id = any(array[1, 2, 5])", &["open"]);
        assert_eq!(commands(&reply), ["UPDATE 3"], "{reply:?}");
    }
}

#[test]
fn messages_in_a_row_are_decided_behind_the_store() {
    let fleet = fleet(&[]);
    let mut ada = fleet.user(Protocol::Extended, "ada");
    ada.reads(0, "1");
    ada.reads(0, "2");
    fleet.other_writes("2");
    let write = ada.says("update projects set name = $1 where id = $2");
    let mut session = fleet.proxies[1].session();
    // Both Binds before one Sync: the second is stale, and nothing lands.
    let reply = session.exchange(&[
        frames::parse("w", &write, &[]),
        frames::bind("w", &["mine", "1"]),
        frames::execute("", 0),
        frames::bind("w", &["mine", "2"]),
        frames::execute("", 0),
        frames::sync(),
    ]);
    assert_eq!(sqlstate(&reply), "40001", "{reply:?}");
    assert_eq!(fleet.behind().value("select version from projects where id = 1"), "1");
    // Cycles that do not wait for each other.
    let one = |id: &str| {
        [
            frames::parse("", &write, &[]),
            frames::bind("", &["mine", id]),
            frames::execute("", 0),
            frames::sync(),
        ]
        .concat()
    };
    let reply = session.exchange(&[frames::query("select 1"), one("1")]);
    assert_eq!(commands(&reply), ["SELECT 1"], "{reply:?}");
    session.until_ready(1);
    assert_eq!(fleet.behind().value("select version from projects where id = 1"), "2");
}

#[test]
fn an_execute_in_sql_is_decided_behind_the_store() {
    let fleet = fleet(&[]);
    let mut ada = fleet.user(Protocol::Simple, "ada");
    ada.reads(0, "1");
    ada.reads(0, "2");
    fleet.other_writes("2");
    let mut session = fleet.proxies[1].session();
    session.ok("prepare w(text, int) as update projects set name = $1 where id = $2");
    ada.request += 1;
    assert_eq!(session.ok(&ada.says("execute w('mine', 1)")), "UPDATE 1");
    assert_eq!(sqlstate(&session.query(&ada.says("execute w('mine', 2)"))), "40001");
    assert_eq!(sqlstate(&session.extended(&ada.says("execute w('mine', 2)"), &[])), "40001");
}

#[test]
fn versions_that_the_application_writes_back() {
    let fleet = fleet(&[]);
    for (protocol, id) in BOTH {
        let mut ada = fleet.user(protocol, "ada");
        ada.reads(0, id);
        let save = "update projects set name = $1, version = $2 where id = $3";
        // An object saved at the one and, unchanged in memory, at the other.
        assert_eq!(commands(&fleet.told(0, || ada.say(0, save, &["a", "1", id]))), ["UPDATE 1"]);
        assert_eq!(commands(&fleet.told(1, || ada.say(1, save, &["b", "1", id]))), ["UPDATE 1"]);
        fleet.other_writes(id);
        assert_eq!(sqlstate(&ada.say(0, save, &["c", "3", id])), "40001");
    }
}

#[test]
fn truncate_and_writes_that_nobody_can_follow() {
    let fleet = fleet(&[]);
    let mut ada = fleet.user(Protocol::Simple, "ada");
    let insert = "insert into programs (id, name, version) values (1, 'new', 7)";
    let read = "select id, name from programs where id = 1";
    let write = "update programs set name = 'mine' where id = 1";
    fleet.told(0, || ada.say(0, read, &[]));
    fleet.told(1, || fleet.proxies[1].session().ok("truncate programs"));
    fleet.behind().ok(insert);
    assert_eq!(commands(&fleet.told(0, || ada.say(0, write, &[]))), ["UPDATE 1"]);
    // What is read behind it counts.
    fleet.told(0, || ada.say(0, read, &[]));
    fleet.behind().ok("update programs set version = 20");
    assert_eq!(sqlstate(&ada.say(1, write, &[])), "40001");
    // Another's set write at the other proxy moves what this one has seen.
    fleet.told(0, || ada.say(0, read, &[]));
    fleet.told(1, || ada.say(1, read, &[]));
    let all = "update programs set name = 'all'";
    assert_eq!(commands(&fleet.told(1, || ada.say(1, all, &[]))), ["UPDATE 1"]);
    assert_eq!(commands(&ada.say(0, write, &[])), ["UPDATE 1"]);
    // Deleted at the one: at the other it is no conflict to delete it again.
    ada.reads(0, "3");
    let delete = "delete from projects where id = 3";
    assert_eq!(commands(&fleet.told(1, || ada.say(1, delete, &[]))), ["DELETE 1"]);
    assert_eq!(commands(&ada.say(0, delete, &[])), ["DELETE 0"]);
}

#[test]
fn without_a_label_and_in_other_scopes_the_store_is_left_alone() {
    let fleet = fleet(&["--scope-exceptions", "application_name=worker:connection"]);
    let mut session = fleet.proxies[0].session();
    session.ok("select id, name from projects where id = 1");
    session.ok("update projects set name = 'x' where id = 1");
    session.ok("begin");
    session.ok("select id, name from projects where id = 1");
    session.ok("update projects set name = 'x' where id = 1");
    session.ok("commit");
    let proxy = &fleet.proxies[0];
    assert_eq!(proxy.metric("staleguard_store_fetches_total", &[]), 0.0);
    assert_eq!(sent(proxy), 0.0);
}

#[test]
fn keys_tell_neither_label_nor_row_and_end_by_themselves() {
    let redis = Redis::start_with(Some("open sesame"), &[]);
    let fleet = fleet_with(redis, &["--context-store-prefix", "app.blue", "--context-ttl", "2h"]);
    let mut ada = fleet.user(Protocol::Simple, "a-secret-session-key");
    fleet.told(0, || ada.say(0, "select code, name from worker_types where code = 'ops'", &[]));
    let reply = ada.say(0, "update worker_types set name = 'a-secret-value' where code = 'ops'", &[]);
    assert_eq!(commands(&reply), ["UPDATE 1"], "{reply:?}");
    until("the row has two events", || {
        let rows: Vec<String> =
            fleet.redis.keys().into_iter().filter(|k| k.starts_with("app.blue:1:r:")).collect();
        rows.len() == 1 && fleet.redis.ask(&["LLEN", &rows[0]]) == Answer::Number(2)
    });
    let mut kinds = Vec::new();
    for key in fleet.redis.keys() {
        let secret = ["secret", "ops", "proxied", "worker"].iter().any(|word| key.contains(word));
        assert!(key.starts_with("app.blue:1:") && !secret, "{key}");
        let left = fleet.redis.ask(&["PTTL", &key]).number();
        assert!(left > 0 && left <= 2 * 3_600_000, "{key}: {left}");
        kinds.extend(key.strip_prefix("app.blue:1:").and_then(|rest| rest.chars().next()));
        if key.contains(":r:") {
            let events = fleet.redis.ask(&["LRANGE", &key, "0", "-1"]).texts().concat();
            assert!(!events.contains("secret"), "{events}");
        }
    }
    kinds.sort_unstable();
    kinds.retain(|kind| *kind != 'w');
    assert_eq!(kinds, ['c', 'i', 'r', 't']);
    for proxy in &fleet.proxies {
        assert!(!proxy.log().text().contains("sesame"), "{}", proxy.log().text());
    }
}

#[test]
fn an_account_that_may_no_more_than_the_page_says() {
    let redis = Redis::start();
    let page = include_str!("../../docs/scopes.md");
    let rules = page.split("ACL rules: `").nth(1).and_then(|rest| rest.split('`').next()).unwrap();
    let rules = rules.replace("PREFIX", "staleguard");
    let account: Vec<&str> =
        ["ACL", "SETUSER", "proxy", "on", ">hush"].into_iter().chain(rules.split(' ')).collect();
    assert_eq!(redis.ask(&account), Answer::Text("OK".to_owned()));
    let cluster = cluster();
    let url = redis.url_of("proxy", "hush");
    let proxies = (0..2).map(|_| proxy_at(&url, &cluster, &[])).collect();
    let fleet = Fleet { proxies, redis, cluster };
    fleet.proxies.iter().for_each(is_up);
    let mut ada = fleet.user(Protocol::Simple, "ada");
    ada.reads(0, "1");
    fleet.other_writes("1");
    on_project("1", 1, Some(2)).check(&ada.saves(1, "1"), 'I');
    for _ in 0..40 {
        ada.reads(0, "1");
    }
    ada.say(0, "update projects set name = 'x' where budget > 0", &[]);
    fleet.told(0, || fleet.proxies[0].session().ok("truncate programs"));
    assert_eq!(fleet.proxies[0].metric("staleguard_store_errors_total", &[]), 0.0);
}

#[test]
fn a_row_that_is_read_over_and_over_stays_short() {
    let fleet = fleet(&[]);
    let readers: Vec<_> = (0..2)
        .flat_map(|n| (0..2).map(move |m| (n, m)))
        .map(|(n, m)| {
            let mut session = fleet.proxies[n].session();
            std::thread::spawn(move || {
                for request in 0..150 {
                    let who = format!("/*user='ada',request='{n}-{m}-{request}'*/");
                    session.ok(&format!("{who} select id, name from projects where id = 1"));
                }
            })
        })
        .collect();
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    until("all is told", || fleet.proxies.iter().map(sent).sum::<f64>() == 600.0);
    let is_short = || {
        let key = fleet.redis.keys().into_iter().find(|k| k.contains(":r:")).unwrap();
        fleet.redis.ask(&["LLEN", &key]).number() < 64
    };
    until("the row is short", is_short);
    // Nothing of it is lost: neither the read...
    fleet.other_writes("1");
    let mut ada = fleet.user(Protocol::Simple, "ada");
    on_project("1", 1, Some(2)).check(&fleet.told(1, || ada.saves(1, "1")), 'I');
    ada.reads(0, "1");
    ada.saves_well(1, "1");
    // ...nor own writes, when they are what makes it long.
    for n in 0..100 {
        ada.saves_well(n % 2, "1");
    }
    until("the row is short", is_short);
    fleet.other_writes("1");
    on_project("1", 103, Some(104)).check(&ada.saves(0, "1"), 'I');
}
