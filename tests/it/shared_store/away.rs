//! The store is slow, or gone, or comes back: no write hangs, and none is refused for what was lost.

use std::process::Command;
use std::time::{Duration, Instant};

use super::{Fleet, blind, fleet, fleet_with, is_up, proxy, sent, until};
use crate::common::cluster::cluster;
use crate::common::conflict::on_project;
use crate::common::proxy::{Proxy, staleguard, to_end};
use crate::common::raw::{BOTH, Protocol, commands, sqlstate};
use crate::common::redis::Redis;

/// The limit of a write that these tests set.
const SHORT: [&str; 2] = ["--context-store-timeout", "60ms"];

fn is_down(proxy: &Proxy) {
    until("the store is down", || proxy.metric("staleguard_store_up", &[]) == 0.0);
}

/// The time limit of a write that is none of the store's business.
const SOON: Duration = Duration::from_secs(5);

impl Fleet {
    fn writes_blind(&self, n: usize, protocol: Protocol, label: &str, id: &str) {
        let before = blind(&self.proxies[n]);
        let began = Instant::now();
        let reply = self.user(protocol, label).saves(n, id);
        assert_eq!(commands(&reply), ["UPDATE 1"], "{reply:?}");
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        assert_eq!(blind(&self.proxies[n]), before + 1.0);
    }
}

#[test]
fn a_slow_store_holds_up_no_write_and_no_read() {
    let fleet = fleet(&SHORT);
    let mut ada = fleet.user(Protocol::Simple, "ada");
    ada.reads(0, "1");
    ada.reads(0, "2");
    fleet.other_writes("1");
    fleet.redis.freeze();
    for (protocol, id) in BOTH {
        let began = Instant::now();
        let reply = ada.say(1, "select id, name from projects where id = 4", &[]);
        assert_eq!(commands(&reply), ["SELECT 1"]);
        assert!(began.elapsed() < SOON);
        fleet.writes_blind(0, protocol, "ada", id);
        fleet.writes_blind(1, protocol, "ada", id);
    }
    // A version that the application writes back may be its own increment: who knows.
    let save = "update projects set name = 'x', version = 2 where id = 5";
    assert_eq!(commands(&ada.say(0, save, &[])), ["UPDATE 1"]);
    // Set writes, and several in one message.
    assert_eq!(commands(&ada.say(0, "update projects set status = 'x' where id > 5", &[])), ["UPDATE 4"]);
    ada.request += 1;
    let two = format!(
        "{}; {}",
        ada.says("update projects set name = 'x' where id = 6"),
        ada.says("update projects set name = 'x' where id = 7")
    );
    assert_eq!(commands(&fleet.proxies[0].session().query(&two)), ["UPDATE 1", "UPDATE 1"]);
    // It is not waited for again and again.
    fleet.proxies.iter().for_each(is_down);
    let refused = |proxy: &Proxy| proxy.metric("staleguard_store_fetches_total", &[("outcome", "refused")]);
    let before = refused(&fleet.proxies[0]);
    fleet.writes_blind(0, Protocol::Simple, "ada", "1");
    assert_eq!(refused(&fleet.proxies[0]), before + 1.0);
    fleet.redis.thaw();
    fleet.proxies.iter().for_each(is_up);
    // What was lost makes nobody's write a conflict, and protection is back.
    for id in ["1", "2", "6"] {
        let reply = ada.saves(1, id);
        assert_eq!(commands(&reply), ["UPDATE 1"], "{reply:?}");
    }
    ada.reads(0, "4");
    fleet.other_writes("4");
    assert_eq!(sqlstate(&ada.saves(1, "4")), "40001");
}

#[test]
fn a_wait_for_the_store_is_not_followed_by_another_look() {
    let fleet = fleet(&[&SHORT[..], &["--catalog-max-age", "0s"]].concat());
    let looks = || fleet.proxies[0].metric("staleguard_catalog_looks_total", &[]);
    fleet.redis.freeze();
    for (protocol, id) in BOTH {
        let mut session = fleet.proxies[0].session();
        session.ok("select name from projects where id = 9");
        let before = looks();
        let write = format!("/*user='ada'*/ update projects set name = 'x' where id = {id}");
        assert_eq!(commands(&session.say(protocol, &write, &[])), ["UPDATE 1"]);
        // In the extended protocol before Parse, and before Bind at most.
        assert!(looks() - before <= if protocol == Protocol::Simple { 1.0 } else { 2.0 });
    }
}

#[test]
fn a_store_that_goes_and_comes_back_empty() {
    let fleet = fleet(&SHORT);
    for (protocol, id) in BOTH {
        let mut ada = fleet.user(protocol, "ada");
        ada.reads(0, id);
        fleet.redis.kill();
        fleet.proxies.iter().for_each(is_down);
        fleet.other_writes(id);
        fleet.writes_blind(0, protocol, "ada", id);
        fleet.writes_blind(1, protocol, "ada", id);
        // Reads go on, and are lost.
        let reply = ada.say(0, "select id, name from projects where id = $1", &[id]);
        assert_eq!(commands(&reply), ["SELECT 1"]);
        fleet.redis.restart();
        fleet.proxies.iter().for_each(is_up);
        ada.reads(1, id);
        fleet.other_writes(id);
        assert_eq!(sqlstate(&ada.saves(0, id)), "40001");
        assert_eq!(sqlstate(&ada.saves(1, id)), "40001");
    }
    for proxy in &fleet.proxies {
        let text = proxy.log().text();
        let told = |what: &str| text.lines().filter(|line| line.contains(what)).count();
        assert_eq!(told("the shared store of contexts is gone"), 2, "{text}");
        assert_eq!(told("the shared store of contexts answers"), 3, "{text}");
        assert_eq!(told("cannot be reached"), 0, "{text}");
        assert!(proxy.metric("staleguard_store_errors_total", &[]) > 0.0);
    }
}

#[test]
fn what_one_proxy_could_not_tell_is_forgotten_by_all() {
    let fleet = fleet(&SHORT);
    let mut ada = fleet.user(Protocol::Simple, "ada");
    let mut bob = fleet.user(Protocol::Simple, "bob");
    ada.reads(0, "1");
    bob.reads(0, "2");
    // Its connection is cut, and it is kept from connecting again; the store keeps what it has.
    fleet.redis.ask(&["CONFIG", "SET", "requirepass", "another"]);
    fleet.redis.ask_as("another", &["CLIENT", "KILL", "TYPE", "normal"]);
    fleet.proxies.iter().for_each(is_down);
    ada.say(0, "select id, name from projects where id = 1", &[]);
    fleet.writes_blind(0, Protocol::Simple, "ada", "1");
    fleet.redis.ask_as("another", &["CONFIG", "SET", "requirepass", ""]);
    fleet.proxies.iter().for_each(is_up);
    // Ada's save was not noted: a false conflict, if her read still counted.
    until("the store has been told", || fleet.proxies[1].metric("staleguard_store_up", &[]) == 1.0);
    let reply = ada.saves(1, "1");
    assert_eq!(commands(&reply), ["UPDATE 1"], "{reply:?}");
    // Bob's read was not touched by that.
    fleet.other_writes("2");
    on_project("2", 1, Some(2)).check(&bob.saves(1, "2"), 'I');
}

#[test]
fn a_proxy_that_starts_without_the_store() {
    let redis = Redis::start();
    redis.kill();
    let cluster = cluster();
    let proxy = proxy(&cluster, &redis, &SHORT);
    assert!(proxy.log().wait(|line| line.contains("cannot be reached")).is_some());
    let write = "/*user='ada'*/ update projects set name = 'x' where id = 1";
    assert_eq!(proxy.session().ok(write), "UPDATE 1");
    assert_eq!(blind(&proxy), 1.0);
    redis.restart();
    is_up(&proxy);
    assert_eq!(proxy.session().ok(write), "UPDATE 1");
    assert_eq!(blind(&proxy), 1.0);
}

#[test]
fn a_table_that_refuses_blind_writes_refuses_them_without_the_store() {
    let fleet = fleet(&[&SHORT[..], &["--blind", "reject"]].concat());
    let mut ada = fleet.user(Protocol::Extended, "ada");
    ada.reads(0, "1");
    assert_eq!(commands(&ada.saves(1, "1")), ["UPDATE 1"]);
    fleet.redis.kill();
    fleet.proxies.iter().for_each(is_down);
    let reply = ada.saves(1, "1");
    assert_eq!(sqlstate(&reply), "40001", "{reply:?}");
    let message = crate::common::raw::error(&reply).and_then(|e| e.field('M')).unwrap();
    assert_eq!(
        message,
        "blind write on project 1: the store that tells what this context has read did not answer"
    );
}

#[test]
fn what_was_noted_last_is_told_before_the_proxy_ends() {
    let mut fleet = fleet(&[]);
    for (protocol, id) in BOTH {
        let proxy = proxy(&fleet.cluster, &fleet.redis, &[]);
        is_up(&proxy);
        fleet.proxies[0] = proxy;
        let mut ada = fleet.user(protocol, "ada");
        ada.say(0, "select id, name from projects where id = $1", &[id]);
        let spare = self::proxy(&fleet.cluster, &fleet.redis, &[]);
        assert!(std::mem::replace(&mut fleet.proxies[0], spare).signal("TERM").success());
        fleet.other_writes(id);
        assert_eq!(sqlstate(&fleet.user(protocol, "ada").saves(1, id)), "40001");
    }
}

#[test]
fn a_server_that_refuses_is_not_relied_on() {
    // No memory for anything that is written.
    let redis = Redis::start_with(None, &["--maxmemory", "1", "--maxmemory-policy", "noeviction"]);
    let cluster = cluster();
    let proxy = proxy(&cluster, &redis, &SHORT);
    until("it is refused", || proxy.metric("staleguard_store_errors_total", &[("kind", "refused")]) > 0.0);
    assert_eq!(proxy.metric("staleguard_store_up", &[]), 0.0);
    assert_eq!(proxy.session().ok("/*user='ada'*/ update projects set name = 'x' where id = 1"), "UPDATE 1");
    assert_eq!((blind(&proxy), sent(&proxy)), (1.0, 0.0));
}

#[test]
fn the_store_is_checked_with_the_other_settings() {
    let check = |arguments: &[&str]| {
        let mut command = staleguard();
        command.args(["check-config", "--upstream", "127.0.0.1:5432"]).args(arguments);
        to_end(&mut command as &mut Command)
    };
    let (status, text) = check(&["--context-store", "redis://app:hush@store:6379/1"]);
    assert!(status.success() && !text.contains("hush"), "{text}");
    assert!(text.contains("context.store = \"redis://***@store:6379/1\""), "{text}");
    for wrong in [
        "rediss://:hush@store",
        "redis:/:hush@store",
        ":hush@store:6379",
        "store:6379",
        "redis://store/x",
        "memcached://store",
    ] {
        let (status, text) = check(&["--context-store", wrong]);
        assert!(!status.success() && !text.contains("hush"), "{text}");
        assert!(text.contains("expected local, or redis://"), "{text}");
    }
    let (status, text) = check(&["--context-store", "redis://store", "--context-snapshot", "/tmp/contexts"]);
    assert!(!status.success(), "{text}");
    assert!(text.contains("context.snapshot") && text.contains("does not go with context.store"), "{text}");
}

#[test]
fn the_warning_of_a_local_store_is_not_given() {
    let fleet = fleet_with(Redis::start(), &[]);
    for proxy in &fleet.proxies {
        let text = proxy.log().text();
        assert!(!text.contains("known to this process alone"), "{text}");
        assert!(text.contains("shared by a store"), "{text}");
    }
}

/// A key of the store becomes one of another kind.
fn becomes_a_hash(redis: &Redis, kind: &str) {
    let key = redis.keys().into_iter().find(|key| key.contains(kind)).unwrap();
    redis.ask(&["DEL", &key]);
    redis.ask(&["HSET", &key, "a", "b"]);
}

#[test]
fn keys_that_another_program_has_spoilt_are_made_anew() {
    for kind in [":t:", ":c:", ":i:", ":r:"] {
        let fleet = fleet(&[]);
        let mut ada = fleet.user(Protocol::Extended, "ada");
        ada.reads(0, "1");
        ada.reads(0, "2");
        becomes_a_hash(&fleet.redis, kind);
        // Whatever is asked first: nothing is known of the row, or it still is and its version is the present one.
        assert_eq!(commands(&ada.say(1, "update projects set status = 'x' where id > 0", &[])), ["UPDATE 9"]);
        assert_eq!(commands(&ada.saves(1, "3")), ["UPDATE 1"], "{kind}");
        for id in ["1", "2"] {
            ada.say(0, "select id, name, budget, status from projects where id = $1", &[id]);
        }
        // What could not be told then is forgotten, and that is all.
        until("protection is back", || {
            fleet.proxies.iter().for_each(is_up);
            let mut eve = fleet.user(Protocol::Simple, "ada");
            eve.say(0, "select id, name from projects where id = 1", &[]);
            fleet.other_writes("1");
            sqlstate(&eve.saves(1, "1")) == "40001"
        });
        let gone = |proxy: &Proxy| {
            proxy
                .log()
                .text()
                .lines()
                .filter(|line| line.contains("the shared store of contexts is gone"))
                .count()
        };
        let gone: Vec<usize> = fleet.proxies.iter().map(gone).collect();
        assert!(gone.iter().all(|&n| n <= 1), "{kind}: {gone:?}");
    }
}

#[test]
fn a_server_that_refuses_again_and_again_is_tried_less_often() {
    let redis = Redis::start();
    redis.ask(&["ACL", "SETUSER", "app", "on", ">hush", "~*", "+@all", "-zadd"]);
    let cluster = cluster();
    let proxy = super::proxy_at(&redis.url_of("app", "hush"), &cluster, &SHORT);
    is_up(&proxy);
    let began = Instant::now();
    let gone = || proxy.log().text().lines().filter(|line| line.contains("contexts is gone")).count();
    until("it has been gone for the sixth time", || {
        proxy.session().ok("/*user='ada'*/ select id, name from projects where id = 1");
        gone() >= 6
    });
    // Pauses of 50, 100, 200, 400 and 800 ms.
    assert!(began.elapsed() >= Duration::from_millis(1_550), "{:?}", began.elapsed());
}
