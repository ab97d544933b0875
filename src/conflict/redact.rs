//! Which columns of a row an error may show.

use crate::catalog::{Column, CurrentState, Table};
use crate::sql::columns::ColumnSet;

/// True if the column's name matches one of the patterns (`*` stands for any characters, also none), whatever
/// the case.
pub fn redacted<P: AsRef<str>>(column: &str, patterns: &[P]) -> bool {
    let column = column.to_lowercase();
    patterns.iter().any(|p| glob(p.as_ref().to_lowercase().as_bytes(), column.as_bytes()))
}

/// Matches `text` against `pattern`; on a mismatch the last `*` takes one byte more, so the cost is at most the
/// product of the lengths.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p + 1, t));
                p += 1;
            }
            Some(c) if text.get(t) == Some(c) => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((after, taken)) => {
                    star = Some((after, taken + 1));
                    p = after;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|c| *c == b'*'))
}

/// The columns whose present values an error shows for a refused write of `sets`: redacted ones never.
pub fn state_columns<'t>(table: &'t Table, sets: &ColumnSet, setting: CurrentState) -> Vec<&'t Column> {
    let wanted = |c: &Column| match setting {
        CurrentState::Written => sets.contains(c.slot),
        CurrentState::All => true,
        CurrentState::None => false,
    };
    let patterns = &table.settings.redact_columns;
    table.columns.iter().filter(|c| wanted(c) && !redacted(&c.name, patterns)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tables::REDACTED;
    use crate::conflict::state_query::tests::users;

    #[test]
    fn matches_globs_in_any_case() {
        let cases = [
            ("password", "*password*", true),
            ("PasswordOld", "*password*", true),
            ("user_password_old", "*password*", true),
            ("pass", "*password*", false),
            ("password_hash", "*_hash", true),
            ("hash", "*_hash", false),
            ("hash_of", "*_hash", false),
            ("a_hash_hash", "*_hash", true),
            ("name", "name", true),
            ("names", "name", false),
            ("name", "NAME", true),
            ("", "*", true),
            ("", "", true),
            ("x", "", false),
            ("api_key_v2", "api*key*2", true),
            ("api_key_v3", "api*key*2", false),
            ("a.b", "a?b", false),
            ("GRÖSSE", "gröss*", true),
        ];
        for (column, pattern, expected) in cases {
            assert_eq!(redacted(column, &[pattern]), expected, "{column} against {pattern}");
        }
        for column in ["password_hash", "reset_token", "oauth_Secret", "salt", "old_passwd"] {
            assert!(redacted(column, &REDACTED), "{column}");
        }
        for column in ["name", "budget", "hash", "version"] {
            assert!(!redacted(column, &REDACTED), "{column}");
        }
    }

    #[test]
    fn chooses_the_columns_an_error_shows() {
        let table = users();
        let names = |sets: &[usize], setting| {
            let sets = sets.iter().copied().collect();
            state_columns(&table, &sets, setting).iter().map(|c| c.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(&[1, 2], CurrentState::Written), ["name"]);
        assert_eq!(names(&[2], CurrentState::Written), Vec::<String>::new());
        assert_eq!(names(&[1, 2], CurrentState::All), ["id", "name", "version"]);
        assert_eq!(names(&[1, 2], CurrentState::None), Vec::<String>::new());
    }
}
