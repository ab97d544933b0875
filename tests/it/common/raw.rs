//! A client that speaks the protocol frame by frame.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::ClientConfig;

use super::LIMIT;
use super::frames::{self, Frame};
use super::socket::Socket;

/// The two ways to send a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Query; the values go into the text as literals.
    Simple,
    /// Parse, Bind, Describe, Execute, Sync; the values go as parameters.
    Extended,
}

/// Both, each with the key of a row that no other uses.
pub const BOTH: [(Protocol, &str); 2] = [(Protocol::Simple, "1"), (Protocol::Extended, "2")];

/// One session.
pub struct Raw {
    stream: Socket,
    /// The head of what was no frame.
    odd: Vec<u8>,
    /// Body of BackendKeyData: what a CancelRequest carries.
    pub key: Vec<u8>,
    /// What the server sent from the startup's answer to the first ReadyForQuery.
    pub greeting: Vec<Frame>,
}

impl Raw {
    /// Opens a connection and sends nothing yet.
    pub fn open(address: &str) -> Self {
        Self { stream: Socket::open(address), odd: Vec::new(), key: Vec::new(), greeting: Vec::new() }
    }

    /// A session of a role that needs no password.
    pub fn connect(address: &str, user: &str, database: &str) -> Self {
        Self::connect_with(address, &[("user", user), ("database", database)])
    }

    /// A session with these startup parameters.
    pub fn connect_with(address: &str, parameters: &[(&str, &str)]) -> Self {
        Self::open(address).log_in(parameters)
    }

    /// Goes on under TLS on this connection.
    pub fn into_tls(self, config: &Arc<ClientConfig>) -> io::Result<Self> {
        Ok(Self { stream: self.stream.into_tls(config)?, ..self })
    }

    /// A connection under TLS, asked for with an SSLRequest; nothing more has been said.
    pub fn open_tls(address: &str, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let mut raw = Self::open(address);
        raw.send(&frames::ssl_request());
        assert_eq!(raw.byte(), b'S');
        raw.into_tls(config)
    }

    /// A session's start on a connection that is open.
    pub fn log_in(mut self, parameters: &[(&str, &str)]) -> Self {
        self.send(&frames::startup(parameters));
        self.greeting = self.until_ready(1);
        let key = self.greeting.iter().find(|f| f.tag == b'K');
        self.key = key.unwrap_or_else(|| panic!("no session: {:?}", self.greeting)).body.clone();
        self
    }

    /// Process id of the backend behind this session.
    pub fn pid(&self) -> i32 {
        i32::from_be_bytes(self.key[..4].try_into().unwrap())
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    /// Sends bytes to a peer that may have closed already.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Waits for replies longer than [`LIMIT`].
    pub fn wait_up_to(&mut self, limit: Duration) {
        self.stream.limit(limit);
    }

    /// A second handle that only sends.
    pub fn writer(&self) -> TcpStream {
        self.stream.tcp().try_clone().unwrap()
    }

    /// Closes our sending side only.
    pub fn close_sending(&mut self) {
        self.stream.close_sending();
    }

    /// The next byte, outside of any frame (the answer to SSLRequest).
    pub fn byte(&mut self) -> u8 {
        let mut byte = [0];
        self.stream.read_exact(&mut byte).unwrap();
        byte[0]
    }

    /// The next frame; an error where the peer closes or the time limit ends.
    pub fn try_frame(&mut self) -> io::Result<Frame> {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head)?;
        let len = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
        if !(4..1 << 30).contains(&len) {
            self.odd = head.to_vec();
            let what = format!("frame {:?} of length {len}", char::from(head[0]));
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        let mut body = vec![0; len - 4];
        self.stream.read_exact(&mut body)?;
        Ok(Frame { tag: head[0], body })
    }

    /// What came in place of a frame (an error of protocol 2), up to the end of the connection.
    pub fn unframed(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = std::mem::take(&mut self.odd);
        self.stream.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The next frame.
    pub fn frame(&mut self) -> Frame {
        self.try_frame().unwrap_or_else(|e| panic!("a frame was expected: {e}"))
    }

    /// Frames up to the first with this tag, and that one.
    pub fn until(&mut self, tag: char) -> Vec<Frame> {
        let mut out = Vec::new();
        while out.last().is_none_or(|f: &Frame| f.tag != tag as u8) {
            let next = self.try_frame();
            out.push(next.unwrap_or_else(|e| panic!("waiting for {tag}: {e} after {out:?}")));
        }
        out
    }

    /// Frames up to the `count`th ReadyForQuery. An error before the first one ends the wait, as the server
    /// closes then.
    pub fn until_ready(&mut self, count: usize) -> Vec<Frame> {
        let mut out = Vec::new();
        let mut ready = 0;
        while ready < count {
            match self.try_frame() {
                Ok(frame) => out.push(frame),
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof && !out.is_empty() => break,
                Err(e) => panic!("{ready} of {count} ReadyForQuery: {e} after {out:?}"),
            }
            ready += usize::from(out.last().is_some_and(|f| f.tag == b'Z'));
        }
        out
    }

    /// All that comes until the peer closes.
    pub fn until_closed(&mut self) -> Vec<Frame> {
        let mut out = Vec::new();
        loop {
            match self.try_frame() {
                Ok(frame) => out.push(frame),
                Err(e)
                    if matches!(e.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) =>
                {
                    return out;
                }
                Err(e) => panic!("the peer did not close: {e} after {out:?}"),
            }
        }
    }

    /// True if nothing comes within `wait`.
    pub fn quiet(&mut self, wait: Duration) -> bool {
        self.stream.limit(wait);
        let quiet = self.stream.tcp().peek(&mut [0]).is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock);
        self.stream.limit(LIMIT);
        quiet
    }

    /// Sends messages in one write and reads to the last ReadyForQuery they call for: one for each Query, Sync
    /// and FunctionCall.
    pub fn exchange(&mut self, messages: &[Vec<u8>]) -> Vec<Frame> {
        self.send(&messages.concat());
        self.until_ready(messages.iter().filter(|m| matches!(m[0], b'Q' | b'S' | b'F')).count())
    }

    /// One simple Query.
    pub fn query(&mut self, sql: &str) -> Vec<Frame> {
        self.exchange(&[frames::query(sql)])
    }

    /// One statement in the extended protocol: unnamed, text in and out, one cycle.
    pub fn extended(&mut self, sql: &str, values: &[&str]) -> Vec<Frame> {
        self.exchange(&[
            frames::parse("", sql, &[]),
            frames::bind("", values),
            frames::describe('P', ""),
            frames::execute("", 0),
            frames::sync(),
        ])
    }

    /// One statement with `$1`.. in either protocol.
    pub fn say(&mut self, protocol: Protocol, sql: &str, values: &[&str]) -> Vec<Frame> {
        match protocol {
            Protocol::Simple => self.query(&inlined(sql, values)),
            Protocol::Extended => self.extended(sql, values),
        }
    }

    /// One simple Query that must not fail; its last command tag.
    pub fn ok(&mut self, sql: &str) -> String {
        let reply = self.query(sql);
        if let Some(error) = error(&reply) {
            panic!("{sql}: {error:?}");
        }
        commands(&reply).pop().unwrap_or_default()
    }

    /// The rows of a simple Query that must not fail, as texts.
    pub fn rows(&mut self, sql: &str) -> Vec<Vec<String>> {
        let reply = self.query(sql);
        assert!(error(&reply).is_none(), "{sql}: {reply:?}");
        rows(&reply)
    }

    /// The single value of a simple Query.
    pub fn value(&mut self, sql: &str) -> String {
        let rows = self.rows(sql);
        assert!(rows.len() == 1 && rows[0].len() == 1, "{sql}: {rows:?}");
        rows[0][0].clone()
    }
}

/// The text with `$n` replaced by literals, as drivers without server-side parameters do it.
pub fn inlined(sql: &str, values: &[&str]) -> String {
    let literals = values.iter().enumerate().rev();
    literals.fold(sql.to_owned(), |sql, (i, v)| {
        sql.replace(&format!("${}", i + 1), &format!("'{}'", v.replace('\'', "''")))
    })
}

/// The first ErrorResponse of a reply.
pub fn error(reply: &[Frame]) -> Option<&Frame> {
    reply.iter().find(|f| f.tag == b'E')
}

/// The SQLSTATE of the first error of a reply, or the empty string.
pub fn sqlstate(reply: &[Frame]) -> String {
    error(reply).and_then(|e| e.field('C')).unwrap_or_default()
}

/// The command tags of a reply.
pub fn commands(reply: &[Frame]) -> Vec<String> {
    reply.iter().filter(|f| f.tag == b'C').map(Frame::command).collect()
}

/// The rows of a reply, as texts.
pub fn rows(reply: &[Frame]) -> Vec<Vec<String>> {
    reply.iter().filter(|f| f.tag == b'D').map(Frame::texts).collect()
}

/// The status letter of the last ReadyForQuery: `I`, `T` or `E`.
pub fn status(reply: &[Frame]) -> char {
    reply.iter().rfind(|f| f.tag == b'Z').map_or(' ', |f| char::from(f.body[0]))
}

/// The type letters of a reply in order, `1` to `Z`: its shape.
pub fn shape(reply: &[Frame]) -> String {
    reply.iter().map(|f| char::from(f.tag)).collect()
}
