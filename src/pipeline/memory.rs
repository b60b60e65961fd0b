//! Memory that a model took goes back to the system when the model goes.
//!
//! glibc gives every thread an arena of its own and keeps what is freed there; a model is built by many threads and
//! freed by one. Only of the main arena does it return the end on request. `docs/performance.md` has what that cost and
//! what these calls save. Other allocators return memory by themselves.

use crate::engine::BackendInfo;

/// Lets all threads share `arenas` arenas; call it before there are threads. One for a process that loads and unloads:
/// all of it can be given back. Two for one that does not: its threads wait less for each other.
pub fn share_arenas(arenas: i32) {
    set([(ARENA_MAX, arenas)]);
}

/// Has the allocator treat large blocks as `engine` needs it; once, before models are loaded.
///
/// ONNX Runtime keeps what it needs from run to run by itself, and its sessions leave holes: blocks of 1 MiB and more are
/// taken from the system one by one, and go back when they are freed. The embedded engine allocates in every run: what
/// it frees is kept for the next, or the system would have to clear 19 MB of pages for every frame. [`give_back`] returns
/// them after an unload.
pub fn suit(engine: &BackendInfo) {
    if engine.library.is_some() {
        set([(MMAP_THRESHOLD, 1 << 20)]);
    } else {
        // 32 MiB is the largest threshold that glibc takes.
        let (largest, never) = (32 << 20, 1 << 30);
        set([
            (MMAP_THRESHOLD, largest),
            (TRIM_THRESHOLD, never),
            (TOP_PAD, 64 << 20),
        ]);
    }
}

/// glibc's numbers of its settings (malloc.h).
const TRIM_THRESHOLD: i32 = -1;
const TOP_PAD: i32 = -2;
const MMAP_THRESHOLD: i32 = -3;
const ARENA_MAX: i32 = -8;

#[allow(unsafe_code, reason = "a call into the C library that no crate wraps")]
fn set<const N: usize>(settings: [(i32, i32); N]) {
    for (setting, value) in settings {
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        // SAFETY: mallopt takes two numbers and no pointer, and may be called at any time.
        unsafe {
            libc::mallopt(setting, value);
        }
        #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
        let _ = (setting, value);
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
