//! Eight workers book hours on the same few phases: each reads the sum, adds one, writes the result back.

use std::time::{Duration, Instant};

use crate::cli::demo::DemoError;
use crate::cli::demo::client::{Saved, Session, Target, Uuid};
use crate::cli::demo::report::Check;
use crate::cli::demo::stage::Stage;

const WORKERS: usize = 8;
const ROWS: i64 = 4;

/// What one half of the race came to.
#[derive(Debug, Default)]
struct Tally {
    /// Writes that were acknowledged.
    saved: i64,
    /// Writes that were refused; each was followed by another read.
    refused: i64,
    /// Acknowledged writes whose hour is not in the final sum.
    lost: i64,
    /// By how much the versions grew.
    bumped: i64,
    elapsed: Duration,
}

impl Tally {
    fn words(&self) -> String {
        let per_second = |n: i64| n as f64 / self.elapsed.as_secs_f64().max(0.001);
        format!(
            "{} of {} saves lost; {} refused and read again; {:.0} saves/s, {:.0} statements/s",
            self.lost,
            self.saved,
            self.refused,
            per_second(self.saved),
            per_second(2 * (self.saved + self.refused)),
        )
    }
}

/// The race direct, then the same race through the proxy.
pub async fn run(stage: &Stage) -> Result<Vec<Check>, DemoError> {
    let ids = stage.ids("project_phases", 0, ROWS).await?;
    let direct = race(&stage.direct, &ids, stage).await?;
    let proxied = race(&stage.proxied, &ids, stage).await?;
    let seconds = stage.race.as_secs_f64();
    Ok(vec![
        Check::new(
            format!("{WORKERS} workers, {ROWS} rows, {seconds:.0} s, direct"),
            "saves are lost",
            direct.words(),
            direct.lost > 0 && direct.refused == 0,
        ),
        Check::new(
            "the same through the proxy",
            "0 saves lost, some refused",
            proxied.words(),
            proxied.lost == 0 && proxied.saved > 0 && proxied.refused > 0,
        ),
        Check::equal(
            "versions of the rows",
            format!("grew by {}, the number of saves", proxied.saved),
            format!(
                "grew by {}{}",
                proxied.bumped,
                if proxied.bumped == proxied.saved { ", the number of saves" } else { "" }
            ),
        ),
    ])
}

async fn race(target: &Target, ids: &[Uuid], stage: &Stage) -> Result<Tally, DemoError> {
    let judge = stage.direct.connect().await?;
    let (hours_before, versions_before) = sums(&judge, ids).await?;
    let end = Instant::now() + stage.race;
    let mut workers = Vec::new();
    for first in 0..WORKERS {
        let session = target.connect().await?;
        let ids = ids.to_vec();
        workers.push(tokio::spawn(async move { work(session, &ids, first, end).await }));
    }
    let began = Instant::now();
    let mut tally = Tally::default();
    for worker in workers {
        let (saved, refused) = worker.await.map_err(|_| DemoError::Worker)??;
        tally.saved += saved;
        tally.refused += refused;
    }
    tally.elapsed = began.elapsed();
    let (hours_after, versions_after) = sums(&judge, ids).await?;
    tally.lost = tally.saved - (hours_after - hours_before);
    tally.bumped = versions_after - versions_before;
    Ok(tally)
}

async fn work(session: Session, ids: &[Uuid], first: usize, end: Instant) -> Result<(i64, i64), DemoError> {
    let read = session.prepare("SELECT booked_hours FROM project_phases WHERE id = $1").await?;
    let save = session.prepare("UPDATE project_phases SET booked_hours = $1 WHERE id = $2").await?;
    let (mut saved, mut refused) = (0, 0);
    for id in ids.iter().cycle().skip(first) {
        if Instant::now() >= end {
            break;
        }
        let rows = session.query_prepared(&read, &[id]).await?;
        let Some(row) = rows.first() else { continue };
        let hours: i32 = row.try_get(0)?;
        match session.save_prepared(&save, &[&(hours + 1), id]).await? {
            Saved::Rows(rows) => saved += i64::try_from(rows).unwrap_or(0),
            Saved::Conflict(_) => refused += 1,
        }
    }
    Ok((saved, refused))
}

/// Sums of the hours and of the versions of the rows.
async fn sums(session: &Session, ids: &[Uuid]) -> Result<(i64, i64), DemoError> {
    let sql = "SELECT sum(booked_hours)::bigint, sum(version)::bigint FROM project_phases WHERE id = ANY($1)";
    let row = session.one(sql, &[&ids]).await?;
    Ok((row.try_get(0)?, row.try_get(1)?))
}
