//! How often something took how long: counts in buckets that are as fine at a microsecond as at an
//! hour.
//!
//! Buckets are *log-linear*: one for each value below 16, then 16 for each power of two. So none is
//! wider than a sixteenth of what is in it.

use alloc::vec::Vec;
use core::fmt;

/// Bits of a value that tell buckets apart.
const FINE_BITS: u32 = 4;

/// Counts of values of 32 bits, microseconds for the most part.
///
/// ```
/// use taskyard_core::Histogram;
/// let mut latencies = Histogram::new();
/// (1..=100).for_each(|us| latencies.record(us * 10));
/// assert_eq!(latencies.count(), 100);
/// assert_eq!(latencies.at_thousandth(500), Some(511)); // half of all are not above
/// assert_eq!(latencies.at_thousandth(1000), Some(1023));
/// assert_eq!(Histogram::new().at_thousandth(500), None);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u64>,
}

impl Histogram {
    /// How many buckets there are.
    pub const BUCKETS: usize = ((32 - FINE_BITS + 1) << FINE_BITS) as usize;

    /// One that has counted nothing; allocates.
    #[must_use]
    pub fn new() -> Self {
        Self::from_counts([])
    }

    /// One with these counts, from the first bucket on; what is beyond the last is left out.
    #[must_use]
    pub fn from_counts(counts: impl IntoIterator<Item = u64>) -> Self {
        let mut all = Vec::with_capacity(Self::BUCKETS);
        all.extend(counts.into_iter().take(Self::BUCKETS));
        all.resize(Self::BUCKETS, 0);
        Self { counts: all }
    }

    /// Counts a value.
    #[inline]
    pub fn record(&mut self, value: u32) {
        // All values below 16 are as if they had the exponent of those from 16 to 31.
        let shift = (value | 1 << FINE_BITS).ilog2() - FINE_BITS;
        let bucket = (shift << FINE_BITS) + (value >> shift);
        if let Some(count) = self.counts.get_mut(bucket as usize) {
            *count += 1;
        }
    }

    /// The counts, from the first bucket on.
    #[must_use]
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The smallest value of a bucket.
    #[must_use]
    pub const fn lowest(bucket: usize) -> u64 {
        let bucket = bucket as u64;
        let shift = (bucket >> FINE_BITS).saturating_sub(1);
        (bucket - (shift << FINE_BITS)) << shift
    }

    /// The largest value of a bucket.
    #[must_use]
    pub const fn highest(bucket: usize) -> u64 {
        Self::lowest(bucket + 1) - 1
    }

    /// How many values were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The value that so many thousandths of all values are not above (500: the median, 990: the
    /// 99th percentile, 1000: the largest); a bucket is taken for its largest. `None` if nothing
    /// was counted.
    #[must_use]
    pub fn at_thousandth(&self, thousandths: u32) -> Option<u64> {
        let count = u128::from(self.count());
        let rank = (count * u128::from(thousandths.min(1000))).div_ceil(1000);
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += u128::from(*count);
            seen >= rank.max(1)
        });
        bucket.map(Self::highest)
    }

    /// What was counted since `earlier`, a copy of the same histogram.
    ///
    /// ```
    /// use taskyard_core::Histogram;
    /// let mut latencies = Histogram::new();
    /// latencies.record(1_000_000);
    /// let earlier = latencies.clone();
    /// latencies.record(7);
    /// assert_eq!(latencies.since(&earlier).at_thousandth(1000), Some(7));
    /// ```
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let pairs = self.counts.iter().zip(&earlier.counts);
        Self::from_counts(pairs.map(|(now, then)| now.saturating_sub(*then)))
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Histogram {
    /// Without the buckets, which are many.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram")
            .field("count", &self.count())
            .field("median", &self.at_thousandth(500))
            .field("largest", &self.at_thousandth(1000))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bucket that a value is counted in.
    fn bucket_of(value: u32) -> usize {
        let mut histogram = Histogram::new();
        histogram.record(value);
        assert_eq!(histogram.count(), 1, "{value} is counted");
        histogram
            .counts
            .iter()
            .position(|count| *count == 1)
            .unwrap()
    }

    #[test]
    fn each_value_is_in_the_bucket_that_says_so() {
        for bits in 0..32 {
            for value in [
                1_u32 << bits,
                (1 << bits) - 1,
                (1 << bits) | 0x5555_5555 >> (31 - bits),
            ] {
                let bucket = bucket_of(value);
                let range = Histogram::lowest(bucket)..=Histogram::highest(bucket);
                assert!(range.contains(&value.into()), "{value} in {range:?}");
                let width = range.end() - range.start() + 1;
                assert!(
                    width == 1 || width * 16 <= value.into(),
                    "{value} in {range:?}"
                );
            }
        }
        assert_eq!(bucket_of(u32::MAX), Histogram::BUCKETS - 1);
        assert_eq!(bucket_of(0), 0);
    }

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        assert_eq!(Histogram::lowest(0), 0);
        for bucket in 1..Histogram::BUCKETS {
            assert_eq!(bucket_of(Histogram::lowest(bucket) as u32), bucket);
            assert_eq!(bucket_of(Histogram::highest(bucket - 1) as u32), bucket - 1);
        }
        assert_eq!(
            Histogram::highest(Histogram::BUCKETS - 1),
            u64::from(u32::MAX)
        );
    }

    #[test]
    fn ranks_are_those_of_the_values() {
        let mut histogram = Histogram::new();
        assert_eq!(histogram.at_thousandth(0), None);
        for value in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10] {
            histogram.record(value);
        }
        for (thousandths, value) in [(0, 1), (100, 1), (101, 2), (500, 5), (990, 10), (9999, 10)] {
            assert_eq!(histogram.at_thousandth(thousandths), Some(value));
        }
        let counts = [u64::MAX / 1000; 3];
        assert_eq!(Histogram::from_counts(counts).at_thousandth(500), Some(1));
    }
}
