//! Whether the application has forked: a child may hold copies of our connections, and then closing ours neither tells
//! the web server nor takes them out of the epoll set. Both can be done by hand, at two system calls a connection that
//! a process without children need not pay.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

static HAVE_HAPPENED: AtomicBool = AtomicBool::new(false);

extern "C" fn note() {
    HAVE_HAPPENED.store(true, Ordering::Relaxed);
}

/// Begins to watch for fork(2). A child of vfork(2) or posix_spawn(3) runs another program at once, which has no copies.
pub(super) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handler only stores to an atomic, which is allowed wherever fork may be called.
        let watched = unsafe { nix::libc::pthread_atfork(None, Some(note), None) };
        if watched != 0 {
            note();
        }
    });
}

/// Whether this process may have children with copies of its descriptors.
pub(super) fn have_happened() -> bool {
    HAVE_HAPPENED.load(Ordering::Relaxed)
}
