//! Memory that a model took goes back to the system when the model goes.
//!
//! glibc gives every thread an arena of its own and keeps what is freed there; a model is built by many threads and
//! freed by one. `docs/performance.md` has what that cost and what these two calls save. Other allocators return memory
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

/// Asks the allocator to return what it holds free.
#[allow(unsafe_code, reason = "a call into the C library that no crate wraps")]
pub(super) fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim takes no pointer, may be called from any thread at any time, and locks what it touches.
    unsafe {
        libc::malloc_trim(0);
    }
}
