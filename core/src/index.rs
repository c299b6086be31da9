//! A fixed-capacity hash index: open addressing, linear probing, deletion by backward shift.
//!
//! It stores nothing but `u32` record numbers; keys stay in the records, and the caller passes how
//! to compare and to hash them. The hash is a multiplication by a constant, so the same inputs give
//! the same table, always. Zero means *empty*: the table comes zeroed from the allocator, and a
//! page that was never used is never touched.

use alloc::vec;
use alloc::vec::Vec;

/// Which record has this key.
#[derive(Debug)]
pub(crate) struct Index {
    /// Record number plus one, or zero.
    slots: Vec<u32>,
    shift: u32,
    len: u32,
}

impl Index {
    /// The size of the table for `entries`: at most half full, so that probes stay short.
    pub(crate) const fn slots_for(entries: u32) -> usize {
        (entries as usize * 2).next_power_of_two()
    }

    /// Room for `entries` records.
    pub(crate) fn new(entries: u32) -> Self {
        let slots = Self::slots_for(entries).max(2);
        Self {
            slots: vec![0; slots],
            shift: 64 - slots.trailing_zeros(),
            len: 0,
        }
    }

    /// How many records are in it.
    pub(crate) const fn len(&self) -> u32 {
        self.len
    }

    /// The record with this hash for which `is_it` holds.
    #[inline]
    pub(crate) fn find(&self, hash: Hash, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = self.home(hash);
        loop {
            let entry = self.slots[at];
            if entry == 0 {
                return None;
            }
            if is_it(entry - 1) {
                return Some(entry - 1);
            }
            at = self.next(at);
        }
    }

    /// Adds a record whose key is not in the index.
    #[inline]
    pub(crate) fn insert(&mut self, hash: Hash, record: u32) {
        assert!(
            (self.len as usize) < self.slots.len() / 2 + 1,
            "more entries than promised"
        );
        let mut at = self.home(hash);
        while self.slots[at] != 0 {
            at = self.next(at);
        }
        self.slots[at] = record + 1;
        self.len += 1;
    }

    /// Takes a record out; `hash_of` gives the hash of any record that is in.
    #[inline]
    pub(crate) fn remove(&mut self, hash: Hash, record: u32, hash_of: impl Fn(u32) -> Hash) {
        let mut hole = self.home(hash);
        while self.slots[hole] != record + 1 {
            debug_assert!(self.slots[hole] != 0, "record {record} is not in the index");
            if self.slots[hole] == 0 {
                return;
            }
            hole = self.next(hole);
        }
        // Close the hole: an entry further on moves into it unless its own home lies behind it.
        let mut at = self.next(hole);
        while self.slots[at] != 0 {
            let home = self.home(hash_of(self.slots[at] - 1));
            if self.distance(home, at) >= self.distance(hole, at) {
                self.slots[hole] = self.slots[at];
                hole = at;
            }
            at = self.next(at);
        }
        self.slots[hole] = 0;
        self.len -= 1;
    }

    fn home(&self, hash: Hash) -> usize {
        (hash.0 >> self.shift) as usize
    }

    fn next(&self, at: usize) -> usize {
        (at + 1) & (self.slots.len() - 1)
    }

    /// Steps from `from` forward to `to`.
    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.slots.len() - 1)
    }
}

/// A mixed key; its upper bits choose the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hash(u64);

impl Hash {
    /// 2^64 divided by the golden ratio: consecutive keys land far apart.
    const MULTIPLIER: u64 = 0x9E37_79B9_7F4A_7C15;

    /// Mixes two words.
    #[inline]
    pub(crate) const fn of(a: u64, b: u64) -> Self {
        let a = (a ^ (a >> 32)).wrapping_mul(Self::MULTIPLIER);
        Self((a.rotate_left(29) ^ b).wrapping_mul(Self::MULTIPLIER))
    }

    /// Mixes a 128-bit key.
    pub(crate) const fn of_u128(key: u128) -> Self {
        Self::of(key as u64, (key >> 64) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    /// Few homes, so that entries collide and wrap around the end.
    fn crowded(key: u64) -> Hash {
        Hash((key % 3) << 62 | 1 << 61)
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(ops in proptest::collection::vec((0u64..16, any::<bool>()), 0..128)) {
            let keys: Vec<u64> = (0..16).collect();
            let mut index = Index::new(16);
            let mut model = BTreeMap::new();
            for (key, add) in ops {
                let hash = crowded(key);
                let found = index.find(hash, |r| keys[r as usize] == key);
                prop_assert_eq!(found, model.get(&key).copied());
                match (found, add) {
                    (None, true) => {
                        index.insert(hash, key as u32);
                        model.insert(key, key as u32);
                    }
                    (Some(record), false) => {
                        index.remove(hash, record, |r| crowded(keys[r as usize]));
                        model.remove(&key);
                    }
                    _ => {}
                }
                prop_assert_eq!(index.len() as usize, model.len());
            }
        }
    }

    #[test]
    fn consecutive_keys_do_not_crowd() {
        let mut index = Index::new(1 << 10);
        for key in 0..1u32 << 10 {
            index.insert(Hash::of(7, u64::from(key)), key);
        }
        let longest = index
            .slots
            .split(|entry| *entry == 0)
            .map(<[u32]>::len)
            .max();
        assert!(longest.unwrap_or(0) < 16, "a run of {longest:?}");
    }
}
