//! `staleguard serve`: the control thread. It accepts clients, answers HTTP, probes the upstream and waits for the
//! signal to stop; sessions live on the workers.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use super::shared::{SetupError, Shared};
use super::worker::Workers;
use super::{listen, probe};
use crate::config::Settings;
use crate::observe::context::SnapshotError;
use crate::store;
use crate::telemetry::health::{Heartbeats, Readiness};
use crate::telemetry::{http, targets};

/// The metrics library wants its housekeeping from time to time, and so do the contexts.
const UPKEEP: Duration = Duration::from_secs(5);
/// How long the shared store may take to get the last of what happened.
const STORE_STOP_LIMIT: Duration = Duration::from_secs(2);

/// Why the proxy cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The settings cannot be put to use.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// An address is taken, or not ours.
    #[error("cannot listen on {address} (setting {setting}): {reason}")]
    Bind {
        /// `listen` or `http`.
        setting: &'static str,
        /// The address.
        address: String,
        /// The operating system's words.
        reason: io::Error,
    },
    /// Threads, runtimes or signal handlers.
    #[error("the operating system refuses what the proxy needs to run: {0}")]
    System(#[from] io::Error),
}

/// Serves until SIGINT or SIGTERM.
pub fn run(settings: Settings) -> Result<(), ServeError> {
    let (shared, stop) = Shared::new(Arc::new(settings))?;
    load_contexts(&shared);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    log_panics();
    let outcome = runtime.block_on(control(&shared, &stop));
    save_contexts(&shared);
    runtime.shutdown_background();
    outcome
}

async fn control(shared: &Arc<Shared>, stop: &tokio::sync::watch::Sender<bool>) -> Result<(), ServeError> {
    // Before anything is announced: who sees the announcement may signal at once.
    let mut signals = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let hangup = signal(SignalKind::hangup())?;
    let settings = &shared.settings;
    let listeners = settings
        .listen
        .iter()
        .map(|address| {
            listen::Listener::bind(address, settings.unix_socket_permissions).map_err(|reason| {
                ServeError::Bind { setting: "listen", address: address.to_string(), reason }
            })
        })
        .collect::<Result<Vec<_>, ServeError>>()?;
    let http_listener = listen::bind(settings.http).map_err(|reason| ServeError::Bind {
        setting: "http",
        address: settings.http.to_string(),
        reason,
    })?;

    let heartbeats = Arc::new(Heartbeats::new(settings.workers));
    let readiness = Arc::new(Readiness::new(shared.metrics.upstream_ready.clone()));
    let workers = Arc::new(Workers::start(shared, &heartbeats, |client, peer, shared| {
        Box::pin(crate::session::run(client, peer, shared))
    })?);
    let endpoints = http::Endpoints {
        metrics: shared.metrics.handle(),
        heartbeats: Arc::clone(&heartbeats),
        readiness: Arc::clone(&readiness),
        status: {
            let shared = Arc::clone(shared);
            Arc::new(move || shared.status())
        },
    };

    announce(shared, &listeners, &http_listener)?;
    let mut background = JoinSet::new();
    background.spawn(probe::run(Arc::clone(shared), readiness));
    background.spawn(upkeep(Arc::clone(shared)));
    background.spawn(reloads(hangup, Arc::clone(shared)));
    let store_task = shared.store.as_ref().and_then(|store| store.task.lock().ok()?.take());
    if let Some(task) = store_task {
        background.spawn(store::run(task));
    }
    background.spawn(async move {
        if let Err(error) = axum::serve(http_listener, http::router(endpoints)).await {
            tracing::error!(target: targets::HTTP, %error, "the HTTP endpoints are gone");
        }
    });
    let mut acceptors = JoinSet::new();
    for listener in listeners {
        acceptors.spawn(listen::accept(listener, Arc::clone(&workers), Arc::clone(shared)));
    }

    let name = stop_signal(&mut signals).await;
    tracing::info!(target: targets::SERVER, signal = name, "stopping");
    // The receiver in `shared` keeps the channel open, so this cannot fail.
    let _ = stop.send(true);
    while acceptors.join_next().await.is_some() {}
    let late = match Arc::into_inner(workers) {
        Some(workers) => workers.stop().await,
        None => 0,
    };
    if late > 0 {
        tracing::warn!(target: targets::SERVER, workers = late, "workers did not end in time and were left behind");
    }
    if let Some(store) = &shared.store {
        store.handle.flush(STORE_STOP_LIMIT).await;
    }
    background.shutdown().await;
    tracing::info!(target: targets::SERVER, "stopped");
    Ok(())
}

/// What contexts knew before the restart. Without it writes are blind until their rows are read again.
fn load_contexts(shared: &Shared) {
    let Some(path) = &shared.settings.scopes.snapshot else { return };
    match shared.contexts.load(path, &shared.upstream.address().to_string()) {
        Ok(contexts) => {
            tracing::info!(target: targets::SERVER, path = %path.display(), contexts, "the snapshot of contexts was read");
        }
        Err(SnapshotError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(target: targets::SERVER, path = %path.display(), %error,
                "the snapshot of contexts was not read to its end: writes of rows that were read before the restart \
                 may be blind");
        }
    }
}

fn save_contexts(shared: &Shared) {
    let Some(path) = &shared.settings.scopes.snapshot else { return };
    match shared.contexts.save(path, &shared.upstream.address().to_string()) {
        Ok(contexts) => {
            tracing::info!(target: targets::SERVER, path = %path.display(), contexts, "the snapshot of contexts was written");
        }
        Err(error) => {
            tracing::error!(target: targets::SERVER, path = %path.display(), %error, "the snapshot of contexts was not written");
        }
    }
}

/// One `listening` event for each socket, with the address as bound: what port 0 came to.
fn announce(shared: &Shared, listeners: &[listen::Listener], http: &TcpListener) -> io::Result<()> {
    let settings = &shared.settings;
    let tables: Vec<String> = settings.tables.iter().map(|t| format!("{}.{}", t.schema, t.name)).collect();
    tracing::info!(
        target: targets::SERVER,
        version = env!("CARGO_PKG_VERSION"),
        upstream = %shared.upstream.address(),
        workers = settings.workers,
        tables = tables.join(", "),
        "starting; which of the tables can be protected is told when a database's catalog is first seen"
    );
    if let Some(store) = settings.scopes.store.as_ref().filter(|_| settings.scopes.uses_contexts()) {
        tracing::info!(target: targets::SERVER, %store, "scope context: what contexts have read is shared by a store");
    } else if settings.scopes.uses_contexts() {
        tracing::warn!(
            target: targets::SERVER,
            "scope context: what contexts have read is known to this process alone; proxies of the same application do \
             not share it, so the requests of one user must reach one proxy, or context.store must name a store that \
             they share"
        );
    }
    for listener in listeners {
        let address = listener.address()?;
        tracing::info!(target: targets::SERVER, service = "postgres", address, "listening");
    }
    let address = http.local_addr()?;
    tracing::info!(target: targets::SERVER, service = "http", %address, "listening");
    Ok(())
}

async fn stop_signal((interrupt, terminate): &mut (Signal, Signal)) -> &'static str {
    tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
    }
}

/// SIGHUP reads certificates again at once. A worker would notice a change by itself at its next handshake.
async fn reloads(mut hangup: Signal, shared: Arc<Shared>) {
    while hangup.recv().await.is_some() {
        tracing::info!(target: targets::SERVER, signal = "SIGHUP", "reading certificates again");
        shared.reload();
    }
}

async fn upkeep(shared: Arc<Shared>) {
    let handle = shared.metrics.handle();
    let mut ticks = tokio::time::interval(UPKEEP);
    loop {
        ticks.tick().await;
        handle.run_upkeep();
        let retry = |entity: &str, outcome| shared.metrics.retry(entity, outcome);
        shared.retries.sweep(Instant::now(), retry);
        shared.contexts.sweep(Instant::now());
        shared.metrics.contexts(&shared.contexts);
    }
}

/// A panic's message may quote what it choked on, a statement with its literals: only its place is logged.
fn log_panics() {
    std::panic::set_hook(Box::new(|info| {
        let location = info.location().map(ToString::to_string);
        tracing::error!(target: targets::SERVER, location, "panic: a bug in the proxy");
    }));
}
