//! What a session's observations come to in the metrics.

use crate::observe::Scope;
use crate::telemetry::Metrics;

/// What of this session is in the metrics. Takes its rows off again when it goes.
#[derive(Debug)]
pub(crate) struct Measured {
    metrics: Metrics,
    held: usize,
    evicted: u64,
    expired: u64,
}

impl Measured {
    /// Nothing yet.
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics, held: 0, evicted: 0, expired: 0 }
    }

    /// Brings the metrics up to date. Costs three comparisons where nothing has changed.
    pub fn update(&mut self, observations: &Scope) {
        let (held, evicted, expired) = (observations.rows(), observations.evicted(), observations.expired());
        if held != self.held {
            self.metrics.observations_held.increment(held as f64 - self.held as f64);
            self.held = held;
        }
        if evicted != self.evicted {
            self.metrics.observations_evicted.increment(evicted.saturating_sub(self.evicted));
            self.evicted = evicted;
        }
        if expired != self.expired {
            self.metrics.observations_expired.increment(expired.saturating_sub(self.expired));
            self.expired = expired;
        }
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        self.metrics.observations_held.decrement(self.held as f64);
    }
}
