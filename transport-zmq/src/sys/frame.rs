//! One frame of a message: libzmq's `zmq_msg_t`, owned.

use std::ffi::{CStr, c_int};
use std::fmt;
use std::mem::MaybeUninit;
use std::slice;

use super::last_error;

/// One frame, for one owner.
pub(crate) struct Frame(zmq_sys::zmq_msg_t);

// SAFETY: a `zmq_msg_t` may be handed from thread to thread; its counts are atomic.
unsafe impl Send for Frame {}

impl Frame {
    /// An empty frame, to receive into.
    pub(crate) fn new() -> Self {
        let mut raw = MaybeUninit::uninit();
        // SAFETY: initialises what it is pointed to, and never fails.
        let code = unsafe { zmq_sys::zmq_msg_init(raw.as_mut_ptr()) };
        assert_eq!(code, 0, "an empty message needs no memory");
        // SAFETY: initialised by the call above.
        Self(unsafe { raw.assume_init() })
    }

    /// A frame of exactly these bytes, one after the other.
    pub(crate) fn concat(first: &[u8], second: &[u8]) -> Self {
        let mut raw = MaybeUninit::uninit();
        let len = first.len() + second.len();
        // SAFETY: initialises what it is pointed to, or fails.
        let code = unsafe { zmq_sys::zmq_msg_init_size(raw.as_mut_ptr(), len) };
        // Out of memory is where Rust's own containers end the process too.
        assert_eq!(
            code,
            0,
            "no memory for a frame of {len} bytes: {}",
            last_error()
        );
        // SAFETY: initialised by the call above.
        let mut frame = Self(unsafe { raw.assume_init() });
        // SAFETY: the frame is live, has `len` writable bytes, and nobody else points into them;
        // both sources have their lengths and cannot overlap memory that was just allocated.
        unsafe {
            let data = zmq_sys::zmq_msg_data(&mut frame.0).cast::<u8>();
            data.copy_from_nonoverlapping(first.as_ptr(), first.len());
            data.add(first.len())
                .copy_from_nonoverlapping(second.as_ptr(), second.len());
        }
        frame
    }

    /// A frame of exactly these bytes.
    pub(crate) fn copied(bytes: &[u8]) -> Self {
        Self::concat(bytes, &[])
    }

    /// Its bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        let raw = (&raw const self.0).cast_mut();
        // SAFETY: the frame is live; neither call writes to it, and its bytes live as long as it
        // does.
        unsafe {
            let data = zmq_sys::zmq_msg_data(raw).cast::<u8>();
            match zmq_sys::zmq_msg_size(raw) {
                // libzmq may answer null here, which no slice may point to.
                0 => &[],
                len => slice::from_raw_parts(data, len),
            }
        }
    }

    /// How many bytes it has.
    pub(crate) fn len(&self) -> usize {
        // SAFETY: the frame is live, and the call only reads.
        unsafe { zmq_sys::zmq_msg_size(&self.0) }
    }

    /// Whether the same message has another frame after this one.
    pub(crate) fn more(&self) -> bool {
        // SAFETY: the frame is live, and the call only reads.
        unsafe { zmq_sys::zmq_msg_more(&self.0) != 0 }
    }

    /// The descriptor of the connection that it came through; a notice that libzmq made up has
    /// none.
    pub(crate) fn source_fd(&self) -> Option<c_int> {
        /// `ZMQ_SRCFD` of `zmq.h`, which `zmq-sys` does not name.
        const SRCFD: c_int = 2;
        // SAFETY: the frame is live, and the call only reads.
        let fd = unsafe { zmq_sys::zmq_msg_get(&self.0, SRCFD) };
        (fd >= 0).then_some(fd)
    }

    /// Who sent it, in the words of whoever let the connection in.
    pub(crate) fn user_id(&self) -> Option<&[u8]> {
        let raw = (&raw const self.0).cast_mut();
        // SAFETY: the frame is live, the property's name ends with a zero, and the call only reads.
        let text = unsafe { zmq_sys::zmq_msg_gets(raw, c"User-Id".as_ptr()) };
        // SAFETY: not null, so it ends with a zero, and it lives as long as the frame does.
        (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_bytes())
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut zmq_sys::zmq_msg_t {
        &mut self.0
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // SAFETY: the frame is live until here.
        let code = unsafe { zmq_sys::zmq_msg_close(&mut self.0) };
        debug_assert_eq!(code, 0, "a live frame can be closed");
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({} bytes)", self.len())
    }
}

/// One frame that many may hold: its bytes are counted, never copied.
///
/// libzmq turns a frame into a counted one at its *first* copy, which writes to the source. That
/// copy is made when the `SharedFrame` is, so later ones only touch the count, and may come from
/// any thread.
#[derive(Debug)]
pub(crate) struct SharedFrame(Frame);

// SAFETY: through `&self` the bytes are only read, and `zmq_msg_copy` of a frame that is counted
// already only adds to an atomic count (libzmq, msg.cpp, `msg_t::copy`).
unsafe impl Sync for SharedFrame {}

impl SharedFrame {
    /// Makes the frame shareable; its bytes stay where they are.
    pub(crate) fn new(frame: Frame) -> Self {
        let shared = Self(frame);
        drop(shared.copy());
        shared
    }

    /// Its bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// Another holder of the same bytes, to be sent.
    pub(crate) fn copy(&self) -> Frame {
        let mut copy = Frame::new();
        // SAFETY: both frames are live. In `new` the source is not yet seen by another thread;
        // after it the call does not write to the source.
        let code =
            unsafe { zmq_sys::zmq_msg_copy(copy.as_mut_ptr(), (&raw const self.0.0).cast_mut()) };
        assert_eq!(code, 0, "a live frame can be copied");
        copy
    }

    /// Another holder of the same bytes.
    pub(crate) fn share(&self) -> Self {
        Self(self.copy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in() {
        for len in [0, 1, 33, 34, 70, 8192, 100_000] {
            let bytes: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            assert_eq!(Frame::copied(&bytes).bytes(), bytes);
            let half = len / 2;
            assert_eq!(Frame::concat(&bytes[..half], &bytes[half..]).bytes(), bytes);
        }
    }

    #[test]
    fn a_shared_frame_outlives_its_source_on_any_thread() {
        let shared = SharedFrame::new(Frame::copied(&[7; 5000]));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        assert_eq!(shared.copy().bytes(), [7; 5000]);
                    }
                });
            }
        });
        let copy = shared.share();
        drop(shared);
        assert_eq!(copy.bytes(), [7; 5000]);
    }

    #[test]
    fn a_frame_of_our_own_came_through_no_connection() {
        assert_eq!(Frame::copied(b"x").source_fd(), None);
        assert!(!Frame::new().more());
        assert_eq!(Frame::copied(b"x").user_id(), None);
    }
}
