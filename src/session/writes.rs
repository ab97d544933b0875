//! What one protected write rests on, decided when it is sent and settled when its reply is in.

use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use crate::catalog::{Blind, Mode};
use crate::conflict::Source;
use crate::observe::{Cause, Lookup, RowKey, Scope};
use crate::rewrite::plan::{Operand, Plan, PointWrite, Reason, Verb, VersionSource};
use crate::sql::code::Code;
use crate::sql::encoding::Encoding;
use crate::sql::keys::{self, KeyType};
use crate::sql::lexer::{self, LexOptions};
use crate::sql::operand::{self, List, Value};
use crate::wire::read::Bind;

use super::observed::{Expectation, Sighting};
use super::prepared::Prepared;

/// Parameter values of a Bind that the probe needs again.
#[derive(Debug)]
pub(crate) struct BoundValues {
    pub formats: Vec<i16>,
    pub values: Vec<Option<Vec<u8>>>,
}

/// How a point write was sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Stance {
    /// With the predicate; zero rows ask for a verdict.
    Checked { expected: i64, source: Source, seen: Option<Sighting> },
    /// Mode `observe`: without the predicate; zero rows, and the version that the row had, are only reported on.
    Observed { expected: i64, source: Source, seen: Option<Sighting> },
    /// Nobody knows what it is based on.
    Blind(Cause),
    /// Likewise, and the table refuses that: it is sent with a version that no row has, and refused if the row is
    /// there.
    Refused(Cause),
    /// It cannot overwrite anyone's change.
    SelfRelative,
    /// The app guards itself; zero rows pass, and are counted where they are a conflict.
    Explicit {
        /// The version in its condition, where it can be read and probed for.
        expected: Option<i64>,
    },
    /// In the guard form, since the predicate form does not fit for this reason.
    Guarded,
    /// Not checked for this reason.
    Unchecked(Reason),
}

/// A point write in flight.
#[derive(Debug)]
pub(crate) struct Write {
    /// The plan whose first statement it is.
    pub plan: Arc<Plan>,
    /// The row, if its key could be made canonical.
    pub row: Option<RowKey>,
    /// Key values in key order, canonical.
    pub key: Vec<Box<str>>,
    pub stance: Stance,
    /// The extended protocol's statement, for the types of its parameters.
    pub prepared: Option<Rc<Prepared>>,
    pub values: Option<BoundValues>,
}

impl Write {
    pub fn point(&self) -> Option<&PointWrite> {
        self.plan.statements.first().and_then(|s| s.point.as_ref())
    }
}

/// Where parameter values come from: nowhere in a simple Query.
pub(crate) struct Values<'a> {
    pub bind: Option<&'a Bind<'a>>,
    /// Of an EXECUTE.
    pub arguments: Option<Arguments<'a>>,
    pub oids: &'a [u32],
    pub encoding: Encoding,
}

/// The arguments of an EXECUTE, as its text has them.
pub(crate) struct Arguments<'a> {
    pub text: &'a [u8],
    pub ranges: &'a [Range<usize>],
    pub lex: &'a LexOptions,
}

impl Arguments<'_> {
    /// Argument `i` as a constant of this type; `None` if it is none, or was declared as of another kind.
    fn constant(&self, i: usize, ty: KeyType, declared: u32) -> Option<Box<str>> {
        let argument = self.text.get(self.ranges.get(i)?.clone())?;
        let tokens = lexer::lex(argument, self.lex).ok()?.tokens;
        let code = Code { src: argument, tokens: &tokens };
        match operand::value(code, 0..tokens.len(), ty, self.lex)? {
            Value::Literal(text) => {
                keys::canonical_param(ty, declared, 0, self.lex.encoding, text.as_bytes())
            }
            Value::Param(_) => None,
        }
    }

    /// Argument `i` as an array of constants of this type.
    fn constants(&self, i: usize, ty: KeyType, declared: u32) -> Option<Vec<Box<str>>> {
        let argument = self.text.get(self.ranges.get(i)?.clone())?;
        let tokens = lexer::lex(argument, self.lex).ok()?.tokens;
        let code = Code { src: argument, tokens: &tokens };
        let List::Values(values) = operand::list(code, 0..tokens.len(), ty, self.lex)? else { return None };
        // Of a type whose elements are compared with the key.
        keys::canonical_elements(ty, declared, 0, self.lex.encoding, b"{}")?;
        let constant = |value| match value {
            Value::Literal(text) => Some(text),
            Value::Param(_) => None,
        };
        values.into_iter().map(constant).collect()
    }
}

impl Values<'_> {
    pub fn key(&self, ty: KeyType, operand: &Operand) -> Option<Box<str>> {
        match operand {
            Operand::Literal(text) => Some(text.clone()),
            Operand::Param(n) => {
                let i = usize::from(*n).checked_sub(1)?;
                if let Some(arguments) = &self.arguments {
                    return arguments.constant(i, ty, self.oids.get(i).copied().unwrap_or(0));
                }
                let bind = self.bind?;
                let value = bind.param(i)??;
                keys::canonical_param(
                    ty,
                    self.oids.get(i).copied().unwrap_or(0),
                    bind.param_format(i),
                    self.encoding,
                    value,
                )
            }
            Operand::Elements(_) => None,
        }
    }

    /// The keys in an array parameter; none if it is NULL.
    pub fn elements(&self, ty: KeyType, n: u16) -> Option<Vec<Box<str>>> {
        let i = usize::from(n).checked_sub(1)?;
        if let Some(arguments) = &self.arguments {
            return arguments.constants(i, ty, self.oids.get(i).copied().unwrap_or(0));
        }
        let bind = self.bind?;
        let Some(value) = bind.param(i)? else { return Some(Vec::new()) };
        let declared = self.oids.get(i).copied().unwrap_or(0);
        keys::canonical_elements(ty, declared, bind.param_format(i), self.encoding, value)
    }

    pub fn int(&self, operand: &Operand) -> Option<i64> {
        match operand {
            Operand::Literal(text) => text.parse().ok(),
            Operand::Param(n) => {
                let i = usize::from(*n).checked_sub(1)?;
                let declared = self.oids.get(i).copied().unwrap_or(0);
                if let Some(arguments) = &self.arguments {
                    return arguments.constant(i, KeyType::Int8, declared)?.parse().ok();
                }
                let bind = self.bind?;
                let value = bind.param(i)??;
                keys::int_param(self.oids.get(i).copied().unwrap_or(0), bind.param_format(i), value)
            }
            Operand::Elements(_) => None,
        }
    }
}

/// The key of a point write in canonical form.
pub(crate) fn row_of(point: &PointWrite, values: &Values<'_>) -> Option<(RowKey, Vec<Box<str>>)> {
    let mut parts = Vec::with_capacity(point.key.len());
    for (column, operand) in point.table.key_columns().zip(&point.key) {
        parts.push(values.key(KeyType::from_oid(column.type_oid)?, operand)?);
    }
    if parts.is_empty() || parts.len() != point.table.key.len() {
        return None;
    }
    Some((RowKey { table: point.table.root_oid, key: keys::join_key(&parts) }, parts))
}

/// Decides how a point write is sent. `check` is false where the place of the statement forbids the
/// predicate form, for the reason given.
pub(crate) fn decide(
    plan: &Arc<Plan>,
    values: &Values<'_>,
    allowed: Result<(), Reason>,
    observations: &mut Scope,
    now: std::time::Instant,
) -> Option<Write> {
    let point = plan.statements.first()?.point.as_ref()?;
    let named = row_of(point, values);
    let (row, key) = match named {
        Some((row, key)) => (Some(row), key),
        None => (None, Vec::new()),
    };
    let stance = match stance(point, row.as_ref(), values, allowed, observations, now) {
        Stance::Checked { expected, source, seen } if point.table.settings.mode == Mode::Observe => {
            Stance::Observed { expected, source, seen }
        }
        stance => stance,
    };
    Some(Write { plan: plan.clone(), row, key, stance, prepared: None, values: None })
}

fn stance(
    point: &PointWrite,
    row: Option<&RowKey>,
    values: &Values<'_>,
    allowed: Result<(), Reason>,
    observations: &mut Scope,
    now: std::time::Instant,
) -> Stance {
    if let VersionSource::InPredicate(operand) = &point.source {
        use crate::catalog::ExplicitPredicate;
        return match (point.table.settings.explicit_predicate, values.int(operand)) {
            (ExplicitPredicate::Error, Some(expected)) if allowed.is_ok() && row.is_some() => {
                Stance::Checked { expected, source: Source::Predicate, seen: None }
            }
            (_, expected) => {
                Stance::Explicit { expected: expected.filter(|_| allowed.is_ok() && row.is_some()) }
            }
        };
    }
    if point.self_relative {
        return Stance::SelfRelative;
    }
    if !point.is_checked() {
        return Stance::Unchecked(Reason::Delete);
    }
    if allowed.is_err() {
        return Stance::Guarded;
    }
    let strict = point.table.settings.blind == Blind::Reject;
    let Some(row) = row else {
        // Its guard compares keys in the server, whatever form they have here.
        let guarded = strict || point.verb == Verb::Update;
        return if guarded { Stance::Guarded } else { Stance::Unchecked(Reason::UnknownKey) };
    };
    if !point.predicate_allowed {
        return Stance::Unchecked(Reason::StatementTrigger);
    }
    if let VersionSource::WrittenBack(operand) = &point.source
        && let Some(n) = values.int(operand)
    {
        let expected = observations.written_back(row, n, &point.sets, now).expected();
        return Stance::Checked { expected, source: Source::WrittenBack, seen: None };
    }
    if let VersionSource::Hint(expected) = point.source {
        return Stance::Checked { expected, source: Source::Hint, seen: None };
    }
    match observations.expected(row, &point.sets, now) {
        Lookup::Known { version, seen_at, unit, .. } => {
            let seen = Some(Sighting::new(seen_at, unit, now));
            Stance::Checked { expected: version, source: Source::Observed, seen }
        }
        Lookup::Unknown(cause) if strict => Stance::Refused(cause),
        Lookup::Unknown(cause) => Stance::Blind(cause),
    }
}

impl Write {
    /// Zero rows of it ask for a verdict.
    pub fn is_checked(&self) -> bool {
        self.expected().is_some()
    }

    /// The version that zero rows are judged by.
    pub fn expected(&self) -> Option<i64> {
        match self.stance {
            Stance::Checked { expected, .. } | Stance::Observed { expected, .. } => Some(expected),
            Stance::Explicit { expected } => expected,
            Stance::Refused(_) => self.point().map(|p| p.table.version_type.lowest()),
            _ => None,
        }
    }

    /// It is refused if the row is there.
    pub fn is_refused(&self) -> bool {
        matches!(self.stance, Stance::Refused(_))
    }

    /// The version that the row had if the write has landed; in mode `observe`, that it should have had.
    pub fn basis(&self) -> Option<i64> {
        match self.stance {
            Stance::Checked { expected, .. } | Stance::Observed { expected, .. } => Some(expected),
            _ => None,
        }
    }

    /// What it would have been checked against, in mode `observe`.
    pub fn observed(&self) -> Option<Expectation> {
        match self.stance {
            Stance::Observed { expected, source, seen } => {
                Some(Expectation { key: self.key.clone(), expected, source, seen })
            }
            _ => None,
        }
    }

    /// The version that goes into a predicate of ours.
    pub fn predicate(&self) -> Option<i64> {
        match self.stance {
            Stance::Checked { source: Source::Predicate, .. } => None,
            Stance::Checked { expected, .. } => Some(expected),
            Stance::Refused(_) => self.expected(),
            _ => None,
        }
    }

    /// Its check, if any, is in its guard.
    pub fn is_guarded(&self) -> bool {
        self.stance == Stance::Guarded
    }

    /// A conflict is counted, and the server's own reply passes.
    pub fn reports_only(&self) -> bool {
        matches!(self.stance, Stance::Explicit { .. } | Stance::Observed { .. })
    }
}
