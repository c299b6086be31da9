//! Credit: how many envelopes may be on their way to one consumer, and how many are.

/// Credit of one consumer.
///
/// An envelope counts from the moment it is handed out until it is *consumed*, whatever became of
/// its task meanwhile: a tombstone occupies its place all the same (rule R9).
///
/// ```
/// use taskyard_core::Window;
/// let mut window = Window::new(1);
/// assert!(window.take());
/// assert!(!window.take());
/// assert!(window.give());
/// assert_eq!(window.room(), 1);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    limit: u32,
    outstanding: u32,
}

impl Window {
    /// A window of `limit` envelopes, none of them outstanding.
    #[must_use]
    pub const fn new(limit: u32) -> Self {
        Self {
            limit,
            outstanding: 0,
        }
    }

    /// How many more may be handed out.
    #[must_use]
    pub const fn room(&self) -> u32 {
        self.limit.saturating_sub(self.outstanding)
    }

    /// How many were handed out and not consumed yet.
    #[must_use]
    pub const fn outstanding(&self) -> u32 {
        self.outstanding
    }

    /// How many may be outstanding at once.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// Moves the limit; what is outstanding beyond it drains by itself.
    pub const fn set_limit(&mut self, limit: u32) {
        self.limit = limit;
    }

    /// Counts one envelope as handed out; `false`, and nothing done, when there is no room.
    #[must_use]
    pub const fn take(&mut self) -> bool {
        let room = self.room() > 0;
        if room {
            self.outstanding += 1;
        }
        room
    }

    /// Counts one envelope as consumed; `false`, and nothing done, when none was outstanding:
    /// whoever reported it reported too often.
    pub const fn give(&mut self) -> bool {
        let any = self.outstanding > 0;
        if any {
            self.outstanding -= 1;
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lowered_limit_drains() {
        let mut window = Window::new(2);
        assert!(window.take());
        assert!(window.take());
        window.set_limit(1);
        assert!(window.give());
        assert!(
            !window.take(),
            "one is still outstanding, and one is the limit"
        );
        assert!(window.give());
        assert!(window.take());
    }

    #[test]
    fn too_much_returned_is_not_more_room() {
        let mut window = Window::new(1);
        assert!(!window.give());
        assert_eq!((window.room(), window.outstanding()), (1, 0));
    }
}
