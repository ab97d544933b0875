//! What result rows teach, and how hidden columns leave them.

use std::rc::Rc;

use smallvec::SmallVec;

use super::guards::Guards;
use super::prepared::Portal;
use super::state::Session;
use super::writes::Write;
use super::written::Basis;
use crate::catalog::{Table, VersionType, View};
use crate::observe::RowKey;
use crate::rewrite::plan::{HiddenResult, ResultKind, StatementPlan, Teach};
use crate::sql::columns::ColumnSet;
use crate::sql::encoding::Encoding;
use crate::sql::keys::{self, KeyType};
use crate::wire::read::{Field, read_data_row};

/// Reads rows of one result.
#[derive(Debug, Default)]
pub(crate) struct Learner {
    tables: Vec<Source>,
    written: Vec<u32>,
    /// Root OIDs of tables of which the result shows something, but not which row.
    obscured: Vec<u32>,
    /// How many columns at the end of each row are not the client's.
    pub hidden: usize,
    /// What the rows are.
    pub kind: ResultKind,
    /// The whole result is not the client's.
    pub swallows: bool,
    /// What reads teach is for their own transaction only.
    pub transaction_only: bool,
    /// What the write behind the rows is based on.
    pub basis: Option<Basis>,
}

#[derive(Debug)]
struct Source {
    root_oid: u32,
    key: SmallVec<[(usize, KeyType, i16); 2]>,
    /// `None`: it is not shown (of a cursor's rows and of inserted ones only).
    version: Option<(usize, VersionType, i16)>,
    shown: ColumnSet,
    refreshes: bool,
}

/// A row that the client was shown.
#[derive(Debug)]
pub(crate) struct Taught<'a> {
    pub row: RowKey,
    /// `None`: the version was not shown.
    pub version: Option<i64>,
    /// Columns beyond the key; may be empty where a cursor is read, or a row was inserted.
    pub shown: &'a ColumnSet,
    /// The read counts for the unit that makes it.
    pub refreshes: bool,
}

/// Which tables of a result are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reads {
    /// Those that it teaches.
    Taught,
    /// All whose rows can be told: also where the version, or anything beyond the key, is not shown.
    Told,
}

impl Learner {
    /// From a result's columns as described, in the formats in which its rows come (`format`).
    pub fn new(plan: &StatementPlan, view: &View, fields: &[Field], format: impl Fn(usize) -> i16) -> Self {
        // A row that is new replaces what is known under its key, whatever is shown of it.
        let reads = if plan.inserts() { Reads::Told } else { Reads::Taught };
        Self::reading(plan, view, fields, reads, format)
    }

    /// Likewise for what a cursor of this plan shows: every row that it stands on is told, with its version or without.
    pub fn of_cursor(
        plan: &StatementPlan,
        view: &View,
        fields: &[Field],
        format: impl Fn(usize) -> i16,
    ) -> Self {
        Self::reading(plan, view, fields, Reads::Told, format)
    }

    fn reading(
        plan: &StatementPlan,
        view: &View,
        fields: &[Field],
        reads: Reads,
        format: impl Fn(usize) -> i16,
    ) -> Self {
        let mut obscured = Vec::new();
        let hidden = plan.hidden.len().min(fields.len());
        let visible = fields.len() - hidden;
        let tables = plan
            .teaches
            .iter()
            .filter_map(|teach| {
                // The table as this session's view has it now: a plan may be older than a partition's OID.
                let table = view.table_by_oid(teach.table.oid)?;
                let source = source(table, teach, plan, fields, visible, reads, &format);
                if source.is_none() {
                    obscured.push(table.root_oid);
                }
                source
            })
            .collect();
        let tables: Vec<Source> = tables;
        let written = match plan.result {
            ResultKind::Written => tables.iter().map(|t| t.root_oid).collect(),
            _ => Vec::new(),
        };
        Self { tables, written, hidden, kind: plan.result, obscured, ..Self::default() }
    }

    /// Of a result of the proxy's own, in text format.
    pub fn of_hidden(hidden: &HiddenResult, view: Option<&View>) -> Self {
        let table = view.and_then(|v| v.table_by_oid(hidden.table.oid)).unwrap_or(&hidden.table);
        let key: Option<SmallVec<[(usize, KeyType, i16); 2]>> = table
            .key_columns()
            .enumerate()
            .map(|(n, column)| Some((n, KeyType::from_oid(column.type_oid)?, 0)))
            .collect();
        let source = key.map(|key| Source {
            root_oid: table.root_oid,
            version: Some((key.len(), table.version_type, 0)),
            key,
            shown: ColumnSet::new(),
            refreshes: false,
        });
        let tables: Vec<Source> = source.into_iter().collect();
        let kind = if hidden.deleted { ResultKind::Deleted } else { ResultKind::Written };
        let written = if hidden.deleted { Vec::new() } else { tables.iter().map(|t| t.root_oid).collect() };
        Self { tables, written, kind, swallows: true, ..Self::default() }
    }

    /// The rows tell key and version of the table.
    pub fn tells(&self, root_oid: u32) -> bool {
        self.tables.iter().any(|t| t.root_oid == root_oid)
    }

    /// Learns nothing, and takes hidden columns out.
    pub fn stripping(hidden: usize) -> Self {
        Self { hidden, ..Self::default() }
    }

    /// Root OIDs of tables whose rows the result does not tell apart, or not by version.
    pub fn obscured(&self) -> &[u32] {
        &self.obscured
    }

    /// Root OIDs of the tables whose rows the result shows as the statement wrote them.
    pub fn written(&self) -> &[u32] {
        &self.written
    }

    /// There is nothing to learn from the rows, and nothing to take out of them.
    pub fn passes(&self) -> bool {
        self.tables.is_empty() && self.hidden == 0 && !self.swallows
    }

    /// Reads one DataRow body; rows whose key or version is null or not canonical teach nothing.
    pub fn row<'s>(&'s self, body: &[u8], encoding: Encoding, mut learn: impl FnMut(Taught<'s>)) {
        if self.tables.is_empty() {
            return;
        }
        let Some(row) = read_data_row(body) else { return };
        let values: SmallVec<[Option<&[u8]>; 16]> = row.fields().collect();
        let value = |i: usize| values.get(i).copied().flatten();
        for source in &self.tables {
            if let Some((row, version)) = source.read(encoding, value) {
                learn(Taught { row, version, shown: &source.shown, refreshes: source.refreshes });
            }
        }
    }
}

impl Source {
    fn read<'v>(
        &self,
        encoding: Encoding,
        value: impl Fn(usize) -> Option<&'v [u8]>,
    ) -> Option<(RowKey, Option<i64>)> {
        let version = match self.version {
            Some((index, ty, format)) => Some(keys::int_param(ty.oid(), format, value(index)?)?),
            None => None,
        };
        let canonical = |i: usize, ty: KeyType, format: i16| {
            keys::canonical_param(ty, ty.oid(), format, encoding, value(i)?)
        };
        let key = match self.key.as_slice() {
            [(i, ty, format)] => canonical(*i, *ty, *format)?,
            several => {
                let mut parts: SmallVec<[Box<str>; 4]> = SmallVec::new();
                for (i, ty, format) in several {
                    parts.push(canonical(*i, *ty, *format)?);
                }
                keys::join_key(&parts)
            }
        };
        Some((RowKey { table: self.root_oid, key }, version))
    }
}

fn source(
    table: &Table,
    teach: &Teach,
    plan: &StatementPlan,
    fields: &[Field],
    visible: usize,
    reads: Reads,
    format: &impl Fn(usize) -> i16,
) -> Option<Source> {
    let position = |column: usize| {
        let attnum = table.columns.get(column)?.attnum;
        let hidden = plan.hidden.iter().position(|h| h.table_oid == table.oid && h.column == column);
        match hidden {
            Some(i) => Some(visible + i),
            None => {
                fields.get(..visible)?.iter().position(|f| f.table_oid == table.oid && f.attnum == attnum)
            }
        }
    };
    let mut key = SmallVec::new();
    for column in &table.key {
        let ty = KeyType::from_oid(table.columns.get(*column)?.type_oid)?;
        let at = position(*column)?;
        key.push((at, ty, format(at)));
    }
    if key.is_empty() {
        return None;
    }
    let version = position(table.version).map(|at| (at, table.version_type, format(at)));
    let mut shown = teach.shown.clone();
    for field in fields.get(..visible)? {
        if field.table_oid == table.oid
            && let Some(column) = table.column_by_attnum(field.attnum)
        {
            shown.insert(column.slot);
        }
    }
    let key_slots: ColumnSet = table.key_columns().map(|c| c.slot).collect();
    shown.subtract(&key_slots);
    if reads == Reads::Taught && (shown.is_empty() && !teach.always || version.is_none()) {
        return None;
    }
    Some(Source { root_oid: table.root_oid, key, version, shown, refreshes: teach.refreshes })
}

/// Makes a learner for the rows of an Execute, from the layout and the formats bound.
pub(super) fn portal_learner(session: &Session, portal: &Portal) -> Learner {
    let prepared = &portal.prepared;
    let (guards, write) = (portal.guards.borrow(), portal.write.borrow());
    if let Some(statement) = prepared.statement().filter(|_| prepared.hidden_result)
        && let Some(learner) = hidden_learner(session, statement, guards.as_ref(), write.as_ref())
    {
        return learner;
    }
    let layout = prepared.layout.borrow().clone();
    let empty: Rc<[Field]> = Rc::from(Vec::new());
    let fields = layout.unwrap_or(empty);
    let acting = portal.acting();
    let mut learner = match (acting.statement(), session.view.as_ref()) {
        (Some(statement), Some(seen)) => Learner::new(statement, &seen.view, &fields, |i| portal.format(i)),
        _ => Learner::default(),
    };
    portal.shows.through(&learner);
    learner.hidden = prepared.hidden;
    learner.transaction_only = session.teaches_transaction_only(acting.statement());
    if let Some(statement) = acting.statement().filter(|s| s.result != ResultKind::Read) {
        learner.basis = Basis::new(statement, guards.as_ref(), write.as_ref());
    }
    learner
}

/// Makes a learner for the rows of a hidden result.
pub(super) fn hidden_learner(
    session: &Session,
    statement: &StatementPlan,
    guards: Option<&Guards>,
    write: Option<&Write>,
) -> Option<Learner> {
    let hidden = statement.hidden_result.as_ref()?;
    let mut learner = Learner::of_hidden(hidden, session.view.as_ref().map(|seen| &*seen.view));
    learner.basis = Basis::new(statement, guards, write);
    Some(learner)
}
