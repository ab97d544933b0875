//! The differential test: generated sequences run direct on one database and through the proxy on its twin, and
//! every reply must be the same, byte for byte.
//!
//! PostgreSQL is the oracle, of versions too: on the direct side a row trigger adds one to the version on each
//! update, which is what the proxy's rewriting must come to, neither more nor less. So even version values, the
//! "Failing row contains" of an error and the tables at the end must be equal. There is one session at a time:
//! no conflict is due.
//!
//! `STALEGUARD_FUZZ_SEQUENCES=N` runs N sequences in place of the default, `STALEGUARD_FUZZ_SEED=S` begins at
//! seed S, `STALEGUARD_FUZZ_FAILURES=F` goes on until F have failed. A failure prints its seed and the shortest
//! sequence found that still fails.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use crate::common::cluster::{Cluster, cluster};
use crate::common::frames::Frame;
use crate::common::proxy::Proxy;
use crate::common::raw::Raw;
use messages::{Msg, Step};

mod batches;
mod cursors;
mod found;
mod lists;
mod messages;
pub mod rng;
mod script;
mod selects;
mod statements;
mod style;
mod utility;
mod values;
mod writes;

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
        "RETURNING, order",
        "the rows of an UPDATE or DELETE come in the order of its plan, which a guard may change: compared as a set",
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
create view live_projects as select * from projects;
create view people as select u.version, u.email as mail, u.id as number, u.password_hash as password from users u;
create view small_rates as select code, amount, version from rates where amount < 450 with check option;
grant select, insert, update, delete on live_projects, people, small_rates to app;
drop table workers, scope_assignments;
create table workers (region text, id integer, name text, grade numeric, version integer not null default 1,
  primary key (region, id)) partition by list (region);
create table workers_eu partition of workers for values in ('eu', 'uk');
create table workers_us (version integer not null default 1, name text, id integer not null, grade numeric, region text not null);
alter table workers attach partition workers_us for values in ('us');
insert into workers select r, i, r || i, i from unnest('{eu,uk,us}'::text[]) r, generate_series(1, 3) i;
create table scope_assignments (id integer primary key, tags text[], data jsonb, version integer not null default 1);
insert into scope_assignments (id, tags, data) values (1, '{a,b}', '{\"a\": 1}'), (2, null, null), (3, '{}', '[]');
grant select, insert, update, delete on workers, workers_eu, workers_us, scope_assignments to app;
create function tell() returns trigger language plpgsql as $$ begin raise notice '% of %', tg_op, tg_table_name; return null; end $$;
create trigger tell after update or delete on rates execute function tell();
create schema base;
do $$ declare t text; begin
  for t in select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
    and not relispartition loop
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
  foreach t in array '{portfolios,programs,projects,project_phases,resources,worker_types,resource_assignments,rates,users,user_roles,workers,scope_assignments}'::text[] loop
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
    "workers",
    "scope_assignments",
    "other.projects",
];

#[test]
fn generated_sequences_get_the_servers_own_replies() {
    let setting = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let first = setting("STALEGUARD_FUZZ_SEED").unwrap_or(0);
    let count = setting("STALEGUARD_FUZZ_SEQUENCES").unwrap_or(SEQUENCES);
    let most = setting("STALEGUARD_FUZZ_FAILURES").unwrap_or(1);
    let bench = Bench::new();
    let mut failures: Vec<String> = Vec::new();
    for seed in first..first + count {
        let steps = script::sequence(seed);
        if let Err(failure) = bench.run(seed, &steps) {
            let (steps, failure) = bench.shrink(seed, steps, failure);
            let steps: Vec<_> = steps.iter().map(|s| format!("  {s:?}")).collect();
            failures.push(format!("seed {seed}: {failure}\nafter\n{}", steps.join("\n")));
            eprintln!("{}", failures[failures.len() - 1]);
            if failures.len() as u64 >= most {
                break;
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn sequences_that_once_differed_do_not_again() {
    let bench = Bench::new();
    let mut failures = Vec::new();
    for (what, steps) in found::found() {
        for seed in 0..CONFIGS.len() as u64 {
            if let Err(failure) = bench.run(seed, &steps) {
                failures.push(format!("{what} (proxy {seed}): {failure}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// What the proxies before the second database are told: the built-in defaults; a catalog that is read again for almost
/// every statement, so that the proxy's own queries meet everything, and guards that overflow; and `observe`.
const CONFIGS: &[&str] =
    &["", "guard_max_rows = 2\n[catalog]\nmax_age = \"100ms\"\n", "mode = \"observe\"\n"];

/// The two databases, and the proxies before the second.
struct Bench {
    cluster: Arc<Cluster>,
    proxies: Vec<(Proxy, NamedTempFile)>,
    /// Of the tables that both databases begin with.
    highest_oid: u32,
}

impl Bench {
    fn new() -> Self {
        let cluster = cluster();
        let mut judge = cluster.direct("postgres");
        judge.ok("create database fuzz_direct template direct");
        cluster.direct("fuzz_direct").ok(SETUP);
        judge.ok("create database fuzz_proxied template fuzz_direct");
        cluster.direct("fuzz_direct").ok(INCREMENT);
        let highest_oid =
            cluster.direct("fuzz_direct").value("select max(oid::int8) from pg_class").parse().unwrap();
        let proxy = |config: &&str| {
            let mut file = NamedTempFile::new().unwrap();
            file.write_all(config.as_bytes()).unwrap();
            (Proxy::start(&cluster, &["--config", file.path().to_str().unwrap()]), file)
        };
        Self { proxies: CONFIGS.iter().map(proxy).collect(), highest_oid, cluster }
    }

    fn proxy(&self, seed: u64) -> &Proxy {
        &self.proxies[seed as usize % self.proxies.len()].0
    }

    /// Runs a sequence from the beginning on fresh sessions.
    fn run(&self, seed: u64, steps: &[Step]) -> Result<(), String> {
        let mut judges = ["fuzz_direct", "fuzz_proxied"].map(|d| self.cluster.direct(d));
        for judge in &mut judges {
            judge.ok("call base.reset()");
        }
        let mut direct = Side::new(self.cluster.direct("fuzz_direct"));
        let mut proxied = Side::new(self.proxy(seed).session_of("postgres", "fuzz_proxied"));
        let before = self.faults(seed);
        for (i, step) in steps.iter().enumerate() {
            let mut same = |messages: &[Msg], version| {
                let bytes: Option<Vec<_>> = messages.iter().map(|m| m.bytes(version)).collect();
                // What wants a version and has none is not sent.
                let Some(bytes) = bytes else { return Ok(Vec::new()) };
                let told = |side: &str, error| format!("step {i}, {side}: {error}\n{step:?}");
                let expected = direct.exchange(messages, &bytes.concat()).map_err(|e| told("direct", e))?;
                let got = proxied.exchange(messages, &bytes.concat()).map_err(|e| told("proxied", e))?;
                match alike(&self.compared(&expected), &self.compared(&got)) {
                    true => Ok(got),
                    false => Err(format!("step {i}: {step:?}\n direct: {expected:#?}\nproxied: {got:#?}")),
                }
            };
            match step {
                Step::Send(messages) => drop(same(messages, None)?),
                Step::Versioned(read, writes) => {
                    let rows = crate::common::raw::rows(&same(&[Msg::Query(read.clone())], None)?);
                    let last = rows.first().and_then(|r| r.last()?.parse().ok());
                    let version = last.filter(|_| rows.len() == 1);
                    for messages in writes {
                        same(messages, version)?;
                    }
                }
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

    /// The frames without what is accepted to differ.
    fn compared(&self, reply: &[Frame]) -> Vec<Frame> {
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
                frame.body = frame
                    .body
                    .split_inclusive(|b| *b == 0)
                    .filter(|f| f[0] != b'L')
                    .flatten()
                    .copied()
                    .collect();
            }
        }
        // What a write returns comes in no promised order, and a guard may change the plan.
        let mut first = 0;
        for i in 0..frames.len() {
            if frames[i].tag == b'C'
                && ["UPDATE", "DELETE"].iter().any(|c| frames[i].command().starts_with(c))
            {
                frames[first..i].sort_by(|a, b| a.body.cmp(&b.body));
            }
            if frames[i].tag != b'D' {
                first = i + 1;
            }
        }
        // Made in this session: in each database it has another OID.
        for frame in frames.iter_mut().filter(|f| f.tag == b'T') {
            let mut at = 2;
            while let Some(name) = frame.body[at..].iter().position(|b| *b == 0) {
                at += name + 1;
                let oid = &mut frame.body[at..at + 4];
                if u32::from_be_bytes([oid[0], oid[1], oid[2], oid[3]]) > self.highest_oid {
                    oid.fill(0xff);
                }
                at += 18;
            }
        }
        // Whose notification it is: the server's process.
        for frame in frames.iter_mut().filter(|f| f.tag == b'A') {
            frame.body.drain(..4);
        }
        frames
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
            if matches!(message, Msg::Flush | Msg::Copy(_)) || self.skipping && !matches!(message, Msg::Sync)
            {
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
                    Msg::Query(_) | Msg::Function(..) | Msg::Sync => tag == b'Z',
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
