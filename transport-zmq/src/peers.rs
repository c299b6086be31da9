//! The connections of one ROUTER: their routing ids, their descriptors, and which of them are gone.

use std::collections::{HashMap, HashSet};
use std::ffi::c_int;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::{Duration, Instant};

use taskyard_protocol::PeerKey;

/// Bytes of the routing id that a ROUTER gives to a peer that brings none: zero, then a number that
/// no other connection of the socket had.
pub(crate) const ID_LEN: usize = 5;

/// The connection with this routing id; `None` for an id that the peer chose itself.
pub(crate) fn key_of(id: &[u8]) -> Option<PeerKey> {
    match id {
        [0, number @ ..] => Some(PeerKey(u32::from_be_bytes(number.try_into().ok()?).into())),
        _ => None,
    }
}

/// The inverse of [`key_of`].
pub(crate) fn id_of(key: PeerKey) -> [u8; ID_LEN] {
    // Keys are made by `key_of` alone, from 32 bits.
    let [a, b, c, d] = (key.0 as u32).to_be_bytes();
    [0, a, b, c, d]
}

/// The connections that have said something and are not gone.
#[derive(Debug, Default)]
pub(crate) struct Peers {
    by_key: HashMap<PeerKey, Option<c_int>, BuildHasherDefault<KeyHasher>>,
    by_fd: HashMap<c_int, PeerKey>,
    /// Descriptors whose connection ended before it had said anything, as far as we have read.
    ended: HashSet<c_int>,
    suspects: Vec<Suspect>,
    /// Those that hold the operator's key.
    operators: HashSet<PeerKey>,
}

/// A connection whose end was seen from the side. What it sent may still lie unread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Suspect {
    pub(crate) key: PeerKey,
    /// When it counts as gone.
    pub(crate) due: Instant,
    /// It may also be the descriptor's next owner, and alive: it has to be asked.
    pub(crate) in_doubt: bool,
}

impl Peers {
    /// Whether it has said something before.
    pub(crate) fn knows(&self, key: PeerKey) -> bool {
        self.by_key.contains_key(&key)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Notes a connection that speaks for the first time. Whoever was known to have its descriptor
    /// is gone: two connections never have one at a time.
    pub(crate) fn insert(&mut self, key: PeerKey, fd: Option<c_int>, due: Instant) {
        self.by_key.insert(key, fd);
        let Some(fd) = fd else { return };
        if let Some(before) = self.by_fd.insert(fd, key) {
            self.suspects.push(Suspect {
                key: before,
                due,
                in_doubt: false,
            });
        }
        if self.ended.remove(&fd) {
            self.suspects.push(Suspect {
                key,
                due,
                in_doubt: true,
            });
        }
    }

    /// Notes that a peer holds the operator's key.
    pub(crate) fn note_operator(&mut self, key: PeerKey) {
        self.operators.insert(key);
    }

    /// Whether it does.
    pub(crate) fn is_operator(&self, key: PeerKey) -> bool {
        self.operators.contains(&key)
    }

    /// Forgets a connection; false if it was not known, or has been forgotten before.
    pub(crate) fn remove(&mut self, key: PeerKey) -> bool {
        let Some(fd) = self.by_key.remove(&key) else {
            return false;
        };
        self.operators.remove(&key);
        if let Some(fd) = fd
            && self.by_fd.get(&fd) == Some(&key)
        {
            self.by_fd.remove(&fd);
        }
        true
    }

    /// The monitor says that the connection of this descriptor has ended.
    pub(crate) fn suspect(&mut self, fd: c_int, due: Instant) {
        match self.by_fd.remove(&fd) {
            Some(key) => self.suspects.push(Suspect {
                key,
                due,
                in_doubt: false,
            }),
            // Its first word may lie unread, or it never had one.
            None => {
                self.ended.insert(fd);
            }
        }
    }

    /// Whether there are any suspects.
    pub(crate) fn has_suspects(&self) -> bool {
        !self.suspects.is_empty()
    }

    /// A suspect that is due; it is not forgotten yet.
    pub(crate) fn poll_suspect(&mut self, now: Instant) -> Option<Suspect> {
        let at = self
            .suspects
            .iter()
            .position(|suspect| suspect.due <= now)?;
        Some(self.suspects.swap_remove(at))
    }

    /// How long until the next suspect is due.
    pub(crate) fn next_due(&self, now: Instant) -> Option<Duration> {
        let due = self.suspects.iter().map(|suspect| suspect.due).min()?;
        Some(due.saturating_duration_since(now))
    }
}

/// Spreads numbers that libzmq counts up itself: nobody outside chooses them.
#[derive(Default)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    fn write_u64(&mut self, number: u64) {
        // Fibonacci hashing: the odd number nearest to 2^64 divided by the golden ratio.
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: PeerKey = PeerKey(1);
    const B: PeerKey = PeerKey(0xffff_fffe);

    #[test]
    fn given_ids_are_numbers_and_chosen_ones_are_not() {
        assert_eq!(key_of(&id_of(B)), Some(B));
        assert_eq!(key_of(&[0, 0, 0, 1, 2]), Some(PeerKey(0x102)));
        for chosen in [&b"w"[..], b"", b"\0abc", b"\0abcde", b"abcde"] {
            assert_eq!(key_of(chosen), None);
        }
    }

    fn next_suspect(peers: &mut Peers, now: Instant) -> Option<(PeerKey, bool)> {
        peers
            .poll_suspect(now)
            .map(|suspect| (suspect.key, suspect.in_doubt))
    }

    #[test]
    fn a_descriptor_that_comes_back_betrays_its_last_owner() {
        let (mut peers, now) = (Peers::default(), Instant::now());
        peers.insert(A, Some(9), now);
        peers.insert(B, Some(9), now);
        assert_eq!(next_suspect(&mut peers, now), Some((A, false)));
        assert!(peers.remove(A));
        assert!(!peers.remove(A));
        peers.suspect(9, now);
        assert_eq!(next_suspect(&mut peers, now), Some((B, false)));
    }

    #[test]
    fn who_speaks_first_after_its_descriptor_ended_is_in_doubt() {
        let (mut peers, now) = (Peers::default(), Instant::now());
        peers.suspect(9, now);
        assert!(!peers.has_suspects());
        peers.insert(A, Some(9), now);
        assert_eq!(next_suspect(&mut peers, now), Some((A, true)));
        assert!(peers.knows(A));
    }

    #[test]
    fn a_suspect_counts_as_gone_only_when_due() {
        let (mut peers, now) = (Peers::default(), Instant::now());
        let due = now + Duration::from_millis(5);
        peers.insert(A, Some(3), now);
        peers.suspect(3, due);
        assert_eq!(peers.poll_suspect(now), None);
        assert_eq!(peers.next_due(now), Some(due - now));
        assert!(peers.knows(A));
        assert_eq!(next_suspect(&mut peers, due), Some((A, false)));
        assert_eq!(peers.poll_suspect(due), None);
    }
}
