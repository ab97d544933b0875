//! Plans by statement text and everything they depend on, bounded.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use quick_cache::Equivalent;
use quick_cache::sync::Cache;

use super::plan::Plan;
use super::{Context, plan};
use crate::catalog::View;
use crate::sql::lexer::LexOptions;

/// Texts longer than this are planned each time: bulk statements are seldom sent twice.
const MAX_CACHED_TEXT: usize = 16 * 1024;

#[derive(Debug, PartialEq, Eq)]
struct Key {
    generation: u64,
    lex: LexOptions,
    text: Box<[u8]>,
}

struct KeyRef<'a> {
    generation: u64,
    lex: LexOptions,
    text: &'a [u8],
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        KeyRef { generation: self.generation, lex: self.lex, text: &self.text }.hash(state);
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.generation.hash(state);
        self.lex.hash(state);
        self.text.hash(state);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.generation == key.generation && self.lex == key.lex && *self.text == *key.text
    }
}

/// The cache, shared by all sessions. A new generation of a view leaves its old plans to be evicted.
#[derive(Debug)]
pub struct PlanCache {
    plans: Cache<Key, Arc<Plan>>,
}

impl PlanCache {
    /// Holds about `capacity` plans.
    pub fn new(capacity: usize) -> Self {
        Self { plans: Cache::new(capacity) }
    }

    /// The plan of `text` under `view`. `names_may_return`: see [`Context`]; rare enough to be planned each time.
    pub fn plan(&self, text: &[u8], view: &View, lex: LexOptions, names_may_return: bool) -> Arc<Plan> {
        let make = || Arc::new(plan(text, &Context { view, lex: &lex, names_may_return }));
        if text.len() > MAX_CACHED_TEXT || names_may_return {
            return make();
        }
        let key = KeyRef { generation: view.generation, lex, text };
        if let Some(held) = self.plans.get(&key) {
            return held;
        }
        let made = make();
        self.plans.insert(Key { generation: view.generation, lex, text: text.into() }, made.clone());
        made
    }
}
