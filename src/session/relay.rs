//! The two sockets of a session: reads and writes both directions as each is ready.
//!
//! One task, no lock, no channel. Neither direction ever waits for the other: a side that does not read only
//! stops the other side's reading once its buffer is full (backpressure), as a socket of its own would.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWrite;
use tokio::time::{Instant, Sleep};

use super::own::Overdue;
use super::state::{Buffers, Session};
use crate::observe::context::store::Fetching;
use crate::server::{Stream, forward_cancel};
use crate::telemetry::targets;
use crate::wire::buffer::{In, Out};
use crate::wire::frame::{Scan, scan_front};

/// A buffer this full stops the reading that fills it.
const HIGH_WATER: usize = 128 * 1024;

/// How long the last bytes may take to a client that does not read.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// Where each side stands.
struct Sides {
    client_open: bool,
    server_open: bool,
    /// Nothing can be written to the client any more.
    client_dead: bool,
    /// The server has been told that nothing more comes.
    server_shut: bool,
    /// Nothing can be written to the server any more.
    server_dead: bool,
}

/// Runs the session to its end.
pub(super) async fn relay(mut client: Stream, mut server: Stream, mut session: Session, mut io: Buffers) {
    let shared = session.shared.clone();
    let mut stopping = pin!(shared.stopping());
    let mut timer = pin!(tokio::time::sleep(Duration::ZERO));
    let mut armed: Option<std::time::Instant> = None;
    let mut fetching: Option<Fetching> = None;
    let mut sides = Sides {
        client_open: true,
        server_open: true,
        client_dead: false,
        server_shut: false,
        server_dead: false,
    };
    poll_fn(|cx| {
        loop {
            match step(cx, &mut client, &mut server, &mut session, &mut io, &mut sides) {
                Step::Over => return Poll::Ready(()),
                Step::Progress => continue,
                Step::Idle => {}
            }
            if stopping.as_mut().poll(cx).is_ready() && !session.closing {
                session.close_with(
                    &mut io.client_out,
                    "57P01",
                    "terminating connection: staleguard is shutting down",
                );
                continue;
            }
            if let Some(asks) = session.ask.take() {
                fetching = Some(shared.contexts.fetch(asks));
            }
            if let Some(asked) = &mut fetching
                && let Poll::Ready(answers) = asked.as_mut().poll(cx)
            {
                fetching = None;
                session.store_answered(answers);
                continue;
            }
            match overdue(cx, &mut timer, &mut armed, &mut session) {
                Overdue::NotYet => return Poll::Pending,
                Overdue::Cancel => cancel(&session),
                Overdue::Close => {
                    shared.metrics.sessions_desynced.increment(1);
                    session.close_with(
                        &mut io.client_out,
                        "08006",
                        "the server does not answer staleguard's own message; connection closed",
                    );
                }
            }
        }
    })
    .await;
    finish(client, &mut io.client_out).await;
}

enum Step {
    Progress,
    Idle,
    Over,
}

fn step(
    cx: &mut Context<'_>,
    client: &mut Stream,
    server: &mut Stream,
    session: &mut Session,
    io: &mut Buffers,
    sides: &mut Sides,
) -> Step {
    let mut progress = false;
    if sides.server_open && !sides.client_dead && io.client_out.len() < HIGH_WATER {
        match poll_fill(cx, server, &mut io.server_in) {
            Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => {
                sides.server_open = false;
                progress = true;
            }
            Poll::Ready(Ok(_)) => progress = true,
            Poll::Pending => {}
        }
    }
    session.server_input(io);
    let wanted = wants_client(session, io);
    if sides.client_open && io.server_out.len() < HIGH_WATER && wanted {
        match poll_fill(cx, client, &mut io.client_in) {
            Poll::Ready(Ok(0)) | Poll::Ready(Err(_)) => {
                sides.client_open = false;
                progress = true;
            }
            Poll::Ready(Ok(_)) => progress = true,
            Poll::Pending => {}
        }
    }
    if io.server_out.len() < HIGH_WATER {
        session.client_input(io);
        // Nobody has asked for more yet, so that nothing would wake us when it comes.
        progress |= !wanted && sides.client_open && wants_client(session, io);
        if !sides.client_open && !session.waits() {
            session.client_ended(&mut io.server_out);
        }
    }
    match poll_drain(cx, client, &mut io.client_out) {
        Poll::Ready(Ok(written)) => progress |= written,
        Poll::Ready(Err(_)) => {
            // Nobody reads any more: once the server has been sent what the client sent in full, it finds its
            // connection gone as it would find the client gone.
            io.client_out = Out::new();
            progress |= !sides.client_dead;
            sides.client_dead = true;
            sides.client_open = false;
        }
        Poll::Pending => {}
    }
    match poll_drain(cx, server, &mut io.server_out) {
        Poll::Ready(Ok(written)) => progress |= written,
        Poll::Ready(Err(_)) => {
            // What the server said before it went is still to be read.
            io.server_out = Out::new();
            sides.server_dead = true;
        }
        Poll::Pending => {}
    }
    let server_sent = io.server_out.is_empty() && (sides.server_dead || !server.is_unsent());
    if session.closing || sides.client_dead && server_sent {
        return Step::Over;
    }
    if !sides.server_open && io.client_out.is_empty() {
        if !session.terminated && sides.client_open {
            // It may come back as another.
            session.shared.views.outdate_all();
        }
        if !session.fatal
            && !session.terminated
            && !session.client_broken
            && sides.client_open
            && session.server_rest == 0
        {
            session.shared.metrics.upstream_error("closed");
            tracing::warn!(target: targets::UPSTREAM, session = session.facts.id, "the server closed the connection");
            session.close_with(&mut io.client_out, "08006", "the server closed the connection unexpectedly");
        }
        return Step::Over;
    }
    if !sides.client_open && !sides.server_shut && !session.waits() && server_sent {
        // As a direct connection would: the server sees the end of the client's stream behind its last bytes.
        io.client_in.consume(io.client_in.len());
        if let Poll::Ready(_done) = Pin::new(&mut *server).poll_shutdown(cx) {
            sides.server_shut = true;
            progress = true;
        }
    }
    if progress { Step::Progress } else { Step::Idle }
}

/// More bytes of the client can be made use of: where enough is buffered only for the rest of a long frame.
fn wants_client(session: &Session, io: &Buffers) -> bool {
    let data = io.client_in.data();
    let in_part = || matches!(scan_front(data), Scan::Frame { len, .. } if len > data.len());
    data.len() < HIGH_WATER || !session.waits() && session.started && in_part()
}

fn poll_fill(cx: &mut Context<'_>, stream: &mut Stream, input: &mut In) -> Poll<std::io::Result<usize>> {
    let spare: &mut BytesMut = input.spare();
    poll_read_buf(cx, Pin::new(stream), spare)
}

fn poll_read_buf(
    cx: &mut Context<'_>,
    stream: Pin<&mut Stream>,
    buffer: &mut BytesMut,
) -> Poll<std::io::Result<usize>> {
    let mut future = pin!(tokio::io::AsyncReadExt::read_buf(stream.get_mut(), buffer));
    future.as_mut().poll(cx)
}

/// Writes what is pending; true if anything went.
fn poll_drain(cx: &mut Context<'_>, stream: &mut Stream, out: &mut Out) -> Poll<std::io::Result<bool>> {
    let mut any = false;
    while !out.is_empty() {
        match Pin::new(&mut *stream).poll_write(cx, out.pending()) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(n)) => {
                out.advance(n);
                any = true;
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Pending if any => return Poll::Ready(Ok(true)),
            Poll::Pending => return Poll::Pending,
        }
    }
    // What is encrypted and waits for the socket: the waker is set where it does.
    match Pin::new(stream).poll_flush(cx) {
        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        _ => Poll::Ready(Ok(any)),
    }
}

/// Arms the timer for the exchange in flight and tells whether it has taken too long.
fn overdue(
    cx: &mut Context<'_>,
    timer: &mut Pin<&mut Sleep>,
    armed: &mut Option<std::time::Instant>,
    session: &mut Session,
) -> Overdue {
    let Some(deadline) = session.own_deadline() else {
        *armed = None;
        return Overdue::NotYet;
    };
    if *armed != Some(deadline) {
        timer.as_mut().reset(Instant::from_std(deadline));
        *armed = Some(deadline);
    }
    match timer.as_mut().poll(cx) {
        Poll::Pending => Overdue::NotYet,
        Poll::Ready(()) => {
            *armed = None;
            session.own_overdue(session.shared.settings.own_message_timeout)
        }
    }
}

/// Asks the server to cancel what this session's backend is doing.
fn cancel(session: &Session) {
    let Some(key) = session.key_data.clone() else { return };
    let shared = session.shared.clone();
    let mut packet = Vec::with_capacity(key.len() + 8);
    packet.extend_from_slice(&u32::try_from(key.len() + 8).unwrap_or(u32::MAX).to_be_bytes());
    packet.extend_from_slice(&80_877_102_u32.to_be_bytes());
    packet.extend_from_slice(&key);
    tokio::task::spawn_local(async move {
        let timeout = shared.settings.connect_timeout;
        if let Err(error) = forward_cancel(&packet, &shared.upstream, timeout).await {
            tracing::warn!(target: targets::SESSION, %error, "the proxy's own cancel request did not reach the server");
        }
    });
}

/// Sends the last bytes, within a limit.
async fn finish(mut client: Stream, out: &mut Out) {
    let last = async {
        poll_fn(|cx| {
            loop {
                match ready!(poll_drain(cx, &mut client, out)) {
                    Ok(_) if out.is_empty() => return Poll::Ready(()),
                    Ok(_) => {}
                    Err(_) => return Poll::Ready(()),
                }
            }
        })
        .await;
        let _ = tokio::io::AsyncWriteExt::shutdown(&mut client).await;
    };
    let _ = tokio::time::timeout(CLOSE_LIMIT, last).await;
}
