//! Which users get a series of their own in the metrics.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// The label value of all others.
pub const OTHER: &str = "other";

/// The users with a series of their own: the first so many that meet a conflict. A series once begun goes on, or its
/// counter would be wrong.
#[derive(Debug)]
pub struct Users {
    max: usize,
    known: Mutex<HashSet<Box<str>>>,
}

impl Users {
    /// At most so many; none with 0.
    pub fn new(max: usize) -> Self {
        Self { max, known: Mutex::default() }
    }

    /// A conflict of this user: counts it under the name that it has in the metrics.
    pub fn conflict(&self, user: &str, count: impl FnOnce(&str)) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let own = known.contains(user) || known.len() < self.max && known.insert(user.into());
        drop(known);
        count(if own { user } else { OTHER });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded() {
        let users = Users::new(2);
        let named = |user: &str| {
            let mut name = String::new();
            users.conflict(user, |found| name = found.to_owned());
            name
        };
        assert_eq!(["a", "b", "c", "a", "d", "b"].map(named), ["a", "b", "other", "a", "other", "b"]);
        Users::new(0).conflict("a", |found| assert_eq!(found, OTHER));
    }
}
