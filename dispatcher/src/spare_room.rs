//! How much of a ring may be taken by what can be dropped.
//!
//! Output is sent only where there is room to spare: at most half of a ring may be taken already,
//! and only so many bytes of output may wait in it. So whatever must not be dropped finds room as
//! if there were no output at all.
//!
//! Both ends of a ring share one count of those bytes. It is no more than a count: nothing else is
//! told by it, so its operations need no order among others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of output that may wait in one ring.
const BYTES_MAX: usize = 4 << 20;

/// How many places of a ring must be free for what can be dropped.
pub(crate) const fn spare_room(capacity: usize) -> usize {
    capacity / 2 + 1
}

/// The bytes of output that wait in one ring.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpareBytes(Arc<AtomicUsize>);

impl SpareBytes {
    /// Whether so many more may wait there. Asked by the end that pushes: nobody else adds to it.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let waiting = self.0.load(Ordering::Relaxed);
        waiting == 0 || waiting + bytes <= BYTES_MAX
    }

    /// They were pushed.
    pub(crate) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// They were popped.
    pub(crate) fn take(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_bytes_may_wait_and_no_more() {
        let (pushing, popping) = {
            let bytes = SpareBytes::default();
            (bytes.clone(), bytes)
        };
        let mut pushed = 0;
        while pushing.has_room(64 << 10) {
            pushing.add(64 << 10);
            pushed += 1;
        }
        assert_eq!(pushed, 64);
        popping.take(64 << 10);
        assert!(pushing.has_room(64 << 10) && !pushing.has_room((64 << 10) + 1));
        (1..pushed).for_each(|_| popping.take(64 << 10));
        assert!(pushing.has_room(BYTES_MAX + 1), "one may always wait");
    }

    #[test]
    fn half_of_a_ring_is_for_others() {
        assert_eq!(spare_room(4096), 2049);
        assert_eq!(spare_room(2), 2);
    }
}
