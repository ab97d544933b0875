//! The guard form at run time: which versions travel with a statement, and what its outcome means.
//!
//! Where zero rows would be noticed too late, the check stands in the SET list ([`crate::rewrite::guard`]) and the
//! server itself fails. What is known of the rows goes along as one JSON text; the error it raises is recognised by
//! the session's nonce and put into the client's words.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Instant;

use smallvec::SmallVec;

use super::cursors::{OpenCursors, Standing};
use super::in_flight::{Earlier, InFlight, Place};
use super::observed::Expectation;
use super::observed::Sighting;
use super::prepared::Prepared;
use super::state::Session;
use super::writes::{Values, Write};
use crate::catalog::Mode;
use crate::conflict::Source;
use crate::observe::{Cause, Lookup, RowKey, Scope};
use crate::rewrite::known::{self, Known};
use crate::rewrite::plan::{Effect, GuardSite, Operand, Plan, StatementPlan, Verb, VersionSource};
use crate::sql::encoding::Encoding;
use crate::sql::keys::{KeyType, MAX_KEYS, join_key};

/// One row whose version travels.
#[derive(Debug)]
pub(crate) struct GuardedRow {
    pub row: RowKey,
    pub key: Vec<Box<str>>,
    pub expected: i64,
    pub source: Source,
    pub seen: Option<Sighting>,
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
    pub(super) fn gone(&self, site: &GuardSite, rows: Option<u64>) -> u64 {
        let named = self.named.as_ref().filter(|n| n.len() == self.rows.len()).map_or(0, Vec::len);
        let certain = site.bare && site.verb == Verb::Update && !site.table.row_security;
        rows.filter(|_| certain).map_or(0, |rows| (named as u64).saturating_sub(rows))
    }
}

/// The guards of one statement, by site.
#[derive(Debug, Default)]
pub(crate) struct Guards(pub Vec<SiteGuard>);

/// What a write's guards depend on beside its text.
pub(crate) struct Scene<'a> {
    pub values: Values<'a>,
    /// For WHERE CURRENT OF.
    pub open: OpenCursors<'a>,
    pub place: Place,
    /// The end of the open transaction stands before it in its text.
    pub behind_end: bool,
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
    observations: &mut Scope,
) -> (Guards, bool) {
    let mut unsettled =
        in_flight.may_change_scope(observations) && statement.sites.iter().any(GuardSite::is_compared);
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
            let (expected, source, seen) = match lookup(site, row, scene, observations) {
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
            unsettled |= in_flight.is_proposed(row);
            match in_flight.earlier(row, expected, scene.place, observations) {
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
            guard.rows.push(GuardedRow { row: row.clone(), key, expected, source, seen });
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

type Expected = (i64, Source, Option<Sighting>);

fn lookup(
    site: &GuardSite,
    row: &RowKey,
    scene: &Scene<'_>,
    observations: &mut Scope,
) -> Result<Expected, Cause> {
    let forgotten = scene.behind_end && matches!(observations, Scope::Transaction(_));
    match &site.source {
        VersionSource::WrittenBack(operand) => {
            if let Some(n) = scene.values.int(operand) {
                if forgotten {
                    return Ok((n, Source::WrittenBack, None));
                }
                let expected = observations.written_back(row, n, &site.sets, scene.now).expected();
                if observations.is_cut_off(row, scene.now) {
                    return Err(Cause::Store);
                }
                return Ok((expected, Source::WrittenBack, None));
            }
        }
        VersionSource::Hint(n) => return Ok((*n, Source::Hint, None)),
        VersionSource::Observed | VersionSource::InPredicate(_) => {}
    }
    if forgotten {
        return Err(Cause::NeverRead);
    }
    match observations.expected(row, &site.sets, scene.now) {
        Lookup::Known { version, seen_at, unit, .. } => {
            Ok((version, Source::Observed, Some(Sighting::new(seen_at, unit, scene.now))))
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
        let Self { key, expected, source, seen, .. } = self;
        Expectation { key: key.clone(), expected: *expected, source: *source, seen: *seen }
    }
}

impl SiteGuard {
    /// Mode `observe`: a guard would have travelled.
    pub(super) fn is_observed(&self, site: &GuardSite) -> bool {
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

fn no_values<'a>(encoding: Encoding) -> Values<'a> {
    Values { bind: None, arguments: None, oids: &[], encoding }
}

impl Session {
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
        let listens = self.observations.context().is_some();
        let ahead =
            listens && (self.queue.is_empty() || !self.in_flight.may_change_scope(&self.observations));
        let said = ahead.then(|| self.whose.clone());
        let mut behind_end = false;
        for (n, statement) in plan.statements.iter().enumerate() {
            if ahead {
                self.enter(statement);
            }
            let mut added = None;
            if let (Some(execute), Some(Some(prepared))) = (&statement.execute, executed.get(n)) {
                let place = Place { part: self.cycle.part, ..place };
                let (made, more, waits) = self.decide_execute(execute, prepared, text, place, behind_end);
                unsettled |= waits && (n == 0 || before.may_change_scope(&self.observations));
                if let (Some(made), Some(acting)) = (&made, prepared.statement()) {
                    self.sent_writes(acting, made, place);
                    self.in_flight.add_touched(&acting.touches);
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
                    values: no_values(self.lex.encoding),
                    open: OpenCursors {
                        names: &self.names,
                        cursors: &self.cursors,
                        before: plan.statements.get(..n).unwrap_or_default(),
                        in_flight: !self.queue.is_empty(),
                    },
                    place,
                    behind_end,
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
            self.sent_says(statement);
            if ahead && plan.statements.len() > 1 {
                let prepared = executed.get(n).and_then(Option::as_deref);
                let heard = self.heard_in_text(statement, prepared, text);
                self.pass_over(statement, heard.as_deref());
            }
            behind_end |= matches!(
                statement.effect,
                Effect::Commit { .. } | Effect::Rollback { .. } | Effect::PrepareTransaction
            );
            self.in_flight.add_statement(statement);
            self.sent_effect(&statement.effect);
        }
        if let Some(said) = said {
            self.back_to(said);
        }
        if unsettled && !self.queue.is_empty() || self.observations.lacks_rows() {
            self.in_flight = before;
        } else if let Some(write) = write.filter(|_| by_predicate) {
            self.in_flight.add_point(write, place);
        }
        (guards, arguments, unsettled)
    }
}
