//! `staleguard demo`: a planner database of its own, the proxy before it, and real clients that try to lose
//! each other's changes. Prints what was expected and what was seen, and fails where the two differ.

mod client;
mod http;
mod planner;
mod proxy;
mod psql;
mod report;
mod scenario;
mod stage;

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::throwaway::{Cluster, ThrowawayError};
use client::{Ledger, PLANNER, Target};
use proxy::Proxy;
use report::{Check, Outcome, table};
use stage::Stage;

/// `staleguard demo`'s own flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Exit after the scenarios instead of staying up
    #[arg(long)]
    pub once: bool,
    /// How long each half of the race runs, in seconds
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=600), value_name = "N")]
    pub seconds: u64,
}

/// Why the demo could not go on.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// No cluster.
    #[error(transparent)]
    Cluster(#[from] ThrowawayError),
    /// The demo's own runtime could not be made.
    #[error("cannot start the demo: {0}")]
    Runtime(std::io::Error),
    /// An error that no scenario expects.
    #[error("{}", sql_error(.0))]
    Sql(#[from] tokio_postgres::Error),
    /// Not as many rows as the scenario needs.
    #[error("{rows} rows came back from: {sql}")]
    Rows {
        /// The statement.
        sql: String,
        /// How many.
        rows: usize,
    },
    /// Another program could not be run or talked to.
    #[error("cannot run {program}: {source}")]
    Program {
        /// Its name.
        program: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// psql waits for an answer that does not come.
    #[error("psql had no answer within {seconds} s to: {sql}")]
    PsqlSilent {
        /// The statement.
        sql: String,
        /// The limit.
        seconds: u64,
    },
    /// psql ended by itself.
    #[error("psql ended: {output}")]
    PsqlEnded {
        /// What it printed.
        output: String,
    },
    /// `migrate up` failed.
    #[error("staleguard migrate up failed ({status}):\n{output}")]
    Migration {
        /// Exit status.
        status: String,
        /// What it printed.
        output: String,
    },
    /// The proxy is not there.
    #[error("the proxy did not listen within {seconds} s; its log ends with:\n{log}")]
    ProxyDidNotListen {
        /// The limit.
        seconds: u64,
        /// The log's tail.
        log: String,
    },
    /// The proxy ignores SIGTERM.
    #[error("the proxy did not stop within {seconds} s of SIGTERM")]
    ProxyDidNotStop {
        /// The limit.
        seconds: u64,
    },
    /// The metrics cannot be read.
    #[error("cannot read {url}: {source}")]
    Http {
        /// Where.
        url: String,
        /// Why.
        source: std::io::Error,
    },
    /// A worker of the race ended before its time.
    #[error("a worker of the race panicked")]
    Worker,
    /// A scenario hangs.
    #[error("no end after {seconds} s")]
    Hangs {
        /// The limit.
        seconds: u64,
    },
}

/// The server's own words where it has spoken: tokio-postgres says `db error` and no more.
fn sql_error(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} {}: {}", db.severity(), db.code().code(), db.message()),
        None => error.to_string(),
    }
}

/// Runs the command. The exit code is 0 only if every check came out as expected.
pub fn run(args: &Args) -> ExitCode {
    match play(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => super::fail(&error, super::FAILURE),
    }
}

fn play(args: &Args) -> Result<bool, DemoError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(DemoError::Runtime)?;
    runtime.block_on(async {
        let mut end = Signals::new()?;
        // Whatever ends first, what was started is stopped by dropping it.
        tokio::select! {
            done = act(args) => {
                let (cluster, proxy, mut ok) = done?;
                if !args.once {
                    invite(&proxy, &cluster).await?;
                    end.wait().await;
                }
                println!("\nStopping.");
                ok &= stop(proxy)?;
                Ok(ok)
            }
            () = end.wait() => {
                println!("\nStopped before the end.");
                Ok(false)
            }
        }
    })
}

/// Starts everything and plays every scenario. What it returns is still running.
async fn act(args: &Args) -> Result<(Cluster, Proxy, bool), DemoError> {
    println!("staleguard demo: optimistic locking for clients that never asked for it\n");
    let cluster = Cluster::builder().start()?;
    println!("  PostgreSQL {} on 127.0.0.1:{}, a throwaway cluster", cluster.major(), cluster.port());
    let rows = planner::create(&cluster).await?;
    println!("  planner database: 13 tables, {rows} rows, no version column yet");
    println!("\n  $ staleguard migrate up --dsn {}", cluster.dsn_as(PLANNER, None, PLANNER));
    for line in planner::migrate(&cluster)?.lines() {
        println!("    {line}");
    }
    let upstream = format!("127.0.0.1:{}", cluster.port());
    let proxy = Proxy::start(&upstream, &[])?;
    println!("\n  $ staleguard serve --upstream 127.0.0.1:{}", cluster.port());
    println!("    clients connect to {}, metrics at http://{}/metrics", proxy.listen, proxy.http);
    let second = Proxy::start(&upstream, &scenario::web_form::FLAGS)?;
    println!("\n  $ staleguard serve --upstream {upstream} {}", scenario::web_form::FLAGS.join(" "));
    println!("    a second one, for scenario 5, on {}", second.listen);

    let ledger = Arc::new(Ledger::default());
    let stage = Stage {
        direct: Target { port: cluster.port(), ledger: None },
        told_apart: Target { port: second.listen.port(), ledger: None },
        proxied: Target { port: proxy.listen.port(), ledger: Some(ledger.clone()) },
        psql: psql::find(&cluster.bin("psql")),
        race: Duration::from_secs(args.seconds),
        ledger,
        http: proxy.http,
        log: proxy.log.clone(),
    };
    let mut ok = true;
    ok &= show("1. A single update", scenario::single_update::run(&stage), &stage).await;
    ok &= show("2. Two users, one row", scenario::two_users::run(&stage), &stage).await;
    ok &= show("3. A bulk save", scenario::bulk::run(&stage), &stage).await;
    ok &= show("4. A race", scenario::race::run(&stage), &stage).await;
    ok &= show("5. Web users over one connection", scenario::web_form::run(&stage), &stage).await;
    println!("\n{}", scenario::web_form::NOTE);
    ok &= show("6. Hidden columns stay hidden", scenario::hidden_columns::run(&stage), &stage).await;
    ok &= show("7. What the proxy says of it", scenario::metrics::run(&stage), &stage).await;
    ok &= stop(second)?;
    println!(
        "\n{}",
        if ok { "All as expected." } else { "Something differs from what is expected: see FAILED." }
    );
    if !ok {
        println!("The proxy's log ends with:\n{}", proxy.log.tail());
    }
    Ok((cluster, proxy, ok))
}

/// Plays one scenario and prints its part of the table. An error or a hang is a failed check like any other.
async fn show(
    title: &str,
    scenario: impl Future<Output = Result<Vec<Check>, DemoError>>,
    stage: &Stage,
) -> bool {
    let limit = Duration::from_secs(60) + stage.race * 3;
    let played = match tokio::time::timeout(limit, scenario).await {
        Ok(played) => played,
        Err(_) => Err(DemoError::Hangs { seconds: limit.as_secs() }),
    };
    let checks = played.unwrap_or_else(|error| {
        vec![Check::new("(the scenario could not be played)", "no error", error.to_string(), false)]
    });
    print!("{}", table(title, &checks));
    checks.iter().all(|c| c.outcome != Outcome::Failed)
}

/// Stops the proxy as an init system would; false where it did not end cleanly.
fn stop(proxy: Proxy) -> Result<bool, DemoError> {
    let status = proxy.stop()?;
    if !status.success() {
        println!("The proxy ended with {status} on SIGTERM: FAILED");
    }
    Ok(status.success())
}

/// Says how to try it by hand.
async fn invite(proxy: &Proxy, cluster: &Cluster) -> Result<(), DemoError> {
    let session = Target { port: cluster.port(), ledger: None }.connect().await?;
    let row = session.one("SELECT id, code FROM projects WHERE code = 'PRJ-0100'", &[]).await?;
    let (id, code): (client::Uuid, String) = (row.try_get(0)?, row.try_get(1)?);
    let port = proxy.listen.port();
    println!(
        "
The demo stays up until Ctrl-C. Try it yourself on project {code}:

  Open two terminals, in each:
    psql -h 127.0.0.1 -p {port} -U {PLANNER} {PLANNER}

  1. In both:        SELECT name, status FROM projects WHERE id = '{id}';
  2. In the first:   UPDATE projects SET name = 'first' WHERE id = '{id}';
                     UPDATE 1
  3. In the second:  UPDATE projects SET name = 'second' WHERE id = '{id}';
                     ERROR: version conflict .. (\\errverbose shows SQLSTATE 40001 and all fields)
  4. In the second, repeat 1 and then 3: now it has seen the change, and the save lands.

  The same straight to PostgreSQL (-p {}) overwrites the first save and says nothing.
  Metrics:           curl -s http://{}/metrics | grep version_conflicts_total
  The proxy's warnings appear here:
",
        cluster.port(),
        proxy.http
    );
    proxy.log.go_live();
    Ok(())
}

/// The signals that end the demo.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self, DemoError> {
        let on = |kind| signal(kind).map_err(DemoError::Runtime);
        Ok(Self { interrupt: on(SignalKind::interrupt())?, terminate: on(SignalKind::terminate())? })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
