//! One statement: which rule reads it.

use std::ops::Range;
use std::sync::Arc;

use super::Context;
use super::hidden_columns::Source;
use super::plan::{Effect, GuardSite, Reason, ResultKind, StatementPlan, Touched, UncheckedWrite};
use super::site::comparable_key;
use super::target::{Target, resolve, unchecked};
use super::teach::{self, NameFilter};
use super::{effect, label, nested};
use crate::catalog::Table;
use crate::catalog::nested::Event;
use crate::sql::clauses;
use crate::sql::code::{Code, MAX_NESTING};
use crate::sql::ident::quote_ident;
use crate::sql::relation::Relation;
use crate::sql::token::TokenKind;

/// Where a query stands in its statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// It is the statement.
    Main,
    /// In a WITH clause.
    Cte,
    /// In EXPLAIN ANALYZE.
    Explained,
    /// In PREPARE.
    Prepared,
    /// In COPY, which takes no parameters: no version can go with it.
    Nested,
    /// In EXPLAIN without ANALYZE: it is not run.
    Shown,
}

impl Place {
    /// What it returns is the result of the statement, or of its EXECUTE.
    pub fn returns(self) -> bool {
        matches!(self, Self::Main | Self::Prepared)
    }
}

/// A statement while it is planned.
pub struct Statement<'a> {
    /// The whole text.
    pub code: Code<'a>,
    /// What the plan depends on.
    pub ctx: &'a Context<'a>,
    /// Which tokens may name a protected table.
    pub filter: &'a NameFilter,
    /// The statement's tokens.
    pub tokens: Range<usize>,
    /// Nothing before it in the same text may have changed what names mean.
    pub certain: bool,
    /// A WITH clause changes rows.
    pub modifying_cte: bool,
    /// Hidden columns may be added to its result.
    pub hide: bool,
    /// The plan.
    pub out: StatementPlan,
}

/// Plans the statement that is these tokens.
pub fn plan<'a>(
    code: Code<'a>,
    ctx: &'a Context<'a>,
    filter: &'a NameFilter,
    tokens: Range<usize>,
    certain: bool,
) -> StatementPlan {
    // With the comments around it, which may carry labels.
    let range = code.end_before(tokens.start)..code.start(tokens.end);
    let out = StatementPlan { range, ..StatementPlan::default() };
    let mut statement = Statement {
        code,
        ctx,
        filter,
        tokens: tokens.clone(),
        certain,
        modifying_cte: false,
        hide: true,
        out,
    };
    if is_query(code, tokens.start) {
        statement.out.is_query = true;
        statement.query(tokens.start, tokens.end, Place::Main);
        statement.out.effect = effect::of_query(code, statement.ctx, tokens.clone());
    } else if !nested::plan(&mut statement) {
        statement.out.effect = effect::of(code, ctx, tokens.clone());
        if let Effect::Truncate(roots) = statement.out.effect.clone() {
            for table in ctx.view.tables.iter().filter(|t| t.oid == t.root_oid && roots.contains(&t.oid)) {
                statement.touch(Place::Main, table, Event::Truncate);
            }
        }
    }
    // What a PREPARE prepares says it when it is executed.
    if statement.out.prepares.is_none() {
        statement.out.says = label::of(code, ctx, tokens);
    }
    statement.out
}

/// SELECT or DML begins at `i`.
pub fn is_query(code: Code<'_>, i: usize) -> bool {
    clauses::is_statement(code, i) || code.is(i, TokenKind::LParen)
}

impl<'a> Statement<'a> {
    /// Plans the query or DML statement that begins at token `i`.
    pub fn query(&mut self, i: usize, end: usize, place: Place) {
        let code = self.code;
        let Range { start: i, end } = code.strip_parens(i..end);
        if i < end && code.depth(i) > MAX_NESTING {
            return self.uncertain(i..end);
        }
        let mut main = i;
        if code.word(i, "with") {
            let Some(with) = clauses::with(code, i, end) else { return self.uncertain(i..end) };
            for cte in &with.ctes {
                if clauses::is_modifying(code, cte.body.start, cte.body.end) {
                    self.modifying_cte = true;
                    let inner = if place.returns() { Place::Cte } else { place };
                    self.query(cte.body.start, cte.body.end, inner);
                }
            }
            main = with.main;
        }
        match () {
            () if code.word(main, "update") => self.update(main, end, place),
            () if code.word(main, "insert") => self.insert(main, end, place),
            () if code.word(main, "delete") => self.delete(main, end, place),
            () if code.word(main, "merge") => self.merge(main, end, place),
            () if place.returns() => self.select(main, end, self.hide),
            () => {}
        }
    }

    /// Why a write in this place is not checked whatever it says.
    pub fn reason(&self, place: Place) -> Option<Reason> {
        match place {
            Place::Prepared if self.modifying_cte => Some(Reason::Cte),
            Place::Prepared | Place::Nested | Place::Shown | Place::Explained => Some(Reason::Nested),
            Place::Cte => Some(Reason::Cte),
            Place::Main => self.modifying_cte.then_some(Reason::Cte),
        }
    }

    /// A write whose increment has a place: it can carry a guard, or where it stands only the increment goes in.
    pub fn write(&mut self, place: Place, mut site: GuardSite) {
        if !comparable_key(&site.table) && site.reason != Reason::Nested {
            site.reason = if site.table.may_read { Reason::UnknownKey } else { Reason::Privilege };
        }
        match place {
            Place::Main | Place::Cte | Place::Explained | Place::Prepared => self.out.sites.push(site),
            Place::Nested | Place::Shown => {
                let version = site.table.version_column().map(|v| quote_ident(&v.name)).unwrap_or_default();
                let bump = format!("{}.{version} + 1", site.reference);
                self.out.edits.extend(site.slot.edits(&bump, site.table.version_type, None));
                let keys = if site.moves_key { Vec::new() } else { site.keys };
                self.unchecked(place, unchecked(&site.table, site.reason, keys));
            }
        }
    }

    /// What a write of `table` does to others, if it is run.
    pub fn touch(&mut self, place: Place, table: &Table, event: Event) {
        if place == Place::Shown {
            return;
        }
        for touched in table.nested.of(event) {
            if !self.out.touches.contains(&touched) {
                self.out.touches.push(touched);
            }
        }
    }

    /// Likewise, of a write of whatever kind.
    fn touch_all(&mut self, table: &Table) {
        for event in Event::ALL {
            self.touch(Place::Main, table, event);
        }
    }

    /// A write of ignored columns alone: triggers may bump the row for what they change themselves.
    pub fn touch_ignored(&mut self, place: Place, table: &Table) {
        let touched = Touched { root_oid: table.root_oid, deferred: false };
        if table.ignored_may_bump && place != Place::Shown && !self.out.touches.contains(&touched) {
            self.out.touches.push(touched);
        }
    }

    /// A write that is never checked, if it is run.
    pub fn unchecked(&mut self, place: Place, write: UncheckedWrite) {
        if place != Place::Shown {
            self.out.unchecked.push(write);
        }
    }

    /// What it writes. Where names may mean something else by then, also a table that is not visible now.
    pub fn target(&self, relation: &Relation) -> Target<'a> {
        match resolve(self.code, self.ctx, relation) {
            Target::Other if relation.schema.is_none() => {
                self.of_name(relation.name).map_or(Target::Other, Target::Table)
            }
            target => target,
        }
    }

    /// A protected table that the name at token `i` may mean behind a change of names.
    fn of_name(&self, i: usize) -> Option<&'a Arc<Table>> {
        self.code.name(i).filter(|_| !self.certain).and_then(|name| self.ctx.view.of_name(&name))
    }

    /// A part that may write, but whose clauses are not certain: every protected table that it names is counted.
    pub fn uncertain(&mut self, range: Range<usize>) {
        let verbs = ["insert", "update", "delete", "merge"];
        if !range.clone().any(|i| self.code.any_word(i, &verbs)) {
            return;
        }
        let mut named: Vec<UncheckedWrite> = Vec::new();
        for mention in teach::mentions(self.code, self.ctx, self.filter, range) {
            if let Some(table) = mention.table.or_else(|| self.of_name(mention.at))
                && !named.iter().any(|u| u.root_oid == table.root_oid)
            {
                named.push(unchecked(table, Reason::Unparsed, Vec::new()));
                self.touch_all(table);
            }
        }
        self.out.unchecked.extend(named);
    }

    /// A write of a view over the protected table `root`.
    pub fn view(&mut self, root: &str) {
        let table = self.ctx.view.tables.iter().find(|t| *t.root_name == *root);
        let root_oid = table.map_or(0, |t| t.root_oid);
        if let Some(table) = table {
            self.touch_all(table);
        }
        self.out.unchecked.push(UncheckedWrite {
            table: root.into(),
            root_oid,
            reason: Reason::View,
            keys: Vec::new(),
        });
    }

    /// The RETURNING of an INSERT or UPDATE that is the statement. `always`: it must tell which rows were written.
    pub fn returning(
        &mut self,
        list: Option<Range<usize>>,
        target: &Relation,
        table: &'a Arc<Table>,
        always: bool,
    ) {
        self.written_rows(list, target, table, ResultKind::Written, always);
    }

    /// The RETURNING of an UPDATE of ignored columns alone: the row as somebody else has left it.
    pub fn returning_unchanged(
        &mut self,
        list: Option<Range<usize>>,
        target: &Relation,
        table: &'a Arc<Table>,
    ) {
        self.written_rows(list, target, table, ResultKind::Read, false);
    }

    /// The RETURNING of a DELETE that is the statement. `always`: it must tell which rows were deleted.
    pub fn deleted(
        &mut self,
        list: Option<Range<usize>>,
        target: &Relation,
        table: &'a Arc<Table>,
        always: bool,
    ) {
        self.written_rows(list, target, table, ResultKind::Deleted, always);
    }

    fn written_rows(
        &mut self,
        list: Option<Range<usize>>,
        target: &Relation,
        table: &'a Arc<Table>,
        kind: ResultKind,
        always: bool,
    ) {
        let Some(list) = list else { return };
        self.out.result = kind;
        self.out.has_wildcard = teach::has_wildcard(self.code, list.clone());
        let options = self.code.word(list.start, "with");
        let old = list.clone().any(|i| self.code.is_name(i, "old") && self.code.is(i + 1, TokenKind::Dot));
        // The values from before the write, under whatever name: which column is which cannot be told.
        if options || old || !teach::teachable(self).iter().any(|t| t.oid == table.oid) {
            return;
        }
        let sources = [Source::new(table, target)];
        let hide = self.hide && (kind != ResultKind::Deleted || always);
        self.show(list, &sources, hide, always, &[table]);
    }

    /// Effects that more than one rule may find; the first one stays.
    pub fn set_effect(&mut self, effect: Effect) {
        if self.out.effect == Effect::None {
            self.out.effect = effect;
        }
    }
}
