//! What a completed statement has said of settings, and whom it has looked up.

use super::super::detail::QueryDetail;
use super::super::prepared::Prepared;
use super::super::state::Session;
use super::super::writes::{Arguments, Values};
use crate::rewrite::plan::{NewValue, StatementPlan};
use crate::sql::keys::KeyType;

/// What a completed statement has said of who is at work.
#[derive(Debug)]
pub(crate) struct Heard {
    settings: Vec<Change>,
    /// The rule's place among the identity rules, and the key looked up.
    lookup: Option<(usize, Box<str>)>,
}

#[derive(Debug)]
struct Change {
    name: Box<str>,
    to: To,
    local: bool,
}

#[derive(Debug)]
enum To {
    /// `None`: something that cannot be told.
    Value(Option<Box<str>>),
    Default,
}

impl Session {
    /// What a statement says, with the values that go with it.
    pub fn heard(&self, statement: &StatementPlan, values: &Values<'_>) -> Option<Box<Heard>> {
        let says = statement.says.as_deref()?;
        let rules = &self.shared.labels.identities;
        let settings = says.settings.iter().map(|change| Change {
            name: change.name.clone(),
            to: match &change.value {
                // Not told for how long: from now on it is not known.
                _ if change.local.is_none() => To::Value(None),
                NewValue::Value(operand) => To::Value(values.key(KeyType::Text, operand)),
                NewValue::Default => To::Default,
                NewValue::Unknown => To::Value(None),
            },
            local: change.local.unwrap_or_default(),
        });
        let lookup = says.lookup.as_ref().and_then(|lookup| {
            let column = lookup.table.columns.get(lookup.column)?;
            let rule = rules.iter().position(|rule| {
                *rule.schema == *lookup.table.schema
                    && *rule.table == *lookup.table.name
                    && *rule.column == *column.name
            })?;
            Some((rule, values.key(KeyType::from_oid(column.type_oid)?, &lookup.value)?))
        });
        let heard = Heard { settings: settings.collect(), lookup };
        (!heard.settings.is_empty() || heard.lookup.is_some()).then(|| Box::new(heard))
    }

    /// Likewise of a statement of a Query that reads `text`; for EXECUTE, of what that stands for.
    pub fn heard_in_text(
        &self,
        statement: &StatementPlan,
        executed: Option<&Prepared>,
        text: &[u8],
    ) -> Option<Box<Heard>> {
        let lex = self.lex;
        let mut values = Values { bind: None, arguments: None, oids: &[], encoding: lex.encoding };
        match (&statement.execute, executed, executed.and_then(Prepared::statement)) {
            (Some(execute), Some(prepared), Some(acting)) => {
                values.arguments = Some(Arguments { text, ranges: &execute.arguments, lex: &lex });
                values.oids = &prepared.oids;
                self.heard(acting, &values)
            }
            _ => self.heard(statement, &values),
        }
    }

    /// Likewise of a Query in flight.
    pub fn heard_in_query(&self, query: &QueryDetail, n: usize) -> Option<Box<Heard>> {
        let executed = query.executed.get(n).and_then(Option::as_deref);
        self.heard_in_text(query.plan.statements.get(n)?, executed, &query.text)
    }

    /// The server has carried out what a statement said.
    pub fn hear(&mut self, heard: &Heard) {
        for change in &heard.settings {
            let setting = self.whose.settings.entry(change.name.clone()).or_default();
            match &change.to {
                To::Value(value) => setting.set(value.as_deref(), change.local),
                To::Default => setting.reset(change.local),
            }
        }
        if let Some(found) = &heard.lookup
            && !self.whose.looked_up
        {
            self.whose.looked_up = true;
            if self.shared.settings.scopes.sticky {
                self.whose.between = Some(self.whose.fresh());
                self.whose.pinned = None;
            }
            self.whose.lookup = Some(found.clone());
            self.relabel();
        }
    }
}
