//! A setting of the session (GUC) as the server has it: SET, SET LOCAL, RESET, transactions and savepoints.
//!
//! PostgreSQL undoes a SET with the transaction or savepoint that it was made in; SET LOCAL lasts until the
//! transaction's end (<https://www.postgresql.org/docs/current/sql-set.html>).

/// The two values that count in some state: the session's, and the transaction's in its place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Values {
    session: Option<Box<str>>,
    /// Set by SET LOCAL; `Some(None)`: to nothing that is known.
    local: Option<Option<Box<str>>>,
}

/// One setting. A value is `None` where the setting has none, or one that is not known.
#[derive(Debug, Clone, Default)]
pub struct Setting {
    /// What RESET goes back to.
    start: Option<Box<str>>,
    now: Values,
    /// As it was when the transaction began; `None`: not changed in it.
    before: Option<Values>,
    /// As it was at each savepoint.
    savepoints: Vec<(Box<str>, Values)>,
}

impl Setting {
    /// A setting whose value at the session's start is known.
    pub fn new(start: Option<&str>) -> Self {
        let start: Option<Box<str>> = start.map(Into::into);
        Self { now: Values { session: start.clone(), local: None }, start, ..Self::default() }
    }

    /// The present value.
    pub fn value(&self) -> Option<&str> {
        self.now.local.as_ref().unwrap_or(&self.now.session).as_deref()
    }

    /// `SET [LOCAL] x = value`; `None`: to something that cannot be told.
    pub fn set(&mut self, value: Option<&str>, local: bool) {
        self.touch();
        let value: Option<Box<str>> = value.map(Into::into);
        if local {
            self.now.local = Some(value);
        } else {
            self.now = Values { session: value, local: None };
        }
    }

    /// `RESET x`, `SET x TO DEFAULT`.
    pub fn reset(&mut self, local: bool) {
        let start = self.start.clone();
        self.set(start.as_deref(), local);
    }

    fn touch(&mut self) {
        if self.before.is_none() {
            self.before = Some(self.now.clone());
        }
    }

    /// SAVEPOINT.
    pub fn savepoint(&mut self, name: &str) {
        self.touch();
        self.savepoints.push((name.into(), self.now.clone()));
    }

    /// ROLLBACK TO SAVEPOINT, which stays.
    pub fn rollback_to(&mut self, name: &str) {
        if let Some(at) = self.find(name) {
            self.savepoints.truncate(at + 1);
            if let Some((_, values)) = self.savepoints.last() {
                self.now = values.clone();
            }
        }
    }

    /// RELEASE SAVEPOINT.
    pub fn release(&mut self, name: &str) {
        if let Some(at) = self.find(name) {
            self.savepoints.truncate(at);
        }
    }

    /// The transaction has committed.
    pub fn commit(&mut self) {
        self.now.local = None;
        self.end();
    }

    /// The transaction has rolled back.
    pub fn rollback(&mut self) {
        if let Some(before) = self.before.take() {
            self.now = before;
        }
        self.now.local = None;
        self.end();
    }

    fn end(&mut self) {
        self.before = None;
        self.savepoints.clear();
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.savepoints.iter().rposition(|(n, _)| **n == *name)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn outside_of_transactions() {
        let mut s = Setting::new(Some("app"));
        s.set(Some("42"), false);
        s.commit();
        assert_eq!(s.value(), Some("42"));
        // Alone in its transaction, SET LOCAL is without effect.
        s.set(Some("7"), true);
        s.commit();
        assert_eq!(s.value(), Some("42"));
        s.reset(false);
        s.commit();
        assert_eq!(s.value(), Some("app"));
        s.set(None, false);
        assert_eq!(s.value(), None);
    }

    #[test]
    fn a_rollback_takes_back_what_was_set() {
        let mut s = Setting::default();
        s.set(Some("1"), false);
        s.commit();
        s.set(Some("2"), false);
        s.set(Some("3"), true);
        assert_eq!(s.value(), Some("3"));
        s.rollback();
        assert_eq!(s.value(), Some("1"));
        s.set(Some("2"), false);
        s.set(Some("3"), true);
        s.commit();
        assert_eq!(s.value(), Some("2"));
        // SET after SET LOCAL takes its place.
        s.set(Some("4"), true);
        s.set(Some("5"), false);
        assert_eq!(s.value(), Some("5"));
        s.commit();
        assert_eq!(s.value(), Some("5"));
    }

    #[test]
    fn savepoints() {
        let mut s = Setting::default();
        s.set(Some("1"), true);
        s.savepoint("a");
        s.set(Some("2"), true);
        s.savepoint("b");
        s.set(Some("3"), false);
        s.rollback_to("b");
        assert_eq!(s.value(), Some("2"));
        s.release("b");
        assert_eq!(s.value(), Some("2"));
        s.rollback_to("a");
        assert_eq!(s.value(), Some("1"));
        s.set(Some("4"), false);
        s.release("a");
        s.rollback_to("a");
        assert_eq!(s.value(), Some("4"));
        s.rollback();
        assert_eq!(s.value(), None);
    }
}
