//! A cable between a peer and an endpoint, to be cut, held or slowed down.
//!
//! Also compiled into the tests of the transport, so it uses the standard library alone.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often a cable that is held looks whether it may go on.
const LOOK: Duration = Duration::from_millis(2);

/// Passes bytes on between peers and a `tcp://` or `ipc://` endpoint. Peers connect over TCP.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: String,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    streams: Mutex<Vec<Box<dyn Stream>>>,
    held: AtomicBool,
    delay_ms: AtomicU64,
    closed: AtomicBool,
    open: AtomicUsize,
}

impl Proxy {
    /// Listens, and will connect to `target` for each peer that comes.
    ///
    /// # Panics
    /// If there is no port to listen at.
    pub(crate) fn to(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let state = Arc::new(State::default());
        let (theirs, target) = (Arc::clone(&state), target.to_owned());
        std::thread::spawn(move || {
            while let Ok((near, _)) = listener.accept()
                && !theirs.closed.load(Ordering::Acquire)
            {
                // Nobody there now, as behind a switch: the peer's connection breaks, and it comes
                // again.
                let _ = theirs.join(near, &target);
            }
        });
        Self { address, state }
    }

    /// Where peers connect.
    #[must_use]
    pub(crate) fn endpoint(&self) -> String {
        format!("tcp://{}", self.address)
    }

    /// Passes nothing on any more, and keeps the connections open. What is under way stays so.
    pub(crate) fn hold(&self) {
        self.state.held.store(true, Ordering::Release);
    }

    /// Passes everything on again, and also what was held.
    pub(crate) fn go_on(&self) {
        self.state.held.store(false, Ordering::Release);
    }

    /// Passes each piece on so much later.
    pub(crate) fn delay(&self, delay: Duration) {
        let ms = delay.as_millis().try_into().unwrap_or(u64::MAX);
        self.state.delay_ms.store(ms, Ordering::Release);
    }

    /// Breaks all connections; new ones are welcome.
    pub(crate) fn cut(&self) {
        for stream in self.state.streams().drain(..) {
            stream.shut();
        }
    }

    /// How many connections it passes on.
    #[must_use]
    pub(crate) fn connections(&self) -> usize {
        self.state.open.load(Ordering::Acquire)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.closed.store(true, Ordering::Release);
        self.go_on();
        self.cut();
        // Ends the thread that accepts.
        let _ = TcpStream::connect(&self.address);
    }
}

impl State {
    fn streams(&self) -> std::sync::MutexGuard<'_, Vec<Box<dyn Stream>>> {
        // Whoever panicked with it held has left a list of streams all the same.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(self: &Arc<Self>, near: TcpStream, target: &str) -> io::Result<()> {
        near.set_nodelay(true)?;
        let near: Box<dyn Stream> = Box::new(near);
        let far = connect(target)?;
        self.open.fetch_add(1, Ordering::AcqRel);
        self.pass_on(near.share()?, far.share()?, 0);
        self.pass_on(far.share()?, near.share()?, 1);
        self.streams().extend([near, far]);
        Ok(())
    }

    /// One of its two ways takes it off the count when it ends.
    fn pass_on(
        self: &Arc<Self>,
        mut from: Box<dyn Stream>,
        mut to: Box<dyn Stream>,
        counts: usize,
    ) {
        let state = Arc::clone(self);
        std::thread::spawn(move || {
            let mut buffer = [0; 16_384];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                state.wait();
                if to.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            // The end of a connection waits too: behind a dead cable nobody hears of it.
            state.wait();
            to.shut();
            from.shut();
            state.open.fetch_sub(counts, Ordering::AcqRel);
        });
    }

    fn wait(&self) {
        let delay_ms = self.delay_ms.load(Ordering::Acquire);
        std::thread::sleep(Duration::from_millis(delay_ms));
        while self.held.load(Ordering::Acquire) {
            std::thread::sleep(LOOK);
        }
    }
}

trait Stream: Read + Write + Send + std::fmt::Debug {
    fn share(&self) -> io::Result<Box<dyn Stream>>;
    fn shut(&self);
}

impl Stream for TcpStream {
    fn share(&self) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(self.try_clone()?))
    }

    fn shut(&self) {
        // It may be gone already.
        let _ = self.shutdown(Shutdown::Both);
    }
}

impl Stream for UnixStream {
    fn share(&self) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(self.try_clone()?))
    }

    fn shut(&self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

fn connect(target: &str) -> io::Result<Box<dyn Stream>> {
    if let Some(path) = target.strip_prefix("ipc://") {
        return Ok(Box::new(UnixStream::connect(path)?));
    }
    let address = target.strip_prefix("tcp://").unwrap_or(target);
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(Box::new(stream))
}
