//! One session at work: its steps, one after the other, each repeated with a new read until it lands.

use super::drive::{Driver, Failure, Flush, Segment, Send};
use super::model::{Log, Model, Place};
use super::program::{Shape, Step};
use super::statements::{Kind, ROWS, Read, Shown, TABLES, Text, Write, table};

/// How often a step is tried.
const TRIES: usize = 40;

/// One statement of a send.
#[derive(Debug)]
enum Statement<'a> {
    Control(&'a str),
    /// Opens the cursor that a write stands on; locks its row.
    Declare(&'a Write, bool),
    Read(&'a Read),
    Write(&'a Write, String),
}

/// A session.
pub struct Worker<D> {
    driver: D,
    model: Model,
    writer: String,
    /// What a strict block begins with.
    begin: &'static str,
}

/// How a send, or a step, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    /// Refused, or failed as any may: it is to be tried again.
    Again,
}

impl<D: Driver> Worker<D> {
    /// A session that calls itself `writer`.
    pub fn new(driver: D, writer: String, begin: &'static str) -> Self {
        Self { driver, model: Model::new(), writer, begin }
    }

    /// Runs the program and returns the log.
    pub fn run(mut self, steps: &[Step]) -> Log {
        for step in steps {
            for tried in 0..TRIES {
                let reads = tried > 1 || tried == 1 && !step.stubborn;
                if self.step(step, reads) == Outcome::Done {
                    self.model.log.steps += 1;
                    break;
                }
            }
        }
        self.model.log
    }

    /// One try. `again`: all rows are read anew.
    fn step(&mut self, step: &Step, again: bool) -> Outcome {
        let mut status = 'I';
        let anew = everything(step);
        let reads = if again { anew.clone() } else { step.reads.clone() };
        let block = matches!(
            step.shape,
            Shape::Block
                | Shape::BlockSavepoint
                | Shape::BlockRollback
                | Shape::BlockCycle
                | Shape::Cursor
                | Shape::CursorQuery
        );
        let in_cycle = step.shape == Shape::CycleRead;
        let begin = if step.strict { self.begin } else { "begin" };
        let mut plan: Vec<(Vec<Statement<'_>>, Style)> = Vec::new();
        let own = |statement| {
            (vec![statement], if step.extended { Style::Cycle(Flush::Not) } else { Style::Query })
        };
        if block && step.inside {
            plan.push(own(Statement::Control(begin)));
        }
        if !in_cycle {
            plan.extend(reads.iter().map(|r| own(Statement::Read(r))));
        }
        if block && !step.inside {
            plan.push(own(Statement::Control(begin)));
        }
        for (statements, style) in plan {
            if self.send(step, statements, style, &mut status) == Outcome::Again {
                return self.clean_up(status);
            }
        }
        let writes: Vec<Statement<'_>> = step.writes.iter().map(|w| self.write(w)).collect();
        let sends: Vec<(Vec<Statement<'_>>, Style)> = self.sends(step, writes, &reads, begin, own);
        let mut savepoint = false;
        for (statements, style) in sends {
            let sets = matches!(statements.as_slice(), [Statement::Control("savepoint s")]);
            let released = matches!(statements.as_slice(), [Statement::Control("rollback to s")]);
            let outcome = self.send(step, statements, style, &mut status);
            savepoint = (savepoint || sets) && !released;
            if outcome == Outcome::Again {
                if savepoint && status == 'E' && step.shape == Shape::BlockSavepoint {
                    // What went before the savepoint stays; behind it, read again and go on.
                    let (back, style) = own(Statement::Control("rollback to s"));
                    let mut outcome = self.send(step, back, style, &mut status);
                    for read in &anew {
                        let (read, style) = own(Statement::Read(read));
                        if outcome == Outcome::Done {
                            outcome = self.send(step, read, style, &mut status);
                        }
                    }
                    if outcome == Outcome::Done {
                        savepoint = false;
                        continue;
                    }
                }
                return self.clean_up(status);
            }
        }
        assert_eq!(status, 'I', "{step:?}");
        Outcome::Done
    }

    /// What the step's shape makes of its writes.
    fn sends<'a>(
        &self,
        step: &'a Step,
        writes: Vec<Statement<'a>>,
        reads: &'a [Read],
        begin: &'a str,
        own: impl Fn(Statement<'a>) -> (Vec<Statement<'a>>, Style),
    ) -> Vec<(Vec<Statement<'a>>, Style)> {
        let control = Statement::Control;
        let mut writes = writes.into_iter();
        let mut out = Vec::new();
        let mut first = |n: usize| -> Vec<Statement<'a>> { writes.by_ref().take(n).collect() };
        match step.shape {
            Shape::Each => out.extend(first(9).into_iter().map(own)),
            Shape::OneQuery => out.push((first(9), Style::Query)),
            Shape::OneQueryBlock => {
                let all = [vec![control(begin)], first(9), vec![control("commit")]];
                out.push((all.into_iter().flatten().collect(), Style::Query));
            }
            Shape::OneQueryTwice => {
                let all = [vec![control(begin)], first(1), vec![control("commit")], first(9)];
                out.push((all.into_iter().flatten().collect(), Style::Query));
            }
            Shape::OneQuerySavepoint => {
                let all = [
                    vec![control(begin), control("savepoint s")],
                    first(1),
                    vec![control("rollback to s")],
                    first(9),
                    vec![control("commit")],
                ];
                out.push((all.into_iter().flatten().collect(), Style::Query));
            }
            Shape::Block | Shape::BlockRollback => {
                out.extend(first(9).into_iter().map(&own));
                out.push(own(control(if step.shape == Shape::Block { "commit" } else { "rollback" })));
            }
            Shape::BlockSavepoint => {
                out.extend(first(1).into_iter().map(&own));
                out.push(own(control("savepoint s")));
                out.extend(first(1).into_iter().map(&own));
                out.push(own(control("rollback to s")));
                out.extend(first(1).into_iter().map(&own));
                out.push(own(control("commit")));
            }
            Shape::Cycle => out.push((first(9), Style::Cycle(Flush::Not))),
            Shape::CycleFlush => out.push((first(9), Style::Cycle(Flush::Sent))),
            Shape::CycleAwait => out.push((first(9), Style::Cycle(Flush::Awaited))),
            Shape::CycleRead => {
                let all = reads.iter().map(Statement::Read).chain(first(9)).collect();
                out.push((all, Style::Cycle(Flush::Awaited)));
            }
            Shape::CycleBlock => {
                let all = [vec![control(begin)], first(9), vec![control("commit")]];
                out.push((all.into_iter().flatten().collect(), Style::Cycle(Flush::Not)));
            }
            Shape::CycleTwice => {
                let all = [
                    vec![control(begin)],
                    first(1),
                    vec![control("commit"), control(begin)],
                    first(9),
                    vec![control("commit")],
                ];
                out.push((all.into_iter().flatten().collect(), Style::Cycle(Flush::Not)));
            }
            Shape::BlockCycle => {
                out.push((first(9), Style::Cycle(Flush::Not)));
                out.push(own(control("commit")));
            }
            Shape::Pipe => out.push((first(9), Style::Pipe)),
            Shape::Cursor => {
                out.push(own(Statement::Declare(&step.writes[0], step.named)));
                out.push(own(Statement::Read(&step.fetch)));
                out.extend(first(1).into_iter().map(&own));
                out.push(own(control("commit")));
            }
            Shape::CursorQuery => {
                let opens =
                    vec![Statement::Declare(&step.writes[0], step.named), Statement::Read(&step.fetch)];
                let all = [opens, first(1), vec![control("commit")]];
                out.push((all.into_iter().flatten().collect(), Style::Query));
            }
            Shape::PipeBlock => {
                let all = [
                    vec![control(begin)],
                    first(1),
                    vec![control("savepoint s")],
                    first(1),
                    vec![control("rollback to s")],
                    first(9),
                    vec![control("commit")],
                ];
                out.push((all.into_iter().flatten().collect(), Style::Pipe));
            }
        }
        out
    }

    /// A failed block is rolled back.
    fn clean_up(&mut self, status: char) -> Outcome {
        if status != 'I' {
            let segments = self.driver.send(&Send::Query(vec![Text::plain("rollback")]));
            assert!(segments[0].error.is_none() && segments[0].status == 'I', "{segments:?}");
            self.model.rollback();
        }
        Outcome::Again
    }

    fn write<'a>(&mut self, write: &'a Write) -> Statement<'a> {
        self.model.log.sent += 1;
        Statement::Write(write, format!("{}.{}", self.writer, self.model.log.sent))
    }

    /// Sends statements and takes in what came back.
    fn send(
        &mut self,
        step: &Step,
        statements: Vec<Statement<'_>>,
        style: Style,
        status: &mut char,
    ) -> Outcome {
        let known: Vec<bool> = self.model.rows.iter().map(|known| known.token.is_some()).collect();
        let texts: Vec<Text> =
            (0..statements.len()).map(|i| self.text(&statements[..i], &statements[i])).collect();
        let what = |i: usize| {
            let before: Vec<&str> = texts[..i].iter().map(|t| &*t.sql).collect();
            format!("{} [{:?}, {style:?}, behind {before:?}]", texts[i].sql, step.shape)
        };
        let whats: Vec<String> = (0..texts.len()).map(what).collect();
        let (send, groups): (Send, Vec<usize>) = match style {
            Style::Query => {
                let n = texts.len();
                (Send::Query(texts), vec![n])
            }
            Style::Cycle(flush) => {
                let n = texts.len();
                (Send::Cycles { cycles: vec![texts], flush, named: step.named }, vec![n])
            }
            Style::Pipe => {
                let cycles: Vec<Vec<Text>> = texts.into_iter().map(|t| vec![t]).collect();
                let groups = vec![1; cycles.len()];
                (Send::Cycles { cycles, flush: Flush::Not, named: step.named }, groups)
            }
        };
        self.model.sends();
        let segments = self.driver.send(&send);
        self.model.log.wire.push(format!("{send:?}\n  => {segments:?}"));
        let mut outcome = Outcome::Done;
        let mut rest = statements.into_iter().zip(whats);
        for (segment, group) in segments.into_iter().zip(groups) {
            let these: Vec<_> = rest.by_ref().take(group).collect();
            *status = segment.status;
            // What a read in the same cycle has shown was awaited.
            let known = if style == Style::Cycle(Flush::Awaited) { &[true; ROWS.len()][..] } else { &known };
            if self.segment(these, segment, style, known) == Outcome::Again {
                outcome = Outcome::Again;
            }
        }
        outcome
    }

    /// The text of a statement behind others of the same send.
    fn text(&self, before: &[Statement<'_>], statement: &Statement<'_>) -> Text {
        match statement {
            Statement::Control(sql) => Text::plain(sql),
            Statement::Declare(write, locks) => write.declare(*locks),
            Statement::Read(read) => read.text(),
            Statement::Write(write, token) => {
                let known = &self.model.rows[write.rows[0]];
                // Where it leaves the row is not known yet.
                let in_flight = before.iter().any(|b| match b {
                    Statement::Write(Write { rows, .. }, _) | Statement::Read(Read { rows, .. }) => {
                        rows.contains(&write.rows[0])
                    }
                    Statement::Control(_) | Statement::Declare(..) => false,
                });
                let version = known.version.filter(|_| known.token.is_some() && !in_flight);
                match version.filter(|_| write.kind.names_version()) {
                    Some(read) if write.kind == Kind::SavedAgain => write.text(token, read),
                    Some(read) => write.text(token, read + known.moved),
                    None if write.kind.names_version() => {
                        Write { kind: Kind::Point, rows: write.rows.clone() }.text(token, 0)
                    }
                    None => write.text(token, 0),
                }
            }
        }
    }

    fn segment(
        &mut self,
        statements: Vec<(Statement<'_>, String)>,
        segment: Segment,
        style: Style,
        known: &[bool],
    ) -> Outcome {
        let mut outcome = Outcome::Done;
        let untold = statements.len() > 1 && style == Style::Query;
        let mut done = segment.done.into_iter();
        let mut written: Vec<&str> = Vec::new();
        let mut controlled: Vec<&str> = Vec::new();
        let mut failure = segment.error;
        let failed = failure.is_some();
        for (statement, what) in statements {
            let Some(done) = done.next() else {
                let Some(failure) = failure.take() else { break };
                outcome = Outcome::Again;
                self.failed(&failure, &what, style == Style::Query);
                break;
            };
            match &statement {
                Statement::Declare(..) => {}
                Statement::Read(read) => self.model.read(read, &done),
                Statement::Write(write, token) => {
                    // A view does not show whose transaction has written a row.
                    let again = write.kind == Kind::View && written.contains(&table(write.rows[0]));
                    let cut = style == Style::Query
                        && (again || write.rows.iter().any(|r| controlled.contains(&table(*r))));
                    written.extend(write.rows.iter().map(|r| table(*r)));
                    if !self.model.wrote(write, token, &done, &Place { known, cut, untold }, &what) {
                        outcome = Outcome::Again;
                    }
                }
                Statement::Control(control) => {
                    controlled.append(&mut written);
                    match *control {
                        "commit" if done.tag == "COMMIT" => self.model.commit(),
                        "commit" => {
                            self.model.rollback();
                            outcome = Outcome::Again;
                        }
                        "rollback" => self.model.rollback(),
                        "savepoint s" => self.model.savepoint("s"),
                        "rollback to s" => self.model.rollback_to("s"),
                        _ => {}
                    }
                }
            }
        }
        if segment.status == 'I' {
            // An implicit transaction ends with its Query or Sync.
            if failed { self.model.rollback() } else { self.model.commit() }
        }
        outcome
    }

    fn failed(&mut self, failure: &Failure, what: &str, at_once: bool) {
        if failure.constraint.ends_with("_version_conflict") {
            assert_eq!(failure.code, "40001", "{failure:?}");
            self.model.refused(failure, what, at_once);
            return;
        }
        // Deadlock, serialization failure, and what is said in a failed block, of its savepoint too.
        let usual = matches!(failure.code.as_str(), "40001" | "40P01" | "25P02" | "3B001");
        assert!(usual, "{what}: {failure:?}");
    }
}

/// How statements are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Query,
    Cycle(Flush),
    /// A cycle each, in one send.
    Pipe,
}

/// Reads of all rows that a step writes.
fn everything(step: &Step) -> Vec<Read> {
    let mut rows: Vec<usize> = step.writes.iter().flat_map(|w| w.rows.iter().copied()).collect();
    rows.sort_unstable();
    rows.dedup();
    let of = |t: &str| rows.iter().copied().filter(|r| table(*r) == t).collect::<Vec<_>>();
    let reads = TABLES.map(|t| Read { rows: of(t), shown: Shown::Version });
    reads.into_iter().filter(|read| !read.rows.is_empty()).collect()
}
