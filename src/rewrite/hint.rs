//! The expected version in a comment, which is what an `If-Match` header can travel in.
//!
//! ```text
//! /* expected_version=5 */ UPDATE projects SET name = 'x' WHERE id = 7
//! UPDATE projects SET name = 'x' WHERE id = 7 /*expected_version='5',traceparent='00-4bf9..-01'*/
//! ```
//!
//! The pairs are read as sqlcommenter writes them (values quoted and URL-encoded) or bare; the value may be an entity
//! tag (`"5"`, `W/"5"`). It counts for a statement that holds one write, of one row named by its key. In a text of
//! several statements a comment belongs to the statement that it stands in, before or behind, up to the semicolon.

use std::ops::Range;

use super::plan::{Plan, Verb, VersionSource};
use crate::sql::tags;

const KEY: &str = "expected_version";

/// Puts the versions that the text's comments name into its plan.
pub fn apply(plan: &mut Plan, text: &[u8], comments: &[Range<u32>]) {
    if comments.is_empty() || memchr::memmem::find(text, KEY.as_bytes()).is_none() {
        return;
    }
    let single = plan.statements.len() == 1;
    for statement in &mut plan.statements {
        let mut writes = statement.sites.iter_mut().filter(|site| site.verb != Verb::Insert);
        let (Some(site), None) = (writes.next(), writes.next()) else { continue };
        if !site.names_one_row() || site.source != VersionSource::Observed {
            continue;
        }
        let own = |c: &&Range<u32>| single || statement.range.contains(&(c.start as usize));
        let Some(version) = named(text, comments.iter().filter(own)) else { continue };
        site.source = VersionSource::Hint(version);
        if let Some(point) = &mut statement.point {
            point.source = VersionSource::Hint(version);
        }
    }
}

/// The version that the comments name, if they name one and no other.
fn named<'a>(text: &[u8], comments: impl Iterator<Item = &'a Range<u32>>) -> Option<i64> {
    let mut found = None;
    for comment in comments {
        let content = String::from_utf8_lossy(text.get(comment.start as usize..comment.end as usize)?);
        for (key, value) in tags::tags(tags::content(&content)?) {
            if key != KEY {
                continue;
            }
            let version = version(&value)?;
            if found.is_some_and(|f| f != version) {
                return None;
            }
            found = Some(version);
        }
    }
    found
}

/// `5`, `"5"`, `W/"5"`.
fn version(value: &str) -> Option<i64> {
    let value = value.trim();
    let tag = value.strip_prefix("W/").unwrap_or(value);
    let bare = tag.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
    bare.unwrap_or(value).parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::super::testing::{only, plan_of};
    use super::*;

    fn sources(text: &str) -> Vec<VersionSource> {
        plan_of(text).statements.iter().flat_map(|s| &s.sites).map(|s| s.source.clone()).collect()
    }

    #[test]
    fn forms() {
        for (comment, version) in [
            ("/* expected_version=5 */", Some(5)),
            ("/*expected_version = 5*/", Some(5)),
            ("/*expected_version='5'*/", Some(5)),
            ("/*a='x,y=1',expected_version='5',traceparent='00-4bf9-01'*/", Some(5)),
            ("/*a='it\\'s, b',expected_version='5'*/", Some(5)),
            ("/*expected_version='%225%22'*/", Some(5)),
            ("/*expected_version='W%2F%225%22'*/", Some(5)),
            ("/*expected_version=\"5\"*/", Some(5)),
            ("/*expected_version='%35'*/", Some(5)),
            ("-- expected_version=5\n", Some(5)),
            ("/*expected_version=5*/ /* expected_version='5' */", Some(5)),
            ("/*expected_version=5*/ /*expected_version=6*/", None),
            ("/*expected_version=5,expected_version=x*/", None),
            ("/*my_expected_version=5*/", None),
            ("/*expected_version*/", None),
            ("/*expected_version='5*/", None),
            ("/*expected_version=5.0*/", None),
            ("/*expected_version='%2'*/", None),
            ("/*note='expected_version=5'*/", None),
        ] {
            let want = version.map_or(VersionSource::Observed, VersionSource::Hint);
            let write = "UPDATE projects SET name = 'x' WHERE id = 1";
            for text in
                [format!("{comment} {write}"), format!("{write} {comment}"), format!("{write}; {comment}")]
            {
                assert_eq!(only(&text).point.unwrap().source, want, "{text}");
                assert_eq!(sources(&text).first(), Some(&want), "{text}");
            }
        }
        let inside = only("UPDATE projects /*expected_version=5*/ SET name = 'x' WHERE id = 1");
        assert_eq!(inside.point.unwrap().source, VersionSource::Hint(5));
    }

    #[test]
    fn whose_it_is() {
        let hint = VersionSource::Hint;
        let observed = VersionSource::Observed;
        for (text, want) in [
            (
                "/*expected_version=5*/ UPDATE projects SET name = 'x' WHERE id = 1; UPDATE users SET email = 'x' /*expected_version=6*/",
                vec![hint(5), observed.clone()],
            ),
            (
                "UPDATE projects SET name = 'x' WHERE id = 1 /*expected_version=5*/; /*expected_version=6*/ DELETE FROM projects WHERE id = 2",
                vec![hint(5), hint(6)],
            ),
            (
                "INSERT INTO projects (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET name = 'x' /*expected_version=5*/",
                vec![hint(5)],
            ),
            (
                "UPDATE projects SET name = 'x' WHERE id IN (1, 2) /*expected_version=5*/",
                vec![observed.clone()],
            ),
            (
                "WITH a AS (UPDATE projects SET name = 'x' WHERE id = 1) UPDATE users SET email = 'x' WHERE id = $1 /*expected_version=5*/",
                vec![observed.clone(), observed],
            ),
            (
                "UPDATE projects SET name = 'x', version = 4 WHERE id = 1 /*expected_version=5*/",
                vec![VersionSource::WrittenBack(super::super::plan::Operand::Literal("4".into()))],
            ),
        ] {
            assert_eq!(sources(text), want, "{text}");
        }
    }
}
