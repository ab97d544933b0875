//! Whose reads count for a write, and in which unit of work: what a session in scope `context` hears its client say.
//!
//! A label and the name of a request come from comments, settings, the role or the lookup of a user
//! ([`crate::rewrite::label`] finds them). What a statement's comment says counts for the statement at once; what it
//! does to settings, and whom it looked up, once the server has answered it. A write is decided when it is sent: as
//! long as an answer is outstanding that may change whose it is, it waits ([`Session::sent_says`]).

mod heard;

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

pub(crate) use self::heard::Heard;
use super::state::Session;
use crate::config::scopes::{LabelSource, UnitSource, like};
use crate::observe::context::Unit;
use crate::observe::context::setting::Setting;
use crate::rewrite::plan::{Effect, StatementPlan};

type Tags = Vec<(Box<str>, Box<str>)>;

/// What the session has heard so far.
#[derive(Debug, Clone)]
pub(crate) struct Whose {
    settings: HashMap<Box<str>, Setting>,
    /// Of the comments of the present transaction, by key the last one.
    tags: Tags,
    /// Tags of the last statement that was sent.
    sent: Tags,
    /// Whom the present transaction has looked up first; with `sticky`, whoever was looked up last.
    lookup: Option<(usize, Box<str>)>,
    /// The present transaction has looked someone up.
    looked_up: bool,
    /// The unit that the present transaction is if nothing else names one.
    transaction: Unit,
    /// The session, and how many units it has begun.
    session: u64,
    units: u64,
    /// With `sticky`: what lies between two lookups.
    between: Option<Unit>,
    /// What the first contact with protected rows in the present transaction has made its unit.
    pinned: Option<Unit>,
    /// The session user as the server has reported it.
    login: Box<str>,
    /// What has been said of `application_name` and `session_authorization` up to the last ReadyForQuery, with which the
    /// server reports their values.
    reported: [Option<Box<str>>; 2],
    /// Statements of a text are passed over, and the end of the open transaction was among them.
    behind_end: bool,
}

/// Settings that the server reports, with ReadyForQuery.
const REPORTED: [&str; 2] = [APPLICATION_NAME, AUTHORIZATION];
const APPLICATION_NAME: &str = "application_name";
const AUTHORIZATION: &str = "session_authorization";

/// The server cuts names to less than this.
const NAME_LENGTH: usize = 64;

/// The unit of a request by its name: the same on every connection of this process, and never a session's own. `shared`:
/// of every process that shares contexts with this one, too.
fn named(source: usize, name: &str, shared: bool) -> Unit {
    if shared {
        let mut digest = Sha256::new();
        digest.update(source.to_be_bytes());
        digest.update(name.as_bytes());
        let bytes = digest.finalize();
        return Unit::of_request(bytes.iter().take(16).fold(0, |hash, byte| hash << 8 | u128::from(*byte)));
    }
    static HASHERS: OnceLock<[RandomState; 2]> = OnceLock::new();
    let [low, high] = HASHERS.get_or_init(Default::default);
    let hash = |state: &RandomState| u128::from(state.hash_one((source, name)));
    Unit::of_request(hash(high) << 64 | hash(low))
}

/// What names the request in a tag's value: of a `traceparent` the trace, for each statement may be a span of its own
/// (<https://www.w3.org/TR/trace-context/#traceparent-header>).
fn request_name<'a>(key: &str, value: &'a str) -> &'a str {
    let mut parts =
        value.split('-').map(|part| Some(part).filter(|p| p.bytes().all(|b| b.is_ascii_hexdigit())));
    let lengths = |parts: [Option<&str>; 4]| parts.map(|part| part.map_or(0, str::len));
    let parts: [Option<&'a str>; 4] = std::array::from_fn(|_| parts.next().flatten());
    match (lengths(parts), parts) {
        ([2, 32, 16, 2], [_, Some(trace), ..]) if key == "traceparent" => trace,
        _ => value,
    }
}

impl Whose {
    /// Nothing heard yet. `listened`: the settings that are listened for, each here from the first savepoint on;
    /// `start`: values of settings in the start-up packet.
    pub fn new<'a>(
        session: u64,
        login: &str,
        listened: &'a [String],
        start: impl Iterator<Item = (&'a str, Option<&'a str>)>,
    ) -> Self {
        let listened = listened.iter().map(|name| (&**name, None));
        let mut whose = Self {
            settings: listened.chain(start).map(|(name, value)| (name.into(), Setting::new(value))).collect(),
            tags: Vec::new(),
            sent: Vec::new(),
            lookup: None,
            looked_up: false,
            transaction: Unit::of_session(session, 1),
            session,
            units: 1,
            between: None,
            pinned: None,
            login: login.into(),
            reported: [None, None],
            behind_end: false,
        };
        whose.begins_as(AUTHORIZATION, login);
        if whose.setting("role").is_none() {
            whose.begins_as("role", "none");
        }
        whose
    }

    fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).and_then(Setting::value).filter(|value| !value.is_empty())
    }

    /// The value of a setting that the server reports. It does so with ReadyForQuery; until then it is what was said, if
    /// the server keeps that as it is.
    fn value_of<'a>(&'a self, name: &str, reported: &'a str) -> Option<&'a str> {
        let said = self.settings.get(name).and_then(Setting::value);
        let before = REPORTED.iter().zip(&self.reported).find(|(of, _)| **of == name);
        if before.is_some_and(|(_, before)| said == before.as_deref()) {
            return Some(reported);
        }
        said.filter(|name| name.len() < NAME_LENGTH && name.bytes().all(|b| (b' '..=b'~').contains(&b)))
    }

    /// A setting as the session begins with it.
    pub fn begins_as(&mut self, name: &str, value: &str) {
        if let Some(setting) = self.settings.get_mut(name) {
            *setting = Setting::new(Some(value));
        }
        if name == AUTHORIZATION {
            self.login = value.into();
        }
        self.ready();
    }

    /// ReadyForQuery: what has been said by now has been reported.
    pub fn ready(&mut self) {
        for (name, reported) in REPORTED.iter().zip(&mut self.reported) {
            if let Some(setting) = self.settings.get(*name)
                && setting.value() != reported.as_deref()
            {
                *reported = setting.value().map(Into::into);
            }
        }
    }

    fn tag(&self, key: &str) -> Option<&str> {
        self.tags.iter().find(|(k, _)| **k == *key).map(|(_, value)| &**value)
    }

    fn each(&mut self, change: impl FnMut(&mut Setting)) {
        self.settings.values_mut().for_each(change);
    }

    /// SET SESSION AUTHORIZATION, as the server reports it.
    pub fn authorized(&mut self, login: &str) {
        self.login = login.into();
    }

    /// A unit that nobody else is.
    fn fresh(&mut self) -> Unit {
        self.units += 1;
        Unit::of_session(self.session, self.units)
    }

    fn over(&mut self, sticky: bool) {
        self.tags.clear();
        self.pinned = None;
        self.looked_up = false;
        self.transaction = self.fresh();
        if !sticky {
            self.lookup = None;
        }
    }
}

impl Session {
    /// The comments of this transaction's statements carry a tag of `context.learn_from`, or there is none.
    fn is_to_learn_from(&self) -> bool {
        let wanted = &self.shared.settings.scopes.learn_from;
        wanted.is_empty()
            || wanted
                .iter()
                .any(|tag| self.whose.tag(&tag.key).is_some_and(|value| like(&tag.pattern, value)))
    }

    /// What a statement's rows teach is for its own transaction only: they tell who is at work, not what, or its unit
    /// is none to learn from.
    pub fn teaches_transaction_only(&self, statement: Option<&StatementPlan>) -> bool {
        self.is_lookup(statement) || !self.is_to_learn_from()
    }

    /// It looks up who is at work: the first in its transaction that does.
    fn is_lookup(&self, statement: Option<&StatementPlan>) -> bool {
        let says = statement.and_then(|s| s.says.as_deref());
        !self.whose.looked_up && says.is_some_and(|says| says.lookup.is_some())
    }

    /// A statement is decided, or its answer looked at: under its label, in its unit.
    pub fn enter(&mut self, statement: &StatementPlan) {
        if self.observations.context().is_none() {
            return;
        }
        let says = statement.says.as_deref();
        for (key, value) in says.iter().flat_map(|says| &says.tags) {
            self.whose.tags.retain(|(k, _)| k != key);
            self.whose.tags.push((key.clone(), value.clone()));
        }
        let unit = self.unit();
        if self.whose.pinned.is_none() && touches(statement) && !self.is_lookup(Some(statement)) {
            self.whose.pinned = Some(unit);
        }
        self.go_under(unit);
    }

    /// Goes on under the label that holds now. Behind the end of a transaction that is yet to come, what this one has
    /// read and written stays with it.
    fn go_under(&mut self, unit: Unit) {
        let (label, behind_end) = (self.label(), self.whose.behind_end);
        let Some(scope) = self.observations.context() else { return };
        if behind_end {
            scope.suppose(label.as_deref(), unit);
        } else {
            scope.begin_unit(unit);
            scope.set_label(label.as_deref());
        }
    }

    /// Likewise before it is sent, unless what is on its way may change whose it is: then it waits, if that matters.
    pub fn enter_ahead(&mut self, statement: &StatementPlan) {
        if self.queue.is_empty() || !self.in_flight.may_change_scope(&self.observations) {
            self.enter(statement);
        }
    }

    /// Passes over a statement of a text that is about to be sent, as if it was carried out: what comes behind it in
    /// the text goes under its label. `heard`: what it says.
    pub fn pass_over(&mut self, statement: &StatementPlan, heard: Option<&Heard>) {
        if let Some(heard) = heard {
            self.hear(heard);
        }
        let rolls_back = matches!(statement.effect, Effect::Rollback { .. });
        match &statement.effect {
            Effect::Commit { .. } | Effect::Rollback { .. } | Effect::PrepareTransaction => {
                self.whose.each(if rolls_back { Setting::rollback } else { Setting::commit });
                self.transaction_said();
                self.whose.behind_end = true;
            }
            Effect::Savepoint(name) => self.whose.each(|setting| setting.savepoint(name)),
            Effect::Release(name) => self.whose.each(|setting| setting.release(name)),
            Effect::RollbackTo(name) => self.whose.each(|setting| setting.rollback_to(name)),
            Effect::ResetAll => self.reset_said(false),
            _ => {}
        }
    }

    /// Goes back to what has been said so far, once all statements of a text have been passed over.
    pub fn back_to(&mut self, said: Whose) {
        self.whose = said;
        if let Some(scope) = self.observations.context() {
            scope.suppose_no_more();
        }
    }

    fn unit(&self) -> Unit {
        let whose = &self.whose;
        let scopes = &self.shared.settings.scopes;
        let (sources, shared) = (scopes.unit.iter().enumerate(), scopes.store.is_some());
        let name = |(n, source): (usize, &UnitSource)| {
            let name = match source {
                UnitSource::Comment(key) => whose.tag(key).map(|value| request_name(key, value)),
                UnitSource::Setting(name) => whose.setting(name),
            };
            let (unit, name) = name.map(|name| (named(n, name, shared), name))?;
            self.shared.units.named(unit, name);
            Some(unit)
        };
        whose.pinned.or_else(|| sources.clone().find_map(name)).or(whose.between).unwrap_or(whose.transaction)
    }

    /// The label as logs and metrics may show it. A key that was looked up in a table that is not protected is likely
    /// to be that of a web session, with which whoever reads it could go on: it is shown as a hash.
    pub fn user(&self) -> Option<Cow<'_, str>> {
        static HASHER: OnceLock<RandomState> = OnceLock::new();
        let label = self.observations.label()?;
        let protected = |n: usize| {
            let view = self.view.as_ref().map(|seen| &seen.view);
            let table = view.and_then(|view| view.identities.get(n)).and_then(Option::as_ref);
            table.is_some_and(|t| view.is_some_and(|view| view.table_by_oid(t.oid).is_some()))
        };
        match &self.whose.lookup {
            Some((n, key)) if **key == *label && !protected(*n) => {
                Some(format!("~{:016x}", HASHER.get_or_init(RandomState::new).hash_one(label)).into())
            }
            _ => Some(label.into()),
        }
    }

    fn label(&self) -> Option<Box<str>> {
        let whose = &self.whose;
        let rules = &self.shared.labels.identities;
        let of = |source: &LabelSource| -> Option<Box<str>> {
            let label = match source {
                LabelSource::Comment(key) => whose.tag(key)?,
                LabelSource::Setting(name) => whose.setting(name)?,
                LabelSource::ApplicationName => {
                    whose.value_of(APPLICATION_NAME, &self.facts.application_name)?
                }
                LabelSource::Role => match whose.setting("role")? {
                    "none" => whose.value_of(AUTHORIZATION, &whose.login)?,
                    role => role,
                },
                LabelSource::Lookup(rule) => {
                    let (n, key) = whose.lookup.as_ref()?;
                    rules.get(*n).filter(|found| *found == rule)?;
                    key
                }
            };
            (!label.is_empty()).then(|| label.into())
        };
        self.shared.settings.scopes.label.iter().find_map(of)
    }

    /// What the transaction has read before it was known whose it is enters there.
    pub fn relabel(&mut self) {
        self.go_under(self.unit());
    }

    /// A statement goes to the server now. What it says may make later writes another's.
    pub fn sent_says(&mut self, statement: &StatementPlan) {
        let Some(says) = statement.says.as_deref().filter(|_| self.observations.context().is_some()) else {
            return;
        };
        let changes = !says.settings.is_empty() || says.lookup.is_some();
        if changes || !says.tags.is_empty() && says.tags != self.whose.sent {
            self.in_flight.may_be_anothers();
        }
        if !says.tags.is_empty() {
            self.whose.sent = says.tags.clone();
        }
    }

    /// The transaction has committed: what is known, and what was said in it.
    pub fn committed(&mut self) {
        let now = self.now();
        self.observations.commit(now);
        self.whose.each(Setting::commit);
        self.transaction_said();
    }

    /// The transaction has rolled back.
    pub fn rolled_back(&mut self) {
        let now = self.now();
        self.observations.rollback(now);
        self.whose.each(Setting::rollback);
        self.transaction_said();
    }

    /// The transaction is over, and what was said in it for it alone.
    fn transaction_said(&mut self) {
        let sticky = self.shared.settings.scopes.sticky;
        self.whose.over(sticky);
    }

    /// SAVEPOINT.
    pub fn savepoint(&mut self, name: &str) {
        self.observations.savepoint(name);
        self.whose.each(|setting| setting.savepoint(name));
    }

    /// RELEASE SAVEPOINT.
    pub fn release_savepoint(&mut self, name: &str) {
        self.observations.release(name);
        self.whose.each(|setting| setting.release(name));
    }

    /// ROLLBACK TO SAVEPOINT.
    pub fn rolled_back_to(&mut self, name: &str) {
        let now = self.now();
        self.observations.rollback_to(name, now);
        self.whose.each(|setting| setting.rollback_to(name));
    }

    /// PREPARE TRANSACTION: another session decides about it.
    pub fn prepared_transaction(&mut self) {
        let now = self.now();
        self.observations.forget_written(now);
        self.whose.each(Setting::commit);
        self.transaction_said();
    }

    /// RESET ALL; `all`: DISCARD ALL, which resets the role too.
    pub fn reset_said(&mut self, all: bool) {
        for (name, setting) in &mut self.whose.settings {
            // RESET ALL leaves these two.
            if all || !matches!(&**name, "role" | AUTHORIZATION) {
                setting.reset(false);
            }
        }
        self.whose.lookup = None;
        self.whose.between = None;
    }
}

/// It reads or writes rows of protected tables.
fn touches(statement: &StatementPlan) -> bool {
    !statement.teaches.is_empty() || statement.writes()
}
