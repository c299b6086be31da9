//! Pinning a thread to a core.

use thiserror::Error;

/// Why a thread could not be pinned; it goes on unpinned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PinError {
    /// The caller named a core that this process may not use.
    #[error(
        "core {core} cannot be used: this process may run on {available} cores, numbered from 0"
    )]
    NoSuchCore {
        /// The one asked for.
        core: usize,
        /// How many there are.
        available: usize,
    },
    /// The operating system refused.
    #[error("the system refused to pin to core {core}: allow sched_setaffinity, or run unpinned")]
    Refused {
        /// The one asked for.
        core: usize,
    },
}

/// How many cores this process may use.
#[must_use]
pub fn cores_available() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Pins the calling thread to the `core`-th of the cores that the process may use, from 0.
///
/// # Errors
/// When there is no such core, or the system does not let us.
pub fn pin_current_thread(core: usize) -> Result<(), PinError> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let Some(id) = cores.get(core) else {
        return Err(PinError::NoSuchCore {
            core,
            available: cores.len(),
        });
    };
    if core_affinity::set_for_current(*id) {
        Ok(())
    } else {
        Err(PinError::Refused { core })
    }
}

#[cfg(test)]
mod tests {
    use super::{PinError, pin_current_thread};

    #[test]
    fn a_core_that_is_not_there_is_named() {
        let refused = std::thread::spawn(|| pin_current_thread(100_000))
            .join()
            .unwrap();
        let Err(PinError::NoSuchCore {
            core: 100_000,
            available,
        }) = refused
        else {
            panic!("pinned to a core that is not there: {refused:?}");
        };
        assert!(available >= 1);
    }
}
