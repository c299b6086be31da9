//! Bare TCP and Unix sockets behind one face, for the raw forwarder.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::error::Error;

/// Where a socket listens; in ZeroMQ's notation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// `tcp://ADDRESS:PORT`; the port may be `*`.
    Tcp(SocketAddr),
    /// `ipc://PATH`.
    Unix(PathBuf),
}

impl Address {
    /// Reads an endpoint.
    ///
    /// # Errors
    /// When it is neither of both.
    pub(crate) fn parse(endpoint: &str) -> Result<Self, Error> {
        if let Some(path) = endpoint.strip_prefix("ipc://") {
            return Ok(Self::Unix(path.into()));
        }
        let address = endpoint
            .strip_prefix("tcp://")
            .map(|address| address.replace('*', "0"));
        let address = address.and_then(|address| address.parse().ok());
        address
            .map(Self::Tcp)
            .ok_or_else(|| Error::System(format!("{endpoint} is no endpoint")))
    }
}

/// A listening socket that never blocks.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    pub(crate) fn bind(address: &Address) -> Result<Self, Error> {
        match address {
            Address::Tcp(address) => TcpListener::bind(*address).map(Self::Tcp),
            Address::Unix(path) => UnixListener::bind(path).map(Self::Unix),
        }
        .map_err(Error::io("binding the raw forwarder"))
    }

    /// Where it listens, the port filled in.
    pub(crate) fn endpoint(&self) -> Result<String, Error> {
        match self {
            Self::Tcp(listener) => listener
                .local_addr()
                .map(|address| format!("tcp://{address}")),
            Self::Unix(listener) => listener.local_addr().map(|address| {
                let path = address.as_pathname().map(PathBuf::from).unwrap_or_default();
                format!("ipc://{}", path.display())
            }),
        }
        .map_err(Error::io("asking where the raw forwarder listens"))
    }

    /// The next peer, if one is there.
    pub(crate) fn accept(&self) -> Result<Option<Stream>, Error> {
        let accepted = match self {
            Self::Tcp(listener) => listener.accept().map(|(stream, _)| Stream::Tcp(stream)),
            Self::Unix(listener) => listener.accept().map(|(stream, _)| Stream::Unix(stream)),
        };
        match accepted {
            Ok(stream) => stream.without_delay().map(Some),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(Error::io("accepting a peer")(error)),
        }
    }
}

/// A connection that never blocks.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Connects, and waits for it.
    pub(crate) fn connect(address: &Address) -> Result<Self, Error> {
        let connected = match address {
            Address::Tcp(address) => std::net::TcpStream::connect(address).and_then(|stream| {
                stream.set_nonblocking(true)?;
                Ok(Self::Tcp(TcpStream::from_std(stream)))
            }),
            Address::Unix(path) => {
                std::os::unix::net::UnixStream::connect(path).and_then(|stream| {
                    stream.set_nonblocking(true)?;
                    Ok(Self::Unix(UnixStream::from_std(stream)))
                })
            }
        };
        connected
            .map_err(Error::io("connecting to the raw forwarder"))?
            .without_delay()
    }

    /// Sends all of it, and waits while the other end does not read: it reads whenever nothing of
    /// its own is under way, and no two ends of ours send to each other at once.
    pub(crate) fn send_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(sent) => bytes = &bytes[sent..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait_for_room()?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn wait_for_room(&self) -> io::Result<()> {
        let room = match self {
            Self::Tcp(stream) => PollFd::new(stream, PollFlags::OUT),
            Self::Unix(stream) => PollFd::new(stream, PollFlags::OUT),
        };
        match poll(&mut [room], None) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn without_delay(self) -> Result<Self, Error> {
        if let Self::Tcp(stream) = &self {
            stream
                .set_nodelay(true)
                .map_err(Error::io("setting TCP_NODELAY"))?;
        }
        Ok(self)
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(buffer),
            Self::Unix(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Source for Listener {
    fn register(&mut self, to: &Registry, token: Token, what: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.register(to, token, what),
            Self::Unix(listener) => listener.register(to, token, what),
        }
    }

    fn reregister(&mut self, to: &Registry, token: Token, what: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.reregister(to, token, what),
            Self::Unix(listener) => listener.reregister(to, token, what),
        }
    }

    fn deregister(&mut self, from: &Registry) -> io::Result<()> {
        match self {
            Self::Tcp(listener) => listener.deregister(from),
            Self::Unix(listener) => listener.deregister(from),
        }
    }
}

impl Source for Stream {
    fn register(&mut self, to: &Registry, token: Token, what: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.register(to, token, what),
            Self::Unix(stream) => stream.register(to, token, what),
        }
    }

    fn reregister(&mut self, to: &Registry, token: Token, what: Interest) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.reregister(to, token, what),
            Self::Unix(stream) => stream.reregister(to, token, what),
        }
    }

    fn deregister(&mut self, from: &Registry) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.deregister(from),
            Self::Unix(stream) => stream.deregister(from),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_in_zeromqs_notation() {
        let any_port = Address::Tcp("127.0.0.1:0".parse().expect("an address"));
        assert_eq!(Address::parse("tcp://127.0.0.1:*").expect("fine"), any_port);
        assert_eq!(
            Address::parse("ipc:///tmp/x").expect("fine"),
            Address::Unix("/tmp/x".into())
        );
        for nonsense in ["", "tcp://", "tcp://localhost", "udp://127.0.0.1:1"] {
            assert!(Address::parse(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn more_than_a_socket_holds_is_sent_while_the_other_end_reads() {
        let (from, to) = UnixStream::pair().expect("a pair of sockets");
        let (mut from, mut to) = (Stream::Unix(from), Stream::Unix(to));
        let sent = vec![7; 4 << 20];
        let read = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let (mut read, mut buffer) = (0, vec![0; 1 << 16]);
                while read < sent.len() {
                    match to.read(&mut buffer) {
                        Ok(count) => read += count,
                        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                    }
                }
                read
            });
            from.send_all(&sent).expect("somebody reads");
            reader.join().expect("it read everything")
        });
        assert_eq!(read, sent.len());
    }
}
