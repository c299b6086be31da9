//! Whether this process has run all the time.
//!
//! A controller that was stopped, or whose machine slept, finds connections ended for which nobody
//! but itself is to blame: peers gave *it* up, or libzmq's timers, which are looked at before the
//! messages that would have stilled them. So a shard's thread notes the time in each turn, sleeps
//! for no longer than a beat, and when a gap is longer than that by far, the losses that it sees
//! for a while are not held against anybody (`Loss::Stalled`).
//!
//! The clock goes on while a machine is suspended (`CLOCK_BOOTTIME`).

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::Heartbeat;

/// Notes when its thread was there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pulse {
    last: Duration,
    /// The longest that the thread sleeps, and from where on a gap is a stall.
    beat: Duration,
    stall_min: Duration,
    /// How long after a stall losses are put down to it, and until when that is.
    window: Duration,
    doubtful_until: Duration,
    /// Until when nothing is sent that would be lost with a connection that is dead already.
    hold_until: Duration,
    stalls: u64,
}

/// After a stall: time for libzmq to tell of all connections that have ended meanwhile.
const HOLD: Duration = Duration::from_millis(100);

impl Pulse {
    /// Of a shard with this heartbeat: a stall is what might have cost a peer its connection, with
    /// something to spare.
    pub(crate) fn new(heartbeat: Heartbeat) -> Self {
        let timeout = heartbeat.timeout();
        Self {
            last: now(),
            beat: timeout / 4,
            // A peer that has just been asked is lost when its answer is not read for so long.
            stall_min: timeout - timeout / 8,
            // Peers that gave us up may find that out some time after they, or we, run again.
            window: (timeout * 2).max(Duration::from_secs(2)),
            doubtful_until: Duration::ZERO,
            hold_until: Duration::ZERO,
            stalls: 0,
        }
    }

    /// The thread is there; how long it was away, if that was a stall.
    pub(crate) fn beat(&mut self) -> Option<Duration> {
        self.beat_at(now())
    }

    fn beat_at(&mut self, now: Duration) -> Option<Duration> {
        let gap = now.saturating_sub(self.last);
        self.last = now;
        (gap >= self.stall_min).then(|| {
            self.stalls += 1;
            self.doubtful_until = now + self.window;
            self.hold_until = now + HOLD;
            gap
        })
    }

    /// The longest that the thread may sleep.
    pub(crate) const fn sleep_max(&self) -> Duration {
        self.beat
    }

    /// Whether tasks wait: a stall is just over, and connections may be dead of which nobody has
    /// heard yet.
    pub(crate) fn holds_back(&self) -> bool {
        self.last < self.hold_until
    }

    /// Whether a loss that is seen now may be due to our own absence.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.last < self.doubtful_until
    }

    /// Stalls so far.
    pub(crate) const fn stalls(&self) -> u64 {
        self.stalls
    }
}

fn now() -> Duration {
    let time = clock_gettime(ClockId::Boottime);
    // Neither is negative: the clock starts at 0, and nanoseconds are less than a second.
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_casts_doubt_on_what_is_lost_soon_after_and_on_nothing_else() {
        let millis = Duration::from_millis;
        let heartbeat = Heartbeat::new(millis(200), millis(400)).unwrap();
        let mut pulse = Pulse::new(heartbeat);
        let start = pulse.last;
        assert_eq!(pulse.beat_at(start + millis(349)), None);
        assert!(!pulse.is_doubtful());
        assert_eq!(pulse.beat_at(start + millis(699)), Some(millis(350)));
        assert!(pulse.is_doubtful() && pulse.holds_back());
        for ms in [900, 1_200, 1_500, 1_800, 2_100, 2_400, 2_698] {
            assert_eq!(pulse.beat_at(start + millis(ms)), None);
            assert!(pulse.is_doubtful() && !pulse.holds_back());
        }
        assert_eq!(pulse.beat_at(start + millis(2_699)), None);
        assert!(!pulse.is_doubtful());
        assert_eq!(pulse.stalls(), 1);
    }
}
