//! The file of users, in the form of pgbouncer's: `"user" "secret"` on each line. A secret is a verifier as `pg_authid`
//! has it, or a password. Lines that begin with `;` or `#` say nothing.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::scram::Verifier;

/// What is wrong with the file. Nothing of it is quoted.
#[derive(Debug, thiserror::Error)]
pub enum UsersError {
    /// It cannot be read.
    #[error("auth.users = {} cannot be read: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's words.
        reason: std::io::Error,
    },
    /// A line is something else.
    #[error("auth.users = {} line {line} is not \"user\" \"secret\"", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from one.
        line: usize,
    },
}

/// What is known of a user.
pub enum Secret {
    /// A verifier.
    Verifier(Arc<Verifier>),
    /// A password, and its verifier once that has been made.
    Password(String, OnceLock<Option<Arc<Verifier>>>),
    /// Something by which SCRAM cannot authenticate, such as an MD5 hash.
    Unusable,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Verifier(_) => "Verifier(..)",
            Self::Password(..) => "Password(..)",
            Self::Unusable => "Unusable",
        })
    }
}

impl Secret {
    /// As the file or the query gives it.
    pub fn read(text: &str) -> Self {
        if let Some(verifier) = Verifier::read(text) {
            return Self::Verifier(Arc::new(verifier));
        }
        let hash = text
            .strip_prefix("md5")
            .is_some_and(|hex| hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
        if text.is_empty() || hash || text.starts_with("SCRAM-SHA-256$") {
            return Self::Unusable;
        }
        Self::Password(text.to_owned(), OnceLock::new())
    }

    /// What a client's proof is judged by.
    pub fn verifier(&self) -> Option<Arc<Verifier>> {
        match self {
            Self::Verifier(verifier) => Some(verifier.clone()),
            Self::Password(password, made) => {
                made.get_or_init(|| Verifier::of_password(password).map(Arc::new)).clone()
            }
            Self::Unusable => None,
        }
    }
}

/// All users of the file.
pub struct Users(HashMap<String, Arc<Secret>>);

impl Users {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self, UsersError> {
        let text = std::fs::read_to_string(path)
            .map_err(|reason| UsersError::Unreadable { path: path.to_owned(), reason })?;
        let mut users = HashMap::new();
        for (n, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with([';', '#']) {
                continue;
            }
            let pair = quoted(line).and_then(|(user, rest)| Some((user, quoted(rest.trim_start())?.0)));
            let Some((user, secret)) = pair.filter(|(user, _)| !user.is_empty()) else {
                return Err(UsersError::Line { path: path.to_owned(), line: n + 1 });
            };
            users.insert(user, Arc::new(Secret::read(&secret)));
        }
        Ok(Self(users))
    }

    /// What is known of a user.
    pub fn secret(&self, user: &str) -> Option<Arc<Secret>> {
        self.0.get(user).cloned()
    }
}

/// A text in double quotes, in which a doubled one stands for itself, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut rest = text.strip_prefix('"')?;
    let mut out = String::new();
    loop {
        let (part, behind) = rest.split_once('"')?;
        out.push_str(part);
        match behind.strip_prefix('"') {
            Some(more) => {
                out.push('"');
                rest = more;
            }
            None => return Some((out, behind)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn the_file_of_users() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.txt");
        let scram = postgres_protocol::password::scram_sha_256(b"sesame");
        let text = format!(
            "; said\n# nothing\n\n\"app\" \"{scram}\"\n  \"a \"\"b\"\"\"\t\"pass\"\"word\" behind\n\"old\" \"md5{}\"\n\"none\" \"\"\n",
            "0a".repeat(16)
        );
        std::fs::write(&path, &text).unwrap();
        let users = Users::read(&path).unwrap();
        assert!(matches!(*users.secret("app").unwrap(), Secret::Verifier(_)));
        match &*users.secret("a \"b\"").unwrap() {
            Secret::Password(password, _) => assert_eq!(password, "pass\"word"),
            other => panic!("{other:?}"),
        }
        assert!(matches!(*users.secret("old").unwrap(), Secret::Unusable));
        assert!(matches!(*users.secret("none").unwrap(), Secret::Unusable));
        assert!(users.secret("nobody").is_none());
        for (line, text) in
            [(1, "app hush"), (2, "\"app\" \"x\"\n\"app\" hush"), (1, "\"\" \"hush\""), (1, "\"app\" \"hush")]
        {
            std::fs::write(&path, text).unwrap();
            let error = Users::read(&path).err().unwrap().to_string();
            assert!(error.ends_with(&format!("line {line} is not \"user\" \"secret\"")), "{error}");
            assert!(!error.contains("hush"), "{error}");
        }
    }
}
