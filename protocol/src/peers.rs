//! The connections of one side of a shard, by the transport's number.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::peer::PeerKey;

/// A hash map whose keys are numbers that we or our transport drew: nobody outside can choose them,
/// so one multiplication spreads them well enough.
pub(crate) type NumberMap<K, V> = HashMap<K, V, BuildHasherDefault<NumberHasher>>;

/// Fibonacci hashing: see [`NumberMap`].
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // 2^64 divided by the golden ratio: neighbouring numbers land far apart in the high bits,
        // from which the table takes its tags, and the rotation brings some of them to the low
        // ones.
        let mixed = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed.rotate_left(32);
    }
}

/// The connections that the sessions remember, up to a limit. Grows only when a connection is first
/// heard of.
#[derive(Debug)]
pub(crate) struct Peers<T> {
    by_key: NumberMap<PeerKey, T>,
    count_max: usize,
}

impl<T: Default> Peers<T> {
    pub(crate) fn new(count_max: usize) -> Self {
        Self {
            by_key: NumberMap::default(),
            count_max,
        }
    }

    pub(crate) fn get(&self, peer: PeerKey) -> Option<&T> {
        self.by_key.get(&peer)
    }

    pub(crate) fn get_mut(&mut self, peer: PeerKey) -> Option<&mut T> {
        self.by_key.get_mut(&peer)
    }

    /// The entry of this connection, made if need be; `None` when there are too many.
    pub(crate) fn enter(&mut self, peer: PeerKey) -> Option<&mut T> {
        if self.by_key.len() >= self.count_max && !self.by_key.contains_key(&peer) {
            return None;
        }
        Some(self.by_key.entry(peer).or_default())
    }

    pub(crate) fn remove(&mut self, peer: PeerKey) -> Option<T> {
        self.by_key.remove(&peer)
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerKey, &T)> {
        self.by_key.iter().map(|(peer, entry)| (*peer, entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_for_new_connections_only() {
        let mut peers = Peers::<u8>::new(2);
        *peers.enter(PeerKey(1)).unwrap() = 11;
        *peers.enter(PeerKey(2)).unwrap() = 12;
        assert!(peers.enter(PeerKey(3)).is_none());
        assert_eq!(peers.enter(PeerKey(1)), Some(&mut 11));
        assert_eq!(peers.remove(PeerKey(1)), Some(11));
        assert_eq!(peers.enter(PeerKey(3)), Some(&mut 0));
    }

    #[test]
    fn neighbouring_numbers_do_not_meet() {
        let hash = |number: u64| {
            let mut hasher = NumberHasher::default();
            hasher.write_u64(number);
            hasher.finish()
        };
        let buckets = (0..4096)
            .map(|n| hash(n) & 0xfff)
            .collect::<std::collections::HashSet<_>>();
        assert!(
            buckets.len() > 2048,
            "only {} of 4096 buckets are used",
            buckets.len()
        );
    }
}
