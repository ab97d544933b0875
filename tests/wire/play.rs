//! Plays a script at both sides, step by step, and tells what differs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::time::{Duration, Instant};

use crate::common::LIMIT;
use crate::common::cluster::Cluster;
use crate::common::frames::{Frame, cancel_request, message, untyped};
use crate::common::raw::Raw;
use crate::compare::{Item, Masks, difference, is_recorded};
use crate::decode;
use crate::script::{Script, Step, Until, What};

/// One side: the server direct, or the server behind the proxy.
pub struct Side<'a> {
    /// Its server.
    pub cluster: &'a Cluster,
    /// Where clients connect.
    pub address: String,
}

/// A connection of a side.
struct Connection {
    raw: Raw,
    masks: Masks,
    /// What is sent in one write with what follows it, at the latest when something else is done.
    unsent: Vec<u8>,
    /// ReadyForQuery that were called for and have not been waited for.
    due: usize,
    ended: bool,
}

struct Player<'a> {
    side: &'a Side<'a>,
    database: &'a str,
    masked: &'a [String],
    connections: BTreeMap<String, Connection>,
}

/// Plays a script in a database of that name on both sides. What differs and is not on record, to read.
pub fn play(script: &Script, direct: &Side<'_>, proxied: &Side<'_>, database: &str) -> Result<(), String> {
    let mut players = [direct, proxied].map(|side| Player {
        side,
        database,
        masked: &script.masked,
        connections: BTreeMap::new(),
    });
    let mut report = String::new();
    for step in &script.steps {
        let [direct, proxied] = players.each_mut().map(|p| p.step(step));
        let (direct, proxied) = (direct?, proxied?);
        judge(&format!("line {}", step.line), &step.recorded, &direct, &proxied, &mut report);
        if direct.last().is_some_and(Item::is_silence) {
            let came: String = direct.iter().map(|item| format!("  {}\n", item.line)).collect();
            return Err(format!("{report}line {}: also direct nothing more comes\n{came}", step.line));
        }
        if report.len() > 20_000 {
            report += "... and so on\n";
            return Err(report);
        }
    }
    let [direct, proxied] = players.map(Player::end);
    let names: Vec<_> = direct.keys().chain(proxied.keys()).collect();
    for name in names {
        let of = |items: &BTreeMap<String, Vec<Item>>| items.get(name).cloned().unwrap_or_default();
        judge(&format!("at the end, connection {name}"), &[], &of(&direct), &of(&proxied), &mut report);
    }
    if report.is_empty() { Ok(()) } else { Err(report) }
}

fn judge(place: &str, recorded: &[String], direct: &[Item], proxied: &[Item], report: &mut String) {
    let lines = difference(direct, proxied);
    if is_recorded(&lines, recorded) {
        return;
    }
    let _ = writeln!(report, "{place}:");
    if !lines.iter().any(|(sign, _)| *sign != ' ') {
        let _ = writeln!(report, "  the difference on record is none any more: {recorded:?}");
    }
    for (sign, line) in lines {
        let _ = writeln!(report, "  {sign} {line}");
    }
}

impl Player<'_> {
    /// What came, if the step was a wait. `Err`: the script itself is at fault.
    fn step(&mut self, step: &Step) -> Result<Vec<Item>, String> {
        let name = &step.connection;
        if !matches!(step.what, What::Send { .. }) {
            self.connections.values_mut().for_each(Connection::flush);
        }
        match &step.what {
            What::Open { past } => {
                self.open(name, *past);
                Ok(Vec::new())
            }
            What::Connect { past, version, parameters } => {
                self.open(name, *past);
                self.start(name, *version, parameters);
                Ok(self.connection(name).wait(Until::Tag(b'Z'), 1))
            }
            What::Startup { version, parameters } => {
                self.start(name, *version, parameters);
                Ok(Vec::new())
            }
            What::Send { bytes, ready } => {
                let mut greeting = Vec::new();
                if !self.connections.contains_key(name) {
                    self.open(name, false);
                    self.start(name, 196_608, &[]);
                    greeting = self.connection(name).wait(Until::Tag(b'Z'), 1);
                }
                let connection = self.connection(name);
                connection.due += ready;
                connection.unsent.extend(bytes);
                Ok(greeting)
            }
            What::Wait(until, count) => {
                let connection = self
                    .connections
                    .get_mut(name)
                    .ok_or_else(|| format!("line {}: no connection", step.line))?;
                let (until, count) = match until {
                    Until::Answered => (Until::Tag(b'Z'), std::mem::take(&mut connection.due)),
                    Until::Tag(b'Z') => {
                        // The script knows better, as where some of them are skipped.
                        connection.due = 0;
                        (*until, *count)
                    }
                    until => (*until, *count),
                };
                Ok(connection.wait(until, count))
            }
            What::Shut => {
                self.connection(name).raw.close_sending();
                Ok(Vec::new())
            }
            What::Cancel => {
                let mut raw = Raw::open(&self.side.address);
                raw.send(&cancel_request(&self.connection(name).raw.key));
                let came = raw.until_closed();
                if came.is_empty() { Ok(Vec::new()) } else { Err(format!("a cancel was answered: {came:?}")) }
            }
            What::Sure(sql) => {
                self.be_sure(sql).map_err(|e| format!("line {}: {e}", step.line)).map(|()| Vec::new())
            }
        }
    }

    fn open(&mut self, name: &str, past: bool) {
        let raw =
            Raw::open(if past { self.side.cluster.address() } else { self.side.address.clone() }.as_str());
        let masks = Masks::of(self.masked);
        self.connections
            .insert(name.to_owned(), Connection { raw, masks, unsent: Vec::new(), due: 0, ended: false });
    }

    fn connection(&mut self, name: &str) -> &mut Connection {
        self.connections.get_mut(name).unwrap_or_else(|| panic!("no connection {name}"))
    }

    /// Sends a start-up packet. A user and a database are put in where the script leaves them out; `-` for a value
    /// leaves the parameter out.
    fn start(&mut self, name: &str, version: u32, parameters: &[(String, String)]) {
        let mut all =
            vec![("user".to_owned(), "postgres".to_owned()), ("database".to_owned(), "$db".to_owned())];
        for (name, value) in parameters {
            match all.iter_mut().take(2).find(|(n, _)| n == name) {
                Some(pair) => pair.1.clone_from(value),
                None => all.push((name.clone(), value.clone())),
            }
        }
        let mut body = version.to_be_bytes().to_vec();
        for (name, value) in all.iter().filter(|(_, value)| value != "-") {
            body.extend(
                [name.as_bytes(), &[0], value.replace("$db", self.database).as_bytes(), &[0]].concat(),
            );
        }
        body.push(0);
        let connection = self.connection(name);
        connection.masks.replication = parameters.iter().any(|(n, _)| n == "replication");
        connection.unsent.extend(untyped(&body));
    }

    fn be_sure(&mut self, sql: &str) -> Result<(), String> {
        let mut sql = sql.to_owned();
        for (name, connection) in self.connections.iter().filter(|(_, c)| c.raw.key.len() >= 4) {
            sql = sql.replace(&format!("$pid({name})"), &connection.raw.pid().to_string());
        }
        let mut behind = self.side.cluster.direct(self.database);
        let end = Instant::now() + LIMIT;
        while Instant::now() < end {
            if behind.value(&sql) == "t" {
                return Ok(());
            }
            // Nothing tells when a backend begins to wait for a lock.
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(format!("did not come true: {sql}"))
    }

    /// Closes every connection; what still came.
    fn end(self) -> BTreeMap<String, Vec<Item>> {
        let close = |(name, mut connection): (String, Connection)| {
            let mut came = Vec::new();
            connection.flush();
            if !connection.ended {
                if !connection.raw.key.is_empty() {
                    let _ = connection.raw.try_send(&message(b'X', &[]));
                }
                connection.raw.close_sending();
                came = connection.wait(Until::Closed, 1);
            }
            (name, came)
        };
        self.connections.into_iter().map(close).collect()
    }
}

impl Connection {
    fn flush(&mut self) {
        // To a peer that has closed: what it said before that is compared.
        let _ = self.raw.try_send(&std::mem::take(&mut self.unsent));
    }

    fn wait(&mut self, until: Until, count: usize) -> Vec<Item> {
        self.flush();
        let mut items = Vec::new();
        let mut seen = 0;
        while !self.ended && (until == Until::Closed || seen < count) {
            if until == Until::Byte {
                items.push(Item::event(format!("byte {:?}", char::from(self.raw.byte()))));
                seen += 1;
                continue;
            }
            match self.raw.try_frame() {
                Ok(frame) => {
                    let wanted = until == Until::Tag(frame.tag);
                    self.note(&frame);
                    if let Some(item) = self.masks.item(frame) {
                        seen += usize::from(wanted);
                        items.push(item);
                    }
                }
                Err(e)
                    if matches!(e.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) =>
                {
                    items.push(Item::event("(closed)".into()));
                    self.ended = true;
                }
                Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                    let bytes = self.raw.unframed().unwrap_or_else(|e| e.to_string().into_bytes());
                    items.push(Item::event(format!("unframed {}", decode::quoted(&bytes))));
                    self.ended = true;
                }
                Err(e) => {
                    items.push(Item::silence(&e));
                    self.ended = true;
                }
            }
        }
        items
    }

    fn note(&mut self, frame: &Frame) {
        if frame.tag == b'K' {
            self.raw.key.clone_from(&frame.body);
        }
    }
}
