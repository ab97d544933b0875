//! What every session has a share in.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use quick_cache::sync::Cache;
use tokio::sync::watch;

use super::upstream::Upstream;
use crate::auth::{AuthError, Authenticator};
use crate::catalog::Blind;
use crate::catalog::labels::LabelRules;
use crate::catalog::views::Views;
use crate::config::{ConfigError, OnUnparsed, Settings};
use crate::conflict::Retries;
use crate::observe::context::Contexts;
use crate::rewrite::cache::PlanCache;
use crate::store::{self, SharedStore, StoreSettings};
use crate::telemetry::Metrics;
use crate::telemetry::notices::Notices;
use crate::telemetry::units::Units;
use crate::telemetry::users::Users;
use crate::tls::TlsError;
use crate::tls::clients::ClientTls;

/// How many plans of statement texts are kept.
const PLANS: usize = 10_000;

/// How many texts are remembered as logged.
const TOLD: usize = 1_000;

/// Texts that have been logged already: their hashes alone, bounded.
#[derive(Debug)]
pub struct Told {
    texts: Cache<u64, ()>,
    hasher: RandomState,
}

impl Default for Told {
    fn default() -> Self {
        Self { texts: Cache::new(TOLD), hasher: RandomState::new() }
    }
}

impl Told {
    /// True the first time that this text is asked for.
    pub fn is_news(&self, text: &[u8]) -> bool {
        let hash = self.hasher.hash_one(text);
        if self.texts.get(&hash).is_some() {
            return false;
        }
        self.texts.insert(hash, ());
        true
    }
}

/// Why the settings cannot be put to use. The person who wrote them is at fault.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A setting is missing.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Certificates and keys.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Users.
    #[error(transparent)]
    Auth(#[from] AuthError),
}

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
    /// What statements are listened for.
    pub labels: Arc<LabelRules>,
    /// What is known under labels.
    pub contexts: Arc<Contexts>,
    /// The store that several proxies share.
    pub(super) store: Option<Store>,
    /// Refused writes, and whether they are tried again.
    pub retries: Retries,
    /// Units of work as the log names them.
    pub units: Units,
    /// Whose conflicts have a series of their own.
    pub users: Users,
    /// What the operator should know.
    pub notices: Notices,
    /// Plans of statement texts.
    pub plans: PlanCache,
    /// Texts that have been logged as unparsed.
    pub told: Told,
    /// What authenticates clients; `None`: the server does.
    pub authenticator: Option<Authenticator>,
    /// TLS with clients.
    pub client_tls: Option<ClientTls>,
    /// The PostgreSQL server.
    pub upstream: Upstream,
    /// Turns true once, when the process stops.
    pub shutdown: watch::Receiver<bool>,
    next_session: AtomicU64,
}

/// The store that several proxies share, and its task until that is started.
#[derive(Debug)]
pub(super) struct Store {
    pub handle: Arc<SharedStore>,
    pub task: Mutex<Option<store::Task>>,
}

fn contexts(settings: &Settings, metrics: &Metrics) -> (Contexts, Option<Store>) {
    let scopes = &settings.scopes;
    let limits = scopes.limits();
    let Some(address) = scopes.store.clone().filter(|_| scopes.uses_contexts()) else {
        return (Contexts::new(limits), None);
    };
    let (handle, task) = store::new(
        StoreSettings { address, timeout: scopes.store_timeout, prefix: scopes.store_prefix.clone(), limits },
        &metrics.store(),
    );
    let contexts = Contexts::with_store(limits, handle.clone());
    (contexts, Some(Store { handle, task: Mutex::new(Some(task)) }))
}

impl Shared {
    /// Puts the parts together. The sender tells all sessions to stop: send `true` once.
    pub fn new(settings: Arc<Settings>) -> Result<(Arc<Self>, watch::Sender<bool>), SetupError> {
        let (stop, shutdown) = watch::channel(false);
        let refuses = settings.tables.iter().any(|t| t.blind == Blind::Reject)
            || settings.on_unparsed == OnUnparsed::Reject;
        let metrics = Metrics::new(&settings.environment, &settings.tables);
        let client_tls = ClientTls::new(&settings.tls, &metrics)?;
        let upstream = Upstream::new(settings.upstream()?.clone()).with_tls(&settings.tls, &metrics)?;
        let authenticator = Authenticator::new(&settings.auth, &metrics)?;
        let (contexts, store) = contexts(&settings, &metrics);
        let shared = Self {
            refuses,
            metrics,
            views: Views::default(),
            labels: Arc::new(settings.scopes.rules()),
            contexts: Arc::new(contexts),
            store,
            retries: Retries::new(settings.conflict.retry_window),
            units: Units::default(),
            users: Users::new(settings.max_users),
            notices: Notices::default(),
            plans: PlanCache::new(PLANS),
            told: Told::default(),
            authenticator,
            client_tls,
            upstream,
            shutdown,
            next_session: AtomicU64::new(1),
            settings,
        };
        Ok((Arc::new(shared), stop))
    }

    /// Reads certificates and the like again now.
    pub fn reload(&self) {
        if let Some(tls) = &self.client_tls {
            tls.reload();
        }
        self.upstream.reload();
        if let Some(authenticator) = &self.authenticator {
            authenticator.reload();
        }
    }

    /// What `/status` tells.
    pub fn status(&self) -> serde_json::Value {
        serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "scope": self.settings.scopes.scope.name(),
            "contexts": {
                "held": self.contexts.len(),
                "rows": self.contexts.rows(),
                "bytes": self.contexts.bytes(),
            },
            "notices": self.notices.sentences(),
        })
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
