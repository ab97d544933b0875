//! Units of work as the log names them.

use quick_cache::sync::Cache;

use crate::observe::context::{Unit, UnitKind};

/// So many names of requests are remembered.
const NAMES: usize = 10_000;

/// A name longer than this is shown as a hash.
const LENGTH: usize = 64;

/// The names of requests, the ones used last.
#[derive(Debug)]
pub struct Units {
    names: Cache<Unit, Box<str>>,
}

impl Default for Units {
    fn default() -> Self {
        Self { names: Cache::new(NAMES) }
    }
}

impl Units {
    /// Remembers the name of a request: what a trace or a request id looks like as it is, anything else as a hash.
    pub fn named(&self, unit: Unit, name: &str) {
        if self.names.peek(&unit).is_some() {
            return;
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
        let shown = if name.len() <= LENGTH && name.bytes().all(plain) {
            name.into()
        } else {
            #[allow(clippy::cast_possible_truncation)]
            let hash = unit.0 as u64;
            format!("~{hash:016x}").into()
        };
        self.names.insert(unit, shown);
    }

    /// Names a unit; `None`: what that session has seen, outside of contexts.
    pub fn tell(&self, unit: Option<Unit>, session: u64) -> String {
        let Some(unit) = unit else { return format!("session {session}") };
        match unit.kind() {
            UnitKind::Request => match self.names.peek(&unit) {
                Some(name) => format!("request {name}"),
                None => "a request".to_owned(),
            },
            UnitKind::Transaction { session, number } => format!("transaction {number} of session {session}"),
            UnitKind::Earlier => "before the proxy was started".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_log_says() {
        let units = Units::default();
        let request = |hash| Unit::of_request(hash);
        units.named(request(1), "4bf92f3577b34da6a3ce929d0e0e4736");
        units.named(request(2), "it's O'Hara\n");
        units.named(request(3), &"x".repeat(65));
        for (unit, want) in [
            (None, "session 7"),
            (Some(Unit::of_session(3, 12)), "transaction 12 of session 3"),
            (Some(request(1)), "request 4bf92f3577b34da6a3ce929d0e0e4736"),
            (Some(request(2)), "request ~0000000000000002"),
            (Some(request(3)), "request ~0000000000000003"),
            (Some(request(4)), "a request"),
        ] {
            assert_eq!(units.tell(unit, 7), want);
        }
    }
}
