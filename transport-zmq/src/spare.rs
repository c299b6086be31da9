//! When the memory of connections that are gone is given back.

use std::time::{Duration, Instant};

use crate::sys::give_back;

/// Connections that leave something worth the milliseconds that it takes.
const WORTH: usize = 256;
/// After the last loss: a storm is over then, and its connections are closed.
const REST: Duration = Duration::from_millis(200);

/// Connections lost since memory was given back.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spare {
    lost: usize,
    last: Option<Instant>,
}

impl Spare {
    /// Notes connections that are gone.
    pub(crate) fn note_lost(&mut self, count: usize, now: Instant) {
        self.lost += count;
        self.last = Some(now);
    }

    /// Gives memory back, if it is due: whoever calls has nothing else to do. If it is not yet, in
    /// how long. The clock is read only when there is something.
    pub(crate) fn settle(&mut self, now: impl FnOnce() -> Instant) -> Option<Duration> {
        let last = self.last.filter(|_| self.lost >= WORTH)?;
        let left = (last + REST).saturating_duration_since(now());
        if !left.is_zero() {
            return Some(left);
        }
        *self = Self::default();
        give_back();
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_due_after_a_storm_and_once() {
        let (mut spare, now) = (Spare::default(), Instant::now());
        let nothing = || panic!("there is nothing to give back");
        assert_eq!(spare.settle(nothing), None);
        spare.note_lost(WORTH - 1, now);
        assert_eq!(spare.settle(nothing), None);
        spare.note_lost(1, now + REST);
        assert_eq!(spare.settle(|| now + REST), Some(REST));
        assert_eq!(spare.settle(|| now + 2 * REST), None);
        assert_eq!(spare.settle(nothing), None);
    }
}
