//! Memory that a model took goes back to the system when the model goes.
//!
//! glibc gives every thread an arena of its own and keeps what is freed there; a model is built by many threads and
//! freed by one. `docs/performance.md` has what that cost and what these calls save. Other allocators return memory
//! by themselves.

/// Lets all threads share two arenas. For a process that loads and unloads; call it before there are threads.
#[allow(unsafe_code, reason = "a call into the C library that no crate wraps")]
pub fn share_arenas() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt takes two numbers and no pointer, and may be called at any time.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

/// Takes blocks of 1 MiB and more from the system one by one, and gives each back when it is freed.
///
/// For ONNX Runtime, whose sessions otherwise leave holes; it keeps what it needs from run to run by itself. The embedded
/// engine allocates in every run, which this would make slower, and leaves no holes.
#[allow(unsafe_code, reason = "a call into the C library that no crate wraps")]
pub fn map_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: as in `share_arenas`.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
    }
}

/// Asks the allocator to return what it holds free.
#[allow(unsafe_code, reason = "a call into the C library that no crate wraps")]
pub(super) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim takes no pointer, may be called from any thread at any time, and locks what it touches.
    unsafe {
        libc::malloc_trim(0);
    }
}
