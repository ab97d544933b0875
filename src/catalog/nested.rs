//! What a write of one table may do to others: triggers, rules and foreign keys write too.
//!
//! The look follows them from each protected table: a trigger's function to the tables and functions that its source
//! names as words, a foreign key to the rows that it deletes or changes, a rule to what it mentions. A function that
//! builds its statements while it runs, or is written in a language that the look cannot read, may write any table.
//! What is found here may be more than ever happens, never less, as long as names stand in the sources as they are.

use std::sync::Arc;

/// A protected table that a write may change on the side, so that what is known of its rows no longer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Touched {
    /// Root OID.
    pub root_oid: u32,
    /// It may happen only when the transaction commits: a deferred constraint trigger does it.
    pub deferred: bool,
}

/// The kinds of write that start something of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// INSERT, COPY FROM.
    Insert,
    /// UPDATE.
    Update,
    /// UPDATE that sets a column of the primary key: foreign keys follow it.
    KeyUpdate,
    /// DELETE.
    Delete,
    /// TRUNCATE.
    Truncate,
}

impl Event {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Insert, Self::Update, Self::KeyUpdate, Self::Delete, Self::Truncate];

    /// Its bit in the look's rows, which are those of `pg_trigger.tgtype` and one more.
    fn bit(self) -> u32 {
        match self {
            Self::Insert => 4,
            Self::Delete => 8,
            Self::Update => 16,
            Self::Truncate => 32,
            Self::KeyUpdate => 128,
        }
    }
}

/// The bit that marks what happens at the transaction's end.
const DEFERRED: u32 = 256;

/// What writes of one table touch, by kind of write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nested(Vec<(u32, Touched)>);

impl Nested {
    /// From the look's rows of one table: bits of the event, and the root OID touched, 0 for all of `roots`.
    pub fn new(rows: impl Iterator<Item = (u32, u32)>, roots: &[u32]) -> Arc<Self> {
        let mut touched = Vec::new();
        for (bits, root) in rows {
            let all = if root == 0 { roots } else { std::slice::from_ref(&root) };
            let deferred = bits & DEFERRED != 0;
            touched.extend(all.iter().map(|r| (bits & !DEFERRED, Touched { root_oid: *r, deferred })));
        }
        touched.sort_unstable();
        touched.dedup();
        Arc::new(Self(touched))
    }

    /// What a write of this kind touches.
    pub fn of(&self, event: Event) -> impl Iterator<Item = Touched> {
        self.0.iter().filter(move |(bits, _)| *bits == event.bit()).map(|(_, touched)| *touched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_kind_of_write() {
        let nested = Nested::new([(16, 7), (8, 0), (16 | 256, 7), (16, 7)].into_iter(), &[7, 9]);
        let of = |event| nested.of(event).map(|t| (t.root_oid, t.deferred)).collect::<Vec<_>>();
        assert_eq!(of(Event::Update), [(7, false), (7, true)]);
        assert_eq!(of(Event::Delete), [(7, false), (9, false)]);
        assert_eq!(of(Event::Insert), []);
    }
}
