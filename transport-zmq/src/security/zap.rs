//! The doorkeeper: one thread per context that libzmq asks about each connection (ZAP, ZeroMQ's
//! RFC 27), before the connection may say a word.
//!
//! It answers from memory alone, so a flood of connections costs each a short turn. It is a ROUTER
//! and not the usual REP: a REP that once failed to answer would never hear another question.

use std::fmt;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use taskyard_protocol::Side;

use super::{Keys, Mechanism, Role, domain, key};
use crate::Error;
use crate::multipart::Inbox;
use crate::sys::{Context, Frame, SendRefused, Socket};

/// Where libzmq looks for it.
const ADDRESS: &str = "inproc://zeromq.zap.01";
const VERSION: &[u8] = b"1.0";
/// Frames of a question behind the version: its number, domain, address, routing id, mechanism;
/// credentials follow.
const FIELDS: usize = 5;
/// Questions answered between two looks at whether to end.
const BATCH: usize = 256;
/// How long to wait for the thread of an earlier controller in this context to end.
const RETRIES: u32 = 500;
const RETRY: Duration = Duration::from_millis(10);

/// The doorkeeper of a context; ends when the last shard that it keeps the doors of does.
pub(crate) struct Zap {
    keys: Arc<Keys>,
    /// Closed to end the thread.
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Zap {
    /// The one of this context; started if it is not there.
    ///
    /// # Errors
    /// [`Error::TwoSecurities`] if there is one with other keys.
    pub(crate) fn of(context: &Context, keys: &Arc<Keys>) -> Result<Arc<Self>, Error> {
        let mut slot = context.zap();
        if let Some(zap) = slot.upgrade() {
            return if zap.keys == *keys {
                Ok(zap)
            } else {
                Err(Error::TwoSecurities)
            };
        }
        let zap = Arc::new(Self::start(context, keys)?);
        *slot = Arc::downgrade(&zap);
        Ok(zap)
    }

    fn start(context: &Context, keys: &Arc<Keys>) -> Result<Self, Error> {
        let door = Door::new(keys)?;
        let socket = bind(context)?;
        let failed = |error: io::Error| Error::os("starting the doorkeeper", &error);
        let (stopped, stop) = io::pipe().map_err(failed)?;
        let thread = std::thread::Builder::new()
            .name("ty-doorkeeper".into())
            .spawn(move || serve(socket, &stopped, &door))
            .map_err(failed)?;
        Ok(Self {
            keys: Arc::clone(keys),
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Zap {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in it has been printed, and nobody comes in any more anyway.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Zap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zap").finish_non_exhaustive()
    }
}

fn bind(context: &Context) -> Result<Socket, Error> {
    let socket = context.socket(zmq::SocketType::ROUTER)?;
    let failed = |error| Error::zmq("starting the doorkeeper", error);
    socket.options().set_linger(0).map_err(failed)?;
    for _ in 0..RETRIES {
        match socket.options().bind(ADDRESS) {
            Err(zmq::Error::EADDRINUSE) => std::thread::sleep(RETRY),
            other => return other.map(|()| socket).map_err(failed),
        }
    }
    Err(failed(zmq::Error::EADDRINUSE))
}

/// Answers until `stopped` is closed at its other end.
fn serve(mut socket: Socket, stopped: &PipeReader, door: &Door) {
    let (mut from, mut question) = (Frame::new(), Inbox::new());
    loop {
        let mut answered = 0;
        while answered < BATCH {
            match answer(&mut socket, &mut from, &mut question, door) {
                Ok(true) => answered += 1,
                Ok(false) => break,
                Err(error) => {
                    tracing::error!("the doorkeeper ends, and nobody comes in: {error}");
                    return;
                }
            }
        }
        // With more to answer it only looks.
        let is_idle = answered < BATCH;
        if wait(socket.fd(), stopped, is_idle) {
            return;
        }
    }
}

/// Waits until there may be a question; true if it is time to end.
fn wait(socket: BorrowedFd<'_>, stopped: &PipeReader, is_idle: bool) -> bool {
    let mut fds = [
        PollFd::new(stopped, PollFlags::IN),
        PollFd::from_borrowed_fd(socket, PollFlags::IN),
    ];
    let now = rustix::event::Timespec::default();
    // Interrupted or not: whoever is there is looked for.
    let _ = poll(&mut fds, if is_idle { None } else { Some(&now) });
    !fds[0].revents().is_empty()
}

/// Answers one question; false if there is none.
fn answer(
    socket: &mut Socket,
    from: &mut Frame,
    question: &mut Inbox,
    door: &Door,
) -> Result<bool, Error> {
    if !socket.recv(from)? {
        return Ok(false);
    }
    let mut delimiter = Frame::new();
    if !from.more() || !socket.recv(&mut delimiter)? {
        return Ok(true);
    }
    if !delimiter.more() {
        return Ok(true);
    }
    if !question.recv(socket)? {
        return Ok(true);
    }
    let rest: Vec<&[u8]> = question.rest.iter().map(Frame::bytes).collect();
    if delimiter.len() > 0 || question.first.bytes() != VERSION || rest.is_empty() {
        // Nothing that libzmq would ask, and nobody waits for an answer.
        return Ok(true);
    }
    let verdict = door.judge(&rest);
    // Who asked may be gone: then nobody waits for it either.
    let _ = reply(socket, from.bytes(), rest[0], verdict);
    Ok(true)
}

fn reply(
    socket: &mut Socket,
    to: &[u8],
    number: &[u8],
    verdict: Result<Role, Refused>,
) -> Result<(), SendRefused> {
    let (code, text, user) = match verdict {
        Ok(role) => ("200", "OK", role.name()),
        // Not 400: a libzmq that is told so never tries again. A controller that was started in the
        // wrong folder for once would turn all workers away for good.
        Err(Refused::Unwelcome) => ("300", "not with this key", ""),
        Err(Refused::Malformed) => ("300", "not a question of libzmq", ""),
    };
    let frames = [to, b"", VERSION, number, code.as_bytes(), text.as_bytes()];
    for frame in frames {
        socket.send_bytes(frame, true)?;
    }
    socket.send_bytes(user.as_bytes(), true)?;
    // No metadata.
    socket.send_bytes(b"", false)
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// No such key, or not at this endpoint.
    Unwelcome,
    Malformed,
}

/// What is asked of those who come.
struct Door {
    keys: Arc<Keys>,
    /// Passwords of PLAIN.
    passwords: Vec<(Role, String)>,
    /// Public keys of CURVE.
    publics: Vec<(Role, [u8; 32])>,
}

impl Door {
    fn new(keys: &Arc<Keys>) -> Result<Self, Error> {
        let is_curve = keys.mechanism() == Mechanism::Curve;
        let passwords = Role::ALL.map(|role| (role, keys.of(role).to_text()));
        Ok(Self {
            keys: Arc::clone(keys),
            passwords: passwords.to_vec(),
            publics: if is_curve {
                keys.publics()?
            } else {
                Vec::new()
            },
        })
    }

    /// What becomes of a connection, by all frames of its question behind the version.
    fn judge(&self, question: &[&[u8]]) -> Result<Role, Refused> {
        let (fields, credentials) = question
            .split_at_checked(FIELDS)
            .ok_or(Refused::Malformed)?;
        let &[_number, asked_domain, _address, _id, mechanism] = fields else {
            return Err(Refused::Malformed);
        };
        let side = [Side::Client, Side::Worker]
            .into_iter()
            .find(|&side| domain(side).as_bytes() == asked_domain)
            .ok_or(Refused::Malformed)?;
        let role = match (self.keys.mechanism(), mechanism, credentials) {
            (Mechanism::Plain, b"PLAIN", &[user, password]) => self.by_password(user, password),
            (Mechanism::Curve, b"CURVE", &[public]) => {
                self.keys.role_of_public(public, &self.publics)
            }
            _ => return Err(Refused::Malformed),
        };
        role.filter(|role| role.may_enter(side))
            .ok_or(Refused::Unwelcome)
    }

    fn by_password(&self, user: &[u8], password: &[u8]) -> Option<Role> {
        let claimed = Role::from_name(user)?;
        let (role, expected) = self.passwords.iter().find(|(role, _)| *role == claimed)?;
        key::same(expected.as_bytes(), password).then_some(*role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ContextOptions;

    fn plain() -> Arc<Keys> {
        let mut keys = Keys::fresh().unwrap();
        keys.mechanism = Mechanism::Plain;
        Arc::new(keys)
    }

    /// A question about somebody who says this.
    fn about<'a>(domain: &'a [u8], user: &'a [u8], password: &'a [u8]) -> Vec<&'a [u8]> {
        vec![b"1", domain, b"127.0.0.1", b"", b"PLAIN", user, password]
    }

    #[test]
    fn a_key_opens_its_own_door_alone() {
        let keys = plain();
        let door = Door::new(&keys).unwrap();
        for role in Role::ALL {
            for holder in Role::ALL {
                for side in [Side::Client, Side::Worker] {
                    let password = keys.of(holder).to_text();
                    let user = role.name().as_bytes();
                    let question = about(domain(side).as_bytes(), user, password.as_bytes());
                    let welcome = role == holder && role.may_enter(side);
                    let expected = if welcome {
                        Ok(role)
                    } else {
                        Err(Refused::Unwelcome)
                    };
                    assert_eq!(door.judge(&question), expected, "{role} {holder} {side:?}");
                }
            }
        }
    }

    #[test]
    fn whatever_else_is_said_opens_none() {
        let keys = plain();
        let door = Door::new(&keys).unwrap();
        let key = keys.of(Role::Client).to_text();
        let key = key.as_bytes();
        for (user, password) in [
            (&b""[..], &b""[..]),
            (b"client", b""),
            (b"client", &key[..39]),
            (b"client\0", key),
            (b"root", key),
            (b"", key),
        ] {
            let question = about(b"clients", user, password);
            assert_eq!(door.judge(&question), Err(Refused::Unwelcome));
        }
        let good = about(b"clients", b"client", key);
        assert_eq!(door.judge(&good), Ok(Role::Client));
        for len in 0..good.len() {
            assert_eq!(door.judge(&good[..len]), Err(Refused::Malformed), "{len}");
        }
        let mut long = good.clone();
        long.push(b"more");
        assert_eq!(door.judge(&long), Err(Refused::Malformed));
        for (at, other) in [(1, &b"operators"[..]), (4, b"NULL"), (4, b"CURVE")] {
            let mut question = good.clone();
            question[at] = other;
            assert_eq!(door.judge(&question), Err(Refused::Malformed));
        }
    }

    /// Asks as libzmq does, but whatever one likes.
    fn ask(socket: &mut Socket, frames: &[&[u8]]) {
        for (at, frame) in frames.iter().enumerate() {
            let is_last = at + 1 == frames.len();
            socket.send_bytes(frame, !is_last).unwrap();
        }
    }

    #[test]
    fn malformed_questions_and_floods_of_them_do_not_end_it() {
        let context = Context::new(ContextOptions::default()).unwrap();
        let keys = plain();
        let zap = Zap::of(&context, &keys).unwrap();
        assert!(Arc::ptr_eq(&zap, &Zap::of(&context, &keys).unwrap()));
        let mut asker = context.socket(zmq::SocketType::DEALER).unwrap();
        asker.options().set_sndhwm(0).unwrap();
        asker.options().connect(ADDRESS).unwrap();
        let many = vec![&b"x"[..]; 2000];
        for _ in 0..1000 {
            ask(&mut asker, &[b""]);
            ask(&mut asker, &[b"no delimiter"]);
            ask(&mut asker, &[b"", b"1.0"]);
            ask(&mut asker, &[b"", b"9.9", b"1"]);
            ask(&mut asker, &[b"not empty", b"1.0", b"1"]);
        }
        ask(&mut asker, &many);
        let password = keys.of(Role::Worker).to_text();
        let good = about(b"workers", b"worker", password.as_bytes());
        ask(&mut asker, &[&[&b""[..], b"1.0"], &good[..]].concat());
        let mut answer = Inbox::new();
        while !answer.recv(&mut asker).unwrap() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let frames: Vec<&[u8]> = answer.rest.iter().map(Frame::bytes).collect();
        assert_eq!(frames, [&b"1.0"[..], b"1", b"200", b"OK", b"worker", b""]);
    }

    #[test]
    fn it_ends_with_its_last_user_and_a_context_has_one() {
        let context = Context::new(ContextOptions::default()).unwrap();
        let keys = plain();
        for _ in 0..20 {
            let zap = Zap::of(&context, &keys).unwrap();
            let other = Zap::of(&context, &plain());
            assert_eq!(other.unwrap_err(), Error::TwoSecurities);
            drop(zap);
        }
    }
}
