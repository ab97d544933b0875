//! Which server a connection goes to, so that contexts of two servers never meet.
//!
//! While a failover goes on, connections to the old server and to the new one may be alive at once. What was seen on the
//! one says nothing of the other's rows, so each has contexts of its own, and nobody has to tell which one is right.

use std::collections::VecDeque;

/// How many servers are told apart; the one found first goes first.
const SERVERS: usize = 16;

/// System identifier and timeline, as far as a server tells them.
pub type ServerName = (Option<String>, Option<String>);

/// A server as this process tells it from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ServerId(pub u64);

/// What came of a look at a connection's server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Which one it is.
    pub server: ServerId,
    /// It was not known, and another one was.
    pub another: bool,
}

/// The servers found so far.
#[derive(Debug, Default)]
pub(super) struct Servers {
    /// The one found last for the first time comes last.
    known: VecDeque<(ServerId, ServerName)>,
    next: u64,
}

impl Servers {
    /// A connection's server calls itself that. `None`: a standby, which has no timeline of its own. If it is promoted
    /// it becomes another server under its connections.
    pub fn found(&mut self, name: &ServerName) -> Option<Found> {
        name.1.as_ref()?;
        let differs = |a: &Option<String>, b: &Option<String>| matches!((a, b), (Some(a), Some(b)) if a != b);
        let same = |known: &&mut (ServerId, ServerName)| {
            !differs(&known.1.0, &name.0) && !differs(&known.1.1, &name.1)
        };
        if let Some((server, known)) = self.known.iter_mut().rev().find(same) {
            // A role that may not ask for the system identifier tells less than another.
            known.0 = known.0.take().or_else(|| name.0.clone());
            return Some(Found { server: *server, another: false });
        }
        let another = !self.known.is_empty();
        let server = ServerId(self.next);
        self.next += 1;
        if self.known.len() >= SERVERS {
            self.known.pop_front();
        }
        self.known.push_back((server, name.clone()));
        Some(Found { server, another })
    }

    /// The one found last for the first time.
    pub fn newest(&self) -> Option<&(ServerId, ServerName)> {
        self.known.back()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn servers_are_told_apart_by_what_they_tell() {
        let mut servers = Servers::default();
        let mut found = |system: Option<&str>, timeline: Option<&str>| {
            servers
                .found(&(system.map(Into::into), timeline.map(Into::into)))
                .map(|f| (f.server.0, f.another))
        };
        assert_eq!(found(Some("a"), None), None);
        assert_eq!(found(None, Some("1")), Some((0, false)));
        assert_eq!(found(Some("a"), Some("1")), Some((0, false)));
        assert_eq!(found(Some("a"), Some("2")), Some((1, true)));
        assert_eq!(found(Some("b"), Some("1")), Some((2, true)));
        // Nothing flips back.
        assert_eq!(found(Some("a"), Some("1")), Some((0, false)));
        assert_eq!(found(Some("a"), Some("2")), Some((1, false)));
        for n in 0..SERVERS as u64 {
            assert_eq!(found(Some("c"), Some(&n.to_string())), Some((n + 3, true)));
        }
        assert_eq!(servers.known.len(), SERVERS);
    }
}
