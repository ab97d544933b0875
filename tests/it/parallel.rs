//! Two connections work under one label at the same time.

use std::sync::Arc;

use crate::common::cluster::{Cluster, cluster};
use crate::common::frames;
use crate::common::proxy::Proxy;
use crate::common::raw::{Raw, commands};
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
