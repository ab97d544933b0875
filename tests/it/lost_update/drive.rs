//! How statements reach the server: a raw client that sends any sequence of messages, and tokio-postgres.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use tokio_postgres::types::{Format, IsNull, ToSql, Type};
use tokio_postgres::{NoTls, SimpleQueryMessage};

use super::statements::Text;
use crate::common::frames::{self, Frame};
use crate::common::raw::{Raw, inlined};

/// Something to send in one go.
#[derive(Debug)]
pub enum Send {
    /// One Query.
    Query(Vec<Text>),
    /// Cycles of the extended protocol, each with its Sync.
    Cycles {
        /// The statements of each.
        cycles: Vec<Vec<Text>>,
        /// What stands behind each statement beside that.
        flush: Flush,
        /// Statements are prepared by name and used again.
        named: bool,
    },
}

/// Flush behind each statement of a cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// None.
    Not,
    /// Sent.
    Sent,
    /// Sent, and the reply awaited.
    Awaited,
}

/// What came back for a Query or a cycle.
#[derive(Debug, Default)]
pub struct Segment {
    /// Statements that completed, in order.
    pub done: Vec<Done>,
    /// What the next one failed with.
    pub error: Option<Failure>,
    /// Transaction status behind it.
    pub status: char,
}

/// A statement that completed.
#[derive(Debug, Default)]
pub struct Done {
    /// Command tag.
    pub tag: String,
    /// Its rows.
    pub rows: Vec<Vec<String>>,
}

/// An error.
#[derive(Debug)]
pub struct Failure {
    /// SQLSTATE.
    pub code: String,
    /// Message: for the report.
    #[allow(dead_code)]
    pub message: String,
    /// Detail.
    pub detail: String,
    /// Table.
    pub table: String,
    /// Constraint.
    pub constraint: String,
}

/// A session.
pub trait Driver {
    /// Sends, and reads all that it calls for.
    fn send(&mut self, send: &Send) -> Vec<Segment>;
}

/// A raw client.
pub struct RawDriver {
    raw: Raw,
    /// Statements prepared by name, by text.
    names: HashMap<String, String>,
    prepared: usize,
}

/// What each session prepares in SQL, for EXECUTE.
const PREPARED: &str = "prepare up_resources (text, bigint) as update resources set token = $1 where id = $2;
    prepare up_rates (text, text) as update rates set token = $1 where code = $2;
    prepare up_user_roles (text, bigint, text) as update user_roles set token = $1 where user_id = $2 and role = $3";

impl RawDriver {
    /// Connects.
    pub fn connect(address: &str, database: &str, writer: &str) -> Self {
        let parameters = [("user", "postgres"), ("database", database), ("application_name", writer)];
        let mut raw = Raw::connect_with(address, &parameters);
        raw.ok(PREPARED);
        Self { raw, names: HashMap::new(), prepared: 0 }
    }

    /// Parse (where it is needed), Bind, Execute; with the name to remember if they succeed.
    fn messages(&mut self, text: &Text, named: bool, fresh: &mut Vec<(String, String)>) -> Vec<u8> {
        let values: Vec<&str> = text.values.iter().map(String::as_str).collect();
        let mut name = String::new();
        let mut out = Vec::new();
        if named {
            let known = self.names.get(&text.sql).cloned();
            let here = fresh.iter().find(|(sql, _)| *sql == text.sql).map(|(_, name)| name.clone());
            name = known.or(here).unwrap_or_default();
        }
        if name.is_empty() {
            if named {
                self.prepared += 1;
                name = format!("s{}", self.prepared);
                fresh.push((text.sql.clone(), name.clone()));
            }
            out.extend(frames::parse(&name, &text.sql, &[]));
        }
        out.extend(frames::bind(&name, &values));
        out.extend(frames::execute("", 0));
        out
    }
}

fn segment(reply: &[Frame]) -> Segment {
    let mut segment = Segment::default();
    let mut rows = Vec::new();
    for frame in reply {
        match frame.tag {
            b'D' => rows.push(frame.texts()),
            b'C' => segment.done.push(Done { tag: frame.command(), rows: std::mem::take(&mut rows) }),
            b'E' => {
                let field = |code| frame.field(code).unwrap_or_default();
                segment.error = Some(Failure {
                    code: field('C'),
                    message: field('M'),
                    detail: field('D'),
                    table: field('t'),
                    constraint: field('n'),
                });
            }
            b'Z' => segment.status = char::from(frame.body[0]),
            _ => {}
        }
    }
    segment
}

impl Driver for RawDriver {
    fn send(&mut self, send: &Send) -> Vec<Segment> {
        let (cycles, flush, named) = match send {
            Send::Query(texts) => {
                let texts: Vec<String> = texts.iter().map(literal).collect();
                return vec![segment(&self.raw.query(&texts.join("; ")))];
            }
            Send::Cycles { cycles, flush, named } => (cycles, *flush, *named),
        };
        let mut fresh: Vec<Vec<(String, String)>> = Vec::new();
        let mut bytes = Vec::new();
        let mut early = Vec::new();
        for cycle in cycles {
            // What an earlier cycle of this very send prepares may fail: no use of its names.
            let mut names = Vec::new();
            for text in cycle {
                bytes.extend(self.messages(text, named, &mut names));
                if flush != Flush::Not {
                    bytes.extend(frames::flush());
                }
                if flush == Flush::Awaited {
                    self.raw.send(&std::mem::take(&mut bytes));
                    while !early.last().is_some_and(|f: &Frame| matches!(f.tag, b'C' | b'E')) {
                        early.push(self.raw.frame());
                    }
                    if early.last().is_some_and(|f| f.tag == b'E') {
                        break;
                    }
                    let closed = Frame { tag: b'n', body: Vec::new() };
                    early.push(closed);
                }
            }
            bytes.extend(frames::sync());
            fresh.push(names);
        }
        self.raw.send(&bytes);
        let mut out = Vec::new();
        for names in fresh {
            let mut reply = std::mem::take(&mut early);
            reply.extend(self.raw.until_ready(1));
            let segment = segment(&reply);
            if segment.error.is_none() {
                self.names.extend(names);
            }
            out.push(segment);
        }
        out
    }
}

/// The text with its values as literals.
fn literal(text: &Text) -> String {
    let values: Vec<&str> = text.values.iter().map(String::as_str).collect();
    inlined(&text.sql, &values)
}

/// tokio-postgres: binary parameters and results.
pub struct TokioDriver {
    runtime: tokio::runtime::Runtime,
    client: tokio_postgres::Client,
    statements: HashMap<String, tokio_postgres::Statement>,
    in_block: bool,
    /// The block has failed: its COMMIT rolls back, which the client library does not tell.
    failed: bool,
}

impl TokioDriver {
    /// Connects.
    pub fn connect(address: &str, database: &str, writer: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (host, port) = address.split_once(':').unwrap();
        let config =
            format!("host={host} port={port} user=postgres dbname={database} application_name={writer}");
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&config, NoTls).await.unwrap();
            tokio::spawn(connection);
            client.batch_execute(PREPARED).await.unwrap();
            client
        });
        Self { runtime, client, statements: HashMap::new(), in_block: false, failed: false }
    }

    fn status(&mut self, texts: &[Text], error: bool) -> char {
        let opens = texts.iter().any(|t| t.sql.starts_with("begin"));
        let closes = texts.iter().any(|t| t.sql == "commit" || t.sql == "rollback");
        if opens {
            self.in_block = true;
        }
        // A block's COMMIT that fails has ended it, too.
        if closes && (!error || texts.len() == 1) {
            self.in_block = false;
        }
        let recovers = texts.iter().any(|t| t.sql.starts_with("rollback to"));
        self.failed = self.in_block && (error || self.failed && !recovers);
        match (self.in_block, self.failed) {
            (false, _) => 'I',
            (true, false) => 'T',
            (true, true) => 'E',
        }
    }
}

impl Driver for TokioDriver {
    fn send(&mut self, send: &Send) -> Vec<Segment> {
        let (cycles, named) = match send {
            Send::Query(texts) => {
                let joined: Vec<String> = texts.iter().map(literal).collect();
                let reply = self.runtime.block_on(self.client.simple_query(&joined.join("; ")));
                let (done, error) = match reply {
                    Ok(messages) => (simple(messages, texts), None),
                    Err(error) => (Vec::new(), Some(failure(&error))),
                };
                let status = self.status(texts, error.is_some());
                return vec![Segment { done, error, status }];
            }
            Send::Cycles { cycles, named, .. } => (cycles, *named),
        };
        let Self { runtime, client, statements, .. } = self;
        let texts: Vec<&Text> = cycles.iter().map(|cycle| &cycle[0]).collect();
        assert!(cycles.iter().all(|cycle| cycle.len() == 1), "it has no cycles of several statements");
        let replies: Vec<Result<Done, tokio_postgres::Error>> = runtime.block_on(async {
            let mut prepared = Vec::new();
            for text in &texts {
                let statement = match statements.get(&text.sql).filter(|_| named) {
                    Some(statement) => statement.clone(),
                    None => match client.prepare(&text.sql).await {
                        Ok(statement) => statement,
                        Err(error) => return vec![Err(error)],
                    },
                };
                statements.insert(text.sql.clone(), statement.clone());
                prepared.push(statement);
            }
            let futures = texts.iter().zip(prepared).map(|(t, p)| Box::pin(execute(client, t, p)));
            all(futures.collect()).await
        });
        let mut segments = Vec::new();
        for (text, reply) in texts.iter().zip(replies) {
            let (done, error) = match reply {
                Ok(mut done) => {
                    if text.sql == "commit" {
                        done.tag = if self.failed { "ROLLBACK" } else { "COMMIT" }.into();
                    }
                    (vec![done], None)
                }
                Err(error) => (Vec::new(), Some(failure(&error))),
            };
            let status = self.status(&[(*text).clone()], error.is_some());
            segments.push(Segment { done, error, status });
        }
        segments
    }
}

async fn execute(
    client: &tokio_postgres::Client,
    text: &Text,
    statement: tokio_postgres::Statement,
) -> Result<Done, tokio_postgres::Error> {
    let values: Vec<Value> = text.values.iter().cloned().map(Value).collect();
    let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|v| v as _).collect();
    if statement.columns().is_empty() {
        let count = client.execute(&statement, &values).await?;
        return Ok(Done { tag: format!("DONE {count}"), rows: Vec::new() });
    }
    let rows = client.query(&statement, &values).await?;
    let rows: Vec<Vec<String>> = rows.iter().map(row).collect();
    Ok(Done { tag: format!("DONE {}", rows.len()), rows })
}

fn simple(messages: Vec<SimpleQueryMessage>, texts: &[Text]) -> Vec<Done> {
    let mut out = Vec::new();
    let mut rows = Vec::new();
    for message in messages {
        match message {
            SimpleQueryMessage::Row(row) => {
                rows.push((0..row.len()).map(|i| row.get(i).unwrap_or("NULL").to_owned()).collect());
            }
            SimpleQueryMessage::CommandComplete(count) => {
                let text = texts.get(out.len()).map_or("", |t| t.sql.as_str());
                let tag = if text == "commit" { "COMMIT".into() } else { format!("DONE {count}") };
                out.push(Done { tag, rows: std::mem::take(&mut rows) });
            }
            _ => {}
        }
    }
    out
}

fn failure(error: &tokio_postgres::Error) -> Failure {
    let db = error.as_db_error().unwrap_or_else(|| panic!("{error:?}"));
    let text = |t: Option<&str>| t.unwrap_or_default().to_owned();
    Failure {
        code: db.code().code().to_owned(),
        message: db.message().to_owned(),
        detail: text(db.detail()),
        table: text(db.table()),
        constraint: text(db.constraint()),
    }
}

/// Polls all in order until all are ready: their requests go out together.
async fn all<T>(mut futures: Vec<Pin<Box<impl Future<Output = T>>>>) -> Vec<T> {
    let mut results: Vec<Option<T>> = futures.iter().map(|_| None).collect();
    poll_fn(|cx| {
        for (future, result) in futures.iter_mut().zip(&mut results).filter(|(_, r)| r.is_none()) {
            if let Poll::Ready(value) = future.as_mut().poll(cx) {
                *result = Some(value);
            }
        }
        if results.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    results.into_iter().flatten().collect()
}

fn row(row: &tokio_postgres::Row) -> Vec<String> {
    let value = |i: usize| match *row.columns()[i].type_() {
        Type::INT8 => row.get::<_, i64>(i).to_string(),
        Type::INT4 => row.get::<_, i32>(i).to_string(),
        _ => row.get::<_, String>(i),
    };
    (0..row.len()).map(value).collect()
}

/// A value in the type that the server asks for.
#[derive(Debug)]
struct Value(String);

impl ToSql for Value {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut tokio_postgres::types::private::BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + std::marker::Send>> {
        let members = || self.0.trim_matches(['{', '}']).split(',').map(|m| m.trim_matches('"').to_owned());
        match *ty {
            Type::INT8 => self.0.parse::<i64>()?.to_sql(ty, out),
            Type::INT4 => self.0.parse::<i32>()?.to_sql(ty, out),
            Type::INT8_ARRAY => {
                members().map(|m| m.parse::<i64>()).collect::<Result<Vec<_>, _>>()?.to_sql(ty, out)
            }
            Type::TEXT_ARRAY => members().collect::<Vec<_>>().to_sql(ty, out),
            _ => self.0.to_sql(ty, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Binary
    }

    tokio_postgres::types::to_sql_checked!();
}
