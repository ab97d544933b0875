//! The views of all databases and roles that pass through this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dashmap::DashMap;

use super::View;
use super::look::TableStatus;

/// Who shares a view: the same names resolve to the same tables with the same privileges.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ViewKey {
    /// Database asked for at start-up.
    pub database: Box<[u8]>,
    /// Role asked for at start-up.
    pub user: Box<[u8]>,
    /// Start-up options that may change how names resolve (`options`, `search_path`, `role`).
    pub options: Box<[u8]>,
}

/// A view and when the catalog was last found to agree with it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The view.
    pub view: Arc<View>,
    /// When the look that confirmed it was sent.
    pub at: Instant,
    /// Number of the server that it was read from, where it told which one it is.
    pub server: Option<u64>,
    /// Fingerprint of the functions that were there; empty where it is not known.
    pub functions: Arc<str>,
}

impl Seen {
    /// Younger than `max_age`.
    pub fn is_fresh(&self, now: Instant, max_age: Duration) -> bool {
        now.saturating_duration_since(self.at) < max_age
    }
}

/// The settings of role and database that sessions of a key begin with.
#[derive(Debug)]
struct Defaults {
    text: Box<str>,
    /// When the look that found them was sent.
    at: Instant,
    /// When they were first found changed: sessions that are older may have begun with others.
    changed: Option<Instant>,
}

/// Views by key, and what was last said of each database's tables.
#[derive(Debug, Default)]
pub struct Views {
    seen: DashMap<ViewKey, Seen>,
    defaults: DashMap<ViewKey, Defaults>,
    may_set: DashMap<ViewKey, bool>,
    told: DashMap<Box<[u8]>, Vec<TableStatus>>,
    generation: AtomicU64,
}

impl Views {
    /// The shared view, if anybody has looked.
    pub fn get(&self, key: &ViewKey) -> Option<Seen> {
        self.seen.get(key).map(|s| s.clone())
    }

    /// Shares what a look sent at `at` has found and gives it back: the view held already where nothing has
    /// changed, so that plans made for it stay good.
    pub fn publish(
        &self,
        key: &ViewKey,
        view: View,
        at: Instant,
        server: Option<u64>,
        functions: Arc<str>,
    ) -> Seen {
        match self.seen.entry(key.clone()) {
            dashmap::Entry::Occupied(mut held) => {
                let held = held.get_mut();
                if at >= held.at {
                    if !held.view.same_as(&view) {
                        held.view = self.number(view);
                    }
                    (held.at, held.server, held.functions) = (at, server, functions);
                    held.clone()
                } else if held.view.same_as(&view) && held.server == server {
                    held.clone()
                } else {
                    Seen { view: self.number(view), at, server, functions }
                }
            }
            dashmap::Entry::Vacant(place) => {
                let seen = Seen { view: self.number(view), at, server, functions };
                place.insert(seen.clone());
                seen
            }
        }
    }

    /// Remembers what a look sent at `at` has found sessions of this key to begin with. Where that has changed, what was
    /// shared was made for other sessions.
    pub fn begin_with(&self, key: &ViewKey, defaults: &str, at: Instant, now: Instant) {
        let mut held = self.defaults.entry(key.clone()).or_insert_with(|| Defaults {
            text: defaults.into(),
            at,
            changed: None,
        });
        if at < held.at {
            return;
        }
        held.at = at;
        if *held.text != *defaults {
            held.text = defaults.into();
            held.changed = Some(now);
            self.seen.remove(key);
        }
    }

    /// A session that began at `begun` may resolve names otherwise than those of its key that begin now.
    pub fn is_of_old_defaults(&self, key: &ViewKey, begun: Instant) -> bool {
        self.defaults.get(key).is_some_and(|d| d.changed.is_some_and(|changed| begun <= changed))
    }

    /// Whether the role that sessions of this key begin as may call `set_config`; `None`: nobody has looked.
    pub fn may_set(&self, key: &ViewKey) -> Option<bool> {
        self.may_set.get(key).map(|may| *may)
    }

    /// A look of such a session has found that.
    pub fn found_may_set(&self, key: &ViewKey, may: bool) {
        if self.may_set(key) != Some(may) {
            self.may_set.insert(key.clone(), may);
        }
    }

    /// Gives a view that is not shared a generation of its own, or `held` back where it is the same.
    pub fn private(&self, held: Option<&Arc<View>>, view: View) -> Arc<View> {
        match held {
            Some(held) if held.same_as(&view) => held.clone(),
            _ => self.number(view),
        }
    }

    /// The next statement of anybody looks again: DDL has passed.
    pub fn outdate(&self, database: &[u8]) {
        self.seen.retain(|key, _| *key.database != *database);
    }

    /// The next statement of every session that begins now looks again: the server may be another.
    pub fn outdate_all(&self) {
        self.seen.clear();
    }

    /// Remembers what is known of a database's tables, and gives back those of which that is news.
    pub fn news<'a>(&self, database: &[u8], tables: &'a [TableStatus]) -> Vec<&'a TableStatus> {
        let mut told = self.told.entry(database.into()).or_default();
        if *told == tables {
            return Vec::new();
        }
        let news = tables.iter().filter(|table| !told.contains(table)).collect();
        *told = tables.to_vec();
        news
    }

    /// What was last found of each database's tables.
    pub fn statuses(&self) -> Vec<(Box<[u8]>, Vec<TableStatus>)> {
        self.told.iter().map(|e| (e.key().clone(), e.value().clone())).collect()
    }

    fn number(&self, mut view: View) -> Arc<View> {
        view.generation = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        Arc::new(view)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn sessions_of_other_defaults_share_nothing() {
        let views = Views::default();
        let key = ViewKey { database: [][..].into(), user: [][..].into(), options: [][..].into() };
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);
        views.begin_with(&key, "", at(1), at(1));
        views.publish(&key, View::default(), at(1), None, "".into());
        views.begin_with(&key, "", at(2), at(2));
        assert!(views.get(&key).is_some() && !views.is_of_old_defaults(&key, at(0)));
        // Found by the look sent at 10 and answered at 11.
        views.begin_with(&key, "search_path=other", at(10), at(11));
        assert!(views.get(&key).is_none());
        assert!(views.is_of_old_defaults(&key, at(0)) && views.is_of_old_defaults(&key, at(11)));
        assert!(!views.is_of_old_defaults(&key, at(12)));
        // A look sent before says nothing of what is now.
        views.publish(&key, View::default(), at(12), None, "".into());
        views.begin_with(&key, "", at(9), at(13));
        assert!(views.get(&key).is_some() && !views.is_of_old_defaults(&key, at(12)));
    }
}
