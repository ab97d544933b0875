//! Worker threads: one current-thread runtime each. A session lives on the worker that it was handed to.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use metrics::Gauge;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet, LocalSet};

use super::shared::Shared;
use crate::telemetry::health::Heartbeats;
use crate::telemetry::targets;

/// Accepted clients that may wait for a worker to take them.
const QUEUE: usize = 1024;
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long sessions may take to say good-bye when the process stops.
pub(super) const SESSION_STOP_LIMIT: Duration = Duration::from_secs(5);

/// A client on its way to a worker.
pub(super) struct Client {
    pub stream: std::net::TcpStream,
    pub peer: SocketAddr,
    pub place: Place,
}

/// Counts as one session of a worker for as long as it lives, wherever it is dropped.
pub(super) struct Place {
    sessions: Arc<AtomicUsize>,
    gauge: Gauge,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
        self.gauge.decrement(1.0);
    }
}

/// A worker as the control thread sees it.
pub(super) struct Worker {
    sessions: Arc<AtomicUsize>,
    clients: mpsc::Sender<Client>,
    done: oneshot::Receiver<()>,
}

/// The sending side of all workers.
pub(super) struct Workers(Vec<Worker>);

impl Workers {
    /// Starts them.
    pub fn start(shared: &Arc<Shared>, heartbeats: &Arc<Heartbeats>) -> io::Result<Self> {
        (0..shared.settings.workers)
            .map(|index| start(index, shared, heartbeats))
            .collect::<io::Result<_>>()
            .map(Self)
    }

    /// Hands a client to the worker with the fewest sessions; where its queue is full, to the next.
    pub fn hand_over(
        &self,
        stream: std::net::TcpStream,
        peer: SocketAddr,
        gauge: &Gauge,
    ) -> Result<(), NoWorker> {
        let mut order: Vec<(usize, &Worker)> =
            self.0.iter().map(|worker| (worker.sessions.load(Ordering::Relaxed), worker)).collect();
        order.sort_by_key(|(sessions, _)| *sessions);
        let mut stream = stream;
        for (_, worker) in order {
            worker.sessions.fetch_add(1, Ordering::Relaxed);
            gauge.increment(1.0);
            let place = Place { sessions: Arc::clone(&worker.sessions), gauge: gauge.clone() };
            match worker.clients.try_send(Client { stream, peer, place }) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Full(client) | mpsc::error::TrySendError::Closed(client)) => {
                    stream = client.stream;
                }
            }
        }
        Err(NoWorker)
    }

    /// Takes no more clients and waits for the workers to end; tells how many did not within the limit.
    pub async fn stop(self) -> usize {
        let (waits, senders): (Vec<_>, Vec<_>) = self.0.into_iter().map(|w| (w.done, w.clients)).unzip();
        drop(senders);
        let deadline = tokio::time::Instant::now() + SESSION_STOP_LIMIT + HEARTBEAT;
        let mut late = 0;
        for done in waits {
            // An error means that the worker's thread is gone, which is as good.
            if tokio::time::timeout_at(deadline, done).await.is_err() {
                late += 1;
            }
        }
        late
    }
}

/// No worker takes clients: all queues are full.
#[derive(Debug, thiserror::Error)]
#[error("every worker's queue of new clients is full")]
pub(super) struct NoWorker;

fn start(index: usize, shared: &Arc<Shared>, heartbeats: &Arc<Heartbeats>) -> io::Result<Worker> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (clients, receiver) = mpsc::channel(QUEUE);
    let (ended, done) = oneshot::channel();
    let (shared, heartbeats) = (Arc::clone(shared), Arc::clone(heartbeats));
    std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        LocalSet::new().block_on(&runtime, serve(index, receiver, shared, heartbeats));
        // A blocking name lookup must not hold up the stop.
        runtime.shutdown_background();
        let _ = ended.send(());
    })?;
    Ok(Worker { sessions: Arc::new(AtomicUsize::new(0)), clients, done })
}

async fn serve(
    index: usize,
    mut clients: mpsc::Receiver<Client>,
    shared: Arc<Shared>,
    heartbeats: Arc<Heartbeats>,
) {
    let mut beat = tokio::time::interval(HEARTBEAT);
    let mut sessions = JoinSet::new();
    let report = Report { shared: Arc::clone(&shared), index };
    loop {
        tokio::select! {
            _ = beat.tick() => heartbeats.beat(index),
            Some(ended) = sessions.join_next() => report.ended(ended),
            client = clients.recv() => match client {
                Some(client) => {
                    sessions.spawn_local(session(client, Arc::clone(&shared)));
                }
                None => break,
            },
        }
    }
    let all_ended = async {
        while let Some(ended) = sessions.join_next().await {
            report.ended(ended);
        }
    };
    if tokio::time::timeout(SESSION_STOP_LIMIT, all_ended).await.is_err() {
        tracing::warn!(target: targets::SERVER, worker = index, sessions = sessions.len(), "sessions cut off");
        sessions.shutdown().await;
    }
}

async fn session(client: Client, shared: Arc<Shared>) {
    let Client { stream, peer, place } = client;
    match tokio::net::TcpStream::from_std(stream) {
        Ok(stream) => crate::session::run(stream, peer, shared).await,
        Err(error) => {
            tracing::warn!(target: targets::SERVER, %peer, %error, "a client's socket cannot be used")
        }
    }
    drop(place);
}

/// Notes how sessions end.
struct Report {
    shared: Arc<Shared>,
    index: usize,
}

impl Report {
    fn ended(&self, outcome: Result<(), JoinError>) {
        if let Err(error) = outcome
            && error.is_panic()
        {
            // Where it happened is in the panic hook's own event. The payload may quote a statement: not logged.
            self.shared.metrics.session_panics.increment(1);
            tracing::error!(target: targets::SERVER, worker = self.index, "a session was ended by a bug");
        }
    }
}
