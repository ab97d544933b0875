//! Values as given, and how they are read. What cannot be read is `None`; the caller names what is allowed.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use super::{Blind, HostPort, LogFormat, LogLevel, Mode, OnUnparsed};

/// A value as a flag, a variable or the file gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Raw {
    /// Text. Flags and variables give nothing else, so every reader below accepts it.
    Text(String),
    /// An integer of the file.
    Integer(i64),
    /// A boolean of the file.
    Boolean(bool),
    /// An array of the file.
    List(Vec<Node>),
    /// A table of the file, in its order.
    Table(Vec<(String, Node)>),
    /// Another value of the file (a float, a date), as spelled.
    Other(String),
}

/// A value of the file and the line where its key or itself begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Line, counted from one.
    pub line: usize,
    /// The value.
    pub raw: Raw,
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{:?}", mask(text)),
            Self::Integer(n) => write!(f, "{n}"),
            Self::Boolean(b) => write!(f, "{b}"),
            Self::List(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{}", if i == 0 { "" } else { ", " }, item.raw)?;
                }
                f.write_str("]")
            }
            Self::Table(_) => f.write_str("{..}"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

/// Hides the password of a URL that someone gave in the place of an address, or of what was meant to be one.
pub fn mask(text: &str) -> String {
    let Some((before, host)) = text.rsplit_once('@') else { return text.to_owned() };
    match before.split_once("://") {
        Some((scheme, _)) => format!("{scheme}://***@{host}"),
        None if before.contains(':') => format!("***@{host}"),
        None => text.to_owned(),
    }
}

/// Text that is not empty and holds no control character.
pub fn text(raw: &Raw) -> Option<String> {
    match raw {
        Raw::Text(text) if !text.trim().is_empty() && !text.chars().any(char::is_control) => {
            Some(text.trim().to_owned())
        }
        _ => None,
    }
}

/// An integer within bounds, both included.
pub fn integer(raw: &Raw, min: usize, max: usize) -> Option<usize> {
    let n = match raw {
        Raw::Integer(n) => usize::try_from(*n).ok()?,
        Raw::Text(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    (min..=max).contains(&n).then_some(n)
}

/// A number of bytes within bounds: an integer, or one with `KiB`, `MiB` or `GiB`.
pub fn bytes(raw: &Raw, min: usize, max: usize) -> Option<usize> {
    let n = match raw {
        Raw::Integer(n) => usize::try_from(*n).ok()?,
        Raw::Text(text) => {
            let text = text.trim();
            let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
            let unit: usize = match text.get(digits.len()..)?.trim() {
                "" | "B" => 1,
                "KiB" => 1 << 10,
                "MiB" => 1 << 20,
                "GiB" => 1 << 30,
                _ => return None,
            };
            digits.parse::<usize>().ok()?.checked_mul(unit)?
        }
        _ => return None,
    };
    (min..=max).contains(&n).then_some(n)
}

/// `true` or `false`.
pub fn boolean(raw: &Raw) -> Option<bool> {
    match raw {
        Raw::Boolean(b) => Some(*b),
        Raw::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// A duration within bounds, both included: `500ms`, `5s`, `1m 30s`, `1h`. Never a bare number: its unit would be
/// a guess.
pub fn duration(raw: &Raw, min: Duration, max: Duration) -> Option<Duration> {
    let Raw::Text(text) = raw else { return None };
    let parsed: jiff::SignedDuration = text.trim().parse().ok()?;
    let duration = Duration::try_from(parsed).ok()?;
    (min..=max).contains(&duration).then_some(duration)
}

/// An IP address and port.
pub fn address(raw: &Raw) -> Option<SocketAddr> {
    match raw {
        Raw::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// Permissions of a file in octal, as text: the owner may read and write at least.
pub fn permissions(raw: &Raw) -> Option<u32> {
    let text = text(raw)?;
    let mode = u32::from_str_radix(text.strip_prefix("0o").unwrap_or(&text), 8).ok()?;
    (0o600..=0o777).contains(&mode).then_some(mode).filter(|mode| mode & 0o600 == 0o600)
}

/// One item or more, none of them twice: an array, or text with commas between.
pub fn list<T: PartialEq>(raw: &Raw, item: impl Fn(&Raw) -> Option<T>) -> Option<Vec<T>> {
    let items: Vec<T> = match raw {
        Raw::List(nodes) => nodes.iter().map(|node| item(&node.raw)).collect::<Option<_>>()?,
        Raw::Text(text) => {
            text.split(',').map(|part| item(&Raw::Text(part.to_owned()))).collect::<Option<_>>()?
        }
        _ => return None,
    };
    let twice = items.iter().enumerate().any(|(i, a)| items.iter().skip(i + 1).any(|b| a == b));
    (!items.is_empty() && !twice).then_some(items)
}

/// `host:port`, `1.2.3.4:5432`, `[::1]:5432`.
pub fn host_port(raw: &Raw) -> Option<HostPort> {
    let Raw::Text(text) = raw else { return None };
    let text = text.trim();
    let (host, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|p| *p != 0)?;
    let host = match host.strip_prefix('[') {
        Some(v6) => {
            let v6 = v6.strip_suffix(']')?;
            v6.parse::<std::net::Ipv6Addr>().ok()?;
            v6
        }
        None => host,
    };
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let is_v6 = host.contains(':') && text.starts_with('[');
    (!host.is_empty() && (is_v6 || host.chars().all(name))).then(|| HostPort { host: host.to_owned(), port })
}

/// A SQLSTATE fit for an error: five characters 0-9 A-Z, not of the classes 00, 01, 02 (success, warning, no data).
pub fn sqlstate(raw: &Raw) -> Option<String> {
    let text = match raw {
        Raw::Text(text) => text.trim().to_owned(),
        Raw::Integer(n) => n.to_string(),
        _ => return None,
    };
    let charset = text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
    let error_class = !["00", "01", "02"].iter().any(|class| text.starts_with(class));
    (charset && error_class).then_some(text)
}

/// What [`mode`] allows.
pub const MODES: &str = "enforce, observe or off";

/// `enforce`, `observe` or `off`.
pub fn mode(raw: &Raw) -> Option<Mode> {
    let text = text(raw)?;
    [Mode::Enforce, Mode::Observe, Mode::Off].into_iter().find(|mode| mode.name() == text)
}

/// What [`blind`] allows.
pub const BLIND: &str = "allow or reject";

/// `allow` or `reject`.
pub fn blind(raw: &Raw) -> Option<Blind> {
    match text(raw)?.as_str() {
        "allow" => Some(Blind::Allow),
        "reject" => Some(Blind::Reject),
        _ => None,
    }
}

/// `pass` or `reject`.
pub fn on_unparsed(raw: &Raw) -> Option<OnUnparsed> {
    match text(raw)?.as_str() {
        "pass" => Some(OnUnparsed::Pass),
        "reject" => Some(OnUnparsed::Reject),
        _ => None,
    }
}

/// `json` or `human`.
pub fn log_format(raw: &Raw) -> Option<LogFormat> {
    match raw {
        Raw::Text(text) => match text.trim() {
            "json" => Some(LogFormat::Json),
            "human" => Some(LogFormat::Human),
            _ => None,
        },
        _ => None,
    }
}

/// A level, with levels of single targets behind it: `info,staleguard::session=debug`.
pub fn log_level(raw: &Raw) -> Option<LogLevel> {
    let Raw::Text(text) = raw else { return None };
    let mut parts = text.split(',').map(str::trim);
    let all = level(parts.next()?)?;
    let targets = parts
        .map(|part| {
            let (target, name) = part.split_once('=')?;
            let ours = target == "staleguard" || target.starts_with("staleguard::");
            ours.then_some((target.to_owned(), level(name)?))
        })
        .collect::<Option<Vec<_>>>()?;
    Some(LogLevel { all, targets })
}

fn level(name: &str) -> Option<LevelFilter> {
    Some(match name {
        "off" => LevelFilter::OFF,
        "error" => LevelFilter::ERROR,
        "warn" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        _ => return None,
    })
}
