//! The untagged packets that open a connection: SSLRequest, GSSENCRequest, CancelRequest, StartupMessage. A length
//! word that counts itself, a code, and what the code asks for.
//!
//! Limits and reading order are those of the server's `ProcessStartupPacket` (src/backend/tcop/backend_startup.c,
//! before version 17 in postmaster.c).

use super::cursor::Cursor;
use super::read::KeyData;

/// The shortest packet: length word and code.
pub const MIN_PACKET: u32 = 8;

/// The longest packet the server takes: its `MAX_STARTUP_PACKET_LENGTH` of 10,000 bytes does not count the
/// length word.
pub const MAX_PACKET: u32 = 10_000 + 4;

const SPECIAL: u16 = 1234;
const CANCEL: u16 = 5678;
const SSL: u16 = 5679;
const GSS_ENC: u16 = 5680;

/// What the first bytes of a new connection say about the packet that starts there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartupScan {
    /// The packet is not all there yet.
    Incomplete,
    /// The length word cannot be one: another protocol, or garbage.
    Malformed {
        /// The length word as read.
        len: u32,
    },
    /// The first so many bytes are a whole packet, for [`read_startup`].
    Packet(usize),
}

/// Looks for a whole untagged packet at the start of `buf`.
pub fn scan_startup(buf: &[u8]) -> StartupScan {
    let Some(len) = Cursor(buf).u32() else { return StartupScan::Incomplete };
    if !(MIN_PACKET..=MAX_PACKET).contains(&len) {
        return StartupScan::Malformed { len };
    }
    if buf.len() < len as usize {
        return StartupScan::Incomplete;
    }
    StartupScan::Packet(len as usize)
}

/// A whole untagged packet, read.
#[derive(Clone, PartialEq, Eq)]
pub enum Startup<'a> {
    /// SSLRequest.
    Ssl,
    /// GSSENCRequest.
    GssEnc,
    /// CancelRequest; see [`read_cancel`] for what it holds.
    Cancel {
        /// The packet with its length word, to be forwarded.
        packet: &'a [u8],
    },
    /// StartupMessage of protocol major version 3.
    Start {
        /// Major protocol version: 3.
        major: u16,
        /// Minor protocol version, as asked for.
        minor: u16,
        /// Names and values, in their order.
        params: Vec<(&'a [u8], &'a [u8])>,
    },
    /// A code that nobody defined, or another major version, which servers refuse as an unsupported protocol.
    Unknown {
        /// The code as read; the upper half is the major version, the lower the minor.
        code: u32,
    },
}

impl std::fmt::Debug for Startup<'_> {
    /// Leaves the cancel secret and the parameters' values out.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Startup::Ssl => f.write_str("Ssl"),
            Startup::GssEnc => f.write_str("GssEnc"),
            Startup::Cancel { .. } => f.write_str("Cancel"),
            Startup::Start { major, minor, params } => {
                let names: Vec<_> = params.iter().map(|(name, _)| String::from_utf8_lossy(name)).collect();
                f.debug_struct("Start")
                    .field("major", major)
                    .field("minor", minor)
                    .field("params", &names)
                    .finish()
            }
            Startup::Unknown { code } => f.debug_struct("Unknown").field("code", code).finish(),
        }
    }
}

/// Why a packet with a sound length word cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartupError {
    /// The bytes given are not the one packet that their length word announces.
    #[error("the startup packet's length word does not match its {got} bytes")]
    Length {
        /// How many bytes there were.
        got: usize,
    },
    /// The parameters do not end where the packet does.
    #[error("the startup packet's parameters do not end with a terminator as its last byte")]
    Layout,
    /// A CancelRequest whose key is shorter or longer than any server gives out.
    #[error("the cancel request is {got} bytes long, which no cancel key accounts for")]
    CancelLength {
        /// Length of the packet.
        got: usize,
    },
}

/// Reads one whole packet, length word included, as [`scan_startup`] delimits it.
pub fn read_startup(packet: &[u8]) -> Result<Startup<'_>, StartupError> {
    let got = packet.len();
    let mut c = Cursor(packet);
    let (Some(len), Some(major), Some(minor)) = (c.u32(), c.u16(), c.u16()) else {
        return Err(StartupError::Length { got });
    };
    if len as usize != got || len > MAX_PACKET {
        return Err(StartupError::Length { got });
    }
    match (major, minor) {
        (SPECIAL, SSL) => Ok(Startup::Ssl),
        (SPECIAL, GSS_ENC) => Ok(Startup::GssEnc),
        (SPECIAL, CANCEL) => match read_cancel(packet) {
            Some(_) => Ok(Startup::Cancel { packet }),
            None => Err(StartupError::CancelLength { got }),
        },
        (3, _) => {
            let params = read_params(c).ok_or(StartupError::Layout)?;
            Ok(Startup::Start { major, minor, params })
        }
        _ => Ok(Startup::Unknown { code: u32::from(major) << 16 | u32::from(minor) }),
    }
}

/// Pairs of texts up to an empty name, which must be the packet's last byte.
fn read_params(mut c: Cursor<'_>) -> Option<Vec<(&[u8], &[u8])>> {
    let mut params = Vec::new();
    loop {
        match c.cstr()? {
            b"" => break,
            name => params.push((name, c.cstr()?)),
        }
    }
    c.end()?;
    Some(params)
}

/// The process id and secret of a CancelRequest packet.
pub fn read_cancel(packet: &[u8]) -> Option<KeyData<'_>> {
    super::read::read_key_data(packet.get(MIN_PACKET as usize..)?)
}

impl<'a> Startup<'a> {
    /// A startup parameter by its name; the last one counts if it is there twice, as it does for the server.
    pub fn param(&self, name: &str) -> Option<&'a [u8]> {
        let Startup::Start { params, .. } = self else { return None };
        params.iter().rev().find(|(n, _)| *n == name.as_bytes()).map(|(_, value)| *value)
    }

    /// The role that logs in.
    pub fn user(&self) -> Option<&'a [u8]> {
        self.param("user")
    }

    /// The database: where none or an empty one is named, the server takes the user's name.
    pub fn database(&self) -> Option<&'a [u8]> {
        self.param("database").filter(|name| !name.is_empty()).or_else(|| self.user())
    }

    /// Command-line options for the server process, such as `-c search_path=app`.
    pub fn options(&self) -> Option<&'a [u8]> {
        self.param("options")
    }

    /// The value of a setting, given by its name in lower case: a parameter of its own, or in the options as
    /// `-c name=value` or `--name=value`.
    pub fn setting(&self, name: &str) -> Option<String> {
        let Startup::Start { params, .. } = self else { return None };
        let own = params.iter().rev().find(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()));
        if let Some((_, value)) = own {
            return Some(String::from_utf8_lossy(value).into_owned());
        }
        let words = split_options(self.options()?);
        let mut found = None;
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let assignment = match (word.strip_prefix("--"), word.strip_prefix("-c")) {
                (Some(long), _) => long,
                (None, Some("")) => words.next()?,
                (None, Some(short)) => short,
                (None, None) => continue,
            };
            if let Some((key, value)) = assignment.split_once('=')
                && key.replace('-', "_").eq_ignore_ascii_case(name)
            {
                found = Some(value.to_owned());
            }
        }
        found
    }

    /// Asks for a replication connection: `database`, or what the server reads as true. Whatever else stands there
    /// is an ordinary session, or refused by the server.
    pub fn replication(&self) -> bool {
        let Some(value) = self.param("replication") else { return false };
        let abbreviates = |word: &[u8]| {
            !value.is_empty() && word.get(..value.len()).is_some_and(|w| w.eq_ignore_ascii_case(value))
        };
        value == b"database"
            || value == b"1"
            || value.eq_ignore_ascii_case(b"on")
            || abbreviates(b"true")
            || abbreviates(b"yes")
    }

    /// The name the client gives itself.
    pub fn application_name(&self) -> Option<&'a [u8]> {
        self.param("application_name")
    }
}

/// Words between white space; a backslash takes the next character as it is.
fn split_options(options: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(options);
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_ascii_whitespace() || c == '\u{b}' => words.extend(word.take()),
            '\\' => word.get_or_insert_default().extend(chars.next()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests;
