//! What the sessions ask of a byte transport: a number per connection, a way out, and payloads made
//! of received bytes.

use std::sync::Arc;

use arrayvec::ArrayVec;
use taskyard_dispatcher::Payload;

use crate::control::Authority;
use crate::wire::{FRAMES_MAX, Head};

/// The transport's number for one connection; a later connection never has the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey(pub u64);

/// Which of a shard's two endpoints a connection belongs to.
///
/// Keys of the two sides may coincide: each side is a socket of its own, with its own numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The endpoint of clients.
    Client,
    /// The endpoint of workers.
    Worker,
}

/// Why a message did not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The way to this peer takes no more for now.
    #[error("the peer takes no more for now")]
    Full,
    /// There is no such connection, or no longer.
    #[error("the peer is not connected")]
    Unreachable,
}

/// The way out of a shard, to any of its peers.
pub trait Outbox<P> {
    /// Sends one message. An implementation that sends the payload as frames of its own announces
    /// them with [`Head::set_frames`]; otherwise the payload's one frame follows `head` inline.
    ///
    /// # Errors
    /// The message has not left, no part of it, and the payload is dropped.
    fn send(
        &mut self,
        side: Side,
        peer: PeerKey,
        head: &mut Head,
        payload: Option<P>,
    ) -> Result<(), SendError>;

    /// Gives this connection up, if the transport can: the sessions have forgotten it, and what it
    /// still sends is answered like a stranger's.
    fn close(&mut self, side: Side, peer: PeerKey);

    /// What the peer on this connection may do, by how it has come in. A transport that does not
    /// ask knows no operators.
    fn authority(&self, side: Side, peer: PeerKey) -> Authority {
        let _ = (side, peer);
        Authority::Own
    }
}

/// The way out of a remote client or worker, to its controller.
pub trait Wire<P> {
    /// Sends one message; the payload travels as with [`Outbox::send`].
    ///
    /// # Errors
    /// The message has not left, no part of it, and the payload is dropped.
    fn send(&mut self, head: &mut Head, payload: Option<P>) -> Result<(), SendError>;
}

/// What came behind a first frame.
#[derive(Debug)]
pub enum Incoming<P> {
    /// Nothing: a payload, if there is one, is inline.
    Alone,
    /// 1 to 64 frames, and this payload is made of them.
    Frames(P),
    /// Frames that do not make a payload: too many of them, or too large. The transport has dropped
    /// them.
    Unusable,
}

/// A payload that can be made of the inline bytes of a first frame.
///
/// ```
/// use arrayvec::ArrayVec;
/// use taskyard_dispatcher::Payload;
/// use taskyard_protocol::FromInline;
/// let payload = ArrayVec::<u8, 8>::from_inline(b"sum").unwrap();
/// assert_eq!(payload.frame(0), Some(&b"sum"[..]));
/// assert!(ArrayVec::<u8, 8>::from_inline(b"nine bytes").is_none());
/// ```
pub trait FromInline: Payload {
    /// Copies the bytes; `None` if this kind of payload cannot hold so many.
    fn from_inline(bytes: &[u8]) -> Option<Self>
    where
        Self: Sized;
}

impl<const N: usize> FromInline for ArrayVec<u8, N> {
    fn from_inline(bytes: &[u8]) -> Option<Self> {
        Self::try_from(bytes).ok()
    }
}

impl FromInline for Arc<[u8]> {
    fn from_inline(bytes: &[u8]) -> Option<Self> {
        Some(bytes.into())
    }
}

/// The sum of the lengths of a payload's frames.
pub(crate) fn payload_len<P: Payload>(payload: &P) -> usize {
    let frames = payload.frame_count().min(FRAMES_MAX);
    (0..frames)
        .filter_map(|index| payload.frame(index))
        .map(<[u8]>::len)
        .sum()
}
