//! The shard's thread sleeps in its poll: waking it is a `mio::Waker`.

use std::sync::Arc;

use taskyard_dispatcher::Unpark;

/// Ends a poll from another thread.
#[derive(Debug)]
pub(crate) struct PollUnpark(mio::Waker);

impl PollUnpark {
    pub(crate) fn new(registry: &mio::Registry, token: mio::Token) -> std::io::Result<Arc<Self>> {
        Ok(Arc::new(Self(mio::Waker::new(registry, token)?)))
    }
}

impl Unpark for PollUnpark {
    fn unpark(&self) {
        // A write to an eventfd: fails only if its counter is full, and then the sleeper wakes
        // anyway.
        if let Err(error) = self.0.wake() {
            tracing::error!(%error, "cannot wake a shard");
        }
    }
}
