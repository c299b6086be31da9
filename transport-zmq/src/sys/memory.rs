//! The allocator's spare memory.

/// Gives pages that hold nothing back to the system, where the allocator can be asked to. Takes
/// milliseconds when there are many.
///
/// libzmq allocates some 50 kB for each connection and touches a part. Once it is closed, glibc
/// keeps the pages, and the next connection touches others: so a process from which a thousand
/// peers come and go grows for many rounds, up to all that it ever had.
pub(crate) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> std::ffi::c_int;
        }
        // SAFETY: it takes the allocator's own locks, and has no precondition. Whether there was
        // anything to give back makes no difference.
        let _ = unsafe { malloc_trim(0) };
    }
}
