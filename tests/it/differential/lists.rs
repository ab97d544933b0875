//! Lists of keys in all their spellings.

use super::statements::Maker;
use super::values::Param;

impl Maker<'_> {
    /// A condition that names rows by a list of keys.
    pub fn list(&mut self) -> String {
        let (name, kind, values) = self.table.key[0];
        let column = self.column(name);
        let count = 1 + self.v.rng.below(4);
        match self.v.rng.below(10) {
            0 | 1 => {
                let list: Vec<_> = (0..count).map(|_| self.v.key(kind, values)).collect();
                format!("{column} IN ({})", list.join(", "))
            }
            2 => {
                let list: Vec<_> =
                    (0..count).map(|_| format!("{column} = {}", self.v.key(kind, values))).collect();
                format!("({})", list.join(" OR "))
            }
            3 => {
                let list: Vec<_> = (0..count).map(|_| self.v.key(kind, values)).collect();
                format!("{column} = ANY (ARRAY[{}])", list.join(", "))
            }
            4 | 5 => self.rows(),
            _ => {
                let list: Vec<_> = (0..count).map(|_| values[self.v.rng.below(values.len())]).collect();
                let array = Param::array(kind, &list, self.chance(8));
                let how = if self.chance(90) { "= ANY" } else { "<> ALL" };
                format!("{column} {how} ({})", self.array(array))
            }
        }
    }

    /// Row values, of all key columns or of one.
    fn rows(&mut self) -> String {
        let keys = self.table.key;
        let columns: Vec<_> = keys.iter().map(|(name, _, _)| self.column(name)).collect();
        let mut rows = Vec::new();
        for _ in 0..1 + self.v.rng.below(3) {
            let row: Vec<_> = keys.iter().map(|(_, kind, values)| self.v.key(*kind, values)).collect();
            rows.push(row.join(", "));
        }
        let word = self.pick(&["", "", "ROW "]);
        let columns = columns.join(", ");
        if self.chance(20) {
            return format!("{word}({columns}) = ({})", rows[0]);
        }
        let rows: Vec<_> = rows.iter().map(|r| format!("({r})")).collect();
        format!("{word}({columns}) IN ({})", rows.join(", "))
    }

    /// An array as a parameter or a literal.
    fn array(&mut self, mut array: Param) -> String {
        let name = array.type_name.unwrap_or_default();
        let cast = if self.chance(40) { format!("::{name}") } else { String::new() };
        if self.v.params.is_some() && self.chance(75) {
            if self.chance(40) {
                array.oid = self.table.key[0].1.array().0;
            }
            let params = self.v.params.get_or_insert_default();
            params.push(array);
            return format!("${}{cast}", params.len());
        }
        format!("'{}'{cast}", array.text.unwrap_or_default().replace('\'', "''"))
    }
}
