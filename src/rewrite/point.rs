//! The write of one row named by its key, standing alone: what the predicate form needs of it.

use std::ops::Range;

use super::plan::{GuardSite, PointWrite};
use super::predicate::Condition;
use super::statement::Statement;
use super::target::Written;
use crate::sql::relation::Relation;

impl Statement<'_> {
    /// The site as a point write. `range`: the tokens of the condition. `None` if the pieces of its probe cannot be
    /// written in the client's encoding.
    pub fn point(
        &self,
        site: &GuardSite,
        target: &Relation,
        written: &Written<'_>,
        condition: &Condition,
        range: Range<usize>,
    ) -> Option<PointWrite> {
        let code = self.code;
        let table = &site.table;
        let [key] = site.keys.as_slice() else { return None };
        Some(PointWrite {
            table: table.clone(),
            reference: site.reference.clone(),
            target: code.spelled(target.tokens.clone())?.into(),
            verb: site.verb,
            site: self.out.sites.len(),
            key: key.clone(),
            sets: site.sets.clone(),
            self_relative: site.self_relative,
            source: site.source.clone(),
            open_at: code.start(range.start),
            check_at: code.end_before(range.end),
            rest: condition.rest(code, written),
            key_condition: condition.key_condition(code)?,
            moves_key: site.moves_key,
            partial: table.row_security
                || table.part
                || table.parent && code.word(target.tokens.start, "only"),
            predicate_allowed: true,
        })
    }
}
