//! Random interleavings of users, connections, transactions and labels: the proxy and a simple reference model of
//! the rules (`model`) agree on every accept and every refusal. `play` plays a sequence on both, `work` has its reads and
//! writes.
//!
//! One thread drives all connections, so that the order is known; statements that would wait for another
//! connection's row lock are left out. `STALEGUARD_FUZZ_SEQUENCES=N` runs N sequences in place of the default,
//! `STALEGUARD_FUZZ_SEED=S` begins at seed S. A failure prints its seed and the shortest sequence found that still
//! fails.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::cluster::{Cluster, cluster};
use crate::common::proxy::Proxy;
use crate::differential::rng::Rng;
use model::Rules;
use play::Play;

mod model;
mod play;
mod work;

/// Sequences of a usual run.
const SEQUENCES: u64 = 80;
const STEPS: usize = 60;
const CONNECTIONS: usize = 3;
const USERS: usize = 2;
const ROWS: usize = 2;
const NAMES: [&str; 3] = ["name", "budget", "status"];
/// How long the search for a shorter sequence may take.
const SHRINK: Duration = Duration::from_secs(60);

/// How users are told apart.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Connection,
    Transaction,
    Comment,
    Request,
    Setting,
    Lookup,
    Sticky,
}

impl Kind {
    fn is_context(self) -> bool {
        !matches!(self, Self::Connection | Self::Transaction)
    }
}

const PLAIN: Rules = Rules { earliest: false, told: false };
const EARLIEST: Rules = Rules { earliest: true, told: false };
const TOLD: Rules = Rules { earliest: false, told: true };

/// One configuration for each seed in turn.
const KINDS: [(Kind, Rules); 10] = [
    (Kind::Connection, PLAIN),
    (Kind::Transaction, PLAIN),
    (Kind::Comment, PLAIN),
    (Kind::Request, PLAIN),
    (Kind::Setting, PLAIN),
    (Kind::Lookup, PLAIN),
    (Kind::Sticky, PLAIN),
    (Kind::Comment, EARLIEST),
    (Kind::Request, TOLD),
    (Kind::Setting, EARLIEST),
];

fn arguments((kind, rules): (Kind, Rules)) -> Vec<&'static str> {
    let mut out = match kind {
        Kind::Connection => vec!["--scope", "connection"],
        Kind::Transaction => vec!["--scope", "transaction"],
        Kind::Comment | Kind::Request => vec!["--scope", "context", "--context-label", "comment:user"],
        Kind::Setting => vec!["--scope", "context", "--context-label", "setting:app.user_id"],
        Kind::Lookup | Kind::Sticky => vec!["--scope", "context", "--context-label", "lookup:users.id"],
    };
    if kind == Kind::Sticky {
        out.extend(["--context-sticky", "true"]);
    }
    if rules.earliest {
        out.extend(["--context-reads", "earliest"]);
    }
    if rules.told {
        out.extend(["--context-after-conflict", "told"]);
    }
    out
}

#[test]
fn the_proxy_decides_as_the_reference_does() {
    let setting = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let first = setting("STALEGUARD_FUZZ_SEED").unwrap_or(0);
    let count = setting("STALEGUARD_FUZZ_SEQUENCES").unwrap_or(SEQUENCES);
    let bench = Bench::new();
    for seed in first..first + count {
        let kind = KINDS[seed as usize % KINDS.len()];
        let mut rng = Rng::new(seed);
        let steps: Vec<u64> = (0..STEPS).map(|_| rng.below(1 << 30) as u64).collect();
        if bench.run(kind, &steps).is_err() {
            let failure = bench.shrink(kind, steps);
            panic!("seed {seed}, {kind:?}:\n{failure}");
        }
    }
}

struct Bench {
    cluster: Arc<Cluster>,
    proxies: Vec<Proxy>,
    /// Rows and users of a run are its own.
    runs: Cell<usize>,
}

impl Bench {
    fn new() -> Self {
        let cluster = cluster();
        let proxies = KINDS.iter().map(|kind| Proxy::start(&cluster, &arguments(*kind))).collect();
        Self { cluster, proxies, runs: Cell::new(0) }
    }

    /// Runs a sequence; all that was done, where proxy and model part.
    fn run(&self, kind: (Kind, Rules), steps: &[u64]) -> Result<(), String> {
        self.runs.set(self.runs.get() + 1);
        let at = KINDS.iter().position(|k| *k == kind).unwrap();
        let mut play = Play::new(&self.proxies[at], &self.cluster, kind, 1000 + 10 * self.runs.get());
        for step in steps {
            if let Err(failure) = play.step(*step) {
                return Err(format!("{}\n{failure}", play.log.join("\n")));
            }
        }
        Ok(())
    }

    /// Leaves out steps as long as what is left still fails.
    fn shrink(&self, kind: (Kind, Rules), mut steps: Vec<u64>) -> String {
        let end = Instant::now() + SHRINK;
        let mut failure = self.run(kind, &steps).err().unwrap_or("not the second time".into());
        let mut size = steps.len() / 2;
        while size > 0 {
            let mut at = 0;
            while at < steps.len() && Instant::now() < end {
                let mut fewer = steps.clone();
                fewer.drain(at..steps.len().min(at + size));
                match self.run(kind, &fewer) {
                    Err(other) => (steps, failure) = (fewer, other),
                    Ok(()) => at += size,
                }
            }
            size /= 2;
        }
        failure
    }
}
