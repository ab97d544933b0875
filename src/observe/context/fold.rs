//! What a row's history comes to: the same as one process would know that had seen all of it.
//!
//! One thing a history does not tell: whether a cursor that has shown a row was opened before or after an own write of
//! another process. So of what cursors have shown only versions count that are no lower than what the context's own
//! writes have made of the row, and nothing does behind an own write whose version is not known.

use std::hash::{BuildHasher, RandomState};

use super::ContextLimits;
use super::event::{Clock, Event, SavedKnown, joined};
use super::row::{Row, Shown, Units, Wrote};
use crate::observe::store::{Held, Known};

/// A history folded.
#[derive(Debug, Default)]
pub(super) struct Folded {
    pub known: Option<Known<Row>>,
    /// The version that the context's last own write has left; the highest there is where that is not known.
    own_to: Option<i64>,
}

impl Folded {
    /// Of a history, the oldest event first.
    pub(super) fn of(history: &[Vec<u8>], limits: &ContextLimits, clock: &Clock) -> Self {
        let mut folded = Self::default();
        for event in history {
            match Event::read(event) {
                Some(event) => folded.add(&event, limits, clock),
                None => folded = Self { known: Some(Known::Forgotten), own_to: Some(i64::MAX) },
            }
        }
        folded.expire(limits, clock.now);
        folded
    }

    /// An event that says as much as all that was folded.
    pub(super) fn event(&self, clock: &Clock) -> Event {
        let known = self.known.as_ref().map(|known| SavedKnown::of(known, clock.now));
        let n = RandomState::new().hash_one(clock.now);
        Event::Saved { known, own_to: self.own_to, t: clock.micros(clock.now), n }
    }

    fn expire(&mut self, limits: &ContextLimits, now: std::time::Instant) {
        self.known.take_if(|known| matches!(known, Known::Seen(row) if row.expired(limits.ttl, now)));
    }

    fn add(&mut self, event: &Event, limits: &ContextLimits, clock: &Clock) {
        match event {
            Event::Read { u, v, c, t, own, cursor, own_work } => {
                if *own_work && matches!(&self.known, Some(Known::Seen(row)) if row.present() > *v) {
                    return;
                }
                if *cursor && self.predates_own_write(*v) {
                    return;
                }
                let columns = c.columns();
                let now = clock.instant(*t);
                let shown = Shown {
                    unit: joined(*u),
                    version: *v,
                    columns: &columns,
                    now,
                    own: *own,
                    cursor: *cursor,
                    own_work: false,
                };
                self.expire(limits, now);
                match &mut self.known {
                    Some(Known::Seen(row)) => row.read(&shown),
                    other => *other = Some(Known::Seen(Row::new(&shown))),
                }
                if !*cursor {
                    // Behind an own write of an unknown version, or of a row that has begun anew.
                    self.own_to = self.own_to.map(|own| own.min(*v));
                }
            }
            Event::Undated { u, c } => {
                if let Some(Known::Seen(row)) = &mut self.known {
                    row.saw_undated(&c.columns(), joined(*u));
                }
            }
            Event::Wrote { u, from, to, c, t, landed } => {
                let known = c.columns();
                let (unit, now) = (joined(*u), clock.instant(*t));
                self.expire(limits, now);
                self.own_to = Some(*to);
                match &mut self.known {
                    Some(Known::Seen(row)) => {
                        let landed = clock.instant(*landed);
                        row.wrote(&Wrote { from: *from, to: *to, known: &known, unit, landed }, now);
                    }
                    _ if known.is_empty() => {}
                    other => {
                        let written = Shown {
                            unit,
                            version: *to,
                            columns: &known,
                            now,
                            own: true,
                            cursor: false,
                            own_work: false,
                        };
                        *other = Some(Known::Seen(Row::written_first(&written)));
                    }
                }
            }
            Event::Deleted => *self = Self { known: Some(Known::Deleted), own_to: Some(i64::MAX) },
            Event::Forgotten => {
                *self = Self { known: self.known.take().map(|_| Known::Forgotten), own_to: Some(i64::MAX) };
            }
            Event::Refused { u, expected, actual, t } => {
                let now = clock.instant(*t);
                self.expire(limits, now);
                if let Some(Known::Seen(row)) = &mut self.known {
                    row.refused(joined(*u), *expected, *actual, limits.after_conflict, now);
                }
            }
            Event::Saved { known, own_to, t, .. } => {
                let then = clock.instant(*t);
                *self = Self {
                    known: known.as_ref().map(|known| known.known(then, Units::Same)),
                    own_to: *own_to,
                };
            }
        }
    }

    fn predates_own_write(&self, version: i64) -> bool {
        self.own_to.is_some_and(|own| version < own)
    }
}
