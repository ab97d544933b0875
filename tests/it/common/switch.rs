//! Between proxy and server: connections that can be led elsewhere, and answers that can be held up.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Condvar, Mutex};

/// Connections to it go to the server whose port it holds at that time.
pub struct Switch {
    address: String,
    target: Arc<AtomicU16>,
    gate: Arc<Gate>,
}

/// Connections are numbered; what the server answers on those up to a number waits.
#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    connections: usize,
    held: usize,
}

impl Switch {
    /// Connections go to this port of 127.0.0.1.
    pub fn new(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (target, gate) = (Arc::new(AtomicU16::new(port)), Arc::<Gate>::default());
        let (to, gates) = (target.clone(), gate.clone());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let server = TcpStream::connect(("127.0.0.1", to.load(Ordering::SeqCst))).unwrap();
                let number = {
                    let mut state = gates.state.lock().unwrap();
                    state.connections += 1;
                    state.connections
                };
                let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
                let gate = gates.clone();
                std::thread::spawn(move || copy(client, server, || {}));
                std::thread::spawn(move || copy(back.0, back.1, || gate.pass(number)));
            }
        });
        Self { address, target, gate }
    }

    /// Where the proxy is to connect.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Connections from now on go to this port.
    pub fn turn_to(&self, port: u16) {
        self.target.store(port, Ordering::SeqCst);
    }

    /// What the server answers on the connections that there are by now waits. Later ones are free.
    pub fn hold(&self) {
        let mut state = self.gate.state.lock().unwrap();
        state.held = state.connections;
    }

    /// Nothing waits any more.
    pub fn release(&self) {
        self.gate.state.lock().unwrap().held = 0;
        self.gate.changed.notify_all();
    }
}

impl Gate {
    fn pass(&self, number: usize) {
        let state = self.state.lock().unwrap();
        drop(self.changed.wait_while(state, |state| number <= state.held).unwrap());
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, pass: impl Fn()) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        pass();
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
