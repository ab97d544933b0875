//! The plan of one text: plain facts, made once per text and cached, applied by the session.

use std::ops::Range;
use std::sync::Arc;

pub use super::prepare::{Execute, Prepare};
pub use super::reason::Reason;
pub use super::site::{GuardSite, Slot, Verb};
pub use crate::catalog::nested::Touched;
use crate::catalog::{Mode, Table};
use crate::sql::columns::ColumnSet;
pub use crate::sql::splice::Edit;

/// How the name of every hidden column begins.
pub const HIDDEN_ALIAS: &str = " AS __sg_";

/// Everything known about one text (a `Query` may hold several statements, a `Parse` at most one).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The statements in order; empty ones (`;;`) are left out, as the server sends no reply for them.
    pub statements: Vec<StatementPlan>,
    /// Highest `$n` in the text.
    pub max_param: u16,
}

impl Plan {
    /// Nothing that a session would have to do or remember.
    pub fn is_idle(&self) -> bool {
        self.statements.iter().all(|s| {
            s.effect == Effect::None
                && s.edits.is_empty()
                && s.hidden.is_empty()
                && s.teaches.is_empty()
                && s.point.is_none()
                && s.sites.is_empty()
                && s.unchecked.is_empty()
                && s.says.as_ref().is_none_or(|says| says.settings.is_empty() && says.lookup.is_none())
                && s.touches.is_empty()
                && s.prepares.is_none()
                && s.execute.is_none()
        })
    }

    /// An expected version is to be added to its first statement.
    pub fn takes_check(&self) -> bool {
        self.statements.first().and_then(|s| s.point.as_ref()).is_some_and(PointWrite::takes_check)
    }

    /// What is known of the row that its first statement writes counts for it: no own write may be in flight.
    pub fn compares_row(&self) -> bool {
        self.statements.first().and_then(|s| s.point.as_ref()).is_some_and(PointWrite::is_compared)
    }

    /// What is known of rows is to be added to its first statement, for the guard form.
    pub fn takes_guard(&self) -> bool {
        self.statements.first().is_some_and(StatementPlan::takes_guard)
    }

    /// The plan for the same text where its result must be the client's own: no hidden columns.
    pub fn with_own_result(&self) -> Self {
        let mut plan = self.clone();
        for statement in &mut plan.statements {
            statement.edits.retain(|e| !e.insert.contains(HIDDEN_ALIAS));
            statement.hidden.clear();
            statement.hidden_result = None;
        }
        plan
    }

    /// Its outcome may change what a scope knows of rows otherwise than by a read.
    pub fn moves_observations(&self) -> bool {
        self.statements.iter().any(|s| {
            let by_effect = !matches!(
                s.effect,
                Effect::None
                    | Effect::Begin
                    | Effect::Savepoint(_)
                    | Effect::Release(_)
                    | Effect::Names
                    | Effect::Text
                    | Effect::Catalog
                    | Effect::Declare { .. }
                    | Effect::Fetch { .. }
                    | Effect::Close(_)
                    | Effect::Prepare(_)
            );
            by_effect || s.writes() || !s.touches.is_empty()
        })
    }
}

/// One statement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatementPlan {
    /// Its bytes in the text, without the semicolon.
    pub range: Range<usize>,
    /// What its completion does to the session.
    pub effect: Effect,
    /// SELECT or DML: takes a snapshot, may read or write protected rows.
    pub is_query: bool,
    /// Edits made in every form: hidden columns, and the increment of writes that are never checked. Sorted by `at`,
    /// disjoint.
    pub edits: Vec<Edit>,
    /// Hidden columns that `edits` appends to the statement's result, in order; they are its last columns.
    pub hidden: Vec<HiddenColumn>,
    /// A RETURNING that the statement may get, and that the client must not see at all, rows, description and all.
    pub hidden_result: Option<HiddenResult>,
    /// The result has a `*` in its output list: its shape changes when a table gains a column.
    pub has_wildcard: bool,
    /// Protected tables that triggers, rules and foreign keys may change when it writes.
    pub touches: Vec<Touched>,
    /// Tables whose rows the statement's own result may teach, with what it shows beyond plain columns.
    pub teaches: Vec<Teach>,
    /// How rows that the result shows came about.
    pub result: ResultKind,
    /// The one write that can be checked in the predicate form.
    pub point: Option<PointWrite>,
    /// Writes whose increment is put in when the text is rendered, with a guard or without; that of `point` too.
    pub sites: Vec<GuardSite>,
    /// PREPARE: what it prepares.
    pub prepares: Option<Box<Prepare>>,
    /// EXECUTE: what it runs.
    pub execute: Option<Execute>,
    /// Every other write of a protected table: bumped where its clauses are certain, never checked.
    pub unchecked: Vec<UncheckedWrite>,
    /// What it tells of who is at work.
    pub says: Option<Box<Says>>,
}

impl StatementPlan {
    /// It writes rows of a protected table.
    pub fn writes(&self) -> bool {
        self.result != ResultKind::Read
            || self.point.is_some()
            || !self.sites.is_empty()
            || !self.unchecked.is_empty()
            || self.execute.as_ref().is_some_and(|e| e.runs)
    }

    /// It is an INSERT that updates nothing, and its rows matter.
    pub fn inserts(&self) -> bool {
        matches!(self.sites.as_slice(), [site] if site.verb == Verb::Insert)
    }

    /// Types of the hidden columns, in order.
    pub fn hidden_types(&self) -> impl Iterator<Item = u32> + '_ {
        self.hidden.iter().map(|h| h.type_oid)
    }

    /// What is known of rows may be added to it as a parameter, for the guard form.
    pub fn takes_guard(&self) -> bool {
        self.sites.iter().any(GuardSite::takes_parameter)
    }

    /// Its writes, but for the point, as they are if no guard is put in: bumped, not checked.
    pub fn unguarded(&self) -> Vec<UncheckedWrite> {
        let point = self.point.as_ref().map(|p| p.site);
        let sites = self.sites.iter().enumerate();
        let sites = sites.filter(|(n, site)| Some(*n) != point && site.verb != Verb::Insert);
        let sites = sites.map(|(_, site)| UncheckedWrite {
            table: site.table.root_name.clone(),
            root_oid: site.table.root_oid,
            reason: site.reason,
            keys: if site.moves_key { Vec::new() } else { site.keys.clone() },
        });
        sites.chain(self.unchecked.iter().cloned()).collect()
    }
}

/// What a statement tells of who is at work, where the scope `context` listens for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Says {
    /// Tags of its comments: key and value.
    pub tags: Vec<(Box<str>, Box<str>)>,
    /// Settings that it changes.
    pub settings: Vec<SettingChange>,
    /// It looks up a user or session by key.
    pub lookup: Option<Lookup>,
}

/// A setting (GUC) that a statement changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingChange {
    /// Its name in lower case.
    pub name: Box<str>,
    /// What it is changed to.
    pub value: NewValue,
    /// For the transaction only; `None`: not told by the text.
    pub local: Option<bool>,
}

/// The new value of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewValue {
    /// A constant or a parameter.
    Value(Operand),
    /// What it was at the session's start.
    Default,
    /// The text does not tell.
    Unknown,
}

/// A SELECT of one row of an identity table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// The table.
    pub table: Arc<Table>,
    /// Index of the column into the table's `columns`.
    pub column: usize,
    /// The value looked up.
    pub value: Operand,
}

/// What a statement's result rows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResultKind {
    /// A read.
    #[default]
    Read,
    /// `RETURNING` of INSERT, UPDATE or MERGE: the row as the statement left it.
    Written,
    /// `RETURNING` of DELETE: the row is gone.
    Deleted,
}

/// One hidden column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HiddenColumn {
    /// Relation OID it belongs to.
    pub table_oid: u32,
    /// Index into the table's `columns`.
    pub column: usize,
    /// Its type, as [`crate::catalog::Column`] has it.
    pub type_oid: u32,
}

/// A RETURNING of key and version, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HiddenResult {
    /// Where it goes: behind the statement's last token.
    pub at: usize,
    /// ` RETURNING ..`.
    pub returning: Box<str>,
    /// The table written.
    pub table: Arc<Table>,
    /// Of a DELETE: the rows are gone.
    pub deleted: bool,
}

/// A table named exactly once in a statement without data-modifying CTE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Teach {
    /// The relation.
    pub table: Arc<Table>,
    /// Columns named in output expressions (`upper(name)`), beside those RowDescription names.
    pub shown: ColumnSet,
    /// Rows of a write that also matter where nothing beyond the key is shown: they tell which rows it changed.
    pub always: bool,
    /// Its rows are locked for writing, and its entry says that such a read counts for the unit that makes it.
    pub refreshes: bool,
}

/// A constant of the text or a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operand {
    /// A literal in its canonical form (see [`crate::sql`]'s keys).
    Literal(Box<str>),
    /// `$n`, one-based.
    Param(u16),
    /// Any element of the array `$n`. Only among the keys of a [`GuardSite`] or an [`UncheckedWrite`], where one
    /// entry then stands for as many rows.
    Elements(u16),
}

/// Where the expected version comes from, as far as the text tells (DESIGN.md section 3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionSource {
    /// The text says nothing: what the scope has observed.
    Observed,
    /// `WHERE id = 1 AND version = 5`: the app guards itself, no predicate of ours.
    InPredicate(Operand),
    /// `SET version = 5`: the assignment became the increment, the value is the expectation.
    WrittenBack(Operand),
    /// `/* expected_version=5 */`.
    Hint(i64),
}

/// A write of exactly one row named by its primary key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointWrite {
    /// The relation written.
    pub table: Arc<Table>,
    /// How the text must refer to its columns: alias or table name, as spelled (`"P"`, `projects`).
    pub reference: Box<str>,
    /// The FROM item of the probe: the target as spelled, with ONLY and alias (`public.projects AS p`).
    pub target: Box<str>,
    /// UPDATE or DELETE.
    pub verb: Verb,
    /// Its place in the statement's `sites`: where the increment goes, and what the guard form needs.
    pub site: usize,
    /// Key values in key order.
    pub key: Vec<Operand>,
    /// Columns it sets, without the version column and ignored ones; empty for a DELETE.
    pub sets: ColumnSet,
    /// Every assignment is of the self-relative kind (`c = c + e`): no check, the increment only.
    pub self_relative: bool,
    /// Where the expected version comes from.
    pub source: VersionSource,
    /// Just behind the WHERE keyword's condition start: where `(` goes.
    pub open_at: usize,
    /// Just behind the condition's last token: where `) AND t.version = ..` goes.
    pub check_at: usize,
    /// The WHERE without the key's conjuncts.
    pub rest: Rest,
    /// The condition that names the key, as spelled, fit for the probe's WHERE.
    pub key_condition: Box<str>,
    /// The write moves the row's key (sets a key column): both keys are forgotten.
    pub moves_key: bool,
    /// A row that the target does not show may be there all the same: row security, a view with a WHERE, a partition,
    /// ONLY of a table with partitions or children.
    pub partial: bool,
    /// The write may be sent in the predicate form. False for one that could be checked but for the place it
    /// stands in; such a write is bumped only.
    pub predicate_allowed: bool,
}

impl PointWrite {
    /// As a write that is only bumped.
    pub fn unchecked(self, reason: Reason) -> UncheckedWrite {
        UncheckedWrite {
            table: self.table.root_name.clone(),
            root_oid: self.table.root_oid,
            reason,
            keys: if self.moves_key { Vec::new() } else { vec![self.key] },
        }
    }

    /// True if an expected version is to be added to the condition: the application does not guard itself, and
    /// the write could overwrite another's change.
    pub fn takes_check(&self) -> bool {
        self.is_compared() && self.table.settings.mode == Mode::Enforce
    }

    /// Mode `observe`: it would take a check.
    pub fn is_observed(&self) -> bool {
        self.is_compared() && self.table.settings.mode == Mode::Observe
    }

    /// Its row's version is compared with what is known: by the predicate, or in mode `observe` when it is returned.
    pub fn is_compared(&self) -> bool {
        self.predicate_allowed
            && self.is_checked()
            && !self.self_relative
            && !matches!(self.source, VersionSource::InPredicate(_))
    }

    /// False for a DELETE from a table that does not have them checked.
    pub fn is_checked(&self) -> bool {
        self.verb != Verb::Delete || self.table.settings.check_delete
    }
}

/// The conditions of a point write beside its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rest {
    /// None.
    None,
    /// Only comparisons and immutable built-ins: the probe may evaluate it, as spelled.
    Evaluable(Box<str>),
    /// Not evaluable: taken as true.
    Opaque,
}

/// A write that is not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UncheckedWrite {
    /// Root table name: the metric label.
    pub table: Box<str>,
    /// Root OID of the table written (0 where only a view or COPY is known).
    pub root_oid: u32,
    /// Why.
    pub reason: Reason,
    /// The keys of the rows written, each in key order, where the text names all of them; empty where it does
    /// not: then any row of the table may be among them.
    pub keys: Vec<Vec<Operand>>,
}

/// What a statement's completion does to the session's state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Effect {
    /// Nothing the session keeps.
    #[default]
    None,
    /// BEGIN, START TRANSACTION.
    Begin,
    /// COMMIT, END; with AND CHAIN.
    Commit {
        /// AND CHAIN.
        chain: bool,
    },
    /// ROLLBACK, ABORT; with AND CHAIN.
    Rollback {
        /// AND CHAIN.
        chain: bool,
    },
    /// SAVEPOINT name.
    Savepoint(Box<str>),
    /// ROLLBACK TO name.
    RollbackTo(Box<str>),
    /// RELEASE name.
    Release(Box<str>),
    /// PREPARE TRANSACTION.
    PrepareTransaction,
    /// DISCARD ALL.
    DiscardAll,
    /// RESET ALL.
    ResetAll,
    /// DEALLOCATE name, or ALL (`None`).
    Deallocate(Option<Box<str>>),
    /// SET ROLE, SET SESSION AUTHORIZATION, RESET of them: another role, observations go.
    Role,
    /// Names may resolve otherwise in this session (SET search_path, set_config, RESET of it): look again.
    Names,
    /// CALL, DO: outside a block what they run may commit.
    Call {
        /// It may be as [`Self::Names`].
        names: bool,
    },
    /// Texts are read otherwise from here on: SET standard_conforming_strings, SET client_encoding.
    Text,
    /// DDL: the catalog holds something else, for everybody.
    Catalog,
    /// TRUNCATE: root OIDs of protected tables emptied.
    Truncate(Vec<u32>),
    /// DECLARE name CURSOR: the statement's own plan tells what a FETCH from it teaches.
    Declare {
        /// The cursor.
        name: Box<str>,
        /// WITH HOLD: it outlives its transaction, if that commits.
        hold: bool,
    },
    /// FETCH, MOVE from a cursor.
    Fetch {
        /// The cursor.
        name: Box<str>,
        /// MOVE: no rows are shown.
        moves: bool,
    },
    /// CLOSE name, or ALL (`None`).
    Close(Option<Box<str>>),
    /// PREPARE name: the statement's own plan tells what an EXECUTE of it does.
    Prepare(Box<str>),
    /// EXECUTE name, also under EXPLAIN ANALYZE and CREATE TABLE AS.
    Execute(Box<str>),
}
