//! The keys that several parts of a condition name together.
//!
//! ```text
//! user_id IN (1, 2) AND role = ANY($1)            (1, $1..) and (2, $1..)
//! (user_id, role) IN ((1, 'a'), (2, 'b'))         (1, 'a') and (2, 'b')
//! ```
//!
//! A list of keys may hold more rows than the condition, never fewer.

use smallvec::SmallVec;

use super::plan::Operand;
use crate::sql::keys::MAX_KEYS;

/// Key columns, and the combinations of values of which they must have one.
#[derive(Debug)]
pub struct Choice {
    /// Positions in the key.
    pub columns: SmallVec<[usize; 2]>,
    /// Values in the order of `columns`; `None` if they are not all certain.
    pub keys: Option<Vec<Values>>,
}

/// Values of some key columns.
pub type Values = SmallVec<[Operand; 2]>;

impl Choice {
    /// Values that are not certain.
    pub fn unknown(columns: SmallVec<[usize; 2]>) -> Self {
        Self { columns, keys: None }
    }

    /// Both must hold: columns that the other one adds, with each of its values beside each of ours. Of columns
    /// that both name ours are kept, which leaves more rows rather than fewer.
    fn and(&mut self, other: &Self) {
        let mut added: SmallVec<[(usize, usize); 2]> = SmallVec::new();
        added.extend(other.columns.iter().copied().enumerate().filter(|(_, k)| !self.columns.contains(k)));
        if added.is_empty() {
            return;
        }
        self.columns.extend(added.iter().map(|(_, k)| *k));
        let joined = |have: &Values, more: &Values| {
            have.iter().chain(added.iter().filter_map(|(i, _)| more.get(*i))).cloned().collect()
        };
        self.keys = match (&self.keys, &other.keys) {
            (Some(have), Some(more)) if have.len().saturating_mul(more.len()) <= MAX_KEYS => {
                Some(have.iter().flat_map(|h| more.iter().map(move |m| joined(h, m))).collect())
            }
            _ => None,
        };
    }

    /// With these columns only, which must be among its own, in this order.
    pub fn only(self, columns: &[usize]) -> Self {
        if *self.columns == *columns {
            return self;
        }
        let at: SmallVec<[usize; 2]> =
            columns.iter().filter_map(|k| self.columns.iter().position(|c| c == k)).collect();
        let pick = |key: Values| at.iter().filter_map(|i| key.get(*i).cloned()).collect();
        Self { columns: columns.into(), keys: self.keys.map(|keys| keys.into_iter().map(pick).collect()) }
    }
}

/// The key columns that `fixed` and `choices` name together, with their values.
pub fn all(fixed: &[Option<Operand>], choices: &[Choice]) -> Choice {
    let mut out = Choice { columns: SmallVec::new(), keys: None };
    let mut values = Values::new();
    for (k, value) in fixed.iter().enumerate() {
        if let Some(value) = value {
            out.columns.push(k);
            values.push(value.clone());
        }
    }
    out.keys = Some(vec![values]);
    // The shortest first, what is not certain last: that counts only for the columns that nothing else names.
    let mut choices: Vec<&Choice> = choices.iter().collect();
    choices.sort_by_key(|c| c.keys.as_ref().map_or(usize::MAX, Vec::len));
    choices.into_iter().for_each(|choice| out.and(choice));
    out
}
