//! Random interleavings of users, connections, transactions and labels: the proxy and a simple reference model of
//! the rules (`model`) agree on every accept and every refusal.
//!
//! One thread drives all connections, so that the order is known; statements that would wait for another
//! connection's row lock are left out. `STALEGUARD_FUZZ_SEQUENCES=N` runs N sequences in place of the default,
//! `STALEGUARD_FUZZ_SEED=S` begins at seed S. A failure prints its seed and the shortest sequence found that still
//! fails.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::common::cluster::{Cluster, cluster};
use crate::common::frames::Frame;
use crate::common::proxy::Proxy;
use crate::common::raw::{Protocol, Raw, commands, error, sqlstate};
use crate::differential::rng::Rng;
use model::{Columns, Known, Own, Rules, Session};

mod model;

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

/// One connection, as the server and the model have it.
struct Connection {
    raw: Raw,
    open: bool,
    failed: bool,
    savepoints: Vec<String>,
    /// What the open transaction sees of the rows that it wrote, by savepoint.
    sees: Vec<BTreeMap<usize, Option<i64>>>,
    /// Rows that it has written at any time.
    locked: BTreeSet<usize>,
    /// Whose the transaction is, or the statement.
    user: Option<usize>,
    /// Whose the session is by SET or a sticky lookup.
    session_user: Option<usize>,
    unit: u64,
    model: Session,
}

/// One sequence.
struct Play {
    kind: Kind,
    rules: Rules,
    base: usize,
    connections: Vec<Connection>,
    behind: Raw,
    committed: [Option<i64>; ROWS],
    shared: Vec<Known>,
    requests: [u64; USERS],
    units: u64,
    log: Vec<String>,
}

impl Play {
    fn new(proxy: &Proxy, cluster: &Cluster, (kind, rules): (Kind, Rules), base: usize) -> Self {
        let mut behind = cluster.direct("proxied");
        for row in 0..ROWS {
            behind.ok(&format!("insert into projects (id, name) values ({}, 'x')", base + row));
        }
        let connection = || Connection {
            raw: proxy.session(),
            open: false,
            failed: false,
            savepoints: Vec::new(),
            sees: Vec::new(),
            locked: BTreeSet::new(),
            user: None,
            session_user: None,
            unit: 0,
            model: Session::default(),
        };
        Self {
            kind,
            rules,
            base,
            connections: (0..CONNECTIONS).map(|_| connection()).collect(),
            behind,
            committed: [Some(1); ROWS],
            shared: vec![Known::new(); USERS],
            requests: [1, 2],
            units: 10,
            log: Vec::new(),
        }
    }

    fn fresh(&mut self) -> u64 {
        self.units += 1;
        self.units
    }

    fn label(&self, user: usize) -> String {
        format!("{}", self.base + user)
    }

    /// Says a statement of the present user.
    fn say(&mut self, c: usize, rng: &mut Rng, sql: &str) -> Vec<Frame> {
        let connection = &self.connections[c];
        let comment = match (self.kind, connection.user) {
            (Kind::Comment, Some(user)) => format!(" /*user='{}'*/", self.label(user)),
            (Kind::Request, Some(user)) => {
                format!(" /*user='{}',traceparent='{}-{}'*/", self.label(user), self.base, connection.unit)
            }
            _ => String::new(),
        };
        let sql = format!("{sql}{comment}");
        let protocol = if rng.chance(50) { Protocol::Simple } else { Protocol::Extended };
        let reply = self.connections[c].raw.say(protocol, &sql, &[]);
        self.log.push(format!("  session {c}: {sql} -> {} {:?}", sqlstate(&reply), commands(&reply)));
        reply
    }

    /// A statement that must not fail.
    fn fine(&mut self, c: usize, rng: &mut Rng, sql: &str) -> Result<(), String> {
        let reply = self.say(c, rng, sql);
        error(&reply).map_or(Ok(()), |e| Err(format!("{sql}: {e:?}")))
    }

    fn visible(&self, c: usize, row: usize) -> Option<i64> {
        let own = self.connections[c].sees.iter().rev().find_map(|level| level.get(&row));
        own.copied().unwrap_or(self.committed[row])
    }

    fn locked(&self, c: Option<usize>, row: usize) -> bool {
        self.connections.iter().enumerate().any(|(n, other)| Some(n) != c && other.locked.contains(&row))
    }

    /// Whose the next transaction or statement is, outside of a block.
    fn enter(&mut self, c: usize, rng: &mut Rng) {
        let unit = self.fresh();
        let user = rng.below(USERS);
        let connection = &mut self.connections[c];
        match self.kind {
            Kind::Comment | Kind::Request => {
                connection.user = rng.chance(85).then_some(user);
                connection.unit = unit;
                if self.kind == Kind::Request {
                    if rng.chance(30) {
                        self.requests[user] = unit;
                    }
                    connection.unit = self.requests[user];
                }
            }
            Kind::Sticky => connection.user = connection.session_user,
            Kind::Setting => {
                connection.user = connection.session_user;
                connection.unit = unit;
            }
            _ => {
                connection.user = None;
                connection.unit = unit;
            }
        }
    }

    fn step(&mut self, step: u64) -> Result<(), String> {
        let mut rng = Rng::new(step);
        let rng = &mut rng;
        let c = rng.below(CONNECTIONS);
        let row = rng.below(ROWS);
        let choice = rng.below(100);
        let (open, failed) = (self.connections[c].open, self.connections[c].failed);
        if failed {
            return self.end_or_go_back(c, rng);
        }
        match choice {
            0..8 if open => self.end(c, rng),
            0..14 if !open => self.begin(c, rng),
            14..20 if open => self.savepoints(c, rng),
            14..22 if !open => self.outside(c, rng),
            20..22 if !self.kind.is_context() => {
                self.fine(c, rng, "reset all")?;
                self.connections[c].model.clear();
                Ok(())
            }
            22..28 => self.someone_else(row, rng),
            28..32 if open && self.kind == Kind::Lookup => self.look_up(c, rng),
            _ => {
                if !open {
                    self.enter(c, rng);
                }
                self.work(c, row, rng)?;
                if !open {
                    self.over(c, true);
                }
                Ok(())
            }
        }
    }

    fn begin(&mut self, c: usize, rng: &mut Rng) -> Result<(), String> {
        self.enter(c, rng);
        let user = self.connections[c].user.take();
        self.fine(c, rng, "begin")?;
        let connection = &mut self.connections[c];
        connection.user = user;
        connection.open = true;
        connection.sees = vec![BTreeMap::new()];
        connection.model.begin();
        match self.kind {
            Kind::Setting if rng.chance(60) => {
                let user = rng.below(USERS);
                let label = self.label(user);
                self.fine(c, rng, &format!("set local app.user_id = '{label}'"))?;
                self.connections[c].user = Some(user);
                Ok(())
            }
            Kind::Lookup if rng.chance(60) => self.look_up(c, rng),
            _ => Ok(()),
        }
    }

    /// The identity lookup: the first one labels the transaction.
    fn look_up(&mut self, c: usize, rng: &mut Rng) -> Result<(), String> {
        let user = rng.below(USERS);
        let label = self.label(user);
        self.fine(c, rng, &format!("select email from users where id = {label}"))?;
        let connection = &mut self.connections[c];
        if connection.user.is_none() {
            connection.user = Some(user);
            for (row, version, shown) in std::mem::take(&mut connection.model.pending) {
                self.shared[user].entry(row).or_default().read(Some(connection.unit), version, &shown);
            }
        }
        Ok(())
    }

    fn savepoints(&mut self, c: usize, rng: &mut Rng) -> Result<(), String> {
        let name = ["a", "b"][rng.below(2)];
        let connection = &self.connections[c];
        let known = connection.savepoints.iter().rposition(|n| n == name);
        match (rng.below(3), known) {
            (0, _) | (_, None) => {
                self.fine(c, rng, &format!("savepoint {name}"))?;
                let connection = &mut self.connections[c];
                connection.savepoints.push(name.into());
                connection.sees.push(BTreeMap::new());
                connection.model.savepoint(name);
                Ok(())
            }
            (1, Some(at)) => {
                self.fine(c, rng, &format!("release {name}"))?;
                let connection = &mut self.connections[c];
                connection.savepoints.truncate(at);
                for level in connection.sees.split_off(at + 1) {
                    connection.sees[at].extend(level);
                }
                connection.model.release(name);
                Ok(())
            }
            (_, Some(at)) => self.go_back(c, rng, at),
        }
    }

    fn go_back(&mut self, c: usize, rng: &mut Rng, at: usize) -> Result<(), String> {
        let name = self.connections[c].savepoints[at].clone();
        self.fine(c, rng, &format!("rollback to {name}"))?;
        let connection = &mut self.connections[c];
        connection.savepoints.truncate(at + 1);
        connection.sees.truncate(at + 1);
        connection.sees.push(BTreeMap::new());
        connection.model.rollback_to(&name);
        connection.failed = false;
        Ok(())
    }

    fn end_or_go_back(&mut self, c: usize, rng: &mut Rng) -> Result<(), String> {
        match self.connections[c].savepoints.len() {
            0 => self.end(c, rng),
            n if rng.chance(70) => {
                // The innermost of its name.
                let name = self.connections[c].savepoints[rng.below(n)].clone();
                let at = self.connections[c].savepoints.iter().rposition(|s| *s == name).unwrap();
                self.go_back(c, rng, at)
            }
            _ => self.end(c, rng),
        }
    }

    fn end(&mut self, c: usize, rng: &mut Rng) -> Result<(), String> {
        let commit = rng.chance(65);
        self.fine(c, rng, if commit { "commit" } else { "rollback" })?;
        let commit = commit && !self.connections[c].failed;
        self.over(c, commit);
        Ok(())
    }

    /// A transaction is over, be it a statement's own.
    fn over(&mut self, c: usize, committed: bool) {
        let connection = &mut self.connections[c];
        for level in std::mem::take(&mut connection.sees) {
            if committed {
                for (row, version) in level {
                    self.committed[row] = version;
                }
            }
        }
        if let (Some(user), true) = (connection.user, committed) {
            for (row, own) in &connection.model.own {
                self.shared[user].entry(*row).or_default().wrote(own, true);
            }
        }
        connection.model.end(committed);
        if self.kind != Kind::Connection {
            connection.model.known.clear();
        }
        connection.open = false;
        connection.failed = false;
        connection.savepoints.clear();
        connection.locked.clear();
        connection.user = None;
    }

    /// What is said outside of transactions: labels of the session, resets.
    fn outside(&mut self, c: usize, rng: &mut Rng) -> Result<(), String> {
        let user = rng.below(USERS);
        let label = self.label(user);
        self.connections[c].user = None;
        if rng.chance(35) {
            let reset = ["discard all", "reset all"][rng.below(2)];
            self.fine(c, rng, reset)?;
            let connection = &mut self.connections[c];
            connection.model.clear();
            connection.session_user = None;
            return Ok(());
        }
        match self.kind {
            Kind::Setting => {
                self.fine(c, rng, &format!("set app.user_id = '{label}'"))?;
                self.connections[c].session_user = Some(user);
            }
            Kind::Sticky => {
                self.fine(c, rng, &format!("select email from users where id = {label}"))?;
                let unit = self.fresh();
                let connection = &mut self.connections[c];
                connection.session_user = Some(user);
                connection.unit = unit;
            }
            _ => {}
        }
        Ok(())
    }

    /// Another program, past the proxy.
    fn someone_else(&mut self, row: usize, rng: &mut Rng) -> Result<(), String> {
        if self.locked(None, row) {
            return Ok(());
        }
        let id = self.base + row;
        let sql = match (self.committed[row], rng.chance(15)) {
            (None, _) => {
                self.committed[row] = Some(1);
                format!("insert into projects (id, name) values ({id}, 'new')")
            }
            (Some(_), true) => {
                self.committed[row] = None;
                format!("delete from projects where id = {id}")
            }
            (Some(version), false) => {
                self.committed[row] = Some(version + 1);
                format!("update projects set version = version + 1 where id = {id}")
            }
        };
        self.behind.ok(&sql);
        self.log.push(format!("  someone else: {sql}"));
        Ok(())
    }

    fn work(&mut self, c: usize, row: usize, rng: &mut Rng) -> Result<(), String> {
        let mut columns = Columns::from([rng.below(NAMES.len())]);
        if rng.chance(50) {
            columns.extend(0..NAMES.len());
        }
        let choice = rng.below(100);
        if choice < 45 {
            return self.read(c, row, &columns, rng);
        }
        if self.locked(Some(c), row) {
            return Ok(());
        }
        let id = self.base + row;
        match (choice, self.visible(c, row)) {
            (90.., None) => {
                self.fine(c, rng, &format!("insert into projects (id, name) values ({id}, 'again')"))?;
                self.wrote(c, row, Some(1), Own::Forgotten);
                Ok(())
            }
            (92.., Some(version)) => {
                let sql = format!("delete from projects where id = {id}");
                self.checked(c, row, &sql, &Columns::new(), Some(version), rng)
            }
            (84.., Some(version)) => {
                let sql = format!("update projects set budget = budget + 1 where id = {id}");
                self.fine(c, rng, &sql)?;
                let unknown = self.connections[c].model.has_left_unknown(row);
                let moved = Own::Moved(version, version + 1, Columns::new());
                self.wrote(c, row, Some(version + 1), if unknown { Own::Forgotten } else { moved });
                Ok(())
            }
            (_, version) => {
                let value = rng.below(1000);
                let sets: Vec<_> = columns.iter().map(|n| format!("{} = '{value}'", NAMES[*n])).collect();
                let sql = format!("update projects set {} where id = {id}", sets.join(", "));
                self.checked(c, row, &sql, &columns, version, rng)
            }
        }
    }

    fn read(&mut self, c: usize, row: usize, columns: &Columns, rng: &mut Rng) -> Result<(), String> {
        let names: Vec<_> = columns.iter().map(|n| NAMES[*n]).collect();
        let id = self.base + row;
        self.fine(c, rng, &format!("select {} from projects where id = {id}", names.join(", ")))?;
        let Some(version) = self.visible(c, row) else { return Ok(()) };
        let connection = &mut self.connections[c];
        let own = connection.model.has_written(row);
        match connection.user {
            Some(_) if own => {
                connection.model.own.push((row, Own::Read(connection.unit, version, columns.clone())))
            }
            Some(user) => {
                self.shared[user].entry(row).or_default().read(Some(connection.unit), version, columns);
            }
            None => {
                connection.model.known.entry(row).or_default().read(None, version, columns);
                if own {
                    connection.model.own.push((row, Own::Read(connection.unit, version, columns.clone())));
                } else {
                    connection.model.pending.push((row, version, columns.clone()));
                }
            }
        }
        Ok(())
    }

    /// A write that is checked if a version is known.
    fn checked(
        &mut self,
        c: usize,
        row: usize,
        sql: &str,
        sets: &Columns,
        actual: Option<i64>,
        rng: &mut Rng,
    ) -> Result<(), String> {
        let connection = &self.connections[c];
        let unit = connection.unit;
        let (expected, deleted) = match connection.user.filter(|_| self.kind.is_context()) {
            Some(user) => {
                let known = connection.model.within(&self.shared[user], row);
                if connection.model.has_left_unknown(row) {
                    (None, false)
                } else if sets.is_empty() && connection.model.has_written_checked(row) {
                    (actual, false)
                } else {
                    (known.expected(sets, Some(unit), self.rules), known.deleted)
                }
            }
            None => match connection.model.known.get(&row) {
                Some(known) => (known.expected(sets, None, PLAIN), known.deleted),
                None => (None, false),
            },
        };
        let delete = sets.is_empty();
        let conflicts = match (expected, actual) {
            (Some(expected), Some(actual)) => expected != actual,
            (Some(_), None) => !delete && !deleted,
            (None, _) => false,
        };
        let reply = self.say(c, rng, sql);
        let verb = if delete { "DELETE" } else { "UPDATE" };
        let told = format!("expected {expected:?}, the row is at {actual:?}, reply {reply:?}");
        if conflicts {
            let message = error(&reply).and_then(|e| e.field('M')).unwrap_or_default();
            let wanted = format!("expected version {}", expected.unwrap_or_default());
            if sqlstate(&reply) != "40001" || !message.contains(&wanted) {
                return Err(format!("a conflict was due: {told}"));
            }
            let connection = &mut self.connections[c];
            connection.failed = connection.open;
            if let (Some(user), Some(expected)) = (connection.user, expected)
                && let Some(known) = self.shared[user].get_mut(&row)
            {
                known.refused(unit, expected, actual, self.rules);
            }
            return Ok(());
        }
        if commands(&reply) != [format!("{verb} {}", u8::from(actual.is_some()))] {
            return Err(format!("no conflict was due: {told}"));
        }
        match (actual, delete) {
            (None, _) => {}
            (Some(_), true) => self.wrote(c, row, None, Own::Deleted),
            (Some(v), false) if expected.is_some() => {
                self.wrote(c, row, Some(v + 1), Own::Moved(v, v + 1, sets.clone()));
            }
            (Some(v), false) => self.wrote(c, row, Some(v + 1), Own::Forgotten),
        }
        Ok(())
    }

    fn wrote(&mut self, c: usize, row: usize, version: Option<i64>, own: Own) {
        let connection = &mut self.connections[c];
        connection.model.wrote(row, own);
        match connection.sees.last_mut() {
            Some(level) => {
                level.insert(row, version);
                connection.locked.insert(row);
            }
            None => self.committed[row] = version,
        }
    }
}
