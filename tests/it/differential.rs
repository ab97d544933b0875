//! The differential test: generated sequences run direct on one database and through the proxy on its twin, and
//! every reply must be the same, byte for byte.
//!
//! PostgreSQL is the oracle, of versions too: on the direct side a row trigger adds one to the version on each
//! update, which is what the proxy's rewriting must come to, neither more nor less. So even version values, the
//! "Failing row contains" of an error and the tables at the end must be equal. There is one session at a time:
//! no conflict is due.
//!
//! `STALEGUARD_FUZZ_SEQUENCES=N` runs N sequences in place of the default, `STALEGUARD_FUZZ_SEED=S` begins at
//! seed S. A failure prints its seed and the shortest sequence found that still fails.

use std::io::Write as _;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use crate::common::frames::Frame;
use crate::common::proxy::Proxy;
use crate::common::raw::Raw;
use crate::common::twin::{Stage, stage};
use script::{Msg, Step};

mod found;
pub mod rng;
mod script;
mod selects;
mod statements;
mod values;

/// Sequences of a usual run.
const SEQUENCES: u64 = 300;
/// How long a reply may take before it counts as missing.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the search for a shorter sequence may take.
const SHRINK: Duration = Duration::from_secs(60);

/// The one column of EXPLAIN's result.
const PLAN: &str = "QUERY PLAN";
/// The server's words where a text ends too early.
const TOO_SHORT: &str = "syntax error at end of input";

/// Differences that are accepted, with the reason of each.
#[allow(dead_code)]
const ACCEPTED: &[(&str, &str)] = &[
    (PLAN, "EXPLAIN shows the plan of the rewritten statement: its rows are not compared"),
    (
        TOO_SHORT,
        "the proxy words it itself where the server met a piece of ours behind it: the line of the server's source \
         (field L) is not compared",
    ),
    (
        "Describe, aborted",
        "a write that has got a hidden RETURNING is not described in an aborted block: 25P02 and not NoData. What the \
         server skips behind that is not compared",
    ),
    (
        "SET version = ..",
        "what is no increment becomes a branch never taken of a CASE: an expression of a type that cannot be \
         assigned is complained of in other words. Texts that set a version are not broken",
    ),
];

/// What both databases hold beside the usual schema: constraints that fail at once and at COMMIT, a table of the
/// same name elsewhere, and the rows to begin each sequence with.
const SETUP: &str = "
alter table projects add check (budget > -2000);
alter table programs add unique (name);
alter table user_roles add foreign key (user_id) references users deferrable initially deferred;
create schema other;
create table other.projects (id integer primary key, name text, version integer not null default 1);
grant usage on schema other to app;
grant select, insert, update on other.projects to app;
create schema base;
do $$ declare t text; begin
  for t in select tablename from pg_tables where schemaname = 'public' loop
    execute format('create table base.%I as table public.%I', t, t);
  end loop;
end $$;
create procedure base.reset() language plpgsql as $$ declare t text; changed boolean; names text[] := '{}'; begin
  for t in select tablename from pg_tables where schemaname = 'base' order by tablename <> 'portfolios' loop
    execute format('select exists (table public.%1$I except table base.%1$I)
      or (select count(*) from public.%1$I) <> (select count(*) from base.%1$I)', t) into changed;
    if changed or t = 'projects' and 'portfolios' = any (names) or t = 'user_roles' and 'users' = any (names) then
      execute format('truncate public.%I cascade', t);
      names := names || t;
    end if;
  end loop;
  foreach t in array names loop
    execute format('insert into public.%I select * from base.%I', t, t);
  end loop;
  delete from other.projects;
  insert into other.projects values (1, 'other', 1), (2, 'others', 1);
end $$";

/// The direct side's increment. Its name sorts behind the schema's own triggers, so that it sees what they leave.
const INCREMENT: &str = "
create function bump() returns trigger language plpgsql as $$ begin new.version := old.version + 1; return new; end $$;
do $$ declare t text; begin
  foreach t in array '{portfolios,programs,projects,project_phases,resources,worker_types,resource_assignments,rates,users,user_roles}'::text[] loop
    execute format('create trigger zz_bump before update on public.%I for each row execute function bump()', t);
  end loop;
end $$";

/// Tables compared at the end.
const TABLES: &[&str] = &[
    "projects",
    "portfolios",
    "programs",
    "project_phases",
    "resources",
    "worker_types",
    "resource_assignments",
    "rates",
    "users",
    "user_roles",
    "notes",
    "actuals",
    "other.projects",
];

#[test]
fn generated_sequences_get_the_servers_own_replies() {
    let setting = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let first = setting("STALEGUARD_FUZZ_SEED").unwrap_or(0);
    let count = setting("STALEGUARD_FUZZ_SEQUENCES").unwrap_or(SEQUENCES);
    let bench = Bench::new();
    for seed in first..first + count {
        let steps = script::sequence(seed);
        if let Err(failure) = bench.run(seed, &steps) {
            let (steps, failure) = bench.shrink(seed, steps, failure);
            let steps: Vec<_> = steps.iter().map(|s| format!("  {s:?}")).collect();
            panic!("seed {seed}: {failure}\nafter\n{}", steps.join("\n"));
        }
    }
}

#[test]
fn sequences_that_once_differed_do_not_again() {
    let bench = Bench::new();
    for (what, steps) in found::found() {
        for seed in [0, 1] {
            if let Err(failure) = bench.run(seed, &steps) {
                panic!("{what} (proxy {seed}): {failure}");
            }
        }
    }
}

/// The two databases, and two proxies before the second: one that reads the catalog again for almost every
/// statement, so that its own queries meet everything.
struct Bench {
    stage: Stage,
    curious: Proxy,
    _config: NamedTempFile,
}

impl Bench {
    fn new() -> Self {
        let stage = stage();
        let mut judge = stage.cluster.direct("postgres");
        judge.ok("create database fuzz_direct template direct");
        stage.cluster.direct("fuzz_direct").ok(SETUP);
        judge.ok("create database fuzz_proxied template fuzz_direct");
        stage.cluster.direct("fuzz_direct").ok(INCREMENT);
        let mut config = NamedTempFile::new().unwrap();
        config.write_all(b"[catalog]\nmax_age = \"100ms\"\n").unwrap();
        let curious = Proxy::start(&stage.cluster, &["--config", config.path().to_str().unwrap()]);
        Self { stage, curious, _config: config }
    }

    fn proxy(&self, seed: u64) -> &Proxy {
        if seed.is_multiple_of(2) { &self.stage.proxy } else { &self.curious }
    }

    /// Runs a sequence from the beginning on fresh sessions.
    fn run(&self, seed: u64, steps: &[Step]) -> Result<(), String> {
        let mut judges = ["fuzz_direct", "fuzz_proxied"].map(|d| self.stage.cluster.direct(d));
        for judge in &mut judges {
            judge.ok("call base.reset()");
        }
        let mut direct = Side::new(self.stage.cluster.direct("fuzz_direct"));
        let mut proxied = Side::new(self.proxy(seed).session_of("postgres", "fuzz_proxied"));
        let before = self.faults(seed);
        let mut version = None;
        for (i, step) in steps.iter().enumerate() {
            let messages = match step {
                Step::Send(messages) => messages.clone(),
                Step::ReadVersion(sql) => vec![Msg::Query(sql.clone())],
            };
            let bytes: Option<Vec<_>> = messages.iter().map(|m| m.bytes(version)).collect();
            let Some(bytes) = bytes else { continue };
            let told = |side: &str, error| format!("step {i}, {side}: {error}\n{step:?}");
            let expected = direct.exchange(&messages, &bytes.concat()).map_err(|e| told("direct", e))?;
            let got = proxied.exchange(&messages, &bytes.concat()).map_err(|e| told("proxied", e))?;
            if !alike(&compared(&expected), &compared(&got)) {
                return Err(format!("step {i}: {step:?}\n direct: {expected:#?}\nproxied: {got:#?}"));
            }
            if let Step::ReadVersion(_) = step {
                let rows = crate::common::raw::rows(&got);
                version = rows.first().and_then(|r| r.first()?.parse().ok()).filter(|_| rows.len() == 1);
            }
        }
        for table in TABLES {
            let [expected, got] =
                judges.each_mut().map(|j| j.rows(&format!("select * from {table} t order by t")));
            if expected != got {
                return Err(format!("{table} differs\n direct: {expected:#?}\nproxied: {got:#?}"));
            }
        }
        let after = self.faults(seed);
        if before != after { Err(format!("faults counted: {before:?}, then {after:?}")) } else { Ok(()) }
    }

    /// What the proxy counts of its own faults.
    fn faults(&self, seed: u64) -> [f64; 2] {
        ["staleguard_rewrite_rejected_total", "staleguard_sessions_desynced_total"]
            .map(|name| self.proxy(seed).metric(name, &[]))
    }

    /// Leaves out steps and messages as long as what is left still fails.
    fn shrink(&self, seed: u64, mut steps: Vec<Step>, mut failure: String) -> (Vec<Step>, String) {
        let end = Instant::now() + SHRINK;
        let mut size = steps.len() / 2;
        while size > 0 {
            let mut at = 0;
            while at < steps.len() {
                let mut fewer = steps.clone();
                fewer.drain(at..steps.len().min(at + size));
                if Instant::now() > end {
                    return (steps, failure);
                }
                match self.run(seed, &fewer) {
                    Err(other) => (steps, failure) = (fewer, other),
                    Ok(()) => at += size,
                }
            }
            size /= 2;
        }
        for i in 0..steps.len() {
            let mut at = 0;
            loop {
                let mut fewer = steps.clone();
                let Some(Step::Send(messages)) = fewer.get_mut(i) else { break };
                // The last one brings the replies.
                if at + 1 >= messages.len() || Instant::now() > end {
                    break;
                }
                messages.remove(at);
                match self.run(seed, &fewer) {
                    Err(other) => (steps, failure) = (fewer, other),
                    Ok(()) => at += 1,
                }
            }
        }
        (steps, failure)
    }
}

/// One session of the pair.
struct Side {
    raw: Raw,
    /// The server skips what comes before the next Sync.
    skipping: bool,
}

impl Side {
    fn new(raw: Raw) -> Self {
        raw.writer().set_read_timeout(Some(PATIENCE)).unwrap();
        Self { raw, skipping: false }
    }

    /// Sends messages and reads what each of them calls for.
    fn exchange(&mut self, messages: &[Msg], bytes: &[u8]) -> Result<Vec<Frame>, String> {
        self.raw.try_send(bytes).map_err(|e| e.to_string())?;
        let mut out = Vec::new();
        for message in messages {
            if matches!(message, Msg::Flush) || self.skipping && !matches!(message, Msg::Sync) {
                continue;
            }
            self.skipping = false;
            loop {
                let frame = self.raw.try_frame();
                let frame =
                    frame.map_err(|e| format!("{e}, waiting for the reply to {message:?} after {out:#?}"))?;
                let tag = frame.tag;
                out.push(frame);
                let over = match message {
                    Msg::Query(_) | Msg::Sync => tag == b'Z',
                    _ => {
                        self.skipping = tag == b'E';
                        matches!(tag, b'1' | b'2' | b'3' | b'T' | b'n' | b'C' | b's' | b'I' | b'E')
                    }
                };
                if over {
                    break;
                }
            }
        }
        Ok(out)
    }
}

/// Equal, but for a Describe in an aborted block of a write that has got a hidden RETURNING, and what the server skips
/// behind that.
fn alike(direct: &[Frame], proxied: &[Frame]) -> bool {
    let same = direct.iter().zip(proxied).take_while(|(a, b)| a == b).count();
    let (direct, proxied) = (&direct[same..], &proxied[same..]);
    let no_data = direct.iter().map(|f| f.tag).take(2).eq(*b"tn");
    match proxied.first() {
        Some(error) if no_data && error.tag == b'E' && error.field('C').as_deref() == Some("25P02") => {
            let rest = |frames: &[Frame]| frames.iter().position(|f| f.tag == b'Z').unwrap_or(frames.len());
            alike(&direct[rest(direct)..], &proxied[rest(proxied)..])
        }
        first => first.is_none() && direct.is_empty(),
    }
}

/// The frames without what is accepted to differ.
fn compared(reply: &[Frame]) -> Vec<Frame> {
    let mut plan = false;
    let mut keep = |f: &&Frame| {
        if f.tag == b'T' {
            plan = f.columns().iter().any(|(name, _)| name == PLAN);
        }
        !(plan && f.tag == b'D')
    };
    let mut frames: Vec<_> = reply.iter().filter(|f| keep(f)).cloned().collect();
    for frame in frames.iter_mut().filter(|f| f.tag == b'E') {
        if frame.field('M').as_deref() == Some(TOO_SHORT) {
            frame.body =
                frame.body.split_inclusive(|b| *b == 0).filter(|f| f[0] != b'L').flatten().copied().collect();
        }
    }
    frames
}
