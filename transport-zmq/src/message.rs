//! Payloads as this transport holds them: read-only, cheap to share, and never pinning more memory
//! than they have bytes.
//!
//! A small frame that libzmq received points into the 8 KiB buffer that it arrived in: twenty
//! thousand waiting payloads of 64 bytes, kept as they came, cost 166 MB. So where the bytes live
//! depends on how many there are:
//!
//! | bytes | held | a share costs |
//! | --- | --- | --- |
//! | ≤ [`INLINE_MAX`](ZmqPayload::INLINE_MAX) | in the value itself | a copy of 72 bytes |
//! | < 8 KiB | in a frame of their own, copied once on the way in | a count |
//! | more | in the frame that they arrived in; nothing is copied | a count |
//! | 2 to 64 frames | in one counted block of such frames | a count |

use std::fmt;
use std::sync::Arc;

use taskyard_dispatcher::Payload;
use taskyard_protocol::FromInline;
use taskyard_protocol::wire::FRAMES_MAX;

use crate::Error;
use crate::sys::{Frame, SharedFrame};

/// The size of libzmq's receive buffer: a frame that is larger has memory of its own.
const RECEIVE_BUFFER: usize = 8192;

/// The payload of a task or the result of one: 1 to 64 frames of bytes.
///
/// ```
/// use taskyard_dispatcher::Payload;
/// use taskyard_zmq::ZmqPayload;
/// let payload = ZmqPayload::from_frames(&[b"head".as_slice(), &[0; 100_000]])?;
/// let share = payload.share();
/// assert_eq!(share.frame_count(), 2);
/// assert_eq!(share.frame(0), Some(b"head".as_slice()));
/// assert!(ZmqPayload::from_frames::<&[u8]>(&[]).is_err());
/// # Ok::<(), taskyard_zmq::Error>(())
/// ```
pub struct ZmqPayload(Repr);

enum Repr {
    Inline(Inline),
    Frame(SharedFrame),
    Frames(Arc<[SharedFrame]>),
}

struct Inline {
    len: u8,
    bytes: [u8; ZmqPayload::INLINE_MAX],
}

// A payload is moved through rings by value, and one lies in every slot of the task table.
const _: () = assert!(size_of::<ZmqPayload>() <= 80);

impl ZmqPayload {
    /// The most bytes that are held in the value itself.
    pub const INLINE_MAX: usize = 70;

    /// One frame with a copy of these bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(Inline::new(bytes).map_or_else(
            || Repr::Frame(SharedFrame::new(Frame::copied(bytes))),
            Repr::Inline,
        ))
    }

    /// Several frames with copies of these bytes.
    ///
    /// # Errors
    /// [`Error::Frames`]: none, or more than 64.
    pub fn from_frames<F: AsRef<[u8]>>(frames: &[F]) -> Result<Self, Error> {
        match frames {
            [] => Err(Error::Frames(0)),
            [one] => Ok(Self::from_bytes(one.as_ref())),
            many if many.len() > FRAMES_MAX => Err(Error::Frames(many.len())),
            many => {
                let copied = |bytes: &F| SharedFrame::new(Frame::copied(bytes.as_ref()));
                Ok(Self(Repr::Frames(many.iter().map(copied).collect())))
            }
        }
    }

    /// What was received as payload frames; `None` if there are none, or more than 64. Empties the
    /// list.
    pub(crate) fn from_received(frames: &mut Vec<Frame>) -> Option<Self> {
        match frames.len() {
            0 => None,
            1 => frames.pop().map(Self::from_received_frame),
            count if count > FRAMES_MAX => {
                frames.clear();
                None
            }
            _ => {
                let block = frames
                    .drain(..)
                    .map(|frame| SharedFrame::new(unpinned(frame)));
                Some(Self(Repr::Frames(block.collect())))
            }
        }
    }

    fn from_received_frame(frame: Frame) -> Self {
        Self(match Inline::new(frame.bytes()) {
            Some(inline) => Repr::Inline(inline),
            None => Repr::Frame(SharedFrame::new(unpinned(frame))),
        })
    }

    /// The bytes of a payload of one frame; `None` if it has several.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        match &self.0 {
            Repr::Inline(inline) => Some(inline.bytes()),
            Repr::Frame(frame) => Some(frame.bytes()),
            Repr::Frames(_) => None,
        }
    }

    /// Each frame's bytes, in order.
    pub fn frames(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.frame_count()).filter_map(|i| self.frame(i))
    }

    /// Frame `i` as one that libzmq can send; the bytes of a large one are not copied.
    pub(crate) fn to_frame(&self, i: usize) -> Option<Frame> {
        match &self.0 {
            Repr::Inline(inline) => (i == 0).then(|| Frame::copied(inline.bytes())),
            Repr::Frame(frame) => (i == 0).then(|| frame.copy()),
            Repr::Frames(frames) => frames.get(i).map(SharedFrame::copy),
        }
    }
}

impl Payload for ZmqPayload {
    fn frame_count(&self) -> usize {
        match &self.0 {
            Repr::Inline(_) | Repr::Frame(_) => 1,
            Repr::Frames(frames) => frames.len(),
        }
    }

    fn frame(&self, i: usize) -> Option<&[u8]> {
        match &self.0 {
            Repr::Inline(inline) => (i == 0).then(|| inline.bytes()),
            Repr::Frame(frame) => (i == 0).then(|| frame.bytes()),
            Repr::Frames(frames) => frames.get(i).map(SharedFrame::bytes),
        }
    }

    fn share(&self) -> Self {
        Self(match &self.0 {
            Repr::Inline(inline) => Repr::Inline(Inline {
                len: inline.len,
                bytes: inline.bytes,
            }),
            Repr::Frame(frame) => Repr::Frame(frame.share()),
            Repr::Frames(frames) => Repr::Frames(Arc::clone(frames)),
        })
    }
}

impl FromInline for ZmqPayload {
    fn from_inline(bytes: &[u8]) -> Option<Self> {
        Some(Self::from_bytes(bytes))
    }
}

impl fmt::Debug for ZmqPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: usize = self.frames().map(<[u8]>::len).sum();
        write!(
            f,
            "ZmqPayload({} frames, {bytes} bytes)",
            self.frame_count()
        )
    }
}

impl PartialEq for ZmqPayload {
    fn eq(&self, other: &Self) -> bool {
        self.frame_count() == other.frame_count() && self.frames().eq(other.frames())
    }
}

impl Eq for ZmqPayload {}

impl Inline {
    /// `None` if there are too many bytes.
    fn new(bytes: &[u8]) -> Option<Self> {
        let mut inline = Self {
            len: 0,
            bytes: [0; ZmqPayload::INLINE_MAX],
        };
        inline.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        // The slice above fits in the array, whose length fits in a byte.
        inline.len = bytes.len() as u8;
        Some(inline)
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// The same bytes, in memory that holds nothing else.
fn unpinned(frame: Frame) -> Frame {
    if frame.len() < RECEIVE_BUFFER {
        Frame::copied(frame.bytes())
    } else {
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i % 253) as u8).collect()
    }

    #[test]
    fn every_size_keeps_its_bytes_through_shares() {
        for len in [0, 1, 69, 70, 71, 8191, 8192, 1 << 20] {
            let payload = ZmqPayload::from_bytes(&bytes(len));
            let share = payload.share();
            assert_eq!(payload, share);
            drop(payload);
            assert_eq!(share.bytes(), Some(&bytes(len)[..]));
            assert_eq!(share.frame(1), None);
            assert_eq!(share.to_frame(0).unwrap().bytes(), bytes(len));
        }
    }

    #[test]
    fn one_to_sixty_four_frames() {
        for count in [1, 2, 64] {
            let frames: Vec<_> = (0..count).map(bytes).collect();
            let payload = ZmqPayload::from_frames(&frames).unwrap();
            assert_eq!(payload.frame_count(), count);
            assert!(
                payload
                    .share()
                    .frames()
                    .eq(frames.iter().map(Vec::as_slice))
            );
        }
        assert_eq!(
            ZmqPayload::from_frames(&vec![b""; 65]),
            Err(Error::Frames(65))
        );
        assert_eq!(
            ZmqPayload::from_frames::<Vec<u8>>(&[]),
            Err(Error::Frames(0))
        );
    }

    #[test]
    fn received_frames_empty_the_list() {
        let mut frames = vec![Frame::copied(b"a"), Frame::copied(&[1; 9000])];
        let payload = ZmqPayload::from_received(&mut frames).unwrap();
        assert!(frames.is_empty());
        assert_eq!(payload.frame(1).unwrap().len(), 9000);
        assert!(ZmqPayload::from_received(&mut frames).is_none());
        frames.extend((0..65).map(|_| Frame::new()));
        assert!(ZmqPayload::from_received(&mut frames).is_none());
        assert!(frames.is_empty());
    }

    #[test]
    fn shares_may_be_dropped_on_any_thread() {
        let payload = ZmqPayload::from_frames(&[bytes(100), bytes(20_000)]).unwrap();
        let shares: Vec<_> = (0..8).map(|_| payload.share()).collect();
        std::thread::scope(|scope| {
            for share in shares {
                scope.spawn(move || assert_eq!(share.frame(1).unwrap(), bytes(20_000)));
            }
        });
        assert_eq!(payload.frame(0).unwrap(), bytes(100));
    }
}
