//! From a worker's name to the key that the core knows it by.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use siphasher::sip128::{Hasher128, SipHasher13};
use taskyard_core::{LabelKey, NameKey};

/// Turns names into keys: SipHash-1-3 with 128 bits of output and a key drawn at start.
///
/// The core compares workers' names but knows no bytes, so it gets digests. With a random key
/// nobody outside can make two names meet, and 128 bits leave chance out of it.
///
/// ```
/// let names = taskyard_dispatcher::NameHasher::random();
/// assert_eq!(names.key("gpu-3"), names.clone().key("gpu-3"));
/// assert_ne!(names.key("gpu-3"), names.key("gpu-4"));
/// ```
#[derive(Clone, Debug)]
pub struct NameHasher {
    keyed: SipHasher13,
}

impl NameHasher {
    /// A hasher with a key from the operating system's randomness.
    #[must_use]
    pub fn random() -> Self {
        Self {
            keyed: SipHasher13::new_with_keys(random_u64(), random_u64()),
        }
    }

    /// The key of a label, which is never zero.
    #[must_use]
    pub fn label_key(&self, label: &str) -> LabelKey {
        LabelKey((self.key(label).0 as u64).max(1))
    }

    /// The key of a name.
    #[must_use]
    pub fn key(&self, name: &str) -> NameKey {
        let mut hasher = self.keyed;
        hasher.write(name.as_bytes());
        NameKey(hasher.finish128().as_u128())
    }
}

/// A number that no other process and no other call is likely to draw.
///
/// The standard library seeds every `RandomState` from the operating system, which spares a
/// dependency for the few numbers that are drawn at start.
#[must_use]
pub fn random_u64() -> u64 {
    RandomState::new().hash_one(std::process::id())
}
