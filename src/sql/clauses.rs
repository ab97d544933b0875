//! The clauses of each statement kind as ranges of tokens.
//!
//! Every finder is given the index of the statement's first word and one past its last token, and answers
//! `None` where the clauses are not certain. A statement inside brackets (a WITH body) is found the same way:
//! clause words count only on the bracket level of the statement itself.

use std::ops::Range;

use smallvec::SmallVec;

use super::code::{Code, Keyword, MAX_NESTING};
use super::relation::{Relation, relation, target};
use super::token::TokenKind;

/// One `name AS (body)` of a WITH clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cte {
    /// The token of its name.
    pub name: usize,
    /// The tokens of its body, without the parentheses.
    pub body: Range<usize>,
}

/// A WITH clause, and the statement behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct With {
    /// Its queries in order.
    pub ctes: SmallVec<[Cte; 2]>,
    /// The first token of the statement that uses them.
    pub main: usize,
}

/// `UPDATE target SET .. FROM .. WHERE .. RETURNING ..`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// The table written.
    pub target: Relation,
    /// The assignments.
    pub set: Range<usize>,
    /// The FROM list.
    pub from: Option<Range<usize>>,
    /// The condition behind WHERE.
    pub condition: Option<Range<usize>>,
    /// The list behind RETURNING.
    pub returning: Option<Range<usize>>,
}

/// `DELETE FROM target USING .. WHERE .. RETURNING ..`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete {
    /// The table written.
    pub target: Relation,
    /// The USING list.
    pub using: Option<Range<usize>>,
    /// The condition behind WHERE.
    pub condition: Option<Range<usize>>,
    /// The list behind RETURNING.
    pub returning: Option<Range<usize>>,
}

/// `INSERT INTO target (columns) .. ON CONFLICT .. DO UPDATE SET .. WHERE .. RETURNING ..`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Insert {
    /// The table written.
    pub target: Relation,
    /// The column names between the parentheses.
    pub columns: Option<Range<usize>>,
    /// The rows behind VALUES.
    pub values: Option<Range<usize>>,
    /// What it conflicts on: the list between the parentheses behind ON CONFLICT.
    pub conflict_target: Option<Range<usize>>,
    /// The assignments of DO UPDATE.
    pub set: Option<Range<usize>>,
    /// The list behind RETURNING.
    pub returning: Option<Range<usize>>,
}

/// `MERGE INTO target USING .. ON .. WHEN .. THEN ..`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merge {
    /// The table written.
    pub target: Relation,
    /// The assignments of each `THEN UPDATE SET`.
    pub sets: SmallVec<[Range<usize>; 2]>,
    /// The list behind RETURNING.
    pub returning: Option<Range<usize>>,
}

/// `SELECT list FROM .. WHERE ..`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Select {
    /// DISTINCT or DISTINCT ON.
    pub distinct: bool,
    /// The output list; empty if there is none.
    pub list: Range<usize>,
    /// The FROM list.
    pub from: Option<Range<usize>>,
    /// GROUP BY or HAVING.
    pub grouped: bool,
    /// UNION, INTERSECT or EXCEPT: the list is that of the first operand.
    pub set_operation: bool,
    /// INTO.
    pub into: bool,
    /// The list behind ORDER BY and all that follows.
    pub order: Option<Range<usize>>,
}

/// Reads a WITH clause that begins at `i`.
pub fn with(code: Code<'_>, i: usize, end: usize) -> Option<With> {
    let depth = code.depth(i);
    let mut i = i + 1 + usize::from(code.word(i + 1, "recursive"));
    let mut ctes = SmallVec::new();
    loop {
        let name = i;
        let mut open = cte_open(code, name)?;
        open += usize::from(code.word(open, "not"));
        open += usize::from(code.word(open, "materialized"));
        if !code.is(open, TokenKind::LParen) {
            return None;
        }
        let close = code.close(open);
        if close >= end {
            return None;
        }
        ctes.push(Cte { name, body: open + 1..close });
        i = close + 1;
        if code.any_word(i, &["search", "cycle"]) {
            // SEARCH and CYCLE hold lists of column names: the next query, or the statement, ends them.
            i = (i + 1..end).find(|n| {
                code.depth(*n) == depth
                    && (is_statement(code, *n)
                        || code.is(*n, TokenKind::Comma) && cte_open(code, *n + 1).is_some())
            })?;
        }
        if code.is(i, TokenKind::Comma) {
            i += 1;
        } else if i < end && (is_statement(code, i) || code.is(i, TokenKind::LParen)) {
            return Some(With { ctes, main: i });
        } else {
            return None;
        }
    }
}

/// `name [(columns)] AS` at `i`: the index behind AS.
fn cte_open(code: Code<'_>, i: usize) -> Option<usize> {
    if !code.is_ident(i) {
        return None;
    }
    let mut i = i + 1;
    if code.is(i, TokenKind::LParen) {
        i = code.close(i) + 1;
    }
    code.word(i, "as").then_some(i + 1)
}

/// A word that begins a statement that may stand behind WITH.
pub fn is_statement(code: Code<'_>, i: usize) -> bool {
    code.any_word(i, &["select", "insert", "update", "delete", "merge", "values", "table", "with"])
}

/// True if the words at `i` begin a statement that changes rows, seen through its own WITH clause; also if that
/// cannot be told.
pub fn is_modifying(code: Code<'_>, i: usize, end: usize) -> bool {
    if i < end && code.depth(i) > MAX_NESTING {
        return true;
    }
    if code.word(i, "with") {
        return with(code, i, end).is_none_or(|w| {
            is_modifying(code, w.main, end)
                || w.ctes.iter().any(|c| is_modifying(code, c.body.start, c.body.end))
        });
    }
    code.any_word(i, &["insert", "update", "delete", "merge"])
}

/// Reads the UPDATE that begins at `i`.
pub fn update(code: Code<'_>, i: usize, end: usize) -> Option<Update> {
    let (target, set) = target(code, i + 1, end)?;
    if !code.word(set, "set") || code.depth(set) != code.depth(i) {
        return None;
    }
    let mut from = None;
    let mut condition = None;
    let mut returning = None;
    for (at, keyword) in code.keywords(set..end).skip(1) {
        match keyword {
            Keyword::From if from.is_none() && condition.is_none() && returning.is_none() => from = Some(at),
            Keyword::Where if condition.is_none() && returning.is_none() => condition = Some(at),
            Keyword::Returning if returning.is_none() => returning = Some(at),
            Keyword::From
            | Keyword::Where
            | Keyword::Returning
            | Keyword::Set
            | Keyword::Select
            | Keyword::Values
            | Keyword::Group
            | Keyword::Having
            | Keyword::Order
            | Keyword::Limit
            | Keyword::Into
            | Keyword::Union
            | Keyword::Intersect
            | Keyword::Except => return None,
            _ => {}
        }
    }
    let ends = [from, condition, returning];
    let set = set + 1..first(&ends, end);
    let clause = |at: Option<usize>, later: &[Option<usize>]| at.map(|at| at + 1..first(later, end));
    let update = Update {
        target,
        from: clause(from, &[condition, returning]),
        condition: clause(condition, &[returning]),
        returning: clause(returning, &[]),
        set,
    };
    let filled = |r: &Option<Range<usize>>| r.as_ref().is_none_or(|r| !r.is_empty());
    (!update.set.is_empty() && filled(&update.from) && filled(&update.condition) && filled(&update.returning))
        .then_some(update)
}

/// The first clause that is there, or `end`.
fn first(clauses: &[Option<usize>], end: usize) -> usize {
    clauses.iter().flatten().copied().min().unwrap_or(end)
}

/// Reads the DELETE that begins at `i`.
pub fn delete(code: Code<'_>, i: usize, end: usize) -> Option<Delete> {
    if !code.word(i + 1, "from") {
        return None;
    }
    let (target, next) = target(code, i + 2, end)?;
    let mut using = None;
    let mut condition = None;
    let mut returning = None;
    if next < end && code.depth(next) != code.depth(i) {
        return None;
    }
    for (at, keyword) in code.keywords(next..end) {
        match keyword {
            // `USING (..)` behind a JOIN belongs to the join.
            Keyword::Using if using.is_none() && condition.is_none() && returning.is_none() => {
                using = Some(at)
            }
            Keyword::Where if condition.is_none() && returning.is_none() => condition = Some(at),
            Keyword::Returning if returning.is_none() => returning = Some(at),
            Keyword::Where | Keyword::Returning | Keyword::Set | Keyword::From => return None,
            _ => {}
        }
    }
    // The target must end where the first clause begins.
    if first(&[using, condition, returning], end) != next {
        return None;
    }
    let clause = |at: Option<usize>, later: &[Option<usize>]| at.map(|at| at + 1..first(later, end));
    Some(Delete {
        target,
        using: clause(using, &[condition, returning]),
        condition: clause(condition, &[returning]).filter(|c| !c.is_empty()),
        returning: clause(returning, &[]).filter(|r| !r.is_empty()),
    })
}

/// Reads the INSERT that begins at `i`.
pub fn insert(code: Code<'_>, i: usize, end: usize) -> Option<Insert> {
    if !code.word(i + 1, "into") {
        return None;
    }
    let (target, next) = relation(code, i + 2, end)?;
    let depth = code.depth(i);
    let mut next = next;
    let is_query = |i| code.is(i, TokenKind::LParen) || is_statement(code, i);
    let columns = if code.is(next, TokenKind::LParen) && !is_query(next + 1) {
        let close = code.close(next);
        let columns = next + 1..close;
        next = close + 1;
        Some(columns)
    } else {
        None
    };
    let mut values = None;
    let mut set = None;
    let mut returning = None;
    let mut behind_set = None;
    let mut conflict = None;
    for (at, keyword) in code.keywords(next..end) {
        if code.depth(at) != depth {
            return None;
        }
        match keyword {
            Keyword::Values if values.is_none() && at <= next + 3 => values = Some(at),
            Keyword::On if code.word(at + 1, "conflict") => conflict = Some(at),
            Keyword::Do if code.words(at + 1, &["update", "set"]) && set.is_none() => set = Some(at + 2),
            Keyword::Where if set.is_some() && behind_set.is_none() => behind_set = Some(at),
            Keyword::Returning if returning.is_none() => returning = Some(at),
            Keyword::Set if set == Some(at) => {}
            Keyword::Returning | Keyword::Set => return None,
            _ => {}
        }
    }
    if set.is_some() && conflict.is_none() {
        return None;
    }
    Some(Insert {
        target,
        columns,
        values: values.map(|at| at + 1..first(&[conflict, returning], end)),
        conflict_target: conflict
            .map(|at| at + 2)
            .filter(|open| code.is(*open, TokenKind::LParen))
            .map(|open| open + 1..code.close(open)),
        set: set.map(|at| at + 1..first(&[behind_set, returning], end)),
        returning: returning.map(|at| at + 1..end).filter(|r| !r.is_empty()),
    })
}

/// Reads the MERGE that begins at `i`.
pub fn merge(code: Code<'_>, i: usize, end: usize) -> Option<Merge> {
    if !code.word(i + 1, "into") {
        return None;
    }
    let (target, using) = target(code, i + 2, end)?;
    if !code.word(using, "using") || code.depth(using) != code.depth(i) {
        return None;
    }
    let mut sets = SmallVec::new();
    let mut open: Option<usize> = None;
    let mut returning = None;
    for (at, keyword) in code.keywords(using..end) {
        match keyword {
            Keyword::Then if code.words(at + 1, &["update", "set"]) => open = Some(at + 3),
            Keyword::When | Keyword::Returning => {
                sets.extend(open.take().map(|start| start..at));
                if keyword == Keyword::Returning {
                    returning = Some(at + 1..end);
                }
            }
            _ => {}
        }
    }
    sets.extend(open.map(|start| start..end));
    Some(Merge { target, sets, returning })
}

/// Reads the SELECT that begins at `i`.
pub fn select(code: Code<'_>, i: usize, end: usize) -> Option<Select> {
    let mut list = i + 1 + usize::from(code.word(i + 1, "all"));
    let distinct = code.word(list, "distinct");
    if distinct {
        list += 1;
        if code.word(list, "on") && code.is(list + 1, TokenKind::LParen) {
            list = code.close(list + 1) + 1;
        }
    }
    let mut select = Select {
        distinct,
        list: list..end,
        from: None,
        grouped: false,
        set_operation: false,
        into: false,
        order: None,
    };
    let mut from = None;
    let mut list_end = None;
    let mut from_end = None;
    for (at, keyword) in code.keywords(i..end).skip_while(|(at, _)| *at < list) {
        match keyword {
            Keyword::Into => select.into = true,
            Keyword::From if from.is_none() && !select.set_operation => from = Some(at),
            Keyword::From if !select.set_operation => return None,
            // WITHIN GROUP too: an ordered-set aggregate.
            Keyword::Group | Keyword::Having => select.grouped = true,
            Keyword::Union | Keyword::Intersect | Keyword::Except => select.set_operation = true,
            Keyword::Order if select.order.is_none() => select.order = Some(at + 1..end),
            Keyword::Order
            | Keyword::Where
            | Keyword::Window
            | Keyword::Limit
            | Keyword::Offset
            | Keyword::Fetch
            | Keyword::For => {}
            _ => continue,
        }
        list_end = list_end.or(Some(at));
        if from.is_some_and(|f| f < at) && keyword != Keyword::Into {
            from_end = from_end.or(Some(at));
        }
    }
    select.list.end = list_end.unwrap_or(end).max(list);
    select.from = from.map(|at| at + 1..from_end.unwrap_or(end));
    Some(select)
}

#[cfg(test)]
#[path = "clauses_tests.rs"]
mod tests;
