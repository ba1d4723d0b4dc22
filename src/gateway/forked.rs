//! Whether this process has forked, and whether it is the child: what the application may do at any time, and what
//! every floor has to know of. A child has copies of our descriptors and of the request that is being answered, and
//! none of them is its business.
//!
//! Set from the handlers that `process` registers with the C library, so nothing but atomics here.

use std::sync::atomic::{AtomicBool, Ordering};

static HAS_FORKED: AtomicBool = AtomicBool::new(false);
static IS_CHILD: AtomicBool = AtomicBool::new(false);

/// Whether children of this process may have copies of its descriptors.
pub fn has_forked() -> bool {
    HAS_FORKED.load(Ordering::Relaxed)
}

/// Whether this process is a child that the application has forked.
pub fn is_child() -> bool {
    IS_CHILD.load(Ordering::Relaxed)
}

/// A fork is about to happen.
pub fn note_fork() {
    HAS_FORKED.store(true, Ordering::Relaxed);
}

/// This process is the child.
pub fn note_child() {
    IS_CHILD.store(true, Ordering::Relaxed);
}
