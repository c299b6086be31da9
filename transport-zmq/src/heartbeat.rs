//! When a silent peer counts as lost.

use std::time::Duration;

use crate::Error;

/// Shorter times find a loaded machine instead of a dead peer.
const MIN: Duration = Duration::from_millis(100);
/// The longest silence that a heartbeat can announce: 16 bits of tenths of a second.
const TTL_MAX: Duration = Duration::from_millis(6_553_500);
/// The peers wait longer for us than we do for them: we are one for all of them, and a connection
/// that each of a thousand peers gives up costs us more than one that we give up.
const TTL_TIMEOUTS: u32 = 4;

/// How silent peers are found: each is asked for a sign of life now and then, and counts as lost
/// when none comes in time. Its libzmq answers by itself, so a busy worker is not taken for a dead
/// one.
///
/// A peer is lost at most `interval + timeout` after it has fallen silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    interval: Duration,
    timeout: Duration,
}

impl Heartbeat {
    /// Asks each `interval`, and waits for an answer for `timeout`.
    ///
    /// # Errors
    /// [`Error::Heartbeat`] if one of them is shorter than 100 ms.
    pub fn new(interval: Duration, timeout: Duration) -> Result<Self, Error> {
        for (what, given) in [("interval", interval), ("timeout", timeout)] {
            if given < MIN {
                return Err(Error::Heartbeat { what, given });
            }
        }
        Ok(Self { interval, timeout })
    }

    /// How often a peer is asked.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        self.interval
    }

    /// How long an answer may take.
    #[must_use]
    pub const fn timeout(&self) -> Duration {
        self.timeout
    }

    /// After how long a silence of ours a peer's libzmq gives the connection up, and tries anew. A
    /// peer that only waits would otherwise wait for ever for a controller that lost power.
    #[must_use]
    pub fn peer_timeout(&self) -> Duration {
        self.timeout.saturating_mul(TTL_TIMEOUTS).min(TTL_MAX)
    }
}

impl Default for Heartbeat {
    /// Asks every 2 s, and waits for 4 s.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn times_that_find_a_busy_machine_are_refused() {
        assert!(Heartbeat::new(ms(100), ms(100)).is_ok());
        let said = |interval, timeout| {
            let error = Heartbeat::new(ms(interval), ms(timeout)).unwrap_err();
            error.to_string()
        };
        assert!(said(99, 300).starts_with("a heartbeat interval of 99ms"));
        assert!(said(100, 0).starts_with("a heartbeat timeout of 0ns"));
    }

    #[test]
    fn peers_wait_longer_for_us_but_no_longer_than_can_be_said() {
        assert_eq!(Heartbeat::default().peer_timeout(), ms(16_000));
        let slow = Heartbeat::new(ms(100), Duration::MAX).unwrap();
        assert_eq!(slow.peer_timeout(), TTL_MAX);
    }
}
