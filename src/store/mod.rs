//! A store of contexts that several proxies share: Redis, or Valkey.
//!
//! What contexts know is the business of [`crate::observe::context`]; here it is kept. Each row is a list of events.
//! Sessions hand their notes to a queue that never makes them wait, and one task takes them to the server, many at a
//! time (`link`). What cannot be taken there is lost, and then the store must not be relied on for those rows: they are
//! marked until it has been told to forget them (`queue`).
//!
//! | file | what it knows |
//! | --- | --- |
//! | [`address`] | where the server is, and what of that may be shown |
//! | `queue` | notes and questions on their way, and what was lost |
//! | `link` | the task: connecting, one exchange after another, breaking off |
//! | `script` | the names of keys, and what runs on the server |

pub mod address;
mod link;
mod queue;
mod script;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use self::address::StoreAddress;
use self::queue::{Message, Queue};
use crate::observe::context::ContextLimits;
use crate::observe::context::store::{Ask, ContextStore, Fetching, Note, Unavailable};
use crate::telemetry::store::{StoreFetch, StoreMetrics};

/// How the store is reached and used.
#[derive(Debug, Clone)]
pub struct StoreSettings {
    /// Where it is.
    pub address: StoreAddress,
    /// How long a write may wait for it.
    pub timeout: Duration,
    /// What the names of all keys begin with.
    pub prefix: String,
    /// Bounds and rules of the contexts.
    pub limits: ContextLimits,
}

/// The sessions' end of it.
#[derive(Debug)]
pub struct SharedStore {
    queue: Arc<Queue>,
    timeout: Duration,
    metrics: StoreMetrics,
}

/// The other end: what [`run`] needs.
#[derive(Debug)]
pub struct Task(link::Link);

/// A store, not yet connected, and the task that connects and serves it.
pub fn new(settings: StoreSettings, metrics: &StoreMetrics) -> (Arc<SharedStore>, Task) {
    let (queue, receiver) = Queue::new(metrics.clone());
    let queue = Arc::new(queue);
    let store = SharedStore { queue: queue.clone(), timeout: settings.timeout, metrics: metrics.clone() };
    (Arc::new(store), Task(link::Link::new(settings, queue, receiver, metrics.clone())))
}

/// Serves the store for ever.
pub async fn run(task: Task) {
    task.0.run().await;
}

impl SharedStore {
    /// Ends when all that was noted so far has been taken to the server, or can not be, or the time is over.
    pub async fn flush(&self, limit: Duration) {
        // Behind the first answer the server is told what was lost, the second comes behind that.
        for _ in 0..2 {
            let (answer, answered) = oneshot::channel();
            if self.queue.ask(Message::Ask(Vec::new(), answer)) {
                // Whatever comes of it: nobody could do more.
                let _ = tokio::time::timeout(limit / 2, answered).await;
            }
        }
    }
}

impl ContextStore for SharedStore {
    fn note(&self, note: Note) {
        self.queue.note(note);
    }

    fn fetch(&self, asks: Vec<Ask>) -> Fetching {
        let begun = Instant::now();
        let (answer, answered) = oneshot::channel();
        let wanted = asks.len();
        let queued =
            self.queue.is_relied_on(&asks, self.timeout) && self.queue.ask(Message::Ask(asks, answer));
        let metrics = self.metrics.clone();
        if !queued {
            metrics.fetched(StoreFetch::Refused, begun.elapsed());
            return Box::pin(std::future::ready(Err(Unavailable)));
        }
        let timeout = self.timeout;
        Box::pin(async move {
            let (outcome, answers) = match tokio::time::timeout(timeout, answered).await {
                Ok(Ok(answers)) if answers.len() == wanted => (StoreFetch::Answered, Ok(answers)),
                Ok(_) => (StoreFetch::Failed, Err(Unavailable)),
                Err(_) => (StoreFetch::Late, Err(Unavailable)),
            };
            metrics.fetched(outcome, begun.elapsed());
            answers
        })
    }
}
