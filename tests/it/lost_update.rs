//! The lost-update test: concurrent sessions run generated programs of reads and writes, and what the server itself
//! has kept of every row's history proves, together with what each session was told, that
//!
//! 1. no write that had to be checked replaced a token that its session had not seen;
//! 2. each refusal was due: another session had moved the row beyond what the refused one had seen of it;
//! 3. every session made progress;
//! 4. versions went up by one with each acknowledged statement that changed the row, and by nothing else;
//! 5. what was refused or rolled back has left nothing.
//!
//! Every write leaves in its rows a token that no other write leaves. The same programs run direct must lose
//! updates, and the checker must find them: else it would prove nothing.
//!
//! `STALEGUARD_FUZZ_SEQUENCES=N` runs N rounds in place of the default, `STALEGUARD_FUZZ_SEED=S` begins at seed S. The
//! programs depend on the seed alone; how the sessions interleave does not, so a failure may want several runs.

use std::sync::Arc;

use crate::common::cluster::Cluster;
use crate::common::proxy::Proxy;
use crate::common::raw::Raw;
use check::Report;
use drive::{RawDriver, TokioDriver};
use model::Log;
use run::Worker;
use statements::{ROWS, key_list, literals};

mod check;
mod drive;
mod model;
mod program;
mod run;
mod statements;

/// Rounds of a usual run.
const ROUNDS: u64 = 4;
/// Steps of a session in a round.
const STEPS: usize = 40;
/// Sessions: how they are driven, and what their stricter blocks begin with.
const SESSIONS: [(bool, &str); 6] = [
    (true, "begin"),
    (true, "begin"),
    (true, "begin isolation level repeatable read"),
    (true, "begin isolation level serializable"),
    (false, "begin"),
    (false, "begin isolation level repeatable read"),
];

/// The rows, and the history that the server keeps of them. The trigger's function must not name the version: a
/// trigger that does is known to the proxy as one that may set it.
const SETUP: &str = "
drop table resources, rates, user_roles;
create table resources (id bigint primary key, token text not null, n integer not null default 0,
    grp integer not null, version integer not null default 1);
create table rates (code text primary key, token text not null, n integer not null default 0,
    grp integer not null, version integer not null default 1) partition by hash (code);
create table rates_0 partition of rates for values with (modulus 2, remainder 0);
create table rates_1 partition of rates for values with (modulus 2, remainder 1);
create table user_roles (user_id bigint, role text, token text not null, n integer not null default 0,
    grp integer not null, version integer not null default 1, primary key (user_id, role));
create view live_resources as select id, token, n, grp, version from resources;
create view live_rates as select code, token, n, grp, version from rates;
create view live_user_roles as select user_id, role, token, n, grp, version from user_roles;
create table history (seq bigserial, tab text, writer text, was jsonb, now jsonb);
create function keep() returns trigger language plpgsql as $$ begin
    insert into history (tab, writer, was, now) values (tg_argv[0], current_setting('application_name'),
        case when tg_op <> 'INSERT' then to_jsonb(old) end, case when tg_op <> 'DELETE' then to_jsonb(new) end);
    return null;
end $$;
create trigger keep after insert or update or delete on resources for each row execute function keep('resources');
create trigger keep after insert or update or delete on rates for each row execute function keep('rates');
create trigger keep after insert or update or delete on user_roles for each row execute function keep('user_roles')";

/// A run of the programs of one seed: on database `database` through `address`.
fn round(seed: u64, cluster: &Cluster, address: &str, database: &str) -> Report {
    let mut judge = cluster.direct(database);
    begin_anew(&mut judge);
    let logs: Vec<(String, Log)> = std::thread::scope(|scope| {
        let sessions: Vec<_> = (SESSIONS.iter().enumerate())
            .map(|(i, (raw, begin))| {
                let writer = format!("w{i}");
                let steps = program::program(seed * 64 + i as u64, *raw, STEPS);
                scope.spawn(move || {
                    let log = if *raw {
                        let driver = RawDriver::connect(address, database, &writer);
                        Worker::new(driver, writer.clone(), begin).run(&steps)
                    } else {
                        let driver = TokioDriver::connect(address, database, &writer);
                        Worker::new(driver, writer.clone(), begin).run(&steps)
                    };
                    (writer, log)
                })
            })
            .collect();
        sessions.into_iter().map(|s| s.join().unwrap_or_else(|_| panic!("seed {seed}"))).collect()
    });
    let mut report = check::check(&check::history(&mut judge), &logs, database == "proxied");
    for (writer, log) in &logs {
        // Each was refused many times, and each got through in the end.
        if log.steps < STEPS * 3 / 4 {
            report.wrong.push(format!("{writer} got no further than {} of {STEPS} steps", log.steps));
        }
    }
    report
}

fn begin_anew(judge: &mut Raw) {
    judge.ok("truncate resources, rates, user_roles");
    judge.ok("truncate history restart identity");
    for (row, (table, _, grp)) in ROWS.into_iter().enumerate() {
        let (columns, key) = (key_list(table), literals(row));
        judge.ok(&format!("insert into {table} ({columns}, token, grp) values ({key}, 'first', {grp})"));
    }
}

#[test]
fn no_update_is_lost_and_no_refusal_is_undue() {
    let setting = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let first = setting("STALEGUARD_FUZZ_SEED").unwrap_or(0);
    let rounds = setting("STALEGUARD_FUZZ_SEQUENCES").unwrap_or(ROUNDS);
    // Deadlocks are part of it: they are not to take long.
    let cluster = Arc::new(Cluster::start(&["deadlock_timeout=20ms"]));
    for database in ["direct", "proxied"] {
        cluster.direct(database).ok(SETUP);
    }
    let proxy = Proxy::start(&cluster, &[]);
    let mut lost = 0;
    let mut all = Report::default();
    for seed in first..first + rounds {
        let direct = round(seed, &cluster, &cluster.address(), "direct");
        assert!(direct.wrong.is_empty(), "seed {seed}, direct: {:#?}", direct.wrong);
        lost += direct.lost.len();
        let report = round(seed, &cluster, proxy.address(), "proxied");
        let Report { lost, wrong, checked, landed, refused } = report;
        assert!(
            lost.is_empty() && wrong.is_empty(),
            "seed {seed}: lost {}\nwrong {wrong:#?}",
            lost.join("\nand ")
        );
        all.checked += checked;
        all.landed += landed;
        all.refused += refused;
    }
    println!(
        "{lost} lost direct; through the proxy {} landed, {} checked, {} refused",
        all.landed, all.checked, all.refused
    );
    let rounds = usize::try_from(rounds).unwrap();
    assert!(lost > 5 * rounds, "direct, only {lost} updates were lost: the programs collide too seldom");
    assert!(all.checked > all.landed / 3, "{} of {} writes were checked", all.checked, all.landed);
    assert!(all.refused > 10 * rounds, "{} refusals", all.refused);
}
