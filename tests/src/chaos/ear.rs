//! How a process of the cast hears the director: lines on its standard input.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// A connection may have something although its descriptor is silent, if we forgot to ask it: that
/// would be slow then, and not for ever.
const LOOK: Duration = Duration::from_millis(500);

/// What the director says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Read nothing for so long.
    Rest(Duration),
    /// Begin nothing new.
    Finish,
    /// Leave, politely.
    Go,
}

impl Order {
    pub(crate) fn to_line(self) -> String {
        match self {
            Self::Rest(rest) => format!("rest {}\n", rest.as_millis()),
            Self::Finish => "finish\n".into(),
            Self::Go => "go\n".into(),
        }
    }

    fn from_line(line: &str) -> Option<Self> {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("rest", ms) => Some(Self::Rest(Duration::from_millis(ms.parse().ok()?))),
            ("finish", _) => Some(Self::Finish),
            ("go", _) => Some(Self::Go),
            _ => None,
        }
    }
}

/// What was heard and not understood yet.
#[derive(Debug, Default)]
pub(crate) struct Ear {
    heard: Vec<u8>,
}

impl Ear {
    /// Waits for an order or for the connection, at most until `due`. A director that is gone says
    /// [`Order::Go`].
    pub(crate) fn listen(
        &mut self,
        connection: &impl AsFd,
        due: Option<Instant>,
    ) -> io::Result<Option<Order>> {
        if let Some(order) = self.next_order() {
            return Ok(Some(order));
        }
        let stdin = io::stdin();
        let left = due.map_or(LOOK, |due| {
            due.saturating_duration_since(Instant::now()).min(LOOK)
        });
        let mut both = [
            PollFd::new(&stdin, PollFlags::IN),
            PollFd::new(connection, PollFlags::IN),
        ];
        let timeout = Timespec::try_from(left).ok();
        match poll(&mut both, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => return Ok(None),
            ready => ready?,
        };
        if both[0].revents().is_empty() {
            return Ok(None);
        }
        let mut buffer = [0; 256];
        match rustix::io::read(stdin.as_fd(), &mut buffer)? {
            0 => Ok(Some(Order::Go)),
            count => {
                self.heard.extend_from_slice(&buffer[..count]);
                Ok(self.next_order())
            }
        }
    }

    fn next_order(&mut self) -> Option<Order> {
        let end = self.heard.iter().position(|&byte| byte == b'\n')?;
        let line: Vec<u8> = self.heard.drain(..=end).collect();
        Order::from_line(String::from_utf8_lossy(&line[..end]).as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_heard_as_they_were_said() {
        let orders = [
            Order::Rest(Duration::from_millis(70)),
            Order::Finish,
            Order::Go,
        ];
        let mut ear = Ear::default();
        for order in orders {
            ear.heard.extend(order.to_line().into_bytes());
        }
        assert_eq!(orders.map(Some), [(); 3].map(|()| ear.next_order()));
        assert_eq!(ear.next_order(), None);
    }
}
