//! One sequence, played on the proxy and on the model: whose turn it is, transactions and savepoints.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Known, Rules, Session};
use super::{CONNECTIONS, Kind, ROWS, USERS};
use crate::common::cluster::Cluster;
use crate::common::frames::Frame;
use crate::common::proxy::Proxy;
use crate::common::raw::{Protocol, Raw, commands, error, sqlstate};
use crate::differential::rng::Rng;

/// One connection, as the server and the model have it.
pub(super) struct Connection {
    pub(super) raw: Raw,
    pub(super) open: bool,
    pub(super) failed: bool,
    pub(super) savepoints: Vec<String>,
    /// What the open transaction sees of the rows that it wrote, by savepoint.
    pub(super) sees: Vec<BTreeMap<usize, Option<i64>>>,
    /// Rows that it has written at any time.
    pub(super) locked: BTreeSet<usize>,
    /// Whose the transaction is, or the statement.
    pub(super) user: Option<usize>,
    /// Whose the session is by SET or a sticky lookup.
    pub(super) session_user: Option<usize>,
    pub(super) unit: u64,
    pub(super) model: Session,
}

/// One sequence.
pub(super) struct Play {
    pub(super) kind: Kind,
    pub(super) rules: Rules,
    pub(super) base: usize,
    pub(super) connections: Vec<Connection>,
    pub(super) behind: Raw,
    pub(super) committed: [Option<i64>; ROWS],
    pub(super) shared: Vec<Known>,
    pub(super) requests: [u64; USERS],
    pub(super) units: u64,
    pub(super) log: Vec<String>,
}

impl Play {
    pub(super) fn new(proxy: &Proxy, cluster: &Cluster, (kind, rules): (Kind, Rules), base: usize) -> Self {
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

    pub(super) fn fresh(&mut self) -> u64 {
        self.units += 1;
        self.units
    }

    pub(super) fn label(&self, user: usize) -> String {
        format!("{}", self.base + user)
    }

    /// Says a statement of the present user.
    pub(super) fn say(&mut self, c: usize, rng: &mut Rng, sql: &str) -> Vec<Frame> {
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
    pub(super) fn fine(&mut self, c: usize, rng: &mut Rng, sql: &str) -> Result<(), String> {
        let reply = self.say(c, rng, sql);
        error(&reply).map_or(Ok(()), |e| Err(format!("{sql}: {e:?}")))
    }

    pub(super) fn visible(&self, c: usize, row: usize) -> Option<i64> {
        let own = self.connections[c].sees.iter().rev().find_map(|level| level.get(&row));
        own.copied().unwrap_or(self.committed[row])
    }

    pub(super) fn locked(&self, c: Option<usize>, row: usize) -> bool {
        self.connections.iter().enumerate().any(|(n, other)| Some(n) != c && other.locked.contains(&row))
    }

    /// Whose the next transaction or statement is, outside of a block.
    pub(super) fn enter(&mut self, c: usize, rng: &mut Rng) {
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

    pub(super) fn step(&mut self, step: u64) -> Result<(), String> {
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

    pub(super) fn begin(&mut self, c: usize, rng: &mut Rng) -> Result<(), String> {
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
    pub(super) fn look_up(&mut self, c: usize, rng: &mut Rng) -> Result<(), String> {
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

    pub(super) fn savepoints(&mut self, c: usize, rng: &mut Rng) -> Result<(), String> {
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

    pub(super) fn go_back(&mut self, c: usize, rng: &mut Rng, at: usize) -> Result<(), String> {
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

    pub(super) fn end_or_go_back(&mut self, c: usize, rng: &mut Rng) -> Result<(), String> {
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

    pub(super) fn end(&mut self, c: usize, rng: &mut Rng) -> Result<(), String> {
        let commit = rng.chance(65);
        self.fine(c, rng, if commit { "commit" } else { "rollback" })?;
        let commit = commit && !self.connections[c].failed;
        self.over(c, commit);
        Ok(())
    }

    /// A transaction is over, be it a statement's own.
    pub(super) fn over(&mut self, c: usize, committed: bool) {
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
    pub(super) fn outside(&mut self, c: usize, rng: &mut Rng) -> Result<(), String> {
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
}
