//! Labels as bytes: what a worker may be asked for beside its name.

use arrayvec::ArrayVec;
use taskyard_core::Labels;

use crate::wire::WireError;

/// The most labels that a worker may have.
pub const LABELS_MAX: usize = Labels::MAX;

/// The longest label, in bytes.
pub const LABEL_MAX: usize = 63;

/// Bytes of the labels of one worker, at most.
const LEN_MAX: usize = LABELS_MAX * (1 + LABEL_MAX);

/// Whether a worker may have this label: 1 to 63 bytes.
///
/// ```
/// assert!(taskyard_protocol::is_label("gpu") && !taskyard_protocol::is_label(""));
/// ```
#[must_use]
pub const fn is_label(text: &str) -> bool {
    !text.is_empty() && text.len() <= LABEL_MAX
}

/// The labels of a [`Register`](crate::wire::Kind::Register), one byte of length before each.
///
/// # Panics
/// More than [`LABELS_MAX`], or one that [is none](is_label): check them where they enter the
/// program.
///
/// ```
/// use taskyard_protocol::{read_labels, write_labels};
/// let bytes = write_labels(&["gpu", "big"]);
/// assert_eq!(bytes.as_slice(), b"\x03gpu\x03big");
/// assert_eq!(read_labels(&bytes).unwrap().as_slice(), ["gpu", "big"]);
/// ```
#[must_use]
pub fn write_labels(labels: &[impl AsRef<str>]) -> ArrayVec<u8, LEN_MAX> {
    assert!(
        labels.len() <= LABELS_MAX,
        "a worker has at most {LABELS_MAX} labels"
    );
    let mut bytes = ArrayVec::new();
    for label in labels.iter().map(AsRef::as_ref) {
        assert!(is_label(label), "a label has 1 to {LABEL_MAX} bytes");
        let more = [&[label.len() as u8], label.as_bytes()].concat();
        let fits = bytes.try_extend_from_slice(&more);
        fits.expect("there is room for so many labels of this length");
    }
    bytes
}

/// The inverse of [`write_labels`].
///
/// # Errors
/// [`WireError::Labels`]: too many, empty, too long, not UTF-8, or cut.
pub fn read_labels(mut bytes: &[u8]) -> Result<ArrayVec<&str, LABELS_MAX>, WireError> {
    let mut labels = ArrayVec::new();
    while let Some((&length, rest)) = bytes.split_first() {
        let (label, rest) = rest
            .split_at_checked(length.into())
            .ok_or(WireError::Labels)?;
        let label = str::from_utf8(label).map_err(|_| WireError::Labels)?;
        if !is_label(label) || labels.try_push(label).is_err() {
            return Err(WireError::Labels);
        }
        bytes = rest;
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_are_none_are_refused() {
        let long = "x".repeat(LABEL_MAX);
        let most = vec![long.as_str(); LABELS_MAX];
        let bytes = write_labels(&most);
        assert_eq!(read_labels(&bytes).unwrap().as_slice(), most.as_slice());
        let too_many = [&bytes[..], b"\x01x"].concat();
        let too_long = [&[64][..], &[b'x'; 64]].concat();
        for wrong in [&too_many[..], &too_long, b"\0", b"\x02\xff\xfe", b"\x01"] {
            assert_eq!(read_labels(wrong), Err(WireError::Labels), "{wrong:?}");
        }
        assert_eq!(read_labels(b"").unwrap().len(), 0);
        for cut in 1..=LABEL_MAX {
            assert!(read_labels(&bytes[..cut]).is_err());
        }
    }
}
