//! Certificates and users that change while the proxy runs.

use std::fs;
use std::time::{Duration, Instant};

use crate::common::LIMIT;
use crate::common::certs::{Authority, Pair};
use crate::common::cluster::cluster;
use crate::common::proxy::Proxy;
use crate::common::raw::Raw;

const WHO: [(&str, &str); 2] = [("user", "postgres"), ("database", "proxied")];

fn put(from: &Pair, to: &Pair) {
    for (from, to) in [(&from.key, &to.key), (&from.certificate, &to.certificate)] {
        fs::copy(from, to).unwrap();
    }
}

#[test]
fn certificates_change_without_a_restart_and_broken_ones_change_nothing() {
    let (first, second, third) = (Authority::new(), Authority::new(), Authority::new());
    let served = first.issue("proxy", &["localhost"]);
    let cluster = cluster();
    let arguments =
        ["--tls-client", "allow", "--tls-certificate", &served.certificate, "--tls-key", &served.key];
    let proxy = Proxy::start(&cluster, &arguments);
    let trusts =
        |authority: &Authority| Raw::open_tls(proxy.address(), &authority.client(None, &["postgresql"]));
    let reloads = |outcome| proxy.metric("staleguard_reloads_total", &[("outcome", outcome)]);
    let mut old = trusts(&first).unwrap().log_in(&WHO);

    // At a signal.
    put(&second.issue("new", &["localhost"]), &served);
    proxy.tell("HUP");
    proxy.log().wait(|line| line.contains("were read again")).unwrap();
    assert!(trusts(&first).is_err());
    assert_eq!(trusts(&second).unwrap().log_in(&WHO).value("select 1"), "1");
    assert_eq!(old.value("select 2"), "2", "who is connected stays so");
    assert_eq!((reloads("loaded"), reloads("failed")), (1.0, 0.0));

    // What cannot be used: no certificate at all, and one without its key.
    for broken in ["hush", &fs::read_to_string(third.issue("other", &["localhost"]).certificate).unwrap()] {
        let before = reloads("failed");
        fs::write(&served.certificate, broken).unwrap();
        proxy.tell("HUP");
        let begin = Instant::now();
        while reloads("failed") == before {
            assert!(begin.elapsed() < LIMIT, "the change was not noticed");
        }
        assert_eq!(trusts(&second).unwrap().log_in(&WHO).value("select 3"), "3");
    }
    let log = proxy.log().text();
    assert!(log.contains("what was read before stays in force") && !log.contains("hush"), "{log}");

    // Without a signal, at a handshake.
    put(&third.issue("third", &["localhost"]), &served);
    let begin = Instant::now();
    while trusts(&third).is_err() {
        assert!(begin.elapsed() < LIMIT, "the change was not noticed");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(trusts(&second).is_err());
}
