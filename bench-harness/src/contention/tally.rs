//! Whether each item arrived once: what makes a lap's time worth anything.

use crate::error::Error;

/// As large as what goes through a mailbox: an envelope has 24 bytes.
pub(super) type Item = [u64; 3];

/// The item with this number. Its words differ, so that a torn one shows.
pub(super) const fn item(number: u64) -> Item {
    [number, !number, number.rotate_left(32)]
}

/// The same as a task's payload.
pub(super) type Bytes = [u8; size_of::<Item>()];

/// The payload of the task with this number.
#[inline]
pub(super) fn payload(number: u64) -> Bytes {
    let mut bytes = [0; size_of::<Item>()];
    for (word, eight) in item(number).iter().zip(bytes.chunks_exact_mut(8)) {
        eight.copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

/// What a payload says.
#[inline]
pub(super) fn item_of(payload: &Bytes) -> Item {
    let (words, _) = payload.as_chunks::<8>();
    std::array::from_fn(|index| u64::from_ne_bytes(words[index]))
}

/// What one thread has taken.
///
/// One lost and one doubled item leave the count as it was, and two of each may leave the sum; the
/// sum of squares tells those.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) count: u64,
    sum: u64,
    squares: u64,
    /// Bits that were not as they should be, in any item.
    torn: u64,
}

impl Tally {
    /// Counts an item.
    #[inline]
    pub(super) const fn take(&mut self, item: Item) {
        let number = item[0];
        self.torn |= (number ^ !item[1]) | (number ^ item[2].rotate_right(32));
        self.take_number(number);
    }

    /// Counts what carries nothing but its number.
    #[inline]
    pub(super) const fn take_number(&mut self, number: u64) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(number);
        self.squares = self.squares.wrapping_add(number.wrapping_mul(number));
    }

    /// Counts the next item of a queue that keeps the order.
    #[inline]
    pub(super) const fn take_in_order(&mut self, item: Item) {
        self.torn |= item[0] ^ self.count;
        self.take(item);
    }

    /// Adds what another thread has taken.
    pub(super) const fn add(&mut self, other: Self) {
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
        self.squares = self.squares.wrapping_add(other.squares);
        self.torn |= other.torn;
    }

    /// Items 0 to `items`, each once?
    ///
    /// # Errors
    /// One was lost, doubled, torn or overtaken.
    pub(super) fn check(self, who: &str, items: u64) -> Result<(), Error> {
        let mut right = Self::default();
        (0..items).for_each(|number| right.take_number(number));
        if self == right {
            return Ok(());
        }
        Err(Error::Faults(format!(
            "{who}: {self:?} was taken instead of {right:?}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(numbers: impl IntoIterator<Item = u64>) -> bool {
        let mut tally = Tally::default();
        numbers
            .into_iter()
            .for_each(|number| tally.take(item(number)));
        tally.check("test", 8).is_ok()
    }

    #[test]
    fn each_item_once_passes_in_any_order() {
        assert!(verdict(0..8));
        assert!(verdict((0..8).rev()));
    }

    #[test]
    fn what_is_lost_or_doubled_is_caught() {
        assert!(!verdict(0..7), "one lost");
        assert!(!verdict((0..8).chain([3])), "one doubled");
        assert!(!verdict([0, 1, 2, 3, 4, 5, 6, 6]), "one for another");
        assert!(!verdict([1, 1, 1, 4, 4, 4, 6, 7]), "the sum is right");
    }

    #[test]
    fn what_is_torn_or_overtaken_is_caught() {
        let mut torn = Tally::default();
        torn.take([0, !0, 1]);
        assert!(torn.check("test", 1).is_err());

        let mut overtaken = Tally::default();
        for number in [1, 0] {
            overtaken.take_in_order(item(number));
        }
        assert!(overtaken.check("test", 2).is_err());
    }

    #[test]
    fn a_payload_carries_its_item() {
        assert_eq!(item_of(&payload(7)), item(7));
    }

    #[test]
    fn what_two_threads_took_adds_up() {
        let [mut one, mut other] = [Tally::default(); 2];
        for number in [0, 3] {
            one.take(item(number));
        }
        for number in [1, 2] {
            other.take(item(number));
        }
        one.add(other);
        assert!(one.check("test", 4).is_ok());
    }
}
