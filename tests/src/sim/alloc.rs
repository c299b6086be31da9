//! I14: nothing on the hot path calls the allocator. Only seen where the program has installed
//! [`CountingAllocator`](crate::counting::CountingAllocator).

use crate::counting::{self, Watch};

/// Runs a piece of the hot path: every call to the allocator in it is counted.
pub(crate) fn hot<R>(work: impl FnOnce() -> R) -> R {
    counting::freeze(Watch::Count);
    let result = work();
    counting::thaw();
    result
}
