//! The task between the queue and the server: one exchange after another on one connection.
//!
//! What waits in the queue goes together: a batch. The order of the queue is kept, so that a question is answered
//! behind every note that was made before it. An exchange that fails, or takes too long, ends the connection: what was
//! on its way may have been carried out or not, so it is lost (see `queue`).

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, Pipeline, RedisError, Value};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::StoreSettings;
use super::queue::{Lost, Message, Queue};
use super::script::{Scripts, answer, long_rows};
use crate::observe::context::store::{Answer, Ask, Note, Place, in_short};
use crate::telemetry::store::{StoreError, StoreMetrics};
use crate::telemetry::targets;

/// Messages of one batch at most.
const BATCH: usize = 1_024;
/// Between two tries to connect, at first and at most.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));
/// How long connecting may take, and an exchange for which the limit of a write is shorter.
const LIMIT: Duration = Duration::from_secs(1);
/// After so long without anything to send the server is asked whether it is there.
const IDLE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Link {
    settings: StoreSettings,
    queue: Arc<Queue>,
    receiver: mpsc::Receiver<Message>,
    metrics: StoreMetrics,
}

/// A connection with the scripts in place.
struct Open {
    connection: MultiplexedConnection,
    scripts: Scripts,
}

/// Marked places that the server is to forget once so many more messages have been sent.
struct Repair {
    marked: Lost,
    behind: usize,
}

/// A row's key, and what has happened to it.
type RowEvent = (Box<str>, Vec<u8>);

/// What is sent together.
#[derive(Default)]
struct Batch {
    pipeline: Pipeline,
    commands: Vec<Command>,
    /// Events that can go along with others of their place, in the order of their first.
    events: Vec<(Place, Vec<RowEvent>)>,
    places: HashMap<Place, usize>,
    questions: Vec<Question>,
    /// What is lost if it fails.
    notes: Lost,
    noted: u64,
}

struct Question {
    asks: Vec<Ask>,
    answers: Vec<Answer>,
    to: oneshot::Sender<Vec<Answer>>,
}

/// What an answer of the server is to.
enum Command {
    Push(Place),
    Fetch { question: usize, ask: usize },
    Other,
}

impl Link {
    pub fn new(
        settings: StoreSettings,
        queue: Arc<Queue>,
        receiver: mpsc::Receiver<Message>,
        metrics: StoreMetrics,
    ) -> Self {
        Self { settings, queue, receiver, metrics }
    }

    /// Connects, serves, and connects again.
    pub async fn run(mut self) {
        let address = self.settings.address.clone();
        let mut pause = PAUSES.0;
        let mut told = false;
        loop {
            match timeout(LIMIT, self.connect()).await.unwrap_or_else(|_| Err(late())) {
                Ok(open) => {
                    tracing::info!(target: targets::STORE, %address, "the shared store of contexts answers");
                    self.queue.goes_up();
                    let since = Instant::now();
                    let error = self.serve(open).await;
                    // One that answers and then fails again and again is tried as seldom as one that is away.
                    if since.elapsed() > PAUSES.1 {
                        pause = PAUSES.0;
                    }
                    self.failed(&error);
                    tracing::warn!(target: targets::STORE, %address, %error,
                        "the shared store of contexts is gone: until it is back writes in scope context are blind, \
                         cause store");
                    told = true;
                }
                Err(error) => {
                    self.failed(&error);
                    if !told {
                        tracing::warn!(target: targets::STORE, %address, %error,
                            "the shared store of contexts cannot be reached: until it can writes in scope context \
                             are blind, cause store");
                        told = true;
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    fn failed(&self, error: &RedisError) {
        let kind = if error.is_timeout() {
            StoreError::Timeout
        } else if error.is_io_error() {
            StoreError::Connection
        } else {
            StoreError::Refused
        };
        self.metrics.failed(kind);
    }

    async fn connect(&self) -> Result<Open, RedisError> {
        let client = Client::open(self.settings.address.secret())?;
        let limit = Some(LIMIT.max(self.settings.timeout));
        let config = AsyncConnectionConfig::new().set_connection_timeout(limit).set_response_timeout(limit);
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut load = redis::pipe();
        for text in Scripts::texts() {
            load.cmd("SCRIPT").arg("LOAD").arg(text);
        }
        let names: [String; 4] = load.query_async(&mut connection).await?;
        let scripts = Scripts::loaded(&self.settings.prefix, names);
        scripts.try_to_write().exec_async(&mut connection).await?;
        Ok(Open { connection, scripts })
    }

    /// Until something goes wrong.
    async fn serve(&mut self, mut open: Open) -> RedisError {
        let mut repair: Option<Repair> = None;
        let mut messages = Vec::new();
        loop {
            if repair.is_none() {
                repair = self.queue.marked(&self.receiver).map(|(marked, behind)| Repair { marked, behind });
            }
            let mut batch = Batch::default();
            if repair.as_ref().is_none_or(|repair| repair.behind > 0)
                && timeout(IDLE, self.receiver.recv_many(&mut messages, BATCH)).await.is_err()
            {
                // Whether it is still there should be known before a write asks.
                batch.pipeline.cmd("PING");
                batch.commands.push(Command::Other);
            }
            let count = messages.len();
            for message in messages.drain(..) {
                batch.add(message, &open.scripts, &self.settings);
            }
            batch.gather(&open.scripts, &self.settings);
            if let Some(waiting) = &mut repair {
                waiting.behind = waiting.behind.saturating_sub(count);
                if waiting.behind == 0 {
                    batch.forget(&waiting.marked, &open.scripts);
                    self.queue.unmark(&waiting.marked);
                    repair = None;
                }
            }
            if let Err(error) = self.exchange(batch, &mut open).await {
                return error;
            }
        }
    }

    async fn exchange(&mut self, batch: Batch, open: &mut Open) -> Result<(), RedisError> {
        let Batch { pipeline, commands, mut questions, notes, noted, .. } = batch;
        let mut long: Vec<(Place, Box<str>)> = Vec::new();
        if !commands.is_empty() {
            let values = match self.send(&pipeline, open).await {
                Ok(values) if values.len() == commands.len() => values,
                outcome => {
                    self.metrics.dropped(noted);
                    self.queue.goes_down(notes, &mut self.receiver);
                    return Err(outcome.err().unwrap_or_else(unexpected));
                }
            };
            self.metrics.sent(noted);
            for (command, value) in commands.into_iter().zip(values) {
                match command {
                    Command::Push(place) => {
                        long.extend(long_rows(value).into_iter().map(|row| (place.clone(), row)));
                    }
                    Command::Fetch { question, ask } => {
                        if let Some(question) = questions.get_mut(question)
                            && let Some(ask) = question.asks.get(ask)
                        {
                            question.answers.extend(answer(ask, value));
                        }
                    }
                    Command::Other => {}
                }
            }
        }
        for question in questions {
            // Who asked may have given up.
            let _ = question.to.send(question.answers);
        }
        match self.shorten(long, open).await {
            Ok(()) => Ok(()),
            Err(error) => {
                self.queue.goes_down(Lost::default(), &mut self.receiver);
                Err(error)
            }
        }
    }

    async fn send(&self, pipeline: &Pipeline, open: &mut Open) -> Result<Vec<Value>, RedisError> {
        self.queue.begin_waiting();
        let outcome = pipeline.query_async(&mut open.connection).await;
        self.queue.end_waiting();
        outcome
    }

    /// Rows of many events get one that says as much. Whoever makes a row long makes it short, or one that is read
    /// often and never written would grow for ever.
    async fn shorten(&self, long: Vec<(Place, Box<str>)>, open: &mut Open) -> Result<(), RedisError> {
        for rows in long.chunks(BATCH) {
            let asks = rows.iter().map(|(place, row)| Ask {
                place: place.clone(),
                rows: vec![row.clone()],
                any: None,
            });
            let asks: Vec<Ask> = asks.collect();
            let mut fetch = redis::pipe();
            for ask in &asks {
                fetch.add_command(open.scripts.fetch(ask));
            }
            let values = self.send(&fetch, open).await?;
            let mut shorten = redis::pipe();
            for (ask, value) in asks.iter().zip(values) {
                let Some(history) = answer(ask, value).and_then(|answer| answer.rows.into_iter().next())
                else {
                    continue;
                };
                if let (Some(row), true) = (ask.rows.first(), history.len() > 1) {
                    let short = in_short(&history, &self.settings.limits);
                    shorten.add_command(open.scripts.shorten(&ask.place, row, &history, &short));
                }
            }
            if !shorten.is_empty() {
                self.send(&shorten, open).await?;
            }
        }
        Ok(())
    }
}

impl Batch {
    fn add(&mut self, message: Message, scripts: &Scripts, settings: &StoreSettings) {
        match message {
            Message::Note(note) => {
                self.notes.lose(&note);
                self.noted += 1;
                match note {
                    Note::Happened { place, row, event } => {
                        let next = self.events.len();
                        let at = *self.places.entry(place.clone()).or_insert(next);
                        if at == next {
                            self.events.push((place, Vec::new()));
                        }
                        if let Some((_, events)) = self.events.get_mut(at) {
                            events.push((row, event));
                        }
                    }
                    Note::Forget(place) => {
                        self.gather(scripts, settings);
                        self.pipeline.add_command(scripts.forget(&place));
                        self.commands.push(Command::Other);
                    }
                    Note::ForgetTable(table) => {
                        self.gather(scripts, settings);
                        self.pipeline.add_command(scripts.forget_table(&table));
                        self.commands.push(Command::Other);
                    }
                }
            }
            Message::Ask(asks, to) => {
                if to.is_closed() {
                    return;
                }
                self.gather(scripts, settings);
                for (n, ask) in asks.iter().enumerate() {
                    self.pipeline.add_command(scripts.fetch(ask));
                    self.commands.push(Command::Fetch { question: self.questions.len(), ask: n });
                }
                self.questions.push(Question { asks, answers: Vec::new(), to });
            }
        }
    }

    /// Events collected so far go before whatever comes next.
    fn gather(&mut self, scripts: &Scripts, settings: &StoreSettings) {
        self.places.clear();
        let ttl = millis(settings.limits.ttl);
        let now = millis(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default());
        for (place, events) in self.events.drain(..) {
            let most = settings.limits.max_rows;
            self.pipeline.add_command(scripts.push(&place, &events, &word(), (ttl, now), most));
            self.commands.push(Command::Push(place));
        }
    }

    /// The server is to forget what was marked.
    fn forget(&mut self, marked: &Lost, scripts: &Scripts) {
        for table in &marked.tables {
            self.pipeline.add_command(scripts.forget_table(table));
            self.commands.push(Command::Other);
        }
        for place in &marked.places {
            self.pipeline.add_command(scripts.forget(place));
            self.commands.push(Command::Other);
        }
        self.notes.add(marked.clone());
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A word that no epoch has had.
fn word() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let random = || RandomState::new().hash_one((n, SystemTime::now()));
    format!("{:016x}{:016x}", random(), random())
}

fn late() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

fn unexpected() -> RedisError {
    (ErrorKind::UnexpectedReturnType, "the server's answers do not match the questions").into()
}
