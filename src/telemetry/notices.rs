//! What the operator should know and change, told once in the log and shown on `/status` as long as the process runs.

use std::sync::atomic::{AtomicBool, Ordering};

/// What has been noticed.
#[derive(Debug, Default)]
pub struct Notices {
    pooled: AtomicBool,
}

impl Notices {
    /// A connection evidently serves a pool while its scope is `connection`. True the first time.
    pub fn pooled(&self) -> bool {
        !self.pooled.swap(true, Ordering::Relaxed)
    }

    /// A sentence each.
    pub fn sentences(&self) -> Vec<&'static str> {
        let pooled = "A connection evidently serves a pool under scope connection: whose reads count is not told \
                      apart by user. Scope context does: set scope = \"context\" and context.label.";
        self.pooled.load(Ordering::Relaxed).then_some(pooled).into_iter().collect()
    }
}
