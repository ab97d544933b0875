//! Worker threads: one current-thread runtime each. A session lives on the worker that it was handed to.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use metrics::Gauge;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet, LocalSet};

use super::shared::Shared;
use super::stream::{Accepted, Peer, Stream};
use crate::telemetry::health::Heartbeats;
use crate::telemetry::targets;

/// Accepted clients that may wait for a worker to take them.
const QUEUE: usize = 1024;
const HEARTBEAT: Duration = Duration::from_secs(1);
/// How long sessions may take to say good-bye when the process stops.
pub(super) const SESSION_STOP_LIMIT: Duration = Duration::from_secs(5);

/// What a worker does with a client: [`crate::session::run`], or a test's stand-in.
pub(super) type Handler = fn(Stream, Peer, Arc<Shared>) -> Pin<Box<dyn Future<Output = ()>>>;

/// A client on its way to a worker.
pub(super) struct Client {
    pub stream: Accepted,
    pub peer: Peer,
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
    /// Starts them; `handler` serves each client.
    pub fn start(shared: &Arc<Shared>, heartbeats: &Arc<Heartbeats>, handler: Handler) -> io::Result<Self> {
        (0..shared.settings.workers)
            .map(|index| start(index, shared, heartbeats, handler))
            .collect::<io::Result<_>>()
            .map(Self)
    }

    /// Hands a client to the worker with the fewest sessions; where its queue is full, to the next.
    pub fn hand_over(&self, stream: Accepted, peer: Peer, gauge: &Gauge) -> Result<(), NoWorker> {
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

fn start(
    index: usize,
    shared: &Arc<Shared>,
    heartbeats: &Arc<Heartbeats>,
    handler: Handler,
) -> io::Result<Worker> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (clients, receiver) = mpsc::channel(QUEUE);
    let (ended, done) = oneshot::channel();
    let (shared, heartbeats) = (Arc::clone(shared), Arc::clone(heartbeats));
    std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        LocalSet::new().block_on(&runtime, serve(index, receiver, shared, heartbeats, handler));
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
    handler: Handler,
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
                    sessions.spawn_local(session(client, Arc::clone(&shared), handler));
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

async fn session(client: Client, shared: Arc<Shared>, handler: Handler) {
    let Client { stream, peer, place } = client;
    match Stream::try_from(stream) {
        Ok(stream) => handler(stream, peer, shared).await,
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::config::{HostPort, Settings};

    /// Answers each byte with the name of its thread's worker; a `p` makes it panic.
    fn handler(mut client: Stream, _: Peer, shared: Arc<Shared>) -> Pin<Box<dyn Future<Output = ()>>> {
        Box::pin(async move {
            loop {
                let byte = tokio::select! {
                    byte = client.read_u8() => byte,
                    () = shared.stopping() => return,
                };
                match byte {
                    Ok(b'p') => panic!("as asked"),
                    Ok(_) => {
                        let name = std::thread::current().name().unwrap_or("?").to_owned();
                        let number = name.trim_start_matches("worker-").parse().unwrap();
                        client.write_u8(number).await.unwrap();
                    }
                    Err(_) => return,
                }
            }
        })
    }

    struct Bench {
        shared: Arc<Shared>,
        stop: tokio::sync::watch::Sender<bool>,
        workers: Workers,
        listener: TcpListener,
    }

    impl Bench {
        async fn start(workers: usize) -> Self {
            let upstream = Some(HostPort { host: "127.0.0.1".to_owned(), port: 1 }.into());
            let settings = Settings { workers, upstream, ..Settings::default() };
            let (shared, stop) = Shared::new(Arc::new(settings)).unwrap();
            let heartbeats = Arc::new(Heartbeats::new(workers));
            let workers = Workers::start(&shared, &heartbeats, handler).unwrap();
            Self { shared, stop, workers, listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
        }

        async fn connect(&self) -> TcpStream {
            let client = TcpStream::connect(self.listener.local_addr().unwrap()).await.unwrap();
            let (stream, peer) = self.listener.accept().await.unwrap();
            let gauge = &self.shared.metrics.connections;
            let stream = Accepted::Tcp(stream.into_std().unwrap());
            self.workers.hand_over(stream, Peer::Tcp(peer), gauge).unwrap();
            client
        }
    }

    async fn ask(client: &mut TcpStream) -> u8 {
        client.write_u8(b'a').await.unwrap();
        client.read_u8().await.unwrap()
    }

    #[tokio::test]
    async fn sessions_are_spread_and_a_panic_ends_only_its_own() {
        let bench = Bench::start(2).await;
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(bench.connect().await);
        }
        let mut homes = Vec::new();
        for client in &mut clients {
            homes.push(ask(client).await);
        }
        assert_eq!(homes.iter().filter(|home| **home == 0).count(), 2, "{homes:?}");

        let mut unlucky = clients.remove(0);
        unlucky.write_u8(b'p').await.unwrap();
        assert!(unlucky.read_u8().await.is_err(), "the connection is closed");
        for (client, home) in clients.iter_mut().zip(homes.iter().skip(1)) {
            assert_eq!(ask(client).await, *home, "a session does not move");
        }
        // The place that the panic freed is taken next.
        let mut next = bench.connect().await;
        assert_eq!(ask(&mut next).await, homes[0]);
        let rendered = bench.shared.metrics.handle().render();
        assert!(rendered.contains("staleguard_session_panics_total 1\n"), "{rendered}");
        assert!(rendered.contains("staleguard_connections 4\n"), "{rendered}");

        bench.stop.send(true).unwrap();
        assert_eq!(bench.workers.stop().await, 0);
        assert!(next.read_u8().await.is_err(), "ended by the stop");
        let rendered = bench.shared.metrics.handle().render();
        assert!(rendered.contains("staleguard_connections 0\n"), "{rendered}");
    }
}
