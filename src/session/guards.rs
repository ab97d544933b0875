//! The guard form at run time: which versions travel with a statement, and what its outcome means.
//!
//! Where zero rows would be noticed too late, the check stands in the SET list ([`crate::rewrite::guard`]) and the
//! server itself fails. What is known of the rows goes along as one JSON text; the error it raises is recognised by
//! the session's nonce and put into the client's words.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::cursors::{OpenCursors, Standing};
use super::learn::Learner;
use super::observed::Expectation;
use super::prepared::{Portal, Prepared};
use super::put;
use super::refuse::unseen;
use super::server::Fate;
use super::state::Session;
use super::writes::{Values, Write};
use super::written::Basis;
use crate::catalog::Mode;
use crate::conflict::{BlindReport, ConflictEvent, ConflictReport, Connection, Source, Unseen, ascii_fields};
use crate::observe::{Cause, Lookup, Observations, RowKey};
use crate::rewrite::guard::parse_raise;
use crate::rewrite::known::{self, Known};
use crate::rewrite::plan::{
    Effect, GuardSite, Operand, Plan, Reason, StatementPlan, Touched, Verb, VersionSource,
};
use crate::sql::encoding::Encoding;
use crate::sql::keys::{KeyType, MAX_KEYS, join_key};
use crate::telemetry::metrics::WriteOutcome;
use crate::wire::buffer::Out;
use crate::wire::build;
use crate::wire::read::{read_error_fields, rows_of_tag};

/// One row whose version travels.
#[derive(Debug)]
pub(crate) struct GuardedRow {
    pub row: RowKey,
    pub key: Vec<Box<str>>,
    pub expected: i64,
    pub source: Source,
    pub seen_ago: Option<Duration>,
}

/// What one site of a statement was sent with.
#[derive(Debug, Default)]
pub(crate) struct SiteGuard {
    /// What travels; `None`: it only bumps.
    pub known: Option<Known>,
    /// The rows of it.
    pub rows: Vec<GuardedRow>,
    /// Rows that the text names, in canonical form; `None` where it does not name them all.
    pub named: Option<Vec<RowKey>>,
    /// Why nothing is known of a row that is named.
    pub blind: Option<Cause>,
    /// Mode `observe`: earlier writes of rows that are known are in flight, so that their versions do not tell.
    pub unsure: bool,
    /// The text names its rows, but not in a form that is certain.
    pub uncertain: bool,
    /// Nothing can travel: the statement has as many parameters as there may be.
    pub no_parameter: bool,
    /// Known rows that do not travel, since there are too many.
    pub overflow: usize,
    /// An earlier write of one of the rows is on its way, and what it leaves there cannot be awaited.
    pub same_row: bool,
    /// It stands on a cursor whose rows are known by what it has shown.
    pub by_cursor: bool,
}

impl SiteGuard {
    /// Rows that the site names, all of them known, and a completed write of this many rows did not find.
    fn gone(&self, site: &GuardSite, rows: Option<u64>) -> u64 {
        let named = self.named.as_ref().filter(|n| n.len() == self.rows.len()).map_or(0, Vec::len);
        let certain = site.bare && site.verb == Verb::Update && !site.table.row_security;
        rows.filter(|_| certain).map_or(0, |rows| (named as u64).saturating_sub(rows))
    }
}

/// The guards of one statement, by site.
#[derive(Debug, Default)]
pub(crate) struct Guards(pub Vec<SiteGuard>);

/// Own writes that have been sent and not been answered, by row and by table (rows unknown).
#[derive(Debug, Default, Clone)]
pub(crate) struct InFlight {
    rows: HashMap<RowKey, Sent>,
    tables: HashMap<u32, Sent>,
    /// The end of a transaction, or ROLLBACK TO: what earlier writes have taught may be undone.
    undo: bool,
    /// What makes the session forget: DISCARD ALL, RESET ALL, another role, TRUNCATE.
    forget: bool,
    /// Tables that triggers and foreign keys of own writes may change.
    touched: Vec<u32>,
}

/// Writes in flight of one row or table.
#[derive(Debug, Clone, Copy)]
struct Sent {
    /// The place of the last one.
    place: Place,
    /// How many.
    count: i64,
    /// One of them deletes: what lives under the key behind it begins at another version.
    deletes: bool,
}

/// Where in the stream of messages a write stands: two of one place are of one transaction, with no transaction
/// control between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub cycle: u64,
    pub part: u32,
}

/// What earlier writes that are still in flight mean for a write of the same row.
enum Earlier {
    /// There are none.
    None,
    /// This many of the same transaction.
    Own(i64),
    /// Of another transaction, or of one whose rows cannot be told by their xmin: their answers must be in first.
    Unsettled,
}

impl InFlight {
    /// Nothing is in flight any more.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.tables.clear();
        self.undo = false;
        self.forget = false;
        self.touched.clear();
    }

    fn earlier(&self, row: &RowKey, place: Place, observations: &Observations) -> Earlier {
        let of_row = self.rows.get(row);
        let of_table = self.tables.get(&row.table);
        let mut count = 0;
        if self.forget || self.touched.contains(&row.table) || self.undo && observations.may_be_undone(row) {
            return Earlier::Unsettled;
        }
        for sent in of_row.into_iter().chain(of_table) {
            if sent.place != place || sent.deletes {
                return Earlier::Unsettled;
            }
            count += sent.count;
        }
        if count == 0 { Earlier::None } else { Earlier::Own(count) }
    }

    /// A statement that may touch these tables is on its way.
    pub fn add_touched(&mut self, touches: &[Touched]) {
        for touched in touches {
            if !self.touched.contains(&touched.root_oid) {
                self.touched.push(touched.root_oid);
            }
        }
    }

    /// A point write that goes without guards is on its way.
    pub fn add_point(&mut self, write: &Write, place: Place) {
        if let Some(point) = write.point() {
            let row = write.row.as_ref().map(std::slice::from_ref);
            self.add(point.table.root_oid, row, place, point.verb == Verb::Delete);
        }
    }

    /// A write of a statement is on its way.
    fn add(&mut self, table: u32, named: Option<&[RowKey]>, place: Place, deletes: bool) {
        let count = |entry: &mut Sent| {
            *entry = Sent { place, count: entry.count + 1, deletes: entry.deletes || deletes };
        };
        let none = Sent { place, count: 0, deletes };
        match named {
            Some(rows) => rows.iter().for_each(|row| count(self.rows.entry(row.clone()).or_insert(none))),
            None => count(self.tables.entry(table).or_insert(none)),
        }
    }
}

/// What a write's guards depend on beside its text.
pub(crate) struct Scene<'a> {
    pub values: Values<'a>,
    /// For WHERE CURRENT OF.
    pub open: OpenCursors<'a>,
    pub place: Place,
    /// Versions that this very transaction left may be told by xmin (not behind a savepoint).
    pub own_writes: bool,
    /// At most this many known rows travel with a site.
    pub max_rows: usize,
    /// What is known travels as a parameter.
    pub prepared: bool,
    pub now: Instant,
}

/// Works out the guards of a statement. `Err`: earlier writes of the same rows are in flight, and it must wait for
/// them if it can.
pub(crate) fn decide(
    statement: &StatementPlan,
    scene: &Scene<'_>,
    in_flight: &InFlight,
    observations: &mut Observations,
) -> (Guards, bool) {
    let mut unsettled = false;
    let sites = statement.sites.iter().map(|site| {
        let named = named(site, &scene.values);
        let mut guard = SiteGuard::default();
        if named.is_none() && !site.keys.is_empty() && !site.moves_key {
            guard.uncertain = true;
        }
        // Put into the text once, a guard must take its versions from a parameter.
        let unfit = scene.prepared && site.takes_guard() && !site.takes_parameter();
        if !site.is_compared() || unfit {
            guard.named = named;
            return guard;
        }
        let mut known = Known::new();
        known.refuse_others(site.is_strict());
        let standing = scene.open.standing(site);
        match standing {
            Standing::Known => guard.by_cursor = site.cursor.is_some(),
            Standing::Unknown if known.is_empty() => return guard,
            Standing::Unknown => {}
            Standing::Unsettled => {
                unsettled = true;
                return guard;
            }
        }
        let rows: Cow<'_, [RowKey]> = match (&named, scene.open.position(site)) {
            _ if matches!(standing, Standing::Unknown) => Cow::default(),
            (Some(rows), _) => rows.into(),
            (None, Some(row)) => vec![row].into(),
            // Rows that are not named, or not in a form that is certain, may be any. The guard is evaluated for rows
            // that the statement finds, and compares their keys in the server: more than those do no harm in it.
            (None, None) => {
                let (rows, more) = observations.known_rows(site.table.root_oid, scene.max_rows);
                guard.overflow = more;
                rows.into()
            }
        };
        for row in rows.iter() {
            let (expected, source, seen_ago) = match lookup(site, row, scene, observations) {
                Ok(found) => found,
                Err(cause) => {
                    guard.blind = Some(cause);
                    continue;
                }
            };
            if guard.rows.len() == scene.max_rows {
                guard.overflow += 1;
                continue;
            }
            let Some(key) = split_key(row, site) else { continue };
            match in_flight.earlier(row, scene.place, observations) {
                Earlier::None => {}
                _ if !site.takes_guard() => {
                    guard.unsure = true;
                    continue;
                }
                // Where triggers move versions too, what those writes have left is not known.
                Earlier::Own(_) if site.table.moves_versions() => {
                    guard.same_row = true;
                    continue;
                }
                Earlier::Own(count) if scene.own_writes && site.table.may_read_all => {
                    known.accept_own(&key, expected.saturating_add(count));
                }
                Earlier::Own(_) | Earlier::Unsettled => {
                    guard.same_row = true;
                    continue;
                }
            }
            if site.takes_guard() {
                known.expect(&key, expected);
            }
            guard.rows.push(GuardedRow { row: row.clone(), key, expected, source, seen_ago });
        }
        unsettled |= guard.same_row;
        if guard.same_row && named.is_some() && guard.blind.is_none() {
            // Every row named has been seen: the ones that an own write has on its way need not go along.
            known.refuse_others(false);
        }
        drop(rows);
        guard.known = (!known.is_empty()).then_some(known);
        guard.named = named;
        guard
    });
    let guards = Guards(sites.collect());
    (guards, unsettled)
}

type Expected = (i64, Source, Option<Duration>);

fn lookup(
    site: &GuardSite,
    row: &RowKey,
    scene: &Scene<'_>,
    observations: &mut Observations,
) -> Result<Expected, Cause> {
    match &site.source {
        VersionSource::WrittenBack(operand) => {
            if let Some(n) = scene.values.int(operand) {
                let expected = observations.written_back(row, n, &site.sets, scene.now).expected();
                return Ok((expected, Source::WrittenBack, None));
            }
        }
        VersionSource::Hint(n) => return Ok((*n, Source::Hint, None)),
        VersionSource::Observed | VersionSource::InPredicate(_) => {}
    }
    match observations.expected(row, &site.sets, scene.now) {
        Lookup::Known { version, seen_at, .. } => {
            Ok((version, Source::Observed, Some(scene.now.saturating_duration_since(seen_at))))
        }
        Lookup::Unknown(cause) => Err(cause),
    }
}

/// The rows that a site names, if all of them have a certain form.
fn named(site: &GuardSite, values: &Values<'_>) -> Option<Vec<RowKey>> {
    if site.keys.is_empty() || site.moves_key {
        return None;
    }
    let mut rows = Vec::with_capacity(site.keys.len());
    for key in &site.keys {
        expand(site, values, key, &mut rows)?;
    }
    rows.sort_by(|a, b| a.key.cmp(&b.key));
    rows.dedup();
    Some(rows)
}

/// The rows of one key: one, or as many as its arrays name together.
fn expand(site: &GuardSite, values: &Values<'_>, key: &[Operand], rows: &mut Vec<RowKey>) -> Option<()> {
    let mut keys: Vec<SmallVec<[Box<str>; 2]>> = vec![SmallVec::new()];
    for (column, operand) in site.table.key_columns().zip(key) {
        let ty = KeyType::from_oid(column.type_oid)?;
        let Operand::Elements(n) = operand else {
            let value = values.key(ty, operand)?;
            keys.iter_mut().for_each(|key| key.push(value.clone()));
            continue;
        };
        let elements = values.elements(ty, *n)?;
        if keys.len().saturating_mul(elements.len()) > MAX_KEYS {
            return None;
        }
        let beside = |key: &SmallVec<[Box<str>; 2]>| {
            let key = key.clone();
            elements.iter().map(move |element| key.iter().chain([element]).cloned().collect())
        };
        keys = keys.iter().flat_map(beside).collect();
    }
    if rows.len().saturating_add(keys.len()) > MAX_KEYS
        || keys.iter().any(|key| key.is_empty() || key.len() != site.table.key.len())
    {
        return None;
    }
    rows.extend(keys.iter().map(|key| RowKey::new(site.table.root_oid, join_key(key))));
    Some(())
}

/// The parts of a row's key. A key of several columns is taken apart as [`join_key`] has put it together.
fn split_key(row: &RowKey, site: &GuardSite) -> Option<Vec<Box<str>>> {
    let parts = crate::sql::keys::split_key(&row.key, site.table.key.len());
    (parts.len() == site.table.key.len()).then_some(parts)
}

impl GuardedRow {
    /// For a report.
    pub fn expectation(&self) -> Expectation {
        let Self { key, expected, source, seen_ago, .. } = self;
        Expectation { key: key.clone(), expected: *expected, source: *source, seen_ago: *seen_ago }
    }
}

impl SiteGuard {
    /// Mode `observe`: a guard would have travelled.
    fn is_observed(&self, site: &GuardSite) -> bool {
        site.table.settings.mode == Mode::Observe && (self.unsure || !self.rows.is_empty())
    }
}

impl Guards {
    /// Something is known of rows that it may write.
    pub fn has_rows(&self) -> bool {
        self.0.iter().any(|site| !site.rows.is_empty())
    }

    /// Nothing travels after all.
    pub fn only_bump(&mut self) {
        for site in &mut self.0 {
            site.known = None;
            site.rows.clear();
        }
    }

    /// What travels, by site.
    pub fn known(&self) -> Vec<Option<Known>> {
        self.0.iter().map(|site| site.known.clone()).collect()
    }

    /// There is no room for the parameter that they need: nothing travels.
    pub fn without_parameter(mut self) -> Self {
        for site in &mut self.0 {
            (site.known, site.overflow, site.no_parameter) = (None, 0, true);
            site.rows.clear();
        }
        self
    }

    /// The text of the added parameter; `None` is NULL.
    pub fn parameter(&self) -> Option<String> {
        known::parameter(&self.known())
    }
}

impl Session {
    /// The place of what is sent next.
    pub fn place(&self) -> Place {
        Place { cycle: self.cycle.number, part: self.cycle.part }
    }

    /// The guards of the statements of a Query, the arguments added to its EXECUTEs, and whether it must wait for
    /// writes of earlier messages.
    pub(super) fn decide_query(
        &mut self,
        plan: &Plan,
        text: &[u8],
        executed: &[Option<Rc<Prepared>>],
        write: Option<&Write>,
    ) -> (Vec<Option<Guards>>, Vec<Option<String>>, bool) {
        let by_predicate = write.is_some_and(|w| !w.is_guarded());
        // A place that no message of the extended protocol has.
        let place = Place { cycle: u64::MAX - self.cycle.number, part: 0 };
        let mut unsettled = false;
        let mut guards = Vec::with_capacity(plan.statements.len());
        let mut arguments = Vec::with_capacity(plan.statements.len());
        if self.queue.is_empty() {
            self.in_flight.clear();
        }
        let before = self.in_flight.clone();
        for (n, statement) in plan.statements.iter().enumerate() {
            let mut added = None;
            if let (Some(execute), Some(Some(prepared))) = (&statement.execute, executed.get(n)) {
                let place = Place { part: self.cycle.part, ..place };
                let (made, more, waits) = self.decide_execute(execute, prepared, text, place);
                unsettled |= waits && n == 0;
                if let (Some(made), Some(acting)) = (&made, prepared.statement()) {
                    self.sent_writes(acting, made, place);
                }
                added = more;
                guards.push(made);
            } else if by_predicate || statement.sites.is_empty() {
                if !by_predicate {
                    self.sent_writes(statement, &Guards::default(), Place { part: self.cycle.part, ..place });
                }
                guards.push(None);
            } else {
                let place = Place { part: self.cycle.part, ..place };
                let scene = Scene {
                    values: Values { bind: None, arguments: None, oids: &[], encoding: self.lex.encoding },
                    open: OpenCursors {
                        names: &self.names,
                        cursors: &self.cursors,
                        before: plan.statements.get(..n).unwrap_or_default(),
                        in_flight: !self.queue.is_empty(),
                    },
                    place,
                    own_writes: !self.subtransaction,
                    prepared: false,
                    max_rows: self.shared.settings.guard_max_rows,
                    now: self.now(),
                };
                let (made, waits) = decide(statement, &scene, &self.in_flight, &mut self.observations);
                // What an earlier statement of this very text has in flight cannot be waited for.
                unsettled |=
                    waits && (n == 0 || decide(statement, &scene, &before, &mut self.observations).1);
                self.sent_writes(statement, &made, place);
                guards.push(Some(made));
            }
            arguments.push(added);
            self.in_flight.add_touched(&statement.touches);
            self.sent_effect(&statement.effect);
        }
        if unsettled && !self.queue.is_empty() {
            self.in_flight = before;
        } else if let Some(write) = write.filter(|_| by_predicate) {
            self.in_flight.add_point(write, place);
        }
        (guards, arguments, unsettled)
    }

    /// Takes note of the writes of a statement that is sent now.
    pub fn sent_writes(&mut self, statement: &StatementPlan, guards: &Guards, place: Place) {
        for (site, guard) in statement.sites.iter().zip(&guards.0) {
            let deletes = site.verb == Verb::Delete;
            self.in_flight.add(site.table.root_oid, guard.named.as_deref(), place, deletes);
        }
        for write in statement.unchecked.iter().filter(|w| w.root_oid != 0) {
            self.in_flight.add(write.root_oid, None, place, true);
        }
    }

    /// Likewise of a point write that goes without guards.
    pub fn sent_point(&mut self, portal: &Portal, place: Place) {
        if let Some(write) = &*portal.write.borrow() {
            self.in_flight.add_point(write, place);
        }
    }

    /// A guard has raised: the client gets the conflict in the place of the server's 22P02.
    pub fn raised(
        &mut self,
        body: &[u8],
        plan: &Plan,
        guards: &[Option<Guards>],
        client: &mut Out,
    ) -> Option<Fate> {
        let fields = read_error_fields(body).filter(|f| f.sqlstate() == Some(b"22P02"))?;
        // In the language of the server and the encoding of the client; our part of it is ASCII.
        let message = String::from_utf8_lossy(fields.get(b'M')?);
        let raised = parse_raise(&message, &self.nonce)?;
        let site = plan.statements.get(raised.statement)?.sites.get(raised.site)?;
        let guard = guards.get(raised.statement)?.as_ref()?.0.get(raised.site)?;
        let key = join_key(&raised.key);
        let row = guard.rows.iter().find(|r| r.row.key == key);
        if row.is_none() && !site.is_strict() {
            return None;
        }
        let table = &site.table;
        let expectation = row.map_or_else(
            || Expectation {
                key: raised.key.iter().map(|part| part.as_str().into()).collect(),
                expected: 0,
                source: Source::Nobody,
                seen_ago: None,
            },
            GuardedRow::expectation,
        );
        let report = self.report(table, &expectation, Some(raised.actual));
        let now = self.now();
        match row.map(|r| r.row.clone()) {
            Some(row) => {
                self.tell(&report, client);
                self.observations.refused(&row, now);
            }
            None => {
                let row = RowKey::new(table.root_oid, key);
                let unseen = match self.observations.expected(&row, &site.sets, now) {
                    _ if site.reason == Reason::CurrentOf => Unseen::Cursor,
                    Lookup::Known { .. } => Unseen::Overflow,
                    Lookup::Unknown(cause) => unseen(cause),
                };
                self.tell_blind(BlindReport { row: report, unseen }, client);
            }
        }
        self.errored = true;
        Some(Fate::Gone)
    }

    /// Sends the conflict error, counts and logs it.
    pub fn tell(&mut self, report: &ConflictReport, client: &mut Out) {
        self.put_error(report.fields(), client);
        self.shared.metrics.conflict(&report.entity);
        self.shared.metrics.write(&report.entity, WriteOutcome::Conflict);
        self.event(report, |event| event.emit());
    }

    /// Logs a conflict, or what would have been one.
    pub fn event(&self, report: &ConflictReport, emit: impl FnOnce(&ConflictEvent<'_>)) {
        let client_address = self.facts.peer.to_string();
        emit(&ConflictEvent { report, connection: self.connection(&client_address), user_id: None });
    }

    /// Sends an error of the proxy's own words.
    pub(super) fn put_error(&self, fields: Vec<(u8, String)>, client: &mut Out) {
        let fields = match self.lex.encoding {
            Encoding::Utf8 => fields,
            _ => ascii_fields(fields),
        };
        put(build::error_response(client.as_bytes_mut(), &fields));
    }

    /// Who is connected, for the log.
    pub(super) fn connection<'a>(&'a self, client: &'a str) -> Connection<'a> {
        Connection {
            session: self.facts.id,
            database: &self.facts.database,
            role: &self.facts.user,
            application: &self.facts.application_name,
            client,
        }
    }

    /// A statement with guards has completed: what its writes mean for what is known. `learner`: of its rows.
    pub fn settle_guards(
        &mut self,
        statement: &StatementPlan,
        guards: &Guards,
        tag: &[u8],
        learner: Option<&Learner>,
    ) {
        let now = self.now();
        let metrics = self.shared.metrics.clone();
        // How many rows the write itself has changed: the tag tells where the write is the statement.
        let is_statement = |site: &GuardSite| {
            statement.sites.len() == 1
                && site.reason != Reason::Cte
                && [&b"UPDATE "[..], b"DELETE ", b"INSERT ", b"MERGE "]
                    .iter()
                    .any(|word| tag.starts_with(word))
        };
        for (site, guard) in statement.sites.iter().zip(&guards.0) {
            let table = &site.table;
            let rows = rows_of_tag(tag).filter(|_| is_statement(site));
            if guard.is_observed(site) {
                let told = learner.is_some_and(|l| l.tells(table.root_oid))
                    && !guard.unsure
                    && !table.moves_versions();
                let basis = learner.and_then(|l| l.basis.as_ref());
                self.observed(table, basis, told || rows == Some(0), |row| {
                    guard.rows.iter().find(|r| r.row == *row).map(GuardedRow::expectation)
                });
            }
            let taught = learner.is_some_and(|l| l.written().contains(&table.root_oid));
            if let Some(cursor) = &site.cursor {
                let left = learner.and_then(|l| l.basis.as_ref()).is_some_and(Basis::left);
                self.settle_current_of(site, cursor, guard, rows, taught && !left);
                continue;
            }
            metrics.guard_gone(&table.root_name, guard.gone(site, rows));
            if rows == Some(0) {
                metrics.write(&table.entity, WriteOutcome::PassedZero);
                continue;
            }
            if guard.rows.is_empty() && guard.known.as_ref().is_some_and(Known::refuses_others) {
                // Any row that it found would have been refused.
                continue;
            }
            metrics.guard_overflow(&table.root_name, guard.overflow as u64);
            let reason = match () {
                () if guard.same_row => Reason::SameRowInQuery,
                () if guard.uncertain => Reason::UnknownKey,
                () => site.reason,
            };
            let outcome = match (&guard.known, guard.blind) {
                _ if guard.no_parameter && !site.self_relative => {
                    metrics.unchecked_write(&table.root_name, Reason::Parameters);
                    WriteOutcome::Unchecked
                }
                (Some(_), _) => {
                    if guard.same_row {
                        metrics.unchecked_write(&table.root_name, reason);
                    }
                    WriteOutcome::Checked
                }
                (None, _) if guard.is_observed(site) => WriteOutcome::Observed,
                (None, Some(cause)) => {
                    metrics.blind_write(&table.root_name, cause.label());
                    WriteOutcome::Blind
                }
                (None, None) if site.self_relative => WriteOutcome::SelfRelative,
                (None, None) => {
                    metrics.unchecked_write(&table.root_name, reason);
                    WriteOutcome::Unchecked
                }
            };
            if guard.overflow > 0 {
                metrics.unchecked_write(&table.root_name, Reason::GuardOverflow);
            }
            metrics.write(&table.entity, outcome);
            let taught = learner.is_some_and(|l| l.written().contains(&table.root_oid));
            if taught && !site.moves_key {
                continue;
            }
            let Some(named) = &guard.named else {
                self.observations.forget_table(table.root_oid);
                continue;
            };
            // All rows that it names were written: each is at one more than the scope knew, or gone.
            let all = rows == Some(named.len() as u64);
            let moved = all && site.verb == Verb::Update && !table.moves_versions();
            let checked: HashSet<&RowKey> = guard.rows.iter().map(|r| &r.row).collect();
            for row in named {
                let expected = checked.contains(row);
                match self.observations.expected(row, &site.sets, now) {
                    Lookup::Known { version, .. } if moved && expected => {
                        self.observations.wrote_checked(row, version, &site.sets, now);
                    }
                    _ if all && site.verb == Verb::Delete => self.observations.deleted(row, now),
                    // Of the latter other columns may be known under a version that the row has left.
                    Lookup::Known { .. } | Lookup::Unknown(Cause::Cursor) => {
                        self.observations.wrote_unchecked(row, now);
                    }
                    Lookup::Unknown(_) => {}
                }
            }
        }
    }

    /// Transaction control stands between what was sent before and what comes.
    pub fn sent_effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Begin | Effect::Release(_) => self.cycle.part += 1,
            Effect::Commit { .. }
            | Effect::Rollback { .. }
            | Effect::RollbackTo(_)
            | Effect::PrepareTransaction => {
                self.cycle.part += 1;
                self.in_flight.undo = true;
            }
            Effect::Savepoint(_) => {
                self.cycle.part += 1;
                self.subtransaction = true;
            }
            Effect::DiscardAll | Effect::ResetAll | Effect::Role | Effect::Truncate(_) => {
                self.in_flight.forget = true;
            }
            _ => {}
        }
    }
}
