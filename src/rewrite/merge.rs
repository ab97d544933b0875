//! MERGE into a protected table.
//!
//! ```text
//! MERGE INTO projects p USING v ON p.id = v.id WHEN MATCHED THEN UPDATE SET name = v.name
//! MERGE INTO projects p USING v ON p.id = v.id WHEN MATCHED THEN UPDATE SET name = v.name, version = p.version + 1
//! ```

use std::sync::Arc;

use super::increment::{self, SetList};
use super::plan::{GuardSite, Reason, Verb, VersionSource};
use super::site::comparable_key;
use super::statement::{Place, Statement};
use super::target::{Target, Written, unchecked};
use crate::catalog::Table;
use crate::catalog::nested::Event;
use crate::sql::clauses;

impl Statement<'_> {
    /// Plans the MERGE that begins at token `i`.
    pub fn merge(&mut self, i: usize, end: usize, place: Place) {
        let code = self.code;
        let Some(merge) = clauses::merge(code, i, end) else { return self.uncertain(i..end) };
        let table = match self.target(&merge.target) {
            Target::Table(table) => table,
            Target::View(root) => return self.view(root),
            Target::Other => return,
        };
        for event in [Event::Insert, Event::Update, Event::KeyUpdate, Event::Delete] {
            self.touch(place, table, event);
        }
        let deletes = (i..end).any(|n| {
            code.depth(n) == code.depth(i) && code.words(n, &["then", "delete"]) && !code.is_named(n)
        });
        if deletes {
            // No RETURNING of ours can raise for it.
            self.unchecked(place, unchecked(table, Reason::Delete, Vec::new()));
        }
        if merge.sets.is_empty() {
            return;
        }
        let written = Written::new(code, self.ctx, &merge.target, table);
        let reason = match &written {
            _ if !self.certain => Reason::Unparsed,
            _ if !table.may_write => Reason::Privilege,
            None => Reason::Encoding,
            Some(written) => {
                let read = |set| increment::set_list(code, self.ctx.lex, written, set, false);
                match merge.sets.into_iter().map(read).collect::<Option<Vec<_>>>() {
                    Some(lists) => {
                        for list in lists {
                            if list.only_ignored {
                                self.touch_ignored(place, table);
                                continue;
                            }
                            let site = merged(table, written, list, self.reason(place));
                            self.write(place, site);
                        }
                        return;
                    }
                    None => Reason::Unparsed,
                }
            }
        };
        self.unchecked(place, unchecked(table, reason, Vec::new()));
    }
}

/// One `WHEN MATCHED THEN UPDATE SET`.
fn merged(table: &Arc<Table>, written: &Written<'_>, list: SetList, place: Option<Reason>) -> GuardSite {
    GuardSite {
        table: table.clone(),
        reference: written.reference.clone(),
        keys: Vec::new(),
        sets: list.sets,
        self_relative: list.self_relative,
        moves_key: list.moves_key,
        bare: false,
        source: VersionSource::Observed,
        reason: place.unwrap_or(Reason::Merge),
        verb: Verb::Merge,
        slot: list.slot,
        guardable: comparable_key(table),
        cursor: None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::plan::Reason;
    use super::super::testing::{bumped, only, reasons};

    #[test]
    fn bumps_each_update() {
        let text = "MERGE INTO ONLY projects AS p USING (SELECT 1 AS id) v ON p.id = v.id \
            WHEN MATCHED AND CASE WHEN p.name = 'x' THEN TRUE END THEN UPDATE SET name = CASE WHEN TRUE THEN 'a' END \
            WHEN MATCHED THEN UPDATE SET (status, version) = ('x', 7) \
            WHEN NOT MATCHED THEN INSERT (id) VALUES (v.id)";
        let want = "MERGE INTO ONLY projects AS p USING (SELECT 1 AS id) v ON p.id = v.id \
            WHEN MATCHED AND CASE WHEN p.name = 'x' THEN TRUE END THEN UPDATE SET name = CASE WHEN TRUE THEN 'a' END, version = p.version + 1 \
            WHEN MATCHED THEN UPDATE SET (status, version) = ('x', p.version + 1) \
            WHEN NOT MATCHED THEN INSERT (id) VALUES (v.id)";
        assert_eq!(bumped(text), want);
        assert_eq!(reasons(&only(text)), [(Reason::Merge, 0), (Reason::Merge, 0)]);
    }

    #[test]
    fn ends_in_an_update() {
        assert_eq!(
            bumped("MERGE INTO projects USING v ON true WHEN MATCHED THEN UPDATE SET name = 'x' RETURNING *"),
            "MERGE INTO projects USING v ON true WHEN MATCHED THEN UPDATE SET name = 'x', version = projects.version + 1 RETURNING *"
        );
        assert_eq!(
            bumped("MERGE INTO projects USING v ON true WHEN MATCHED THEN DELETE"),
            "MERGE INTO projects USING v ON true WHEN MATCHED THEN DELETE"
        );
    }
}
