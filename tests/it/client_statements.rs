//! Every statement that was recorded from a real client, sent as each of the clients sends its statements: once
//! fresh, where PostgreSQL without a proxy is the oracle, and once stale.

mod habits;
mod manners;
mod table;

use crate::common::frames::Frame;
use crate::common::raw::{Raw, error, rows, sqlstate, status};
use crate::common::twin::{Stage, Twin, same, stage};

use manners::Manner;
use table::{FIRST_UUID, READS, Shape, Stale, WRITES, Write};

/// All rows, as a judge sees them.
const STATE: &str = "select * from projects order by id";
/// Back to nine rows at version 1.
const RESET: &str = "delete from projects; insert into projects (id, portfolio_id, name, budget)
    select {key}, {portfolio}, 'project ' || i, 100 * i from generate_series(1, 9) i";

/// A stage whose `projects` has one of the shapes, on both databases and under the same OIDs.
fn stage_of(shape: Shape) -> Stage {
    let stage = stage();
    let alter = match shape {
        Shape::Usual => return stage,
        Shape::IntPortfolio => "alter table projects drop constraint projects_portfolio_id_fkey,
             alter column portfolio_id type integer using 1"
            .to_owned(),
        Shape::UuidKey => format!("alter table projects alter column id type uuid using {}", uuid_of("id")),
    };
    for database in ["direct", "proxied"] {
        stage.cluster.direct(database).ok(&alter);
    }
    stage
}

/// The uuid of the row with a number: the recorded one with other last digits.
fn uuid_of(number: &str) -> String {
    let fixed = &FIRST_UUID[..FIRST_UUID.len() - 1];
    format!("('{fixed}' || ({number} + 5) % 10)::uuid")
}

impl Shape {
    /// The key of a row, as an expression over its number.
    fn key(self, number: &str) -> String {
        match self {
            Self::Usual | Self::IntPortfolio => number.to_owned(),
            Self::UuidKey => uuid_of(number),
        }
    }

    fn reset(self) -> String {
        let portfolio = match self {
            Self::Usual | Self::UuidKey => "'2531439d-3075-46d6-9c19-63e3342fc43e'::uuid",
            Self::IntPortfolio => "2",
        };
        RESET.replace("{key}", &self.key("i")).replace("{portfolio}", portfolio)
    }
}

/// The rows without their versions, and the versions by project number.
fn state(judge: &mut Raw) -> (Vec<Vec<String>>, Vec<String>) {
    let rows = judge.rows(STATE);
    let versions = rows.iter().filter_map(|row| row.last().cloned()).collect();
    (rows.into_iter().map(|row| row[..row.len() - 1].to_vec()).collect(), versions)
}

/// Plays every write of every shape in one manner.
fn play(manner: &Manner) {
    for shape in [Shape::Usual, Shape::IntPortfolio, Shape::UuidKey] {
        let stage = stage_of(shape);
        for write in WRITES.iter().filter(|w| w.shape == shape && (manner.takes_several || !w.is_several())) {
            fresh_then_stale(&stage, manner, write);
        }
    }
}

/// One write in sessions of its own: fresh, stale, and where it was refused, read again and repeated.
fn fresh_then_stale(stage: &Stage, manner: &Manner, write: &Write) {
    let sql = write.sql;
    let text = (sql, write.values);
    let mut judges = [stage.cluster.direct("direct"), stage.behind()];
    let mut twin = stage.twin();
    // Fresh.
    judges.iter_mut().for_each(|judge| drop(judge.ok(&write.shape.reset())));
    twin.query(STATE);
    let before = versions(&mut judges[1], write);
    let direct = (manner.run)(&mut twin.direct, text, 0);
    let proxied = (manner.run)(&mut twin.proxied, text, 0);
    assert!(error(&direct).is_none(), "{sql}: {direct:?}");
    same(&direct, &proxied);
    let [(direct, _), (proxied, _)] = judges.each_mut().map(state);
    assert_eq!(direct, proxied, "{sql}");
    let after = versions(&mut judges[1], write);
    for (number, (before, after)) in before.iter().zip(&after).enumerate() {
        let written = write.rows.contains(&(number as i32 + 1));
        let wanted = match written {
            true if is_delete(write) => None,
            written => before.map(|v| v + i64::from(written)),
        };
        assert_eq!(*after, wanted, "{sql}: version of row {}", number + 1);
    }
    // Stale: of its rows, another session has changed the last one.
    judges[1].ok(&write.shape.reset());
    twin.proxied.ok(STATE);
    let last = write.shape.key(&write.rows.last().copied().unwrap_or_default().to_string());
    stage.other_writes(&format!("update projects set status = 'theirs' where id = {last}"));
    let before = state(&mut judges[1]);
    let reply = (manner.run)(&mut twin.proxied, text, 1);
    let after = state(&mut judges[1]);
    match write.stale {
        Stale::Refused | Stale::RefusedForGood => {
            refused(sql, &reply);
            assert_eq!(before, after, "{sql}: something of it has landed");
            // A batch that has begun a block leaves it failed.
            if status(&reply) == 'E' {
                assert_eq!(twin.proxied.ok("rollback"), "ROLLBACK");
            }
            twin.proxied.ok(STATE);
            let reply = (manner.run)(&mut twin.proxied, text, 2);
            if write.stale == Stale::RefusedForGood {
                return refused(sql, &reply);
            }
            assert!(error(&reply).is_none(), "{sql}: {reply:?}");
            assert_ne!(before, state(&mut judges[1]), "{sql}: it has not landed");
        }
        Stale::Lands => {
            assert!(error(&reply).is_none(), "{sql}: {reply:?}");
            assert_ne!(before.0, after.0, "{sql}: it has not landed");
            assert!(after.0.iter().any(|row| row.contains(&"theirs".to_owned())), "{sql}: {after:?}");
            assert_eq!(versions(&mut judges[1], write)[0], Some(3), "{sql}");
        }
        Stale::Zero => {
            assert!(error(&reply).is_none(), "{sql}: {reply:?}");
            let counts = reply.iter().filter(|f| f.tag == b'C').map(Frame::command);
            let own: Vec<_> = counts.filter(|c| c.ends_with(" 0")).collect();
            assert!(!own.is_empty(), "{sql}: {reply:?}");
            assert_eq!(before, after, "{sql}: something of it has landed");
        }
    }
}

fn is_delete(write: &Write) -> bool {
    write.sql.starts_with("DELETE")
}

/// Our error, once, with nothing that says the statement was done.
fn refused(sql: &str, reply: &[Frame]) {
    let states: Vec<_> = reply.iter().filter(|f| f.tag == b'E').filter_map(|f| f.field('C')).collect();
    assert_eq!(states.iter().filter(|s| *s == "40001").count(), 1, "{sql}: {reply:?}");
    // Behind it come only the answers of a failed block.
    assert!(states.iter().all(|s| s == "40001" || s == "25P02"), "{sql}: {reply:?}");
    assert_eq!(sqlstate(reply), "40001", "{sql}: {reply:?}");
    let message = error(reply).and_then(|e| e.field('M')).unwrap_or_default();
    assert!(message.starts_with("version conflict on project "), "{sql}: {message}");
    assert!(message.ends_with(": expected version 1, actual version 2"), "{sql}: {message}");
    assert!(!reply.iter().any(|f| f.tag == b'D'), "{sql}: {reply:?}");
}

/// Versions by project number, `None` where the row is gone.
fn versions(judge: &mut Raw, write: &Write) -> Vec<Option<i64>> {
    let key = write.shape.key("i");
    let sql =
        format!("select version from generate_series(1, 9) i left join projects on id = {key} order by i");
    judge.rows(&sql).iter().map(|row| row[0].parse().ok()).collect()
}

#[test]
fn psycopg2_and_django_simple() {
    play(&Manner { takes_several: true, ..Manner::alone(manners::simple) });
}

#[test]
fn psycopg2_simple_in_a_transaction() {
    play(&Manner::alone(manners::simple_in_a_block));
}

#[test]
fn node_postgres_prisma_typeorm_unnamed() {
    play(&Manner::alone(manners::unnamed));
}

#[test]
fn psycopg_3_small_integers_in_binary() {
    play(&Manner::alone(manners::psycopg));
}

#[test]
fn psycopg_3_prepared() {
    play(&Manner::alone(manners::psycopg_prepared));
}

#[test]
fn psycopg_3_pipeline_with_begin() {
    play(&Manner::alone(manners::psycopg_pipeline));
}

#[test]
fn asyncpg_named_described_binary() {
    play(&Manner::alone(manners::asyncpg));
}

#[test]
fn postgres_js_named_described_in_a_transaction() {
    play(&Manner::alone(manners::postgres_js));
}

#[test]
fn pg8000_a_sync_behind_each_step() {
    play(&Manner::alone(manners::pg8000));
}

#[test]
fn lib_pq_keeps_the_unnamed_statement() {
    play(&Manner::alone(manners::lib_pq));
}

#[test]
fn pgjdbc_begin_in_the_batch() {
    play(&Manner::alone(manners::pgjdbc));
}

#[test]
fn pdo_named_and_deallocated() {
    play(&Manner::alone(manners::pdo));
}

#[test]
fn sqlalchemy_one_sync_for_several_binds() {
    play(&Manner::alone(manners::batched));
}

#[test]
fn a_given_name_closed_and_parsed_again() {
    play(&Manner::alone(manners::renamed));
}

/// What each read teaches, in each manner: a write of row 1 is refused if it changed behind it.
#[test]
fn every_read_teaches_what_it_shows() {
    type Run = fn(&mut Raw, manners::Text<'_>, usize) -> Vec<Frame>;
    let all: [Run; 12] = [
        manners::simple,
        manners::simple_in_a_block,
        manners::unnamed,
        manners::psycopg,
        manners::psycopg_prepared,
        manners::psycopg_pipeline,
        manners::asyncpg,
        manners::postgres_js,
        manners::pg8000,
        manners::lib_pq,
        manners::pdo,
        manners::batched,
    ];
    let stage = stage();
    let mut judge = stage.behind();
    for read in READS {
        for (n, run) in all.iter().enumerate() {
            if read.sql.ends_with(';') && n == 1 {
                continue;
            }
            // Rows in the same places of the file on both sides: not every read has an ORDER BY.
            for judge in [&mut judge, &mut stage.cluster.direct("direct")] {
                judge.ok("truncate projects");
                judge.ok(&Shape::Usual.reset());
            }
            let Twin { mut direct, mut proxied } = stage.twin();
            let text = (read.sql, read.values);
            let shown = run(&mut direct, text, 0);
            assert!(error(&shown).is_none() && !rows(&shown).is_empty(), "{}: {shown:?}", read.sql);
            same(&shown, &run(&mut proxied, text, 0));
            stage.other_writes("update projects set name = 'theirs' where id = 1");
            let reply = proxied.query("update projects set name = 'mine' where id = 1");
            let wanted = if read.teaches { "40001" } else { "" };
            assert_eq!(sqlstate(&reply), wanted, "{} in manner {n}: {reply:?}", read.sql);
        }
    }
}
