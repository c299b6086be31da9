//! Statistics as bytes.
//!
//! ```text
//!  u16 counters │ u16 buckets │ u16 histograms │ u16 0 │ counters u64 … │ each histogram: u64 …
//! ```
//! A later version may have more counters and more histograms, at their ends: who reads takes what
//! it knows. Buckets are those of this version.

use taskyard_core::Histogram;
use taskyard_dispatcher::Statistics;

use crate::wire::WireError;

const HISTOGRAMS: usize = 2;

pub(super) fn write(statistics: &Statistics) -> Vec<u8> {
    let sizes = [Statistics::COUNTERS, Histogram::BUCKETS, HISTOGRAMS, 0];
    let sizes = sizes.iter().flat_map(|size| (*size as u16).to_le_bytes());
    let counters = statistics.counters().map(|(_, value)| value);
    let histograms = [&statistics.waits, &statistics.latencies];
    let counts = histograms.into_iter().flat_map(Histogram::counts).copied();
    let numbers = counters.chain(counts).flat_map(u64::to_le_bytes);
    sizes.chain(numbers).collect()
}

pub(super) fn read(payload: &[u8]) -> Result<Statistics, WireError> {
    let (sizes, numbers) = payload.split_first_chunk::<8>().ok_or(WireError::Body)?;
    let size = |at: usize| usize::from(u16::from_le_bytes([sizes[at], sizes[at + 1]]));
    let (counters, buckets, histograms) = (size(0), size(2), size(4));
    let (numbers, rest) = numbers.as_chunks::<8>();
    let is_whole = numbers.len() == counters + buckets * histograms && rest.is_empty();
    if !is_whole || buckets != Histogram::BUCKETS || histograms < HISTOGRAMS {
        return Err(WireError::Body);
    }
    let mut numbers = numbers.iter().map(|bytes| u64::from_le_bytes(*bytes));
    let values: Vec<_> = numbers.by_ref().take(counters).collect();
    let [waits, latencies] =
        [(); HISTOGRAMS].map(|()| Histogram::from_counts(numbers.by_ref().take(buckets)));
    Ok(Statistics::from_values(values, waits, latencies))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Statistics {
        let numbers = 1..=Statistics::COUNTERS as u64;
        let mut histograms = [(); 2].map(|()| Histogram::new());
        (0..32).for_each(|bit| histograms[0].record(1 << bit));
        histograms[1].record(u32::MAX);
        let [waits, latencies] = histograms;
        Statistics::from_values(numbers, waits, latencies)
    }

    #[test]
    fn each_counter_keeps_its_place() {
        let statistics = some();
        let bytes = write(&statistics);
        assert_eq!(read(&bytes), Ok(statistics.clone()));
        let values: Vec<_> = statistics.counters().map(|(_, value)| value).collect();
        assert_eq!(
            values,
            (1..=Statistics::COUNTERS as u64).collect::<Vec<_>>()
        );
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length]).is_err());
        }
    }

    #[test]
    fn a_later_version_may_say_more_and_an_earlier_one_less() {
        let statistics = some();
        let bytes = write(&statistics);
        let (counters, start) = (Statistics::COUNTERS, 8 + 8 * Statistics::COUNTERS);
        let mut more = bytes.clone();
        more[..2].copy_from_slice(&(counters as u16 + 1).to_le_bytes());
        more[4] = 3;
        more.splice(start..start, [9; 8]);
        more.extend([9; 8 * Histogram::BUCKETS]);
        assert_eq!(read(&more), Ok(statistics));
        let mut less = bytes;
        less[..2].copy_from_slice(&(counters as u16 - 1).to_le_bytes());
        less.drain(start - 8..start);
        let read = read(&less).unwrap();
        assert_eq!(read.counters().last().map(|(_, value)| value), Some(0));
        assert_eq!(read.workers, 1);
    }
}
