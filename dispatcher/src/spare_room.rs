//! How much of a ring may be taken by what can be dropped.
//!
//! Output is sent only where there is room to spare: at most half of a ring may be taken already,
//! and the larger the piece the less, so that what waits in a ring has few bytes, and whatever must
//! not be dropped finds room as if there were no output at all.

/// Bytes of pieces of one size that may wait in a ring. Of all sizes together there may be a few
/// times as many.
const BYTES_MAX: usize = 4 << 20;

/// How many places of a ring must be free for a piece of so many bytes.
pub(crate) fn spare_room(capacity: usize, bytes: usize) -> usize {
    let waiting_max = (BYTES_MAX / bytes.max(1)).clamp(1, (capacity / 2).max(1));
    capacity - waiting_max + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_the_piece_the_more_room_it_needs() {
        assert_eq!(spare_room(4096, 0), 2049);
        assert_eq!(spare_room(4096, 80), 2049);
        assert_eq!(spare_room(4096, 64 << 10), 4096 - 63);
        assert_eq!(spare_room(4096, 1 << 30), 4096);
        assert_eq!(spare_room(2, 1), 2);
        assert_eq!(spare_room(4, 1), 3);
    }
}
