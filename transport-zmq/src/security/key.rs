//! A secret of 256 bits, and its text.

use std::fmt;
use std::hint::black_box;

use rustix::rand::{GetRandomFlags, getrandom};

use crate::Error;
use crate::sys::curve_public;

/// Bytes of a key.
const LEN: usize = 32;
/// Characters of its text: Z85 makes five of four bytes.
pub(super) const TEXT_LEN: usize = 40;

/// A secret of 256 bits. Its text is Z85, as ZeroMQ writes keys; `Debug` does not show it.
#[derive(Clone)]
pub struct Key([u8; LEN]);

impl Key {
    /// A new one, of the system's randomness.
    ///
    /// # Errors
    /// If the system has none, which it should.
    pub fn fresh() -> Result<Self, Error> {
        let mut bytes = [0; LEN];
        let mut filled = 0;
        while filled < LEN {
            match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
                Ok(more) => filled += more,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Error::os("drawing a key", &error.into())),
            }
        }
        Ok(Self(bytes))
    }

    /// The key with this text; `None` if it is none.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        decode(text).map(Self)
    }

    /// Its text: 40 characters.
    #[must_use]
    pub fn to_text(&self) -> String {
        encode(&self.0)
    }

    /// Half of it, for what takes no more.
    ///
    /// ```
    /// let key = taskyard_zmq::Key::fresh()?;
    /// assert_ne!(key.half(), taskyard_zmq::Key::fresh()?.half());
    /// # Ok::<(), taskyard_zmq::Error>(())
    /// ```
    #[must_use]
    pub fn half(&self) -> u128 {
        let half = self.0.first_chunk().expect("32 bytes are more than 16");
        u128::from_le_bytes(*half)
    }

    pub(super) const fn from_bytes(bytes: [u8; LEN]) -> Self {
        Self(bytes)
    }

    /// The public key that belongs to it as a secret key of CURVE.
    pub(super) fn curve_public(&self) -> Result<[u8; LEN], Error> {
        curve_public(&self.0).map_err(|_| Error::NoCurve)
    }

    pub(crate) const fn bytes(&self) -> &[u8; LEN] {
        &self.0
    }
}

/// Takes as long wherever the first difference is.
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        same(&self.0, &other.0)
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Whether two texts are the same; how long it takes depends on their lengths alone.
pub(super) fn same(one: &[u8], other: &[u8]) -> bool {
    let pairs = one.iter().zip(other);
    let differs = pairs.fold(0, |differs, (a, b)| black_box(differs | (a ^ b)));
    one.len() == other.len() && differs == 0
}

/// The text of 32 bytes.
pub(super) fn encode(bytes: &[u8; LEN]) -> String {
    zmq::z85_encode(bytes).expect("32 bytes are a multiple of four")
}

/// The 32 bytes of a text.
pub(super) fn decode(text: &str) -> Option<[u8; LEN]> {
    // The length first: libzmq reads a text of any.
    if text.len() != TEXT_LEN {
        return None;
    }
    let bytes = zmq::z85_decode(text).ok()?.try_into().ok()?;
    // libzmq also makes bytes of characters that are none of Z85's.
    (encode(&bytes) == text).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_comes_back_from_its_text_and_shows_nothing() {
        let key = Key::fresh().unwrap();
        let text = key.to_text();
        assert_eq!(text.len(), TEXT_LEN);
        assert_eq!(Key::from_text(&text), Some(key.clone()));
        assert_ne!(Key::fresh().unwrap(), key);
        assert!(!format!("{key:?}").contains(&text));
    }

    #[test]
    fn no_other_text_is_a_key() {
        for text in ["", "short", &"~".repeat(TEXT_LEN), &"a".repeat(45), "é"] {
            assert_eq!(Key::from_text(text), None, "{text}");
        }
    }

    #[test]
    fn texts_of_any_lengths_are_compared() {
        assert!(same(b"", b"") && same(b"key", b"key"));
        assert!(!same(b"key", b"kex") && !same(b"key", b"keys") && !same(b"", b"k"));
    }
}
