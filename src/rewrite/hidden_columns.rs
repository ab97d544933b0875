//! Hidden columns: what a result needs to teach, where the client has not asked for it.
//!
//! ```text
//! SELECT name FROM projects p WHERE id = 1
//! SELECT name, p.id AS __sg_k1, p.version AS __sg_v1 FROM projects p WHERE id = 1
//!
//! UPDATE projects SET name = 'x' WHERE id = 1 RETURNING id, name
//! UPDATE projects SET name = 'x', .. WHERE id = 1 RETURNING id, name, projects.version AS __sg_v1
//! ```
//!
//! Only where the client's own result shows a column beyond the key, and only where one more output column
//! changes nothing else: not under DISTINCT, GROUP BY, aggregates, set operations or INTO, nor where ORDER BY may name
//! by its number a column that the client's own list has not got.

use std::ops::Range;
use std::sync::Arc;

use smallvec::SmallVec;

use super::plan::{Edit, HiddenColumn, Teach};
use super::statement::Statement;
use super::target::{Target, reaches, reference, resolve, writable};
use super::teach;
use crate::catalog::Table;
use crate::sql::clauses::{self, Select};
use crate::sql::code::{Code, Keyword};
use crate::sql::columns::ColumnSet;
use crate::sql::from;
use crate::sql::relation::Relation;
use crate::sql::select_list::{self, Item, Name};
use crate::sql::token::TokenKind;

/// A protected table whose columns an output list can name.
pub struct Source<'a> {
    table: &'a Arc<Table>,
    reference: usize,
    aliased: bool,
    /// Columns (indexes) that a join merges: the result may show the other table's.
    merged: SmallVec<[usize; 2]>,
}

impl<'a> Source<'a> {
    /// The table as the statement names it.
    pub fn new(table: &'a Arc<Table>, relation: &Relation) -> Self {
        Self {
            table,
            reference: relation.reference(),
            aliased: relation.alias.is_some(),
            merged: SmallVec::new(),
        }
    }

    fn column(&self, code: Code<'_>, name: Name) -> Option<usize> {
        let reached = reaches(code, self.table, self.reference, self.aliased, name.schema, name.table);
        if !reached {
            return None;
        }
        self.table.columns.iter().position(|c| code.is_name(name.column, &c.name))
    }

    /// `t`, `t.*` or `s.t.*`: the whole row.
    fn is_row(&self, code: Code<'_>, name: Name) -> bool {
        if code.op(name.column, b"*") {
            return reaches(code, self.table, self.reference, self.aliased, name.schema, name.table);
        }
        name.table.is_none()
            && reaches(code, self.table, self.reference, self.aliased, None, Some(name.column))
            && !self.table.columns.iter().any(|c| code.is_name(name.column, &c.name))
    }
}

/// What an output list shows of one table.
#[derive(Debug, Clone, Default)]
struct Shown {
    /// Columns (indexes) shown as they are.
    plain: ColumnSet,
    /// Columns (slots) that expressions name.
    used: ColumnSet,
    /// A star shows the row, though perhaps some columns as another table's.
    star: bool,
}

impl Shown {
    /// Shows more than which rows there are.
    fn beyond_key(&self, table: &Table) -> bool {
        let key_slots: ColumnSet = table.key_columns().map(|c| c.slot).collect();
        self.star
            || self.plain.iter().any(|c| !table.key.contains(&c))
            || self.used.iter().any(|s| !key_slots.contains(s))
    }
}

impl<'a> Statement<'a> {
    /// Plans the SELECT (or VALUES, TABLE, bracketed query) that begins at token `i` and is the statement.
    /// `hide`: its result may carry hidden columns.
    pub fn select(&mut self, i: usize, end: usize, hide: bool) {
        let code = self.code;
        let teachable = teach::teachable(self);
        self.out.has_wildcard = code.word(i, "table") || teach::has_wildcard(code, i..end);
        let select = if code.word(i, "select") { clauses::select(code, i, end) } else { None };
        let Some(select) = select else {
            return self.show(i..i, &[], false, false, &teachable);
        };
        let mut sources: SmallVec<[Source<'a>; 4]> = SmallVec::new();
        if let Some(range) = select.from.clone() {
            let from = from::from(code, range);
            for item in &from.relations {
                let Target::Table(table) = resolve(code, self.ctx, &item.relation) else { continue };
                if item.renames_columns || !teachable.iter().any(|t| t.oid == table.oid) {
                    continue;
                }
                let mut source = Source::new(table, &item.relation);
                let columns = table.columns.iter().enumerate();
                source.merged = columns
                    .filter(|(_, c)| from.natural || from.using.iter().any(|u| code.is_name(*u, &c.name)))
                    .map(|(n, _)| n)
                    .collect();
                sources.push(source);
            }
        }
        let plain = !(select.distinct || select.grouped || select.set_operation || select.into);
        let hide = hide
            && plain
            && !sources.is_empty()
            && !self.has_aggregate(select.list.clone())
            && !select.order.clone().is_some_and(|o| self.has_aggregate(o))
            && !orders_beyond(code, &select);
        self.show(select.list, &sources, hide, false, &teachable);
        for source in &sources {
            if source.table.settings.for_update_refreshes && locks(code, i..end, source.reference) {
                let taught = self.out.teaches.iter_mut().filter(|t| t.table.oid == source.table.oid);
                taught.for_each(|teach| teach.refreshes = true);
            }
        }
    }

    /// Notes what the output list shows of each table, and appends what is missing: where it shows something beyond
    /// the key, or `always`.
    pub fn show(
        &mut self,
        list: Range<usize>,
        sources: &[Source<'a>],
        hide: bool,
        always: bool,
        teachable: &[&'a Arc<Table>],
    ) {
        let shown = self.shown(list.clone(), sources);
        for table in teachable {
            let of_table = sources.iter().zip(&shown).find(|(s, _)| s.table.oid == table.oid);
            let used = of_table.map(|(_, shown)| shown.used.clone()).unwrap_or_default();
            let refreshes = false;
            self.out.teaches.push(Teach { table: (*table).clone(), shown: used, always, refreshes });
        }
        if !hide || !self.code.is_complete(&list) {
            return;
        }
        let mut insert = String::new();
        for (source, shown) in sources.iter().zip(&shown) {
            let shows = always || shown.beyond_key(source.table);
            if source.table.may_read && !source.table.is_view && shows {
                self.append(&mut insert, source, shown);
            }
        }
        if !insert.is_empty() {
            self.out.edits.push(Edit::insert(self.code.end_before(list.end), insert));
        }
    }

    fn append(&mut self, insert: &mut String, source: &Source<'_>, shown: &Shown) {
        let table = source.table;
        let Some(reference) = reference(self.code, source.reference) else { return };
        let missing = table.key.iter().chain([&table.version]).copied().filter(|c| !shown.plain.contains(*c));
        let named: Option<SmallVec<[(usize, String); 4]>> =
            missing.map(|c| Some((c, writable(self.ctx, table.columns.get(c)?)?))).collect();
        let Some(named) = named else { return };
        for (column, name) in named {
            let kind = if column == table.version { 'v' } else { 'k' };
            let number = self.out.hidden.len() + 1;
            insert.push_str(&format!(", {reference}.{name} AS __sg_{kind}{number}"));
            let type_oid = table.columns.get(column).map_or(0, |c| c.type_oid);
            self.out.hidden.push(HiddenColumn { table_oid: table.oid, column, type_oid });
        }
    }

    fn shown(&self, list: Range<usize>, sources: &[Source<'_>]) -> SmallVec<[Shown; 4]> {
        let code = self.code;
        let mut shown: SmallVec<[Shown; 4]> = sources.iter().map(|_| Shown::default()).collect();
        if sources.is_empty() {
            return shown;
        }
        for part in code.split_commas(list) {
            let item = select_list::item(code, &part);
            for (source, shown) in sources.iter().zip(&mut shown) {
                match item {
                    Item::Star => {
                        shown.star = true;
                        let columns = 0..source.table.columns.len();
                        columns.filter(|c| !source.merged.contains(c)).for_each(|c| shown.plain.insert(c));
                    }
                    Item::TableStar(name) if source.is_row(code, name) => {
                        (0..source.table.columns.len()).for_each(|c| shown.plain.insert(c));
                    }
                    Item::Column(name) => match source.column(code, name) {
                        Some(c) if name.table.is_some() || !source.merged.contains(&c) => {
                            shown.plain.insert(c);
                        }
                        Some(_) => {}
                        None if source.is_row(code, name) => all(source.table, &mut shown.used),
                        None => {}
                    },
                    Item::TableStar(_) => {}
                    Item::Expression => select_list::uses(code, part.clone(), |u| {
                        self.add_use(source, shown, u);
                    }),
                }
            }
        }
        shown
    }

    fn add_use(&self, source: &Source<'_>, shown: &mut Shown, found: select_list::Use) {
        let code = self.code;
        if let Some(open) = found.sub_select {
            // Inside a sub-select only a qualified name is certain, and only if it does not name its own table so.
            let own = code.name(source.reference);
            let hides = |i: usize| {
                own.as_deref().is_none_or(|own| code.is_name(i, own)) && !code.is(i + 1, TokenKind::Dot)
            };
            if found.name.table.is_none() || (open..code.close(open)).any(hides) {
                return;
            }
        }
        if let Some(column) = source.column(code, found.name).and_then(|c| source.table.columns.get(c)) {
            shown.used.insert(column.slot);
        } else if source.is_row(code, found.name) {
            all(source.table, &mut shown.used);
        }
    }

    /// An aggregate of this query stands between these tokens. `count(*)` of a sub-select is its own; of another
    /// aggregate there it depends on what it counts.
    fn has_aggregate(&self, range: Range<usize>) -> bool {
        let code = self.code;
        let mut sub_select_end = 0;
        range.into_iter().any(|i| {
            if i >= sub_select_end
                && code.is(i, TokenKind::LParen)
                && code.any_word(i + 1, &["select", "with"])
            {
                sub_select_end = code.close(i);
            }
            if !code.is_ident(i) || !code.is(i + 1, TokenKind::LParen) {
                return false;
            }
            let counts_rows = code.op(i + 2, b"*") && code.is(i + 3, TokenKind::RParen);
            if i < sub_select_end && counts_rows {
                return false;
            }
            // A name that cannot be read may be one.
            code.name(i).is_none_or(|name| self.ctx.view.aggregates.contains(&*name))
        })
    }
}

/// `ORDER BY 3` of a list that may have two columns only: an error that hidden columns would make a result.
fn orders_beyond(code: Code<'_>, select: &Select) -> bool {
    let Some(order) = select.order.clone() else { return false };
    let stars = |item: &Range<usize>| code.op(item.end - 1, b"*");
    // A star may stand for no column at all.
    let columns =
        code.split_commas(select.list.clone()).filter(|item| !item.is_empty() && !stars(item)).count();
    code.split_commas(order.start + 1..order.end).any(|item| {
        let mut first = item.start;
        while first < item.end && code.is(first, TokenKind::LParen) {
            first += 1;
        }
        let position = std::str::from_utf8(code.text(first)).ok().and_then(|n| n.parse::<usize>().ok());
        code.is(first, TokenKind::Number) && position.is_none_or(|position| position > columns)
    })
}

/// `FOR UPDATE` or `FOR NO KEY UPDATE`, of all tables or `OF` this one among others.
fn locks(code: Code<'_>, select: Range<usize>, reference: usize) -> bool {
    code.keywords(select.clone()).filter(|(_, keyword)| *keyword == Keyword::For).any(|(at, _)| {
        let word = at + 1 + if code.word(at + 1, "no") && code.word(at + 2, "key") { 2 } else { 0 };
        if !code.word(word, "update") {
            return false;
        }
        if !code.word(word + 1, "of") {
            return true;
        }
        let mut name = word + 2;
        while name < select.end {
            if code.name(name).is_some_and(|n| code.is_name(reference, &n)) {
                return true;
            }
            if !code.is(name + 1, TokenKind::Comma) {
                break;
            }
            name += 2;
        }
        false
    })
}

fn all(table: &Table, slots: &mut ColumnSet) {
    table.columns.iter().for_each(|c| slots.insert(c.slot));
}

#[cfg(test)]
#[path = "hidden_columns_tests.rs"]
mod tests;
