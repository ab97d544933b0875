//! What was expected, what was seen, and the table that shows both.

use std::fmt::Write as _;

/// How one line of the table came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Seen is what was expected.
    Ok,
    /// Seen differs from what was expected: the demo's exit code is not 0.
    Failed,
    /// Not played here, and why is said in `seen`.
    Skipped,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "FAILED",
            Self::Skipped => "skipped",
        }
    }
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was played, by which client.
    pub scenario: String,
    /// What should be seen.
    pub expected: String,
    /// What was seen.
    pub seen: String,
    /// How it came out.
    pub outcome: Outcome,
}

impl Check {
    /// A check that holds if `ok`.
    pub fn new(
        scenario: impl Into<String>,
        expected: impl Into<String>,
        seen: impl Into<String>,
        ok: bool,
    ) -> Self {
        let outcome = if ok { Outcome::Ok } else { Outcome::Failed };
        Self { scenario: scenario.into(), expected: expected.into(), seen: seen.into(), outcome }
    }

    /// A check that holds if `seen` is, letter for letter, what was expected.
    pub fn equal(scenario: impl Into<String>, expected: impl Into<String>, seen: impl Into<String>) -> Self {
        let (expected, seen) = (expected.into(), seen.into());
        let ok = expected == seen;
        Self::new(scenario, expected, seen, ok)
    }

    /// A check that could not be played on this machine.
    pub fn skipped(scenario: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            scenario: scenario.into(),
            expected: String::new(),
            seen: why.into(),
            outcome: Outcome::Skipped,
        }
    }
}

/// Widths of the columns scenario, expected and seen, in characters.
const WIDTHS: [usize; 3] = [30, 36, 44];

/// Renders one titled group of checks, long cells wrapped at words.
pub fn table(title: &str, checks: &[Check]) -> String {
    let mut out = format!("\n{title}\n");
    line(&mut out, ["scenario", "expected", "seen"], "");
    line(&mut out, WIDTHS.map(|w| "-".repeat(w)).each_ref().map(String::as_str), "-------");
    for check in checks {
        line(&mut out, [&check.scenario, &check.expected, &check.seen], check.outcome.word());
    }
    out
}

fn line(out: &mut String, cells: [&str; 3], last: &str) {
    let wrapped: Vec<Vec<String>> = cells.iter().zip(WIDTHS).map(|(cell, width)| wrap(cell, width)).collect();
    let height = wrapped.iter().map(Vec::len).max().unwrap_or(0);
    for row in 0..height {
        let mut text = String::new();
        for (cell, width) in wrapped.iter().zip(WIDTHS) {
            let part = cell.get(row).map_or("", String::as_str);
            let pad = width.saturating_sub(part.chars().count());
            let _ = write!(text, "  {part}{:pad$}", "");
        }
        if row == 0 {
            let _ = write!(text, "  {last}");
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
}

/// Breaks `text` into lines of at most `width` characters, at spaces where there are any.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        let mut current = String::new();
        for word in paragraph.split(' ') {
            let mut word: Vec<char> = word.chars().collect();
            let used = current.chars().count();
            if used > 0 && used + 1 + word.len() > width {
                lines.push(std::mem::take(&mut current));
            } else if used > 0 {
                current.push(' ');
            }
            while word.len() > width {
                let rest = word.split_off(width);
                lines.push(word.into_iter().collect());
                word = rest;
            }
            current.extend(word);
        }
        lines.push(current);
    }
    if lines.is_empty() {
        lines.push(String::new());
    }
    lines
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn text_is_wrapped_at_words_and_long_words_are_cut() {
        for (text, width, expected) in [
            ("", 5, vec![""]),
            ("one two", 7, vec!["one two"]),
            ("one two", 6, vec!["one", "two"]),
            ("a\nb", 6, vec!["a", "b"]),
            ("abcdefgh", 3, vec!["abc", "def", "gh"]),
            ("é è ê", 3, vec!["é è", "ê"]),
        ] {
            assert_eq!(wrap(text, width), expected, "{text:?} at {width}");
        }
    }

    #[test]
    fn a_check_fails_when_seen_differs() {
        assert_eq!(Check::equal("s", "1", "1").outcome, Outcome::Ok);
        assert_eq!(Check::equal("s", "1", "2").outcome, Outcome::Failed);
        let text = table("title", &[Check::equal("s", "1", "2"), Check::skipped("t", "no psql")]);
        assert!(text.contains("FAILED") && text.contains("skipped"), "{text}");
    }
}
