//! Two sessions, one direct and one through the proxy, on databases that began the same: PostgreSQL is the
//! oracle, and whatever the proxy's client sees must be what the direct client sees.

use std::sync::Arc;

use super::cluster::{Cluster, cluster, highest_oid};
use super::frames::Frame;
use super::proxy::Proxy;
use super::raw::{Protocol, Raw};

/// A cluster, a proxy before it, and how to reach both sides.
pub struct Stage {
    /// The proxy.
    pub proxy: Proxy,
    /// The cluster.
    pub cluster: Arc<Cluster>,
}

/// The usual stage of a test: a cluster of its own and a proxy with the built-in defaults.
pub fn stage() -> Stage {
    stage_with(&[])
}

/// A stage whose proxy gets further arguments.
pub fn stage_with(arguments: &[&str]) -> Stage {
    let cluster = cluster();
    Stage { proxy: Proxy::start(&cluster, arguments), cluster }
}

impl Stage {
    /// A session through the proxy on the database `proxied`.
    pub fn session(&self) -> Raw {
        self.proxy.session()
    }

    /// A session past the proxy on the database `proxied`: the other user, or the judge.
    pub fn behind(&self) -> Raw {
        self.cluster.direct("proxied")
    }

    /// The version of the row that a condition names, as the server has it.
    pub fn version(&self, table: &str, condition: &str) -> String {
        self.behind().value(&format!("select version from {table} where {condition}"))
    }

    /// Another user's write of a row, through the proxy: it lands and bumps.
    pub fn other_writes(&self, sql: &str) {
        assert_eq!(self.session().ok(sql), "UPDATE 1", "{sql}");
    }

    /// Conflicts counted so far.
    pub fn conflicts(&self) -> f64 {
        self.proxy.metric("version_conflicts_total", &[])
    }

    /// Twin sessions of the superuser.
    pub fn twin(&self) -> Twin {
        self.twin_of("postgres")
    }

    /// Twin sessions of a role.
    pub fn twin_of(&self, user: &str) -> Twin {
        let direct = Raw::connect(&self.cluster.address(), user, "direct");
        Twin { direct, proxied: self.proxy.session_of(user, "proxied") }
    }
}

/// Twin sessions.
pub struct Twin {
    /// Past the proxy, on the database `direct`.
    pub direct: Raw,
    /// Through the proxy, on the database `proxied`.
    pub proxied: Raw,
}

impl Twin {
    /// Sends the same messages to both and demands the same reply, byte for byte but for version values.
    /// Returns what the proxy's client got.
    pub fn exchange(&mut self, messages: &[Vec<u8>]) -> Vec<Frame> {
        let direct = self.direct.exchange(messages);
        let proxied = self.proxied.exchange(messages);
        same(&direct, &proxied);
        proxied
    }

    /// One statement with `$1`.. on both, in either protocol.
    pub fn say(&mut self, protocol: Protocol, sql: &str, values: &[&str]) -> Vec<Frame> {
        let direct = self.direct.say(protocol, sql, values);
        let proxied = self.proxied.say(protocol, sql, values);
        same(&direct, &proxied);
        proxied
    }

    /// One simple Query on both.
    pub fn query(&mut self, sql: &str) -> Vec<Frame> {
        let direct = self.direct.query(sql);
        let proxied = self.proxied.query(sql);
        same(&direct, &proxied);
        proxied
    }

    /// One statement in the extended protocol on both.
    pub fn extended(&mut self, sql: &str, values: &[&str]) -> Vec<Frame> {
        let direct = self.direct.extended(sql, values);
        let proxied = self.proxied.extended(sql, values);
        same(&direct, &proxied);
        proxied
    }
}

/// Panics unless two replies are the same but for the values of version columns.
pub fn same(direct: &[Frame], proxied: &[Frame]) {
    let (direct, proxied) = (masked(direct), masked(proxied));
    assert!(direct == proxied, "replies differ\n direct: {direct:#?}\nproxied: {proxied:#?}");
}

/// The frames with the values of columns called `version` blanked, as far as row descriptions name them, with
/// the OIDs of relations that a test has created itself made alike, and without BackendKeyData.
pub fn masked(reply: &[Frame]) -> Vec<Frame> {
    let mut versions = Vec::new();
    let mut out = Vec::new();
    for frame in reply.iter().filter(|f| f.tag != b'K') {
        let mut frame = frame.clone();
        match frame.tag {
            b'T' => {
                versions =
                    frame.columns().iter().map(|(n, origin)| n == "version" && origin.0 != 0).collect();
                blank_new_oids(&mut frame);
            }
            // Where in its own source the server noticed a syntax error tells nothing of the client's text.
            b'E' if frame.field('R').as_deref() == Some("scanner_yyerror") => {
                frame.body = frame
                    .body
                    .split(|b| *b == 0)
                    .filter(|f| !f.starts_with(b"L"))
                    .collect::<Vec<_>>()
                    .join(&0);
            }
            // NotificationResponse begins with the sender's process id.
            b'A' => frame.body[..4].fill(0),
            b'D' if versions.contains(&true) => blank(&mut frame, &versions),
            _ => {}
        }
        out.push(frame);
    }
    out
}

/// Puts ones over the table OIDs of relations that came after the databases were made equal.
fn blank_new_oids(description: &mut Frame) {
    let mut at = 2;
    for (name, (oid, _)) in description.columns() {
        at += name.len() + 1;
        if oid > highest_oid() {
            description.body[at..at + 4].fill(0xff);
        }
        at += 18;
    }
}

/// Puts zeros over the bytes of the marked values; lengths stay.
fn blank(row: &mut Frame, marked: &[bool]) {
    let mut at = 2;
    for (value, marked) in row.values().iter().zip(marked) {
        at += 4;
        let len = value.as_ref().map_or(0, Vec::len);
        if *marked {
            row.body[at..at + len].fill(0);
        }
        at += len;
    }
}
