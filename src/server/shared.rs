//! What every session has a share in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use super::upstream::Upstream;
use crate::catalog::Blind;
use crate::catalog::views::Views;
use crate::config::{ConfigError, Settings};
use crate::rewrite::cache::PlanCache;
use crate::telemetry::Metrics;

/// How many plans of statement texts are kept.
const PLANS: usize = 10_000;

/// One for the whole process, behind an `Arc`.
#[derive(Debug)]
pub struct Shared {
    /// The settings.
    pub settings: Arc<Settings>,
    /// A setting refuses statements that cannot be checked.
    pub refuses: bool,
    /// The metrics.
    pub metrics: Metrics,
    /// What has been seen of the catalogs of the upstream's databases.
    pub views: Views,
    /// Plans of statement texts.
    pub plans: PlanCache,
    /// The PostgreSQL server.
    pub upstream: Upstream,
    /// Turns true once, when the process stops.
    pub shutdown: watch::Receiver<bool>,
    next_session: AtomicU64,
}

impl Shared {
    /// Puts the parts together. The sender tells all sessions to stop: send `true` once.
    pub fn new(settings: Arc<Settings>) -> Result<(Arc<Self>, watch::Sender<bool>), ConfigError> {
        let (stop, shutdown) = watch::channel(false);
        let refuses = settings.tables.iter().any(|t| t.blind == Blind::Reject);
        let shared = Self {
            refuses,
            metrics: Metrics::new(&settings.environment, &settings.tables),
            views: Views::default(),
            plans: PlanCache::new(PLANS),
            upstream: Upstream::new(settings.upstream()?.clone()),
            shutdown,
            next_session: AtomicU64::new(1),
            settings,
        };
        Ok((Arc::new(shared), stop))
    }

    /// A number for a new session, never given twice.
    pub fn next_session_id(&self) -> u64 {
        self.next_session.fetch_add(1, Ordering::Relaxed)
    }

    /// Ends when the process stops, at once if it is stopping already. Cancel-safe.
    pub async fn stopping(&self) {
        let mut shutdown = self.shutdown.clone();
        // An error means that the sender is gone, and with it the server: that is a stop as well.
        let _ = shutdown.wait_for(|stopping| *stopping).await;
    }
}
