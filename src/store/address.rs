//! Where the store is. An address may hold a password, which nobody must see.

use std::fmt;

use crate::config::value::mask;
use redis::{ConnectionAddr, IntoConnectionInfo};

/// `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`. Shown without user and password.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreAddress(String);

impl StoreAddress {
    /// `None` where it is no such address. TLS is not among what it can ask for.
    pub fn read(text: &str) -> Option<Self> {
        if !text.starts_with("redis://") {
            return None;
        }
        let info = text.into_connection_info().ok()?;
        matches!(info.addr(), ConnectionAddr::Tcp(host, _) if !host.is_empty()).then(|| Self(text.to_owned()))
    }

    /// All of it.
    pub(super) fn secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&mask(&self.0))
    }
}

impl fmt::Debug for StoreAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn addresses() {
        for good in [
            "redis://127.0.0.1",
            "redis://store.internal:6380/2",
            "redis://:secret@store",
            "redis://user:s%40cret@[::1]:6379/0",
        ] {
            assert!(StoreAddress::read(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "local",
            "store:6379",
            "rediss://store",
            "redis+unix:///tmp/s",
            "unix:///tmp/s",
            "redis://h/x",
        ] {
            assert_eq!(StoreAddress::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn nobody_sees_the_password() {
        let address = StoreAddress::read("redis://user:p@ss@store:6379/1").unwrap();
        assert_eq!(address.to_string(), "redis://***@store:6379/1");
        assert_eq!(format!("{address:?}"), "redis://***@store:6379/1");
    }
}
