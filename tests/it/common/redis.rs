//! A throwaway Redis for one test: the real `redis-server`, in a folder and on a port of its own.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use tempfile::TempDir;

use super::LIMIT;
use super::cluster::{free_port, run};
use super::log::Log;

/// A running server; killed when dropped, and by the kernel should the test's thread end without that.
pub struct Redis {
    port: u16,
    password: Option<String>,
    arguments: Vec<String>,
    folder: TempDir,
    child: Mutex<Child>,
}

/// One value of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Text(String),
    Number(i64),
    Nothing,
    List(Vec<Self>),
    Error(String),
}

impl Answer {
    /// The texts of a list.
    pub fn texts(&self) -> Vec<String> {
        match self {
            Self::List(items) => items.iter().flat_map(Self::texts).collect(),
            Self::Text(text) => vec![text.clone()],
            other => panic!("no text: {other:?}"),
        }
    }

    /// A number.
    pub fn number(&self) -> i64 {
        match self {
            Self::Number(n) => *n,
            other => panic!("no number: {other:?}"),
        }
    }
}

impl Redis {
    /// A server that asks for nothing.
    pub fn start() -> Self {
        Self::start_with(None, &[])
    }

    /// A server with a password, and further arguments.
    pub fn start_with(password: Option<&str>, arguments: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("staleguard-redis-").tempdir().unwrap();
        let mut arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
        if let Some(password) = password {
            arguments.extend(["--requirepass".to_owned(), password.to_owned()]);
        }
        for _ in 0..5 {
            let port = free_port();
            if let Some(child) = launch(port, &folder, &arguments) {
                let password = password.map(str::to_owned);
                return Self { port, password, arguments, folder, child: Mutex::new(child) };
            }
        }
        panic!("no free port for redis-server in five tries");
    }

    /// `redis://127.0.0.1:port`, with the password.
    pub fn url(&self) -> String {
        let password = self.password.as_ref().map(|p| format!(":{p}@")).unwrap_or_default();
        format!("redis://{password}127.0.0.1:{}", self.port)
    }

    /// Likewise for an account.
    pub fn url_of(&self, user: &str, password: &str) -> String {
        format!("redis://{user}:{password}@127.0.0.1:{}", self.port)
    }

    fn signal(&self, name: &str) {
        let pid = self.child.lock().unwrap().id().to_string();
        run(Command::new("kill").args([format!("-{name}"), pid]));
    }

    /// It holds still: connections stay open, and nothing is answered.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// It goes on.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// Ends it at once. What it held is gone.
    pub fn kill(&self) {
        let mut child = self.child.lock().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts it again on the same port, empty.
    pub fn restart(&self) {
        let child = launch(self.port, &self.folder, &self.arguments).expect("the port is still free");
        *self.child.lock().unwrap() = child;
    }

    /// One command on a connection of its own.
    pub fn ask(&self, words: &[&str]) -> Answer {
        self.exchange(self.password.as_deref(), words)
    }

    /// Likewise with a password that it has been given meanwhile.
    pub fn ask_as(&self, password: &str, words: &[&str]) -> Answer {
        self.exchange(Some(password), words)
    }

    fn exchange(&self, password: Option<&str>, words: &[&str]) -> Answer {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        if let Some(password) = password {
            send(&mut stream, &["AUTH", password]);
            assert_eq!(read(&mut reader), Answer::Text("OK".to_owned()));
        }
        send(&mut stream, words);
        read(&mut reader)
    }

    /// All keys.
    pub fn keys(&self) -> Vec<String> {
        self.ask(&["KEYS", "*"]).texts()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let mut child = self.child.lock().unwrap_or_else(|e| e.into_inner());
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// `None`: somebody else has taken the port meanwhile.
fn launch(port: u16, folder: &TempDir, arguments: &[String]) -> Option<Child> {
    // A test that cannot be run has failed: see tests/clients/setup.sh for what installs it.
    let program = std::env::var_os("STALEGUARD_TEST_REDIS").unwrap_or_else(|| "redis-server".into());
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL"])
        .arg(program)
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .arg("--dir")
        .arg(folder.path())
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let log = Log::follow(BufReader::new(child.stdout.take().unwrap()));
    if log.wait(|line| line.contains("Ready to accept connections")).is_some() {
        return Some(child);
    }
    let _ = child.kill();
    child.wait().unwrap();
    assert!(log.text().contains("Address already in use"), "redis-server did not start:\n{}", log.text());
    None
}

fn send(stream: &mut TcpStream, words: &[&str]) {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        text += &format!("${}\r\n{word}\r\n", word.len());
    }
    stream.write_all(text.as_bytes()).unwrap();
}

fn read(reader: &mut impl Read) -> Answer {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        reader.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    let line = String::from_utf8(line).unwrap();
    let (kind, rest) = line.trim_end().split_at(1);
    let count = || rest.parse::<i64>().unwrap();
    match kind {
        "+" => Answer::Text(rest.to_owned()),
        "-" => Answer::Error(rest.to_owned()),
        ":" => Answer::Number(count()),
        "$" if count() < 0 => Answer::Nothing,
        "$" => {
            let mut bytes = vec![0; usize::try_from(count()).unwrap() + 2];
            reader.read_exact(&mut bytes).unwrap();
            bytes.truncate(bytes.len() - 2);
            Answer::Text(String::from_utf8_lossy(&bytes).into_owned())
        }
        "*" => Answer::List((0..count()).map(|_| read(reader)).collect()),
        other => panic!("an answer of kind {other}"),
    }
}
