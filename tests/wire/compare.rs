//! What is compared, and the difference as lines.
//!
//! Every byte counts but for what is declared here:
//! - BackendKeyData and the process id in NotificationResponse: each backend has its own. Lengths count.
//! - Values of a column called `version` of a table: a write through the proxy bumps it. Lengths count, NULL counts.
//! - Values of columns that a script masks, with its reason, under whatever length.
//! - The field `L` of an error that the server's lexer raised (`R` is `scanner_yyerror`): a line of the server's source.
//! - On replication connections, positions and clocks of XLogData, and keepalive messages altogether.

use crate::common::frames::Frame;
use crate::decode;

const SILENCE: &str = "(nothing more comes";

/// What came, decoded. Two are the same if their bytes are.
#[derive(Debug, Clone)]
pub struct Item {
    /// To read.
    pub line: String,
    bytes: Vec<u8>,
}

impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Item {
    /// Something that is no frame: a byte, the end of a connection.
    pub fn event(line: String) -> Self {
        Self { bytes: line.clone().into_bytes(), line }
    }

    /// What was waited for did not come.
    pub fn silence(error: &std::io::Error) -> Self {
        Self::event(format!("{SILENCE}, {:?})", error.kind()))
    }

    /// What was waited for did not come.
    pub fn is_silence(&self) -> bool {
        self.line.starts_with(SILENCE)
    }
}

/// What one connection has seen so far, as far as masking needs it.
#[derive(Debug, Default)]
pub struct Masks {
    /// Names of the columns of the last RowDescription, and whether each is a table's.
    columns: Vec<(String, bool)>,
    /// Columns that the script masks.
    names: Vec<String>,
    /// A replication connection.
    pub replication: bool,
}

impl Masks {
    /// With columns that the script masks.
    pub fn of(names: &[String]) -> Self {
        Self { names: names.to_vec(), ..Self::default() }
    }

    /// The message without what is not compared; `None` if that is all of it.
    pub fn item(&mut self, mut frame: Frame) -> Option<Item> {
        match frame.tag {
            b'K' => frame.body.fill(0),
            b'A' if frame.body.len() > 4 => frame.body[..4].fill(0),
            b'T' => {
                let columns = frame.columns().into_iter();
                self.columns = columns.map(|(name, origin)| (name, origin.0 != 0)).collect();
            }
            b'D' => frame.body = self.row(&frame),
            b'E' if frame.field('R').as_deref() == Some("scanner_yyerror") => {
                let fields = frame.body.split(|b| *b == 0).filter(|f| !f.starts_with(b"L"));
                frame.body = fields.collect::<Vec<_>>().join(&0);
            }
            b'd' if self.replication => match frame.body.first() {
                Some(b'k') => return None,
                Some(b'w') if frame.body.len() >= 25 => frame.body[1..25].fill(0),
                _ => {}
            },
            _ => {}
        }
        let line = decode::line(&frame);
        let bytes = [&[frame.tag], &frame.body[..]].concat();
        Some(Item { line, bytes })
    }

    fn row(&self, frame: &Frame) -> Vec<u8> {
        let values = frame.values();
        let mut body = frame.body[..2].to_vec();
        for (i, mut value) in values.into_iter().enumerate() {
            if let (Some((name, of_table)), Some(value)) = (self.columns.get(i), &mut value) {
                if self.names.contains(name) {
                    *value = b"masked".to_vec();
                } else if name == "version" && *of_table {
                    value.fill(b'0');
                }
            }
            body.extend(value.as_ref().map_or(-1, |v| v.len() as i32).to_be_bytes());
            body.extend(value.unwrap_or_default());
        }
        body
    }
}

/// A line of a difference: `-` direct alone, `+` through the proxy alone, else both.
pub fn difference(direct: &[Item], proxied: &[Item]) -> Vec<(char, String)> {
    // Length of the longest common sequence of the tails.
    let mut longest = vec![vec![0_usize; proxied.len() + 1]; direct.len() + 1];
    for i in (0..direct.len()).rev() {
        for j in (0..proxied.len()).rev() {
            longest[i][j] = if direct[i] == proxied[j] {
                longest[i + 1][j + 1] + 1
            } else {
                longest[i + 1][j].max(longest[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::new();
    while i < direct.len() || j < proxied.len() {
        if i < direct.len() && j < proxied.len() && direct[i] == proxied[j] {
            lines.push((' ', direct[i].line.clone()));
            (i, j) = (i + 1, j + 1);
        } else if i < direct.len() && (j == proxied.len() || longest[i + 1][j] >= longest[i][j + 1]) {
            lines.push(('-', direct[i].line.clone()));
            i += 1;
        } else {
            lines.push(('+', proxied[j].line.clone()));
            j += 1;
        }
    }
    lines
}

/// The difference is the one on record: `..` in a recorded line stands for anything.
pub fn is_recorded(difference: &[(char, String)], recorded: &[String]) -> bool {
    let found: Vec<_> = difference.iter().filter(|(sign, _)| *sign != ' ').collect();
    let wanted: Vec<_> = recorded.iter().filter(|line| !line.starts_with('!')).collect();
    found.len() == wanted.len()
        && found.iter().zip(wanted).all(|((sign, line), wanted)| {
            wanted.strip_prefix(*sign).is_some_and(|wanted| matches(wanted.trim(), line))
        })
}

fn matches(pattern: &str, line: &str) -> bool {
    let mut pieces = pattern.split("..");
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let mut pieces = pieces.peekable();
    let mut open = false;
    while let Some(piece) = pieces.next() {
        open = piece.is_empty();
        let found = match pieces.peek() {
            None => rest.ends_with(piece).then(|| rest.len() - piece.len()),
            Some(_) => rest.find(piece),
        };
        let Some(at) = found else { return false };
        rest = &rest[at + piece.len()..];
    }
    open || rest.is_empty()
}

#[test]
fn differences_and_records() {
    let items = |text: &str| text.chars().map(|c| Item::event(c.to_string())).collect::<Vec<_>>();
    let found = difference(&items("abcd"), &items("axcd"));
    let text: String = found.iter().flat_map(|(sign, line)| [*sign, line.chars().next().unwrap()]).collect();
    assert_eq!(text, " a-b+x c d");
    let record = |lines: &[&str]| lines.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>();
    assert!(is_recorded(&found, &record(&["! why", "- b", "+ x"])));
    assert!(!is_recorded(&found, &record(&["! why", "+ x", "- b"])));
    assert!(!is_recorded(&found, &record(&["! why", "- b"])) && !is_recorded(&found, &[]));
    assert!(!is_recorded(&difference(&items("a"), &items("a")), &record(&["! why", "- b"])));
    assert!(
        matches("a..c", "abbc") && matches("a..", "abc") && matches("..c", "abc") && matches("abc", "abc")
    );
    assert!(
        !matches("a..c", "abcd")
            && !matches("b..", "abc")
            && !matches("a", "abc")
            && !matches("a..b..c", "ac")
    );
}
